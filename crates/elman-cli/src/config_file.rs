//! Options from a file: `--config FILE`.
//!
//! The file's keys are long options, at its top or in a table that is named as the subcommand. Those that the
//! command line has too are left out, so that the command line wins. `--FLAG=false` on the command line takes back
//! a flag that the file sets.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::path::Path;

use clap::{Arg, ArgAction, Command};
use elman_tagger::Error;
use toml::{Table, Value};

use crate::input::nearest;

/// The largest file that is read.
const MAX_BYTES: u64 = 1 << 20;

/// The command line with the options of its `--config FILE` in it, if it has one, and without the flags that it takes
/// back.
///
/// # Errors
/// [`Error::Io`] if the file cannot be read; [`Error::Input`] for what is no TOML, an option that the
/// subcommand does not have, or a value that is no option's.
pub(crate) fn expand(arguments: Vec<OsString>, program: &Command) -> Result<Vec<OsString>, Error> {
    let file = config_path(&arguments);
    // The subcommand is what clap finds first, too.
    let found = arguments
        .iter()
        .enumerate()
        .skip(1)
        .filter(|(index, _)| file.as_ref().is_none_or(|(at, _)| index != at))
        .find_map(|(index, argument)| Some((index, program.find_subcommand(argument.to_str()?)?)));
    let Some((index, subcommand)) = found else { return Ok(arguments) };
    let mut expanded = arguments;
    let mut own = expanded.split_off(index + 1);
    let mut options = match file {
        Some((_, path)) => options(Path::new(&path), subcommand, program, &given(&own, subcommand))?,
        None => Vec::new(),
    };
    take_back(&mut options, &mut own, subcommand);
    expanded.extend(options);
    expanded.extend(own);
    Ok(expanded)
}

/// Whether an option can stand without a value, as a flag does.
fn is_switch(argument: &Arg) -> bool {
    matches!(argument.get_action(), ArgAction::SetTrue)
        || argument.get_num_args().is_some_and(|n| n.min_values() == 0)
}

/// `--FLAG=false` of the command line takes the flag from the options before it; `--FLAG=true` is `--FLAG`.
fn take_back(options: &mut Vec<OsString>, own: &mut Vec<OsString>, subcommand: &Command) {
    let end = own.iter().position(|argument| argument == "--").unwrap_or(own.len());
    let rest = own.split_off(end);
    let mut kept: Vec<OsString> = Vec::with_capacity(own.len());
    for argument in own.drain(..) {
        let switch = argument.to_str().and_then(|text| {
            let (name, value) = text.strip_prefix("--")?.split_once('=')?;
            let value = value.parse::<bool>().ok()?;
            let known = subcommand.get_arguments().any(|a| a.get_long() == Some(name) && is_switch(a));
            known.then(|| (format!("--{name}"), value))
        });
        match switch {
            None => kept.push(argument),
            Some((flag, true)) => kept.push(flag.into()),
            Some((flag, false)) => {
                let with_value = format!("{flag}=");
                let other = |argument: &OsString| {
                    argument != &*flag && !argument.to_str().is_some_and(|text| text.starts_with(&with_value))
                };
                options.retain(other);
                kept.retain(other);
            }
        }
    }
    *own = kept;
    own.extend(rest);
}

/// The path of the file, and which argument names it.
fn config_path(arguments: &[OsString]) -> Option<(usize, OsString)> {
    let mut arguments = arguments.iter().enumerate().skip(1).take_while(|(_, argument)| *argument != "--");
    while let Some((index, argument)) = arguments.next() {
        if argument == "--config" {
            return arguments.next().map(|(index, path)| (index, path.clone()));
        }
        if let Some(path) = argument.to_str().and_then(|argument| argument.strip_prefix("--config=")) {
            return Some((index, path.into()));
        }
    }
    None
}

/// The long names of the options that are on the command line, by these or by their letters.
fn given(arguments: &[OsString], subcommand: &Command) -> BTreeSet<String> {
    let takes_value = |argument: &Arg| {
        argument.get_action().takes_values() && argument.get_num_args().is_none_or(|n| n.min_values() > 0)
    };
    let mut names = BTreeSet::new();
    let mut rest = arguments.iter().map(|argument| argument.to_string_lossy());
    while let Some(argument) = rest.next() {
        let found = if argument == "--" {
            break;
        } else if let Some(long) = argument.strip_prefix("--") {
            let (name, has_value) = long.split_once('=').map_or((long, false), |(name, _)| (name, true));
            let found = subcommand.get_arguments().find(|a| a.get_long() == Some(name));
            found.map(|found| (found, has_value))
        } else if let Some(letters) = argument.strip_prefix('-') {
            // Letters of flags, and then perhaps one whose value follows.
            letters.char_indices().find_map(|(at, letter)| {
                let found = subcommand.get_arguments().find(|a| a.get_short() == Some(letter))?;
                names.extend(found.get_long().map(str::to_owned));
                takes_value(found).then_some((found, at + letter.len_utf8() < letters.len()))
            })
        } else {
            None
        };
        if let Some((found, has_value)) = found {
            names.extend(found.get_long().map(str::to_owned));
            if takes_value(found) && !has_value {
                rest.next();
            }
        }
    }
    names
}

fn options(
    path: &Path,
    subcommand: &Command,
    program: &Command,
    given: &BTreeSet<String>,
) -> Result<Vec<OsString>, Error> {
    let io = |source| Error::Io { path: path.to_owned(), action: "read", source };
    let refuse = |line: Option<u64>, problem: String, expected: String| Error::Input {
        path: path.to_owned(),
        line,
        problem,
        expected,
    };
    let bytes = fs::metadata(path).map_err(io)?.len();
    if bytes > MAX_BYTES {
        return Err(refuse(None, format!("{bytes} bytes"), format!("at most {MAX_BYTES}")));
    }
    let text = fs::read_to_string(path).map_err(io)?;
    let mut table: Table = text.parse().map_err(|error: toml::de::Error| {
        let before = error.span().map_or(0, |span| span.start);
        let line = text.get(..before).map_or(1, |before| before.matches('\n').count() as u64 + 1);
        refuse(Some(line), error.message().to_owned(), "TOML".to_owned())
    })?;
    // Tables of other subcommands may stand in the same file. (`train` is an option, too.)
    let mut own = Table::new();
    for name in program.get_subcommands().map(Command::get_name) {
        if table.get(name).is_some_and(Value::is_table)
            && let Some(Value::Table(options)) = table.remove(name)
            && name == subcommand.get_name()
        {
            own = options;
        }
    }
    let mut arguments = Vec::new();
    // The subcommand's own table wins over the top of the file.
    let own_names: BTreeSet<String> = own.keys().map(|key| key.replace('_', "-")).collect();
    table.retain(|key, _| !own_names.contains(&key.replace('_', "-")));
    for (key, value) in table.into_iter().chain(own) {
        let name = key.replace('_', "-");
        let all = || subcommand.get_arguments().filter_map(|argument| argument.get_long());
        let Some(argument) = subcommand.get_arguments().find(|a| a.get_long() == Some(name.as_str())) else {
            let expected = match nearest(&name, all()) {
                Some(near) => format!("an option of elman {}, for example {near}", subcommand.get_name()),
                None => {
                    let all: Vec<_> = all().filter(|name| !matches!(*name, "help" | "version")).collect();
                    format!("an option of elman {}: {}", subcommand.get_name(), all.join(", "))
                }
            };
            return Err(refuse(None, format!("the key {key}"), expected));
        };
        let is_flag = matches!(argument.get_action(), ArgAction::SetTrue);
        if given.contains(&name) {
            continue;
        }
        let values = match value {
            Value::Array(values) if !matches!(argument.get_action(), ArgAction::Append) => {
                let (found, expected) =
                    (format!("{key} with {} values", values.len()), "one value".to_owned());
                return Err(refuse(None, found, expected));
            }
            Value::Array(values) => values,
            value => vec![value],
        };
        for value in values {
            match value {
                Value::Boolean(false) => {}
                Value::Boolean(true) if is_switch(argument) => {
                    arguments.push(format!("--{name}").into());
                }
                Value::String(value) if !is_flag => arguments.push(format!("--{name}={value}").into()),
                Value::Integer(value) if !is_flag => arguments.push(format!("--{name}={value}").into()),
                Value::Float(value) if !is_flag => arguments.push(format!("--{name}={value}").into()),
                other => {
                    let expected = if is_flag { "true or false" } else { "a string or a number" };
                    return Err(refuse(None, format!("{key} = {other}"), expected.to_owned()));
                }
            }
        }
    }
    Ok(arguments)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn expanded(file: &str, arguments: &[&str]) -> Result<Vec<String>, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("c.toml");
        fs::write(&path, file).unwrap();
        let mut all = vec!["elman".to_owned()];
        all.extend(arguments.iter().map(|argument| argument.replace("FILE", path.to_str().unwrap())));
        let all: Vec<OsString> = all.into_iter().map(OsString::from).collect();
        let program = crate::Cli::command();
        expand(all, &program)
            .map(|all| {
                all.into_iter()
                    .skip(1)
                    .map(|a| a.into_string().unwrap())
                    .filter(|a| !a.contains("c.toml") && a != "--config")
                    .collect()
            })
            .map_err(|error| error.to_string().rsplit("c.toml").next().unwrap().to_owned())
    }

    #[test]
    fn the_file_comes_before_the_command_line() {
        let file = "epochs = 3\nlr = 0.5\nlowercase = true\ndigits = false\nby_word = true\n[train]\ntrain = \"t x\"\n[tag]\nmodel = \"m\"\n";
        assert_eq!(
            expanded(file, &["train", "--config=FILE", "--epochs", "5"]).unwrap(),
            ["train", "--by-word", "--lowercase", "--lr=0.5", "--train=t x", "--epochs", "5"]
        );
        // The command line wins, by letters too; several files are an array.
        let several = "epochs = 3\n[train]\ntrain = [\"a\", \"b\"]\nlr = 0.25\n";
        assert_eq!(
            expanded(several, &["train", "--config=FILE"]).unwrap(),
            ["train", "--epochs=3", "--lr=0.25", "--train=a", "--train=b"]
        );
        assert_eq!(
            expanded(several, &["train", "--config=FILE", "--train=c"]).unwrap(),
            ["train", "--epochs=3", "--lr=0.25", "--train=c"]
        );
        let script = "delimiter = \"x\"\nlatex = true\noutside = \"N\"\n";
        assert_eq!(
            expanded(script, &["conlleval", "--config=FILE", "-ld", "--outside", "f"]).unwrap(),
            ["conlleval", "--outside=N", "-ld", "--outside", "f"]
        );
        assert_eq!(expanded("", &["tag", "--", "--config=FILE"]).unwrap(), ["tag", "--"]);
        assert_eq!(expanded(file, &["train"]).unwrap(), ["train"]);
        // A flag is taken back, of either kind.
        let taken = ["train", "--config=FILE", "--lowercase=false", "--by-word=false", "--digits=true"];
        assert_eq!(
            expanded(file, &taken).unwrap(),
            ["train", "--epochs=3", "--lr=0.5", "--train=t x", "--digits"]
        );
        let again = ["train", "--lowercase=false", "--lowercase", "--model", "--lowercase"];
        assert_eq!(expanded("", &again).unwrap(), ["train", "--lowercase", "--model", "--lowercase"]);
        assert_eq!(expanded(file, &["train", "--epochs=false"]).unwrap(), ["train", "--epochs=false"]);
        let word = ["tag", "--config=FILE", "--", "--scores=false"];
        assert_eq!(expanded("scores = true", &word).unwrap(), ["tag", "--scores", "--", "--scores=false"]);
        assert_eq!(expanded("train = \"t\"", &["train", "--config", "FILE"]).unwrap()[1], "--train=t");
    }

    #[test]
    fn what_is_no_option_is_named() {
        for (file, message) in [
            ("epocs = 3", ": the key epocs, expected an option of elman train, for example epochs"),
            ("epochs = true", ": epochs = true, expected a string or a number"),
            ("lowercase = 1", ": lowercase = 1, expected true or false"),
            ("lr = [0.1, 0.2]", ": lr with 2 values, expected one value"),
            ("epochs = 3\nx = ", ":2: "),
        ] {
            let error = expanded(file, &["train", "--config", "FILE"]).unwrap_err();
            assert!(error.starts_with(message), "{error}");
        }
        let error = expanded("qqq = 1", &["tag", "--config", "FILE"]).unwrap_err();
        assert!(error.contains("an option of elman tag: model, format, output"), "{error}");
    }
}
