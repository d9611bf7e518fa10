//! Kernels that are known by the arrays they take and give: programs, functions of other languages.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use elman::ndarray::{Array, Array2, ArrayD, ArrayView2, ArrayViewD, Dimension};
use elman::{
    Cell, Error, Float, Layer, LayerParams, Name, Real, Recurrence, RecurrenceGradient, Sequences, States,
    Trace, check_backward,
};

use crate::strategies::Drawn;
use crate::{Arithmetic, tolerance};

/// A recurrence that is asked by arrays: a function of another language, a program, a compiled model.
///
/// [`check_kernel`](crate::check_kernel) judges it. In Rust, [`elman::Recurrence`] and
/// [`check_recurrence`](crate::check_recurrence) ask for more: every sequence cut anywhere, with the same bits.
pub trait Kernel<T>: Send + Sync {
    /// The name that reports give it.
    fn name(&self) -> String;

    /// What it can do besides the states.
    fn abilities(&self) -> Abilities;

    /// The states `h`, `[steps, hidden]`, and if [`Given::backward`] the gradient of `sum(dh ∘ h) + sum(dlast ∘ last)` by
    /// `xs` and by each tensor of the layer, each under its name and in its shape. A kernel that takes `initial` also
    /// gives `last`, the states after the last steps, and the gradient of `initial`, but none of `h0` and `c0`.
    ///
    /// # Errors
    /// It failed: it died, did not answer, refused.
    fn call(&self, given: &Given<'_, T>) -> Result<Answer<T>, Trouble>;
}

/// What a [`Kernel`] can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Abilities {
    /// Gradients, not only the states.
    pub gradients: bool,
    /// Sequences that start from states of their own (`initial`), a gradient of the last states (`dlast`), and both as
    /// results (`last`, and the gradient of `initial`).
    pub initial: bool,
    /// Calls from several threads at once.
    pub threads: bool,
}

/// The input of a [`Kernel`].
#[derive(Debug)]
pub struct Given<'a, T> {
    /// The arithmetic of a unit.
    pub cell: Cell,
    /// The number of steps of each sequence.
    pub lengths: &'a [usize],
    /// `xs` `[steps, input]`: the rows of the first sequence, then those of the second, and so on, without padding. Then
    /// the tensors of the layer, in the order of its table: `wx`, `wh`, `bh`, of a GRU `bhn`, `h0`, of an LSTM `c0`. Then
    /// where asked for `initial` `[sequences, states·hidden]`, `dh` `[steps, hidden]` and `dlast` as `initial`.
    pub tensors: Vec<(&'static str, ArrayViewD<'a, T>)>,
}

impl<T> Given<'_, T> {
    /// Whether gradients are asked for: `dh` is among the tensors.
    pub fn backward(&self) -> bool {
        self.tensors.iter().any(|(name, _)| *name == "dh")
    }
}

/// What a [`Kernel`] answers: tensors by their names.
pub type Answer<T> = BTreeMap<String, ArrayD<T>>;

/// Why a [`Kernel`] did not answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// What happened.
    pub message: String,
    /// Whether it is not to be asked again, since each question would take as long as the last one: it hung.
    pub hopeless: bool,
}

impl Trouble {
    /// A failure of one call.
    pub fn new(message: impl Into<String>) -> Self {
        Trouble { message: message.into(), hopeless: false }
    }
}

/// The smallest problem at which a [`Kernel`] failed, as arrays.
#[derive(Clone, Debug)]
pub struct FailingCase<T> {
    /// The name of the case that it was made from.
    pub case: String,
    /// The arithmetic of a unit.
    pub cell: Cell,
    /// The number of steps of each sequence.
    pub lengths: Vec<usize>,
    /// As [`Given::tensors`].
    pub given: BTreeMap<String, ArrayD<T>>,
    /// What the kernel answers; nothing if it does not.
    pub found: Answer<T>,
    /// What it should answer.
    pub expected: BTreeMap<String, ArrayD<f64>>,
    /// By how much each entry may differ.
    pub allowed: BTreeMap<String, ArrayD<f64>>,
}

/// A kernel as a recurrence. Clones are the same one.
#[derive(Clone)]
pub(crate) struct ByArrays<T>(Arc<Inner<T>>);

struct Inner<T> {
    kernel: Box<dyn Kernel<T>>,
    abilities: Abilities,
    trouble: Mutex<Option<Trouble>>,
    failed: Mutex<Option<(String, Drawn<T>)>>,
    hopeless: AtomicBool,
    /// The states that came with the last gradient.
    beside: Mutex<(Array2<T>, Array2<T>)>,
}

struct Run<T> {
    h: Array2<T>,
    last: Array2<T>,
    gradient: RecurrenceGradient<T>,
}

impl<T: Float> ByArrays<T> {
    pub(crate) fn new(kernel: Box<dyn Kernel<T>>) -> Self {
        ByArrays(Arc::new(Inner {
            abilities: kernel.abilities(),
            kernel,
            trouble: Mutex::default(),
            failed: Mutex::default(),
            hopeless: AtomicBool::new(false),
            beside: Mutex::new((Array2::zeros((0, 0)), Array2::zeros((0, 0)))),
        }))
    }

    pub(crate) fn abilities(&self) -> Abilities {
        self.0.abilities
    }

    /// Whether the kernel is not to be asked again.
    pub(crate) fn is_hopeless(&self) -> bool {
        self.0.hopeless.load(Relaxed)
    }

    /// The states that came with the last gradient: `h` and `last`.
    pub(crate) fn beside(&self) -> (Array2<T>, Array2<T>) {
        lock(&self.0.beside).clone()
    }

    /// What went wrong in the calls since this was last asked.
    pub(crate) fn trouble(&self) -> Option<String> {
        lock(&self.0.trouble).take().map(|trouble| trouble.message)
    }

    /// Keeps a problem at which the kernel failed instead of the one before it.
    pub(crate) fn keep(&self, case: &str, drawn: Drawn<T>) {
        *lock(&self.0.failed) = Some((case.to_string(), drawn));
    }

    /// The last problem that was kept.
    pub(crate) fn failing_case(
        &self,
        arithmetic: Option<Arithmetic>,
    ) -> Result<Option<FailingCase<T>>, Error> {
        let Some((case, drawn)) = lock(&self.0.failed).take() else { return Ok(None) };
        let backward = self.abilities().gradients;
        let (xs, layer) = (drawn.xs()?, drawn.layer.layer());
        let (dh, dlast) = (drawn.dh.view(), drawn.dlast());
        let given = given(&layer, &xs, backward.then_some(&dh), dlast.as_ref());
        let found = if self.is_hopeless() { None } else { self.0.kernel.call(&given).ok() };
        let judged = tolerance::recurrence(&drawn, arithmetic)?;
        let (mut expected, mut allowed) = (BTreeMap::new(), BTreeMap::new());
        let mut matrices = vec![("h", &judged.h)];
        if backward {
            matrices.push(("xs", &judged.xs));
        }
        if self.abilities().initial {
            matrices.extend([("last", &judged.last), ("initial", &judged.initial)]);
        }
        for (name, judged) in matrices {
            expected.insert(name.to_string(), judged.expected.clone().into_dyn());
            allowed.insert(name.to_string(), judged.allowed.clone().into_dyn());
        }
        let layers = [(&judged.layer.expected, &mut expected), (&judged.layer.allowed, &mut allowed)];
        for (layer, to) in layers.into_iter().filter(|_| backward) {
            to.extend(layer.tensors().map(|(name, tensor)| (name.to_string(), tensor.to_owned())));
        }
        Ok(Some(FailingCase {
            case,
            cell: given.cell,
            lengths: drawn.lengths.clone(),
            given: given.tensors.iter().map(|(name, tensor)| (name.to_string(), tensor.to_owned())).collect(),
            found: found.unwrap_or_default(),
            expected,
            allowed,
        }))
    }

    /// One question.
    fn run(
        &self,
        layer: &Layer<'_, T>,
        xs: &Sequences<'_, T>,
        dh: Option<ArrayView2<'_, T>>,
        dlast: Option<ArrayView2<'_, T>>,
    ) -> Result<Run<T>, Error> {
        let attempt = || {
            let given = given(layer, xs, dh.as_ref(), dlast.as_ref());
            let mut answer = Named(self.0.kernel.call(&given)?);
            let shape = layer.shape();
            let (steps, sequences) = (xs.rows().nrows(), xs.lengths().len());
            let states = (sequences, shape.cell.states() * shape.hidden);
            let abilities = self.abilities();
            let h: Array2<T> = answer.take("h", (steps, shape.hidden))?;
            let last = match abilities.initial {
                true => answer.take("last", states)?,
                false => Array2::from_elem(states, T::from_f64(f64::NAN)),
            };
            let mut gradient = RecurrenceGradient::default();
            if dh.is_some() {
                gradient.xs = answer.take("xs", (steps, shape.input))?;
                gradient.layer =
                    LayerParams::zeros(shape).map_err(|error| Trouble::new(error.to_string()))?;
                for (name, mut tensor) in gradient.layer.tensors_mut() {
                    if xs.initial().is_none() || !matches!(name, Name::H0 | Name::C0) {
                        let found = answer.take(name.as_str(), tensor.raw_dim())?;
                        tensor.assign(&found);
                    }
                }
                gradient.initial = match (abilities.initial, sequences) {
                    (true, _) => answer.take("initial", states)?,
                    (false, 1) => {
                        let row = gradient.layer.layer().initial();
                        row.into_shape_with_order(states).expect("one row")
                    }
                    (false, _) => Array2::from_elem(states, T::from_f64(f64::NAN)),
                };
            }
            Ok(Run { h, last, gradient })
        };
        attempt().map_err(|trouble: Trouble| {
            let error = Error::unsupported("kernel", "an answer", &trouble.message);
            if trouble.hopeless {
                self.0.hopeless.store(true, Relaxed);
            }
            lock(&self.0.trouble).get_or_insert(trouble);
            error
        })
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn given<'a, T: Real>(
    layer: &'a Layer<'_, T>,
    xs: &'a Sequences<'_, T>,
    dh: Option<&'a ArrayView2<'_, T>>,
    dlast: Option<&'a ArrayView2<'_, T>>,
) -> Given<'a, T> {
    let mut tensors = vec![("xs", xs.rows().into_dyn())];
    tensors.extend([("wx", layer.wx().into_dyn()), ("wh", layer.wh().into_dyn())]);
    tensors.push(("bh", layer.bh().into_dyn()));
    tensors.extend(layer.bhn().map(|bhn| ("bhn", bhn.into_dyn())));
    tensors.push(("h0", layer.h0().into_dyn()));
    tensors.extend(layer.c0().map(|c0| ("c0", c0.into_dyn())));
    tensors.extend(xs.initial().map(|initial| ("initial", initial.into_dyn())));
    tensors.extend(dh.map(|dh| ("dh", dh.reborrow().into_dyn())));
    tensors.extend(dlast.map(|dlast| ("dlast", dlast.reborrow().into_dyn())));
    Given { cell: layer.cell(), lengths: xs.lengths(), tensors }
}

struct Named<T>(Answer<T>);

impl<T: Real> Named<T> {
    fn take<D: Dimension>(
        &mut self,
        name: &str,
        dim: impl elman::ndarray::IntoDimension<Dim = D>,
    ) -> Result<Array<T, D>, Trouble> {
        let dim = dim.into_dimension();
        let expected = dim.slice().to_vec();
        let Some(tensor) = self.0.remove(name) else {
            let names: Vec<&str> = self.0.keys().map(String::as_str).collect();
            let found = if names.is_empty() { "nothing".to_string() } else { names.join(", ") };
            return Err(Trouble::new(format!(
                "the answer has no {name} {expected:?}; besides what was read it has {found}"
            )));
        };
        if tensor.shape() != expected {
            return Err(Trouble::new(format!(
                "{name} has the shape {:?}, expected {expected:?}",
                tensor.shape()
            )));
        }
        Ok(tensor.into_dimensionality().expect("of this shape"))
    }
}

impl<T: Float> Recurrence<T> for ByArrays<T> {
    fn forward(&self, layer: Layer<'_, T>, xs: &Sequences<'_, T>) -> Result<States<T>, Error> {
        xs.check(&layer)?;
        let Run { h, last, .. } = self.run(&layer, xs, None, None)?;
        Ok(States { h, last })
    }

    fn vjp<'a>(
        &self,
        layer: Layer<'a, T>,
        xs: &'a Sequences<'a, T>,
    ) -> Result<Box<dyn Trace<T> + 'a>, Error> {
        let states = self.forward(layer, xs)?;
        Ok(Box::new(ByArraysTrace { kernel: self.clone(), layer, xs, states }))
    }
}

struct ByArraysTrace<'a, T> {
    kernel: ByArrays<T>,
    layer: Layer<'a, T>,
    xs: &'a Sequences<'a, T>,
    states: States<T>,
}

impl<T: Float> Trace<T> for ByArraysTrace<'_, T> {
    fn h(&self) -> ArrayView2<'_, T> {
        self.states.h.view()
    }

    fn last(&self) -> ArrayView2<'_, T> {
        self.states.last.view()
    }

    fn backward_into(
        &self,
        dh: ArrayView2<'_, T>,
        dlast: Option<ArrayView2<'_, T>>,
        gradient: &mut RecurrenceGradient<T>,
    ) -> Result<(), Error> {
        check_backward((self.h(), self.last()), dh, dlast)?;
        let run = self.kernel.run(&self.layer, self.xs, Some(dh), dlast)?;
        *lock(&self.kernel.0.beside) = (run.h, run.last);
        *gradient = run.gradient;
        Ok(())
    }
}
