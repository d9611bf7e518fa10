//! The reference against PyTensor, PyTorch and JAX, truncated gradients included.

use elman::ndarray::ArrayD;
use elman::{Cell, Feedback, Network, Params, Sentences, Shape};
use elman_reference::Reference;
use elman_verify::{Options, check_goldens};
use safetensors::SafeTensors;

#[test]
fn the_reference_has_their_numbers() {
    let report = check_goldens(&Reference::new(), &Options::new());
    report.assert_passed();
    let here = concat!(env!("CARGO_MANIFEST_DIR"), "/goldens");
    let files = std::fs::read_dir(here)
        .unwrap()
        .filter_map(|file| file.unwrap().path().extension().map(|e| e == "safetensors"));
    assert_eq!(report.cases, files.filter(|golden| *golden).count());
    println!("{report}");
}

#[test]
fn goldens_are_those_of_the_networks_that_are_asked_for() {
    for (feedback, files) in [(Feedback::Hidden, 6), (Feedback::Output, 3)] {
        let options = Options::new().cells(&[elman::Cell::default()]).feedbacks(&[feedback]);
        let report = check_goldens(&Reference::new(), &options);
        assert!(report.passed() && report.cases == files, "{report}");
    }
}

fn read(file: &SafeTensors<'_>, name: &str) -> ArrayD<f64> {
    let view = file.tensor(name).unwrap();
    let (entries, rest) = view.data().as_chunks::<8>();
    assert!(rest.is_empty());
    ArrayD::from_shape_vec(view.shape(), entries.iter().map(|e| f64::from_le_bytes(*e)).collect()).unwrap()
}

fn ids(file: &SafeTensors<'_>, name: &str) -> Vec<u32> {
    let view = file.tensor(name).unwrap();
    view.data().as_chunks::<8>().0.iter().map(|e| i64::from_le_bytes(*e) as u32).collect()
}

#[test]
fn truncate_gradient_means_what_it_means_in_pytensor() {
    let mut compared = 0;
    for file in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/goldens")).unwrap() {
        let path = file.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "safetensors") {
            continue;
        }
        let bytes = std::fs::read(&path).unwrap();
        let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
        let metadata = |key: &str| header.metadata().as_ref().and_then(|metadata| metadata.get(key));
        let cell = metadata("cell").map_or(Cell::default(), |cell| cell.parse().unwrap());
        let feedback = metadata("feedback").or(metadata("network"));
        let feedback = feedback.map_or(Feedback::Hidden, |feedback| feedback.parse().unwrap());
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let dims = |name: &str| read(&file, &format!("params.{name}")).shape().to_vec();
        let ([rows, embed], [hidden, classes]) =
            ([0, 1].map(|i| dims("emb")[i]), [0, 1].map(|i| dims("w")[i]));
        let window = dims("wx")[0] / embed;
        let shape = Shape { vocab: rows - 1, embed, window, hidden, classes, cell, feedback, ..Shape::ELMAN };
        let mut params = Params::<f64>::zeros(shape).unwrap();
        for (name, mut tensor) in params.tensors_mut() {
            tensor.assign(&read(&file, &format!("params.{name}")));
        }
        let length = ids(&file, "lengths")[0] as usize;
        let batch = Sentences::one(&ids(&file, "words")[..length], &ids(&file, "labels")[..length]).unwrap();
        let steps = file
            .names()
            .into_iter()
            .filter_map(|name| name.strip_prefix("truncated.")?.strip_suffix(".wh")?.parse::<usize>().ok());
        for k in steps {
            let mut grad = Params::zeros(shape).unwrap();
            Reference::new().truncate_gradient(k).gradient(&params, batch.batch(), &mut grad).unwrap();
            for (name, found) in grad.tensors() {
                let expected = read(&file, &format!("truncated.{k}.{name}"));
                let scale = expected.fold(0.0, |scale: f64, v| scale.max(v.abs()));
                for (found, expected) in found.iter().zip(&expected) {
                    assert!(
                        (found - expected).abs() <= 1e-12 * scale,
                        "{cell} {feedback} {k} {name}: {found}, {expected}"
                    );
                }
                compared += 1;
            }
        }
    }
    assert!(compared > 30 * 7, "{compared}");
}
