//! `wingbeat inspect`: what is in a file, without loading it.
//!
//! Facts are gathered once and shown as text or JSON. A file that is no RWKV model is shown too, with a note on why.

use crate::{args::Global, demo, embeddings::Recipe, hub, output};
use clap::Args;
use serde::Serialize;
use serde_json::{Map, Value as Json, json};
use std::{fmt::Write, path::PathBuf, process::ExitCode};
use wingbeat::{
    Config, DType, FileFormat, ModelFile, Version, chat::TEMPLATES, chat::Template, vocabulary_of,
};
use wingbeat_format::{Array, Metadata, Part, Tensor, Value};
use wingbeat_model::{Catalog, Layout};

/// Elements of a longer metadata array that are shown.
const SHOWN_ELEMENTS: usize = 4;
/// Arrays up to this length are shown whole.
const SHORT_ARRAY: usize = 16;
/// Bytes of a longer metadata string that are shown: in JSON, and in the table.
const SHOWN_BYTES: usize = 1024;
const SHOWN_IN_TABLE: usize = 80;
/// Size of the World models' vocabulary.
const WORLD_TOKENS: usize = 65536;
/// What tells a saved state.
const STATE_KEY: &str = "wingbeat.state";

/// Show what a file of a model, a state or embeddings holds
#[derive(Args)]
#[command(after_help = "\
Nothing is loaded: only the file's header is read.

Examples:
  wingbeat inspect
  wingbeat inspect model.gguf
  wingbeat inspect --json model.safetensors")]
pub(crate) struct Inspect {
    /// File of a model, a state or embeddings: GGUF, safetensors, .pth or .bin of rwkv.cpp; a model's folder; or
    /// hf:USER/REPO[:TYPE] [default: the demo model]
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Inspect {
    pub(crate) fn run(self, global: Global) -> anyhow::Result<ExitCode> {
        let file = match hub::locate_some(&self.file, global.quiet)? {
            Some(path) => ModelFile::open(path)?,
            None => demo::file()?,
        };
        let facts = Facts::of(&file);
        if self.json {
            output::print_json(&facts.json(&file))?
        } else {
            output::print(facts.text(&file))?
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// What is to be said of a file besides its tensors and metadata.
struct Facts {
    kind: Kind,
    architecture: Option<String>,
    /// Of an RWKV model that can be run.
    model: Option<ModelFacts>,
    vocabulary: Vocabulary,
    chat_template: Option<&'static str>,
    totals: Vec<Total>,
    /// What keeps the file from being run, or what else it is.
    note: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Model,
    State,
    Embeddings,
    Other,
}

struct ModelFacts {
    config: Config,
    n_parameters: usize,
    state_bytes: usize,
}

enum Vocabulary {
    None,
    World,
    InFile { n_ids: usize },
    Broken(String),
}

/// The tensors of one type together.
#[derive(Serialize)]
struct Total {
    #[serde(rename = "type")]
    dtype: &'static str,
    tensors: usize,
    bytes: usize,
}

impl Facts {
    fn of(file: &ModelFile) -> Facts {
        let metadata = file.metadata();
        let totals = DType::all().filter_map(|dtype| Total::of(file, dtype)).collect();
        let named = metadata.str("general.architecture").map(str::to_owned);
        let mut facts = Facts {
            kind: Kind::Other,
            architecture: named,
            model: None,
            vocabulary: Vocabulary::None,
            chat_template: None,
            totals,
            note: None,
        };
        if metadata.str(STATE_KEY).is_some() {
            facts.kind = Kind::State;
            facts.note = Some(state_note(metadata));
            return facts;
        }
        if let Ok(Some(recipe)) = Recipe::read(metadata) {
            facts.kind = Kind::Embeddings;
            facts.note = Some(embeddings_note(file, &recipe));
            return facts;
        }
        match model_facts(file) {
            Ok(model) => {
                facts.kind = Kind::Model;
                facts.architecture = Some(model.config.version.name().to_owned());
                facts.vocabulary = Vocabulary::of(file, model.config.n_vocab);
                let template = metadata.str("tokenizer.chat_template").and_then(Template::by_name);
                facts.chat_template = template.or(TEMPLATES.first()).map(|template| template.name);
                facts.model = Some(model);
            }
            Err(error) => facts.note = Some(format!("cannot be run: {error}")),
        }
        facts
    }

    fn json(&self, file: &ModelFile) -> Json {
        let config = self.model.as_ref().map(|model| &model.config);
        let number = |get: fn(&Config) -> usize| config.map(get);
        let low_ranks = config.map(|c| c.low_ranks.iter().map(|(l, n)| (l.to_string(), json!(n))).collect());
        json!({
            "file": file.label(),
            "kind": self.kind,
            "format": file.format().name(),
            "format_version": file.format_version(),
            "layout": self.model.as_ref().map(|_| Layout::of(file).name()),
            "files": file.parts().iter().map(part_json).collect::<Vec<_>>(),
            "size_bytes": file.len_bytes(),
            "architecture": self.architecture,
            "name": config.map(|c| &c.name),
            "n_layers": number(|c| c.n_layers),
            "n_channels": number(|c| c.n_channels),
            "n_heads": number(|c| c.n_heads),
            "head_size": number(|c| c.head_size),
            "n_ffn": number(|c| c.n_ffn),
            "n_vocab": number(|c| c.n_vocab),
            "low_ranks": low_ranks.map(Json::Object),
            "parameters": self.model.as_ref().map(|model| model.n_parameters),
            "state_bytes": self.model.as_ref().map(|model| model.state_bytes),
            "vocabulary": self.vocabulary.source(),
            "chat_template": self.chat_template,
            "note": self.note,
            "metadata": metadata_json(file.metadata()),
            "totals": self.totals,
            "tensors": file.tensors().iter().map(tensor_json).collect::<Vec<_>>(),
        })
    }

    fn text(&self, file: &ModelFile) -> String {
        let mut text = format!("{}\n", printable(file.label().as_bytes(), usize::MAX));
        let mut line = |name: &str, value: String| {
            let _ = writeln!(text, "  {name:<14} {value}");
        };
        let format = match file.format() {
            format @ (FileFormat::Gguf | FileFormat::RwkvCpp) => {
                format!("{} v{}", format.name(), file.format_version())
            }
            format => format.name().to_owned(),
        };
        line("format", format!("{format}, {}", size(file.len_bytes())));
        if file.parts().len() > 1 {
            line("files", format!("{} shards", file.parts().len()));
        }
        if self.model.is_some() {
            line("layout", Layout::of(file).name().to_owned());
        }
        if let Some(architecture) = &self.architecture {
            line("architecture", printable(architecture.as_bytes(), SHOWN_IN_TABLE));
        }
        if let Some(ModelFacts { config, n_parameters, state_bytes }) = &self.model {
            line("name", printable(config.name.as_bytes(), SHOWN_IN_TABLE));
            line("parameters", format!("{} ({n_parameters})", millions(*n_parameters)));
            line("layers", config.n_layers.to_string());
            line("channels", config.n_channels.to_string());
            line("heads", format!("{} of {}", config.n_heads, config.head_size));
            line("ffn", config.n_ffn.to_string());
            let ranks: Vec<String> = config.low_ranks.iter().map(|(l, n)| format!("{l} {n}")).collect();
            line("low ranks", ranks.join(", "));
            line("tokens", config.n_vocab.to_string());
            line("state", size(*state_bytes as u64));
            line("vocabulary", self.vocabulary.text());
            line("chat template", self.chat_template.unwrap_or("none").to_owned());
        }
        if let Some(note) = &self.note {
            line("note", printable(note.as_bytes(), usize::MAX));
        }
        let metadata = file.metadata();
        if !metadata.is_empty() {
            text.push_str("\nmetadata\n");
            let width = metadata.iter().map(|(key, _)| key.chars().count()).max().unwrap_or(0).min(60);
            for (key, value) in metadata.iter() {
                let _ = writeln!(text, "  {:<width$}  {}", printable(key.as_bytes(), 200), value_text(value));
            }
        }
        if file.parts().len() > 1 {
            text.push_str("\nfiles\n");
            for part in file.parts() {
                let label = printable(part.label.as_bytes(), usize::MAX);
                let _ = writeln!(text, "  {label}  {}", size(part.bytes.len() as u64));
            }
        }
        let _ = writeln!(text, "\ntensors");
        text.push_str(&tensor_table(file.tensors()));
        let _ = writeln!(text, "\ntotals");
        for Total { dtype, tensors, bytes } in &self.totals {
            let _ = writeln!(text, "  {dtype:<5} {tensors:>5} tensors {:>25}", size(*bytes as u64));
        }
        text
    }
}

fn model_facts(file: &ModelFile) -> Result<ModelFacts, wingbeat::ModelError> {
    let version = Version::detect(file)?;
    let config = version.config(file)?;
    // Whether every tensor is there in its right shape; tensors that no layer uses don't count.
    let catalog = Catalog::new(file, &config)?;
    let n_parameters = catalog.weights().iter().map(|weight| weight.shape.iter().product::<usize>()).sum();
    let state_bytes = version.state_layout(&config).len_bytes();
    Ok(ModelFacts { config, n_parameters, state_bytes })
}

fn state_note(metadata: &Metadata) -> String {
    let text = |key| metadata.str(key).unwrap_or("?");
    format!(
        "a saved state of `{}` ({}) after {} tokens",
        text("wingbeat.model.name"),
        text("wingbeat.model.fingerprint"),
        text("wingbeat.state.tokens")
    )
}

fn embeddings_note(file: &ModelFile, recipe: &Recipe) -> String {
    let shape = file.tensors().first().map_or(&[][..], |tensor| &tensor.shape);
    let Recipe { model, fingerprint, kind, normalized } = recipe;
    let scale = if *normalized { ", of length 1" } else { "" };
    format!("embeddings {shape:?} by `{model}` ({fingerprint}): {kind}{scale}")
}

impl Vocabulary {
    fn of(file: &ModelFile, n_vocab: usize) -> Vocabulary {
        match vocabulary_of(file) {
            Ok(Some(vocabulary)) => Vocabulary::InFile { n_ids: vocabulary.len() },
            Ok(None) if n_vocab == WORLD_TOKENS => Vocabulary::World,
            Ok(None) => Vocabulary::None,
            Err(error) => Vocabulary::Broken(error.to_string()),
        }
    }

    fn source(&self) -> &'static str {
        match self {
            Vocabulary::None => "none",
            Vocabulary::World => "world",
            Vocabulary::InFile { .. } => "file",
            Vocabulary::Broken(_) => "broken",
        }
    }

    fn text(&self) -> String {
        match self {
            Vocabulary::None => "none: one must be given with --vocab".to_owned(),
            Vocabulary::World => "World".to_owned(),
            Vocabulary::InFile { n_ids } => format!("in the file, {n_ids} ids"),
            Vocabulary::Broken(why) => format!("in the file, broken: {}", printable(why.as_bytes(), 200)),
        }
    }
}

impl Total {
    fn of(file: &ModelFile, dtype: DType) -> Option<Total> {
        let sizes: Vec<usize> =
            file.tensors().iter().filter(|t| t.dtype == dtype).map(|tensor| tensor.data.len()).collect();
        let total = Total { dtype: dtype.name(), tensors: sizes.len(), bytes: sizes.iter().sum() };
        (total.tensors > 0).then_some(total)
    }
}

fn part_json(part: &Part) -> Json {
    json!({ "file": part.label, "size_bytes": part.bytes.len() })
}

fn tensor_json(tensor: &Tensor) -> Json {
    json!({
        "name": tensor.name,
        "type": tensor.dtype.name(),
        "shape": tensor.shape,
        "bytes": tensor.data.len(),
    })
}

fn tensor_table(tensors: &[Tensor]) -> String {
    let mut rows = vec![["name", "type", "shape", "bytes"].map(str::to_owned)];
    rows.extend(tensors.iter().map(|tensor| {
        let shape: Vec<String> = tensor.shape.iter().map(usize::to_string).collect();
        let name = printable(tensor.name.as_bytes(), SHOWN_IN_TABLE);
        [name, tensor.dtype.name().to_owned(), shape.join(" × "), tensor.data.len().to_string()]
    }));
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths = [width(0), width(1), width(2), width(3)];
    let mut table = String::new();
    for [name, dtype, shape, bytes] in &rows {
        let [w_name, w_dtype, w_shape, w_bytes] = widths;
        let _ = writeln!(table, "  {name:<w_name$}  {dtype:<w_dtype$}  {shape:<w_shape$}  {bytes:>w_bytes$}");
    }
    table
}

fn metadata_json(metadata: &Metadata) -> Map<String, Json> {
    metadata.iter().map(|(key, value)| (key.to_owned(), value_json(value))).collect()
}

/// A metadata value; of a long array `{"length", "first"}`, of a long string its beginning.
fn value_json(value: &Value) -> Json {
    match value {
        Value::U8(x) => json!(x),
        Value::I8(x) => json!(x),
        Value::U16(x) => json!(x),
        Value::I16(x) => json!(x),
        Value::U32(x) => json!(x),
        Value::I32(x) => json!(x),
        Value::F32(x) => json!(x),
        Value::U64(x) => json!(x),
        Value::I64(x) => json!(x),
        Value::F64(x) => json!(x),
        Value::Bool(x) => json!(x),
        Value::String(x) => json!(cut(x, SHOWN_BYTES)),
        Value::Array(x) if x.len() <= SHORT_ARRAY => Json::Array(elements(x, SHORT_ARRAY)),
        Value::Array(x) => json!({ "length": x.len(), "first": elements(x, SHOWN_ELEMENTS) }),
    }
}

/// The first elements of an array.
fn elements(array: &Array, n: usize) -> Vec<Json> {
    fn some<T: Copy + Into<Json>>(values: &[T], n: usize) -> Vec<Json> {
        values.iter().take(n).map(|&value| value.into()).collect()
    }
    match array {
        Array::U8(x) => some(x, n),
        Array::I8(x) => some(x, n),
        Array::U16(x) => some(x, n),
        Array::I16(x) => some(x, n),
        Array::U32(x) => some(x, n),
        Array::I32(x) => some(x, n),
        Array::F32(x) => some(x, n),
        Array::U64(x) => some(x, n),
        Array::I64(x) => some(x, n),
        Array::F64(x) => some(x, n),
        Array::Bool(x) => some(x, n),
        Array::Strings(x) => x.iter().take(n).map(|s| json!(cut(s, SHOWN_BYTES))).collect(),
        Array::Nested(x) => x.iter().take(n).map(|array| value_json(&Value::Array(array.clone()))).collect(),
    }
}

fn value_text(value: &Value) -> String {
    match value {
        Value::String(text) => printable(text, SHOWN_IN_TABLE),
        Value::Array(array) if array.len() > SHORT_ARRAY => {
            let first: Vec<String> = elements(array, SHOWN_ELEMENTS).iter().map(Json::to_string).collect();
            printable(
                format!("{} values: {}, …", array.len(), first.join(", ")).as_bytes(),
                SHOWN_IN_TABLE * 2,
            )
        }
        value => printable(value_json(value).to_string().as_bytes(), SHOWN_IN_TABLE * 2),
    }
}

/// The beginning of a string, with its length where it goes on.
fn cut(bytes: &[u8], most: usize) -> String {
    match bytes.get(..most) {
        Some(beginning) if bytes.len() > most => {
            format!("{}… ({} bytes)", String::from_utf8_lossy(beginning), bytes.len())
        }
        _ => String::from_utf8_lossy(bytes).into_owned(),
    }
}

/// The beginning of a string, fit for one line of a terminal whatever is in it.
fn printable(bytes: &[u8], most: usize) -> String {
    let text = cut(bytes, most);
    text.chars()
        .map(|c| if c.is_control() { c.escape_default().to_string() } else { c.to_string() })
        .collect()
}

/// `30.9 MB (30912768 bytes)`
fn size(bytes: u64) -> String {
    let units = [(1e9, "GB"), (1e6, "MB"), (1e3, "kB")];
    match units.iter().find(|(unit, _)| bytes as f64 >= *unit) {
        Some((unit, name)) => format!("{:.1} {name} ({bytes} bytes)", bytes as f64 / unit),
        None => format!("{bytes} bytes"),
    }
}

/// `26.1 M`
fn millions(n: usize) -> String {
    if n >= 1_000_000_000 { format!("{:.1} B", n as f64 / 1e9) } else { format!("{:.1} M", n as f64 / 1e6) }
}
