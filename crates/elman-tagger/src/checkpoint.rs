use std::cmp::Ordering;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use elman::{Params, Shape};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::folder::{self, Claim};
use crate::limits::{MAX_CHECKPOINT, MAX_CONFIG, check_shape};
use crate::model::{at, input, parse_weights, read_file, read_weights_file, weights};
use crate::trainer::LearningRate;
use crate::{EpochRecord, Error, Measure, Optimizer, Recipe, TaggedSentence, TrainConfig};

const STATE: &str = "checkpoint.toml";
const CURRENT: &str = "current.safetensors";
const BEST: &str = "best.safetensors";
const FIRST: &str = "first.safetensors";
const SECOND: &str = "second.safetensors";
const SUMS: &str = "sha256sums.txt";
const FILES: [&str; 6] = [STATE, CURRENT, BEST, FIRST, SECOND, SUMS];

/// The files that have sums: with moments all others, without them the first three.
const SUMMED: usize = 5;
const SUMMED_WITHOUT_MOMENTS: usize = 3;

/// What messages call the folder.
const WHAT: &str = "checkpoint";

/// The layout that this version writes and reads.
const FORMAT: u32 = 1;

/// A training after an epoch, from which it can go on as if it had never stopped.
///
/// # The checkpoint folder
/// | file | content |
/// |---|---|
/// | `checkpoint.toml` | `format = 1`, `vocab` and `classes`, the SHA-256 of the corpora, the [`Measure`] if it is not F1, the version of [the standard](elman::BITS) if all epochs followed it, the [`TrainConfig`] as `[training]`, an [`EpochRecord`] for each epoch as `[[history]]` |
/// | `current.safetensors` | the parameters to go on from, as in a [`Model`](crate::Model) |
/// | `best.safetensors` | the parameters of the best epoch |
/// | `first.safetensors`, `second.safetensors` | with [`Optimizer::Adam`], its moments; its steps are `steps` in `checkpoint.toml` |
/// | `sha256sums.txt` | the SHA-256 of the files above, as `sha256sum --check` reads them |
///
/// The learning rate, and since when it has been waiting for a better F1, follow from the history.
#[derive(Clone, Debug, PartialEq)]
pub struct Checkpoint {
    /// Where it was read from; for messages.
    pub(crate) path: PathBuf,
    pub(crate) config: TrainConfig,
    pub(crate) corpora: String,
    pub(crate) measure: Measure,
    pub(crate) bits: Option<u32>,
    pub(crate) history: Vec<EpochRecord>,
    pub(crate) current: Params<f32>,
    pub(crate) best: Params<f32>,
    /// With Adam.
    pub(crate) memory: Option<Memory>,
}

/// The memory of Adam.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Memory {
    pub(crate) steps: u64,
    pub(crate) moments: [Params<f32>; 2],
}

/// `checkpoint.toml`.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct State {
    format: u32,
    vocab: usize,
    classes: usize,
    corpora: String,
    #[serde(default, skip_serializing_if = "is_f1")]
    measure: Measure,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    bits: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    steps: Option<u64>,
    training: TrainConfig,
    history: Vec<EpochRecord>,
}

fn is_f1(measure: &Measure) -> bool {
    *measure == Measure::F1
}

impl Checkpoint {
    /// How it is trained.
    pub fn config(&self) -> &TrainConfig {
        &self.config
    }

    /// The epochs that are done; at least one.
    pub fn history(&self) -> &[EpochRecord] {
        &self.history
    }

    /// Checks that [`Checkpoint::save`] could write to this path now; leaves nothing behind.
    ///
    /// # Errors
    /// Those of [`Checkpoint::save`].
    pub fn check_target(path: impl AsRef<Path>) -> Result<(), Error> {
        folder::check(path.as_ref(), WHAT, &FILES)
    }

    /// Takes the checkpoint folder for this process alone, as [`Model::claim`](crate::Model::claim) does.
    ///
    /// # Errors
    /// Those of [`Checkpoint::save`]; the process that has the folder, if another one has.
    pub fn claim(path: impl AsRef<Path>) -> Result<Claim, Error> {
        Claim::new(path, WHAT, &FILES)
    }

    /// Writes the checkpoint folder, as [`Model::save`](crate::Model::save) writes a model: whatever happens in
    /// the middle, the old or the new one is there and whole.
    ///
    /// # Errors
    /// [`Error::Input`] if something else than a checkpoint is at `path`; [`Error::Io`] if the system refuses.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<(), Error> {
        folder::save(path.as_ref(), WHAT, &FILES, &self.files()?)
    }

    /// Writes the checkpoint to a folder that [`Checkpoint::claim`] took, as [`Checkpoint::save`] does.
    ///
    /// # Errors
    /// Those of [`Checkpoint::save`].
    pub fn save_to(&self, claim: &Claim) -> Result<(), Error> {
        claim.replace(&self.files()?)
    }

    fn files(&self) -> Result<Vec<(&'static str, Vec<u8>)>, Error> {
        let shape = self.current.shape();
        let state = State {
            format: FORMAT,
            vocab: shape.vocab,
            classes: shape.classes,
            corpora: self.corpora.clone(),
            measure: self.measure,
            bits: self.bits,
            steps: self.memory.as_ref().map(|memory| memory.steps),
            training: self.config.clone(),
            history: self.history.clone(),
        };
        let state = toml::to_string(&state)
            .map_err(|error| Error::shape("checkpoint", "values that TOML can hold", error))?;
        let mut files = vec![
            (STATE, state.into_bytes()),
            (CURRENT, weights(&self.current)?),
            (BEST, weights(&self.best)?),
        ];
        if let Some(Memory { moments: [first, second], .. }) = &self.memory {
            files.extend([(FIRST, weights(first)?), (SECOND, weights(second)?)]);
        }
        let sums: String = files.iter().map(|(name, content)| sum(name, content)).collect();
        files.push((SUMS, sums.into_bytes()));
        Ok(files)
    }

    /// Reads a checkpoint folder; `None` if there is none.
    ///
    /// Sizes are checked before memory is taken, as in [`Model::load`](crate::Model::load), and every file against
    /// its SHA-256: what was damaged is refused.
    ///
    /// # Errors
    /// [`Error::Io`] if a file is missing or cannot be read; [`Error::Input`] names the file and the line or
    /// what else is not as [`Checkpoint`] describes.
    pub fn load(path: impl AsRef<Path>) -> Result<Option<Self>, Error> {
        let path = path.as_ref();
        if !folder::exists(path) {
            return Ok(None);
        }
        folder::read(path, STATE, Self::load_from).map(Some)
    }

    fn load_from(folder: &Path) -> Result<Self, Error> {
        let path = folder.join(STATE);
        let sums = Sums::read(folder)?;
        let text = read_file(&path, MAX_CHECKPOINT)?;
        sums.check(&path, 0, &text)?;
        let text = String::from_utf8(text)
            .map_err(|error| input(&path, None, error.utf8_error().to_string(), "UTF-8 text"))?;
        let state: State = toml::from_str(&text).map_err(|error| {
            let line = error.span().map(|span| 1 + text[..span.start].matches('\n').count() as u64);
            input(&path, line, error.message(), "the state of a training")
        })?;
        if state.format != FORMAT {
            return Err(input(&path, None, format!("format {}", state.format), format!("format {FORMAT}")));
        }
        let shape = state.training.shape(state.vocab, state.classes);
        state.training.check().and_then(|()| Ok(check_shape(&shape)?)).map_err(|error| at(&path, error))?;
        check_history(&path, &state.training, state.measure, &state.history)?;
        let memory = match (state.training.optimizer, state.steps) {
            (Optimizer::Sgd, None) => None,
            (Optimizer::Adam, Some(steps)) => Some(steps),
            (optimizer, steps) => {
                let expected = format!("a number with Adam alone; the optimizer is {optimizer:?}");
                return Err(input(&path, None, format!("steps are {steps:?}"), expected));
            }
        };
        if sums.0.len() != if memory.is_some() { SUMMED } else { SUMMED_WITHOUT_MOMENTS } {
            return Err(Sums::refused(
                folder,
                if memory.is_some() { SUMMED } else { SUMMED_WITHOUT_MOMENTS },
            ));
        }
        let tensors = |line: usize| {
            let path = folder.join(FILES[line]);
            let bytes = read_weights_file(&path, shape)?;
            sums.check(&path, line, &bytes)?;
            parse_weights(&path, shape, &bytes)
        };
        Ok(Checkpoint {
            path,
            corpora: state.corpora,
            measure: state.measure,
            bits: state.bits,
            current: tensors(1)?,
            best: tensors(2)?,
            memory: match memory {
                Some(steps) => Some(Memory { steps, moments: [tensors(3)?, tensors(4)?] }),
                None => None,
            },
            config: state.training,
            history: state.history,
        })
    }

    /// Refuses to go on with other corpora or with another way to train; there may be more epochs now, unless the
    /// learning rate depends on them.
    pub(crate) fn check(
        &self,
        config: &TrainConfig,
        corpora: &str,
        measure: Measure,
        shape: Shape,
    ) -> Result<(), Error> {
        let refuse = |problem, expected| Err(input(&self.path, None, problem, expected));
        let table = |config: &TrainConfig| {
            toml::Table::try_from(config).map_err(|error| Error::shape("config", "values for TOML", error))
        };
        let (old, new) = (table(&self.config)?, table(config)?);
        // Options that are not set are in neither table or in one.
        let may_differ = |name: &String| *name == "epochs" && config.recipe != Recipe::Linear;
        if let Some(name) =
            new.keys().chain(old.keys()).find(|name| !may_differ(name) && old.get(*name) != new.get(*name))
        {
            let text =
                |table: &toml::Table| table.get(name).map_or("not set".to_owned(), ToString::to_string);
            let expected = format!("{}, as in the training that is to go on", text(&new));
            return refuse(format!("{name} is {}", text(&old)), expected);
        }
        if self.corpora != corpora {
            return refuse("other corpora".to_owned(), "those of the training that is to go on".to_owned());
        }
        if self.measure != measure {
            let expected = format!("{measure:?}, which follows from the corpora");
            return refuse(format!("the measure {:?}", self.measure), expected);
        }
        Ok(self.current.check(shape)?)
    }
}

/// SHA-256 of the training and the development corpus: what a checkpoint or a search knows them by.
pub fn fingerprint(train: &[TaggedSentence], dev: &[TaggedSentence]) -> String {
    let mut hash = Sha256::new();
    for corpus in [train, dev] {
        for sentence in corpus {
            for (word, tag) in sentence.words().iter().zip(sentence.tags()) {
                // Neither has a tab or a line end in it.
                for part in [word.as_str(), "\t", tag.as_str(), "\n"] {
                    hash.update(part);
                }
            }
            hash.update("\n");
        }
        hash.update("\0");
    }
    hex(&hash.finalize())
}

/// A line of the file of sums.
fn sum(name: &str, content: &[u8]) -> String {
    format!("{}  {name}\n", hex(&Sha256::digest(content)))
}

/// The file of sums: its lines.
struct Sums(Vec<String>);

impl Sums {
    fn read(folder: &Path) -> Result<Self, Error> {
        let path = folder.join(SUMS);
        let text = read_file(&path, MAX_CONFIG)?;
        // The sums themselves are compared with those of the files.
        let sizes = [SUMMED_WITHOUT_MOMENTS, SUMMED].map(|files| {
            let size: usize = FILES[..files].iter().map(|name| sum(name, b"").len()).sum();
            (files, size)
        });
        let files = sizes.iter().find(|(_, size)| *size == text.len()).map(|(files, _)| *files);
        let lines = String::from_utf8(text).ok().filter(|text| files.is_some() && text.is_ascii());
        let lines: Vec<String> =
            lines.iter().flat_map(|text| text.split_inclusive('\n')).map(str::to_owned).collect();
        let files = files.unwrap_or(SUMMED_WITHOUT_MOMENTS);
        if lines.len() != files || lines.iter().zip(FILES).any(|(line, name)| !line.contains(name)) {
            return Err(Sums::refused(folder, files));
        }
        Ok(Sums(lines))
    }

    fn refused(folder: &Path, files: usize) -> Error {
        let expected = format!("a line of sha256sum for each of {}", FILES[..files].join(", "));
        input(&folder.join(SUMS), None, "other lines", expected)
    }

    fn check(&self, path: &Path, line: usize, content: &[u8]) -> Result<(), Error> {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let found = sum(&name, content);
        if found != self.0[line] {
            let expected = format!("{}, as in {SUMS}", self.0[line].trim_end());
            return Err(input(path, None, format!("SHA-256 {}", found.trim_end()), expected));
        }
        Ok(())
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}"); // writing to a String cannot fail
        text
    })
}

/// Refuses a history that no training has.
fn check_history(
    path: &Path,
    config: &TrainConfig,
    measure: Measure,
    history: &[EpochRecord],
) -> Result<(), Error> {
    if history.is_empty() {
        return Err(input(path, None, "no epoch", "at least 1"));
    }
    let mut rate = LearningRate::new(config);
    let mut best: Option<&EpochRecord> = None;
    for (record, epoch) in history.iter().zip(1..) {
        let refuse = |name: &str, found: String, expected: String| {
            Err(input(path, None, format!("{name} of epoch {epoch} is {found}"), expected))
        };
        if record.epoch != epoch {
            return refuse("the number", record.epoch.to_string(), epoch.to_string());
        }
        if record.learning_rate != rate.rate {
            return refuse("learning_rate", record.learning_rate.to_string(), rate.rate.to_string());
        }
        if !record.loss.is_finite() {
            return refuse("loss", record.loss.to_string(), "a finite number".to_owned());
        }
        for (name, percent) in [
            ("dev_precision", record.dev_precision),
            ("dev_recall", record.dev_recall),
            ("dev_f1", record.dev_f1),
            ("dev_accuracy", record.dev_accuracy),
        ] {
            if !(0.0..=100.0).contains(&percent) {
                return refuse(name, percent.to_string(), "0 to 100".to_owned());
            }
        }
        let order = best.map_or(Ordering::Greater, |best| measure.compare_epochs(record, best));
        // Of equals with an F1 of 0, the loss on the development corpus decided, which is not in the file.
        let by_loss = measure == Measure::Accuracy || record.dev_f1 == 0.0;
        let gained =
            if order == Ordering::Equal { by_loss && record.best } else { order == Ordering::Greater };
        if record.best != gained {
            return refuse("best", record.best.to_string(), gained.to_string());
        }
        if gained {
            best = Some(record);
        }
        rate.halves_after(gained, measure.of(record) > 0.0);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use elman_reference::Reference;

    use super::*;
    use crate::{Model, Trainer, travel};

    fn config(recipe: Recipe) -> TrainConfig {
        TrainConfig {
            recipe,
            hidden: 6,
            embed: 4,
            window: 3,
            learning_rate: 0.9,
            epochs: 16,
            ..TrainConfig::default()
        }
    }

    /// Trains with an interruption after each of these epochs: saved, read and gone on from.
    fn trained(config: &TrainConfig, interruptions: &[usize]) -> (Vec<EpochRecord>, Model) {
        let (train, dev) = (travel::corpus(1, 20), travel::corpus(2, 5));
        let network = Reference::new();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.checkpoint");
        let mut trainer = Trainer::new(&network, config.clone(), &train, &dev).unwrap();
        assert_eq!(trainer.checkpoint(), None);
        while !trainer.is_finished() {
            let done = trainer.run_epoch(&mut |_| {}).unwrap().epoch;
            if interruptions.contains(&done) {
                trainer.checkpoint().unwrap().save(&path).unwrap();
                let checkpoint = Checkpoint::load(&path).unwrap().unwrap();
                assert_eq!(checkpoint.history(), trainer.history());
                assert_eq!(checkpoint.config(), config);
                trainer = Trainer::new(&network, config.clone(), &train, &dev).unwrap();
                trainer = trainer.resume(checkpoint).unwrap();
            }
        }
        (trainer.history().to_vec(), trainer.into_model())
    }

    #[test]
    fn a_training_that_goes_on_ends_in_the_same_bits() {
        let adam = TrainConfig {
            optimizer: Optimizer::Adam,
            recipe: Recipe::Linear,
            warm_up: 50,
            batch: 3,
            clip: Some(1.0),
            weight_decay: 0.01,
            normalise: true,
            dropout: 0.25,
            features: crate::Features { affixes: 2, shape: true },
            learning_rate: 0.01,
            ..config(Recipe::Linear)
        };
        assert_eq!(trained(&adam, &[]).1, trained(&adam, &[1, 2, 9]).1);
        for recipe in [Recipe::Tutorial, Recipe::Standard] {
            // The untrained network finds a phrase, and at this rate no epoch finds another one.
            let config =
                TrainConfig { hidden: 20, embed: 12, window: 5, learning_rate: 1e-3, ..config(recipe) };
            let (records, model) = trained(&config, &[]);
            let rates: Vec<f64> = records.iter().map(|record| record.learning_rate).collect();
            assert!(rates[15] < rates[0], "the rate must have been halved for this to show much: {rates:?}");
            let (again, resumed) = trained(&config, &[1, 4, 11, 13, 14, 15]);
            assert_eq!(model, resumed);
            for (one, other) in records.iter().zip(&again) {
                let seconds = (one.seconds, one.words_per_second);
                let other = EpochRecord { seconds: seconds.0, words_per_second: seconds.1, ..other.clone() };
                assert_eq!(*one, other);
            }
        }
    }

    /// A checkpoint after three epochs, in a folder.
    fn saved() -> (tempfile::TempDir, PathBuf) {
        saved_by(Optimizer::Sgd)
    }

    fn saved_by(optimizer: Optimizer) -> (tempfile::TempDir, PathBuf) {
        let (train, dev) = (travel::corpus(1, 12), travel::corpus(2, 12));
        let network = Reference::new();
        let config = TrainConfig { optimizer, ..config(Recipe::Tutorial) };
        let mut trainer = Trainer::new(&network, config, &train, &dev).unwrap();
        for _ in 0..3 {
            trainer.run_epoch(&mut |_| {}).unwrap();
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("c");
        trainer.checkpoint().unwrap().save(&path).unwrap();
        (folder, path)
    }

    /// Brings the file of sums in line with the others, as someone would who changes them on purpose.
    fn mend_sums(path: &Path) {
        let there = FILES[..SUMMED].iter().filter(|name| path.join(name).exists());
        let sums: String = there.map(|name| sum(name, &fs::read(path.join(name)).unwrap())).collect();
        fs::write(path.join(SUMS), sums).unwrap();
    }

    #[test]
    fn every_damaged_byte_is_seen() {
        let (_folder, path) = saved_by(Optimizer::Adam);
        assert_eq!(Checkpoint::load(path.with_file_name("none")).unwrap(), None);
        Checkpoint::check_target(&path).unwrap();
        assert!(Checkpoint::check_target(path.join(STATE)).is_err());
        for name in FILES {
            let whole = fs::read(path.join(name)).unwrap();
            for place in (0..whole.len()).step_by(1 + whole.len() / 150) {
                let mut flipped = whole.clone();
                flipped[place] ^= 1 << (place % 8);
                for damaged in [&flipped[..], &whole[..place]] {
                    fs::write(path.join(name), damaged).unwrap();
                    let error = Checkpoint::load(&path).expect_err("damage that was not seen");
                    let message = error.to_string();
                    assert!(matches!(error, Error::Input { .. }), "{message}");
                    // Where a sum is damaged, the file that it belongs to seems to be.
                    assert!(FILES.iter().any(|file| message.contains(&format!("/{file}: "))), "{message}");
                }
            }
            fs::write(path.join(name), whole).unwrap();
        }
        Checkpoint::load(&path).unwrap().unwrap();
    }

    #[test]
    fn lines_that_are_none_of_sums_are_refused_as_such() {
        let (_folder, path) = saved();
        let whole = fs::read_to_string(path.join(SUMS)).unwrap();
        // Another length, no ASCII in the right length, a line missing, another name.
        for lines in [
            whole.replacen("  ", " ".repeat(60_000).as_str(), 1),
            whole.replacen(&whole[..2], "é", 1),
            whole.lines().take(2).map(|line| format!("{line}\n")).collect(),
            whole.replacen(STATE, &STATE.to_uppercase(), 1),
        ] {
            fs::write(path.join(SUMS), lines).unwrap();
            let message = Checkpoint::load(&path).unwrap_err().to_string();
            assert!(
                message.contains("sha256sums.txt: other lines, expected a line of sha256sum"),
                "{message}"
            );
        }
    }

    #[test]
    fn a_history_that_cannot_be_is_named() {
        for (from, to, expected) in [
            ("epoch = 2", "epoch = 3", "the number of epoch 2 is 3, expected 2"),
            ("learning_rate = 0.9", "learning_rate = 0.8", "learning_rate of epoch 1 is 0.9, expected 0.8"),
            ("best = true", "best = false", "best of epoch 1 is false, expected true"),
            ("loss = ", "loss = nan # ", "loss of epoch 1 is NaN, expected a finite number"),
            ("dev_f1 = ", "dev_f1 = 999 # ", "dev_f1 of epoch 1 is 999, expected 0 to 100"),
            ("format = 1", "format = 2", "format 2, expected format 1"),
            ("hidden = 6", "hidden = 99999", "hidden is 99999, expected at most 32768"),
            ("hidden = 6", "hidden = 7", "current.safetensors: "),
            ("epochs = 16", "epochs = 1x", "checkpoint.toml:{line}: "),
        ] {
            let (_folder, path) = saved();
            let text = fs::read_to_string(path.join(STATE)).unwrap();
            assert!(text.contains(from), "{text}");
            fs::write(path.join(STATE), text.replacen(from, to, 1)).unwrap();
            mend_sums(&path);
            let line = 1 + text[..text.find(from).unwrap()].matches('\n').count();
            let expected = expected.replace("{line}", &line.to_string());
            let message = Checkpoint::load(&path).unwrap_err().to_string();
            assert!(message.contains(&expected), "{message}");
        }
    }

    #[test]
    fn moments_are_there_with_adam_alone() {
        let (_folder, path) = saved_by(Optimizer::Adam);
        let text = fs::read_to_string(path.join(STATE)).unwrap();
        fs::write(path.join(STATE), text.replacen("steps = 36", "", 1)).unwrap();
        mend_sums(&path);
        let message = Checkpoint::load(&path).unwrap_err().to_string();
        assert!(message.contains("steps are None, expected a number with Adam alone"), "{message}");
        fs::write(path.join(STATE), text).unwrap();
        fs::remove_file(path.join(SECOND)).unwrap();
        fs::remove_file(path.join(FIRST)).unwrap();
        mend_sums(&path);
        let message = Checkpoint::load(&path).unwrap_err().to_string();
        assert!(message.contains("expected a line of sha256sum for each of checkpoint.toml"), "{message}");
    }

    #[test]
    fn another_training_is_refused() {
        let (train, dev) = (travel::corpus(1, 12), travel::corpus(2, 12));
        let (_folder, path) = saved();
        let network = Reference::new();
        let resume = |config: TrainConfig, train: &[TaggedSentence], dev: &[TaggedSentence]| {
            let checkpoint = Checkpoint::load(&path).unwrap().unwrap();
            Trainer::new(&network, config, train, dev)?.resume(checkpoint).map(drop)
        };
        let config = config(Recipe::Tutorial);
        resume(config.clone(), &train, &dev).unwrap();
        resume(TrainConfig { epochs: 99, ..config.clone() }, &train, &dev).unwrap();
        let linear = TrainConfig { recipe: Recipe::Linear, ..config.clone() };
        assert!(resume(linear, &train, &dev).is_err());
        let message =
            resume(TrainConfig { hidden: 7, ..config.clone() }, &train, &dev).unwrap_err().to_string();
        assert!(
            message
                .ends_with("checkpoint.toml: hidden is 6, expected 7, as in the training that is to go on"),
            "{message}"
        );
        for (train, dev) in [(&train[..11], &dev[..]), (&train, &dev[1..])] {
            let message = resume(config.clone(), train, dev).unwrap_err().to_string();
            assert!(message.contains("other corpora, expected those of the training"), "{message}");
        }
    }

    #[test]
    fn what_is_stopped_in_an_epoch_keeps_the_epochs_before() {
        use std::sync::Arc;
        use std::sync::atomic::{AtomicBool, Ordering};
        let (train, dev) = (travel::corpus(1, 12), travel::corpus(2, 12));
        let network = Reference::new();
        let mut trainer = Trainer::new(&network, config(Recipe::Tutorial), &train, &dev).unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        trainer.stop_when(stop.clone());
        trainer.run_epoch(&mut |_| {}).unwrap();
        let best = trainer.checkpoint().unwrap().best;
        let result =
            trainer.run_epoch(&mut |progress| stop.store(progress.sentences == 5, Ordering::Relaxed));
        assert!(matches!(result, Err(Error::Interrupted { epoch: 2, sentences: 6 })), "{result:?}");
        assert_eq!((trainer.history().len(), trainer.checkpoint()), (1, None));
        assert_eq!(*trainer.into_model().params(), best);
    }
}
