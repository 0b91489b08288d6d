//! Embeddings, states of documents and continuations: what the reference computes, whatever the batch and the device; on
//! the CPU bit for bit the same alone and among others.

use std::path::Path;
use wingbeat::{
    AdapterChoice, CpuOptions, Device, EmbedOptions, EmbeddingOf, Embeddings, Error, GenerateOptions,
    GpuOptions, Level, Model, ModelError, ModelFile, ModelOptions, Pooling, Sequence, Session, State, Want,
    adapters, sampler::SamplerConfig,
};
use wingbeat_backend::tolerance::{MODEL_INT8_RMS, MODEL_QUANT_EXACT_REL, ORDER_REL};

const FIXTURES: [&str; 7] = [
    "rwkv7-1x64.safetensors",
    "rwkv7-3x128-odd-ranks.safetensors",
    "rwkv7-2x96-head32.safetensors",
    "rwkv7-2x256-Q8_0.gguf",
    "rwkv7-2x256-Q4_K_M.gguf",
    "rwkv4-2x64.safetensors",
    "rwkv6-2x64.safetensors",
];

fn open_at(path: &str, device: Device) -> Model {
    Model::open_with(path, &ModelOptions { device, ..ModelOptions::default() }).unwrap()
}

fn open(name: &str, device: Device) -> Model {
    open_at(&format!("{}/../../tests/fixtures/{name}", env!("CARGO_MANIFEST_DIR")), device)
}

fn demo() -> Model {
    let path = format!("{}/../../assets/wingbeat-demo-26m-q8_0.gguf", env!("CARGO_MANIFEST_DIR"));
    open_at(&path, cpu(true))
}

fn cpu(exact: bool) -> Device {
    Device::Cpu(CpuOptions { threads: Some(2), exact, ..CpuOptions::default() })
}

/// Every adapter, as good as it can and with plain kernels only.
fn gpus(exact: bool) -> Vec<Device> {
    let n = adapters().len();
    if n == 0 {
        assert!(std::env::var_os("WINGBEAT_GPU_REQUIRED").is_none(), "no adapter, but one is required");
        eprintln!("skipped: this machine has no adapter");
    }
    let device = |(number, without): (usize, &str)| {
        let mut options = GpuOptions::default();
        options.adapter = AdapterChoice::Number(number);
        options.without = Some(without.parse().unwrap());
        options.exact = exact;
        Device::Gpu(options)
    };
    (0..n).flat_map(|number| [(number, ""), (number, "all")]).map(device).collect()
}

/// `n` tokens of a vocabulary, spread over it.
fn tokens(model: &Model, n: usize, seed: usize) -> Vec<u32> {
    (0..n).map(|i| ((i * 7919 + seed * 104_729 + i * i * 31) % model.config().n_vocab) as u32).collect()
}

/// Lengths below and above what is summed, tiled and run in one pass.
fn texts(model: &Model) -> Vec<Vec<u32>> {
    let lengths = [5, 1, 300, 64, 2, 65, 17, 128, 3, 16, 1];
    lengths.iter().enumerate().map(|(i, &n)| tokens(model, n, i)).collect()
}

fn every_kind(model: &Model) -> Vec<EmbedOptions> {
    let last = model.config().n_layers - 1;
    let state = |slab: Option<&str>, layer| EmbeddingOf::State { slab: slab.map(str::to_owned), layer };
    let options = |of, pooling| EmbedOptions { of, pooling, ..EmbedOptions::default() };
    vec![
        options(EmbeddingOf::Hidden, Pooling::Mean),
        options(EmbeddingOf::Hidden, Pooling::Last),
        options(EmbeddingOf::Layer(0), Pooling::Mean),
        options(EmbeddingOf::Layer(last), Pooling::Last),
        options(state(None, None), Pooling::Last),
        // What recurs: `wkv`, or RWKV-4's first sums.
        options(state(Some(model.state_layout().slabs[1].name), Some(last)), Pooling::Last),
        EmbedOptions { normalize: true, ..EmbedOptions::default() },
    ]
}

fn embed(model: &Model, texts: &[Vec<u32>], options: &EmbedOptions) -> Embeddings {
    model.embed_tokens(texts, options, &mut |_| true).unwrap()
}

/// The largest difference in units of the expected values' standard deviation.
fn difference(actual: &[f32], expected: &[f32]) -> f64 {
    assert_eq!(actual.len(), expected.len());
    let n = expected.len().max(1) as f64;
    let mean = expected.iter().map(|&x| f64::from(x)).sum::<f64>() / n;
    let deviation = (expected.iter().map(|&x| (f64::from(x) - mean).powi(2)).sum::<f64>() / n).sqrt();
    let worst = actual.iter().zip(expected).map(|(a, e)| (f64::from(*a) - f64::from(*e)).abs());
    worst.fold(0.0, f64::max) / deviation
}

#[test]
fn alone_and_among_others_are_the_same_bits_on_the_cpu() {
    let mut models: Vec<Model> = FIXTURES.iter().map(|name| open(name, cpu(false))).collect();
    // The others' products are as exact by default.
    models.push(open("rwkv7-2x256-Q8_0.gguf", cpu(true)));
    for level in Level::available() {
        let options = CpuOptions { threads: Some(2), level: Some(level), exact: false };
        models.push(open("rwkv7-2x256-Q4_K_M.gguf", Device::Cpu(options)));
    }
    if let Some(root) = std::env::var_os("WINGBEAT_MODELS") {
        let f16 = Path::new(&root).join("quant/rwkv7-2x256-F16.gguf");
        models.push(open_at(f16.to_str().unwrap(), cpu(false)));
        models.push(open_at(Path::new(&root).join("demo/model.safetensors").to_str().unwrap(), cpu(false)));
    } else {
        eprintln!("skipped: F16 (WINGBEAT_MODELS is not set)");
    }
    for model in models {
        let name = format!("{} on {}", model.file().label(), model.device());
        let mut texts = texts(&model);
        let mut kinds = every_kind(&model);
        if model.config().n_layers > 3 {
            // The demo: what takes long is not run in every way.
            texts.retain(|text| text.len() <= 130);
            kinds.truncate(2);
        }
        for options in kinds {
            let together = embed(&model, &texts, &options);
            for (i, text) in texts.iter().enumerate() {
                let alone = embed(&model, std::slice::from_ref(text), &options);
                assert!(alone.values() == together.row(i).unwrap(), "{name}: text {i}, {options:?}");
            }
            let in_threes = EmbedOptions { batch_texts: Some(3), ..options.clone() };
            assert_eq!(embed(&model, &texts, &in_threes), together, "{name}: {options:?}, in threes");
        }
        // States and continuations are of the same passes.
        let states = model.states_of_tokens(&texts, &mut |_| true).unwrap();
        let prompts = &texts[..4];
        let want = Want { mean: true, ..Want::ALL };
        let outputs = model.continue_batch_tokens(&states[2], prompts, want, &mut |_| true).unwrap();
        for (i, prompt) in prompts.iter().enumerate() {
            let alone = model.states_of_tokens(&texts[2..3], &mut |_| true).unwrap().remove(0);
            let output = model
                .continue_batch_tokens(&alone, std::slice::from_ref(prompt), want, &mut |_| true)
                .unwrap();
            assert!(output[0] == outputs[i], "{name}: prompt {i}");
        }
    }
}

#[test]
fn every_kind_is_what_the_reference_computes() {
    for name in FIXTURES {
        let reference = open(name, Device::Reference);
        let texts: Vec<Vec<u32>> = texts(&reference).into_iter().filter(|text| text.len() <= 130).collect();
        for device in std::iter::once(cpu(true)).chain(gpus(true)) {
            let model = open(name, device);
            for options in every_kind(&model) {
                let (actual, expected) =
                    (embed(&model, &texts, &options), embed(&reference, &texts, &options));
                assert_eq!(actual.width(), expected.width());
                for (i, (actual, expected)) in actual.rows().zip(expected.rows()).enumerate() {
                    let worst = difference(actual, expected);
                    let limit = MODEL_QUANT_EXACT_REL;
                    assert!(worst <= limit, "{name} on {}: text {i}, {options:?}: {worst:e}", model.device());
                }
            }
        }
    }
}

/// Embeddings of the fixtures' prompts against the float64 hidden vectors that come with them.
#[test]
fn pooled_vectors_are_those_of_the_fixtures() {
    for name in FIXTURES {
        let (stem, _) = name.rsplit_once('.').unwrap();
        let path = format!("{}/../../tests/fixtures/{stem}.expected.safetensors", env!("CARGO_MANIFEST_DIR"));
        let expected = ModelFile::open(path).unwrap();
        let is_quantized = name.ends_with(".gguf");
        let exact = std::iter::once(cpu(true)).chain(gpus(true)).map(|device| (device, true));
        let devices =
            exact.chain(std::iter::once(cpu(false)).chain(gpus(false)).map(|device| (device, false)));
        for (device, is_exact) in devices {
            let model = open(name, device);
            for prompt in (0..).map_while(|i| expected.tensor(&format!("{i}.tokens")).map(|t| (i, t))) {
                let (i, prompt) = prompt;
                let prompt: Vec<u32> = prompt.to_f32().iter().map(|&token| token as u32).collect();
                let hidden = expected.tensor(&format!("{i}.hidden")).unwrap().to_f32();
                let n_channels = model.config().n_channels;
                let rows: Vec<&[f32]> = hidden.chunks_exact(n_channels).collect();
                let mean: Vec<f32> = (0..n_channels)
                    .map(|c| rows.iter().map(|row| f64::from(row[c])).sum::<f64>() / rows.len() as f64)
                    .map(|mean| mean as f32)
                    .collect();
                for (pooling, expected) in [(Pooling::Mean, &mean[..]), (Pooling::Last, rows[rows.len() - 1])]
                {
                    let options = EmbedOptions { pooling, ..EmbedOptions::default() };
                    let actual = embed(&model, std::slice::from_ref(&prompt), &options);
                    let worst = difference(actual.values(), expected);
                    // The largest of some hundred errors is at most four of their RMS.
                    let limit =
                        if is_quantized && !is_exact { 4.0 * MODEL_INT8_RMS } else { MODEL_QUANT_EXACT_REL };
                    assert!(worst <= limit, "{name} on {}: {pooling:?} {worst:e}", model.device());
                }
            }
        }
    }
}

#[test]
fn continuations_are_those_of_a_fork_each() {
    for device in std::iter::once(cpu(true)).chain(gpus(true)) {
        let model = open("rwkv7-2x256-Q4_K_M.gguf", device);
        let document = model.states_of_tokens(&[tokens(&model, 90, 1)], &mut |_| true).unwrap().remove(0);
        let prompts: Vec<Vec<u32>> = (0..9).map(|i| tokens(&model, 1 + 7 * i, i)).collect();
        let before = document.read_all().unwrap();
        let want = Want { mean: true, ..Want::ALL };
        let outputs = model.continue_batch_tokens(&document, &prompts, want, &mut |_| true).unwrap();
        assert_eq!(document.read_all().unwrap(), before, "the state stays as it is");
        for (prompt, actual) in prompts.iter().zip(&outputs) {
            let mut state = document.fork().unwrap();
            let sequence = Sequence { state: &mut state, tokens: prompt, want };
            let expected = model.forward(&mut [sequence]).unwrap().remove(0);
            assert!(difference(&actual.hidden, &expected.hidden) <= ORDER_REL, "{}", model.device());
            assert!(difference(&actual.logits, &expected.logits) <= ORDER_REL, "{}", model.device());
            assert!(difference(&actual.mean, &expected.mean) <= ORDER_REL, "{}", model.device());
        }
        let forks = document.fork_many(3).unwrap();
        assert!(forks.iter().all(|fork| fork.n_tokens() == 90 && fork.read_all().unwrap() == before));
    }
}

#[test]
fn choices_have_the_likelihood_of_their_tokens() {
    let model = demo();
    let state = model.state("The captain looked out over the sea.").unwrap();
    let (prompts, choices) =
        (["\n\nHe said", " The wind was"], [" that", " something quite different from this", " a"]);
    let scores = model.score_choices(&state, &prompts, &choices, &mut |_| true).unwrap();
    let encode = |text: &str| model.tokenizer().unwrap().encode(text.as_bytes()).unwrap();
    for (prompt, scores) in prompts.iter().zip(&scores) {
        for (choice, score) in choices.iter().zip(scores) {
            let (prompt, choice) = (encode(prompt), encode(choice));
            let all: Vec<u32> = prompt.iter().chain(&choice).copied().collect();
            let mut state = state.fork().unwrap();
            let sequence = Sequence { state: &mut state, tokens: &all, want: Want::ALL_LOGITS };
            let logits = model.forward(&mut [sequence]).unwrap().remove(0).logits;
            let mut expected = 0.0;
            for (i, &token) in choice.iter().enumerate() {
                let n_vocab = model.config().n_vocab;
                let row = &logits[(prompt.len() - 1 + i) * n_vocab..][..n_vocab];
                let sum: f64 = row.iter().map(|&x| f64::from(x).exp()).sum();
                expected += f64::from(row[token as usize]) - sum.ln();
            }
            assert_eq!(score.n_tokens, choice.len());
            assert!((score.log_likelihood - expected).abs() < 0.05, "{score:?}, expected {expected}");
        }
    }
}

#[test]
fn answers_are_those_of_a_session_each() {
    let model = demo();
    let state = model.state("It was a bright cold day in April.").unwrap();
    let prompts = ["\n\nHe said", "\n\nShe", "\n\nThe end of"];
    let options = GenerateOptions { max_tokens: 12, ..GenerateOptions::default() };
    // Chosen tokens may differ where two are all but equally good: seeds that this does not happen with.
    for sampler in [SamplerConfig::greedy(), SamplerConfig { seed: 5, ..SamplerConfig::default() }] {
        let mut heard = vec![Vec::new(); prompts.len()];
        let mut on_text = |i: usize, text: &[u8]| {
            heard[i].extend_from_slice(text);
            true
        };
        let answers = model.answer_batch(&state, &prompts, &sampler, &options, &mut on_text).unwrap();
        for (i, (prompt, answer)) in prompts.iter().zip(&answers).enumerate() {
            let config = SamplerConfig { seed: sampler.seed + i as u64, ..sampler.clone() };
            let mut session = Session::new(&model, state.fork().unwrap(), config).unwrap();
            session.feed_text(prompt, &mut |_| true).unwrap();
            let mut text = Vec::new();
            let generation = session
                .generate(&options, &mut |bytes| {
                    text.extend_from_slice(bytes);
                    true
                })
                .unwrap();
            assert_eq!(String::from_utf8_lossy(&answer.text), String::from_utf8_lossy(&text), "{prompt:?}");
            assert_eq!(answer.generation, generation);
            assert_eq!(heard[i], text);
        }
    }
}

#[test]
fn a_state_takes_in_more_text() {
    let model = demo();
    let mut state = model.state("The harbour lay ").unwrap();
    let n = state.n_tokens();
    let more = state.extend("quiet in the evening.").unwrap();
    assert_eq!(state.n_tokens(), n + more as u64);
    assert_eq!(state.extend("").unwrap(), 0);
    let encode = |text: &str| model.tokenizer().unwrap().encode(text.as_bytes()).unwrap();
    let all: Vec<u32> = [encode("The harbour lay "), encode("quiet in the evening.")].concat();
    let whole = model.states_of_tokens(&[all], &mut |_| true).unwrap().remove(0);
    // Token by token in both: the recurrence does not know where a call ends.
    assert_eq!(whole.read_all().unwrap(), state.read_all().unwrap());
}

#[test]
fn progress_counts_all_tokens_and_stops() {
    let model = open("rwkv7-1x64.safetensors", cpu(true));
    let texts: Vec<Vec<u32>> = (0..300).map(|i| tokens(&model, 3 + i % 5, i)).collect();
    let total: usize = texts.iter().map(Vec::len).sum();
    let mut seen = Vec::new();
    let mut note = |progress: wingbeat::Progress| {
        seen.push((progress.done, progress.total));
        true
    };
    model.embed_tokens(&texts, &EmbedOptions::default(), &mut note).unwrap();
    assert!(
        seen.is_sorted() && seen.iter().all(|(_, of)| *of == total) && seen.last() == Some(&(total, total))
    );
    let error = model.embed_tokens(&texts, &EmbedOptions::default(), &mut |_| false).unwrap_err();
    assert!(matches!(error, Error::Model(ModelError::Stopped { total: t, .. }) if t == total), "{error}");
    // After the last token there is nothing left to stop.
    model.embed_tokens(&texts, &EmbedOptions::default(), &mut |now| now.done < now.total).unwrap();
}

#[test]
fn what_cannot_be_embedded_is_said() {
    let model = open("rwkv7-2x256-Q8_0.gguf", cpu(true));
    let embed = |texts: &[Vec<u32>], of: EmbeddingOf| {
        let options = EmbedOptions { of, ..EmbedOptions::default() };
        model.embed_tokens(texts, &options, &mut |_| true).unwrap_err().to_string()
    };
    let some = vec![vec![1, 2]];
    let cases = [
        (embed(&[vec![1], vec![]], EmbeddingOf::Hidden), "text 1 (counted from 0) is empty"),
        (embed(&some, EmbeddingOf::Layer(2)), "there is no layer 2: the model has 2"),
        (embed(&some, EmbeddingOf::State { slab: None, layer: Some(9) }), "there is no layer 9"),
        (embed(&some, EmbeddingOf::State { slab: Some("kv".into()), layer: None }), "have no slab `kv`"),
        (embed(&[vec![1], vec![1, 512]], EmbeddingOf::Hidden), "token 512 at position 1 of sequence 1"),
    ];
    for (found, expected) in cases {
        assert!(found.contains(expected), "{found}");
    }
    assert_eq!(model.embed(&[""; 1], &EmbedOptions::default(), &mut |_| true).unwrap_err().to_string(), {
        "text 0 (counted from 0) is empty: expected at least one token"
    });
    let none: [&str; 0] = [];
    assert_eq!(model.embed(&none, &EmbedOptions::default(), &mut |_| true).unwrap().n_texts(), 0);
    let other = open("rwkv7-1x64.safetensors", cpu(true));
    let state = other.new_state().unwrap();
    let foreign = model.continue_batch_tokens(&state, &some, Want::LAST_HIDDEN, &mut |_| true).unwrap_err();
    assert!(matches!(foreign, Error::ForeignState { .. }), "{foreign}");
    let partial = wingbeat::ForwardOptions { n_layers: Some(1), rows_alike: false };
    let mut state: State = model.new_state().unwrap();
    let sequence = Sequence { state: &mut state, tokens: &[1], want: Want::LAST_LOGITS };
    let error = model.forward_as(&mut [sequence], partial, &mut Vec::new(), &mut |_| true).unwrap_err();
    assert!(error.to_string().contains("logits need all of them"), "{error}");
}
