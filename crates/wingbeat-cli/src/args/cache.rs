//! `--cache`: a folder of what was computed before. The cache is the library's; here is where it lies, how large it may
//! become, and how it tells of trouble.

use super::Global;
use crate::failure;
use anyhow::Context;
use clap::Args;
use std::path::PathBuf;
use wingbeat::{Cache, CacheOptions, CacheStats, user_cache_folder};

/// Where entries are kept in the user's cache folder: compiled kernels lie beside it.
const FOLDER: &str = "results";

/// Flags of the commands that need not compute a thing twice.
#[derive(Args)]
#[command(next_help_heading = "Cache")]
pub(crate) struct CacheArgs {
    /// Keep results in this folder, and take from there what was computed before, byte for byte the same; it may be
    /// deleted at any time [default: `results` below WINGBEAT_CACHE, or below `wingbeat` in the user's cache folder]
    // Without the sign, the document would be taken for the folder.
    #[arg(long, value_name = "FOLDER", num_args = 0..=1, require_equals = true)]
    cache: Option<Option<PathBuf>>,
    /// Bytes of that folder at most, beyond which what was not used for longest goes; k, M and G are powers of 1024
    /// [default: 4G]
    #[arg(long, value_name = "BYTES", requires = "cache", value_parser = bytes)]
    cache_limit: Option<u64>,
}

impl CacheArgs {
    /// Opens the cache, if one was asked for.
    pub(crate) fn open(&self) -> anyhow::Result<Option<Cache>> {
        let Some(folder) = &self.cache else { return Ok(None) };
        let folder = match folder {
            Some(folder) => folder.clone(),
            None => user_cache_folder()
                .context("--cache: this user has no cache folder, or WINGBEAT_CACHE is empty; name one with --cache=FOLDER")?
                .join(FOLDER),
        };
        let default = CacheOptions::default();
        let folder_bytes = self.cache_limit.or(default.folder_bytes);
        // A command asks for a thing once: what lies in memory would be of no use to the next one.
        Ok(Some(Cache::new(CacheOptions { memory_bytes: 0, folder: Some(folder), folder_bytes })?))
    }
}

/// Tells of entries that were damaged, or could not be kept or read: that cost time, and nothing else.
pub(crate) fn note_trouble(stats: &CacheStats, global: Global) {
    let Some(last) = stats.last_error.as_ref().filter(|_| !global.quiet) else { return };
    match (stats.n_damaged + stats.n_failures).saturating_sub(1) {
        0 => failure::note(&format!("cache: {last}")),
        others => failure::note(&format!("cache: {last}; and {others} more before it")),
    }
}

/// A number of bytes, from 1.
pub(crate) fn bytes(text: &str) -> Result<u64, String> {
    let (digits, shift) = match text.char_indices().last() {
        Some((at, 'k' | 'K')) => (&text[..at], 10),
        Some((at, 'm' | 'M')) => (&text[..at], 20),
        Some((at, 'g' | 'G')) => (&text[..at], 30),
        _ => (text, 0),
    };
    let n: Option<u64> = digits.parse().ok().filter(|_| digits.bytes().all(|byte| byte.is_ascii_digit()));
    n.and_then(|n| n.checked_mul(1 << shift))
        .filter(|n| *n > 0)
        .ok_or_else(|| "expected a number of bytes from 1, such as 800000, 500M or 4G".to_owned())
}

#[cfg(test)]
mod tests;
