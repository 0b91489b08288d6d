//! A folder on the disk: which paths stand for one, and its files as maps.

use std::ffi::OsStr;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::{CONFIG, Files, INDICES, beside, is_hugging_face, read};
use crate::bytes::Bytes;
use crate::error::FormatError;
use crate::file::ModelFile;
use crate::map::map_file;

struct Disk<'a> {
    path: &'a Path,
    label: String,
    absolute: String,
}

impl Files for Disk<'_> {
    fn get(&self, name: &str) -> Result<Option<Bytes>, FormatError> {
        let path = self.path.join(name);
        match fs::metadata(&path) {
            // A map of no bytes is refused by some systems; what is wrong with an empty file, its reader says.
            Ok(info) if info.is_file() && info.len() == 0 => Ok(Some(Bytes::from_vec(Vec::new()))),
            Ok(_) => Ok(Some(Bytes::from_map(map_file(&path, &self.label_of(name))?))),
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
            Err(e) => Err(FormatError::io(&self.label_of(name), "open", e)),
        }
    }

    fn names(&self) -> Result<Vec<String>, FormatError> {
        let list = || -> std::io::Result<Vec<String>> {
            let mut names = Vec::new();
            for entry in fs::read_dir(self.path)? {
                let entry = entry?;
                // Links are followed: Hugging Face's cache is made of them. Other names are none of these files.
                if !entry.path().is_dir()
                    && let Ok(name) = entry.file_name().into_string()
                {
                    names.push(name);
                }
            }
            Ok(names)
        };
        list().map_err(|e| FormatError::io(&self.label, "list", e))
    }

    fn label(&self) -> &str {
        &self.label
    }

    fn absolute(&self) -> &str {
        &self.absolute
    }
}

fn disk(path: &Path) -> Disk<'_> {
    // `.` and `..` are no names.
    let absolute = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    Disk { path, label: path.display().to_string(), absolute: absolute.display().to_string() }
}

/// The folder that a path stands for, if it stands for one: it is one, or it names the configuration, the index or a
/// shard of one.
pub(crate) fn of(path: &Path) -> Option<PathBuf> {
    if path.is_dir() {
        return Some(path.to_owned());
    }
    let name = path.file_name().and_then(OsStr::to_str)?;
    let folder = parent(path);
    let is_index = INDICES.contains(&name);
    let is_part =
        name == CONFIG || is_shard(name) && INDICES.iter().any(|index| folder.join(index).is_file());
    ((is_index || is_part) && path.is_file()).then_some(folder)
}

fn parent(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

/// `…-00001-of-00002.…`
fn is_shard(name: &str) -> bool {
    let Some((stem, _)) = name.rsplit_once('.') else { return false };
    let Some((rest, total)) = stem.rsplit_once("-of-") else { return false };
    let is_number = |text: &str| text.len() == 5 && text.bytes().all(|b| b.is_ascii_digit());
    is_number(total) && rest.rsplit_once('-').is_some_and(|(_, number)| is_number(number))
}

/// Opens the model in a folder.
pub(crate) fn open(path: &Path) -> Result<ModelFile, FormatError> {
    read(&disk(path))
}

/// Adds to a file that was opened alone what lies beside it, if it is in Hugging Face's layout.
pub(crate) fn complete(mut file: ModelFile, path: &Path) -> Result<ModelFile, FormatError> {
    if is_hugging_face(file.format(), file.tensors()) {
        let folder = parent(path);
        file.add_metadata(beside(&disk(&folder))?);
    }
    Ok(file)
}
