//! The search for scales and minima: Q2_K, Q4_K and Q5_K, and with an importance of columns Q4_1 and Q5_1.
//!
//! A super-block says x ≈ d·s·q − e·m with integers q for each value, s and m for each group, and two factors.
//! What is minimised is the weighted sum of squared errors. For given q the best step a = d·s and offset
//! b = e·m of a group are linear least squares; for given a and b the best q is the nearest integer. The
//! search tries grids of several steps, goes on from the best by turns, makes integers of the steps and
//! offsets, looks beside them, and at last fits the two factors to all values together.

use half::f16;

use super::lanes::{
    F16_MAX, Lanes, N_LANES, by_value, each, factor, largest, lower, nearest, over, to_f16, upper, weights,
    within,
};

/// The part of a sum of squares that may be rounding: sums of 32 numbers err by a few times 2⁻²⁴. Integers of which
/// only one differs vary more, by 5e-6 for Q5_K.
const NOISE: f32 = 2e-6;

/// The integers of a type.
pub(super) struct Grid {
    /// The highest integer of a value.
    pub(super) high: f32,
    /// The highest scale, and minimum.
    pub(super) scale: f32,
    /// By how many steps the first grids are finer or coarser than the range of values: from −`reach` to `reach`
    /// in steps of `stride`.
    pub(super) reach: i32,
    pub(super) stride: f32,
}

/// A super-block of `P` · 8 groups of `N` values, in integers.
pub(super) struct Fitted<const P: usize, const N: usize> {
    pub(super) d: f16,
    pub(super) dmin: f16,
    scales: [Lanes; P],
    mins: [Lanes; P],
    q: [[Lanes; N]; P],
}

impl<const P: usize, const N: usize> Fitted<P, N> {
    /// Scale and minimum of group `g`.
    pub(super) fn scale_min(&self, g: usize) -> (u8, u8) {
        let (part, lane) = (g / N_LANES, g % N_LANES);
        (self.scales[part][lane] as u8, self.mins[part][lane] as u8)
    }

    /// Integer `i` of group `g`.
    pub(super) fn q(&self, g: usize, i: usize) -> u8 {
        self.q[g / N_LANES][i][g % N_LANES] as u8
    }
}

/// Fits a super-block, of which `groups` are the groups and `importance` says what the squared error of each value counts.
///
/// On an error, the index of the value that cannot be represented: it is no finite number, or the largest one and the
/// factors are not below the largest `F16`.
pub(super) fn fit<const P: usize, const N: usize>(
    groups: &[[f32; N]],
    importance: Option<&[[f32; N]]>,
    grid: &Grid,
) -> Result<Fitted<P, N>, usize> {
    let largest = largest(groups.as_flattened())?;
    let parts: [Part<N>; P] = std::array::from_fn(|p| {
        Part::new(&groups[p * N_LANES..], importance.map(|importance| &importance[p * N_LANES..]), false)
    });
    let limit = F16_MAX * grid.scale;
    for part in &parts {
        for l in 0..N_LANES {
            // Divided first: the range of finite numbers may be none.
            let range = part.high[l] / grid.high - part.low[l] / grid.high;
            if range > limit || -part.low[l] > limit {
                return Err(largest);
            }
        }
    }
    let steps = parts.each_ref().map(|part| part.search(grid));
    let factor_of = |of: fn(&Steps) -> &Lanes| {
        let highest = steps.iter().flat_map(of).fold(0.0, |highest, &x| upper(highest, x));
        factor(highest / grid.scale)
    };
    let (d, dmin) = (factor_of(|steps| &steps.step), factor_of(|steps| &steps.offset));
    let mut block = Fitted {
        d,
        dmin,
        scales: [[0.0; N_LANES]; P],
        mins: [[0.0; N_LANES]; P],
        q: [[[0.0; N_LANES]; N]; P],
    };
    for (p, part) in parts.iter().enumerate() {
        let best = part.integers(&steps[p], d.to_f32(), dmin.to_f32(), grid);
        (block.scales[p], block.mins[p]) = (best.scale, best.min);
    }
    let mut error = block.round(&parts, grid);
    for _ in 0..2 {
        let Some(mut next) = block.with_better_factors(&parts) else { break };
        let next_error = next.round(&parts, grid);
        if next_error >= error {
            break;
        }
        (block, error) = (next, next_error);
    }
    Ok(block)
}

/// Up to eight blocks that have a factor and a minimum of their own and no other scales: Q4_1 and Q5_1.
pub(super) struct FittedAlone<const N: usize> {
    d: [f16; N_LANES],
    min: [f16; N_LANES],
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
    let part = Part::new(blocks, Some(importance), true);
    for (b, x) in blocks.iter().enumerate() {
        let largest = largest(x).map_err(|i| (b, i))?;
        // Divided first: the range of finite numbers may be none.
        let range = part.high[b] / grid.high - part.low[b] / grid.high;
        if range > F16_MAX || x[largest].abs() > F16_MAX {
            return Err((b, largest));
        }
    }
    let mut steps = part.search(grid);
    let mut best = FittedAlone { d: [f16::ZERO; N_LANES], min: [f16::ZERO; N_LANES], q: [[0.0; N_LANES]; N] };
    let mut least = [f32::INFINITY; N_LANES];
    // Factor and minimum are rounded, the integers with them; what is best for those may be others.
    for _ in 0..2 {
        let (d, min) = (steps.step.map(to_f16), steps.offset.map(|offset| to_f16(-offset)));
        let (step, offset) = (d.map(f16::to_f32), min.map(|min| -min.to_f32()));
        let mut q = [[0.0; N_LANES]; N];
        let errors = part.round(&step, &offset, grid.high, &mut q);
        for l in 0..N_LANES {
            if errors[l] < least[l] {
                (least[l], best.d[l], best.min[l]) = (errors[l], d[l], min[l]);
                best.q.iter_mut().zip(&q).for_each(|(best, q)| best[l] = q[l]);
            }
        }
        steps = part.fit(&step.map(|step| over(1.0, step)), &offset, grid.high);
    }
    Ok(best)
}

impl<const N: usize> FittedAlone<N> {
    /// Factor, minimum and integers of block `b`.
    pub(super) fn block(&self, b: usize) -> (f16, f16, [u8; N]) {
        (self.d[b], self.min[b], self.q.map(|q| q[b] as u8))
    }
}

impl<const P: usize, const N: usize> Fitted<P, N> {
    /// Rounds all values to the grids of their groups; returns the weighted error.
    fn round(&mut self, parts: &[Part<N>; P], grid: &Grid) -> f32 {
        let (d, dmin) = (self.d.to_f32(), self.dmin.to_f32());
        let mut error = 0.0;
        for (p, part) in parts.iter().enumerate() {
            let (step, offset) = (self.scales[p].map(|s| d * s), self.mins[p].map(|m| dmin * m));
            error += part.round(&step, &offset, grid.high, &mut self.q[p]).iter().sum::<f32>();
        }
        error
    }

    /// The same integers with the factors that fit best: least squares in d and e for x ≈ d·(s·q) − e·m, over all
    /// values. None where those are no better numbers of type `F16`.
    fn with_better_factors(&self, parts: &[Part<N>; P]) -> Option<Fitted<P, N>> {
        // With A = s·q and B = m: Σw·A·A, Σw·A·B, Σw·B·B, Σw·A·x, Σw·B·x.
        let [mut aa, mut ab, mut bb, mut ax, mut bx] = [0.0f64; 5];
        for (p, part) in parts.iter().enumerate() {
            let (wq, wqq, wxq) = part.sums(&self.q[p]);
            for l in 0..N_LANES {
                let (s, m) = (f64::from(self.scales[p][l]), f64::from(self.mins[p][l]));
                let w = f64::from(part.w_sum[l]);
                aa += s * s * f64::from(wqq[l]);
                ab += s * m * f64::from(wq[l]);
                bb += m * m * w;
                ax += s * f64::from(wxq[l]);
                bx += m * w * f64::from(part.mean[l]);
            }
        }
        let determinant = aa * bb - ab * ab;
        let (d, dmin) = if determinant > f64::from(NOISE) * aa * bb {
            ((ax * bb - bx * ab) / determinant, (ax * ab - bx * aa) / determinant)
        } else if aa > 0.0 && bb == 0.0 {
            (ax / aa, 0.0)
        } else {
            return None;
        };
        let (d, dmin) = (to_f16(d as f32), to_f16(dmin as f32));
        if d == self.d && dmin == self.dmin { None } else { Some(Fitted { d, dmin, ..*self }) }
    }
}

/// Eight groups, and what of them does not depend on the grid.
struct Part<const N: usize> {
    x: [Lanes; N],
    w: [Lanes; N],
    /// Σw, and the weighted mean of x.
    w_sum: Lanes,
    mean: Lanes,
    /// Least value, or 0 where that is above and an offset is not below 0; and greatest value.
    low: Lanes,
    high: Lanes,
    /// Whether an offset may be below 0.
    any_offset: bool,
}

/// Steps and offsets of eight groups: x ≈ step·q − offset.
#[derive(Clone, Copy)]
struct Steps {
    step: Lanes,
    offset: Lanes,
    /// How much of Σw·(x − mean)² they explain.
    gain: Lanes,
}

/// Integers of eight groups' steps and offsets.
#[derive(Clone, Copy)]
struct Integers {
    scale: Lanes,
    min: Lanes,
}

impl<const N: usize> Part<N> {
    fn new(groups: &[[f32; N]], importance: Option<&[[f32; N]]>, any_offset: bool) -> Part<N> {
        let x = by_value(groups);
        let w = weights(&x, importance);
        let zero = [0.0; N_LANES];
        let (mut w_sum, mut wx, mut low, mut high) = (zero, zero, if any_offset { x[0] } else { zero }, x[0]);
        for (x, w) in x.iter().zip(&w) {
            for l in 0..N_LANES {
                w_sum[l] += w[l];
                wx[l] += w[l] * x[l];
                low[l] = lower(low[l], x[l]);
                high[l] = upper(high[l], x[l]);
            }
        }
        let mean = each(|l| over(wx[l], w_sum[l]));
        Part { x, w, w_sum, mean, low, high, any_offset }
    }

    /// Least squares for the integers of the grid `(x + offset) · inverse`.
    ///
    /// With y = x − mean: step = Σw·y·q / (Σw·q² − (Σw·q)²/Σw), which explains Σw·y·q·step, and the offset puts the
    /// mean of the integers on the mean of the values. Where that were below 0 it is 0, and step = Σw·x·q / Σw·q².
    #[inline(always)]
    fn fit(&self, inverse: &Lanes, offset: &Lanes, highest: f32) -> Steps {
        let zero = [0.0; N_LANES];
        let (mut wq, mut wqq, mut wyq) = (zero, zero, zero);
        for (x, w) in self.x.iter().zip(&self.w) {
            for l in 0..N_LANES {
                let q = nearest(within((x[l] + offset[l]) * inverse[l], 0.0, highest));
                let weighted = w[l] * q;
                wq[l] += weighted;
                wqq[l] += weighted * q;
                wyq[l] += weighted * (x[l] - self.mean[l]);
            }
        }
        let mut steps = Steps { step: zero, offset: zero, gain: zero };
        for l in 0..N_LANES {
            let mean = self.mean[l];
            let q_mean = over(wq[l], self.w_sum[l]);
            let variance = wqq[l] - wq[l] * q_mean;
            // Else what the subtraction has left is its rounding: the integers are all the same.
            let varies = variance > NOISE * wqq[l];
            let step = upper(over(wyq[l], if varies { variance } else { 0.0 }), 0.0);
            let offset = step * q_mean - mean;
            let wxq = wyq[l] + mean * wq[l];
            let step_alone = upper(over(wxq, wqq[l]), 0.0);
            let gain_alone = step_alone * wxq - mean * mean * self.w_sum[l];
            let alone = offset < 0.0 && !self.any_offset;
            steps.step[l] = if alone { step_alone } else { step };
            steps.offset[l] = if alone { 0.0 } else { offset };
            steps.gain[l] = if alone { gain_alone } else { step * wyq[l] };
        }
        steps
    }

    /// The best steps of the grids tried.
    fn search(&self, grid: &Grid) -> Steps {
        let offset = self.low.map(|low| -low);
        let inverse = |steps: f32| each(|l| over(steps, self.high[l] - self.low[l]));
        let mut best = self.fit(&inverse(grid.high), &offset, grid.high);
        for k in (-grid.reach..=grid.reach).filter(|&k| k != 0) {
            let steps = grid.high + k as f32 * grid.stride;
            best.take(&self.fit(&inverse(steps), &offset, grid.high));
        }
        for _ in 0..2 {
            let inverse = best.step.map(|step| over(1.0, step));
            let next = self.fit(&inverse, &best.offset, grid.high);
            best.take(&next);
        }
        best
    }

    /// The integers nearest to the values on the grid of `step` and `offset`, and the weighted errors.
    #[inline(always)]
    fn round(&self, step: &Lanes, offset: &Lanes, highest: f32, q: &mut [Lanes; N]) -> Lanes {
        let inverse = step.map(|step| over(1.0, step));
        let mut errors = [0.0; N_LANES];
        for ((x, w), q) in self.x.iter().zip(&self.w).zip(q) {
            for l in 0..N_LANES {
                let shifted = x[l] + offset[l];
                q[l] = nearest(within(shifted * inverse[l], 0.0, highest));
                let error = shifted - step[l] * q[l];
                errors[l] += w[l] * error * error;
            }
        }
        errors
    }

    /// Σw·q, Σw·q² and Σw·x·q.
    fn sums(&self, q: &[Lanes; N]) -> (Lanes, Lanes, Lanes) {
        let zero = [0.0; N_LANES];
        let (mut wq, mut wqq, mut wxq) = (zero, zero, zero);
        for ((x, w), q) in self.x.iter().zip(&self.w).zip(q) {
            for l in 0..N_LANES {
                let weighted = w[l] * q[l];
                wq[l] += weighted;
                wqq[l] += weighted * q[l];
                wxq[l] += weighted * x[l];
            }
        }
        (wq, wqq, wxq)
    }

    /// The integers of `steps` under the factors, and their neighbours where those are better.
    fn integers(&self, steps: &Steps, d: f32, dmin: f32, grid: &Grid) -> Integers {
        let whole = |x: f32| nearest(within(x, 0.0, grid.scale));
        let scale = steps.step.map(|step| whole(over(step, d)));
        let min = steps.offset.map(|offset| whole(over(offset, dmin)));
        let mut best = Integers { scale, min };
        let mut q = [[0.0; N_LANES]; N];
        let mut least = self.round(&scale.map(|s| d * s), &min.map(|m| dmin * m), grid.high, &mut q);
        for by in [0.0, -1.0, 1.0] {
            let scale = scale.map(|s| whole(s + by));
            // A step that is longer moves the values' mean: the offset goes with it.
            let moved = each(|l| {
                let q_mean = over(steps.offset[l] + self.mean[l], steps.step[l]);
                over(d * scale[l] * q_mean - self.mean[l], dmin)
            });
            let below = moved.map(|m| within(m, 0.0, grid.scale).floor());
            for min in [below, below.map(|m| whole(m + 1.0))] {
                let errors = self.round(&scale.map(|s| d * s), &min.map(|m| dmin * m), grid.high, &mut q);
                for l in 0..N_LANES {
                    let better = errors[l] < least[l];
                    least[l] = if better { errors[l] } else { least[l] };
                    best.scale[l] = if better { scale[l] } else { best.scale[l] };
                    best.min[l] = if better { min[l] } else { best.min[l] };
                }
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
            self.offset[l] = if better { other.offset[l] } else { self.offset[l] };
            self.gain[l] = if better { other.gain[l] } else { self.gain[l] };
        }
    }
}
