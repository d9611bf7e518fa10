//! The cells: which arithmetic a unit does, and what is fed back into it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::Error;

/// The arithmetic of a unit of the recurrence.
///
/// | cell | equations | gates | source |
/// |---|---|---|---|
/// | `Elman(f)` | `h[t] = f(x[t]·wx + h[t-1]·wh + bh)` | 1 | Elman, *Finding structure in time*, 1990 |
/// | `Gru` | below | 3 | Cho et al., *Learning phrase representations*, 2014, in PyTorch's form |
/// | `Lstm` | below | 4 | Hochreiter and Schmidhuber, 1997, with the forget gate of Gers et al., 2000 |
///
/// A cell of several gates has them side by side: `wx` is `[input, gates·hidden]`, `wh` `[hidden, gates·hidden]` and
/// `bh` `[gates·hidden]`. The GRU's gates are r, z, n, in this order:
///
/// ```text
/// r = sigmoid(x[t]·wx_r + h[t-1]·wh_r + bh_r)
/// z = sigmoid(x[t]·wx_z + h[t-1]·wh_z + bh_z)
/// n = tanh(x[t]·wx_n + bh_n + r ∘ (h[t-1]·wh_n + bhn))
/// h[t] = (1 - z) ∘ n + z ∘ h[t-1]
/// ```
///
/// PyTorch's `nn.GRU` has two biases; `bh` is their sum for r and z, `bh_n` is `b_in`, and `bhn` is `b_hn`.
///
/// The LSTM has a second state, `c`, which starts from `c0`. Its gates are i, f, g, o, as in PyTorch's `nn.LSTM`; `bh` is
/// the sum of the two biases there. There are no peepholes.
///
/// ```text
/// i = sigmoid(x[t]·wx_i + h[t-1]·wh_i + bh_i)
/// f = sigmoid(x[t]·wx_f + h[t-1]·wh_f + bh_f)
/// g = tanh(x[t]·wx_g + h[t-1]·wh_g + bh_g)
/// o = sigmoid(x[t]·wx_o + h[t-1]·wh_o + bh_o)
/// c[t] = f ∘ c[t-1] + i ∘ g
/// h[t] = o ∘ tanh(c[t])
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Cell {
    /// One gate with this activation.
    Elman(Activation),
    /// The gated recurrent unit.
    Gru,
    /// Long short-term memory.
    Lstm,
}

/// The nonlinearity of an Elman cell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Activation {
    /// `1 / (1 + e^-a)`, the tutorial's.
    #[default]
    Sigmoid,
    /// `tanh(a)`, PyTorch's default.
    Tanh,
    /// `max(a, 0)`; its derivative at 0 is 0.
    Relu,
}

/// The value that a step hands to the next step. The Elman and the Jordan network differ in this alone.
///
/// | | `h[t]` | `outputs_info` | source |
/// |---|---|---|---|
/// | `Hidden`: Elman's | `sigmoid(x[t]·wx + h[t-1]·wh + bh)`, `h[-1] = h0` | `[h0, None]` | *Finding structure in time*, 1990 |
/// | `Output`: Jordan's | `sigmoid(x[t]·wx + s[t-1]·wh + bh)`, `s[-1] = s0` | `[None, s0]` | *Serial order*, 1986 |
///
/// Both are in the code of Mesnil et al. (2013) beside the tutorial (`elman.py`, `jordan.py`). Only a cell of one gate
/// can have its output fed back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Feedback {
    /// The hidden state: the Elman network.
    #[default]
    Hidden,
    /// The output, that is, the probabilities of all labels: the Jordan network.
    Output,
}

impl Cell {
    /// Every cell, the tutorial's first.
    pub const ALL: [Cell; 5] = [
        Cell::Elman(Activation::Sigmoid),
        Cell::Elman(Activation::Tanh),
        Cell::Elman(Activation::Relu),
        Cell::Gru,
        Cell::Lstm,
    ];

    /// The number of gates, each of which has its own columns of wx, wh and bh.
    pub fn gates(self) -> usize {
        match self {
            Cell::Elman(_) => 1,
            Cell::Gru => 3,
            Cell::Lstm => 4,
        }
    }

    /// The number of states that a step hands to the next one: `h`, and of an LSTM `c`. Where they come together (the
    /// initial and the last states of a recurrence) they lie side by side, `[states·hidden]`, `h` first.
    pub fn states(self) -> usize {
        if self == Cell::Lstm { 2 } else { 1 }
    }

    /// Whether the cell has a bias `bhn` of its own inside the product with a gate.
    pub fn has_bhn(self) -> bool {
        self == Cell::Gru
    }

    /// The name without the activation: `elman`, `gru` or `lstm`.
    pub fn name(self) -> &'static str {
        match self {
            Cell::Elman(_) => "elman",
            Cell::Gru => "gru",
            Cell::Lstm => "lstm",
        }
    }

    /// The activation of a cell of one gate.
    pub fn activation(self) -> Option<Activation> {
        match self {
            Cell::Elman(activation) => Some(activation),
            _ => None,
        }
    }
}

impl Default for Cell {
    /// The tutorial's: Elman's with a sigmoid.
    fn default() -> Self {
        Cell::Elman(Activation::Sigmoid)
    }
}

/// `elman`, `elman-tanh`, `elman-relu`, `gru`, `lstm`.
impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Cell::Elman(Activation::Tanh) => "elman-tanh",
            Cell::Elman(Activation::Relu) => "elman-relu",
            other => other.name(),
        })
    }
}

/// The cell of a name that [`Cell`] prints.
impl FromStr for Cell {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        by_name("cell", name, &Cell::ALL)
    }
}

impl Activation {
    /// Every activation.
    pub const ALL: [Activation; 3] = [Activation::Sigmoid, Activation::Tanh, Activation::Relu];

    /// `sigmoid`, `tanh` or `relu`.
    pub fn name(self) -> &'static str {
        match self {
            Activation::Sigmoid => "sigmoid",
            Activation::Tanh => "tanh",
            Activation::Relu => "relu",
        }
    }
}

impl fmt::Display for Activation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Activation {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        by_name("activation", name, &Activation::ALL)
    }
}

impl Feedback {
    /// Both, Elman's first.
    pub const ALL: [Feedback; 2] = [Feedback::Hidden, Feedback::Output];

    /// The name of the network: `elman` or `jordan`.
    pub fn name(self) -> &'static str {
        match self {
            Feedback::Hidden => "elman",
            Feedback::Output => "jordan",
        }
    }
}

impl fmt::Display for Feedback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// The feedback of the network of this name.
impl FromStr for Feedback {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        by_name("network", name, &Feedback::ALL)
    }
}

/// The head, which makes labels of the scores `y[t] = h[t]·w + b` of a sentence's words.
///
/// | head | the probability of the labels `l` | loss of a sentence |
/// |---|---|---|
/// | `Softmax` | the product over t of `softmax(y[t])[l[t]]`: each word for itself | the mean over t of `-ln softmax(y[t])[l[t]]` |
/// | `Crf` | `e^score(l) / Z`: the sentence as a whole | `(ln Z - score(l)) / T` |
///
/// The head `Crf` is a linear-chain conditional random field (Lafferty, McCallum and Pereira, *Conditional random
/// fields*, 2001; behind a recurrent network: Huang, Xu and Yu, *Bidirectional LSTM-CRF models for sequence tagging*,
/// 2015). The scores `y` are its emissions, and it has three tensors of its own:
///
/// ```text
/// score(l) = start[l[0]] + sum over t of y[t][l[t]] + sum over t > 0 of transitions[l[t-1], l[t]] + end[l[T-1]]
/// Z        = sum over all labels l of e^score(l)
/// s[t][c]  = sum over all labels l with l[t] = c of e^score(l) / Z            the marginal probability
/// ```
///
/// Where the three tensors are zero, this is the softmax. Its labels are the most probable sequence (Viterbi, 1967).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Head {
    /// A softmax over the labels of each word, the tutorial's.
    #[default]
    Softmax,
    /// A linear-chain conditional random field.
    Crf,
}

impl Head {
    /// Both, the softmax first.
    pub const ALL: [Head; 2] = [Head::Softmax, Head::Crf];
}

/// `softmax` or `crf`.
impl fmt::Display for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Head::Softmax => "softmax",
            Head::Crf => "crf",
        })
    }
}

impl FromStr for Head {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        by_name("head", name, &Head::ALL)
    }
}

fn by_name<N: Copy + fmt::Display>(what: &str, name: &str, all: &[N]) -> Result<N, Error> {
    all.iter().copied().find(|known| known.to_string() == name).ok_or_else(|| {
        let names: Vec<String> = all.iter().map(N::to_string).collect();
        Error::unsupported(what, names.join(", "), name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back() {
        for cell in Cell::ALL {
            assert_eq!(cell.to_string().parse::<Cell>().unwrap(), cell);
            assert!(cell.to_string().starts_with(cell.name()));
        }
        for activation in Activation::ALL {
            assert_eq!(activation.to_string().parse::<Activation>().unwrap(), activation);
            assert_eq!(Cell::Elman(activation).activation(), Some(activation));
        }
        for feedback in Feedback::ALL {
            assert_eq!(feedback.to_string().parse::<Feedback>().unwrap(), feedback);
        }
        for head in Head::ALL {
            assert_eq!(head.to_string().parse::<Head>().unwrap(), head);
        }
        assert_eq!(Cell::default(), Cell::ALL[0]);
    }

    #[test]
    fn unknown_names_are_refused_with_the_choices() {
        let message = "Elman".parse::<Feedback>().unwrap_err().to_string();
        assert_eq!(message, "network: expected elman, jordan, found Elman");
        let message = "rnn".parse::<Cell>().unwrap_err().to_string();
        assert_eq!(message, "cell: expected elman, elman-tanh, elman-relu, gru, lstm, found rnn");
        let message = "selu".parse::<Activation>().unwrap_err().to_string();
        assert_eq!(message, "activation: expected sigmoid, tanh, relu, found selu");
        let message = "CRF".parse::<Head>().unwrap_err().to_string();
        assert_eq!(message, "head: expected softmax, crf, found CRF");
    }
}
