//! Which instructions this processor has, found once at run time.

use std::fmt;

/// A set of kernels, by the instructions they use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Level {
    /// Portable Rust.
    Scalar,
    /// 64-bit ARM NEON.
    Neon,
    /// The same with the four-way dot product of the feature `dotprod`.
    NeonDot,
    /// x86 AVX2, FMA and F16C.
    Avx2,
    /// The same with AVX-VNNI.
    AvxVnni,
    /// x86 AVX-512 F, BW, DQ and VL with VNNI.
    Avx512,
}

/// All of them, slowest first.
const LEVELS: [Level; 6] =
    [Level::Scalar, Level::Neon, Level::NeonDot, Level::Avx2, Level::AvxVnni, Level::Avx512];

impl Level {
    /// Every level that can run here, slowest first.
    pub fn available() -> Vec<Level> {
        LEVELS.into_iter().filter(|l| l.is_available()).collect()
    }

    /// The fastest level that can run here.
    pub fn best() -> Level {
        Level::available().pop().unwrap_or(Level::Scalar)
    }

    /// Whether this processor has the level's instructions.
    pub fn is_available(self) -> bool {
        match self {
            Level::Scalar => true,
            #[cfg(target_arch = "x86_64")]
            Level::Avx2 => {
                is_x86_feature_detected!("avx2")
                    && is_x86_feature_detected!("fma")
                    && is_x86_feature_detected!("f16c")
            }
            #[cfg(target_arch = "x86_64")]
            Level::AvxVnni => Level::Avx2.is_available() && is_x86_feature_detected!("avxvnni"),
            #[cfg(target_arch = "x86_64")]
            Level::Avx512 => {
                Level::Avx2.is_available()
                    && is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512dq")
                    && is_x86_feature_detected!("avx512vl")
                    && is_x86_feature_detected!("avx512vnni")
            }
            #[cfg(target_arch = "aarch64")]
            Level::Neon => std::arch::is_aarch64_feature_detected!("neon"),
            #[cfg(target_arch = "aarch64")]
            Level::NeonDot => {
                Level::Neon.is_available() && std::arch::is_aarch64_feature_detected!("dotprod")
            }
            #[allow(unreachable_patterns)]
            _ => false,
        }
    }

    /// A level by its name, in any case.
    pub fn parse(name: &str) -> Option<Level> {
        LEVELS.into_iter().find(|level| level.name().eq_ignore_ascii_case(name))
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Level::Scalar => "scalar",
            Level::Neon => "neon",
            Level::NeonDot => "neon-dotprod",
            Level::Avx2 => "avx2",
            Level::AvxVnni => "avx-vnni",
            Level::Avx512 => "avx512",
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
