//! Many generations side by side: each step of the model is one pass over all of them.
//!
//! A step reads the weights once, whoever takes part: tokens of many sequences cost little more than those of one. Sequences
//! come as sessions and go as sessions, so that each is afterwards where it would be had it generated alone; here is only
//! who takes part in which step. Where the device chooses tokens, steps run ahead of the host (`ahead.rs`) and no logits
//! come back; elsewhere each session samples from its own.

use crate::{
    Error, GenerateOptions, Generation, Model, ModelError, Output, Sequence, Session, State, StopReason,
    ahead::{Ahead, DeviceSampler, Row},
    generated::{End, GeneratedText},
    trail::Trail,
};
use std::{collections::VecDeque, sync::Arc};
use wingbeat_backend::{DeviceSampling, NO_TOKEN};

/// Of the rows of a batch that runs ahead, one in this many has ended when it is put together anew: until then rows that
/// have ended take part for nothing, and putting it together costs a pause of the device.
const ENDED_PART: usize = 4;

/// Sequences that generate together.
///
/// A sequence is a [`Session`] with what it is to read and to write. All that are there take a token each a step; one that
/// ends gives its session back and costs the others nothing from then on, and new ones may be added at any time. The text
/// is the one that the session would write alone, with the same seed, but for rounding: products of many rows are rounded
/// otherwise than those of one, by default more so than with exact precision, so that two tokens that are all but equally good
/// may change places. A batch of one sequence writes what its session would.
///
/// Where a GPU chooses tokens, sequences whose sampler settings are equal but for the seed run together; others wait until
/// those before them have ended. So do sequences beyond what a pass takes (some hundreds).
///
/// ```
/// use wingbeat::{Batch, BatchEvent, GenerateOptions, Model, sampler::SamplerConfig};
///
/// let demo = concat!(env!("CARGO_MANIFEST_DIR"), "/../../assets/wingbeat-demo-26m-q8_0.gguf");
/// let model = Model::open(demo)?;
/// let mut batch = Batch::new(&model);
/// let prompts = ["It was a dark and stormy night", "My dear Watson", "Call me"];
/// for (seed, prompt) in (0..).zip(prompts) {
///     let session = model.session(SamplerConfig { seed, ..SamplerConfig::default() })?;
///     batch.add_text(session, prompt, &GenerateOptions { max_tokens: 8, ..GenerateOptions::default() })?;
/// }
/// let mut texts = vec![Vec::new(); prompts.len()];
/// while let Some(event) = batch.next_event()? {
///     match event {
///         BatchEvent::Text { sequence, text } => texts[sequence].extend(text),
///         BatchEvent::End(end) => assert!(end.result?.n_tokens <= 8),
///     }
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Batch {
    model: Model,
    waiting: VecDeque<Member>,
    /// Those that take part. Only in a run there are others than live ones, at the places of rows that have ended.
    slots: Vec<Slot>,
    run: Option<Ahead>,
    on_device: Option<DeviceSampler>,
    /// Sequences with these settings that may take part at once.
    most_rows: usize,
    events: VecDeque<BatchEvent>,
    n_added: usize,
    n_tokens: usize,
    tokens: Vec<u32>,
    outputs: Vec<Output>,
}

/// What comes out of a batch.
pub enum BatchEvent {
    /// A piece of text: whole characters only (bytes that are no UTF-8 are passed on as they are).
    Text {
        /// Which sequence's: the number that [`Batch::add`] gave it.
        sequence: usize,
        /// The piece.
        text: Vec<u8>,
    },
    /// A sequence has ended; no more comes of it.
    End(Box<BatchEnd>),
}

/// A sequence that has ended.
pub struct BatchEnd {
    /// Its number.
    pub sequence: usize,
    /// How it ended. An error is of this sequence alone, such as logits that cannot be sampled.
    pub result: Result<Generation, Error>,
    /// Its session, to go on with: where [`Session::generate`] would have left it. Tokens that the state has not taken in
    /// yet wait in it for its next use.
    pub session: Session,
}

/// A sequence that has not ended.
struct Member {
    number: usize,
    session: Session,
    prompt: Vec<u32>,
    /// For the device's sampler; none where tokens are chosen on the host.
    settings: Option<DeviceSampling>,
    text: GeneratedText,
    trail: Trail,
    /// Tokens that the state had taken in when the run began.
    before: usize,
}

/// A row of the batch.
enum Slot {
    Live(Box<Member>),
    /// A state that takes part in steps until the rows are put together anew; none where there are no more steps.
    Ended(Option<State>),
}

impl Batch {
    /// A batch without sequences.
    pub fn new(model: &Model) -> Batch {
        Batch {
            model: model.clone(),
            waiting: VecDeque::new(),
            slots: Vec::new(),
            run: None,
            on_device: None,
            most_rows: usize::MAX,
            events: VecDeque::new(),
            n_added: 0,
            n_tokens: 0,
            tokens: Vec::new(),
            outputs: Vec::new(),
        }
    }

    /// Adds a sequence: what the session has read so far, then `prompt`, then what it generates. Returns its number: the
    /// first is 0, the next 1, and so on. It takes part as soon as there is room; prompts of all that begin together are
    /// run in one call.
    ///
    /// # Errors
    /// The session is of another model, a token is outside the vocabulary, a stop text is empty, or there is nothing to
    /// continue: neither prompt nor anything that the session has run. The batch is as it was then.
    pub fn add(
        &mut self,
        mut session: Session,
        prompt: &[u32],
        options: &GenerateOptions,
    ) -> Result<usize, Error> {
        self.check_owner(&session)?;
        let vocab = self.model.config().n_vocab;
        if let Some(position) = prompt.iter().position(|&token| token as usize >= vocab) {
            let (sequence, token) = (self.n_added, prompt[position]);
            return Err(ModelError::TokenOutOfRange { sequence, position, token, vocab }.into());
        }
        if prompt.is_empty() && !session.can_go_on() {
            return Err(Error::NothingToContinue);
        }
        let text = GeneratedText::new(self.model.tokenizer()?, options)?;
        session.forget_sampler_on_device();
        let chooses = self.model.inner.engine.chooses_tokens();
        let settings = session.sampler.config().on_device().filter(|_| chooses);
        let number = self.n_added;
        let (prompt, trail) = (prompt.to_vec(), Trail::default());
        self.waiting.push_back(Member { number, session, prompt, settings, text, trail, before: 0 });
        self.n_added += 1;
        Ok(number)
    }

    /// As [`Batch::add`], with a text as prompt.
    ///
    /// # Errors
    /// As [`Batch::add`], and the text has bytes that the vocabulary lacks.
    pub fn add_text(
        &mut self,
        session: Session,
        prompt: impl AsRef<[u8]>,
        options: &GenerateOptions,
    ) -> Result<usize, Error> {
        let tokens = self.model.tokenizer()?.encode(prompt.as_ref())?;
        self.add(session, &tokens, options)
    }

    /// What comes next, run for if need be; none once all sequences have ended. Of one sequence everything comes in order.
    ///
    /// # Errors
    /// The device failed: the batch is of no more use then.
    pub fn next_event(&mut self) -> Result<Option<BatchEvent>, Error> {
        while self.events.is_empty() && !(self.slots.is_empty() && self.waiting.is_empty()) {
            self.advance()?;
        }
        Ok(self.events.pop_front())
    }

    /// Runs all sequences to their ends, which it returns by number. `on_text` takes each piece of text with its
    /// sequence's number, and ends a sequence by returning false.
    ///
    /// # Errors
    /// As [`Batch::next_event`].
    pub fn run(&mut self, on_text: &mut dyn FnMut(usize, &[u8]) -> bool) -> Result<Vec<BatchEnd>, Error> {
        let mut ends = Vec::new();
        while let Some(event) = self.next_event()? {
            match event {
                BatchEvent::Text { sequence, text } => {
                    if !on_text(sequence, &text) {
                        self.cancel(sequence);
                    }
                }
                BatchEvent::End(end) => ends.push(*end),
            }
        }
        ends.sort_by_key(|end| end.sequence);
        Ok(ends)
    }

    /// Ends a sequence, if it has not ended: after the text that was made of it so far. One that has not begun gives its
    /// session back as it came.
    pub fn cancel(&mut self, sequence: usize) {
        if let Some(at) = self.waiting.iter().position(|member| member.number == sequence)
            && let Some(Member { number, session, .. }) = self.waiting.remove(at)
        {
            let result = Ok(Generation { n_tokens: 0, reason: StopReason::Cancelled });
            self.events.push_back(BatchEvent::End(Box::new(BatchEnd { sequence: number, result, session })));
        }
        let is = |slot: &Slot| matches!(slot, Slot::Live(member) if member.number == sequence);
        if let Some(at) = self.slots.iter().position(is)
            && let Some(member) = self.slots[at].live()
            && let Some(last) = member.trail.last_token()
        {
            let end = member.text.end_here(StopReason::Cancelled, last);
            self.end(at, Ok(end));
        }
    }

    /// Sequences that have not ended.
    pub fn n_sequences(&self) -> usize {
        self.n_live() + self.waiting.len()
    }

    /// Tokens chosen so far, of all sequences together.
    pub fn n_tokens(&self) -> usize {
        self.n_tokens
    }

    fn n_live(&self) -> usize {
        self.slots.iter().filter(|slot| matches!(slot, Slot::Live(_))).count()
    }

    /// A session's model must be this one, or a clone of it.
    fn check_owner(&self, session: &Session) -> Result<(), Error> {
        if Arc::ptr_eq(&session.model.inner, &self.model.inner) {
            return Ok(());
        }
        let name = |model: &Model| model.config().name.clone();
        let which = |model: &Model| format!("{}, {}", model.fingerprint(), model.device());
        Err(Error::ForeignState {
            state: "the session given to the batch".to_owned(),
            found_name: name(&session.model),
            found: which(&session.model),
            expected_name: name(&self.model),
            expected: format!("{}, as it was opened for the batch", which(&self.model)),
        })
    }

    /// One step, or what must come before it.
    fn advance(&mut self) -> Result<(), Error> {
        if self.run.is_some() {
            return self.step_ahead();
        }
        self.slots.retain(|slot| matches!(slot, Slot::Live(_)));
        self.admit()?;
        self.slots.retain(|slot| matches!(slot, Slot::Live(_)));
        if self.slots.is_empty() {
            return Ok(());
        }
        if self.settings().is_none() { self.step_on_host() } else { self.begin_run() }
    }

    /// The settings of those that take part; none where tokens are chosen on the host.
    fn settings(&self) -> Option<DeviceSampling> {
        self.slots.iter().find_map(|slot| match slot {
            Slot::Live(member) => member.settings.clone(),
            Slot::Ended(_) => None,
        })
    }

    /// Whether the first that waits may join those that take part.
    fn may_join(&self) -> bool {
        let live = self.slots.iter().find_map(|slot| match slot {
            Slot::Live(member) => Some(&member.settings),
            Slot::Ended(_) => None,
        });
        self.waiting.front().is_some_and(|first| live.is_none_or(|settings| *settings == first.settings))
    }

    /// Lets those that wait take part, as far as there is room for them: runs their prompts and chooses their first tokens,
    /// which is the host's work.
    fn admit(&mut self) -> Result<(), Error> {
        if !self.may_join() {
            return Ok(());
        }
        let settings = self.waiting.front().and_then(|member| member.settings.clone());
        let n_fitting = self.waiting.iter().take_while(|member| member.settings == settings).count();
        let n_live = self.slots.len();
        self.most_rows = match settings {
            Some(_) => self.find_room(&settings, n_live, n_live + n_fitting)?,
            None => usize::MAX,
        };
        if self.most_rows == 0 {
            self.choose_on_host();
            return Ok(());
        }
        let n_new = n_fitting.min(self.most_rows.saturating_sub(n_live));
        self.slots.extend(self.waiting.drain(..n_new).map(|member| Slot::Live(Box::new(member))));
        for member in self.slots[n_live..].iter_mut().filter_map(Slot::live) {
            member.session.pending.append(&mut member.prompt);
        }
        self.take_in(n_live)?;
        for at in n_live..self.slots.len() {
            let Some(member) = self.slots[at].live() else { continue };
            if member.text.most_tokens() == 0 {
                self.end(at, Ok(End::before_any_token()));
            } else {
                let token = member.session.sample();
                self.take(at, token);
            }
        }
        Ok(())
    }

    /// How many rows the device's sampler can be made for: as many as are wanted, but for at least those that are live; 0
    /// where it cannot be. The sampler is there afterwards for as many as are wanted.
    fn find_room(
        &mut self,
        settings: &Option<DeviceSampling>,
        n_live: usize,
        n_wanted: usize,
    ) -> Result<usize, Error> {
        let most = self.model.inner.engine.most_rows_ahead();
        let mut n_rows = n_wanted.min(most);
        while !self.make_sampler(settings, n_rows)? {
            let fewer = (n_rows / 2).max(n_live).max(1);
            if fewer >= n_rows {
                return Ok(0);
            }
            n_rows = fewer;
        }
        Ok(if n_rows == n_wanted { most } else { n_rows })
    }

    /// Makes the device's sampler for so many rows; whether it chooses tokens.
    fn make_sampler(&mut self, settings: &Option<DeviceSampling>, n_rows: usize) -> Result<bool, Error> {
        if !self.on_device.as_ref().is_some_and(|sampler| sampler.is_for(settings, n_rows)) {
            // The memory of the one before it is free first.
            self.on_device = None;
            self.on_device = Some(DeviceSampler::new(&self.model, settings.clone(), n_rows)?);
        }
        Ok(self.on_device.as_ref().is_some_and(DeviceSampler::chooses))
    }

    /// The device knows the settings but cannot choose with them for this model.
    fn choose_on_host(&mut self) {
        let live = self.slots.iter_mut().filter_map(Slot::live);
        live.map(|member| &mut **member).chain(&mut self.waiting).for_each(|member| member.settings = None);
    }

    /// The states of the rows from `first` on take in what waits, in one call.
    fn take_in(&mut self, first: usize) -> Result<(), Error> {
        let live = self.slots[first..].iter_mut().filter_map(Slot::live);
        let mut sessions: Vec<&mut Session> = live.map(|member| &mut member.session).collect();
        sessions.retain(|session| !session.pending.is_empty());
        let mut sequences: Vec<Sequence<'_>> =
            sessions.iter_mut().map(|session| session.as_sequence()).collect();
        self.model.forward_into(&mut sequences, &mut self.outputs, &mut |_| true)?;
        drop(sequences);
        for (session, output) in sessions.iter_mut().zip(&mut self.outputs) {
            session.took_in(output);
        }
        Ok(())
    }

    fn step_on_host(&mut self) -> Result<(), Error> {
        self.take_in(0)?;
        for at in 0..self.slots.len() {
            if let Some(member) = self.slots[at].live() {
                let token = member.session.sample();
                self.take(at, token);
            }
        }
        Ok(())
    }

    fn begin_run(&mut self) -> Result<(), Error> {
        let settings = self.settings();
        if !self.make_sampler(&settings, self.slots.len())? {
            self.choose_on_host();
            return Ok(());
        }
        let Some(on_device) = self.on_device.take() else { return Ok(()) };
        let mut rows = Vec::with_capacity(self.slots.len());
        for member in self.slots.iter_mut().filter_map(Slot::live) {
            member.before = member.text.n_tokens() - 1;
            // Those of the prompt.
            member.session.forget_logits();
            rows.push((&member.session.sampler, member.trail.last_token().unwrap_or_default()));
        }
        self.run = Some(Ahead::begin(&self.model, on_device, &rows)?);
        Ok(())
    }

    fn step_ahead(&mut self) -> Result<(), Error> {
        let (n_rows, n_live) = (self.slots.len(), self.n_live());
        let changes =
            (n_rows - n_live) * ENDED_PART >= n_rows || (self.may_join() && n_rows < self.most_rows);
        let Some(run) = &mut self.run else { return Ok(()) };
        if changes {
            run.wind_down();
        }
        if n_live > 0 {
            // Rows without a state are none of a run that hands anything over.
            let mut rows: Vec<Row<'_>> = self.slots.iter_mut().filter_map(Slot::row).collect();
            run.refill(&mut rows)?;
            self.tokens.clear();
            self.tokens.extend_from_slice(run.next());
        }
        if n_live == 0 || self.tokens.is_empty() {
            self.on_device = self.run.take().map(Ahead::end);
            return Ok(());
        }
        for at in 0..n_rows {
            let token = self.tokens[at];
            match self.slots[at].live() {
                None => {}
                Some(_) if token == NO_TOKEN => self.end(at, Err(None)),
                Some(member) => {
                    member.session.sampler.took(token);
                    self.take(at, Ok(token));
                }
            }
        }
        Ok(())
    }

    /// A live row's next token.
    fn take(&mut self, at: usize, token: Result<u32, Error>) {
        let Some(member) = self.slots[at].live() else { return };
        let (events, sequence, is_ahead) = (&mut self.events, member.number, self.run.is_some());
        let mut on_text = |text: &[u8]| {
            events.push_back(BatchEvent::Text { sequence, text: text.to_vec() });
            true
        };
        let taken = token.and_then(|token| {
            self.n_tokens += 1;
            let Member { session, text, trail, .. } = &mut **member;
            trail.push(token);
            let end = text.take(token, &mut on_text)?;
            if end.is_none() {
                session.keep_if_held(text, trail, is_ahead)?;
                session.pending.clear();
                session.pending.push(token);
            }
            Ok(end)
        });
        match taken {
            Ok(None) => {}
            Ok(Some(end)) => self.end(at, Ok(end)),
            Err(error) => self.end(at, Err(Some(error))),
        }
    }

    /// A live row leaves. Without an end or an error the device chose no token, and its logits say why.
    fn end(&mut self, at: usize, end: Result<End, Option<Error>>) {
        let slot = std::mem::replace(&mut self.slots[at], Slot::Ended(None));
        let Slot::Live(member) = slot else {
            self.slots[at] = slot;
            return;
        };
        let Member { number: sequence, mut session, text, mut trail, before, .. } = *member;
        let n_tokens = text.n_tokens();
        let left = match (&self.run, &end) {
            (Some(run), _) => {
                let n_now = before + run.n_steps();
                let (n, wants_logits) =
                    end.as_ref().map_or((trail.n_tokens(), true), |end| (end.n_taken, end.wants_logits));
                session.go_to(&mut trail, n_now, n, wants_logits)
            }
            (None, Ok(end)) => {
                session.go_to(&mut trail, n_tokens.saturating_sub(1), end.n_taken, end.wants_logits)
            }
            // It is where its logits are.
            (None, Err(_)) => None,
        };
        if let Some(run) = &mut self.run
            && left.is_none()
        {
            // Its state is gone: there is no step without it.
            run.wind_down();
        }
        let alone = self.run.is_some() && self.slots.len() == 1;
        let result = match end {
            Ok(end) => (if alone { session.flush_one_by_one() } else { Ok(()) })
                .and_then(|()| session.wait_for_rest(&end))
                .map(|()| Generation { n_tokens, reason: end.reason }),
            Err(Some(error)) => Err(error),
            Err(None) => Err(session.why_no_token()),
        };
        self.slots[at] = Slot::Ended(left);
        self.events.push_back(BatchEvent::End(Box::new(BatchEnd { sequence, result, session })));
    }
}

impl Slot {
    fn live(&mut self) -> Option<&mut Box<Member>> {
        match self {
            Slot::Live(member) => Some(member),
            Slot::Ended(_) => None,
        }
    }

    /// Its row of a run; none where it has no state.
    fn row(&mut self) -> Option<Row<'_>> {
        Some(match self {
            Slot::Live(member) => {
                let Member { session, text, trail, before, .. } = &mut **member;
                let most_steps = text.most_tokens() - (*before + 1);
                let may_end = text.has_stops();
                Row { state: &mut session.state, trail: Some(trail), before: *before, most_steps, may_end }
            }
            Slot::Ended(state) => {
                Row { state: state.as_mut()?, trail: None, before: 0, most_steps: 0, may_end: false }
            }
        })
    }
}
