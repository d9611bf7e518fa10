use std::path::PathBuf;

use elman::{Cell, Feedback, Head, Name};
use elman_tagger::Error;
use elman_tagger::Model;
use serde_json::{Value, json};

use crate::output::{columns, print};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// The model folder
    #[arg(value_name = "MODEL")]
    model: PathBuf,
    /// Print the words of the vocabulary instead, one a line, in the order of their ids
    #[arg(long, conflicts_with = "labels")]
    words: bool,
    /// Print the labels instead, one a line, in the order of their ids
    #[arg(long)]
    labels: bool,
    /// Print one JSON object instead of the tables; it has all words and labels
    #[arg(long, conflicts_with_all = ["words", "labels"])]
    json: bool,
}

pub(crate) fn run(args: &Args) -> Result<(), Error> {
    let model = Model::load(&args.model)?;
    let lines =
        |names: &mut dyn Iterator<Item = &str>| names.map(|name| format!("{name}\n")).collect::<String>();
    print(&if args.words {
        lines(&mut model.vocabulary().words())
    } else if args.labels {
        lines(&mut model.labels().tags())
    } else if args.json {
        format!("{}\n", to_json(&model))
    } else {
        to_text(&model)
    })
}

/// What can be said of a tensor in a line.
struct Summary {
    name: &'static str,
    shape: Vec<usize>,
    norm: f64,
    mean: f64,
    min: f64,
    max: f64,
}

fn summaries(model: &Model) -> Vec<Summary> {
    let tensors = model.params().tensors();
    let summary = |(name, tensor): (Name, elman::ndarray::ArrayViewD<'_, f32>)| {
        let values = || tensor.iter().map(|value| f64::from(*value));
        Summary {
            name: name.as_str(),
            shape: tensor.shape().to_vec(),
            norm: values().map(|value| value * value).sum::<f64>().sqrt(),
            mean: values().sum::<f64>() / tensor.len() as f64,
            min: values().fold(f64::INFINITY, f64::min),
            max: values().fold(f64::NEG_INFINITY, f64::max),
        }
    };
    tensors.map(summary).collect()
}

/// The types of the labels: what stands after the first hyphen.
fn slots(model: &Model) -> Vec<&str> {
    let mut slots: Vec<&str> =
        model.labels().tags().filter_map(|tag| tag.split_once('-')).map(|(_, slot)| slot).collect();
    slots.sort_unstable();
    slots.dedup();
    slots
}

fn to_text(model: &Model) -> String {
    let (shape, config, outcome) = (model.shape(), model.config(), model.outcome());
    let normalization = model.vocabulary().normalization();
    let on = |on: bool| if on { "yes" } else { "no" };
    let mut text = match shape.feedback {
        Feedback::Hidden => String::new(),
        Feedback::Output => "a Jordan network: the output is fed back\n".to_owned(),
    };
    if shape.cell != Cell::default() {
        text += &format!("cell {}\n", shape.cell);
    }
    if !shape.is_single() {
        let directions = if shape.bidirectional { "both directions" } else { "forward" };
        text += &format!("layers {}, {directions}\n", shape.layers);
    }
    if shape.head != Head::Softmax {
        text += &format!("head {}\n", shape.head);
    }
    text += &format!(
        "hidden {}, embed {}, window {}, {} labels, {} words: {} parameters\n\
         trained for {} epochs by {}; best epoch {}, dev F1 {:.2}\n\
         recipe {}, lr {}, batch {}, seed {}; lower case {}, DIGIT {}\nhash {}{}\n\n",
        shape.hidden,
        shape.embed,
        shape.window,
        shape.classes,
        shape.vocab,
        shape.parameters(),
        outcome.epochs,
        outcome.network,
        outcome.best_epoch,
        outcome.dev_f1,
        format!("{:?}", config.recipe).to_lowercase(),
        config.learning_rate,
        config.batch,
        config.seed,
        on(normalization.lowercase),
        on(normalization.digits),
        model.hash(),
        outcome.bits.map_or(String::new(), |bits| format!(", bits {bits}")),
    );
    text += "tensor  shape              norm      mean       min       max\n";
    for s in summaries(model) {
        let shape = format!("{:?}", s.shape);
        text +=
            &format!("{:6}  {shape:12} {:10.4} {:9.5} {:9.4} {:9.4}\n", s.name, s.norm, s.mean, s.min, s.max);
    }
    let slots = slots(model);
    text += &format!("\n{} labels, {} slots\n{}", shape.classes, slots.len(), columns(slots.into_iter()));
    let words: Vec<&str> = model.vocabulary().words().collect();
    let shown = words.len().min(24);
    text += &format!("\n{} words, of them\n{}", words.len(), columns(words[..shown].iter().copied()));
    text
}

fn to_json(model: &Model) -> Value {
    let shape = model.shape();
    let tensors: Vec<Value> = summaries(model)
        .into_iter()
        .map(|s| {
            json!({ "name": s.name, "shape": s.shape, "norm": s.norm, "mean": s.mean, "min": s.min, "max": s.max })
        })
        .collect();
    json!({
        "shape": {
            "vocab": shape.vocab,
            "embed": shape.embed,
            "window": shape.window,
            "hidden": shape.hidden,
            "classes": shape.classes,
            "network": shape.feedback.name(),
            "cell": shape.cell.to_string(),
            "layers": shape.layers,
            "bidirectional": shape.bidirectional,
            "head": shape.head.to_string(),
            "parameters": shape.parameters(),
        },
        "training": model.config(),
        "outcome": model.outcome(),
        "hash": model.hash(),
        "tensors": tensors,
        "labels": model.labels().tags().collect::<Vec<_>>(),
        "words": model.vocabulary().words().collect::<Vec<_>>(),
    })
}
