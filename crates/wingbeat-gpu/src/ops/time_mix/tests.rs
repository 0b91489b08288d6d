//! Copies of results in halves, against the results.

use super::*;
use crate::{Buffer, GpuOptions, Without, ops::check::are_halves_of};
use wingbeat_backend::{
    Backend, GroupNorm, SlabAt, SlabKind, SlabSpec, StateLayout, TimeMixV7, conformance::Case,
};

#[test]
fn a_copy_in_halves_is_the_result() {
    if crate::adapters().is_empty() {
        return eprintln!("skipped: this machine has no adapter");
    }
    for without in [Without::NOTHING, Without::ALL] {
        let backend = GpuBackend::new(&GpuOptions { without: Some(without), ..GpuOptions::default() })
            .expect("an adapter that is listed can be opened");
        // One token each, chunks, and neither.
        for lengths in [&[1, 1, 1][..], &[33, 16], &[5, 3, 2]] {
            check(&backend, lengths, 2, 64);
        }
    }
}

fn check(backend: &GpuBackend, lengths: &[usize], heads: usize, head_size: usize) {
    let width = heads * head_size;
    let mut case = Case::new(backend, 1, format!("{lengths:?}"));
    let batch = case.batch(lengths, 2);
    let rows = batch.n_rows();
    let mut buffers: Vec<Buffer> = (0..10)
        .map(|_| {
            // Decays among them: all are above 0.545.
            let values = case.random.uniforms(rows * width, 0.55, 1.0);
            case.buffers(rows, width, &values).0
        })
        .collect();
    let vectors: Vec<_> = (0..5)
        .map(|_| {
            let values = case.random.normals(width);
            case.vectors(&values).0
        })
        .collect();
    let Ok([k_k, k_a, r_k, weight, bias]) = <[_; 5]>::try_from(vectors) else {
        unreachable!("five were made")
    };
    let ln_x = GroupNorm { weight, bias, eps: 64e-5 };
    let shape = vec![1, heads, head_size, head_size];
    let layout = StateLayout { slabs: vec![SlabSpec { name: "wkv", shape, kind: SlabKind::HeadMatrices }] };
    let mut states: Vec<_> = lengths.iter().map(|_| backend.state(&layout).expect("a state")).collect();
    let copy = backend.buffer(rows, width / 2).expect("a buffer");
    let [r, w, k, v, v_first, gate, a, g, kk, y] = &mut buffers[..] else { unreachable!("ten were made") };
    let mut pass = backend.begin(&batch, states.iter_mut().collect()).expect("a pass");
    let args = TimeMixV7 {
        r: &*r,
        w: &*w,
        k,
        v,
        v_first,
        v_gate: Some(&*gate),
        a: &*a,
        g: &*g,
        kk,
        y: &mut *y,
        k_k: &k_k,
        k_a: &k_a,
        r_k: &r_k,
        ln_x: &ln_x,
        state: SlabAt { slab: 0, layer: 0 },
        head_size,
    };
    step::time_mix_v7(&mut pass, args, Some(Half { at: copy.at() }));
    wingbeat_backend::Pass::submit(pass).expect("a pass");
    let (mut floats, mut halves) = (vec![0.0; rows * width], vec![0.0; rows * width / 2]);
    backend.read(y, 0, &mut floats).expect("a readable buffer");
    backend.read(&copy, 0, &mut halves).expect("a readable buffer");
    are_halves_of(&halves, &floats, &case.label);
}
