//! RWKV-7's time mix over odd head sizes; what lies beside the head must stay as it was.

use super::{compare, config, largest, portable, tables, wide};
use crate::{
    buffer::SharedRows,
    kernels::{HeadPart, Kernels, KeysRows, ReadoutRows, WkvRows},
};
use proptest::prelude::*;
use std::ops::Range;
use wingbeat_backend::{
    conformance::Random,
    tolerance::{ELEMENTWISE_REL, recurrence_rel},
};

/// Buffers `(tokens + 1, 2 heads)`, of which the second head of all but the first row is computed.
#[derive(Clone)]
struct Operands {
    head_size: usize,
    tokens: usize,
    r: Vec<f32>,
    w: Vec<f32>,
    k: Vec<f32>,
    v: Vec<f32>,
    v_first: Vec<f32>,
    v_gate: Option<Vec<f32>>,
    kk: Vec<f32>,
    a: Vec<f32>,
    g: Vec<f32>,
    y: Vec<f32>,
    state: Vec<f32>,
    vectors: [Vec<f32>; 5],
}

impl Operands {
    fn random(seed: u64, head_size: usize, tokens: usize, gated: bool) -> Operands {
        let mut random = Random::new(seed);
        let width = 2 * head_size;
        let n = (tokens + 1) * width;
        let mut kk = random.normals(n);
        for head in kk.chunks_exact_mut(head_size) {
            let norm = head.iter().map(|x| x * x).sum::<f32>().sqrt();
            head.iter_mut().for_each(|x| *x /= norm);
        }
        Operands {
            head_size,
            tokens,
            r: random.normals(n),
            w: random.uniforms(n, 0.54, 1.0),
            k: random.normals(n),
            v: random.normals(n),
            v_first: random.normals(n),
            v_gate: gated.then(|| random.uniforms(n, 0.0, 1.0)),
            kk,
            a: random.uniforms(n, 0.0, 1.0),
            g: random.normals(n),
            y: random.normals(n),
            state: random.normals(head_size * head_size),
            vectors: std::array::from_fn(|_| random.normals(width)),
        }
    }

    fn part(&self) -> HeadPart {
        HeadPart { rows: 1..self.tokens + 1, channels: self.channels() }
    }

    fn channels(&self) -> Range<usize> {
        self.head_size..2 * self.head_size
    }

    fn keys(&mut self, kernels: &Kernels) {
        let (part, width) = (self.part(), 2 * self.head_size);
        let rows = KeysRows {
            k: SharedRows::new(&mut self.k, width),
            v: SharedRows::new(&mut self.v, width),
            kk: SharedRows::new(&mut self.kk, width),
            v_first: SharedRows::new(&mut self.v_first, width),
            v_gate: self.v_gate.as_mut().map(|gate| SharedRows::new(gate, width)),
            a: SharedRows::new(&mut self.a, width),
            k_k: &self.vectors[0],
            k_a: &self.vectors[1],
        };
        // SAFETY: the table is of an available level; there are no other threads.
        unsafe { (kernels.v7_keys)(&rows, &part) };
    }

    fn wkv(&mut self, kernels: &Kernels) {
        let (part, width) = (self.part(), 2 * self.head_size);
        let rows = WkvRows {
            r: SharedRows::new(&mut self.r, width),
            w: SharedRows::new(&mut self.w, width),
            k: SharedRows::new(&mut self.k, width),
            v: SharedRows::new(&mut self.v, width),
            kk: SharedRows::new(&mut self.kk, width),
            a: SharedRows::new(&mut self.a, width),
            y: SharedRows::new(&mut self.y, width),
        };
        // SAFETY: as above.
        unsafe { (kernels.wkv7)(&rows, &part, &mut self.state) };
    }

    fn readout(&mut self, kernels: &Kernels) {
        let (part, width) = (self.part(), 2 * self.head_size);
        let rows = ReadoutRows {
            y: SharedRows::new(&mut self.y, width),
            r: SharedRows::new(&mut self.r, width),
            k: SharedRows::new(&mut self.k, width),
            v: SharedRows::new(&mut self.v, width),
            g: SharedRows::new(&mut self.g, width),
            r_k: &self.vectors[2],
            ln_weight: &self.vectors[3],
            ln_bias: &self.vectors[4],
            eps: 64e-5,
        };
        // SAFETY: as above.
        unsafe { (kernels.v7_readout)(&rows, &part) };
    }

    /// The buffers that kernels write.
    fn written(&self) -> [(&'static str, &[f32]); 6] {
        [
            ("k", &self.k),
            ("v", &self.v),
            ("v_first", &self.v_first),
            ("kk", &self.kk),
            ("y", &self.y),
            ("state", &self.state),
        ]
    }

    /// Compares with the twin's result, relative to the largest value of each row of the head; all else must be as it
    /// was before.
    fn compare(&self, twin: &Operands, before: &Operands, kernels: &Kernels, relative: f64) {
        let level = kernels.level;
        for (((name, actual), (_, twin)), (_, before)) in
            self.written().into_iter().zip(twin.written()).zip(before.written())
        {
            if name == "state" {
                let twin = wide(twin);
                let limit = relative * largest(&twin) + 1e-30;
                compare(format!("state, {level}"), actual, &twin, |_| limit);
                continue;
            }
            for (t, actual) in actual.chunks_exact(2 * self.head_size).enumerate() {
                let at = t * 2 * self.head_size;
                let outside = if t == 0 { 0..2 * self.head_size } else { 0..self.head_size };
                assert_eq!(actual[outside.clone()], before[at..][outside], "{name} beside the head, {level}");
                if t > 0 {
                    let twin = wide(&twin[at..][self.channels()]);
                    let limit = relative * largest(&twin) + 1e-30;
                    compare(format!("{name} row {t}, {level}"), &actual[self.channels()], &twin, |_| limit);
                }
            }
        }
    }
}

fn check(operands: &Operands, relative: f64, run: fn(&mut Operands, &Kernels)) {
    let mut twin = operands.clone();
    run(&mut twin, portable());
    for kernels in tables() {
        let mut actual = operands.clone();
        run(&mut actual, kernels);
        actual.compare(&twin, operands, kernels, relative);
    }
}

proptest! {
    #![proptest_config(config(96))]

    #[test]
    fn keys(seed: u64, head_size in 1..70usize, tokens in 1..4usize, gated: bool) {
        check(&Operands::random(seed, head_size, tokens, gated), ELEMENTWISE_REL, Operands::keys);
    }

    #[test]
    fn wkv(seed: u64, head_size in prop::sample::select(HEAD_SIZES.to_vec()), tokens in 1..40usize) {
        check(&Operands::random(seed, head_size, tokens, true), recurrence_rel(tokens), Operands::wkv);
    }

    #[test]
    fn readout(seed: u64, head_size in 2..70usize, tokens in 1..4usize) {
        let mut operands = Operands::random(seed, head_size, tokens, true);
        // Outputs of the recurrence far from zero lose digits to their mean.
        operands.y.iter_mut().for_each(|y| *y += 0.5);
        check(&operands, 2.0 * ELEMENTWISE_REL, Operands::readout);
    }
}

/// Every remainder of 4, 8 and 16 lanes, of one vector and of four at a time.
const HEAD_SIZES: [usize; 16] = [1, 2, 3, 4, 5, 7, 8, 15, 16, 17, 31, 32, 33, 63, 64, 67];

/// A key of zeros has no direction: its removal key is zero, not NaN.
#[test]
fn keys_of_zeros() {
    for head_size in [1, 8, 37, 64] {
        let mut operands = Operands::random(5, head_size, 2, false);
        operands.k.fill(0.0);
        for kernels in tables() {
            let mut actual = operands.clone();
            actual.keys(kernels);
            let head = operands.channels();
            assert!(actual.kk[2 * head_size..][head].iter().all(|&x| x == 0.0), "{}", kernels.level);
        }
    }
}
