//! Sequences side by side, a token each a step.
//!
//! web-rwkv has one way for fewer than 32 tokens and another for multiples of 32, and which is faster depends on the GPU.
//! So sequences also run in groups, each with a runtime of its own over the same weights and on a thread of its own.

use std::time::Instant;

use anyhow::{Result, bail};

use crate::{
    engine::{Engine, Logits, MAX_SEQUENCES, Sequences},
    figures::{SMALL_CHUNK, difference, pick},
    measure::Clock,
};

/// Sizes of groups that are tried, beside all sequences in one: they stay below 32 tokens a step.
const SIZES: [usize; 3] = [24, 16, 8];

/// Sequences that run in one call.
struct Group {
    sequences: Sequences,
    /// What each runs next.
    tokens: Vec<Vec<u32>>,
}

impl Group {
    /// Runs the next tokens of all, and picks what follows.
    fn step(&mut self, n_threads: usize) -> Result<Vec<Logits>> {
        let logits = self.sequences.feed(&self.tokens, self.tokens.len().max(SMALL_CHUNK))?;
        self.tokens = picks(&logits, n_threads)?.into_iter().map(|token| vec![token]).collect();
        Ok(logits)
    }
}

/// Seconds of each step that follows the prompts, in groups of the size that takes least; and the size.
pub(crate) fn steps(
    engine: &Engine,
    prompts: &[Vec<u32>],
    n_threads: usize,
    clock: Clock,
) -> Result<(Vec<f64>, usize)> {
    let mut best: Option<(f64, usize, Vec<Group>)> = None;
    let mut right: Option<Trial> = None;
    let fewer = SIZES.into_iter().filter(|&size| size < prompts.len());
    for size in [prompts.len()].into_iter().filter(|&n| n <= MAX_SEQUENCES).chain(fewer) {
        let mut groups = Vec::new();
        for prompts in prompts.chunks(size) {
            groups.push(Group { sequences: engine.sequences(prompts.len())?, tokens: prompts.to_vec() });
        }
        let trial = Trial::new(&mut groups, n_threads)?;
        let mut seconds = f64::INFINITY;
        for _ in 0..2 {
            let started = Instant::now();
            step(&mut groups, n_threads)?;
            seconds = seconds.min(started.elapsed().as_secs_f64());
        }
        let is_right = trial.agrees(right.get_or_insert_with(|| trial.clone()));
        eprintln!(
            "{} sequences in groups of {size}: {:.2} ms, right: {is_right}",
            prompts.len(),
            seconds * 1e3
        );
        if is_right && best.as_ref().is_none_or(|(least, ..)| seconds < *least) {
            best = Some((seconds, size, groups));
        }
        // Where groups are far slower, smaller ones are no better: the time is for other figures.
        if best.as_ref().is_some_and(|(least, ..)| seconds > 3.0 * least) {
            break;
        }
    }
    let Some((_, size, mut groups)) = best else {
        bail!("no size of groups gives the same logits as others")
    };
    let seconds = clock.time(|| step(&mut groups, n_threads).map(drop))?;
    Ok((seconds, size))
}

/// A step of all groups: the logits of all sequences.
fn step(groups: &mut [Group], n_threads: usize) -> Result<Vec<Logits>> {
    if let [group] = groups {
        return group.step(n_threads);
    }
    std::thread::scope(|scope| {
        let threads: Vec<_> = groups.iter_mut().map(|group| scope.spawn(|| group.step(1))).collect();
        let mut logits = Vec::new();
        for thread in threads {
            let Ok(of_group) = thread.join() else { bail!("a group's thread panicked") };
            logits.append(&mut of_group?);
        }
        Ok(logits)
    })
}

/// What the first steps gave, by which one size of groups is compared with another.
#[derive(Clone)]
struct Trial {
    /// The tokens after the prompts.
    tokens: Vec<Vec<u32>>,
    /// The logits after these.
    logits: Vec<Logits>,
}

impl Trial {
    fn new(groups: &mut [Group], n_threads: usize) -> Result<Trial> {
        step(groups, n_threads)?;
        let tokens = groups.iter().flat_map(|group| group.tokens.iter().cloned()).collect();
        Ok(Trial { tokens, logits: step(groups, n_threads)? })
    }

    /// Whether sequences that went on with the same token got the same logits. A few may have gone on with others, where
    /// two tokens were nearly as likely.
    fn agrees(&self, other: &Trial) -> bool {
        let (mut same, mut largest) = (0, 0.0f32);
        for i in (0..self.tokens.len()).filter(|&i| self.tokens.get(i) == other.tokens.get(i)) {
            let (Some(a), Some(b)) = (self.logits.get(i), other.logits.get(i)) else { return false };
            same += 1;
            largest = largest.max(difference(a.values(), b.values()));
        }
        2 * same >= self.tokens.len() && largest < 0.1
    }
}

/// Each sequence's greedy token, by several threads where that is worth their start.
pub(crate) fn picks(logits: &[Logits], n_threads: usize) -> Result<Vec<u32>> {
    /// Sequences a thread has at least.
    const SHARE: usize = 4;
    let share = logits.len().div_ceil(n_threads.max(1)).max(SHARE);
    let pick_all =
        |share: &[Logits]| share.iter().map(|logits| pick(logits.values())).collect::<Result<Vec<_>>>();
    if logits.len() <= share {
        return pick_all(logits);
    }
    std::thread::scope(|scope| {
        let threads: Vec<_> =
            logits.chunks(share).map(|share| scope.spawn(move || pick_all(share))).collect();
        let mut tokens = Vec::with_capacity(logits.len());
        for thread in threads {
            let Ok(picked) = thread.join() else { bail!("a thread that picks tokens panicked") };
            tokens.extend(picked?);
        }
        Ok(tokens)
    })
}
