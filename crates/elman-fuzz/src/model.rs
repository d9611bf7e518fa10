//! Model folders.

use std::sync::LazyLock;

use elman_fast::Fast;
use elman_tagger::{Model, Pipeline, TrainConfig, Trainer, travel};

use crate::files;

pub(crate) const FILES: [&str; 4] = ["config.toml", "vocab.txt", "labels.txt", "weights.safetensors"];

/// A small model's files.
pub(crate) static BASE: LazyLock<Vec<(&'static str, Vec<u8>)>> = LazyLock::new(|| {
    let (train, dev) = (travel::corpus(1, 4), travel::corpus(2, 2));
    let config = TrainConfig { hidden: 2, embed: 2, window: 3, epochs: 1, ..TrainConfig::default() };
    let fast = Fast::new();
    let mut trainer = Trainer::new(&fast, config, &train, &dev).expect("a training");
    trainer.run_epoch(&mut |_| {}).expect("an epoch");
    let folder = files::folder();
    let path = folder.path().join("model");
    trainer.into_model().save(&path, &[]).expect("a model that can be saved");
    files::read(&path, &FILES)
});

/// A folder is refused by the name of one of its files, or it is a model that can be used, saved and read
/// again.
pub(crate) fn check(data: &[u8]) {
    let parent = files::folder();
    let path = parent.path().join("model");
    files::write(&path, &files::changed(&BASE, data));
    let model = match Model::load(&path) {
        Ok(model) => model,
        Err(error) => return files::assert_names_a_file(&error, &path, &FILES),
    };
    assert_eq!(model.params().shape(), model.shape());
    for (name, tensor) in model.params().tensors() {
        assert!(tensor.iter().all(|entry| entry.is_finite()), "{name}");
    }
    let again = parent.path().join("again");
    model.save(&again, &[]).expect("a model that can be saved");
    assert_eq!(Model::load(&again).expect("what was saved can be read"), model);

    let mut pipeline = Pipeline::new(&model, &Fast::new()).expect("a model that can be used");
    let words = ["to", "new", "york"];
    let tags = pipeline.tag(&words).expect("tags");
    assert_eq!(tags.len(), words.len());
    assert!(tags.iter().all(|tag| model.labels().id(tag).is_some()));
}
