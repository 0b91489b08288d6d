//! Generation that runs ahead: the device chooses tokens itself, several steps are under way, and their ids are read
//! late.
//!
//! Steps are handed over in blocks; while the host reads one block's ids and shows its text, the next one computes. Before
//! each block the state is forked on the device: generation that ends within a block goes back there and takes in the
//! tokens kept one by one, as a generation step by step would have.

use crate::{
    Error, Model, State,
    engine::AnySampler,
    sampler::{Sampler, SamplerConfig, Units},
};
use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};
use wingbeat_backend::SamplerStart;

/// Steps of a block at most: enough to hide what a block costs the host, few enough to throw away.
const MOST_STEPS: usize = 8;
/// Blocks under way.
const BLOCKS: usize = 2;
/// How long a block may take: text comes at least this often, unless a single step takes longer.
const BLOCK_TIME: Duration = Duration::from_millis(12);

/// A sampler on the device, and the settings it was made for.
pub(crate) struct DeviceSampler {
    /// None where tokens are chosen on the host.
    any: Option<AnySampler>,
    config: SamplerConfig,
}

impl DeviceSampler {
    pub(crate) fn new(model: &Model, config: &SamplerConfig) -> Result<DeviceSampler, Error> {
        let any = match config.on_device() {
            Some(settings) => model.inner.engine.new_sampler(&settings)?,
            None => None,
        };
        Ok(DeviceSampler { any, config: config.clone() })
    }

    pub(crate) fn is_for(&self, config: &SamplerConfig) -> bool {
        self.config == *config
    }
}

/// A generation under way that runs ahead. The state given to it is that of the last step handed over.
pub(crate) struct Ahead {
    model: Model,
    sampler: AnySampler,
    config: SamplerConfig,
    units: Units,
    /// The token it began with and those after it, as far as they were read.
    tokens: Vec<u32>,
    /// How many of them were given away.
    n_given: usize,
    /// Steps handed over, and how many there will be at most.
    n_steps: usize,
    most_steps: usize,
    /// Steps of each block under way.
    blocks: VecDeque<usize>,
    /// States before blocks, with the number of tokens that each has taken in.
    checkpoints: VecDeque<(usize, State)>,
    /// When ids were read last, and what a step took then.
    last_read: Option<Instant>,
    step_time: Option<Duration>,
}

/// A state to go back to, and the tokens that it is to take in again.
pub(crate) struct Return {
    pub(crate) state: State,
    pub(crate) tokens: Vec<u32>,
}

impl Ahead {
    /// Begins with a token that the state has not taken in, for some steps; gives the sampler back where the device does
    /// not choose tokens.
    pub(crate) fn begin(
        model: &Model,
        on_device: DeviceSampler,
        sampler: &Sampler,
        token: u32,
        most_steps: usize,
    ) -> Result<Result<Ahead, DeviceSampler>, Error> {
        let DeviceSampler { any: Some(mut any), config } = on_device else { return Ok(Err(on_device)) };
        model.inner.engine.start_sampler(&mut any, SamplerStart { token, counts: sampler.counts() })?;
        Ok(Ok(Ahead {
            model: model.clone(),
            sampler: any,
            config,
            units: sampler.units(),
            tokens: vec![token],
            n_given: 1,
            n_steps: 0,
            most_steps,
            blocks: VecDeque::new(),
            checkpoints: VecDeque::new(),
            last_read: None,
            step_time: None,
        }))
    }

    /// The next token; [`NO_TOKEN`](wingbeat_backend::NO_TOKEN) where the device found none.
    pub(crate) fn next(&mut self, state: &mut State) -> Result<u32, Error> {
        if self.n_given == self.tokens.len() {
            self.hand_over(state)?;
            self.read()?;
            // Before text is made of what was read.
            self.hand_over(state)?;
        }
        let token = self.tokens[self.n_given];
        self.n_given += 1;
        Ok(token)
    }

    /// How many tokens were given away, the one that it began with included.
    pub(crate) fn n_given(&self) -> usize {
        self.n_given
    }

    /// Nobody will go back to a state that has taken in fewer than `n` tokens.
    pub(crate) fn forget_before(&mut self, n: usize) {
        // One that has taken in fewer stays: its next step gives logits.
        while self.checkpoints.get(1).is_some_and(|(taken, _)| *taken < n) {
            self.checkpoints.pop_front();
        }
    }

    /// Ends it, with `n` tokens to be taken in: how to get there, if not at once the state is there.
    pub(crate) fn end(mut self, n: usize, wants_logits: bool) -> (DeviceSampler, Option<Return>) {
        let is_there = n == self.n_steps && !wants_logits;
        let mut back = None;
        while let Some((taken, state)) = self.checkpoints.pop_back().filter(|_| !is_there) {
            // Logits come with a token taken in.
            if taken < n || taken == n && (!wants_logits || n == 0) {
                back = Some(Return { state, tokens: self.tokens[taken..n].to_vec() });
                break;
            }
        }
        (DeviceSampler { any: Some(self.sampler), config: self.config }, back)
    }

    /// Hands blocks over until enough are under way.
    fn hand_over(&mut self, state: &mut State) -> Result<(), Error> {
        let engine = &self.model.inner.engine;
        while self.blocks.len() < BLOCKS && self.n_steps < self.most_steps {
            let most = (engine.most_steps_ahead(&self.sampler) / BLOCKS).min(MOST_STEPS);
            // The first block is short: its token is waited for.
            let in_time = match self.step_time {
                Some(time) => (BLOCK_TIME.as_secs_f64() / time.as_secs_f64().max(1e-9)) as usize,
                None => 1 + self.n_steps,
            };
            let n = in_time.clamp(1, most.max(1)).min(self.most_steps - self.n_steps);
            let units: Vec<f64> = (0..n).map(|_| self.units.next()).collect();
            self.checkpoints.push_back((self.n_steps, state.fork()?));
            engine.run_ahead(&mut self.sampler, state.any_mut(), &units)?;
            state.advance(n);
            self.n_steps += n;
            self.blocks.push_back(n);
        }
        Ok(())
    }

    /// Waits for the oldest block.
    fn read(&mut self) -> Result<(), Error> {
        let Some(n) = self.blocks.pop_front() else { return Ok(()) };
        self.model.inner.engine.read_ahead(&mut self.sampler, &mut self.tokens)?;
        let now = Instant::now();
        self.step_time = self.last_read.map(|before| (now - before) / n as u32);
        self.last_read = Some(now);
        Ok(())
    }
}
