//! What each check compares, with what, and what it allows, written down in `checks.txt`.
//!
//! An implementation whose results are all wrong by known amounts is put through a few cases of each check, with so
//! much slack that it passes. A comparison that is left out, or has another tolerance, shows as a line.

use std::collections::BTreeMap;

use elman::ndarray::{Array2, ArrayView2, ArrayViewMut, Dimension};
use elman::{
    Cell, CellGradient, Error, Labelled, Learner, Network, Params, Recurrence, Sentence, Sequences, Tagger,
    Trace,
};
use elman_reference::Reference;
use expect_test::expect_file;

use super::*;
use crate::duals::cell_tensors_mut;
use crate::report::Against;

/// The reference, with errors far above its rounding.
struct Off;

/// Makes each entry wrong by a part of itself that depends on its place.
fn off<D: Dimension>(mut entries: ArrayViewMut<'_, f64, D>, more: usize) {
    for (i, entry) in entries.iter_mut().enumerate() {
        *entry *= 1.0 + 1e-3 * ((7 * i + 3 * more) % 11 + 1) as f64;
    }
}

impl Network<f64> for Off {
    fn name(&self) -> String {
        "off".to_string()
    }

    fn predict(&self, params: &Params<f64>, sentence: &Sentence) -> Result<Array2<f64>, Error> {
        let mut s = Reference::new().predict(params, sentence)?;
        off(s.view_mut(), 0);
        Ok(s)
    }

    fn gradient(
        &self,
        params: &Params<f64>,
        batch: &[Labelled],
        grad: &mut Params<f64>,
    ) -> Result<f64, Error> {
        let loss = Reference::new().gradient(params, batch, grad)?;
        // By the batch too, so that a batch is not the mean of its sentences, nor indifferent to their order.
        let more = batch.len() + batch[0].labels().len();
        grad.tensors_mut().into_iter().for_each(|(_, tensor)| off(tensor, more));
        Ok(loss * (1.0 + 0.01 * more as f64))
    }

    fn learner(&self, params: Params<f64>) -> Result<Box<dyn Learner<f64>>, Error> {
        params.shape()?;
        Ok(Box::new(OffLearner(params)))
    }

    fn tagger(&self, params: &Params<f64>) -> Result<Box<dyn Tagger>, Error> {
        Reference::new().tagger(params)
    }
}

struct OffLearner(Params<f64>);

impl Learner<f64> for OffLearner {
    fn step(&mut self, batch: &[Labelled], learning_rate: f64) -> Result<f64, Error> {
        let mut learner = Reference::new().learner(self.0.clone())?;
        let loss = learner.step(batch, learning_rate)?;
        let mut params = learner.params();
        if learning_rate != 0.0 {
            for (name, tensor) in params.tensors_mut() {
                if name != "emb" {
                    off(tensor, 0);
                }
            }
            // The norm of a row is looked at too: it may only turn.
            for (mut row, before) in params.emb.rows_mut().into_iter().zip(self.0.emb.rows()) {
                if row != before {
                    row.mapv_inplace(|v| -v);
                }
            }
        }
        self.0 = params;
        Ok(1.01 * loss)
    }

    fn params(&self) -> Params<f64> {
        self.0.clone()
    }
}

impl Recurrence<f64> for Off {
    fn forward(&self, cell: &Cell<f64>, xs: &Sequences<'_, f64>) -> Result<Array2<f64>, Error> {
        let mut h = Reference::new().forward(cell, xs)?;
        off(h.view_mut(), xs.ranges().count());
        Ok(h)
    }

    fn vjp<'a>(
        &self,
        cell: &'a Cell<f64>,
        xs: &'a Sequences<'a, f64>,
    ) -> Result<Box<dyn Trace<f64> + 'a>, Error> {
        let (trace, h) = (Reference::new().vjp(cell, xs)?, self.forward(cell, xs)?);
        Ok(Box::new(OffTrace { trace, h, more: xs.ranges().count() }))
    }
}

struct OffTrace<'a> {
    trace: Box<dyn Trace<f64> + 'a>,
    h: Array2<f64>,
    more: usize,
}

impl Trace<f64> for OffTrace<'_> {
    fn h(&self) -> ArrayView2<'_, f64> {
        self.h.view()
    }

    fn backward(&self, dh: ArrayView2<'_, f64>) -> Result<CellGradient<f64>, Error> {
        let mut gradient = self.trace.backward(dh)?;
        off(gradient.xs.view_mut(), self.more);
        cell_tensors_mut(&mut gradient.cell).into_iter().for_each(|tensor| off(tensor, self.more));
        Ok(gradient)
    }
}

/// One case of a check.
fn write_down(found: &mut String, check: &dyn Fn(&Options) -> Report, case: &str) {
    const SLACK: f64 = 1e30;
    let report = check(&Options::new().seed(3).cases(1).shrink(0).slack(SLACK).only(case));
    assert!(report.passed(), "{case}: {report}");
    found.push_str(&format!("{case}: {} requirements\n", report.requirements));
    let mut per_tensor = BTreeMap::<_, ([f64; 4], f64)>::new();
    for measurement in &report.measurements {
        let (sums, least) =
            per_tensor.entry((measurement.against, measurement.tensor)).or_insert(([0.0; 4], f64::INFINITY));
        *least = least.min(measurement.worst.allowed);
        let of_one = [1.0, measurement.entries as f64, measurement.relative, measurement.worst.allowed];
        sums.iter_mut().zip(of_one).for_each(|(sum, of_one)| *sum += of_one);
    }
    for ((against, tensor), ([times, entries, relative, allowed], least)) in per_tensor {
        // To finite differences rounding is allowed that no two machines share.
        let allowed = match against {
            Against::Differences => (allowed > 0.0).to_string(),
            // Along a direction both derivatives are compared; dual numbers are allowed less.
            Against::Directions => format!("at least {:.3e}", least / SLACK),
            _ => format!("{:.3e}", allowed / SLACK),
        };
        found.push_str(&format!(
            "    {against} {tensor}: {times} times, {entries} entries, off by {relative:.3e}, allowed {allowed}\n"
        ));
    }
}

#[test]
fn what_each_check_compares_is_what_was_written_down() {
    let network: &dyn Network<f64> = &Off;
    let reference = Reference::new();
    let recurrence: &dyn Fn(&Options) -> Report = &|options| check_recurrence::<f64>("off", &Off, options);
    // A sequence must have the bits that it has alone, which those of `Off` have not.
    let same_sequences = [("one", &reference as &dyn Recurrence<f64>), ("two", &reference)];
    type Check<'a> = &'a dyn Fn(&Options) -> Report;
    let checks: [(&str, Check<'_>, &[&str]); 11] = [
        ("gradient", &|options| check_gradient(network, options), &["medium", "tutorial"]),
        ("agreement", &|options| check_agreement(network, options), &[]),
        (
            "learner",
            &|options| check_learner(network, options),
            &["no-gradient", "zero-rows", "window-1", "window-1-jordan"],
        ),
        ("tagger", &|options| check_tagger(network, options), &["ties-3"]),
        ("invariance", &|options| check_invariance(network, options), &[]),
        ("same-bits", &|options| check_same_bits(&[network, network], options), &[]),
        ("recurrence", recurrence, &["doors", "subnormal"]),
        ("recurrence-large", recurrence, &[]),
        ("same-bits-recurrence", &|options| check_same_bits_recurrence(&same_sequences, options), &[]),
        ("goldens", &|options| check_goldens(network, options), &["tiny", "jordan_tiny"]),
        ("doors", &|options| check_doors(network, options), &["params", "batch", "grad", "grad-jordan"]),
    ];
    let mut found = String::new();
    for (part, check, fixed) in checks {
        let random = if matches!(part, "goldens" | "doors") { 0 } else { 6 };
        let cases = fixed.iter().map(|case| case.to_string()).chain((0..random).map(|case| case.to_string()));
        for case in cases {
            write_down(&mut found, check, &format!("{part}/{case}"));
        }
    }
    expect_file!["../checks.txt"].assert_eq(&found);
}

#[test]
fn goldens_are_those_of_the_network_that_is_asked_for() {
    for (feedback, files) in [(Feedback::Hidden, 6), (Feedback::Output, 3)] {
        let report = check_goldens(&Reference::new(), &Options::new().feedback(feedback));
        assert!(report.passed() && report.cases == files, "{report}");
    }
}
