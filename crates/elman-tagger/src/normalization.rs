use std::borrow::Cow;

use serde::{Deserialize, Serialize};

/// The changes of a word before it is looked up; kept in the model, so that tagging does the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Normalization {
    /// Letters become lower case (Unicode).
    pub lowercase: bool,
    /// Each ASCII digit becomes the word `DIGIT`, as in the tutorial's corpus: `747` reads `DIGITDIGITDIGIT`.
    pub digits: bool,
}

impl Normalization {
    /// The word as the network reads it.
    ///
    /// ```
    /// let n = elman_tagger::Normalization { lowercase: true, digits: true };
    /// assert_eq!(n.apply("Boeing-747"), "boeing-DIGITDIGITDIGIT");
    /// ```
    pub fn apply<'a>(&self, word: &'a str) -> Cow<'a, str> {
        let mut word = Cow::Borrowed(word);
        if self.lowercase && word.chars().any(char::is_uppercase) {
            word = Cow::Owned(word.to_lowercase());
        }
        // After lower-casing, or DIGIT would become digit.
        if self.digits && word.contains(|c: char| c.is_ascii_digit()) {
            let mut replaced = String::with_capacity(word.len() * 5);
            for c in word.chars() {
                if c.is_ascii_digit() { replaced.push_str("DIGIT") } else { replaced.push(c) }
            }
            word = Cow::Owned(replaced);
        }
        word
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_part_can_be_off() {
        let words = |lowercase, digits| {
            ["Boeing", "7", "d9s", "ÄRGER"].map(|w| Normalization { lowercase, digits }.apply(w).into_owned())
        };
        assert_eq!(words(false, false), ["Boeing", "7", "d9s", "ÄRGER"]);
        assert_eq!(words(true, false), ["boeing", "7", "d9s", "ärger"]);
        assert_eq!(words(false, true), ["Boeing", "DIGIT", "dDIGITs", "ÄRGER"]);
        assert_eq!(words(true, true), ["boeing", "DIGIT", "dDIGITs", "ärger"]);
    }
}
