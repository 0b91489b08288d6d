//! Matrix products: which kernel for how many rows, and groups of products in one dispatch.

use super::{key, sparse};
use crate::{GpuBackend, Matrix, Pass, Shared, kernels::Key, pass::Work, profile::Cost, weights::Part};
use wingbeat_backend::{Activation, Linear, tolerance::ActivationPrecision};

/// Products of one dispatch at most.
const MOST_JOBS: usize = 8;
/// Up to this many rows of activations, each weight is read once for a few of them; more go through tiles.
const FEW_ROWS: usize = 8;
/// Threads of a workgroup in `linear_rows`.
const ROWS_THREADS: u32 = 128;
/// Rows and tokens of a tile in `linear_tiles`.
const TILE: usize = 64;

#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub(crate) struct Job {
    shape: [u32; 4],
    places: [u32; 4],
    out: [u32; 4],
}

#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub(crate) struct LinearParams {
    n: [u32; 4],
    jobs: [Job; MOST_JOBS],
}

/// A product over one part of its matrix.
#[derive(Clone, Copy)]
struct Product<'a> {
    weight: &'a Matrix,
    part: &'a Part,
    x: u32,
    y: u32,
    activation: u32,
    bias: u32,
}

/// How a group of products is computed.
struct Method {
    label: &'static str,
    key: Key,
    /// Rows of a matrix, and tokens, that a workgroup computes.
    rows: usize,
    tokens: usize,
}

pub(super) fn linear(pass: &mut Pass<'_>, jobs: &mut [Linear<'_, GpuBackend>]) {
    let mut products = Vec::with_capacity(jobs.len());
    for job in jobs.iter() {
        let few = job.weight.by_input && pass.n_rows <= sparse::MOST_ROWS;
        assert_eq!(
            (job.x.width, job.y.width),
            (job.weight.cols, job.weight.rows),
            "widths of {}",
            job.weight.name
        );
        let (activation, bias) = numbered(&job.activation);
        if few && sparse::linear(pass, job, activation, bias) {
            continue;
        }
        for part in &job.weight.parts {
            let (x, y) = (job.x.at(), job.y.at() + part.first_row as u32);
            let bias = bias + part.first_row as u32;
            products.push(Product { weight: job.weight, part, x, y, activation, bias });
        }
    }
    // One dispatch sees one buffer of weights.
    let alike = |product: &Product<'_>| (product.part.arena.id, product.weight.by_input);
    products.sort_by_key(alike);
    for group in products.chunk_by(|a, b| alike(a) == alike(b)) {
        for group in group.chunks(MOST_JOBS) {
            dispatch(pass, group);
        }
    }
}

/// The number that lib/activation.wgsl knows an activation by, and where its bias begins.
pub(super) fn numbered(activation: &Activation<'_, GpuBackend>) -> (u32, u32) {
    match activation {
        Activation::None => (0, 0),
        Activation::Add => (1, 0),
        Activation::Tanh => (2, 0),
        Activation::Sigmoid => (3, 0),
        Activation::ReluSquared => (4, 0),
        Activation::BiasSigmoid(bias) => (5, bias.at()),
        Activation::BiasDecay(bias) => (6, bias.at()),
    }
}

fn dispatch(pass: &mut Pass<'_>, group: &[Product<'_>]) {
    let n_rows = pass.n_rows;
    let method = method(&pass.backend.shared, group, n_rows);
    let mut params = LinearParams {
        n: [group.len() as u32, n_rows as u32, 0, 0],
        jobs: [bytemuck::Zeroable::zeroed(); MOST_JOBS],
    };
    let (mut tiles, mut cost) = (0, Cost::default());
    for (job, product) in params.jobs.iter_mut().zip(group) {
        let Product { weight, part, x, y, activation, bias } = *product;
        job.shape = [weight.kind(), part.rows as u32, weight.cols as u32, tiles as u32];
        job.places = [part.planes[0], part.planes[1], part.planes[2], x];
        job.out = [y, activation, bias, weight.rows as u32];
        tiles += part.rows.div_ceil(method.rows);
        cost.bytes += weight.bytes() * part.rows as u64 / weight.rows as u64
            + (n_rows * (weight.cols + part.rows) * 4) as u64;
        cost.flops += 2 * (n_rows * part.rows * weight.cols) as u64;
    }
    let grid = [tiles, n_rows.div_ceil(method.tokens), 1];
    let work = Work { key: method.key, grid, weights: Some(&group[0].part.arena), state: None, cost };
    pass.dispatch(method.label, &params, work);
}

/// The constants that tell a kernel which layouts it meets.
fn layouts(group: &[Product<'_>]) -> Vec<(&'static str, u32)> {
    let mut layouts: Vec<_> = group.iter().map(|product| product.weight.layout).collect();
    layouts.sort();
    layouts.dedup();
    let mut constants: Vec<_> = layouts.iter().map(|layout| (layout.constant(), 1)).collect();
    if group[0].weight.by_input {
        constants.extend(sparse::constants(&layouts));
    }
    constants
}

fn method(shared: &Shared, group: &[Product<'_>], n_rows: usize) -> Method {
    let mut constants = layouts(group);
    if n_rows > FEW_ROWS {
        constants.push(("FOUR", 4));
        return Method {
            label: "linear_tiles",
            key: key("linear_tiles", &constants),
            rows: TILE,
            tokens: TILE,
        };
    }
    let subgroup = shared.device.capabilities.subgroup.filter(|lanes| ROWS_THREADS.is_multiple_of(*lanes));
    // More rows of activations take more registers: fewer rows of weights then.
    let (tokens, rows) = match n_rows {
        1 => (1, 4),
        2 => (2, 4),
        3..=4 => (4, 2),
        _ => (8, 2),
    };
    let lanes = subgroup.unwrap_or(32);
    constants.extend([
        ("THREADS", ROWS_THREADS),
        ("LANES", lanes),
        ("ROWS", rows),
        ("TOKENS", tokens),
        ("TILE_K", 2048 / tokens),
        ("SUBGROUP", u32::from(subgroup.is_some())),
    ]);
    let teams = (ROWS_THREADS / lanes) as usize;
    let key = key("linear_rows", &constants);
    Method { label: "linear_rows", key, rows: teams * rows as usize, tokens: tokens as usize }
}

/// How exactly a product sees its activations.
pub(crate) fn activation_precision(_: &Shared, matrix: &Matrix, rows: usize) -> ActivationPrecision {
    if matrix.by_input && rows <= sparse::MOST_ROWS {
        return ActivationPrecision::Exact;
    }
    ActivationPrecision::Exact
}
