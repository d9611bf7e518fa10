use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::thread;
use std::time::Instant;

use elman_tagger::Error;
use elman_tagger::{
    EpochRecord, Evaluation, Lines, Model, Pipeline, TaggedSentence, TrainConfig, Trainer, limits, read_conll,
};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use serde::{Deserialize, Serialize};

use crate::kernels::KernelArgs;
use crate::output::print;
use crate::train::from_1_to;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Training corpus, a CoNLL column file: first column word, last column tag
    #[arg(long, value_name = "FILE")]
    train: PathBuf,
    /// Development corpus, by whose F1 the trials are compared
    #[arg(long, value_name = "FILE")]
    dev: PathBuf,
    /// Test corpus; conlleval's report of the best model on it is printed at the end
    #[arg(long, value_name = "FILE")]
    test: Option<PathBuf>,
    /// The folder of the search: trials.jsonl, and the best model as best. A search that is there goes on
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
    /// Last epoch of each trial
    #[arg(long, value_name = "N", default_value_t = TrainConfig::default().epochs, value_parser = from_1_to(limits::MAX_EPOCHS))]
    epochs: usize,
    #[command(flatten)]
    space: SpaceArgs,
    #[command(flatten)]
    kernel: KernelArgs,
}

/// What is tried. The defaults are the tutorial's.
#[derive(Clone, clap::Args)]
#[command(next_help_heading = "Intervals")]
struct SpaceArgs {
    /// Learning rates, uniformly from an interval
    #[arg(long, value_name = "A..B", default_value = "0.01..0.05", value_parser = rates)]
    lr: Interval,
    /// Windows, the odd numbers of an interval
    #[arg(long, value_name = "A..B", default_value = "3..19", value_parser = windows)]
    window: RangeInclusive<usize>,
    /// Widths of the hidden state
    #[arg(long, value_name = "N,..", default_value = "100,200", value_delimiter = ',', value_parser = from_1_to(limits::MAX_HIDDEN))]
    hidden: Vec<usize>,
    /// Widths of the embeddings
    #[arg(long, value_name = "N,..", default_value = "50,100", value_delimiter = ',', value_parser = from_1_to(limits::MAX_EMBED))]
    embed: Vec<usize>,
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

impl SpaceArgs {
    /// What a trial tries: decided by the seed and the trial's number alone, whichever trials ran before it.
    fn draw(&self, seed: u64, trial: usize, epochs: usize) -> TrainConfig {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(trial as u64);
        // The high half of a product of 128 bits.
        let mut below = |count: usize| ((u128::from(rng.next_u64()) * count as u128) >> 64) as usize;
        let odd = (self.window.end() - self.window.start()) / 2 + 1;
        let window = self.window.start() + 2 * below(odd);
        let hidden = self.hidden[below(self.hidden.len())];
        let embed = self.embed[below(self.embed.len())];
        let unit = (rng.next_u64() >> 11) as f64 / (1u64 << 53) as f64;
        let learning_rate = self.lr.from + unit * (self.lr.to - self.lr.from);
        TrainConfig { window, hidden, embed, learning_rate, epochs, ..TrainConfig::default() }
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
    /// The last epoch that was asked for.
    epochs: usize,
    /// The best epoch; none if the training diverged.
    best_epoch: Option<usize>,
    dev_f1: f64,
    seconds: f64,
}

impl Trial {
    /// Whether it tried this. (A number read from JSON may differ in its last bit.)
    fn tried(&self, config: &TrainConfig) -> bool {
        (self.window, self.hidden, self.embed, self.epochs)
            == (config.window, config.hidden, config.embed, config.epochs)
            && (self.learning_rate - config.learning_rate).abs() <= 1e-12 * config.learning_rate
    }

    fn row(&self) -> String {
        let best = self.best_epoch.map_or_else(|| "-".to_owned(), |epoch| epoch.to_string());
        format!(
            "{:5} {:9.5} {:7} {:7} {:6} {best:>6} {:7.2} {:8.1}\n",
            self.trial, self.learning_rate, self.window, self.hidden, self.embed, self.dev_f1, self.seconds
        )
    }
}

const HEADER: &str = "trial        lr  window  hidden  embed   best  dev F1  seconds\n";

/// A model and the epochs that made it.
type Trained = (Model, Vec<EpochRecord>);

/// What the trials share.
struct State {
    next: usize,
    trials: Vec<Trial>,
    file: File,
    best_f1: f64,
    failed: Option<Error>,
}

pub(crate) fn run(args: &Args) -> Result<(), Error> {
    let train = read_conll(&args.train)?;
    let dev = read_conll(&args.dev)?;
    let test = args.test.as_ref().map(read_conll).transpose()?;
    args.kernel.network()?;
    let io = |action| move |source| Error::Io { path: args.out.clone(), action, source };
    fs::create_dir_all(&args.out).map_err(io("create"))?;
    let path = args.out.join("trials.jsonl");
    let trials = read_trials(&path)?;
    for trial in &trials {
        let config = args.space.draw(args.seed, trial.trial, args.epochs);
        if !trial.tried(&config) {
            return Err(Error::Input {
                path,
                line: None,
                problem: format!("trial {} of another search", trial.trial),
                expected: "the same seed, epochs and intervals, or another folder".to_owned(),
            });
        }
    }
    let best = args.out.join("best");
    let best_f1 = trials.iter().map(|trial| trial.dev_f1).fold(f64::NEG_INFINITY, f64::max);
    Model::check_target(&best)?;
    let file = OpenOptions::new().create(true).append(true).open(&path);
    let file = file.map_err(|source| Error::Io { path: path.clone(), action: "open", source })?;

    print(HEADER)?;
    trials.iter().try_for_each(|trial| print(&trial.row()))?;
    let jobs = args.jobs.unwrap_or_else(|| thread::available_parallelism().map_or(1, usize::from));
    let state = Mutex::new(State { next: 0, trials, file, best_f1, failed: None });
    thread::scope(|scope| {
        for _ in 0..jobs.min(args.trials) {
            scope.spawn(|| {
                while let Some(trial) = take(&state, args.trials) {
                    let result = attempt(args, trial, &train, &dev)
                        .and_then(|(trial, model)| keep(&state, trial, model, &path, &best));
                    if let Err(error) = result {
                        locked(&state).failed.get_or_insert(error);
                    }
                }
            });
        }
    });
    let mut state = state.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner());
    if let Some(error) = state.failed {
        return Err(error);
    }
    state.trials.sort_by(|a, b| b.dev_f1.total_cmp(&a.dev_f1).then_with(|| a.trial.cmp(&b.trial)));
    let table: String = state.trials.iter().map(Trial::row).collect();
    print(&format!("\nthe best first; model in {}\n{HEADER}{table}", best.display()))?;
    match test {
        Some(test) => {
            let network = args.kernel.network()?;
            let evaluation: Evaluation =
                Pipeline::new(&Model::load(&best)?, network.as_ref())?.evaluate(&test)?;
            print(&format!("\n{evaluation}"))
        }
        None => Ok(()),
    }
}

/// A thread that panics is a bug; the others' results are whole all the same.
fn locked(state: &Mutex<State>) -> std::sync::MutexGuard<'_, State> {
    state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// The next trial that is not there yet.
fn take(state: &Mutex<State>, trials: usize) -> Option<usize> {
    let mut state = locked(state);
    let State { next, trials: done, failed, .. } = &mut *state;
    if failed.is_some() {
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

/// Trains once. A training that diverges is a trial with an F1 of 0 and no model.
fn attempt(
    args: &Args,
    trial: usize,
    train: &[TaggedSentence],
    dev: &[TaggedSentence],
) -> Result<(Trial, Option<Trained>), Error> {
    let start = Instant::now();
    let network = args.kernel.network()?;
    let config = args.space.draw(args.seed, trial, args.epochs);
    let mut record = Trial {
        trial,
        learning_rate: config.learning_rate,
        window: config.window,
        hidden: config.hidden,
        embed: config.embed,
        epochs: config.epochs,
        best_epoch: None,
        dev_f1: 0.0,
        seconds: 0.0,
    };
    let mut trainer = Trainer::new(network.as_ref(), config, train, dev)?;
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
    if let Some((model, history)) = model.filter(|_| trial.dev_f1 > state.best_f1) {
        model.save(best, &history)?;
        state.best_f1 = trial.dev_f1;
    }
    let line = serde_json::to_string(&trial).map(|line| line + "\n");
    line.map_err(std::io::Error::from)
        .and_then(|line| state.file.write_all(line.as_bytes()))
        .map_err(|source| Error::Io { path: path.to_owned(), action: "write", source })?;
    print(&trial.row())?;
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
        if trials.iter().any(|other| other.trial == trial.trial) {
            return Err(lines.error(format!("trial {} again", trial.trial), "each trial once"));
        }
        trials.push(trial);
    }
    Ok(trials)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn space() -> SpaceArgs {
        SpaceArgs {
            lr: rates("0.01..0.05").unwrap(),
            window: windows("3..19").unwrap(),
            hidden: vec![100, 200],
            embed: vec![50, 100],
        }
    }

    #[test]
    fn trials_are_drawn_from_the_whole_space_and_only_from_it() {
        let all: Vec<TrainConfig> = (0..2000).map(|trial| space().draw(7, trial, 60)).collect();
        assert_eq!(all[1234], space().draw(7, 1234, 60));
        assert_ne!(all[0], space().draw(8, 0, 60));
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
            epochs: 6,
            best_epoch: None,
            dev_f1: 12.5,
            seconds: 1.0,
        };
        let line = serde_json::to_string(&trial).unwrap() + "\n";
        fs::write(&path, format!("{line}{}", &line[..20])).unwrap();
        assert_eq!(read_trials(&path).unwrap(), [trial]);
        assert_eq!(fs::read_to_string(&path).unwrap(), line);
        fs::write(&path, format!("{line}{line}")).unwrap();
        let error = read_trials(&path).unwrap_err().to_string();
        assert!(error.ends_with("trials.jsonl:2: trial 3 again, expected each trial once"), "{error}");
        fs::write(&path, "{}\n").unwrap();
        assert!(read_trials(&path).unwrap_err().to_string().contains("trials.jsonl:1: missing field"));
    }
}
