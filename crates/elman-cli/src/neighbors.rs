use std::path::PathBuf;

use elman_tagger::Error;
use elman_tagger::{Metric, Model, Neighbor, neighbors};
use serde_json::json;

use crate::input::nearest;
use crate::output::print;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// The model folder
    #[arg(long, value_name = "DIR")]
    model: PathBuf,
    /// The words whose neighbours are wanted
    #[arg(required = true, value_name = "WORD")]
    words: Vec<String>,
    /// Neighbours of each word
    #[arg(short = 'k', long, value_name = "N", default_value_t = 10)]
    count: usize,
    /// Print one JSON object a line instead of tables
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args) -> Result<(), Error> {
    let model = Model::load(&args.model)?;
    for (index, word) in args.words.iter().enumerate() {
        let find = |metric| neighbors(&model, word, metric, args.count);
        let cosine = find(Metric::Cosine).map_err(|error| known_nearest(&model, word, error))?;
        let l2 = find(Metric::L2)?;
        let gap = if index > 0 && !args.json { "\n" } else { "" };
        print(&if args.json {
            let list = |list: &[Neighbor<'_>]| -> Vec<_> {
                list.iter().map(|n| json!({ "word": n.word, "value": n.value })).collect()
            };
            format!("{}\n", json!({ "word": word, "cosine": list(&cosine), "l2": list(&l2) }))
        } else {
            format!("{gap}{}", table(word, &cosine, &l2))
        })?;
    }
    Ok(())
}

/// The error, with the most similar word that the model knows.
fn known_nearest(model: &Model, word: &str, error: Error) -> Error {
    match error {
        Error::Network(elman::Error::Unsupported { what, expected, found }) => {
            let near = nearest(word, model.vocabulary().words());
            let expected = near.map_or(expected.clone(), |near| format!("{expected}, for example {near:?}"));
            Error::unsupported(what, expected, found)
        }
        error => error,
    }
}

fn table(word: &str, cosine: &[Neighbor<'_>], l2: &[Neighbor<'_>]) -> String {
    let width = cosine.iter().map(|n| n.word.chars().count()).chain([12]).max().unwrap_or(12);
    let mut text =
        format!("{word}\n      {:width$}  cosine   {:width$}  distance\n", "by cosine", "by distance");
    for (rank, (a, b)) in cosine.iter().zip(l2).enumerate() {
        text += &format!(
            "{:4}  {:width$} {:7.4}   {:width$}  {:8.4}\n",
            rank + 1,
            a.word,
            a.value,
            b.word,
            b.value
        );
    }
    text
}
