//! The token shift of many rows against the reference, and its results in halves against floats.

use super::*;
use crate::{GpuOptions, Without, ops::check::are_halves_of};
use wingbeat_backend::{
    Backend, SlabKind, SlabSpec, StateLayout, conformance::Case, reference::Reference,
    tolerance::ELEMENTWISE_REL,
};

#[test]
fn shifted_inputs_agree_with_the_reference_and_halves_with_floats() {
    if crate::adapters().is_empty() {
        return eprintln!("skipped: this machine has no adapter");
    }
    for without in [Without::NOTHING, Without::ALL] {
        let backend = GpuBackend::new(&GpuOptions { without: Some(without), ..GpuOptions::default() })
            .expect("an adapter that is listed can be opened");
        for (lengths, width, mixes) in
            [(&[1; 5][..], 64, 6), (&[33, 1, 7], 72, 2), (&[150, 1, 2, 246], 256, 6), (&[3, 2], 1312, 6)]
        {
            check(&backend, lengths, width, mixes);
        }
    }
}

fn check(backend: &GpuBackend, lengths: &[usize], width: usize, n_mixes: usize) {
    let mut case = Case::new(backend, 1, format!("{lengths:?} C={width}"));
    let batch = case.batch(lengths, 2);
    let rows = batch.n_rows();
    let values = case.random.normals(rows * width);
    let (x, rx) = case.buffers(rows, width, &values);
    let (mut vectors, mut rvectors) = (Vec::new(), Vec::new());
    for _ in 0..n_mixes + 2 {
        let values = case.random.uniforms(width, 0.0, 1.0);
        let (vector, rvector) = case.vectors(&values);
        vectors.push(vector);
        rvectors.push(rvector);
    }
    let mut take = || (vectors.pop().expect("one is left"), rvectors.pop().expect("one is left"));
    let ((weight, rweight), (bias, rbias)) = (take(), take());
    let mixes: Vec<&Vector> = vectors.iter().collect();
    let norm = LayerNorm { weight, bias, eps: 1e-5 };
    let at = SlabAt { slab: 0, layer: 0 };
    let slab = SlabSpec { name: "shift", shape: vec![1, width], kind: SlabKind::Vectors };
    let layout = StateLayout { slabs: vec![slab] };
    let (states, mut rstates) = case.states(&layout, lengths.len());
    // The norm's results and the shifted inputs, and the states afterwards.
    let run = |halves| {
        let mut states: Vec<_> = states.iter().map(|s| backend.fork_state(s).expect("a state")).collect();
        let mut buffers: Vec<Buffer> =
            (0..n_mixes + 1).map(|_| backend.buffer(rows, width).expect("a buffer")).collect();
        let (normed, ys) = buffers.split_first_mut().expect("one more than mixes");
        let mut ys: Vec<&mut Buffer> = ys.iter_mut().collect();
        let mut pass = backend.begin(&batch, states.iter_mut().collect()).expect("a pass");
        token_shift(&mut pass, &x, Some((&norm, normed)), at, &mixes, &mut ys, halves);
        pass.submit().expect("a pass");
        (buffers, states)
    };
    let ((floats, after), (halves, after_halves)) = (run(false), run(true));
    let mut expected: Vec<_> =
        (0..n_mixes + 1).map(|_| Reference.buffer(rows, width).expect("a buffer")).collect();
    let (rnormed, rys) = expected.split_first_mut().expect("one more than mixes");
    let mut pass = Reference.begin(&batch, rstates.iter_mut().collect()).expect("a pass");
    let rnorm = LayerNorm::<Reference> { weight: rweight, bias: rbias, eps: 1e-5 };
    let (rmixes, mut rys) = (rvectors.iter().collect::<Vec<_>>(), rys.iter_mut().collect::<Vec<_>>());
    wingbeat_backend::Pass::norm_shift(&mut pass, &rx, &rnorm, rnormed, at, &rmixes, &mut rys);
    wingbeat_backend::Pass::submit(pass).expect("a pass");
    for (i, (found, expected)) in floats.iter().zip(&expected).enumerate() {
        case.compare(&format!("result {i}"), found, expected, rows, width, ELEMENTWISE_REL);
    }
    // The norm's results are floats in any case.
    case.compare("result 0 beside halves", &halves[0], &expected[0], rows, width, ELEMENTWISE_REL);
    for states in [after, after_halves] {
        case.compare_states(&layout, &states, &rstates, ELEMENTWISE_REL);
    }
    let read = |buffer: &Buffer, n: usize| {
        let mut values = vec![0.0; n];
        backend.read(buffer, 0, &mut values).expect("a readable buffer");
        values
    };
    for (floats, halves) in floats.iter().zip(&halves).skip(1) {
        are_halves_of(&read(halves, rows * width / 2), &read(floats, rows * width), &case.label);
    }
}
