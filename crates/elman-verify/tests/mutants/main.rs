//! Implementations broken on purpose: the suite must reject every one, and accept what they were made from.
//!
//! `cargo test -p elman-verify --test mutants -- --nocapture` prints by which check, and where. `SEED` asks for other cases.
#![allow(missing_docs)] // The names of the mutations say what they are.

mod mutation;
mod subject;
mod units;

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use elman::{Name, Network};
use elman_verify::{Options, Report, check, check_recurrence};
use mutation::{Mutation, Mutation::*, ORDERS, Size, all};
use subject::Subject;

/// The fixed cases that are likely to reject a mutant that random cases seldom do: they come first.
fn likely(mutation: Mutation) -> &'static [&'static str] {
    match mutation {
        EveryCall(..) | AfterCalls(..) => &["invariance/history", "recurrence/history"],
        InThreads(_) => &["invariance/threads", "recurrence/history"],
        MixedUp(_) => &["recurrence/history"],
        Beyond(Size::Classes, _) => &["agreement/many-labels"],
        Beyond(Size::Hidden | Size::Multiple, _) => &["recurrence/wide"],
        Beyond(Size::Rows | Size::Sequences, _) => &["recurrence/seventy"],
        TreeForgotten | TreeUnbalanced | Beyond(Size::Sentences, _) => &["learner/seventy"],
        StatesFlushed => &["recurrence/subnormal-state"],
        ZeroRowDivided => &["learner/zero-rows"],
        LastOfTies | LastLabelNeverGiven => &["tagger/ties-2"],
        LabelAllReversed => &["tagger/seventy"],
        GradReplaced => &["doors/grad"],
        SequencesUnchecked => &["recurrence/doors"],
        Tensor(Name::Bhn, _) => &["learner/many-steps-gru"],
        Tensor(Name::C0, _) => &["learner/many-steps-lstm"],
        Tensor(Name::Transitions | Name::Start | Name::End, _) => &["learner/many-steps-elman-with-crf"],
        CrfLabelsLastOfTies => &["tagger/crf-ties-2"],
        CrfLabelsOfMarginals | CrfLabelsGreedy | CrfLabelsWithoutEnd => &["tagger/seventy-elman-with-crf"],
        CrfEmissionsOfSoftmax | CrfScoresOfSoftmax | CrfScoresOfForward => &["tagger/seventy-elman-with-crf"],
        _ => &[],
    }
}

/// The first report with a failure: the likely cases, the first random cases of each part and the quick fixed ones, one
/// by one, then more random cases. The tutorial's cell comes with all others, so that a fault of any is met.
fn judge(subject: &Subject, first: &[&str]) -> Option<Report> {
    let (double, single): (&dyn Network<f64>, &dyn Network<f32>) = (subject, subject);
    let run = |case: &str, options: &Options| {
        let options = options.clone().only(case);
        if case.starts_with("recurrence") {
            [
                check_recurrence::<f32>("subject", subject, &options),
                check_recurrence::<f64>("subject", subject, &options),
            ]
        } else {
            [check(double, &options), check(single, &options)]
        }
    };
    let seed = std::env::var("SEED").map_or(42, |seed| seed.parse().unwrap());
    let options = Options::new().seed(seed).cases(100).shrink(0);
    let parts = [
        "gradient",
        "recurrence",
        "learner",
        "adam",
        "tagger",
        "invariance",
        "agreement",
        "recurrence-large",
    ];
    let random = |cases: std::ops::Range<usize>| {
        cases.flat_map(move |case| parts.map(|part| format!("{part}/{case}")))
    };
    let fixed = [
        "doors/batch",
        "doors/grad",
        "recurrence/doors",
        "recurrence/subnormal",
        "recurrence/subnormal-state",
        "recurrence/zero-elman-relu",
        "recurrence/saturated",
        "agreement/saturated",
        "tagger/ties-2",
        "tagger/crf-ties-2",
        "learner/zero-rows",
        "learner/window-1",
        "learner/many-steps-bidirectional-lstm-of-2-layers",
        "learner/many-steps-bidirectional-elman",
        "learner/many-steps-elman-with-crf",
        "tagger/seventy-elman-with-crf",
        "learner/many-steps",
        "learner/seventy",
        "adam/many-steps",
        "adam/window-1",
        "tagger/seventy",
        "tagger/long",
        "agreement/seventy",
        "agreement/long",
        "recurrence/history",
        "recurrence/seventy",
        "invariance/history",
        "invariance/threads",
        "doors/batch-gru",
        "recurrence/history-gru",
        "learner/many-steps-gru",
        "recurrence/wide",
        "agreement/many-labels",
        "agreement/widest",
        "agreement/wider",
        "agreement/wide",
    ];
    let first = first.iter().map(ToString::to_string);
    let cases = first.chain(random(0..6)).chain(fixed.map(str::to_string)).chain(random(6..20));
    cases.flat_map(|case| run(&case, &options)).find(|report| !report.failures.is_empty())
}

#[test]
fn the_suite_accepts_what_the_mutants_are_made_from() {
    if let Some(report) = judge(&Subject::new(Mutation::Sound, ORDERS[0].1), &[]) {
        panic!("\n{report}");
    }
}

#[test]
fn the_suite_rejects_every_mutant() {
    // A mutant that panics is a failure like any other; its message would only be noise.
    std::panic::set_hook(Box::new(|_| {}));
    // `MUTANT` asks for those whose names contain it.
    let asked = std::env::var("MUTANT").unwrap_or_default();
    let all: Vec<_> = all().into_iter().filter(|mutation| format!("{mutation:?}").contains(&asked)).collect();
    let next = AtomicUsize::new(0);
    let accepted = std::sync::Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let Some(mutation) = all.get(next.fetch_add(1, Relaxed)) {
                    let start = std::time::Instant::now();
                    let report = judge(&Subject::new(*mutation, ORDERS[0].1), likely(*mutation));
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
