//! Prints the digests of the instruction sets that it is given, by default of all of this CPU that promise the same bits;
//! `--write` writes those of the best one to `digests.txt`.
#![forbid(unsafe_code)]

use std::error::Error;

use elman_digest::{digests, lines};
use elman_fast::Isa;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments == ["--write"] {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/digests.txt");
        return Ok(std::fs::write(path, lines(&digests(Isa::best())?))?);
    }
    if arguments.is_empty() {
        arguments = Isa::promised().iter().map(Isa::to_string).collect();
    }
    for isa in arguments {
        for line in lines(&digests(isa.parse()?)?).lines() {
            println!("{isa:8}  {line}");
        }
    }
    Ok(())
}
