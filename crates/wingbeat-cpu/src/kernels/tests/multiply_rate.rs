//! The kernel that only multiplies does so, on every instruction set: its sum is that of the products it counts.

use super::tables;
use crate::{
    kernels::{MULTIPLY_ROWS, MultiplyRate},
    matrix::Form,
};

/// A word's values.
fn values(form: Form, word: u32) -> Vec<f64> {
    match form {
        Form::F32 => vec![f64::from(f32::from_bits(word))],
        Form::Int16 => [word as i16, (word >> 16) as i16].map(f64::from).to_vec(),
        Form::Int8 => word.to_le_bytes().map(|byte| f64::from(byte as i8)).to_vec(),
    }
}

#[test]
fn it_multiplies_all_that_it_counts() {
    for kernels in tables() {
        for form in [Form::F32, Form::Int16, Form::Int8] {
            for (rows, steps) in MULTIPLY_ROWS.into_iter().flat_map(|rows| [(rows, 0), (rows, 1), (rows, 30)])
            {
                let mut run = MultiplyRate::new(form, rows, steps);
                // SAFETY: the table is of an available level.
                unsafe { (kernels.multiply_rate)(&mut run) };
                let n_values = values(form, 0).len();
                let lanes = kernels.word_panel_rows;
                let words = run.weights.len() / 32;
                let mut expected = 0.0;
                for weight in &run.weights[..words * lanes] {
                    for x in &run.x[..rows] {
                        let products = values(form, *weight).into_iter().zip(values(form, *x));
                        expected += steps as f64 * products.map(|(w, x)| w * x).sum::<f64>();
                    }
                }
                let level = kernels.level;
                let operations = 2 * n_values * words * lanes * rows * steps;
                assert_eq!(run.operations, operations as u64, "{level}, {form:?}, {rows} rows");
                // A sum of some thousand roundings at most.
                let error = (f64::from(run.sum) - expected).abs();
                assert!(
                    error <= 1e-4 * expected,
                    "{level}, {form:?}, {rows} rows, {steps} steps: {} not {expected}",
                    run.sum
                );
            }
        }
    }
}
