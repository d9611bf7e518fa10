//! Kernels that are asked by arrays: sound ones pass in every order of summation and in each arithmetic, faults are
//! refused, and a kernel that does not answer is named.
#![allow(missing_docs, dead_code)] // Shared with the mutants, whose names say what they are.

#[path = "mutants/mutation.rs"]
mod mutation;
#[path = "mutants/subject.rs"]
mod subject;
#[path = "mutants/units.rs"]
mod units;

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use elman::ndarray::{Array2, ArrayView2, ArrayViewD, Ix1, Ix2};
use elman::{Cell, Float, LayerParams, LayerShape, Recurrence, Sequences};
use elman_verify::{
    Abilities, Answer, Arithmetic, FailingCase, Given, Kernel, Options, Report, Trouble, check_kernel,
};
use mutation::{Mutation, ORDERS, Size};
use subject::Subject;

const EVERYTHING: Abilities = Abilities { gradients: true, initial: true, threads: true };

/// A recurrence behind the door of arrays.
struct ByArrays<R> {
    recurrence: R,
    abilities: Abilities,
}

fn matrix<'a, T: Float>(view: &'a ArrayViewD<'_, T>) -> ArrayView2<'a, T> {
    view.view().into_dimensionality::<Ix2>().unwrap()
}

impl<T: Float, R: Recurrence<T>> Kernel<T> for ByArrays<R> {
    fn name(&self) -> String {
        "mine".to_string()
    }

    fn abilities(&self) -> Abilities {
        self.abilities
    }

    fn call(&self, given: &Given<'_, T>) -> Result<Answer<T>, Trouble> {
        let find = |name: &str| given.tensors.iter().find(|(found, _)| *found == name).map(|(_, view)| view);
        let xs = matrix(find("xs").unwrap());
        let (input, hidden) = (xs.ncols(), find("h0").unwrap().len());
        let mut layer = LayerParams::zeros(LayerShape { input, hidden, cell: given.cell }).unwrap();
        layer.tensors_mut().for_each(|(name, mut tensor)| tensor.assign(find(name.as_str()).unwrap()));
        let run = || {
            let mut xs = Sequences::new(xs, given.lengths)?;
            let initial = find("initial").map(matrix);
            if let Some(initial) = &initial {
                xs = xs.starting_from(initial.view())?;
            }
            let mut answer = Answer::new();
            match find("dh") {
                None => {
                    let states = self.recurrence.forward(layer.layer(), &xs)?;
                    answer.insert("h".to_string(), states.h.into_dyn());
                    answer.insert("last".to_string(), states.last.into_dyn());
                }
                Some(dh) => {
                    let trace = self.recurrence.vjp(layer.layer(), &xs)?;
                    let gradient = trace.backward(matrix(dh), find("dlast").map(matrix))?;
                    answer.insert("h".to_string(), trace.h().to_owned().into_dyn());
                    answer.insert("last".to_string(), trace.last().to_owned().into_dyn());
                    answer.insert("xs".to_string(), gradient.xs.into_dyn());
                    answer.insert("initial".to_string(), gradient.initial.into_dyn());
                    let tensors = gradient.layer.tensors();
                    answer.extend(tensors.map(|(name, tensor)| (name.to_string(), tensor.to_owned())));
                }
            }
            Ok::<_, elman::Error>(answer)
        };
        run().map_err(|error| Trouble::new(error.to_string()))
    }
}

fn judge<T: Float, R: Recurrence<T> + 'static>(
    recurrence: R,
    abilities: Abilities,
    options: &Options,
) -> (Report, Option<FailingCase<T>>) {
    check_kernel(Box::new(ByArrays { recurrence, abilities }), options).unwrap()
}

#[test]
fn sound_orders_pass_and_report_their_bits() {
    for (i, (name, order)) in ORDERS.into_iter().enumerate().step_by(2) {
        let subject = || Subject::new(Mutation::Sound, order);
        let abilities = Abilities { gradients: i % 3 > 0, initial: i % 4 > 0, threads: i == 2 };
        let cell = Cell::ALL[i % Cell::ALL.len()];
        let options = Options::new().seed(i as u64).cases(4).cells(&[cell]);
        let (single, failing) = judge::<f32, _>(subject(), abilities, &options);
        assert!(single.passed() && failing.is_none(), "{name}: {single}");
        let (double, _) = judge::<f64, _>(subject(), abilities, &options);
        assert!(double.passed(), "{name}: {double}");
        let repeat = single.bits["repeat"];
        assert!(repeat.same == repeat.compared && repeat.compared >= 200, "{repeat:?}");
        assert_eq!(single.bits.contains_key("threads"), abilities.threads);
        for (report, least, most) in [(&single, 20.0, 25.0), (&double, 48.0, 53.0)] {
            let h = report.summaries().into_iter().find(|line| line.tensor == "h").unwrap();
            assert!((least..=most).contains(&h.bits.unwrap()), "{name}: {report}");
        }
        let has_gradient = single.summaries().iter().any(|line| line.tensor == "wx");
        assert_eq!(has_gradient, abilities.gradients);
    }
}

/// A fault of the answers of a sound kernel.
#[derive(Clone, Copy, Debug)]
enum Wrong {
    Negated(&'static str),
    Doubled(&'static str),
    /// The largest entry, by 0.1%.
    Largest(&'static str),
    LastEntryDropped(&'static str),
    /// Every 150th answer in a last bit.
    Rarely,
    /// Every answer after the hundredth.
    Later,
    /// While another call is under way.
    InThreads,
}

struct Faulty {
    sound: ByArrays<Subject>,
    wrong: Wrong,
    calls: AtomicUsize,
    inside: AtomicUsize,
}

impl Kernel<f64> for Faulty {
    fn name(&self) -> String {
        format!("{:?}", self.wrong)
    }
    fn abilities(&self) -> Abilities {
        self.sound.abilities
    }
    fn call(&self, given: &Given<'_, f64>) -> Result<Answer<f64>, Trouble> {
        let (call, others) = (self.calls.fetch_add(1, Relaxed), self.inside.fetch_add(1, Relaxed));
        let mut answer = self.sound.call(given)?;
        self.inside.fetch_sub(1, Relaxed);
        let strikes = match self.wrong {
            Wrong::Rarely => call % 150 == 149,
            Wrong::Later => call > 100,
            Wrong::InThreads => others > 0,
            Wrong::Negated(name)
            | Wrong::Doubled(name)
            | Wrong::Largest(name)
            | Wrong::LastEntryDropped(name) => {
                if let (Some(tensor), true) = (answer.get_mut(name), given.backward()) {
                    match self.wrong {
                        Wrong::Negated(_) => tensor.mapv_inplace(|v| -v),
                        Wrong::Doubled(_) => tensor.mapv_inplace(|v| 2.0 * v),
                        Wrong::Largest(_) => {
                            let largest =
                                tensor.iter_mut().reduce(|a, b| if b.abs() > a.abs() { b } else { a });
                            largest.into_iter().for_each(|v| *v *= 1.001);
                        }
                        _ => tensor.iter_mut().last().into_iter().for_each(|v| *v = 0.0),
                    }
                }
                false
            }
        };
        if strikes {
            answer.values_mut().for_each(|tensor| tensor.mapv_inplace(|v| f64::from_bits(v.to_bits() ^ 1)));
        }
        Ok(answer)
    }
}

#[test]
fn faults_are_refused() {
    let sound = || ByArrays { recurrence: Subject::new(Mutation::Sound, ORDERS[0].1), abilities: EVERYTHING };
    let mut wrongs = vec![Wrong::Rarely, Wrong::Later, Wrong::InThreads];
    for name in ["h", "last", "xs", "initial", "wx", "wh", "bh", "bhn", "h0", "c0"] {
        let of = [Wrong::Negated, Wrong::Doubled, Wrong::Largest, Wrong::LastEntryDropped];
        wrongs.extend(of.map(|wrong| wrong(name)));
    }
    let options = Options::new().cases(24).shrink(0);
    for wrong in wrongs {
        let (calls, inside) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let (report, _) =
            check_kernel(Box::new(Faulty { sound: sound(), wrong, calls, inside }), &options).unwrap();
        assert!(!report.passed(), "{report}");
    }
    // Those of the subject that are not of the network alone. An overflow in large numbers takes more cases.
    let of_a_recurrence = |mutation: &Mutation| match mutation {
        Mutation::Sequence(_) | Mutation::Beyond(Size::Sequences, _) => true,
        Mutation::Unit(fault) => *fault != 3,
        other => ["SequencesBleed", "EqualLengths"].contains(&format!("{other:?}").as_str()),
    };
    let mutations: Vec<Mutation> = mutation::all().into_iter().filter(of_a_recurrence).collect();
    assert!(mutations.len() > 40, "{}", mutations.len());
    for mutation in mutations {
        let report = judge::<f64, _>(Subject::new(mutation, ORDERS[0].1), EVERYTHING, &options).0;
        assert!(!report.passed(), "{mutation:?}: {report}");
    }
}

/// An Elman network with tanh whose products are of rounded numbers, added in f32, as a GPU's units do.
struct Narrow {
    round: fn(f32) -> f32,
}

fn truncated(value: f32, digits: u32) -> f32 {
    let half = 1 << (22 - digits);
    f32::from_bits((value.to_bits() + half) & !(2 * half - 1))
}

fn half_precision(value: f32) -> f32 {
    // Gradual underflow below 2^-14.
    let smallest = (2.0f32).powi(-24);
    if value.abs() < (2.0f32).powi(-14) {
        (value / smallest).round() * smallest
    } else {
        truncated(value, 10)
    }
}

impl Narrow {
    fn product(&self, a: ArrayView2<'_, f32>, b: ArrayView2<'_, f32>) -> Array2<f32> {
        a.mapv(self.round).dot(&b.mapv(self.round))
    }
}

impl Kernel<f32> for Narrow {
    fn name(&self) -> String {
        "narrow".to_string()
    }

    fn abilities(&self) -> Abilities {
        Abilities { gradients: true, initial: false, threads: false }
    }

    fn call(&self, given: &Given<'_, f32>) -> Result<Answer<f32>, Trouble> {
        let find = |name: &str| given.tensors.iter().find(|(found, _)| *found == name).map(|(_, view)| view);
        let [xs, wx, wh] = ["xs", "wx", "wh"].map(|name| matrix(find(name).unwrap()));
        let [bh, h0] =
            ["bh", "h0"].map(|name| find(name).unwrap().view().into_dimensionality::<Ix1>().unwrap());
        let mut h = Array2::zeros((xs.nrows(), wh.nrows()));
        let mut before = Array2::zeros(h.raw_dim());
        let mut firsts = Vec::new();
        let from_xs = self.product(xs, wx) + bh;
        let mut t = 0;
        for length in given.lengths {
            firsts.push(t);
            let mut state = h0.to_owned();
            for _ in 0..*length {
                before.row_mut(t).assign(&state);
                let row = state.view().into_shape_with_order((1, state.len())).unwrap();
                let z = self.product(row, wh);
                state = (&from_xs.row(t) + &z.row(0)).mapv(f32::tanh);
                h.row_mut(t).assign(&state);
                t += 1;
            }
        }
        let mut answer = Answer::from([("h".to_string(), h.clone().into_dyn())]);
        if let Some(dh) = find("dh") {
            let dh = matrix(dh);
            let (mut da, mut dh0) = (Array2::zeros(h.raw_dim()), elman::ndarray::Array1::zeros(h0.len()));
            let mut after = Array2::<f32>::zeros((1, h0.len()));
            for t in (0..h.nrows()).rev() {
                let row = (&dh.row(t) + &after.row(0)) * h.row(t).mapv(|h| 1.0 - h * h);
                da.row_mut(t).assign(&row);
                after = self.product(row.view().into_shape_with_order((1, row.len())).unwrap(), wh.t());
                if firsts.contains(&t) {
                    dh0 += &after.row(0);
                    after.fill(0.0);
                }
            }
            answer.insert("xs".to_string(), self.product(da.view(), wx.t()).into_dyn());
            answer.insert("wx".to_string(), self.product(xs.t(), da.view()).into_dyn());
            answer.insert("wh".to_string(), self.product(before.t(), da.view()).into_dyn());
            answer.insert("bh".to_string(), da.sum_axis(elman::ndarray::Axis(0)).into_dyn());
            answer.insert("h0".to_string(), dh0.into_dyn());
        }
        Ok(answer)
    }
}

#[test]
fn a_narrow_arithmetic_passes_as_itself_and_as_no_finer_one() {
    let cells = [Cell::Elman(elman::Activation::Tanh)];
    let options = Options::new().cases(40).cells(&cells).shrink(0);
    for arithmetic in Arithmetic::ALL {
        let (round, digits): (fn(f32) -> f32, f64) = match arithmetic {
            Arithmetic::Tf32 => (|v| truncated(v, 10), 11.0),
            Arithmetic::F16 => (half_precision, 11.0),
            Arithmetic::Bf16 => (|v| truncated(v, 7), 8.0),
        };
        let judged = |as_what| {
            let options = options.clone().arithmetic(as_what);
            check_kernel(Box::new(Narrow { round }), &options).unwrap().0
        };
        let as_itself = judged(Some(arithmetic));
        assert!(as_itself.passed(), "{as_itself}");
        let used = as_itself.measurements.iter().filter(|m| m.worst.allowed < m.scale);
        let used = used.map(|m| m.worst.ratio()).fold(0.0, f64::max);
        assert!((0.05..1.0).contains(&used), "{arithmetic:?} uses {used} of the allowance");
        let bits = as_itself.summaries().into_iter().find(|line| line.tensor == "wx").unwrap().bits.unwrap();
        assert!((digits - 3.0..=digits + 2.0).contains(&bits), "{arithmetic:?}: {bits} bits");
        assert!(!judged(None).passed(), "{arithmetic:?} passed as f32");
    }
    let coarse = Narrow { round: |v| truncated(v, 4) };
    let as_finer = options.clone().arithmetic(Some(Arithmetic::Bf16));
    assert!(!check_kernel(Box::new(coarse), &as_finer).unwrap().0.passed());
    // Of f32 alone.
    let sound = Subject::new(Mutation::Sound, ORDERS[0].1);
    let sound = ByArrays { recurrence: sound, abilities: EVERYTHING };
    let refused = check_kernel::<f64>(Box::new(sound), &as_finer);
    assert!(refused.unwrap_err().to_string().contains("bf16 for f64"));
}

/// A kernel with an answer that is changed before it is given.
struct Changed<F> {
    sound: ByArrays<Subject>,
    change: F,
}

impl<F: Fn(&mut Answer<f32>) -> Result<(), Trouble> + Send + Sync> Kernel<f32> for Changed<F> {
    fn name(&self) -> String {
        "changed".to_string()
    }
    fn abilities(&self) -> Abilities {
        self.sound.abilities
    }
    fn call(&self, given: &Given<'_, f32>) -> Result<Answer<f32>, Trouble> {
        let mut answer = self.sound.call(given)?;
        (self.change)(&mut answer)?;
        Ok(answer)
    }
}

fn refusal(
    change: impl Fn(&mut Answer<f32>) -> Result<(), Trouble> + Send + Sync + 'static,
    options: &Options,
) -> (Report, FailingCase<f32>) {
    let abilities = Abilities { threads: false, ..EVERYTHING };
    let sound = ByArrays { recurrence: Subject::new(Mutation::Sound, ORDERS[0].1), abilities };
    let (report, failing) = check_kernel(Box::new(Changed { sound, change }), options).unwrap();
    (report, failing.expect("a case that failed"))
}

#[test]
fn an_answer_that_is_none_is_named_and_kept() {
    let options = Options::new().cases(20).cells(&[Cell::default()]).only("recurrence/3");
    let options = options.again("program --seed {seed} --case {case}");
    let message = |report: &Report| report.failures[0].message.clone();

    let (report, failing) = refusal(
        |answer| {
            answer.insert("h".to_string(), Array2::zeros((1, 999)).into_dyn());
            Ok(())
        },
        &options,
    );
    assert!(message(&report).starts_with("changed: h has the shape [1, 999], expected ["), "{report}");
    assert!(report.to_string().contains("again: program --seed 42 --case recurrence/3\n"), "{report}");
    assert_eq!(failing.case, "recurrence/3");
    // The smallest: one step, one unit.
    assert_eq!((failing.lengths.as_slice(), failing.given["xs"].shape()), (&[1][..], &[1, 1][..]));
    assert_eq!(failing.found["h"].shape(), [1, 999]);
    let names: Vec<&str> = failing.expected.keys().map(String::as_str).collect();
    assert_eq!(names, ["bh", "h", "h0", "initial", "last", "wh", "wx", "xs"]);
    assert_eq!(failing.expected.len(), failing.allowed.len());

    let without = |answer: &mut Answer<f32>| {
        answer.remove("wh");
        Ok(())
    };
    let (report, _) = refusal(without, &options);
    assert!(message(&report).contains("the answer has no wh ["), "{report}");
    let no_numbers = |answer: &mut Answer<f32>| {
        answer.values_mut().for_each(|tensor| tensor.fill(f32::NAN));
        Ok(())
    };
    let (report, _) = refusal(no_numbers, &options);
    assert!(message(&report).contains("= NaN, expected"), "{report}");
    let (report, failing) = refusal(|_| Err(Trouble::new("it died")), &options);
    assert!(message(&report).contains("it died") && failing.found.is_empty(), "{report}");

    // One that hangs is asked once.
    static ASKED: AtomicUsize = AtomicUsize::new(0);
    let hang = |_: &mut Answer<f32>| {
        ASKED.fetch_add(1, Relaxed);
        Err(Trouble { message: "no answer within 60 seconds".to_string(), hopeless: true })
    };
    let (report, _) = refusal(hang, &options);
    assert!(message(&report).contains("no answer within 60 seconds"), "{report}");
    assert_eq!(ASKED.load(Relaxed), 1);
}

#[test]
fn other_bits_each_time_pass_only_where_they_may() {
    let options = Options::new().cells(&[Cell::default()]).only("recurrence/history");
    let unsteady = || {
        let calls = AtomicUsize::new(0);
        move |answer: &mut Answer<f32>| {
            let last_bit = calls.fetch_add(1, Relaxed) as u32 % 5 % 2;
            let flip = |v: f32| f32::from_bits(v.to_bits() ^ last_bit);
            answer.values_mut().for_each(|tensor| tensor.mapv_inplace(flip));
            Ok(())
        }
    };
    let (report, failing) = refusal(unsteady(), &options);
    assert!(report.failures[0].message.contains("call 0") && !failing.given.is_empty(), "{report}");
    let abilities = Abilities { threads: false, ..EVERYTHING };
    let sound = ByArrays { recurrence: Subject::new(Mutation::Sound, ORDERS[0].1), abilities };
    let unsteady = Changed { sound, change: unsteady() };
    let (report, _) = check_kernel(Box::new(unsteady), &options.repeatable(false)).unwrap();
    let repeat = report.bits["repeat"];
    assert!(report.passed() && repeat.same < repeat.compared, "{report}");
}
