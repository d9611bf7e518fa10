use std::collections::HashMap;
use std::fs::File;
use std::path::Path;

use indexmap::IndexMap;
use sha2::{Digest, Sha256};

use crate::checkpoint::hex;
use crate::{Error, Lines, Normalization, TaggedSentence, decompressed};

/// Embeddings of words from elsewhere, from which a training starts ([`Trainer::with_vectors`](crate::Trainer::with_vectors)).
#[derive(Clone, Debug)]
pub struct Vectors {
    rows: IndexMap<String, Vec<f32>>,
}

impl Vectors {
    /// Reads the vectors of the words of some corpora, as they look after normalisation, from a text as word2vec, GloVe
    /// and fastText write it, also compressed by gzip: a word and `width` numbers a line, parted by blanks or tabs, and
    /// before them, or not, a line with the number of words and the width. The file may be larger than memory.
    ///
    /// A word that the file lacks takes the vector of the word in lower case. Of a word that occurs twice the first line
    /// counts.
    ///
    /// # Errors
    /// [`Error::Input`] names the line that has no vector of this width, or a number that is none or not finite; also if
    /// no word of the corpora has a vector. [`Error::Io`] if reading fails.
    pub fn read<'a>(
        path: impl AsRef<Path>,
        width: usize,
        corpora: impl IntoIterator<Item = &'a [TaggedSentence]>,
        normalization: Normalization,
    ) -> Result<Self, Error> {
        let path = path.as_ref();
        // Each word of the corpora by the words of the file whose vectors it takes.
        let mut wanted: HashMap<String, Vec<String>> = HashMap::new();
        for word in corpora.into_iter().flatten().flat_map(TaggedSentence::words) {
            let word = normalization.apply(word);
            for name in [word.to_lowercase(), word.clone().into_owned()] {
                let takers = wanted.entry(name).or_default();
                if !takers.iter().any(|taker| *taker == *word) {
                    takers.push(word.clone().into_owned());
                }
            }
        }
        let io = |source| Error::Io { path: path.to_owned(), action: "read", source };
        let file = File::open(path).map_err(io)?;
        let mut lines = Lines::new(decompressed(Box::new(file)).map_err(io)?, path);
        let (mut exact, mut lower) = (IndexMap::new(), HashMap::new());
        let mut is_first = true;
        while let Some(line) = lines.next_line()? {
            let fields = || line.split([' ', '\t']).filter(|field| !field.is_empty());
            let is_header =
                is_first && fields().count() == 2 && fields().all(|field| field.parse::<u64>().is_ok());
            if is_first {
                is_first = false;
                // A word may have blanks in it: what the last fields are decides.
                let found = match fields().nth(1).filter(|_| is_header) {
                    Some(width) => width.parse().unwrap_or(0),
                    None => fields()
                        .skip(1)
                        .collect::<Vec<_>>()
                        .iter()
                        .rev()
                        .take_while(|f| f.parse::<f32>().is_ok())
                        .count(),
                };
                if found != width {
                    let expected = format!("{width}, the width of an embedding (option --embed)");
                    return Err(lines.error(format!("vectors of {found} numbers"), expected));
                }
            }
            if is_header {
                continue;
            }
            let mut parts = line.trim_end_matches([' ', '\t']).rsplitn(width + 1, [' ', '\t']);
            let numbers: Vec<&str> = parts.by_ref().take(width).collect();
            let Some(word) = parts.next().filter(|word| !word.is_empty()) else {
                let found = format!("{} fields", fields().count());
                return Err(lines.error(found, format!("a word and {width} numbers")));
            };
            let Some(takers) = wanted.get(word) else { continue };
            let mut vector = Vec::with_capacity(width);
            for number in numbers.iter().rev() {
                match number.parse::<f32>() {
                    Ok(value) if value.is_finite() => vector.push(value),
                    _ => {
                        let found = format!("{number:?}");
                        return Err(lines.error(found, "a finite number"));
                    }
                }
            }
            for taker in takers {
                if taker == word {
                    exact.entry(taker.clone()).or_insert_with(|| vector.clone());
                } else {
                    lower.entry(taker.clone()).or_insert_with(|| vector.clone());
                }
            }
        }
        for (word, vector) in lower {
            exact.entry(word).or_insert(vector);
        }
        if exact.is_empty() {
            let (problem, expected) = ("no vector of a word of the corpora", "some");
            return Err(Error::Input {
                path: path.into(),
                line: None,
                problem: problem.into(),
                expected: expected.into(),
            });
        }
        exact.sort_unstable_keys();
        Ok(Vectors { rows: exact })
    }

    /// The words that have a vector, normalised, in the order of their bytes.
    pub fn words(&self) -> impl ExactSizeIterator<Item = &str> {
        self.rows.keys().map(String::as_str)
    }

    /// The vector of a normalised word.
    pub fn get(&self, word: &str) -> Option<&[f32]> {
        self.rows.get(word).map(Vec::as_slice)
    }

    /// The SHA-256 of the words and of their vectors, which decide where a training starts.
    pub fn hash(&self) -> String {
        let mut hash = Sha256::new();
        for (word, vector) in &self.rows {
            hash.update(word);
            hash.update([0]);
            vector.iter().for_each(|value| hash.update(value.to_le_bytes()));
        }
        hex(&hash.finalize())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn corpus(text: &str) -> Vec<TaggedSentence> {
        let words: Vec<String> = text.split(' ').map(str::to_owned).collect();
        let tags = vec!["O".to_owned(); words.len()];
        vec![TaggedSentence::new(words, tags).unwrap()]
    }

    fn read(text: &[u8], width: usize, words: &str) -> Result<Vec<(String, Vec<f32>)>, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("vectors.txt");
        std::fs::write(&path, text).unwrap();
        let corpus = corpus(words);
        let vectors = Vectors::read(&path, width, [&corpus[..]], Normalization::default());
        let vectors = vectors.map_err(|error| error.to_string().rsplit_once('/').unwrap().1.to_owned())?;
        Ok(vectors.words().map(|word| (word.to_owned(), vectors.get(word).unwrap().to_vec())).collect())
    }

    #[test]
    fn the_words_of_the_corpora_are_read_in_every_layout() {
        let found = [("a".to_owned(), vec![1.0, -0.5]), ("b".to_owned(), vec![2e-3, 4.0])];
        let glove = "b 2e-3 4\nother 7 7\na 1.0 -.5\na 9 9\n";
        let texts = [
            glove.to_owned(),
            format!("4 2\n{glove}"),
            glove.replace('\n', " \n"),
            glove.replace(' ', "\t"),
            glove.replace("other", "at name@example.org"),
        ];
        for text in texts {
            assert_eq!(read(text.as_bytes(), 2, "a c b a").unwrap(), found, "{text}");
        }
        let mut compressed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        std::io::Write::write_all(&mut compressed, glove.as_bytes()).unwrap();
        assert_eq!(read(&compressed.finish().unwrap(), 2, "a b").unwrap(), found);
    }

    #[test]
    fn a_word_takes_its_own_vector_before_that_in_lower_case() {
        let found = |text: &str| read(text.as_bytes(), 1, "Boston boston OR or Or").unwrap();
        let of = |word: &str, value: f32| (word.to_owned(), vec![value]);
        let both = found("boston 1\nBoston 2\nor 3\n");
        assert_eq!(both, [of("Boston", 2.0), of("OR", 3.0), of("Or", 3.0), of("boston", 1.0), of("or", 3.0)]);
        assert_eq!(found("Boston 2\n"), [of("Boston", 2.0)]);
    }

    #[test]
    fn a_line_that_is_no_vector_is_named() {
        let fails = |text: &str| read(text.as_bytes(), 2, "a").unwrap_err();
        let width = "expected 2, the width of an embedding (option --embed)";
        assert_eq!(fails("the 1 2 3\n"), format!("vectors.txt:1: vectors of 3 numbers, {width}"));
        assert_eq!(fails("5 300\nthe 1 2\n"), format!("vectors.txt:1: vectors of 300 numbers, {width}"));
        assert_eq!(fails("the 1 2\na 1\n"), "vectors.txt:2: 2 fields, expected a word and 2 numbers");
        assert_eq!(fails("the 1 2\na 1 x\n"), "vectors.txt:2: \"x\", expected a finite number");
        assert_eq!(fails("the 1 2\na inf 1\n"), "vectors.txt:2: \"inf\", expected a finite number");
        assert_eq!(fails("the 1 2\n"), "vectors.txt: no vector of a word of the corpora, expected some");
        assert_eq!(fails(""), "vectors.txt: no vector of a word of the corpora, expected some");
    }
}
