//! What a device tells about where its time went.

/// The runs of one kernel.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct KernelTime {
    /// The operation, as [`Pass`](crate::Pass) names it, and what of it where it has several kernels.
    pub name: &'static str,
    /// How often it ran.
    pub runs: u64,
    /// Time on the device, in seconds.
    pub seconds: f64,
    /// Bytes that it had to read and write at least.
    pub bytes: u64,
    /// Operations on numbers, a multiplication with an addition being two.
    pub flops: u64,
}
