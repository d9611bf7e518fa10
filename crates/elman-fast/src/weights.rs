//! The parameters, and sums of gradients, in the layout of the kernels.

use elman::ndarray::{Array1, ArrayView1, ArrayView2, ArrayViewMut2};
use elman::{Cell, Layer, Layout, Params, Shape};
use fearless_simd::Simd;

use crate::kernel::{self, Backwards};
use crate::matrix::{Buffer, Matrix, View, buffer, grow, padded, padded_vector, row_stride};
use crate::num::Num;
use crate::unit::blocks;

/// The layer's tensors as the loops over time read them: rows in whole vectors, gates side by side, each of `units()`
/// padded to whole vectors.
#[derive(Clone, Copy)]
pub(crate) struct LayerView<'a, T> {
    pub(crate) cell: Cell,
    /// Hidden units.
    pub(crate) units: usize,
    /// `[input, gates·hidden]`.
    pub(crate) wx: View<'a, T>,
    /// `[fed_back, gates·hidden]`.
    pub(crate) wh: View<'a, T>,
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
pub(crate) fn first_to<T: Num, S: Layout>(first: &[T], params: &mut Params<T, S>) {
    let (h0, c0) = first.split_at(padded::<T>(params.h0().len()));
    params.h0_mut().iter_mut().zip(h0).for_each(|(to, from)| *to = *from);
    params.c0_mut().into_iter().flatten().zip(c0).for_each(|(to, from)| *to = *from);
}

/// Writes the sums over blocks into the gradients of the biases: the other way round than [`bias`].
pub(crate) fn bias_to<T: Num, S: Layout>(cell: Cell, units: usize, sums: &[T], params: &mut Params<T, S>) {
    let hidden = padded::<T>(units);
    each_bias(cell, |block, gate| {
        let sums = &sums[block * hidden..][..units];
        let to = match gate {
            Some(gate) => params.bh_mut().into_slice().map(|bh| &mut bh[gate * units..][..units]),
            None => params.bhn_mut().and_then(|bhn| bhn.into_slice()),
        };
        if let Some(to) = to {
            to.copy_from_slice(sums);
        }
    });
}

/// The parameters of a network but for the embeddings, or a sum of their gradients. The padding of `b` is minus
/// infinity in parameters, so that a padded class has probability 0 and no gradient; all other padding is 0.
#[derive(Clone)]
pub(crate) struct Dense<T> {
    pub(crate) shape: Shape,
    pub(crate) wx: Matrix<T>,
    pub(crate) wh: Matrix<T>,
    pub(crate) w: Matrix<T>,
    /// The biases of all blocks.
    pub(crate) bias: Buffer<T>,
    pub(crate) b: Buffer<T>,
    /// h0 and, of an LSTM, c0 beside it: each padded to whole vectors.
    pub(crate) h0: Buffer<T>,
}

impl<T: Num> Dense<T> {
    fn of(params: &Params<T>, padding_of_b: T) -> Self {
        let shape = params.shape();
        let gates = shape.cell.gates();
        Dense {
            shape,
            wx: Matrix::from_gates(params.wx(), gates),
            wh: Matrix::from_gates(params.wh(), gates),
            w: Matrix::from_array(params.w()),
            bias: bias(shape.cell, shape.hidden, params.bh(), params.bhn()),
            b: padded_vector(params.b(), padding_of_b),
            h0: first(params.layer()),
        }
    }

    /// Takes the entries of parameters of this shape.
    pub(crate) fn copy_from(&mut self, params: &Params<T>) {
        let Shape { cell, hidden, .. } = self.shape;
        let gates = cell.gates();
        self.wx.copy_gates_from(params.wx(), gates);
        self.wh.copy_gates_from(params.wh(), gates);
        self.w.copy_gates_from(params.w(), 1);
        self.bias.copy_from_slice(&bias(cell, hidden, params.bh(), params.bhn()));
        self.b.iter_mut().zip(params.b()).for_each(|(to, from)| *to = *from);
        self.h0.copy_from_slice(&first(params.layer()));
    }

    /// Zeros: the start of a sum.
    pub(crate) fn zeros(shape: Shape) -> Self {
        let gates = shape.cell.gates() * padded::<T>(shape.hidden);
        let zeros = |n| padded_vector(Array1::zeros(n).view(), T::zero());
        Dense {
            shape,
            wx: Matrix::zeros(shape.input(), gates),
            wh: Matrix::zeros(shape.fed_back(), gates),
            w: Matrix::zeros(shape.hidden, shape.classes),
            bias: zeros(blocks(shape.cell) * padded::<T>(shape.hidden)),
            b: zeros(shape.classes),
            h0: zeros(shape.cell.states() * padded::<T>(shape.fed_back())),
        }
    }

    /// Every number with its padding, tensor by tensor.
    pub(crate) fn slices_mut(&mut self) -> [&mut [T]; 6] {
        let Dense { shape: _, wx, wh, w, bias, b, h0 } = self;
        [wx.data_mut(), wh.data_mut(), w.data_mut(), bias, b, h0]
    }

    /// Every number with its padding, tensor by tensor.
    pub(crate) fn slices(&self) -> [&[T]; 6] {
        let Dense { shape: _, wx, wh, w, bias, b, h0 } = self;
        [wx.data(), wh.data(), w.data(), bias, b, h0]
    }

    /// Overwrites all but the embeddings of `params`, which must have this shape.
    pub(crate) fn copy_to(&self, params: &mut Params<T>) {
        let Shape { cell, hidden, classes, .. } = self.shape;
        let gates = cell.gates();
        let slice = "row-major";
        self.wx.copy_gates_to(params.wx_mut().as_slice_mut().expect(slice), gates, hidden);
        self.wh.copy_gates_to(params.wh_mut().as_slice_mut().expect(slice), gates, hidden);
        self.w.copy_gates_to(params.w_mut().as_slice_mut().expect(slice), 1, classes);
        bias_to(cell, hidden, &self.bias, params);
        params.b_mut().iter_mut().zip(self.b.iter()).for_each(|(to, from)| *to = *from);
        first_to(&self.h0, params);
    }

    pub(crate) fn w_backwards(&self) -> Backwards<'_, T> {
        Backwards::Rows(self.w.view_padded())
    }

    pub(crate) fn layer(&self) -> LayerView<'_, T> {
        LayerView {
            cell: self.shape.cell,
            units: self.shape.hidden,
            wx: self.wx.view(),
            wh: self.wh.view(),
            wh_backwards: Backwards::Rows(self.wh.view_padded()),
            bias: &self.bias,
        }
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

    /// The parameters without the padding.
    pub(crate) fn to_params(&self) -> Params<T> {
        let shape = self.dense.shape;
        let mut params = Params::zeros(shape).expect("parameters of this shape exist already");
        self.emb.copy_gates_to(params.emb_mut().as_slice_mut().expect("row-major"), 1, shape.embed);
        self.dense.copy_to(&mut params);
        params
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
        for (to, from) in self.dense.slices_mut().into_iter().zip(other.dense.slices()) {
            kernel::add(simd, from, to);
        }
        self.add_embeddings(simd, other.rows());
    }

    /// Adds rows of the embeddings, each word once.
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
