//! Timing: rounds in which the contenders take turns, and what is kept of them.

use std::hint::black_box;
use std::time::Instant;

use anyhow::Result;
use wingbeat_tokenizer::Tokenizer;

use crate::Options;
use crate::contenders::Contender;
use crate::llamacpp::Peer;
use crate::texts::{KILOBYTE, Text};

/// So many kilobytes are encoded for one sample: it then takes much longer than reading the clock.
const KILOBYTES: usize = 256;
/// More than any cache of today's servers' cores: after a sweep over it nothing of a table is left in them.
const SWEEP_BYTES: usize = 64 << 20;
/// llama.cpp's program starts anew for each sample, so there are fewer.
pub(crate) const LLAMACPP_RUNS: usize = 7;
/// Those rounds take the longest, so there are fewer of them too.
const LONG_ROUNDS: usize = 15;
/// Texts for several threads are repeated up to this length.
const LONG_BYTES: usize = 24 << 20;

/// Samples of one thing, in seconds.
#[derive(Clone, Default)]
pub(crate) struct Samples(Vec<f64>);

impl Samples {
    pub(crate) fn add(&mut self, seconds: f64) {
        self.0.push(seconds);
    }

    /// Times `work` and keeps what it gives alive until the clock has been read.
    pub(crate) fn time<T>(&mut self, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let start = Instant::now();
        let result = black_box(work()?);
        self.add(start.elapsed().as_secs_f64());
        Ok(result)
    }

    pub(crate) fn best(&self) -> f64 {
        self.0.iter().copied().fold(f64::INFINITY, f64::min)
    }

    pub(crate) fn median(&self) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let n = sorted.len();
        match n {
            0 => f64::NAN,
            _ => (sorted[n / 2] + sorted[(n - 1) / 2]) / 2.0,
        }
    }
}

/// A contender's samples of one thing.
pub(crate) struct Row {
    pub(crate) name: String,
    /// The text or the situation.
    pub(crate) of: String,
    /// How many bytes one sample encodes.
    pub(crate) n_bytes: usize,
    pub(crate) n_tokens: usize,
    pub(crate) samples: Samples,
}

/// Each text as a whole, on one thread.
pub(crate) fn whole_texts(
    contenders: &mut [Contender],
    texts: &[Text],
    options: &Options,
) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for text in texts {
        let first = rows.len();
        rows.extend(contenders.iter().map(|c| row(c.name, text.name, text.text.len())));
        for _ in 0..options.rounds {
            for (row, contender) in rows[first..].iter_mut().zip(&mut *contenders) {
                // Once for nothing, as the contender before has left the caches full of its own tables.
                (contender.encode)(&text.text)?;
                row.n_tokens = row.samples.time(|| (contender.encode)(black_box(&text.text)))?;
            }
        }
    }
    Ok(rows)
}

/// A kilobyte: the same one again and again, another one of `text` each time, and one after everything is out of
/// the caches.
pub(crate) fn kilobyte(
    contenders: &mut [Contender],
    text: &str,
    llamacpp: Option<&Peer>,
    options: &Options,
) -> Result<Vec<Row>> {
    let same = [KILOBYTE; KILOBYTES];
    let others = kilobytes(text);
    let rows = |of| contenders.iter().map(|c| row(c.name, of, KILOBYTE.len())).collect::<Vec<Row>>();
    let mut same_rows = rows("the same again and again");
    let mut others_rows = rows("another each time, 256 in a row");
    let mut cold_rows = rows("after 64 MiB of other memory");
    let mut peer_row = row("llama.cpp", "the same again and again", KILOBYTE.len());
    let mut memory = vec![1u8; SWEEP_BYTES];
    for round in 0..options.rounds {
        for (rows, texts) in [(&mut same_rows, same.as_slice()), (&mut others_rows, &others)] {
            for (row, contender) in rows.iter_mut().zip(&mut *contenders) {
                for text in texts {
                    (contender.encode)(text)?;
                }
                let start = Instant::now();
                for text in texts {
                    row.n_tokens = (contender.encode)(black_box(text))?;
                }
                row.samples.add(start.elapsed().as_secs_f64() / texts.len() as f64);
            }
        }
        for (row, contender) in cold_rows.iter_mut().zip(&mut *contenders) {
            memory.iter_mut().step_by(64).for_each(|byte| *byte = byte.wrapping_add(1));
            black_box(&mut memory);
            row.n_tokens = row.samples.time(|| (contender.encode)(black_box(KILOBYTE)))?;
        }
        if let Some(peer) = llamacpp
            && round < LLAMACPP_RUNS
        {
            let run = peer.run()?;
            peer_row.name = run.engine;
            peer_row.samples.add(run.tokenize_us / 1e6);
        }
    }
    if llamacpp.is_some() {
        same_rows.push(peer_row);
    }
    Ok(same_rows.into_iter().chain(others_rows).chain(cold_rows).collect())
}

/// The first kilobytes of `text`, as many as there are up to [`KILOBYTES`].
fn kilobytes(text: &str) -> Vec<&str> {
    let mut rest = text;
    let mut kilobytes = Vec::new();
    while kilobytes.len() < KILOBYTES && rest.len() >= KILOBYTE.len() {
        let (kilobyte, after) = rest.split_at(rest.floor_char_boundary(KILOBYTE.len()));
        kilobytes.push(kilobyte);
        rest = after;
    }
    kilobytes
}

/// Long texts on one thread and on several; Wingbeat alone.
pub(crate) fn threads(texts: &[Text], options: &Options) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    let (tokenizer, n) = (Tokenizer::world(), options.threads);
    for text in texts.iter().filter(|text| !text.text.is_empty()) {
        let long = text.text.repeat(LONG_BYTES.div_ceil(text.text.len()));
        let pieces: Vec<&[u8]> = long.as_bytes().chunks(4096).collect();
        let first = rows.len();
        for name in [
            "encode, 1 thread".to_owned(),
            format!("encode_parallel, {n} threads"),
            format!("encode_batch of 4 KiB, {n} threads"),
            format!("{n} threads with parts and buffers of their own, nothing joined"),
        ] {
            rows.push(row(&name, text.name, long.len()));
        }
        let [single, parallel, batch, apart] = &mut rows[first..] else { continue };
        let mut buffers = vec![Vec::new(); n];
        for _ in 0..options.rounds.min(LONG_ROUNDS) {
            let long = black_box(long.as_bytes());
            let expected = single.samples.time(|| Ok(tokenizer.encode(long)?))?;
            let ids = parallel.samples.time(|| Ok(tokenizer.encode_parallel(long, n)?))?;
            anyhow::ensure!(ids == expected, "{n} threads give other ids than one");
            let batch_ids = batch.samples.time(|| Ok(tokenizer.encode_batch(&pieces, n)?))?;
            apart.samples.time(|| encode_apart(&tokenizer, long, &mut buffers))?;
            (single.n_tokens, parallel.n_tokens) = (expected.len(), ids.len());
            batch.n_tokens = batch_ids.iter().map(Vec::len).sum();
            apart.n_tokens = buffers.iter().map(Vec::len).sum();
        }
    }
    Ok(rows)
}

/// What the machine gives several threads at this moment: each encodes as long a part, and that is all.
fn encode_apart(tokenizer: &Tokenizer, text: &[u8], buffers: &mut [Vec<u32>]) -> Result<()> {
    let part_bytes = text.len().div_ceil(buffers.len());
    std::thread::scope(|scope| {
        let parts = text.chunks(part_bytes).zip(buffers);
        let threads: Vec<_> =
            parts.map(|(part, ids)| scope.spawn(|| tokenizer.encode_into(part, ids))).collect();
        for thread in threads {
            thread.join().map_err(|_| anyhow::anyhow!("a thread panicked"))??;
        }
        Ok(())
    })
}

fn row(name: &str, of: &str, n_bytes: usize) -> Row {
    Row { name: name.to_owned(), of: of.to_owned(), n_bytes, n_tokens: 0, samples: Samples::default() }
}
