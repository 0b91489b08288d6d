//! The engine on the CPU as a user meets it: opening, one token, a prompt, a batch, a document's state.
//!
//! `cargo bench -p wingbeat` runs the demo model; `WINGBEAT_BENCH_MODEL=FILE` another one. Items are tokens, so the
//! throughput column is tokens a second.

use divan::{Bencher, counter::ItemsCount};
use std::sync::LazyLock;
use wingbeat::{Model, ModelOptions, Sequence, State, Want};

static MODEL: LazyLock<Model> = LazyLock::new(|| on_cpu().unwrap_or_else(|error| panic!("{error}")));

fn on_cpu() -> Result<Model, wingbeat::Error> {
    let device = "cpu".parse().expect("a device");
    Model::open_with(path(), &ModelOptions { device, ..ModelOptions::default() })
}

fn path() -> String {
    std::env::var("WINGBEAT_BENCH_MODEL").unwrap_or_else(|_| {
        concat!(env!("CARGO_MANIFEST_DIR"), "/../../assets/wingbeat-demo-26m-q8_0.gguf").to_owned()
    })
}

fn main() {
    println!("{} on {}", path(), MODEL.device());
    divan::main();
}

fn tokens(n: usize) -> Vec<u32> {
    (0..n).map(|i| (i * 7919 % MODEL.config().n_vocab) as u32).collect()
}

fn states(n: usize) -> Vec<State> {
    (0..n).map(|_| MODEL.new_state().unwrap()).collect()
}

/// File to model, vocabulary included, page cache warm.
#[divan::bench]
fn open() -> usize {
    on_cpu().unwrap().tokenizer().unwrap().vocabulary().len()
}

/// One token of each of `n` sequences.
#[divan::bench(args = [1, 2, 3, 4, 8, 32])]
fn step(bencher: Bencher<'_, '_>, n: usize) {
    let (mut states, tokens) = (states(n), tokens(n));
    bencher.counter(ItemsCount::new(n)).bench_local(|| {
        let mut sequences: Vec<Sequence<'_>> = states
            .iter_mut()
            .zip(tokens.chunks(1))
            .map(|(state, tokens)| Sequence { state, tokens, want: Want::LAST_LOGITS })
            .collect();
        MODEL.forward(&mut sequences).unwrap()
    });
}

/// A prompt of `n` tokens, logits of the last.
#[divan::bench(args = [16, 512], sample_count = 10)]
fn prompt(bencher: Bencher<'_, '_>, n: usize) {
    let tokens = tokens(n);
    bencher.counter(ItemsCount::new(n)).with_inputs(|| MODEL.new_state().unwrap()).bench_local_refs(
        |state| MODEL.forward(&mut [Sequence { state, tokens: &tokens, want: Want::LAST_LOGITS }]).unwrap(),
    );
}

/// A document of 512 tokens, its state in the caller's memory.
#[divan::bench(sample_count = 10)]
fn document_state(bencher: Bencher<'_, '_>) {
    let tokens = tokens(512);
    bencher.counter(ItemsCount::new(512usize)).with_inputs(|| MODEL.new_state().unwrap()).bench_local_refs(
        |state| {
            MODEL.forward(&mut [Sequence { state, tokens: &tokens, want: Want::NOTHING }]).unwrap();
            state.read("wkv").unwrap()
        },
    );
}
