//! What a cached document's state costs, beside copying one: from memory, and from the folder with its files in the page
//! cache; and what its parts cost.
//!
//! `cargo bench -p wingbeat --bench cache`. The state is as large as that of a model of 1.5 billion parameters (24 layers of
//! 2048 channels: 13 MB); the model is one of few weights, 384 layers of 128 channels, which reading does not touch.
//! `WINGBEAT_BENCH_MODEL=FILE` takes another one.

use divan::{Bencher, counter::BytesCount};
use std::{
    io::{Read, Write},
    path::PathBuf,
    sync::LazyLock,
};
use wingbeat::{
    Cache, CacheOptions, EmbedOptions, Model, ModelOptions, State, Version,
    convert::Mix,
    synthetic::{Shape, SyntheticModel},
};

/// A model, and the folder that it and caches lie in.
struct Setting {
    folder: tempfile::TempDir,
    model: Model,
    tokens: Vec<u32>,
}

static SETTING: LazyLock<Setting> = LazyLock::new(|| {
    let folder = tempfile::tempdir().expect("a folder");
    let path = std::env::var_os("WINGBEAT_BENCH_MODEL").map_or_else(
        || {
            let path = folder.path().join("model.gguf");
            let shape = Shape {
                version: Version::V7,
                n_layers: 384,
                n_channels: 128,
                n_vocab: 256,
                low_ranks: [32, 32, 32, 32],
            };
            let model = SyntheticModel { mix: Mix::Q8_0, ..SyntheticModel::new(shape) };
            model.write_gguf(&path, &mut |_, _| true).expect("room for a model");
            path
        },
        PathBuf::from,
    );
    let options = ModelOptions { device: "cpu".parse().expect("a device"), ..ModelOptions::default() };
    let model = Model::open_with(&path, &options).expect("a model");
    Setting { folder, model, tokens: (0..64).map(|i| i * 37 % 256).collect() }
});

fn main() {
    let bytes = SETTING.model.state_layout().len_bytes();
    println!("states of {bytes} bytes on {}", SETTING.model.device());
    divan::main();
}

fn cache(memory_bytes: usize, folder: bool) -> Cache {
    let folder = folder.then(|| SETTING.folder.path().join("entries"));
    let cache = Cache::new(CacheOptions { memory_bytes, folder, folder_bytes: None }).expect("a cache");
    state(&cache);
    cache
}

fn state(cache: &Cache) -> State {
    let mut states =
        cache.states_of_tokens(&SETTING.model, &[&SETTING.tokens], &mut |_| true).expect("a state");
    states.pop().expect("a state")
}

fn counter() -> BytesCount {
    BytesCount::new(SETTING.model.state_layout().len_bytes())
}

/// From memory.
#[divan::bench]
fn from_memory(bencher: Bencher<'_, '_>) {
    let cache = cache(1 << 30, false);
    bencher.counter(counter()).bench_local(|| state(&cache));
}

/// From the folder.
#[divan::bench]
fn from_disk(bencher: Bencher<'_, '_>) {
    let cache = cache(0, true);
    bencher.counter(counter()).bench_local(|| state(&cache));
    assert_eq!(cache.stats().n_failures + cache.stats().n_damaged, 0, "{:?}", cache.stats());
}

/// From the folder, into memory that no state had before: those made so far are kept.
#[divan::bench(sample_count = 50, sample_size = 1)]
fn from_disk_into_fresh_memory(bencher: Bencher<'_, '_>) {
    let (cache, mut kept) = (cache(0, true), Vec::new());
    bencher.counter(counter()).bench_local(|| kept.push(state(&cache)));
}

/// Into the folder: what a text that is missing costs besides its computation.
#[divan::bench(sample_count = 20)]
fn into_disk(bencher: Bencher<'_, '_>) {
    let mut next = 0u32;
    let options = CacheOptions {
        memory_bytes: 0,
        folder: Some(SETTING.folder.path().join("written")),
        folder_bytes: Some(200 << 20),
    };
    let cache = Cache::new(options).expect("a cache");
    bencher.counter(counter()).bench_local(|| {
        next += 1;
        let token = [next % 256, next / 256 % 256];
        cache.states_of_tokens(&SETTING.model, &[token], &mut |_| true).expect("a state")
    });
}

/// The part of `into_disk` that is computation.
#[divan::bench(sample_count = 20)]
fn two_tokens(bencher: Bencher<'_, '_>) {
    bencher.bench_local(|| SETTING.model.states_of_tokens(&[[1, 2]], &mut |_| true).expect("a state"));
}

/// Copying a state.
#[divan::bench]
fn fork(bencher: Bencher<'_, '_>) {
    let state = SETTING.model.new_state().expect("a state");
    bencher.counter(counter()).bench_local(|| state.fork().expect("a state"));
}

/// A state of zeros: its memory.
#[divan::bench]
fn zero(bencher: Bencher<'_, '_>) {
    bencher.counter(counter()).bench_local(|| SETTING.model.new_state().expect("a state"));
}

/// Reading as many bytes into memory that is there.
#[divan::bench]
fn read(bencher: Bencher<'_, '_>) {
    let mut bytes = vec![1; SETTING.model.state_layout().len_bytes()];
    let path = SETTING.folder.path().join("bytes");
    std::fs::File::create(&path).and_then(|mut file| file.write_all(&bytes)).expect("room for a file");
    bencher.counter(counter()).bench_local(|| {
        std::fs::File::open(&path).and_then(|mut file| file.read_exact(&mut bytes)).expect("a file");
    });
}

/// The checksum of as many bytes.
#[divan::bench]
fn checksum(bencher: Bencher<'_, '_>) {
    let bytes = vec![1; SETTING.model.state_layout().len_bytes()];
    bencher.counter(counter()).bench_local(|| {
        let mut sum = xxhash_rust::xxh3::Xxh3::new();
        bytes.chunks(256 << 10).for_each(|piece| sum.update(piece));
        sum.digest128()
    });
}

/// The file of a state in the layout's order, as `State::save` writes it: checked, transposed, no checksum.
#[divan::bench]
fn load_state(bencher: Bencher<'_, '_>) {
    let path = SETTING.folder.path().join("a.state");
    SETTING.model.new_state().and_then(|state| state.save(&path)).expect("room for a file");
    bencher.counter(counter()).bench_local(|| SETTING.model.load_state(&path).expect("a state"));
}

/// A thousand embeddings from memory.
#[divan::bench]
fn embeddings_from_memory(bencher: Bencher<'_, '_>) {
    let cache = cache(1 << 30, false);
    let texts: Vec<[u32; 2]> = (0..1000).map(|i| [i % 256, i / 256]).collect();
    let options = EmbedOptions::default();
    let embed = || cache.embed_tokens(&SETTING.model, &texts, &options, &mut |_| true).expect("embeddings");
    embed();
    bencher.bench_local(embed);
}
