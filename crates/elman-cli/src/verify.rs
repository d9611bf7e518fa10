use std::collections::BTreeSet;
use std::path::PathBuf;

use elman::{Network, Recurrence};
use elman_digest::Digest;
use elman_tagger::{Error, FileKind, write_output};
use elman_verify::{
    Options, Report, check, check_goldens, check_recurrence, check_same_bits, check_same_bits_recurrence,
    html,
};
use indicatif::{ProgressBar, ProgressFinish, ProgressStyle};
use serde_json::{Map, json};

use crate::command::CommandArgs;
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
    /// Compares instead the digests of this machine's results, bit for bit, with those of the standard of bits
    #[arg(long, conflicts_with_all = ["cases", "seed", "case", "report"])]
    same_bits: bool,
    #[command(flatten)]
    kernel: KernelArgs,
    #[command(flatten)]
    command: CommandArgs,
}

/// Whether everything passed.
pub(crate) fn run(args: &Args) -> Result<bool, Error> {
    if args.same_bits {
        return same_bits(args);
    }
    let kernel = args.kernel.implementation()?;
    args.report.as_ref().map_or(Ok(()), |file| check_file(file, FileKind::HTML))?;
    let forms = args.kernel.forms_with_the_same_bits()?;
    // Network and recurrence in both number types, and the forms against each other; of a command the recurrence alone.
    let quarter = args.cases / 4;
    let random = match args.command.is_given() {
        true => 2 * quarter,
        false => 2 * (args.cases + quarter) + if forms.len() > 1 { 3 * (args.cases / 16) } else { 0 },
    };
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
    let judged = args.command.judge(&options.clone().cases(quarter), args.seed)?;
    let mut reports = judged.unwrap_or_else(|| judge(kernel.as_ref(), &forms, &options, args.cases));
    bar.finish_and_clear();
    if args.case.is_some() {
        reports.retain(|report| report.cases > 0);
    }
    if reports.is_empty() {
        let expected = "the name of one, for example gradient/17, doors/batch or recurrence/3";
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

/// A row for each work, a column for each instruction set and one for the standard.
fn same_bits(args: &Args) -> Result<bool, Error> {
    let isas = args.kernel.promised()?;
    let found = isas.iter().map(|isa| elman_digest::digests(*isa)).collect::<Result<Vec<_>, _>>()?;
    let differences: Vec<_> = found.iter().map(|digests| elman_digest::differences(digests)).collect();
    let differing: BTreeSet<&String> = differences.iter().flatten().map(|(work, ..)| work).collect();
    let passed = differing.is_empty();
    if args.json {
        let of = |digests: &[Digest]| -> Map<_, _> {
            digests.iter().map(|digest| (digest.work.clone(), digest.hash.clone().into())).collect()
        };
        let digests: Map<_, _> =
            isas.iter().zip(&found).map(|(isa, found)| (isa.to_string(), of(found).into())).collect();
        print(&format!(
            "{}\n",
            json!({ "passed": passed, "bits": elman::BITS, "digests": digests, "different": differing })
        ))?;
        return Ok(passed);
    }
    let standard = format!("version {}", elman::BITS);
    let mut text = format!("{:26}", "work");
    isas.iter().for_each(|isa| text += &format!("  {:16}", isa.name()));
    text += &format!("  {standard}\n");
    for (i, Digest { work, .. }) in found[0].iter().enumerate() {
        text += &format!("{work:26}");
        found.iter().for_each(|digests| text += &format!("  {:16}", digests[i].hash));
        text += if differing.contains(work) { "  DIFFERENT\n" } else { "  same\n" };
    }
    // Also the works that only the standard has.
    for (work, found, expected) in differences.iter().flatten() {
        text += &format!("{work}: found {found}, expected {expected}\n");
    }
    print(&text)?;
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
