//! What the columns of each matrix count when it is quantized: how large the values are that they are multiplied with.
//!
//! A product's error is the sum over the columns of weight error times input, and so its square is, on average and for inputs
//! that do not depend on each other, the sum of squared weight errors times the mean squares of the inputs. Those are
//! gathered while the model reads a text.

mod imatrix;

use crate::{Error, model::make_tokenizer};
use std::{collections::HashMap, path::PathBuf, sync::Arc};
use wingbeat_cpu::{CpuBackend, CpuOptions, InputSquares};
use wingbeat_format::ModelFile;
use wingbeat_model::{ForwardOptions, ModelError, Progress, Sequence, Version, Want};
use wingbeat_tokenizer::Vocabulary;

/// Tokens read at once, and between two calls of `progress`.
const CHUNK_TOKENS: usize = 512;
/// What a column counts at least, a part of the mean: one that saw no input in this text may see some in another.
const LEAST: f64 = 1e-3;

/// For each matrix the mean square of its input, column by column.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Importance {
    /// By the official name.
    squares: HashMap<String, Vec<f32>>,
    n_tokens: usize,
}

impl Importance {
    /// Lets a model read a text on the CPU, at most `max_tokens` of it, from the zero state. `vocabulary` takes
    /// the place of the model's own one. `progress` may stop it by returning false.
    ///
    /// # Errors
    /// The file is no model that can be run, it has no vocabulary and none is given, the text is empty or has bytes that the
    /// vocabulary lacks, the model's inputs are not finite, or `progress` stopped it.
    pub fn of_text(
        file: &ModelFile,
        vocabulary: Option<&Vocabulary>,
        text: &[u8],
        max_tokens: Option<usize>,
        progress: &mut dyn FnMut(Progress) -> bool,
    ) -> Result<Importance, Error> {
        let config = Version::detect(file)?.config(file)?;
        let given = vocabulary.map(|vocabulary| (PathBuf::from("the vocabulary"), vocabulary.clone()));
        let mut tokens = make_tokenizer(file, config.n_vocab, given.as_ref())?.encode(text)?;
        tokens.truncate(max_tokens.unwrap_or(usize::MAX));
        if tokens.is_empty() {
            return Err(Error::EmptyText);
        }
        // What a model sees at the beginning of a text.
        tokens.insert(0, 0);
        let inputs = Arc::new(InputSquares::default());
        let backend = CpuBackend::new(CpuOptions::default())?.noting(inputs.clone());
        let forward = Version::load(file, &backend)?;
        let mut state = wingbeat_backend::Backend::state(&backend, forward.state_layout())?;
        let (total, mut done) = (tokens.len(), 0);
        for chunk in tokens.chunks(CHUNK_TOKENS) {
            // All logits: the head's inputs count too.
            let sequence = Sequence { state: &mut state, tokens: chunk, want: Want::ALL_LOGITS, taken: 0 };
            let options = ForwardOptions::default();
            forward.run(&backend, &mut [sequence], options, &mut Vec::new(), &mut |_| true)?;
            done += chunk.len();
            if !progress(Progress { done, total }) && done < total {
                return Err(ModelError::Stopped { done, total }.into());
            }
        }
        file.check_intact()?;
        let single = |means: Vec<f64>| means.into_iter().map(|mean| mean as f32).collect();
        let squares = inputs.means().into_iter().map(|(name, means)| (name, single(means))).collect();
        Importance::checked(squares, total)
            .map_err(|matrix| Error::CalibrationNotFinite { model: file.label().to_owned(), matrix })
    }

    /// Of mean squares by official names; or the name of a matrix with one that is no finite number, or below 0.
    fn checked(squares: HashMap<String, Vec<f32>>, n_tokens: usize) -> Result<Importance, String> {
        match squares.iter().find(|(_, squares)| squares.iter().any(|x| !x.is_finite() || *x < 0.0)) {
            Some((name, _)) => Err(name.clone()),
            None => Ok(Importance { squares, n_tokens }),
        }
    }

    /// Of a matrix, by its official name: what the squared errors in each column count, in units of their mean.
    pub fn columns(&self, name: &str) -> Option<Vec<f32>> {
        let squares = self.squares.get(name)?;
        let mean = squares.iter().map(|&x| f64::from(x)).sum::<f64>() / squares.len().max(1) as f64;
        let of = |x: &f32| if mean > 0.0 { (f64::from(*x) / mean).max(LEAST) as f32 } else { 1.0 };
        Some(squares.iter().map(of).collect())
    }

    /// Tokens that it was gathered over.
    pub fn n_tokens(&self) -> usize {
        self.n_tokens
    }
}

#[cfg(test)]
mod tests;
