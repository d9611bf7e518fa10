//! The parameters, and sums of gradients, in the layout of the kernels.

use elman::ndarray::{Array1, ArrayView1, ArrayView2, ArrayViewMut2};
use elman::{Cell, Direction, Head, Layer, LayerShape, Layout, Name, Params, Shape};
use fearless_simd::Simd;

use crate::crf::Crf;
use crate::isa::Task;
use crate::kernel::{self, Backwards};
use crate::matrix::{Buffer, Matrix, Panels, View, buffer, grow, padded, padded_vector, row_stride};
use crate::num::Num;
use crate::unit::blocks;

/// The layer's tensors as the loops over time read them: rows in whole vectors, gates side by side, each of `units()`
/// padded to whole vectors.
#[derive(Clone, Copy)]
pub(crate) struct LayerView<'a, T> {
    pub(crate) cell: Cell,
    pub(crate) direction: Direction,
    /// Hidden units.
    pub(crate) units: usize,
    /// `[input, gates·hidden]`.
    pub(crate) wx: View<'a, T>,
    /// `[fed_back, gates·hidden]`.
    pub(crate) wh: View<'a, T>,
    /// wh once more, where a copy in panels pays.
    pub(crate) wh_panels: Option<Panels<'a, T>>,
    pub(crate) wh_backwards: Backwards<'a, T>,
    /// The biases of all blocks.
    pub(crate) bias: &'a [T],
}

impl<T: Num> LayerView<'_, T> {
    /// Hidden units, padded to whole vectors: the width of a block.
    pub(crate) fn hidden(&self) -> usize {
        padded::<T>(self.units)
    }

    /// Width of all states, each padded to whole vectors.
    pub(crate) fn states(&self) -> usize {
        self.cell.states() * self.hidden()
    }

    /// Width of all blocks.
    pub(crate) fn width(&self) -> usize {
        self.bias.len()
    }

    /// Width of the blocks that wx or wh goes into.
    pub(crate) fn gates_width(&self) -> usize {
        self.wh.cols()
    }

    /// Where the blocks begin that wh goes into.
    pub(crate) fn fed_back_from(&self) -> usize {
        self.width() - self.gates_width()
    }
}

/// The biases in blocks: `bh` in those of the input (bh of a gate that has two blocks in the first), `bhn` in the last.
pub(crate) fn bias<T: Num>(
    cell: Cell,
    units: usize,
    bh: ArrayView1<'_, T>,
    bhn: Option<ArrayView1<'_, T>>,
) -> Buffer<T> {
    let hidden = padded::<T>(units);
    let mut bias = buffer();
    grow(&mut bias, blocks(cell) * hidden);
    each_bias(cell, |block, gate| {
        let from = match gate {
            Some(gate) => {
                Some(bh.slice_axis(elman::ndarray::Axis(0), (gate * units..(gate + 1) * units).into()))
            }
            None => bhn,
        };
        if let Some(from) = from {
            bias[block * hidden..].iter_mut().zip(from).for_each(|(to, from)| *to = *from);
        }
    });
    bias
}

/// Each block with the gate whose bias it has, `None` for `bhn`.
fn each_bias(cell: Cell, mut f: impl FnMut(usize, Option<usize>)) {
    for part in crate::unit::parts(cell) {
        (0..part.gates).for_each(|i| f(part.block + i, Some(part.gate + i)));
    }
    if cell.has_bhn() {
        f(blocks(cell) - 1, None);
    }
}

/// The states before the first step: h0 and, of an LSTM, c0.
fn first<T: Num>(layer: Layer<'_, T>) -> Buffer<T> {
    let mut first = padded_vector(layer.h0(), T::zero());
    if let Some(c0) = layer.c0() {
        first.extend_from_slice(&padded_vector(c0, T::zero()));
    }
    first
}

/// Writes those states, or their gradient, into h0 and c0: the other way round than [`first`].
pub(crate) fn first_to<T: Num, S: Layout>(
    first: &[T],
    name: impl Fn(Name) -> Name,
    params: &mut Params<T, S>,
) {
    let (h0, c0) =
        params.tensor(name(Name::H0)).map_or((first, first), |h0| first.split_at(padded::<T>(h0.len())));
    for (of, from) in [(Name::H0, h0), (Name::C0, c0)] {
        let to = params.vector_mut(name(of)).into_iter().flatten();
        to.zip(from).for_each(|(to, from)| *to = *from);
    }
}

/// Writes the sums over blocks into the gradients of the biases: the other way round than [`bias`].
pub(crate) fn bias_to<T: Num, S: Layout>(
    cell: Cell,
    units: usize,
    sums: &[T],
    name: impl Fn(Name) -> Name,
    params: &mut Params<T, S>,
) {
    let hidden = padded::<T>(units);
    each_bias(cell, |block, gate| {
        let sums = &sums[block * hidden..][..units];
        let (of, gate) = gate.map_or((Name::Bhn, 0), |gate| (Name::Bh, gate));
        if let Some(to) = params.vector_mut(name(of)).and_then(|to| to.into_slice()) {
            to[gate * units..][..units].copy_from_slice(sums);
        }
    });
}

/// The parameters of a network but for the embeddings, or a sum of their gradients. The padding of `b` is minus
/// infinity in parameters, so that a padded class has probability 0 and no gradient; all other padding is 0.
#[derive(Clone)]
pub(crate) struct Dense<T> {
    pub(crate) shape: Shape,
    /// The layers in their directions, in the order of [`Shape::places`].
    pub(crate) layers: Vec<DenseLayer<T>>,
    pub(crate) w: Matrix<T>,
    pub(crate) b: Buffer<T>,
    /// That of the head, if it is one.
    pub(crate) crf: Option<Crf<T>>,
}

/// The tensors of a layer in one direction.
#[derive(Clone)]
pub(crate) struct DenseLayer<T> {
    shape: LayerShape,
    place: (usize, Direction),
    pub(crate) wx: Matrix<T>,
    pub(crate) wh: Matrix<T>,
    /// The biases of all blocks.
    pub(crate) bias: Buffer<T>,
    /// h0 and, of an LSTM, c0 beside it: each padded to whole vectors.
    pub(crate) h0: Buffer<T>,
}

impl<T: Num> DenseLayer<T> {
    fn of(params: &Params<T>, place: (usize, Direction)) -> Self {
        let (layer, shape) = (params.layer_at(place.0, place.1), params.shape().layer(place.0));
        let gates = shape.cell.gates();
        DenseLayer {
            shape,
            place,
            wx: Matrix::from_gates(layer.wx(), gates),
            wh: Matrix::from_gates(layer.wh(), gates),
            bias: bias(shape.cell, shape.hidden, layer.bh(), layer.bhn()),
            h0: first(layer),
        }
    }

    /// Takes the entries of parameters of this shape.
    fn copy_from(&mut self, params: &Params<T>) {
        let LayerShape { cell, hidden, .. } = self.shape;
        let layer = params.layer_at(self.place.0, self.place.1);
        self.wx.copy_gates_from(layer.wx(), cell.gates());
        self.wh.copy_gates_from(layer.wh(), cell.gates());
        self.bias.copy_from_slice(&bias(cell, hidden, layer.bh(), layer.bhn()));
        self.h0.copy_from_slice(&first(layer));
    }

    fn zeros(shape: &Shape, place: (usize, Direction)) -> Self {
        let (of_layer, hidden) = (shape.layer(place.0), padded::<T>(shape.hidden));
        let zeros = |n| padded_vector(Array1::zeros(n).view(), T::zero());
        let gates = shape.cell.gates() * hidden;
        DenseLayer {
            shape: of_layer,
            place,
            wx: Matrix::zeros(of_layer.input, gates),
            wh: Matrix::zeros(shape.fed_back(), gates),
            bias: zeros(blocks(shape.cell) * hidden),
            h0: zeros(shape.cell.states() * padded::<T>(shape.fed_back())),
        }
    }

    fn copy_to(&self, params: &mut Params<T>) {
        let LayerShape { cell, hidden, .. } = self.shape;
        let name = |tensor: Name| tensor.of(self.place.0, self.place.1);
        for (of, from) in [(Name::Wx, &self.wx), (Name::Wh, &self.wh)] {
            let mut to = params.matrix_mut(name(of));
            from.copy_gates_to(to.as_slice_mut().expect("row-major"), cell.gates(), hidden);
        }
        bias_to(cell, hidden, &self.bias, name, params);
        first_to(&self.h0, name, params);
    }

    pub(crate) fn view(&self) -> LayerView<'_, T> {
        LayerView {
            cell: self.shape.cell,
            direction: self.place.1,
            units: self.shape.hidden,
            wx: self.wx.view(),
            wh: self.wh.view(),
            wh_panels: None,
            wh_backwards: Backwards::Rows(self.wh.view_padded()),
            bias: &self.bias,
        }
    }
}

impl<T: Num> Dense<T> {
    fn of(params: &Params<T>, padding_of_b: T) -> Self {
        let shape = params.shape();
        Dense {
            shape,
            layers: shape.places().map(|place| DenseLayer::of(params, place)).collect(),
            w: Matrix::from_array(params.w()),
            b: padded_vector(params.b(), padding_of_b),
            crf: Crf::of(params),
        }
    }

    /// Zeros: the start of a sum.
    pub(crate) fn zeros(shape: Shape) -> Self {
        Dense {
            shape,
            layers: shape.places().map(|place| DenseLayer::zeros(&shape, place)).collect(),
            w: Matrix::zeros(shape.top(), shape.classes),
            b: padded_vector(Array1::zeros(shape.classes).view(), T::zero()),
            crf: (shape.head == Head::Crf).then(|| Crf::zeros(shape.classes)),
        }
    }

    /// Every number with its padding, tensor by tensor.
    pub(crate) fn slices_mut(&mut self) -> impl Iterator<Item = &mut [T]> {
        let Dense { shape: _, layers, w, b, crf } = self;
        let layers = layers.iter_mut().flat_map(|layer| {
            let DenseLayer { shape: _, place: _, wx, wh, bias, h0 } = layer;
            [wx.data_mut(), wh.data_mut(), &mut bias[..], &mut h0[..]]
        });
        layers.chain([w.data_mut(), &mut b[..]]).chain(crf.iter_mut().flat_map(Crf::slices_mut))
    }

    /// Every number with its padding, tensor by tensor.
    pub(crate) fn slices(&self) -> impl Iterator<Item = &[T]> {
        let Dense { shape: _, layers, w, b, crf } = self;
        let layers = layers.iter().flat_map(|layer| {
            let DenseLayer { shape: _, place: _, wx, wh, bias, h0 } = layer;
            [wx.data(), wh.data(), &bias[..], &h0[..]]
        });
        layers.chain([w.data(), &b[..]]).chain(crf.iter().flat_map(Crf::slices))
    }

    /// Takes the entries of parameters of this shape.
    pub(crate) fn copy_from(&mut self, params: &Params<T>) {
        self.layers.iter_mut().for_each(|layer| layer.copy_from(params));
        self.w.copy_gates_from(params.w(), 1);
        self.b.iter_mut().zip(params.b()).for_each(|(to, from)| *to = *from);
        if let (Some(to), Some(from)) = (&mut self.crf, params.crf()) {
            to.copy_from(from);
        }
    }

    /// Overwrites all but the embeddings of `params`, which must have this shape.
    pub(crate) fn copy_to(&self, params: &mut Params<T>) {
        self.layers.iter().for_each(|layer| layer.copy_to(params));
        self.w.copy_gates_to(params.w_mut().as_slice_mut().expect("row-major"), 1, self.shape.classes);
        params.b_mut().iter_mut().zip(self.b.iter()).for_each(|(to, from)| *to = *from);
        let Some(crf) = &self.crf else { return };
        let [_, start, end] = crf.slices();
        crf.transitions_to(params.matrix_mut(Name::Transitions).as_slice_mut().expect("row-major"));
        for (name, from) in [(Name::Start, start), (Name::End, end)] {
            let to = params.vector_mut(name).into_iter().flatten();
            to.zip(from.iter()).for_each(|(to, from)| *to = *from);
        }
    }

    pub(crate) fn w_backwards(&self) -> Backwards<'_, T> {
        Backwards::Rows(self.w.view_padded())
    }

    /// The first layer, forward.
    pub(crate) fn layer(&self) -> LayerView<'_, T> {
        self.layers[0].view()
    }
}

/// The parameters of a network.
#[derive(Clone)]
pub(crate) struct Weights<T> {
    pub(crate) emb: Matrix<T>,
    pub(crate) dense: Dense<T>,
}

impl<T: Num> Weights<T> {
    pub(crate) fn new(params: &Params<T>) -> Self {
        let minus_infinity = T::from_f64(f64::NEG_INFINITY);
        Weights { emb: Matrix::from_array(params.emb()), dense: Dense::of(params, minus_infinity) }
    }

    /// A gradient: the padding of b is 0.
    pub(crate) fn of_gradient(grad: &Params<T>) -> Self {
        Weights { emb: Matrix::from_array(grad.emb()), dense: Dense::of(grad, T::zero()) }
    }

    pub(crate) fn shape(&self) -> &Shape {
        &self.dense.shape
    }

    /// Makes all that the sentences of a batch share, if the weights have changed.
    #[inline(always)]
    pub(crate) fn prepare<S: Simd>(&mut self, simd: S) {
        if let Some(crf) = &mut self.dense.crf {
            crf.prepare(simd);
        }
    }

    /// Whether the sentences of a batch are trained together: of one layer, forward, with a softmax.
    pub(crate) fn is_packed(&self) -> bool {
        self.shape().is_single() && self.dense.crf.is_none()
    }

    /// The parameters without the padding.
    pub(crate) fn to_params(&self) -> Params<T> {
        let shape = self.dense.shape;
        let mut params = Params::zeros(shape).expect("parameters of this shape exist already");
        self.emb.copy_gates_to(params.emb_mut().as_slice_mut().expect("row-major"), 1, shape.embed);
        self.dense.copy_to(&mut params);
        params
    }
}

/// [`Weights::prepare`] by itself.
pub(crate) struct Prepare<'a, T>(pub(crate) &'a mut Weights<T>);

impl<T: Num> Task for Prepare<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        self.0.prepare(simd);
    }
}

/// A sum of gradients: dense but for the embeddings, of which it has the rows of some words.
pub(crate) struct Sum<T> {
    pub(crate) dense: Dense<T>,
    /// The words, each once.
    pub(crate) words: Vec<u32>,
    /// `[words, embed]`.
    emb: Buffer<T>,
    places: Places,
}

impl<T: Num> Sum<T> {
    pub(crate) fn new(shape: Shape) -> Self {
        Sum { dense: Dense::zeros(shape), words: Vec::new(), emb: buffer(), places: Places::default() }
    }

    /// Zeros, of no words.
    pub(crate) fn clear(&mut self) {
        self.dense.slices_mut().for_each(|slice| slice.fill(T::zero()));
        self.words.clear();
    }

    /// Each word with its row of the embeddings, padded to whole vectors.
    pub(crate) fn rows(&self) -> impl Iterator<Item = (u32, &[T])> {
        let embed = self.dense.shape.embed;
        let rows = self.emb.chunks_exact(row_stride::<T>(embed)).map(move |row| &row[..padded::<T>(embed)]);
        self.words.iter().copied().zip(rows)
    }

    /// Overwrites the rows of the embeddings' gradient that the sum has.
    pub(crate) fn copy_rows_to(&self, mut emb: ArrayViewMut2<'_, T>) {
        for (word, row) in self.rows() {
            emb.row_mut(word as usize).iter_mut().zip(row).for_each(|(to, from)| *to = *from);
        }
    }

    /// Adds another sum.
    #[inline(always)]
    pub(crate) fn add<S: Simd>(&mut self, simd: S, other: &Sum<T>) {
        for (to, from) in self.dense.slices_mut().zip(other.dense.slices()) {
            kernel::add(simd, from, to);
        }
        self.add_embeddings(simd, other.rows());
    }

    /// Adds rows of the embeddings.
    #[inline(always)]
    pub(crate) fn add_embeddings<'a, S: Simd>(
        &mut self,
        simd: S,
        rows: impl Iterator<Item = (u32, &'a [T])>,
    ) {
        let places = &mut self.places;
        let stride = row_stride::<T>(self.dense.shape.embed);
        places.begin(self.dense.shape.vocab + 1);
        self.words.iter().enumerate().for_each(|(i, word)| places.set(*word, i));
        for (word, row) in rows {
            match places.get(word) {
                Some(i) => kernel::add(simd, row, &mut self.emb[i * stride..][..row.len()]),
                None => {
                    let i = self.words.len();
                    self.words.push(word);
                    places.set(word, i);
                    grow(&mut self.emb, (i + 1) * stride)[i * stride..][..row.len()].copy_from_slice(row);
                }
            }
        }
    }
}

/// Places of words in a list; emptied at no cost.
#[derive(Default)]
pub(crate) struct Places {
    round: u32,
    of: Vec<(u32, u32)>,
}

impl Places {
    /// Empties the map, for words below `limit`.
    pub(crate) fn begin(&mut self, limit: usize) {
        self.round = self.round.wrapping_add(1);
        if self.round == 0 {
            self.of.clear();
            self.round = 1;
        }
        self.of.resize(limit, (0, 0));
    }

    pub(crate) fn get(&self, word: u32) -> Option<usize> {
        let (round, place) = self.of[word as usize];
        (round == self.round).then_some(place as usize)
    }

    pub(crate) fn set(&mut self, word: u32, place: usize) {
        // Fewer places than there are words, whose ids have 32 bits.
        self.of[word as usize] = (self.round, place as u32);
    }

    /// Adds a word; whether it was not there yet.
    pub(crate) fn first(&mut self, word: u32) -> bool {
        let first = self.get(word).is_none();
        self.set(word, 0);
        first
    }
}

/// A row-major matrix of the caller's, whose columns are whole vectors.
pub(crate) fn in_place<'a, T: Num>(array: &ArrayView2<'a, T>) -> View<'a, T> {
    let (rows, cols) = array.dim();
    View::new(array.to_slice().expect("checked: row-major"), rows, cols, cols, 1)
}
