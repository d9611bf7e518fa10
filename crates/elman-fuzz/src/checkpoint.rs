//! Checkpoint folders.

use std::sync::LazyLock;

use elman_fast::Fast;
use elman_tagger::{Checkpoint, Error, Model, TaggedSentence, TrainConfig, Trainer, travel};
use sha2::{Digest, Sha256};

use crate::files;

pub(crate) const FILES: [&str; 4] =
    ["checkpoint.toml", "current.safetensors", "best.safetensors", "sha256sums.txt"];

/// A training, its checkpoint after some epochs, and the model that it ends in.
pub(crate) struct Base {
    train: Vec<TaggedSentence>,
    dev: Vec<TaggedSentence>,
    config: TrainConfig,
    pub(crate) files: Vec<(&'static str, Vec<u8>)>,
    model: Model,
}

pub(crate) static BASE: LazyLock<Base> = LazyLock::new(|| {
    let (train, dev) = (travel::corpus(1, 4), travel::corpus(2, 2));
    let config = TrainConfig { hidden: 2, embed: 2, window: 3, epochs: 4, ..TrainConfig::default() };
    let fast = Fast::new();
    let mut trainer = Trainer::new(&fast, config.clone(), &train, &dev).expect("a training");
    let folder = files::folder();
    let path = folder.path().join("checkpoint");
    for _ in 0..2 {
        trainer.run_epoch(&mut |_| {}).expect("an epoch");
    }
    trainer.checkpoint().expect("between two epochs").save(&path).expect("a checkpoint that can be saved");
    let files = files::read(&path, &FILES);
    while !trainer.is_finished() {
        trainer.run_epoch(&mut |_| {}).expect("an epoch");
    }
    let model = trainer.into_model();
    Base { train, dev, config, files, model }
});

/// A damaged checkpoint is refused by the name of one of its files. One whose sums are right (the first bit of
/// the input asks for that) is refused too, or it comes back as it was saved and a training can go on from it;
/// and an undamaged one leads to the very model of the training that was never interrupted.
pub(crate) fn check(data: &[u8]) {
    let base = &*BASE;
    let (repair, data) = match data.split_first() {
        Some((first, rest)) => (first & 1 == 1, rest),
        None => (false, data),
    };
    let mut changed = files::changed(&base.files, data);
    if repair {
        let sums = changed[..3].iter().map(|(name, content)| sum(name, content)).collect::<String>();
        changed[3].1 = sums.into_bytes();
    }
    let untouched = changed.iter().zip(&base.files).all(|(changed, (_, base))| changed.1 == *base);

    let parent = files::folder();
    let path = parent.path().join("checkpoint");
    files::write(&path, &changed);
    let checkpoint = match Checkpoint::load(&path) {
        Ok(found) => found.expect("the folder is there"),
        Err(error) => {
            assert!(!untouched, "{error}");
            return files::assert_names_a_file(&error, &path, &FILES);
        }
    };
    assert!(repair || untouched, "damage that was not seen");
    let again = parent.path().join("again");
    checkpoint.save(&again).expect("a checkpoint that can be saved");
    let again = Checkpoint::load(&again).expect("what was saved can be read").expect("and is there");
    assert_eq!((again.config(), again.history()), (checkpoint.config(), checkpoint.history()));

    let fast = Fast::new();
    let mut trainer = match Trainer::new(&fast, base.config.clone(), &base.train, &base.dev)
        .and_then(|trainer| trainer.resume(checkpoint))
    {
        Ok(trainer) => trainer,
        Err(Error::Input { .. }) => return assert!(!untouched),
        Err(error) => panic!("a checkpoint must be refused as such, found {error:?}"),
    };
    while !trainer.is_finished() {
        match trainer.run_epoch(&mut |_| {}) {
            Ok(_) => {}
            Err(Error::Diverged { .. }) => return assert!(!untouched),
            Err(error) => panic!("{error}"),
        }
    }
    if untouched {
        assert_eq!(trainer.into_model(), base.model);
    }
}

/// A line of the file of sums, in the form of `sha256sum`.
fn sum(name: &str, content: &[u8]) -> String {
    let hex: String = Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{hex}  {name}\n")
}
