//! Quantizing a model file to another type.

use super::{c_path, start, sys};
use anyhow::{Context as _, Result, ensure};
use std::path::Path;

/// llama.cpp's names of the types that are made here.
const TYPES: &[(&str, sys::llama_ftype)] = &[
    ("F32", sys::LLAMA_FTYPE_ALL_F32),
    ("F16", sys::LLAMA_FTYPE_MOSTLY_F16),
    ("BF16", sys::LLAMA_FTYPE_MOSTLY_BF16),
    ("Q8_0", sys::LLAMA_FTYPE_MOSTLY_Q8_0),
    ("Q6_K", sys::LLAMA_FTYPE_MOSTLY_Q6_K),
    ("Q5_K_M", sys::LLAMA_FTYPE_MOSTLY_Q5_K_M),
    ("Q5_K_S", sys::LLAMA_FTYPE_MOSTLY_Q5_K_S),
    ("Q5_0", sys::LLAMA_FTYPE_MOSTLY_Q5_0),
    ("Q5_1", sys::LLAMA_FTYPE_MOSTLY_Q5_1),
    ("Q4_K_M", sys::LLAMA_FTYPE_MOSTLY_Q4_K_M),
    ("Q4_K_S", sys::LLAMA_FTYPE_MOSTLY_Q4_K_S),
    ("Q4_0", sys::LLAMA_FTYPE_MOSTLY_Q4_0),
    ("Q4_1", sys::LLAMA_FTYPE_MOSTLY_Q4_1),
    ("IQ4_NL", sys::LLAMA_FTYPE_MOSTLY_IQ4_NL),
    ("IQ4_XS", sys::LLAMA_FTYPE_MOSTLY_IQ4_XS),
    ("Q3_K_M", sys::LLAMA_FTYPE_MOSTLY_Q3_K_M),
    ("Q2_K", sys::LLAMA_FTYPE_MOSTLY_Q2_K),
];

/// Writes `source` to `target` with its matrices in llama.cpp's type of this name (`Q4_K_M`), in either case.
pub fn quantize(source: &Path, target: &Path, name: &str, n_threads: usize) -> Result<()> {
    let known = TYPES.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
    let (_, kind) = known.with_context(|| {
        let names: Vec<&str> = TYPES.iter().map(|(name, _)| *name).collect();
        format!("{name}: unknown type; known are {}", names.join(", "))
    })?;
    start();
    let (from, to) = (c_path(source)?, c_path(target)?);
    // SAFETY: parameters are a plain value, and both names live until the call returns.
    let code = unsafe {
        let mut parameters = sys::llama_model_quantize_default_params();
        parameters.ftype = *kind;
        // 0 stands for all the machine has.
        parameters.nthread = i32::try_from(n_threads)?;
        parameters.allow_requantize = true;
        sys::llama_model_quantize(from.as_ptr(), to.as_ptr(), &parameters)
    };
    ensure!(code == 0, "{}: llama.cpp cannot write it as {name} to {}", source.display(), target.display());
    Ok(())
}
