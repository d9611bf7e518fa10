//! The network by hand on another crate's tensors: loop and gradient, with the products that can be moved out of
//! the loop moved out. Written once for the crates that have tensors.

use elman::ndarray::{Array2, ArrayD, ArrayView1, Axis};
use elman::{Cell, Params};
use elman_benches::Workload;
use elman_benches::protocol::{Failure, Hello, Inputs, Labeller, Run, System, Trainer, WORKS};

use crate::batch::{Batch, Packing, by_sequence, by_time, contexts, starts};

type Result<T> = std::result::Result<T, Failure>;

/// The operations of a crate on its tensors, all of rank 2.
pub(crate) trait Tensors: Copy + 'static {
    type Tensor: Clone;
    type Ids: Clone;

    const NAME: &'static str;
    const WHAT: &'static str;
    const VERSIONS: &'static [(&'static str, &'static str)];

    fn tensor(self, array: &Array2<f32>) -> Result<Self::Tensor>;
    fn array(self, a: &Self::Tensor) -> Result<Array2<f32>>;
    fn ids(self, ids: &[usize]) -> Result<Self::Ids>;

    fn rows(self, a: &Self::Tensor) -> usize;
    fn reshape(self, a: &Self::Tensor, rows: usize, cols: usize) -> Result<Self::Tensor>;
    fn transposed(self, a: &Self::Tensor) -> Result<Self::Tensor>;
    fn narrow(self, a: &Self::Tensor, start: usize, rows: usize) -> Result<Self::Tensor>;
    fn cat(self, parts: Vec<Self::Tensor>) -> Result<Self::Tensor>;
    /// One row, `count` times.
    fn repeat(self, row: &Self::Tensor, count: usize) -> Result<Self::Tensor>;

    fn product(self, a: &Self::Tensor, b: &Self::Tensor) -> Result<Self::Tensor>;
    /// `a + b`; b may be one row.
    fn add(self, a: Self::Tensor, b: &Self::Tensor) -> Result<Self::Tensor>;
    fn sub(self, a: Self::Tensor, b: &Self::Tensor) -> Result<Self::Tensor>;
    /// `a · b` by element; b may be one column.
    fn mul(self, a: Self::Tensor, b: &Self::Tensor) -> Result<Self::Tensor>;
    /// `a · factor`.
    fn scale(self, a: Self::Tensor, factor: f32) -> Result<Self::Tensor>;
    fn sigmoid(self, a: Self::Tensor) -> Result<Self::Tensor>;
    fn exp(self, a: Self::Tensor) -> Result<Self::Tensor>;
    fn log_softmax(self, a: Self::Tensor) -> Result<Self::Tensor>;
    /// `h · (1 - h)`.
    fn slope(self, h: &Self::Tensor) -> Result<Self::Tensor>;
    /// Each row divided by its norm.
    fn normalized(self, a: Self::Tensor) -> Result<Self::Tensor>;
    /// The sum of the rows, `[1, cols]`.
    fn sum_rows(self, a: &Self::Tensor) -> Result<Self::Tensor>;
    fn sum(self, a: Self::Tensor) -> Result<f32>;
    fn argmax(self, a: Self::Tensor) -> Result<Vec<usize>>;

    fn select(self, a: &Self::Tensor, ids: &Self::Ids) -> Result<Self::Tensor>;
    /// `rows` rows of zeros, to which each row of `a` is added at its id.
    fn gathered(self, rows: usize, ids: &Self::Ids, a: &Self::Tensor) -> Result<Self::Tensor>;
    /// Replaces the rows at ids that all differ.
    fn replace(self, a: Self::Tensor, ids: &Self::Ids, rows: &Self::Tensor) -> Result<Self::Tensor>;
}

/// A system made of tensors.
pub(crate) struct Peer<T>(pub(crate) T);

impl<T: Tensors> System for Peer<T> {
    fn hello(&self) -> Hello {
        Hello {
            name: T::NAME.to_string(),
            what: T::WHAT.to_string(),
            versions: T::VERSIONS
                .iter()
                .map(|(name, version)| (name.to_string(), version.to_string()))
                .collect(),
            works: WORKS.into_iter().filter(|work| !work.starts_with("gru") && !work.starts_with("lstm")).collect(),
            unchecked: Vec::new(),
        }
    }

    fn trainer<'a>(
        &'a self,
        workload: &'a Workload,
        batches: Vec<elman::Batch<'a>>,
    ) -> Result<Box<dyn Trainer + 'a>> {
        let batches = batches.iter().map(|batch| Prepared::new(self.0, Batch::new(workload, *batch)));
        let batches = batches.collect::<Result<_>>()?;
        Ok(Box::new(Training { ops: self.0, weights: Weights::new(self.0, &workload.params)?, batches }))
    }

    fn tagger(&self, workload: &Workload) -> Result<Box<dyn Labeller>> {
        Ok(Box::new(Tagging { ops: self.0, weights: Weights::new(self.0, &workload.trained)? }))
    }

    fn recurrence<'a>(&'a self, inputs: &'a Inputs) -> Result<Box<dyn Run + 'a>> {
        let (ops, Inputs { batch, steps, params, xs, dh }) = (self.0, inputs);
        if params.shape().cell != Cell::default() {
            return Err(self.cannot("compute a GRU"));
        }
        Ok(Box::new(Alone {
            ops,
            batch: *batch,
            steps: *steps,
            wx: ops.tensor(&params.wx().to_owned())?,
            wh: ops.tensor(&params.wh().to_owned())?,
            bh: row(ops, params.bh())?,
            h0: row(ops, params.h0())?,
            xs: ops.tensor(&by_time(xs, *batch, *steps))?,
            dh: ops.tensor(&by_time(dh, *batch, *steps))?,
        }))
    }
}

fn row<T: Tensors>(ops: T, vector: ArrayView1<'_, f32>) -> Result<T::Tensor> {
    ops.tensor(&vector.insert_axis(Axis(0)).to_owned())
}

/// The packed states from `a = x·wx + bh`.
fn forward<T: Tensors>(
    ops: T,
    a: &T::Tensor,
    h0: &T::Tensor,
    wh: &T::Tensor,
    sizes: &[usize],
) -> Result<T::Tensor> {
    let mut states: Vec<T::Tensor> = Vec::with_capacity(sizes.len());
    let mut start = 0;
    for (t, &size) in sizes.iter().enumerate() {
        let step = ops.narrow(a, start, size)?;
        let z = match t.checked_sub(1).map(|t| (&states[t], sizes[t] == size)) {
            None => ops.product(h0, wh)?,
            Some((h_prev, true)) => ops.product(h_prev, wh)?,
            Some((h_prev, false)) => ops.product(&ops.narrow(h_prev, 0, size)?, wh)?,
        };
        states.push(ops.sigmoid(ops.add(step, &z)?)?);
        start += size;
    }
    ops.cat(states)
}

/// The packed `da` from the packed `dh`, and the gradient of h0, `[1, hidden]`.
fn backward<T: Tensors>(
    ops: T,
    dh: &T::Tensor,
    h: &T::Tensor,
    wh: &T::Tensor,
    sizes: &[usize],
) -> Result<(T::Tensor, T::Tensor)> {
    let slope = ops.slope(h)?;
    let transposed = ops.transposed(wh)?;
    let mut parts = Vec::with_capacity(sizes.len());
    let mut after: Option<T::Tensor> = None;
    let mut end = ops.rows(h);
    for &size in sizes.iter().rev() {
        let start = end - size;
        let mut step = ops.narrow(dh, start, size)?;
        if let Some(after) = after {
            let count = ops.rows(&after);
            step = if count == size {
                ops.add(step, &after)?
            } else {
                let rest = ops.narrow(&step, count, size - count)?;
                ops.cat(vec![ops.add(ops.narrow(&step, 0, count)?, &after)?, rest])?
            };
        }
        let da = ops.mul(step, &ops.narrow(&slope, start, size)?)?;
        after = Some(ops.product(&da, &transposed)?);
        parts.push(da);
        end = start;
    }
    parts.reverse();
    let after = after.ok_or("no step")?;
    let dh0 = if ops.rows(&after) == 1 { after } else { ops.sum_rows(&after)? };
    Ok((ops.cat(parts)?, dh0))
}

/// The state before each row.
fn states_before<T: Tensors>(
    ops: T,
    h: &T::Tensor,
    h0: &T::Tensor,
    sizes: &[usize],
    before: &T::Ids,
) -> Result<T::Tensor> {
    let first = ops.repeat(h0, sizes[0])?;
    let rows = ops.rows(h) - sizes[0];
    if rows == 0 {
        return Ok(first);
    }
    // Steps of equal size: the states as they lie.
    let rest =
        if sizes[0] == sizes[sizes.len() - 1] { ops.narrow(h, 0, rows)? } else { ops.select(h, before)? };
    ops.cat(vec![first, rest])
}

struct Weights<T: Tensors> {
    emb: T::Tensor,
    wx: T::Tensor,
    wh: T::Tensor,
    w: T::Tensor,
    bh: T::Tensor,
    b: T::Tensor,
    h0: T::Tensor,
    embed: usize,
    window: usize,
    vocab: usize,
}

impl<T: Tensors> Weights<T> {
    fn new(ops: T, params: &Params<f32>) -> Result<Self> {
        let shape = params.shape();
        Ok(Weights {
            emb: ops.tensor(&params.emb().to_owned())?,
            wx: ops.tensor(&params.wx().to_owned())?,
            wh: ops.tensor(&params.wh().to_owned())?,
            w: ops.tensor(&params.w().to_owned())?,
            bh: row(ops, params.bh())?,
            b: row(ops, params.b())?,
            h0: row(ops, params.h0())?,
            embed: shape.embed,
            window: shape.window,
            vocab: shape.vocab,
        })
    }

    /// The inputs `x`, `[rows, window · embed]`.
    fn inputs(&self, ops: T, contexts: &T::Ids, rows: usize) -> Result<T::Tensor> {
        ops.reshape(&ops.select(&self.emb, contexts)?, rows, self.window * self.embed)
    }

    /// `x·wx + bh`.
    fn outside(&self, ops: T, x: &T::Tensor) -> Result<T::Tensor> {
        ops.add(ops.product(x, &self.wx)?, &self.bh)
    }

    /// `h·w + b`.
    fn scores(&self, ops: T, h: &T::Tensor) -> Result<T::Tensor> {
        ops.add(ops.product(h, &self.w)?, &self.b)
    }
}

/// A batch in the tensors of the crate.
struct Prepared<T: Tensors> {
    sizes: Vec<usize>,
    sentences: usize,
    contexts: T::Ids,
    before: T::Ids,
    rows: T::Ids,
    changed: usize,
    local: T::Ids,
    weights: T::Tensor,
    target: T::Tensor,
}

impl<T: Tensors> Prepared<T> {
    fn new(ops: T, batch: Batch) -> Result<Self> {
        Ok(Prepared {
            sizes: batch.packing.sizes,
            sentences: batch.sentences,
            contexts: ops.ids(&batch.contexts)?,
            before: ops.ids(&batch.packing.before)?,
            rows: ops.ids(&batch.rows)?,
            changed: batch.rows.len(),
            local: ops.ids(&batch.local)?,
            weights: ops.tensor(&batch.weights)?,
            target: ops.tensor(&batch.target)?,
        })
    }
}

struct Training<T: Tensors> {
    ops: T,
    weights: Weights<T>,
    batches: Vec<Prepared<T>>,
}

impl<T: Tensors> Trainer for Training<T> {
    fn epoch(&mut self, lr: f32) -> Result<f64> {
        let mut losses = 0.0;
        for batch in &self.batches {
            losses += f64::from(step(self.ops, &mut self.weights, batch, lr)?) * batch.sentences as f64;
        }
        Ok(losses)
    }
}

/// One step of gradient descent; returns the loss before it.
fn step<T: Tensors>(ops: T, weights: &mut Weights<T>, batch: &Prepared<T>, lr: f32) -> Result<f32> {
    let sizes = &batch.sizes;
    let rows: usize = sizes.iter().sum();
    let x = weights.inputs(ops, &batch.contexts, rows)?;
    let h = forward(ops, &weights.outside(ops, &x)?, &weights.h0, &weights.wh, sizes)?;
    let log_s = ops.log_softmax(weights.scores(ops, &h)?)?;
    let loss = -ops.sum(ops.mul(log_s.clone(), &batch.target)?)?;

    // From here on all gradients are times -lr.
    let ds = ops.sub(ops.mul(ops.exp(log_s)?, &batch.weights)?, &batch.target)?;
    let ds = ops.scale(ds, -lr)?;
    let dh = ops.product(&ds, &ops.transposed(&weights.w)?)?;
    let (da, dh0) = backward(ops, &dh, &h, &weights.wh, sizes)?;
    let h_prev = states_before(ops, &h, &weights.h0, sizes, &batch.before)?;
    let dx = ops.product(&da, &ops.transposed(&weights.wx)?)?;
    let dx = ops.reshape(&dx, rows * weights.window, weights.embed)?;

    update(ops, &mut weights.w, &ops.product(&ops.transposed(&h)?, &ds)?)?;
    update(ops, &mut weights.b, &ops.sum_rows(&ds)?)?;
    update(ops, &mut weights.wx, &ops.product(&ops.transposed(&x)?, &da)?)?;
    update(ops, &mut weights.wh, &ops.product(&ops.transposed(&h_prev)?, &da)?)?;
    update(ops, &mut weights.bh, &ops.sum_rows(&da)?)?;
    update(ops, &mut weights.h0, &dh0)?;
    let changed = ops.select(&weights.emb, &batch.rows)?;
    let changed = ops.add(changed, &ops.gathered(batch.changed, &batch.local, &dx)?)?;
    let changed = ops.normalized(changed)?;
    let emb = std::mem::replace(&mut weights.emb, changed.clone());
    weights.emb = ops.replace(emb, &batch.rows, &changed)?;
    Ok(loss)
}

/// `weight + gradient`; the weight is handed over, so that a crate that can adds in place.
fn update<T: Tensors>(ops: T, weight: &mut T::Tensor, gradient: &T::Tensor) -> Result<()> {
    let old = std::mem::replace(weight, gradient.clone());
    *weight = ops.add(old, gradient)?;
    Ok(())
}

struct Tagging<T: Tensors> {
    ops: T,
    weights: Weights<T>,
}

impl<T: Tensors> Tagging<T> {
    fn labels(&self, contexts: &[usize], sizes: &[usize]) -> Result<Vec<usize>> {
        let (ops, weights) = (self.ops, &self.weights);
        let x = weights.inputs(ops, &ops.ids(contexts)?, contexts.len() / weights.window)?;
        let h = forward(ops, &weights.outside(ops, &x)?, &weights.h0, &weights.wh, sizes)?;
        ops.argmax(weights.scores(ops, &h)?)
    }
}

impl<T: Tensors> Labeller for Tagging<T> {
    fn label(&mut self, words: &[u32], labels: &mut [u32]) -> Result<()> {
        let contexts = contexts(words, self.weights.vocab, self.weights.window);
        let found = self.labels(&contexts, &vec![1; words.len()])?;
        labels.iter_mut().zip(found).for_each(|(place, label)| *place = label as u32);
        Ok(())
    }

    fn label_all(&mut self, sentences: elman::Batch<'_>, labels: &mut [u32]) -> Result<()> {
        let (vocab, window) = (self.weights.vocab, self.weights.window);
        let starts = starts(sentences);
        let mut order: Vec<usize> = (0..sentences.len()).collect();
        order.sort_by_key(|i| sentences.length(*i));
        for group in order.chunks(32) {
            let packing = Packing::new(group.iter().map(|i| sentences.length(*i)));
            let by_sentence: Vec<Vec<usize>> =
                group.iter().map(|i| contexts(sentences.sentence(*i).words, vocab, window)).collect();
            let places = packing.places.iter();
            let contexts: Vec<usize> = places
                .clone()
                .flat_map(|(s, t)| &by_sentence[*s][t * window..(t + 1) * window])
                .copied()
                .collect();
            for ((s, t), label) in places.zip(self.labels(&contexts, &packing.sizes)?) {
                labels[starts[group[*s]] + t] = label as u32;
            }
        }
        Ok(())
    }
}

struct Alone<T: Tensors> {
    ops: T,
    batch: usize,
    steps: usize,
    wx: T::Tensor,
    wh: T::Tensor,
    bh: T::Tensor,
    h0: T::Tensor,
    xs: T::Tensor,
    dh: T::Tensor,
}

impl<T: Tensors> Alone<T> {
    fn forward(&self) -> Result<T::Tensor> {
        let a = self.ops.add(self.ops.product(&self.xs, &self.wx)?, &self.bh)?;
        forward(self.ops, &a, &self.h0, &self.wh, &vec![self.batch; self.steps])
    }

    /// h, and the gradients of xs, wx, wh, bh, h0.
    fn all(&self) -> Result<[T::Tensor; 6]> {
        let ops = self.ops;
        let sizes = vec![self.batch; self.steps];
        let h = self.forward()?;
        let (da, dh0) = backward(ops, &self.dh, &h, &self.wh, &sizes)?;
        let h_prev = states_before(ops, &h, &self.h0, &sizes, &ops.ids(&[])?)?;
        let xs = ops.product(&da, &ops.transposed(&self.wx)?)?;
        let wx = ops.product(&ops.transposed(&self.xs)?, &da)?;
        let wh = ops.product(&ops.transposed(&h_prev)?, &da)?;
        let bh = ops.sum_rows(&da)?;
        Ok([h, xs, wx, wh, bh, dh0])
    }
}

impl<T: Tensors> Run for Alone<T> {
    fn run(&mut self, backward: bool) -> Result<()> {
        if backward {
            std::hint::black_box(self.all()?);
        } else {
            std::hint::black_box(self.forward()?);
        }
        Ok(())
    }

    fn results(&mut self, backward: bool) -> Result<Vec<(&'static str, ArrayD<f32>)>> {
        let sequence = |tensor: &T::Tensor| -> Result<ArrayD<f32>> {
            Ok(by_sequence(&self.ops.array(tensor)?, self.batch, self.steps).into_dyn())
        };
        if !backward {
            return Ok(vec![("h", sequence(&self.forward()?)?)]);
        }
        let [h, xs, cell @ ..] = self.all()?;
        let mut results = vec![("h", sequence(&h)?), ("xs", sequence(&xs)?)];
        for (name, tensor) in ["wx", "wh", "bh", "h0"].into_iter().zip(&cell) {
            results.push((name, self.ops.array(tensor)?.into_dyn()));
        }
        Ok(results)
    }
}
