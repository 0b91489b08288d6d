//! What was found out about a document: as a table, as JSON, as comma-separated values.

use crate::{
    output::csv_field,
    terminal::{columns, on_one_line, width, wrapped},
};
use serde_json::{Value as Json, json};
use std::fmt::Write;

/// A longer field has a line of its own, above its answer.
const WIDEST_FIELD: usize = 32;
/// Columns between a field and its answer.
const GAP: usize = 2;

/// All of it.
pub(super) struct Report {
    pub(super) model: String,
    pub(super) document: Document,
    /// Tokens that the state has taken in, earlier texts included.
    pub(super) state_tokens: u64,
    pub(super) answer_seconds: f64,
    pub(super) seed: u64,
    pub(super) fields: Vec<Field>,
}

/// What was read now.
pub(super) struct Document {
    pub(super) path: Option<String>,
    pub(super) n_tokens: usize,
    pub(super) seconds: f64,
}

/// A field and what came of it.
pub(super) enum Field {
    Answer { field: String, text: String, n_tokens: usize, stop_reason: &'static str, stop: Option<String> },
    Choice { field: String, scores: Vec<Score> },
}

/// How likely a choice is.
pub(super) struct Score {
    pub(super) choice: String,
    /// As it was scored.
    pub(super) text: String,
    /// Of all its tokens.
    pub(super) nats: f64,
    pub(super) n_tokens: usize,
}

impl Report {
    pub(super) fn json(&self) -> Json {
        let fields: Vec<Json> = self.fields.iter().map(Field::json).collect();
        json!({
            "model": self.model,
            "document": self.document.path,
            "document_tokens": self.document.n_tokens,
            "state_tokens": self.state_tokens,
            "read_seconds": self.document.seconds,
            "answer_seconds": self.answer_seconds,
            "seed": self.seed,
            "fields": fields,
        })
    }

    pub(super) fn csv(&self) -> String {
        let mut text = match self.fields.first() {
            Some(Field::Choice { .. }) => "field,choice,share,nats,tokens,best\n".to_owned(),
            _ => "field,answer\n".to_owned(),
        };
        // Writing to a string cannot fail.
        for field in &self.fields {
            match field {
                Field::Answer { field, text: answer, .. } => {
                    let _ = writeln!(text, "{},{}", csv_field(field), csv_field(answer.trim()));
                }
                Field::Choice { field, scores } => {
                    let best = best(scores);
                    for (i, (score, share)) in scores.iter().zip(shares(scores)).enumerate() {
                        let (field, choice) = (csv_field(field), csv_field(&score.choice));
                        let Score { nats, n_tokens, .. } = score;
                        let _ = writeln!(text, "{field},{choice},{share},{nats},{n_tokens},{}", i == best);
                    }
                }
            }
        }
        text
    }

    /// For people: a line for each field or choice, wrapped where a terminal is narrower.
    pub(super) fn table(&self) -> String {
        let widest = self.fields.iter().map(|field| columns(&on_one_line(field.name())));
        let left = widest.filter(|width| *width <= WIDEST_FIELD).max().unwrap_or(GAP);
        let right = width().map_or(usize::MAX, |width| width.saturating_sub(left + GAP));
        let mut table = String::new();
        for field in &self.fields {
            let mut name = on_one_line(field.name());
            if columns(&name) > left {
                table += &format!("{name}\n");
                name.clear();
            }
            for line in field.lines(right) {
                let padding = " ".repeat(left - columns(&name) + GAP);
                table += format!("{name}{padding}{line}").trim_end();
                table.push('\n');
                name.clear();
            }
        }
        table
    }

    /// For people, beside the result.
    pub(super) fn summary(&self) -> String {
        let Document { path, n_tokens, seconds } = &self.document;
        let rate = *n_tokens as f64 / seconds.max(1e-9);
        let mut line = match path {
            Some(_) => format!("document: {n_tokens} tokens, {rate:.1} tok/s; "),
            None => format!("state: {} tokens; ", self.state_tokens),
        };
        let n = self.fields.len();
        line += &format!("{n} {}: {:.2} s", if n == 1 { "field" } else { "fields" }, self.answer_seconds);
        line
    }
}

impl Field {
    fn name(&self) -> &str {
        match self {
            Field::Answer { field, .. } | Field::Choice { field, .. } => field,
        }
    }

    fn json(&self) -> Json {
        match self {
            Field::Answer { field, text, n_tokens, stop_reason, stop } => json!({
                "field": field,
                "answer": text.trim(),
                "text": text,
                "tokens": n_tokens,
                "stop_reason": stop_reason,
                "stop": stop,
            }),
            Field::Choice { field, scores } => {
                let choice = |(score, share): (&Score, f64)| {
                    json!({
                        "choice": score.choice,
                        "text": score.text,
                        "share": share,
                        "nats": score.nats,
                        "tokens": score.n_tokens,
                    })
                };
                json!({
                    "field": field,
                    "best": scores.get(best(scores)).map(|score| &score.choice),
                    "choices": scores.iter().zip(shares(scores)).map(choice).collect::<Vec<_>>(),
                })
            }
        }
    }

    /// What stands beside the field in a table `width` wide; the best choice has a star.
    fn lines(&self, width: usize) -> Vec<String> {
        match self {
            Field::Answer { text, .. } => wrapped(&on_one_line(text), width),
            Field::Choice { scores, .. } => {
                let best = best(scores);
                let labels: Vec<String> = scores.iter().map(|score| on_one_line(&score.choice)).collect();
                let widest = labels.iter().map(|label| columns(label)).max().unwrap_or(0);
                let line = |i: usize, share: f64| {
                    let star = if i == best { '*' } else { ' ' };
                    let padding = " ".repeat(widest - columns(&labels[i]));
                    let nats = scores[i].nats;
                    format!("{star} {}{padding}  {:>5.1} %  {nats:>8.3} nats", labels[i], 100.0 * share)
                };
                shares(scores).into_iter().enumerate().map(|(i, share)| line(i, share)).collect()
            }
        }
    }
}

/// Of the most likely choice; the first of equals.
fn best(scores: &[Score]) -> usize {
    (0..scores.len()).rev().max_by(|&a, &b| scores[a].nats.total_cmp(&scores[b].nats)).unwrap_or(0)
}

/// The choices' probabilities, if no others were possible.
fn shares(scores: &[Score]) -> Vec<f64> {
    let most = scores.iter().map(|score| score.nats).fold(f64::NEG_INFINITY, f64::max);
    let weights: Vec<f64> = scores.iter().map(|score| (score.nats - most).exp()).collect();
    let all: f64 = weights.iter().sum();
    weights.iter().map(|weight| weight / all).collect()
}

#[cfg(test)]
mod tests;
