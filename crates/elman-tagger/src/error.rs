//! Errors of files and of trainings, and those of the network.

use std::io;
use std::path::PathBuf;

/// What went wrong, where, what was expected and what was found.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A shape, a value or an id that the network does not have, or something that is not supported.
    #[error(transparent)]
    Network(#[from] elman::Error),
    /// A file whose content is not as its format demands.
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
    /// An [`elman::Error::Shape`].
    pub fn shape(
        what: impl Into<String>,
        expected: impl std::fmt::Display,
        found: impl std::fmt::Display,
    ) -> Self {
        elman::Error::shape(what, expected, found).into()
    }

    /// An [`elman::Error::Unsupported`].
    pub fn unsupported(
        what: impl Into<String>,
        expected: impl std::fmt::Display,
        found: impl std::fmt::Display,
    ) -> Self {
        elman::Error::unsupported(what, expected, found).into()
    }
}
