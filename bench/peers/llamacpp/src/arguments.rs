//! What the command line asks for.

use anyhow::{Context, Result, bail, ensure};
use bench_llamacpp::llama::Device;
use std::{path::PathBuf, time::Duration};

/// How to call the program.
const USAGE: &str = "usage: bench-llamacpp -m MODEL [--device cpu|gpu] [-t THREADS] [--budget SECONDS] \
                     [--only GROUP,...] [--batches N,...] [--logits FILE]";

/// What is measured together, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Group {
    /// Opening the model, and from there to the first token.
    Load,
    /// Text to tokens.
    Tokenize,
    /// Prompts of 512 and 2048 tokens.
    Prefill,
    /// A token each for several sequences.
    Par,
    /// A document's state.
    State,
    /// Short prompts continued from a document's state.
    Fields,
    /// A document's embedding.
    Embed,
    /// One sequence, token by token.
    Gen,
    /// Logits to compare with other engines'; only where it is asked for.
    Agree,
}

/// Groups by name.
const GROUPS: [(&str, Group); 9] = [
    ("load", Group::Load),
    ("tokenize", Group::Tokenize),
    ("prefill", Group::Prefill),
    ("par", Group::Par),
    ("state", Group::State),
    ("fields", Group::Fields),
    ("embed", Group::Embed),
    ("gen", Group::Gen),
    ("agree", Group::Agree),
];

/// The command line.
#[derive(Debug)]
pub(crate) struct Arguments {
    /// The GGUF file.
    pub(crate) model: PathBuf,
    /// What computes.
    pub(crate) device: Device,
    /// Threads that compute.
    pub(crate) n_threads: usize,
    /// Time for each figure, beyond a warm-up and three runs.
    pub(crate) budget: Duration,
    /// What to measure, in order.
    pub(crate) groups: Vec<Group>,
    /// Numbers of sequences side by side.
    pub(crate) batches: Vec<usize>,
    /// Where the logits of `agree` go.
    pub(crate) logits: Option<PathBuf>,
}

impl Arguments {
    /// Reads the arguments after the program's name.
    pub(crate) fn parse(mut words: impl Iterator<Item = String>) -> Result<Arguments> {
        let mut model = None;
        let mut arguments = Arguments {
            model: PathBuf::new(),
            device: Device::Cpu,
            n_threads: std::thread::available_parallelism().map_or(1, usize::from),
            budget: Duration::from_secs(2),
            groups: GROUPS
                .map(|(_, group)| group)
                .into_iter()
                .filter(|group| *group != Group::Agree)
                .collect(),
            batches: vec![8, 32, 128],
            logits: None,
        };
        while let Some(flag) = words.next() {
            let mut value = || words.next().with_context(|| format!("{flag}: a value is missing; {USAGE}"));
            match flag.as_str() {
                "-m" => model = Some(PathBuf::from(value()?)),
                "--device" => arguments.device = device(&value()?)?,
                "-t" => arguments.n_threads = number("-t", &value()?, 1024)?,
                "--budget" => arguments.budget = budget(&value()?)?,
                "--only" => arguments.groups = groups(&value()?)?,
                "--batches" => {
                    let list = value()?;
                    let numbers = list.split(',').map(|n| number("--batches", n, 4096));
                    arguments.batches = numbers.collect::<Result<_>>()?;
                }
                "--logits" => arguments.logits = Some(PathBuf::from(value()?)),
                _ => bail!("{flag}: unknown; {USAGE}"),
            }
        }
        arguments.model = model.with_context(|| format!("-m MODEL is missing; {USAGE}"))?;
        ensure!(
            arguments.logits.is_some() || !arguments.groups.contains(&Group::Agree),
            "--only agree: --logits FILE is missing"
        );
        Ok(arguments)
    }
}

fn device(name: &str) -> Result<Device> {
    match name {
        "cpu" => Ok(Device::Cpu),
        "gpu" => Ok(Device::Gpu),
        _ => bail!("--device {name}: expected cpu or gpu"),
    }
}

fn number(flag: &str, text: &str, most: usize) -> Result<usize> {
    match text.parse() {
        Ok(n) if (1..=most).contains(&n) => Ok(n),
        _ => bail!("{flag} {text}: expected a number from 1 to {most}"),
    }
}

fn budget(text: &str) -> Result<Duration> {
    let seconds: Option<f64> = text.parse().ok().filter(|seconds| (0.0..=3600.0).contains(seconds));
    Ok(Duration::from_secs_f64(
        seconds.with_context(|| format!("--budget {text}: expected 0 to 3600 seconds"))?,
    ))
}

fn groups(list: &str) -> Result<Vec<Group>> {
    let mut groups = Vec::new();
    for name in list.split(',') {
        let known = GROUPS.iter().find(|(known, _)| *known == name);
        let (_, group) = known.with_context(|| {
            format!("--only {name}: unknown; known are {}", GROUPS.map(|(name, _)| name).join(", "))
        })?;
        groups.push(*group);
    }
    groups.sort_unstable();
    groups.dedup();
    Ok(groups)
}
