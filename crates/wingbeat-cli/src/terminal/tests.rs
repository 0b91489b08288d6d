use super::*;

#[test]
fn texts_fit() {
    assert_eq!(on_one_line(" a\n\tb\u{1b}[0m  c "), "a b\u{fffd}[0m c");
    assert_eq!(
        (cut("abcdef", 6), cut("abcdef", 5), cut("日本語", 4)),
        ("abcdef".into(), "abcd…".into(), "日…".into())
    );
    let text = "the quick brown fox jumps over the lazy dog";
    let lines = wrapped(text, 16);
    assert_eq!(lines, ["the quick brown", "fox jumps over", "the lazy dog"]);
    assert_eq!(wrapped(&"x".repeat(40), 16).iter().map(String::len).collect::<Vec<_>>(), [16, 16, 8]);
    assert_eq!(wrapped("日本語日本語日本語", 16).len(), 2);
    assert_eq!(wrapped("", 16), [""]);
}
