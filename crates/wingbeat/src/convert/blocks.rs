//! Rows encoded by several threads, handed on in their order.

use super::Sink;
use crate::Error;
use std::ops::Range;
use wingbeat_format::FormatError;

/// Values encoded by one thread at a time: 2 MiB of f32.
const BLOCK_VALUES: usize = 1 << 19;

/// Encodes `n_rows` rows of `width` values with all cores: `encode` makes the bytes of a run of rows, `sink` gets them
/// one run after the other. A block a core is in memory at a time, and the bytes do not depend on how many there are.
pub(crate) fn in_order(
    n_rows: usize,
    width: usize,
    encode: impl Fn(Range<usize>) -> Result<Vec<u8>, FormatError> + Sync,
    sink: Sink<'_>,
) -> Result<(), Error> {
    let n_threads = std::thread::available_parallelism().map_or(1, usize::from);
    let step = (BLOCK_VALUES / width.max(1)).max(1);
    let starts: Vec<usize> = (0..n_rows).step_by(step).collect();
    let block = |start: usize| encode(start..(start + step).min(n_rows));
    for starts in starts.chunks(n_threads) {
        if let [start] = *starts {
            sink(&block(start)?)?;
            continue;
        }
        let blocks: Vec<Option<Result<Vec<u8>, FormatError>>> = std::thread::scope(|scope| {
            let block = &block;
            let spawn = |&start| std::thread::Builder::new().spawn_scoped(scope, move || block(start));
            let threads: Vec<_> = starts.iter().map(spawn).collect();
            threads.into_iter().map(|thread| thread.ok()?.join().ok()).collect()
        });
        for (&start, made) in starts.iter().zip(blocks) {
            // A thread that could not be started: its block is made here.
            sink(&made.unwrap_or_else(|| block(start))?)?;
        }
    }
    Ok(())
}
