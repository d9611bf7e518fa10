//! nn.RNN, nn.GRU and nn.LSTM: round trips, state dicts that PyTorch wrote, a network that PyTorch's equations compute, and files that are not what they should be.

use std::collections::HashMap;
use std::path::Path;

use elman::ndarray::{Array1, Array2, Axis, concatenate};
use elman::{Activation, Cell, Feedback, Network, Params, Shape, context};
use elman_formats::Number;
use elman_formats::torch::{self, Naming, Nonlinearity};
use elman_reference::Reference;
use elman_tagger::Error;
use half::{bf16, f16};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};

const SHAPE: Shape = Shape { vocab: 9, embed: 3, window: 5, hidden: 6, classes: 4, ..Shape::ELMAN };
const TANH: Cell = Cell::Elman(Activation::Tanh);
const RELU: Cell = Cell::Elman(Activation::Relu);

fn params() -> Params<f64> {
    params_of(Cell::default())
}

fn params_of(cell: Cell) -> Params<f64> {
    let mut params = Params::init(Shape { cell, ..SHAPE }, 11).unwrap();
    params.bh_mut().assign(&Array1::linspace(-0.4, 0.5, 6 * cell.gates()));
    params.b_mut().assign(&Array1::linspace(-0.2, 0.1, 4));
    params.h0_mut().assign(&Array1::linspace(0.9, 0.2, 6));
    if let Some(mut bhn) = params.bhn_mut() {
        bhn.assign(&Array1::linspace(0.7, -0.6, 6));
    }
    if let Some(mut c0) = params.c0_mut() {
        c0.assign(&Array1::linspace(-0.3, 1.4, 6));
    }
    params
}

/// The largest difference of two entries, by which `found` may differ from what was expected.
fn assert_near<'a>(
    found: impl IntoIterator<Item = &'a f64>,
    expected: impl IntoIterator<Item = &'a f64>,
    allowed: f64,
    what: impl std::fmt::Display,
) {
    let (found, expected) = (found.into_iter().collect::<Vec<_>>(), expected.into_iter().collect::<Vec<_>>());
    assert_eq!(found.len(), expected.len(), "{what}");
    for (i, (found, expected)) in found.into_iter().zip(expected).enumerate() {
        assert!((found - expected).abs() <= allowed, "{what}, entry {i}: {found}, expected {expected}");
    }
}

#[test]
fn a_jordan_network_is_refused() {
    // Even where its tensors have the shapes of nn.RNN's.
    let shape = Shape { classes: 6, feedback: Feedback::Output, ..SHAPE };
    let params = Params::<f64>::init(shape, 11).unwrap();
    let refused = torch::to_bytes(&params, Nonlinearity::Sigmoid, []).unwrap_err().to_string();
    let expected = "a network of elman or elman-tanh or elman-relu or gru or lstm";
    assert_eq!(refused, format!("nn.RNN, nn.GRU and nn.LSTM: expected {expected}, found jordan"));
}

fn there_and_back<T: Number>(params: &Params<T>, nonlinearity: Nonlinearity) -> Params<T> {
    let more = [("labels".to_owned(), "[\"O\"]".to_owned())];
    let bytes = torch::to_bytes(params, nonlinearity, more).unwrap();
    let (back, metadata) = torch::from_bytes::<T>(&bytes, Path::new("f"), None).unwrap();
    assert_eq!(metadata["labels"], "[\"O\"]");
    assert_eq!(metadata["cell"], params.shape().cell.to_string());
    assert_eq!(back.shape(), params.shape());
    back
}

#[test]
fn round_trips() {
    for nonlinearity in [Nonlinearity::Tanh, Nonlinearity::Sigmoid] {
        for cell in Cell::ALL {
            let (double, single) = (params_of(cell), params_of(cell).map(|v| v as f32));
            let backs =
                (there_and_back(&double, nonlinearity), there_and_back(&single, nonlinearity).map(f64::from));
            if nonlinearity == Nonlinearity::Sigmoid || cell != Cell::default() {
                assert_eq!(backs, (double, single.map(f64::from)), "{cell}");
                continue;
            }
            // Products with powers of two are exact; the biases are sums of 6 numbers below 1.
            let exact = ["emb", "wx", "wh", "w"];
            for (back, params, allowed) in [(backs.0, double, 1e-15), (backs.1, single.map(f64::from), 1e-6)]
            {
                for ((name, found), (_, expected)) in back.tensors().zip(params.tensors()) {
                    let allowed = if exact.contains(&name.as_str()) { 0.0 } else { allowed };
                    assert_near(&found, &expected, allowed, name);
                }
            }
        }
    }
}

fn pytorchs(name: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/pytorch");
    std::fs::read(folder.join(format!("{name}.safetensors"))).unwrap()
}

/// tests/pytorch/make.py says the layout of the files.
#[test]
fn pytorchs_own_files_give_pytorchs_probabilities() {
    for (name, given, cell) in [
        ("rnn_tanh", None, Cell::default()),
        ("rnn_tanh", Some(Cell::default()), Cell::default()),
        ("rnn_tanh", Some(TANH), TANH),
        ("rnn_relu", None, RELU),
        ("rnn_relu", Some(RELU), RELU),
        ("gru", None, Cell::Gru),
        ("gru", Some(Cell::Gru), Cell::Gru),
        ("lstm", None, Cell::Lstm),
        ("lstm", Some(Cell::Lstm), Cell::Lstm),
    ] {
        let bytes = pytorchs(name);
        let path = Path::new(name);
        let (params, _) =
            torch::from_bytes_named::<f64>(&bytes, path, given, None, &Naming::default()).unwrap();
        let sizes = Shape { vocab: 9, embed: 3, window: 3, hidden: 5, classes: 4, ..Shape::ELMAN };
        assert_eq!(params.shape(), Shape { cell, ..sizes });
        let bytes = pytorchs(&format!("{name}.expected"));
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let words = file.tensor("words").unwrap();
        let words: Vec<u32> =
            words.data().as_chunks().0.iter().map(|b| i64::from_le_bytes(*b).try_into().unwrap()).collect();
        let s = file.tensor("s").unwrap();
        let s: Vec<f64> = s.data().as_chunks().0.iter().map(|b| f64::from_le_bytes(*b)).collect();
        let found = Reference::new().predict(&params, &words).unwrap();
        assert_near(&found, &s, 1e-14, format!("{name} as {cell}"));
    }
}

#[test]
fn written_files_have_pytorchs_names_and_shapes() {
    for (name, cell) in [("rnn_tanh", TANH), ("rnn_relu", RELU), ("gru", Cell::Gru), ("lstm", Cell::Lstm)] {
        let (bytes, path) = (pytorchs(name), Path::new(name));
        let (params, metadata) =
            torch::from_bytes_named::<f64>(&bytes, path, Some(cell), None, &Naming::default()).unwrap();
        let mut ours = tensors(&torch::to_bytes(&params, Nonlinearity::Tanh, []).unwrap());
        let mut theirs = tensors(&bytes);
        let shapes = |tensors: &HashMap<String, (Vec<usize>, Vec<f64>)>| {
            let mut shapes: Vec<_> =
                tensors.iter().map(|(name, (shape, _))| (name.clone(), shape.clone())).collect();
            shapes.sort();
            shapes
        };
        assert_eq!(shapes(&ours), shapes(&theirs), "{name}");
        assert_eq!(metadata["format"], "pt");
        // The biases are added; the others are the same numbers.
        let biases = |tensors: &mut HashMap<String, (Vec<usize>, Vec<f64>)>| {
            ["rnn.bias_ih_l0", "rnn.bias_hh_l0"].map(|name| Array1::from_vec(tensors.remove(name).unwrap().1))
        };
        let ([ours_ih, ours_hh], [theirs_ih, theirs_hh]) = (biases(&mut ours), biases(&mut theirs));
        assert_near(&(&ours_ih + &ours_hh), &(&theirs_ih + &theirs_hh), 1e-15, name);
        // But for the bias inside the product with the reset gate.
        for unit in 0..ours_hh.len() {
            let inside = cell == Cell::Gru && unit >= 10;
            assert_eq!(ours_hh[unit], if inside { theirs_hh[unit] } else { 0.0 }, "{name}, bias {unit}");
        }
        assert_eq!(ours, theirs, "{name}");
    }
}

/// Every tensor of a file, its shape and entries.
fn tensors(bytes: &[u8]) -> HashMap<String, (Vec<usize>, Vec<f64>)> {
    let file = SafeTensors::deserialize(bytes).unwrap();
    file.tensors()
        .into_iter()
        .map(|(name, view)| {
            assert_eq!(view.dtype(), Dtype::F64);
            let entries = view.data().as_chunks().0.iter().map(|bytes| f64::from_le_bytes(*bytes)).collect();
            (name, (view.shape().to_vec(), entries))
        })
        .collect()
}

/// The equations in the documentation of nn.Embedding, nn.RNN (tanh) and nn.Linear, from the file's tensors.
#[test]
fn pytorchs_equations_give_the_same_probabilities() {
    let bytes = torch::to_bytes(&params(), Nonlinearity::Tanh, []).unwrap();
    let tensors = tensors(&bytes);
    let matrix = |name: &str| {
        let (shape, entries) = &tensors[name];
        Array2::from_shape_vec((shape[0], shape[1]), entries.clone()).unwrap()
    };
    let vector = |name: &str| Array1::from_vec(tensors[name].1.clone());
    assert_eq!(matrix("rnn.weight_ih_l0").dim(), (SHAPE.hidden, SHAPE.input()));
    let words = [3, 1, 4, 1, 5, 8, 2];
    let expected = Reference::new().predict(&params(), &words).unwrap();
    let mut h = vector("h0");
    for t in 0..7 {
        let emb = matrix("emb.weight");
        let rows: Vec<_> = context(&words, t, &SHAPE).map(|id| emb.row(id as usize)).collect();
        let x = concatenate(Axis(0), &rows).unwrap();
        h = (matrix("rnn.weight_ih_l0").dot(&x)
            + vector("rnn.bias_ih_l0")
            + matrix("rnn.weight_hh_l0").dot(&h)
            + vector("rnn.bias_hh_l0"))
        .mapv(f64::tanh);
        let scores = (matrix("out.weight").dot(&h) + vector("out.bias")).mapv(f64::exp);
        let s = &scores / scores.sum();
        for (found, expected) in s.iter().zip(expected.row(t)) {
            assert!((found - expected).abs() < 1e-14, "word {t}: {found}, expected {expected}");
        }
    }
}

type Tensors = Vec<(String, Dtype, Vec<usize>, Vec<u8>)>;

fn parts() -> Tensors {
    parts_of(&params())
}

fn parts_of(params: &Params<f64>) -> Tensors {
    let bytes = torch::to_bytes(params, Nonlinearity::Tanh, []).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    file.tensors().into_iter().map(|(n, v)| (n, v.dtype(), v.shape().to_vec(), v.data().to_vec())).collect()
}

fn read(parts: &Tensors, metadata: Option<(&str, &str)>) -> Result<Params<f64>, Error> {
    read_as(parts, metadata.as_slice(), None, None)
}

fn read_as(
    parts: &Tensors,
    metadata: &[(&str, &str)],
    cell: Option<Cell>,
    nonlinearity: Option<Nonlinearity>,
) -> Result<Params<f64>, Error> {
    let views = parts
        .iter()
        .map(|(name, dtype, shape, data)| (name, TensorView::new(*dtype, shape.clone(), data).unwrap()));
    let metadata = metadata.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect();
    let bytes = safetensors::serialize(views, Some(metadata)).unwrap();
    let naming = Naming::default();
    torch::from_bytes_named(&bytes, Path::new("f"), cell, nonlinearity, &naming).map(|(params, _)| params)
}

#[test]
fn biases_are_added_and_what_is_missing_is_zero() {
    let mut twice = parts();
    let bias = twice.iter().find(|part| part.0 == "rnn.bias_ih_l0").unwrap().3.clone();
    twice.iter_mut().find(|part| part.0 == "rnn.bias_hh_l0").unwrap().3 = bias;
    let (once, twice) = (read(&parts(), None).unwrap(), read(&twice, None).unwrap());
    let column_sums = once.wh().sum_axis(Axis(0));
    for unit in 0..SHAPE.hidden {
        // bias = bh/2 + sum/4, so twice the bias is another bh: 2·bh + sum/2.
        let expected = 2.0 * once.bh()[unit] + column_sums[unit] / 2.0;
        assert!((twice.bh()[unit] - expected).abs() < 1e-14);
    }
    let mut bare = parts();
    bare.retain(|part| !part.0.contains("bias") && part.0 != "h0");
    let bare = read(&bare, None).unwrap();
    assert_eq!(bare.h0(), Array1::from_elem(6, 0.5)); // tanh's 0
    let sums = bare.w().sum_axis(Axis(0)) / -2.0;
    assert!(bare.b().iter().zip(&sums).all(|(b, sum)| (b - sum).abs() < 1e-15));
}

#[test]
fn half_precision_is_read() {
    for (dtype, round) in [
        (Dtype::F16, (|v| f16::from_f64(v).to_le_bytes()) as fn(f64) -> [u8; 2]),
        (Dtype::BF16, |v| bf16::from_f64(v).to_le_bytes()),
    ] {
        // As the metadata says, the file has the numbers themselves.
        let bytes = torch::to_bytes(&params(), Nonlinearity::Sigmoid, []).unwrap();
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let halves: Tensors = file
            .tensors()
            .into_iter()
            .map(|(name, view)| {
                let data = view.data().as_chunks().0.iter().flat_map(|b| round(f64::from_le_bytes(*b)));
                (name, dtype, view.shape().to_vec(), data.collect())
            })
            .collect();
        let found = read(&halves, Some(("nonlinearity", "sigmoid"))).unwrap();
        let expected = |v: f64| match dtype {
            Dtype::F16 => f16::from_f64(v).to_f64(),
            _ => bf16::from_f64(v).to_f64(),
        };
        assert_eq!(found, params().map(expected));
    }
}

fn naming(prefix: &str, renames: &[(&str, &str)]) -> Naming {
    let own = |(a, b): &(&str, &str)| (a.to_string(), b.to_string());
    Naming { prefix: prefix.to_owned(), renames: renames.iter().map(own).collect() }
}

#[test]
fn other_names_are_read_and_written() {
    let theirs =
        naming("module.", &[("rnn", "encoder.rnn"), ("emb.weight", "words.weight"), ("h0", "first")]);
    let bytes = torch::to_bytes_named(&params(), Nonlinearity::Sigmoid, [], &theirs).unwrap();
    let mut names: Vec<String> = tensors(&bytes).into_keys().collect();
    names.sort();
    assert_eq!(
        names,
        [
            "module.encoder.rnn.bias_hh_l0",
            "module.encoder.rnn.bias_ih_l0",
            "module.encoder.rnn.weight_hh_l0",
            "module.encoder.rnn.weight_ih_l0",
            "module.first",
            "module.out.bias",
            "module.out.weight",
            "module.words.weight"
        ]
    );
    let read = |bytes: &[u8], naming: &Naming| {
        torch::from_bytes_named::<f64>(bytes, Path::new("f"), None, None, naming)
            .map(|found| found.0)
            .map_err(|error| error.to_string())
    };
    let back = naming("module.", &[("encoder.rnn", "rnn"), ("words", "emb"), ("first", "h0")]);
    assert_eq!(read(&bytes, &back).unwrap(), params());
    // A tensor beside the prefix is a part of something else.
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let other = TensorView::new(Dtype::F64, vec![1], &[0; 8]).unwrap();
    let more = file.tensors().into_iter().chain([("loss.weight".to_owned(), other)]);
    let more = [
        safetensors::serialize(more, Some(HashMap::from([("nonlinearity".into(), "sigmoid".into())])))
            .unwrap(),
        bytes.clone(),
    ];
    assert_eq!(read(&more[0], &back).unwrap(), params());

    for (naming, message) in [
        (naming("", &[]), "tensor \"module.encoder.rnn.bias_hh_l0\", expected only emb.weight"),
        (naming("", &[]), "c0; --prefix module. reads the tensors whose names begin so"),
        (naming("module.", &[]), "tensor \"module.encoder.rnn.bias_hh_l0\", expected only emb.weight"),
        (naming("model.", &[]), "no tensor begins with \"model.\", expected a prefix of one of module.enc"),
        (naming("module.", &[("rn", "rnn")]), "no tensor \"rn\", which is to be renamed"),
        // A part of a name between dots is not a name.
        (naming("module.", &[("enc", "rnn")]), "no tensor \"enc\""),
        (
            naming("module.", &[("encoder.rnn", "rnn"), ("words", "out"), ("first", "h0")]),
            "would both be out.weight",
        ),
        (naming("module.", &[("encoder.rnn", "rnn"), ("first", "h0")]), "tensor \"module.words.weight\""),
    ] {
        let error = read(&bytes, &naming).unwrap_err();
        assert!(error.starts_with("f: ") && error.contains(message), "{message:?} is not in {error}");
    }
    // One part of a larger model, names without a prefix, and what no option would read.
    let own = || tensors(&torch::to_bytes(&params(), Nonlinearity::Tanh, []).unwrap()).into_keys();
    for (names, message) in [
        (
            own().map(|name| format!("tagger.{name}")).chain(["loss.weight".to_owned()]).collect(),
            "--prefix tagger. reads",
        ),
        (
            own().map(|name| name.replace("rnn.", "lstm.")).collect(),
            "--rename lstm=rnn reads it by another name",
        ),
        (own().map(|name| name.replace("emb.", "embedding.")).collect(), "--rename embedding=emb reads"),
        (own().map(|name| name.replace("out.", "fc.")).collect(), "--rename fc=out reads"),
        (
            own().chain(["rnn.weight_ih_l1".to_owned()]).collect(),
            "other layers, directions and parameters are not read",
        ),
        (own().chain(["steps".to_owned()]).collect::<Vec<_>>(), "a file without other tensors can be read"),
    ] {
        let view = || TensorView::new(Dtype::F64, vec![1], &[0; 8]).unwrap();
        let bytes = safetensors::serialize(names.into_iter().map(|name| (name, view())), None).unwrap();
        let error = read(&bytes, &naming("", &[])).unwrap_err();
        assert!(error.starts_with("f: tensor ") && error.contains(message), "{message:?} is not in {error}");
    }
    for (naming, message) in [
        (naming("", &[("embedding", "e")]), "tensor to be renamed: expected emb.weight"),
        (naming("", &[("emb", "out")]), "out.weight for emb.weight and out.weight"),
    ] {
        let error =
            torch::to_bytes_named(&params(), Nonlinearity::Tanh, [], &naming).unwrap_err().to_string();
        assert!(error.contains(message), "{message:?} is not in {error}");
    }
}

#[test]
fn a_file_of_another_format_is_named() {
    for (bytes, message) in [
        (
            &b"PK\x03\x04 data.pkl"[..],
            "f: a zip archive, as torch.save and numpy.savez write it, expected a safetensors file",
        ),
        (b"\x80\x02}q\x00.", "f: a pickle, as torch.save can write it"),
        (b"\x93NUMPY\x01\x00", "f: an array of NumPy"),
        (b"epoch 1 done", "f: header too large"),
    ] {
        let error = torch::from_bytes::<f32>(bytes, Path::new("f"), None).unwrap_err().to_string();
        assert!(error.starts_with(message), "{error}");
        assert!(error.ends_with("as safetensors.torch.save_file writes it of a state dict"), "{error}");
    }
}

#[test]
fn what_is_wrong_is_named() {
    type Change = fn(&mut Tensors);
    fn named<'a>(parts: &'a mut Tensors, name: &str) -> &'a mut (String, Dtype, Vec<usize>, Vec<u8>) {
        parts.iter_mut().find(|part| part.0 == name).unwrap()
    }
    let cases: [(Change, &str); 10] = [
        (|p| p.retain(|part| part.0 != "emb.weight"), "no tensor emb.weight"),
        (
            |p| {
                let more = named(p, "rnn.weight_hh_l0").clone();
                p.push(("rnn.weight_hh_l1".into(), more.1, more.2, more.3));
            },
            "tensor \"rnn.weight_hh_l1\", expected only emb.weight",
        ),
        (|p| named(p, "h0").1 = Dtype::I64, "h0 is of type I64, expected F16, BF16, F32 or F64"),
        (|p| named(p, "h0").2 = vec![1, 6], "h0 has shape [1, 6], expected 1 dimension"),
        (
            |p| named(p, "rnn.weight_hh_l0").2 = vec![4, 9],
            "rnn.weight_hh_l0 has shape [4, 9], expected [hidden,",
        ),
        (
            |p| {
                // Two gates, which no module has.
                let weights = named(p, "rnn.weight_hh_l0");
                weights.2 = vec![12, 6];
                weights.3 = weights.3.repeat(2);
            },
            "has shape [12, 6], expected [hidden, hidden] of an nn.RNN, [3 · hidden, hidden] of an nn.GRU, or",
        ),
        (
            |p| {
                let mut c0 = named(p, "h0").clone();
                c0.0 = "c0".into();
                p.push(c0);
            },
            "tensor \"c0\" beside an nn.RNN, expected the initial c of an nn.LSTM only",
        ),
        (
            |p| {
                // No bytes, and yet a length that takes all memory.
                named(p, "out.weight").2 = vec![1 << 60, 0];
                named(p, "out.weight").3.clear();
                p.retain(|part| part.0 != "out.bias");
            },
            "out.weight has shape [1152921504606846976, 0], expected 2 dimensions, each of at least 1",
        ),
        (|p| named(p, "out.weight").2 = vec![24], "out.weight has shape [24], expected 2 dimensions"),
        (
            |p| {
                let bias = named(p, "out.bias");
                bias.2 = vec![3];
                bias.3.truncate(24);
            },
            "out.bias has shape [3], expected [4]",
        ),
    ];
    for (change, part) in cases {
        let mut parts = parts();
        change(&mut parts);
        let message = read(&parts, None).unwrap_err().to_string();
        assert!(message.starts_with("f: ") && message.contains(part), "{part:?} is not in {message}");
    }
    assert_ne!(read(&parts(), Some(("nonlinearity", "sigmoid"))).unwrap(), read(&parts(), None).unwrap());
    assert!(torch::from_bytes::<f32>(b"no file", Path::new("f"), None).is_err());
}

#[test]
fn the_given_cell_goes_before_the_metadata_and_the_metadata_before_the_tensors() {
    let (rnn, gru) = (parts(), parts_of(&params_of(Cell::Gru)));
    let said: &[(&str, &str)] = &[("cell", "elman-tanh")];
    let cell = |parts, metadata, given| read_as(parts, metadata, given, None).unwrap().shape().cell;
    assert_eq!(cell(&rnn, &[], None), Cell::default());
    assert_eq!(cell(&rnn, said, None), TANH);
    assert_eq!(cell(&rnn, said, Some(Cell::default())), Cell::default());
    assert_eq!(cell(&rnn, &[("nonlinearity", "relu")], None), RELU);
    assert_eq!(cell(&rnn, &[("cell", "elman-relu")], None), RELU);
    // A state dict does not say its nonlinearity, so that only the cell can.
    assert_eq!(cell(&rnn, &[], Some(RELU)), RELU);
    assert_eq!(cell(&gru, &[], None), Cell::Gru);
    assert_eq!(cell(&gru, &[("cell", "gru")], None), Cell::Gru);
    let lstm = parts_of(&params_of(Cell::Lstm));
    assert_eq!(cell(&lstm, &[], None), Cell::Lstm);
    assert_eq!(cell(&lstm, &[("cell", "lstm")], None), Cell::Lstm);
}

#[test]
fn sigmoid_and_tanh_become_each_other_with_the_same_probabilities() {
    let words = [3, 1, 4, 1, 5, 8, 2];
    for nonlinearity in [Nonlinearity::Tanh, Nonlinearity::Sigmoid] {
        for (from, to) in [(Cell::default(), TANH), (TANH, Cell::default())] {
            let params = params_of(from);
            let bytes = torch::to_bytes(&params, nonlinearity, []).unwrap();
            let (other, _) =
                torch::from_bytes_named(&bytes, Path::new("f"), Some(to), None, &Naming::default()).unwrap();
            assert_eq!(other.shape().cell, to);
            let [expected, found] = [&params, &other].map(|p| Reference::new().predict(p, &words).unwrap());
            assert_near(&found, &expected, 1e-14, format!("{from} as {to}"));
        }
    }
}

#[test]
fn recurrences_that_no_network_of_the_cell_equals_are_refused() {
    let (rnn, gru) = (parts(), parts_of(&params_of(Cell::Gru)));
    let lstm = parts_of(&params_of(Cell::Lstm));
    let relu = ("nonlinearity", "relu");
    let (tanh, sigmoid) = (Some(Nonlinearity::Tanh), Some(Nonlinearity::Sigmoid));
    type Case<'a> = (&'a Tensors, &'a [(&'a str, &'a str)], Option<Cell>, Option<Nonlinearity>, &'a str);
    let cases: [Case<'_>; 17] = [
        (
            &rnn,
            &[relu],
            Some(Cell::default()),
            None,
            "an nn.RNN with relu, expected the recurrence of the cell elman",
        ),
        (&rnn, &[("cell", "elman-relu")], Some(TANH), None, "an nn.RNN with relu"),
        (&rnn, &[("cell", "elman-tanh"), relu], None, None, "an nn.RNN with relu"),
        (
            &rnn,
            &[("nonlinearity", "tanh")],
            Some(RELU),
            None,
            "an nn.RNN with tanh, expected the recurrence of the cell elman-relu",
        ),
        (&rnn, &[], Some(RELU), sigmoid, "an nn.RNN with sigmoid"),
        (&rnn, &[("cell", "elman-relu")], None, tanh, "an nn.RNN with tanh"),
        (&rnn, &[], Some(Cell::Gru), None, "an nn.RNN, expected the recurrence of the cell gru"),
        (&rnn, &[("cell", "gru")], None, None, "an nn.RNN, expected the recurrence of the cell gru"),
        (&gru, &[], Some(Cell::default()), None, "an nn.GRU, expected the recurrence of the cell elman"),
        (
            &gru,
            &[("cell", "elman-relu")],
            None,
            None,
            "an nn.GRU, expected the recurrence of the cell elman-relu",
        ),
        (&gru, &[], None, tanh, "an nn.GRU, and the nonlinearity tanh, expected no nonlinearity"),
        (
            &rnn,
            &[("cell", "mgu")],
            None,
            None,
            "cell \"mgu\" in the metadata, expected elman, elman-tanh, elman-relu, gru, lstm",
        ),
        (&lstm, &[], Some(Cell::Gru), None, "an nn.LSTM, expected the recurrence of the cell gru"),
        (&gru, &[], Some(Cell::Lstm), None, "an nn.GRU, expected the recurrence of the cell lstm"),
        (&lstm, &[], Some(TANH), None, "an nn.LSTM, expected the recurrence of the cell elman-tanh"),
        (&lstm, &[], None, tanh, "an nn.LSTM, and the nonlinearity tanh, expected no nonlinearity"),
        (
            &rnn,
            &[("nonlinearity", "selu")],
            None,
            None,
            "nonlinearity \"selu\" in the metadata, expected sigmoid, tanh, relu",
        ),
    ];
    for (parts, metadata, cell, nonlinearity, part) in cases {
        let message = read_as(parts, metadata, cell, nonlinearity).unwrap_err().to_string();
        assert!(message.starts_with("f: ") && message.contains(part), "{part:?} is not in {message}");
    }
    // One gate too many or too few beside a right weight_hh.
    let wh = "wh, transposed where PyTorch does, is [6, ";
    let wx = "wx, transposed where PyTorch does, is [15, 18], expected a multiple of 4 columns";
    for (parts, weights, expected) in
        [(&rnn, vec![12, 15], wh), (&gru, vec![24, 15], wh), (&lstm, vec![18, 15], wx)]
    {
        let mut parts = parts.clone();
        let part = parts.iter_mut().find(|part| part.0 == "rnn.weight_ih_l0").unwrap();
        part.3 = vec![0; 8 * weights[0] * weights[1]];
        part.2 = weights;
        let message = read(&parts, None).unwrap_err().to_string();
        assert!(message.contains(expected), "{message}");
    }
}
