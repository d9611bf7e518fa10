//! `glue MODULE.wasm FOLDER`: wasm-bindgen's JavaScript for a module, as a script without imports.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let [module, folder] = std::env::args_os().skip(1).collect::<Vec<_>>().try_into().map_err(|_| "expected MODULE.wasm FOLDER")?;
    let mut bindgen = wasm_bindgen_cli_support::Bindgen::new();
    bindgen.input_path(module).no_modules(true)?.typescript(false).generate(folder)?;
    Ok(())
}
