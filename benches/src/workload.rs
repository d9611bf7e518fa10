use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use elman::{Batch, Cell, Network, Params, Sentences, Shape, Update};
use elman_tagger::{Error, Labels, Normalization, TaggedSentence, Vocabulary};
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};

/// What every system trains on and tags, and the parameters it starts from, as one safetensors file.
///
/// | tensor | shape, type | content |
/// |---|---|---|
/// | `train.words`, `train.labels` | `[words of all sentences]`, I64 | the training sentences, one after the other |
/// | `train.lengths` | `[sentences]`, I64 | the number of words of each |
/// | `test.words`, `test.lengths` | likewise | the sentences to tag |
/// | `params.NAME` | as in [`Params`], F32 | the seven parameters from which every training starts |
/// | `trained.NAME` | likewise | the seven parameters that tag: after some epochs, so that labels differ |
///
/// The metadata holds `format` (`elman workload 1`), `vocab`, `embed`, `window`, `hidden`, `classes` and
/// `corpus`, a description for reports.
#[derive(Clone, Debug)]
pub struct Workload {
    /// What the sentences are, for reports.
    pub corpus: String,
    /// The training sentences.
    pub train: Sentences,
    /// The sentences to tag, without labels.
    pub test: Sentences,
    /// The start of every training.
    pub params: Params<f32>,
    /// What tags; the first parameters would give every word the same label.
    pub trained: Params<f32>,
}

const FORMAT: &str = "elman workload 1";

impl Workload {
    /// A network for a corpus, as the tagger reads it: words that occur once read as unknown.
    ///
    /// The parameters are those of [`Params::init`], with each row of the embeddings divided by its norm, so
    /// that a system that normalises all rows at each step (as the tutorial does) and one that normalises
    /// those that changed compute the same.
    ///
    /// # Errors
    /// The corpus has no sentence, or a size is not possible.
    pub fn new(
        corpus: String,
        train: &[TaggedSentence],
        test: &[TaggedSentence],
        sizes: impl FnOnce(usize, usize) -> Shape,
        seed: u64,
    ) -> Result<Self, Error> {
        let vocabulary = Vocabulary::new(train, Normalization::default());
        let labels = Labels::new(train);
        let mut params = Params::<f32>::init(sizes(vocabulary.size(), labels.size()), seed)?;
        for mut row in params.emb_mut().rows_mut() {
            let norm = row.dot(&row).sqrt();
            row.mapv_inplace(|entry| entry / norm);
        }
        Ok(Workload {
            corpus,
            train: labelled(train, &vocabulary, &labels)?,
            test: words(test, &vocabulary)?,
            trained: params.clone(),
            params,
        })
    }

    /// Makes `trained` from `params` by epochs of one step a sentence, in the order of the corpus.
    ///
    /// # Errors
    /// The network's errors.
    pub fn train(
        &mut self,
        network: &dyn Network<f32>,
        epochs: usize,
        learning_rate: f32,
    ) -> Result<(), Error> {
        let mut learner = network.learner(self.params.clone())?;
        let (train, mut update) = (self.train.batch(), Update::sgd(learning_rate));
        for i in std::iter::repeat_n(0..train.len(), epochs).flatten() {
            learner.step(train.slice(i..i + 1), &mut update)?;
        }
        self.trained = learner.params();
        Ok(())
    }

    /// Writes the file, whole or not at all.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn save(&self, path: &Path) -> Result<(), Error> {
        let numbers = |numbers: &mut dyn Iterator<Item = i64>| -> (Dtype, Vec<usize>, Vec<u8>) {
            let bytes: Vec<u8> = numbers.flat_map(i64::to_le_bytes).collect();
            (Dtype::I64, vec![bytes.len() / 8], bytes)
        };
        let ids = |ids: &[u32]| numbers(&mut ids.iter().map(|id| i64::from(*id)));
        let lengths = |batch: Batch<'_>| numbers(&mut batch.iter().map(|s| s.words.len() as i64));
        let (train, test) = (self.train.batch(), self.test.batch());
        let mut tensors = vec![
            ("train.words".to_string(), ids(train.words())),
            ("train.lengths".to_string(), lengths(train)),
            ("train.labels".to_string(), ids(train.labels())),
            ("test.words".to_string(), ids(test.words())),
            ("test.lengths".to_string(), lengths(test)),
        ];
        for (prefix, params) in [("params", &self.params), ("trained", &self.trained)] {
            for (name, tensor) in params.tensors() {
                let bytes = tensor.iter().flat_map(|entry| entry.to_le_bytes()).collect();
                tensors.push((format!("{prefix}.{name}"), (Dtype::F32, tensor.shape().to_vec(), bytes)));
            }
        }
        let shape = self.params.shape();
        shape.only("workload", &[Cell::default()])?;
        let Shape { vocab, embed, window, hidden, classes, .. } = shape;
        let sizes = [
            ("vocab", vocab),
            ("embed", embed),
            ("window", window),
            ("hidden", hidden),
            ("classes", classes),
        ];
        let metadata: HashMap<String, String> = sizes
            .into_iter()
            .map(|(name, size)| (name.to_string(), size.to_string()))
            .chain([("format".into(), FORMAT.into()), ("corpus".into(), self.corpus.clone())])
            .collect();
        let refused = |error| Error::shape("workload", "tensors that safetensors can hold", error);
        let views = tensors
            .iter()
            .map(|(name, (dtype, shape, data))| Ok((name, TensorView::new(*dtype, shape.clone(), data)?)))
            .collect::<Result<Vec<_>, _>>()
            .map_err(refused)?;
        let bytes = safetensors::serialize(views, Some(metadata)).map_err(refused)?;

        let temporary = PathBuf::from(format!("{}.tmp", path.display()));
        let io = |action| {
            let path = temporary.clone();
            move |source| Error::Io { path, action, source }
        };
        fs::write(&temporary, bytes).map_err(io("write"))?;
        fs::rename(&temporary, path).map_err(io("rename"))
    }

    /// Reads a file.
    ///
    /// # Errors
    /// [`Error::Io`], or [`Error::Input`] if the file is not one that [`Workload::save`] could have written.
    pub fn load(path: &Path) -> Result<Self, Error> {
        let bytes =
            fs::read(path).map_err(|source| Error::Io { path: path.into(), action: "read", source })?;
        let input = |problem: String, expected: &str| Error::Input {
            path: path.into(),
            line: None,
            problem,
            expected: expected.to_string(),
        };
        let format = |error: safetensors::SafeTensorError| input(error.to_string(), "a safetensors file");
        let (_, header) = SafeTensors::read_metadata(&bytes).map_err(format)?;
        let file = SafeTensors::deserialize(&bytes).map_err(format)?;
        let metadata = |name: &str| header.metadata().as_ref().and_then(|m| m.get(name)).cloned();
        if metadata("format").as_deref() != Some(FORMAT) {
            return Err(input(format!("format {:?}", metadata("format")), FORMAT));
        }
        let tensor = |name: &str, dtype: Dtype| {
            let tensor = file.tensor(name).map_err(|_| input(format!("no tensor {name}"), "one"))?;
            if tensor.dtype() != dtype {
                return Err(input(format!("{name} is of type {}", tensor.dtype()), &dtype.to_string()));
            }
            Ok(tensor)
        };
        // Sizes of sentences too fit an id's 32 bits.
        let ids = |name: &str| -> Result<Vec<u32>, Error> {
            let (entries, _) = tensor(name, Dtype::I64)?.data().as_chunks::<8>();
            entries
                .iter()
                .map(|bytes| i64::from_le_bytes(*bytes))
                .map(|entry| u32::try_from(entry).map_err(|_| input(format!("{entry} in {name}"), "32 bits")))
                .collect()
        };
        let size = |name: &str| {
            let text = metadata(name);
            text.as_ref()
                .and_then(|text| text.parse().ok())
                .ok_or_else(|| input(format!("{name} {text:?}"), "a size"))
        };
        let shape = Shape {
            vocab: size("vocab")?,
            embed: size("embed")?,
            window: size("window")?,
            hidden: size("hidden")?,
            classes: size("classes")?,
            ..Shape::ELMAN
        };
        let params = |prefix: &str| -> Result<Params<f32>, Error> {
            let mut params = Params::zeros(shape)?;
            for (name, mut entries) in params.tensors_mut() {
                let name = format!("{prefix}.{name}");
                let tensor = tensor(&name, Dtype::F32)?;
                if tensor.shape() != entries.shape() {
                    let expected = format!("{:?}", entries.shape());
                    return Err(input(format!("{name} {:?}", tensor.shape()), &expected));
                }
                let (values, _) = tensor.data().as_chunks::<4>();
                entries.iter_mut().zip(values).for_each(|(entry, bytes)| *entry = f32::from_le_bytes(*bytes));
            }
            Ok(params)
        };
        let sentences = |lengths: &str, words: &str, labels: Option<&str>| -> Result<Sentences, Error> {
            let (lengths, all_words) = (ids(lengths)?, ids(words)?);
            let all_labels = labels.map_or(Ok(Vec::new()), ids)?;
            let (mut rest, mut rest_of_labels) = (&all_words[..], &all_labels[..]);
            let mut sentences = Sentences::new();
            for length in lengths {
                let part = |name: &str, entries: &mut &[u32]| match entries.split_off(..length as usize) {
                    None => Err(input(format!("too few entries in {name}"), "as many as the lengths say")),
                    Some(part) => Ok(part.to_vec()),
                };
                let words = part(words, &mut rest)?;
                let labels = labels.map_or(Ok(Vec::new()), |name| part(name, &mut rest_of_labels))?;
                sentences.push(&words, &labels)?;
            }
            if !rest.is_empty() || !rest_of_labels.is_empty() {
                return Err(input(format!("too many entries in {words}"), "as many as the lengths say"));
            }
            Ok(sentences)
        };
        let train = sentences("train.lengths", "train.words", Some("train.labels"))?;
        let test = sentences("test.lengths", "test.words", None)?;
        if train.batch().is_empty() || test.batch().is_empty() {
            return Err(input("no sentence".to_string(), "sentences to train on and to tag"));
        }
        train.batch().check(&shape)?;
        test.batch().check_words(&shape)?;
        Ok(Workload {
            corpus: metadata("corpus").unwrap_or_default(),
            train,
            test,
            params: params("params")?,
            trained: params("trained")?,
        })
    }
}

/// A corpus as ids, with its tags as labels.
///
/// # Errors
/// [`elman::Error::Shape`] names a tag that is not among the labels.
pub fn labelled(
    corpus: &[TaggedSentence],
    vocabulary: &Vocabulary,
    labels: &Labels,
) -> Result<Sentences, Error> {
    let mut sentences = Sentences::new();
    for sentence in corpus {
        sentences.push(&vocabulary.ids(sentence.words()), &labels.ids(sentence.tags())?)?;
    }
    Ok(sentences)
}

fn words(corpus: &[TaggedSentence], vocabulary: &Vocabulary) -> Result<Sentences, Error> {
    let mut sentences = Sentences::new();
    for sentence in corpus {
        sentences.push(&vocabulary.ids(sentence.words()), &[])?;
    }
    Ok(sentences)
}

#[cfg(test)]
mod tests {
    use elman_reference::Reference;
    use elman_tagger::travel;

    use super::*;

    #[test]
    fn a_file_comes_back_as_it_was_written_and_a_broken_one_is_refused() {
        let sizes = |vocab, classes| Shape { vocab, embed: 3, window: 3, hidden: 4, classes, ..Shape::ELMAN };
        let (train, test) = (travel::corpus(1, 20), travel::corpus(2, 5));
        let mut workload = Workload::new("travel".to_string(), &train, &test, sizes, 1).unwrap();
        workload.train(&Reference::new(), 1, 0.1).unwrap();
        assert_ne!(workload.trained, workload.params);

        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("workload.safetensors");
        workload.save(&path).unwrap();
        let read = Workload::load(&path).unwrap();
        assert_eq!((&read.train, &read.test), (&workload.train, &workload.test));
        assert_eq!((&read.params, &read.trained), (&workload.params, &workload.trained));

        let bytes = fs::read(&path).unwrap();
        for (from, to) in
            [("workload 1", "workload 2"), ("\"hidden\":\"4", "\"hidden\":\"5"), ("trained.wh", "trained.hw")]
        {
            let at = bytes.windows(from.len()).position(|part| part == from.as_bytes()).unwrap();
            let mut broken = bytes.clone();
            broken[at..at + to.len()].copy_from_slice(to.as_bytes());
            fs::write(&path, broken).unwrap();
            let message = Workload::load(&path).unwrap_err().to_string();
            assert!(message.contains("workload.safetensors: "), "{to}: {message}");
        }
    }
}
