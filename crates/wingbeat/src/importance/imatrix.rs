//! Importance in llama.cpp's files: a GGUF with, for each matrix, the sum of squares of its inputs (`NAME.in_sum2`, F32, a
//! value a column) and how many there were (`NAME.counts`), NAME being the matrix's in a model GGUF.

use super::Importance;
use crate::Error;
use std::{collections::HashMap, path::Path};
use wingbeat_format::{
    Array, DType, FormatError, Metadata, ModelFile, StringArray, Tensor, TensorSpec, gguf,
};
use wingbeat_model::{Catalog, Layout, Version, Weight};

const SUMS: &str = ".in_sum2";
const COUNTS: &str = ".counts";

impl Importance {
    /// Reads an importance matrix of a model, such as llama.cpp's tool writes.
    ///
    /// # Errors
    /// The file cannot be read, has no sums of a matrix of the model, sums of another number of columns, or values that are
    /// not finite or below 0.
    pub fn load(path: &Path, model: &ModelFile) -> Result<Importance, Error> {
        let file = ModelFile::open(path)?;
        let malformed = |item: String, expected: String, found: String| FormatError::Malformed {
            file: file.label().to_owned(),
            item,
            expected,
            found,
        };
        let (mut squares, mut n_tokens) = (HashMap::new(), 0);
        for weight in matrices(model)? {
            let name = gguf_name(&weight);
            let (Some(sums), Some(counts)) =
                (file.tensor(&format!("{name}{SUMS}")), file.tensor(&format!("{name}{COUNTS}")))
            else {
                continue;
            };
            let (cols, what) = (weight.shape[1], |tensor: &Tensor| format!("tensor {:?}", tensor.name));
            let values = |tensor: &Tensor| (tensor.dtype == DType::F32).then(|| tensor.to_f32());
            let found = |tensor: &Tensor| format!("{:?} of type {}", tensor.shape, tensor.dtype.name());
            let squared = values(sums)
                .filter(|sums| sums.len() == cols)
                .ok_or_else(|| malformed(what(sums), format!("{cols} values of type F32"), found(sums)))?;
            let count = values(counts).and_then(|counts| counts.first().copied());
            let count = count.filter(|n| n.is_finite() && *n > 0.0).ok_or_else(|| {
                malformed(what(counts), "a count above 0, of type F32".to_owned(), found(counts))
            })?;
            n_tokens = n_tokens.max(count as usize);
            squares.insert(weight.name.clone(), squared.iter().map(|sum| sum / count).collect());
        }
        if squares.is_empty() {
            let first = file.tensors().first().map_or("no tensor", |tensor| &tensor.name);
            let expected = format!("tensors NAME{SUMS} and NAME{COUNTS} of matrices of {}", model.label());
            return Err(malformed("importance matrix".to_owned(), expected, first.to_owned()).into());
        }
        Importance::checked(squares, n_tokens).map_err(|name| {
            malformed(name, "finite sums, none below 0".to_owned(), "others".to_owned()).into()
        })
    }

    /// Writes it as llama.cpp's tools read it; `text` is a name for what it was gathered over.
    ///
    /// # Errors
    /// The model cannot be read, or the file not be written.
    pub fn save(&self, path: &Path, model: &ModelFile, text: &str) -> Result<(), Error> {
        let matrices = matrices(model)?;
        let known = || matrices.iter().filter_map(|w| Some((gguf_name(w), self.squares.get(&w.name)?)));
        let count = self.n_tokens.max(1) as f32;
        let mut metadata = Metadata::new();
        metadata.insert("general.type", "imatrix");
        metadata.insert(
            "imatrix.datasets",
            Array::Strings([text.as_bytes()].into_iter().collect::<StringArray>()),
        );
        metadata.insert("imatrix.chunk_count", 1u32);
        metadata.insert("imatrix.chunk_size", u32::try_from(self.n_tokens).unwrap_or(u32::MAX));
        let spec = |name: String, cols: usize| TensorSpec { name, dtype: DType::F32, shape: vec![1, cols] };
        let specs: Vec<TensorSpec> = known()
            .flat_map(|(name, squares)| {
                [spec(format!("{name}{SUMS}"), squares.len()), spec(format!("{name}{COUNTS}"), 1)]
            })
            .collect();
        let mut writer = gguf::Writer::create(path, &metadata, &specs)?;
        for (_, squares) in known() {
            let sums: Vec<u8> = squares.iter().flat_map(|mean| (mean * count).to_le_bytes()).collect();
            writer.write(&sums)?;
            writer.write(&count.to_le_bytes())?;
        }
        Ok(writer.finish()?)
    }
}

/// The matrices of a model.
fn matrices(model: &ModelFile) -> Result<Vec<Weight>, Error> {
    let config = Version::detect(model)?.config(model)?;
    let catalog = Catalog::new(model, &config)?;
    Ok(catalog.weights().iter().filter(|weight| weight.is_matrix()).cloned().collect())
}

/// What llama.cpp calls it.
fn gguf_name(weight: &Weight) -> String {
    Layout::Gguf.tensor_name(weight.row.name, weight.row.gguf, weight.layer)
}
