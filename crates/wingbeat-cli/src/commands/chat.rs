//! `wingbeat chat`: a conversation in the model's own prompt format.
//!
//! One session holds the whole conversation as its state: each turn feeds only what is new. An answer that is stopped
//! by Ctrl-C stays as far as it was shown; a prompt that is stopped is forgotten.

use crate::{
    args::{Global, ModelArgs, SamplerArgs},
    failure,
    interrupt::Interrupt,
    output::Output,
    progress::Progress,
};
use anyhow::Context;
use clap::Args;
use rustyline::{Behavior, Config, DefaultEditor, error::ReadlineError};
use std::{
    io::{self, IsTerminal},
    path::PathBuf,
    process::ExitCode,
};
use wingbeat::{
    Error, GenerateOptions, Generation, Model, ModelError, Session, State, StopReason,
    chat::{Message, PromptOptions, ThinkLength, Thinking},
    sampler::SamplerConfig,
};

const PROMPT: &str = "> ";
/// New messages longer than this get a progress bar.
const LONG_PROMPT_TOKENS: usize = 512;

const HELP: &str = "\
/reset           forget the conversation (the system text stays)
/save FILE       save the conversation's state
/load FILE       go on from a saved or a tuned state
/system TEXT     instructions, told with the next message; without TEXT: show them
/think [HOW]     think before answering: short, medium, long; off; fake (an empty thought)
/help            this list
/quit            end, as Ctrl-D does
//TEXT           a message that begins with one /
Ctrl-C stops an answer.";

/// Talk with a model
#[derive(Args)]
#[command(after_help = "\
Messages come from the terminal, or line by line from standard input where that is none. /help lists what else \
can be said. Sampling begins with the preset `chat`.

Examples:
  wingbeat chat -m rwkv7-g1.gguf
  wingbeat chat -m rwkv7-g1.gguf --system \"Answer in French.\" --thinking short
  wingbeat chat -m rwkv7-g1.gguf --state tuned.pth
  echo \"What is a recurrent network?\" | wingbeat chat -m rwkv7-g1.gguf")]
pub(crate) struct Chat {
    /// Instructions for the whole conversation
    #[arg(long, value_name = "TEXT")]
    system: Option<String>,
    /// Think before answering: short, medium, long, think (as it likes), off, or fake (an empty thought)
    #[arg(long, value_name = "HOW", default_value = "off", default_missing_value = "think", num_args = 0..=1,
          value_parser = thinking)]
    thinking: Thinking,
    /// Begin with a saved or a tuned state, also after /reset
    #[arg(long, value_name = "FILE")]
    state: Option<PathBuf>,
    /// Tokens of an answer at most
    #[arg(long, short = 'n', value_name = "N", default_value_t = 1024)]
    max_tokens: usize,
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    sampler: SamplerArgs,
}

impl Chat {
    pub(crate) fn run(self, global: Global) -> anyhow::Result<ExitCode> {
        let config = self.sampler.config(SamplerConfig::chat())?;
        let model = self.model.open()?;
        self.sampler.check(&model)?;
        if self.model.model.is_none() && !global.quiet {
            failure::note(
                "note: the demo model has read novels only, and goes on with a conversation as they would",
            );
        }
        let start = match &self.state {
            Some(path) => model.load_state(path)?,
            None => model.new_state()?,
        };
        let mut session = model.session(config)?;
        session.set_state(start.fork()?)?;
        let mut conversation = Conversation {
            session,
            system: self.system.clone(),
            untold: self.system.is_some() && start.n_tokens() == 0,
            start,
            thinking: self.thinking,
            max_tokens: self.max_tokens,
            quiet: global.quiet,
            out: Output::stdout(),
        };
        if io::stdin().is_terminal() && !global.quiet {
            let (name, device) = (&model.config().name, model.device());
            failure::note(&format!("{name} on {device}; /help lists commands, Ctrl-D ends"));
        }
        // On pipes standard output is for answers: the line editor then talks to the terminal itself.
        let behavior = match conversation.out.is_terminal() {
            true => Behavior::Stdio,
            false => Behavior::PreferTerm,
        };
        let editor_config = Config::builder().behavior(behavior).auto_add_history(true).build();
        let mut editor = match io::stdin().is_terminal() {
            true => Some(DefaultEditor::with_config(editor_config).context("the terminal")?),
            false => None,
        };
        while let Some(line) = next_line(editor.as_mut())? {
            match conversation.take(&line) {
                Ok(Next::GoOn) => {}
                Ok(Next::Quit) => break,
                Err(error) => return Err(error),
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// What people say next; none at the end.
fn next_line(editor: Option<&mut DefaultEditor>) -> anyhow::Result<Option<String>> {
    let Some(editor) = editor else { return next_piped_line() };
    loop {
        match editor.readline(PROMPT) {
            Ok(line) => return Ok(Some(line)),
            Err(ReadlineError::Eof) => return Ok(None),
            Err(ReadlineError::Interrupted) => failure::note("(Ctrl-D or /quit ends)"),
            Err(error) => return Err(anyhow::Error::new(error).context("the terminal")),
        }
    }
}

/// A line of standard input; bytes that are no UTF-8 become replacement characters.
fn next_piped_line() -> anyhow::Result<Option<String>> {
    let mut line = Vec::new();
    let n_bytes =
        io::BufRead::read_until(&mut io::stdin().lock(), b'\n', &mut line).context("standard input")?;
    Ok((n_bytes > 0).then(|| String::from_utf8_lossy(&line).into_owned()))
}

enum Next {
    GoOn,
    Quit,
}

struct Conversation {
    session: Session,
    /// Where it began.
    start: State,
    system: Option<String>,
    /// Whether the system text is yet to be told.
    untold: bool,
    thinking: Thinking,
    max_tokens: usize,
    quiet: bool,
    out: Output,
}

impl Conversation {
    /// Does what a line says: a command, or a message.
    fn take(&mut self, line: &str) -> anyhow::Result<Next> {
        let line = line.trim();
        let message = match line.strip_prefix('/') {
            None => line,
            Some(rest) if rest.starts_with('/') => rest,
            Some(command) => {
                let (name, rest) = command.split_once(char::is_whitespace).unwrap_or((command, ""));
                return self.command(name, rest.trim());
            }
        };
        if !message.is_empty() {
            self.turn(message)?;
        }
        Ok(Next::GoOn)
    }

    /// A command; what goes wrong in one is reported, and the conversation goes on.
    fn command(&mut self, name: &str, rest: &str) -> anyhow::Result<Next> {
        let model = self.session.model().clone();
        let done = match (name, rest) {
            ("quit" | "exit", "") => return Ok(Next::Quit),
            ("help", _) => Ok(HELP.to_owned()),
            ("reset", "") => self.reset(),
            ("save", "") | ("load", "") => Err(anyhow::anyhow!("/{name}: expected a file name")),
            ("save", path) => self.save(path),
            ("load", path) => self.load(&model, path),
            ("system", "") => Ok(self.system.clone().unwrap_or_else(|| "no system text".to_owned())),
            ("system", text) => {
                self.system = Some(text.to_owned());
                self.untold = true;
                Ok("the system text is told with the next message".to_owned())
            }
            ("think", how) => match thinking(if how.is_empty() { "think" } else { how }) {
                Ok(thinking) => {
                    self.thinking = thinking;
                    Ok(format!("thinking: {thinking}"))
                }
                Err(error) => Err(anyhow::Error::msg(error)),
            },
            _ => Err(anyhow::anyhow!("unknown command `/{name}`; /help lists them")),
        };
        match done {
            Ok(message) => failure::note(&message),
            Err(error) => failure::say(&failure::one_line(&error)),
        }
        Ok(Next::GoOn)
    }

    fn reset(&mut self) -> anyhow::Result<String> {
        self.session.set_state(self.start.fork()?)?;
        self.untold = self.system.is_some() && self.start.n_tokens() == 0;
        Ok("forgotten".to_owned())
    }

    fn save(&mut self, path: &str) -> anyhow::Result<String> {
        let state = self.session.state()?;
        state.save(path)?;
        Ok(format!("saved {path}: {} tokens", state.n_tokens()))
    }

    fn load(&mut self, model: &Model, path: &str) -> anyhow::Result<String> {
        let state = model.load_state(path)?;
        let n_tokens = state.n_tokens();
        self.session.set_state(state)?;
        // It has been told whatever it was told; a tuned one nothing.
        self.untold = self.system.is_some() && n_tokens == 0;
        Ok(format!("loaded {path}: {n_tokens} tokens"))
    }

    /// A message and its answer.
    fn turn(&mut self, message: &str) -> anyhow::Result<()> {
        let model = self.session.model().clone();
        let template = model.chat_template();
        let mut messages = Vec::with_capacity(2);
        messages.extend(self.system.iter().filter(|_| self.untold).map(Message::system));
        messages.push(Message::user(message));
        let options = PromptOptions { thinking: self.thinking, tools: None };
        let is_first = self.session.state()?.n_tokens() == 0;
        let prompt = match is_first {
            true => template.render(&messages, &options),
            false => template.render_next(&messages, &options),
        };
        let tokens = match model.tokenizer()?.encode(prompt.as_bytes()) {
            Ok(tokens) => tokens,
            Err(error) => {
                failure::say(&error.to_string());
                return Ok(());
            }
        };
        let interrupt = Interrupt::heed()?;
        if !self.feed(&tokens, &interrupt)? {
            self.note("[stopped before an answer; the message is forgotten]");
            return Ok(());
        }
        self.untold = false;
        let limits = GenerateOptions {
            max_tokens: self.max_tokens,
            stops: template.stops.iter().map(|&stop| stop.to_owned()).collect(),
            stop_tokens: template.stop_tokens.to_vec(),
        };
        let mut opening = Opening::new(self.thinking, &template.opening(&messages, &options));
        let generation = self.answer(&limits, &mut opening, &interrupt)?;
        match generation.reason {
            StopReason::MaxTokens => self.note(&format!("[stopped at {} tokens]", self.max_tokens)),
            StopReason::Cancelled => self.note("[stopped]"),
            _ => {}
        }
        Ok(())
    }

    /// Runs the prompt. False if it was interrupted: the state is then as if it had never been said.
    fn feed(&mut self, tokens: &[u32], interrupt: &Interrupt) -> anyhow::Result<bool> {
        let before = self.session.state()?.fork()?;
        let wanted = tokens.len() > LONG_PROMPT_TOKENS && !self.quiet;
        let bar = Progress::new(wanted, "reading", "tokens", tokens.len());
        let result = self.session.feed(tokens, &mut |progress| {
            bar.set(progress.done, progress.total);
            !interrupt.requested()
        });
        match result {
            Err(Error::Model(ModelError::Stopped { .. })) => {
                self.session.set_state(before)?;
                Ok(false)
            }
            result => Ok(result.map(|()| true)?),
        }
    }

    /// Generates and shows the answer, on a line of its own.
    fn answer(
        &mut self,
        limits: &GenerateOptions,
        opening: &mut Opening,
        interrupt: &Interrupt,
    ) -> anyhow::Result<Generation> {
        let out = &mut self.out;
        let mut written = Ok(());
        let generation = self.session.generate(limits, &mut |bytes| {
            written = out.write(&opening.shown(bytes));
            written.is_ok() && !interrupt.requested()
        })?;
        written.and_then(|()| self.out.write(b"\n")).context("standard output")?;
        Ok(generation)
    }

    fn note(&self, text: &str) {
        if !self.quiet {
            failure::note(text);
        }
    }
}

/// How an answer's beginning is shown: with the part that the prompt said already (`<think`), without the space that
/// follows `Assistant:`, and of an empty thought nothing.
struct Opening {
    /// To be shown before the answer.
    before: Vec<u8>,
    /// Whether a `>` closes what the prompt opened, and is not shown.
    hides_bracket: bool,
    /// Whether anything was shown yet.
    begun: bool,
}

impl Opening {
    fn new(thinking: Thinking, opening: &str) -> Opening {
        let is_fake = matches!(thinking, Thinking::Fake | Thinking::FakeCompact);
        let before = if is_fake { Vec::new() } else { opening.as_bytes().to_vec() };
        Opening { before, hides_bracket: is_fake, begun: false }
    }

    /// What to show for the next bytes of the answer.
    fn shown(&mut self, bytes: &[u8]) -> Vec<u8> {
        if self.begun {
            return bytes.to_vec();
        }
        if !self.before.is_empty() {
            self.begun = true;
            return [&self.before, bytes].concat();
        }
        let mut rest = bytes.trim_ascii_start();
        if self.hides_bracket && !rest.is_empty() {
            self.hides_bracket = false;
            rest = rest.strip_prefix(b">").unwrap_or(rest).trim_ascii_start();
        }
        self.begun = !rest.is_empty();
        rest.to_vec()
    }
}

/// The library's names for ways of thinking, and shorter ones.
fn thinking(name: &str) -> Result<Thinking, String> {
    match name {
        "short" => Ok(Thinking::Think(ThinkLength::Short)),
        "medium" => Ok(Thinking::Think(ThinkLength::Medium)),
        "long" => Ok(Thinking::Think(ThinkLength::Long)),
        "on" => Ok(Thinking::Think(ThinkLength::Free)),
        name => name.parse().map_err(|_| {
            format!("expected think, short, medium, long, off, fake or fake-compact, found {name:?}")
        }),
    }
}

#[cfg(test)]
mod tests;
