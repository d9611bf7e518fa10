//! Between Python's objects and the types of the family.

use std::collections::HashMap;
use std::io::ErrorKind;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

use elman::ndarray::{Array1, Array2};
use elman::{Error, Feedback, Labelled, Params, Real, Sentence, Shape, TENSOR_NAMES};
use elman_fast::{Fast, Isa};
use numpy::{
    Element, PyArray1, PyArray2, PyArrayMethods, PyReadonlyArray1, PyReadonlyArray2, PyUntypedArray,
};
use numpy::{PyArrayDescrMethods, PyUntypedArrayMethods};
use pyo3::exceptions::{
    PyArithmeticError, PyFileNotFoundError, PyOSError, PyPermissionError, PyTypeError, PyValueError,
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

/// The implementation for an instruction set (by default the best) and a number of threads. Kept, so that threads
/// are started once.
pub(crate) fn fast(isa: Option<&str>, threads: usize) -> PyResult<Fast> {
    type Kept = HashMap<(Option<String>, usize), Fast>;
    static KEPT: LazyLock<Mutex<Kept>> = LazyLock::new(Mutex::default);
    if !(1..=1024).contains(&threads) {
        return Err(PyValueError::new_err(format!("threads: expected 1 to 1024, found {threads}")));
    }
    let key = (isa.map(str::to_owned), threads);
    let mut kept = lock(&KEPT);
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
}
impl Named for f32 {
    const NAME: &'static str = "float32";
}
impl Named for f64 {
    const NAME: &'static str = "float64";
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
    Ok(matrix::<T>(name, object)?.as_array().as_standard_layout().into_owned())
}

/// A copy of a vector.
pub(crate) fn owned_vector<T: Named>(name: &str, object: &Bound<'_, PyAny>) -> PyResult<Array1<T>> {
    Ok(vector::<T>(name, object)?.as_array().as_standard_layout().into_owned())
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
