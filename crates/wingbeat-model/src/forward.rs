//! The one forward path: any number of sequences, any number of tokens each, and for each what it wants back.
//!
//! Decode is a prompt of one token; a batch is a row map. The rows are worked through in chunks that bound the
//! working set, and everything that does not depend on the version (chunks, row selection, output norm, head)
//! happens here; `plan.rs` cuts a call into passes.

mod plan;

use crate::{Catalog, Config, ModelError, Version, v4, v5, v6, v7};
use plan::{Plan, wants_mean};
use smallvec::SmallVec;
use std::{ops::Range, sync::Mutex};
use wingbeat_backend::{
    Activation, Backend, BackendError, Batch, LayerNorm, Linear, Pass, PassLimits, StateLayout, States,
    TokenSampler,
};

/// Rows that a pass may have at least, whatever the widths.
const LEAST_PASS_ROWS: usize = 16;

/// Which rows of a sequence are wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Rows {
    /// None.
    #[default]
    None,
    /// Its last token's.
    Last,
    /// Every token's.
    All,
}

/// What a sequence wants back. The head runs only for rows whose logits are wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Want {
    /// Hidden vectors `(C)` after `ln_out`.
    pub hidden: Rows,
    /// Logits `(V)`.
    pub logits: Rows,
    /// The mean of all its tokens' hidden vectors.
    pub mean: bool,
}

impl Want {
    /// Only the state is to move on.
    pub const NOTHING: Want = Want { hidden: Rows::None, logits: Rows::None, mean: false };
    /// The last token's hidden vector.
    pub const LAST_HIDDEN: Want = Want { hidden: Rows::Last, ..Want::NOTHING };
    /// The last token's logits.
    pub const LAST_LOGITS: Want = Want { logits: Rows::Last, ..Want::NOTHING };
    /// Every token's logits.
    pub const ALL_LOGITS: Want = Want { logits: Rows::All, ..Want::NOTHING };
    /// Every token's hidden vector and logits.
    pub const ALL: Want = Want { hidden: Rows::All, logits: Rows::All, mean: false };
    /// The mean of all tokens' hidden vectors.
    pub const MEAN_HIDDEN: Want = Want { mean: true, ..Want::NOTHING };
}

/// One sequence of a forward call.
pub struct Sequence<'a, S> {
    /// Its state, moved on by the tokens.
    pub state: &'a mut S,
    /// Its next tokens; none is allowed and does nothing.
    pub tokens: &'a [u32],
    /// What it wants back.
    pub want: Want,
    /// How many of the tokens the state has taken in: all after a call that succeeded.
    pub taken: usize,
}

/// What a sequence gets back.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Output {
    /// Hidden vectors `(rows, C)`: no, one or `T` rows, as wanted.
    pub hidden: Vec<f32>,
    /// Logits `(rows, V)`: no, one or `T` rows, as wanted.
    pub logits: Vec<f32>,
    /// The mean hidden vector `(C)`, if it is wanted and there is a token.
    pub mean: Vec<f32>,
}

/// How a call is computed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ForwardOptions {
    /// Layers beyond this many are not run, and hidden vectors are the residual stream there, without `ln_out`: no logits
    /// can be wanted, and the states are of these layers only. None: all layers.
    pub n_layers: Option<usize>,
    /// What comes of a sequence does not depend on the others of the call, bit for bit where the device promises it
    /// ([`Batch::set_rows_alike`]).
    pub rows_alike: bool,
}

/// How far a forward call is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Tokens done, over all sequences.
    pub done: usize,
    /// Tokens in all.
    pub total: usize,
}

/// A version's layers on a device: what differs from version to version.
pub trait Network<B: Backend>: Send + Sync {
    /// The model's dimensions.
    fn config(&self) -> &Config;
    /// The shape of a state.
    fn state_layout(&self) -> &StateLayout;
    /// Widths of the activation buffers that [`Network::layers`] works in; the first is `C`, the residual stream.
    fn scratch_widths(&self) -> Vec<usize>;
    /// Runs the embedding and the first `n_layers` layers; leaves the residual stream `(T, C)` in `scratch[0]`. `scratch[1]` is `(T, C)`
    /// too and free afterwards.
    fn layers(&self, n_layers: usize, pass: &mut B::Pass<'_>, scratch: &mut [B::Buffer]);
    /// The norm before the head.
    fn ln_out(&self) -> &LayerNorm<B>;
    /// `(V, C)`.
    fn head(&self) -> &B::Matrix;
}

/// A model that can be run: a version's layers and the buffers to run them in.
pub struct Forward<B: Backend> {
    network: Box<dyn Network<B>>,
    scratch: Mutex<Scratch<B>>,
    max_pass_rows: usize,
    max_logits_rows: usize,
}

/// Activation buffers; they grow to what calls need, up to the limits above.
struct Scratch<B: Backend> {
    rows: usize,
    buffers: Vec<B::Buffer>,
    output_rows: usize,
    /// `(output_rows, C)` each: selected rows, and their norm.
    selected: Vec<B::Buffer>,
    logits_rows: usize,
    /// `(logits_rows, V)`.
    logits: Option<B::Buffer>,
    sums_rows: usize,
    /// `(sums_rows, C)`: sums of hidden vectors.
    sums: Option<B::Buffer>,
    /// The same on the host.
    sums_read: Vec<f32>,
    /// For each sequence whose mean is wanted, the sum of its hidden vectors so far `(C)`.
    totals: Vec<f64>,
    batch: Batch,
    plan: Plan,
}

impl<B: Backend> Forward<B> {
    /// Hands the weights of a model to a device.
    ///
    /// # Errors
    /// A tensor is missing, or the device refuses it.
    pub fn load(catalog: &Catalog, backend: &B) -> Result<Forward<B>, ModelError> {
        let network: Box<dyn Network<B>> = match catalog.config().version {
            Version::V4 => Box::new(v4::Rwkv4::load(catalog, backend)?),
            Version::V5 => Box::new(v5::Rwkv5::load(catalog, backend)?),
            Version::V6 => Box::new(v6::Rwkv6::load(catalog, backend)?),
            Version::V7 => Box::new(v7::Rwkv7::load(catalog, backend)?),
        };
        let forward = Forward::new(network, backend);
        forward.ready(backend)?;
        Ok(forward)
    }

    pub(crate) fn new(network: Box<dyn Network<B>>, backend: &B) -> Forward<B> {
        let scratch = Scratch {
            rows: 0,
            buffers: Vec::new(),
            output_rows: 0,
            selected: Vec::new(),
            logits_rows: 0,
            logits: None,
            sums_rows: 0,
            sums: None,
            sums_read: Vec::new(),
            totals: Vec::new(),
            batch: Batch::new(),
            plan: Plan::default(),
        };
        let PassLimits { scratch_bytes, logits_bytes, rows } = backend.pass_limits();
        let fitting = |bytes: usize, width: usize| bytes / (width * size_of::<f32>()).max(1);
        let width: usize = network.scratch_widths().iter().sum();
        let max_pass_rows = fitting(scratch_bytes, width).clamp(LEAST_PASS_ROWS.min(rows), rows);
        let max_logits_rows = fitting(logits_bytes, network.config().n_vocab).clamp(8, rows.max(8));
        Forward { network, scratch: Mutex::new(scratch), max_pass_rows, max_logits_rows }
    }

    /// Waits for the weights, and meanwhile has the device make what passes will need.
    pub(crate) fn ready(&self, backend: &B) -> Result<(), ModelError> {
        for lengths in backend.warm_up() {
            let mut tokens = vec![0; *lengths.iter().max().unwrap_or(&0)];
            tokens.truncate(self.max_pass_rows);
            let mut states =
                lengths.iter().map(|_| backend.state(self.state_layout())).collect::<Result<Vec<_>, _>>()?;
            let mut sequences: Vec<Sequence<'_, B::State>> = (states.iter_mut().zip(lengths.iter()))
                .map(|(state, &n)| Sequence {
                    state,
                    tokens: &tokens[..n.min(tokens.len())],
                    want: Want::LAST_LOGITS,
                    taken: 0,
                })
                .collect();
            let scratch = &mut *self.scratch.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            scratch.plan.begin(self, &sequences, ForwardOptions::default());
            if scratch.plan.next(&sequences) {
                // Dropped, not submitted.
                let _ = self.record(scratch, backend, &mut sequences, |b, s| backend.begin(b, s))?;
            }
        }
        Ok(backend.loaded()?)
    }

    /// The model's dimensions.
    pub fn config(&self) -> &Config {
        self.network.config()
    }

    /// The shape of a state.
    pub fn state_layout(&self) -> &StateLayout {
        self.network.state_layout()
    }

    /// Rows that a pass takes at most.
    pub fn max_pass_rows(&self) -> usize {
        self.max_pass_rows
    }

    /// Sequences that [`Forward::run_ahead`] takes at most: one pass has them all, with the logits of each.
    pub fn most_rows_ahead(&self) -> usize {
        self.max_pass_rows.min(self.max_logits_rows)
    }

    /// Moves every sequence on by its tokens and leaves what each wants in `outputs`, in order; their memory is used
    /// again.
    ///
    /// `progress` is called after every pass and stops the call by returning false.
    ///
    /// # Errors
    /// A token is outside the vocabulary, there are not so many layers, or logits are wanted of a part of them (nothing has
    /// been changed then), the device fails, or `progress` stopped it (the states hold the tokens done so far then).
    pub fn run(
        &self,
        backend: &B,
        sequences: &mut [Sequence<'_, B::State>],
        options: ForwardOptions,
        outputs: &mut Vec<Output>,
        progress: &mut dyn FnMut(Progress) -> bool,
    ) -> Result<(), ModelError> {
        let vocab = self.config().n_vocab;
        for (sequence, s) in sequences.iter().enumerate() {
            if let Some(position) = s.tokens.iter().position(|&t| t as usize >= vocab) {
                return Err(ModelError::TokenOutOfRange {
                    sequence,
                    position,
                    token: s.tokens[position],
                    vocab,
                });
            }
        }
        if let Some(found) = options.n_layers {
            let n_layers = self.config().n_layers;
            if found > n_layers || sequences.iter().any(|s| s.want.logits != Rows::None) {
                return Err(ModelError::PartOfLayers { found, n_layers });
            }
        }
        // A thread that panicked under this lock left buffers whose contents are rewritten anyway.
        let scratch = &mut *self.scratch.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let total = sequences.iter().map(|s| s.tokens.len()).sum();
        outputs.resize_with(sequences.len(), Output::default);
        for output in outputs.iter_mut() {
            output.hidden.clear();
            output.logits.clear();
            output.mean.clear();
        }
        scratch.plan.begin(self, sequences, options);
        scratch.totals.clear();
        scratch.totals.resize(scratch.plan.n_means * self.config().n_channels, 0.0);
        let mut done = 0;
        while scratch.plan.next(sequences) {
            self.run_pass(backend, scratch, sequences, outputs)?;
            let part = &scratch.plan.part;
            for piece in &part.pieces {
                sequences[piece.sequence].taken = piece.tokens.end;
            }
            done += part.n_rows;
            if !progress(Progress { done, total }) && done < total {
                return Err(ModelError::Stopped { done, total });
            }
        }
        scratch.means(self.config().n_channels, sequences, outputs);
        Ok(())
    }

    fn run_pass(
        &self,
        backend: &B,
        scratch: &mut Scratch<B>,
        sequences: &mut [Sequence<'_, B::State>],
        outputs: &mut [Output],
    ) -> Result<(), ModelError> {
        self.record(scratch, backend, sequences, |batch, states| backend.begin(batch, states))?.0.submit()?;
        let Config { n_channels, n_vocab, .. } = *self.config();
        let Scratch { buffers, selected, logits, plan, sums, sums_read, totals, .. } = scratch;
        let part = &plan.part;
        let hidden = match plan.options.n_layers {
            None => selected.get(1),
            Some(_) if part.hidden_rows.len() == part.n_rows => buffers.first(),
            Some(_) => selected.first(),
        };
        if let Some(hidden) = hidden {
            let kept = part.hidden_rows.iter().enumerate().filter(|(_, row)| row.keep);
            let kept = kept.map(|(at, row)| (row.sequence, at));
            read_rows(backend, hidden, n_channels, kept, outputs.iter_mut().map(|o| &mut o.hidden))?;
        }
        if let Some(logits) = logits {
            let rows = part.logits_rows.iter().enumerate().map(|(at, row)| (row.sequence, at));
            read_rows(backend, logits, n_vocab, rows, outputs.iter_mut().map(|o| &mut o.logits))?;
        }
        if let (Some(sums), false) = (sums, part.sums.is_empty()) {
            sums_read.resize(part.sums.len() * n_channels, 0.0);
            backend.read(sums, 0, sums_read)?;
            for (sum, values) in part.sums.iter().zip(sums_read.chunks_exact(n_channels)) {
                let total = &mut totals[sum.mean * n_channels..][..n_channels];
                total.iter_mut().zip(values).for_each(|(total, value)| *total += f64::from(*value));
            }
        }
        Ok(())
    }

    /// Hands steps to the device that follow one another without the host: each takes in the last token of each row of
    /// the sampler, and chooses the next. One step for each run of as many random numbers as there are rows. Does not
    /// wait; the states are those of after the steps once the device has done them. There may be up to
    /// [`Forward::most_rows_ahead`] rows.
    ///
    /// # Errors
    /// The device fails.
    pub fn run_ahead(
        &self,
        backend: &B,
        states: &mut [&mut B::State],
        sampler: &mut B::Sampler,
        units: &[f64],
    ) -> Result<(), ModelError> {
        let scratch = &mut *self.scratch.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let mut sequences: SmallVec<[Sequence<'_, B::State>; 4]> = states
            .iter_mut()
            .map(|state| Sequence { state: &mut **state, tokens: &[0], want: Want::LAST_LOGITS, taken: 0 })
            .collect();
        scratch.plan.begin(self, &sequences, ForwardOptions::default());
        if !scratch.plan.next(&sequences) {
            return Ok(());
        }
        assert_eq!(scratch.plan.part.n_rows, sequences.len(), "as many rows as a pass takes at most");
        let begin = |batch, states| sampler.begin(backend, batch, states);
        let (mut pass, logits) = self.record(scratch, backend, &mut sequences, begin)?;
        sampler.sample(&mut pass, logits.expect("logits of every row are wanted"));
        Ok(sampler.submit(backend, pass, units)?)
    }

    /// Records the pass that is planned: from tokens to what is wanted, which is left in `selected[1]` and `logits`.
    fn record<'a>(
        &self,
        scratch: &'a mut Scratch<B>,
        backend: &B,
        sequences: &'a mut [Sequence<'_, B::State>],
        begin: impl FnOnce(&'a Batch, States<'a, B::State>) -> Result<B::Pass<'a>, BackendError>,
    ) -> Result<(B::Pass<'a>, Option<&'a B::Buffer>), ModelError> {
        scratch.grow(backend, &*self.network)?;
        let Scratch { buffers, selected, logits, batch, plan, sums, .. } = scratch;
        let part = &plan.part;
        batch.clear();
        batch.set_rows_alike(plan.options.rows_alike);
        let mut states = States::new();
        let mut pieces = part.pieces.iter().peekable();
        for (index, sequence) in sequences.iter_mut().enumerate() {
            if let Some(piece) = pieces.next_if(|piece| piece.sequence == index) {
                batch.push(&sequence.tokens[piece.tokens.clone()]);
                states.push(&mut *sequence.state);
            }
        }
        let mut pass = begin(batch, states)?;
        let n_layers = plan.options.n_layers.unwrap_or(self.config().n_layers);
        self.network.layers(n_layers, &mut pass, buffers);
        let n_outputs = part.hidden_rows.len();
        let ranges: SmallVec<[Range<usize>; 8]> = part.sums.iter().map(|sum| sum.rows.clone()).collect();
        if n_outputs > 0 && plan.options.n_layers.is_some() {
            let rows: SmallVec<[usize; 8]> = part.hidden_rows.iter().map(|o| o.row).collect();
            let mut x = &buffers[0];
            if n_outputs < part.n_rows {
                pass.select_rows(x, &rows, &mut selected[0]);
                x = &selected[0];
            }
            if let (Some(sums), false) = (sums, ranges.is_empty()) {
                pass.sum_rows(x, &ranges, sums);
            }
        } else if n_outputs > 0 {
            let [x, hidden] = &mut selected[..] else { panic!("two buffers, see Scratch::grow") };
            let rows: SmallVec<[usize; 8]> = part.hidden_rows.iter().map(|o| o.row).collect();
            if n_outputs == part.n_rows {
                // All of them, in order.
                pass.layer_norm(&buffers[0], self.network.ln_out(), hidden);
            } else {
                pass.select_rows(&buffers[0], &rows, x);
                pass.layer_norm(x, self.network.ln_out(), hidden);
            }
            if let (Some(sums), false) = (sums, ranges.is_empty()) {
                pass.sum_rows(hidden, &ranges, sums);
            }
            if let (Some(logits), false) = (&mut *logits, part.logits_rows.is_empty()) {
                let rows: SmallVec<[usize; 8]> = part.logits_rows.iter().map(|o| o.row).collect();
                if rows.len() == n_outputs {
                    pass.linear(&mut [Linear::new(self.network.head(), hidden, logits, Activation::None)]);
                } else {
                    pass.select_rows(hidden, &rows, x);
                    pass.linear(&mut [Linear::new(self.network.head(), x, logits, Activation::None)]);
                }
            }
        }
        Ok((pass, logits.as_ref()))
    }
}

/// Appends rows of a buffer to what sequences get back, in one transfer. `rows` are pairs of sequence and row, in order;
/// those of one sequence follow one another.
fn read_rows<'a, B: Backend>(
    backend: &B,
    buffer: &B::Buffer,
    width: usize,
    rows: impl Iterator<Item = (usize, usize)>,
    outputs: impl Iterator<Item = &'a mut Vec<f32>>,
) -> Result<(), ModelError> {
    let mut runs: SmallVec<[(usize, &mut [f32]); 4]> = SmallVec::new();
    let mut rows = rows.peekable();
    for (sequence, output) in outputs.enumerate() {
        let Some((_, first)) = rows.next_if(|(of, _)| *of == sequence) else { continue };
        let mut n = 1;
        while rows.next_if(|(of, _)| *of == sequence).is_some() {
            n += 1;
        }
        let start = output.len();
        output.resize(start + n * width, 0.0);
        runs.push((first, &mut output[start..]));
    }
    if runs.is_empty() { Ok(()) } else { Ok(backend.read_rows(buffer, &mut runs)?) }
}

impl<B: Backend> Scratch<B> {
    fn grow(&mut self, backend: &B, network: &dyn Network<B>) -> Result<(), ModelError> {
        let part = &self.plan.part;
        if self.rows < part.n_rows {
            self.buffers.clear();
            let widths = network.scratch_widths();
            let rows = part.n_rows.next_power_of_two();
            self.buffers =
                widths.iter().map(|&width| backend.buffer(rows, width)).collect::<Result<_, _>>()?;
            self.rows = rows;
        }
        let outputs = part.hidden_rows.len();
        if self.output_rows < outputs {
            self.selected.clear();
            for _ in 0..2 {
                self.selected.push(backend.buffer(outputs, network.config().n_channels)?);
            }
            self.output_rows = outputs;
        }
        let logits = part.logits_rows.len();
        if self.logits_rows < logits {
            self.logits = None;
            self.logits = Some(backend.buffer(logits, network.config().n_vocab)?);
            self.logits_rows = logits;
        }
        let sums = part.sums.len();
        if self.sums_rows < sums {
            self.sums = None;
            self.sums = Some(backend.buffer(sums, network.config().n_channels)?);
            self.sums_rows = sums;
        }
        Ok(())
    }

    /// Turns the sums of a call that is done into means.
    fn means<S>(&mut self, n_channels: usize, sequences: &[Sequence<'_, S>], outputs: &mut [Output]) {
        let wanted = sequences.iter().zip(outputs).filter(|(sequence, _)| wants_mean(sequence));
        for ((sequence, output), total) in wanted.zip(self.totals.chunks_exact(n_channels)) {
            let n = sequence.tokens.len() as f64;
            output.mean.extend(total.iter().map(|sum| (sum / n) as f32));
        }
    }
}
