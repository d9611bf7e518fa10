#![doc = include_str!("../README.md")]
#![cfg_attr(not(target_arch = "wasm32"), forbid(unsafe_code))]

use elman::ndarray::Array2;
use elman::{
    Adam, Batch, Cell, Error, Feedback, Head, LayerParams, LayerShape, Layout, Network, Params, Recurrence,
    Sentences, Sequences, Shape, Update,
};
use elman_fast::raw::{self, Kernel};
use elman_fast::{Fast, Isa, Num};
use sha2::{Digest as _, Sha256};

/// The digests of version [`elman::BITS`] of the standard, as [`lines`] prints them.
pub const COMMITTED: &str = include_str!("../digests.txt");

/// Sizes on both sides of the boundaries of vectors.
const SIZES: Shape = Shape { vocab: 30, embed: 10, window: 5, hidden: 36, classes: 19, ..Shape::ELMAN };

/// Some work and the SHA-256 of its results, the first 16 hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Digest {
    /// The work, for example `f32 gru steps`.
    pub work: String,
    /// The digits.
    pub hash: String,
}

/// The digests of all works on one instruction set, always in the same order.
///
/// # Errors
/// [`Error::Unsupported`] if this CPU does not have it.
pub fn digests(isa: Isa) -> Result<Vec<Digest>, Error> {
    let mut all = Vec::new();
    of_type::<f32>(isa, &mut all)?;
    of_type::<f64>(isa, &mut all)?;
    Ok(all)
}

/// A line for each digest: hash, two blanks, work.
pub fn lines(digests: &[Digest]) -> String {
    digests.iter().map(|digest| format!("{}  {}\n", digest.hash, digest.work)).collect()
}

/// The works whose lines differ from those of [`COMMITTED`], those that only one of the two has included, each with the
/// hash found and the one expected.
pub fn differences(found: &[Digest]) -> Vec<(String, String, String)> {
    let committed = COMMITTED.lines().filter_map(|line| line.split_once("  "));
    let expected: Vec<Digest> =
        committed.map(|(hash, work)| Digest { work: work.into(), hash: hash.into() }).collect();
    let hash_in = |all: &[Digest], work: &str| {
        all.iter().find(|digest| digest.work == work).map_or("none".to_owned(), |digest| digest.hash.clone())
    };
    let only_expected = expected.iter().filter(|digest| hash_in(found, &digest.work) == "none");
    let works = found.iter().chain(only_expected).map(|digest| digest.work.clone());
    works
        .map(|work| (hash_in(found, &work), hash_in(&expected, &work), work))
        .filter(|(found, expected, _)| found != expected)
        .map(|(found, expected, work)| (work, found, expected))
        .collect()
}

fn hash<T: Num>(values: impl IntoIterator<Item = T>) -> String {
    let mut hash = Sha256::new();
    values.into_iter().for_each(|value| hash.update(value.bits().to_le_bytes()));
    hash.finalize()[..8].iter().map(|byte| format!("{byte:02x}")).collect()
}

fn of_type<T: Num>(isa: Isa, all: &mut Vec<Digest>) -> Result<(), Error>
where
    Fast: Network<T> + Recurrence<T>,
{
    let fast = Fast::with(isa)?;
    let mut add = |work: String, hash| all.push(Digest { work: format!("{} {work}", T::NAME), hash });
    for (name, kernel) in [("exp", Kernel::Exp), ("sigmoid", Kernel::Sigmoid), ("tanh", Kernel::Tanh)] {
        // From far below the smallest result to far above the largest one.
        let mut x: Vec<T> = (0..20_000).map(|i| T::from_f64(f64::from(i - 10_000) * 0.0137)).collect();
        raw::apply(isa, kernel, &mut x)?;
        add(name.to_owned(), hash(x));
    }
    let sentences = sentences()?;
    let batch = sentences.batch();
    let single = Cell::ALL
        .into_iter()
        .flat_map(|cell| Feedback::ALL.map(|feedback| Shape { cell, feedback, ..SIZES }));
    let directions = [(1, true), (2, false), (2, true)];
    let layered =
        Cell::ALL.into_iter().filter(|cell| cell.gates() > 1 || *cell == SIZES.cell).flat_map(|cell| {
            directions.map(|(layers, bidirectional)| Shape { cell, layers, bidirectional, ..SIZES })
        });
    let crf = Shape { head: Head::Crf, ..SIZES };
    let with_crf = [crf, Shape { cell: Cell::Gru, bidirectional: true, ..crf }];
    for shape in single.chain(layered).chain(with_crf) {
        if shape.check().is_err() {
            continue;
        }
        let name = shape.name();
        let params = params::<T, _>(shape)?;
        let mut grad = Params::zeros(shape)?;
        // One chunk, and a tree of three.
        let mut gradients = Vec::new();
        for part in [batch.slice(0..9), batch] {
            Network::<T>::gradient(&fast, &params, part, &mut grad)?;
            gradients.extend_from_slice(grad.as_slice());
        }
        add(format!("{name} gradient"), hash(gradients));
        let mut adam = Adam::new(T::from_f64(0.01), shape)?;
        (adam.weight_decay, adam.clip, adam.normalise) = (T::from_f64(0.02), Some(T::from_f64(0.25)), true);
        for (rule, update) in [("", Update::sgd(T::from_f64(0.1))), ("adam ", Update::Adam(adam))] {
            let trained = trained(&fast, params.clone(), batch, update)?;
            add(format!("{name} {rule}steps"), hash(trained.as_slice().iter().copied()));
        }
        let mut tagger = Network::<T>::tagger(&fast, &params)?;
        let mut scores = Vec::new();
        for sentence in batch.iter() {
            scores.extend(tagger.scores(sentence.words)?.iter().copied());
        }
        add(format!("{name} scores"), hash(scores));
        let mut scores = vec![T::zero(); batch.words().len() * shape.classes];
        tagger.score_all(batch, &mut scores)?;
        add(format!("{name} scores of a batch"), hash(scores));
        let mut labels = vec![0; batch.words().len()];
        tagger.label_all(batch, &mut labels)?;
        add(format!("{name} labels"), hash(labels.into_iter().map(|label| T::from_f64(f64::from(label)))));
        if shape.feedback == Feedback::Hidden && shape.head == Head::Softmax && shape.is_single() {
            add(format!("{name} recurrence"), recurrence(&fast, shape.cell)?);
        }
    }
    Ok(())
}

/// Steps on single sentences, and on batches of one chunk and of three.
fn trained<T: Num>(
    fast: &Fast,
    params: Params<T>,
    batch: Batch<'_>,
    mut update: Update<T>,
) -> Result<Params<T>, Error>
where
    Fast: Network<T>,
{
    let mut learner = Network::<T>::learner(fast, params)?;
    for part in [batch.slice(3..4), batch.slice(8..9), batch.slice(0..2), batch.slice(5..21), batch] {
        learner.step(part, &mut update)?;
    }
    Ok(learner.params())
}

fn recurrence<T: Num>(fast: &Fast, cell: Cell) -> Result<String, Error>
where
    Fast: Recurrence<T>,
{
    let lengths = [5, 1, 7, 3];
    let params: LayerParams<T> = params(LayerShape { input: 21, hidden: SIZES.hidden, cell })?;
    let rows = |cols| Array2::from_shape_fn((16, cols), |(i, j)| small(i * cols + j));
    let (x, dh) = (rows(21), rows(SIZES.hidden));
    let xs = Sequences::new(x.view(), &lengths)?;
    let trace = fast.vjp(params.layer(), &xs)?;
    let gradient = trace.backward(dh.view(), None)?;
    let all = trace.h().iter().chain(&gradient.xs).chain(&gradient.initial).copied().collect::<Vec<T>>();
    Ok(hash(all.into_iter().chain(gradient.layer.as_slice().iter().copied())))
}

/// A number between -0.5 and 0.5 that has few bits.
fn small<T: Num>(i: usize) -> T {
    T::from_f64((i * 37 % 64) as f64 / 64.0 - 0.5)
}

/// Random matrices and small vectors: zeros would hide an order of additions.
fn params<T: Num, S: Layout>(shape: S) -> Result<Params<T, S>, Error> {
    let mut params = Params::init(shape, 7)?;
    params
        .as_mut_slice()
        .iter_mut()
        .enumerate()
        .filter(|(_, p)| **p == T::zero())
        .for_each(|(i, p)| *p = small(i));
    Ok(params)
}

/// 40 sentences of 1 to 9 words.
fn sentences() -> Result<Sentences, Error> {
    let mut all = Sentences::new();
    for i in 0..40 {
        let words: Vec<u32> = (0..1 + i * 5 % 9).map(|t| (i * 11 + t * 7) % SIZES.vocab as u32).collect();
        let labels: Vec<u32> = words.iter().map(|word| (word * 3 + i) % SIZES.classes as u32).collect();
        all.push(&words, &labels)?;
    }
    Ok(all)
}

/// The exports of the WebAssembly module.
#[cfg(target_arch = "wasm32")]
mod wasm {
    use super::*;

    /// The lines of [`Isa::Exact`]: their length in the high half, their place in memory in the low half.
    #[unsafe(no_mangle)]
    pub extern "C" fn elman_digests() -> u64 {
        let text = String::leak(digests(Isa::Exact).map_or(String::new(), |digests| lines(&digests)));
        (text.len() as u64) << 32 | text.as_ptr() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The standard's promise, on the instruction sets of this CPU.
    #[test]
    fn digests_are_those_of_the_standard() {
        for isa in Isa::promised() {
            let differences = differences(&digests(isa).unwrap());
            assert!(differences.is_empty(), "{isa}: (work, found, expected): {differences:#?}");
        }
    }

    #[test]
    fn a_work_that_differs_or_is_missing_is_named() {
        let mut found = digests(Isa::best()).unwrap();
        found[0].hash = "0".repeat(16);
        let removed = found.remove(1);
        found.push(Digest { work: "new".into(), hash: "1".into() });
        let works: Vec<String> = differences(&found).into_iter().map(|(work, ..)| work).collect();
        assert_eq!(works, [found[0].work.as_str(), "new", &removed.work]);
    }
}
