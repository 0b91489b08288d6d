//! Literals against what Python gives for them.

use proptest::prelude::*;

use super::{read, write, write_bytes_body};

fn value(literal: &str) -> Result<Vec<u8>, String> {
    let mut out = Vec::new();
    read(literal.as_bytes(), &mut out).map(|()| out)
}

fn literal(token: &[u8]) -> String {
    let mut out = Vec::new();
    write(token, &mut out);
    String::from_utf8(out).expect("literals are text")
}

#[test]
fn reads_what_python_reads() {
    let cases: &[(&str, &[u8])] = &[
        (r"''", b""),
        (r"'a'", b"a"),
        (r#""a""#, b"a"),
        (r#""it's""#, b"it's"),
        (r#"'"'"#, b"\""),
        (r"'\''", b"'"),
        (r"'\\'", b"\\"),
        (r"'\a\b\f\n\r\t\v'", b"\x07\x08\x0c\n\r\t\x0b"),
        (r"'\0\12\1234'", b"\0\nS4"),
        (r"'\777'", "\u{1ff}".as_bytes()),
        (r"'\x41\xe9'", "Aé".as_bytes()),
        (r"'\u4e2d\U0001f989'", "中🦉".as_bytes()),
        (r"'中'", "中".as_bytes()),
        (r"'\q\中'", r"\q\中".as_bytes()),
        (r"b''", b""),
        (r"b'\xe4\xb8'", b"\xe4\xb8"),
        (r"b'\377\N\u1234'", b"\xff\\N\\u1234"),
        (r#"b"'""#, b"'"),
    ];
    for (literal, expected) in cases {
        assert_eq!(value(literal).as_deref(), Ok(*expected), "{literal}");
    }
}

#[test]
fn refuses_what_is_no_literal() {
    let cases: &[(&str, &str)] = &[
        ("", "expected a Python string"),
        ("a", "expected a Python string"),
        ("'", "expected a Python string"),
        ("'a", "expected a Python string"),
        ("'a\"", "expected a Python string"),
        ("b", "expected a Python string"),
        ("r'a'", "expected a Python string"),
        ("'a' 'b'", "a quote inside"),
        ("'''a'''", "a quote inside"),
        (r"'\'", "middle of an escape"),
        (r"'\x4'", "2 hexadecimal digits"),
        (r"'\x+4'", "2 hexadecimal digits"),
        (r"'\u123'", "4 hexadecimal digits"),
        (r"'\ud800'", "U+D800 is not a character"),
        (r"'\U00110000'", "U+110000 is not a character"),
        (r"'\N{BULLET}'", "character name"),
        (r"b'\400'", "value 256 in a bytes literal"),
        ("b'é'", "only ASCII"),
    ];
    for (literal, expected) in cases {
        let error = value(literal).expect_err(literal);
        assert!(error.contains(expected), "{literal}: {error}");
    }
    let mut out = Vec::new();
    assert!(read(b"'a\xff'", &mut out).is_err_and(|e| e.contains("not valid UTF-8 after 1 bytes")));
}

#[test]
fn writes_what_python_writes() {
    let cases: &[(&[u8], &str)] = &[
        (b"a b", "'a b'"),
        (b"it's", r#""it's""#),
        (b"\"", r#"'"'"#),
        (b"'\"", r#"'\'"'"#),
        (b"\\\n\r\t\0\x7f", r"'\\\n\r\t\x00\x7f'"),
        ("é中🦉".as_bytes(), "'é中🦉'"),
        ("\u{a0}\u{ad}\u{3000}\u{feff}\u{e0001}".as_bytes(), r"'\xa0\xad\u3000\ufeff\U000e0001'"),
        ("\u{301}".as_bytes(), "'\u{301}'"),
        (b"\xe4\xb8", r"b'\xe4\xb8'"),
        (b"'\xff", r#"b"'\xff""#),
        (b"'\"\xff", r#"b'\'"\xff'"#),
    ];
    for (token, expected) in cases {
        assert_eq!(literal(token), *expected);
    }
    let mut body = Vec::new();
    write_bytes_body("é'\"\n".as_bytes(), &mut body);
    assert_eq!(body, br#"\xc3\xa9\'"\n"#);
}

proptest! {
    #[test]
    fn reads_back_what_it_wrote(token: Vec<u8>, text: String) {
        for token in [token.as_slice(), text.as_bytes()] {
            prop_assert_eq!(value(&literal(token)), Ok(token.to_vec()));
        }
    }

    #[test]
    fn takes_any_bytes_without_panic(literal: Vec<u8>, body in r#"b?['"][\\xuU0-9a-f'"{}N]{0,12}['"]"#) {
        let mut out = Vec::new();
        let _ = read(&literal, &mut out);
        let _ = read(body.as_bytes(), &mut out);
    }
}
