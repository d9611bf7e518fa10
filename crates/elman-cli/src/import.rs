use std::path::PathBuf;

use elman::Cell;
use elman_formats::tagger::Import;
use elman_tagger::{Error, Model, Normalization, UNKNOWN};

use crate::export::{NamingArgs, NonlinearityName};
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
    nonlinearity: Option<NonlinearityName>,
    /// The cell that the network becomes: elman, elman-tanh, elman-relu, gru or lstm; by default that of the file's metadata,
    /// and without one an nn.RNN with tanh becomes the network of a sigmoid that gives the same probabilities
    #[arg(long, value_name = "NAME", value_parser = cell)]
    cell: Option<Cell>,
    #[command(flatten)]
    naming: NamingArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// The Theano tutorial's folder of seven .npy files
    Npy,
    /// A safetensors file of PyTorch's nn.Embedding, nn.RNN, nn.GRU or nn.LSTM, and nn.Linear
    Torch,
}

fn cell(name: &str) -> Result<Cell, String> {
    name.parse().map_err(|_| format!("expected {}", Cell::ALL.map(|cell| cell.to_string()).join(", ")))
}

pub(crate) fn run(args: &Args) -> Result<(), Error> {
    let refuse = |option: &str, given: bool, of: Format| {
        if given && args.from != of {
            let name = |format: Format| format!("--from {}", format!("{format:?}").to_lowercase());
            return Err(Error::unsupported(format!("option {option}"), name(of), name(args.from)));
        }
        Ok(())
    };
    refuse("--network", args.network.is_some(), Format::Npy)?;
    refuse("--nonlinearity", args.nonlinearity.is_some(), Format::Torch)?;
    refuse("--cell", args.cell.is_some(), Format::Torch)?;
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
            let (cell, nonlinearity) = (args.cell, args.nonlinearity.map(Into::into));
            import.torch(&args.source, cell, nonlinearity, &args.naming.naming())?
        }
    };
    model.save(&args.model, &[])
}
