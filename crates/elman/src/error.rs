use std::io;
use std::path::PathBuf;

/// What went wrong, where, what was expected and what was found.
///
/// Every error of the family is one of these. An implementation returns an error before it changes
/// anything; no input makes it panic.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A tensor, a shape or a length is not what it must be.
    #[error("{what}: expected {expected}, found {found}")]
    Shape {
        /// The thing that is wrong, for example `wx` or `labels`.
        what: String,
        /// What it should have been.
        expected: String,
        /// What it was.
        found: String,
    },
    /// A word id or a label that the network does not have.
    #[error("{what} at position {position}: expected an id below {limit}, found {found}")]
    OutOfRange {
        /// `word` or `label`.
        what: &'static str,
        /// Its position in the sentence, from 0.
        position: usize,
        /// The first id that is too large.
        limit: usize,
        /// The id itself.
        found: usize,
    },
    /// A file whose content is not what its format demands.
    #[error("{}{}: {problem}, expected {expected}", path.display(), line.map(|l| format!(":{l}")).unwrap_or_default())]
    Input {
        /// The file; `-` for the standard input.
        path: PathBuf,
        /// The line, from 1, where one can be named.
        line: Option<u64>,
        /// What is wrong.
        problem: String,
        /// What the format demands there.
        expected: String,
    },
    /// The operating system refused to read or write.
    #[error("{}: cannot {action}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What was tried, for example `read` or `create`.
        action: &'static str,
        /// The operating system's answer.
        source: io::Error,
    },
    /// Something was asked for that this build, machine or implementation does not have.
    #[error("{what}: expected {expected}, found {found}")]
    Unsupported {
        /// What was asked for, for example an instruction set.
        what: String,
        /// What there is to choose from.
        expected: String,
        /// What was asked for.
        found: String,
    },
    /// Training left the finite numbers.
    #[error(
        "training diverged at sentence {sentence} of epoch {epoch}: the loss is {loss}; \
         try a smaller learning rate than {learning_rate}"
    )]
    Diverged {
        /// The epoch, from 1.
        epoch: usize,
        /// The sentence's number within the epoch's order, from 1.
        sentence: usize,
        /// The loss there.
        loss: f64,
        /// The learning rate that led there.
        learning_rate: f64,
    },
    /// Training was asked to stop.
    #[error("training was interrupted in epoch {epoch}, after {sentences} of its sentences")]
    Interrupted {
        /// The epoch, from 1.
        epoch: usize,
        /// Sentences done in it; they count for nothing.
        sentences: usize,
    },
}

impl Error {
    /// An [`Error::Shape`].
    pub fn shape(
        what: impl Into<String>,
        expected: impl std::fmt::Display,
        found: impl std::fmt::Display,
    ) -> Self {
        Error::Shape { what: what.into(), expected: expected.to_string(), found: found.to_string() }
    }
}
