//! `elman export` and `elman import` as their users meet them.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use assert_cmd::cargo::cargo_bin;
use elman::{Feedback, Params, Shape};
use elman_tagger::{Labels, Model, Normalization, Vocabulary, travel};

fn elman(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(cargo_bin!("elman")).current_dir(folder).args(arguments).output().unwrap()
}

fn done(folder: &Path, arguments: &[&str]) {
    let output = elman(folder, arguments);
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    assert!(output.stdout.is_empty() && output.stderr.is_empty());
}

fn refused(folder: &Path, arguments: &[&str], code: i32, part: &str) {
    let output = elman(folder, arguments);
    let message = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{message}");
    assert!(message.contains(part) && !message.contains("panicked"), "{part:?} is not in {message}");
}

/// A folder with an untrained model of the demo's words.
fn folder() -> (tempfile::TempDir, Model) {
    folder_of(Feedback::Hidden)
}

fn folder_of(feedback: Feedback) -> (tempfile::TempDir, Model) {
    let corpus = travel::corpus(1, 60);
    let normalization = Normalization { lowercase: true, digits: false };
    let (vocabulary, labels) = (Vocabulary::new(&corpus, normalization), Labels::new(&corpus));
    let (vocab, classes) = (vocabulary.size(), labels.size());
    let shape = Shape { vocab, embed: 6, window: 5, hidden: 8, classes, feedback, ..Shape::ELMAN };
    let model = Model::from_elsewhere(Params::init(shape, 5).unwrap(), vocabulary, labels, "a test").unwrap();
    let folder = tempfile::tempdir().unwrap();
    model.save(folder.path().join("model"), &[]).unwrap();
    (folder, model)
}

fn loaded(folder: &Path) -> Model {
    Model::load(folder.join("back")).unwrap()
}

#[test]
fn npy_goes_there_and_back() {
    let (folder, model) = folder();
    let folder = folder.path();
    for options in [
        &["--dtype", "f32"][..],
        &["--dtype", "f64", "--order", "fortran"],
        &["--names", "capital"],
        &["--names", "lower", "--order", "c"],
    ] {
        let _ = fs::remove_dir_all(folder.join("out"));
        done(folder, &[&["export", "--model", "model", "--to", "npy", "out"][..], options].concat());
        assert_eq!(fs::read_dir(folder.join("out")).unwrap().count(), 9);
        done(folder, &["import", "--from", "npy", "out", "--model", "back", "--lowercase"]);
        let back = loaded(folder);
        assert_eq!((back.params(), back.vocabulary()), (model.params(), model.vocabulary()));
        assert_eq!(back.labels(), model.labels());
    }
    // A network whose unknown word is another, in another place.
    let text = fs::read_to_string(folder.join("out/vocab.txt")).unwrap();
    let words: Vec<&str> = text.lines().collect();
    let renamed = words.iter().map(|word| if *word == "<UNK>" { "oov" } else { word });
    fs::write(folder.join("words"), renamed.collect::<Vec<_>>().join("\n")).unwrap();
    let import = ["import", "--from", "npy", "out", "--model", "back", "--lowercase", "--words", "words"];
    refused(folder, &import, 65, "words: no word \"<UNK>\"");
    refused(folder, &import, 65, "the option --unknown names another, perhaps oov");
    done(folder, &[&import[..], &["--unknown", "oov"]].concat());
    assert_eq!(loaded(folder).vocabulary(), model.vocabulary());
    done(folder, &[&import[..], &["--unknown", words[2]]].concat());
    assert_eq!(loaded(folder).params().emb().row(0), model.params().emb().row(2));

    // A list that is missing or of another network is named, with the option that helps.
    for (option, name) in [("--words", "vocab.txt"), ("--labels", "labels.txt")] {
        let (file, import) = (folder.join("out").join(name), &import[..7]);
        let text = fs::read_to_string(&file).unwrap();
        fs::remove_file(&file).unwrap();
        refused(folder, import, 74, &format!("{name}: cannot open"));
        refused(folder, import, 74, &format!("the option {option} names another file"));
        fs::write(&file, format!("{text}one-more\n")).unwrap();
        refused(folder, import, 65, &format!("{name}: "));
        refused(folder, import, 65, &format!("(option {option})"));
        // A line that is empty or there twice, by its number.
        for (line, message) in
            [("", ":2: empty word or tag"), (text.lines().next().unwrap(), ":2: the name of line 1 again")]
        {
            fs::write(&file, text.replacen('\n', &format!("\n{line}\n"), 1)).unwrap();
            refused(folder, import, 65, &format!("{name}{message}"));
        }
        fs::write(&file, text).unwrap();
    }

    fs::write(folder.join("out/b.npy"), b"\x93NUMPY").unwrap();
    refused(folder, &import, 65, "b.npy: 6 bytes, expected a .npy file");
    fs::remove_file(folder.join("out/b.npy")).unwrap();
    refused(folder, &import, 74, "b.npy: cannot open");
}

#[test]
fn a_jordan_network_goes_to_npy_and_back_and_nowhere_else() {
    let (folder, model) = folder_of(Feedback::Output);
    let folder = folder.path();
    done(folder, &["export", "--model", "model", "--to", "npy", "out", "--names", "capital"]);
    let import = ["import", "--from", "npy", "out", "--model", "back", "--lowercase"];
    done(folder, &import);
    assert_eq!(loaded(folder).params(), model.params());
    refused(
        folder,
        &[&import[..], &["--network", "elman"]].concat(),
        65,
        "s0.npy, the first output of a Jordan",
    );
    // A folder without that name is taken for an Elman network's, and the message says how to read the other.
    fs::rename(folder.join("out/s0.npy"), folder.join("out/h0.npy")).unwrap();
    refused(folder, &import, 65, "the option --network jordan reads the other");
    done(folder, &[&import[..], &["--network", "jordan"]].concat());
    assert_eq!(loaded(folder).params(), model.params());
    for (format, what) in
        [("torch", "nn.RNN, nn.GRU and nn.LSTM"), ("onnx", "ONNX's RNN, GRU and LSTM nodes")]
    {
        let message = format!(
            "{what}: expected a network of elman or elman-tanh or elman-relu or gru or lstm, found jordan"
        );
        refused(folder, &["export", "--model", "model", "--to", format, "file"], 2, &message);
        assert!(!folder.join("file").exists());
    }
    fs::write(folder.join("file"), "no tensors").unwrap();
    let import = ["import", "--from", "torch", "file", "--model", "back", "--network", "jordan"];
    refused(folder, &import, 2, "option --network: expected --from npy, found --from torch");
}

#[test]
fn a_torch_file_with_an_entry_that_is_not_finite_is_refused() {
    let (folder, _) = folder();
    let folder = folder.path();
    done(folder, &["export", "--model", "model", "--to", "torch", "file.safetensors"]);
    let whole = fs::read(folder.join("file.safetensors")).unwrap();
    for value in [f32::NAN, f32::INFINITY] {
        let mut broken = whole.clone();
        let last = broken.len() - 4;
        broken[last..].copy_from_slice(&value.to_le_bytes());
        fs::write(folder.join("file.safetensors"), broken).unwrap();
        let import = ["import", "--from", "torch", "file.safetensors", "--model", "back"];
        refused(folder, &import, 65, &format!("] is {value}, expected a finite number"));
        assert!(!folder.join("back").exists());
    }
}

#[test]
fn torch_goes_there_and_back() {
    let (folder, model) = folder();
    let folder = folder.path();
    for (nonlinearity, dtype) in [("sigmoid", "f32"), ("tanh", "f64")] {
        let options = ["--nonlinearity", nonlinearity, "--dtype", dtype];
        let export = ["export", "--model", "model", "--to", "torch", "out.safetensors"];
        done(folder, &[&export[..], &options].concat());
        done(folder, &["import", "--from", "torch", "out.safetensors", "--model", "back"]);
        // In f64 the conversion to tanh and back loses nothing that f32 would keep.
        let back = loaded(folder);
        for ((name, a), (_, b)) in model.params().tensors().zip(back.params().tensors()) {
            assert!(a.iter().zip(&b).all(|(a, b)| (a - b).abs() <= f32::EPSILON / 4.0), "{name}");
        }
        assert_eq!((back.vocabulary(), back.labels()), (model.vocabulary(), model.labels()));
    }
    let named = ["--prefix", "model.", "--rename", "rnn=encoder", "--rename", "emb.weight=words"];
    let export =
        ["export", "--model", "model", "--to", "torch", "other.safetensors", "--nonlinearity", "sigmoid"];
    done(folder, &[&export[..], &named].concat());
    let import = ["import", "--from", "torch", "other.safetensors", "--model", "back"];
    refused(folder, &import, 65, "tensor \"model.encoder.bias_hh_l0\"");
    let named = ["--prefix", "model.", "--rename", "encoder=rnn", "--rename", "words=emb.weight"];
    done(folder, &[&import[..], &named].concat());
    assert_eq!(loaded(folder).params(), model.params());
    refused(
        folder,
        &[&import[..], &["--rename", "encoder"]].concat(),
        2,
        "expected two names with = between them",
    );
    let npy = ["export", "--model", "model", "--to", "npy", "npy", "--prefix", "model."];
    refused(folder, &npy, 2, "option --prefix: expected --to [torch]");
    fs::write(folder.join("file"), "no tensors").unwrap();
    refused(folder, &["import", "--from", "torch", "file", "--model", "back"], 65, "file: ");
}

#[test]
fn onnx_is_written_and_options_of_other_formats_are_refused() {
    let (folder, _) = folder();
    let folder = folder.path();
    let export = ["export", "--model", "model", "--to", "onnx", "out.onnx"];
    done(folder, &export);
    let bytes = fs::read(folder.join("out.onnx")).unwrap();
    assert!(bytes.windows(7).any(|window| window == b"Sigmoid"));
    done(folder, &[&export[..], &["--nonlinearity", "tanh"]].concat());
    let bytes = fs::read(folder.join("out.onnx")).unwrap();
    assert!(!bytes.windows(7).any(|window| window == b"Sigmoid"));
    refused(
        folder,
        &[&export[..], &["--dtype", "f64"]].concat(),
        2,
        "option --dtype: expected --to [npy, torch]",
    );
    refused(
        folder,
        &["export", "--model", "none", "--to", "onnx", "x"],
        74,
        "none: cannot read the model: there is no such folder",
    );
}
