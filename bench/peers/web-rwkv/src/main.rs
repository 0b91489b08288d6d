//! web-rwkv on Vulkan, measured as `wingbeat bench` measures Wingbeat.
//!
//!     bench-web-rwkv -m MODEL.st --device gpu [--vocab VOCAB.json] [--quant none|int8|nf4] [-t THREADS]
//!                    [--budget SECONDS] [--only GROUP,...] [--batches N,...] [--logits FILE]
//!
//! The model is a file as `bench/models.py --st` writes it. Prints one JSON object on one line; what is said beside that goes
//! to standard error. `--device any` also takes software in a GPU's place, for tests.

mod engine;
mod figures;
mod measure;
mod parallel;
#[cfg(test)]
mod tests;

use std::{path::PathBuf, time::Duration};

use anyhow::{Context, Result, bail};
use web_rwkv::runtime::model::Quant;

use crate::{engine::Source, figures::Subject, measure::Clock, measure::Report};

const USAGE: &str = "usage: bench-web-rwkv -m MODEL.st --device gpu|any [--vocab VOCAB.json] \
                     [--quant none|int8|nf4] [-t THREADS] [--budget SECONDS] [--only GROUP,...] \
                     [--batches N,...] [--logits FILE]";
/// What is measured, in this order.
const GROUPS: [&str; 9] = ["load", "tokenize", "prefill", "par", "state", "fields", "embed", "gen", "agree"];

fn main() {
    // web-rwkv panics where a GPU or a file is not as it expects, on threads that nobody may be waiting for.
    std::panic::set_hook(Box::new(|panic| {
        let payload = panic.payload();
        let said = payload.downcast_ref::<String>().map(String::as_str);
        let said = said.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or("no reason given");
        let place = panic.location().map(|place| format!(" ({}:{})", place.file(), place.line()));
        let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
        eprintln!("error: a panic: {said}{}", place.unwrap_or_default());
        std::process::exit(1);
    }));
    let status = match Options::from_arguments(std::env::args().skip(1)).and_then(|options| measure(&options))
    {
        Ok(line) => {
            println!("{line}");
            0
        }
        Err(error) => {
            eprintln!("error: {error:#}");
            1
        }
    };
    // Without the teardown of threads and driver, which is not measured and may hang.
    std::process::exit(status);
}

/// Measures, and returns the line to print.
fn measure(options: &Options) -> Result<String> {
    let mut report = Report::default();
    let source = Source {
        model: &options.model,
        vocabulary: options.vocabulary.as_deref(),
        quant: options.quant,
        any_adapter: options.any_adapter,
        n_threads: options.n_threads,
    };
    let wants = |group: &str| options.only.iter().any(|wanted| wanted == group);
    // What opening takes is said after the facts, which are not known before.
    let mut opening = Report::default();
    let subject = Subject::open(&source, wants("load"), &mut opening)?;
    let quant = if options.quant == Quant::None { String::new() } else { format!(" {:?}", options.quant) };
    report.put("engine", format!("web-rwkv 0.10.20 Vulkan, f16{}", quant.to_lowercase()));
    report.put("device", subject.engine.adapter.as_str());
    report.put("model", options.model.file_name().unwrap_or_default().to_string_lossy());
    report.put("threads", options.n_threads);
    report.append(opening);
    let clock = Clock { budget: options.budget };
    for group in GROUPS.into_iter().filter(|group| wants(group)) {
        match group {
            "tokenize" => subject.tokenize(clock, &mut report),
            "prefill" => subject.prefill(clock, &mut report),
            "par" => options.batches.iter().try_for_each(|&n| subject.parallel(clock, n, &mut report)),
            "state" => subject.document_state(clock, &mut report),
            "fields" => subject.fields(clock, &mut report),
            "embed" => {
                report.cannot("embed_ms", "no embeddings in its API");
                Ok(())
            }
            "gen" => subject.generate(clock, &mut report),
            "agree" => {
                let path = options.logits.as_ref().context("--only agree wants --logits FILE")?;
                let logits = subject.agree(&mut report)?;
                std::fs::write(path, logits).with_context(|| format!("{}", path.display()))
            }
            _ => Ok(()),
        }
        .with_context(|| group)?;
    }
    report.put("peak_rss_mb", measure::peak_rss_mb());
    Ok(report.into_line())
}

/// What the command line asks for.
#[derive(Debug)]
struct Options {
    model: PathBuf,
    vocabulary: Option<PathBuf>,
    quant: Quant,
    any_adapter: bool,
    n_threads: usize,
    budget: Duration,
    only: Vec<String>,
    batches: Vec<usize>,
    logits: Option<PathBuf>,
}

impl Options {
    fn from_arguments(arguments: impl Iterator<Item = String>) -> Result<Options> {
        let mut options = Options {
            model: PathBuf::new(),
            vocabulary: None,
            quant: Quant::None,
            any_adapter: false,
            n_threads: std::thread::available_parallelism().map_or(1, usize::from),
            budget: Duration::from_secs(2),
            only: GROUPS.iter().filter(|group| **group != "agree").map(ToString::to_string).collect(),
            batches: vec![8, 32, 128],
            logits: None,
        };
        let mut device = "gpu".to_owned();
        let mut arguments = arguments;
        while let Some(argument) = arguments.next() {
            let value = arguments.next().with_context(|| format!("{argument} wants a value; {USAGE}"))?;
            let wrong = || format!("{argument}: {value}");
            match argument.as_str() {
                "-m" => options.model = value.into(),
                "--vocab" => options.vocabulary = Some(value.into()),
                "--device" => device = value,
                "-t" => options.n_threads = value.parse().with_context(wrong)?,
                "--budget" => {
                    let seconds = value.parse().with_context(wrong)?;
                    options.budget = Duration::try_from_secs_f64(seconds).with_context(wrong)?;
                }
                "--only" => options.only = value.split(',').map(str::to_owned).collect(),
                "--batches" => {
                    let batches: Result<Vec<usize>, _> = value.split(',').map(str::parse).collect();
                    options.batches = batches.with_context(wrong)?;
                }
                "--logits" => options.logits = Some(value.into()),
                "--quant" => options.quant = quant(&value)?,
                _ => bail!("no option {argument}; {USAGE}"),
            }
        }
        match device.as_str() {
            "gpu" => {}
            "any" => options.any_adapter = true,
            "cpu" => bail!("web-rwkv has no CPU path"),
            _ => bail!("--device: {device}; {USAGE}"),
        }
        if let Some(group) = options.only.iter().find(|group| !GROUPS.contains(&group.as_str())) {
            bail!("--only: no group {group}; there are {}", GROUPS.join(", "));
        }
        if options.model.as_os_str().is_empty() || options.n_threads == 0 || options.batches.contains(&0) {
            bail!(USAGE);
        }
        Ok(options)
    }
}

fn quant(name: &str) -> Result<Quant> {
    Ok(match name {
        "none" => Quant::None,
        "int8" => Quant::Int8,
        "nf4" => Quant::NF4,
        _ => bail!("--quant: {name}; there are none, int8, nf4"),
    })
}
