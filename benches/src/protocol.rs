//! How the programs of the comparison talk to its runner, and what a system implements to take part.

use std::collections::BTreeMap;
use std::error::Error as StdError;
use std::io::{self, BufRead, Write};
use std::path::PathBuf;
use std::time::Instant;

use elman::ndarray::{Array2, ArrayD};
use elman::{Batch, Cell, Error, LayerParams, LayerShape, Name, Sentences, Tagger};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{Stream, Workload, fingerprint};

/// Why a system did not do what it was asked for.
pub type Failure = Box<dyn StdError + Send + Sync>;

/// What a system says about itself.
#[derive(Clone, Debug, Serialize)]
pub struct Hello {
    /// Its name in the tables.
    pub name: String,
    /// How it is used, in a few words.
    pub what: String,
    /// The version of each package that matters.
    pub versions: BTreeMap<String, String>,
    /// What it can do, by the names of the protocol.
    pub works: Vec<&'static str>,
    /// Those of `works` whose numbers are not the network's.
    pub unchecked: Vec<&'static str>,
}

/// Everything a system can be asked to measure.
pub const WORKS: [&str; 11] = [
    "sgd_epoch",
    "minibatch_epoch",
    "tag_one",
    "tag_all",
    "recurrence_forward",
    "recurrence_backward",
    "gru_forward",
    "gru_backward",
    "lstm_forward",
    "lstm_backward",
    "first_tag",
];

/// A system at the work of the comparison. What it makes is made before the clock starts.
pub trait System {
    /// What it is and can do; asked for nothing else.
    fn hello(&self) -> Hello;

    /// Trains from `workload.params`, one step for each batch.
    ///
    /// # Errors
    /// The system cannot.
    fn trainer<'a>(
        &'a self,
        workload: &'a Workload,
        batches: Vec<Batch<'a>>,
    ) -> Result<Box<dyn Trainer + 'a>, Failure> {
        let _ = (workload, batches);
        Err(self.cannot("train"))
    }

    /// Tags with `workload.trained`.
    ///
    /// # Errors
    /// The system cannot.
    fn tagger(&self, workload: &Workload) -> Result<Box<dyn Labeller>, Failure> {
        let _ = workload;
        Err(self.cannot("tag"))
    }

    /// Computes the recurrence alone, of the cell of the inputs: Elman's, the GRU or the LSTM.
    ///
    /// # Errors
    /// The system cannot.
    fn recurrence<'a>(&'a self, inputs: &'a Inputs) -> Result<Box<dyn Run + 'a>, Failure> {
        let _ = inputs;
        Err(self.cannot("compute the recurrence alone"))
    }

    /// The error of what it does not do.
    fn cannot(&self, what: &str) -> Failure {
        format!("{} does not {what}", self.hello().name).into()
    }
}

/// A training that has been prepared.
pub trait Trainer {
    /// One epoch; the sum over the sentences of the loss before each step.
    ///
    /// # Errors
    /// The system's own.
    fn epoch(&mut self, lr: f32) -> Result<f64, Failure>;
}

/// A tagger that has been prepared.
pub trait Labeller {
    /// The labels of one sentence; `labels` has a place for each word.
    ///
    /// # Errors
    /// The system's own.
    fn label(&mut self, words: &[u32], labels: &mut [u32]) -> Result<(), Failure>;

    /// The labels of many sentences, one sentence after the other; `labels` has a place for each word.
    ///
    /// # Errors
    /// The system's own.
    fn label_all(&mut self, sentences: Batch<'_>, labels: &mut [u32]) -> Result<(), Failure>;
}

impl Labeller for Box<dyn Tagger<f32>> {
    fn label(&mut self, words: &[u32], labels: &mut [u32]) -> Result<(), Failure> {
        Ok(self.as_mut().label(words, labels)?)
    }

    fn label_all(&mut self, sentences: Batch<'_>, labels: &mut [u32]) -> Result<(), Failure> {
        Ok(self.as_mut().label_all(sentences, labels)?)
    }
}

/// The recurrence alone, prepared.
pub trait Run {
    /// The work that is timed: `h`, and with `backward` also the gradients of xs and of every tensor of the layer.
    ///
    /// # Errors
    /// The system's own.
    fn run(&mut self, backward: bool) -> Result<(), Failure>;

    /// The same, not timed: each tensor by its name, `h` and `xs` as `[batch · steps, …]`, sequence after
    /// sequence.
    ///
    /// # Errors
    /// The system's own.
    fn results(&mut self, backward: bool) -> Result<Vec<(&'static str, ArrayD<f32>)>, Failure>;
}

/// What the recurrence alone is given.
#[derive(Clone, Debug)]
pub struct Inputs {
    /// Number of sequences.
    pub batch: usize,
    /// Length of each.
    pub steps: usize,
    /// The weights, and the cell.
    pub params: LayerParams<f32>,
    /// `[batch · steps, input]`, sequence after sequence.
    pub xs: Array2<f32>,
    /// `[batch · steps, hidden]`, the derivative of a loss by `h`, likewise.
    pub dh: Array2<f32>,
}

impl Inputs {
    /// The inputs of that size, the same for every system.
    ///
    /// # Errors
    /// A size is not possible.
    pub fn new(batch: usize, shape: LayerShape, steps: usize) -> Result<Self, Error> {
        let mut params = LayerParams::zeros(shape)?;
        for (name, mut tensor) in params.tensors_mut() {
            let (stream, width) = match name {
                Name::Wx => (Stream(0), 0.25),
                Name::Wh => (Stream(1), 0.25),
                Name::Bh => (Stream(2), 0.25),
                Name::H0 => (Stream(3), 1.0),
                Name::Bhn => (Stream(6), 0.25),
                Name::C0 => (Stream(7), 1.0),
                other => return Err(Error::unsupported("tensor", "one of a layer", other)),
            };
            stream.fill(&mut tensor, width);
        }
        Ok(Inputs {
            batch,
            steps,
            params,
            xs: Stream(4).tensor((batch * steps, shape.input), 2.0),
            dh: Stream(5).tensor((batch * steps, shape.hidden), 2.0),
        })
    }
}

#[derive(Deserialize)]
#[serde(tag = "work", rename_all = "snake_case", deny_unknown_fields)]
enum Request {
    Hello,
    SgdEpoch { file: PathBuf, sentences: usize, lr: f32 },
    MinibatchEpoch { file: PathBuf, sentences: usize, lr: f32, batch: usize },
    TagOne { file: PathBuf, sentences: usize, labels: bool },
    TagAll { file: PathBuf, sentences: usize, labels: bool },
    FirstTag { file: PathBuf },
    RecurrenceForward(Grid),
    RecurrenceBackward(Grid),
    GruForward(Grid),
    GruBackward(Grid),
    LstmForward(Grid),
    LstmBackward(Grid),
    Memory,
}

/// One place of the grid: `batch` sequences of `steps` steps, run again until `budget` seconds are over.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Grid {
    batch: usize,
    input: usize,
    hidden: usize,
    steps: usize,
    budget: f64,
}

/// Answers each request, a line of JSON on the standard input, with a line of JSON on the standard output, until
/// the input ends. `peers/README.md` describes the protocol. Errors of a request are answers too.
///
/// # Errors
/// The input cannot be read or the output not written.
pub fn serve(system: &dyn System) -> io::Result<()> {
    let mut peer = Peer { system, loaded: None };
    for line in io::stdin().lock().lines() {
        let answer = serde_json::from_str(&line?)
            .map_err(Into::into)
            .and_then(|request| peer.answer(request))
            .unwrap_or_else(|error: Failure| json!({ "error": error.to_string() }));
        let mut out = io::stdout().lock();
        writeln!(out, "{answer}")?;
        out.flush()?;
    }
    Ok(())
}

struct Peer<'a> {
    system: &'a dyn System,
    loaded: Option<Loaded>,
}

/// The workload of the last request, and the tagger that was made for it.
struct Loaded {
    file: PathBuf,
    workload: Workload,
    tagger: Option<Box<dyn Labeller>>,
}

impl Loaded {
    /// Reads a workload, unless it is the last one.
    fn get(last: &mut Option<Loaded>, file: PathBuf) -> Result<&mut Loaded, Failure> {
        let loaded = match last.take() {
            Some(loaded) if loaded.file == file => loaded,
            _ => Loaded { workload: Workload::load(&file)?, file, tagger: None },
        };
        Ok(last.insert(loaded))
    }

    /// The sentences to tag, and the tagger, made once.
    fn tagger(&mut self, system: &dyn System) -> Result<(Batch<'_>, &mut dyn Labeller), Failure> {
        let tagger = match &mut self.tagger {
            Some(tagger) => tagger,
            none => none.insert(system.tagger(&self.workload)?),
        };
        Ok((self.workload.test.batch(), tagger.as_mut()))
    }
}

impl Peer<'_> {
    fn answer(&mut self, request: Request) -> Result<Value, Failure> {
        Ok(match request {
            Request::Hello => serde_json::to_value(self.system.hello())?,
            Request::SgdEpoch { file, sentences, lr } => self.epoch(file, sentences, lr, 1)?,
            Request::MinibatchEpoch { file, sentences, lr, batch } => {
                self.epoch(file, sentences, lr, batch)?
            }
            Request::TagOne { file, sentences, labels } => self.tag_one(file, sentences, labels)?,
            Request::TagAll { file, sentences, labels } => self.tag_all(file, sentences, labels)?,
            Request::FirstTag { file } => self.tag_one(file, 1, true)?,
            Request::RecurrenceForward(grid) => self.recurrence(Cell::default(), &grid, false)?,
            Request::RecurrenceBackward(grid) => self.recurrence(Cell::default(), &grid, true)?,
            Request::GruForward(grid) => self.recurrence(Cell::Gru, &grid, false)?,
            Request::GruBackward(grid) => self.recurrence(Cell::Gru, &grid, true)?,
            Request::LstmForward(grid) => self.recurrence(Cell::Lstm, &grid, false)?,
            Request::LstmBackward(grid) => self.recurrence(Cell::Lstm, &grid, true)?,
            Request::Memory => json!({ "peak_bytes": peak_memory()? }),
        })
    }

    fn epoch(&mut self, file: PathBuf, sentences: usize, lr: f32, batch: usize) -> Result<Value, Failure> {
        let workload = &Loaded::get(&mut self.loaded, file)?.workload;
        let mut order: Vec<_> = first(workload.train.batch(), sentences).iter().collect();
        let count = order.len();
        if batch > 1 {
            order.sort_by_key(|sentence| sentence.words.len());
        }
        let mut train = Sentences::new();
        order.iter().try_for_each(|sentence| train.push(sentence.words, sentence.labels))?;
        let starts = (0..count).step_by(batch.max(1));
        let batches =
            starts.map(|start| train.batch().slice(start..count.min(start.saturating_add(batch.max(1)))));
        let mut trainer = self.system.trainer(workload, batches.collect())?;
        let start = Instant::now();
        let losses = trainer.epoch(lr)?;
        let seconds = start.elapsed().as_secs_f64();
        Ok(json!({ "seconds": seconds, "loss": losses / count as f64 }))
    }

    fn tag_one(&mut self, file: PathBuf, sentences: usize, labels: bool) -> Result<Value, Failure> {
        let (test, tagger) = Loaded::get(&mut self.loaded, file)?.tagger(self.system)?;
        let test = first(test, sentences);
        let mut found = vec![0; test.words().len()];
        let (mut seconds, mut rest) = (Vec::with_capacity(test.len()), &mut found[..]);
        for sentence in test.iter() {
            let (places, after) = rest.split_at_mut(sentence.words.len());
            rest = after;
            let start = Instant::now();
            tagger.label(sentence.words, places)?;
            seconds.push(start.elapsed().as_secs_f64());
        }
        let total: f64 = seconds.iter().sum();
        let mut answer = json!({ "seconds": total, "median": quantile(&mut seconds, 0.5), "p99": quantile(&mut seconds, 0.99) });
        if labels {
            answer["labels"] = json!(found);
        }
        Ok(answer)
    }

    fn tag_all(&mut self, file: PathBuf, sentences: usize, labels: bool) -> Result<Value, Failure> {
        let (test, tagger) = Loaded::get(&mut self.loaded, file)?.tagger(self.system)?;
        let test = first(test, sentences);
        let mut found = vec![0; test.words().len()];
        let start = Instant::now();
        tagger.label_all(test, &mut found)?;
        let mut answer = json!({ "seconds": start.elapsed().as_secs_f64() });
        if labels {
            answer["labels"] = json!(found);
        }
        Ok(answer)
    }

    fn recurrence(&self, cell: Cell, grid: &Grid, backward: bool) -> Result<Value, Failure> {
        let Grid { batch, input, hidden, steps, budget } = *grid;
        let inputs = Inputs::new(batch, LayerShape { input, hidden, cell }, steps)?;
        let mut run = self.system.recurrence(&inputs)?;
        let results = run.results(backward)?;
        let checks: BTreeMap<_, _> = results.iter().map(|(name, t)| (*name, fingerprint(t))).collect();
        let mut seconds = Vec::new();
        let begin = Instant::now();
        while seconds.len() < 3 || begin.elapsed().as_secs_f64() < budget {
            let start = Instant::now();
            run.run(backward)?;
            seconds.push(start.elapsed().as_secs_f64());
        }
        Ok(json!({ "seconds": quantile(&mut seconds, 0.5), "calls": seconds.len(), "checks": checks }))
    }
}

/// The first `count` of all sentences; 0 means all of them.
fn first(all: Batch<'_>, count: usize) -> Batch<'_> {
    if count == 0 { all } else { all.slice(0..count.min(all.len())) }
}

/// The smallest value that at least `share` of all values do not exceed (nearest rank); NaN of no values.
pub fn quantile(values: &mut [f64], share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let rank = (share * values.len() as f64).ceil() as usize;
    values.get(rank.saturating_sub(1)).copied().unwrap_or(f64::NAN)
}

/// The largest resident set that this process ever had, in bytes, as Linux reports it; elsewhere none.
///
/// # Errors
/// The system's own, if it cannot be read.
pub fn peak_memory() -> io::Result<Option<u64>> {
    if !cfg!(target_os = "linux") {
        return Ok(None);
    }
    let status = std::fs::read_to_string("/proc/self/status")?;
    let kibibytes = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .and_then(|text| text.trim().strip_suffix(" kB"))
        .and_then(|number| number.trim().parse::<u64>().ok());
    Ok(kibibytes.map(|kibibytes| kibibytes * 1024))
}
