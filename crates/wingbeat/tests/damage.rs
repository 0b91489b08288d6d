//! Damaged model files, hundreds of them: each either opens and runs or ends in a one-line error that names the file,
//! and none panics, hangs or asks for absurd memory.
//!
//! The damage is generated (cuts everywhere, flipped and overwritten bytes in headers, in metadata, in tensor tables) on
//! one small model in each format; named kinds of damage are tested beside the readers.

use std::path::{Path, PathBuf};
use wingbeat::{
    CpuOptions, Device, Error, Model, ModelFile, ModelOptions, Sequence, Want,
    convert::{ConvertOptions, convert},
};
use wingbeat_backend::conformance::Random;

fn fixture(name: &str) -> PathBuf {
    PathBuf::from(format!("{}/../../tests/fixtures/{name}", env!("CARGO_MANIFEST_DIR")))
}

/// Opens a file's bytes as a model, runs a token, asks for the tokenizer and the fingerprint.
fn use_model(label: &str, bytes: Vec<u8>) -> Result<(), Error> {
    let file = ModelFile::from_vec(label, bytes)?;
    let cpu = CpuOptions { threads: Some(1), ..CpuOptions::default() };
    let options = ModelOptions { device: Device::Cpu(cpu), ..ModelOptions::default() };
    let model = Model::from_file(file, &options)?;
    let mut state = model.new_state()?;
    model.forward(&mut [Sequence { state: &mut state, tokens: &[1, 0], want: Want::ALL }])?;
    model.fingerprint();
    model.tokenizer()?.encode(b"some text")?;
    Ok(())
}

/// One line that names the file.
fn check_message(label: &str, error: &Error) {
    let message = error.to_string();
    // Only a text that the vocabulary lacks is no fault of the file's.
    assert!(message.contains(label) || matches!(error, Error::Tokenizer(_)), "{message}");
    assert!(!message.contains('\n') && message.len() < 600, "{message}");
}

/// The model in a format, small.
fn model_bytes(folder: &Path, name: &str) -> Vec<u8> {
    let path = folder.join(name);
    let source = ModelFile::open(fixture("rwkv7-1x64.safetensors")).unwrap();
    let vocabulary: String = (0..66).map(|i| format!("{} '\\x{:02x}' 1\n", i + 1, i + 32)).collect();
    let vocabulary = wingbeat::Vocabulary::from_text("test", vocabulary.as_bytes()).unwrap();
    let options = ConvertOptions { vocabulary: Some(vocabulary), ..ConvertOptions::default() };
    convert(&source, &path, &options, &mut |_, _| true).unwrap();
    std::fs::read(path).unwrap()
}

/// Where a file's header ends and tensor data begins, roughly: what is worth damaging byte by byte.
fn header_len(bytes: &[u8]) -> usize {
    let file = ModelFile::from_vec("whole", bytes.to_vec()).unwrap();
    let data: usize = file.tensors().iter().map(|t| t.data.len()).sum();
    bytes.len() - data
}

const FORMATS: [&str; 2] = ["model.gguf", "model.safetensors"];
/// Formats whose headers lie among the data, or after them.
const WITHOUT_A_HEADER: [&str; 2] = ["model.pth", "model.bin"];

#[test]
fn whole_files_work() {
    let folder = tempfile::tempdir().unwrap();
    for name in FORMATS.into_iter().chain(WITHOUT_A_HEADER) {
        let error = use_model(name, model_bytes(folder.path(), name)).err().map(|e| e.to_string());
        // The little vocabulary has no lower-case letters, and rwkv.cpp's files have none at all.
        let expected = if name == "model.bin" { "vocabulary" } else { "no token for byte" };
        assert!(error.as_ref().is_some_and(|e| e.contains(expected)), "{name}: {error:?}");
    }
}

#[test]
fn every_cut_is_an_error_that_says_what_is_missing() {
    let folder = tempfile::tempdir().unwrap();
    for name in FORMATS.into_iter().chain(WITHOUT_A_HEADER) {
        let bytes = model_bytes(folder.path(), name);
        let header = header_len(&bytes);
        let cuts =
            (0..header).step_by(header / 150 + 1).chain((header..bytes.len()).step_by(bytes.len() / 100));
        // A GGUF ends in padding that nobody needs.
        for cut in cuts.chain([bytes.len() - 33]) {
            let error = use_model(name, bytes[..cut].to_vec()).expect_err("a cut file");
            check_message(name, &error);
        }
    }
}

#[test]
fn flipped_bytes_in_headers_never_panic() {
    let folder = tempfile::tempdir().unwrap();
    let mut random = Random::new(7);
    for name in FORMATS {
        let bytes = model_bytes(folder.path(), name);
        let header = header_len(&bytes);
        let mut refused = 0;
        for _ in 0..600 {
            let mut damaged = bytes.clone();
            for _ in 0..=random.bits() % 3 {
                let at = (random.bits() as usize) % header;
                damaged[at] = match random.bits() % 4 {
                    0 => damaged[at] ^ (1 << (random.bits() % 8)),
                    1 => 0xff,
                    2 => 0,
                    _ => random.bits() as u8,
                };
            }
            if let Err(error) = use_model(name, damaged) {
                check_message(name, &error);
                refused += 1;
            }
        }
        assert!(refused > 100, "{name}: only {refused} of 600 were noticed");
    }
}

#[test]
fn flipped_bytes_anywhere_never_panic() {
    let folder = tempfile::tempdir().unwrap();
    let mut random = Random::new(11);
    for name in WITHOUT_A_HEADER {
        let bytes = model_bytes(folder.path(), name);
        // Where names and numbers are: before small vectors, and in the last kilobytes.
        let file = ModelFile::from_vec(name, bytes.clone()).unwrap();
        let base = file.bytes().as_ptr() as usize;
        let mut starts: Vec<usize> =
            file.tensors().iter().map(|tensor| tensor.data.as_ptr() as usize - base).collect();
        starts.extend([64, bytes.len() - 100, bytes.len() - 3000]);
        for _ in 0..300 {
            let mut damaged = bytes.clone();
            for _ in 0..=random.bits() % 3 {
                let start = starts[random.bits() as usize % starts.len()];
                let at = start.saturating_sub(random.bits() as usize % 60);
                damaged[at] = if random.bits() % 2 == 0 { 0xff } else { random.bits() as u8 };
            }
            if let Err(error) = use_model(name, damaged) {
                check_message(name, &error);
            }
        }
    }
}

#[test]
fn large_numbers_in_headers_never_allocate() {
    let folder = tempfile::tempdir().unwrap();
    for name in FORMATS {
        let bytes = model_bytes(folder.path(), name);
        let header = header_len(&bytes).min(2000);
        for at in (0..header.saturating_sub(8)).step_by(7) {
            for value in [u64::MAX, i64::MAX as u64, 1 << 32, 1 << 40] {
                let mut damaged = bytes.clone();
                damaged[at..at + 8].copy_from_slice(&value.to_le_bytes());
                if let Err(error) = use_model(name, damaged) {
                    check_message(name, &error);
                }
            }
        }
    }
}

#[test]
fn damaged_weights_still_run() {
    let folder = tempfile::tempdir().unwrap();
    let mut random = Random::new(3);
    for name in ["rwkv7-2x256-Q4_K_M.gguf", "rwkv7-2x256-Q8_0.gguf"] {
        let bytes = std::fs::read(fixture(name)).unwrap();
        let header = header_len(&bytes);
        for _ in 0..6 {
            let mut damaged = bytes.clone();
            // NaNs and infinities among them.
            damaged[header..].iter_mut().for_each(|b| *b = random.bits() as u8);
            use_model(name, damaged).unwrap();
        }
    }
    drop(folder);
}

/// A file shortened while a model runs on it: an error on the next call, not a dead process.
#[cfg(unix)]
#[test]
fn a_file_shortened_under_a_running_model_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("running.gguf");
    std::fs::copy(fixture("rwkv7-2x256-Q8_0.gguf"), &path).unwrap();
    let model =
        Model::open_with(&path, &ModelOptions { device: "cpu".parse().unwrap(), ..ModelOptions::default() })
            .unwrap();
    let mut state = model.new_state().unwrap();
    let mut run =
        || model.forward(&mut [Sequence { state: &mut state, tokens: &[1], want: Want::LAST_LOGITS }]);
    run().unwrap();
    std::fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(70_000).unwrap();
    let error = run().unwrap_err().to_string();
    assert!(error.contains("running.gguf") && error.contains("shortened"), "{error}");
}

/// A file replaced by renaming: the running model goes on with the old one.
#[test]
fn a_file_replaced_under_a_running_model_is_harmless() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("running.gguf");
    std::fs::copy(fixture("rwkv7-2x256-Q8_0.gguf"), &path).unwrap();
    let model =
        Model::open_with(&path, &ModelOptions { device: "cpu".parse().unwrap(), ..ModelOptions::default() })
            .unwrap();
    let run = || {
        let mut state = model.new_state().unwrap();
        let sequence = Sequence { state: &mut state, tokens: &[1, 2, 3], want: Want::LAST_LOGITS };
        model.forward(&mut [sequence]).unwrap().remove(0).logits
    };
    let expected = run();
    let other = ModelFile::open(fixture("rwkv7-2x256-Q4_K_M.gguf")).unwrap();
    convert(&other, &path, &ConvertOptions::default(), &mut |_, _| true).unwrap();
    assert_eq!(run(), expected);
    assert_ne!(Model::open(&path).unwrap().fingerprint(), model.fingerprint());
}
