use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet};
use std::fmt::{self, Write};
use std::io::Read;
use std::path::Path;

use regex::Regex;

use crate::Error;
use crate::lines::Lines;
use crate::{Scheme, Tagging};

/// Chunks counted as conlleval counts them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Chunks in the corpus.
    pub phrases: usize,
    /// Chunks in the prediction.
    pub found: usize,
    /// Chunks in the prediction that are in the corpus: same words, same type.
    pub correct: usize,
}

impl Counts {
    /// `100 · correct / found`, in percent; 0 if nothing was found.
    pub fn precision(&self) -> f64 {
        percent(self.correct, self.found)
    }

    /// `100 · correct / phrases`, in percent; 0 if there are no phrases.
    pub fn recall(&self) -> f64 {
        percent(self.correct, self.phrases)
    }

    /// The harmonic mean of precision and recall, in percent; 0 if both are 0.
    pub fn f1(&self) -> f64 {
        let (precision, recall) = (self.precision(), self.recall());
        // The order of the operations is conlleval's, so that the last printed digit is too.
        if precision + recall > 0.0 { 2.0 * precision * recall / (precision + recall) } else { 0.0 }
    }
}

fn percent(part: usize, whole: usize) -> f64 {
    if whole == 0 { 0.0 } else { (100 * part) as f64 / whole as f64 }
}

/// Precision, recall and F1 of chunks, as the script conlleval (Tjong Kim Sang, 1998-2018) counts them.
///
/// A tag is a prefix and a type, parted by the first hyphen: `B-fromloc.city_name`. A chunk starts, ends or
/// goes on between two words by the script's two tables, which know the prefixes B, I, E, `[`, `]`, O and
/// `.`; a change of type starts and ends chunks too, so an `I-x` after `O` or after `B-y` starts one. Other
/// prefixes (S, L, U) have no rule there and have none here. Every sentence ends outside any chunk.
///
/// [`Display`](fmt::Display) prints the script's report, byte for byte; [`Evaluation::report`] has its other
/// forms, and [`ConllevalReader`] reads the script's input.
///
/// ```
/// use elman_tagger::Evaluation;
///
/// let mut evaluation = Evaluation::default();
/// evaluation.add(&["O", "B-city", "I-city", "B-day"], &["O", "B-city", "I-city", "O"])?;
/// assert_eq!(evaluation.to_string(), "\
/// processed 4 tokens with 2 phrases; found: 1 phrases; correct: 1.
/// accuracy:  75.00%; precision: 100.00%; recall:  50.00%; FB1:  66.67
///              city: precision: 100.00%; recall: 100.00%; FB1: 100.00  1
///               day: precision:   0.00%; recall:   0.00%; FB1:   0.00  0
/// ");
/// # Ok::<(), elman_tagger::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Evaluation {
    tokens: usize,
    correct_tags: usize,
    total: Counts,
    types: BTreeMap<String, Counts>,
    /// The chunk being read is the same in the corpus and in the prediction so far. Between sentences only odd
    /// tags (`.`, or tags without a type whose prefix has no rule) keep this true; the end of the file then
    /// closes the chunk, under the type without a name.
    matching: bool,
}

impl Evaluation {
    /// Counts one sentence: the corpus's tags and the predicted ones.
    ///
    /// # Errors
    /// [`elman::Error::Shape`] if there are not as many of the one as of the other.
    pub fn add(&mut self, corpus: &[impl AsRef<str>], predicted: &[impl AsRef<str>]) -> Result<(), Error> {
        let (last_true, last_guess) = self.add_open(corpus, predicted)?;
        // The script reads the blank line after a sentence as a word outside any chunk.
        self.step(last_true, Tag::OUTSIDE, last_guess, Tag::OUTSIDE);
        Ok(())
    }

    /// Counts one sentence whose tags follow a scheme of [`Tagging`]: phrases are those of the scheme, where
    /// conlleval's rules know IOB and IOE alone. Tags of IOB, IOE and IO are counted as [`Evaluation::add`]
    /// counts them; of plain tags, each word but those with `O` is a phrase.
    ///
    /// A word's tag is right if it is the same; if the two columns follow different schemes, if it is the same
    /// in IOB2.
    ///
    /// # Errors
    /// [`elman::Error::Shape`] if there are not as many of the one as of the other.
    pub fn add_as(
        &mut self,
        (corpus, corpus_as): (&[impl AsRef<str>], &Tagging),
        (predicted, predicted_as): (&[impl AsRef<str>], &Tagging),
    ) -> Result<(), Error> {
        if corpus_as.is_conllevals() && predicted_as.is_conllevals() && corpus_as.spells_like(predicted_as) {
            return self.add(corpus, predicted);
        }
        let before = self.correct_tags;
        self.add(&corpus_as.to_iob2(corpus), &predicted_as.to_iob2(predicted))?;
        if corpus_as.spells_like(predicted_as) {
            let same = corpus.iter().zip(predicted).filter(|(a, b)| a.as_ref() == b.as_ref());
            self.correct_tags = before + same.count();
        }
        Ok(())
    }

    /// Counts a sentence without its end; returns its last tags.
    fn add_open<'a>(
        &mut self,
        corpus: &'a [impl AsRef<str>],
        predicted: &'a [impl AsRef<str>],
    ) -> Result<(Tag<'a>, Tag<'a>), Error> {
        if corpus.len() != predicted.len() {
            return Err(Error::shape(
                "predicted tags",
                format!("{}, one for each tag of the corpus", corpus.len()),
                predicted.len(),
            ));
        }
        let (mut last_true, mut last_guess) = (Tag::OUTSIDE, Tag::OUTSIDE);
        for (corpus, predicted) in corpus.iter().zip(predicted) {
            let (truth, guess) = (Tag::new(corpus.as_ref()), Tag::new(predicted.as_ref()));
            self.step(last_true, truth, last_guess, guess);
            self.tokens += 1;
            self.correct_tags += usize::from(truth == guess);
            (last_true, last_guess) = (truth, guess);
        }
        Ok((last_true, last_guess))
    }

    /// Counts the last sentence of a file that no blank line ends: nothing but the end of the file ends it.
    fn add_last(&mut self, corpus: &[String], predicted: &[String]) -> Result<(), Error> {
        let (last_true, _) = self.add_open(corpus, predicted)?;
        if std::mem::take(&mut self.matching) {
            self.total.correct += 1;
            self.of_type(last_true.kind).correct += 1;
        }
        Ok(())
    }

    fn step(&mut self, last_true: Tag<'_>, truth: Tag<'_>, last_guess: Tag<'_>, guess: Tag<'_>) {
        if self.matching {
            let (true_ends, guess_ends) = (chunk_ends(last_true, truth), chunk_ends(last_guess, guess));
            if true_ends && guess_ends && last_true.kind == last_guess.kind {
                self.matching = false;
                self.total.correct += 1;
                self.of_type(last_true.kind).correct += 1;
            } else if true_ends != guess_ends || truth.kind != guess.kind {
                self.matching = false;
            }
        }
        let (true_starts, guess_starts) = (chunk_starts(last_true, truth), chunk_starts(last_guess, guess));
        if true_starts && guess_starts && truth.kind == guess.kind {
            self.matching = true;
        }
        if true_starts {
            self.total.phrases += 1;
            self.of_type(truth.kind).phrases += 1;
        }
        if guess_starts {
            self.total.found += 1;
            self.of_type(guess.kind).found += 1;
        }
    }

    fn of_type(&mut self, kind: &str) -> &mut Counts {
        if !self.types.contains_key(kind) {
            self.types.insert(kind.to_owned(), Counts::default());
        }
        self.types.get_mut(kind).expect("inserted above")
    }

    /// Number of words.
    pub fn tokens(&self) -> usize {
        self.tokens
    }

    /// Words whose tag is right, in percent; 0 if there are no words.
    pub fn accuracy(&self) -> f64 {
        percent(self.correct_tags, self.tokens)
    }

    /// The chunks of all types.
    pub fn total(&self) -> Counts {
        Counts { correct: self.total.correct + usize::from(self.matching), ..self.total }
    }

    /// The chunks of each type, by the type's name, in the order of its bytes.
    pub fn types(&self) -> impl Iterator<Item = (&str, Counts)> {
        self.types.iter().filter(|(_, counts)| counts.phrases > 0 || counts.found > 0).map(
            |(name, counts)| {
                let open = usize::from(self.matching && name.is_empty());
                (name.as_str(), Counts { correct: counts.correct + open, ..*counts })
            },
        )
    }
}

impl fmt::Display for Evaluation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.report(ReportForm::Classic))
    }
}

/// The forms of the script's report.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReportForm {
    /// As the script prints it.
    #[default]
    Classic,
    /// As the copy of the script beside the Theano tutorial prints it (2018): before each precision the numbers
    /// of correct phrases, of phrases in the corpus and of phrases found.
    Counts,
    /// The rows of a LaTeX table, the script's option `-l`.
    Latex,
}

impl Evaluation {
    /// The script's report in one of its forms, byte for byte.
    pub fn report(&self, form: ReportForm) -> String {
        let mut text = String::new();
        // Writing to a string does not fail.
        let _ = match form {
            ReportForm::Latex => self.write_latex(&mut text),
            ReportForm::Classic => self.write_text(&mut text, false),
            ReportForm::Counts => self.write_text(&mut text, true),
        };
        text
    }

    fn write_text(&self, out: &mut String, with_counts: bool) -> fmt::Result {
        let total = self.total();
        writeln!(
            out,
            "processed {} tokens with {} phrases; found: {} phrases; correct: {}.",
            self.tokens, total.phrases, total.found, total.correct
        )?;
        if self.tokens > 0 {
            write!(out, "accuracy: {:6.2}%; ", self.accuracy())?;
            if with_counts {
                write!(out, "{} {} {} ", total.correct, total.phrases, total.found)?;
            }
            writeln!(out, "{}", scores(&total))?;
        }
        for (name, counts) in self.printed_types() {
            // The script pads by bytes.
            write!(out, "{}{name}: ", " ".repeat(17usize.saturating_sub(name.len())))?;
            if with_counts {
                // `% 4d`: a blank for the sign, then padded to four.
                for count in [counts.correct, counts.phrases, counts.found] {
                    write!(out, "{:>4} ", format!(" {count}"))?;
                }
            }
            writeln!(out, "{}  {}", scores(&counts), counts.found)?;
        }
        Ok(())
    }

    fn write_latex(&self, out: &mut String) -> fmt::Result {
        let row = |counts: &Counts| {
            format!(
                "&  {:6.2}\\% & {:6.2}\\% & {:6.2} \\\\",
                counts.precision(),
                counts.recall(),
                counts.f1()
            )
        };
        write!(out, "        & Precision &  Recall  & F$_{{\\beta=1}} \\\\\\hline")?;
        for (name, counts) in self.printed_types() {
            write!(out, "\n{name}{} {}", " ".repeat(7usize.saturating_sub(name.len())), row(&counts))?;
        }
        writeln!(out, "\\hline\nOverall {}\\hline", row(&self.total()))
    }

    /// The types as the script lists them: the one without a name twice if it is in both columns.
    fn printed_types(&self) -> impl Iterator<Item = (&str, Counts)> {
        self.types().flat_map(|(name, counts)| {
            let twice = name.is_empty() && counts.phrases > 0 && counts.found > 0;
            std::iter::repeat_n((name, counts), if twice { 2 } else { 1 })
        })
    }
}

fn scores(counts: &Counts) -> String {
    format!(
        "precision: {:6.2}%; recall: {:6.2}%; FB1: {:6.2}",
        counts.precision(),
        counts.recall(),
        counts.f1()
    )
}

/// Tags without prefix, each a chunk of one word: the script's option `-r`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawTags {
    /// The tag that stands for "outside", besides `O`; the script's option `-o`.
    pub outside: String,
}

impl RawTags {
    /// The tag that the script makes of a raw one: `O`, or the tag with `B-` before it.
    pub fn apply<'a>(&self, tag: &'a str) -> Cow<'a, str> {
        if tag == "O" || tag == self.outside { Cow::Borrowed("O") } else { Cow::Owned(format!("B-{tag}")) }
    }
}

/// Reads what the script reads: lines whose last two columns are the corpus's tag and the predicted tag.
///
/// As in the script, columns are parted by every match of a regular expression (by default one blank, so that
/// two blanks have an empty column between them), empty columns at the end of a line do not count, and a
/// line without columns, or whose first column is `-X-`, ends a sentence. Other than the script, lines may end
/// with CRLF, and the text must be UTF-8.
///
/// ```
/// use elman_tagger::ConllevalReader;
///
/// let file = "to TO O O\ndallas NNP B-city B-city\n\nnow RB B-day O\n";
/// let evaluation = ConllevalReader::new().read(file.as_bytes(), "example")?;
/// assert_eq!(evaluation.total().recall(), 50.0);
/// # Ok::<(), elman_tagger::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct ConllevalReader {
    delimiter: Regex,
    raw: Option<RawTags>,
}

impl Default for ConllevalReader {
    fn default() -> Self {
        ConllevalReader::new()
    }
}

impl ConllevalReader {
    /// Columns parted by single blanks, tags with prefixes.
    pub fn new() -> Self {
        ConllevalReader { delimiter: Regex::new(" ").expect("a blank is a regular expression"), raw: None }
    }

    /// With columns parted by the matches of a regular expression (of the crate regex, which knows those of
    /// Perl but for look-around and backreferences); the script's option `-d`.
    ///
    /// # Errors
    /// [`elman::Error::Unsupported`] for what is no regular expression, has groups that capture (their texts would
    /// be columns in Perl) or matches the empty text.
    pub fn delimiter(self, pattern: &str) -> Result<Self, Error> {
        let refuse = |found: String| {
            let expected = "a regular expression that matches at least one character, without groups";
            Error::unsupported("delimiter", expected, found)
        };
        let delimiter = Regex::new(pattern).map_err(|error| refuse(error.to_string()))?;
        if delimiter.captures_len() > 1 || delimiter.is_match("") {
            return Err(refuse(format!("{pattern:?}")));
        }
        Ok(ConllevalReader { delimiter, ..self })
    }

    /// With tags that have no prefix.
    pub fn raw(self, raw: RawTags) -> Self {
        ConllevalReader { raw: Some(raw), ..self }
    }

    /// Counts a whole file; `path` is for messages.
    ///
    /// # Errors
    /// [`Error::Input`] for a line with fewer than two columns or another number than the first one;
    /// [`Error::Io`] if reading fails.
    pub fn read(&self, reader: impl Read, path: impl AsRef<Path>) -> Result<Evaluation, Error> {
        self.read_all([(reader, path)])
    }

    /// The same for several files, each with its path: all count as one corpus.
    ///
    /// # Errors
    /// Those of [`ConllevalReader::read`].
    pub fn read_all<R: Read, P: AsRef<Path>>(
        &self,
        files: impl IntoIterator<Item = (R, P)>,
    ) -> Result<Evaluation, Error> {
        let mut evaluation = Evaluation::default();
        for (reader, path) in files {
            self.each(reader, path.as_ref(), &mut |corpus, predicted, ends| {
                if ends {
                    return evaluation.add(&corpus, &predicted);
                }
                evaluation.add_last(&corpus, &predicted)
            })?;
        }
        Ok(evaluation)
    }

    /// Counts whole files whose tags may follow any scheme: the given one, or the one that the corpus's tags
    /// are recognised to follow. Of IOB, IOE and IO it is what [`ConllevalReader::read`] counts; see
    /// [`Evaluation::add_as`].
    ///
    /// # Errors
    /// Those of [`ConllevalReader::read`]; [`Error::Input`] for a file of two columns that are words and tags.
    pub fn read_as<R: Read, P: AsRef<Path>>(
        &self,
        files: impl IntoIterator<Item = (R, P)>,
        scheme: Option<Scheme>,
    ) -> Result<(Evaluation, Tagging), Error> {
        let mut sentences = Vec::new();
        for (reader, path) in files {
            let (path, before) = (path.as_ref(), sentences.len());
            let columns = self.each(reader, path, &mut |corpus, predicted, ends| {
                sentences.push((corpus, predicted, ends));
                Ok(())
            })?;
            if columns == 2 && are_words_and_tags(&sentences[before..]) {
                return Err(Error::Input {
                    path: path.to_owned(),
                    line: None,
                    problem: "two columns, words and tags".to_owned(),
                    expected:
                        "the right tag and the predicted one in the last two columns (--model DIR compares \
                               a model's tags with those of the file; elman conlleval counts any two columns)"
                            .to_owned(),
                });
            }
        }
        let tagging = Tagging::recognise(sentences.iter().map(|(corpus, _, _)| corpus.as_slice()));
        let tagging = scheme.map_or(tagging, |scheme| tagging.with_scheme(scheme));
        let mut evaluation = Evaluation::default();
        for (corpus, predicted, ends) in &sentences {
            match ends {
                false if tagging.is_conllevals() => evaluation.add_last(corpus, predicted)?,
                _ => evaluation.add_as((corpus, &tagging), (predicted, &tagging))?,
            }
        }
        Ok((evaluation, tagging))
    }

    /// Calls `found` with the tags of each sentence, and whether a line ends it; the end of the file is no line.
    /// Returns the number of columns.
    fn each(
        &self,
        reader: impl Read,
        path: &Path,
        found: &mut dyn FnMut(Vec<String>, Vec<String>, bool) -> Result<(), Error>,
    ) -> Result<usize, Error> {
        let mut lines = Lines::new(reader, path);
        let (mut corpus, mut predicted): (Vec<String>, Vec<String>) = Default::default();
        let mut first: Option<(usize, u64)> = None;
        loop {
            let Some(line) = lines.next_line()? else {
                found(corpus, predicted, false)?;
                return Ok(first.map_or(0, |(columns, _)| columns));
            };
            let tabs = line.contains('\t');
            let mut columns: Vec<&str> =
                if line.is_empty() { Vec::new() } else { self.delimiter.split(line).collect() };
            while columns.last().is_some_and(|column| column.is_empty()) {
                columns.pop();
            }
            let count = columns.len();
            let tags = match columns[..] {
                ["-X-", ..] | [] => None,
                [.., truth, guess] => Some((self.tag(truth), self.tag(guess))),
                _ => Some((String::new(), String::new())), // refused below
            };
            if count > 0 {
                let (expected, at) = *first.get_or_insert((count, lines.number()));
                let found = format!("{count} column{}", if count == 1 { "" } else { "s" });
                if count != expected {
                    return Err(lines.error(found, format!("{expected}, as in line {at}")));
                }
                if count < 2 {
                    let mut expected = "at least 2, the corpus's tag and the predicted one last".to_owned();
                    if tabs {
                        expected += "; the columns of this file are parted by tabs, which -d '\\t' says";
                    }
                    return Err(lines.error(found, expected));
                }
            }
            if let Some((truth, guess)) = tags {
                corpus.push(truth);
                predicted.push(guess);
            } else {
                found(std::mem::take(&mut corpus), std::mem::take(&mut predicted), true)?;
            }
        }
    }

    fn tag(&self, tag: &str) -> String {
        self.raw.as_ref().map_or_else(|| tag.to_owned(), |raw| raw.apply(tag).into_owned())
    }
}

/// A tag in its two parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Tag<'a> {
    prefix: &'a str,
    kind: &'a str,
}

impl<'a> Tag<'a> {
    const OUTSIDE: Tag<'static> = Tag { prefix: "O", kind: "" };

    fn new(tag: &'a str) -> Self {
        let (prefix, kind) = tag.split_once('-').unwrap_or((tag, ""));
        // To the script's language, "0" is false and becomes "".
        Tag { prefix, kind: if kind == "0" { "" } else { kind } }
    }
}

/// Whether a chunk ends between two words.
fn chunk_ends(last: Tag<'_>, tag: Tag<'_>) -> bool {
    matches!(
        (last.prefix, tag.prefix),
        ("B", "B" | "O") | ("I", "B" | "O") | ("E", "E" | "I" | "O") | ("[" | "]", _)
    ) || (!matches!(last.prefix, "O" | ".") && last.kind != tag.kind)
}

/// Whether a chunk starts between two words.
fn chunk_starts(last: Tag<'_>, tag: Tag<'_>) -> bool {
    matches!(
        (last.prefix, tag.prefix),
        ("B" | "I" | "O", "B") | ("O" | "E", "I") | ("E" | "O", "E") | (_, "[" | "]")
    ) || (!matches!(tag.prefix, "O" | ".") && last.kind != tag.kind)
}

/// Whether the two columns of a file are words and tags, not two tags: the first ones form no phrases, are more, and
/// hardly occur among the second ones.
fn are_words_and_tags(sentences: &[(Vec<String>, Vec<String>, bool)]) -> bool {
    let first = || sentences.iter().flat_map(|(first, _, _)| first);
    let different: HashSet<&String> = first().collect();
    let tags: HashSet<&String> = sentences.iter().flat_map(|(_, second, _)| second).collect();
    let (all, known) = (first().count(), first().filter(|text| tags.contains(text)).count());
    different.len() >= 3
        && different.len() > tags.len()
        && 10 * known < all
        && Tagging::recognise(sentences.iter().map(|(first, _, _)| first.as_slice())).scheme()
            == Scheme::Plain
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `(tokens, correct tags, phrases, found, correct)` of sentences written as two lines of tags.
    fn count(sentences: &[(&str, &str)]) -> (usize, usize, usize, usize, usize) {
        let mut e = Evaluation::default();
        for (corpus, predicted) in sentences {
            let tags = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
            e.add(&tags(corpus), &tags(predicted)).unwrap();
        }
        let total = e.total();
        (e.tokens, e.correct_tags, total.phrases, total.found, total.correct)
    }

    #[test]
    fn chunks_are_counted_as_by_hand() {
        for (sentences, expected) in [
            // Right.
            (&[("B-x I-x O", "B-x I-x O")][..], (3, 3, 1, 1, 1)),
            // I- after O starts a chunk, in either column.
            (&[("O I-x O", "O B-x O")], (3, 2, 1, 1, 1)),
            (&[("O B-x O", "O I-x O")], (3, 2, 1, 1, 1)),
            // A new type starts a chunk, whatever the prefix.
            (&[("B-x I-y", "B-x B-y")], (2, 1, 2, 2, 2)),
            (&[("B-x I-y", "B-x I-x")], (2, 1, 2, 1, 0)),
            // B- after B- of the same type.
            (&[("B-x B-x", "B-x B-x")], (2, 2, 2, 2, 2)),
            (&[("B-x B-x", "B-x I-x")], (2, 1, 2, 1, 0)),
            // A chunk at the end of a sentence ends there.
            (&[("O B-x", "O B-x"), ("I-x O", "I-x O")], (4, 4, 2, 2, 2)),
            (&[("O B-x", "O B-x"), ("O I-x", "O O")], (4, 3, 2, 1, 1)),
            // Too long, too short, wrong type, shifted.
            (&[("B-x I-x O", "B-x I-x I-x")], (3, 2, 1, 1, 0)),
            (&[("B-x I-x I-x", "B-x I-x O")], (3, 2, 1, 1, 0)),
            (&[("B-x I-x", "B-y I-y")], (2, 0, 1, 1, 0)),
            (&[("O B-x I-x", "B-x I-x I-x")], (3, 1, 1, 1, 0)),
            // Two neighbours, one of them right.
            (&[("B-x I-x B-x I-x", "B-x I-x B-x O")], (4, 3, 2, 2, 1)),
            // E ends, and E after E or I after E starts.
            (&[("I-x E-x E-x", "I-x E-x E-x")], (3, 3, 2, 2, 2)),
            (&[("B-x E-x I-x", "B-x E-x I-x")], (3, 3, 2, 2, 2)),
            // [ and ] are one word long.
            (&[("[-x ]-x I-x", "[-x ]-x O")], (3, 2, 2, 2, 2)),
            // S has no rule: neighbours of one type run together.
            (&[("S-x S-x O S-y", "S-x S-x O S-y")], (4, 4, 2, 2, 2)),
            // Types with hyphens; a tag without a type.
            (&[("B-a-b I-a-b", "B-a-b I-a-c")], (2, 1, 1, 2, 0)),
            (&[("B I O B", "B I O O")], (4, 3, 2, 1, 1)),
            (&[("O I I O I", "O I I O O")], (5, 4, 2, 1, 1)),
            (&[("O E O", "O E O")], (3, 3, 1, 1, 1)),
            (&[("I E I O", "I E I I")], (4, 3, 2, 2, 1)),
            (&[("O O", "O O")], (2, 2, 0, 0, 0)),
        ] {
            assert_eq!(count(sentences), expected, "{sentences:?}");
        }
    }

    #[test]
    fn every_scheme_counts_as_its_iob2() {
        use crate::Scheme;
        let truth = ["B-x", "I-x", "B-x", "O", "B-y", "B-x", "I-x", "I-x"];
        let guess = ["B-x", "I-x", "B-x", "O", "B-x", "B-x", "I-x", "O"];
        let iob2 = Tagging::new(Scheme::Iob2);
        let mut expected = Evaluation::default();
        expected.add(&truth, &guess).unwrap();
        assert_eq!(expected.total(), Counts { phrases: 4, found: 4, correct: 2 });
        for scheme in Scheme::ALL.into_iter().filter(|scheme| !matches!(scheme, Scheme::Io | Scheme::Plain)) {
            let (written, tagging) = (|tags| iob2.convert(tags, scheme), Tagging::new(scheme));
            let mut found = Evaluation::default();
            found.add_as((&written(&truth), &tagging), (&written(&guess), &tagging)).unwrap();
            assert_eq!(
                found.report(ReportForm::Counts).lines().skip(2).collect::<Vec<_>>(),
                expected.report(ReportForm::Counts).lines().skip(2).collect::<Vec<_>>(),
                "{scheme}"
            );
            assert_eq!(found.total(), expected.total(), "{scheme}");
            // Of two schemes, the tags are compared in IOB2.
            let mut mixed = Evaluation::default();
            mixed.add_as((&truth, &iob2), (&written(&guess), &tagging)).unwrap();
            assert_eq!(mixed.total(), expected.total());
            if !tagging.spells_like(&iob2) {
                assert_eq!(mixed.correct_tags, 6);
            }
        }
        // Without a scheme, conlleval counts neighbours that are S as one.
        let mut script = Evaluation::default();
        script.add(&["S-x", "S-x"], &["S-x", "S-x"]).unwrap();
        assert_eq!(script.total().phrases, 1);
        let mut plain = Evaluation::default();
        let tagging = Tagging::new(Scheme::Plain);
        plain.add_as((&["DT", "NN", "NN"], &tagging), (&["DT", "NN", "VB"], &tagging)).unwrap();
        assert_eq!(plain.total(), Counts { phrases: 3, found: 3, correct: 2 });
        assert_eq!(plain.correct_tags, 2);
    }

    #[test]
    fn the_report_is_the_scripts() {
        let mut e = Evaluation::default();
        assert_eq!(e.to_string(), "processed 0 tokens with 0 phrases; found: 0 phrases; correct: 0.\n");
        e.add(&["B-toloc.city_name", "O", "B-a"], &["B-toloc.city_name", "B-a", "B-a"]).unwrap();
        e.add(&["B-straße", "B-very_long_type_name.of_more_than_17"], &["O", "O"]).unwrap();
        assert_eq!(
            e.to_string(),
            "\
processed 5 tokens with 4 phrases; found: 3 phrases; correct: 2.
accuracy:  40.00%; precision:  66.67%; recall:  50.00%; FB1:  57.14
                a: precision:  50.00%; recall: 100.00%; FB1:  66.67  2
          straße: precision:   0.00%; recall:   0.00%; FB1:   0.00  0
  toloc.city_name: precision: 100.00%; recall: 100.00%; FB1: 100.00  1
very_long_type_name.of_more_than_17: precision:   0.00%; recall:   0.00%; FB1:   0.00  0
"
        );
        assert!(e.add(&["O"], &["O", "O"]).is_err());
    }

    #[test]
    fn a_type_in_either_column_is_listed() {
        let mut e = Evaluation::default();
        e.add(&["B-both", "O", "B-true"], &["B-both", "B-guess", "O"]).unwrap();
        let types: Vec<_> = e.types().map(|(name, c)| (name, c.phrases, c.found, c.correct)).collect();
        assert_eq!(types, [("both", 1, 1, 1), ("guess", 0, 1, 0), ("true", 1, 0, 0)]);
    }

    #[test]
    fn every_form_of_the_report_is_the_scripts() {
        let mut e = Evaluation::default();
        let (truth, guess) = (["B-x", "I-x", "O", "B-long_name", "B-x"], ["B-x", "I-x", "B-x", "O", "B-x"]);
        e.add(&truth, &guess).unwrap();
        // 3 phrases, 3 found, 2 right; 3 of 5 tags; x: 2 of 2, 3 found; long_name: 0 of 1.
        assert_eq!(
            e.report(ReportForm::Counts),
            "\
processed 5 tokens with 3 phrases; found: 3 phrases; correct: 2.
accuracy:  60.00%; 2 3 3 precision:  66.67%; recall:  66.67%; FB1:  66.67
        long_name:    0    1    0 precision:   0.00%; recall:   0.00%; FB1:   0.00  0
                x:    2    2    3 precision:  66.67%; recall: 100.00%; FB1:  80.00  3
"
        );
        assert_eq!(
            e.report(ReportForm::Latex),
            "        & Precision &  Recall  & F$_{\\beta=1} \\\\\\hline\n\
             long_name &    0.00\\% &   0.00\\% &   0.00 \\\\\n\
             x       &   66.67\\% & 100.00\\% &  80.00 \\\\\\hline\n\
             Overall &   66.67\\% &  66.67\\% &  66.67 \\\\\\hline\n"
        );
        let mut many = Evaluation::default();
        many.add(&vec!["B-x"; 1234], &vec!["B-x"; 1234]).unwrap();
        assert!(many.report(ReportForm::Counts).contains("x:  1234  1234  1234 precision"));
        let none = Evaluation::default().report(ReportForm::Latex);
        assert!(
            none.ends_with("\\hline\\hline\nOverall &    0.00\\% &   0.00\\% &   0.00 \\\\\\hline\n"),
            "{none}"
        );
    }

    fn read(reader: &ConllevalReader, text: &str) -> Result<(usize, Counts), String> {
        reader.read(text.as_bytes(), "f").map(|e| (e.tokens(), e.total())).map_err(|e| e.to_string())
    }

    #[test]
    fn the_scripts_input_is_read_as_the_script_reads_it() {
        let plain = ConllevalReader::new();
        let counts = |phrases, found, correct| Counts { phrases, found, correct };
        // The boundary parts what would be one chunk; blank lines at either end count nothing.
        for text in [
            "\na B-x B-x\n\nb I-x I-x\n",
            "a B-x B-x\n-X- O O\nb I-x I-x\n\n\n",
            "a B-x B-x\r\n\r\nb I-x I-x",
            "a B-x B-x  \n   \nb I-x I-x ",
        ] {
            assert_eq!(read(&plain, text).unwrap(), (2, counts(2, 2, 2)), "{text:?}");
        }
        // Two columns will do, and an empty one is a column.
        assert_eq!(read(&plain, "B-x B-x\nO B-x\n").unwrap(), (2, counts(1, 2, 1)));
        assert_eq!(read(&plain, "a  B-x\n").unwrap(), (1, counts(0, 1, 0)));
        // Without a last blank line nothing ends a chunk of odd tags: both are counted where they stand.
        assert_eq!(read(&plain, "a B X\n").unwrap(), (1, counts(1, 0, 0)));
        assert_eq!(read(&plain, "a B-y B-y\nb B X\n").unwrap(), (2, counts(2, 2, 2)));
        assert_eq!(read(&plain, "a B-y B-y\nb B X\n\n").unwrap(), (2, counts(2, 2, 1)));
        // The chunk that the end of the file ends is one of its own type.
        let end = plain.read("a B-x B-x\n\nb B-y B-y\nc I-y I-y".as_bytes(), "f").unwrap();
        assert_eq!(end.types().collect::<Vec<_>>(), [("x", counts(1, 1, 1)), ("y", counts(1, 1, 1))]);

        let tabs = ConllevalReader::new().delimiter(r"\t").unwrap();
        assert_eq!(read(&tabs, "a b\tB-x\tB-x\n").unwrap(), (1, counts(1, 1, 1)));
        let runs = ConllevalReader::new().delimiter(r"\s+").unwrap();
        assert_eq!(read(&runs, "a \t B-x  B-x\n").unwrap(), (1, counts(1, 1, 1)));

        // Raw: every word but those outside is a chunk; -o names another "outside" beside O.
        let raw = ConllevalReader::new().raw(RawTags { outside: "NONE".into() });
        assert_eq!(read(&raw, "a N N\nb N V\nc NONE O\nd O NONE\n").unwrap(), (4, counts(2, 2, 1)));
    }

    #[test]
    fn a_file_of_any_scheme_is_scored_by_it() {
        let plain = ConllevalReader::new();
        let read = |text: &str, scheme| {
            let (evaluation, tagging) = plain.read_as([(text.as_bytes(), "f")], scheme).unwrap();
            (evaluation.total(), tagging.scheme())
        };
        let counts = |phrases, found, correct| Counts { phrases, found, correct };
        assert_eq!(read("a S-x S-x\nb S-x S-x\n", None), (counts(2, 2, 2), Scheme::Iobes));
        assert_eq!(read("a S-x S-x\nb S-x S-x\n", Some(Scheme::Iob2)), (counts(1, 1, 1), Scheme::Iob2));
        assert_eq!(read("a DT DT\nb NN VB\n", None), (counts(2, 2, 1), Scheme::Plain));
        assert_eq!(read("a B_x B_x\nb I_x O\n", None), (counts(1, 1, 0), Scheme::Iob2));
        // Several files are one corpus, whose scheme is recognised in all of them.
        let files = [("a I-x I-x\n\n", "f"), ("b B-x B-x\nc I-x O\n", "g")];
        let all = files.map(|(text, name)| (text.as_bytes(), name));
        let (together, tagging) = plain.read_as(all, None).unwrap();
        assert_eq!((together.total(), tagging.scheme()), (counts(2, 2, 1), Scheme::Iob2));
        assert_eq!(plain.read_all(all).unwrap().total(), together.total());
        // Words and tags are no two tags; -r and the script count them all the same.
        let words = "fly O\nto O\noslo B-x\n\nto O\nrome B-x\nnow O\n";
        let message = plain.read_as([(words.as_bytes(), "f")], None).unwrap_err().to_string();
        assert!(message.starts_with("f: two columns, words and tags, expected the right tag"), "{message}");
        assert_eq!(plain.read(words.as_bytes(), "f").unwrap().tokens(), 6);
        for tags in ["DT NN\nNN NN\nVB NN\nIN NN\n", "B-x O\nI-x O\nB-y O\nI-y O\n", "a O\nb O\n"] {
            assert!(plain.read_as([(tags.as_bytes(), "f")], None).is_ok(), "{tags}");
        }
        // Where conlleval's rules hold, its oddities do too.
        let odd = "a B-y B-y\nb B X\n";
        assert_eq!(read(odd, None).0, plain.read(odd.as_bytes(), "f").unwrap().total());
    }

    #[test]
    fn what_is_no_input_of_the_script_is_refused() {
        let plain = ConllevalReader::new();
        assert_eq!(read(&plain, "a O O\nb O\n").unwrap_err(), "f:2: 2 columns, expected 3, as in line 1");
        assert_eq!(read(&plain, "a O O\n-X- O\n").unwrap_err(), "f:2: 2 columns, expected 3, as in line 1");
        let one = "f:2: 1 column, expected at least 2, the corpus's tag and the predicted one last";
        assert_eq!(read(&plain, "\nO\n").unwrap_err(), one);
        for pattern in ["", "a*", "(", "(a)"] {
            let message = ConllevalReader::new().delimiter(pattern).unwrap_err().to_string();
            assert!(message.starts_with("delimiter: expected a regular expression"), "{message}");
        }
    }

    #[test]
    fn the_scripts_oddities_are_kept() {
        let mut e = Evaluation::default();
        e.add(&["B", "B-0"], &["B", "O"]).unwrap();
        let line = "                 : precision: 100.00%; recall:  50.00%; FB1:  66.67  1\n";
        assert_eq!(
            e.to_string(),
            format!(
                "processed 2 tokens with 2 phrases; found: 1 phrases; correct: 1.\n\
                 accuracy:  50.00%; precision: 100.00%; recall:  50.00%; FB1:  66.67\n{line}{line}"
            )
        );
        // `X` has no rule by which its chunk could end; the end of the file ends it.
        let mut e = Evaluation::default();
        e.add(&["B-y", "X"], &["B-y", "X"]).unwrap();
        assert_eq!(e.total(), Counts { phrases: 2, found: 2, correct: 2 });
        assert_eq!(e.types().next(), Some(("", Counts { phrases: 1, found: 1, correct: 1 })));
        // Halves are rounded to even digits: 1 of 32 is 3.125%.
        let mut e = Evaluation::default();
        e.add(&vec!["B-x"; 32], &[&["B-x"][..], &["O"; 31]].concat()).unwrap();
        assert!(e.to_string().contains("recall:   3.12%"), "{e}");
    }
}
