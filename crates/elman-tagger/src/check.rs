use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::Read;
use std::path::Path;

use serde::Serialize;

use crate::limits::LONG_SENTENCE;
use crate::{ConllReader, Error, Labels, Scheme, TaggedSentence, Tagging, Vocabulary};

/// What a corpus holds, and what in it looks like a mistake; see [`check_corpus`].
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct CorpusCheck {
    /// The scheme that the tags follow, as it was recognised or given.
    pub scheme: Option<Scheme>,
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

/// Words and tags of a corpus that a tagger trained on another one would not know.
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

/// Counts what is in a corpus and looks for what is probably wrong. The scheme of the tags is recognised first,
/// or is `scheme`; then every tag that does not follow it is named. So are a tag of one word only, one sentence
/// with different tags, and characters that cannot be seen.
///
/// With the vocabulary and labels of a training corpus also what they lack.
///
/// # Errors
/// Those of [`ConllReader`].
pub fn check_corpus(
    reader: impl Read,
    path: impl AsRef<Path>,
    scheme: Option<Scheme>,
    known: Option<(&Vocabulary, &Labels)>,
) -> Result<CorpusCheck, Error> {
    let mut reader = ConllReader::new(reader, path);
    let mut sentences = Vec::new();
    while let Some(sentence) = reader.next() {
        sentences.push((reader.first_line(), sentence?));
    }
    Ok(check_sentences(&sentences, scheme, known))
}

/// [`check_corpus`] of sentences that were read already, each with the line of its first word.
pub fn check_sentences(
    sentences: &[(u64, TaggedSentence)],
    scheme: Option<Scheme>,
    known: Option<(&Vocabulary, &Labels)>,
) -> CorpusCheck {
    let all = || sentences.iter().map(|(_, sentence)| sentence.tags());
    let tagging = Tagging::recognise(all());
    let tagging = scheme.map_or(tagging, |scheme| tagging.with_scheme(scheme));
    let typed = tagging.is_typed(all().flatten().map(String::as_str));
    let mut check = CorpusCheck { scheme: Some(tagging.scheme()), ..CorpusCheck::default() };
    let mut words: HashMap<&str, usize> = HashMap::new();
    let mut tags: BTreeMap<&str, (usize, u64)> = BTreeMap::new();
    let mut seen: HashMap<&[String], (u64, &[String])> = HashMap::new();
    let mut unknown: HashMap<&str, usize> = HashMap::new();
    for (line, sentence) in sentences {
        let line = *line;
        check.sentences += 1;
        check.words += sentence.words().len();
        check.longest = check.longest.max(sentence.words().len());
        for (word, line) in sentence.words().iter().zip(line..) {
            *words.entry(word).or_default() += 1;
            if let Some(hidden) = hidden_character(word) {
                let problem = format!("the word {word:?} has the character U+{:04X}", u32::from(hidden));
                check.suspicions.push(Suspicion { line, problem });
            }
            if known.is_some_and(|(vocabulary, _)| vocabulary.id(word) == 0) {
                *unknown.entry(word).or_default() += 1;
            }
        }
        for (tag, line) in sentence.tags().iter().zip(line..) {
            tags.entry(tag).or_insert((0, line)).0 += 1;
        }
        let faults = tagging.faults(sentence.tags(), typed).into_iter();
        check
            .suspicions
            .extend(faults.map(|(place, problem)| Suspicion { line: line + place as u64, problem }));
        match seen.get(sentence.words()) {
            Some((first, tags)) => {
                check.repeated_sentences += 1;
                if *tags != sentence.tags() {
                    let problem = format!("the sentence of line {first} again, with other tags");
                    check.suspicions.push(Suspicion { line, problem });
                }
            }
            None => {
                seen.insert(sentence.words(), (line, sentence.tags()));
            }
        }
    }
    if check.words > 1000 {
        for (tag, (_, line)) in tags.iter().filter(|(_, (count, _))| *count == 1) {
            let problem = format!("the tag {tag} occurs only here");
            check.suspicions.push(Suspicion { line: *line, problem });
        }
    }
    for (line, sentence) in sentences.iter().filter(|(_, sentence)| sentence.words().len() >= LONG_SENTENCE) {
        let problem = format!("a sentence of {} words: a blank line ends a sentence", sentence.words().len());
        check.suspicions.push(Suspicion { line: *line, problem });
    }
    check.suspicions.sort_by_key(|suspicion| suspicion.line);
    check.distinct_words = words.len();
    check.words_seen_once = words.values().filter(|count| **count == 1).count();
    check.unseen = known.map(|(_, labels)| Unseen {
        words: unknown.values().sum(),
        distinct: by_count(unknown.into_iter().map(|(word, count)| (word.to_owned(), count)).collect()),
        tags: tags.keys().filter(|tag| labels.id(tag).is_none()).map(|tag| (*tag).to_owned()).collect(),
    });
    let counted = |(tag, (words, line)): (&str, (usize, u64))| TagCount { tag: tag.to_owned(), words, line };
    check.tags = tags.into_iter().map(counted).collect();
    check.tags.sort_by(|a, b| b.words.cmp(&a.words).then_with(|| a.tag.cmp(&b.tag)));
    check
}

/// [`check_corpus`] of a file.
///
/// # Errors
/// Those of [`check_corpus`]; [`Error::Io`] if the file cannot be opened.
pub fn check_file(
    path: impl AsRef<Path>,
    scheme: Option<Scheme>,
    known: Option<(&Vocabulary, &Labels)>,
) -> Result<CorpusCheck, Error> {
    let path = path.as_ref();
    let file =
        File::open(path).map_err(|source| Error::Io { path: path.to_owned(), action: "open", source })?;
    check_corpus(file, path, scheme, known)
}

/// A character that looks like nothing, or like a blank. A joiner (U+200C, U+200D) between two characters
/// beyond ASCII is none: emoji and several scripts are written with it.
fn hidden_character(word: &str) -> Option<char> {
    let mut last = None;
    let mut rest = word.chars().peekable();
    while let Some(c) = rest.next() {
        let joins = matches!(c, '\u{200c}' | '\u{200d}')
            && last.is_some_and(|last: char| !last.is_ascii())
            && rest.peek().is_some_and(|next| !next.is_ascii());
        if is_invisible(c) && !joins {
            return Some(c);
        }
        last = Some(c);
    }
    None
}

fn is_invisible(c: char) -> bool {
    c.is_control()
        || (c.is_whitespace() && c != ' ')
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
        check_corpus(text.as_bytes(), "f", None, None).unwrap()
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
        assert_eq!(check_file(&path, None, None).unwrap().words, 2);
        assert!(check_file(folder.path().join("none"), None, None).is_err());
        let nothing = check("");
        assert_eq!((nothing.sentences, nothing.tags.len()), (0, 0));
    }

    #[test]
    fn what_looks_wrong_is_named_with_its_line() {
        let own = |list: &[(u64, &str)]| list.iter().map(|(l, p)| (*l, p.to_string())).collect::<Vec<_>>();
        for (text, expected) in [
            ("a B-x\nb I-x\nc I-x\nd B-x\ne B-y\n", &[][..]),
            // IOB2, IOB1 and IOBES each by their own rules.
            ("\n\na B-y\nb O\nc I-x\nd I-x\n\nd B-x\n", &[(5, "I-x after O: no B-x before it")]),
            ("a I-x\n\nb B-y\nc I-y\n", &[(1, "I-x after O: no B-x before it")]),
            ("a B-x\nb I-y\nc O\n\nd B-y\n", &[(2, "I-y after B-x: another type")]),
            ("\n\na O\nb I-x\nc I-x\nd B-x\n", &[]),
            (
                "a I-x\nb I-x\nc B-x\n\nd I-y\ne O\nf B-y\n",
                &[(7, "B-y after O: IOB1 has B only between phrases of one type")],
            ),
            ("a B-x\nb E-x\nc S-y\n\nd B-x\ne I-x\nf E-x\n", &[]),
            (
                "a B-x\nb E-x\nc S-y\n\nd B-x\ne S-x\n\nf S-y\ng E-y\nh S-y\ni B-x\n",
                &[
                    (6, "S-x after B-x: the phrase before it has no end"),
                    (9, "E-y after S-y: no B-y before it"),
                    (11, "B-x ends the sentence: its phrase has no end"),
                ],
            ),
            // IOBES without E or without S: one complaint for each tag that does not fit.
            (
                "a B-x\nb E-x\nc B-y\n\nd B-x\ne I-x\nf E-x\ng B-y\n\nh I-x\ni O\nj B-z\nk O\n",
                &[
                    (10, "I-x after O: no B-x before it"),
                    (11, "O after I-x: the phrase before it has no end"),
                ],
            ),
            (
                "a B-x\nb I-x\nc S-y\n\nd B-x\ne I-x\nf I-x\ng S-y\n\nh O\ni B-x\nj S-z\n",
                &[(12, "S-z after B-x: the phrase before it has no end")],
            ),
            ("a B-x\nb O-x\n", &[(2, "the tag O-x is none of IOB (B-type, I-type, O)")]),
            ("a B-x\nb B\nc I-y\n", &[(2, "B without a type"), (3, "I-y after B: another type")]),
            ("a B\nb I\n", &[]),
            ("a DT\nb NN\nc -LRB-\nd S\n", &[]),
            ("a S-x\nb S-x\nc o\n", &[(3, "the tag o is none of IOBES (B-type, I-type, E-type, S-type, O)")]),
            ("a O\nb O\n\na O\nb B-x\n", &[(4, "the sentence of line 1 again, with other tags")]),
            (
                "a\u{200b} O\n\u{a0} O\n",
                &[
                    (1, "the word \"a\\u{200b}\" has the character U+200B"),
                    (2, "the word \"\\u{a0}\" has the character U+00A0"),
                ],
            ),
            // An emoji of several and a Persian word are written with joiners; a joiner in ASCII is a slip.
            ("\u{1f468}\u{200d}\u{1f469} O\n\u{645}\u{6cc}\u{200c}\u{62e} O\n", &[]),
            ("a\u{200d}b O\n", &[(1, "the word \"a\\u{200d}b\" has the character U+200D")]),
        ] {
            assert_eq!(suspicions(text), own(expected), "{text:?}");
        }
        let long = "a O\n".repeat(LONG_SENTENCE);
        let expected = (1, "a sentence of 1000 words: a blank line ends a sentence".to_owned());
        assert_eq!(suspicions(&long), [expected]);
        assert!(suspicions(&long[4..]).is_empty());
        // A tag that occurs once is odd in a large corpus only.
        let large = format!("{}z B-x\n", "a O\n\n".repeat(1000));
        let expected = (2001, "the tag B-x occurs only here".to_owned());
        assert_eq!(suspicions(&large), [expected]);
        assert!(suspicions(&large[5..]).is_empty());
        let error = check_corpus("a O\nb\n".as_bytes(), "f", None, None).unwrap_err();
        assert!(error.to_string().starts_with("f:2: "), "{error}");
    }

    #[test]
    fn what_training_would_not_know_is_listed() {
        let train = travel::corpus(1, 50);
        let vocabulary = Vocabulary::new(&train, Normalization::default());
        let labels = Labels::new(&train);
        let text = "zzz O\nto O\nyyy B-none\nzzz B-origin\n";
        let unseen =
            check_corpus(text.as_bytes(), "f", None, Some((&vocabulary, &labels))).unwrap().unseen.unwrap();
        assert_eq!(unseen.words, 3);
        assert_eq!(unseen.distinct, [("zzz".to_owned(), 2), ("yyy".to_owned(), 1)]);
        assert_eq!(unseen.tags, ["B-none"]);
    }
}
