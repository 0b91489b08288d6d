//! Ctrl-C: work that can stop cleanly asks here whether it should; all else is ended by it at once.

use anyhow::Context;
use std::{
    process::{self, ExitCode},
    sync::{
        Once,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
};

/// What a shell expects of a program that SIGINT ended: 128 + 2.
const CODE: u8 = 130;

/// Whether someone is asking.
static HEEDED: AtomicBool = AtomicBool::new(false);
/// Whether Ctrl-C came since then.
static REQUESTED: AtomicBool = AtomicBool::new(false);

/// The time in which Ctrl-C is a request and not the end. A second one ends the program at once.
pub(crate) struct Interrupt(());

impl Interrupt {
    /// Begins to heed Ctrl-C; dropping the value ends it.
    pub(crate) fn heed() -> anyhow::Result<Interrupt> {
        static HANDLER: Once = Once::new();
        let mut installed = Ok(());
        HANDLER.call_once(|| {
            installed = ctrlc::set_handler(|| {
                if !HEEDED.load(SeqCst) || REQUESTED.swap(true, SeqCst) {
                    process::exit(CODE.into());
                }
            });
        });
        installed.context("Ctrl-C cannot be handled")?;
        REQUESTED.store(false, SeqCst);
        HEEDED.store(true, SeqCst);
        Ok(Interrupt(()))
    }

    /// Whether it came.
    pub(crate) fn requested(&self) -> bool {
        REQUESTED.load(SeqCst)
    }

    /// The exit code of a command that did all it was to do, unless it was interrupted.
    pub(crate) fn exit_code(&self) -> ExitCode {
        if self.requested() { ExitCode::from(CODE) } else { ExitCode::SUCCESS }
    }
}

impl Drop for Interrupt {
    fn drop(&mut self) {
        HEEDED.store(false, SeqCst);
        REQUESTED.store(false, SeqCst);
    }
}
