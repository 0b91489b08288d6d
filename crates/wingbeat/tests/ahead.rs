//! Generation that runs ahead on a GPU, against the same generation step by step on the same device: the same text, and
//! a state, logits and sampler that are the same to the last bit afterwards.
//!
//! Where there is no adapter the tests say so and pass, unless `WINGBEAT_GPU_REQUIRED` is set.

use wingbeat::{
    AdapterChoice, Device, GenerateOptions, GpuOptions, Model, ModelOptions, Session, StopReason, Version,
    adapters,
    sampler::SamplerConfig,
    synthetic::{Shape, SyntheticModel},
};

/// The model on every adapter of this machine.
fn models() -> Vec<Model> {
    let n = adapters().len();
    if n == 0 {
        assert!(std::env::var_os("WINGBEAT_GPU_REQUIRED").is_none(), "no adapter, but one is required");
        eprintln!("skipped: this machine has no adapter");
    }
    let path = format!("{}/../../tests/fixtures/rwkv7-2x256-Q8_0.gguf", env!("CARGO_MANIFEST_DIR"));
    (0..n)
        .map(|number| {
            let mut options = GpuOptions::default();
            options.adapter = AdapterChoice::Number(number);
            let options = ModelOptions { device: Device::Gpu(options), ..ModelOptions::default() };
            Model::open_with(&path, &options).unwrap()
        })
        .collect()
}

fn session(model: &Model, config: &SamplerConfig) -> Session {
    let mut session = model.session(config.clone()).unwrap();
    session.feed_text("the", &mut |_| true).unwrap();
    session
}

/// Only tokens of printable ASCII: random weights would write bytes that are no text.
fn ascii(model: &Model, config: SamplerConfig) -> SamplerConfig {
    let vocabulary = model.tokenizer().unwrap().vocabulary();
    let printable = |id| vocabulary.token(id).is_some_and(|t| t.iter().all(|b| b.is_ascii_graphic()));
    SamplerConfig { banned: (0..512).filter(|&id| !printable(id)).collect(), ..config }
}

fn configs(model: &Model) -> Vec<SamplerConfig> {
    let hot = SamplerConfig { temperature: 1.5, top_p: 1.0, seed: 3, ..SamplerConfig::default() };
    let chat = SamplerConfig { top_p: 0.9, seed: 5, ..SamplerConfig::chat() };
    vec![SamplerConfig::greedy(), hot, chat.clone(), ascii(model, chat)]
}

fn options(max_tokens: usize) -> GenerateOptions {
    GenerateOptions { max_tokens, stops: Vec::new(), stop_tokens: Vec::new() }
}

fn step_by_step(session: &mut Session, n: usize) -> Vec<u32> {
    (0..n).map(|_| session.next_token().unwrap()).collect()
}

/// That two sessions are in the same place: states, logits, and what they would say next.
fn assert_same(label: &str, actual: &mut Session, expected: &mut Session) {
    let names: Vec<_> = actual.state().unwrap().slabs().iter().map(|slab| slab.name).collect();
    let n_tokens = expected.state().unwrap().n_tokens();
    assert_eq!(actual.state().unwrap().n_tokens(), n_tokens, "{label}: tokens of the state");
    for name in names {
        let (actual, expected) =
            (actual.state().unwrap().read(name).unwrap(), expected.state().unwrap().read(name).unwrap());
        assert!(actual == expected, "{label}: slab {name}");
    }
    assert!(actual.logits().unwrap() == expected.logits().unwrap(), "{label}: logits");
    assert_eq!(step_by_step(actual, 6), step_by_step(expected, 6), "{label}: tokens afterwards");
}

#[test]
fn the_same_as_step_by_step() {
    for model in models() {
        for config in configs(&model) {
            for n in [1, 2, 3, 10, 45] {
                let (mut ahead, mut steps) = (session(&model, &config), session(&model, &config));
                let label = format!("{n} tokens, {config:?}");
                let mut text = Vec::new();
                // Twice: the second generation begins with what the first one left behind.
                for _ in 0..2 {
                    let mut take = |bytes: &[u8]| {
                        text.extend_from_slice(bytes);
                        true
                    };
                    let generation = ahead.generate(&options(n), &mut take).unwrap();
                    assert_eq!((generation.n_tokens, generation.reason), (n, StopReason::MaxTokens));
                }
                let tokens = step_by_step(&mut steps, 2 * n);
                let tokenizer = model.tokenizer().unwrap();
                let halves: Vec<u8> =
                    tokens.chunks(n).flat_map(|half| tokenizer.decode(half).unwrap()).collect();
                assert_eq!(text, halves, "{label}");
                assert_same(&label, &mut ahead, &mut steps);
            }
        }
    }
}

/// Small models of older versions with the demo model's vocabulary, on every adapter.
fn older_models(folder: &std::path::Path) -> Vec<Model> {
    let vocabulary = format!("{}/../../tests/fixtures/demo-vocab.txt", env!("CARGO_MANIFEST_DIR"));
    let mut models = Vec::new();
    for version in [Version::V4, Version::V5, Version::V6] {
        let shape = Shape { version, n_layers: 2, n_channels: 64, n_vocab: 8192, low_ranks: [16, 16, 0, 0] };
        let path = folder.join(format!("{}.gguf", version.name()));
        SyntheticModel::new(shape).write_gguf(&path, &mut |_, _| true).unwrap();
        for number in 0..adapters().len() {
            let mut options = GpuOptions::default();
            options.adapter = AdapterChoice::Number(number);
            let options = ModelOptions {
                device: Device::Gpu(options),
                vocabulary: Some(vocabulary.clone().into()),
                ..ModelOptions::default()
            };
            models.push(Model::open_with(&path, &options).unwrap());
        }
    }
    models
}

#[test]
fn older_versions_too() {
    let folder = tempfile::tempdir().unwrap();
    for model in older_models(folder.path()) {
        let hot = SamplerConfig { temperature: 1.5, top_p: 1.0, seed: 3, ..SamplerConfig::default() };
        for config in [SamplerConfig::greedy(), hot] {
            let (mut ahead, mut steps) = (session(&model, &config), session(&model, &config));
            let generation = ahead.generate(&options(13), &mut |_| true).unwrap();
            assert_eq!(generation.n_tokens, 13);
            step_by_step(&mut steps, 13);
            let label = format!("{} {config:?}", model.config().version.name());
            assert_same(&label, &mut ahead, &mut steps);
        }
    }
}

#[test]
fn a_stop_token_within_a_block() {
    for model in models() {
        for config in configs(&model) {
            let tokens = step_by_step(&mut session(&model, &config), 30);
            for at in [0, 1, 2, 4, 9, 10, 11, 12, 29] {
                let first = tokens.iter().position(|token| *token == tokens[at]).unwrap();
                let (mut ahead, mut steps) = (session(&model, &config), session(&model, &config));
                let options = GenerateOptions { stop_tokens: vec![tokens[at]], ..options(60) };
                let mut text = Vec::new();
                let generation = ahead
                    .generate(&options, &mut |bytes| {
                        text.extend_from_slice(bytes);
                        true
                    })
                    .unwrap();
                assert_eq!(generation.reason, StopReason::Token(tokens[at]));
                assert_eq!(generation.n_tokens, first + 1);
                assert_eq!(text, model.tokenizer().unwrap().decode(&tokens[..first]).unwrap());
                // The stop token was chosen, but not taken in.
                let before = step_by_step(&mut steps, first);
                assert_eq!(before, tokens[..first]);
                let logits = steps.logits().unwrap().to_vec();
                assert!(ahead.logits().unwrap() == logits, "stop at {first}: logits");
                steps.state().unwrap();
                steps.sampler_mut().sample(&mut logits.clone()).unwrap();
                assert_same(&format!("stop at {first}"), &mut ahead, &mut steps);
            }
        }
    }
}

#[test]
fn a_stop_text_within_a_block() {
    for model in models() {
        let chat = SamplerConfig { top_p: 0.9, seed: 5, ..SamplerConfig::chat() };
        for config in [ascii(&model, SamplerConfig::greedy()), ascii(&model, chat)] {
            let tokenizer = model.tokenizer().unwrap();
            let tokens = step_by_step(&mut session(&model, &config), 60);
            let whole = tokenizer.decode(&tokens).unwrap();
            for (at, length) in [(1, 2), (3, 1), (7, 3), (12, 25), (20, 3), (33, 9)] {
                let before = tokenizer.decode(&tokens[..at]).unwrap();
                let stop = String::from_utf8(tokenizer.decode(&tokens[at..at + length]).unwrap()).unwrap();
                let first = whole.windows(stop.len()).position(|w| w == stop.as_bytes());
                if first != Some(before.len()) {
                    continue;
                }
                let options = GenerateOptions { stops: vec![stop.clone()], ..options(200) };
                let (mut ahead, mut steps) = (session(&model, &config), session(&model, &config));
                let mut text = Vec::new();
                let generation = ahead
                    .generate(&options, &mut |bytes| {
                        text.extend_from_slice(bytes);
                        true
                    })
                    .unwrap();
                assert_eq!(generation.reason, StopReason::Text(stop));
                assert_eq!(text, before);
                step_by_step(&mut steps, at);
                // What the state holds may have come from the text's own cut into tokens: compare where it did not.
                let n_tokens = steps.state().unwrap().n_tokens();
                assert_eq!(ahead.state().unwrap().n_tokens(), n_tokens);
                for name in ["att_shift", "wkv", "ffn_shift"] {
                    let expected = steps.state().unwrap().read(name).unwrap();
                    assert!(ahead.state().unwrap().read(name).unwrap() == expected, "slab {name}");
                }
                ahead.feed(&[40], &mut |_| true).unwrap();
                steps.feed(&[40], &mut |_| true).unwrap();
                assert!(ahead.logits().unwrap() == steps.logits().unwrap());
            }
        }
    }
}

#[test]
fn the_taker_may_cancel_within_a_block() {
    for model in models() {
        for config in [SamplerConfig::greedy(), ascii(&model, SamplerConfig::chat())] {
            for pieces in [1, 2, 3, 9, 10, 26] {
                let (mut ahead, mut steps) = (session(&model, &config), session(&model, &config));
                let mut left = pieces;
                let generation = ahead
                    .generate(&options(200), &mut |_| {
                        left -= 1;
                        left > 0
                    })
                    .unwrap();
                assert_eq!(generation.reason, StopReason::Cancelled);
                step_by_step(&mut steps, generation.n_tokens);
                assert_same(&format!("{pieces} pieces"), &mut ahead, &mut steps);
            }
        }
    }
}

#[test]
fn other_settings_take_another_sampler() {
    for model in models() {
        let (greedy, chat) = (SamplerConfig::greedy(), SamplerConfig::chat());
        let typical = SamplerConfig { typical_p: 0.9, seed: 1, ..SamplerConfig::default() };
        let (mut ahead, mut steps) = (session(&model, &greedy), session(&model, &greedy));
        for config in [chat, typical, greedy] {
            *ahead.sampler_mut() = wingbeat::sampler::Sampler::new(config.clone()).unwrap();
            *steps.sampler_mut() = wingbeat::sampler::Sampler::new(config).unwrap();
            ahead.generate(&options(12), &mut |_| true).unwrap();
            step_by_step(&mut steps, 12);
        }
        assert_same("after three samplers", &mut ahead, &mut steps);
    }
}
