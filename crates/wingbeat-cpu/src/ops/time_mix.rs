//! RWKV-7's time mix: sequences and heads are independent, so they are what threads share.

use super::CpuPass;
use crate::{
    CpuBackend,
    buffer::SharedRows,
    kernels::{HeadPart, KeysRows, ReadoutRows, WkvRows},
    pool::share,
};
use smallvec::SmallVec;
use wingbeat_backend::{SlabAt, TimeMixV7, V7Keys, V7Readout, Wkv7};

impl CpuPass<'_> {
    /// Runs `head(part, sequence, head number)` for every sequence and head.
    pub(super) fn for_each_head(
        &mut self,
        head_size: usize,
        n_heads: usize,
        head: &(dyn Fn(&HeadPart, usize, usize) + Sync),
    ) {
        let sequences = self.batch.sequences();
        let pool = &mut self.workers.pool;
        let n_units = sequences.len() * n_heads;
        let n_shares = pool.n_threads().min(n_units);
        pool.run(n_shares, &|_, index| {
            for unit in share(n_units, 1, index, n_shares) {
                let (sequence, h) = (unit / n_heads, unit % n_heads);
                let rows = sequences[sequence];
                let part = HeadPart {
                    rows: rows.first_row..rows.first_row + rows.n_tokens,
                    channels: h * head_size..(h + 1) * head_size,
                };
                head(&part, sequence, h);
            }
        });
    }

    pub(super) fn run_v7_keys(&mut self, args: V7Keys<'_, CpuBackend>) {
        let (kernels, n_heads, head_size) = (self.kernels, args.k.width / args.head_size, args.head_size);
        let keys = KeysRows {
            k: args.k.shared(),
            v: args.v.shared(),
            kk: args.kk.shared(),
            v_first: args.v_first.shared(),
            v_gate: args.v_gate.map(|gate| gate.rows()),
            a: args.a.rows(),
            k_k: args.k_k,
            k_a: args.k_a,
        };
        self.for_each_head(head_size, n_heads, &|part, _, _| {
            // SAFETY: every head of a sequence is one thread's; the table's instructions are there.
            unsafe { (kernels.v7_keys)(&keys, part) };
        });
    }

    pub(super) fn run_wkv7(&mut self, args: Wkv7<'_, CpuBackend>) {
        let (kernels, n_heads, head_size) = (self.kernels, args.k.width / args.head_size, args.head_size);
        let wkv = WkvRows {
            r: args.r.rows(),
            w: args.w.rows(),
            k: args.k.rows(),
            v: args.v.rows(),
            kk: args.kk.rows(),
            a: args.a.rows(),
            y: args.y.shared(),
        };
        let states = self.head_states(args.state, head_size);
        self.for_each_head(head_size, n_heads, &|part, sequence, h| {
            // SAFETY: every head of a sequence, its state included, is one thread's; the table's instructions are there.
            unsafe { (kernels.wkv7)(&wkv, part, states[sequence].part(h, 0..head_size * head_size)) };
        });
    }

    pub(super) fn run_v7_readout(&mut self, args: V7Readout<'_, CpuBackend>) {
        let (kernels, n_heads, head_size) = (self.kernels, args.k.width / args.head_size, args.head_size);
        let readout = ReadoutRows {
            y: args.y.shared(),
            r: args.r.rows(),
            k: args.k.rows(),
            v: args.v.rows(),
            g: args.g.rows(),
            r_k: args.r_k,
            ln_weight: &args.ln_x.weight,
            ln_bias: &args.ln_x.bias,
            eps: args.ln_x.eps,
        };
        self.for_each_head(head_size, n_heads, &|part, _, _| {
            // SAFETY: every head of a sequence is one thread's; the table's instructions are there.
            unsafe { (kernels.v7_readout)(&readout, part) };
        });
    }

    /// All three at once: one region instead of three, and a head's rows still in the cache.
    pub(super) fn run_time_mix_v7(&mut self, args: TimeMixV7<'_, CpuBackend>) {
        let (kernels, n_heads, head_size) = (self.kernels, args.k.width / args.head_size, args.head_size);
        let (k, v, kk, y) = (args.k.shared(), args.v.shared(), args.kk.shared(), args.y.shared());
        let (r, a) = (args.r.rows(), args.a.rows());
        let keys = KeysRows {
            k,
            v,
            kk,
            v_first: args.v_first.shared(),
            v_gate: args.v_gate.map(|gate| gate.rows()),
            a,
            k_k: args.k_k,
            k_a: args.k_a,
        };
        let wkv = WkvRows { r, w: args.w.rows(), k, v, kk, a, y };
        let readout = ReadoutRows {
            y,
            r,
            k,
            v,
            g: args.g.rows(),
            r_k: args.r_k,
            ln_weight: &args.ln_x.weight,
            ln_bias: &args.ln_x.bias,
            eps: args.ln_x.eps,
        };
        let states = self.head_states(args.state, head_size);
        self.for_each_head(head_size, n_heads, &|part, sequence, h| {
            // SAFETY: every head of a sequence, its state included, is one thread's; the table's instructions are there.
            unsafe {
                (kernels.v7_keys)(&keys, part);
                (kernels.wkv7)(&wkv, part, states[sequence].part(h, 0..head_size * head_size));
                (kernels.v7_readout)(&readout, part);
            }
        });
    }

    /// The head matrices of one layer, a sequence each, a row a head.
    pub(super) fn head_states<'s>(
        &mut self,
        state: SlabAt,
        head_size: usize,
    ) -> SmallVec<[SharedRows<'s>; 4]> {
        self.states
            .iter_mut()
            .map(|states| {
                let values: *mut [f32] = states.layer_mut(state.slab, state.layer);
                // SAFETY: the states are borrowed by the pass, which no one else reads while an operation runs, and the
                // result does not outlive the operation that asked for it.
                SharedRows::new(unsafe { &mut *values }, head_size * head_size)
            })
            .collect()
    }
}
