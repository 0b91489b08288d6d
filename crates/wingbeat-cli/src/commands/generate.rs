//! `wingbeat generate`: text goes on from a prompt, streamed as it is made.

use crate::{
    args::{Global, ModelArgs, ProfileArgs, SamplerArgs},
    failure, input,
    interrupt::Interrupt,
    new_file::check_destination,
    output::{self, Output},
    progress::Progress,
};
use anyhow::{Context, bail};
use clap::{Args, ValueEnum};
use serde::Serialize;
use std::{
    ffi::OsString,
    io::{self, ErrorKind, IsTerminal},
    path::PathBuf,
    process::ExitCode,
    time::{Duration, Instant},
};
use wingbeat::{
    Error, GenerateOptions, Model, ModelError, Session, Step, StopReason, sampler::SamplerConfig,
};

/// Prompts longer than this get a progress bar: shorter ones are done before it is seen.
const LONG_PROMPT_TOKENS: usize = 512;
/// Token 0: the end of a document, and what stands before the first token of one.
const END_OF_DOCUMENT: u32 = 0;

/// Generate text from a prompt
#[derive(Args)]
#[command(after_help = "\
The text streams to standard output as raw bytes; a summary line goes to standard error. The exit code is \
130 after Ctrl-C.

Examples:
  wingbeat generate \"It was a dark and stormy night\"
  wingbeat generate --greedy --stop '\\n\\n' -n 500 \"Chapter I.\"
  wingbeat generate --file book.txt --max-tokens 0 --save-state book.state
  wingbeat generate --state book.state \" He said\"
  echo -n \"Once upon a time\" | wingbeat generate --json")]
pub(crate) struct Generate {
    /// The prompt [default: standard input, where that is no terminal]. An empty one begins a new document
    #[arg(value_name = "PROMPT")]
    prompt: Option<OsString>,
    /// Read the prompt from a file, byte for byte; - is standard input
    #[arg(long, short, value_name = "FILE", conflicts_with = "prompt")]
    file: Option<PathBuf>,
    /// Tokens to generate at most; 0 runs the prompt only
    #[arg(long, short = 'n', value_name = "N", default_value_t = 256)]
    max_tokens: usize,
    /// Text at which to stop, not printed; \n \r \t \0 \\ are understood; may be repeated
    #[arg(long, value_name = "TEXT", value_parser = input::unescape, allow_hyphen_values = true)]
    stop: Vec<String>,
    /// Go on where the model would end the document: token 0 is never chosen
    #[arg(long)]
    ignore_eos: bool,
    /// Print the prompt before the text: auto does on a terminal, for a prompt that was given as argument
    #[arg(
        long, value_name = "WHEN", value_enum, default_value_t = Echo::Auto, default_missing_value = "always",
        num_args = 0..=1, require_equals = true
    )]
    echo: Echo,
    /// Go on from a saved or a tuned state; a prompt is needed
    #[arg(long, value_name = "FILE")]
    state: Option<PathBuf>,
    /// Save the state after the last token printed
    #[arg(long, value_name = "FILE")]
    save_state: Option<PathBuf>,
    /// Print where the time of the start went, from opening the file to the prompt's last token
    #[arg(long)]
    timings: bool,
    /// Print one JSON object at the end, in place of text and summary
    #[arg(long, conflicts_with = "echo")]
    json: bool,
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    profile: ProfileArgs,
    #[command(flatten)]
    sampler: SamplerArgs,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Echo {
    Auto,
    Always,
    Never,
}

/// What came of a run; the keys of `--json`.
#[derive(Serialize)]
struct Report {
    prompt_tokens: usize,
    generated_tokens: usize,
    text: String,
    /// max_tokens, stop_token, stop_text or interrupted.
    stop_reason: &'static str,
    /// The stop text or token that was met.
    stop: Option<String>,
    prompt_tok_s: f64,
    gen_tok_s: f64,
    /// Opening to ready, vocabulary included.
    open_ms: f64,
    seed: u64,
    model: String,
}

impl Generate {
    pub(crate) fn run(self, global: Global) -> anyhow::Result<ExitCode> {
        let mut config = self.sampler.config(SamplerConfig::default())?;
        if self.ignore_eos {
            config.banned.push(END_OF_DOCUMENT);
        }
        if let Some(path) = &self.save_state {
            check_destination(path)?;
        }
        let prompt = self.prompt()?;
        if prompt.is_empty() && self.state.is_some() {
            bail!("--state needs a prompt to go on with: a state holds what was read, not what comes next");
        }
        let started = Instant::now();
        let model = self.model.open()?;
        self.profile.begin(&model)?;
        self.sampler.check(&model)?;
        let tokens = match &prompt[..] {
            [] => vec![END_OF_DOCUMENT],
            text => model.tokenizer()?.encode(text).context("the prompt")?,
        };
        let seed = config.seed;
        let greedy = config.temperature == 0.0;
        let start = match &self.state {
            Some(path) => model.load_state(path)?,
            None => model.new_state()?,
        };
        let mut session = Session::new(&model, start, config)?;
        let ready = started.elapsed();

        let interrupt = Interrupt::heed()?;
        let mut report = Report::new(&model, seed);
        report.open_ms = ready.as_secs_f64() * 1e3;
        let mut out = Output::stdout();
        if self.wants_echo(&out) {
            out.write(&prompt).context("standard output")?;
        }
        let complete = feed(&mut session, &tokens, &interrupt, global, &mut report)?;
        if self.timings {
            let prompt = Step { what: "prompt", start: ready, duration: started.elapsed() - ready };
            failure::note(&timeline(model.timeline(), prompt));
        }
        if complete {
            self.generate(&mut session, &interrupt, &mut out, &mut report)?;
            if let Some(path) = &self.save_state {
                session.state()?.save(path)?;
            }
        } else if let Some(path) = &self.save_state {
            failure::note(&format!("{}: not saved: the prompt was interrupted", path.display()));
        }
        if self.json {
            drop(out);
            output::print_json(&report)?;
        } else {
            out.end_line().context("standard output")?;
            if !global.quiet {
                failure::note(&report.summary(greedy, self.max_tokens));
            }
        }
        self.profile.end(&model)?;
        Ok(interrupt.exit_code())
    }

    fn prompt(&self) -> anyhow::Result<Vec<u8>> {
        match (&self.prompt, &self.file) {
            (Some(prompt), _) => Ok(prompt.clone().into_encoded_bytes()),
            (None, Some(path)) => input::read(path),
            (None, None) if io::stdin().is_terminal() => Ok(Vec::new()),
            (None, None) => input::read_stdin(),
        }
    }

    fn wants_echo(&self, out: &Output) -> bool {
        match self.echo {
            _ if self.json => false,
            Echo::Auto => out.is_terminal() && self.prompt.is_some(),
            Echo::Always => true,
            Echo::Never => false,
        }
    }

    fn generate(
        &self,
        session: &mut Session,
        interrupt: &Interrupt,
        out: &mut Output,
        report: &mut Report,
    ) -> anyhow::Result<()> {
        let stop_tokens = if self.ignore_eos { Vec::new() } else { vec![END_OF_DOCUMENT] };
        let options = GenerateOptions { max_tokens: self.max_tokens, stops: self.stop.clone(), stop_tokens };
        let mut text = Vec::new();
        let mut written = Ok(());
        let started = Instant::now();
        let generation = session.generate(&options, &mut |bytes| {
            if self.json {
                text.extend_from_slice(bytes);
            } else {
                written = out.write(bytes);
            }
            written.is_ok() && !interrupt.requested()
        })?;
        report.gen_tok_s = rate(generation.n_tokens, started.elapsed());
        report.generated_tokens = generation.n_tokens;
        report.text = String::from_utf8_lossy(&text).into_owned();
        (report.stop_reason, report.stop) = match generation.reason {
            StopReason::MaxTokens => ("max_tokens", None),
            StopReason::Token(token) => ("stop_token", Some(token.to_string())),
            StopReason::Text(text) => ("stop_text", Some(text)),
            _ => ("interrupted", None),
        };
        // A reader that has had enough ends the run, but a state asked for is still wanted.
        if written.as_ref().is_err_and(|e| e.kind() == ErrorKind::BrokenPipe)
            && let Some(path) = &self.save_state
        {
            session.state()?.save(path)?;
        }
        written.context("standard output")
    }
}

/// Runs the prompt. False if it was interrupted: the state is then of a part of it.
fn feed(
    session: &mut Session,
    tokens: &[u32],
    interrupt: &Interrupt,
    global: Global,
    report: &mut Report,
) -> anyhow::Result<bool> {
    let is_long = tokens.len() > LONG_PROMPT_TOKENS;
    let bar = Progress::new(is_long && !global.quiet, "reading", "tokens", tokens.len());
    let started = Instant::now();
    let result = session.feed(tokens, &mut |progress| {
        bar.set(progress.done, progress.total);
        !interrupt.requested()
    });
    report.prompt_tokens = match result {
        Ok(()) => tokens.len(),
        Err(Error::Model(ModelError::Stopped { done, .. })) => done,
        Err(error) => return Err(error.into()),
    };
    report.prompt_tok_s = rate(report.prompt_tokens, started.elapsed());
    Ok(report.prompt_tokens == tokens.len())
}

impl Report {
    fn new(model: &Model, seed: u64) -> Report {
        Report {
            prompt_tokens: 0,
            generated_tokens: 0,
            text: String::new(),
            stop_reason: "interrupted",
            stop: None,
            prompt_tok_s: 0.0,
            gen_tok_s: 0.0,
            open_ms: 0.0,
            seed,
            model: model.file().label().to_owned(),
        }
    }

    fn summary(&self, greedy: bool, max_tokens: usize) -> String {
        let mut line = format!("prompt: {}, {:.1} tok/s", count(self.prompt_tokens), self.prompt_tok_s);
        if self.generated_tokens > 0 {
            line += &format!("; generated: {}, {:.1} tok/s", count(self.generated_tokens), self.gen_tok_s);
        }
        line += &match (self.stop_reason, &self.stop) {
            ("max_tokens", _) if max_tokens == 0 => String::new(),
            ("max_tokens", _) => format!("; stopped at the limit of {}", count(max_tokens)),
            ("stop_token", Some(token)) if token == "0" => "; stopped at the end of the document".to_owned(),
            ("stop_token", Some(token)) => format!("; stopped at token {token}"),
            ("stop_text", Some(text)) => format!("; stopped at {text:?}"),
            _ => "; interrupted".to_owned(),
        };
        if !greedy && self.generated_tokens > 0 {
            line += &format!("; seed {}", self.seed);
        }
        line
    }
}

/// The steps of a start, a line each: when it began, how long it took, and a bar for both.
fn timeline(mut steps: Vec<Step>, prompt: Step) -> String {
    const WIDTH: f64 = 40.0;
    steps.push(prompt);
    let end = steps.iter().map(|step| step.start + step.duration).max().unwrap_or_default();
    let column = |at: Duration| (at.as_secs_f64() / end.as_secs_f64().max(1e-9) * WIDTH).round() as usize;
    let ms = |time: Duration| time.as_secs_f64() * 1e3;
    let mut lines = vec![format!("{:<16} {:>10} {:>10}", "start", "at ms", "took ms")];
    for Step { what, start, duration } in &steps {
        let (from, to) = (column(*start), column(*start + *duration));
        let bar = format!("{}{}", " ".repeat(from), "━".repeat((to - from).max(1)));
        lines.push(format!("{what:<16} {:>10.3} {:>10.3} {bar}", ms(*start), ms(*duration)));
    }
    lines.join("\n")
}

fn count(n: usize) -> String {
    if n == 1 { "1 token".to_owned() } else { format!("{n} tokens") }
}

/// Tokens a second.
fn rate(n_tokens: usize, time: Duration) -> f64 {
    let seconds = time.as_secs_f64();
    if seconds > 0.0 { n_tokens as f64 / seconds } else { 0.0 }
}
