//! The tolerance from both sides: how much of it sound implementations use, in eleven orders of summation, and that an
//! error of ten times the allowance is refused.
//!
//! 10,000 cases of each cell, shared among the orders, in both number types; and 200 seeds of large cases:
//!
//! ```sh
//! cargo test --release -p elman-verify --test calibration -- --ignored --nocapture
//! ```
//!
//! `CASES` and `SEED` ask for other ones.
#![allow(missing_docs, dead_code)] // Shared with the mutants, whose names say what they are.

#[path = "mutants/mutation.rs"]
mod mutation;
#[path = "mutants/subject.rs"]
mod subject;
#[path = "mutants/units.rs"]
mod units;

use elman::{Batch, Cell, Error, Float, Learner, Network, Params, Recurrence, Tagger};
use elman_reference::Reference;
use elman_verify::{Against, Options, Report, check_agreement, check_learner, check_recurrence};
use mutation::{Mutation, ORDERS};
use subject::Subject;

fn environment(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |value| value.parse().unwrap())
}

/// The largest part of an allowance that a report found in use. An allowance as large as the tensor itself says nothing.
fn worst(report: &Report) -> f64 {
    let measured = report.measurements.iter().filter(|found| found.worst.allowed < found.scale);
    measured.map(|found| found.worst.ratio()).fold(0.0, f64::max)
}

/// Random cases of the parts that compare with the tolerance alone, each in the next order of summation.
fn use_of_allowance<T: Float>(options: &Options, cases: std::ops::Range<usize>) -> f64
where
    Subject: Network<T> + Recurrence<T>,
{
    let mut most = [("", 0.0); ORDERS.len()];
    let mut sum: Option<Report> = None;
    for case in cases {
        let (name, order) = ORDERS[case % ORDERS.len()];
        let subject = Subject::new(Mutation::Sound, order);
        for part in ["agreement", "learner", "recurrence-large"] {
            let one = options.clone().only(format!("{part}/{case}"));
            let report = match part {
                "agreement" => check_agreement::<T>(&subject, &one),
                "learner" => check_learner::<T>(&subject, &one),
                _ => check_recurrence::<T>("subject", &subject, &one),
            };
            assert!(report.failures.is_empty(), "{name}: {report}");
            let most = &mut most[case % ORDERS.len()];
            *most = (name, f64::max(most.1, worst(&report)));
            match &mut sum {
                None => sum = Some(report),
                Some(sum) => sum.extend(report),
            }
        }
    }
    let sum = sum.unwrap();
    let blind: usize = sum.measurements.iter().map(|m| m.blind).sum();
    let entries: usize = sum.measurements.iter().map(|m| m.entries).sum();
    println!("{} of {entries} entries blind, in {}", blind, T::NAME);
    println!("{sum}");
    for (name, most) in most {
        println!("{name:<30} uses {most:.3} of the allowance at worst");
    }
    worst(&sum)
}

#[test]
fn sound_orders_of_summation_pass_and_use_a_good_part_of_the_allowance() {
    let options = Options::new().cases(1000);
    let most = [use_of_allowance::<f32>(&options, 0..33), use_of_allowance::<f64>(&options, 33..66)];
    // Of so few cases; of 10,000 it is a fifth at least.
    assert!(most.into_iter().all(|most| (0.1..=1.0).contains(&most)), "{most:?}");
}

/// The reference with an error in one entry of the gradient.
struct Planted<'a> {
    tensor: &'a str,
    index: &'a [usize],
    error: f64,
}

impl<T: Float> Network<T> for Planted<'_> {
    fn name(&self) -> String {
        "planted".to_string()
    }
    fn learner(&self, params: Params<T>) -> Result<Box<dyn Learner<T>>, Error> {
        Network::learner(&Reference::new(), params)
    }
    fn tagger(&self, params: &Params<T>) -> Result<Box<dyn Tagger<T>>, Error> {
        Network::tagger(&Reference::new(), params)
    }
    fn gradient(&self, params: &Params<T>, batch: Batch<'_>, grad: &mut Params<T>) -> Result<T, Error> {
        let loss = Network::gradient(&Reference::new(), params, batch, grad)?;
        for (name, mut tensor) in grad.tensors_mut() {
            if name.as_str() == self.tensor {
                tensor[self.index] += T::from_f64(self.error);
            }
        }
        Ok(loss)
    }
}

#[test]
fn an_error_of_ten_times_the_allowance_is_refused() {
    let mut planted = 0;
    for case in 0..12 {
        let options = Options::new().shrink(0).only(format!("agreement/{case}"));
        let sound = check_agreement::<f32>(&Reference::new(), &options);
        for measurement in sound.measurements.iter().filter(|m| m.against == Against::Reference) {
            let (tensor, entry) = (measurement.tensor, &measurement.worst);
            if matches!(tensor, "s" | "loss") || !entry.allowed.is_finite() {
                continue;
            }
            // An allowance of 0 is for results that must be exact.
            let error = if entry.allowed > 0.0 { 10.0 * entry.allowed } else { 1e-6 };
            let broken = Planted { tensor, index: &entry.index, error };
            let report = check_agreement::<f32>(&broken, &options);
            assert!(
                !report.failures.is_empty(),
                "{case}: {tensor}{:?} + {error:e} was accepted",
                entry.index
            );
            planted += 1;
        }
    }
    assert!(planted > 50, "{planted}");
}

#[test]
#[ignore = "takes an hour"]
fn ten_thousand_cases_of_each_cell() {
    let cases = environment("CASES", 10_000) as usize;
    let options = Options::new().seed(environment("SEED", 1)).cases(2 * cases);
    for cell in Cell::ALL {
        println!("{cell}");
        let options = options.clone().cells(&[cell]);
        let most = [use_of_allowance::<f32>(&options, 0..cases), use_of_allowance::<f64>(&options, 0..cases)];
        assert!(most.into_iter().all(|most| (0.2..=1.0).contains(&most)), "{cell}: {most:?}");
    }
}

#[test]
#[ignore = "takes an hour"]
fn two_hundred_seeds_of_large_cases_in_every_order() {
    for seed in 0..environment("SEEDS", 200) {
        for case in [8, 22] {
            let options = Options::new().seed(seed).only(format!("recurrence-large/{case}"));
            for (name, order) in ORDERS {
                let report = check_recurrence::<f32>(name, &Subject::new(Mutation::Sound, order), &options);
                assert!(report.failures.is_empty(), "{report}");
            }
        }
    }
}
