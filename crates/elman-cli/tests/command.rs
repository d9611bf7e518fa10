//! A kernel in C, judged over the protocol: as it stands, and with faults.
#![cfg(unix)]

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use common::{elman, failure, run, success};
use serde_json::Value;
use tempfile::TempDir;

const SOURCES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/c");

/// Compiles the kernel of the book with changes, each of a text that is there.
fn compiled(folder: &Path, name: &str, changes: &[(&str, &str)]) -> PathBuf {
    let mut source = fs::read_to_string(Path::new(SOURCES).join("kernel.c")).unwrap();
    for (from, to) in changes {
        assert!(source.contains(from), "{from}");
        source = source.replacen(from, to, 1);
    }
    let (file, program) = (folder.join(name).with_extension("c"), folder.join(name));
    fs::write(&file, source).unwrap();
    // The compiler that Rust links with.
    let output = Command::new("cc")
        .args(["-O2", "-Wall", "-Wextra", "-I", SOURCES, "-o"])
        .args([&program, &file])
        .arg("-lm")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    program
}

/// A program of a line for the shell, which answers a line at a time.
fn script(folder: &Path, name: &str, line: &str) -> PathBuf {
    use std::os::unix::fs::PermissionsExt;
    let program = folder.join(name);
    fs::write(&program, format!("#!/bin/sh\n{line}\n")).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    program
}

fn verify(folder: &Path, program: &Path, more: &[&str]) -> std::process::Output {
    run(folder, &[&["verify", "--cases", "40", "--command", program.to_str().unwrap()], more].concat())
}

#[test]
fn a_kernel_in_c_passes() {
    let folder = TempDir::new().unwrap();
    let program = compiled(folder.path(), "with blank", &[]);
    let json: Value = serde_json::from_str(&success(&verify(folder.path(), &program, &["--json"]))).unwrap();
    let reports = json["reports"].as_array().unwrap();
    assert_eq!(
        (reports.len(), &reports[0]["name"], &reports[0]["number"]),
        (1, &"kernel.c".into(), &"f32".into())
    );
    assert_eq!(reports[0]["bits"]["repeat"]["same"], reports[0]["bits"]["repeat"]["compared"]);
    let tensors: Vec<&str> = reports[0]["measurements"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|measurement| measurement["case"] == "recurrence/3" && measurement["against"] == "duals")
        .map(|measurement| measurement["tensor"].as_str().unwrap())
        .collect();
    assert_eq!(tensors, ["xs", "wx", "wh", "bh", "h0"]);
    assert!(!folder.path().join("failing-cases").exists());
    failure(
        &verify(folder.path(), &program, &["--cell", "gru"]),
        2,
        &["cell: expected elman-tanh", "found gru"],
    );
    failure(
        &verify(folder.path(), &program, &["--case", "recurrence/none"]),
        2,
        &["case: expected", "recurrence/none"],
    );
    failure(&verify(folder.path(), &program, &["--isa", "avx2"]), 2, &["--isa", "cannot be used with"]);
    // In the same cases as an implementation in Rust.
    let of_ours = success(&run(folder.path(), &["verify", "--case", "recurrence/seventy-elman-tanh"]));
    assert!(of_ours.contains("passed; 1 cases"), "{of_ours}");
    success(&verify(folder.path(), &program, &["--case", "recurrence/seventy-elman-tanh"]));
}

#[test]
fn a_fault_is_kept_as_files_with_lines_that_run_it_again() {
    let folder = TempDir::new().unwrap();
    let fault = (
        "step ? h + (t - 1) * hidden : h0.at;\n            for (size_t j = 0; j < hidden; j++) {\n                real state",
        "t ? h + (t - 1) * hidden : h0.at;\n            for (size_t j = 0; j < hidden; j++) {\n                real state",
    );
    let program = compiled(folder.path(), "kernel", &[fault]);
    let output = verify(folder.path(), &program, &["--keep", "kept", "--case", "recurrence/0"]);
    let table = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{table}");
    assert!(table.contains("FAILED kernel.c: wh["), "{table}");
    let again = table.lines().find_map(|line| line.trim().strip_prefix("again: elman ")).unwrap();
    let output_again = run(folder.path(), &again.split(' ').collect::<Vec<_>>());
    assert_eq!(output_again.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output_again.stdout).contains("1 failed; 1 cases"));

    let said = String::from_utf8_lossy(&output.stderr);
    let line = said.lines().find_map(|line| line.strip_prefix("the program alone on it: ")).unwrap();
    let kept = fs::read_dir(folder.path().join("kept")).unwrap().next().unwrap().unwrap().path();
    let read = |name: &str| fs::read(kept.join(name).with_extension("safetensors")).unwrap();
    let given = read("given");
    let given = safetensors::SafeTensors::deserialize(&given).unwrap();
    let mut names = given.names();
    names.sort_unstable();
    assert_eq!(names, ["bh", "dh", "h0", "lengths", "wh", "wx", "xs"]);
    // The smallest: two sequences of a step, one input, one unit.
    assert_eq!(given.tensor("xs").unwrap().shape(), [2, 1]);
    for name in ["expected", "allowed"] {
        let file = read(name);
        let file = safetensors::SafeTensors::deserialize(&file).unwrap();
        assert_eq!(file.tensor("wh").unwrap().shape(), [1, 1], "{name}");
    }
    // The line gives the answer that was found.
    let by_hand = Command::new("sh").args(["-c", line]).output().unwrap();
    assert!(by_hand.status.success());
    let (answer, found) = (read("answer"), read("found"));
    let [answer, found] = [&answer, &found].map(|file| safetensors::SafeTensors::deserialize(file).unwrap());
    for (name, tensor) in found.tensors() {
        assert_eq!(answer.tensor(&name).unwrap().data(), tensor.data(), "{name}");
    }
}

#[test]
fn a_program_that_dies_hangs_or_answers_nonsense_is_named() {
    let folder = TempDir::new().unwrap();
    let return_early = "if (!backward) return;";
    let faults = [
        (
            "dies",
            "if (backward) { fprintf(stderr, \"out of luck\\n\"); exit(3); } return;",
            "ended without an answer (exit status: 3)",
        ),
        ("aborts", "abort();", "ended without an answer (signal: 6"),
        ("hangs", "for (;;) { h = h + 0 * backward; }", "no answer within 1 seconds"),
        ("nan", "h[0] = NAN; return;", "h[0,0] = NaN, expected"),
        ("forward", "return;", "the answer has no xs"),
    ];
    for (name, instead, expected) in faults {
        let program =
            compiled(folder.path(), name, &[(return_early, &format!("{instead}\n    {return_early}"))]);
        let output = verify(folder.path(), &program, &["--timeout", "1", "--case", "recurrence/2"]);
        let table = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.code() == Some(1) && table.contains(expected), "{name}: {table}");
        assert!(name != "dies" || table.contains("its standard error: out of luck"), "{table}");
    }
    let shape = ("judge_put(\"h\", steps, hidden)", "judge_put(\"h\", steps + 1, hidden)");
    let output =
        verify(folder.path(), &compiled(folder.path(), "shape", &[shape]), &["--case", "recurrence/2"]);
    assert!(String::from_utf8_lossy(&output.stdout).contains("h has the shape ["));

    let hello = r#"{"name": "x", "judge": {"cells": ["elman"], "numbers": ["f64"]}}"#;
    for (name, line, code, expected) in [
        ("silent", "exit 0", 2, "asked hello"),
        ("chatty", "echo good morning; cat", 2, "good morning"),
        ("other", "echo '{\"works\": []}'; cat", 2, "missing field `judge`"),
        ("cells", &hello.replace("elman", "elmo"), 2, "cell: expected elman"),
        ("numbers", &hello.replace("f64", "f16"), 2, "f32 and f64"),
        (
            "refuses",
            &format!("{hello}\n{{\"error\": \"too large\"}}"),
            1,
            "its answer is the error: too large",
        ),
        ("empty", &format!("{hello}\n{{}}"), 1, "the answer's file"),
    ] {
        let line = if line.starts_with('{') {
            line.lines().map(|line| format!("read request; echo '{line}'\n")).collect()
        } else {
            line.to_string()
        };
        let output = verify(folder.path(), &script(folder.path(), name, &line), &["--case", "recurrence/2"]);
        let said =
            [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
        assert!(output.status.code() == Some(code) && said.contains(expected), "{name}: {said}");
    }
    failure(&verify(folder.path(), Path::new("./none"), &[]), 2, &["cannot be started"]);
}

/// The interpreter is a stand-in here; `.ci/python` runs the real one.
#[test]
fn an_onnx_file_is_judged_by_python() {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("my model.onnx"), "").unwrap();
    let verify = |line: &str, more: &[&str]| {
        let bin = TempDir::new().unwrap();
        script(bin.path(), "python3", line);
        let arguments = [&["verify", "--case", "recurrence/2", "--onnx"], more].concat();
        elman(folder.path(), &arguments).env("PATH", bin.path()).stdin(Stdio::null()).output().unwrap()
    };
    let hello = r#"{"name": "x", "judge": {"cells": ["elman"], "numbers": ["f32"]}}"#;
    let asked = "[ \"$*\" = '-m elman.onnx_peer my model.onnx' ] || exit 1";
    let answers = format!("{asked}; read request; echo '{hello}'; read request; echo '{{}}'");
    let output = verify(&answers, &["my model.onnx"]);
    let table = String::from_utf8_lossy(&output.stdout);
    for part in
        ["x (states alone)", "the answer's file", "again: elman verify --onnx 'my model.onnx' --seed 42"]
    {
        assert!(output.status.code() == Some(1) && table.contains(part), "{part}: {table}");
    }
    let none = "echo No module named elman >&2; exit 1";
    let expected =
        "expected an ONNX file with one RNN, GRU or LSTM node, and Python with elman, onnx and onnxruntime";
    failure(&verify(none, &["my model.onnx"]), 2, &[expected, "No module named elman"]);
    failure(&verify(none, &["none.onnx"]), 74, &["none.onnx: cannot read"]);
    failure(&verify(none, &["my model.onnx", "--command", "x"]), 2, &["--onnx", "cannot be used with"]);
    failure(&verify(none, &["my model.onnx", "--isa", "avx2"]), 2, &["--isa", "cannot be used with"]);
}
