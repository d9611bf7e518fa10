//! rust-lstm: f64, gates only. It has no Elman network; a GRU whose gates are held open is one, with tanh:
//! with z = r = 1, h' = n = tanh(W_ih x + b_ih + W_hh h). It computes the gates all the same.

use elman::ndarray::{Array1 as Ours1, Array2 as Ours2, ArrayD, ArrayView1, ArrayView2};
use elman::{Batch, Cell, LayerParams, Params, Sentence};
use elman_benches::Workload;
use elman_benches::protocol::{Failure, Hello, Inputs, Labeller, Run, System, Trainer};
use rust_lstm::layers::gru_cell::GRUCell;
use rust_lstm::layers::linear::LinearLayer;
use rust_lstm::loss::softmax;
use rust_lstm::models::gru_network::{GRUNetwork, GRUNetworkCache};
use rust_lstm::optimizers::SGD;

use crate::batch::contexts;
use crate::tanh::{as_tanh, layer, output};

type Result<T> = std::result::Result<T, Failure>;
type Array2 = ndarray_0_15::Array2<f64>;

pub(crate) struct RustLstm;

impl System for RustLstm {
    fn hello(&self) -> Hello {
        Hello {
            name: "rust-lstm".to_string(),
            what: "no Elman cell: a GRU with its gates held open, f64; tanh, with weights changed so that it gives the \
                   network's numbers"
                .to_string(),
            versions: [("rust-lstm".to_string(), env!("RUST_LSTM").to_string())].into(),
            works: vec![
                "sgd_epoch",
                "tag_one",
                "tag_all",
                "first_tag",
                "recurrence_forward",
                "recurrence_backward",
            ],
            // Its step moves the changed weights and the gates.
            unchecked: vec!["sgd_epoch"],
        }
    }

    fn trainer<'a>(
        &'a self,
        workload: &'a Workload,
        batches: Vec<Batch<'a>>,
    ) -> Result<Box<dyn Trainer + 'a>> {
        Ok(Box::new(Training { model: Model::new(&workload.params)?, batches }))
    }

    fn tagger(&self, workload: &Workload) -> Result<Box<dyn Labeller>> {
        Ok(Box::new(Tagging(Model::new(&workload.trained)?)))
    }

    fn recurrence<'a>(&'a self, inputs: &'a Inputs) -> Result<Box<dyn Run + 'a>> {
        let Inputs { batch, steps, params, xs, dh } = inputs;
        if params.shape().cell != Cell::default() {
            return Err(self.cannot("compute a GRU of its own"));
        }
        // Step by step, [width, batch].
        let by_step = |tensor: &Ours2<f32>| -> Vec<Array2> {
            (0..*steps)
                .map(|t| {
                    Array2::from_shape_fn((tensor.ncols(), *batch), |(i, s)| {
                        f64::from(tensor[[s * steps + t, i]])
                    })
                })
                .collect()
        };
        let changed = as_tanh(params);
        Ok(Box::new(Alone {
            network: network(&changed),
            h0: Array2::from_shape_fn((changed.h0().len(), *batch), |(i, _)| f64::from(changed.h0()[i])),
            xs: by_step(xs),
            // By g: h = (1 + g) / 2.
            dg: by_step(&dh.mapv(|entry| entry / 2.0)),
            batch: *batch,
        }))
    }
}

/// A GRU of one layer that computes the tanh network of these weights.
fn network(params: &LayerParams<f32>) -> GRUNetwork {
    let (input, hidden) = params.wx().dim();
    let mut network = GRUNetwork::new(input, hidden, 1);
    let gru: &mut GRUCell = &mut network.get_cells_mut()[0];
    for gate in [&mut gru.w_ir, &mut gru.w_hr, &mut gru.w_iz, &mut gru.w_hz] {
        gate.fill(0.0);
    }
    // The sigmoid of 1000 is 1.
    gru.b_ir.fill(1000.0);
    gru.b_iz.fill(1000.0);
    gru.w_ih = transposed(params.wx());
    gru.w_hh = transposed(params.wh());
    gru.b_ih = column(params.bh());
    network
}

fn transposed(tensor: ArrayView2<'_, f32>) -> Array2 {
    Array2::from_shape_fn((tensor.ncols(), tensor.nrows()), |(i, j)| f64::from(tensor[[j, i]]))
}

fn column(vector: ArrayView1<'_, f32>) -> Array2 {
    Array2::from_shape_fn((vector.len(), 1), |(i, _)| f64::from(vector[i]))
}

/// The forward pass of a sequence from a state of its own; the crate's own starts from zeros.
fn forward(network: &mut GRUNetwork, xs: &[Array2], h0: &Array2) -> (Vec<Array2>, Vec<GRUNetworkCache>) {
    let mut state = vec![h0.clone()];
    let mut states = Vec::with_capacity(xs.len());
    let mut caches = Vec::with_capacity(xs.len());
    for x in xs {
        let (next, cache) = network.forward_with_cache(x, &state);
        states.push(next[0].clone());
        caches.push(cache);
        state = next;
    }
    (states, caches)
}

struct Model {
    network: GRUNetwork,
    linear: LinearLayer,
    /// Rows of the embeddings.
    emb: Ours2<f64>,
    h0: Array2,
    window: usize,
}

impl Model {
    fn new(params: &Params<f32>) -> Result<Self> {
        let changed = as_tanh(&layer(params)?);
        let (w, b) = output(params.w(), params.b());
        Ok(Model {
            network: network(&changed),
            linear: LinearLayer::from_weights(transposed(w.view()), column(b.view())),
            emb: params.emb().mapv(f64::from),
            h0: column(changed.h0()),
            window: params.shape().window,
        })
    }

    /// The ids and the inputs of each word, a column each.
    fn inputs(&self, words: &[u32]) -> (Vec<usize>, Vec<Array2>) {
        let contexts = contexts(words, self.emb.nrows() - 1, self.window);
        let embed = self.emb.ncols();
        let xs = contexts
            .chunks(self.window)
            .map(|ids| {
                Array2::from_shape_fn((self.window * embed, 1), |(i, _)| {
                    self.emb[[ids[i / embed], i % embed]]
                })
            })
            .collect();
        (contexts, xs)
    }

    /// The states side by side, `[hidden, words]`.
    fn side_by_side(states: &[Array2]) -> Array2 {
        Array2::from_shape_fn((states[0].nrows(), states.len()), |(i, t)| states[t][[i, 0]])
    }

    /// One step of gradient descent with the crate's own optimiser; embeddings and h0 by hand.
    fn step(&mut self, sentence: Sentence<'_>, lr: f32) -> f64 {
        let (ids, xs) = self.inputs(sentence.words);
        let words = xs.len();
        let (states, caches) = forward(&mut self.network, &xs, &self.h0);
        let scores = self.linear.forward(&Self::side_by_side(&states));
        let mut ds = softmax(&scores);
        let mut loss = 0.0;
        for (t, label) in sentence.labels.iter().enumerate() {
            loss -= ds[[*label as usize, t]].ln() / words as f64;
            ds[[*label as usize, t]] -= 1.0;
        }
        ds /= words as f64;
        let (linear, dg) = self.linear.backward(&ds);
        let dg: Vec<Array2> =
            (0..words).map(|t| Array2::from_shape_fn((dg.nrows(), 1), |(i, _)| dg[[i, t]])).collect();
        let (gradients, dxs) = self.network.backward_sequence(&dg, &caches);
        let lr = f64::from(lr);
        let mut optimizer = SGD::new(lr);
        self.linear.update_parameters(&linear, &mut optimizer, "output");
        self.network.update_parameters(&gradients, &mut optimizer);
        let embed = self.emb.ncols();
        for (t, dx) in dxs.iter().enumerate() {
            for (place, id) in ids[t * self.window..(t + 1) * self.window].iter().enumerate() {
                for (j, entry) in self.emb.row_mut(*id).iter_mut().enumerate() {
                    *entry -= lr * dx[[place * embed + j, 0]];
                }
            }
        }
        let mut changed = ids;
        changed.sort_unstable();
        changed.dedup();
        for id in changed {
            let mut row = self.emb.row_mut(id);
            let norm = row.dot(&row).sqrt();
            row.mapv_inplace(|entry| entry / norm);
        }
        loss
    }

    fn labels(&mut self, words: &[u32], labels: &mut [u32]) {
        let (_, xs) = self.inputs(words);
        let mut state = vec![self.h0.clone()];
        let mut states = Vec::with_capacity(xs.len());
        for x in &xs {
            state = self.network.forward(x, &state);
            states.push(state[0].clone());
        }
        let scores = self.linear.forward(&Self::side_by_side(&states));
        let best = |t: usize| (0..scores.nrows()).max_by(|i, j| scores[[*i, t]].total_cmp(&scores[[*j, t]]));
        labels.iter_mut().enumerate().for_each(|(t, label)| *label = best(t).unwrap_or(0) as u32);
    }
}

struct Training<'a> {
    model: Model,
    batches: Vec<Batch<'a>>,
}

impl Trainer for Training<'_> {
    fn epoch(&mut self, lr: f32) -> Result<f64> {
        Ok(self.batches.iter().flat_map(Batch::iter).map(|sentence| self.model.step(sentence, lr)).sum())
    }
}

struct Tagging(Model);

impl Labeller for Tagging {
    fn label(&mut self, words: &[u32], labels: &mut [u32]) -> Result<()> {
        self.0.labels(words, labels);
        Ok(())
    }

    fn label_all(&mut self, sentences: Batch<'_>, labels: &mut [u32]) -> Result<()> {
        let mut rest = labels;
        for sentence in sentences.iter() {
            let (places, after) = rest.split_at_mut(sentence.words.len());
            self.0.labels(sentence.words, places);
            rest = after;
        }
        Ok(())
    }
}

struct Alone {
    network: GRUNetwork,
    h0: Array2,
    xs: Vec<Array2>,
    dg: Vec<Array2>,
    batch: usize,
}

impl Alone {
    fn states(&mut self) -> Vec<Array2> {
        let mut state = vec![self.h0.clone()];
        let mut states = Vec::with_capacity(self.xs.len());
        for x in &self.xs {
            state = self.network.forward(x, &state);
            states.push(state[0].clone());
        }
        states
    }

    /// `[batch · steps, …]`, sequence after sequence.
    fn by_sequence(&self, steps: &[Array2], value: impl Fn(f64) -> f64) -> ArrayD<f32> {
        let (width, count) = (steps[0].nrows(), steps.len());
        Ours2::from_shape_fn((self.batch * count, width), |(row, i)| {
            value(steps[row % count][[i, row / count]]) as f32
        })
        .into_dyn()
    }
}

impl Run for Alone {
    fn run(&mut self, backward: bool) -> Result<()> {
        if backward {
            let (states, caches) = forward(&mut self.network, &self.xs, &self.h0);
            std::hint::black_box((states, self.network.backward_sequence(&self.dg, &caches)));
        } else {
            std::hint::black_box(self.states());
        }
        Ok(())
    }

    fn results(&mut self, backward: bool) -> Result<Vec<(&'static str, ArrayD<f32>)>> {
        let as_h = |g| (1.0 + g) / 2.0;
        if !backward {
            let states = self.states();
            return Ok(vec![("h", self.by_sequence(&states, as_h))]);
        }
        let (states, caches) = forward(&mut self.network, &self.xs, &self.h0);
        let (gradients, dxs) = self.network.backward_sequence(&self.dg, &caches);
        // Back to the network's own weights, as `as_tanh` changed them.
        let gru = &gradients[0];
        let db = &gru.b_ih;
        let (hidden, input) = gru.w_ih.dim();
        let wx = Ours2::from_shape_fn((input, hidden), |(i, j)| (gru.w_ih[[j, i]] / 2.0) as f32);
        let wh =
            Ours2::from_shape_fn((hidden, hidden), |(i, j)| ((gru.w_hh[[j, i]] + db[[j, 0]]) / 4.0) as f32);
        let bh = Ours1::from_shape_fn(hidden, |j| (db[[j, 0]] / 2.0) as f32);
        Ok(vec![
            ("h", self.by_sequence(&states, as_h)),
            ("xs", self.by_sequence(&dxs, |entry| entry)),
            ("wx", wx.into_dyn()),
            ("wh", wh.into_dyn()),
            ("bh", bh.into_dyn()),
        ])
    }
}
