//! An opt-in cache of states and embeddings: a document that was read before, or one that begins like it, costs a read.
//!
//! It stands before [`Model`] and is used by name; nothing is cached behind anyone's back. `key.rs` says what an entry is
//! found by, `memory.rs` keeps entries in memory, `disk.rs` in a folder that processes share, in the form of `entry.rs`.
//! Computing what is missing is left to the model.

mod disk;
mod entry;
mod key;
mod memory;

use crate::{EmbedOptions, Embeddings, Error, Model, Progress, Sequence, State, Want, documents::ALIKE};
use disk::{Disk, Trouble};
use key::{Context, Key};
use memory::{Memory, Value};
use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// What a [`Cache`] may take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheOptions {
    /// Bytes of memory at most, 256 MiB by default; states of a model on a GPU lie in the GPU's memory and count too.
    pub memory_bytes: usize,
    /// A folder to keep entries in, which is made where there is none; none by default. Processes may share it, and it
    /// outlives them.
    pub folder: Option<PathBuf>,
    /// Bytes of the folder's entries at most, 4 GiB by default; none: no limit. Processes that write at once may pass it by
    /// a sixteenth each.
    pub folder_bytes: Option<u64>,
}

impl Default for CacheOptions {
    fn default() -> CacheOptions {
        CacheOptions { memory_bytes: 256 << 20, folder: None, folder_bytes: Some(4 << 30) }
    }
}

/// What a [`Cache`] has done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CacheStats {
    /// Texts that were found in memory.
    pub n_memory_hits: u64,
    /// Texts that were found in the folder.
    pub n_disk_hits: u64,
    /// Texts that were computed, wholly or from a beginning that was found.
    pub n_misses: u64,
    /// Of these, those whose beginning was found.
    pub n_prefix_hits: u64,
    /// Tokens of such beginnings, which were not computed.
    pub n_prefix_tokens: u64,
    /// Entries of the folder that were not what was written; they were removed, and count as absent.
    pub n_damaged: u64,
    /// Entries that could not be kept or read: a full disk, a folder that is gone. The results were given all the same.
    pub n_failures: u64,
    /// What the last damage or failure was, in words.
    pub last_error: Option<String>,
    /// Bytes of the entries in memory.
    pub memory_bytes: usize,
    /// Bytes of the entries in the folder, as far as this process knows.
    pub folder_bytes: u64,
}

/// States and embeddings that were computed before. Clones share it, and so may threads.
///
/// An entry is found by the model's fingerprint, the arithmetic of its device ([`Model::arithmetic`]), this program's
/// version, the options that decide an embedding, and the text's tokens. What comes back is what was computed, bit for bit.
/// A state goes on from the longest cached state whose tokens begin the text; on a CPU it is the same, bit for bit, as
/// without. Two threads that miss one text at once both compute it.
///
/// In the folder an entry is a file with a checksum; a damaged one is removed and computed again. A full disk is no error:
/// [`Cache::stats`] tells of it.
///
/// ```
/// use wingbeat::{Cache, CacheOptions, Model};
///
/// let demo = concat!(env!("CARGO_MANIFEST_DIR"), "/../../assets/wingbeat-demo-26m-q8_0.gguf");
/// let model = Model::open(demo)?;
/// let cache = Cache::new(CacheOptions::default())?;
/// let document = cache.state(&model, "The whale swam on, and the ship followed.")?;
/// assert!(cache.state(&model, "The whale swam on, and the ship followed.")?.is_same(&document)?);
/// assert_eq!((cache.stats().n_misses, cache.stats().n_memory_hits), (1, 1));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Cache {
    inner: Arc<Inner>,
}

struct Inner {
    memory: Mutex<Memory>,
    disk: Option<Disk>,
    stats: Mutex<CacheStats>,
}

/// A text whose state is missing.
struct Missing<'a> {
    key: Key,
    /// The state to go on from, and the tokens after it.
    start: State,
    rest: &'a [u32],
    /// Which of the texts it is.
    texts: Vec<usize>,
}

impl Cache {
    /// A cache; what its folder has is used.
    ///
    /// # Errors
    /// The folder cannot be made, read or written to.
    pub fn new(options: CacheOptions) -> Result<Cache, Error> {
        let disk = match &options.folder {
            Some(folder) => Some(Disk::open(folder, options.folder_bytes)?),
            None => None,
        };
        let memory = Mutex::new(Memory::new(options.memory_bytes));
        Ok(Cache { inner: Arc::new(Inner { memory, disk, stats: Mutex::default() }) })
    }

    /// As [`Model::state`].
    ///
    /// # Errors
    /// As [`Model::state`].
    pub fn state(&self, model: &Model, text: impl AsRef<[u8]>) -> Result<State, Error> {
        let mut states = self.states(model, &[text], &mut |_| true)?;
        Ok(states.pop().expect("a state for each text"))
    }

    /// As [`Model::states`]; what is missing is computed side by side. `progress` is told of the tokens that are computed.
    ///
    /// # Errors
    /// As [`Model::states`]. What was complete when `progress` stopped it is kept.
    pub fn states(
        &self,
        model: &Model,
        texts: &[impl AsRef<[u8]>],
        progress: &mut dyn FnMut(Progress) -> bool,
    ) -> Result<Vec<State>, Error> {
        self.states_of_tokens(model, &model.encode_all(texts)?, progress)
    }

    /// As [`Model::states_of_tokens`]; otherwise as [`Cache::states`].
    ///
    /// # Errors
    /// As [`Model::states_of_tokens`].
    pub fn states_of_tokens(
        &self,
        model: &Model,
        texts: &[impl AsRef<[u32]>],
        progress: &mut dyn FnMut(Progress) -> bool,
    ) -> Result<Vec<State>, Error> {
        model.check_texts("text", texts)?;
        let context = Context::of_states(model);
        let mut states: Vec<Option<State>> = Vec::with_capacity(texts.len());
        let (mut missing, mut by_key) = (Vec::<Missing<'_>>::new(), HashMap::new());
        for (text, tokens) in texts.iter().map(AsRef::as_ref).enumerate() {
            let key = context.key(tokens);
            if let Some(&index) = by_key.get(&key) {
                let first: &mut Missing<'_> = &mut missing[index];
                first.texts.push(text);
                states.push(None);
                continue;
            }
            let found = self.find_state(model, &key)?;
            if found.is_none() {
                let (start, n) = self.longest_beginning(model, &context, tokens)?;
                by_key.insert(key, missing.len());
                missing.push(Missing { key, start, rest: &tokens[n..], texts: vec![text] });
            }
            states.push(found);
        }
        self.compute(model, &mut missing, progress)?;
        self.count(|stats| stats.n_misses += missing.len() as u64);
        for Missing { start: state, texts, .. } in missing {
            let (&last, others) = texts.split_last().expect("a text misses it");
            for &text in others {
                states[text] = Some(state.fork()?);
            }
            states[last] = Some(state);
        }
        Ok(states.into_iter().map(|state| state.expect("found or computed")).collect())
    }

    /// As [`Model::embed`]; what is missing is computed side by side. `progress` is told of the tokens that are computed.
    ///
    /// # Errors
    /// As [`Model::embed`].
    pub fn embed(
        &self,
        model: &Model,
        texts: &[impl AsRef<[u8]>],
        options: &EmbedOptions,
        progress: &mut dyn FnMut(Progress) -> bool,
    ) -> Result<Embeddings, Error> {
        model.embedding_width(&options.of)?;
        self.embed_tokens(model, &model.encode_all(texts)?, options, progress)
    }

    /// As [`Model::embed_tokens`]; otherwise as [`Cache::embed`].
    ///
    /// # Errors
    /// As [`Model::embed_tokens`].
    pub fn embed_tokens(
        &self,
        model: &Model,
        texts: &[impl AsRef<[u32]>],
        options: &EmbedOptions,
        progress: &mut dyn FnMut(Progress) -> bool,
    ) -> Result<Embeddings, Error> {
        let width = model.embedding_width(&options.of)?;
        model.check_texts("text", texts)?;
        let mut values = Vec::new();
        let n_values = texts.len().saturating_mul(width);
        if values.try_reserve_exact(n_values).is_err() {
            return Err(Error::NoRoomForEmbeddings {
                texts: texts.len(),
                bytes: n_values.saturating_mul(size_of::<f32>()),
            });
        }
        values.resize(n_values, 0.0);
        let context = Context::of_embeddings(model, options);
        // Texts that are missing, each once, and for every text that has it the row and the number of the missing one.
        let (mut missing, mut rows, mut by_key) = (Vec::new(), Vec::new(), HashMap::new());
        for (text, tokens) in texts.iter().map(AsRef::as_ref).enumerate() {
            let key = context.key(tokens);
            if let Some(&index) = by_key.get(&key) {
                rows.push((text, index));
            } else if let Some(found) = self.find_embedding(width, &key)? {
                values[text * width..][..width].copy_from_slice(&found);
            } else {
                by_key.insert(key, missing.len());
                rows.push((text, missing.len()));
                missing.push((key, tokens, text));
            }
        }
        if !missing.is_empty() {
            let tokens: Vec<&[u32]> = missing.iter().map(|&(_, tokens, _)| tokens).collect();
            let computed = model.embed_tokens(&tokens, options, progress).map_err(|error| match error {
                Error::NotFinite { text, index, value } => {
                    Error::NotFinite { text: missing.get(text).map_or(text, |m| m.2), index, value }
                }
                error => error,
            })?;
            self.count(|stats| stats.n_misses += missing.len() as u64);
            for ((key, ..), row) in missing.iter().zip(computed.rows()) {
                self.keep_embedding(key, row)?;
            }
            for (text, index) in rows {
                values[text * width..][..width].copy_from_slice(computed.row(index).unwrap_or_default());
            }
        }
        Ok(Embeddings::from_values(width, values).expect("whole rows"))
    }

    /// What it has done so far.
    pub fn stats(&self) -> CacheStats {
        let mut stats = lock(&self.inner.stats).clone();
        stats.memory_bytes = lock(&self.inner.memory).bytes();
        stats.folder_bytes = self.inner.disk.as_ref().map_or(0, Disk::bytes);
        stats
    }

    fn count(&self, change: impl FnOnce(&mut CacheStats)) {
        change(&mut lock(&self.inner.stats));
    }

    /// The state of a text, if it is there.
    fn find_state(&self, model: &Model, key: &Key) -> Result<Option<State>, Error> {
        if let Some(state) = self.state_in_memory(model, key) {
            self.count(|stats| stats.n_memory_hits += 1);
            return Ok(Some(state));
        }
        let state = self.state_on_disk(model, key)?;
        self.count(|stats| stats.n_disk_hits += u64::from(state.is_some()));
        Ok(state)
    }

    fn state_in_memory(&self, model: &Model, key: &Key) -> Option<State> {
        let value = lock(&self.inner.memory).get(key)?;
        let Value::State(any) = &*value else { return None };
        match State::copy_of(model, any, key.n_tokens) {
            Ok(state) => Some(state),
            // Its device may be lost, and another one in use by now.
            Err(error) => {
                lock(&self.inner.memory).remove(key);
                self.failed(error.to_string());
                None
            }
        }
    }

    fn state_on_disk(&self, model: &Model, key: &Key) -> Result<Option<State>, Error> {
        let Some(disk) = &self.inner.disk else { return Ok(None) };
        let state = self.unless_troubled(disk.load_state(model, key))?.flatten();
        // On a CPU reading is about as quick as copying; to a GPU the way is longer.
        if let Some(state) = state.as_ref().filter(|state| !state.is_in_host_memory()) {
            self.keep_in_memory(key, state);
        }
        Ok(state)
    }

    /// The longest cached state that a text goes on from, or a zero state, and its number of tokens.
    fn longest_beginning(
        &self,
        model: &Model,
        context: &Context,
        tokens: &[u32],
    ) -> Result<(State, usize), Error> {
        let n = tokens.len() as u64;
        let mut lengths = lock(&self.inner.memory).lengths(context.group(), n);
        let disk = self.inner.disk.as_ref();
        lengths.extend(disk.map(|disk| disk.lengths(context.group(), n)).unwrap_or_default());
        lengths.retain(|&n| n > 0);
        lengths.sort_unstable();
        lengths.dedup();
        for key in context.keys(tokens, &lengths).iter().rev() {
            let state = match self.state_in_memory(model, key) {
                None if disk.is_some_and(|disk| disk.may_have(key)) => self.state_on_disk(model, key)?,
                state => state,
            };
            if let Some(state) = state {
                self.count(|stats| {
                    stats.n_prefix_hits += 1;
                    stats.n_prefix_tokens += key.n_tokens;
                });
                return Ok((state, key.n_tokens as usize));
            }
        }
        Ok((model.new_state()?, 0))
    }

    /// Computes what is missing, and keeps it.
    fn compute(
        &self,
        model: &Model,
        missing: &mut [Missing<'_>],
        progress: &mut dyn FnMut(Progress) -> bool,
    ) -> Result<(), Error> {
        let rests: Vec<&[u32]> = missing.iter().map(|missing| missing.rest).collect();
        let mut done = 0;
        for group in model.groups(&rests, None) {
            let members = &mut missing[done..done + group.texts.len()];
            done += members.len();
            let mut sequences: Vec<Sequence<'_>> = (members.iter_mut())
                .map(|m| Sequence { state: &mut m.start, tokens: m.rest, want: Want::NOTHING })
                .collect();
            model.run_sequences(&mut sequences, &group, ALIKE, &mut Vec::new(), progress)?;
            for Missing { key, start: state, .. } in members {
                self.keep_in_memory(key, state);
                if let Some(disk) = &self.inner.disk {
                    self.unless_troubled(disk.store_state(key, state))?;
                }
            }
        }
        Ok(())
    }

    fn keep_in_memory(&self, key: &Key, state: &State) {
        let bytes = state.model().state_layout().len_bytes();
        if !lock(&self.inner.memory).has_room_for(bytes) {
            return;
        }
        match state.fork() {
            Ok(copy) => lock(&self.inner.memory).insert(*key, Value::State(copy.into_any()), bytes),
            // There is no memory for a second one.
            Err(error) => self.failed(error.to_string()),
        }
    }

    /// The embedding of a text, if it is there.
    fn find_embedding(&self, width: usize, key: &Key) -> Result<Option<Vec<f32>>, Error> {
        let value = lock(&self.inner.memory).get(key);
        if let Some(Value::Embedding(values)) = value.as_deref() {
            self.count(|stats| stats.n_memory_hits += 1);
            return Ok(Some(values.clone()));
        }
        let Some(disk) = &self.inner.disk else { return Ok(None) };
        let values = self.unless_troubled(disk.load_embedding(width, key))?.flatten();
        if let Some(values) = &values {
            self.count(|stats| stats.n_disk_hits += 1);
            lock(&self.inner.memory).insert(*key, Value::Embedding(values.clone()), size_of_val(&values[..]));
        }
        Ok(values)
    }

    fn keep_embedding(&self, key: &Key, values: &[f32]) -> Result<(), Error> {
        lock(&self.inner.memory).insert(*key, Value::Embedding(values.to_vec()), size_of_val(values));
        if let Some(disk) = &self.inner.disk {
            self.unless_troubled(disk.store_embedding(key, values))?;
        }
        Ok(())
    }

    /// Trouble with an entry is counted, and the entry does without; trouble with a device is an error.
    fn unless_troubled<T>(&self, result: Result<T, Trouble>) -> Result<Option<T>, Error> {
        match result {
            Ok(value) => return Ok(Some(value)),
            Err(Trouble::Engine(error)) => return Err(error),
            Err(Trouble::Io(why)) => self.failed(why),
            Err(Trouble::Damaged(why)) => self.count(|stats| {
                stats.n_damaged += 1;
                stats.last_error = Some(why);
            }),
        }
        Ok(None)
    }

    fn failed(&self, why: String) {
        self.count(|stats| {
            stats.n_failures += 1;
            stats.last_error = Some(why);
        });
    }
}

/// Nothing that is locked here is left half-done by a panic.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
