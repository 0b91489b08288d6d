//! Many short continuations of one state in one batch: what a document's state is asked.
//!
//! The state is copied on its device for each prompt and never comes to the host.

use crate::{
    array::{Values, to_numpy},
    compute::compute,
    errors::{About, wrong},
    model::PyModel,
    state::PyState,
    text::{Text, Texts, tokens_of},
};
use pyo3::{IntoPyObjectExt, prelude::*};
use wingbeat::{Rows, Want};

/// Hidden vectors `(B, C)`, logits `(B, V)`, or both, after each prompt.
pub(crate) fn continue_batch<'py>(
    model: &PyModel,
    state: &PyState,
    prompts: &Bound<'py, PyAny>,
    want: &str,
    show_progress: bool,
) -> PyResult<Bound<'py, PyAny>> {
    let (py, model) = (prompts.py(), model.opened.to_run()?);
    let prompts = Texts::extract_list(prompts, "prompts")?;
    let row = |is_wanted| if is_wanted { Rows::Last } else { Rows::None };
    let (hidden, logits) = match want {
        "hidden" => (true, false),
        "logits" => (false, true),
        "both" => (true, true),
        other => return Err(wrong("want", "\"hidden\", \"logits\" or \"both\"", format!("{other:?}"))),
    };
    let wanted = Want { hidden: row(hidden), logits: row(logits), ..Want::NOTHING };
    let (state, n_prompts) = (state.snapshot(), prompts.len());
    let bar = show_progress.then_some("prompts");
    let (hidden_rows, logit_rows) = compute(py, About::Model, bar, |watch| {
        let prompts = tokens_of(prompts, model)?;
        let outputs = model.continue_batch_tokens(&state, &prompts, wanted, &mut watch.progress())?;
        let (hidden, logits): (Vec<_>, Vec<_>) =
            outputs.into_iter().map(|output| (output.hidden, output.logits)).unzip();
        Ok((hidden.concat(), logits.concat()))
    })?;
    let config = model.config();
    let array = |values, width| to_numpy(py, Values::F32(values), vec![n_prompts, width]);
    match (hidden, logits) {
        (true, true) => {
            (array(hidden_rows, config.n_channels)?, array(logit_rows, config.n_vocab)?).into_bound_py_any(py)
        }
        (true, false) => array(hidden_rows, config.n_channels),
        _ => array(logit_rows, config.n_vocab),
    }
}

/// Log-likelihoods `(B, K)` of each choice after each prompt.
pub(crate) fn score_choices<'py>(
    model: &PyModel,
    state: &PyState,
    prompts: &Bound<'py, PyAny>,
    choices: &Bound<'py, PyAny>,
    per_token: bool,
) -> PyResult<Bound<'py, PyAny>> {
    let (py, model) = (prompts.py(), model.opened.to_run()?);
    let prompts = texts_only(Texts::extract_list(prompts, "prompts")?, "prompts")?;
    let choices = texts_only(Texts::extract_list(choices, "choices")?, "choices")?;
    let (state, n_prompts, n_choices) = (state.snapshot(), prompts.len(), choices.len());
    let scores = compute(py, About::Model, None, |watch| {
        model.score_choices(&state, &prompts, &choices, &mut watch.progress())
    })?;
    let score = |choice: &wingbeat::Choice| {
        choice.log_likelihood / if per_token { choice.n_tokens as f64 } else { 1.0 }
    };
    let scores = scores.iter().flatten().map(score).collect();
    to_numpy(py, Values::F64(scores), vec![n_prompts, n_choices])
}

/// The engine tokenizes prompts and choices apart, from their bytes.
fn texts_only(texts: Vec<Text>, what: &str) -> PyResult<Vec<Vec<u8>>> {
    let bytes = |(i, text)| match text {
        Text::Bytes(bytes) => Ok(bytes),
        Text::Ids(_) => Err(wrong(&format!("{what}[{i}]"), "str or bytes", "token ids")),
    };
    texts.into_iter().enumerate().map(bytes).collect()
}
