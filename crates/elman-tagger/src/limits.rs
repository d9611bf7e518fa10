//! The most that is read or built, checked before memory is taken for it.
//!
//! The sizes of a model also bound what tagging takes: for a sentence of `n` words, a few times
//! `4 · n · (embed · window + hidden + classes)` bytes.

use elman::{Error, Shape};

/// Longest line, in bytes without its line end. A sentence of [`MAX_WORDS`] words of [`MAX_TOKEN`] bytes fits into
/// one, as JSON with every byte written as `\u00xx` too.
pub const MAX_LINE: usize = 1 << 26;
/// Longest word of a model, in bytes: normalised, it can be longer than in a text.
pub const MAX_NAME: usize = 1 << 16;
/// Longest word or tag, in bytes.
pub const MAX_TOKEN: usize = 1 << 10;
/// Longest sentence, in words.
pub const MAX_WORDS: usize = 10_000;

/// A training sentence of so many words is probably several ones, between which blank lines are missing.
pub const LONG_SENTENCE: usize = 1000;
/// Largest corpus that is read as a whole, in bytes. In memory it takes up to 30 times as much (a word and a
/// tag of one letter each), most often ten times. Tagging reads sentence by sentence and has no such limit.
pub const MAX_CORPUS: u64 = 1 << 28;

/// Most words in a vocabulary.
pub const MAX_VOCAB: usize = 1 << 22;
/// Most tags.
pub const MAX_CLASSES: usize = 1 << 14;
/// Widest hidden state.
pub const MAX_HIDDEN: usize = 1 << 15;
/// Widest embedding.
pub const MAX_EMBED: usize = 1 << 15;
/// Widest window, in words.
pub const MAX_WINDOW: usize = 999;
/// Widest input of the recurrence, `embed · window`.
pub const MAX_INPUT: usize = 1 << 16;
/// Most epochs of a training.
pub const MAX_EPOCHS: usize = 100_000;
/// Most sentences in one update.
pub const MAX_BATCH: usize = 1_000_000;

/// Largest `config.toml` of a model, in bytes.
pub const MAX_CONFIG: u64 = 1 << 16;
/// Largest `checkpoint.toml`, in bytes: enough for [`MAX_EPOCHS`].
pub const MAX_CHECKPOINT: u64 = 1 << 26;
/// Largest list of words or tags of a model, in bytes.
pub const MAX_NAMES: u64 = 1 << 26;
/// Largest header of a safetensors file, in bytes.
pub const MAX_HEADER: u64 = 1 << 16;
/// Largest safetensors file, in bytes.
pub const MAX_WEIGHTS: u64 = 1 << 32;

/// Refuses a shape that is none, or that is beyond these limits.
///
/// # Errors
/// [`elman::Error::Shape`], which names the size.
pub fn check_shape(shape: &Shape) -> Result<(), Error> {
    shape.check()?;
    let Shape { vocab, embed, window, hidden, classes, .. } = *shape;
    // All products were checked above.
    let most = ((MAX_WEIGHTS - MAX_HEADER - 8) / 4) as usize;
    for (what, size, most) in [
        ("vocab", vocab, MAX_VOCAB),
        ("embed", embed, MAX_EMBED),
        ("window", window, MAX_WINDOW),
        ("hidden", hidden, MAX_HIDDEN),
        ("classes", classes, MAX_CLASSES),
        ("embed times window", shape.input(), MAX_INPUT),
        ("number of parameters", shape.parameters(), most),
    ] {
        if size > most {
            return Err(Error::shape(what, format!("at most {most}"), size));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use elman::Feedback;

    use super::*;

    #[test]
    fn the_longest_sentence_fits_into_a_line() {
        const { assert!(MAX_WORDS * (6 * MAX_TOKEN + "\"\",".len()) + 1024 < MAX_LINE) };
    }

    #[test]
    fn a_shape_beyond_the_limits_is_named() {
        let shape = Shape { vocab: 2, embed: 3, window: 5, hidden: 7, classes: 11, ..Shape::ELMAN };
        check_shape(&shape).unwrap();
        let small = Shape { vocab: 1, embed: 1, window: 1, hidden: 1, classes: 1, ..Shape::ELMAN };
        for largest in [
            Shape { vocab: MAX_VOCAB, ..small },
            Shape { embed: MAX_EMBED, ..small },
            Shape { window: MAX_WINDOW, ..small },
            // Elman's network would have hidden² weights in wh, and be beyond the parameters first.
            Shape { hidden: MAX_HIDDEN, feedback: Feedback::Output, ..small },
            Shape { classes: MAX_CLASSES, ..small },
            // 1,073,725,438 parameters: with the longest header, to the byte what a file may have.
            Shape { vocab: 16_385, hidden: 32_765, classes: 2, ..small },
        ] {
            check_shape(&largest).unwrap();
        }
        for (shape, what) in [
            (Shape { vocab: MAX_VOCAB + 1, ..shape }, "vocab"),
            (Shape { embed: MAX_EMBED + 1, window: 1, ..shape }, "embed"),
            (Shape { window: MAX_WINDOW + 2, ..shape }, "window"),
            (Shape { hidden: MAX_HIDDEN + 1, ..shape }, "hidden"),
            (Shape { classes: MAX_CLASSES + 1, ..shape }, "classes"),
            (Shape { embed: MAX_INPUT / 5 + 1, ..shape }, "embed times window"),
            (Shape { hidden: MAX_HIDDEN, ..shape }, "number of parameters"),
            (Shape { vocab: 16_386, hidden: 32_765, classes: 2, ..small }, "number of parameters"),
            (Shape { hidden: usize::MAX, ..shape }, "shape"),
            (Shape { window: usize::MAX, ..shape }, "shape"),
        ] {
            let message = check_shape(&shape).unwrap_err().to_string();
            assert!(message.starts_with(&format!("{what}: ")), "{message}");
        }
    }
}
