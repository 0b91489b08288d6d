//! Matrix products: which kernel for how many rows, and groups of products in one dispatch.

use super::{cooperative, key, sparse};
use crate::{
    Buffer, GpuBackend, Matrix, Pass, Shared,
    kernels::Key,
    pass::{Carry, Work},
    profile::Cost,
    weights::{Layout, Part},
};
use wingbeat_backend::{Activation, Linear, tolerance::ActivationPrecision};

/// Products of one dispatch at most.
pub(super) const MOST_JOBS: usize = 8;
/// Up to this many rows of activations, each weight is read once for a few of them; more go through tiles.
const FEW_ROWS: usize = 8;
/// From this many rows on products go through cooperative matrices where there are any: tiles have sixteen, but those that are
/// empty cost less than doing without.
pub(super) const COOPERATIVE_ROWS: usize = 5;
/// Threads of a workgroup in `linear_rows` and `linear_int8`.
const ROWS_THREADS: u32 = 128;
/// Values that share a scale where activations are rounded to int8. With 32, the logits of a model differ from exact
/// ones by more than [`wingbeat_backend::tolerance::MODEL_INT8_RMS`].
const INT8_BLOCK: usize = 16;
/// Rows and tokens of a tile in `linear_tiles`.
const TILE: usize = 64;
/// Workgroups of `linear_rows` and `linear_int8` on each multiprocessor that small matrices still make.
const WORKGROUPS: usize = 4;
/// Workgroups that keep a large GPU busy: an H100 has 132 multiprocessors.
pub(super) const BUSY: usize = 132;

#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub(crate) struct Job {
    shape: [u32; 4],
    pub(super) places: [u32; 4],
    out: [u32; 4],
}

#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub(crate) struct LinearParams {
    pub(super) n: [u32; 4],
    pub(super) firsts: [u32; MOST_JOBS],
    pub(super) jobs: [Job; MOST_JOBS],
    /// Of kernels of few rows, only where they carry; of `linear_cooperative` where parts lie.
    pub(super) carry: [[u32; 4]; 2],
}

/// A product over one part of its matrix.
#[derive(Clone, Copy)]
pub(super) struct Product<'a> {
    pub(super) weight: &'a Matrix,
    pub(super) part: &'a Part,
    pub(super) x: u32,
    pub(super) y: u32,
    pub(super) activation: u32,
    pub(super) bias: u32,
    /// Where x lies in halves too, if it does.
    pub(super) x_half: Option<u32>,
}

/// How a group of products is computed.
pub(super) struct Method {
    pub(super) label: &'static str,
    pub(super) key: Key,
    /// Rows of a matrix, and tokens, that a workgroup computes.
    pub(super) rows: usize,
    pub(super) tokens: usize,
}

pub(super) fn linear(pass: &mut Pass<'_>, jobs: &mut [Linear<'_, GpuBackend>]) {
    let halves = pass.take_halves();
    let half_of = |x: &Buffer| halves.iter().find(|(of, _)| *of == x.at()).map(|(_, place)| *place);
    let mut products = Vec::with_capacity(jobs.len());
    for job in jobs.iter() {
        let few = job.weight.by_input && pass.n_rows <= sparse::MOST_ROWS;
        assert_eq!(job.x.width, job.weight.cols, "width of the input of {}", job.weight.name);
        if !(few && sparse::linear(pass, job)) {
            let x = (job.x.at(), half_of(job.x));
            products_of(job.weight, x, job.y, &job.activation, &mut products);
        }
    }
    let (shared, n_rows) = (&pass.backend.shared, pass.n_rows);
    for (way, group) in groups(shared, &mut products, n_rows) {
        if let Way::Cooperative(..) = way {
            cooperative::dispatch(pass, group, jobs);
        } else {
            let method = method(shared, group, way, n_rows);
            dispatch(pass, group, method);
        }
    }
}

/// Appends the products of a job, one for each part of its matrix.
pub(super) fn products_of<'a>(
    weight: &'a Matrix,
    (x, x_half): (u32, Option<u32>),
    y: &Buffer,
    activation: &Activation<'_, GpuBackend>,
    products: &mut Vec<Product<'a>>,
) {
    assert_eq!(y.width, weight.rows, "width of the output of {}", weight.name);
    let (activation, bias) = numbered(activation);
    for part in &weight.parts {
        let (y, bias) = (y.at() + part.first_row as u32, bias + part.first_row as u32);
        products.push(Product { weight, part, x, y, activation, bias, x_half });
    }
}

/// Products sorted into groups of a dispatch each.
pub(super) fn groups<'p, 'a>(
    shared: &Shared,
    products: &'p mut [Product<'a>],
    n_rows: usize,
) -> Vec<(Way, &'p [Product<'a>])> {
    let kind = |product: &Product<'_>| {
        let way = way(shared, product.weight, n_rows, product.x_half.is_some());
        (product.part.arena.id, way, product.weight.by_input)
    };
    let int8: Vec<u64> =
        products.iter().map(kind).filter(|kind| kind.1 == Way::Int8).map(|kind| kind.0).collect();
    // One dispatch sees one buffer of weights and takes one way, but floats go along with integers.
    let kind = |product: &Product<'_>| match kind(product) {
        (arena, Way::Rows, false) if product.weight.cols.is_multiple_of(8) && int8.contains(&arena) => {
            (arena, Way::Int8, false)
        }
        kind => kind,
    };
    products.sort_by_key(kind);
    let of_one_kind = products.chunk_by(move |a, b| kind(a) == kind(b));
    of_one_kind.flat_map(|group| group.chunks(MOST_JOBS).map(|few| (kind(&group[0]).1, few))).collect()
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
        Activation::Silu => (7, 0),
        Activation::BiasExpDecay(bias) => (8, bias.at()),
    }
}

/// How a product is computed; those of one dispatch share it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Way {
    /// Few rows, f32.
    Rows,
    /// Few rows, packed int8 where weights are integers.
    Int8,
    /// Many rows, f32.
    Tiles,
    /// Many rows, cooperative matrices of halves, two for each operand where weights are f32; weights of one layout, as
    /// unpacking them takes much of the time; whether x lies there in halves.
    Cooperative(Layout, bool),
}

fn way(shared: &Shared, weight: &Matrix, n_rows: usize, x_half: bool) -> Way {
    let capabilities = &shared.device.capabilities;
    let cooperative = capabilities.cooperative && !shared.exact;
    if n_rows >= if cooperative { COOPERATIVE_ROWS } else { FEW_ROWS + 1 } {
        let x_half = x_half && !cooperative::splits(shared, weight.layout);
        return if cooperative { Way::Cooperative(weight.layout, x_half) } else { Way::Tiles };
    }
    let int8 = capabilities.packed_dot && !shared.exact && !weight.by_input;
    if int8 && !weight.layout.is_float() && weight.cols.is_multiple_of(32) { Way::Int8 } else { Way::Rows }
}

fn dispatch(pass: &mut Pass<'_>, group: &[Product<'_>], method: Method) {
    let n_rows = pass.n_rows;
    let (jobs, tiles, cost) = jobs(group, n_rows, method.rows);
    let grid = [tiles, n_rows.div_ceil(method.tokens), 1];
    let carries = ["linear_rows", "linear_int8"].contains(&method.label);
    let carry = if carries { pass.take_carry(group.iter().map(|product| product.y), None) } else { None };
    let n = [group.len() as u32, n_rows as u32, 0, 0];
    let params = LinearParams { n, firsts: firsts(&jobs, group.len()), jobs, carry: Carry::params(&carry) };
    let work = Work { key: method.key, grid, weights: Some(&group[0].part.arena), state: None, cost };
    let twice = work.key.constants.contains(&("X_DIRECT", 1));
    pass.dispatch_seeing_halves(method.label, &params, Carry::with(carry, work), twice);
}

/// The first tile of each of so many jobs.
pub(super) fn firsts(jobs: &[Job; MOST_JOBS], n: usize) -> [u32; MOST_JOBS] {
    std::array::from_fn(|i| if i < n { jobs[i].shape[3] } else { u32::MAX })
}

/// Parameters of a group of products, tiles of so many rows that they have, and what they cost.
pub(super) fn jobs(
    group: &[Product<'_>],
    n_rows: usize,
    tile_rows: usize,
) -> ([Job; MOST_JOBS], usize, Cost) {
    let mut jobs = [bytemuck::Zeroable::zeroed(); MOST_JOBS];
    let (mut tiles, mut cost) = (0, Cost::default());
    for (job, product) in jobs.iter_mut().zip(group) {
        let Product { weight, part, x, y, activation, bias, .. } = *product;
        *job = Job {
            shape: [weight.kind(), part.rows as u32, weight.cols as u32, tiles as u32],
            places: [part.planes[0], part.planes[1], part.planes[2], x],
            out: [y, activation, bias, weight.rows as u32],
        };
        tiles += part.rows.div_ceil(tile_rows);
        cost.bytes += weight.bytes() * part.rows as u64 / weight.rows as u64
            + (n_rows * (weight.cols + part.rows) * 4) as u64;
        cost.flops += 2 * (n_rows * part.rows * weight.cols) as u64;
    }
    (jobs, tiles, cost)
}

/// The constants that tell a kernel which layouts it meets.
pub(super) fn layouts(group: &[Product<'_>]) -> Vec<(&'static str, u32)> {
    let mut layouts: Vec<_> = group.iter().map(|product| product.weight.layout).collect();
    layouts.sort();
    layouts.dedup();
    if group[0].weight.by_input {
        let mut constants: Vec<_> = layouts.iter().map(|layout| (layout.constant(), 1)).collect();
        constants.extend(sparse::constants(&layouts));
        return constants;
    }
    meeting(&layouts)
}

/// These constants for layouts that are all different.
pub(super) fn meeting(layouts: &[Layout]) -> Vec<(&'static str, u32)> {
    let mut constants: Vec<_> = layouts.iter().map(|layout| (layout.constant(), 1)).collect();
    if let [only] = *layouts {
        constants.extend([("SOLE", 1), ("LAYOUT", only as u32)]);
    }
    if let [one, other] = *layouts {
        constants.extend([("PAIR", 1), ("KIND_0", one as u32), ("KIND_1", other as u32)]);
    }
    let mut integers = layouts.iter().filter(|layout| !layout.is_float());
    if let (Some(only), None) = (integers.next(), integers.next()) {
        constants.extend([("SOLE_INTEGER", 1), ("INTEGER", *only as u32)]);
    }
    constants.push(("FLOATS", u32::from(layouts.iter().any(|layout| layout.is_float()))));
    constants
}

fn method(shared: &Shared, group: &[Product<'_>], way: Way, n_rows: usize) -> Method {
    let weight_rows = group.iter().map(|product| product.part.rows).sum();
    let subgroup = shared.device.capabilities.subgroup;
    match way {
        Way::Rows => {
            let mut constants = layouts(group);
            // One row of activations is read where it lies: the first cache has it, and nobody waits until it is staged.
            let direct = n_rows == 1 && group.iter().all(|product| product.weight.cols.is_multiple_of(8));
            constants.push(("X_DIRECT", u32::from(direct)));
            rows(constants, subgroup, n_rows, weight_rows)
        }
        Way::Int8 => int8(layouts(group), subgroup, n_rows, weight_rows),
        Way::Tiles => tiles(layouts(group)),
        Way::Cooperative(..) => unreachable!("cooperative::dispatch has its own"),
    }
}

/// Constants of kernels in which teams of threads share rows of weights, and how many such teams a workgroup has.
pub(super) fn teams(subgroup: Option<u32>, threads: u32) -> ([(&'static str, u32); 3], usize) {
    let subgroup = subgroup.filter(|lanes| threads.is_multiple_of(*lanes));
    let lanes = subgroup.unwrap_or(32);
    let constants = [("THREADS", threads), ("LANES", lanes), ("SUBGROUP", u32::from(subgroup.is_some()))];
    (constants, (threads / lanes) as usize)
}

/// Rows of weights that a team shares. A small matrix must still make enough workgroups, so many on each multiprocessor; a
/// large one stages x less often.
pub(super) fn rows_of_team(most: u32, teams: usize, weight_rows: usize, workgroups: usize) -> u32 {
    let enough = |rows: &u32| weight_rows >= workgroups * BUSY * teams * *rows as usize;
    [4, 2].into_iter().filter(|rows| *rows <= most).find(enough).unwrap_or(1)
}

/// Whether a team has more sums than threads: then a thread stores several.
pub(super) fn crowded(constants: &[(&'static str, u32)], rows: u32, tokens: u32) -> (&'static str, u32) {
    let lanes = constants.iter().find(|(name, _)| *name == "LANES").map_or(1, |(_, lanes)| *lanes);
    ("CROWDED", u32::from(rows * tokens > lanes))
}

/// Steps ahead that weights are asked for: the more rows, the more registers a step takes.
pub(super) fn ahead(rows: u32, tokens: u32) -> u32 {
    4 / rows.max(tokens).min(4)
}

fn rows(
    mut constants: Vec<(&'static str, u32)>,
    subgroup: Option<u32>,
    n_rows: usize,
    weight_rows: usize,
) -> Method {
    let (shared_out, teams) = teams(subgroup, ROWS_THREADS);
    constants.extend(shared_out);
    let tokens = n_rows.next_power_of_two().min(FEW_ROWS) as u32;
    // More rows of activations take more registers: fewer rows of weights then.
    let rows = rows_of_team(if tokens > 2 { 2 } else { 4 }, teams, weight_rows, WORKGROUPS);
    let ahead = ahead(rows, tokens);
    constants.push(crowded(&constants, rows, tokens));
    constants.extend([("ROWS", rows), ("TOKENS", tokens), ("TILE_K", 2048 / tokens), ("AHEAD", ahead)]);
    Method {
        label: "linear_rows",
        key: key("linear_rows", &constants),
        rows: teams * rows as usize,
        tokens: tokens as usize,
    }
}

fn int8(
    mut constants: Vec<(&'static str, u32)>,
    subgroup: Option<u32>,
    n_rows: usize,
    weight_rows: usize,
) -> Method {
    let (shared_out, teams) = teams(subgroup, ROWS_THREADS);
    constants.extend(shared_out);
    let tokens = n_rows.next_power_of_two().min(FEW_ROWS) as u32;
    let rows = rows_of_team(if tokens > 2 { 2 } else { 4 }, teams, weight_rows, WORKGROUPS);
    constants.push(crowded(&constants, rows, tokens));
    constants.extend([
        ("ROWS", rows),
        ("TOKENS", tokens),
        // 12 KiB of shared memory; with the sums of plain variants what WebGPU promises, 16 KiB.
        ("TILE_K", (8192 / tokens).min(2048)),
        ("STAGE", 4),
        ("AHEAD_32", 1),
    ]);
    Method {
        label: "linear_int8",
        key: key("linear_int8", &constants),
        rows: teams * rows as usize,
        tokens: tokens as usize,
    }
}

fn tiles(constants: Vec<(&'static str, u32)>) -> Method {
    Method { label: "linear_tiles", key: key("linear_tiles", &constants), rows: TILE, tokens: TILE }
}

/// Whether a product wants its input in halves.
pub(super) fn takes_halves(shared: &Shared, weight: &Matrix, n_rows: usize) -> bool {
    matches!(way(shared, weight, n_rows, true), Way::Cooperative(_, true))
        && !(weight.by_input && n_rows <= sparse::MOST_ROWS)
}

/// How exactly a product sees its activations.
pub(crate) fn activation_precision(shared: &Shared, weight: &Matrix, n_rows: usize) -> ActivationPrecision {
    if weight.by_input && n_rows <= sparse::MOST_ROWS {
        return ActivationPrecision::Exact;
    }
    match way(shared, weight, n_rows, false) {
        Way::Rows | Way::Tiles => ActivationPrecision::Exact,
        Way::Int8 => ActivationPrecision::Int8 { block: INT8_BLOCK },
        // Far better where weights are f32: both operands have 22 bits then.
        Way::Cooperative(..) => ActivationPrecision::Half,
    }
}

#[cfg(test)]
pub(super) mod tests;
