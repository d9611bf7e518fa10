use ndarray::{Array1, Array2, ArrayView2};

use crate::params::dims;
use crate::{Error, Real};

/// The parameters of the recurrence alone: `h[t] = sigmoid(x[t]·wx + h[t-1]·wh + bh)`, `h[-1] = h0`.
#[derive(Clone, Debug, PartialEq)]
pub struct Cell<T> {
    /// Input to hidden, `[input, hidden]`.
    pub wx: Array2<T>,
    /// Hidden to hidden, `[hidden, hidden]`.
    pub wh: Array2<T>,
    /// Bias, `[hidden]`.
    pub bh: Array1<T>,
    /// The state before the first step, `[hidden]`.
    pub h0: Array1<T>,
}

impl<T: Real> Cell<T> {
    /// All zeros.
    pub fn zeros(input: usize, hidden: usize) -> Self {
        Cell {
            wx: Array2::zeros((input, hidden)),
            wh: Array2::zeros((hidden, hidden)),
            bh: Array1::zeros(hidden),
            h0: Array1::zeros(hidden),
        }
    }

    /// `(input, hidden)`, once it is checked that the tensors belong together and are row-major.
    ///
    /// # Errors
    /// [`Error::Shape`] names the first tensor that does not fit `wx`.
    pub fn dim(&self) -> Result<(usize, usize), Error> {
        let (input, hidden) = self.wx.dim();
        if input == 0 || hidden == 0 {
            return Err(Error::shape("wx", "[input, hidden] of at least [1, 1]", dims(self.wx.shape())));
        }
        for (name, shape, expected) in [
            ("wh", self.wh.shape(), &[hidden, hidden][..]),
            ("bh", self.bh.shape(), &[hidden]),
            ("h0", self.h0.shape(), &[hidden]),
        ] {
            if shape != expected {
                return Err(Error::shape(name, dims(expected), dims(shape)));
            }
        }
        for (name, standard) in [
            ("wx", self.wx.is_standard_layout()),
            ("wh", self.wh.is_standard_layout()),
            ("bh", self.bh.is_standard_layout()),
            ("h0", self.h0.is_standard_layout()),
        ] {
            if !standard {
                return Err(Error::shape(name, "row-major layout", "other strides"));
            }
        }
        Ok((input, hidden))
    }
}

/// One or more input sequences of any lengths, packed: the rows of the first sequence, then those of the
/// second, and so on, without padding.
///
/// ```
/// use elman::{Sequences, ndarray::array};
///
/// let rows = array![[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]];
/// let xs = Sequences::new(rows.view(), &[2, 1])?; // two steps, and one step
/// assert_eq!(xs.ranges().collect::<Vec<_>>(), [0..2, 2..3]);
/// # Ok::<(), elman::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Sequences<'a, T> {
    rows: ArrayView2<'a, T>,
    lengths: &'a [usize],
}

impl<'a, T: Real> Sequences<'a, T> {
    /// Sequences from their rows, `[sum of lengths, input]` in row-major layout, and their lengths.
    ///
    /// # Errors
    /// [`Error::Shape`] if there is no sequence, if one has no step, if the lengths do not add up to the
    /// number of rows, or if the layout is another one.
    pub fn new(rows: ArrayView2<'a, T>, lengths: &'a [usize]) -> Result<Self, Error> {
        if lengths.is_empty() {
            return Err(Error::shape("sequences", "at least 1", 0));
        }
        if let Some(empty) = lengths.iter().position(|length| *length == 0) {
            return Err(Error::shape(format!("sequence {empty}"), "at least 1 step", 0));
        }
        let sum = lengths.iter().try_fold(0usize, |sum, length| sum.checked_add(*length));
        if sum != Some(rows.nrows()) {
            return Err(Error::shape(
                "rows of the sequences",
                sum.map_or("fewer".to_string(), |sum| format!("{sum}, the sum of the lengths")),
                rows.nrows(),
            ));
        }
        if !rows.is_standard_layout() {
            return Err(Error::shape("rows of the sequences", "row-major layout", "other strides"));
        }
        Ok(Sequences { rows, lengths })
    }

    /// All rows, `[sum of lengths, input]`.
    pub fn rows(&self) -> ArrayView2<'a, T> {
        self.rows
    }

    /// The number of steps of each sequence.
    pub fn lengths(&self) -> &'a [usize] {
        self.lengths
    }

    /// The rows of each sequence, in order.
    pub fn ranges(&self) -> impl Iterator<Item = std::ops::Range<usize>> + use<'a, T> {
        self.lengths.iter().scan(0, |end, length| {
            let start = *end;
            *end += length;
            Some(start..*end)
        })
    }

    /// Checks that the rows are as wide as the cell's input.
    ///
    /// # Errors
    /// [`Error::Shape`] with both widths.
    pub fn check(&self, input: usize) -> Result<(), Error> {
        if self.rows.ncols() != input {
            return Err(Error::shape(
                "width of the sequences",
                format!("{input}, the rows of wx"),
                self.rows.ncols(),
            ));
        }
        Ok(())
    }
}

/// The recurrence alone, for crates that bring their own inputs and losses.
///
/// Each sequence starts from `h0`.
pub trait Recurrence<T: Real>: Send + Sync {
    /// The states `h`, `[sum of lengths, hidden]`, packed as the inputs are; `h0` is not among them.
    ///
    /// # Errors
    /// The tensors do not fit together, or the inputs do not fit the cell.
    fn forward(&self, cell: &Cell<T>, xs: &Sequences<'_, T>) -> Result<Array2<T>, Error>;

    /// The states and, from the returned trace, the vector-Jacobian product.
    ///
    /// # Errors
    /// As [`Recurrence::forward`].
    fn vjp<'a>(&self, cell: &'a Cell<T>, xs: &'a Sequences<'a, T>) -> Result<Box<dyn Trace<T> + 'a>, Error>;
}

/// A run of the recurrence that can be followed backwards. It borrows the cell and the inputs it was made
/// from, so that none but those can be meant.
pub trait Trace<T: Real>: Send {
    /// The states, `[sum of lengths, hidden]`.
    fn h(&self) -> ArrayView2<'_, T>;

    /// The gradient of `sum(dh ∘ h)` with respect to the inputs and the cell, for any `dh` of the shape of
    /// `h`: pass the derivative of a loss by `h` to get the derivative of the loss.
    ///
    /// # Errors
    /// [`Error::Shape`] if `dh` has another shape than `h` or is not row-major.
    fn backward(&self, dh: ArrayView2<'_, T>) -> Result<CellGradient<T>, Error>;

    /// [`Trace::backward`] into a gradient that is there already, whatever it holds: what is of the right shape
    /// and row-major is written over, and the rest replaced. In a loop over large cells this is faster, since
    /// fresh memory costs about as much as the products.
    ///
    /// # Errors
    /// As [`Trace::backward`]; the gradient is then as it was.
    fn backward_into(&self, dh: ArrayView2<'_, T>, gradient: &mut CellGradient<T>) -> Result<(), Error> {
        *gradient = self.backward(dh)?;
        Ok(())
    }
}

/// What [`Trace::backward`] returns. The default has no entries, and is for [`Trace::backward_into`] to fill.
#[derive(Clone, Debug, PartialEq)]
pub struct CellGradient<T> {
    /// The gradient of the inputs, `[sum of lengths, input]`.
    pub xs: Array2<T>,
    /// The gradients of wx, wh, bh and h0.
    pub cell: Cell<T>,
}

impl<T: Real> Default for CellGradient<T> {
    fn default() -> Self {
        CellGradient { xs: Array2::zeros((0, 0)), cell: Cell::zeros(0, 0) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_named() {
        let rows = Array2::<f64>::zeros((3, 2));
        let message = |lengths: &[usize]| Sequences::new(rows.view(), lengths).unwrap_err().to_string();
        assert_eq!(message(&[]), "sequences: expected at least 1, found 0");
        assert_eq!(message(&[3, 0]), "sequence 1: expected at least 1 step, found 0");
        assert_eq!(message(&[2, 2]), "rows of the sequences: expected 4, the sum of the lengths, found 3");
        assert!(message(&[usize::MAX, 4]).contains("expected fewer"));
        assert!(Sequences::new(rows.t(), &[2]).is_err());
        assert!(Sequences::new(rows.view(), &[1, 2]).unwrap().check(3).is_err());

        let good = Cell::<f64>::zeros(2, 3);
        assert_eq!(good.dim().unwrap(), (2, 3));
        type Break = fn(&mut Cell<f64>);
        let broken: [(&str, Break); 5] = [
            ("wx", |c| c.wx = Array2::zeros((0, 3))),
            ("wh", |c| c.wh = Array2::zeros((2, 3))),
            ("bh", |c| c.bh = Array1::zeros(2)),
            ("h0", |c| c.h0 = Array1::zeros(4)),
            ("wx", |c| c.wx = Array2::zeros((3, 2)).reversed_axes()),
        ];
        for (what, break_it) in broken {
            let mut cell = good.clone();
            break_it(&mut cell);
            let message = cell.dim().unwrap_err().to_string();
            assert!(message.starts_with(&format!("{what}: ")), "{what}: {message}");
        }
    }
}
