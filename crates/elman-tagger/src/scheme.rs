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
    /// As [`Scheme::Bmes`], with `W-x` for `S-x`.
    Bmewo,
    /// As [`Scheme::Iobes`], with `B-x` for `S-x`: only the last word of several is marked.
    Iobe,
    /// As [`Scheme::Iobes`], with `I-x` for `E-x`: only a phrase of one word is marked. Also called BIOS.
    Iobs,
    /// `I-x` inside a phrase; `E-x` only on the last word of a phrase that another one of its type directly follows.
    Ioe1,
    /// `E-x` on the last word of every phrase, `I-x` on its other words.
    Ioe2,
    /// `(x*` on the first word of a phrase, `*)` on its last one, `(x*)` on a phrase of one word, `*` on all other
    /// words: the columns of CoNLL-2005 and CoNLL-2012.
    Brackets,
    /// `I-x` on every word of a phrase: two phrases of one type that touch are one.
    Io,
    /// Tags that form no phrases, such as parts of speech.
    Plain,
}

impl Scheme {
    /// All schemes.
    pub const ALL: [Scheme; 13] = [
        Scheme::Iob1,
        Scheme::Iob2,
        Scheme::Iobes,
        Scheme::Bilou,
        Scheme::Bmes,
        Scheme::Bmewo,
        Scheme::Iobe,
        Scheme::Iobs,
        Scheme::Ioe1,
        Scheme::Ioe2,
        Scheme::Brackets,
        Scheme::Io,
        Scheme::Plain,
    ];

    /// Its usual name.
    pub fn name(self) -> &'static str {
        match self {
            Scheme::Iob1 => "IOB1",
            Scheme::Iob2 => "IOB2",
            Scheme::Iobes => "IOBES",
            Scheme::Bilou => "BILOU",
            Scheme::Bmes => "BMES",
            Scheme::Bmewo => "BMEWO",
            Scheme::Iobe => "IOBE",
            Scheme::Iobs => "IOBS",
            Scheme::Ioe1 => "IOE1",
            Scheme::Ioe2 => "IOE2",
            Scheme::Brackets => "brackets",
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
            Scheme::Bmewo => "BMEWO (B-type, M-type, E-type, W-type, O)",
            Scheme::Iobe => "IOBE (B-type, I-type, E-type, O)",
            Scheme::Iobs => "IOBS (B-type, I-type, S-type, O)",
            Scheme::Ioe1 | Scheme::Ioe2 => "IOE (I-type, E-type, O)",
            Scheme::Brackets => "brackets ((type*, *, *), (type*))",
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
            Scheme::Bmewo => ['B', 'M', 'E', 'W'],
            Scheme::Iobe => ['B', 'I', 'E', 'B'],
            Scheme::Iobs => ['B', 'I', 'I', 'S'],
            Scheme::Ioe1 | Scheme::Ioe2 => ['I', 'I', 'E', 'E'],
            Scheme::Iob1 | Scheme::Iob2 | Scheme::Plain | Scheme::Brackets => ['B', 'I', 'I', 'B'],
            Scheme::Io => ['I'; 4],
        }
    }

    /// Whether the phrase of a word with this role must go on at the next word.
    fn must_go_on(self, role: Role) -> bool {
        match self {
            Scheme::Iobes
            | Scheme::Bilou
            | Scheme::Bmes
            | Scheme::Bmewo
            | Scheme::Ioe2
            | Scheme::Brackets => matches!(role, Role::Begin | Role::Inside),
            Scheme::Iobe => role == Role::Inside,
            Scheme::Iobs => role == Role::Begin,
            Scheme::Iob1 | Scheme::Iob2 | Scheme::Ioe1 | Scheme::Io | Scheme::Plain => false,
        }
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
            // Conlleval has brackets, too, each of which is a phrase of one word.
            'S' | 'U' | 'W' | '[' | ']' => Some(Role::Single),
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
    /// It begins a phrase with B where IOB1 has I, or ends one with E where IOE1 has I.
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
        if are_brackets(tags.clone()) {
            return Tagging::new(Scheme::Brackets);
        }
        let Some(spelling) = spelling(tags) else { return Tagging::new(Scheme::Plain) };
        // The first of equals: an IOB2 corpus has no fault as IOB2, one without B has none as IO or as IOB1.
        [
            Scheme::Iob2,
            Scheme::Io,
            Scheme::Iob1,
            Scheme::Iobes,
            Scheme::Bilou,
            Scheme::Bmes,
            Scheme::Bmewo,
            Scheme::Iobe,
            Scheme::Iobs,
            Scheme::Ioe2,
            Scheme::Ioe1,
        ]
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

    /// The scheme of a list of different tags, which does not tell IOB1 from IOB2, nor IOE1 from IOE2: IOB2 and IOE2
    /// are returned.
    pub fn of_tags<'a>(tags: impl Iterator<Item = &'a str> + Clone) -> Self {
        if are_brackets(tags.clone()) {
            return Tagging::new(Scheme::Brackets);
        }
        let Some(spelling) = spelling(tags.clone()) else { return Tagging::new(Scheme::Plain) };
        let count = |letters: &[char]| {
            tags.clone()
                .filter_map(|tag| spelling.letter_and_kind(tag))
                .filter(|(letter, _)| letters.contains(letter))
                .count()
        };
        let all = count(&['B', 'I', 'E', 'S', 'L', 'U', 'M', 'W']);
        let other = count(&['E', 'S', 'L', 'U', 'M', 'W']);
        let scheme = if 4 * other < all || other == 0 {
            if count(&['B']) > 0 || all == 0 { Scheme::Iob2 } else { Scheme::Io }
        } else if count(&['B', 'S', 'L', 'U', 'M', 'W']) == 0 {
            Scheme::Ioe2
        } else if count(&['E']) == other {
            Scheme::Iobe
        } else if count(&['S']) == other && count(&['B', 'I']) > 0 {
            Scheme::Iobs
        } else if count(&['L', 'U']) > count(&['E', 'S', 'M']) {
            Scheme::Bilou
        } else if count(&['W']) > count(&['S']) {
            Scheme::Bmewo
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
        let of_script = [Scheme::Iob1, Scheme::Iob2, Scheme::Ioe1, Scheme::Ioe2, Scheme::Io];
        of_script.contains(&self.scheme) && (self.separator, self.suffix) == SPELLINGS[0] && !self.small
    }

    /// Whether tags of the two mean the same words of text, so that they can be compared as they are.
    pub(crate) fn spells_like(&self, other: &Self) -> bool {
        let family = |tagging: &Tagging| match tagging.scheme {
            Scheme::Iob1 | Scheme::Iob2 | Scheme::Io => None,
            Scheme::Ioe1 | Scheme::Ioe2 => Some(Scheme::Ioe2),
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
            // Alone, `*` does not tell where it stands; phrases are found in Tagging::phrases.
            Scheme::Brackets => match bracket(tag) {
                Some(Bracket { opens: Some(kind), closes: false }) => (Role::Begin, kind),
                Some(Bracket { opens: Some(kind), closes: true }) => (Role::Single, kind),
                Some(Bracket { opens: None, closes: true }) => (Role::End, ""),
                _ => (Role::Outside, ""),
            },
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

    /// [`Tagging::parse`] of a tag that follows another one: in brackets, `*` and `*)` go on with an open phrase.
    fn parse_after<'t>(&self, last: (Role, &'t str), tag: &'t str) -> (Role, &'t str) {
        if self.scheme != Scheme::Brackets {
            return self.parse(tag);
        }
        let is_open = matches!(last.0, Role::Begin | Role::Inside);
        match (bracket(tag), self.parse(tag)) {
            (Some(Bracket { opens: None, closes }), _) if is_open => {
                (if closes { Role::End } else { Role::Inside }, last.1)
            }
            (_, (Role::End, _)) => (Role::Outside, ""),
            (_, parsed) => parsed,
        }
    }

    /// The phrases of a sentence, in their order.
    pub fn phrases<'t>(&self, tags: &'t [impl AsRef<str>]) -> Vec<Phrase<'t>> {
        let mut phrases: Vec<Phrase<'t>> = Vec::new();
        let mut last = (Role::Outside, "");
        for (place, tag) in tags.iter().enumerate() {
            let tag = self.parse_after(last, tag.as_ref());
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
        let outside = if to == Scheme::Brackets { "*" } else { OUTSIDE };
        let mut written = vec![outside.to_owned(); tags.len()];
        let [begin, inside, end, single] = to.letters();
        let phrases = self.phrases(tags);
        for (number, phrase) in phrases.iter().enumerate() {
            let Phrase { kind, start, end: after } = *phrase;
            for (place, written) in written.iter_mut().enumerate().take(after).skip(start) {
                let (first, final_one) = (place == start, place + 1 == after);
                let mut letter = match (first, final_one) {
                    (true, true) => single,
                    (true, false) => begin,
                    (false, true) => end,
                    (false, false) => inside,
                };
                // IOB1 has B, and IOE1 has E, only between neighbours of one type.
                let touches =
                    |one: &Phrase<'_>, other: &Phrase<'_>| one.end == other.start && one.kind == other.kind;
                let before = number > 0 && touches(&phrases[number - 1], phrase);
                let behind = phrases.get(number + 1).is_some_and(|next| touches(phrase, next));
                if (to == Scheme::Iob1 && first && !before) || (to == Scheme::Ioe1 && final_one && !behind) {
                    letter = 'I';
                }
                *written = match (to, kind.is_empty()) {
                    (Scheme::Brackets, _) => {
                        let open = if first { format!("({kind}") } else { String::new() };
                        format!("{open}*{}", if final_one { ")" } else { "" })
                    }
                    (Scheme::Plain, false) => kind.to_owned(),
                    (_, true) => letter.to_string(),
                    _ => format!("{letter}-{kind}"),
                };
            }
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
                _ if self.scheme == Scheme::Brackets => {
                    if bracket(text).is_none() {
                        found(place, Fault::NoTag);
                    }
                    let tag = self.parse_after(last, text);
                    // A bracket that closes nothing.
                    if tag.0 == Role::Outside { self.parse(text) } else { tag }
                }
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
                Scheme::Ioe1 if last.0 == Role::End && !(goes_on && last.1 == tag.1) => {
                    found(place - 1, Fault::NotNeeded);
                }
                Scheme::Ioe1 => {}
                // Phrases have no first letter, only a last one.
                Scheme::Ioe2 if is_open(last.0) && !(goes_on && last.1 == tag.1) => found(place, Fault::Open),
                Scheme::Ioe2 => {}
                _ if goes_on && !is_open(last.0) => found(place, Fault::NoStart),
                _ if goes_on && last.1 != tag.1 => found(place, Fault::OtherType),
                scheme if !goes_on && scheme.must_go_on(last.0) => found(place, Fault::Open),
                _ => {}
            }
            last = tag;
        }
        if self.scheme.must_go_on(last.0) {
            found(tags.len() - 1, Fault::Open);
        }
        if self.scheme == Scheme::Ioe1 && last.0 == Role::End {
            found(tags.len() - 1, Fault::NotNeeded);
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
                Fault::NoStart if self.scheme == Scheme::Brackets => {
                    format!("{tag} after {before}: no bracket is open")
                }
                Fault::NoStart => format!("{tag} after {before}: no {begin} before it"),
                Fault::OtherType => format!("{tag} after {before}: another type"),
                Fault::NotNeeded if self.scheme == Scheme::Ioe1 => {
                    format!("{tag}: IOE1 has E only between phrases of one type")
                }
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
        let outside = role == Role::Outside;
        let free = Link { kind, begins: true, goes_on: false, can_go_on: true, can_end: true };
        let only = |goes_on: bool| Link { begins: !goes_on, goes_on, can_go_on: !outside, ..free };
        match self.scheme {
            // In brackets a `*` alone does not tell whether it is in a phrase.
            Scheme::Plain | Scheme::Io | Scheme::Brackets => free,
            Scheme::Iob1 => only(role == Role::Begin),
            Scheme::Iob2 => only(role == Role::Inside),
            Scheme::Ioe1 => Link { goes_on: !outside, can_end: role != Role::End, ..only(false) },
            Scheme::Ioe2 => {
                let open = role == Role::Inside;
                Link { goes_on: !outside, can_go_on: open, can_end: !open, ..free }
            }
            _ => {
                let open = matches!(role, Role::Begin | Role::Inside);
                let goes_on = matches!(role, Role::Inside | Role::End);
                let can_end = !self.scheme.must_go_on(role);
                Link { kind, begins: !goes_on, goes_on, can_go_on: open, can_end }
            }
        }
    }
}

/// What may stand beside a tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Link<'t> {
    pub(crate) kind: &'t str,
    /// A tag may be before it that can end, or none.
    pub(crate) begins: bool,
    /// A tag of the same type may be before it that can go on.
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

/// A tag of [`Scheme::Brackets`].
struct Bracket<'t> {
    opens: Option<&'t str>,
    closes: bool,
}

fn bracket(tag: &str) -> Option<Bracket<'_>> {
    let (inner, closes) = tag.strip_suffix(')').map_or((tag, false), |inner| (inner, true));
    // `(x)` is a short form of `(x*)`.
    let (inner, star) = inner.strip_suffix('*').map_or((inner, false), |inner| (inner, true));
    let opens = if inner.is_empty() { None } else { Some(inner.strip_prefix('(')?) };
    let is_name = opens.is_none_or(|kind| !kind.contains(['(', ')', '*']));
    (is_name && (star || (closes && opens.is_some()))).then_some(Bracket { opens, closes })
}

/// Whether tags are brackets: most of them, and one of them opens a phrase.
fn are_brackets<'t>(tags: impl Iterator<Item = &'t str>) -> bool {
    let (mut all, mut fits, mut opens) = (0, 0, false);
    for tag in tags {
        let bracket = bracket(tag);
        all += 1;
        fits += usize::from(bracket.is_some());
        opens |= bracket.is_some_and(|bracket| bracket.opens.is_some());
    }
    opens && 2 * fits > all
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
            (&["B-x M-x E-x O", "W-x O B-y E-y"], "BMEWO"),
            (&["B-x E-x O B-y", "B-x I-x E-x B-x"], "IOBE"),
            (&["B-x I-x O S-y", "B-x I-x I-x S-x"], "IOBS"),
            (&["I-x E-x O E-y", "E-x I-x E-x"], "IOE2"),
            (&["I-x I-x O I-y", "I-x E-x I-x O"], "IOE1"),
            (&["(x* *) * (y*)", "* * (x*)"], "brackets"),
            (&["(PERSON) * *", "* (DATE* * *)"], "brackets"),
            (&["[-x I-x O ]-y", "B-x O O"], "IOB2"),
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
            ("B-x M-x E-x W-x O", "BMEWO"),
            ("B-x I-x E-x O", "IOBE"),
            ("B-x I-x S-x O", "IOBS"),
            ("S-x S-y O", "IOBES"),
            ("I-x E-x O", "IOE2"),
            ("(x* * *) (x*)", "brackets"),
            ("( ) * DT", "plain"),
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
        for scheme in Scheme::ALL.into_iter().filter(|scheme| !matches!(scheme, Scheme::Io | Scheme::Plain)) {
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
        assert_eq!(convert(Scheme::Bmewo), "B-x E-x W-x O W-y B-x M-x E-x");
        assert_eq!(convert(Scheme::Iobe), "B-x E-x B-x O B-y B-x I-x E-x");
        assert_eq!(convert(Scheme::Iobs), "B-x I-x S-x O S-y B-x I-x I-x");
        assert_eq!(convert(Scheme::Ioe1), "I-x E-x I-x O I-y I-x I-x I-x");
        assert_eq!(convert(Scheme::Ioe2), "I-x E-x E-x O E-y I-x I-x E-x");
        assert_eq!(convert(Scheme::Brackets), "(x* *) (x*) * (y*) (x* * *)");
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
    fn broken_tags_of_ioe_and_brackets_are_named() {
        let faults = |scheme, tags: &str| -> Vec<(usize, String)> {
            Tagging::new(scheme).faults(&tags.split(' ').collect::<Vec<_>>(), true)
        };
        let one = |place, text: &str| vec![(place, text.to_owned())];
        let not_needed = "E-x: IOE1 has E only between phrases of one type";
        assert_eq!(faults(Scheme::Ioe1, "E-x I-x O E-x E-x I-x"), []);
        assert_eq!(faults(Scheme::Ioe1, "I-x E-x O"), one(1, not_needed));
        assert_eq!(faults(Scheme::Ioe1, "I-x E-x"), one(1, not_needed));
        assert_eq!(faults(Scheme::Ioe2, "I-x O"), one(1, "O after I-x: the phrase before it has no end"));
        assert_eq!(faults(Scheme::Ioe2, "I-x"), one(0, "I-x ends the sentence: its phrase has no end"));
        let tag = "the tag B-x is none of IOE (I-type, E-type, O)";
        assert_eq!(faults(Scheme::Ioe2, "B-x"), one(0, tag));
        assert_eq!(faults(Scheme::Brackets, "* *) *"), one(1, "*) after *: no bracket is open"));
        let open = "(y*) after (x*: the phrase before it has no end";
        assert_eq!(faults(Scheme::Brackets, "(x* (y*) *"), one(1, open));
        let tag = "the tag (a(b* is none of brackets ((type*, *, *), (type*))";
        assert_eq!(faults(Scheme::Brackets, "(a(b* *"), one(0, tag));
    }

    #[test]
    fn broken_sequences_are_read_leniently() {
        for (scheme, tags, expected) in [
            (Scheme::Iobes, "O I-x E-x E-x", "O B-x I-x B-x"),
            (Scheme::Iobes, "B-x I-y S-y E-y", "B-x B-y B-y B-y"),
            (Scheme::Iobes, "B-x B-x ? E-x", "B-x B-x O B-x"),
            (Scheme::Iob2, "O I-x I-x I-y", "O B-x I-x B-y"),
            (Scheme::Ioe2, "I-x I-y O I-x", "B-x B-y O B-x"),
            (Scheme::Iobe, "B-x O B-x I-x O E-x", "B-x O B-x I-x O B-x"),
            (Scheme::Iobs, "B-x O S-x I-x", "B-x O B-x B-x"),
            (Scheme::Ioe1, "E-x O E-x E-y", "B-x O B-x B-y"),
            (Scheme::Brackets, "*) * (x* (y* *) ? *", "O O B-x B-y I-y O O"),
        ] {
            let tags: Vec<&str> = tags.split(' ').collect();
            assert_eq!(Tagging::new(scheme).to_iob2(&tags).join(" "), expected);
        }
    }
}
