//! RWKV-7's dimensions, from the tensors; only a GGUF's head size and epsilon come from its metadata, which is the
//! one place that has them.

use crate::{Config, Layout, ModelError, Version, v7::TABLE};
use wingbeat_format::{ModelFile, Tensor};

/// Group norm: eps of 1e-5 on an input divided by the head size's square root, 8, in the official code.
const GROUP_NORM_EPS: f32 = 64e-5;
const LAYER_NORM_EPS: f32 = 1e-5;
/// Head sizes at most: models have 64. A state has head size squared values a head, so that an absurd number in a file
/// would ask for absurd memory.
const MAX_HEAD_SIZE: usize = 1024;

pub(crate) fn config(file: &ModelFile) -> Result<Config, ModelError> {
    let reader = Reader { file, layout: Layout::of(file) };
    let [n_vocab, n_channels] = reader.matrix("emb.weight", None)?;
    let [n_ffn, _] = reader.matrix("ffn.key.weight", Some(0))?;
    let n_layers = reader.n_layers();
    if let Some(count) = file.metadata().u64("rwkv7.block_count").filter(|&count| count != n_layers as u64) {
        return Err(reader.metadata(
            "rwkv7.block_count",
            count,
            format!("{n_layers}, one more than the highest block in the file"),
        ));
    }
    let head_size = reader.head_size(n_channels)?;
    let mut low_ranks = Vec::new();
    for letter in ['w', 'a', 'v', 'g'] {
        let layer = if letter == 'v' { 1 } else { 0 };
        if layer < n_layers {
            low_ranks.push((letter, reader.low_rank(letter, layer, n_channels)?));
        }
    }
    let eps = file.metadata().f32("rwkv7.attention.layer_norm_epsilon").unwrap_or(LAYER_NORM_EPS);
    if !(eps > 0.0 && eps < 1.0) {
        return Err(reader.metadata("rwkv7.attention.layer_norm_epsilon", eps, "between 0 and 1".to_owned()));
    }
    let name = file.metadata().str("general.name").filter(|name| !name.is_empty()).map_or_else(
        || {
            let stem = std::path::Path::new(file.label()).file_stem();
            stem.map_or_else(|| file.label().to_owned(), |stem| stem.to_string_lossy().into_owned())
        },
        str::to_owned,
    );
    Ok(Config {
        version: Version::V7,
        name,
        n_layers,
        n_channels,
        n_heads: n_channels / head_size,
        head_size,
        n_ffn,
        n_vocab,
        low_ranks,
        layer_norm_eps: eps,
        group_norm_eps: GROUP_NORM_EPS,
    })
}

struct Reader<'a> {
    file: &'a ModelFile,
    layout: Layout,
}

impl Reader<'_> {
    fn name(&self, name: &str, layer: Option<usize>) -> String {
        match TABLE.iter().find(|row| row.name == name) {
            Some(row) => self.layout.tensor_name(name, row.gguf, layer),
            None => name.to_owned(),
        }
    }

    /// One more than the highest block that any tensor belongs to: a block with gaps is then missed by name.
    fn n_layers(&self) -> usize {
        let block = |tensor: &Tensor| -> Option<usize> {
            let mut parts = tensor.name.split('.');
            match parts.next() {
                Some("blk" | "blocks") => parts.next()?.parse().ok(),
                _ => None,
            }
        };
        self.file.tensors().iter().filter_map(block).max().map_or(0, |highest| highest.saturating_add(1))
    }

    fn required(&self, name: &str, layer: Option<usize>) -> Result<&Tensor, ModelError> {
        let name = self.name(name, layer);
        self.file
            .tensor(&name)
            .ok_or_else(|| ModelError::MissingTensor { file: self.file.label().to_owned(), tensor: name })
    }

    fn matrix(&self, name: &str, layer: Option<usize>) -> Result<[usize; 2], ModelError> {
        let tensor = self.required(name, layer)?;
        match *tensor.shape {
            [rows, cols] if rows > 0 && cols > 0 => Ok([rows, cols]),
            _ => Err(self.shape(tensor, "a matrix")),
        }
    }

    fn shape(&self, tensor: &Tensor, expected: &str) -> ModelError {
        ModelError::Shape {
            file: self.file.label().to_owned(),
            tensor: tensor.name.clone(),
            expected: expected.to_owned(),
            found: format!("{:?}", tensor.shape),
        }
    }

    fn metadata(&self, key: &str, found: impl ToString, expected: String) -> ModelError {
        ModelError::Metadata {
            file: self.file.label().to_owned(),
            key: key.to_owned(),
            found: found.to_string(),
            expected,
        }
    }

    /// `(H, N)` is the shape of `r_k` in official files; a GGUF flattens it and has a metadata key instead.
    fn head_size(&self, n_channels: usize) -> Result<usize, ModelError> {
        let r_k = self.required("att.r_k", Some(0))?;
        let from_shape = match *r_k.shape {
            [heads, size] if heads.checked_mul(size) == Some(n_channels) => Some(size as u64),
            _ => None,
        };
        let key = "rwkv7.wkv.head_size";
        let size = match (self.file.metadata().u64(key), from_shape) {
            (Some(size), _) | (None, Some(size)) => size,
            (None, None) if self.layout == Layout::Gguf => {
                return Err(self.metadata(key, "missing", format!("a divisor of {n_channels}")));
            }
            (None, None) => {
                return Err(self.shape(r_k, &format!("(heads, head size) with product {n_channels}")));
            }
        };
        match usize::try_from(size) {
            Ok(n) if n > 0 && n <= MAX_HEAD_SIZE && n_channels.is_multiple_of(n) => Ok(n),
            _ => Err(self.metadata(key, size, format!("a divisor of {n_channels}, at most {MAX_HEAD_SIZE}"))),
        }
    }

    /// The side of `w1` and its like that is not `C`.
    fn low_rank(&self, letter: char, layer: usize, n_channels: usize) -> Result<usize, ModelError> {
        let name = format!("att.{letter}1");
        match self.matrix(&name, Some(layer))? {
            [rank, cols] if cols == n_channels => Ok(rank),
            [rows, rank] if rows == n_channels => Ok(rank),
            _ => {
                let tensor = self.required(&name, Some(layer))?;
                Err(self.shape(tensor, &format!("(rank, {n_channels}) or ({n_channels}, rank)")))
            }
        }
    }
}
