//! Writes the file that every system in the comparison reads: sentences as ids, and the first parameters.
#![forbid(unsafe_code)]

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use elman::Shape;
use elman_benches::Workload;
use elman_reference::Reference;
use elman_tagger::{Error, read_conll, travel};

/// Writes the sentences, as ids, and the first parameters, for all systems to read.
#[derive(Parser)]
struct Arguments {
    /// A folder with train.conll and test.conll; without it, the demo's own corpus.
    #[arg(long)]
    data: Option<PathBuf>,
    /// The file to write.
    #[arg(long)]
    out: PathBuf,
    /// Width of the hidden state.
    #[arg(long, default_value_t = 200)]
    hidden: usize,
    /// Width of an embedding.
    #[arg(long, default_value_t = 50)]
    embed: usize,
    /// Number of words that the network sees at a time; odd.
    #[arg(long, default_value_t = 7)]
    window: usize,
    /// Seed of the parameters.
    #[arg(long, default_value_t = 42)]
    seed: u64,
    /// Epochs after which the parameters are kept for tagging.
    #[arg(long, default_value_t = 1)]
    epochs: usize,
    /// Learning rate of those epochs.
    #[arg(long, default_value_t = 0.097_080_67)]
    lr: f32,
}

fn main() -> ExitCode {
    match prepare(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn prepare(arguments: &Arguments) -> Result<(), Error> {
    let Arguments { data, out, hidden, embed, window, seed, epochs, lr } = arguments;
    let (name, train, test) = match data {
        Some(folder) => {
            let name = folder.file_name().unwrap_or(folder.as_os_str()).to_string_lossy().into_owned();
            (name, read_conll(folder.join("train.conll"))?, read_conll(folder.join("test.conll"))?)
        }
        None => ("travel requests".to_string(), travel::corpus(1, 2000), travel::corpus(2, 500)),
    };
    let (embed, window, hidden) = (*embed, *window, *hidden);
    let sizes = |vocab, classes| Shape { vocab, embed, window, hidden, classes, ..Shape::ELMAN };
    let mut workload = Workload::new(name, &train, &test, sizes, *seed)?;
    workload.train(&Reference::new(), *epochs, *lr)?;
    workload.save(out)?;
    let (train, test, shape) = (workload.train.batch(), workload.test.batch(), workload.params.shape());
    println!(
        "{}: {} sentences, {} words to train on, {} sentences to tag, {shape:?}",
        workload.corpus,
        train.len(),
        train.words().len(),
        test.len()
    );
    Ok(())
}
