//! Trainings that do not reach their end: killed, interrupted, or refused by the system.
#![cfg(unix)]

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use assert_cmd::cargo::cargo_bin;
use elman_tagger::{Checkpoint, ConllWriter, Model, travel};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGXCPU};
use signal_hook::flag;
use tempfile::TempDir;

const FILES: [&str; 4] = ["config.toml", "labels.txt", "vocab.txt", "weights.safetensors"];

fn corpora(sentences: usize) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let train = travel::corpus(1, sentences);
    // No tag of the development corpus is news to training.
    let known = |tag: &String| train.iter().any(|sentence| sentence.tags().contains(tag));
    let mut dev = travel::corpus(2, 200);
    dev.retain(|sentence| sentence.tags().iter().all(known));
    dev.truncate(8);
    for (name, corpus) in [("train", &train), ("dev", &dev)] {
        let path = folder.path().join(name);
        let mut writer = ConllWriter::new(fs::File::create(&path).unwrap(), &path);
        for sentence in corpus {
            writer.write(sentence.words(), sentence.tags()).unwrap();
        }
    }
    folder
}

const TRAIN: &str =
    "train --train train --dev dev --model model --hidden 16 --embed 8 --window 3 --lr 0.3 --epochs";

/// A training of so many epochs, with more options, or with others in the place of its own.
fn train(folder: &Path, epochs: usize, more: &str) -> Command {
    let more: Vec<&str> = more.split(' ').filter(|option| !option.is_empty()).collect();
    let own: Vec<&str> = TRAIN.split(' ').collect();
    let (own, last) = own.split_at(own.len() - 1);
    let mut command = Command::new(cargo_bin!("elman"));
    command.current_dir(folder).arg(own[0]);
    command.args(own[1..].chunks(2).filter(|option| !more.contains(&option[0])).flatten());
    command.args(last).arg(epochs.to_string()).args(more);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// The same, from a shell that sets limits first.
fn limited(folder: &Path, limits: &str, epochs: usize, more: &str) -> Output {
    let program = cargo_bin!("elman");
    Command::new("sh")
        .current_dir(folder)
        .args(["-c", &format!("{limits}; exec \"$0\" {TRAIN} {epochs} {more}")])
        .arg(program)
        .output()
        .unwrap()
}

fn code_and_message(output: &Output) -> (Option<i32>, String) {
    (output.status.code(), String::from_utf8(output.stderr.clone()).unwrap())
}

fn model(folder: &Path) -> Vec<Vec<u8>> {
    FILES.map(|name| fs::read(folder.join("model").join(name)).unwrap()).to_vec()
}

/// A child ignores the signals that its parent ignores, and this test may run under `nohup` or in a script's `&`. A
/// signal that has a handler here is at its default in a child.
fn heed_signals() {
    for signal in [SIGINT, SIGTERM, SIGHUP, SIGUSR1, SIGXCPU] {
        flag::register_conditional_default(signal, Arc::new(AtomicBool::new(true))).unwrap();
    }
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Killed (SIGKILL) at random moments and resumed, a training ends in the very model of one that was never
/// interrupted; at no moment is there a model or a checkpoint that cannot be read.
///
/// `ELMAN_KILLS=200 cargo test -p elman-cli --test interrupted killed -- --nocapture` for more of them.
#[test]
fn killed_and_resumed_it_ends_in_the_same_bits() {
    let kills: u32 = std::env::var("ELMAN_KILLS").map_or(12, |number| number.parse().unwrap());
    let epochs = 12;
    let folder = corpora(20);
    let folder = folder.path();
    let start = Instant::now();
    let output = train(folder, epochs, "--checkpoint-every 1").output().unwrap();
    assert_eq!(code_and_message(&output), (Some(0), String::new()));
    let (expected, time) = (model(folder), start.elapsed());
    let first = fs::read_to_string(folder.join("model/config.toml")).unwrap();
    assert!(first.contains("epochs = 12"), "{first}");

    // A generator of its own: the moments differ from kill to kill, and are the same in each run of the test.
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut random = move || {
        state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        (state >> 40) as f64 / (1u64 << 24) as f64
    };
    let (mut killed, mut trainings, mut found, mut written, mut empty) = (0, 0, 0, 0, 0);
    while killed < kills {
        trainings += 1;
        fs::remove_dir_all(folder.join("model")).unwrap();
        fs::remove_dir_all(folder.join("model.checkpoint")).unwrap();
        // Killed again and again, until it gets through.
        loop {
            let mut child = train(folder, epochs, "--checkpoint-every 1 --resume").spawn().unwrap();
            let moment = Instant::now() + time.mul_f64(0.7 * random());
            // Not one long sleep: on a busy machine `time` can be far more than this training takes.
            let ended = loop {
                if child.try_wait().unwrap().is_some() {
                    break true;
                }
                let left = moment.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    break false;
                }
                std::thread::sleep(left.min(Duration::from_millis(5)));
            };
            if !ended && killed < kills {
                child.kill().unwrap();
                killed += 1;
            }
            let output = child.wait_with_output().unwrap();
            match Checkpoint::load(folder.join("model.checkpoint")).expect("a checkpoint that can be read") {
                Some(_) => found += 1,
                None => empty += 1,
            }
            // A folder may be there that holds no more than the lock of the killed process.
            if ["config.toml", ".elman-next"].iter().any(|name| folder.join("model").join(name).exists()) {
                Model::load(folder.join("model")).expect("a model that can be read");
                written += 1;
            }
            if output.status.success() {
                break;
            }
            assert_eq!(output.status.code(), None, "{:?}", code_and_message(&output));
        }
        assert!(model(folder) == expected, "after {killed} kills, other bits");
        assert_eq!(names(folder), ["dev", "model", "model.checkpoint", "train"]);
    }
    println!(
        "{killed} kills in {trainings} trainings: {found} times a checkpoint was there, {empty} times none yet, \
         {written} times a model; none unreadable, and each training ended in the same bits"
    );
    assert!(found > 0);
}

#[test]
fn an_interrupt_saves_the_best_model_and_ends_with_130() {
    heed_signals();
    for signal in ["INT", "TERM", "HUP", "XCPU", "USR1"] {
        // So many epochs that it cannot end before the signal comes.
        let folder = corpora(40);
        let folder = folder.path();
        let mut child =
            train(folder, 50_000, "--json --checkpoint-every 20000 --recipe standard").spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        for _ in 0..3 {
            assert!(lines.next().unwrap().unwrap().starts_with("{\"epoch\":"));
        }
        assert!(
            Command::new("kill").args(["-s", signal, &child.id().to_string()]).status().unwrap().success()
        );
        let rest: Vec<String> = lines.map(Result::unwrap).collect();
        let output = child.wait_with_output().unwrap();
        let (code, message) = code_and_message(&output);
        assert_eq!(code, Some(130), "{message}");
        assert!(message.starts_with("training was interrupted in epoch "), "{message}");
        let last = rest.last().unwrap();
        assert!(last.contains("\"outcome\":"), "{last}");
        let model = Model::load(folder.join("model")).unwrap();
        assert!(model.outcome().epochs >= 3 && model.outcome().best_epoch >= 1);
        assert_eq!(names(folder), ["dev", "model", "train"]);
    }
}

#[test]
fn an_interrupted_search_keeps_its_trials_and_goes_on() {
    heed_signals();
    let folder = corpora(40);
    let folder = folder.path();
    let search = |trials: usize| {
        let mut command = Command::new(cargo_bin!("elman"));
        let options =
            "search --train train --dev dev --out s --hidden 16 --embed 8 --window 3..3 --epochs 4 --jobs 1";
        command.current_dir(folder).args(options.split(' ')).args(["--trials", &trials.to_string()]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    };
    let trials = || fs::read_to_string(folder.join("s/trials.jsonl")).unwrap().lines().count();
    let mut done = 0;
    for signal in ["INT", "TERM", "HUP"] {
        let mut child = search(900_000).spawn().unwrap();
        // The head, the trials of the search before, and a new one.
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        for _ in 0..done + 2 {
            lines.next().unwrap().unwrap();
        }
        let sent = Command::new("kill").args(["-s", signal, &child.id().to_string()]).status().unwrap();
        assert!(sent.success());
        lines.for_each(|line| drop(line.unwrap()));
        let (code, message) = code_and_message(&child.wait_with_output().unwrap());
        assert_eq!(code, Some(130), "{message}");
        let before = std::mem::replace(&mut done, trials());
        assert!(done > before, "{done} {before}");
        let note = format!("s: {done} of 900000 trials are done; the same command goes on with the others\n");
        assert!(
            message.contains(&note) && message.contains("training was interrupted in epoch "),
            "{message}"
        );
        Model::load(folder.join("s/best")).unwrap();
        assert_eq!(names(&folder.join("s")), ["best", "search.toml", "trials.jsonl"]);
    }
    let output = search(done + 1).output().unwrap();
    assert_eq!(code_and_message(&output), (Some(0), String::new()));
    assert_eq!(trials(), done + 1);
}

/// The lock that a killed process leaves, and a folder that holds nothing else.
#[test]
fn a_folder_that_a_killed_training_left_empty_is_no_model_and_is_trained_into() {
    let folder = corpora(12);
    let folder = folder.path();
    let mut child = train(folder, 50_000, "--recipe standard").spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    lines.next().unwrap().unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(names(&folder.join("model")), [".elman-lock"]);
    let tag = Command::new(cargo_bin!("elman"))
        .current_dir(folder)
        .args(["tag", "--model", "model", "dev"])
        .output()
        .unwrap();
    let (code, message) = code_and_message(&tag);
    assert_eq!(code, Some(74), "{message}");
    assert!(message.contains("the folder has no config.toml, so it is no model"), "{message}");
    assert!(train(folder, 1, "").status().unwrap().success());
    assert_eq!(names(&folder.join("model")).len(), 5);
    Model::load(folder.join("model")).unwrap();
}

#[test]
fn an_interrupt_before_the_first_epoch_is_done_leaves_the_old_model() {
    heed_signals();
    let folder = corpora(3_000);
    let folder = folder.path();
    assert!(train(folder, 1, "--hidden 1 --embed 1 --batch 1000").status().unwrap().success());
    let before = model(folder);
    let mut child = train(folder, 1, "--hidden 400").spawn().unwrap();
    // The head of the table: from here on it trains.
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.next().unwrap().unwrap().starts_with("epoch"));
    assert!(Command::new("kill").args(["-s", "INT", &child.id().to_string()]).status().unwrap().success());
    let (code, message) = code_and_message(&child.wait_with_output().unwrap());
    assert_eq!(code, Some(130), "{message}");
    assert!(message.starts_with("training was interrupted in epoch 1, after "), "{message}");
    assert!(model(folder) == before);
}

#[test]
fn a_training_goes_on_where_its_checkpoint_is_or_says_that_there_is_none() {
    let folder = corpora(12);
    let folder = folder.path();
    let run = |epochs, more: &str| code_and_message(&train(folder, epochs, more).output().unwrap());
    assert_eq!(run(6, ""), (Some(0), String::new()));
    let expected = model(folder);
    let none = "model.checkpoint: no checkpoint yet; training starts from the beginning\n";
    assert_eq!(run(3, "--resume --checkpoint-every 2"), (Some(0), none.to_owned()));
    // After the last epoch too.
    assert_eq!(Checkpoint::load(folder.join("model.checkpoint")).unwrap().unwrap().history().len(), 3);
    let output = train(folder, 6, "--resume").output().unwrap();
    assert_eq!(code_and_message(&output), (Some(0), String::new()));
    assert_eq!(String::from_utf8(output.stdout).unwrap().lines().count(), 8, "a head, 6 epochs, the outcome");
    assert!(model(folder) == expected);

    let refused = |more: &str, part: &str| {
        let (code, message) = run(6, more);
        assert_eq!(code, Some(65), "{message}");
        assert!(
            message.starts_with("model.checkpoint/checkpoint.toml: ") && message.contains(part),
            "{message}"
        );
    };
    refused("--resume --seed 7", "seed is 345, expected 7, as in the training that is to go on");
    fs::copy(folder.join("dev"), folder.join("train")).unwrap();
    refused("--resume", "other corpora");
    fs::write(folder.join("model.checkpoint/checkpoint.toml"), "format = 1\n").unwrap();
    refused("--resume", "SHA-256 ");
    assert!(model(folder) == expected);
}

/// The system's limit on the size of a file stands for a full disk: writing fails in the middle of a file.
#[test]
fn a_write_that_fails_ends_with_74_and_leaves_model_and_checkpoint_whole() {
    let folder = corpora(12);
    let folder = folder.path();
    let output = train(folder, 2, "--checkpoint-every 1").output().unwrap();
    assert_eq!(code_and_message(&output), (Some(0), String::new()));
    let (before, checkpoint) =
        (model(folder), fs::read(folder.join("model.checkpoint/current.safetensors")).unwrap());
    // Blocks of 512 bytes. The signal of the limit would end the program before it can say anything.
    for (more, name) in [("", "model: "), ("--checkpoint-every 1", "model.checkpoint: ")] {
        let output = limited(folder, "ulimit -f 4", 4, more);
        let (code, message) = code_and_message(&output);
        assert_eq!(code, Some(74), "{message}");
        assert!(message.contains(&format!("{name}cannot write: File too large")), "{message}");
        assert!(model(folder) == before);
        assert_eq!(fs::read(folder.join("model.checkpoint/current.safetensors")).unwrap(), checkpoint);
        assert_eq!(names(folder), ["dev", "model", "model.checkpoint", "train"]);
    }
}

/// Where nothing can be written, that is said before the first epoch.
#[cfg(target_os = "linux")]
#[test]
fn a_folder_that_cannot_be_written_is_named_at_once() {
    let folder = corpora(12);
    let output = train(folder.path(), 2, "--model /proc/model").output().unwrap();
    let (code, message) = code_and_message(&output);
    assert_eq!(code, Some(74), "{message}");
    assert!(message.starts_with("/proc/model: cannot create: "), "{message}");
    assert!(output.stdout.is_empty());
}

/// Files of some hundred bytes that claim to be large: refused within little memory, and at once.
#[cfg(target_os = "linux")]
#[test]
fn a_small_file_takes_no_memory() {
    let folder = corpora(4);
    let folder = folder.path();
    assert!(train(folder, 1, "--checkpoint-every 1").status().unwrap().success());
    let within = |arguments: &str, file: &str| {
        let start = Instant::now();
        let output = Command::new("sh")
            .current_dir(folder)
            .args(["-c", &format!("ulimit -v 400000; exec \"$0\" {arguments}")])
            .arg(cargo_bin!("elman"))
            .output()
            .unwrap();
        let (code, message) = code_and_message(&output);
        assert_eq!(code, Some(65), "{message}");
        assert!(message.contains(file), "{message}");
        assert!(start.elapsed() < Duration::from_secs(60));
    };
    let config = fs::read_to_string(folder.join("model/config.toml")).unwrap();
    for (name, value) in [
        ("hidden = 16", "hidden = 16000"),
        ("hidden = 16", "hidden = 32768"),
        ("embed = 8", "embed = 20000"),
        ("window = 3", "window = 999"),
        ("vocab = ", "vocab = 9"),
        ("vocab = ", "vocab = 99999999"),
        ("classes = ", "classes = 9"),
        ("classes = ", "classes = 99999999"),
    ] {
        assert!(config.contains(name), "{config}");
        fs::write(folder.join("model/config.toml"), config.replacen(name, value, 1)).unwrap();
        within("evaluate --model model dev", "model/");
    }
    fs::write(folder.join("model/config.toml"), config).unwrap();
    // The header says that it is as long as it may be, and then as long as can be.
    for length in [65_536u64, 1 << 40, u64::MAX] {
        let header = [&length.to_le_bytes()[..], &[b'{'; 92]].concat();
        fs::write(folder.join("model/weights.safetensors"), &header).unwrap();
        within("evaluate --model model dev", "model/weights.safetensors: ");
        fs::write(folder.join("model.checkpoint/current.safetensors"), header).unwrap();
        within(&format!("{TRAIN} 1 --resume"), "model.checkpoint/current.safetensors: ");
    }
}
