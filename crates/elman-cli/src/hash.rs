use std::path::PathBuf;

use elman_tagger::{Error, Model};

use crate::output::print;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Model folders
    #[arg(value_name = "MODEL", required = true)]
    models: Vec<PathBuf>,
}

pub(crate) fn run(args: &Args) -> Result<(), Error> {
    for path in &args.models {
        print(&format!("{}  {}\n", Model::load(path)?.hash(), path.display()))?;
    }
    Ok(())
}
