//! Sentences packed by time, as the Python systems pack them.

use std::cmp::Reverse;

use elman::Sentence;
use elman::ndarray::Array2;
use elman_benches::Workload;

/// The ids of the words around each word, `window` for each; beyond the sentence the padding.
pub(crate) fn contexts(words: &[u32], vocab: usize, window: usize) -> Vec<usize> {
    let half = window / 2;
    let word = |t: usize| t.checked_sub(half).and_then(|t| words.get(t)).map_or(vocab, |word| *word as usize);
    (0..words.len()).flat_map(|t| (t..t + window).map(word)).collect()
}

/// The place of the first word of each sentence among all words.
pub(crate) fn starts(sentences: elman::Batch<'_>) -> Vec<usize> {
    let lengths = sentences.iter().map(|sentence| sentence.words.len());
    lengths.scan(0, |end, length| Some(std::mem::replace(end, *end + length))).collect()
}

/// The places of sentences packed by time: first the first words of all sentences, then the second words of
/// those that have one, and so on. The longest sentence comes first, so that the rows of a step continue the
/// first rows of the step before.
pub(crate) struct Packing {
    /// Number of rows of each step.
    pub(crate) sizes: Vec<usize>,
    /// The sentence and the word of each row.
    pub(crate) places: Vec<(usize, usize)>,
    /// The row of the state before each row, from the second step on.
    pub(crate) before: Vec<usize>,
}

impl Packing {
    pub(crate) fn new(lengths: impl Iterator<Item = usize>) -> Self {
        let lengths: Vec<usize> = lengths.collect();
        let mut order: Vec<usize> = (0..lengths.len()).collect();
        order.sort_by_key(|s| Reverse(lengths[*s]));
        let steps = order.first().map_or(0, |longest| lengths[*longest]);
        let mut packing = Packing { sizes: Vec::new(), places: Vec::new(), before: Vec::new() };
        let mut start = 0;
        for t in 0..steps {
            let active = order.iter().take_while(|s| lengths[**s] > t);
            packing.places.extend(active.map(|s| (*s, t)));
            let size = packing.places.len() - packing.sizes.iter().sum::<usize>();
            if t > 0 {
                packing.before.extend(start..start + size);
                start += packing.sizes[t - 1];
            }
            packing.sizes.push(size);
        }
        packing
    }
}

/// What a training step is given, made before the clock starts.
pub(crate) struct Batch {
    pub(crate) packing: Packing,
    pub(crate) sentences: usize,
    /// `window` ids for each row.
    pub(crate) contexts: Vec<usize>,
    /// The rows of the embeddings that change, each once.
    pub(crate) rows: Vec<usize>,
    /// For each entry of `contexts`, its place in `rows`.
    pub(crate) local: Vec<usize>,
    /// `[rows, 1]`: 1 / (sentences · words of the sentence).
    pub(crate) weights: Array2<f32>,
    /// `[rows, classes]`: the weight at the label, 0 elsewhere.
    pub(crate) target: Array2<f32>,
}

impl Batch {
    pub(crate) fn new(workload: &Workload, sentences: elman::Batch<'_>) -> Self {
        let shape = workload.params.shape();
        let (vocab, window) = (shape.vocab, shape.window);
        let sentences: Vec<Sentence<'_>> = sentences.iter().collect();
        let lengths = sentences.iter().map(|sentence| sentence.words.len());
        let packing = Packing::new(lengths.clone());
        let by_sentence: Vec<Vec<usize>> =
            sentences.iter().map(|sentence| contexts(sentence.words, vocab, window)).collect();
        let contexts: Vec<usize> = packing
            .places
            .iter()
            .flat_map(|(s, t)| &by_sentence[*s][t * window..(t + 1) * window])
            .copied()
            .collect();
        let mut rows = contexts.clone();
        rows.sort_unstable();
        rows.dedup();
        let local = contexts.iter().map(|id| rows.partition_point(|row| row < id)).collect();
        let lengths: Vec<usize> = lengths.collect();
        let weight = |s: usize| 1.0 / (sentences.len() * lengths[s]) as f32;
        let mut weights = Array2::zeros((packing.places.len(), 1));
        let mut target = Array2::zeros((packing.places.len(), shape.classes));
        for (row, (s, t)) in packing.places.iter().enumerate() {
            weights[[row, 0]] = weight(*s);
            target[[row, sentences[*s].labels[*t] as usize]] = weight(*s);
        }
        Batch { packing, sentences: sentences.len(), contexts, rows, local, weights, target }
    }
}

/// `[batch · steps, …]` from sequence after sequence to step after step.
pub(crate) fn by_time(tensor: &Array2<f32>, batch: usize, steps: usize) -> Array2<f32> {
    Array2::from_shape_fn(tensor.dim(), |(row, col)| tensor[[(row % batch) * steps + row / batch, col]])
}

/// The reverse of [`by_time`].
pub(crate) fn by_sequence(tensor: &Array2<f32>, batch: usize, steps: usize) -> Array2<f32> {
    by_time(tensor, steps, batch)
}
