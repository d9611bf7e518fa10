//! Shapes: the sizes of a network or of a layer, and the table of the tensors that follow from them.

use std::fmt;
use std::sync::LazyLock;

use serde::{Deserialize, Serialize};

use crate::{Activation, Cell, Error, Feedback, Head};

/// The sizes of a network, its cell, and the value that is fed back.
///
/// In the tutorial's words: `vocab` is ne, `embed` de, `window` cs, `hidden` nh, `classes` nc.
///
/// ```
/// use elman::{Cell, Shape};
///
/// let shape = Shape { vocab: 10, embed: 4, window: 3, hidden: 5, classes: 2, ..Shape::ELMAN };
/// let gru = Shape { cell: Cell::Gru, ..shape };
/// assert_eq!(gru.parameters() - shape.parameters(), 2 * (12 * 5 + 5 * 5 + 5) + 5);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
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
    /// The arithmetic of a hidden unit.
    #[serde(default)]
    pub cell: Cell,
    /// The value that the next step sees of a step: its hidden state (Elman) or its output (Jordan).
    #[serde(default)]
    pub feedback: Feedback,
    /// Number of layers, 1 to [`Shape::MAX_LAYERS`]: each reads the states of the one below.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub layers: usize,
    /// Whether each layer reads its input also from the end to the start, with weights of its own. What is above reads the
    /// states of both directions side by side, those of the same word.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub bidirectional: bool,
    /// The head, which makes labels of the scores: a softmax for each word, or a CRF for the sentence.
    #[serde(default, skip_serializing_if = "is_softmax")]
    pub head: Head,
}

fn is_softmax(head: &Head) -> bool {
    *head == Head::Softmax
}

fn one() -> usize {
    1
}

fn is_one(layers: &usize) -> bool {
    *layers == 1
}

/// The direction in which a layer reads its input.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Direction {
    /// From the first word to the last.
    #[default]
    Forward,
    /// From the last word to the first.
    Reverse,
}

impl Direction {
    /// Both, forward first.
    pub const ALL: [Direction; 2] = [Direction::Forward, Direction::Reverse];
}

/// The sizes of the recurrence alone, and its cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LayerShape {
    /// Width of an input.
    pub input: usize,
    /// Width of the hidden state.
    pub hidden: usize,
    /// The arithmetic of a hidden unit.
    #[serde(default)]
    pub cell: Cell,
}

/// The name of a tensor, as in the equations. That of a layer's tensor also says which layer's, and in which direction.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name {
    layer: u8,
    direction: Direction,
    tensor: u8,
}

/// Names without a layer and a direction: those of the first layer forward, and of the tensors outside the layers.
const NAMES: [&str; 12] =
    ["emb", "wx", "wh", "w", "bh", "bhn", "b", "h0", "c0", "transitions", "start", "end"];

#[allow(non_upper_case_globals, reason = "they are the names of things, and stand in patterns")]
impl Name {
    /// Embeddings.
    pub const Emb: Name = Name::first(0);
    /// Input to hidden.
    pub const Wx: Name = Name::first(1);
    /// The value that is fed back, to hidden.
    pub const Wh: Name = Name::first(2);
    /// Hidden to output.
    pub const W: Name = Name::first(3);
    /// Bias of the hidden units.
    pub const Bh: Name = Name::first(4);
    /// Bias inside the product with the GRU's reset gate.
    pub const Bhn: Name = Name::first(5);
    /// Bias of the output.
    pub const B: Name = Name::first(6);
    /// The value that is fed back into the first step.
    pub const H0: Name = Name::first(7);
    /// The LSTM's second state before the first step.
    pub const C0: Name = Name::first(8);
    /// The CRF's scores of a label (column) after another one (row).
    pub const Transitions: Name = Name::first(9);
    /// The CRF's scores of a label at the first word.
    pub const Start: Name = Name::first(10);
    /// The CRF's scores of a label at the last word.
    pub const End: Name = Name::first(11);

    const fn first(tensor: u8) -> Name {
        Name { layer: 0, direction: Direction::Forward, tensor }
    }

    /// The name of the same tensor of another layer, counted from 0 (below [`Shape::MAX_LAYERS`]), and direction.
    pub fn of(self, layer: usize, direction: Direction) -> Name {
        let layer = layer.min(Shape::MAX_LAYERS - 1) as u8;
        Name { layer, direction, ..self }
    }

    /// The layer, counted from 0.
    pub fn layer(self) -> usize {
        self.layer.into()
    }

    /// The direction.
    pub fn direction(self) -> Direction {
        self.direction
    }

    /// `emb`, `wx`, `wh`, `w`, `bh`, `bhn`, `b`, `h0`, `c0`, `transitions`, `start` or `end`; of another layer than the first with its number, and of the
    /// reverse direction with that word, as in PyTorch: `wx_reverse`, `wx_l1`, `wx_l1_reverse`.
    pub fn as_str(self) -> &'static str {
        static LAYERED: LazyLock<Vec<String>> = LazyLock::new(|| {
            let layers = (0..Shape::MAX_LAYERS).flat_map(|layer| ["", "_reverse"].map(|end| (layer, end)));
            let names = layers.flat_map(|(layer, end)| {
                let number = if layer == 0 { String::new() } else { format!("_l{layer}") };
                NAMES.map(|name| format!("{name}{number}{end}"))
            });
            names.collect()
        });
        let place = 2 * self.layer() + usize::from(self.direction == Direction::Reverse);
        &LAYERED[place * NAMES.len() + usize::from(self.tensor)]
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A row of the table of tensors: a name and dimensions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tensor {
    /// The name.
    pub name: Name,
    rows: Option<usize>,
    cols: usize,
}

impl Tensor {
    const fn matrix(name: Name, rows: usize, cols: usize) -> Self {
        Tensor { name, rows: Some(rows), cols }
    }

    const fn vector(name: Name, len: usize) -> Self {
        Tensor { name, rows: None, cols: len }
    }

    /// The dimensions: `[rows, columns]` of a matrix, `[length]` of a vector.
    pub fn dims(&self) -> Vec<usize> {
        self.rows.into_iter().chain([self.cols]).collect()
    }

    /// Whether this is a matrix; all others are vectors. The tutorial draws matrices at random and starts vectors at
    /// zero.
    pub fn is_matrix(&self) -> bool {
        self.rows.is_some()
    }

    pub(crate) fn matrix_dims(&self) -> (usize, usize) {
        (self.rows.unwrap_or(1), self.cols)
    }

    /// The number of entries; at most `usize::MAX`.
    pub fn entries(&self) -> usize {
        self.rows.unwrap_or(1).saturating_mul(self.cols)
    }
}

/// Sizes from which the tensors of a [`Params`](crate::Params) follow: [`Shape`] and [`LayerShape`].
pub trait Layout: Copy + PartialEq + fmt::Debug + Send + Sync + 'static {
    /// The table: every tensor, in the order in which the entries lie in memory, each row by row.
    fn table(&self) -> impl Iterator<Item = Tensor> + use<Self>;

    /// The arithmetic of a hidden unit.
    fn cell(&self) -> Cell;

    /// Refuses sizes that no tensor can have.
    ///
    /// # Errors
    /// [`Error::Shape`], which names the size; [`Error::Unsupported`] for a combination that does not exist.
    fn check(&self) -> Result<(), Error>;

    /// The number of entries of all tensors; at most `usize::MAX`.
    fn parameters(&self) -> usize {
        self.table().fold(0usize, |sum, tensor| sum.saturating_add(tensor.entries()))
    }
}

impl Shape {
    /// The tutorial's network without its sizes, for `..Shape::ELMAN`.
    pub const ELMAN: Shape = Shape {
        vocab: 0,
        embed: 0,
        window: 0,
        hidden: 0,
        classes: 0,
        cell: Cell::Elman(Activation::Sigmoid),
        feedback: Feedback::Hidden,
        layers: 1,
        bidirectional: false,
        head: Head::Softmax,
    };

    /// The most layers that a network can have.
    pub const MAX_LAYERS: usize = 16;

    /// Width of an input row `x[t]`: `embed · window`; at most `usize::MAX`.
    pub fn input(&self) -> usize {
        self.embed.saturating_mul(self.window)
    }

    /// The id of the padding word: the last row of the embeddings.
    pub fn padding(&self) -> u32 {
        self.vocab.try_into().unwrap_or(u32::MAX)
    }

    /// Width of the value that is fed back, which is the number of rows of wh and the length of h0: `hidden` or
    /// `classes`.
    pub fn fed_back(&self) -> usize {
        match self.feedback {
            Feedback::Hidden => self.hidden,
            Feedback::Output => self.classes,
        }
    }

    /// The shape of a layer, counted from 0.
    pub fn layer(&self, layer: usize) -> LayerShape {
        let input = if layer == 0 { self.input() } else { self.top() };
        LayerShape { input, hidden: self.hidden, cell: self.cell }
    }

    /// The directions in which each layer reads.
    pub fn directions(&self) -> &'static [Direction] {
        if self.bidirectional { &Direction::ALL } else { &Direction::ALL[..1] }
    }

    /// Every layer in every direction, the first layer forward first.
    pub fn places(&self) -> impl Iterator<Item = (usize, Direction)> + use<> {
        let directions = self.directions();
        (0..self.layers.min(Shape::MAX_LAYERS)).flat_map(|layer| directions.iter().map(move |d| (layer, *d)))
    }

    /// Width of what a layer gives to the layer above or to the output: `hidden`, of both directions `2 · hidden`; at
    /// most `usize::MAX`.
    pub fn top(&self) -> usize {
        self.hidden.saturating_mul(self.directions().len())
    }

    /// The number of entries of all tensors; at most `usize::MAX`.
    pub fn parameters(&self) -> usize {
        Layout::parameters(self)
    }

    /// [`Layout::check`].
    ///
    /// # Errors
    /// Those of [`Layout::check`].
    pub fn check(&self) -> Result<(), Error> {
        Layout::check(self)
    }

    /// The network's name: `elman`, `jordan`, `elman-tanh`, `jordan-relu`, `gru`, `lstm`; with layers, directions and a
    /// CRF `bidirectional lstm of 2 layers with crf`.
    pub fn name(&self) -> String {
        let cell = self.cell.to_string().replace(Feedback::Hidden.name(), self.feedback.name());
        let both = if self.bidirectional { "bidirectional " } else { "" };
        let layers = if self.layers > 1 { format!(" of {} layers", self.layers) } else { String::new() };
        let head = if self.head == Head::Crf { " with crf" } else { "" };
        format!("{both}{cell}{layers}{head}")
    }

    /// Whether there is one layer, which reads forward.
    pub fn is_single(&self) -> bool {
        self.layers == 1 && !self.bidirectional
    }

    /// Refuses all cells but some, in the name of something that has no others (a format, say).
    ///
    /// # Errors
    /// [`Error::Unsupported`] if the output is fed back, if there are several layers or directions, if the head is a CRF, or
    /// if the cell is none of those.
    pub fn only(&self, what: impl Into<String>, cells: &[Cell]) -> Result<(), Error> {
        let softmax = self.head == Head::Softmax;
        if self.feedback == Feedback::Hidden && self.is_single() && softmax && cells.contains(&self.cell) {
            return Ok(());
        }
        let names: Vec<String> = cells.iter().map(Cell::to_string).collect();
        let one_layer = if self.is_single() { "" } else { "one layer, forward, of " };
        let head = if softmax { "" } else { " with a softmax" };
        let expected = format!("a network of {one_layer}{}{head}", names.join(" or "));
        Err(Error::unsupported(what, expected, self.name()))
    }
}

impl Layout for Shape {
    fn cell(&self) -> Cell {
        self.cell
    }

    fn table(&self) -> impl Iterator<Item = Tensor> + use<> {
        let Shape { vocab, embed, hidden, classes, cell, .. } = *self;
        let gates = cell.gates().saturating_mul(hidden);
        [
            Some(Tensor::matrix(Name::Emb, vocab.saturating_add(1), embed)),
            Some(Tensor::matrix(Name::Wx, self.input(), gates)),
            Some(Tensor::matrix(Name::Wh, self.fed_back(), gates)),
            Some(Tensor::matrix(Name::W, self.top(), classes)),
            Some(Tensor::vector(Name::Bh, gates)),
            cell.has_bhn().then_some(Tensor::vector(Name::Bhn, hidden)),
            Some(Tensor::vector(Name::B, classes)),
            Some(Tensor::vector(Name::H0, self.fed_back())),
            (cell.states() > 1).then_some(Tensor::vector(Name::C0, hidden)),
        ]
        .into_iter()
        .flatten()
        .chain(self.places().skip(1).flat_map({
            let shape = *self;
            move |(layer, direction)| {
                let table = shape.layer(layer).table();
                table.map(move |tensor| Tensor { name: tensor.name.of(layer, direction), ..tensor })
            }
        }))
        .chain(
            [
                Tensor::matrix(Name::Transitions, classes, classes),
                Tensor::vector(Name::Start, classes),
                Tensor::vector(Name::End, classes),
            ]
            .into_iter()
            .take(if self.head == Head::Crf { 3 } else { 0 }),
        )
    }

    fn check(&self) -> Result<(), Error> {
        let Shape { vocab, embed, window, hidden, classes, cell, feedback, layers, bidirectional, head } =
            *self;
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
        for (what, size) in [("vocab", vocab), ("classes", classes)] {
            if u32::try_from(size).is_err() {
                return Err(Error::shape(what, format!("at most {}, as ids have 32 bits", u32::MAX), size));
            }
        }
        if feedback == Feedback::Output && cell.gates() > 1 {
            return Err(Error::unsupported("cell of a Jordan network", "one of a single gate", cell));
        }
        if !(1..=Shape::MAX_LAYERS).contains(&layers) {
            return Err(Error::shape("layers", format!("1 to {}", Shape::MAX_LAYERS), layers));
        }
        if feedback == Feedback::Output && layers > 1 {
            return Err(Error::unsupported("layers of a Jordan network", 1, layers));
        }
        if feedback == Feedback::Output && bidirectional {
            return Err(Error::unsupported("directions of a Jordan network", "forward alone", "both"));
        }
        if feedback == Feedback::Output && head == Head::Crf {
            return Err(Error::unsupported("head of a Jordan network", Head::Softmax, head));
        }
        fits(self)
    }
}

impl Layout for LayerShape {
    fn cell(&self) -> Cell {
        self.cell
    }

    fn table(&self) -> impl Iterator<Item = Tensor> + use<> {
        let LayerShape { input, hidden, cell } = *self;
        let gates = cell.gates().saturating_mul(hidden);
        [
            Some(Tensor::matrix(Name::Wx, input, gates)),
            Some(Tensor::matrix(Name::Wh, hidden, gates)),
            Some(Tensor::vector(Name::Bh, gates)),
            cell.has_bhn().then_some(Tensor::vector(Name::Bhn, hidden)),
            Some(Tensor::vector(Name::H0, hidden)),
            (cell.states() > 1).then_some(Tensor::vector(Name::C0, hidden)),
        ]
        .into_iter()
        .flatten()
    }

    fn check(&self) -> Result<(), Error> {
        for (what, size) in [("input", self.input), ("hidden", self.hidden)] {
            if size == 0 {
                return Err(Error::shape(what, "at least 1", 0));
            }
        }
        fits(self)
    }
}

fn fits(layout: &impl Layout) -> Result<(), Error> {
    // 16 bytes is the largest number type (a dual number of two f64).
    if layout.parameters() > isize::MAX as usize / 16 {
        return Err(Error::shape("shape", "tensors that fit in memory", format!("{layout:?}")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: Shape = Shape { vocab: 6, embed: 3, window: 5, hidden: 4, classes: 2, ..Shape::ELMAN };

    fn table(layout: impl Layout) -> Vec<(&'static str, Vec<usize>)> {
        layout.table().map(|tensor| (tensor.name.as_str(), tensor.dims())).collect()
    }

    #[test]
    fn tensors_follow_from_the_sizes() {
        let elman = table(SHAPE);
        assert_eq!(elman[..3], [("emb", vec![7, 3]), ("wx", vec![15, 4]), ("wh", vec![4, 4])]);
        assert_eq!(elman[3..], [("w", vec![4, 2]), ("bh", vec![4]), ("b", vec![2]), ("h0", vec![4])]);
        let jordan = table(Shape { feedback: Feedback::Output, ..SHAPE });
        assert_eq!((&jordan[2], &jordan[6]), (&("wh", vec![2, 4]), &("h0", vec![2])));
        let gru = table(LayerShape { input: 3, hidden: 4, cell: Cell::Gru });
        assert_eq!(gru[..2], [("wx", vec![3, 12]), ("wh", vec![4, 12])]);
        assert_eq!(gru[2..], [("bh", vec![12]), ("bhn", vec![4]), ("h0", vec![4])]);
        let lstm = table(LayerShape { input: 3, hidden: 4, cell: Cell::Lstm });
        assert_eq!(lstm[..2], [("wx", vec![3, 16]), ("wh", vec![4, 16])]);
        assert_eq!(lstm[2..], [("bh", vec![16]), ("h0", vec![4]), ("c0", vec![4])]);
        assert_eq!(SHAPE.parameters(), 21 + 60 + 16 + 8 + 4 + 2 + 4);
    }

    #[test]
    fn further_layers_and_directions_have_tensors_of_their_own_behind_those_of_the_first() {
        let shape = Shape { layers: 2, bidirectional: true, cell: Cell::Lstm, ..SHAPE };
        let (rows, single) = (table(shape), table(Shape { cell: Cell::Lstm, ..SHAPE }));
        assert_eq!((&rows[..3], &rows[4..8]), (&single[..3], &single[4..]));
        assert_eq!(rows[3], ("w", vec![8, 2]));
        assert_eq!(rows[8..10], [("wx_reverse", vec![15, 16]), ("wh_reverse", vec![4, 16])]);
        assert_eq!(
            rows[10..13],
            [("bh_reverse", vec![16]), ("h0_reverse", vec![4]), ("c0_reverse", vec![4])]
        );
        assert_eq!(rows[13..15], [("wx_l1", vec![8, 16]), ("wh_l1", vec![4, 16])]);
        assert_eq!((rows[18].0, rows.len()), ("wx_l1_reverse", 23));
        assert_eq!(shape.name(), "bidirectional lstm of 2 layers");
        let message = shape.only("file", &Cell::ALL).unwrap_err().to_string();
        assert!(
            message.starts_with("file: expected a network of one layer, forward, of elman or"),
            "{message}"
        );
        let text = serde_json::to_string(&shape).unwrap();
        assert_eq!(serde_json::from_str::<Shape>(&text).unwrap(), shape);
        assert!(!serde_json::to_string(&SHAPE).unwrap().contains("layers"), "as before there were layers");
    }

    #[test]
    fn a_crf_has_three_tensors_behind_all_others() {
        let crf = Shape { head: Head::Crf, ..SHAPE };
        let own = [("transitions", vec![2, 2]), ("start", vec![2]), ("end", vec![2])];
        assert_eq!(table(crf), [&table(SHAPE)[..], &own].concat());
        let stacked = Shape { layers: 2, bidirectional: true, ..SHAPE };
        let crf_of_all = table(Shape { head: Head::Crf, ..stacked });
        assert_eq!(crf_of_all, [&table(stacked)[..], &own].concat());
        assert_eq!(crf.name(), "elman with crf");
        let message = crf.only("file", &[Cell::Gru]).unwrap_err().to_string();
        assert_eq!(message, "file: expected a network of gru with a softmax, found elman with crf");
        assert!(crf.only("file", &Cell::ALL).is_err());
        let text = serde_json::to_string(&crf).unwrap();
        assert_eq!(serde_json::from_str::<Shape>(&text).unwrap(), crf);
        assert!(!serde_json::to_string(&SHAPE).unwrap().contains("head"), "as before there was a head");
        let jordan = Shape { feedback: Feedback::Output, ..crf };
        let message = jordan.check().unwrap_err().to_string();
        assert_eq!(message, "head of a Jordan network: expected softmax, found crf");
    }

    #[test]
    fn impossible_shapes_are_refused() {
        let message = |shape: Shape| shape.check().unwrap_err().to_string();
        assert_eq!(message(Shape { hidden: 0, ..SHAPE }), "hidden: expected at least 1, found 0");
        assert_eq!(message(Shape { window: 4, ..SHAPE }), "window: expected an odd number, found 4");
        assert!(message(Shape { vocab: 1 << 32, ..SHAPE }).contains("as ids have 32 bits"));
        let jordan = Shape { feedback: Feedback::Output, cell: Cell::Gru, ..SHAPE };
        assert_eq!(message(jordan), "cell of a Jordan network: expected one of a single gate, found gru");
        let jordan = Shape { feedback: Feedback::Output, ..SHAPE };
        let stacked = Shape { layers: 2, ..jordan };
        assert_eq!(message(stacked), "layers of a Jordan network: expected 1, found 2");
        let both = Shape { bidirectional: true, ..jordan };
        assert_eq!(message(both), "directions of a Jordan network: expected forward alone, found both");
        assert_eq!(message(Shape { layers: 0, ..SHAPE }), "layers: expected 1 to 16, found 0");
        assert_eq!(
            message(Shape { layers: usize::MAX, ..SHAPE }),
            "layers: expected 1 to 16, found 18446744073709551615"
        );
        for huge in [
            Shape { embed: usize::MAX, window: usize::MAX, ..SHAPE },
            Shape { hidden: usize::MAX, ..SHAPE },
            Shape { embed: usize::MAX / 4, window: 1, ..SHAPE },
        ] {
            assert!(message(huge).contains("tensors that fit in memory"), "{huge:?}");
        }
        assert!(LayerShape { input: 0, hidden: 1, cell: Cell::Gru }.check().is_err());
        SHAPE.check().unwrap();
    }

    #[test]
    fn unchecked_shapes_never_overflow() {
        let huge = usize::MAX;
        let shape = Shape { vocab: huge, embed: huge, window: huge, hidden: huge, classes: huge, ..SHAPE };
        assert_eq!((shape.input(), shape.parameters(), shape.padding()), (huge, huge, u32::MAX));
    }

    #[test]
    fn a_network_has_a_name() {
        let names = Feedback::ALL
            .map(|feedback| Cell::ALL.map(|cell| Shape { cell, feedback, ..SHAPE }.name()).join(" "));
        assert_eq!(
            names,
            ["elman elman-tanh elman-relu gru lstm", "jordan jordan-tanh jordan-relu gru lstm"]
        );
        SHAPE.only("file", &[Cell::Gru, Cell::default()]).unwrap();
        let message = SHAPE.only("file", &[Cell::Gru]).unwrap_err().to_string();
        assert_eq!(message, "file: expected a network of gru, found elman");
        let jordan = Shape { feedback: Feedback::Output, ..SHAPE };
        assert!(jordan.only("file", &Cell::ALL).is_err());
    }

    #[test]
    fn a_shape_without_a_cell_is_the_tutorials() {
        let old = r#"{"vocab":6,"embed":3,"window":5,"hidden":4,"classes":2}"#;
        assert_eq!(serde_json::from_str::<Shape>(old).unwrap(), SHAPE);
        let gru = Shape { cell: Cell::Gru, ..SHAPE };
        let text = serde_json::to_string(&gru).unwrap();
        assert_eq!(serde_json::from_str::<Shape>(&text).unwrap(), gru);
    }
}
