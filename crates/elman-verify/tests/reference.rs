//! The reference through the whole suite, in both number types.

use elman_reference::Reference;
use elman_verify::{Options, Report, check, check_recurrence};

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

/// 10,000 cases in each number type, of the network and of the recurrence alone:
/// `cargo test --release -p elman-verify --test reference -- --ignored --nocapture`
mod ten_thousand_cases {
    use super::*;

    fn options() -> Options {
        let seed = std::env::var("SEED").map_or(1, |seed| seed.parse().unwrap());
        super::options().seed(seed).cases(10_000)
    }

    fn passed(report: &Report) {
        println!("{report}");
        report.assert_passed();
    }

    #[test]
    #[ignore = "takes some ten minutes"]
    fn of_the_network_in_f64() {
        passed(&check::<f64>(&Reference::new(), &options()));
    }

    #[test]
    #[ignore = "takes some ten minutes"]
    fn of_the_network_in_f32() {
        passed(&check::<f32>(&Reference::new(), &options()));
    }

    #[test]
    #[ignore = "takes some ten minutes"]
    fn of_the_recurrence_in_f64() {
        passed(&check_recurrence::<f64>("reference", &Reference::new(), &options()));
    }

    #[test]
    #[ignore = "takes some ten minutes"]
    fn of_the_recurrence_in_f32() {
        passed(&check_recurrence::<f32>("reference", &Reference::new(), &options()));
    }
}
