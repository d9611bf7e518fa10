use std::fmt::Display;
use std::str::FromStr;

use elman::{Cell, Feedback, Shape};
use serde::{Deserialize, Serialize};

use crate::limits::{MAX_BATCH, MAX_EPOCHS, check_shape};
use crate::{Error, Normalization, Scheme};

/// How the learning rate follows the F1 on the development corpus.
///
/// Both recipes keep the model of the best development F1 (a copy of its parameters), halve the learning rate
/// when ten epochs have brought no better F1, and end when it falls below 1e-5. Of two epochs with the same F1
/// the better one has more words tagged right or, if these are as many too, the smaller loss on the development
/// corpus. Before the first F1 above 0 no epoch counts as one without gain. Where tags form no phrases, and F1
/// says nothing, epochs are compared by the share of words tagged right ([`Measure`](crate::Measure)).
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
}

impl Recipe {
    /// Epochs without a better F1 after which the learning rate is halved.
    pub const PATIENCE: usize = 10;
    /// Training ends when the learning rate falls below this.
    pub const LAST_LEARNING_RATE: f64 = 1e-5;
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
    /// How the learning rate changes.
    pub recipe: Recipe,
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
    /// Decides the initial parameters and the order of the sentences in each epoch.
    pub seed: u64,
    /// The scheme of the tags by which they are scored; without one it is recognised, see
    /// [`Tagging::recognise`](crate::Tagging::recognise).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheme: Option<Scheme>,
    /// What is done to words before they are looked up.
    pub normalization: Normalization,
}

impl Default for TrainConfig {
    fn default() -> Self {
        TrainConfig {
            feedback: Feedback::Hidden,
            cell: Cell::default(),
            recipe: Recipe::Tutorial,
            hidden: 200,
            embed: 50,
            window: 7,
            learning_rate: 0.0970806646812754,
            epochs: 60,
            batch: 1,
            by_word: None,
            seed: 345,
            scheme: None,
            normalization: Normalization::default(),
        }
    }
}

impl TrainConfig {
    /// The network's shape for a vocabulary and labels of these sizes.
    pub fn shape(&self, vocab: usize, classes: usize) -> Shape {
        let TrainConfig { embed, window, hidden, cell, feedback, .. } = *self;
        Shape { vocab, embed, window, hidden, classes, cell, feedback }
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
        if !(self.learning_rate.is_finite() && self.learning_rate > 0.0) {
            return Err(Error::shape("learning_rate", "a number greater than 0", self.learning_rate));
        }
        // TOML's integers are signed.
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
        let broken: [(&str, Change); 14] = [
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
            ("learning_rate", |c| c.learning_rate = 0.0),
            ("learning_rate", |c| c.learning_rate = f64::NAN),
            ("learning_rate", |c| c.learning_rate = f64::INFINITY),
            ("seed", |c| c.seed = u64::MAX),
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
    }
}
