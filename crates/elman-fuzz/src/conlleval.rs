//! conlleval, against a second implementation that takes chunks out one by one.

use std::collections::{BTreeMap, BTreeSet};

use elman_tagger::{Counts, Evaluation};

/// A chunk: sentence, first word, word after the last, type.
type Chunk<'a> = (usize, usize, usize, &'a str);

/// A tag's type; the script's language takes the type `0` for none.
fn kind(tag: &str) -> &str {
    tag.split_once('-').map_or("", |(_, kind)| if kind == "0" { "" } else { kind })
}

/// Whether the script takes two tags for the same one.
fn same_tag(a: &str, b: &str) -> bool {
    a.split('-').next() == b.split('-').next() && kind(a) == kind(b)
}

/// The chunks of tags of the prefixes B, I and O.
fn chunks<'a>(sentence: usize, tags: &[&'a str], chunks: &mut BTreeSet<Chunk<'a>>) {
    let mut start = 0;
    while start < tags.len() {
        if tags[start].starts_with('O') {
            start += 1;
            continue;
        }
        let mut end = start + 1;
        while end < tags.len() && tags[end].starts_with('I') && kind(tags[end]) == kind(tags[start]) {
            end += 1;
        }
        chunks.insert((sentence, start, end, kind(tags[start])));
        start = end;
    }
}

/// Each line a word: the tag of the corpus, a space, the predicted one; blank lines between sentences.
pub(crate) fn check(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let sentences: Vec<Vec<(&str, &str)>> = text
        .split("\n\n")
        .map(|sentence| sentence.lines().map(|line| line.split_once(' ').unwrap_or((line, "O"))).collect())
        .collect();
    let (mut both, mut turned, mut same) =
        (Evaluation::default(), Evaluation::default(), Evaluation::default());
    let (mut truth, mut guess) = (BTreeSet::new(), BTreeSet::new());
    let (mut words, mut right) = (0, 0);
    for (number, sentence) in sentences.iter().enumerate() {
        let (corpus, predicted): (Vec<_>, Vec<_>) = sentence.iter().copied().unzip();
        both.add(&corpus, &predicted).expect("one tag for each word");
        turned.add(&predicted, &corpus).expect("one tag for each word");
        same.add(&corpus, &corpus).expect("one tag for each word");
        chunks(number, &corpus, &mut truth);
        chunks(number, &predicted, &mut guess);
        words += corpus.len();
        right += corpus.iter().zip(&predicted).filter(|(a, b)| same_tag(a, b)).count();
    }

    // For any tags at all.
    let Counts { phrases, found, correct } = both.total();
    assert_eq!(both.tokens(), words);
    assert!(correct <= phrases && correct <= found, "{:?}", both.total());
    assert_eq!(turned.total(), Counts { phrases: found, found: phrases, correct });
    assert_eq!(same.total().phrases, same.total().found);
    assert_eq!(same.accuracy(), if words == 0 { 0.0 } else { 100.0 });
    let mut sum = Counts::default();
    for (_, counts) in both.types() {
        sum.phrases += counts.phrases;
        sum.found += counts.found;
        sum.correct += counts.correct;
    }
    assert_eq!((sum.phrases, sum.found), (phrases, found));
    for percent in [both.accuracy(), both.total().precision(), both.total().recall(), both.total().f1()] {
        assert!((0.0..=100.0).contains(&percent), "{percent}");
    }
    assert!(both.to_string().starts_with(&format!("processed {words} tokens with {phrases} phrases; ")));

    // For regular ones, all counts.
    let regular = |tag: &str| tag == "O" || tag.starts_with("B-") || tag.starts_with("I-");
    if sentences.iter().flatten().all(|(corpus, predicted)| regular(corpus) && regular(predicted)) {
        let mut types: BTreeMap<&str, Counts> = BTreeMap::new();
        for chunk in &truth {
            types.entry(chunk.3).or_default().phrases += 1;
        }
        for chunk in &guess {
            types.entry(chunk.3).or_default().found += 1;
        }
        for chunk in truth.intersection(&guess) {
            types.entry(chunk.3).or_default().correct += 1;
        }
        assert_eq!(both.types().collect::<Vec<_>>(), types.into_iter().collect::<Vec<_>>(), "{text:?}");
        assert_eq!(sum.correct, correct);
        let same = same.total();
        assert_eq!(same.correct, same.phrases, "{text:?}");
        let accuracy = if words == 0 { 0.0 } else { (100 * right) as f64 / words as f64 };
        assert_eq!(both.accuracy(), accuracy);
    }
}
