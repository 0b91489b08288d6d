//! The hub's standard cache, read: which commit a revision is, what a commit has, which models there are.
//!
//! `models--USER--REPO/refs/REVISION` holds a commit, `snapshots/COMMIT/…` its files, links to `blobs/ETAG`. Any tool may
//! have written it, and any part may be missing.

use crate::{
    HubError, Located, Reference, Settings,
    choose::{Candidate, candidates, choose},
    download::make_folder,
    listing::is_commit,
};
use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
};

/// Folders within folders that are looked into.
const MOST_DEPTH: usize = 4;
/// Bytes of a file that holds a commit.
const REF_BYTES: u64 = 200;

/// The models of a cache.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Cached {
    /// By repository and file.
    pub models: Vec<CachedModel>,
    /// Files that did not arrive completely.
    pub partial: Vec<Partial>,
}

/// A model of a cache.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CachedModel {
    /// `user/repo`.
    pub repo: String,
    /// Its file in the repository: of shards, their index.
    pub file: String,
    /// Branches and tags that are this commit.
    pub revisions: Vec<String>,
    /// The commit.
    pub commit: String,
    /// Where it is.
    pub path: PathBuf,
    /// Bytes of all its files.
    pub n_bytes: u64,
}

/// A file of which a part has arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Partial {
    /// `user/repo`.
    pub repo: String,
    /// Where it is.
    pub path: PathBuf,
    /// Bytes that have arrived.
    pub n_bytes: u64,
}

/// What the cache has of a reference; none if that is nothing, or not all of it.
pub(crate) fn find(settings: &Settings, reference: &Reference) -> Result<Option<Located>, HubError> {
    let Some(commit) = commit_of(settings, reference) else { return Ok(None) };
    let folder = settings.snapshot(&reference.repo, &commit);
    let found = models_in(&folder);
    let model = match choose(&reference.repo, reference.choice.as_deref(), &found) {
        Ok(model) => model,
        Err(HubError::NoSuchModel { .. }) => return Ok(None),
        Err(_) if found.is_empty() => return Ok(None),
        Err(error) => return Err(error),
    };
    Ok(Some(Located {
        path: folder.join(&model.name),
        repo: reference.repo.clone(),
        file: model.name.clone(),
        commit,
        n_bytes: model.n_bytes.unwrap_or(0),
        n_fetched_bytes: 0,
    }))
}

/// All models of the cache; an empty list where there is none.
pub(crate) fn list(settings: &Settings) -> Result<Cached, HubError> {
    let mut cached = Cached::default();
    let folders = match fs::read_dir(&settings.cache) {
        Ok(folders) => folders,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(cached),
        Err(source) => return Err(HubError::Io { path: settings.cache.clone(), source }),
    };
    for folder in folders.flatten() {
        let name = folder.file_name().to_string_lossy().into_owned();
        let Some(repo) = name.strip_prefix("models--").map(|repo| repo.replacen("--", "/", 1)) else {
            continue;
        };
        let folder = folder.path();
        let refs: Vec<(String, String)> = files_in(&folder.join("refs"))
            .into_iter()
            .filter_map(|(name, _)| Some((read_ref(&folder.join("refs").join(&name))?, name)))
            .collect();
        for snapshot in fs::read_dir(folder.join("snapshots")).into_iter().flatten().flatten() {
            let commit = snapshot.file_name().to_string_lossy().into_owned();
            cached.models.extend(models_in(&snapshot.path()).into_iter().map(|model| CachedModel {
                repo: repo.clone(),
                revisions:
                    refs.iter().filter(|(of, _)| *of == commit).map(|(_, name)| name.clone()).collect(),
                commit: commit.clone(),
                path: snapshot.path().join(&model.name),
                n_bytes: model.n_bytes.unwrap_or(0),
                file: model.name,
            }));
        }
        for (name, n_bytes) in files_in(&folder.join("blobs")) {
            if name.ends_with(".incomplete") {
                cached.partial.push(Partial {
                    repo: repo.clone(),
                    path: folder.join("blobs").join(name),
                    n_bytes,
                });
            }
        }
    }
    cached.models.sort_by(|a, b| (&a.repo, &a.file, &a.commit).cmp(&(&b.repo, &b.file, &b.commit)));
    cached.partial.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(cached)
}

/// Notes that a revision is a commit.
pub(crate) fn write_ref(settings: &Settings, reference: &Reference, commit: &str) -> Result<(), HubError> {
    if reference.revision() == commit {
        return Ok(());
    }
    let path = settings.repo_folder(&reference.repo).join("refs").join(reference.revision());
    if read_ref(&path).as_deref() == Some(commit) {
        return Ok(());
    }
    let folder = path.parent().unwrap_or(&settings.cache).to_owned();
    make_folder(&folder)?;
    let write = || {
        let mut file = tempfile::NamedTempFile::new_in(&folder)?;
        file.write_all(commit.as_bytes())?;
        file.persist(&path).map_err(|error| error.error)
    };
    write().map(drop).map_err(|source| HubError::Io { path: path.clone(), source })
}

fn commit_of(settings: &Settings, reference: &Reference) -> Option<String> {
    let revision = reference.revision();
    if is_commit(revision) {
        return Some(revision.to_owned());
    }
    read_ref(&settings.repo_folder(&reference.repo).join("refs").join(revision))
}

fn read_ref(path: &Path) -> Option<String> {
    let is_short = fs::metadata(path).is_ok_and(|found| found.len() <= REF_BYTES);
    let commit = is_short.then(|| fs::read_to_string(path).ok())??;
    Some(commit.trim().to_owned()).filter(|commit| is_commit(commit))
}

/// The complete models of a commit's folder.
fn models_in(folder: &Path) -> Vec<Candidate> {
    let files = files_in(folder);
    let files: Vec<(&str, Option<u64>)> = files.iter().map(|(name, n)| (name.as_str(), Some(*n))).collect();
    candidates(&files)
}

/// Files in a folder and the folders in it, with `/` between, and their sizes; links that lead nowhere are left out.
fn files_in(folder: &Path) -> Vec<(String, u64)> {
    fn walk(folder: &Path, prefix: &str, depth: usize, files: &mut Vec<(String, u64)>) {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let (path, name) = (entry.path(), format!("{prefix}{}", entry.file_name().to_string_lossy()));
            match fs::metadata(&path) {
                Ok(found) if found.is_file() => files.push((name, found.len())),
                Ok(found) if found.is_dir() && depth < MOST_DEPTH => {
                    walk(&path, &format!("{name}/"), depth + 1, files);
                }
                _ => {}
            }
        }
    }
    let mut files = Vec::new();
    walk(folder, "", 0, &mut files);
    files.sort_unstable();
    files
}
