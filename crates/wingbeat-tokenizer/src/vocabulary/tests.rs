//! The World vocabulary is the official one; padding; round trips of random vocabularies through all forms.

use proptest::prelude::*;
use sha2::{Digest, Sha256};

use super::{MAX_IDS, Vocabulary};
use crate::TokenizerError;

const DEMO: &[u8] = include_bytes!("../../../../tests/fixtures/demo-vocab.txt");

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn world_is_the_official_file() {
    let world = Vocabulary::world();
    assert_eq!((world.len(), world.iter().count(), world.max_token_bytes()), (65530, 65529, 128));
    let text = world.to_text();
    assert_eq!(sha256(&text), "e6dee3d4e31b4d5c40ac99508ac6c701ceef4bed681bf2167ce9a908552bca89");
    // `rwkv_vocab_v20230424.txt` as the PyPI package `rwkv` 0.8.32 has it, with CRLF.
    let crlf =
        text.split_inclusive(|&b| b == b'\n').flat_map(|line| [&line[..line.len() - 1], b"\r\n"].concat());
    let crlf: Vec<u8> = crlf.collect();
    assert_eq!(sha256(&crlf), "8324476023347dec2964625ccb2075c864d250a9c6d9a74f36daba628de8c008");
    assert_eq!(Vocabulary::from_text("world", &text), Ok(world.clone()));
    assert_eq!(Vocabulary::from_text("world", &crlf), Ok(world.clone()));

    for id in 1..=256u32 {
        assert_eq!(world.token(id), Some([(id - 1) as u8].as_slice()));
    }
    assert_eq!(world.token(0), None);
    assert_eq!(world.token(261), Some(b"\n\n".as_slice()));
    assert_eq!(world.token(65529), Some([b' '; 128].as_slice()));
    assert_eq!(world.token(65530), None);
}

#[test]
fn demo_reads_and_writes_back() {
    let demo = Vocabulary::from_text("demo-vocab.txt", DEMO).expect("the fixture is good");
    assert_eq!((demo.len(), demo.iter().count()), (8192, 8191));
    assert_eq!(demo.to_text(), DEMO);
}

#[test]
fn padding_comes_and_goes() {
    let world = Vocabulary::world();
    let padded = world.padded(65536).expect("within the limit");
    assert_eq!((padded.len(), padded.token(65535)), (65536, None));
    assert_ne!(padded, world);
    assert_eq!(padded.without_padding(), world);
    assert_eq!(Vocabulary::from_text("padded", &padded.to_text()), Ok(padded.clone()));
    assert_eq!(padded.padded(3), Ok(padded));
    let error = world.padded(MAX_IDS + 1).expect_err("beyond the limit");
    assert_eq!(error, TokenizerError::TooLarge { what: "ids", found: MAX_IDS + 1, limit: MAX_IDS });
    let empty = Vocabulary::from_text("empty", b"").expect("nothing wrong with it");
    assert_eq!(empty.without_padding(), empty);
    assert_eq!(empty.padded(4).map(|v| v.len()), Ok(4));
}

/// Some ids with some bytes for text; equal texts may occur.
fn texts() -> impl Strategy<Value = Vec<(u32, Vec<u8>)>> {
    let text = prop_oneof![
        proptest::collection::vec(any::<u8>(), 1..8),
        any::<String>().prop_filter("has text", |s| !s.is_empty()).prop_map(String::into_bytes),
    ];
    proptest::collection::btree_map(1u32..5000, text, 0..40).prop_map(|map| map.into_iter().collect())
}

proptest! {
    #[test]
    fn every_form_gives_the_vocabulary_back(texts in texts(), n_pads in 0usize..3) {
        let mut bytes = Vec::new();
        let mut entries = Vec::new();
        for (id, text) in &texts {
            let start = bytes.len();
            bytes.extend_from_slice(text);
            entries.push(super::Entry { id: *id, start, end: bytes.len() });
        }
        let v = Vocabulary::from_entries(&bytes, &entries).expect("small");
        let v = v.padded(v.len() + n_pads).expect("small");
        prop_assert_eq!(v.iter().map(|(id, text)| (id, text.to_vec())).collect::<Vec<_>>(), texts);

        prop_assert_eq!(Vocabulary::from_text("v", &v.to_text()), Ok(v.clone()));
        prop_assert_eq!(Vocabulary::from_packed(&v.to_packed()), Ok(v.clone()));
        let (tokens, types) = v.to_gguf(v.len());
        let back = Vocabulary::from_gguf(tokens.iter().map(Vec::as_slice), Some(&types));
        prop_assert_eq!(back, Ok(v));
    }
}
