use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use elman_tagger::Error;
use elman_tagger::{
    ConllevalReader, Evaluation, FileKind, Model, Pipeline, RawTags, ReportForm, Scheme, TaggedSentence,
    Tagging, write_output,
};

use crate::input::{self, LayoutArgs};
use crate::kernels::KernelArgs;
use crate::output::{check_file, evaluation_json, note, print};
use crate::page::Page;
use crate::train::SchemeName;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// A model folder, whose tags are compared with the file's (first column word, last column tag); without
    /// it the file has both: the last two columns are the right tag and the predicted one, as for conlleval
    #[arg(long, value_name = "DIR")]
    model: Option<PathBuf>,
    /// The files, which count as one corpus; the standard input if none is given, or for `-`
    #[arg(default_value = "-", hide_default_value = true)]
    files: Vec<PathBuf>,
    /// Print one JSON object instead of the report
    #[arg(long, conflicts_with_all = ["latex", "counts"])]
    json: bool,
    /// Also writes an HTML page: F1 and confusions of the slots, the worst sentences
    #[arg(long, value_name = "PAGE", requires = "model", conflicts_with = "raw")]
    report: Option<PathBuf>,
    /// Takes the most probable tags among the sequences that their scheme allows: I-x only after B-x or I-x
    #[arg(long, requires = "model", conflicts_with = "raw")]
    valid_iob: bool,
    /// How the tags mark phrases [default: recognised; for `conlleval`, as the script has it]
    #[arg(long, value_enum, conflicts_with = "raw")]
    scheme: Option<SchemeName>,
    #[command(flatten)]
    layout: LayoutArgs,
    #[command(flatten)]
    conlleval: ConllevalArgs,
    #[command(flatten)]
    kernel: KernelArgs,
}

/// The options of the script conlleval.
#[derive(clap::Args)]
#[command(next_help_heading = "As conlleval")]
struct ConllevalArgs {
    /// The separator of columns, a regular expression; without --model only [default: one blank]
    #[arg(short = 'd', long, value_name = "REGEX", conflicts_with = "model", allow_hyphen_values = true)]
    delimiter: Option<String>,
    /// Print the rows of a LaTeX table
    #[arg(short = 'l', long)]
    latex: bool,
    /// The tags have no prefix: each is a phrase of one word
    #[arg(short = 'r', long)]
    raw: bool,
    /// With -r, the tag that stands for no phrase, besides O
    #[arg(short = 'o', long, value_name = "TAG", default_value = "O", allow_hyphen_values = true)]
    outside: String,
    /// Print the numbers of phrases too, as the tutorial's copy of the script does
    #[arg(long, conflicts_with = "latex")]
    counts: bool,
}

impl ConllevalArgs {
    fn form(&self) -> ReportForm {
        match self {
            ConllevalArgs { latex: true, .. } => ReportForm::Latex,
            ConllevalArgs { counts: true, .. } => ReportForm::Counts,
            _ => ReportForm::Classic,
        }
    }

    fn raw_tags(&self) -> Option<RawTags> {
        self.raw.then(|| RawTags { outside: self.outside.clone() })
    }

    /// Counts the file's last two columns; as the script does, or by the scheme of their tags.
    fn columns(&self, args: &Args, as_script: bool) -> Result<(Evaluation, Option<Tagging>), Error> {
        let mut reader = ConllevalReader::new();
        if let Some(pattern) = &self.delimiter {
            reader = reader.delimiter(pattern)?;
        }
        if let Some(raw) = self.raw_tags() {
            reader = reader.raw(raw);
        }
        let mut files = Vec::new();
        for path in &args.files {
            files.push((input::open(path)?, path));
        }
        if args.scheme.is_none() && (as_script || self.raw) {
            return Ok((reader.read_all(files)?, None));
        }
        let scheme = args.scheme.map(Into::into);
        let (evaluation, tagging) = reader.read_as(files, scheme)?;
        Ok((evaluation, Some(tagging)))
    }

    /// Counts the model's tags.
    fn model(&self, args: &Args, model: &Path) -> Result<(Evaluation, Option<Tagging>), Error> {
        let network = args.kernel.network()?;
        args.report.as_ref().map_or(Ok(()), |file| check_file(file, FileKind::HTML))?;
        let mut reader = args.layout.open_all(&args.files)?.peekable();
        let model = Model::load(model)?;
        let mut pipeline = Pipeline::new(&model, network.as_ref())?;
        if let Some(scheme) = args.scheme {
            pipeline = pipeline.with_scheme(scheme.into());
        }
        if args.valid_iob {
            pipeline = pipeline.with_valid_tags()?;
        }
        if let Some(file) = &args.report {
            // The page shows sentences, so they are all kept.
            let sentences: Vec<TaggedSentence> = reader.collect::<Result<_, _>>()?;
            let (title, corpus) = ("elman evaluate", input::names(&args.files));
            let page = Page { title, model: &model, history: &[], corpus: &corpus, sentences: &sentences };
            write_output(file, FileKind::HTML, page.html(&mut pipeline)?.as_bytes())?;
            let tagging = pipeline.tagging_of(&sentences);
            return Ok((pipeline.evaluate(&sentences)?, Some(tagging)));
        }
        let (own, raw) = (pipeline.tagging(), self.raw_tags());
        let (mut truth, mut guess) = (Tags::default(), Tags::default());
        let mut evaluation = Evaluation::default();
        let mut sentences = Vec::with_capacity(TOGETHER);
        while reader.peek().is_some() {
            sentences.clear();
            for sentence in reader.by_ref().take(TOGETHER) {
                sentences.push(sentence?);
            }
            let words: Vec<&[String]> = sentences.iter().map(TaggedSentence::words).collect();
            let predicted = pipeline.tag_all(&words)?;
            for (sentence, predicted) in sentences.iter().zip(&predicted) {
                match &raw {
                    Some(raw) => {
                        let right: Vec<_> = sentence.tags().iter().map(|tag| raw.apply(tag)).collect();
                        let predicted: Vec<_> = predicted.iter().map(|tag| raw.apply(tag)).collect();
                        evaluation.add(&right, &predicted)?;
                    }
                    None => {
                        truth.push(sentence.tags().iter().map(String::as_str));
                        guess.push(predicted.iter().copied());
                    }
                }
            }
        }
        if raw.is_some() {
            return Ok((evaluation, None));
        }
        // As Pipeline::tagging_of: the scheme is known when the last tag is.
        let all_known = || truth.different.iter().all(|tag| model.labels().id(tag).is_some());
        let tagging =
            if args.scheme.is_some() || all_known() { own } else { Tagging::recognise(truth.sentences()) };
        for (right, predicted) in truth.sentences().zip(guess.sentences()) {
            evaluation.add_as((right, &tagging), (predicted, &own))?;
        }
        Ok((evaluation, Some(tagging)))
    }
}

/// Sentences that are tagged together.
const TOGETHER: usize = 256;

/// The tags of a corpus, without its words: each different one is in memory once.
#[derive(Default)]
struct Tags {
    different: HashSet<Rc<str>>,
    tags: Vec<Rc<str>>,
    /// Where each sentence ends in `tags`.
    ends: Vec<usize>,
}

impl Tags {
    fn push<'a>(&mut self, sentence: impl Iterator<Item = &'a str>) {
        for tag in sentence {
            let known = match self.different.get(tag) {
                Some(known) => known.clone(),
                None => {
                    let new: Rc<str> = tag.into();
                    self.different.insert(new.clone());
                    new
                }
            };
            self.tags.push(known);
        }
        self.ends.push(self.tags.len());
    }

    fn sentences(&self) -> impl Iterator<Item = &[Rc<str>]> + Clone {
        let starts = [0].into_iter().chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, end)| &self.tags[start..*end])
    }
}

/// `as_script`: the command is `conlleval`, which without other options counts as the script does.
pub(crate) fn run(args: &Args, as_script: bool) -> Result<(), Error> {
    let (evaluation, tagging) = match &args.model {
        Some(model) => args.conlleval.model(args, model)?,
        None => {
            args.layout
                .refuse("one of right and predicted tags, as without --model (-d parts its columns)")?;
            args.conlleval.columns(args, as_script)?
        }
    };
    match tagging.filter(|tagging| args.scheme.is_none() && *tagging != Tagging::new(Scheme::Iob2)) {
        Some(tagging) if tagging.scheme() == Scheme::Plain => note(&format!(
            "{}: the tags form no phrases; each word is counted as one (--scheme says how tags mark phrases)",
            input::names(&args.files)
        )),
        Some(tagging) if !tagging.is_conllevals() => {
            note(&format!(
                "{}: the tags follow {tagging}, and phrases are counted by it",
                input::names(&args.files)
            ));
        }
        _ => {}
    }
    print(&if args.json {
        let mut json = evaluation_json(&evaluation);
        if let Some(tagging) = tagging {
            json["scheme"] = serde_json::json!(tagging.scheme());
        }
        format!("{json}\n")
    } else {
        evaluation.report(args.conlleval.form())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_kept_by_sentence_and_once_each() {
        let mut tags = Tags::default();
        for sentence in [&["O", "B-x"][..], &[], &["B-x", "I-x", "O"]] {
            tags.push(sentence.iter().copied());
        }
        let sentences: Vec<Vec<&str>> =
            tags.sentences().map(|sentence| sentence.iter().map(AsRef::as_ref).collect()).collect();
        assert_eq!(sentences, [vec!["O", "B-x"], vec![], vec!["B-x", "I-x", "O"]]);
        assert_eq!(tags.different.len(), 3);
        assert!(Rc::ptr_eq(&tags.tags[1], &tags.tags[2]));
    }
}
