use super::*;

#[test]
fn a_scale_may_follow_a_file() {
    let of = |text: &str| adapter(text).map(|adapter| (adapter.path, adapter.scale));
    assert_eq!(of("a.pth"), Ok(("a.pth".into(), 1.0)));
    assert_eq!(of("a.pth=0.5"), Ok(("a.pth".into(), 0.5)));
    assert_eq!(of("dir/a=b=-2"), Ok(("dir/a=b".into(), -2.0)));
    for text in ["", "=1", "a.pth=", "a.pth=x", "a.pth=inf", "a.pth=nan"] {
        assert!(of(text).is_err(), "{text}");
    }
}
