//! Layer norm, token shift, selection and sums of rows.

use super::{Case, random_matrix};
use crate::{
    Activation, Backend, LayerNorm, Linear, MatrixSource, Orientation, Pass, ShiftLinear, SlabAt, SlabKind,
    SlabSpec, StateLayout,
    reference::Reference,
    tolerance::{ELEMENTWISE_REL, product},
};
use wingbeat_format::DType;

/// Batches of sequences: one token, many, mixed.
const BATCHES: [&[usize]; 5] = [&[1], &[31], &[1, 1, 1, 1, 1], &[33, 1, 2], &[5, 64, 1, 7]];
/// Widths: lanes, no multiple of lanes, tiny.
const WIDTHS: [usize; 5] = [64, 96, 131, 768, 3];

/// [`Pass::layer_norm`], with rows of very different sizes.
pub fn layer_norm<B: Backend>(backend: &B) {
    for (seed, (lengths, width)) in shapes().enumerate() {
        let mut case = Case::new(backend, seed as u64, format!("layer_norm {lengths:?} C={width}"));
        let batch = case.batch(lengths, 2);
        let rows = batch.n_rows();
        let mut values = case.random.normals(rows * width);
        for (t, row) in values.chunks_exact_mut(width).enumerate() {
            let scale = [1.0, 1e-3, 1e3][t % 3];
            row.iter_mut().for_each(|x| *x = *x * scale + scale);
        }
        let (weight, bias) = (case.random.normals(width), case.random.normals(width));
        let (x, rx) = case.buffers(rows, width, &values);
        let (mut y, mut ry) = case.buffers(rows, width, &values);
        let ((weight, rweight), (bias, rbias)) = (case.vectors(&weight), case.vectors(&bias));
        let layout = StateLayout { slabs: Vec::new() };
        let (mut states, mut rstates) = case.states(&layout, lengths.len());
        let mut pass = backend.begin(&batch, states.iter_mut().collect()).expect("a pass");
        pass.layer_norm(&x, &LayerNorm { weight, bias, eps: 1e-5 }, &mut y);
        pass.submit().expect("a pass");
        let mut pass = Reference.begin(&batch, rstates.iter_mut().collect()).expect("a pass");
        pass.layer_norm(&rx, &LayerNorm { weight: rweight, bias: rbias, eps: 1e-5 }, &mut ry);
        pass.submit().expect("a pass");
        case.compare("y", &y, &ry, rows, width, ELEMENTWISE_REL);
    }
}

/// [`Pass::token_shift`] and [`Pass::norm_shift`]: within sequences, from states, and back to states.
pub fn token_shift<B: Backend>(backend: &B) {
    for (seed, (lengths, width)) in shapes().enumerate() {
        for fused in [false, true] {
            let label = format!("token_shift {lengths:?} C={width} fused={fused}");
            let mut case = Case::new(backend, seed as u64, label);
            let batch = case.batch(lengths, 2);
            let rows = batch.n_rows();
            let values = case.random.normals(rows * width);
            let mixes: Vec<Vec<f32>> = (0..6).map(|_| case.random.uniforms(width, 0.0, 1.0)).collect();
            let (weight, bias) = (case.random.normals(width), case.random.normals(width));
            let slab = SlabSpec { name: "shift", shape: vec![3, width], kind: SlabKind::Vectors };
            let layout = StateLayout { slabs: vec![slab] };
            let (mut states, mut rstates) = case.states(&layout, lengths.len());
            let args = Shift { values: &values, mixes: &mixes, weight: &weight, bias: &bias, width, fused };
            let ys = args.on(backend, &batch, &mut states);
            let rys = args.on(&Reference, &batch, &mut rstates);
            // The last one is the norm, where there is one.
            for (i, (y, ry)) in ys.iter().zip(&rys).enumerate() {
                case.compare(&format!("y{i}"), y, ry, rows, width, ELEMENTWISE_REL);
            }
            case.compare_states(&layout, &states, &rstates, ELEMENTWISE_REL);
        }
    }
}

struct Shift<'a> {
    values: &'a [f32],
    mixes: &'a [Vec<f32>],
    weight: &'a [f32],
    bias: &'a [f32],
    width: usize,
    fused: bool,
}

impl Shift<'_> {
    fn on<B: Backend>(&self, backend: &B, batch: &crate::Batch, states: &mut [B::State]) -> Vec<B::Buffer> {
        let case = Case::new(backend, 0, String::new());
        let rows = batch.n_rows();
        let x = case.buffers(rows, self.width, self.values).0;
        let mut normed = backend.buffer(rows, self.width).expect("a buffer");
        let mixes: Vec<B::Vector> = self.mixes.iter().map(|mix| case.vectors(mix).0).collect();
        let mixes: Vec<&B::Vector> = mixes.iter().collect();
        let mut ys: Vec<B::Buffer> =
            mixes.iter().map(|_| backend.buffer(rows, self.width).expect("a buffer")).collect();
        let mut outs: Vec<&mut B::Buffer> = ys.iter_mut().collect();
        let at = SlabAt { slab: 0, layer: 1 };
        let mut pass = backend.begin(batch, states.iter_mut().collect()).expect("a pass");
        if self.fused {
            let (weight, bias) = (case.vectors(self.weight).0, case.vectors(self.bias).0);
            let norm = LayerNorm { weight, bias, eps: 1e-5 };
            pass.norm_shift(&x, &norm, &mut normed, at, &mixes, &mut outs);
        } else {
            pass.token_shift(&x, at, &mixes, &mut outs);
        }
        pass.submit().expect("a pass");
        if self.fused {
            ys.push(normed);
        }
        ys
    }
}

/// [`Pass::shift_linear`]: sequences of all lengths, several products of one shifted input, states moved on, whatever
/// comes next.
pub fn shift_linear<B: Backend>(backend: &B) {
    let mixed = [
        (DType::F16, 64, 1),
        (DType::Q8_0, 96, 0),
        (DType::F32, 17, 1),
        (DType::Q4K, 64, 2),
        (DType::Q8_0, 32, 0),
    ];
    let quantized = [
        (DType::Q8_0, 96, 1),
        (DType::Q8_0, 17, 0),
        (DType::Q4K, 40, 2),
        (DType::Q6K, 64, 1),
        (DType::Q5_1, 3, 2),
    ];
    let layer = [(DType::Q8_0, 128, 0), (DType::F16, 24, 1), (DType::Q8_0, 64, 2), (DType::F32, 9, 0)];
    let floats = [(DType::F16, 64, 1), (DType::BF16, 9, 0), (DType::F32, 17, 2)];
    let next = [None, Some((DType::F16, false)), Some((DType::F16, true)), Some((DType::Q8_0, false))];
    let mut n = 0;
    for lengths in [&[1usize][..], &[1, 1], &[1, 1, 1], &[1; 4], &[1, 1, 3], &[40], &[7, 1, 30, 2], &[1; 33]]
    {
        for (jobs, width) in [
            (&mixed[..], 256),
            (&quantized, 256),
            (&layer, 1312),
            (&floats, 256),
            (&floats, 1312),
            (&floats, 67),
        ] {
            check_shift_linear(backend, n as u64, lengths, jobs, width, next[n % next.len()]);
            n += 1;
        }
        // Else each kind of jobs would always meet the same.
        n += 1;
    }
}

/// One call, followed by a product of the first result with a matrix that may be one of sparse inputs.
fn check_shift_linear<B: Backend>(
    backend: &B,
    seed: u64,
    lengths: &[usize],
    jobs: &[(DType, usize, usize)],
    width: usize,
    next: Option<(DType, bool)>,
) {
    let mut case =
        Case::new(backend, seed, format!("shift_linear, sequences of {lengths:?} C={width} then {next:?}"));
    let batch = case.batch(lengths, 2);
    let rows = batch.n_rows();
    let random = &mut case.random;
    let operands = ShiftProducts {
        values: random.normals(rows * width),
        weight: random.normals(width),
        bias: random.normals(width),
        mixes: (0..3).map(|_| random.uniforms(width, 0.0, 1.0)).collect(),
        sources: jobs
            .iter()
            .map(|&(dtype, rows, _)| random_matrix(random, dtype, rows, width, Orientation::RowMajor))
            .collect(),
        next: next.map(|(dtype, sparse_input)| {
            let next = random_matrix(random, dtype, 32, jobs[0].1, Orientation::RowMajor);
            MatrixSource { sparse_input, ..next }
        }),
        mix_of: jobs.iter().map(|&(_, _, mix)| mix).collect(),
    };
    let slab = SlabSpec { name: "shift", shape: vec![2, width], kind: SlabKind::Vectors };
    let layout = StateLayout { slabs: vec![slab] };
    let (mut states, mut rstates) = case.states(&layout, lengths.len());
    let (_, actual) = operands.on(backend, &batch, &mut states);
    let (shifted, expected) = operands.on(&Reference, &batch, &mut rstates);
    for (i, source) in operands.sources.iter().enumerate() {
        let precision = backend.activation_precision(&backend.matrix(source).expect("a matrix"), rows);
        let exact = Reference.matrix(source).expect("a matrix").values();
        let mut x = vec![0.0; rows * width];
        Reference.read(&shifted[operands.mix_of[i]], 0, &mut x).expect("a readable buffer");
        let (mut a, mut e) = (vec![0.0; rows * source.rows], vec![0.0; rows * source.rows]);
        backend.read(&actual[i], 0, &mut a).expect("a readable buffer");
        Reference.read(&expected[i], 0, &mut e).expect("a readable buffer");
        for t in 0..rows {
            let x: Vec<f64> = x[t * width..][..width].iter().map(|&x| f64::from(x)).collect();
            // The shifted input itself may be off by what an elementwise operation may.
            let largest = x.iter().fold(0.0f64, |m, x| m.max(x.abs()));
            let limit = |row: usize| {
                let w = &exact[row * width..][..width];
                let size: f64 = w.iter().map(|w| w.abs()).sum();
                product(w, &x, precision) + ELEMENTWISE_REL * largest * size
            };
            let at = t * source.rows..(t + 1) * source.rows;
            case.compare_row(&format!("job {i} row {t}"), &a[at.clone()], &e[at], limit);
        }
    }
    case.compare_states(&layout, &states, &rstates, ELEMENTWISE_REL);
}

struct ShiftProducts {
    values: Vec<f32>,
    weight: Vec<f32>,
    bias: Vec<f32>,
    mixes: Vec<Vec<f32>>,
    sources: Vec<MatrixSource>,
    mix_of: Vec<usize>,
    next: Option<MatrixSource>,
}

impl ShiftProducts {
    /// Shifted inputs (of the reference only) and products.
    fn on<B: Backend>(
        &self,
        backend: &B,
        batch: &crate::Batch,
        states: &mut [B::State],
    ) -> (Vec<B::Buffer>, Vec<B::Buffer>) {
        let case = Case::new(backend, 0, String::new());
        let (rows, width) = (batch.n_rows(), self.weight.len());
        let buffer = |width| backend.buffer(rows, width).expect("a buffer");
        let x = case.buffers(rows, width, &self.values).0;
        let norm =
            LayerNorm { weight: case.vectors(&self.weight).0, bias: case.vectors(&self.bias).0, eps: 1e-5 };
        let mixes: Vec<B::Vector> = self.mixes.iter().map(|mix| case.vectors(mix).0).collect();
        let mixes: Vec<&B::Vector> = mixes.iter().collect();
        let weights: Vec<B::Matrix> =
            self.sources.iter().map(|source| backend.matrix(source).expect("a matrix")).collect();
        let (mut normed, mut ys) = (buffer(width), mixes.iter().map(|_| buffer(width)).collect::<Vec<_>>());
        let mut outs: Vec<B::Buffer> = self.sources.iter().map(|source| buffer(source.rows)).collect();
        let mut jobs: Vec<ShiftLinear<'_, B>> = Vec::new();
        for ((weight, &mix), y) in weights.iter().zip(&self.mix_of).zip(&mut outs) {
            jobs.push(ShiftLinear { weight, mix, y, activation: Activation::None });
        }
        let mut shifted: Vec<&mut B::Buffer> = ys.iter_mut().collect();
        let at = SlabAt { slab: 0, layer: 1 };
        let mut pass = backend.begin(batch, states.iter_mut().collect()).expect("a pass");
        pass.shift_linear(&x, &norm, &mut normed, at, &mixes, &mut shifted, &mut jobs);
        drop(jobs);
        let next =
            self.next.as_ref().map(|next| (backend.matrix(next).expect("a matrix"), buffer(next.rows)));
        if let Some((weight, mut y)) = next {
            pass.linear(&mut [Linear::new(&weight, &outs[0], &mut y, Activation::None)]);
            outs.push(y);
        }
        pass.submit().expect("a pass");
        (ys, outs)
    }
}

/// [`Pass::select_rows`], and that later operations see the selected rows only.
pub fn select_rows<B: Backend>(backend: &B) {
    let mut case = Case::new(backend, 1, "select_rows".to_owned());
    let batch = case.batch(&[4, 1, 9], 2);
    let width = 48;
    let values = case.random.normals(batch.n_rows() * width);
    let (weight, bias) = (case.random.normals(width), case.random.normals(width));
    let (x, rx) = case.buffers(batch.n_rows(), width, &values);
    let ((weight, rweight), (bias, rbias)) = (case.vectors(&weight), case.vectors(&bias));
    let layout = StateLayout { slabs: Vec::new() };
    let (mut states, mut rstates) = case.states(&layout, 3);
    let selected = [13, 0, 4, 4];
    let (mut some, mut rsome) = case.buffers(4, width, &values[..4 * width]);
    let (mut y, mut ry) = case.buffers(4, width, &values[..4 * width]);
    let mut pass = backend.begin(&batch, states.iter_mut().collect()).expect("a pass");
    pass.select_rows(&x, &selected, &mut some);
    pass.layer_norm(&some, &LayerNorm { weight, bias, eps: 1e-5 }, &mut y);
    pass.submit().expect("a pass");
    let mut pass = Reference.begin(&batch, rstates.iter_mut().collect()).expect("a pass");
    pass.select_rows(&rx, &selected, &mut rsome);
    pass.layer_norm(&rsome, &LayerNorm { weight: rweight, bias: rbias, eps: 1e-5 }, &mut ry);
    pass.submit().expect("a pass");
    case.compare("selected", &some, &rsome, 4, width, 0.0);
    case.compare("normed", &y, &ry, 4, width, ELEMENTWISE_REL);
}

/// [`Pass::sum_rows`], of all rows and of selected ones.
pub fn sum_rows<B: Backend>(backend: &B) {
    for (seed, width) in WIDTHS.into_iter().enumerate() {
        let mut case = Case::new(backend, seed as u64, format!("sum_rows C={width}"));
        let batch = case.batch(&[70, 1, 34], 2);
        let rows = batch.n_rows();
        let values = case.random.normals(rows * width);
        let ((x, rx), (mut some, mut rsome)) =
            (case.buffers(rows, width, &values), case.buffers(4, width, &values[..4 * width]));
        let ranges = [0..64, 64..70, 70..71, 71..105];
        let (mut all, mut rall) = case.buffers(4, width, &values[..4 * width]);
        let (mut y, mut ry) = case.buffers(2, width, &values[..2 * width]);
        let layout = StateLayout { slabs: Vec::new() };
        let (mut states, mut rstates) = case.states(&layout, 3);
        let mut pass = backend.begin(&batch, states.iter_mut().collect()).expect("a pass");
        pass.sum_rows(&x, &ranges, &mut all);
        pass.select_rows(&x, &[104, 0, 3, 3], &mut some);
        pass.sum_rows(&some, &[0..1, 1..4], &mut y);
        pass.submit().expect("a pass");
        let mut pass = Reference.begin(&batch, rstates.iter_mut().collect()).expect("a pass");
        pass.sum_rows(&rx, &ranges, &mut rall);
        pass.select_rows(&rx, &[104, 0, 3, 3], &mut rsome);
        pass.sum_rows(&rsome, &[0..1, 1..4], &mut ry);
        pass.submit().expect("a pass");
        case.compare("sums", &all, &rall, 4, width, ELEMENTWISE_REL);
        case.compare("sums of selected rows", &y, &ry, 2, width, ELEMENTWISE_REL);
    }
}

fn shapes() -> impl Iterator<Item = (&'static [usize], usize)> {
    BATCHES.into_iter().flat_map(|lengths| WIDTHS.into_iter().map(move |width| (lengths, width)))
}
