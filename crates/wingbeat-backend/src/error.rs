//! The errors of a device.

/// What can go wrong on a device.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BackendError {
    /// The device cannot compute on matrices of this type.
    #[error("{tensor}: {device} cannot compute on type {found} here ({why})")]
    UnsupportedMatrix {
        /// Tensor name.
        tensor: String,
        /// Device description.
        device: String,
        /// Stored type.
        found: &'static str,
        /// The reason in words.
        why: &'static str,
    },
    /// A matrix's bytes don't fit its shape.
    #[error(
        "{tensor}: a {rows} x {cols} matrix of type {dtype} takes {expected_bytes} bytes, found {found_bytes}"
    )]
    MatrixBytes {
        /// Tensor name.
        tensor: String,
        /// Rows.
        rows: usize,
        /// Columns.
        cols: usize,
        /// Stored type.
        dtype: &'static str,
        /// Bytes that shape and type ask for (0: the columns don't fill whole blocks).
        expected_bytes: usize,
        /// Bytes there.
        found_bytes: usize,
    },
    /// There is not enough memory.
    #[error("{device}: no memory for {what} ({bytes} bytes)")]
    OutOfMemory {
        /// Device description.
        device: String,
        /// What was to be allocated.
        what: &'static str,
        /// Its size.
        bytes: usize,
    },
    /// The device failed: it was lost, refused work, or does not answer.
    #[error("{device}: {what}")]
    Device {
        /// Device description.
        device: String,
        /// What it, or its driver, said.
        what: String,
    },
    /// The weights don't fit into the device's memory.
    #[error("{device}: the model takes {needed_mb} MB there, {found_mb} MB are to be had")]
    ModelTooLarge {
        /// Device description.
        device: String,
        /// Memory that the weights take, in MB.
        needed_mb: u64,
        /// Memory that the device has, in MB.
        found_mb: u64,
    },
    /// A slab was written with the wrong number of values.
    #[error("state slab `{slab}` holds {expected} values, found {found}")]
    SlabSize {
        /// Slab name.
        slab: String,
        /// Values the layout asks for.
        expected: usize,
        /// Values given.
        found: usize,
    },
    /// A worker thread could not be started.
    #[error("cannot start worker thread {index} of {wanted}: {source}")]
    Threads {
        /// Which one.
        index: usize,
        /// How many were wanted.
        wanted: usize,
        /// The system's answer.
        source: std::io::Error,
    },
}
