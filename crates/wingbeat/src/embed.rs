//! Embeddings: a vector for each text, of any number of texts of any length.
//!
//! Texts become sequences of forward calls that never run the head. A call takes as many as there is room for states for;
//! it packs their tokens row by row, whatever their lengths, so that no pass waits for the longest.

use crate::{
    Error, ForwardOptions, Model, ModelError, Output, Progress, Sequence, State, Want, documents::Group,
};

/// What is to be made of the hidden vectors of a text's tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pooling {
    /// The last token's: that of a model that has read all of the text.
    Last,
    /// The mean of all tokens'.
    #[default]
    Mean,
}

/// What an embedding is made of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum EmbeddingOf {
    /// Hidden vectors `(C)` after `ln_out`: what the head sees.
    #[default]
    Hidden,
    /// The residual stream `(C)` after a layer, counted from 0, without a norm. The layers after it are not run.
    Layer(usize),
    /// The state after the text's last token, flattened: its slabs in the order of [`State::slabs`], of each its layers in
    /// order. There is nothing to pool.
    State {
        /// One slab, by name, instead of all.
        slab: Option<String>,
        /// One layer, counted from 0, instead of all.
        layer: Option<usize>,
    },
}

/// How texts are embedded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EmbedOptions {
    /// What an embedding is made of.
    pub of: EmbeddingOf,
    /// How a text's hidden vectors become one.
    pub pooling: Pooling,
    /// Scale every embedding to length 1 (L2); one of zeros stays as it is.
    pub normalize: bool,
    /// Texts under way at once at most; by default as many as have room. It changes the time, and nothing else.
    pub batch_texts: Option<usize>,
}

/// Embeddings of some texts: a matrix `(B, width)`, a row a text, in their order.
#[derive(Clone, Debug, PartialEq)]
pub struct Embeddings {
    width: usize,
    values: Vec<f32>,
}

impl Embeddings {
    /// Embeddings `(B, width)` of values that are there, row-major; none where they are no whole rows.
    pub fn from_values(width: usize, values: Vec<f32>) -> Option<Embeddings> {
        (width > 0 && values.len().is_multiple_of(width)).then_some(Embeddings { width, values })
    }

    /// How many texts: `B`.
    pub fn n_texts(&self) -> usize {
        self.values.len() / self.width
    }

    /// Values of one embedding.
    pub fn width(&self) -> usize {
        self.width
    }

    /// All of them, `(B, width)`, row-major.
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// All of them, `(B, width)`, row-major, given away.
    pub fn into_values(self) -> Vec<f32> {
        self.values
    }

    /// The embedding of a text; none where there are not so many.
    pub fn row(&self, text: usize) -> Option<&[f32]> {
        self.values.chunks_exact(self.width).nth(text)
    }

    /// An embedding after the other.
    pub fn rows(&self) -> impl ExactSizeIterator<Item = &[f32]> {
        self.values.chunks_exact(self.width)
    }
}

impl Model {
    /// Embeds texts: any number, of any length; none is cut. `progress` is told of tokens and stops it by returning false.
    ///
    /// On the CPU an embedding does not depend, bit for bit, on the texts beside it; on a GPU it does not but for rounding.
    ///
    /// ```
    /// use wingbeat::{EmbedOptions, Model};
    ///
    /// let demo = concat!(env!("CARGO_MANIFEST_DIR"), "/../../assets/wingbeat-demo-26m-q8_0.gguf");
    /// let model = Model::open(demo)?;
    /// let texts = ["The sea was calm.", "The waves were quiet.", "He paid the bill."];
    /// let options = EmbedOptions { normalize: true, ..EmbedOptions::default() };
    /// let embeddings = model.embed(&texts, &options, &mut |_| true)?;
    /// assert_eq!((embeddings.n_texts(), embeddings.width()), (3, model.config().n_channels));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// A text is empty or has bytes that the vocabulary lacks, there is no such layer or slab, an embedding is not finite,
    /// the device fails, or `progress` stopped it ([`ModelError::Stopped`]).
    pub fn embed(
        &self,
        texts: &[impl AsRef<[u8]>],
        options: &EmbedOptions,
        progress: &mut dyn FnMut(Progress) -> bool,
    ) -> Result<Embeddings, Error> {
        self.embedding_width(&options.of)?;
        self.embed_tokens(&self.encode_all(texts)?, options, progress)
    }

    /// As [`Model::embed`], of texts given as tokens.
    ///
    /// # Errors
    /// As [`Model::embed`], and a token is outside the vocabulary.
    pub fn embed_tokens(
        &self,
        texts: &[impl AsRef<[u32]>],
        options: &EmbedOptions,
        progress: &mut dyn FnMut(Progress) -> bool,
    ) -> Result<Embeddings, Error> {
        let width = self.embedding_width(&options.of)?;
        self.check_texts("text", texts)?;
        let mut values = Vec::new();
        if values.try_reserve_exact(texts.len().saturating_mul(width)).is_err() {
            let (texts, bytes) = (texts.len(), texts.len().saturating_mul(width).saturating_mul(4));
            return Err(Error::NoRoomForEmbeddings { texts, bytes });
        }
        let want = match (&options.of, options.pooling) {
            (EmbeddingOf::State { .. }, _) => Want::NOTHING,
            (_, Pooling::Last) => Want::LAST_HIDDEN,
            (_, Pooling::Mean) => Want::MEAN_HIDDEN,
        };
        let n_layers = match options.of {
            EmbeddingOf::Layer(layer) => Some(layer + 1),
            _ => None,
        };
        let options_of_call = ForwardOptions { n_layers, rows_alike: true };
        let zero = self.new_state()?;
        let mut outputs = Vec::new();
        for group in self.groups(texts, options.batch_texts) {
            let states = self.run_group(&zero, &group, want, options_of_call, &mut outputs, progress)?;
            for (state, output) in states.iter().zip(&outputs) {
                let start = values.len();
                let vector = vector_of(&options.of, options.pooling, state, output, &mut values);
                vector?;
                let text = start / width;
                finish(&mut values[start..], options.normalize, text)?;
            }
        }
        Ok(Embeddings { width, values })
    }

    /// Values of an embedding of this kind.
    ///
    /// # Errors
    /// There is no such layer or slab.
    pub fn embedding_width(&self, of: &EmbeddingOf) -> Result<usize, Error> {
        let (n_layers, slabs) = (self.config().n_layers, &self.state_layout().slabs);
        let layer = match of {
            EmbeddingOf::Hidden => None,
            EmbeddingOf::Layer(layer) => Some(*layer),
            EmbeddingOf::State { layer, .. } => *layer,
        };
        if let Some(layer) = layer.filter(|layer| *layer >= n_layers) {
            return Err(Error::NoLayer { layer, n_layers });
        }
        let EmbeddingOf::State { slab, layer } = of else { return Ok(self.config().n_channels) };
        if let Some(name) = slab {
            self.slab_index(name)?;
        }
        let chosen = slabs.iter().filter(|spec| slab.as_ref().is_none_or(|name| spec.name == name));
        Ok(chosen.map(|spec| if layer.is_some() { spec.layer_len() } else { spec.len() }).sum())
    }

    /// Runs a group of texts from a state; what they want is in `outputs`. Returns their states.
    pub(crate) fn run_group(
        &self,
        from: &State,
        group: &Group<'_>,
        want: Want,
        options: ForwardOptions,
        outputs: &mut Vec<Output>,
        progress: &mut dyn FnMut(Progress) -> bool,
    ) -> Result<Vec<State>, Error> {
        let mut states = from.fork_many(group.texts.len())?;
        let mut sequences: Vec<Sequence<'_>> = (states.iter_mut().zip(&group.texts))
            .map(|(state, tokens)| Sequence { state, tokens, want })
            .collect();
        self.run_sequences(&mut sequences, group, options, outputs, progress)?;
        Ok(states)
    }

    /// Runs a group's sequences; `progress` is told of the tokens of all groups.
    pub(crate) fn run_sequences(
        &self,
        sequences: &mut [Sequence<'_>],
        group: &Group<'_>,
        options: ForwardOptions,
        outputs: &mut Vec<Output>,
        progress: &mut dyn FnMut(Progress) -> bool,
    ) -> Result<(), Error> {
        let (before, total) = (group.tokens_before, group.tokens_in_all);
        let result = self.forward_as(sequences, options, outputs, &mut |now| {
            // The last call of all has nothing left to stop.
            progress(Progress { done: before + now.done, total }) || before + now.done == total
        });
        match result {
            Err(Error::Model(ModelError::Stopped { done, .. })) => {
                Err(ModelError::Stopped { done: before + done, total }.into())
            }
            result => result,
        }
    }
}

/// Appends what a text's embedding is made of.
fn vector_of(
    of: &EmbeddingOf,
    pooling: Pooling,
    state: &State,
    output: &Output,
    values: &mut Vec<f32>,
) -> Result<(), Error> {
    let EmbeddingOf::State { slab, layer } = of else {
        values.extend_from_slice(if pooling == Pooling::Last { &output.hidden } else { &output.mean });
        return Ok(());
    };
    let slabs = match slab {
        Some(name) => vec![state.read(name)?],
        None => state.read_all()?,
    };
    for slab in slabs {
        let len = slab.values.len() / slab.shape.first().copied().unwrap_or(1).max(1);
        match layer {
            Some(layer) => values.extend_from_slice(&slab.values[layer * len..][..len]),
            None => values.extend_from_slice(&slab.values),
        }
    }
    Ok(())
}

/// Checks and scales the embedding of a text.
fn finish(values: &mut [f32], normalize: bool, text: usize) -> Result<(), Error> {
    if let Some(index) = values.iter().position(|value| !value.is_finite()) {
        return Err(Error::NotFinite { text, index, value: values[index] });
    }
    if normalize {
        let length = values.iter().map(|&value| f64::from(value).powi(2)).sum::<f64>().sqrt();
        if length > 0.0 {
            values.iter_mut().for_each(|value| *value = (f64::from(*value) / length) as f32);
        }
    }
    Ok(())
}
