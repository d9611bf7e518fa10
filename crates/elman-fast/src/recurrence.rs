//! The recurrence alone, for inputs and losses of the caller's.

use elman::ndarray::{Array2, ArrayView2, ArrayViewMut2};
use elman::{
    Direction, Error, Layer, LayerParams, LayerShape, Recurrence, RecurrenceGradient, Sequences, States,
    Trace, check_backward,
};
use fearless_simd::Simd;

use crate::Fast;
use crate::isa::{Cpu, Task, second_level_cache};
use crate::kept::{Kept, Lent};
use crate::kernel::{self, Backwards, Onto};
use crate::layer::{self, Backward};
use crate::matrix::{Buffer, Panels, View, ViewMut, buffer, grow, padded, row_stride};
use crate::num::Num;
use crate::pack::Pack;
use crate::pool::{Pool, Split};
use crate::unit::{self, parts};
use crate::weights::{LayerView, bias, bias_to, first_to, in_place};

/// Sequences whose steps are computed together, at most: so many that the weights of a large layer are read from
/// memory for enough rows, and no more than the states of one step stay in the second-level cache.
const GROUP: usize = 64;

/// From so many rows on, the weights are copied into the kernels' layout (aligned, and no row stride of 4 KiB);
/// below, a copy costs more than it gains.
const COPY_FROM: usize = 32;

/// The same for weights of more than `LARGE` bytes, which come from so far that their alignment hardly counts.
const COPY_LARGE_FROM: usize = 256;
const LARGE: usize = 2 << 20;

/// A copy in panels pays from so many sequences, and from so many steps of each, on.
const PANELS_FROM: usize = 8;

/// A weight of the caller's, read in place or from a copy.
enum Weight<'a, T: Num> {
    InPlace(View<'a, T>),
    Copied(Lent<T>),
}

impl<'a, T: Num> Weight<'a, T> {
    fn new(weight: ArrayView2<'a, T>, gates: usize, rows: usize, kept: &Kept) -> Self {
        let (height, width) = (weight.nrows(), weight.ncols() / gates);
        let from = if weight.len() * size_of::<T>() > LARGE { COPY_LARGE_FROM } else { COPY_FROM };
        if rows < from && width.is_multiple_of(T::LANES) {
            return Weight::InPlace(in_place(&weight));
        }
        let mut copy = kept.zeros(height, gates * padded::<T>(width));
        copy.copy_gates_from(weight, gates);
        Weight::Copied(copy)
    }

    /// The rows without padding, the columns in whole vectors.
    fn view(&self) -> View<'_, T> {
        match self {
            Weight::InPlace(view) => *view,
            Weight::Copied(matrix) => matrix.view(),
        }
    }

    /// Rows and columns in whole vectors; for wh, whose height is that of a gate.
    fn view_padded(&self) -> View<'_, T> {
        match self {
            Weight::InPlace(view) => *view,
            Weight::Copied(matrix) => matrix.view_padded(),
        }
    }
}

/// A layer in the layout of the kernels.
struct Prepared<'a, T: Num> {
    shape: LayerShape,
    wx: Weight<'a, T>,
    wh: Weight<'a, T>,
    wh_panels: Option<Lent<T>>,
    bias: Buffer<T>,
    /// The initial states of each sequence, `[sequences, states·hidden]`.
    first: Lent<T>,
}

impl<'a, T: Num> Prepared<'a, T> {
    fn new(layer: Layer<'a, T>, xs: &Sequences<'_, T>, kept: &Kept) -> Self {
        let shape = layer.shape();
        let (gates, rows, sequences) = (shape.cell.gates(), xs.rows().nrows(), xs.lengths().len());
        let states = shape.cell.states();
        let mut first = kept.zeros(sequences, states_width::<T>(&shape));
        match xs.initial() {
            Some(initial) => first.copy_gates_from(initial, states),
            None => {
                let initial = layer.initial();
                let each = initial.broadcast((sequences, initial.len()));
                first.copy_gates_from(each.expect("one row, repeated"), states);
            }
        }
        let (wx, wh) =
            (Weight::new(layer.wx(), gates, rows, kept), Weight::new(layer.wh(), gates, rows, kept));
        Prepared {
            shape,
            wh_panels: panels(wh.view(), (sequences, rows / sequences.max(1)), kept),
            wx,
            wh,
            bias: bias(shape.cell, shape.hidden, layer.bh(), layer.bhn()),
            first,
        }
    }

    fn view(&self) -> LayerView<'_, T> {
        let wh = self.wh.view();
        let wh_panels = self.wh_panels.as_ref();
        LayerView {
            wh_panels: wh_panels.map(|panels| Panels::new(panels.data(), wh.rows(), wh.cols())),
            cell: self.shape.cell,
            direction: Direction::Forward,
            units: self.shape.hidden,
            wx: self.wx.view(),
            wh,
            wh_backwards: Backwards::Rows(self.wh.view_padded()),
            bias: &self.bias,
        }
    }
}

/// A copy of wh in panels, if steps of several sequences read it from beyond the second-level cache, and often enough.
fn panels<T: Num>(wh: View<'_, T>, (sequences, steps): (usize, usize), kept: &Kept) -> Option<Lent<T>> {
    let bytes = wh.rows() * wh.cols() * size_of::<T>();
    if sequences < PANELS_FROM || steps < PANELS_FROM || bytes <= second_level_cache() / 2 {
        return None;
    }
    let width = Panels::<T>::WIDTH;
    let mut copy = kept.stale(Panels::<T>::size(wh.rows(), wh.cols()) / width, width);
    Panels::of(wh, copy.data_mut());
    Some(copy)
}

/// The width of a row of states: `hidden`, or of several states `states·hidden`, each in whole vectors.
fn states_width<T: Num>(shape: &LayerShape) -> usize {
    match shape.cell.states() {
        1 => shape.hidden,
        states => states * padded::<T>(shape.hidden),
    }
}

/// Rows of one sequence after the other.
#[derive(Clone, Copy)]
struct Span {
    start: usize,
    length: usize,
}

fn spans<T: Num>(xs: &Sequences<'_, T>) -> Vec<Span> {
    xs.ranges().map(|range| Span { start: range.start, length: range.len() }).collect()
}

/// Some sequences, the first of which is number `first`, with their rows of two matrices and a row each of a third.
struct Share<'a, T> {
    spans: &'a [Span],
    first: usize,
    a: ViewMut<'a, T>,
    b: ViewMut<'a, T>,
    each: ViewMut<'a, T>,
}

impl<T: Num> Split for Share<'_, T> {
    fn pieces(&self) -> usize {
        self.spans.len()
    }

    fn cut(self, at: usize) -> (Self, Self) {
        let (spans, rest) = self.spans.split_at(at);
        let rows = rest[0].start - spans[0].start;
        // A matrix without rows belongs to nobody.
        let (a_rows, b_rows, each_rows) = (self.a.rows(), self.b.rows(), self.each.rows());
        let ((a, a2), (b, b2)) = (self.a.cut(rows.min(a_rows)), self.b.cut(rows.min(b_rows)));
        let (each, each2) = self.each.cut(at.min(each_rows));
        let first = self.first;
        (
            Share { spans, first, a, b, each },
            Share { spans: rest, first: first + at, a: a2, b: b2, each: each2 },
        )
    }
}

/// The sequences that a thread computes together; no result depends on it.
fn group(sequences: usize, threads: usize) -> usize {
    GROUP.min(sequences.div_ceil(threads.max(1)))
}

/// Copies rows of packed sequences, step by step, from or to their places one sequence after the other.
fn each_row(pack: &Pack, spans: &[Span], mut copy: impl FnMut(usize, usize)) {
    let first = spans[0].start;
    for (row, sequence, t) in pack.each_row() {
        copy(row, spans[sequence].start - first + t);
    }
}

/// A buffer of rows that grows and stays.
fn rows_in<T: Num>(buffer: &mut Buffer<T>, rows: usize, cols: usize) -> ViewMut<'_, T> {
    let stride = row_stride::<T>(cols);
    ViewMut::new(grow(buffer, rows * stride), rows, cols, stride)
}

impl Fast {
    /// The layer, the states, and the rows that a trace keeps.
    fn states<'a, T: Num>(&self, layer: Layer<'a, T>, xs: &Sequences<'_, T>) -> Result<Run<'a, T>, Error> {
        let kept = &self.kept;
        xs.check(&layer)?;
        unit::check(layer.cell())?;
        let (n, shape) = (xs.rows().nrows(), layer.shape());
        let (hidden, states) = (shape.hidden, shape.cell.states());
        let layer = Prepared::new(layer, xs, kept);
        let mut h = Array2::zeros((n, hidden));
        let mut a = kept.stale(n, layer.view().width());
        let (cpu, threads) = (self.cpu, self.pool.threads());
        let mut compute = |states: ViewMut<'_, T>| {
            let task = Forward { layer: &layer, xs, a: a.view_mut(), h: states, threads };
            self.pool.run(|| cpu.run(task));
        };
        let h_padded = if states == 1 {
            in_whole_vectors(h.view_mut(), 1, kept, compute)
        } else {
            let mut all = kept.stale(n, states_width::<T>(&shape));
            compute(all.view_mut());
            all.copy_gates_to(h.as_slice_mut().expect("made row-major"), 1, hidden);
            Some(all)
        };
        let mut last = Array2::zeros((xs.lengths().len(), states * hidden));
        for (mut row, range) in last.rows_mut().into_iter().zip(xs.ranges()) {
            match &h_padded {
                Some(all) => {
                    let (from, width) = (all.row(range.end - 1), padded::<T>(hidden));
                    for (to, from) in row.exact_chunks_mut(hidden).into_iter().zip(from.chunks_exact(width)) {
                        to.into_iter().zip(from).for_each(|(to, from)| *to = *from);
                    }
                }
                None => row.assign(&h.row(range.end - 1)),
            }
        }
        Ok(Run { layer, a, states: States { h, last }, h_padded })
    }
}

/// The results of a run forwards.
struct Run<'a, T: Num> {
    layer: Prepared<'a, T>,
    /// The blocks that the way back needs, `[rows, blocks]`.
    a: Lent<T>,
    states: States<T>,
    /// All states in whole vectors, where those of the caller are not: where a cell has several, or rows are no whole
    /// vectors.
    h_padded: Option<Lent<T>>,
}

struct Forward<'a, 'c, 'x, T: Num> {
    layer: &'a Prepared<'c, T>,
    xs: &'a Sequences<'x, T>,
    a: ViewMut<'a, T>,
    h: ViewMut<'a, T>,
    threads: usize,
}

impl<T: Num> Task for Forward<'_, '_, '_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Forward { layer: prepared, xs, mut a, h, threads } = self;
        let layer = prepared.view();
        let (states, width) = (layer.states(), layer.width());
        let rows = xs.rows();
        let x = in_place(&rows);
        // a = bias + x·wx for all rows at once.
        a.reborrow().each(threads, &|from, mut a| {
            let (rows, stride) = (a.rows(), a.row_stride());
            for row in a.as_mut_slice().chunks_mut(stride).take(rows) {
                row[..width].copy_from_slice(layer.bias);
            }
            layer::project(simd, &layer, x.rows_from(from, rows), a);
        });
        let spans = spans(xs);
        let none = ViewMut::new(&mut [], 0, 0, 0);
        let share = Share { spans: &spans, first: 0, a, b: h, each: none };
        share.each(threads, &|_, share| {
            let Share { spans, first: mut number, mut a, b: mut h, .. } = share;
            let mut pack = Pack::default();
            let (mut a_buffer, mut h_buffer, mut first_buffer) = (buffer(), buffer(), buffer());
            let start = spans[0].start;
            for spans in spans.chunks(group(spans.len(), 1)) {
                let rows: usize = spans.iter().map(|span| span.length).sum();
                let mut a = a.reborrow().rows_from(spans[0].start - start, rows);
                let mut h = h.reborrow().rows_from(spans[0].start - start, rows);
                pack.pack(spans.len(), |i| spans[i].length);
                let mut first = rows_in(&mut first_buffer, spans.len(), states);
                for (rank, sequence) in pack.order().iter().enumerate() {
                    first.row_mut(rank).copy_from_slice(prepared.first.row(number + sequence));
                }
                let first = first.view();
                if let [_] = spans {
                    layer::forward(simd, &pack, &layer, first, a, h, None);
                } else {
                    let mut packed_a = rows_in(&mut a_buffer, rows, width);
                    let mut packed_h = rows_in(&mut h_buffer, rows, states);
                    each_row(&pack, spans, |row, place| packed_a.row_mut(row).copy_from_slice(a.row(place)));
                    layer::forward(
                        simd,
                        &pack,
                        &layer,
                        first,
                        packed_a.reborrow(),
                        packed_h.reborrow(),
                        None,
                    );
                    each_row(&pack, spans, |row, place| h.row_mut(place).copy_from_slice(packed_h.row(row)));
                    if width > layer.hidden() {
                        each_row(&pack, spans, |row, place| {
                            a.row_mut(place).copy_from_slice(packed_a.row(row))
                        });
                    }
                }
                number += spans.len();
            }
        });
    }
}

struct FastTrace<'a, T: Num> {
    cpu: Cpu,
    pool: Pool,
    kept: Kept,
    xs: &'a Sequences<'a, T>,
    run: Run<'a, T>,
}

impl<T: Num> Trace<T> for FastTrace<'_, T> {
    fn h(&self) -> ArrayView2<'_, T> {
        self.run.states.h.view()
    }

    fn last(&self) -> ArrayView2<'_, T> {
        self.run.states.last.view()
    }

    fn backward_into(
        &self,
        dh: ArrayView2<'_, T>,
        dlast: Option<ArrayView2<'_, T>>,
        gradient: &mut RecurrenceGradient<T>,
    ) -> Result<(), Error> {
        check_backward((self.h(), self.last()), dh, dlast)?;
        let shape = self.run.layer.shape;
        if gradient.layer.shape() != shape {
            gradient.layer = LayerParams::zeros(shape)?;
        }
        let (cpu, threads) = (self.cpu, self.pool.threads());
        self.pool.run(|| cpu.run(Back { trace: self, dh, dlast, threads, gradient }));
        Ok(())
    }
}

struct Back<'a, 't, 'd, T: Num> {
    trace: &'a FastTrace<'t, T>,
    dh: ArrayView2<'d, T>,
    dlast: Option<ArrayView2<'d, T>>,
    threads: usize,
    gradient: &'d mut RecurrenceGradient<T>,
}

impl<T: Num> Task for Back<'_, '_, '_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let (FastTrace { xs, kept, run, .. }, threads, gradient) = (self.trace, self.threads, self.gradient);
        let Prepared { shape: LayerShape { cell, hidden: units, input }, first: prepared_first, .. } =
            &run.layer;
        let (units, input, gates) = (*units, *input, cell.gates());
        let layer = run.layer.view();
        let (hidden, states, width, from) =
            (layer.hidden(), layer.states(), layer.width(), layer.fed_back_from());
        let n = xs.rows().nrows();
        let spans = spans(xs);
        let dh = self.dh;
        let dh = dh.as_slice().expect("checked: row-major");
        let h = match &run.h_padded {
            Some(h) => h.view(),
            None => in_place(&run.states.h.view()),
        };

        // da for all rows, and the gradient of each sequence's initial state.
        let mut da = kept.stale(n, width);
        let mut carried = kept.zeros(spans.len(), states_width::<T>(&run.layer.shape));
        if let Some(dlast) = self.dlast {
            carried.copy_gates_from(dlast, cell.states());
        }
        let none = ViewMut::new(&mut [], 0, 0, 0);
        let share = Share { spans: &spans, first: 0, a: da.view_mut(), b: none, each: carried.view_mut() };
        share.each(threads, &|_, share| {
            let Share { spans, first: mut number, a: mut da, mut each, .. } = share;
            let mut pack = Pack::default();
            let mut buffers = [buffer(), buffer(), buffer(), buffer(), buffer()];
            let start = spans[0].start;
            let mut done = 0;
            for spans in spans.chunks(group(spans.len(), 1)) {
                let [a_buffer, h_buffer, dh_buffer, first_buffer, carried_buffer] = &mut buffers;
                let rows: usize = spans.iter().map(|span| span.length).sum();
                let mut da = da.reborrow().rows_from(spans[0].start - start, rows);
                let mut carried = each.reborrow().rows_from(done, spans.len());
                pack.pack(spans.len(), |i| spans[i].length);
                let base = spans[0].start;
                let mut packed_dh = rows_in(dh_buffer, rows, hidden);
                each_row(&pack, spans, |row, place| {
                    let row = packed_dh.row_mut(row);
                    row[..units].copy_from_slice(&dh[(base + place) * units..][..units]);
                    row[units..].fill(T::zero());
                });
                let dh_stride = packed_dh.row_stride();
                let mut packed_carried = rows_in(carried_buffer, spans.len(), states);
                let mut first = rows_in(first_buffer, spans.len(), states);
                for (rank, sequence) in pack.order().iter().enumerate() {
                    first.row_mut(rank).copy_from_slice(prepared_first.row(number + sequence));
                    packed_carried.row_mut(rank).copy_from_slice(carried.row(*sequence));
                }
                // Blocks of one gate are written before they are read.
                let alone = spans.len() == 1;
                let mut packed_a = rows_in(a_buffer, if alone { 0 } else { rows }, width);
                let a = if alone { &mut da } else { &mut packed_a };
                if width > hidden {
                    each_row(&pack, spans, |row, place| {
                        a.row_mut(row).copy_from_slice(run.a.row(base + place))
                    });
                }
                let mut packed_h = rows_in(h_buffer, if alone { 0 } else { rows }, states);
                let h = if alone {
                    h.rows_from(base, rows)
                } else {
                    each_row(&pack, spans, |row, place| {
                        packed_h.row_mut(row).copy_from_slice(&h.row(base + place)[..states]);
                    });
                    packed_h.view()
                };
                let rows = Backward {
                    a: a.reborrow(),
                    h,
                    dh: packed_dh.as_mut_slice(),
                    dh_stride,
                    carried: packed_carried.reborrow(),
                    zeros: &mut [],
                };
                layer::backward(simd, &pack, &layer, first.view(), rows, None);
                if !alone {
                    each_row(&pack, spans, |row, place| da.row_mut(place).copy_from_slice(packed_a.row(row)));
                }
                for (rank, sequence) in pack.order().iter().enumerate() {
                    carried.row_mut(*sequence).copy_from_slice(packed_carried.row(rank));
                }
                number += spans.len();
                done += spans.len();
            }
        });

        let rows = xs.rows();
        let x = in_place(&rows);
        let da = da.view();
        let RecurrenceGradient { xs: dxs, initial: dinitial, layer: grad } = gradient;
        if dxs.dim() == (n, input) && dxs.is_standard_layout() {
            dxs.fill(T::zero());
        } else {
            *dxs = Array2::zeros((n, input));
        }
        let dxs = dxs.as_slice_mut().expect("made row-major");
        ViewMut::new(dxs, n, input, input).each(threads, &|row, mut dx| {
            for part in parts(*cell) {
                let part_width = part.gates * hidden;
                let da = da.rows_from(row, dx.rows()).cols_from(part.block * hidden, part_width);
                kernel::dot(simd, da, layer.wx.cols_from(part.gate * hidden, part_width), dx.reborrow());
            }
        });
        in_whole_vectors(grad.wx_mut(), gates, kept, |mut target| {
            target.reborrow().each(threads, &|row, mut dwx| {
                for part in parts(*cell) {
                    let part_width = part.gates * hidden;
                    let da = da.cols_from(part.block * hidden, part_width);
                    let to = dwx.reborrow().cols_from(part.gate * hidden, part_width);
                    kernel::product_onto(simd, x.t().rows_from(row, to.rows()), da, to, Onto::Set);
                }
            });
        });
        // The states before each row: of the first rows of the sequences the initial ones, then those of the row before.
        let mut before = kept.stale(n, units);
        for (i, Span { start, length }) in spans.iter().enumerate() {
            before.row_mut(*start).copy_from_slice(&prepared_first.row(i)[..hidden]);
            for row in *start..start + length - 1 {
                before.row_mut(row + 1).copy_from_slice(&h.row(row)[..hidden]);
            }
        }
        let before = before.view().cols_from(0, units);
        in_whole_vectors(grad.wh_mut(), gates, kept, |mut target| {
            target.reborrow().each(threads, &|row, dwh| {
                let da = da.cols_from(from, width - from);
                kernel::product_onto(simd, before.t().rows_from(row, dwh.rows()), da, dwh, Onto::Set);
            });
        });
        let column_sums = |rows: View<'_, T>, width: usize| {
            let mut sum = buffer();
            grow(&mut sum, width);
            simd.vectorize(
                #[inline(always)]
                || (0..rows.rows()).for_each(|row| kernel::add(simd, &rows.row(row)[..width], &mut sum)),
            );
            sum
        };
        bias_to(*cell, units, &column_sums(da, width), |name| name, grad);
        let dh0 = match xs.initial() {
            None => column_sums(carried.view(), states),
            Some(_) => {
                let mut zeros = buffer();
                grow(&mut zeros, states);
                zeros
            }
        };
        first_to(&dh0, |name| name, grad);
        let initial = (spans.len(), cell.states() * units);
        if dinitial.dim() != initial || !dinitial.is_standard_layout() {
            *dinitial = Array2::zeros(initial);
        }
        carried.copy_gates_to(dinitial.as_slice_mut().expect("made row-major"), cell.states(), units);
    }
}

/// Computes the columns of some gates in their place, or beside it where those of a gate are no whole vectors; the place
/// beside is returned.
fn in_whole_vectors<T: Num>(
    mut target: ArrayViewMut2<'_, T>,
    gates: usize,
    kept: &Kept,
    compute: impl FnOnce(ViewMut<'_, T>),
) -> Option<Lent<T>> {
    let (rows, cols) = target.dim();
    let width = cols / gates;
    let slice = target.as_slice_mut().expect("made row-major");
    if width.is_multiple_of(T::LANES) {
        compute(ViewMut::new(slice, rows, cols, cols));
        return None;
    }
    let mut matrix = kept.stale(rows, gates * padded::<T>(width));
    compute(matrix.view_mut());
    matrix.copy_gates_to(slice, gates, width);
    Some(matrix)
}

// Not one generic implementation: these are compiled here, once, and not again in every crate that uses them.
macro_rules! implement {
    ($($t:ty),*) => {$(
        impl Recurrence<$t> for Fast {
            fn forward(&self, layer: Layer<'_, $t>, xs: &Sequences<'_, $t>) -> Result<States<$t>, Error> {
                Ok(self.states(layer, xs)?.states)
            }

            fn vjp<'a>(
                &self,
                layer: Layer<'a, $t>,
                xs: &'a Sequences<'a, $t>,
            ) -> Result<Box<dyn Trace<$t> + 'a>, Error> {
                let run = self.states(layer, xs)?;
                let (cpu, pool, kept) = (self.cpu, self.pool.clone(), self.kept.clone());
                Ok(Box::new(FastTrace { cpu, pool, kept, xs, run }))
            }
        }
    )*};
}
implement!(f32, f64);
