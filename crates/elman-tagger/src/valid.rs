//! The most probable tags among the sequences that a scheme allows.

use std::borrow::Cow;

use elman::{Batch, Name, Params, Tagger};
use indexmap::IndexSet;

use crate::{Error, Labels, Tagging};

/// Parameters with which a network gives only the sequences that `valid` allows, and the part that is left to
/// [`label_all`]: with a softmax all of it. A CRF does it by itself, with scores that forbid all others.
pub(crate) fn decoder(
    params: &Params<f32>,
    valid: Option<ValidTags>,
) -> (Cow<'_, Params<f32>>, Option<ValidTags>) {
    match valid {
        Some(valid) if params.crf().is_some() => {
            let mut params = params.clone();
            valid.forbid(&mut params);
            (Cow::Owned(params), None)
        }
        valid => (Cow::Borrowed(params), valid),
    }
}

/// [`Tagger::label_all`], among the sequences that a scheme allows if `valid` says so: where the most probable label
/// of each word makes one, it is the most probable of all.
pub(crate) fn label_all(
    tagger: &mut dyn Tagger<f32>,
    valid: Option<&ValidTags>,
    batch: Batch<'_>,
    ids: &mut [u32],
) -> Result<(), Error> {
    tagger.label_all(batch, ids)?;
    let Some(valid) = valid else { return Ok(()) };
    let mut rest = ids;
    for sentence in batch.iter() {
        let (places, after) = rest.split_at_mut(sentence.words.len());
        if !valid.allows(places) {
            let scores: Vec<f32> = tagger.scores(sentence.words)?.iter().copied().collect();
            places.copy_from_slice(&valid.best(&scores));
        }
        rest = after;
    }
    Ok(())
}

/// Finds the most probable tags of a sentence among the sequences that a scheme allows: in IOB2, `I-x` only after
/// `B-x` or `I-x`. (With a CRF, [`Pipeline::with_valid_tags`](crate::Pipeline::with_valid_tags) forbids the others in
/// the network itself.) The network gives each word's probabilities for itself; the sequence with the greatest product
/// is found by Viterbi's algorithm, in time linear in words and tags.
///
/// Nothing is trained for it. In IO and with plain tags every sequence is allowed, and the result is the most
/// probable tag of each word.
///
/// ```
/// use elman_tagger::{Labels, Tagging, ValidTags};
///
/// let labels = Labels::from_tags(["B-x", "I-x", "O"].map(str::to_owned))?;
/// let valid = ValidTags::new(&labels, Tagging::of_tags(labels.tags()));
/// // Alone, the first word would be O and the second one I-x.
/// let s = [0.4, 0.0, 0.6, /* and of the second: */ 0.0, 0.9, 0.1];
/// assert_eq!(valid.best(&s), [0, 1]);
/// assert!(valid.allows(&[0, 1]) && !valid.allows(&[2, 1]));
/// # Ok::<(), elman_tagger::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct ValidTags {
    labels: Vec<Label>,
    kinds: usize,
}

/// What may stand beside a label; types are numbered.
#[derive(Clone, Copy, Debug)]
struct Label {
    kind: usize,
    begins: bool,
    goes_on: bool,
    can_go_on: bool,
    can_end: bool,
}

/// The best sequence that ends with a label, by its score: the label.
type Ending = Option<(f64, usize)>;

fn better(a: Ending, b: Ending) -> Ending {
    match (a, b) {
        (Some(x), Some(y)) if y.0 > x.0 => Some(y),
        (Some(x), _) => Some(x),
        (None, y) => y,
    }
}

impl Label {
    fn may_follow(self, before: Label) -> bool {
        before.can_end && self.begins || before.can_go_on && self.goes_on && before.kind == self.kind
    }
}

impl ValidTags {
    /// Of the tags of a network, in the scheme that they follow.
    pub fn new(labels: &Labels, tagging: Tagging) -> Self {
        let mut kinds = IndexSet::new();
        let labels = labels.tags().map(|tag| {
            let link = tagging.chain(tag);
            Label {
                kind: kinds.insert_full(link.kind).0,
                begins: link.begins,
                goes_on: link.goes_on,
                can_go_on: link.can_go_on,
                can_end: link.can_end,
            }
        });
        let labels = labels.collect();
        ValidTags { labels, kinds: kinds.len() }
    }

    /// Whether the scheme allows this sequence of tags, given by their ids.
    ///
    /// # Panics
    /// If an id is not below the number of tags.
    pub fn allows(&self, ids: &[u32]) -> bool {
        let mut labels = ids.iter().map(|id| &self.labels[*id as usize]);
        let Some(mut last) = labels.next() else { return true };
        last.begins
            && labels.all(|label| {
                let before = std::mem::replace(&mut last, label);
                label.may_follow(*before)
            })
            && last.can_end
    }

    /// Gives what a scheme does not allow a score that no sentence can make up for. Where tags allow no sequence at all,
    /// those with the fewest faults are left.
    fn forbid(&self, params: &mut Params<f32>) {
        const FORBIDDEN: f32 = -1e9;
        for (pair, score) in
            params.tensor_mut(Name::Transitions).iter_mut().flat_map(|t| t.indexed_iter_mut())
        {
            if !self.labels[pair[1]].may_follow(self.labels[pair[0]]) {
                *score = FORBIDDEN;
            }
        }
        for name in [Name::Start, Name::End] {
            for (score, label) in params.vector_mut(name).into_iter().flatten().zip(&self.labels) {
                if !(if name == Name::Start { label.begins } else { label.can_end }) {
                    *score = FORBIDDEN;
                }
            }
        }
    }

    /// The ids of the tags, from the probabilities of each word, `[words, classes]`, row after row. Of equal sequences it is
    /// the one with the first ids. Where the tags allow no sequence at all, it is the most probable tag of each word.
    pub fn best(&self, probabilities: &[f32]) -> Vec<u32> {
        let classes = self.labels.len();
        assert_eq!(probabilities.len() % classes.max(1), 0, "one probability for each tag");
        let rows = probabilities.chunks(classes.max(1));
        let words = rows.len();
        // A probability of 0 is one too small for a number.
        let log = |p: f32| f64::from(p.max(f32::MIN_POSITIVE)).ln();
        // The scores of the sequences that end here with each label, and the label before.
        let mut scores: Vec<Option<f64>> = Vec::new();
        let mut before = vec![0; words * classes];
        for (word, row) in rows.clone().enumerate() {
            let (mut ended, mut open) = (None, vec![None; self.kinds]);
            for (id, (label, score)) in self.labels.iter().zip(&scores).enumerate() {
                let ending = score.map(|score| (score, id));
                if label.can_end {
                    ended = better(ended, ending);
                }
                if label.can_go_on {
                    open[label.kind] = better(open[label.kind], ending);
                }
            }
            if word == 0 {
                ended = Some((0.0, 0));
            }
            scores = self
                .labels
                .iter()
                .zip(row)
                .enumerate()
                .map(|(id, (label, p))| {
                    let goes_on = open[label.kind].filter(|_| label.goes_on);
                    let (score, last) = better(ended.filter(|_| label.begins), goes_on)?;
                    before[word * classes + id] = last;
                    Some(score + log(*p))
                })
                .collect();
        }
        let last = self.labels.iter().zip(&scores).enumerate().fold(None, |best, (id, (label, score))| {
            better(best, score.filter(|_| label.can_end).map(|score| (score, id)))
        });
        let Some((_, mut id)) = last else {
            return rows.map(|row| first_greatest(row) as u32).collect();
        };
        let mut ids = vec![0; words];
        for word in (0..words).rev() {
            ids[word] = id as u32;
            id = before[word * classes + id];
        }
        ids
    }
}

/// The place of the greatest number, of equal ones the first.
fn first_greatest(row: &[f32]) -> usize {
    row.iter()
        .enumerate()
        .reduce(|best, other| if other.1 > best.1 { other } else { best })
        .map_or(0, |(id, _)| id)
}

#[cfg(test)]
mod tests {
    use elman::ndarray::Array2;
    use proptest::prelude::*;

    use super::*;
    use crate::Scheme;

    fn labels(tags: &str) -> Labels {
        Labels::from_tags(tags.split(' ').map(str::to_owned)).unwrap()
    }

    /// Every sequence, by brute force: the first of the greatest products among those without a fault.
    fn by_hand(labels: &Labels, tagging: Tagging, s: &Array2<f32>) -> Option<f64> {
        let (words, classes) = s.dim();
        (0..classes.pow(words as u32))
            .filter_map(|number| {
                let ids: Vec<u32> =
                    (0..words).map(|word| (number / classes.pow(word as u32) % classes) as u32).collect();
                let tags = labels.tags_of(&ids).unwrap();
                tagging.faults(&tags, false).is_empty().then(|| score(s, &ids))
            })
            .reduce(f64::max)
    }

    fn score(s: &Array2<f32>, ids: &[u32]) -> f64 {
        ids.iter()
            .enumerate()
            .map(|(word, id)| f64::from(s[[word, *id as usize]].max(f32::MIN_POSITIVE)).ln())
            .sum()
    }

    proptest! {
        #[test]
        fn no_allowed_sequence_is_better(
            numbers in prop::collection::vec(0.0_f32..1.0, 28),
            scheme in prop::sample::select(
                &[Scheme::Iob1, Scheme::Iob2, Scheme::Ioe1, Scheme::Ioe2, Scheme::Iobes, Scheme::Bmes,
                  Scheme::Iobe, Scheme::Iobs][..]
            ),
        ) {
            let labels = labels(match scheme {
                Scheme::Iob1 | Scheme::Iob2 => "B-x B-y I-x I-y O",
                Scheme::Ioe1 | Scheme::Ioe2 => "E-x E-y I-x I-y O",
                Scheme::Iobes => "B-x E-x I-x O S-x S-y E-y",
                Scheme::Iobe => "B-x E-x I-x O B-y E-y",
                Scheme::Iobs => "B-x I-x O S-x S-y B-y",
                _ => "B E M S",
            });
            let tagging = Tagging::new(scheme);
            let s = Array2::from_shape_fn((4, labels.size()), |(word, id)| numbers[word * labels.size() + id]);
            let valid = ValidTags::new(&labels, tagging);
            let best = valid.best(s.as_slice().unwrap());
            prop_assert_eq!(tagging.faults(&labels.tags_of(&best).unwrap(), false), []);
            let expected = by_hand(&labels, tagging, &s).unwrap();
            let alone: Vec<u32> = s.rows().into_iter().map(|row| first_greatest(&row.to_vec()) as u32).collect();
            let is_allowed = tagging.faults(&labels.tags_of(&alone).unwrap(), false).is_empty();
            prop_assert_eq!(valid.allows(&alone), is_allowed);
            prop_assert!(!is_allowed || best == alone);
            prop_assert!((score(&s, &best) - expected).abs() < 1e-9);
        }
    }

    /// The most probable sequence of a CRF that forbids is the best one without a fault, by brute force.
    #[test]
    fn a_crf_gives_no_sequence_that_is_forbidden() {
        use elman::{Head, Network, Shape};
        let labels = labels("B-x B-y I-x I-y O");
        let tagging = Tagging::new(Scheme::Iob2);
        let sizes = Shape { vocab: 4, embed: 2, window: 1, hidden: 3, classes: 5, ..Shape::ELMAN };
        let mut mended = 0;
        for seed in 0..20 {
            let params =
                Params::<f32>::init(Shape { head: Head::Crf, ..sizes }, seed).unwrap().map(|v| 9.0 * v);
            let words = [0, 2, 3, 1];
            let valid = ValidTags::new(&labels, tagging);
            let network = elman_reference::Reference::new();
            let label = |params: &Params<f32>| {
                let mut found = [9; 4];
                network.tagger(params).unwrap().label(&words, &mut found).unwrap();
                found
            };
            let (of_valid, left) = decoder(&params, Some(valid));
            assert!(left.is_none());
            let (crf, mut tagger) = (params.crf().unwrap(), network.tagger(&params).unwrap());
            let y = tagger.emissions(&words).unwrap().to_owned();
            let score = |ids: &[u32; 4]| -> f32 {
                let of = |t: usize| ids[t] as usize;
                let between: f32 = (1..4).map(|t| crf.transitions[[of(t - 1), of(t)]]).sum();
                crf.start[of(0)] + between + (0..4).map(|t| y[[t, of(t)]]).sum::<f32>() + crf.end[of(3)]
            };
            let allowed = (0..625u32)
                .map(|number| [1, 5, 25, 125].map(|place| number / place % 5))
                .filter(|ids| tagging.faults(&labels.tags_of(ids).unwrap(), false).is_empty());
            let best = allowed.max_by(|a, b| score(a).total_cmp(&score(b))).unwrap();
            let found = label(&of_valid);
            assert!((score(&found) - score(&best)).abs() < 1e-5, "{found:?}, expected {best:?}");
            assert_eq!(tagging.faults(&labels.tags_of(&found).unwrap(), false), []);
            mended += usize::from(found != label(&params));
            let s = network.predict(&of_valid, &words).unwrap();
            assert_eq!((s[[0, 2]], s[[0, 3]]), (0.0, 0.0), "I-x begins no sentence");
        }
        assert!(mended > 3, "{mended}");
    }

    #[test]
    fn where_everything_is_allowed_each_word_has_its_most_probable_tag() {
        let s = elman::ndarray::array![[0.2_f32, 0.5, 0.3], [0.4, 0.4, 0.2], [0.0, 0.0, 0.0]];
        for (tags, scheme) in [("DT NN VB", Scheme::Plain), ("I-x I-y O", Scheme::Io)] {
            assert_eq!(
                ValidTags::new(&labels(tags), Tagging::new(scheme)).best(s.as_slice().unwrap()),
                [1, 0, 0]
            );
        }
        // No tag may begin a sentence.
        let stuck = labels("I-x I-y I-z");
        assert_eq!(ValidTags::new(&stuck, Tagging::new(Scheme::Iob2)).best(s.as_slice().unwrap()), [1, 0, 0]);
        assert!(ValidTags::new(&stuck, Tagging::new(Scheme::Iob2)).best(&[]).is_empty());
    }
}
