//! Many texts from files and standard input: a file each or a line each, one after the other in bounded memory.
//!
//! They are gone through twice, so that their number is known, and an empty one is found, before any work begins. What
//! cannot be read twice (standard input, pipes) is kept in a temporary file that has no name.

use anyhow::{Context, bail};
use std::{
    fs::{self, File},
    io::{self, BufRead, BufReader, Read, Seek, SeekFrom},
    path::{Path, PathBuf},
    rc::Rc,
};

/// The path that stands for standard input.
const STDIN: &str = "-";

/// How files are cut into texts.
#[derive(Clone, Copy)]
pub(crate) struct Cut {
    /// Every line is a text; otherwise those of standard input only.
    pub(crate) lines: bool,
    /// Empty texts are passed over, not refused.
    pub(crate) skip_empty: bool,
}

/// A text and where it stood.
pub(crate) struct Text {
    /// The file's name, or words for standard input.
    pub(crate) file: Rc<str>,
    /// The line, from 1; none where the text is the whole file.
    pub(crate) line: Option<u64>,
    /// Without a line's end.
    pub(crate) bytes: Vec<u8>,
}

impl Text {
    /// `FILE` or `FILE:LINE`.
    pub(crate) fn name(&self) -> String {
        match self.line {
            Some(line) => format!("{}:{line}", self.file),
            None => self.file.to_string(),
        }
    }
}

/// All texts of a command.
pub(crate) struct Texts {
    sources: Vec<Source>,
    cut: Cut,
    n_texts: usize,
    n_bytes: u64,
}

struct Source {
    label: Rc<str>,
    place: Place,
    is_lines: bool,
}

enum Place {
    Path(PathBuf),
    /// A copy of what cannot be read twice.
    Copy(File),
}

impl Texts {
    /// Finds the texts; no files are standard input.
    ///
    /// # Errors
    /// A file cannot be read, a text is empty, or there is none.
    pub(crate) fn find(files: &[PathBuf], cut: Cut) -> anyhow::Result<Texts> {
        let stdin = [PathBuf::from(STDIN)];
        let files = if files.is_empty() { &stdin[..] } else { files };
        let sources = files.iter().map(|path| Source::open(path, cut.lines)).collect::<Result<_, _>>()?;
        let mut texts = Texts { sources, cut, n_texts: 0, n_bytes: 0 };
        let (mut n_texts, mut n_bytes) = (0, 0);
        texts.each(&mut |text| {
            n_texts += 1;
            n_bytes += text.bytes.len() as u64;
            Ok(true)
        })?;
        if n_texts == 0 {
            let labels: Vec<&str> = texts.sources.iter().map(|source| &*source.label).collect();
            bail!("{}: expected at least one text, found none", labels.join(", "));
        }
        (texts.n_texts, texts.n_bytes) = (n_texts, n_bytes);
        Ok(texts)
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.n_texts
    }

    /// Their bytes together.
    pub(crate) fn n_bytes(&self) -> u64 {
        self.n_bytes
    }

    /// Hands them over one after the other, until `take` wants no more.
    pub(crate) fn each(&mut self, take: &mut dyn FnMut(Text) -> anyhow::Result<bool>) -> anyhow::Result<()> {
        let skip_empty = self.cut.skip_empty;
        for source in &mut self.sources {
            let go_on = source.each(&mut |text| {
                if !text.bytes.is_empty() {
                    return take(text);
                }
                if !skip_empty {
                    bail!("{}: the text is empty; --skip-empty passes over such", text.name());
                }
                Ok(true)
            })?;
            if !go_on {
                break;
            }
        }
        Ok(())
    }
}

impl Source {
    fn open(path: &Path, lines: bool) -> anyhow::Result<Source> {
        if path.as_os_str() == STDIN {
            let label = "standard input";
            let copy = copy_of(&mut io::stdin().lock()).context(label)?;
            return Ok(Source { label: label.into(), place: Place::Copy(copy), is_lines: true });
        }
        let label: Rc<str> = path.display().to_string().into();
        let info = fs::metadata(path).with_context(|| label.to_string())?;
        if info.is_dir() {
            bail!("{label}: expected a file, found a directory");
        }
        let place = match info.is_file() {
            true => Place::Path(path.to_owned()),
            false => {
                let copy = File::open(path).and_then(|mut file| copy_of(&mut file));
                Place::Copy(copy.with_context(|| label.to_string())?)
            }
        };
        Ok(Source { label, place, is_lines: lines })
    }

    /// False where no more texts are wanted.
    fn each(&mut self, take: &mut dyn FnMut(Text) -> anyhow::Result<bool>) -> anyhow::Result<bool> {
        let context = || self.label.to_string();
        let mut file = match &mut self.place {
            Place::Path(path) => File::open(path),
            Place::Copy(file) => file.seek(SeekFrom::Start(0)).and_then(|_| file.try_clone()),
        }
        .with_context(context)?;
        if !self.is_lines {
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes).with_context(context)?;
            return take(Text { file: self.label.clone(), line: None, bytes });
        }
        let mut file = BufReader::with_capacity(1 << 16, file);
        for line in 1.. {
            let mut bytes = Vec::new();
            if file.read_until(b'\n', &mut bytes).with_context(context)? == 0 {
                break;
            }
            trim_line_end(&mut bytes);
            if !take(Text { file: self.label.clone(), line: Some(line), bytes })? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// Takes a line's end off it: `\n` or `\r\n`.
pub(crate) fn trim_line_end(line: &mut Vec<u8>) {
    if line.pop_if(|byte| *byte == b'\n').is_some() {
        line.pop_if(|byte| *byte == b'\r');
    }
}

/// A copy on the disk, which goes when it is closed.
fn copy_of(from: &mut dyn Read) -> io::Result<File> {
    let mut file = tempfile::tempfile()?;
    io::copy(from, &mut file)?;
    Ok(file)
}

#[cfg(test)]
mod tests;
