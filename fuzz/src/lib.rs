//! What is fuzzed: for each target a function that takes any bytes, must not panic, and holds what it is given
//! back to its promises.
//!
//! With the fuzzer, from the root of the repository (`RUSTC_BOOTSTRAP=1` lets a stable compiler do what
//! cargo-fuzz asks of a nightly one):
//!
//! ```sh
//! cargo install cargo-fuzz
//! RUSTC_BOOTSTRAP=1 cargo fuzz run --features libfuzzer gguf -- -max_total_time=600 -rss_limit_mb=2048 -timeout=10
//! ```
//!
//! Without it, on any compiler, all inputs that are kept (`corpus/`, and `regressions/` for those that once
//! failed):
//!
//! ```sh
//! cargo test --manifest-path fuzz/Cargo.toml
//! ```
//!
//! `make_seeds.py` and `examples/state_seed.rs` write the seeds; `dictionaries/` has words for `-dict=FILE`.
//!
//! A new target is a function here, a row in [`TARGETS`], a file in `fuzz_targets/`, a `[[bin]]` and a folder
//! of seeds.

mod archive;

use std::collections::HashMap;
use std::io::Write;
use std::path::Path;
use std::sync::OnceLock;

use wingbeat::{Device, Model, ModelOptions, vocabulary_of};
use wingbeat_format::{Bytes, FileFormat, FormatError, ModelFile};
use wingbeat_model::Catalog;
use wingbeat_tokenizer::{Tokenizer, TokenizerError, Vocabulary};

/// A target: takes any bytes and must not panic.
pub type Target = fn(&[u8]);

/// Every target, by the name of its folder of seeds.
pub const TARGETS: [(&str, Target); 8] = [
    ("gguf", gguf),
    ("safetensors", safetensors),
    ("pth", pth),
    ("rwkv_cpp", rwkv_cpp),
    ("folder", folder),
    ("vocabulary", vocabulary),
    ("tokenizer", tokenizer),
    ("state", state),
];

/// Reads a GGUF file, and the vocabulary in it.
pub fn gguf(data: &[u8]) {
    if data.starts_with(b"GGUF") {
        read(data);
    }
}

/// Reads a safetensors file, and the vocabulary in it.
pub fn safetensors(data: &[u8]) {
    if data.get(8) == Some(&b'{') {
        read(data);
    }
}

/// Reads a checkpoint: `data` is an archive, or the pickle of one with two storages of 64 bytes.
pub fn pth(data: &[u8]) {
    if data.starts_with(b"PK") {
        return read(data);
    }
    let storage = [0; 64];
    let entries = [("data.pkl", data), ("version", &b"3\n"[..]), ("data/0", &storage), ("data/1", &storage)];
    read(&archive::stored(&entries));
}

/// Reads an rwkv.cpp file.
pub fn rwkv_cpp(data: &[u8]) {
    if data.starts_with(b"fmgg") {
        read(data);
    }
}

/// Reads a folder: its files, each after a line with its name and its length. Shards that are short of bytes are
/// named, and a name is never followed out of the folder.
pub fn folder(data: &[u8]) {
    let mut files = Vec::new();
    let mut rest = data;
    while let Some(end) = rest.iter().position(|&byte| byte == b'\n') {
        let (line, after) = (&rest[..end], &rest[end + 1..]);
        let Some((name, length)) = std::str::from_utf8(line).ok().and_then(|line| line.rsplit_once(' '))
        else {
            break;
        };
        let n_bytes = length.parse::<usize>().map_or(after.len(), |n| n.min(after.len()));
        files.push((name.to_owned(), Bytes::from_vec(after[..n_bytes].to_vec())));
        rest = &after[n_bytes..];
    }
    if let Some(file) = ok(ModelFile::from_files("some/fuzzed", files)) {
        let n_bytes: usize = file.parts().iter().map(|part| part.bytes.len()).sum();
        assert!(!file.parts().is_empty() && file.len_bytes() == n_bytes as u64);
        look_at(&file);
    }
}

/// Reads a vocabulary: the first byte says in which form. What can be read can be written and read again.
pub fn vocabulary(data: &[u8]) {
    let Some((form, data)) = data.split_first() else { return };
    let read = match form % 4 {
        0 => Vocabulary::from_text("fuzzed", data),
        1 => Vocabulary::from_packed(data),
        2 => Vocabulary::from_gguf(data.split(|&b| b == b'\n'), None),
        _ => {
            // A type before each token.
            let lines: Vec<&[u8]> = data.split(|&b| b == b'\n').collect();
            let types: Vec<i32> =
                lines.iter().map(|line| line.first().map_or(1, |&b| b as i8 as i32)).collect();
            Vocabulary::from_gguf(lines.iter().map(|line| line.get(1..).unwrap_or_default()), Some(&types))
        }
    };
    let Some(vocabulary) = ok(read) else { return };
    assert_eq!(Vocabulary::from_packed(&vocabulary.to_packed()).expect("own form"), vocabulary);
    assert_eq!(Vocabulary::from_text("own", &vocabulary.to_text()).expect("own form"), vocabulary);
    let (tokens, types) = vocabulary.to_gguf(0);
    let tokens = tokens.iter().map(Vec::as_slice);
    assert_eq!(Vocabulary::from_gguf(tokens, Some(&types)).expect("own form"), vocabulary);
}

/// Encodes and decodes: text with the World vocabulary, or with a vocabulary that comes before it.
pub fn tokenizer(data: &[u8]) {
    let Some((form, data)) = data.split_first() else { return };
    if form % 2 == 0 {
        static WORLD: OnceLock<Tokenizer> = OnceLock::new();
        let world = WORLD.get_or_init(Tokenizer::world);
        let ids = world.encode(data).expect("the World vocabulary has every byte");
        assert_eq!(world.decode(&ids).expect("ids of its own"), data);
        return stream(world, &ids, data);
    }
    let Some((n, data)) = data.split_first_chunk() else { return };
    let Some((packed, text)) = data.split_at_checked(u16::from_le_bytes(*n).into()) else { return };
    let read = Vocabulary::from_packed(packed).or_else(|_| Vocabulary::from_text("fuzzed", packed));
    let Some(vocabulary) = ok(read) else { return };
    if vocabulary.len() > 4096 || text.len() > 4096 || vocabulary.max_token_bytes() > 1024 {
        return;
    }
    let Some(tokenizer) = ok(Tokenizer::new(vocabulary)) else { return };
    match (tokenizer.encode(text), longest_first(tokenizer.vocabulary(), text)) {
        (Ok(found), Ok(expected)) => {
            assert_eq!(found, expected);
            assert_eq!(tokenizer.decode(&found).expect("ids of its own"), text);
            stream(&tokenizer, &found, text);
        }
        (Err(TokenizerError::NoToken { offset, byte }), Err(expected)) => {
            assert_eq!((offset, Some(&byte)), (expected, text.get(expected)));
        }
        (found, expected) => panic!("found {found:?}, expected {expected:?}"),
    }
    // Any number is an id or an error.
    let ids: Vec<u32> = text.as_chunks().0.iter().map(|&bytes| u32::from_le_bytes(bytes)).collect();
    ok(tokenizer.decode(&ids));
}

/// Loads a state's file into a model. What can be loaded can be saved, and is the same again.
pub fn state(data: &[u8]) {
    static MODEL: OnceLock<Model> = OnceLock::new();
    let model = MODEL.get_or_init(|| {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/rwkv7-1x64.safetensors");
        let options = ModelOptions { device: Device::Reference, ..ModelOptions::default() };
        Model::open_with(file, &options).expect("fixtures are good files")
    });
    let memory = Path::new("/dev/shm");
    let folder = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
    let mut file =
        tempfile::Builder::new().prefix("wingbeat-fuzz-").tempfile_in(folder).expect("room for a file");
    file.write_all(data).expect("room for a file");
    let Some(state) = ok(model.load_state(file.path())) else { return };
    state.save(file.path()).expect("room for a file");
    let again = model.load_state(file.path()).expect("own form");
    assert_eq!(again.n_tokens(), state.n_tokens());
    for slab in state.slabs() {
        let bits = |state: &wingbeat::State| -> Vec<u32> {
            state.read(slab.name).expect("a slab of its own").values.iter().map(|x| x.to_bits()).collect()
        };
        assert_eq!(bits(&again), bits(&state), "{}", slab.name);
    }
}

/// The value; of an error, that its message is what messages are to be.
fn ok<T, E: std::error::Error>(result: Result<T, E>) -> Option<T> {
    result
        .inspect_err(|e| {
            let message = e.to_string();
            assert!(!message.is_empty() && !message.contains(['\n', '\r']), "{message:?}");
        })
        .ok()
}

/// Reads a file of any format and looks at all that it has.
fn read(data: &[u8]) {
    let file: Result<ModelFile, FormatError> = ModelFile::from_vec("fuzzed", data.to_vec());
    if let Some(file) = ok(file) {
        look_at(&file);
    }
}

/// Looks at all that a file has, and at the model that it may be.
fn look_at(file: &ModelFile) {
    assert!(!format!("{file:?}").contains('\n'));
    for tensor in file.tensors() {
        assert!(file.tensor(&tensor.name).is_some_and(|found| std::ptr::eq(found, tensor)));
        assert_eq!(tensor.spec().n_bytes(), Some(tensor.data.len()), "{tensor:?}");
        let (len, n_bytes) = (tensor.dtype.block_len(), tensor.dtype.block_bytes());
        if let Some(block) = tensor.data.get(..n_bytes) {
            tensor.dtype.decode_row(block, &mut vec![0.0; len]);
        }
    }
    for (key, value) in file.metadata().iter() {
        assert!(file.metadata().get(key).is_some_and(|found| std::ptr::eq(found, value)));
    }
    if file.format() != FileFormat::Pth {
        ok(vocabulary_of(file));
    }
    // Names, shapes and transformed values of every version and layout.
    if let Some(catalog) = ok(Catalog::open(file)) {
        assert!(catalog.weights().iter().all(|weight| weight.shape.iter().all(|&n| n > 0)));
    }
}

/// Pushes ids through a stream decoder, which must lose and invent nothing.
fn stream(tokenizer: &Tokenizer, ids: &[u32], text: &[u8]) {
    let mut stream = tokenizer.stream();
    let mut found = Vec::new();
    for &id in ids {
        found.extend_from_slice(stream.push(id).expect("an id of its own"));
    }
    found.extend_from_slice(stream.finish());
    assert_eq!(found, text);
}

/// What the tokenizer should find, by trying every length; where no token matches, the place.
fn longest_first(vocabulary: &Vocabulary, text: &[u8]) -> Result<Vec<u32>, usize> {
    // Of equal texts the highest id.
    let tokens: HashMap<&[u8], u32> = vocabulary.iter().map(|(id, text)| (text, id)).collect();
    let mut ids = Vec::new();
    let mut at = 0;
    while at < text.len() {
        let rest = &text[at..];
        let longest = rest.len().min(vocabulary.max_token_bytes());
        let (n, id) = (1..=longest).rev().find_map(|n| Some((n, *tokens.get(&rest[..n])?))).ok_or(at)?;
        ids.push(id);
        at += n;
    }
    Ok(ids)
}
