//! Measures one RWKV model with llama.cpp, as `wingbeat bench` does with Wingbeat: same text, tokens, lengths and order,
//! and the caller ends up holding the same thing. `bench/README.md` says of each figure from where to where.
//!
//!     bench-llamacpp -m MODEL.gguf [--device cpu|gpu] [-t THREADS] [--budget SECONDS] [--only GROUP,...]
//!                    [--batches 8,32,128] [--logits FILE]
//!
//! Prints one JSON object on one line. Where llama.cpp has several ways to the same thing, the fastest is reported, and
//! which it was. Scripts of `bench/` compare the figures with other engines'.

#![forbid(unsafe_code)]

mod arguments;
mod measure;
mod metrics;
mod report;
mod ways;

use anyhow::Result;
use arguments::{Arguments, Group};
use bench_llamacpp::llama::{self, Model};
use metrics::Subject;
use report::Report;
use std::{io::Write, process::ExitCode};

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench-llamacpp: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let arguments = Arguments::parse(std::env::args().skip(1))?;
    let mut figures = Report::default();
    // The first opening is one of the figures: nothing is opened before it.
    let model = match arguments.groups.contains(&Group::Load) {
        true => metrics::load(&arguments, &mut figures)?,
        false => Model::open(&arguments.model, arguments.device)?,
    };
    let mut report = Report::default();
    let engine = format!(
        "llama.cpp {} {} (llama-cpp-sys-2 {})",
        llama::version(),
        model.backend(),
        llama::SYS_VERSION
    );
    report.note("engine", engine);
    report.note("device", model.device_name());
    report.note("model", arguments.model.file_name().unwrap_or_default().to_string_lossy());
    report.note("threads", arguments.n_threads);
    report.append(figures);
    let subject = Subject::new(&model, &arguments)?;
    for group in &arguments.groups {
        match group {
            Group::Load => {}
            Group::Tokenize => subject.tokenize(&mut report)?,
            Group::Prefill => subject.prefill(&mut report)?,
            Group::Par => {
                for &n in &arguments.batches {
                    subject.parallel(n, &mut report)?;
                }
            }
            Group::State => subject.document_state(&mut report)?,
            Group::Fields => subject.fields(&mut report)?,
            Group::Embed => subject.embed(&mut report)?,
            Group::Gen => subject.generate(&mut report)?,
            Group::Agree => subject.agree(arguments.logits.as_deref(), &mut report)?,
        }
    }
    report.note("peak_rss_mb", metrics::peak_rss_mb());
    writeln!(std::io::stdout(), "{}", report.json())?;
    Ok(())
}

#[cfg(test)]
mod tests;
