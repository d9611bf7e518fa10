//! Central finite differences with the best step.

use crate::equations::Seen;

/// A derivative by finite differences.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Difference {
    /// The derivative.
    pub(crate) value: f64,
    /// An estimate of its error, from the spread of the extrapolations; infinite where the function has a kink within
    /// the steps.
    pub(crate) error: f64,
    /// The smallest step that was used; the rounding of `f` counts as `eps · |f| / step`.
    pub(crate) step: f64,
    /// The largest number that `f` added up.
    pub(crate) size: f64,
}

impl Difference {
    /// How far a derivative in a tensor whose largest entry is `scale` may be from this one: 1e-8 of that entry, the
    /// rounding of a function of this size over the smallest step, and ten times the spread of the extrapolations.
    pub(crate) fn allowed(self, scale: f64) -> f64 {
        1e-8 * scale + 8.0 * f64::EPSILON * (1.0 + self.size) / self.step + 10.0 * self.error
    }
}

/// The derivative of `f` at 0. `f` also says on which sides of its kinks it was.
///
/// Ridders' method (*Accurate computation of F'(x) and F'(x)F''(x)*, 1982): the central difference
/// `(f(step) - f(-step)) / (2 step)` has an error in even powers of the step, so the differences for steps
/// that are halved again and again are extrapolated to step 0 (Richardson, Neville's tableau); of all
/// extrapolations the one whose neighbours agree best is taken, and no smaller step is tried once rounding
/// begins to win.
///
/// Where the function is rough on the scale of the steps, neighbours may agree by chance. So this is done
/// twice, from unrelated steps, and the error is at least the difference of the two results.
pub(crate) fn derivative(mut f: impl FnMut(f64) -> (f64, Seen)) -> Difference {
    let (_, seen) = f(0.0);
    let mut smooth = true;
    let mut f = |step: f64| {
        let (value, there) = f(step);
        smooth &= there.sides == seen.sides;
        value
    };
    let results = [1.0 / 64.0, 1.0 / 450.0].map(|step| ridders(&mut f, step));
    let apart = (results[0].value - results[1].value).abs();
    let best = if results[1].error < results[0].error { results[1] } else { results[0] };
    Difference { error: if smooth { best.error.max(apart) } else { f64::INFINITY }, size: seen.size, ..best }
}

fn ridders(mut f: impl FnMut(f64) -> f64, mut step: f64) -> Difference {
    const STEPS: usize = 8;
    let mut central = |step: f64| (f(step) - f(-step)) / (2.0 * step);
    let mut row = vec![central(step)];
    let mut best = Difference { value: row[0], error: f64::INFINITY, step, size: 0.0 };
    for _ in 1..STEPS {
        step /= 2.0;
        let mut next = vec![central(step)];
        let mut factor = 1.0;
        for order in 0..row.len() {
            factor *= 4.0;
            let value = (factor * next[order] - row[order]) / (factor - 1.0);
            let error = (value - next[order]).abs().max((value - row[order]).abs());
            if error <= best.error {
                best = Difference { value, error, step, size: 0.0 };
            }
            next.push(value);
        }
        let spread = (next[next.len() - 1] - row[row.len() - 1]).abs();
        if spread >= 2.0 * best.error {
            break;
        }
        row = next;
    }
    best
}

/// The noise of a function's values near 0: the standard deviation of what rounding adds to them.
///
/// Moré and Wild (*Estimating computational noise*, 2011): the function is asked at seven places that are so near each
/// other that nothing but noise tells their values apart from a polynomial; the differences of order k, divided by the
/// root of `(2k)! / (k!)²`, have the deviation of the noise. The largest of the orders 3 to 6 is taken. The places are the
/// root of `epsilon` apart, that of the type in which the function computes.
pub(crate) fn noise(mut f: impl FnMut(f64) -> f64, epsilon: f64) -> f64 {
    let mut table: Vec<f64> = (-3..=3).map(|i| f(f64::from(i) * epsilon.sqrt())).collect();
    let (mut most, mut factor) = (0.0, 1.0);
    for order in 1..=6 {
        table = table.windows(2).map(|pair| pair[1] - pair[0]).collect();
        factor *= f64::from(order) / f64::from(2 * (2 * order - 1));
        let squares: f64 = table.iter().map(|v| v * v).sum();
        if order >= 3 {
            most = f64::max(most, (factor * squares / table.len() as f64).sqrt());
        }
    }
    most
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_are_as_good_as_they_say() {
        type Case = (fn(f64) -> f64, f64);
        let cases: [Case; 5] = [
            (|x| x.exp(), 1.0),
            (|x| 3.0 * x + 5.0, 3.0),
            (|x| (10.0 * x + 1.0).sin(), 10.0 * 1f64.cos()),
            (|x| 1.0 / (1.0 + (-20.0 * x).exp()), 5.0),
            (|_| 7.0, 0.0),
        ];
        for (i, (f, expected)) in cases.into_iter().enumerate() {
            let found = derivative(|x| (f(x), Seen::default()));
            let error = (found.value - expected).abs();
            assert!(error <= 1e-10 * expected.abs(), "{i}: {found:?}, expected {expected}");
            assert!(found.error < 1e-8, "{i}: {found:?}");
        }
    }

    #[test]
    fn the_noise_of_a_function_is_found() {
        let in_single = noise(|x| f64::from((1.0 + x + x * x).exp() as f32), f32::EPSILON.into());
        assert!((1e-8..1e-6).contains(&in_single), "{in_single}");
        let in_double = noise(|x| (3.0 + x).exp(), f64::EPSILON);
        assert!((1e-17..1e-14).contains(&in_double), "{in_double}");
    }

    #[test]
    fn a_rough_function_is_not_called_exact() {
        let found = derivative(|x: f64| (x + 1e-9 * (1e6 * x).sin(), Seen::default()));
        assert!(found.error > 1e-9 && (found.value - 1.0).abs() < 10.0 * found.error, "{found:?}");
    }

    /// The first steps of one series see nothing of the waves and agree by chance; those of the other see them.
    #[test]
    fn waves_that_one_series_misses_count_as_error() {
        for first_step in [1.0 / 64.0, 1.0 / 450.0] {
            let waves = 2.0 * std::f64::consts::PI / first_step;
            let found = derivative(|x: f64| (x + 1e-9 * (waves * x).sin(), Seen::default()));
            assert!((found.value - 1.0).abs() < 1e-9, "{found:?}: of the series that agrees best");
            assert!(found.error > 1e-8, "{found:?}");
        }
    }
}
