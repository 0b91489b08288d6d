//! Compiled pipelines on disk: what a driver's compiler takes seconds for is read back in milliseconds.
//!
//! There is one file for each adapter, driver and version of this program, in the user's cache folder. A driver trusts what
//! it is given, so that a file goes to it only where its header, its length and its digest say that it is what was
//! written; anything else counts as absent. A digest is no signature: the folder is the user's own.

use sha2::{Digest, Sha256};
use std::{
    ffi::OsString,
    fs,
    io::{self, Read, Write},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

/// What a file begins with; the last byte is the version of this format.
const MAGIC: [u8; 8] = *b"wb-pipe\x01";
/// The magic, the key, the length and the digest of the payload.
const HEADER_BYTES: usize = 8 + 32 + 8 + 32;
/// The largest payload that is kept or read: some hundred pipelines take a few MB.
const MOST_BYTES: usize = 256 << 20;
/// The version of wgpu, whose translation of WGSL decides what a driver gets to compile.
const WGPU_VERSION: &str = "30.0";
/// Names of our files begin with it.
const PREFIX: &str = "pipelines-";
/// Files of other drivers and versions go when they have not been written for so long.
const STALE: Duration = Duration::from_secs(30 * 24 * 3600);

/// Where an adapter's pipelines are kept.
#[derive(Clone, Debug)]
pub(crate) struct DiskCache {
    folder: PathBuf,
    /// The digest of everything that the file is for.
    key: [u8; 32],
}

impl DiskCache {
    /// The file of an adapter in a folder, or in the user's; none where there is no such folder or it is switched off.
    pub(crate) fn new(folder: Option<&Path>, info: &wgpu::AdapterInfo) -> Option<DiskCache> {
        let folder = match folder {
            Some(folder) => folder.to_owned(),
            None => user_cache_folder()?,
        };
        let of_adapter = format!(
            "{:?}\n{}\n{}\n{}\n{}\n{}",
            info.backend, info.name, info.vendor, info.device, info.driver, info.driver_info
        );
        DiskCache::of(&folder, &of_adapter)
    }

    fn of(folder: &Path, adapter: &str) -> Option<DiskCache> {
        let versions = format!("wingbeat {}, wgpu {WGPU_VERSION}", env!("CARGO_PKG_VERSION"));
        let key = Sha256::digest(format!("{versions}\n{adapter}")).into();
        (!folder.as_os_str().is_empty()).then(|| DiskCache { folder: folder.to_owned(), key })
    }

    /// The file.
    pub(crate) fn path(&self) -> PathBuf {
        let digits: String = self.key[..16].iter().map(|byte| format!("{byte:02x}")).collect();
        self.folder.join(format!("{PREFIX}{digits}.bin"))
    }

    /// What was kept; none where there is no file, or not the one that was written.
    pub(crate) fn load(&self) -> Option<Vec<u8>> {
        let mut file = fs::File::open(self.path()).ok()?;
        let bytes = usize::try_from(file.metadata().ok()?.len()).ok()?;
        if !(HEADER_BYTES..=HEADER_BYTES + MOST_BYTES).contains(&bytes) {
            return None;
        }
        let mut header = [0; HEADER_BYTES];
        file.read_exact(&mut header).ok()?;
        let mut payload = Vec::new();
        payload.try_reserve_exact(bytes - HEADER_BYTES).ok()?;
        // One byte more than there should be, to see that there is none.
        file.take((bytes - HEADER_BYTES) as u64 + 1).read_to_end(&mut payload).ok()?;
        (header == self.header(&payload)).then_some(payload)
    }

    /// Keeps pipelines. Another process sees the file of before or this one, nothing between.
    pub(crate) fn store(&self, payload: &[u8]) -> io::Result<()> {
        if payload.len() > MOST_BYTES {
            return Ok(());
        }
        create_private(&self.folder)?;
        let mut file = tempfile::Builder::new().prefix(PREFIX).tempfile_in(&self.folder)?;
        file.write_all(&self.header(payload))?;
        file.write_all(payload)?;
        file.persist(self.path())?;
        self.remove_stale();
        Ok(())
    }

    fn header(&self, payload: &[u8]) -> [u8; HEADER_BYTES] {
        let mut header = [0; HEADER_BYTES];
        header[..8].copy_from_slice(&MAGIC);
        header[8..40].copy_from_slice(&self.key);
        header[40..48].copy_from_slice(&(payload.len() as u64).to_le_bytes());
        header[48..].copy_from_slice(&Sha256::digest(payload));
        header
    }

    /// Removes what drivers and versions of long ago left behind.
    fn remove_stale(&self) {
        let own = self.path();
        let is_stale = |path: &Path| {
            let age = fs::metadata(path).ok()?.modified().ok()?;
            Some(SystemTime::now().duration_since(age).ok()? > STALE)
        };
        for entry in fs::read_dir(&self.folder).into_iter().flatten().flatten() {
            let is_ours = entry.file_name().to_str().is_some_and(|name| name.starts_with(PREFIX));
            if is_ours && entry.path() != own && is_stale(&entry.path()).unwrap_or(false) {
                // Another process may have been first.
                let _ = fs::remove_file(entry.path());
            }
        }
    }
}

/// The folder of this program in the user's cache folder: `WINGBEAT_CACHE`, where it is set (empty: none), else what the
/// system has for it. It may be absent. Compiled kernels are kept there, and other results may be, in folders below.
pub fn user_cache_folder() -> Option<PathBuf> {
    user_folder(&|name| std::env::var_os(name))
}

/// As [`user_cache_folder`], by the values of environment variables.
fn user_folder(variable: &dyn Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    if let Some(folder) = variable("WINGBEAT_CACHE") {
        return (!folder.is_empty()).then(|| folder.into());
    }
    // XDG wants relative paths ignored, and elsewhere they are as little use.
    let set = |name: &str| variable(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let caches = if cfg!(windows) {
        set("LOCALAPPDATA")?
    } else if cfg!(target_os = "macos") {
        set("HOME")?.join("Library/Caches")
    } else {
        set("XDG_CACHE_HOME").or_else(|| Some(set("HOME")?.join(".cache")))?
    };
    Some(caches.join("wingbeat"))
}

/// Makes a folder that only its user can write to, and those above it where they are absent.
fn create_private(folder: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)
}

#[cfg(test)]
mod tests;
