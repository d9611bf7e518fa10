//! Thousands of broken corpora, models, checkpoints, configs and command lines, made from good ones: none
//! panics, each refusal names its file (and line, in text), as the targets demand.

use std::collections::BTreeSet;

/// A generator of its own, the same on every machine.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        (self.0 >> 33) as usize % limit.max(1)
    }
}

/// What stands in for something else: in text, in headers, and as bytes of numbers.
const PIECES: [&[u8]; 34] = [
    b"\0",
    b"\r",
    b"\t",
    b" ",
    b"\n",
    b"\n\n",
    b"\xff",
    b"\xc3",
    b"\xed\xa0\x80",
    b"\xfe\xff",
    b"\xff\xfe",
    b"\xef\xbb\xbf",
    b"caf\xe9",
    b"c\0a\0f\0\xe9\0",
    b"-1",
    b"0",
    b"1e999",
    b"nan",
    b"inf",
    b"-0.0",
    b"18446744073709551616",
    b"9223372036854775807",
    b"4294967295",
    b"{",
    b"[[[[[[[[",
    b"\"",
    b"F64",
    b"I32",
    b"BF16",
    b"\x7f\xc0\0\0",
    b"\0\0\xc0\x7f",
    b"\0\0\x80\x7f",
    b"\xff\xff\xff\xff\xff\xff\xff\xff",
    b"-DOCSTART-",
];

/// Broken forms of an input: cut at every offset (of long ones at some), bits flipped, pieces put in,
/// numbers and words replaced, parts doubled, left out and changed for others.
fn broken(input: &[u8], many: usize, random: &mut Random) -> BTreeSet<Vec<u8>> {
    let mut found = BTreeSet::new();
    for length in (0..input.len()).step_by(1 + input.len() / many) {
        found.insert(input[..length].to_vec());
        found.insert(input[length..].to_vec());
    }
    for _ in 0..many {
        let place = random.below(input.len());
        let mut flipped = input.to_vec();
        flipped[place] ^= 1 << random.below(8);
        found.insert(flipped);
        let piece = PIECES[random.below(PIECES.len())];
        let end = (place + random.below(12)).min(input.len());
        found.insert([&input[..place], piece, &input[place..]].concat());
        found.insert([&input[..place], piece, &input[end..]].concat());
        let (from, to) = (random.below(input.len()), random.below(input.len()));
        let (from, to) = (from.min(to), from.max(to));
        found.insert([&input[..to], &input[from..]].concat());
        found.insert([&input[..from], &input[to..]].concat());
    }
    found.insert(input.repeat(3));
    found.insert(vec![b'x'; 100_000]);
    found.insert(b"a O\n".repeat(10_001));
    found.remove(input);
    found
}

#[test]
fn no_broken_input_panics_and_each_is_answered() {
    // How many broken forms of each seed, about: checkpoints and kernels take longest.
    let targets = [
        ("conll", 120, 1_500),
        ("sentences", 120, 1_500),
        ("conlleval", 120, 700),
        ("config", 150, 500),
        ("command_line", 60, 1_500),
        ("model", 60, 1_000),
        ("checkpoint", 25, 800),
        ("npy", 40, 1_500),
        ("torch", 150, 600),
    ];
    let mut total = 0;
    for (target, many, at_least) in targets {
        let mut random = Random(many as u64);
        let mut count = 0;
        for seed in elman_fuzz::seeds(target) {
            for input in broken(&seed, many, &mut random) {
                elman_fuzz::run(target, &input);
                count += 1;
            }
        }
        println!("{target}: {count}");
        assert!(count >= at_least, "{target}: {count}");
        total += count;
    }
    println!("{total} broken inputs");
    assert!(total > 9_600);
}
