//! Generated text: whole, piece by piece, or of many prompts side by side.
//!
//! All three are a [`Batch`] of the engine, which runs ahead where the device chooses tokens. Prompts are read before
//! anything is returned, pass by pass, so that Ctrl-C ends a long one.

use crate::{
    compute::{Watch, compute},
    errors::{About, InputError},
    model::{Opened, PyModel},
    state::PyState,
    text::{Text, Texts, tokens_of},
};
use pyo3::prelude::*;
use std::sync::{Arc, Mutex, TryLockError};
use wingbeat::{
    Batch, BatchEnd, BatchEvent, Error, GenerateOptions, Model, Sequence, Session, State, StopReason, Want,
    sampler::SamplerConfig,
};

/// Prompts that are under way at once at most.
const MOST_PROMPTS: usize = 256;

/// What to generate with.
pub(crate) struct Request {
    pub(crate) state: Option<Arc<State>>,
    pub(crate) sampler: SamplerConfig,
    pub(crate) options: GenerateOptions,
}

impl Request {
    /// From a call's arguments.
    pub(crate) fn new(state: Option<&PyState>, sampler: SamplerConfig, options: GenerateOptions) -> Request {
        Request { state: state.map(PyState::snapshot), sampler, options }
    }

    fn states(&self, model: &Model, n: usize) -> Result<Vec<State>, Error> {
        match &self.state {
            Some(state) => state.fork_many(n),
            None => (0..n).map(|_| model.new_state()).collect(),
        }
    }

    /// A batch of one sequence whose prompt is read.
    fn begin_one(&self, model: &Model, prompt: &[u32], watch: &mut Watch) -> Result<Batch, Error> {
        if prompt.is_empty() {
            return Err(Error::EmptyInput { what: "prompt", index: 0 });
        }
        let mut batch = Batch::new(model);
        for state in self.states(model, 1)? {
            let mut session = Session::new(model, state, self.sampler.clone())?;
            session.feed(prompt, &mut watch.progress())?;
            batch.add(session, &[], &self.options)?;
        }
        Ok(batch)
    }

    /// A batch of several sequences whose prompts are read but for their last tokens, which its first step takes in.
    /// first: the number of the first, for its seed.
    fn begin_many(
        &self,
        model: &Model,
        prompts: &[Vec<u32>],
        first: usize,
        watch: &mut Watch,
    ) -> Result<Batch, Error> {
        let mut states = self.states(model, prompts.len())?;
        let mut sequences = Vec::with_capacity(prompts.len());
        for (index, (state, prompt)) in states.iter_mut().zip(prompts).enumerate() {
            let Some((_, tokens)) = prompt.split_last() else {
                return Err(Error::EmptyInput { what: "prompt", index: first + index });
            };
            sequences.push(Sequence { state, tokens, want: Want::NOTHING });
        }
        model.forward_with_progress(&mut sequences, &mut watch.progress())?;
        drop(sequences);
        let mut batch = Batch::new(model);
        for (index, (state, prompt)) in states.into_iter().zip(prompts).enumerate() {
            let seed = self.sampler.seed.wrapping_add((first + index) as u64);
            let session = Session::new(model, state, SamplerConfig { seed, ..self.sampler.clone() })?;
            let last = prompt.len().saturating_sub(1);
            batch.add(session, prompt.get(last..).unwrap_or_default(), &self.options)?;
        }
        Ok(batch)
    }
}

/// The text after a prompt.
pub(crate) fn generate(model: &PyModel, prompt: &Bound<'_, PyAny>, request: &Request) -> PyResult<String> {
    let (py, model) = (prompt.py(), model.opened.to_run()?);
    let prompt = Text::extract(prompt, "prompt")?;
    compute(py, About::Model, None, |watch| {
        let mut batch = request.begin_one(model, &prompt.tokens(model)?, watch)?;
        let mut texts = run(&mut batch, 1, watch)?;
        Ok(texts.pop().unwrap_or_default())
    })
}

/// The texts after several prompts.
pub(crate) fn generate_batch(
    model: &PyModel,
    prompts: &Bound<'_, PyAny>,
    request: &Request,
) -> PyResult<Vec<String>> {
    let (py, model) = (prompts.py(), model.opened.to_run()?);
    let prompts = Texts::extract_list(prompts, "prompts")?;
    compute(py, About::Model, None, |watch| {
        let prompts = tokens_of(prompts, model)?;
        let mut texts = Vec::with_capacity(prompts.len());
        for prompts in prompts.chunks(MOST_PROMPTS) {
            let mut batch = request.begin_many(model, prompts, texts.len(), watch)?;
            texts.extend(run(&mut batch, prompts.len(), watch)?);
        }
        Ok(texts)
    })
}

/// Runs a batch of `n` sequences to its end.
fn run(batch: &mut Batch, n: usize, watch: &mut Watch) -> Result<Vec<String>, Error> {
    let mut texts = vec![Vec::new(); n];
    while let Some(event) = batch.next_event()? {
        match event {
            BatchEvent::Text { sequence, text } => texts[sequence].extend(text),
            BatchEvent::End(end) => drop(end.result?),
        }
        if !watch.goes_on(None) {
            return Err(watch.stopped());
        }
    }
    Ok(texts.iter().map(|text| String::from_utf8_lossy(text).into_owned()).collect())
}

/// Generated text piece by piece: an iterator of `str`.
///
/// Made by `Model.stream`, when the prompt has been read. Whoever wants no more just stops asking, or calls `close()`.
#[pyclass(frozen, weakref, module = "wingbeat", name = "Stream")]
pub(crate) struct PyStream {
    opened: Arc<Opened>,
    under_way: Mutex<UnderWay>,
}

struct UnderWay {
    batch: Batch,
    end: Option<Box<BatchEnd>>,
}

/// Begins to generate after a prompt.
pub(crate) fn stream(model: &PyModel, prompt: &Bound<'_, PyAny>, request: &Request) -> PyResult<PyStream> {
    let (py, opened) = (prompt.py(), Arc::clone(&model.opened));
    let (prompt, model) = (Text::extract(prompt, "prompt")?, opened.to_run()?);
    let batch =
        compute(py, About::Model, None, |watch| request.begin_one(model, &prompt.tokens(model)?, watch))?;
    Ok(PyStream { opened, under_way: Mutex::new(UnderWay { batch, end: None }) })
}

impl PyStream {
    /// Uses what is under way; another thread that does so too gets an error, as it does from Python's generators.
    fn with<T: Send>(
        &self,
        py: Python<'_>,
        work: impl FnOnce(&mut UnderWay, &mut Watch) -> Result<T, Error> + Send,
    ) -> PyResult<T> {
        self.opened.to_run()?;
        let mut under_way = match self.under_way.try_lock() {
            Ok(under_way) => under_way,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => {
                return Err(InputError::new_err("the stream is in use by another thread"));
            }
        };
        let under_way = &mut *under_way;
        compute(py, About::Model, None, |watch| work(under_way, watch))
    }
}

#[pymethods]
impl PyStream {
    fn __iter__(slf: PyRef<'_, Self>) -> PyRef<'_, Self> {
        slf
    }

    fn __next__(&self, py: Python<'_>) -> PyResult<Option<String>> {
        self.with(py, |under_way, watch| {
            if !watch.goes_on(None) {
                return Err(watch.stopped());
            }
            match under_way.batch.next_event()? {
                Some(BatchEvent::Text { text, .. }) => Ok(Some(String::from_utf8_lossy(&text).into_owned())),
                Some(BatchEvent::End(end)) => under_way.ended(end).map(|()| None),
                None => Ok(None),
            }
        })
    }

    /// Ends it here, if it has not ended: after the text that was made so far.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        self.with(py, |under_way, _| under_way.close())
    }

    /// The state with prompt and generated text; ends the stream, if it has not ended.
    fn state(&self, py: Python<'_>) -> PyResult<PyState> {
        let state = self.with(py, |under_way, _| {
            under_way.close()?;
            under_way.end.as_mut().map(|end| end.session.state()?.fork()).transpose()
        })?;
        let state =
            state.ok_or_else(|| InputError::new_err("the stream ended with an error: it has no state"))?;
        Ok(PyState::new(&self.opened, state))
    }

    /// Why it ended: "stop" (a stop text, or the end of the document), "length" (`max_tokens`), "closed", or None while it
    /// has not.
    #[getter]
    fn finish_reason(&self, py: Python<'_>) -> PyResult<Option<&'static str>> {
        self.with(py, |under_way, _| {
            let end = under_way.end.as_ref();
            Ok(end.and_then(|end| end.result.as_ref().ok()).map(|generation| match generation.reason {
                StopReason::MaxTokens => "length",
                StopReason::Cancelled => "closed",
                _ => "stop",
            }))
        })
    }

    /// Tokens generated so far.
    #[getter]
    fn n_tokens(&self, py: Python<'_>) -> PyResult<usize> {
        self.with(py, |under_way, _| Ok(under_way.batch.n_tokens()))
    }
}

impl UnderWay {
    fn close(&mut self) -> Result<(), Error> {
        self.batch.cancel(0);
        while let Some(event) = self.batch.next_event()? {
            if let BatchEvent::End(end) = event {
                self.ended(end)?;
            }
        }
        Ok(())
    }

    fn ended(&mut self, end: Box<BatchEnd>) -> Result<(), Error> {
        match end.result {
            Err(error) => Err(error),
            Ok(_) => {
                self.end = Some(end);
                Ok(())
            }
        }
    }
}
