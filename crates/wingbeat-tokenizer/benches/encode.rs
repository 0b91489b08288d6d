//! How fast the tokenizer is: whole texts of three kinds beside a plain trie, on several threads, a kilobyte, and
//! opening vocabularies and tables.
//!
//!     cargo bench -p wingbeat-tokenizer
//!
//! The texts are made up (`texts/`). Other tokenizers and real texts are `bench/tokenizer` in the repository.

mod plain_trie;
mod texts;

use std::sync::LazyLock;

use divan::counter::BytesCount;
use divan::{Bencher, black_box};
use plain_trie::PlainTrie;
use texts::Kind;
use wingbeat_tokenizer::{Tokenizer, Vocabulary};

fn main() {
    // Tables and texts are made before anything is timed.
    LazyLock::force(&PLAIN);
    for kind in Kind::ALL {
        kind.text();
    }
    divan::main();
}

static PLAIN: LazyLock<PlainTrie> = LazyLock::new(|| PlainTrie::new(&Vocabulary::world()));

#[divan::bench(args = Kind::ALL)]
fn encode(bencher: Bencher<'_, '_>, kind: Kind) {
    let (tokenizer, text) = (Tokenizer::world(), kind.text());
    let mut ids = Vec::new();
    bencher.counter(BytesCount::of_slice(text)).bench_local(|| {
        tokenizer.encode_into(black_box(text), &mut ids).expect("World has all bytes");
        ids.len()
    });
}

#[divan::bench(args = Kind::ALL)]
fn encode_plain_trie(bencher: Bencher<'_, '_>, kind: Kind) {
    let text = kind.text();
    let mut ids = Vec::new();
    let expected = Tokenizer::world().encode(text).expect("World has all bytes");
    PLAIN.encode(text, &mut ids);
    assert_eq!(ids, expected, "the two must agree before they are compared");
    bencher.counter(BytesCount::of_slice(text)).bench_local(|| {
        PLAIN.encode(black_box(text), &mut ids);
        ids.len()
    });
}

/// Sixteen mebibytes, as a whole.
#[divan::bench(args = [1, 2, 4, 8])]
fn encode_parallel(bencher: Bencher<'_, '_>, n_threads: usize) {
    let (tokenizer, text) = (Tokenizer::world(), Kind::Prose.text().repeat(16));
    bencher
        .counter(BytesCount::of_slice(&text))
        .bench_local(|| tokenizer.encode_parallel(black_box(&text), n_threads));
}

/// The same in texts of four kilobytes.
#[divan::bench(args = [1, 2, 4, 8])]
fn encode_batch(bencher: Bencher<'_, '_>, n_threads: usize) {
    let (tokenizer, text) = (Tokenizer::world(), Kind::Prose.text().repeat(16));
    let texts: Vec<&[u8]> = text.chunks(4096).collect();
    bencher
        .counter(BytesCount::of_slice(&text))
        .bench_local(|| tokenizer.encode_batch(black_box(&texts), n_threads));
}

#[divan::bench(args = Kind::ALL)]
fn encode_1_kb(bencher: Bencher<'_, '_>, kind: Kind) {
    let (tokenizer, text) = (Tokenizer::world(), &kind.text()[..1024]);
    let mut ids = Vec::new();
    bencher.counter(BytesCount::of_slice(text)).bench_local(|| {
        tokenizer.encode_into(black_box(text), &mut ids).expect("World has all bytes");
        ids.len()
    });
}

#[divan::bench(args = Kind::ALL)]
fn decode(bencher: Bencher<'_, '_>, kind: Kind) {
    let (tokenizer, text) = (Tokenizer::world(), kind.text());
    let ids = tokenizer.encode(text).expect("World has all bytes");
    bencher.counter(BytesCount::of_slice(text)).bench(|| tokenizer.decode(black_box(&ids)));
}

#[divan::bench(args = Kind::ALL)]
fn stream(bencher: Bencher<'_, '_>, kind: Kind) {
    let (tokenizer, text) = (Tokenizer::world(), kind.text());
    let ids = tokenizer.encode(text).expect("World has all bytes");
    bencher.counter(BytesCount::of_slice(text)).bench(|| {
        let mut stream = tokenizer.stream();
        let n: usize = ids.iter().map(|&id| stream.push(id).map_or(0, <[u8]>::len)).sum();
        n + stream.finish().len()
    });
}

#[divan::bench]
fn world() -> Tokenizer {
    Tokenizer::world()
}

/// A model's own list which proves to be World's.
#[divan::bench]
fn recognise_world(bencher: Bencher<'_, '_>) {
    let vocabulary = Vocabulary::from_text("world", &Vocabulary::world().to_text()).expect("just written");
    bencher.with_inputs(|| vocabulary.clone()).bench_values(Tokenizer::new);
}

/// A list as long as World's which isn't World's: without its last token.
#[divan::bench]
fn build_tables(bencher: Bencher<'_, '_>) {
    let (tokens, mut types) = Vocabulary::world().to_gguf(65536);
    types[65529] = types[65530];
    let tokens = tokens.iter().map(Vec::as_slice);
    let vocabulary = Vocabulary::from_gguf(tokens, Some(&types)).expect("just written");
    bencher.with_inputs(|| vocabulary.clone()).bench_values(Tokenizer::new);
}

#[divan::bench]
fn read_text(bencher: Bencher<'_, '_>) {
    let text = Vocabulary::world().to_text();
    bencher.bench(|| Vocabulary::from_text("world", black_box(&text)));
}

#[divan::bench]
fn read_packed(bencher: Bencher<'_, '_>) {
    let packed = Vocabulary::world().to_packed();
    bencher.bench(|| Vocabulary::from_packed(black_box(&packed)));
}

#[divan::bench]
fn read_gguf(bencher: Bencher<'_, '_>) {
    let (tokens, types) = Vocabulary::world().to_gguf(65536);
    bencher.bench(|| Vocabulary::from_gguf(black_box(&tokens).iter().map(Vec::as_slice), Some(&types)));
}
