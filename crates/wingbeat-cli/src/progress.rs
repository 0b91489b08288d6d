//! Progress bars: on standard error, and only where that is a terminal.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A bar that goes when it is dropped.
pub(crate) struct Progress(ProgressBar);

impl Progress {
    /// A bar of `total` things, called `unit`; none if nobody wants to see it.
    pub(crate) fn new(wanted: bool, what: &'static str, unit: &str, total: usize) -> Progress {
        let target = if wanted { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(Some(total as u64), target);
        let template = format!("{{msg}} [{{bar:30}}] {{pos}} of {{len}} {unit}, {{eta}} left");
        let style = ProgressStyle::with_template(&template).unwrap_or_else(|_| ProgressStyle::default_bar());
        bar.set_style(style.progress_chars("=> "));
        bar.set_message(what);
        Progress(bar)
    }

    /// Moves it.
    pub(crate) fn set(&self, done: usize, total: usize) {
        if self.0.length() != Some(total as u64) {
            self.0.set_length(total as u64);
        }
        self.0.set_position(done as u64);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
