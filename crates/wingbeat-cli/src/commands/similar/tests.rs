use super::*;

#[test]
fn cosines_are_of_angles() {
    let near = |a: &[f32], b: &[f32], expected: f64| {
        let found = cosine(a, b);
        assert!((found - expected).abs() < 1e-15 && found.abs() <= 1.0, "{found}, expected {expected}");
    };
    near(&[1.0, 0.0], &[3.0, 0.0], 1.0);
    near(&[1.0, 0.0], &[0.0, 2.0], 0.0);
    near(&[1.0, 1.0], &[-2.0, -2.0], -1.0);
    near(&[0.0, 0.0], &[1.0, 1.0], 0.0);
    near(&[1.0, 0.0], &[1.0, 1.0], 0.5f64.sqrt());
    near(&[f32::MAX; 3], &[f32::MAX; 3], 1.0);
    near(&[f32::MIN_POSITIVE; 2], &[f32::MIN_POSITIVE; 2], 1.0);
}

#[test]
fn the_best_come_first_and_the_earlier_of_equals() {
    let scores = [0.5, 0.1, 0.9, 0.5, -1.0, 0.9, 0.0];
    for most in 1..9 {
        let mut ranking = Ranking { most, best: Vec::new() };
        for (index, score) in (0..).zip(scores) {
            ranking.offer(score, Row { index, ..Row::default() });
        }
        let found: Vec<u64> = ranking.best.iter().map(|(_, row)| row.index).collect();
        let expected = [2, 5, 0, 3, 1, 6, 4];
        assert_eq!(found, expected[..most.min(7)], "{most}");
    }
}
