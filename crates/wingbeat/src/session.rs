//! A continuation under way: a state, the logits after its last token, a sampler.
//!
//! Where the device can choose tokens, generation runs ahead (`ahead.rs`): the first token is chosen on the host, from the
//! logits that are there, and the others on the device. What is handed out and what is left behind is the same.

use crate::{
    Error, Model, Output, Progress, Sequence, State, Want,
    ahead::{Ahead, DeviceSampler, Return},
    sampler::{Sampler, SamplerConfig},
    stop::StopMatcher,
};
use wingbeat_backend::{BackendError, NO_TOKEN};

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
    /// Of the last call, one at most; the logits are empty where there are none to continue from.
    outputs: Vec<Output>,
    /// A token that was shown and that the state has not taken in yet: it waits for the next step.
    pending: Option<u32>,
    sampler: Sampler,
    /// While none is lent to a generation that runs ahead.
    on_device: Option<DeviceSampler>,
    scratch: Vec<f32>,
}

/// Where to go back to if the text held back turns out to be a stop text.
struct Checkpoint {
    /// None where generation runs ahead, which has its own.
    state: Option<State>,
    /// Tokens of the generation that the state has taken in.
    n_tokens: usize,
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
        let sampler = Sampler::new(config)?;
        Ok(Session {
            model: model.clone(),
            state,
            outputs: Vec::new(),
            pending: None,
            // Made now, so that what it needs is ready once the prompt is done.
            on_device: Some(DeviceSampler::new(model, sampler.config())?),
            sampler,
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
        let mut ahead = None;
        let result = self.generate_with(options, on_text, &mut ahead);
        if let (Err(_), Some(run)) = (&result, &ahead) {
            // The error that counts is the one that ended it.
            let _ = self.settle(run.n_given().saturating_sub(1), false, &mut ahead);
        }
        result
    }

    fn generate_with(
        &mut self,
        options: &GenerateOptions,
        on_text: &mut dyn FnMut(&[u8]) -> bool,
        ahead: &mut Option<Ahead>,
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
            let token = self.choose(n_tokens, options.max_tokens, ahead)?;
            if options.stop_tokens.contains(&token) {
                let rest = [decoder.finish().to_vec(), matcher.finish()].concat();
                let reason =
                    if on_rest(on_text, &rest) { StopReason::Token(token) } else { StopReason::Cancelled };
                self.settle(n_tokens - 1, true, ahead)?;
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
                match checkpoint {
                    Some(checkpoint) => self.go_back(checkpoint, &shown, ahead)?,
                    None => {
                        self.settle(n_tokens - 1, true, ahead)?;
                        self.take_in(shown.get(before..))?;
                    }
                }
                let reason = StopReason::Text(options.stops[stop].clone());
                return Ok(Generation { n_tokens, reason });
            }
            let held = matcher.n_held() > 0 || (n_sampled > n_matched && !stops_begin_in_ascii);
            if !held || options.stops.is_empty() {
                checkpoint = None;
            } else if checkpoint.is_none() {
                let state = if ahead.is_some() { None } else { Some(self.state.fork()?) };
                checkpoint = Some(Checkpoint { state, n_tokens: n_tokens - 1, n_bytes: before });
            }
            self.pending = Some(token);
            if !go_on {
                self.settle(n_tokens - 1, false, ahead)?;
                return Ok(Generation { n_tokens, reason: StopReason::Cancelled });
            }
            if let Some(run) = ahead {
                run.forget_before(checkpoint.as_ref().map_or(n_tokens, |checkpoint| checkpoint.n_tokens));
            }
        }
        self.settle(options.max_tokens.saturating_sub(1), false, ahead)?;
        let rest = [decoder.finish().to_vec(), matcher.finish()].concat();
        let reason = if on_rest(on_text, &rest) { StopReason::MaxTokens } else { StopReason::Cancelled };
        Ok(Generation { n_tokens: options.max_tokens, reason })
    }

    /// The next token of a generation, its `n`th. Those after the first are the device's where it chooses tokens.
    fn choose(&mut self, n: usize, most: usize, ahead: &mut Option<Ahead>) -> Result<u32, Error> {
        if n == 2
            && let Some(token) = self.pending
            && let Some(on_device) = self.sampler_on_device()?
        {
            match Ahead::begin(&self.model, on_device, &self.sampler, token, most - 1)? {
                Ok(run) => *ahead = Some(run),
                Err(on_device) => self.on_device = Some(on_device),
            }
        }
        let Some(run) = ahead else {
            self.flush()?;
            return self.sample();
        };
        self.pending = None;
        let token = run.next(&mut self.state)?;
        if token != NO_TOKEN {
            self.sampler.took(token);
            return Ok(token);
        }
        // The host finds out what is wrong with the logits.
        self.settle(n - 1, true, ahead)?;
        let token = self.sample()?;
        let what = format!("no token was chosen from logits of which token {token} can be");
        Err(BackendError::Device { device: self.model.device(), what }.into())
    }

    /// Takes the sampler on the device, for the settings as they are now.
    fn sampler_on_device(&mut self) -> Result<Option<DeviceSampler>, Error> {
        let config = self.sampler.config();
        if !self.on_device.as_ref().is_some_and(|on_device| on_device.is_for(config)) {
            self.on_device = Some(DeviceSampler::new(&self.model, config)?);
        }
        Ok(self.on_device.take())
    }

    /// Ends the running ahead, if there was any, with a state that has taken in `n` tokens of the generation.
    fn settle(&mut self, n: usize, wants_logits: bool, ahead: &mut Option<Ahead>) -> Result<(), Error> {
        let Some(run) = ahead.take() else { return Ok(()) };
        let (on_device, back) = run.end(n, wants_logits);
        self.on_device = Some(on_device);
        self.forget_logits();
        let Some(Return { state, tokens }) = back else { return Ok(()) };
        self.state = state;
        let (before, last) = tokens.split_at(tokens.len().saturating_sub(1));
        // One by one, as in a generation step by step: not every device gives the same bits otherwise.
        before.iter().try_for_each(|&token| self.run_for(&[token], Want::NOTHING, &mut |_| true))?;
        if last.is_empty() { Ok(()) } else { self.run(last, &mut |_| true) }
    }

    /// Makes the state that of the text shown: without the stop text, whose beginning it has taken in already.
    fn go_back(
        &mut self,
        checkpoint: Checkpoint,
        shown: &[u8],
        ahead: &mut Option<Ahead>,
    ) -> Result<(), Error> {
        self.settle(checkpoint.n_tokens, false, ahead)?;
        if let Some(state) = checkpoint.state {
            self.state = state;
        }
        self.forget_logits();
        self.take_in(shown.get(checkpoint.n_bytes..))
    }

    /// Runs a text, if there is any.
    fn take_in(&mut self, text: Option<&[u8]>) -> Result<(), Error> {
        let tokens = self.model.tokenizer()?.encode(text.unwrap_or_default())?;
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
        self.run_for(tokens, Want::LAST_LOGITS, progress)
    }

    fn run_for(
        &mut self,
        tokens: &[u32],
        want: Want,
        progress: &mut dyn FnMut(Progress) -> bool,
    ) -> Result<(), Error> {
        self.forget_logits();
        let sequence = Sequence { state: &mut self.state, tokens, want };
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
