//! web-rwkv behind a few plain calls: a model on a GPU, sequences that run side by side, their states.
//!
//! Two limits of web-rwkv are kept here, since it does not report them: a chunk in which one sequence has 256 tokens or
//! more leaves a wrong state (its kernels count a sequence's tokens in eight bits), and so do more than 256 sequences.

use std::{collections::HashMap, path::Path, sync::Arc};

use anyhow::{Context as _, Result, bail, ensure};
use half::f16;
use web_rwkv::{
    context::ContextBuilder,
    runtime::{
        TokioRuntime,
        infer::{Rnn, RnnInput, RnnInputBatch, RnnOption},
        loader::Loader,
        model::{Bundle as _, ContextAutoLimits as _, ModelBuilder, ModelVersion, Quant, State},
        v7,
    },
    tensor::{TensorCpu, TensorGpu, TensorShape as _, kind::ReadWrite},
    tokenizer::Tokenizer,
};

/// Sequences that can run side by side, and one more than the tokens that each may have in a chunk.
pub(crate) const MAX_SEQUENCES: usize = 256;

/// What is to be opened, and how.
pub(crate) struct Source<'a> {
    pub(crate) model: &'a Path,
    /// JSON: id → the token's bytes.
    pub(crate) vocabulary: Option<&'a Path>,
    pub(crate) quant: Quant,
    /// Software that acts as a GPU will do, too.
    pub(crate) any_adapter: bool,
    pub(crate) n_threads: usize,
}

/// A model on a GPU.
pub(crate) struct Engine {
    pub(crate) tokenizer: Option<Tokenizer>,
    /// The GPU's name.
    pub(crate) adapter: String,
    model: v7::Model,
    tokio: Arc<tokio::runtime::Runtime>,
}

impl Engine {
    pub(crate) fn open(source: &Source<'_>) -> Result<Engine> {
        // Commands are recorded on one thread while another waits for the GPU.
        let tokio =
            tokio::runtime::Builder::new_multi_thread().worker_threads(source.n_threads.max(2)).build();
        let tokio = Arc::new(tokio.context("web-rwkv's threads")?);
        let (model, adapter) = tokio.block_on(load(source))?;
        let tokenizer = source.vocabulary.map(vocabulary).transpose()?;
        Ok(Engine { tokenizer, adapter, model, tokio })
    }

    /// V, the number of tokens that the model knows.
    pub(crate) fn n_vocab(&self) -> usize {
        self.model.info.num_vocab
    }

    /// Room for `n` sequences, at most [`MAX_SEQUENCES`], with fresh states.
    pub(crate) fn sequences(&self, n: usize) -> Result<Sequences> {
        ensure!((1..=MAX_SEQUENCES).contains(&n), "{n} sequences: web-rwkv has 1 to {MAX_SEQUENCES}");
        let bundle = v7::Bundle::<f16>::new(self.model.clone(), n);
        let state: Box<dyn State + Send + Sync> = Box::new(bundle.state());
        let zero = Saved { host: state.init(), device: state.read(0)? };
        let runtime = self.tokio.block_on(TokioRuntime::new(bundle));
        Ok(Sequences { state, zero, runtime, n_vocab: self.n_vocab(), tokio: self.tokio.clone() })
    }
}

/// The model's weights on the GPU, and the GPU's name.
async fn load(source: &Source<'_>) -> Result<(v7::Model, String)> {
    let name = source.model.display();
    let file = std::fs::File::open(source.model).with_context(|| format!("{name}"))?;
    // SAFETY: nobody changes the file that is measured.
    let bytes = unsafe { memmap2::Mmap::map(&file) }.with_context(|| format!("{name}"))?;
    let tensors = safetensors::SafeTensors::deserialize(&bytes).with_context(|| format!("{name}"))?;
    let info = Loader::info(&tensors).with_context(|| format!("{name}"))?;
    ensure!(info.version == ModelVersion::V7, "{name}: not RWKV-7, which is what this program measures");
    let adapter = adapter(source.any_adapter).await?;
    let adapter_name = adapter.get_info().name;
    let context = ContextBuilder::new(adapter).auto_limits(&info).build().await;
    let context = context.with_context(|| adapter_name.clone())?;
    let quant: HashMap<usize, Quant> = (0..info.num_layer).map(|layer| (layer, source.quant)).collect();
    let model = ModelBuilder::new(&context, tensors).quant(quant).build_v7().await;
    Ok((model.with_context(|| format!("{name}"))?, adapter_name))
}

/// The first GPU that Vulkan has; with `any`, also the processor in a GPU's place.
async fn adapter(any: bool) -> Result<wgpu::Adapter> {
    let mut instance = wgpu::InstanceDescriptor::new_without_display_handle();
    instance.backends = wgpu::Backends::VULKAN;
    let adapters = wgpu::Instance::new(instance).enumerate_adapters(wgpu::Backends::VULKAN).await;
    let seen: Vec<String> = adapters.iter().map(|adapter| adapter.get_info().name).collect();
    let wanted = |adapter: &wgpu::Adapter| any || adapter.get_info().device_type != wgpu::DeviceType::Cpu;
    match adapters.into_iter().find(wanted) {
        Some(adapter) => Ok(adapter),
        None if seen.is_empty() => bail!("no GPU: Vulkan (libvulkan.so.1 and a driver) is not there"),
        None => bail!("no GPU: Vulkan has only {}", seen.join(", ")),
    }
}

fn vocabulary(path: &Path) -> Result<Tokenizer> {
    let name = path.display();
    let json = std::fs::read_to_string(path).with_context(|| format!("{name}"))?;
    Tokenizer::new(&json).with_context(|| format!("{name}"))
}

/// Where a state lies that sequences are to go on from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Side {
    Host,
    Device,
}

/// A state on both sides.
struct Saved {
    host: TensorCpu<f32>,
    device: TensorGpu<f32, ReadWrite>,
}

/// The logits of a sequence's last token.
#[derive(Clone)]
pub(crate) struct Logits {
    values: TensorCpu<f32>,
    n_vocab: usize,
}

impl Logits {
    /// (V).
    pub(crate) fn values(&self) -> &[f32] {
        // What follows the vocabulary is padding.
        let all = self.values.data();
        all.get(..self.n_vocab).unwrap_or(all)
    }
}

/// Sequences that run side by side, each with a state on the GPU.
pub(crate) struct Sequences {
    state: Box<dyn State + Send + Sync>,
    zero: Saved,
    runtime: TokioRuntime<Rnn>,
    n_vocab: usize,
    tokio: Arc<tokio::runtime::Runtime>,
}

impl Sequences {
    /// Fresh states for all.
    pub(crate) fn clear(&self, from: Side) -> Result<()> {
        (0..self.state.num_batch()).try_for_each(|i| match from {
            Side::Host => Ok(self.state.load(self.zero.host.clone(), i)?),
            Side::Device => Ok(self.state.write(self.zero.device.clone(), i)?),
        })
    }

    /// Sets all states to one that the caller holds: each from there, or the first, and the others from the first.
    pub(crate) fn set(&self, state: &TensorCpu<f32>, from: Side) -> Result<()> {
        if from == Side::Host {
            return (0..self.state.num_batch()).try_for_each(|i| Ok(self.state.load(state.clone(), i)?));
        }
        self.state.load(state.clone(), 0)?;
        let device = self.state.read(0)?;
        (1..self.state.num_batch()).try_for_each(|i| Ok(self.state.write(device.clone(), i)?))
    }

    /// The whole state of the first sequence, in the caller's memory.
    pub(crate) fn state(&self) -> Result<TensorCpu<f32>> {
        Ok(self.tokio.block_on(self.state.back(0))?)
    }

    /// Runs the next tokens of every sequence, `chunk` at a time of all together; the logits of each one's last token.
    pub(crate) fn feed(&self, tokens: &[Vec<u32>], chunk: usize) -> Result<Vec<Logits>> {
        let mut last: Vec<Option<Logits>> = tokens.iter().map(|_| None).collect();
        self.run(tokens, chunk, RnnOption::Last, |sequence, values| {
            if let Some(last) = last.get_mut(sequence) {
                *last = Some(Logits { values, n_vocab: self.n_vocab });
            }
        })?;
        let missing = || "web-rwkv gave no logits for a sequence";
        last.into_iter().map(|logits| logits.with_context(missing)).collect()
    }

    /// Runs the first sequence's next tokens; the logits (T, V) of all of them.
    pub(crate) fn feed_all(&self, tokens: Vec<u32>, chunk: usize) -> Result<Vec<f32>> {
        let n_tokens = tokens.len();
        let mut all = Vec::with_capacity(n_tokens * self.n_vocab);
        self.run(&[tokens], chunk, RnnOption::Full, |_, values| {
            let padded = values.shape()[0].max(1);
            values.data().chunks(padded).for_each(|row| all.extend(row.iter().take(self.n_vocab)));
        })?;
        ensure!(
            all.len() == n_tokens * self.n_vocab,
            "web-rwkv gave {} logits of {n_tokens} tokens",
            all.len()
        );
        Ok(all)
    }

    /// Gives `each` what the chunks' outputs have of each sequence.
    fn run(
        &self,
        tokens: &[Vec<u32>],
        chunk: usize,
        option: RnnOption,
        mut each: impl FnMut(usize, TensorCpu<f32>),
    ) -> Result<()> {
        let known = |&token: &u32| (token as usize) < self.n_vocab;
        if let Some(token) = tokens.iter().flatten().find(|token| !known(token)) {
            bail!("token {token}: the model knows {}", self.n_vocab);
        }
        let batches = tokens.iter().map(|tokens| RnnInputBatch::new(tokens.clone(), option)).collect();
        let mut input = RnnInput::new(batches, chunk);
        while input.num_token() > 0 {
            let (rest, output) = self.tokio.block_on(self.runtime.infer(input))?;
            input = rest;
            for (sequence, values) in output.0.into_iter().enumerate() {
                if !values.0.is_empty() {
                    each(sequence, values.0);
                }
            }
        }
        Ok(())
    }
}
