use std::collections::HashSet;
use std::fmt;
use std::path::Path;
use std::str::FromStr;

/// Which columns of a file are the word and the tag, and how its lines are taken apart.
///
/// ```
/// use elman_tagger::{ConllReader, ColumnLayout};
///
/// let file = "1\tNew York\tB-LOC\t_\n";
/// let layout = ColumnLayout { word: Some("2".parse()?), tag: Some("-2".parse()?), ..ColumnLayout::default() };
/// let sentence = ConllReader::with_layout(file.as_bytes(), "example", layout).next().unwrap().unwrap();
/// assert_eq!((sentence.words()[0].as_str(), sentence.tags()[0].as_str()), ("New York", "B-LOC"));
/// # Ok::<(), String>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ColumnLayout {
    /// The separator of columns.
    pub separator: Separator,
    /// The column of the words; the first one by default.
    pub word: Option<Column>,
    /// The column of the tags; the last one by default.
    pub tag: Option<Column>,
    /// A line that begins so before the first word of a sentence is passed over. By default there are no comments:
    /// a tweet may begin with `#`.
    pub comments: Option<String>,
    /// The names of the tags that JSON lines give as numbers, from 0 on.
    pub tag_names: Option<Vec<String>>,
    /// Rows of CoNLL-U that are no words of the text are passed over: ranges (`1-2`) and empty nodes (`8.1`).
    pub conllu: bool,
}

impl ColumnLayout {
    /// CoNLL-U: columns parted by tabs, comments with `#`, the word in the second and its part of speech in the
    /// fourth column.
    pub fn conllu() -> Self {
        ColumnLayout {
            separator: Separator::Tab,
            word: Some(Column { number: 2, key: None }),
            tag: Some(Column { number: 4, key: None }),
            comments: Some("#".to_owned()),
            tag_names: None,
            conllu: true,
        }
    }

    /// The layout of a file of this name: what is not set here is as its extension says (`.conllu`, also before
    /// `.gz`).
    pub fn of_file(&self, path: &Path) -> Self {
        if !has_extension(path, &["conllu", "conllup"]) {
            return self.clone();
        }
        let conllu = ColumnLayout::conllu();
        ColumnLayout {
            separator: if self.separator == Separator::Auto {
                conllu.separator
            } else {
                self.separator.clone()
            },
            word: self.word.clone().or(conllu.word),
            tag: self.tag.clone().or(conllu.tag),
            comments: self.comments.clone().or(conllu.comments),
            tag_names: self.tag_names.clone(),
            conllu: true,
        }
    }
}

/// Whether a path has one of these extensions, before a `.gz` if there is one.
pub(crate) fn has_extension(path: &Path, extensions: &[&str]) -> bool {
    let is = |path: &Path, extensions: &[&str]| {
        let found = path.extension().and_then(|extension| extension.to_str());
        found.is_some_and(|found| extensions.iter().any(|extension| found.eq_ignore_ascii_case(extension)))
    };
    if is(path, &["gz"]) { is(&path.with_extension(""), extensions) } else { is(path, extensions) }
}

/// The separator of the columns of a line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Separator {
    /// As the first line of columns has it: each tab if there is one in it, else [`Separator::Blank`].
    #[default]
    Auto,
    /// Each tab; blanks around a column are dropped, those within stay.
    Tab,
    /// Each run of blanks and tabs.
    Blank,
    /// Each occurrence of a text.
    Text(String),
}

impl FromStr for Separator {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Separator::Auto),
            "tab" | "\t" | "\\t" => Ok(Separator::Tab),
            "blank" | "space" | " " => Ok(Separator::Blank),
            "" => Err("expected tab, blank, or a text that parts columns".to_owned()),
            text => Ok(Separator::Text(text.to_owned())),
        }
    }
}

impl Separator {
    /// The separator of a file of which this is the first line.
    pub(crate) fn of(line: &str) -> Self {
        if line.contains('\t') { Separator::Tab } else { Separator::Blank }
    }

    /// The columns of a line; none of a line without any.
    pub(crate) fn split<'l>(&self, line: &'l str) -> Vec<&'l str> {
        let blanks = [' ', '\t'];
        let trim = |column: &'l str| column.trim_matches(blanks);
        let mut columns: Vec<&str> = match self {
            Separator::Auto | Separator::Blank => {
                line.split(blanks).filter(|column| !column.is_empty()).collect()
            }
            Separator::Tab => line.split('\t').map(trim).collect(),
            Separator::Text(text) => line.split(text.as_str()).map(trim).collect(),
        };
        while columns.last().is_some_and(|column| column.is_empty()) {
            columns.pop();
        }
        columns
    }
}

/// A column by its number: 1 is the first one, -1 the last one. `10:name` is the value of `name` in column 10
/// where that is a list such as `SpaceAfter=No|name=B-PER`. In JSON lines, which have no columns, a name that begins
/// with a letter is that of a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// 0: the key is the name of a field.
    number: i32,
    key: Option<String>,
}

impl FromStr for Column {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (number, key) =
            text.split_once(':').map_or((text, None), |(number, key)| (number, Some(key.to_owned())));
        if text.starts_with(char::is_alphabetic) {
            return Ok(Column { number: 0, key: Some(text.to_owned()) });
        }
        match number.parse() {
            Ok(number) if number != 0 && key.as_deref() != Some("") => Ok(Column { number, key }),
            _ => {
                Err("expected a column: 1 is the first, -1 the last; 10:name is name=... in column 10; name is a \
                     field of JSON lines"
                    .to_owned())
            }
        }
    }
}

impl fmt::Display for Column {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(field) = self.field() {
            return f.write_str(field);
        }
        write!(f, "{}", self.number)?;
        self.key.as_ref().map_or(Ok(()), |key| write!(f, ":{key}"))
    }
}

impl Column {
    /// The name of a field.
    pub(crate) fn field(&self) -> Option<&str> {
        self.key.as_deref().filter(|_| self.number == 0)
    }

    /// The text of a line in this column.
    pub(crate) fn of<'l>(&self, columns: &[&'l str]) -> Option<&'l str> {
        let place = usize::try_from(self.number.unsigned_abs()).ok().filter(|place| *place > 0)?;
        let place = if self.number > 0 { place - 1 } else { columns.len().checked_sub(place)? };
        let column = *columns.get(place)?;
        match &self.key {
            None => Some(column),
            Some(key) => column
                .split('|')
                .find_map(|part| part.split_once('=').filter(|(k, _)| k == key))
                .map(|(_, v)| v),
        }
    }
}

/// Whether two columns are the names of a column of words and of one of tags, as the first line of a table has them.
fn are_names(first: &str, last: &str) -> bool {
    let is = |text: &str, names: &[&str]| names.iter().any(|name| text.eq_ignore_ascii_case(name));
    is(first, &["word", "words", "token", "tokens", "text", "form"])
        && is(
            last,
            &["tag", "tags", "label", "labels", "ner", "ner_tag", "ner_tags", "pos", "slot", "slots", "iob"],
        )
}

/// Finds out after some lines that the first and last columns are not the word and the tag.
#[derive(Default)]
pub(crate) struct Suspect {
    /// The last column is read as the tag.
    tagged: bool,
    columns: usize,
    rows: usize,
    /// The different first and last columns of the first rows.
    firsts: HashSet<String>,
    lasts: HashSet<String>,
    sentences: usize,
    /// All first columns so far count the words of their sentence.
    counts: Option<bool>,
    /// All first columns so far look like tags, and so many last ones do.
    tags_first: Option<bool>,
    tags_last: usize,
    named: usize,
}

impl Suspect {
    /// Rows after which the answer is given.
    const ENOUGH: usize = 10;
    /// Rows by which tags without a scheme, such as parts of speech, are told from words: by how few they are.
    const MANY: usize = 100;
    /// Rows that are enough for that in a file that has no more.
    const FEW: usize = 30;

    pub(crate) fn new(tagged: bool) -> Self {
        Suspect { tagged, ..Suspect::default() }
    }

    /// The problem of a file that ends before there were rows enough.
    pub(crate) fn at_the_end(&self) -> Option<(String, String)> {
        match self.rows {
            0..Suspect::ENOUGH => self.count_first(),
            Suspect::FEW..Suspect::MANY => self.few_first(),
            _ => None,
        }
    }

    /// The first column counts words.
    fn count_first(&self) -> Option<(String, String)> {
        (self.counts == Some(true) && self.sentences > 1 && self.columns > 2).then(|| {
            (
                "the first column counts the words of each sentence".to_owned(),
                "words there (--word-column 2 takes them from the second column; 1 insists on the first)"
                    .to_owned(),
            )
        })
    }

    /// The first column repeats few texts and the last one has many: tags before words.
    fn few_first(&self) -> Option<(String, String)> {
        let (firsts, lasts) = (self.firsts.len(), self.lasts.len());
        (self.tagged && 2 * firsts <= self.rows && 2 * firsts <= lasts).then(|| {
            let rows = self.rows;
            (
                format!("{firsts} different first columns and {lasts} different last ones in {rows} lines"),
                "the word first and the tag last (--word-column -1 --tag-column 1 takes them the other way round; \
                 --word-column 1 insists)"
                    .to_owned(),
            )
        })
    }

    /// Takes note of a row, the `place`-th of its sentence; the problem and what is expected, once it is sure.
    pub(crate) fn row(&mut self, place: usize, columns: &[&str]) -> Option<(String, String)> {
        self.rows += 1;
        self.sentences += usize::from(place == 0);
        self.columns = columns.len();
        let (first, last) = (columns.first()?, columns.last()?);
        let number = first.parse::<usize>().ok();
        let counts = number == Some(place + 1) || number == Some(place);
        *self.counts.get_or_insert(true) &= counts;
        let is_tag = |text: &str| {
            text == "O"
                || text.split_once('-').is_some_and(|(letter, kind)| {
                    matches!(letter, "B" | "I" | "E" | "S" | "L" | "U" | "M") && !kind.is_empty()
                })
        };
        *self.tags_first.get_or_insert(true) &= is_tag(first);
        self.tags_last += usize::from(is_tag(last));
        self.named += usize::from(*first != "O");
        if self.tagged && self.rows <= Suspect::MANY {
            self.firsts.insert((*first).to_owned());
            self.lasts.insert((*last).to_owned());
        }
        if self.rows == 1 && self.tagged && are_names(first, last) {
            return Some((
                format!("the line names columns: {first:?}, {last:?}"),
                "a word and a tag (tail -n +2 leaves the first line out; --word-column 1 insists)".to_owned(),
            ));
        }
        if self.rows < Suspect::ENOUGH {
            return None;
        }
        if let Some(problem) = self.count_first() {
            return Some(problem);
        }
        if self.tags_first == Some(true) && self.named > 0 && 2 * self.tags_last < self.rows {
            return Some((
                "the first column has tags, the last one has words".to_owned(),
                "the word first and the tag last (or --word-column -1 --tag-column 1)".to_owned(),
            ));
        }
        if self.rows == Suspect::MANY { self.few_first() } else { None }
    }
}
