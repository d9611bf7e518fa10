//! The inputs of `fuzz/seeds` and `fuzz/regressions`, without cargo-fuzz.

use std::fs;
use std::path::PathBuf;

fn folder(kind: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "../../fuzz", kind].iter().collect()
}

/// Runs every input of every target; how many there were.
fn replay(kind: &str) -> usize {
    let mut count = 0;
    for target in fs::read_dir(folder(kind)).unwrap() {
        let target = target.unwrap().path();
        let name = target.file_name().unwrap().to_str().unwrap().to_owned();
        for input in fs::read_dir(&target).unwrap() {
            let input = input.unwrap().path();
            println!("{}", input.display());
            elman_fuzz::run(&name, &fs::read(&input).unwrap());
            count += 1;
        }
    }
    count
}

#[test]
fn what_once_failed_holds() {
    println!("{} inputs", replay("regressions"));
}

#[test]
fn every_target_has_seeds_and_they_hold() {
    for (target, _) in elman_fuzz::TARGETS {
        let stored = fs::read_dir(folder("seeds").join(target)).unwrap().count();
        assert!(stored > 0 && stored == elman_fuzz::seeds(target).len(), "{target}: {stored} seeds");
    }
    assert!(replay("seeds") > elman_fuzz::TARGETS.len());
}

/// Each target is one of cargo-fuzz too.
#[test]
fn cargo_fuzz_knows_every_target() {
    let manifest: toml::Table = fs::read_to_string(folder("Cargo.toml")).unwrap().parse().unwrap();
    let names: Vec<&str> =
        manifest["bin"].as_array().unwrap().iter().map(|bin| bin["name"].as_str().unwrap()).collect();
    assert_eq!(names, elman_fuzz::TARGETS.map(|(name, _)| name));
    for name in names {
        let source = fs::read_to_string(folder("fuzz_targets").join(format!("{name}.rs"))).unwrap();
        assert!(source.contains(&format!("elman_fuzz::run(\"{name}\", data)")), "{source}");
    }
}
