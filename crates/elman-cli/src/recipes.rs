use std::fmt::Write as _;

use clap::ValueEnum;
use elman_tagger::{Error, TrainConfig};
use serde_json::json;

use crate::output::print;
use crate::train::RecipeName;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Print one JSON object a line instead of a text
    #[arg(long)]
    json: bool,
}

/// Test F1, by conlleval; the README has the table.
const fn measured(recipe: RecipeName) -> Option<&'static str> {
    match recipe {
        RecipeName::Tutorial => Some("test F1 93.96 on ATIS, 88.96 on SNIPS"),
        RecipeName::Standard => None,
        RecipeName::Fast => Some("test F1 95.01 on ATIS, 91.57 on SNIPS (seed 345)"),
        RecipeName::Best => Some("test F1 95.51 on ATIS, 94.37 on SNIPS (medians of five seeds)"),
    }
}

pub(crate) fn run(args: &Args) -> Result<(), Error> {
    for recipe in RecipeName::value_variants() {
        let value = recipe.to_possible_value();
        let name = value.as_ref().map_or("", |value| value.get_name());
        let about = value.as_ref().and_then(|value| value.get_help()).map(ToString::to_string);
        let about = about.unwrap_or_default();
        let table = |config: &TrainConfig| {
            toml::Table::try_from(config).map_err(|error| Error::shape("recipe", "values for TOML", error))
        };
        let options = table(&recipe.config())?;
        if args.json {
            let measured = measured(*recipe);
            let row = json!({ "recipe": name, "about": about, "options": options, "measured": measured });
            print(&format!("{row}\n"))?;
            continue;
        }
        let mut text = format!("{name}: {about}\n");
        for (option, value) in &options {
            let _ = writeln!(text, "  {option} = {value}"); // writing to a String cannot fail
        }
        if let Some(measured) = measured(*recipe) {
            let _ = writeln!(text, "  measured: {measured}");
        }
        print(&text)?;
    }
    Ok(())
}
