//! A context: what a model needs to run, the states of its sequences, and what it computed last.

use super::{Batch, Device, Model, Token, sys};
use anyhow::{Result, bail, ensure};
use std::{marker::PhantomData, ptr::NonNull};

/// How the vectors of a text become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pooling {
    /// The last token's.
    Last,
    /// The mean of all tokens'.
    Mean,
}

/// What a context is made for. More than is needed costs memory, and time when it is made.
#[derive(Clone, Copy, Debug)]
pub struct ContextOptions {
    /// Sequences, each with a state of its own.
    pub n_sequences: usize,
    /// Tokens in a call at most.
    pub n_batch: usize,
    /// Tokens computed together at most: llama.cpp cuts a call into micro-batches of these.
    pub n_ubatch: usize,
    /// Outputs of a call at most.
    pub n_outputs: usize,
    /// Threads that compute.
    pub n_threads: usize,
    /// Vectors instead of logits alone, and how they become one.
    pub pooling: Option<Pooling>,
    /// Greedy tokens are chosen where the model computes, instead of logits being copied from there.
    pub choose_tokens: bool,
}

/// A model ready to run, with the states of its sequences.
pub struct Context<'a> {
    context: NonNull<sys::llama_context>,
    /// One a sequence, where tokens are chosen on the device; they have to outlive the context.
    samplers: Vec<Sampler>,
    options: ContextOptions,
    /// Whether vectors are computed now, and with them every token's output.
    vectors: bool,
    n_vocab: usize,
    n_channels: usize,
    /// Outputs of the last call.
    n_outputs: usize,
    /// Where each token's list of sequences is, for llama.cpp.
    sequence_lists: Vec<*mut i32>,
    model: PhantomData<&'a Model>,
}

impl<'a> Context<'a> {
    /// A context with empty sequences.
    pub fn new(model: &'a Model, options: ContextOptions) -> Result<Context<'a>> {
        let mut samplers = Vec::new();
        if options.choose_tokens {
            for _ in 0..options.n_sequences {
                samplers.push(Sampler::greedy()?);
            }
        }
        let mut choices: Vec<sys::llama_sampler_seq_config> = samplers
            .iter()
            .enumerate()
            .map(|(sequence, sampler)| sys::llama_sampler_seq_config {
                seq_id: sequence as i32,
                sampler: sampler.chain.as_ptr(),
            })
            .collect();
        let [n_sequences, n_batch, n_ubatch, n_outputs] =
            [options.n_sequences, options.n_batch, options.n_ubatch, options.n_outputs]
                .map(|n| u32::try_from(n).unwrap_or(u32::MAX));
        // Read by the loops over threads as a signed number.
        let n_threads = i32::try_from(options.n_threads).unwrap_or(i32::MAX);
        // SAFETY: parameters are a plain value. `choices` lives until the call returns, the samplers in it as long as the
        // context (fields are dropped after `drop`), the model longer than the context.
        let context = unsafe {
            let mut parameters = sys::llama_context_default_params();
            // RWKV has no use for it but as a limit to `n_batch`; each sequence wants a part of it.
            parameters.n_ctx = n_batch.max(n_sequences.saturating_mul(256));
            parameters.n_batch = n_batch;
            parameters.n_ubatch = n_ubatch;
            parameters.n_seq_max = n_sequences;
            // llama.cpp asserts that there is room for one of each sequence.
            parameters.n_outputs_max = n_outputs.max(n_sequences);
            parameters.n_threads = n_threads;
            parameters.n_threads_batch = n_threads;
            parameters.embeddings = options.pooling.is_some();
            parameters.pooling_type = match options.pooling {
                // The model's own, which is none for RWKV.
                None => sys::LLAMA_POOLING_TYPE_UNSPECIFIED,
                Some(Pooling::Last) => sys::LLAMA_POOLING_TYPE_LAST,
                Some(Pooling::Mean) => sys::LLAMA_POOLING_TYPE_MEAN,
            };
            parameters.flash_attn_type = sys::LLAMA_FLASH_ATTN_TYPE_DISABLED;
            parameters.no_perf = true;
            // Otherwise large products may still go to a GPU.
            parameters.op_offload = model.device() == Device::Gpu;
            if options.choose_tokens {
                parameters.samplers = choices.as_mut_ptr();
                parameters.n_samplers = choices.len();
                parameters.n_outputs_max_per_seq = 1;
            }
            sys::llama_init_from_model(model.as_ptr(), parameters)
        };
        let Some(context) = NonNull::new(context) else {
            bail!(
                "llama.cpp cannot make a context for {} sequences and {} tokens a call",
                options.n_sequences,
                options.n_batch
            )
        };
        Ok(Context {
            context,
            samplers,
            options,
            vectors: options.pooling.is_some(),
            n_vocab: model.n_vocab(),
            n_channels: model.n_channels(),
            n_outputs: 0,
            sequence_lists: Vec::new(),
            model: PhantomData,
        })
    }

    /// Runs the batch's tokens, each sequence's from its state on.
    pub fn decode(&mut self, batch: &mut Batch) -> Result<()> {
        let n_wanted = if self.vectors { batch.len() } else { batch.n_wanted() };
        let options = &self.options;
        ensure!(!batch.is_empty(), "a call without tokens");
        ensure!(
            batch.len() <= options.n_batch,
            "{} tokens in a call, the context takes {}",
            batch.len(),
            options.n_batch
        );
        ensure!(
            n_wanted <= options.n_outputs,
            "{n_wanted} outputs of a call, the context has room for {}",
            options.n_outputs
        );
        let in_vocabulary = |&token: &Token| usize::try_from(token).is_ok_and(|token| token < self.n_vocab);
        ensure!(batch.tokens.iter().all(in_vocabulary), "a token that is not in the vocabulary");
        let is_known = |&sequence: &i32| usize::try_from(sequence).is_ok_and(|n| n < options.n_sequences);
        ensure!(batch.sequences.iter().all(is_known), "a sequence that the context does not have");
        ensure!(batch.positions.iter().all(|&position| position >= 0), "a position that is too far");
        self.sequence_lists.clear();
        self.sequence_lists.extend(batch.sequences.iter_mut().map(std::ptr::from_mut));
        self.n_outputs = 0;
        // SAFETY: every pointer is to as many elements as there are tokens (`Batch` adds to all its vectors at once), each list
        // of sequences has the one that its count says; the call reads them and keeps nothing.
        let code = unsafe {
            let batch = sys::llama_batch {
                n_tokens: batch.len() as i32,
                token: batch.tokens.as_mut_ptr(),
                embd: std::ptr::null_mut(),
                pos: batch.positions.as_mut_ptr(),
                n_seq_id: batch.counts.as_mut_ptr(),
                seq_id: self.sequence_lists.as_mut_ptr(),
                logits: batch.wanted.as_mut_ptr(),
            };
            sys::llama_decode(self.context.as_ptr(), batch)
        };
        match code {
            0 => {}
            1 => bail!("llama_decode: no room for the states of the batch's sequences"),
            2 => bail!("llama_decode: stopped"),
            -1 => bail!("llama_decode: it refuses the batch"),
            code => bail!("llama_decode: failed with {code}"),
        }
        self.n_outputs = n_wanted;
        Ok(())
    }

    /// Waits until what was asked for is done.
    pub fn synchronize(&mut self) {
        // SAFETY: the context is open.
        unsafe { sys::llama_synchronize(self.context.as_ptr()) }
    }

    /// The last call's logits, (outputs, V), in the order of the batch; waits for them.
    pub fn logits(&mut self) -> Result<&[f32]> {
        ensure!(self.n_outputs > 0 && !self.options.choose_tokens, "the last call had no logits");
        // SAFETY: the context is open.
        let logits = unsafe { sys::llama_get_logits(self.context.as_ptr()) };
        ensure!(!logits.is_null(), "llama_get_logits: there are none");
        // SAFETY: the last call had `n_outputs` outputs, each a row of V logits, one after the other. They stay until
        // the next call, which needs the context that they borrow.
        Ok(unsafe { std::slice::from_raw_parts(logits, self.n_outputs * self.n_vocab) })
    }

    /// The token that the device chose after the batch's token `index`; waits for it.
    pub fn chosen(&mut self, index: usize) -> Result<Token> {
        ensure!(!self.samplers.is_empty(), "this context chooses no tokens");
        let index = i32::try_from(index)?;
        // SAFETY: the context is open; an index without output gives no token.
        let token = unsafe { sys::llama_get_sampled_token_ith(self.context.as_ptr(), index) };
        ensure!(token >= 0, "llama.cpp chose no token on the device");
        Ok(token)
    }

    /// Switches vectors on or off, where the context was made for them; without them, only outputs that are wanted
    /// are computed.
    pub fn set_vectors(&mut self, on: bool) {
        self.vectors = on && self.options.pooling.is_some();
        let on = self.vectors;
        // SAFETY: the context is open.
        unsafe { sys::llama_set_embeddings(self.context.as_ptr(), on) }
    }

    /// A sequence's vector of the last call, (C), pooled as the context was made to; waits for it.
    pub fn vector(&mut self, sequence: usize) -> Result<&[f32]> {
        ensure!(self.vectors, "the last call had no vectors");
        let sequence = i32::try_from(sequence)?;
        // SAFETY: the context is open; an unknown sequence gives no vector.
        let vector = unsafe { sys::llama_get_embeddings_seq(self.context.as_ptr(), sequence) };
        ensure!(!vector.is_null(), "llama_get_embeddings_seq: there is none of sequence {sequence}");
        // SAFETY: a vector of C numbers that stays until the next call, which needs the context that it borrows.
        Ok(unsafe { std::slice::from_raw_parts(vector, self.n_channels) })
    }

    /// Makes every sequence empty, so that it begins with the zero state.
    pub fn clear(&mut self) {
        // SAFETY: the context is open, and the memory is its own. The numbers may stay: a state that belongs to no
        // sequence is zeroed when it is used.
        unsafe { sys::llama_memory_clear(sys::llama_get_memory(self.context.as_ptr()), false) }
    }

    /// Gives `to` the state of `from`.
    pub fn copy_state(&mut self, from: usize, to: usize) -> Result<()> {
        let (from, to) = (self.sequence(from)?, self.sequence(to)?);
        // SAFETY: the context is open, and it has both sequences. Negative positions stand for all.
        unsafe {
            sys::llama_memory_seq_cp(sys::llama_get_memory(self.context.as_ptr()), from, to, -1, -1);
        }
        Ok(())
    }

    /// A sequence's whole state as llama.cpp writes it; `state` is overwritten and keeps its memory.
    pub fn read_state(&mut self, sequence: usize, state: &mut Vec<u8>) -> Result<()> {
        let sequence = self.sequence(sequence)?;
        // SAFETY: the context is open and has the sequence; what is written is limited to the vector's length.
        let (expected, written) = unsafe {
            let n = sys::llama_state_seq_get_size(self.context.as_ptr(), sequence);
            state.resize(n, 0);
            (n, sys::llama_state_seq_get_data(self.context.as_ptr(), state.as_mut_ptr(), n, sequence))
        };
        ensure!(
            written == expected && written > 0,
            "llama_state_seq_get_data: {written} of {expected} bytes of sequence {sequence}"
        );
        Ok(())
    }

    /// Gives a sequence a state that [`Context::read_state`] wrote.
    pub fn write_state(&mut self, sequence: usize, state: &[u8]) -> Result<()> {
        let sequence = self.sequence(sequence)?;
        // SAFETY: the context is open and has the sequence; no more is read than the slice has.
        let read = unsafe {
            sys::llama_state_seq_set_data(self.context.as_ptr(), state.as_ptr(), state.len(), sequence)
        };
        ensure!(read == state.len(), "llama_state_seq_set_data: {read} of {} bytes", state.len());
        Ok(())
    }

    fn sequence(&self, sequence: usize) -> Result<i32> {
        let n = self.options.n_sequences;
        ensure!(sequence < n, "sequence {sequence}, the context has {n}");
        Ok(i32::try_from(sequence)?)
    }
}

impl Drop for Context<'_> {
    fn drop(&mut self) {
        // SAFETY: made by `new` and freed only here; the model is still open and the samplers are still there.
        unsafe { sys::llama_free(self.context.as_ptr()) }
    }
}

/// A chain of samplers with one link: the greedy choice.
struct Sampler {
    chain: NonNull<sys::llama_sampler>,
}

impl Sampler {
    fn greedy() -> Result<Sampler> {
        // SAFETY: parameters are a plain value.
        let chain = unsafe { sys::llama_sampler_chain_init(sys::llama_sampler_chain_default_params()) };
        let Some(chain) = NonNull::new(chain) else { bail!("llama_sampler_chain_init: it makes none") };
        // SAFETY: the chain takes the new sampler over.
        unsafe { sys::llama_sampler_chain_add(chain.as_ptr(), sys::llama_sampler_init_greedy()) }
        Ok(Sampler { chain })
    }
}

impl Drop for Sampler {
    fn drop(&mut self) {
        // SAFETY: made by `greedy` and freed only here, after the context that used it.
        unsafe { sys::llama_sampler_free(self.chain.as_ptr()) }
    }
}
