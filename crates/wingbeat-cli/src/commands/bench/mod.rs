//! `wingbeat bench`: what a model costs on this machine, from opening it to documents and batches.
//!
//! Here are the flags and the order of things; `metrics` has what is timed from where to where, `measure` how often,
//! `machine` the figures of process and memory, `bounds` what the machine permits, `report` the forms of the result.
//! What each metric means is written down in `bench/README.md`, too.

mod bounds;
mod machine;
mod measure;
mod metrics;
mod report;

use crate::{
    args::{Global, ModelArgs, ProfileArgs},
    commands::convert,
    interrupt::Interrupt,
    output,
    progress::Progress,
};
use anyhow::{Context, bail};
use clap::{Args, ValueEnum};
use measure::Clock;
use metrics::Subject;
use report::{Facts, Report};
use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};
use wingbeat::{
    convert::Mix,
    synthetic::{Shape, SyntheticModel},
};

// clap drops a `requires` whose target conflicts with what is given: each of the synthetic model's flags says both.
/// Measure how fast a model runs
#[derive(Args)]
#[command(after_help = "\
Each figure is the median of several runs after a warm-up, with the smallest and the largest; speed is counted in \
tokens a second, times in milliseconds. A synthetic model has random weights and costs what a trained one of its shape \
costs.

Examples:
  wingbeat bench
  wingbeat bench -m model.gguf --only gen,bandwidth
  wingbeat bench --synthetic 1.5b --type q8_0 --json
  wingbeat bench --synthetic 0.4b --write model.gguf --only none")]
pub(crate) struct Bench {
    /// Measure a model with random weights, of the shape tiny, 0.1b, 0.4b, 1.5b, 2.9b or 7.2b, or of an older
    /// version: v6-0.1b, v6-1.6b, v5-1.5b or v4-1.5b
    #[arg(long, value_name = "SHAPE", value_parser = shape, conflicts_with = "model")]
    synthetic: Option<Shape>,
    /// Type of the synthetic model's matrices: f16, q8_0, q4_k_m or another one that `convert` knows
    #[arg(long = "type", value_name = "TYPE", value_parser = convert::mix, default_value = "f16")]
    #[arg(requires = "synthetic", conflicts_with = "model")]
    mix: Mix,
    /// Fraction of zeros in the synthetic model's channel mix, 0.5 to 0.99
    #[arg(long, value_name = "Z", value_parser = zeros, default_value_t = SyntheticModel::TRAINED_ZEROS)]
    #[arg(requires = "synthetic", conflicts_with = "model")]
    zeros: f64,
    /// Seed of the synthetic model
    #[arg(long, value_name = "N", default_value_t = 0, requires = "synthetic", conflicts_with = "model")]
    seed: u64,
    /// Write the synthetic model here and keep it; .gguf, .safetensors or .st
    #[arg(long, value_name = "FILE", requires = "synthetic", conflicts_with = "model")]
    write: Option<PathBuf>,
    /// What to measure; none measures nothing [default: all]
    #[arg(long, value_enum, value_name = "WHAT", value_delimiter = ',')]
    only: Option<Vec<Group>>,
    /// Numbers of sequences that run side by side
    #[arg(long, value_name = "N", value_delimiter = ',', default_value = "8,32,128", value_parser = batch)]
    batches: Vec<usize>,
    /// Seconds for each figure, beyond a warm-up and three runs
    #[arg(long, value_name = "SECONDS", default_value = "2", value_parser = budget, allow_negative_numbers = true)]
    budget: Duration,
    /// Print one JSON object
    #[arg(long, conflicts_with = "csv")]
    json: bool,
    /// Print comma-separated values, a line for each figure
    #[arg(long)]
    csv: bool,
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    profile: ProfileArgs,
}

/// What is measured together.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Group {
    /// Opening the model, and from there to the first token
    Load,
    /// Text to tokens
    Tokenize,
    /// Prompts of 512 and 2048 tokens
    Prefill,
    /// A token each for several sequences
    Par,
    /// A document's state
    State,
    /// Short prompts continued from a document's state
    Fields,
    /// A document's embedding
    Embed,
    /// One sequence, token by token
    Gen,
    /// Memory and arithmetic of the machine, or of the GPU, and how near figures are to their bounds
    Bandwidth,
    /// Nothing
    None,
}

impl Bench {
    pub(crate) fn run(mut self, global: Global) -> anyhow::Result<ExitCode> {
        self.model.locate()?;
        let rss_at_start = machine::status_mb("VmRSS");
        let interrupt = Interrupt::heed()?;
        // Removed when it goes out of scope, whatever happens.
        let folder = match (self.synthetic, &self.write) {
            (Some(_), None) if self.groups().is_empty() => {
                bail!("--only none measures nothing: --write FILE keeps the synthetic model")
            }
            (Some(_), None) => Some(
                tempfile::Builder::new()
                    .prefix("wingbeat-")
                    .tempdir()
                    .context("a folder for the synthetic model")?,
            ),
            _ => None,
        };
        if let Some(shape) = self.synthetic {
            let path = match (&self.write, &folder) {
                (Some(path), _) => path.clone(),
                (None, Some(folder)) => folder.path().join("synthetic.gguf"),
                (None, None) => bail!("there is no place for the synthetic model"),
            };
            let written = self.write_model(shape, &path, &interrupt, global);
            if interrupt.requested() {
                return Ok(interrupt.exit_code());
            }
            written?;
            self.model.model = Some(path);
        }
        if self.groups().is_empty() {
            return Ok(interrupt.exit_code());
        }
        let report = self.measure(rss_at_start, &interrupt, global);
        if interrupt.requested() {
            return Ok(interrupt.exit_code());
        }
        self.print(&report?)?;
        Ok(interrupt.exit_code())
    }

    fn groups(&self) -> Vec<Group> {
        let all = || Group::value_variants().iter().copied();
        // In the order of the enum, whatever the order asked for.
        all()
            .filter(|group| self.only.as_ref().is_none_or(|only| only.contains(group)))
            .filter(|group| *group != Group::None)
            .collect()
    }

    fn write_model(
        &self,
        shape: Shape,
        path: &Path,
        interrupt: &Interrupt,
        global: Global,
    ) -> anyhow::Result<()> {
        let model = SyntheticModel { shape, seed: self.seed, zeros: self.zeros, mix: self.mix };
        let bar = Progress::new(!global.quiet, "making the model", "tensors", 0);
        let mut progress = |done, total| {
            bar.set(done, total);
            !interrupt.requested()
        };
        match path.extension().and_then(|ending| ending.to_str()) {
            Some("gguf") => model.write_gguf(path, &mut progress)?,
            Some("safetensors" | "st") => model.write_safetensors(path, &mut progress)?,
            _ => bail!("{}: the ending should be .gguf, .safetensors or .st", path.display()),
        };
        Ok(())
    }

    fn measure(
        &self,
        rss_at_start: Option<f64>,
        interrupt: &Interrupt,
        global: Global,
    ) -> anyhow::Result<Report> {
        let groups = self.groups();
        let bar = Progress::new(!global.quiet, "measuring", "groups", groups.len());
        let clock = Clock { budget: self.budget, interrupt };
        let mut report = Report::default();
        // The first opening is one of the figures: nothing is opened before it.
        if groups.contains(&Group::Load) {
            bar.set(0, groups.len());
            metrics::load(&clock, &self.model, &mut report)?;
        }
        let subject = Subject::new(&self.model)?;
        self.profile.begin(subject.model())?;
        for (done, group) in groups.iter().enumerate() {
            bar.set(done, groups.len());
            match group {
                Group::Load | Group::None => {}
                Group::Tokenize => subject.tokenize(&clock, &mut report)?,
                Group::Prefill => subject.prefill(&clock, &mut report)?,
                Group::Par => {
                    for &n in &self.batches {
                        subject.parallel(&clock, n, &mut report)?;
                    }
                }
                Group::State => subject.document_state(&clock, &mut report)?,
                Group::Fields => subject.fields(&clock, &mut report)?,
                Group::Embed => subject.embed(&clock, &mut report)?,
                Group::Gen => subject.generate(&clock, &mut report)?,
                Group::Bandwidth => {
                    // The buffer that is read is not the model's.
                    report.process(rss_at_start);
                    subject.read_bandwidth(&clock, &mut report)?;
                    subject.multiply_rate(&clock, &mut report)?;
                }
            }
        }
        report.process(rss_at_start);
        self.profile.end(subject.model())?;
        bounds::weigh(subject.model(), &mut report)?;
        report.facts =
            Facts::new(subject.model(), self.model.n_threads(), self.synthetic.map(|_| self.zeros))?;
        Ok(report)
    }

    fn print(&self, report: &Report) -> anyhow::Result<()> {
        match (self.json, self.csv) {
            (true, _) => output::print_json(&report.json()),
            (_, true) => output::print(report.csv()),
            _ => output::print(report.table()),
        }
    }
}

fn shape(name: &str) -> Result<Shape, String> {
    Shape::by_name(name)
        .ok_or_else(|| format!("shapes are {}", Shape::NAMED.map(|(name, _)| name).join(", ")))
}

fn zeros(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(zeros) if (0.5..=0.99).contains(&zeros) => Ok(zeros),
        _ => Err("expected a fraction from 0.5 to 0.99".to_owned()),
    }
}

fn batch(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(n) if (1..=4096).contains(&n) => Ok(n),
        _ => Err("expected 1 to 4096 sequences".to_owned()),
    }
}

fn budget(text: &str) -> Result<Duration, String> {
    let seconds: Option<f64> = text.parse().ok().filter(|seconds| (0.0..=3600.0).contains(seconds));
    seconds.map(Duration::from_secs_f64).ok_or_else(|| "expected 0 to 3600 seconds".to_owned())
}

#[cfg(test)]
mod tests;
