use std::cmp::Ordering;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Instant;

use clap::ValueEnum;
use elman_tagger::{
    Claim, EpochRecord, Error, Evaluation, FileKind, Lines, Measure, Model, Normalization, Optimizer,
    Pipeline, Scheme, TaggedSentence, TrainConfig, Trainer, fingerprint, limits, write_output,
};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use serde::{Deserialize, Serialize};

use crate::input::LayoutArgs;
use crate::kernels::KernelArgs;
use crate::output::{Rows, first_of, note};
use crate::train::{
    ActivationName, CellName, NetworkName, RecipeName, SchemeName, cell_of, from_1_to, interrupts, share,
};

const TRIALS: &str = "trials.jsonl";
const SETTINGS: &str = "search.toml";
const BEST: &str = "best";
/// The layout of [`SETTINGS`] that this version writes and reads.
const FORMAT: u32 = 1;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Training corpus: a CoNLL column file (first column word, last column tag), .conllu or JSON lines, also
    /// compressed by gzip. Given several times, all are read
    #[arg(long, value_name = "FILE", required = true)]
    train: Vec<PathBuf>,
    /// Development corpus, by whose F1 (or accuracy, if its tags form no phrases) the trials are compared
    #[arg(long, value_name = "FILE", required = true)]
    dev: Vec<PathBuf>,
    /// Test corpus; conlleval's report of the best model on it is printed at the end
    #[arg(long, value_name = "FILE")]
    test: Vec<PathBuf>,
    /// The folder of the search: trials.jsonl, search.toml with its settings, and the best model as best. A search that
    /// is there goes on
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Trials, those that are already there included
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = from_1_to(1_000_000))]
    trials: usize,
    /// Trials that run at the same time [default: one for each processor]
    #[arg(long, value_name = "N", value_parser = from_1_to(1024))]
    jobs: Option<usize>,
    /// Decides what is tried, and with it every result
    #[arg(long, value_name = "N", default_value_t = 42, value_parser = clap::value_parser!(u64).range(..=i64::MAX as u64))]
    seed: u64,
    /// Last epoch of each trial [default: the recipe's]
    #[arg(long, value_name = "N", value_parser = from_1_to(limits::MAX_EPOCHS))]
    epochs: Option<usize>,
    #[command(flatten)]
    layout: LayoutArgs,
    #[command(flatten)]
    space: SpaceArgs,
    #[command(flatten)]
    fixed: FixedArgs,
    #[command(flatten)]
    kernel: KernelArgs,
}

/// The settings that all trials share.
#[derive(Clone, Default, clap::Args)]
#[command(next_help_heading = "Recipe of every trial")]
struct FixedArgs {
    /// What the next word sees of a word: the hidden state (Elman) or the probabilities of its labels (Jordan)
    #[arg(long, value_enum, default_value_t)]
    network: NetworkName,
    /// The arithmetic of a hidden unit [default: the recipe's]
    #[arg(long, value_enum)]
    cell: Option<CellName>,
    /// The nonlinearity of the cell elman
    #[arg(long, value_enum, default_value_t)]
    activation: ActivationName,
    /// How the tags mark phrases, by which they are scored [default: recognised in the training corpus]
    #[arg(long, value_enum)]
    scheme: Option<SchemeName>,
    /// The settings that all trials share beside these options (`elman recipes` lists them)
    #[arg(long, value_enum, default_value_t)]
    recipe: RecipeName,
    /// Sentences in one update [default: the recipe's]
    #[arg(long, value_name = "N", value_parser = from_1_to(limits::MAX_BATCH))]
    batch: Option<usize>,
    /// Read every word in lower case
    #[arg(long)]
    lowercase: bool,
    /// Read every digit as the word DIGIT
    #[arg(long)]
    digits: bool,
}

/// What is tried. The defaults are the tutorial's.
#[derive(Clone, clap::Args)]
#[command(next_help_heading = "Intervals")]
struct SpaceArgs {
    /// Learning rates, uniformly from an interval [default: 0.01..0.05; with adam 0.001..0.01]
    #[arg(long, value_name = "A..B", value_parser = rates)]
    lr: Option<Interval>,
    /// Windows, the odd numbers of an interval
    #[arg(long, value_name = "A..B", default_value = "3..19", value_parser = windows)]
    window: RangeInclusive<usize>,
    /// Widths of the hidden state
    #[arg(long, value_name = "N,..", default_value = "100,200", value_delimiter = ',', value_parser = from_1_to(limits::MAX_HIDDEN))]
    hidden: Vec<usize>,
    /// Widths of the embeddings
    #[arg(long, value_name = "N,..", default_value = "50,100", value_delimiter = ',', value_parser = from_1_to(limits::MAX_EMBED))]
    embed: Vec<usize>,
    /// Shares of dropout [default: the recipe's]
    #[arg(long, value_name = "X,..", value_delimiter = ',', value_parser = share)]
    dropout: Vec<f64>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Interval {
    from: f64,
    to: f64,
}

fn rates(text: &str) -> Result<Interval, String> {
    let interval = text.split_once("..").and_then(|(from, to)| {
        Some(Interval { from: from.trim().parse().ok()?, to: to.trim().parse().ok()? })
    });
    interval
        .filter(|i| i.from > 0.0 && i.from <= i.to && i.to.is_finite())
        .ok_or_else(|| "expected two numbers greater than 0, for example 0.01..0.05".to_owned())
}

fn windows(text: &str) -> Result<RangeInclusive<usize>, String> {
    let odd = |text: &str| text.trim().parse().ok().filter(|n: &usize| n % 2 == 1 && *n < 1000);
    let range = text.split_once("..").and_then(|(from, to)| Some(odd(from)?..=odd(to)?));
    range
        .filter(|range| !range.is_empty())
        .ok_or_else(|| "expected two odd numbers below 1000, for example 3..19".to_owned())
}

impl Args {
    /// The settings that all trials share.
    fn base(&self) -> Result<TrainConfig, Error> {
        let named = self.fixed.recipe.config();
        let cell = cell_of(self.fixed.cell, self.fixed.activation, self.fixed.recipe)?;
        let base = TrainConfig {
            feedback: self.fixed.network.into(),
            cell,
            scheme: self.fixed.scheme.map(Into::into),
            batch: self.fixed.batch.unwrap_or(named.batch),
            epochs: self.epochs.unwrap_or(named.epochs),
            normalization: Normalization { lowercase: self.fixed.lowercase, digits: self.fixed.digits },
            ..named
        };
        base.shape(1, 1).check()?;
        Ok(base)
    }

    /// How a trial is trained.
    fn config(&self, base: &TrainConfig, trial: usize) -> TrainConfig {
        self.space.draw(self.seed, trial, base.clone())
    }

    fn settings(&self, base: &TrainConfig, train: &[TaggedSentence], dev: &[TaggedSentence]) -> Settings {
        let name = |value: Option<clap::builder::PossibleValue>| {
            value.map_or_else(String::new, |value| value.get_name().to_owned())
        };
        let lr = self.space.rates(base);
        Settings {
            format: FORMAT,
            corpora: fingerprint(train, dev),
            seed: self.seed,
            epochs: base.epochs,
            lr: [lr.from, lr.to],
            window: [*self.space.window.start(), *self.space.window.end()],
            hidden: self.space.hidden.clone(),
            embed: self.space.embed.clone(),
            dropout: self.space.dropout.clone(),
            network: name(self.fixed.network.to_possible_value()),
            recipe: name(self.fixed.recipe.to_possible_value()),
            cell: base.cell.to_string(),
            scheme: base.scheme,
            batch: base.batch,
            lowercase: self.fixed.lowercase,
            digits: self.fixed.digits,
        }
    }
}

/// `search.toml`: what decides the result of each trial.
#[derive(Serialize)]
struct Settings {
    format: u32,
    /// The SHA-256 of the training and the development corpus.
    corpora: String,
    seed: u64,
    epochs: usize,
    lr: [f64; 2],
    window: [usize; 2],
    hidden: Vec<usize>,
    embed: Vec<usize>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    dropout: Vec<f64>,
    network: String,
    recipe: String,
    cell: String,
    scheme: Option<Scheme>,
    batch: usize,
    lowercase: bool,
    digits: bool,
}

impl Settings {
    const KIND: FileKind =
        FileKind { name: "the settings of a search", begins: |start| start.starts_with(b"format = ") };

    /// Compares with the settings of the search that is there, or writes them down.
    fn keep(&self, path: &Path, has_trials: bool) -> Result<(), Error> {
        let input = |line, problem: String, expected: String| Error::Input {
            path: path.to_owned(),
            line,
            problem,
            expected,
        };
        let as_text =
            toml::to_string(self).map_err(|error| Error::shape("settings", "values for TOML", error))?;
        let own: toml::Table =
            as_text.parse().map_err(|error| Error::shape("settings", "values for TOML", error))?;
        let there = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                if has_trials {
                    note(&format!(
                        "{}: missing; the trials that are there are taken for trials on these corpora",
                        path.display()
                    ));
                }
                return write_output(path, Self::KIND, as_text.as_bytes());
            }
            Err(source) => return Err(Error::Io { path: path.to_owned(), action: "read", source }),
        };
        let found: toml::Table = there.parse().map_err(|error: toml::de::Error| {
            let line = error.span().map(|span| 1 + there[..span.start].matches('\n').count() as u64);
            input(line, error.message().to_owned(), "the settings of a search".to_owned())
        })?;
        let Some(name) = own.keys().chain(found.keys()).find(|name| own.get(*name) != found.get(*name))
        else {
            return Ok(());
        };
        let text = |table: &toml::Table| table.get(name).map_or("not set".to_owned(), ToString::to_string);
        let elsewhere = "name another folder with --out for another search";
        Err(match name.as_str() {
            "corpora" => input(
                None,
                "the search of other corpora".to_owned(),
                format!("a search of these; {elsewhere}"),
            ),
            _ => input(
                None,
                format!("{name} is {}", text(&found)),
                format!("{}, as is asked for; {elsewhere}", text(&own)),
            ),
        })
    }
}

impl SpaceArgs {
    fn rates(&self, base: &TrainConfig) -> Interval {
        self.lr.unwrap_or(match base.optimizer {
            Optimizer::Sgd => Interval { from: 0.01, to: 0.05 },
            Optimizer::Adam => Interval { from: 0.001, to: 0.01 },
        })
    }

    /// What a trial tries: decided by the seed and the trial's number alone, whichever trials ran before it.
    fn draw(&self, seed: u64, trial: usize, base: TrainConfig) -> TrainConfig {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(trial as u64);
        // The high half of a product of 128 bits.
        let mut below = |count: usize| ((u128::from(rng.next_u64()) * count as u128) >> 64) as usize;
        let odd = (self.window.end() - self.window.start()) / 2 + 1;
        let window = self.window.start() + 2 * below(odd);
        let hidden = self.hidden[below(self.hidden.len())];
        let embed = self.embed[below(self.embed.len())];
        let unit = (rng.next_u64() >> 11) as f64 / (1u64 << 53) as f64;
        let lr = self.rates(&base);
        let learning_rate = lr.from + unit * (lr.to - lr.from);
        let mut below = |count: usize| ((u128::from(rng.next_u64()) * count as u128) >> 64) as usize;
        let dropout = match self.dropout.len() {
            0 => base.dropout,
            count => self.dropout[below(count)],
        };
        TrainConfig { window, hidden, embed, learning_rate, dropout, ..base }
    }
}

/// A finished trial: one line of `trials.jsonl`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Trial {
    trial: usize,
    learning_rate: f64,
    window: usize,
    hidden: usize,
    embed: usize,
    #[serde(default)]
    dropout: f64,
    /// The last epoch that was asked for.
    epochs: usize,
    /// The best epoch; none if the training diverged.
    best_epoch: Option<usize>,
    dev_f1: f64,
    #[serde(default)]
    dev_accuracy: f64,
    /// By which of the two trials are compared.
    #[serde(default)]
    measure: Measure,
    seconds: f64,
}

impl Trial {
    /// Whether it tried this. (A number read from JSON may differ in its last bit.)
    fn tried(&self, config: &TrainConfig) -> bool {
        (self.window, self.hidden, self.embed, self.epochs)
            == (config.window, config.hidden, config.embed, config.epochs)
            && self.dropout == config.dropout
            && (self.learning_rate - config.learning_rate).abs() <= 1e-12 * config.learning_rate
    }

    /// The better trial is the greater: by F1, or by accuracy where that is the measure or F1 is the same. Equal ones
    /// are told apart by their numbers, not by which was ready first.
    fn compare(&self, other: &Trial) -> Ordering {
        let f1 = match self.measure {
            Measure::F1 => self.dev_f1.total_cmp(&other.dev_f1),
            Measure::Accuracy => Ordering::Equal,
        };
        f1.then(self.dev_accuracy.total_cmp(&other.dev_accuracy)).then(other.trial.cmp(&self.trial))
    }

    /// Whether it has a model that is better than that of another trial.
    fn is_better_than(&self, other: Option<&Trial>) -> bool {
        self.best_epoch.is_some() && other.is_none_or(|other| self.compare(other).is_gt())
    }

    fn row(&self) -> String {
        let best = self.best_epoch.map_or_else(|| "-".to_owned(), |epoch| epoch.to_string());
        format!(
            "{:5} {:9.5} {:7} {:7} {:6} {best:>6} {:7.2} {:8.2} {:8.1}\n",
            self.trial,
            self.learning_rate,
            self.window,
            self.hidden,
            self.embed,
            self.dev_f1,
            self.dev_accuracy,
            self.seconds
        )
    }
}

const HEADER: &str = "trial        lr  window  hidden  embed   best  dev F1  dev acc  seconds\n";

/// A model and the epochs that made it.
type Trained = (Model, Vec<EpochRecord>);

/// What the trials share.
struct State {
    next: usize,
    trials: Vec<Trial>,
    file: File,
    rows: Rows,
    failed: Vec<Error>,
}

impl State {
    /// The trial whose model is kept.
    fn best(&self) -> Option<&Trial> {
        best_of(&self.trials)
    }
}

fn best_of(trials: &[Trial]) -> Option<&Trial> {
    trials.iter().fold(None, |best, trial| if trial.is_better_than(best) { Some(trial) } else { best })
}

pub(crate) fn run(args: &Args) -> Result<(), Error> {
    let base = args.base()?;
    let train = args.layout.read(&args.train)?;
    let dev = args.layout.read(&args.dev)?;
    let test = (!args.test.is_empty()).then(|| args.layout.read(&args.test)).transpose()?;
    args.kernel.network()?;
    let jobs = args.kernel.bounded_jobs(args.jobs);
    let io = |action| move |source| Error::Io { path: args.out.clone(), action, source };
    if let Some(parent) = args.out.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        fs::create_dir_all(parent).map_err(io("create"))?;
    }
    // From here on a signal ends the search, and no longer the program: what it has found stays.
    let stop = interrupts()?;
    let work = Work { args, base: &base, train: &train, dev: &dev, stop: &stop };
    let _claim = Claim::new(&args.out, "search", &[TRIALS, SETTINGS, "best/"])?;
    let path = args.out.join(TRIALS);
    let trials = read_trials(&path)?;
    args.settings(&base, &train, &dev).keep(&args.out.join(SETTINGS), !trials.is_empty())?;
    for trial in &trials {
        if !trial.tried(&args.config(&base, trial.trial)) {
            return Err(Error::Input {
                path,
                line: None,
                problem: format!("trial {} of another search", trial.trial),
                expected: "the same seed, epochs and intervals, or another folder".to_owned(),
            });
        }
    }
    let best = args.out.join(BEST);
    Model::check_target(&best)?;
    if let Some(trial) = best_of(&trials).filter(|_| !best.join("config.toml").exists()) {
        note(&format!(
            "{}: the model of trial {} is missing and is trained again",
            best.display(),
            trial.trial
        ));
        if let (_, Some((model, history))) = attempt(&work, trial.trial)? {
            model.save(&best, &history)?;
        }
    }
    let file = OpenOptions::new().create(true).append(true).open(&path);
    let file = file.map_err(|source| Error::Io { path: path.clone(), action: "open", source })?;

    let mut rows = Rows::default();
    rows.print(HEADER);
    trials.iter().for_each(|trial| rows.print(&trial.row()));
    let state = Mutex::new(State { next: 0, trials, file, rows, failed: Vec::new() });
    thread::scope(|scope| {
        for _ in 0..jobs.min(args.trials) {
            scope.spawn(|| {
                while let Some(trial) = take(&state, args.trials) {
                    let result = attempt(&work, trial)
                        .and_then(|(trial, model)| keep(&state, trial, model, &path, &best));
                    if let Err(error) = result {
                        locked(&state).failed.push(error);
                    }
                }
            });
        }
    });
    let mut state = state.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner());
    if let Some(place) = state.failed.iter().position(|error| matches!(error, Error::Interrupted { .. })) {
        // Said once, whatever the number of jobs.
        let interrupted = state.failed.swap_remove(place);
        state.failed.retain(|error| !matches!(error, Error::Interrupted { .. }));
        note(&format!(
            "{}: {} of {} trials are done; the same command goes on with the others",
            args.out.display(),
            state.trials.len(),
            args.trials
        ));
        return first_of(std::iter::once(interrupted).chain(state.failed));
    }
    if !state.failed.is_empty() {
        return first_of(state.failed);
    }
    let place = match state.best() {
        Some(_) => format!("model in {}", best.display()),
        None => "no model: every training diverged; try smaller learning rates".to_owned(),
    };
    let has_model = state.best().is_some();
    state.trials.sort_by(|a, b| b.compare(a));
    let table: String = state.trials.iter().map(Trial::row).collect();
    state.rows.print(&format!("\nthe best first; {place}\n{HEADER}{table}"));
    if let Some(test) = test.filter(|_| has_model) {
        let network = args.kernel.network()?;
        let evaluation: Evaluation =
            Pipeline::new(&Model::load(&best)?, network.as_ref())?.evaluate(&test)?;
        state.rows.print(&format!("\n{evaluation}"));
    }
    let diverged = (!has_model).then(|| Error::shape("trials", "one that does not diverge", "none"));
    first_of(diverged.into_iter().chain(state.rows.error(&place)))
}

/// A thread that panics is a bug; the others' results are whole all the same.
fn locked(state: &Mutex<State>) -> std::sync::MutexGuard<'_, State> {
    state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// The next trial that is not there yet.
fn take(state: &Mutex<State>, trials: usize) -> Option<usize> {
    let mut state = locked(state);
    let State { next, trials: done, failed, .. } = &mut *state;
    if !failed.is_empty() {
        return None;
    }
    while done.iter().any(|trial| trial.trial == *next) {
        *next += 1;
    }
    (*next < trials).then(|| {
        *next += 1;
        *next - 1
    })
}

/// The settings and corpora of all trials.
struct Work<'a> {
    args: &'a Args,
    base: &'a TrainConfig,
    train: &'a [TaggedSentence],
    dev: &'a [TaggedSentence],
    /// Ends the trials.
    stop: &'a Arc<AtomicBool>,
}

/// Trains once. A training that diverges is a trial with an F1 of 0 and no model.
fn attempt(work: &Work<'_>, trial: usize) -> Result<(Trial, Option<Trained>), Error> {
    let Work { args, base, train, dev, stop } = *work;
    let start = Instant::now();
    let network = args.kernel.network()?;
    let config = args.config(base, trial);
    let mut record = Trial {
        trial,
        learning_rate: config.learning_rate,
        window: config.window,
        hidden: config.hidden,
        embed: config.embed,
        dropout: config.dropout,
        epochs: config.epochs,
        best_epoch: None,
        dev_f1: 0.0,
        dev_accuracy: 0.0,
        measure: Measure::default(),
        seconds: 0.0,
    };
    let mut trainer = Trainer::new(network.as_ref(), config, train, dev)?;
    trainer.stop_when(stop.clone());
    record.measure = trainer.measure();
    while !trainer.is_finished() {
        match trainer.run_epoch(&mut |_| {}) {
            Ok(_) => {}
            Err(Error::Diverged { .. }) => break,
            Err(error) => return Err(error),
        }
    }
    record.seconds = start.elapsed().as_secs_f64();
    if trainer.history().is_empty() {
        return Ok((record, None));
    }
    let history = trainer.history().to_vec();
    let model = trainer.into_model();
    record.best_epoch = Some(model.outcome().best_epoch);
    record.dev_f1 = model.outcome().dev_f1;
    record.dev_accuracy = model.outcome().dev_accuracy;
    Ok((record, Some((model, history))))
}

/// Writes down a finished trial. The model first: what `trials.jsonl` says is there.
fn keep(
    state: &Mutex<State>,
    trial: Trial,
    model: Option<Trained>,
    path: &Path,
    best: &Path,
) -> Result<(), Error> {
    let mut state = locked(state);
    if let Some((model, history)) = model.filter(|_| trial.is_better_than(state.best())) {
        model.save(best, &history)?;
    }
    let io = |source| Error::Io { path: path.to_owned(), action: "write", source };
    let line = serde_json::to_string(&trial).map_err(|error| io(error.into()))? + "\n";
    let before = state.file.metadata().map_err(io)?.len();
    if let Err(error) = state.file.write_all(line.as_bytes()).and_then(|()| state.file.sync_data()) {
        // No half of a line, to which another trial would be added.
        let _ = state.file.set_len(before);
        return Err(io(error));
    }
    let row = trial.row();
    state.rows.print(&row);
    state.trials.push(trial);
    Ok(())
}

/// The trials of an earlier search. A last line without its end was being written when the program was ended:
/// it is taken off.
fn read_trials(path: &Path) -> Result<Vec<Trial>, Error> {
    let io = |action| move |source| Error::Io { path: path.to_owned(), action, source };
    if !path.exists() {
        return Ok(Vec::new());
    }
    let text = fs::read(path).map_err(io("read"))?;
    let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
    if whole < text.len() {
        OpenOptions::new()
            .write(true)
            .open(path)
            .and_then(|file| file.set_len(whole as u64))
            .map_err(io("mend"))?;
    }
    let mut lines = Lines::new(&text[..whole], path);
    let mut trials: Vec<Trial> = Vec::new();
    while let Some(line) = lines.next_line()? {
        let parsed = serde_json::from_str(line).map_err(|error| error.to_string());
        let trial: Trial = parsed.map_err(|problem| lines.error(problem, "a trial as JSON"))?;
        match trials.iter().find(|other| other.trial == trial.trial) {
            None => trials.push(trial),
            // Two searches at the same time once wrote the same trials.
            Some(other) if Trial { seconds: other.seconds, ..trial.clone() } == *other => {}
            Some(_) => {
                let problem = format!("trial {} again, with another result", trial.trial);
                return Err(lines.error(problem, "each trial once; remove this line or the other"));
            }
        }
    }
    Ok(trials)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn space() -> SpaceArgs {
        SpaceArgs {
            lr: None,
            window: windows("3..19").unwrap(),
            hidden: vec![100, 200],
            embed: vec![50, 100],
            dropout: Vec::new(),
        }
    }

    #[test]
    fn trials_are_drawn_from_the_whole_space_and_only_from_it() {
        let draw = |seed, trial| space().draw(seed, trial, TrainConfig::default());
        let all: Vec<TrainConfig> = (0..2000).map(|trial| draw(7, trial)).collect();
        assert_eq!(all[1234], draw(7, 1234));
        assert_ne!(all[0], draw(8, 0));
        // With another recipe and dropout, what else is drawn stays.
        let space = SpaceArgs { dropout: vec![0.1, 0.5], ..space() };
        let best = space.draw(7, 1234, RecipeName::Best.config());
        assert_eq!(
            (best.window, best.hidden, best.embed),
            (all[1234].window, all[1234].hidden, all[1234].embed)
        );
        assert!((0.001..0.01).contains(&best.learning_rate) && best.features.affixes > 0, "{best:?}");
        let dropped = (0..200).filter(|trial| space.draw(7, *trial, TrainConfig::default()).dropout == 0.5);
        assert!((70..=130).contains(&dropped.count()));
        let count = |f: &dyn Fn(&TrainConfig) -> bool| all.iter().filter(|config| f(config)).count();
        for window in (3..=19).step_by(2) {
            // 2000 / 9 = 222, within four standard deviations.
            assert!((165..=280).contains(&count(&|c| c.window == window)), "{window}");
        }
        assert_eq!(count(&|c| [100, 200].contains(&c.hidden) && [50, 100].contains(&c.embed)), 2000);
        assert!((900..=1100).contains(&count(&|c| c.hidden == 100)));
        assert_eq!(count(&|c| (0.01..0.05).contains(&c.learning_rate)), 2000);
        assert!((400..=600).contains(&count(&|c| c.learning_rate < 0.02)));
        for bad in ["0..1", "2..1", "x", "0.1", "0.1..inf", "nan..1"] {
            assert!(rates(bad).is_err(), "{bad}");
        }
        for bad in ["2..5", "3..4", "5..3", "3", "1001..1003"] {
            assert!(windows(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn of_equal_trials_the_first_by_number_is_the_best_whichever_was_ready_first() {
        let trial = |trial, best_epoch, dev_f1| Trial {
            trial,
            learning_rate: 0.1,
            window: 3,
            hidden: 4,
            embed: 5,
            dropout: 0.0,
            epochs: 6,
            best_epoch,
            dev_f1,
            dev_accuracy: 90.0,
            measure: Measure::F1,
            seconds: 1.0,
        };
        let mut trials =
            [trial(0, None, 0.0), trial(3, Some(1), 50.0), trial(1, Some(2), 50.0), trial(2, Some(1), 40.0)];
        for _ in 0..trials.len() {
            trials.rotate_left(1);
            assert_eq!(best_of(&trials).unwrap().trial, 1);
        }
        // One that diverged has no model; one with an F1 of 0 has.
        assert_eq!(best_of(&[trial(0, None, 0.0)]), None);
        assert_eq!(best_of(&[trial(0, None, 0.0), trial(1, Some(1), 0.0)]).unwrap().trial, 1);
        // Accuracy decides where F1 does not, or where it is the measure.
        let better = Trial { dev_accuracy: 91.0, ..trial(7, Some(1), 50.0) };
        assert_eq!(best_of(&[trial(1, Some(1), 50.0), better]).unwrap().trial, 7);
        let plain = |trial: Trial| Trial { measure: Measure::Accuracy, ..trial };
        let worse = Trial { dev_accuracy: 89.0, ..trial(7, Some(1), 60.0) };
        assert_eq!(best_of(&[plain(worse), plain(trial(8, Some(1), 50.0))]).unwrap().trial, 8);
    }

    #[test]
    fn a_line_that_was_being_written_is_taken_off() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("trials.jsonl");
        assert!(read_trials(&path).unwrap().is_empty());
        let trial = Trial {
            trial: 3,
            learning_rate: 0.1,
            window: 3,
            hidden: 4,
            embed: 5,
            dropout: 0.0,
            epochs: 6,
            best_epoch: None,
            dev_f1: 12.5,
            dev_accuracy: 90.0,
            measure: Measure::Accuracy,
            seconds: 1.0,
        };
        let line = serde_json::to_string(&trial).unwrap() + "\n";
        fs::write(&path, format!("{line}{}", &line[..20])).unwrap();
        assert_eq!(read_trials(&path).unwrap(), [trial]);
        assert_eq!(fs::read_to_string(&path).unwrap(), line);
        fs::write(&path, format!("{line}{}", line.replace("1.0}", "2.0}"))).unwrap();
        assert_eq!(read_trials(&path).unwrap().len(), 1);
        fs::write(&path, format!("{line}{}", line.replace("12.5", "12.6"))).unwrap();
        let error = read_trials(&path).unwrap_err().to_string();
        assert!(
            error.contains("trials.jsonl:2: trial 3 again, with another result, expected each"),
            "{error}"
        );
        fs::write(&path, "{}\n").unwrap();
        assert!(read_trials(&path).unwrap_err().to_string().contains("trials.jsonl:1: missing field"));
    }
}
