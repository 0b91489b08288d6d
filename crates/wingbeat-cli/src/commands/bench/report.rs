//! The figures and the forms they are printed in: a table, JSON, comma-separated values.

use super::{
    bounds::{self, Demand},
    machine,
    measure::Spread,
};
use crate::{commands::devices::processor_name, output::csv_field};
use serde_json::{Map, Value, json};
use std::fmt::Write;
use wingbeat::Model;
use wingbeat_model::Catalog;

/// What a figure is counted in.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    Milliseconds,
    Microseconds,
    TokensPerSecond,
    MegabytesPerSecond,
    GigabytesPerSecond,
    /// 10¹² operations a second.
    TeraOperationsPerSecond,
    /// 2²⁰ bytes, as systems count memory.
    Mebibytes,
    /// 10⁶ bytes.
    Megabytes,
    Fraction,
}

impl Unit {
    fn name(self) -> &'static str {
        match self {
            Unit::Milliseconds => "ms",
            Unit::Microseconds => "us",
            Unit::TokensPerSecond => "tok/s",
            Unit::MegabytesPerSecond => "MB/s",
            Unit::GigabytesPerSecond => "GB/s",
            Unit::TeraOperationsPerSecond => "Top/s",
            Unit::Mebibytes => "MiB",
            Unit::Megabytes => "MB",
            Unit::Fraction => "",
        }
    }
}

/// One figure.
struct Figure {
    key: String,
    unit: Unit,
    /// None: it could not be had here.
    value: Option<f64>,
    /// Where it comes from several runs.
    spread: Option<Spread>,
    /// What a run put through the model, where there is a bound to it.
    demand: Option<Demand>,
    /// The least time over the time taken, where rates of the machine were measured.
    of_bound: Option<f64>,
}

impl Figure {
    /// Seconds of a run.
    fn seconds(&self, demand: Demand) -> Option<f64> {
        match self.unit {
            Unit::Milliseconds => self.value.map(|milliseconds| milliseconds / 1e3),
            Unit::TokensPerSecond => self.value.map(|rate| demand.tokens as f64 / rate),
            _ => None,
        }
    }
}

/// What was measured, and on what.
#[derive(Default)]
pub(super) struct Report {
    pub(super) facts: Facts,
    figures: Vec<Figure>,
    /// Lines as llama-bench prints them: name and tokens a second.
    llama_bench: Vec<(&'static str, Spread)>,
    has_process: bool,
}

/// What was measured on.
#[derive(Default)]
pub(super) struct Facts {
    entries: Vec<(&'static str, Value)>,
}

impl Facts {
    /// Of a model on its device.
    pub(super) fn new(model: &Model, n_threads: usize, zeros: Option<f64>) -> anyhow::Result<Facts> {
        let config = model.config();
        let catalog = Catalog::new(model.file(), config)?;
        let count = |n: &[usize]| n.iter().map(|&n| n as u64).product::<u64>();
        let parameters: u64 = catalog.weights().iter().map(|weight| count(&weight.shape)).sum();
        let bytes: u64 = catalog.weights().iter().map(|weight| weight.data.len() as u64).sum();
        let dtype = bounds::main_type(&catalog).map(|dtype| dtype.name());
        Ok(Facts {
            entries: vec![
                ("version", json!(env!("CARGO_PKG_VERSION"))),
                ("model", json!(config.name)),
                ("type", json!(dtype)),
                ("zeros", json!(zeros)),
                ("n_layers", json!(config.n_layers)),
                ("n_channels", json!(config.n_channels)),
                ("n_vocab", json!(config.n_vocab)),
                ("params_m", json!(parameters as f64 / 1e6)),
                ("size_mb", json!(bytes as f64 / 1e6)),
                ("device", json!(model.device())),
                ("driver", json!(model.adapter().map(|adapter| &adapter.driver))),
                ("processor", json!(processor_name())),
                ("threads", json!(n_threads)),
            ],
        })
    }

    /// As text; empty where it is unknown.
    fn text(&self, key: &str) -> String {
        match self.entries.iter().find(|(known, _)| *known == key) {
            None | Some((_, Value::Null)) => String::new(),
            Some((_, Value::String(text))) => text.clone(),
            Some((_, value)) => value.to_string(),
        }
    }
}

impl Report {
    /// Notes a figure of several runs.
    pub(super) fn push(&mut self, key: impl Into<String>, unit: Unit, spread: Spread) {
        self.note(key.into(), unit, Some(spread.median), Some(spread), None);
    }

    /// As [`Report::push`], of runs that a bound can be said of.
    pub(super) fn push_run(&mut self, key: impl Into<String>, unit: Unit, spread: Spread, demand: Demand) {
        self.note(key.into(), unit, Some(spread.median), Some(spread), Some(demand));
    }

    /// Notes a figure that is one number, or that it could not be had.
    pub(super) fn push_one(&mut self, key: impl Into<String>, unit: Unit, value: Option<f64>) {
        self.note(key.into(), unit, value, None, None);
    }

    fn note(
        &mut self,
        key: String,
        unit: Unit,
        value: Option<f64>,
        spread: Option<Spread>,
        demand: Option<Demand>,
    ) {
        self.figures.push(Figure { key, unit, value, spread, demand, of_bound: None });
    }

    /// Says of each figure how near it is to its bound, by the seconds that demands take at least.
    pub(super) fn hold_against(&mut self, least_seconds: &dyn Fn(Demand) -> f64) {
        for figure in &mut self.figures {
            let Some(demand) = figure.demand else { continue };
            figure.of_bound = figure.seconds(demand).map(|seconds| least_seconds(demand) / seconds);
        }
    }

    /// Notes a line of the kind that llama-bench prints.
    pub(super) fn push_llama_bench(&mut self, name: &'static str, spread: Spread) {
        self.llama_bench.push((name, spread));
    }

    /// Notes what the process has held so far, once.
    pub(super) fn process(&mut self, rss_at_start: Option<f64>) {
        if std::mem::replace(&mut self.has_process, true) {
            return;
        }
        self.push_one("peak_rss_mb", Unit::Mebibytes, machine::status_mb("VmHWM"));
        self.push_one("rss_start_mb", Unit::Mebibytes, rss_at_start);
        self.push_one("rss_anon_mb", Unit::Mebibytes, machine::status_mb("RssAnon"));
        self.push_one("rss_file_mb", Unit::Mebibytes, machine::status_mb("RssFile"));
    }

    /// The median of a figure.
    pub(super) fn value(&self, key: &str) -> Option<f64> {
        self.figures.iter().find(|figure| figure.key == key)?.value
    }

    /// One flat object: the facts, then each figure, its smallest and largest, its number of runs, its part of its bound.
    pub(super) fn json(&self) -> Value {
        let mut object = Map::new();
        for (key, value) in &self.facts.entries {
            object.insert((*key).to_owned(), value.clone());
        }
        for Figure { key, value, spread, of_bound, .. } in &self.figures {
            object.insert(key.clone(), json!(value));
            if let Some(spread) = spread {
                object.insert(format!("{key}_min"), json!(spread.min));
                object.insert(format!("{key}_max"), json!(spread.max));
                object.insert(format!("{key}_runs"), json!(spread.runs));
            }
            if let Some(fraction) = of_bound {
                object.insert(format!("{key}_bound_fraction"), json!(fraction));
            }
        }
        Value::Object(object)
    }

    /// A line for each figure, each with the model, so that several files can be put together.
    pub(super) fn csv(&self) -> String {
        let of = ["version", "model", "type", "device", "threads"];
        let facts = of.map(|key| csv_field(&self.facts.text(key))).join(",");
        let mut text = format!("{},metric,unit,median,min,max,runs,bound_fraction\n", of.join(","));
        for Figure { key, unit, value, spread, of_bound, .. } in &self.figures {
            let number = |x: Option<f64>| x.map(|x| x.to_string()).unwrap_or_default();
            let cells = [
                number(*value),
                number(spread.map(|spread| spread.min)),
                number(spread.map(|spread| spread.max)),
                spread.map(|spread| spread.runs.to_string()).unwrap_or_default(),
                number(*of_bound),
            ];
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{facts},{key},{},{}", unit.name(), cells.join(","));
        }
        text
    }

    /// For people.
    pub(super) fn table(&self) -> String {
        let mut text = String::new();
        let fact = |key| self.facts.text(key);
        let _ = writeln!(
            text,
            "{}: {}, {} layers of {}, {:.1} million parameters, {:.1} MB\n{}, {}\n",
            fact("model"),
            fact("type"),
            fact("n_layers"),
            fact("n_channels"),
            fact("params_m").parse::<f64>().unwrap_or_default(),
            fact("size_mb").parse::<f64>().unwrap_or_default(),
            match fact("driver") {
                none if none.is_empty() => fact("device"),
                driver => format!("{}, driver {driver}", fact("device")),
            },
            match fact("processor") {
                name if name.is_empty() => "unknown processor".to_owned(),
                name => name,
            },
        );
        let width = self.figures.iter().map(|figure| figure.key.len()).max().unwrap_or(0).max(8);
        let bounds =
            if self.figures.iter().any(|figure| figure.of_bound.is_some()) { "  of bound" } else { "" };
        let _ = writeln!(
            text,
            "{:width$}  {:>12}         {:>10} {:>10}  runs{bounds}",
            "", "median", "min", "max"
        );
        for Figure { key, unit, value, spread, of_bound, .. } in &self.figures {
            let shown = value.map_or_else(|| "unknown".to_owned(), digits);
            let _ = write!(text, "{key:width$}  {shown:>12} {:5}", unit.name());
            if let Some(Spread { min, max, runs, .. }) = spread {
                let _ = write!(text, "   {:>10} {:>10} {runs:>5}", digits(*min), digits(*max));
            }
            if let Some(fraction) = of_bound {
                let _ = write!(text, "  {fraction:>8.3}");
            }
            text.push('\n');
        }
        if !self.llama_bench.is_empty() {
            let _ = writeln!(text, "\n| test  |                  t/s |\n| ----- | -------------------: |");
            for (name, Spread { mean, deviation, .. }) in &self.llama_bench {
                let rate = format!("{mean:.2} ± {deviation:.2}");
                let _ = writeln!(text, "| {name} | {rate:>20} |");
            }
        }
        text.lines().map(|line| format!("{}\n", line.trim_end())).collect()
    }
}

/// Four digits or so.
fn digits(x: f64) -> String {
    let decimals = match x.abs() {
        x if x >= 1000.0 => 0,
        x if x >= 100.0 => 1,
        x if x >= 10.0 => 2,
        _ => 3,
    };
    format!("{x:.decimals$}")
}
