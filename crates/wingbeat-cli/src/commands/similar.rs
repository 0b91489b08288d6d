//! `wingbeat similar`: the embeddings of a file that are nearest to a text's, by the cosine of their angle.
//!
//! The file is streamed, so that its size does not count.

use crate::{
    args::{EmbeddingArgs, Global, ModelArgs, count},
    embeddings::{Kind, Reader, Recipe, Row},
    input,
    interrupt::Interrupt,
    output,
    progress::Progress,
    terminal, texts,
};
use anyhow::{Context, bail, ensure};
use clap::{ArgGroup, Args};
use serde::Serialize;
use std::{
    ffi::OsString,
    fmt::Write,
    fs::File,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::ExitCode,
};
use wingbeat::Model;

/// Queries longer than this get a progress bar: shorter ones are done before it is seen.
const LONG_QUERY_BYTES: usize = 2048;

/// Find the embeddings nearest to a text's
#[derive(Args)]
#[command(group = ArgGroup::new("what").args(["query", "query_file"]).required(true))]
#[command(after_help = "\
The query is embedded as the file's texts were. A .safetensors file says how, and by which model: another model is an \
error, and so are flags that ask for something else. A .npy or .jsonl file does not say it: give the model and the flags \
that it was made with. Scores are cosines, from -1 to 1, whatever the vectors' lengths; a vector of zeros has the score 0. \
Of equal scores, the earlier is first.

--json prints {\"in\", \"model\", \"width\", \"compared\", \"results\": [{\"index\", \"score\", \"name\", \"text\"}, …]}, \
null where the file does not say it.

Examples:
  wingbeat similar \"a walk by the sea\" --in notes.safetensors
  wingbeat similar \"a walk by the sea\" --in notes.npy --names notes.txt --top 3
  wingbeat similar --query-file letter.txt --in letters.jsonl --pooling last --json")]
pub(crate) struct Similar {
    /// The text to compare with
    #[arg(value_name = "QUERY")]
    query: Option<OsString>,
    /// Read it from a file, byte for byte; - is standard input
    #[arg(long, value_name = "FILE")]
    query_file: Option<PathBuf>,
    /// Embeddings: .npy, .jsonl or .safetensors, known by their contents
    #[arg(long = "in", value_name = "FILE")]
    embeddings: PathBuf,
    /// How many to print at most
    #[arg(long, value_name = "K", default_value_t = 10, value_parser = count)]
    top: usize,
    /// What to print beside the scores: a line for each embedding, such as the file whose lines were embedded
    #[arg(long, value_name = "FILE")]
    names: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    embedding: EmbeddingArgs,
    #[command(flatten)]
    model: ModelArgs,
}

/// What was found; the keys of `--json`.
#[derive(Serialize)]
struct Report<'a> {
    r#in: &'a str,
    model: &'a str,
    width: usize,
    /// Embeddings in the file.
    compared: usize,
    results: Vec<Match>,
}

#[derive(Serialize)]
struct Match {
    index: u64,
    score: f64,
    name: Option<String>,
    text: Option<String>,
}

impl Similar {
    pub(crate) fn run(self, global: Global) -> anyhow::Result<ExitCode> {
        let query = self.query()?;
        self.embedding.check()?;
        let mut reader = Reader::open(&self.embeddings)?;
        let mut names = self.names.as_deref().map(Names::open).transpose()?;
        let model = self.model.open()?;
        let kind = self.kind(&model, &reader)?;
        let Some(options) = kind.options() else {
            bail!("{}: has {kind}, which no query can be embedded as", reader.label())
        };
        let width = model.embedding_width(&options.of)?;
        ensure!(
            width == reader.width(),
            "{}: has vectors of {} values, a query's have {width} ({kind})",
            reader.label(),
            reader.width()
        );
        let interrupt = Interrupt::heed()?;
        let bar = Progress::new(query.len() > LONG_QUERY_BYTES && !global.quiet, "embedding", "tokens", 0);
        let result = model.embed(&[&query], &options, &mut |progress| {
            bar.set(progress.done, progress.total);
            !interrupt.requested()
        });
        drop(bar);
        let query = match result {
            Err(_) if interrupt.requested() => return Ok(interrupt.exit_code()),
            result => result.context("the query")?.into_values(),
        };
        let mut ranking = Ranking { most: self.top, best: Vec::new() };
        let mut values = Vec::new();
        while let Some(mut row) = reader.next(&mut values)? {
            if let Some(names) = &mut names {
                row.text = Some(names.next(reader.label())?);
            }
            ranking.offer(cosine(&query, &values), row);
            if interrupt.requested() {
                return Ok(interrupt.exit_code());
            }
        }
        if let Some(names) = &mut names {
            names.end(reader.label(), reader.n_read())?;
        }
        let results = ranking.best.into_iter().map(|(score, row)| Match {
            index: row.index,
            score,
            name: row.name,
            text: row.text,
        });
        let report = Report {
            r#in: reader.label(),
            model: model.file().label(),
            width,
            compared: reader.n_read(),
            results: results.collect(),
        };
        if self.json {
            output::print_json(&report)?;
        } else {
            output::print(table(&report.results))?;
        }
        Ok(interrupt.exit_code())
    }

    fn query(&self) -> anyhow::Result<Vec<u8>> {
        let query = match (&self.query, &self.query_file) {
            (Some(query), _) => query.clone().into_encoded_bytes(),
            (None, Some(path)) => input::read(path)?,
            (None, None) => Vec::new(),
        };
        ensure!(!query.is_empty(), "the query is empty");
        Ok(query)
    }

    /// How the query is to be embedded: as the file says, or where it does not, as the flags do.
    fn kind(&self, model: &Model, reader: &Reader) -> anyhow::Result<Kind> {
        let given = self.embedding.kind(model)?;
        let Some(recipe) = reader.recipe() else { return Ok(given) };
        let Recipe { model: name, fingerprint, kind, .. } = recipe;
        let shown = |text: &str| text.chars().take(100).flat_map(char::escape_debug).collect::<String>();
        ensure!(
            fingerprint == model.fingerprint(),
            "{}: was made by `{}` ({}), not by `{}` ({})",
            reader.label(),
            shown(name),
            shown(fingerprint),
            model.config().name,
            model.fingerprint()
        );
        ensure!(
            !self.embedding.is_given() || *kind == given,
            "{}: has {kind}, the flags ask for {given}",
            reader.label()
        );
        Ok(kind.clone())
    }
}

/// Cosine of the angle between two vectors; 0 where one of them has no length.
fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let (mut ab, mut aa, mut bb) = (0.0, 0.0, 0.0);
    for (&a, &b) in a.iter().zip(b) {
        let (a, b) = (f64::from(a), f64::from(b));
        ab += a * b;
        aa += a * a;
        bb += b * b;
    }
    // Each root by itself: the product of the squares may be out of range.
    let lengths = aa.sqrt() * bb.sqrt();
    if lengths > 0.0 { (ab / lengths).clamp(-1.0, 1.0) } else { 0.0 }
}

/// The best so far, the best first.
struct Ranking {
    most: usize,
    best: Vec<(f64, Row)>,
}

impl Ranking {
    fn offer(&mut self, score: f64, row: Row) {
        // Behind those that are as good.
        let place = self.best.partition_point(|(other, _)| *other >= score);
        if place < self.most {
            self.best.truncate(self.most - 1);
            self.best.insert(place, (score, row));
        }
    }
}

/// A line for each embedding, read beside them.
struct Names {
    label: String,
    file: BufReader<File>,
    n_read: usize,
}

impl Names {
    fn open(path: &Path) -> anyhow::Result<Names> {
        let label = path.display().to_string();
        let file = File::open(path).with_context(|| label.clone())?;
        Ok(Names { label, file: BufReader::new(file), n_read: 0 })
    }

    fn line(&mut self) -> anyhow::Result<Option<String>> {
        let mut line = Vec::new();
        let n_bytes = self.file.read_until(b'\n', &mut line).with_context(|| self.label.clone())?;
        texts::trim_line_end(&mut line);
        self.n_read += 1;
        Ok((n_bytes > 0).then(|| String::from_utf8_lossy(&line).into_owned()))
    }

    fn next(&mut self, embeddings: &str) -> anyhow::Result<String> {
        let n_before = self.n_read;
        match self.line()? {
            Some(line) => Ok(line),
            None => {
                bail!("{}: has {n_before} lines, fewer than there are embeddings in {embeddings}", self.label)
            }
        }
    }

    fn end(&mut self, embeddings: &str, n_rows: usize) -> anyhow::Result<()> {
        match self.line()? {
            None => Ok(()),
            Some(_) => bail!("{}: has more lines than the {n_rows} embeddings in {embeddings}", self.label),
        }
    }
}

/// A line for each: score, name or number, text.
fn table(results: &[Match]) -> String {
    let names: Vec<String> = results
        .iter()
        .map(|found| found.name.as_deref().map_or_else(|| found.index.to_string(), terminal::on_one_line))
        .collect();
    let width = names.iter().map(|name| terminal::columns(name)).max().unwrap_or(0);
    let columns = terminal::width().unwrap_or(usize::MAX);
    let mut table = String::new();
    for (found, name) in results.iter().zip(&names) {
        let padding = " ".repeat(width - terminal::columns(name));
        let text = found.text.as_deref().map_or_else(String::new, terminal::on_one_line);
        let line = format!("{:>7.4}  {name}{padding}  {text}", found.score);
        // Writing to a string cannot fail.
        let _ = writeln!(table, "{}", terminal::cut(line.trim_end(), columns));
    }
    table
}

#[cfg(test)]
mod tests;
