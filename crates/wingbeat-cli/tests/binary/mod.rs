//! How the tests run the binary, and what they look at.
// Each test program uses some of it.
#![allow(dead_code, unreachable_pub)]

use serde_json::Value;
use std::{
    io::Write,
    path::Path,
    process::{Command, Stdio},
};
use tempfile::TempDir;
use wingbeat::ModelFile;

/// A GGUF with a vocabulary of 512.
pub const GGUF: &str = "rwkv7-2x256-Q8_0.gguf";
/// Official names, F32, no vocabulary.
pub const SAFETENSORS: &str = "rwkv7-3x128-odd-ranks.safetensors";

pub fn fixture(name: &str) -> String {
    format!("{}/../../tests/fixtures/{name}", env!("CARGO_MANIFEST_DIR"))
}

pub fn has_demo() -> bool {
    let asset = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../assets/wingbeat-demo-26m-q8_0.gguf");
    let present = cfg!(feature = "demo") || asset.exists();
    if !present {
        println!("skipped: there is no demo model");
    }
    present
}

/// What a run left.
pub struct Run {
    pub code: Option<i32>,
    pub out: Vec<u8>,
    pub err: String,
}

pub fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wingbeat"));
    command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

pub fn run(args: &[&str]) -> Run {
    let output = command(args).output().expect("the binary starts");
    let err = String::from_utf8(output.stderr).expect("messages are UTF-8");
    Run { code: output.status.code(), out: output.stdout, err }
}

pub fn run_with_input(args: &[&str], input: &[u8]) -> Run {
    let mut child = command(args).stdin(Stdio::piped()).spawn().expect("the binary starts");
    let mut stdin = child.stdin.take().expect("stdin is piped");
    let input = input.to_vec();
    let writer = std::thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output().expect("the binary ends");
    writer.join().expect("the writer does not panic").expect("the binary reads all of its input");
    let err = String::from_utf8(output.stderr).expect("messages are UTF-8");
    Run { code: output.status.code(), out: output.stdout, err }
}

/// Runs what must succeed and returns standard output.
pub fn ok(args: &[&str]) -> Vec<u8> {
    let run = run(args);
    assert_eq!(run.code, Some(0), "{args:?}: {}", run.err);
    run.out
}

pub fn ok_with_input(args: &[&str], input: &[u8]) -> Vec<u8> {
    let run = run_with_input(args, input);
    assert_eq!(run.code, Some(0), "{args:?}: {}", run.err);
    run.out
}

pub fn json(args: &[&str]) -> Value {
    serde_json::from_slice(&ok(args)).expect("standard output is JSON")
}

pub fn keys(value: &Value) -> Vec<&str> {
    value.as_object().expect("an object").keys().map(String::as_str).collect()
}

pub fn path(dir: &TempDir, name: &str) -> String {
    dir.path().join(name).display().to_string()
}

pub fn temp_dir() -> TempDir {
    tempfile::tempdir().expect("a temporary directory")
}

/// Values of a tensor in a safetensors file.
pub fn values(file: &str, tensor: &str) -> Vec<f32> {
    let file = ModelFile::open(file).expect("a safetensors file");
    file.tensor(tensor).unwrap_or_else(|| panic!("tensor {tensor}")).to_f32()
}

/// Largest difference, in units of the expected values' standard deviation.
pub fn distance(found: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(found.len(), expected.len());
    let n = expected.len() as f32;
    let mean = expected.iter().sum::<f32>() / n;
    let deviation = (expected.iter().map(|x| (x - mean).powi(2)).sum::<f32>() / n).sqrt();
    let largest = found.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    largest / deviation
}

/// An error: exit code 1 or 2, nothing on standard output, one line that says `what`.
pub fn assert_fails(run: &Run, what: &str) {
    assert!(matches!(run.code, Some(1 | 2)), "{:?}: {}", run.code, run.err);
    assert!(run.out.is_empty(), "{:?}", run.out);
    assert_eq!(run.err.lines().count(), 1, "{}", run.err);
    assert!(run.err.starts_with("error: ") && run.err.contains(what), "{what}: {}", run.err);
}
