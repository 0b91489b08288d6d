//! Random numbers by position: any value of any tensor can be had without those before it, on any thread.

/// Odd, its bits without pattern: 2⁶⁴ over the golden ratio (Steele, Lea, Flood, splitmix64).
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// The numbers of one tensor.
#[derive(Clone, Copy)]
pub(super) struct Stream {
    key: u64,
}

impl Stream {
    /// The stream of a seed and a name.
    pub(super) fn new(seed: u64, name: &str) -> Stream {
        let hash = name.bytes().fold(mix(seed), |hash, byte| mix(hash ^ u64::from(byte)));
        Stream { key: hash }
    }

    /// Bits number `index`.
    pub(super) fn bits(self, index: u64) -> u64 {
        mix(self.key.wrapping_add(index.wrapping_add(1).wrapping_mul(STEP)))
    }

    /// A number of mean 0 and variance 1, number `index`: the sum of eight uniform ones of 16 bits. Its distribution
    /// function is within 0.004 of the normal one, it needs no function that platforms differ in, and its largest value
    /// is 4.9.
    pub(super) fn normal(self, index: u64) -> f32 {
        /// Every second group of 16 bits.
        const EVEN: u64 = 0x0000_ffff_0000_ffff;
        /// Eight means of 65535 / 2.
        const MEAN: f32 = 262_140.0;
        /// One over the root of eight variances of (65536² − 1) / 12.
        const SCALE: f32 = 1.868_812_4e-5;
        let pairs = |x: u64| (x & EVEN) + (x >> 16 & EVEN);
        let sums = pairs(self.bits(2 * index)) + pairs(self.bits(2 * index + 1));
        let sum = (sums as u32) + (sums >> 32) as u32;
        (sum as f32 - MEAN) * SCALE
    }
}

/// splitmix64's output function: a bijection in which every bit depends on every bit.
fn mix(x: u64) -> u64 {
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// The `z` below which a normal number is with probability `p`, for `p` in 0.5 ..= 0.99: bisection on the power series
/// of the distribution function (Φ(z) = ½ + φ(z) Σ z²ⁿ⁺¹ / (1·3·5…(2n+1))).
pub(super) fn normal_quantile(p: f64) -> f64 {
    let below = |z: f64| {
        let (mut term, mut sum) = (z, z);
        for n in 1..60 {
            term *= z * z / f64::from(2 * n + 1);
            sum += term;
        }
        0.5 + sum * (-z * z / 2.0).exp() / std::f64::consts::TAU.sqrt()
    };
    let (mut low, mut high) = (0.0, 4.0);
    for _ in 0..60 {
        let middle = 0.5 * (low + high);
        if below(middle) < p { low = middle } else { high = middle }
    }
    if p <= 0.5 { 0.0 } else { 0.5 * (low + high) }
}
