//! The file behind a writer: a temporary name beside the destination, bytes counted tensor by tensor, a
//! rename.
//!
//! The format modules make the header and say how many bytes each tensor has; this module sees to it that
//! exactly those come, padded where the format wants it, and that the destination is either the old file or
//! the whole new one. [`NewFile`] is the file alone, for formats that frame their tensors themselves.

use std::ffi::OsStr;
use std::fmt;
use std::fs;
use std::io::{BufWriter, ErrorKind, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use crate::error::FormatError;

#[cfg(test)]
mod tests;

/// Small tensors (vectors of a few kilobytes) are gathered into writes of this size.
const BUFFER_BYTES: usize = 1 << 20;

/// What the stream knows of a tensor.
#[derive(Debug)]
pub(crate) struct StreamTensor {
    pub(crate) name: String,
    pub(crate) n_bytes: u64,
    /// What stands before its data, for formats that describe each tensor there.
    pub(crate) before: Vec<u8>,
}

/// A file under a temporary name beside its destination.
pub(crate) struct NewFile {
    /// The path as text, for messages.
    file: String,
    destination: PathBuf,
    out: BufWriter<NamedTempFile>,
    /// The system refused a write, so that nobody knows what is in the file.
    broken: bool,
}

/// A file being written.
pub(crate) struct Stream {
    file: NewFile,
    tensors: Vec<StreamTensor>,
    /// The tensor whose bytes come next; as many as there are tensors when all have come.
    current: usize,
    /// Bytes of the current tensor that have come.
    written: u64,
    alignment: u64,
}

impl NewFile {
    /// Begins a file that will be at `path`.
    pub(crate) fn create(path: &Path) -> Result<NewFile, FormatError> {
        let file = path.display().to_string();
        let (directory, destination) = resolve(path, &file)?;
        let mut builder = tempfile::Builder::new();
        builder.prefix(".wingbeat-").suffix(".partial");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            // What any new file gets; the system takes the umask off.
            builder.permissions(fs::Permissions::from_mode(0o666));
        }
        let temporary = builder
            .tempfile_in(directory)
            .map_err(|e| FormatError::io(&file, "create a temporary file beside it", e))?;
        let out = BufWriter::with_capacity(BUFFER_BYTES, temporary);
        Ok(NewFile { file, destination, out, broken: false })
    }

    /// The path as text, for messages.
    pub(crate) fn label(&self) -> &str {
        &self.file
    }

    /// Overwrites bytes that have been written; what comes next goes on at the end.
    fn patch(&mut self, at: u64, bytes: &[u8]) -> Result<(), FormatError> {
        let mut patch = || {
            self.out.seek(SeekFrom::Start(at))?;
            self.out.write_all(bytes)?;
            self.out.seek(SeekFrom::End(0)).map(drop)
        };
        patch().map_err(|e| {
            self.broken = true;
            FormatError::io(&self.file, "write", e)
        })
    }

    pub(crate) fn put(&mut self, bytes: &[u8]) -> Result<(), FormatError> {
        if self.broken {
            return Err(self.broken_error("write"));
        }
        self.out.write_all(bytes).map_err(|e| {
            self.broken = true;
            FormatError::io(&self.file, "write", e)
        })
    }

    /// Makes sure that all is on the disk, and gives the file its name.
    pub(crate) fn finish(self) -> Result<(), FormatError> {
        if self.broken {
            return Err(self.broken_error("go on"));
        }
        let NewFile { file, destination, out, .. } = self;
        let temporary = out.into_inner().map_err(|e| FormatError::io(&file, "write", e.into_error()))?;
        // Before the rename: a crash must not leave the name on a file without its contents.
        temporary.as_file().sync_all().map_err(|e| FormatError::io(&file, "write to disk", e))?;
        temporary
            .persist(destination)
            .map_err(|e| FormatError::io(&file, "rename the finished file", e.error))?;
        Ok(())
    }

    fn broken_error(&self, action: &'static str) -> FormatError {
        FormatError::io(&self.file, action, std::io::Error::other("an earlier write failed"))
    }
}

impl Stream {
    /// Begins a file with `header`, which ends where the first tensor is to begin. Each tensor is followed by
    /// zeros up to a multiple of `alignment`. Names may occur once.
    pub(crate) fn create(
        path: &Path,
        header: &[u8],
        tensors: Vec<StreamTensor>,
        alignment: u64,
    ) -> Result<Stream, FormatError> {
        check_names(&path.display().to_string(), &tensors)?;
        let file = NewFile::create(path)?;
        let mut stream = Stream { file, tensors, current: 0, written: 0, alignment };
        stream.file.put(header)?;
        stream.begin_tensor()?;
        stream.end_tensors()?;
        Ok(stream)
    }

    /// The next bytes of the current tensor.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<(), FormatError> {
        if bytes.is_empty() {
            return Ok(());
        }
        let n_bytes = bytes.len() as u64;
        let Some(tensor) = self.tensors.get(self.current) else {
            let item = "data after the last tensor".to_owned();
            return Err(FormatError::WrongLength {
                file: self.file.label().to_owned(),
                item,
                expected: 0,
                found: n_bytes,
            });
        };
        let written = self.written.saturating_add(n_bytes);
        if written > tensor.n_bytes {
            return Err(self.wrong_length(tensor, written));
        }
        self.file.put(bytes)?;
        self.written = written;
        self.end_tensors()
    }

    /// Overwrites bytes that have been written, such as a sum over a tensor's data in what stands before it.
    pub(crate) fn patch(&mut self, at: u64, bytes: &[u8]) -> Result<(), FormatError> {
        self.file.patch(at, bytes)
    }

    /// Makes sure that all has come and is on the disk, and gives the file its name.
    pub(crate) fn finish(self) -> Result<(), FormatError> {
        self.finish_with(&[])
    }

    /// As [`Stream::finish`], with `end` after the last tensor.
    pub(crate) fn finish_with(mut self, end: &[u8]) -> Result<(), FormatError> {
        // A write that was refused matters more than what did not come after it.
        if let Some(tensor) = self.tensors.get(self.current).filter(|_| !self.file.broken) {
            return Err(self.wrong_length(tensor, self.written));
        }
        self.file.put(end)?;
        self.file.finish()
    }

    fn wrong_length(&self, tensor: &StreamTensor, found: u64) -> FormatError {
        let item = format!("tensor {:?}", tensor.name);
        FormatError::WrongLength { file: self.file.label().to_owned(), item, expected: tensor.n_bytes, found }
    }

    /// Goes on to the next tensor that has bytes to come, if the current one is complete.
    fn end_tensors(&mut self) -> Result<(), FormatError> {
        while let Some(tensor) = self.tensors.get(self.current)
            && self.written == tensor.n_bytes
        {
            let n_padding = self.written.next_multiple_of(self.alignment) - self.written;
            self.current += 1;
            self.written = 0;
            const ZEROS: [u8; 4096] = [0; 4096];
            let mut left = n_padding;
            while left > 0 {
                let n = left.min(ZEROS.len() as u64);
                self.file.put(&ZEROS[..n as usize])?;
                left -= n;
            }
            self.begin_tensor()?;
        }
        Ok(())
    }

    /// Writes what stands before the current tensor's data.
    fn begin_tensor(&mut self) -> Result<(), FormatError> {
        match self.tensors.get_mut(self.current) {
            Some(tensor) => self.file.put(&std::mem::take(&mut tensor.before)),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} of {} tensors written", self.file.label(), self.current, self.tensors.len())
    }
}

fn check_names(file: &str, tensors: &[StreamTensor]) -> Result<(), FormatError> {
    let mut names: Vec<&str> = tensors.iter().map(|tensor| tensor.name.as_str()).collect();
    names.sort_unstable();
    match names.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => {
            Err(FormatError::Duplicate { file: file.to_owned(), item: format!("tensor {:?}", pair[0]) })
        }
        None => Ok(()),
    }
}

/// The directory in which the file is made and the name it gets there.
fn resolve(path: &Path, file: &str) -> Result<(PathBuf, PathBuf), FormatError> {
    let not_a_file = |expected, found| FormatError::NotAFile { file: file.to_owned(), expected, found };
    let destination = match fs::metadata(path) {
        Ok(info) if info.is_dir() => return Err(not_a_file("a path for a file", "a directory")),
        // Renaming would put a file in a device's place.
        Ok(info) if !info.is_file() => {
            return Err(not_a_file("a path for a file", "a device, pipe or socket"));
        }
        // A link is followed: the file it names is replaced, not the link.
        Ok(_) => fs::canonicalize(path).map_err(|e| FormatError::io(file, "resolve", e))?,
        Err(e) if e.kind() == ErrorKind::NotFound => path.to_path_buf(),
        Err(e) => return Err(FormatError::io(file, "write", e)),
    };
    let ends_in_name = destination.file_name().is_some() && !ends_in_separator(path.as_os_str());
    if !ends_in_name {
        return Err(not_a_file("a path for a file", "one that ends in no file name"));
    }
    let directory = match destination.parent() {
        Some(parent) if parent.as_os_str().is_empty() => PathBuf::from("."),
        Some(parent) => parent.to_path_buf(),
        None => return Err(not_a_file("a path for a file", "one without a directory")),
    };
    let info = fs::metadata(&directory)
        .map_err(|e| FormatError::io(file, "find the directory to write it in", e))?;
    if !info.is_dir() {
        return Err(not_a_file("a path in a directory", "one below a file"));
    }
    Ok((directory, destination))
}

/// `Path` overlooks a final separator; people who write one mean a directory.
fn ends_in_separator(path: &OsStr) -> bool {
    path.as_encoded_bytes().last().is_some_and(|&byte| std::path::is_separator(byte.into()))
}
