//! A training's result is not lost, whatever fails beside it; and no file of the user is harmed by an output.
#![cfg(unix)]

mod common;

use std::fs::{self, File};
use std::io::{BufRead, BufReader, PipeReader, Write};
use std::os::unix::fs::{FileTypeExt, symlink};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use common::{elman, failure, run, success, text, write_corpus};
use elman_tagger::{Checkpoint, Claim, Model};
use rustix::fs::{CWD, FileType, Mode, OFlags, fcntl_setfl, mknodat};
use tempfile::TempDir;

fn corpora() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, seed, sentences) in [("train", 1, 12), ("dev", 1, 8)] {
        write_corpus(&folder.path().join(name), seed, sentences);
    }
    folder
}

const TRAIN: &str =
    "train --train train --dev dev --hidden 16 --embed 8 --window 3 --lr 0.3 --recipe standard";

/// A training of so many epochs into `model`, or into the folder that `more` says.
fn train(folder: &Path, epochs: usize, more: &[&str]) -> Command {
    let mut command = elman(folder, &TRAIN.split(' ').collect::<Vec<_>>());
    if !more.contains(&"--model") {
        command.args(["--model", "model"]);
    }
    command.args(["--epochs", &epochs.to_string()]).args(more);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Starts a training that cannot print its first row, because the pipe is full: it is at work and does not get on.
fn started(folder: &Path, mut command: Command) -> (Child, PipeReader) {
    let (out, mut full) = std::io::pipe().unwrap();
    fcntl_setfl(&full, OFlags::NONBLOCK).unwrap();
    while full.write(&[b'\n'; 256]).is_ok() {}
    fcntl_setfl(&full, OFlags::empty()).unwrap();
    let child = command.stdout(full).spawn().unwrap();
    // The command holds the other end, too: it must not outlive this function.
    drop(command);
    let lock = folder.join("model/.elman-lock");
    while fs::read_to_string(&lock).map_or(true, |text| text.trim() != child.id().to_string()) {
        std::thread::sleep(Duration::from_millis(2));
    }
    (child, out)
}

/// Lets it get on, and waits for the end.
fn ended(child: Child, out: PipeReader) -> Output {
    BufReader::new(out).lines().for_each(|line| drop(line.unwrap()));
    child.wait_with_output().unwrap()
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn epochs(model: &Path) -> usize {
    Model::load(model).unwrap().outcome().epochs
}

#[test]
fn a_reader_that_goes_away_does_not_end_the_training() {
    let folder = corpora();
    let folder = folder.path();
    // As `elman train | head -1`, and then as a full disk.
    let (out, closed) = std::io::pipe().unwrap();
    drop(out);
    let output = train(folder, 30, &[]).stdout(closed).output().unwrap();
    failure(&output, 74, &["standard output: cannot write: Broken pipe", "; model in model\n"]);
    assert_eq!(epochs(&folder.join("model")), 30);
    let full = || File::options().write(true).open("/dev/full").unwrap();
    let output = train(folder, 3, &["--report", "page.html"]).stdout(full()).output().unwrap();
    failure(&output, 74, &["standard output: cannot write: No space left", "; model in model\n"]);
    assert_eq!(epochs(&folder.join("model")), 3);
    assert!(folder.join("page.html").exists());

    let search =
        "search --train train --dev dev --hidden 4 --embed 4 --window 3..3 --epochs 1 --trials 3 --out s";
    let mut search = elman(folder, &search.split(' ').collect::<Vec<_>>());
    let output = search.stdout(full()).output().unwrap();
    failure(&output, 74, &["standard output: cannot write: No space left", "; model in s/best\n"]);
    assert_eq!(fs::read_to_string(folder.join("s/trials.jsonl")).unwrap().lines().count(), 3);
}

/// Where the folder is gone at the end, the model is written elsewhere, and the message says where.
#[test]
fn a_model_that_cannot_be_saved_where_it_should_be_is_saved_elsewhere() {
    let folder = corpora();
    let folder = folder.path();
    fs::create_dir(folder.join("rescue")).unwrap();
    let mut command = train(folder, 60, &[]);
    command.env("TMPDIR", folder.join("rescue"));
    let (child, out) = started(folder, command);
    fs::remove_dir_all(folder.join("model")).unwrap();
    let output = ended(child, out);
    let place = folder.join("rescue").join(&names(&folder.join("rescue"))[0]);
    let note = format!("model: cannot be written now; the model is in {}\n", place.display());
    failure(&output, 74, &[&note, "model: cannot write: No such file"]);
    assert_eq!(epochs(&place), 60);
}

#[test]
fn a_checkpoint_that_cannot_be_written_does_not_end_the_training() {
    let folder = corpora();
    let folder = folder.path();
    let (child, out) = started(folder, train(folder, 60, &["--checkpoint-every", "1"]));
    while !folder.join("model.checkpoint").exists() {
        std::thread::sleep(Duration::from_millis(2));
    }
    fs::remove_dir_all(folder.join("model.checkpoint")).unwrap();
    let output = ended(child, out);
    failure(&output, 74, &["model.checkpoint: cannot write: ", "; the training goes on\n"]);
    assert_eq!(text(&output.stderr).lines().count(), 2, "said when it happens and at the end, not each time");
    assert_eq!(epochs(&folder.join("model")), 60);
}

/// The model of the epochs before is saved, and the exit code says that the training failed.
#[test]
fn a_training_that_diverges_after_an_epoch_saves_the_best_model() {
    let folder = corpora();
    let folder = folder.path();
    let more = ["--activation", "relu", "--window", "1", "--kernel", "reference"];
    // At some rate between those that learn and those that diverge at once, the third epoch or so diverges.
    let later = (1..40).find_map(|step| {
        let lr = format!("{}", 0.5 * 1.15_f64.powi(step));
        let output = elman(folder, &["train", "--train", "train", "--dev", "dev", "--model", "model"])
            .args(["--hidden", "16", "--embed", "8", "--epochs", "40", "--recipe", "standard", "--lr", &lr])
            .args(more)
            .output()
            .unwrap();
        let diverged = output.status.code() == Some(1);
        (diverged && folder.join("model/config.toml").exists()).then_some(output).or_else(|| {
            let _ = fs::remove_dir_all(folder.join("model"));
            None
        })
    });
    let output = later.expect("no rate at which a later epoch diverges");
    failure(&output, 1, &["training diverged at sentence "]);
    let printed = text(&output.stdout);
    assert!(printed.contains("best epoch ") && printed.contains("; model in model\n"), "{printed}");
    assert!(epochs(&folder.join("model")) >= 1);
}

/// `nohup` and a script's `&` start a program with a signal ignored; it stays so.
#[test]
fn a_signal_that_is_ignored_from_the_start_does_not_end_the_training() {
    let folder = corpora();
    let folder = folder.path();
    let mut command = Command::new("sh");
    command.current_dir(folder).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let line = format!("trap '' HUP INT; exec \"$0\" {TRAIN} --model model --epochs 60 \"$@\"");
    command.args(["-c", &line, assert_cmd::cargo::cargo_bin!("elman").to_str().unwrap()]);
    let (child, out) = started(folder, command);
    for signal in ["HUP", "INT"] {
        let sent = Command::new("kill").args(["-s", signal, &child.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }
    let output = ended(child, out);
    assert_eq!((output.status.code(), text(&output.stderr).as_str()), (Some(0), ""));
    assert_eq!(epochs(&folder.join("model")), 60);
}

#[test]
fn two_trainings_into_one_folder_are_told_of_each_other_before_the_first_epoch() {
    let folder = corpora();
    let folder = folder.path();
    let (first, out) = started(folder, train(folder, 60, &["--checkpoint-every", "50"]));
    let holder = format!("process {} is writing to this folder", first.id());
    let second = train(folder, 1, &[]).output().unwrap();
    failure(&second, 74, &["model: cannot lock: ", &holder]);
    assert!(second.stdout.is_empty());
    success(&ended(first, out));
    assert_eq!(names(&folder.join("model")).len(), 5);
    assert_eq!(names(folder), ["dev", "model", "model.checkpoint", "train"]);
    // Another model with the same checkpoint folder; search and import ask, too.
    let claim = Checkpoint::claim(folder.join("model.checkpoint")).unwrap();
    let holder = format!("process {} is writing", std::process::id());
    let output = train(folder, 1, &["--checkpoint-every", "1"]).output().unwrap();
    failure(&output, 74, &["model.checkpoint: cannot lock: ", &holder]);
    drop(claim);
}

/// The folder itself is not renamed, so it may be a mount point; `.` stands for one here.
#[test]
fn a_model_folder_that_cannot_be_renamed_is_written_inside() {
    let folder = corpora();
    let folder = folder.path();
    fs::create_dir(folder.join("volume")).unwrap();
    let train = "train --train ../train --dev ../dev --hidden 4 --embed 4 --epochs 1 --model .";
    let inside = folder.join("volume");
    for _ in 0..2 {
        success(&run(&inside, &train.split(' ').collect::<Vec<_>>()));
        assert_eq!(names(&inside).len(), 5);
        assert_eq!(epochs(&inside), 1);
    }
    success(&run(&inside, &["export", "--model", ".", "--to", "npy", "../npy"]));
    success(&run(&folder.join("npy"), &["export", "--model", "../volume", "--to", "npy", "."]));
    success(&run(&inside, &["import", "--from", "npy", "../npy", "--model", "."]));
    assert_eq!(names(folder), ["dev", "npy", "train", "volume"]);
}

/// Everything that would be found out at the end is found out before the first epoch.
#[test]
fn an_output_that_cannot_be_written_is_named_before_the_work() {
    let folder = corpora();
    let folder = folder.path();
    let corpus = fs::read(folder.join("dev")).unwrap();
    fs::write(folder.join("folder-of-model"), "").unwrap();
    for (more, code, parts) in [
        (["--report", "none/page.html"], 74, &["none/page.html: cannot write: there is no folder none"][..]),
        (["--report", "dev"], 65, &["dev: a file of another kind, expected an HTML page"]),
        (["--report", "."], 65, &[".: a folder, expected an HTML page"]),
        (["--report", "model/page.html"], 74, &["model/page.html: cannot write: there is no folder model"]),
        (["--model", "none/model"], 74, &["none/model: cannot create: No such file"]),
        (["--model", "dev"], 65, &["dev: a file, expected a model folder, or nothing"]),
    ] {
        let output = train(folder, 1, &more).output().unwrap();
        failure(&output, code, parts);
        assert!(output.stdout.is_empty(), "{more:?}");
        assert_eq!(names(folder), ["dev", "folder-of-model", "train"], "{more:?}");
    }
    // A model folder holds nothing else, be it empty yet or not.
    for made in [true, false] {
        if made {
            fs::create_dir(folder.join("model")).unwrap();
        } else {
            success(&train(folder, 1, &[]).output().unwrap());
        }
        let output = train(folder, 1, &["--report", "model/page.html"]).output().unwrap();
        failure(&output, 65, &["model/page.html: a file in a model folder, expected a file elsewhere"]);
        assert!(output.stdout.is_empty());
    }
    let weights = fs::read(folder.join("model/weights.safetensors")).unwrap();
    for (command, code, parts) in [
        ("evaluate --model model dev --report none/page.html", 74, &["none/page.html: cannot write"][..]),
        // The corpus is not even looked for.
        ("evaluate --model model nothing --report dev", 65, &["dev: a file of another kind"]),
        ("verify --report dev", 65, &["dev: a file of another kind"]),
        ("export --model model --to onnx dev", 65, &["dev: a file of another kind, expected an ONNX file"]),
        (
            "export --model model --to torch dev",
            65,
            &["dev: a file of another kind, expected a safetensors file"],
        ),
        ("export --model model --to torch model/weights.safetensors", 65, &["a file in a model folder"]),
        ("export --model model --to npy dev", 65, &["dev: a file, expected a NumPy export folder"]),
        ("export --model none --to torch none/file", 74, &["none/file: cannot write"]),
        ("man --out none", 74, &["none/elman", ".1: cannot write: there is no folder"]),
    ] {
        let output = run(folder, &command.split(' ').collect::<Vec<_>>());
        failure(&output, code, parts);
        assert!(output.stdout.is_empty(), "{command}");
    }
    assert!(fs::read(folder.join("dev")).unwrap() == corpus);
    assert!(fs::read(folder.join("model/weights.safetensors")).unwrap() == weights);
    Model::load(folder.join("model")).unwrap();
}

#[test]
fn reports_and_exports_follow_links_and_write_into_pipes_and_devices() {
    let folder = corpora();
    let folder = folder.path();
    // Names that were once used for files in the making.
    for name in ["page.html.partial", "link.partial"] {
        fs::write(folder.join(name), "notes").unwrap();
    }
    fs::create_dir(folder.join("pages")).unwrap();
    symlink("pages/page.html", folder.join("link")).unwrap();
    mknodat(CWD, folder.join("pipe"), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    success(&train(folder, 1, &["--report", "link"]).output().unwrap());
    assert!(fs::read_to_string(folder.join("pages/page.html")).unwrap().starts_with("<!doctype html>"));
    assert!(fs::symlink_metadata(folder.join("link")).unwrap().is_symlink());
    success(&run(folder, &["evaluate", "--model", "model", "dev", "--report", "/dev/null"]));
    assert!(fs::metadata("/dev/null").unwrap().file_type().is_char_device());
    failure(
        &train(folder, 1, &["--report", "/dev/full"]).output().unwrap(),
        74,
        &["/dev/full: cannot write: No space left"],
    );
    for (format, name) in [("onnx", "m.onnx"), ("torch", "m.safetensors")] {
        let export = |out: &str| run(folder, &["export", "--model", "model", "--to", format, out]);
        success(&export(name));
        success(&export(name)); // a file of its kind is replaced
        // Metadata is in no fixed order.
        let expected = fs::metadata(folder.join(name)).unwrap().len() as usize;
        let reader = std::thread::spawn({
            let pipe = folder.join("pipe");
            move || fs::read(pipe).unwrap()
        });
        success(&export("pipe"));
        assert!(reader.join().unwrap().len() == expected);
        assert!(fs::symlink_metadata(folder.join("pipe")).unwrap().file_type().is_fifo());
        assert!(export("/dev/stdout").stdout.len() == expected);
        symlink(name, folder.join(format)).unwrap();
        success(&export(format));
        assert!(fs::symlink_metadata(folder.join(format)).unwrap().is_symlink());
        assert!(fs::read(folder.join(name)).unwrap().len() == expected);
    }
    // A shell's `>(cat)`.
    let shell = Command::new("bash")
        .current_dir(folder)
        .args(["-c", "\"$0\" export --model model --to onnx >(cat > copy); wait $!"])
        .arg(assert_cmd::cargo::cargo_bin!("elman"))
        .output();
    if let Ok(output) = shell {
        success(&output);
        assert!(
            fs::read(folder.join("copy")).unwrap().len() == fs::read(folder.join("m.onnx")).unwrap().len()
        );
    }
    for name in ["page.html.partial", "link.partial"] {
        assert_eq!(fs::read_to_string(folder.join(name)).unwrap(), "notes");
    }
    assert!(names(folder).iter().all(|name| !name.starts_with('.')), "{:?}", names(folder));
}

#[test]
fn a_search_keeps_to_its_corpora_and_settings_and_to_its_own_folder() {
    let folder = corpora();
    let folder = folder.path();
    let search = |more: &[&str]| {
        let fixed = "search --train train --dev dev --hidden 4 --embed 4 --window 3..3 --epochs 1 --trials 2";
        run(folder, &[&fixed.split(' ').collect::<Vec<_>>(), more].concat())
    };
    let table = success(&search(&["--out", "s", "--lowercase", "--batch", "4", "--recipe", "standard"]));
    assert!(table.contains("model in s/best\n"), "{table}");
    let config = fs::read_to_string(folder.join("s/best/config.toml")).unwrap();
    for setting in ["lowercase = true", "batch = 4", "recipe = \"standard\""] {
        assert!(config.contains(setting), "{config}");
    }
    let same = ["--out", "s", "--lowercase", "--batch", "4", "--recipe", "standard"];
    success(&search(&same));
    failure(
        &search(&["--out", "s", "--batch", "4", "--recipe", "standard"]),
        65,
        &["s/search.toml: lowercase is true, expected false, as is asked for; name another folder"],
    );
    // Removed files are made again: the trials of the earlier search, and the model of the best one.
    let model = fs::read(folder.join("s/best/weights.safetensors")).unwrap();
    fs::remove_dir_all(folder.join("s/best")).unwrap();
    let output = search(&same);
    assert_eq!(output.status.code(), Some(0));
    assert!(text(&output.stderr).starts_with("s/best: the model of trial "), "{}", text(&output.stderr));
    assert!(fs::read(folder.join("s/best/weights.safetensors")).unwrap() == model);
    // Another corpus; one that differs in its development part alone.
    fs::copy(folder.join("train"), folder.join("other")).unwrap();
    failure(&search(&[&same[..], &["--config", "other.toml"]].concat()), 74, &["other.toml"]);
    fs::write(folder.join("other.toml"), "[search]\n").unwrap();
    let original = fs::read(folder.join("dev")).unwrap();
    write_corpus(&folder.join("dev"), 3, 8);
    failure(&search(&same), 65, &["s/search.toml: the search of other corpora, expected a search of these"]);
    fs::write(folder.join("dev"), original).unwrap();
    success(&search(&same));

    // Two at the same time.
    let claim = Claim::new(folder.join("s"), "search", &["trials.jsonl", "search.toml", "best/"]).unwrap();
    let holder = format!("process {} is writing", std::process::id());
    failure(&search(&same), 74, &["s: cannot lock: ", &holder]);
    drop(claim);
    // A model folder, and any folder with other things in it.
    success(&train(folder, 1, &[]).output().unwrap());
    failure(&search(&["--out", "model"]), 65, &["model: the folder holds ", ", which no search has"]);
    failure(&search(&["--out", "."]), 65, &[".: the folder holds "]);
    assert_eq!(names(&folder.join("model")).len(), 5);
    Model::load(folder.join("model")).unwrap();

    // Where every training diverges, there is no model.
    let output = search(&["--out", "d", "--lr", "1e37..1e37"]);
    failure(&output, 1, &["trials: expected one that does not diverge, found none"]);
    assert!(text(&output.stdout).contains("the best first; no model: every training diverged"));
    assert!(!folder.join("d/best").exists());
    success(&search(&["--out", "g", "--cell", "gru", "--scheme", "iob2"]));
    let config = fs::read_to_string(folder.join("g/best/config.toml")).unwrap();
    assert!(config.contains("cell = \"gru\"") && config.contains("scheme = \"iob2\""), "{config}");
    failure(&search(&["--out", "g"]), 65, &["g/search.toml: cell is \"gru\", expected \"elman\""]);
    failure(
        &search(&["--out", "n", "--cell", "gru", "--activation", "relu"]),
        2,
        &["--activation with --cell gru"],
    );
    success(&search(&["--out", "j", "--network", "jordan", "--digits"]));
    assert!(fs::read_to_string(folder.join("j/best/config.toml")).unwrap().contains("network = \"jordan\""));
}

#[test]
fn threads_beyond_the_processors_are_used_only_if_that_is_asked_for() {
    let folder = corpora();
    let folder = folder.path();
    let with = |more: &[&str]| {
        let output = train(folder, 1, more).output().unwrap();
        assert_eq!(output.status.code(), Some(0));
        text(&output.stderr)
    };
    let note = with(&["--threads", "1024"]);
    assert!(note.starts_with("--threads 1024: ") && note.contains("--oversubscribe"), "{note}");
    assert_eq!(note.lines().count(), 1);
    assert_eq!(with(&["--threads", "1"]), "");
    assert_eq!(with(&["--threads", "9", "--oversubscribe", "--batch", "12"]), "");
}
