//! The standard output, and what is printed to it by more than one subcommand.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use elman_tagger::Error;
use elman_tagger::Evaluation;
use serde_json::{Map, Value, json};

/// What messages call the standard output.
pub(crate) const STANDARD_OUTPUT: &str = "standard output";

/// Turns a failed write to the standard output into the program's error.
pub(crate) fn written(result: io::Result<()>) -> Result<(), Error> {
    result.map_err(|source| Error::Io { path: STANDARD_OUTPUT.into(), action: "write", source })
}

/// Prints text to the standard output, at once.
pub(crate) fn print(text: &str) -> Result<(), Error> {
    let mut out = io::stdout().lock();
    written(out.write_all(text.as_bytes()).and_then(|()| out.flush()))
}

/// Whether the reader of the standard output has gone away.
pub(crate) fn is_broken_pipe(error: &Error) -> bool {
    matches!(error, Error::Io { path, source, .. }
        if path.as_os_str() == STANDARD_OUTPUT && source.kind() == io::ErrorKind::BrokenPipe)
}

/// Writes a whole file or none.
pub(crate) fn write_file(file: &Path, page: &str) -> Result<(), Error> {
    let error = |source| Error::Io { path: file.to_path_buf(), action: "write", source };
    let mut partial = file.as_os_str().to_owned();
    partial.push(".partial");
    let result = fs::write(&partial, page).and_then(|()| fs::rename(&partial, file));
    if result.is_err() {
        // The error that counts is the first one.
        let _ = fs::remove_file(&partial);
    }
    result.map_err(error)
}

/// An evaluation's numbers.
pub(crate) fn evaluation_json(evaluation: &Evaluation) -> Value {
    let counts = |counts: elman_tagger::Counts| {
        json!({
            "phrases": counts.phrases,
            "found": counts.found,
            "correct": counts.correct,
            "precision": counts.precision(),
            "recall": counts.recall(),
            "f1": counts.f1(),
        })
    };
    let mut all = counts(evaluation.total());
    all["tokens"] = evaluation.tokens().into();
    all["accuracy"] = evaluation.accuracy().into();
    let types: Map<_, _> = evaluation.types().map(|(name, found)| (name.to_owned(), counts(found))).collect();
    all["types"] = types.into();
    all
}

/// Names in lines of at most 80 columns, each line indented by two.
pub(crate) fn columns<'a>(names: impl Iterator<Item = &'a str>) -> String {
    const COLUMNS: usize = 80;
    let (mut text, mut used) = (String::new(), 0);
    for name in names {
        let width = name.chars().count() + 2;
        if used > 0 && used + width > COLUMNS {
            text.push('\n');
            used = 0;
        }
        text += "  ";
        text += name;
        used += width;
    }
    if used > 0 { text + "\n" } else { text }
}

#[cfg(test)]
mod tests {
    use super::columns;

    #[test]
    fn names_fill_lines_of_eighty_columns() {
        assert_eq!(columns([].into_iter()), "");
        assert_eq!(columns(["a", "bc"].into_iter()), "  a  bc\n");
        let long = "x".repeat(38);
        let four = [long.as_str(); 3];
        assert_eq!(columns(four.into_iter()), format!("  {long}  {long}\n  {long}\n"));
    }
}
