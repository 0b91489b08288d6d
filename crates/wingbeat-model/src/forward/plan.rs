//! How a forward call becomes passes: which tokens of which sequences, and which rows lead to what is wanted.

use super::{Forward, ForwardOptions, Rows, Sequence};
use std::ops::Range;
use wingbeat_backend::Backend;

/// Tokens of a sequence that a device sums at most, in f32; sums of more are the host's, in f64.
const MOST_SUM_TOKENS: usize = 64;

/// A sequence's share of a pass.
pub(super) struct Piece {
    pub(super) sequence: usize,
    pub(super) tokens: Range<usize>,
}

/// A row of a pass that leads to an output.
pub(super) struct OutputRow {
    pub(super) sequence: usize,
    /// In the pass's batch; for logits, in the selected hidden rows where those are more.
    pub(super) row: usize,
    /// Whether the hidden vector itself is wanted.
    pub(super) keep: bool,
}

/// Rows whose sum is a part of a sequence's mean.
pub(super) struct SumRows {
    /// Which of the means.
    pub(super) mean: usize,
    /// Among the pass's `hidden_rows`.
    pub(super) rows: Range<usize>,
}

/// Whether a sequence has a mean to give.
pub(super) fn wants_mean<S>(sequence: &Sequence<'_, S>) -> bool {
    sequence.want.mean && !sequence.tokens.is_empty()
}

/// The rows of one pass.
#[derive(Default)]
pub(super) struct Part {
    pub(super) pieces: Vec<Piece>,
    pub(super) n_rows: usize,
    /// Every row that leads to an output.
    pub(super) hidden_rows: Vec<OutputRow>,
    pub(super) logits_rows: Vec<OutputRow>,
    pub(super) sums: Vec<SumRows>,
}

/// Cuts a call into passes: sequences one after the other, as many rows as the limits permit.
#[derive(Default)]
pub(super) struct Plan {
    pub(super) options: ForwardOptions,
    max_rows: usize,
    max_logits: usize,
    /// Tokens of a sequence that are summed together: a part of it that is not its end has a multiple of so many. Sums then
    /// do not depend on how the call is cut into passes.
    sum_tokens: usize,
    /// Sequences whose means are wanted, and which of them the next one is.
    pub(super) n_means: usize,
    next_mean: usize,
    /// Sequences before this one are done.
    first: usize,
    /// Next token of each sequence.
    next: Vec<usize>,
    /// The pass under way.
    pub(super) part: Part,
}

impl Plan {
    pub(super) fn begin<B: Backend>(
        &mut self,
        forward: &Forward<B>,
        sequences: &[Sequence<'_, B::State>],
        options: ForwardOptions,
    ) {
        // Passes of about the same size: each reads all weights, whatever it does with them.
        let total: usize = sequences.iter().map(|s| s.tokens.len()).sum();
        let limit = forward.max_pass_rows();
        let n_passes = total.div_ceil(limit).max(1);
        self.options = options;
        self.sum_tokens = (1 << (limit / 2).max(1).ilog2()).min(MOST_SUM_TOKENS);
        self.n_means = sequences.iter().filter(|sequence| wants_mean(sequence)).count();
        self.next_mean = 0;
        let unit = if self.n_means > 0 { self.sum_tokens } else { 8 };
        self.max_rows = total.div_ceil(n_passes).next_multiple_of(unit).clamp(1, limit);
        self.max_logits = forward.max_logits_rows;
        self.first = 0;
        self.next.clear();
        self.next.resize(sequences.len(), 0);
    }

    /// The next pass, if there is one left.
    pub(super) fn next<S>(&mut self, sequences: &[Sequence<'_, S>]) -> bool {
        let part = &mut self.part;
        part.pieces.clear();
        part.hidden_rows.clear();
        part.logits_rows.clear();
        part.n_rows = 0;
        part.sums.clear();
        for (index, sequence) in sequences.iter().enumerate().skip(self.first) {
            let start = self.next[index];
            let end = sequence.tokens.len();
            let mean = wants_mean(sequence);
            let room = self.max_rows - part.n_rows;
            let mut most = end;
            if mean && end - start > room {
                most = ((start + room) / self.sum_tokens * self.sum_tokens).max(start);
                if most == start && part.n_rows > 0 {
                    break;
                }
                // Only where sums were cut already.
                most = if most == start { start + room } else { most };
            }
            let first_hidden = part.hidden_rows.len();
            let mut tokens = start..start;
            while tokens.end < most && part.n_rows < self.max_rows {
                let wanted = |rows| match rows {
                    Rows::None => false,
                    Rows::Last => tokens.end + 1 == end,
                    Rows::All => true,
                };
                let (hidden, logits) = (wanted(sequence.want.hidden), wanted(sequence.want.logits));
                if logits && part.logits_rows.len() == self.max_logits {
                    break;
                }
                if logits {
                    let row = part.hidden_rows.len();
                    part.logits_rows.push(OutputRow { sequence: index, row, keep: hidden });
                }
                if hidden || logits || mean {
                    part.hidden_rows.push(OutputRow { sequence: index, row: part.n_rows, keep: hidden });
                }
                tokens.end += 1;
                part.n_rows += 1;
            }
            self.next[index] = tokens.end;
            if mean {
                // From one multiple to the next.
                let mut at = tokens.start;
                while at < tokens.end {
                    let next = ((at / self.sum_tokens + 1) * self.sum_tokens).min(tokens.end);
                    let rows = first_hidden + at - tokens.start..first_hidden + next - tokens.start;
                    part.sums.push(SumRows { mean: self.next_mean, rows });
                    at = next;
                }
            }
            // Sequences are done in order.
            let is_done = tokens.end == end;
            if is_done {
                self.first = index + 1;
                self.next_mean += usize::from(mean);
            }
            if !tokens.is_empty() {
                part.pieces.push(Piece { sequence: index, tokens });
            }
            if part.n_rows == self.max_rows || !is_done {
                break;
            }
        }
        part.n_rows > 0
    }
}
