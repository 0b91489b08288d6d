//! A continuation under way: a state, the logits after its last token, a sampler.

use crate::{
    Error, Model, Output, Progress, Sequence, State, Want,
    sampler::{Sampler, SamplerConfig},
    stop::StopMatcher,
};

/// When generation ends.
#[derive(Clone, Debug)]
pub struct GenerateOptions {
    /// Tokens at most.
    pub max_tokens: usize,
    /// Texts at which it ends; they are not shown and not kept in the state.
    pub stops: Vec<String>,
    /// Tokens at which it ends; 0 is the end of a document.
    pub stop_tokens: Vec<u32>,
}

impl Default for GenerateOptions {
    /// Up to 256 tokens or the end of the document.
    fn default() -> GenerateOptions {
        GenerateOptions { max_tokens: 256, stops: Vec::new(), stop_tokens: vec![0] }
    }
}

/// Why generation ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StopReason {
    /// As many tokens as asked for.
    MaxTokens,
    /// A stop token.
    Token(u32),
    /// A stop text.
    Text(String),
    /// Whoever takes the text wants no more.
    Cancelled,
}

/// What came of a generation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Generation {
    /// Tokens sampled, a stop token included.
    pub n_tokens: usize,
    /// Why it ended.
    pub reason: StopReason,
}

/// A conversation or a continuation under way.
pub struct Session {
    model: Model,
    state: State,
    /// After the last token that the state has taken in; empty when there is none to continue from.
    /// Of the last call, one at most; the logits are empty where there are none to continue from.
    outputs: Vec<Output>,
    /// A token that was shown and that the state has not taken in yet: it waits for the next step.
    pending: Option<u32>,
    sampler: Sampler,
    scratch: Vec<f32>,
}

/// Where to go back to if the text held back turns out to be a stop text.
struct Checkpoint {
    state: State,
    /// Bytes of text that the state has taken in.
    n_bytes: usize,
}

impl Session {
    /// A session from a state.
    ///
    /// # Errors
    /// A sampler setting is out of range, the state is another model's, or the model has no vocabulary.
    pub fn new(model: &Model, state: State, config: SamplerConfig) -> Result<Session, Error> {
        state.check_owner(model, "the state given to the session")?;
        model.tokenizer()?;
        Ok(Session {
            model: model.clone(),
            state,
            outputs: Vec::new(),
            pending: None,
            sampler: Sampler::new(config)?,
            scratch: Vec::new(),
        })
    }

    /// The model.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// The sampler; its penalties remember what was generated.
    pub fn sampler_mut(&mut self) -> &mut Sampler {
        &mut self.sampler
    }

    /// The state with all text fed and generated so far.
    ///
    /// # Errors
    /// The device failed.
    pub fn state(&mut self) -> Result<&State, Error> {
        self.flush()?;
        Ok(&self.state)
    }

    /// Goes on from another state; the sampler forgets what it counted.
    ///
    /// # Errors
    /// The state is another model's.
    pub fn set_state(&mut self, state: State) -> Result<(), Error> {
        state.check_owner(&self.model, "the state given to the session")?;
        self.state = state;
        self.forget_logits();
        self.pending = None;
        self.sampler.reset();
        Ok(())
    }

    /// Logits for the next token `(V)`; empty when nothing was run yet.
    ///
    /// # Errors
    /// The device failed.
    pub fn logits(&mut self) -> Result<&[f32], Error> {
        self.flush()?;
        Ok(self.last_logits())
    }

    /// Runs tokens that come from elsewhere, such as a prompt. `progress` may stop it by returning false; the state
    /// then holds the tokens done so far, and feeding or generating can go on from there.
    ///
    /// # Errors
    /// A token is outside the vocabulary, the device failed, or `progress` stopped it.
    pub fn feed(&mut self, tokens: &[u32], progress: &mut dyn FnMut(Progress) -> bool) -> Result<(), Error> {
        if tokens.is_empty() {
            return Ok(());
        }
        self.flush()?;
        self.run(tokens, progress)
    }

    /// As [`Session::feed`], of a text. Returns the number of tokens.
    ///
    /// # Errors
    /// As [`Session::feed`], and the text has bytes that the vocabulary lacks.
    pub fn feed_text(
        &mut self,
        text: impl AsRef<[u8]>,
        progress: &mut dyn FnMut(Progress) -> bool,
    ) -> Result<usize, Error> {
        let tokens = self.model.tokenizer()?.encode(text.as_ref())?;
        self.feed(&tokens, progress)?;
        Ok(tokens.len())
    }

    /// Samples the next token. The state takes it in with the next step.
    ///
    /// # Errors
    /// Nothing was run yet, the logits cannot be sampled, or the device failed.
    pub fn next_token(&mut self) -> Result<u32, Error> {
        self.flush()?;
        let token = self.sample()?;
        self.pending = Some(token);
        Ok(token)
    }

    /// Generates text and hands it to `on_text` piece by piece, whole characters only (bytes that are no UTF-8 are
    /// passed on as they are); `on_text` ends it by returning false. Afterwards the state has taken in exactly the
    /// text that was handed out, stop texts and stop tokens are not part of it (only where `on_text` ended it, some
    /// bytes may have been taken in that were held back as the beginning of a stop text or of a character).
    ///
    /// # Errors
    /// Nothing was run yet, a stop text is empty, the logits cannot be sampled, or the device failed.
    pub fn generate(
        &mut self,
        options: &GenerateOptions,
        on_text: &mut dyn FnMut(&[u8]) -> bool,
    ) -> Result<Generation, Error> {
        let model = self.model.clone();
        let tokenizer = model.tokenizer()?;
        let mut matcher = StopMatcher::new(options.stops.iter().map(|s| s.as_bytes().to_vec()).collect())?;
        let stops_begin_in_ascii = options.stops.iter().all(|s| s.as_bytes()[0].is_ascii());
        let mut decoder = tokenizer.stream();
        let mut checkpoint: Option<Checkpoint> = None;
        // Bytes of the tokens sampled, of those given to the matcher, and the text handed out.
        let (mut n_sampled, mut n_matched) = (0, 0);
        let mut shown: Vec<u8> = Vec::new();
        for n_tokens in 1..=options.max_tokens {
            self.flush()?;
            let token = self.sample()?;
            if options.stop_tokens.contains(&token) {
                let rest = [decoder.finish().to_vec(), matcher.finish()].concat();
                let reason =
                    if on_rest(on_text, &rest) { StopReason::Token(token) } else { StopReason::Cancelled };
                return Ok(Generation { n_tokens, reason });
            }
            let before = n_sampled;
            n_sampled += tokenizer.decode(&[token])?.len();
            let ready = decoder.push(token)?;
            n_matched += ready.len();
            let event = matcher.push(ready);
            let go_on = event.emit.is_empty() || on_text(event.emit);
            shown.extend_from_slice(event.emit);
            if let Some(stop) = event.stopped {
                self.rewind(checkpoint, before, &shown)?;
                let reason = StopReason::Text(options.stops[stop].clone());
                return Ok(Generation { n_tokens, reason });
            }
            let held = matcher.n_held() > 0 || (n_sampled > n_matched && !stops_begin_in_ascii);
            if !held || options.stops.is_empty() {
                checkpoint = None;
            } else if checkpoint.is_none() {
                checkpoint = Some(Checkpoint { state: self.state.fork()?, n_bytes: before });
            }
            self.pending = Some(token);
            if !go_on {
                return Ok(Generation { n_tokens, reason: StopReason::Cancelled });
            }
        }
        let rest = [decoder.finish().to_vec(), matcher.finish()].concat();
        let reason = if on_rest(on_text, &rest) { StopReason::MaxTokens } else { StopReason::Cancelled };
        Ok(Generation { n_tokens: options.max_tokens, reason })
    }

    /// Makes the state that of the text shown: `shown` without the stop text, whose beginning the state may have taken
    /// in already. `n_fed` bytes were taken in where there is no checkpoint.
    fn rewind(
        &mut self,
        checkpoint: Option<Checkpoint>,
        mut n_fed: usize,
        shown: &[u8],
    ) -> Result<(), Error> {
        if let Some(Checkpoint { state, n_bytes }) = checkpoint {
            self.state = state;
            self.forget_logits();
            n_fed = n_bytes;
        }
        let rest = shown.get(n_fed..).unwrap_or_default();
        let tokens = self.model.tokenizer()?.encode(rest)?;
        if tokens.is_empty() { Ok(()) } else { self.run(&tokens, &mut |_| true) }
    }

    fn sample(&mut self) -> Result<u32, Error> {
        if self.last_logits().is_empty() {
            return Err(Error::NothingToContinue);
        }
        let mut scratch = std::mem::take(&mut self.scratch);
        scratch.clear();
        scratch.extend_from_slice(self.last_logits());
        self.scratch = scratch;
        Ok(self.sampler.sample(&mut self.scratch)?)
    }

    /// The state takes in the token that waits.
    fn flush(&mut self) -> Result<(), Error> {
        match self.pending.take() {
            Some(token) => self.run(&[token], &mut |_| true),
            None => Ok(()),
        }
    }

    fn run(&mut self, tokens: &[u32], progress: &mut dyn FnMut(Progress) -> bool) -> Result<(), Error> {
        self.forget_logits();
        let sequence = Sequence { state: &mut self.state, tokens, want: Want::LAST_LOGITS };
        let result = self.model.forward_into(&mut [sequence], &mut self.outputs, progress);
        if result.is_err() {
            self.forget_logits();
        }
        result
    }

    fn last_logits(&self) -> &[f32] {
        self.outputs.first().map(|output| &output.logits[..]).unwrap_or_default()
    }

    fn forget_logits(&mut self) {
        self.outputs.iter_mut().for_each(|output| output.logits.clear());
    }
}

/// Hands out what was held back, if anything.
fn on_rest(on_text: &mut dyn FnMut(&[u8]) -> bool, rest: &[u8]) -> bool {
    rest.is_empty() || on_text(rest)
}
