use crate::{Error, Shape};

/// The word ids of one sentence; at least one word.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Sentence {
    words: Vec<usize>,
}

impl Sentence {
    /// A sentence from word ids, each a row of the embeddings.
    ///
    /// # Errors
    /// [`Error::Shape`] if there is no word: the loss, a mean over the words, would not exist.
    pub fn new(words: Vec<usize>) -> Result<Self, Error> {
        if words.is_empty() {
            return Err(Error::shape("sentence", "at least 1 word", 0));
        }
        Ok(Sentence { words })
    }

    /// The word ids.
    pub fn words(&self) -> &[usize] {
        &self.words
    }

    /// Refuses a word that is not in the vocabulary (the padding is not a word).
    ///
    /// # Errors
    /// [`Error::OutOfRange`] names the first such word.
    pub fn check(&self, shape: &Shape) -> Result<(), Error> {
        check_ids("word", &self.words, shape.vocab)
    }

    /// The ids of the `window` words around word `t`, from left to right; beyond either end of the sentence
    /// the padding. `x[t]` is the concatenation of their embeddings. (`contextwin` in the tutorial.)
    ///
    /// # Panics
    /// Never: a `t` beyond the sentence sees more padding.
    pub fn context(&self, t: usize, shape: &Shape) -> impl ExactSizeIterator<Item = usize> + '_ {
        let (half, padding) = (shape.window / 2, shape.padding());
        (0..shape.window).map(move |offset| {
            let position = (t + offset).checked_sub(half);
            position.and_then(|p| self.words.get(p)).copied().unwrap_or(padding)
        })
    }
}

/// A sentence with a label for every word.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Labelled {
    sentence: Sentence,
    labels: Vec<usize>,
}

impl Labelled {
    /// Joins a sentence and its labels.
    ///
    /// # Errors
    /// [`Error::Shape`] if there are not as many labels as words.
    pub fn new(sentence: Sentence, labels: Vec<usize>) -> Result<Self, Error> {
        if labels.len() != sentence.words.len() {
            return Err(Error::shape(
                "labels",
                format!("{}, one for each word", sentence.words.len()),
                labels.len(),
            ));
        }
        Ok(Labelled { sentence, labels })
    }

    /// The words.
    pub fn sentence(&self) -> &Sentence {
        &self.sentence
    }

    /// The labels, one for each word.
    pub fn labels(&self) -> &[usize] {
        &self.labels
    }

    /// Refuses a word or a label that the network does not have.
    ///
    /// # Errors
    /// [`Error::OutOfRange`] names the first one.
    pub fn check(&self, shape: &Shape) -> Result<(), Error> {
        self.sentence.check(shape)?;
        check_ids("label", &self.labels, shape.classes)
    }
}

fn check_ids(what: &'static str, ids: &[usize], limit: usize) -> Result<(), Error> {
    match ids.iter().position(|id| *id >= limit) {
        Some(position) => Err(Error::OutOfRange { what, position, limit, found: ids[position] }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Feedback;

    const SHAPE: Shape =
        Shape { vocab: 9, embed: 1, window: 5, hidden: 1, classes: 3, feedback: Feedback::Hidden };

    #[test]
    fn context_is_the_tutorials() {
        let sentence = Sentence::new(vec![0, 1, 2, 3, 4]).unwrap();
        let rows: Vec<Vec<usize>> = (0..5).map(|t| sentence.context(t, &SHAPE).collect()).collect();
        assert_eq!(
            rows,
            [[9, 9, 0, 1, 2], [9, 0, 1, 2, 3], [0, 1, 2, 3, 4], [1, 2, 3, 4, 9], [2, 3, 4, 9, 9]]
        );
        let narrow = Shape { window: 1, ..SHAPE };
        assert_eq!(sentence.context(3, &narrow).collect::<Vec<_>>(), [3]);
        // A window wider than the sentence.
        let wide = Shape { window: 7, ..SHAPE };
        let one = Sentence::new(vec![4]).unwrap();
        assert_eq!(one.context(0, &wide).collect::<Vec<_>>(), [9, 9, 9, 4, 9, 9, 9]);
    }

    #[test]
    fn what_does_not_fit_is_named() {
        assert_eq!(
            Sentence::new(vec![]).unwrap_err().to_string(),
            "sentence: expected at least 1 word, found 0"
        );
        let sentence = Sentence::new(vec![3, 9]).unwrap();
        assert_eq!(
            sentence.check(&SHAPE).unwrap_err().to_string(),
            "word at position 1: expected an id below 9, found 9"
        );
        assert_eq!(
            Labelled::new(sentence, vec![0]).unwrap_err().to_string(),
            "labels: expected 2, one for each word, found 1"
        );
        let labelled = Labelled::new(Sentence::new(vec![8, 0]).unwrap(), vec![3, 0]).unwrap();
        assert_eq!(
            labelled.check(&SHAPE).unwrap_err().to_string(),
            "label at position 0: expected an id below 3, found 3"
        );
        assert!(Labelled::new(Sentence::new(vec![8]).unwrap(), vec![2]).unwrap().check(&SHAPE).is_ok());
    }
}
