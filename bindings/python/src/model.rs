//! A model: a file on a device, as Python sees it.
//!
//! Opening, what it is, and what needs no options: tokens, logits, perplexity. Embeddings, continuations and generation
//! are in files of their own.

use crate::{
    array::{Values, to_numpy},
    cache::PyCache,
    compute::compute,
    device::{device_of, prepare},
    embed::{self, Wanted},
    errors::{About, DeviceError, count, exception},
    fields,
    generate::{self, PyStream, Request},
    hub, sampling,
    state::PyState,
    text::{self, Text},
};
use pyo3::{
    intern,
    prelude::*,
    types::{PyBytes, PyDict},
};
use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, Weak},
};
use wingbeat::{Adapter, Error, Model, ModelOptions, Rows, Sequence, Want};

/// A model that is open, shared by the objects that use it.
pub(crate) struct Opened {
    pub(crate) model: Model,
    path: Option<PathBuf>,
    /// The process that opened it: threads and devices do not follow into a fork of it.
    process: u32,
}

/// The models that are open: a state that comes out of a pickle looks for its own here.
static OPEN: Mutex<Vec<Weak<Opened>>> = Mutex::new(Vec::new());

impl Opened {
    fn new(model: Model, path: Option<PathBuf>) -> Arc<Opened> {
        let opened = Arc::new(Opened { model, path, process: std::process::id() });
        let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|other| other.strong_count() > 0);
        open.push(Arc::downgrade(&opened));
        opened
    }

    /// An open model, by what tells it from others: the one opened last.
    pub(crate) fn find(fingerprint: &str) -> Option<Arc<Opened>> {
        let open: Vec<Arc<Opened>> = {
            let open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
            open.iter().rev().filter_map(Weak::upgrade).collect()
        };
        open.into_iter()
            .find(|opened| opened.process == std::process::id() && opened.model.fingerprint() == fingerprint)
    }

    /// The model, to compute with.
    pub(crate) fn to_run(&self) -> PyResult<&Model> {
        let process = std::process::id();
        if process == self.process {
            return Ok(&self.model);
        }
        let (name, before) = (&self.model.config().name, self.process);
        Err(DeviceError::new_err(format!(
            "{name}: was opened by process {before}, and its threads did not follow into process {process}, a fork: open it there"
        )))
    }
}

/// An RWKV model on a device, with its vocabulary.
///
/// Made by `Model.load(path)` or `Model.demo()`. It may be used by several threads; while it computes, other Python threads
/// run. Its weights are in memory once, whoever refers to it.
#[pyclass(frozen, weakref, module = "wingbeat", name = "Model")]
pub(crate) struct PyModel {
    pub(crate) opened: Arc<Opened>,
}

/// Adapters as Python has them: one or several, each a path or a path with a scale.
fn adapters(lora: &Bound<'_, PyAny>, alpha: Option<f32>) -> PyResult<Vec<Adapter>> {
    let one = |item: &Bound<'_, PyAny>| -> PyResult<Adapter> {
        let (path, scale) = match item.extract::<(PathBuf, f32)>() {
            Ok(pair) => pair,
            Err(_) => (item.extract()?, 1.0),
        };
        Ok(Adapter { scale, alpha, ..Adapter::new(path) })
    };
    match one(lora) {
        Ok(adapter) => Ok(vec![adapter]),
        Err(_) => lora.try_iter()?.map(|item| one(&item?)).collect(),
    }
}

/// How well a model predicts a text. `float()` of it is the perplexity.
#[pyclass(frozen, get_all, module = "wingbeat", name = "Perplexity")]
pub(crate) struct PyPerplexity {
    /// `e ** nats_per_token`
    perplexity: f64,
    /// Mean of `-ln p(token)`.
    nats_per_token: f64,
    /// Bits that the model needs for a byte of the text.
    bits_per_byte: f64,
    /// Tokens predicted: all of the text's.
    n_tokens: usize,
    /// Bytes of the text.
    n_bytes: usize,
}

#[pymethods]
impl PyPerplexity {
    fn __float__(&self) -> f64 {
        self.perplexity
    }

    fn __repr__(&self) -> String {
        format!(
            "Perplexity(perplexity={:.4}, nats_per_token={:.6}, bits_per_byte={:.6}, n_tokens={}, n_bytes={})",
            self.perplexity, self.nats_per_token, self.bits_per_byte, self.n_tokens, self.n_bytes
        )
    }
}

#[pymethods]
impl PyModel {
    /// Opens a model file: GGUF, safetensors or .pth, found by its content.
    ///
    /// path: the file, or "hf:user/repo", "hf:user/repo:type" of the Hugging Face hub, fetched into its cache once.
    /// device: "auto" (a GPU where there is one with room for the model, else the CPU), "cpu", "gpu", "gpu:N", a part of a
    ///     GPU's name, or "reference" (slow, for checking).
    /// threads: of the CPU; None: one a core.
    /// precision: "exact" never rounds activations to few bits, which is slower.
    /// vocab: a vocabulary file in the official text format, instead of the model's own or the World one.
    /// lora: adapters to merge into the weights: a path (.pth, PEFT's file or folder, GGUF), `(path, scale)`, or a list of
    ///     these.
    /// lora_alpha: their alpha; None: what an adapter says, or 32.
    #[staticmethod]
    #[pyo3(signature = (path, device = "auto", threads = None, precision = "default", vocab = None, lora = None, lora_alpha = None))]
    #[expect(clippy::too_many_arguments, reason = "they are keywords in Python")]
    fn load(
        py: Python<'_>,
        path: PathBuf,
        device: &str,
        threads: Option<i128>,
        precision: &str,
        vocab: Option<PathBuf>,
        lora: Option<Bound<'_, PyAny>>,
        lora_alpha: Option<f32>,
    ) -> PyResult<PyModel> {
        let adapters = match &lora {
            Some(lora) => adapters(lora, lora_alpha)?,
            None => Vec::new(),
        };
        let device = device_of(device, threads, precision)?;
        let path = hub::locate(py, path)?;
        let options = ModelOptions { device, vocabulary: vocab, adapters };
        prepare(py, &options.device)?;
        let model = compute(py, About::Model, None, |_| Model::open_with(&path, &options))?;
        // As it was found, wherever the process goes from here.
        let path = std::path::absolute(&path).unwrap_or(path);
        Ok(PyModel { opened: Opened::new(model, Some(path)) })
    }

    /// The demo model that comes with the package: 26 million parameters, trained on public-domain novels.
    ///
    /// device, threads, precision: as of `load`.
    #[staticmethod]
    #[pyo3(signature = (device = "auto", threads = None, precision = "default"))]
    fn demo(py: Python<'_>, device: &str, threads: Option<i128>, precision: &str) -> PyResult<PyModel> {
        let options = ModelOptions {
            device: device_of(device, threads, precision)?,
            vocabulary: None,
            adapters: Vec::new(),
        };
        prepare(py, &options.device)?;
        let model = compute(py, About::Model, None, |_| Model::demo(&options))?;
        Ok(PyModel { opened: Opened::new(model, None) })
    }

    /// The model's name, from the file's metadata or the file's name.
    #[getter]
    fn name(&self) -> &str {
        &self.opened.model.config().name
    }

    /// The file; None for the demo model.
    #[getter]
    fn path(&self) -> Option<&Path> {
        self.opened.path.as_deref()
    }

    /// The RWKV version, e.g. "RWKV-7".
    #[getter]
    fn version(&self) -> &'static str {
        self.opened.model.config().version.name()
    }

    /// The device in words, e.g. "CPU (avx512, 2 threads)".
    #[getter]
    fn device(&self) -> String {
        self.opened.model.device()
    }

    /// What tells this model from any other: 32 hexadecimal digits, kept in its states' files.
    #[getter]
    fn fingerprint(&self) -> &str {
        self.opened.model.fingerprint()
    }

    /// What one should know about how it was loaded, such as a device that was passed over.
    #[getter]
    fn notes(&self) -> Vec<String> {
        self.opened.model.notes().to_vec()
    }

    /// Layers: L.
    #[getter]
    fn n_layers(&self) -> usize {
        self.opened.model.config().n_layers
    }

    /// Channels: C, the length of a hidden vector.
    #[getter]
    fn n_channels(&self) -> usize {
        self.opened.model.config().n_channels
    }

    /// Heads: H.
    #[getter]
    fn n_heads(&self) -> usize {
        self.opened.model.config().n_heads
    }

    /// Channels of a head: N; C = H * N.
    #[getter]
    fn head_size(&self) -> usize {
        self.opened.model.config().head_size
    }

    /// Channels of the feed-forward part: F.
    #[getter]
    fn n_ffn(&self) -> usize {
        self.opened.model.config().n_ffn
    }

    /// Tokens of the vocabulary: V.
    #[getter]
    fn n_vocab(&self) -> usize {
        self.opened.model.config().n_vocab
    }

    /// Names and shapes of a state's slabs, e.g. {"att_shift": (L, C), "wkv": (L, H, N, N), "ffn_shift": (L, C)}.
    #[getter]
    fn state_shapes<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        shapes(py, &self.opened.model)
    }

    /// Token ids of a text. `str` counts as UTF-8.
    fn tokenize(&self, text: &Bound<'_, PyAny>) -> PyResult<Vec<u32>> {
        let bytes = text::bytes(text, "text")?;
        compute(text.py(), About::Model, None, |_| Text::Bytes(bytes).tokens(&self.opened.model))
    }

    /// The text of token ids. Bytes that are no UTF-8 are treated as `errors` says, as in `bytes.decode`.
    #[pyo3(signature = (ids, errors = "replace"))]
    fn detokenize<'py>(&self, ids: &Bound<'py, PyAny>, errors: &str) -> PyResult<Bound<'py, PyAny>> {
        self.detokenize_bytes(ids)?.call_method1("decode", ("utf-8", errors))
    }

    /// The bytes of token ids: nothing is replaced.
    fn detokenize_bytes<'py>(&self, ids: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyBytes>> {
        let (py, ids) = (ids.py(), text::ids(ids, "ids")?);
        let bytes = self.opened.model.tokenizer().and_then(|tokenizer| Ok(tokenizer.decode(&ids)?));
        Ok(PyBytes::new(py, &bytes.map_err(|error| exception(error, About::Model))?))
    }

    /// Logits for the token after a text, or after each of its tokens.
    ///
    /// text: str, bytes or token ids, at least one token.
    /// all: after each token, not only the last.
    /// state: what was read before the text; it stays as it is.
    /// Returns float32 (V), or (T, V) with `all`.
    #[pyo3(signature = (text, all = false, state = None))]
    fn logits<'py>(
        &self,
        text: &Bound<'py, PyAny>,
        all: bool,
        state: Option<&PyState>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = text.py();
        let (text, model) = (Text::extract(text, "text")?, self.opened.to_run()?);
        let state = state.map(PyState::snapshot);
        let rows = if all { Rows::All } else { Rows::Last };
        let want = Want { logits: rows, ..Want::NOTHING };
        let (logits, n_tokens) = compute(py, About::Model, None, |watch| {
            let tokens = text.tokens(model)?;
            if tokens.is_empty() {
                return Err(Error::EmptyInput { what: "text", index: 0 });
            }
            let mut state = match &state {
                Some(state) => state.fork()?,
                None => model.new_state()?,
            };
            let sequence = Sequence { state: &mut state, tokens: &tokens, want };
            let outputs = model.forward_with_progress(&mut [sequence], &mut watch.progress())?;
            let logits = outputs.into_iter().next().map(|output| output.logits).unwrap_or_default();
            Ok((logits, tokens.len()))
        })?;
        let n_vocab = model.config().n_vocab;
        let shape = if all { vec![n_tokens, n_vocab] } else { vec![n_vocab] };
        to_numpy(py, Values::F32(logits), shape)
    }

    /// How well the model predicts a text (str or bytes), from the zero state.
    #[pyo3(signature = (text, show_progress = false))]
    fn perplexity(&self, text: &Bound<'_, PyAny>, show_progress: bool) -> PyResult<PyPerplexity> {
        let bytes = text::bytes(text, "text")?;
        let model = self.opened.to_run()?;
        let bar = show_progress.then_some("perplexity");
        let found =
            compute(text.py(), About::Model, bar, |watch| model.perplexity(&bytes, &mut watch.progress()))?;
        Ok(PyPerplexity {
            perplexity: found.perplexity(),
            nats_per_token: found.nats_per_token,
            bits_per_byte: found.bits_per_byte(),
            n_tokens: found.tokens,
            n_bytes: found.bytes,
        })
    }

    /// Embeds texts: any number, of any length; none is cut.
    ///
    /// texts: a text (str, bytes or token ids), or a list of them.
    /// pooling: "mean" of all tokens' hidden vectors, or the "last" one.
    /// normalize: scale each embedding to length 1.
    /// batch_size: texts under way at once at most; None: as many as have room. It changes the time, and nothing else.
    /// show_progress: draw a bar on standard error.
    /// of: "hidden" vectors (C), or the "state" after the text, flattened, to which pooling does not apply.
    /// layer: of "hidden", the residual stream after that layer instead of the final hidden vectors (later layers are not
    ///     run); of "state", that layer's part instead of all. Counted from 0, or from the end if negative.
    /// slab: of "state", one slab by name instead of all.
    /// cache: what was computed before is taken from it, and what is computed is kept there.
    /// Returns float32 (B, C), a row a text, in their order; (C) for a text by itself. Of a state, C is the number of values
    /// taken of it: see `embedding_width`.
    #[pyo3(signature = (
        texts, pooling = "mean", normalize = false, batch_size = None, show_progress = false, *, of = "hidden",
        layer = None, slab = None, cache = None
    ))]
    #[expect(clippy::too_many_arguments, reason = "keyword arguments of Python's")]
    fn embed<'py>(
        &self,
        texts: &Bound<'py, PyAny>,
        pooling: &str,
        normalize: bool,
        batch_size: Option<i128>,
        show_progress: bool,
        of: &str,
        layer: Option<i128>,
        slab: Option<String>,
        cache: Option<&PyCache>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let batch_size = batch_size.map(|n| count("batch_size", n)).transpose()?;
        let wanted = Wanted { pooling, normalize, batch_size, of, layer, slab };
        embed::embed(self, texts, wanted, show_progress, cache)
    }

    /// The length of an embedding of this kind: C, of `embed` with these arguments.
    #[pyo3(signature = (of = "hidden", layer = None, slab = None))]
    fn embedding_width(&self, of: &str, layer: Option<i128>, slab: Option<String>) -> PyResult<usize> {
        let of = embed::embedding_of(&self.opened.model, of, layer, slab)?;
        self.opened.model.embedding_width(&of).map_err(|error| exception(error, About::Model))
    }

    /// Embeddings as sentence-transformers names them; see `wingbeat.SentenceTransformer` for the arguments.
    #[pyo3(signature = (
        sentences, batch_size = 32, show_progress_bar = None, convert_to_numpy = true, convert_to_tensor = false,
        normalize_embeddings = false, **others
    ))]
    #[expect(clippy::too_many_arguments, reason = "keyword arguments of another package's")]
    fn encode<'py>(
        slf: &Bound<'py, Self>,
        sentences: &Bound<'py, PyAny>,
        batch_size: i128,
        show_progress_bar: Option<bool>,
        convert_to_numpy: bool,
        convert_to_tensor: bool,
        normalize_embeddings: bool,
        others: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        let encode = py.import(intern!(py, "wingbeat._adapters"))?.getattr(intern!(py, "encode"))?;
        let arguments = (
            slf,
            sentences,
            batch_size,
            show_progress_bar,
            convert_to_numpy,
            convert_to_tensor,
            normalize_embeddings,
        );
        encode.call(arguments, others)
    }

    /// The length of an embedding, as sentence-transformers names it: C.
    fn get_sentence_embedding_dimension(&self) -> usize {
        self.n_channels()
    }

    /// The state of a model that has read a text, or a list of states for a list of texts, which are read side by side.
    ///
    /// texts: a text (str, bytes or token ids), or a list of them.
    /// show_progress: draw a bar on standard error.
    /// cache: what was read before is taken from it, wholly or as far as a text begins alike, and what is read is kept there.
    #[pyo3(signature = (texts, show_progress = false, *, cache = None))]
    fn state<'py>(
        &self,
        texts: &Bound<'py, PyAny>,
        show_progress: bool,
        cache: Option<&PyCache>,
    ) -> PyResult<Bound<'py, PyAny>> {
        embed::states(self, texts, show_progress, cache)
    }

    /// Continues a state with several short prompts, each from there, in one batch. The state stays as it is.
    ///
    /// prompts: a list of texts.
    /// want: "hidden", "logits" or "both", after each prompt's last token.
    /// Returns float32 (B, C) of hidden vectors, (B, V) of logits, or a tuple of both. Texts after each prompt: see
    /// `generate_batch` with `state`; how likely given answers are: see `score_choices`.
    #[pyo3(signature = (state, prompts, want = "hidden", show_progress = false))]
    fn continue_batch<'py>(
        &self,
        state: &PyState,
        prompts: &Bound<'py, PyAny>,
        want: &str,
        show_progress: bool,
    ) -> PyResult<Bound<'py, PyAny>> {
        fields::continue_batch(self, state, prompts, want, show_progress)
    }

    /// How likely each of some answers is after each prompt, from a state, which stays as it is.
    ///
    /// prompts, choices: lists of str or bytes, tokenized apart.
    /// per_token: divide by the choice's tokens, for choices of different lengths.
    /// Returns float64 (B, K): ln p(choice | state, prompt).
    #[pyo3(signature = (state, prompts, choices, per_token = false))]
    fn score_choices<'py>(
        &self,
        state: &PyState,
        prompts: &Bound<'py, PyAny>,
        choices: &Bound<'py, PyAny>,
        per_token: bool,
    ) -> PyResult<Bound<'py, PyAny>> {
        fields::score_choices(self, state, prompts, choices, per_token)
    }

    /// Writes text after a prompt.
    ///
    /// prompt: str, bytes or token ids, at least one token.
    /// state: what was read before the prompt; it stays as it is.
    /// max_tokens: tokens at most.
    /// stop: a text, or several, at which it ends, and which is not part of the result.
    /// stop_tokens: token ids at which it ends; None: the end of the document, 0.
    /// seed: the same seed, settings and text before give the same text; None: another at each call.
    /// sampling: temperature 1.0 (0: the most probable token), top_k 0 (off), top_p 0.7, min_p 0.0, typical_p 1.0,
    ///     presence_penalty 0.0, frequency_penalty 0.0, penalty_decay 0.996, repetition_penalty 1.0, repetition_window 64,
    ///     logit_bias {id: number}, banned [id].
    #[pyo3(signature = (
        prompt, state = None, max_tokens = 256, stop = None, stop_tokens = None, seed = None, **sampling
    ))]
    #[expect(clippy::too_many_arguments, reason = "keyword arguments of Python's")]
    fn generate(
        &self,
        prompt: &Bound<'_, PyAny>,
        state: Option<&PyState>,
        max_tokens: i128,
        stop: Option<&Bound<'_, PyAny>>,
        stop_tokens: Option<&Bound<'_, PyAny>>,
        seed: Option<i128>,
        sampling: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<String> {
        let options = sampling::options(max_tokens, stop, stop_tokens)?;
        let request = Request::new(state, sampling::sampler(sampling, seed)?, options);
        generate::generate(self, prompt, &request)
    }

    /// As `generate`, piece by piece: an iterator of str, which can tell why it ended and has the state.
    #[pyo3(signature = (
        prompt, state = None, max_tokens = 256, stop = None, stop_tokens = None, seed = None, **sampling
    ))]
    #[expect(clippy::too_many_arguments, reason = "keyword arguments of Python's")]
    fn stream(
        &self,
        prompt: &Bound<'_, PyAny>,
        state: Option<&PyState>,
        max_tokens: i128,
        stop: Option<&Bound<'_, PyAny>>,
        stop_tokens: Option<&Bound<'_, PyAny>>,
        seed: Option<i128>,
        sampling: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<PyStream> {
        let options = sampling::options(max_tokens, stop, stop_tokens)?;
        let request = Request::new(state, sampling::sampler(sampling, seed)?, options);
        generate::stream(self, prompt, &request)
    }

    /// As `generate`, after each of several prompts, side by side: a list of str. Prompt i has the seed `seed + i`.
    ///
    /// With `state` it asks a document that was read once: what the command `wingbeat fields` does, and `answer_batch` in
    /// Rust.
    #[pyo3(signature = (
        prompts, state = None, max_tokens = 256, stop = None, stop_tokens = None, seed = None, **sampling
    ))]
    #[expect(clippy::too_many_arguments, reason = "keyword arguments of Python's")]
    fn generate_batch(
        &self,
        prompts: &Bound<'_, PyAny>,
        state: Option<&PyState>,
        max_tokens: i128,
        stop: Option<&Bound<'_, PyAny>>,
        stop_tokens: Option<&Bound<'_, PyAny>>,
        seed: Option<i128>,
        sampling: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Vec<String>> {
        let options = sampling::options(max_tokens, stop, stop_tokens)?;
        let request = Request::new(state, sampling::sampler(sampling, seed)?, options);
        generate::generate_batch(self, prompts, &request)
    }

    /// The state of a model that has read nothing.
    fn new_state(&self, py: Python<'_>) -> PyResult<PyState> {
        let model = self.opened.to_run()?;
        let state = compute(py, About::State, None, |_| model.new_state())?;
        Ok(PyState::new(&self.opened, state))
    }

    /// Reads a state that `State.save` wrote; it must be one of this model.
    pub(crate) fn load_state(&self, py: Python<'_>, path: PathBuf) -> PyResult<PyState> {
        let model = self.opened.to_run()?;
        let state = compute(py, About::State, None, |_| model.load_state(&path))?;
        Ok(PyState::new(&self.opened, state))
    }

    fn __eq__(&self, other: &Bound<'_, PyAny>) -> bool {
        other.cast::<PyModel>().is_ok_and(|other| Arc::ptr_eq(&self.opened, &other.get().opened))
    }

    fn __hash__(&self) -> usize {
        Arc::as_ptr(&self.opened).addr()
    }

    fn __repr__(&self) -> String {
        let config = self.opened.model.config();
        format!(
            "<wingbeat.Model {:?}: {}, {} layers, {} channels, on {}>",
            config.name,
            config.version.name(),
            config.n_layers,
            config.n_channels,
            self.opened.model.device()
        )
    }
}

/// Names and shapes of the slabs of a model's states.
pub(crate) fn shapes<'py>(py: Python<'py>, model: &Model) -> PyResult<Bound<'py, PyDict>> {
    let shapes = PyDict::new(py);
    for slab in &model.state_layout().slabs {
        shapes.set_item(slab.name, pyo3::types::PyTuple::new(py, &slab.shape)?)?;
    }
    Ok(shapes)
}
