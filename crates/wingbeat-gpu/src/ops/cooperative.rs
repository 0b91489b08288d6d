//! Products of many rows in cooperative matrices: which tile, whether columns are shared out, and what lies in halves.

use super::{
    key,
    linear::{self, BUSY, LinearParams, Method, Product, RELU_SQUARED},
    moving, plain,
    sparse::{self, partial_sums},
};
use crate::{
    Buffer, GpuBackend, Matrix, Pass, Shared,
    pass::{Carry, Work},
    profile::Cost,
    weights::{Arena, Layout, Part, by_input::BAND, next_id},
};
use std::sync::{Arc, PoisonError, atomic::Ordering};
use wingbeat_backend::Linear;

#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub(crate) struct SumParams {
    at: [u32; 4],
    out: [u32; 4],
}

/// A tile of `linear_cooperative`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tile {
    /// Warps along tokens, along rows of weights, and along columns.
    warps: [u32; 3],
    /// Fragments of 16 x 16 that a warp has along tokens and rows of weights.
    fragments: [u32; 2],
    /// Columns of a step: at least 16 for each warp along them.
    step: u32,
    /// Steps that have room in shared memory: with two, one is stored while the other is read.
    buffers: u32,
    /// Steps that are on their way from memory.
    ahead: u32,
    /// Workgroups that share out the columns of a tile at most.
    parts: u32,
}

const fn tile(warps: [u32; 3], fragments: [u32; 2], step: u32, buffers: u32, ahead: u32, parts: u32) -> Tile {
    Tile { warps, fragments, step, buffers, ahead, parts }
}

/// From the largest, which reads its operands least often, to the smallest, of which there are most. What a workgroup shares
/// is kept small: where two fit on a multiprocessor, one computes while the other waits.
pub(super) const TILES: [Tile; 9] = [
    tile([2, 2, 1], [4, 4], 32, 1, 1, 4),
    tile([2, 2, 1], [2, 2], 64, 1, 1, 4),
    tile([2, 2, 1], [2, 1], 64, 1, 1, 4),
    tile([1, 1, 4], [4, 1], 64, 1, 2, 4),
    tile([1, 1, 4], [2, 2], 128, 1, 2, 4),
    tile([1, 1, 4], [2, 1], 128, 1, 4, 4),
    tile([1, 1, 4], [1, 2], 128, 1, 2, 4),
    tile([1, 1, 4], [1, 1], 256, 1, 1, 4),
    tile([1, 1, 4], [1, 1], 128, 1, 2, 4),
];
/// Columns of a matrix from which on they may be shared out: adding the sums up is a dispatch of its own.
const PARTED_COLS: usize = 4096;

/// What else `linear_cooperative` is compiled for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Operands {
    pub(super) layout: Layout,
    pub(super) by_input: bool,
    /// Widths and places are such that activations can be read and written in fours.
    pub(super) fours: bool,
    /// x lies there in halves.
    pub(super) x_half: bool,
    /// y goes out in halves too.
    pub(super) y_half: bool,
    /// A value is two halves: weights in F32 are meant to be exact, and together these have 22 bits.
    pub(super) split: bool,
}

/// Whether weights of a layout are two halves each. Where most weights are of other types, those in F32 would gain nothing.
pub(super) fn splits(shared: &Shared, layout: Layout) -> bool {
    layout == Layout::F32 && !shared.mixed.load(Ordering::Relaxed)
}

impl Operands {
    fn of(shared: &Shared, group: &[Product<'_>], y_half: bool) -> Operands {
        let Matrix { layout, by_input, .. } = *group[0].weight;
        let fours = |product: &Product<'_>| {
            let Product { weight, part, x, y, .. } = product;
            weight.cols.is_multiple_of(4)
                && [weight.rows, part.rows].iter().all(|rows| rows.is_multiple_of(4))
                && [x, y].iter().all(|at| at.is_multiple_of(4))
        };
        let split = splits(shared, layout);
        let x_half = group.iter().all(|product| product.x_half.is_some()) && !split;
        Operands { layout, by_input, fours: group.iter().all(fours), x_half, y_half, split }
    }

    /// Whether weights are integers that share scales along a row.
    fn blocks(self) -> bool {
        !self.layout.is_float() && !self.by_input
    }
}

impl Tile {
    /// Tokens and rows of weights.
    pub(super) fn size(&self) -> [usize; 2] {
        [0, 1].map(|i| (self.warps[i] * self.fragments[i] * 16) as usize)
    }

    fn n_warps(&self) -> u32 {
        self.warps.iter().product()
    }

    /// Steps in shared memory: two halves for a value leave no room for two.
    fn buffers(&self, operands: Operands) -> u32 {
        if operands.split { 1 } else { self.buffers }
    }

    /// Bytes of shared memory, as the kernel declares it: halves with eight more in each row, and sums.
    pub(super) fn shared_bytes(&self, operands: Operands) -> usize {
        let ([tokens, rows], step) = (self.size(), self.step as usize);
        let weights = if operands.by_input { step * (rows + 8) } else { rows * (step + 8) };
        let sums = self.n_warps() as usize * 16 * 16 * 4;
        let of_one = (tokens * (step + 8) + weights) * 2 * self.buffers(operands) as usize + sums;
        if operands.split { of_one * 2 } else { of_one }
    }

    /// The tile for some products: the largest that is not mostly empty and makes enough workgroups.
    pub(super) fn choose(
        n_rows: usize,
        (weight_rows, cols): (usize, usize),
        workgroup_bytes: usize,
        operands: Operands,
    ) -> &'static Tile {
        let enough = |tile: &&Tile| {
            let [tokens, rows] = tile.size();
            // Large ones take long: a few too many would take twice as long.
            let least = if tokens > 64 { BUSY * 3 / 2 } else { BUSY * 3 / 4 };
            let parts = if cols >= PARTED_COLS { tile.parts as usize } else { 1 };
            n_rows.div_ceil(tokens) * weight_rows.div_ceil(rows) * parts >= least
        };
        let fits = |tile: &&Tile| {
            // Two halves a value take twice the sums in registers.
            let sums = tile.fragments.iter().product::<u32>() * if operands.split { 2 } else { 1 };
            sums <= 16 && tile.shared_bytes(operands) <= workgroup_bytes
        };
        let full = |tile: &&Tile| tile.size()[0] == 16 || n_rows > tile.size()[0] / 2;
        let [.., smallest] = &TILES;
        TILES.iter().filter(fits).filter(full).find(enough).unwrap_or(smallest)
    }

    /// Among how many workgroups the columns of each of so many tiles are shared out.
    fn n_parts(&self, tiles: usize, cols: usize) -> usize {
        let wanted = (2 * BUSY).div_ceil(tiles.max(1)).min(self.parts as usize);
        if cols >= PARTED_COLS { wanted } else { 1 }
    }

    /// `kind` is the constant that tells with which instructions.
    pub(super) fn method(
        &self,
        kind: &'static str,
        operands: Operands,
        ragged: bool,
        parted: bool,
    ) -> Method {
        let ([tokens, rows], threads) = (self.size(), self.n_warps() * 32);
        let Operands { layout, by_input, fours, x_half, y_half, split } = operands;
        let is_half = layout == Layout::F16;
        let width = match (is_half, operands.blocks()) {
            (true, _) => 4,
            (_, true) => 32,
            _ => 8,
        };
        let brought = rows as u32 * self.step / width;
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
            ("AHEAD", self.ahead),
            ("PARTED", u32::from(parted)),
            ("SPLIT", u32::from(split)),
            ("OWN_SUMS", u32::from(self.warps[2] == 1 && kind == "COOPERATIVE")),
            ("X_LOADS", tokens as u32 * self.step / (threads * 4)),
            ("X_HALF", u32::from(x_half)),
            ("Y_HALF", u32::from(y_half)),
            ("SEES_HALVES", u32::from(x_half || y_half)),
            ("BLOCKS", u32::from(operands.blocks())),
            ("W_WIDTH", width),
            ("W_LOADS", brought.div_ceil(threads)),
            ("W_THREADS", brought.min(threads)),
            ("BRINGS_SOME", u32::from(brought < threads)),
            ("ACTS4", u32::from(fours)),
            ("IS_HALF", u32::from(is_half)),
            ("RAGGED", u32::from(ragged)),
        ]);
        Method { label: "linear_cooperative", key: key("linear_cooperative", &constants), rows, tokens }
    }

    /// Whether a row has a rest after whole steps.
    pub(super) fn ragged(&self, group: &[Product<'_>]) -> bool {
        group.iter().any(|product| !product.weight.cols.is_multiple_of(self.step as usize))
    }
}

/// Records a group of products. `jobs` are those of the call: an output of relu² goes out in halves too, as what comes next
/// reads it often.
pub(super) fn dispatch(pass: &mut Pass<'_>, group: &[Product<'_>], jobs: &[Linear<'_, GpuBackend>]) {
    let [product, ..] = group else { return };
    let unpacks = product.weight.by_input && !product.weight.layout.is_float();
    if let (true, [_]) = (unpacks, group)
        && let Some(expanded) = expand(pass, product)
    {
        let part = &expanded.parts[0];
        return dispatch(pass, &[Product { weight: &expanded, part, ..*product }], jobs);
    }
    let shared = &pass.backend.shared;
    // There is one place for all products of the group.
    let mut squared = group.iter().filter(|product| product.activation == RELU_SQUARED);
    let halves = match (squared.next(), squared.next()) {
        (Some(Product { weight, part, y, .. }), None)
            if weight.rows.is_multiple_of(8) && part.rows == weight.rows =>
        {
            let job = jobs.iter().find(|job| job.y.at() == *y);
            job.and_then(|job| halves(job.y)).map(|place| (*y, place))
        }
        _ => None,
    };
    let operands = Operands::of(shared, group, halves.is_some());
    let halves = halves.filter(|_| operands.fours);
    let operands = Operands { y_half: halves.is_some(), ..operands };
    let weight_rows = group.iter().map(|product| product.part.rows).sum();
    let bytes = shared.device.capabilities.workgroup_bytes as usize;
    let tile = match &shared.tuning.tile {
        Some(tile) if tile.shared_bytes(operands) <= bytes => tile,
        _ => Tile::choose(pass.n_rows, (weight_rows, group[0].weight.cols), bytes, operands),
    };
    with(pass, group, tile, operands, "COOPERATIVE", halves);
}

#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub(crate) struct ExpandParams {
    at: [u32; 4],
}

/// Constants of `expand_by_input`.
fn expand_variant(layout: Layout) -> Vec<(&'static str, u32)> {
    let mut constants = vec![(layout.constant(), 1)];
    constants.extend(sparse::constants(&[layout]));
    constants.push(("EXPANDS", 1));
    constants
}

/// Records that a matrix of integers kept by input becomes halves; none where memory is short.
fn expand(pass: &mut Pass<'_>, product: &Product<'_>) -> Option<Matrix> {
    let (source, shared) = (product.weight, &pass.backend.shared);
    let (eights, inputs) = (source.rows.div_ceil(8), source.cols.next_multiple_of(BAND));
    let bytes = (eights * 16 * inputs) as u64;
    if bytes > shared.device.capabilities.binding_bytes {
        return None;
    }
    let mut room = shared.expanded.lock().unwrap_or_else(PoisonError::into_inner);
    // A pass that is being recorded keeps the one of before.
    if room.as_ref().is_none_or(|arena| arena.buffer.size() < bytes) {
        let buffer = shared.device.storage("expanded weights", bytes).ok()?;
        *room = Some(Arc::new(Arena { id: next_id(), buffer }));
    }
    let arena = Arc::clone(room.as_ref()?);
    drop(room);
    let planes = product.part.planes;
    let params = ExpandParams { at: [source.kind(), planes[0], planes[1], planes[2]] };
    let constants = expand_variant(source.layout);
    let cost = Cost { bytes: bytes + source.bytes(), flops: 0 };
    let work = plain(key("expand_by_input", &constants), [eights.div_ceil(64), inputs / 16, 1], cost);
    let work = Work { weights: Some(&product.part.arena), ..work };
    let target = (arena.id, arena.buffer.clone());
    pass.dispatch_with("expand_by_input", &params, work, Some(target));
    let part = Part { arena, first_row: 0, rows: source.rows, planes: [0; 3] };
    let (name, layout) = (source.name.clone(), Layout::F16);
    Some(Matrix { name, rows: source.rows, cols: source.cols, layout, by_input: true, parts: vec![part] })
}

/// Records a group of products in a tile. `y_half` is where the output goes in halves, after the place of the output.
pub(super) fn with(
    pass: &mut Pass<'_>,
    group: &[Product<'_>],
    tile: &Tile,
    operands: Operands,
    kind: &'static str,
    y_half: Option<(u32, u32)>,
) {
    let (n_rows, [tokens, rows]) = (pass.n_rows, tile.size());
    let (mut jobs, tiles, cost) = linear::jobs(group, n_rows, rows);
    if operands.x_half {
        for (job, product) in jobs.iter_mut().zip(group) {
            job.places[3] = product.x_half.expect("all have halves");
        }
    }
    let cols = group[0].weight.cols;
    let token_tiles = n_rows.div_ceil(tokens);
    // As many parts as there are columns for, each of whole steps.
    let steps = cols.div_ceil(tile.step as usize);
    let whole = group.len() == 1 && group[0].part.rows == group[0].weight.rows && operands.fours;
    let most = if whole { tile.n_parts(tiles * token_tiles, cols) } else { 1 };
    let mut part_steps = steps.div_ceil(most.clamp(1, steps.max(1)));
    let mut parts = steps.div_ceil(part_steps.max(1)).max(1);
    let mut place = None;
    if parts > 1 {
        let floats = parts * n_rows * group[0].weight.rows;
        place = partial_sums(&pass.backend.shared, floats).ok();
        if place.is_none() {
            (parts, part_steps) = (1, steps);
        }
    }
    let method = tile.method(kind, operands, tile.ragged(group), parts > 1);
    let carry = match parts {
        1 => pass.take_carry(group.iter().map(|product| product.y), None),
        _ => None,
    };
    let (half_at, part_cols) = (y_half.map_or(0, |(_, place)| place), part_steps * tile.step as usize);
    let params = LinearParams {
        n: [group.len() as u32, n_rows as u32, half_at, part_cols as u32],
        firsts: linear::firsts(&jobs, group.len()),
        jobs,
        carry: if parts > 1 { [[place.unwrap_or(0), 0, 0, 0], [0; 4]] } else { Carry::params(&carry) },
    };
    let grid = [tiles, token_tiles, parts];
    let work = Work { key: method.key, grid, weights: Some(&group[0].part.arena), state: None, cost };
    let y_half_here = operands.y_half && parts == 1;
    let work = Carry::with(carry, work);
    pass.dispatch_seeing_halves(method.label, &params, work, operands.x_half || y_half_here);
    if let Some(place) = place {
        let Product { weight, y, activation, bias, .. } = group[0];
        let params = SumParams {
            at: [place, parts as u32, n_rows as u32, weight.rows as u32],
            out: [y, activation, bias, half_at],
        };
        let half = u32::from(operands.y_half);
        let constants = [("ACTS4", 1), ("Y_HALF", half), ("SEES_HALVES", half)];
        let fours = n_rows * weight.rows / 4;
        let work = plain(
            key("linear_sum", &constants),
            [fours.div_ceil(256), 1, 1],
            moving((parts + 1) * fours * 4),
        );
        pass.dispatch_seeing_halves("linear_sum", &params, work, operands.y_half);
    }
    if let Some(half) = y_half {
        pass.leave_halves([half].into_iter().collect());
    }
}

/// Where a result goes in halves too, after the place of the result, if products in cooperative matrices are likely to take
/// it.
pub(super) fn result_halves(pass: &Pass<'_>, y: &Buffer) -> Option<(u32, u32)> {
    let shared = &pass.backend.shared;
    let wanted =
        shared.device.capabilities.cooperative && !shared.exact && pass.n_rows >= linear::COOPERATIVE_ROWS;
    if !wanted || !y.width.is_multiple_of(8) {
        return None;
    }
    halves(y).map(|place| (y.at(), place))
}

/// Room for a copy of a buffer in halves, row after row; none where memory is short.
pub(super) fn halves(buffer: &Buffer) -> Option<u32> {
    let mut place = buffer.halves.lock().unwrap_or_else(PoisonError::into_inner);
    if place.is_none() {
        let shared = &buffer.shared;
        let _order = shared.order.lock().unwrap_or_else(PoisonError::into_inner);
        *place = shared.acts.take_uncleared(&shared.device, buffer.half_floats()).ok();
    }
    *place
}

impl Tile {
    /// Nine numbers between dots: warps along tokens, rows and columns, fragments along tokens and rows, columns of a step,
    /// buffers, steps ahead, parts. None unless all are powers of two and the threads can share the operands out evenly.
    pub(crate) fn parse(text: &str) -> Option<Tile> {
        let numbers: Vec<u32> = text.split('.').map_while(|n| n.parse().ok()).collect();
        let [a, b, c, d, e, step, buffers, ahead, parts] = numbers[..] else { return None };
        let small = numbers.iter().all(|n| n.is_power_of_two()) && [a, b, c, d, e].iter().all(|n| *n <= 16);
        if !small || step > 1024 || buffers > 2 || ahead > 8 || parts > 64 {
            return None;
        }
        // Powers of two: what is not less than the threads is a multiple of them.
        let threads = a * b * c * 32;
        let fours_of_x = a * d * 16 * step / 4;
        let sound = threads <= 256
            && step >= (16 * c).max(32)
            && step / 4 <= threads
            && b * e * 4 <= threads
            && fours_of_x >= threads;
        sound.then(|| tile([a, b, c], [d, e], step, buffers, ahead, parts))
    }
}

#[cfg(test)]
pub(super) mod tests;
