//! A training or an evaluation as one HTML page that needs nothing else.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use elman_tagger::Error;
use elman_tagger::{EpochRecord, Evaluation, Model, Pipeline, TaggedSentence};
use plotters::prelude::*;

/// Sentences shown, and slots in the table of confusions.
const SENTENCES: usize = 25;
const SLOTS: usize = 16;

/// What a page shows.
pub(crate) struct Page<'a> {
    pub(crate) title: &'a str,
    pub(crate) model: &'a Model,
    /// The epochs; none if only an evaluation is shown.
    pub(crate) history: &'a [EpochRecord],
    /// What the corpus is called.
    pub(crate) corpus: &'a str,
    pub(crate) sentences: &'a [TaggedSentence],
}

impl Page<'_> {
    /// The page as text.
    ///
    /// # Errors
    /// The network's errors; [`elman::Error::Unsupported`] if a figure cannot be drawn.
    pub(crate) fn html(&self, pipeline: &mut Pipeline) -> Result<String, Error> {
        let words: Vec<&[String]> = self.sentences.iter().map(TaggedSentence::words).collect();
        let (tagging, own) = (pipeline.tagging_of(self.sentences), pipeline.tagging());
        let predicted = pipeline.tag_all(&words)?;
        let mut evaluation = Evaluation::default();
        for (sentence, tags) in self.sentences.iter().zip(&predicted) {
            evaluation.add_as((sentence.tags(), &tagging), (tags, &own))?;
        }
        let title = escape(self.title);
        let mut page = format!("{HEAD_BEFORE_TITLE}{title}{HEAD}<h1>{title}</h1>\n");
        // Writing to a String cannot fail.
        let _ = self.summary(&mut page, &evaluation);
        page += if self.history.is_empty() { ABOUT_EVALUATION } else { ABOUT_TRAINING };
        if !self.history.is_empty() {
            page += "<h2 id=\"epochs\">Epochs</h2>\n<div class=\"figures\">\n";
            page += &curves(self.history)
                .map_err(|found| Error::unsupported("figure", "one that can be drawn", found))?;
            page += "</div>\n";
            let _ = epochs(&mut page, self.history);
        }
        let _ = slots(&mut page, self.corpus, &evaluation);
        let _ = confusions(&mut page, self.sentences, &predicted);
        let _ = worst(&mut page, self.sentences, &predicted, &hues(&evaluation));
        page += "</main></body></html>\n";
        Ok(page)
    }

    fn summary(&self, page: &mut String, evaluation: &Evaluation) -> std::fmt::Result {
        let (shape, config, outcome) = (self.model.shape(), self.model.config(), self.model.outcome());
        let total = evaluation.total();
        writeln!(
            page,
            "<p class=\"big\">F1 <b id=\"f1\">{:.2}</b> on {} <span class=\"note\">precision {:.2}, recall {:.2}, \
             accuracy {:.2} of {} words; {} phrases, {} found, {} right</span></p>",
            total.f1(),
            escape(self.corpus),
            total.precision(),
            total.recall(),
            evaluation.accuracy(),
            evaluation.tokens(),
            total.phrases,
            total.found,
            total.correct,
        )?;
        writeln!(
            page,
            "<p class=\"note\">hidden {}, embed {}, window {}, {} labels, {} words; lr {}, batch {}, seed {}; \
             best epoch {} of {} with dev F1 {:.2}, by {}</p>",
            shape.hidden,
            shape.embed,
            shape.window,
            shape.classes,
            shape.vocab,
            config.learning_rate,
            config.batch,
            config.seed,
            outcome.best_epoch,
            outcome.epochs,
            outcome.dev_f1,
            escape(&outcome.network),
        )
    }
}

/// A table of the epochs.
fn epochs(page: &mut String, history: &[EpochRecord]) -> std::fmt::Result {
    page.push_str(
        "<details><summary>All epochs</summary><div class=\"wide\"><table><tr><th>epoch</th><th>loss</th><th>precision</th>\
         <th>recall</th><th>dev F1</th><th>lr</th><th>seconds</th><th>words/s</th></tr>\n",
    );
    for e in history {
        writeln!(
            page,
            "<tr{}><td>{}</td><td>{:.5}</td><td>{:.2}</td><td>{:.2}</td><td>{:.2}</td><td>{:.6}</td><td>{:.2}</td>\
             <td>{:.0}</td></tr>",
            if e.best { " class=\"best\"" } else { "" },
            e.epoch,
            e.loss,
            e.dev_precision,
            e.dev_recall,
            e.dev_f1,
            e.learning_rate,
            e.seconds,
            e.words_per_second,
        )?;
    }
    page.write_str("</table></div></details>\n")
}

/// Precision, recall and F1 of each slot, the most frequent first.
fn slots(page: &mut String, corpus: &str, evaluation: &Evaluation) -> std::fmt::Result {
    let mut types: Vec<_> = evaluation.types().collect();
    types.sort_by(|a, b| b.1.phrases.cmp(&a.1.phrases).then_with(|| a.0.cmp(b.0)));
    writeln!(
        page,
        "<h2 id=\"slots\">Slots of {}</h2>\n<div class=\"wide\"><table><tr><th>slot</th><th>phrases</th><th>found</th><th>right</th>\
         <th>precision</th><th>recall</th><th>F1</th><th></th></tr>",
        escape(corpus)
    )?;
    for (name, counts) in types {
        writeln!(
            page,
            "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{:.2}</td><td>{:.2}</td><td>{:.2}</td>\
             <td class=\"bar\"><i style=\"width:{:.1}%\"></i></td></tr>",
            escape(name),
            counts.phrases,
            counts.found,
            counts.correct,
            counts.precision(),
            counts.recall(),
            counts.f1(),
            counts.f1(),
        )?;
    }
    page.write_str("</table></div>\n")
}

/// The type of a tag; what has none (`O`) by itself.
fn slot(tag: &str) -> &str {
    tag.split_once('-').map_or(tag, |(_, slot)| slot)
}

/// Which slots the words of the most confused slots were given.
fn confusions(page: &mut String, sentences: &[TaggedSentence], predicted: &[Vec<&str>]) -> std::fmt::Result {
    let mut counts: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for (sentence, tags) in sentences.iter().zip(predicted) {
        for (truth, guess) in sentence.tags().iter().zip(tags) {
            *counts.entry((slot(truth), slot(guess))).or_default() += 1;
        }
    }
    let mut errors: BTreeMap<&str, usize> = BTreeMap::new();
    for ((truth, guess), count) in counts.iter().filter(|((truth, guess), _)| truth != guess) {
        *errors.entry(truth).or_default() += count;
        *errors.entry(guess).or_default() += count;
    }
    let mut names: Vec<(&str, usize)> = errors.into_iter().collect();
    names.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(b.0)));
    names.truncate(SLOTS);
    page.push_str("<h2 id=\"confusions\">Confusions</h2>\n");
    if names.is_empty() {
        return page.write_str("<p>None: every word has its slot.</p>\n");
    }
    writeln!(
        page,
        "<p class=\"note\">Words of the {} most confused slots: rows are the right slots, columns the predicted \
         ones.</p>\n<div class=\"wide\"><table class=\"matrix\"><tr><th></th>{}</tr>",
        names.len(),
        names.iter().map(|(name, _)| format!("<th><span>{}</span></th>", escape(name))).collect::<String>(),
    )?;
    let worst = names
        .iter()
        .flat_map(|(truth, _)| names.iter().map(move |(guess, _)| (*truth, *guess)))
        .filter(|(truth, guess)| truth != guess)
        .filter_map(|pair| counts.get(&pair))
        .max()
        .copied()
        .unwrap_or(1) as f64;
    for (truth, _) in &names {
        write!(page, "<tr><th>{}</th>", escape(truth))?;
        for (guess, _) in &names {
            match counts.get(&(*truth, *guess)) {
                None => page.push_str("<td></td>"),
                Some(count) if truth == guess => write!(page, "<td class=\"right\">{count}</td>")?,
                Some(count) => {
                    let shade = 0.12 + 0.6 * *count as f64 / worst;
                    write!(page, "<td style=\"background:rgba(207,34,46,{shade:.2})\">{count}</td>")?;
                }
            }
        }
        page.push_str("</tr>\n");
    }
    page.write_str("</table></div>\n")
}

/// The sentences with the most wrong tags.
fn worst(
    page: &mut String,
    sentences: &[TaggedSentence],
    predicted: &[Vec<&str>],
    hues: &BTreeMap<&str, usize>,
) -> std::fmt::Result {
    let mut wrong: Vec<(usize, usize)> = sentences
        .iter()
        .zip(predicted)
        .map(|(sentence, tags)| sentence.tags().iter().zip(tags).filter(|(a, b)| a != *b).count())
        .enumerate()
        .map(|(index, errors)| (errors, index))
        .filter(|(errors, _)| *errors > 0)
        .collect();
    wrong.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
    writeln!(
        page,
        "<h2 id=\"sentences\">Worst sentences</h2>\n<p class=\"note\">{} of {} sentences have a wrong tag; the {} worst. \
         Below each word its right tag, then the predicted one; a dot is O, outside of any slot. A frame marks a wrong \
         word. A colour stands for a slot.</p>",
        wrong.len(),
        sentences.len(),
        wrong.len().min(SENTENCES),
    )?;
    for (_, index) in wrong.into_iter().take(SENTENCES) {
        page.push_str("<p class=\"sentence\">");
        let sentence = &sentences[index];
        for ((word, truth), guess) in sentence.words().iter().zip(sentence.tags()).zip(&predicted[index]) {
            write!(
                page,
                "<span class=\"word{}\">{}{}{}</span>",
                if truth == guess { "" } else { " wrong" },
                escape(word),
                label(truth, hues),
                label(guess, hues),
            )?;
        }
        page.push_str("</p>\n");
    }
    Ok(())
}

/// A hue for each slot, in degrees: the most frequent slots lie far from each other.
fn hues(evaluation: &Evaluation) -> BTreeMap<&str, usize> {
    let mut types: Vec<_> = evaluation.types().collect();
    types.sort_by(|a, b| b.1.phrases.cmp(&a.1.phrases).then_with(|| a.0.cmp(b.0)));
    // By the golden angle, each comes into the widest gap.
    types.into_iter().enumerate().map(|(i, (name, _))| (name, (210 + i * 138) % 360)).collect()
}

/// A tag in the colour of its slot.
fn label(tag: &str, hues: &BTreeMap<&str, usize>) -> String {
    if tag == "O" {
        return "<i>·</i>".to_string();
    }
    match hues.get(slot(tag)) {
        Some(hue) => format!("<i class=\"slot\" style=\"--hue:{hue}\">{}</i>", escape(tag)),
        None => format!("<i>{}</i>", escape(tag)),
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// The colours of the lines, by the names that they have in the page's style, where each has a second value for dark
/// pages. They differ in lightness, too.
const SKY: (&str, RGBColor) = ("sky", RGBColor(9, 105, 218));
const ORANGE: (&str, RGBColor) = ("orange", RGBColor(188, 76, 0));
const LEAF: (&str, RGBColor) = ("leaf", RGBColor(26, 127, 55));

/// A line of a figure: its name, its colour, and a value for each epoch.
type Line<'a> = (&'a str, (&'a str, RGBColor), Vec<f64>);

fn curves(history: &[EpochRecord]) -> Result<String, String> {
    let of = |value: fn(&EpochRecord) -> f64| history.iter().map(value).collect::<Vec<_>>();
    let dev = [
        ("precision", ORANGE, of(|e| e.dev_precision)),
        ("recall", LEAF, of(|e| e.dev_recall)),
        ("F1", SKY, of(|e| e.dev_f1)),
    ];
    let figures = [
        figure("training loss", &[("loss", SKY, of(|e| e.loss))], true)?,
        figure("development corpus, percent", &dev, false)?,
        figure("learning rate", &[("lr", SKY, of(|e| e.learning_rate))], true)?,
        figure("seconds an epoch", &[("seconds", SKY, of(|e| e.seconds))], true)?,
    ];
    Ok(figures.concat())
}

/// One figure over the epochs, with the names of its lines above it, where they hide nothing; its vertical axis begins at 0, or a little below the smallest value.
fn figure(title: &str, lines: &[Line<'_>], from_zero: bool) -> Result<String, String> {
    let values = || lines.iter().flat_map(|(_, _, values)| values.iter().copied());
    let (min, max) = (values().fold(f64::INFINITY, f64::min), values().fold(0.0, f64::max));
    let bottom = if from_zero { 0.0 } else { (min - 0.1 * (max - min) - 1.0).max(0.0) };
    let top = if max > bottom { max + 0.05 * (max - bottom) } else { bottom + 1.0 };
    let epochs = lines.iter().map(|(_, _, values)| values.len()).max().unwrap_or(1);
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, (440, 230)).into_drawing_area();
        let mut chart = ChartBuilder::on(&area)
            .margin(6)
            .margin_right(16)
            .x_label_area_size(32)
            .y_label_area_size(52)
            .build_cartesian_2d(0.5..epochs as f64 + 0.5, bottom..top)
            .map_err(said)?;
        chart
            .configure_mesh()
            .disable_x_mesh()
            .light_line_style(TRANSPARENT)
            .x_desc("epoch")
            .x_labels(epochs.min(12))
            .x_label_formatter(&|x| format!("{x:.0}"))
            .y_labels(6)
            .draw()
            .map_err(said)?;
        for (_, (_, colour), values) in lines {
            let points: Vec<(f64, f64)> =
                values.iter().enumerate().map(|(index, value)| (index as f64 + 1.0, *value)).collect();
            let colour = *colour;
            chart.draw_series([PathElement::new(points.clone(), colour.stroke_width(2))]).map_err(said)?;
            // A single epoch would be no line.
            chart
                .draw_series(points.into_iter().map(|point| Circle::new(point, 2, colour.filled())))
                .map_err(said)?;
        }
        area.present().map_err(said)?;
    }
    let names: String = match lines {
        [_] => String::new(),
        _ => lines.iter().map(|(name, (class, _), _)| format!(" <b class=\"{class}\">{name}</b>")).collect(),
    };
    Ok(format!("<figure><figcaption>{title}{names}</figcaption>{svg}</figure>\n"))
}

fn said(error: impl std::error::Error) -> String {
    error.to_string()
}

const ABOUT_TRAINING: &str = "<p>This page shows a training of a tagger. The curves show how the loss fell and how the \
    development corpus was tagged after each <a href=\"#epochs\">epoch</a>; the model of the best epoch was kept. \
    F1 combines precision (the share of the found phrases that are right) and recall (the share of the right phrases that \
    were found). Then, for a corpus that was not trained on, the same for each <a href=\"#slots\">slot</a>, which slots were \
    <a href=\"#confusions\">taken for each other</a>, and the <a href=\"#sentences\">sentences</a> with the most mistakes.</p>\n";

const ABOUT_EVALUATION: &str = "<p>This page compares the tags of a model with the right tags of a corpus. F1 combines \
    precision (the share of the found phrases that are right) and recall (the share of the right phrases that were found). \
    Then the same for each <a href=\"#slots\">slot</a>, which slots were <a href=\"#confusions\">taken for each other</a>, and \
    the <a href=\"#sentences\">sentences</a> with the most mistakes.</p>\n";

const HEAD_BEFORE_TITLE: &str = r#"<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>"#;

const HEAD: &str = r##"</title>
<style>
:root { color-scheme: light dark; --ink: #1b1f24; --soft: #57606a; --paper: #fff; --line: #d0d7de; --thin: #eaeef2;
  --best: #dafbe1; --bar: #54aeff; --wrong: #cf222e; --sky: #0969da; --orange: #bc4c00; --leaf: #1a7f37;
  --slot: 70% 86%; --tag: #32383f }
@media (prefers-color-scheme: dark) { :root { --ink: #e6edf3; --soft: #9da7b3; --paper: #0d1117; --line: #3d444d;
  --thin: #262c36; --best: #12381f; --bar: #1f6feb; --wrong: #ff7b72; --sky: #58a6ff; --orange: #f0883e; --leaf: #56d364;
  --slot: 38% 27%; --tag: #d1d9e0 } }
* { box-sizing: border-box }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); margin: 0 }
main { max-width: 1060px; margin: 2rem auto; padding: 0 1rem }
a { color: var(--sky) }
h1 { font-size: 1.5rem; overflow-wrap: anywhere }
h2 { font-size: 1.2rem; margin-top: 2.5rem; border-top: 1px solid var(--line); padding-top: 1rem; overflow-wrap: anywhere }
.note { color: var(--soft); font-size: .9rem } .big { font-size: 1.2rem }
.wide { overflow-x: auto }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; margin: 1rem 0; font-size: .9rem }
th, td { text-align: right; padding: .12rem .6rem; border-bottom: 1px solid var(--thin); white-space: nowrap }
th:first-child, td:first-child { text-align: left }
tr.best td { background: var(--best) }
.bar { width: 160px; min-width: 80px; text-align: left } .bar i { display: block; height: .7rem; background: var(--bar) }
.figures { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(420px, 100%), 1fr)); gap: .8rem }
figure { margin: 0 } figcaption { padding-left: .4rem } figcaption b { margin-left: .8rem }
.sky { color: var(--sky) } .orange { color: var(--orange) } .leaf { color: var(--leaf) }
svg { display: block; width: 100%; height: auto }
svg text { fill: var(--ink) }
svg [stroke="#000000"] { stroke: var(--soft) }
svg [stroke="#0969DA"] { stroke: var(--sky) } svg [fill="#0969DA"] { fill: var(--sky) }
svg [stroke="#BC4C00"] { stroke: var(--orange) } svg [fill="#BC4C00"] { fill: var(--orange) }
svg [stroke="#1A7F37"] { stroke: var(--leaf) } svg [fill="#1A7F37"] { fill: var(--leaf) }
.matrix td { border: 1px solid var(--thin); min-width: 1.6rem; text-align: center; padding: .1rem .2rem }
.matrix .right { color: var(--soft) }
.matrix tr:first-child th { vertical-align: bottom; padding: .2rem 0; text-align: center }
.matrix tr:first-child span { writing-mode: vertical-rl; transform: rotate(180deg); max-height: 14rem }
.sentence { line-height: 1.25; margin: 1.1rem 0 }
.word { display: inline-block; max-width: 100%; overflow-wrap: anywhere; text-align: center; padding: .1rem .25rem;
  margin: .2rem .12rem; vertical-align: top }
.word i { display: block; font: .72rem/1.5 ui-monospace, monospace; padding: 0 .2rem; border-radius: 3px; color: var(--tag) }
.word .slot { background: hsl(var(--hue) var(--slot)) }
.wrong { outline: 2px solid var(--wrong); border-radius: 4px }
@media (max-width: 600px) { main { margin: 1rem auto } .bar { width: 80px } th, td { padding: .12rem .4rem } }
</style></head><body><main>
"##;

#[cfg(test)]
mod tests {
    use elman_reference::Reference;
    use elman_tagger::{TrainConfig, Trainer, travel};

    use super::*;

    #[test]
    fn a_page_shows_the_numbers_and_escapes_all_text() {
        let own = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let odd = TaggedSentence::new(own("<script>alert(1)</script> \"&"), own("B-<b> O")).unwrap();
        let mut train = travel::corpus(1, 60);
        train.push(odd.clone());
        let mut dev = travel::corpus(2, 20);
        dev.push(odd);
        let network = Reference::new();
        let config = TrainConfig { hidden: 12, embed: 8, epochs: 2, ..TrainConfig::default() };
        let mut trainer = Trainer::new(&network, config, &train, &dev).unwrap();
        while !trainer.is_finished() {
            trainer.run_epoch(&mut |_| {}).unwrap();
        }
        let history = trainer.history().to_vec();
        let model = trainer.into_model();
        let mut pipeline = Pipeline::new(&model, &network).unwrap();
        let page =
            Page { title: "a <title>", model: &model, history: &history, corpus: "d&v", sentences: &dev };
        let html = page.html(&mut pipeline).unwrap();
        let f1 = pipeline.evaluate(&dev).unwrap().total().f1();
        assert!(html.contains(&format!("F1 <b id=\"f1\">{f1:.2}</b> on d&amp;v")), "{html}");
        assert_eq!(html.matches("<svg").count(), 4);
        assert!(html.contains(&format!("<td>1</td><td>{:.5}</td>", history[0].loss)));
        assert!(html.contains("<td>&lt;b&gt;</td><td>1</td>"), "{html}");
        for raw in ["<script", "<b>-", "<title>a <", "d&v"] {
            assert!(!html.contains(raw), "{raw}");
        }
        // Without epochs there are no figures.
        let html = Page { history: &[], ..page }.html(&mut pipeline).unwrap();
        assert!(!html.contains("<svg"));
    }
}
