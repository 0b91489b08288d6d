//! Perplexity of the demo model over 64 KiB of a held-out book, against a float64 reference.

use wingbeat::{CpuOptions, Device, Model, ModelOptions, Perplexity, Sequence, Want};

/// The reference's result for the F16 weights.
const REFERENCE_TOKENS: usize = 15_624;
const REFERENCE_NATS: f64 = 3.25181;

fn fixture(name: &str) -> String {
    format!("{}/../../tests/fixtures/{name}", env!("CARGO_MANIFEST_DIR"))
}

fn text() -> Vec<u8> {
    std::fs::read(fixture("val_small.txt")).unwrap()
}

fn demo() -> String {
    format!("{}/../../assets/wingbeat-demo-26m-q8_0.gguf", env!("CARGO_MANIFEST_DIR"))
}

/// Relative difference of perplexities.
fn off(result: &Perplexity) -> f64 {
    (result.nats_per_token - REFERENCE_NATS).exp_m1().abs()
}

#[test]
fn q8_0_stays_within_two_per_mille() {
    let model = Model::open(demo()).unwrap();
    let result = model.perplexity(&text(), &mut |_| true).unwrap();
    assert_eq!((result.tokens, result.bytes), (REFERENCE_TOKENS, 65_536));
    assert!(off(&result) < 2e-3, "{result:?}");
    assert!((result.bits_per_byte() - 1.11844).abs() < 2e-3 * 1.11844, "{result:?}");
}

#[test]
fn f16_agrees_to_one_per_mille() {
    let Some(root) = std::env::var_os("WINGBEAT_MODELS") else {
        return eprintln!("skipped: perplexity of the F16 demo weights (WINGBEAT_MODELS is not set)");
    };
    let path = std::path::Path::new(&root).join("demo/model.safetensors");
    let options =
        ModelOptions { vocabulary: Some(fixture("demo-vocab.txt").into()), ..ModelOptions::default() };
    let result = Model::open_with(path, &options).unwrap().perplexity(&text(), &mut |_| true).unwrap();
    assert_eq!(result.tokens, REFERENCE_TOKENS);
    assert!(off(&result) < 1e-3, "{result:?}");
    assert!((result.nats_per_token - REFERENCE_NATS).abs() < 2e-5, "to all digits given: {result:?}");
}

/// Nats a token of some text with tokens run one at a time, as generation does, or in passes of many.
fn nats(model: &Model, tokens: &[u32], chunk: usize) -> f64 {
    let mut state = model.new_state().unwrap();
    let n_vocab = model.config().n_vocab;
    let (inputs, targets) = (&tokens[..tokens.len() - 1], &tokens[1..]);
    let mut sum = 0.0;
    for (inputs, targets) in inputs.chunks(chunk).zip(targets.chunks(chunk)) {
        let sequence = Sequence { state: &mut state, tokens: inputs, want: Want::ALL_LOGITS };
        let logits = model.forward(&mut [sequence]).unwrap().remove(0).logits;
        for (row, &target) in logits.chunks_exact(n_vocab).zip(targets) {
            let largest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let total: f64 = row.iter().map(|&x| f64::from(x - largest).exp()).sum();
            sum += total.ln() - f64::from(row[target as usize] - largest);
        }
    }
    sum / targets.len() as f64
}

/// Generation multiplies quantized weights with int8 activations: what that costs in perplexity.
#[test]
fn int8_activations_cost_less_than_two_per_mille() {
    let open = |exact| {
        let cpu = CpuOptions { exact, ..CpuOptions::default() };
        let options = ModelOptions { device: Device::Cpu(cpu), ..ModelOptions::default() };
        Model::open_with(demo(), &options).unwrap()
    };
    let tokens = open(true).tokenizer().unwrap().encode(&text()[..16_384]).unwrap();
    let exact = nats(&open(true), &tokens, 128);
    // As text is generated, and as prompts are read.
    for chunk in [1, 128] {
        let int8 = nats(&open(false), &tokens, chunk);
        eprintln!(
            "{} tokens by {chunk}: {exact:.5} nats a token exact, {int8:.5} with int8",
            tokens.len() - 1
        );
        assert!((int8 - exact).exp_m1().abs() < 2e-3, "exact {exact}, int8 {int8}, {chunk} tokens a call");
        assert!((int8 - exact).abs() > 1e-7, "int8 activations were not used, {chunk} tokens a call");
    }
}

#[test]
fn an_empty_text_is_refused() {
    let error = Model::open(demo()).unwrap().perplexity(b"", &mut |_| true).unwrap_err().to_string();
    assert!(error.contains("empty"), "{error}");
}
