//! How time and memory grow with words, vocabulary, hidden width, sentence length, classes and threads.
//!
//!     cargo run --release -p elman-benches --bin growth
//!
//! writes a figure of time and one of memory for each, growth.json, and a table of fitted exponents: with an
//! exponent e, twice as much takes 2^e times as long. Fails if a step is worse than linear in words or in the
//! length of a sentence. Each point is measured by a process of its own, so that its memory is its own. Times are
//! those of the thread on a core, except for threads.
#![forbid(unsafe_code)]

use std::fs::File;
use std::hint::black_box;
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use clap::{Parser, ValueEnum};
use elman::{Batch, Network, Params, Sentences, Shape, Update};
use elman_benches::chart::{Figure, Mark, Series, exponent};
use elman_benches::protocol::{Failure, peak_memory};
use elman_benches::{Stream, labelled, least_cpu_seconds, least_seconds, machine, write_whole};
use elman_fast::Fast;
use elman_tagger::{
    ConllWriter, Evaluation, Labels, Normalization, TaggedSentence, Vocabulary, read_conll, travel,
};
use serde::{Deserialize, Serialize};
use serde_json::json;

/// Measures how time and memory grow.
#[derive(Parser)]
struct Arguments {
    /// Folder for the figures and growth.json.
    #[arg(long, default_value = "target/growth")]
    out: PathBuf,
    /// What grows; by default everything, one after the other.
    #[arg(long, value_enum, value_delimiter = ',')]
    axes: Vec<Axis>,
    /// Seconds for each figure, and at least three runs.
    #[arg(long, default_value_t = 0.2)]
    budget: f64,
    /// How far above 1 an exponent may be that should be 1.
    #[arg(long, default_value_t = 0.2)]
    tolerance: f64,
    /// Leaves out the largest sizes: to try it out.
    #[arg(long)]
    quick: bool,
    /// Measures one point, prints it as JSON, and ends: what the program itself calls.
    #[arg(long, hide = true)]
    point: Option<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Axis {
    Text,
    Words,
    Vocab,
    Hidden,
    Length,
    Classes,
    Threads,
}

impl Axis {
    fn name(self) -> &'static str {
        match self {
            Axis::Text => "text",
            Axis::Words => "words",
            Axis::Vocab => "vocab",
            Axis::Hidden => "hidden",
            Axis::Length => "length",
            Axis::Classes => "classes",
            Axis::Threads => "threads",
        }
    }

    fn title(self) -> &'static str {
        match self {
            Axis::Text => "words of a corpus, read and looked up",
            Axis::Words => "words of a corpus, learned and tagged",
            Axis::Vocab => "words of the vocabulary",
            Axis::Hidden => "width of the hidden state",
            Axis::Length => "words of one sentence",
            Axis::Classes => "classes",
            Axis::Threads => "threads",
        }
    }

    /// The sizes; for text and words, those of sentences, of which each has about fifteen words.
    ///
    /// Text goes on until a corpus is far larger than any cache: while it leaves one, a word costs more.
    fn sizes(self, quick: bool) -> Vec<usize> {
        let all = match self {
            Axis::Text => (0..10).map(|i| 500 << i).collect(),
            Axis::Words => vec![125, 250, 500, 1000, 2000, 4000, 8000],
            Axis::Vocab => vec![1000, 10_000, 100_000, 1_000_000],
            Axis::Hidden => vec![64, 128, 256, 512, 1024, 2048],
            Axis::Length => vec![1, 3, 10, 30, 100, 300, 1000, 3000, 10_000],
            Axis::Classes => vec![2, 8, 32, 128, 512, 2048],
            Axis::Threads => {
                let cores = std::thread::available_parallelism().map_or(1, usize::from);
                let mut counts: Vec<usize> =
                    (0..).map(|i| 1 << i).take_while(|count| *count < cores).collect();
                counts.push(cores);
                counts
            }
        };
        let keep = if quick { all.len().min(3) } else { all.len() };
        all[..keep].to_vec()
    }

    /// Whether the work is in proportion to the size, so that an exponent above 1 is a fault.
    fn linear(self) -> bool {
        matches!(self, Axis::Text | Axis::Words | Axis::Length)
    }
}

/// The tutorial's sizes.
const SHAPE: Shape = Shape { vocab: 572, embed: 50, window: 7, hidden: 200, classes: 127, ..Shape::ELMAN };

/// What was measured at one size.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Point {
    size: usize,
    /// Seconds by step.
    seconds: Vec<(String, f64)>,
    /// The largest resident set of the process, where the system tells.
    peak_bytes: Option<u64>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let outcome = match (arguments.point, arguments.axes.as_slice()) {
        (Some(size), [axis]) => one(*axis, size, &arguments),
        (Some(_), _) => Err("--point needs one axis".into()),
        (None, _) => all(&arguments),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn one(axis: Axis, size: usize, arguments: &Arguments) -> Result<(), Failure> {
    let (size, seconds) = match axis {
        Axis::Text => text(size, arguments)?,
        Axis::Words => words(size, arguments)?,
        Axis::Threads => (size, threads(size, arguments.budget)?),
        axis => (size, network(axis, size, arguments.budget)?),
    };
    let seconds = seconds.into_iter().map(|(step, seconds)| (step.to_string(), seconds)).collect();
    println!("{}", serde_json::to_string(&Point { size, seconds, peak_bytes: peak_memory()? })?);
    Ok(())
}

type Seconds = Vec<(&'static str, f64)>;

/// A corpus, read from a file.
fn corpus(sentences: usize, arguments: &Arguments) -> Result<(Vec<TaggedSentence>, f64), Failure> {
    let path = arguments.out.join(format!("growth-{}.conll", std::process::id()));
    let mut writer = ConllWriter::new(BufWriter::new(File::create(&path)?), &path);
    for sentence in travel::corpus(1, sentences) {
        writer.write(sentence.words(), sentence.tags())?;
    }
    writer.flush()?;
    drop(writer);
    let read = read_conll(&path);
    let reading = least_cpu_seconds(arguments.budget, || drop(black_box(read_conll(&path))));
    std::fs::remove_file(&path)?;
    Ok((read?, reading))
}

/// What a corpus goes through outside the network; returns its number of words.
fn text(sentences: usize, arguments: &Arguments) -> Result<(usize, Seconds), Failure> {
    let budget = arguments.budget;
    let (corpus, reading) = corpus(sentences, arguments)?;
    let counting = least_cpu_seconds(budget, || {
        black_box((Vocabulary::new(&corpus, Normalization::default()), Labels::new(&corpus)));
    });
    let (vocabulary, labels) = (Vocabulary::new(&corpus, Normalization::default()), Labels::new(&corpus));
    let look_up = || labelled(&corpus, &vocabulary, &labels);
    look_up()?;
    let looking_up = least_cpu_seconds(budget, || drop(black_box(look_up())));
    // Against tags that are right but for the last word's.
    let evaluate = || {
        let mut evaluation = Evaluation::default();
        for sentence in &corpus {
            let mut found = sentence.tags().to_vec();
            if let Some(tag) = found.last_mut() {
                *tag = "O".to_string();
            }
            evaluation.add(sentence.tags(), &found)?;
        }
        Ok::<_, Failure>(evaluation)
    };
    evaluate()?;
    let evaluating = least_cpu_seconds(budget, || drop(black_box(evaluate())));
    let words = corpus.iter().map(|sentence| sentence.words().len()).sum();
    let seconds =
        vec![("read", reading), ("vocabulary", counting), ("look up", looking_up), ("evaluate", evaluating)];
    Ok((words, seconds))
}

/// Training on a corpus and tagging it; returns its number of words.
fn words(sentences: usize, arguments: &Arguments) -> Result<(usize, Seconds), Failure> {
    let corpus = travel::corpus(1, sentences);
    let (vocabulary, labels) = (Vocabulary::new(&corpus, Normalization::default()), Labels::new(&corpus));
    let sentences = labelled(&corpus, &vocabulary, &labels)?;
    let train = sentences.batch();
    let params =
        Params::<f32>::init(Shape { vocab: vocabulary.size(), classes: labels.size(), ..SHAPE }, 42)?;
    let least = |call: &mut dyn FnMut()| least_cpu_seconds(arguments.budget, call);
    Ok((train.words().len(), train_and_tag(&Fast::new(), &params, train, least)?))
}

/// A training epoch with a step for each sentence and one with a step for each 32, and tagging both ways.
fn train_and_tag(
    fast: &Fast,
    params: &Params<f32>,
    train: Batch<'_>,
    least: impl Fn(&mut dyn FnMut()) -> f64,
) -> Result<Seconds, Failure> {
    let mut learner = fast.learner(params.clone())?;
    let mut update = Update::sgd(0.01);
    let mut epoch = |size: usize| -> Result<f64, Failure> {
        let starts = (0..train.len()).step_by(size);
        let batches: Vec<Batch<'_>> =
            starts.map(|start| train.slice(start..train.len().min(start + size))).collect();
        // The first, untimed, shows that none fails.
        batches.iter().try_for_each(|batch| learner.step(*batch, &mut update).map(drop))?;
        Ok(least(&mut || {
            for batch in &batches {
                black_box(learner.step(*batch, &mut update)).ok();
            }
        }))
    };
    let (sgd, minibatch) = (epoch(1)?, epoch(32)?);
    let mut tagger = fast.tagger(params)?;
    let mut labels = vec![0; train.words().len()];
    tagger.label_all(train, &mut labels)?;
    let one = least(&mut || {
        let mut rest = &mut labels[..];
        for sentence in train.iter() {
            let (places, after) = std::mem::take(&mut rest).split_at_mut(sentence.words.len());
            rest = after;
            black_box(tagger.label(sentence.words, places)).ok();
        }
    });
    let all = least(&mut || drop(black_box(tagger.label_all(train, &mut labels))));
    Ok(vec![
        ("train, a step a sentence", sgd),
        ("train, 32 a step", minibatch),
        ("tag one by one", one),
        ("tag all", all),
    ])
}

/// Ids of a stream, evenly spread.
fn ids(stream: u64, words: usize, limit: usize) -> Vec<u32> {
    (0..words)
        .map(|t| (((f64::from(Stream(stream).entry(t, 1.0)) + 0.5) * limit as f64) as usize % limit) as u32)
        .collect()
}

fn sentences(count: usize, words: usize, shape: &Shape) -> Result<Sentences, Failure> {
    let mut sentences = Sentences::new();
    for i in 0..count as u64 {
        sentences.push(&ids(2 * i, words, shape.vocab), &ids(2 * i + 1, words, shape.classes))?;
    }
    Ok(sentences)
}

/// One size of the network, or one sentence of that length, at the same number of words otherwise.
fn network(axis: Axis, size: usize, budget: f64) -> Result<Seconds, Failure> {
    let mut shape = SHAPE;
    let (mut count, mut length) = (64, 11);
    match axis {
        Axis::Vocab => shape.vocab = size,
        Axis::Hidden => shape.hidden = size,
        Axis::Classes => shape.classes = size,
        _ => (count, length) = (1, size),
    }
    let fast = Fast::new();
    let params = Params::<f32>::init(shape, 42)?;
    let train = sentences(count, length, &shape)?;
    let mut seconds = train_and_tag(&fast, &params, train.batch(), |call| least_cpu_seconds(budget, call))?;
    if axis == Axis::Length {
        // Of one sentence, both ways are the same.
        seconds.retain(|(step, _)| !matches!(*step, "train, 32 a step" | "tag all"));
    }
    if axis == Axis::Vocab {
        let making = least_cpu_seconds(budget, || drop(black_box(fast.learner(params.clone()))));
        seconds.push(("make a learner", making));
    }
    Ok(seconds)
}

fn threads(count: usize, budget: f64) -> Result<Seconds, Failure> {
    let fast = Fast::new().threads(count)?;
    let params = Params::<f32>::init(SHAPE, 42)?;
    let train = sentences(512, 11, &SHAPE)?;
    // Several threads: only the clock on the wall shows what they save.
    train_and_tag(&fast, &params, train.batch(), |call| least_seconds(budget, call))
}

/// The exponent over the larger half of the sizes, where what does not grow no longer matters.
fn growth(points: &[(f64, f64)]) -> Option<f64> {
    exponent(&points[(points.len().saturating_sub(1)) / 2..])
}

fn all(arguments: &Arguments) -> Result<(), Failure> {
    std::fs::create_dir_all(&arguments.out)?;
    let axes = if arguments.axes.is_empty() { Axis::value_variants() } else { &arguments.axes };
    let (mut result, mut faults) = (Vec::new(), Vec::new());
    println!("{:<10} {:<26} {:>8}  smallest and largest", "grows", "step", "exponent");
    for axis in axes {
        let points = measure(*axis, arguments)?;
        let (times, memory) = series(&points);
        let mut steps = Vec::new();
        for (name, line) in &times {
            let exponent = growth(line);
            let (first, last) = (line[0], line[line.len() - 1]);
            let shown = exponent.map_or("-".to_string(), |e| format!("{e:.2}"));
            println!(
                "{:<10} {name:<26} {shown:>8}  {} at {}, {} at {}",
                axis.name(),
                time(first.1),
                first.0,
                time(last.1),
                last.0
            );
            if let Some(e) = exponent.filter(|e| axis.linear() && *e > 1.0 + arguments.tolerance) {
                faults.push(format!(
                    "{name} grows with the {} to the power {e:.2}, allowed {:.2}",
                    axis.title(),
                    1.0 + arguments.tolerance
                ));
            }
            steps.push(json!({ "step": name, "exponent": exponent }));
        }
        let exponent = growth(&memory);
        if let (Some(first), Some(last)) = (memory.first(), memory.last()) {
            let shown = exponent.map_or("-".to_string(), |e| format!("{e:.2}"));
            println!(
                "{:<10} {:<26} {shown:>8}  {:.0} MB at {}, {:.0} MB at {}",
                axis.name(),
                "peak memory",
                first.1,
                first.0,
                last.1,
                last.0
            );
        }
        let name = |what: &str| format!("growth-{}-{what}.svg", axis.name());
        draw(&arguments.out.join(name("time")), *axis, "seconds", times)?;
        if !memory.is_empty() {
            let line = vec![("peak memory of the process".to_string(), memory)];
            draw(&arguments.out.join(name("memory")), *axis, "MB", line)?;
        }
        result.push(json!({
            "axis": axis.name(), "title": axis.title(), "linear": axis.linear(), "points": points,
            "steps": steps, "memory_exponent": exponent,
        }));
    }
    let result = json!({ "machine": machine(), "tolerance": arguments.tolerance, "axes": result });
    write_whole(&arguments.out.join("growth.json"), &(serde_json::to_string_pretty(&result)? + "\n"))?;
    if faults.is_empty() { Ok(()) } else { Err(format!("worse than linear:\n{}", faults.join("\n")).into()) }
}

fn time(seconds: f64) -> String {
    for (unit, factor) in [("s", 1.0), ("ms", 1e3), ("µs", 1e6)] {
        if seconds * factor >= 1.0 {
            return format!("{:.3} {unit}", seconds * factor);
        }
    }
    format!("{:.0} ns", seconds * 1e9)
}

/// Each point by a process of its own.
fn measure(axis: Axis, arguments: &Arguments) -> Result<Vec<Point>, Failure> {
    let program = std::env::current_exe()?;
    let mut points = Vec::new();
    for size in axis.sizes(arguments.quick) {
        let output = Command::new(&program)
            .args([
                "--axes",
                axis.name(),
                "--point",
                &size.to_string(),
                "--budget",
                &arguments.budget.to_string(),
            ])
            .arg("--out")
            .arg(&arguments.out)
            .output()?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            return Err(format!("{} {size}: {}, {}", axis.name(), output.status, said.trim()).into());
        }
        points.push(serde_json::from_slice(&output.stdout)?);
    }
    Ok(points)
}

type Lines = Vec<(String, Vec<(f64, f64)>)>;

/// The times by step, and the memory in MB, over the sizes.
fn series(points: &[Point]) -> (Lines, Vec<(f64, f64)>) {
    let mut times: Lines = Vec::new();
    for point in points {
        for (step, seconds) in &point.seconds {
            let place = (point.size as f64, *seconds);
            match times.iter_mut().find(|(name, _)| name == step) {
                Some((_, line)) => line.push(place),
                None => times.push((step.clone(), vec![place])),
            }
        }
    }
    let memory = points.iter().filter_map(|p| Some((p.size as f64, p.peak_bytes? as f64 / 1e6))).collect();
    (times, memory)
}

fn draw(path: &Path, axis: Axis, unit: &str, lines: Lines) -> Result<(), Failure> {
    let series = lines.into_iter().enumerate().map(|(i, (name, points))| {
        let fitted = growth(&points).map_or(String::new(), |e| format!(": exponent {e:.2}"));
        Series { name: name + &fitted, points, mark: Mark::Points, colour: i }
    });
    let what = if unit == "MB" { "memory" } else { "time" };
    let figure = Figure {
        title: format!("{what} over {}", axis.title()),
        x: axis.title().to_string(),
        y: unit.to_string(),
        size: (560, if unit == "MB" { 380 } else { 440 }),
        series: series.collect(),
    };
    Ok(write_whole(path, &figure.svg()?)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_grow_is_not_in_the_exponent() {
        // A start of one second hides the linear term at small sizes.
        let line = |power: i32| -> Vec<(f64, f64)> {
            (0..9).map(|i| 10f64.powi(i)).map(|n| (n, 1.0 + 1e-3 * n.powi(power))).collect()
        };
        assert!((growth(&line(1)).unwrap() - 1.0).abs() < 0.15);
        assert!(growth(&line(2)).unwrap() > 1.8);
        assert_eq!(growth(&[]), None);
    }

    #[test]
    fn a_point_is_what_its_process_prints() {
        let point = Point { size: 3, seconds: vec![("read".into(), 0.5)], peak_bytes: Some(2_000_000) };
        let read: Point = serde_json::from_str(&serde_json::to_string(&point).unwrap()).unwrap();
        let (times, memory) = series(&[read]);
        assert_eq!((times, memory), (vec![("read".to_string(), vec![(3.0, 0.5)])], vec![(3.0, 2.0)]));
    }
}
