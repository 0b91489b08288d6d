//! The shape of a recurrent state: named slabs, listed by a model version's table.

/// What a slab holds, as far as a device may care.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlabKind {
    /// Vectors, one a layer.
    Vectors,
    /// Square matrices, one a head and layer: the last two axes, `[value][key]`. A device may keep them transposed
    /// inside.
    HeadMatrices,
    /// The same, `[key][value]`: as devices keep them anyway.
    KeyMatrices,
    /// Vectors of sums, over the power of e that the slab of exponents has there.
    Sums,
    /// Vectors of exponents, the largest so far: of nothing, that is as good as minus infinity.
    Exponents,
}

impl SlabKind {
    /// The value that a sequence's state has before the first token: zero, or an exponent whose power of e is zero beside
    /// any other (RWKV-LM's code has the same number).
    pub fn initial(self) -> f32 {
        match self {
            SlabKind::Exponents => -1e30,
            SlabKind::Vectors | SlabKind::HeadMatrices | SlabKind::KeyMatrices | SlabKind::Sums => 0.0,
        }
    }
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

/// A slab where it lies in the host's memory, in the order in which its device keeps it.
#[derive(Clone, Debug, PartialEq)]
pub struct SlabView<'a> {
    /// All its values.
    pub values: &'a [f32],
    /// Its shape, as the layout has it.
    pub shape: &'a [usize],
    /// For each axis how many floats apart neighbours are: value `(i, j, …)` is `values[i * strides[0] + j * strides[1] …]`.
    pub strides: Vec<usize>,
}

impl<'a> SlabView<'a> {
    /// Of values in the layout's own order.
    pub fn row_major(values: &'a [f32], shape: &'a [usize]) -> SlabView<'a> {
        let mut strides = vec![1; shape.len()];
        for axis in (1..shape.len()).rev() {
            strides[axis - 1] = strides[axis] * shape[axis];
        }
        SlabView { values, shape, strides }
    }

    /// Of values whose last two axes are swapped in memory.
    pub fn transposed(values: &'a [f32], shape: &'a [usize]) -> SlabView<'a> {
        let mut view = SlabView::row_major(values, shape);
        if let [.., rows, columns] = view.strides.as_mut_slice() {
            (*rows, *columns) = (1, shape[shape.len() - 2]);
        }
        view
    }

    /// The value at an index of each axis, if it is one.
    pub fn at(&self, index: &[usize]) -> Option<f32> {
        let within = index.len() == self.shape.len() && index.iter().zip(self.shape).all(|(i, n)| i < n);
        let at =
            within.then(|| index.iter().zip(&self.strides).map(|(i, stride)| i * stride).sum::<usize>())?;
        self.values.get(at).copied()
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
