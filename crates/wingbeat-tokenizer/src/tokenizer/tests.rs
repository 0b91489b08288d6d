//! Encoding and decoding against a plain reference, over random and over bundled vocabularies.
//!
//! The reference looks every length up in a hash map. Texts are long enough for the side-by-side cursors
//! (`cursors.rs`), whose tests are here too: they can be right only as a whole.

use std::collections::HashMap;

use proptest::prelude::*;
use sha2::{Digest, Sha256};

use super::Tokenizer;
use crate::{TokenizerError, Vocabulary};

const DEMO: &[u8] = include_bytes!("../../../../tests/fixtures/demo-vocab.txt");

/// Greedy longest match by looking up.
struct Reference<'a> {
    ids: HashMap<&'a [u8], u32>,
    max_token_bytes: usize,
}

impl<'a> Reference<'a> {
    fn new(vocabulary: &'a Vocabulary) -> Reference<'a> {
        let ids = vocabulary.iter().map(|(id, text)| (text, id)).collect();
        Reference { ids, max_token_bytes: vocabulary.max_token_bytes() }
    }

    fn encode(&self, text: &[u8]) -> Result<Vec<u32>, TokenizerError> {
        let mut out = Vec::new();
        let mut offset = 0;
        while offset < text.len() {
            let longest = self.max_token_bytes.min(text.len() - offset);
            let found = (1..=longest).rev().find_map(|n| Some((n, self.ids.get(&text[offset..offset + n])?)));
            let Some((n, &id)) = found else {
                return Err(TokenizerError::NoToken { byte: text[offset], offset });
            };
            out.push(id);
            offset += n;
        }
        Ok(out)
    }
}

/// Encodes, compares with the reference and decodes again.
fn check(tokenizer: &Tokenizer, reference: &Reference<'_>, text: &[u8]) {
    let ids = tokenizer.encode(text);
    let expected = reference.encode(text);
    if ids != expected {
        let at = ids.iter().flatten().zip(expected.iter().flatten()).position(|(a, b)| a != b);
        panic!("{} bytes, beginning {:?}: differs at token {at:?}", text.len(), &text[..text.len().min(200)]);
    }
    if let Ok(ids) = ids {
        assert_eq!(tokenizer.decode(&ids).as_deref(), Ok(text));
    }
}

/// A repeatable stream of bytes (Knuth's MMIX generator, top bits).
fn random_bytes(n: usize) -> Vec<u8> {
    let mut state = 12345u64;
    let mut next = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 56) as u8
    };
    (0..n).map(|_| next()).collect()
}

fn demo() -> Tokenizer {
    Tokenizer::new(Vocabulary::from_text("demo-vocab.txt", DEMO).expect("the fixture is good"))
        .expect("small")
}

/// Expected ids are from the Python tokenizer in the PyPI package `rwkv`.
#[test]
fn known_ids() {
    let cases: &[(&[u8], &[u32])] = &[
        (b"", &[]),
        (
            b"The Eiffel tower is in the city of Paris.\n\nUser: hi\r\n",
            &[
                6699, 304, 25740, 109, 39990, 4600, 4596, 22590, 30449, 4706, 37138, 47, 261, 24281, 59,
                4571, 263,
            ],
        ),
        (
            "今天天气很好，我们去公园散步吧。".as_bytes(),
            &[
                10381, 11639, 11639, 13655, 12337, 11685, 19137, 12605, 10402, 10985, 10678, 11423, 13001,
                13582, 11061, 10080,
            ],
        ),
        (
            "Привет, как дела? 🦉🌍".as_bytes(),
            &[27858, 27950, 27930, 45, 48025, 57689, 64, 33, 3319, 167, 138, 3319, 141, 142],
        ),
        (
            b"fn main() {\n    println!(\"{}\", 1 << 22);\n}\n",
            &[1879, 31356, 472, 358, 28352, 49580, 365, 398, 9187, 284, 3585, 3495, 502, 11, 126, 11],
        ),
        (
            "東京は日本の首都です。안녕하세요".as_bytes(),
            &[
                13241, 10362, 10139, 13053, 13205, 10138, 18117, 17311, 43382, 10080, 18815, 3266, 150,
                19052, 18777, 18862,
            ],
        ),
        (b"\xff\xff\x00\xe4\xb8\x00\xf0\x9f", &[256, 256, 1, 3025, 1, 3319]),
    ];
    let world = Tokenizer::world();
    for (text, ids) in cases {
        assert_eq!(world.encode(text).as_deref(), Ok(*ids));
        assert_eq!(world.decode(ids).as_deref(), Ok(*text));
    }
    let text = b"It was a bright cold morning, and the clock's hands were understanding nothing.";
    let ids = [404, 2321, 291, 5302, 3034, 6603, 45, 1868, 2278, 4294, 320, 4492, 3739, 8187, 6616, 47];
    assert_eq!(demo().encode(text).as_deref(), Ok(ids.as_slice()));

    // 100,000 random bytes: more than one block of the cursors
    let ids = world.encode(&random_bytes(100_000)).expect("all bytes are there");
    let digest = Sha256::digest(ids.iter().flat_map(|id| id.to_le_bytes()).collect::<Vec<u8>>());
    let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hex, "cbe8bee0f569828228cdd65e43d53c3c2e7a24328b836aeec775738088bb8f1d");
}

#[test]
fn hard_texts() {
    for tokenizer in [Tokenizer::world(), demo()] {
        let vocabulary = tokenizer.vocabulary();
        let reference = Reference::new(vocabulary);
        let check = |text: &[u8]| check(&tokenizer, &reference, text);
        check(b"\xff\xff");
        check(&(0..=255).collect::<Vec<u8>>());
        check(&(0..=255).rev().collect::<Vec<u8>>());
        check(&(0..=u16::MAX).flat_map(u16::to_be_bytes).collect::<Vec<u8>>());
        check(&random_bytes(300_000));
        for byte in [b'a', b' ', b'\n', b'=', b'-', 0, 0xe4, 0xff] {
            check(&vec![byte; 100_000]);
            for n in 1..300 {
                check(&vec![byte; n]);
                check(&[vec![byte; n], b"x\n\n".to_vec(), vec![b'\t'; n]].concat());
            }
        }
        // every token, in order and in reverse: 370 kB of World
        let tokens: Vec<&[u8]> = vocabulary.iter().map(|(_, text)| text).collect();
        check(&tokens.concat());
        check(&tokens.iter().rev().copied().collect::<Vec<_>>().concat());
    }
}

#[test]
fn a_mebibyte_of_one_letter() {
    let world = Tokenizer::world();
    let text = vec![b'a'; 1 << 20];
    let mut ids = vec![7; 3];
    world.encode_into(&text, &mut ids).expect("all bytes are there");
    // World's longest token of only `a` ends the argument about what to expect.
    let (id, token) = world
        .vocabulary()
        .iter()
        .filter(|(_, token)| token.iter().all(|&b| b == b'a'))
        .max_by_key(|(_, token)| token.len())
        .expect("there is the single byte");
    assert!(ids[..text.len() / token.len()].iter().all(|&found| found == id));
    assert_eq!(world.decode(&ids), Ok(text));
}

#[test]
fn of_equal_texts_the_highest_id_is_found_and_all_decode() {
    let v =
        Vocabulary::from_text("v", b"9 'ab' 2\n3 'ab' 2\n5 'ab' 2\n1 'a' 1\n2 'b' 1\n").expect("a good file");
    let t = Tokenizer::new(v).expect("small");
    assert_eq!(t.encode(b"abba"), Ok(vec![9, 2, 1]));
    assert_eq!(t.decode(&[3, 5, 9]).as_deref(), Ok(b"ababab".as_slice()));
    assert_eq!((t.token_id(b"ab"), t.token_id(b"abb"), t.token_id(b"")), (Some(9), None, None));
}

#[test]
fn ids_beyond_16_bits() {
    let v = Vocabulary::from_text("v", b"4194303 'ab' 2\n70000 'a' 1\n").expect("a good file");
    let t = Tokenizer::new(v).expect("few nodes");
    assert_eq!(t.encode(&b"aab".repeat(1000)), Ok([70000, 4194303].repeat(1000)));
}

#[test]
fn a_byte_without_token_is_named() {
    let v = Vocabulary::from_text("v", b"1 'a' 1\n2 'bc' 2\n3 ' ' 1\n").expect("a good file");
    let t = Tokenizer::new(v).expect("small");
    assert_eq!(t.encode(b"abca"), Ok(vec![1, 2, 1]));
    for (text, byte, offset) in [("abcb", b'b', 3), ("c", b'c', 0), ("a\0", 0, 1), ("aab a", b'b', 2)] {
        assert_eq!(t.encode(text.as_bytes()), Err(TokenizerError::NoToken { byte, offset }), "{text}");
    }
    // far into a text that several cursors walk, in any of their sections and beyond the first block
    for offset in [5, 199, 400, 777, 100_000, 250_000] {
        let mut text = b"a bc ".repeat(60_000);
        text[offset] = b'x';
        let mut ids = Vec::new();
        let error = t.encode_into(&text, &mut ids).expect_err("x has no token");
        let first = if text[offset - 1] == b'b' { (b'b', offset - 1) } else { (b'x', offset) };
        assert_eq!(error, TokenizerError::NoToken { byte: first.0, offset: first.1 });
        assert_eq!(t.decode(&ids).as_deref(), Ok(&text[..first.1]));
    }
    assert_eq!(
        t.encode(b"ac").expect_err("c has no token").to_string(),
        "no token for byte 0x63 at offset 1"
    );
}

#[test]
fn decoding_names_an_unknown_id_and_skips_ids_without_text() {
    let world = Tokenizer::world();
    assert_eq!(world.decode(&[0, 261, 0]).as_deref(), Ok(b"\n\n".as_slice()));
    for id in [65530, u32::MAX] {
        assert_eq!(world.decode(&[261, id]), Err(TokenizerError::UnknownId { index: 1, id, n_ids: 65530 }));
    }
    let padded = Tokenizer::new(world.vocabulary().padded(65536).expect("within the limit")).expect("small");
    assert_eq!(padded.decode(&[65535]).as_deref(), Ok(b"".as_slice()));
}

#[test]
fn can_be_shared_by_threads() {
    fn assert_shareable<T: Clone + Send + Sync + 'static>() {}
    assert_shareable::<Tokenizer>();
    assert_shareable::<Vocabulary>();
    assert_shareable::<crate::StreamDecoder>();
}

/// A vocabulary that is hard to match: few different bytes, long common beginnings, gaps, equal texts, sometimes
/// without some single bytes.
fn vocabularies() -> impl Strategy<Value = Vocabulary> {
    const ALPHABET: &[u8] = b"ab \n\0\xff\xe4\xb8\xad";
    let letter = proptest::sample::select(ALPHABET);
    let short = proptest::collection::vec(letter.clone(), 1..7);
    let stem = proptest::collection::vec(letter, 100..260);
    (proptest::collection::vec(short, 0..60), stem, any::<bool>(), 1usize..300).prop_map(
        |(short, stem, with_singles, gap)| {
            let mut tokens: Vec<Vec<u8>> = vec![Vec::new(); gap];
            for (i, text) in short.iter().enumerate() {
                tokens.push(text.clone());
                // a token that leaves the stem somewhere, so that a long walk often ends in a short token
                tokens.push([&stem[..(i * 13) % stem.len()], text.as_slice()].concat());
            }
            tokens.push(stem);
            if with_singles {
                tokens.extend((0..=255).map(|byte| if byte == b'\\' { vec![byte; 2] } else { vec![byte] }));
            }
            Vocabulary::from_gguf(tokens.iter().map(Vec::as_slice), None).expect("no other escapes in there")
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn random_vocabularies_agree_with_the_reference(
        vocabulary in vocabularies(),
        picks in proptest::collection::vec((any::<u16>(), any::<u8>()), 0..200),
        n_repeats in prop_oneof![8 => Just(1usize), 1 => 50usize..200],
        noise in proptest::collection::vec((any::<u16>(), proptest::sample::select(b"ab \n\0\xffx".as_slice())), 0..4),
    ) {
        let tokenizer = Tokenizer::new(vocabulary).expect("small");
        let tokens: Vec<&[u8]> = tokenizer.vocabulary().iter().map(|(_, text)| text).collect();
        // tokens, some of them cut short, one after another
        let mut text = Vec::new();
        for (which, cut) in picks {
            let token = tokens[usize::from(which) % tokens.len()];
            let n = if cut < 160 { token.len() } else { usize::from(cut) % token.len() + 1 };
            text.extend_from_slice(&token[..n]);
        }
        let mut text = text.repeat(n_repeats);
        for (at, byte) in noise {
            text.insert(usize::from(at) % (text.len() + 1), byte);
        }
        check(&tokenizer, &Reference::new(tokenizer.vocabulary()), &text);
    }

    #[test]
    fn world_agrees_with_the_reference(
        picks in proptest::collection::vec((1u32..65530, any::<u8>()), 0..400),
        any_text: String,
        any_bytes: Vec<u8>,
    ) {
        let world = Tokenizer::world();
        thread_local! {
            static REFERENCE: Reference<'static> = Reference::new(Box::leak(Box::new(Vocabulary::world())));
        }
        let mut text = Vec::new();
        for (id, cut) in picks {
            let token = world.vocabulary().token(id).expect("all but id 0 have text");
            let n = if cut < 128 { token.len() } else { usize::from(cut) % token.len() + 1 };
            text.extend_from_slice(&token[..n]);
        }
        REFERENCE.with(|reference| {
            check(&world, reference, &text);
            check(&world, reference, any_text.as_bytes());
            check(&world, reference, &any_bytes);
        });
    }

    #[test]
    fn decoding_any_ids_never_panics(ids: Vec<u32>) {
        let _ = demo_once().decode(&ids);
    }
}

fn demo_once() -> &'static Tokenizer {
    static DEMO: std::sync::OnceLock<Tokenizer> = std::sync::OnceLock::new();
    DEMO.get_or_init(demo)
}
