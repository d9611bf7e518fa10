//! What the program does beside training and tagging: reports, looking into things, JSON, settings.

mod common;

use std::fs;
use std::path::Path;
use std::sync::OnceLock;

use common::{elman, failure, run, success, text, with_input, write_corpus};
use serde_json::Value;
use tempfile::TempDir;

/// A folder with small corpora, a model trained on them, and the page about its training.
fn folder() -> &'static Path {
    static TRAINED: OnceLock<TempDir> = OnceLock::new();
    let folder = TRAINED.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        for (name, seed, sentences) in [("train", 1, 200), ("dev", 2, 40), ("test", 3, 40)] {
            write_corpus(&folder.path().join(format!("{name}.conll")), seed, sentences);
        }
        // Half of the options from a file; the command line wins.
        let config = "[train]\nhidden = 4\nembed = 16\nwindow = 5\ntrain = \"train.conll\"\nlr = 0.3\n[tag]\nscores = true\n";
        fs::write(folder.path().join("settings.toml"), config).unwrap();
        let output = run(folder.path(), &[
            "train", "--config", "settings.toml", "--dev", "dev.conll", "--test", "test.conll", "--model", "model",
            "--hidden", "24", "--epochs", "4", "--report", "report.html",
        ]);
        success(&output);
        folder
    });
    folder.path()
}

#[test]
fn evaluate_takes_the_place_of_conlleval() {
    let file = "to\tO\tO\nnew\tB-city\tB-city\nyork\tI-city\tI-city\n\nnow\tB-day\tO\n";
    let evaluate = |arguments: &[&str]| success(&with_input(elman(folder(), arguments), file.as_bytes()));
    let classic = "processed 4 tokens with 2 phrases; found: 1 phrases; correct: 1.\n\
                   accuracy:  75.00%; precision: 100.00%; recall:  50.00%; FB1:  66.67\n\
                   \u{20}            city: precision: 100.00%; recall: 100.00%; FB1: 100.00  1\n\
                   \u{20}             day: precision:   0.00%; recall:   0.00%; FB1:   0.00  0\n";
    assert_eq!(evaluate(&["evaluate", "-d", r"\t"]), classic);
    assert_eq!(evaluate(&["conlleval", "-d", r"\t", "-"]), classic);
    let counts = evaluate(&["conlleval", "-d", r"\t", "--counts"]);
    assert!(counts.contains("accuracy:  75.00%; 1 2 1 precision: 100.00%"), "{counts}");
    assert!(counts.contains("             city:    1    1    1 precision"), "{counts}");
    let latex = evaluate(&["conlleval", "-d", r"\t", "-l"]);
    assert!(latex.contains("\ncity    &  100.00\\% & 100.00\\% & 100.00 \\\\\n"), "{latex}");
    // Raw: B-city and I-city are two types, and B-day is outside.
    let raw = evaluate(&["conlleval", "-d", r"\t", "-r", "-o", "B-day"]);
    assert!(raw.starts_with("processed 4 tokens with 2 phrases; found: 2 phrases; correct: 2.\n"), "{raw}");
    let json: Value = serde_json::from_str(&evaluate(&["conlleval", "-d", r"\t", "--json"])).unwrap();
    assert_eq!((json["phrases"].as_u64(), json["correct"].as_u64()), (Some(2), Some(1)));
    failure(
        &with_input(elman(folder(), &["evaluate"]), b"a b O\nc\n"),
        65,
        &["-:2: 1 column, expected 3, as in line 1"],
    );
    failure(&run(folder(), &["evaluate", "-d", "("]), 2, &["delimiter: expected a regular expression"]);
    failure(
        &run(folder(), &["evaluate", "--model", "model", "-d", "x", "test.conll"]),
        2,
        &["cannot be used with"],
    );
    // A model's report in the other forms.
    let of_model = |more: &[&str]| {
        success(&run(folder(), &[&["evaluate", "--model", "model", "test.conll"], more].concat()))
    };
    let accuracy = |report: &str| report.lines().nth(1).unwrap()[..18].to_owned();
    assert_eq!(accuracy(&of_model(&["--counts"])), accuracy(&of_model(&[])));
    assert!(of_model(&["-l"]).starts_with("        & Precision &  Recall  & F$_{\\beta=1} \\\\\\hline\n"));
    assert!(of_model(&["-r"]).contains("B-origin: precision"));
}

#[test]
fn a_page_has_the_figures_of_the_training_and_of_the_report() {
    let page = fs::read_to_string(folder().join("report.html")).unwrap();
    assert_eq!(page.matches("<svg").count(), 4);
    let json = success(&run(
        folder(),
        &["evaluate", "--model", "model", "test.conll", "--json", "--report", "e.html"],
    ));
    let json: Value = serde_json::from_str(&json).unwrap();
    let f1 = format!("F1 <b id=\"f1\">{:.2}</b> on ", json["f1"].as_f64().unwrap());
    assert!(page.contains(&f1) && page.contains("the test corpus"), "{f1}");
    let evaluated = fs::read_to_string(folder().join("e.html")).unwrap();
    assert!(evaluated.contains(&(f1 + "test.conll")));
    assert_eq!(evaluated.matches("<svg").count(), 0);
    assert!(evaluated.matches("class=\"sentence\"").count() > 0);
    failure(&run(folder(), &["evaluate", "test.conll", "--report", "never.html"]), 2, &["--model"]);
    assert!(!folder().join("never.html").exists());
}

#[test]
fn tag_speaks_json_and_gives_probabilities() {
    let lines = "to oslo\n\nto york\n";
    let tag = |arguments: &[&str], input: &str| {
        let command = elman(folder(), &[&["tag", "--model", "model"], arguments].concat());
        success(&with_input(command, input.as_bytes()))
    };
    let plain = tag(&[], lines);
    let tags: Vec<&str> = plain.lines().filter_map(|line| line.split('\t').nth(1)).collect();

    let json = tag(&["--output", "json", "--scores", "--nbest", "2"], lines);
    let objects: Vec<Value> = json.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(objects.len(), 3);
    assert_eq!(objects[0]["words"], serde_json::json!(["to", "oslo"]));
    assert_eq!(objects[0]["tags"], serde_json::json!(tags[..2]));
    assert_eq!(objects[1]["tags"], serde_json::json!([]));
    for (word, tag) in objects[2]["nbest"].as_array().unwrap().iter().zip(&tags[2..]) {
        assert_eq!(word[0]["tag"], *tag);
        assert!(word[0]["score"].as_f64() >= word[1]["score"].as_f64());
    }
    assert_eq!(objects[2]["scores"][1], objects[2]["nbest"][1][0]["score"]);

    // Whatever else is in an object comes back.
    let answer =
        tag(&["--format", "json"], "{\"id\": 7, \"text\": \"to  oslo\"}\n{\"words\": [\"new york\"]}\n");
    let answers: Vec<Value> = answer.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((&answers[0]["id"], &answers[0]["tags"]), (&Value::from(7), &objects[0]["tags"]));
    assert_eq!(answers[1]["words"][0], "new york");
    // Columns; the settings file asks for scores.
    let scores = tag(&["--config", "settings.toml"], lines);
    let row: Vec<&str> = scores.lines().next().unwrap().split('\t').collect();
    assert_eq!(row[..2], ["to", tags[0]]);
    assert!((0.0..=1.0).contains(&row[2].parse::<f64>().unwrap()));
    assert_eq!(tag(&["--nbest", "3"], lines).lines().next().unwrap().split('\t').count(), 7);

    let bad = with_input(
        elman(folder(), &["tag", "--model", "model", "--format", "json"]),
        b"{\"text\": \"to\"}\n{\"txt\": 1}\n",
    );
    failure(&bad, 65, &["-:2: no words, expected an object with \"words\""]);
    assert!(text(&bad.stdout).contains("\"tags\":["));
    let spaces = ["tag", "--model", "model", "--format", "json", "--output", "conll"];
    failure(&with_input(elman(folder(), &spaces), b"{\"words\": [\"new\\tyork\"]}\n"), 65, &["white space"]);
    assert!(tag(&spaces[3..], "{\"words\": [\"new york\"]}\n").starts_with("new york\t"));
}

#[test]
fn a_model_and_a_corpus_can_be_looked_into() {
    let inspect = success(&run(folder(), &["inspect", "model"]));
    assert!(inspect.starts_with("hidden 24, embed 16, window 5, "), "{inspect}");
    assert!(inspect.contains("\nwh      [24, 24] "), "{inspect}");
    assert!(inspect.contains("  origin"), "{inspect}");
    let json: Value =
        serde_json::from_str(&success(&run(folder(), &["inspect", "model", "--json"]))).unwrap();
    assert_eq!(json["training"]["learning_rate"], 0.3);
    let words = success(&run(folder(), &["inspect", "model", "--words"]));
    assert_eq!(words.lines().count(), json["shape"]["vocab"].as_u64().unwrap() as usize);
    assert_eq!(
        success(&run(folder(), &["inspect", "model", "--labels"])).lines().count(),
        json["labels"].as_array().unwrap().len()
    );

    let near = success(&run(folder(), &["neighbors", "--model", "model", "-k", "3", "to", "--json"]));
    let near: Value = serde_json::from_str(&near).unwrap();
    let cosine: Vec<f64> =
        near["cosine"].as_array().unwrap().iter().map(|n| n["value"].as_f64().unwrap()).collect();
    assert!(cosine.len() == 3 && cosine.is_sorted_by(|a, b| a >= b), "{near}");
    let table = success(&run(folder(), &["neighbors", "--model", "model", "-k", "3", "to"]));
    assert!(table.contains(near["l2"][0]["word"].as_str().unwrap()), "{table}");
    failure(
        &run(folder(), &["neighbors", "--model", "model", "trian"]),
        2,
        &["for example \"train\"", "found \"trian\""],
    );

    fs::write(folder().join("odd.conll"), "a O\nto I-x\n\nzzz B-via\n\na B-via\n").unwrap();
    let odd = success(&run(folder(), &["check-data", "odd.conll", "--train", "train.conll"]));
    assert!(odd.contains("       2  I-x after O: no B-x before it\n"), "{odd}");
    assert!(odd.contains("1 words are unknown, 1 different\n  zzz\n"), "{odd}");
    assert!(odd.contains("1 tags are unknown\n  I-x\n"), "{odd}");
    assert!(odd.contains("\n3 tags, IOB2\n"), "{odd}");
    failure(&run(folder(), &["check-data", "odd.conll", "--strict"]), 65, &["odd.conll:2: I-x after O"]);
    let json = success(&run(folder(), &["check-data", "--json", "dev.conll"]));
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!((json["sentences"].as_u64(), json["suspicions"].as_array().unwrap().len()), (Some(40), 0));
}

#[test]
fn a_wrong_name_is_answered_with_a_near_one() {
    failure(
        &run(folder(), &["evaluate", "--model", "modle", "test.conll"]),
        74,
        &["modle: cannot read the model", "did you mean model?"],
    );
    failure(&run(folder(), &["check-data", "tset.conll"]), 74, &["did you mean test.conll?"]);
    fs::write(folder().join("bad.toml"), "[train]\nepocs = 3\n").unwrap();
    failure(
        &run(folder(), &["train", "--config", "bad.toml"]),
        65,
        &["bad.toml: the key epocs", "for example epochs"],
    );
    failure(&run(folder(), &["train", "--config", "settings.tml"]), 74, &["did you mean settings.toml?"]);
}

#[test]
fn training_by_word_is_an_option_that_the_model_remembers() {
    let arguments = [
        "train",
        "--train",
        "train.conll",
        "--dev",
        "test.conll",
        "--model",
        "words",
        "--hidden",
        "16",
        "--embed",
        "8",
    ];
    let out = success(&run(folder(), &[&arguments[..], &["--epochs", "2", "--by-word"]].concat()));
    assert!(out.contains("best epoch "), "{out}");
    let config = fs::read_to_string(folder().join("words/config.toml")).unwrap();
    assert!(config.contains("by_word = 9\n") && config.contains(", by word (9)\""), "{config}");
    assert_eq!(run(folder(), &["evaluate", "--model", "words", "test.conll"]).status.code(), Some(0));
}

#[test]
fn a_search_goes_on_where_it_stopped_and_keeps_the_best() {
    let search = |more: &[&str]| {
        let arguments = [
            "search",
            "--train",
            "train.conll",
            "--dev",
            "dev.conll",
            "--hidden",
            "8,12",
            "--embed",
            "6",
            "--window",
            "3..5",
            "--lr",
            "0.1..0.5",
            "--epochs",
            "2",
            "--jobs",
            "2",
            "--out",
        ];
        run(folder(), &[&arguments[..], more].concat())
    };
    let trials = |out: &str| -> Vec<Value> {
        let text = fs::read_to_string(folder().join(out).join("trials.jsonl")).unwrap();
        let mut trials: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        trials.iter_mut().for_each(|trial| trial["seconds"] = Value::Null);
        trials.sort_by_key(|trial| trial["trial"].as_u64());
        trials
    };
    success(&search(&["whole", "--trials", "4", "--test", "test.conll"]));
    success(&search(&["parts", "--trials", "2"]));
    let table = success(&search(&["parts", "--trials", "4"]));
    assert_eq!(trials("parts"), trials("whole"));
    assert_eq!(trials("whole").len(), 4);
    let best = trials("whole").iter().map(|trial| trial["dev_f1"].as_f64().unwrap()).fold(0.0, f64::max);
    assert!(
        table.split("the best first").nth(1).unwrap().lines().nth(2).unwrap().contains(&format!("{best:.2}")),
        "{table}"
    );
    let report = success(&run(folder(), &["evaluate", "--model", "parts/best", "dev.conll", "--json"]));
    let report: Value = serde_json::from_str(&report).unwrap();
    assert_eq!(report["f1"].as_f64(), Some(best));
    failure(
        &search(&["parts", "--trials", "4", "--seed", "7"]),
        65,
        &["parts/search.toml: seed is 42, expected 7, as is asked for"],
    );
}

#[test]
fn shells_are_told_what_they_need() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        assert!(success(&run(folder(), &["completions", shell])).contains("check-data"), "{shell}");
    }
    assert!(success(&run(folder(), &["man"])).contains(".TH elman 1"));
    fs::create_dir(folder().join("man")).unwrap();
    success(&run(folder(), &["man", "--out", "man"]));
    let page = fs::read_to_string(folder().join("man/elman-train.1")).unwrap();
    assert!(page.contains("\\-\\-by\\-word"), "{page}");
    assert!(folder().join("man/elman.1").exists());
}

/// The judge from the command line: a case as JSON, as a page and as a table, and what it answers to nonsense.
#[test]
fn verify_judges_the_kernels() {
    let arguments = ["verify", "--case", "agreement/3", "--seed", "7", "--json", "--report", "verify.html"];
    let json: Value = serde_json::from_str(&success(&run(folder(), &arguments))).unwrap();
    assert_eq!(json["passed"], true);
    let reports = json["reports"].as_array().unwrap();
    let numbers: Vec<_> = reports.iter().map(|report| report["number"].as_str().unwrap()).collect();
    assert_eq!(numbers, ["f32", "f64"]);
    for report in reports {
        assert_eq!((report["seed"].as_u64(), report["cases"].as_u64()), (Some(7), Some(1)));
        assert!(report["failures"].as_array().unwrap().is_empty());
        assert!(report["measurements"].as_array().unwrap().len() > 7);
    }
    let page = fs::read_to_string(folder().join("verify.html")).unwrap();
    assert!(page.contains("<svg") && page.contains("passed") && page.trim_end().ends_with("</html>"));

    let one = ["verify", "--kernel", "reference", "--seed", "7", "--case", "learner/0"];
    let table = success(&run(folder(), &one));
    assert!(table.starts_with("reference (f32): passed; 1 cases, "), "{table}");
    assert!(table.contains("reference (f64): passed; 1 cases, ") && table.contains("\nstep "), "{table}");
    failure(&run(folder(), &["verify", "--case", "learner/none"]), 2, &["case: expected", "learner/none"]);
    let same = success(&run(folder(), &["verify", "--same-bits"]));
    assert!(same.lines().count() > 40 && same.lines().skip(1).all(|line| line.ends_with("  same")), "{same}");
    let json: Value = serde_json::from_str(&success(&run(
        folder(),
        &["verify", "--same-bits", "--isa", "exact", "--json"],
    )))
    .unwrap();
    assert!(json["passed"] == true && json["digests"]["exact"]["f32 elman steps"].is_string(), "{json}");
    failure(&run(folder(), &["verify", "--same-bits", "--isa", "portable"]), 2, &["promise", "portable"]);
    failure(&run(folder(), &["verify", "--same-bits", "--kernel", "reference"]), 2, &["reference"]);
    failure(&run(folder(), &["verify", "--isa", "nonsense"]), 2, &["nonsense", "portable"]);
    failure(&run(folder(), &["verify", "--kernel", "reference", "--isa", "portable"]), 2, &["reference"]);
}
