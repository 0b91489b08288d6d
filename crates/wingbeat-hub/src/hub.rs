//! Finding and fetching a model: the steps from a reference to a path.

use crate::{
    Cached, HubError, Reference, Settings, cache,
    choose::{candidates, choose},
    download::{Wanted, retried},
    http::{Client, Failure},
    listing::{self, Listing},
};
use std::path::PathBuf;

/// Where models are asked for, and where they are kept.
pub struct Hub {
    settings: Settings,
    client: Client,
}

/// A model in the cache.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Located {
    /// The file to open: of shards, their index.
    pub path: PathBuf,
    /// `user/repo`.
    pub repo: String,
    /// Its path in the repository.
    pub file: String,
    /// The commit that it is of.
    pub commit: String,
    /// Bytes of all its files.
    pub n_bytes: u64,
    /// Bytes that came over the network now.
    pub n_fetched_bytes: u64,
}

/// How far a model is.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Progress<'a> {
    /// The file that is being fetched.
    pub file: &'a str,
    /// Bytes of the model that are there.
    pub done_bytes: u64,
    /// Bytes of the model, where the hub says.
    pub total_bytes: Option<u64>,
}

impl Hub {
    /// With these settings; nothing is asked yet.
    pub fn new(settings: Settings) -> Hub {
        Hub { client: Client::new(&settings), settings }
    }

    /// Where to ask and where to keep.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The model from the cache, without asking the hub whether there is a newer one; where the cache does not have it, as
    /// [`Hub::pull`].
    ///
    /// # Errors
    /// As [`Hub::pull`].
    pub fn locate(
        &self,
        reference: &Reference,
        progress: &mut dyn FnMut(Progress<'_>) -> bool,
    ) -> Result<Located, HubError> {
        match cache::find(&self.settings, reference) {
            Ok(Some(found)) => Ok(found),
            Err(error) if self.settings.offline => Err(error),
            _ => self.pull(reference, progress),
        }
    }

    /// Fetches what the cache does not have of the model as the hub has it now. `progress` ends it by returning false; what
    /// has arrived is kept, and the next call goes on from there. Offline, what is in the cache will do.
    ///
    /// # Errors
    /// There is no such model, it may not be read, several fit, the network fails again and again, what arrives is not what
    /// the hub says it has, or the cache cannot be written to.
    pub fn pull(
        &self,
        reference: &Reference,
        progress: &mut dyn FnMut(Progress<'_>) -> bool,
    ) -> Result<Located, HubError> {
        let settings = &self.settings;
        if settings.offline {
            return cache::find(settings, reference)?.ok_or_else(|| settings.not_cached(reference));
        }
        let repo = &reference.repo;
        let mut waiting = |_| progress(Progress { file: repo, done_bytes: 0, total_bytes: None });
        let listing = retried(settings, repo, &mut waiting, &mut |_| -> Result<Listing, Failure> {
            let bytes = self.client.list(reference, listing::MOST_BYTES)?;
            Listing::read(&bytes).map_err(|why| {
                let (what, endpoint) = (repo.clone(), settings.endpoint.clone());
                Failure::Final(HubError::Answer { what, endpoint, why })
            })
        })?;
        let files: Vec<(&str, Option<u64>)> =
            listing.files.iter().map(|file| (file.name.as_str(), file.n_bytes)).collect();
        let models = candidates(&files);
        if models.is_empty() {
            return Err(HubError::NoModel { repo: repo.clone(), n_files: files.len() });
        }
        let model = choose(repo, reference.choice.as_deref(), &models)?;
        let (mut done_bytes, mut n_fetched_bytes) = (0u64, 0);
        // The file that makes it a model comes last.
        for file in model.files.iter().rev() {
            let listed = listing.find(file);
            let wanted = Wanted {
                client: &self.client,
                settings,
                repo,
                commit: &listing.commit,
                file,
                sha256: listed.and_then(|file| file.sha256.as_deref()),
            };
            let total_bytes = model.n_bytes;
            // Waiting is no step back.
            let mut furthest = 0;
            n_fetched_bytes += wanted.fetch(&mut |done: u64| {
                furthest = done.max(furthest);
                progress(Progress { file, done_bytes: done_bytes.saturating_add(furthest), total_bytes })
            })?;
            done_bytes = done_bytes.saturating_add(listed.and_then(|file| file.n_bytes).unwrap_or(0));
        }
        cache::write_ref(settings, reference, &listing.commit)?;
        Ok(Located {
            path: settings.snapshot(repo, &listing.commit).join(&model.name),
            repo: repo.clone(),
            file: model.name.clone(),
            n_bytes: model.n_bytes.unwrap_or(done_bytes),
            commit: listing.commit,
            n_fetched_bytes,
        })
    }

    /// The models of the cache, whoever put them there.
    ///
    /// # Errors
    /// The cache cannot be read.
    pub fn cached(&self) -> Result<Cached, HubError> {
        cache::list(&self.settings)
    }
}
