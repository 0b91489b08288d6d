//! Files that are written a piece at a time: under a temporary name beside the destination, then renamed.
//!
//! The destination is the old file or the whole new one; a file that is dropped before its end leaves nothing behind.
//! Formats of models and states have writers of their own in `wingbeat-format`; this is for all else.

use anyhow::{Context, bail};
use std::{
    fs,
    io::{self, BufWriter, ErrorKind, Write},
    path::{Path, PathBuf},
};
use tempfile::NamedTempFile;

/// Small pieces are gathered into writes of this size.
const BUFFER_BYTES: usize = 1 << 20;

/// A file under way.
pub(crate) struct NewFile {
    /// As it was given, for messages.
    path: PathBuf,
    /// With links followed.
    destination: PathBuf,
    out: BufWriter<NamedTempFile>,
}

impl NewFile {
    /// Begins the file that will be at `path`.
    pub(crate) fn create(path: &Path) -> anyhow::Result<NewFile> {
        let (directory, destination) = resolve(path)?;
        let mut builder = tempfile::Builder::new();
        builder.prefix(".wingbeat-").suffix(".partial");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            // What any new file gets; the system takes the umask off.
            builder.permissions(fs::Permissions::from_mode(0o666));
        }
        let temporary = builder.tempfile_in(directory).with_context(|| path.display().to_string())?;
        let out = BufWriter::with_capacity(BUFFER_BYTES, temporary);
        Ok(NewFile { path: path.to_owned(), destination, out })
    }

    /// Where it will be.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Makes sure that all is on the disk, and gives the file its name.
    pub(crate) fn finish(self) -> anyhow::Result<()> {
        let NewFile { path, destination, out } = self;
        let context = || path.display().to_string();
        let temporary = out.into_inner().map_err(io::IntoInnerError::into_error).with_context(context)?;
        // Before the rename: a crash must not leave the name on a file without its contents.
        temporary.as_file().sync_all().with_context(context)?;
        temporary.persist(destination).map_err(|error| error.error).with_context(context)?;
        Ok(())
    }
}

impl Write for NewFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.out.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Finds out before any work is done that a file could not be written after it.
pub(crate) fn check_destination(path: &Path) -> anyhow::Result<()> {
    resolve(path).map(drop)
}

/// The directory in which the file is made, and the name it gets there.
fn resolve(path: &Path) -> anyhow::Result<(PathBuf, PathBuf)> {
    let shown = path.display();
    let destination = match fs::metadata(path) {
        Ok(info) if info.is_dir() => bail!("{shown}: expected a path for a file, found a directory"),
        // Renaming would put a file in a device's place.
        Ok(info) if !info.is_file() => bail!("{shown}: expected a path for a file, found a device or pipe"),
        // A link is followed: the file it names is replaced, not the link.
        Ok(_) => fs::canonicalize(path).with_context(|| shown.to_string())?,
        Err(error) if error.kind() == ErrorKind::NotFound => path.to_path_buf(),
        Err(error) => return Err(anyhow::Error::new(error).context(shown.to_string())),
    };
    let directory = match destination.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_path_buf(),
        _ => PathBuf::from("."),
    };
    if !directory.is_dir() {
        bail!("{shown}: there is no directory {}", directory.display());
    }
    Ok((directory, destination))
}

#[cfg(test)]
mod tests;
