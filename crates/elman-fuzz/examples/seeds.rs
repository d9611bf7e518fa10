//! Writes the seeds of all fuzz targets: `cargo run -p elman-fuzz --example seeds -- fuzz/seeds`.

use std::path::PathBuf;

fn main() -> std::io::Result<()> {
    let folder = PathBuf::from(std::env::args_os().nth(1).unwrap_or("fuzz/seeds".into()));
    for (target, _) in elman_fuzz::TARGETS {
        let folder = folder.join(target);
        std::fs::create_dir_all(&folder)?;
        for (number, seed) in elman_fuzz::seeds(target).into_iter().enumerate() {
            std::fs::write(folder.join(format!("{number:02}")), seed)?;
        }
    }
    Ok(())
}
