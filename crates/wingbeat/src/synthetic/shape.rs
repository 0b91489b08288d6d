//! The dimensions of synthetic models: the official ones, and any others.

use super::weights;
use crate::Error;
use std::ops::RangeInclusive;
use wingbeat_model::Version;

/// `N` of every model with heads there is.
pub(super) const HEAD_SIZE: usize = 64;

/// Dimensions of a model: heads of 64, a channel mix of four times the channels, three and a half times in RWKV-5 and
/// RWKV-6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// The version; RWKV-5 is 5.2.
    pub version: Version,
    /// `L`.
    pub n_layers: usize,
    /// `C`, a multiple of 64.
    pub n_channels: usize,
    /// `V`; 65536 is the World vocabulary, other models are written without one.
    pub n_vocab: usize,
    /// Low ranks of decay (`w`), learning rate (`a`), value residual (`v`) and gate (`g`); in RWKV-6 of the mixes and the
    /// decay, then nothing; older versions have none.
    pub low_ranks: [usize; 4],
}

/// The World vocabulary, padded.
const WORLD_VOCAB: usize = 65536;

impl Shape {
    /// For trying things: 3 layers of 128 channels, 17 million parameters, nearly all of them vocabulary.
    pub const TINY: Shape = Shape::world(3, 128, [32, 32, 32, 64]);
    /// 191 million parameters.
    pub const B0_1: Shape = Shape::world(12, 768, [64, 64, 32, 128]);
    /// 451 million parameters.
    pub const B0_4: Shape = Shape::world(24, 1024, [64, 64, 32, 128]);
    /// 1527 million parameters.
    pub const B1_5: Shape = Shape::world(24, 2048, [96, 96, 64, 256]);
    /// 2948 million parameters.
    pub const B2_9: Shape = Shape::world(32, 2560, [96, 96, 64, 320]);
    /// 7200 million parameters. The low ranks are those of the official training code's rule for this width.
    pub const B7_2: Shape = Shape::world(32, 4096, [128, 128, 96, 480]);

    /// RWKV-6, 1600 million parameters.
    pub const V6_1_6B: Shape = Shape { version: Version::V6, ..Shape::world(24, 2048, [32, 64, 0, 0]) };
    /// RWKV-5.2, 1577 million parameters.
    pub const V5_1_5B: Shape = Shape { version: Version::V5, ..Shape::world(24, 2048, [0; 4]) };
    /// RWKV-4 with the World vocabulary, 1578 million parameters.
    pub const V4_1_5B: Shape = Shape { version: Version::V4, ..Shape::world(24, 2048, [0; 4]) };
    /// RWKV-6 at the width of RWKV-7's smallest.
    pub const V6_0_1B: Shape = Shape { version: Version::V6, ..Shape::world(12, 768, [32, 64, 0, 0]) };

    /// The named shapes, by what people call them.
    pub const NAMED: [(&'static str, Shape); 10] = [
        ("tiny", Shape::TINY),
        ("0.1b", Shape::B0_1),
        ("0.4b", Shape::B0_4),
        ("1.5b", Shape::B1_5),
        ("2.9b", Shape::B2_9),
        ("7.2b", Shape::B7_2),
        ("v6-0.1b", Shape::V6_0_1B),
        ("v6-1.6b", Shape::V6_1_6B),
        ("v5-1.5b", Shape::V5_1_5B),
        ("v4-1.5b", Shape::V4_1_5B),
    ];

    const fn world(n_layers: usize, n_channels: usize, low_ranks: [usize; 4]) -> Shape {
        Shape { version: Version::V7, n_layers, n_channels, n_vocab: WORLD_VOCAB, low_ranks }
    }

    /// The shape of that name, in upper or lower case.
    pub fn by_name(name: &str) -> Option<Shape> {
        Shape::NAMED.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, shape)| *shape)
    }

    /// Its name, or layers and channels: `2x128`.
    pub fn name(&self) -> String {
        Shape::NAMED
            .iter()
            .find(|(_, shape)| shape == self)
            .map_or_else(|| format!("{}x{}", self.n_layers, self.n_channels), |(name, _)| (*name).to_owned())
    }

    /// How many values all weights have.
    ///
    /// # Errors
    /// A dimension is out of range.
    pub fn n_parameters(&self) -> Result<u64, Error> {
        self.check()?;
        Ok(weights::shapes(&weights::config(self, String::new()))
            .map(|(_, _, shape)| shape.iter().map(|&n| n as u64).product::<u64>())
            .sum())
    }

    /// Limits that no sensible model meets and that keep every product of dimensions far from overflow.
    pub(super) fn check(&self) -> Result<(), Error> {
        let within = |what, found: usize, range: RangeInclusive<usize>| {
            if range.contains(&found) {
                return Ok(());
            }
            let expected = format!("{} to {}", range.start(), range.end());
            Err(Error::Synthetic { what, expected, found: found.to_string() })
        };
        within("layers", self.n_layers, 1..=512)?;
        within("channels", self.n_channels, HEAD_SIZE..=32768)?;
        if !self.n_channels.is_multiple_of(HEAD_SIZE) {
            return Err(Error::Synthetic {
                what: "channels",
                expected: format!("a multiple of {HEAD_SIZE}"),
                found: self.n_channels.to_string(),
            });
        }
        within("vocabulary", self.n_vocab, 1..=1 << 20)?;
        let n_ranks = weights::RANKS.iter().find(|(version, _)| *version == self.version);
        let n_ranks = n_ranks.map_or(0, |(_, letters)| letters.len());
        self.low_ranks
            .iter()
            .take(n_ranks)
            .try_for_each(|&rank| within("low rank", rank, 1..=self.n_channels))
    }
}
