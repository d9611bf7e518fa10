//! Files in with a limit.

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

use elman_tagger::Error;

/// No file that is read may be larger: as many bytes as the weights of a model folder may have.
pub(crate) const MAX_FILE: u64 = 1 << 32;

/// Opens a file and gives its size, at most [`MAX_FILE`].
pub(crate) fn open(path: &Path) -> Result<(File, u64), Error> {
    let io = |source| Error::Io { path: path.to_owned(), action: "open", source };
    // A pipe or a device has no size that could be checked; the check comes before the opening, which can wait.
    if !fs::metadata(path).map_err(io)?.is_file() {
        return Err(input(path, "a folder or a device", "a file"));
    }
    let file = File::open(path).map_err(io)?;
    let size = file.metadata().map_err(io)?.len();
    if size > MAX_FILE {
        return Err(input(path, format!("{size} bytes"), format!("at most {MAX_FILE}")));
    }
    Ok((file, size))
}

/// The content of a file of at most [`MAX_FILE`] bytes.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, Error> {
    let (file, size) = open(path)?;
    let mut bytes = Vec::new();
    // Not more than was checked, should the file have grown since.
    file.take(size).read_to_end(&mut bytes).map_err(|source| Error::Io {
        path: path.to_owned(),
        action: "read",
        source,
    })?;
    Ok(bytes)
}

/// The error of tensors that do not fit together, with their file.
pub(crate) fn misfit(path: &Path, error: elman::Error) -> Error {
    match error {
        elman::Error::Shape { what, expected, found } => input(path, format!("{what} is {found}"), expected),
        other => other.into(),
    }
}

pub(crate) fn input(path: &Path, problem: impl Into<String>, expected: impl Into<String>) -> Error {
    Error::Input { path: path.to_owned(), line: None, problem: problem.into(), expected: expected.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_and_a_file_that_is_too_large_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, "two").unwrap();
        assert_eq!(read(&path).unwrap(), b"two");
        assert!(matches!(read(folder.path()), Err(Error::Input { .. })));
        assert!(matches!(read(&folder.path().join("none")), Err(Error::Io { .. })));
        let large = File::create(folder.path().join("large")).unwrap();
        large.set_len(MAX_FILE + 1).unwrap(); // a hole: takes no room
        let error = read(&folder.path().join("large")).unwrap_err().to_string();
        assert!(error.ends_with("4294967297 bytes, expected at most 4294967296"), "{error}");
    }
}
