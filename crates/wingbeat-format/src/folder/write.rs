//! A folder being written: a temporary one beside its destination, renamed when all files are in it.

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::{CONFIG, INDICES, TEMPLATE_FILE, TOKENIZER_CONFIG};
use crate::error::FormatError;

/// Files that such a folder may have and that another conversion may replace.
const REPLACEABLE: [&str; 8] = [
    CONFIG,
    INDICES[0],
    TEMPLATE_FILE,
    TOKENIZER_CONFIG,
    "generation_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.txt",
];

/// A folder under a temporary name.
///
/// Nothing is seen at the path until [`finish`](Writer::finish); a writer that is dropped before leaves nothing behind.
#[derive(Debug)]
pub struct Writer {
    /// The path as text, for messages.
    label: String,
    destination: PathBuf,
    temporary: TempDir,
}

impl Writer {
    /// Begins a folder that will be at `path`.
    ///
    /// # Errors
    /// There is something at the path which is no model's folder: its files would be lost. Or the system refuses.
    pub fn create(path: &Path) -> Result<Writer, FormatError> {
        let label = path.display().to_string();
        check_replaceable(path, &label)?;
        // Without a final separator, which would make the parent the folder itself.
        let destination: PathBuf = path.components().collect();
        let parent = match destination.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
            Some(_) => PathBuf::from("."),
            None => {
                return Err(FormatError::malformed(&label, "folder", "a path that ends in a name", "none"));
            }
        };
        let mut builder = tempfile::Builder::new();
        builder.prefix(".wingbeat-").suffix(".partial");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            // What any new folder gets; the system takes the umask off.
            builder.permissions(fs::Permissions::from_mode(0o777));
        }
        let temporary = builder
            .tempdir_in(parent)
            .map_err(|e| FormatError::io(&label, "create a temporary folder beside it", e))?;
        Ok(Writer { label, destination, temporary })
    }

    /// Where the files are to be written meanwhile.
    pub fn path(&self) -> &Path {
        self.temporary.path()
    }

    /// A small file of these bytes.
    ///
    /// # Errors
    /// The system refuses.
    pub fn put(&self, name: &str, bytes: &[u8]) -> Result<(), FormatError> {
        let write = || -> std::io::Result<()> {
            let path = self.path().join(name);
            fs::write(&path, bytes)?;
            fs::File::open(path)?.sync_all()
        };
        write().map_err(|e| FormatError::io(&format!("{}: {name}", self.label), "write", e))
    }

    /// Puts the complete folder in its place, over one that may be there.
    ///
    /// # Errors
    /// The system refuses; what was there is there still.
    pub fn finish(self) -> Result<(), FormatError> {
        let Writer { label, destination, temporary } = self;
        check_replaceable(&destination, &label)?;
        let refused = |e| FormatError::io(&label, "rename the finished folder", e);
        if fs::metadata(&destination).is_err() {
            fs::rename(temporary.path(), &destination).map_err(refused)?;
            // It is no temporary folder any more, and nothing is to be removed.
            drop(temporary.keep());
            return Ok(());
        }
        // A folder with files in it cannot be renamed over: it steps aside, and comes back if that fails.
        let aside = temporary.path().with_extension("old");
        let destination = fs::canonicalize(&destination).map_err(refused)?;
        fs::rename(&destination, &aside).map_err(refused)?;
        if let Err(e) = fs::rename(temporary.path(), &destination) {
            fs::rename(&aside, &destination).map_err(refused)?;
            return Err(refused(e));
        }
        drop(temporary.keep());
        fs::remove_dir_all(&aside)
            .map_err(|e| FormatError::io(&label, "remove the folder that it replaces", e))
    }
}

/// Nothing, an empty folder, or a model's folder with nothing else in it.
fn check_replaceable(path: &Path, label: &str) -> Result<(), FormatError> {
    let entries = match fs::read_dir(path) {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(FormatError::io(label, "write a folder there", e)),
    };
    for entry in entries {
        let entry = entry.map_err(|e| FormatError::io(label, "list", e))?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let is_model = name.starts_with("model") && name.ends_with(".safetensors");
        let is_vocabulary = name.starts_with("rwkv_vocab") && name.ends_with(".txt");
        let is_file = entry.file_type().is_ok_and(|kind| kind.is_file());
        if !(is_file && (is_model || is_vocabulary || REPLACEABLE.contains(&&*name))) {
            let expected = "nothing there, or only a model that is to be replaced";
            return Err(FormatError::malformed(label, "folder", expected, format!("{name:?}")));
        }
    }
    Ok(())
}
