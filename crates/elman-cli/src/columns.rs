//! `elman tag --format parquet` and `--format arrow`: a column of words in, the same file with a column of tags out.

use std::fs::File;
use std::io::{self, Read, Write};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Int32Type;
use arrow_array::{
    Array, ArrayRef, DictionaryArray, Int32Array, ListArray, RecordBatch, RecordBatchReader, StringArray,
};
use arrow_buffer::OffsetBuffer;
use arrow_ipc::reader::{FileReader, StreamReader};
use arrow_ipc::writer::{FileWriter, StreamWriter};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use elman_tagger::{Error, FileKind, Labels, MAX_WORDS, Pipeline, write_output_with};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ParquetRecordBatchReaderBuilder};
use parquet::file::properties::WriterProperties;

use crate::input;
use crate::output::STANDARD_OUTPUT;

const PARQUET: FileKind = FileKind { name: "a Parquet file", begins: |start| start.starts_with(b"PAR1") };
const ARROW: FileKind = FileKind {
    name: "an Arrow file",
    begins: |start| start.starts_with(MAGIC) || start.starts_with(&[0xff; 4]),
};
/// The beginning of an Arrow file; Arrow's streaming format has none.
const MAGIC: &[u8] = b"ARROW1";

/// Rows that are read, tagged and written together.
const TOGETHER: usize = 1024;
/// So many bytes of a row group are kept in memory before it is written, and a new one begun.
const ROW_GROUP: usize = 1 << 27;

/// A row group is read, tagged and written piece by piece: memory depends on its size at most, not on the file's.
pub(crate) fn tag_parquet(
    path: &Path,
    out: Option<&Path>,
    names: Names,
    pipeline: &mut Pipeline,
    labels: &Labels,
) -> Result<(), Error> {
    if input::is_standard_input(path) {
        return Err(unsupported(path, "a Parquet file on the standard input", "the name of a file"));
    }
    let file = open(path)?;
    let damaged = |error: parquet::errors::ParquetError| unsupported(path, error, "a whole Parquet file");
    let metadata = ArrowReaderMetadata::load(&file, Default::default()).map_err(damaged)?;
    let mut tagger = Tagger::new(path, metadata.schema(), names, pipeline, labels)?;
    let groups = metadata.metadata().row_groups();
    let mut properties = WriterProperties::builder().set_max_row_group_row_count(None);
    if let Some(column) = groups.first().and_then(|group| group.columns().first()) {
        properties = properties.set_compression(column.compression());
    }
    let unwritten = |error: parquet::errors::ParquetError| failed(out, error);
    write(path, out, PARQUET, |to| {
        let writer = ArrowWriter::try_new(to, tagger.schema.clone(), Some(properties.build()));
        let mut writer = writer.map_err(unwritten)?;
        for group in 0..groups.len() {
            let again = file.try_clone().map_err(|source| read_error(path, source))?;
            let reader = ParquetRecordBatchReaderBuilder::new_with_metadata(again, metadata.clone())
                .with_row_groups(vec![group])
                .with_batch_size(TOGETHER)
                .build()
                .map_err(damaged)?;
            for batch in reader {
                let batch = batch.map_err(|error| unsupported(path, error, "a whole Parquet file"))?;
                writer.write(&tagger.tagged(&batch)?).map_err(unwritten)?;
                if writer.in_progress_size() > ROW_GROUP {
                    writer.flush().map_err(unwritten)?;
                }
            }
            writer.flush().map_err(unwritten)?;
        }
        writer.close().map(drop).map_err(unwritten)
    })
}

/// A file gives a file, a stream a stream.
pub(crate) fn tag_arrow(
    path: &Path,
    out: Option<&Path>,
    names: Names,
    pipeline: &mut Pipeline,
    labels: &Labels,
) -> Result<(), Error> {
    let damaged = |error: arrow_schema::ArrowError| {
        unsupported(path, error, "a whole Arrow file, or Arrow's streaming format")
    };
    let mut input = input::open(path)?;
    let mut start = Vec::new();
    input
        .by_ref()
        .take(MAGIC.len() as u64)
        .read_to_end(&mut start)
        .map_err(|source| read_error(path, source))?;
    let is_file = start == MAGIC;
    let reader: Box<dyn RecordBatchReader> = if is_file {
        if input::is_standard_input(path) {
            let expected = "Arrow's streaming format there, or the name of the file";
            return Err(unsupported(path, "an Arrow file on the standard input", expected));
        }
        Box::new(FileReader::try_new_buffered(open(path)?, None).map_err(damaged)?)
    } else {
        let whole = io::Cursor::new(start).chain(input);
        Box::new(StreamReader::try_new_buffered(whole, None).map_err(damaged)?)
    };
    let mut tagger = Tagger::new(path, &reader.schema(), names, pipeline, labels)?;
    let unwritten = |error: arrow_schema::ArrowError| failed(out, error);
    write(path, out, ARROW, |to| {
        let schema = tagger.schema.clone();
        let mut writer: Box<dyn Batches + '_> = if is_file {
            Box::new(FileWriter::try_new_buffered(to, &schema).map_err(unwritten)?)
        } else {
            Box::new(StreamWriter::try_new_buffered(to, &schema).map_err(unwritten)?)
        };
        for batch in reader {
            let batch = batch.map_err(damaged)?;
            // An empty batch is a batch, too.
            for first in (0..batch.num_rows().max(1)).step_by(TOGETHER) {
                let part = batch.slice(first, TOGETHER.min(batch.num_rows() - first));
                writer.put(&tagger.tagged(&part)?).map_err(unwritten)?;
            }
        }
        writer.end().map_err(unwritten)
    })
}

/// The writers of Arrow's two formats.
trait Batches {
    fn put(&mut self, batch: &RecordBatch) -> Result<(), arrow_schema::ArrowError>;
    fn end(&mut self) -> Result<(), arrow_schema::ArrowError>;
}

macro_rules! batches {
    ($writer:ident) => {
        impl<W: Write> Batches for $writer<W> {
            fn put(&mut self, batch: &RecordBatch) -> Result<(), arrow_schema::ArrowError> {
                self.write(batch)
            }

            fn end(&mut self) -> Result<(), arrow_schema::ArrowError> {
                self.finish()?;
                self.flush()
            }
        }
    };
}
batches!(FileWriter);
batches!(StreamWriter);

/// The names of the columns; by default `words` or else `tokens`, and `tags`.
#[derive(Default)]
pub(crate) struct Names {
    pub(crate) words: Option<String>,
    pub(crate) tags: Option<String>,
}

/// Adds a column of tags.
struct Tagger<'a> {
    path: &'a Path,
    pipeline: &'a mut Pipeline,
    /// The column of the words.
    words: usize,
    schema: SchemaRef,
    item: Arc<Field>,
    tags: ArrayRef,
    /// Rows before the next batch.
    rows: usize,
}

impl<'a> Tagger<'a> {
    fn new(
        path: &'a Path,
        schema: &Schema,
        names: Names,
        pipeline: &'a mut Pipeline,
        labels: &Labels,
    ) -> Result<Self, Error> {
        let given: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
        let is_there = |name: &&str| given.contains(name);
        let found = match &names.words {
            Some(name) => Some(name.as_str()).filter(is_there),
            None => ["words", "tokens"].into_iter().find(is_there),
        };
        let wanted = names.words.as_deref().unwrap_or("words or tokens");
        let Some(words) = found.and_then(|name| given.iter().position(|given| *given == name)) else {
            let problem = format!("no column {wanted}");
            let expected = format!("one of {} as --word-column", given.join(", "));
            return Err(unsupported(path, problem, expected));
        };
        let kind = schema.field(words).data_type();
        if !is_words(kind) {
            let problem = format!("column {} of {kind}", given[words]);
            return Err(unsupported(path, problem, "a list of strings in each row"));
        }
        let tags = names.tags.unwrap_or_else(|| "tags".to_owned());
        if given.contains(&tags.as_str()) {
            let problem = format!("a column {tags} is there already");
            return Err(unsupported(path, problem, "the name of a new column as --tag-column"));
        }
        let coded = DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
        let item = Arc::new(Field::new_list_field(coded, true));
        let field = Field::new(tags, DataType::List(item.clone()), true);
        let fields: Vec<_> = schema.fields().iter().cloned().chain([Arc::new(field)]).collect();
        let schema = Arc::new(Schema::new_with_metadata(fields, schema.metadata().clone()));
        let tags: ArrayRef = Arc::new(StringArray::from_iter_values(labels.tags()));
        Ok(Tagger { path, pipeline, words, schema, item, tags, rows: 0 })
    }

    fn tagged(&mut self, batch: &RecordBatch) -> Result<RecordBatch, Error> {
        let column = batch.column(self.words);
        let damaged =
            |error: arrow_schema::ArrowError| Error::shape("column of tags", "one that Arrow allows", error);
        let (Some((values, ranges)), path) = (rows(column), self.path) else {
            return Err(unsupported(
                self.path,
                format!("a column of {}", column.data_type()),
                "lists of strings",
            ));
        };
        let texts = texts(values).unwrap_or_default();
        let mut all: Vec<&str> = Vec::new();
        for (row, range) in ranges.iter().enumerate() {
            let place =
                || format!("row {} of column {}", self.rows + row + 1, self.schema.field(self.words).name());
            if range.len() > MAX_WORDS {
                let problem = format!("{}: {} words", place(), range.len());
                return Err(unsupported(path, problem, format!("at most {MAX_WORDS}")));
            }
            for (word, text) in texts.get(range.clone()).unwrap_or_default().iter().enumerate() {
                let null = || unsupported(path, format!("{}: null as word {}", place(), word + 1), "a word");
                all.push(text.ok_or_else(null)?);
            }
        }
        let mut rest = &all[..];
        let sentences = ranges.iter().map(|range| {
            let (words, others) = rest.split_at(range.len().min(rest.len()));
            rest = others;
            words
        });
        // As many labels as 32 bits hold, at most.
        let ids = self.pipeline.label_all(sentences)?.iter().map(|id| *id as i32);
        let ids = DictionaryArray::<Int32Type>::try_new(Int32Array::from_iter_values(ids), self.tags.clone());
        // TOGETHER sentences of MAX_WORDS words.
        let offsets = OffsetBuffer::from_lengths(ranges.iter().map(Range::len));
        let (ids, nulls) = (Arc::new(ids.map_err(damaged)?), column.nulls().cloned());
        let tags = ListArray::try_new(self.item.clone(), offsets, ids, nulls).map_err(damaged)?;
        let columns = batch.columns().iter().cloned().chain([Arc::new(tags) as ArrayRef]).collect();
        self.rows += batch.num_rows();
        RecordBatch::try_new(self.schema.clone(), columns).map_err(damaged)
    }
}

fn is_words(kind: &DataType) -> bool {
    fn is_text(kind: &DataType) -> bool {
        match kind {
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View | DataType::Null => true,
            DataType::Dictionary(_, value) => is_text(value),
            _ => false,
        }
    }
    match kind {
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::FixedSizeList(item, _)
        | DataType::ListView(item)
        | DataType::LargeListView(item) => is_text(item.data_type()),
        _ => false,
    }
}

/// The values of a column of lists, and where each row's are; a null row has none.
fn rows(column: &ArrayRef) -> Option<(&ArrayRef, Vec<Range<usize>>)> {
    let filled = |row: usize, range: Range<usize>| if column.is_null(row) { 0..0 } else { range };
    macro_rules! ranges {
        ($list:expr, $row:ident => $range:expr) => {{
            let list = $list;
            let ranges = (0..list.len()).map(|$row| filled($row, $range(list))).collect();
            Some((list.values(), ranges))
        }};
    }
    macro_rules! parted {
        ($list:expr) => {{
            let offsets = $list.value_offsets();
            ranges!($list, row => |_| offsets[row] as usize..offsets[row + 1] as usize)
        }};
    }
    macro_rules! viewed {
        ($list:expr) => {{
            let list = $list;
            ranges!(list, row => |_| list.value_offset(row) as usize
                ..(list.value_offset(row) + list.value_size(row)) as usize)
        }};
    }
    match column.data_type() {
        DataType::List(_) => parted!(column.as_list::<i32>()),
        DataType::LargeList(_) => parted!(column.as_list::<i64>()),
        DataType::ListView(_) => viewed!(column.as_list_view::<i32>()),
        DataType::LargeListView(_) => viewed!(column.as_list_view::<i64>()),
        DataType::FixedSizeList(_, size) => {
            let (list, size) = (column.as_fixed_size_list(), *size as usize);
            Some((
                list.values(),
                (0..list.len()).map(|row| filled(row, row * size..(row + 1) * size)).collect(),
            ))
        }
        _ => None,
    }
}

/// Strings in any of their layouts.
fn texts(array: &ArrayRef) -> Option<Vec<Option<&str>>> {
    Some(match array.data_type() {
        DataType::Utf8 => array.as_string::<i32>().iter().collect(),
        DataType::LargeUtf8 => array.as_string::<i64>().iter().collect(),
        DataType::Utf8View => array.as_string_view().iter().collect(),
        DataType::Null => vec![None; array.len()],
        DataType::Dictionary(..) => {
            let dictionary = array.as_any_dictionary();
            let values = texts(dictionary.values())?;
            if values.is_empty() {
                return Some(vec![None; array.len()]);
            }
            let keys = dictionary.normalized_keys().into_iter().enumerate();
            keys.map(|(place, key)| if array.is_null(place) { None } else { values[key] }).collect()
        }
        _ => return None,
    })
}

/// Writes a file as a whole or not at all, or the standard output.
fn write(
    path: &Path,
    out: Option<&Path>,
    kind: FileKind,
    content: impl FnOnce(&mut (dyn Write + Send)) -> Result<(), Error>,
) -> Result<(), Error> {
    let Some(out) = out else {
        let mut stdout = io::stdout();
        content(&mut stdout)?;
        return crate::output::written(stdout.flush());
    };
    if let (Ok(path), Ok(out)) = (path.canonicalize(), out.canonicalize())
        && path == out
    {
        return Err(unsupported(&out, "the input, and --out", "another file"));
    }
    write_output_with(out, kind, content)
}

fn open(path: &Path) -> Result<File, Error> {
    File::open(path).map_err(|source| Error::Io { path: path.to_owned(), action: "open", source })
}

fn read_error(path: &Path, source: io::Error) -> Error {
    Error::Io { path: path.to_owned(), action: "read", source }
}

fn unsupported(path: &Path, problem: impl ToString, expected: impl Into<String>) -> Error {
    Error::Input {
        path: path.to_owned(),
        line: None,
        problem: problem.to_string(),
        expected: expected.into(),
    }
}

fn failed(out: Option<&Path>, error: impl std::error::Error + Send + Sync + 'static) -> Error {
    let path = out.unwrap_or(Path::new(STANDARD_OUTPUT)).to_owned();
    Error::Io { path, action: "write", source: io::Error::other(error) }
}
