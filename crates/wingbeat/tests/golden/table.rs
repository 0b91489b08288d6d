//! The table of `docs/accuracy.md`.

use crate::expected::Difference;
use std::fmt::Write;

pub(crate) struct Table {
    rows: String,
}

impl Table {
    pub(crate) fn new() -> Table {
        Table {
            rows: "| model | computed by | logits | hidden | state | limit |\n|---|---|---|---|---|---|\n"
                .to_owned(),
        }
    }

    pub(crate) fn add(&mut self, model: &str, device: &str, difference: &Difference, limit: f64) {
        let Difference { logits, hidden, state } = difference;
        let hidden = if *hidden == 0.0 { "–".to_owned() } else { format!("{hidden:.1e}") };
        writeln!(self.rows, "| {model} | {device} | {logits:.1e} | {hidden} | {state:.1e} | {limit:.0e} |")
            .expect("writing to a string");
    }

    pub(crate) fn add_int8(&mut self, model: &str, calls: &str, rms: f64, limit: f64) {
        writeln!(self.rows, "| {model} | {calls}, int8 activations | RMS {rms:.1e} | | | RMS {limit:.0e} |")
            .expect("writing to a string");
    }

    pub(crate) fn markdown(&self) -> String {
        self.rows.clone()
    }
}
