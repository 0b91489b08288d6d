//! What the columns of each matrix count: how large the values are that they are multiplied with.

use std::collections::HashMap;

/// For each matrix, the mean square of its input per column, scaled to a mean of 1.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Importance {
    columns: HashMap<String, Vec<f32>>,
}

impl Importance {
    /// Of a matrix, by its official name: a number for each column.
    pub fn columns(&self, name: &str) -> Option<&[f32]> {
        self.columns.get(name).map(Vec::as_slice)
    }
}
