use std::path::PathBuf;

use elman::Error;
use elman_formats::tagger::Import;
use elman_tagger::{Model, Normalization, UNKNOWN};

use crate::export::{Cell, NamingArgs};
use crate::train::NetworkName;

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
    /// Which network is in the folder [default: jordan if it has s0.npy, else elman] [of npy]
    #[arg(long, value_enum)]
    network: Option<NetworkName>,
    /// What the file's recurrence computes [default: what its metadata says, or tanh] [of torch]
    #[arg(long, value_enum)]
    nonlinearity: Option<Cell>,
    #[command(flatten)]
    naming: NamingArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// The Theano tutorial's folder of seven .npy files
    Npy,
    /// A safetensors file of PyTorch's nn.Embedding, nn.RNN and nn.Linear
    Torch,
}

pub(crate) fn run(args: &Args) -> Result<(), Error> {
    let refuse = |option: &str, given: bool, of: Format| {
        if given && args.from != of {
            let name = |format: Format| format!("--from {}", format!("{format:?}").to_lowercase());
            return Err(Error::Unsupported {
                what: format!("option {option}"),
                expected: name(of),
                found: name(args.from),
            });
        }
        Ok(())
    };
    refuse("--network", args.network.is_some(), Format::Npy)?;
    refuse("--nonlinearity", args.nonlinearity.is_some(), Format::Torch)?;
    refuse("--prefix", !args.naming.prefix.is_empty(), Format::Torch)?;
    refuse("--rename", !args.naming.rename.is_empty(), Format::Torch)?;
    Model::check_target(&args.model)?;
    let import = Import {
        words: args.words.clone(),
        labels: args.labels.clone(),
        unknown: args.unknown.clone(),
        normalization: Normalization { lowercase: args.lowercase, digits: args.digits },
        dashes: "--",
    };
    let model = match args.from {
        Format::Npy => import.npy(&args.source, args.network.map(Into::into))?,
        Format::Torch => {
            import.torch(&args.source, args.nonlinearity.map(Into::into), &args.naming.naming())?
        }
    };
    model.save(&args.model, &[])
}
