use std::io::{self, BufWriter, Read, StdoutLock, Write};
use std::path::{Path, PathBuf};

use elman_tagger::{ConllWriter, Error, Lines, Scheme, TaggedSentence, Tagging};
use serde_json::json;

use crate::input::{self, LayoutArgs};
use crate::output::{STANDARD_OUTPUT, written};
use crate::train::SchemeName;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// The corpus: columns, .conllu or JSON lines, also compressed by gzip; with `--from slots` or `--from pairs`
    /// the sentences; `-` for the standard input
    file: PathBuf,
    /// With `--from pairs`: the file with the tags
    tags: Option<PathBuf>,
    /// The form of the corpus
    #[arg(long, value_enum, default_value_t)]
    from: From,
    /// The form to write
    #[arg(long, value_enum, default_value_t)]
    to: To,
    /// How the tags mark phrases [default: recognised]
    #[arg(long, value_enum)]
    scheme: Option<SchemeName>,
    /// The scheme to write the tags in [default: as they are]
    #[arg(long, value_enum)]
    to_scheme: Option<SchemeName>,
    #[command(flatten)]
    layout: LayoutArgs,
}

#[derive(Clone, Copy, Default, PartialEq, clap::ValueEnum)]
enum From {
    /// Columns, or JSON lines if the file is named so
    #[default]
    Corpus,
    /// A sentence a line: words TAB tags, both parted by blanks, as ATIS is published; BOS and EOS are left out
    /// with their tags, and so is an intent after the tags
    Slots,
    /// Two files, a sentence a line: words (seq.in) and tags (seq.out), parted by blanks
    Pairs,
}

#[derive(Clone, Copy, Default, PartialEq, clap::ValueEnum)]
enum To {
    /// Word TAB tag, a blank line after each sentence
    #[default]
    Conll,
    /// One JSON object a line, with `tokens` and `tags`
    Json,
}

pub(crate) fn run(args: &Args) -> Result<(), Error> {
    if let (From::Corpus | From::Slots, Some(tags)) = (args.from, &args.tags) {
        return Err(Error::unsupported(
            "second file".to_owned(),
            "none, but with --from pairs".to_owned(),
            tags.display().to_string(),
        ));
    }
    let sentences = match (args.from, &args.tags) {
        (From::Corpus, _) => args.layout.open(&args.file)?.collect::<Result<Vec<_>, _>>()?,
        (From::Slots, _) => slots(Lines::new(input::open(&args.file)?, &args.file))?,
        (From::Pairs, Some(tags)) => pairs(
            Lines::new(input::open(&args.file)?, &args.file),
            Lines::new(input::open(tags)?, tags),
            tags,
        )?,
        (From::Pairs, None) => {
            return Err(Error::unsupported(
                "--from pairs".to_owned(),
                "two files, the words and the tags".to_owned(),
                "one".to_owned(),
            ));
        }
    };
    if sentences.is_empty() {
        return Err(input::no_sentence(&args.file));
    }
    let tagging = Tagging::recognise(sentences.iter().map(TaggedSentence::tags));
    let tagging = args.scheme.map_or(tagging, |scheme| tagging.with_scheme(scheme.into()));
    let to: Option<Scheme> = args.to_scheme.map(Into::into);
    if let (Scheme::Plain, Some(to)) = (tagging.scheme(), to)
        && to != Scheme::Plain
    {
        return Err(Error::Input {
            path: args.file.clone(),
            line: None,
            problem: "tags that form no phrases".to_owned(),
            expected: format!("tags of a scheme, to write them in {to} (--scheme says which)"),
        });
    }
    let mut writer = Writer::new(args.to);
    for sentence in &sentences {
        match to {
            Some(to) => writer.write(sentence.words(), &tagging.convert(sentence.tags(), to))?,
            None => writer.write(sentence.words(), sentence.tags())?,
        }
    }
    writer.flush()
}

enum Writer {
    Conll(ConllWriter<BufWriter<StdoutLock<'static>>>),
    Json(BufWriter<StdoutLock<'static>>),
}

impl Writer {
    fn new(to: To) -> Self {
        let out = BufWriter::new(io::stdout().lock());
        match to {
            To::Conll => Writer::Conll(ConllWriter::new(out, STANDARD_OUTPUT)),
            To::Json => Writer::Json(out),
        }
    }

    fn write(&mut self, words: &[String], tags: &[String]) -> Result<(), Error> {
        match self {
            Writer::Conll(writer) => writer.write(words, tags),
            Writer::Json(out) => written(writeln!(out, "{}", json!({ "tokens": words, "tags": tags }))),
        }
    }

    fn flush(&mut self) -> Result<(), Error> {
        match self {
            Writer::Conll(writer) => writer.flush(),
            Writer::Json(out) => written(out.flush()),
        }
    }
}

/// The sentences of lines of words TAB tags.
fn slots<R: Read>(mut lines: Lines<R>) -> Result<Vec<TaggedSentence>, Error> {
    let mut sentences = Vec::new();
    loop {
        let Some(line) = lines.next_line()? else { return Ok(sentences) };
        if line.trim().is_empty() {
            continue;
        }
        let sentence = line
            .split_once('\t')
            .ok_or_else(|| ("no tab".to_owned(), "words, a tab, and tags".to_owned()))
            .and_then(|(words, tags)| {
                let (mut words, mut tags) = (own(words), own(tags));
                let bounds = words.first().is_some_and(|word| word == "BOS")
                    && words.last().is_some_and(|word| word == "EOS");
                if bounds && words.len() > 2 {
                    words = words[1..words.len() - 1].to_vec();
                    if !tags.is_empty() {
                        tags.remove(0);
                    }
                }
                // The intent.
                if tags.len() == words.len() + 1 {
                    tags.pop();
                }
                sentence(words, tags)
            });
        sentences.push(sentence.map_err(|(problem, expected)| lines.error(problem, expected))?);
    }
}

/// The sentences of a file of words and one of tags, line by line.
fn pairs<R: Read>(
    mut words: Lines<R>,
    mut tags: Lines<R>,
    path: &Path,
) -> Result<Vec<TaggedSentence>, Error> {
    let mut sentences = Vec::new();
    loop {
        let (line, other) = (words.next_line()?.map(own), tags.next_line()?.map(own));
        let (line, other) = match (line, other) {
            (Some(line), Some(other)) => (line, other),
            (None, None) => return Ok(sentences),
            (Some(_), None) => {
                return Err(words.error("one line more", format!("as many as in {}", path.display())));
            }
            (None, Some(_)) => return Err(tags.error("one line more", "as many as in the file of the words")),
        };
        if line.is_empty() && other.is_empty() {
            continue;
        }
        sentences.push(sentence(line, other).map_err(|(problem, expected)| tags.error(problem, expected))?);
    }
}

fn own(line: &str) -> Vec<String> {
    line.split_whitespace().map(str::to_owned).collect()
}

fn sentence(words: Vec<String>, tags: Vec<String>) -> Result<TaggedSentence, (String, String)> {
    if words.len() != tags.len() {
        return Err((format!("{} tags", tags.len()), format!("{}, one for each word", words.len())));
    }
    TaggedSentence::new(words, tags).map_err(|error| match error {
        Error::Network(elman::Error::Shape { what, expected, found }) => {
            (format!("{what}: {found}"), expected)
        }
        other => (other.to_string(), "a sentence".to_owned()),
    })
}
