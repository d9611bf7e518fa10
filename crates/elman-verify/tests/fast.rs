//! elman-fast through the whole suite: every instruction set that this CPU has, 1 to 8 threads.

use elman::{Network, Recurrence};
use elman_fast::{Fast, Isa};
use elman_verify::{
    Options, Report, check, check_goldens, check_recurrence, check_same_bits, check_same_bits_recurrence,
};

fn options() -> Options {
    Options::new().cases(30)
}

fn passed(report: Report) {
    report.assert_passed();
    println!("{report}");
}

#[test]
fn every_instruction_set_passes() {
    for isa in Isa::available() {
        let fast = Fast::with(isa).unwrap();
        passed(check::<f64>(&fast, &options()));
        passed(check::<f32>(&fast, &options()));
        let name = Network::<f32>::name(&fast);
        passed(check_recurrence::<f64>(&name, &fast, &options().cases(16)));
        passed(check_recurrence::<f32>(&name, &fast, &options().cases(16)));
        passed(check_goldens(&fast, &options()));
    }
}

#[test]
fn threads_and_instruction_sets_give_the_same_bits() {
    let mut forms: Vec<Fast> = Vec::new();
    for isa in Isa::available().into_iter().filter(|isa| isa.is_fused()) {
        println!("{}", isa.name());
        for threads in [1, 2, 3, 8] {
            forms.push(Fast::with(isa).unwrap().threads(threads).unwrap());
        }
    }
    if forms.is_empty() {
        println!("this CPU has no instruction set that promises the same bits: nothing to compare");
        return;
    }
    let options = Options::new().cases(5);
    let networks: Vec<&dyn Network<f32>> = forms.iter().map(|form| form as &dyn Network<f32>).collect();
    passed(check_same_bits(&networks, &options));
    let networks: Vec<&dyn Network<f64>> = forms.iter().map(|form| form as &dyn Network<f64>).collect();
    passed(check_same_bits(&networks, &options));
    let names: Vec<String> = networks.iter().map(|form| form.name()).collect();
    let recurrences: Vec<(&str, &dyn Recurrence<f32>)> =
        names.iter().zip(&forms).map(|(name, form)| (name.as_str(), form as &dyn Recurrence<f32>)).collect();
    passed(check_same_bits_recurrence(&recurrences, &options));
}
