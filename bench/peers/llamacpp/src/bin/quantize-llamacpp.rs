//! Quantizes a GGUF file with llama.cpp: `quantize-llamacpp IN OUT TYPE THREADS`. `bench/models.py` calls it.
//!
//! Says nothing but what fails. The file is written under a temporary name, then renamed.

#![forbid(unsafe_code)]

use anyhow::{Context, Result, bail};
use std::{path::PathBuf, process::ExitCode};

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("quantize-llamacpp: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [source, target, kind, n_threads] = arguments.as_slice() else {
        bail!("usage: quantize-llamacpp IN OUT TYPE THREADS")
    };
    let n_threads: usize = n_threads.parse().with_context(|| format!("THREADS: {n_threads} is no number"))?;
    let (source, target) = (PathBuf::from(source), PathBuf::from(target));
    let unfinished = PathBuf::from(format!("{}.unfinished", target.display()));
    let written = bench_llamacpp::llama::quantize(&source, &unfinished, kind, n_threads)
        .and_then(|()| std::fs::rename(&unfinished, &target).with_context(|| target.display().to_string()));
    if written.is_err() {
        // It may not be there, and what failed is said anyway.
        let _ = std::fs::remove_file(&unfinished);
    }
    written
}
