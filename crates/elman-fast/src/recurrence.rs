//! The recurrence alone, for inputs and losses of the caller's.

use elman::ndarray::{Array1, Array2, ArrayView2};
use elman::{Cell, CellGradient, Error, Sequences, Trace};
use fearless_simd::Simd;

use crate::Fast;
use crate::isa::{Cpu, Task};
use crate::kept::{Kept, Lent};
use crate::kernel;
use crate::matrix::{Buffer, View, ViewMut, buffer, grow, padded, padded_vector, row_stride};
use crate::num::Num;
use crate::packed::{self, Packed};
use crate::pool::{Pool, Split};

/// Sequences whose steps are computed together: so many that the weights of a large cell are read from
/// memory for enough rows, and no more than the states of one step stay in the second-level cache.
const GROUP: usize = 64;

/// From so many rows on, the weights are copied into the kernels' layout (aligned, and no row stride of 4 KiB);
/// below, a copy costs more than it gains.
const COPY_FROM: usize = 32;

/// The same for weights of more than `LARGE` bytes, which come from so far that their alignment hardly counts.
const COPY_LARGE_FROM: usize = 256;
const LARGE: usize = 2 << 20;

/// A weight of the caller's, read in place or from a copy.
enum Weight<'a, T: Num> {
    InPlace(ArrayView2<'a, T>),
    Copied(Lent<T>),
}

impl<'a, T: Num> Weight<'a, T> {
    fn new(weight: &'a Array2<T>, rows: usize, kept: &Kept) -> Self {
        let from =
            if size_of_val(weight.as_slice().unwrap_or(&[])) > LARGE { COPY_LARGE_FROM } else { COPY_FROM };
        if rows < from && weight.ncols().is_multiple_of(T::LANES) {
            return Weight::InPlace(weight.view());
        }
        let mut copy = kept.zeros(weight.nrows(), weight.ncols());
        copy.copy_from(weight.view());
        Weight::Copied(copy)
    }

    /// The rows without padding, the columns in whole vectors.
    fn view(&self) -> View<'_, T> {
        match self {
            Weight::InPlace(array) => {
                let (rows, cols) = array.dim();
                View::new(array.as_slice().expect("checked: row-major"), rows, cols, cols, 1)
            }
            Weight::Copied(matrix) => matrix.view(),
        }
    }

    /// Rows and columns in whole vectors; for a square matrix.
    fn view_padded(&self) -> View<'_, T> {
        match self {
            Weight::InPlace(_) => self.view(),
            Weight::Copied(matrix) => matrix.view_padded(),
        }
    }
}

/// A matrix that is added up: in the array that the caller gets, where its rows are whole vectors.
enum Sum<'a, T: Num> {
    InPlace(&'a mut Array2<T>),
    Padded(&'a mut Array2<T>, Lent<T>),
}

impl<'a, T: Num> Sum<'a, T> {
    /// Begins with zeros; an array of another shape is replaced.
    fn zeros(array: &'a mut Array2<T>, rows: usize, cols: usize, kept: &Kept) -> Self {
        let fits = array.dim() == (rows, cols) && array.is_standard_layout();
        match (fits, cols.is_multiple_of(T::LANES)) {
            (true, true) => array.fill(T::zero()),
            (true, false) => {}
            (false, _) => *array = Array2::zeros((rows, cols)),
        }
        if cols.is_multiple_of(T::LANES) {
            Sum::InPlace(array)
        } else {
            Sum::Padded(array, kept.zeros(rows, cols))
        }
    }

    fn view_mut(&mut self) -> ViewMut<'_, T> {
        match self {
            Sum::InPlace(array) => {
                let (rows, cols) = array.dim();
                ViewMut::new(array.as_slice_mut().expect("made row-major"), rows, cols, cols)
            }
            Sum::Padded(_, matrix) => matrix.view_mut(),
        }
    }

    fn finish(self) {
        if let Sum::Padded(array, matrix) = self {
            matrix.copy_to(array.as_slice_mut().expect("made row-major"));
        }
    }
}

/// A cell in the layout of the kernels.
pub(crate) struct Prepared<'a, T: Num> {
    wx: Weight<'a, T>,
    wh: Weight<'a, T>,
    bh: Buffer<T>,
    h0: Buffer<T>,
    units: usize,
}

impl<'a, T: Num> Prepared<'a, T> {
    /// For sequences of this many rows in all.
    fn new(cell: &'a Cell<T>, rows: usize, kept: &Kept) -> Self {
        Prepared {
            wx: Weight::new(&cell.wx, rows, kept),
            wh: Weight::new(&cell.wh, rows, kept),
            bh: padded_vector(cell.bh.view(), T::zero()),
            h0: padded_vector(cell.h0.view(), T::zero()),
            units: cell.bh.len(),
        }
    }
}

/// Some sequences and their rows of a matrix, to be shared among threads.
struct Parts<'a, T> {
    /// `(first row, length)` of each sequence; `first` is the first row of the first sequence.
    sequences: &'a [(usize, usize)],
    first: usize,
    rows: &'a mut [T],
    stride: usize,
    /// A row for each sequence.
    each: &'a mut [T],
}

impl<T: Num> Split for Parts<'_, T> {
    fn pieces(&self) -> usize {
        self.sequences.len().div_ceil(GROUP)
    }

    fn cut(self, at: usize) -> (Self, Self) {
        let (sequences, rest) = self.sequences.split_at(at * GROUP);
        let stride = self.stride;
        let (rows, rest_rows) = self.rows.split_at_mut((rest[0].0 - self.first) * stride);
        let (each, rest_each) = self.each.split_at_mut(self.each.len().min(sequences.len() * stride));
        (
            Parts { sequences, first: self.first, rows, stride, each },
            Parts { sequences: rest, first: rest[0].0, rows: rest_rows, stride, each: rest_each },
        )
    }
}

impl Fast {
    /// The cell and the states.
    pub(crate) fn states<'a, T: Num>(
        &self,
        cell: &'a Cell<T>,
        xs: &Sequences<'_, T>,
    ) -> Result<(Prepared<'a, T>, Array2<T>), Error> {
        let (input, hidden) = cell.dim()?;
        xs.check(input)?;
        let rows = xs.rows().nrows();
        let cell = Prepared::new(cell, rows, &self.kept);
        let mut states = Array2::zeros((0, 0));
        let mut h = Sum::zeros(&mut states, rows, hidden, &self.kept);
        let (cpu, threads) = (self.cpu, self.pool.threads());
        self.pool.run(|| cpu.run(Forward { cell: &cell, xs, h: h.view_mut(), threads }));
        h.finish();
        Ok((cell, states))
    }

    /// The states, and what it takes to go backwards.
    pub(crate) fn trace<'a, T: Num>(
        &self,
        cell: &'a Cell<T>,
        xs: &'a Sequences<'a, T>,
    ) -> Result<FastTrace<'a, T>, Error> {
        let (cell, h) = self.states(cell, xs)?;
        Ok(FastTrace { cpu: self.cpu, pool: self.pool.clone(), kept: self.kept.clone(), cell, xs, h })
    }
}

fn rows_of<T: Num>(xs: &Sequences<'_, T>) -> Vec<(usize, usize)> {
    xs.ranges().map(|range| (range.start, range.len())).collect()
}

struct Forward<'a, 'c, 'x, T: Num> {
    cell: &'a Prepared<'c, T>,
    xs: &'a Sequences<'x, T>,
    h: ViewMut<'a, T>,
    threads: usize,
}

impl<T: Num> Task for Forward<'_, '_, '_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Forward { cell, xs, mut h, threads } = self;
        let (hidden, stride) = (h.cols(), h.row_stride());
        let (n, input) = xs.rows().dim();
        let rows = xs.rows();
        let rows = rows.as_slice().expect("checked: row-major");
        let x = View::new(rows, n, input, input, 1);
        // z = bh + x·wx for all rows at once.
        for row in h.as_mut_slice().chunks_mut(stride).take(n) {
            row[..hidden].copy_from_slice(&cell.bh);
        }
        h.reborrow().each(threads, &|from, z| {
            kernel::product(simd, x.rows_from(from, z.rows()), cell.wx.view(), z);
        });
        let sequences = rows_of(xs);
        let rows = h.as_mut_slice();
        let parts = Parts { sequences: &sequences, first: 0, rows, stride, each: &mut [] };
        parts.each(threads, &|_, parts| {
            let mut packed = Packed::default();
            let (mut now, mut before) = (buffer(), buffer());
            for sequences in parts.sequences.chunks(GROUP) {
                let most = sequences.len() * stride;
                let (mut now, mut before) = (grow(&mut now, most), grow(&mut before, most));
                packed.pack(0, sequences.len(), |i| sequences[i].1);
                let start = |rank: usize| sequences[packed.order()[rank]].0 - parts.first;
                for t in 0..packed.steps() {
                    let active = packed.active(t);
                    if sequences.len() == 1 {
                        let (h_prev, z) = parts.rows.split_at_mut((start(0) + t) * stride);
                        let h_prev = if t == 0 { &cell.h0 } else { &h_prev[(start(0) + t - 1) * stride..] };
                        kernel::step(simd, t, h_prev, cell.wh.view(), &mut z[..hidden]);
                        continue;
                    }
                    for (rank, row) in now.chunks_exact_mut(stride).take(active).enumerate() {
                        row[..hidden].copy_from_slice(&parts.rows[(start(rank) + t) * stride..][..hidden]);
                    }
                    let h_prev = if t == 0 {
                        View::new(&cell.h0, active, cell.units, 0, 1)
                    } else {
                        View::new(before, active, cell.units, stride, 1)
                    };
                    packed::step(simd, t, h_prev, cell.wh.view(), now, stride);
                    for (rank, row) in now.chunks_exact(stride).take(active).enumerate() {
                        parts.rows[(start(rank) + t) * stride..][..hidden].copy_from_slice(&row[..hidden]);
                    }
                    std::mem::swap(&mut now, &mut before);
                }
            }
        });
    }
}

pub(crate) struct FastTrace<'a, T: Num> {
    cpu: Cpu,
    pool: Pool,
    kept: Kept,
    cell: Prepared<'a, T>,
    xs: &'a Sequences<'a, T>,
    h: Array2<T>,
}

impl<T: Num> Trace<T> for FastTrace<'_, T> {
    fn h(&self) -> ArrayView2<'_, T> {
        self.h.view()
    }

    fn backward(&self, dh: ArrayView2<'_, T>) -> Result<CellGradient<T>, Error> {
        let mut gradient = CellGradient::default();
        self.backward_into(dh, &mut gradient)?;
        Ok(gradient)
    }

    fn backward_into(&self, dh: ArrayView2<'_, T>, gradient: &mut CellGradient<T>) -> Result<(), Error> {
        if dh.shape() != self.h.shape() {
            return Err(Error::shape("dh", format!("{:?}", self.h.shape()), format!("{:?}", dh.shape())));
        }
        if !dh.is_standard_layout() {
            return Err(Error::shape("dh", "row-major layout", "other strides"));
        }
        let (cpu, threads) = (self.cpu, self.pool.threads());
        self.pool.run(|| cpu.run(Backward { trace: self, dh, threads, gradient }));
        Ok(())
    }
}

struct Backward<'a, 't, 'd, T: Num> {
    trace: &'a FastTrace<'t, T>,
    dh: ArrayView2<'d, T>,
    threads: usize,
    gradient: &'d mut CellGradient<T>,
}

impl<T: Num> Task for Backward<'_, '_, '_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let (FastTrace { cell, xs, h, kept, .. }, threads) = (self.trace, self.threads);
        let CellGradient { xs: dxs, cell: Cell { wx: dwx, wh: dwh, bh: dbh, h0: dh0_sum } } = self.gradient;
        let (units, hidden, stride) = (cell.units, padded::<T>(cell.units), row_stride::<T>(cell.units));
        let (n, input) = xs.rows().dim();
        let (h, dh) = (h.as_slice().expect("made row-major"), self.dh);
        let dh = dh.as_slice().expect("checked: row-major");
        let sequences = rows_of(xs);

        // dz for all rows, and dh0 for each sequence.
        let (mut dz, mut dh0) = (kept.zeros(n, units), kept.zeros(sequences.len(), units));
        let (dz, dh0) = (&mut dz.data_mut()[..n * stride], &mut dh0.data_mut()[..sequences.len() * stride]);
        for (row, dh) in dz.chunks_exact_mut(stride).zip(dh.chunks_exact(units)) {
            row[..units].copy_from_slice(dh);
        }
        let parts = Parts { sequences: &sequences, first: 0, rows: dz, stride, each: dh0 };
        parts.each(threads, &|_, parts| {
            let mut packed = Packed::default();
            let (mut now, mut before, mut states) = (buffer(), buffer(), buffer());
            let groups = parts.sequences.chunks(GROUP).zip(parts.each.chunks_mut(GROUP * stride));
            for (sequences, dh0) in groups {
                let most = sequences.len() * stride;
                let (mut now, mut before) = (grow(&mut now, most), grow(&mut before, most));
                let states = grow(&mut states, most);
                packed.pack(0, sequences.len(), |i| sequences[i].1);
                let start = |rank: usize| sequences[packed.order()[rank]].0;
                let mut carried = 0;
                for t in (0..packed.steps()).rev() {
                    let active = packed.active(t);
                    // dh = the caller's, and what the step after has carried back.
                    for (rank, row) in now.chunks_exact_mut(stride).take(active).enumerate() {
                        let dh = &parts.rows[(start(rank) - parts.first + t) * stride..][..hidden];
                        let h = &h[(start(rank) + t) * units..][..units];
                        states[rank * stride..][..units].copy_from_slice(h);
                        let state = &states[rank * stride..][..hidden];
                        simd.vectorize(
                            #[inline(always)]
                            || {
                                if rank < carried {
                                    kernel::add(simd, dh, &mut row[..hidden]);
                                } else {
                                    row[..hidden].copy_from_slice(dh);
                                }
                                kernel::through_sigmoid(simd, state, &mut row[..hidden]);
                            },
                        );
                    }
                    for (rank, row) in now.chunks_exact(stride).take(active).enumerate() {
                        let to = &mut parts.rows[(start(rank) - parts.first + t) * stride..][..hidden];
                        to.copy_from_slice(&row[..hidden]);
                    }
                    let dh_prev =
                        if t == 0 { &mut dh0[..active * stride] } else { &mut before[..active * stride] };
                    dh_prev.fill(T::zero());
                    if active == 1 {
                        let wh = cell.wh.view_padded();
                        kernel::dot_row(simd, t, &now[..hidden], wh, &mut dh_prev[..hidden]);
                    } else {
                        let dz = View::new(now, active, hidden, stride, 1);
                        let dh_prev = ViewMut::new(dh_prev, active, hidden, stride);
                        kernel::dot(simd, dz, cell.wh.view_padded(), dh_prev);
                    }
                    carried = active;
                    std::mem::swap(&mut now, &mut before);
                }
            }
        });

        let rows = xs.rows();
        let x = View::new(rows.as_slice().expect("checked: row-major"), n, input, input, 1);
        let dz_view = View::new(dz, n, hidden, stride, 1);
        if dxs.dim() == (n, input) && dxs.is_standard_layout() {
            dxs.fill(T::zero());
        } else {
            *dxs = Array2::zeros((n, input));
        }
        let dxs = dxs.as_slice_mut().expect("made row-major");
        ViewMut::new(dxs, n, input, input).each(threads, &|from, dx| {
            kernel::dot(simd, dz_view.rows_from(from, dx.rows()), cell.wx.view(), dx);
        });
        let mut dwx = Sum::zeros(dwx, input, units, kept);
        dwx.view_mut().each(threads, &|from, dwx| {
            kernel::weight_product(simd, x.t().rows_from(from, dwx.rows()), dz_view, dwx);
        });
        dwx.finish();
        // The states before each row: of the first rows of the sequences h0, then those of the row before.
        let mut before = kept.zeros(n, units);
        let before = &mut before.data_mut()[..n * units];
        for (start, length) in &sequences {
            before[start * units..][..units].copy_from_slice(&cell.h0[..units]);
            let (from, to) = (start * units, (start + length - 1) * units);
            before[from + units..to + units].copy_from_slice(&h[from..to]);
        }
        let before = View::new(before, n, units, units, 1);
        let mut dwh = Sum::zeros(dwh, units, units, kept);
        dwh.view_mut().each(threads, &|from, dwh| {
            kernel::weight_product(simd, before.t().rows_from(from, dwh.rows()), dz_view, dwh);
        });
        dwh.finish();
        let column_sums = |rows: &[T]| {
            let mut sum = buffer();
            let sum = grow(&mut sum, hidden);
            simd.vectorize(
                #[inline(always)]
                || rows.chunks_exact(stride).for_each(|row| kernel::add(simd, &row[..hidden], sum)),
            );
            Array1::from(sum[..units].to_vec())
        };
        *dbh = column_sums(dz);
        *dh0_sum = column_sums(dh0);
    }
}
