//! Embeddings and the states of documents: many texts in, an array or a list of states out.
//!
//! What an embedding is made of and how texts are packed is the engine's business; here are the names that Python uses
//! for it.

use crate::{
    array::{Values, to_numpy},
    cache::PyCache,
    compute::compute,
    errors::{About, InputError, wrong},
    model::PyModel,
    state::PyState,
    text::{Texts, tokens_of},
};
use pyo3::{IntoPyObjectExt, prelude::*};
use wingbeat::{EmbedOptions, EmbeddingOf, Model, Pooling};

/// What is to be made of texts, as Python says it.
pub(crate) struct Wanted<'a> {
    pub(crate) pooling: &'a str,
    pub(crate) normalize: bool,
    pub(crate) batch_size: Option<usize>,
    pub(crate) of: &'a str,
    pub(crate) layer: Option<i128>,
    pub(crate) slab: Option<String>,
}

impl Wanted<'_> {
    fn options(self, model: &Model) -> PyResult<EmbedOptions> {
        let pooling = match self.pooling {
            "mean" => Pooling::Mean,
            "last" => Pooling::Last,
            other => return Err(wrong("pooling", "\"mean\" or \"last\"", format!("{other:?}"))),
        };
        if self.batch_size == Some(0) {
            return Err(wrong("batch_size", "at least 1, or None", 0));
        }
        let of = embedding_of(model, self.of, self.layer, self.slab)?;
        Ok(EmbedOptions { of, pooling, normalize: self.normalize, batch_texts: self.batch_size })
    }
}

/// What an embedding is made of. layer: counted from 0, or from the end if negative.
pub(crate) fn embedding_of(
    model: &Model,
    of: &str,
    layer: Option<i128>,
    slab: Option<String>,
) -> PyResult<EmbeddingOf> {
    let layer = layer.map(|layer| layer_of(model, layer)).transpose()?;
    match (of, layer, slab) {
        ("state", layer, slab) => Ok(EmbeddingOf::State { slab, layer }),
        ("hidden", _, Some(slab)) => Err(InputError::new_err(format!(
            "slab: `{slab}` is a part of a state: it goes with of=\"state\""
        ))),
        ("hidden", Some(layer), None) => Ok(EmbeddingOf::Layer(layer)),
        ("hidden", None, None) => Ok(EmbeddingOf::Hidden),
        (other, ..) => Err(wrong("of", "\"hidden\" or \"state\"", format!("{other:?}"))),
    }
}

fn layer_of(model: &Model, layer: i128) -> PyResult<usize> {
    let n_layers = model.config().n_layers;
    let from_start = if layer < 0 { layer + n_layers as i128 } else { layer };
    match usize::try_from(from_start) {
        Ok(index) if index < n_layers => Ok(index),
        _ => Err(wrong("layer", &format!("{} to {}", -(n_layers as i64), n_layers - 1), layer)),
    }
}

/// Embeddings `(B, width)`, or `(width)` of a text by itself.
pub(crate) fn embed<'py>(
    model: &PyModel,
    texts: &Bound<'py, PyAny>,
    wanted: Wanted<'_>,
    show_progress: bool,
    cache: Option<&PyCache>,
) -> PyResult<Bound<'py, PyAny>> {
    let (py, model) = (texts.py(), model.opened.to_run()?);
    let (texts, is_one) = Texts::extract(texts, "texts")?.into_parts();
    let options = wanted.options(model)?;
    let bar = show_progress.then_some("embedding");
    let embeddings = compute(py, About::Model, bar, |watch| {
        let (tokens, mut progress) = (tokens_of(texts, model)?, watch.progress());
        match cache {
            Some(PyCache { cache, .. }) => cache.embed_tokens(model, &tokens, &options, &mut progress),
            None => model.embed_tokens(&tokens, &options, &mut progress),
        }
    })?;
    let (n_texts, width) = (embeddings.n_texts(), embeddings.width());
    let shape = if is_one { vec![width] } else { vec![n_texts, width] };
    to_numpy(py, Values::F32(embeddings.into_values()), shape)
}

/// The state after a text, or a list of those after several.
pub(crate) fn states<'py>(
    model: &PyModel,
    texts: &Bound<'py, PyAny>,
    show_progress: bool,
    cache: Option<&PyCache>,
) -> PyResult<Bound<'py, PyAny>> {
    let (py, opened) = (texts.py(), &model.opened);
    let model = opened.to_run()?;
    let (texts, is_one) = Texts::extract(texts, "texts")?.into_parts();
    let bar = show_progress.then_some("reading");
    let states = compute(py, About::Model, bar, |watch| {
        let (tokens, mut progress) = (tokens_of(texts, model)?, watch.progress());
        match cache {
            Some(PyCache { cache, .. }) => cache.states_of_tokens(model, &tokens, &mut progress),
            None => model.states_of_tokens(&tokens, &mut progress),
        }
    })?;
    let mut states = states.into_iter().map(|state| PyState::new(opened, state));
    match states.next() {
        Some(state) if is_one => state.into_bound_py_any(py),
        first => first.into_iter().chain(states).collect::<Vec<_>>().into_bound_py_any(py),
    }
}
