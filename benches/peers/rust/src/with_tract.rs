//! tract: the ONNX RNN node, compiled for each length. It reads no activation but tanh and cannot train.

use std::collections::HashMap;
use std::sync::Arc;

use elman::ndarray::{Array2, ArrayD};
use elman::{Batch, Cell, LayerParams};
use elman_benches::Workload;
use elman_benches::protocol::{Failure, Hello, Inputs, Labeller, Run, System};
use tract_onnx::pb::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto, TensorShapeProto,
    TypeProto, ValueInfoProto, tensor_proto::DataType, tensor_shape_proto, type_proto,
};
use tract_onnx::prelude::*;
use tract_onnx::tract_core::plan::SimplePlan;

use crate::batch::{by_sequence, by_time, contexts, starts};
use crate::tanh::{as_tanh, layer, output};

type Result<T> = std::result::Result<T, Failure>;
type Model = Arc<SimplePlan<TypedFact, Box<dyn TypedOp>>>;

pub(crate) struct Tract;

impl System for Tract {
    fn hello(&self) -> Hello {
        Hello {
            name: "tract".to_string(),
            what:
                "one ONNX graph around the RNN node, compiled for each length; tanh, with weights changed so \
                   that it gives the network's numbers"
                    .to_string(),
            versions: [("tract-onnx".to_string(), env!("TRACT_ONNX").to_string())].into(),
            works: vec!["tag_one", "tag_all", "first_tag", "recurrence_forward"],
            unchecked: Vec::new(),
        }
    }

    fn tagger(&self, workload: &Workload) -> Result<Box<dyn Labeller>> {
        let params = &workload.trained;
        let (shape, emb) = (params.shape(), params.emb());
        let window = shape.window;
        let changed = as_tanh(&layer(params)?);
        let (w, b) = output(params.w(), params.b());
        let mut constants = rnn_constants(&changed);
        constants.push(floats("emb", emb.shape(), emb.iter()));
        constants.push(floats("w", w.shape(), w.iter()));
        constants.push(floats("b", b.shape(), b.iter()));
        constants.push(integers("row", &[0, 0, shape.input() as i64]));
        constants.push(integers("direction", &[1]));
        let nodes = vec![
            node("Gather", &["emb", "contexts"], "gathered", vec![]), // [T, batch, window, embed]
            node("Reshape", &["gathered", "row"], "x", vec![]),
            rnn_node(shape.hidden), // [T, 1, batch, hidden]
            node("Squeeze", &["y", "direction"], "g", vec![]),
            node("MatMul", &["g", "w"], "product", vec![]),
            node("Add", &["product", "b"], "scores", vec![]),
            node("ArgMax", &["scores"], "labels", vec![integer("axis", 2), integer("keepdims", 0)]),
        ];
        let graph = GraphProto {
            name: "elman".to_string(),
            node: nodes,
            initializer: constants,
            input: vec![value("contexts", DataType::Int64), value("initial", DataType::Float)],
            output: vec![value("labels", DataType::Int64)],
            ..Default::default()
        };
        Ok(Box::new(Tagging {
            graph: model(graph),
            h0: changed.h0().to_vec(),
            vocab: shape.vocab,
            window,
            compiled: HashMap::new(),
        }))
    }

    fn recurrence<'a>(&'a self, inputs: &'a Inputs) -> Result<Box<dyn Run + 'a>> {
        let Inputs { batch, steps, params, xs, .. } = inputs;
        if params.shape().cell != Cell::default() {
            return Err(self.cannot("compute a GRU here"));
        }
        let (input, hidden) = params.wx().dim();
        let changed = as_tanh(params);
        let mut constants = rnn_constants(&changed);
        constants.push(floats("one", &[1], [1.0].iter()));
        constants.push(floats("half", &[1], [0.5].iter()));
        let graph = GraphProto {
            name: "elman".to_string(),
            node: vec![
                rnn_node(hidden),
                node("Add", &["y", "one"], "shifted", vec![]),
                node("Mul", &["shifted", "half"], "h", vec![]),
            ],
            initializer: constants,
            input: vec![value("x", DataType::Float), value("initial", DataType::Float)],
            output: vec![value("h", DataType::Float)],
            ..Default::default()
        };
        let initial = repeated(changed.h0().to_slice().ok_or("h0 has a layout of its own")?, *batch)?;
        let xs = by_time(xs, *batch, *steps);
        let xs =
            tract_ndarray::ArrayD::from_shape_vec(vec![*steps, *batch, input], xs.iter().copied().collect())?;
        let facts = [f32::fact([*steps, *batch, input]), f32::fact([1, *batch, hidden])];
        Ok(Box::new(Alone {
            batch: *batch,
            steps: *steps,
            model: compile(&model(graph), facts)?,
            inputs: tvec!(xs.into_tensor().into_tvalue(), initial.into_tvalue()),
        }))
    }
}

/// Of the versions of the standard, one that this release and older ones read.
fn model(graph: GraphProto) -> ModelProto {
    ModelProto {
        ir_version: 8,
        opset_import: vec![OperatorSetIdProto { domain: String::new(), version: 17 }],
        graph: Some(graph),
        ..Default::default()
    }
}

fn compile(model: &ModelProto, inputs: [TypedFact; 2]) -> Result<Model> {
    let compiled = || -> TractResult<Model> {
        let mut model = tract_onnx::onnx().model_for_proto_model(model)?;
        for (i, fact) in inputs.into_iter().enumerate() {
            model.set_input_fact(i, fact.into())?;
        }
        model.into_optimized()?.into_runnable()
    };
    compiled().map_err(|error| format!("{error:#}").into())
}

fn node(op: &str, inputs: &[&str], output: &str, attributes: Vec<AttributeProto>) -> NodeProto {
    NodeProto {
        op_type: op.to_string(),
        name: output.to_string(),
        input: inputs.iter().map(|name| name.to_string()).collect(),
        output: vec![output.to_string()],
        attribute: attributes,
        ..Default::default()
    }
}

fn rnn_node(hidden: usize) -> NodeProto {
    node("RNN", &["x", "W", "R", "B", "", "initial"], "y", vec![integer("hidden_size", hidden as i64)])
}

/// The weights as the RNN node reads them.
fn rnn_constants(params: &LayerParams<f32>) -> Vec<TensorProto> {
    let (input, hidden) = params.wx().dim();
    let (w, r) = (params.wx().reversed_axes(), params.wh().reversed_axes());
    let biases: Vec<f32> = params.bh().iter().copied().chain(std::iter::repeat_n(0.0, hidden)).collect();
    vec![
        floats("W", &[1, hidden, input], w.iter()),
        floats("R", &[1, hidden, hidden], r.iter()),
        floats("B", &[1, 2 * hidden], biases.iter()),
    ]
}

fn integer(name: &str, value: i64) -> AttributeProto {
    let kind = tract_onnx::pb::attribute_proto::AttributeType::Int;
    AttributeProto { name: name.to_string(), r#type: kind.into(), i: value, ..Default::default() }
}

fn floats<'a>(name: &str, shape: &[usize], values: impl Iterator<Item = &'a f32>) -> TensorProto {
    TensorProto {
        name: name.to_string(),
        data_type: DataType::Float.into(),
        dims: shape.iter().map(|size| *size as i64).collect(),
        raw_data: values.flat_map(|entry| entry.to_le_bytes()).collect(),
        ..Default::default()
    }
}

fn integers(name: &str, values: &[i64]) -> TensorProto {
    TensorProto {
        name: name.to_string(),
        data_type: DataType::Int64.into(),
        dims: vec![values.len() as i64],
        raw_data: values.iter().flat_map(|entry| entry.to_le_bytes()).collect(),
        ..Default::default()
    }
}

/// An input or output of three dimensions that the compilation will know.
fn value(name: &str, kind: DataType) -> ValueInfoProto {
    let unknown = tensor_shape_proto::Dimension::default();
    let rank = if name == "labels" {
        2
    } else if name == "h" {
        4
    } else {
        3
    };
    let tensor = type_proto::Tensor {
        elem_type: kind.into(),
        shape: Some(TensorShapeProto { dim: vec![unknown; rank] }),
    };
    ValueInfoProto {
        name: name.to_string(),
        r#type: Some(TypeProto {
            denotation: String::new(),
            value: Some(type_proto::Value::TensorType(tensor)),
        }),
        doc_string: String::new(),
    }
}

/// The initial state of `count` sequences.
fn repeated(h0: &[f32], count: usize) -> Result<Tensor> {
    let values: Vec<f32> = std::iter::repeat_n(h0, count).flatten().copied().collect();
    Ok(tract_ndarray::ArrayD::from_shape_vec(vec![1, count, h0.len()], values)?.into_tensor())
}

struct Tagging {
    graph: ModelProto,
    h0: Vec<f32>,
    vocab: usize,
    window: usize,
    /// By length and number of sentences, with the initial states.
    compiled: HashMap<(usize, usize), (Model, TValue)>,
}

impl Tagging {
    /// The labels of sentences padded to `steps`, `[steps, count]`, row-major.
    fn labels(&mut self, contexts: Vec<i64>, steps: usize, count: usize) -> Result<Vec<usize>> {
        if !self.compiled.contains_key(&(steps, count)) {
            let facts = [i64::fact([steps, count, self.window]), f32::fact([1, count, self.h0.len()])];
            let entry = (compile(&self.graph, facts)?, repeated(&self.h0, count)?.into_tvalue());
            self.compiled.insert((steps, count), entry);
        }
        let (model, initial) = &self.compiled[&(steps, count)];
        let contexts = tract_ndarray::ArrayD::from_shape_vec(vec![steps, count, self.window], contexts)?;
        let found = model.run(tvec!(contexts.into_tensor().into_tvalue(), initial.clone()));
        let found = found.map_err(|error| format!("{error:#}"))?;
        let labels = found[0].to_plain_array_view::<i64>().map_err(|error| error.to_string())?;
        Ok(labels.iter().map(|label| *label as usize).collect())
    }

    fn contexts(&self, words: &[u32]) -> impl Iterator<Item = i64> + use<> {
        contexts(words, self.vocab, self.window).into_iter().map(|id| id as i64)
    }
}

impl Labeller for Tagging {
    fn label(&mut self, words: &[u32], labels: &mut [u32]) -> Result<()> {
        let found = self.labels(self.contexts(words).collect(), words.len(), 1)?;
        labels.iter_mut().zip(found).for_each(|(place, label)| *place = label as u32);
        Ok(())
    }

    fn label_all(&mut self, sentences: Batch<'_>, labels: &mut [u32]) -> Result<()> {
        let starts = starts(sentences);
        let mut order: Vec<usize> = (0..sentences.len()).collect();
        order.sort_by_key(|i| sentences.length(*i));
        for group in order.chunks(32) {
            let count = group.len();
            let steps = group.iter().map(|i| sentences.length(*i)).max().unwrap_or(0);
            let mut padded = vec![self.vocab as i64; steps * count * self.window];
            for (column, i) in group.iter().enumerate() {
                let contexts: Vec<i64> = self.contexts(sentences.sentence(*i).words).collect();
                for (t, context) in contexts.chunks(self.window).enumerate() {
                    let at = (t * count + column) * self.window;
                    padded[at..at + self.window].copy_from_slice(context);
                }
            }
            let found = self.labels(padded, steps, count)?;
            for (column, i) in group.iter().enumerate() {
                for t in 0..sentences.length(*i) {
                    labels[starts[*i] + t] = found[t * count + column] as u32;
                }
            }
        }
        Ok(())
    }
}

struct Alone {
    batch: usize,
    steps: usize,
    model: Model,
    inputs: TVec<TValue>,
}

impl Alone {
    fn forward(&self) -> Result<TValue> {
        let mut found = self.model.run(self.inputs.clone()).map_err(|error| format!("{error:#}"))?;
        Ok(found.remove(0))
    }
}

impl Run for Alone {
    fn run(&mut self, backward: bool) -> Result<()> {
        if backward {
            return Err("tract has no gradients".into());
        }
        std::hint::black_box(self.forward()?);
        Ok(())
    }

    fn results(&mut self, backward: bool) -> Result<Vec<(&'static str, ArrayD<f32>)>> {
        if backward {
            return Err("tract has no gradients".into());
        }
        let found = self.forward()?;
        let h = found.to_plain_array_view::<f32>().map_err(|error| error.to_string())?;
        let hidden = h.shape()[3];
        let h = Array2::from_shape_vec((self.steps * self.batch, hidden), h.iter().copied().collect())?;
        Ok(vec![("h", by_sequence(&h, self.batch, self.steps).into_dyn())])
    }
}
