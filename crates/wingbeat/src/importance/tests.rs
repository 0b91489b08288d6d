use super::*;

fn of(means: &[f64]) -> Option<Vec<f32>> {
    let means = HashMap::from([("head.weight".to_owned(), means.to_vec())]);
    Some(Importance::of_means(means, 1)?.columns("head.weight")?.to_vec())
}

#[test]
fn columns_are_in_units_of_their_mean_and_none_counts_nothing() {
    assert_eq!(of(&[1.0, 3.0]), Some(vec![0.5, 1.5]));
    assert_eq!(of(&[0.0, 2.0]), Some(vec![1e-3, 2.0]));
    assert_eq!(of(&[0.0, 0.0]), Some(vec![1.0, 1.0]));
    assert_eq!(of(&[1e300, 1e-300]), Some(vec![2.0, 1e-3]));
    assert_eq!((of(&[f64::NAN, 1.0]), of(&[f64::INFINITY, 1.0]), of(&[-1.0, 2.0])), (None, None, None));
}
