//! What a repository has at a revision, as the hub lists it.
//!
//! The list comes from outside: names that would leave the folder they are put into are passed over, and nothing else of
//! it is believed without being looked at.

use crate::reference::is_safe_path;
use serde::Deserialize;

/// Bytes of an answer at most: a repository of a hundred thousand files stays below.
pub(crate) const MOST_BYTES: u64 = 64 << 20;

/// A repository at a commit.
pub(crate) struct Listing {
    /// 40 hexadecimal digits.
    pub(crate) commit: String,
    pub(crate) files: Vec<ListedFile>,
}

pub(crate) struct ListedFile {
    /// Its path in the repository.
    pub(crate) name: String,
    pub(crate) n_bytes: Option<u64>,
    /// In lower case; of files that the hub keeps as large ones.
    pub(crate) sha256: Option<String>,
}

#[derive(Deserialize)]
struct Answer {
    sha: String,
    siblings: Vec<Sibling>,
}

#[derive(Deserialize)]
struct Sibling {
    rfilename: String,
    size: Option<u64>,
    lfs: Option<Large>,
}

#[derive(Deserialize)]
struct Large {
    sha256: Option<String>,
    size: Option<u64>,
}

impl Listing {
    /// Reads the answer to `/api/models/REPO/revision/REVISION?blobs=true`; the error says what is wrong with it.
    pub(crate) fn read(bytes: &[u8]) -> Result<Listing, String> {
        let answer: Answer = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        if !is_commit(&answer.sha) {
            return Err(format!(
                "expected a commit of 40 hexadecimal digits, found {:?}",
                short(&answer.sha)
            ));
        }
        let file = |sibling: Sibling| {
            let Sibling { rfilename: name, size, lfs } = sibling;
            let sha256 = lfs.as_ref().and_then(|lfs| lfs.sha256.as_deref()).and_then(sha256_of);
            let n_bytes = size.or(lfs.and_then(|lfs| lfs.size));
            is_safe_path(&name).then_some(ListedFile { name, n_bytes, sha256 })
        };
        let files = answer.siblings.into_iter().filter_map(file).collect();
        Ok(Listing { commit: answer.sha, files })
    }

    pub(crate) fn find(&self, name: &str) -> Option<&ListedFile> {
        self.files.iter().find(|file| file.name == name)
    }
}

/// Whether it is a commit's hash.
pub(crate) fn is_commit(text: &str) -> bool {
    text.len() == 40 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

/// A SHA-256 in lower case, if it is one.
pub(crate) fn sha256_of(text: &str) -> Option<String> {
    (text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit())).then(|| text.to_ascii_lowercase())
}

/// The beginning of a text from outside, for a message.
pub(crate) fn short(text: &str) -> String {
    text.chars().take(80).collect()
}
