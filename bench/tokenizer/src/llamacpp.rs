//! llama.cpp's tokenizer, through the program that measures llama.cpp, `bench-llamacpp`.
//!
//! `LLAMACPP_BENCH` is its path and `LLAMACPP_MODEL` a GGUF with the World vocabulary. Of its line of JSON are taken
//! `engine`, `tokenize_us` (the median over the kilobyte that is encoded here, too) and `vocab_load_ms` (reading the file's
//! metadata and making the vocabulary).

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};

/// The program and its model.
pub(crate) struct Peer {
    program: PathBuf,
    model: PathBuf,
}

/// What one run said.
pub(crate) struct Run {
    pub(crate) engine: String,
    pub(crate) tokenize_us: f64,
    pub(crate) vocab_load_ms: f64,
}

impl Peer {
    /// The peer, if the environment names it.
    pub(crate) fn from_environment() -> Result<Option<Peer>> {
        let Some(program) = std::env::var_os("LLAMACPP_BENCH") else {
            eprintln!("skipped: llama.cpp, as LLAMACPP_BENCH is not set");
            return Ok(None);
        };
        let model =
            std::env::var_os("LLAMACPP_MODEL").context("LLAMACPP_BENCH is set, LLAMACPP_MODEL is not")?;
        Ok(Some(Peer { program: program.into(), model: model.into() }))
    }

    /// Runs the program once.
    pub(crate) fn run(&self) -> Result<Run> {
        let program = self.program.display();
        let output = Command::new(&self.program)
            .arg("-m")
            .arg(&self.model)
            .args(["--device", "cpu", "-t", "2", "--budget", "1", "--only", "load,tokenize"])
            .output()
            .with_context(|| program.to_string())?;
        if !output.status.success() {
            bail!("{program}: {}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
        }
        let text = String::from_utf8_lossy(&output.stdout);
        let line =
            text.lines().find(|line| line.starts_with('{')).with_context(|| format!("{program}: no JSON"))?;
        let json: serde_json::Value = serde_json::from_str(line)?;
        let number = |key: &str| json[key].as_f64().with_context(|| format!("{program}: no number {key}"));
        Ok(Run {
            engine: json["engine"].as_str().unwrap_or("llama.cpp").to_owned(),
            tokenize_us: number("tokenize_us")?,
            vocab_load_ms: number("vocab_load_ms")?,
        })
    }
}
