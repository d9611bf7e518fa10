//! Words whose embedding is a sum of rows, and dropout: around a network that knows neither.
//!
//! A *form* is a list of rows of the embeddings: the word's own row and those of its features. For the forms of a batch
//! (or of a text) a network of the same weights is made, whose embeddings are the sums:
//!
//! ```text
//! emb'[f] = mask[f] ∘ sum over the rows r of form f of emb[r]      w' = mask ∘ w, row by row
//! ```
//!
//! A sum is linear, so that the gradient of a row is the sum of the gradients of the forms that have it, and a masked
//! number passes its gradient on as it was scaled. An implementation of the network computes everything else, and its
//! promises hold: nothing here depends on threads or instruction sets.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use elman::{Batch, Learner, Name, Network, Params, Sentences, Shape, Tagger, Update};
use indexmap::IndexMap;

use crate::{Error, Vocabulary};

/// Lists of rows, by number.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Forms {
    rows: Vec<u32>,
    ends: Vec<usize>,
}

impl Forms {
    fn push(&mut self, rows: impl IntoIterator<Item = u32>) {
        self.rows.extend(rows);
        self.ends.push(self.rows.len());
    }

    fn len(&self) -> usize {
        self.ends.len()
    }

    fn get(&self, form: usize) -> &[u32] {
        let start = if form == 0 { 0 } else { self.ends[form - 1] };
        &self.rows[start..self.ends[form]]
    }

    fn iter(&self) -> impl ExactSizeIterator<Item = &[u32]> {
        (0..self.len()).map(|form| self.get(form))
    }

    /// Parameters of a network whose word f is form f: the sums of the rows.
    pub(crate) fn compose(&self, params: &Params<f32>) -> Result<Params<f32>, Error> {
        compose(params, self.iter())
    }
}

fn compose<'a>(
    params: &Params<f32>,
    forms: impl ExactSizeIterator<Item = &'a [u32]>,
) -> Result<Params<f32>, Error> {
    let shape = params.shape();
    let mut composed = Params::zeros(Shape { vocab: forms.len().max(1), ..shape })?;
    copy_all_but_emb(params, &mut composed);
    let (emb, mut sums) = (params.emb(), composed.emb_mut());
    let padding = sums.nrows() - 1;
    sums.row_mut(padding).assign(&emb.row(shape.vocab));
    for (mut sum, rows) in sums.rows_mut().into_iter().zip(forms) {
        for row in rows {
            sum += &emb.row(*row as usize);
        }
    }
    Ok(composed)
}

fn copy_all_but_emb(from: &Params<f32>, to: &mut Params<f32>) {
    for ((name, from), (_, mut to)) in from.tensors().zip(to.tensors_mut()) {
        if name != Name::Emb {
            to.assign(&from);
        }
    }
}

/// The forms of the words of a text: each distinct word is one.
#[derive(Default)]
pub(crate) struct Text {
    pub(crate) forms: Forms,
    ids: IndexMap<String, u32>,
}

impl Text {
    /// The numbers of the forms of a sentence's words.
    pub(crate) fn ids(&mut self, vocabulary: &Vocabulary, words: &[impl AsRef<str>]) -> Vec<u32> {
        let mut id = |word: &str| {
            if let Some(id) = self.ids.get(word) {
                return *id;
            }
            // Fewer forms than words of a text that is in memory.
            let id = self.forms.len() as u32;
            self.forms.push(vocabulary.rows(word));
            self.ids.insert(word.to_owned(), id);
            id
        };
        words.iter().map(|word| id(word.as_ref())).collect()
    }

    /// A tagger whose words are these forms.
    pub(crate) fn tagger(&self, base: &Base) -> Result<Box<dyn Tagger<f32>>, Error> {
        Ok(base.tagger.prepare(&self.forms.compose(&base.params)?)?)
    }
}

/// Parameters and a tagger, from which taggers of forms are made.
pub(crate) struct Base {
    pub(crate) params: Arc<Params<f32>>,
    pub(crate) tagger: Box<dyn Tagger<f32>>,
}

/// Which numbers are dropped: a mask of each unit, kept or 0, that the seed and the number of the update decide.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Dropout {
    pub(crate) rate: f64,
    pub(crate) seed: u64,
}

impl Dropout {
    /// The factor of a number in an update: 0, or as much more as keeps the mean. `place` is a form, or
    /// [`Dropout::STATES`].
    fn factor(&self, update: u64, place: u64, unit: usize) -> f32 {
        let key = [update, place, unit as u64].into_iter().fold(self.seed, |key, part| mix(key ^ part));
        let uniform = (mix(key) >> 11) as f64 / (1u64 << 53) as f64;
        if uniform < self.rate { 0.0 } else { (1.0 / (1.0 - self.rate)) as f32 }
    }

    const STATES: u64 = u64::MAX;
}

/// The finalizer of SplitMix64.
fn mix(key: u64) -> u64 {
    let key = key.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let key = (key ^ (key >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let key = (key ^ (key >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    key ^ (key >> 31)
}

/// Training on forms.
pub(crate) struct FormLearner<'a> {
    network: &'a dyn Network<f32>,
    /// Applies the gradients.
    base: Box<dyn Learner<f32>>,
    /// Its parameters.
    params: Params<f32>,
    grad: Params<f32>,
    forms: Arc<Forms>,
    dropout: Dropout,
    /// Rows that stay as they are.
    frozen: HashSet<u32>,
    /// The forms of the batch, and the number of each of the forms of the text among them.
    distinct: Vec<u32>,
    places: Vec<u32>,
    batch: Sentences,
}

impl<'a> FormLearner<'a> {
    pub(crate) fn new(
        network: &'a dyn Network<f32>,
        forms: Arc<Forms>,
        dropout: Dropout,
        frozen: HashSet<u32>,
        params: Params<f32>,
    ) -> Result<Self, Error> {
        Ok(FormLearner {
            network,
            base: network.learner(params.clone())?,
            grad: Params::zeros(params.shape())?,
            params,
            places: vec![u32::MAX; forms.len()],
            forms,
            dropout,
            frozen,
            distinct: Vec::new(),
            batch: Sentences::new(),
        })
    }

    pub(crate) fn params(&self) -> &Params<f32> {
        &self.params
    }

    /// One step on a batch whose words are forms: number `update` of the training. The loss before it.
    pub(crate) fn step(
        &mut self,
        batch: Batch<'_>,
        update_number: u64,
        update: &mut Update<f32>,
    ) -> Result<f32, Error> {
        let loss = self.gradient(batch, update_number)?;
        let rows: BTreeSet<u32> =
            self.distinct.iter().flat_map(|form| self.forms.get(*form as usize)).copied().collect();
        let mut rows: Vec<u32> = rows.into_iter().filter(|row| !self.frozen.contains(row)).collect();
        if rows.is_empty() {
            // A batch has a word; this one's gradient is 0.
            rows.push(0);
        }
        let labels = vec![0; rows.len()];
        self.base.apply(&self.grad, Batch::new(&rows, &labels, &[0, rows.len()])?, update)?;
        self.base.params_to(&mut self.params);
        Ok(loss)
    }

    /// The mean loss of a batch; its gradient is then in `grad`.
    fn gradient(&mut self, batch: Batch<'_>, update_number: u64) -> Result<f32, Error> {
        let (forms, dropout) = (self.forms.clone(), self.dropout);
        // Of other rows the gradient is 0: an update may read all of it.
        let of_last_batch = self.distinct.iter().flat_map(|form| forms.get(*form as usize));
        of_last_batch.for_each(|row| self.grad.emb_mut().row_mut(*row as usize).fill(0.0));
        self.number(batch)?;
        let factor = |place, unit| dropout.factor(update_number, place, unit);
        let mut composed = compose(&self.params, self.distinct.iter().map(|form| forms.get(*form as usize)))?;
        let shape = composed.shape();
        let mask = |grad_or_params: &mut Params<f32>, distinct: &[u32]| {
            if dropout.rate == 0.0 {
                return;
            }
            for (mut row, form) in grad_or_params.emb_mut().rows_mut().into_iter().zip(distinct) {
                row.iter_mut().enumerate().for_each(|(unit, v)| *v *= factor(u64::from(*form), unit));
            }
            for (unit, mut row) in grad_or_params.w_mut().rows_mut().into_iter().enumerate() {
                let factor = factor(Dropout::STATES, unit);
                row.mapv_inplace(|v| v * factor);
            }
        };
        mask(&mut composed, &self.distinct);
        let mut by_forms = Params::zeros(shape)?;
        let loss = self.network.gradient(&composed, self.batch.batch(), &mut by_forms)?;
        mask(&mut by_forms, &self.distinct);

        copy_all_but_emb(&by_forms, &mut self.grad);
        let (by_forms, mut emb) = (by_forms.emb(), self.grad.emb_mut());
        let rows = || self.distinct.iter().map(|form| forms.get(*form as usize));
        for (rows, by_form) in rows().zip(by_forms.rows()) {
            rows.iter().filter(|row| !self.frozen.contains(row)).for_each(|row| {
                let mut sum = emb.row_mut(*row as usize);
                sum += &by_form;
            });
        }
        let padding = emb.nrows() - 1;
        emb.row_mut(padding).assign(&by_forms.row(shape.vocab));
        Ok(loss)
    }

    /// Numbers the forms of a batch by their first place in it.
    fn number(&mut self, batch: Batch<'_>) -> Result<(), Error> {
        self.distinct.drain(..).for_each(|form| self.places[form as usize] = u32::MAX);
        self.batch.clear();
        for sentence in batch.iter() {
            let words: Vec<u32> = sentence
                .words
                .iter()
                .map(|form| {
                    let place = &mut self.places[*form as usize];
                    if *place == u32::MAX {
                        *place = self.distinct.len() as u32;
                        self.distinct.push(*form);
                    }
                    *place
                })
                .collect();
            self.batch.push(&words, sentence.labels)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use elman_reference::Reference;

    use super::*;

    const SHAPE: Shape = Shape { vocab: 6, embed: 3, window: 3, hidden: 4, classes: 3, ..Shape::ELMAN };

    fn forms() -> Forms {
        let mut forms = Forms::default();
        // Row 1 twice in one form; row 5 in none; a form of no row.
        [&[0, 4][..], &[1, 1, 2], &[3], &[4, 2], &[]].into_iter().for_each(|rows| forms.push(rows.to_vec()));
        forms
    }

    fn sentences() -> Sentences {
        let mut sentences = Sentences::one(&[2, 0, 2, 3], &[0, 2, 1, 1]).unwrap();
        sentences.push(&[3, 4], &[2, 0]).unwrap();
        sentences
    }

    /// The loss of the forms' network, in which every row, mask and sum is written out once more.
    fn loss(params: &Params<f32>, dropout: Dropout, update: u64) -> f64 {
        let params = params.map(f64::from);
        let mut total = 0.0;
        for sentence in sentences().batch().iter() {
            let embedding = |t: isize| -> Vec<f64> {
                let Some(form) = usize::try_from(t).ok().and_then(|t| sentence.words.get(t)) else {
                    return params.emb().row(SHAPE.vocab).to_vec();
                };
                (0..SHAPE.embed)
                    .map(|unit| {
                        let rows = forms().get(*form as usize).to_vec();
                        let sum: f64 = rows.iter().map(|row| params.emb()[[*row as usize, unit]]).sum();
                        sum * f64::from(dropout.factor(update, u64::from(*form), unit))
                    })
                    .collect()
            };
            let mut h = params.h0().to_owned();
            for (t, label) in sentence.labels.iter().enumerate() {
                let x: Vec<f64> = (0..3).flat_map(|o| embedding((t + o) as isize - 1)).collect();
                let a = elman::ndarray::Array1::from(x).dot(&params.wx()) + h.dot(&params.wh()) + params.bh();
                h = a.mapv(|a| 1.0 / (1.0 + (-a).exp()));
                let seen = elman::ndarray::Array1::from_shape_fn(h.len(), |unit| {
                    h[unit] * f64::from(dropout.factor(update, Dropout::STATES, unit))
                });
                let y = seen.dot(&params.w()) + params.b();
                let nll = y.mapv(f64::exp).sum().ln() - y[*label as usize];
                total += nll / (2.0 * sentence.labels.len() as f64);
            }
        }
        total
    }

    #[test]
    fn the_gradient_is_that_of_the_sums_and_masks() {
        let mut params = Params::<f32>::init(SHAPE, 5).unwrap();
        params.as_mut_slice().iter_mut().for_each(|v| *v *= 4.0);
        for rate in [0.0, 0.5] {
            let dropout = Dropout { rate, seed: 9 };
            let network = Reference::new();
            let forms = Arc::new(forms());
            let mut learner =
                FormLearner::new(&network, forms, dropout, HashSet::new(), params.clone()).unwrap();
            for update in [3, 4] {
                // An earlier batch must leave no trace.
                learner.gradient(Sentences::one(&[1], &[0]).unwrap().batch(), 77).unwrap();
                let found = learner.gradient(sentences().batch(), update).unwrap();
                let expected = loss(&params, dropout, update);
                assert!((f64::from(found) - expected).abs() < 1e-6, "{found}, expected {expected}");
                for (i, grad) in learner.grad.as_slice().iter().enumerate() {
                    let step = 1.0 / 256.0;
                    let at = |step: f32| {
                        let mut moved = params.clone();
                        moved.as_mut_slice()[i] += step;
                        loss(&moved, dropout, update)
                    };
                    let expected = (at(step) - at(-step)) / (2.0 * f64::from(step));
                    assert!(
                        (f64::from(*grad) - expected).abs() < 3e-5,
                        "entry {i} at rate {rate}: {grad}, expected {expected}"
                    );
                }
            }
        }
    }

    #[test]
    fn a_step_changes_the_rows_of_its_forms() {
        let params = Params::<f32>::init(SHAPE, 5).unwrap();
        let (network, forms) = (Reference::new(), Arc::new(forms()));
        let none = Dropout { rate: 0.0, seed: 9 };
        let with = |frozen: &[u32]| {
            let frozen = frozen.iter().copied().collect();
            FormLearner::new(&network, forms.clone(), none, frozen, params.clone()).unwrap()
        };
        let adam = || Update::Adam(elman::Adam::new(0.01, SHAPE).unwrap());
        let (mut learner, mut update) = (with(&[]), adam());
        let first = learner.step(sentences().batch(), 0, &mut update).unwrap();
        for row in [1, 5] {
            assert_eq!(learner.params().emb().row(row), params.emb().row(row), "row {row} is in no form");
        }
        for row in [0, 2, 3, 4, 6] {
            assert_ne!(learner.params().emb().row(row), params.emb().row(row), "row {row}");
        }
        for number in 1..30 {
            learner.step(sentences().batch(), number, &mut update).unwrap();
        }
        assert!(learner.step(sentences().batch(), 30, &mut update).unwrap() < 0.9 * first);

        // Frozen rows stay, by every rule; also where no other row is left.
        for frozen in [&[2, 4][..], &[0, 1, 2, 3, 4, 5]] {
            for mut update in [adam(), Update::sgd(0.1)] {
                let mut learner = with(frozen);
                learner.step(sentences().batch(), 0, &mut update).unwrap();
                learner.step(sentences().batch(), 1, &mut update).unwrap();
                for row in 1..6 {
                    let [now, before] =
                        [learner.params(), &params].map(|params| params.emb().row(row).to_owned());
                    let stays = frozen.contains(&(row as u32)) || [1, 5].contains(&row);
                    assert_eq!(now == before, stays, "row {row}, frozen {frozen:?}");
                }
                assert_ne!(learner.params().w(), params.w());
            }
        }
    }

    #[test]
    fn masks_have_their_rate_and_depend_on_every_part_of_their_key() {
        let dropout = Dropout { rate: 0.25, seed: 1 };
        let factors = |seed, update, place| -> Vec<f32> {
            (0..4000).map(|unit| Dropout { seed, ..dropout }.factor(update, place, unit)).collect()
        };
        let first = factors(1, 2, 3);
        let dropped = first.iter().filter(|factor| **factor == 0.0).count();
        assert!((900..1100).contains(&dropped), "{dropped}"); // 1000 ± 3.6 standard deviations
        assert!(first.iter().all(|factor| *factor == 0.0 || *factor == (1.0f64 / 0.75) as f32));
        for other in [factors(2, 2, 3), factors(1, 3, 3), factors(1, 2, 4)] {
            let alike = first.iter().zip(&other).filter(|(a, b)| a == b).count();
            assert!((2350..2650).contains(&alike), "{alike}"); // 2500 ± 5 standard deviations
        }
        // A change here would change every model that is trained with dropout.
        let kept: Vec<bool> = first[..8].iter().map(|factor| *factor != 0.0).collect();
        assert_eq!(kept, KEPT);
    }

    const KEPT: [bool; 8] = [true, true, false, true, true, false, true, false];
}
