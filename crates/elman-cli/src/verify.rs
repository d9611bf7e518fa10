use std::path::PathBuf;

use elman::{Network, Recurrence};
use elman_tagger::{Error, FileKind, write_output};
use elman_verify::{
    Options, Report, check, check_goldens, check_recurrence, check_same_bits, check_same_bits_recurrence,
    html,
};
use indicatif::{ProgressBar, ProgressFinish, ProgressStyle};
use serde_json::json;

use crate::kernels::{Implementation, KernelArgs};
use crate::output::{check_file, print};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Random cases of the network in each number type; of the recurrence alone a quarter as many
    #[arg(long, value_name = "N", default_value_t = 350)]
    cases: usize,
    /// Seed of the random cases
    #[arg(long, value_name = "N", default_value_t = 42)]
    seed: u64,
    /// Runs one case alone, by the name that a failure gives it
    #[arg(long, value_name = "CASE")]
    case: Option<String>,
    /// Print one JSON object instead of the tables
    #[arg(long)]
    json: bool,
    /// Also writes an HTML page: how near the errors come to what is allowed
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    #[command(flatten)]
    kernel: KernelArgs,
}

/// Whether everything passed.
pub(crate) fn run(args: &Args) -> Result<bool, Error> {
    let kernel = args.kernel.implementation()?;
    args.report.as_ref().map_or(Ok(()), |file| check_file(file, FileKind::HTML))?;
    let forms = args.kernel.forms_with_the_same_bits()?;
    // Network and recurrence in both number types, and the forms against each other.
    let random = 2 * (args.cases + args.cases / 4) + if forms.len() > 1 { 3 * (args.cases / 16) } else { 0 };
    let bar = ProgressBar::new(random as u64).with_finish(ProgressFinish::AndClear).with_style(
        ProgressStyle::with_template("{wide_bar} {pos}/{len} cases, {msg}")
            .expect("a template known to be right"),
    );
    let shown = bar.clone();
    let mut options = Options::new().seed(args.seed).cases(args.cases).progress(move |case| {
        if case.rsplit('/').next().is_some_and(|id| id.bytes().all(|b| b.is_ascii_digit())) {
            shown.inc(1);
        }
        shown.set_message(case.to_owned());
    });
    if let Some(case) = &args.case {
        options = options.only(case);
    }
    let mut reports = judge(kernel.as_ref(), &forms, &options, args.cases);
    bar.finish_and_clear();
    if args.case.is_some() {
        reports.retain(|report| report.cases > 0);
    }
    if reports.is_empty() {
        let expected = "the name of one, for example gradient/17 or doors/batch";
        return Err(Error::unsupported("case", expected, args.case.clone().unwrap_or_default()));
    }
    if let Some(file) = &args.report {
        write_output(file, FileKind::HTML, html(&reports)?.as_bytes())?;
    }
    let passed = reports.iter().all(Report::passed);
    print(&if args.json {
        format!("{}\n", json!({ "passed": passed, "reports": reports }))
    } else {
        reports.iter().map(|report| format!("{report}\n")).collect()
    })?;
    Ok(passed)
}

fn judge(
    kernel: &dyn Implementation,
    forms: &[Box<dyn Implementation>],
    options: &Options,
    cases: usize,
) -> Vec<Report> {
    let single: &dyn Network<f32> = kernel;
    let double: &dyn Network<f64> = kernel;
    let name = single.name();
    let quarter = options.clone().cases(cases / 4);
    let mut reports = vec![check(single, options), check(double, options), check_goldens(double, options)];
    reports.push(check_recurrence::<f32>(&name, kernel, &quarter));
    reports.push(check_recurrence::<f64>(&name, kernel, &quarter));
    if forms.len() > 1 {
        let few = options.clone().cases(cases / 16);
        let singles: Vec<&dyn Network<f32>> = forms.iter().map(|form| form.as_ref() as _).collect();
        let doubles: Vec<&dyn Network<f64>> = forms.iter().map(|form| form.as_ref() as _).collect();
        let names: Vec<String> = singles.iter().map(|form| form.name()).collect();
        let recurrences: Vec<(&str, &dyn Recurrence<f32>)> =
            names.iter().zip(forms).map(|(name, form)| (name.as_str(), form.as_ref() as _)).collect();
        reports.push(check_same_bits(&singles, &few));
        reports.push(check_same_bits(&doubles, &few));
        reports.push(check_same_bits_recurrence(&recurrences, &few));
    }
    reports
}
