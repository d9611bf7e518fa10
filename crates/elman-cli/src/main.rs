//! The program `elman`.
#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    elman_cli::main()
}
