//! Names of models in a build without the hub: files only.

use std::{
    borrow::Cow,
    path::{Path, PathBuf},
};

/// The file that a name means: itself.
pub(crate) fn locate(name: &Path, _quiet: bool) -> anyhow::Result<Cow<'_, Path>> {
    if name.to_str().is_some_and(|name| name.starts_with("hf:")) {
        anyhow::bail!(
            "{}: this build cannot fetch models: it was made without the feature `hub`",
            name.display()
        );
    }
    Ok(Cow::Borrowed(name))
}

/// As [`locate`], of what may be left out.
pub(crate) fn locate_some(name: &Option<PathBuf>, quiet: bool) -> anyhow::Result<Option<Cow<'_, Path>>> {
    name.as_deref().map(|name| locate(name, quiet)).transpose()
}
