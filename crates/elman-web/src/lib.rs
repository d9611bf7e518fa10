#![doc = include_str!("../README.md")]
#![cfg_attr(not(target_arch = "wasm32"), forbid(unsafe_code))]

use elman::{
    Error as Refused, Layer, Learner, Network, Params, Recurrence, Sequences, States, Tagger, Trace,
};
use elman_fast::{Fast, Isa};
use elman_tagger::{Error, Model, Pipeline, Trainer, travel};
use serde_json::{Value, json};

#[cfg(target_arch = "wasm32")]
mod bindings;

/// The network of elman-fast without its recurrence alone, which word-by-word training takes and this page does not: so it
/// is not downloaded.
struct WholeSentences(Fast);

impl Network<f32> for WholeSentences {
    fn name(&self) -> String {
        Network::<f32>::name(&self.0)
    }

    fn bits(&self) -> Option<u32> {
        Network::<f32>::bits(&self.0)
    }

    fn learner(&self, params: Params<f32>) -> Result<Box<dyn Learner<f32>>, Refused> {
        self.0.learner(params)
    }

    fn tagger(&self, params: &Params<f32>) -> Result<Box<dyn Tagger<f32>>, Refused> {
        self.0.tagger(params)
    }
}

fn refused<T>() -> Result<T, Refused> {
    Err(Refused::unsupported("training in a page", "sentence by sentence", "word by word"))
}

impl Recurrence<f32> for WholeSentences {
    fn forward(&self, _: Layer<'_, f32>, _: &Sequences<'_, f32>) -> Result<States<f32>, Refused> {
        refused()
    }

    fn vjp<'a>(
        &self,
        _: Layer<'a, f32>,
        _: &'a Sequences<'a, f32>,
    ) -> Result<Box<dyn Trace<f32> + 'a>, Refused> {
        refused()
    }
}

/// The state of the page: a training, and a model to tag with. Results are JSON.
pub struct Session {
    network: &'static WholeSentences,
    trainer: Option<Trainer<'static>>,
    pipeline: Option<Pipeline>,
}

impl Session {
    /// On the instruction set `exact`, with the bits of a native training.
    ///
    /// # Errors
    /// Those of [`Fast::with`].
    pub fn new() -> Result<Self, Error> {
        let network = WholeSentences(Fast::with(Isa::Exact)?);
        // A page has one session, and is closed with it.
        Ok(Session { network: Box::leak(Box::new(network)), trainer: None, pipeline: None })
    }

    /// Begins the training of `elman demo`. Returns its `epochs`, `sentences`, `words` and `tags`.
    ///
    /// # Errors
    /// Those of [`Trainer::new`].
    pub fn begin(&mut self) -> Result<Value, Error> {
        let (config, train, dev) = travel::demo(travel::DEMO_SEED);
        let (epochs, dev) = (config.epochs, Vec::leak(dev));
        let trainer = Trainer::new(self.network, config, &train, dev)?;
        let sizes = json!({ "epochs": epochs, "sentences": train.len(),
            "words": trainer.vocabulary().size(), "tags": trainer.labels().size() });
        self.trainer = Some(trainer);
        Ok(sizes)
    }

    /// The next epoch's `epoch`, `loss` and `dev_f1`. After the last one the `hash`, `best_epoch` and `dev_f1` of the
    /// model, with which the session tags from then on. `null` if no training has begun.
    ///
    /// # Errors
    /// Those of [`Trainer::run_epoch`].
    pub fn epoch(&mut self) -> Result<Value, Error> {
        let Some(mut trainer) = self.trainer.take() else { return Ok(Value::Null) };
        if trainer.is_finished() {
            return self.take(&trainer.into_model());
        }
        let record = trainer.run_epoch(&mut |_| {})?;
        let record = json!({ "epoch": record.epoch, "loss": record.loss, "dev_f1": record.dev_f1 });
        self.trainer = Some(trainer);
        Ok(record)
    }

    /// Takes a model of the files of its folder, by name and content. Returns what the last [`Session::epoch`] does.
    ///
    /// # Errors
    /// Those of [`Model::from_files`].
    pub fn load(&mut self, files: &[(String, Vec<u8>)]) -> Result<Value, Error> {
        self.take(&Model::from_files(files)?)
    }

    fn take(&mut self, model: &Model) -> Result<Value, Error> {
        self.pipeline = Some(Pipeline::new(model, self.network)?);
        let outcome = model.outcome();
        Ok(json!({ "hash": model.hash(), "best_epoch": outcome.best_epoch, "dev_f1": outcome.dev_f1,
            "words": model.vocabulary().size(), "tags": model.labels().size() }))
    }

    /// For each word of a text (parted by white space) the `word` and its three most probable tags, each a `tag` and its
    /// `score`. `null` without a model.
    ///
    /// # Errors
    /// The network's errors.
    pub fn tag(&mut self, text: &str) -> Result<Value, Error> {
        let Some(pipeline) = &mut self.pipeline else { return Ok(Value::Null) };
        let words: Vec<&str> = text.split_whitespace().collect();
        let best = pipeline.best_tags(&words, 3)?;
        let tags = |best: Vec<elman_tagger::Scored<'_>>| -> Vec<Value> {
            best.iter().map(|best| json!({ "tag": best.tag, "score": best.score })).collect()
        };
        Ok(words.iter().zip(best).map(|(word, best)| json!({ "word": word, "tags": tags(best) })).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_trains_tags_and_loads() {
        let network = Box::leak(Box::new(WholeSentences(Fast::new())));
        let mut session = Session { network, trainer: None, pipeline: None };
        assert_eq!((session.epoch().unwrap(), session.tag("to oslo").unwrap()), (Value::Null, Value::Null));
        assert_eq!(session.begin().unwrap()["epochs"], 20);
        let first = session.epoch().unwrap();
        let second = session.epoch().unwrap();
        assert!(second["loss"].as_f64() < first["loss"].as_f64(), "{first} {second}");
        let (_, train, dev) = travel::demo(travel::DEMO_SEED);
        let config = elman_tagger::TrainConfig { hidden: 8, embed: 8, epochs: 1, ..Default::default() };
        let mut trainer = Trainer::new(session.network, config, &train, &dev).unwrap();
        trainer.run_epoch(&mut |_| {}).unwrap();
        let model = trainer.into_model();
        let folder = tempfile::tempdir().unwrap();
        model.save(folder.path(), &[]).unwrap();
        let file = |name: &str| (name.to_owned(), std::fs::read(folder.path().join(name)).unwrap());
        let mut own = ["config.toml", "weights.safetensors", "labels.txt", "training.log", "vocab.txt"]
            .map(file)
            .to_vec();
        assert_eq!(session.load(&own).unwrap()["hash"], model.hash());
        let tagged = session.tag(" from  oslo\n").unwrap();
        assert_eq!((tagged.as_array().unwrap().len(), &tagged[1]["word"]), (2, &json!("oslo")));
        assert!(tagged[0]["tags"][0]["score"].as_f64() >= tagged[0]["tags"][1]["score"].as_f64());
        own.pop();
        assert!(session.load(&own).unwrap_err().to_string().contains("vocab.txt"));
    }
}
