//! The report: the same figures as JSON and as Markdown tables, with machine, date and command.

use std::fmt::Write as _;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};
use std::{env, fs};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::contenders::Agreement;
use crate::measure::Row;
use crate::texts::Text;
use crate::{Options, open};

/// All that was measured.
pub(crate) struct Report<'a> {
    pub(crate) options: &'a Options,
    pub(crate) texts: &'a [Text],
    pub(crate) agreement: Agreement,
    pub(crate) whole_texts: Vec<Row>,
    pub(crate) kilobyte: Vec<Row>,
    pub(crate) threads: Vec<Row>,
    pub(crate) open: Vec<open::Row>,
}

impl Report<'_> {
    /// Writes both files and prints the Markdown.
    pub(crate) fn write(&self, out: &Path) -> Result<()> {
        fs::create_dir_all(out).with_context(|| out.display().to_string())?;
        let markdown = self.markdown();
        let json = serde_json::to_string_pretty(&self.json())? + "\n";
        for (name, text) in [("tokenizer-cpu.md", &markdown), ("tokenizer-cpu.json", &json)] {
            let path = out.join(name);
            let temporary = path.with_extension("part");
            fs::write(&temporary, text).with_context(|| temporary.display().to_string())?;
            fs::rename(&temporary, &path).with_context(|| path.display().to_string())?;
        }
        print!("{markdown}");
        Ok(())
    }

    fn json(&self) -> Value {
        let texts: Vec<Value> = self
            .texts
            .iter()
            .map(|text| json!({"name": text.name, "origin": text.origin, "bytes": text.text.len()}))
            .collect();
        let different: Vec<Value> =
            self.agreement.iter().map(|(name, n)| json!({"name": name, "tokens": n})).collect();
        let rows = |rows: &[Row]| rows.iter().map(row_json).collect::<Vec<Value>>();
        let open: Vec<Value> = self
            .open
            .iter()
            .map(|row| {
                json!({
                    "name": row.name, "of": row.of,
                    "best_us": row.samples.best() * 1e6, "median_us": row.samples.median() * 1e6,
                })
            })
            .collect();
        json!({
            "machine": self.options.machine, "date": date(), "command": self.options.command,
            "environment": environment(), "rounds": self.options.rounds, "load_average": load_average(),
            "texts": texts, "tokens_different_from_wingbeat": different,
            "whole_texts": rows(&self.whole_texts), "kilobyte": rows(&self.kilobyte),
            "threads": rows(&self.threads), "open": open,
        })
    }

    fn markdown(&self) -> String {
        let options = self.options;
        let mut out = format!(
            "# Tokenizers beside each other\n\n{}, {}; load average at the end {}. `{}`{}. {} rounds in which all take \
             turns; World vocabulary; u32 ids into a buffer that is used again where the interface has one.\n\n",
            options.machine,
            date(),
            load_average(),
            options.command,
            environment(),
            options.rounds,
        );
        for text in self.texts {
            let _ = writeln!(out, "- {}: {} bytes, {}", text.name, text.text.len(), text.origin);
        }
        let different = self.agreement.iter().filter(|(_, n)| *n > 0);
        let different: Vec<String> = different.map(|(name, n)| format!("{name} ({n})")).collect();
        let different = if different.is_empty() { "nobody".to_owned() } else { different.join(", ") };
        let _ = writeln!(out, "\nTokens other than Wingbeat's in these texts: {different}.");

        out.push_str("\n## Whole texts, one thread, MB/s\n\n| | text | best | median | bytes a token |\n|---|---|---|---|---|\n");
        self.whole_texts.iter().for_each(|row| megabytes(&mut out, row));
        out.push_str(
            "\n## A kilobyte (1025 bytes of prose), µs\n\n| | | best | median |\n|---|---|---|---|\n",
        );
        for row in &self.kilobyte {
            let (best, median) = (row.samples.best() * 1e6, row.samples.median() * 1e6);
            let _ = writeln!(out, "| {} | {} | {best:.2} | {median:.2} |", row.name, row.of);
        }
        out.push_str("\n## Long texts (24 MiB), MB/s\n\n| | text | best | median | bytes a token |\n|---|---|---|---|---|\n");
        self.threads.iter().for_each(|row| megabytes(&mut out, row));
        out.push_str("\n## Ready to encode\n\n| | from | best | median |\n|---|---|---|---|\n");
        for row in &self.open {
            let (best, median) = (time(row.samples.best()), time(row.samples.median()));
            let _ = writeln!(out, "| {} | {} | {best} | {median} |", row.name, row.of);
        }
        out
    }
}

fn row_json(row: &Row) -> Value {
    let (best, median) = (row.samples.best(), row.samples.median());
    json!({
        "name": row.name, "of": row.of, "bytes": row.n_bytes, "tokens": row.n_tokens,
        "best_us": best * 1e6, "median_us": median * 1e6,
        "best_mb_s": row.n_bytes as f64 / best / 1e6, "median_mb_s": row.n_bytes as f64 / median / 1e6,
    })
}

/// A table line with speeds.
fn megabytes(out: &mut String, row: &Row) {
    let speed = |seconds: f64| row.n_bytes as f64 / seconds / 1e6;
    let (best, median) = (speed(row.samples.best()), speed(row.samples.median()));
    let bytes_a_token = row.n_bytes as f64 / row.n_tokens as f64;
    let _ = writeln!(out, "| {} | {} | {best:.0} | {median:.0} | {bytes_a_token:.2} |", row.name, row.of);
}

/// A time in the unit in which it is easy to read.
fn time(seconds: f64) -> String {
    match seconds {
        s if s < 1e-6 => format!("{:.0} ns", s * 1e9),
        s if s < 1e-3 => format!("{:.1} µs", s * 1e6),
        s => format!("{:.2} ms", s * 1e3),
    }
}

/// The processor's name and how many threads it offers, as far as the system tells.
pub(crate) fn machine() -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let n = std::thread::available_parallelism().map_or(1, usize::from);
    format!("{}, {n} threads", name.map_or(env::consts::ARCH, |(_, name)| name))
}

/// The last minute's load and so on, where the system tells.
fn load_average() -> String {
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load: Vec<&str> = load.split(' ').take(3).collect();
    if load.len() == 3 { load.join(" ") } else { "unknown".to_owned() }
}

/// Which of the variables that matter are set; their values are paths, which say nothing elsewhere.
fn environment() -> String {
    let set = ["WINGBEAT_BENCH_TEXTS", "LLAMACPP_BENCH", "LLAMACPP_MODEL"];
    let set: Vec<&str> = set.into_iter().filter(|name| env::var_os(name).is_some()).collect();
    if set.is_empty() { String::new() } else { format!(" with {} set", set.join(", ")) }
}

/// Today in UTC, year-month-day.
fn date() -> String {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    // Days to a date of the Gregorian calendar, in 400-year eras of years that begin in March, so that a leap day
    // is a year's last (Howard Hinnant's `civil_from_days`).
    let days = seconds / 86_400 + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year + 400 * era + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}
