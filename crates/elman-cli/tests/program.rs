//! The program as its users meet it: what it prints, and the exit codes that `--help` promises.

mod common;

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::sync::OnceLock;

use common::{elman, failure, run, success, text, with_input, write_corpus};
use elman_tagger::{ConllReader, travel};
use tempfile::TempDir;

/// A folder with small corpora and a model trained on them.
struct Trained {
    folder: TempDir,
    output: String,
}

impl Trained {
    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

fn trained() -> &'static Trained {
    static TRAINED: OnceLock<Trained> = OnceLock::new();
    TRAINED.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        write_corpus(&folder.path().join("train.conll"), 1, 250);
        write_corpus(&folder.path().join("dev.conll"), 2, 60);
        write_corpus(&folder.path().join("test.conll"), 3, 60);
        let output = train(folder.path(), &["--test", "test.conll"]);
        let output = success(&output);
        Trained { folder, output }
    })
}

/// A short training, with more options, or with others in the place of its own.
fn train(folder: &Path, more: &[&str]) -> Output {
    let mut arguments = vec!["train", "--train", "train.conll", "--dev", "dev.conll"];
    let own = [
        ("--model", "model"),
        ("--hidden", "24"),
        ("--embed", "16"),
        ("--window", "5"),
        ("--epochs", "6"),
        ("--lr", "0.3"),
    ];
    for (option, value) in own {
        if !more.contains(&option) {
            arguments.extend([option, value]);
        }
    }
    arguments.extend(more);
    run(folder, &arguments)
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// The number after `label` in a report.
fn number(report: &str, label: &str) -> f64 {
    let rest = &report[report.find(label).unwrap_or_else(|| panic!("{label} in {report}")) + label.len()..];
    rest.trim_start().split(['%', ';', '\n', ',', '}']).next().unwrap().trim().parse().unwrap()
}

#[test]
fn train_evaluate_and_tag_agree() {
    let trained = trained();
    let folder = trained.folder.path();
    assert_eq!(
        names(&trained.path("model")),
        ["config.toml", "labels.txt", "training.log", "vocab.txt", "weights.safetensors"]
    );

    // A line an epoch, whose loss falls; then the best epoch; then the test report.
    let lines: Vec<&str> = trained.output.lines().collect();
    assert_eq!(
        lines[0].split_whitespace().collect::<Vec<_>>(),
        ["epoch", "loss", "dev", "F1", "lr", "seconds", "words/s"]
    );
    let rows: Vec<Vec<&str>> = lines[1..7].iter().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows.iter().map(|row| row[0]).collect::<Vec<_>>(), ["1", "2", "3", "4", "5", "6"]);
    let loss = |row: &[&str]| row[1].parse::<f64>().unwrap();
    assert!(loss(&rows[5]) < 0.6 * loss(&rows[0]), "{}", trained.output);
    assert!(lines[7].starts_with("best epoch ") && lines[7].ends_with("; model in model"), "{}", lines[7]);
    let (_, report) = trained.output.split_once("\n\n").unwrap();
    assert!(report.starts_with("processed "));
    let f1 = number(report, "FB1:");
    assert!(f1 > 30.0, "{report}");

    // Evaluating the saved model gives the same report, and its numbers in JSON.
    let evaluate = |more: &[&str]| {
        success(&run(folder, &[&["evaluate", "--model", "model", "test.conll"], more].concat()))
    };
    assert_eq!(evaluate(&[]), report);
    let json: serde_json::Value = serde_json::from_str(&evaluate(&["--json"])).unwrap();
    assert!((json["f1"].as_f64().unwrap() - f1).abs() < 0.006, "{json}");
    assert!(report.starts_with(&format!("processed {} tokens", json["tokens"])), "{json}");
    assert!(json["types"]["origin"]["phrases"].as_u64().unwrap() > 0);

    // Tagging the same file gives tags that count the same.
    let tagged = success(&run(folder, &["tag", "--model", "model", "--format", "conll", "test.conll"]));
    let predicted: Vec<_> = ConllReader::new(tagged.as_bytes(), "tagged").collect::<Result<_, _>>().unwrap();
    let mut evaluation = elman_tagger::Evaluation::default();
    for (corpus, predicted) in travel::corpus(3, 60).iter().zip(&predicted) {
        assert_eq!(corpus.words(), predicted.words());
        evaluation.add(corpus.tags(), predicted.tags()).unwrap();
    }
    assert_eq!(evaluation.to_string(), report);
}

/// The other network: remembered with the model, so that every command knows it.
#[test]
fn a_jordan_network_is_trained_and_used() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write_corpus(&folder.join("train.conll"), 1, 250);
    write_corpus(&folder.join("dev.conll"), 2, 60);
    write_corpus(&folder.join("test.conll"), 3, 60);
    let output = success(&train(folder, &["--test", "test.conll", "--network", "jordan"]));
    let (_, report) = output.split_once("\n\n").unwrap();
    assert!(number(report, "FB1:") > 30.0, "{report}");
    let config = fs::read_to_string(folder.join("model/config.toml")).unwrap();
    assert!(config.contains("network = \"jordan\""), "{config}");
    assert_eq!(success(&run(folder, &["evaluate", "--model", "model", "test.conll"])), report);
    let reference = ["evaluate", "--model", "model", "--kernel", "reference", "test.conll"];
    assert_eq!(success(&run(folder, &reference)), report);
    assert!(success(&run(folder, &["inspect", "model"])).starts_with("a Jordan network"));
    let json: serde_json::Value =
        serde_json::from_str(&success(&run(folder, &["inspect", "model", "--json"]))).unwrap();
    assert_eq!(
        (&json["shape"]["network"], &json["training"]["network"]),
        (&"jordan".into(), &"jordan".into())
    );

    let by_word = train(folder, &["--network", "jordan", "--by-word"]);
    failure(&by_word, 2, &["option --by-word: expected an Elman network, found a Jordan network"]);
}

#[test]
fn every_cell_is_trained_and_its_model_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write_corpus(&folder.join("train.conll"), 1, 250);
    write_corpus(&folder.join("dev.conll"), 2, 60);
    write_corpus(&folder.join("test.conll"), 3, 60);
    for (options, cell) in [
        (&["--cell", "gru"][..], "gru"),
        (&["--cell", "lstm"], "lstm"),
        (
            &[
                "--cell",
                "lstm",
                "--layers",
                "2",
                "--bidirectional",
                "--optimizer",
                "adam",
                "--lr",
                "0.02",
                "--batch",
                "4",
            ],
            "lstm",
        ),
        (&["--activation", "tanh"], "elman-tanh"),
        (&["--cell", "elman", "--activation", "relu", "--lr", "0.05"], "elman-relu"),
    ] {
        let output = success(&train(folder, &[&["--test", "test.conll"], options].concat()));
        let (_, report) = output.split_once("\n\n").unwrap();
        assert!(number(report, "FB1:") > 30.0, "{cell}: {report}");
        let config = fs::read_to_string(folder.join("model/config.toml")).unwrap();
        assert!(config.contains(&format!("cell = \"{cell}\"")), "{config}");
        let reference = ["evaluate", "--model", "model", "--kernel", "reference", "test.conll"];
        assert_eq!(success(&run(folder, &reference)), report, "{cell}");
        assert!(success(&run(folder, &["inspect", "model"])).starts_with(&format!("cell {cell}\n")));
    }
    let both = train(folder, &["--cell", "gru", "--activation", "tanh"]);
    failure(&both, 2, &["option --activation with --cell gru: expected none, found tanh"]);
    for (options, message) in [
        (["--layers", "2", "--network", "jordan"], "layers of a Jordan network: expected 1, found 2"),
        (
            ["--bidirectional", "--by-word", "--network", "elman"],
            "one layer, forward, with a softmax, to make an update for each word",
        ),
    ] {
        failure(&train(folder, &options), 2, &[message]);
    }
    let both = train(folder, &["--cell", "lstm", "--activation", "relu"]);
    failure(&both, 2, &["option --activation with --cell lstm: expected none, found relu"]);
}

#[test]
fn tag_reads_both_forms_from_a_file_or_the_standard_input() {
    let trained = trained();
    let folder = trained.folder.path();
    let lines = "a train from oslo to york\n\nnext friday\n";
    let conll = "a x\ntrain x\nfrom x\noslo x\nto x\nyork x\n\nnext x\nfriday x";
    fs::write(trained.path("requests.txt"), lines).unwrap();

    let out = success(&with_input(elman(folder, &["tag", "--model", "model"]), lines.as_bytes()));
    let rows: Vec<Vec<&str>> = out.lines().map(|line| line.split('\t').collect()).collect();
    // A line in, a block out: the empty line answers the empty line.
    assert_eq!(
        rows.iter().map(|row| row[0]).collect::<Vec<_>>(),
        ["a", "train", "from", "oslo", "to", "york", "", "", "next", "friday", ""]
    );
    assert!(rows.iter().all(|row| row.len() == if row[0].is_empty() { 1 } else { 2 }), "{out}");
    let file = success(&run(folder, &["tag", "--model", "model", "requests.txt"]));
    assert_eq!(file, out);
    let dash = success(&with_input(elman(folder, &["tag", "--model", "model", "-"]), lines.as_bytes()));
    assert_eq!(dash, out);
    let columns = success(&with_input(
        elman(folder, &["tag", "--model", "model", "--format", "conll"]),
        conll.as_bytes(),
    ));
    // The column that was there stays, and the tag comes after it.
    assert_eq!(columns, out.replacen("\n\n\n", "\n\n", 1).replace('\t', "\tx\t"));
    assert_eq!(success(&run(folder, &["tag", "--model", "model"])), "");
    // Nor does a large input wait for its own output to be read.
    let many = lines.repeat(5000);
    let large = success(&with_input(elman(folder, &["tag", "--model", "model"]), many.as_bytes()));
    assert_eq!(large, out.repeat(5000));
}

#[test]
fn tag_answers_each_sentence_before_the_next_is_there() {
    for (format, question) in [("lines", "to york\n"), ("conll", "to\nyork\n\n")] {
        let mut child = elman(trained().folder.path(), &["tag", "--model", "model", "--format", format])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let mut answers = BufReader::new(child.stdout.take().unwrap()).lines();
        for _ in 0..3 {
            stdin.write_all(question.as_bytes()).unwrap();
            assert!(answers.next().unwrap().unwrap().starts_with("to\t"));
            assert!(answers.next().unwrap().unwrap().starts_with("york\t"));
            assert_eq!(answers.next().unwrap().unwrap(), "");
        }
        drop(stdin);
        assert!(answers.next().is_none());
        assert!(child.wait().unwrap().success());
    }
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let mut child = elman(trained().folder.path(), &["tag", "--model", "model"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let mut stdin = child.stdin.take().unwrap();
    let writer = std::thread::spawn(move || stdin.write_all("to york\n".repeat(20_000).as_bytes()));
    let output = child.wait_with_output().unwrap();
    let _ = writer.join().unwrap();
    assert_eq!((output.status.code(), text(&output.stderr).as_str()), (Some(0), ""));
}

#[test]
fn bad_input_is_named_with_file_and_line_and_ends_with_65() {
    let trained = trained();
    let folder = tempfile::tempdir().unwrap();
    let model = trained.path("model");
    let model = model.to_str().unwrap();
    for (name, content, message) in [
        ("empty", &b""[..], "empty:1: there is no sentence, expected lines of a word and a tag"),
        (
            "ragged",
            b"a\tO\n\nb\n",
            "ragged:3: 1 column, expected 2, a word and a tag, as in line 1, where tabs part",
        ),
        ("wide", b"a O\nb x O\n", "wide:2: 3 columns, expected 2, a word and a tag, as in line 1"),
        (
            "latin",
            b"a\tO\ncaf\xe9\tO\n",
            "latin:2: byte 0xe9 at byte 4 is no UTF-8, expected UTF-8 text; if it is Latin-1, where this byte is 'é'",
        ),
        ("null", b"a\tO\n\0\tO\n", "null:2: null byte at byte 1, expected UTF-8 text"),
    ] {
        fs::write(folder.path().join(name), content).unwrap();
        fs::write(folder.path().join("good"), "a\tO\n").unwrap();
        failure(&run(folder.path(), &["evaluate", "--model", model, name]), 65, &[message]);
        for (train, dev, test) in [(name, "good", "good"), ("good", name, "good"), ("good", "good", name)] {
            let arguments = ["train", "--train", train, "--dev", dev, "--test", test, "--model", "m"];
            failure(&run(folder.path(), &arguments), 65, &[message]);
            assert!(!folder.path().join("m").exists());
        }
    }
    // A network that no model folder could hold, for all that its options are each within their limits.
    let arguments = ["train", "--train", "good", "--dev", "good", "--model", "m", "--hidden", "32768"];
    failure(
        &run(folder.path(), &arguments),
        65,
        &["good: number of parameters is 10", ", expected at most "],
    );
    // The filter answers what came before.
    let output = with_input(elman(folder.path(), &["tag", "--model", model]), b"to york\nto\tO\n");
    failure(&output, 65, &["-:2: a tab, expected one sentence a line"]);
    assert!(text(&output.stdout).starts_with("to\t"));
    let ragged =
        with_input(elman(folder.path(), &["tag", "--model", model, "--format", "conll"]), b"a\nb O\n");
    failure(&ragged, 65, &["-:2: 2 columns, expected 1, as in line 1"]);
}

#[test]
fn a_broken_model_ends_with_65_and_a_missing_one_with_74() {
    let trained = trained();
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("model");
    let copy = || {
        let _ = fs::remove_dir_all(&model);
        fs::create_dir(&model).unwrap();
        for name in names(&trained.path("model")) {
            fs::copy(trained.path("model").join(&name), model.join(&name)).unwrap();
        }
    };
    let tag = || run(folder.path(), &["tag", "--model", "model"]);
    failure(&tag(), 74, &["model: cannot read the model: there is no such folder; elman train"]);
    copy();
    assert_eq!(tag().status.code(), Some(0));

    let weights = fs::read(model.join("weights.safetensors")).unwrap();
    fs::write(model.join("weights.safetensors"), &weights[..weights.len() - 4]).unwrap();
    failure(&tag(), 65, &["model/weights.safetensors: ", " bytes, expected "]);
    let mut nan = weights.clone();
    let last = nan.len() - 4;
    nan[last..].copy_from_slice(&f32::NAN.to_le_bytes());
    fs::write(model.join("weights.safetensors"), nan).unwrap();
    failure(&tag(), 65, &["model/weights.safetensors: wx[", "is NaN, expected a finite number"]);
    copy();
    fs::write(model.join("vocab.txt"), "<UNK>\n").unwrap();
    failure(&tag(), 65, &["model/vocab.txt: 1 lines, expected "]);
    copy();
    fs::remove_file(model.join("labels.txt")).unwrap();
    failure(&tag(), 74, &["model/labels.txt: cannot open"]);
}

#[test]
fn wrong_usage_ends_with_2() {
    let folder = trained().folder.path();
    for (arguments, part) in [
        (&["fly"][..], "unrecognized subcommand"),
        (&["tag"], "--model"),
        (&["demo", "--kernel", "warp"], "[possible values: fast, reference]"),
        (&["demo", "--threads", "0"], "0 is not in 1..=1024"),
        (
            &["demo", "--kernel", "reference", "--threads", "4"],
            "threads of the kernel reference: expected 1, found 4",
        ),
        (
            &["demo", "--kernel", "reference", "--isa", "avx2"],
            "instruction set of the kernel reference: expected none, found avx2",
        ),
        (&["demo", "--isa", "sse9"], "expected exact, portable, avx2, avx512, neon, found sse9"),
    ] {
        failure(&run(folder, arguments), 2, &[part]);
    }
    for (option, value, part) in [
        ("--window", "4", "expected an odd number below 1000"),
        ("--hidden", "0", "0 is not in 1..=32768"),
        ("--lr", "-1", "expected a number greater than 0"),
        ("--lr", "nan", "expected a number greater than 0"),
        ("--epochs", "x", "invalid digit"),
        ("--batch", "0", "0 is not in"),
        ("--seed", "18446744073709551615", "is not in"),
        ("--recipe", "mine", "[possible values: tutorial, standard, fast, best]"),
    ] {
        let arguments =
            ["train", "--train", "train.conll", "--dev", "dev.conll", "--model", "never", option, value];
        failure(&run(folder, &arguments), 2, &[part]);
    }
    assert!(!folder.join("never").exists());
    for subcommand in [&["--help"][..], &["train", "--help"], &["tag", "--help"]] {
        let help = success(&run(folder, subcommand));
        for code in ["   1  ", "   2  ", "  65  ", "  74  "] {
            assert!(help.contains(code), "{help}");
        }
    }
}

#[test]
fn input_and_output_errors_end_with_74() {
    let trained = trained();
    let folder = trained.folder.path();
    failure(
        &run(folder, &["evaluate", "--model", "model", "missing.conll"]),
        74,
        &["missing.conll: cannot open: "],
    );
    failure(&run(folder, &["tag", "--model", "model", "missing.txt"]), 74, &["missing.txt: cannot open: "]);
    failure(
        &run(folder, &["tag", "--model", "model", "."]),
        74,
        &[".: cannot read: it is a folder; expected a file"],
    );
    let arguments = [
        "train",
        "--train",
        "train.conll",
        "--dev",
        "dev.conll",
        "--model",
        "no/such/folder",
        "--epochs",
        "1",
    ];
    failure(&run(folder, &arguments), 74, &["no/such"]);
    #[cfg(target_os = "linux")]
    for arguments in [
        &["evaluate", "--model", "model", "test.conll"][..],
        &["tag", "--model", "model", "train.conll", "--format", "conll"],
    ] {
        let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let output = elman(folder, arguments).stdout(full).stderr(Stdio::piped()).output().unwrap();
        failure(&output, 74, &["standard output: cannot write: "]);
    }
}

#[test]
fn a_training_that_diverges_ends_with_1_and_leaves_the_old_model() {
    let folder = tempfile::tempdir().unwrap();
    write_corpus(&folder.path().join("train.conll"), 1, 30);
    write_corpus(&folder.path().join("dev.conll"), 2, 10);
    success(&train(folder.path(), &["--epochs", "1"]));
    let before = fs::read(folder.path().join("model/weights.safetensors")).unwrap();
    let arguments = [
        "train",
        "--train",
        "train.conll",
        "--dev",
        "dev.conll",
        "--model",
        "model",
        "--hidden",
        "8",
        "--lr",
        "1e38",
    ];
    failure(
        &run(folder.path(), &arguments),
        1,
        &["training diverged at sentence ", " of epoch ", "try a smaller learning rate than "],
    );
    assert_eq!(fs::read(folder.path().join("model/weights.safetensors")).unwrap(), before);
    assert_eq!(names(folder.path()), ["dev.conll", "model", "train.conll"]);
}

#[test]
fn what_is_no_model_is_not_replaced() {
    let folder = tempfile::tempdir().unwrap();
    write_corpus(&folder.path().join("train.conll"), 1, 10);
    write_corpus(&folder.path().join("dev.conll"), 2, 5);
    fs::create_dir(folder.path().join("model")).unwrap();
    fs::write(folder.path().join("model/diary.txt"), "dear diary").unwrap();
    failure(&train(folder.path(), &[]), 65, &["model: the folder holds \"diary.txt\", which no model has"]);
    assert_eq!(fs::read_to_string(folder.path().join("model/diary.txt")).unwrap(), "dear diary");
}

/// Killed at many moments, the training leaves the old model or the new one, whole.
#[test]
fn a_training_that_is_killed_leaves_a_whole_model() {
    let folder = tempfile::tempdir().unwrap();
    write_corpus(&folder.path().join("train.conll"), 1, 10);
    write_corpus(&folder.path().join("dev.conll"), 2, 5);
    let seed = |seed: &str| {
        let mut command = elman(folder.path(), &["train", "--train", "train.conll", "--dev", "dev.conll"]);
        command.args(["--model", "model", "--hidden", "8", "--epochs", "1", "--seed", seed]);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        command
    };
    let weights = || fs::read(folder.path().join("model/weights.safetensors")).unwrap();
    assert!(seed("1").status().unwrap().success());
    let first = weights();
    let start = std::time::Instant::now();
    assert!(seed("2").status().unwrap().success());
    let (second, time) = (weights(), start.elapsed());
    assert_ne!(first, second);

    for moment in 0..40 {
        let mut child = seed(if moment % 2 == 0 { "1" } else { "2" }).spawn().unwrap();
        std::thread::sleep(time * moment / 32);
        let _ = child.kill();
        child.wait().unwrap();
        assert!([&first, &second].contains(&&weights()), "moment {moment}");
        let output = run(folder.path(), &["evaluate", "--model", "model", "dev.conll"]);
        assert_eq!(output.status.code(), Some(0), "moment {moment}: {}", text(&output.stderr));
    }
    // A training that ends removes what the killed ones left.
    assert!(seed("1").status().unwrap().success());
    assert_eq!(names(folder.path()), ["dev.conll", "model", "train.conll"]);
}

#[test]
fn the_same_seed_trains_the_same_model_and_options_take_effect() {
    let folder = tempfile::tempdir().unwrap();
    write_corpus(&folder.path().join("train.conll"), 1, 40);
    write_corpus(&folder.path().join("dev.conll"), 2, 10);
    let config = || fs::read_to_string(folder.path().join("model/config.toml")).unwrap();
    let weights = |more: &[&str]| {
        success(&train(folder.path(), &[&["--epochs", "1"], more].concat()));
        fs::read(folder.path().join("model/weights.safetensors")).unwrap()
    };
    let plain = weights(&[]);
    assert_eq!(plain, weights(&[]));
    assert!(config().contains("recipe = \"tutorial\"") && config().contains("hidden = 24"), "{}", config());
    for more in [&["--seed", "7"][..], &["--batch", "4"], &["--digits"], &["--window", "3"]] {
        assert_ne!(plain, weights(more), "{more:?}");
    }
    weights(&["--recipe", "standard", "--lowercase"]);
    assert!(config().contains("recipe = \"standard\"") && config().contains("lowercase = true"));
    let output = with_input(elman(folder.path(), &["tag", "--model", "model"]), b"FROM OSLO\nfrom oslo\n");
    let out = success(&output);
    let (upper, lower) = out.trim_end().split_once("\n\n").unwrap();
    assert_eq!(upper.to_lowercase(), lower.to_lowercase());
    assert!(upper.starts_with("FROM\t"));
}

#[test]
fn recipes_are_listed_and_their_models_tag_words_that_training_never_saw() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let listed = success(&run(path, &["recipes"]));
    for part in
        ["tutorial: ", "standard: ", "fast: ", "best: ", "  hidden = 200\n", "  optimizer = \"adam\"\n"]
    {
        assert!(listed.contains(part), "{part}: {listed}");
    }
    let json = success(&run(path, &["recipes", "--json"]));
    let lines: Vec<serde_json::Value> =
        json.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 4);
    assert_eq!(lines[0]["options"]["recipe"], "tutorial");

    write_corpus(&path.join("train.conll"), 1, 60);
    write_corpus(&path.join("dev.conll"), 2, 10);
    let config = || fs::read_to_string(path.join("model/config.toml")).unwrap();
    let small = ["--hidden", "12", "--embed", "6", "--epochs", "2", "--lr", "0.01"];
    success(&train(path, &[&["--recipe", "best"], &small[..]].concat()));
    assert!(config().contains("optimizer = \"adam\"") && config().contains("affixes = 4"), "{}", config());
    let tag =
        |model: &str| with_input(elman(path, &["tag", "--model", model, "--scores"]), b"Zzyzx OSLO 7\n");
    assert_eq!(success(&tag("model")).lines().filter(|line| line.contains('\t')).count(), 3);
    let refused = run(path, &["export", "--model", "model", "--to", "npy", "npy"]);
    failure(&refused, 2, &["model to export: expected words without features"]);
    // Options win over the recipe, and what belongs to another rule of updates goes with it.
    success(&train(
        path,
        &[&["--recipe", "fast", "--optimizer", "sgd", "--affixes", "0"], &small[..]].concat(),
    ));
    assert!(!config().contains("clip") && config().contains("affixes = 0"), "{}", config());
    let refused = train(path, &["--clip", "1", "--epochs", "1"]);
    failure(&refused, 2, &["clip: expected Adam, found gradient descent"]);

    let onwards =
        ["train", "--train", "train.conll", "--dev", "dev.conll", "--epochs", "1", "--from", "model"];
    success(&run(path, &[&onwards[..], &["--model", "next"]].concat()));
    let next = fs::read_to_string(path.join("next/config.toml")).unwrap();
    assert!(next.contains("hidden = 12") && next.contains("from = \""), "{next}");
    success(&tag("next"));
    let refused = run(path, &[&onwards[..], &["--model", "next", "--hidden", "9"]].concat());
    failure(&refused, 2, &["cannot be used with"]);
    fs::write(path.join("news.conll"), "oslo B-news\n").unwrap();
    let refused = run(path, &[&onwards[..], &["--model", "next", "--train", "news.conll"]].concat());
    failure(
        &refused,
        65,
        &["train.conll, news.conll: the tag \"B-news\", expected one of the ", " tags of model"],
    );
}

#[test]
fn json_lines_can_be_read_by_a_program() {
    let folder = tempfile::tempdir().unwrap();
    write_corpus(&folder.path().join("train.conll"), 1, 40);
    write_corpus(&folder.path().join("dev.conll"), 2, 10);
    let out = success(&train(folder.path(), &["--epochs", "2", "--json", "--test", "dev.conll"]));
    let lines: Vec<serde_json::Value> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 3);
    for (number, line) in lines[..2].iter().enumerate() {
        assert_eq!(line["epoch"]["epoch"], number + 1);
        for name in
            ["loss", "dev_f1", "dev_precision", "dev_recall", "seconds", "words_per_second", "learning_rate"]
        {
            assert!(line["epoch"][name].is_f64(), "{name}: {line}");
        }
    }
    assert_eq!(lines[2]["outcome"]["epochs"], 2);
    // The development corpus is the test corpus here.
    let best = lines[2]["outcome"]["dev_f1"].as_f64().unwrap();
    assert_eq!(lines[2]["test"]["f1"].as_f64().unwrap(), best);
    // All places give the same hash of the weights.
    let hash = success(&run(folder.path(), &["hash", "model", "./model"]));
    let expected = lines[2]["hash"].as_str().unwrap();
    assert_eq!(hash, format!("{expected}  model\n{expected}  ./model\n"));
    let inspect = success(&run(folder.path(), &["inspect", "model", "--json"]));
    assert!(expected.len() == 64 && inspect.contains(&format!("\"hash\":\"{expected}\"")), "{inspect}");
    assert!(success(&run(folder.path(), &["inspect", "model"])).contains(&format!("hash {expected}")));
}

#[test]
fn a_model_says_which_version_of_the_bits_it_follows() {
    let folder = tempfile::tempdir().unwrap();
    write_corpus(&folder.path().join("train.conll"), 1, 20);
    write_corpus(&folder.path().join("dev.conll"), 1, 10);
    let bits = |options: &[&str]| {
        let out = success(&train(folder.path(), &[&["--hidden", "8", "--json"], options].concat()));
        let outcome = serde_json::from_str::<serde_json::Value>(out.lines().last().unwrap()).unwrap();
        let config = fs::read_to_string(folder.path().join("model/config.toml")).unwrap();
        let bits = outcome["outcome"]["bits"].as_u64();
        assert_eq!(config.contains("bits = 1\n"), bits == Some(1), "{config}");
        (bits, outcome["outcome"]["network"].as_str().unwrap().to_owned())
    };
    let (of_best, best) = bits(&[]);
    assert_eq!(of_best, (best != "fast/portable").then_some(1));
    assert_eq!(bits(&["--kernel", "reference"]).0, None);
    assert_eq!(bits(&["--by-word"]).0, None);
    // Epochs with and without the standard's bits make a model without.
    assert_eq!(bits(&["--kernel", "reference", "--checkpoint-every", "1"]).0, None);
    let resume = |epochs| bits(&["--resume", "--checkpoint-every", "1", "--epochs", epochs]).0;
    assert_eq!(resume("7"), None);
    assert_eq!(resume("8"), None);
}

#[test]
fn a_tag_that_only_another_corpus_has_is_no_error() {
    let folder = tempfile::tempdir().unwrap();
    write_corpus(&folder.path().join("train.conll"), 1, 20);
    fs::write(folder.path().join("dev.conll"), "to\tO\nmars\tB-planet\n").unwrap();
    let output = train(folder.path(), &["--epochs", "1", "--test", "dev.conll"]);
    assert_eq!(output.status.code(), Some(0));
    let note = "1 words have a tag that the training corpus lacks, and count as wrong: B-planet\n";
    assert!(text(&output.stderr).starts_with(&format!("dev.conll: {note}")), "{}", text(&output.stderr));
    let out = text(&output.stdout);
    assert!(out.contains("planet: precision:   0.00%; recall:   0.00%; FB1:   0.00  0"), "{out}");
}

#[test]
fn the_demo_learns_and_tags_three_requests() {
    let folder = tempfile::tempdir().unwrap();
    let out = success(&run(folder.path(), &["demo"]));
    let rows: Vec<Vec<&str>> = out
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .filter(|row| row.len() >= 6 && row[..6].iter().all(|cell| cell.parse::<f64>().is_ok()))
        .collect();
    assert_eq!(rows.len(), 20, "{out}");
    let f1 = number(&out[out.find("The network of").unwrap()..], "F1");
    assert!(f1 > 90.0, "{out}");
    let (_, requests) = out.split_once("never seen:\n").unwrap();
    for part in ["lisbon", "origin", "san sebastian", "destination", "150 euros", "price", "nights"] {
        assert!(requests.contains(part), "{part}: {requests}");
    }
    assert!(out.lines().all(|line| line.len() <= 110) && !out.contains('\u{1b}'), "{out}");
    assert_eq!(names(folder.path()), [""; 0]);
}

#[test]
fn the_report_is_a_hand_count() {
    // A model that gives every word the one tag there is: the corpus is chosen so that all counts are known.
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("train.conll"), "a B-x\na B-x\n").unwrap();
    fs::write(folder.path().join("dev.conll"), "a B-x\n").unwrap();
    success(&train(folder.path(), &["--epochs", "1"]));
    // Found: one chunk a word, 5. In the corpus: x, x (two words), y; correct: the first x alone.
    fs::write(folder.path().join("test.conll"), "a B-x\nb O\n\nc B-x\nd I-x\n\ne B-y\n").unwrap();
    let out = success(&run(folder.path(), &["evaluate", "--model", "model", "test.conll"]));
    assert_eq!(
        out,
        "processed 5 tokens with 3 phrases; found: 5 phrases; correct: 1.\n\
         accuracy:  40.00%; precision:  20.00%; recall:  33.33%; FB1:  25.00\n\
         \x20               x: precision:  20.00%; recall:  50.00%; FB1:  28.57  5\n\
         \x20               y: precision:   0.00%; recall:   0.00%; FB1:   0.00  0\n"
    );
}
