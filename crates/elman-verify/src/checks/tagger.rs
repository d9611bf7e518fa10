//! Labels and scores.

use elman::ndarray::{ArrayView1, ArrayView2, Axis, Slice};
use elman::{Error, Float, Head, Name, Network, Params, Sentences, Shape};

use super::{LITTLE, TUTORIAL, both, labels_of};
use crate::runner::{Part, Trial};
use crate::strategies::{Fill, Problem, Sizes};
use crate::tolerance::Judged;
use crate::{Options, Report, tolerance};

/// Labels: the most probable one for each word, or with a CRF the most probable sequence, of equally probable ones the
/// first; and a CRF's emissions.
///
/// A label or a sequence is accepted if no other is more probable by more than rounding may do to both, in the `f64`
/// reference. Ties are made exact by `w = 0`, so that the scores are the entries of `b`; so are scores of 10^30. The
/// labels are those of the tagger's own scores. Many sentences at once get the scores and the labels they get one at a time, a fork
/// gives the same labels, and a refused batch leaves its places alone.
pub fn check_tagger<T: Float>(network: &dyn Network<T>, options: &Options) -> Report {
    let mut part = Part::new::<T>("tagger", network.name(), options);
    let networks = options.networks();
    for head in Head::ALL {
        let Some((cell, feedback)) = networks.cells.first().copied() else { continue };
        let id = if head == Head::Softmax { "ties" } else { "crf-ties" };
        for classes in [1, 2, 3, 15, 16, 17, 33, 65, 127, 256] {
            let shape = Shape { vocab: 4, hidden: 17, classes, cell, feedback, head, ..LITTLE };
            if head == Head::Softmax || networks.crf && shape.check().is_ok() {
                part.fixed(&format!("{id}-{classes}"), shape, |shape, trial| ties(network, *shape, trial));
            }
        }
    }
    let seventy: Vec<usize> = (0..70).map(|i| 1 + i % 7).collect();
    for (id, shape, lengths) in
        [("seventy", LITTLE, &seventy[..]), ("long", LITTLE, &[257]), ("tutorial", TUTORIAL, &[9, 1])]
    {
        part.tutorial(id, shape, (lengths, 7), |problem, trial| labels(network, problem, trial));
    }
    part.problems(Sizes::Full, |problem, trial| labels(network, problem, trial));
    part.report
}

fn labels<T: Float>(network: &dyn Network<T>, problem: &Problem, trial: &mut Trial<'_>) -> Result<(), Error> {
    let (params, exact) = both::<T>(problem)?;
    let batch = problem.batch.batch();
    let mut tagger = network.tagger(&params)?;
    let (mut one_at_a_time, mut judged) = (Vec::new(), Vec::new());
    let is_crf = problem.shape.head == Head::Crf;
    for (i, sentence) in batch.iter().enumerate() {
        let mut found = vec![u32::MAX; sentence.words.len()];
        tagger.label(sentence.words, &mut found)?;
        let s = tagger.scores(sentence.words)?;
        greatest(s, &found, is_crf, trial);
        if i < 6 {
            let of_sentence = tolerance::predict::<T>(&exact, sentence.words)?;
            trial.judge("s", s, &of_sentence);
            if is_crf {
                let emissions = tolerance::emissions::<T>(&exact, sentence.words)?;
                trial.judge("emissions", tagger.emissions(sentence.words)?, &emissions);
                let shortfall = tolerance::shortfall::<T>(&exact, sentence.words, &found)?;
                trial.require(shortfall.expected <= shortfall.allowed || shortfall.allowed.is_nan(), || {
                    format!("the labels {found:?} score {} less than the best", shortfall.expected)
                });
            }
            for (t, label) in found.iter().enumerate().filter(|_| !is_crf) {
                trial.require(may_be_best(&of_sentence, t, *label as usize), || {
                    let s = of_sentence.expected.row(t);
                    format!("word {t} has the label {label}, expected {}", best(s))
                });
            }
            judged.push(of_sentence);
        }
        one_at_a_time.extend(found);
    }
    let other = Problem { seed: problem.seed ^ 1, ..problem.clone() }.params::<T>()?;
    let words = batch.sentence(0).words;
    let mut prepared = tagger.prepare(&other)?;
    trial.same_bits(
        "a tagger that another one prepared",
        "s",
        prepared.scores(words)?,
        network.tagger(&other)?.scores(words)?,
    );
    let classes = params.shape().classes;
    let mut scores = vec![T::from_f64(f64::NAN); one_at_a_time.len() * classes];
    tagger.score_all(batch, &mut scores)?;
    let scores = ArrayView2::from_shape((one_at_a_time.len(), classes), &scores).expect("rows of a matrix");
    greatest(scores, &one_at_a_time, is_crf, trial);
    let mut from = 0;
    for (sentence, judged) in batch.iter().zip(&judged) {
        let words = sentence.words.len();
        trial.judge("score_all", scores.slice_axis(Axis(0), Slice::from(from..from + words)), judged);
        from += words;
    }
    let mut fork = tagger.fork();
    for (what, tagger) in [("label_all", &mut tagger), ("label_all of a fork", &mut fork)] {
        let found = labels_of(tagger.as_mut(), batch)?;
        trial.require(found == one_at_a_time, || format!("{what} gives other labels than label"));
    }
    trial.require(labels_of(tagger.as_mut(), batch.slice(0..0)).is_ok(), || {
        "no sentences were refused".to_string()
    });
    refusals(network, problem, trial)?;
    drop(tagger);
    let found = labels_of(fork.as_mut(), batch)?;
    trial.require(found == one_at_a_time, || "a fork gives other labels without its origin".to_string());
    Ok(())
}

/// Scores of words are distributions, and the labels have the greatest ones, unless other words decide too.
fn greatest<T: Float>(s: ArrayView2<'_, T>, labels: &[u32], is_crf: bool, trial: &mut Trial<'_>) {
    for (t, (s, label)) in s.rows().into_iter().zip(labels).enumerate() {
        let s = s.mapv(|v| v.to_f64());
        let sum = s.sum();
        // The marginals of a CRF may be products over the words before.
        let terms = s.len() + if is_crf { t } else { 0 };
        trial.require((sum - 1.0).abs() <= 4.0 * T::EPSILON * (terms as f64), || {
            format!("the scores of word {t} have the sum {sum}, expected 1")
        });
        let best = best(s.view());
        // Of scores that round to the same number, any may be the greatest; exact ties are in `ties`.
        let is_best = s.get(*label as usize).is_some_and(|score| *score >= s[best]);
        trial.require(is_crf || is_best, || {
            format!("word {t} has the label {label}, and {best} has the best of the tagger's own scores")
        });
    }
}

fn refusals<T: Float>(
    network: &dyn Network<T>,
    problem: &Problem,
    trial: &mut Trial<'_>,
) -> Result<(), Error> {
    let mut tagger = network.tagger(&problem.params()?)?;
    let padding = problem.shape.padding();
    let mut refused = problem.batch.clone();
    refused.push(&[0, padding], &[0, 0])?;
    let words = refused.batch().words().len();
    let mut kept = vec![7; words];
    trial.refused("the padding as a word", tagger.label(&[0, padding], &mut [0; 2]));
    trial.refused("the padding as a word, among others,", tagger.label_all(refused.batch(), &mut kept));
    trial.refused("scores of the padding", tagger.scores(&[padding]));
    trial.refused("scores of no word", tagger.scores(&[]));
    trial.refused("emissions of the padding", tagger.emissions(&[padding]));
    trial.refused("emissions of no word", tagger.emissions(&[]));
    trial.refused("labels of no word", tagger.label(&[], &mut []));
    let numbers = words * problem.shape.classes;
    let all = tagger.score_all(refused.batch(), &mut vec![T::zero(); numbers]);
    trial.refused("scores of the padding, among others,", all);
    for places in [numbers - 1, numbers + 1] {
        let result =
            tagger.score_all(problem.batch.batch(), &mut vec![T::zero(); places - 2 * problem.shape.classes]);
        trial.refused(&format!("{places} places for scores, expected {numbers}, "), result);
    }
    for places in [words - 3, words - 1] {
        let result = tagger.label_all(problem.batch.batch(), &mut vec![7; places]);
        trial.refused(&format!("{places} places for {} words", words - 2), result);
    }
    trial.require(kept.iter().all(|label| *label == 7), || {
        format!("a refused sentence left the labels {kept:?}")
    });
    Ok(())
}

/// The most probable label, of equally probable ones the first.
fn best(s: ArrayView1<'_, f64>) -> usize {
    (1..s.len()).fold(0, |best, label| if s[label] > s[best] { label } else { best })
}

/// Whether no label of word t is more probable by more than both probabilities may be off by.
fn may_be_best(judged: &Judged<elman::ndarray::Array2<f64>>, t: usize, label: usize) -> bool {
    let (s, allowed) = (judged.expected.index_axis(Axis(0), t), judged.allowed.index_axis(Axis(0), t));
    let best = best(s);
    s.get(label).is_some_and(|p| p + allowed[label] >= s[best] - allowed[best] || allowed[label].is_nan())
}

fn ties<T: Float>(network: &dyn Network<T>, shape: Shape, trial: &mut Trial<'_>) -> Result<(), Error> {
    let mut params = Problem::tutorial(shape, &[2], 8)?.fill(Name::W, Fill::Zero).params::<T>()?;
    let last = shape.classes - 1;
    for name in [Name::Transitions, Name::Start, Name::End] {
        params.tensor_mut(name).into_iter().for_each(|mut tensor| tensor.fill(T::zero()));
    }
    if shape.head == Head::Crf && shape.classes > 1 {
        crossed(network, &params, trial)?;
    }
    // Every pair of labels in turn, with all the others below them; scores without a limit; and all labels alike.
    for first in 0..shape.classes {
        for (gap, large, small) in [(1, 0.5, -0.25), (7, 1e30, -1e30), (16, 0.5, -1e3)] {
            params.b_mut().fill(T::from_f64(small));
            for label in [first, (first + gap).min(last)] {
                params.b_mut()[label] = T::from_f64(large);
            }
            expect(network, &params, first as u32, trial)?;
        }
        params.b_mut().fill(T::from_f64(1e30));
        params.b_mut()[first] = T::from_f64(2e30);
        expect(network, &params, first as u32, trial)?;
    }
    params.b_mut().fill(T::from_f64(-1.0));
    expect(network, &params, 0, trial)
}

/// Two labels in turns, from either on: the sequence whose last label is the first of them.
fn crossed<T: Float>(
    network: &dyn Network<T>,
    params: &Params<T>,
    trial: &mut Trial<'_>,
) -> Result<(), Error> {
    let mut params = params.clone();
    params.b_mut().fill(T::zero());
    for last in 1..params.shape().classes {
        let mut transitions = params.matrix_mut(Name::Transitions);
        transitions.fill(T::zero());
        for pair in [[0, last], [last, 0]] {
            transitions[pair] = T::one();
        }
        let last = last as u32;
        expect_labels(network, &params, [0, last, 0], trial)?;
        params.vector_mut(Name::Start).into_iter().for_each(|mut start| start[0] = T::from_f64(-0.5));
        params.vector_mut(Name::End).into_iter().for_each(|mut end| end[0] = T::from_f64(-0.5));
        expect_labels(network, &params, [last, 0, last], trial)?;
        for name in [Name::Start, Name::End] {
            params.vector_mut(name).into_iter().for_each(|mut vector| vector[0] = T::zero());
        }
    }
    Ok(())
}

fn expect<T: Float>(
    network: &dyn Network<T>,
    params: &Params<T>,
    label: u32,
    trial: &mut Trial<'_>,
) -> Result<(), Error> {
    expect_labels(network, params, [label; 3], trial)
}

fn expect_labels<T: Float>(
    network: &dyn Network<T>,
    params: &Params<T>,
    expected: [u32; 3],
    trial: &mut Trial<'_>,
) -> Result<(), Error> {
    let sentences = Sentences::one(&[1, 3, 0], &[])?;
    let found = labels_of(network.tagger(params)?.as_mut(), sentences.batch())?;
    trial.require(found == expected, || {
        format!("labels {found:?}, expected {expected:?}, the first of the equally probable ones")
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use elman::ndarray::{arr2, aview1};

    use super::*;

    #[test]
    fn the_first_of_the_largest_is_the_best_and_others_may_be_within_rounding() {
        assert_eq!(best(aview1(&[0.1, 0.4, 0.4, 0.1])), 1);
        assert_eq!(best(aview1(&[0.5, 0.2, 0.3])), 0);
        let labels = |s: [f64; 4], allowed: [f64; 4]| {
            let judged = Judged { expected: arr2(&[s]), allowed: arr2(&[allowed]) };
            (0..5).filter(|label| may_be_best(&judged, 0, *label)).collect::<Vec<_>>()
        };
        let s = [0.2, 0.375, 0.25, 0.175];
        assert_eq!(labels(s, [0.0; 4]), [1]);
        assert_eq!(labels([0.25; 4], [0.0; 4]), [0, 1, 2, 3]);
        assert_eq!(labels(s, [0.0, 0.125, 0.0, 0.0]), [1, 2]);
        assert_eq!(labels(s, [0.0, 0.0, 0.125, 0.0]), [1, 2]);
        assert_eq!(labels(s, [0.0, 0.0, 0.0625, 0.0]), [1]);
    }
}
