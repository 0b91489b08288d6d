//! Tuned states: what state tuning trains, the head matrices that a text begins with.
//!
//! A `.pth` (or safetensors) file has `blocks.N.att.time_state` of shape `(H, N, N)` for every layer and no shift vectors:
//! these begin as zeros. Some have the model beside it. RWKV-PEFT trains it `[value][key]` for every version (its kernels
//! for RWKV-6 and RWKV-7 are handed the transposed matrices, as flash-linear-attention wants `[key][value]`), so it is as
//! RWKV-7's slab already and is transposed for earlier versions', as the official code does when it loads one.

use crate::Error;
use wingbeat_backend::{SlabKind, SlabSpec, StateLayout};
use wingbeat_format::{ModelFile, Tensor};

/// The end of the tensors' names.
const NAME: &str = ".att.time_state";

/// Whether a file has a tuned state, alone or beside a model.
pub(crate) fn has_tuned_state(file: &ModelFile) -> bool {
    file.tensors().iter().any(|tensor| tensor.name.ends_with(NAME))
}

/// The values of the slab of head matrices, by its number, in the layout's order.
pub(crate) fn tuned_state(
    file: &ModelFile,
    layout: &StateLayout,
    version: &str,
) -> Result<(usize, Vec<f32>), Error> {
    let wrong = |why: String| Error::TunedState { file: file.label().to_owned(), why };
    let is_matrices = |slab: &SlabSpec| match *slab.shape {
        [n_layers, heads, n, m] if n == m => Some((n_layers, heads, n)),
        _ => None,
    };
    let matrices = layout.slabs.iter().enumerate().find_map(|(i, slab)| Some((i, slab, is_matrices(slab)?)));
    let Some((index, slab, (n_layers, heads, n))) = matrices else {
        return Err(wrong(format!("{version} has no states of that kind")));
    };
    let found: Vec<&Tensor> = file.tensors().iter().filter(|tensor| tensor.name.ends_with(NAME)).collect();
    if found.len() > n_layers {
        return Err(wrong(format!("it is of {} layers, the model has {n_layers}", found.len())));
    }
    let mut values = Vec::with_capacity(slab.len());
    for layer in 0..n_layers {
        let name = format!("blocks.{layer}{NAME}");
        let tensor = file.tensor(&name).ok_or_else(|| wrong(format!("tensor `{name}` is missing")))?;
        // Some tools keep an axis for the batch.
        let shape = match tensor.shape.as_slice() {
            [1, shape @ ..] if shape.len() == 3 => shape,
            shape => shape,
        };
        if shape != [heads, n, n] {
            let (expected, found) = ([heads, n, n], &tensor.shape);
            return Err(wrong(format!("tensor `{name}`: expected shape {expected:?}, found {found:?}")));
        }
        let matrices = tensor.to_f32();
        if let Some(at) = matrices.iter().position(|value| !value.is_finite()) {
            let value = matrices[at];
            return Err(wrong(format!(
                "tensor `{name}`, value {at}: expected a finite number, found {value}"
            )));
        }
        match slab.kind {
            // `[value][key]`.
            SlabKind::HeadMatrices => values.extend(matrices),
            _ => matrices.chunks_exact((n * n).max(1)).for_each(|matrix| {
                values.extend((0..n * n).map(|at| matrix[at % n * n + at / n]));
            }),
        }
    }
    // A file that was shortened meanwhile gave zeros.
    file.check_intact()?;
    Ok((index, values))
}
