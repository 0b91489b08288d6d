//! `wingbeat pull`, `wingbeat models` and `--model hf:` against a hub on this machine.
#![cfg(feature = "hub")]

mod binary;
#[path = "../../wingbeat-hub/tests/server/mod.rs"]
mod server;

use binary::*;
use serde_json::Value;
use server::{COMMIT, Fault, REPO};
use std::fs;

/// A hub with a model that runs, and an empty cache.
struct Place {
    server: server::Hub,
    dir: tempfile::TempDir,
    bytes: Vec<u8>,
}

impl Place {
    fn new() -> Place {
        let bytes = fs::read(fixture(GGUF)).expect("the fixture");
        let files: [(&str, &[u8]); 3] =
            [("tiny-Q8_0.gguf", &bytes), ("tiny-Q4_0.gguf", b"GGUF"), ("a.json", b"{}")];
        Place { server: server::Hub::start(&files), dir: temp_dir(), bytes }
    }

    fn run_with(&self, args: &[&str], variables: &[(&str, &str)]) -> Run {
        let mut command = command(args);
        for name in
            ["HF_HUB_CACHE", "HF_TOKEN", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HUGGINGFACE_HUB_CACHE"]
        {
            command.env_remove(name);
        }
        command.env("HF_HOME", self.dir.path()).env("HF_ENDPOINT", self.server.endpoint());
        command.envs(variables.iter().copied());
        let output = command.output().expect("the binary starts");
        let err = String::from_utf8(output.stderr).expect("messages are UTF-8");
        Run { code: output.status.code(), out: output.stdout, err }
    }

    fn run(&self, args: &[&str]) -> Run {
        self.run_with(args, &[])
    }

    fn ok(&self, args: &[&str]) -> String {
        let run = self.run(args);
        assert_eq!((run.code, run.err.as_str()), (Some(0), ""), "{args:?}");
        String::from_utf8(run.out).expect("text")
    }

    fn json(&self, args: &[&str]) -> Value {
        serde_json::from_str(&self.ok(args)).expect("standard output is JSON")
    }
}

#[test]
fn what_is_pulled_is_listed_and_runs() {
    let place = Place::new();
    assert!(place.ok(&["models"]).starts_with("no models in "));
    place.server.set(|shared| shared.faults.push_back(Fault::Drop(10_000)));
    let path = place.ok(&["pull", REPO]);
    let path = path.strip_suffix('\n').expect("a line");
    assert!(fs::read(path).expect("the file") == place.bytes);
    let again = place.json(&["pull", "--json", "user/repo:q8_0"]);
    assert_eq!(keys(&again), ["repo", "file", "commit", "path", "bytes", "fetched_bytes"]);
    assert_eq!((&again["path"], &again["fetched_bytes"]), (&path.into(), &0.into()));

    let listed = place.json(&["models", "--json"]);
    assert_eq!(keys(&listed), ["cache", "models", "partial"]);
    let model = &listed["models"][0];
    assert_eq!(keys(model), ["repo", "file", "bytes", "version", "revisions", "commit", "path"]);
    assert_eq!(model["bytes"], place.bytes.len());
    assert_eq!((&model["version"], &model["revisions"][0]), (&"RWKV-7".into(), &"main".into()));
    let table = place.ok(&["models"]);
    assert!(table.lines().count() == 2 && table.contains(REPO) && table.contains(&COMMIT[..8]), "{table}");

    // The cache answers, nobody is asked.
    place.server.requests();
    let args = ["generate", "--device", "cpu", "-q", "--greedy", "-n", "5", "-m"];
    let generated = place.ok(&[&args[..], &["hf:user/repo", "Once"]].concat());
    assert_eq!(generated, place.ok(&[&args[..], &[path, "Once"]].concat()));
    assert_eq!(place.json(&["inspect", "--json", "hf:user/repo"])["architecture"], "RWKV-7");
    assert_eq!(place.json(&["tokenize", "--json", "-m", "hf:user/repo", "Once"])["count"], 2);
    assert_eq!(place.server.requests().len(), 0);
}

#[test]
fn a_model_that_is_named_is_fetched_first() {
    let place = Place::new();
    let offline = place.run_with(&["inspect", "hf:user/repo"], &[("HF_HUB_OFFLINE", "1")]);
    assert_fails(&offline, "HF_HUB_OFFLINE");
    let target = path(&place.dir, "out.gguf");
    place.ok(&["convert", "-q", "hf:user/repo:q8_0", &target]);
    assert_eq!(place.server.downloads().len(), 1);
    let offline = place.run_with(&["inspect", "--json", "hf:user/repo"], &[("HF_HUB_OFFLINE", "1")]);
    assert_eq!(offline.code, Some(0), "{}", offline.err);
    // A file that is no model is fetched as well, and refused as any other.
    assert_fails(&place.run(&["inspect", "hf:user/repo:q4_0"]), "tiny-Q4_0.gguf");
    let version = &place.json(&["models", "--json"])["models"][0]["version"];
    assert_eq!(*version, Value::Null);
}

#[test]
fn refusals_are_one_line() {
    let place = Place::new();
    for (args, what) in [
        (&["pull", "nothing"][..], "user/repo"),
        (&["pull", "user/repo:q6_k"], "tiny-Q8_0.gguf"),
        (&["pull", "user/other"], "404"),
        (&["generate", "-m", "hf:user", "x"], "user/repo"),
        (&["generate", "-m", "hf:user/other", "x"], "404"),
    ] {
        assert_fails(&place.run(args), what);
    }
    place.server.set(|shared| shared.faults.push_back(Fault::Flip));
    assert_fails(&place.run(&["pull", REPO]), "SHA-256");
    assert_fails(&place.run_with(&["pull", REPO], &[("HF_ENDPOINT", "nowhere")]), "HF_ENDPOINT");
    place.server.set(|shared| shared.token = Some("hf_x".to_owned()));
    assert_fails(&place.run(&["pull", REPO]), "HF_TOKEN");
    assert_eq!(place.run_with(&["pull", REPO], &[("HF_TOKEN", "hf_x")]).code, Some(0));
}

/// Ctrl-C leaves what has arrived, and says so.
#[cfg(unix)]
#[test]
fn an_interrupted_pull_goes_on() {
    let place = Place::new();
    place.server.set(|shared| shared.faults.push_back(Fault::Stall(50_000)));
    let mut command = command(&["pull", REPO]);
    command
        .env("HF_HOME", place.dir.path())
        .env("HF_ENDPOINT", place.server.endpoint())
        .env_remove("HF_HUB_CACHE");
    let child = command.spawn().expect("the binary starts");
    let incomplete = place
        .dir
        .path()
        .join("hub/models--user--repo/blobs")
        .join(format!("{}.incomplete", server::sha256(&place.bytes)));
    let kept = || fs::metadata(&incomplete).map_or(0, |found| found.len());
    for _ in 0..200 {
        if kept() == 50_000 {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let interrupted = std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status();
    assert!(interrupted.is_ok_and(|status| status.success()));
    let output = child.wait_with_output().expect("the binary ends");
    let err = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(130), "{err}");
    assert!(err.contains("50000 bytes that arrived are kept"), "{err}");
    place.server.requests();
    place.ok(&["pull", REPO]);
    assert_eq!(place.server.downloads()[0].range.as_deref(), Some("bytes=50000-"));
}
