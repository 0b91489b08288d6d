use super::*;

#[test]
fn layers_count_from_both_ends() {
    for (given, expected) in [(0, 0), (11, 11), (-1, 11), (-12, 0)] {
        assert_eq!(layer_of(given, 12).unwrap(), expected);
    }
    for given in [12, -13, i64::MAX, i64::MIN] {
        let error = layer_of(given, 12).unwrap_err().to_string();
        assert!(error.contains("-12 to 11") && error.ends_with(&given.to_string()), "{error}");
    }
}
