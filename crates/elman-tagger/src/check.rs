use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::File;
use std::io::Read;
use std::path::Path;

use serde::Serialize;

use crate::Error;
use crate::{ConllReader, Labels, TaggedSentence, Vocabulary};

/// What a corpus holds, and what in it looks like a mistake; see [`check_corpus`].
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct CorpusCheck {
    /// Sentences.
    pub sentences: usize,
    /// Words.
    pub words: usize,
    /// Different words.
    pub distinct_words: usize,
    /// Words that occur once.
    pub words_seen_once: usize,
    /// Words of the longest sentence.
    pub longest: usize,
    /// Sentences that repeat an earlier one, word by word.
    pub repeated_sentences: usize,
    /// How often each tag occurs, the most frequent first.
    pub tags: Vec<TagCount>,
    /// What the training corpus would not know; if one was given.
    pub unseen: Option<Unseen>,
    /// What looks like a mistake, in the order of the lines.
    pub suspicions: Vec<Suspicion>,
}

/// How often a tag occurs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TagCount {
    /// The tag.
    pub tag: String,
    /// Words that have it.
    pub words: usize,
    /// The first line with it, from 1.
    pub line: u64,
}

/// What a corpus has that a tagger trained on another one would not know.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Unseen {
    /// Words of the text that would read as unknown.
    pub words: usize,
    /// The different ones among them with their numbers, the most frequent first.
    pub distinct: Vec<(String, usize)>,
    /// Tags that could never be given.
    pub tags: Vec<String>,
}

/// Something that looks like a mistake.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Suspicion {
    /// The line, from 1.
    pub line: u64,
    /// What is odd there.
    pub problem: String,
}

/// Counts what is in a corpus and looks for what is probably wrong: a chunk that starts with I, a B or I
/// without a type, prefixes beside B, I and O, a tag of one word only, one sentence with different tags, and
/// characters that cannot be seen.
///
/// With the vocabulary and labels of a training corpus also what they lack.
///
/// # Errors
/// Those of [`ConllReader`].
pub fn check_corpus(
    reader: impl Read,
    path: impl AsRef<Path>,
    known: Option<(&Vocabulary, &Labels)>,
) -> Result<CorpusCheck, Error> {
    let mut check = CorpusCheck::default();
    let mut words: HashMap<String, usize> = HashMap::new();
    let mut tags: BTreeMap<String, (usize, u64)> = BTreeMap::new();
    let mut seen: HashMap<Vec<String>, (u64, Vec<String>)> = HashMap::new();
    let mut unknown: HashMap<String, usize> = HashMap::new();
    let mut reader = ConllReader::new(reader, path);
    while let Some(sentence) = reader.next() {
        let sentence = sentence?;
        let line = reader.first_line();
        check.sentences += 1;
        check.words += sentence.words().len();
        check.longest = check.longest.max(sentence.words().len());
        for (word, line) in sentence.words().iter().zip(line..) {
            *words.entry(word.clone()).or_default() += 1;
            if let Some(hidden) = word.chars().find(|c| is_invisible(*c)) {
                let problem = format!("the word {word:?} has the character U+{:04X}", u32::from(hidden));
                check.suspicions.push(Suspicion { line, problem });
            }
            if known.is_some_and(|(vocabulary, _)| vocabulary.id(word) == 0) {
                *unknown.entry(word.clone()).or_default() += 1;
            }
        }
        for (tag, line) in sentence.tags().iter().zip(line..) {
            tags.entry(tag.clone()).or_insert((0, line)).0 += 1;
        }
        check_tags(&sentence, line, &mut check.suspicions);
        match seen.get(sentence.words()) {
            Some((first, tags)) => {
                check.repeated_sentences += 1;
                if tags != sentence.tags() {
                    let problem = format!("the sentence of line {first} again, with other tags");
                    check.suspicions.push(Suspicion { line, problem });
                }
            }
            None => {
                seen.insert(sentence.words().to_vec(), (line, sentence.tags().to_vec()));
            }
        }
    }
    if check.words > 1000 {
        for (tag, (_, line)) in tags.iter().filter(|(_, (count, _))| *count == 1) {
            let problem = format!("the tag {tag} occurs only here");
            check.suspicions.push(Suspicion { line: *line, problem });
        }
    }
    check.suspicions.sort_by_key(|suspicion| suspicion.line);
    check.distinct_words = words.len();
    check.words_seen_once = words.values().filter(|count| **count == 1).count();
    check.unseen = known.map(|(_, labels)| Unseen {
        words: unknown.values().sum(),
        distinct: by_count(unknown.into_iter().collect()),
        tags: tags.keys().filter(|tag| labels.id(tag).is_none()).cloned().collect(),
    });
    check.tags = tags.into_iter().map(|(tag, (words, line))| TagCount { tag, words, line }).collect();
    check.tags.sort_by(|a, b| b.words.cmp(&a.words).then_with(|| a.tag.cmp(&b.tag)));
    Ok(check)
}

/// [`check_corpus`] of a file.
///
/// # Errors
/// Those of [`check_corpus`]; [`Error::Io`] if the file cannot be opened.
pub fn check_file(
    path: impl AsRef<Path>,
    known: Option<(&Vocabulary, &Labels)>,
) -> Result<CorpusCheck, Error> {
    let path = path.as_ref();
    let file =
        File::open(path).map_err(|source| Error::Io { path: path.to_owned(), action: "open", source })?;
    check_corpus(file, path, known)
}

/// Tags that no IOB corpus has, and chunks that start with I.
fn check_tags(sentence: &TaggedSentence, first: u64, suspicions: &mut Vec<Suspicion>) {
    let (mut last, mut odd) = (("O", ""), BTreeSet::new());
    for (tag, line) in sentence.tags().iter().zip(first..) {
        let (prefix, kind) = tag.split_once('-').unwrap_or((tag, ""));
        let problem = match prefix {
            "O" if kind.is_empty() => None,
            "B" | "I" if kind.is_empty() => Some(format!("{prefix} without a type")),
            "B" => None,
            "I" if last.0 == "O" => Some(format!("{tag} after O: no B-{kind} before it")),
            "I" if last.1 != kind => Some(format!("{tag} after {}-{}: another type", last.0, last.1)),
            "I" => None,
            _ if odd.insert(tag) => Some(format!("the tag {tag} is none of IOB (B-type, I-type, O)")),
            _ => None,
        };
        suspicions.extend(problem.map(|problem| Suspicion { line, problem }));
        last = (prefix, kind);
    }
}

/// Characters that look like nothing, or like a blank.
fn is_invisible(c: char) -> bool {
    c.is_control()
        || c.is_whitespace()
        || matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2064}')
        || matches!(c, '\u{feff}' | '\u{fffd}')
}

fn by_count(mut counts: Vec<(String, usize)>) -> Vec<(String, usize)> {
    counts.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    counts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Normalization, travel};

    fn check(text: &str) -> CorpusCheck {
        check_corpus(text.as_bytes(), "f", None).unwrap()
    }

    fn suspicions(text: &str) -> Vec<(u64, String)> {
        check(text).suspicions.into_iter().map(|s| (s.line, s.problem)).collect()
    }

    #[test]
    fn what_is_there_is_counted() {
        let found = check("\na O\nb B-x\n\na O\n-DOCSTART- O\nc B-x\na O\n\na O\nb B-x\n");
        assert_eq!((found.sentences, found.words, found.longest), (4, 7, 2));
        assert_eq!((found.distinct_words, found.words_seen_once, found.repeated_sentences), (3, 1, 1));
        let tag = |tag: &str, words, line| TagCount { tag: tag.into(), words, line };
        assert_eq!(found.tags, [tag("O", 4, 2), tag("B-x", 3, 3)]);
        assert_eq!((found.unseen, found.suspicions), (None, vec![]));
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f");
        std::fs::write(&path, "a O\nb O\n").unwrap();
        assert_eq!(check_file(&path, None).unwrap().words, 2);
        assert!(check_file(folder.path().join("none"), None).is_err());
        let nothing = check("");
        assert_eq!((nothing.sentences, nothing.tags.len()), (0, 0));
    }

    #[test]
    fn what_looks_wrong_is_named_with_its_line() {
        let own = |list: &[(u64, &str)]| list.iter().map(|(l, p)| (*l, p.to_string())).collect::<Vec<_>>();
        for (text, expected) in [
            ("a B-x\nb I-x\nc I-x\nd B-x\ne B-y\n", &[][..]),
            ("\n\na O\nb I-x\nc I-x\n", &[(4, "I-x after O: no B-x before it")]),
            ("a I-x\n", &[(1, "I-x after O: no B-x before it")]),
            (
                "a B-x\nb I-y\nc O\n\nd I-y\n",
                &[(2, "I-y after B-x: another type"), (5, "I-y after O: no B-y before it")],
            ),
            ("a O-x\n", &[(1, "the tag O-x is none of IOB (B-type, I-type, O)")]),
            ("a B\nb I\n", &[(1, "B without a type"), (2, "I without a type")]),
            (
                "a S-x\nb S-x\nc o\n",
                &[
                    (1, "the tag S-x is none of IOB (B-type, I-type, O)"),
                    (3, "the tag o is none of IOB (B-type, I-type, O)"),
                ],
            ),
            ("a O\nb O\n\na O\nb B-x\n", &[(4, "the sentence of line 1 again, with other tags")]),
            (
                "a\u{200b} O\n\u{a0} O\n",
                &[
                    (1, "the word \"a\\u{200b}\" has the character U+200B"),
                    (2, "the word \"\\u{a0}\" has the character U+00A0"),
                ],
            ),
        ] {
            assert_eq!(suspicions(text), own(expected), "{text:?}");
        }
        // A tag that occurs once is odd in a large corpus only.
        let large = format!("{}z B-x\n", "a O\n\n".repeat(1000));
        let expected = (2001, "the tag B-x occurs only here".to_owned());
        assert_eq!(suspicions(&large), [expected]);
        assert!(suspicions(&large[5..]).is_empty());
        let error = check_corpus("a O\nb\n".as_bytes(), "f", None).unwrap_err();
        assert!(error.to_string().starts_with("f:2: "), "{error}");
    }

    #[test]
    fn what_training_would_not_know_is_listed() {
        let train = travel::corpus(1, 50);
        let vocabulary = Vocabulary::new(&train, Normalization::default());
        let labels = Labels::new(&train);
        let text = "zzz O\nto O\nyyy B-none\nzzz B-origin\n";
        let unseen =
            check_corpus(text.as_bytes(), "f", Some((&vocabulary, &labels))).unwrap().unseen.unwrap();
        assert_eq!(unseen.words, 3);
        assert_eq!(unseen.distinct, [("zzz".to_owned(), 2), ("yyy".to_owned(), 1)]);
        assert_eq!(unseen.tags, ["B-none"]);
    }
}
