//! Embeddings into a file or standard output, row by row.
//!
//! A file is complete or not there. The number of rows is known from the start; a writer that got fewer does not finish.

use super::{Format, Recipe, TENSOR, npy};
use crate::new_file::NewFile;
use anyhow::{Context, ensure};
use serde::Serialize;
use std::{
    fs::File,
    io::{self, BufWriter, StdoutLock, Write},
    path::PathBuf,
};
use tempfile::TempDir;
use wingbeat_format::{DType, TensorSpec, safetensors};

/// Where the rows' names stand in the metadata of a safetensors file: a list in JSON.
pub(super) const NAMES: &str = "wingbeat.embeddings.names";

/// Where embeddings go.
#[derive(Clone)]
pub(crate) enum Target {
    File(PathBuf),
    Stdout,
}

/// What a row is of.
#[derive(Clone, Copy)]
pub(crate) enum Label<'a> {
    /// A text: its file, and its line if it is one.
    Text {
        file: &'a str,
        line: Option<u64>,
    },
    Name(&'a str),
}

/// Embeddings under way.
pub(crate) struct Writer {
    form: Form,
    width: usize,
    n_rows: usize,
    n_written: usize,
    /// Of one row.
    bytes: Vec<u8>,
}

enum Form {
    Npy(Sink),
    Jsonl(Sink),
    Safetensors {
        writer: safetensors::Writer,
        /// Where it is written before it goes to standard output.
        copied_from: Option<(TempDir, PathBuf)>,
    },
}

enum Sink {
    File(NewFile),
    Stdout(BufWriter<StdoutLock<'static>>),
}

/// A line of a `.jsonl` file.
#[derive(Serialize)]
struct Line<'a> {
    index: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<&'a str>,
    embedding: &'a [f32],
}

impl Writer {
    /// Begins a matrix `(n_rows, width)`. `names` has one for each row, or is empty; only safetensors files need them now.
    pub(crate) fn create(
        target: &Target,
        format: Format,
        (n_rows, width): (usize, usize),
        recipe: &Recipe,
        names: &[String],
    ) -> anyhow::Result<Writer> {
        let form = match format {
            Format::Npy => {
                let mut sink = Sink::open(target)?;
                sink.put(&npy::header(n_rows, width))?;
                Form::Npy(sink)
            }
            Format::Jsonl => Form::Jsonl(Sink::open(target)?),
            Format::Safetensors => {
                let (path, copied_from) = match target {
                    Target::File(path) => (path.clone(), None),
                    Target::Stdout => {
                        let folder = tempfile::Builder::new().prefix("wingbeat-").tempdir();
                        let folder = folder.context("a temporary folder")?;
                        let path = folder.path().join("embeddings.safetensors");
                        (path.clone(), Some((folder, path)))
                    }
                };
                let mut metadata = recipe.metadata();
                if !names.is_empty() {
                    metadata.insert(NAMES, serde_json::to_string(names)?);
                }
                let spec =
                    TensorSpec { name: TENSOR.to_owned(), dtype: DType::F32, shape: vec![n_rows, width] };
                let writer = safetensors::Writer::create(&path, &metadata, &[spec])?;
                Form::Safetensors { writer, copied_from }
            }
        };
        Ok(Writer { form, width, n_rows, n_written: 0, bytes: Vec::new() })
    }

    /// Writes the next row; only `.jsonl` files keep its label and text.
    pub(crate) fn push(
        &mut self,
        label: Label<'_>,
        text: Option<&str>,
        embedding: &[f32],
    ) -> anyhow::Result<()> {
        ensure!(embedding.len() == self.width, "a row of {}, expected {}", embedding.len(), self.width);
        self.bytes.clear();
        if let Form::Jsonl(_) = &self.form {
            let (name, file, line) = match label {
                Label::Text { file, line } => (None, Some(file), line),
                Label::Name(name) => (Some(name), None, None),
            };
            let line = Line { index: self.n_written, name, file, line, text, embedding };
            serde_json::to_writer(&mut self.bytes, &line)?;
            self.bytes.push(b'\n');
        } else {
            self.bytes.extend(embedding.iter().flat_map(|value| value.to_le_bytes()));
        }
        match &mut self.form {
            Form::Npy(sink) | Form::Jsonl(sink) => sink.put(&self.bytes)?,
            Form::Safetensors { writer, .. } => writer.write(&self.bytes)?,
        }
        self.n_written += 1;
        Ok(())
    }

    /// Sends off what has come so far, where someone may be reading it.
    pub(crate) fn flush(&mut self) -> anyhow::Result<()> {
        match &mut self.form {
            Form::Npy(Sink::Stdout(out)) | Form::Jsonl(Sink::Stdout(out)) => {
                out.flush().context("standard output")
            }
            _ => Ok(()),
        }
    }

    /// Puts the complete file in its place.
    pub(crate) fn finish(mut self) -> anyhow::Result<()> {
        ensure!(
            self.n_written == self.n_rows,
            "the files changed while they were read: expected {} texts, found {}",
            self.n_rows,
            self.n_written
        );
        self.flush()?;
        match self.form {
            Form::Npy(Sink::File(file)) | Form::Jsonl(Sink::File(file)) => file.finish(),
            Form::Npy(Sink::Stdout(_)) | Form::Jsonl(Sink::Stdout(_)) => Ok(()),
            Form::Safetensors { writer, copied_from } => {
                writer.finish()?;
                let Some((_folder, path)) = copied_from else { return Ok(()) };
                let mut file = File::open(&path).with_context(|| path.display().to_string())?;
                let mut out = io::stdout().lock();
                io::copy(&mut file, &mut out).and_then(|_| out.flush()).context("standard output")
            }
        }
    }
}

impl Sink {
    fn open(target: &Target) -> anyhow::Result<Sink> {
        match target {
            Target::File(path) => Ok(Sink::File(NewFile::create(path)?)),
            Target::Stdout => Ok(Sink::Stdout(BufWriter::with_capacity(1 << 16, io::stdout().lock()))),
        }
    }

    fn put(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        match self {
            Sink::File(file) => file.write_all(bytes).with_context(|| file.path().display().to_string()),
            Sink::Stdout(out) => out.write_all(bytes).context("standard output"),
        }
    }
}
