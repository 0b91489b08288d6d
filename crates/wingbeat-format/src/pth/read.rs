//! Puts a checkpoint's archive and pickle together: named tensors, each a range of a storage's entry.
//!
//! Gives metadata and tensors; that tensor names occur once is checked here too, before anything is made of a
//! second one.

use std::collections::HashSet;
use std::ops::Range;

use super::directory::{Directory, item};
use super::values::{Pickle, Value, View};
use super::{METADATA_ENTRY, machine};
use crate::bytes::Bytes;
use crate::error::FormatError;
use crate::file::Contents;
use crate::metadata::{Metadata, Value as MetadataValue};
use crate::quant::DType;
use crate::safetensors::TextMap;
use crate::tensor::{Tensor, bad_shape, n_bytes};

const PICKLE: &str = "data.pkl";
/// No weight of any model has more dimensions.
const MAX_DIMS: usize = 8;
/// Where training programs keep the dict of tensors in a larger one.
const NESTED: [&str; 4] = ["model", "state_dict", "model_state_dict", "module"];

/// Reads the contents of a file that begins as a zip archive.
pub(crate) fn read(file: &str, bytes: &Bytes) -> Result<Contents, FormatError> {
    let archive = Archive::open(file, bytes)?;
    let version = archive.version()?;
    archive.check_byte_order()?;
    let program = &bytes[archive.require(PICKLE)?];
    let pickle = machine::run(file, archive.pickle, program)?;
    let entries = entries(&archive, &pickle)?;

    let mut contents = Contents { version, metadata: Metadata::new(), tensors: Vec::new() };
    let mut names = HashSet::new();
    let mut n_text = 0usize;
    for &(key, value) in entries {
        let Value::Text(name) = key else {
            let found = format!("{} as a name", pickle.kind(key));
            return Err(FormatError::malformed(file, item(archive.pickle), "a dict of named tensors", found));
        };
        if !names.insert(name) {
            return Err(FormatError::Duplicate { file: file.to_owned(), item: format!("tensor {name:?}") });
        }
        if let Some(view) = pickle.tensor(value) {
            contents.tensors.push(tensor(&archive, &pickle, name, view)?);
            continue;
        }
        if let Value::Text(text) = value {
            // Each use is a copy here, and a pickle may use one long text for any number of entries.
            n_text = n_text.saturating_add(text.len());
            if n_text > program.len() {
                let found = format!("{n_text} bytes of text from a pickle of {}", program.len());
                let item = format!("entry {name:?}");
                return Err(FormatError::malformed(file, item, "texts that are used once each", found));
            }
        }
        match plain(value) {
            Some(value) => drop(contents.metadata.insert(name, value)),
            None if matches!(value, Value::None) => {}
            None => {
                let item = format!("entry {name:?}");
                return Err(FormatError::malformed(file, item, "a tensor", pickle.kind(value)));
            }
        }
    }
    add_metadata(&archive, &mut contents.metadata)?;
    Ok(contents)
}

/// Adds what our own writer has put beside the pickle.
fn add_metadata(archive: &Archive, metadata: &mut Metadata) -> Result<(), FormatError> {
    let Some(range) = archive.get(METADATA_ENTRY)? else { return Ok(()) };
    let item = item(&format!("{}{METADATA_ENTRY}", archive.folder));
    let TextMap(texts) = serde_json::from_slice(&archive.bytes[range])
        .map_err(|e| FormatError::malformed(archive.file, item, "JSON, an object of strings", e))?;
    for (key, text) in texts {
        metadata.insert(key, text);
    }
    Ok(())
}

/// The archive as a checkpoint: all entries lie in one folder.
struct Archive<'a> {
    file: &'a str,
    bytes: &'a Bytes,
    directory: Directory<'a>,
    /// The name of the entry that is the pickle.
    pickle: &'a str,
    /// The folder, with its slash.
    folder: &'a str,
}

impl<'a> Archive<'a> {
    fn open(file: &'a str, bytes: &'a Bytes) -> Result<Archive<'a>, FormatError> {
        let directory = Directory::read(file, bytes)?;
        let folder_of = |name: &'a str| name.strip_suffix(PICKLE).filter(|folder| is_folder(folder));
        let mut pickles = directory.names().filter_map(|name| Some((name, folder_of(name)?)));
        let Some((pickle, folder)) = pickles.next() else {
            let found = match directory.names().next() {
                Some(first) => format!("a zip archive that begins with {first:?}"),
                None => "an empty zip archive".to_owned(),
            };
            let expected = "a PyTorch checkpoint with an entry \"NAME/data.pkl\"";
            return Err(FormatError::malformed(file, "zip directory", expected, found));
        };
        if let Some((second, _)) = pickles.next() {
            let found = format!("{pickle:?} and {second:?}");
            return Err(FormatError::malformed(file, "zip directory", "one entry data.pkl", found));
        }
        drop(pickles);
        Ok(Archive { file, bytes, directory, pickle, folder })
    }

    fn get(&self, name: &str) -> Result<Option<Range<usize>>, FormatError> {
        self.directory.get(&format!("{}{name}", self.folder))
    }

    fn require(&self, name: &str) -> Result<Range<usize>, FormatError> {
        self.get(name)?.ok_or_else(|| {
            let name = format!("{}{name}", self.folder);
            FormatError::malformed(self.file, item(&name), "an entry of this name", "none")
        })
    }

    fn version(&self) -> Result<u32, FormatError> {
        let text = &self.bytes[self.require("version")?];
        let version = std::str::from_utf8(text).ok().and_then(|text| text.trim_ascii().parse().ok());
        version.ok_or_else(|| {
            let found = format!("\"{}\"", text[..text.len().min(16)].escape_ascii());
            FormatError::malformed(self.file, item(&format!("{}version", self.folder)), "a number", found)
        })
    }

    /// Files from before torch 2.1 do not say: they come from little-endian machines, as nearly all do.
    fn check_byte_order(&self) -> Result<(), FormatError> {
        let Some(range) = self.get("byteorder")? else { return Ok(()) };
        match &self.bytes[range] {
            b"little" => Ok(()),
            other => Err(FormatError::UnsupportedVersion {
                file: self.file.to_owned(),
                format: "PyTorch checkpoint",
                expected: "little-endian byte order",
                found: format!("\"{}\"", other[..other.len().min(16)].escape_ascii()),
            }),
        }
    }
}

/// `NAME/`, where the name is no path.
fn is_folder(folder: &str) -> bool {
    folder.strip_suffix('/').is_some_and(|name| !name.is_empty() && !name.contains('/'))
}

/// The dict of tensors: the file's own, or one in it under a name that training programs use.
fn entries<'p, 'a>(
    archive: &Archive<'a>,
    pickle: &'p Pickle<'a>,
) -> Result<&'p [(Value<'a>, Value<'a>)], FormatError> {
    let malformed = |found: String| {
        let expected = format!("a dict of tensors, alone or as one of {NESTED:?} in a dict");
        Err(FormatError::malformed(archive.file, item(archive.pickle), expected, found))
    };
    let Some(root) = pickle.dict(pickle.root) else {
        return malformed(pickle.kind(pickle.root).to_owned());
    };
    let has_tensors = |dict: &[(Value, Value)]| dict.iter().any(|&(_, value)| pickle.tensor(value).is_some());
    if has_tensors(root) {
        return Ok(root);
    }
    let nested = NESTED.iter().find_map(|name| {
        let named = |key: &Value| matches!(key, Value::Text(text) if text == name);
        let &(_, value) = root.iter().find(|(key, _)| named(key))?;
        pickle.dict(value).filter(|dict| has_tensors(dict))
    });
    match nested {
        Some(dict) => Ok(dict),
        None => malformed(format!("a dict of {} entries, none a tensor", root.len())),
    }
}

/// Plain values beside the tensors are what the file says about itself.
fn plain(value: Value) -> Option<MetadataValue> {
    Some(match value {
        Value::Bool(x) => MetadataValue::Bool(x),
        Value::Int(x) => MetadataValue::I64(x),
        Value::Float(x) => MetadataValue::F64(x),
        Value::Text(x) => x.into(),
        _ => return None,
    })
}

fn tensor(archive: &Archive, pickle: &Pickle, name: &str, view: &View) -> Result<Tensor, FormatError> {
    let file = archive.file;
    let malformed = |expected: String, found: String| {
        FormatError::malformed(file, format!("tensor {name:?}"), expected, found)
    };
    let dtype = view.storage.element.dtype.ok_or_else(|| FormatError::UnsupportedType {
        file: file.to_owned(),
        tensor: name.to_owned(),
        expected: "F32, F16, BF16, F64, I64, I32".to_owned(),
        found: format!("those of a {}", view.storage.element.class),
    })?;
    let counts = |tuple: usize, what: &str| {
        let numbers = pickle.integers(tuple).into_iter().flatten();
        let all = numbers.map(|n| usize::try_from(n).map_err(|_| n)).collect::<Result<Vec<usize>, i64>>();
        all.map_err(|n| malformed(format!("{what} of zero or more"), n.to_string()))
    };
    let n_dims = pickle.integers(view.shape).map_or(0, |numbers| numbers.len());
    if n_dims > MAX_DIMS {
        return Err(malformed(format!("at most {MAX_DIMS} dimensions"), n_dims.to_string()));
    }
    let (shape, strides) = (counts(view.shape, "dimensions")?, counts(view.strides, "strides")?);
    let n_tensor = n_bytes(dtype, &shape).ok_or_else(|| bad_shape(file, name, dtype, &shape))?;
    check_strides(&shape, &strides)
        .map_err(|found| malformed("values in row-major order".to_owned(), found))?;

    let storage = storage(archive, dtype, name, view)?;
    let start = usize::try_from(view.offset).ok().and_then(|offset| offset.checked_mul(dtype.block_bytes()));
    let range = start.and_then(|start| Some(start..start.checked_add(n_tensor)?));
    let data = range.and_then(|range| storage.slice(range)).ok_or_else(|| {
        let n_values = storage.len() / dtype.block_bytes();
        malformed(
            format!("to lie in the {n_values} values of its storage {:?}", view.storage.key),
            format!("shape {shape:?} from value {}", view.offset),
        )
    })?;
    Ok(Tensor { name: name.to_owned(), dtype, shape, data })
}

/// The bytes of a tensor's storage, as many as it claims to have.
fn storage(archive: &Archive, dtype: DType, name: &str, view: &View) -> Result<Bytes, FormatError> {
    let (key, n) = (view.storage.key, view.storage.n);
    let malformed = |expected: String, found: String| {
        let item = format!("tensor {name:?}, storage {key:?}");
        FormatError::malformed(archive.file, item, expected, found)
    };
    let entry = format!("data/{key}");
    let range = archive.get(&entry)?;
    let range = range
        .ok_or_else(|| malformed(format!("zip entry \"{}{entry}\"", archive.folder), "none".to_owned()))?;
    let n_bytes = usize::try_from(n).ok().and_then(|n| n.checked_mul(dtype.block_bytes()));
    if n_bytes != Some(range.len()) {
        return Err(malformed(format!("{n} values in {}", dtype.name()), format!("{} bytes", range.len())));
    }
    Ok(archive.bytes.slice(range).expect("the directory gives ranges of the file"))
}

/// Whether values lie one after the other, the last dimension running fastest; else what there is instead.
fn check_strides(shape: &[usize], strides: &[usize]) -> Result<(), String> {
    if shape.contains(&0) {
        return Ok(());
    }
    // The product has been found to fit.
    let mut expected = 1;
    let in_order = shape.iter().zip(strides).rev().all(|(&dim, &stride)| {
        // Along a dimension of one nothing is ever stepped.
        let good = dim == 1 || stride == expected;
        expected *= dim;
        good
    });
    match (in_order, shape, strides) {
        (true, ..) => Ok(()),
        (false, &[rows, cols], &[1, stride]) if stride == rows => Err(format!(
            "a transposed view of a ({cols}, {rows}) matrix: store it with .t().contiguous() or .contiguous()"
        )),
        _ => Err(format!("strides {strides:?} for shape {shape:?}: store it with .contiguous()")),
    }
}
