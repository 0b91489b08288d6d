//! Reading expected outputs, running a model on their prompts, measuring differences.

use std::path::Path;
use wingbeat::{Model, ModelFile, Sequence, Want};

/// A prompt and what a float64 reference computes for it.
pub(crate) struct Case {
    pub(crate) tokens: Vec<u32>,
    /// `(T, V)`
    pub(crate) logits: Vec<f32>,
    /// `(T, C)` after `ln_out`; the demo's reference has none.
    pub(crate) hidden: Option<Vec<f32>>,
    /// Slabs after the last token, by name.
    pub(crate) slabs: Vec<(&'static str, Vec<f32>)>,
}

/// Largest differences, each relative to the standard deviation of the expected values of its prompt (logits and
/// hidden vectors: of its row).
#[derive(Clone, Debug, Default)]
pub(crate) struct Difference {
    pub(crate) logits: f64,
    pub(crate) hidden: f64,
    pub(crate) state: f64,
}

impl Difference {
    pub(crate) fn worst(&self) -> (&'static str, f64) {
        let all = [("logits", self.logits), ("hidden", self.hidden), ("state", self.state)];
        all.into_iter().max_by(|a, b| a.1.total_cmp(&b.1)).expect("three of them")
    }
}

fn tensor(file: &ModelFile, name: &str) -> Option<Vec<f32>> {
    file.tensor(name).map(|tensor| tensor.to_f32())
}

/// The prompts of a file: `0.tokens` …, or the demo's `prompt0.ids` ….
pub(crate) fn cases(path: &Path) -> Vec<Case> {
    let file = ModelFile::open(path).unwrap_or_else(|error| panic!("{error}"));
    let names = |i: usize| {
        let ours = [format!("{i}.tokens"), format!("{i}.logits"), format!("{i}.state.")];
        let demo = [format!("prompt{i}.ids"), format!("prompt{i}.logits"), format!("prompt{i}.")];
        if file.tensor(&ours[0]).is_some() { ours } else { demo }
    };
    let mut cases = Vec::new();
    for i in 0.. {
        let [tokens, logits, state] = names(i);
        let Some(tokens) = tensor(&file, &tokens) else { break };
        let slab = |name: &str| tensor(&file, &format!("{state}{name}"));
        let names = ["att_shift", "ffn_shift", "wkv", "aa", "bb", "pp"].map(|name| (name, name));
        let slabs = names.into_iter().chain([("wkv", "wkv_state")]);
        let slabs: Vec<_> = slabs.filter_map(|(name, stored)| Some((name, slab(stored)?))).collect();
        assert!(matches!(slabs.len(), 3 | 5), "{}: the slabs of prompt {i}", path.display());
        cases.push(Case {
            tokens: tokens.iter().map(|&t| t as u32).collect(),
            logits: tensor(&file, &logits).expect("logits beside tokens"),
            hidden: tensor(&file, &format!("{i}.hidden")),
            slabs,
        });
    }
    cases
}

/// A prompt with the logits of its last token.
pub(crate) struct Published {
    pub(crate) tokens: Vec<u32>,
    pub(crate) logits: Vec<f32>,
}

pub(crate) fn published(path: &Path) -> Published {
    let file = ModelFile::open(path).unwrap_or_else(|error| panic!("{error}"));
    let tokens = tensor(&file, "tokens").expect("tokens").iter().map(|&t| t as u32).collect();
    Published { tokens, logits: tensor(&file, "logits").expect("logits") }
}

pub(crate) fn last_logits(model: &Model, tokens: &[u32]) -> Vec<f32> {
    let mut state = model.new_state().expect("a state");
    let sequence = Sequence { state: &mut state, tokens, want: Want::LAST_LOGITS };
    model.forward(&mut [sequence]).expect("a forward call").remove(0).logits
}

fn standard_deviation(x: &[f32]) -> f64 {
    let mean = x.iter().map(|&x| f64::from(x)).sum::<f64>() / x.len() as f64;
    (x.iter().map(|&x| (f64::from(x) - mean).powi(2)).sum::<f64>() / x.len() as f64).sqrt()
}

/// The largest difference relative to the expected values' standard deviation.
pub(crate) fn relative(actual: &[f32], expected: &[f32]) -> f64 {
    assert_eq!(actual.len(), expected.len());
    let largest = actual.iter().zip(expected).fold(0.0f64, |m, (a, e)| {
        let d = (f64::from(*a) - f64::from(*e)).abs();
        if d.is_nan() { f64::INFINITY } else { m.max(d) }
    });
    largest / standard_deviation(expected)
}

fn relative_rows(actual: &[f32], expected: &[f32], rows: usize) -> f64 {
    assert_eq!(actual.len(), expected.len());
    let width = expected.len() / rows;
    actual.chunks(width).zip(expected.chunks(width)).fold(0.0, |m, (a, e)| m.max(relative(a, e)))
}

/// All prompts in one call as a batch, everything compared.
pub(crate) fn differences(model: &Model, cases: &[Case], name: &str) -> Difference {
    let mut states: Vec<_> = cases.iter().map(|_| model.new_state().expect("a state")).collect();
    let mut sequences: Vec<Sequence<'_>> = states
        .iter_mut()
        .zip(cases)
        .map(|(state, case)| Sequence { state, tokens: &case.tokens, want: Want::ALL })
        .collect();
    let outputs = model.forward(&mut sequences).unwrap_or_else(|error| panic!("{name}: {error}"));
    let mut difference = Difference::default();
    for ((case, output), state) in cases.iter().zip(&outputs).zip(&states) {
        let rows = case.tokens.len();
        difference.logits = difference.logits.max(relative_rows(&output.logits, &case.logits, rows));
        if let Some(hidden) = &case.hidden {
            difference.hidden = difference.hidden.max(relative_rows(&output.hidden, hidden, rows));
        }
        for (slab, expected) in &case.slabs {
            let actual = state.read(slab).expect("a slab").values;
            difference.state = difference.state.max(relative(&actual, expected));
        }
    }
    difference
}

/// `chunk` tokens a call (1: the way generation runs): root mean square of all logit differences relative to their
/// standard deviation.
pub(crate) fn rms(model: &Model, cases: &[Case], chunk: usize) -> f64 {
    let (mut squares, mut n) = (0.0, 0);
    for case in cases {
        let mut state = model.new_state().expect("a state");
        let width = case.logits.len() / case.tokens.len();
        for (tokens, expected) in
            case.tokens.chunks(chunk).zip(case.logits.chunks(chunk.saturating_mul(width)))
        {
            let sequence = Sequence { state: &mut state, tokens, want: Want::ALL_LOGITS };
            let actual = model.forward(&mut [sequence]).expect("a forward call").remove(0).logits;
            for (actual, expected) in actual.chunks(width).zip(expected.chunks(width)) {
                let scale = standard_deviation(expected);
                squares += actual
                    .iter()
                    .zip(expected)
                    .map(|(a, e)| ((f64::from(*a) - f64::from(*e)) / scale).powi(2))
                    .sum::<f64>();
                n += width;
            }
        }
    }
    (squares / n as f64).sqrt()
}
