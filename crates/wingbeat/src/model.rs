//! A model: a file on a device, with its vocabulary.

use crate::{
    Adapter, Device, Error, Session, State,
    adapter::{Merged, merge},
    chat::{TEMPLATES, Template},
    engine::{AnySequence, Engine, On},
    fingerprint::fingerprint,
    sampler::SamplerConfig,
    state::{has_tuned_state, tuned_state},
    timeline::{Step, Timeline},
};
use smallvec::SmallVec;
use std::{
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
};
use wingbeat_backend::{KernelTime, StateLayout, reference::Reference};
use wingbeat_cpu::{CpuBackend, CpuOptions};
use wingbeat_format::{Array, DType, ModelFile};
use wingbeat_gpu::{AdapterSummary, GpuBackend, GpuError, GpuOptions};
use wingbeat_model::{Catalog, Config, ForwardOptions, ModelError, Output, Progress, Want};
use wingbeat_tokenizer::{Tokenizer, Vocabulary};

/// Vocabulary size of the World models: ids 0 to 65529, padded.
const WORLD_VOCAB: usize = 65536;
/// Where our safetensors files keep a vocabulary, in the official text form; a folder's vocabulary file becomes it.
pub(crate) const SAFETENSORS_VOCABULARY: &str = wingbeat_format::VOCABULARY_KEY;

/// How a model is opened.
#[derive(Clone, Debug, Default)]
pub struct ModelOptions {
    /// Where it runs.
    pub device: Device,
    /// A vocabulary file in the official text format, instead of the file's own or the World one.
    pub vocabulary: Option<PathBuf>,
    /// LoRA adapters, merged into the weights one after the other.
    pub adapters: Vec<Adapter>,
}

/// An RWKV model, ready to run. Cloning it shares it.
#[derive(Clone)]
pub struct Model {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) file: ModelFile,
    pub(crate) engine: Box<dyn Engine>,
    notes: Vec<String>,
    given_vocabulary: Option<(PathBuf, Vocabulary)>,
    tokenizer: OnceLock<Tokenizer>,
    fingerprint: OnceLock<String>,
    timeline: Timeline,
    /// What a state begins with where the file says so: a slab's number and its values.
    tuned: Option<(usize, Vec<f32>)>,
}

/// One sequence of a [`Model::forward`] call.
pub struct Sequence<'a> {
    /// Its state, moved on by the tokens.
    pub state: &'a mut State,
    /// Its next tokens, one or many; none is allowed and does nothing.
    pub tokens: &'a [u32],
    /// What it wants back.
    pub want: Want,
}

impl Model {
    /// Opens a model file (GGUF, safetensors or .pth, found by its content) on the GPU, where there is one with room for
    /// it, else on the CPU.
    ///
    /// # Errors
    /// The file cannot be read, is damaged, or is no model that can be run.
    pub fn open(path: impl AsRef<Path>) -> Result<Model, Error> {
        Model::open_with(path, &ModelOptions::default())
    }

    /// Opens a model file.
    ///
    /// # Errors
    /// As [`Model::open`], and the device or the vocabulary given cannot be had.
    pub fn open_with(path: impl AsRef<Path>, options: &ModelOptions) -> Result<Model, Error> {
        let timeline = Timeline::new();
        let file = timeline.step("map and header", || ModelFile::open(path))?;
        Model::make(file, options, timeline)
    }

    /// The demo model that comes with Wingbeat: 26 million parameters, trained on public-domain novels.
    ///
    /// # Errors
    /// The device or the vocabulary given cannot be had.
    #[cfg(feature = "demo")]
    pub fn demo(options: &ModelOptions) -> Result<Model, Error> {
        Model::from_file(demo_file()?, options)
    }

    /// Makes a model of a file that is open already.
    ///
    /// # Errors
    /// As [`Model::open_with`].
    pub fn from_file(file: ModelFile, options: &ModelOptions) -> Result<Model, Error> {
        Model::make(file, options, Timeline::new())
    }

    fn make(file: ModelFile, options: &ModelOptions, timeline: Timeline) -> Result<Model, Error> {
        let given_vocabulary = match &options.vocabulary {
            Some(path) => Some((path.clone(), timeline.step("vocabulary file", || read_vocabulary(path))?)),
            None => None,
        };
        let mut catalog = Catalog::open(&file)?;
        let merged = match options.adapters.is_empty() {
            true => Merged::default(),
            false => timeline.step("adapters", || merge(&mut catalog, &options.adapters))?,
        };
        let n_vocab = catalog.config().n_vocab;
        // Weights and vocabulary have nothing to do with each other.
        let (engine, tokenizer) = std::thread::scope(|scope| {
            let vocabulary =
                || timeline.step("vocabulary", || make_tokenizer(&file, n_vocab, given_vocabulary.as_ref()));
            let vocabulary = std::thread::Builder::new().spawn_scoped(scope, vocabulary);
            let engine = load_engine(&catalog, &options.device, &timeline);
            // What is wrong with the vocabulary is said when it is asked for: much can be done without.
            (engine, vocabulary.ok().and_then(|thread| thread.join().ok()).and_then(Result::ok))
        });
        let (engine, mut notes) = engine?;
        notes.extend(merged.notes);
        let with_state = merged.tuned.as_ref().or_else(|| has_tuned_state(&file).then_some(&file));
        let tuned = match with_state {
            Some(file) => Some(tuned_state(file, engine.state_layout(), engine.config().version.name())?),
            None => None,
        };
        if let Some(file) = with_state {
            notes.push(format!("{}: has a tuned state, with which every text begins", file.label()));
        }
        let fingerprint = OnceLock::new();
        // Of the weights as they were merged, which a device need not keep a second time.
        if !options.adapters.is_empty() {
            fingerprint.get_or_init(|| digest(&catalog, tuned.as_ref()));
        }
        file.check_intact()?;
        let tokenizer = tokenizer.map_or_else(OnceLock::new, OnceLock::from);
        let inner = Inner { file, engine, notes, given_vocabulary, tokenizer, fingerprint, timeline, tuned };
        Ok(Model { inner: Arc::new(inner) })
    }

    /// Where the time of opening went.
    pub fn timeline(&self) -> Vec<Step> {
        self.inner.timeline.steps()
    }

    /// The file.
    pub fn file(&self) -> &ModelFile {
        &self.inner.file
    }

    /// The dimensions.
    pub fn config(&self) -> &Config {
        self.inner.engine.config()
    }

    /// The shape of a state: its slabs.
    pub fn state_layout(&self) -> &StateLayout {
        self.inner.engine.state_layout()
    }

    /// The device in words, e.g. `CPU (avx512, 2 threads)`.
    pub fn device(&self) -> String {
        self.inner.engine.describe()
    }

    /// What decides the bits of its results, in words: the kernels that its device runs, and whether products are exact. Two
    /// models of one fingerprint that say the same compute the same; on a GPU as far as it repeats itself.
    pub fn arithmetic(&self) -> String {
        self.inner.engine.arithmetic()
    }

    /// What a person should know about how it was loaded, a line each: a device that was passed over, weights that are
    /// kept in another type.
    pub fn notes(&self) -> &[String] {
        &self.inner.notes
    }

    /// Begins (afresh) or ends to measure the time of each kernel on the device. It costs speed: one kernel runs at a
    /// time, and every pass is waited for.
    ///
    /// # Errors
    /// The device cannot tell; only GPUs with time stamps can.
    pub fn profile(&self, on: bool) -> Result<(), Error> {
        self.inner.engine.profile(on)
    }

    /// The times since [`Model::profile`], the longest first.
    pub fn kernel_times(&self) -> Vec<KernelTime> {
        self.inner.engine.kernel_times()
    }

    /// Bytes a second at which the device's kernels can read its memory, measured now; none where it cannot tell (CPUs).
    pub fn read_bandwidth(&self) -> Option<f64> {
        self.inner.engine.read_bandwidth()
    }

    /// Operations a second, a multiplication with an addition being two, at which the device can multiply, measured now: in the
    /// arithmetic that it uses for prompts, of weights stored as `dtype`. None where it cannot tell or has no such weights.
    pub fn multiply_rate(&self, dtype: DType) -> Option<f64> {
        self.inner.engine.multiply_rate(dtype)
    }

    /// The GPU that it runs on, if it does.
    pub fn adapter(&self) -> Option<&AdapterSummary> {
        self.inner.engine.adapter()
    }

    /// What tells this model from any other: 32 hexadecimal digits, kept in the files of its states.
    pub fn fingerprint(&self) -> &str {
        self.inner.fingerprint.get_or_init(|| {
            let catalog =
                Catalog::open(&self.inner.file).expect("the catalog was complete when the model was loaded");
            digest(&catalog, self.inner.tuned.as_ref())
        })
    }

    /// The tokenizer: of the vocabulary given, of the file's own, or the World one when there are 65536 tokens.
    ///
    /// # Errors
    /// There is none, it is broken, or it has ids that the model does not have.
    pub fn tokenizer(&self) -> Result<&Tokenizer, Error> {
        match self.inner.tokenizer.get() {
            Some(tokenizer) => Ok(tokenizer),
            None => {
                let given = self.inner.given_vocabulary.as_ref();
                let tokenizer = make_tokenizer(&self.inner.file, self.config().n_vocab, given)?;
                Ok(self.inner.tokenizer.get_or_init(|| tokenizer))
            }
        }
    }

    /// The chat template: the GGUF's, where it names one that is known, else the G1 (World) one.
    pub fn chat_template(&self) -> &'static Template {
        self.inner
            .file
            .metadata()
            .str("tokenizer.chat_template")
            .and_then(Template::by_name)
            .unwrap_or(&TEMPLATES[0])
    }

    /// The state of a model that has read nothing: zeros, or the tuned state in the model's file.
    ///
    /// # Errors
    /// There is no memory for it.
    pub fn new_state(&self) -> Result<State, Error> {
        match &self.inner.tuned {
            Some((slab, values)) => State::beginning_with(self, *slab, values),
            None => State::new(self),
        }
    }

    /// Reads a state that [`State::save`] wrote, or a tuned one (`.pth` or safetensors, with `blocks.N.att.time_state`).
    ///
    /// # Errors
    /// The file is no state, is damaged, has values that are not finite, or is another model's.
    pub fn load_state(&self, path: impl AsRef<Path>) -> Result<State, Error> {
        State::load(self, path.as_ref())
    }

    /// Reads a state from the bytes that [`State::to_bytes`] made: those of its file.
    ///
    /// # Errors
    /// As [`Model::load_state`].
    pub fn state_from_bytes(&self, bytes: &[u8]) -> Result<State, Error> {
        State::from_bytes(self, bytes)
    }

    /// A session from the state of a model that has read nothing.
    ///
    /// # Errors
    /// A sampler setting is out of range, there is no vocabulary, or no memory for a state.
    pub fn session(&self, config: SamplerConfig) -> Result<Session, Error> {
        Session::new(self, self.new_state()?, config)
    }

    /// Moves every sequence on by its tokens and returns what each wants, in order. Any mix of sequences and lengths
    /// gives the same results as running each alone, token by token.
    ///
    /// # Errors
    /// A token is outside the vocabulary or a state is another model's (nothing has been changed then), or the device
    /// fails.
    pub fn forward(&self, sequences: &mut [Sequence<'_>]) -> Result<Vec<Output>, Error> {
        self.forward_with_progress(sequences, &mut |_| true)
    }

    /// As [`Model::forward`]; `progress` is called after every pass of some tens or hundreds of tokens, and stops the
    /// call by returning false.
    ///
    /// # Errors
    /// As [`Model::forward`], and [`ModelError::Stopped`](crate::ModelError::Stopped): the states hold the tokens done
    /// so far then.
    pub fn forward_with_progress(
        &self,
        sequences: &mut [Sequence<'_>],
        progress: &mut dyn FnMut(Progress) -> bool,
    ) -> Result<Vec<Output>, Error> {
        let mut outputs = Vec::new();
        self.forward_into(sequences, &mut outputs, progress)?;
        Ok(outputs)
    }

    /// As [`Model::forward_with_progress`], with the outputs in memory that is used again: for loops, whose steps then
    /// allocate nothing. After an error the outputs are unspecified.
    ///
    /// # Errors
    /// As [`Model::forward_with_progress`].
    pub fn forward_into(
        &self,
        sequences: &mut [Sequence<'_>],
        outputs: &mut Vec<Output>,
        progress: &mut dyn FnMut(Progress) -> bool,
    ) -> Result<(), Error> {
        self.forward_as(sequences, ForwardOptions::default(), outputs, progress)
    }

    /// As [`Model::forward_into`], computed as asked for.
    ///
    /// # Errors
    /// As [`Model::forward_into`], and [`ModelError::PartOfLayers`](crate::ModelError::PartOfLayers).
    pub fn forward_as(
        &self,
        sequences: &mut [Sequence<'_>],
        options: ForwardOptions,
        outputs: &mut Vec<Output>,
        progress: &mut dyn FnMut(Progress) -> bool,
    ) -> Result<(), Error> {
        for sequence in sequences.iter() {
            sequence.state.check_owner(self, "a state given to forward")?;
        }
        let mut any: SmallVec<[AnySequence<'_>; 4]> = sequences
            .iter_mut()
            .map(|s| AnySequence { state: s.state.any_mut(), tokens: s.tokens, want: s.want, taken: 0 })
            .collect();
        let result = self.inner.engine.forward(&mut any, options, outputs, progress);
        let taken: SmallVec<[usize; 4]> = any.iter().map(|s| s.taken).collect();
        drop(any);
        for (sequence, taken) in sequences.iter_mut().zip(taken) {
            sequence.state.advance(taken);
        }
        self.inner.file.check_intact()?;
        result
    }
}

/// The fingerprint of weights, and of the tuned state that texts begin with.
fn digest(catalog: &Catalog, tuned: Option<&(usize, Vec<f32>)>) -> String {
    fingerprint(catalog, tuned.map(|(_, values)| &values[..]))
}

/// Hands the weights to a device.
fn load_engine(
    catalog: &Catalog,
    device: &Device,
    timeline: &Timeline,
) -> Result<(Box<dyn Engine>, Vec<String>), Error> {
    let cpu = |options: CpuOptions| -> Result<Box<dyn Engine>, Error> {
        let backend = timeline.step("threads", || CpuBackend::new(options))?;
        Ok(Box::new(timeline.step("weights", || On::load(catalog, backend))?))
    };
    let gpu = |options: &GpuOptions| -> Result<Box<dyn Engine>, Error> {
        let backend = timeline.step("adapter", || GpuBackend::new(options))?;
        Ok(Box::new(timeline.step("weights", || On::load(catalog, backend))?))
    };
    let (engine, note) = match device {
        Device::Cpu(options) => (cpu(*options)?, None),
        Device::Gpu(options) => (gpu(options)?, None),
        Device::Reference => {
            let engine = timeline.step("weights", || On::load(catalog, Reference))?;
            (Box::new(engine) as Box<dyn Engine>, None)
        }
        Device::Auto(on_cpu) => {
            let mut options = GpuOptions::default();
            (options.hardware_only, options.exact) = (true, on_cpu.exact);
            or_on_cpu(gpu(&options), || cpu(*on_cpu))?
        }
    };
    let notes = note.into_iter().chain(engine.notes()).collect();
    Ok((engine, notes))
}

/// What came of trying a GPU, or the CPU: where the choice is ours, a GPU that cannot take the model is no error but a
/// note, and no GPU at all not even that.
fn or_on_cpu<E>(
    on_gpu: Result<E, Error>,
    cpu: impl FnOnce() -> Result<E, Error>,
) -> Result<(E, Option<String>), Error> {
    let note = match on_gpu {
        Ok(engine) => return Ok((engine, None)),
        Err(Error::Gpu(GpuError::NoAdapter { .. })) => None,
        Err(error @ (Error::Gpu(_) | Error::Backend(_) | Error::Model(ModelError::Backend(_)))) => {
            Some(format!("{error}: running on the CPU instead"))
        }
        // The file's fault: the CPU would say the same.
        Err(error) => return Err(error),
    };
    Ok((cpu()?, note))
}

/// The tokenizer of a file with `n_vocab` tokens: of the vocabulary given, of the file's own, or the World one.
pub(crate) fn make_tokenizer(
    file: &ModelFile,
    n_vocab: usize,
    given: Option<&(PathBuf, Vocabulary)>,
) -> Result<Tokenizer, Error> {
    let (origin, vocabulary) = match given {
        Some((path, vocabulary)) => (path.display().to_string(), vocabulary.clone()),
        None => match vocabulary_of(file)? {
            Some(vocabulary) => (format!("{} (its vocabulary)", file.label()), vocabulary),
            None if n_vocab == WORLD_VOCAB => ("the World vocabulary".to_owned(), Vocabulary::world()),
            None => return Err(Error::NoVocabulary { model: file.label().to_owned(), vocab: n_vocab }),
        },
    };
    if vocabulary.len() > n_vocab {
        return Err(Error::VocabularyMismatch {
            vocabulary: origin,
            highest: vocabulary.len() - 1,
            model: file.label().to_owned(),
            vocab: n_vocab,
        });
    }
    // Ids up to the model's own number exist, with or without text.
    Ok(Tokenizer::new(vocabulary.padded(n_vocab)?)?)
}

/// The demo model's file.
///
/// # Errors
/// None, unless the build embedded a broken file.
#[cfg(feature = "demo")]
pub fn demo_file() -> Result<ModelFile, Error> {
    /// Aligned, as a mapped file would be.
    #[repr(align(64))]
    struct Aligned<T: ?Sized>(T);
    static DEMO: &Aligned<[u8]> = &Aligned(*include_bytes!("../../../assets/wingbeat-demo-26m-q8_0.gguf"));
    Ok(ModelFile::from_static("the demo model", &DEMO.0)?)
}

/// Reads a vocabulary file in the official text format.
///
/// # Errors
/// It cannot be read, or a line is broken.
pub fn read_vocabulary(path: &Path) -> Result<Vocabulary, Error> {
    let text = std::fs::read(path).map_err(|source| Error::Io { path: path.to_owned(), source })?;
    Ok(Vocabulary::from_text(&path.display().to_string(), &text)?)
}

/// The vocabulary that a model file carries, if it does.
///
/// # Errors
/// It is broken.
pub fn vocabulary_of(file: &ModelFile) -> Result<Option<Vocabulary>, Error> {
    let metadata = file.metadata();
    if let Some(text) = metadata.bytes(SAFETENSORS_VOCABULARY) {
        return Ok(Some(Vocabulary::from_text(file.label(), text)?));
    }
    let Some(tokens) = metadata.strings("tokenizer.ggml.tokens") else { return Ok(None) };
    let types = match metadata.array("tokenizer.ggml.token_type") {
        Some(Array::I32(types)) => Some(types.as_slice()),
        _ => None,
    };
    Ok(Some(Vocabulary::from_gguf(tokens.iter(), types)?))
}

#[cfg(test)]
mod tests;
