//! What the tests of the book share: its fenced blocks, and the comparison of an output with the one it shows.
//!
//! Blocks are told apart by their first word: `sh` and `console` are run by `crates/elman-cli/tests/book.rs`, `rust`
//! are doctests (at the end of this file), and `rs` and `c` are excerpts of sources, which that test looks up.
#![forbid(unsafe_code)]

use pulldown_cmark::{CodeBlockKind, Event, Parser, Tag, TagEnd};

/// A code block of a chapter.
#[derive(Debug, PartialEq, Eq)]
pub struct Block {
    /// What stands after the opening fence; empty for an indented block.
    pub info: String,
    /// The block itself.
    pub text: String,
    /// The line of its opening fence, from 1.
    pub line: usize,
}

impl Block {
    /// The first word of the info, which says what the block is.
    pub fn language(&self) -> &str {
        self.info.split([' ', ',']).next().unwrap_or_default()
    }

    /// Whether the commands are to be checked and not run.
    pub fn no_run(&self) -> bool {
        self.info.split([' ', ',']).any(|word| word == "no_run")
    }
}

/// The code blocks of a chapter, in order.
pub fn blocks(chapter: &str) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    let mut inside = false;
    for (event, range) in Parser::new(chapter).into_offset_iter() {
        match event {
            Event::Start(Tag::CodeBlock(kind)) => {
                let info = match kind {
                    CodeBlockKind::Fenced(info) => info.to_string(),
                    CodeBlockKind::Indented => String::new(),
                };
                let line = chapter[..range.start].matches('\n').count() + 1;
                blocks.push(Block { info, text: String::new(), line });
                inside = true;
            }
            Event::End(TagEnd::CodeBlock) => inside = false,
            Event::Text(text) if inside => {
                if let Some(block) = blocks.last_mut() {
                    block.text.push_str(&text);
                }
            }
            _ => {}
        }
    }
    blocks
}

/// The targets of a chapter's links and pictures, in order.
pub fn links(chapter: &str) -> Vec<String> {
    Parser::new(chapter)
        .filter_map(|event| match event {
            Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => {
                Some(dest_url.to_string())
            }
            _ => None,
        })
        .collect()
}

/// What a chapter has between backticks, in order.
pub fn code_spans(chapter: &str) -> Vec<String> {
    Parser::new(chapter)
        .filter_map(|event| match event {
            Event::Code(text) => Some(text.to_string()),
            _ => None,
        })
        .collect()
}

/// The commands of a `console` block, each after `$ `, with the output that is shown for it.
pub fn commands(console: &str) -> Vec<(&str, String)> {
    let mut commands: Vec<(&str, String)> = Vec::new();
    for line in console.lines() {
        match (line.strip_prefix("$ "), commands.last_mut()) {
            (Some(command), _) => commands.push((command, String::new())),
            (None, Some((_, output))) => {
                output.push_str(line);
                output.push('\n');
            }
            (None, None) => {}
        }
    }
    commands
}

/// Whether a program has printed what is shown. In what is shown, `[..]` stands for any part of a line and a line of
/// `...` for any number of lines; blanks at the end of a line and of the whole do not count.
pub fn is_shown(shown: &str, printed: &str) -> bool {
    let lines =
        |text: &str| text.trim_end().lines().map(|line| line.trim_end().to_owned()).collect::<Vec<_>>();
    lines_match(&lines(shown), &lines(printed))
}

fn lines_match(shown: &[String], printed: &[String]) -> bool {
    match shown.split_first() {
        None => printed.is_empty(),
        Some((line, rest)) if line == "..." => {
            (0..=printed.len()).any(|skipped| lines_match(rest, &printed[skipped..]))
        }
        Some((line, rest)) => {
            printed.first().is_some_and(|first| line_matches(line, first)) && lines_match(rest, &printed[1..])
        }
    }
}

fn line_matches(shown: &str, printed: &str) -> bool {
    match shown.split_once("[..]") {
        None => shown == printed,
        Some((before, after)) => printed.strip_prefix(before).is_some_and(|rest| {
            rest.char_indices().map(|(i, _)| i).chain([rest.len()]).any(|i| line_matches(after, &rest[i..]))
        }),
    }
}

/// For the tests of the examples: a program has printed what the chapter shows after this command.
///
/// # Panics
/// The chapter does not show the command, or shows another output.
#[track_caller]
pub fn assert_shown(chapter: &str, command: &str, printed: &str) {
    let consoles = blocks(chapter).into_iter().filter(|block| block.language() == "console");
    let texts: Vec<String> = consoles.map(|block| block.text).collect();
    let shown = texts.iter().flat_map(|text| commands(text)).find(|(shown, _)| *shown == command);
    let Some((_, shown)) = shown else { panic!("the chapter does not show `{command}`") };
    assert!(is_shown(&shown, printed), "`{command}` printed\n{printed}\nthe chapter shows\n{shown}");
}

#[cfg(doctest)]
mod chapters {
    #[doc = include_str!("../docs/from-theano.md")]
    mod from_theano {}
    #[doc = include_str!("../docs/gradient.md")]
    mod gradient {}
    #[doc = include_str!("../docs/your-own-kernel.md")]
    mod your_own_kernel {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_links_and_commands_are_found() {
        let chapter =
            "a [link](b.md#c)\n\n```sh no_run\nls\n```\n\n```console\n$ one\n1\n$ two\n```\n\n    indented\n";
        let found = blocks(chapter);
        assert_eq!(
            found.iter().map(|b| (b.language(), b.no_run(), b.line)).collect::<Vec<_>>(),
            [("sh", true, 3), ("console", false, 7), ("", false, 13)]
        );
        assert_eq!(found[0].text, "ls\n");
        assert_eq!(commands(&found[1].text), [("one", "1\n".to_owned()), ("two", String::new())]);
        assert_eq!(links(chapter), ["b.md#c"]);
    }

    #[test]
    fn only_what_is_marked_may_differ() {
        for (shown, printed, same) in [
            ("a b\n", "a b  \n\n", true),
            ("a b", "a c", false),
            ("a", "a\nb", false),
            ("a\nb", "a", false),
            ("F1 9[..] of [..]", "F1 98.2 of 7", true),
            ("F1 9[..] of [..]", "F1 88.2 of 7", false),
            ("a\n...\nd", "a\nb\nc\nd", true),
            ("a\n...\nd", "a\nd", true),
            ("a\n...\nd", "a\nb\nc", false),
            ("...", "", true),
        ] {
            assert_eq!(is_shown(shown, printed), same, "{shown:?} {printed:?}");
        }
    }
}
