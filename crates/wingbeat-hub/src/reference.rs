//! What a person types to name a model of the hub: `user/repo[@revision][:choice]`.

use crate::HubError;
use std::{fmt, str::FromStr};

/// A model of the hub: a repository, and which of its files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    /// `user/repo`.
    pub repo: String,
    /// A branch, a tag or a commit; `main` where none is named.
    pub revision: Option<String>,
    /// A type (`q4_k_m`), a file's name, or a part of it that no other has.
    pub choice: Option<String>,
}

impl Reference {
    /// What command lines and programs put before it, to tell it from a path.
    pub const PREFIX: &'static str = "hf:";

    /// The revision's name.
    pub fn revision(&self) -> &str {
        self.revision.as_deref().unwrap_or("main")
    }
}

impl FromStr for Reference {
    type Err = HubError;

    /// Reads `user/repo[@revision][:choice]`, with or without [`Reference::PREFIX`].
    fn from_str(text: &str) -> Result<Reference, HubError> {
        let wrong = |why| HubError::Reference { text: text.to_owned(), why };
        let rest = text.strip_prefix(Reference::PREFIX).unwrap_or(text);
        let (rest, choice) = match rest.split_once(':') {
            Some((rest, choice)) => (rest, Some(choice.to_owned())),
            None => (rest, None),
        };
        let (repo, revision) = match rest.split_once('@') {
            Some((repo, revision)) => (repo, Some(revision.to_owned())),
            None => (rest, None),
        };
        let (user, name) = repo.split_once('/').ok_or_else(|| wrong("it has no `/`"))?;
        if !is_part(user) || !is_part(name) {
            return Err(wrong("user and repository are letters, digits, `-`, `_` and `.`, up to 96 of them"));
        }
        if revision.as_deref().is_some_and(|revision| !is_safe_path(revision)) {
            return Err(wrong("that is no revision"));
        }
        if choice.as_deref().is_some_and(|choice| choice.is_empty() || choice.chars().any(char::is_control)) {
            return Err(wrong("nothing that can be read follows the `:`"));
        }
        Ok(Reference { repo: repo.to_owned(), revision, choice })
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.repo)?;
        if let Some(revision) = &self.revision {
            write!(f, "@{revision}")?;
        }
        if let Some(choice) = &self.choice {
            write!(f, ":{choice}")?;
        }
        Ok(())
    }
}

/// A user's or a repository's name, by the hub's rules: `--` would be taken for the `/` in the cache's folders.
fn is_part(part: &str) -> bool {
    (1..=96).contains(&part.len())
        && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
        && !part.starts_with(['-', '.'])
        && !part.ends_with(['-', '.'])
        && !part.contains("--")
        && !part.contains("..")
}

/// Whether a name that came from outside stays inside the folder it is put into, on every system.
pub(crate) fn is_safe_path(path: &str) -> bool {
    let is_safe = |part: &str| {
        !part.is_empty()
            && part != "."
            && part != ".."
            && !part.ends_with('.')
            && !part.chars().any(|c| c.is_control() || r#"\:*?"<>|"#.contains(c))
    };
    path.len() <= 512 && path.split('/').all(is_safe)
}

#[cfg(test)]
mod tests;
