//! ONNX: a graph from word ids to probabilities.
//!
//! The nodes are listed in the [crate]'s documentation; the messages are those of `onnx.proto`.

mod proto;

use std::path::Path;

use elman::ndarray::{ArrayBase, Axis, Data, Dimension};
use elman::{Activation, Cell, Params};
use elman_tagger::{Error, FileKind, write_output};
use prost::Message;

use crate::Nonlinearity;
use proto::{Attribute, Graph, Model, Node, OperatorSet, StringEntry, Tensor, ValueInfo};

/// The operator set that the nodes are from.
const OPSET: i64 = 17;
/// The version of the format itself that goes with it.
const IR_VERSION: i64 = 8;
/// Protocol buffers end there, so does the format.
const MAX_BYTES: usize = i32::MAX as usize;

/// The content of an ONNX file, with `metadata` entries. With [`Nonlinearity::Tanh`] the parameters are converted, in
/// `f64` and rounded once, for engines that do not look at the node's `activations`. The nonlinearity is that of a sigmoid
/// network; the other cells are written as they are.
///
/// # Errors
/// [`elman::Error::Unsupported`] for a Jordan network, which no node of ONNX is; [`elman::Error::Shape`] if it takes more
/// than the 2 GiB that ONNX files may have.
pub fn to_bytes(
    params: &Params<f32>,
    nonlinearity: Nonlinearity,
    metadata: impl IntoIterator<Item = (String, String)>,
) -> Result<Vec<u8>, Error> {
    let model = Model {
        ir_version: IR_VERSION,
        producer_name: "elman".into(),
        producer_version: env!("CARGO_PKG_VERSION").into(),
        graph: Some(graph(params, nonlinearity)?),
        opset_import: vec![OperatorSet { domain: String::new(), version: OPSET }],
        metadata_props: metadata.into_iter().map(|(key, value)| StringEntry { key, value }).collect(),
    };
    let length = model.encoded_len();
    if length > MAX_BYTES {
        return Err(Error::shape("ONNX file", format!("at most {MAX_BYTES} bytes"), length));
    }
    Ok(model.encode_to_vec())
}

/// Writes a file, as a whole or not at all; see [`to_bytes`].
///
/// # Errors
/// Those of [`to_bytes`]; [`Error::Io`] if the system refuses.
pub fn write(
    path: impl AsRef<Path>,
    params: &Params<f32>,
    nonlinearity: Nonlinearity,
    metadata: impl IntoIterator<Item = (String, String)>,
) -> Result<(), Error> {
    write_output(path, KIND, &to_bytes(params, nonlinearity, metadata)?)
}

/// A file of this format, for [`check_output`](elman_tagger::check_output): the field `ir_version` with a small number,
/// then another field of the model.
pub const KIND: FileKind = FileKind {
    name: "an ONNX file",
    begins: |start| matches!(start, [0x08, version, field, ..] if *version < 0x20 && [0x12, 0x1a, 0x22, 0x28, 0x32, 0x3a, 0x42].contains(field)),
};

fn graph(params: &Params<f32>, nonlinearity: Nonlinearity) -> Result<Graph, Error> {
    let shape = params.shape();
    shape.only("ONNX's RNN, GRU and LSTM nodes", &Cell::ALL)?;
    let sigmoid = Cell::default();
    let params = if shape.cell == sigmoid {
        nonlinearity.encode(params.map(f64::from)).map(|entry| entry as f32)
    } else {
        params.clone()
    };
    let (op, activations): (_, &[&str]) = match shape.cell {
        Cell::Elman(Activation::Tanh) => ("RNN", &["Tanh"]),
        Cell::Elman(Activation::Relu) => ("RNN", &["Relu"]),
        Cell::Gru => ("GRU", &["Sigmoid", "Tanh"]),
        Cell::Lstm => ("LSTM", &["Sigmoid", "Tanh", "Tanh"]),
        _ if nonlinearity == Nonlinearity::Tanh => ("RNN", &["Tanh"]),
        _ => ("RNN", &["Sigmoid"]),
    };
    let dims = |sizes: &[usize]| sizes.iter().map(|size| *size as i64).collect::<Vec<_>>();
    let (input, hidden) = (shape.input(), shape.hidden);
    let mut g = Graph { name: "elman".into(), ..Graph::default() };

    // The windows of ids, [words, window]: column k is the padded sentence from k on, as long as the sentence.
    let half = shape.window / 2;
    let padded = if half == 0 {
        "words"
    } else {
        g.ids("padding", &vec![shape.padding() as i64; half]);
        g.node("Concat", &["padding", "words", "padding"], "padded", vec![Attribute::int("axis", 0)]);
        "padded"
    };
    g.ids("axis_0", &[0]);
    g.ids("axis_1", &[1]);
    let columns: Vec<String> = (0..shape.window).map(|k| format!("column_{k}")).collect();
    for (k, column) in columns.iter().enumerate() {
        let (start, end, shifted) = (format!("start_{k}"), format!("end_{k}"), format!("shifted_{k}"));
        let after = (shape.window - 1 - k) as i64;
        g.ids(&start, &[k as i64]);
        g.ids(&end, &[if after == 0 { i64::MAX } else { -after }]);
        g.node("Slice", &[padded, &start, &end, "axis_0"], &shifted, vec![]);
        g.node("Unsqueeze", &[&shifted, "axis_1"], column, vec![]);
    }
    let columns: Vec<&str> = columns.iter().map(String::as_str).collect();
    g.node("Concat", &columns, "windows", vec![Attribute::int("axis", 1)]);

    // x, [words, 1 sequence, input].
    g.tensor("emb", dims(params.emb().shape()), &params.emb());
    g.node("Gather", &["emb", "windows"], "embedded", vec![Attribute::int("axis", 0)]);
    g.ids("x_shape", &[-1, 1, input as i64]);
    g.node("Reshape", &["embedded", "x_shape"], "x", vec![]);

    // h, [words, 1 direction, 1 sequence, hidden]. ONNX has two biases, for x and for h; the second is 0 but for bhn. There
    // a GRU's gates are in the order z, r, n, and an LSTM's in the order i, o, f, g.
    let gates: &[usize] = match op {
        "GRU" => &[1, 0, 2],
        "LSTM" => &[0, 3, 1, 2],
        _ => &[0],
    };
    let columns: Vec<usize> = gates.iter().flat_map(|gate| gate * hidden..(gate + 1) * hidden).collect();
    let width = columns.len();
    g.tensor("wx", dims(&[1, width, input]), &params.wx().select(Axis(1), &columns).t());
    g.tensor("wh", dims(&[1, width, hidden]), &params.wh().select(Axis(1), &columns).t());
    let mut biases = params.bh().select(Axis(0), &columns).to_vec();
    biases.resize(2 * width, 0.0);
    if let Some(bhn) = params.bhn() {
        biases[2 * width - hidden..].iter_mut().zip(bhn).for_each(|(to, from)| *to = *from);
    }
    g.tensor("bh", dims(&[1, 2 * width]), &elman::ndarray::aview1(&biases));
    g.tensor("h0", dims(&[1, 1, hidden]), &params.h0());
    let mut attributes = vec![
        Attribute::strings("activations", activations),
        Attribute::string("direction", "forward"),
        Attribute::int("hidden_size", hidden as i64),
        Attribute::int("layout", 0),
    ];
    match op {
        "GRU" => attributes.push(Attribute::int("linear_before_reset", 1)),
        "LSTM" => attributes.push(Attribute::int("input_forget", 0)),
        _ => {}
    }
    // The empty name leaves out the lengths of the sequences.
    let mut inputs = vec!["x", "wx", "wh", "bh", "", "h0"];
    if let Some(c0) = params.c0() {
        g.tensor("c0", dims(&[1, 1, hidden]), &c0);
        inputs.push("c0");
    }
    g.node(op, &inputs, "h", attributes);

    // s, [words, classes].
    g.ids("rows_shape", &[-1, hidden as i64]);
    g.node("Reshape", &["h", "rows_shape"], "rows", vec![]);
    g.tensor("w", dims(params.w().shape()), &params.w());
    g.node("MatMul", &["rows", "w"], "products", vec![]);
    g.tensor("b", dims(&[shape.classes]), &params.b());
    g.node("Add", &["products", "b"], "scores", vec![]);
    g.node("Softmax", &["scores"], "probabilities", vec![Attribute::int("axis", 1)]);

    g.input = vec![ValueInfo::tensor("words", proto::INT64, "length", None)];
    g.output = vec![ValueInfo::tensor("probabilities", proto::FLOAT, "length", Some(shape.classes as i64))];
    Ok(g)
}

impl Graph {
    fn node(&mut self, op_type: &str, inputs: &[&str], output: &str, attribute: Vec<Attribute>) {
        self.node.push(Node {
            input: inputs.iter().map(|name| name.to_string()).collect(),
            output: vec![output.to_owned()],
            name: output.to_owned(),
            op_type: op_type.to_owned(),
            attribute,
        });
    }

    fn ids(&mut self, name: &str, ids: &[i64]) {
        self.initializer.push(Tensor {
            dims: vec![ids.len() as i64],
            data_type: proto::INT64,
            name: name.to_owned(),
            raw_data: ids.iter().flat_map(|id| id.to_le_bytes()).collect(),
        });
    }

    /// A tensor of these dimensions; its entries in the order of their indices, whatever the layout.
    fn tensor<S: Data<Elem = f32>, D: Dimension>(
        &mut self,
        name: &str,
        dims: Vec<i64>,
        entries: &ArrayBase<S, D>,
    ) {
        self.initializer.push(Tensor {
            dims,
            data_type: proto::FLOAT,
            name: name.to_owned(),
            raw_data: entries.iter().flat_map(|entry| entry.to_le_bytes()).collect(),
        });
    }
}

#[cfg(test)]
mod tests {
    use elman::{Feedback, Shape};

    use super::*;

    #[test]
    fn a_jordan_network_is_refused() {
        let shape = Shape { vocab: 6, embed: 2, window: 3, hidden: 3, classes: 3, ..Shape::ELMAN };
        let shape = Shape { feedback: Feedback::Output, ..shape };
        let params = Params::init(shape, 3).unwrap();
        let refused = to_bytes(&params, Nonlinearity::Sigmoid, []).unwrap_err().to_string();
        assert!(
            refused.starts_with("ONNX's RNN, GRU and LSTM nodes: expected a network of elman"),
            "{refused}"
        );
    }

    fn decoded(params: &Params<f32>, nonlinearity: Nonlinearity) -> Graph {
        let bytes = to_bytes(params, nonlinearity, [("labels".to_owned(), "[]".to_owned())]).unwrap();
        let model = Model::decode(&bytes[..]).unwrap();
        assert_eq!(model.metadata_props[0].key, "labels");
        model.graph.unwrap()
    }

    fn entries(graph: &Graph, name: &str) -> (Vec<i64>, Vec<f32>) {
        let tensor = graph.initializer.iter().find(|tensor| tensor.name == name).unwrap();
        let entries = tensor.raw_data.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
        (tensor.dims.clone(), entries)
    }

    #[test]
    fn the_file_has_one_recurrence_and_every_name_is_made_before_it_is_used() {
        for (window, cell) in [1, 3, 7].into_iter().flat_map(|window| Cell::ALL.map(|cell| (window, cell))) {
            let shape = Shape { vocab: 6, embed: 2, window, hidden: 3, classes: 4, cell, ..Shape::ELMAN };
            let params = Params::init(shape, 3).unwrap();
            let graph = decoded(&params, Nonlinearity::Sigmoid);
            let of_type = |op: &str| graph.node.iter().filter(|node| node.op_type == op).count();
            let expected = match cell {
                Cell::Gru => [0, 1, 0],
                Cell::Lstm => [0, 0, 1],
                _ => [1, 0, 0],
            };
            assert_eq!(["RNN", "GRU", "LSTM"].map(of_type), expected);
            assert_eq!(of_type("Slice"), window);
            let mut known: Vec<String> = vec!["words".into(), String::new()];
            for tensor in &graph.initializer {
                let entries: i64 = tensor.dims.iter().product();
                let width = if tensor.data_type == proto::INT64 { 8 } else { 4 };
                assert_eq!(tensor.raw_data.len() as i64, entries * width, "{}", tensor.name);
                assert!(!known.contains(&tensor.name), "{}", tensor.name);
                known.push(tensor.name.clone());
            }
            for node in &graph.node {
                node.input.iter().for_each(|name| assert!(known.contains(name), "{name}"));
                known.extend(node.output.iter().cloned());
            }
            // The transposed wx: its second entry is the second input of the first unit.
            if cell != Cell::Gru {
                assert_eq!(entries(&graph, "wx").1[1], params.wx()[[1, 0]]);
            }
        }
    }

    /// `activations` and `linear_before_reset` of the one node of a recurrence, whose other attributes say what would be
    /// the default.
    fn recurrence(graph: &Graph) -> (Vec<String>, Option<i64>) {
        let is_recurrence = |node: &&proto::Node| ["RNN", "GRU", "LSTM"].contains(&node.op_type.as_str());
        let node = graph.node.iter().find(is_recurrence).unwrap();
        let attribute = |name: &str| node.attribute.iter().find(|attribute| attribute.name == name);
        assert_eq!(attribute("direction").unwrap().s.as_deref(), Some(&b"forward"[..]));
        assert_eq!(attribute("layout").unwrap().i, Some(0));
        assert_eq!(attribute("hidden_size").unwrap().i, Some(3));
        assert_eq!(attribute("input_forget").map(|a| a.i), (node.op_type == "LSTM").then_some(Some(0)));
        let names = &attribute("activations").unwrap().strings;
        let names = names.iter().map(|name| String::from_utf8(name.clone()).unwrap()).collect();
        (names, attribute("linear_before_reset").and_then(|attribute| attribute.i))
    }

    #[test]
    fn a_cell_has_its_activations_and_only_a_sigmoid_networks_parameters_are_converted() {
        for (cell, nonlinearity, activations, before_reset) in [
            (Cell::default(), Nonlinearity::Sigmoid, vec!["Sigmoid"], None),
            (Cell::default(), Nonlinearity::Tanh, vec!["Tanh"], None),
            (Cell::Elman(Activation::Tanh), Nonlinearity::Sigmoid, vec!["Tanh"], None),
            (Cell::Elman(Activation::Tanh), Nonlinearity::Tanh, vec!["Tanh"], None),
            (Cell::Elman(Activation::Relu), Nonlinearity::Sigmoid, vec!["Relu"], None),
            (Cell::Elman(Activation::Relu), Nonlinearity::Tanh, vec!["Relu"], None),
            (Cell::Gru, Nonlinearity::Sigmoid, vec!["Sigmoid", "Tanh"], Some(1)),
            (Cell::Gru, Nonlinearity::Tanh, vec!["Sigmoid", "Tanh"], Some(1)),
            (Cell::Lstm, Nonlinearity::Sigmoid, vec!["Sigmoid", "Tanh", "Tanh"], None),
        ] {
            let shape = Shape { vocab: 6, embed: 2, window: 3, hidden: 3, classes: 4, cell, ..Shape::ELMAN };
            let params = Params::init(shape, 3).unwrap();
            let graph = decoded(&params, nonlinearity);
            let expected = (activations.into_iter().map(str::to_owned).collect(), before_reset);
            assert_eq!(recurrence(&graph), expected, "{cell}, {nonlinearity:?}");
            let converted = cell == Cell::default() && nonlinearity == Nonlinearity::Tanh;
            let factor = if converted { 0.5 } else { 1.0 };
            let w: Vec<f32> = params.w().iter().map(|w| factor * w).collect();
            assert_eq!(entries(&graph, "w").1, w, "{cell}, {nonlinearity:?}");
        }
    }

    #[test]
    fn a_grus_gates_are_in_the_order_z_r_h_with_the_last_bias_behind_the_reset_gate() {
        let sizes = Shape { vocab: 6, embed: 2, window: 1, hidden: 2, classes: 4, ..Shape::ELMAN };
        let mut params = Params::<f32>::zeros(Shape { cell: Cell::Gru, ..sizes }).unwrap();
        // In the order r, z, n: each entry says its gate (hundreds), unit (tens) and input (ones).
        let number = |(from, column): (usize, usize)| (100 * (column / 2) + 10 * (column % 2) + from) as f32;
        params.wx_mut().indexed_iter_mut().for_each(|(place, entry)| *entry = number(place));
        params.wh_mut().indexed_iter_mut().for_each(|(place, entry)| *entry = number(place) + 0.5);
        params.bh_mut().iter_mut().enumerate().for_each(|(i, entry)| *entry = number((0, i)));
        params.bhn_mut().unwrap().assign(&elman::ndarray::arr1(&[7.0, 8.0]));
        let graph = decoded(&params, Nonlinearity::Sigmoid);
        let wx = vec![100.0, 101.0, 110.0, 111.0, 0.0, 1.0, 10.0, 11.0, 200.0, 201.0, 210.0, 211.0];
        let wh = wx.iter().map(|entry| entry + 0.5).collect();
        assert_eq!(entries(&graph, "wx"), (vec![1, 6, 2], wx));
        assert_eq!(entries(&graph, "wh"), (vec![1, 6, 2], wh));
        let biases = vec![100.0, 110.0, 0.0, 10.0, 200.0, 210.0, 0.0, 0.0, 0.0, 0.0, 7.0, 8.0];
        assert_eq!(entries(&graph, "bh"), (vec![1, 12], biases));
    }

    #[test]
    fn an_lstms_gates_are_in_the_order_i_o_f_c_and_its_node_gets_both_first_states() {
        let sizes = Shape { vocab: 6, embed: 1, window: 1, hidden: 2, classes: 4, ..Shape::ELMAN };
        let mut params = Params::<f32>::zeros(Shape { cell: Cell::Lstm, ..sizes }).unwrap();
        // In the order i, f, g, o: each entry says its gate (tens) and unit (ones).
        let number = |column: usize| (10 * (column / 2) + column % 2) as f32;
        params.wx_mut().indexed_iter_mut().for_each(|((_, column), entry)| *entry = number(column));
        params.bh_mut().iter_mut().enumerate().for_each(|(column, entry)| *entry = number(column) + 0.5);
        params.h0_mut().fill(3.0);
        params.c0_mut().unwrap().assign(&elman::ndarray::arr1(&[7.0, 8.0]));
        let graph = decoded(&params, Nonlinearity::Sigmoid);
        let wx = vec![0.0, 1.0, 30.0, 31.0, 10.0, 11.0, 20.0, 21.0];
        assert_eq!(entries(&graph, "wx"), (vec![1, 8, 1], wx.clone()));
        let biases = wx.iter().map(|entry| entry + 0.5).chain([0.0; 8]).collect();
        assert_eq!(entries(&graph, "bh"), (vec![1, 16], biases));
        assert_eq!(entries(&graph, "c0"), (vec![1, 1, 2], vec![7.0, 8.0]));
        let node = graph.node.iter().find(|node| node.op_type == "LSTM").unwrap();
        assert_eq!(node.input[5..], ["h0", "c0"]);
    }
}
