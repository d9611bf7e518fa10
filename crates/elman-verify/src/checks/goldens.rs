//! Numbers from other systems.

use elman::ndarray::{ArrayD, ArrayViewD, IxDyn};
use elman::{Cell, Error, Feedback, Network, Params, Sentences, Shape, Update};
use include_dir::{Dir, include_dir};
use safetensors::{Dtype, SafeTensors};

use super::gradient_of;
use crate::report::Against;
use crate::runner::{Part, Trial};
use crate::{Options, Report};

/// The files, whose README says how they came about.
static GOLDENS: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/goldens");

/// The agreement that the files promise, in units of a tensor's largest entry.
const AGREEMENT: f64 = 1e-12;

/// Numbers that PyTensor computed, and PyTorch and JAX confirmed: outputs, loss, all gradients, and the
/// parameters after ten steps of gradient descent with normalised embeddings, for some small networks of every cell.
///
/// The numbers are in `f64`, and so is the implementation to be.
pub fn check_goldens(network: &dyn Network<f64>, options: &Options) -> Report {
    let mut part = Part::new::<f64>("goldens", network.name(), options);
    let is_golden =
        |file: &&include_dir::File<'_>| file.path().extension().is_some_and(|end| end == "safetensors");
    for file in GOLDENS.files().filter(is_golden) {
        let name = file.path().file_stem().map_or("", |name| name.to_str().unwrap_or(""));
        match Golden::read(file.contents()) {
            Ok(golden) if !options.networks().cells.contains(&(golden.shape.cell, golden.shape.feedback)) => {
            }
            golden => part.fixed(name, name, |_, trial| {
                compare(network, golden.as_ref().map_err(Error::clone)?, trial)
            }),
        }
    }
    part.report
}

fn compare(network: &dyn Network<f64>, golden: &Golden<'_>, trial: &mut Trial<'_>) -> Result<(), Error> {
    let params = golden.params("params")?;
    let sentences = golden.sentences()?;
    let batch = sentences.batch();
    let s = network.predict(&params, batch.sentence(0).words)?;
    near(trial, "s", s.view().into_dyn(), &golden.tensor("s")?);
    let (loss, grad) = gradient_of(network, &params, batch.slice(0..1))?;
    let expected_loss = golden.tensor("loss")?;
    near(trial, "loss", ArrayD::from_elem(expected_loss.raw_dim(), loss).view(), &expected_loss);
    let near_all = |trial: &mut Trial<'_>, found: &Params<f64>, group: &str| {
        let expected = golden.params(group)?;
        for ((name, found), (_, expected)) in found.tensors().zip(expected.tensors()) {
            near(trial, name.as_str(), found, &expected.to_owned());
        }
        Ok::<_, Error>(())
    };
    near_all(trial, &grad, "grad")?;

    let mut update = Update::sgd(golden.tensor("lr")?.sum());
    let mut learner = network.learner(params)?;
    let losses = golden.tensor("sgd.losses")?;
    let mut found = losses.clone();
    for (step, loss) in found.iter_mut().enumerate() {
        let i = step % batch.len();
        *loss = learner.step(batch.slice(i..i + 1), &mut update)?;
    }
    near(trial, "loss", found.view(), &losses);
    near_all(trial, &learner.params(), "sgd")
}

fn near(trial: &mut Trial<'_>, tensor: &'static str, found: ArrayViewD<'_, f64>, expected: &ArrayD<f64>) {
    let scale = expected.fold(0.0, |scale: f64, v| scale.max(v.abs()));
    let allowed = ArrayD::from_elem(expected.raw_dim(), AGREEMENT * scale);
    trial.compare(Against::Golden, tensor, found, expected.view(), allowed.view());
}

/// A file of tensors.
struct Golden<'a> {
    tensors: SafeTensors<'a>,
    shape: Shape,
}

impl<'a> Golden<'a> {
    /// The metadata have the `cell` and the `feedback` (or the `network`) where it is not the tutorial's; the tensors
    /// have the sizes.
    fn read(bytes: &'a [u8]) -> Result<Self, Error> {
        let no_file = |error| Error::shape("golden file", "the format of safetensors", error);
        let (_, header) = SafeTensors::read_metadata(bytes).map_err(no_file)?;
        let metadata = |key| header.metadata().as_ref().and_then(|metadata| metadata.get(key));
        let cell = metadata("cell").map_or(Ok(Cell::default()), |cell| cell.parse())?;
        let feedback = metadata("feedback").or(metadata("network"));
        let feedback = feedback.map_or(Ok(Feedback::Hidden), |feedback| feedback.parse())?;
        let tensors = SafeTensors::deserialize(bytes).map_err(no_file)?;
        let dims = |name: &str| {
            let found = tensors.tensor(name).map_err(no_file)?.shape().to_vec();
            <[usize; 2]>::try_from(found)
                .map_err(|found| Error::shape(name, "a matrix", format!("{found:?}")))
        };
        let ([rows, embed], [input, _], [hidden, classes]) =
            (dims("params.emb")?, dims("params.wx")?, dims("params.w")?);
        let (vocab, window) = (rows.saturating_sub(1), input / embed.max(1));
        Ok(Golden {
            tensors,
            shape: Shape { vocab, embed, window, hidden, classes, cell, feedback, ..Shape::ELMAN },
        })
    }

    fn bytes(&self, name: &str, dtype: Dtype) -> Result<(Vec<usize>, Vec<[u8; 8]>), Error> {
        let missing = |found: String| Error::shape(name, format!("a tensor of {dtype:?}"), found);
        let view = self.tensors.tensor(name).map_err(|error| missing(error.to_string()))?;
        if view.dtype() != dtype {
            return Err(missing(format!("{:?}", view.dtype())));
        }
        let (entries, _) = view.data().as_chunks::<8>();
        Ok((view.shape().to_vec(), entries.to_vec()))
    }

    fn tensor(&self, name: &str) -> Result<ArrayD<f64>, Error> {
        let (shape, entries) = self.bytes(name, Dtype::F64)?;
        let entries = entries.into_iter().map(f64::from_le_bytes).collect();
        ArrayD::from_shape_vec(IxDyn(&shape), entries)
            .map_err(|error| Error::shape(name, format!("entries for {shape:?}"), error))
    }

    fn ids(&self, name: &str) -> Result<Vec<u64>, Error> {
        let (_, entries) = self.bytes(name, Dtype::I64)?;
        Ok(entries.into_iter().map(u64::from_le_bytes).collect())
    }

    fn params(&self, group: &str) -> Result<Params<f64>, Error> {
        let mut params = Params::zeros(self.shape)?;
        for (name, mut tensor) in params.tensors_mut() {
            let name = format!("{group}.{name}");
            let values = self.tensor(&name)?;
            if values.shape() != tensor.shape() {
                let (expected, found) = (format!("{:?}", tensor.shape()), format!("{:?}", values.shape()));
                return Err(Error::shape(name, expected, found));
            }
            tensor.assign(&values);
        }
        Ok(params)
    }

    fn sentences(&self) -> Result<Sentences, Error> {
        let ids = |name| Ok::<_, Error>(self.ids(name)?.into_iter().map(|id| id as u32).collect::<Vec<_>>());
        let (words, labels) = (ids("words")?, ids("labels")?);
        let (mut sentences, mut start) = (Sentences::new(), 0);
        for length in self.ids("lengths")? {
            let range = start..start + length as usize;
            start = range.end;
            let of = |ids: &'_ [u32]| ids.get(range.clone()).unwrap_or_default().to_vec();
            sentences.push(&of(&words), &of(&labels))?;
        }
        Ok(sentences)
    }
}
