use ndarray::{Array1, Array2, ArrayViewD, ArrayViewMutD};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use crate::{Error, Feedback, Real};

/// The five sizes of a network, and which of its outputs is fed back.
///
/// In the tutorial's words: `vocab` is ne, `embed` de, `window` cs, `hidden` nh, `classes` nc.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Shape {
    /// Number of words; the embeddings have one row more, the padding.
    pub vocab: usize,
    /// Width of an embedding.
    pub embed: usize,
    /// Number of words around (and with) each word that the network sees; odd.
    pub window: usize,
    /// Width of the hidden state.
    pub hidden: usize,
    /// Number of labels.
    pub classes: usize,
    /// What the next step sees of a step: its hidden state (Elman) or its output (Jordan).
    pub feedback: Feedback,
}

impl Shape {
    /// Width of an input row `x[t]`: `embed · window`.
    pub fn input(&self) -> usize {
        self.embed * self.window
    }

    /// The id of the padding word: the last row of the embeddings.
    pub fn padding(&self) -> usize {
        self.vocab
    }

    /// Width of what is fed back, which is the number of rows of wh and the length of h0: `hidden` or `classes`.
    pub fn fed_back(&self) -> usize {
        match self.feedback {
            Feedback::Hidden => self.hidden,
            Feedback::Output => self.classes,
        }
    }

    /// Number of parameters in all seven tensors.
    pub fn parameters(&self) -> usize {
        (self.vocab + 1) * self.embed
            + self.input() * self.hidden
            + self.fed_back() * self.hidden
            + self.hidden * self.classes
            + self.hidden
            + self.classes
            + self.fed_back()
    }

    /// Refuses a size of 0, an even window, and sizes whose products do not fit in memory.
    ///
    /// # Errors
    /// [`Error::Shape`], which names the size.
    pub fn check(&self) -> Result<(), Error> {
        let Shape { vocab, embed, window, hidden, classes, feedback: _ } = *self;
        for (what, size) in
            [("vocab", vocab), ("embed", embed), ("window", window), ("hidden", hidden), ("classes", classes)]
        {
            if size == 0 {
                return Err(Error::shape(what, "at least 1", 0));
            }
        }
        if window % 2 == 0 {
            return Err(Error::shape("window", "an odd number", window));
        }
        // 16 bytes is the largest number type (a dual number of two f64).
        let limit = isize::MAX as usize / 16;
        let fits = |products: &[Option<usize>]| {
            products.iter().try_fold(0usize, |sum, p| sum.checked_add((*p)?)).is_some_and(|sum| sum <= limit)
        };
        if !fits(&[
            vocab.checked_add(1).and_then(|rows| rows.checked_mul(embed)),
            embed.checked_mul(window).and_then(|input| input.checked_mul(hidden)),
            self.fed_back().checked_mul(hidden),
            hidden.checked_mul(classes),
            Some(hidden),
            Some(classes),
            Some(self.fed_back()),
        ]) {
            return Err(Error::shape("shape", "tensors that fit in memory", format!("{self:?}")));
        }
        Ok(())
    }
}

/// The names of the seven tensors, in the order of [`Params::tensors`].
pub const TENSOR_NAMES: [&str; 7] = ["emb", "wx", "wh", "w", "bh", "b", "h0"];

/// The seven parameters of a network, or their gradient, and which network it is.
///
/// In a Jordan network (`feedback` is [`Feedback::Output`]) wh is `[classes, hidden]`, and h0 is what the equations
/// call s0, `[classes]`.
///
/// All tensors are row-major (ndarray's standard layout). The fields are public: whoever takes a `Params`
/// calls [`Params::shape`] first, which checks that the tensors belong together.
#[derive(Clone, Debug, PartialEq)]
pub struct Params<T> {
    /// Embeddings, `[vocab + 1, embed]`; the last row is the padding. `embeddings.npy` in the tutorial.
    pub emb: Array2<T>,
    /// Input to hidden, `[embed · window, hidden]`.
    pub wx: Array2<T>,
    /// What is fed back to hidden, `[hidden, hidden]`; in a Jordan network `[classes, hidden]`.
    pub wh: Array2<T>,
    /// Hidden to output, `[hidden, classes]`.
    pub w: Array2<T>,
    /// Bias of the hidden state, `[hidden]`.
    pub bh: Array1<T>,
    /// Bias of the output, `[classes]`.
    pub b: Array1<T>,
    /// What is fed back into the first word, `[hidden]`, in a Jordan network `[classes]`; learned.
    pub h0: Array1<T>,
    /// What is fed back. The tensors alone do not say it where `hidden` and `classes` are equal.
    pub feedback: Feedback,
}

impl<T: Real> Params<T> {
    /// All zeros: the start of a gradient.
    ///
    /// # Errors
    /// Those of [`Shape::check`].
    pub fn zeros(shape: Shape) -> Result<Self, Error> {
        shape.check()?;
        Ok(Params {
            emb: Array2::zeros((shape.vocab + 1, shape.embed)),
            wx: Array2::zeros((shape.input(), shape.hidden)),
            wh: Array2::zeros((shape.fed_back(), shape.hidden)),
            w: Array2::zeros((shape.hidden, shape.classes)),
            bh: Array1::zeros(shape.hidden),
            b: Array1::zeros(shape.classes),
            h0: Array1::zeros(shape.fed_back()),
            feedback: shape.feedback,
        })
    }

    /// The tutorial's start: emb, wx, wh and w uniform in [-0.2, 0.2), bh, b and h0 zero.
    ///
    /// The generator is ChaCha8 (`rand_chacha`), seeded by `seed_from_u64(seed)`; the entries are drawn in
    /// the order emb, wx, wh, w, each row by row, each from the upper 53 bits of one `u64`. They are drawn
    /// in `f64` and rounded to `T`, so that all number types start from the same network on every machine.
    ///
    /// # Errors
    /// Those of [`Shape::check`].
    pub fn init(shape: Shape, seed: u64) -> Result<Self, Error> {
        let mut params = Params::zeros(shape)?;
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut uniform = || {
            let unit = (rng.next_u64() >> 11) as f64 / (1u64 << 53) as f64;
            T::from_f64(0.4 * unit - 0.2)
        };
        for tensor in [&mut params.emb, &mut params.wx, &mut params.wh, &mut params.w] {
            tensor.iter_mut().for_each(|entry| *entry = uniform());
        }
        Ok(params)
    }

    /// The shape that the tensors have, once it is checked that they have one.
    ///
    /// # Errors
    /// [`Error::Shape`] names the first tensor whose shape or layout does not fit the others.
    pub fn shape(&self) -> Result<Shape, Error> {
        let (rows, embed) = self.emb.dim();
        let (input, hidden) = self.wx.dim();
        let classes = self.b.len();
        if rows < 2 || embed == 0 {
            return Err(Error::shape("emb", "[vocab + 1, embed] of at least [2, 1]", dims(self.emb.shape())));
        }
        if input % embed != 0 || (input / embed) % 2 == 0 {
            return Err(Error::shape(
                "wx",
                format!("[embed · window, hidden] with embed = {embed} and an odd window"),
                dims(self.wx.shape()),
            ));
        }
        let feedback = self.feedback;
        let shape = Shape { vocab: rows - 1, embed, window: input / embed, hidden, classes, feedback };
        shape.check()?;
        let expected: [&[usize]; 7] = [
            &[rows, embed],
            &[input, hidden],
            &[shape.fed_back(), hidden],
            &[hidden, classes],
            &[hidden],
            &[classes],
            &[shape.fed_back()],
        ];
        for ((name, tensor), expected) in self.tensors().into_iter().zip(expected) {
            if tensor.shape() != expected {
                return Err(Error::shape(name, dims(expected), dims(tensor.shape())));
            }
            if !tensor.is_standard_layout() {
                return Err(Error::shape(name, "row-major layout", "other strides"));
            }
        }
        Ok(shape)
    }

    /// Checks that the tensors have exactly this shape: the door for a `grad` or an update.
    ///
    /// # Errors
    /// [`Error::Shape`] names the first tensor or size that differs.
    pub fn check(&self, shape: &Shape) -> Result<(), Error> {
        let found = self.shape()?;
        if found != *shape {
            return Err(Error::shape("parameters", format!("{shape:?}"), format!("{found:?}")));
        }
        Ok(())
    }

    /// The seven tensors with their names, in the order of [`TENSOR_NAMES`].
    pub fn tensors(&self) -> [(&'static str, ArrayViewD<'_, T>); 7] {
        let [emb, wx, wh, w, bh, b, h0] = TENSOR_NAMES;
        [
            (emb, self.emb.view().into_dyn()),
            (wx, self.wx.view().into_dyn()),
            (wh, self.wh.view().into_dyn()),
            (w, self.w.view().into_dyn()),
            (bh, self.bh.view().into_dyn()),
            (b, self.b.view().into_dyn()),
            (h0, self.h0.view().into_dyn()),
        ]
    }

    /// The seven tensors with their names, to be changed.
    pub fn tensors_mut(&mut self) -> [(&'static str, ArrayViewMutD<'_, T>); 7] {
        let [emb, wx, wh, w, bh, b, h0] = TENSOR_NAMES;
        [
            (emb, self.emb.view_mut().into_dyn()),
            (wx, self.wx.view_mut().into_dyn()),
            (wh, self.wh.view_mut().into_dyn()),
            (w, self.w.view_mut().into_dyn()),
            (bh, self.bh.view_mut().into_dyn()),
            (b, self.b.view_mut().into_dyn()),
            (h0, self.h0.view_mut().into_dyn()),
        ]
    }

    /// The same parameters in another number type, or with a change to every entry.
    pub fn map<U>(&self, mut f: impl FnMut(T) -> U) -> Params<U> {
        Params {
            emb: self.emb.mapv(&mut f),
            wx: self.wx.mapv(&mut f),
            wh: self.wh.mapv(&mut f),
            w: self.w.mapv(&mut f),
            bh: self.bh.mapv(&mut f),
            b: self.b.mapv(&mut f),
            h0: self.h0.mapv(&mut f),
            feedback: self.feedback,
        }
    }
}

/// `[2, 3]`, as the messages write a tensor's shape.
pub(crate) fn dims(shape: &[usize]) -> String {
    format!("{shape:?}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: Shape =
        Shape { vocab: 6, embed: 3, window: 5, hidden: 4, classes: 2, feedback: Feedback::Hidden };
    const JORDAN: Shape = Shape { feedback: Feedback::Output, ..SHAPE };

    #[test]
    fn init_is_the_tutorials_and_stable() {
        let params = Params::<f64>::init(SHAPE, 42).unwrap();
        for (name, tensor) in params.tensors() {
            let random = ["emb", "wx", "wh", "w"].contains(&name);
            assert_eq!(tensor.iter().all(|v| *v == 0.0), !random, "{name}");
            assert!(tensor.iter().all(|v| (-0.2..0.2).contains(v)), "{name}");
        }
        // A change of the generator or of the order of the draws would silently change every trained model.
        assert_eq!(params.emb[[0, 0]], 0.07275847692266857);
        assert_eq!(params.w[[3, 1]], 0.18015804178185213);
        assert_eq!(params.map(|v| v as f32), Params::<f32>::init(SHAPE, 42).unwrap());
        assert_ne!(params, Params::init(SHAPE, 43).unwrap());
        for shape in [SHAPE, JORDAN] {
            let params = Params::<f64>::init(shape, 42).unwrap();
            assert_eq!(params.tensors().iter().map(|(_, t)| t.len()).sum::<usize>(), shape.parameters());
        }
    }

    #[test]
    fn a_jordan_network_feeds_its_output_back() {
        let params = Params::<f64>::init(JORDAN, 42).unwrap();
        assert_eq!((params.wh.dim(), params.h0.len()), ((2, 4), 2));
        assert!(params.wh.iter().all(|v| *v != 0.0) && params.h0.iter().all(|v| *v == 0.0));
        assert_eq!(params.shape().unwrap(), JORDAN);
        assert_eq!(params.map(|v| v as f32).shape().unwrap(), JORDAN);
        assert!(params.check(&SHAPE).is_err());

        // Of equal widths, the tensors of either would fit the other; they are not taken for it.
        let square = Shape { classes: 4, ..SHAPE };
        let elman = Params::<f64>::zeros(square).unwrap();
        let message = elman.check(&Shape { feedback: Feedback::Output, ..square }).unwrap_err().to_string();
        assert!(message.starts_with("parameters: expected") && message.contains("Output"), "{message}");
        let taken_for_elman = Params { feedback: Feedback::Hidden, ..params };
        assert_eq!(taken_for_elman.shape().unwrap_err().to_string(), "wh: expected [4, 4], found [2, 4]");
    }

    #[test]
    fn a_shape_that_cannot_be_is_refused() {
        for (shape, what) in [
            (Shape { vocab: 0, ..SHAPE }, "vocab"),
            (Shape { embed: 0, ..SHAPE }, "embed"),
            (Shape { window: 0, ..SHAPE }, "window"),
            (Shape { window: 4, ..SHAPE }, "window"),
            (Shape { hidden: 0, ..SHAPE }, "hidden"),
            (Shape { classes: 0, ..SHAPE }, "classes"),
            (Shape { hidden: 1 << 40, ..SHAPE }, "shape"),
            (Shape { classes: 1 << 62, ..JORDAN }, "shape"),
            (Shape { vocab: usize::MAX, ..SHAPE }, "shape"),
        ] {
            let message = Params::<f32>::zeros(shape).unwrap_err().to_string();
            assert!(message.starts_with(&format!("{what}: ")), "{message}");
        }
    }

    #[test]
    fn a_tensor_that_does_not_fit_is_named() {
        let good = Params::<f64>::init(SHAPE, 1).unwrap();
        assert_eq!(good.shape().unwrap(), SHAPE);
        type Break = fn(&mut Params<f64>);
        let broken: [(&str, Break); 8] = [
            ("emb", |p| p.emb = Array2::zeros((1, 3))),
            ("wx", |p| p.wx = Array2::zeros((16, 4))),
            ("wx", |p| p.wx = Array2::zeros((12, 4))),
            ("wh", |p| p.wh = Array2::zeros((4, 3))),
            ("w", |p| p.w = Array2::zeros((3, 2))),
            ("bh", |p| p.bh = Array1::zeros(3)),
            ("w", |p| p.b = Array1::zeros(3)),
            ("h0", |p| p.h0 = Array1::zeros(5)),
        ];
        for (what, break_it) in broken {
            let mut params = good.clone();
            break_it(&mut params);
            let message = params.shape().unwrap_err().to_string();
            assert!(message.starts_with(&format!("{what}: ")), "{what}: {message}");
        }
        let fortran = Params { wh: good.wh.clone().reversed_axes(), ..good.clone() };
        assert_eq!(
            fortran.shape().unwrap_err().to_string(),
            "wh: expected row-major layout, found other strides"
        );
        assert!(good.check(&Shape { classes: 3, ..SHAPE }).is_err());
    }
}
