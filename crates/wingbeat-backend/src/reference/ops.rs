//! The operations themselves.

use super::{Buffer, Matrix, Pass, Reference};
use crate::{
    Activation, BackendError, Decay, LayerNorm, Linear, SlabAt, V6Readout, V7Keys, V7Readout,
    WKV7_DECAY_SCALE, Wkv4, Wkv6, Wkv7,
};
use std::ops::Range;

fn sigmoid(z: f64) -> f64 {
    1.0 / (1.0 + (-z).exp())
}

/// Mean and `1 / sqrt(variance + eps)`.
fn moments(x: &[f32], eps: f32) -> (f64, f64) {
    let n = x.len() as f64;
    let mean = x.iter().map(|&x| f64::from(x)).sum::<f64>() / n;
    let variance = x.iter().map(|&x| (f64::from(x) - mean).powi(2)).sum::<f64>() / n;
    (mean, 1.0 / (variance + f64::from(eps)).sqrt())
}

impl crate::Pass<Reference> for Pass<'_> {
    fn embed(&mut self, table: &Matrix, x: &mut Buffer) {
        let values = table.values();
        for (t, &token) in self.batch.tokens().iter().enumerate() {
            let row = &values[token as usize * x.width..][..x.width];
            x.row_mut(t).iter_mut().zip(row).for_each(|(x, e)| *x = *e as f32);
        }
    }

    fn layer_norm(&mut self, x: &Buffer, norm: &LayerNorm<Reference>, y: &mut Buffer) {
        for t in 0..self.n_rows {
            let (mean, scale) = moments(x.row(t), norm.eps);
            let row = y.row_mut(t);
            for c in 0..row.len() {
                let normed = (f64::from(x.row(t)[c]) - mean) * scale;
                row[c] = (normed * f64::from(norm.weight[c]) + f64::from(norm.bias[c])) as f32;
            }
        }
    }

    fn token_shift(&mut self, x: &Buffer, state: SlabAt, mixes: &[&Vec<f32>], ys: &mut [&mut Buffer]) {
        let width = x.width;
        for (sequence, states) in self.batch.sequences().iter().zip(&mut self.states) {
            let last = &mut states.slabs[state.slab][state.layer * width..][..width];
            for t in sequence.first_row..sequence.first_row + sequence.n_tokens {
                for (mix, y) in mixes.iter().zip(&mut *ys) {
                    for c in 0..width {
                        y.row_mut(t)[c] = x.row(t)[c] + (last[c] - x.row(t)[c]) * mix[c];
                    }
                }
                last.copy_from_slice(x.row(t));
            }
        }
    }

    fn linear(&mut self, jobs: &mut [Linear<'_, Reference>]) {
        for job in jobs {
            let (rows, cols) = (job.weight.source.rows, job.weight.source.cols);
            assert_eq!((job.x.width, job.y.width), (cols, rows), "widths of {}", job.weight.source.name);
            let w = job.weight.values();
            for t in 0..self.n_rows {
                for row in 0..rows {
                    let z: f64 = w[row * cols..][..cols]
                        .iter()
                        .zip(job.x.row(t))
                        .map(|(w, &x)| w * f64::from(x))
                        .sum();
                    let y = &mut job.y.row_mut(t)[row];
                    *y = match job.activation {
                        Activation::None => z,
                        Activation::Add => f64::from(*y) + z,
                        Activation::Tanh => z.tanh(),
                        Activation::Sigmoid => sigmoid(z),
                        Activation::ReluSquared => z.max(0.0).powi(2),
                        Activation::BiasSigmoid(bias) => sigmoid(z + f64::from(bias[row])),
                        Activation::BiasDecay(bias) => {
                            (-f64::from(WKV7_DECAY_SCALE) * sigmoid(z + f64::from(bias[row]))).exp()
                        }
                        Activation::Silu => z * sigmoid(z),
                        Activation::BiasExpDecay(bias) => (-(z + f64::from(bias[row])).exp()).exp(),
                    } as f32;
                }
            }
        }
    }

    fn v7_keys(&mut self, args: V7Keys<'_, Reference>) {
        let V7Keys { k, v, v_first, v_gate, a, kk, k_k, k_a, head_size } = args;
        for t in 0..self.n_rows {
            for (c, kk) in kk.row_mut(t).iter_mut().enumerate() {
                *kk = k.row(t)[c] * k_k[c];
            }
            for head in kk.row_mut(t).chunks_exact_mut(head_size) {
                let length = head.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>().sqrt().max(1e-12);
                head.iter_mut().for_each(|x| *x = (f64::from(*x) / length) as f32);
            }
            for c in 0..k.width {
                k.row_mut(t)[c] *= 1.0 + (a.row(t)[c] - 1.0) * k_a[c];
                match v_gate {
                    None => v_first.row_mut(t)[c] = v.row(t)[c],
                    Some(gate) => {
                        let (first, gate) = (v_first.row(t)[c], gate.row(t)[c]);
                        let v = &mut v.row_mut(t)[c];
                        *v += (first - *v) * gate;
                    }
                }
            }
        }
    }

    fn wkv7(&mut self, args: Wkv7<'_, Reference>) {
        let Wkv7 { r, w, k, v, kk, a, y, state, head_size: n } = args;
        for (sequence, states) in self.batch.sequences().iter().zip(&mut self.states) {
            let slab = &mut states.slabs[state.slab][state.layer * y.width * n..][..y.width * n];
            for t in sequence.first_row..sequence.first_row + sequence.n_tokens {
                for (h, s) in slab.chunks_exact_mut(n * n).enumerate() {
                    let head = |x: &Buffer| x.row(t)[h * n..][..n].to_vec();
                    let (r, w, k, v, kk, a) = (head(r), head(w), head(k), head(v), head(kk), head(a));
                    for (i, s) in s.chunks_exact_mut(n).enumerate() {
                        let removed: f64 = (0..n).map(|j| f64::from(s[j]) * f64::from(kk[j])).sum();
                        let mut out = 0.0;
                        for j in 0..n {
                            let new = f64::from(s[j]) * f64::from(w[j])
                                - removed * f64::from(kk[j]) * f64::from(a[j])
                                + f64::from(v[i]) * f64::from(k[j]);
                            s[j] = new as f32;
                            out += new * f64::from(r[j]);
                        }
                        y.row_mut(t)[h * n + i] = out as f32;
                    }
                }
            }
        }
    }

    fn v7_readout(&mut self, args: V7Readout<'_, Reference>) {
        let V7Readout { y, r, k, v, g, r_k, ln_x, head_size: n } = args;
        for t in 0..self.n_rows {
            let (r, k, v, g) = (r.row(t), k.row(t), v.row(t), g.row(t));
            for (h, y) in y.row_mut(t).chunks_exact_mut(n).enumerate() {
                let (mean, scale) = moments(y, ln_x.eps);
                let channels = h * n..(h + 1) * n;
                let bonus: f64 =
                    channels.clone().map(|c| f64::from(r[c]) * f64::from(k[c]) * f64::from(r_k[c])).sum();
                for (y, c) in y.iter_mut().zip(channels) {
                    let normed =
                        (f64::from(*y) - mean) * scale * f64::from(ln_x.weight[c]) + f64::from(ln_x.bias[c]);
                    *y = ((normed + bonus * f64::from(v[c])) * f64::from(g[c])) as f32;
                }
            }
        }
    }

    fn wkv4(&mut self, args: Wkv4<'_, Reference>) {
        let Wkv4 { r, k, v, y, decay, first, aa, bb, pp } = args;
        let width = y.width;
        for (sequence, states) in self.batch.sequences().iter().zip(&mut self.states) {
            for c in 0..width {
                let at = |slab: SlabAt| states.slabs[slab.slab][slab.layer * width + c];
                let (mut a, mut b, mut p) = (f64::from(at(aa)), f64::from(at(bb)), f64::from(at(pp)));
                let (decay, first) = (f64::from(decay[c]), f64::from(first[c]));
                for t in sequence.first_row..sequence.first_row + sequence.n_tokens {
                    let (k, v) = (f64::from(k.row(t)[c]), f64::from(v.row(t)[c]));
                    let q = p.max(first + k);
                    let (old, new) = ((p - q).exp(), (first + k - q).exp());
                    let average = (old * a + new * v) / (old * b + new);
                    y.row_mut(t)[c] = (f64::from(r.row(t)[c]) * average) as f32;
                    let q = (p + decay).max(k);
                    let (old, new) = ((p + decay - q).exp(), (k - q).exp());
                    (a, b, p) = (old * a + new * v, old * b + new, q);
                }
                for (slab, value) in [(aa, a), (bb, b), (pp, p)] {
                    states.slabs[slab.slab][slab.layer * width + c] = value as f32;
                }
            }
        }
    }

    fn wkv6(&mut self, args: Wkv6<'_, Reference>) {
        let Wkv6 { r, w, k, v, y, u, state, head_size: n } = args;
        for (sequence, states) in self.batch.sequences().iter().zip(&mut self.states) {
            let slab = &mut states.slabs[state.slab][state.layer * y.width * n..][..y.width * n];
            for t in sequence.first_row..sequence.first_row + sequence.n_tokens {
                for (h, s) in slab.chunks_exact_mut(n * n).enumerate() {
                    for j in 0..n {
                        let value = f64::from(v.row(t)[h * n + j]);
                        let mut out = 0.0;
                        for i in 0..n {
                            let c = h * n + i;
                            let decay = f64::from(match w {
                                Decay::Tokens(w) => w.row(t)[c],
                                Decay::Channels(w) => w[c],
                            });
                            let (new, s) = (f64::from(k.row(t)[c]) * value, &mut s[i * n + j]);
                            out += f64::from(r.row(t)[c]) * (f64::from(*s) + f64::from(u[c]) * new);
                            *s = (f64::from(*s) * decay + new) as f32;
                        }
                        y.row_mut(t)[h * n + j] = out as f32;
                    }
                }
            }
        }
    }

    fn v6_readout(&mut self, args: V6Readout<'_, Reference>) {
        let V6Readout { y, g, ln_x, head_size: n } = args;
        for t in 0..self.n_rows {
            for (h, y) in y.row_mut(t).chunks_exact_mut(n).enumerate() {
                let (mean, scale) = moments(y, ln_x.eps);
                for (y, c) in y.iter_mut().zip(h * n..) {
                    let normed =
                        (f64::from(*y) - mean) * scale * f64::from(ln_x.weight[c]) + f64::from(ln_x.bias[c]);
                    *y = (normed * g.map_or(1.0, |g| f64::from(g.row(t)[c]))) as f32;
                }
            }
        }
    }

    fn lerp(&mut self, x: &Buffer, previous: &Buffer, mixes: &[&Vec<f32>], ys: &mut [&mut Buffer]) {
        for (mix, y) in mixes.iter().zip(ys) {
            for t in 0..self.n_rows {
                for (c, y) in y.row_mut(t).iter_mut().enumerate() {
                    *y = x.row(t)[c] + (previous.row(t)[c] - x.row(t)[c]) * (mix[c] + *y);
                }
            }
        }
    }

    fn add_gated(&mut self, x: &mut Buffer, gate: &Buffer, y: &Buffer) {
        for t in 0..self.n_rows {
            for (c, x) in x.row_mut(t).iter_mut().enumerate() {
                *x += gate.row(t)[c] * y.row(t)[c];
            }
        }
    }

    fn scale(&mut self, x: &mut Buffer, factor: f32) {
        for t in 0..self.n_rows {
            x.row_mut(t).iter_mut().for_each(|x| *x *= factor);
        }
    }

    fn select_rows(&mut self, x: &Buffer, rows: &[usize], y: &mut Buffer) {
        for (i, &row) in rows.iter().enumerate() {
            y.row_mut(i).copy_from_slice(x.row(row));
        }
        self.n_rows = rows.len();
    }

    fn sum_rows(&mut self, x: &Buffer, ranges: &[Range<usize>], y: &mut Buffer) {
        for (i, range) in ranges.iter().enumerate() {
            for (c, y) in y.row_mut(i).iter_mut().enumerate() {
                *y = range.clone().map(|t| f64::from(x.row(t)[c])).sum::<f64>() as f32;
            }
        }
    }

    fn submit(self) -> Result<(), BackendError> {
        Ok(())
    }
}
