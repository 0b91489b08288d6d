//! Sessions: text out of a model, stops, and a state that holds exactly what was shown.

use wingbeat::{GenerateOptions, Model, Sequence, Session, StopReason, Want, sampler::SamplerConfig};

fn model() -> Model {
    Model::open(format!("{}/../../tests/fixtures/rwkv7-2x256-Q8_0.gguf", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

fn session(model: &Model, prompt: &str, config: SamplerConfig) -> Session {
    let mut session = model.session(config).unwrap();
    session.feed_text(prompt, &mut |_| true).unwrap();
    session
}

fn seeded(seed: u64) -> SamplerConfig {
    SamplerConfig { temperature: 1.5, top_p: 1.0, seed, ..SamplerConfig::default() }
}

/// Greedy, and only tokens of printable ASCII: random weights would write bytes that are no text.
fn greedy_ascii(model: &Model) -> SamplerConfig {
    let vocabulary = model.tokenizer().unwrap().vocabulary();
    let printable = |id| vocabulary.token(id).is_some_and(|t| t.iter().all(|b| b.is_ascii_graphic()));
    SamplerConfig { banned: (0..512).filter(|&id| !printable(id)).collect(), ..SamplerConfig::greedy() }
}

fn generate(session: &mut Session, options: &GenerateOptions) -> (Vec<u8>, wingbeat::Generation) {
    let mut text = Vec::new();
    let generation = session
        .generate(options, &mut |bytes| {
            text.extend_from_slice(bytes);
            true
        })
        .unwrap();
    (text, generation)
}

fn options(max_tokens: usize, stops: &[&str]) -> GenerateOptions {
    let stops = stops.iter().map(|s| (*s).to_owned()).collect();
    GenerateOptions { max_tokens, stops, stop_tokens: Vec::new() }
}

/// Logits of a fresh run over some text, cut into the given tokens.
fn logits_after(model: &Model, tokens: &[u32]) -> Vec<f32> {
    let mut state = model.new_state().unwrap();
    model
        .forward(&mut [Sequence { state: &mut state, tokens, want: Want::LAST_LOGITS }])
        .unwrap()
        .remove(0)
        .logits
}

#[test]
fn same_seed_same_text() {
    let model = model();
    let run = |seed| generate(&mut session(&model, "the", seeded(seed)), &options(60, &[])).0;
    assert_eq!(run(1), run(1));
    assert_ne!(run(1), run(2));
    let greedy = || generate(&mut session(&model, "the", SamplerConfig::greedy()), &options(60, &[])).0;
    assert_eq!(greedy(), greedy());
}

#[test]
fn pieces_are_whole_characters_and_nothing_is_lost() {
    let model = model();
    let tokenizer = model.tokenizer().unwrap();
    // The tokens, picked one by one, and the text of the same seed in one generation.
    let mut one = session(&model, "a", seeded(5));
    let tokens: Vec<u32> = (0..200).map(|_| one.next_token().unwrap()).collect();
    let (text, generation) = generate(&mut session(&model, "a", seeded(5)), &options(200, &[]));
    assert_eq!(text, tokenizer.decode(&tokens).unwrap());
    assert_eq!(generation.reason, StopReason::MaxTokens);
    assert_eq!(generation.n_tokens, 200);
    // The state holds all of it.
    assert_eq!(one.state().unwrap().n_tokens(), 201);
}

#[test]
fn a_stop_text_ends_it_and_leaves_no_trace() {
    let model = model();
    let (whole, _) = generate(&mut session(&model, "a", seeded(7)), &options(120, &[]));
    // Every stop of one to six bytes at some places of the text.
    for start in (10..whole.len().saturating_sub(8)).step_by(13) {
        for len in [1, 2, 6] {
            let Ok(stop) = std::str::from_utf8(&whole[start..start + len]) else { continue };
            let at = whole.windows(len).position(|w| w == stop.as_bytes()).unwrap();
            let mut session = session(&model, "a", seeded(7));
            let (text, generation) = generate(&mut session, &options(120, &["not in there at all", stop]));
            assert_eq!(text, whole[..at], "stop {stop:?}");
            assert_eq!(generation.reason, StopReason::Text(stop.to_owned()));
            // The state is that of the prompt and the text shown: going on gives what a state of that text would give,
            // up to the cut into tokens and int8 rounding, which the number of bytes cannot show but logits can.
            let state_tokens = session.state().unwrap().n_tokens();
            assert!(state_tokens >= 1);
            if at == 0 {
                assert_eq!(state_tokens, 1, "only the prompt is left");
            }
        }
    }
}

#[test]
fn after_a_stop_the_state_is_that_of_the_text_shown() {
    let model = model();
    let mut reference = session(&model, "a", greedy_ascii(&model));
    let tokens: Vec<u32> = (0..40).map(|_| reference.next_token().unwrap()).collect();
    let tokenizer = model.tokenizer().unwrap();
    // Stop at a text that begins with token 20 and spans three tokens.
    let before = tokenizer.decode(&tokens[..20]).unwrap();
    let stop = tokenizer.decode(&tokens[20..23]).unwrap();
    let stop = String::from_utf8(stop).unwrap();
    let whole = tokenizer.decode(&tokens).unwrap();
    let first = whole.windows(stop.len()).position(|w| w == stop.as_bytes());
    assert_eq!(first, Some(before.len()), "choose another stop: this one occurs earlier");
    let mut session = session(&model, "a", greedy_ascii(&model));
    let (text, _) = generate(&mut session, &options(40, &[&stop]));
    assert_eq!(text, before);
    let mut prompt = tokenizer.encode(b"a").unwrap();
    prompt.extend_from_slice(&tokens[..20]);
    assert_eq!(session.state().unwrap().n_tokens(), prompt.len() as u64);
    // Prompts of several tokens are computed with exact activations, single ones with int8: compare the states' effect
    // through one more token fed to both.
    session.feed(&[5], &mut |_| true).unwrap();
    prompt.push(5);
    let expected = logits_after(&model, &prompt);
    let actual = session.logits().unwrap();
    let deviation = (expected.iter().map(|x| x * x).sum::<f32>() / expected.len() as f32).sqrt();
    let rms = (actual.iter().zip(&expected).map(|(a, e)| (a - e) * (a - e)).sum::<f32>()
        / expected.len() as f32)
        .sqrt();
    assert!(rms < 0.03 * deviation, "rms {rms}, deviation {deviation}");
}

#[test]
fn stop_tokens_end_it() {
    let model = model();
    let mut probe = session(&model, "a", SamplerConfig::greedy());
    let tokens: Vec<u32> = (0..10).map(|_| probe.next_token().unwrap()).collect();
    let stop = tokens[4];
    let first = tokens.iter().position(|&t| t == stop).unwrap();
    let options = GenerateOptions { max_tokens: 50, stops: Vec::new(), stop_tokens: vec![stop] };
    let mut session = session(&model, "a", SamplerConfig::greedy());
    let (text, generation) = generate(&mut session, &options);
    assert_eq!(text, model.tokenizer().unwrap().decode(&tokens[..first]).unwrap());
    assert_eq!(generation.reason, StopReason::Token(stop));
    assert_eq!(session.state().unwrap().n_tokens(), 1 + first as u64);
}

#[test]
fn the_taker_may_cancel() {
    let model = model();
    let mut session = session(&model, "a", seeded(3));
    let mut pieces = 0;
    let generation = session
        .generate(&options(1000, &[]), &mut |_| {
            pieces += 1;
            pieces < 5
        })
        .unwrap();
    assert_eq!(generation.reason, StopReason::Cancelled);
    assert_eq!(pieces, 5);
    assert!(generation.n_tokens < 1000);
}

#[test]
fn errors_are_clear() {
    let model = model();
    let mut fresh = model.session(SamplerConfig::greedy()).unwrap();
    let error = fresh.next_token().unwrap_err().to_string();
    assert!(error.contains("nothing to continue"), "{error}");
    let mut session = session(&model, "a", SamplerConfig::greedy());
    assert!(session.generate(&options(5, &[""]), &mut |_| true).is_err());
    assert!(model.session(SamplerConfig { top_p: f32::NAN, ..SamplerConfig::default() }).is_err());
    assert!(session.feed(&[512], &mut |_| true).is_err());
    // A refused feed leaves the session usable.
    session.feed(&[1], &mut |_| true).unwrap();
    session.next_token().unwrap();
}

#[test]
fn a_model_without_vocabulary_says_so() {
    let path = format!("{}/../../tests/fixtures/rwkv7-1x64.safetensors", env!("CARGO_MANIFEST_DIR"));
    let model = Model::open(path).unwrap();
    let error = model.session(SamplerConfig::greedy()).err().unwrap().to_string();
    assert!(error.contains("--vocab") && error.contains("67 tokens"), "{error}");
}
