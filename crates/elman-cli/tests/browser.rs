//! The pages of `train --report` and `evaluate --report` in a browser: they load without an error, and what is on them
//! is what the program prints.
//!
//! For this Chromium is needed: `ELMAN_CHROMIUM`, or one of the usual names on the path. Where there is none the tests
//! say that they are skipped; with `ELMAN_REQUIRE_CHROMIUM` set they fail instead.
#![cfg(unix)]

#[allow(dead_code, reason = "the other tests use the rest")]
mod common;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use common::{run, success, write_corpus};
use elman_tagger::{ConllReader, TaggedSentence};
use serde_json::Value;

/// The browser; without one, says that `test` is skipped.
fn chromium(test: &str) -> Option<PathBuf> {
    let named = std::env::var_os("ELMAN_CHROMIUM").map(PathBuf::from);
    let found = named.or_else(|| {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let names = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome"];
        let candidates = std::env::split_paths(&path).flat_map(|folder| names.map(|name| folder.join(name)));
        candidates.into_iter().find(|candidate| candidate.is_file())
    });
    if found.is_none() {
        assert!(
            std::env::var_os("ELMAN_REQUIRE_CHROMIUM").is_none(),
            "{test}: ELMAN_REQUIRE_CHROMIUM is set, and there is no Chromium"
        );
        // Not by a macro: those of a test that passes are not shown.
        let _ = writeln!(std::io::stderr(), "{test}: SKIPPED, for want of Chromium");
    }
    found
}

/// Loads a page, and returns its document as the browser has it and what it logged.
fn load(browser: &Path, folder: &Path, page: &str) -> (String, String) {
    let file = |name: &str| File::create(folder.join(name)).unwrap();
    let mut child = Command::new(browser)
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-extensions"])
        .args(["--no-first-run", "--disable-sync", "--disable-background-networking"])
        .args(["--enable-logging=stderr", "--dump-dom"])
        .arg(format!("--user-data-dir={}", folder.join("profile").display()))
        .arg(format!("file://{}", folder.join(page).display()))
        .stdin(Stdio::null())
        .stdout(file("document"))
        .stderr(file("log"))
        .spawn()
        .unwrap();
    let start = Instant::now();
    let status = loop {
        match child.try_wait().unwrap() {
            Some(status) => break status,
            None if start.elapsed() > Duration::from_secs(120) => {
                child.kill().unwrap();
                child.wait().unwrap();
                panic!("{page}: no answer from {} in two minutes", browser.display());
            }
            None => thread::sleep(Duration::from_millis(20)),
        }
    };
    let read = |name: &str| String::from_utf8_lossy(&fs::read(folder.join(name)).unwrap()).into_owned();
    let (document, log) = (read("document"), read("log"));
    assert!(status.success(), "{page}: {status}: {log}");
    (document, log)
}

/// What the browser said about scripts.
fn complaints(log: &str) -> Vec<&str> {
    log.lines().filter(|line| line.contains(":CONSOLE")).collect()
}

/// The document of a page without complaints, and that needs nothing but itself.
fn document(browser: &Path, folder: &Path, page: &str) -> String {
    let (document, log) = load(browser, folder, page);
    assert_eq!(complaints(&log), Vec::<&str>::new(), "{page}");
    let outside = document.replace("href=\"#", "");
    for other in ["<script", "<link", "src=", "href=", "url(", "@import"] {
        assert!(!outside.contains(other), "{page}: {other}");
    }
    for target in pieces(&document, "href=\"#", "\"") {
        assert!(document.contains(&format!("id=\"{target}\"")), "{page}: nothing is called {target}");
    }
    document
}

/// The text of a piece of a document.
fn text(html: &str) -> String {
    let mut text = String::new();
    for part in html.split('<').enumerate().map(|(i, part)| match i {
        0 => part,
        _ => part.split_once('>').map_or("", |(_, text)| text),
    }) {
        text += part;
    }
    text.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&amp;", "&")
}

/// The pieces of a document between `start` and the next `end`.
fn pieces<'a>(document: &'a str, start: &str, end: &str) -> Vec<&'a str> {
    document.split(start).skip(1).map(|rest| rest.split(end).next().unwrap_or_default()).collect()
}

/// The cells of the table after this heading (or summary).
fn table(document: &str, heading: &str) -> Vec<Vec<String>> {
    let (_, rest) = document.split_once(heading).unwrap_or_else(|| panic!("{heading} is not in the page"));
    let table = pieces(rest, "<table", "</table>")[0];
    let cells = |row: &str| {
        row.split("<t")
            .skip(1)
            .filter(|cell| cell.starts_with(['d', 'h']))
            .map(|cell| text(&format!("<t{cell}")).trim_end().to_owned())
            .collect()
    };
    table.split("<tr").skip(1).map(cells).collect()
}

fn corpora(folder: &Path) {
    write_corpus(&folder.join("train.conll"), 1, 250);
    write_corpus(&folder.join("dev.conll"), 2, 60);
    write_corpus(&folder.join("test.conll"), 3, 60);
}

fn train(folder: &Path, more: &[&str]) -> String {
    let mut arguments = vec!["train", "--train", "train.conll", "--dev", "dev.conll", "--model", "model"];
    arguments.extend(["--hidden", "24", "--embed", "16", "--window", "5", "--epochs", "6", "--lr", "0.3"]);
    arguments.extend(more);
    success(&run(folder, &arguments))
}

fn number(json: &Value, key: &str) -> f64 {
    json[key].as_f64().unwrap_or_else(|| panic!("{key} in {json}"))
}

/// What both pages have: the figures of an evaluation, by its JSON.
fn shows_the_evaluation(document: &str, corpus: &str, json: &Value) {
    let n = |key| number(json, key);
    let big = text(pieces(document, "<p class=\"big\">", "</p>")[0]);
    assert_eq!(
        big,
        format!(
            "F1 {:.2} on {corpus} precision {:.2}, recall {:.2}, accuracy {:.2} of {} words; {} phrases, {} found, \
             {} right",
            n("f1"),
            n("precision"),
            n("recall"),
            n("accuracy"),
            json["tokens"],
            json["phrases"],
            json["found"],
            json["correct"]
        )
    );
    let slots = table(document, &format!("Slots of {corpus}"));
    let types = json["types"].as_object().unwrap();
    assert_eq!(slots.len(), 1 + types.len());
    for row in &slots[1..] {
        let json = &types[&row[0]];
        let whole = ["phrases", "found", "correct"].map(|key| json[key].to_string());
        let percent = ["precision", "recall", "f1"].map(|key| format!("{:.2}", number(json, key)));
        assert_eq!(row[1..7], [whole, percent].concat(), "{}", row[0]);
    }
    let phrases: Vec<u64> = slots[1..].iter().map(|row| row[1].parse().unwrap()).collect();
    assert!(phrases.is_sorted_by(|a, b| a >= b), "{phrases:?}");
}

/// The confusions and the worst sentences, by what `tag` says.
fn shows_the_mistakes(document: &str, folder: &Path) {
    let read = |text: &str| -> Vec<TaggedSentence> {
        ConllReader::new(text.as_bytes(), "text").collect::<Result<_, _>>().unwrap()
    };
    let truth = read(&fs::read_to_string(folder.join("test.conll")).unwrap());
    let tagged =
        read(&success(&run(folder, &["tag", "--model", "model", "--format", "conll", "test.conll"])));

    let slot = |tag: &str| tag.split_once('-').map_or(tag, |(_, slot)| slot).to_owned();
    let mut counts: BTreeMap<(String, String), usize> = BTreeMap::new();
    let mut wrong: Vec<usize> = Vec::new();
    for (truth, tagged) in truth.iter().zip(&tagged) {
        let pairs = || truth.tags().iter().zip(tagged.tags());
        pairs().for_each(|(truth, guess)| *counts.entry((slot(truth), slot(guess))).or_default() += 1);
        wrong.push(pairs().filter(|(truth, guess)| truth != guess).count());
    }
    let confusions = table(document, ">Confusions</h2>");
    let names = &confusions[0][1..];
    assert!(!names.is_empty());
    for row in &confusions[1..] {
        for (cell, guess) in row[1..].iter().zip(names) {
            let count = counts.get(&(row[0].clone(), guess.clone())).map_or(String::new(), usize::to_string);
            assert_eq!(*cell, count, "{} taken for {guess}", row[0]);
        }
    }
    assert_eq!(confusions.len(), 1 + names.len());

    let all = wrong.iter().filter(|wrong| **wrong > 0).count();
    assert!(
        text(document).contains(&format!("{all} of {} sentences have a wrong tag", truth.len())),
        "{all} of {}",
        truth.len()
    );
    wrong.sort_unstable_by(|a, b| b.cmp(a));
    let shown: Vec<usize> = pieces(document, "<p class=\"sentence\">", "</p>")
        .iter()
        .map(|sentence| sentence.matches("class=\"word wrong\"").count())
        .collect();
    assert_eq!(shown, wrong[..all.min(25)]);
}

#[test]
fn the_page_of_a_training_shows_its_figures() {
    let Some(browser) = chromium("the_page_of_a_training_shows_its_figures") else { return };
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    corpora(folder);
    let printed = train(folder, &["--test", "test.conll", "--report", "page.html", "--json"]);
    let lines: Vec<Value> = printed.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let (last, epochs) = lines.split_last().unwrap();
    let document = document(&browser, folder, "page.html");

    shows_the_evaluation(&document, "the test corpus", &last["test"]);
    shows_the_mistakes(&document, folder);
    let outcome = &last["outcome"];
    assert!(text(&document).contains(&format!(
        "best epoch {} of {} with dev F1 {:.2}, by {}",
        outcome["best_epoch"],
        epochs.len(),
        number(outcome, "dev_f1"),
        outcome["network"].as_str().unwrap()
    )));

    let rows = table(&document, "All epochs");
    assert_eq!(rows.len(), 1 + epochs.len());
    let mut best = 0;
    for (row, line) in rows[1..].iter().zip(epochs) {
        let epoch = &line["epoch"];
        let n = |key| number(epoch, key);
        let expected = [
            epoch["epoch"].to_string(),
            format!("{:.5}", n("loss")),
            format!("{:.2}", n("dev_precision")),
            format!("{:.2}", n("dev_recall")),
            format!("{:.2}", n("dev_f1")),
            format!("{:.6}", n("learning_rate")),
            format!("{:.2}", n("seconds")),
            format!("{:.0}", n("words_per_second")),
        ];
        assert_eq!(*row, expected);
        best += usize::from(epoch["best"] == true);
    }
    assert_eq!(document.matches("<tr class=\"best\">").count(), best);

    // Four figures. Each value is a point, and the points lie as the values do.
    let figures = pieces(&document, "<svg", "</svg>");
    let lines = [
        (0, vec!["loss"]),
        (1, vec!["dev_precision", "dev_recall", "dev_f1"]),
        (2, vec!["learning_rate"]),
        (3, vec!["seconds"]),
    ];
    assert_eq!(figures.len(), lines.len());
    for (figure, keys) in lines {
        let points: Vec<f64> = pieces(figures[figure], "<circle", ">")
            .iter()
            .map(|circle| pieces(circle, "cy=\"", "\"")[0].parse().unwrap())
            .collect();
        let values: Vec<f64> =
            keys.iter().flat_map(|key| epochs.iter().map(move |line| number(&line["epoch"], key))).collect();
        assert_eq!(points.len(), values.len(), "figure {figure}");
        let at = |i: usize| (values[i], points[i]);
        let by_value = |a: &usize, b: &usize| values[*a].total_cmp(&values[*b]);
        let (low, high) =
            ((0..values.len()).min_by(by_value).unwrap(), (0..values.len()).max_by(by_value).unwrap());
        if values[low] == values[high] {
            assert!(points.iter().all(|y| *y == points[0]), "figure {figure}: {points:?}");
            continue;
        }
        let slope = (at(high).1 - at(low).1) / (at(high).0 - at(low).0);
        assert!(slope < 0.0, "figure {figure}: larger values must be higher up");
        for (value, y) in values.iter().zip(&points) {
            // Points lie on whole pixels.
            let expected = at(low).1 + slope * (value - at(low).0);
            assert!((y - expected).abs() <= 2.0, "figure {figure}: {value} at {y}, expected at {expected}");
        }
    }
}

#[test]
fn the_page_of_an_evaluation_shows_its_figures() {
    let Some(browser) = chromium("the_page_of_an_evaluation_shows_its_figures") else { return };
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    corpora(folder);
    train(folder, &[]);
    let arguments = ["evaluate", "--model", "model", "test.conll", "--report", "page.html", "--json"];
    let json: Value = serde_json::from_str(&success(&run(folder, &arguments))).unwrap();
    let document = document(&browser, folder, "page.html");
    shows_the_evaluation(&document, "test.conll", &json);
    shows_the_mistakes(&document, folder);
    assert!(!document.contains("<svg"));
}

/// The check itself: what a script says is noticed.
#[test]
fn an_error_in_a_page_is_noticed() {
    let Some(browser) = chromium("an_error_in_a_page_is_noticed") else { return };
    let folder = tempfile::tempdir().unwrap();
    let page = |name: &str, body: &str| {
        fs::write(folder.path().join(name), format!("<!doctype html><title>t</title>{body}")).unwrap();
        let (_, log) = load(&browser, folder.path(), name);
        complaints(&log).len()
    };
    assert_eq!(page("good.html", "<p>good</p>"), 0);
    assert!(page("script.html", "<script>missing()</script>") > 0);
}
