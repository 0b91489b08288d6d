//! What is said of single matrices beyond a mix of types, and the file's content encoded as it is said.

use super::{Content, Sink, content::encode_weighted};
use crate::{Error, importance::Importance};
use std::collections::HashMap;
use wingbeat_backend::Orientation;
use wingbeat_format::{DType, ModelFile};
use wingbeat_model::Weight;

/// Types of matrices, and what errors in their columns count.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    /// By the official name.
    pub(super) types: HashMap<String, DType>,
    pub(super) importance: Option<Importance>,
    /// Whether scales are searched for in types that have llama.cpp's bytes else.
    pub(super) searches: bool,
    /// llama.cpp's number for the file's types, where it is not the mix's.
    pub(super) file_type: Option<u32>,
}

impl Plan {
    /// The type of a matrix, if the plan has one for it.
    pub(super) fn dtype(&self, weight: &Weight) -> Option<DType> {
        self.types.get(&weight.name).copied()
    }

    /// What the errors in each column of a matrix count; none where that is alike and nothing is searched for.
    pub(super) fn columns(&self, weight: &Weight) -> Option<Vec<f32>> {
        let known = self.importance.as_ref().and_then(|importance| importance.columns(&weight.name));
        match (known, weight.shape.as_slice()) {
            (Some(columns), [_, cols]) if columns.len() == *cols => Some(columns),
            (_, [_, cols]) if self.searches => Some(vec![1.0; *cols]),
            _ => None,
        }
    }
}

/// A file's weights, encoded by a plan.
pub(super) struct Planned<'a> {
    pub(super) file: &'a ModelFile,
    pub(super) plan: &'a Plan,
}

impl Content for Planned<'_> {
    fn encode(
        &self,
        weight: &Weight,
        orientation: Orientation,
        dtype: DType,
        sink: Sink<'_>,
    ) -> Result<(), Error> {
        // Transposed matrices are of low rank, which are not quantized.
        let columns = match weight.orientation {
            Orientation::RowMajor => self.plan.columns(weight),
            Orientation::Transposed => None,
        };
        encode_weighted(weight, orientation, dtype, columns.as_deref(), sink)
    }

    fn check(&self) -> Result<(), Error> {
        self.file.check()
    }
}
