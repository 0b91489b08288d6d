//! Choosing tokens on the device, so that several steps of a generation can be under way before the host sees an id.
//!
//! The sampler of a device keeps what the next steps need: the last token, which the next step embeds, the counts that
//! penalties are made of, and a random number for each step to come. The order in which its settings act, and the token
//! that comes of them, are those of the host's sampler (`wingbeat::sampler`); what a device does not do, it refuses to
//! make a sampler for, and tokens are then chosen on the host.

use crate::{Backend, BackendError, Batch, States};
use std::convert::Infallible;

/// In place of a token: the logits cannot be chosen from (one is no number, or all are at -infinity).
pub const NO_TOKEN: u32 = u32::MAX;

/// What a device's sampler is to do: the settings of the host's sampler that a device may know.
#[derive(Clone, Debug, PartialEq)]
pub struct DeviceSampling {
    /// 0: greedy, and no random numbers are used; acts last, as `p^(1/T)` of what is left.
    pub temperature: f32,
    /// 0: off.
    pub top_k: usize,
    /// 1: off.
    pub top_p: f32,
    /// 0: off.
    pub min_p: f32,
    /// Taken off the logit of each token that occurred.
    pub presence_penalty: f32,
    /// Taken off the logit of a token for each of its decayed occurrences.
    pub frequency_penalty: f32,
    /// What the count of every token is multiplied by at each step.
    pub penalty_decay: f32,
    /// What is added to logits, by id; -infinity: never chosen. Ids beyond the vocabulary are passed over.
    pub bias: Vec<(u32, f32)>,
}

impl DeviceSampling {
    /// Whether what was said counts.
    pub fn has_penalties(&self) -> bool {
        self.presence_penalty != 0.0 || self.frequency_penalty != 0.0
    }
}

/// Where the steps of a row begin.
#[derive(Clone, Copy, Debug)]
pub struct SamplerStart<'a> {
    /// The token that the first step takes in.
    pub token: u32,
    /// Decayed counts of the tokens that occurred, this one included, each at most once. Only where there are penalties.
    pub counts: &'a [(u32, f64)],
}

/// A sampler on a device, for some rows: sequences that take one token each a step.
///
/// A step is a pass that [`TokenSampler::begin`] began, whose operations end with [`TokenSampler::sample`].
/// [`TokenSampler::submit`] hands several such steps to the device at once and does not wait for them.
pub trait TokenSampler<B: Backend>: Send + Sync {
    /// Steps that may be under way at most, those included whose tokens were not read.
    fn most_steps(&self) -> usize;

    /// Begins afresh, from one start for each row. What is under way is forgotten.
    ///
    /// # Errors
    /// There is no memory, or the device was lost.
    fn start(&mut self, backend: &B, rows: &[SamplerStart<'_>]) -> Result<(), BackendError>;

    /// Starts a pass whose rows are the last token of each row of the sampler. `batch` has a sequence of one token for
    /// each; which token it says is without meaning.
    ///
    /// # Errors
    /// The device was lost.
    fn begin<'a>(
        &self,
        backend: &'a B,
        batch: &'a Batch,
        states: States<'a, B::State>,
    ) -> Result<B::Pass<'a>, BackendError>;

    /// Chooses the next token of each row from `logits (rows, V)`, which are altered. The last operation of a pass.
    fn sample(&self, pass: &mut B::Pass<'_>, logits: &B::Buffer);

    /// Ends a step's pass, and has the device run it again and again: once for each row-long run of `units`, the random
    /// numbers in `[0, 1)` of the steps (any number will do at temperature 0). Does not wait.
    ///
    /// # Errors
    /// The device was lost or refused the work.
    fn submit(&mut self, backend: &B, pass: B::Pass<'_>, units: &[f64]) -> Result<(), BackendError>;

    /// Waits for the oldest steps that were submitted together and not read yet, and appends their tokens to `out`, step
    /// by step, in each the tokens of all rows. [`NO_TOKEN`] where there is none; what follows it means nothing then.
    ///
    /// # Errors
    /// The device was lost.
    fn read(&mut self, backend: &B, out: &mut Vec<u32>) -> Result<(), BackendError>;
}

/// The sampler of a device that has none.
impl<B: Backend> TokenSampler<B> for Infallible {
    fn most_steps(&self) -> usize {
        match *self {}
    }

    fn start(&mut self, _: &B, _: &[SamplerStart<'_>]) -> Result<(), BackendError> {
        match *self {}
    }

    fn begin<'a>(
        &self,
        _: &'a B,
        _: &'a Batch,
        _: States<'a, B::State>,
    ) -> Result<B::Pass<'a>, BackendError> {
        match *self {}
    }

    fn sample(&self, _: &mut B::Pass<'_>, _: &B::Buffer) {
        match *self {}
    }

    fn submit(&mut self, _: &B, _: B::Pass<'_>, _: &[f64]) -> Result<(), BackendError> {
        match *self {}
    }

    fn read(&mut self, _: &B, _: &mut Vec<u32>) -> Result<(), BackendError> {
        match *self {}
    }
}
