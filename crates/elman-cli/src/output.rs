//! The standard output, and what is printed to it by more than one subcommand.

use std::io::{self, Write};
use std::path::Path;

use elman_tagger::{Error, Evaluation, FileKind, check_output};
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

/// Says something that is neither a result nor the program's error.
pub(crate) fn note(text: &str) {
    // If it cannot be written, nothing is lost.
    let _ = writeln!(io::stderr(), "{text}");
}

/// The rows of work that takes hours: a row that cannot be printed does not end the work.
#[derive(Default)]
pub(crate) struct Rows(Option<Error>);

impl Rows {
    /// Prints text, unless printing has failed before.
    pub(crate) fn print(&mut self, text: &str) {
        if self.0.is_none() {
            self.0 = print(text).err();
        }
    }

    /// The error that ended the printing, with where the result is; no broken pipe any more, which other commands end
    /// with in silence.
    pub(crate) fn error(self, result: &str) -> Option<Error> {
        match self.0? {
            Error::Io { path, action, source } => {
                let source = io::Error::other(format!("{source}; {result}"));
                Some(Error::Io { path, action, source })
            }
            other => Some(other),
        }
    }
}

/// The error that the program ends with: the first of them. The others are said before.
pub(crate) fn first_of(errors: impl IntoIterator<Item = Error>) -> Result<(), Error> {
    let mut errors = errors.into_iter();
    let first = errors.next();
    errors.for_each(|error| note(&error.to_string()));
    first.map_or(Ok(()), Err)
}

/// Checks that a file could be written now: before the work whose result it is to hold.
pub(crate) fn check_file(file: &Path, kind: FileKind) -> Result<(), Error> {
    let folder = match file.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    for names in [["config.toml", "weights.safetensors"], ["checkpoint.toml", "current.safetensors"]] {
        if names.iter().all(|name| folder.join(name).is_file()) {
            return Err(in_model(file));
        }
    }
    check_output(file, kind)
}

/// The error for a file that would be written into a model folder.
pub(crate) fn in_model(file: &Path) -> Error {
    Error::Input {
        path: file.to_owned(),
        line: None,
        problem: "a file in a model folder".into(),
        expected: "a file elsewhere: a folder that holds more than the model is not replaced".into(),
    }
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
