//! One suite that every backend runs: each operation against [`Reference`](crate::reference::Reference), over odd
//! shapes, with limits from [`crate::tolerance`].
//!
//! A backend's test file says
//! ```ignore
//! wingbeat_backend::conformance_suite!(MyBackend::new());
//! ```
//! and gets a test for each operation. A failure prints the operation, shape, seed, worst index, expected, actual.

mod cases;
mod linear;
mod low_rank;
mod recurrences;
mod rows;
mod time_mix;

pub use cases::{Case, Random, random_matrix};
pub use linear::{embed, linear, linear_sparse};
pub use low_rank::low_rank_mix_v7;
pub use recurrences::{elementwise, time_mix_v6, v6_readout, wkv4, wkv6};
pub use rows::{layer_norm, select_rows, shift_linear, sum_rows, token_shift};
pub use time_mix::{states, time_mix_v7, v7_keys, v7_readout, wkv7};

/// Defines a test for each operation; `$backend` is an expression that makes the backend.
#[macro_export]
macro_rules! conformance_suite {
    ($backend:expr) => {
        $crate::conformance_suite!(@ $backend; embed linear linear_sparse layer_norm token_shift shift_linear select_rows sum_rows v7_keys wkv7 v7_readout time_mix_v7 low_rank_mix_v7 wkv4 wkv6 v6_readout time_mix_v6 elementwise states);
    };
    (@ $backend:expr; $($op:ident)*) => {
        $(#[test]
        fn $op() {
            $crate::conformance::$op(&$backend);
        })*
    };
}

#[cfg(test)]
mod tests {
    use crate::reference::Reference;
    // The reference agrees with itself, which shows that the suite runs; that it can fail, `cases` shows.
    conformance_suite!(Reference);
}
