//! The shape of a recurrent state: named slabs, listed by a model version's table.

/// What a slab holds, as far as a device may care.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlabKind {
    /// Vectors, one a layer.
    Vectors,
    /// Square matrices, one a head and layer: the last two axes. A device may keep them transposed inside.
    HeadMatrices,
}

/// One slab: layer-first, f32.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlabSpec {
    /// Its name, e.g. `wkv`.
    pub name: &'static str,
    /// Its shape, e.g. `(L, H, N, N)`.
    pub shape: Vec<usize>,
    /// What it holds.
    pub kind: SlabKind,
}

impl SlabSpec {
    /// Number of values.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether it holds nothing.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Number of values of one layer.
    pub fn layer_len(&self) -> usize {
        self.shape[1..].iter().product()
    }
}

/// All slabs of a version's state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateLayout {
    /// The slabs, in the version's order.
    pub slabs: Vec<SlabSpec>,
}

impl StateLayout {
    /// The number of a slab by name.
    pub fn find(&self, name: &str) -> Option<usize> {
        self.slabs.iter().position(|s| s.name == name)
    }

    /// Bytes of one sequence's state.
    pub fn len_bytes(&self) -> usize {
        self.slabs.iter().map(|s| s.len() * size_of::<f32>()).sum()
    }
}

/// One layer's part of a slab.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlabAt {
    /// The slab's number in the [`StateLayout`].
    pub slab: usize,
    /// The layer.
    pub layer: usize,
}
