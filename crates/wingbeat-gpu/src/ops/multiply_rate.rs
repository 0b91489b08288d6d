//! How fast the device multiplies, measured: what the speed of products of many rows is held against.

use super::{cooperative, trial::Trial};
use crate::{Shared, kernels::Key, profile::Cost, weights::Layout};
use wingbeat_backend::BackendError;

const WARPS: u32 = 4;
/// Fragments that a warp multiplies with each other: as many sums as the largest tile of `linear_cooperative` has.
const FRAGMENTS: u32 = 4;
/// Steps between two looks at the loop's counter.
const UNROLLED: u32 = 4;
/// Sums of four that a thread has in f32, and how often each takes part between two looks at the loop's counter.
const SUMS: u32 = 8;
/// Steps of a workgroup: enough to make its start and end small, in matrices some microseconds.
const STEPS: u32 = 256;
/// Workgroups in the first trial; a multiple of them fills a large device many times over, which makes the last ones, that
/// leave some of it idle, small.
const FEWEST: u32 = 256;
const MOST: u32 = 16384;
/// Time that a trial takes at least, unless it has the most workgroups.
const LEAST_SECONDS: f64 = 1e-3;

#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub(crate) struct MultiplyRateParams {
    n: [u32; 4],
    never: [u32; 4],
}

fn variant(cooperative: bool) -> Key {
    super::key(
        "multiply_rate",
        &[
            ("COOPERATIVE", u32::from(cooperative)),
            ("WARPS", WARPS),
            ("FRAGMENTS", FRAGMENTS),
            ("SUMS", SUMS),
            ("UNROLLED", UNROLLED),
        ],
    )
}

/// Operations of a workgroup, a multiplication with an addition being two.
fn operations(cooperative: bool) -> u64 {
    let a_step = match cooperative {
        true => WARPS * FRAGMENTS * FRAGMENTS * 16 * 16 * 16,
        false => WARPS * 32 * SUMS * 4,
    };
    2 * u64::from(a_step) * u64::from(STEPS)
}

/// Operations a second of the best of several runs, in the arithmetic of products of many rows with matrices kept as
/// `layout`. Where values are two halves each, what a product does three times counts once.
pub(crate) fn multiply_rate(shared: &Shared, layout: Layout) -> Result<f64, BackendError> {
    let cooperative = shared.device.capabilities.cooperative && !shared.exact;
    let params = MultiplyRateParams { n: [STEPS, 0, 0, 0], never: [u32::MAX; 4] };
    let mut n_workgroups = FEWEST;
    loop {
        let flops = operations(cooperative) * u64::from(n_workgroups);
        let trial = Trial {
            label: "multiply_rate",
            key: variant(cooperative),
            params: bytemuck::bytes_of(&params),
            weights: None,
            n_workgroups,
            cost: Cost { bytes: 0, flops },
        };
        let seconds = trial.seconds(shared)?;
        if seconds >= LEAST_SECONDS || n_workgroups >= MOST {
            let times = if cooperative && cooperative::splits(shared, layout) { 3.0 } else { 1.0 };
            return Ok(flops as f64 / seconds / times);
        }
        n_workgroups = (n_workgroups * 4).min(MOST);
    }
}

/// The kernel of this file.
#[cfg(test)]
pub(super) fn checked() -> Vec<super::check::Checked> {
    vec![checked!(MultiplyRateParams { n, never }, [variant(true), variant(false)])]
}
