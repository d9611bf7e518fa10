//! PyTorch: a safetensors file of `nn.Embedding`, `nn.RNN`, `nn.GRU` or `nn.LSTM`, `nn.Linear` and the first state.
//!
//! The layouts, and why a sigmoid network is an exact `nn.RNN` with tanh, are in the [crate]'s
//! documentation. Sums for the conversion are made in `f64` and rounded once.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use elman::ndarray::{Array1, Array2, ArrayD};
use elman::{Activation, Cell, Feedback, Name, Params};
use elman_tagger::{Error, FileKind, repeated_key, write_output};
use half::{bf16, f16};
use safetensors::Dtype;
use safetensors::tensor::{SafeTensors, TensorView};

use crate::Number;
use crate::files::{self, MAX_FILE, input};
pub use crate::nonlinearity::Nonlinearity;

const EMB: &str = "emb.weight";
const WEIGHT_IH: &str = "rnn.weight_ih_l0";
const WEIGHT_HH: &str = "rnn.weight_hh_l0";
const BIAS_IH: &str = "rnn.bias_ih_l0";
const BIAS_HH: &str = "rnn.bias_hh_l0";
const OUT_WEIGHT: &str = "out.weight";
const OUT_BIAS: &str = "out.bias";
const H0: &str = "h0";
const C0: &str = "c0";
/// The last one of an LSTM only.
const TENSORS: [&str; 9] = [EMB, WEIGHT_IH, WEIGHT_HH, BIAS_IH, BIAS_HH, OUT_WEIGHT, OUT_BIAS, H0, C0];

/// The metadata's entry for [`Nonlinearity`], `tanh` or `sigmoid`; of another cell `relu`, as in `nn.RNN`.
const NONLINEARITY: &str = "nonlinearity";
/// The metadata's entry for the [`Cell`] of the network here.
const CELL: &str = "cell";

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

    /// The option that would help with a file of these names, of which `unknown` is left as no tensor's.
    fn hint(&self, names: &[&str], unknown: &str) -> String {
        let below: Vec<&str> = names.iter().filter_map(|name| name.strip_prefix(&self.prefix)).collect();
        let before = |name: &&str| {
            let prefix = TENSORS.iter().find_map(|known| name.strip_suffix(known))?;
            (prefix.is_empty() || prefix.ends_with('.')).then(|| prefix.to_owned())
        };
        // The modules that all names begin with, or those before the most tensors that are known.
        let common = below.iter().copied().reduce(|a, b| {
            let same = a.bytes().zip(b.bytes()).take_while(|(a, b)| a == b).count();
            a.get(..same).unwrap_or_default()
        });
        let common = common.and_then(|common| Some(&common[..=common.rfind('.')?]));
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        below.iter().filter_map(before).for_each(|prefix| *counts.entry(prefix).or_default() += 1);
        let most = || counts.into_iter().max_by_key(|(_, count)| *count).map(|(prefix, _)| prefix);
        let prefix = common.map(str::to_owned).or_else(most).unwrap_or_default();
        if !prefix.is_empty() {
            return format!("--prefix {}{prefix} reads the tensors whose names begin so", self.prefix);
        }
        let (module, part) = unknown.split_once('.').unwrap_or((unknown, ""));
        let own = match part {
            _ if ["emb", "rnn", "out"].contains(&module) => {
                return "other layers, directions and parameters are not read".to_owned();
            }
            _ if ["weight_ih", "weight_hh", "bias_ih", "bias_hh"].iter().any(|p| part.starts_with(p)) => {
                "rnn"
            }
            "weight" if module.contains("emb") => "emb",
            "weight" | "bias" => "out",
            _ => return "a file without other tensors can be read".to_owned(),
        };
        format!("--rename {module}={own} reads it by another name")
    }

    /// The names to be written, in the order of this crate's.
    fn written(&self) -> Result<[String; TENSORS.len()], Error> {
        for (from, _) in &self.renames {
            if !TENSORS.iter().any(|name| is_or_is_in(name, from)) {
                return Err(Error::unsupported("tensor to be renamed", TENSORS.join(", "), from));
            }
        }
        let names = TENSORS.map(|name| format!("{}{}", self.prefix, self.renamed(name)));
        for (i, name) in names.iter().enumerate() {
            if let Some(other) = names[..i].iter().position(|other| other == name) {
                let found = format!("{name} for {} and {}", TENSORS[other], TENSORS[i]);
                return Err(Error::unsupported("names of tensors", "another one for each", found));
            }
        }
        Ok(names)
    }
}

/// The kind of a file that is no safetensors file, by its first bytes.
fn other_format(bytes: &[u8]) -> Option<&'static str> {
    match bytes {
        [b'P', b'K', 3, 4, ..] => Some("a zip archive, as torch.save and numpy.savez write it"),
        [0x80, 2..=5, ..] => Some("a pickle, as torch.save can write it"),
        [0x93, b'N', b'U', b'M', b'P', b'Y', ..] => Some("an array of NumPy"),
        _ => None,
    }
}

/// Whether a tensor is called so, or is a part of what is called so.
fn is_or_is_in(name: &str, whole: &str) -> bool {
    name.strip_prefix(whole).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// The content of a file, with `more` entries in its metadata. The nonlinearity is that of a sigmoid network's file; the
/// other cells are written as they are.
///
/// # Errors
/// [`elman::Error::Unsupported`] for a Jordan network, which no `nn.RNN` is.
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
/// Those of [`to_bytes`]; [`elman::Error::Unsupported`] if a tensor to be renamed is not there, or two would have one name.
pub fn to_bytes_named<T: Number>(
    params: &Params<T>,
    nonlinearity: Nonlinearity,
    more: impl IntoIterator<Item = (String, String)>,
    naming: &Naming,
) -> Result<Vec<u8>, Error> {
    let names = naming.written()?;
    let shape = params.shape();
    shape.only("nn.RNN, nn.GRU and nn.LSTM", &Cell::ALL)?;
    let mut exact = params.map(T::to_f64);
    if shape.cell == Cell::default() {
        exact = nonlinearity.encode(exact);
    }
    // The second bias is 0 but inside the product with the reset gate.
    let mut bias_hh = Array1::zeros(exact.bh().len());
    if let Some(bhn) = exact.bhn() {
        let from = bias_hh.len() - bhn.len();
        bias_hh.iter_mut().skip(from).zip(bhn).for_each(|(to, from)| *to = *from);
    }
    let tensors = [
        (EMB, exact.emb().into_dyn()),
        (WEIGHT_IH, exact.wx().reversed_axes().into_dyn()),
        (WEIGHT_HH, exact.wh().reversed_axes().into_dyn()),
        (BIAS_IH, exact.bh().into_dyn()),
        (BIAS_HH, bias_hh.view().into_dyn()),
        (OUT_WEIGHT, exact.w().reversed_axes().into_dyn()),
        (OUT_BIAS, exact.b().into_dyn()),
        (H0, exact.h0().into_dyn()),
    ];
    let tensors = tensors.into_iter().chain(exact.c0().map(|c0| (C0, c0.into_dyn())));
    let tensors: Vec<_> = tensors
        .map(|(name, tensor)| {
            let mut bytes = Vec::new();
            tensor.iter().for_each(|entry| T::from_f64(*entry).append(&mut bytes)); // in the order of the indices
            (name, tensor.shape().to_vec(), bytes)
        })
        .collect();
    let mut metadata: HashMap<String, String> = more.into_iter().collect();
    metadata.insert("format".into(), "pt".into());
    metadata.insert(CELL.into(), shape.cell.to_string());
    let activation = match shape.cell {
        Cell::Elman(Activation::Sigmoid) => Some(nonlinearity.into()),
        cell => cell.activation(),
    };
    metadata.extend(activation.map(|activation: Activation| (NONLINEARITY.into(), activation.to_string())));
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
    write_output(path, KIND, &to_bytes_named(params, nonlinearity, more, naming)?)
}

/// A file of this format, for [`check_output`](elman_tagger::check_output): the length of its header, then JSON.
pub const KIND: FileKind = FileKind {
    name: "a safetensors file",
    begins: |start| {
        let length = start.first_chunk().map(|length| u64::from_le_bytes(*length));
        length.is_some_and(|length| length <= MAX_FILE) && start.get(8) == Some(&b'{')
    },
};

/// Reads a file of at most 4 GiB; see [`from_bytes`].
///
/// # Errors
/// Those of [`from_bytes`]; [`Error::Io`] if the file cannot be read.
pub fn read<T: Number>(
    path: impl AsRef<Path>,
    nonlinearity: Option<Nonlinearity>,
) -> Result<(Params<T>, HashMap<String, String>), Error> {
    read_named(path, None, nonlinearity, &Naming::default())
}

/// As [`read`], with other names of the tensors.
///
/// # Errors
/// Those of [`from_bytes_named`]; [`Error::Io`] if the file cannot be read.
pub fn read_named<T: Number>(
    path: impl AsRef<Path>,
    cell: Option<Cell>,
    nonlinearity: Option<Nonlinearity>,
    naming: &Naming,
) -> Result<(Params<T>, HashMap<String, String>), Error> {
    from_bytes_named(&files::read(path.as_ref())?, path.as_ref(), cell, nonlinearity, naming)
}

/// The parameters and the metadata in the content of a file; `path` is for the messages. Numbers of another type (F16,
/// BF16, F32, F64) are converted. If `nonlinearity` is not given, the metadata says it; if that does not, it is tanh. The
/// cell is the one that the metadata says, or the file's own; an `nn.RNN` with tanh becomes a sigmoid network.
///
/// # Errors
/// [`Error::Input`] names the tensor that is missing, not known, of another type or shape.
pub fn from_bytes<T: Number>(
    bytes: &[u8],
    path: &Path,
    nonlinearity: Option<Nonlinearity>,
) -> Result<(Params<T>, HashMap<String, String>), Error> {
    from_bytes_named(bytes, path, None, nonlinearity, &Naming::default())
}

/// As [`from_bytes`], with other names of the tensors, and for a given cell. The [crate]'s documentation has the table of
/// which file becomes which cell.
///
/// # Errors
/// Those of [`from_bytes`]; [`Error::Input`] also names the tensor that is to be renamed and is not there, and the
/// recurrence of a file that no network of the cell can equal.
pub fn from_bytes_named<T: Number>(
    bytes: &[u8],
    path: &Path,
    cell: Option<Cell>,
    nonlinearity: Option<Nonlinearity>,
    naming: &Naming,
) -> Result<(Params<T>, HashMap<String, String>), Error> {
    let not_safetensors = |error: safetensors::SafeTensorError| {
        let problem = other_format(bytes).map_or_else(|| error.to_string(), str::to_owned);
        input(path, problem, "a safetensors file, as safetensors.torch.save_file writes it of a state dict")
    };
    let file = SafeTensors::deserialize(bytes).map_err(not_safetensors)?;
    if let Some(key) = repeated_key(bytes) {
        return Err(input(path, format!("{key:?} twice in the header"), "each name once"));
    }
    let (_, header) = SafeTensors::read_metadata(bytes).map_err(not_safetensors)?;
    let metadata = header.metadata().clone().unwrap_or_default();
    let said = Said::read(&metadata, path, nonlinearity)?;
    let mut all: Vec<&str> = file.names().into_iter().collect();
    all.sort_unstable();
    let names = naming.read(&all, path)?;
    // A second layer or direction would be left out in silence.
    let mut unknown: Vec<&String> = names.keys().filter(|name| !TENSORS.contains(&name.as_str())).collect();
    unknown.sort_unstable();
    if let Some(name) = unknown.first() {
        let expected = format!("only {}; {}", TENSORS.join(", "), naming.hint(&all, name));
        return Err(input(path, format!("tensor {:?}", names[*name]), expected));
    }
    let tensors = Tensors { file: &file, path, names: &names };
    let emb = tensors.matrix(EMB)?;
    let wx = tensors.matrix(WEIGHT_IH)?.reversed_axes();
    let wh = tensors.matrix(WEIGHT_HH)?.reversed_axes();
    let w = tensors.matrix(OUT_WEIGHT)?.reversed_axes();
    let (columns, hidden) = (wh.ncols(), wh.nrows());
    let module = MODULES.into_iter().find(|module| Some(columns) == hidden.checked_mul(module.cell.gates()));
    let Some(module) = module else {
        let problem = format!("{WEIGHT_HH} has shape [{columns}, {hidden}]");
        let expected = "[hidden, hidden] of an nn.RNN, [3 · hidden, hidden] of an nn.GRU, or [4 · hidden, hidden] of an \
                        nn.LSTM";
        return Err(input(path, problem, expected));
    };
    let (cell, conversion) = said.conversion(cell, module, path)?;
    if let (Some(given), None) = (nonlinearity, cell.activation()) {
        let problem = format!("an {}, and the nonlinearity {}", module.name, Activation::from(given));
        let expected = format!("no nonlinearity, as {} has no other than its own", module.name);
        return Err(input(path, problem, expected));
    }
    if let (Some(stored), 1) = (names.get(C0), cell.states()) {
        let problem = format!("tensor {stored:?} beside an {}", module.name);
        return Err(input(path, problem, "the initial c of an nn.LSTM only"));
    }
    let bias = |name, length| match tensors.vector(name)? {
        None => Ok(Array1::zeros(length)),
        Some(found) if found.len() == length => Ok(found),
        Some(found) => Err(input(path, format!("{name} has shape [{}]", found.len()), format!("[{length}]"))),
    };
    let (bias_ih, mut bias_hh) = (bias(BIAS_IH, columns)?, bias(BIAS_HH, columns)?);
    let bhn: Option<Array1<f64>> = cell.has_bhn().then(|| {
        let last_gate = bias_hh.iter_mut().skip(columns - hidden);
        last_gate.map(std::mem::take).collect()
    });
    let (b, h0) = (bias(OUT_BIAS, w.ncols())?, bias(H0, hidden)?);
    let c0 = if cell.states() > 1 { Some(bias(C0, hidden)?) } else { None };
    let tensors = [
        (Name::Emb, Some(emb.into_dyn())),
        (Name::Wx, Some(wx.into_dyn())),
        (Name::Wh, Some(wh.into_dyn())),
        (Name::W, Some(w.into_dyn())),
        (Name::Bh, Some((bias_ih + bias_hh).into_dyn())),
        (Name::Bhn, bhn.map(Array1::into_dyn)),
        (Name::B, Some(b.into_dyn())),
        (Name::H0, Some(h0.into_dyn())),
        (Name::C0, c0.map(Array1::into_dyn)),
    ];
    let tensors: Vec<(Name, ArrayD<f64>)> = tensors.into_iter().filter_map(|(n, t)| Some((n, t?))).collect();
    let views: Vec<_> = tensors.iter().map(|(name, tensor)| (*name, tensor.view())).collect();
    let exact = Params::from_tensors(cell, Feedback::Hidden, &views).map_err(|error| match error {
        // Of the matrices the file has the transposed.
        elman::Error::Shape { what, expected, found } => {
            input(path, format!("{what}, transposed where PyTorch does, is {found}"), expected)
        }
        other => other.into(),
    })?;
    let exact = match conversion {
        Conversion::None => exact,
        Conversion::TanhToSigmoid => Nonlinearity::Tanh.decode(exact),
        Conversion::SigmoidToTanh => Nonlinearity::Tanh.encode(exact),
    };
    Ok((exact.map(T::from_f64), metadata))
}

/// A module of PyTorch, by the number of its gates.
#[derive(Clone, Copy)]
struct Module {
    name: &'static str,
    /// Its cell; an `nn.RNN` may have another activation.
    cell: Cell,
}

const MODULES: [Module; 3] = [
    Module { name: "nn.RNN", cell: Cell::Elman(Activation::Tanh) },
    Module { name: "nn.GRU", cell: Cell::Gru },
    Module { name: "nn.LSTM", cell: Cell::Lstm },
];

/// The recurrence that a file has, as far as the caller or the metadata says it. The tensors of an `nn.RNN` are the same
/// for every nonlinearity.
struct Said {
    cell: Option<Cell>,
    activation: Option<Activation>,
}

/// The change of the parameters on the way from a file's recurrence to the network's cell.
enum Conversion {
    None,
    TanhToSigmoid,
    SigmoidToTanh,
}

impl Said {
    fn read(
        metadata: &HashMap<String, String>,
        path: &Path,
        nonlinearity: Option<Nonlinearity>,
    ) -> Result<Self, Error> {
        let refused = |what: &str, found: &str, names: Vec<String>| {
            Err(input(path, format!("{what} {found:?} in the metadata"), names.join(", ")))
        };
        let cell = match metadata.get(CELL).map(|name| (name, name.parse::<Cell>())) {
            None => None,
            Some((_, Ok(cell))) => Some(cell),
            Some((name, Err(_))) => return refused(CELL, name, Cell::ALL.map(|c| c.to_string()).to_vec()),
        };
        let activation = match (nonlinearity, metadata.get(NONLINEARITY)) {
            (Some(given), _) => Some(given.into()),
            (None, Some(name)) => match name.parse() {
                Ok(activation) => Some(activation),
                Err(_) => {
                    return refused(NONLINEARITY, name, Activation::ALL.map(|f| f.to_string()).to_vec());
                }
            },
            // A sigmoid network is usually written as one of tanh, the other cells are written as they are.
            (None, None) => cell.filter(|cell| *cell != Cell::default()).and_then(Cell::activation),
        };
        Ok(Said { cell, activation })
    }

    /// The network's cell, and how the parameters become those of that cell.
    fn conversion(
        &self,
        wanted: Option<Cell>,
        module: Module,
        path: &Path,
    ) -> Result<(Cell, Conversion), Error> {
        let cell = wanted.or(self.cell).unwrap_or(match self.activation {
            _ if module.cell.activation().is_none() => module.cell,
            Some(Activation::Relu) => Cell::Elman(Activation::Relu),
            _ => Cell::default(),
        });
        let refused = |found: String| Err(input(path, found, format!("the recurrence of the cell {cell}")));
        let (Some(activation), Some(_)) = (cell.activation(), module.cell.activation()) else {
            let same = cell == module.cell;
            return if same { Ok((cell, Conversion::None)) } else { refused(format!("an {}", module.name)) };
        };
        // PyTorch's state dict alone does not say it: then it is tanh, unless the cell is one of relu.
        let unsaid = if activation == Activation::Relu { activation } else { Activation::Tanh };
        match (self.activation.unwrap_or(unsaid), activation) {
            (Activation::Tanh, Activation::Sigmoid) => Ok((cell, Conversion::TanhToSigmoid)),
            (Activation::Sigmoid, Activation::Tanh) => Ok((cell, Conversion::SigmoidToTanh)),
            (from, to) if from == to => Ok((cell, Conversion::None)),
            (from, _) => refused(format!("an nn.RNN with {from}")),
        }
    }
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
        // With a 0 among them, the other dimension has no limit, and a bias of that length would take any memory.
        let [rows @ (1..), columns @ (1..)] = shape[..] else {
            let problem = format!("{name} has shape {shape:?}");
            return Err(input(self.path, problem, "2 dimensions, each of at least 1"));
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
