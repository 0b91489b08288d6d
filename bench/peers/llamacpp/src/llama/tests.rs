use super::*;

#[test]
fn the_version_is_the_one_that_is_built() {
    let manifest = include_str!("../../Cargo.toml");
    assert!(manifest.contains(&format!("llama-cpp-sys-2 = {{ version = \"={SYS_VERSION}\"")));
}

#[test]
fn a_missing_model_is_an_error() {
    let error = Model::open(Path::new("no/such.gguf"), Device::Cpu).err().unwrap();
    assert!(format!("{error:#}").contains("no/such.gguf"));
}

#[test]
fn an_unknown_type_is_named() {
    let error = quantize(Path::new("a"), Path::new("b"), "Q9", 1).unwrap_err();
    assert!(format!("{error:#}").starts_with("Q9"));
}

/// The demo model, through every call.
#[test]
fn what_the_demo_model_computes_does_not_depend_on_the_way() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../assets");
    let mut files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let path = files.find(|path| path.extension().is_some_and(|ending| ending == "gguf")).unwrap();
    let model = Model::open(&path, Device::Cpu).unwrap();
    let mut tokens = Vec::new();
    model.tokenize("The harbour master kept a ledger of every vessel.", &mut tokens).unwrap();
    assert!(tokens.len() > 8 && model.has_vocabulary());
    let options = ContextOptions {
        n_sequences: 3,
        n_batch: 64,
        n_ubatch: 64,
        n_outputs: 3,
        n_threads: 1,
        pooling: None,
        choose_tokens: false,
    };
    let mut context = Context::new(&model, options).unwrap();
    let mut batch = Batch::default();
    batch.extend(&tokens, 0, 0, true);
    context.decode(&mut batch).unwrap();
    let whole = context.logits().unwrap().to_vec();
    assert_eq!(whole.len(), model.n_vocab());
    let alike = |logits: &[f32]| {
        let worst = logits.iter().zip(&whole).map(|(a, b)| (a - b).abs()).fold(0.0f32, f32::max);
        let scale = whole.iter().map(|x| x.abs()).fold(0.0f32, f32::max);
        // Products may be summed in another order.
        assert!(logits.len() == whole.len() && worst < 0.01 * scale, "off by {worst} of {scale}");
    };

    // After clearing, a sequence begins anew; its state, kept and copied, goes on.
    let (head, tail) = tokens.split_at(5);
    let mut state = Vec::new();
    context.clear();
    batch.clear();
    batch.extend(head, 0, 0, false);
    context.decode(&mut batch).unwrap();
    assert!(context.logits().is_err());
    context.read_state(0, &mut state).unwrap();
    context.clear();
    context.write_state(2, &state).unwrap();
    context.copy_state(2, 1).unwrap();
    batch.clear();
    batch.extend(tail, 5, 1, true);
    batch.extend(tail, 5, 2, true);
    context.decode(&mut batch).unwrap();
    let both = context.logits().unwrap().to_vec();
    both.chunks(model.n_vocab()).for_each(alike);

    // What the context cannot do is an error before llama.cpp hears of it.
    let mut refused = |token, sequence, n: usize| {
        let mut batch = Batch::default();
        (0..n).for_each(|i| batch.push(token, i, sequence, true));
        context.decode(&mut batch).is_err()
    };
    assert!(refused(-1, 0, 1) && refused(i32::MAX, 0, 1) && refused(1, 3, 1));
    assert!(refused(1, 0, 0) && refused(1, 0, 4) && refused(1, 0, 65));
    assert!(context.write_state(0, &state[..state.len() / 2]).is_err());
    assert!(context.read_state(3, &mut state).is_err() && context.vector(0).is_err());
    assert!(context.chosen(0).is_err());
    drop(context);

    // The device's choice is the greatest logit, and a vector is the same with or without logits before it.
    let chosen = {
        let mut context = Context::new(&model, ContextOptions { choose_tokens: true, ..options }).unwrap();
        batch.clear();
        batch.extend(&tokens, 0, 0, true);
        context.decode(&mut batch).unwrap();
        context.chosen(tokens.len() - 1).unwrap()
    };
    let greatest = whole.iter().copied().fold(f32::MIN, f32::max);
    assert!((whole[chosen as usize] - greatest).abs() < 0.01 * greatest.abs());
    let vector = |switched: bool| {
        let options = ContextOptions { pooling: Some(Pooling::Last), n_outputs: 64, ..options };
        let mut context = Context::new(&model, options).unwrap();
        let cut = if switched { tokens.len() - 1 } else { 0 };
        let (head, tail) = tokens.split_at(cut);
        let mut batch = Batch::default();
        if switched {
            context.set_vectors(false);
            batch.extend(head, 0, 0, false);
            context.decode(&mut batch).unwrap();
            context.set_vectors(true);
            batch.clear();
        }
        batch.extend(tail, cut, 0, true);
        context.decode(&mut batch).unwrap();
        context.vector(0).unwrap().to_vec()
    };
    let (plain, switched) = (vector(false), vector(true));
    let scale = plain.iter().map(|x| x.abs()).fold(0.0f32, f32::max);
    assert_eq!(plain.len(), model.n_channels());
    assert!(plain.iter().zip(&switched).all(|(a, b)| (a - b).abs() < 0.01 * scale));
}
