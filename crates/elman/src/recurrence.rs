//! The recurrence alone, for crates that bring their own inputs and losses.

use std::ops::Range;

use ndarray::{Array2, ArrayView2};

use crate::{Error, Layer, LayerParams, Real};

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
    initial: Option<ArrayView2<'a, T>>,
}

impl<'a, T: Real> Sequences<'a, T> {
    /// Sequences from their rows, `[sum of lengths, input]` in row-major layout, and their lengths. Each starts from
    /// the layer's h0.
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
        Ok(Sequences { rows, lengths, initial: None })
    }

    /// The same sequences, each from a state of its own, `[sequences, states·hidden]` in row-major layout, instead of h0:
    /// for example from the last states of the parts before them. A row of an LSTM has `h` and `c`, side by side.
    ///
    /// # Errors
    /// [`Error::Shape`] if there are other than as many states as sequences, or if the layout is another one.
    pub fn starting_from(self, initial: ArrayView2<'a, T>) -> Result<Self, Error> {
        if initial.nrows() != self.lengths.len() {
            let expected = format!("{}, one for each sequence", self.lengths.len());
            return Err(Error::shape("initial states", expected, initial.nrows()));
        }
        if !initial.is_standard_layout() {
            return Err(Error::shape("initial states", "row-major layout", "other strides"));
        }
        Ok(Sequences { initial: Some(initial), ..self })
    }

    /// All rows, `[sum of lengths, input]`.
    pub fn rows(&self) -> ArrayView2<'a, T> {
        self.rows
    }

    /// The number of steps of each sequence.
    pub fn lengths(&self) -> &'a [usize] {
        self.lengths
    }

    /// The state from which each sequence starts, `[sequences, states·hidden]`, if it is not h0.
    pub fn initial(&self) -> Option<ArrayView2<'a, T>> {
        self.initial
    }

    /// The rows of each sequence, in order.
    pub fn ranges(&self) -> impl Iterator<Item = Range<usize>> + use<'a, T> {
        self.lengths.iter().scan(0, |end, length| {
            let start = *end;
            *end += length;
            Some(start..*end)
        })
    }

    /// Refuses rows that are not as wide as the layer's input, states that are not as wide as its hidden state, and
    /// the layer of a Jordan network: the door of every recurrence.
    ///
    /// # Errors
    /// [`Error::Shape`] with both widths.
    pub fn check(&self, layer: &Layer<'_, T>) -> Result<(), Error> {
        layer.check_recurrent()?;
        let shape = layer.shape();
        let width = |what, expected, of, found| match found == expected {
            true => Ok(()),
            false => Err(Error::shape(what, format!("{expected}, {of}"), found)),
        };
        width("width of the sequences", shape.input, "the rows of wx", self.rows.ncols())?;
        let states = shape.cell.states() * shape.hidden;
        let of = if shape.cell.states() > 1 { "the hidden units of h and of c" } else { "the hidden units" };
        let initial = self.initial.map_or(states, |initial| initial.ncols());
        width("width of the initial states", states, of, initial)
    }
}

/// The recurrence alone.
///
/// A sequence may be cut anywhere: a part that starts from the last state of the part before it has the states that
/// it has in the whole, bit for bit; backwards, a part that gets the gradient of the next one's initial state has the
/// gradients of its inputs and of its initial state, bit for bit. (Gradients of the layer are sums over the parts,
/// which round otherwise.)
pub trait Recurrence<T: Real>: Send + Sync {
    /// The states of all steps, and the last one of each sequence.
    ///
    /// # Errors
    /// The inputs do not fit the layer, or the implementation does not have the cell.
    fn forward(&self, layer: Layer<'_, T>, xs: &Sequences<'_, T>) -> Result<States<T>, Error>;

    /// The states and, from the returned trace, the vector-Jacobian product.
    ///
    /// # Errors
    /// As [`Recurrence::forward`].
    fn vjp<'a>(&self, layer: Layer<'a, T>, xs: &'a Sequences<'a, T>)
    -> Result<Box<dyn Trace<T> + 'a>, Error>;
}

/// The states that [`Recurrence::forward`] returns.
#[derive(Clone, Debug, PartialEq)]
pub struct States<T> {
    /// The states, `[sum of lengths, hidden]`, packed as the inputs are; the initial ones are not among them.
    pub h: Array2<T>,
    /// The state after the last step of each sequence, `[sequences, states·hidden]`: where its next part starts. A row of
    /// an LSTM has `h` and `c`, side by side.
    pub last: Array2<T>,
}

/// A run of the recurrence that can be followed backwards. It borrows the layer and the inputs it was made
/// from, so that none but those can be meant.
pub trait Trace<T: Real>: Send {
    /// The states, `[sum of lengths, hidden]`.
    fn h(&self) -> ArrayView2<'_, T>;

    /// The state after the last step of each sequence, `[sequences, states·hidden]`.
    fn last(&self) -> ArrayView2<'_, T>;

    /// The gradient of `sum(dh ∘ h) + sum(dlast ∘ last)` with respect to the inputs, the initial states and the layer:
    /// pass the derivatives of a loss by `h` and by `last` to get the derivative of the loss. `dlast` is the gradient
    /// that the next part of each sequence has for its initial state; without next parts, `None`.
    ///
    /// # Errors
    /// [`Error::Shape`] if `dh` or `dlast` has another shape than `h` or `last`, or is not row-major.
    fn backward(
        &self,
        dh: ArrayView2<'_, T>,
        dlast: Option<ArrayView2<'_, T>>,
    ) -> Result<RecurrenceGradient<T>, Error> {
        let mut gradient = RecurrenceGradient::default();
        self.backward_into(dh, dlast, &mut gradient)?;
        Ok(gradient)
    }

    /// [`Trace::backward`] into a gradient that is there already, whatever it holds: a part that has the right shape
    /// and is row-major is written over, and the rest replaced. In a loop over large layers this is faster, since
    /// fresh memory costs about as much as the products.
    ///
    /// # Errors
    /// As [`Trace::backward`]; the gradient is then as it was.
    fn backward_into(
        &self,
        dh: ArrayView2<'_, T>,
        dlast: Option<ArrayView2<'_, T>>,
        gradient: &mut RecurrenceGradient<T>,
    ) -> Result<(), Error>;
}

/// The gradient that [`Trace::backward`] returns. The default has no entries, and is for [`Trace::backward_into`] to
/// fill.
#[derive(Clone, Debug, PartialEq)]
pub struct RecurrenceGradient<T> {
    /// The gradient of the inputs, `[sum of lengths, input]`.
    pub xs: Array2<T>,
    /// The gradient of the initial state of each sequence, `[sequences, states·hidden]`.
    pub initial: Array2<T>,
    /// The gradient of the layer. That of h0 (and c0) is the sum of `initial`, or zero where the sequences start from states of
    /// their own.
    pub layer: LayerParams<T>,
}

impl<T: Real> Default for RecurrenceGradient<T> {
    fn default() -> Self {
        let none = || Array2::zeros((0, 0));
        RecurrenceGradient { xs: none(), initial: none(), layer: LayerParams::empty() }
    }
}

/// Refuses gradients that do not fit the states: the door of [`Trace::backward`].
///
/// # Errors
/// [`Error::Shape`].
pub fn check_backward<T>(
    (h, last): (ArrayView2<'_, T>, ArrayView2<'_, T>),
    dh: ArrayView2<'_, T>,
    dlast: Option<ArrayView2<'_, T>>,
) -> Result<(), Error> {
    for (what, expected, found) in [("dh", h, Some(dh)), ("dlast", last, dlast)] {
        let Some(found) = found else { continue };
        if found.shape() != expected.shape() {
            return Err(Error::shape(
                what,
                format!("{:?}", expected.shape()),
                format!("{:?}", found.shape()),
            ));
        }
        if !found.is_standard_layout() {
            return Err(Error::shape(what, "row-major layout", "other strides"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Cell, Feedback, LayerShape, Params, Shape};

    #[test]
    fn sequences_that_do_not_fit_are_refused() {
        let rows = Array2::<f64>::zeros((3, 2));
        let message = |lengths: &[usize]| Sequences::new(rows.view(), lengths).unwrap_err().to_string();
        assert_eq!(message(&[]), "sequences: expected at least 1, found 0");
        assert_eq!(message(&[3, 0]), "sequence 1: expected at least 1 step, found 0");
        assert_eq!(message(&[2, 2]), "rows of the sequences: expected 4, the sum of the lengths, found 3");
        assert!(message(&[usize::MAX, 4]).contains("expected fewer"));
        assert!(Sequences::new(rows.t(), &[2]).is_err());

        let xs = Sequences::new(rows.view(), &[1, 2]).unwrap();
        let layer =
            |input| LayerParams::<f64>::zeros(LayerShape { input, hidden: 4, cell: Cell::Gru }).unwrap();
        xs.check(&layer(2).layer()).unwrap();
        let message = xs.check(&layer(3).layer()).unwrap_err().to_string();
        assert_eq!(message, "width of the sequences: expected 3, the rows of wx, found 2");

        let initial = Array2::<f64>::zeros((2, 5));
        let message =
            xs.starting_from(initial.view()).unwrap().check(&layer(2).layer()).unwrap_err().to_string();
        assert_eq!(message, "width of the initial states: expected 4, the hidden units, found 5");
        assert!(xs.starting_from(initial.t()).is_err());
        let lstm = LayerParams::<f64>::zeros(LayerShape { input: 2, hidden: 4, cell: Cell::Lstm }).unwrap();
        let message = xs.starting_from(initial.view()).unwrap().check(&lstm.layer()).unwrap_err().to_string();
        let expected = "width of the initial states: expected 8, the hidden units of h and of c, found 5";
        assert_eq!(message, expected);
        let three = Array2::<f64>::zeros((3, 4));
        let message = xs.starting_from(three.view()).unwrap_err().to_string();
        assert_eq!(message, "initial states: expected 2, one for each sequence, found 3");

        let jordan = Shape { vocab: 1, embed: 2, window: 1, hidden: 4, classes: 3, ..Shape::ELMAN };
        let jordan = Params::zeros(Shape { feedback: Feedback::Output, ..jordan }).unwrap();
        assert!(xs.check(&jordan.layer()).is_err());
    }

    #[test]
    fn gradients_that_do_not_fit_are_refused() {
        let (h, last) = (Array2::<f32>::zeros((3, 2)), Array2::<f32>::zeros((1, 2)));
        let check = |dh: ArrayView2<'_, f32>, dlast: Option<ArrayView2<'_, f32>>| {
            check_backward((h.view(), last.view()), dh, dlast).map_err(|error| error.to_string())
        };
        check(h.view(), Some(last.view())).unwrap();
        assert_eq!(check(last.view(), None).unwrap_err(), "dh: expected [3, 2], found [1, 2]");
        assert_eq!(check(h.view(), Some(h.view())).unwrap_err(), "dlast: expected [1, 2], found [3, 2]");
        let turned = Array2::<f32>::zeros((2, 3));
        assert_eq!(
            check(turned.t(), None).unwrap_err(),
            "dh: expected row-major layout, found other strides"
        );
    }
}
