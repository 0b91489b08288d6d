//! The recurrences of RWKV-4 to RWKV-6: sequences and heads, or channels, are independent, so they are what threads share.

use super::CpuPass;
use crate::{
    CpuBackend,
    buffer::SharedRows,
    kernels::{DecayRows, HeadPart, Readout6Rows, Sums, Wkv4Rows, Wkv6Rows},
    pool::share,
};
use smallvec::SmallVec;
use wingbeat_backend::{Decay, SlabAt, V6Readout, Wkv4, Wkv6};

/// Channels of RWKV-4 that are worked on together: some cache lines.
const CHANNELS: usize = 64;

impl CpuPass<'_> {
    pub(super) fn run_wkv4(&mut self, args: Wkv4<'_, CpuBackend>) {
        let (kernels, width, batch) = (self.kernels, args.y.width, self.batch);
        let rows = Wkv4Rows {
            r: args.r.rows(),
            k: args.k.rows(),
            v: args.v.rows(),
            y: args.y.shared(),
            decay: args.decay,
            first: args.first,
        };
        let (aa, bb, pp) = (self.vectors(args.aa), self.vectors(args.bb), self.vectors(args.pp));
        let n_parts = width.div_ceil(CHANNELS);
        let n_units = batch.sequences().len() * n_parts;
        let pool = &mut self.workers.pool;
        let n_shares = pool.n_threads().min(n_units);
        pool.run(n_shares, &|_, index| {
            for unit in share(n_units, 1, index, n_shares) {
                let (s, part) = (unit / n_parts, unit % n_parts);
                let sequence = batch.sequences()[s];
                let channels = part * CHANNELS..((part + 1) * CHANNELS).min(width);
                // SAFETY: some channels of a sequence are one thread's; the table's instructions are there.
                unsafe {
                    let sums = Sums {
                        aa: aa[s].part(0, channels.clone()),
                        bb: bb[s].part(0, channels.clone()),
                        pp: pp[s].part(0, channels.clone()),
                    };
                    let rows_of = sequence.first_row..sequence.first_row + sequence.n_tokens;
                    (kernels.wkv4)(&rows, &HeadPart { rows: rows_of, channels }, sums);
                }
            }
        });
    }

    pub(super) fn run_wkv6(&mut self, args: Wkv6<'_, CpuBackend>) {
        let (kernels, n_heads, head_size) = (self.kernels, args.k.width / args.head_size, args.head_size);
        let rows = Wkv6Rows {
            r: args.r.rows(),
            w: match args.w {
                Decay::Tokens(w) => DecayRows::Tokens(w.rows()),
                Decay::Channels(w) => DecayRows::Channels(w),
            },
            k: args.k.rows(),
            v: args.v.rows(),
            y: args.y.shared(),
            u: args.u,
        };
        let states = self.head_states(args.state, head_size);
        self.for_each_head(head_size, n_heads, &|part, sequence, h| {
            // SAFETY: every head of a sequence, its state included, is one thread's; the table's instructions are there.
            unsafe { (kernels.wkv6)(&rows, part, states[sequence].part(h, 0..head_size * head_size)) };
        });
    }

    pub(super) fn run_v6_readout(&mut self, args: V6Readout<'_, CpuBackend>) {
        let (kernels, n_heads, head_size) = (self.kernels, args.y.width / args.head_size, args.head_size);
        let rows = Readout6Rows {
            y: args.y.shared(),
            g: args.g.map(|g| g.rows()),
            ln_weight: &args.ln_x.weight,
            ln_bias: &args.ln_x.bias,
            eps: args.ln_x.eps,
        };
        self.for_each_head(head_size, n_heads, &|part, _, _| {
            // SAFETY: every head of a sequence is one thread's; the table's instructions are there.
            unsafe { (kernels.v6_readout)(&rows, part) };
        });
    }

    /// The vectors of one layer, a sequence each.
    fn vectors<'s>(&mut self, at: SlabAt) -> SmallVec<[SharedRows<'s>; 4]> {
        self.states
            .iter_mut()
            .map(|states| {
                let values: *mut [f32] = states.layer_mut(at.slab, at.layer);
                // SAFETY: the states are borrowed by the pass, which no one else reads while an operation runs, and the
                // result does not outlive the operation that asked for it.
                SharedRows::new(unsafe { &mut *values }, values.len())
            })
            .collect()
    }
}
