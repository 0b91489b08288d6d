//! Copies of results in halves, against the results, and more results than one run has.

use super::*;
use crate::{GpuBackend, ops::check::are_halves_of};
use wingbeat_backend::{Backend, StateLayout, conformance::Case, reference::Reference};

#[test]
fn copies_in_halves_are_the_results() {
    let Some(backend) = crate::device::tests::open() else { return };
    let f16 = backend.shared.device.capabilities.f16;
    for (rows, n_results, halves) in [(9, 5, f16), (3, 11, false), (2, 11, f16)] {
        check(&backend, rows, n_results, halves);
    }
}

fn check(backend: &GpuBackend, rows: usize, n_results: usize, halves: bool) {
    const WIDTH: usize = 72;
    let mut case = Case::new(backend, 1, format!("{rows} rows, {n_results} results"));
    let batch = case.batch(&[rows], 2);
    let mut take = |n: usize| {
        let values = case.random.normals(n);
        (case.buffers(rows, WIDTH, &values[..rows * WIDTH]), case.vectors(&values[..WIDTH]))
    };
    let [((x, rx), _), ((previous, rprevious), _)] = [(); 2].map(|()| take(rows * WIDTH));
    let (mut ys, mut rys, mut mixes, mut rmixes) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for _ in 0..n_results {
        let ((y, ry), (mix, rmix)) = take(rows * WIDTH);
        ys.push(y);
        rys.push(ry);
        mixes.push(mix);
        rmixes.push(rmix);
    }
    let copies: Vec<Buffer> = ys.iter().map(|_| backend.buffer(rows, WIDTH / 2).expect("a buffer")).collect();
    let places: Vec<Half> = copies.iter().map(|copy| Half { at: copy.at() }).collect();
    let layout = StateLayout { slabs: Vec::new() };
    let mut state = backend.state(&layout).expect("a state");
    let mut pass = backend.begin(&batch, [&mut state].into_iter().collect()).expect("a pass");
    let mixes: Vec<&Vector> = mixes.iter().collect();
    let mut outs: Vec<&mut Buffer> = ys.iter_mut().collect();
    lerp(&mut pass, &x, &previous, &mixes, &mut outs, halves.then_some(&places));
    wingbeat_backend::Pass::submit(pass).expect("a pass");
    let mut state = Reference.state(&layout).expect("a state");
    let mut pass = Reference.begin(&batch, [&mut state].into_iter().collect()).expect("a pass");
    let (rmixes, mut routs) = (rmixes.iter().collect::<Vec<_>>(), rys.iter_mut().collect::<Vec<_>>());
    wingbeat_backend::Pass::lerp(&mut pass, &rx, &rprevious, &rmixes, &mut routs);
    wingbeat_backend::Pass::submit(pass).expect("a pass");
    for (i, ((y, ry), copy)) in ys.iter().zip(&rys).zip(&copies).enumerate() {
        let relative = wingbeat_backend::tolerance::ELEMENTWISE_REL;
        case.compare(&format!("result {i}"), y, ry, rows, WIDTH, relative);
        if halves {
            let (mut floats, mut words) = (vec![0.0; rows * WIDTH], vec![0.0; rows * WIDTH / 2]);
            backend.read(y, 0, &mut floats).expect("a readable buffer");
            backend.read(copy, 0, &mut words).expect("a readable buffer");
            are_halves_of(&words, &floats, &format!("{}, result {i}", case.label));
        }
    }
}
