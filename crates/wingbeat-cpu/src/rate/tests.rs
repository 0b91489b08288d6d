//! Rates on every instruction set and number of threads.

use super::*;
use crate::{CpuOptions, Level};
use wingbeat_backend::Backend;

fn backend(level: Level, threads: usize, exact: bool) -> CpuBackend {
    CpuBackend::new(CpuOptions { level: Some(level), threads: Some(threads), exact }).expect("threads")
}

#[test]
fn every_level_has_a_rate_for_every_type() {
    for level in Level::available() {
        for (threads, exact) in [(1, false), (3, false), (2, true)] {
            let backend = backend(level, threads, exact);
            for dtype in [DType::F32, DType::F16, DType::Q8_0, DType::Q4K] {
                let rate = backend.multiply_rate(dtype).expect("there are matrices of this type");
                println!("{level}, {threads} threads, exact {exact}, {}: {rate:.3e}", dtype.name());
                assert!((1e6..1e16).contains(&rate), "{level}, {}: {rate} operations a second", dtype.name());
            }
        }
    }
}

#[test]
fn the_arithmetic_is_that_of_the_type() {
    let (fast, exact) = (backend(Level::best(), 1, false), backend(Level::best(), 1, true));
    assert_eq!(form(&fast, DType::Q8_0), Some(Form::Int8));
    assert_eq!(form(&fast, DType::F32), Some(Form::F32));
    assert_eq!(form(&fast, DType::F16), form(&fast, DType::BF16));
    for dtype in [DType::F16, DType::Q8_0, DType::Q4K] {
        assert_eq!(form(&exact, dtype), Some(Form::F32));
    }
}
