//! Where a search begins: good inputs, of each target a few.

use crate::{checkpoint, files, formats, model};

/// The seeds of a target, made anew; none of an unknown one.
pub fn seeds(target: &str) -> Vec<Vec<u8>> {
    let text = |texts: &[&str]| texts.iter().map(|text| text.as_bytes().to_vec()).collect::<Vec<_>>();
    match target {
        "conll" | "sentences" => text(&[
            "to\tO\ndallas\tB-toloc\n\nround\tB-trip\ntrip\tI-trip\n",
            "-DOCSTART- -X- O\n\nEU NNP B-ORG\nrejects VBZ O\n\n\nno UH O",
            "\u{feff}caf\u{e9}\tO\r\nZ\u{fc}rich\tB-city\r\n\r\n",
            "a train from oslo to york\n\nnext friday\n",
        ]),
        "conlleval" => text(&[
            "O O\nB-city B-city\nI-city I-city\nB-day O\n\nI-x B-x\nI-y I-x\n",
            "E-a B-a\nB-b [\n] .\nS-c B-c\n- O-\n",
        ]),
        "config" => text(&[
            "recipe = \"tutorial\"\nhidden = 200\nembed = 50\nwindow = 7\nlearning_rate = 0.0970806646812754\n\
             epochs = 60\nbatch = 1\nseed = 345\n\n[normalization]\nlowercase = false\ndigits = true\n",
        ]),
        "command_line" => text(&[
            "train\n--train\na\n--dev\nb\n--model\nm\n--hidden\n20\n--lr\n0.1\n--window\n5\n--epochs\n3\n--batch\n4\n--seed\n7",
            "train\n--train=a\n--dev=b\n--test=c\n--model=m\n--embed=9\n--recipe=standard\n--digits\n--lowercase\n--json\n--resume\n--checkpoint-every=2",
            "tag\n--model\nm\n--format\nconll\n-\n--threads\n2\n--isa\navx2",
            "evaluate\n--model\nm\nf\n--json\n--kernel\nreference",
            "demo\n--seed\n1",
            "verify\n--cases\n3\n--case\ngradient/1",
            "--help",
        ]),
        "model" => {
            let mut seeds = of_files(&model::BASE, &[]);
            let all: Vec<&[u8]> = model::BASE.iter().map(|(_, content)| &content[..]).collect();
            seeds.push([&[model::FILES.len() as u8], &all.join(&files::SEPARATOR)[..]].concat());
            seeds
        }
        "checkpoint" => {
            let files = &checkpoint::BASE.files;
            [of_files(files, &[0]), of_files(files, &[1])].concat()
        }
        "npy" => [of_files(&formats::NPY, &[]), of_files(&formats::NPY_OTHER, &[])].concat(),
        "torch" => formats::torch_files(),
        // Any bytes are a shape and a seed; these are of all lengths that matter.
        "learner" | "recurrence" => [40, 90, 200]
            .into_iter()
            .map(|length| (0..length).map(|i: u32| (i.wrapping_mul(167) >> 1) as u8 ^ length as u8).collect())
            .collect(),
        _ => Vec::new(),
    }
}

/// Each file, unchanged, as the input that replaces it.
fn of_files(files: &[(&str, Vec<u8>)], before: &[u8]) -> Vec<Vec<u8>> {
    files.iter().zip(0u8..).map(|((_, content), i)| [before, &[i], content].concat()).collect()
}
