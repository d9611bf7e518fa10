use std::io::{self, BufWriter, Read, StdoutLock, Write};
use std::path::PathBuf;

use elman_tagger::{ConllWriter, Error, Lines, Model, Pipeline, Scored, SentenceReader, ValidTags};
use serde_json::{Map, Value, json};

use crate::input;
use crate::kernels::KernelArgs;
use crate::output::{STANDARD_OUTPUT, written};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// The model folder
    #[arg(long, value_name = "DIR")]
    model: PathBuf,
    /// What to tag; the standard input if it is not given or `-`
    #[arg(default_value = "-", hide_default_value = true)]
    file: PathBuf,
    /// How the input is laid out
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    /// How the output is laid out [default: json if the input is, else conll]
    #[arg(long, value_enum)]
    output: Option<OutputFormat>,
    /// Also the probability of each tag: a third column, or `scores`
    #[arg(long)]
    scores: bool,
    /// Also the N most probable tags of each word with their probabilities: pairs of columns, or `nbest`
    #[arg(long, value_name = "N", value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..))]
    nbest: Option<usize>,
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
    /// A CoNLL column file, of which the first column is used
    Conll,
    /// One JSON object a line with `words`, a list, or `text`, words parted by white space; everything else in
    /// it is passed on
    Json,
}

#[derive(Clone, Copy, PartialEq, clap::ValueEnum)]
enum OutputFormat {
    /// Word TAB tag, a blank line after each sentence
    Conll,
    /// One JSON object a line, with `words` and `tags`
    Json,
}

/// Sentences that are labelled together when they are there already.
const TOGETHER: usize = 64;

/// A sentence, and the object it came in.
struct Request {
    words: Vec<String>,
    object: Map<String, Value>,
}

enum Source {
    Sentences(SentenceReader<Box<dyn Read>>),
    Json(Lines<Box<dyn Read>>),
}

impl Source {
    fn next(&mut self) -> Result<Option<Request>, Error> {
        match self {
            Source::Sentences(reader) => {
                Ok(reader.next_sentence()?.map(|words| Request { words, object: Map::new() }))
            }
            Source::Json(lines) => {
                let Some(line) = lines.next_line()? else { return Ok(None) };
                let parsed = parse(line);
                parsed.map(Some).map_err(|problem| {
                    lines.error(problem, r#"an object with "words", a list of words, or "text", a string"#)
                })
            }
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
    let object: Map<String, Value> = serde_json::from_str(line).map_err(|error| {
        // The line that it names is always the first.
        let text = error.to_string();
        format!("no JSON object: {}", text.split(" at line ").next().unwrap_or(&text))
    })?;
    let words = match (object.get("words"), object.get("text")) {
        (Some(Value::Array(words)), _) => words
            .iter()
            .map(|word| word.as_str().map(str::to_owned).ok_or_else(|| format!("the word {word}")))
            .collect::<Result<_, _>>()?,
        (Some(other), _) => return Err(format!("the words {other}")),
        (None, Some(Value::String(text))) => text.split_whitespace().map(str::to_owned).collect(),
        (None, Some(other)) => return Err(format!("the text {other}")),
        (None, None) => return Err("no words".to_owned()),
    };
    Ok(Request { words, object })
}

/// What is known of a sentence.
struct Answer<'a> {
    words: &'a [String],
    tags: Vec<&'a str>,
    /// The most probable tags of each word, if they were asked for.
    best: Option<Vec<Vec<Scored<'a>>>>,
}

pub(crate) fn run(args: &Args) -> Result<(), Error> {
    let network = args.kernel.network()?;
    let input = input::open(&args.file)?;
    let model = Model::load(&args.model)?;
    let mut source = match args.format {
        Format::Lines => Source::Sentences(SentenceReader::lines(input, &args.file)),
        Format::Conll => Source::Sentences(SentenceReader::conll(input, &args.file)),
        Format::Json => Source::Json(Lines::new(input, &args.file)),
    };
    let mut pipeline = Pipeline::new(&model, network.as_ref())?;
    let valid = args.valid_iob.then(|| ValidTags::new(model.labels(), model.tagging()));
    let mut writer = Writer::new(args);
    let mut requests = Vec::with_capacity(TOGETHER);
    loop {
        requests.clear();
        let end = loop {
            match source.next() {
                Ok(Some(request)) => requests.push(request),
                Ok(None) => break Some(Ok(())),
                Err(error) => break Some(Err(error)),
            }
            if requests.len() == TOGETHER || !source.is_ready() {
                break None;
            }
        };
        // What came before an error is still answered.
        let words: Vec<&[String]> = requests.iter().map(|request| request.words.as_slice()).collect();
        if args.best().is_none() && valid.is_none() {
            for (request, tags) in requests.iter().zip(pipeline.tag_all(&words)?) {
                writer.write(Answer { words: &request.words, tags, best: None }, &request.object)?;
            }
        } else {
            for request in &requests {
                let words = &request.words;
                let (tags, best) = pipeline.scored(words, args.best().unwrap_or(0), valid.as_ref())?;
                let best = args.best().map(|_| best);
                writer.write(Answer { words, tags, best }, &request.object)?;
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

impl Args {
    /// How many tags of each word are asked for with their probabilities.
    fn best(&self) -> Option<usize> {
        self.nbest.or(self.scores.then_some(1))
    }
}

/// The standard output in one of its layouts. Not line-buffered: it would be written to once a word.
enum Writer {
    Conll { writer: ConllWriter<BufWriter<StdoutLock<'static>>>, nbest: bool },
    Json { out: BufWriter<StdoutLock<'static>>, scores: bool, nbest: bool },
}

impl Writer {
    fn new(args: &Args) -> Self {
        let out = BufWriter::new(io::stdout().lock());
        let nbest = args.nbest.is_some();
        let json = args.output.map_or(args.format == Format::Json, |output| output == OutputFormat::Json);
        if json {
            Writer::Json { out, scores: args.scores, nbest }
        } else {
            Writer::Conll { writer: ConllWriter::new(out, STANDARD_OUTPUT), nbest }
        }
    }

    fn write(&mut self, answer: Answer<'_>, object: &Map<String, Value>) -> Result<(), Error> {
        let Answer { words, tags, best } = answer;
        match self {
            Writer::Conll { writer, nbest } => match best {
                None => writer.write(words, &tags),
                Some(best) => {
                    let columns = |(tag, best): (&str, &Vec<Scored<'_>>)| -> Vec<String> {
                        let pairs = |s: &Scored<'_>| [s.tag.to_owned(), format!("{:.6}", s.score)];
                        let list = best.iter().flat_map(pairs);
                        if *nbest {
                            list.collect()
                        } else {
                            vec![tag.to_owned(), format!("{:.6}", best[0].score)]
                        }
                    };
                    let rows: Vec<Vec<String>> = tags.into_iter().zip(&best).map(columns).collect();
                    writer.write_columns(words, &rows)
                }
            },
            Writer::Json { out, scores, nbest } => {
                let mut object = object.clone();
                object.insert("words".into(), json!(words));
                object.insert("tags".into(), json!(tags));
                if let Some(best) = best {
                    if *scores {
                        let first: Vec<f32> = best.iter().map(|word| word[0].score).collect();
                        object.insert("scores".into(), json!(first));
                    }
                    if *nbest {
                        let pair = |s: &Scored<'_>| json!({ "tag": s.tag, "score": s.score });
                        let all: Vec<Vec<Value>> =
                            best.iter().map(|word| word.iter().map(pair).collect()).collect();
                        object.insert("nbest".into(), json!(all));
                    }
                }
                written(writeln!(out, "{}", Value::Object(object)))
            }
        }
    }

    fn flush(&mut self) -> Result<(), Error> {
        match self {
            Writer::Conll { writer, .. } => writer.flush(),
            Writer::Json { out, .. } => written(out.flush()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn a_line_of_json_has_words_or_a_text() {
        let words = |line: &str| parse(line).map(|request| request.words);
        assert_eq!(words(r#"{"words": ["to", "new york"], "text": 1}"#).unwrap(), ["to", "new york"]);
        assert_eq!(words(r#"{"text": " to\tyork ", "id": 7}"#).unwrap(), ["to", "york"]);
        assert!(words(r#"{"words": []}"#).unwrap().is_empty());
        for (line, problem) in [
            ("", "no JSON object: EOF while parsing a value"),
            ("[1]", "no JSON object: invalid type: sequence, expected a map"),
            ("{}", "no words"),
            (r#"{"words": "to york"}"#, r#"the words "to york""#),
            (r#"{"words": ["to", 7]}"#, "the word 7"),
            (r#"{"text": null}"#, "the text null"),
            (r#"{"text": "a"} x"#, "no JSON object: trailing characters"),
        ] {
            assert_eq!(words(line).unwrap_err(), problem, "{line}");
        }
    }
}
