//! A state's life: fork, read, write, save, load, refusal by other models.

mod small_disk;

use std::path::PathBuf;
use wingbeat::{CpuOptions, DType, Device, Model, ModelOptions, Sequence, State, Want};

fn path(name: &str) -> PathBuf {
    PathBuf::from(format!("{}/../../tests/fixtures/{name}", env!("CARGO_MANIFEST_DIR")))
}

fn model(name: &str) -> Model {
    let options = ModelOptions { device: "cpu".parse().unwrap(), ..ModelOptions::default() };
    Model::open_with(path(name), &options).unwrap()
}

fn run(model: &Model, state: &mut State, tokens: &[u32]) -> Vec<f32> {
    model.forward(&mut [Sequence { state, tokens, want: Want::LAST_LOGITS }]).unwrap().remove(0).logits
}

#[test]
fn fork_save_and_load_are_no_ops() {
    let folder = tempfile::tempdir().unwrap();
    for name in [
        "rwkv4-2x64.safetensors",
        "rwkv5.1-2x64.safetensors",
        "rwkv6-2x64.safetensors",
        "rwkv7-3x128-odd-ranks.safetensors",
        "rwkv7-2x96-head32.safetensors",
        "rwkv7-2x256-Q8_0.gguf",
    ] {
        let model = model(name);
        let mut state = model.new_state().unwrap();
        run(&model, &mut state, &[1, 2, 3, 4, 5]);
        let file = folder.path().join("some.state");
        state.save(&file).unwrap();
        let mut fork = state.fork().unwrap();
        let mut loaded = model.load_state(&file).unwrap();
        assert_eq!(loaded.n_tokens(), 5);
        let expected = run(&model, &mut state, &[6, 7]);
        assert_eq!(run(&model, &mut fork, &[6, 7]), expected, "{name}: fork");
        assert_eq!(run(&model, &mut loaded, &[6, 7]), expected, "{name}: load");
        // The fork is its own.
        run(&model, &mut fork, &[9]);
        let recurrent = if name.starts_with("rwkv4") { "aa" } else { "wkv" };
        assert_ne!(fork.read(recurrent).unwrap(), state.read(recurrent).unwrap());
        // Slabs written one by one make the same state.
        let mut copy = model.new_state().unwrap();
        for slab in model.state_layout().slabs.clone() {
            let values = state.read(slab.name).unwrap();
            assert_eq!(values.shape, slab.shape);
            copy.write(slab.name, &values.values).unwrap();
        }
        assert_eq!(run(&model, &mut copy, &[8]), run(&model, &mut state, &[8]), "{name}: slabs");
    }
}

#[test]
fn the_reference_device_loads_what_the_cpu_saved() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a.state");
    let cpu = model("rwkv7-2x96-head32.safetensors");
    let mut state = cpu.new_state().unwrap();
    run(&cpu, &mut state, &[1, 2, 3]);
    state.save(&file).unwrap();
    let options = ModelOptions { device: Device::Reference, ..ModelOptions::default() };
    let reference = Model::open_with(path("rwkv7-2x96-head32.safetensors"), &options).unwrap();
    let loaded = reference.load_state(&file).unwrap();
    assert_eq!(loaded.read("wkv").unwrap(), state.read("wkv").unwrap());
    // In memory they don't mix.
    let mut state = state;
    let sequence = Sequence { state: &mut state, tokens: &[1], want: Want::NOTHING };
    let error = reference.forward(&mut [sequence]).unwrap_err().to_string();
    assert!(error.contains("reference") && error.contains("CPU"), "{error}");
}

#[test]
fn another_models_state_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a.state");
    let (a, b) = (model("rwkv7-2x256-Q8_0.gguf"), model("rwkv7-2x256-Q4_K_M.gguf"));
    assert_ne!(a.fingerprint(), b.fingerprint());
    a.new_state().unwrap().save(&file).unwrap();
    let error = b.load_state(&file).err().unwrap().to_string();
    assert!(
        error.contains("a.state") && error.contains(a.fingerprint()) && error.contains(b.fingerprint()),
        "{error}"
    );
    let mut state = a.new_state().unwrap();
    assert!(b.forward(&mut [Sequence { state: &mut state, tokens: &[1], want: Want::NOTHING }]).is_err());
    assert!(wingbeat::Session::new(&b, state, wingbeat::sampler::SamplerConfig::greedy()).is_err());
    // The same file opened twice is one model.
    let twin = model("rwkv7-2x256-Q8_0.gguf");
    let mut state = a.new_state().unwrap();
    run(&twin, &mut state, &[1, 2]);
}

#[test]
fn damaged_and_foreign_files_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let model = model("rwkv7-1x64.safetensors");
    let file = folder.path().join("b.state");
    model.new_state().unwrap().save(&file).unwrap();
    let bytes = std::fs::read(&file).unwrap();
    for len in [0, 7, 8, 100, bytes.len() / 2, bytes.len() - 1] {
        let cut = folder.path().join("cut.state");
        std::fs::write(&cut, &bytes[..len]).unwrap();
        let error = model.load_state(&cut).err().unwrap().to_string();
        assert!(error.contains("cut.state") && !error.contains('\n'), "{error}");
    }
    let error = model.load_state(path("rwkv7-1x64.safetensors")).err().unwrap().to_string();
    assert!(error.contains("not a Wingbeat state"), "{error}");
    assert!(model.load_state(folder.path()).is_err());
    assert!(model.load_state(folder.path().join("missing")).is_err());
    assert!(model.new_state().unwrap().save(folder.path().join("no/such/folder")).is_err());
}

#[test]
fn slabs_are_checked() {
    let model = model("rwkv7-1x64.safetensors");
    let mut state = model.new_state().unwrap();
    let error = state.read("aa").unwrap_err().to_string();
    assert_eq!(error, "states of RWKV-7 have no slab `aa`; they have att_shift, wkv, ffn_shift");
    let error = state.write("att_shift", &[0.0; 63]).unwrap_err().to_string();
    assert_eq!(error, "state slab `att_shift` holds 64 values, found 63");
}

#[test]
fn threads_do_not_change_who_owns_a_state() {
    let options = |threads| ModelOptions {
        device: Device::Cpu(CpuOptions { threads: Some(threads), ..CpuOptions::default() }),
        ..ModelOptions::default()
    };
    let a = Model::open_with(path("rwkv7-1x64.safetensors"), &options(1)).unwrap();
    let b = Model::open_with(path("rwkv7-1x64.safetensors"), &options(3)).unwrap();
    let mut state = a.new_state().unwrap();
    run(&a, &mut state, &[1]);
    let first = run(&a, &mut state, &[2]);
    let mut other = b.new_state().unwrap();
    run(&b, &mut other, &[1]);
    assert_eq!(run(&a, &mut other, &[2]), first);
}

/// A state after some tokens.
fn after(model: &Model, tokens: &[u32]) -> State {
    let mut state = model.new_state().unwrap();
    run(model, &mut state, tokens);
    state
}

#[test]
fn views_show_what_reading_copies() {
    for device in [Device::Reference, "cpu".parse().unwrap()] {
        let options = ModelOptions { device, ..ModelOptions::default() };
        let model = Model::open_with(path("rwkv7-2x96-head32.safetensors"), &options).unwrap();
        let state = after(&model, &[1, 2, 3]);
        for spec in state.slabs() {
            let view = state.view(spec.name).unwrap().expect("a state in the host's memory");
            let slab = state.read(spec.name).unwrap();
            assert_eq!((view.shape, view.values.len()), (&slab.shape[..], slab.values.len()));
            let mut index = vec![0; slab.shape.len()];
            for (i, value) in slab.values.iter().enumerate() {
                let mut rest = i;
                for (axis, n) in slab.shape.iter().enumerate().rev() {
                    (index[axis], rest) = (rest % n, rest / n);
                }
                assert_eq!(view.at(&index), Some(*value), "{}: {index:?}", spec.name);
            }
            assert_eq!(view.at(&slab.shape), None);
            assert_eq!(view.at(&index[1..]), None);
        }
        let wkv = state.view("wkv").unwrap().expect("a view");
        let (n, on_cpu) = (wkv.shape[3], model.device().starts_with("CPU"));
        assert_eq!(wkv.strides[2..], if on_cpu { [1, n] } else { [n, 1] }, "{}", model.device());
        assert!(state.view("aa").is_err());
    }
}

#[test]
fn bytes_are_the_files() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a.state");
    let model = model("rwkv7-3x128-odd-ranks.safetensors");
    let state = after(&model, &[1, 2, 3]);
    state.save(&file).unwrap();
    let bytes = state.to_bytes().unwrap();
    assert_eq!(bytes, std::fs::read(&file).unwrap());
    let back = model.state_from_bytes(&bytes).unwrap();
    assert!(back.is_same(&state).unwrap());
    assert_eq!(back.n_tokens(), 3);
    for len in [0, 7, 8, 100, bytes.len() / 2, bytes.len() - 1] {
        let error = model.state_from_bytes(&bytes[..len]).err().unwrap().to_string();
        assert!(error.contains("the bytes given") && !error.contains('\n'), "{error}");
    }
}

#[test]
fn the_same_is_the_same_bit_for_bit() {
    let model = model("rwkv7-1x64.safetensors");
    let state = after(&model, &[1, 2]);
    assert!(state.is_same(&state).unwrap());
    assert!(state.is_same(&state.fork().unwrap()).unwrap());
    assert!(state.is_same(&after(&model, &[1, 2])).unwrap());
    assert!(!state.is_same(&after(&model, &[2, 1])).unwrap());
    assert!(!model.new_state().unwrap().is_same(&state).unwrap());
    // The sign of a zero is a bit too, and so is the number of tokens.
    let (zero, mut minus) = (model.new_state().unwrap(), model.new_state().unwrap());
    minus.write("att_shift", &[-0.0; 64]).unwrap();
    assert!(!zero.is_same(&minus).unwrap());
    let mut copy = model.new_state().unwrap();
    for slab in state.read_all().unwrap() {
        copy.write(slab.name, &slab.values).unwrap();
    }
    assert!(!copy.is_same(&state).unwrap(), "it has read nothing");
    // Another model's state is another state, not an error; the same on another device is the same.
    let other = self::model("rwkv7-2x96-head32.safetensors");
    assert!(!zero.is_same(&other.new_state().unwrap()).unwrap());
    let options = ModelOptions { device: Device::Reference, ..ModelOptions::default() };
    let reference = Model::open_with(path("rwkv7-1x64.safetensors"), &options).unwrap();
    let there = reference.state_from_bytes(&state.to_bytes().unwrap()).unwrap();
    assert!(there.is_same(&state).unwrap() && state.is_same(&there).unwrap());
}

#[test]
fn blends_are_weighted_sums() {
    let model = model("rwkv7-2x96-head32.safetensors");
    let (a, b) = (after(&model, &[1, 2, 3]), after(&model, &[4]));
    assert!(State::blend(&[(&a, 1.0)]).unwrap().is_same(&a).unwrap());
    assert!(State::blend(&[(&a, 0.5), (&a, 0.5)]).unwrap().is_same(&a).unwrap());
    let mut blend = State::blend(&[(&a, 0.25), (&b, 2.0), (&a, -1.0)]).unwrap();
    assert_eq!(blend.n_tokens(), 3);
    for slab in blend.read_all().unwrap() {
        let (a, b) = (a.read(slab.name).unwrap().values, b.read(slab.name).unwrap().values);
        for ((value, a), b) in slab.values.iter().zip(a).zip(b) {
            let expected = 2.0 * b - 0.75 * a;
            assert!((value - expected).abs() <= 1e-6 * (2.0 * b.abs() + a.abs()), "{value} {expected}");
        }
    }
    run(&model, &mut blend, &[5]);

    let refused = |states: &[(&State, f32)]| State::blend(states).err().unwrap().to_string();
    assert_eq!(refused(&[]), "blending states: expected at least one state, found none");
    let error = refused(&[(&a, 1.0), (&b, f32::NAN)]);
    assert_eq!(error, "blending states: weight 1: expected a finite number, found NaN");
    let other = self::model("rwkv7-1x64.safetensors").new_state().unwrap();
    let error = refused(&[(&a, 1.0), (&other, 1.0)]);
    assert!(error.contains(other.model().fingerprint()), "{error}");
    let mut large = model.new_state().unwrap();
    large.write("att_shift", &[f32::MAX; 2 * 96]).unwrap();
    let error = refused(&[(&a, 1.0), (&large, 2.0)]);
    assert!(error.starts_with("the blend: state slab `att_shift`, value 0: expected a finite"), "{error}");
}

/// RWKV-4's sums are over powers of e: a blend is of what they stand for.
#[test]
fn blends_of_sums_heed_their_exponents() {
    let model = model("rwkv4-2x64.safetensors");
    let (a, b) = (after(&model, &[1, 2, 3]), after(&model, &[4, 9]));
    assert!(State::blend(&[(&a, 0.5), (&a, 0.5)]).unwrap().is_same(&a).unwrap());
    // Nothing has no weight, whatever its exponents.
    let nothing = model.new_state().unwrap();
    assert!(State::blend(&[(&a, 1.0), (&nothing, 0.0)]).unwrap().is_same(&a).unwrap());
    let blend = State::blend(&[(&a, 0.25), (&b, 2.0)]).unwrap();
    let slab = |state: &State, name: &str| state.read(name).unwrap().values;
    for name in ["aa", "bb"] {
        let real =
            |state: &State, i: usize| f64::from(slab(state, name)[i]) * f64::from(slab(state, "pp")[i]).exp();
        for i in 0..2 * 64 {
            let (a, b) = (0.25 * real(&a, i), 2.0 * real(&b, i));
            let found = real(&blend, i);
            assert!((found - (a + b)).abs() <= 1e-5 * (a.abs() + b.abs()), "{name} {i}: {found} {}", a + b);
        }
    }
}

#[test]
fn values_that_are_no_numbers_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("nan.state");
    let model = model("rwkv7-1x64.safetensors");
    let state = after(&model, &[1, 2, 3]);
    let len = state.read("wkv").unwrap().values.len();
    for (bad, said) in [(f32::NAN, "NaN"), (f32::INFINITY, "inf"), (f32::NEG_INFINITY, "-inf")] {
        for at in [0, 255, 256, len - 1] {
            let mut copy = state.fork().unwrap();
            let mut values = state.read("wkv").unwrap().values;
            values[at] = bad;
            let error = copy.write("wkv", &values).unwrap_err().to_string();
            let end = format!("state slab `wkv`, value {at}: expected a finite number, found {said}");
            assert_eq!(error, format!("the values given: {end}"));
            assert!(copy.is_same(&state).unwrap(), "nothing was written");
            // The tensors are the end of the file, in the order of the slabs: att_shift, wkv, ffn_shift.
            let mut bytes = state.to_bytes().unwrap();
            let in_file = bytes.len() - 4 * (64 + len - at);
            bytes[in_file..][..4].copy_from_slice(&bad.to_le_bytes());
            std::fs::write(&file, &bytes).unwrap();
            let error = model.load_state(&file).err().unwrap().to_string();
            assert_eq!(error, format!("{}: {end}", file.display()));
            let error = model.state_from_bytes(&bytes).err().unwrap().to_string();
            assert_eq!(error, format!("the bytes given: {end}"));
        }
    }
}

/// A model whose weights are no numbers makes a state that is none: saving says so, and leaves the old file.
#[test]
fn a_state_that_could_not_be_loaded_is_not_saved() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a.state");
    let mut bytes = std::fs::read(path("rwkv7-1x64.safetensors")).unwrap();
    let range = {
        let model = wingbeat::ModelFile::from_vec("a model", bytes.clone()).unwrap();
        let data = &model.tensor("blocks.0.ln1.bias").unwrap().data;
        let start = data.as_ptr() as usize - model.bytes().as_ptr() as usize;
        start..start + data.len()
    };
    for value in bytes[range].chunks_exact_mut(4) {
        value.copy_from_slice(&f32::NAN.to_le_bytes());
    }
    let broken = wingbeat::ModelFile::from_vec("a model", bytes).unwrap();
    let options = ModelOptions { device: "cpu".parse().unwrap(), ..ModelOptions::default() };
    let broken = Model::from_file(broken, &options).unwrap();
    let state = after(&broken, &[1]);
    std::fs::write(&file, "an older file").unwrap();
    for error in [state.save(&file).unwrap_err(), state.to_bytes().unwrap_err()] {
        let error = error.to_string();
        assert!(error.starts_with("the state to be saved: state slab `att_shift`, value 0"), "{error}");
    }
    assert_eq!(std::fs::read(&file).unwrap(), b"an older file");
}

#[test]
fn files_of_the_wrong_shape_or_type_are_refused() {
    use wingbeat_format::{Metadata, TensorSpec, safetensors};
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("odd.state");
    let model = model("rwkv7-1x64.safetensors");
    let state = model.new_state().unwrap();
    state.save(&file).unwrap();
    let good = wingbeat::ModelFile::open(&file).unwrap();
    /// What a tensor becomes; none where it is left out.
    type Instead<'a> = Option<(DType, &'a [usize])>;
    // Metadata key to replace, tensor to replace: what is said.
    let said = |key: Option<(&str, &str)>, tensor: Option<(&str, Instead<'_>)>| {
        let mut metadata = Metadata::new();
        for (name, _) in good.metadata().iter() {
            let value = good.metadata().str(name).unwrap();
            metadata.insert(name, key.filter(|(k, _)| *k == name).map_or(value, |(_, v)| v));
        }
        let specs: Vec<TensorSpec> = (good.tensors().iter())
            .filter_map(|t| {
                match tensor.filter(|(name, _)| *name == t.name) {
                    None => Some((t.dtype, t.shape.clone())),
                    Some((_, instead)) => instead.map(|(dtype, shape)| (dtype, shape.to_vec())),
                }
                .map(|(dtype, shape)| TensorSpec { name: t.name.clone(), dtype, shape })
            })
            .collect();
        let mut writer = safetensors::Writer::create(&file, &metadata, &specs).unwrap();
        specs.iter().for_each(|spec| writer.write(&vec![0; spec.n_bytes().unwrap()]).unwrap());
        writer.finish().unwrap();
        let error = model.load_state(&file).err().map(|error| error.to_string());
        let error = error.unwrap_or_default();
        assert!((error.is_empty() || error.contains("odd.state")) && !error.contains('\n'), "{error}");
        error
    };
    assert_eq!(said(None, None), "");
    let error = said(None, Some(("wkv", Some((DType::F16, &[1, 1, 64, 64])))));
    assert!(error.contains("tensor `wkv` should be F32 [1, 1, 64, 64], found F16 [1, 1, 64, 64]"), "{error}");
    let error = said(None, Some(("wkv", Some((DType::F32, &[1, 64, 64])))));
    assert!(error.contains("found F32 [1, 64, 64]"), "{error}");
    let error = said(None, Some(("ffn_shift", None)));
    assert!(error.contains("tensor `ffn_shift` is missing"), "{error}");
    let error = said(Some(("wingbeat.state.tokens", "many")), None);
    assert!(error.contains("`wingbeat.state.tokens` is not a number"), "{error}");
    let error = said(Some(("wingbeat.state", "2")), None);
    assert!(error.contains("version \"2\""), "{error}");
    let error = said(Some(("wingbeat.model.fingerprint", "0\n0")), None);
    assert!(error.contains("(0\\n0)") && error.contains(model.fingerprint()), "{error}");
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_leaves_the_old_file() {
    let Some(disk) = small_disk::SmallDisk::mount("1m") else {
        return println!("skipped: no permission to mount a small file system");
    };
    let model = model("rwkv7-2x256-Q8_0.gguf");
    let (file, filler) = (disk.0.path().join("a.state"), disk.0.path().join("filler"));
    let old = after(&model, &[1]);
    old.save(&file).unwrap();
    std::fs::write(&filler, vec![0; 800 << 10]).unwrap();
    let error = after(&model, &[2]).save(&file).unwrap_err().to_string();
    assert!(error.contains("a.state") && error.contains("space"), "{error}");
    assert!(model.load_state(&file).unwrap().is_same(&old).unwrap());
    assert_eq!(std::fs::read_dir(disk.0.path()).unwrap().count(), 2, "nothing half-written is left");
}
