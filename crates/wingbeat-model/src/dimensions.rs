//! What all versions read of a model's dimensions in the same way: from the tensors, and from a GGUF's metadata what
//! tensors don't tell.

use crate::{Config, GgufName, Layout, ModelError, Version};
use wingbeat_format::{CONFIG_PREFIX, Metadata, ModelFile, Tensor};

/// Group norm: eps of 1e-5 on an input divided by 8 (the square root of the head size 64) in the official code.
pub(crate) const GROUP_NORM_EPS: f32 = 64e-5;
const LAYER_NORM_EPS: f32 = 1e-5;
/// Head sizes at most: models have 64. A state has head size squared values a head, so that an absurd number in a file
/// would ask for absurd memory.
const MAX_HEAD_SIZE: usize = 1024;

/// Reads dimensions of a model of a version.
pub(crate) struct Reader<'a> {
    file: &'a ModelFile,
    layout: Layout,
    version: Version,
}

impl Reader<'_> {
    pub(crate) fn new(file: &ModelFile, version: Version) -> Reader<'_> {
        Reader { file, layout: Layout::of(file), version }
    }

    /// What every version has; heads of `head_size` channels, nothing of low rank, a decay a channel.
    ///
    /// # Errors
    /// A tensor that gives a dimension is missing or misshapen, or the metadata contradict the tensors.
    pub(crate) fn config(
        &self,
        head_size: impl FnOnce(&Self, usize) -> Result<usize, ModelError>,
    ) -> Result<Config, ModelError> {
        let [n_vocab, n_channels] = self.matrix("emb.weight", None)?;
        let [n_ffn, _] = self.matrix("ffn.key.weight", Some(0))?;
        let n_layers = self.n_layers();
        if let Some((key, count)) = self.n_layers_said().filter(|&(_, count)| count != n_layers as u64) {
            let expected = format!("{n_layers}, one more than the highest block in the file");
            return Err(self.metadata_error(&key, count, expected));
        }
        let head_size = head_size(self, n_channels)?;
        let key = match self.layout {
            Layout::HuggingFace => format!("{CONFIG_PREFIX}norm_eps"),
            _ => self.key("attention.layer_norm_epsilon"),
        };
        let eps = self.file.metadata().f32(&key).unwrap_or(LAYER_NORM_EPS);
        if !(eps > 0.0 && eps < 1.0) {
            return Err(self.metadata_error(&key, eps, "between 0 and 1".to_owned()));
        }
        let name = self.file.metadata().str("general.name").filter(|name| !name.is_empty());
        Ok(Config {
            version: self.version,
            name: name.map_or_else(|| self.file_stem(), str::to_owned),
            n_layers,
            n_channels,
            n_heads: n_channels / head_size,
            head_size,
            n_decays: n_channels,
            n_ffn,
            n_vocab,
            low_ranks: Vec::new(),
            rescaled_every: 0,
            layer_norm_eps: eps,
            group_norm_eps: GROUP_NORM_EPS,
        })
    }

    fn file_stem(&self) -> String {
        let stem = std::path::Path::new(self.file.label()).file_stem();
        stem.map_or_else(|| self.file.label().to_owned(), |stem| stem.to_string_lossy().into_owned())
    }

    /// A metadata key of the version's architecture.
    fn key(&self, name: &str) -> String {
        format!("{}.{name}", self.version.gguf_architecture())
    }

    /// A metadata number of the version's architecture, with its key.
    pub(crate) fn u64(&self, name: &str) -> Option<(String, u64)> {
        let key = self.key(name);
        let value = self.file.metadata().u64(&key)?;
        Some((key, value))
    }

    /// How many layers the file says that it has, with the key.
    fn n_layers_said(&self) -> Option<(String, u64)> {
        let key = match self.layout {
            Layout::HuggingFace => format!("{CONFIG_PREFIX}num_hidden_layers"),
            Layout::RwkvCpp => "rwkv.cpp.n_layer".to_owned(),
            _ => self.key("block_count"),
        };
        let value = self.file.metadata().u64(&key)?;
        Some((key, value))
    }

    /// The layout of the file.
    pub(crate) fn layout(&self) -> Layout {
        self.layout
    }

    /// The file's metadata.
    pub(crate) fn metadata(&self) -> &Metadata {
        self.file.metadata()
    }

    /// One more than the highest block that any tensor belongs to: a block with gaps is then missed by name.
    fn n_layers(&self) -> usize {
        let layers = self.file.tensors().iter().filter_map(|tensor| self.layout.layer_of(&tensor.name));
        layers.max().map_or(0, |highest| highest.saturating_add(1))
    }

    pub(crate) fn required(&self, name: &str, layer: Option<usize>) -> Result<&Tensor, ModelError> {
        let row = self.version.table().iter().find(|row| row.name == name);
        let gguf = row.map_or(GgufName::Block(""), |row| row.gguf);
        let found = self.layout.find(self.file, name, gguf, layer);
        found
            .map(|(tensor, _)| tensor)
            .map_err(|tensor| ModelError::MissingTensor { file: self.file.label().to_owned(), tensor })
    }

    fn matrix(&self, name: &str, layer: Option<usize>) -> Result<[usize; 2], ModelError> {
        let tensor = self.required(name, layer)?;
        match *tensor.shape {
            [rows, cols] if rows > 0 && cols > 0 => Ok([rows, cols]),
            _ => Err(self.shape_error(tensor, "a matrix")),
        }
    }

    pub(crate) fn shape_error(&self, tensor: &Tensor, expected: &str) -> ModelError {
        ModelError::Shape {
            file: self.file.label().to_owned(),
            tensor: tensor.name.clone(),
            expected: expected.to_owned(),
            found: format!("{:?}", tensor.shape),
        }
    }

    pub(crate) fn metadata_error(&self, key: &str, found: impl ToString, expected: String) -> ModelError {
        ModelError::Metadata {
            file: self.file.label().to_owned(),
            key: key.to_owned(),
            found: found.to_string(),
            expected,
        }
    }

    /// A head size that is the metadata's, or that of a vector of `(H, N)` values in official files; a GGUF flattens it.
    pub(crate) fn head_size(&self, vector: &str, n_channels: usize) -> Result<usize, ModelError> {
        let tensor = self.required(vector, Some(0))?;
        let from_shape = match *tensor.shape {
            // rwkv.cpp has each value in a row of its own.
            [heads, size] | [heads, size, 1] if heads.checked_mul(size) == Some(n_channels) => {
                Some(size as u64)
            }
            _ => None,
        };
        let key = self.key("wkv.head_size");
        let size = match (self.u64("wkv.head_size"), from_shape) {
            (Some((_, size)), _) | (None, Some(size)) => size,
            (None, None) if self.layout == Layout::Gguf => {
                return Err(self.metadata_error(&key, "missing", format!("a divisor of {n_channels}")));
            }
            (None, None) => {
                let expected = format!("(heads, head size) with product {n_channels}");
                return Err(self.shape_error(tensor, &expected));
            }
        };
        self.divisor(&key, size, n_channels)
    }

    /// A head size that makes heads of so many channels.
    pub(crate) fn divisor(&self, key: &str, size: u64, n_channels: usize) -> Result<usize, ModelError> {
        match usize::try_from(size) {
            Ok(n) if n > 0 && n <= MAX_HEAD_SIZE && n_channels.is_multiple_of(n) => Ok(n),
            _ => Err(self.metadata_error(
                key,
                size,
                format!("a divisor of {n_channels}, at most {MAX_HEAD_SIZE}"),
            )),
        }
    }

    /// The side of a low-rank matrix that is not `C`.
    pub(crate) fn low_rank(&self, name: &str, layer: usize, n_channels: usize) -> Result<usize, ModelError> {
        match self.matrix(name, Some(layer))? {
            [rank, cols] if cols == n_channels => Ok(rank),
            [rows, rank] if rows == n_channels => Ok(rank),
            _ => {
                let tensor = self.required(name, Some(layer))?;
                Err(self.shape_error(tensor, &format!("(rank, {n_channels}) or ({n_channels}, rank)")))
            }
        }
    }
}
