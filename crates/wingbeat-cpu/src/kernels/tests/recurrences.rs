//! The recurrences of RWKV-4 to RWKV-6 over odd sizes; what lies beside the channels must stay as it was.

use super::{compare, config, largest, portable, tables, wide};
use crate::{
    buffer::SharedRows,
    kernels::{DecayRows, HeadPart, Kernels, Readout6Rows, Sums, Wkv4Rows, Wkv6Rows},
};
use proptest::prelude::*;
use wingbeat_backend::{
    conformance::Random,
    tolerance::{ELEMENTWISE_REL, recurrence_rel},
};

/// Buffers `(tokens + 1, 2 n)`, of which the second half of all but the first row is computed.
#[derive(Clone)]
struct Operands {
    n: usize,
    tokens: usize,
    r: Vec<f32>,
    w: Vec<f32>,
    k: Vec<f32>,
    v: Vec<f32>,
    y: Vec<f32>,
    vectors: [Vec<f32>; 2],
    /// `(N, N)`, or the sums of RWKV-4, `3 n`.
    state: Vec<f32>,
}

impl Operands {
    fn random(seed: u64, n: usize, tokens: usize, n_state: usize) -> Operands {
        let mut random = Random::new(seed);
        let len = (tokens + 1) * 2 * n;
        Operands {
            n,
            tokens,
            r: random.normals(len),
            w: random.uniforms(len, 0.3, 1.0),
            k: random.normals(len),
            v: random.normals(len),
            y: random.normals(len),
            vectors: [random.normals(2 * n), random.uniforms(2 * n, -3.0, -0.01)],
            // Sums of weights are positive.
            state: random.uniforms(n_state, 0.1, 2.0),
        }
    }

    fn part(&self) -> HeadPart {
        HeadPart { rows: 1..self.tokens + 1, channels: self.n..2 * self.n }
    }

    fn wkv6(&mut self, kernels: &Kernels, by_token: bool) {
        let (part, width) = (self.part(), 2 * self.n);
        let constant = self.w[..width].to_vec();
        let rows = Wkv6Rows {
            r: SharedRows::new(&mut self.r, width),
            w: match by_token {
                true => DecayRows::Tokens(SharedRows::new(&mut self.w, width)),
                false => DecayRows::Channels(&constant),
            },
            k: SharedRows::new(&mut self.k, width),
            v: SharedRows::new(&mut self.v, width),
            y: SharedRows::new(&mut self.y, width),
            u: &self.vectors[0],
        };
        // SAFETY: the table is of an available level; there are no other threads.
        unsafe { (kernels.wkv6)(&rows, &part, &mut self.state) };
    }

    fn readout(&mut self, kernels: &Kernels, gated: bool) {
        let (part, width) = (self.part(), 2 * self.n);
        let rows = Readout6Rows {
            y: SharedRows::new(&mut self.y, width),
            g: gated.then(|| SharedRows::new(&mut self.v, width)),
            ln_weight: &self.vectors[0],
            ln_bias: &self.vectors[1],
            eps: 64e-5,
        };
        // SAFETY: as above.
        unsafe { (kernels.v6_readout)(&rows, &part) };
    }

    fn wkv4(&mut self, kernels: &Kernels) {
        let (part, width, n) = (self.part(), 2 * self.n, self.n);
        let rows = Wkv4Rows {
            r: SharedRows::new(&mut self.r, width),
            k: SharedRows::new(&mut self.k, width),
            v: SharedRows::new(&mut self.v, width),
            y: SharedRows::new(&mut self.y, width),
            first: &self.vectors[0],
            decay: &self.vectors[1],
        };
        let (aa, rest) = self.state.split_at_mut(n);
        let (bb, pp) = rest.split_at_mut(n);
        // SAFETY: as above.
        unsafe { (kernels.wkv4)(&rows, &part, Sums { aa, bb, pp }) };
    }

    /// Compares with the twin's result; all else must be as it was before.
    fn compare(&self, twin: &Operands, before: &Operands, level: crate::level::Level, relative: f64) {
        let (n, width) = (self.n, 2 * self.n);
        for (t, actual) in self.y.chunks_exact(width).enumerate() {
            let outside = if t == 0 { 0..width } else { 0..n };
            assert_eq!(actual[outside.clone()], before.y[t * width..][outside], "beside the head, {level}");
            if t > 0 {
                let twin = wide(&twin.y[t * width + n..][..n]);
                let limit = relative * largest(&twin) + 1e-30;
                compare(format!("y row {t}, {level}"), &actual[n..], &twin, |_| limit);
            }
        }
        let twin = wide(&twin.state);
        let limit = relative * largest(&twin) + 1e-30;
        compare(format!("state, {level}"), &self.state, &twin, |_| limit);
    }
}

fn check(operands: &Operands, relative: f64, run: impl Fn(&mut Operands, &Kernels)) {
    let mut twin = operands.clone();
    run(&mut twin, portable());
    for kernels in tables() {
        let mut actual = operands.clone();
        run(&mut actual, kernels);
        actual.compare(&twin, operands, kernels.level, relative);
    }
}

proptest! {
    #![proptest_config(config(96))]

    #[test]
    fn wkv6(seed: u64, n in 1..70usize, tokens in 1..20usize, by_token: bool) {
        let operands = Operands::random(seed, n, tokens, n * n);
        check(&operands, recurrence_rel(tokens), |o, kernels| o.wkv6(kernels, by_token));
    }

    #[test]
    fn wkv4(seed: u64, n in 1..70usize, tokens in 1..20usize, scale in prop::sample::select(vec![1.0f32, 40.0])) {
        let mut operands = Operands::random(seed, n, tokens, 3 * n);
        operands.k.iter_mut().for_each(|k| *k *= scale);
        // Differences of exponents are rounded to units of these.
        check(&operands, recurrence_rel(tokens) * f64::from(4.0 * scale), Operands::wkv4);
    }

    #[test]
    fn readout(seed: u64, n in 2..70usize, tokens in 1..4usize, gated: bool) {
        let operands = Operands::random(seed, n, tokens, 1);
        check(&operands, 2.0 * ELEMENTWISE_REL, |o, kernels| o.readout(kernels, gated));
    }

    #[test]
    fn shifts_and_gates(seed: u64, n in 0..200usize) {
        let mut random = Random::new(seed);
        let [x, previous, mix, y] = [0; 4].map(|_| random.normals(n));
        let wanted = |i: usize| {
            let [x, previous, mix, y] = [x[i], previous[i], mix[i], y[i]].map(f64::from);
            [x + (previous - x) * (mix + y), y + x * previous]
        };
        let truth = |which: usize| (0..n).map(|i| wanted(i)[which]).collect::<Vec<f64>>();
        for kernels in tables() {
            let (mut lerp, mut gated) = (y.clone(), y.clone());
            // SAFETY: the table is of an available level.
            unsafe {
                (kernels.lerp)(&x, &previous, &mix, &mut lerp);
                (kernels.add_gated)(&mut gated, &x, &previous);
            }
            for (name, actual, truth) in [("lerp", lerp, truth(0)), ("add_gated", gated, truth(1))] {
                let limit = ELEMENTWISE_REL * (1.0 + largest(&truth));
                compare(format!("{name}, {}", kernels.level), &actual, &truth, |_| limit);
            }
        }
    }
}
