//! Folders with one file, or all of them, replaced by the input.

use std::fs;
use std::path::Path;

use elman_tagger::Error;
use tempfile::TempDir;

/// Parts the files of an input that replaces all of them.
pub(crate) const SEPARATOR: u8 = 0x1e;

/// A folder in memory where the system has one: saving brings every file to the disk.
pub(crate) fn folder() -> TempDir {
    let memory = Path::new("/dev/shm");
    let made = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    made.expect("a temporary folder")
}

/// What an input does to a folder of these files: its first byte chooses a file, the rest is the new content;
/// one beyond the last file means that the rest holds all of them, parted by [`SEPARATOR`].
pub(crate) fn changed(files: &[(&str, Vec<u8>)], data: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<(String, Vec<u8>)> =
        files.iter().map(|(name, content)| (name.to_string(), content.clone())).collect();
    if let Some((choice, content)) = data.split_first() {
        let choice = usize::from(*choice) % (files.len() + 1);
        if choice < files.len() {
            files[choice].1 = content.to_vec();
        } else {
            let count = files.len();
            let parts = content.splitn(count, |byte| *byte == SEPARATOR);
            for (file, part) in files.iter_mut().zip(parts) {
                file.1 = part.to_vec();
            }
        }
    }
    files
}

pub(crate) fn write(folder: &Path, files: &[(String, Vec<u8>)]) {
    fs::create_dir_all(folder).expect("a folder");
    for (name, content) in files {
        fs::write(folder.join(name), content).expect("a file");
    }
}

/// The files of a folder, in the order of these names.
pub(crate) fn read(folder: &Path, names: &[&'static str]) -> Vec<(&'static str, Vec<u8>)> {
    names.iter().map(|name| (*name, fs::read(folder.join(name)).expect("a file that was written"))).collect()
}

/// A refusal must be one of the input, and name one of the files and what was expected.
pub(crate) fn assert_names_a_file(error: &Error, folder: &Path, names: &[&str]) {
    match error {
        Error::Input { path, line, problem, expected } => {
            let known = names.iter().any(|name| *path == folder.join(name));
            assert!(known, "{error} names no file of the folder");
            assert!(line.is_none_or(|line| line > 0), "{error}");
            assert!(!problem.is_empty() && !expected.is_empty(), "{error:?}");
        }
        other => panic!("an input must be refused as such, found {other:?}"),
    }
}
