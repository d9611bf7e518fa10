//! Between Python's objects and the types of the family.

use std::collections::HashMap;
use std::io::ErrorKind;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError, TryLockError};

use elman::ndarray::{Array2, ArrayView, Dimension};
use elman::{Activation, Cell, LayerParams, LayerShape, Layout, Name, Params, Real, Sentences, Shape};
use elman_fast::{Fast, Isa};
use elman_tagger::Error;
use numpy::{
    Element, PyArray, PyArrayDyn, PyArrayMethods, PyReadonlyArray, PyReadonlyArray2, PyUntypedArray,
};
use numpy::{PyArrayDescrMethods, PyUntypedArrayMethods};
use pyo3::exceptions::{
    PyArithmeticError, PyFileNotFoundError, PyOSError, PyPermissionError, PyRuntimeError, PyTypeError,
    PyValueError,
};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyMapping};

/// The exception for an error: `ValueError`, or `OSError` for the operating system's.
pub(crate) fn exception(error: impl Into<Error>) -> PyErr {
    let error = error.into();
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

/// An array of `T`, to be read in place.
fn array<'py, T: Named, D: Dimension>(
    name: &str,
    object: &Bound<'py, PyAny>,
) -> PyResult<PyReadonlyArray<'py, T, D>> {
    let array = object.cast::<PyArray<T, D>>().map_err(|_| {
        let dimensions = match D::NDIM {
            Some(1) => "1 dimension".to_string(),
            several => format!("{} dimensions", several.unwrap_or_default()),
        };
        wrong(name, &format!("a NumPy array of {} with {dimensions}", T::NAME), object)
    })?;
    array.try_readonly().map_err(|error| PyValueError::new_err(format!("{name}: {error}")))
}

/// A matrix of `T`, to be read in place.
pub(crate) fn matrix<'py, T: Named>(
    name: &str,
    object: &Bound<'py, PyAny>,
) -> PyResult<PyReadonlyArray2<'py, T>> {
    array(name, object)
}

/// A row-major copy of a matrix.
pub(crate) fn owned_matrix<T: Named>(name: &str, object: &Bound<'_, PyAny>) -> PyResult<Array2<T>> {
    let array = matrix::<T>(name, object)?;
    finite(name, array.as_array())?;
    Ok(array.as_array().as_standard_layout().into_owned())
}

/// A cell by the names of Python's arguments: elman with an activation (by default the sigmoid), or gru.
pub(crate) fn cell(cell: &str, activation: Option<&str>) -> PyResult<Cell> {
    let mut cells = Cell::ALL.to_vec();
    cells.dedup_by_key(|cell| cell.name());
    let Some(known) = cells.iter().find(|known| known.name() == cell) else {
        let names: Vec<_> = cells.iter().map(|cell| cell.name()).collect();
        let message = format!("cell: expected {}, found {cell}", names.join(" or "));
        return Err(PyValueError::new_err(message));
    };
    match (known.activation(), activation) {
        (_, None) => Ok(*known),
        (Some(_), Some(name)) => Ok(Cell::Elman(name.parse::<Activation>().map_err(exception)?)),
        (None, Some(name)) => {
            Err(PyValueError::new_err(format!("activation: expected none for the cell {cell}, found {name}")))
        }
    }
}

/// The arguments of [`cell`], for pickle and copy.
pub(crate) fn cell_arguments(arguments: &Bound<'_, PyDict>, cell: Cell) -> PyResult<()> {
    arguments.set_item("cell", cell.name())?;
    arguments.set_item("activation", cell.activation().map(Activation::name))
}

/// Reads every tensor of `params` from the array of its name, of one number type.
fn read<'py, T: Named, S: Layout>(
    params: &mut Params<T, S>,
    get: impl Fn(Name) -> PyResult<Bound<'py, PyAny>>,
) -> PyResult<()> {
    for (name, mut tensor) in params.tensors_mut() {
        let object = get(name)?;
        let (matrix, vector);
        let found = if tensor.ndim() == 2 {
            matrix = self::matrix::<T>(name.as_str(), &object)?;
            matrix.as_array().into_dyn()
        } else {
            vector = array::<T, elman::ndarray::Ix1>(name.as_str(), &object)?;
            vector.as_array().into_dyn()
        };
        finite(name.as_str(), found.view())?;
        if found.shape() != tensor.shape() {
            let (expected, found) = (format!("{:?}", tensor.shape()), format!("{:?}", found.shape()));
            return Err(exception(Error::shape(name.as_str(), expected, found)));
        }
        tensor.assign(&found);
    }
    Ok(())
}

/// The number of rows and columns of a matrix, whose columns are those of the cell's gates side by side.
fn gated<T: Named>(name: &str, object: &Bound<'_, PyAny>, cell: Cell) -> PyResult<(usize, usize)> {
    let (rows, cols) = matrix::<T>(name, object)?.as_array().dim();
    if cols % cell.gates() != 0 {
        let expected = format!("a multiple of {}, the gates of {cell}", cell.gates());
        return Err(exception(Error::shape(format!("columns of {name}"), expected, cols)));
    }
    Ok((rows, cols / cell.gates()))
}

/// The tensors of a recurrence, each an array by its name.
pub(crate) fn layer<'py, T: Named>(
    cell: Cell,
    get: impl Fn(Name) -> PyResult<Bound<'py, PyAny>>,
) -> PyResult<LayerParams<T>> {
    let (input, hidden) = gated::<T>("wx", &get(Name::Wx)?, cell)?;
    let mut params = LayerParams::zeros(LayerShape { input, hidden, cell }).map_err(exception)?;
    read(&mut params, get)?;
    Ok(params)
}

/// The parameters of a network of this cell in a mapping of their names to arrays, all of one number type.
pub(crate) fn params(object: &Bound<'_, PyAny>, cell: Cell) -> PyResult<AnyParams> {
    let mapping =
        object.cast::<PyMapping>().map_err(|_| wrong("params", "a mapping of names to arrays", object))?;
    let shape = Shape { cell, ..Shape::ELMAN };
    let names: Vec<&str> = shape.table().map(|tensor| tensor.name.as_str()).collect();
    let expected = names.join(", ");
    for key in mapping.keys()? {
        let key = key.to_string();
        if !names.contains(&key.as_str()) {
            return Err(PyValueError::new_err(format!("params: expected {expected}, found {key:?}")));
        }
    }
    let get = |name: Name| {
        if !mapping.contains(name.as_str())? {
            return Err(PyValueError::new_err(format!("params: expected {expected}, found no {name}")));
        }
        mapping.get_item(name.as_str())
    };
    if is_double("emb", &get(Name::Emb)?, 2)? {
        Ok(Any::F64(typed_params(cell, get)?))
    } else {
        Ok(Any::F32(typed_params(cell, get)?))
    }
}

fn typed_params<'py, T: Named>(
    cell: Cell,
    get: impl Fn(Name) -> PyResult<Bound<'py, PyAny>>,
) -> PyResult<Params<T>> {
    let (rows, embed) = matrix::<T>("emb", &get(Name::Emb)?)?.as_array().dim();
    let (input, hidden) = gated::<T>("wx", &get(Name::Wx)?, cell)?;
    let classes = matrix::<T>("w", &get(Name::W)?)?.as_array().ncols();
    let window = input.checked_div(embed).unwrap_or(1);
    let shape = Shape { vocab: rows.saturating_sub(1), embed, window, hidden, classes, cell, ..Shape::ELMAN };
    if window * embed != input {
        let expected = format!("a multiple of {embed}, the width of emb");
        return Err(exception(Error::shape("rows of wx", expected, input)));
    }
    let mut params = Params::zeros(shape).map_err(exception)?;
    read(&mut params, get)?;
    Ok(params)
}

/// Parameters or a gradient as a dictionary of arrays.
pub(crate) fn dictionary<'py, T: Named>(py: Python<'py>, params: &Params<T>) -> PyResult<Bound<'py, PyDict>> {
    let dictionary = PyDict::new(py);
    for (name, tensor) in params.tensors() {
        dictionary.set_item(name.as_str(), PyArrayDyn::from_array(py, &tensor))?;
    }
    Ok(dictionary)
}

/// The five sizes as a dictionary.
pub(crate) fn sizes<'py>(py: Python<'py>, shape: Shape) -> PyResult<Bound<'py, PyDict>> {
    let Shape { vocab, embed, window, hidden, classes, .. } = shape;
    let dictionary = PyDict::new(py);
    for (name, size) in
        [("vocab", vocab), ("embed", embed), ("window", window), ("hidden", hidden), ("classes", classes)]
    {
        dictionary.set_item(name, size)?;
    }
    Ok(dictionary)
}

/// Numbers from a sequence of integers or an array of them.
pub(crate) fn integers(name: &str, object: &Bound<'_, PyAny>) -> PyResult<Vec<usize>> {
    let expected = "a sequence of integers of at least 0";
    let list = match object.cast::<PyUntypedArray>() {
        Ok(array) if array.ndim() == 1 => &array.call_method0("tolist")?,
        Ok(_) => return Err(wrong(name, expected, object)),
        Err(_) => object,
    };
    list.extract().map_err(|error| PyValueError::new_err(format!("{name}: expected {expected}: {error}")))
}

/// The same as ids.
pub(crate) fn ids(name: &str, object: &Bound<'_, PyAny>) -> PyResult<Vec<u32>> {
    let id = |id: usize| {
        u32::try_from(id).map_err(|_| {
            PyValueError::new_err(format!("{name}: expected ids of at most {}, found {id}", u32::MAX))
        })
    };
    integers(name, object)?.into_iter().map(id).collect()
}

/// A batch: a sequence of pairs (words, labels).
pub(crate) fn batch(object: &Bound<'_, PyAny>) -> PyResult<Sentences> {
    let mut batch = Sentences::new();
    for pair in
        object.try_iter().map_err(|_| wrong("batch", "a sequence of pairs (words, labels)", object))?
    {
        let pair = pair?;
        let (words, labels): (Bound<'_, PyAny>, Bound<'_, PyAny>) =
            pair.extract().map_err(|_| wrong("batch", "pairs (words, labels)", &pair))?;
        let (words, labels) = (ids("words", &words)?, ids("labels", &labels)?);
        if labels.len() != words.len() {
            let expected = format!("{}, one for each word", words.len());
            return Err(exception(Error::shape("labels", expected, labels.len())));
        }
        batch.push(&words, &labels).map_err(exception)?;
    }
    Ok(batch)
}
