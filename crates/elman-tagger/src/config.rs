use std::fmt::Display;
use std::str::FromStr;

use elman::{Cell, Feedback, Head, Shape};
use serde::{Deserialize, Serialize};

use crate::limits::{MAX_BATCH, MAX_EPOCHS, check_shape};
use crate::{Error, Features, Normalization, Scheme};

/// How the learning rate changes.
///
/// All recipes keep the model of the best development F1 (a copy of its parameters). [`Recipe::Tutorial`] and
/// [`Recipe::Standard`] halve the learning rate when ten epochs have brought no better F1, and end when it falls below
/// 1e-5. Of two epochs with the same F1 the one with more words tagged right is the better one; of two that tie in both,
/// the earlier one, as in the tutorial. An F1 of 0 does not tell epochs apart: then a smaller loss on the development
/// corpus decides between equal accuracies. Before the first F1 above 0 no epoch counts as one without gain. Where tags
/// form no phrases, and F1 says nothing, epochs are compared by the share of words tagged right
/// ([`Measure`](crate::Measure)), then by the loss.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Recipe {
    /// As the Theano tutorial's code (`rnnslu.py`) does it: from the tenth epoch without gain on, the learning
    /// rate is halved after EVERY epoch until there is a gain, and training goes back to the best parameters.
    ///
    /// The tutorial's code differs from its own comment ("learning rate decay if no improvement in 10 epochs")
    /// in two places. It compares the current epoch with the best one and never resets that count, so once the
    /// rate begins to fall it falls after every epoch, below 1e-5 within fourteen. That shapes the end of every
    /// training, so it is kept here. And it goes back by `rnn = best_rnn`, which makes the two names mean one
    /// object: the epochs that follow change the "best" model too, and going back again does nothing. That is
    /// not kept: here the best parameters are a copy that no later epoch changes, and each halving goes back to
    /// it.
    #[default]
    Tutorial,
    /// What the tutorial's comment says: the learning rate is halved after ten epochs without a better F1, then
    /// it has ten epochs again. Training goes on from where it is.
    Standard,
    /// The learning rate stays as it is.
    Constant,
    /// The learning rate falls in equal steps from update to update, to 0 after the last epoch.
    Linear,
}

/// The rule of the updates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Optimizer {
    /// Stochastic gradient descent with normalised embeddings, the tutorial's: [`Update::Sgd`](elman::Update::Sgd).
    #[default]
    Sgd,
    /// [`Update::Adam`](elman::Update::Adam).
    Adam,
}

impl Recipe {
    /// Epochs without a better F1 after which the learning rate is halved.
    pub const PATIENCE: usize = 10;
    /// Training ends when the learning rate falls below this by halving.
    pub const LAST_LEARNING_RATE: f64 = 1e-5;

    /// Whether the learning rate follows the F1.
    pub(crate) fn halves(self) -> bool {
        matches!(self, Recipe::Tutorial | Recipe::Standard)
    }
}

/// A value by the name that it prints, as files have it.
mod by_name {
    use super::*;
    use serde::de::{Deserializer, Error as _};

    pub(super) fn serialize<V: Display, S: serde::Serializer>(value: &V, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(value)
    }

    pub(super) fn deserialize<'de, V: FromStr<Err = elman::Error>, D: Deserializer<'de>>(
        from: D,
    ) -> Result<V, D::Error> {
        String::deserialize(from)?.parse().map_err(D::Error::custom)
    }
}

fn one() -> usize {
    1
}

fn is_one(value: &usize) -> bool {
    *value == 1
}

fn is_default<V: Default + PartialEq>(value: &V) -> bool {
    *value == V::default()
}

/// Everything that decides a training but the corpora. The default is the tutorial's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainConfig {
    /// Which network: Elman's, or Jordan's. In files it is `network = "jordan"`; without, it is Elman's.
    #[serde(rename = "network", with = "by_name", default, skip_serializing_if = "is_default")]
    pub feedback: Feedback,
    /// The arithmetic of a hidden unit. In files it is `cell = "gru"`; without, it is Elman's with a sigmoid.
    #[serde(with = "by_name", default, skip_serializing_if = "is_default")]
    pub cell: Cell,
    /// Number of layers, each of which reads the one below. In files it is `layers = 2`; without, it is one.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub layers: usize,
    /// Whether each layer also reads from the end to the start. In files it is `bidirectional = true`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub bidirectional: bool,
    /// The head, which makes tags of the scores. In files it is `head = "crf"`; without, it is a softmax for each word.
    #[serde(with = "by_name", default, skip_serializing_if = "is_default")]
    pub head: Head,
    /// How the learning rate changes.
    pub recipe: Recipe,
    /// The rule of the updates.
    #[serde(default, skip_serializing_if = "is_default")]
    pub optimizer: Optimizer,
    /// With Adam: the largest norm of a gradient; a larger one is scaled to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clip: Option<f64>,
    /// With Adam: decoupled weight decay.
    #[serde(default, skip_serializing_if = "is_default")]
    pub weight_decay: f64,
    /// With Adam: divides the embeddings that an update changed by their norms, as gradient descent always does.
    #[serde(default, skip_serializing_if = "is_default")]
    pub normalise: bool,
    /// The updates in which the learning rate rises from 0 to its value, in equal steps.
    #[serde(default, skip_serializing_if = "is_default")]
    pub warm_up: usize,
    /// Drops so many of the embeddings of each word, and of the states before the output, in each update: a number from
    /// 0 to below 1. The rest is scaled to keep its mean.
    #[serde(default, skip_serializing_if = "is_default")]
    pub dropout: f64,
    /// The features of words.
    #[serde(default, skip_serializing_if = "is_default")]
    pub features: Features,
    /// Ends the training after so many epochs without a better one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub patience: Option<usize>,
    /// Width of the hidden state.
    pub hidden: usize,
    /// Width of an embedding.
    pub embed: usize,
    /// Number of words around and with each word that the network sees; odd.
    pub window: usize,
    /// The learning rate of the first epoch.
    pub learning_rate: f64,
    /// The last epoch.
    pub epochs: usize,
    /// Sentences in one update; 1 in the tutorial.
    pub batch: usize,
    /// An update for each word instead of each batch of sentences, from a run of at most this many words, as in the
    /// code of Mesnil et al. (2013); see [`Trainer`](crate::Trainer).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by_word: Option<usize>,
    /// Chooses the most probable tags among the sequences that the scheme allows ([`ValidTags`](crate::ValidTags)), on the
    /// development corpus and whenever the model tags.
    #[serde(default, skip_serializing_if = "is_default")]
    pub valid_iob: bool,
    /// The SHA-256 of the weights of the model that the training goes on from, if it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// The hash of the vectors of words that the training starts from, if it does ([`Vectors::hash`](crate::Vectors::hash)).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vectors: Option<String>,
    /// Leaves the embeddings of words that have a vector as they are.
    #[serde(default, skip_serializing_if = "is_default")]
    pub freeze_vectors: bool,
    /// Decides the initial parameters and the order of the sentences in each epoch.
    pub seed: u64,
    /// The scheme of the tags by which they are scored; without one it is recognised, see
    /// [`Tagging::recognise`](crate::Tagging::recognise).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheme: Option<Scheme>,
    /// The changes of words before they are looked up.
    pub normalization: Normalization,
}

impl Default for TrainConfig {
    fn default() -> Self {
        TrainConfig {
            feedback: Feedback::Hidden,
            cell: Cell::default(),
            layers: 1,
            bidirectional: false,
            head: Head::Softmax,
            recipe: Recipe::Tutorial,
            optimizer: Optimizer::Sgd,
            clip: None,
            weight_decay: 0.0,
            normalise: false,
            warm_up: 0,
            dropout: 0.0,
            features: Features::default(),
            patience: None,
            hidden: 200,
            embed: 50,
            window: 7,
            learning_rate: 0.0970806646812754,
            epochs: 60,
            batch: 1,
            by_word: None,
            valid_iob: false,
            from: None,
            vectors: None,
            freeze_vectors: false,
            seed: 345,
            scheme: None,
            normalization: Normalization::default(),
        }
    }
}

impl TrainConfig {
    /// The network's shape for a vocabulary and labels of these sizes.
    pub fn shape(&self, vocab: usize, classes: usize) -> Shape {
        let TrainConfig { embed, window, hidden, cell, feedback, layers, bidirectional, head, .. } = *self;
        Shape { vocab, embed, window, hidden, classes, cell, feedback, layers, bidirectional, head }
    }

    /// Whether words are trained as forms.
    pub(crate) fn has_forms(&self) -> bool {
        self.dropout > 0.0 || !self.features.is_none() || self.freeze_vectors
    }

    /// Whether the written standard of the bits ([`elman::BITS`]) says everything that this training computes.
    pub(crate) fn follows_the_standard(&self) -> bool {
        let Optimizer::Sgd = self.optimizer else { return false };
        let rate = self.recipe.halves() && self.warm_up == 0;
        rate && self.by_word.is_none() && !self.has_forms() && self.from.is_none() && self.vectors.is_none()
    }

    /// Refuses values with which training has no meaning.
    ///
    /// # Errors
    /// [`elman::Error::Shape`] names the value; [`elman::Error::Unsupported`] a combination that does not exist.
    pub fn check(&self) -> Result<(), Error> {
        check_shape(&self.shape(1, 1))?;
        for (what, value, most) in [("epochs", self.epochs, MAX_EPOCHS), ("batch", self.batch, MAX_BATCH)] {
            if !(1..=most).contains(&value) {
                return Err(Error::shape(what, format!("1 to {most}"), value));
            }
        }
        if self.by_word == Some(0) {
            return Err(Error::shape("by_word", "at least 1", 0));
        }
        if self.by_word.is_some() && self.feedback == Feedback::Output {
            return Err(Error::shape("network", "elman, to make an update for each word", self.feedback));
        }
        let shape = self.shape(1, 1);
        if self.by_word.is_some() && (!shape.is_single() || shape.head == Head::Crf) {
            let expected = "one layer, forward, with a softmax, to make an update for each word";
            return Err(Error::unsupported("network", expected, shape.name()));
        }
        if !(self.learning_rate.is_finite() && self.learning_rate > 0.0) {
            return Err(Error::shape("learning_rate", "a number greater than 0", self.learning_rate));
        }
        if self.optimizer == Optimizer::Sgd {
            for (what, given) in [
                ("clip", self.clip.is_some()),
                ("weight_decay", self.weight_decay != 0.0),
                ("normalise", self.normalise),
            ] {
                if given {
                    return Err(Error::unsupported(what, "Adam", "gradient descent"));
                }
            }
        } else if self.by_word.is_some() {
            return Err(Error::unsupported("an update for each word", "gradient descent", "Adam"));
        }
        if self.clip.is_some_and(|clip| !(clip.is_finite() && clip > 0.0)) {
            return Err(Error::shape("clip", "a number greater than 0", self.clip.unwrap_or_default()));
        }
        for (what, value) in [("weight_decay", self.weight_decay), ("dropout", self.dropout)] {
            if !(0.0..1.0).contains(&value) {
                return Err(Error::shape(what, "a number from 0 to below 1", value));
            }
        }
        if self.features.affixes > Features::MAX_AFFIXES {
            let most = format!("at most {}", Features::MAX_AFFIXES);
            return Err(Error::shape("affixes", most, self.features.affixes));
        }
        if self.by_word.is_some() && self.has_forms() {
            return Err(Error::unsupported(
                "an update for each word",
                "no features, no dropout and no frozen vectors",
                "some",
            ));
        }
        if self.patience == Some(0) {
            return Err(Error::shape("patience", "at least 1", 0));
        }
        // TOML's integers are signed.
        if i64::try_from(self.warm_up).is_err() {
            return Err(Error::shape("warm_up", format!("at most {}", i64::MAX), self.warm_up));
        }
        if i64::try_from(self.seed).is_err() {
            return Err(Error::shape("seed", format!("at most {}", i64::MAX), self.seed));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_without_meaning_is_named() {
        TrainConfig::default().check().unwrap();
        type Change = fn(&mut TrainConfig);
        let broken: [(&str, Change); 35] = [
            ("hidden", |c| c.hidden = 0),
            ("hidden", |c| c.hidden = 32_769),
            ("epochs", |c| c.epochs = usize::MAX),
            ("batch", |c| c.batch = usize::MAX),
            ("embed", |c| c.embed = 0),
            ("window", |c| c.window = 4),
            ("epochs", |c| c.epochs = 0),
            ("batch", |c| c.batch = 0),
            ("by_word", |c| c.by_word = Some(0)),
            ("network", |c| (c.by_word, c.feedback) = (Some(9), Feedback::Output)),
            ("network", |c| (c.by_word, c.layers) = (Some(9), 2)),
            ("network", |c| (c.by_word, c.bidirectional) = (Some(9), true)),
            ("network", |c| (c.by_word, c.head) = (Some(9), Head::Crf)),
            ("head of a Jordan network", |c| (c.head, c.feedback) = (Head::Crf, Feedback::Output)),
            ("layers", |c| c.layers = 0),
            ("layers of a Jordan network", |c| (c.layers, c.feedback) = (2, Feedback::Output)),
            ("directions of a Jordan network", |c| (c.bidirectional, c.feedback) = (true, Feedback::Output)),
            ("learning_rate", |c| c.learning_rate = 0.0),
            ("learning_rate", |c| c.learning_rate = f64::NAN),
            ("learning_rate", |c| c.learning_rate = f64::INFINITY),
            ("seed", |c| c.seed = u64::MAX),
            ("clip", |c| c.clip = Some(1.0)),
            ("weight_decay", |c| c.weight_decay = 0.1),
            ("normalise", |c| c.normalise = true),
            ("an update for each word", |c| (c.optimizer, c.by_word) = (Optimizer::Adam, Some(9))),
            ("clip", |c| (c.optimizer, c.clip) = (Optimizer::Adam, Some(0.0))),
            ("weight_decay", |c| (c.optimizer, c.weight_decay) = (Optimizer::Adam, 1.0)),
            ("weight_decay", |c| (c.optimizer, c.weight_decay) = (Optimizer::Adam, f64::NAN)),
            ("patience", |c| c.patience = Some(0)),
            ("dropout", |c| c.dropout = 1.0),
            ("affixes", |c| c.features.affixes = 9),
            ("an update for each word", |c| (c.by_word, c.dropout) = (Some(9), 0.5)),
            ("an update for each word", |c| (c.by_word, c.freeze_vectors) = (Some(9), true)),
            ("an update for each word", |c| (c.by_word, c.features.shape) = (Some(9), true)),
            ("warm_up", |c| c.warm_up = usize::MAX),
        ];
        for (what, break_it) in broken {
            let mut config = TrainConfig::default();
            break_it(&mut config);
            let message = config.check().unwrap_err().to_string();
            assert!(message.starts_with(&format!("{what}: ")), "{message}");
        }
    }

    #[test]
    fn the_network_is_in_the_file_where_it_is_jordans() {
        let jordan = TrainConfig { feedback: Feedback::Output, ..TrainConfig::default() };
        let text = toml::to_string(&jordan).unwrap();
        assert!(text.starts_with("network = \"jordan\"\n"), "{text}");
        assert_eq!(toml::from_str::<TrainConfig>(&text).unwrap(), jordan);
        // Elman's is in no file, and neither was it when there was no other.
        let elman = toml::to_string(&TrainConfig::default()).unwrap();
        assert!(!elman.contains("network"), "{elman}");
        assert_eq!(toml::from_str::<TrainConfig>(&elman).unwrap(), TrainConfig::default());
        assert_eq!(
            toml::from_str::<TrainConfig>(&format!("network = \"elman\"\n{elman}")).unwrap(),
            TrainConfig::default()
        );
        let refused = toml::from_str::<TrainConfig>(&text.replace("jordan", "hopfield")).unwrap_err();
        assert!(refused.message().contains("hopfield"), "{refused}");
        let gru = TrainConfig { cell: Cell::Gru, ..TrainConfig::default() };
        let text = toml::to_string(&gru).unwrap();
        assert!(text.starts_with("cell = \"gru\"\n"), "{text}");
        assert_eq!(toml::from_str::<TrainConfig>(&text).unwrap(), gru);
        let crf = TrainConfig { head: Head::Crf, ..TrainConfig::default() };
        let text = toml::to_string(&crf).unwrap();
        assert!(text.starts_with("head = \"crf\"\n") && !elman.contains("head"), "{text}");
        assert_eq!(toml::from_str::<TrainConfig>(&text).unwrap(), crf);
    }
}
