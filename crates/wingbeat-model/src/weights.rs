//! Weights as a table: each version lists its tensors once, and loading, checking and converting all read the list.

use crate::{Config, Layout, ModelError, Stored, Version};
use wingbeat_backend::{BackendError, MatrixSource, Orientation};
use wingbeat_format::{Bytes, DType, ModelFile, Tensor};

/// A dimension by its meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dim {
    /// Channels.
    C,
    /// FFN width.
    F,
    /// Vocabulary.
    V,
    /// A low rank, by its letter.
    Rank(char),
    /// Several low ranks one after the other.
    Ranks(usize, char),
    /// Decays of a layer: `C`, or one a head, `H`, in RWKV-5.1.
    Decays,
}

impl Dim {
    /// Its size in a model.
    pub fn of(self, config: &Config) -> usize {
        match self {
            Dim::C => config.n_channels,
            Dim::F => config.n_ffn,
            Dim::V => config.n_vocab,
            Dim::Rank(letter) => config.low_rank(letter),
            Dim::Ranks(n, letter) => n * config.low_rank(letter),
            Dim::Decays => config.n_decays,
        }
    }
}

/// What a weight is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A vector; files shape it `(C)`, `(1, 1, C)` or `(H, N)`.
    Vector(Dim),
    /// `W (rows, cols)`, stored row-major.
    Matrix(Dim, Dim),
    /// `W (rows, cols)` of low rank, stored row-major or transposed: the shape tells.
    LowRank(Dim, Dim),
    /// So many matrices `W (rows, cols)` of low rank, one after the other, all row-major or all transposed.
    Stack(usize, Dim, Dim),
}

/// Which layers have a weight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layers {
    /// It belongs to the model, not to a layer.
    Model,
    /// Every layer.
    All,
    /// Only the first.
    First,
    /// All but the first.
    Later,
    /// Every layer, or none: the first tells.
    Optional,
}

/// Where a GGUF file keeps a weight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GgufName {
    /// In a tensor of its own, of the model.
    Global(&'static str),
    /// In a tensor of its own, in the layer's block.
    Block(&'static str),
    /// As one row of a tensor that fuses several vectors of the layer.
    BlockRow {
        /// The tensor.
        tensor: &'static str,
        /// The row.
        index: usize,
        /// A tensor of its own that older files have instead.
        alone: Option<&'static str>,
    },
}

impl GgufName {
    /// The tensor's name, without its block.
    pub fn tensor(self) -> &'static str {
        match self {
            GgufName::Global(name) | GgufName::Block(name) => name,
            GgufName::BlockRow { tensor, .. } => tensor,
        }
    }

    /// Whether the tensor stands outside the blocks.
    pub fn is_global(self) -> bool {
        matches!(self, GgufName::Global(_))
    }
}

/// One row of a version's weight table.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// Name in the official checkpoints, without `blocks.N.`.
    pub name: &'static str,
    /// Place in a GGUF.
    pub gguf: GgufName,
    /// Shape.
    pub kind: Kind,
    /// Layers that have it.
    pub layers: Layers,
}

/// A weight found in a file.
#[derive(Clone, Debug)]
pub struct Weight {
    /// Its row in the version's table.
    pub row: Row,
    /// Its layer, if it belongs to one.
    pub layer: Option<usize>,
    /// Its canonical (official) name.
    pub name: String,
    /// Stored type.
    pub dtype: DType,
    /// `(n)` of a vector, `(rows, cols)` of a matrix, `(n, rows, cols)` of a stack, whatever the orientation.
    pub shape: Vec<usize>,
    /// How a matrix lies.
    pub orientation: Orientation,
    /// The bytes, in place.
    pub data: Bytes,
}

impl Weight {
    /// A vector's values.
    pub fn vector(&self) -> Vec<f32> {
        let mut out = vec![0.0; self.shape.iter().product()];
        self.dtype.decode_row(&self.data, &mut out);
        out
    }

    /// Whether it is a matrix, not a vector.
    pub fn is_matrix(&self) -> bool {
        !matches!(self.row.kind, Kind::Vector(_))
    }

    /// A matrix for a device; the first of a stack.
    pub fn matrix(&self) -> MatrixSource {
        self.sources().swap_remove(0)
    }

    /// The matrices for a device: one, but of a stack.
    pub fn sources(&self) -> Vec<MatrixSource> {
        let (n, rows, cols) = match *self.shape {
            [n, rows, cols] => (n, rows, cols),
            [rows, cols] => (1, rows, cols),
            _ => (1, self.shape[0], 1),
        };
        let bytes = self.data.len() / n.max(1);
        let part = |i: usize| self.data.slice(i * bytes..(i + 1) * bytes).expect("a part of the whole");
        let source = |i: usize| MatrixSource {
            name: self.name.clone(),
            dtype: self.dtype,
            rows,
            cols,
            orientation: self.orientation,
            // What has the FFN's width is its hidden vector: relu² leaves a tenth of it, or less.
            sparse_input: matches!(self.row.kind, Kind::Matrix(_, Dim::F)),
            data: part(i),
        };
        (0..n.max(1)).map(source).collect()
    }

    /// A matrix as `n` matrices, its rows dealt out in order: where they lie one after the other without a copy, else each
    /// copied.
    ///
    /// # Errors
    /// The matrix is transposed, and its stored rows cannot be cut between blocks.
    pub fn split_rows(&self, n: usize) -> Result<Vec<MatrixSource>, ModelError> {
        let whole = self.matrix();
        let (rows, row_bytes) = (whole.rows / n.max(1), whole.checked_row_bytes()?);
        let part = |i: usize| match whole.orientation {
            Orientation::RowMajor => self.data.slice(i * rows * row_bytes..(i + 1) * rows * row_bytes),
            Orientation::Transposed => {
                let bytes = self.dtype.row_bytes(rows)?;
                let columns = self.data.chunks_exact(row_bytes.max(1));
                let part = columns.filter_map(|column| column.get(i * bytes..(i + 1) * bytes));
                Some(Bytes::from_vec(part.flatten().copied().collect()))
            }
        };
        let source = |i| match part(i) {
            Some(data) => Ok(MatrixSource { rows, data, ..whole.clone() }),
            None => Err(BackendError::UnsupportedMatrix {
                tensor: self.name.clone(),
                device: "this model".to_owned(),
                found: self.dtype.name(),
                why: "it is cut into parts, and a block would be in two of them",
            }),
        };
        Ok((0..n).map(source).collect::<Result<_, _>>()?)
    }
}

/// All weights of a model, found in its file and checked.
pub struct Catalog {
    config: Config,
    weights: Vec<Weight>,
    n_global: usize,
    layer_starts: Vec<usize>,
    file: String,
}

impl Catalog {
    /// Finds out what a file is, and all its weights.
    ///
    /// # Errors
    /// It is no model of a known version, or a tensor is missing or wrong.
    pub fn open(file: &ModelFile) -> Result<Catalog, ModelError> {
        Catalog::new(file, &Version::detect(file)?.config(file)?)
    }

    /// The model's dimensions.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Finds every weight of `config.version`'s table and checks shapes and types.
    ///
    /// # Errors
    /// The first tensor that is missing or wrong, by its name in the file.
    pub fn new(file: &ModelFile, config: &Config) -> Result<Catalog, ModelError> {
        let layout = Layout::of(file);
        let finder = Finder { file, config, layout, low_rank: low_rank_orientation(file, config, layout) };
        let mut weights = Vec::new();
        let rows = |layers: Layers| config.version.table().iter().filter(move |row| row.layers == layers);
        for row in rows(Layers::Model) {
            weights.push(finder.find(row, None)?);
        }
        let n_global = weights.len();
        let mut layer_starts = vec![n_global];
        for layer in 0..config.n_layers {
            let special = if layer == 0 { Layers::First } else { Layers::Later };
            let optional = rows(Layers::Optional).filter(|row| finder.is_there(row, 0));
            for row in rows(Layers::All).chain(rows(special)).chain(optional) {
                weights.push(finder.find(row, Some(layer))?);
            }
            layer_starts.push(weights.len());
        }
        Ok(Catalog { config: config.clone(), weights, n_global, layer_starts, file: file.label().to_owned() })
    }

    /// All weights: the model's own, then layer by layer.
    pub fn weights(&self) -> &[Weight] {
        &self.weights
    }

    /// Puts other values in the place of a weight's, by its place in [`Catalog::weights`]. False, and nothing is changed,
    /// where there is no such weight or the bytes are not as many as its shape has in that type.
    #[must_use]
    pub fn replace(&mut self, index: usize, dtype: DType, orientation: Orientation, data: Bytes) -> bool {
        let Some(weight) = self.weights.get_mut(index) else { return false };
        let (rows, cols) = match (&weight.shape[..], orientation) {
            (&[.., rows, cols], Orientation::RowMajor) | (&[.., cols, rows], Orientation::Transposed) => {
                (rows, cols)
            }
            (shape, _) => (1, shape.iter().product()),
        };
        let n_matrices = weight.shape.iter().rev().skip(2).product::<usize>();
        let n_bytes =
            dtype.row_bytes(cols).and_then(|bytes| bytes.checked_mul(rows)?.checked_mul(n_matrices));
        if n_bytes != Some(data.len()) {
            return false;
        }
        (weight.dtype, weight.orientation, weight.data) = (dtype, orientation, data);
        true
    }

    /// A weight by its name in the table and its layer.
    ///
    /// # Errors
    /// The table has no such row for that layer.
    pub fn get(&self, name: &str, layer: Option<usize>) -> Result<&Weight, ModelError> {
        let range = match layer {
            None => 0..self.n_global,
            Some(layer) => {
                let end = self.layer_starts.get(layer + 1).copied().unwrap_or(0);
                self.layer_starts.get(layer).copied().unwrap_or(end)..end
            }
        };
        self.weights.get(range).unwrap_or_default().iter().find(|w| w.row.name == name).ok_or_else(|| {
            ModelError::MissingTensor {
                file: self.file.clone(),
                tensor: Layout::BlinkDl.tensor_name(name, GgufName::Block(""), layer),
            }
        })
    }
}

struct Finder<'a> {
    file: &'a ModelFile,
    config: &'a Config,
    layout: Layout,
    /// The orientation of low-rank matrices whose shape doesn't tell.
    low_rank: Orientation,
}

impl Finder<'_> {
    fn is_there(&self, row: &Row, layer: usize) -> bool {
        self.layout.find(self.file, row.name, row.gguf, Some(layer)).is_ok()
    }

    fn find(&self, row: &Row, layer: Option<usize>) -> Result<Weight, ModelError> {
        let (tensor, fused) = self
            .layout
            .find(self.file, row.name, row.gguf, layer)
            .map_err(|tensor| ModelError::MissingTensor { file: self.file.label().to_owned(), tensor })?;
        let fused = fused.map(|index| (index, self.n_fused(row.gguf.tensor())));
        let (shape, orientation, data) = match row.kind {
            Kind::Vector(dim) => self.vector(tensor, dim.of(self.config), fused)?,
            Kind::Matrix(rows, cols) => {
                let shape = vec![rows.of(self.config), cols.of(self.config)];
                if squeezed(tensor) != shape {
                    return Err(self.shape_error(tensor, &format!("{shape:?}")));
                }
                (shape, Orientation::RowMajor, tensor.data.clone())
            }
            Kind::LowRank(rows, cols) => {
                let shape = [rows.of(self.config), cols.of(self.config)];
                let orientation = self.orientation(tensor, &[], shape)?;
                (shape.to_vec(), orientation, tensor.data.clone())
            }
            Kind::Stack(n, rows, cols) => {
                let [rows, cols] = [rows.of(self.config), cols.of(self.config)];
                let orientation = self.orientation(tensor, &[n], [rows, cols])?;
                (vec![n, rows, cols], orientation, tensor.data.clone())
            }
        };
        let name = Layout::BlinkDl.tensor_name(row.name, row.gguf, layer);
        let weight = Weight { row: *row, layer, name, dtype: tensor.dtype, shape, orientation, data };
        Ok(match self.layout.stored(self.config.version, row.name) {
            Some(stored) => restored(weight, stored),
            None => weight,
        })
    }

    /// How matrices `(rows, cols)` lie in a tensor that has the axes `before` them.
    fn orientation(
        &self,
        tensor: &Tensor,
        before: &[usize],
        [rows, cols]: [usize; 2],
    ) -> Result<Orientation, ModelError> {
        let shape = |last: [usize; 2]| before.iter().chain(&last).copied().collect::<Vec<_>>();
        let (row_major, transposed) = (shape([rows, cols]), shape([cols, rows]));
        let found = if before.is_empty() { squeezed(tensor) } else { tensor.shape.clone() };
        match (found == row_major, found == transposed) {
            (true, true) => Ok(self.low_rank),
            (true, false) => Ok(Orientation::RowMajor),
            (false, true) => Ok(Orientation::Transposed),
            (false, false) => Err(self.shape_error(tensor, &format!("{row_major:?} or {transposed:?}"))),
        }
    }

    /// How many vectors a tensor of this name fuses.
    fn n_fused(&self, name: &str) -> usize {
        let rows = self.config.version.table().iter();
        rows.filter(|row| matches!(row.gguf, GgufName::BlockRow { tensor, .. } if tensor == name)).count()
    }

    /// A vector of `len` values, or row `fused.0` of a tensor `(fused.1, len)`.
    fn vector(
        &self,
        tensor: &Tensor,
        len: usize,
        fused: Option<(usize, usize)>,
    ) -> Result<(Vec<usize>, Orientation, Bytes), ModelError> {
        if tensor.dtype.is_quantized() || !matches!(tensor.dtype, DType::F32 | DType::F16 | DType::BF16) {
            return Err(ModelError::VectorType {
                file: self.file.label().to_owned(),
                tensor: tensor.name.clone(),
                found: tensor.dtype.name(),
            });
        }
        let data = match fused {
            None if tensor.n_elements() == len => tensor.data.clone(),
            Some((index, n)) if squeezed(tensor) == [n, len] => {
                let bytes = tensor.data.len() / n;
                let row = tensor.data.slice(index * bytes..(index + 1) * bytes);
                row.expect("so many rows, as the shape says, and index is one of them")
            }
            None => return Err(self.shape_error(tensor, &format!("[{len}]"))),
            Some((_, n)) => return Err(self.shape_error(tensor, &format!("[{n}, 1, 1, {len}]"))),
        };
        Ok((vec![len], Orientation::RowMajor, data))
    }

    fn shape_error(&self, tensor: &Tensor, expected: &str) -> ModelError {
        ModelError::Shape {
            file: self.file.label().to_owned(),
            tensor: tensor.name.clone(),
            expected: expected.to_owned(),
            found: format!("{:?}", tensor.shape),
        }
    }
}

/// The weight with the values that it had before they were stored: a vector, small enough to be held.
fn restored(weight: Weight, stored: Stored) -> Weight {
    let values = weight.vector().into_iter().flat_map(|value| stored.restore(value).to_le_bytes());
    Weight { dtype: DType::F32, data: Bytes::from_vec(values.collect()), ..weight }
}

/// The shape without axes of length 1, but at least two axes of a matrix: `(1, 1, C)` is `(C)`.
fn squeezed(tensor: &Tensor) -> Vec<usize> {
    if tensor.shape.len() <= 2 {
        return tensor.shape.clone();
    }
    tensor.shape.iter().copied().filter(|&n| n != 1).collect()
}

/// A square low-rank matrix does not show its orientation; the file's other ones do. Where none does, the layout's
/// own habit counts.
fn low_rank_orientation(file: &ModelFile, config: &Config, layout: Layout) -> Orientation {
    let telling = config.version.table().iter().find_map(|row| {
        let (Kind::LowRank(rows, cols) | Kind::Stack(_, rows, cols)) = row.kind else { return None };
        let (rows, cols) = (rows.of(config), cols.of(config));
        let layer = if row.layers == Layers::Later { 1 } else { 0 };
        let (tensor, _) = layout.find(file, row.name, row.gguf, Some(layer)).ok()?;
        let found = squeezed(tensor);
        match found.get(found.len().saturating_sub(2)..)? {
            _ if rows == cols => None,
            shape if shape == [rows, cols] => Some(Orientation::RowMajor),
            shape if shape == [cols, rows] => Some(Orientation::Transposed),
            _ => None,
        }
    });
    telling.unwrap_or_else(|| layout.low_rank())
}
