//! Between Python's objects and the types of the family.

use std::collections::HashMap;
use std::io::ErrorKind;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError, TryLockError};

use elman::ndarray::{Array1, Array2, ArrayView, Dimension};
use elman::{Error, Feedback, Labelled, Params, Real, Sentence, Shape, TENSOR_NAMES};
use elman_fast::{Fast, Isa};
use numpy::{
    Element, PyArray1, PyArray2, PyArrayMethods, PyReadonlyArray1, PyReadonlyArray2, PyUntypedArray,
};
use numpy::{PyArrayDescrMethods, PyUntypedArrayMethods};
use pyo3::exceptions::{
    PyArithmeticError, PyFileNotFoundError, PyOSError, PyPermissionError, PyRuntimeError, PyTypeError,
    PyValueError,
};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyMapping};

/// The exception for an error: `ValueError`, or `OSError` for the operating system's.
pub(crate) fn exception(error: Error) -> PyErr {
    let message = error.to_string();
    match error {
        Error::Io { source, .. } => match source.kind() {
            ErrorKind::NotFound => PyFileNotFoundError::new_err(message),
            ErrorKind::PermissionDenied => PyPermissionError::new_err(message),
            _ => PyOSError::new_err(message),
        },
        Error::Diverged { .. } => PyArithmeticError::new_err(message),
        _ => PyValueError::new_err(message),
    }
}

/// Something in both number types.
pub(crate) enum Any<A, B> {
    F32(A),
    F64(B),
}

pub(crate) type AnyParams = Any<Params<f32>, Params<f64>>;

/// Evaluates the same text for either number type.
macro_rules! either {
    ($any:expr, $name:ident => $body:expr) => {
        match $any {
            $crate::convert::Any::F32($name) => $body,
            $crate::convert::Any::F64($name) => $body,
        }
    };
}
pub(crate) use either;

/// The lock of a mutex. That a thread panicked with it would be a bug; what it left is still a whole object,
/// because the implementations check before they change anything.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How many forks lie between the process that imported the module and this one.
static FORKS: AtomicU64 = AtomicU64::new(0);

/// Called in a child process after a fork, by `os.register_at_fork`.
///
/// The child has the memory of its parent, but only the thread that forked: a pool's threads are gone, and a lock
/// that one of them held is never released. So whatever has threads or locks is made again in the child
/// ([`PerProcess`], [`fast`]), and what the parent made is neither used nor freed there. The interpreter's lock
/// protects the rest: a fork happens with it held, so a lock that is only taken with it held is free in the child.
#[pyfunction]
pub(crate) fn _forked() {
    FORKS.fetch_add(1, Ordering::Relaxed);
}

/// A value behind a lock, made again in each process that uses it.
pub(crate) struct PerProcess<T> {
    /// The number of forks when it was made. This lock is only taken with the interpreter's lock held.
    current: Mutex<(u64, Arc<Mutex<T>>)>,
}

impl<T> PerProcess<T> {
    pub(crate) fn new(value: T) -> Self {
        let forks = FORKS.load(Ordering::Relaxed);
        PerProcess { current: Mutex::new((forks, Arc::new(Mutex::new(value)))) }
    }

    /// This process's value; after a fork it is made of the parent's.
    pub(crate) fn get(
        &self,
        _py: Python<'_>,
        again: impl FnOnce(&Mutex<T>) -> PyResult<T>,
    ) -> PyResult<Arc<Mutex<T>>> {
        let forks = FORKS.load(Ordering::Relaxed);
        let mut current = lock(&self.current);
        if current.0 != forks {
            let own = Arc::new(Mutex::new(again(&current.1)?));
            let parents = std::mem::replace(&mut *current, (forks, own));
            // To free it would wake, or wait for, threads that are not in this process.
            std::mem::forget(parents);
        }
        Ok(current.1.clone())
    }
}

/// The parent's value in a child process, if no other thread was at work with it when the process was forked.
pub(crate) fn parents<'a, T>(name: &str, value: &'a Mutex<T>) -> PyResult<MutexGuard<'a, T>> {
    match value.try_lock() {
        Ok(value) => Ok(value),
        Err(TryLockError::Poisoned(error)) => Ok(error.into_inner()),
        Err(TryLockError::WouldBlock) => Err(PyRuntimeError::new_err(format!(
            "{name}: another thread was changing it while this process was forked, so its state here is unknown; \
             make a new one in the child process, or fork when no step is under way"
        ))),
    }
}

/// The implementation for an instruction set (by default the best) and a number of threads. Kept, so that threads
/// are started once in each process.
pub(crate) fn fast(isa: Option<&str>, threads: usize) -> PyResult<Fast> {
    type Kept = HashMap<(Option<String>, usize), Fast>;
    // The number of forks when they were made. This lock is only taken with the interpreter's lock held.
    static KEPT: LazyLock<Mutex<(u64, Kept)>> = LazyLock::new(Mutex::default);
    if !(1..=1024).contains(&threads) {
        return Err(PyValueError::new_err(format!("threads: expected 1 to 1024, found {threads}")));
    }
    let key = (isa.map(str::to_owned), threads);
    let (made, kept) = &mut *lock(&KEPT);
    let forks = FORKS.load(Ordering::Relaxed);
    if *made != forks {
        // The parent's threads are not in this process; to free them would wait for them.
        std::mem::forget(std::mem::take(kept));
        *made = forks;
    }
    if let Some(fast) = kept.get(&key) {
        return Ok(fast.clone());
    }
    let fast = match isa {
        None => Fast::new(),
        Some(name) => Fast::with(name.parse::<Isa>().map_err(exception)?).map_err(exception)?,
    };
    let fast = fast.threads(threads).map_err(exception)?;
    kept.insert(key, fast.clone());
    Ok(fast)
}

/// What an object is, for messages: an array's type and shape, or the class.
fn describe(object: &Bound<'_, PyAny>) -> String {
    match object.cast::<PyUntypedArray>() {
        Ok(array) => {
            let dtype = array.dtype().str().map_or("unknown".into(), |name| name.to_string());
            format!("an array of {dtype} with shape {:?}", array.shape())
        }
        Err(_) => object.get_type().name().map_or("another object".into(), |name| name.to_string()),
    }
}

fn wrong(name: &str, expected: &str, object: &Bound<'_, PyAny>) -> PyErr {
    PyTypeError::new_err(format!("{name}: expected {expected}, found {}", describe(object)))
}

/// Whether an array is of `f64` (or else `f32`), of this many dimensions.
pub(crate) fn is_double(name: &str, object: &Bound<'_, PyAny>, dimensions: usize) -> PyResult<bool> {
    let expected = || format!("a NumPy array of float32 or float64 with {dimensions} dimensions");
    let array = object.cast::<PyUntypedArray>().map_err(|_| wrong(name, &expected(), object))?;
    let dtype = array.dtype();
    let double = dtype.is_equiv_to(&numpy::dtype::<f64>(object.py()));
    if array.ndim() != dimensions || !(double || dtype.is_equiv_to(&numpy::dtype::<f32>(object.py()))) {
        return Err(wrong(name, &expected(), object));
    }
    Ok(double)
}

/// The name of a number type, as NumPy has it.
pub(crate) trait Named: Real + Element {
    const NAME: &'static str;
    /// Whether none of these is infinite or not a number.
    fn all_finite(values: &[Self]) -> bool;
}
impl Named for f32 {
    const NAME: &'static str = "float32";
    fn all_finite(values: &[f32]) -> bool {
        // Without an early end, so that it is done for many at once.
        values.iter().fold(true, |all, value| all & value.is_finite())
    }
}
impl Named for f64 {
    const NAME: &'static str = "float64";
    fn all_finite(values: &[f64]) -> bool {
        values.iter().fold(true, |all, value| all & value.is_finite())
    }
}

/// Refuses an array with an entry that is infinite or not a number.
pub(crate) fn finite<T: Named, D: Dimension>(name: &str, array: ArrayView<'_, T, D>) -> PyResult<()> {
    if array.as_slice_memory_order().is_some_and(T::all_finite) {
        return Ok(());
    }
    let wrong = array.iter().enumerate().find(|(_, value)| !value.to_f64().is_finite());
    let Some((mut at, value)) = wrong else { return Ok(()) };
    let mut index = vec![0; array.ndim()];
    for (entry, length) in index.iter_mut().zip(array.shape()).rev() {
        (*entry, at) = (at % length, at / length);
    }
    let value = value.to_f64();
    Err(PyValueError::new_err(format!("{name}{index:?}: expected a finite number, found {value}")))
}

/// A matrix of `T`, to be read in place.
pub(crate) fn matrix<'py, T: Named>(
    name: &str,
    object: &Bound<'py, PyAny>,
) -> PyResult<PyReadonlyArray2<'py, T>> {
    let array = object
        .cast::<PyArray2<T>>()
        .map_err(|_| wrong(name, &format!("a NumPy array of {} with 2 dimensions", T::NAME), object))?;
    array.try_readonly().map_err(|error| PyValueError::new_err(format!("{name}: {error}")))
}

/// A vector of `T`, to be read in place.
fn vector<'py, T: Named>(name: &str, object: &Bound<'py, PyAny>) -> PyResult<PyReadonlyArray1<'py, T>> {
    let array = object
        .cast::<PyArray1<T>>()
        .map_err(|_| wrong(name, &format!("a NumPy array of {} with 1 dimension", T::NAME), object))?;
    array.try_readonly().map_err(|error| PyValueError::new_err(format!("{name}: {error}")))
}

/// A row-major copy of a matrix.
pub(crate) fn owned_matrix<T: Named>(name: &str, object: &Bound<'_, PyAny>) -> PyResult<Array2<T>> {
    let array = matrix::<T>(name, object)?;
    finite(name, array.as_array())?;
    Ok(array.as_array().as_standard_layout().into_owned())
}

/// A copy of a vector.
pub(crate) fn owned_vector<T: Named>(name: &str, object: &Bound<'_, PyAny>) -> PyResult<Array1<T>> {
    let array = vector::<T>(name, object)?;
    finite(name, array.as_array())?;
    Ok(array.as_array().as_standard_layout().into_owned())
}

/// The parameters of an Elman network in a mapping of the seven names to arrays, all of one number type.
pub(crate) fn params(object: &Bound<'_, PyAny>) -> PyResult<AnyParams> {
    let mapping =
        object.cast::<PyMapping>().map_err(|_| wrong("params", "a mapping of names to arrays", object))?;
    for key in mapping.keys()? {
        let key = key.to_string();
        if !TENSOR_NAMES.contains(&key.as_str()) {
            let expected = TENSOR_NAMES.join(", ");
            return Err(PyValueError::new_err(format!("params: expected {expected}, found {key:?}")));
        }
    }
    if is_double("emb", &entry(mapping, "emb")?, 2)? {
        Ok(Any::F64(typed_params(mapping)?))
    } else {
        Ok(Any::F32(typed_params(mapping)?))
    }
}

fn entry<'py>(mapping: &Bound<'py, PyMapping>, name: &str) -> PyResult<Bound<'py, PyAny>> {
    if !mapping.contains(name)? {
        let expected = TENSOR_NAMES.join(", ");
        return Err(PyValueError::new_err(format!("params: expected {expected}, found no {name}")));
    }
    mapping.get_item(name)
}

fn typed_params<T: Named>(mapping: &Bound<'_, PyMapping>) -> PyResult<Params<T>> {
    let matrix = |name| owned_matrix(name, &entry(mapping, name)?);
    let vector = |name| owned_vector(name, &entry(mapping, name)?);
    let params = Params {
        emb: matrix("emb")?,
        wx: matrix("wx")?,
        wh: matrix("wh")?,
        w: matrix("w")?,
        bh: vector("bh")?,
        b: vector("b")?,
        h0: vector("h0")?,
        feedback: Feedback::Hidden,
    };
    params.shape().map_err(exception)?;
    Ok(params)
}

/// Parameters or a gradient as a dictionary of arrays, which take over the memory.
pub(crate) fn dictionary<'py, T: Named>(py: Python<'py>, params: Params<T>) -> PyResult<Bound<'py, PyDict>> {
    let Params { emb, wx, wh, w, bh, b, h0, feedback: _ } = params;
    let dictionary = PyDict::new(py);
    for (name, matrix) in [("emb", emb), ("wx", wx), ("wh", wh), ("w", w)] {
        dictionary.set_item(name, PyArray2::from_owned_array(py, matrix))?;
    }
    for (name, vector) in [("bh", bh), ("b", b), ("h0", h0)] {
        dictionary.set_item(name, PyArray1::from_owned_array(py, vector))?;
    }
    Ok(dictionary)
}

/// The five sizes as a dictionary.
pub(crate) fn sizes<'py>(py: Python<'py>, shape: Shape) -> PyResult<Bound<'py, PyDict>> {
    let Shape { vocab, embed, window, hidden, classes, feedback: _ } = shape;
    let dictionary = PyDict::new(py);
    for (name, size) in
        [("vocab", vocab), ("embed", embed), ("window", window), ("hidden", hidden), ("classes", classes)]
    {
        dictionary.set_item(name, size)?;
    }
    Ok(dictionary)
}

/// Ids from a sequence of integers or an array of them.
pub(crate) fn ids(name: &str, object: &Bound<'_, PyAny>) -> PyResult<Vec<usize>> {
    let expected = "a sequence of integers of at least 0";
    let list = match object.cast::<PyUntypedArray>() {
        Ok(array) if array.ndim() == 1 => &array.call_method0("tolist")?,
        Ok(_) => return Err(wrong(name, expected, object)),
        Err(_) => object,
    };
    list.extract().map_err(|error| PyValueError::new_err(format!("{name}: expected {expected}: {error}")))
}

pub(crate) fn sentence(object: &Bound<'_, PyAny>) -> PyResult<Sentence> {
    Sentence::new(ids("words", object)?).map_err(exception)
}

/// A batch: a sequence of pairs (words, labels).
pub(crate) fn batch(object: &Bound<'_, PyAny>) -> PyResult<Vec<Labelled>> {
    let mut batch = Vec::new();
    for pair in
        object.try_iter().map_err(|_| wrong("batch", "a sequence of pairs (words, labels)", object))?
    {
        let pair = pair?;
        let (words, labels): (Bound<'_, PyAny>, Bound<'_, PyAny>) =
            pair.extract().map_err(|_| wrong("batch", "pairs (words, labels)", &pair))?;
        batch.push(Labelled::new(sentence(&words)?, ids("labels", &labels)?).map_err(exception)?);
    }
    Ok(batch)
}
