//! The search for scales without minima: Q3_K and Q6_K, and with an importance of columns Q4_0 and Q5_0.
//!
//! A super-block says x ≈ d·s·q with integers q for each value and s for each group, both of either sign and with one
//! more below zero than above it. What is minimised is the weighted sum of squared errors. For given q a group's best
//! step a = d·s is Σw·x·q / Σw·q²; for a given step the best q is the nearest integer. The search tries grids of
//! several steps, all with the largest value near the lowest integer, goes on from the best by turns, makes integers
//! of the steps, looks beside them, and at last fits the factor to all values together.

use half::f16;

use super::lanes::{
    F16_MAX, Lanes, N_LANES, by_value, each, factor, largest, nearest, over, to_f16, weights, within,
};

/// The integers of a type.
pub(super) struct Grid {
    /// The lowest integer of a value is −`half`, the highest `half` − 1.
    pub(super) half: f32,
    /// The same of a scale.
    pub(super) scale: f32,
    /// By how many steps the first grids put the largest value beside the lowest integer: from −`reach` to `reach` in
    /// steps of `stride`.
    pub(super) reach: i32,
    pub(super) stride: f32,
}

/// A super-block of `P` · 8 groups of `N` values, in integers.
pub(super) struct Fitted<const P: usize, const N: usize> {
    pub(super) d: f16,
    scales: [Lanes; P],
    q: [[Lanes; N]; P],
}

/// Eight groups.
struct Part<const N: usize> {
    x: [Lanes; N],
    w: [Lanes; N],
    /// The value of the largest magnitude.
    extreme: Lanes,
}

/// Steps of eight groups: x ≈ step·q.
#[derive(Clone, Copy)]
struct Steps {
    step: Lanes,
    /// How much of Σw·x² they explain.
    gain: Lanes,
}

/// Fits a super-block, of which `groups` are the groups and `importance` says what the squared error of each value counts.
///
/// On an error, the index of the value that cannot be represented: it is no finite number, or the largest one and the
/// factor is not below the largest `F16`.
pub(super) fn fit<const P: usize, const N: usize>(
    groups: &[[f32; N]],
    importance: Option<&[[f32; N]]>,
    grid: &Grid,
) -> Result<Fitted<P, N>, usize> {
    let x = groups.as_flattened();
    let largest = largest(x)?;
    if x[largest].abs() / grid.half / grid.scale > F16_MAX {
        return Err(largest);
    }
    let parts: [Part<N>; P] = std::array::from_fn(|p| {
        Part::new(&groups[p * N_LANES..], importance.map(|importance| &importance[p * N_LANES..]))
    });
    let steps = parts.each_ref().map(|part| part.search(grid).step);
    let mut longest = 0.0f32;
    for &step in steps.as_flattened() {
        longest = if step.abs() > longest.abs() { step } else { longest };
    }
    let d = factor(longest / -grid.scale);
    let mut block = Fitted { d, scales: [[0.0; N_LANES]; P], q: [[[0.0; N_LANES]; N]; P] };
    for (p, part) in parts.iter().enumerate() {
        block.scales[p] = part.integers(&steps[p], d.to_f32(), grid);
    }
    let mut error = block.round(&parts, grid);
    for _ in 0..2 {
        let Some(mut next) = block.with_better_factor(&parts) else { break };
        let next_error = next.round(&parts, grid);
        if next_error >= error {
            break;
        }
        (block, error) = (next, next_error);
    }
    Ok(block)
}

/// Up to eight blocks that have a factor of their own and no other scales: Q4_0 and Q5_0.
pub(super) struct FittedAlone<const N: usize> {
    d: [f16; N_LANES],
    q: [Lanes; N],
}

/// Fits up to eight blocks, each by itself.
///
/// On an error, which block, and the index of the value in it that cannot be represented.
pub(super) fn fit_alone<const N: usize>(
    blocks: &[[f32; N]],
    importance: &[[f32; N]],
    grid: &Grid,
) -> Result<FittedAlone<N>, (usize, usize)> {
    for (b, x) in blocks.iter().enumerate() {
        let largest = largest(x).map_err(|i| (b, i))?;
        if x[largest].abs() / grid.half > F16_MAX {
            return Err((b, largest));
        }
    }
    let part = Part::new(blocks, Some(importance));
    let mut steps = part.search(grid);
    let mut best = FittedAlone { d: [f16::ZERO; N_LANES], q: [[0.0; N_LANES]; N] };
    let mut least = [f32::INFINITY; N_LANES];
    // The factor is rounded, the integers with it; what is best for those integers may be another factor.
    for _ in 0..2 {
        let d = steps.step.map(to_f16);
        let rounded = d.map(f16::to_f32);
        let mut q = [[0.0; N_LANES]; N];
        let errors = part.round(&rounded, grid.half, &mut q);
        for l in 0..N_LANES {
            if errors[l] < least[l] {
                (least[l], best.d[l]) = (errors[l], d[l]);
                best.q.iter_mut().zip(&q).for_each(|(best, q)| best[l] = q[l]);
            }
        }
        steps = part.fit(&rounded.map(inverse), grid.half);
    }
    Ok(best)
}

impl<const N: usize> FittedAlone<N> {
    /// The factor of block `b`, and its integers plus `half`.
    pub(super) fn block(&self, b: usize, grid: &Grid) -> (f16, [u8; N]) {
        (self.d[b], self.q.map(|q| (q[b] + grid.half) as u8))
    }
}

impl<const P: usize, const N: usize> Fitted<P, N> {
    /// The scale of group `g`.
    pub(super) fn scale(&self, g: usize) -> i8 {
        self.scales[g / N_LANES][g % N_LANES] as i8
    }

    /// Integer `i` of group `g`.
    pub(super) fn q(&self, g: usize, i: usize) -> i8 {
        self.q[g / N_LANES][i][g % N_LANES] as i8
    }

    /// Rounds all values to the grids of their groups; returns the weighted error.
    fn round(&mut self, parts: &[Part<N>; P], grid: &Grid) -> f32 {
        let d = self.d.to_f32();
        let mut error = 0.0;
        for (p, part) in parts.iter().enumerate() {
            let step = self.scales[p].map(|s| d * s);
            error += part.round(&step, grid.half, &mut self.q[p]).iter().sum::<f32>();
        }
        error
    }

    /// The same integers with the factor that fits best: d = Σw·x·(s·q) / Σw·(s·q)². None where that is the same number
    /// of type `F16`.
    fn with_better_factor(&self, parts: &[Part<N>; P]) -> Option<Fitted<P, N>> {
        let (mut above, mut below) = (0.0f64, 0.0f64);
        for (p, part) in parts.iter().enumerate() {
            let zero = [0.0; N_LANES];
            let (mut wqq, mut wxq) = (zero, zero);
            for ((x, w), q) in part.x.iter().zip(&part.w).zip(&self.q[p]) {
                for l in 0..N_LANES {
                    let weighted = w[l] * q[l];
                    wqq[l] += weighted * q[l];
                    wxq[l] += weighted * x[l];
                }
            }
            for l in 0..N_LANES {
                let s = f64::from(self.scales[p][l]);
                above += s * f64::from(wxq[l]);
                below += s * s * f64::from(wqq[l]);
            }
        }
        let d = if below > 0.0 { to_f16((above / below) as f32) } else { self.d };
        if d == self.d { None } else { Some(Fitted { d, ..*self }) }
    }
}

impl<const N: usize> Part<N> {
    fn new(groups: &[[f32; N]], importance: Option<&[[f32; N]]>) -> Part<N> {
        let x = by_value(groups);
        let mut extreme = x[0];
        for x in &x {
            for l in 0..N_LANES {
                extreme[l] = if x[l].abs() > extreme[l].abs() { x[l] } else { extreme[l] };
            }
        }
        Part { w: weights(&x, importance), x, extreme }
    }

    /// Least squares for the integers of the grid `x · inverse`.
    #[inline(always)]
    fn fit(&self, inverse: &Lanes, half: f32) -> Steps {
        let zero = [0.0; N_LANES];
        let (mut wqq, mut wxq) = (zero, zero);
        for (x, w) in self.x.iter().zip(&self.w) {
            for l in 0..N_LANES {
                let q = nearest(within(x[l] * inverse[l], -half, half - 1.0));
                let weighted = w[l] * q;
                wqq[l] += weighted * q;
                wxq[l] += weighted * x[l];
            }
        }
        let step = each(|l| over(wxq[l], wqq[l]));
        Steps { step, gain: each(|l| step[l] * wxq[l]) }
    }

    /// The best steps of the grids tried.
    fn search(&self, grid: &Grid) -> Steps {
        let lowest = |by: f32| self.extreme.map(|x| inverse(x) * -(grid.half + by));
        let mut best = self.fit(&lowest(0.0), grid.half);
        for k in (-grid.reach..=grid.reach).filter(|&k| k != 0) {
            best.take(&self.fit(&lowest(k as f32 * grid.stride), grid.half));
        }
        for _ in 0..2 {
            let next = self.fit(&best.step.map(inverse), grid.half);
            best.take(&next);
        }
        best
    }

    /// The integers nearest to the values on the grid of `step`, and the weighted errors.
    #[inline(always)]
    fn round(&self, step: &Lanes, half: f32, q: &mut [Lanes; N]) -> Lanes {
        let inverse = step.map(inverse);
        let mut errors = [0.0; N_LANES];
        for ((x, w), q) in self.x.iter().zip(&self.w).zip(q) {
            for l in 0..N_LANES {
                q[l] = nearest(within(x[l] * inverse[l], -half, half - 1.0));
                let error = x[l] - step[l] * q[l];
                errors[l] += w[l] * error * error;
            }
        }
        errors
    }

    /// The scales nearest to `steps` under the factor, and their neighbours where those are better.
    fn integers(&self, steps: &Lanes, d: f32, grid: &Grid) -> Lanes {
        let whole = |x: f32| nearest(within(x, -grid.scale, grid.scale - 1.0));
        let nearest_scale = steps.map(|step| whole(step * inverse(d)));
        let mut q = [[0.0; N_LANES]; N];
        let mut best = nearest_scale;
        let mut least = self.round(&best.map(|s| d * s), grid.half, &mut q);
        for by in [-1.0, 1.0] {
            let scale = nearest_scale.map(|s| whole(s + by));
            let errors = self.round(&scale.map(|s| d * s), grid.half, &mut q);
            for l in 0..N_LANES {
                let better = errors[l] < least[l];
                least[l] = if better { errors[l] } else { least[l] };
                best[l] = if better { scale[l] } else { best[l] };
            }
        }
        best
    }
}

impl Steps {
    /// Each lane's better one.
    #[inline(always)]
    fn take(&mut self, other: &Steps) {
        for l in 0..N_LANES {
            let better = other.gain[l] > self.gain[l];
            self.step[l] = if better { other.step[l] } else { self.step[l] };
            self.gain[l] = if better { other.gain[l] } else { self.gain[l] };
        }
    }
}

/// 1 / x, with 0 for what is too small to be a step.
#[inline(always)]
fn inverse(x: f32) -> f32 {
    over(x, x * x)
}
