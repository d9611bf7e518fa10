//! What a shell needs to know of the program: completions and manual pages.

use std::fs;
use std::path::PathBuf;

use clap::Command;
use clap_complete::Shell;
use clap_mangen::Man;
use elman_tagger::{Error, FileKind, write_output};

use crate::output::{check_file, print};

/// Requests of roff begin with a dot.
const PAGE: FileKind = FileKind { name: "a manual page", begins: |start| start[0] == b'.' };

#[derive(clap::Args)]
pub(crate) struct Completions {
    /// The shell, for example: elman completions bash > ~/.local/share/bash-completion/completions/elman
    shell: Shell,
}

#[derive(clap::Args)]
pub(crate) struct Manual {
    /// Write the pages of all subcommands into this folder instead of printing the program's
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

pub(crate) fn completions(args: &Completions, mut program: Command) -> Result<(), Error> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut program, "elman", &mut script);
    print(&String::from_utf8_lossy(&script))
}

pub(crate) fn manual(args: &Manual, program: Command) -> Result<(), Error> {
    let io = |path: &str| {
        let path = PathBuf::from(path);
        move |source| Error::Io { path, action: "write", source }
    };
    match &args.out {
        Some(folder) => {
            let pages = tempfile::tempdir().map_err(io("manual pages"))?;
            clap_mangen::generate_to(program, pages.path()).map_err(io("manual pages"))?;
            let mut files = Vec::new();
            for entry in pages.path().read_dir().map_err(io("manual pages"))? {
                let entry = entry.map_err(io("manual pages"))?;
                files.push((
                    folder.join(entry.file_name()),
                    fs::read(entry.path()).map_err(io("manual pages"))?,
                ));
            }
            files.iter().try_for_each(|(file, _)| check_file(file, PAGE))?;
            files.iter().try_for_each(|(file, page)| write_output(file, PAGE, page))
        }
        None => {
            let mut page = Vec::new();
            Man::new(program).render(&mut page).map_err(io("manual page"))?;
            print(&String::from_utf8_lossy(&page))
        }
    }
}
