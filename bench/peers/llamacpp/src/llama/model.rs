//! A model on its device, and its vocabulary.

use super::{Token, c_path, start, sys, text};
use anyhow::{Result, bail};
use std::{path::Path, ptr::NonNull};

/// What a model computes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Device {
    /// The processor, whatever else there is.
    Cpu,
    /// The first GPU that this build of llama.cpp can use, with all of the model on it.
    Gpu,
}

/// A model, open on its device.
pub struct Model {
    model: NonNull<sys::llama_model>,
    device: Device,
    device_name: String,
    backend: String,
}

impl Model {
    /// Opens a GGUF file, with llama.cpp's own choice of how to read it (it maps files).
    pub fn open(path: &Path, device: Device) -> Result<Model> {
        Model::open_as(path, device, false)
    }

    /// Opens a GGUF file's vocabulary, and nothing else of it.
    pub fn open_vocabulary(path: &Path) -> Result<Model> {
        Model::open_as(path, Device::Cpu, true)
    }

    fn open_as(path: &Path, device: Device, vocab_only: bool) -> Result<Model> {
        start();
        let name = c_path(path)?;
        let gpu = match device {
            Device::Cpu => None,
            Device::Gpu => Some(first_gpu()?),
        };
        // An empty list leaves the processor.
        let mut devices = [gpu.unwrap_or(std::ptr::null_mut()), std::ptr::null_mut()];
        // SAFETY: parameters are a plain value; the list of devices ends with a null pointer and, like the name, lives
        // until the call returns. The devices are llama.cpp's own and live as long as the process.
        let model = unsafe {
            let mut parameters = sys::llama_model_default_params();
            parameters.devices = devices.as_mut_ptr();
            parameters.vocab_only = vocab_only;
            // A negative number stands for all.
            parameters.n_gpu_layers = if gpu.is_some() { -1 } else { 0 };
            sys::llama_model_load_from_file(name.as_ptr(), parameters)
        };
        let Some(model) = NonNull::new(model) else { bail!("{}: llama.cpp cannot open it", path.display()) };
        let (device_name, backend) = match gpu {
            None => ("cpu".to_owned(), "CPU".to_owned()),
            // SAFETY: a device of llama.cpp's list; its strings live as long as it.
            Some(gpu) => unsafe {
                let backend = sys::ggml_backend_dev_backend_reg(gpu);
                (text(sys::ggml_backend_dev_description(gpu)), text(sys::ggml_backend_reg_name(backend)))
            },
        };
        Ok(Model { model, device, device_name, backend })
    }

    /// What it computes on.
    pub fn device(&self) -> Device {
        self.device
    }

    /// The GPU's name, or "cpu".
    pub fn device_name(&self) -> &str {
        &self.device_name
    }

    /// What llama.cpp calls the part of it that computes: "CPU", "CUDA", "Vulkan".
    pub fn backend(&self) -> &str {
        &self.backend
    }

    /// Tokens in the vocabulary, and logits of a token (V).
    pub fn n_vocab(&self) -> usize {
        // SAFETY: the vocabulary is the model's and lives as long as it.
        usize::try_from(unsafe { sys::llama_vocab_n_tokens(self.vocab()) }).unwrap_or(0)
    }

    /// Numbers in a token's vector (C).
    pub fn n_channels(&self) -> usize {
        // SAFETY: the model is open.
        usize::try_from(unsafe { sys::llama_model_n_embd(self.model.as_ptr()) }).unwrap_or(0)
    }

    /// Whether the file has a vocabulary, so that it can [`Model::tokenize`].
    pub fn has_vocabulary(&self) -> bool {
        // SAFETY: the vocabulary is the model's and lives as long as it.
        unsafe { sys::llama_vocab_type(self.vocab()) != sys::LLAMA_VOCAB_TYPE_NONE }
    }

    /// The text's tokens, without any that mark beginning or end; `tokens` is overwritten and keeps its memory.
    pub fn tokenize(&self, text: &str, tokens: &mut Vec<Token>) -> Result<()> {
        if !self.has_vocabulary() {
            bail!("the model has no vocabulary");
        }
        let Ok(n_bytes) = i32::try_from(text.len()) else {
            bail!("a text of {} bytes is too long", text.len())
        };
        // A token has a byte at least.
        tokens.resize(text.len(), 0);
        // SAFETY: `n_bytes` bytes are read and at most `n_bytes` tokens written, which is both vectors' length.
        let n = unsafe {
            let bytes = text.as_ptr().cast();
            sys::llama_tokenize(self.vocab(), bytes, n_bytes, tokens.as_mut_ptr(), n_bytes, false, false)
        };
        let Ok(n) = usize::try_from(n) else { bail!("llama_tokenize: failed with {n}") };
        tokens.truncate(n);
        Ok(())
    }

    /// The model itself, for making contexts.
    pub(super) fn as_ptr(&self) -> *mut sys::llama_model {
        self.model.as_ptr()
    }

    fn vocab(&self) -> *const sys::llama_vocab {
        // SAFETY: the model is open.
        unsafe { sys::llama_model_get_vocab(self.model.as_ptr()) }
    }
}

impl Drop for Model {
    fn drop(&mut self) {
        // SAFETY: opened by `open` and freed only here; contexts borrow the model, so there are none left.
        unsafe { sys::llama_model_free(self.model.as_ptr()) }
    }
}

/// The first GPU of llama.cpp's list; one that shares the processor's memory where there is no other.
fn first_gpu() -> Result<sys::ggml_backend_dev_t> {
    for kind in [sys::GGML_BACKEND_DEVICE_TYPE_GPU, sys::GGML_BACKEND_DEVICE_TYPE_IGPU] {
        // SAFETY: finds nothing or a device that lives as long as the process.
        let device = unsafe { sys::ggml_backend_dev_by_type(kind) };
        if !device.is_null() {
            return Ok(device);
        }
    }
    bail!("--device gpu: this build of llama.cpp finds no GPU");
}
