//! RWKV-4's recurrence.

use super::{key, plain};
use crate::{
    GpuBackend, Pass,
    kernels::Key,
    pass::{Carry, Work},
    profile::Cost,
};
use wingbeat_backend::Wkv4;

/// Threads of a workgroup: small ones, so that the channels of one sequence are shared out.
const THREADS: u32 = 64;
/// Tokens that a thread asks for at once, where sequences have several.
const AHEAD: u32 = 8;

#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub(crate) struct Wkv4Params {
    at: [u32; 4],
    more: [u32; 4],
    slabs: [u32; 4],
    vectors: [u32; 4],
    carry: [[u32; 4]; 2],
}

/// The kernel for sequences of one token, or of several.
fn variant(has_long: bool) -> Key {
    key("wkv4", &[("THREADS", THREADS), ("AHEAD", if has_long { AHEAD } else { 1 })])
}

pub(super) fn wkv4(pass: &mut Pass<'_>, args: Wkv4<'_, GpuBackend>) {
    let Wkv4 { r, k, v, y, decay, first, aa, bb, pp } = args;
    assert!(aa.layer == bb.layer && aa.layer == pp.layer, "a layer's slabs lie in one buffer");
    let width = y.width;
    let chunks = std::mem::take(&mut pass.chunks);
    for chunk in &chunks {
        let (buffer, aa, slot) = pass.state_at(chunk, aa);
        let [bb, pp] = [bb, pp].map(|slab| pass.state_at(chunk, slab).1);
        let carry = pass.take_carry([y.at()].into_iter(), buffer.as_ref().map(|(id, _)| *id));
        let params = Wkv4Params {
            at: [r.at(), k.at(), v.at(), y.at()],
            more: [width as u32, chunk.sequences_at, slot, 0],
            slabs: [aa, bb, pp, 0],
            vectors: [decay.at(), first.at(), 0, 0],
            carry: Carry::params(&carry),
        };
        let values = (chunk.n_rows as usize * width) as u64;
        let states = (chunk.n_sequences as usize * width) as u64;
        // Four exponentials and sixteen other operations a value.
        let cost = Cost { bytes: (values * 4 + states * 6) * 4, flops: values * 20 };
        let grid = [width.div_ceil(THREADS as usize), chunk.n_sequences as usize, 1];
        let work = plain(variant(chunk.has_long), grid, cost);
        pass.dispatch("wkv4", &params, Carry::with(carry, Work { state: buffer, ..work }));
    }
    pass.chunks = chunks;
}

/// The kernel of this file, in each variant.
#[cfg(test)]
pub(super) fn checked() -> Vec<super::check::Checked> {
    let keys = [false, true].map(variant);
    let keys: Vec<_> = keys.into_iter().flat_map(|key| [super::linear::tests::carrying(&key), key]).collect();
    vec![checked!(Wkv4Params { at, more, slabs, vectors, carry }, keys)]
}
