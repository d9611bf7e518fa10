#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod by_word;
mod check;
mod checkpoint;
mod config;
mod conlleval;
mod corpus;
mod error;
mod folder;
mod forms;
mod layout;
pub mod limits;
mod lines;
mod model;
mod neighbors;
mod normalization;
mod output;
mod pipeline;
mod random;
mod scheme;
mod sequences;
mod trainer;
pub mod travel;
mod valid;
mod vectors;
mod vocabulary;

pub use check::{CorpusCheck, Suspicion, TagCount, Unseen, check_corpus, check_file, check_sentences};
pub use checkpoint::{Checkpoint, fingerprint};
pub use config::{Optimizer, Recipe, TrainConfig};
pub use conlleval::{ConllevalReader, Counts, Evaluation, RawTags, ReportForm};
pub use corpus::{
    ConllReader, ConllWriter, CorpusReader, RowLine, SentenceReader, TaggedSentence, Unlabelled,
    decompressed, json_object, read_conll, read_corpus,
};
pub use error::Error;
pub use folder::{Claim, replace as replace_folder};
pub use layout::{Column, ColumnLayout, Separator};
pub use limits::{MAX_LINE, MAX_TOKEN, MAX_WORDS};
pub use lines::Lines;
pub use model::{Model, Outcome, read_lines, repeated_key};
pub use neighbors::{Metric, Neighbor, neighbors};
pub use normalization::Normalization;
pub use output::{FileKind, check_output, write_output, write_output_with};
pub use pipeline::{Pipeline, Scored, Scoring, Sequence};
pub use scheme::{Phrase, Scheme, Tagging};
pub use sequences::MAX_SEQUENCES;
pub use trainer::{EpochRecord, Implementation, Measure, Progress, Trainer};
pub use valid::ValidTags;
pub use vectors::Vectors;
pub use vocabulary::{Features, Labels, UNKNOWN, Vocabulary};
