//! A sequence's state in memory. Head matrices are kept `[key][value]`, transposed with respect to the layout, so
//! that the recurrence runs along the lanes; reading and writing a slab transposes.

use crate::buffer::Aligned;
use std::sync::Arc;
use wingbeat_backend::{BackendError, SlabKind, SlabSpec, SlabView, StateLayout};

/// Every slab of one sequence.
#[derive(Clone)]
pub struct State {
    layout: Arc<StateLayout>,
    slabs: Vec<Aligned>,
}

impl State {
    pub(crate) fn new(layout: &StateLayout) -> Result<State, BackendError> {
        let slab = |spec: &SlabSpec| {
            let mut slab = Aligned::zeroed(spec.len(), "a state")?;
            // Zeroed memory costs nothing until it is touched.
            if spec.kind.initial() != 0.0 {
                slab.as_mut_slice().fill(spec.kind.initial());
            }
            Ok(slab)
        };
        let slabs = layout.slabs.iter().map(slab).collect::<Result<_, BackendError>>()?;
        Ok(State { layout: Arc::new(layout.clone()), slabs })
    }

    /// One layer of a slab, as it is kept.
    pub(crate) fn layer_mut(&mut self, slab: usize, layer: usize) -> &mut [f32] {
        let len = self.layout.slabs[slab].layer_len();
        &mut self.slabs[slab].as_mut_slice()[layer * len..][..len]
    }

    /// A slab as it is kept.
    pub(crate) fn view(&self, slab: usize) -> SlabView<'_> {
        let (spec, values) = (&self.layout.slabs[slab], self.slabs[slab].as_slice());
        match spec.kind {
            SlabKind::HeadMatrices => SlabView::transposed(values, &spec.shape),
            SlabKind::Vectors | SlabKind::KeyMatrices | SlabKind::Sums | SlabKind::Exponents => {
                SlabView::row_major(values, &spec.shape)
            }
        }
    }

    /// The values of a slab, as they are kept.
    pub(crate) fn slab_mut(&mut self, slab: usize) -> &mut [f32] {
        self.slabs[slab].as_mut_slice()
    }

    pub(crate) fn read(&self, slab: usize) -> Vec<f32> {
        let mut out = self.slabs[slab].as_slice().to_vec();
        transpose_heads(&self.layout.slabs[slab], &mut out);
        out
    }

    pub(crate) fn write(&mut self, slab: usize, values: &[f32]) -> Result<(), BackendError> {
        let spec = &self.layout.slabs[slab];
        if values.len() != spec.len() {
            let (slab, expected, found) = (spec.name.to_owned(), spec.len(), values.len());
            return Err(BackendError::SlabSize { slab, expected, found });
        }
        let kept = self.slabs[slab].as_mut_slice();
        kept.copy_from_slice(values);
        transpose_heads(spec, kept);
        Ok(())
    }
}

/// Transposes every head's matrix in place; leaves vectors alone.
fn transpose_heads(spec: &SlabSpec, values: &mut [f32]) {
    let (SlabKind::HeadMatrices, Some(&n)) = (spec.kind, spec.shape.last()) else { return };
    for head in values.chunks_exact_mut(n * n) {
        for i in 0..n {
            for j in 0..i {
                head.swap(i * n + j, j * n + i);
            }
        }
    }
}
