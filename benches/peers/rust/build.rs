//! Tells the program which versions Cargo.lock names.

fn main() {
    println!("cargo:rerun-if-changed=Cargo.lock");
    let lock = std::fs::read_to_string("Cargo.lock").expect("cargo writes Cargo.lock before it builds");
    for name in ["burn-tensor", "candle-core", "gemm", "rust-lstm", "tract-onnx"] {
        let start = format!("name = \"{name}\"\nversion = \"");
        let version = lock.split_once(&start).and_then(|(_, rest)| rest.split('"').next()).unwrap_or("?");
        println!("cargo:rustc-env={}={version}", name.to_uppercase().replace('-', "_"));
    }
}
