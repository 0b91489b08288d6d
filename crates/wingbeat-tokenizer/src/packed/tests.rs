//! The compact form: the bundled file is the official one, round trips, damaged input.

use proptest::prelude::*;

use crate::{TokenizerError, Vocabulary};

const WORLD: &[u8] = include_bytes!("../../assets/world.bin");

#[test]
fn the_bundled_file_is_what_packing_gives() {
    let world = Vocabulary::from_packed(WORLD).expect("the bundled file is whole");
    assert_eq!(world.to_packed(), WORLD);
}

#[test]
fn damage_is_an_error() {
    for n in (0..64).chain(WORLD.len() - 8..WORLD.len()) {
        assert!(Vocabulary::from_packed(&WORLD[..n]).is_err(), "cut to {n} bytes");
    }
    let longer = [WORLD, b"\0"].concat();
    let error = Vocabulary::from_packed(&longer).expect_err("one byte too many");
    assert_eq!(
        error.to_string(),
        format!("packed vocabulary, byte {}: 1 bytes after the last id", WORLD.len())
    );

    let with = |rest: &[u8]| Vocabulary::from_packed(&[b"WBVOCAB1".as_slice(), rest].concat());
    // (ids, bytes of text) and then the ids
    let cases: &[(&[u8], &str)] = &[
        (b"\xff\xff\xff\xff\0\0\0\0", "4294967295 ids cannot be in 16 bytes"),
        (b"\x02\0\0\0\x01\0\0\0\x00\x02\x41", "2 bytes shared with a token of 0"),
        (b"\x02\0\0\0\x01\0\0\0\x00\x20\x41\x42", "more than the 1 bytes of text promised"),
        (b"\x02\0\0\0\x02\0\0\0\x00\x10\x41", "2 bytes of text promised, found 1"),
        (b"\x01\0\0\0\x01\0\0\0\x10\x41", "id 0 is the end of a document"),
        (b"\x01\0\0\0\x01\0\0\0\xf0\xff\xff\xff\xff\xff", "a number that is too long"),
        (b"\x01\0\0\0\x01\0\0\0\x20\x41", "2 bytes wanted, 1 left"),
    ];
    let error = with(b"\x01\0\0\0\x01\0\0\x10\0").expect_err("more than 2^28 bytes");
    assert!(matches!(error, TokenizerError::TooLarge { what: "bytes of text", .. }));
    for (rest, expected) in cases {
        let error = with(rest).expect_err(expected).to_string();
        assert!(error.contains(expected), "{error}");
    }
    assert!(matches!(Vocabulary::from_packed(b"GGUF----"), Err(TokenizerError::Packed { offset: 0, .. })));
}

proptest! {
    #[test]
    fn round_trip(tokens in proptest::collection::vec(proptest::collection::vec(0u8..3, 0..200), 0..20)) {
        let lines = std::iter::once([].as_slice()).chain(tokens.iter().map(Vec::as_slice));
        let escaped: Vec<Vec<u8>> = lines.map(<[u8]>::to_vec).collect();
        let v = Vocabulary::from_gguf(escaped.iter().map(Vec::as_slice), None).expect("no escapes in there");
        prop_assert_eq!(Vocabulary::from_packed(&v.to_packed()), Ok(v));
    }

    #[test]
    fn damaged_bytes_never_panic(damage in proptest::collection::vec((0usize..400, any::<u8>()), 1..6)) {
        let v = Vocabulary::from_text("v", b"1 'a' 1\n2 'ab' 2\n3 'abcdefghijklmnopqrstuvwxyz' 26\n").expect("good");
        let mut packed = v.to_packed();
        for (at, byte) in damage {
            let at = at % packed.len();
            packed[at] = byte;
        }
        let _ = Vocabulary::from_packed(&packed);
    }
}
