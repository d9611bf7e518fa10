//! PyTorch: a safetensors file of `nn.Embedding`, `nn.RNN`, `nn.Linear` and the first state.
//!
//! The layouts, and why a sigmoid network is an exact `nn.RNN` with tanh, are in the [crate]'s
//! documentation. Sums for the conversion are made in `f64` and rounded once.

use std::collections::HashMap;
use std::path::Path;

use elman::ndarray::{Array1, Array2};
use elman::{Error, Feedback, Params};
use half::{bf16, f16};
use safetensors::Dtype;
use safetensors::tensor::{SafeTensors, TensorView};

use crate::Number;
use crate::files::{self, input};
pub use crate::nonlinearity::Nonlinearity;

const EMB: &str = "emb.weight";
const WEIGHT_IH: &str = "rnn.weight_ih_l0";
const WEIGHT_HH: &str = "rnn.weight_hh_l0";
const BIAS_IH: &str = "rnn.bias_ih_l0";
const BIAS_HH: &str = "rnn.bias_hh_l0";
const OUT_WEIGHT: &str = "out.weight";
const OUT_BIAS: &str = "out.bias";
const H0: &str = "h0";
const TENSORS: [&str; 8] = [EMB, WEIGHT_IH, WEIGHT_HH, BIAS_IH, BIAS_HH, OUT_WEIGHT, OUT_BIAS, H0];

/// The metadata's entry for [`Nonlinearity`].
const NONLINEARITY: &str = "nonlinearity";

/// How a file's tensors are called, where that is not as in the [crate]'s documentation.
///
/// In a file that is read, `prefix` is taken from each name, and tensors without it are not looked at: a tagger may be
/// one part of a larger model. Then a name that equals the first of a pair, or that begins with it and a dot, is
/// changed to the second: `("encoder", "rnn")` reads `encoder.weight_ih_l0`. When a file is written, the pairs are
/// applied to the names of this crate, and the prefix is put before them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Naming {
    /// What stands before the names, for example `model.`.
    pub prefix: String,
    /// Pairs of the name before and after.
    pub renames: Vec<(String, String)>,
}

impl Naming {
    fn renamed(&self, name: &str) -> String {
        for (from, to) in &self.renames {
            match name.strip_prefix(from.as_str()) {
                Some("") => return to.clone(),
                Some(rest) if rest.starts_with('.') => return format!("{to}{rest}"),
                _ => {}
            }
        }
        name.to_owned()
    }

    /// The names of the tensors to be read, by the names of this crate.
    fn read(&self, names: &[&str], path: &Path) -> Result<HashMap<String, String>, Error> {
        let found = || names.join(", ");
        let below: Vec<&str> = names.iter().filter_map(|name| name.strip_prefix(&self.prefix)).collect();
        if below.is_empty() && !names.is_empty() {
            let problem = format!("no tensor begins with {:?}", self.prefix);
            return Err(input(path, problem, format!("a prefix of one of {}", found())));
        }
        for (from, _) in &self.renames {
            if !below.iter().any(|name| is_or_is_in(name, from)) {
                let problem = format!("no tensor {from:?}, which is to be renamed");
                return Err(input(path, problem, format!("one of {}", found())));
            }
        }
        let mut by_name = HashMap::new();
        for name in below {
            let renamed = self.renamed(name);
            if let Some(other) = by_name.insert(renamed.clone(), format!("{}{name}", self.prefix)) {
                let problem = format!("{other} and {}{name} would both be {renamed}", self.prefix);
                return Err(input(path, problem, "another name for each"));
            }
        }
        Ok(by_name)
    }

    /// The names to be written, in the order of this crate's.
    fn written(&self) -> Result<[String; 8], Error> {
        for (from, _) in &self.renames {
            if !TENSORS.iter().any(|name| is_or_is_in(name, from)) {
                return Err(Error::Unsupported {
                    what: "tensor to be renamed".into(),
                    expected: TENSORS.join(", "),
                    found: from.clone(),
                });
            }
        }
        let names = TENSORS.map(|name| format!("{}{}", self.prefix, self.renamed(name)));
        for (i, name) in names.iter().enumerate() {
            if let Some(other) = names[..i].iter().position(|other| other == name) {
                return Err(Error::Unsupported {
                    what: "names of tensors".into(),
                    expected: "another one for each".into(),
                    found: format!("{name} for {} and {}", TENSORS[other], TENSORS[i]),
                });
            }
        }
        Ok(names)
    }
}

/// Whether a tensor is called so, or is a part of what is called so.
fn is_or_is_in(name: &str, whole: &str) -> bool {
    name.strip_prefix(whole).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// The content of a file, with `more` entries in its metadata.
///
/// # Errors
/// [`Error::Shape`] if the tensors do not fit together; [`Error::Unsupported`] for a Jordan network, which no `nn.RNN` is.
pub fn to_bytes<T: Number>(
    params: &Params<T>,
    nonlinearity: Nonlinearity,
    more: impl IntoIterator<Item = (String, String)>,
) -> Result<Vec<u8>, Error> {
    to_bytes_named(params, nonlinearity, more, &Naming::default())
}

/// As [`to_bytes`], with other names of the tensors.
///
/// # Errors
/// Those of [`to_bytes`]; [`Error::Unsupported`] if a tensor to be renamed is not there, or two would have one name.
pub fn to_bytes_named<T: Number>(
    params: &Params<T>,
    nonlinearity: Nonlinearity,
    more: impl IntoIterator<Item = (String, String)>,
    naming: &Naming,
) -> Result<Vec<u8>, Error> {
    let names = naming.written()?;
    let shape = params.shape()?;
    shape.feedback.only_elman("nn.RNN")?;
    let Params { emb, wx, wh, w, bh, b, h0, feedback: _ } = nonlinearity.encode(params.map(T::to_f64));
    let tensors = [
        (EMB, emb.into_dyn()),
        (WEIGHT_IH, wx.reversed_axes().into_dyn()),
        (WEIGHT_HH, wh.reversed_axes().into_dyn()),
        (BIAS_IH, bh.into_dyn()),
        (BIAS_HH, Array1::zeros(shape.hidden).into_dyn()),
        (OUT_WEIGHT, w.reversed_axes().into_dyn()),
        (OUT_BIAS, b.into_dyn()),
        (H0, h0.into_dyn()),
    ];
    let tensors = tensors.map(|(name, tensor)| {
        let mut bytes = Vec::new();
        tensor.iter().for_each(|entry| T::from_f64(*entry).append(&mut bytes)); // in the order of the indices
        (name, tensor.shape().to_vec(), bytes)
    });
    let mut metadata: HashMap<String, String> = more.into_iter().collect();
    metadata.insert("format".into(), "pt".into());
    metadata.insert(NONLINEARITY.into(), nonlinearity.name().into());
    let refused = |error| Error::shape("weights", "tensors that safetensors can hold", error);
    let views = TENSORS
        .iter()
        .zip(names)
        .filter_map(|(own, name)| Some((name, tensors.iter().find(|tensor| tensor.0 == *own)?)))
        .map(|(name, (_, shape, bytes))| Ok((name, TensorView::new(T::DTYPE, shape.clone(), bytes)?)))
        .collect::<Result<Vec<_>, _>>()
        .map_err(refused)?;
    safetensors::serialize(views, Some(metadata)).map_err(refused)
}

/// Writes a file, as a whole or not at all; see [`to_bytes`].
///
/// # Errors
/// Those of [`to_bytes`]; [`Error::Io`] if the system refuses.
pub fn write<T: Number>(
    path: impl AsRef<Path>,
    params: &Params<T>,
    nonlinearity: Nonlinearity,
    more: impl IntoIterator<Item = (String, String)>,
) -> Result<(), Error> {
    write_named(path, params, nonlinearity, more, &Naming::default())
}

/// As [`write()`], with other names of the tensors.
///
/// # Errors
/// Those of [`to_bytes_named`]; [`Error::Io`] if the system refuses.
pub fn write_named<T: Number>(
    path: impl AsRef<Path>,
    params: &Params<T>,
    nonlinearity: Nonlinearity,
    more: impl IntoIterator<Item = (String, String)>,
    naming: &Naming,
) -> Result<(), Error> {
    files::write(path.as_ref(), &to_bytes_named(params, nonlinearity, more, naming)?)
}

/// Reads a file of at most 4 GiB; see [`from_bytes`].
///
/// # Errors
/// Those of [`from_bytes`]; [`Error::Io`] if the file cannot be read.
pub fn read<T: Number>(
    path: impl AsRef<Path>,
    nonlinearity: Option<Nonlinearity>,
) -> Result<(Params<T>, HashMap<String, String>), Error> {
    read_named(path, nonlinearity, &Naming::default())
}

/// As [`read`], with other names of the tensors.
///
/// # Errors
/// Those of [`from_bytes_named`]; [`Error::Io`] if the file cannot be read.
pub fn read_named<T: Number>(
    path: impl AsRef<Path>,
    nonlinearity: Option<Nonlinearity>,
    naming: &Naming,
) -> Result<(Params<T>, HashMap<String, String>), Error> {
    from_bytes_named(&files::read(path.as_ref())?, path.as_ref(), nonlinearity, naming)
}

/// The parameters and the metadata in the content of a file; `path` is for the messages. Numbers of another type (F16,
/// BF16, F32, F64) are converted. If `nonlinearity` is not given, the metadata says it; if that does not, it is tanh.
///
/// # Errors
/// [`Error::Input`] names the tensor that is missing, not known, of another type or shape.
pub fn from_bytes<T: Number>(
    bytes: &[u8],
    path: &Path,
    nonlinearity: Option<Nonlinearity>,
) -> Result<(Params<T>, HashMap<String, String>), Error> {
    from_bytes_named(bytes, path, nonlinearity, &Naming::default())
}

/// As [`from_bytes`], with other names of the tensors.
///
/// # Errors
/// Those of [`from_bytes`]; [`Error::Input`] also names the tensor that is to be renamed and is not there.
pub fn from_bytes_named<T: Number>(
    bytes: &[u8],
    path: &Path,
    nonlinearity: Option<Nonlinearity>,
    naming: &Naming,
) -> Result<(Params<T>, HashMap<String, String>), Error> {
    let not_safetensors =
        |error: safetensors::SafeTensorError| input(path, error.to_string(), "a safetensors file");
    let file = SafeTensors::deserialize(bytes).map_err(not_safetensors)?;
    let (_, header) = SafeTensors::read_metadata(bytes).map_err(not_safetensors)?;
    let metadata = header.metadata().clone().unwrap_or_default();
    let nonlinearity = match (nonlinearity, metadata.get(NONLINEARITY).map(String::as_str)) {
        (Some(nonlinearity), _) => nonlinearity,
        (None, None | Some("tanh")) => Nonlinearity::Tanh,
        (None, Some("sigmoid")) => Nonlinearity::Sigmoid,
        (None, Some(other)) => {
            return Err(input(path, format!("nonlinearity {other:?} in the metadata"), "tanh or sigmoid"));
        }
    };
    let mut all: Vec<&str> = file.names().into_iter().collect();
    all.sort_unstable();
    let names = naming.read(&all, path)?;
    // A second layer or direction would be left out in silence.
    let mut unknown: Vec<&String> = names.keys().filter(|name| !TENSORS.contains(&name.as_str())).collect();
    unknown.sort_unstable();
    if let Some(name) = unknown.first() {
        let expected = format!("only {} (a prefix and renamings can be given)", TENSORS.join(", "));
        return Err(input(path, format!("tensor {:?}", names[*name]), expected));
    }
    let tensors = Tensors { file: &file, path, names: &names };
    let emb = tensors.matrix(EMB)?;
    let wx = tensors.matrix(WEIGHT_IH)?.reversed_axes();
    let wh = tensors.matrix(WEIGHT_HH)?.reversed_axes();
    let w = tensors.matrix(OUT_WEIGHT)?.reversed_axes();
    let hidden = wx.ncols();
    let bias = |name, length| match tensors.vector(name)? {
        None => Ok(Array1::zeros(length)),
        Some(found) if found.len() == length => Ok(found),
        Some(found) => Err(input(path, format!("{name} has shape [{}]", found.len()), format!("[{length}]"))),
    };
    let bh = bias(BIAS_IH, hidden)? + bias(BIAS_HH, hidden)?;
    let b = bias(OUT_BIAS, w.ncols())?;
    let h0 = bias(H0, hidden)?;
    let file = Params { emb, wx, wh, w, bh, b, h0, feedback: Feedback::Hidden };
    // Before the sums of the conversion, which are over the rows of tensors that must fit.
    check(&file, path)?;
    let exact = nonlinearity.decode(file);
    // To row-major order.
    let mut params = Params::zeros(standard(&exact).shape()?)?;
    for ((_, mut to), (_, from)) in params.tensors_mut().into_iter().zip(exact.tensors()) {
        to.zip_mut_with(&from, |to, from| *to = T::from_f64(*from));
    }
    Ok((params, metadata))
}

fn standard(params: &Params<f64>) -> Params<f64> {
    let matrix = |matrix: &Array2<f64>| matrix.as_standard_layout().into_owned();
    Params {
        emb: matrix(&params.emb),
        wx: matrix(&params.wx),
        wh: matrix(&params.wh),
        w: matrix(&params.w),
        ..params.clone()
    }
}

fn check(params: &Params<f64>, path: &Path) -> Result<(), Error> {
    standard(params).shape().map(drop).map_err(|error| match error {
        // Of the matrices the file has the transposed.
        Error::Shape { what, expected, found } => {
            input(path, format!("{what}, transposed where nn.RNN does, is {found}"), expected)
        }
        other => other,
    })
}

/// A tensor's shape, and its entries in the order of their indices.
type Entries = (Vec<usize>, Vec<f64>);

struct Tensors<'a> {
    file: &'a SafeTensors<'a>,
    path: &'a Path,
    /// The file's names of the tensors, by this crate's.
    names: &'a HashMap<String, String>,
}

impl Tensors<'_> {
    fn entries(&self, name: &str) -> Result<Option<Entries>, Error> {
        let Some(stored) = self.names.get(name) else { return Ok(None) };
        let Ok(tensor) = self.file.tensor(stored) else { return Ok(None) };
        let data = tensor.data();
        let entries = match tensor.dtype() {
            Dtype::F16 => data.as_chunks().0.iter().map(|b| f16::from_le_bytes(*b).to_f64()).collect(),
            Dtype::BF16 => data.as_chunks().0.iter().map(|b| bf16::from_le_bytes(*b).to_f64()).collect(),
            Dtype::F32 => {
                data.as_chunks().0.iter().map(|bytes| f64::from(f32::from_le_bytes(*bytes))).collect()
            }
            Dtype::F64 => data.as_chunks().0.iter().map(|bytes| f64::from_le_bytes(*bytes)).collect(),
            other => {
                return Err(input(
                    self.path,
                    format!("{stored} is of type {other}"),
                    "F16, BF16, F32 or F64",
                ));
            }
        };
        Ok(Some((tensor.shape().to_vec(), entries)))
    }

    fn matrix(&self, name: &str) -> Result<Array2<f64>, Error> {
        let Some((shape, entries)) = self.entries(name)? else {
            return Err(input(self.path, format!("no tensor {name}"), TENSORS.join(", ")));
        };
        let [rows, columns] = shape[..] else {
            return Err(input(self.path, format!("{name} has shape {shape:?}"), "2 dimensions"));
        };
        Array2::from_shape_vec((rows, columns), entries).map_err(|error| {
            input(self.path, format!("{name}: {error}"), "entries as many as its shape says")
        })
    }

    fn vector(&self, name: &str) -> Result<Option<Array1<f64>>, Error> {
        match self.entries(name)? {
            None => Ok(None),
            Some((shape, entries)) if shape.len() == 1 => Ok(Some(Array1::from_vec(entries))),
            Some((shape, _)) => Err(input(self.path, format!("{name} has shape {shape:?}"), "1 dimension")),
        }
    }
}
