//! Corpora as they are found: tag schemes, columns, other forms of files.

mod common;

use std::fs;
use std::path::Path;
use std::process::Output;
use std::sync::OnceLock;

use common::{elman, failure, run, success, text, with_input, write_corpus};
use elman_tagger::{ConllWriter, Scheme, Tagging, travel};
use serde_json::Value;
use tempfile::TempDir;

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
    // No two requests of one type touch, so that IOB1 and IOE1 are IO here.
    for scheme in Scheme::ALL.into_iter().filter(|scheme| !matches!(scheme, Scheme::Iob1 | Scheme::Ioe1)) {
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

/// A model with a CRF, from training to every output: tags of valid sequences, marginals, whole sequences, a model to go on
/// from; and by name what has no CRF.
#[test]
fn a_crf_is_trained_and_gives_tags_marginals_and_whole_sequences() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write_corpus(&folder.join("train.conll"), 1, 150);
    write_corpus(&folder.join("dev.conll"), 2, 40);
    success(&run(folder, &[&SMALL[..], &["--epochs", "3", "--head", "crf"]].concat()));
    let inspected: Value =
        serde_json::from_str(&success(&run(folder, &["inspect", "--json", "model"]))).unwrap();
    assert_eq!(inspected["shape"]["head"], "crf");
    let tag = |more: &[&str]| -> Value {
        let arguments = [&["tag", "--model", "model", "--output", "json"], more].concat();
        let out = with_input(elman(folder, &arguments), b"flights from oslo to york on friday\n");
        serde_json::from_str(&success(&out)).unwrap()
    };
    for more in [&[][..], &["--valid-iob"]] {
        let plain = tag(more);
        let all = tag(&[more, &["--scores", "--nbest", "4"]].concat());
        assert_eq!((&all["tags"], &all["nbest"][0]["tags"]), (&plain["tags"], &plain["tags"]));
        let score = |value: &Value| value.as_f64().unwrap();
        let sequences: Vec<f64> = (0..4).map(|n| score(&all["nbest"][n]["score"])).collect();
        assert!(sequences.is_sorted_by(|a, b| a >= b) && sequences.iter().sum::<f64>() <= 1.0 + 1e-6);
        // A tag is at least as probable as a sequence that has it.
        let marginals = all["scores"].as_array().unwrap();
        assert!(marginals.len() == 7 && marginals.iter().all(|p| score(p) > sequences[0] - 1e-5));
    }
    let columns = [&["tag", "--model", "model", "--nbest", "2"][..]].concat();
    let out = success(&with_input(elman(folder, &columns), b"to oslo\n"));
    assert!(out.lines().take(2).all(|line| line.split('\t').count() == 5), "{out}");
    let crf = |arguments: &[&str]| run(folder, &[arguments, &["--model", "model"]].concat());
    failure(&crf(&["tag", "--nbest", "101"]), 2, &["option --nbest", "at most 100"]);
    for format in ["onnx", "torch", "npy"] {
        failure(&crf(&["export", "--to", format, "out"]), 2, &["with crf", "softmax"]);
    }
    let jordan = [&SMALL[..], &["--head", "crf", "--network", "jordan"]].concat();
    failure(&run(folder, &jordan), 2, &["head of a Jordan network: expected softmax"]);
    let by_word = [&SMALL[..], &["--head", "crf", "--by-word"]].concat();
    failure(&run(folder, &by_word), 2, &["with a softmax, to make an update for each word"]);
    fs::rename(folder.join("model"), folder.join("first")).unwrap();
    success(&run(folder, &[&SMALL[..7], &["--from", "first", "--epochs", "1", "--lr=0.1"]].concat()));
    assert_eq!(crf(&["evaluate", "dev.conll"]).status.code(), Some(0));
}

/// A small model in a folder, with its corpora.
fn trained() -> &'static Path {
    static TRAINED: OnceLock<TempDir> = OnceLock::new();
    let folder = TRAINED.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        write_corpus(&folder.path().join("train.conll"), 1, 150);
        write_corpus(&folder.path().join("dev.conll"), 1, 30);
        success(&run(folder.path(), &[&SMALL[..], &["--epochs", "4"]].concat()));
        folder
    });
    folder.path()
}

fn tag(arguments: &[&str], input: &str) -> Output {
    with_input(elman(trained(), &[&["tag", "--model", "model"], arguments].concat()), input.as_bytes())
}

#[test]
fn tag_keeps_the_other_columns_for_conlleval() {
    let tagged = success(&run(trained(), &["tag", "--model", "model", "--format", "conll", "dev.conll"]));
    let script = success(&with_input(elman(trained(), &["conlleval", "-d", "\\t"]), tagged.as_bytes()));
    assert_eq!(script, success(&run(trained(), &["evaluate", "--model", "model", "dev.conll"])));
    failure(
        &tag(&["--word-column", "2"], "to\n"),
        2,
        &["option --word-column: expected a column file of words"],
    );
    let without_model = run(trained(), &["evaluate", "--separator", "tab", "dev.conll"]);
    failure(&without_model, 2, &["option --separator: expected a column file", "(-d parts its columns)"]);
    // Empty columns too, in their order; the word may be another than the first.
    let rows = tag(&["--format", "conll", "--word-column", "2"], "1\tto\t\tO\n2\toslo\tx y\tB\n");
    let rows = success(&rows);
    let rows: Vec<Vec<&str>> = rows.lines().map(|line| line.split('\t').collect()).collect();
    assert_eq!((&rows[0][..4], &rows[1][..4]), (&["1", "to", "", "O"][..], &["2", "oslo", "x y", "B"][..]));
    assert_eq!((rows[0].len(), rows[2].join("").as_str()), (5, ""));
}

/// Comments, starts of documents, and blank lines stay where they are.
#[test]
fn tag_writes_every_line_of_a_column_file() {
    let file =
        "# a comment\tof two columns\n\n-DOCSTART- O\n\n\nto O\noslo B-x\n\n\n# another\nto O\n\n\n# end\n";
    let output = tag(&["--format", "conll", "--comments"], file);
    let tagged = success(&output);
    let (lines, given): (Vec<&str>, Vec<&str>) = (tagged.lines().collect(), file.lines().collect());
    assert_eq!(lines.len(), given.len(), "{tagged}");
    for (line, given) in lines.iter().zip(&given) {
        match given.split(' ').next().unwrap() {
            "#" | "" => assert_eq!(line, given),
            "-DOCSTART-" => assert_eq!(*line, "-DOCSTART-\tO\tO"),
            _ => assert!(line.starts_with(&format!("{}\t", given.replace(' ', "\t"))), "{line:?}"),
        }
    }
    // As many columns for conlleval, whatever is asked for; a sentence at the end of the file ends with a blank line.
    let tags = elman_tagger::Model::load(trained().join("model")).unwrap().labels().size();
    let document = "-DOCSTART- -X- O\nto TO O\n-DOCSTART- -X- O\noslo NN B-x";
    for (more, columns) in
        [(&[][..], 4), (&["--scores"], 5), (&["--nbest", "2"], 7), (&["--nbest", "16384"], 3 + 2 * tags)]
    {
        let tagged = success(&tag(&[&["--format", "conll"], more].concat(), document));
        let counts: Vec<usize> = tagged.lines().map(|line| line.split('\t').count()).collect();
        assert_eq!(counts, [columns, columns, columns, columns, 1], "{tagged}");
    }
    // More than any model has, which once overflowed.
    let refused = tag(&["--format", "conll", "--nbest", &u64::MAX.to_string()], document);
    assert_eq!(refused.status.code(), Some(2));
    let tagged = tag(&["--format", "conll"], document);
    success(&with_input(elman(trained(), &["conlleval", "-d", "\t"]), &tagged.stdout));
    // In CoNLL-U rows that are no words have no tag, and JSON has the sentences alone.
    fs::write(trained().join("c.conllu"), "# text = du b\n1-2\tdu\t_\n1\tde\t_\n2\tle\t_\n\n").unwrap();
    let tagged = success(&run(trained(), &["tag", "--model", "model", "--format", "conll", "c.conllu"]));
    let lines: Vec<&str> = tagged.lines().collect();
    assert_eq!((lines[0], lines[1], lines.len()), ("# text = du b", "1-2\tdu\t_", 5));
    assert!(lines[2].starts_with("1\tde\t_\t") && lines[3].starts_with("2\tle\t_\t"), "{tagged}");
    let json = success(&tag(&["--format", "conll", "--output", "json", "--comments"], file));
    assert_eq!(json.lines().count(), 2, "{json}");
}

#[test]
fn several_files_are_tagged_and_checked_in_turn_and_evaluated_together() {
    let folder = trained();
    let write = |name: &str, text: &str| fs::write(folder.join(name), text).unwrap();
    write("one.conll", "to O\noslo B-x\n\n");
    write("two.conll", "from O\nrome I-y\n\n");
    write("both.conll", "to O\noslo B-x\n\nfrom O\nrome I-y\n\n");
    let of = |arguments: &[&str]| success(&run(folder, arguments));
    let model = ["--model", "model"];
    let files = ["one.conll", "two.conll"];
    for command in [&["tag", "--format", "conll"][..], &["evaluate"]] {
        let together = of(&[command, &model, &files].concat());
        assert_eq!(together, of(&[command, &model, &["both.conll"]].concat()), "{command:?}");
    }
    let check = of(&[&["check-data"][..], &files].concat());
    assert!(check.starts_with("one.conll\n1 sentences") && check.contains("\n\ntwo.conll\n1 "), "{check}");
    let json = of(&[&["check-data", "--json"][..], &files].concat());
    let second: Value = serde_json::from_str(json.lines().nth(1).unwrap()).unwrap();
    assert_eq!((&second["file"], &second["check"]["words"]), (&"two.conll".into(), &2.into()));
    let strict = run(folder, &["check-data", "--strict", "--scheme", "iob2", "one.conll", "two.conll"]);
    failure(&strict, 65, &["two.conll:2: I-y after O: no B-y before it"]);
    failure(&run(folder, &["check-data"]), 2, &["<FILES>"]);
    // Right and predicted tags in several files, as of the parts of a cross-validation.
    write("a.out", "to O O\noslo B-x B-x\n\n");
    write("b.out", "oslo B-x O\n\n");
    for command in ["evaluate", "conlleval"] {
        let report = of(&[command, "a.out", "b.out"]);
        assert!(report.starts_with("processed 3 tokens with 2 phrases; found: 1 phrases; correct: 1.\n"));
    }
    write("empty.conll", "\n");
    let empty = run(folder, &["evaluate", "--model", "model", "one.conll", "empty.conll"]);
    failure(&empty, 65, &["empty.conll:1: there is no sentence"]);
}

#[test]
fn words_and_tags_without_a_model_are_not_evaluated_as_two_tags() {
    let without = run(trained(), &["evaluate", "-d", "\t", "train.conll"]);
    failure(
        &without,
        65,
        &["train.conll: two columns, words and tags, expected the right tag", "--model DIR"],
    );
    assert!(without.stdout.is_empty());
    success(&run(trained(), &["conlleval", "-d", "\t", "train.conll"]));
}

#[test]
fn json_lines_name_their_tags_by_numbers() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let line =
        "{\"tokens\": [\"to\", \"new\", \"york\"], \"pos_tags\": [1, 0, 0], \"ner_tags\": [0, 1, 2]}\n";
    fs::write(folder.join("c.jsonl"), line).unwrap();
    let convert = |more: &[&str]| run(folder, &[&["convert", "c.jsonl"], more].concat());
    failure(&convert(&[]), 65, &["c.jsonl:1: 0 in ner_tags, expected strings (--tag-names "]);
    let named = success(&convert(&["--tag-names", "O,B-city,I-city"]));
    assert_eq!(named, "to\tO\nnew\tB-city\nyork\tI-city\n\n");
    let parts = success(&convert(&["--tag-column", "pos_tags", "--tag-names", "NNP,TO"]));
    assert_eq!(parts, "to\tTO\nnew\tNNP\nyork\tNNP\n\n");
    failure(&convert(&["--tag-names", "O"]), 65, &["c.jsonl:1: 1 in ner_tags, expected a number below 1"]);
}

#[test]
fn a_training_warns_of_many_tags_and_of_the_learning_rate_of_a_batch() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    // Two words, each with another tag in every sentence.
    let many: String = (0..150).map(|n| format!("to T{n}\noslo X{n}\n\n")).collect();
    fs::write(folder.join("many"), many).unwrap();
    write_corpus(&folder.join("train.conll"), 1, 30);
    let train = |corpus: &str, more: &[&str]| {
        let fixed = ["train", "--train", corpus, "--dev", corpus, "--model", "m", "--epochs", "1"];
        let small = ["--hidden", "4", "--embed", "4", "--window", "1"];
        let output = run(folder, &[&fixed[..], &small, more].concat());
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        text(&output.stderr)
    };
    let note = train("many", &["--word-column", "1"]);
    assert!(
        note.contains("many: 300 different tags on 2 different words; is the last column the tag?"),
        "{note}"
    );
    fs::write(folder.join("long"), "to O\noslo B-x\n".repeat(500)).unwrap();
    let note = train("long", &[]);
    assert!(
        note.contains("long: a sentence of 1000 words; is there a blank line after each sentence?"),
        "{note}"
    );
    let note = train("train.conll", &["--batch", "16"]);
    assert!(note.starts_with("--batch 16: an update takes the mean of 16 sentences"), "{note}");
    assert_eq!(train("train.conll", &["--batch", "16", "--lr", "0.5"]), "");
    assert_eq!(train("train.conll", &[]), "");
}

#[test]
fn what_is_in_json_comes_back_as_it_is() {
    let object =
        r#"{"z": 123456789012345678901234567890, "a": 1.0e5, "text": "to\u00a0Oslo  now", "n" : [1,  2] }"#;
    let answer = success(&tag(
        &["--format", "json"],
        &format!("{object}\n\n{{\"tokens\":[\"to\"],\"tags\":[\"O\"]}}\n"),
    ));
    let lines: Vec<&str> = answer.split('\n').collect();
    assert!(lines[0].starts_with(object[..object.len() - 1].trim_end()), "{answer}");
    let first: Value = serde_json::from_str(lines[0]).unwrap();
    assert_eq!(first["words"], serde_json::json!(["to", "Oslo", "now"]));
    // A blank line answers a blank line, and what was there stays.
    assert_eq!((lines[1], lines.len()), ("", 4));
    assert!(lines[2].starts_with(r#"{"tokens":["to"],"tags":["O"],"predicted_tags":["#), "{answer}");
    let twice = tag(&["--format", "json"], r#"{"words": [], "tags": [], "predicted_tags": []}"#);
    failure(&twice, 65, &["the object has the key predicted_tags already"]);
}

#[test]
fn entities_have_offsets_in_words_and_in_characters() {
    let text = "\u{fc}ber from new york to san sebastian";
    let answer = success(&tag(&["--format", "json"], &format!("{}\n", serde_json::json!({ "text": text }))));
    let answer: Value = serde_json::from_str(&answer).unwrap();
    let tags: Vec<&str> =
        answer["tags"].as_array().unwrap().iter().map(|tag| tag.as_str().unwrap()).collect();
    let phrases = Tagging::new(Scheme::Iob2).phrases(&tags);
    let entities = answer["entities"].as_array().unwrap();
    assert!(!phrases.is_empty() && entities.len() == phrases.len(), "{answer}");
    let words: Vec<&str> = text.split(' ').collect();
    for (entity, phrase) in entities.iter().zip(&phrases) {
        assert_eq!(entity["type"], phrase.kind);
        assert_eq!(entity["words"], serde_json::json!([phrase.start, phrase.end]));
        let number = |key: &str| entity[key].as_u64().unwrap() as usize;
        let (start, end) = (number("start"), number("end"));
        let cut: String = text.chars().skip(start).take(end - start).collect();
        assert_eq!(cut, words[phrase.start..phrase.end].join(" "));
    }
}

#[test]
fn a_stream_goes_on_after_a_bad_line_if_asked() {
    let json = "{\"text\": \"to\"}\nnonsense\n{\"words\": [\"a\"]}\n";
    let output = tag(&["--format", "json", "--keep-going"], json);
    failure(&output, 65, &["-: 1 of 3 sentences could not be tagged"]);
    let lines: Vec<Value> =
        text(&output.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 3);
    assert!(lines[1]["error"].as_str().unwrap().starts_with("-:2: no JSON object"), "{lines:?}");
    assert!(lines[2]["tags"].is_array());

    let plain = tag(&["--keep-going"], "to\na\tb\noslo\n");
    failure(&plain, 65, &["1 of 3"]);
    let blocks = text(&plain.stdout);
    let blocks: Vec<&str> = blocks.split("\n\n").collect();
    assert!(blocks[1].starts_with("# error: -:2: a tab") && blocks[2].starts_with("oslo\t"), "{blocks:?}");

    let columns = tag(&["--format", "conll", "--keep-going"], "to x\n\na x\nb\nc x\n\noslo x\n");
    failure(&columns, 65, &["1 of 3"]);
    let blocks = text(&columns.stdout);
    let blocks: Vec<&str> = blocks.split("\n\n").collect();
    assert!(
        blocks[1].starts_with("# error: -:4: 1 column") && blocks[2].starts_with("oslo\tx\t"),
        "{blocks:?}"
    );
    assert_eq!(tag(&["--keep-going"], "to\n").status.code(), Some(0));
    // A line may be as long as a sentence: 10,000 words of 20 letters, more than 64 KiB.
    let long = "abcdefghijabcdefghij ".repeat(10_000);
    assert_eq!(success(&tag(&[], &long)).lines().count(), 10_001);
}

#[test]
fn several_files_are_read_and_other_options_are_given_once() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let parts = ["to O\noslo B-x\n\n", "from O\nrome B-x\n\n"];
    fs::write(folder.join("a"), parts[0].repeat(20)).unwrap();
    fs::write(folder.join("b"), parts[1].repeat(20)).unwrap();
    fs::write(folder.join("ab"), parts[0].repeat(20) + &parts[1].repeat(20)).unwrap();
    let train = |more: &[&str]| {
        let arguments =
            ["train", "--dev", "a", "--model", "m", "--hidden", "6", "--embed", "4", "--epochs", "1"];
        run(folder, &[&arguments[..], more].concat())
    };
    let weights = |more: &[&str]| {
        success(&train(more));
        fs::read(folder.join("m/weights.safetensors")).unwrap()
    };
    let both = weights(&["--train", "a", "--train", "b"]);
    assert_eq!(both, weights(&["--train", "ab"]));
    assert_ne!(both, weights(&["--train", "b"]));
    fs::write(folder.join("c.toml"), "train = [\"a\", \"b\"]\nhidden = 5\n").unwrap();
    assert_eq!(both, weights(&["--config", "c.toml"]));
    failure(&train(&["--train", "a", "--lr", "1", "--lr", "2"]), 2, &["cannot be used multiple times"]);
    failure(&train(&["--train", "a", "--epochs", "2"]), 2, &["cannot be used multiple times"]);
}

#[test]
fn convert_writes_other_schemes_and_reads_other_forms() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    fs::write(folder.join("iobes"), "new B-city\nyork E-city\noslo S-city\n").unwrap();
    fs::write(folder.join("pos"), "a DT\nb NN\n").unwrap();
    fs::write(folder.join("atis"), "BOS fly to oslo EOS\tO O O B-toloc flight\nBOS hi EOS\tO O intent\n")
        .unwrap();
    fs::write(folder.join("seq.in"), "fly to oslo\nhi\n").unwrap();
    fs::write(folder.join("seq.out"), "O O B-toloc\nO\n").unwrap();
    let convert = |arguments: &[&str]| run(folder, &[&["convert"], arguments].concat());
    let of = |arguments: &[&str]| success(&convert(arguments));
    assert_eq!(of(&["iobes", "--to-scheme", "iob2"]), "new\tB-city\nyork\tI-city\noslo\tB-city\n\n");
    assert_eq!(of(&["iobes", "--to-scheme", "iob1"]), "new\tI-city\nyork\tI-city\noslo\tB-city\n\n");
    assert_eq!(of(&["iobes", "--to-scheme", "ioe2"]), "new\tI-city\nyork\tE-city\noslo\tE-city\n\n");
    let brackets = of(&["iobes", "--to-scheme", "brackets"]);
    assert_eq!(brackets, "new\t(city*\nyork\t*)\noslo\t(city*)\n\n");
    fs::write(folder.join("brackets"), brackets).unwrap();
    assert_eq!(of(&["brackets", "--to-scheme", "iobes"]), of(&["iobes"]));
    assert_eq!(of(&["iobes"]), "new\tB-city\nyork\tE-city\noslo\tS-city\n\n");
    let json = of(&["iobes", "--to", "json"]);
    assert_eq!(
        json,
        "{\"tags\":[\"B-city\",\"E-city\",\"S-city\"],\"tokens\":[\"new\",\"york\",\"oslo\"]}\n"
    );
    fs::write(folder.join("c.jsonl"), json).unwrap();
    assert_eq!(of(&["c.jsonl"]), of(&["iobes"]));
    let atis = "fly\tO\nto\tO\noslo\tB-toloc\n\nhi\tO\n\n";
    assert_eq!(of(&["--from", "slots", "atis"]), atis);
    assert_eq!(of(&["--from", "pairs", "seq.in", "seq.out"]), atis);
    // The form is asked for where it would be read as columns.
    let hint = "elman convert --from slots reads a sentence a line";
    failure(&run(folder, &["check-data", "atis"]), 65, &["atis:1: white space in the tag", hint]);
    failure(&convert(&["pos", "--to-scheme", "iobes"]), 65, &["pos: tags that form no phrases"]);
    failure(
        &convert(&["--from", "slots", "seq.in"]),
        65,
        &["seq.in:1: no tab, expected words, a tab, and tags"],
    );
    fs::write(folder.join("bad"), "a b\tO\n").unwrap();
    failure(&convert(&["--from", "slots", "bad"]), 65, &["bad:1: 1 tags, expected 2, one for each word"]);
    fs::write(folder.join("short"), "O O B-toloc\n").unwrap();
    failure(&convert(&["--from", "pairs", "seq.in", "short"]), 65, &["seq.in:2: one line more"]);
    failure(&convert(&["--from", "pairs", "short", "seq.out"]), 65, &["seq.out:2: one line more"]);
    failure(&convert(&["--from", "pairs", "seq.in"]), 2, &["--from pairs: expected two files"]);
    failure(&convert(&["iobes", "pos"]), 2, &["second file: expected none"]);
}
