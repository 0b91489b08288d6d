//! Opening: how long until a vocabulary can encode, from each form in which one comes.

use std::hint::black_box;
use std::time::Instant;

use anyhow::Result;
use wingbeat_tokenizer::{Tokenizer, Vocabulary};

use crate::Options;
use crate::llamacpp::Peer;
use crate::measure::{LLAMACPP_RUNS, Samples};

/// Models have this many ids, padding among them.
const N_IDS: usize = 65536;
/// The slower ways are measured this often at most.
const SLOW_ROUNDS: usize = 11;

/// A contender, what it opens, and how long that takes.
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) of: &'static str,
    pub(crate) samples: Samples,
}

/// Opens the World vocabulary and encodes a sentence, as the first thing that a program does with it.
pub(crate) fn first_use() -> [Row; 2] {
    let mut rows =
        ["World, first use in a process", "World and a sentence of 41 bytes, first use in a process"]
            .map(|of| row("wingbeat", of));
    let start = Instant::now();
    let tokenizer = black_box(Tokenizer::world());
    rows[0].samples.add(start.elapsed().as_secs_f64());
    let _ = black_box(tokenizer.encode(black_box(b"The Eiffel tower is in the city of Paris.")));
    rows[1].samples.add(start.elapsed().as_secs_f64());
    rows
}

/// All ways, in turns.
pub(crate) fn measure(first_use: [Row; 2], llamacpp: Option<&Peer>, options: &Options) -> Result<Vec<Row>> {
    let world = Vocabulary::world();
    let (tokens, types) = world.to_gguf(N_IDS);
    let mut other_types = types.clone();
    other_types[world.len() - 1] = types[world.len()];
    let text = world.to_text();
    let from_gguf = |types: &[i32]| Vocabulary::from_gguf(tokens.iter().map(Vec::as_slice), Some(types));

    let mut rows = Vec::from(first_use);
    let first = rows.len();
    for of in [
        "World",
        "GGUF list of 65536: vocabulary",
        "GGUF list of 65536: vocabulary and tokenizer (it is World's)",
        "GGUF list of 65536: vocabulary and tokenizer (one token differs from World's)",
        "vocabulary text file, in memory: vocabulary and tokenizer (it is World's)",
    ] {
        rows.push(row("wingbeat", of));
    }
    if let [ready, list, recognised, built, file] = &mut rows[first..] {
        for _ in 0..options.rounds {
            ready.samples.time(|| Ok(Tokenizer::world()))?;
            list.samples.time(|| Ok(from_gguf(&types)?))?;
            recognised.samples.time(|| Ok(Tokenizer::new(from_gguf(&types)?)?))?;
            built.samples.time(|| Ok(Tokenizer::new(from_gguf(&other_types)?)?))?;
            file.samples.time(|| Ok(Tokenizer::new(Vocabulary::from_text("World", &text)?)?))?;
        }
    }
    peers(&text, llamacpp, options, &mut rows)?;
    Ok(rows)
}

/// The other engines, from the forms that they read.
fn peers(text: &[u8], llamacpp: Option<&Peer>, options: &Options, rows: &mut Vec<Row>) -> Result<()> {
    let rounds = options.rounds.min(SLOW_ROUNDS);
    #[cfg(feature = "web-rwkv")]
    {
        let json = crate::contenders::json_vocabulary()?;
        let mut web_rwkv = row("web-rwkv 0.10.20", "JSON, in memory: tokenizer");
        for _ in 0..rounds {
            web_rwkv.samples.time(|| Ok(web_rwkv::tokenizer::Tokenizer::new(&json)?))?;
        }
        rows.push(web_rwkv);
    }

    let file = tempfile::NamedTempFile::new()?;
    std::fs::write(file.path(), text)?;
    let path = file.path().to_string_lossy();
    let mut rwkv_tokenizer = row("rwkv-tokenizer 0.9.1", "vocabulary text file: tokenizer");
    for _ in 0..rounds {
        rwkv_tokenizer.samples.time(|| Ok(rwkv_tokenizer::WorldTokenizer::new(Some(&path))?))?;
    }
    rows.push(rwkv_tokenizer);

    if let Some(peer) = llamacpp {
        let mut llamacpp = row("llama.cpp", "GGUF file: metadata and vocabulary");
        for _ in 0..LLAMACPP_RUNS {
            let run = peer.run()?;
            llamacpp.name = run.engine;
            llamacpp.samples.add(run.vocab_load_ms / 1e3);
        }
        rows.push(llamacpp);
    }
    Ok(())
}

fn row(name: &str, of: &'static str) -> Row {
    Row { name: name.to_owned(), of, samples: Samples::default() }
}
