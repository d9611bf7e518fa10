//! Corpora.

use std::io::Read;
use std::path::Path;

use elman_tagger::{
    ConllReader, ConllWriter, Error, MAX_LINE, MAX_TOKEN, MAX_WORDS, SentenceReader, TaggedSentence,
};

/// Gives one byte at a time.
struct Drip<'a>(&'a [u8]);

impl Read for Drip<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = 1.min(self.0.len()).min(buffer.len());
        buffer[..count].copy_from_slice(&self.0[..count]);
        self.0 = &self.0[count..];
        Ok(count)
    }
}

fn read(reader: impl Read) -> (Vec<TaggedSentence>, Option<Error>) {
    let (mut sentences, mut refused) = (Vec::new(), None);
    for sentence in ConllReader::new(reader, "input") {
        match sentence {
            Ok(sentence) => sentences.push(sentence),
            Err(error) => refused = Some(error),
        }
    }
    (sentences, refused)
}

/// Column files: what is read, written and read again is equal; every line is accounted for; how the bytes
/// arrive changes nothing; a refusal names a line that is there.
pub(crate) fn check(data: &[u8]) {
    let (sentences, refused) = read(data);
    let (dripped, refused_too) = read(Drip(data));
    assert_eq!(sentences, dripped);
    assert_eq!(refused.as_ref().map(ToString::to_string), refused_too.map(|error| error.to_string()));

    let lines: Vec<&[u8]> = data.split(|byte| *byte == b'\n').collect();
    match refused {
        Some(error) => assert_names_a_line(&error, lines.len()),
        None => {
            // No refusal: what is not blank and does not part documents is a word.
            let mark = "\u{feff}".as_bytes();
            let words = lines.iter().enumerate().filter(|(number, line)| {
                let line = if *number == 0 { line.strip_prefix(mark).unwrap_or(line) } else { line };
                let line = line.strip_suffix(b"\r").unwrap_or(line);
                let mut columns = line.split(|byte| matches!(byte, b' ' | b'\t')).filter(|c| !c.is_empty());
                columns.next().is_some_and(|first| first != b"-DOCSTART-")
            });
            assert_eq!(words.count(), sentences.iter().map(|s| s.words().len()).sum::<usize>());
        }
    }
    let mut written = Vec::new();
    let mut writer = ConllWriter::new(&mut written, "output");
    for sentence in &sentences {
        assert!((1..=MAX_WORDS).contains(&sentence.words().len()));
        assert!(sentence.words().iter().chain(sentence.tags()).all(|token| token.len() <= MAX_TOKEN));
        writer.write(sentence.words(), sentence.tags()).expect("what was read can be written");
    }
    let (again, refused) = read(&written[..]);
    assert_eq!((again, refused.map(|e| e.to_string())), (sentences, None));
}

/// Sentences to be tagged, in both forms: as plain splitting finds them; a refusal names a line that is there.
pub(crate) fn sentences(data: &[u8]) {
    let lines: Vec<&[u8]> = data.split(|byte| *byte == b'\n').collect();
    let mut columns = SentenceReader::conll(data, "input");
    loop {
        match columns.next_sentence() {
            Ok(Some(words)) => assert!((1..=MAX_WORDS).contains(&words.len())),
            Ok(None) => break,
            Err(error) => break assert_names_a_line(&error, lines.len()),
        }
    }
    let mut reader = SentenceReader::lines(data, "input");
    for (number, line) in lines.iter().enumerate() {
        let last = number + 1 == lines.len();
        match reader.next_sentence() {
            Ok(Some(words)) => {
                let line = std::str::from_utf8(line).expect("what was accepted is UTF-8");
                let line = if number == 0 { line.strip_prefix('\u{feff}').unwrap_or(line) } else { line };
                let line = line.strip_suffix('\r').unwrap_or(line);
                assert!(line.len() <= MAX_LINE);
                assert!(words.iter().map(String::as_str).eq(line.split(' ').filter(|word| !word.is_empty())));
                let tags = vec!["O"; words.len()];
                let mut writer = ConllWriter::new(Vec::new(), "output");
                writer.write(&words, &tags).expect("what was read can be written");
            }
            Ok(None) => assert!(last && line.is_empty(), "line {} is missing", number + 1),
            Err(error) => return assert_names_a_line(&error, lines.len()),
        }
    }
    assert!(matches!(reader.next_sentence(), Ok(None)));
}

fn assert_names_a_line(error: &Error, lines: usize) {
    match error {
        Error::Input { path, line: Some(line), problem, expected } => {
            assert_eq!(path, Path::new("input"));
            assert!((1..=lines as u64).contains(line), "{error}, of {lines} lines");
            assert!(!problem.is_empty() && !expected.is_empty());
        }
        other => panic!("a corpus must be refused with its line, found {other:?}"),
    }
}
