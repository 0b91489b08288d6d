use super::*;

fn parsed(text: &str) -> (String, Option<String>, Option<String>) {
    let reference: Reference = text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
    (reference.repo, reference.revision, reference.choice)
}

#[test]
fn a_reference_has_up_to_three_parts() {
    let own = |text: &str| Some(text.to_owned());
    assert_eq!(parsed("BlinkDL/rwkv7-g1"), ("BlinkDL/rwkv7-g1".to_owned(), None, None));
    assert_eq!(parsed("hf:a/b:q4_k_m"), ("a/b".to_owned(), None, own("q4_k_m")));
    assert_eq!(parsed("a/b.c@refs/pr/1:x.gguf"), ("a/b.c".to_owned(), own("refs/pr/1"), own("x.gguf")));
    assert_eq!("a/b@v1:Q8_0".parse::<Reference>().expect("one").to_string(), "a/b@v1:Q8_0");
}

#[test]
fn what_is_no_reference_is_refused() {
    for text in [
        "",
        "a",
        "a/",
        "/b",
        "a/b/c",
        "../b",
        "a/..",
        "a/b--c",
        "a/b:",
        "a/b@",
        "a/b@../x",
        "a/b@/x",
        "a b/c",
        "a/b\n",
        "a/b@x\\y",
        ".a/b",
        "hf:",
        "a/b:\u{1b}[1m",
    ] {
        assert!(text.parse::<Reference>().is_err(), "{text:?}");
    }
    assert!(format!("a/{}", "b".repeat(97)).parse::<Reference>().is_err());
}

#[test]
fn paths_that_leave_their_folder_are_known() {
    for path in ["model.gguf", "sub/model.gguf", ".gitattributes", "a b.gguf"] {
        assert!(is_safe_path(path), "{path:?}");
    }
    for path in [
        "",
        "/etc/passwd",
        "../x",
        "a/../../x",
        "a//b",
        "a/",
        "C:/x",
        "a\\..\\b",
        "a/./b",
        "a\0b",
        "x.",
        "...",
    ] {
        assert!(!is_safe_path(path), "{path:?}");
    }
}
