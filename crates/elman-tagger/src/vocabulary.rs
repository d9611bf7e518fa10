use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use indexmap::{IndexMap, IndexSet};
use serde::{Deserialize, Serialize};

use crate::limits::{MAX_NAME, MAX_TOKEN};
use crate::lines::name_fault;
use crate::{Error, Normalization, TaggedSentence};

/// The word that stands for all words the network does not know.
pub const UNKNOWN: &str = "<UNK>";

/// The features that a network sees of a word, known or not: the word's embedding is the sum of the word's own row
/// and of a row for each feature that the training corpus had in two words at least.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Features {
    /// The longest prefixes and suffixes, in characters; 0 for none. They are those of the normalised word, and
    /// shorter than the word.
    #[serde(default)]
    pub affixes: usize,
    /// Whether the shape is seen: capitals, small letters, digits and other characters of the word as it stands in the
    /// text, each run once (`Xx`, `d`, `X-d`).
    #[serde(default)]
    pub shape: bool,
}

impl Features {
    /// The longest prefixes and suffixes that there can be.
    pub const MAX_AFFIXES: usize = 8;
    const PREFIX: &str = "<PRE>";
    const SUFFIX: &str = "<SUF>";
    const SHAPE: &str = "<SHAPE>";
    /// The longest shape, in runs.
    const MAX_RUNS: usize = 8;

    /// Whether there is none.
    pub fn is_none(&self) -> bool {
        *self == Features::default()
    }

    /// Whether the name is one of a feature: a word of such a name reads as unknown.
    fn is_feature(&self, name: &str) -> bool {
        !self.is_none() && [Self::PREFIX, Self::SUFFIX, Self::SHAPE].iter().any(|kind| name.starts_with(kind))
    }

    /// The names of the features of a word, given as it stands in the text and normalised.
    fn of(&self, word: &str, normalised: &str) -> Vec<String> {
        let mut names = Vec::new();
        let mut affix = |kind: &str, part: &str| {
            if !part.starts_with(' ') && !part.ends_with(' ') {
                names.push(format!("{kind}{part}"));
            }
        };
        let places: Vec<usize> = normalised.char_indices().map(|(place, _)| place).collect();
        for length in 1..places.len().min(self.affixes + 1) {
            affix(Self::PREFIX, &normalised[..places[length]]);
            affix(Self::SUFFIX, &normalised[places[places.len() - length]..]);
        }
        if self.shape {
            let mut runs: Vec<char> = word.chars().map(run).collect();
            runs.dedup();
            names.push(Self::SHAPE.chars().chain(runs.into_iter().take(Self::MAX_RUNS)).collect());
        }
        names
    }
}

/// The kind of a character in a word's shape.
fn run(character: char) -> char {
    if character.is_uppercase() {
        'X'
    } else if character.is_alphabetic() {
        'x'
    } else if character.is_numeric() {
        'd'
    } else if character.is_ascii_punctuation() {
        character
    } else {
        '*'
    }
}

/// The words that a network knows, by id, and the [`Normalization`] by which they are looked up. With [`Features`],
/// these have ids too.
///
/// Id 0 is [`UNKNOWN`]; the others follow in the order of their bytes, so that equal corpora give equal ids.
#[derive(Clone, Debug)]
pub struct Vocabulary {
    words: IndexSet<String>,
    normalization: Normalization,
    features: Features,
}

/// Equal vocabularies give each word the same id.
impl PartialEq for Vocabulary {
    fn eq(&self, other: &Self) -> bool {
        // As slices: equal sets may have another order.
        self.words.as_slice() == other.words.as_slice() && self.normalization == other.normalization
    }
}

impl Eq for Vocabulary {}

impl Vocabulary {
    /// The words that occur at least twice in the training corpus, after normalisation. A word that occurs once
    /// reads as unknown, in the training corpus too: that is how the network learns what to do with one.
    pub fn new(corpus: &[TaggedSentence], normalization: Normalization) -> Self {
        let mut counts = IndexMap::new();
        for word in corpus.iter().flat_map(TaggedSentence::words) {
            *counts.entry(normalization.apply(word)).or_insert(0u64) += 1;
        }
        counts.retain(|_, count| *count > 1);
        counts.sort_unstable_keys();
        let known = counts.into_keys().map(Cow::into_owned);
        // The set passes over an UNKNOWN that the corpus itself has.
        let words = std::iter::once(UNKNOWN.to_owned()).chain(known).collect();
        Vocabulary { words, normalization, features: Features::default() }
    }

    /// The same with further words, however rare; they must be normalised.
    pub fn with_words<'a>(mut self, words: impl IntoIterator<Item = &'a str>) -> Self {
        self.words.extend(words.into_iter().map(str::to_owned));
        let unknown = self.words.shift_remove_index(0);
        self.words.sort_unstable();
        self.words = unknown.into_iter().chain(self.words.drain(..)).collect();
        self
    }

    /// The same with the features that two different words of the training corpus have at least.
    pub fn with_features(mut self, corpus: &[TaggedSentence], features: Features) -> Self {
        if features.is_none() {
            return self;
        }
        let words: BTreeSet<&String> = corpus.iter().flat_map(TaggedSentence::words).collect();
        let mut counts = BTreeMap::new();
        for word in words {
            for name in features.of(word, &self.normalization.apply(word)) {
                *counts.entry(name).or_insert(0u64) += 1;
            }
        }
        self.features = features;
        self.words.retain(|word| !features.is_feature(word));
        self.words.extend(counts.into_iter().filter(|(_, count)| *count > 1).map(|(name, _)| name));
        self
    }

    /// The features of words.
    pub fn features(&self) -> Features {
        self.features
    }

    /// The rows of the embeddings whose sum is that of a word as it stands in a text: its own, which may be that of
    /// [`UNKNOWN`], and those of its features. Without [`Features`] there is one.
    pub fn rows(&self, word: &str) -> Vec<u32> {
        let features = self.features.of(word, &self.normalization.apply(word));
        let features = features.iter().filter_map(|name| self.words.get_index_of(name));
        std::iter::once(self.id(word)).chain(features.map(|row| row as u32)).collect()
    }

    /// The words of a network from elsewhere, in the order of their ids, as they look after normalisation.
    ///
    /// # Errors
    /// [`elman::Error::Shape`] names the first word that is not one, or that was there before, and a first word other
    /// than [`UNKNOWN`].
    pub fn from_words(
        words: impl IntoIterator<Item = String>,
        normalization: Normalization,
    ) -> Result<Self, Error> {
        let words = distinct("word", MAX_NAME, words)?;
        match words.first() {
            Some(first) if first == UNKNOWN => {
                Ok(Vocabulary::from_checked(words, normalization, Features::default()))
            }
            first => Err(Error::shape("word 0", UNKNOWN, first.map_or("nothing", String::as_str))),
        }
    }

    /// As [`Vocabulary::from_words`], of words that were checked while they were read.
    pub(crate) fn from_checked(
        words: IndexSet<String>,
        normalization: Normalization,
        features: Features,
    ) -> Self {
        Vocabulary { words, normalization, features }
    }

    /// Number of words and features, [`UNKNOWN`] included: `vocab` in a [`Shape`](elman::Shape).
    pub fn size(&self) -> usize {
        self.words.len()
    }

    /// The id of a word as it stands in a text.
    pub fn id(&self, word: &str) -> u32 {
        let word = self.normalization.apply(word);
        if self.features.is_feature(&word) {
            return 0;
        }
        // As many words as ids of 32 bits, at most (limits::MAX_VOCAB).
        self.words.get_index_of(word.as_ref()).unwrap_or(0) as u32
    }

    /// The words in the order of their ids, normalised.
    pub fn words(&self) -> impl ExactSizeIterator<Item = &str> {
        self.words.iter().map(String::as_str)
    }

    /// How words are looked up.
    pub fn normalization(&self) -> Normalization {
        self.normalization
    }

    /// The ids of a sentence's words.
    pub fn ids(&self, words: &[impl AsRef<str>]) -> Vec<u32> {
        words.iter().map(|word| self.id(word.as_ref())).collect()
    }
}

/// The tags that a network can give, by id, in the order of their bytes.
#[derive(Clone, Debug)]
pub struct Labels {
    tags: IndexSet<String>,
}

/// Equal labels give each tag the same id.
impl PartialEq for Labels {
    fn eq(&self, other: &Self) -> bool {
        self.tags.as_slice() == other.tags.as_slice()
    }
}

impl Eq for Labels {}

impl Labels {
    /// The tags of the training corpus. A tag that only another corpus has can never be predicted; there it
    /// counts as wrong.
    pub fn new(corpus: &[TaggedSentence]) -> Self {
        let mut tags: IndexSet<&String> = corpus.iter().flat_map(TaggedSentence::tags).collect();
        tags.sort_unstable();
        Labels { tags: tags.into_iter().cloned().collect() }
    }

    /// The tags of a network from elsewhere, in the order of their ids.
    ///
    /// # Errors
    /// [`elman::Error::Shape`] names the first tag that is not one, or that was there before.
    pub fn from_tags(tags: impl IntoIterator<Item = String>) -> Result<Self, Error> {
        Ok(Labels { tags: distinct("tag", MAX_TOKEN, tags)? })
    }

    /// As [`Labels::from_tags`], of tags that were checked while they were read.
    pub(crate) fn from_checked(tags: IndexSet<String>) -> Self {
        Labels { tags }
    }

    /// Number of tags: `classes` in a [`Shape`](elman::Shape).
    pub fn size(&self) -> usize {
        self.tags.len()
    }

    /// The id of a tag, if the network can give it.
    pub fn id(&self, tag: &str) -> Option<u32> {
        self.tags.get_index_of(tag).map(|id| id as u32)
    }

    /// The tag of an id.
    pub fn tag(&self, id: u32) -> Option<&str> {
        self.tags.get_index(id as usize).map(String::as_str)
    }

    /// The ids of a training sentence's tags.
    ///
    /// # Errors
    /// [`elman::Error::Shape`] names a tag that is not among them.
    pub fn ids(&self, tags: &[String]) -> Result<Vec<u32>, Error> {
        let refused = |tag| Error::shape("tag", "one of the labels", format!("{tag:?}"));
        tags.iter().map(|tag| self.id(tag).ok_or_else(|| refused(tag))).collect()
    }

    /// The tags of many ids.
    ///
    /// # Errors
    /// [`elman::Error::OutOfRange`] names the first id without a tag.
    pub fn tags_of(&self, ids: &[u32]) -> Result<Vec<&str>, Error> {
        ids.iter()
            .enumerate()
            .map(|(position, id)| {
                let limit = self.size();
                let found = *id as usize;
                self.tag(*id).ok_or(elman::Error::OutOfRange { what: "label", position, limit, found }.into())
            })
            .collect()
    }

    /// The tags in the order of their ids.
    pub fn tags(&self) -> impl ExactSizeIterator<Item = &str> + Clone {
        self.tags.iter().map(String::as_str)
    }
}

/// Names that a model folder can hold: one each, no tab or line end, not too long.
fn distinct(
    what: &str,
    longest: usize,
    names: impl IntoIterator<Item = String>,
) -> Result<IndexSet<String>, Error> {
    let mut set = IndexSet::new();
    for (id, name) in names.into_iter().enumerate() {
        if let Some((problem, expected)) = name_fault(&name, longest) {
            return Err(Error::shape(format!("{what} {id}"), expected, problem));
        }
        if let (first, false) = set.insert_full(name) {
            return Err(Error::shape(format!("{what} {id}"), "each once", format!("{what} {first} again")));
        }
    }
    Ok(set)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn features_are_rows_of_known_and_unknown_words() {
        let own = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let words = own("Running running jumping Run B-52 C-30 running");
        let corpus = [TaggedSentence::new(words, own("O O O O O O O")).unwrap()];
        let features = Features { affixes: 3, shape: true };
        let normalization = Normalization { lowercase: true, digits: false };
        let vocabulary = Vocabulary::new(&corpus, normalization).with_features(&corpus, features);
        let names: Vec<&str> = vocabulary.words().collect();
        let rows = |word: &str| -> Vec<&str> {
            vocabulary.rows(word).into_iter().map(|row| names[row as usize]).collect()
        };
        let of_running = ["running", "<PRE>r", "<SUF>g", "<PRE>ru", "<SUF>ng", "<PRE>run", "<SUF>ing"];
        assert_eq!(rows("running"), [&of_running[..], &["<SHAPE>x"]].concat());
        assert_eq!(rows("RUNNING"), of_running); // a shape that no word had
        assert_eq!(rows("Sing"), [UNKNOWN, "<SUF>g", "<SUF>ng", "<SUF>ing", "<SHAPE>Xx"]);
        assert_eq!(rows("X-999"), [UNKNOWN, "<SHAPE>X-d"]);
        assert_eq!(rows("é"), [UNKNOWN, "<SHAPE>x"]);
        let plain = Vocabulary::new(&corpus, normalization);
        assert_eq!(plain.rows("running"), [plain.id("running")]);

        // The name of a feature is no word where there are features.
        let corpus = [TaggedSentence::new(own("<SUF>g <SUF>g sing ring"), own("O O O O")).unwrap()];
        let plain = Vocabulary::new(&corpus, Normalization::default());
        assert_ne!(plain.id("<SUF>g"), 0);
        let vocabulary = plain.with_features(&corpus, Features { affixes: 1, shape: false });
        assert_eq!(vocabulary.words().collect::<Vec<_>>(), [UNKNOWN, "<SUF>g"]);
        assert_eq!((vocabulary.id("<SUF>g"), vocabulary.rows("sing")), (0, vec![0, 1]));
        assert_eq!(Features { affixes: 2, shape: false }.of("a b", "a b"), ["<PRE>a", "<SUF>b"]);
    }

    fn corpus(lines: &[&str]) -> Vec<TaggedSentence> {
        let own = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
        lines.iter().map(|line| TaggedSentence::new(own(line), own(line)).unwrap()).collect()
    }

    #[test]
    fn words_seen_once_read_as_unknown_and_ids_are_sorted() {
        let corpus = corpus(&["to the 1", "to 2 <UNK> The", "once the b b"]);
        let plain = Vocabulary::new(&corpus, Normalization::default());
        assert_eq!(plain.words().collect::<Vec<_>>(), ["<UNK>", "b", "the", "to"]);
        assert_eq!(
            ["<UNK>", "once", "never", "The", "b", "the", "to"].map(|w| plain.id(w)),
            [0, 0, 0, 0, 1, 2, 3]
        );
        // Normalisation comes first: 1 and 2 are one word that occurs twice.
        let normalised = Vocabulary::new(&corpus, Normalization { lowercase: true, digits: true });
        assert_eq!(normalised.words().collect::<Vec<_>>(), ["<UNK>", "DIGIT", "b", "the", "to"]);
        assert_eq!(normalised.ids(&["THE", "7", "once"]), [3, 1, 0]);
    }

    #[test]
    fn names_from_elsewhere_are_checked() {
        let words = |words: &[&str]| {
            let words = words.iter().map(|word| word.to_string());
            Vocabulary::from_words(words, Normalization::default()).map_err(|error| error.to_string())
        };
        assert_eq!(words(&[UNKNOWN, "b", "a"]).unwrap().id("a"), 2);
        assert_eq!(words(&["a"]).unwrap_err(), "word 0: expected <UNK>, found a");
        assert_eq!(words(&[]).unwrap_err(), "word 0: expected <UNK>, found nothing");
        assert_eq!(
            words(&[UNKNOWN, "a", "a"]).unwrap_err(),
            "word 2: expected each once, found word 1 again"
        );
        assert_ne!(words(&[UNKNOWN, "a", "b"]), words(&[UNKNOWN, "b", "a"]));
        assert_eq!(words(&[UNKNOWN, "a", "b"]), words(&[UNKNOWN, "a", "b"]));
        let labels = |tags: [&str; 2]| Labels::from_tags(tags.map(str::to_owned)).unwrap();
        assert_ne!(labels(["A", "B"]), labels(["B", "A"]));
        assert!(words(&[UNKNOWN, "a\tb"]).unwrap_err().starts_with("word 1: "));
        // Normalisation makes words longer; a tag stays as it is.
        let long = "DIGIT".repeat(MAX_TOKEN);
        assert!(words(&[UNKNOWN, &long]).is_ok());
        assert!(words(&[UNKNOWN, &"x".repeat(MAX_NAME + 1)]).is_err());
        assert!(Labels::from_tags([long]).is_err());
        assert_eq!(Labels::from_tags(["B".into(), "A".into()]).unwrap().id("A"), Some(1));
    }

    #[test]
    fn labels_are_the_training_corpus_tags() {
        let corpus = corpus(&["O B-x", "I-x O"]);
        let labels = Labels::new(&corpus);
        assert_eq!(labels.tags().collect::<Vec<_>>(), ["B-x", "I-x", "O"]);
        assert_eq!((labels.id("I-x"), labels.id("B-y")), (Some(1), None));
        assert_eq!((labels.tag(2), labels.tag(3)), (Some("O"), None));
        assert_eq!(labels.ids(corpus[0].tags()).unwrap(), [2, 0]);
        let other = super::tests::corpus(&["B-y"]);
        assert_eq!(
            labels.ids(other[0].tags()).unwrap_err().to_string(),
            "tag: expected one of the labels, found \"B-y\""
        );
    }
}
