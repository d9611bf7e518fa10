use elman::ndarray::{ArrayD, Ix1, Ix2, IxDyn};
use elman::{Error, Feedback, Labelled, Network, Params, Sentence};
use safetensors::{Dtype, SafeTensors};

use super::gradient_of;
use crate::report::Against;
use crate::runner::{Part, Trial};
use crate::{Options, Report};

/// The files in `goldens/`, whose README says how they came about.
const FILES: [(&str, &[u8]); 9] = [
    ("tiny", include_bytes!("../../goldens/tiny.safetensors")),
    ("window_1", include_bytes!("../../goldens/window_1.safetensors")),
    ("window_9", include_bytes!("../../goldens/window_9.safetensors")),
    ("repeated_words", include_bytes!("../../goldens/repeated_words.safetensors")),
    ("one_word", include_bytes!("../../goldens/one_word.safetensors")),
    ("medium", include_bytes!("../../goldens/medium.safetensors")),
    ("jordan_tiny", include_bytes!("../../goldens/jordan_tiny.safetensors")),
    ("jordan_square", include_bytes!("../../goldens/jordan_square.safetensors")),
    ("jordan_medium", include_bytes!("../../goldens/jordan_medium.safetensors")),
];

/// The agreement that the files promise, in units of a tensor's largest entry.
const AGREEMENT: f64 = 1e-12;

/// Numbers that PyTensor computed, and PyTorch and JAX confirmed: outputs, loss, all seven gradients, and the
/// parameters after ten steps of gradient descent with normalised embeddings, for six small networks and three of
/// Jordan's.
///
/// The numbers are in `f64`, and so is the implementation to be.
pub fn check_goldens(network: &dyn Network<f64>, options: &Options) -> Report {
    let mut part = Part::new::<f64>("goldens", network.name(), options);
    for (name, bytes) in FILES {
        let feedback = if name.starts_with("jordan") { Feedback::Output } else { Feedback::Hidden };
        if options.feedbacks().any(|asked| asked == feedback) {
            part.fixed(name, name, |_, trial| compare(network, &Golden::read(bytes)?, trial));
        }
    }
    part.report
}

fn compare(network: &dyn Network<f64>, golden: &Golden<'_>, trial: &mut Trial<'_>) -> Result<(), Error> {
    let params = golden.params("params")?;
    let sentences = golden.sentences()?;
    let s = network.predict(&params, sentences[0].sentence())?;
    near(trial, "s", &s.into_dyn(), &golden.tensor("s")?);
    let (loss, grad) = gradient_of(network, &params, &sentences[..1])?;
    let expected_loss = golden.tensor("loss")?;
    near(trial, "loss", &ArrayD::from_elem(expected_loss.raw_dim(), loss), &expected_loss);
    let expected = golden.params("grad")?;
    for ((name, found), (_, expected)) in grad.tensors().into_iter().zip(expected.tensors()) {
        near(trial, name, &found.to_owned(), &expected.to_owned());
    }

    let rate = golden.tensor("lr")?.sum();
    let mut learner = network.learner(params)?;
    let losses = golden.tensor("sgd.losses")?;
    let mut found = Vec::with_capacity(losses.len());
    for step in 0..losses.len() {
        let sentence = &sentences[step % sentences.len()];
        found.push(learner.step(std::slice::from_ref(sentence), rate)?);
    }
    near(trial, "loss", &ArrayD::from_shape_fn(losses.raw_dim(), |i| found[i[0]]), &losses);
    let expected = golden.params("sgd")?;
    for ((name, found), (_, expected)) in learner.params().tensors().into_iter().zip(expected.tensors()) {
        near(trial, name, &found.to_owned(), &expected.to_owned());
    }
    Ok(())
}

fn near(trial: &mut Trial<'_>, tensor: &'static str, found: &ArrayD<f64>, expected: &ArrayD<f64>) {
    let scale = expected.fold(0.0, |scale: f64, v| scale.max(v.abs()));
    let allowed = ArrayD::from_elem(expected.raw_dim(), AGREEMENT * scale);
    trial.compare(Against::Golden, tensor, found.view(), expected.view(), allowed.view());
}

/// A file of tensors.
struct Golden<'a> {
    tensors: SafeTensors<'a>,
    feedback: Feedback,
}

impl<'a> Golden<'a> {
    fn read(bytes: &'a [u8]) -> Result<Self, Error> {
        let no_file = |error| Error::shape("golden file", "the format of safetensors", error);
        let (_, metadata) = SafeTensors::read_metadata(bytes).map_err(no_file)?;
        let network = metadata.metadata().as_ref().and_then(|metadata| metadata.get("network"));
        let feedback = network.map_or(Ok(Feedback::Hidden), |network| network.parse())?;
        Ok(Golden { tensors: SafeTensors::deserialize(bytes).map_err(no_file)?, feedback })
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

    fn ids(&self, name: &str) -> Result<Vec<usize>, Error> {
        let (_, entries) = self.bytes(name, Dtype::I64)?;
        let id = |id: [u8; 8]| usize::try_from(i64::from_le_bytes(id));
        let ids: Result<_, _> = entries.into_iter().map(id).collect();
        ids.map_err(|error| Error::shape(name, "ids from 0", error))
    }

    fn params(&self, group: &str) -> Result<Params<f64>, Error> {
        let tensor = |name: &str| self.tensor(&format!("{group}.{name}"));
        let matrix = |name: &str| {
            let tensor = tensor(name)?;
            let found = format!("{:?}", tensor.shape());
            tensor.into_dimensionality::<Ix2>().map_err(|_| Error::shape(name, "a matrix", found))
        };
        let vector = |name: &str| {
            let tensor = tensor(name)?;
            let found = format!("{:?}", tensor.shape());
            tensor.into_dimensionality::<Ix1>().map_err(|_| Error::shape(name, "a vector", found))
        };
        Ok(Params {
            emb: matrix("emb")?,
            wx: matrix("wx")?,
            wh: matrix("wh")?,
            w: matrix("w")?,
            bh: vector("bh")?,
            b: vector("b")?,
            h0: vector("h0")?,
            feedback: self.feedback,
        })
    }

    fn sentences(&self) -> Result<Vec<Labelled>, Error> {
        let (words, labels) = (self.ids("words")?, self.ids("labels")?);
        let mut start = 0;
        let sentence = |length: usize| {
            let range = start..start + length;
            start = range.end;
            let of = |ids: &[usize]| ids.get(range.clone()).unwrap_or_default().to_vec();
            Labelled::new(Sentence::new(of(&words))?, of(&labels))
        };
        self.ids("lengths")?.into_iter().map(sentence).collect()
    }
}
