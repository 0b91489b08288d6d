//! Matrix products: which kernel for how many rows, and groups of products in one dispatch.

use super::{key, sparse};
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
/// The same of floats where there are cooperative matrices.
const FEW_FLOAT_ROWS: usize = 4;
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
const BUSY: usize = 132;

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
    /// Of kernels of few rows, only where they carry.
    carry: [[u32; 4]; 2],
}

/// A product over one part of its matrix.
#[derive(Clone, Copy)]
pub(super) struct Product<'a> {
    pub(super) weight: &'a Matrix,
    pub(super) part: &'a Part,
    x: u32,
    y: u32,
    activation: u32,
    bias: u32,
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
    let mut products = Vec::with_capacity(jobs.len());
    for job in jobs.iter() {
        let few = job.weight.by_input && pass.n_rows <= sparse::MOST_ROWS;
        assert_eq!(job.x.width, job.weight.cols, "width of the input of {}", job.weight.name);
        if !(few && sparse::linear(pass, job)) {
            products_of(job.weight, job.x.at(), job.y, &job.activation, &mut products);
        }
    }
    let (shared, n_rows) = (&pass.backend.shared, pass.n_rows);
    for (way, group) in groups(shared, &mut products, n_rows) {
        let method = method(shared, group, way, n_rows);
        dispatch(pass, group, method);
    }
}

/// Appends the products of a job, one for each part of its matrix.
pub(super) fn products_of<'a>(
    weight: &'a Matrix,
    x: u32,
    y: &Buffer,
    activation: &Activation<'_, GpuBackend>,
    products: &mut Vec<Product<'a>>,
) {
    assert_eq!(y.width, weight.rows, "width of the output of {}", weight.name);
    let (activation, bias) = numbered(activation);
    for part in &weight.parts {
        let (y, bias) = (y.at() + part.first_row as u32, bias + part.first_row as u32);
        products.push(Product { weight, part, x, y, activation, bias });
    }
}

/// Products sorted into groups of a dispatch each.
pub(super) fn groups<'p, 'a>(
    shared: &Shared,
    products: &'p mut [Product<'a>],
    n_rows: usize,
) -> Vec<(Way, &'p [Product<'a>])> {
    let kind = |product: &Product<'_>| {
        (product.part.arena.id, way(shared, product.weight, n_rows), product.weight.by_input)
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
    /// unpacking them takes much of the time.
    Cooperative(Layout),
}

fn way(shared: &Shared, weight: &Matrix, n_rows: usize) -> Way {
    let capabilities = &shared.device.capabilities;
    let cooperative = capabilities.cooperative && !shared.exact;
    if n_rows > if cooperative && weight.layout.is_float() { FEW_FLOAT_ROWS } else { FEW_ROWS } {
        return if cooperative { Way::Cooperative(weight.layout) } else { Way::Tiles };
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
    let params = LinearParams { n, jobs, carry: Carry::params(&carry) };
    let work = Work { key: method.key, grid, weights: Some(&group[0].part.arena), state: None, cost };
    pass.dispatch(method.label, &params, Carry::with(carry, work));
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
        let Product { weight, part, x, y, activation, bias } = *product;
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
        Way::Rows => rows(layouts(group), subgroup, n_rows, weight_rows),
        Way::Int8 => int8(layouts(group), subgroup, n_rows, weight_rows),
        Way::Tiles => tiles(layouts(group)),
        Way::Cooperative(_) => {
            let bytes = shared.device.capabilities.workgroup_bytes as usize;
            let operands = Operands::of(group);
            let tile = Tile::choose(n_rows, weight_rows, bytes, operands);
            tile.method("COOPERATIVE", operands, tile.ragged(group))
        }
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
    constants.extend([
        ("ROWS", rows),
        ("TOKENS", tokens),
        // 12 KiB of shared memory; with the sums of plain variants what WebGPU promises, 16 KiB.
        ("TILE_K", 8192 / tokens),
        ("STAGE", 4),
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

/// A tile of `linear_cooperative`.
#[derive(Debug)]
struct Tile {
    /// Warps along tokens, along rows of weights, and along columns.
    warps: [u32; 3],
    /// Fragments of 16 x 16 that a warp has along tokens and rows of weights.
    fragments: [u32; 2],
    /// Columns of a step: at least 16 for each warp along them.
    step: u32,
    /// Steps that have room in shared memory: with two, one is stored while the other is read.
    buffers: u32,
}

const fn tile(warps: [u32; 3], fragments: [u32; 2], step: u32, buffers: u32) -> Tile {
    Tile { warps, fragments, step, buffers }
}

/// From the largest, which reads its operands least often, to the smallest, of which there are most.
const COOPERATIVE_TILES: [Tile; 10] = [
    tile([2, 4, 1], [4, 2], 64, 1),
    tile([2, 2, 1], [2, 2], 64, 2),
    tile([1, 1, 4], [4, 2], 64, 2),
    tile([1, 1, 4], [4, 1], 64, 2),
    tile([1, 1, 4], [2, 4], 64, 2),
    tile([1, 1, 4], [2, 2], 128, 2),
    tile([1, 1, 4], [2, 1], 128, 2),
    tile([1, 1, 4], [1, 4], 64, 2),
    tile([1, 1, 4], [1, 2], 128, 2),
    tile([1, 1, 4], [1, 1], 128, 2),
];

/// What else `linear_cooperative` is compiled for.
#[derive(Clone, Copy, Debug)]
struct Operands {
    layout: Layout,
    by_input: bool,
    /// Widths and places are such that activations can be read and written in fours.
    fours: bool,
}

impl Operands {
    fn of(group: &[Product<'_>]) -> Operands {
        let Matrix { layout, by_input, .. } = *group[0].weight;
        let fours = |product: &Product<'_>| {
            let Product { weight, part, x, y, .. } = product;
            weight.cols.is_multiple_of(4)
                && [weight.rows, part.rows].iter().all(|rows| rows.is_multiple_of(4))
                && [x, y].iter().all(|at| at.is_multiple_of(4))
        };
        Operands { layout, by_input, fours: group.iter().all(fours) }
    }

    /// Whether a value is two halves: weights in f32 are meant to be exact, and together these have 22 bits.
    fn split(self) -> bool {
        self.layout == Layout::F32
    }
}

impl Tile {
    /// Tokens and rows of weights.
    fn size(&self) -> [usize; 2] {
        [0, 1].map(|i| (self.warps[i] * self.fragments[i] * 16) as usize)
    }

    fn n_warps(&self) -> u32 {
        self.warps.iter().product()
    }

    /// Steps in shared memory: two halves for a value leave no room for two.
    fn buffers(&self, operands: Operands) -> u32 {
        if operands.split() { 1 } else { self.buffers }
    }

    /// Bytes of shared memory, as the kernel declares it: halves with eight more in each row, and sums.
    fn shared_bytes(&self, operands: Operands) -> usize {
        let ([tokens, rows], step) = (self.size(), self.step as usize);
        let weights = if operands.by_input { step * (rows + 8) } else { rows * (step + 8) };
        let sums = self.n_warps() as usize * 16 * 20 * 4;
        let of_one = (tokens * (step + 8) + weights) * 2 * self.buffers(operands) as usize + sums;
        if operands.split() { of_one * 2 } else { of_one }
    }

    /// The tile for some products: the largest that is not mostly empty and makes enough workgroups.
    fn choose(
        n_rows: usize,
        weight_rows: usize,
        workgroup_bytes: usize,
        operands: Operands,
    ) -> &'static Tile {
        let enough = |tile: &&Tile| {
            let [tokens, rows] = tile.size();
            // Only one of the largest fits on a multiprocessor: a few too many would take twice as long.
            let least = if tokens > 64 { BUSY * 3 / 2 } else { BUSY * 3 / 4 };
            n_rows.div_ceil(tokens) * weight_rows.div_ceil(rows) >= least
        };
        let fits = |tile: &&Tile| tile.shared_bytes(operands) <= workgroup_bytes;
        let full = |tile: &&Tile| tile.size()[0] == 16 || n_rows > tile.size()[0] / 2;
        let [.., smallest] = &COOPERATIVE_TILES;
        COOPERATIVE_TILES.iter().filter(fits).filter(full).find(enough).unwrap_or(smallest)
    }

    /// `kind` is the constant that tells with which instructions.
    fn method(&self, kind: &'static str, operands: Operands, ragged: bool) -> Method {
        let ([tokens, rows], threads) = (self.size(), self.n_warps() * 32);
        let Operands { layout, by_input, fours } = operands;
        let blocks = !layout.is_float() && !by_input;
        let mut constants = vec![(kind, 1), (layout.constant(), 1), ("LAYOUT", layout as u32)];
        if by_input {
            constants.extend(sparse::constants(&[layout]));
        }
        constants.extend([
            ("WARPS_T", self.warps[0]),
            ("WARPS_R", self.warps[1]),
            ("WARPS_K", self.warps[2]),
            ("FRAGMENTS_T", self.fragments[0]),
            ("FRAGMENTS_R", self.fragments[1]),
            ("STEP", self.step),
            ("SLICES", self.step / (self.warps[2] * 16)),
            ("BUFFERS", self.buffers(operands)),
            ("ONE_BUFFER", u32::from(self.buffers(operands) == 1)),
            ("SPLIT", u32::from(operands.split())),
            ("X_LOADS", tokens as u32 * self.step / (threads * 4)),
            ("BLOCKS", u32::from(blocks)),
            ("W_LOADS", (rows as u32 * self.step).div_ceil(threads * if blocks { 32 } else { 8 })),
            ("ACTS4", u32::from(fours)),
            ("IS_HALF", u32::from(layout == Layout::F16)),
            ("RAGGED", u32::from(ragged)),
        ]);
        Method { label: "linear_cooperative", key: key("linear_cooperative", &constants), rows, tokens }
    }

    /// Whether a row has a rest after whole steps.
    fn ragged(&self, group: &[Product<'_>]) -> bool {
        group.iter().any(|product| !product.weight.cols.is_multiple_of(self.step as usize))
    }
}

/// How exactly a product sees its activations.
pub(crate) fn activation_precision(shared: &Shared, weight: &Matrix, n_rows: usize) -> ActivationPrecision {
    if weight.by_input && n_rows <= sparse::MOST_ROWS {
        return ActivationPrecision::Exact;
    }
    match way(shared, weight, n_rows) {
        Way::Rows | Way::Tiles => ActivationPrecision::Exact,
        Way::Int8 => ActivationPrecision::Int8 { block: INT8_BLOCK },
        // Far better where weights are f32: both operands have 22 bits then.
        Way::Cooperative(_) => ActivationPrecision::Half,
    }
}

#[cfg(test)]
pub(super) mod tests;
