use elman::ndarray::{ArrayView1, arr1};
use elman::{Error, Labelled, Network, Sentence, Shape};
use elman_reference::Reference;

use super::{TUTORIAL, both};
use crate::runner::{Part, Trial};
use crate::strategies::{Fill, Problem, Sizes};
use crate::tolerance::{self, Unit};
use crate::{Number, Options, Report};

/// Labels: the most probable one for each word, of equally probable ones the first.
///
/// A label is accepted if no other is more probable by more than what rounding may do to both, in the `f64`
/// reference. Ties are made exact by `w = 0`, so that the scores are the entries of `b`. Many sentences at
/// once get the labels they get one at a time, whatever was in the vector is replaced, and a refused
/// sentence leaves it alone.
pub fn check_tagger<T: Number>(network: &dyn Network<T>, options: &Options) -> Report {
    let mut part = Part::new::<T>("tagger", network.name(), options);
    for classes in [1, 2, 3, 15, 16, 17, 33, 65, 127] {
        for feedback in options.feedbacks().take(1) {
            let shape = Shape { vocab: 4, embed: 3, window: 3, hidden: 17, classes, feedback };
            part.fixed(&format!("ties-{classes}"), shape, |shape, trial| ties(network, *shape, trial));
        }
    }
    part.tutorial("tutorial", TUTORIAL, (&[15, 1, 30], 7), |problem, trial| labels(network, problem, trial));
    part.random(options.cases, part.problems(Sizes::Full), |problem, trial| labels(network, problem, trial));
    part.report
}

fn labels<T: Number>(
    network: &dyn Network<T>,
    problem: &Problem,
    trial: &mut Trial<'_>,
) -> Result<(), Error> {
    let (params, exact) = both::<T>(problem)?;
    let reference: &dyn Network<f64> = &Reference::new();
    let mut tagger = network.tagger(&params)?;
    let sentences: Vec<Sentence> = problem.batch.iter().map(Labelled::sentence).cloned().collect();
    let mut one_at_a_time = Vec::new();
    let mut found = vec![usize::MAX; 3];
    for sentence in &sentences {
        tagger.label(sentence, &mut found)?;
        one_at_a_time.push(found.clone());
        let s = reference.predict(&exact, sentence)?;
        let allowed = tolerance::predict(Unit::of::<T>(), &exact, sentence)?;
        trial.require(found.len() == sentence.words().len(), || {
            format!("{} labels for {} words", found.len(), sentence.words().len())
        });
        for (t, ((s, allowed), label)) in s.rows().into_iter().zip(allowed.rows()).zip(&found).enumerate() {
            trial.require(may_be_best(s, allowed, *label), || {
                let best = best(s);
                format!(
                    "word {t} has the label {label} of probability {:?}, expected {best} of probability {}",
                    s.get(*label),
                    s[best]
                )
            });
        }
    }
    trial.require(tagger.label_all(&sentences)? == one_at_a_time, || {
        "label_all gives other labels than label".to_string()
    });
    trial.require(tagger.label_all(&[])?.is_empty(), || "label_all of nothing gives labels".to_string());

    let refused = Sentence::new(vec![0, problem.shape.vocab])?;
    let mut kept = vec![7, 7, 7];
    trial.refused("the padding as a word", tagger.label(&refused, &mut kept));
    trial.require(kept == [7, 7, 7], || format!("a refused sentence left the labels {kept:?}"));
    let with_refused: Vec<Sentence> = sentences.iter().cloned().chain([refused]).collect();
    trial.refused("the padding as a word, among others,", tagger.label_all(&with_refused));
    if let (Some(sentence), Some(expected)) = (sentences.first(), one_at_a_time.first()) {
        tagger.label(sentence, &mut found)?;
        trial.require(found == *expected, || "the labels changed after a refusal".to_string());
    }
    Ok(())
}

/// The most probable label, of equally probable ones the first.
fn best(s: ArrayView1<'_, f64>) -> usize {
    (1..s.len()).fold(0, |best, label| if s[label] > s[best] { label } else { best })
}

/// Whether no label is more probable by more than what both probabilities may be off by.
fn may_be_best(s: ArrayView1<'_, f64>, allowed: ArrayView1<'_, f64>, label: usize) -> bool {
    let best = best(s);
    s.get(label).is_some_and(|p| p + allowed[label] >= s[best] - allowed[best])
}

fn ties<T: Number>(network: &dyn Network<T>, shape: Shape, trial: &mut Trial<'_>) -> Result<(), Error> {
    let problem = Problem::tutorial(shape, &[2], 8)?;
    let [emb, wx, wh, _, bh, b, h0] = problem.fills;
    let mut params = Problem { fills: [emb, wx, wh, Fill::Zero, bh, b, h0], ..problem }.params::<T>()?;
    let sentence = Sentence::new(vec![1, 3, 0])?;
    // Every pair of labels in turn, with all the others below them; and all labels alike.
    let pairs = (0..shape.classes).flat_map(|i| [1, 7, 16].map(|gap| (i, (i + gap).min(shape.classes - 1))));
    for (first, second) in pairs {
        let mut b = arr1(&vec![T::from_f64(-0.25); shape.classes]);
        b[first] = T::from_f64(0.5);
        b[second] = T::from_f64(0.5);
        params.b = b;
        expect(network, &params, &sentence, first, trial)?;
    }
    params.b.fill(T::from_f64(-1.0));
    expect(network, &params, &sentence, 0, trial)
}

fn expect<T: Number>(
    network: &dyn Network<T>,
    params: &elman::Params<T>,
    sentence: &Sentence,
    label: usize,
    trial: &mut Trial<'_>,
) -> Result<(), Error> {
    let mut found = Vec::new();
    network.tagger(params)?.label(sentence, &mut found)?;
    trial.require(found == vec![label; sentence.words().len()], || {
        format!("labels {found:?}, expected {label}, the first of the equally probable ones")
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use elman::ndarray::aview1;

    use super::*;

    #[test]
    fn the_first_of_the_largest_is_the_best_and_others_may_be_within_rounding() {
        assert_eq!(best(aview1(&[0.1, 0.4, 0.4, 0.1])), 1);
        assert_eq!(best(aview1(&[0.5, 0.2, 0.3])), 0);
        let labels = |s: [f64; 4], allowed: [f64; 4]| {
            (0..5).filter(|label| may_be_best(aview1(&s), aview1(&allowed), *label)).collect::<Vec<_>>()
        };
        let s = [0.2, 0.375, 0.25, 0.175];
        assert_eq!(labels(s, [0.0; 4]), [1]);
        assert_eq!(labels([0.25; 4], [0.0; 4]), [0, 1, 2, 3]);
        assert_eq!(labels(s, [0.0, 0.125, 0.0, 0.0]), [1, 2]);
        assert_eq!(labels(s, [0.0, 0.0, 0.125, 0.0]), [1, 2]);
        assert_eq!(labels(s, [0.0, 0.0, 0.0625, 0.0]), [1]);
    }
}
