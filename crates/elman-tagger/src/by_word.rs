use std::collections::BTreeSet;

use elman::ndarray::{Array1, Array2};
use elman::{
    Cell, CellGradient, Error, Feedback, Labelled, Learner, Network, Params, Real, Recurrence, Sentence,
    Sequences, Shape, Tagger,
};

/// An implementation of the Elman network whose learner makes an update for each WORD, as the code of Mesnil et al.
/// (2013), from which the Theano tutorial came, does.
///
/// For word `t` of a sentence the recurrence runs over at most `windows` words, the last of which is `t`,
/// and starts from h0; each word has the window of words around it, also of those outside this run. The loss
/// is `-ln s[t][label[t]]`, of this word alone. Its gradient is followed through the whole run; then each row
/// of the embeddings that was in a window is divided by its norm. (The tutorial divides all rows; the others
/// have not changed.)
///
/// [`TrainConfig::network`](crate::TrainConfig::network) makes one where a training asks for it. A step of a batch makes these updates for every word of each sentence in turn, and returns the mean over
/// the sentences of each sentence's mean loss. Everything but the learner is the implementation's own: after
/// training, a sentence is labelled as a whole.
///
/// ```
/// use elman::{Feedback, Labelled, Network, Params, Sentence, Shape};
/// use elman_tagger::ByWord;
///
/// # fn network() -> elman_reference::Reference { elman_reference::Reference::new() }
/// let network = ByWord::new(network(), 9)?; // any implementation with a recurrence
/// let feedback = Feedback::Hidden;
/// let shape = Shape { vocab: 5, embed: 4, window: 3, hidden: 6, classes: 2, feedback };
/// let mut learner = network.learner(Params::<f32>::init(shape, 42)?)?;
/// let sentence = Labelled::new(Sentence::new(vec![0, 3, 1])?, vec![1, 0, 0])?;
/// let first = learner.step(std::slice::from_ref(&sentence), 0.1)?;
/// assert!(learner.step(&[sentence], 0.1)? < first);
/// # Ok::<(), elman::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct ByWord<I> {
    implementation: I,
    windows: usize,
}

impl<I> ByWord<I> {
    /// The number of words in a run in the code of Mesnil et al., where it is called `bs`.
    pub const WINDOWS: usize = 9;

    /// What tells the names of such networks from others.
    pub(crate) const MARK: &str = ", by word (";

    /// How the name of a network by word ends.
    pub(crate) fn suffix(windows: usize) -> String {
        format!("{}{windows})", Self::MARK)
    }

    /// Runs of at most `windows` words.
    ///
    /// # Errors
    /// [`Error::Shape`] if `windows` is 0.
    pub fn new(implementation: I, windows: usize) -> Result<Self, Error> {
        if windows == 0 {
            return Err(Error::shape("windows", "at least 1", 0));
        }
        Ok(ByWord { implementation, windows })
    }
}

impl<T: Real, I: Network<T> + Recurrence<T> + Clone + 'static> Network<T> for ByWord<I> {
    fn name(&self) -> String {
        self.implementation.name() + &Self::suffix(self.windows)
    }

    fn predict(&self, params: &Params<T>, sentence: &Sentence) -> Result<Array2<T>, Error> {
        self.implementation.predict(params, sentence)
    }

    fn gradient(&self, params: &Params<T>, batch: &[Labelled], grad: &mut Params<T>) -> Result<T, Error> {
        self.implementation.gradient(params, batch, grad)
    }

    fn learner(&self, params: Params<T>) -> Result<Box<dyn Learner<T>>, Error> {
        let shape = params.shape()?;
        shape.feedback.only_elman("an update for each word")?;
        let Params { emb, wx, wh, w, bh, b, h0, feedback: _ } = params;
        let recurrence = self.implementation.clone();
        let cell = Cell { wx, wh, bh, h0 };
        Ok(Box::new(WordLearner { recurrence, windows: self.windows, shape, emb, cell, w, b }))
    }

    fn tagger(&self, params: &Params<T>) -> Result<Box<dyn Tagger>, Error> {
        self.implementation.tagger(params)
    }
}

struct WordLearner<T, I> {
    recurrence: I,
    windows: usize,
    shape: Shape,
    emb: Array2<T>,
    cell: Cell<T>,
    w: Array2<T>,
    b: Array1<T>,
}

/// The gradient of one word's loss: everything but the embeddings, which are followed from `cell.xs`.
struct Gradient<T> {
    cell: CellGradient<T>,
    /// The last state of the run, `[hidden]`; the gradient of w is its outer product with `ds`.
    h: Array1<T>,
    /// The gradient by the scores, `[classes]`: the gradient of b.
    ds: Array1<T>,
}

impl<T: Real, I: Recurrence<T>> WordLearner<T, I> {
    /// The loss of word `t`, and its gradient.
    fn gradient(&self, labelled: &Labelled, t: usize) -> Result<(T, Gradient<T>), Error> {
        let first = self.first(t);
        let steps = t + 1 - first;
        let mut x = Array2::zeros((steps, self.shape.input()));
        for (mut row, word) in x.rows_mut().into_iter().zip(first..) {
            let ids = labelled.sentence().context(word, &self.shape);
            for (mut part, id) in row.exact_chunks_mut(self.shape.embed).into_iter().zip(ids) {
                part.assign(&self.emb.row(id));
            }
        }
        let lengths = [steps];
        let xs = Sequences::new(x.view(), &lengths)?;
        let trace = self.recurrence.vjp(&self.cell, &xs)?;
        let h = trace.h().row(steps - 1).to_owned();

        let (loss, ds) = derive_softmax(h.dot(&self.w) + &self.b, labelled.labels()[t]);
        let mut dh = Array2::zeros((steps, self.shape.hidden));
        dh.row_mut(steps - 1).assign(&self.w.dot(&ds));
        Ok((loss, Gradient { cell: trace.backward(dh.view())?, h, ds }))
    }

    /// The first word of the run that ends with word `t`.
    fn first(&self, t: usize) -> usize {
        (t + 1).saturating_sub(self.windows)
    }

    /// `p -= learning_rate · gradient`, then the norms of the embeddings that were seen.
    fn apply(&mut self, labelled: &Labelled, t: usize, gradient: &Gradient<T>, learning_rate: T) {
        let Gradient { cell, h, ds } = gradient;
        let mut seen = BTreeSet::new();
        for (dx, word) in cell.xs.rows().into_iter().zip(self.first(t)..) {
            let ids = labelled.sentence().context(word, &self.shape);
            for (part, id) in dx.exact_chunks(self.shape.embed).into_iter().zip(ids) {
                self.emb.row_mut(id).scaled_add(-learning_rate, &part);
                seen.insert(id);
            }
        }
        self.cell.wx.scaled_add(-learning_rate, &cell.cell.wx);
        self.cell.wh.scaled_add(-learning_rate, &cell.cell.wh);
        self.cell.bh.scaled_add(-learning_rate, &cell.cell.bh);
        self.cell.h0.scaled_add(-learning_rate, &cell.cell.h0);
        for (mut row, h) in self.w.rows_mut().into_iter().zip(h) {
            row.scaled_add(-learning_rate * *h, ds);
        }
        self.b.scaled_add(-learning_rate, ds);
        for id in seen {
            let mut row = self.emb.row_mut(id);
            let norm = row.iter().fold(T::zero(), |sum, e| sum + *e * *e).sqrt();
            if norm != T::zero() {
                row.mapv_inplace(|e| e / norm);
            }
        }
    }
}

/// `-ln softmax(scores)[label]`, and its derivative by the scores.
fn derive_softmax<T: Real>(scores: Array1<T>, label: usize) -> (T, Array1<T>) {
    let max = scores.iter().fold(scores[0], |max, score| if *score > max { *score } else { max });
    let mut ds = scores.mapv(|score| (score - max).exp());
    let sum = ds.iter().fold(T::zero(), |sum, e| sum + *e);
    let loss = max + sum.ln() - scores[label];
    ds.mapv_inplace(|e| e / sum);
    ds[label] -= T::one();
    (loss, ds)
}

impl<T: Real, I: Recurrence<T>> Learner<T> for WordLearner<T, I> {
    fn step(&mut self, batch: &[Labelled], learning_rate: T) -> Result<T, Error> {
        if batch.is_empty() {
            return Err(Error::shape("batch", "at least 1 sentence", 0));
        }
        batch.iter().try_for_each(|labelled| labelled.check(&self.shape))?;
        let mut sum = T::zero();
        for labelled in batch {
            let words = labelled.labels().len();
            let mut losses = T::zero();
            for t in 0..words {
                let (loss, gradient) = self.gradient(labelled, t)?;
                self.apply(labelled, t, &gradient, learning_rate);
                losses += loss;
            }
            sum += losses / T::from_f64(words as f64);
        }
        Ok(sum / T::from_f64(batch.len() as f64))
    }

    fn params(&self) -> Params<T> {
        let Cell { wx, wh, bh, h0 } = self.cell.clone();
        let (emb, w, b, feedback) = (self.emb.clone(), self.w.clone(), self.b.clone(), Feedback::Hidden);
        Params { emb, wx, wh, w, bh, b, h0, feedback }
    }
}

#[cfg(test)]
mod tests {
    use elman_reference::Reference;

    use super::*;

    const SHAPE: Shape =
        Shape { vocab: 6, embed: 3, window: 5, hidden: 4, classes: 3, feedback: Feedback::Hidden };

    fn params() -> Params<f64> {
        let mut params = Params::init(SHAPE, 5).unwrap();
        // Zeros would hide a gradient that is forgotten.
        for (k, vector) in [&mut params.bh, &mut params.b, &mut params.h0].into_iter().enumerate() {
            vector.iter_mut().enumerate().for_each(|(i, v)| *v = 0.3 * ((3 * k + i) as f64).sin());
        }
        params
    }

    fn labelled(words: &[usize], labels: &[usize]) -> Labelled {
        Labelled::new(Sentence::new(words.to_vec()).unwrap(), labels.to_vec()).unwrap()
    }

    fn learner(windows: usize, params: Params<f64>) -> WordLearner<f64, Reference> {
        let Params { emb, wx, wh, w, bh, b, h0, feedback: _ } = params;
        let cell = Cell { wx, wh, bh, h0 };
        WordLearner { recurrence: Reference::new(), windows, shape: SHAPE, emb, cell, w, b }
    }

    /// The gradient of one word as a whole.
    fn gradient(learner: &WordLearner<f64, Reference>, labelled: &Labelled, t: usize) -> (f64, Params<f64>) {
        let (loss, gradient) = learner.gradient(labelled, t).unwrap();
        // An update with rate -1 from nothing is the gradient; the norms are left out.
        let mut grad = Params::zeros(SHAPE).unwrap();
        for (dx, word) in gradient.cell.xs.rows().into_iter().zip(learner.first(t)..) {
            let ids = labelled.sentence().context(word, &SHAPE);
            for (part, id) in dx.exact_chunks(SHAPE.embed).into_iter().zip(ids) {
                let mut row = grad.emb.row_mut(id);
                row += &part;
            }
        }
        let Cell { wx, wh, bh, h0 } = gradient.cell.cell;
        let w = Array2::from_shape_fn((SHAPE.hidden, SHAPE.classes), |(i, j)| gradient.h[i] * gradient.ds[j]);
        (loss, Params { wx, wh, bh, h0, w, b: gradient.ds, ..grad })
    }

    fn add(sum: &mut Params<f64>, factor: f64, part: &Params<f64>) {
        for ((_, mut sum), (_, part)) in sum.tensors_mut().into_iter().zip(part.tensors()) {
            sum.scaled_add(factor, &part);
        }
    }

    fn close(found: &Params<f64>, expected: &Params<f64>, within: f64) {
        for ((name, found), (_, expected)) in found.tensors().into_iter().zip(expected.tensors()) {
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
        let batch = [labelled(&[4, 0, 5], &[0, 2, 1]), labelled(&[1], &[1])];
        let mut one_by_one = learner(3, params());
        let losses = [0, 1].map(|i| one_by_one.step(&batch[i..=i], 0.1).unwrap());
        let mut together = learner(3, params());
        assert_eq!(together.step(&batch, 0.1).unwrap(), (losses[0] + losses[1]) / 2.0);
        assert_eq!(together.params(), one_by_one.params());
    }

    /// With runs as long as the sentence, the words' losses and gradients add up to those of the sentence,
    /// which the implementation computes by itself.
    #[test]
    fn words_with_whole_prefixes_add_up_to_the_sentence() {
        let sentence = labelled(&[4, 0, 5, 4, 2, 1, 1], &[0, 2, 1, 1, 0, 2, 2]);
        let learner = learner(7, params());
        let mut expected = Params::zeros(SHAPE).unwrap();
        let loss =
            Reference::new().gradient(&params(), std::slice::from_ref(&sentence), &mut expected).unwrap();
        let (mut sum, mut losses) = (Params::zeros(SHAPE).unwrap(), 0.0);
        for t in 0..7 {
            let (loss, grad) = gradient(&learner, &sentence, t);
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
            let mut h = p.h0.clone();
            for ids in windows {
                let x: Vec<f64> = ids.iter().flat_map(|id| p.emb.row(*id).to_vec()).collect();
                let z = Array1::from(x).dot(&p.wx) + h.dot(&p.wh) + &p.bh;
                h = z.mapv(|z| 1.0 / (1.0 + (-z).exp()));
            }
            let y = h.dot(&p.w) + &p.b;
            y.mapv(f64::exp).sum().ln() - y[0]
        };
        let (found, grad) = gradient(&learner(3, params()), &sentence, 4);
        assert!((found - loss(&params())).abs() < 1e-14);
        let mut differences = Params::zeros(SHAPE).unwrap();
        let step = 1e-5;
        for (k, (_, mut to)) in differences.tensors_mut().into_iter().enumerate() {
            for (i, to) in to.iter_mut().enumerate() {
                let at = |step: f64| {
                    let mut p = params();
                    *p.tensors_mut()[k].1.iter_mut().nth(i).unwrap() += step;
                    loss(&p)
                };
                *to = (at(step) - at(-step)) / (2.0 * step);
            }
        }
        close(&grad, &differences, 1e-9);
    }

    /// A step is the words' updates in turn, each followed by the norms of the rows it saw and no others.
    #[test]
    fn a_step_updates_and_normalises_word_by_word() {
        let (sentence, rate) = (labelled(&[4, 0, 5, 4], &[0, 2, 1, 1]), 0.25);
        let network = ByWord::new(Reference::new(), 2).unwrap();
        let mut stepping = network.learner(params()).unwrap();
        let loss = stepping.step(std::slice::from_ref(&sentence), rate).unwrap();

        let (mut expected, mut losses) = (params(), 0.0);
        // The words seen from the runs 0, 0-1, 1-2, 2-3 of windows of five; 6 is the padding.
        for (t, seen) in
            [vec![0, 4, 5, 6], vec![0, 4, 5, 6], vec![0, 4, 5, 6], vec![0, 4, 5, 6]].iter().enumerate()
        {
            let (loss, grad) = gradient(&learner(2, expected.clone()), &sentence, t);
            losses += loss / 4.0;
            add(&mut expected, -rate, &grad);
            for id in seen {
                let norm = expected.emb.row(*id).mapv(|e| e * e).sum().sqrt();
                expected.emb.row_mut(*id).mapv_inplace(|e| e / norm);
            }
        }
        assert!((loss - losses).abs() < 1e-14, "{loss} {losses}");
        close(&stepping.params(), &expected, 1e-14);
        for id in [1, 2, 3] {
            assert_eq!(stepping.params().emb.row(id), params().emb.row(id), "row {id} was in no window");
        }
    }

    #[test]
    fn what_is_refused_changes_nothing() {
        let good = labelled(&[0, 1], &[0, 0]);
        let network = ByWord::new(Reference::new(), 9).unwrap();
        let mut learner = network.learner(params()).unwrap();
        assert!(learner.step(&[], 0.1).is_err());
        assert!(learner.step(&[good.clone(), labelled(&[6], &[0])], 0.1).is_err());
        assert!(learner.step(&[good, labelled(&[5], &[3])], 0.1).is_err());
        assert_eq!(learner.params(), params());
        assert!(ByWord::new(Reference::new(), 0).is_err());
        let jordan = Params::<f64>::zeros(Shape { feedback: Feedback::Output, ..SHAPE }).unwrap();
        let refused = network.learner(jordan).err().unwrap().to_string();
        assert_eq!(refused, "an update for each word: expected an Elman network, found a Jordan network");
        assert_eq!(Network::<f32>::name(&network), "reference, by word (9)");
    }
}
