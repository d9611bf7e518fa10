//! The programs `roofline` and `growth` measure, draw, and say what is wrong.

use std::fs;
use std::process::{Command, Output};

use serde_json::Value;

fn run(program: &str, arguments: &[&str]) -> Output {
    Command::new(program).args(arguments).output().unwrap()
}

fn json(path: impl AsRef<std::path::Path>) -> Value {
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

#[test]
fn growth_draws_what_it_measured_and_fails_if_a_step_grows_too_fast() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("new").display().to_string();
    let quick = ["--out", &out, "--quick", "--budget", "0.001", "--axes", "text,words,classes"];
    // No exponent is above 10.
    let fine = run(env!("CARGO_BIN_EXE_growth"), &[&quick[..], &["--tolerance", "9"]].concat());
    assert!(fine.status.success(), "{}", String::from_utf8_lossy(&fine.stderr));
    for axis in ["text", "words", "classes"] {
        for what in ["time", "memory"] {
            if what == "time" || cfg!(target_os = "linux") {
                let svg = fs::read_to_string(format!("{out}/growth-{axis}-{what}.svg")).unwrap();
                assert!(svg.contains("<circle"), "{axis} {what}");
            }
        }
    }
    let result = json(format!("{out}/growth.json"));
    for axis in 0..2 {
        let points = result["axes"][axis]["points"].as_array().unwrap();
        assert_eq!(points.len(), 3);
        for point in points {
            assert_eq!(point["seconds"].as_array().unwrap().len(), 4);
            assert!(point["seconds"].as_array().unwrap().iter().all(|step| step[1].as_f64().unwrap() > 0.0));
        }
    }
    assert!(!fs::read_dir(&out).unwrap().any(|file| file.unwrap().path().extension().unwrap() == "conll"));

    // Every step needs more than no time.
    let failed =
        run(env!("CARGO_BIN_EXE_growth"), &[&quick[..5], &["--axes", "text", "--tolerance=-9"]].concat());
    assert!(!failed.status.success());
    let said = String::from_utf8_lossy(&failed.stderr).into_owned();
    assert!(
        said.contains("worse than linear") && said.contains("read grows with the words of a corpus"),
        "{said}"
    );
}

#[test]
fn the_roofline_has_every_kernel_on_every_instruction_set() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().display().to_string();
    let output = run(env!("CARGO_BIN_EXE_roofline"), &["--out", &out, "--budget", "0.001"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let result = json(format!("{out}/roofline.json"));
    let available = elman_fast::Isa::available();
    let names = |list: &Value, name: &str| -> Vec<String> {
        list.as_array().unwrap().iter().map(|entry| entry[name].as_str().unwrap().to_string()).collect()
    };
    assert_eq!(names(&result["peaks"], "isa"), available.iter().map(|isa| isa.name()).collect::<Vec<_>>());
    assert_eq!(names(&result["levels"], "name").last().map(String::as_str), Some("memory"));
    let kernels = result["kernels"].as_array().unwrap();
    for isa in &available {
        // matrixmultiply, twice, chooses its own instruction set.
        let expected = if Some(isa) == available.last() { 21 } else { 19 };
        assert_eq!(kernels.iter().filter(|kernel| kernel["isa"] == isa.name()).count(), expected, "{isa}");
    }
    assert!(kernels.iter().all(|kernel| kernel["flops_per_second"].as_f64().unwrap() > 1e6));
    let svg = fs::read_to_string(format!("{out}/roofline.svg")).unwrap();
    assert!(svg.contains("memory:") && svg.contains("kernels, "));
}
