//! The model folder of the Theano tutorial (RNNSLU): one .npy file for each parameter, as `numpy.save` writes them.
//!
//! | parameter | file | with capitals |
//! |---|---|---|
//! | emb `[vocab + 1, embed]` | `embeddings.npy` | `embeddings.npy` |
//! | wx `[embed · window, hidden]` | `wx.npy` | `Wx.npy` |
//! | wh `[hidden, hidden]` | `wh.npy` | `Wh.npy` |
//! | w `[hidden, classes]` | `w.npy` | `W.npy` |
//! | bh, b, h0 | `bh.npy`, `b.npy`, `h0.npy` | the same |
//!
//! A Jordan network has `s0.npy` in the place of `h0.npy`, as the code of Mesnil et al. (2013) names its first output;
//! wh is `[classes, hidden]`, and s0 has `classes` entries. [`network_of`] tells the two networks apart by that name,
//! [`read`] and [`read_jordan`] read them. [`read_jordan`] also reads `h0.npy`, which version 0.1 wrote.
//!
//! Numbers are float16, float32 or float64, little or big endian; arrays in C or Fortran order. Written are float32 and
//! float64.

use std::fs::{self, File};
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use elman::ndarray::{Array, Array1, Array2, Dimension, Ix1, Ix2, ShapeBuilder};
use elman::{Cell, Feedback, Head, Name, Params};
use elman_tagger::{Claim, Error};
use half::f16;
use ndarray_npy::npy::header::Header;
use ndarray_npy::{ReadDataError, ReadableElement, WriteNpyExt};

use crate::Number;
use crate::files::{self, input, misfit};

/// Longest header, in bytes. NumPy's own have 118 for a matrix; what is longer is not of this format, and a
/// parser of nested literals need not see it.
const MAX_HEADER: u64 = 512;

/// The first state of an Elman network, and the first output of a Jordan network.
const H0: &str = "h0.npy";
const S0: &str = "s0.npy";

/// The names of the files, in the order of the tensors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Names {
    /// `embeddings`, `wx`, `wh`, `w`, `bh`, `b`, and `h0` or `s0`.
    #[default]
    Lower,
    /// `embeddings`, `Wx`, `Wh`, `W`, `bh`, `b`, and `h0` or `s0`.
    Capital,
}

impl Names {
    /// The names of a network's files.
    pub fn files(self, feedback: Feedback) -> [&'static str; 7] {
        let first = match feedback {
            Feedback::Hidden => H0,
            Feedback::Output => S0,
        };
        match self {
            Names::Lower => ["embeddings.npy", "wx.npy", "wh.npy", "w.npy", "bh.npy", "b.npy", first],
            Names::Capital => ["embeddings.npy", "Wx.npy", "Wh.npy", "W.npy", "bh.npy", "b.npy", first],
        }
    }

    /// The names that a folder has. By listing it: some file systems take `wx` for `Wx`.
    fn of(folder: &Path) -> Result<Self, Error> {
        let io = |source| Error::Io { path: folder.to_owned(), action: "read", source };
        let (mut lower, mut capital) = (None, None);
        for entry in fs::read_dir(folder).map_err(io)? {
            let name = entry.map_err(io)?.file_name();
            if ["wx.npy", "wh.npy", "w.npy"].iter().any(|known| name == *known) {
                lower = Some(name);
            } else if ["Wx.npy", "Wh.npy", "W.npy"].iter().any(|known| name == *known) {
                capital = Some(name);
            }
        }
        match (lower, capital) {
            (Some(one), Some(other)) => Err(input(
                folder,
                format!("{one:?} beside {other:?}"),
                "all in lower case or all with capitals",
            )),
            (None, Some(_)) => Ok(Names::Capital),
            _ => Ok(Names::Lower),
        }
    }
}

/// The order of a matrix's entries in a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// Row by row.
    #[default]
    C,
    /// Column by column.
    Fortran,
}

/// How [`write()`] writes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// The names of the files.
    pub names: Names,
    /// The order of a matrix's entries.
    pub order: Order,
}

/// Writes the folder, as a whole or not at all, with `more` files (names and contents) beside the seven. A folder
/// that is there must hold nothing but files of these names, and is replaced.
///
/// # Errors
/// [`elman::Error::Unsupported`] for another cell than the tutorial's; [`Error::Input`] if something else is at `folder`;
/// [`Error::Io`] if the system refuses.
pub fn write<T: Number>(
    folder: impl AsRef<Path>,
    params: &Params<T>,
    more: &[(&str, Vec<u8>)],
    options: Options,
) -> Result<(), Error> {
    let shape = params.shape();
    if !shape.is_single() {
        return Err(Error::unsupported("the tutorial's folder", "one layer, forward", shape.name()));
    }
    if shape.head != Head::Softmax {
        return Err(Error::unsupported("the tutorial's folder", "a network with a softmax", shape.name()));
    }
    if shape.cell != Cell::default() {
        // The files do not say which cell it is; they would be read as the tutorial's.
        return Err(Error::unsupported("the tutorial's folder", "a cell with a sigmoid", shape.cell));
    }
    let mut files = Vec::with_capacity(7 + more.len());
    for (file, (name, tensor)) in options.names.files(shape.feedback).into_iter().zip(params.tensors()) {
        let mut bytes = Vec::new();
        let written = match options.order {
            Order::C => tensor.write_npy(&mut bytes),
            Order::Fortran => {
                let mut turned = Array::zeros(tensor.raw_dim().f());
                turned.assign(&tensor);
                turned.write_npy(&mut bytes)
            }
        };
        written.map_err(|error| Error::shape(name.as_str(), "an array that .npy can hold", error))?;
        files.push((file, bytes));
    }
    files.extend_from_slice(more);
    let names: Vec<&str> = files.iter().map(|(name, _)| *name).collect();
    Claim::new(folder, "NumPy export", &names)?.replace(&files)
}

/// The network in a folder, by the name of its first state: `s0.npy` is a Jordan network's, anything else an Elman
/// network's.
///
/// # Errors
/// [`Error::Io`] if the folder cannot be listed; [`Error::Input`] if it has both names.
pub fn network_of(folder: impl AsRef<Path>) -> Result<Feedback, Error> {
    let folder = folder.as_ref();
    let [h0, s0] = [H0, S0].map(|name| folder.join(name).exists());
    match (h0, s0) {
        (true, true) => Err(input(folder, "h0.npy beside s0.npy", "h0.npy (Elman) or s0.npy (Jordan)")),
        (false, true) => Ok(Feedback::Output),
        _ => Ok(Feedback::Hidden),
    }
}

/// Reads the seven files of a folder, of either set of names: an Elman network. Numbers of another type are converted, `f64` to
/// `f32` by rounding.
///
/// Before memory is taken for an array, its header (at most 512 bytes) must be right, and its file exactly as long
/// as that says, and at most 4 GiB. Other files in the folder are not looked at.
///
/// # Errors
/// [`Error::Io`] if a file is missing or cannot be read; [`Error::Input`] names the file that is not as it must
/// be, or the first array that does not fit the others.
pub fn read<T: Number>(folder: impl AsRef<Path>) -> Result<Params<T>, Error> {
    read_as(folder.as_ref(), Feedback::Hidden)
}

/// Reads a Jordan network, as [`read`] does an Elman network.
///
/// # Errors
/// Those of [`read`].
pub fn read_jordan<T: Number>(folder: impl AsRef<Path>) -> Result<Params<T>, Error> {
    read_as(folder.as_ref(), Feedback::Output)
}

fn read_as<T: Number>(folder: &Path, feedback: Feedback) -> Result<Params<T>, Error> {
    let in_folder = network_of(folder)?;
    if in_folder == Feedback::Output && feedback == Feedback::Hidden {
        return Err(input(
            folder,
            "s0.npy, the first output of a Jordan network",
            "h0.npy of an Elman network",
        ));
    }
    // A Jordan network that version 0.1 wrote has h0.npy.
    let [emb, wx, wh, w, bh, b, h0] = Names::of(folder)?.files(in_folder).map(|file| folder.join(file));
    // All headers first: a folder that is wrong is refused before the large arrays are read.
    let matrix = |path: &PathBuf| Npy::<Ix2>::open(path);
    let vector = |path: &PathBuf| Npy::<Ix1>::open(path);
    let matrices = [matrix(&emb)?, matrix(&wx)?, matrix(&wh)?, matrix(&w)?];
    let vectors = [vector(&bh)?, vector(&b)?, vector(&h0)?];
    let [emb, wx, wh, w] = read_all(matrices)?;
    let [bh, b, h0] = read_all(vectors)?;
    let matrices = [(Name::Emb, emb), (Name::Wx, wx), (Name::Wh, wh), (Name::W, w)];
    let vectors = [(Name::Bh, bh), (Name::B, b), (Name::H0, h0)];
    let matrices = matrices.iter().map(|(name, array)| (*name, array.view().into_dyn()));
    let vectors = vectors.iter().map(|(name, array)| (*name, array.view().into_dyn()));
    let tensors: Vec<_> = matrices.chain(vectors).collect();
    Params::<T>::from_tensors(Cell::default(), feedback, &tensors).map_err(|error| misfit(folder, error))
}

fn read_all<T: Number, D: Dimension, const N: usize>(files: [Npy<D>; N]) -> Result<[Array<T, D>; N], Error> {
    let mut arrays = Vec::with_capacity(N);
    for file in files {
        arrays.push(file.read()?);
    }
    arrays.try_into().map_err(|_| Error::shape("arrays", N, "another number"))
}

/// Reads one matrix from a .npy file, as [`read`] does.
///
/// # Errors
/// Those of [`read`].
pub fn read_matrix<T: Number>(path: impl AsRef<Path>) -> Result<Array2<T>, Error> {
    Npy::<Ix2>::open(path.as_ref())?.read()
}

/// Reads one vector from a .npy file, as [`read`] does.
///
/// # Errors
/// Those of [`read`].
pub fn read_vector<T: Number>(path: impl AsRef<Path>) -> Result<Array1<T>, Error> {
    Npy::<Ix1>::open(path.as_ref())?.read()
}

/// What a file's numbers are.
#[derive(Clone, Copy)]
enum Kind {
    Half { little: bool },
    Single,
    Double,
}

impl Kind {
    fn bytes(self) -> u64 {
        match self {
            Kind::Half { .. } => 2,
            Kind::Single => 4,
            Kind::Double => 8,
        }
    }
}

/// A file whose header has been checked, ready to be read.
struct Npy<D> {
    path: PathBuf,
    file: File,
    header: Header,
    kind: Kind,
    dimensions: D,
}

impl<D: Dimension> Npy<D> {
    fn open(path: &Path) -> Result<Self, Error> {
        let io = |source| Error::Io { path: path.to_owned(), action: "read", source };
        let (mut file, size) = files::open(path)?;
        let mut start = Vec::new();
        (&mut file).take(MAX_HEADER).read_to_end(&mut start).map_err(io)?;
        // The library takes memory for as long a header as the file announces.
        let announced = match start[..] {
            [_, _, _, _, _, _, 1, _, a, b, ..] => 10 + u64::from(u16::from_le_bytes([a, b])),
            [_, _, _, _, _, _, _, _, a, b, c, d, ..] => 12 + u64::from(u32::from_le_bytes([a, b, c, d])),
            _ => return Err(input(path, format!("{size} bytes"), "a .npy file")),
        };
        // Whatever does not begin as a .npy file is for the library to name.
        if start.starts_with(b"\x93NUMPY") && announced > MAX_HEADER {
            return Err(input(
                path,
                format!("a header of {announced} bytes"),
                format!("at most {MAX_HEADER}"),
            ));
        }
        let mut rest = &start[..];
        let header =
            Header::from_reader(&mut rest).map_err(|error| input(path, error.to_string(), "a .npy file"))?;
        let begin = (start.len() - rest.len()) as u64;

        let kind = header.type_descriptor.to_string();
        let kind = match kind.trim_matches(['\'', '"']) {
            "<f2" => Kind::Half { little: true },
            ">f2" => Kind::Half { little: false },
            "<f4" | ">f4" => Kind::Single,
            "<f8" | ">f8" => Kind::Double,
            _ => {
                return Err(input(path, format!("numbers of type {kind}"), "float16, float32 or float64"));
            }
        };
        let Some(dimensions) = from_slice::<D>(&header.shape) else {
            let problem = format!("an array of shape {:?}", header.shape);
            return Err(input(path, problem, format!("{} dimensions", D::NDIM.unwrap_or(0))));
        };
        let length = header
            .shape
            .iter()
            .try_fold(kind.bytes(), |length, dimension| length.checked_mul(*dimension as u64));
        if length.and_then(|length| length.checked_add(begin)) != Some(size) {
            let expected = length.map_or("a shape that fits in memory".into(), |length| {
                format!("{}, as its shape {:?} demands", begin.saturating_add(length), header.shape)
            });
            return Err(input(path, format!("{size} bytes"), expected));
        }
        file.seek(SeekFrom::Start(begin)).map_err(io)?;
        Ok(Npy { path: path.to_owned(), file, header, kind, dimensions })
    }

    fn read<T: Number>(self) -> Result<Array<T, D>, Error> {
        let array = match self.kind {
            Kind::Half { little } => self.halves(little)?.mapv(|half| T::from_f32(half.to_f32())),
            Kind::Single => self.entries::<f32>()?.mapv(T::from_f32),
            Kind::Double => self.entries::<f64>()?.mapv(T::from_f64),
        };
        if array.is_standard_layout() {
            return Ok(array);
        }
        let mut turned = Array::zeros(array.raw_dim());
        turned.assign(&array);
        Ok(turned)
    }

    fn entries<U: ReadableElement>(&self) -> Result<Array<U, D>, Error> {
        let length = self.dimensions.size(); // checked against the size of the file
        let reader = BufReader::new(&self.file);
        let entries =
            U::read_to_end_exact_vec(reader, &self.header.type_descriptor, length).map_err(|error| {
                match error {
                    ReadDataError::Io(source) => {
                        Error::Io { path: self.path.clone(), action: "read", source }
                    }
                    other => input(&self.path, other.to_string(), "a .npy file"),
                }
            })?;
        self.array(entries)
    }

    /// ndarray-npy reads no float16.
    fn halves(&self, little: bool) -> Result<Array<f16, D>, Error> {
        let length = self.dimensions.size(); // checked against the size of the file
        let mut bytes = vec![0; 2 * length];
        (&self.file).read_exact(&mut bytes).map_err(|source| Error::Io {
            path: self.path.clone(),
            action: "read",
            source,
        })?;
        let of = if little { f16::from_le_bytes } else { f16::from_be_bytes };
        self.array(bytes.as_chunks().0.iter().map(|bytes| of(*bytes)).collect())
    }

    fn array<U>(&self, entries: Vec<U>) -> Result<Array<U, D>, Error> {
        let shape = self.dimensions.clone().set_f(self.header.layout.is_fortran());
        Array::from_shape_vec(shape, entries)
            .map_err(|error| input(&self.path, error.to_string(), "an array that fits in memory"))
    }
}

fn from_slice<D: Dimension>(shape: &[usize]) -> Option<D> {
    let mut dimensions = D::zeros(D::NDIM?);
    (dimensions.ndim() == shape.len()).then(|| dimensions.slice_mut().copy_from_slice(shape))?;
    Some(dimensions)
}
