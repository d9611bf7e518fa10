use std::fmt;
use std::str::FromStr;

use crate::Error;

/// What the next step sees of a step. This is all that the two networks differ in.
///
/// | | `h[t]` | `outputs_info` | source |
/// |---|---|---|---|
/// | `Hidden`: Elman's | `sigmoid(x[t]·wx + h[t-1]·wh + bh)`, `h[-1] = h0` | `[h0, None]` | *Finding structure in time*, 1990 |
/// | `Output`: Jordan's | `sigmoid(x[t]·wx + s[t-1]·wh + bh)`, `s[-1] = s0` | `[None, s0]` | *Serial order*, 1986 |
///
/// Both are in the code of Mesnil et al. (2013) beside the tutorial (`elman.py`, `jordan.py`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Feedback {
    /// The hidden state: the Elman network.
    #[default]
    Hidden,
    /// The output, that is, the probabilities of all labels: the Jordan network.
    Output,
}

impl Feedback {
    /// The name of the network: `elman` or `jordan`.
    pub fn name(self) -> &'static str {
        match self {
            Feedback::Hidden => "elman",
            Feedback::Output => "jordan",
        }
    }

    /// Refuses a Jordan network, in the name of what has none (a format, say).
    ///
    /// # Errors
    /// [`Error::Unsupported`] if this is not [`Feedback::Hidden`].
    pub fn only_elman(self, what: impl Into<String>) -> Result<(), Error> {
        if self == Feedback::Hidden {
            return Ok(());
        }
        let (expected, found) = ("an Elman network".into(), "a Jordan network".into());
        Err(Error::Unsupported { what: what.into(), expected, found })
    }
}

impl fmt::Display for Feedback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// From the name of the network.
impl FromStr for Feedback {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        [Feedback::Hidden, Feedback::Output].into_iter().find(|known| known.name() == name).ok_or_else(|| {
            Error::Unsupported {
                what: "network".into(),
                expected: "elman or jordan".into(),
                found: name.into(),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_is_known_by_its_name() {
        for feedback in [Feedback::Hidden, Feedback::Output] {
            assert_eq!(feedback.to_string().parse::<Feedback>().unwrap(), feedback);
        }
        let message = "Elman".parse::<Feedback>().unwrap_err().to_string();
        assert_eq!(message, "network: expected elman or jordan, found Elman");
        Feedback::Hidden.only_elman("file").unwrap();
        let message = Feedback::Output.only_elman("file").unwrap_err().to_string();
        assert_eq!(message, "file: expected an Elman network, found a Jordan network");
    }
}
