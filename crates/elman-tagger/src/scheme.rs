use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;

use serde::{Deserialize, Serialize};

/// How tags mark phrases of several words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scheme {
    /// `I-x` inside a phrase; `B-x` only where a phrase directly follows another one of its type.
    Iob1,
    /// `B-x` on the first word of every phrase, `I-x` on its other words.
    Iob2,
    /// As [`Scheme::Iob2`], with `E-x` on the last word of a phrase and `S-x` on a phrase of one word. Also
    /// called BIOES.
    Iobes,
    /// As [`Scheme::Iobes`], with `L-x` for `E-x` and `U-x` for `S-x`. Also called BIOLU.
    Bilou,
    /// As [`Scheme::Iobes`], with `M-x` for `I-x`: the scheme of word segmentation.
    Bmes,
    /// `I-x` on every word of a phrase: two phrases of one type that touch are one.
    Io,
    /// Tags that form no phrases, such as parts of speech.
    Plain,
}

impl Scheme {
    /// All schemes.
    pub const ALL: [Scheme; 7] =
        [Scheme::Iob1, Scheme::Iob2, Scheme::Iobes, Scheme::Bilou, Scheme::Bmes, Scheme::Io, Scheme::Plain];

    /// Its usual name.
    pub fn name(self) -> &'static str {
        match self {
            Scheme::Iob1 => "IOB1",
            Scheme::Iob2 => "IOB2",
            Scheme::Iobes => "IOBES",
            Scheme::Bilou => "BILOU",
            Scheme::Bmes => "BMES",
            Scheme::Io => "IO",
            Scheme::Plain => "plain",
        }
    }

    /// The forms that its tags have, for messages.
    fn forms(self) -> &'static str {
        match self {
            Scheme::Iob1 | Scheme::Iob2 => "IOB (B-type, I-type, O)",
            Scheme::Iobes => "IOBES (B-type, I-type, E-type, S-type, O)",
            Scheme::Bilou => "BILOU (B-type, I-type, L-type, U-type, O)",
            Scheme::Bmes => "BMES (B-type, M-type, E-type, S-type, O)",
            Scheme::Io => "IO (I-type, O)",
            Scheme::Plain => "plain tags",
        }
    }

    /// The letters of a phrase's first, inner and last word, and of its word if it has one only.
    fn letters(self) -> [char; 4] {
        match self {
            Scheme::Iobes => ['B', 'I', 'E', 'S'],
            Scheme::Bilou => ['B', 'I', 'L', 'U'],
            Scheme::Bmes => ['B', 'M', 'E', 'S'],
            Scheme::Iob1 | Scheme::Iob2 | Scheme::Plain => ['B', 'I', 'I', 'B'],
            Scheme::Io => ['I'; 4],
        }
    }

    /// Whether the last word of a phrase is marked, so that a phrase that was begun must be ended.
    fn marks_ends(self) -> bool {
        matches!(self, Scheme::Iobes | Scheme::Bilou | Scheme::Bmes)
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Where in a phrase a word stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Outside,
    Begin,
    Inside,
    End,
    Single,
}

impl Role {
    fn of(letter: char) -> Option<Self> {
        match letter {
            'B' => Some(Role::Begin),
            'I' | 'M' => Some(Role::Inside),
            'E' | 'L' => Some(Role::End),
            'S' | 'U' => Some(Role::Single),
            _ => None,
        }
    }
}

/// The words of a phrase, and its type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Phrase<'a> {
    /// The type: the tag without its prefix.
    pub kind: &'a str,
    /// The first word.
    pub start: usize,
    /// The word after the last one.
    pub end: usize,
}

/// A [`Scheme`], and how its tags are spelled: `B-x` as a rule, but also `B_x`, `B/x`, `x-B` and `b-x`.
///
/// ```
/// use elman_tagger::{Scheme, Tagging};
///
/// let corpus = [["B-city", "E-city", "O"], ["S-day", "O", "S-day"]];
/// let tagging = Tagging::recognise(corpus.iter().map(|tags| &tags[..]));
/// assert_eq!(tagging.scheme(), Scheme::Iobes);
/// assert_eq!(tagging.to_iob2(&corpus[0]), ["B-city", "I-city", "O"]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tagging {
    scheme: Scheme,
    separator: char,
    /// The letter comes after the type.
    suffix: bool,
    /// The letters are small: `b-x`, `o`.
    small: bool,
}

/// The spellings that are recognised, the usual one first.
const SPELLINGS: [(char, bool); 7] =
    [('-', false), ('_', false), ('/', false), (':', false), ('|', false), ('-', true), ('_', true)];

/// Outside of every phrase.
const OUTSIDE: &str = "O";

/// Something that a tag should not be, where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// It is no tag of the scheme.
    NoTag,
    /// It has a letter and no type, where others have one.
    NoType,
    /// It goes on with a phrase that was not begun.
    NoStart,
    /// It goes on with a phrase of another type.
    OtherType,
    /// It begins a phrase with B where IOB1 has I.
    NotNeeded,
    /// The phrase before it was not ended.
    Open,
}

impl Tagging {
    /// A scheme in its usual spelling.
    pub fn new(scheme: Scheme) -> Self {
        Tagging { scheme, separator: '-', suffix: false, small: false }
    }

    /// Its scheme.
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// The scheme that a corpus follows: the one that the fewest of its tags break. The tags are those of each
    /// sentence.
    ///
    /// Tags are plain if fewer than half of them (those that are `O` not counted) have a letter of a scheme.
    /// A corpus in which every tag is `O` is taken for IOB2.
    pub fn recognise<'a, S: AsRef<str> + 'a>(corpus: impl Iterator<Item = &'a [S]> + Clone) -> Self {
        let tags = corpus.clone().flatten().map(AsRef::as_ref);
        let Some(spelling) = spelling(tags) else { return Tagging::new(Scheme::Plain) };
        // The first of equals: an IOB2 corpus has no fault as IOB2, one without B has none as IO or as IOB1.
        [Scheme::Iob2, Scheme::Io, Scheme::Iob1, Scheme::Iobes, Scheme::Bilou, Scheme::Bmes]
            .into_iter()
            .map(|scheme| Tagging { scheme, ..spelling })
            .min_by_key(|tagging| {
                let mut faults = 0;
                for tags in corpus.clone() {
                    tagging.walk(tags, false, &mut |_, _| faults += 1);
                }
                faults
            })
            .unwrap_or(spelling)
    }

    /// The scheme of a list of different tags, which does not tell IOB1 from IOB2: both are IOB2 here.
    pub fn of_tags<'a>(tags: impl Iterator<Item = &'a str> + Clone) -> Self {
        let Some(spelling) = spelling(tags.clone()) else { return Tagging::new(Scheme::Plain) };
        let count = |letters: &[char]| {
            tags.clone()
                .filter_map(|tag| spelling.letter_and_kind(tag))
                .filter(|(letter, _)| letters.contains(letter))
                .count()
        };
        let (all, other) = (count(&['B', 'I', 'E', 'S', 'L', 'U', 'M']), count(&['E', 'S', 'L', 'U', 'M']));
        let scheme = if 4 * other < all || other == 0 {
            if count(&['B']) > 0 || all == 0 { Scheme::Iob2 } else { Scheme::Io }
        } else if count(&['L', 'U']) > count(&['E', 'S', 'M']) {
            Scheme::Bilou
        } else if count(&['M']) > count(&['I']) {
            Scheme::Bmes
        } else {
            Scheme::Iobes
        };
        Tagging { scheme, ..spelling }
    }

    /// The same spelling in another scheme: what it is to be by force.
    pub fn with_scheme(self, scheme: Scheme) -> Self {
        Tagging { scheme, ..self }
    }

    /// Whether conlleval's own rules score these tags rightly, so that they are given to it as they are.
    pub fn is_conllevals(&self) -> bool {
        matches!(self.scheme, Scheme::Iob1 | Scheme::Iob2 | Scheme::Io)
            && (self.separator, self.suffix) == SPELLINGS[0]
            && !self.small
    }

    /// Whether tags of the two mean the same words of text, so that they can be compared as they are.
    pub(crate) fn spells_like(&self, other: &Self) -> bool {
        let family = |tagging: &Tagging| match tagging.scheme {
            Scheme::Iob1 | Scheme::Iob2 | Scheme::Io => None,
            other => Some(other),
        };
        family(self) == family(other) && self.with_scheme(other.scheme) == *other
    }

    fn letter_and_kind<'t>(&self, tag: &'t str) -> Option<(char, &'t str)> {
        let split =
            if self.suffix { tag.rsplit_once(self.separator) } else { tag.split_once(self.separator) };
        let (letter, kind) = match split {
            Some((kind, letter)) if self.suffix => (letter, kind),
            Some(parts) => parts,
            None => (tag, ""),
        };
        let mut letters = letter.chars();
        match (letters.next(), letters.next()) {
            (Some(letter), None) if letter.is_ascii_lowercase() == self.small => {
                let letter = letter.to_ascii_uppercase();
                Role::of(letter).map(|_| (letter, kind))
            }
            _ => None,
        }
    }

    fn is_outside(&self, tag: &str) -> bool {
        tag == OUTSIDE || (self.small && tag == "o")
    }

    /// Where in a phrase a tag's word stands, and the phrase's type.
    pub(crate) fn parse<'t>(&self, tag: &'t str) -> (Role, &'t str) {
        if self.is_outside(tag) {
            return (Role::Outside, "");
        }
        match self.scheme {
            // Each word is by itself.
            Scheme::Plain => (Role::Single, tag),
            _ => match self.letter_and_kind(tag) {
                Some((letter, kind)) => (Role::of(letter).unwrap_or(Role::Inside), kind),
                // Bare types, as in `PER PER O`; elsewhere a tag that is none is in no phrase.
                None if self.scheme == Scheme::Io => (Role::Inside, tag),
                None => (Role::Outside, ""),
            },
        }
    }

    /// Whether a phrase starts with the second of two tags. Tags that follow the scheme are read as it says;
    /// others as conlleval does: what goes on with a phrase that is not there begins one.
    fn starts(last: (Role, &str), tag: (Role, &str)) -> bool {
        match tag.0 {
            Role::Outside => false,
            Role::Begin | Role::Single => true,
            Role::Inside | Role::End => {
                matches!(last.0, Role::Outside | Role::End | Role::Single) || last.1 != tag.1
            }
        }
    }

    /// The phrases of a sentence, in their order.
    pub fn phrases<'t>(&self, tags: &'t [impl AsRef<str>]) -> Vec<Phrase<'t>> {
        let mut phrases: Vec<Phrase<'t>> = Vec::new();
        let mut last = (Role::Outside, "");
        for (place, tag) in tags.iter().enumerate() {
            let tag = self.parse(tag.as_ref());
            if Tagging::starts(last, tag) {
                phrases.push(Phrase { kind: tag.1, start: place, end: place + 1 });
            } else if tag.0 != Role::Outside
                && let Some(phrase) = phrases.last_mut()
            {
                phrase.end = place + 1;
            }
            last = tag;
        }
        phrases
    }

    /// The tags of a sentence in IOB2: as conlleval reads them.
    pub fn to_iob2<'t>(&self, tags: &'t [impl AsRef<str>]) -> Vec<Cow<'t, str>> {
        let mut written = self.convert(tags, Scheme::Iob2).into_iter();
        tags.iter()
            .map(|tag| match written.next() {
                Some(new) if new != tag.as_ref() => Cow::Owned(new),
                _ => Cow::Borrowed(tag.as_ref()),
            })
            .collect()
    }

    /// The tags of a sentence in another scheme, in its usual spelling. A phrase of a type without a name has
    /// the letter alone; in [`Scheme::Plain`] a word has the type of its phrase.
    pub fn convert(&self, tags: &[impl AsRef<str>], to: Scheme) -> Vec<String> {
        let mut written = vec![OUTSIDE.to_owned(); tags.len()];
        let [begin, inside, end, single] = to.letters();
        let mut last: Option<Phrase<'_>> = None;
        for phrase in self.phrases(tags) {
            let Phrase { kind, start, end: after } = phrase;
            for (place, written) in written.iter_mut().enumerate().take(after).skip(start) {
                let mut letter = match (place == start, place + 1 == after) {
                    (true, true) => single,
                    (true, false) => begin,
                    (false, true) => end,
                    (false, false) => inside,
                };
                // IOB1 has B only between neighbours of one type.
                let touches = last.as_ref().is_some_and(|last| last.end == start && last.kind == kind);
                if to == Scheme::Iob1 && place == start && !touches {
                    letter = 'I';
                }
                *written = match (to, kind.is_empty()) {
                    (Scheme::Plain, false) => kind.to_owned(),
                    (_, true) => letter.to_string(),
                    _ => format!("{letter}-{kind}"),
                };
            }
            last = Some(phrase);
        }
        written
    }

    /// Tells of every tag that does not follow the scheme. `typed`: a letter without a type is one of them.
    fn walk<S: AsRef<str>>(&self, tags: &[S], typed: bool, found: &mut dyn FnMut(usize, Fault)) {
        if self.scheme == Scheme::Plain {
            return;
        }
        let letters = self.scheme.letters();
        let is_open = |role| matches!(role, Role::Begin | Role::Inside);
        let mut last = (Role::Outside, "");
        for (place, text) in tags.iter().enumerate() {
            let text = text.as_ref();
            let parsed = if self.is_outside(text) { None } else { Some(self.letter_and_kind(text)) };
            let tag = match parsed {
                None => (Role::Outside, ""),
                Some(Some((letter, kind))) if letters.contains(&letter) => {
                    if typed && kind.is_empty() {
                        found(place, Fault::NoType);
                    }
                    (Role::of(letter).unwrap_or(Role::Outside), kind)
                }
                Some(_) => {
                    found(place, Fault::NoTag);
                    (Role::Outside, "")
                }
            };
            let goes_on = matches!(tag.0, Role::Inside | Role::End);
            match self.scheme {
                Scheme::Iob1 if tag.0 == Role::Begin && !(is_open(last.0) && last.1 == tag.1) => {
                    found(place, Fault::NotNeeded);
                }
                Scheme::Iob1 | Scheme::Io => {}
                _ if goes_on && !is_open(last.0) => found(place, Fault::NoStart),
                _ if goes_on && last.1 != tag.1 => found(place, Fault::OtherType),
                scheme if scheme.marks_ends() && !goes_on && is_open(last.0) => found(place, Fault::Open),
                _ => {}
            }
            last = tag;
        }
        if self.scheme.marks_ends() && is_open(last.0) {
            found(tags.len() - 1, Fault::Open);
        }
    }

    /// What is wrong with the tags of a sentence by this scheme: the word's place and a text. A tag that is none
    /// is named once in a sentence. `typed` as [`Tagging::is_typed`] says of the corpus.
    pub(crate) fn faults(&self, tags: &[impl AsRef<str>], typed: bool) -> Vec<(usize, String)> {
        let mut faults: Vec<(usize, String)> = Vec::new();
        let mut odd: Vec<&str> = Vec::new();
        self.walk(tags, typed, &mut |place, fault| {
            let tag = tags[place].as_ref();
            let before = if place == 0 { OUTSIDE } else { tags[place - 1].as_ref() };
            let kind = self.letter_and_kind(tag).map_or("", |(_, kind)| kind);
            let begin = if kind.is_empty() { "B".to_owned() } else { format!("B-{kind}") };
            let text = match fault {
                Fault::NoTag if odd.contains(&tag) => return,
                Fault::NoTag => {
                    odd.push(tag);
                    format!("the tag {tag} is none of {}", self.scheme.forms())
                }
                Fault::NoType => format!("{tag} without a type"),
                Fault::NoStart => format!("{tag} after {before}: no {begin} before it"),
                Fault::OtherType => format!("{tag} after {before}: another type"),
                Fault::NotNeeded => {
                    format!("{tag} after {before}: IOB1 has B only between phrases of one type")
                }
                Fault::Open if place + 1 == tags.len() && is_open_tag(self, tag) => {
                    format!("{tag} ends the sentence: its phrase has no end")
                }
                Fault::Open => format!("{tag} after {before}: the phrase before it has no end"),
            };
            faults.push((place, text));
        });
        faults
    }

    /// Whether any tag has a letter and a type.
    pub(crate) fn is_typed<'t>(&self, mut tags: impl Iterator<Item = &'t str>) -> bool {
        tags.any(|tag| self.letter_and_kind(tag).is_some_and(|(_, kind)| !kind.is_empty()))
    }

    /// Which tags may follow which, for [`ValidTags`](crate::ValidTags): whether the tag goes on with a phrase,
    /// whether the next tag may go on with its phrase, and whether another phrase or none may follow.
    pub(crate) fn chain<'t>(&self, tag: &'t str) -> Link<'t> {
        let (role, kind) = self.parse(tag);
        let free = Link { kind, goes_on: false, can_go_on: true, can_end: true };
        match self.scheme {
            Scheme::Plain | Scheme::Io => free,
            Scheme::Iob1 => Link { goes_on: role == Role::Begin, can_go_on: role != Role::Outside, ..free },
            Scheme::Iob2 => Link { goes_on: role == Role::Inside, can_go_on: role != Role::Outside, ..free },
            _ => {
                let open = matches!(role, Role::Begin | Role::Inside);
                let goes_on = matches!(role, Role::Inside | Role::End);
                Link { kind, goes_on, can_go_on: open, can_end: !open }
            }
        }
    }
}

/// What may stand beside a tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Link<'t> {
    pub(crate) kind: &'t str,
    /// A word of a phrase of the same type must be before it.
    pub(crate) goes_on: bool,
    /// A tag of the same type that goes on may follow.
    pub(crate) can_go_on: bool,
    /// A tag that does not go on may follow, or the end of the sentence.
    pub(crate) can_end: bool,
}

fn is_open_tag(tagging: &Tagging, tag: &str) -> bool {
    matches!(tagging.parse(tag).0, Role::Begin | Role::Inside)
}

impl fmt::Display for Tagging {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.scheme.fmt(f)?;
        let letter = if self.small { 'b' } else { 'B' };
        match (self.separator, self.suffix) {
            ('-', false) if !self.small => Ok(()),
            (separator, false) => write!(f, ", spelled {letter}{separator}type"),
            (separator, true) => write!(f, ", spelled type{separator}{letter}"),
        }
    }
}

/// The spelling that most tags have; none if fewer than half of them have one, or if no tag that is a bare
/// letter could begin a phrase.
fn spelling<'t>(tags: impl Iterator<Item = &'t str>) -> Option<Tagging> {
    let mut counts: HashMap<&str, usize> = HashMap::new();
    for tag in tags {
        *counts.entry(tag).or_default() += 1;
    }
    counts.remove(OUTSIDE);
    if counts.is_empty() {
        return Some(Tagging::new(Scheme::Iob2));
    }
    let spellings = [false, true].into_iter().flat_map(|small| {
        SPELLINGS.into_iter().map(move |(separator, suffix)| Tagging {
            scheme: Scheme::Iob2,
            separator,
            suffix,
            small,
        })
    });
    // Tags with a letter and a type, tags that are a letter, and all of them; those outside are not counted.
    let fits = |spelling: Tagging| {
        let (mut typed, mut bare, mut all) = (0, 0, 0);
        for (tag, count) in counts.iter().filter(|(tag, _)| !spelling.is_outside(tag)) {
            all += count;
            match spelling.letter_and_kind(tag) {
                Some((_, "")) => bare += count,
                Some(_) => typed += count,
                None => {}
            }
        }
        (typed, bare, all)
    };
    // The first of equals.
    let best =
        spellings.clone().reduce(|best, other| if fits(other).0 > fits(best).0 { other } else { best })?;
    let (typed, bare, all) = fits(best);
    if typed > 0 {
        return (2 * (typed + bare) >= all).then_some(best);
    }
    // Letters alone, all of them, and one that opens a phrase among them.
    spellings.into_iter().filter(|spelling| (spelling.separator, spelling.suffix) == SPELLINGS[0]).find(
        |spelling| {
            let (_, bare, all) = fits(*spelling);
            let (begin, inside) = if spelling.small { ("b", "i") } else { ("B", "I") };
            let kinds = counts.keys().filter(|tag| !spelling.is_outside(tag)).count();
            all > 0
                && bare == all
                && (counts.contains_key(begin) || (kinds == 1 && counts.contains_key(inside)))
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn corpus(lines: &[&str]) -> Vec<Vec<String>> {
        lines.iter().map(|line| line.split(' ').map(str::to_owned).collect()).collect()
    }

    fn recognise(lines: &[&str]) -> Tagging {
        let corpus = corpus(lines);
        Tagging::recognise(corpus.iter().map(Vec::as_slice))
    }

    #[test]
    fn each_scheme_is_recognised() {
        for (lines, expected) in [
            (&["B-x I-x O B-y", "O O B-x"][..], "IOB2"),
            (&["I-x I-x O I-y", "I-x B-x I-x O"], "IOB1"),
            (&["I-x I-x O I-y"], "IO"),
            (&["B-x E-x O S-y", "B-x I-x E-x"], "IOBES"),
            (&["S-x O S-y"], "IOBES"),
            (&["B-x L-x O U-y", "B-x I-x L-x"], "BILOU"),
            (&["B-x M-x E-x O", "S-x"], "BMES"),
            (&["B M E S S B E"], "BMES"),
            (&["B I O O B"], "IOB2"),
            (&["I I O"], "IO"),
            (&["O O O"], "IOB2"),
            (&["DT NN VBZ -LRB- PRP$ ,"], "plain"),
            (&["C O O P O"], "plain"),
            (&["O S O"], "plain"),
            (&["B_LOC I_LOC O", "O B_PER"], "IOB2, spelled B_type"),
            (&["B_a-b I_a-b O"], "IOB2, spelled B_type"),
            (&["B-a_b I-a_b O"], "IOB2"),
            (&["LOC-B LOC-E O PER-S"], "IOBES, spelled type-B"),
            (&["b-np i-np o", "o b-vp o"], "IOB2, spelled b-type"),
            (&["b i o o b"], "IOB2, spelled b-type"),
            (&["dt nn o in b"], "plain"),
            // A slip or two do not make another scheme.
            (&["B-x I-x I-x O B-y", "B-x I-x O o", "B-x I-x S-x"], "IOB2"),
            (&["B-x I-x I-x O B-y", "O I-x B-y I-y"], "IOB2"),
        ] {
            assert_eq!(recognise(lines).to_string(), expected, "{lines:?}");
        }
    }

    #[test]
    fn a_list_of_tags_tells_all_but_iob1() {
        for (tags, expected) in [
            ("B-x I-x O B-y", "IOB2"),
            ("O", "IOB2"),
            ("I-x O", "IO"),
            ("B-x I-x E-x S-x O", "IOBES"),
            ("B-x I-x L-x U-x O", "BILOU"),
            ("B M E S", "BMES"),
            ("DT NN O", "plain"),
            ("B-x I-x B-y I-y B-z S-x O", "IOB2"),
        ] {
            assert_eq!(Tagging::of_tags(tags.split(' ')).to_string(), expected, "{tags}");
        }
    }

    /// All phrase structures of four words and two types.
    fn all_iob2() -> Vec<Vec<String>> {
        let mut all: Vec<Vec<String>> = vec![Vec::new()];
        for _ in 0..4 {
            all = all
                .into_iter()
                .flat_map(|tags| {
                    let last = tags.last().cloned().unwrap_or_default();
                    let goes_on = last.split_once('-').map(|(_, kind)| format!("I-{kind}"));
                    ["O".to_owned(), "B-x".to_owned(), "B-y".to_owned()]
                        .into_iter()
                        .chain(goes_on)
                        .map(move |tag| tags.iter().cloned().chain([tag]).collect())
                })
                .collect();
        }
        all
    }

    #[test]
    fn every_sentence_comes_back_from_every_scheme() {
        let all = all_iob2();
        assert!(all.len() > 100);
        for scheme in [Scheme::Iob1, Scheme::Iob2, Scheme::Iobes, Scheme::Bilou, Scheme::Bmes] {
            let written: Vec<_> =
                all.iter().map(|tags| Tagging::new(Scheme::Iob2).convert(tags, scheme)).collect();
            let tagging = Tagging::recognise(written.iter().map(Vec::as_slice));
            assert_eq!(tagging, Tagging::new(scheme));
            for (tags, written) in all.iter().zip(&written) {
                assert_eq!(tagging.to_iob2(written), *tags, "{written:?}");
                assert_eq!(tagging.faults(written, true), [], "{written:?}");
            }
        }
    }

    #[test]
    fn iob1_and_iobes_are_written_as_their_definitions_say() {
        let tags = ["B-x", "I-x", "B-x", "O", "B-y", "B-x", "I-x", "I-x"];
        let convert = |to| Tagging::new(Scheme::Iob2).convert(&tags, to).join(" ");
        assert_eq!(convert(Scheme::Iob1), "I-x I-x B-x O I-y I-x I-x I-x");
        assert_eq!(convert(Scheme::Iobes), "B-x E-x S-x O S-y B-x I-x E-x");
        assert_eq!(convert(Scheme::Bilou), "B-x L-x U-x O U-y B-x I-x L-x");
        assert_eq!(convert(Scheme::Bmes), "B-x E-x S-x O S-y B-x M-x E-x");
        assert_eq!(convert(Scheme::Io), "I-x I-x I-x O I-y I-x I-x I-x");
        assert_eq!(convert(Scheme::Plain), "x x x O y x x x");
        let bare = Tagging::recognise([["B", "I", "O", "B"]].iter().map(|tags| &tags[..]));
        assert_eq!(bare.convert(&["B", "I", "O", "B"], Scheme::Iobes), ["B", "E", "O", "S"]);
        let underscore = recognise(&["B_x I_x O"]);
        assert_eq!(underscore.to_iob2(&["B_x", "I_x", "O"]), ["B-x", "I-x", "O"]);
        let small = recognise(&["b-np i-np o", "o b-vp o"]);
        assert_eq!(small.to_iob2(&["b-np", "i-np", "o", "O"]), ["B-np", "I-np", "O", "O"]);
        assert_eq!(small.faults(&["o", "i-np"], true), [(1, "i-np after o: no B-np before it".to_owned())]);
        assert!(!small.is_conllevals());
        assert_eq!(Tagging::new(Scheme::Plain).to_iob2(&["NN", "O", "NN"]), ["B-NN", "O", "B-NN"]);
        assert_eq!(Tagging::new(Scheme::Io).to_iob2(&["PER", "PER", "O"]), ["B-PER", "I-PER", "O"]);
    }

    #[test]
    fn broken_sequences_are_read_leniently() {
        for (scheme, tags, expected) in [
            (Scheme::Iobes, "O I-x E-x E-x", "O B-x I-x B-x"),
            (Scheme::Iobes, "B-x I-y S-y E-y", "B-x B-y B-y B-y"),
            (Scheme::Iobes, "B-x B-x ? E-x", "B-x B-x O B-x"),
            (Scheme::Iob2, "O I-x I-x I-y", "O B-x I-x B-y"),
        ] {
            let tags: Vec<&str> = tags.split(' ').collect();
            assert_eq!(Tagging::new(scheme).to_iob2(&tags).join(" "), expected);
        }
    }
}
