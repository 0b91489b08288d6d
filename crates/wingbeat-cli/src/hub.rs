//! Models of the Hugging Face hub on the command line: `hf:user/repo` wherever a model's file is named.

use crate::{interrupt::Interrupt, progress::Progress};
use std::{
    borrow::Cow,
    path::{Path, PathBuf},
};
use wingbeat_hub::{Hub, HubError, Located, Reference, Settings};

/// The hub, as the environment says.
pub(crate) fn hub() -> anyhow::Result<Hub> {
    Ok(Hub::new(Settings::from_env()?))
}

/// The file that a name means: itself, or a model of the hub, which is fetched if the cache does not have it.
pub(crate) fn locate(name: &Path, quiet: bool) -> anyhow::Result<Cow<'_, Path>> {
    match name.to_str().filter(|name| name.starts_with(Reference::PREFIX)) {
        None => Ok(Cow::Borrowed(name)),
        Some(name) => {
            let reference: Reference = name.parse()?;
            let hub = hub()?;
            Ok(Cow::Owned(watched(quiet, None, |progress| hub.locate(&reference, progress))?.path))
        }
    }
}

/// As [`locate`], of what may be left out.
pub(crate) fn locate_some(name: &Option<PathBuf>, quiet: bool) -> anyhow::Result<Option<Cow<'_, Path>>> {
    name.as_deref().map(|name| locate(name, quiet)).transpose()
}

/// Fetches with a bar, until Ctrl-C where that is heeded.
pub(crate) fn watched(
    quiet: bool,
    interrupt: Option<&Interrupt>,
    fetch: impl FnOnce(&mut dyn FnMut(wingbeat_hub::Progress<'_>) -> bool) -> Result<Located, HubError>,
) -> Result<Located, HubError> {
    let mut bar = None;
    fetch(&mut |progress| {
        // Nothing is shown of what is in the cache.
        if progress.done_bytes > 0 {
            let total = progress.total_bytes.unwrap_or(progress.done_bytes);
            bar.get_or_insert_with(|| Progress::bytes(!quiet, progress.file, total)).set_bytes(
                progress.file,
                progress.done_bytes,
                total,
            );
        }
        !interrupt.is_some_and(Interrupt::requested)
    })
}
