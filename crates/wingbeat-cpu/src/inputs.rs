//! What matrices are multiplied with, noted down: the statistics that quantization weighs its errors by.

use crate::Buffer;
use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

/// For each matrix the sum of squares of its inputs, column by column; see [`CpuBackend::noting`](crate::CpuBackend::noting).
#[derive(Debug, Default)]
pub struct InputSquares {
    sums: Mutex<HashMap<String, Sums>>,
}

#[derive(Clone, Debug, Default)]
struct Sums {
    squares: Vec<f64>,
    n_rows: u64,
}

impl InputSquares {
    /// The mean squares of the inputs of each matrix that was multiplied with, by its name: a number for each column.
    pub fn means(&self) -> HashMap<String, Vec<f64>> {
        let sums = self.sums.lock().unwrap_or_else(PoisonError::into_inner);
        let mean = |sums: &Sums| sums.squares.iter().map(|sum| sum / sums.n_rows.max(1) as f64).collect();
        sums.iter().map(|(name, sums)| (name.clone(), mean(sums))).collect()
    }

    /// Notes down the first `n_rows` rows of `x (T, cols)`, which the matrix of that name is multiplied with.
    pub(crate) fn add(&self, name: &str, cols: usize, x: &Buffer, n_rows: usize) {
        let mut sums = self.sums.lock().unwrap_or_else(PoisonError::into_inner);
        if !sums.contains_key(name) {
            sums.insert(name.to_owned(), Sums { squares: vec![0.0; cols], n_rows: 0 });
        }
        let Some(of) = sums.get_mut(name) else { return };
        for row in x.as_slice().chunks_exact(cols.max(1)).take(n_rows) {
            of.squares.iter_mut().zip(row).for_each(|(sum, &x)| *sum += f64::from(x) * f64::from(x));
        }
        of.n_rows += n_rows as u64;
    }
}
