//! The official text form: both line ends, every error, round trips.

use proptest::prelude::*;

use crate::{TokenizerError, Vocabulary};

fn error(text: &str) -> String {
    Vocabulary::from_text("v.txt", text.as_bytes()).expect_err(text).to_string()
}

#[test]
fn reads_lines_in_any_order_with_gaps() {
    for text in ["7 ' ' 1\n2 b'\\xff' 1\n3 'a b' 3\n", "7 ' ' 1\r\n2 b'\\xff' 1\r\n\r\n3 'a b' 3"] {
        let v = Vocabulary::from_text("v.txt", text.as_bytes()).expect("a good file");
        assert_eq!(v.len(), 8);
        assert_eq!(
            v.iter().collect::<Vec<_>>(),
            [(2, b"\xff".as_slice()), (3, b"a b".as_slice()), (7, b" ".as_slice())]
        );
        assert_eq!(v.max_token_bytes(), 3);
        assert_eq!(v.to_text(), b"2 b'\\xff' 1\n3 'a b' 3\n7 ' ' 1\n");
    }
}

#[test]
fn keeps_a_last_id_without_text() {
    let v = Vocabulary::from_text("v.txt", b"1 'a' 1\n9 '' 0\n").expect("a good file");
    assert_eq!((v.len(), v.token(9), v.token(1)), (10, None, Some(b"a".as_slice())));
    assert_eq!(v.to_text(), b"1 'a' 1\n9 '' 0\n");
    assert_eq!(v.without_padding().to_text(), b"1 'a' 1\n");
    let empty = Vocabulary::from_text("v.txt", b"").expect("an empty file");
    assert!(empty.is_empty() && empty.to_text().is_empty());
}

#[test]
fn names_the_line_and_what_is_wrong() {
    let cases = [
        ("1 'a' 1\nx 'b' 1\n", "v.txt:2: expected an id, found `x`"),
        ("-1 'a' 1\n", "v.txt:1: expected an id, found `-1`"),
        ("1 'a' 1x\n", "v.txt:1: expected a byte length, found `1x`"),
        ("99999999999999999999999 'a' 1\n", "v.txt:1: expected an id, found `99999999999999999999999`"),
        ("4194304 'a' 1\n", "v.txt:1: id 4194304 is too large, ids must be below 4194304"),
        ("1\n", "v.txt:1: expected `id literal byte-length`"),
        ("1 'a'\n", "v.txt:1: expected `id literal byte-length`, found only two parts"),
        ("1 'a' 2\n", "v.txt:1: the line says 2 bytes but the literal has 1"),
        ("1 'é' 1\n", "v.txt:1: the line says 1 bytes but the literal has 2"),
        ("1 a 1\n", "v.txt:1: expected a Python string or bytes literal in quotes"),
        ("0 'a' 1\n", "v.txt:1: id 0 is the end of a document and can have no text"),
        ("2 'a' 1\n3 'c' 1\n\n2 'b' 1\n", "v.txt:4: id 2 is given already by line 1"),
        ("\u{feff}1 'a' 1\n", "v.txt:1: expected an id, found `\\xef\\xbb\\xbf1`"),
    ];
    for (text, expected) in cases {
        assert_eq!(error(text), expected);
    }
    assert!(matches!(Vocabulary::from_text("v.txt", b"1 'a' 2"), Err(TokenizerError::Line { line: 1, .. })));
}

proptest! {
    #[test]
    fn takes_any_bytes_without_panic(
        text: Vec<u8>,
        lines in "([0-9]{1,8} b?['\"][a-z\\\\']{0,4}['\"] [0-9]{0,2}\r?\n){0,4}",
    ) {
        let _ = Vocabulary::from_text("v.txt", &text);
        let _ = Vocabulary::from_text("v.txt", lines.as_bytes());
    }
}
