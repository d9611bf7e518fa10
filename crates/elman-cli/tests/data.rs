//! Corpora as they are found: tag schemes, columns, other forms of files.

mod common;

use std::fs;
use std::path::Path;

use common::{elman, failure, run, success, text, with_input, write_corpus};
use elman_tagger::{ConllWriter, Scheme, Tagging, travel};
use serde_json::Value;

/// A corpus of travel requests with tags of a scheme.
fn write(path: &Path, seed: u64, sentences: usize, scheme: Scheme) {
    let mut writer = ConllWriter::new(fs::File::create(path).unwrap(), path);
    for sentence in travel::corpus(seed, sentences) {
        let tags = Tagging::new(Scheme::Iob2).convert(sentence.tags(), scheme);
        writer.write(sentence.words(), &tags).unwrap();
    }
}

const SMALL: [&str; 12] = [
    "train",
    "--train",
    "train.conll",
    "--dev",
    "dev.conll",
    "--model",
    "model",
    "--hidden",
    "24",
    "--embed",
    "16",
    "--lr=0.3",
];

/// The same corpus in every scheme: each is named before training, and its F1 is that of phrases.
#[test]
fn a_training_names_the_scheme_and_scores_by_it() {
    for (scheme, said) in [
        (Scheme::Io, "train.conll: the tags follow IO, and phrases are scored by it\n"),
        (Scheme::Iob2, ""),
        (Scheme::Iobes, "train.conll: the tags follow IOBES, and phrases are scored by it\n"),
        (Scheme::Plain, "train.conll: the tags form no phrases; epochs are compared by accuracy"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        write(&folder.join("train.conll"), 1, 200, scheme);
        write(&folder.join("dev.conll"), 2, 40, scheme);
        let output = run(folder, &[&SMALL[..], &["--epochs", "4"]].concat());
        let (out, notes) = (text(&output.stdout), text(&output.stderr));
        assert_eq!(output.status.code(), Some(0), "{notes}");
        assert!(notes.starts_with(said) && (notes.is_empty() == said.is_empty()), "{scheme}: {notes}");
        let plain = scheme == Scheme::Plain;
        assert!(out.contains(if plain { "dev ac" } else { "dev F1" }), "{out}");
        assert!(out.contains(if plain { ": dev accuracy " } else { ": dev F1 " }), "{out}");

        let evaluate = run(folder, &["evaluate", "--model", "model", "dev.conll", "--json"]);
        let json: Value = serde_json::from_slice(&evaluate.stdout).unwrap();
        let score = json[if plain { "accuracy" } else { "f1" }].as_f64().unwrap();
        assert!(out.contains(&format!(" {score:.2}; model in model")), "{score}: {out}");
        assert!(score > 20.0, "{scheme}: {score}");
    }
}

#[test]
fn evaluate_recognises_schemes_and_conlleval_is_the_script() {
    let file = "new B-city B-city\nyork E-city E-city\noslo S-city S-city\nrome S-city S-city\n";
    let of = |arguments: &[&str]| {
        let output = with_input(elman(Path::new("."), arguments), file.as_bytes());
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        (text(&output.stdout), text(&output.stderr))
    };
    let (report, said) = of(&["evaluate"]);
    assert!(
        report.starts_with("processed 4 tokens with 3 phrases; found: 3 phrases; correct: 3.\n"),
        "{report}"
    );
    assert_eq!(said, "-: the tags follow IOBES, and phrases are counted by it\n");
    // The script has no rule for S: all that follows B is one phrase.
    let (report, said) = of(&["conlleval"]);
    assert!(
        report.starts_with("processed 4 tokens with 1 phrases; found: 1 phrases; correct: 1.\n"),
        "{report}"
    );
    assert_eq!(said, "");
    assert_eq!(of(&["evaluate", "--scheme", "bioes"]).1, "");
    assert!(
        of(&["evaluate", "--scheme", "io"]).0.starts_with("processed 4 tokens with 1 phrases"),
        "{report}"
    );
    let (json, _) = of(&["evaluate", "--json"]);
    assert_eq!(serde_json::from_str::<Value>(&json).unwrap()["scheme"], "iobes");
}

#[test]
fn a_corpus_in_its_own_scheme_has_no_mistakes() {
    let folder = tempfile::tempdir().unwrap();
    // No two requests of one type touch, so that IOB1 is IO here.
    for scheme in Scheme::ALL.into_iter().filter(|scheme| *scheme != Scheme::Iob1) {
        let path = folder.path().join("c.conll");
        match scheme {
            Scheme::Iob2 => write_corpus(&path, 1, 100),
            _ => write(&path, 1, 100, scheme),
        }
        let out = success(&run(folder.path(), &["check-data", "c.conll"]));
        assert!(out.contains(&format!(", {scheme}")), "{scheme}: {out}");
        assert!(!out.contains(" after ") && !out.contains("is none of"), "{scheme}: {out}");
    }
    fs::write(folder.path().join("odd.conll"), "a I-x\nb B-x\n\nc B-y\n").unwrap();
    let forced = run(folder.path(), &["check-data", "odd.conll", "--scheme", "iob2", "--strict"]);
    failure(&forced, 65, &["odd.conll:1: I-x after O: no B-x before it"]);
}

/// The tags of `--valid-iob` break no rule, and are those of plain tagging where these break none.
#[test]
fn valid_iob_gives_only_sequences_that_are_allowed() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write_corpus(&folder.join("train.conll"), 1, 150);
    write_corpus(&folder.join("dev.conll"), 2, 40);
    // A network that has learned nothing gives tags in any order.
    success(&run(folder, &[&SMALL[..11], &["--epochs", "1", "--lr", "0.0001"]].concat()));
    let tag = |more: &[&str]| {
        success(&run(
            folder,
            &[&["tag", "--model", "model", "--format", "conll", "dev.conll"], more].concat(),
        ))
    };
    let sentences = |text: &str| -> Vec<Vec<String>> {
        let tag = |line: &str| line.rsplit('\t').next().unwrap_or_default().to_owned();
        text.split("\n\n").map(|sentence| sentence.lines().map(tag).collect()).collect()
    };
    let broken = |tags: &[String]| {
        let alone = |pair: &[String]| {
            let kind = pair[1].strip_prefix("I-");
            kind.is_some_and(|kind| !pair[0].ends_with(&format!("-{kind}")))
        };
        tags.first().is_some_and(|tag| tag.starts_with("I-")) || tags.windows(2).any(alone)
    };
    let (plain, valid) = (sentences(&tag(&[])), sentences(&tag(&["--valid-iob"])));
    assert!(plain.iter().any(|tags| broken(tags)), "plain tagging must leave something to mend");
    for (plain, valid) in plain.iter().zip(&valid) {
        assert!(!broken(valid), "{valid:?}");
        assert!(broken(plain) || plain == valid, "{plain:?} {valid:?}");
    }
    let f1 = |more: &[&str]| -> f64 {
        let arguments = [&["evaluate", "--model", "model", "dev.conll", "--json"], more].concat();
        let json: Value = serde_json::from_str(&success(&run(folder, &arguments))).unwrap();
        json["f1"].as_f64().unwrap()
    };
    assert!(f1(&["--valid-iob"]) >= f1(&[]));
}
