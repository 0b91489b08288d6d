use super::bytes;

#[test]
fn bytes_have_units() {
    let cases = [("1", 1), ("800000", 800_000), ("3k", 3 << 10), ("500M", 500 << 20), ("4G", 4 << 30)];
    for (text, expected) in cases {
        assert_eq!(bytes(text), Ok(expected), "{text}");
        assert_eq!(bytes(&text.to_ascii_lowercase()), Ok(expected), "{text}");
    }
    assert_eq!(bytes(&u64::MAX.to_string()), Ok(u64::MAX));
    for text in [
        "",
        "0",
        "0G",
        "G",
        "-1",
        "+1",
        "1.5G",
        "4 G",
        "4T",
        "4GB",
        "4Ł",
        "18446744073709551616",
        "17179869184G",
    ] {
        assert!(bytes(text).is_err(), "{text}");
    }
}
