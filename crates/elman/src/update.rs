//! The rules by which a gradient changes the parameters.

use crate::{Error, Params, Real, Shape};

/// The rule by which a gradient changes the parameters, with its memory.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Update<T> {
    /// Stochastic gradient descent: `p -= learning_rate · gradient`. It has no memory.
    Sgd {
        /// The factor.
        learning_rate: T,
    },
    /// Adam.
    Adam(Adam<T>),
}

/// Adam (Kingma and Ba, *Adam: a method for stochastic optimization*, 2015) with decoupled weight decay (Loshchilov and
/// Hutter, *Decoupled weight decay regularization*, 2019) and clipping by the norm.
///
/// The step number `t` counts from 1. For each parameter `p` with the gradient `g`:
///
/// ```text
/// g  = g · min(1, clip / norm)                     norm: the Euclidean norm of the whole gradient
/// m  = beta1 · m + (1 - beta1) · g                 the first moment
/// v  = beta2 · v + (1 - beta2) · g²                the second moment
/// m' = m / (1 - beta1^t),  v' = v / (1 - beta2^t)
/// p -= learning_rate · (m' / (√v' + epsilon) + weight_decay · p)
/// ```
///
/// Weight decay takes part in matrices alone, not in biases and initial states. Of the embeddings only the changed rows
/// take part, those of [`Learner::apply`](crate::Learner::apply): the moments of the others stay as they are, and their
/// gradient is not read (as PyTorch's `SparseAdam` does). So a step costs what its batch costs, whatever the vocabulary.
#[derive(Clone, Debug, PartialEq)]
pub struct Adam<T> {
    /// The size of a step.
    pub learning_rate: T,
    /// The share of the first moment that is kept; 0.9.
    pub beta1: T,
    /// The share of the second moment that is kept; 0.999.
    pub beta2: T,
    /// What is added to the root of the second moment; 1e-8.
    pub epsilon: T,
    /// The share of each matrix entry that a step of learning rate 1 takes away; 0.
    pub weight_decay: T,
    /// The largest norm of a gradient; a larger gradient is scaled to it. None by default.
    pub clip: Option<T>,
    /// Whether the changed rows of the embeddings are then divided by their norms, as the tutorial does; false.
    pub normalise: bool,
    /// Steps that were made.
    pub steps: u64,
    /// The first and the second moment, in the layout of the parameters.
    pub moments: [Params<T>; 2],
}

impl<T: Real> Adam<T> {
    /// The rule with the paper's values, before the first step.
    ///
    /// # Errors
    /// Those of [`Params::zeros`].
    pub fn new(learning_rate: T, shape: Shape) -> Result<Self, Error> {
        Ok(Adam {
            learning_rate,
            beta1: T::from_f64(0.9),
            beta2: T::from_f64(0.999),
            epsilon: T::from_f64(1e-8),
            weight_decay: T::zero(),
            clip: None,
            normalise: false,
            steps: 0,
            moments: [Params::zeros(shape)?, Params::zeros(shape)?],
        })
    }

    /// `1 - beta1^t` and `1 - beta2^t`, where `t` steps were made; from products in `f64`, so that every machine finds
    /// the same numbers.
    pub fn corrections(&self) -> [T; 2] {
        let steps = usize::try_from(self.steps).unwrap_or(usize::MAX);
        [self.beta1, self.beta2].map(|beta| T::from_f64(1.0 - num_traits::pow(beta.to_f64(), steps)))
    }

    fn check(&self, shape: Shape) -> Result<(), Error> {
        let within = |what, value: T, from: f64, below: f64| match value.to_f64() {
            found if found >= from && found < below => Ok(()),
            found => Err(Error::shape(what, format!("a number from {from} to below {below}"), found)),
        };
        let greatest = f64::INFINITY;
        within("beta1", self.beta1, 0.0, 1.0)?;
        within("beta2", self.beta2, 0.0, 1.0)?;
        within("epsilon", self.epsilon, f64::MIN_POSITIVE, greatest)?;
        within("weight decay", self.weight_decay, 0.0, greatest)?;
        self.clip.map_or(Ok(()), |clip| within("clip", clip, f64::MIN_POSITIVE, greatest))?;
        self.moments.iter().try_for_each(|moment| moment.check(shape))
    }
}

impl<T: Real> Update<T> {
    /// [`Update::Sgd`].
    pub fn sgd(learning_rate: T) -> Self {
        Update::Sgd { learning_rate }
    }

    /// The size of a step.
    pub fn learning_rate(&self) -> T {
        match self {
            Update::Sgd { learning_rate } => *learning_rate,
            Update::Adam(adam) => adam.learning_rate,
        }
    }

    /// Changes the size of a step: a learning-rate schedule.
    pub fn set_learning_rate(&mut self, rate: T) {
        match self {
            Update::Sgd { learning_rate } => *learning_rate = rate,
            Update::Adam(adam) => adam.learning_rate = rate,
        }
    }

    /// Whether a step ends with the division of the changed rows of the embeddings by their norms. SGD's always does.
    pub fn normalises(&self) -> bool {
        match self {
            Update::Sgd { .. } => true,
            Update::Adam(adam) => adam.normalise,
        }
    }

    /// Refuses a learning rate that is infinite or NaN; for Adam also values without a meaning, and moments of another
    /// shape than the parameters have.
    ///
    /// # Errors
    /// [`Error::Shape`].
    pub fn check(&self, shape: Shape) -> Result<(), Error> {
        if !self.learning_rate().to_f64().is_finite() {
            return Err(Error::shape("learning rate", "a finite number", self.learning_rate()));
        }
        match self {
            Update::Sgd { .. } => Ok(()),
            Update::Adam(adam) => adam.check(shape),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: Shape = Shape { vocab: 6, embed: 3, window: 5, hidden: 4, classes: 2, ..Shape::ELMAN };

    #[test]
    fn learning_rates_are_finite() {
        Update::sgd(0.1f32).check(SHAPE).unwrap();
        for rate in [f32::NAN, f32::INFINITY] {
            for update in [Update::sgd(rate), Update::Adam(Adam::new(rate, SHAPE).unwrap())] {
                let message = update.check(SHAPE).unwrap_err().to_string();
                assert!(message.starts_with("learning rate: expected a finite number"), "{message}");
            }
        }
    }

    #[test]
    fn corrections_are_those_of_the_steps_that_were_made() {
        let adam = Adam { steps: 3, beta1: 0.5, beta2: 0.75, ..Adam::new(0.1, SHAPE).unwrap() };
        assert_eq!(adam.corrections(), [0.875, 0.578125]);
        assert_eq!(Adam { steps: u64::MAX, ..adam }.corrections(), [1.0, 1.0]);
    }

    #[test]
    fn values_of_adam_without_a_meaning_are_named() {
        let message = |change: fn(&mut Adam<f32>)| {
            let mut adam = Adam::new(0.001, SHAPE).unwrap();
            Update::Adam(adam.clone()).check(SHAPE).unwrap();
            change(&mut adam);
            Update::Adam(adam).check(SHAPE).unwrap_err().to_string()
        };
        type Change = fn(&mut Adam<f32>);
        let changes: [(&str, Change); 8] = [
            ("beta1: expected a number from 0 to below 1, found 1", |adam| adam.beta1 = 1.0),
            ("beta2", |adam| adam.beta2 = f32::NAN),
            ("epsilon", |adam| adam.epsilon = 0.0),
            ("weight decay", |adam| adam.weight_decay = -0.5),
            ("weight decay", |adam| adam.weight_decay = f32::INFINITY),
            ("clip", |adam| adam.clip = Some(0.0)),
            ("clip", |adam| adam.clip = Some(f32::NAN)),
            ("parameters", |adam| adam.moments[1] = Params::zeros(Shape { classes: 3, ..SHAPE }).unwrap()),
        ];
        for (expected, change) in changes {
            let message = message(change);
            assert!(message.starts_with(expected), "{message}");
        }
    }
}
