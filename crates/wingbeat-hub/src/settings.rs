//! Where to ask and where to keep, as the hub's own tools read it from the environment.

use crate::{HubError, Reference};
use std::{
    ffi::{OsStr, OsString},
    fmt, fs,
    path::{Path, PathBuf},
    time::Duration,
};

/// The hub.
const ENDPOINT: &str = "https://huggingface.co";

/// Where to ask and where to keep.
#[derive(Clone)]
pub struct Settings {
    /// The hub's address, without a `/` at its end.
    pub endpoint: String,
    /// The cache's folder: that of the `models--…` folders.
    pub cache: PathBuf,
    /// What opens private and gated repositories.
    pub token: Option<String>,
    /// Whether the network is not to be used.
    pub offline: bool,
    /// How long to wait for the network at any one time.
    pub timeout: Duration,
    /// How long to wait before the second attempt; each further wait is twice as long.
    pub retry_pause: Duration,
}

impl Settings {
    /// The environment's: `HF_ENDPOINT`, `HF_HUB_CACHE` or `HF_HOME`, `HF_TOKEN` or the file that `hf auth login` writes,
    /// `HF_HUB_OFFLINE`.
    ///
    /// # Errors
    /// A variable makes no sense, or there is no home folder.
    pub fn from_env() -> Result<Settings, HubError> {
        Settings::from_variables(&|name| std::env::var_os(name).filter(|value| !value.is_empty()))
    }

    pub(crate) fn from_variables(variable: &dyn Fn(&str) -> Option<OsString>) -> Result<Settings, HubError> {
        let folder = |name: &str| variable(name).map(PathBuf::from);
        let home = folder("HF_HOME")
            .or_else(|| Some(folder("XDG_CACHE_HOME")?.join("huggingface")))
            .or_else(|| Some(user_folder(variable)?.join(".cache").join("huggingface")));
        let cache = folder("HF_HUB_CACHE")
            .or_else(|| folder("HUGGINGFACE_HUB_CACHE"))
            .or_else(|| Some(home.as_ref()?.join("hub")))
            .ok_or(HubError::NoCacheFolder)?;
        let endpoint = match variable("HF_ENDPOINT") {
            Some(endpoint) => address(&endpoint)?,
            None => ENDPOINT.to_owned(),
        };
        let token =
            match variable("HF_TOKEN").or_else(|| variable("HUGGING_FACE_HUB_TOKEN")) {
                Some(token) => Some(token.into_string().map_err(|_| HubError::Environment {
                    variable: "HF_TOKEN",
                    why: "is no text".to_owned(),
                })?),
                None => folder("HF_TOKEN_PATH")
                    .or_else(|| Some(home.as_ref()?.join("token")))
                    .and_then(|path| fs::read_to_string(path).ok()),
            };
        let token = token.map(|token| token.trim().to_owned()).filter(|token| !token.is_empty());
        if token.as_ref().is_some_and(|token| !token.bytes().all(|b| b.is_ascii_graphic())) {
            let why = "has characters that no token has".to_owned();
            return Err(HubError::Environment { variable: "HF_TOKEN", why });
        }
        let is_on = |name| variable(name).is_some_and(|value| means_yes(&value));
        Ok(Settings {
            endpoint,
            cache,
            token,
            offline: is_on("HF_HUB_OFFLINE") || is_on("TRANSFORMERS_OFFLINE"),
            timeout: Duration::from_secs(30),
            retry_pause: Duration::from_millis(500),
        })
    }

    /// The folder of a repository in the cache.
    pub(crate) fn repo_folder(&self, repo: &str) -> PathBuf {
        self.cache.join(hf_hub::Repo::model(repo.to_owned()).folder_name())
    }

    /// The folder of a commit's files.
    pub(crate) fn snapshot(&self, repo: &str, commit: &str) -> PathBuf {
        hf_hub::Cache::new(self.cache.clone()).model(repo.to_owned()).pointer_path(commit)
    }

    /// The error of a reference that the cache does not have, where the network is not to be used.
    pub(crate) fn not_cached(&self, reference: &Reference) -> HubError {
        HubError::Offline { reference: reference.to_string(), cache: self.cache.clone() }
    }
}

impl fmt::Debug for Settings {
    /// Without the token, which is not for logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Settings { endpoint, cache, token, offline, .. } = self;
        let token = token.as_ref().map_or("none", |_| "given");
        write!(f, "{endpoint}, cache {}, token {token}, offline {offline}", cache.display())
    }
}

/// The user's folder, on Unix and on Windows.
fn user_folder(variable: &dyn Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    let folder = PathBuf::from(variable("HOME").or_else(|| variable("USERPROFILE"))?);
    (folder != Path::new("")).then_some(folder)
}

fn address(endpoint: &OsStr) -> Result<String, HubError> {
    let text = endpoint.to_str().unwrap_or_default().trim_end_matches('/');
    let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://")).unwrap_or_default();
    if host.is_empty() || !text.bytes().all(|b| b.is_ascii_graphic()) {
        let why = format!("expected an address such as {ENDPOINT}, found {endpoint:?}");
        return Err(HubError::Environment { variable: "HF_ENDPOINT", why });
    }
    Ok(text.to_owned())
}

/// As the hub's own tools read a switch.
fn means_yes(value: &OsStr) -> bool {
    ["1", "on", "yes", "true"].iter().any(|yes| value.eq_ignore_ascii_case(yes))
}

#[cfg(test)]
mod tests;
