//! The book in `docs`: every block of every chapter is run, compiled or looked up.
//!
//! | block | what is done with it |
//! |---|---|
//! | `sh` | run as a script in the chapter's folder, with the program `elman` on the path |
//! | `console` | each command after `$ ` is run so, and must print what is shown (see `elman_examples::is_shown`) |
//! | `sh no_run`, `cargo` in a console | packages, tests, examples and options must exist; what an example prints is compared by its own test |
//! | `rust` | a doctest of `elman-examples` |
//! | `rs`, `c`, `py` | an excerpt: it stands so, but for the margin, in one of the sources that the chapter links to |
//! | `python` | together one program, run where PyTensor is installed; its output is the chapter's `text output` |
//! | `text` | equations |
#![cfg(unix)]

use std::ffi::OsString;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use assert_cmd::cargo::cargo_bin;
use elman_examples::{Block, blocks, code_spans, commands, is_shown, links};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The chapters, by file name, as the summary lists them.
fn chapters() -> Vec<(String, String)> {
    let docs = root().join("docs");
    let names = links(&read(&docs.join("SUMMARY.md")));
    names.into_iter().map(|name| (name.clone(), read(&docs.join(name)))).collect()
}

fn blocks_of(languages: &[&str]) -> Vec<(String, Block)> {
    let of =
        |(name, text): (String, String)| blocks(&text).into_iter().map(move |block| (name.clone(), block));
    chapters().into_iter().flat_map(of).filter(|(_, block)| languages.contains(&block.language())).collect()
}

#[test]
fn every_file_is_a_chapter_and_every_link_leads_somewhere() {
    let root = root();
    let mut listed: Vec<String> = chapters().into_iter().map(|(name, _)| name).collect();
    listed.push("SUMMARY.md".to_owned());
    listed.sort();
    let mut files: Vec<String> = fs::read_dir(root.join("docs"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(".md"))
        .collect();
    files.sort();
    assert_eq!(files, listed);

    let mut pages: Vec<PathBuf> = files.iter().map(|name| root.join("docs").join(name)).collect();
    pages.extend(["README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md"].map(|name| root.join(name)));
    for page in pages {
        let (text, folder) = (read(&page), page.parent().unwrap());
        for link in links(&text) {
            if link.contains("://") {
                continue;
            }
            let (path, anchor) = link.split_once('#').unwrap_or((&link, ""));
            assert!(folder.join(path).exists(), "{}: {link} leads nowhere", page.display());
            // mdbook makes .html of every .md, and has pages for its chapters alone.
            let chapter = !path.contains('/') || !path.ends_with(".md");
            assert!(folder != root.join("docs") || chapter, "{}: {link} is no chapter", page.display());
            let target = if path.is_empty() { text.clone() } else { String::new() };
            assert!(
                anchor.is_empty()
                    || target.is_empty()
                    || headings(&target).iter().any(|heading| heading == anchor),
                "{}: {link} leads to no heading",
                page.display()
            );
        }
    }
}

/// The anchors of a page's headings.
fn headings(text: &str) -> Vec<String> {
    text.lines()
        .filter_map(|line| line.strip_prefix('#').map(|rest| rest.trim_start_matches('#').trim()))
        .map(|heading| {
            heading.to_lowercase().replace(' ', "-").replace(|c: char| !c.is_alphanumeric() && c != '-', "")
        })
        .collect()
}

#[test]
fn every_block_is_of_a_kind_that_is_tested() {
    let doctests = read(&root().join("examples/book.rs"));
    let mut counted = 0;
    for (name, text) in chapters() {
        for block in blocks(&text) {
            let known = match block.language() {
                "sh" | "console" | "rs" | "c" | "py" | "text" => true,
                "python" => name == "from-theano.md",
                "rust" => block.info == "rust" && doctests.contains(&format!("docs/{name}\")]")),
                _ => false,
            };
            assert!(known, "docs/{name}:{}: nothing tests a block of `{}`", block.line, block.info);
            counted += 1;
        }
    }
    assert!(counted > 30, "{counted} blocks in the whole book");
}

#[test]
fn commands_do_what_the_chapters_say() {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let program = cargo_bin!("elman");
    let folders = [program.parent().unwrap().to_owned()].into_iter().chain(std::env::split_paths(&path));
    let path = std::env::join_paths(folders).unwrap();
    let mut run_in_all = 0;
    for (name, text) in chapters() {
        let folder = tempfile::tempdir().unwrap();
        let run = |line: usize, script: &str| -> String {
            let output = Command::new("sh")
                // The order of what comes on the standard output and the standard error is kept.
                .args(["-e", "-c", &format!("exec 2>&1\n{script}")])
                .current_dir(folder.path())
                .env("PATH", &path)
                .env_remove("NO_COLOR")
                .env_remove("CLICOLOR_FORCE")
                .stdin(Stdio::null())
                .output()
                .unwrap();
            let printed = String::from_utf8(output.stdout).unwrap();
            assert!(output.status.success(), "docs/{name}:{line}: {}:\n{script}\n{printed}", output.status);
            printed
        };
        for block in blocks(&text) {
            match block.language() {
                "sh" if !block.no_run() => {
                    run(block.line, &block.text);
                    run_in_all += 1;
                }
                "console" => {
                    for (command, shown) in commands(&block.text) {
                        if command.starts_with("cargo ") {
                            continue; // the next test's, and the example's
                        }
                        let printed = run(block.line, command);
                        assert!(
                            is_shown(&shown, &printed),
                            "docs/{name}:{}: `{command}` printed\n{printed}\nthe chapter shows\n{shown}",
                            block.line
                        );
                        run_in_all += 1;
                    }
                }
                _ => {}
            }
        }
    }
    assert!(run_in_all >= 8, "{run_in_all} commands in the whole book");
}

#[test]
fn commands_that_are_not_run_could_be() {
    let root = root();
    let mut lines: Vec<(String, String)> = Vec::new();
    let mut pages: Vec<(String, String)> =
        chapters().into_iter().map(|(name, text)| (format!("docs/{name}"), text)).collect();
    // Of these two nothing is run: they name folders and files of the reader's.
    pages.extend(["README.md", "CONTRIBUTING.md"].map(|name| (name.to_owned(), read(&root.join(name)))));
    for (page, text) in pages {
        let readme = !page.starts_with("docs/");
        for block in blocks(&text) {
            match block.language() {
                "sh" if block.no_run() || readme => {
                    lines.extend(block.text.lines().map(|line| (page.clone(), line.to_owned())));
                }
                "console" => {
                    let cargo = commands(&block.text)
                        .into_iter()
                        .filter(|(command, _)| command.starts_with("cargo "));
                    lines.extend(cargo.map(|(command, _)| (page.clone(), command.to_owned())));
                }
                _ => {}
            }
        }
        let spans = code_spans(&text).into_iter().filter(|span| span.contains("cargo "));
        lines.extend(spans.map(|span| (page.clone(), span)));
    }
    assert!(lines.len() > 20, "{} commands", lines.len());
    for (page, line) in lines {
        for command in
            line.split(" # ").next().unwrap_or_default().split(['|', ';']).flat_map(|c| c.split("&&"))
        {
            if let Err(problem) = could_run(&root, command) {
                panic!("{page}: {command:?}: {problem}");
            }
        }
    }
}

/// Whether what a command names exists: options of `elman`, packages, tests and examples of the workspace, scripts.
fn could_run(root: &Path, command: &str) -> Result<(), String> {
    let words: Vec<&str> = command
        .split_whitespace()
        .skip_while(|word| {
            word.split_once('=').is_some_and(|(name, _)| name.chars().all(|c| c.is_uppercase() || c == '_'))
        })
        .map(|word| word.trim_matches(['"', '\'']))
        .collect();
    let Some((program, arguments)) = words.split_first() else { return Ok(()) };
    match *program {
        "cc" => match arguments.iter().find(|word| word.ends_with(".c")) {
            Some(source) if root.join(source).is_file() => Ok(()),
            _ => Err("cc without a source that is there".to_owned()),
        },
        "echo" | "cat" | "sha256sum" | "pip" | "maturin" => Ok(()),
        "elman" => elman(arguments),
        "cargo" => cargo(root, arguments),
        script if root.join(script).is_file() => Ok(()),
        other => Err(format!("{other} is not known")),
    }
}

fn elman(arguments: &[&str]) -> Result<(), String> {
    match elman_cli::parse(arguments.iter().take_while(|word| **word != "<").map(OsString::from)) {
        Err(error) if error.exit_code() != 0 => Err(error.to_string()),
        _ => Ok(()),
    }
}

fn cargo(root: &Path, arguments: &[&str]) -> Result<(), String> {
    // A toolchain comes first, if one is named.
    let arguments = &arguments[usize::from(arguments.first().is_some_and(|word| word.starts_with('+')))..];
    let (Some(subcommand), mut rest) = (arguments.first(), arguments.iter().skip(1).copied()) else {
        return Ok(());
    };
    if !["run", "test", "install", "bench", "doc", "mutants", "llvm-cov"].contains(subcommand) {
        return Err(format!("cargo {subcommand} is not known"));
    }
    if *subcommand == "install" {
        return match arguments[1..] {
            ["--locked", "--path", path] if !root.join(path).join("Cargo.toml").is_file() => {
                Err(format!("{path} is no package"))
            }
            ["--locked", ..] => Ok(()),
            _ => Err("cargo install without --locked takes versions that were not tested".to_owned()),
        };
    }
    // The folder of the package; without one, that of the default member.
    let mut package = root.join("crates/elman-cli");
    let mut target: Option<PathBuf> = None;
    let mut own = Vec::new();
    while let Some(word) = rest.next() {
        let exists = |candidates: &[PathBuf]| {
            let found = candidates.iter().find(|candidate| candidate.is_file()).cloned();
            found.ok_or_else(|| format!("there is no {}", candidates[0].display()))
        };
        let mut value = || rest.next().ok_or_else(|| format!("{word} without a value"));
        match word {
            "-p" | "--package" => {
                let name = value()?;
                let manifest = format!("name = \"{name}\"");
                let folders = fs::read_dir(root.join("crates")).map_err(|error| error.to_string())?;
                let folders = folders.filter_map(|entry| Some(entry.ok()?.path()));
                package = folders
                    .chain([root.join("benches"), root.join("examples")])
                    .find(|folder| {
                        fs::read_to_string(folder.join("Cargo.toml"))
                            .is_ok_and(|text| text.lines().any(|line| line == manifest))
                    })
                    .ok_or_else(|| format!("{name} is no package"))?;
            }
            "--test" => {
                let name = value()?;
                let tests = package.join("tests");
                target = Some(exists(&[tests.join(format!("{name}.rs")), tests.join(name).join("main.rs")])?);
            }
            "--example" => {
                let name = value()?;
                let file = format!("{name}.rs");
                target = Some(exists(&[package.join("examples").join(&file), package.join(file)])?);
            }
            "--bin" => target = Some(exists(&[package.join("src/bin").join(format!("{}.rs", value()?))])?),
            "--bench" => target = Some(exists(&[package.join("benches").join(format!("{}.rs", value()?))])?),
            "--" => {
                own = rest.by_ref().collect();
            }
            "--release" | "--workspace" | "--locked" | "--no-deps" | "--open" | "-q" => {}
            filter if *subcommand == "test" && !filter.starts_with('-') => {
                let file = target.clone().ok_or("a filter of tests without --test")?;
                let text = read(&file);
                let mut names = text.lines().filter_map(|line| line.trim_start().strip_prefix("fn "));
                if !names.any(|name| name.contains(filter)) {
                    return Err(format!("no test of {} is named {filter}", file.display()));
                }
            }
            // A file of the sources, as a glob from any folder.
            "-f" if *subcommand == "mutants" => {
                let name = value()?.trim_start_matches("**/").trim_end_matches('*');
                let src = package.join("src");
                exists(&[src.join(name), src.join(format!("{name}.rs"))])?;
            }
            "--branch" if *subcommand == "llvm-cov" => {}
            "--failure-mode" if *subcommand == "llvm-cov" => _ = value()?,
            other => return Err(format!("{other} is not known")),
        }
    }
    match (*subcommand, &target) {
        ("run", None) => elman(&own),
        // Its own test compares what it prints with the chapter.
        ("run", Some(file)) if package.ends_with("examples") && !read(file).contains("assert_shown(") => {
            Err(format!("{} does not compare what it prints with the book", file.display()))
        }
        _ => Ok(()),
    }
}

#[test]
fn excerpts_stand_in_the_sources() {
    let root = root();
    let excerpts = blocks_of(&["rs", "c", "py"]);
    assert!(excerpts.len() > 10, "{} excerpts", excerpts.len());
    for (name, block) in excerpts {
        let chapter = read(&root.join("docs").join(&name));
        let sources: Vec<String> = links(&chapter)
            .into_iter()
            .filter(|link| link.ends_with(&format!(".{}", block.language())))
            .collect();
        let found = sources.iter().any(|link| {
            let source = read(&root.join("docs").join(link));
            (0..24).step_by(4).any(|margin| source.contains(&with_margin(&block.text, margin)))
        });
        assert!(found, "docs/{name}:{}: in none of {sources:?}:\n{}", block.line, block.text);
    }
}

fn with_margin(text: &str, margin: usize) -> String {
    let line = |line: &str| if line.is_empty() { "\n".to_owned() } else { format!("{:margin$}{line}\n", "") };
    text.lines().map(line).collect()
}

/// PyTensor under Theano's names: where they have moved, and a softmax that makes a row of a vector, as Theano's did.
const PYTENSOR: &str = r#"
import sys, types, warnings
warnings.simplefilter("ignore")
import pytensor
import pytensor.tensor
from pytensor.tensor.special import softmax
pytensor.config.floatX, pytensor.config.mode, pytensor.config.cxx = "float64", "FAST_COMPILE", ""
as_rows = lambda y: softmax(y[None, :] if y.ndim == 1 else y, axis=-1)
pytensor.tensor.nnet = types.SimpleNamespace(sigmoid=pytensor.tensor.sigmoid, softmax=as_rows)
sys.modules["theano"], sys.modules["theano.tensor"] = pytensor, pytensor.tensor
"#;

#[test]
fn the_theano_side_computes_the_same_numbers() {
    let program: String = blocks_of(&["python"]).into_iter().map(|(_, block)| block.text).collect();
    assert!(!program.is_empty());
    let python = std::env::var_os("ELMAN_PYTHON").unwrap_or_else(|| "python3".into());
    let run = |script: &str| {
        let mut command = Command::new(&python);
        command.args(["-c", script]).stdin(Stdio::null()).output()
    };
    if !run("import pytensor").is_ok_and(|output| output.status.success()) {
        // Not by a macro: those of a test that passes are not shown.
        let _ = writeln!(
            std::io::stderr(),
            "the_theano_side_computes_the_same_numbers: SKIPPED, for want of a Python with PyTensor (ELMAN_PYTHON)"
        );
        return;
    }
    let output = run(&format!("{PYTENSOR}{program}")).unwrap();
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let shown = blocks_of(&["text"]).into_iter().find(|(_, block)| block.info == "text output").unwrap().1;
    assert!(is_shown(&shown.text, &printed), "printed\n{printed}\nthe chapter shows\n{}", shown.text);
}
