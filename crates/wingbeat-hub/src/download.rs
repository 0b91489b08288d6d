//! One file of a repository into the cache: resumed where it was left, checked, and in place only when it is complete.
//!
//! What arrives goes to `blobs/ETAG.incomplete`, the name that the hub's own tools use and go on from too, and becomes
//! `blobs/ETAG` when its length and its SHA-256 are those that the hub says. A link in the commit's folder then gives it
//! its name. A lock keeps two processes from writing one file.

use crate::{
    HubError, Settings,
    http::{Client, Failure, FileFacts, pause},
};
use sha2::{Digest, Sha256};
use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, ErrorKind, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

/// Attempts without a byte of progress.
const MOST_ATTEMPTS: u32 = 5;
/// Bytes read, hashed and written together.
const CHUNK_BYTES: usize = 1 << 20;
/// How often someone who waits is asked whether to go on.
const ASK_EVERY: Duration = Duration::from_millis(100);

/// Whether to go on, after so many bytes of a file.
pub(crate) type GoOn<'a> = &'a mut dyn FnMut(u64) -> bool;

/// A file to be fetched.
pub(crate) struct Wanted<'a> {
    pub(crate) client: &'a Client,
    pub(crate) settings: &'a Settings,
    pub(crate) repo: &'a str,
    pub(crate) commit: &'a str,
    /// Its path in the repository, which stays inside.
    pub(crate) file: &'a str,
    /// What the list of files says; the file's own headers may say it as well.
    pub(crate) sha256: Option<&'a str>,
}

/// A partial file: its length, and the digest of what is in it.
struct Part {
    path: PathBuf,
    file: File,
    len: u64,
    hash: Sha256,
}

impl Wanted<'_> {
    /// Fetches it, if it is not there already. The number of bytes that came over the network.
    pub(crate) fn fetch(&self, go_on: GoOn<'_>) -> Result<u64, HubError> {
        let link = self.settings.snapshot(self.repo, self.commit).join(self.file);
        if fs::metadata(&link).is_ok_and(|found| found.is_file()) {
            return Ok(0);
        }
        let facts = self.retried(go_on, &mut |_| self.client.facts(self.repo, self.commit, self.file))?;
        let folder = self.settings.repo_folder(self.repo);
        let blobs = folder.join("blobs");
        let blob = blobs.join(&facts.etag);
        make_folder(&blobs)?;
        let _lock = self.lock(&facts.etag, go_on)?;
        let is_there = fs::metadata(&blob).is_ok_and(|found| facts.n_bytes.is_none_or(|n| n == found.len()));
        let n_bytes = if is_there { 0 } else { self.fetch_blob(&facts, &blob, go_on)? };
        let up = "../".repeat(self.file.split('/').count() + 1);
        make_folder(link.parent().unwrap_or(&folder))?;
        let linked = link_to(Path::new(&format!("{up}blobs/{}", facts.etag)), &blob, &link);
        linked.map_err(|source| HubError::Io { path: link, source })?;
        Ok(n_bytes)
    }

    fn fetch_blob(&self, facts: &FileFacts, blob: &Path, go_on: GoOn<'_>) -> Result<u64, HubError> {
        let path = blob.with_file_name(format!("{}.incomplete", facts.etag));
        let mut part = Part::open(path, go_on).map_err(|error| self.of_part(error))?;
        let mut n_bytes = 0;
        // A file that is complete but for its name is only checked.
        if facts.n_bytes != Some(part.len) || part.len == 0 {
            let mut furthest = part.len;
            let done = self.retried(go_on, &mut |go_on| {
                let done = self.attempt(facts, &mut part, &mut n_bytes, go_on);
                let progressed = part.len > furthest;
                furthest = furthest.max(part.len);
                done.map_err(|failure| (failure, progressed))
            });
            done.map_err(|error| match error {
                HubError::Stopped { .. } => self.stopped(part.len),
                error => error,
            })?;
        }
        let found = format!("{:x}", HexOf(part.hash.finalize_reset().as_slice()));
        let expected =
            [self.sha256, facts.sha256.as_deref()].into_iter().flatten().find(|expected| *expected != found);
        if let Some(expected) = expected {
            let (file, expected) = (self.name(), expected.to_owned());
            remove(&part.path)?;
            return Err(HubError::Checksum { file, expected, found });
        }
        let in_place = part.file.sync_all().and_then(|()| fs::rename(&part.path, blob));
        in_place.map_err(|source| HubError::Io { path: blob.to_owned(), source })?;
        Ok(n_bytes)
    }

    /// One request for what is missing.
    fn attempt(
        &self,
        facts: &FileFacts,
        part: &mut Part,
        n_bytes: &mut u64,
        go_on: GoOn<'_>,
    ) -> Result<(), Failure> {
        let response = self.client.bytes(self.repo, self.commit, self.file, part.len)?;
        let disk = |source| Failure::Final(HubError::Io { path: part_path(facts, self), source });
        match response.status().as_u16() {
            206 if starts_at(&response, part.len) => {}
            // The server does not know ranges, or the file has changed: from its beginning.
            200 => part.clear().map_err(disk)?,
            status => {
                part.clear().map_err(disk)?;
                return Err(Failure::Transient(format!(
                    "the answer to a range is {status}, and another than asked for"
                )));
            }
        }
        let mut body = response.into_body().into_reader();
        let mut chunk = vec![0; CHUNK_BYTES];
        let mut asked = Instant::now();
        loop {
            let n = match body.read(&mut chunk) {
                Ok(0) => break,
                Ok(n) => n,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(_) if !go_on(part.len) => return Err(Failure::Final(self.stopped(part.len))),
                Err(error) => return Err(Failure::Transient(error.to_string())),
            };
            if let Some(expected) = facts.n_bytes.filter(|total| part.len + n as u64 > *total) {
                part.clear().map_err(disk)?;
                return Err(Failure::Final(HubError::TooLong { file: self.name(), expected }));
            }
            part.append(&chunk[..n]).map_err(disk)?;
            *n_bytes += n as u64;
            if asked.elapsed() >= ASK_EVERY {
                asked = Instant::now();
                if !go_on(part.len) {
                    return Err(Failure::Final(self.stopped(part.len)));
                }
            }
        }
        if !go_on(part.len) {
            return Err(Failure::Final(self.stopped(part.len)));
        }
        match facts.n_bytes {
            Some(total) if part.len < total => {
                Err(Failure::Transient(format!("the connection ended after {} of {total} bytes", part.len)))
            }
            _ => Ok(()),
        }
    }

    /// Asks again after failures that may not come again, a little later each time.
    fn retried<T, F: Into<Failed>>(
        &self,
        go_on: GoOn<'_>,
        ask: &mut dyn FnMut(GoOn<'_>) -> Result<T, F>,
    ) -> Result<T, HubError> {
        retried(self.settings, &self.name(), go_on, ask)
    }

    /// Waits for whoever fetches the same file.
    fn lock(&self, etag: &str, go_on: GoOn<'_>) -> Result<Option<File>, HubError> {
        let repo = self.settings.repo_folder(self.repo);
        let name = repo.file_name().map(PathBuf::from).unwrap_or_default();
        let path = self.settings.cache.join(".locks").join(name).join(format!("{etag}.lock"));
        make_folder(path.parent().unwrap_or(&self.settings.cache))?;
        let opened = OpenOptions::new().create(true).truncate(false).write(true).open(&path);
        let file = opened.map_err(|source| HubError::Io { path, source })?;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Some(file)),
                Err(TryLockError::WouldBlock) if go_on(0) => thread::sleep(ASK_EVERY),
                Err(TryLockError::WouldBlock) => return Err(self.stopped(0)),
                // A file system without locks.
                Err(TryLockError::Error(_)) => return Ok(None),
            }
        }
    }

    fn name(&self) -> String {
        format!("{}/{}", self.repo, self.file)
    }

    fn stopped(&self, kept: u64) -> HubError {
        HubError::Stopped { file: self.name(), kept }
    }

    fn of_part(&self, error: PartError) -> HubError {
        match error {
            PartError::Stopped { kept } => self.stopped(kept),
            PartError::Io(path, source) => HubError::Io { path, source },
        }
    }
}

/// A failure, and whether there was progress before it, which makes it the first one again.
pub(crate) struct Failed(Failure, bool);

impl From<Failure> for Failed {
    fn from(failure: Failure) -> Failed {
        Failed(failure, false)
    }
}

impl From<(Failure, bool)> for Failed {
    fn from((failure, progressed): (Failure, bool)) -> Failed {
        Failed(failure, progressed)
    }
}

/// Asks again after failures that may not come again, a little later each time.
pub(crate) fn retried<T, F: Into<Failed>>(
    settings: &Settings,
    what: &str,
    go_on: GoOn<'_>,
    ask: &mut dyn FnMut(GoOn<'_>) -> Result<T, F>,
) -> Result<T, HubError> {
    let mut attempts = 0;
    loop {
        let why = match ask(go_on).map_err(Into::into) {
            Ok(answer) => return Ok(answer),
            Err(Failed(Failure::Final(error), _)) => return Err(error),
            Err(Failed(Failure::Transient(why), progressed)) => {
                attempts = if progressed { 1 } else { attempts + 1 };
                why
            }
        };
        if attempts >= MOST_ATTEMPTS {
            return Err(HubError::Network { what: what.to_owned(), why, attempts });
        }
        let until = Instant::now() + pause(settings, attempts);
        while let Some(left) = until.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
            if !go_on(0) {
                return Err(HubError::Stopped { file: what.to_owned(), kept: 0 });
            }
            thread::sleep(left.min(ASK_EVERY));
        }
    }
}

enum PartError {
    Stopped { kept: u64 },
    Io(PathBuf, io::Error),
}

impl Part {
    /// What there is of a file; its bytes are read for their digest.
    fn open(path: PathBuf, go_on: GoOn<'_>) -> Result<Part, PartError> {
        let opened = OpenOptions::new().create(true).truncate(false).read(true).write(true).open(&path);
        let io = |source| PartError::Io(path.clone(), source);
        let mut file = opened.map_err(io)?;
        let (mut hash, mut len) = (Sha256::new(), 0);
        let mut chunk = vec![0; CHUNK_BYTES];
        loop {
            let n = file.read(&mut chunk).map_err(io)?;
            if n == 0 {
                break;
            }
            hash.update(&chunk[..n]);
            len += n as u64;
            if !go_on(len) {
                return Err(PartError::Stopped { kept: file.metadata().map_or(len, |found| found.len()) });
            }
        }
        Ok(Part { path, file, len, hash })
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        if let Err(error) = self.file.write_all(bytes) {
            // A part of it may be there: the file is as long as its digest knows.
            let _ = self.file.set_len(self.len);
            return Err(error);
        }
        self.hash.update(bytes);
        self.len += bytes.len() as u64;
        Ok(())
    }

    fn clear(&mut self) -> io::Result<()> {
        self.file.set_len(0)?;
        self.file.seek(SeekFrom::Start(0))?;
        (self.len, self.hash) = (0, Sha256::new());
        Ok(())
    }
}

fn part_path(facts: &FileFacts, wanted: &Wanted<'_>) -> PathBuf {
    wanted.settings.repo_folder(wanted.repo).join("blobs").join(format!("{}.incomplete", facts.etag))
}

/// Whether a part of a file begins at `start`: `Content-Range: bytes 5-9/10`.
fn starts_at(response: &ureq::http::Response<ureq::Body>, start: u64) -> bool {
    let range = response.headers().get("content-range").and_then(|range| range.to_str().ok());
    let first = range.and_then(|range| range.strip_prefix("bytes ")?.split_once('-')?.0.parse().ok());
    first == Some(start)
}

/// Bytes in hexadecimal digits.
struct HexOf<'a>(&'a [u8]);

impl std::fmt::LowerHex for HexOf<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

pub(crate) fn make_folder(path: &Path) -> Result<(), HubError> {
    fs::create_dir_all(path).map_err(|source| HubError::Io { path: path.to_owned(), source })
}

fn remove(path: &Path) -> Result<(), HubError> {
    fs::remove_file(path).map_err(|source| HubError::Io { path: path.to_owned(), source })
}

/// Gives the blob its name: a symbolic link, made beside and renamed, so that an old one is there until the new one is.
#[cfg(unix)]
fn link_to(target: &Path, _blob: &Path, link: &Path) -> io::Result<()> {
    let temporary = beside(link);
    let _ = fs::remove_file(&temporary);
    std::os::unix::fs::symlink(target, &temporary)?;
    fs::rename(&temporary, link).inspect_err(|_| drop(fs::remove_file(&temporary)))
}

/// Gives the blob its name: links need a privilege on Windows, a second name in the file system does not.
#[cfg(not(unix))]
fn link_to(_target: &Path, blob: &Path, link: &Path) -> io::Result<()> {
    let temporary = beside(link);
    let _ = fs::remove_file(&temporary);
    fs::hard_link(blob, &temporary).or_else(|_| fs::copy(blob, &temporary).map(|_| ()))?;
    fs::rename(&temporary, link).inspect_err(|_| drop(fs::remove_file(&temporary)))
}

/// A name in the same folder that no other process takes.
fn beside(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.{}.tmp", std::process::id()))
}
