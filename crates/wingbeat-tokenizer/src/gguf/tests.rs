//! GGUF token lists: what llama.cpp's reader and converter do, and errors.

use proptest::prelude::*;
use sha2::{Digest, Sha256};

use crate::{MAX_IDS, TokenizerError, Vocabulary};

fn read(tokens: &[&[u8]], types: Option<&[i32]>) -> Result<Vocabulary, TokenizerError> {
    Vocabulary::from_gguf(tokens.iter().copied(), types)
}

#[test]
fn reads_escapes_and_raw_bytes() {
    let cases: &[(&[u8], &[u8])] = &[
        (b"a", b"a"),
        (br"\t\n\r\\\'\q", b"\t\n\r\\'q"),
        (br#"\""#, b"\""),
        (br"\xff\xE4x", b"\xff\xe4x"),
        ("中'\"".as_bytes(), "中'\"".as_bytes()),
        (b"\xff\n", b"\xff\n"),
    ];
    for (escaped, expected) in cases {
        let v = read(&[b"<s>", escaped], Some(&[3, 1])).expect("well-formed");
        assert_eq!(v.token(1), Some(*expected));
    }
}

#[test]
fn only_text_types_have_text() {
    let tokens: &[&[u8]] = &[b"<s>", b"a", b"b", b"c", b"d", b"e", b"f", b"g"];
    let v = read(tokens, Some(&[1, 1, 2, 3, 4, 5, 6, 0])).expect("well-formed");
    assert_eq!(v.len(), 8);
    assert_eq!(v.iter().map(|(id, _)| id).collect::<Vec<_>>(), [1, 4, 6]);
}

#[test]
fn without_types_padding_is_known_by_its_name() {
    let v = read(&[b"<s>", b"a", b"[PAD2]", b"[PAD2]", b"[PAD"], None).expect("well-formed");
    assert_eq!((v.token(0), v.token(2), v.token(3)), (None, None, Some(b"[PAD2]".as_slice())));
    assert_eq!(v.token(4), Some(b"[PAD".as_slice()));
}

#[test]
fn names_the_broken_entry() {
    for (escaped, expected) in [
        (br"a\x4".as_slice(), r"GGUF token 1: \x is not followed by two hexadecimal digits"),
        (br"\xg0", r"GGUF token 1: \x is not followed by two hexadecimal digits"),
        (br"a\", "GGUF token 1: the string ends in a lone backslash"),
    ] {
        let error = read(&[b"<s>", escaped], None).expect_err("malformed");
        assert_eq!(error.to_string(), expected);
    }
    for types in [[3].as_slice(), &[3, 1, 1]] {
        let error = read(&[b"<s>", b"a"], Some(types)).expect_err("lists differ");
        assert_eq!(error, TokenizerError::GgufTypes { n_tokens: 2, n_types: types.len() });
    }
    let error = Vocabulary::from_gguf(std::iter::repeat_n(b"".as_slice(), MAX_IDS + 1), None);
    assert!(matches!(error, Err(TokenizerError::TooLarge { what: "ids", .. })));
}

#[test]
fn writes_world_as_the_converter_does() {
    let world = Vocabulary::world();
    let (tokens, types) = world.to_gguf(65536);
    assert_eq!((tokens.len(), types.len()), (65536, 65536));
    // The digest was made in Python: `repr(token)[2:-1]` of every token's bytes, joined by line feeds.
    let digest = Sha256::digest(tokens.join(&b'\n'));
    assert_eq!(hex(&digest), "9e80d6151e81ecf11ef3c228cd9bfcd4dcfdd60995d243815d35e5836523a8ef");
    assert_eq!((types[0], types[1], types[65529], types[65530]), (3, 1, 1, 5));

    let back = Vocabulary::from_gguf(tokens.iter().map(Vec::as_slice), Some(&types)).expect("just written");
    assert_eq!(back.len(), 65536);
    assert_eq!(back.without_padding(), world);
    assert_eq!(Vocabulary::from_gguf(tokens.iter().map(Vec::as_slice), None), Ok(back));
}

#[test]
fn fills_gaps_and_never_cuts() {
    let v = Vocabulary::from_text("v.txt", b"1 'a' 1\n3 'b' 1\n").expect("a good file");
    let (tokens, types) = v.to_gguf(0);
    assert_eq!(tokens, [b"<s>".to_vec(), b"a".to_vec(), b"[PAD2]".to_vec(), b"b".to_vec()]);
    assert_eq!(types, [3, 1, 5, 1]);
}

proptest! {
    #[test]
    fn takes_anything_without_panic(
        tokens in proptest::collection::vec(r"[\\xnt0-9a-f]{0,6}", 0..6),
        raw: Vec<Vec<u8>>,
        types: Option<Vec<i32>>,
    ) {
        let _ = Vocabulary::from_gguf(tokens.iter().map(String::as_bytes), types.as_deref());
        let _ = Vocabulary::from_gguf(raw.iter().map(Vec::as_slice), types.as_deref());
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
