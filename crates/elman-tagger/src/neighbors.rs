use elman::ndarray::ArrayView1;

use crate::{Error, Model, UNKNOWN};

/// How near two embeddings are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Metric {
    /// The cosine of the angle between them, in [-1, 1]; the larger the nearer. 0 for an embedding of zeros.
    Cosine,
    /// The Euclidean distance; the smaller the nearer.
    L2,
}

/// A word near another one.
#[derive(Clone, Debug, PartialEq)]
pub struct Neighbor<'a> {
    /// The word, normalised.
    pub word: &'a str,
    /// Its cosine or distance; see [`Metric`].
    pub value: f64,
}

/// The `count` words of the model's vocabulary whose embeddings are nearest to that of `word`, the nearest
/// first, without the word itself. Of equally near words the first by its bytes comes first.
///
/// # Errors
/// [`elman::Error::Unsupported`] if the model does not know the word.
pub fn neighbors<'a>(
    model: &'a Model,
    word: &str,
    metric: Metric,
    count: usize,
) -> Result<Vec<Neighbor<'a>>, Error> {
    let vocabulary = model.vocabulary();
    let id = vocabulary.id(word);
    if id == 0 && word != UNKNOWN {
        let expected = format!("one of the {} that the model knows", vocabulary.size());
        return Err(Error::unsupported(
            "word",
            expected,
            format!("{:?}", vocabulary.normalization().apply(word)),
        ));
    }
    let emb = model.params().emb();
    let own = emb.row(id as usize);
    // The last row is the padding, which is no word.
    let mut all: Vec<Neighbor<'a>> = vocabulary
        .words()
        .zip(emb.rows())
        .enumerate()
        .filter(|(other, _)| *other != id as usize)
        .map(|(_, (word, row))| Neighbor { word, value: value(metric, own, row) })
        .collect();
    // A stable sort: ids follow the bytes.
    all.sort_by(|a, b| match metric {
        Metric::Cosine => b.value.total_cmp(&a.value),
        Metric::L2 => a.value.total_cmp(&b.value),
    });
    all.truncate(count);
    Ok(all)
}

fn value(metric: Metric, a: ArrayView1<'_, f32>, b: ArrayView1<'_, f32>) -> f64 {
    let sum = |f: fn(f64, f64) -> f64| -> f64 {
        a.iter().zip(b).map(|(a, b)| f(f64::from(*a), f64::from(*b))).sum()
    };
    match metric {
        Metric::L2 => sum(|a, b| (a - b) * (a - b)).sqrt(),
        Metric::Cosine => {
            let norms = (sum(|a, _| a * a) * sum(|_, b| b * b)).sqrt();
            if norms > 0.0 { (sum(|a, b| a * b) / norms).clamp(-1.0, 1.0) } else { 0.0 }
        }
    }
}

#[cfg(test)]
mod tests {
    use elman::Params;
    use elman::ndarray::array;

    use super::*;
    use crate::{Labels, Normalization, Outcome, TaggedSentence, TrainConfig, Vocabulary};

    fn model() -> Model {
        let own = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let text = "a b c d a b c d";
        let corpus = [TaggedSentence::new(own(text), own(text)).unwrap()];
        let vocabulary = Vocabulary::new(&corpus, Normalization { lowercase: true, digits: false });
        let labels = Labels::new(&corpus);
        let config = TrainConfig { hidden: 2, embed: 2, window: 1, ..TrainConfig::default() };
        let mut params = Params::init(config.shape(5, 4), 1).unwrap();
        // <UNK>, a, b, c, d, padding.
        let rows = array![[0.0, 0.0], [1.0, 0.0], [3.0, 0.0], [0.0, 0.5], [-1.0, 0.0], [1.0, 0.0]];
        params.emb_mut().assign(&rows);
        let outcome = Outcome {
            epochs: 0,
            best_epoch: 0,
            dev_f1: 0.0,
            dev_accuracy: 0.0,
            measure: crate::Measure::F1,
            bits: None,
            network: "none".into(),
        };
        Model::from_parts(config, vocabulary, labels, params, outcome)
    }

    #[test]
    fn the_nearest_words_come_first_by_either_measure() {
        let model = model();
        let found = |word, metric, count| {
            let all = neighbors(&model, word, metric, count).unwrap();
            all.into_iter().map(|n| (n.word.to_owned(), n.value)).collect::<Vec<_>>()
        };
        let own = |list: &[(&str, f64)]| list.iter().map(|(w, v)| (w.to_string(), *v)).collect::<Vec<_>>();
        let cosine = own(&[("b", 1.0), ("<UNK>", 0.0), ("c", 0.0), ("d", -1.0)]);
        assert_eq!(found("A", Metric::Cosine, 9), cosine);
        let l2 = own(&[("<UNK>", 1.0), ("c", 1.25f64.sqrt()), ("b", 2.0), ("d", 2.0)]);
        assert_eq!(found("a", Metric::L2, 9), l2);
        assert_eq!(found("a", Metric::L2, 2), l2[..2]);
        assert_eq!(found(UNKNOWN, Metric::Cosine, 1), own(&[("a", 0.0)]));
        let half_way = value(Metric::Cosine, array![2.0, 2.0].view(), array![0.0, 3.0].view());
        assert!((half_way - 0.5f64.sqrt()).abs() < 1e-12, "{half_way}");
        assert_eq!(
            neighbors(&model, "Z", Metric::L2, 1).unwrap_err().to_string(),
            "word: expected one of the 5 that the model knows, found \"z\""
        );
    }
}
