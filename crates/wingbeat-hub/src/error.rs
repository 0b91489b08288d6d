//! Everything that can go wrong between a name and a file, in one type.

use std::{io, path::PathBuf};

/// An error of the hub, of the way there, or of the cache. Messages are one line.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HubError {
    /// A name that is none.
    #[error(
        "{text:?} is no model of the hub: {why}; expected user/repo, user/repo:TYPE or user/repo@REVISION:FILE"
    )]
    Reference {
        /// What was given.
        text: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A variable of the environment that cannot be used.
    #[error("{variable}: {why}")]
    Environment {
        /// Its name.
        variable: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// There is no place for a cache.
    #[error("there is no home folder to keep models in: set HF_HOME")]
    NoCacheFolder,
    /// The network is not to be used, and the cache does not have it.
    #[error("{reference}: is not in the cache at {cache}, and HF_HUB_OFFLINE forbids to fetch it", cache = cache.display())]
    Offline {
        /// What was asked for.
        reference: String,
        /// The cache.
        cache: PathBuf,
    },
    /// The hub's answer is no.
    #[error("{what}: {endpoint} answers {status}: {why}")]
    Refused {
        /// The repository, or a file in it.
        what: String,
        /// The hub.
        endpoint: String,
        /// Its HTTP status.
        status: u16,
        /// What that means.
        why: String,
    },
    /// The network, or the hub, did not do its part, several times over.
    #[error("{what}: {why} (tried {attempts} times)")]
    Network {
        /// The repository, or a file in it.
        what: String,
        /// The last failure.
        why: String,
        /// How often it was tried.
        attempts: u32,
    },
    /// An answer that makes no sense.
    #[error("{what}: the answer of {endpoint} cannot be used: {why}")]
    Answer {
        /// The repository, or a file in it.
        what: String,
        /// The hub.
        endpoint: String,
        /// What is wrong with it.
        why: String,
    },
    /// A repository without a model file.
    #[error(
        "{repo}: has no model file: expected .gguf, .safetensors, .st, .pth or .bin among its {n_files} files"
    )]
    NoModel {
        /// The repository.
        repo: String,
        /// How many files it has.
        n_files: usize,
    },
    /// No model file fits what was asked for.
    #[error("{repo}: no model file is or contains {choice:?}; there are {choices}")]
    NoSuchModel {
        /// The repository.
        repo: String,
        /// What was asked for.
        choice: String,
        /// The files there are.
        choices: String,
    },
    /// Several model files fit what was asked for.
    #[error(
        "{repo}: several model files fit: choose one with {repo}:TYPE or {repo}:FILE; there are {choices}"
    )]
    Ambiguous {
        /// The repository.
        repo: String,
        /// The files that fit.
        choices: String,
    },
    /// What arrived is not what the hub has.
    #[error("{file}: what arrived is damaged and was removed: its SHA-256 should be {expected}, is {found}")]
    Checksum {
        /// The repository's file.
        file: String,
        /// What the hub says.
        expected: String,
        /// What it is.
        found: String,
    },
    /// More arrived than the hub said there is.
    #[error("{file}: expected {expected} bytes, and more arrived; what did was removed")]
    TooLong {
        /// The repository's file.
        file: String,
        /// What the hub says.
        expected: u64,
    },
    /// A file or folder of the cache cannot be read or written.
    #[error("{path}: {source}", path = path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// The caller wanted it to end.
    #[error(
        "{file}: stopped; the {kept} bytes that arrived are kept, and fetching it again goes on from there"
    )]
    Stopped {
        /// The repository's file.
        file: String,
        /// Bytes kept.
        kept: u64,
    },
}
