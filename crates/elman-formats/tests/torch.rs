//! nn.RNN: round trips, a network that PyTorch's equations compute, and files that are not what they should be.

use std::collections::HashMap;
use std::path::Path;

use elman::ndarray::{Array1, Array2, Axis, concatenate};
use elman::{Error, Feedback, Network, Params, Sentence, Shape};
use elman_formats::torch::{self, Naming, Nonlinearity};
use elman_reference::Reference;
use half::{bf16, f16};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};

const SHAPE: Shape =
    Shape { vocab: 9, embed: 3, window: 5, hidden: 6, classes: 4, feedback: Feedback::Hidden };

fn params() -> Params<f64> {
    let mut params = Params::init(SHAPE, 11).unwrap();
    params.bh = Array1::linspace(-0.4, 0.5, 6);
    params.b = Array1::linspace(-0.2, 0.1, 4);
    params.h0 = Array1::linspace(0.9, 0.2, 6);
    params
}

#[test]
fn a_jordan_network_is_refused() {
    // Even where its tensors have the shapes of nn.RNN's.
    let shape = Shape { classes: 6, feedback: Feedback::Output, ..SHAPE };
    let params = Params::<f64>::init(shape, 11).unwrap();
    let refused = torch::to_bytes(&params, Nonlinearity::Sigmoid, []).unwrap_err().to_string();
    assert_eq!(refused, "nn.RNN: expected an Elman network, found a Jordan network");
}

#[test]
fn round_trips() {
    for nonlinearity in [Nonlinearity::Tanh, Nonlinearity::Sigmoid] {
        let more = [("labels".to_owned(), "[\"O\"]".to_owned())];
        let bytes = torch::to_bytes(&params(), nonlinearity, more.clone()).unwrap();
        let (back, metadata) = torch::from_bytes::<f64>(&bytes, Path::new("f"), None).unwrap();
        assert_eq!(metadata["labels"], "[\"O\"]");
        for ((name, a), (_, b)) in params().tensors().into_iter().zip(back.tensors()) {
            // Sums of 6 numbers below 1, scaled by powers of two.
            let worst = (&a - &b).iter().fold(0.0, |worst: f64, d| worst.max(d.abs()));
            assert!(worst <= if nonlinearity == Nonlinearity::Tanh { 1e-15 } else { 0.0 }, "{name}: {worst}");
        }
        let single = params().map(|v| v as f32);
        let bytes = torch::to_bytes(&single, nonlinearity, []).unwrap();
        let (back, _) = torch::from_bytes::<f32>(&bytes, Path::new("f"), None).unwrap();
        let exact = ["emb", "wx", "wh", "w"];
        for ((name, a), (_, b)) in single.tensors().into_iter().zip(back.tensors()) {
            assert!(if exact.contains(&name) {
                a == b
            } else {
                a.iter().zip(&b).all(|(a, b)| (a - b).abs() < 1e-6)
            });
        }
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
    let sentence = Sentence::new(vec![3, 1, 4, 1, 5, 8, 2]).unwrap();
    let expected = Reference::new().predict(&params(), &sentence).unwrap();
    let mut h = vector("h0");
    for t in 0..7 {
        let emb = matrix("emb.weight");
        let rows: Vec<_> = sentence.context(t, &SHAPE).map(|id| emb.row(id)).collect();
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
    let bytes = torch::to_bytes(&params(), Nonlinearity::Tanh, []).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    file.tensors().into_iter().map(|(n, v)| (n, v.dtype(), v.shape().to_vec(), v.data().to_vec())).collect()
}

fn read(parts: &Tensors, metadata: Option<(&str, &str)>) -> Result<Params<f64>, Error> {
    let views = parts
        .iter()
        .map(|(name, dtype, shape, data)| (name, TensorView::new(*dtype, shape.clone(), data).unwrap()));
    let metadata = metadata.map(|(key, value)| HashMap::from([(key.to_owned(), value.to_owned())]));
    let bytes = safetensors::serialize(views, metadata).unwrap();
    torch::from_bytes(&bytes, Path::new("f"), None).map(|(params, _)| params)
}

#[test]
fn biases_are_added_and_what_is_missing_is_zero() {
    let mut twice = parts();
    let bias = twice.iter().find(|part| part.0 == "rnn.bias_ih_l0").unwrap().3.clone();
    twice.iter_mut().find(|part| part.0 == "rnn.bias_hh_l0").unwrap().3 = bias;
    let (once, twice) = (read(&parts(), None).unwrap(), read(&twice, None).unwrap());
    let column_sums = once.wh.sum_axis(Axis(0));
    for unit in 0..SHAPE.hidden {
        // bias = bh/2 + sum/4, so twice the bias is another bh: 2·bh + sum/2.
        let expected = 2.0 * once.bh[unit] + column_sums[unit] / 2.0;
        assert!((twice.bh[unit] - expected).abs() < 1e-14);
    }
    let mut bare = parts();
    bare.retain(|part| !part.0.contains("bias") && part.0 != "h0");
    let bare = read(&bare, None).unwrap();
    assert_eq!(bare.h0, Array1::from_elem(6, 0.5)); // tanh's 0
    let sums = bare.w.sum_axis(Axis(0)) / -2.0;
    assert!(bare.b.iter().zip(&sums).all(|(b, sum)| (b - sum).abs() < 1e-15));
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
        torch::from_bytes_named::<f64>(bytes, Path::new("f"), None, naming)
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
fn what_is_wrong_is_named() {
    type Change = fn(&mut Tensors);
    fn named<'a>(parts: &'a mut Tensors, name: &str) -> &'a mut (String, Dtype, Vec<usize>, Vec<u8>) {
        parts.iter_mut().find(|part| part.0 == name).unwrap()
    }
    let cases: [(Change, &str); 7] = [
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
        (|p| named(p, "rnn.weight_hh_l0").2 = vec![4, 9], "wh, transposed where nn.RNN does, is [9, 4]"),
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
    assert!(read(&parts(), Some(("nonlinearity", "relu"))).unwrap_err().to_string().contains("\"relu\""));
    assert_ne!(read(&parts(), Some(("nonlinearity", "sigmoid"))).unwrap(), read(&parts(), None).unwrap());
    assert!(torch::from_bytes::<f32>(b"no file", Path::new("f"), None).is_err());
}
