//! Parameters in the formats of other systems.

use std::path::Path;
use std::sync::LazyLock;

use elman::{Activation, Cell, Feedback, Params, Shape};
use elman_formats::{Nonlinearity, npy, torch};
use elman_tagger::Error;

use crate::files;

const SHAPE: Shape = Shape { vocab: 3, embed: 2, window: 3, hidden: 2, classes: 3, ..Shape::ELMAN };

fn params() -> Params<f32> {
    Params::init(SHAPE, 1).expect("a small network")
}

/// The tutorial's folder in C order and f32.
pub(crate) static NPY: LazyLock<Vec<(&'static str, Vec<u8>)>> =
    LazyLock::new(|| folder(&params(), npy::Order::C));

/// The same in Fortran order and f64.
pub(crate) static NPY_OTHER: LazyLock<Vec<(&'static str, Vec<u8>)>> =
    LazyLock::new(|| folder(&params().map(f64::from), npy::Order::Fortran));

fn folder<T: elman_formats::Number>(params: &Params<T>, order: npy::Order) -> Vec<(&'static str, Vec<u8>)> {
    let parent = files::folder();
    let path = parent.path().join("theano");
    let names = npy::Names::Lower;
    npy::write(&path, params, &[], npy::Options { names, order }).expect("a folder that can be written");
    files::read(&path, &names.files(Feedback::Hidden))
}

/// Files of nn.RNN, of a sigmoid network in both nonlinearities and of the other activations, and of nn.GRU.
pub(crate) fn torch_files() -> Vec<Vec<u8>> {
    let file = |cell, nonlinearity| {
        let params = Params::<f32>::init(Shape { cell, ..SHAPE }, 1).expect("a small network");
        torch::to_bytes(&params, nonlinearity, []).expect("a file")
    };
    let sigmoid = Cell::Elman(Activation::Sigmoid);
    let all = Cell::ALL.map(|cell| file(cell, Nonlinearity::Tanh));
    [&all[..], &[file(sigmoid, Nonlinearity::Sigmoid)]].concat()
}

/// Equal, or both not a number.
fn assert_same(found: &Params<f32>, expected: &Params<f32>) {
    assert_eq!(found.shape(), expected.shape());
    for ((name, found), (_, expected)) in found.tensors().zip(expected.tensors()) {
        let same = |(a, b): (&f32, &f32)| a == b || a.is_nan() && b.is_nan();
        assert!(found.iter().zip(&expected).all(same), "{name}: {found}, expected {expected}");
    }
}

/// A folder is refused by the name of a file or its own, or comes back the same in every form.
pub(crate) fn npy(data: &[u8]) {
    let parent = files::folder();
    let path = parent.path().join("theano");
    files::write(&path, &files::changed(&NPY, data));
    let names = npy::Names::Lower.files(Feedback::Hidden);
    let params = match npy::read::<f32>(&path) {
        Ok(params) => params,
        Err(Error::Input { path: named, problem, expected, .. }) if named == path => {
            return assert!(!problem.is_empty() && !expected.is_empty(), "{problem}: {expected}");
        }
        Err(error) => return files::assert_names_a_file(&error, &path, &names),
    };
    for order in [npy::Order::C, npy::Order::Fortran] {
        for names in [npy::Names::Lower, npy::Names::Capital] {
            let again = parent.path().join("again");
            npy::write(&again, &params, &[], npy::Options { names, order }).expect("a folder");
            assert_same(&npy::read(&again).expect("what was written can be read"), &params);
            std::fs::remove_dir_all(&again).expect("a folder that was written");
        }
    }
}

/// A file is refused by its name, or comes back the same.
pub(crate) fn torch(data: &[u8]) {
    let path = Path::new("rnn.safetensors");
    let params = match torch::from_bytes::<f32>(data, path, None) {
        Ok((params, _)) => params,
        Err(Error::Input { path: named, problem, expected, .. }) => {
            return assert!(named == path && !problem.is_empty() && !expected.is_empty(), "{problem}");
        }
        Err(other) => panic!("an input must be refused as such, found {other:?}"),
    };
    let written = torch::to_bytes(&params, Nonlinearity::Sigmoid, []).expect("tensors that fit");
    let (again, _) = torch::from_bytes(&written, path, None).expect("what was written can be read");
    assert_same(&again, &params);
}
