//! Implementations broken on purpose: the suite must reject every one, and accept what they were made from.
//!
//! `cargo test -p elman-verify --test mutants -- --nocapture` prints by which check, and where.
#![allow(missing_docs)] // The names of the mutations say what they are.

mod mutation;
mod subject;
mod units;

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use elman::Network;
use elman_verify::{Options, Report, check, check_recurrence};
use mutation::{Mutation, ORDERS, all};
use subject::Subject;

/// The first report with a failure: a few cases in `f64` and `f32`, then all cases.
fn judge(subject: &Subject) -> Option<Report> {
    let (double, single): (&dyn Network<f64>, &dyn Network<f32>) = (subject, subject);
    type Part<'a> = &'a dyn Fn(&Options) -> Report;
    let parts: [Part<'_>; 4] = [
        &|options| check_recurrence::<f32>("subject", subject, options),
        &|options| check(double, options),
        &|options| check_recurrence::<f64>("subject", subject, options),
        &|options| check(single, options),
    ];
    let options = Options::new().shrink(0);
    let few = parts.iter().map(|part| part(&options.clone().cases(25)));
    let all = parts.iter().map(|part| part(&options));
    few.chain(all).find(|report| !report.failures.is_empty())
}

#[test]
fn the_suite_accepts_what_the_mutants_are_made_from() {
    let subject = Subject::new(Mutation::Sound, ORDERS[0].1);
    for report in [
        check::<f32>(&subject, &Options::new().cases(25)),
        check::<f64>(&subject, &Options::new().cases(25)),
        check_recurrence::<f32>("subject", &subject, &Options::new().cases(25)),
    ] {
        report.assert_passed();
    }
}

#[test]
fn the_suite_rejects_every_mutant() {
    // A mutant that panics is a failure like any other; its message would only be noise.
    std::panic::set_hook(Box::new(|_| {}));
    let (all, next) = (all(), AtomicUsize::new(0));
    let accepted = std::sync::Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let Some(mutation) = all.get(next.fetch_add(1, Relaxed)) {
                    let start = std::time::Instant::now();
                    let report = judge(&Subject::new(*mutation, ORDERS[0].1));
                    let seconds = start.elapsed().as_secs_f64();
                    match report {
                        Some(report) => {
                            let (failure, name) = (&report.failures[0], format!("{mutation:?}"));
                            println!(
                                "{name:<34} {seconds:>5.1}s {} {:<18} {}",
                                report.number, failure.case, failure.message
                            );
                        }
                        None => accepted.lock().unwrap().push(*mutation),
                    }
                }
            });
        }
    });
    let _ = std::panic::take_hook();
    let accepted = accepted.into_inner().unwrap();
    assert!(accepted.is_empty(), "accepted: {accepted:?}");
}
