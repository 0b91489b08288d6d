//! Embeddings out of a file, row by row; the format is found by the contents.
//!
//! Sizes are checked against the file before anything is made of them. Rows with values that are not finite are refused.

use super::{Recipe, TENSOR, npy, write::NAMES};
use anyhow::{Context, anyhow, bail, ensure};
use serde::Deserialize;
use std::{
    fs::File,
    io::{BufRead, BufReader, Read, Seek},
    path::Path,
};
use wingbeat_format::{DType, FileFormat, ModelFile};

/// Bytes by which a format is known: those of a safetensors header's length, and the first of the header.
const N_TELLING_BYTES: u64 = 9;

/// A file of embeddings.
pub(crate) struct Reader {
    /// The path, for messages.
    label: String,
    width: usize,
    recipe: Option<Recipe>,
    /// As many as there are rows, or none.
    names: Vec<String>,
    n_read: usize,
    form: Form,
}

/// What a file says of a row besides its values.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Row {
    /// The number that the file gives it, else its place, from 0.
    pub(crate) index: u64,
    pub(crate) name: Option<String>,
    pub(crate) text: Option<String>,
}

enum Form {
    Npy { file: BufReader<File>, n_rows: usize },
    Jsonl { file: BufReader<File>, n_lines: u64, next: Option<Line> },
    Safetensors { file: ModelFile, n_rows: usize },
}

/// A line of a `.jsonl` file: what is read of it.
#[derive(Deserialize)]
struct Line {
    index: Option<u64>,
    name: Option<String>,
    file: Option<String>,
    line: Option<u64>,
    text: Option<String>,
    embedding: Vec<f32>,
}

impl Reader {
    /// Opens a file.
    ///
    /// # Errors
    /// It cannot be read, is of no format that is known, is damaged, or holds nothing.
    pub(crate) fn open(path: &Path) -> anyhow::Result<Reader> {
        let label = path.display().to_string();
        Reader::of(path, label.clone()).context(label)
    }

    fn of(path: &Path, label: String) -> anyhow::Result<Reader> {
        let mut file = File::open(path)?;
        let info = file.metadata()?;
        ensure!(!info.is_dir(), "expected a file, found a directory");
        ensure!(info.is_file(), "expected a file, found a device or pipe");
        let mut start = Vec::new();
        (&mut file).take(N_TELLING_BYTES).read_to_end(&mut start)?;
        file.rewind()?;
        let mut reader = if start.starts_with(npy::MAGIC) {
            Reader::npy(BufReader::with_capacity(1 << 20, file), info.len())?
        } else if start.get(8) == Some(&b'{') && !start.starts_with(b"{") {
            Reader::safetensors(path)?
        } else if start.trim_ascii_start().starts_with(b"{") {
            Reader::jsonl(BufReader::with_capacity(1 << 20, file))?
        } else {
            bail!(
                "expected embeddings as .npy, .jsonl or .safetensors, found {} bytes of something else",
                info.len()
            )
        };
        ensure!(reader.width > 0, "expected embeddings, found rows of width 0");
        reader.label = label;
        Ok(reader)
    }

    fn new(width: usize, form: Form) -> Reader {
        Reader { label: String::new(), width, recipe: None, names: Vec::new(), n_read: 0, form }
    }

    fn npy(mut file: BufReader<File>, len: u64) -> anyhow::Result<Reader> {
        let header = npy::read_header(&mut file)?;
        let (n_rows, n_cols) = (header.n_rows, header.n_cols);
        let n_values = n_rows.checked_mul(n_cols).and_then(|n| n.checked_mul(size_of::<f32>()));
        let n_bytes = n_values.and_then(|n| header.n_bytes.checked_add(n as u64));
        match n_bytes {
            Some(n_bytes) if n_bytes == len => {}
            Some(n_bytes) => bail!("expected {n_bytes} bytes for shape ({n_rows}, {n_cols}), found {len}"),
            None => bail!("shape ({n_rows}, {n_cols}): expected one that fits the address space"),
        }
        ensure!(n_rows > 0, "expected at least one embedding, found none");
        Ok(Reader::new(n_cols, Form::Npy { file, n_rows }))
    }

    fn jsonl(mut file: BufReader<File>) -> anyhow::Result<Reader> {
        let mut n_lines = 0;
        let first = next_line(&mut file, &mut n_lines)?;
        let width = first.as_ref().map_or(0, |line| line.embedding.len());
        Ok(Reader::new(width, Form::Jsonl { file, n_lines, next: first }))
    }

    fn safetensors(path: &Path) -> anyhow::Result<Reader> {
        let file = ModelFile::open(path)?;
        ensure!(
            file.format() == FileFormat::Safetensors,
            "expected embeddings, found a {} file",
            file.format().name()
        );
        let tensor = file.tensor(TENSOR).ok_or_else(|| {
            let names: Vec<String> =
                file.tensors().iter().take(4).map(|tensor| format!("{:?}", tensor.name)).collect();
            anyhow!(
                "expected a tensor `{TENSOR}`, found {}",
                if names.is_empty() { "none".to_owned() } else { names.join(", ") }
            )
        })?;
        let &[n_rows, width] = &tensor.shape[..] else {
            bail!("tensor `{TENSOR}`: expected shape (texts, width), found {:?}", tensor.shape)
        };
        ensure!(tensor.dtype == DType::F32, "tensor `{TENSOR}`: expected F32, found {}", tensor.dtype.name());
        ensure!(n_rows > 0, "expected at least one embedding, found none");
        let recipe = Recipe::read(file.metadata())?;
        let names: Vec<String> = match file.metadata().str(NAMES) {
            Some(json) => serde_json::from_str(json).with_context(|| format!("`{NAMES}`"))?,
            None => Vec::new(),
        };
        ensure!(
            names.is_empty() || names.len() == n_rows,
            "`{NAMES}`: expected {n_rows} names, found {}",
            names.len()
        );
        let form = Form::Safetensors { file, n_rows };
        Ok(Reader { recipe, names, ..Reader::new(width, form) })
    }

    /// The path, for messages.
    pub(crate) fn label(&self) -> &str {
        &self.label
    }

    /// Values of a row.
    pub(crate) fn width(&self) -> usize {
        self.width
    }

    /// What made the rows, where the file says it.
    pub(crate) fn recipe(&self) -> Option<&Recipe> {
        self.recipe.as_ref()
    }

    /// Rows read so far.
    pub(crate) fn n_read(&self) -> usize {
        self.n_read
    }

    /// The next row, with its values in `values`; none at the end.
    ///
    /// # Errors
    /// The file is damaged, or a value is not finite.
    pub(crate) fn next(&mut self, values: &mut Vec<f32>) -> anyhow::Result<Option<Row>> {
        let row = self.read(values).with_context(|| self.label.clone())?;
        if row.is_some() {
            self.n_read += 1;
        }
        Ok(row)
    }

    fn read(&mut self, values: &mut Vec<f32>) -> anyhow::Result<Option<Row>> {
        values.clear();
        let mut row = Row { index: self.n_read as u64, ..Row::default() };
        match &mut self.form {
            Form::Npy { n_rows, .. } | Form::Safetensors { n_rows, .. } if self.n_read == *n_rows => {
                return Ok(None);
            }
            Form::Npy { file, .. } => {
                values.resize(self.width, 0.0);
                let mut bytes = [0; size_of::<f32>()];
                for value in values.iter_mut() {
                    file.read_exact(&mut bytes)?;
                    *value = f32::from_le_bytes(bytes);
                }
            }
            Form::Safetensors { file, .. } => {
                let data = file.tensor(TENSOR).map_or(&[][..], |tensor| &tensor.data[..]);
                let (values_in_row, _) = data.as_chunks::<{ size_of::<f32>() }>();
                let row = values_in_row.chunks_exact(self.width).nth(self.n_read).unwrap_or_default();
                values.extend(row.iter().map(|bytes| f32::from_le_bytes(*bytes)));
                file.check_intact()?;
            }
            Form::Jsonl { file, n_lines, next } => {
                let line = match next.take() {
                    Some(line) => line,
                    None => match next_line(file, n_lines)? {
                        Some(line) => line,
                        None => return Ok(None),
                    },
                };
                let found = line.embedding.len();
                ensure!(found == self.width, "line {n_lines}: expected {} values, found {found}", self.width);
                row = Row { index: line.index.unwrap_or(row.index), name: line.label(), text: line.text };
                *values = line.embedding;
            }
        }
        if let Some(name) = self.names.get(self.n_read) {
            row.name = Some(name.clone());
        }
        match values.iter().position(|value| !value.is_finite()) {
            Some(at) => bail!("embedding {} is not finite: value {at} is {}", self.n_read, values[at]),
            None => Ok(Some(row)),
        }
    }
}

impl Line {
    fn label(&self) -> Option<String> {
        match (&self.name, &self.file, self.line) {
            (Some(name), _, _) => Some(name.clone()),
            (None, Some(file), Some(line)) => Some(format!("{file}:{line}")),
            (None, Some(file), None) => Some(file.clone()),
            (None, None, _) => None,
        }
    }
}

/// The next line that is not blank.
fn next_line(file: &mut BufReader<File>, n_lines: &mut u64) -> anyhow::Result<Option<Line>> {
    let mut bytes = Vec::new();
    loop {
        bytes.clear();
        if file.read_until(b'\n', &mut bytes)? == 0 {
            return Ok(None);
        }
        *n_lines += 1;
        if !bytes.trim_ascii().is_empty() {
            return match serde_json::from_slice(&bytes) {
                Ok(line) => Ok(Some(line)),
                Err(error) => bail!("line {n_lines}, {}", without_line(&error)),
            };
        }
    }
}

/// An error of a text of one line, without that line's number.
fn without_line(error: &serde_json::Error) -> String {
    let place = format!(" at line {} column {}", error.line(), error.column());
    let text = error.to_string();
    format!("column {}: {}", error.column(), text.strip_suffix(&place).unwrap_or(&text))
}

#[cfg(test)]
mod tests;
