//! Generation that runs ahead, of one sequence or of many: the device chooses tokens itself, several steps are under way,
//! and their ids are read late.
//!
//! Steps are handed over in blocks; while the host reads one block's ids and shows its text, the next one computes. Before
//! blocks states are forked on the device: generation that ends within a block goes back there and takes in the tokens kept.
//! One sequence does so before each block, as it takes the tokens in one by one, as a generation step by step would have.
//! Of many, each takes in more tokens at once, at the price of a prompt, and goes back further.

use crate::{
    Error, Model, State,
    engine::AnySampler,
    sampler::{Sampler, Units},
    trail::Trail,
};
use smallvec::SmallVec;
use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};
use wingbeat_backend::{DeviceSampling, SamplerStart};

/// Steps of a block at most: enough to hide what a block costs the host, few enough to throw away.
const MOST_STEPS: usize = 16;
/// Blocks under way.
const BLOCKS: usize = 2;
/// How long a block may take: text comes at least this often, unless a single step takes longer.
const BLOCK_TIME: Duration = Duration::from_millis(20);
/// Steps between two forks of each of several states: a fork costs as much as some ten tokens of a prompt.
const STEPS_BETWEEN_FORKS: usize = 64;

/// A sampler on the device, and what it was made for.
pub(crate) struct DeviceSampler {
    /// None where tokens are chosen on the host.
    any: Option<AnySampler>,
    settings: Option<DeviceSampling>,
    n_rows: usize,
}

impl DeviceSampler {
    /// A sampler for some sequences, where the device knows the settings.
    pub(crate) fn new(
        model: &Model,
        settings: Option<DeviceSampling>,
        n_rows: usize,
    ) -> Result<DeviceSampler, Error> {
        let any = match &settings {
            Some(settings) => model.inner.engine.new_sampler(settings, n_rows)?,
            None => None,
        };
        Ok(DeviceSampler { any, settings, n_rows })
    }

    pub(crate) fn is_for(&self, settings: &Option<DeviceSampling>, n_rows: usize) -> bool {
        self.n_rows == n_rows && self.settings == *settings
    }

    /// Whether tokens are chosen on the device.
    pub(crate) fn chooses(&self) -> bool {
        self.any.is_some()
    }
}

/// Generations under way that run ahead, a row each. The states given to it are those of the last step handed over.
pub(crate) struct Ahead {
    model: Model,
    sampler: AnySampler,
    settings: Option<DeviceSampling>,
    units: Vec<Units>,
    /// Tokens read, step by step of all rows, and how many of them were given away.
    read: Vec<u32>,
    n_given: usize,
    /// Steps handed over.
    n_steps: usize,
    /// Whether there will be no more.
    winds_down: bool,
    /// Steps of each block under way.
    blocks: VecDeque<usize>,
    /// When ids were read last, and what a step took then.
    last_read: Option<Instant>,
    step_time: Option<Duration>,
}

/// A generation that runs ahead.
pub(crate) struct Row<'a> {
    pub(crate) state: &'a mut State,
    /// Keeps states to go back to; none where it has ended, and only takes part.
    pub(crate) trail: Option<&'a mut Trail>,
    /// Tokens of the generation that the state had taken in when it began to run ahead.
    pub(crate) before: usize,
    /// Steps at most.
    pub(crate) most_steps: usize,
    /// Whether it may end before that by itself.
    pub(crate) may_end: bool,
}

impl Ahead {
    /// Begins with a token for each row that its state has not taken in, and the row's sampler. The device's sampler must
    /// be one that chooses, for so many rows.
    pub(crate) fn begin(
        model: &Model,
        on_device: DeviceSampler,
        rows: &[(&Sampler, u32)],
    ) -> Result<Ahead, Error> {
        let DeviceSampler { any, settings, n_rows } = on_device;
        assert_eq!(n_rows, rows.len(), "the sampler is for these rows");
        let mut sampler = any.expect("the sampler chooses");
        let starts: SmallVec<[SamplerStart<'_>; 4]> =
            rows.iter().map(|&(sampler, token)| SamplerStart { token, counts: sampler.counts() }).collect();
        model.inner.engine.start_sampler(&mut sampler, &starts)?;
        Ok(Ahead {
            model: model.clone(),
            sampler,
            settings,
            units: rows.iter().map(|(sampler, _)| sampler.units()).collect(),
            read: Vec::new(),
            n_given: 0,
            n_steps: 0,
            winds_down: false,
            blocks: VecDeque::new(),
            last_read: None,
            step_time: None,
        })
    }

    /// Whether [`Ahead::next`] has something to give.
    pub(crate) fn has_next(&self) -> bool {
        self.n_given < self.read.len()
    }

    /// The tokens of the next step, one a row ([`NO_TOKEN`](wingbeat_backend::NO_TOKEN) where the device found none);
    /// nothing where nothing was read.
    pub(crate) fn next(&mut self) -> &[u32] {
        let first = self.n_given;
        self.n_given = (first + self.units.len()).min(self.read.len());
        self.read.get(first..self.n_given).unwrap_or_default()
    }

    /// Where nothing is left to give: hands blocks over and waits for the oldest. The rows are those that it began with.
    /// Nothing comes of it once every row has had its steps.
    pub(crate) fn refill(&mut self, rows: &mut [Row<'_>]) -> Result<(), Error> {
        if self.has_next() {
            return Ok(());
        }
        self.hand_over(rows)?;
        self.read()?;
        // Before text is made of what was read.
        self.hand_over(rows)
    }

    /// Steps handed over: what the states have taken in.
    pub(crate) fn n_steps(&self) -> usize {
        self.n_steps
    }

    /// Hands nothing more over.
    pub(crate) fn wind_down(&mut self) {
        self.winds_down = true;
    }

    /// Ends it. What is under way is done, for nobody.
    pub(crate) fn end(self) -> DeviceSampler {
        let n_rows = self.units.len();
        DeviceSampler { any: Some(self.sampler), settings: self.settings, n_rows }
    }

    /// Hands blocks over until enough are under way.
    fn hand_over(&mut self, rows: &mut [Row<'_>]) -> Result<(), Error> {
        let engine = &self.model.inner.engine;
        while self.blocks.len() < BLOCKS && !self.winds_down {
            // A block ends where a row does.
            let goes_on = |row: &Row<'_>| row.trail.is_some() && row.most_steps > self.n_steps;
            let ends = rows.iter().filter(|row| goes_on(row)).map(|row| row.most_steps).min();
            let Some(left) = ends.map(|ends| ends - self.n_steps) else { return Ok(()) };
            let most = (engine.most_steps_ahead(&self.sampler) / BLOCKS).min(MOST_STEPS);
            // The first block is short: its tokens are waited for.
            let in_time = match self.step_time {
                Some(time) => (BLOCK_TIME.as_secs_f64() / time.as_secs_f64().max(1e-9)) as usize,
                None => 1 + self.n_steps,
            };
            let n = in_time.clamp(1, most.max(1)).min(left);
            self.keep_states(rows)?;
            let mut units = Vec::with_capacity(n * rows.len());
            (0..n).for_each(|_| units.extend(self.units.iter_mut().map(Units::next)));
            let mut states: SmallVec<[_; 4]> = rows.iter_mut().map(|row| row.state.any_mut()).collect();
            engine.run_ahead(&mut self.sampler, &mut states, &units)?;
            drop(states);
            rows.iter_mut().for_each(|row| row.state.advance(n));
            self.n_steps += n;
            self.blocks.push_back(n);
        }
        Ok(())
    }

    /// Keeps the states that a row may go back to, before they move on.
    fn keep_states(&self, rows: &mut [Row<'_>]) -> Result<(), Error> {
        let alone = rows.len() == 1;
        for row in rows {
            let Some(trail) = row.trail.as_mut().filter(|_| row.most_steps >= self.n_steps) else { continue };
            let now = row.before + self.n_steps;
            let is_due = match trail.last_kept() {
                None => true,
                Some(last) => row.may_end && now - last >= STEPS_BETWEEN_FORKS,
            };
            // One that ends here while others go on is kept as it is now.
            if alone || is_due || row.most_steps == self.n_steps {
                trail.keep(now, row.state)?;
            }
        }
        Ok(())
    }

    /// Waits for the oldest block.
    fn read(&mut self) -> Result<(), Error> {
        let Some(n) = self.blocks.pop_front() else { return Ok(()) };
        self.read.clear();
        self.n_given = 0;
        self.model.inner.engine.read_ahead(&mut self.sampler, &mut self.read)?;
        let now = Instant::now();
        self.step_time = self.last_read.map(|before| (now - before) / n as u32);
        self.last_read = Some(now);
        Ok(())
    }
}
