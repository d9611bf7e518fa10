//! The findings of the suite: failures, and the worst entry of each tensor.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

/// What the suite found.
///
/// [`Display`](fmt::Display) prints the failures, then a table with one line for each tensor and what it was
/// compared with.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The implementation.
    pub name: String,
    /// Which checks these are, if not those of [`check`](crate::check).
    pub checks: Option<&'static str>,
    /// The number type: `f32` or `f64`.
    pub number: &'static str,
    /// The seed of all random cases.
    pub seed: u64,
    /// The calls on [`Options`](crate::Options) that chose the networks whose problems were taken, if not all.
    pub restricted: Option<String>,
    /// The line that runs a case again, with `{seed}` and `{case}` in the places of these, where it is not
    /// [`Options::only`](crate::Options::only).
    pub again: Option<String>,
    /// How many cases were run.
    pub cases: usize,
    /// How many requirements other than nearness were checked: equal bits, refusals, labels, order.
    pub requirements: usize,
    /// Of a kernel that is judged by its arrays: which results had the same bits where that is not required, by the kind
    /// of the comparison: `repeat`, `batch` (alone and among others), `threads`, `cut`.
    pub bits: BTreeMap<&'static str, SameBits>,
    /// Every tensor of every case, each with its worst entry.
    pub measurements: Vec<Measurement>,
    /// What is wrong.
    pub failures: Vec<Failure>,
    /// For each kind of comparison and each tensor, how near the errors come to what is allowed.
    #[serde(serialize_with = "as_list")]
    pub histograms: BTreeMap<(Against, &'static str), Histogram>,
}

/// How many tensors had the same bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SameBits {
    /// Those that had.
    pub same: usize,
    /// All that were compared.
    pub compared: usize,
}

/// What a tensor was compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Against {
    /// Forward-mode derivatives by dual numbers.
    Duals,
    /// Finite differences.
    Differences,
    /// A derivative along a random direction, by dual numbers or finite differences.
    Directions,
    /// The reference, in `f64`.
    Reference,
    /// The parameters after a step of the reference from the same ones, in `f64`.
    Step,
    /// The same implementation, asked in another way.
    Itself,
    /// Numbers from PyTensor, PyTorch and JAX.
    Golden,
}

impl fmt::Display for Against {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Against::Duals => "duals",
            Against::Differences => "differences",
            Against::Directions => "directions",
            Against::Reference => "reference",
            Against::Step => "step",
            Against::Itself => "itself",
            Against::Golden => "golden",
        })
    }
}

/// One tensor of one case.
#[derive(Clone, Debug, Serialize)]
pub struct Measurement {
    /// The case, for example `gradient/17`.
    pub case: String,
    /// What the tensor was compared with.
    pub against: Against,
    /// The tensor: `s`, `loss`, `h`, `xs`, or a parameter (its gradient, or itself after a step).
    pub tensor: &'static str,
    /// Number of entries compared.
    pub entries: usize,
    /// Number of entries where the allowance is larger than the tensor's largest entry, so that nothing is
    /// said about them: the network amplifies rounding to the size of the result.
    pub blind: usize,
    /// The largest expected entry, without its sign.
    pub scale: f64,
    /// The largest error of an entry, in units of `scale`; 0 if there is no error.
    pub relative: f64,
    /// The entry whose error is the largest part of what is allowed.
    pub worst: Entry,
}

impl Measurement {
    /// The effective bits of the tensor: `-log2` of [`relative`](Measurement::relative), at most 53; `None` if no entry
    /// can be judged.
    pub fn bits(&self) -> Option<f64> {
        // The logarithm of 0 is negative infinity.
        (self.blind < self.entries && self.scale > 0.0).then(|| (-self.relative.log2()).clamp(0.0, 53.0))
    }
}

/// One entry of a tensor.
#[derive(Clone, Debug, Serialize)]
pub struct Entry {
    /// Its place in the tensor.
    pub index: Vec<usize>,
    /// What the implementation gave.
    pub found: f64,
    /// What it should be.
    pub expected: f64,
    /// By how much it may differ.
    pub allowed: f64,
}

impl Entry {
    /// The error as a part of what is allowed: up to 1 is good; infinite if the entry is not a number.
    pub fn ratio(&self) -> f64 {
        let error = (self.found - self.expected).abs();
        if error == 0.0 {
            0.0
        } else if !error.is_finite() || self.allowed == 0.0 {
            f64::INFINITY
        } else {
            error / self.allowed
        }
    }
}

/// Something that is wrong.
#[derive(Clone, Debug, Serialize)]
pub struct Failure {
    /// The case, for example `gradient/17`: [`Options::only`](crate::Options::only) runs it again.
    pub case: String,
    /// What is wrong and where.
    pub message: String,
    /// The message without its numbers: a smaller problem fails in the same way if this is the same.
    #[serde(skip)]
    pub(crate) kind: String,
    /// The network and the sentences of the case.
    pub problem: String,
    /// The smallest network and sentences that were found to be wrong as well, and what is wrong there.
    pub smallest: Option<(String, String)>,
}

/// Counts of entries by their error as a part of what is allowed.
#[derive(Clone, Debug)]
pub struct Histogram {
    /// Entries without any error.
    pub exact: usize,
    /// Entry `i` counts ratios from `10^(i/4 - 8)` to `10^((i+1)/4 - 8)`; the first and last are open.
    pub counts: [usize; Histogram::BINS],
}

impl Histogram {
    /// Number of bins.
    pub const BINS: usize = 40;
    /// The decimal logarithm of a bin's lower end.
    pub fn lower(bin: usize) -> f64 {
        bin as f64 / 4.0 - 8.0
    }

    pub(crate) fn new() -> Self {
        Histogram { exact: 0, counts: [0; Histogram::BINS] }
    }

    pub(crate) fn add(&mut self, ratio: f64) {
        if ratio == 0.0 {
            self.exact += 1;
        } else {
            // A ratio that is no number or infinite goes to the last bin.
            let bin = if ratio.is_finite() { ((ratio.log10() + 8.0) * 4.0).floor() } else { f64::INFINITY };
            self.counts[(bin.max(0.0) as usize).min(Histogram::BINS - 1)] += 1;
        }
    }
}

/// The worst measurement of a tensor over all cases.
#[derive(Clone, Debug, Serialize)]
pub struct Summary<'a> {
    /// What the tensor was compared with.
    pub against: Against,
    /// The tensor.
    pub tensor: &'static str,
    /// In how many cases it was compared.
    pub cases: usize,
    /// How many entries in all.
    pub entries: usize,
    /// How many of them were blind.
    pub blind: usize,
    /// The effective bits of the median case: `-log2` of its largest error in units of its largest entry. `None` if no
    /// case can be judged.
    pub bits: Option<f64>,
    /// The measurement with the worst entry.
    pub worst: &'a Measurement,
}

impl Report {
    pub(crate) fn new(name: String, number: &'static str, seed: u64, restricted: Option<String>) -> Self {
        Report {
            name,
            checks: None,
            number,
            seed,
            restricted,
            again: None,
            cases: 0,
            requirements: 0,
            bits: BTreeMap::new(),
            measurements: Vec::new(),
            failures: Vec::new(),
            histograms: BTreeMap::new(),
        }
    }

    /// `fast/avx2 (f64), goldens`: the implementation, the number type, and the checks if they are not all of a network's.
    pub fn title(&self) -> String {
        let checks = self.checks.map_or(String::new(), |checks| format!(", {checks}"));
        format!("{} ({}){checks}", self.name, self.number)
    }

    /// Passed, or how many failures there are.
    pub fn outcome(&self) -> String {
        match (self.failures.len(), self.cases) {
            (0, 0) => "nothing was checked".to_string(),
            (0, _) => "passed".to_string(),
            (failures, _) => format!("{failures} failed"),
        }
    }

    /// Whether nothing is wrong, and something was checked.
    pub fn passed(&self) -> bool {
        self.failures.is_empty() && self.cases > 0
    }

    /// Panics with the whole report if something is wrong: for tests.
    ///
    /// # Panics
    /// The report has failures, or no case was run.
    #[track_caller]
    pub fn assert_passed(&self) {
        assert!(self.passed(), "\n{self}");
    }

    /// Adds what another part of the suite found about the same implementation.
    pub fn extend(&mut self, other: Report) {
        self.cases += other.cases;
        self.requirements += other.requirements;
        for (kind, SameBits { same, compared }) in other.bits {
            let bits = self.bits.entry(kind).or_default();
            bits.same += same;
            bits.compared += compared;
        }
        self.measurements.extend(other.measurements);
        self.failures.extend(other.failures);
        for (key, histogram) in other.histograms {
            let sum = self.histograms.entry(key).or_insert_with(Histogram::new);
            sum.exact += histogram.exact;
            sum.counts.iter_mut().zip(histogram.counts).for_each(|(sum, count)| *sum += count);
        }
    }

    /// One line for each tensor and what it was compared with.
    pub fn summaries(&self) -> Vec<Summary<'_>> {
        let mut lines: BTreeMap<(Against, &'static str), (Summary<'_>, Vec<f64>)> = BTreeMap::new();
        for m in &self.measurements {
            let (line, bits) = lines.entry((m.against, m.tensor)).or_insert((
                Summary {
                    against: m.against,
                    tensor: m.tensor,
                    cases: 0,
                    entries: 0,
                    blind: 0,
                    bits: None,
                    worst: m,
                },
                Vec::new(),
            ));
            bits.extend(m.bits());
            line.cases += 1;
            line.entries += m.entries;
            line.blind += m.blind;
            if m.worst.ratio() > line.worst.worst.ratio() {
                line.worst = m;
            }
        }
        let lines = lines.into_values().map(|(line, mut bits)| {
            bits.sort_by(f64::total_cmp);
            Summary { bits: bits.get(bits.len() / 2).copied(), ..line }
        });
        lines.collect()
    }

    /// `fast/avx2: wh[3,17] = 0.0121, expected 0.0119, allowed 2e-6, seed 42`.
    pub(crate) fn place(&self, tensor: &str, entry: &Entry) -> String {
        let index = entry.index.iter().map(usize::to_string).collect::<Vec<_>>().join(",");
        let index = if index.is_empty() { index } else { format!("[{index}]") };
        format!(
            "{}: {tensor}{index} = {}, expected {}, allowed {:.1e}, seed {}",
            self.name,
            number(entry.found),
            number(entry.expected),
            entry.allowed,
            self.seed
        )
    }
}

/// All digits, with an exponent where there would be many zeros.
fn number(value: f64) -> String {
    let plain = value == 0.0 || (1e-4..1e15).contains(&value.abs());
    if plain { value.to_string() } else { format!("{value:e}") }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.message)?;
        writeln!(f, "    case {}: {}", self.case, self.problem)?;
        if let Some((problem, message)) = &self.smallest {
            writeln!(f, "    smallest: {message}")?;
            writeln!(f, "    with {problem}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for failure in &self.failures {
            write!(f, "FAILED {failure}")?;
            let (seed, case) = (self.seed, &failure.case);
            if let Some(line) = &self.again {
                let line = line.replace("{seed}", &seed.to_string()).replace("{case}", case);
                writeln!(f, "    again: {line}\n")?;
                continue;
            }
            write!(f, "    again: Options::new().seed({seed})")?;
            match &self.restricted {
                None => writeln!(f, ".only(\"{case}\"), or elman verify --seed {seed} --case {case}\n")?,
                Some(calls) => writeln!(f, "{calls}.only(\"{case}\")\n")?,
            }
        }
        let entries: usize = self.measurements.iter().map(|m| m.entries).sum();
        writeln!(
            f,
            "{}: {}; {} cases, {entries} entries, {} other requirements, seed {}",
            self.title(),
            self.outcome(),
            self.cases,
            self.requirements,
            self.seed
        )?;
        for (kind, SameBits { same, compared }) in &self.bits {
            writeln!(f, "same bits, {kind}: {same} of {compared} tensors")?;
        }
        if self.measurements.is_empty() {
            return Ok(());
        }
        writeln!(
            f,
            "{:<12} {:<7} {:>6} {:>9} {:>7} {:>5} {:>9} {:>9} {:>9}  worst entry",
            "against", "", "cases", "entries", "blind", "bits", "error", "allowed", "ratio"
        )?;
        for line in self.summaries() {
            let worst = &line.worst.worst;
            let index = worst.index.iter().map(usize::to_string).collect::<Vec<_>>().join(",");
            writeln!(
                f,
                "{:<12} {:<7} {:>6} {:>9} {:>7} {:>5} {:>9.1e} {:>9.1e} {:>9.4}  [{index}] of {}",
                line.against,
                line.tensor,
                line.cases,
                line.entries,
                line.blind,
                line.bits.map_or("-".to_string(), |bits| format!("{bits:.1}")),
                (worst.found - worst.expected).abs(),
                worst.allowed,
                worst.ratio(),
                line.worst.case
            )?;
        }
        Ok(())
    }
}

fn as_list<S: serde::Serializer>(
    histograms: &BTreeMap<(Against, &'static str), Histogram>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct Line<'a> {
        against: Against,
        tensor: &'static str,
        exact: usize,
        counts: &'a [usize],
    }
    serializer.collect_seq(histograms.iter().map(|((against, tensor), histogram)| Line {
        against: *against,
        tensor,
        exact: histogram.exact,
        counts: &histogram.counts,
    }))
}
