//! Which matrix gets which type, so that a file of a given length loses the least.
//!
//! Every matrix is encoded in part in each type that its rows allow, and the error measured; what an error costs is known
//! for each kind of matrix ([`sensitivity`], measured once on a trained model). Then all matrices begin in the type of the
//! fewest bytes, and the step that buys the most for a byte is taken, until no step fits (the greedy solution of the
//! multiple-choice knapsack problem over the lower convex hull of each matrix's choices).

use super::{Plan, mix};
use crate::Error;
use std::sync::{
    Mutex,
    atomic::{AtomicUsize, Ordering},
};
use wingbeat_format::DType;
use wingbeat_model::{Config, Kind, Version, Weight};

/// How types are given to matrices.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Recipe {
    /// By the errors measured, finer where they cost more: no more bytes than llama.cpp's mix of that name, and less loss.
    #[default]
    Wingbeat,
    /// As llama.cpp's quantizer does: one type for all but the head.
    LlamaCpp,
}

/// Types to choose from, of few bytes to many.
const TYPES: [DType; 10] = [
    DType::Q2K,
    DType::Q3K,
    DType::Q4_0,
    DType::Q4K,
    DType::Q4_1,
    DType::Q5_0,
    DType::Q5K,
    DType::Q5_1,
    DType::Q6K,
    DType::Q8_0,
];
/// Values of a matrix that are encoded to measure a type's error.
const SAMPLE_VALUES: usize = 1 << 16;

/// A type for a matrix.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Choice {
    pub(super) dtype: DType,
    pub(super) n_bytes: u64,
    /// What its error costs.
    pub(super) cost: f64,
}

/// The kinds of matrices whose types are chosen.
pub(super) fn is_chosen(weight: &Weight) -> bool {
    matches!(weight.row.kind, Kind::Matrix(..))
}

/// What errors in a kind of matrix cost: the divergence from the unquantized model (nats a token) for a relative squared error
/// of 1, all else being exact; for matrices of layers, in all layers together.
///
/// Measured on the demo model with every kind, and every layer's, alone in Q4_0 (a relative squared error of 0.0067; the
/// divergence of small errors is their square, so that it adds up) over a text that the model had written itself;
/// `docs/quantization.md` has the figures. Kinds that RWKV-7 lacks have the figure of what stands in the same place.
fn sensitivity(weight: &Weight, config: &Config) -> f64 {
    let n_layers = config.n_layers.max(1) as f64;
    match weight.row.name {
        "emb.weight" => 1.57,
        "head.weight" => 1.27,
        // RWKV-7's first value goes into those of all layers.
        "att.value.weight" if weight.layer == Some(0) && config.version == Version::V7 => 0.173,
        "att.receptance.weight" | "ffn.receptance.weight" => 0.146 / n_layers,
        "att.key.weight" => 0.174 / n_layers,
        "att.value.weight" => 0.254 / n_layers,
        "ffn.key.weight" => 1.80 / n_layers,
        "ffn.value.weight" => 0.89 / n_layers,
        // `att.output.weight`, and the gate that it is applied after.
        _ => 0.42 / n_layers,
    }
}

/// The choices for each of `weights`, of few bytes to many, each a better bargain than the next.
///
/// # Errors
/// A weight has values that no type holds.
pub(super) fn choices(
    weights: &[&Weight],
    config: &Config,
    plan: &Plan,
    alignment: u64,
) -> Result<Vec<Vec<Choice>>, Error> {
    let next = AtomicUsize::new(0);
    let found = Mutex::new(weights.iter().map(|_| None).collect::<Vec<_>>());
    let work = || {
        while let Some((i, weight)) =
            Some(next.fetch_add(1, Ordering::Relaxed)).and_then(|i| Some((i, weights.get(i)?)))
        {
            let choices = choices_of(weight, config, plan, alignment);
            found.lock().unwrap_or_else(|poisoned| poisoned.into_inner())[i] = Some(choices);
        }
    };
    let n_threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 1..n_threads {
            // One that cannot be started leaves its work to the others.
            let _ = std::thread::Builder::new().spawn_scoped(scope, work);
        }
        work();
    });
    let found = found.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner());
    found.into_iter().flatten().collect()
}

fn choices_of(weight: &Weight, config: &Config, plan: &Plan, alignment: u64) -> Result<Vec<Choice>, Error> {
    let [rows, cols] = weight.shape[..] else { return Ok(Vec::new()) };
    let sensitivity = sensitivity(weight, config);
    let mut choices = Vec::new();
    let n_bytes = |dtype: DType| {
        let bytes = (dtype.row_bytes(cols)? as u64).checked_mul(rows as u64)?;
        bytes.checked_next_multiple_of(alignment)
    };
    for dtype in TYPES {
        if let Some(n_bytes) = n_bytes(dtype) {
            let cost = sensitivity * relative_error(weight, dtype, plan)?;
            choices.push(Choice { dtype, n_bytes, cost });
        }
    }
    if choices.is_empty() {
        let dtype = mix::fitting(DType::Q8_0, cols);
        choices.extend(n_bytes(dtype).map(|n_bytes| Choice { dtype, n_bytes, cost: 0.0 }));
    }
    choices.sort_by_key(|choice| choice.n_bytes);
    Ok(hull(&choices))
}

/// Squared error of a type in some rows of a matrix, a part of the squares of the values, both as the plan weighs columns.
fn relative_error(weight: &Weight, dtype: DType, plan: &Plan) -> Result<f64, Error> {
    let [rows, cols] = weight.shape[..] else { return Ok(0.0) };
    let importance = plan.columns(weight);
    let row_bytes = weight.data.len() / rows.max(1);
    let n = (SAMPLE_VALUES / cols.max(1)).clamp(1, rows.max(1));
    let (mut row, mut back, mut bytes) = (vec![0.0; cols], vec![0.0; cols], Vec::new());
    let (mut error, mut squares) = (0.0, 0.0);
    for i in 0..n {
        let at = rows * i / n;
        let Some(stored) = weight.data.get(at * row_bytes..(at + 1) * row_bytes) else { break };
        weight.dtype.decode_row(stored, &mut row);
        bytes.clear();
        match &importance {
            Some(importance) => dtype.encode_row_weighted(&row, importance, &mut bytes)?,
            None => dtype.encode_row(&row, &mut bytes)?,
        }
        dtype.decode_row(&bytes, &mut back);
        for (j, (&x, &back)) in row.iter().zip(&back).enumerate() {
            let importance = importance.as_ref().map_or(1.0, |importance| f64::from(importance[j]));
            error += importance * f64::from(x - back).powi(2);
            squares += importance * f64::from(x).powi(2);
        }
    }
    Ok(if squares > 0.0 { error / squares } else { 0.0 })
}

/// Of choices in the order of their bytes, those that are the best bargain at some price of a byte.
fn hull(choices: &[Choice]) -> Vec<Choice> {
    let mut hull: Vec<Choice> = Vec::new();
    // What a byte more buys, from one choice to another.
    let gain = |from: &Choice, to: &Choice| (from.cost - to.cost) / (to.n_bytes - from.n_bytes).max(1) as f64;
    for choice in choices {
        if hull.last().is_some_and(|last| last.cost <= choice.cost) {
            continue;
        }
        while let [.., before, last] = hull.as_slice() {
            if last.n_bytes < choice.n_bytes && gain(before, last) > gain(last, choice) {
                break;
            }
            hull.pop();
        }
        if hull.last().is_some_and(|last| last.n_bytes == choice.n_bytes) {
            hull.pop();
        }
        hull.push(*choice);
    }
    hull
}

/// The choice for each matrix that together cost the least of those found, in `budget` bytes or less.
///
/// # Errors
/// The bytes of the smallest choices, where even those are more.
pub(super) fn choose(choices: &[Vec<Choice>], budget: u64) -> Result<Vec<DType>, u64> {
    let mut taken = vec![0; choices.len()];
    let mut total: u64 = choices.iter().filter_map(|of| of.first()).map(|choice| choice.n_bytes).sum();
    if total > budget {
        return Err(total);
    }
    let mut open: Vec<usize> = (0..choices.len()).collect();
    loop {
        // The next step of each matrix, and what a byte of it buys.
        let step = |i: usize| {
            let (now, then) = (choices[i].get(taken[i])?, choices[i].get(taken[i] + 1)?);
            let n_bytes = then.n_bytes - now.n_bytes;
            (total + n_bytes <= budget).then(|| (i, n_bytes, (now.cost - then.cost) / n_bytes as f64))
        };
        open.retain(|&i| step(i).is_some());
        let best = open.iter().filter_map(|&i| step(i)).max_by(|a, b| a.2.total_cmp(&b.2));
        let Some((i, n_bytes, _)) = best else { break };
        (taken[i], total) = (taken[i] + 1, total + n_bytes);
    }
    Ok(choices.iter().zip(taken).filter_map(|(of, at)| of.get(at)).map(|choice| choice.dtype).collect())
}

#[cfg(test)]
mod tests;
