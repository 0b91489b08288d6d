//! The one JSON object that the program prints.

use crate::measure::Spread;
use serde_json::{Map, Value, json};

/// What was measured and on what, in order.
#[derive(Default)]
pub(crate) struct Report {
    entries: Map<String, Value>,
    cannot: Map<String, Value>,
}

impl Report {
    /// Notes a fact or a single figure.
    pub(crate) fn note(&mut self, key: &str, value: impl Into<Value>) {
        self.entries.insert(key.to_owned(), value.into());
    }

    /// Notes a figure of several runs.
    pub(crate) fn figure(&mut self, key: &str, spread: Spread) {
        self.note(key, spread.median);
        self.note(&format!("{key}_min"), spread.min);
        self.note(&format!("{key}_max"), spread.max);
        self.note(&format!("{key}_runs"), spread.runs);
    }

    /// Notes the better of several ways to a figure under `key`, with the way's name under `KEY_way` (without the
    /// unit). Where `better` is true of two medians, the first is the better one.
    pub(crate) fn best(&mut self, key: &str, ways: &[(&str, Spread)], better: impl Fn(f64, f64) -> bool) {
        let first = ways.first();
        let best = ways.iter().fold(first, |best, way| match best {
            Some(known) if !better(way.1.median, known.1.median) => best,
            _ => Some(way),
        });
        if let Some((way, spread)) = best {
            self.figure(key, *spread);
            self.way(key, way);
        }
    }

    /// Notes which way a figure was had.
    pub(crate) fn way(&mut self, key: &str, way: &str) {
        let name =
            ["_tok_s", "_analysis_ms", "_ms"].iter().find_map(|unit| key.strip_suffix(unit)).unwrap_or(key);
        let name = if name == "field" { "fields" } else { name };
        self.note(&format!("{name}_way"), way);
    }

    /// Notes that a figure cannot be had, and why.
    pub(crate) fn cannot(&mut self, key: &str, why: &str) {
        self.cannot.insert(key.to_owned(), json!(why));
    }

    /// Adds what another report has.
    pub(crate) fn append(&mut self, other: Report) {
        self.entries.extend(other.entries);
        self.cannot.extend(other.cannot);
    }

    /// All of it in a line.
    pub(crate) fn json(mut self) -> String {
        if !self.cannot.is_empty() {
            self.entries.insert("cannot".to_owned(), Value::Object(self.cannot));
        }
        Value::Object(self.entries).to_string()
    }
}
