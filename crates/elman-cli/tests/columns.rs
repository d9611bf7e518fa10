//! `elman tag --format parquet` and `--format arrow` give the tags of `--format json`, in the rows that they came in.
#![cfg(feature = "columns")]

mod common;

use std::fs::{self, File};
use std::path::Path;
use std::sync::{Arc, OnceLock};

use arrow_array::builder::{
    LargeListBuilder, LargeStringBuilder, ListBuilder, StringBuilder, StringDictionaryBuilder,
};
use arrow_array::cast::AsArray;
use arrow_array::types::{Int8Type, Int64Type};
use arrow_array::{Array, ArrayRef, FixedSizeListArray, Int64Array, RecordBatch, StringViewArray};
use arrow_ipc::reader::{FileReader, StreamReader};
use arrow_ipc::writer::{FileWriter, StreamWriter};
use arrow_schema::{DataType, Field};
use common::{elman, failure, run, success, text, with_input, write_corpus};
use elman_tagger::travel;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;
use tempfile::TempDir;

type Rows = Vec<Option<Vec<String>>>;

/// A folder with a model.
fn folder() -> &'static TempDir {
    static FOLDER: OnceLock<TempDir> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        write_corpus(&folder.path().join("train.conll"), 1, 60);
        write_corpus(&folder.path().join("dev.conll"), 2, 20);
        let options =
            "train --train train.conll --dev dev.conll --model model --hidden 12 --embed 8 --epochs 2";
        let output = run(folder.path(), &options.split(' ').collect::<Vec<_>>());
        assert!(output.status.success(), "{}", text(&output.stderr));
        folder
    })
}

/// Sentences, among them empty ones and rows without one.
fn sentences(count: usize) -> Rows {
    let sentence = |(i, sentence): (usize, elman_tagger::TaggedSentence)| match i % 17 {
        3 => None,
        5 => Some(Vec::new()),
        7 => Some(vec!["naïve".to_owned(), String::new(), "日本".to_owned()]),
        _ => Some(sentence.words().to_vec()),
    };
    travel::corpus(3, count).into_iter().enumerate().map(sentence).collect()
}

/// The tags of `elman tag --format json`.
fn expected(rows: &Rows) -> Rows {
    let line = |words: &Option<Vec<String>>| {
        format!("{}\n", serde_json::json!({"words": words.iter().flatten().collect::<Vec<_>>()}))
    };
    let input: String = rows.iter().map(line).collect();
    let command = elman(folder().path(), &["tag", "--model", "model", "--format", "json"]);
    let output = success(&with_input(command, input.as_bytes()));
    let tags = output.lines().zip(rows).map(|(line, words)| {
        let object: serde_json::Value = serde_json::from_str(line).unwrap();
        words.as_ref().map(|_| serde_json::from_value(object["tags"].clone()).unwrap())
    });
    tags.collect()
}

fn lists(rows: &Rows) -> ArrayRef {
    let mut builder = ListBuilder::new(StringBuilder::new());
    for row in rows {
        builder.append_option(row.as_ref().map(|words| words.iter().map(Some)));
    }
    Arc::new(builder.finish())
}

fn large_lists(rows: &Rows) -> ArrayRef {
    let mut builder = LargeListBuilder::new(LargeStringBuilder::new());
    for row in rows {
        builder.append_option(row.as_ref().map(|words| words.iter().map(Some)));
    }
    Arc::new(builder.finish())
}

fn coded_lists(rows: &Rows) -> ArrayRef {
    // As many different words as keys.
    let few: Vec<Option<Vec<String>>> =
        rows.iter().map(|row| row.as_ref().map(|words| words.iter().take(3).cloned().collect())).collect();
    let mut builder = ListBuilder::new(StringDictionaryBuilder::<Int8Type>::new());
    for row in few.iter().take(40) {
        builder.append_option(row.as_ref().map(|words| words.iter().map(Some)));
    }
    Arc::new(builder.finish())
}

fn pairs(rows: &Rows) -> ArrayRef {
    let words: Vec<&str> = rows
        .iter()
        .flatten()
        .filter(|words| words.len() > 1)
        .flat_map(|words| words[..2].iter().map(String::as_str))
        .collect();
    let item = Arc::new(Field::new_list_field(DataType::Utf8View, true));
    Arc::new(FixedSizeListArray::new(item, 2, Arc::new(StringViewArray::from_iter_values(words)), None))
}

/// What a column of lists holds.
fn read(column: &ArrayRef) -> Rows {
    let strings = |list: ArrayRef| -> Vec<String> {
        let words: Vec<&str> = match list.data_type() {
            DataType::Utf8 => list.as_string::<i32>().iter().map(Option::unwrap).collect(),
            DataType::LargeUtf8 => list.as_string::<i64>().iter().map(Option::unwrap).collect(),
            DataType::Utf8View => list.as_string_view().iter().map(Option::unwrap).collect(),
            DataType::Dictionary(..) => {
                let dictionary = list.as_any_dictionary();
                let values = dictionary.values().as_string::<i32>();
                return if list.is_empty() {
                    Vec::new()
                } else {
                    dictionary.normalized_keys().iter().map(|key| values.value(*key).to_owned()).collect()
                };
            }
            other => panic!("{other}"),
        };
        words.into_iter().map(str::to_owned).collect()
    };
    let row = |row| -> Option<Vec<String>> {
        let list = match column.data_type() {
            DataType::List(_) => column.as_list::<i32>().value(row),
            DataType::LargeList(_) => column.as_list::<i64>().value(row),
            _ => column.as_fixed_size_list().value(row),
        };
        (!column.is_null(row)).then(|| strings(list))
    };
    (0..column.len()).map(row).collect()
}

fn table(words: ArrayRef, first: i64) -> RecordBatch {
    let ids = Int64Array::from_iter_values(first..first + words.len() as i64);
    RecordBatch::try_from_iter_with_nullable([
        ("id", Arc::new(ids) as ArrayRef, false),
        ("words", words, true),
    ])
    .unwrap()
}

fn write_parquet(path: &Path, batches: &[RecordBatch]) {
    let properties =
        WriterProperties::builder().set_compression(Compression::ZSTD(ZstdLevel::default())).build();
    let mut writer =
        ArrowWriter::try_new(File::create(path).unwrap(), batches[0].schema(), Some(properties)).unwrap();
    for batch in batches {
        writer.write(batch).unwrap();
        writer.flush().unwrap();
    }
    writer.close().unwrap();
}

fn read_parquet(path: &Path) -> (Vec<RecordBatch>, Vec<i64>) {
    let builder = ParquetRecordBatchReaderBuilder::try_new(File::open(path).unwrap()).unwrap();
    let groups = builder.metadata().row_groups().iter().map(|group| {
        assert!(matches!(group.column(0).compression(), Compression::ZSTD(_)));
        group.num_rows()
    });
    let groups = groups.collect();
    (builder.build().unwrap().collect::<Result<_, _>>().unwrap(), groups)
}

/// The rows of a tagged file are those that came in, in their order, with their tags.
fn check(batches: &[RecordBatch], rows: &Rows, tags: &Rows) {
    let ids: Vec<i64> =
        batches.iter().flat_map(|b| b["id"].as_primitive::<Int64Type>().values().to_vec()).collect();
    assert!(ids.iter().copied().eq(0..rows.len() as i64), "{ids:?}");
    let all = |name: &str| -> Rows { batches.iter().flat_map(|batch| read(&batch[name])).collect() };
    assert!(all("words") == *rows);
    assert!(all("tags") == *tags);
}

#[test]
fn a_parquet_file_keeps_its_rows_groups_and_compression() {
    let (path, rows) = (folder().path(), sentences(2500));
    let tags = expected(&rows);
    let sizes = [1500, 1, 999];
    let mut batches = Vec::new();
    let mut first = 0;
    for size in sizes {
        batches.push(table(lists(&rows[first..first + size].to_vec()), first as i64));
        first += size;
    }
    write_parquet(&path.join("in.parquet"), &batches);
    let arguments = ["tag", "--model", "model", "--format", "parquet", "in.parquet"];
    success(&run(path, &[&arguments[..], &["--out", "out.parquet"]].concat()));
    let (found, groups) = read_parquet(&path.join("out.parquet"));
    assert_eq!(groups, sizes.map(|size| size as i64));
    check(&found, &rows, &tags);
    // The standard output has the same bytes.
    assert!(run(path, &arguments).stdout == fs::read(path.join("out.parquet")).unwrap());
}

#[test]
fn every_layout_of_lists_is_read_from_files_and_streams() {
    let (path, rows) = (folder().path(), sentences(1100));
    for (name, column) in [
        ("list", lists(&rows)),
        ("large", large_lists(&rows)),
        ("coded", coded_lists(&rows)),
        ("pairs", pairs(&rows)),
    ] {
        let rows = read(&column);
        let tags = expected(&rows);
        let batch = table(column, 0);
        // A part that does not begin with the buffers' first row.
        let parts = [batch.slice(0, 30), batch.slice(30, 0), batch.slice(30, batch.num_rows() - 30)];
        let file = path.join(format!("{name}.arrow"));
        let mut writer = FileWriter::try_new(File::create(&file).unwrap(), &batch.schema()).unwrap();
        parts.iter().for_each(|part| writer.write(part).unwrap());
        writer.finish().unwrap();
        let out = format!("{name}-tagged.arrow");
        let tag = ["tag", "--model", "model", "--format", "arrow"];
        success(&run(path, &[&tag[..], &[file.to_str().unwrap(), "--out", &out]].concat()));
        let reader = FileReader::try_new(File::open(path.join(&out)).unwrap(), None).unwrap();
        check(&reader.collect::<Result<Vec<_>, _>>().unwrap(), &rows, &tags);

        let mut stream = Vec::new();
        let mut writer = StreamWriter::try_new(&mut stream, &batch.schema()).unwrap();
        parts.iter().for_each(|part| writer.write(part).unwrap());
        writer.finish().unwrap();
        let output = with_input(elman(path, &tag), &stream);
        assert_eq!(text(&output.stderr), "");
        let reader = StreamReader::try_new(&output.stdout[..], None).unwrap();
        check(&reader.collect::<Result<Vec<_>, _>>().unwrap(), &rows, &tags);

        let parquet = path.join(format!("{name}.parquet"));
        write_parquet(&parquet, &parts);
        let out = format!("{name}-tagged.parquet");
        let tag = ["tag", "--model", "model", "--format", "parquet", "--out", &out];
        success(&run(path, &[&tag[..], &[parquet.to_str().unwrap()]].concat()));
        check(&read_parquet(&path.join(out)).0, &rows, &tags);
    }
}

#[test]
fn wrong_columns_and_options_are_named() {
    let path = folder().path();
    write_parquet(&path.join("few.parquet"), &[table(lists(&sentences(3)), 0)]);
    let mut nulls = ListBuilder::new(StringBuilder::new());
    nulls.append_value([Some("a")]);
    nulls.append_value([Some("a"), None]);
    write_parquet(&path.join("nulls.parquet"), &[table(Arc::new(nulls.finish()), 0)]);
    fs::write(path.join("text"), "a b\n").unwrap();
    fs::write(path.join("there"), "my corpus").unwrap();
    for (options, code, parts) in [
        ("few.parquet --word-column text", 65, &["few.parquet", "no column text", "id, words"][..]),
        ("few.parquet --word-column id", 65, &["column id of Int64", "list of strings"]),
        ("few.parquet --tag-column id", 65, &["a column id is there already"]),
        ("few.parquet --separator tab", 2, &["--separator"]),
        ("few.parquet --scores", 2, &["--scores"]),
        ("few.parquet few.parquet", 2, &["number of files", "expected one"]),
        ("few.parquet --out there", 65, &["there: a file of another kind", "a Parquet file"]),
        ("few.parquet --out few.parquet", 65, &["few.parquet", "another file"]),
        ("few.parquet --out none/out", 74, &["there is no folder"]),
        ("nulls.parquet --out out", 65, &["nulls.parquet", "row 2 of column words: null as word 2"]),
        ("text --out out", 65, &["text: ", "a whole Parquet file"]),
        ("none --out out", 74, &["none: cannot open"]),
        ("-", 65, &["the name of a file"]),
    ] {
        let mut arguments = vec!["tag", "--model", "model", "--format", "parquet"];
        arguments.extend(options.split(' '));
        failure(&run(path, &arguments), code, parts);
    }
    assert_eq!(fs::read_to_string(path.join("there")).unwrap(), "my corpus");
    assert!(!path.join("out").exists());
    failure(
        &run(path, &["tag", "--model", "model", "text", "--out", "x"]),
        2,
        &["--out", "--format parquet or arrow"],
    );
    failure(
        &run(path, &["tag", "--model", "model", "--format", "arrow", "text"]),
        65,
        &["text: ", "a whole Arrow file"],
    );
}

#[test]
fn damaged_files_are_refused_and_leave_nothing() {
    let path = folder().path();
    let batch = table(lists(&sentences(50)), 0);
    write_parquet(&path.join("whole.parquet"), std::slice::from_ref(&batch));
    let mut writer =
        FileWriter::try_new(File::create(path.join("whole.arrow")).unwrap(), &batch.schema()).unwrap();
    writer.write(&batch).unwrap();
    writer.finish().unwrap();
    drop(writer);
    let mut refused = 0;
    for format in ["parquet", "arrow"] {
        let whole = fs::read(path.join(format!("whole.{format}"))).unwrap();
        for trial in 0..40 {
            let mut bytes = whole.clone();
            let place = bytes.len() * trial / 40;
            if trial % 2 == 0 {
                bytes.truncate(place);
            } else {
                bytes[place] ^= 0x55;
            }
            fs::write(path.join("damaged"), &bytes).unwrap();
            let output = run(
                path,
                &["tag", "--model", "model", "--format", format, "damaged", "--out", "from-damaged"],
            );
            if output.status.success() {
                fs::remove_file(path.join("from-damaged")).unwrap();
            } else {
                failure(&output, 65, &["damaged: "]);
                assert!(!path.join("from-damaged").exists());
                refused += 1;
            }
        }
    }
    assert!(refused > 45, "{refused}");
}
