use std::path::{Path, PathBuf};

use elman_tagger::Error;
use elman_tagger::{
    ConllReader, ConllevalReader, Evaluation, Model, Pipeline, RawTags, ReportForm, TaggedSentence,
};

use crate::input;
use crate::kernels::KernelArgs;
use crate::output::{evaluation_json, print, write_file};
use crate::page::Page;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// A model folder, whose tags are compared with the file's (first column word, last column tag); without
    /// it the file has both: the last two columns are the right tag and the predicted one, as for conlleval
    #[arg(long, value_name = "DIR")]
    model: Option<PathBuf>,
    /// The file; the standard input if it is not given or `-`
    #[arg(default_value = "-", hide_default_value = true)]
    file: PathBuf,
    /// Print one JSON object instead of the report
    #[arg(long, conflicts_with_all = ["latex", "counts"])]
    json: bool,
    /// Also writes an HTML page: F1 and confusions of the slots, the worst sentences
    #[arg(long, value_name = "PAGE", requires = "model", conflicts_with = "raw")]
    report: Option<PathBuf>,
    #[command(flatten)]
    conlleval: ConllevalArgs,
    #[command(flatten)]
    kernel: KernelArgs,
}

/// The options of the script conlleval.
#[derive(clap::Args)]
#[command(next_help_heading = "As conlleval")]
struct ConllevalArgs {
    /// What parts the columns, a regular expression; without --model only [default: one blank]
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

    /// Counts the file's last two columns.
    fn columns(&self, args: &Args) -> Result<Evaluation, Error> {
        let mut reader = ConllevalReader::new();
        if let Some(pattern) = &self.delimiter {
            reader = reader.delimiter(pattern)?;
        }
        if let Some(raw) = self.raw_tags() {
            reader = reader.raw(raw);
        }
        reader.read(input::open(&args.file)?, &args.file)
    }

    /// Counts the model's tags.
    fn model(&self, args: &Args, model: &Path) -> Result<Evaluation, Error> {
        let network = args.kernel.network()?;
        let sentences: Vec<TaggedSentence> =
            ConllReader::new(input::open(&args.file)?, &args.file).collect::<Result<_, _>>()?;
        if sentences.is_empty() {
            return Err(input::no_sentence(&args.file));
        }
        let model = Model::load(model)?;
        let mut pipeline = Pipeline::new(&model, network.as_ref())?;
        if let Some(file) = &args.report {
            let (title, corpus) = ("elman evaluate", args.file.display().to_string());
            let page = Page { title, model: &model, history: &[], corpus: &corpus, sentences: &sentences };
            write_file(file, &page.html(&mut pipeline)?)?;
        }
        let Some(raw) = self.raw_tags() else { return pipeline.evaluate(&sentences) };
        let mut evaluation = Evaluation::default();
        for sentence in &sentences {
            let truth: Vec<_> = sentence.tags().iter().map(|tag| raw.apply(tag)).collect();
            let predicted = pipeline.tag(sentence.words())?;
            let predicted: Vec<_> = predicted.into_iter().map(|tag| raw.apply(tag)).collect();
            evaluation.add(&truth, &predicted)?;
        }
        Ok(evaluation)
    }
}

pub(crate) fn run(args: &Args) -> Result<(), Error> {
    let evaluation = match &args.model {
        Some(model) => args.conlleval.model(args, model)?,
        None => args.conlleval.columns(args)?,
    };
    print(&if args.json {
        format!("{}\n", evaluation_json(&evaluation))
    } else {
        evaluation.report(args.conlleval.form())
    })
}
