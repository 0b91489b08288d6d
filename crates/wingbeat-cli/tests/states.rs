//! `wingbeat state` and `wingbeat fields`: what a state goes on as, and that fields are answered as if each were alone.

mod binary;

use binary::*;
use serde_json::Value;
use std::path::Path;

const DOCUMENT: &str = "It was a dark and stormy night; the rain fell in torrents.\nHe said nothing.";

/// A document's file, and its state's.
struct Read {
    dir: tempfile::TempDir,
    model: String,
    document: String,
    state: String,
}

fn read_document() -> Read {
    let dir = temp_dir();
    let (document, state) = (path(&dir, "doc.txt"), path(&dir, "doc.state"));
    std::fs::write(&document, DOCUMENT).expect("written");
    let read = Read { dir, model: fixture(GGUF), document, state };
    assert!(read.ok(&["state", "-o", &read.state, &read.document]).is_empty());
    read
}

impl Read {
    /// With the model, on the CPU, and as exact as it gets.
    fn args<'a>(&'a self, args: &[&'a str]) -> Vec<&'a str> {
        let model = ["-m", &self.model, "--device", "cpu", "--precision", "exact", "-q"];
        [&args[..1], &model, &args[1..]].concat()
    }

    fn ok(&self, args: &[&str]) -> Vec<u8> {
        ok(&self.args(args))
    }

    fn json(&self, args: &[&str]) -> Value {
        json(&self.args(args))
    }

    fn path(&self, name: &str) -> String {
        path(&self.dir, name)
    }
}

fn slabs(state: &str) -> Vec<f32> {
    ["att_shift", "wkv", "ffn_shift"].iter().flat_map(|slab| values(state, slab)).collect()
}

#[test]
fn a_state_is_that_of_its_text() {
    let read = read_document();
    let inspected = json(&["inspect", "--json", &read.state]);
    assert_eq!(inspected["kind"], "state");
    let generated = read.path("generated.state");
    read.ok(&["generate", "-n", "0", "--file", &read.document, "--save-state", &generated]);
    assert!(distance(&slabs(&read.state), &slabs(&generated)) < 1e-5);
    let tokens = inspected["metadata"]["wingbeat.state.tokens"].clone();
    assert_eq!(json(&["inspect", "--json", &generated])["metadata"]["wingbeat.state.tokens"], tokens);

    let found = read.json(&["state", &read.document, "-o", &read.path("again.state"), "--json"]);
    assert_eq!(keys(&found), ["model", "file", "tokens", "total_tokens", "seconds", "tok_s", "bytes"]);
    assert_eq!(found["tokens"].to_string(), tokens.as_str().expect("a number"));
    assert_eq!(found["tokens"], found["total_tokens"]);
    let bytes = std::fs::read(read.path("again.state")).expect("written");
    assert_eq!(found["bytes"], bytes.len());
    assert_eq!(bytes, std::fs::read(&read.state).expect("written"), "the same text, the same file");
}

#[test]
fn a_state_goes_on() {
    let read = read_document();
    let (rest, whole) = (read.path("rest.txt"), read.path("whole.txt"));
    std::fs::write(&rest, "\nThe end.").expect("written");
    std::fs::write(&whole, format!("{DOCUMENT}\nThe end.")).expect("written");
    let (both, at_once) = (read.path("both.state"), read.path("whole.state"));
    let found = read.json(&["state", &rest, "--state", &read.state, "-o", &both, "--json"]);
    assert!(found["total_tokens"].as_u64() > found["tokens"].as_u64());
    read.ok(&["state", &whole, "-o", &at_once]);
    assert!(distance(&slabs(&both), &slabs(&at_once)) < 1e-5);
    let piped = read.path("piped.state");
    ok_with_input(&read.args(&["state", "-", "-o", &piped]), DOCUMENT.as_bytes());
    assert_eq!(std::fs::read(piped).expect("written"), std::fs::read(&read.state).expect("written"));
    // A state may take its own place.
    read.ok(&["state", &rest, "--state", &read.state, "-o", &read.state]);
    assert_eq!(std::fs::read(&read.state).expect("written"), std::fs::read(&both).expect("written"));
}

#[test]
fn fields_are_answered_as_if_each_were_alone() {
    let read = read_document();
    let names = ["Sender:", "The night was", "He said", "x"];
    let fields: Vec<&str> = names.iter().flat_map(|name| ["--field", name]).collect();
    let base = ["fields", "--state", &read.state, "--json"];
    for (sampler, flags) in [(&["--greedy"][..], &[][..]), (&[], &["--temperature", "1", "--seed", "11"])] {
        let found = read.json(&[&base[..], &fields, flags].concat());
        let answers = found["fields"].as_array().expect("fields");
        assert_eq!(answers.len(), names.len());
        for (i, (name, found)) in names.iter().zip(answers).enumerate() {
            assert_eq!(keys(found), ["field", "answer", "text", "tokens", "stop_reason", "stop"]);
            let prompt = format!("\n\n{name}");
            let seed = (11 + i).to_string();
            let alone = ["generate", "--state", &read.state, "--json", "--stop", r"\n", "-n", "32"];
            let sampler = match flags {
                [] => sampler.to_vec(),
                _ => vec!["--temperature", "1", "--seed", &seed],
            };
            // The sampler of fields starts from greedy's other settings, which are the default's.
            let alone = read.json(&[&alone[..], &sampler, &[&prompt]].concat());
            assert_eq!(found["text"], alone["text"], "{name}");
            assert_eq!(found["tokens"], alone["generated_tokens"], "{name}");
            assert_eq!(found["stop_reason"], alone["stop_reason"], "{name}");
            assert_eq!(found["answer"], alone["text"].as_str().expect("text").trim());
        }
    }
}

#[test]
fn a_document_is_read_once_and_kept() {
    let read = read_document();
    let saved = read.path("saved.state");
    let fields = ["--field", "Sender:", "--field", "He said"];
    let found =
        read.json(&[&["fields", &read.document, "--save-state", &saved, "--json"], &fields[..]].concat());
    let expected = [
        "model",
        "document",
        "document_tokens",
        "state_tokens",
        "read_seconds",
        "answer_seconds",
        "seed",
        "fields",
    ];
    assert_eq!(keys(&found), expected);
    assert_eq!(found["document_tokens"], found["state_tokens"]);
    assert_eq!(found["document"], read.document.as_str());
    assert_eq!(std::fs::read(&saved).expect("saved"), std::fs::read(&read.state).expect("written"));
    let again = read.json(&[&["fields", "--state", &saved, "--json"], &fields[..]].concat());
    assert_eq!(again["fields"], found["fields"]);
    assert_eq!((&again["document"], &again["document_tokens"]), (&Value::Null, &Value::from(0)));
    // From a file, with a template that says the same.
    let list = read.path("fields.txt");
    std::fs::write(&list, "Sender:\r\n\nHe said\n").expect("written");
    let listed = ["fields", "--state", &saved, "--json", "--fields", &list, "--template", r"\n\n{field}"];
    assert_eq!(read.json(&listed)["fields"], found["fields"]);
    let table = String::from_utf8(read.ok(&[&["fields", "--state", &saved], &fields[..]].concat()));
    let table = table.expect("UTF-8");
    assert_eq!(table.lines().count(), 2);
    assert!(table.starts_with("Sender:  "), "{table}");
    let csv = read.ok(&[&["fields", "--state", &saved, "--csv"], &fields[..]].concat());
    let csv = String::from_utf8(csv).expect("UTF-8");
    assert!(csv.starts_with("field,answer\nSender:,"), "{csv}");
}

#[test]
fn choices_have_their_likelihoods() {
    let read = read_document();
    let base = ["fields", "--state", &read.state, "--field", "He", "--field", "Who?"];
    let choices = ["--choices", "was, said nothing", "--choice", r"\n"];
    let found = read.json(&[&base[..], &choices, &["--json"]].concat());
    let fields = found["fields"].as_array().expect("fields");
    for field in fields {
        assert_eq!(keys(field), ["field", "best", "choices"]);
        let choices = field["choices"].as_array().expect("choices");
        assert_eq!(keys(&choices[0]), ["choice", "text", "share", "nats", "tokens"]);
        let texts: Vec<&str> = choices.iter().map(|choice| choice["text"].as_str().expect("text")).collect();
        assert_eq!(texts, [" was", " said nothing", "\n"]);
        let number = |key: &str| -> Vec<f64> {
            choices.iter().map(|choice| choice[key].as_f64().expect("a number")).collect()
        };
        let (shares, nats) = (number("share"), number("nats"));
        assert!((shares.iter().sum::<f64>() - 1.0).abs() < 1e-9 && nats.iter().all(|nats| *nats < 0.0));
        assert!((shares[0] / shares[2] - (nats[0] - nats[2]).exp()).abs() < 1e-6 * (nats[0] - nats[2]).exp());
        let best = nats.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let best = nats.iter().position(|nats| *nats == best).expect("there is one");
        assert_eq!(field["best"], choices[best]["choice"]);
    }
    // ln p of one token by the logits of a dump.
    let prompt = format!("{DOCUMENT}\n\nHe");
    let ids = |text: &str| String::from_utf8(ok(&["tokenize", "-m", &read.model, text])).expect("ids");
    let tokens = format!("{} {}", ids(DOCUMENT).trim(), ids("\n\nHe").trim());
    assert!(prompt.ends_with("He"));
    let out = read.path("dump.safetensors");
    read.ok(&["dump", "--tokens", &tokens, "--out", &out]);
    let logits = values(&out, "logits");
    let last: Vec<f64> = logits[logits.len() - 512..].iter().map(|x| f64::from(*x)).collect();
    let most = last.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let all = last.iter().map(|x| (x - most).exp()).sum::<f64>().ln() + most;
    let token: usize = ids("\n").trim().parse().expect("one token");
    let nats = fields[0]["choices"][2]["nats"].as_f64().expect("a number");
    assert!((nats - (last[token] - all)).abs() < 1e-4, "{nats}, expected {}", last[token] - all);

    let table = String::from_utf8(read.ok(&[&base[..], &choices].concat())).expect("UTF-8");
    assert_eq!(table.lines().count(), 6, "{table}");
    assert_eq!(table.matches('*').count(), 2, "{table}");
    let csv = String::from_utf8(read.ok(&[&base[..], &choices, &["--csv"]].concat())).expect("UTF-8");
    assert!(csv.starts_with("field,choice,share,nats,tokens,best\nHe,was,0."), "{csv}");
}

#[test]
fn fields_have_vectors() {
    let read = read_document();
    let out = read.path("fields.safetensors");
    let fields = ["--field", "Sender:", "--field", "He said", "-n", "1"];
    read.ok(&[&["fields", "--state", &read.state, "--embeddings", &out], &fields[..]].concat());
    let found = values(&out, "embeddings");
    let ids = |text: &str| String::from_utf8(ok(&["tokenize", "-m", &read.model, text])).expect("ids");
    for (row, name) in found.chunks_exact(256).zip(["Sender:", "He said"]) {
        let tokens = format!("{} {}", ids(DOCUMENT).trim(), ids(&format!("\n\n{name}")).trim());
        let dump = read.path("dump.safetensors");
        read.ok(&["dump", "--tokens", &tokens, "--out", &dump]);
        let hidden = values(&dump, "hidden");
        assert!(distance(row, &hidden[hidden.len() - 256..]) < 1e-5, "{name}");
    }
    let file = wingbeat::ModelFile::open(&out).expect("safetensors");
    assert_eq!(file.metadata().str("wingbeat.embeddings.names"), Some(r#"["Sender:","He said"]"#));
    let similar = run(&["similar", "-m", &read.model, "x", "--in", &out]);
    assert_fails(&similar, "has answers to fields of a document, which no query can be embedded as");
}

#[test]
fn wrong_input_is_named_on_one_line() {
    let read = read_document();
    let write = |name: &str, bytes: &[u8]| {
        let path = read.path(name);
        std::fs::write(&path, bytes).expect("written");
        path
    };
    let empty = write("empty.txt", b"");
    let blank = write("blank.txt", b"\n\n");
    let bytes = std::fs::read(&read.state).expect("written");
    let cut = write("cut.state", &bytes[..bytes.len() - 1]);
    let latin = write("latin.txt", b"Sender:\n\xe9\n");
    let other = read.path("other.gguf");
    ok(&["convert", &read.model, &other, "--type", "f16", "-q"]);
    let foreign = read.path("foreign.state");
    ok(&["state", "-m", &other, "-q", &read.document, "-o", &foreign]);
    let left_before = std::fs::read_dir(read.dir.path()).expect("readable").count();
    let (nowhere, target) = (read.path("absent/a.state"), read.path("target.state"));
    let here = &*read.dir.path().display().to_string();
    let (doc, state, model) = (&*read.document, &*read.state, &*read.model);
    let cases: &[(&[&str], &str)] = &[
        (&["state", &empty, "-o", &target], "empty.txt: the document is empty"),
        (&["state", "-", "-o", &target], "-: the document is empty"),
        (&["state", "absent.txt", "-o", &target], "absent.txt"),
        (&["state", doc], "--out"),
        (&["state", doc, "-o", &nowhere], &nowhere),
        (&["state", doc, "-o", here], "directory"),
        (&["state", doc, "-o", &target, "--state", &cut], "truncated"),
        (&["state", doc, "-o", &target, "--state", &foreign], "is a state of `rwkv7-2x256`"),
        (&["state", doc, "-o", &target, "--state", model], "not a Wingbeat state"),
        (&["fields", doc], "--field"),
        (&["fields", "--field", "x"], "DOC"),
        (&["fields", &empty, "--field", "x"], "empty.txt: the document is empty"),
        (&["fields", doc, "--field", ""], "--field"),
        (&["fields", doc, "--fields", "absent.txt"], "absent.txt"),
        (&["fields", doc, "--fields", &blank], "at least one field"),
        (&["fields", doc, "--fields", &latin], "latin.txt: line 2: expected UTF-8"),
        (&["fields", "-", "--fields", "-"], "both the document and the fields"),
        (&["fields", doc, "--field", "x", "--template", "x"], "{field}"),
        (&["fields", doc, "--field", "x", "--max-tokens", "0"], "--max-tokens"),
        (&["fields", doc, "--field", "x", "--choices", "yes"], "at least two, found one: \"yes\""),
        (&["fields", doc, "--field", "x", "--choices", "yes,,no"], "found an empty one"),
        (&["fields", doc, "--field", "x", "--choice", ""], "--choice"),
        (&["fields", doc, "--field", "x", "--choices", "a,b", "--stop", "x"], "--stop"),
        (&["fields", doc, "--field", "x", "--json", "--csv"], "--csv"),
        (&["fields", doc, "--field", "x", "--embeddings", "-"], "--embeddings"),
        (&["fields", doc, "--field", "x", "--embeddings", &read.path("a.bin")], ".npy"),
        (&["fields", doc, "--field", "x", "--save-state", &nowhere], &nowhere),
        (&["fields", doc, "--field", "x", "--temperature", "nan"], "temperature"),
        (&["fields", "--state", &cut, "--field", "x"], "truncated"),
        (&["fields", "--state", &foreign, "--field", "x"], "is a state of"),
        (&["fields", "--state", state, "--field", "x", "-m", "absent.gguf"], "absent.gguf"),
    ];
    for (args, what) in cases {
        let model: &[&str] = if args.contains(&"-m") { &[] } else { &["-m", model] };
        assert_fails(&run(&[args, model].concat()), what);
    }
    assert!(!Path::new(&target).exists(), "nothing is left of what failed");
    assert_eq!(std::fs::read_dir(read.dir.path()).expect("readable").count(), left_before);
}

/// Ctrl-C while the document is read: exit code 130, no state, nothing printed.
#[cfg(unix)]
#[test]
fn an_interrupt_leaves_nothing() {
    use std::{process::Command, time::Duration};
    let read = read_document();
    let long = read.path("long.txt");
    std::fs::write(&long, DOCUMENT.repeat(200_000)).expect("written");
    let out = read.path("out.state");
    for args in [&["state", &long, "-o", &out][..], &["fields", &long, "--field", "x", "--save-state", &out]]
    {
        let child = command(&read.args(args)).spawn().expect("starts");
        // Whether it is reading yet does not matter: it cannot be done, and there is nothing to be left.
        std::thread::sleep(Duration::from_millis(700));
        let sent = Command::new("kill").args(["-INT", &child.id().to_string()]).status();
        assert!(sent.expect("kill runs").success());
        let output = child.wait_with_output().expect("ends");
        // Before it heeds Ctrl-C, the signal ends it as it ends any program.
        use std::os::unix::process::ExitStatusExt;
        assert!(
            output.status.code() == Some(130) || output.status.signal() == Some(2),
            "{:?}",
            output.status
        );
        assert!(output.stdout.is_empty() && output.stderr.is_empty());
        assert!(!Path::new(&out).exists());
    }
}
