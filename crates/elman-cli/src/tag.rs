use std::borrow::Cow;
use std::collections::BTreeSet;
use std::io::{self, BufWriter, Read, StdoutLock, Write};
use std::path::{Path, PathBuf};

use elman::Head;
use elman_tagger::{
    ConllWriter, Error, Labels, Lines, MAX_SEQUENCES, MAX_WORDS, Model, Phrase, Pipeline, RowLine, Scheme,
    Scored, Scoring, SentenceReader, Sequence, Tagging, Unlabelled, json_object,
};
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

#[cfg(feature = "columns")]
use crate::columns;
use crate::input::{self, LayoutArgs};
use crate::kernels::KernelArgs;
use crate::output::{STANDARD_OUTPUT, written};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// The model folder
    #[arg(long, value_name = "DIR")]
    model: PathBuf,
    /// The files to tag, one after the other; the standard input if none is given, or for `-`
    #[arg(default_value = "-", hide_default_value = true)]
    files: Vec<PathBuf>,
    /// How the input is laid out
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    /// How the output is laid out [default: json if the input is, else conll]
    #[arg(long, value_enum)]
    output: Option<OutputFormat>,
    /// Also the probability of each tag: a third column, or `scores`
    #[arg(long)]
    scores: bool,
    /// Also the N most probable tags of each word with their probabilities: pairs of columns, or `nbest`. Of a model with a
    /// CRF the N most probable sequences of tags, each with its probability
    #[arg(long, value_name = "N", value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=16_384))]
    nbest: Option<usize>,
    /// Answers a sentence that cannot be read with an error in its place (a line `# error: ...`, or an object with
    /// `error`), and goes on; their number is told at the end, with the exit code 65
    #[arg(long)]
    keep_going: bool,
    #[command(flatten)]
    layout: LayoutArgs,
    /// Of parquet and arrow: the file to write, as a whole or not at all [default: the standard output]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Takes the most probable tags among the sequences that their scheme allows: I-x only after B-x or I-x
    #[arg(long)]
    valid_iob: bool,
    #[command(flatten)]
    kernel: KernelArgs,
}

#[derive(Clone, Copy, Default, PartialEq, clap::ValueEnum)]
enum Format {
    /// One sentence a line, words parted by spaces
    #[default]
    Lines,
    /// A CoNLL column file, of which the column of the words is used; all columns and lines are passed on
    Conll,
    /// One JSON object a line with `words` or `tokens`, a list, or `text`, words parted by white space; all that is
    /// in it is passed on as it is
    Json,
    /// A Parquet file with lists of strings in the column --word-column (words or tokens by default): the same file with
    /// lists of tags in the new column --tag-column (tags). Needs a program with the feature `columns`
    Parquet,
    /// The same of an Arrow file, or of Arrow's streaming format, also on the standard input
    Arrow,
}

#[derive(Clone, Copy, PartialEq, clap::ValueEnum)]
enum OutputFormat {
    /// Word TAB tag, a blank line after each sentence; of column files all columns TAB tag
    Conll,
    /// One JSON object a line, with `words`, `tags`, and the phrases as `entities`
    Json,
}

/// Sentences that are labelled together when they are there already.
const TOGETHER: usize = 64;

/// A sentence, and what it came in.
struct Request {
    words: Vec<String>,
    form: Form,
}

enum Form {
    Plain,
    /// The lines of a column file.
    Columns(Vec<RowLine>),
    Json(Object),
    /// A line of JSON without an object.
    Blank,
    /// It could not be read.
    Failed(Error),
}

/// A JSON object as it came.
#[derive(Debug)]
struct Object {
    line: String,
    keys: BTreeSet<String>,
    /// The first character of each word in `text`, and the one after its last.
    characters: Option<Vec<(usize, usize)>>,
}

enum Source {
    Sentences(SentenceReader<Box<dyn Read>>),
    Json(Lines<Box<dyn Read>>),
}

impl Source {
    fn next(&mut self) -> Result<Option<Request>, Error> {
        match self {
            Source::Sentences(reader) => Ok(reader.next_rows()?.map(|Unlabelled { words, lines }| {
                let form = if lines.is_empty() { Form::Plain } else { Form::Columns(lines) };
                Request { words, form }
            })),
            Source::Json(lines) => {
                let Some(line) = lines.next_line()? else { return Ok(None) };
                let parsed = parse(line);
                parsed.map(Some).map_err(|problem| {
                    lines.error(problem, r#"an object with "words", a list of words, or "text", a string"#)
                })
            }
        }
    }

    /// After an error in a sentence: passes over the rest of it.
    fn skip(&mut self) -> Result<(), Error> {
        match self {
            Source::Sentences(reader) => reader.skip_sentence(),
            Source::Json(_) => Ok(()),
        }
    }

    /// Whether the next sentence is wholly in memory.
    fn is_ready(&self) -> bool {
        match self {
            Source::Sentences(reader) => reader.is_ready(),
            Source::Json(lines) => lines.is_ready(),
        }
    }
}

/// One line of JSON; or what is wrong with it.
fn parse(line: &str) -> Result<Request, String> {
    if line.trim().is_empty() {
        return Ok(Request { words: Vec::new(), form: Form::Blank });
    }
    let object = json_object(line)?;
    let value =
        |raw: &RawValue| serde_json::from_str::<Value>(raw.get()).map_err(|_| format!("the value {raw}"));
    let mut characters = None;
    let words: Vec<String> = match (object.get("words").or_else(|| object.get("tokens")), object.get("text"))
    {
        (Some(words), _) => match value(words)? {
            Value::Array(words) => words
                .into_iter()
                .map(|word| match word {
                    Value::String(word) => Ok(word),
                    other => Err(format!("the word {other}")),
                })
                .collect::<Result<_, _>>()?,
            other => return Err(format!("the words {other}")),
        },
        (None, Some(text)) => match value(text)? {
            Value::String(text) => {
                let (words, places) = words_of(&text);
                characters = Some(places);
                words
            }
            other => return Err(format!("the text {other}")),
        },
        (None, None) => return Err("no words".to_owned()),
    };
    if words.len() > MAX_WORDS {
        return Err(format!("{} words, more than {MAX_WORDS}", words.len()));
    }
    let keys = object.into_keys().collect();
    Ok(Request { words, form: Form::Json(Object { line: line.trim().to_owned(), keys, characters }) })
}

/// The words of a text, and where they stand in it, counted in characters.
fn words_of(text: &str) -> (Vec<String>, Vec<(usize, usize)>) {
    let (mut words, mut places): (Vec<String>, Vec<(usize, usize)>) = Default::default();
    let mut inside = false;
    for (place, c) in text.chars().enumerate() {
        if c.is_whitespace() {
            inside = false;
        } else if let (true, Some(word), Some(at)) = (inside, words.last_mut(), places.last_mut()) {
            word.push(c);
            at.1 = place + 1;
        } else {
            words.push(c.to_string());
            places.push((place, place + 1));
            inside = true;
        }
    }
    (words, places)
}

/// What is known of a sentence.
struct Answer<'a> {
    words: &'a [String],
    tags: Vec<&'a str>,
    /// Their probabilities, and the most probable tags or sequences, if they were asked for.
    scoring: Option<Scoring<'a>>,
}

pub(crate) fn run(args: &Args) -> Result<(), Error> {
    let is_columns = matches!(args.format, Format::Parquet | Format::Arrow);
    if is_columns {
        check_columns(args)?;
    } else if args.format != Format::Conll {
        args.layout.refuse("another --format than conll")?;
    }
    if args.out.is_some() && !is_columns {
        let expected = "--format parquet or arrow; others write to the standard output";
        return Err(Error::unsupported("option --out", expected, "another format"));
    }
    let network = args.kernel.network()?;
    let model = Model::load(&args.model)?;
    let is_crf = model.shape().head == Head::Crf;
    if let Some(count) = args.nbest.filter(|count| is_crf && *count > MAX_SEQUENCES) {
        let most = format!("at most {MAX_SEQUENCES} for a model with a CRF");
        return Err(Error::unsupported("option --nbest", most, count));
    }
    let mut pipeline = Pipeline::new(&model, network.as_ref())?;
    if args.valid_iob {
        pipeline = pipeline.with_valid_tags()?;
    }
    if is_columns {
        return tag_columns(args, &mut pipeline, model.labels());
    }
    let mut writer = Writer::new(args, model.tagging(), is_crf);
    let mut count = Count::default();
    for file in &args.files {
        tag(args, file, &mut pipeline, &mut writer, &mut count)?;
    }
    if count.failed == 0 {
        return Ok(());
    }
    Err(Error::Input {
        path: input::names(&args.files).into(),
        line: None,
        problem: format!("{} of {} sentences could not be tagged", count.failed, count.all),
        expected: "none; the output has an error in the place of each".to_owned(),
    })
}

/// Refuses options that columns do not have, before a model is read.
fn check_columns(args: &Args) -> Result<(), Error> {
    if !cfg!(feature = "columns") {
        let expected = "a program with the feature columns (cargo install --features columns)";
        return Err(Error::unsupported("option --format", expected, "one without"));
    }
    args.layout.refuse_all_but_names("--format parquet or arrow")?;
    let given = [
        ("--output", args.output.is_some()),
        ("--scores", args.scores),
        ("--nbest", args.nbest.is_some()),
        ("--keep-going", args.keep_going),
    ];
    if let Some((name, _)) = given.into_iter().find(|(_, is_given)| *is_given) {
        let expected = "--format lines, conll or json";
        return Err(Error::unsupported(format!("option {name}"), expected, "--format parquet or arrow"));
    }
    if args.files.len() > 1 {
        let expected = "one with --format parquet or arrow";
        return Err(Error::unsupported("number of files", expected, args.files.len()));
    }
    Ok(())
}

#[cfg(feature = "columns")]
fn tag_columns(args: &Args, pipeline: &mut Pipeline, labels: &Labels) -> Result<(), Error> {
    let tag = if args.format == Format::Parquet { columns::tag_parquet } else { columns::tag_arrow };
    tag(&args.files[0], args.out.as_deref(), args.layout.names(), pipeline, labels)
}

/// [`check_columns`] has refused it.
#[cfg(not(feature = "columns"))]
fn tag_columns(_: &Args, _: &mut Pipeline, _: &Labels) -> Result<(), Error> {
    Ok(())
}

/// Sentences that were answered, and those among them with an error.
#[derive(Default)]
struct Count {
    all: usize,
    failed: usize,
}

/// Tags a file.
fn tag(
    args: &Args,
    file: &Path,
    pipeline: &mut Pipeline,
    writer: &mut Writer,
    count: &mut Count,
) -> Result<(), Error> {
    let input = input::open(file)?;
    let mut source = match args.format {
        Format::Lines => Source::Sentences(SentenceReader::lines(input, file)),
        Format::Conll => {
            let layout = args.layout.layout().of_file(file);
            Source::Sentences(SentenceReader::conll_with(input, file, layout))
        }
        _ => Source::Json(Lines::new(input, file)),
    };
    let mut requests = Vec::with_capacity(TOGETHER);
    loop {
        requests.clear();
        let end = loop {
            match source.next() {
                Ok(Some(request)) => requests.push(request),
                Ok(None) => break Some(Ok(())),
                Err(error @ Error::Input { .. }) if args.keep_going => {
                    requests.push(Request { words: Vec::new(), form: Form::Failed(error) });
                    if let Err(error) = source.skip() {
                        break Some(Err(error));
                    }
                }
                Err(error) => break Some(Err(error)),
            }
            if requests.len() == TOGETHER || !source.is_ready() {
                break None;
            }
        };
        // Sentences before an error are still answered.
        let words: Vec<&[String]> = requests.iter().map(|request| request.words.as_slice()).collect();
        let mut write = |request: &Request, tags: Vec<&str>, scoring: Option<Scoring<'_>>| {
            count.all += usize::from(!(request.words.is_empty() && matches!(request.form, Form::Columns(_))));
            count.failed += usize::from(matches!(request.form, Form::Failed(_)));
            match writer.write(Answer { words: &request.words, tags, scoring }, &request.form) {
                Err(error @ Error::Input { .. }) if args.keep_going => {
                    count.failed += 1;
                    writer.write_error(&error)
                }
                result => result,
            }
        };
        if args.scores || args.nbest.is_some() {
            let all = pipeline.scored_all(&words, args.nbest.unwrap_or(0))?;
            for (request, scoring) in requests.iter().zip(all) {
                write(request, scoring.tags.iter().map(|scored| scored.tag).collect(), Some(scoring))?;
            }
        } else {
            for (request, tags) in requests.iter().zip(pipeline.tag_all(&words)?) {
                write(request, tags, None)?;
            }
        }
        // Whoever waits for an answer before going on gets it; a file is read and written in large pieces.
        if end.is_some() || !source.is_ready() {
            writer.flush()?;
        }
        if let Some(result) = end {
            return result;
        }
    }
}

/// The standard output in one of its layouts. Not line-buffered: it would be written to once a word.
enum Writer {
    Conll { writer: ConllWriter<BufWriter<StdoutLock<'static>>>, nbest: bool, own: usize },
    Json { out: BufWriter<StdoutLock<'static>>, scores: bool, nbest: bool, is_crf: bool, tagging: Tagging },
}

impl Writer {
    fn new(args: &Args, tagging: Tagging, is_crf: bool) -> Self {
        let out = BufWriter::new(io::stdout().lock());
        let nbest = args.nbest.is_some();
        let json = args.output.map_or(args.format == Format::Json, |output| output == OutputFormat::Json);
        if json {
            Writer::Json { out, scores: args.scores, nbest, is_crf, tagging }
        } else {
            let own = args.nbest.map_or(1 + usize::from(args.scores), |nbest| 2 * nbest);
            Writer::Conll { writer: ConllWriter::new(out, STANDARD_OUTPUT), nbest, own }
        }
    }

    fn write<'a>(&mut self, answer: Answer<'a>, form: &'a Form) -> Result<(), Error> {
        if let Form::Failed(error) = form {
            return self.write_error(error);
        }
        let Answer { words, tags, scoring } = answer;
        match self {
            Writer::Conll { writer, nbest, own } => {
                let columns = |(word, tag): (usize, &&'a str)| -> Vec<Cow<'a, str>> {
                    let pair = |s: &Scored<'a>| [s.tag.into(), decimal(s.score).into()];
                    let of = |s: &Sequence<'a>| [s.tags[word].into(), decimal(s.score as f32).into()];
                    let mut columns = Vec::with_capacity(*own);
                    match &scoring {
                        None => columns.push((*tag).into()),
                        Some(Scoring { sequences, .. }) if !sequences.is_empty() => {
                            columns.extend(sequences.iter().flat_map(of));
                        }
                        Some(Scoring { best, .. }) if *nbest => {
                            columns.extend(best[word].iter().flat_map(pair))
                        }
                        Some(Scoring { tags, .. }) => columns.extend(pair(&tags[word])),
                    }
                    columns
                };
                let rows: Vec<Vec<Cow<'_, str>>> = tags.iter().enumerate().map(columns).collect();
                match form {
                    Form::Columns(given) => writer.write_lines(&with_columns(given, rows, *own)),
                    _ => writer.write_columns(words, &rows),
                }
            }
            Writer::Json { out, .. } if matches!(form, Form::Blank) => written(writeln!(out)),
            // Lines after the last sentence.
            Writer::Json { .. } if words.is_empty() && matches!(form, Form::Columns(_)) => Ok(()),
            Writer::Json { out, scores, nbest, is_crf, tagging } => {
                let object = if let Form::Json(object) = form { Some(object) } else { None };
                let mut fields: Vec<(&str, String)> = Vec::new();
                if object
                    .is_none_or(|object| !object.keys.contains("words") && !object.keys.contains("tokens"))
                {
                    fields.push(("words", text(words)?));
                }
                fields.push(("tags", text(&tags)?));
                if tagging.scheme() != Scheme::Plain {
                    let characters = object.and_then(|object| object.characters.as_ref());
                    let entities = entities(&tagging.phrases(&tags), characters.map(Vec::as_slice));
                    fields.push(("entities", text(&entities)?));
                }
                if let Some(Scoring { tags, best, sequences }) = &scoring {
                    if *scores {
                        let own: Vec<f32> = tags.iter().map(|scored| scored.score).collect();
                        fields.push(("scores", text(&own)?));
                    }
                    if *nbest {
                        fields.push(("nbest", if *is_crf { text(sequences)? } else { text(best)? }));
                    }
                }
                let line = joined(object, &fields)?;
                written(writeln!(out, "{line}"))
            }
        }
    }

    /// Answers with an error in the place of a sentence.
    fn write_error(&mut self, error: &Error) -> Result<(), Error> {
        match self {
            Writer::Conll { writer, .. } => writer.write_comment(&format!("error: {error}")),
            Writer::Json { out, .. } => written(writeln!(out, "{}", json!({ "error": error.to_string() }))),
        }
    }

    fn flush(&mut self) -> Result<(), Error> {
        match self {
            Writer::Conll { writer, .. } => writer.flush(),
            Writer::Json { out, .. } => written(out.flush()),
        }
    }
}

/// The lines of a column file, each word with its new columns. The line of a document has as many, so that conlleval
/// reads it, too: the tag O, and `_` for what else there is. A sentence ends with a blank line, also at the end of the
/// file.
fn with_columns<'a>(
    lines: &'a [RowLine],
    rows: Vec<Vec<Cow<'a, str>>>,
    own: usize,
) -> Vec<Vec<Cow<'a, str>>> {
    // A model can have fewer tags than --nbest asks for.
    let own = rows.first().map_or(own, Vec::len);
    let mut rows = rows.into_iter();
    let mut all: Vec<Vec<Cow<'_, str>>> = Vec::with_capacity(lines.len() + 1);
    let borrowed = |given: &'a [String]| given.iter().map(|column| Cow::from(column.as_str()));
    for line in lines {
        all.push(match line {
            RowLine::Word(given) => borrowed(given).chain(rows.next().unwrap_or_default()).collect(),
            RowLine::Document(given) => {
                let filler = ["O"].into_iter().chain(std::iter::repeat("_"));
                borrowed(given).chain(filler.take(own).map(Cow::from)).collect()
            }
            RowLine::Other(text) if text.trim().is_empty() => Vec::new(),
            RowLine::Other(text) => text.split('\t').map(Cow::from).collect(),
        });
    }
    if matches!(lines.last(), Some(RowLine::Word(_))) {
        all.push(Vec::new());
    }
    all
}

/// A probability with six decimals, rounded as by `{:.6}`: its product with 10^6 is exact in `f64`.
fn decimal(score: f32) -> String {
    let millionths = (f64::from(score) * 1e6).round_ties_even() as u32;
    // Eight digits, of which the first makes room for the point: several times as fast as the formatter.
    let mut text = (10_000_000 + millionths).to_string();
    text.replace_range(..2, if millionths < 1_000_000 { "0." } else { "1." });
    text
}

/// The phrases as JSON: their types, the first word and the one after the last, and the same in characters of the
/// text.
fn entities(phrases: &[Phrase<'_>], characters: Option<&[(usize, usize)]>) -> Value {
    let entity = |phrase: &Phrase<'_>| {
        let mut entity = json!({ "type": phrase.kind, "words": [phrase.start, phrase.end] });
        if let Some(characters) = characters {
            entity["start"] = characters[phrase.start].0.into();
            entity["end"] = characters[phrase.end - 1].1.into();
        }
        entity
    };
    phrases.iter().map(entity).collect()
}

/// A value as JSON.
fn text(value: &(impl Serialize + ?Sized)) -> Result<String, Error> {
    serde_json::to_string(value).map_err(|error| Error::Io {
        path: STANDARD_OUTPUT.into(),
        action: "write",
        source: error.into(),
    })
}

/// The object as it came, with fields at its end. A name that it has already becomes `predicted_NAME`.
fn joined(object: Option<&Object>, fields: &[(&str, String)]) -> Result<String, Error> {
    let mut line = match object {
        // It was read as an object with at least one key.
        Some(object) => object.line[..object.line.len() - 1].trim_end().to_owned() + ",",
        None => "{".to_owned(),
    };
    for (number, (name, value)) in fields.iter().enumerate() {
        let taken = |name: &str| object.is_some_and(|object| object.keys.contains(name));
        let mut name = (*name).to_owned();
        if taken(&name) {
            name = format!("predicted_{name}");
        }
        if taken(&name) {
            return Err(Error::Input {
                path: STANDARD_OUTPUT.into(),
                line: None,
                problem: format!("the object has the key {name} already"),
                expected: "an object without it".to_owned(),
            });
        }
        if number > 0 {
            line.push(',');
        }
        line += &format!("{}:{value}", Value::from(name));
    }
    Ok(line + "}")
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn words_of_a_text_have_places_in_characters() {
        let (words, places) = super::words_of(" to\u{a0}z\u{fc}rich  \u{1f468}\u{200d}\u{1f469}!");
        assert_eq!(words, ["to", "z\u{fc}rich", "\u{1f468}\u{200d}\u{1f469}!"]);
        assert_eq!(places, [(1, 3), (4, 10), (12, 16)]);
        assert!(super::words_of(" ").0.is_empty());
    }

    #[test]
    fn decimals_are_those_of_the_formatter() {
        let every_bit = (0..=f32::to_bits(1.0)).step_by(9973).map(f32::from_bits);
        // The halves between two millionths that are numbers.
        let halves = (0..64).map(|i| (2 * i + 1) as f32 / 128.0);
        for score in every_bit.chain(halves).chain([0.0, 0.5, 0.999_999_5, 1.0]) {
            assert_eq!(super::decimal(score), format!("{score:.6}"), "{score:e}");
        }
    }

    #[test]
    fn a_line_of_json_has_words_or_a_text() {
        let words = |line: &str| parse(line).map(|request| request.words);
        assert_eq!(words(r#"{"words": ["to", "new york"], "text": 1}"#).unwrap(), ["to", "new york"]);
        assert_eq!(words(r#"{"text": " to\tyork ", "id": 7}"#).unwrap(), ["to", "york"]);
        assert!(words(r#"{"words": []}"#).unwrap().is_empty());
        for (line, problem) in [
            ("{", "no whole JSON object (jq -c . writes each on one line)"),
            ("[1]", "a JSON array (jq -c '.[]' writes each of its objects on a line)"),
            ("{}", "no words"),
            (r#"{"words": "to york"}"#, r#"the words "to york""#),
            (r#"{"words": ["to", 7]}"#, "the word 7"),
            (r#"{"text": null}"#, "the text null"),
            (r#"{"text": "a"} x"#, "no JSON object: trailing characters"),
            (r#"{"text": "a", "text": "b"}"#, "no JSON object: the field text again"),
            (r#"{"words": ["\ud800"]}"#, r#"the value ["\ud800"]"#),
        ] {
            assert_eq!(words(line).unwrap_err(), problem, "{line}");
        }
    }
}
