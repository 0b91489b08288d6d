//! What rwkv.cpp's converter makes of a checkpoint's decays before it stores them, and the way back
//! (`convert_pytorch_to_ggml.py`).
//!
//! ```text
//! v4          time_decay   −exp(d)
//! v5.1, v5.2  time_decay   exp(−exp(d))
//! v5.1        time_first   exp(u)
//! ```
//!
//! The way back is exact for values that have 16 bits, which are those of the official checkpoints; any other comes
//! back to within the rounding of f32.

use crate::Version;
use half::{bf16, f16};

/// A function that vectors go through before they are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stored {
    /// exp(x)
    Exp,
    /// −exp(x)
    MinusExp,
    /// exp(−exp(x))
    ExpMinusExp,
}

/// What a weight of a version has gone through.
pub(super) fn stored(version: Version, name: &str) -> Option<Stored> {
    match (version, name) {
        (Version::V4, "att.time_decay") => Some(Stored::MinusExp),
        (Version::V5, "att.time_decay") => Some(Stored::ExpMinusExp),
        (Version::V5, "att.time_first") => Some(Stored::Exp),
        _ => None,
    }
}

impl Stored {
    /// The stored value of `x`.
    pub fn store(self, x: f32) -> f32 {
        let exp = f64::from(x).exp();
        let stored = match self {
            Stored::Exp => exp,
            Stored::MinusExp => -exp,
            Stored::ExpMinusExp => (-exp).exp(),
        };
        stored as f32
    }

    /// The value that is stored as `y`. Where many are (a decay that rounds to 0 or 1), one that is finite.
    pub fn restore(self, y: f32) -> f32 {
        let wide = f64::from(y);
        let (x, range) = match self {
            Stored::Exp => (wide.ln(), EXP),
            Stored::MinusExp => ((-wide).ln(), EXP),
            Stored::ExpMinusExp => ((-wide.ln()).ln(), EXP_MINUS_EXP),
        };
        let x = x.clamp(range.0, range.1) as f32;
        // torch's own exponentials may be off by one in the last place.
        let is_stored_so = |x: f32| ulps(self.store(x), y) <= 2;
        let short = [bf16::from_f32(x).to_f32(), f16::from_f32(x).to_f32()];
        if let Some(x) = short.into_iter().find(|&x| is_stored_so(x)) {
            return x;
        }
        let exact = [x, x.next_up(), x.next_down()].into_iter().find(|&x| self.store(x) == y);
        exact.unwrap_or(x)
    }
}

/// Beyond, f32's exponential is 0 or infinite.
const EXP: (f64, f64) = (-104.0, 89.0);
/// Beyond, exp(−exp(x)) is 1 or 0.
const EXP_MINUS_EXP: (f64, f64) = (-18.0, 5.0);

/// How many numbers apart two are, which have the same sign.
fn ulps(a: f32, b: f32) -> u32 {
    a.to_bits().abs_diff(b.to_bits())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Stored; 3] = [Stored::Exp, Stored::MinusExp, Stored::ExpMinusExp];

    /// Decays of real models lie between −10 and 2.
    fn decays() -> impl Iterator<Item = f32> {
        (0..6000).map(|i| i as f32 * 0.002_01 - 10.0)
    }

    #[test]
    fn values_of_16_bits_come_back_exactly() {
        for stored in ALL {
            for x in decays() {
                for x in [bf16::from_f32(x).to_f32(), f16::from_f32(x).to_f32()] {
                    // Another implementation's exponential.
                    for y in [stored.store(x), stored.store(x).next_up(), stored.store(x).next_down()] {
                        let back = stored.restore(y);
                        // Near 1 many decays are stored alike.
                        let alike = stored == Stored::ExpMinusExp && ulps(stored.store(back), y) <= 2;
                        assert!(back == x || alike, "{stored:?} {x}: {back}");
                    }
                }
            }
        }
    }

    #[test]
    fn any_value_comes_back_to_within_rounding() {
        for stored in ALL {
            for x in decays() {
                let y = stored.store(x);
                let again = stored.store(stored.restore(y));
                // Half a unit of x is that much of exp(x), relatively; 1 more for rounding twice.
                let limit = 2 + x.abs() as u32;
                assert!(ulps(again, y) <= limit, "{stored:?} {x}: {y} {again}");
            }
        }
    }

    #[test]
    fn ends_stay_finite_and_mean_the_same() {
        for (stored, ends) in [
            (Stored::Exp, [0.0, f32::INFINITY]),
            (Stored::MinusExp, [-0.0, f32::NEG_INFINITY]),
            (Stored::ExpMinusExp, [0.0, 1.0]),
        ] {
            for y in ends {
                let x = stored.restore(y);
                assert!(x.is_finite() && stored.store(x) == y, "{stored:?} {y}: {x}");
            }
        }
        assert!(Stored::MinusExp.restore(1.0).is_nan());
    }
}
