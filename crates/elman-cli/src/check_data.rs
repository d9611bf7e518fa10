use std::path::{Path, PathBuf};

use elman_tagger::{CorpusCheck, Error, Labels, Model, Normalization, Scheme, Vocabulary, check_sentences};
use serde_json::json;

use crate::input::{self, LayoutArgs};
use crate::output::{columns, print};
use crate::train::SchemeName;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// CoNLL column files: first column word, last column tag; each is checked by itself; `-` for the standard input
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Also list the words and tags that a training on this corpus would not know
    #[arg(long, value_name = "FILE")]
    train: Vec<PathBuf>,
    /// Also list the words and tags that this model does not know
    #[arg(long, value_name = "DIR", conflicts_with = "train")]
    model: Option<PathBuf>,
    #[command(flatten)]
    layout: LayoutArgs,
    /// Print everything in one JSON object
    #[arg(long)]
    json: bool,
    /// How the tags mark phrases [default: recognised]
    #[arg(long, value_enum)]
    scheme: Option<SchemeName>,
    /// End with the exit code 65 if anything looks like a mistake
    #[arg(long)]
    strict: bool,
}

/// Lines of each kind in the text; JSON has all.
const SHOWN: usize = 20;

pub(crate) fn run(args: &Args) -> Result<(), Error> {
    let known = match (&args.train[..], &args.model) {
        ([_, ..], _) => {
            let train = args.layout.read(&args.train)?;
            Some((Vocabulary::new(&train, Normalization::default()), Labels::new(&train)))
        }
        ([], Some(model)) => {
            let model = Model::load(model)?;
            Some((model.vocabulary().clone(), model.labels().clone()))
        }
        ([], None) => None,
    };
    let known = known.as_ref().map(|(vocabulary, labels)| (vocabulary, labels));
    let mut odd = None;
    for (number, file) in args.files.iter().enumerate() {
        let check = check(args, file, known)?;
        let name = file.display();
        let text = match (args.json, args.files.len()) {
            (true, 1) => format!("{}\n", json!(check)),
            (true, _) => format!("{}\n", json!({ "file": name.to_string(), "check": check })),
            (false, 1) => to_text(&check),
            (false, _) => format!("{}{name}\n{}", if number > 0 { "\n" } else { "" }, to_text(&check)),
        };
        print(&text)?;
        if let Some(first) = check.suspicions.first() {
            odd.get_or_insert_with(|| Error::Input {
                path: file.clone(),
                line: Some(first.line),
                problem: format!("{} and {} more", first.problem, check.suspicions.len() - 1),
                expected: "nothing that looks like a mistake".to_string(),
            });
        }
    }
    odd.filter(|_| args.strict).map_or(Ok(()), Err)
}

fn check(args: &Args, file: &Path, known: Option<(&Vocabulary, &Labels)>) -> Result<CorpusCheck, Error> {
    let mut reader = args.layout.open(file)?;
    let mut sentences = Vec::new();
    while let Some(sentence) = reader.next() {
        sentences.push((reader.first_line(), sentence?));
    }
    let check = check_sentences(&sentences, args.scheme.map(Into::into), known);
    if check.sentences == 0 { Err(input::no_sentence(file)) } else { Ok(check) }
}

fn to_text(check: &CorpusCheck) -> String {
    let mut text = format!(
        "{} sentences, {} repeated; the longest has {} words\n{} words, {} different, {} of them once\n\n",
        check.sentences,
        check.repeated_sentences,
        check.longest,
        check.words,
        check.distinct_words,
        check.words_seen_once,
    );
    let scheme = check.scheme.map_or(String::new(), |scheme| match scheme {
        Scheme::Plain => ", plain: they form no phrases".to_owned(),
        scheme => format!(", {scheme}"),
    });
    text += &format!("{} tags{scheme}\n", check.tags.len());
    for tag in &check.tags {
        let share = 100.0 * tag.words as f64 / check.words as f64;
        text += &format!("{:8} {share:6.2}%  {}\n", tag.words, tag.tag);
    }
    if let Some(unseen) = &check.unseen {
        text += &format!("\n{} words are unknown, {} different\n", unseen.words, unseen.distinct.len());
        text += &columns(unseen.distinct.iter().take(3 * SHOWN).map(|(word, _)| word.as_str()));
        text += &format!("\n{} tags are unknown\n", unseen.tags.len());
        text += &columns(unseen.tags.iter().map(String::as_str));
    }
    match check.suspicions.len() {
        0 => text += "\nnothing looks like a mistake\n",
        count => text += &format!("\n{count} lines look like mistakes\n"),
    }
    for suspicion in check.suspicions.iter().take(SHOWN) {
        text += &format!("{:8}  {}\n", suspicion.line, suspicion.problem);
    }
    if check.suspicions.len() > SHOWN {
        text += &format!("          and {} more; --json has all\n", check.suspicions.len() - SHOWN);
    }
    text
}
