//! Copies of states, made where they lie: all layers of any number of copies in one submission.

use super::{COPY_THREADS, key, moving, plain};
use crate::{
    Pass,
    kernels::Key,
    pass::Work,
    state::{Chunk, Kind},
};

/// Targets that a thread writes to, one after the other.
const TARGETS: usize = 8;

#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub(crate) struct ForkStateParams {
    at: [u32; 4],
}

/// Records the copies of a slot into others of its chunk.
pub(crate) fn fork_state(pass: &mut Pass<'_>, kind: &Kind, chunk: &Chunk, from: u32, targets: &[u32]) {
    let fours = kind.slot_floats as usize / 4;
    let list = pass.list(targets.iter().copied());
    let params = ForkStateParams { at: [fours as u32, from, targets.len() as u32, list] };
    let grid = [fours.div_ceil(COPY_THREADS as usize), targets.len().div_ceil(TARGETS), 1];
    for layer in &chunk.layers {
        let cost = moving(fours * 4 * (1 + targets.len()));
        pass.dispatch(
            "fork_state",
            &params,
            Work { state: Some(layer.clone()), ..plain(variant(), grid, cost) },
        );
    }
}

fn variant() -> Key {
    key("fork_state", &[("THREADS", COPY_THREADS), ("TARGETS", TARGETS as u32), ("STATES4", 1)])
}

/// Every kernel of this file, in each variant.
#[cfg(test)]
pub(super) fn checked() -> Vec<super::check::Checked> {
    vec![checked!(ForkStateParams { at }, [variant()])]
}
