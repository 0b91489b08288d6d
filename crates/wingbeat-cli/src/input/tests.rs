//! Lists of ids, and escapes.

use super::{token_ids, unescape};

#[test]
fn ids_come_with_any_separators() {
    assert_eq!(token_ids(b" 1,2 ,\n3\t4 ").expect("numbers"), [1, 2, 3, 4]);
    assert_eq!(token_ids(b"").expect("no numbers"), [0u32; 0]);
}

#[test]
fn what_is_no_id_is_named() {
    for (list, word) in
        [("1 x2", "`x2` (number 2"), ("-1", "`-1`"), ("4294967296", "`4294967296`"), ("1 \u{e9}", "\\xc3")]
    {
        let error = token_ids(list.as_bytes()).expect_err(list).to_string();
        assert!(error.contains(word), "{error}");
    }
}

#[test]
fn escapes() {
    assert_eq!(unescape(r"\n\nUser:"), Ok("\n\nUser:".to_owned()));
    assert_eq!(unescape(r"a\\n\t"), Ok("a\\n\t".to_owned()));
    assert!(unescape(r"\q").is_err() && unescape("a\\").is_err() && unescape("").is_err());
}
