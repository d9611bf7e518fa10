use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::Error;
use crate::layout::{Column, ColumnLayout, Separator, Suspect, has_extension};
use crate::limits::{MAX_CORPUS, MAX_WORDS};
use crate::lines::{BYTE_ORDER_MARK, Lines, has_separator, invisible, tag_fault, word_fault};

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
    /// that no file can hold: empty, with a tab, line end or null byte in it or a blank at its ends, or longer than
    /// [`MAX_TOKEN`](crate::MAX_TOKEN); a tag has no blank in it either.
    pub fn new(words: Vec<String>, tags: Vec<String>) -> Result<Self, Error> {
        if words.is_empty() {
            return Err(Error::shape("sentence", "at least 1 word", 0));
        }
        if words.len() != tags.len() {
            return Err(Error::shape("tags", format!("{}, one for each word", words.len()), tags.len()));
        }
        let fault = words.iter().find_map(|word| word_fault(word));
        if let Some((problem, expected)) = fault.or_else(|| tags.iter().find_map(|tag| tag_fault(tag))) {
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
/// A line is a word, any columns, and a tag; all lines have the same number of columns. Tabs part them if the
/// first line has one, so that a word may have blanks in it, and runs of blanks otherwise; a [`ColumnLayout`] overrides
/// this. Files whose first column counts words, or has the tags, are refused with advice. One or more blank lines end
/// a sentence, and so does the end of the file. A line whose first column is `-DOCSTART-` ends a sentence too and is
/// otherwise passed over. Lines end with LF or CRLF; a byte order mark at the start is passed over.
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
/// let expected = "example:2: 1 column, expected 2, a word and a tag, as in line 1, where tabs part them \
///                 (--separator blank: any blanks)";
/// assert_eq!(error.to_string(), expected);
/// # Ok::<(), elman_tagger::Error>(())
/// ```
///
/// # Errors
/// [`Error::Input`] names the line that is not as above, or that goes beyond [`MAX_LINE`](crate::MAX_LINE),
/// [`MAX_TOKEN`](crate::MAX_TOKEN) or [`MAX_WORDS`]; [`Error::Io`] if reading fails. After an error there is no
/// further sentence.
pub struct ConllReader<R> {
    rows: Rows<R>,
    failed: bool,
}

impl<R: Read> ConllReader<R> {
    /// Reads from `reader`; `path` is for messages.
    pub fn new(reader: R, path: impl AsRef<Path>) -> Self {
        ConllReader::with_layout(reader, path, ColumnLayout::default())
    }

    /// The same, with columns as a layout says.
    pub fn with_layout(reader: R, path: impl AsRef<Path>, layout: ColumnLayout) -> Self {
        ConllReader { rows: Rows::new(reader, path.as_ref(), 2, layout), failed: false }
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
        let sentence = self.rows.next_sentence(false).transpose()?;
        self.failed = sentence.is_err();
        Some(sentence.map(|row| TaggedSentence { words: row.words, tags: row.tags }))
    }
}

/// Reads a corpus, one sentence at a time: columns, or JSON lines if the file is named so (`.jsonl`, `.ndjson`,
/// `.json`, also before `.gz`). A file compressed by gzip is decompressed, whatever its name.
///
/// A line of JSON is an object with `tokens` or `words`, a list of words, and `tags`, `labels`, `ner_tags` or
/// `slots`, a list of as many tags; a [`ColumnLayout`] may name other fields. Numbers stand for tags where the layout
/// has their names. Blank lines are passed over.
///
/// # Errors
/// Those of [`ConllReader`].
pub struct CorpusReader {
    form: CorpusForm,
}

enum CorpusForm {
    Conll(Box<ConllReader<Box<dyn Read>>>),
    Json { lines: Lines<Box<dyn Read>>, layout: Box<ColumnLayout>, failed: bool },
}

impl CorpusReader {
    /// Reads from `reader`; `path` is for messages and decides the form.
    ///
    /// # Errors
    /// [`Error::Io`] if the first bytes cannot be read.
    pub fn new(
        reader: impl Read + 'static,
        path: impl AsRef<Path>,
        layout: &ColumnLayout,
    ) -> Result<Self, Error> {
        let path = path.as_ref();
        let reader = decompressed(Box::new(reader)).map_err(|source| Error::Io {
            path: path.to_owned(),
            action: "read",
            source,
        })?;
        let form = if has_extension(path, &["jsonl", "ndjson", "json"]) {
            let layout = Box::new(layout.clone());
            CorpusForm::Json { lines: Lines::new(reader, path), layout, failed: false }
        } else {
            CorpusForm::Conll(Box::new(ConllReader::with_layout(reader, path, layout.of_file(path))))
        };
        Ok(CorpusReader { form })
    }

    /// Opens a file.
    ///
    /// # Errors
    /// [`Error::Io`] if that fails.
    pub fn open(path: impl AsRef<Path>, layout: &ColumnLayout) -> Result<Self, Error> {
        let path = path.as_ref();
        let file =
            File::open(path).map_err(|source| Error::Io { path: path.to_owned(), action: "open", source })?;
        CorpusReader::new(file, path, layout)
    }

    /// The line of the first word of the sentence read last, from 1. In columns its other words are on the lines
    /// after it, but for those that the layout passes over.
    pub fn first_line(&self) -> u64 {
        match &self.form {
            CorpusForm::Conll(reader) => reader.first_line(),
            CorpusForm::Json { lines, .. } => lines.number(),
        }
    }

    fn at_most(mut self, bytes: u64) -> Self {
        match &mut self.form {
            CorpusForm::Conll(reader) => reader.rows.lines.limit(bytes),
            CorpusForm::Json { lines, .. } => lines.limit(bytes),
        }
        self
    }

    fn no_sentence(&self) -> Error {
        match &self.form {
            CorpusForm::Conll(reader) => {
                reader.rows.lines.error("there is no sentence", "lines of a word and a tag")
            }
            CorpusForm::Json { lines, .. } => {
                lines.error("there is no sentence", "objects with tokens and tags")
            }
        }
    }
}

impl Iterator for CorpusReader {
    type Item = Result<TaggedSentence, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        match &mut self.form {
            CorpusForm::Conll(reader) => reader.next(),
            CorpusForm::Json { failed: true, .. } => None,
            CorpusForm::Json { lines, layout, failed } => {
                let sentence = next_json(lines, layout).transpose()?;
                *failed = sentence.is_err();
                Some(sentence)
            }
        }
    }
}

/// The next line of JSON that is not blank.
fn next_json<R: Read>(lines: &mut Lines<R>, layout: &ColumnLayout) -> Result<Option<TaggedSentence>, Error> {
    loop {
        let Some(line) = lines.next_line()? else { return Ok(None) };
        if line.trim().is_empty() {
            continue;
        }
        let sentence = json_sentence(line, layout);
        return sentence.map(Some).map_err(|(problem, expected)| lines.error(problem, expected));
    }
}

fn json_sentence(line: &str, layout: &ColumnLayout) -> Result<TaggedSentence, (String, String)> {
    let expected = || r#"an object with "tokens" and "tags", lists of as many strings"#.to_owned();
    let object = json_object(line).map_err(|problem| (problem, expected()))?;
    let list = |column: &Option<Column>, names: &[&str]| {
        let given = column.as_ref().and_then(Column::field);
        let names = given.as_ref().map_or(names, std::slice::from_ref);
        let (name, value) = names
            .iter()
            .find_map(|name| Some((*name, object.get(*name)?)))
            .ok_or_else(|| (format!("no {}", names[0]), expected()))?;
        let list: Vec<Value> =
            serde_json::from_str(value.get()).map_err(|_| (format!("{name} is no list"), expected()))?;
        Ok::<_, (String, String)>((name.to_owned(), list))
    };
    let (name, words) = list(&layout.word, &["tokens", "words"])?;
    let word = |value: &Value| match value {
        Value::String(text) => Ok(text.clone()),
        other => Err((format!("{other} in {name}"), "strings".to_owned())),
    };
    let words = words.iter().map(word).collect::<Result<Vec<_>, _>>()?;
    let (name, tags) = list(&layout.tag, &["tags", "labels", "ner_tags", "slots"])?;
    let tag = |value: &Value| match (value, &layout.tag_names) {
        (Value::String(text), _) => Ok(text.clone()),
        (Value::Number(number), Some(names)) => {
            let found = number.as_u64().and_then(|number| names.get(usize::try_from(number).ok()?));
            let expected = || format!("a number below {}, of which --tag-names has names", names.len());
            found.cloned().ok_or_else(|| (format!("{number} in {name}"), expected()))
        }
        (other, _) => {
            let expected = "strings (--tag-names O,B-PER,I-PER,... names the tags of numbers from 0 on)";
            Err((format!("{other} in {name}"), expected.to_owned()))
        }
    };
    let tags = tags.iter().map(tag).collect::<Result<Vec<_>, _>>()?;
    if words.len() > MAX_WORDS {
        return Err((format!("{} words", words.len()), format!("at most {MAX_WORDS}")));
    }
    TaggedSentence::new(words, tags).map_err(|error| match error {
        Error::Network(elman::Error::Shape { what, expected, found }) => {
            (format!("{what}: {found}"), expected)
        }
        other => (other.to_string(), expected()),
    })
}

/// The fields of a JSON object, each as it is written.
///
/// # Errors
/// The problem, if the text is no object or has a field twice.
pub fn json_object(text: &str) -> Result<BTreeMap<String, &RawValue>, String> {
    struct Fields<'a>(BTreeMap<String, &'a RawValue>);

    impl<'de: 'a, 'a> Deserialize<'de> for Fields<'a> {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            deserializer.deserialize_map(Fields(BTreeMap::new()))
        }
    }

    impl<'de: 'a, 'a> Visitor<'de> for Fields<'a> {
        type Value = Self;

        fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            formatter.write_str("a map")
        }

        fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<Self, A::Error> {
            while let Some((name, value)) = map.next_entry::<String, &'de RawValue>()? {
                if self.0.contains_key(&name) {
                    return Err(A::Error::custom(format!("the field {name} again")));
                }
                self.0.insert(name, value);
            }
            Ok(self)
        }
    }

    serde_json::from_str(text).map(|Fields(fields)| fields).map_err(|error| {
        if text.trim_start().starts_with('[') {
            return "a JSON array (jq -c '.[]' writes each of its objects on a line)".to_owned();
        }
        if error.is_eof() {
            return "no whole JSON object (jq -c . writes each on one line)".to_owned();
        }
        // The line that the error names is always the first.
        let text = error.to_string();
        format!("no JSON object: {}", text.split(" at line ").next().unwrap_or(&text))
    })
}

/// The bytes of a reader, decompressed if they begin as gzip does.
///
/// # Errors
/// Those of reading its first bytes.
pub fn decompressed(mut reader: Box<dyn Read>) -> io::Result<Box<dyn Read>> {
    const MAGIC: [u8; 2] = [0x1f, 0x8b];
    let mut start = Vec::new();
    while start.len() < MAGIC.len() && MAGIC.starts_with(&start) {
        if reader.by_ref().take(1).read_to_end(&mut start)? == 0 {
            break;
        }
    }
    let is_gzip = start == MAGIC;
    let whole = io::Cursor::new(start).chain(reader);
    Ok(if is_gzip { Box::new(flate2::read::MultiGzDecoder::new(whole)) } else { Box::new(whole) })
}

/// Reads a whole corpus; see [`CorpusReader`] for its forms and [`ConllReader`] for columns.
///
/// # Errors
/// Those of [`ConllReader`], and [`Error::Input`] if there is no sentence or if the file has more than
/// [`MAX_CORPUS`] bytes.
pub fn read_conll(path: impl AsRef<Path>) -> Result<Vec<TaggedSentence>, Error> {
    read_corpus(path, &ColumnLayout::default())
}

/// [`read_conll`] of columns as a layout says.
///
/// # Errors
/// Those of [`read_conll`].
pub fn read_corpus(path: impl AsRef<Path>, layout: &ColumnLayout) -> Result<Vec<TaggedSentence>, Error> {
    read_all(CorpusReader::open(path, layout)?, MAX_CORPUS)
}

fn read_all(reader: CorpusReader, most: u64) -> Result<Vec<TaggedSentence>, Error> {
    let mut reader = reader.at_most(most);
    let sentences = reader.by_ref().collect::<Result<Vec<_>, _>>()?;
    if sentences.is_empty() {
        return Err(reader.no_sentence());
    }
    Ok(sentences)
}

/// A sentence that is to be tagged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unlabelled {
    /// Its words.
    pub words: Vec<String>,
    /// Of a column file, all lines from the end of the sentence before to the end of this one, so that they can be
    /// written again. Lines after the last sentence are a sentence without words.
    pub lines: Vec<RowLine>,
}

/// A line of a column file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RowLine {
    /// A word: all columns.
    Word(Vec<String>),
    /// A line that begins with `-DOCSTART-`: all columns.
    Document(Vec<String>),
    /// A blank line, a comment, or a row of CoNLL-U that is no word of the text.
    Other(String),
}

/// Reads sentences that are to be tagged, one at a time.
pub struct SentenceReader<R> {
    form: Form<R>,
}

enum Form<R> {
    Lines(Lines<R>),
    Conll(Box<Rows<R>>),
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
        SentenceReader::conll_with(reader, path, ColumnLayout::default())
    }

    /// The same, with columns as a layout says; that of the tags is not needed.
    pub fn conll_with(reader: R, path: impl AsRef<Path>, layout: ColumnLayout) -> Self {
        SentenceReader { form: Form::Conll(Box::new(Rows::new(reader, path.as_ref(), 1, layout))) }
    }

    /// The same reader, which refuses lines of more than this many bytes, [`MAX_LINE`](crate::MAX_LINE) at most: for
    /// input of strangers, of which as much is held in memory.
    pub fn longest_line(mut self, bytes: usize) -> Self {
        match &mut self.form {
            Form::Conll(rows) => rows.lines.longest_line(bytes),
            Form::Lines(lines) => lines.longest_line(bytes),
        }
        self
    }

    /// The next sentence with its lines; `None` at the end.
    ///
    /// # Errors
    /// Those of [`ConllReader`].
    pub fn next_rows(&mut self) -> Result<Option<Unlabelled>, Error> {
        match &mut self.form {
            Form::Conll(rows) => Ok(rows
                .next_sentence(true)?
                .map(|RowSentence { words, lines, .. }| Unlabelled { words, lines })),
            Form::Lines(_) => Ok(self.next_sentence()?.map(|words| Unlabelled { words, lines: Vec::new() })),
        }
    }

    /// After an [`Error::Input`]: passes over the rest of the sentence, so that the next one can be read. Other
    /// errors come back at the next sentence.
    ///
    /// # Errors
    /// [`Error::Io`] if the file cannot be read.
    pub fn skip_sentence(&mut self) -> Result<(), Error> {
        match &mut self.form {
            Form::Conll(rows) => rows.skip_sentence(),
            Form::Lines(_) => Ok(()),
        }
    }

    /// The words of the next sentence; `None` at the end.
    ///
    /// # Errors
    /// Those of [`ConllReader`].
    pub fn next_sentence(&mut self) -> Result<Option<Vec<String>>, Error> {
        match &mut self.form {
            Form::Conll(rows) => Ok(rows.next_sentence(false)?.map(|sentence| sentence.words)),
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
        if let Some((problem, expected)) = word_fault(word) {
            return Err(lines.error(problem, expected));
        }
    }
    Ok(())
}

/// The sentences of a column file: the columns of the word and of the tag, which are the same if there is only
/// one column.
struct Rows<R> {
    lines: Lines<R>,
    at_least: usize,
    layout: ColumnLayout,
    /// The separator, once the first line of columns has been seen.
    separator: Option<Separator>,
    /// Says when the first and the last column are not those of words and tags, unless the layout names them.
    suspect: Option<Suspect>,
    /// The number of columns and the line that fixed it.
    columns: Option<(usize, u64)>,
    /// The line of the first word of the sentence read last.
    first_line: u64,
}

/// A sentence of a column file.
#[derive(Default)]
struct RowSentence {
    words: Vec<String>,
    tags: Vec<String>,
    /// All lines, if they were asked for.
    lines: Vec<RowLine>,
}

impl<R: Read> Rows<R> {
    fn new(reader: R, path: &Path, at_least: usize, layout: ColumnLayout) -> Self {
        let suspect = layout.word.is_none() && layout.tag.is_none();
        let suspect = suspect.then(|| Suspect::new(at_least > 1));
        Rows {
            lines: Lines::new(reader, path),
            at_least,
            separator: Some(layout.separator.clone()).filter(|separator| *separator != Separator::Auto),
            suspect,
            layout,
            columns: None,
            first_line: 0,
        }
    }

    /// `keep`: with all lines; then lines after the last sentence are one without words.
    fn next_sentence(&mut self, keep: bool) -> Result<Option<RowSentence>, Error> {
        let mut found = RowSentence::default();
        while let Some(line) = self.lines.next_line()? {
            let first = line.split([' ', '\t']).find(|column| !column.is_empty());
            let is_document = first == Some(DOCUMENT_START);
            let own = |columns: Vec<&str>| columns.into_iter().map(str::to_owned).collect::<Vec<_>>();
            let mark = self.layout.comments.as_deref().filter(|_| found.words.is_empty());
            let is_comment = mark.is_some_and(|mark| line.starts_with(mark));
            let mut columns = Vec::new();
            // A comment does not tell what parts columns.
            if first.is_some() && !is_document && !is_comment {
                let separator = self.separator.get_or_insert_with(|| Separator::of(line));
                columns = separator.split(line);
            }
            let is_row = !columns.is_empty();
            if !is_row || (self.layout.conllu && columns.first().is_some_and(|id| id.contains(['-', '.']))) {
                if keep {
                    let separator = || self.separator.clone().unwrap_or_else(|| Separator::of(line));
                    found.lines.push(match is_document {
                        true => RowLine::Document(own(separator().split(line))),
                        false => RowLine::Other(line.to_owned()),
                    });
                }
                // Nothing, or nothing but separators, or the start of a document.
                if !is_row && !found.words.is_empty() {
                    break;
                }
                continue;
            }
            let separator = self.separator.as_ref().unwrap_or(&Separator::Blank);
            let count = columns.len();
            let word =
                self.layout.word.as_ref().map_or(columns.first().copied(), |column| column.of(&columns));
            let tag = match &self.layout.tag {
                Some(column) => column.of(&columns),
                None => columns.last().copied(),
            };
            let missing = |what: &str, column: Option<&crate::Column>| {
                let column = column.map_or(String::new(), |column| format!(" in column {column}"));
                (format!("no {what}{column}"), format!("a {what} there"))
            };
            let fault = match (word, tag) {
                (None, _) => Some(missing("word", self.layout.word.as_ref())),
                (_, None) if self.at_least > 1 => Some(missing("tag", self.layout.tag.as_ref())),
                (Some(word), _) if word_fault(word).is_some() => word_fault(word),
                (_, Some(tag)) if self.at_least > 1 => tag_fault(tag).map(|(problem, expected)| {
                    let whole = tag.contains(' ') && word.is_some_and(|word| word.contains(' '));
                    let hint = " (elman convert --from slots reads a sentence a line)";
                    (problem, if whole { expected + hint } else { expected })
                }),
                _ => None,
            };
            let suspicion =
                self.suspect.as_mut().and_then(|suspect| suspect.row(found.words.len(), &columns));
            let tabs = *separator == Separator::Tab && self.layout.separator == Separator::Auto;
            let (word, tag) = (word.unwrap_or_default().to_owned(), tag.unwrap_or_default().to_owned());
            let columns = if keep { own(columns) } else { Vec::new() };
            // A line of too few columns is told so.
            if self.layout.tag.is_none() || fault.is_none() {
                self.check_columns(count, &word, tabs)?;
            }
            if let Some((problem, expected)) = fault.or(suspicion) {
                return Err(self.lines.error(problem, expected));
            }
            if found.words.len() == MAX_WORDS {
                let problem = format!("the sentence has more than {MAX_WORDS} words");
                return Err(self.lines.error(problem, "a blank line after each sentence"));
            }
            if found.words.is_empty() {
                self.first_line = self.lines.number();
            }
            found.words.push(word);
            found.tags.push(tag);
            if keep {
                found.lines.push(RowLine::Word(columns));
            }
        }
        if found.words.is_empty()
            && let Some((problem, expected)) = self.suspect.as_ref().and_then(Suspect::at_the_end)
        {
            return Err(self.lines.error(problem, expected));
        }
        Ok((!found.words.is_empty() || !found.lines.is_empty()).then_some(found))
    }

    /// Passes over lines up to a blank one.
    fn skip_sentence(&mut self) -> Result<(), Error> {
        loop {
            match self.lines.next_line() {
                Ok(Some(line)) if !line.trim_matches([' ', '\t']).is_empty() => {}
                Ok(_) => return Ok(()),
                Err(Error::Input { .. }) => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn check_columns(&mut self, count: usize, word: &str, tabs: bool) -> Result<(), Error> {
        let what = if self.at_least > 1 { ", a word and a tag" } else { "" };
        let found = match invisible(word).filter(|_| count == 1) {
            Some(found) => found,
            None => {
                let mark = if word.starts_with(BYTE_ORDER_MARK) { " after a byte order mark" } else { "" };
                format!("{count} column{}{mark}", if count == 1 { "" } else { "s" })
            }
        };
        match self.columns {
            Some((expected, line)) if expected != count => {
                let is_quoted = matches!(self.separator, Some(Separator::Text(_))) && word.starts_with('"');
                let hint = match tabs {
                    true => ", where tabs part them (--separator blank: any blanks)",
                    false if is_quoted => " (quotes around a column are not read: write the table with tabs)",
                    false => "",
                };
                Err(self.lines.error(found, format!("{expected}{what}, as in line {line}{hint}")))
            }
            None if count < self.at_least => {
                let comma = [',', ';', '|'].into_iter().find(|mark| word.contains(*mark));
                let hint = comma
                    .map_or(String::new(), |mark| format!(" (--separator '{mark}' parts columns by it)"));
                Err(self.lines.error(found, format!("at least {}{what}{hint}", self.at_least)))
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
    /// format cannot hold: empty, with a tab, a line end or a null byte in it or a blank at its ends, longer than [`MAX_TOKEN`](crate::MAX_TOKEN), a first
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
            if let Some((problem, expected)) = [word.as_ref()].into_iter().chain(columns).find_map(word_fault)
            {
                return Err(refuse(row, problem, expected));
            }
            if word.as_ref().split([' ', '\t']).next() == Some(DOCUMENT_START) {
                return Err(refuse(row, DOCUMENT_START.into(), "a word".into()));
            }
        }
        self.put(words, rows).and_then(|()| writeln!(self.writer)).map_err(|source| self.io(source))?;
        self.line += words.len() as u64 + 1;
        Ok(())
    }

    /// Writes whole lines of columns, the word of each line among them. A column may be empty, and a line without
    /// columns is blank: the one that ends a sentence is not added.
    ///
    /// # Errors
    /// [`Error::Input`] for a column with a tab, a line end or a null byte in it; [`Error::Io`] if writing fails.
    pub fn write_lines<S: AsRef<str>>(&mut self, rows: &[Vec<S>]) -> Result<(), Error> {
        for (row, columns) in rows.iter().enumerate() {
            let mut columns = columns.iter().map(AsRef::as_ref);
            if let Some(column) = columns.find(|column| has_separator(column)) {
                return Err(Error::Input {
                    path: self.path.clone(),
                    line: Some(self.line + row as u64),
                    problem: format!("white space or null byte in {column:?}"),
                    expected: "a column".to_owned(),
                });
            }
        }
        let (firsts, others): (Vec<&str>, Vec<&[S]>) =
            rows.iter().map(|row| row.split_first().map_or(("", &[][..]), |(a, b)| (a.as_ref(), b))).unzip();
        self.put(&firsts, &others).map_err(|source| self.io(source))?;
        self.line += rows.len() as u64;
        Ok(())
    }

    /// Writes a comment in the place of a sentence: a line that begins with `# `, and a blank line.
    ///
    /// # Errors
    /// [`Error::Io`] if writing fails.
    pub fn write_comment(&mut self, text: &str) -> Result<(), Error> {
        let line = text.replace(['\n', '\r'], " ");
        writeln!(self.writer, "# {line}\n").map_err(|source| self.io(source))?;
        self.line += 2;
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
                self.writer.write_all(b"\t")?;
                self.writer.write_all(column.as_ref().as_bytes())?;
            }
            self.writer.write_all(b"\n")?;
        }
        Ok(())
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
            "a\tO\t\n b \t B-x\n\t\n\nc\tI-x",
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
            (
                "a\tO\nb\n",
                "f:2: 1 column, expected 2, a word and a tag, as in line 1, where tabs part them (--separator blank: any blanks)",
            ),
            ("\tO\n", "f:1: empty word or tag, expected at least one character"),
            (
                "a b\tO O\n",
                "f:1: white space in the tag \"O O\", expected one tag (elman convert --from slots reads a sentence a line)",
            ),
            ("\na\n", "f:2: 1 column, expected at least 2, a word and a tag"),
            (
                "a,O\n",
                "f:1: 1 column, expected at least 2, a word and a tag (--separator ',' parts columns by it)",
            ),
            (
                "\nWord\tPOS\tTag\na\tDT\tO\n",
                "f:2: the line names columns: \"Word\", \"Tag\", expected a word and a tag (tail -n +2 leaves the first line out; --word-column 1 insists)",
            ),
            ("a O\n\nb x O\n", "f:3: 3 columns, expected 2, a word and a tag, as in line 1"),
            (
                "a O\n\n\u{feff}# new file\n",
                "f:3: 3 columns after a byte order mark, expected 2, a word and a tag, as in line 1",
            ),
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

    fn read_as(text: &str, layout: ColumnLayout) -> Result<Vec<(String, String)>, String> {
        ConllReader::with_layout(text.as_bytes(), "f", layout)
            .map(|sentence| {
                sentence.map(|s| (s.words().join("|"), s.tags().join("|"))).map_err(|e| e.to_string())
            })
            .collect()
    }

    #[test]
    fn where_a_tab_occurs_tabs_part_columns() {
        let found = read_as("New York\tB-LOC\nis\tO\n", ColumnLayout::default()).unwrap();
        assert_eq!(found, [("New York|is".to_owned(), "B-LOC|O".to_owned())]);
        let blank = ColumnLayout { separator: Separator::Blank, ..ColumnLayout::default() };
        assert_eq!(read_as("New\t York B-LOC\n", blank).unwrap()[0].0, "New");
        let comma = ColumnLayout { separator: ",".parse().unwrap(), ..ColumnLayout::default() };
        let quoted = read_as("a,O\n\"b, c\",O\n", comma.clone()).unwrap_err();
        assert!(
            quoted.ends_with("(quotes around a column are not read: write the table with tabs)"),
            "{quoted}"
        );
        assert_eq!(read_as("New York, x, B-LOC\n,,\n a,,O\n", comma).unwrap().len(), 2);
    }

    #[test]
    fn columns_are_those_that_are_asked_for() {
        let layout = |word: &str, tag: &str| ColumnLayout {
            word: Some(word.parse().unwrap()),
            tag: Some(tag.parse().unwrap()),
            ..ColumnLayout::default()
        };
        let file = "1 a DT O B-x\n2 b NN I-y O\n";
        assert_eq!(read_as(file, layout("2", "-2")).unwrap(), [("a|b".into(), "O|I-y".into())]);
        assert_eq!(read_as(file, layout("-4", "3")).unwrap(), [("a|b".into(), "DT|NN".into())]);
        assert_eq!(
            read_as(file, layout("2", "6")).unwrap_err(),
            "f:1: no tag in column 6, expected a tag there"
        );
        assert_eq!(
            read_as(file, layout("-6", "1")).unwrap_err(),
            "f:1: no word in column -6, expected a word there"
        );
        assert_eq!(
            read_as(file, layout("tokens", "1")).unwrap_err(),
            "f:1: no word in column tokens, expected a word there"
        );
        for bad in ["0", "0:x", "_", "", "1:", "9999999999"] {
            assert!(bad.parse::<crate::Column>().is_err(), "{bad}");
        }
        let comments = ColumnLayout { comments: Some("#".into()), ..ColumnLayout::default() };
        let tweet = "# id 1 2\n#tag O\n# O\n\n# x\na O\n# O\n";
        // Before a sentence only, and only if asked for.
        assert_eq!(read_as(tweet, comments).unwrap(), [("a|#".into(), "O|O".into())]);
        assert_eq!(read_as("#tag O\n", ColumnLayout::default()).unwrap(), [("#tag".into(), "O".into())]);
    }

    #[test]
    fn wrong_columns_are_recognised() {
        let index = "1\tThe\tO\n2\tcat\tB-x\n3\tsat\tO\n\n".repeat(4);
        let message = read_as(&index, ColumnLayout::default()).unwrap_err();
        assert!(
            message.starts_with("f:13: the first column counts the words of each sentence, expected words"),
            "{message}"
        );
        // In a short file at its end.
        let short = read_as("1 The x O\n2 cat x B-x\n\n1 Now x O\n", ColumnLayout::default()).unwrap_err();
        assert!(short.starts_with("f:4: the first column counts the words of each sentence"), "{short}");
        let word = ColumnLayout { word: Some("2".parse().unwrap()), ..ColumnLayout::default() };
        assert_eq!(read_as(&index, word).unwrap().len(), 4);
        let first = ColumnLayout { word: Some("1".parse().unwrap()), ..ColumnLayout::default() };
        assert_eq!(read_as(&index, first.clone()).unwrap().len(), 4);

        let tags = "O\tshow\nB-ACTOR\ttom\nI-ACTOR\thanks\n\n".repeat(4);
        let message = read_as(&tags, ColumnLayout::default()).unwrap_err();
        assert!(message.starts_with("f:13: the first column has tags, the last one has words"), "{message}");
        // Parts of speech before words: in a hundred lines, and in a file of fewer.
        let line = |number: usize| format!("{}\tw{}\n\n", ["DT", "NN", "VB"][number % 3], number * 7 % 60);
        let pos: Vec<String> = (0..120).map(line).collect();
        for (lines, message) in [
            (
                120,
                "f:199: 3 different first columns and 60 different last ones in 100 lines, expected the word",
            ),
            (40, "f:80: 3 different first columns and 40 different last ones in 40 lines"),
        ] {
            let message_of = read_as(&pos[..lines].concat(), ColumnLayout::default()).unwrap_err();
            assert!(message_of.starts_with(message), "{message_of}");
        }
        assert_eq!(read_as(&pos.concat(), first.clone()).unwrap().len(), 120);
        let swapped = ColumnLayout {
            word: Some("-1".parse().unwrap()),
            tag: Some("1".parse().unwrap()),
            ..ColumnLayout::default()
        };
        assert_eq!(read_as(&pos.concat(), swapped).unwrap()[0], ("w0".into(), "DT".into()));
        // Numbers as words, and words that look like tags, are no such files.
        let numbers = "1 B-x\n2 I-x\n3 I-x\n\n".repeat(9);
        assert_eq!(read_as(&numbers, ColumnLayout::default()).unwrap().len(), 9);
        let letters = "O O\nO O\nB-12 B-x\n\n".repeat(9);
        assert_eq!(read_as(&letters, ColumnLayout::default()).unwrap().len(), 9);
    }

    #[test]
    fn files_are_read_as_their_names_and_first_bytes_say() {
        use flate2::{Compression, write::GzEncoder};
        let folder = tempfile::tempdir().unwrap();
        let read = |name: &str, content: &[u8]| {
            let path = folder.path().join(name);
            std::fs::write(&path, content).unwrap();
            let found = read_conll(&path).map_err(|error| error.to_string());
            found.map(|all| all.iter().map(|s| (s.words().join("|"), s.tags().join("|"))).collect::<Vec<_>>())
        };
        let expected = [("a|b".to_owned(), "O|B-x".to_owned())];
        let gzip = |content: &[u8]| {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
            encoder.write_all(content).unwrap();
            encoder.finish().unwrap()
        };
        assert_eq!(read("c.conll", &gzip(b"a O\nb B-x\n")).unwrap(), expected);
        // Two members, one after the other.
        assert_eq!(read("d.gz", &[gzip(b"a O\n"), gzip(b"b B-x\n")].concat()).unwrap(), expected);
        let json = b"{\"tokens\": [\"a\", \"b\"], \"tags\": [\"O\", \"B-x\"], \"id\": 1}\n\n";
        assert_eq!(read("c.jsonl", json).unwrap(), expected);
        assert_eq!(read("c.json.gz", &gzip(json)).unwrap(), expected);
        let conllu = "# text = dem b\n1-2\tzum\t_\t_\n1\ta\tl\tO\n2\tb\tl\tB-x\n2.1\tc\tl\tX\n";
        assert_eq!(read("c.conllu", conllu.as_bytes()).unwrap(), expected);
        let name = ColumnLayout { tag: Some("3:name".parse().unwrap()), ..ColumnLayout::default() };
        std::fs::write(folder.path().join("n.conllu"), "1\ta\tname=O\n2\tb\tNo=1|name=B-x\n").unwrap();
        assert_eq!(read_corpus(folder.path().join("n.conllu"), &name).unwrap()[0].tags(), ["O", "B-x"]);
        // Other fields, and tags as numbers.
        let other = b"{\"text\": [\"a\", \"b\"], \"chunk\": [0, 1], \"tags\": [\"X\", \"X\"]}\n";
        std::fs::write(folder.path().join("o.jsonl"), other).unwrap();
        let numbers = ColumnLayout {
            word: Some("text".parse().unwrap()),
            tag: Some("chunk".parse().unwrap()),
            tag_names: Some(vec!["O".into(), "B-x".into()]),
            ..ColumnLayout::default()
        };
        assert_eq!(read_corpus(folder.path().join("o.jsonl"), &numbers).unwrap()[0].tags(), ["O", "B-x"]);
        let one = ColumnLayout { tag_names: Some(vec!["O".into()]), ..numbers };
        let error = read_corpus(folder.path().join("o.jsonl"), &one).unwrap_err().to_string();
        assert!(
            error.ends_with(
                "o.jsonl:1: 1 in chunk, expected a number below 1, of which --tag-names has names"
            ),
            "{error}"
        );
        for (name, content, message) in [
            (
                "e.jsonl",
                &b"{\"tokens\": [\"a\"]}\n"[..],
                "e.jsonl:1: no tags, expected an object with \"tokens\" and",
            ),
            (
                "e.jsonl",
                b"\n{\"tokens\": [\"a\"], \"ner_tags\": [3]}\n",
                "e.jsonl:2: 3 in ner_tags, expected strings",
            ),
            (
                "e.jsonl",
                b"{\"tokens\": [\"a\"], \"tags\": []}\n",
                "e.jsonl:1: tags: 0, expected 1, one for each word",
            ),
            ("e.jsonl", b"{\"tags\": [], \"tags\": []}\n", "e.jsonl:1: no JSON object: the field tags again"),
            ("e.jsonl", b"[1]\n", "e.jsonl:1: a JSON array (jq -c '.[]' writes each"),
            (
                "e.jsonl",
                b"{\n\"tokens\": []\n}\n",
                "e.jsonl:1: no whole JSON object (jq -c . writes each on one line)",
            ),
            ("e.jsonl", b"\n\n", "e.jsonl:2: there is no sentence"),
            ("e.gz", &gzip(b"a O\n")[..12], "e.gz: cannot read: "),
        ] {
            let error = read(name, content).unwrap_err();
            assert!(error.contains(message), "{error}");
        }
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

        // All lines come back, those between sentences with the sentence after them.
        let text = "# c\n\n-DOCSTART- O\na\tO\nb\tO\n\n\nc\tO\n-DOCSTART-\td\n# e\n";
        let layout = ColumnLayout { comments: Some("#".into()), ..ColumnLayout::default() };
        let mut conll = SentenceReader::conll_with(text.as_bytes(), "f", layout);
        let own = |columns: &[&str]| columns.iter().map(|column| column.to_string()).collect::<Vec<_>>();
        let other = |text: &str| RowLine::Other(text.to_owned());
        let mut lines = || conll.next_rows().unwrap().map(|found| found.lines);
        assert_eq!(
            lines().unwrap(),
            [
                other("# c"),
                other(""),
                RowLine::Document(own(&["-DOCSTART-", "O"])),
                RowLine::Word(own(&["a", "O"])),
                RowLine::Word(own(&["b", "O"])),
                other(""),
            ]
        );
        let end = RowLine::Document(own(&["-DOCSTART-", "d"]));
        assert_eq!(lines().unwrap(), [other(""), RowLine::Word(own(&["c", "O"])), end]);
        assert_eq!(lines().unwrap(), [other("# e")]);
        assert_eq!(lines(), None);

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
    fn a_reader_takes_a_lower_limit_for_lines() {
        let mut lines = SentenceReader::lines("a bc\na b c\nd".as_bytes(), "f").longest_line(4);
        assert_eq!(lines.next_sentence().unwrap().unwrap(), ["a", "bc"]);
        let message = lines.next_sentence().unwrap_err().to_string();
        assert_eq!(message, "f:2: the line is too long, expected at most 4 bytes");
        assert_eq!(lines.next_sentence().unwrap().unwrap(), ["d"]);
        let mut conll = SentenceReader::conll("abcde\n".as_bytes(), "f").longest_line(4);
        assert!(conll.next_sentence().unwrap_err().to_string().starts_with("f:1: the line is too long"));
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
        assert!(new(&["a b"], &["O"]).is_ok());
        assert!(new(&["a\tb"], &["O"]).unwrap_err().contains("expected one word, found white space"));
        assert!(new(&["a"], &["O O"]).unwrap_err().contains("expected one tag, found white space"));
        assert!(new(&[" a"], &["O"]).is_err());
        assert!(new(&["a"], &[""]).is_err());
    }

    #[test]
    fn what_the_format_cannot_hold_is_not_written() {
        let mut out = Vec::new();
        let mut writer = ConllWriter::new(&mut out, "out");
        writer.write(&["a"], &["O"]).unwrap();
        for word in
            ["", " a", "a ", "a\tb", "-DOCSTART- a", "a\n", "a\r", "-DOCSTART-", &"x".repeat(MAX_TOKEN + 1)]
        {
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

    fn word() -> impl Strategy<Value = String> {
        prop_oneof![token(), (token(), token()).prop_map(|(one, other)| format!("{one} {other}"))]
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(
            sentences in prop::collection::vec(prop::collection::vec((word(), token()), 1..6), 0..6)
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
        let open = |reader: Box<dyn Read>| CorpusReader::new(reader, "f", &ColumnLayout::default()).unwrap();
        let read = |most| read_all(open(Box::new(&b"a O\nb O\n\nc O\n"[..])), most);
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
        assert!(read_all(open(Box::new(Endless)), 100_000).unwrap_err().to_string().starts_with("f:4"));
    }
}
