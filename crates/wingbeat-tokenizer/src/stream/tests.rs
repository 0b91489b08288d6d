//! Streams: nothing lost, nothing cut in two, nothing held that need not be.

use proptest::prelude::*;

use super::unfinished;
use crate::{Tokenizer, TokenizerError, Vocabulary};

/// All pushes one by one, and what the end gave.
fn run(tokenizer: &Tokenizer, ids: &[u32]) -> (Vec<Vec<u8>>, Vec<u8>) {
    let mut stream = tokenizer.stream();
    let pushes = ids.iter().map(|&id| stream.push(id).expect("ids of the vocabulary").to_vec()).collect();
    (pushes, stream.finish().to_vec())
}

/// The vocabulary of the single bytes: the byte b is id b + 1.
fn single_bytes() -> Tokenizer {
    let tokens: Vec<Vec<u8>> = (0..=255u8).map(|b| if b == b'\\' { vec![b, b] } else { vec![b] }).collect();
    let all = std::iter::once(b"".as_slice()).chain(tokens.iter().map(Vec::as_slice));
    Tokenizer::new(Vocabulary::from_gguf(all, None).expect("escaped")).expect("small")
}

#[test]
fn holds_back_just_what_may_be_completed() {
    let cases: &[(&[u8], usize)] = &[
        (b"", 0),
        (b"a", 0),
        (b"\xc3", 1),
        (b"a\xe4\xb8", 2),
        (b"\xf0\x9f\xa6", 3),
        (b"\xf0\x9f\xa6\x89", 0),
        (b"\xe4\xe4", 1),
        (b"\x80", 0),
        (b"\x80\x80\x80", 0),
        (b"\xc0", 0),         // never begins a character
        (b"\xff\xff", 0),     // never in UTF-8
        (b"\xe0\x80", 0),     // overlong
        (b"\xed\xa0", 0),     // surrogate
        (b"\xf4\x90", 0),     // beyond U+10FFFF
        (b"\xf5\x80", 0),     // likewise
        (b"\xf4\x8f\xbf", 3), // just below it
    ];
    for (bytes, expected) in cases {
        assert_eq!(unfinished(bytes), *expected, "{bytes:x?}");
    }
}

#[test]
fn a_character_comes_whole() {
    let tokenizer = single_bytes();
    let ids: Vec<u32> = "a🦉é".bytes().map(|b| u32::from(b) + 1).collect();
    let (pushes, end) = run(&tokenizer, &ids);
    let expected: [&[u8]; 7] = [b"a", b"", b"", b"", "🦉".as_bytes(), b"", "é".as_bytes()];
    assert_eq!(pushes, expected);
    assert!(end.is_empty());
    let (pushes, end) = run(&tokenizer, &[0xf0 + 1, 0x9f + 1, b'x'.into(), 0xe4 + 1]);
    assert_eq!(pushes, [b"".as_slice(), b"", b"\xf0\x9fw", b""]);
    assert_eq!(end, b"\xe4");
}

#[test]
fn a_wrong_id_changes_nothing() {
    let mut stream = single_bytes().stream();
    assert_eq!(stream.push(0xe4 + 1), Ok(b"".as_slice()));
    assert_eq!(stream.push(0), Ok(b"".as_slice()));
    assert_eq!(stream.push(257), Err(TokenizerError::UnknownId { index: 2, id: 257, n_ids: 257 }));
    assert_eq!(stream.push(u32::MAX), Err(TokenizerError::UnknownId { index: 2, id: u32::MAX, n_ids: 257 }));
    assert_eq!(stream.push(0xb8 + 1), Ok(b"".as_slice()));
    assert_eq!(stream.push(0xad + 1), Ok("中".as_bytes()));
    assert_eq!(stream.finish(), b"");
    // and it is ready for another stream
    assert_eq!(stream.push(0xe4 + 1), Ok(b"".as_slice()));
    assert_eq!(stream.finish(), b"\xe4");
    assert_eq!(stream.finish(), b"");
    assert_eq!(stream.push(b'b'.into()), Ok(b"a".as_slice()));
}

proptest! {
    #[test]
    fn the_parts_are_the_whole(
        world in proptest::collection::vec(0u32..65530, 0..60),
        single in proptest::collection::vec(
            prop_oneof![0u32..257, 0x80u32..257, (0usize..8).prop_map(|i| [0xf0, 0x9f, 0xa6, 0x89, 0xe4, 0xb8, 0xad, 0xed][i] + 1)],
            0..60,
        ),
    ) {
        for (tokenizer, ids) in [(Tokenizer::world(), world), (single_bytes(), single)] {
            let (pushes, end) = run(&tokenizer, &ids);
            // What is held back is always what the bytes so far leave unfinished, no less and no more. (A push may
            // end in the beginning of a character, if what came after it cannot complete it.)
            let mut n_shown = 0;
            for (i, push) in pushes.iter().enumerate() {
                n_shown += push.len();
                let taken = tokenizer.decode(&ids[..=i]).expect("ids of the vocabulary");
                prop_assert_eq!(taken.len() - n_shown, unfinished(&taken));
            }
            prop_assert!(end.len() <= 3 && unfinished(&end) == end.len());
            let whole = [pushes.concat(), end].concat();
            prop_assert_eq!(whole, tokenizer.decode(&ids).expect("ids of the vocabulary"));
        }
    }

    #[test]
    fn valid_text_comes_in_valid_pieces(text: String) {
        for tokenizer in [Tokenizer::world(), single_bytes()] {
            let ids = tokenizer.encode(text.as_bytes()).expect("all bytes are there");
            let (pushes, end) = run(&tokenizer, &ids);
            prop_assert!(pushes.iter().all(|push| std::str::from_utf8(push).is_ok()));
            prop_assert!(end.is_empty());
            prop_assert_eq!(pushes.concat(), text.as_bytes());
        }
    }
}
