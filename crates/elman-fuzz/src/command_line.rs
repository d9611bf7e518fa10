//! The command line.

use std::ffi::OsString;

/// The arguments of an input: one a line.
#[cfg(unix)]
fn arguments(data: &[u8]) -> impl Iterator<Item = OsString> {
    use std::os::unix::ffi::OsStrExt;
    data.split(|byte| *byte == b'\n').map(|part| std::ffi::OsStr::from_bytes(part).to_owned())
}

#[cfg(not(unix))]
fn arguments(data: &[u8]) -> impl Iterator<Item = OsString> {
    data.split(|byte| *byte == b'\n').map(|part| String::from_utf8_lossy(part).into_owned().into())
}

/// What is refused ends with 2 (help and the version with 0) and a message; what is accepted is a training
/// that can begin.
pub(crate) fn check(data: &[u8]) {
    match elman_cli::parse(arguments(data)) {
        Err(error) => {
            assert!([0, 2].contains(&error.exit_code()), "{error}");
            assert!(!error.render().to_string().is_empty());
        }
        Ok(Some(config)) => match config.check() {
            // Each of its values is within its limits; only their product may be too large.
            Err(elman_tagger::Error::Network(elman::Error::Shape { what, .. })) => {
                assert!(["number of parameters", "embed times window"].contains(&what.as_str()), "{what}");
            }
            other => other.expect("a training that can begin"),
        },
        Ok(None) => {}
    }
}
