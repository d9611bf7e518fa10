//! Files and the standard input, and what helps when they are not what was meant.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use elman_tagger::{
    Column, ColumnLayout, CorpusReader, Error, Separator, TaggedSentence, decompressed, read_corpus,
};

/// What stands for the standard input.
const STANDARD_INPUT: &str = "-";

pub(crate) fn is_standard_input(path: &Path) -> bool {
    path == Path::new(STANDARD_INPUT)
}

/// Opens a file, or the standard input if it is named `-`. A file compressed by gzip is decompressed.
pub(crate) fn open(path: &Path) -> Result<Box<dyn Read>, Error> {
    let reader: Box<dyn Read> = if is_standard_input(path) {
        Box::new(io::stdin().lock())
    } else {
        let file =
            File::open(path).map_err(|source| Error::Io { path: path.to_owned(), action: "open", source })?;
        if file.metadata().is_ok_and(|metadata| metadata.is_dir()) {
            let text = "it is a folder; expected a file, or - for the standard input";
            let source = io::Error::new(io::ErrorKind::IsADirectory, text);
            return Err(Error::Io { path: path.to_owned(), action: "read", source });
        }
        Box::new(file)
    };
    decompressed(reader).map_err(|source| Error::Io { path: path.to_owned(), action: "read", source })
}

/// Where words and tags are in column files.
#[derive(Clone, clap::Args)]
#[command(next_help_heading = "Columns")]
pub(crate) struct LayoutArgs {
    /// The separator of columns: tab (each one), blank (runs of blanks and tabs), or a text [default: tab if the first
    /// line has one, else blank]
    #[arg(long, value_name = "WHAT", value_parser = Separator::from_str)]
    separator: Option<Separator>,
    /// The column of the words; 1 is the first one, -1 the last one; of JSON lines, the field [default: 1; tokens or
    /// words]
    #[arg(long, value_name = "N", allow_hyphen_values = true, value_parser = Column::from_str)]
    word_column: Option<Column>,
    /// The column of the tags; 10:name is name=... in column 10; of JSON lines, the field [default: -1; tags, labels,
    /// ner_tags or slots]
    #[arg(long, value_name = "N", allow_hyphen_values = true, value_parser = Column::from_str)]
    tag_column: Option<Column>,
    /// Passes over lines that begin so before the first word of a sentence [without MARK: #]
    #[arg(long, value_name = "MARK", num_args = 0..=1, default_missing_value = "#", require_equals = true)]
    comments: Option<String>,
    /// The names of the tags that JSON lines give as numbers: the one of 0, of 1, and so on
    #[arg(long, value_name = "TAG,..", value_delimiter = ',')]
    tag_names: Option<Vec<String>>,
}

impl LayoutArgs {
    pub(crate) fn layout(&self) -> ColumnLayout {
        ColumnLayout {
            separator: self.separator.clone().unwrap_or_default(),
            word: self.word_column.clone(),
            tag: self.tag_column.clone(),
            comments: self.comments.clone(),
            tag_names: self.tag_names.clone(),
            conllu: false,
        }
    }

    /// Refuses these options where no columns are read by them.
    pub(crate) fn refuse(&self, found: &str) -> Result<(), Error> {
        let given =
            [("--word-column", self.word_column.is_some()), ("--tag-column", self.tag_column.is_some())];
        match given.into_iter().find(|(_, is_given)| *is_given) {
            None => self.refuse_all_but_names(found),
            Some((name, _)) => Err(no_columns(name, found)),
        }
    }

    /// Refuses these options where columns are read by their names.
    pub(crate) fn refuse_all_but_names(&self, found: &str) -> Result<(), Error> {
        let given = [
            ("--separator", self.separator.is_some()),
            ("--comments", self.comments.is_some()),
            ("--tag-names", self.tag_names.is_some()),
        ];
        given
            .into_iter()
            .find(|(_, is_given)| *is_given)
            .map_or(Ok(()), |(name, _)| Err(no_columns(name, found)))
    }

    /// The names of the columns of words and of tags.
    #[cfg(feature = "columns")]
    pub(crate) fn names(&self) -> crate::columns::Names {
        let name = |column: &Option<Column>| column.as_ref().map(Column::to_string);
        crate::columns::Names { words: name(&self.word_column), tags: name(&self.tag_column) }
    }

    /// The sentences of several files, one after the other.
    pub(crate) fn read(&self, files: &[PathBuf]) -> Result<Vec<TaggedSentence>, Error> {
        let mut sentences = Vec::new();
        for file in files {
            sentences.append(&mut read_corpus(file, &self.layout())?);
        }
        Ok(sentences)
    }

    /// The sentences of several files or of the standard input, one at a time.
    pub(crate) fn open_all(
        &self,
        files: &[PathBuf],
    ) -> Result<impl Iterator<Item = Result<TaggedSentence, Error>>, Error> {
        let mut readers = Vec::new();
        for file in files {
            let mut reader = self.open(file)?.peekable();
            if reader.peek().is_none() {
                return Err(no_sentence(file));
            }
            readers.push(reader);
        }
        Ok(readers.into_iter().flatten())
    }

    /// The sentences of a file or of the standard input, one at a time.
    pub(crate) fn open(&self, file: &Path) -> Result<CorpusReader, Error> {
        CorpusReader::new(open(file)?, file, &self.layout())
    }
}

fn no_columns(option: &str, found: &str) -> Error {
    Error::unsupported(format!("option {option}"), "a column file of words", found)
}

/// Several files as messages name them.
pub(crate) fn names(files: &[PathBuf]) -> String {
    files.iter().map(|file| file.display().to_string()).collect::<Vec<_>>().join(", ")
}

/// A corpus without sentences.
pub(crate) fn no_sentence(path: &Path) -> Error {
    Error::Input {
        path: path.to_owned(),
        line: Some(1),
        problem: "there is no sentence".to_string(),
        expected: "lines of a word and a tag".to_string(),
    }
}

/// The message of a check that knows of no file, with the file.
pub(crate) fn in_file(path: &Path, error: Error) -> Error {
    match error {
        Error::Network(elman::Error::Shape { what, expected, found }) => Error::Input {
            path: path.to_owned(),
            line: None,
            problem: format!("{what} is {found}"),
            expected,
        },
        other => other,
    }
}

/// An error about a path that is not there says what is there, and names what is nearly so called.
pub(crate) fn with_suggestion(error: Error) -> Error {
    use io::ErrorKind::{NotADirectory, NotFound};
    match error {
        Error::Io { path, action, source } if matches!(source.kind(), NotFound | NotADirectory) => {
            let mut text = missing_file(&path).unwrap_or_else(|| source.to_string());
            if let Some(near) = near_path(&path) {
                text = format!("{text}; did you mean {near}?");
            }
            Error::Io { path, action, source: io::Error::new(source.kind(), text) }
        }
        error => error,
    }
}

/// What is at a path that cannot be opened, if that is not simply nothing.
fn missing_file(path: &Path) -> Option<String> {
    if path == Path::new(STANDARD_INPUT) {
        // Where it stands for the standard input it is not opened.
        return Some(
            "there is no file of this name, and the standard input cannot be read here: the file is read more than \
             once, or beside others; save it first"
                .to_owned(),
        );
    }
    let target = fs::read_link(path).ok()?;
    Some(format!("it is a link to {}, which does not exist", target.display()))
}

/// What is in the deepest folder of `path` that exists, and called nearly like the next part of `path`.
fn near_path(path: &Path) -> Option<String> {
    let missing = path.ancestors().filter(|part| part.file_name().is_some()).find(|part| {
        let parent = folder_of(part);
        !part.exists() && parent.is_dir()
    })?;
    let name = missing.file_name()?.to_str()?;
    let names: Vec<String> = fs::read_dir(folder_of(missing))
        .ok()?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|other| other != name && (!other.starts_with('.') || name.starts_with('.')))
        .collect();
    let near = nearest(name, names.iter().map(String::as_str))?;
    Some(missing.with_file_name(near).display().to_string())
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// The most similar of some names, if it is similar at all (Jaro-Winkler similarity of at least 0.8).
pub(crate) fn nearest<'a>(name: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    names
        .map(|other| (strsim::jaro_winkler(&name.to_lowercase(), &other.to_lowercase()), other))
        .filter(|(similarity, _)| *similarity >= 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0).then_with(|| b.1.cmp(a.1)))
        .map(|(_, other)| other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_path_is_answered_with_the_nearest_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        for name in ["train.conll", "dev.conll", "notes"] {
            fs::write(path(name), "").unwrap();
        }
        fs::create_dir(path("model")).unwrap();
        fs::write(path("model/config.toml"), "").unwrap();
        let suggestion = |name: &str| {
            near_path(&path(name)).map(|near| near[folder.path().to_str().unwrap().len() + 1..].to_owned())
        };
        assert_eq!(suggestion("trian.conll").as_deref(), Some("train.conll"));
        assert_eq!(suggestion("Dev.conll").as_deref(), Some("dev.conll"));
        assert_eq!(suggestion("modle/config.toml").as_deref(), Some("model"));
        assert_eq!(suggestion("model/confg.toml").as_deref(), Some("model/config.toml"));
        assert_eq!(suggestion("zzz"), None);
        assert_eq!(suggestion("train.conll"), None);
    }

    #[test]
    fn what_is_not_there_is_explained() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let explained = |name: &str| {
            let source = File::open(path(name)).unwrap_err();
            let error = Error::Io { path: path(name), action: "open", source };
            with_suggestion(error).to_string()[folder.path().to_str().unwrap().len() + 1..].to_owned()
        };
        fs::create_dir(path("empty")).unwrap();
        let error = with_suggestion(elman_tagger::Model::load(path("emtpy")).unwrap_err()).to_string();
        assert!(error.contains("emtpy: cannot read the model: there is no such folder; "), "{error}");
        assert!(error.ends_with("/empty?"), "{error}");
        #[cfg(unix)]
        {
            std::os::unix::fs::symlink("nowhere", path("link")).unwrap();
            let message = "link: cannot open: it is a link to nowhere, which does not exist";
            assert_eq!(explained("link"), message);
        }
        let source = io::Error::from(io::ErrorKind::NotFound);
        let error = with_suggestion(Error::Io { path: "-".into(), action: "open", source }).to_string();
        assert!(error.contains("the standard input cannot be read here"), "{error}");
    }
}
