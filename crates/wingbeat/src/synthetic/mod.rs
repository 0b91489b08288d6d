//! Models with random weights at the official shapes: to measure and to test with, where no trained model is at hand.
//!
//! A synthetic model costs what a trained one costs: its file has the same tensors in the same layout, its activations
//! stay finite over any length, and the hidden vector of its channel mix is as sparse as trained models have it. What
//! it says is noise. It is written by the writers that [`convert`](mod@crate::convert) uses, some megabytes at a time;
//! everything follows from the seed.
//!
//! The channel mix of RWKV-7 squares what is above zero, and trained models are above zero in about a tenth of
//! the hidden vector only; engines skip the rest. With plain random weights it would be a half. So `ln2.bias` has a
//! constant part, which reaches the channel mix unchanged whatever the tokens, and every row of `ffn.key` leans against
//! it as far as [`SyntheticModel::zeros`] asks for.

mod random;
mod shape;
mod weights;

pub use shape::Shape;

use crate::{
    Error,
    convert::{Converted, Job, Mix, Target},
};
use std::path::Path;
use weights::Weights;

/// A model to be written. Equal settings give equal bytes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SyntheticModel {
    /// Its dimensions.
    pub shape: Shape,
    /// Everything random follows from it.
    pub seed: u64,
    /// The fraction of exact zeros in the hidden vectors of the channel mix, from 0.5 (plain random weights) to 0.99.
    pub zeros: f64,
    /// The types of the matrices. As in converted files, vectors and low-rank matrices keep more bits.
    pub mix: Mix,
}

impl SyntheticModel {
    /// About what trained models have, averaged over layers and text.
    pub const TRAINED_ZEROS: f64 = 0.9;

    /// A model of that shape in F16, seed 0, as sparse as trained ones.
    pub fn new(shape: Shape) -> SyntheticModel {
        SyntheticModel { shape, seed: 0, zeros: SyntheticModel::TRAINED_ZEROS, mix: Mix::F16 }
    }

    /// Writes it as GGUF, as llama.cpp's converter lays one out, with the World vocabulary if it has 65536 tokens.
    ///
    /// The file is written under a temporary name and renamed when complete. `progress(done, total)` counts tensors and
    /// stops by returning false.
    ///
    /// # Errors
    /// A setting is out of range, the file cannot be written, or `progress` stopped it.
    pub fn write_gguf(
        &self,
        path: impl AsRef<Path>,
        progress: &mut dyn FnMut(usize, usize) -> bool,
    ) -> Result<Converted, Error> {
        self.write(path.as_ref(), Target::Gguf, progress)
    }

    /// Writes it as safetensors with the official names; otherwise as [`SyntheticModel::write_gguf`].
    ///
    /// # Errors
    /// As [`SyntheticModel::write_gguf`], and the mix has a type that safetensors has not.
    pub fn write_safetensors(
        &self,
        path: impl AsRef<Path>,
        progress: &mut dyn FnMut(usize, usize) -> bool,
    ) -> Result<Converted, Error> {
        self.write(path.as_ref(), Target::Safetensors, progress)
    }

    fn write(
        &self,
        target: &Path,
        format: Target,
        progress: &mut dyn FnMut(usize, usize) -> bool,
    ) -> Result<Converted, Error> {
        self.shape.check()?;
        // Written so that NaN is refused too.
        if !(0.5..=0.99).contains(&self.zeros) {
            return Err(Error::Synthetic {
                what: "zeros",
                expected: "0.5 to 0.99".to_owned(),
                found: self.zeros.to_string(),
            });
        }
        let weights = Weights::new(self);
        let job = Job {
            source: None,
            content: &weights,
            target,
            config: weights.config(),
            weights: weights.list(),
            vocabulary: None,
            replaces_vocabulary: false,
            mix: Some(self.mix),
            plan: None,
        };
        job.write(format, progress)
    }
}

#[cfg(test)]
mod tests;
