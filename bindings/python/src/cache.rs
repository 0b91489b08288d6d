//! States and embeddings that were computed before, as Python sees them.
//!
//! What an entry is found by, where it lies and when it goes is the engine's business; here it gets its name, its limits and
//! its counts. What asks it first is in `embed.rs`.

use crate::{
    compute::compute,
    errors::{About, count},
};
use pyo3::prelude::*;
use std::path::PathBuf;
use wingbeat::{Cache, CacheOptions, CacheStats};

/// States and embeddings that were computed before: `Model.state` and `Model.embed` take it as `cache`.
///
/// memory_bytes: bytes of memory at most; states of a model on a GPU lie in the GPU's memory and count too.
/// folder: a folder to keep entries in, which is made where there is none. Processes may share it, and it outlives them.
/// folder_bytes: bytes of the folder's entries at most; None: no limit.
///
/// What comes back is what was computed, bit for bit, and belongs to the caller. A text that begins like one whose state
/// is kept goes on from there. Every entry of the folder has a checksum: a damaged one is removed and computed again. A
/// full disk is no error, `stats()` tells of it. Several models and several threads may share a cache.
#[pyclass(frozen, weakref, module = "wingbeat", name = "Cache")]
pub(crate) struct PyCache {
    pub(crate) cache: Cache,
    options: CacheOptions,
}

/// What a `Cache` has done so far.
#[pyclass(frozen, get_all, module = "wingbeat", name = "CacheStats")]
pub(crate) struct PyCacheStats {
    /// Texts that were found in memory.
    n_memory_hits: u64,
    /// Texts that were found in the folder.
    n_disk_hits: u64,
    /// Texts that were computed, wholly or from a beginning that was found.
    n_misses: u64,
    /// Of these, those whose beginning was found.
    n_prefix_hits: u64,
    /// Tokens of such beginnings, which were not computed.
    n_prefix_tokens: u64,
    /// Entries of the folder that were not what was written; they were removed, and computed again.
    n_damaged: u64,
    /// Entries that could not be kept or read, e.g. on a full disk; the results were given all the same.
    n_failures: u64,
    /// What the last damage or failure was, in words; None: there was none.
    last_error: Option<String>,
    /// Bytes of the entries in memory.
    memory_bytes: usize,
    /// Bytes of the entries in the folder, as far as this process knows.
    folder_bytes: u64,
}

#[pymethods]
impl PyCache {
    // The engine's own limits, 256 MiB and 4 GiB, as numbers that `help` can show.
    #[new]
    #[pyo3(signature = (memory_bytes = 268_435_456, folder = None, folder_bytes = 4_294_967_296))]
    fn new(
        py: Python<'_>,
        memory_bytes: i128,
        folder: Option<PathBuf>,
        folder_bytes: Option<i128>,
    ) -> PyResult<PyCache> {
        // As it was found, wherever the process goes from here.
        let folder = folder.map(|folder| std::path::absolute(&folder).unwrap_or(folder));
        let memory_bytes = count("memory_bytes", memory_bytes)?;
        let folder_bytes = folder_bytes.map(|n| count("folder_bytes", n)).transpose()?;
        let options = CacheOptions { memory_bytes, folder, folder_bytes };
        let cache = compute(py, About::Model, None, |_| Cache::new(options.clone()))?;
        Ok(PyCache { cache, options })
    }

    /// What it has done so far.
    fn stats(&self, py: Python<'_>) -> PyResult<PyCacheStats> {
        let CacheStats {
            n_memory_hits,
            n_disk_hits,
            n_misses,
            n_prefix_hits,
            n_prefix_tokens,
            n_damaged,
            n_failures,
            last_error,
            memory_bytes,
            folder_bytes,
            ..
        } = compute(py, About::Model, None, |_| Ok(self.cache.stats()))?;
        Ok(PyCacheStats {
            n_memory_hits,
            n_disk_hits,
            n_misses,
            n_prefix_hits,
            n_prefix_tokens,
            n_damaged,
            n_failures,
            last_error,
            memory_bytes,
            folder_bytes,
        })
    }

    fn __repr__(&self) -> String {
        let CacheOptions { memory_bytes, folder, folder_bytes } = &self.options;
        let mut text = format!("<wingbeat.Cache: at most {memory_bytes} bytes in memory");
        if let Some(folder) = folder {
            let most = folder_bytes.map_or("any number of".into(), |bytes| format!("at most {bytes}"));
            text += &format!(", {most} bytes in {folder:?}");
        }
        text + ">"
    }
}

#[pymethods]
impl PyCacheStats {
    fn __repr__(&self) -> String {
        let mut text = format!(
            "CacheStats(n_memory_hits={}, n_disk_hits={}, n_misses={}, n_prefix_hits={}, n_prefix_tokens={}, n_damaged={}, \
             n_failures={}, memory_bytes={}, folder_bytes={}",
            self.n_memory_hits,
            self.n_disk_hits,
            self.n_misses,
            self.n_prefix_hits,
            self.n_prefix_tokens,
            self.n_damaged,
            self.n_failures,
            self.memory_bytes,
            self.folder_bytes
        );
        if let Some(error) = &self.last_error {
            text += &format!(", last_error={error:?}");
        }
        text + ")"
    }
}
