//! The reference through the whole suite, in both number types.

use elman_reference::Reference;
use elman_verify::{Options, check, check_recurrence};

fn options() -> Options {
    Options::new()
}

#[test]
fn the_reference_in_f64() {
    let report = check::<f64>(&Reference::new(), &options());
    report.assert_passed();
    println!("{report}");
}

#[test]
fn the_reference_in_f32() {
    let report = check::<f32>(&Reference::new(), &options());
    report.assert_passed();
    println!("{report}");
}

#[test]
fn the_recurrence_of_the_reference() {
    let f64s = check_recurrence::<f64>("reference", &Reference::new(), &options().cases(80));
    f64s.assert_passed();
    let f32s = check_recurrence::<f32>("reference", &Reference::new(), &options().cases(80));
    f32s.assert_passed();
    println!("{f64s}{f32s}");
}

/// `cargo test -p elman-verify --test reference --release -- --ignored --nocapture`
#[test]
#[ignore = "takes minutes: 10,000 cases in each number type"]
fn ten_thousand_cases() {
    let seed = std::env::var("SEED").map_or(1, |seed| seed.parse().unwrap());
    let options = options().seed(seed).cases(10_000);
    let network = [check::<f64>(&Reference::new(), &options), check::<f32>(&Reference::new(), &options)];
    let recurrence = [
        check_recurrence::<f64>("reference", &Reference::new(), &options),
        check_recurrence::<f32>("reference", &Reference::new(), &options),
    ];
    for report in network.iter().chain(&recurrence) {
        println!("{report}");
    }
    assert!(network.iter().chain(&recurrence).all(|report| report.passed()));
}
