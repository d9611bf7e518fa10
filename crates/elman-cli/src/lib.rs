#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod check_data;
#[cfg(feature = "columns")]
mod columns;
mod command;
mod config_file;
mod convert;
mod demo;
mod evaluate;
mod export;
mod hash;
mod import;
mod input;
mod inspect;
mod kernels;
mod neighbors;
mod output;
mod page;
mod recipes;
mod search;
mod shell;
mod tag;
mod train;
mod verify;

use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};
use elman_tagger::Error;
use elman_tagger::TrainConfig;

const EXIT_CODES: &str = "\
Results go to the standard output, progress to the standard error (and only if that is a terminal).

Exit codes:
   0  done
   1  failure of another kind, for example a training that diverged or an implementation that is wrong
   2  wrong usage: an option that is not known, or that the chosen kernel does not have
  65  bad input: a file was read, and its content is wrong; the message names the file and, in text, the line
  74  a file or folder is not there, or could not be read or written
 130  a training or a search was interrupted (SIGINT, SIGTERM, SIGHUP, SIGXCPU, SIGUSR1, SIGUSR2); the best model of
      the finished epochs, or the finished trials, are saved";

/// The Elman network of the Theano slot-filling tutorial: trains, evaluates and tags.
#[derive(Parser)]
#[command(name = "elman", version, after_help = EXIT_CODES)]
struct Cli {
    /// Takes options from a TOML file: `epochs = 20`, or in a table named as the subcommand; options of the
    /// command line win, and `--lowercase=false` takes back a flag that the file sets
    #[arg(long, value_name = "FILE", global = true, help_heading = "Global options")]
    config: Option<std::path::PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Trains on travel requests that the program makes itself, then tags three; no files, no network
    #[command(after_help = EXIT_CODES)]
    Demo(demo::Args),
    /// Trains a tagger on CoNLL column files and writes a model folder
    #[command(after_help = EXIT_CODES)]
    Train(Box<train::Args>),
    /// Lists the recipes of `train`: what each stands for, and what was measured of it
    #[command(after_help = EXIT_CODES)]
    Recipes(recipes::Args),
    /// Trains many taggers with settings drawn at random from the tutorial's intervals and keeps the best
    #[command(after_help = EXIT_CODES)]
    Search(Box<search::Args>),
    /// Prints conlleval's report: of a model on a file, or of a file that has right and predicted tags
    #[command(after_help = EXIT_CODES)]
    Evaluate(evaluate::Args),
    /// As the script conlleval, byte for byte: `evaluate` that knows the script's rules alone
    #[command(after_help = EXIT_CODES)]
    Conlleval(evaluate::Args),
    /// Reads sentences, writes word TAB tag, a blank line after each sentence
    #[command(after_help = EXIT_CODES)]
    Tag(tag::Args),
    /// Prints the SHA-256 of a model's weights, so that two machines compare their results in one line
    ///
    /// The hashed bytes are the entries of the tensors emb, wx, wh, w, bh, bhn (of a GRU), b, h0 and c0 (of an LSTM) in
    /// this order, each tensor row by row, each entry a little-endian IEEE 754 number of 32 bits, and nothing else.
    #[command(after_help = EXIT_CODES)]
    Hash(hash::Args),
    /// Shows what is in a model: shapes, norms, labels, words
    #[command(after_help = EXIT_CODES)]
    Inspect(inspect::Args),
    /// The words whose embeddings are nearest to a word's
    #[command(after_help = EXIT_CODES)]
    Neighbors(neighbors::Args),
    /// Counts what is in a CoNLL column file and names the lines that look like mistakes
    #[command(after_help = EXIT_CODES)]
    CheckData(check_data::Args),
    /// Writes a corpus in another scheme or form: IOB2 from IOBES, columns from JSON lines, from ATIS as published
    #[command(after_help = EXIT_CODES)]
    Convert(convert::Args),
    /// Writes a model in another system's format: the Theano tutorial's .npy files, PyTorch, ONNX
    #[command(after_help = EXIT_CODES)]
    Export(export::Args),
    /// Makes a model of the Theano tutorial's .npy files or of a PyTorch file
    #[command(after_help = EXIT_CODES)]
    Import(import::Args),
    /// Puts an implementation through the suite that proves it: every gradient, against three derivations
    #[command(after_help = EXIT_CODES)]
    Verify(verify::Args),
    /// Prints a script that teaches a shell to complete the program's options
    Completions(shell::Completions),
    /// Prints the program's manual page, or writes those of all subcommands
    Man(shell::Manual),
}

/// Does what the command line says; errors go to the standard error.
pub fn main() -> ExitCode {
    // A file beyond the limit (`ulimit -f`) is then an error of the write, and not the end of the program.
    #[cfg(unix)]
    let _ = signal_hook::flag::register(signal_hook::consts::SIGXFSZ, Default::default());
    let command = config_file::expand(std::env::args_os().collect(), &Cli::command())
        .map(|arguments| Cli::parse_from(arguments).command);
    match command.and_then(run) {
        Ok(code) => code,
        // Whoever read the results has had enough of them, as `head` has: that is no failure.
        Err(error) if output::is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            // If even this cannot be written, the exit code is all there is to say it.
            let code = exit_code(&error);
            let _ = writeln!(std::io::stderr(), "{}", input::with_suggestion(error));
            ExitCode::from(code)
        }
    }
}

fn run(command: Command) -> Result<ExitCode, Error> {
    match command {
        Command::Demo(args) => demo::run(&args),
        Command::Train(args) => train::run(&args),
        Command::Recipes(args) => recipes::run(&args),
        Command::Search(args) => search::run(&args),
        Command::Evaluate(args) => evaluate::run(&args, false),
        Command::Conlleval(args) => evaluate::run(&args, true),
        Command::Tag(args) => tag::run(&args),
        Command::Hash(args) => hash::run(&args),
        Command::Inspect(args) => inspect::run(&args),
        Command::Neighbors(args) => neighbors::run(&args),
        Command::CheckData(args) => check_data::run(&args),
        Command::Convert(args) => convert::run(&args),
        Command::Export(args) => export::run(&args),
        Command::Import(args) => import::run(&args),
        Command::Verify(args) => {
            return Ok(if verify::run(&args)? { ExitCode::SUCCESS } else { ExitCode::FAILURE });
        }
        Command::Completions(args) => shell::completions(&args, Cli::command()),
        Command::Man(args) => shell::manual(&args, Cli::command()),
    }
    .map(|()| ExitCode::SUCCESS)
}

/// Reads a command line (without the program's name) and does nothing; of `train`, how it would train. For tests.
///
/// # Errors
/// Clap's answer, which may be help or the version.
#[doc(hidden)]
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Option<TrainConfig>, clap::Error> {
    let program = std::iter::once(OsString::from("elman"));
    match Cli::try_parse_from(program.chain(arguments))?.command {
        Command::Train(args) => Ok(args.config().ok()),
        _ => Ok(None),
    }
}

fn exit_code(error: &Error) -> u8 {
    match error {
        Error::Network(elman::Error::Unsupported { .. }) => 2,
        Error::Input { .. } => 65,
        Error::Io { .. } => 74,
        Error::Interrupted { .. } => 130,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_well_formed() {
        super::Cli::command().debug_assert();
    }
}
