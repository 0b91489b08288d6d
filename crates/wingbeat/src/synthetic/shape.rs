//! The dimensions of synthetic models: the official ones, and any others.

use super::weights;
use crate::Error;
use std::ops::RangeInclusive;

/// `N` of every RWKV-7 model there is.
pub(super) const HEAD_SIZE: usize = 64;

/// Dimensions of an RWKV-7 model: heads of 64, a channel mix of four times the channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// `L`.
    pub n_layers: usize,
    /// `C`, a multiple of 64.
    pub n_channels: usize,
    /// `V`; 65536 is the World vocabulary, other models are written without one.
    pub n_vocab: usize,
    /// Low ranks of decay (`w`), learning rate (`a`), value residual (`v`) and gate (`g`).
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

    /// The named shapes, by what people call them.
    pub const NAMED: [(&'static str, Shape); 6] = [
        ("tiny", Shape::TINY),
        ("0.1b", Shape::B0_1),
        ("0.4b", Shape::B0_4),
        ("1.5b", Shape::B1_5),
        ("2.9b", Shape::B2_9),
        ("7.2b", Shape::B7_2),
    ];

    const fn world(n_layers: usize, n_channels: usize, low_ranks: [usize; 4]) -> Shape {
        Shape { n_layers, n_channels, n_vocab: WORLD_VOCAB, low_ranks }
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
        self.low_ranks.iter().try_for_each(|&rank| within("low rank", rank, 1..=self.n_channels))
    }
}
