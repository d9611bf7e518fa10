//! The reference against PyTensor, PyTorch and JAX, truncated gradients included.

use elman::ndarray::ArrayD;
use elman::{Feedback, Labelled, Network, Params, Sentence};
use elman_reference::Reference;
use elman_verify::{Options, check_goldens};
use safetensors::SafeTensors;

#[test]
fn the_reference_has_their_numbers() {
    let report = check_goldens(&Reference::new(), &Options::new());
    report.assert_passed();
    assert_eq!(report.cases, 9);
    println!("{report}");
}

fn read(file: &SafeTensors<'_>, name: &str) -> ArrayD<f64> {
    let view = file.tensor(name).unwrap();
    let (entries, rest) = view.data().as_chunks::<8>();
    assert!(rest.is_empty());
    ArrayD::from_shape_vec(view.shape(), entries.iter().map(|e| f64::from_le_bytes(*e)).collect()).unwrap()
}

fn ids(file: &SafeTensors<'_>, name: &str) -> Vec<usize> {
    let view = file.tensor(name).unwrap();
    view.data().as_chunks::<8>().0.iter().map(|e| i64::from_le_bytes(*e) as usize).collect()
}

#[test]
fn truncate_gradient_means_what_it_means_in_pytensor() {
    let files: [(Feedback, &[u8]); 6] = [
        (Feedback::Hidden, include_bytes!("../goldens/tiny.safetensors")),
        (Feedback::Hidden, include_bytes!("../goldens/repeated_words.safetensors")),
        (Feedback::Hidden, include_bytes!("../goldens/medium.safetensors")),
        (Feedback::Output, include_bytes!("../goldens/jordan_tiny.safetensors")),
        (Feedback::Output, include_bytes!("../goldens/jordan_square.safetensors")),
        (Feedback::Output, include_bytes!("../goldens/jordan_medium.safetensors")),
    ];
    let mut compared = 0;
    for (feedback, bytes) in files {
        let file = SafeTensors::deserialize(bytes).unwrap();
        let matrix = |name: &str| read(&file, &format!("params.{name}")).into_dimensionality().unwrap();
        let vector = |name: &str| read(&file, &format!("params.{name}")).into_dimensionality().unwrap();
        let params = Params {
            emb: matrix("emb"),
            wx: matrix("wx"),
            wh: matrix("wh"),
            w: matrix("w"),
            bh: vector("bh"),
            b: vector("b"),
            h0: vector("h0"),
            feedback,
        };
        let length = ids(&file, "lengths")[0];
        let words = Sentence::new(ids(&file, "words")[..length].to_vec()).unwrap();
        let batch = [Labelled::new(words, ids(&file, "labels")[..length].to_vec()).unwrap()];
        let steps = file
            .names()
            .into_iter()
            .filter_map(|name| name.strip_prefix("truncated.")?.strip_suffix(".wh")?.parse::<usize>().ok());
        for k in steps {
            let mut grad = Params::zeros(params.shape().unwrap()).unwrap();
            Reference::new().truncate_gradient(k).gradient(&params, &batch, &mut grad).unwrap();
            for (name, found) in grad.tensors() {
                let expected = read(&file, &format!("truncated.{k}.{name}"));
                let scale = expected.fold(0.0, |scale: f64, v| scale.max(v.abs()));
                for (found, expected) in found.iter().zip(&expected) {
                    assert!(
                        (found - expected).abs() <= 1e-12 * scale,
                        "{feedback} {k} {name}: {found}, {expected}"
                    );
                }
                compared += 1;
            }
        }
    }
    assert_eq!(compared, 18 * 7);
}
