//! Weights as a table: each version lists its tensors once, and loading, checking and converting all read the list.

use crate::{Config, Layout, ModelError};
use wingbeat_backend::{MatrixSource, Orientation};
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
}

impl Dim {
    /// Its size in a model.
    pub fn of(self, config: &Config) -> usize {
        match self {
            Dim::C => config.n_channels,
            Dim::F => config.n_ffn,
            Dim::V => config.n_vocab,
            Dim::Rank(letter) => config.low_rank(letter),
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
}

/// Where a GGUF file keeps a weight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GgufName {
    /// In a tensor of its own, of the model.
    Global(&'static str),
    /// In a tensor of its own, in the layer's block.
    Block(&'static str),
    /// As one row of a tensor that fuses several vectors of the layer.
    BlockRow(&'static str, usize),
}

impl GgufName {
    /// The tensor's name, without its block.
    pub fn tensor(self) -> &'static str {
        match self {
            GgufName::Global(name) | GgufName::Block(name) | GgufName::BlockRow(name, _) => name,
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
    /// `(n)` of a vector, `(rows, cols)` of a matrix, whatever the orientation.
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

    /// A matrix for a device.
    pub fn matrix(&self) -> MatrixSource {
        MatrixSource {
            name: self.name.clone(),
            dtype: self.dtype,
            rows: self.shape[0],
            cols: self.shape.get(1).copied().unwrap_or(1),
            orientation: self.orientation,
            // What has the FFN's width is its hidden vector: relu² leaves a tenth of it, or less.
            sparse_input: matches!(self.row.kind, Kind::Matrix(_, Dim::F)),
            data: self.data.clone(),
        }
    }
}

/// All weights of a model, found in its file and checked.
pub struct Catalog {
    weights: Vec<Weight>,
    n_global: usize,
    layer_starts: Vec<usize>,
    file: String,
}

impl Catalog {
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
            for row in rows(Layers::All).chain(rows(special)) {
                weights.push(finder.find(row, Some(layer))?);
            }
            layer_starts.push(weights.len());
        }
        Ok(Catalog { weights, n_global, layer_starts, file: file.label().to_owned() })
    }

    /// All weights: the model's own, then layer by layer.
    pub fn weights(&self) -> &[Weight] {
        &self.weights
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
        self.weights
            .get(range)
            .unwrap_or_default()
            .iter()
            .find(|w| w.row.name == name)
            .ok_or_else(|| ModelError::MissingTensor { file: self.file.clone(), tensor: name.to_owned() })
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
    fn find(&self, row: &Row, layer: Option<usize>) -> Result<Weight, ModelError> {
        let name = self.layout.tensor_name(row.name, row.gguf, layer);
        let tensor = self.file.tensor(&name).ok_or_else(|| ModelError::MissingTensor {
            file: self.file.label().to_owned(),
            tensor: name.clone(),
        })?;
        let fused = match (self.layout, row.gguf) {
            (Layout::Gguf, GgufName::BlockRow(_, index)) => Some(index),
            _ => None,
        };
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
                let (rows, cols) = (rows.of(self.config), cols.of(self.config));
                let found = squeezed(tensor);
                let orientation = match (found == [rows, cols], found == [cols, rows]) {
                    (true, true) => self.low_rank,
                    (true, false) => Orientation::RowMajor,
                    (false, true) => Orientation::Transposed,
                    (false, false) => {
                        return Err(
                            self.shape_error(tensor, &format!("{:?} or {:?}", [rows, cols], [cols, rows]))
                        );
                    }
                };
                (vec![rows, cols], orientation, tensor.data.clone())
            }
        };
        let name = Layout::BlinkDl.tensor_name(row.name, row.gguf, layer);
        Ok(Weight { row: *row, layer, name, dtype: tensor.dtype, shape, orientation, data })
    }

    /// A vector of `len` values, or row `fused` of a tensor `(rows, len)`.
    fn vector(
        &self,
        tensor: &Tensor,
        len: usize,
        fused: Option<usize>,
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
            Some(index) if squeezed(tensor) == [6, len] => {
                let bytes = tensor.data.len() / 6;
                let row = tensor.data.slice(index * bytes..(index + 1) * bytes);
                row.expect("six rows, as the shape says, and index is one of them")
            }
            None => return Err(self.shape_error(tensor, &format!("[{len}]"))),
            Some(_) => return Err(self.shape_error(tensor, &format!("[6, 1, 1, {len}]"))),
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
        let Kind::LowRank(rows, cols) = row.kind else { return None };
        let (rows, cols) = (rows.of(config), cols.of(config));
        let layer = if row.layers == Layers::Later { 1 } else { 0 };
        let tensor = file.tensor(&layout.tensor_name(row.name, row.gguf, Some(layer)))?;
        match squeezed(tensor) {
            _ if rows == cols => None,
            shape if shape == [rows, cols] => Some(Orientation::RowMajor),
            shape if shape == [cols, rows] => Some(Orientation::Transposed),
            _ => None,
        }
    });
    telling.unwrap_or(match layout {
        Layout::Gguf => Orientation::RowMajor,
        Layout::BlinkDl => Orientation::Transposed,
    })
}
