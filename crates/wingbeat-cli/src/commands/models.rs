//! `wingbeat models`: the models in the Hugging Face hub's cache.

use crate::{hub, output};
use clap::Args;
use serde_json::json;
use std::{fmt::Write, path::Path, process::ExitCode};
use wingbeat::{ModelFile, Version};
use wingbeat_hub::{Cached, CachedModel};

/// Digits of a commit that are shown.
const COMMIT_DIGITS: usize = 8;

/// List the models that were fetched from the hub
#[derive(Args)]
#[command(after_help = "\
Whatever tool fetched them. `--model hf:REPO:FILE` runs one; the version is that of an RWKV model that can be run, or -. \
The cache is at HF_HUB_CACHE, or at hub in HF_HOME, or at ~/.cache/huggingface/hub; files there may be removed.

--json prints {\"cache\", \"models\": [{\"repo\", \"file\", \"bytes\", \"version\", \"revisions\", \"commit\", \"path\"}], \
\"partial\": [{\"repo\", \"bytes\", \"path\"}]}; `partial` are downloads that were not finished.

Examples:
  wingbeat models
  wingbeat models --json")]
pub(crate) struct Models {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Models {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let hub = hub::hub()?;
        let (cached, cache) = (hub.cached()?, &hub.settings().cache);
        match self.json {
            true => output::print_json(&as_json(&cached, cache))?,
            false => output::print(as_text(&cached, cache))?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// The RWKV version of a model; none if it cannot be run.
fn version(model: &CachedModel) -> Option<&'static str> {
    let file = ModelFile::open(&model.path).ok()?;
    Some(Version::detect(&file).ok()?.name())
}

fn as_json(cached: &Cached, cache: &Path) -> serde_json::Value {
    let model = |model: &CachedModel| {
        json!({
            "repo": model.repo,
            "file": model.file,
            "bytes": model.n_bytes,
            "version": version(model),
            "revisions": model.revisions,
            "commit": model.commit,
            "path": model.path.display().to_string(),
        })
    };
    let partial = |partial: &wingbeat_hub::Partial| {
        json!({
            "repo": partial.repo,
            "bytes": partial.n_bytes,
            "path": partial.path.display().to_string(),
        })
    };
    json!({
        "cache": cache.display().to_string(),
        "models": cached.models.iter().map(model).collect::<Vec<_>>(),
        "partial": cached.partial.iter().map(partial).collect::<Vec<_>>(),
    })
}

fn as_text(cached: &Cached, cache: &Path) -> String {
    let mut text = String::new();
    let rows: Vec<[String; 6]> = cached.models.iter().map(row).collect();
    let head = ["repository", "file", "size", "version", "revision", "path"].map(str::to_owned);
    let table: Vec<&[String; 6]> = std::iter::once(&head).chain(&rows).collect();
    let width = |column: usize| table.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..5).map(width).collect();
    if !rows.is_empty() {
        for [repo, file, size, version, revision, path] in table {
            // Writing to a string cannot fail.
            let _ = writeln!(
                text,
                "{repo:<0$}  {file:<1$}  {size:>2$}  {version:<3$}  {revision:<4$}  {path}",
                widths[0], widths[1], widths[2], widths[3], widths[4]
            );
        }
    }
    for partial in &cached.partial {
        let (repo, size, path) = (printable(&partial.repo), size(partial.n_bytes), partial.path.display());
        let _ = writeln!(
            text,
            "{repo}: {size} of a download that was not finished: {}",
            printable(&path.to_string())
        );
    }
    if text.is_empty() {
        let _ = writeln!(text, "no models in {}", printable(&cache.display().to_string()));
    }
    text
}

fn row(model: &CachedModel) -> [String; 6] {
    let commit: String = model.commit.chars().take(COMMIT_DIGITS).collect();
    let revision = match &model.revisions[..] {
        [] => commit,
        names => format!("{} ({commit})", names.join(", ")),
    };
    [
        printable(&model.repo),
        printable(&model.file),
        size(model.n_bytes),
        version(model).unwrap_or("-").to_owned(),
        printable(&revision),
        printable(&model.path.display().to_string()),
    ]
}

/// `1.34 GB`
fn size(bytes: u64) -> String {
    match bytes {
        1_000_000_000.. => format!("{:.2} GB", bytes as f64 / 1e9),
        1_000_000.. => format!("{:.1} MB", bytes as f64 / 1e6),
        _ => format!("{:.1} kB", bytes as f64 / 1e3),
    }
}

/// A name from a file system, fit for one line of a terminal whatever is in it.
fn printable(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { c.escape_default().to_string() } else { c.to_string() })
        .collect()
}
