use std::path::PathBuf;

use elman::Error;
use elman_formats::tagger::{Names, assemble};
use elman_formats::{npy, torch};
use elman_tagger::{Model, Normalization, UNKNOWN, read_lines};

use crate::export::Cell;
use crate::input;
use crate::train::NetworkName;

/// The words of a folder of .npy files, one a line.
pub(crate) const WORDS: &str = "vocab.txt";
/// Its tags.
pub(crate) const LABELS: &str = "labels.txt";

#[derive(clap::Args)]
pub(crate) struct Args {
    /// What to read
    #[arg(long, value_enum)]
    from: Format,
    /// The file (torch) or folder (npy) to read
    source: PathBuf,
    /// The model folder to write; a model that is there is replaced
    #[arg(long, value_name = "DIR")]
    model: PathBuf,
    /// The words in the order of their ids, one a line [default: vocab.txt in the folder (npy), the file's metadata
    /// (torch)]
    #[arg(long, value_name = "FILE")]
    words: Option<PathBuf>,
    /// The tags in the order of their ids, one a line [default: as for the words, labels.txt]
    #[arg(long, value_name = "FILE")]
    labels: Option<PathBuf>,
    /// The word that stands for all words that the network does not know
    #[arg(long, value_name = "WORD", default_value = UNKNOWN)]
    unknown: String,
    /// The network reads every word in lower case
    #[arg(long)]
    lowercase: bool,
    /// The network reads every digit as the word DIGIT
    #[arg(long)]
    digits: bool,
    /// Which network is in the folder, which does not say it [default: elman] [of npy]
    #[arg(long, value_enum)]
    network: Option<NetworkName>,
    /// What the file's recurrence computes [default: what its metadata says, or tanh] [of torch]
    #[arg(long, value_enum)]
    nonlinearity: Option<Cell>,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// The Theano tutorial's folder of seven .npy files
    Npy,
    /// A safetensors file of PyTorch's nn.Embedding, nn.RNN and nn.Linear
    Torch,
}

pub(crate) fn run(args: &Args) -> Result<(), Error> {
    Model::check_target(&args.model)?;
    let (params, names, kind) = match args.from {
        Format::Npy => {
            if args.nonlinearity.is_some() {
                return Err(Error::Unsupported {
                    what: "option --nonlinearity".into(),
                    expected: "--from torch".into(),
                    found: "--from npy".into(),
                });
            }
            let words = args.words.clone().unwrap_or_else(|| args.source.join(WORDS));
            let labels = args.labels.clone().unwrap_or_else(|| args.source.join(LABELS));
            let names = Names { words: read_lines(words)?, tags: read_lines(labels)?, ..Names::default() };
            let params = match args.network.unwrap_or_default() {
                NetworkName::Elman => npy::read::<f32>(&args.source)?,
                NetworkName::Jordan => npy::read_jordan::<f32>(&args.source)?,
            };
            (params, names, "npy")
        }
        Format::Torch => {
            if args.network.is_some() {
                return Err(Error::Unsupported {
                    what: "option --network".into(),
                    expected: "--from npy".into(),
                    found: "--from torch".into(),
                });
            }
            let (params, metadata) = torch::read(&args.source, args.nonlinearity.map(Into::into))?;
            let stored =
                Names::from_metadata(&metadata).map_err(|error| input::in_file(&args.source, error))?;
            let mut names = match stored {
                Some(names) => names,
                None if args.words.is_some() && args.labels.is_some() => Names::default(),
                None => {
                    return Err(Error::Input {
                        path: args.source.clone(),
                        line: None,
                        problem: "no vocabulary and labels in the metadata".into(),
                        expected: "them, or the options --words and --labels".into(),
                    });
                }
            };
            if let Some(words) = &args.words {
                names.words = read_lines(words)?;
            }
            if let Some(labels) = &args.labels {
                names.tags = read_lines(labels)?;
            }
            (params, names, "torch")
        }
    };
    let normalization = Normalization {
        lowercase: args.lowercase || names.normalization.lowercase,
        digits: args.digits || names.normalization.digits,
    };
    let model =
        assemble(params, Names { normalization, ..names }, &args.unknown, format!("imported from {kind}"))
            .map_err(|error| input::in_file(&args.source, error))?;
    model.save(&args.model, &[])
}
