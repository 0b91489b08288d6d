//! Every kernel against its portable twin, on every instruction set of this processor, and both against sums in
//! f64. The vector operations below the kernels are tested in `simd/tests.rs`, whole operations by the conformance
//! suite.

mod functions;
mod multiply_rate;
mod products;
mod recurrences;
mod rows;
mod tiles;
mod time_mix;

use super::Kernels;
use crate::level::Level;
use proptest::test_runner::Config;

/// Unit round-off of f32.
const EPS: f64 = f32::EPSILON as f64 / 2.0;

/// Properties run `cases` times; a failure prints its operands' seed and shape, so no file of them is kept.
fn config(cases: u32) -> Config {
    Config { cases, failure_persistence: None, ..Config::default() }
}

fn portable() -> &'static Kernels {
    Kernels::of(Level::Scalar).expect("portable code runs anywhere")
}

/// The tables of every level that this processor has, the portable one first.
fn tables() -> Vec<&'static Kernels> {
    let tables: Vec<_> = Level::available().into_iter().filter_map(Kernels::of).collect();
    assert_eq!(tables[0].level, Level::Scalar);
    tables
}

/// Compares values with what they should be, each within its limit, and prints the worst where they differ.
#[track_caller]
fn compare(what: impl std::fmt::Display, actual: &[f32], expected: &[f64], limit: impl Fn(usize) -> f64) {
    assert_eq!(actual.len(), expected.len(), "{what}");
    let excess = |i: usize| {
        let difference = (f64::from(actual[i]) - expected[i]).abs();
        if difference.is_nan() { f64::INFINITY } else { difference / limit(i) }
    };
    let Some(worst) = (0..actual.len()).max_by(|&i, &j| excess(i).total_cmp(&excess(j))) else { return };
    assert!(
        excess(worst) <= 1.0,
        "{what}: worst at {worst}: expected {}, actual {}, limit {:.3e}",
        expected[worst],
        actual[worst],
        limit(worst)
    );
}

fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&v| f64::from(v)).collect()
}

/// Bits, with all NaNs alike: their payloads are the processor's business.
fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|v| if v.is_nan() { f32::NAN.to_bits() } else { v.to_bits() }).collect()
}

fn largest(values: &[f64]) -> f64 {
    values.iter().fold(0.0, |m, v| m.max(v.abs()))
}

#[test]
fn levels_are_named() {
    for table in tables() {
        assert_eq!(Level::parse(table.level.name()), Some(table.level));
    }
    if tables().len() == 1 {
        eprintln!("skipped: this processor has the portable level only, which has no twin here");
    }
}
