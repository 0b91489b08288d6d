use super::*;

fn recipe(kind: Kind, normalized: bool) -> Recipe {
    Recipe { model: "a \"model\"".to_owned(), fingerprint: "00ff".to_owned(), kind, normalized }
}

#[test]
fn a_recipe_comes_back_from_its_metadata() {
    let state = |slab: Option<&str>, layer| EmbeddingOf::State { slab: slab.map(str::to_owned), layer };
    let of = [
        EmbeddingOf::Hidden,
        EmbeddingOf::Layer(0),
        EmbeddingOf::Layer(31),
        state(None, None),
        state(Some("wkv"), None),
        state(None, Some(2)),
        state(Some("wkv"), Some(2)),
    ];
    let texts = of
        .into_iter()
        .flat_map(|of| [Pooling::Mean, Pooling::Last].map(|pooling| Kind::text(of.clone(), pooling)));
    for kind in texts.chain([Kind::Field]) {
        for normalized in [false, true] {
            let expected = recipe(kind.clone(), normalized);
            assert_eq!(Recipe::read(&expected.metadata()).unwrap(), Some(expected));
        }
    }
    assert_eq!(Recipe::read(&Metadata::new()).unwrap(), None);
}

#[test]
fn a_wrong_recipe_is_named() {
    let right = recipe(Kind::text(EmbeddingOf::Layer(1), Pooling::Last), true).metadata();
    for (key, value, what) in [
        (key::FORMAT, "2", "version 1, found 2"),
        (key::OF, "text\n", "found text\\n"),
        (key::LAYER, "-1", "a number, found -1"),
        (key::POOLING, "max", "mean or last, found max"),
        (key::NORMALIZED, "1", "true or false, found 1"),
    ] {
        let mut metadata = right.clone();
        metadata.insert(key, value);
        let error = Recipe::read(&metadata).unwrap_err().to_string();
        assert!(error.contains(key) && error.contains(what), "{error}");
    }
    for key in [key::NAME, key::FINGERPRINT, key::OF, key::NORMALIZED] {
        let mut metadata = right.clone();
        metadata.remove(key);
        let error = Recipe::read(&metadata).unwrap_err().to_string();
        assert!(error.contains(key), "{error}");
    }
}
