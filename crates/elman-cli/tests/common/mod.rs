//! Running the program, and corpora for it.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use assert_cmd::cargo::cargo_bin;
use elman_tagger::{ConllWriter, travel};

#[allow(dead_code)] // not all tests do
pub(crate) fn write_corpus(path: &Path, seed: u64, sentences: usize) {
    let mut writer = ConllWriter::new(fs::File::create(path).unwrap(), path);
    for sentence in travel::corpus(seed, sentences) {
        writer.write(sentence.words(), sentence.tags()).unwrap();
    }
}

pub(crate) fn elman(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(cargo_bin!("elman"));
    command.current_dir(folder).args(arguments).env_remove("NO_COLOR").env_remove("CLICOLOR_FORCE");
    command
}

pub(crate) fn run(folder: &Path, arguments: &[&str]) -> Output {
    elman(folder, arguments).stdin(Stdio::null()).output().unwrap()
}

/// Runs a command with this on its standard input.
#[allow(dead_code)] // not all tests do
pub(crate) fn with_input(mut command: Command, input: &[u8]) -> Output {
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    // In a thread of its own: a filter writes while it still reads.
    let writer = std::thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output().unwrap();
    let _ = writer.join().unwrap();
    output
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

pub(crate) fn success(output: &Output) -> String {
    assert_eq!((output.status.code(), text(&output.stderr).as_str()), (Some(0), ""));
    text(&output.stdout)
}

/// Asserts the exit code and that the message has all of these parts.
pub(crate) fn failure(output: &Output, code: i32, parts: &[&str]) {
    let message = text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{message}");
    for part in parts {
        assert!(message.contains(part), "{part:?} is not in {message:?}");
    }
    assert!(!message.contains("panicked"), "{message}");
}
