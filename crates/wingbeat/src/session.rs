//! A continuation under way: a state, the logits after its last token, a sampler.
//!
//! Where the device can choose tokens, generation runs ahead (`ahead.rs`): the first token is chosen on the host, from the
//! logits that are there, and the others on the device. What is handed out and what is left behind is the same.

use crate::{
    Error, Model, Output, Progress, Sequence, State, Want,
    ahead::{Ahead, DeviceSampler, Row},
    generated::{End, GeneratedText},
    sampler::{Sampler, SamplerConfig},
    trail::Trail,
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
    pub(crate) model: Model,
    pub(crate) state: State,
    /// Of the last call, one at most; the logits are empty where there are none to continue from.
    outputs: Vec<Output>,
    /// Tokens that count as taken in and that the state has not taken in yet: they wait for the next step.
    pub(crate) pending: Vec<u32>,
    pub(crate) sampler: Sampler,
    /// While none is lent to a generation that runs ahead; made with the first prompt.
    on_device: Option<DeviceSampler>,
    scratch: Vec<f32>,
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
            pending: Vec::new(),
            on_device: None,
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
        self.pending.clear();
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
        // Made now, so that what it needs is ready once the prompt is done.
        self.make_sampler_on_device()?;
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
        self.pending.push(token);
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
        let (mut ahead, mut trail) = (None, Trail::default());
        let result = self.generate_with(options, on_text, &mut ahead, &mut trail);
        if let (Err(_), Some(run)) = (&result, ahead.take()) {
            let n_taken = trail.n_tokens();
            // The error that counts is the one that ended it.
            let _ = self.leave(run, &mut trail, n_taken, false);
        }
        result
    }

    fn generate_with(
        &mut self,
        options: &GenerateOptions,
        on_text: &mut dyn FnMut(&[u8]) -> bool,
        ahead: &mut Option<Ahead>,
        trail: &mut Trail,
    ) -> Result<Generation, Error> {
        let mut text = GeneratedText::new(self.model.tokenizer()?, options)?;
        if options.max_tokens == 0 {
            return Ok(Generation { n_tokens: 0, reason: StopReason::MaxTokens });
        }
        loop {
            let token = self.choose(&text, ahead, trail)?;
            trail.push(token);
            if let Some(end) = text.take(token, on_text)? {
                match ahead.take() {
                    Some(run) => self.leave(run, trail, end.n_taken, end.wants_logits)?,
                    None => drop(self.go_to(trail, text.n_tokens() - 1, end.n_taken, end.wants_logits)),
                }
                self.wait_for_rest(&end)?;
                if end.last.is_none() {
                    self.flush()?;
                }
                return Ok(Generation { n_tokens: text.n_tokens(), reason: end.reason });
            }
            self.keep_if_held(&text, trail, ahead.is_some())?;
            self.pending.clear();
            self.pending.push(token);
        }
    }

    /// After a token that ended nothing: keeps the state before text that is held back, and forgets what is of no use any
    /// more. A generation that runs ahead keeps states itself.
    pub(crate) fn keep_if_held(
        &self,
        text: &GeneratedText,
        trail: &mut Trail,
        is_ahead: bool,
    ) -> Result<(), Error> {
        if is_ahead {
            trail.forget_before(text.n_sure());
        } else if text.n_sure() == text.n_tokens() {
            trail.forget_all();
        } else if text.n_sure() + 1 == text.n_tokens() {
            trail.keep(text.n_sure(), &self.state)?;
        }
        Ok(())
    }

    /// The next token of a generation. Those after the first are the device's where it chooses tokens.
    fn choose(
        &mut self,
        text: &GeneratedText,
        ahead: &mut Option<Ahead>,
        trail: &mut Trail,
    ) -> Result<u32, Error> {
        let most_steps = text.most_tokens() - 1;
        if let (1, &[token]) = (text.n_tokens(), &self.pending[..]) {
            self.make_sampler_on_device()?;
            if let Some(on_device) = self.on_device.take_if(|on_device| on_device.chooses()) {
                *ahead = Some(Ahead::begin(&self.model, on_device, &[(&self.sampler, token)])?);
            }
        }
        let Some(run) = ahead else {
            self.flush()?;
            return self.sample();
        };
        let mut rows =
            [Row { state: &mut self.state, trail: Some(trail), before: 0, most_steps, may_end: true }];
        run.refill(&mut rows)?;
        let token = run.next().first().copied().unwrap_or(NO_TOKEN);
        if token != NO_TOKEN {
            self.sampler.took(token);
            return Ok(token);
        }
        if let Some(run) = ahead.take() {
            self.leave(run, trail, text.n_tokens(), true)?;
        }
        Err(self.why_no_token())
    }

    /// Why the device chose no token where the session is now: the host finds out what is wrong with the logits.
    pub(crate) fn why_no_token(&mut self) -> Error {
        let token = match self.flush().and_then(|()| self.sample()) {
            Ok(token) => token,
            Err(error) => return error,
        };
        let what = format!("no token was chosen from logits of which token {token} can be");
        BackendError::Device { device: self.model.device(), what }.into()
    }

    /// Makes the sampler on the device, for the settings as they are now.
    fn make_sampler_on_device(&mut self) -> Result<(), Error> {
        let settings = self.sampler.config().on_device();
        if !self.on_device.as_ref().is_some_and(|on_device| on_device.is_for(&settings, 1)) {
            self.on_device = Some(DeviceSampler::new(&self.model, settings, 1)?);
        }
        Ok(())
    }

    /// Ends the running ahead of this session, with a state that has taken in `n` tokens of the generation.
    fn leave(&mut self, run: Ahead, trail: &mut Trail, n: usize, wants_logits: bool) -> Result<(), Error> {
        let n_now = run.n_steps();
        self.on_device = Some(run.end());
        self.forget_logits();
        self.go_to(trail, n_now, n, wants_logits);
        self.flush_one_by_one()
    }

    /// The state takes in the tokens that wait, as in a generation step by step: not every device gives the same bits
    /// otherwise.
    pub(crate) fn flush_one_by_one(&mut self) -> Result<(), Error> {
        let waiting = std::mem::take(&mut self.pending);
        let (before, last) = waiting.split_at(waiting.len().saturating_sub(1));
        before.iter().try_for_each(|&token| self.run_for(&[token], Want::NOTHING, &mut |_| true))?;
        if last.is_empty() { Ok(()) } else { self.run(last, &mut |_| true) }
    }

    /// Whether there are logits, or will be once what waits is taken in.
    pub(crate) fn can_go_on(&self) -> bool {
        !(self.pending.is_empty() && self.last_logits().is_empty())
    }

    /// What waits, to be taken in together with other sessions' tokens; [`Session::took_in`] ends it.
    pub(crate) fn as_sequence(&mut self) -> Sequence<'_> {
        self.forget_logits();
        Sequence { state: &mut self.state, tokens: &self.pending, want: Want::LAST_LOGITS }
    }

    /// What waited was taken in, and this came of it.
    pub(crate) fn took_in(&mut self, output: &mut Output) {
        self.pending.clear();
        self.outputs.resize_with(1, Output::default);
        std::mem::swap(&mut self.outputs[0], output);
    }

    /// The sampler of one row is not needed now.
    pub(crate) fn forget_sampler_on_device(&mut self) {
        self.on_device = None;
    }

    /// Goes to where `n` tokens of a generation are taken in, or will be once what waits is; the state has taken in `n_now`.
    /// Returns the state that was left, if another took its place.
    pub(crate) fn go_to(
        &mut self,
        trail: &mut Trail,
        n_now: usize,
        n: usize,
        wants_logits: bool,
    ) -> Option<State> {
        self.pending.clear();
        if n_now == n && !(wants_logits && self.last_logits().is_empty()) {
            return None;
        }
        self.forget_logits();
        let back = trail.back_to(n, wants_logits).expect("a state is kept where a generation may go back to");
        self.pending.extend(back.tokens);
        Some(std::mem::replace(&mut self.state, back.state))
    }

    /// What comes after the tokens that were taken in waits to be.
    pub(crate) fn wait_for_rest(&mut self, end: &End) -> Result<(), Error> {
        self.pending.extend(self.model.tokenizer()?.encode(&end.again)?);
        self.pending.extend(end.last);
        Ok(())
    }
    /// Chooses from the logits that are there.
    pub(crate) fn sample(&mut self) -> Result<u32, Error> {
        if self.last_logits().is_empty() {
            return Err(Error::NothingToContinue);
        }
        let mut scratch = std::mem::take(&mut self.scratch);
        scratch.clear();
        scratch.extend_from_slice(self.last_logits());
        self.scratch = scratch;
        Ok(self.sampler.sample(&mut self.scratch)?)
    }

    /// The state takes in the tokens that wait.
    pub(crate) fn flush(&mut self) -> Result<(), Error> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let waiting = std::mem::take(&mut self.pending);
        let result = self.run(&waiting, &mut |_| true);
        // The memory is used again.
        self.pending = waiting;
        self.pending.clear();
        result
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

    /// There are none to continue from.
    pub(crate) fn forget_logits(&mut self) {
        self.outputs.iter_mut().for_each(|output| output.logits.clear());
    }
}
