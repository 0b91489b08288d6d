//! The same tokens in another order of work give the same results: chunks of any size, one token at a time, alone or
//! in a batch, on any number of threads, on the CPU and on every adapter of this machine.

use wingbeat::{
    AdapterChoice, CpuOptions, Device, GpuOptions, Model, ModelOptions, Output, Sequence, State, Want,
    adapters,
};
use wingbeat_backend::tolerance::ORDER_REL;

fn fixture(name: &str, threads: usize) -> Model {
    let path = format!("{}/../../tests/fixtures/{name}", env!("CARGO_MANIFEST_DIR"));
    let cpu = CpuOptions { threads: Some(threads), exact: true, ..CpuOptions::default() };
    Model::open_with(path, &ModelOptions { device: Device::Cpu(cpu), ..ModelOptions::default() }).unwrap()
}

/// The fixture on the CPU, and on every adapter as good as it can and with plain kernels only.
fn on_all_devices(name: &str) -> Vec<Model> {
    let path = format!("{}/../../tests/fixtures/{name}", env!("CARGO_MANIFEST_DIR"));
    let n = adapters().len();
    if n == 0 {
        assert!(std::env::var_os("WINGBEAT_GPU_REQUIRED").is_none(), "no adapter, but one is required");
        eprintln!("skipped: this machine has no adapter");
    }
    let gpu = |(number, without): (usize, &str)| {
        let mut options = GpuOptions::default();
        options.adapter = AdapterChoice::Number(number);
        options.without = Some(without.parse().unwrap());
        options.exact = true;
        Model::open_with(&path, &ModelOptions { device: Device::Gpu(options), ..ModelOptions::default() })
            .unwrap()
    };
    let gpus = (0..n).flat_map(|number| [(number, ""), (number, "all")]).map(gpu);
    std::iter::once(fixture(name, 2)).chain(gpus).collect()
}

const FIXTURES: [&str; 7] = [
    "rwkv7-1x64.safetensors",
    "rwkv7-3x128-odd-ranks.safetensors",
    "rwkv7-2x96-head32.safetensors",
    "rwkv7-2x256-Q4_K_M.gguf",
    "rwkv4-2x64.safetensors",
    "rwkv5.1-2x64.safetensors",
    "rwkv6-2x64.safetensors",
];

/// `n` tokens of a vocabulary, spread over it.
fn tokens(model: &Model, n: usize, seed: usize) -> Vec<u32> {
    (0..n).map(|i| ((i * 7919 + seed * 104_729 + i * i * 31) % model.config().n_vocab) as u32).collect()
}

fn assert_close(what: &str, actual: &[f32], expected: &[f32]) {
    assert_eq!(actual.len(), expected.len(), "{what}");
    let n = expected.len().max(1) as f64;
    let mean = expected.iter().map(|&x| f64::from(x)).sum::<f64>() / n;
    let deviation = (expected.iter().map(|&x| (f64::from(x) - mean).powi(2)).sum::<f64>() / n).sqrt();
    for (i, (a, e)) in actual.iter().zip(expected).enumerate() {
        let difference = (f64::from(*a) - f64::from(*e)).abs();
        assert!(difference <= ORDER_REL * deviation, "{what}: index {i}: expected {e}, actual {a}");
    }
}

/// Runs a sequence in chunks; `chunk(i)` is the length of the i-th.
fn in_chunks(model: &Model, tokens: &[u32], chunk: impl Fn(usize) -> usize) -> (Output, State) {
    let mut state = model.new_state().unwrap();
    let mut all = Output::default();
    let mut at = 0;
    for i in 0.. {
        if at == tokens.len() {
            break;
        }
        let end = (at + chunk(i).max(1)).min(tokens.len());
        let sequence = Sequence { state: &mut state, tokens: &tokens[at..end], want: Want::ALL };
        let output = model.forward(&mut [sequence]).unwrap().remove(0);
        all.hidden.extend(output.hidden);
        all.logits.extend(output.logits);
        at = end;
    }
    (all, state)
}

fn assert_same(what: &str, (a, a_state): &(Output, State), (e, e_state): &(Output, State)) {
    assert_close(&format!("{what}: logits"), &a.logits, &e.logits);
    assert_close(&format!("{what}: hidden"), &a.hidden, &e.hidden);
    for slab in e_state.slabs() {
        let (a, e) = (a_state.read(slab.name).unwrap(), e_state.read(slab.name).unwrap());
        assert_close(&format!("{what}: {}", slab.name), &a.values, &e.values);
    }
    assert_eq!(a_state.n_tokens(), e_state.n_tokens(), "{what}");
}

#[test]
fn chunks_of_any_size_are_token_by_token() {
    for model in FIXTURES.into_iter().flat_map(on_all_devices) {
        let name = format!("{} on {}", model.file().label(), model.device());
        let tokens = tokens(&model, 300, 1);
        let expected = in_chunks(&model, &tokens, |_| 1);
        // An adapter made of software takes its time.
        let chunks: &[usize] =
            if name.contains("GPU") { &[5, 33, 256, 300] } else { &[2, 3, 5, 16, 33, 255, 256, 300] };
        for &chunk in chunks {
            let actual = in_chunks(&model, &tokens, |_| chunk);
            assert_same(&format!("{name}, chunks of {chunk}"), &actual, &expected);
        }
        let actual = in_chunks(&model, &tokens, |i| [1, 40, 2, 7, 31][i % 5]);
        assert_same(&format!("{name}, uneven chunks"), &actual, &expected);
    }
}

#[test]
fn a_batch_is_each_alone() {
    for model in FIXTURES.into_iter().flat_map(on_all_devices) {
        let name = format!("{} on {}", model.file().label(), model.device());
        let lengths = [1, 70, 3, 300, 0, 12, 1, 256];
        let texts: Vec<Vec<u32>> = lengths.iter().enumerate().map(|(i, &n)| tokens(&model, n, i)).collect();
        let wants =
            [Want::ALL, Want::LAST_LOGITS, Want::LAST_HIDDEN, Want::ALL_LOGITS, Want::ALL, Want::NOTHING];
        let mut states: Vec<State> = texts.iter().map(|_| model.new_state().unwrap()).collect();
        let mut sequences: Vec<Sequence<'_>> = states
            .iter_mut()
            .zip(&texts)
            .enumerate()
            .map(|(i, (state, tokens))| Sequence { state, tokens, want: wants[i % wants.len()] })
            .collect();
        let outputs = model.forward(&mut sequences).unwrap();
        for (i, (tokens, state)) in texts.iter().zip(&states).enumerate() {
            let what = format!("{name}, sequence {i} of {} tokens", tokens.len());
            let (alone, alone_state) = in_chunks(&model, tokens, |_| usize::MAX / 2);
            let want = wants[i % wants.len()];
            let part = |all: &[f32], rows, width: usize| match rows {
                wingbeat::Rows::None => Vec::new(),
                wingbeat::Rows::Last => all[all.len().saturating_sub(width)..].to_vec(),
                wingbeat::Rows::All => all.to_vec(),
            };
            let logits = part(&alone.logits, want.logits, model.config().n_vocab);
            let hidden = part(&alone.hidden, want.hidden, model.config().n_channels);
            assert_close(&format!("{what}: logits"), &outputs[i].logits, &logits);
            assert_close(&format!("{what}: hidden"), &outputs[i].hidden, &hidden);
            for slab in state.slabs() {
                let (a, e) = (state.read(slab.name).unwrap(), alone_state.read(slab.name).unwrap());
                assert_close(&format!("{what}: {}", slab.name), &a.values, &e.values);
            }
        }
    }
}

#[test]
fn threads_do_not_matter() {
    let tokens: Vec<u32> = (0..64).map(|i| i * 3 % 131).collect();
    let expected = in_chunks(&fixture(FIXTURES[1], 1), &tokens, |i| 1 + i % 7);
    for threads in [2, 3, 8] {
        let actual = in_chunks(&fixture(FIXTURES[1], threads), &tokens, |i| 1 + i % 7);
        assert_same(&format!("{threads} threads"), &actual, &expected);
    }
}

#[test]
fn two_threads_of_the_caller_share_a_model() {
    for model in on_all_devices(FIXTURES[3]) {
        let texts: Vec<Vec<u32>> = (0..4).map(|i| tokens(&model, 40, i)).collect();
        let expected: Vec<_> = texts.iter().map(|t| in_chunks(&model, t, |_| 7)).collect();
        let actual: Vec<_> = std::thread::scope(|scope| {
            let handles: Vec<_> = texts.iter().map(|t| scope.spawn(|| in_chunks(&model, t, |_| 7))).collect();
            handles.into_iter().map(|handle| handle.join().unwrap()).collect()
        });
        for (i, (a, e)) in actual.iter().zip(&expected).enumerate() {
            assert_same(&format!("text {i} on {}", model.device()), a, e);
        }
    }
}

/// More sequences than a chunk of states has slots, of every short length.
#[test]
fn many_sequences_are_each_alone() {
    for model in on_all_devices(FIXTURES[1]) {
        let texts: Vec<Vec<u32>> = (0..150).map(|i| tokens(&model, 1 + i % 5, i)).collect();
        let mut states: Vec<State> = texts.iter().map(|_| model.new_state().unwrap()).collect();
        let mut sequences: Vec<Sequence<'_>> = (states.iter_mut().zip(&texts))
            .map(|(state, tokens)| Sequence { state, tokens, want: Want::LAST_LOGITS })
            .collect();
        let outputs = model.forward(&mut sequences).unwrap();
        for (i, tokens) in texts.iter().enumerate().step_by(7) {
            let (alone, state) = in_chunks(&model, tokens, |_| usize::MAX / 2);
            let what = format!("sequence {i} on {}", model.device());
            let n_vocab = model.config().n_vocab;
            assert_close(&what, &outputs[i].logits, &alone.logits[alone.logits.len() - n_vocab..]);
            let (a, e) = (states[i].read("wkv").unwrap(), state.read("wkv").unwrap());
            assert_close(&format!("{what}: wkv"), &a.values, &e.values);
        }
    }
}

#[test]
fn a_bad_token_changes_nothing() {
    let model = fixture(FIXTURES[1], 2);
    let (_, mut state) = in_chunks(&model, &[1, 2, 3], |_| 3);
    let before = state.read("wkv").unwrap();
    let sequence = Sequence { state: &mut state, tokens: &[4, 5, 131], want: Want::LAST_LOGITS };
    let error = model.forward(&mut [sequence]).unwrap_err().to_string();
    assert_eq!(error, "token 131 at position 2 of sequence 0 is outside the vocabulary of 131 tokens");
    assert_eq!(state.read("wkv").unwrap(), before);
    assert_eq!(state.n_tokens(), 3);
}

#[test]
fn stopping_keeps_what_was_done() {
    let model = fixture(FIXTURES[1], 2);
    let tokens = tokens(&model, 1000, 3);
    let mut state = model.new_state().unwrap();
    let sequence = Sequence { state: &mut state, tokens: &tokens, want: Want::LAST_LOGITS };
    let mut calls = 0;
    let error = model
        .forward_with_progress(&mut [sequence], &mut |_| {
            calls += 1;
            calls < 2
        })
        .unwrap_err();
    let done = state.n_tokens() as usize;
    assert!(done > 0 && done < 1000, "{done}");
    assert_eq!(error.to_string(), format!("stopped after {done} of 1000 tokens"));
    // Going on from there is as if nothing had happened.
    let sequence = Sequence { state: &mut state, tokens: &tokens[done..], want: Want::LAST_LOGITS };
    let rest = model.forward(&mut [sequence]).unwrap().remove(0);
    let (expected, _) = in_chunks(&model, &tokens, |_| 1000);
    assert_close("logits", &rest.logits, &expected.logits[expected.logits.len() - 131..]);
}
