use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anstyle::{AnsiColor, Style};
use elman_tagger::{
    ConllWriter, Error, FileKind, Measure, Pipeline, TaggedSentence, Trainer, travel, write_output,
};

use crate::kernels::KernelArgs;
use crate::output::{print, written};
use crate::train::{epoch, header, row};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Decides the requests, the first parameters and the order of training
    #[arg(long, value_name = "N", default_value_t = travel::DEMO_SEED, value_parser = clap::value_parser!(u64).range(..i64::MAX as u64))]
    seed: u64,
    /// Also writes the requests to this folder, as train.conll and dev.conll
    #[arg(long, value_name = "DIR")]
    corpora: Option<PathBuf>,
    #[command(flatten)]
    kernel: KernelArgs,
}

/// Requests that no rule of the grammar makes as a whole; some of their words it does not have.
const REQUESTS: [&str; 3] = [
    "hello i would like two seats on a night train from lisbon to san sebastian on friday for less than 150 euros",
    "is there a direct flight from oslo to salt lake city that arrives before noon and can i take my cat please",
    "a ferry from utopia to rio de janeiro leaving tomorrow with a window seat and a four star hotel for five nights",
];

pub(crate) fn run(args: &Args) -> Result<(), Error> {
    let start = Instant::now();
    let network = args.kernel.network()?;
    let (config, train, dev) = travel::demo(args.seed);
    if let Some(folder) = &args.corpora {
        write(&folder.join("train.conll"), &train)?;
        write(&folder.join("dev.conll"), &dev)?;
    }
    let mut trainer = Trainer::new(network.as_ref(), config, &train, &dev)?;
    print(&format!(
        "{} travel requests to learn from, {} others to check with, made by a grammar; \
         {} words, {} tags.\n\n{}",
        train.len(),
        dev.len(),
        trainer.vocabulary().size(),
        trainer.labels().size(),
        header(Measure::F1)
    ))?;
    while !trainer.is_finished() {
        let row = row(epoch(&mut trainer, train.len())?, Measure::F1);
        print(&row)?;
    }
    let model = trainer.into_model();
    let outcome = model.outcome();
    print(&format!(
        "\nThe network of epoch {}, F1 {:.2}, on three requests it has never seen:\n",
        outcome.best_epoch, outcome.dev_f1
    ))?;
    let mut pipeline = Pipeline::new(&model, network.as_ref())?;
    for request in REQUESTS {
        let words: Vec<&str> = request.split(' ').collect();
        let tags = pipeline.tag(&words)?;
        show(&words, &tags)?;
    }
    print(&format!(
        "\n{:.1} s with the kernel {}, hash {}. To train on your own files: elman train --help\n",
        start.elapsed().as_secs_f64(),
        network.name(),
        &model.hash()[..16]
    ))
}

/// Writes a corpus as columns.
fn write(path: &Path, corpus: &[TaggedSentence]) -> Result<(), Error> {
    const COLUMNS: FileKind = FileKind {
        name: "a column file",
        begins: |start| String::from_utf8_lossy(start).lines().next().is_some_and(|line| line.contains('\t')),
    };
    let mut text = Vec::new();
    let mut writer = ConllWriter::new(&mut text, path);
    corpus.iter().try_for_each(|sentence| writer.write(sentence.words(), sentence.tags()))?;
    drop(writer);
    write_output(path, COLUMNS, &text)
}

/// A word outside any slot, or the words of one slot with its name.
#[derive(Debug, PartialEq)]
struct Cell {
    words: String,
    slot: Option<String>,
}

fn cells(words: &[&str], tags: &[&str]) -> Vec<Cell> {
    let mut cells: Vec<Cell> = Vec::new();
    for (word, tag) in words.iter().zip(tags) {
        let (prefix, slot) = tag.split_once('-').unwrap_or((tag, ""));
        match cells.last_mut() {
            Some(last) if prefix == "I" && last.slot.as_deref() == Some(slot) => {
                last.words += " ";
                last.words += word;
            }
            _ => cells
                .push(Cell { words: word.to_string(), slot: (!slot.is_empty()).then(|| slot.to_owned()) }),
        }
    }
    cells
}

/// Prints the words with the names of their slots below, in lines of at most 80 columns.
fn show(words: &[&str], tags: &[&str]) -> Result<(), Error> {
    const COLUMNS: usize = 80;
    let style = |color: AnsiColor| Style::new().fg_color(Some(color.into()));
    let mut lines = vec![(String::new(), String::new(), 0)];
    for Cell { words, slot } in cells(words, tags) {
        let width = words.len().max(slot.as_ref().map_or(0, String::len)) + 1;
        if lines.last().is_none_or(|(_, _, used)| used + width > COLUMNS) {
            lines.push((String::new(), String::new(), 0));
        }
        let Some((top, bottom, used)) = lines.last_mut() else { continue };
        let slot = slot.unwrap_or_default();
        let (word_style, slot_style) = if slot.is_empty() {
            Default::default()
        } else {
            (style(AnsiColor::Cyan).bold(), style(AnsiColor::Green))
        };
        *top += &format!("{word_style}{words}{word_style:#}{:1$}", "", width - words.len());
        *bottom += &format!("{slot_style}{slot}{slot_style:#}{:1$}", "", width - slot.len());
        *used += width;
    }
    let mut text = String::new();
    for (top, bottom, _) in lines {
        text += &format!("\n{}\n{}\n", top.trim_end(), bottom.trim_end());
    }
    // anstream drops the colours where they are not wanted: no terminal, NO_COLOR, TERM=dumb.
    let mut out = anstream::stdout().lock();
    written(out.write_all(text.as_bytes()).and_then(|()| out.flush()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_slots_and_words_outside() {
        let cell = |words: &str, slot: &str| Cell {
            words: words.into(),
            slot: (!slot.is_empty()).then(|| slot.to_owned()),
        };
        assert_eq!(
            cells(&["to", "new", "york", "york", "oslo", "x"], &["O", "B-to", "I-to", "B-to", "I-via", "I"]),
            [cell("to", ""), cell("new york", "to"), cell("york", "to"), cell("oslo", "via"), cell("x", "")]
        );
    }
}
