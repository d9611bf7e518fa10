use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use crate::Error;
use crate::limits::{MAX_LINE, MAX_TOKEN};

/// Bytes read at a time.
const BUFFER: usize = 1 << 16;

/// A byte order mark; skipped at the start of a file.
pub(crate) const BYTE_ORDER_MARK: &str = "\u{feff}";

/// The lines of a UTF-8 text, with their numbers, none longer than a limit, [`MAX_LINE`] unless one was set.
///
/// Lines end with LF or CRLF; a byte order mark at the start is passed over.
pub struct Lines<R> {
    inner: BufReader<R>,
    path: PathBuf,
    number: u64,
    bytes: Vec<u8>,
    /// The longest line, in bytes without its end.
    longest: usize,
    /// How many bytes may still be read.
    left: u64,
    /// The line read last was too long, and its rest has not been read.
    cut: bool,
}

impl<R: Read> Lines<R> {
    /// Reads from `reader`; `path` is for messages.
    pub fn new(reader: R, path: &Path) -> Self {
        Lines {
            inner: BufReader::with_capacity(BUFFER, reader),
            path: path.to_owned(),
            number: 0,
            bytes: Vec::new(),
            longest: MAX_LINE,
            left: u64::MAX,
            cut: false,
        }
    }

    /// From now on refuses lines of more than this many bytes.
    pub(crate) fn longest_line(&mut self, bytes: usize) {
        self.longest = bytes.min(MAX_LINE);
    }

    /// From now on refuses the line with which more than this many bytes would have been read.
    pub(crate) fn limit(&mut self, bytes: u64) {
        self.left = bytes;
    }

    /// The next line without its line end; `None` at the end of the text.
    ///
    /// # Errors
    /// [`Error::Input`] for a line that is too long, no UTF-8, or has a null byte or a carriage return in it;
    /// [`Error::Io`] if reading fails. After an [`Error::Input`] the next call goes on with the line after it.
    pub fn next_line(&mut self) -> Result<Option<&str>, Error> {
        if std::mem::take(&mut self.cut) {
            self.skip_line()?;
        }
        self.bytes.clear();
        // Room for the longest line with a byte order mark and CRLF, and one byte to tell that it is too long.
        let limit = self.longest + BYTE_ORDER_MARK.len() + 3;
        let read = (&mut self.inner)
            .take(limit as u64)
            .read_until(b'\n', &mut self.bytes)
            .map_err(|source| Error::Io { path: self.path.clone(), action: "read", source })?;
        if read == 0 {
            return Ok(None);
        }
        self.number += 1;
        let Some(left) = self.left.checked_sub(read as u64) else {
            return Err(self.error("the file is too large", "fewer bytes: it is read as a whole"));
        };
        self.left = left;
        let mut line = &self.bytes[..];
        line = line.strip_suffix(b"\n").unwrap_or(line);
        line = line.strip_suffix(b"\r").unwrap_or(line);
        if self.number == 1 {
            line = line.strip_prefix(BYTE_ORDER_MARK.as_bytes()).unwrap_or(line);
        }
        if line.len() > self.longest {
            self.cut = !self.bytes.ends_with(b"\n");
            return Err(self.error("the line is too long", format!("at most {} bytes", self.longest)));
        }
        if self.number == 1
            && let Some((what, expected)) = no_text(line)
        {
            return Err(self.error(what, expected));
        }
        if let Some(place) = line.iter().position(|byte| matches!(byte, b'\r' | 0)) {
            let (what, expected) = match line[place] {
                0 => ("null byte", "UTF-8 text"),
                _ => ("carriage return", "lines that end with LF or CRLF"),
            };
            return Err(self.error(format!("{what} at byte {}", place + 1), expected));
        }
        match std::str::from_utf8(line) {
            // The borrow checker does not see that the error case returns; hence the second look-up.
            Ok(_) => {}
            Err(error) => {
                let place = error.valid_up_to();
                let problem =
                    format!("byte 0x{byte:02x} at byte {} is no UTF-8", place + 1, byte = line[place]);
                // A sequence that the end of the file cuts short begins as the other encodings' letters do.
                let is_whole = error.error_len().is_some() || self.bytes.ends_with(b"\n");
                let expected = match line[place] {
                    byte @ 0xa0..=0xff if is_whole => format!(
                        "UTF-8 text; if it is Latin-1, where this byte is {:?}, iconv -f LATIN1 -t UTF-8 converts it",
                        char::from(byte)
                    ),
                    0x80..=0x9f => {
                        "UTF-8 text; if it is Windows-1252, iconv -f WINDOWS-1252 -t UTF-8 converts it"
                            .to_owned()
                    }
                    _ => "UTF-8 text".to_owned(),
                };
                return Err(self.error(problem, expected));
            }
        }
        Ok(std::str::from_utf8(line).ok())
    }

    /// Passes over what is left of a line, without taking it into memory.
    fn skip_line(&mut self) -> Result<(), Error> {
        let io = |source| Error::Io { path: self.path.clone(), action: "read", source };
        loop {
            let bytes = self.inner.fill_buf().map_err(io)?;
            let end = bytes.iter().position(|byte| *byte == b'\n');
            let length = end.map_or(bytes.len(), |end| end + 1);
            self.inner.consume(length);
            if end.is_some() || length == 0 {
                return Ok(());
            }
        }
    }

    /// The number of the line read last, from 1; 0 before the first.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// What has been read from the source but not yet returned.
    pub(crate) fn buffered(&self) -> &[u8] {
        self.inner.buffer()
    }

    /// Whether the next line is wholly in memory, so that reading it cannot wait for more input.
    pub fn is_ready(&self) -> bool {
        self.buffered().contains(&b'\n')
    }

    /// An [`Error::Input`] at the line read last (at line 1 if there was none).
    pub fn error(&self, problem: impl Into<String>, expected: impl Into<String>) -> Error {
        Error::Input {
            path: self.path.clone(),
            line: Some(self.number.max(1)),
            problem: problem.into(),
            expected: expected.into(),
        }
    }
}

/// The kind of a file that is no UTF-8 text, by its first bytes, and the expected one.
fn no_text(start: &[u8]) -> Option<(&'static str, &'static str)> {
    match start {
        [0x1f, 0x8b, ..] => Some(("the file is compressed by gzip", "UTF-8 text: decompress it with gunzip")),
        [b'B', b'Z', b'h', b'1'..=b'9', b'1', b'A', b'Y', ..] => {
            Some(("the file is compressed by bzip2", "UTF-8 text: decompress it with bunzip2"))
        }
        [0xfd, b'7', b'z', b'X', b'Z', ..] => {
            Some(("the file is compressed by xz", "UTF-8 text: decompress it with unxz"))
        }
        [0x28, 0xb5, 0x2f, 0xfd, ..] => {
            Some(("the file is compressed by zstd", "UTF-8 text: decompress it with unzstd"))
        }
        [b'P', b'K', 3, 4, ..] => Some(("the file is a zip archive", "UTF-8 text: unpack it with unzip")),
        [0xff, 0xfe, 0, 0, ..] | [0, 0, 0xfe, 0xff, ..] => {
            Some(("the file is UTF-32", "UTF-8 text; iconv -f UTF-32 -t UTF-8 converts it"))
        }
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => {
            Some(("the file is UTF-16", "UTF-8 text; iconv -f UTF-16 -t UTF-8 converts it"))
        }
        _ => None,
    }
}

/// What a line without a letter in it hides, for messages: a mark or a blank that looks like an empty line.
pub(crate) fn invisible(line: &str) -> Option<String> {
    let mut characters = line.chars().filter(|c| !matches!(c, ' ' | '\t'));
    let first = characters.next()?;
    let name = match first {
        '\u{a0}' => "a no-break space",
        '\u{feff}' => "a byte order mark",
        '\u{200b}' => "a zero-width space",
        '\u{3000}' => "an ideographic space",
        '\u{85}' | '\u{2028}' | '\u{2029}' => "a line separator",
        _ => return None,
    };
    characters.all(|c| c == first).then(|| format!("{name} (U+{:04X}) alone on the line", u32::from(first)))
}

/// The fault of a word that a column file is to hold, and the expected form. Blanks within a word are none:
/// tabs part columns.
pub(crate) fn word_fault(word: &str) -> Option<(String, String)> {
    name_fault(word, MAX_TOKEN)
}

/// The fault of a tag, and the expectation.
pub(crate) fn tag_fault(tag: &str) -> Option<(String, String)> {
    name_fault(tag, MAX_TOKEN).or_else(|| {
        tag.contains(' ').then(|| (format!("white space in the tag {}", shortened(tag)), "one tag".into()))
    })
}

/// The fault of a word that a model is to hold, and the expected form. The words of a model are normalised,
/// and so can be longer than those of a text: `longest` is then [`MAX_NAME`](crate::limits::MAX_NAME).
pub(crate) fn name_fault(token: &str, longest: usize) -> Option<(String, String)> {
    if token.is_empty() {
        Some(("empty word or tag".into(), "at least one character".into()))
    } else if token.len() > longest {
        Some((format!("word or tag of {} bytes", token.len()), format!("at most {longest}")))
    } else if has_separator(token) || token.starts_with(' ') || token.ends_with(' ') {
        Some((format!("white space or null byte in {}", shortened(token)), "one word".into()))
    } else {
        None
    }
}

/// Whether there is a tab, a line end or a null byte.
pub(crate) fn has_separator(text: &str) -> bool {
    text.bytes().any(|byte| matches!(byte, b'\t' | b'\n' | b'\r' | 0))
}

/// A text in quotes, at most its first characters.
fn shortened(text: &str) -> String {
    const MOST: usize = 60;
    match text.char_indices().nth(MOST) {
        Some((end, _)) => format!("{:?}...", &text[..end]),
        None => format!("{text:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(text: &[u8]) -> Result<Vec<String>, String> {
        let mut lines = Lines::new(text, Path::new("f"));
        let mut found = Vec::new();
        while let Some(line) = lines.next_line().map_err(|e| e.to_string())? {
            found.push(line.to_owned());
        }
        Ok(found)
    }

    #[test]
    fn line_ends_and_the_byte_order_mark_are_dropped() {
        assert_eq!(all(b"").unwrap(), [""; 0]);
        assert_eq!(all(b"a\n\nb").unwrap(), ["a", "", "b"]);
        assert_eq!(all(b"a\r\n\r\nb\r\n").unwrap(), ["a", "", "b"]);
        assert_eq!(all("\u{feff}a\n\u{feff}b".as_bytes()).unwrap(), ["a", "\u{feff}b"]);
    }

    #[test]
    fn what_is_no_text_is_named_with_its_line() {
        assert_eq!(
            all(b"a\nb\xffc\n").unwrap_err(),
            "f:2: byte 0xff at byte 2 is no UTF-8, expected UTF-8 text; if it is Latin-1, where this byte is 'ÿ', iconv -f \
             LATIN1 -t UTF-8 converts it"
        );
        assert_eq!(
            all(b"a\nb\n\xe2\x82").unwrap_err(),
            "f:3: byte 0xe2 at byte 1 is no UTF-8, expected UTF-8 text"
        );
        let message = all("caf\u{e9}\n".chars().map(|c| c as u8).collect::<Vec<_>>().as_slice()).unwrap_err();
        assert!(message.starts_with("f:1: byte 0xe9 at byte 4") && message.contains("LATIN1"), "{message}");
        let message = all(b"\x93a\x94 O\n").unwrap_err();
        assert!(
            message.starts_with("f:1: byte 0x93 at byte 1") && message.contains("WINDOWS-1252"),
            "{message}"
        );
        assert_eq!(all(b"a\0\n").unwrap_err(), "f:1: null byte at byte 2, expected UTF-8 text");
        assert_eq!(
            all(b"a\rb\n").unwrap_err(),
            "f:1: carriage return at byte 2, expected lines that end with LF or CRLF"
        );
    }

    #[test]
    fn a_file_that_is_no_text_is_named_by_its_kind() {
        let message = |start: &[u8]| all(&[start, b"\0\0\0\n"].concat()).unwrap_err();
        for (start, part) in [
            (
                &b"\x1f\x8b\x08"[..],
                "f:1: the file is compressed by gzip, expected UTF-8 text: decompress it with gunzip",
            ),
            (b"\xff\xfe\0\0a", "f:1: the file is UTF-32, expected UTF-8 text; iconv -f UTF-32"),
            (b"BZh91AY&SY", "compressed by bzip2"),
            (b"\xfd7zXZ", "compressed by xz"),
            (b"\x28\xb5\x2f\xfd", "compressed by zstd"),
            (b"PK\x03\x04", "a zip archive"),
            (b"\xff\xfea", "the file is UTF-16"),
        ] {
            assert!(message(start).contains(part), "{}", message(start));
        }
        // A text may begin with such letters.
        assert_eq!(all(b"BZh9 PK\n").unwrap(), ["BZh9 PK"]);
    }

    #[test]
    fn a_line_that_only_looks_empty_is_explained() {
        assert_eq!(invisible("\u{a0}").unwrap(), "a no-break space (U+00A0) alone on the line");
        assert_eq!(invisible(" \u{feff}\u{feff}\t").unwrap(), "a byte order mark (U+FEFF) alone on the line");
        for text in ["", " \t", "a", "\u{a0}a"] {
            assert_eq!(invisible(text), None, "{text:?}");
        }
    }

    #[test]
    fn the_longest_line_is_read_and_one_byte_more_is_refused() {
        let mut text = vec![b'x'; MAX_LINE];
        text.extend(b"\r\n");
        assert_eq!(all(&text).unwrap()[0].len(), MAX_LINE);
        text.insert(0, b'x');
        assert_eq!(all(&text).unwrap_err(), "f:1: the line is too long, expected at most 67108864 bytes");
        // The lines after it are read.
        text.extend(b"b\n");
        let mut lines = Lines::new(&text[..], Path::new("f"));
        assert!(lines.next_line().is_err());
        assert_eq!(lines.next_line().unwrap(), Some("b"));
        let longer = [vec![b'x'; MAX_LINE + 3 * BUFFER], b"\nb".to_vec()].concat();
        let mut lines = Lines::new(&longer[..], Path::new("f"));
        assert!(lines.next_line().is_err());
        assert_eq!(lines.next_line().unwrap(), Some("b"));
        assert_eq!(lines.number(), 2);
        // No line end at all: no more than the limit is taken into memory.
        let mut lines = Lines::new(std::io::repeat(b'x'), Path::new("f"));
        assert!(lines.next_line().is_err());
        assert!(lines.bytes.capacity() < 4 * MAX_LINE);
    }
}
