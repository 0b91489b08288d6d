//! Tuned states: files of head matrices that texts begin with, alone and beside a model.

mod pth;

use std::path::{Path, PathBuf};
use wingbeat::{DType, Model, ModelFile, ModelOptions, Sequence, State, Want};
use wingbeat_format::{Metadata, TensorSpec, safetensors};

const MODEL: &str = "rwkv7-2x96-head32.safetensors";
/// Its layers, heads and head size.
const SHAPE: [usize; 3] = [2, 3, 32];

type Tensors = Vec<(String, Vec<usize>, Vec<f32>)>;

fn fixture(name: &str) -> PathBuf {
    PathBuf::from(format!("{}/../../tests/fixtures/{name}", env!("CARGO_MANIFEST_DIR")))
}

fn open(path: &Path) -> Result<Model, wingbeat::Error> {
    Model::open_with(path, &ModelOptions { device: "cpu".parse().unwrap(), ..ModelOptions::default() })
}

fn run(model: &Model, state: &mut State, tokens: &[u32]) -> Vec<f32> {
    model.forward(&mut [Sequence { state, tokens, want: Want::LAST_LOGITS }]).unwrap().remove(0).logits
}

/// Matrices of which no two values are the same.
fn tuned() -> Tensors {
    let [layers, heads, n] = SHAPE;
    let layer = |layer: usize| {
        let value = |at: usize| (layer * heads * n * n + at) as f32 / 8192.0 - 0.3;
        (format!("blocks.{layer}.att.time_state"), vec![heads, n, n], (0..heads * n * n).map(value).collect())
    };
    (0..layers).map(layer).collect()
}

fn checkpoint(tensors: &Tensors) -> Vec<u8> {
    pth::checkpoint(&tensors.iter().map(|(n, s, v)| (n.as_str(), &s[..], &v[..])).collect::<Vec<_>>())
}

fn write_safetensors(path: &Path, tensors: &Tensors) {
    let spec = |(name, shape, _): &(String, Vec<usize>, Vec<f32>)| TensorSpec {
        name: name.clone(),
        dtype: DType::F32,
        shape: shape.clone(),
    };
    let specs: Vec<TensorSpec> = tensors.iter().map(spec).collect();
    let mut writer = safetensors::Writer::create(path, &Metadata::new(), &specs).unwrap();
    for (_, _, values) in tensors {
        writer.write(&values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>()).unwrap();
    }
    writer.finish().unwrap();
}

/// RWKV-7's slab is `[value][key]`, and so are the files.
#[test]
fn a_tuned_state_is_where_a_text_begins() {
    let model = open(&fixture(MODEL)).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let expected: Vec<f32> = tuned().into_iter().flat_map(|(_, _, values)| values).collect();
    let mut by_hand = model.new_state().unwrap();
    by_hand.write("wkv", &expected).unwrap();
    let logits = run(&model, &mut by_hand, &[3, 1, 4]);
    assert_ne!(logits, run(&model, &mut model.new_state().unwrap(), &[3, 1, 4]));

    let mut batched = tuned();
    batched.iter_mut().for_each(|(_, shape, _)| shape.insert(0, 1));
    for (name, tensors) in [("a.pth", tuned()), ("b.safetensors", tuned()), ("c.pth", batched)] {
        let path = folder.path().join(name);
        match name.ends_with(".pth") {
            true => std::fs::write(&path, checkpoint(&tensors)).unwrap(),
            false => write_safetensors(&path, &tensors),
        }
        let mut state = model.load_state(&path).unwrap();
        assert_eq!(state.n_tokens(), 0);
        assert_eq!(state.read("wkv").unwrap().values, expected, "{name}");
        assert!(state.read("att_shift").unwrap().values.iter().all(|value| *value == 0.0));
        assert_eq!(run(&model, &mut state, &[3, 1, 4]), logits, "{name}");
        // And on as any other state.
        state.save(folder.path().join("saved.state")).unwrap();
        assert!(model.load_state(folder.path().join("saved.state")).unwrap().is_same(&state).unwrap());
    }
    let from_bytes = model.state_from_bytes(&checkpoint(&tuned())).unwrap();
    assert_eq!(from_bytes.read("wkv").unwrap().values, expected);
}

/// RWKV-5's and RWKV-6's slabs are `[key][value]`, the files are not.
#[test]
fn earlier_versions_turn_the_matrices() {
    let tensors: Tensors = (0..2)
        .map(|layer| {
            let values = (0..2 * 32 * 32).map(|at| at as f32 / 4096.0 + layer as f32).collect();
            (format!("blocks.{layer}.att.time_state"), vec![2, 32, 32], values)
        })
        .collect();
    for name in ["rwkv5.2-2x64.safetensors", "rwkv6-2x64.safetensors"] {
        let model = open(&fixture(name)).unwrap();
        let state = model.state_from_bytes(&checkpoint(&tensors)).unwrap();
        let found = state.read("wkv").unwrap();
        assert_eq!(found.shape, [2, 2, 32, 32]);
        for (layer, head, value, key) in [(0, 0, 0, 0), (0, 1, 3, 30), (1, 1, 31, 2)] {
            let stored = tensors[layer].2[(head * 32 + value) * 32 + key];
            assert_eq!(found.values[((layer * 2 + head) * 32 + key) * 32 + value], stored, "{name}");
        }
    }
    let v4 = open(&fixture("rwkv4-2x64.safetensors")).unwrap();
    let error = v4.state_from_bytes(&checkpoint(&tensors)).err().expect("an error").to_string();
    assert!(error.contains("RWKV-4 has no states of that kind"), "{error}");
}

#[test]
fn a_model_with_a_tuned_state_beside_it_begins_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("both.safetensors");
    let plain = open(&fixture(MODEL)).unwrap();
    let source = ModelFile::open(fixture(MODEL)).unwrap();
    let mut tensors: Tensors =
        source.tensors().iter().map(|t| (t.name.clone(), t.shape.clone(), t.to_f32())).collect();
    tensors.extend(tuned());
    write_safetensors(&path, &tensors);
    let both = open(&path).unwrap();
    assert!(both.notes().iter().any(|note| note.contains("tuned state")), "{:?}", both.notes());
    let mut given = plain.state_from_bytes(&checkpoint(&tuned())).unwrap();
    assert_eq!(run(&both, &mut both.new_state().unwrap(), &[5, 6]), run(&plain, &mut given, &[5, 6]));
    // What was computed from it is not to be taken for the plain model's.
    assert_ne!(both.fingerprint(), plain.fingerprint());
    // It can be the state of the plain model as well.
    assert_eq!(
        plain.load_state(&path).unwrap().read("wkv").unwrap(),
        both.new_state().unwrap().read("wkv").unwrap()
    );
}

#[test]
fn what_does_not_fit_is_refused_by_name() {
    let model = open(&fixture(MODEL)).unwrap();
    let refused = |tensors: Tensors, parts: &[&str]| {
        let error = model.state_from_bytes(&checkpoint(&tensors)).err().expect("an error").to_string();
        assert!(parts.iter().all(|part| error.contains(part)) && error.lines().count() == 1, "{error}");
    };
    let with = |change: &dyn Fn(&mut Tensors)| {
        let mut tensors = tuned();
        change(&mut tensors);
        tensors
    };
    refused(with(&|t| drop(t.remove(1))), &["blocks.1.att.time_state", "missing"]);
    refused(
        with(&|t| t[1].0 = "blocks.2.att.time_state".to_owned()),
        &["blocks.1.att.time_state", "missing"],
    );
    let third = ("blocks.2.att.time_state".to_owned(), vec![3, 32, 32], vec![0.0; 3 * 32 * 32]);
    refused(with(&|t| t.push(third.clone())), &["3 layers", "has 2"]);
    refused(with(&|t| t[0].1 = vec![3, 32 * 32]), &["[3, 32, 32]", "[3, 1024]"]);
    refused(with(&|t| (t[0].1, t[0].2) = (vec![1, 8, 8], vec![0.0; 64])), &["[3, 32, 32]", "[1, 8, 8]"]);
    refused(with(&|t| t[1].2[7] = f32::NAN), &["blocks.1.att.time_state", "value 7", "NaN"]);
}
