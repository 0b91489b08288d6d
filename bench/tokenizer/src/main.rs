//! Wingbeat's tokenizer beside a plain trie and other engines' tokenizers, in one run, with the World vocabulary.
//!
//!     cargo run --release -p bench-tokenizer -- OUT_DIR [--rounds N] [--threads N] [--machine TEXT]
//!
//! Writes `tokenizer-cpu.json` and `tokenizer-cpu.md` to OUT_DIR. The contenders take turns in each round, so that
//! whatever else the machine does meets all of them; best and median are kept. From the environment:
//!
//! - `WINGBEAT_BENCH_TEXTS`: a folder with `prose.txt`, `multilingual.txt` and `code.txt` (`texts.rs`);
//! - `LLAMACPP_BENCH` and `LLAMACPP_MODEL`: llama.cpp's benchmark program and a GGUF with the World vocabulary for
//!   it (`llamacpp.rs`).

mod contenders;
mod llamacpp;
mod measure;
mod open;
mod report;
mod texts;

use std::path::PathBuf;

use anyhow::{Context, Result, bail};

fn main() -> Result<()> {
    // Before anything else: the program's very first use of the World vocabulary.
    let first_use = open::first_use();
    let options = Options::from_arguments(std::env::args().skip(1))?;

    let texts = texts::all()?;
    let mut contenders = contenders::all()?;
    let agreement = contenders::agreement(&contenders, &texts)?;
    let llamacpp = llamacpp::Peer::from_environment()?;

    let report = report::Report {
        options: &options,
        agreement,
        whole_texts: measure::whole_texts(&mut contenders, &texts, &options)?,
        kilobyte: measure::kilobyte(&mut contenders, &texts[0].text, llamacpp.as_ref(), &options)?,
        threads: measure::threads(&texts, &options)?,
        open: open::measure(first_use, llamacpp.as_ref(), &options)?,
        texts: &texts,
    };
    report.write(&options.out)
}

/// What the command line asks for.
pub(crate) struct Options {
    out: PathBuf,
    rounds: usize,
    threads: usize,
    machine: String,
    command: String,
}

impl Options {
    fn from_arguments(arguments: impl Iterator<Item = String>) -> Result<Options> {
        const USAGE: &str = "usage: bench-tokenizer OUT_DIR [--rounds N] [--threads N] [--machine TEXT]";
        let arguments: Vec<String> = arguments.collect();
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let mut options = Options {
            out: PathBuf::new(),
            rounds: 41,
            threads,
            machine: report::machine(),
            command: String::new(),
        };
        let mut arguments = arguments.into_iter();
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().with_context(|| format!("{argument} wants a value; {USAGE}"));
            match argument.as_str() {
                "--rounds" => options.rounds = value()?.parse().context("--rounds")?,
                "--threads" => options.threads = value()?.parse().context("--threads")?,
                "--machine" => options.machine = value()?,
                option if option.starts_with('-') => bail!("no option {option}; {USAGE}"),
                _ => options.out = PathBuf::from(argument),
            }
        }
        if options.out.as_os_str().is_empty() || options.rounds == 0 || options.threads == 0 {
            bail!(USAGE);
        }
        // As it can be typed elsewhere: the folder and the machine are this one's.
        let (rounds, threads) = (options.rounds, options.threads);
        options.command = format!(
            "cargo run --release -p bench-tokenizer -- OUT_DIR --rounds {rounds} --threads {threads}"
        );
        Ok(options)
    }
}
