//! `wingbeat fields`: many things asked of one document, which is read once.
//!
//! The document's state is forked for every field on the device, and all fields are answered side by side. `report` has
//! the forms of the result.

mod report;

use crate::{
    args::{CacheArgs, Global, ModelArgs, ProfileArgs, SamplerArgs, count},
    commands::{
        embed,
        state::{self, Pace},
    },
    embeddings::{Format, Kind, Label, Recipe, Target, Writer},
    input,
    interrupt::Interrupt,
    new_file::check_destination,
    output,
    progress::Progress,
};
use anyhow::{Context, bail, ensure};
use clap::{ArgGroup, Args};
use report::{Document, Field, Report, Score};
use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    time::Instant,
};
use wingbeat::{Error, GenerateOptions, Model, ModelError, State, StopReason, Want, sampler::SamplerConfig};

/// What stands for the field in a template.
const FIELD: &str = "{field}";
/// Token 0: the end of a document.
const END_OF_DOCUMENT: u32 = 0;

/// Ask a document many things at once
#[derive(Args)]
#[command(group = ArgGroup::new("document").args(["doc", "state"]).required(true).multiple(true))]
#[command(group = ArgGroup::new("asked").args(["field", "fields"]).required(true).multiple(true))]
#[command(group = ArgGroup::new("chosen").args(["choices", "choice"]).multiple(true))]
#[command(after_help = "\
The document is read once. Every field is then put after it, each by itself, as the template says, and the model goes on \
from there: an answer is what it generates up to the stop text, as `generate --state` would; greedily, unless --temperature or \
--preset is given. With choices nothing \
is generated: printed is how likely each choice is after the field, as its share among the choices and in nats, ln of its \
probability; longer choices are less likely for their length alone, which the number of tokens in --json tells.

--json prints {\"model\", \"document\", \"document_tokens\", \"cached_tokens\", \"state_tokens\", \"read_seconds\", \"answer_seconds\", \"seed\", \
\"fields\": […]}. A field is {\"field\", \"answer\", \"text\", \"tokens\", \"stop_reason\", \"stop\"}, `text` as generated and \
`answer` without white space around it; with choices it is {\"field\", \"best\", \"choices\": [{\"choice\", \"text\", \"share\", \
\"nats\", \"tokens\"}, …]}. `cached_tokens` are those of the document's that came from the cache: with --cache, a \
document that was read before is not read again, and one that begins like it is read from there on. The exit code is 130 after Ctrl-C, and nothing is printed.

Examples:
  wingbeat fields letter.txt --field \"Sender:\" --field \"Date:\" --field \"Place:\"
  wingbeat fields letter.txt --field \"Where is the sender now?\" --cache
  wingbeat fields book.txt --fields questions.txt --save-state book.state --csv > answers.csv
  wingbeat fields --state book.state --field \"Does it end well?\" --choices yes,no
  wingbeat fields mail.txt --field \"Topic:\" --template '\\n\\nQ: {field}\\n\\nA:' --stop '\\n\\n'")]
pub(crate) struct Fields {
    /// The document, byte for byte; - is standard input
    #[arg(value_name = "DOC")]
    doc: Option<PathBuf>,
    /// Go on from a saved or a tuned state, with or without a document after it
    #[arg(long, value_name = "FILE", conflicts_with = "cache")]
    state: Option<PathBuf>,
    /// Save the document's state
    #[arg(long, value_name = "FILE")]
    save_state: Option<PathBuf>,
    /// What to ask; may be repeated
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    field: Vec<String>,
    /// Read more of them from a file, one a line; - is standard input
    #[arg(long, value_name = "FILE")]
    fields: Option<PathBuf>,
    /// How a field becomes a prompt; \n \r \t \0 \\ are understood
    #[arg(long, value_name = "TEXT", value_parser = template, default_value = r"\n\n{field}")]
    template: String,
    /// Answers to choose from, separated by commas; a space is put before each, as in running text
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    choices: Vec<String>,
    /// One more, taken as it is; \n \r \t \0 \\ are understood; may be repeated
    #[arg(long, value_name = "TEXT", value_parser = input::unescape, allow_hyphen_values = true)]
    choice: Vec<String>,
    /// Tokens of an answer at most
    #[arg(long, short = 'n', value_name = "N", default_value_t = 32, value_parser = count)]
    max_tokens: usize,
    /// Text at which an answer ends, not printed; may be repeated
    #[arg(
        long, value_name = "TEXT", value_parser = input::unescape, allow_hyphen_values = true, default_value = r"\n",
        conflicts_with = "chosen"
    )]
    stop: Vec<String>,
    /// Write the last hidden vectors of the fields, (fields, C): .npy, .jsonl or .safetensors
    #[arg(long, value_name = "OUT")]
    embeddings: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long, conflicts_with = "csv")]
    json: bool,
    /// Print comma-separated values: field and answer, or a line for each choice
    #[arg(long)]
    csv: bool,
    #[command(flatten)]
    cache: CacheArgs,
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    profile: ProfileArgs,
    #[command(flatten)]
    sampler: SamplerArgs,
}

/// An answer to choose.
struct Choice {
    /// As it is shown.
    label: String,
    /// As it is scored.
    text: String,
}

impl Fields {
    pub(crate) fn run(self, global: Global) -> anyhow::Result<ExitCode> {
        let config = self.sampler.config(SamplerConfig::greedy())?;
        let choices = self.all_choices()?;
        let embeddings = self.embeddings.as_deref().map(embeddings_target).transpose()?;
        if let Some(path) = &self.save_state {
            check_destination(path)?;
        }
        let cache = self.cache.open()?;
        let names = self.all_fields()?;
        let prompts: Vec<String> = names.iter().map(|name| self.template.replace(FIELD, name)).collect();
        let text = self.doc.as_deref().map(state::document).transpose()?;

        let model = self.model.open()?;
        self.profile.begin(&model)?;
        self.sampler.check(&model)?;
        check_tokens(&model, &names, &prompts)?;
        let before = self.state.as_ref().map(|path| model.load_state(path)).transpose()?;
        let interrupt = Interrupt::heed()?;
        let (state, document) = match (&self.doc, &text) {
            (Some(path), Some(text)) => {
                let read = state::read(&model, before, cache.as_ref(), (path, text), &interrupt, global)?;
                let Some(read) = read else { return Ok(interrupt.exit_code()) };
                (read.state, Document { path: Some(path.display().to_string()), pace: read.pace })
            }
            _ => {
                let state = before.map_or_else(|| model.new_state(), Ok)?;
                (state, Document { path: None, pace: Pace::default() })
            }
        };
        if let Some(path) = &self.save_state {
            state.save(path)?;
        }
        let asker = Asker { model: &model, state: &state, prompts: &prompts, interrupt: &interrupt, global };
        let started = Instant::now();
        let fields = match &choices[..] {
            [] => self.answers(&asker, &names, &config)?,
            choices => asker.scores(&names, choices)?,
        };
        let answer_seconds = started.elapsed().as_secs_f64();
        let vectors = match embeddings {
            Some(_) => asker.vectors()?,
            None => Vec::new(),
        };
        if interrupt.requested() {
            return Ok(interrupt.exit_code());
        }
        if let Some((target, format)) = &embeddings {
            write_vectors(&model, target, *format, &names, &vectors)?;
        }
        let report = Report {
            model: model.file().label().to_owned(),
            document,
            state_tokens: state.n_tokens(),
            answer_seconds,
            seed: config.seed,
            fields,
        };
        if self.json {
            output::print_json(&report.json())?;
        } else if self.csv {
            output::print(report.csv())?;
        } else {
            output::print(report.table())?;
        }
        if !global.quiet {
            crate::failure::note(&report.summary());
        }
        self.profile.end(&model)?;
        Ok(interrupt.exit_code())
    }

    /// All that is asked, in order.
    fn all_fields(&self) -> anyhow::Result<Vec<String>> {
        let mut fields = self.field.clone();
        if let Some(path) = &self.fields {
            let context = || path.display().to_string();
            let both_on_stdin = path.as_os_str() == "-" && self.doc.as_deref() == Some(Path::new("-"));
            ensure!(!both_on_stdin, "standard input cannot be both the document and the fields");
            let text = input::read(path)?;
            for (line, number) in text.split(|byte| *byte == b'\n').zip(1..) {
                let line = std::str::from_utf8(line)
                    .with_context(|| format!("line {number}: expected UTF-8"))
                    .with_context(context)?;
                let line = line.strip_suffix('\r').unwrap_or(line);
                if !line.is_empty() {
                    fields.push(line.to_owned());
                }
            }
            ensure!(!fields.is_empty(), "{}: expected at least one field, found none", path.display());
        }
        match fields.iter().find(|field| field.is_empty()) {
            Some(_) => bail!("--field: expected a text, found an empty one"),
            None => Ok(fields),
        }
    }

    /// All that may be chosen; none where answers are to be generated.
    fn all_choices(&self) -> anyhow::Result<Vec<Choice>> {
        let mut choices = Vec::new();
        for word in &self.choices {
            let label = word.trim().to_owned();
            ensure!(!label.is_empty(), "--choices: expected texts between commas, found an empty one");
            choices.push(Choice { text: format!(" {label}"), label });
        }
        choices.extend(self.choice.iter().map(|text| Choice { label: text.clone(), text: text.clone() }));
        ensure!(choices.len() != 1, "choices: expected at least two, found one: {:?}", choices[0].label);
        Ok(choices)
    }

    /// Generates an answer to each field.
    fn answers(
        &self,
        asker: &Asker<'_>,
        names: &[String],
        config: &SamplerConfig,
    ) -> anyhow::Result<Vec<Field>> {
        let options = GenerateOptions {
            max_tokens: self.max_tokens,
            stops: self.stop.clone(),
            stop_tokens: vec![END_OF_DOCUMENT],
        };
        let Asker { model, state, prompts, interrupt, global } = asker;
        // A piece of text is a token, or a few where a character or a stop text takes them.
        let n_tokens = names.len().saturating_mul(self.max_tokens);
        let bar = Progress::new(!global.quiet, "answering", "tokens at most", n_tokens);
        let mut n_pieces = 0;
        let answers = model.answer_batch(state, prompts, config, &options, &mut |_, _| {
            n_pieces += 1;
            bar.set(n_pieces, n_tokens);
            !interrupt.requested()
        });
        drop(bar);
        let answers = answers?;
        let field = |(name, answer): (&String, wingbeat::Answer)| {
            let (stop_reason, stop) = match answer.generation.reason {
                StopReason::MaxTokens => ("max_tokens", None),
                StopReason::Token(token) => ("stop_token", Some(token.to_string())),
                StopReason::Text(text) => ("stop_text", Some(text)),
                _ => ("interrupted", None),
            };
            Field::Answer {
                field: name.clone(),
                text: String::from_utf8_lossy(&answer.text).into_owned(),
                n_tokens: answer.generation.n_tokens,
                stop_reason,
                stop,
            }
        };
        Ok(names.iter().zip(answers).map(field).collect())
    }
}

/// What all fields are asked of.
struct Asker<'a> {
    model: &'a Model,
    state: &'a State,
    prompts: &'a [String],
    interrupt: &'a Interrupt,
    global: Global,
}

impl Asker<'_> {
    /// How likely each choice is after each field.
    fn scores(&self, names: &[String], choices: &[Choice]) -> anyhow::Result<Vec<Field>> {
        let texts: Vec<&str> = choices.iter().map(|choice| choice.text.as_str()).collect();
        let bar = Progress::new(!self.global.quiet, "asking", "tokens", 0);
        let result = self.model.score_choices(self.state, self.prompts, &texts, &mut |progress| {
            bar.set(progress.done, progress.total);
            !self.interrupt.requested()
        });
        drop(bar);
        let Some(scores) = unless_stopped(result)? else { return Ok(Vec::new()) };
        let field = |(name, found): (&String, Vec<wingbeat::Choice>)| {
            let scores = choices.iter().zip(found).map(|(choice, found)| Score {
                choice: choice.label.clone(),
                text: choice.text.clone(),
                nats: found.log_likelihood,
                n_tokens: found.n_tokens,
            });
            Field::Choice { field: name.clone(), scores: scores.collect() }
        };
        Ok(names.iter().zip(scores).map(field).collect())
    }

    /// The hidden vector (C) after the last token of each field.
    fn vectors(&self) -> anyhow::Result<Vec<Vec<f32>>> {
        let result = self.model.continue_batch(self.state, self.prompts, Want::LAST_HIDDEN, &mut |_| {
            !self.interrupt.requested()
        });
        let outputs = unless_stopped(result)?.unwrap_or_default();
        Ok(outputs.into_iter().map(|output| output.hidden).collect())
    }
}

/// What came of a call; none where Ctrl-C stopped it.
fn unless_stopped<T>(result: Result<T, Error>) -> Result<Option<T>, Error> {
    match result {
        Err(Error::Model(ModelError::Stopped { .. })) => Ok(None),
        result => result.map(Some),
    }
}

/// Names the field whose bytes the vocabulary lacks, before the document is read.
fn check_tokens(model: &Model, names: &[String], prompts: &[String]) -> anyhow::Result<()> {
    let tokenizer = model.tokenizer()?;
    for (name, prompt) in names.iter().zip(prompts) {
        tokenizer.encode(prompt.as_bytes()).with_context(|| format!("field {name:?}"))?;
    }
    Ok(())
}

/// Where the fields' vectors go: a file, as standard output has the answers.
fn embeddings_target(path: &Path) -> anyhow::Result<(Target, Format)> {
    ensure!(path.as_os_str() != "-", "--embeddings: expected a file, standard output has the answers");
    embed::target_of(Some(path), None)
}

fn write_vectors(
    model: &Model,
    target: &Target,
    format: Format,
    names: &[String],
    vectors: &[Vec<f32>],
) -> anyhow::Result<()> {
    let shape = (vectors.len(), model.config().n_channels);
    let recipe = Recipe::new(model, Kind::Field, false);
    let mut writer = Writer::create(target, format, shape, &recipe, names)?;
    for (name, vector) in names.iter().zip(vectors) {
        writer.push(Label::Name(name), None, vector)?;
    }
    writer.finish()
}

fn template(text: &str) -> Result<String, String> {
    let template = input::unescape(text)?;
    if template.contains(FIELD) { Ok(template) } else { Err(format!("expected {FIELD} somewhere in it")) }
}
