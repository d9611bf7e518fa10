//! Parameters and gradients: a shape, and one buffer that always fits it.

use std::fmt;

use aligned_vec::{AVec, ConstAlign};
use ndarray::{Array1, ArrayView1, ArrayView2, ArrayViewD, ArrayViewMut1, ArrayViewMut2, ArrayViewMutD};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use serde::{Deserialize, Deserializer, Serialize};

use crate::shape::Tensor;
use crate::{Cell, Direction, Error, Feedback, Head, LayerShape, Layout, Name, Real, Shape};

/// The parameters of a network, or of the recurrence alone ([`Params<T, LayerShape>`](LayerShape)), or their gradient.
///
/// A shape describes the tensors; their entries lie one after the other in one buffer, in the order of
/// [`Layout::table`], each tensor row by row (ndarray's standard layout). The buffer always fits the shape, so that
/// nobody who takes a `Params` has to check it.
///
/// ```
/// use elman::{Params, Shape};
///
/// let shape = Shape { vocab: 10, embed: 4, window: 3, hidden: 5, classes: 2, ..Shape::ELMAN };
/// let mut params = Params::<f32>::init(shape, 42)?;
/// assert_eq!(params.wx().dim(), (4 * 3, 5));
/// params.b_mut().fill(0.5);
/// let names: Vec<_> = params.tensors().map(|(name, tensor)| format!("{name}{:?}", tensor.shape())).collect();
/// assert_eq!(names, ["emb[11, 4]", "wx[12, 5]", "wh[5, 5]", "w[5, 2]", "bh[5]", "b[2]", "h0[5]"]);
/// assert_eq!(params.as_slice().len(), shape.parameters());
/// # Ok::<(), elman::Error>(())
/// ```
#[derive(Clone, Serialize)]
#[serde(bound(serialize = "T: Serialize, S: Serialize"))]
pub struct Params<T, S = Shape> {
    shape: S,
    #[serde(serialize_with = "as_sequence")]
    values: AVec<T, ConstAlign<64>>,
}

/// The parameters of the recurrence alone.
pub type LayerParams<T> = Params<T, LayerShape>;

impl<T: Real, S: Layout> Params<T, S> {
    /// All zeros: the start of a gradient.
    ///
    /// # Errors
    /// Those of [`Layout::check`]; [`Error::Shape`] if the memory cannot be had.
    pub fn zeros(shape: S) -> Result<Self, Error> {
        shape.check()?;
        let mut values = AVec::new(0);
        let entries = shape.parameters();
        if values.try_reserve_exact(entries).is_err() {
            let bytes = entries.saturating_mul(size_of::<T>());
            return Err(Error::shape("shape", "tensors that fit in memory", format!("{bytes} bytes")));
        }
        values.resize(entries, T::zero());
        Ok(Params { shape, values })
    }

    /// The tutorial's start: matrices (emb, wx, wh, w, transitions) uniform in [-0.2, 0.2), vectors (biases, h0, start, end)
    /// zero.
    ///
    /// The generator is ChaCha8 (`rand_chacha`), seeded by `seed_from_u64(seed)`; the entries are drawn in
    /// the order of [`Layout::table`], each row by row, each from the upper 53 bits of one `u64`. They are drawn
    /// in `f64` and rounded to `T`, so that all number types start from the same network on every machine.
    ///
    /// # Errors
    /// Those of [`Params::zeros`].
    pub fn init(shape: S, seed: u64) -> Result<Self, Error> {
        let mut params = Params::zeros(shape)?;
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut rest = &mut params.values[..];
        for tensor in shape.table() {
            let (values, after) = rest.split_at_mut(tensor.entries());
            rest = after;
            if tensor.is_matrix() {
                values.fill_with(|| {
                    let unit = (rng.next_u64() >> 11) as f64 / (1u64 << 53) as f64;
                    T::from_f64(0.4 * unit - 0.2)
                });
            }
        }
        Ok(params)
    }

    /// The shape.
    pub fn shape(&self) -> S {
        self.shape
    }

    /// Every entry, tensor after tensor.
    pub fn as_slice(&self) -> &[T] {
        &self.values
    }

    /// Every entry, tensor after tensor.
    pub fn as_mut_slice(&mut self) -> &mut [T] {
        &mut self.values
    }

    /// Refuses another shape: the door for a gradient.
    ///
    /// # Errors
    /// [`Error::Shape`] with both shapes.
    pub fn check(&self, shape: S) -> Result<(), Error> {
        if self.shape != shape {
            return Err(Error::shape("parameters", format!("{shape:?}"), format!("{:?}", self.shape)));
        }
        Ok(())
    }

    /// The tensors with their names, in the order of [`Layout::table`].
    pub fn tensors(&self) -> impl Iterator<Item = (Name, ArrayViewD<'_, T>)> {
        let mut rest = &self.values[..];
        self.shape.table().map(move |tensor| {
            let (values, after) = rest.split_at(tensor.entries());
            rest = after;
            let view = ArrayViewD::from_shape(tensor.dims(), values);
            (tensor.name, view.expect("the buffer fits the shape"))
        })
    }

    /// The tensors with their names, to be changed.
    pub fn tensors_mut(&mut self) -> impl Iterator<Item = (Name, ArrayViewMutD<'_, T>)> {
        let mut rest = &mut self.values[..];
        self.shape.table().map(move |tensor| {
            let (values, after) = std::mem::take(&mut rest).split_at_mut(tensor.entries());
            rest = after;
            let view = ArrayViewMutD::from_shape(tensor.dims(), values);
            (tensor.name, view.expect("the buffer fits the shape"))
        })
    }

    /// The tensor of a name, if the shape has one.
    pub fn tensor(&self, name: Name) -> Option<ArrayViewD<'_, T>> {
        self.tensors().find(|(found, _)| *found == name).map(|(_, tensor)| tensor)
    }

    /// The tensor of a name, if the shape has one, to be changed.
    pub fn tensor_mut(&mut self, name: Name) -> Option<ArrayViewMutD<'_, T>> {
        self.tensors_mut().find(|(found, _)| *found == name).map(|(_, tensor)| tensor)
    }

    /// The matrix of a name, to be changed.
    ///
    /// # Panics
    /// The shape has no such matrix.
    pub fn matrix_mut(&mut self, name: Name) -> ArrayViewMut2<'_, T> {
        let (tensor, values) = self.view_mut(name);
        ArrayViewMut2::from_shape(tensor.matrix_dims(), values).expect("the buffer fits the shape")
    }

    /// The vector of a name, if the shape has one, to be changed.
    pub fn vector_mut(&mut self, name: Name) -> Option<ArrayViewMut1<'_, T>> {
        self.place(name).is_some().then(|| ArrayViewMut1::from(self.view_mut(name).1))
    }

    /// The same parameters in another number type, or with a change to every entry.
    pub fn map<U>(&self, f: impl FnMut(T) -> U) -> Params<U, S> {
        Params { shape: self.shape, values: AVec::from_iter(0, self.values.iter().copied().map(f)) }
    }

    /// The place of a tensor in the buffer.
    fn place(&self, name: Name) -> Option<(Tensor, usize)> {
        let mut start = 0;
        for tensor in self.shape.table() {
            if tensor.name == name {
                return Some((tensor, start));
            }
            start += tensor.entries();
        }
        None
    }

    fn view(&self, name: Name) -> (Tensor, &[T]) {
        let (tensor, start) = self.place(name).expect("a tensor that every shape of this kind has");
        (tensor, &self.values[start..][..tensor.entries()])
    }

    fn view_mut(&mut self, name: Name) -> (Tensor, &mut [T]) {
        let (tensor, start) = self.place(name).expect("a tensor that every shape of this kind has");
        (tensor, &mut self.values[start..][..tensor.entries()])
    }
}

impl<T: PartialEq, S: PartialEq> PartialEq for Params<T, S> {
    fn eq(&self, other: &Self) -> bool {
        self.shape == other.shape && self.values[..] == other.values[..]
    }
}

impl<T, S: fmt::Debug> fmt::Debug for Params<T, S> {
    /// The shape; the entries are left out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Params").field("shape", &self.shape).finish_non_exhaustive()
    }
}

macro_rules! matrices {
    ($($(#[$doc:meta])* $get:ident $get_mut:ident $name:ident)*) => {$(
        $(#[$doc])*
        pub fn $get(&self) -> ArrayView2<'_, T> {
            let (tensor, values) = self.view(Name::$name);
            ArrayView2::from_shape(tensor.matrix_dims(), values).expect("the buffer fits the shape")
        }

        $(#[$doc])*
        pub fn $get_mut(&mut self) -> ArrayViewMut2<'_, T> {
            self.matrix_mut(Name::$name)
        }
    )*};
}

macro_rules! vectors {
    ($($(#[$doc:meta])* $get:ident $get_mut:ident $name:ident)*) => {$(
        $(#[$doc])*
        pub fn $get(&self) -> ArrayView1<'_, T> {
            ArrayView1::from(self.view(Name::$name).1)
        }

        $(#[$doc])*
        pub fn $get_mut(&mut self) -> ArrayViewMut1<'_, T> {
            ArrayViewMut1::from(self.view_mut(Name::$name).1)
        }
    )*};
}

macro_rules! some_cells_vectors {
    ($($(#[$doc:meta])* $get:ident $get_mut:ident $name:ident)*) => {$(
        $(#[$doc])*
        pub fn $get(&self) -> Option<ArrayView1<'_, T>> {
            self.place(Name::$name).map(|_| ArrayView1::from(self.view(Name::$name).1))
        }

        $(#[$doc])*
        pub fn $get_mut(&mut self) -> Option<ArrayViewMut1<'_, T>> {
            self.vector_mut(Name::$name)
        }
    )*};
}

/// Both kinds of shapes have the tensors of a layer.
impl<T: Real, S: Layout> Params<T, S> {
    matrices! {
        /// Input to hidden, `[input, gates·hidden]`, where a network's input is `embed · window` wide.
        wx wx_mut Wx
        /// The value that is fed back, to hidden: `[hidden, gates·hidden]`; in a Jordan network `[classes, hidden]`.
        wh wh_mut Wh
    }
    vectors! {
        /// Bias of the hidden units, `[gates·hidden]`.
        bh bh_mut Bh
        /// The value that is fed back into the first step, `[hidden]`; in a Jordan network `[classes]`. Learned.
        h0 h0_mut H0
    }

    /// The tensors of the recurrence; of a network those of the first layer, forward.
    pub fn layer(&self) -> Layer<'_, T> {
        self.layer_of(0, Direction::Forward)
    }

    fn layer_of(&self, layer: usize, direction: Direction) -> Layer<'_, T> {
        let name = |name: Name| name.of(layer, direction);
        let vector = |of: Name| self.place(name(of)).map(|_| ArrayView1::from(self.view(name(of)).1));
        let matrix = |of: Name| {
            let (tensor, values) = self.view(name(of));
            ArrayView2::from_shape(tensor.matrix_dims(), values).expect("the buffer fits the shape")
        };
        let every = "every layer has biases and a first state";
        Layer {
            place: (layer, direction),
            cell: self.shape.cell(),
            wx: matrix(Name::Wx),
            wh: matrix(Name::Wh),
            bh: vector(Name::Bh).expect(every),
            bhn: vector(Name::Bhn),
            h0: vector(Name::H0).expect(every),
            c0: vector(Name::C0),
        }
    }

    some_cells_vectors! {
        /// Bias inside the product with the GRU's reset gate, `[hidden]`; other cells have none.
        bhn bhn_mut Bhn
        /// The LSTM's second state before the first step, `[hidden]`; other cells have none. Learned.
        c0 c0_mut C0
    }
}

impl<T: Real> Params<T, Shape> {
    matrices! {
        /// Embeddings, `[vocab + 1, embed]`; the last row is the padding.
        emb emb_mut Emb
        /// Hidden to output, `[hidden, classes]`.
        w w_mut W
    }
    vectors! {
        /// Bias of the output, `[classes]`.
        b b_mut B
    }
}

impl<T: Real> Params<T, Shape> {
    /// The tensors of a layer, counted from 0, in one direction.
    ///
    /// # Panics
    /// The shape does not have that layer or that direction.
    pub fn layer_at(&self, layer: usize, direction: Direction) -> Layer<'_, T> {
        self.layer_of(layer, direction)
    }

    /// The tensors of the CRF, if the head is one.
    pub fn crf(&self) -> Option<Crf<'_, T>> {
        let (tensor, _) = self.place(Name::Transitions)?;
        let transitions = ArrayView2::from_shape(tensor.matrix_dims(), self.view(Name::Transitions).1);
        let vector = |name| ArrayView1::from(self.view(name).1);
        Some(Crf {
            transitions: transitions.expect("the buffer fits the shape"),
            start: vector(Name::Start),
            end: vector(Name::End),
        })
    }

    /// Parameters from tensors of other hands, of any layout; their sizes are those of emb, wx and b, and their names say
    /// how many layers and directions there are, and whether the head is a CRF.
    ///
    /// # Errors
    /// [`Error::Shape`] names the tensor that is missing, that the cell does not have, or that does not fit the
    /// others; the errors of [`Params::zeros`].
    pub fn from_tensors(
        cell: Cell,
        feedback: Feedback,
        tensors: &[(Name, ArrayViewD<'_, T>)],
    ) -> Result<Self, Error> {
        let find = |name: Name| tensors.iter().find(|(found, _)| *found == name).map(|(_, tensor)| tensor);
        let dims = |name: Name, expected: &str, rank: usize| match find(name) {
            Some(tensor) if tensor.ndim() == rank => Ok(tensor.shape().to_vec()),
            Some(tensor) => Err(Error::shape(name.as_str(), expected, format!("{:?}", tensor.shape()))),
            None => Err(Error::shape(name.as_str(), expected, "no such tensor")),
        };
        let refuse = |name: Name, expected: String, found: &[usize]| {
            Err(Error::shape(name.as_str(), expected, format!("{found:?}")))
        };
        let emb = dims(Name::Emb, "[vocab + 1, embed]", 2)?;
        let wx = dims(Name::Wx, "[embed · window, gates · hidden]", 2)?;
        let b = dims(Name::B, "[classes]", 1)?;
        if emb[0] < 2 || emb[1] == 0 {
            return refuse(Name::Emb, "[vocab + 1, embed] of at least [2, 1]".to_string(), &emb);
        }
        let (embed, gates) = (emb[1], cell.gates());
        if wx[0] % embed != 0 || (wx[0] / embed) % 2 == 0 {
            let expected = format!("[embed · window, gates · hidden] with embed = {embed} and an odd window");
            return refuse(Name::Wx, expected, &wx);
        }
        if wx[1] % gates != 0 {
            return refuse(Name::Wx, format!("a multiple of {gates} columns, the gates of {cell}"), &wx);
        }
        let (vocab, window, hidden) = (emb[0] - 1, wx[0] / embed, wx[1] / gates);
        let names = tensors.iter().map(|(name, _)| name);
        let layers = names.clone().map(|name| name.layer() + 1).max().unwrap_or(1);
        let bidirectional = names.clone().any(|name| name.direction() == Direction::Reverse);
        let head = if find(Name::Transitions).is_some() { Head::Crf } else { Head::Softmax };
        let classes = b[0];
        let shape =
            Shape { vocab, embed, window, hidden, classes, cell, feedback, layers, bidirectional, head };
        let mut params = Params::zeros(shape)?;
        if let Some((name, _)) = tensors.iter().find(|(name, _)| params.place(*name).is_none()) {
            return Err(Error::shape(name.as_str(), format!("no such tensor in {}", shape.name()), "one"));
        }
        for (name, mut to) in params.tensors_mut() {
            let expected = format!("{:?}", to.shape());
            let from = find(name).ok_or_else(|| Error::shape(name.as_str(), &expected, "no such tensor"))?;
            if from.shape() != to.shape() {
                return refuse(name, expected, from.shape());
            }
            to.assign(from);
        }
        Ok(params)
    }
}

impl<T> Params<T, LayerShape> {
    /// No entries: a place for a gradient that is yet to be computed.
    pub(crate) fn empty() -> Self {
        Params { shape: LayerShape { input: 0, hidden: 0, cell: Cell::default() }, values: AVec::new(0) }
    }
}

/// The tensors of a CRF, borrowed from the parameters of a network. [`Head`] has the equations.
#[derive(Clone, Copy, Debug)]
pub struct Crf<'a, T> {
    /// The scores of a label (column) after another one (row), `[classes, classes]`.
    pub transitions: ArrayView2<'a, T>,
    /// The scores of a label at the first word, `[classes]`.
    pub start: ArrayView1<'a, T>,
    /// The scores of a label at the last word, `[classes]`.
    pub end: ArrayView1<'a, T>,
}

/// The tensors of the recurrence, borrowed from the parameters of a network or of a layer.
#[derive(Clone, Copy, Debug)]
pub struct Layer<'a, T> {
    place: (usize, Direction),
    cell: Cell,
    wx: ArrayView2<'a, T>,
    wh: ArrayView2<'a, T>,
    bh: ArrayView1<'a, T>,
    bhn: Option<ArrayView1<'a, T>>,
    h0: ArrayView1<'a, T>,
    c0: Option<ArrayView1<'a, T>>,
}

impl<'a, T: Real> Layer<'a, T> {
    /// The name that a tensor of this layer has in the parameters: `layer.name(Name::Wx)`.
    pub fn name(&self, tensor: Name) -> Name {
        tensor.of(self.place.0, self.place.1)
    }

    /// The arithmetic of a unit.
    pub fn cell(&self) -> Cell {
        self.cell
    }

    /// The sizes. Of a Jordan network, whose wh has other rows than hidden ones, they are those of its layer.
    pub fn shape(&self) -> LayerShape {
        LayerShape { input: self.wx.nrows(), hidden: self.wx.ncols() / self.cell.gates(), cell: self.cell }
    }

    /// Input to hidden, `[input, gates·hidden]`.
    pub fn wx(&self) -> ArrayView2<'a, T> {
        self.wx
    }

    /// The value that is fed back, to hidden: `[hidden, gates·hidden]`; in a Jordan network `[classes, hidden]`.
    pub fn wh(&self) -> ArrayView2<'a, T> {
        self.wh
    }

    /// Bias of the hidden units, `[gates·hidden]`.
    pub fn bh(&self) -> ArrayView1<'a, T> {
        self.bh
    }

    /// Bias inside the product with the GRU's reset gate, `[hidden]`.
    pub fn bhn(&self) -> Option<ArrayView1<'a, T>> {
        self.bhn
    }

    /// The value that is fed back into the first step.
    pub fn h0(&self) -> ArrayView1<'a, T> {
        self.h0
    }

    /// The LSTM's second state before the first step, `[hidden]`.
    pub fn c0(&self) -> Option<ArrayView1<'a, T>> {
        self.c0
    }

    /// All that the first step gets from before it: h0 and, of an LSTM, c0 beside it, `[states·hidden]`.
    pub fn initial(&self) -> Array1<T> {
        self.h0.iter().chain(self.c0.iter().flatten()).copied().collect()
    }

    /// Refuses the layer of a Jordan network, whose states are not fed back.
    ///
    /// # Errors
    /// [`Error::Shape`] if wh does not have a row for each hidden unit.
    pub fn check_recurrent(&self) -> Result<(), Error> {
        let hidden = self.shape().hidden;
        if self.wh.nrows() != hidden {
            return Err(Error::shape(
                "rows of wh",
                format!("{hidden}, one for each hidden unit"),
                self.wh.nrows(),
            ));
        }
        Ok(())
    }
}

fn as_sequence<T: Serialize, A: serde::Serializer>(
    values: &AVec<T, ConstAlign<64>>,
    serializer: A,
) -> Result<A::Ok, A::Error> {
    serializer.collect_seq(values.iter())
}

impl<'de, T: Real + Deserialize<'de>, S: Layout + Deserialize<'de>> Deserialize<'de> for Params<T, S> {
    /// Refuses a number of values that the shape does not have.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields, rename = "Params")]
        struct Parts<T, S> {
            shape: S,
            values: Vec<T>,
        }
        use serde::de::Error as _;
        let Parts { shape, values }: Parts<T, S> = Parts::deserialize(deserializer)?;
        shape.check().map_err(D::Error::custom)?;
        if values.len() != shape.parameters() {
            let message = format!("values: expected {}, found {}", shape.parameters(), values.len());
            return Err(D::Error::custom(message));
        }
        Ok(Params { shape, values: AVec::from_iter(0, values) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: Shape = Shape { vocab: 6, embed: 3, window: 5, hidden: 4, classes: 2, ..Shape::ELMAN };

    #[test]
    fn init_is_the_tutorials_and_stable() {
        let params = Params::<f64>::init(SHAPE, 42).unwrap();
        for (name, tensor) in params.tensors() {
            let random = ["emb", "wx", "wh", "w"].contains(&name.as_str());
            assert_eq!(tensor.iter().all(|v| *v == 0.0), !random, "{name}");
            assert!(tensor.iter().all(|v| (-0.2..0.2).contains(v)), "{name}");
        }
        // A change of the generator or of the order of the draws would silently change every trained model.
        assert_eq!(params.emb()[[0, 0]], 0.07275847692266857);
        assert_eq!(params.w()[[3, 1]], 0.18015804178185213);
        assert_eq!(params.map(|v| v as f32), Params::<f32>::init(SHAPE, 42).unwrap());
        assert_ne!(params, Params::init(SHAPE, 43).unwrap());
    }

    #[test]
    fn tensors_are_views_of_one_buffer() {
        for cell in Cell::ALL {
            let shape = Shape { cell, ..SHAPE };
            let mut params = Params::<f64>::zeros(shape).unwrap();
            for (i, value) in params.as_mut_slice().iter_mut().enumerate() {
                *value = i as f64;
            }
            let flat: Vec<f64> =
                params.tensors().flat_map(|(_, t)| t.into_iter().copied().collect::<Vec<_>>()).collect();
            assert_eq!(flat, params.as_slice());
            for (name, expected) in params.clone().tensors() {
                assert_eq!(params.tensor(name).unwrap(), expected);
                params.tensor_mut(name).unwrap().fill(-1.0);
            }
            assert!(params.as_slice().iter().all(|v| *v == -1.0));
            params.wh_mut().fill(2.0);
            assert_eq!(params.layer().wh(), params.wh());
            assert_eq!(params.layer().shape(), shape.layer(0));
            assert_eq!(params.bhn().is_some(), cell == Cell::Gru);
            assert_eq!(params.bhn_mut().is_some(), cell == Cell::Gru);
            assert_eq!(
                (params.c0().is_some(), params.c0_mut().is_some()),
                (cell == Cell::Lstm, cell == Cell::Lstm)
            );
            assert_eq!(params.layer().initial().len(), cell.states() * shape.hidden);
            params.layer().check_recurrent().unwrap();
        }
    }

    #[test]
    fn a_crf_changes_no_draw_of_the_other_tensors() {
        for shape in [SHAPE, Shape { layers: 2, bidirectional: true, ..SHAPE }] {
            let softmax = Params::<f64>::init(shape, 42).unwrap();
            let params = Params::<f64>::init(Shape { head: Head::Crf, ..shape }, 42).unwrap();
            assert_eq!(params.as_slice()[..shape.parameters()], *softmax.as_slice());
            let crf = params.crf().unwrap();
            assert!(crf.transitions.iter().all(|v| *v != 0.0 && (-0.2..0.2).contains(v)));
            assert_eq!((crf.start.to_vec(), crf.end.to_vec()), (vec![0.0; 2], vec![0.0; 2]));
            assert!(softmax.crf().is_none());
            let tensors: Vec<_> = params.tensors().collect();
            assert_eq!(Params::from_tensors(shape.cell, shape.feedback, &tensors).unwrap(), params);
            let without_start: Vec<_> =
                tensors.into_iter().filter(|(name, _)| *name != Name::Start).collect();
            let message = Params::from_tensors(shape.cell, shape.feedback, &without_start).unwrap_err();
            assert_eq!(message.to_string(), "start: expected [2], found no such tensor");
        }
    }

    #[test]
    fn a_jordan_network_feeds_its_output_back() {
        let jordan = Shape { feedback: Feedback::Output, ..SHAPE };
        let params = Params::<f64>::init(jordan, 42).unwrap();
        assert_eq!((params.wh().dim(), params.h0().len()), ((2, 4), 2));
        assert!(params.check(SHAPE).is_err());
        let message = params.layer().check_recurrent().unwrap_err().to_string();
        assert_eq!(message, "rows of wh: expected 4, one for each hidden unit, found 2");
        // Of equal widths, the tensors of either network fit the other; they are not taken for it.
        let square = Shape { classes: 4, ..SHAPE };
        let elman = Params::<f64>::zeros(square).unwrap();
        assert!(elman.check(Shape { feedback: Feedback::Output, ..square }).is_err());
    }

    #[test]
    fn tensors_of_other_hands_must_fit_together() {
        for cell in Cell::ALL {
            let params = Params::<f64>::init(Shape { cell, ..SHAPE }, 3).unwrap();
            let tensors: Vec<_> = params.tensors().collect();
            assert_eq!(Params::from_tensors(cell, Feedback::Hidden, &tensors).unwrap(), params);
            for (i, (name, _)) in tensors.iter().enumerate() {
                let mut missing = tensors.clone();
                missing.remove(i);
                let message = Params::from_tensors(cell, Feedback::Hidden, &missing).unwrap_err().to_string();
                assert!(message.starts_with(&format!("{name}: expected ")), "{message}");
                assert!(message.ends_with("found no such tensor"), "{message}");
            }
        }
        let params = Params::<f64>::init(SHAPE, 3).unwrap();
        let message = |name: Name, tensor: ArrayViewD<'_, f64>| {
            let mut tensors: Vec<_> = params.tensors().collect();
            tensors.retain(|(other, _)| *other != name);
            tensors.push((name, tensor));
            Params::from_tensors(SHAPE.cell, SHAPE.feedback, &tensors).unwrap_err().to_string()
        };
        let zeros = |dims: &[usize]| ndarray::ArrayD::<f64>::zeros(dims);
        assert_eq!(message(Name::Wh, zeros(&[4, 5]).view()), "wh: expected [4, 4], found [4, 5]");
        assert_eq!(
            message(Name::Bhn, zeros(&[4]).view()),
            "bhn: expected no such tensor in elman, found one"
        );
        assert_eq!(message(Name::B, zeros(&[2, 1]).view()), "b: expected [classes], found [2, 1]");
        assert!(message(Name::Emb, zeros(&[1, 3]).view()).contains("at least [2, 1], found [1, 3]"));
        assert!(message(Name::Wx, zeros(&[12, 4]).view()).contains("an odd window, found [12, 4]"));
        let tensors: Vec<_> = params.tensors().collect();
        let message = Params::from_tensors(Cell::Gru, Feedback::Hidden, &tensors).unwrap_err().to_string();
        assert_eq!(message, "wx: expected a multiple of 3 columns, the gates of gru, found [15, 4]");
    }

    #[test]
    fn tensors_beyond_memory_are_an_error() {
        let message = Params::<f32>::zeros(Shape { embed: 1 << 50, window: 1, hidden: 1, vocab: 1, ..SHAPE })
            .unwrap_err()
            .to_string();
        assert!(message.starts_with("shape: expected tensors that fit in memory"), "{message}");
    }

    #[test]
    fn parameters_are_read_back_from_their_shape_and_values() {
        let params = Params::<f32>::init(SHAPE, 1).unwrap();
        let text = serde_json::to_string(&params).unwrap();
        assert_eq!(serde_json::from_str::<Params<f32>>(&text).unwrap(), params);
        let short = text.replace("\"hidden\":4", "\"hidden\":5");
        let message = serde_json::from_str::<Params<f32>>(&short).unwrap_err().to_string();
        assert!(message.contains("values: expected"), "{message}");
        assert_eq!(format!("{params:?}"), format!("Params {{ shape: {SHAPE:?}, .. }}"));
    }
}
