//! The reference through the whole suite, in both number types. `elman verify --kernel reference` has 350 cases, which
//! take some ten times as long.

use elman_reference::Reference;
use elman_verify::{Options, Report, check, check_recurrence};

fn passed(report: &Report) {
    println!("{report}");
    report.assert_passed();
}

#[test]
fn the_reference_in_f64() {
    passed(&check::<f64>(&Reference::new(), &Options::new().cases(60)));
}

#[test]
fn the_reference_in_f32() {
    passed(&check::<f32>(&Reference::new(), &Options::new().cases(60)));
}

#[test]
fn the_recurrence_of_the_reference() {
    passed(&check_recurrence::<f64>("reference", &Reference::new(), &Options::new().cases(80)));
    passed(&check_recurrence::<f32>("reference", &Reference::new(), &Options::new().cases(80)));
}
