//! The most probable sequences of a CRF's labels, with their probabilities.

use std::cmp::Ordering;

use elman::Crf;
use elman::ndarray::ArrayView2;

/// The most sequences that can be asked for: their paths through the longest sentence stay in memory.
pub const MAX_SEQUENCES: usize = 100;

/// The `count` most probable sequences of labels of a sentence with the emissions `y`, `[words, classes]`, the most
/// probable one first, each with its probability; all if there are fewer. Viterbi's algorithm with so many paths to each
/// label, in `f64`.
///
/// Of equal paths to a label the one from the first label comes first.
pub(crate) fn best_sequences(
    crf: Crf<'_, f32>,
    y: ArrayView2<'_, f32>,
    count: usize,
) -> Vec<(Vec<u32>, f64)> {
    let (words, classes) = y.dim();
    let count = count.min(MAX_SEQUENCES);
    if words == 0 || count == 0 {
        return Vec::new();
    }
    let scores = |row: &[f32]| -> Vec<f64> { row.iter().map(|v| f64::from(*v)).collect() };
    // For each label the best paths that end with it: the score, and the label and the path before.
    let row = y.row(0);
    let first = row.iter().zip(crf.start).map(|(y, start)| vec![(f64::from(*y) + f64::from(*start), 0, 0)]);
    let mut paths: Vec<Vec<Vec<Path>>> = vec![first.collect()];
    let mut sums: Vec<f64> = paths[0].iter().map(|paths| paths[0].0).collect();
    for y in y.rows().into_iter().skip(1) {
        let (y, before) = (scores(&y.to_vec()), &paths[paths.len() - 1]);
        let to_each = (0..classes).map(|j| {
            let ways = before.iter().enumerate().flat_map(|(i, paths)| {
                let step = f64::from(crf.transitions[[i, j]]);
                paths.iter().enumerate().map(move |(rank, path)| (path.0 + step, i as u32, rank as u32))
            });
            let mut ways = best(ways.collect(), count);
            ways.iter_mut().for_each(|way| way.0 += y[j]);
            ways
        });
        let to_each = to_each.collect();
        sums = (0..classes)
            .map(|j| {
                let ways =
                    sums.iter().zip(crf.transitions.column(j)).map(|(sum, step)| sum + f64::from(*step));
                log_sum_exp(&ways.collect::<Vec<_>>()) + y[j]
            })
            .collect();
        paths.push(to_each);
    }
    let end = scores(&crf.end.to_vec());
    let log_z = log_sum_exp(&sums.iter().zip(&end).map(|(sum, end)| sum + end).collect::<Vec<_>>());
    let last = paths[words - 1].iter().zip(&end).enumerate();
    let ended = last.flat_map(|(j, (paths, end))| {
        paths.iter().enumerate().map(move |(rank, path)| (path.0 + end, j as u32, rank as u32))
    });
    best(ended.collect(), count)
        .into_iter()
        .map(|(score, mut label, mut rank)| {
            let mut labels = vec![0; words];
            for t in (0..words).rev() {
                labels[t] = label;
                (_, label, rank) = paths[t][label as usize][rank as usize];
            }
            // Rounding may leave the only path a little above 1.
            (labels, (score - log_z).exp().min(1.0))
        })
        .collect()
}

/// A score, the label before, and the number of that one's path.
type Path = (f64, u32, u32);

/// The greatest scores, at most `count`, the greatest first; of equals the first.
fn best(mut paths: Vec<Path>, count: usize) -> Vec<Path> {
    let order = |a: &Path, b: &Path| -> Ordering { b.0.total_cmp(&a.0).then((a.1, a.2).cmp(&(b.1, b.2))) };
    if paths.len() > count {
        paths.select_nth_unstable_by(count, order);
        paths.truncate(count);
    }
    paths.sort_unstable_by(order);
    paths
}

fn log_sum_exp(z: &[f64]) -> f64 {
    let max = z.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    max + z.iter().map(|z| (z - max).exp()).sum::<f64>().ln()
}

#[cfg(test)]
mod tests {
    use elman::ndarray::{Array1, Array2};
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Every sequence, by brute force.
        #[test]
        fn the_best_sequences_are_those_of_all(
            numbers in prop::collection::vec(-3.0_f32..3.0, 27),
            words in 1..=4usize,
            count in 1..=90usize,
        ) {
            let y = Array2::from_shape_fn((words, 3), |(t, j)| numbers[3 * t + j]);
            let transitions = Array2::from_shape_fn((3, 3), |(i, j)| numbers[12 + 3 * i + j]);
            let [start, end] = [21, 24].map(|from| Array1::from(numbers[from..from + 3].to_vec()));
            let crf = Crf { transitions: transitions.view(), start: start.view(), end: end.view() };
            let score = |labels: &[u32]| -> f64 {
                let of = |t: usize| labels[t] as usize;
                let between: f64 = (1..words).map(|t| f64::from(transitions[[of(t - 1), of(t)]])).sum();
                let own: f64 = (0..words).map(|t| f64::from(y[[t, of(t)]])).sum();
                f64::from(start[of(0)]) + own + between + f64::from(end[of(words - 1)])
            };
            let all = (0..3u32.pow(words as u32))
                .map(|number| (0..words).map(|t| number / 3u32.pow(t as u32) % 3).collect::<Vec<_>>());
            let mut all: Vec<f64> = all.map(|labels| score(&labels)).collect();
            all.sort_by(|a, b| b.total_cmp(a));
            let z: f64 = all.iter().map(|score| score.exp()).sum();
            let found = best_sequences(crf, y.view(), count);
            prop_assert_eq!(found.len(), count.min(all.len()));
            let mut distinct: Vec<_> = found.iter().map(|(labels, _)| labels.clone()).collect();
            distinct.sort();
            distinct.dedup();
            prop_assert_eq!(distinct.len(), found.len());
            for ((labels, probability), expected) in found.iter().zip(all) {
                prop_assert!((score(labels) - expected).abs() < 1e-9);
                prop_assert!((probability - expected.exp() / z).abs() < 1e-12);
            }
        }
    }
}
