//! Entries on disk: one file each, in one folder, shared with whatever other processes use it.
//!
//! A file is written under a temporary name and renamed, so that a reader sees all of it or nothing; two that write one
//! entry write the same. Nothing is flushed: what a crash of the system leaves is found out by its checksum. An entry's time
//! of modification is that of its last use, and the least recent go first. Files may vanish at any time.

use super::{
    entry::{Head, Kind, Reader, Refusal, Writer},
    key::Key,
};
use crate::{Error, Model, State};
use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fs::{self, File},
    io::{self, BufWriter, ErrorKind},
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};
use tempfile::NamedTempFile;

/// Names of our files begin so.
const PREFIX: &str = "wingbeat-";
/// Names of files that are being written.
const TEMPORARY: (&str, &str) = (".wingbeat-", ".partial");
/// Temporary files that were not written to for so long are of a process that ended.
const STALE: Duration = Duration::from_secs(3600);
/// Where the limit is reached, this part of it is made free, so that not every entry has the folder looked through.
const FREE_PART: u64 = 16;

/// A folder of entries.
pub(super) struct Disk {
    folder: PathBuf,
    most_bytes: u64,
    index: Mutex<Index>,
}

/// What this process knows of the folder.
#[derive(Default)]
struct Index {
    /// The folder's time of modification when its names were read.
    seen: Option<SystemTime>,
    /// Digests of states by group and number of tokens.
    states: HashMap<u64, BTreeMap<u64, HashSet<[u8; 16]>>>,
    /// Bytes of all entries when they were last looked through, and what this process wrote since.
    bytes: u64,
    written: u64,
}

/// What stood in the way of an entry.
pub(super) enum Trouble {
    /// It is not what was written, and has been removed.
    Damaged(String),
    /// The system refused.
    Io(String),
    /// The device failed, or has no memory.
    Engine(Error),
}

impl Disk {
    /// A folder, which is made where there is none.
    pub(super) fn open(folder: &Path, most_bytes: Option<u64>) -> Result<Disk, Error> {
        let refused = |source| Error::CacheFolder { path: folder.to_owned(), source };
        create_private(folder).map_err(refused)?;
        // Whether it can be written to is known once something was.
        drop(temporary_in(folder).map_err(refused)?);
        let disk = Disk {
            folder: folder.to_owned(),
            most_bytes: most_bytes.unwrap_or(u64::MAX),
            index: Mutex::default(),
        };
        disk.look_through(&mut disk.index()).map_err(refused)?;
        Ok(disk)
    }

    /// Bytes of all entries, as far as this process knows.
    pub(super) fn bytes(&self) -> u64 {
        let index = self.index();
        index.bytes + index.written
    }

    /// Numbers of tokens, below one, of which there are states of a group.
    pub(super) fn lengths(&self, group: u64, below: u64) -> Vec<u64> {
        let mut index = self.index();
        let modified = modified(&self.folder);
        if index.seen.is_none() || index.seen != modified {
            index.seen = modified;
            index.states.clear();
            for entry in fs::read_dir(&self.folder).into_iter().flatten().flatten() {
                index.add(entry.file_name().to_str().unwrap_or_default());
            }
        }
        index.states.get(&group).into_iter().flat_map(|n| n.range(..below)).map(|(&n, _)| n).collect()
    }

    /// Whether [`Disk::lengths`] found this state.
    pub(super) fn may_have(&self, key: &Key) -> bool {
        let index = self.index();
        let digests = index.states.get(&key.group).and_then(|lengths| lengths.get(&key.n_tokens));
        digests.is_some_and(|digests| digests.contains(&short(key)))
    }

    /// A state.
    pub(super) fn load_state(&self, model: &Model, key: &Key) -> Result<Option<State>, Trouble> {
        let payload_bytes = model.state_layout().len_bytes() as u64;
        let mut head = Head { kind: Kind::State, key: *key, form: 0, payload_bytes };
        let Some(file) = self.open_entry(&head)? else { return Ok(None) };
        let mut read = || {
            let mut state = State::new(model)?;
            head.form = state.kept_form();
            let mut reader = Reader::begin(&file, &head)?;
            state.take_kept(|bytes| reader.fill(bytes))?;
            reader.end()?;
            state.set_n_tokens(key.n_tokens);
            Ok(state)
        };
        let state = read();
        self.used(&head, &file, state).map(Some)
    }

    /// An embedding of so many values.
    pub(super) fn load_embedding(&self, width: usize, key: &Key) -> Result<Option<Vec<f32>>, Trouble> {
        let payload_bytes = (width as u64).saturating_mul(size_of::<f32>() as u64);
        let head = Head { kind: Kind::Embedding, key: *key, form: 0, payload_bytes };
        let Some(file) = self.open_entry(&head)? else { return Ok(None) };
        let read = || {
            // There is a file of that size.
            let mut bytes = vec![0; width * size_of::<f32>()];
            let mut reader = Reader::begin(&file, &head)?;
            reader.fill(&mut bytes)?;
            reader.end()?;
            Ok(bytes.as_chunks().0.iter().map(|&value| f32::from_le_bytes(value)).collect())
        };
        self.used(&head, &file, read()).map(Some)
    }

    /// Keeps a state. One that is larger than all that may be kept is not.
    pub(super) fn store_state(&self, key: &Key, state: &State) -> Result<(), Trouble> {
        let payload_bytes = state.model().state_layout().len_bytes() as u64;
        let head = Head { kind: Kind::State, key: *key, form: state.kept_form(), payload_bytes };
        self.store(&head, |writer| state.give_kept(|bytes| Ok(writer.put(bytes)?)))
    }

    /// Keeps an embedding.
    pub(super) fn store_embedding(&self, key: &Key, values: &[f32]) -> Result<(), Trouble> {
        let bytes = crate::state::le_bytes(values);
        let head = Head { kind: Kind::Embedding, key: *key, form: 0, payload_bytes: bytes.len() as u64 };
        self.store(&head, |writer| Ok(writer.put(&bytes)?))
    }

    fn index(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The file of an entry, if there is one, of the right length.
    fn open_entry(&self, head: &Head) -> Result<Option<File>, Trouble> {
        let path = self.folder.join(name_of(head));
        let refused = |error: io::Error| match error.kind() {
            ErrorKind::NotFound => Ok(None),
            _ => Err(Trouble::Io(format!("{}: {error}", path.display()))),
        };
        // Something else by that name might have to be waited for when it is opened.
        match fs::symlink_metadata(&path) {
            Ok(info) if !info.is_file() => return Ok(None),
            Ok(info) if info.len() != head.file_bytes() => {
                return Err(self.damaged(head, "its length is wrong"));
            }
            Ok(_) => {}
            Err(error) => return refused(error),
        }
        File::open(&path).map_or_else(refused, |file| Ok(Some(file)))
    }

    /// What came of reading an entry: a good one counts as used, a damaged one goes.
    fn used<T>(&self, head: &Head, file: &File, read: Result<T, Refusal>) -> Result<T, Trouble> {
        match read {
            Ok(value) => {
                // An entry of another user cannot be dated; it only goes earlier then.
                let _ = file.set_modified(SystemTime::now());
                Ok(value)
            }
            Err(Refusal::Damaged(why)) => Err(self.damaged(head, why)),
            Err(refusal) => Err(self.trouble(head, refusal)),
        }
    }

    fn damaged(&self, head: &Head, why: &str) -> Trouble {
        let path = self.folder.join(name_of(head));
        // Another process may have been first.
        let _ = fs::remove_file(&path);
        Trouble::Damaged(format!("{}: damaged, and removed: {why}", path.display()))
    }

    fn trouble(&self, head: &Head, refusal: Refusal) -> Trouble {
        match refusal {
            Refusal::Engine(error) => Trouble::Engine(error),
            Refusal::Io(error) => {
                Trouble::Io(format!("{}: {error}", self.folder.join(name_of(head)).display()))
            }
            Refusal::Damaged(why) => self.damaged(head, why),
        }
    }

    fn store(
        &self,
        head: &Head,
        put: impl FnOnce(&mut Writer<BufWriter<&File>>) -> Result<(), Refusal>,
    ) -> Result<(), Trouble> {
        if head.file_bytes() > self.most_bytes {
            return Ok(());
        }
        let before = modified(&self.folder);
        let write = || {
            let temporary = match temporary_in(&self.folder) {
                // Someone emptied the disk: it is made anew.
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    create_private(&self.folder)?;
                    temporary_in(&self.folder)?
                }
                temporary => temporary?,
            };
            let mut writer = Writer::begin(BufWriter::new(temporary.as_file()), head)?;
            put(&mut writer)?;
            writer.end()?;
            // The clock that uses are dated by is finer than that of a file system.
            let _ = temporary.as_file().set_modified(SystemTime::now());
            temporary.persist(self.folder.join(name_of(head))).map_err(|error| error.error)?;
            Ok(())
        };
        write().map_err(|refusal| self.trouble(head, refusal))?;
        let mut index = self.index();
        if index.seen == before {
            // What changed is known.
            index.seen = modified(&self.folder);
            index.add(&name_of(head));
        }
        index.written += head.file_bytes();
        let many_written = self.most_bytes < u64::MAX && index.written > self.most_bytes / FREE_PART;
        if index.bytes + index.written > self.most_bytes || many_written {
            self.look_through(&mut index).map_err(|error| self.trouble(head, Refusal::Io(error)))?;
        }
        Ok(())
    }

    /// Looks through the folder: adds up its entries, and removes the least recent where they are too many, and temporary
    /// files of long ago.
    fn look_through(&self, index: &mut Index) -> io::Result<()> {
        let mut entries = Vec::new();
        for entry in fs::read_dir(&self.folder)?.flatten() {
            let name = entry.file_name();
            let Some(name) = name.to_str() else { continue };
            let Ok(info) = entry.metadata() else { continue };
            let used = info.modified().unwrap_or(SystemTime::UNIX_EPOCH);
            if name.starts_with(TEMPORARY.0) && name.ends_with(TEMPORARY.1) {
                let age = SystemTime::now().duration_since(used).unwrap_or_default();
                if age > STALE {
                    let _ = fs::remove_file(entry.path());
                }
            } else if parse(name).is_some() && info.is_file() {
                entries.push((used, info.len(), entry.path()));
            }
        }
        (index.bytes, index.written) = (entries.iter().map(|(_, bytes, _)| bytes).sum(), 0);
        if index.bytes > self.most_bytes {
            entries.sort_unstable();
            // The newest stays: it fits by itself.
            entries.pop();
            for (_, bytes, path) in entries {
                if index.bytes <= self.most_bytes - self.most_bytes / FREE_PART {
                    break;
                }
                match fs::remove_file(path) {
                    // Someone opened it on a system where that keeps it, or it is another user's.
                    Err(error) if error.kind() != ErrorKind::NotFound => {}
                    _ => index.bytes -= bytes,
                }
            }
        }
        Ok(())
    }
}

impl Index {
    /// Notes a state by its file's name.
    fn add(&mut self, name: &str) {
        if let Some((Kind::State, group, n_tokens, digest)) = parse(name) {
            self.states.entry(group).or_default().entry(n_tokens).or_default().insert(digest);
        }
    }
}

/// The part of a key's digest that is in names.
fn short(key: &Key) -> [u8; 16] {
    key.digest.first_chunk().copied().unwrap_or_default()
}

/// The name of an entry's file.
fn name_of(head: &Head) -> String {
    let Head { kind, key, .. } = head;
    let digest: String = short(key).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{PREFIX}{:016x}-{}-{digest}.{}", key.group, key.n_tokens, suffix(*kind))
}

fn suffix(kind: Kind) -> &'static str {
    match kind {
        Kind::State => "state",
        Kind::Embedding => "embedding",
    }
}

/// What a file's name says; none where it is not ours.
fn parse(name: &str) -> Option<(Kind, u64, u64, [u8; 16])> {
    let (name, found) = name.strip_prefix(PREFIX)?.rsplit_once('.')?;
    let kind = [Kind::State, Kind::Embedding].into_iter().find(|kind| suffix(*kind) == found)?;
    let mut parts = name.split('-');
    let (group, n_tokens, digits) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() || group.len() != 16 || digits.len() != 32 {
        return None;
    }
    let digest = u128::from_str_radix(digits, 16).ok()?.to_be_bytes();
    Some((kind, u64::from_str_radix(group, 16).ok()?, n_tokens.parse().ok()?, digest))
}

fn modified(path: &Path) -> Option<SystemTime> {
    fs::metadata(path).and_then(|info| info.modified()).ok()
}

fn temporary_in(folder: &Path) -> io::Result<NamedTempFile> {
    tempfile::Builder::new().prefix(TEMPORARY.0).suffix(TEMPORARY.1).tempfile_in(folder)
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
