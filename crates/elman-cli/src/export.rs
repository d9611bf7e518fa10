use std::path::PathBuf;

use elman::Params;
use elman_formats::tagger::Names;
use elman_formats::{Nonlinearity, Number, npy, onnx, torch};
use elman_tagger::{Error, Model};

use crate::output::check_file;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// The model folder
    #[arg(long, value_name = "DIR")]
    model: PathBuf,
    /// What to write
    #[arg(long, value_enum)]
    to: Format,
    /// The file (torch, onnx) or folder (npy) to write; what is there of the same kind is replaced
    out: PathBuf,
    /// Number type [default: f32] [of npy and torch]
    #[arg(long, value_enum, hide_default_value = true)]
    dtype: Option<Dtype>,
    /// Names of the tutorial's files: wx, wh, w or Wx, Wh, W [default: lower] [of npy]
    #[arg(long, value_enum)]
    names: Option<FileNames>,
    /// Order of a matrix's entries [default: c] [of npy]
    #[arg(long, value_enum)]
    order: Option<Order>,
    /// What the file's recurrence computes; the probabilities are the same [default: tanh for torch, which nn.RNN
    /// does; sigmoid for onnx; tract wants tanh] [of torch and onnx]
    #[arg(long, value_enum)]
    nonlinearity: Option<NonlinearityName>,
    #[command(flatten)]
    naming: NamingArgs,
}

/// How the tensors of a PyTorch file are called, where that is not as `elman export` calls them.
#[derive(clap::Args)]
pub(crate) struct NamingArgs {
    /// What stands before the names of the tensors, for example `model.`; tensors without it are not read [of torch]
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    pub(crate) prefix: String,
    /// Calls a tensor or a module otherwise: BEFORE is its name in the file that is read (or in this program, for a
    /// file that is written), AFTER in this program (or in the file). The names of this program are emb.weight,
    /// rnn.weight_ih_l0, rnn.weight_hh_l0, rnn.bias_ih_l0, rnn.bias_hh_l0, out.weight, out.bias, h0, c0. Can be given more
    /// than once [of torch]
    #[arg(long, value_name = "BEFORE=AFTER", value_parser = renaming, action = clap::ArgAction::Append)]
    pub(crate) rename: Vec<(String, String)>,
}

impl NamingArgs {
    pub(crate) fn naming(&self) -> torch::Naming {
        torch::Naming { prefix: self.prefix.clone(), renames: self.rename.clone() }
    }
}

fn renaming(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((before, after)) if !before.is_empty() && !after.is_empty() => {
            Ok((before.to_owned(), after.to_owned()))
        }
        _ => Err("expected two names with = between them, for example encoder=rnn".to_owned()),
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// The Theano tutorial's folder of seven .npy files, and vocab.txt and labels.txt beside them
    Npy,
    /// A safetensors file of PyTorch's nn.Embedding, nn.RNN, nn.GRU or nn.LSTM, and nn.Linear
    Torch,
    /// An ONNX file, with labels and vocabulary in its metadata
    Onnx,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Dtype {
    F32,
    F64,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum FileNames {
    Lower,
    Capital,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Order {
    C,
    Fortran,
}

#[derive(Clone, Copy, clap::ValueEnum)]
pub(crate) enum NonlinearityName {
    Tanh,
    Sigmoid,
}

impl From<NonlinearityName> for Nonlinearity {
    fn from(name: NonlinearityName) -> Self {
        match name {
            NonlinearityName::Tanh => Nonlinearity::Tanh,
            NonlinearityName::Sigmoid => Nonlinearity::Sigmoid,
        }
    }
}

impl Args {
    fn npy(&self) -> npy::Options {
        npy::Options {
            names: match self.names.unwrap_or(FileNames::Lower) {
                FileNames::Lower => npy::Names::Lower,
                FileNames::Capital => npy::Names::Capital,
            },
            order: match self.order.unwrap_or(Order::C) {
                Order::C => npy::Order::C,
                Order::Fortran => npy::Order::Fortran,
            },
        }
    }
}

pub(crate) fn run(args: &Args) -> Result<(), Error> {
    let refuse = |option: &str, given: bool, formats: &[Format]| {
        if given && !formats.contains(&args.to) {
            let to = |formats: String| format!("--to {}", formats.to_lowercase());
            let (expected, found) = (to(format!("{formats:?}")), to(format!("{:?}", args.to)));
            return Err(Error::unsupported(format!("option {option}"), expected, found));
        }
        Ok(())
    };
    refuse("--dtype", args.dtype.is_some(), &[Format::Npy, Format::Torch])?;
    refuse("--names", args.names.is_some(), &[Format::Npy])?;
    refuse("--order", args.order.is_some(), &[Format::Npy])?;
    refuse("--prefix", !args.naming.prefix.is_empty(), &[Format::Torch])?;
    refuse("--rename", !args.naming.rename.is_empty(), &[Format::Torch])?;
    refuse("--nonlinearity", args.nonlinearity.is_some(), &[Format::Torch, Format::Onnx])?;

    match args.to {
        // Its names depend on the model.
        Format::Npy => {}
        Format::Torch => check_file(&args.out, torch::KIND)?,
        Format::Onnx => check_file(&args.out, onnx::KIND)?,
    }
    let model = Model::load(&args.model)?;
    let features = model.vocabulary().features();
    if !features.is_none() {
        // Its embeddings are sums of rows, which no other system's format can say.
        let expected = "words without features (trained without --affixes and --shape)";
        return Err(Error::unsupported("model to export", expected, format!("{features:?}")));
    }
    match args.dtype.unwrap_or(Dtype::F32) {
        Dtype::F32 => write(args, &model, model.params()),
        Dtype::F64 => write(args, &model, &model.params().map(f64::from)),
    }
}

fn write<T: Number>(args: &Args, model: &Model, params: &Params<T>) -> Result<(), Error> {
    let names = Names::of(model);
    match args.to {
        Format::Npy => npy::write(&args.out, params, &names.to_files(), args.npy()),
        Format::Torch => {
            let nonlinearity = args.nonlinearity.unwrap_or(NonlinearityName::Tanh).into();
            torch::write_named(&args.out, params, nonlinearity, names.to_metadata()?, &args.naming.naming())
        }
        Format::Onnx => {
            let nonlinearity = args.nonlinearity.unwrap_or(NonlinearityName::Sigmoid).into();
            onnx::write(&args.out, model.params(), nonlinearity, names.to_metadata()?)
        }
    }
}
