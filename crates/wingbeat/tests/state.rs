//! A state's life: fork, read, write, save, load, refusal by other models.

use std::path::PathBuf;
use wingbeat::{CpuOptions, Device, Model, ModelOptions, Sequence, State, Want};

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
    for name in
        ["rwkv7-3x128-odd-ranks.safetensors", "rwkv7-2x96-head32.safetensors", "rwkv7-2x256-Q8_0.gguf"]
    {
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
        assert_ne!(fork.read("wkv").unwrap(), state.read("wkv").unwrap());
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
