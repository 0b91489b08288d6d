//! Activations and states in memory: cache-line aligned f32, and rows that threads share.

use std::{marker::PhantomData, ops::Range};
use wingbeat_backend::BackendError;

/// One cache line.
#[derive(Clone, Copy, bytemuck::Zeroable, bytemuck::Pod)]
#[repr(C, align(64))]
struct Line([f32; 16]);

/// A vector of f32 that starts on a cache line.
#[derive(Clone, Default)]
pub(crate) struct Aligned {
    lines: Vec<Line>,
    len: usize,
}

impl Aligned {
    /// `len` zeros.
    pub(crate) fn zeroed(len: usize, what: &'static str) -> Result<Aligned, BackendError> {
        let n_lines = len.div_ceil(16);
        let mut lines = Vec::new();
        lines.try_reserve_exact(n_lines).map_err(|_| BackendError::OutOfMemory {
            device: "CPU".to_owned(),
            what,
            bytes: len.saturating_mul(size_of::<f32>()),
        })?;
        lines.resize(n_lines, Line([0.0; 16]));
        Ok(Aligned { lines, len })
    }

    /// Grows to at least `len` values; new ones are zero.
    pub(crate) fn reserve(&mut self, len: usize) {
        if self.len < len {
            self.lines.resize(len.div_ceil(16), Line([0.0; 16]));
            self.len = len;
        }
    }

    pub(crate) fn as_slice(&self) -> &[f32] {
        &bytemuck::cast_slice(&self.lines)[..self.len]
    }

    pub(crate) fn as_mut_slice(&mut self) -> &mut [f32] {
        &mut bytemuck::cast_slice_mut(&mut self.lines)[..self.len]
    }
}

/// Activations `(rows, width)`, row-major.
pub struct Buffer {
    pub(crate) width: usize,
    values: Aligned,
}

impl Buffer {
    pub(crate) fn new(rows: usize, width: usize) -> Result<Buffer, BackendError> {
        Ok(Buffer { width, values: Aligned::zeroed(rows * width, "activations")? })
    }

    pub(crate) fn as_slice(&self) -> &[f32] {
        self.values.as_slice()
    }

    pub(crate) fn row(&self, t: usize) -> &[f32] {
        &self.values.as_slice()[t * self.width..][..self.width]
    }

    pub(crate) fn row_mut(&mut self, t: usize) -> &mut [f32] {
        let width = self.width;
        &mut self.values.as_mut_slice()[t * width..][..width]
    }

    /// For threads to write, each its own part.
    pub(crate) fn shared(&mut self) -> SharedRows<'_> {
        SharedRows::new(self.values.as_mut_slice(), self.width)
    }

    /// For threads to read.
    pub(crate) fn rows(&self) -> SharedRows<'_> {
        let values = self.values.as_slice();
        SharedRows {
            start: values.as_ptr().cast_mut(),
            len: values.len(),
            width: self.width,
            values: PhantomData,
        }
    }
}

/// Rows that several threads read, or write, each its own part.
pub(crate) struct SharedRows<'a, T = f32> {
    start: *mut T,
    len: usize,
    width: usize,
    values: PhantomData<&'a mut [T]>,
}

impl<T> Clone for SharedRows<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T> Copy for SharedRows<'_, T> {}

// SAFETY: it only hands out parts through `part`, whose callers promise that parts don't overlap.
unsafe impl<T: Send> Sync for SharedRows<'_, T> {}
// SAFETY: as above.
unsafe impl<T: Send> Send for SharedRows<'_, T> {}

impl<'a, T> SharedRows<'a, T> {
    pub(crate) fn new(values: &'a mut [T], width: usize) -> SharedRows<'a, T> {
        SharedRows { start: values.as_mut_ptr(), len: values.len(), width, values: PhantomData }
    }

    /// Columns `cols` of row `t`.
    ///
    /// # Safety
    /// The rows must come from [`Buffer::shared`] or [`SharedRows::new`], and while the returned slice lives, no other
    /// slice that overlaps it may be used, on any thread.
    #[allow(clippy::mut_from_ref)]
    pub(crate) unsafe fn part(&self, t: usize, cols: Range<usize>) -> &'a mut [T] {
        self.check(t, &cols);
        // SAFETY: inside the slice this was made from (checked above), which is borrowed mutably for 'a; the caller
        // promises that no other part overlaps.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(t * self.width + cols.start), cols.len()) }
    }

    /// Columns `cols` of row `t`, to read.
    ///
    /// # Safety
    /// While the returned slice lives, nothing may be written where it lies, on any thread.
    pub(crate) unsafe fn read(&self, t: usize, cols: Range<usize>) -> &'a [T] {
        self.check(t, &cols);
        // SAFETY: inside the slice this was made from (checked above); the caller promises that nobody writes there.
        unsafe { std::slice::from_raw_parts(self.start.add(t * self.width + cols.start), cols.len()) }
    }

    fn check(&self, t: usize, cols: &Range<usize>) {
        assert!(cols.start <= cols.end && cols.end <= self.width && (t + 1) * self.width <= self.len);
    }
}
