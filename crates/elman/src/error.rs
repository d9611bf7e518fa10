//! The errors that a definition can have: shapes, ranges, and what is not supported.

/// What went wrong, where, what was expected and what was found.
///
/// An implementation returns an error before it changes anything; no input makes it panic. Errors of files and of
/// trainings belong to the crates that read files and train.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A shape, a tensor or a length is not the expected one.
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
    /// Something that this build, machine or implementation does not have.
    #[error("{what}: expected {expected}, found {found}")]
    Unsupported {
        /// The thing, for example an instruction set.
        what: String,
        /// The choices.
        expected: String,
        /// The choice that was made.
        found: String,
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

    /// An [`Error::Unsupported`].
    pub fn unsupported(
        what: impl Into<String>,
        expected: impl std::fmt::Display,
        found: impl std::fmt::Display,
    ) -> Self {
        Error::Unsupported { what: what.into(), expected: expected.to_string(), found: found.to_string() }
    }
}
