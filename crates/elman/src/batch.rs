//! Sentences of word ids and labels, as values and offsets.

use std::ops::Range;

use crate::{Error, Shape};

/// Some sentences, borrowed: the words of one after those of the other, their labels likewise, and offsets (Arrow's
/// layout of a list).
///
/// ```
/// use elman::Batch;
///
/// let batch = Batch::new(&[4, 8, 15, 16], &[0, 1, 0, 1], &[0, 3, 4])?;
/// assert_eq!(batch.len(), 2);
/// assert_eq!(batch.sentence(1).words, [16]);
/// # Ok::<(), elman::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Batch<'a> {
    words: &'a [u32],
    /// As many as words, or none.
    labels: &'a [u32],
    /// Sentence i is `offsets[i] .. offsets[i + 1]`; at least one offset.
    offsets: &'a [usize],
}

/// The words and the labels of one sentence; without labels those are empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sentence<'a> {
    /// Word ids, each a row of the embeddings; at least one.
    pub words: &'a [u32],
    /// A label for each word, or none at all.
    pub labels: &'a [u32],
}

impl<'a> Batch<'a> {
    /// Sentences from their words, their labels and their offsets.
    ///
    /// `labels` has one label for each word, or is empty for sentences without labels. Sentence i has the words
    /// `offsets[i] .. offsets[i + 1]`; there is one offset more than sentences, or none for no sentence.
    ///
    /// # Errors
    /// [`Error::Shape`] if a sentence has no word (the loss, a mean over the words, would not exist), if the offsets
    /// reach beyond the words, or if there are other than as many labels as words.
    pub fn new(words: &'a [u32], labels: &'a [u32], offsets: &'a [usize]) -> Result<Self, Error> {
        let offsets = if offsets.is_empty() { &[0] } else { offsets };
        if let Some(i) = offsets.windows(2).position(|pair| pair[0] >= pair[1]) {
            let found =
                if offsets[i] == offsets[i + 1] { "0".to_string() } else { "offsets that fall".to_string() };
            return Err(Error::shape(format!("sentence {i}"), "at least 1 word", found));
        }
        let end = offsets[offsets.len() - 1];
        if end > words.len() {
            return Err(Error::shape(
                "offsets",
                format!("at most {}, the number of words", words.len()),
                end,
            ));
        }
        if !labels.is_empty() && labels.len() != words.len() {
            return Err(Error::shape("labels", format!("{}, one for each word", words.len()), labels.len()));
        }
        Ok(Batch { words, labels, offsets })
    }

    /// The number of sentences.
    pub fn len(&self) -> usize {
        self.offsets.len() - 1
    }

    /// Whether there is no sentence.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The words of all sentences.
    pub fn words(&self) -> &'a [u32] {
        &self.words[self.range()]
    }

    /// The labels of all sentences; none if they have none.
    pub fn labels(&self) -> &'a [u32] {
        if self.labels.is_empty() { &[] } else { &self.labels[self.range()] }
    }

    fn range(&self) -> Range<usize> {
        self.offsets[0]..self.offsets[self.len()]
    }

    /// The number of words of sentence i.
    ///
    /// # Panics
    /// If there is no such sentence.
    pub fn length(&self, i: usize) -> usize {
        self.offsets[i + 1] - self.offsets[i]
    }

    /// Sentence i.
    ///
    /// # Panics
    /// If there is no such sentence.
    pub fn sentence(&self, i: usize) -> Sentence<'a> {
        let range = self.offsets[i]..self.offsets[i + 1];
        let labels = if self.labels.is_empty() { &[] } else { &self.labels[range.clone()] };
        Sentence { words: &self.words[range], labels }
    }

    /// The sentences in their order.
    pub fn iter(
        &self,
    ) -> impl DoubleEndedIterator<Item = Sentence<'a>> + ExactSizeIterator + Clone + use<'a> {
        let batch = *self;
        (0..batch.len()).map(move |i| batch.sentence(i))
    }

    /// The sentences whose gradients are added in their order: one leaf of the tree that a batch is.
    pub const CHUNK: usize = 16;

    /// The two parts whose sums make the sum over a batch of more than [`Batch::CHUNK`] sentences: on the left the
    /// largest power of two of whole chunks that leaves a sentence for the right. `None` for a chunk.
    ///
    /// The tree depends on the number of sentences alone, so that the sum has the same bits whoever computes its parts.
    pub fn halves(&self) -> Option<(Batch<'a>, Batch<'a>)> {
        let chunks = self.len().div_ceil(Self::CHUNK);
        if chunks <= 1 {
            return None;
        }
        let left = chunks.next_power_of_two() / 2 * Self::CHUNK;
        Some((self.slice(0..left), self.slice(left..self.len())))
    }

    /// Some sentences that follow each other.
    ///
    /// # Panics
    /// If there are no such sentences.
    pub fn slice(&self, range: Range<usize>) -> Batch<'a> {
        Batch { offsets: &self.offsets[range.start..=range.end], ..*self }
    }

    /// Refuses words that are not in the vocabulary (the padding is not a word).
    ///
    /// # Errors
    /// [`Error::OutOfRange`] names the first such word by its position in its sentence.
    pub fn check_words(&self, shape: &Shape) -> Result<(), Error> {
        self.iter().try_for_each(|sentence| check_ids("word", sentence.words, shape.vocab))
    }

    /// Refuses an empty batch, sentences without labels, and words and labels that the network does not have: the
    /// door of everything that trains.
    ///
    /// # Errors
    /// [`Error::Shape`]; [`Error::OutOfRange`] names the first id.
    pub fn check(&self, shape: &Shape) -> Result<(), Error> {
        if self.is_empty() {
            return Err(Error::shape("batch", "at least 1 sentence", 0));
        }
        if self.labels.is_empty() {
            return Err(Error::shape("labels", format!("{}, one for each word", self.words().len()), 0));
        }
        self.check_words(shape)?;
        self.iter().try_for_each(|sentence| check_ids("label", sentence.labels, shape.classes))
    }
}

/// Refuses a sentence without words and words that are not in the vocabulary.
///
/// # Errors
/// [`Error::Shape`], [`Error::OutOfRange`].
pub fn check_words(words: &[u32], shape: &Shape) -> Result<(), Error> {
    if words.is_empty() {
        return Err(Error::shape("sentence", "at least 1 word", 0));
    }
    check_ids("word", words, shape.vocab)
}

fn check_ids(what: &'static str, ids: &[u32], limit: usize) -> Result<(), Error> {
    match ids.iter().position(|id| *id as usize >= limit) {
        Some(position) => Err(Error::OutOfRange { what, position, limit, found: ids[position] as usize }),
        None => Ok(()),
    }
}

/// The ids of the `window` words around word `t`, from left to right; beyond either end of the sentence the padding.
/// `x[t]` is the concatenation of their embeddings. (`contextwin` in the tutorial.)
///
/// A `t` beyond the sentence sees more padding.
///
/// ```
/// use elman::{Shape, context};
///
/// let shape = Shape { vocab: 10, embed: 4, window: 3, hidden: 5, classes: 2, ..Shape::ELMAN };
/// assert_eq!(context(&[7, 0, 7], 0, &shape).collect::<Vec<_>>(), [10, 7, 0]); // 10: the padding row
/// ```
pub fn context(words: &[u32], t: usize, shape: &Shape) -> impl ExactSizeIterator<Item = u32> {
    let (half, padding) = (shape.window / 2, shape.padding());
    (0..shape.window).map(move |offset| {
        let position = t.checked_add(offset).and_then(|position| position.checked_sub(half));
        position.and_then(|position| words.get(position)).copied().unwrap_or(padding)
    })
}

/// Sentences that are collected one by one: an owned [`Batch`].
///
/// ```
/// use elman::Sentences;
///
/// let mut sentences = Sentences::new();
/// sentences.push(&[4, 8], &[0, 1])?;
/// sentences.push(&[15], &[0])?;
/// assert_eq!(sentences.batch().len(), 2);
/// # Ok::<(), elman::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sentences {
    words: Vec<u32>,
    labels: Vec<u32>,
    offsets: Vec<usize>,
}

impl Default for Sentences {
    fn default() -> Self {
        Sentences::new()
    }
}

impl Sentences {
    /// No sentence yet.
    pub fn new() -> Self {
        Sentences { words: Vec::new(), labels: Vec::new(), offsets: vec![0] }
    }

    /// One sentence.
    ///
    /// # Errors
    /// Those of [`Sentences::push`].
    pub fn one(words: &[u32], labels: &[u32]) -> Result<Self, Error> {
        let mut sentences = Sentences::new();
        sentences.push(words, labels)?;
        Ok(sentences)
    }

    /// Appends a sentence. Either all sentences have labels or none has.
    ///
    /// # Errors
    /// [`Error::Shape`] if it has no word, or other than as many labels as words (or, without labels, if those before
    /// have labels, and the other way round).
    pub fn push(&mut self, words: &[u32], labels: &[u32]) -> Result<(), Error> {
        if words.is_empty() {
            return Err(Error::shape("sentence", "at least 1 word", 0));
        }
        let labelled = if self.words.is_empty() { !labels.is_empty() } else { !self.labels.is_empty() };
        let expected = if labelled { words.len() } else { 0 };
        if labels.len() != expected {
            let expected =
                if labelled { format!("{expected}, one for each word") } else { "none".to_string() };
            return Err(Error::shape("labels", expected, labels.len()));
        }
        self.words.extend_from_slice(words);
        self.labels.extend_from_slice(labels);
        self.offsets.push(self.words.len());
        Ok(())
    }

    /// Removes all sentences and keeps the memory.
    pub fn clear(&mut self) {
        self.words.clear();
        self.labels.clear();
        self.offsets.truncate(1);
    }

    /// All sentences.
    pub fn batch(&self) -> Batch<'_> {
        Batch { words: &self.words, labels: &self.labels, offsets: &self.offsets }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: Shape = Shape { vocab: 9, embed: 1, window: 5, hidden: 1, classes: 3, ..Shape::ELMAN };

    #[test]
    fn context_is_the_tutorials() {
        let words = [0, 1, 2, 3, 4];
        let rows: Vec<Vec<u32>> = (0..5).map(|t| context(&words, t, &SHAPE).collect()).collect();
        assert_eq!(
            rows,
            [[9, 9, 0, 1, 2], [9, 0, 1, 2, 3], [0, 1, 2, 3, 4], [1, 2, 3, 4, 9], [2, 3, 4, 9, 9]]
        );
        let narrow = Shape { window: 1, ..SHAPE };
        assert_eq!(context(&words, 3, &narrow).collect::<Vec<_>>(), [3]);
        // A window wider than the sentence, and a word beyond it.
        let wide = Shape { window: 7, ..SHAPE };
        assert_eq!(context(&[4], 0, &wide).collect::<Vec<_>>(), [9, 9, 9, 4, 9, 9, 9]);
        assert_eq!(context(&[4], usize::MAX, &wide).collect::<Vec<_>>(), [9; 7]);
    }

    #[test]
    fn sentences_and_slices_are_the_words_between_offsets() {
        let batch = Batch::new(&[5, 6, 7, 8], &[0, 1, 2, 0], &[0, 1, 3, 4]).unwrap();
        let words: Vec<_> = batch.iter().map(|sentence| sentence.words).collect();
        assert_eq!(words, [&[5][..], &[6, 7], &[8]]);
        let part = batch.slice(1..3);
        assert_eq!((part.len(), part.words(), part.labels()), (2, &[6, 7, 8][..], &[1, 2, 0][..]));
        assert_eq!(part.sentence(0), batch.sentence(1));
        assert!(batch.slice(2..2).is_empty() && Batch::new(&[], &[], &[]).unwrap().is_empty());

        let mut sentences = Sentences::default();
        batch.iter().for_each(|sentence| sentences.push(sentence.words, sentence.labels).unwrap());
        assert_eq!(sentences.batch(), batch);
        sentences.clear();
        assert!(sentences.batch().is_empty());
    }

    #[test]
    fn a_batch_is_a_tree_of_chunks() {
        fn leaves(batch: Batch<'_>) -> Vec<usize> {
            match batch.halves() {
                None => vec![batch.len()],
                Some((left, right)) => [leaves(left), leaves(right)].concat(),
            }
        }
        let words = [0; 100];
        let offsets: Vec<usize> = (0..=100).collect();
        let batch = Batch::new(&words, &[], &offsets).unwrap();
        let halves = |sentences: usize| batch.slice(0..sentences).halves().map(|(a, b)| (a.len(), b.len()));
        assert_eq!([1, 16, 17, 32].map(halves), [None, None, Some((16, 1)), Some((16, 16))]);
        assert_eq!([33, 64, 65, 100].map(halves), [(32, 1), (32, 32), (64, 1), (64, 36)].map(Some));
        assert_eq!(leaves(batch), [16, 16, 16, 16, 16, 16, 4]);
    }

    #[test]
    fn wrong_batches_are_refused() {
        let message = |words: &[u32], labels: &[u32], offsets: &[usize]| {
            Batch::new(words, labels, offsets).unwrap_err().to_string()
        };
        assert_eq!(message(&[1], &[], &[0, 1, 1]), "sentence 1: expected at least 1 word, found 0");
        assert_eq!(
            message(&[1], &[], &[1, 0]),
            "sentence 0: expected at least 1 word, found offsets that fall"
        );
        assert_eq!(message(&[1], &[], &[0, 2]), "offsets: expected at most 1, the number of words, found 2");
        assert_eq!(message(&[1, 2], &[0], &[0, 2]), "labels: expected 2, one for each word, found 1");

        let mut sentences = Sentences::new();
        assert!(sentences.push(&[], &[]).is_err());
        sentences.push(&[3, 2], &[1, 1]).unwrap();
        let message = sentences.push(&[1], &[]).unwrap_err().to_string();
        assert_eq!(message, "labels: expected 1, one for each word, found 0");
        let message = Sentences::one(&[1], &[]).unwrap().push(&[2], &[2]).unwrap_err().to_string();
        assert_eq!(message, "labels: expected none, found 1");
    }

    #[test]
    fn ids_out_of_range_are_named() {
        let check = |words: &[u32], labels: &[u32]| {
            Sentences::one(words, labels).unwrap().batch().check(&SHAPE).map_err(|error| error.to_string())
        };
        check(&[8, 0], &[2, 0]).unwrap();
        let message = check(&[3, 9], &[0, 0]).unwrap_err();
        assert_eq!(message, "word at position 1: expected an id below 9, found 9");
        let message = check(&[3, 8], &[3, 0]).unwrap_err();
        assert_eq!(message, "label at position 0: expected an id below 3, found 3");
        assert_eq!(check(&[3, 8], &[]).unwrap_err(), "labels: expected 2, one for each word, found 0");
        let message = Sentences::new().batch().check(&SHAPE).unwrap_err().to_string();
        assert_eq!(message, "batch: expected at least 1 sentence, found 0");
        assert!(check_words(&[], &SHAPE).is_err() && check_words(&[9], &SHAPE).is_err());
        check_words(&[8], &SHAPE).unwrap();
    }
}
