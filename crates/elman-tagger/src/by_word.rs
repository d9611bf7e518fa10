//! Word-by-word training, a mode of the trainer: an update for each word, as the code of Mesnil et al. (2013), from
//! which the Theano tutorial came, makes it.
//!
//! For word `t` of a sentence the recurrence runs over at most `windows` words, the last of which is `t`,
//! and starts from h0; each word has the window of words around it, also of those outside this run. The loss
//! is `-ln s[t][label[t]]`, of this word alone. Its gradient is followed through the whole run; then each row
//! of the embeddings that was in a window is divided by its norm. (The tutorial divides all rows; the others
//! have not changed.)

use std::collections::BTreeSet;

use elman::ndarray::{Array1, Array2};
use elman::{Batch, Cell, Error, Params, Real, Recurrence, RecurrenceGradient, Sentence, Sequences, context};

/// What is added to the name of an implementation that trains by word.
pub(crate) fn suffix(windows: usize) -> String {
    format!(", by word ({windows})")
}

/// The parameters of a training by word.
pub(crate) struct WordLearner<'a, T> {
    recurrence: &'a dyn Recurrence<T>,
    windows: usize,
    params: Params<T>,
}

/// The gradient of one word's loss: all but the embeddings, which are followed from `run.xs`.
struct Gradient<T> {
    run: RecurrenceGradient<T>,
    /// The last state of the run, `[hidden]`; the gradient of w is its outer product with `ds`.
    h: Array1<T>,
    /// The gradient by the scores, `[classes]`: the gradient of b.
    ds: Array1<T>,
}

impl<'a, T: Real> WordLearner<'a, T> {
    /// Runs of at most `windows` words.
    pub(crate) fn new(
        recurrence: &'a dyn Recurrence<T>,
        windows: usize,
        params: Params<T>,
    ) -> Result<Self, Error> {
        params.shape().only("an update for each word", &Cell::ALL)?;
        Ok(WordLearner { recurrence, windows, params })
    }

    /// The loss of word `t`, and its gradient.
    fn gradient(
        &self,
        Sentence { words, labels }: Sentence<'_>,
        t: usize,
    ) -> Result<(T, Gradient<T>), Error> {
        let shape = self.params.shape();
        let emb = self.params.emb();
        let first = self.first(t);
        let steps = t + 1 - first;
        let mut x = Array2::zeros((steps, shape.input()));
        for (mut row, word) in x.rows_mut().into_iter().zip(first..) {
            for (mut part, id) in
                row.exact_chunks_mut(shape.embed).into_iter().zip(context(words, word, &shape))
            {
                part.assign(&emb.row(id as usize));
            }
        }
        let lengths = [steps];
        let xs = Sequences::new(x.view(), &lengths)?;
        let trace = self.recurrence.vjp(self.params.layer(), &xs)?;
        let h = trace.h().row(steps - 1).to_owned();

        let (loss, ds) = derive_softmax(h.dot(&self.params.w()) + self.params.b(), labels[t] as usize);
        let mut dh = Array2::zeros((steps, shape.hidden));
        dh.row_mut(steps - 1).assign(&self.params.w().dot(&ds));
        Ok((loss, Gradient { run: trace.backward(dh.view(), None)?, h, ds }))
    }

    /// The first word of the run that ends with word `t`.
    fn first(&self, t: usize) -> usize {
        (t + 1).saturating_sub(self.windows)
    }

    /// `p -= learning_rate · gradient`, then the norms of the embeddings that were seen.
    fn apply(&mut self, words: &[u32], t: usize, gradient: &Gradient<T>, learning_rate: T) {
        let Gradient { run, h, ds } = gradient;
        let (shape, first) = (self.params.shape(), self.first(t));
        let mut seen = BTreeSet::new();
        let mut emb = self.params.emb_mut();
        for (dx, word) in run.xs.rows().into_iter().zip(first..) {
            for (part, id) in dx.exact_chunks(shape.embed).into_iter().zip(context(words, word, &shape)) {
                emb.row_mut(id as usize).scaled_add(-learning_rate, &part);
                seen.insert(id);
            }
        }
        for id in seen {
            let mut row = emb.row_mut(id as usize);
            let norm = row.iter().fold(T::zero(), |sum, e| sum + *e * *e).sqrt();
            if norm != T::zero() {
                row.mapv_inplace(|e| e / norm);
            }
        }
        for (name, gradient) in run.layer.tensors() {
            if let Some(mut tensor) = self.params.tensor_mut(name) {
                tensor.scaled_add(-learning_rate, &gradient);
            }
        }
        for (mut row, h) in self.params.w_mut().rows_mut().into_iter().zip(h) {
            row.scaled_add(-learning_rate * *h, ds);
        }
        self.params.b_mut().scaled_add(-learning_rate, ds);
    }

    /// An update for every word of each sentence in turn. Returns the mean over the sentences of each sentence's mean
    /// loss.
    pub(crate) fn step(&mut self, batch: Batch<'_>, learning_rate: T) -> Result<T, Error> {
        batch.check(&self.params.shape())?;
        let mut sum = T::zero();
        for sentence in batch.iter() {
            let mut losses = T::zero();
            for t in 0..sentence.words.len() {
                let (loss, gradient) = self.gradient(sentence, t)?;
                self.apply(sentence.words, t, &gradient, learning_rate);
                losses += loss;
            }
            sum += losses / T::from_f64(sentence.words.len() as f64);
        }
        Ok(sum / T::from_f64(batch.len() as f64))
    }

    pub(crate) fn params(&self) -> &Params<T> {
        &self.params
    }
}

/// `-ln softmax(scores)[label]`, and its derivative by the scores.
fn derive_softmax<T: Real>(scores: Array1<T>, label: usize) -> (T, Array1<T>) {
    let max = scores.iter().fold(scores[0], |max, score| if *score > max { *score } else { max });
    let mut ds = scores.mapv(|score| (score - max).exp());
    let sum = ds.iter().fold(T::zero(), |sum, e| sum + *e);
    let loss = sum.ln() + (max - scores[label]);
    ds.mapv_inplace(|e| e / sum);
    ds[label] -= T::one();
    (loss, ds)
}

#[cfg(test)]
mod tests {
    use elman::{Feedback, Name, Network, Sentences, Shape};
    use elman_reference::Reference;

    use super::*;

    const SHAPE: Shape = Shape { vocab: 6, embed: 3, window: 5, hidden: 4, classes: 3, ..Shape::ELMAN };

    fn params() -> Params<f64> {
        let mut params = Params::init(SHAPE, 5).unwrap();
        // Zeros would hide a gradient that is forgotten.
        for (k, vector) in [Name::Bh, Name::B, Name::H0].into_iter().enumerate() {
            let mut vector = params.tensor_mut(vector).unwrap();
            vector.iter_mut().enumerate().for_each(|(i, v)| *v = 0.3 * ((3 * k + i) as f64).sin());
        }
        params
    }

    fn labelled(words: &[u32], labels: &[u32]) -> Sentences {
        Sentences::one(words, labels).unwrap()
    }

    fn learner(windows: usize, params: Params<f64>) -> WordLearner<'static, f64> {
        let reference: &'static Reference = Box::leak(Box::new(Reference::new()));
        WordLearner::new(reference, windows, params).unwrap()
    }

    /// The gradient of one word as a whole.
    fn gradient(learner: &WordLearner<'_, f64>, sentence: Sentence<'_>, t: usize) -> (f64, Params<f64>) {
        let (loss, gradient) = learner.gradient(sentence, t).unwrap();
        // An update with rate -1 from nothing is the gradient; the norms are left out.
        let mut grad = Params::zeros(SHAPE).unwrap();
        for (dx, word) in gradient.run.xs.rows().into_iter().zip(learner.first(t)..) {
            let ids = context(sentence.words, word, &SHAPE);
            for (part, id) in dx.exact_chunks(SHAPE.embed).into_iter().zip(ids) {
                grad.emb_mut().row_mut(id as usize).scaled_add(1.0, &part);
            }
        }
        for (name, tensor) in gradient.run.layer.tensors() {
            grad.tensor_mut(name).unwrap().assign(&tensor);
        }
        grad.w_mut().indexed_iter_mut().for_each(|((i, j), w)| *w = gradient.h[i] * gradient.ds[j]);
        grad.b_mut().assign(&gradient.ds);
        (loss, grad)
    }

    fn add(sum: &mut Params<f64>, factor: f64, part: &Params<f64>) {
        for ((_, mut sum), (_, part)) in sum.tensors_mut().zip(part.tensors()) {
            sum.scaled_add(factor, &part);
        }
    }

    fn close(found: &Params<f64>, expected: &Params<f64>, within: f64) {
        for ((name, found), (_, expected)) in found.tensors().zip(expected.tensors()) {
            for ((index, found), expected) in found.indexed_iter().zip(expected) {
                assert!(
                    (found - expected).abs() <= within,
                    "{name}{:?} = {found}, expected {expected}",
                    elman::ndarray::Dimension::slice(&index)
                );
            }
        }
    }

    #[test]
    fn large_scores_neither_overflow_nor_vanish() {
        let (loss, ds) = derive_softmax(Array1::from_vec(vec![-1000.0f64, 1000.0, 1000.0]), 2);
        assert!((loss - 2f64.ln()).abs() < 1e-12, "{loss}");
        assert_eq!(ds.to_vec(), [0.0, 0.5, -0.5]);
        let (loss, ds) = derive_softmax(Array1::from_vec(vec![1000.0f64, 0.0]), 1);
        assert_eq!((loss, ds.to_vec()), (1000.0, vec![1.0, -1.0]));
    }

    #[test]
    fn the_loss_of_a_batch_is_the_mean_of_its_sentences() {
        let mut sentences = labelled(&[4, 0, 5], &[0, 2, 1]);
        sentences.push(&[1], &[1]).unwrap();
        let batch = sentences.batch();
        let mut one_by_one = learner(3, params());
        let losses = [0, 1].map(|i| one_by_one.step(batch.slice(i..i + 1), 0.1).unwrap());
        let mut together = learner(3, params());
        assert_eq!(together.step(batch, 0.1).unwrap(), (losses[0] + losses[1]) / 2.0);
        assert_eq!(together.params(), one_by_one.params());
    }

    /// With runs as long as the sentence, the words' losses and gradients add up to those of the sentence,
    /// which the implementation computes by itself.
    #[test]
    fn words_with_whole_prefixes_add_up_to_the_sentence() {
        let sentence = labelled(&[4, 0, 5, 4, 2, 1, 1], &[0, 2, 1, 1, 0, 2, 2]);
        let learner = learner(7, params());
        let mut expected = Params::zeros(SHAPE).unwrap();
        let loss = Reference::new().gradient(&params(), sentence.batch(), &mut expected).unwrap();
        let (mut sum, mut losses) = (Params::zeros(SHAPE).unwrap(), 0.0);
        for t in 0..7 {
            let (loss, grad) = gradient(&learner, sentence.batch().sentence(0), t);
            losses += loss / 7.0;
            add(&mut sum, 1.0 / 7.0, &grad);
        }
        assert!((losses - loss).abs() < 1e-14, "{losses} {loss}");
        close(&sum, &expected, 1e-14);
    }

    /// A run in the middle of a sentence starts from h0, sees the words around it, and has the gradient that
    /// central differences of its own loss give: of all seven parameters.
    #[test]
    fn a_word_in_the_middle_has_the_gradient_of_its_loss() {
        let sentence = labelled(&[4, 0, 5, 4, 2, 1, 3], &[0, 2, 1, 1, 0, 2, 2]);
        // The loss once more, without the recurrence's code: words 2, 3 and 4, each in its window.
        let loss = |p: &Params<f64>| {
            let windows = [[4, 0, 5, 4, 2], [0, 5, 4, 2, 1], [5, 4, 2, 1, 3]];
            let mut h = p.h0().to_owned();
            for ids in windows {
                let x: Vec<f64> = ids.iter().flat_map(|id| p.emb().row(*id).to_vec()).collect();
                let z = Array1::from(x).dot(&p.wx()) + h.dot(&p.wh()) + p.bh();
                h = z.mapv(|z| 1.0 / (1.0 + (-z).exp()));
            }
            let y = h.dot(&p.w()) + p.b();
            y.mapv(f64::exp).sum().ln() - y[0]
        };
        let (found, grad) = gradient(&learner(3, params()), sentence.batch().sentence(0), 4);
        assert!((found - loss(&params())).abs() < 1e-14);
        let mut differences = Params::zeros(SHAPE).unwrap();
        let step = 1e-5;
        for (i, to) in differences.as_mut_slice().iter_mut().enumerate() {
            let at = |step: f64| {
                let mut p = params();
                p.as_mut_slice()[i] += step;
                loss(&p)
            };
            *to = (at(step) - at(-step)) / (2.0 * step);
        }
        close(&grad, &differences, 1e-9);
    }

    /// A step is the words' updates in turn, each followed by the norms of the rows it saw and no others.
    #[test]
    fn a_step_updates_and_normalises_word_by_word() {
        let (sentence, rate) = (labelled(&[4, 0, 5, 4], &[0, 2, 1, 1]), 0.25);
        let mut stepping = learner(2, params());
        let loss = stepping.step(sentence.batch(), rate).unwrap();

        let (mut expected, mut losses) = (params(), 0.0);
        // The words seen from the runs 0, 0-1, 1-2, 2-3 of windows of five; 6 is the padding.
        for (t, seen) in
            [vec![0, 4, 5, 6], vec![0, 4, 5, 6], vec![0, 4, 5, 6], vec![0, 4, 5, 6]].iter().enumerate()
        {
            let (loss, grad) = gradient(&learner(2, expected.clone()), sentence.batch().sentence(0), t);
            losses += loss / 4.0;
            add(&mut expected, -rate, &grad);
            for id in seen {
                let norm = expected.emb().row(*id).mapv(|e| e * e).sum().sqrt();
                expected.emb_mut().row_mut(*id).mapv_inplace(|e| e / norm);
            }
        }
        assert!((loss - losses).abs() < 1e-14, "{loss} {losses}");
        close(stepping.params(), &expected, 1e-14);
        for id in [1, 2, 3] {
            assert_eq!(stepping.params().emb().row(id), params().emb().row(id), "row {id} was in no window");
        }
    }

    #[test]
    fn a_refused_batch_changes_nothing() {
        let mut stepping = learner(9, params());
        assert!(stepping.step(Sentences::new().batch(), 0.1).is_err());
        for (word, label) in [(6, 0), (5, 3)] {
            let mut sentences = labelled(&[0, 1], &[0, 0]);
            sentences.push(&[word], &[label]).unwrap();
            assert!(stepping.step(sentences.batch(), 0.1).is_err());
        }
        assert_eq!(stepping.params(), &params());
        let jordan = Params::<f64>::zeros(Shape { feedback: Feedback::Output, ..SHAPE }).unwrap();
        let refused = WordLearner::new(&Reference::new(), 9, jordan).err().unwrap().to_string();
        assert!(refused.starts_with("an update for each word: expected a network of elman"), "{refused}");
    }
}
