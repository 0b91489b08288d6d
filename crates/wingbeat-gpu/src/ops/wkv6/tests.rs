//! Copies of results in halves, against the results.

use super::*;
use crate::{Buffer, GpuOptions, Without, ops::check::are_halves_of};
use wingbeat_backend::{Backend, GroupNorm, SlabAt, SlabKind, SlabSpec, StateLayout, conformance::Case};

#[test]
fn a_copy_in_halves_is_the_result() {
    if crate::adapters().is_empty() {
        return eprintln!("skipped: this machine has no adapter");
    }
    for without in [Without::NOTHING, Without::ALL] {
        let backend = GpuBackend::new(&GpuOptions { without: Some(without), ..GpuOptions::default() })
            .expect("an adapter that is listed can be opened");
        // Steps, where the adapter has halves as such, and prompts.
        let f16 = backend.shared.device.capabilities.f16;
        for lengths in [&[1, 1, 1][..], &[33, 16]].into_iter().filter(|lengths| f16 || lengths[0] > 1) {
            check(&backend, lengths, 2, 64);
        }
    }
}

fn check(backend: &GpuBackend, lengths: &[usize], heads: usize, n: usize) {
    let width = heads * n;
    let mut case = Case::new(backend, 1, format!("{lengths:?}"));
    let batch = case.batch(lengths, 2);
    let rows = batch.n_rows();
    let buffers: Vec<Buffer> = (0..5)
        .map(|_| {
            let values = case.random.uniforms(rows * width, 0.2, 1.0);
            case.buffers(rows, width, &values).0
        })
        .collect();
    let [r, w, k, v, g] = &buffers[..] else { unreachable!("five were made") };
    let [u, weight, bias] = [(); 3].map(|()| {
        let values = case.random.normals(width);
        case.vectors(&values).0
    });
    let ln_x = GroupNorm { weight, bias, eps: 64e-5 };
    let shape = vec![1, heads, n, n];
    let layout = StateLayout { slabs: vec![SlabSpec { name: "wkv", shape, kind: SlabKind::KeyMatrices }] };
    let mut states: Vec<_> = lengths.iter().map(|_| backend.state(&layout).expect("a state")).collect();
    let mut y = backend.buffer(rows, width).expect("a buffer");
    let copy = backend.buffer(rows, width / 2).expect("a buffer");
    let mut pass = backend.begin(&batch, states.iter_mut().collect()).expect("a pass");
    let state = SlabAt { slab: 0, layer: 0 };
    let wkv = Wkv6 { r, w: Decay::Tokens(w), k, v, y: &mut y, u: &u, state, head_size: n };
    let args = TimeMixV6 { wkv, g: Some(g), ln_x: &ln_x };
    time_mix_v6(&mut pass, args, Some(Half { at: copy.at() }));
    wingbeat_backend::Pass::submit(pass).expect("a pass");
    let (mut floats, mut halves) = (vec![0.0; rows * width], vec![0.0; rows * width / 2]);
    backend.read(&y, 0, &mut floats).expect("a readable buffer");
    backend.read(&copy, 0, &mut halves).expect("a readable buffer");
    are_halves_of(&halves, &floats, &case.label);
}
