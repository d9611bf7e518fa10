//! The tutorial's model folder: what NumPy wrote, round trips, and files that are not what they say.

use std::fs;
use std::path::{Path, PathBuf};

use elman::{Activation, Cell, Feedback, Params, Shape};
use elman_formats::npy::{self, Names, Options, Order};
use elman_tagger::Error;
use proptest::prelude::*;

const SHAPE: Shape = Shape { vocab: 4, embed: 2, window: 3, hidden: 3, classes: 2, ..Shape::ELMAN };

fn numpys(folder: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/numpy").join(folder)
}

/// What tests/numpy/make.py put into the files.
fn expected() -> Params<f64> {
    expected_of(SHAPE)
}

fn expected_of(shape: Shape) -> Params<f64> {
    let mut params = Params::<f64>::zeros(shape).unwrap();
    for (number, (_, mut tensor)) in params.tensors_mut().enumerate() {
        tensor.iter_mut().enumerate().for_each(|(i, entry)| *entry = (i as f64 - 7.0 * number as f64) / 8.0);
    }
    params
}

#[test]
fn folders_that_numpy_wrote() {
    for folder in ["lower", "capital", "big_endian", "half", "half_big_endian"] {
        assert_eq!(npy::read::<f64>(numpys(folder)).unwrap(), expected(), "{folder}");
        assert_eq!(npy::read::<f32>(numpys(folder)).unwrap(), expected().map(|v| v as f32), "{folder}");
    }
}

#[test]
fn the_papers_jordan_folder_is_read_and_written() {
    let shape = Shape { feedback: Feedback::Output, ..SHAPE };
    let theirs = numpys("jordan");
    assert_eq!(npy::network_of(&theirs).unwrap(), Feedback::Output);
    assert_eq!(npy::network_of(numpys("capital")).unwrap(), Feedback::Hidden);
    assert_eq!(npy::read_jordan::<f64>(&theirs).unwrap(), expected_of(shape));
    let error = npy::read::<f64>(&theirs).unwrap_err().to_string();
    assert!(error.contains("s0.npy, the first output of a Jordan network, expected h0.npy"), "{error}");

    let parent = tempfile::tempdir().unwrap();
    let target = parent.path().join("model");
    let options = Options { names: Names::Capital, order: Order::C };
    npy::write(&target, &expected_of(shape).map(|v| v as f32), &[], options).unwrap();
    for name in Names::Capital.files(Feedback::Output) {
        assert!(target.join(name).is_file(), "{name}");
    }
    assert_eq!(npy::read_jordan::<f64>(&target).unwrap(), expected_of(shape));
    // As version 0.1 called it.
    fs::rename(target.join("s0.npy"), target.join("h0.npy")).unwrap();
    assert_eq!(npy::read_jordan::<f64>(&target).unwrap(), expected_of(shape));
    fs::copy(target.join("h0.npy"), target.join("s0.npy")).unwrap();
    let error = npy::read_jordan::<f64>(&target).unwrap_err().to_string();
    assert!(error.contains("h0.npy beside s0.npy"), "{error}");
}

#[test]
fn other_cells_are_refused_before_anything_is_written() {
    let others = Cell::ALL.into_iter().skip(1).map(|cell| (cell, Feedback::Hidden));
    for (cell, feedback) in others.chain([(Cell::Elman(Activation::Tanh), Feedback::Output)]) {
        let params = Params::<f32>::init(Shape { cell, feedback, ..SHAPE }, 1).unwrap();
        let parent = tempfile::tempdir().unwrap();
        let error = npy::write(parent.path().join("model"), &params, &[], Options::default()).unwrap_err();
        let expected = format!("the tutorial's folder: expected a cell with a sigmoid, found {cell}");
        assert_eq!(error.to_string(), expected);
        assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 0);
    }
}

#[test]
fn what_is_written_is_what_numpy_writes() {
    let parent = tempfile::tempdir().unwrap();
    let target = parent.path().join("model");
    npy::write(&target, &expected().map(|v| v as f32), &[], Options::default()).unwrap();
    compare(&target, &numpys("lower"), Names::Lower);
    // The other set of names: the folder has to be another one.
    let options = Options { names: Names::Capital, order: Order::Fortran };
    let target = parent.path().join("capital");
    npy::write(&target, &expected(), &[], options).unwrap();
    compare(&target, &numpys("capital"), Names::Capital);
}

/// The same but for white space and the comma at the end of the header, which readers ignore.
fn compare(ours: &Path, numpys: &Path, names: Names) {
    for name in names.files(Feedback::Hidden) {
        let [ours, numpys] = [ours, numpys].map(|folder| {
            let bytes = fs::read(folder.join(name)).unwrap();
            let length = 10 + usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
            let header: String =
                String::from_utf8(bytes[10..length].to_vec()).unwrap().split_whitespace().collect();
            assert_eq!(length % 64, 0);
            (bytes[..8].to_vec(), header.replace(",}", "}"), bytes[length..].to_vec())
        });
        assert_eq!(ours, numpys, "{name}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn round_trips(
        vocab in 1usize..20, embed in 1usize..5, half in 0usize..3, hidden in 1usize..6, classes in 1usize..5,
        seed: u64, capital: bool, fortran: bool, jordan: bool,
    ) {
        let feedback = if jordan { Feedback::Output } else { Feedback::Hidden };
        let cell = Cell::default();
        let shape = Shape { vocab, embed, window: 2 * half + 1, hidden, classes, cell, feedback, ..Shape::ELMAN };
        let params = Params::<f64>::init(shape, seed).unwrap();
        let parent = tempfile::tempdir().unwrap();
        let target = parent.path().join("model");
        let options = Options {
            names: if capital { Names::Capital } else { Names::Lower },
            order: if fortran { Order::Fortran } else { Order::C },
        };
        npy::write(&target, &params, &[("vocab.txt", b"<UNK>\n".to_vec())], options).unwrap();
        let read = |p: &Path| if jordan { npy::read_jordan::<f64>(p) } else { npy::read(p) };
        prop_assert_eq!(&read(&target).unwrap(), &params);
        // It is refused as the other network: by the name s0, or unless the shapes are the same.
        let other = |p: &Path| if jordan { npy::read::<f64>(p) } else { npy::read_jordan(p) };
        prop_assert_eq!(other(&target).is_ok(), !jordan && hidden == classes);
        prop_assert_eq!(fs::read(target.join("vocab.txt")).unwrap(), b"<UNK>\n");
        // Rounded, then read as either type.
        let rounded = params.map(|v| v as f32);
        npy::write(&target, &rounded, &[("vocab.txt", vec![])], options).unwrap();
        let single = |p: &Path| if jordan { npy::read_jordan::<f32>(p) } else { npy::read(p) };
        prop_assert_eq!(&single(&target).unwrap(), &rounded);
        prop_assert_eq!(read(&target).unwrap(), rounded.map(f64::from));
    }

    /// Any change or cut of a header gives an error or an array, and no panic.
    #[test]
    fn damaged_files(position in 0usize..140, byte: u8, length in 0usize..160) {
        let folder = copy_of_lower();
        let path = folder.path().join("wx.npy");
        let mut bytes = fs::read(&path).unwrap();
        bytes[position] = byte;
        fs::write(&path, &bytes).unwrap();
        let _ = npy::read::<f32>(folder.path());
        fs::write(&path, &bytes[..length]).unwrap();
        prop_assert!(npy::read::<f32>(folder.path()).is_err());
    }
}

fn copy_of_lower() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for name in Names::Lower.files(Feedback::Hidden) {
        fs::copy(numpys("lower").join(name), folder.path().join(name)).unwrap();
    }
    folder
}

fn file(version: u8, dictionary: &str, data: &[u8]) -> Vec<u8> {
    let mut bytes = b"\x93NUMPY".to_vec();
    bytes.extend([version, 0]);
    let header = format!("{dictionary}\n");
    if version == 1 {
        bytes.extend((header.len() as u16).to_le_bytes());
    } else {
        bytes.extend((header.len() as u32).to_le_bytes());
    }
    bytes.extend(header.as_bytes());
    bytes.extend(data);
    bytes
}

#[test]
fn what_is_wrong_is_named_and_takes_no_memory() {
    let dictionary = |kind: &str, shape: &str| {
        format!("{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}")
    };
    let good = [0; 4 * 9];
    let mut announced = file(2, "", &[]);
    announced[8..12].copy_from_slice(&u32::MAX.to_le_bytes());
    let cases: Vec<(Vec<u8>, &str)> = vec![
        (b"".to_vec(), "0 bytes, expected a .npy file"),
        (b"not a file of numbers".to_vec(), "magic string"),
        (file(9, &dictionary("<f4", "(3, 3)"), &good), "version"),
        (announced, "a header of 4294967307 bytes, expected at most 512"),
        (file(1, &"(".repeat(490), &[]), "expected a .npy file"),
        (file(1, "{'descr': '<f4'}", &[]), "missing key"),
        (
            file(1, &dictionary("<i4", "(3, 3)"), &good),
            "numbers of type '<i4', expected float16, float32 or float64",
        ),
        (file(1, &dictionary("<f2", "(3, 3)"), &good), "as its shape [3, 3] demands"),
        (file(1, &dictionary("|O", "(3, 3)"), &good), "numbers of type '|O'"),
        (file(1, &dictionary("<f4", "(9,)"), &good), "an array of shape [9], expected 2 dimensions"),
        (file(1, &dictionary("<f4", "(3, 3)"), &good[1..]), "expected"),
        (file(1, &dictionary("<f4", "(3, 3, )"), &[0; 37]), "as its shape [3, 3] demands"),
        (file(1, &dictionary("<f4", "(1000000, 1000000)"), &good), "as its shape [1000000, 1000000] demands"),
        (
            file(1, &dictionary("<f4", "(4294967296, 4294967296)"), &good),
            "expected a shape that fits in memory",
        ),
        (file(1, &dictionary("<f4", "(-3, 3)"), &good), "expected a .npy file"),
        (file(1, &dictionary("<f4", "(0, 3)"), &[]), "wh is [0, 3], expected [3, 3]"),
        (file(1, &dictionary("<f4", "(9, 1)"), &good), "wh is [9, 1], expected [3, 3]"),
    ];
    for (bytes, part) in cases {
        let folder = copy_of_lower();
        fs::write(folder.path().join("wh.npy"), bytes).unwrap();
        let error = npy::read::<f32>(folder.path()).unwrap_err();
        let message = error.to_string();
        assert!(
            matches!(error, Error::Input { .. }) && message.contains(part),
            "{part:?} is not in {message}"
        );
    }
    let folder = copy_of_lower();
    // The control: all of the above differ from a file that is right.
    fs::write(folder.path().join("wh.npy"), file(3, &dictionary("<f4", "(3, 3)"), &good)).unwrap();
    npy::read::<f32>(folder.path()).unwrap();
    fs::copy(folder.path().join("wx.npy"), folder.path().join("Wx.npy")).unwrap();
    let message = npy::read::<f32>(folder.path()).unwrap_err().to_string();
    // On a file system that ignores case, the copy is the file itself.
    if fs::read_dir(folder.path()).unwrap().count() == 8 {
        assert!(message.contains("beside"), "{message}");
    }
    fs::remove_file(folder.path().join("b.npy")).unwrap();
    fs::remove_file(folder.path().join("Wx.npy")).unwrap();
    assert!(matches!(npy::read::<f32>(folder.path()), Err(Error::Io { .. })));
}
