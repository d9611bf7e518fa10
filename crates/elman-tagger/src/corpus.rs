use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use crate::Error;
use crate::limits::{MAX_CORPUS, MAX_WORDS};
use crate::lines::{BYTE_ORDER_MARK, Lines, invisible, token_fault};

/// The first column of a line that parts documents; such a line is no word.
const DOCUMENT_START: &str = "-DOCSTART-";

/// A sentence with a tag for every word; at least one word.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TaggedSentence {
    words: Vec<String>,
    tags: Vec<String>,
}

impl TaggedSentence {
    /// Joins words and tags.
    ///
    /// # Errors
    /// [`elman::Error::Shape`] if there is no word, if there is not one tag for each word, or if a word or tag is one
    /// that no file can hold: empty, with a space, tab, line end or null byte in it, or longer than
    /// [`MAX_TOKEN`](crate::MAX_TOKEN).
    pub fn new(words: Vec<String>, tags: Vec<String>) -> Result<Self, Error> {
        if words.is_empty() {
            return Err(Error::shape("sentence", "at least 1 word", 0));
        }
        if words.len() != tags.len() {
            return Err(Error::shape("tags", format!("{}, one for each word", words.len()), tags.len()));
        }
        if let Some((problem, expected)) = words.iter().chain(&tags).find_map(|token| token_fault(token)) {
            return Err(Error::shape("sentence", expected, problem));
        }
        Ok(TaggedSentence { words, tags })
    }

    /// The words.
    pub fn words(&self) -> &[String] {
        &self.words
    }

    /// The tags, one for each word.
    pub fn tags(&self) -> &[String] {
        &self.tags
    }
}

/// Reads CoNLL column files, one sentence at a time.
///
/// A line is a word, any columns, and a tag, parted by tabs or spaces; all lines have the same number of
/// columns. One or more blank lines end a sentence, and so does the end of the file. A line whose first
/// column is `-DOCSTART-` ends a sentence too and is otherwise passed over. Lines end with LF or CRLF; a
/// byte order mark at the start is passed over.
///
/// ```
/// use elman_tagger::ConllReader;
///
/// let file = "to\tO\ndallas\tB-toloc\n\nround\tB-trip\ntrip\tI-trip";
/// let sentences: Vec<_> = ConllReader::new(file.as_bytes(), "example").collect::<Result<_, _>>()?;
/// assert_eq!(sentences[0].words(), ["to", "dallas"]);
/// assert_eq!(sentences[1].tags(), ["B-trip", "I-trip"]);
///
/// let ragged = "to\tO\ndallas\n";
/// let error = ConllReader::new(ragged.as_bytes(), "example").next().unwrap().unwrap_err();
/// assert_eq!(error.to_string(), "example:2: 1 column, expected 2, a word and a tag, as in line 1");
/// # Ok::<(), elman_tagger::Error>(())
/// ```
///
/// # Errors
/// [`Error::Input`] names the line that is not as above, or that goes beyond
/// [`MAX_LINE`](crate::MAX_LINE), [`MAX_TOKEN`](crate::MAX_TOKEN) or [`MAX_WORDS`]; [`Error::Io`] if reading fails. After an
/// error there is no further sentence.
pub struct ConllReader<R> {
    rows: Rows<R>,
    failed: bool,
}

impl<R: Read> ConllReader<R> {
    /// Reads from `reader`; `path` is for messages.
    pub fn new(reader: R, path: impl AsRef<Path>) -> Self {
        ConllReader { rows: Rows::new(reader, path.as_ref(), 2), failed: false }
    }

    /// The line of the first word of the sentence read last, from 1; its other words are on the lines after
    /// it. 0 before the first sentence.
    pub fn first_line(&self) -> u64 {
        self.rows.first_line
    }
}

impl<R: Read> Iterator for ConllReader<R> {
    type Item = Result<TaggedSentence, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let sentence = self.rows.next_sentence().transpose()?;
        self.failed = sentence.is_err();
        Some(sentence)
    }
}

/// Reads a whole CoNLL column file; see [`ConllReader`] for the format.
///
/// # Errors
/// Those of [`ConllReader`], and [`Error::Input`] if there is no sentence or if the file has more than
/// [`MAX_CORPUS`] bytes.
pub fn read_conll(path: impl AsRef<Path>) -> Result<Vec<TaggedSentence>, Error> {
    let path = path.as_ref();
    let file =
        File::open(path).map_err(|source| Error::Io { path: path.to_owned(), action: "open", source })?;
    read_all(file, path, MAX_CORPUS)
}

fn read_all(reader: impl Read, path: &Path, most: u64) -> Result<Vec<TaggedSentence>, Error> {
    let mut reader = ConllReader::new(reader, path);
    reader.rows.lines = reader.rows.lines.at_most(most);
    let sentences = reader.by_ref().collect::<Result<Vec<_>, _>>()?;
    if sentences.is_empty() {
        return Err(reader.rows.lines.error("there is no sentence", "lines of a word and a tag"));
    }
    Ok(sentences)
}

/// Reads sentences that are to be tagged, one at a time.
pub struct SentenceReader<R> {
    form: Form<R>,
}

enum Form<R> {
    Lines(Lines<R>),
    Conll(Rows<R>),
}

impl<R: Read> SentenceReader<R> {
    /// One sentence a line, its words parted by spaces; a line without words is a sentence without words.
    ///
    /// A tab is refused: it is the mark of a column file, which would otherwise be taken for sentences of two
    /// words.
    pub fn lines(reader: R, path: impl AsRef<Path>) -> Self {
        SentenceReader { form: Form::Lines(Lines::new(reader, path.as_ref())) }
    }

    /// A column file as for [`ConllReader`], of which only the first column is used and needed.
    pub fn conll(reader: R, path: impl AsRef<Path>) -> Self {
        SentenceReader { form: Form::Conll(Rows::new(reader, path.as_ref(), 1)) }
    }

    /// The words of the next sentence; `None` at the end.
    ///
    /// # Errors
    /// Those of [`ConllReader`].
    pub fn next_sentence(&mut self) -> Result<Option<Vec<String>>, Error> {
        match &mut self.form {
            Form::Conll(rows) => Ok(rows.next_sentence()?.map(|sentence| sentence.words)),
            Form::Lines(lines) => {
                let Some(line) = lines.next_line()? else { return Ok(None) };
                let words: Vec<String> =
                    line.split(' ').filter(|word| !word.is_empty()).map(str::to_owned).collect();
                check_words(lines, &words)?;
                Ok(Some(words))
            }
        }
    }

    /// Whether the next sentence is wholly in memory, so that reading it cannot wait for more input. (For the
    /// last sentence of a file the answer may be no.)
    pub fn is_ready(&self) -> bool {
        match &self.form {
            Form::Lines(lines) => lines.is_ready(),
            Form::Conll(rows) => {
                let mut lines = rows.lines.buffered().split(|byte| *byte == b'\n');
                lines.next_back(); // what follows the last line end is no whole line
                lines.any(|line| line.iter().all(|byte| matches!(byte, b' ' | b'\t' | b'\r')))
            }
        }
    }
}

/// What a line of words must be to be written as a column file again.
fn check_words<R: Read>(lines: &Lines<R>, words: &[String]) -> Result<(), Error> {
    if words.len() > MAX_WORDS {
        return Err(lines.error(format!("{} words", words.len()), format!("at most {MAX_WORDS}")));
    }
    for word in words {
        if word.contains('\t') {
            return Err(lines
                .error("a tab", "one sentence a line, its words parted by spaces (is it a column file?)"));
        }
        if word == DOCUMENT_START {
            return Err(lines.error(DOCUMENT_START, "words (column files reserve this one)"));
        }
        if let Some((problem, expected)) = token_fault(word) {
            return Err(lines.error(problem, expected));
        }
    }
    Ok(())
}

/// The sentences of a column file: its first and last columns, which are the same if there is only one.
struct Rows<R> {
    lines: Lines<R>,
    at_least: usize,
    /// The number of columns and the line that fixed it.
    columns: Option<(usize, u64)>,
    /// The line of the first word of the sentence read last.
    first_line: u64,
}

impl<R: Read> Rows<R> {
    fn new(reader: R, path: &Path, at_least: usize) -> Self {
        Rows { lines: Lines::new(reader, path), at_least, columns: None, first_line: 0 }
    }

    fn next_sentence(&mut self) -> Result<Option<TaggedSentence>, Error> {
        let (mut words, mut tags) = (Vec::new(), Vec::new());
        while let Some(line) = self.lines.next_line()? {
            let mut columns = line.split([' ', '\t']).filter(|column| !column.is_empty());
            let Some(first) = columns.next().filter(|first| *first != DOCUMENT_START) else {
                if words.is_empty() {
                    continue;
                }
                break;
            };
            let mut count = 1;
            let last = columns.inspect(|_| count += 1).last().unwrap_or(first);
            let fault = [first, last].into_iter().find_map(token_fault);
            let (first, last) = (first.to_owned(), last.to_owned());
            if let Some((problem, expected)) = fault {
                return Err(self.lines.error(problem, expected));
            }
            self.check_columns(count, &first)?;
            if words.len() == MAX_WORDS {
                let problem = format!("the sentence has more than {MAX_WORDS} words");
                return Err(self.lines.error(problem, "a blank line after each sentence"));
            }
            if words.is_empty() {
                self.first_line = self.lines.number();
            }
            words.push(first);
            tags.push(last);
        }
        Ok((!words.is_empty()).then_some(TaggedSentence { words, tags }))
    }

    fn check_columns(&mut self, count: usize, word: &str) -> Result<(), Error> {
        let what = if self.at_least > 1 { ", a word and a tag" } else { "" };
        let found = match invisible(word).filter(|_| count == 1) {
            Some(found) => found,
            None => format!("{count} column{}", if count == 1 { "" } else { "s" }),
        };
        match self.columns {
            Some((expected, line)) if expected != count => {
                Err(self.lines.error(found, format!("{expected}{what}, as in line {line}")))
            }
            None if count < self.at_least => {
                Err(self.lines.error(found, format!("at least {}{what}", self.at_least)))
            }
            _ => {
                self.columns.get_or_insert((count, self.lines.number()));
                Ok(())
            }
        }
    }
}

/// Writes CoNLL column files: word, tab, tag; a blank line after each sentence.
///
/// What it writes, [`ConllReader`] reads back equal.
pub struct ConllWriter<W> {
    writer: W,
    path: PathBuf,
    line: u64,
}

impl<W: Write> ConllWriter<W> {
    /// Writes to `writer`, which should be buffered; `path` is for messages.
    pub fn new(writer: W, path: impl AsRef<Path>) -> Self {
        ConllWriter { writer, path: path.as_ref().to_owned(), line: 1 }
    }

    /// Writes one sentence; of no words, only the blank line.
    ///
    /// # Errors
    /// [`elman::Error::Shape`] if there is not one tag for each word; [`Error::Input`] for a word or tag that the
    /// format cannot hold: empty, with white space or a null byte in it, longer than [`MAX_TOKEN`](crate::MAX_TOKEN), a first
    /// column `-DOCSTART-`, more than [`MAX_WORDS`] words; nothing has then been written. [`Error::Io`] if
    /// writing fails.
    pub fn write(&mut self, words: &[impl AsRef<str>], tags: &[impl AsRef<str>]) -> Result<(), Error> {
        let rows: Vec<[&str; 1]> = tags.iter().map(|tag| [tag.as_ref()]).collect();
        self.write_columns(words, &rows)
    }

    /// Writes one sentence with any columns after each word; each row must have the same number.
    ///
    /// # Errors
    /// As [`ConllWriter::write`].
    pub fn write_columns<S: AsRef<str>>(
        &mut self,
        words: &[impl AsRef<str>],
        rows: &[impl AsRef<[S]>],
    ) -> Result<(), Error> {
        if words.len() != rows.len() {
            return Err(Error::shape("tags", format!("{}, one for each word", words.len()), rows.len()));
        }
        let refuse = |row: usize, problem: String, expected: String| Error::Input {
            path: self.path.clone(),
            line: Some(self.line + row as u64),
            problem,
            expected,
        };
        if words.len() > MAX_WORDS {
            return Err(refuse(0, format!("{} words", words.len()), format!("at most {MAX_WORDS}")));
        }
        for (row, (word, columns)) in words.iter().zip(rows).enumerate() {
            let columns = columns.as_ref().iter().map(AsRef::as_ref);
            if let Some((problem, expected)) =
                [word.as_ref()].into_iter().chain(columns).find_map(token_fault)
            {
                return Err(refuse(row, problem, expected));
            }
            if word.as_ref() == DOCUMENT_START {
                return Err(refuse(row, DOCUMENT_START.into(), "a word".into()));
            }
        }
        self.put(words, rows).map_err(|source| self.io(source))?;
        self.line += words.len() as u64 + 1;
        Ok(())
    }

    fn put<S: AsRef<str>>(
        &mut self,
        words: &[impl AsRef<str>],
        rows: &[impl AsRef<[S]>],
    ) -> std::io::Result<()> {
        // A reader drops one byte order mark at the start of a file; a word that begins with one keeps its own.
        if self.line == 1 && words.first().is_some_and(|word| word.as_ref().starts_with(BYTE_ORDER_MARK)) {
            self.writer.write_all(BYTE_ORDER_MARK.as_bytes())?;
        }
        for (word, columns) in words.iter().zip(rows) {
            self.writer.write_all(word.as_ref().as_bytes())?;
            for column in columns.as_ref() {
                write!(self.writer, "\t{}", column.as_ref())?;
            }
            writeln!(self.writer)?;
        }
        writeln!(self.writer)
    }

    /// Hands everything on to the underlying writer's destination.
    ///
    /// # Errors
    /// [`Error::Io`] if writing fails.
    pub fn flush(&mut self) -> Result<(), Error> {
        self.writer.flush().map_err(|source| self.io(source))
    }

    fn io(&self, source: std::io::Error) -> Error {
        Error::Io { path: self.path.clone(), action: "write", source }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::MAX_TOKEN;

    fn read(text: &str) -> Result<Vec<(String, String)>, String> {
        ConllReader::new(text.as_bytes(), "f")
            .map(|sentence| {
                sentence.map(|s| (s.words().join(" "), s.tags().join(" "))).map_err(|e| e.to_string())
            })
            .collect()
    }

    #[test]
    fn every_layout_reads_the_same() {
        let expected = [("a b".to_owned(), "O B-x".to_owned()), ("c".to_owned(), "I-x".to_owned())];
        for text in [
            "a\tO\nb\tB-x\n\nc\tI-x\n\n",
            "a\tO\nb\tB-x\n\nc\tI-x\n",
            "a\tO\nb\tB-x\n\nc\tI-x",
            "a O\nb  B-x \n\n\n\nc\t \tI-x",
            "a\tO\r\nb\tB-x\r\n\r\nc\tI-x\r\n",
            "\n\n-DOCSTART- -X- O O\n\na O\nb B-x\n-DOCSTART-\nc I-x",
            "a NN 1 O\nb NN 2 B-x\n \t \nc NN 3 I-x",
            "\u{feff}a\tO\nb\tB-x\n\nc\tI-x\n",
        ] {
            assert_eq!(read(text).unwrap(), expected, "{text:?}");
        }
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line() {
        for (text, message) in [
            ("a\tO\nb\n", "f:2: 1 column, expected 2, a word and a tag, as in line 1"),
            ("\na\n", "f:2: 1 column, expected at least 2, a word and a tag"),
            ("a O\n\nb x O\n", "f:3: 3 columns, expected 2, a word and a tag, as in line 1"),
        ] {
            assert_eq!(read(text).unwrap_err(), message);
        }
        let long = "x".repeat(MAX_TOKEN);
        assert!(read(&format!("{long}\t{long}\n")).is_ok());
        assert_eq!(
            read(&format!("a O\n{long}x O\n")).unwrap_err(),
            "f:2: word or tag of 1025 bytes, expected at most 1024"
        );
        let rows = "a O\n".repeat(MAX_WORDS);
        assert!(read(&rows).is_ok());
        assert_eq!(
            read(&format!("{rows}a O\n")).unwrap_err(),
            "f:10001: the sentence has more than 10000 words, expected a blank line after each sentence"
        );
        // After an error there is nothing more.
        let mut reader = ConllReader::new("a\nb O\n".as_bytes(), "f");
        assert!(reader.next().unwrap().is_err());
        assert!(reader.next().is_none());
    }

    #[test]
    fn a_file_without_sentences_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("empty.conll");
        for (text, line) in [("", 1), ("\n\n-DOCSTART- O\n\n", 4)] {
            std::fs::write(&path, text).unwrap();
            let message = read_conll(&path).unwrap_err().to_string();
            let tail =
                format!("empty.conll:{line}: there is no sentence, expected lines of a word and a tag");
            assert!(message.ends_with(&tail), "{message}");
        }
        let missing = read_conll(folder.path().join("missing")).unwrap_err();
        assert!(matches!(missing, Error::Io { action: "open", .. }), "{missing}");
    }

    #[test]
    fn sentences_to_be_tagged_come_in_two_forms() {
        let mut lines = SentenceReader::lines("from  paris \n\nto rome".as_bytes(), "f");
        assert_eq!(lines.next_sentence().unwrap().unwrap(), ["from", "paris"]);
        assert!(lines.is_ready());
        assert!(lines.next_sentence().unwrap().unwrap().is_empty());
        assert!(!lines.is_ready());
        assert_eq!(lines.next_sentence().unwrap().unwrap(), ["to", "rome"]);
        assert_eq!(lines.next_sentence().unwrap(), None);

        let mut conll = SentenceReader::conll("from\nparis\n\nto\n\nrome\n".as_bytes(), "f");
        assert_eq!(conll.next_sentence().unwrap().unwrap(), ["from", "paris"]);
        assert!(conll.is_ready());
        assert_eq!(conll.next_sentence().unwrap().unwrap(), ["to"]);
        assert!(!conll.is_ready());
        assert_eq!(conll.next_sentence().unwrap().unwrap(), ["rome"]);
        assert_eq!(conll.next_sentence().unwrap(), None);

        for (text, message) in [
            ("a\nb\tO\n", "f:2: a tab, expected one sentence a line, its words parted by spaces"),
            ("-DOCSTART-\n", "f:1: -DOCSTART-, expected words (column files reserve this one)"),
            (&"a ".repeat(MAX_WORDS + 1), "f:1: 10001 words, expected at most 10000"),
            (&"a ".repeat(MAX_WORDS + 2), "f:1: 10002 words, expected at most 10000"),
        ] {
            let mut reader = SentenceReader::lines(text.as_bytes(), "f");
            let error = loop {
                if let Err(error) = reader.next_sentence() {
                    break error.to_string();
                }
            };
            assert!(error.starts_with(message), "{error}");
        }
    }

    #[test]
    fn a_line_may_have_as_many_words_as_a_sentence() {
        let text = "a ".repeat(MAX_WORDS);
        let mut lines = SentenceReader::lines(text.as_bytes(), "f");
        assert_eq!(lines.next_sentence().unwrap().unwrap().len(), MAX_WORDS);
    }

    #[test]
    fn a_sentence_holds_only_what_files_can() {
        let new = |words: &[&str], tags: &[&str]| {
            let own = |tokens: &[&str]| tokens.iter().map(|token| token.to_string()).collect();
            TaggedSentence::new(own(words), own(tags)).map_err(|e| e.to_string())
        };
        assert!(new(&["a", "-DOCSTART-"], &["O", "\u{a0}"]).is_ok());
        assert_eq!(new(&[], &[]).unwrap_err(), "sentence: expected at least 1 word, found 0");
        assert_eq!(new(&["a"], &[]).unwrap_err(), "tags: expected 1, one for each word, found 0");
        assert!(new(&["a b"], &["O"]).unwrap_err().contains("expected one word, found white space"));
        assert!(new(&["a"], &[""]).is_err());
    }

    #[test]
    fn what_the_format_cannot_hold_is_not_written() {
        let mut out = Vec::new();
        let mut writer = ConllWriter::new(&mut out, "out");
        writer.write(&["a"], &["O"]).unwrap();
        for word in ["", "a b", "a\tb", "a\n", "a\r", "-DOCSTART-", &"x".repeat(MAX_TOKEN + 1)] {
            let message = writer.write(&["a", word], &["O", "O"]).unwrap_err().to_string();
            assert!(message.starts_with("out:4: "), "{word:?}: {message}");
        }
        assert!(writer.write(&["a"], &["O", "O"]).is_err());
        let message = writer.write(&["a"; MAX_WORDS + 1], &["O"; MAX_WORDS + 1]).unwrap_err().to_string();
        assert_eq!(message, "out:3: 10001 words, expected at most 10000");
        writer.write(&["b"; MAX_WORDS], &["O"; MAX_WORDS]).unwrap();
        assert_eq!(out, [&b"a\tO\n\n"[..], &b"b\tO\n".repeat(MAX_WORDS), b"\n"].concat());
    }

    #[test]
    fn what_is_flushed_has_arrived() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f");
        let mut writer = ConllWriter::new(std::io::BufWriter::new(File::create(&path).unwrap()), &path);
        writer.write(&["a"], &["O"]).unwrap();
        writer.flush().unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"a\tO\n\n");
    }

    fn token() -> impl Strategy<Value = String> {
        // Any characters but those that part words; among them byte order marks and other odd spaces.
        "[^ \t\r\n\0]{1,12}|\u{feff}|\u{a0}|\u{85}|\u{2028}"
            .prop_filter("reserved", |token| token != DOCUMENT_START)
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(
            sentences in prop::collection::vec(prop::collection::vec((token(), token()), 1..6), 0..6)
        ) {
            let sentences: Vec<TaggedSentence> = sentences
                .into_iter()
                .map(|rows| rows.into_iter().unzip())
                .map(|(words, tags)| TaggedSentence::new(words, tags).unwrap())
                .collect();
            let mut out = Vec::new();
            let mut writer = ConllWriter::new(&mut out, "out");
            for sentence in &sentences {
                writer.write(sentence.words(), sentence.tags()).unwrap();
            }
            let back: Vec<_> = ConllReader::new(&out[..], "out").collect::<Result<_, _>>().unwrap();
            prop_assert_eq!(back, sentences);
        }

        #[test]
        fn any_bytes_are_read_or_refused_with_a_line(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            for sentence in ConllReader::new(&bytes[..], "f") {
                if let Err(error) = sentence {
                    prop_assert!(matches!(error, Error::Input { line: Some(1..), .. }), "{}", error);
                }
            }
        }
    }

    #[test]
    fn a_corpus_beyond_the_limit_is_refused_before_it_is_in_memory() {
        let read = |most| read_all(&b"a O\nb O\n\nc O\n"[..], Path::new("f"), most);
        assert_eq!(read(13).unwrap().len(), 2);
        assert_eq!(
            read(12).unwrap_err().to_string(),
            "f:4: the file is too large, expected fewer bytes: it is read as a whole"
        );
        // A pipe without end.
        struct Endless;
        impl Read for Endless {
            fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
                let length = buffer.len() / 5 * 5;
                buffer[..length].chunks_exact_mut(5).for_each(|line| line.copy_from_slice(b"a O\n\n"));
                Ok(length)
            }
        }
        assert!(read_all(Endless, Path::new("f"), 100_000).unwrap_err().to_string().starts_with("f:4"));
    }
}
