//! Trains, saves, goes on from checkpoints, reads models and tags, in a loop, and watches the memory:
//! `cargo run --release -p elman-fuzz --example soak -- MINUTES`. Fails if it grows.

use std::fs;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use elman_fast::Fast;
use elman_tagger::{Checkpoint, Error, Model, Pipeline, TrainConfig, Trainer, travel};

/// By how much memory may differ from what it was after the first tenth of the time: the allocator's pages.
const GROWTH: u64 = 2 << 20;

/// Rounds before the memory counts at all: every form of a round has then been run several times.
const WARM: u64 = 10;

/// The resident memory of this process, in bytes.
fn resident() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("the soak needs Linux's /proc");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("a line VmRSS");
    1024 * line
        .split_whitespace()
        .nth(1)
        .and_then(|kilobytes| kilobytes.parse::<u64>().ok())
        .expect("a number")
}

/// One round; words tagged. Rounds differ in their seeds, not in their sizes.
fn round(number: u64, folder: &std::path::Path) -> Result<usize, Error> {
    let (train, dev) = (travel::corpus(2 * number, 200), travel::corpus(2 * number + 1, 60));
    let config = TrainConfig {
        hidden: 48,
        embed: 24,
        epochs: 4,
        batch: 1 + number as usize % 2 * 7,
        learning_rate: 0.2,
        seed: number,
        ..TrainConfig::default()
    };
    let network = Fast::new().threads(1 + number as usize % 2)?;
    let mut trainer = Trainer::new(&network, config.clone(), &train, &dev)?;
    while !trainer.is_finished() {
        trainer.run_epoch(&mut |_| {})?;
        if let Some(checkpoint) = trainer.checkpoint() {
            let path = folder.join("model.checkpoint");
            checkpoint.save(&path)?;
            if let Some(checkpoint) = Checkpoint::load(&path)? {
                trainer = Trainer::new(&network, config.clone(), &train, &dev)?.resume(checkpoint)?;
            }
        }
    }
    let history = trainer.history().to_vec();
    trainer.into_model().save(folder.join("model"), &history)?;
    let mut pipeline = Pipeline::new(&Model::load(folder.join("model"))?, &network)?;
    let mut words = 0;
    for sentence in &train {
        words += pipeline.tag(sentence.words())?.len();
    }
    pipeline.evaluate(&dev)?;
    Ok(words)
}

fn main() -> ExitCode {
    let minutes: f64 = std::env::args().nth(1).and_then(|minutes| minutes.parse().ok()).unwrap_or(60.0);
    let time = Duration::from_secs_f64(60.0 * minutes);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (start, mut said) = (Instant::now(), Instant::now());
    let (mut rounds, mut words) = (0, 0);
    let (mut first, mut most) = (None, 0);
    while start.elapsed() < time {
        match round(rounds, folder.path()) {
            Ok(tagged) => words += tagged,
            Err(error) => {
                println!("round {rounds}: {error}");
                return ExitCode::FAILURE;
            }
        }
        rounds += 1;
        let now = resident();
        if start.elapsed() > time / 10 && rounds >= WARM {
            first.get_or_insert(now);
            most = most.max(now);
        }
        if said.elapsed() > Duration::from_secs(60) {
            said = Instant::now();
            println!(
                "{:5.1} min: {rounds} rounds, {:.2} MiB",
                start.elapsed().as_secs_f64() / 60.0,
                mib(now)
            );
        }
    }
    let (first, last) = (first.unwrap_or(0), resident());
    println!(
        "{:.1} minutes, {rounds} rounds, {words} words tagged; {:.2} MiB after a tenth of the time, at most {:.2}, \
         at the end {:.2}",
        start.elapsed().as_secs_f64() / 60.0,
        mib(first),
        mib(most),
        mib(last)
    );
    if rounds < 3 * WARM {
        println!("too few rounds to say anything; give it more time");
        return ExitCode::FAILURE;
    }
    if last > first + GROWTH {
        println!("the memory has grown by more than {:.0} MiB", mib(GROWTH));
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
