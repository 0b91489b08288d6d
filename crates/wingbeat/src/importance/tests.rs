use super::*;

fn of(squares: &[f32]) -> Option<Vec<f32>> {
    let squares = HashMap::from([("head.weight".to_owned(), squares.to_vec())]);
    Importance::checked(squares, 1).ok()?.columns("head.weight")
}

#[test]
fn columns_are_in_units_of_their_mean_and_none_counts_nothing() {
    assert_eq!(of(&[1.0, 3.0]), Some(vec![0.5, 1.5]));
    assert_eq!(of(&[0.0, 2.0]), Some(vec![1e-3, 2.0]));
    assert_eq!(of(&[0.0, 0.0]), Some(vec![1.0, 1.0]));
    assert_eq!(of(&[1e38, 1e-38]), Some(vec![2.0, 1e-3]));
    assert_eq!((of(&[f32::NAN, 1.0]), of(&[f32::INFINITY, 1.0]), of(&[-1.0, 2.0])), (None, None, None));
}

#[test]
fn an_importance_matrix_is_read_as_it_was_written() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/rwkv7-2x256-Q8_0.gguf");
    let model = ModelFile::open(path).expect("the fixture is there");
    let text = b"The quick brown fox".repeat(3);
    let mut calls = 0;
    let importance = Importance::of_text(&model, None, &text, Some(20), &mut |_| {
        calls += 1;
        true
    });
    let importance = importance.expect("the fixture has a vocabulary");
    assert!(importance.n_tokens() <= 21 && importance.n_tokens() > 2 && calls > 0, "{importance:?}");
    // Each matrix that is multiplied with, and as many columns as it has.
    for (name, cols) in
        [("blocks.1.att.key.weight", 256), ("blocks.0.ffn.value.weight", 1024), ("head.weight", 256)]
    {
        let columns = importance.columns(name).unwrap_or_else(|| panic!("{name}"));
        assert_eq!(columns.len(), cols, "{name}");
        assert!((columns.iter().sum::<f32>() / cols as f32 - 1.0).abs() < 0.01, "{name}");
    }
    assert_eq!(importance.columns("emb.weight"), None);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("m.imatrix.gguf");
    importance.save(&file, &model, "fox").expect("it can be written");
    let back = Importance::load(&file, &model).expect("it can be read");
    assert_eq!(back.n_tokens(), importance.n_tokens());
    assert_eq!(back.squares.len(), importance.squares.len());
    for (name, squares) in &importance.squares {
        // The file has sums: the mean is rounded twice.
        for (found, expected) in back.squares[name].iter().zip(squares) {
            assert!((found - expected).abs() <= 1e-6 * expected, "{name}: {found} {expected}");
        }
    }
    // Another model's, and no importance matrix at all.
    let other =
        ModelFile::open(path.replace("2x256-Q8_0.gguf", "1x64.safetensors")).expect("the fixture is there");
    let refusal = Importance::load(&file, &other).expect_err("of another model").to_string();
    assert!(refusal.contains("m.imatrix.gguf") && refusal.contains("64"), "{refusal}");
    let refusal = Importance::load(path.as_ref(), &model).expect_err("a model").to_string();
    assert!(refusal.contains("in_sum2"), "{refusal}");
}
