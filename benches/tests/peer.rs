//! The program `peer` answers with what the network computes.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

use elman::{Batch, Network, Params, Shape};
use elman_benches::Workload;
use elman_reference::Reference;
use elman_tagger::travel;
use serde_json::{Value, json};

#[test]
fn answers_are_the_networks_own_and_errors_are_answers() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("workload.safetensors");
    let sizes = |vocab, classes| Shape { vocab, embed: 10, window: 3, hidden: 20, classes, ..Shape::ELMAN };
    let mut workload =
        Workload::new("travel".to_string(), &travel::corpus(1, 40), &travel::corpus(2, 10), sizes, 1)
            .unwrap();
    workload.train(&Reference::new(), 10, 0.3).unwrap();
    workload.save(&file).unwrap();

    let requests = [
        json!({ "work": "hello" }),
        json!({ "work": "sgd_epoch", "file": file, "sentences": 1, "lr": 0.1 }),
        json!({ "work": "minibatch_epoch", "file": file, "sentences": 0, "lr": 0.1, "batch": 40 }),
        json!({ "work": "tag_one", "file": file, "sentences": 0, "labels": true }),
        json!({ "work": "tag_all", "file": file, "sentences": 0, "labels": true }),
        json!({ "work": "first_tag", "file": file }),
        json!({ "work": "recurrence_backward", "batch": 2, "input": 3, "hidden": 4, "steps": 5, "budget": 0 }),
        json!({ "work": "gru_backward", "batch": 2, "input": 3, "hidden": 4, "steps": 5, "budget": 0 }),
        json!({ "work": "lstm_backward", "batch": 2, "input": 3, "hidden": 4, "steps": 5, "budget": 0 }),
        json!({ "work": "memory" }),
        json!({ "work": "tea" }),
        json!({ "work": "sgd_epoch", "file": folder.path().join("none"), "sentences": 1, "lr": 0.1 }),
        json!({ "work": "recurrence_forward", "batch": 0, "input": 3, "hidden": 4, "steps": 5, "budget": 0 }),
    ];
    let answers = ask(&requests);
    let [hello, sgd, minibatch, one, all, first, backward, gru, lstm, memory, errors @ ..] = &answers[..]
    else {
        panic!("{} answers to {} requests", answers.len(), requests.len());
    };

    assert_eq!(hello["name"], "reference");
    let (train, test) = (workload.train.batch(), workload.test.batch());
    let loss = |batch: Batch<'_>| {
        let mut gradient = Params::zeros(workload.params.shape()).unwrap();
        f64::from(Reference::new().gradient(&workload.params, batch, &mut gradient).unwrap())
    };
    assert!((sgd["loss"].as_f64().unwrap() - loss(train.slice(0..1))).abs() < 1e-6);
    // Another order of the sentences, another order of the sum.
    assert!((minibatch["loss"].as_f64().unwrap() - loss(train)).abs() < 1e-5);

    let mut tagger = Reference::new().tagger(&workload.trained).unwrap();
    let mut labels = vec![0; test.words().len()];
    tagger.label_all(test, &mut labels).unwrap();
    assert_eq!(one["labels"], json!(labels));
    assert_eq!(all["labels"], json!(labels));
    assert_eq!(first["labels"], json!(labels[..test.length(0)]));
    assert!(labels.iter().any(|label| *label != labels[0]), "one label would prove nothing");

    for (answer, tensors) in [
        (backward, &["h", "xs", "wx", "wh", "bh", "h0"][..]),
        (gru, &["h", "xs", "wx", "wh", "bh", "bhn", "h0"]),
        (lstm, &["h", "xs", "wx", "wh", "bh", "h0", "c0"]),
    ] {
        assert_eq!(answer["checks"].as_object().unwrap().len(), tensors.len());
        for tensor in tensors {
            assert!(answer["checks"][tensor].as_f64().unwrap() > 0.0, "{tensor}");
        }
        assert!(answer["calls"].as_u64().unwrap() >= 3);
    }
    assert_ne!(backward["checks"]["h"], gru["checks"]["h"]);
    assert_eq!(memory["peak_bytes"].as_u64().is_some(), cfg!(target_os = "linux"));
    for (error, part) in errors.iter().zip(["tea", "none: cannot read", "sequences"]) {
        assert!(error["error"].as_str().is_some_and(|text| text.contains(part)), "{error}");
    }
}

fn ask(requests: &[Value]) -> Vec<Value> {
    let mut peer = Command::new(env!("CARGO_BIN_EXE_peer"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = peer.stdin.take().unwrap();
    for request in requests {
        writeln!(input, "{request}").unwrap();
    }
    drop(input);
    let answers = BufReader::new(peer.stdout.take().unwrap()).lines();
    let answers = answers.map(|line| serde_json::from_str(&line.unwrap()).unwrap()).collect();
    assert!(peer.wait().unwrap().success());
    answers
}
