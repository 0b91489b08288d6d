//! Several threads give what one gives: ids, errors, whatever the texts, the vocabulary and the number of threads.

use proptest::prelude::*;

use super::{MAX_TURN_BYTES, MIN_TURN_BYTES, divide, turns};
use crate::cuts::Cuts;
use crate::trie::Trie;
use crate::{Tokenizer, TokenizerError, Vocabulary};

const DEMO: &[u8] = include_bytes!("../../../../tests/fixtures/demo-vocab.txt");

fn demo() -> Vocabulary {
    Vocabulary::from_text("demo-vocab.txt", DEMO).expect("the fixture is good")
}

/// World's tokens in an order that looks random, `n_bytes` of them or a little more.
fn tokens(n_bytes: usize, seed: u64) -> Vec<u8> {
    let world = Vocabulary::world();
    let (mut state, mut text) = (seed, Vec::with_capacity(n_bytes + 128));
    while text.len() < n_bytes {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        text.extend_from_slice(
            world.token((state >> 33) as u32 % 65529 + 1).expect("all but id 0 have text"),
        );
    }
    text
}

#[test]
fn long_texts() {
    for tokenizer in [Tokenizer::world(), Tokenizer::new(demo()).expect("small")] {
        let texts = [
            tokens(3_000_000, 1),
            // without any cut, and with a single one
            vec![b'a'; 1 << 20],
            [vec![b'a'; 1 << 19], b"b ".to_vec(), vec![b' '; 1 << 19]].concat(),
            tokens(2 * super::MIN_THREAD_BYTES - 130, 2),
            tokens(2 * super::MIN_THREAD_BYTES, 2),
            Vec::new(),
        ];
        for text in &texts {
            let expected = tokenizer.encode(text);
            assert!(expected.is_ok());
            for n_threads in [0, 1, 2, 3, 4, 7, 64, usize::MAX] {
                assert!(tokenizer.encode_parallel(text, n_threads) == expected, "{n_threads} threads");
            }
        }
        // all of them as one batch
        let texts: Vec<&[u8]> = texts.iter().map(Vec::as_slice).collect();
        let expected: Result<Vec<_>, _> = texts.iter().map(|text| tokenizer.encode(text)).collect();
        for n_threads in [0, 1, 2, 5] {
            assert!(tokenizer.encode_batch(&texts, n_threads) == expected, "{n_threads} threads");
        }
        assert_eq!(tokenizer.encode_batch(&[], 3), Ok(Vec::new()));
        assert_eq!(tokenizer.encode_batch(&[b"", b""], 3), Ok(vec![Vec::new(), Vec::new()]));
    }
}

#[test]
fn the_first_byte_without_token_is_named() {
    let v = Vocabulary::from_text("v", b"1 'a' 1\n2 'bc' 2\n3 ' ' 1\n").expect("a good file");
    let t = Tokenizer::new(v).expect("small");
    let good = b"a bc ".repeat(200_000);
    for offset in [0, 1, 65_536, 499_999, 500_000, 999_999] {
        let mut text = good.clone();
        text[offset] = b'x';
        // another one after it, in another part
        text[999_990] = b'y';
        let expected = t.encode(&text).expect_err("x has no token");
        assert!(matches!(expected, TokenizerError::NoToken { .. }));
        for n_threads in [1, 2, 5] {
            assert_eq!(t.encode_parallel(&text, n_threads), Err(expected.clone()));
            let TokenizerError::NoToken { byte, offset } = expected else { continue };
            let expected = TokenizerError::NoTokenInBatch { text: 2, byte, offset };
            assert_eq!(t.encode_batch(&[b"a", &good, &text, b"x"], n_threads), Err(expected));
        }
    }
    let error = t.encode_batch(&[b"a", b"ab"], 2).expect_err("b has no token");
    assert_eq!(error.to_string(), "text 1: no token for byte 0x62 at offset 1");
}

#[test]
fn parts_and_turns_hold_every_byte_once() {
    let cuts = Cuts::new(&Trie::new(&Vocabulary::world()).expect("small enough"));
    let long = tokens(1_000_000, 3);
    let run = vec![b'='; 300_000];
    let texts: [&[u8]; 7] = [b"", &long, b"ab", &run, &long[..100_000], b"", &long[..98_305]];
    for part_bytes in [MIN_TURN_BYTES, MAX_TURN_BYTES, usize::MAX] {
        let parts = divide(&cuts, &texts, part_bytes);
        let mut joined = vec![Vec::new()];
        for part in &parts {
            joined.last_mut().expect("never empty").extend_from_slice(part.bytes);
            if part.n_after == 0 {
                joined.push(Vec::new());
            }
        }
        assert_eq!(joined.pop(), Some(Vec::new()));
        assert!(joined == texts);
        if part_bytes == usize::MAX {
            assert_eq!(parts.len(), texts.len());
        } else {
            assert!(parts.len() > texts.len());
            let longest = parts.iter().map(|part| part.bytes.len()).filter(|&n| n != run.len()).max();
            assert!(longest.is_some_and(|n| n <= part_bytes + part_bytes / 2 + 128));
        }
        let turns = turns(&parts, MIN_TURN_BYTES);
        assert!(turns.iter().cloned().flatten().eq(0..parts.len()));
    }
}

proptest! {
    // Each case has threads at work on a megabyte.
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn random_texts_on_any_number_of_threads(
        seed: u64,
        noise in proptest::collection::vec((any::<u32>(), any::<u8>(), 1usize..2000), 0..40),
        ends in proptest::collection::vec(0usize..900_000, 0..60),
        n_threads in 0usize..9,
        is_world: bool,
    ) {
        let tokenizer = if is_world { Tokenizer::world() } else { Tokenizer::new(demo()).expect("small") };
        let mut text = tokens(700_000, seed);
        for (at, byte, n) in noise {
            let at = at as usize % text.len();
            text.splice(at..at, std::iter::repeat_n(byte, n));
        }
        let expected = tokenizer.encode(&text);
        prop_assert!(expected.is_ok());
        prop_assert!(tokenizer.encode_parallel(&text, n_threads) == expected);

        // the same text in pieces of all lengths, none among them
        let mut ends: Vec<usize> = ends.into_iter().map(|end| end.min(text.len())).collect();
        ends.sort_unstable();
        let mut texts = Vec::new();
        let mut start = 0;
        for end in ends.into_iter().chain([text.len()]) {
            texts.push(&text[start..end]);
            start = end;
        }
        let expected: Result<Vec<_>, _> = texts.iter().map(|text| tokenizer.encode(text)).collect();
        prop_assert!(tokenizer.encode_batch(&texts, n_threads) == expected);
    }
}
