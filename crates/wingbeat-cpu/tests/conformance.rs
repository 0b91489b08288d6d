//! The backend conformance suite, on every instruction set of this processor, with int8 and exact products, and on
//! one and several threads.

use wingbeat_cpu::{CpuBackend, CpuOptions, Level};

fn backend(level: Level, threads: usize, exact: bool) -> CpuBackend {
    CpuBackend::new(CpuOptions { level: Some(level), threads: Some(threads), exact }).expect("threads")
}

/// A suite for a level; where the processor lacks it, its tests say so and pass.
macro_rules! suite {
    ($module:ident, $level:expr, $threads:expr, $exact:expr) => {
        mod $module {
            use super::*;
            fn run(op: fn(&CpuBackend)) {
                if $level.is_available() {
                    op(&backend($level, $threads, $exact));
                } else {
                    eprintln!("skipped: this processor has no {}", $level);
                }
            }
            suite!(@ embed linear linear_sparse layer_norm token_shift shift_linear select_rows sum_rows v7_keys wkv7 v7_readout time_mix_v7 low_rank_mix_v7 states);
        }
    };
    (@ $($op:ident)*) => {
        $(#[test]
        fn $op() {
            run(wingbeat_backend::conformance::$op::<CpuBackend>);
        })*
    };
}

suite!(scalar, Level::Scalar, 1, false);
suite!(neon, Level::Neon, 1, false);
suite!(neon_dotprod, Level::NeonDot, 1, false);
suite!(avx2, Level::Avx2, 1, false);
suite!(avx_vnni, Level::AvxVnni, 1, false);
suite!(avx512, Level::Avx512, 1, false);
suite!(best_three_threads, Level::best(), 3, false);
suite!(best_exact, Level::best(), 2, true);
