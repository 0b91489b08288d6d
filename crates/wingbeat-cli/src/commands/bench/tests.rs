//! The arithmetic of the figures; what the command prints is tested with the binary.

use super::measure::Spread;

#[test]
fn a_spread_is_of_all_figures() {
    let spread = Spread::of(vec![4.0, 1.0, 3.0]);
    assert_eq!((spread.median, spread.min, spread.max, spread.runs), (3.0, 1.0, 4.0, 3));
    assert!((spread.mean - 8.0 / 3.0).abs() < 1e-12);
    assert!((spread.deviation - (7.0f64 / 3.0).sqrt()).abs() < 1e-12);
    assert_eq!(Spread::of(vec![1.0, 2.0, 4.0, 8.0]).median, 3.0);
    let one = Spread::of(vec![5.0]);
    assert_eq!((one.median, one.min, one.max, one.deviation), (5.0, 5.0, 5.0, 0.0));
}
