//! The binary as people and scripts meet it: what it prints where, its exit codes, and files it reads and writes.
//!
//! Runs on the small random models of `tests/fixtures`; tests of the demo model are skipped where it is absent.

mod binary;

use binary::*;
use serde_json::Value;
use std::{
    io::Read,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};
use tempfile::TempDir;

#[test]
fn greedy_text_is_the_same_every_time() {
    let model = fixture(GGUF);
    let args = ["generate", "-m", &model, "--greedy", "-n", "40", "It was"];
    let first = run(&args);
    assert_eq!(first.code, Some(0), "{}", first.err);
    assert!(!first.out.is_empty());
    assert_eq!(first.err.lines().count(), 1, "a summary of one line: {}", first.err);
    assert!(first.err.contains("generated: 40 tokens"), "{}", first.err);
    assert_eq!(ok(&args), first.out);
    let quiet = run(&[&args[..], &["-q"]].concat());
    assert_eq!((quiet.out, quiet.err.as_str()), (first.out, ""));
}

#[test]
fn a_seed_repeats_a_run() {
    let model = fixture(GGUF);
    let base = ["generate", "-m", &model, "--json", "--ignore-eos", "-n", "30", "It was"];
    let first = json(&base);
    let expected = [
        "prompt_tokens",
        "generated_tokens",
        "text",
        "stop_reason",
        "stop",
        "prompt_tok_s",
        "gen_tok_s",
        "open_ms",
        "seed",
        "model",
    ];
    assert_eq!(keys(&first), expected);
    assert_eq!(first["prompt_tokens"], 4);
    assert_eq!(first["generated_tokens"], 30);
    assert_eq!(first["stop_reason"], "max_tokens");
    let seed = first["seed"].to_string();
    let again = json(&[&base[..], &["--seed", &seed]].concat());
    assert_eq!(again["text"], first["text"]);
    let other = json(&[&base[..], &["--seed", "1", "--preset", "creative"]].concat());
    assert_ne!(other["text"], first["text"]);
}

#[test]
fn a_prompt_comes_from_anywhere() {
    let (model, dir) = (fixture(GGUF), temp_dir());
    let file = path(&dir, "prompt");
    std::fs::write(&file, "It was\n").expect("written");
    let base = ["generate", "-m", &model, "--greedy", "-n", "10"];
    let expected = ok(&[&base[..], &["It was\n"]].concat());
    assert_eq!(ok(&[&base[..], &["--file", &file]].concat()), expected);
    assert_eq!(ok(&[&base[..], &["--file", "-"]].concat()), ok(&base), "empty standard input");
    assert_eq!(ok_with_input(&base, b"It was\n"), expected);
    let echoed = ok(&[&base[..], &["--echo", "It was\n"]].concat());
    assert_eq!(echoed, [b"It was\n", &expected[..]].concat());
    let empty = json(&[&base[..], &["--json", ""]].concat());
    assert_eq!(empty["prompt_tokens"], 1, "an empty prompt is the end of a document");
    let none = json(&["generate", "-m", &model, "--json", "-n", "0", "It was"]);
    assert_eq!((none["prompt_tokens"].as_u64(), none["generated_tokens"].as_u64()), (Some(4), Some(0)));
}

#[test]
fn a_saved_state_goes_on_as_if_never_left() {
    let (model, dir) = (fixture(GGUF), temp_dir());
    let (state, end) = (path(&dir, "a.state"), path(&dir, "b.state"));
    let base = ["generate", "-m", &model, "--greedy", "--precision", "exact"];
    assert!(ok(&[&base[..], &["-n", "0", "--save-state", &state, "It was"]].concat()).is_empty());
    let whole = ok(&[&base[..], &["-n", "20", "It was a dark"]].concat());
    let rest = ok(&[&base[..], &["-n", "20", "--state", &state, "--save-state", &end, " a dark"]].concat());
    assert_eq!(rest, whole);
    let inspected = json(&["inspect", "--json", &end]);
    assert_eq!(inspected["kind"], "state");
    assert_eq!(inspected["metadata"]["wingbeat.model.name"], "rwkv7-2x256");
    let without_prompt = run(&["generate", "-m", &model, "--state", &state]);
    assert_fails(&without_prompt, "--state needs a prompt");
}

#[test]
fn text_stops_before_the_stop() {
    let model = fixture(GGUF);
    let base = ["generate", "-m", &model, "--greedy", "-n", "40", "--json", "It was"];
    let whole = json(&base)["text"].as_str().expect("text").to_owned();
    let (stop_at, stop) =
        whole.char_indices().skip(8).find(|(_, c)| c.is_ascii_lowercase()).expect("a letter");
    let expected = whole.split(stop).next().expect("a beginning");
    assert!(expected.len() <= stop_at);
    let stopped = json(&[&base[..], &["--stop", &stop.to_string(), "--stop", r"\n\n\n\n"]].concat());
    assert_eq!(stopped["text"], expected);
    assert_eq!(
        (stopped["stop_reason"].as_str(), stopped["stop"].as_str()),
        (Some("stop_text"), Some(&*stop.to_string()))
    );
}

#[test]
fn tokens_round_trip() {
    let model = fixture(GGUF);
    let texts: [&[u8]; 4] =
        [b"", b"\xff\xff", "It was a dark night, caf\u{e9} \u{1f600}\r\n\0".as_bytes(), &[0xe2, 0x82]];
    let vocabularies = [["-m", &model], ["--vocab", "world"], ["--vocab", &fixture("demo-vocab.txt")]];
    for vocabulary in vocabularies {
        for text in texts {
            let args = [&["tokenize"], &vocabulary[..]].concat();
            let ids = ok_with_input(&args, text);
            assert!(ids.ends_with(b"\n") && ids.iter().filter(|b| **b == b'\n').count() == 1);
            assert_eq!(ok_with_input(&[&args[..], &["--decode"]].concat(), &ids), text);
            let count = ok_with_input(&[&args[..], &["--count"]].concat(), text);
            let n_ids = String::from_utf8_lossy(&ids).split_whitespace().count();
            assert_eq!(count, format!("{n_ids}\n").into_bytes());
        }
    }
    assert_eq!(ok(&["tokenize", "--vocab", "world", "The Eiffel tower"]), b"6699 304 25740 109 39990\n");
    let decoded = ok(&["tokenize", "--vocab", "world", "--decode", "6699,304 25740,\n109 39990"]);
    assert_eq!(decoded, b"The Eiffel tower");
    let tokens = json(&["tokenize", "--vocab", "world", "--json", "The Eiffel tower"]);
    assert_eq!(tokens.to_string(), r#"{"count":5,"tokens":[6699,304,25740,109,39990]}"#);
}

#[test]
fn inspect_says_what_a_file_is() {
    let found = json(&["inspect", "--json", &fixture(GGUF)]);
    let expected = [
        "file",
        "kind",
        "format",
        "format_version",
        "layout",
        "files",
        "size_bytes",
        "architecture",
        "name",
        "n_layers",
        "n_channels",
        "n_heads",
        "head_size",
        "n_ffn",
        "n_vocab",
        "low_ranks",
        "parameters",
        "state_bytes",
        "vocabulary",
        "chat_template",
        "note",
        "metadata",
        "totals",
        "tensors",
    ];
    assert_eq!(keys(&found), expected);
    assert_eq!(found["architecture"], "RWKV-7");
    assert_eq!(found["n_layers"], 2);
    assert_eq!(found["low_ranks"]["w"], 32);
    assert_eq!(found["state_bytes"], 4 * 2 * (2 * 256 + 256 * 64));
    assert_eq!(found["metadata"]["tokenizer.ggml.tokens"]["length"], 512);
    assert_eq!(found["size_bytes"], std::fs::metadata(fixture(GGUF)).expect("the fixture").len());
    let tensors = found["tensors"].as_array().expect("tensors");
    assert_eq!(keys(&tensors[0]), ["name", "type", "shape", "bytes"]);
    let text = String::from_utf8(ok(&["inspect", &fixture(SAFETENSORS)])).expect("UTF-8");
    assert!(text.contains("blocks.2.ffn.key.weight") && text.contains("w 8, a 12, v 20, g 36"), "{text}");
}

#[test]
fn a_file_that_is_no_model_is_listed() {
    let found = json(&["inspect", "--json", &fixture("rwkv7-1x64.expected.safetensors")]);
    assert_eq!(found["kind"], "other");
    assert!(found["note"].as_str().is_some_and(|note| note.contains("not an RWKV model")), "{found}");
    assert_eq!(found["n_layers"], Value::Null);
    assert_eq!(found["tensors"].as_array().map(Vec::len), Some(12));
}

#[test]
fn conversion_there_and_back_loses_nothing() {
    let dir = temp_dir();
    for name in ["rwkv7-1x64", "rwkv7-2x96-head32", "rwkv7-3x128-odd-ranks"] {
        let start = fixture(&format!("{name}.safetensors"));
        let (gguf, back) = (path(&dir, "there.gguf"), path(&dir, "back.st"));
        let result = String::from_utf8(ok(&["convert", &start, &gguf])).expect("UTF-8");
        assert!(result.lines().count() == 1 && result.contains("GGUF"), "{result}");
        ok(&["convert", &gguf, &back]);
        let dumps = [&start, &gguf, &back].map(|model| {
            let out = format!("{model}.dump").replace(&fixture(""), &path(&dir, ""));
            ok(&["dump", "-m", model, "--tokens", "1 2 3,5,8", "--out", &out]);
            out
        });
        let read = |file: &str| std::fs::read(file).expect("a dump");
        assert_eq!(read(&dumps[0]), read(&dumps[2]), "{name}");
        assert!(distance(&values(&dumps[1], "logits"), &values(&dumps[0], "logits")) < 1e-4, "{name}");
    }
}

#[test]
fn a_converted_model_takes_its_vocabulary_along() {
    let dir = temp_dir();
    let (st, gguf) = (path(&dir, "a.safetensors"), path(&dir, "a.gguf"));
    ok(&["convert", &fixture(GGUF), &st, "--type", "F16", "--name", "a name"]);
    ok(&["convert", &st, &gguf, "--type", "q8_0"]);
    let ids = ok(&["tokenize", "-m", &fixture(GGUF), "It was a dark night"]);
    assert_eq!(ok(&["tokenize", "-m", &st, "It was a dark night"]), ids);
    assert_eq!(ok(&["tokenize", "-m", &gguf, "It was a dark night"]), ids);
    assert_eq!(json(&["inspect", "--json", &gguf])["name"], "a name");
}

#[test]
fn perplexity_has_its_keys() {
    let dir = temp_dir();
    let text = path(&dir, "text.txt");
    std::fs::write(&text, "It was a dark and stormy night. ".repeat(20)).expect("written");
    let found = json(&["perplexity", "-m", &fixture(GGUF), "--json", &text]);
    let expected = ["tokens", "nats_per_token", "perplexity", "bits_per_byte", "bytes", "seconds"];
    assert_eq!(keys(&found), expected);
    assert_eq!(found["bytes"], 32 * 20);
    let number = |key: &str| found[key].as_f64().expect("a number");
    let per_byte = number("nats_per_token") * number("tokens") / number("bytes") / std::f64::consts::LN_2;
    assert!((number("bits_per_byte") - per_byte).abs() < 1e-9);
    assert!((number("perplexity") - number("nats_per_token").exp()).abs() < 1e-6);
}

#[test]
fn a_dump_is_what_the_model_should_say() {
    let dir = temp_dir();
    // Exact activations agree to rounding; the tolerance is the one that the fixtures were published with.
    for (name, ending) in [
        ("rwkv7-1x64", "safetensors"),
        ("rwkv7-2x96-head32", "safetensors"),
        ("rwkv7-3x128-odd-ranks", "safetensors"),
        ("rwkv7-2x256-Q8_0", "gguf"),
    ] {
        let (model, expected) =
            (fixture(&format!("{name}.{ending}")), fixture(&format!("{name}.expected.safetensors")));
        let tokens: Vec<String> = values(&expected, "1.tokens").iter().map(f32::to_string).collect();
        let (list, out) = (path(&dir, "tokens"), path(&dir, "out.safetensors"));
        std::fs::write(&list, tokens.join("\n")).expect("written");
        for chunk in ["40", "7", "1"] {
            ok(&[
                "dump",
                "-m",
                &model,
                "--precision",
                "exact",
                "--tokens-file",
                &list,
                "--chunk",
                chunk,
                "--out",
                &out,
            ]);
            assert_eq!(values(&out, "tokens"), values(&expected, "1.tokens"), "{name}");
            for tensor in ["logits", "hidden", "state.wkv", "state.att_shift", "state.ffn_shift"] {
                let far = distance(&values(&out, tensor), &values(&expected, &format!("1.{tensor}")));
                assert!(far < 1e-3, "{name}, chunks of {chunk}: {tensor} is {far} off");
            }
        }
    }
}

#[test]
fn a_reader_may_leave() {
    let model = fixture(GGUF);
    let mut child = command(&["generate", "-m", &model, "-n", "100000", "--ignore-eos", "It was"])
        .spawn()
        .expect("starts");
    let mut stdout = child.stdout.take().expect("stdout is piped");
    stdout.read_exact(&mut [0; 10]).expect("text");
    drop(stdout);
    let output = child.wait_with_output().expect("ends");
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    // Nobody listens to messages either.
    let mut child = command(&["generate", "-m", "absent.gguf", "It was"]).spawn().expect("starts");
    drop(child.stderr.take());
    assert_eq!(child.wait().expect("ends").code(), Some(1));
}

/// Ctrl-C is a request: the summary comes, and the shell's exit code.
#[cfg(unix)]
#[test]
fn an_interrupt_ends_cleanly() {
    let (model, dir) = (fixture(GGUF), temp_dir());
    let state = path(&dir, "a.state");
    let args =
        ["generate", "-m", &model, "-n", "100000000", "--ignore-eos", "--save-state", &state, "It was"];
    let mut child = command(&args).spawn().expect("starts");
    let mut stdout = child.stdout.take().expect("stdout is piped");
    stdout.read_exact(&mut [0; 10]).expect("text");
    let sent = Command::new("kill").args(["-INT", &child.id().to_string()]).status().expect("kill runs");
    assert!(sent.success());
    let mut rest = Vec::new();
    stdout.read_to_end(&mut rest).expect("the rest of the text");
    let output = child.wait_with_output().expect("ends");
    assert_eq!(output.status.code(), Some(130));
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(err.lines().count() == 1 && err.contains("interrupted"), "{err}");
    assert!(PathBuf::from(state).exists());
}

#[test]
fn chat_takes_lines_from_a_pipe() {
    let (model, dir) = (fixture(GGUF), temp_dir());
    let state = path(&dir, "chat.state");
    let script =
        format!("Hello\n/save {state}\n/reset\n/load {state}\n\n//x\n/think short\n/bogus\n/quit\nnever\n");
    let args = ["chat", "-m", &model, "--greedy", "-n", "12", "--system", "Be brief."];
    let first = run_with_input(&args, script.as_bytes());
    assert_eq!(first.code, Some(0), "{}", first.err);
    assert!(first.err.contains("unknown command `/bogus`") && first.err.contains("loaded"), "{}", first.err);
    assert!(Path::new(&state).exists());
    assert_eq!(run_with_input(&args, script.as_bytes()).out, first.out);
    // Saving and loading changes nothing.
    assert_eq!(ok_with_input(&args, b"Hello\n/x\n//x\n"), first.out);
    // The end of the input is the end.
    assert_eq!(run_with_input(&args, b"").out, b"");
}

#[test]
fn what_explains_itself() {
    let version = String::from_utf8(ok(&["--version"])).expect("UTF-8");
    assert_eq!(version, format!("wingbeat {}\n", env!("CARGO_PKG_VERSION")));
    assert!(String::from_utf8_lossy(&ok(&["--help"])).contains("Examples:"));
    assert!(String::from_utf8_lossy(&ok(&["completions", "bash"])).contains("perplexity"));
    assert!(String::from_utf8_lossy(&ok(&["man"])).starts_with(".ie"));
    assert!(String::from_utf8_lossy(&ok(&["man", "generate"])).contains("max"));
    assert!(String::from_utf8_lossy(&ok(&["devices"])).contains("scalar"));
}

#[test]
fn the_demo_model_is_there_without_a_flag() {
    if !has_demo() {
        return;
    }
    let found = json(&["generate", "--greedy", "-n", "4", "--json", "It was a dark and stormy"]);
    assert!(found["text"].as_str().is_some_and(|text| text.starts_with(" night")), "{found}");
    assert_eq!(json(&["inspect", "--json"])["n_vocab"], 8192);
    assert_eq!(ok_with_input(&["tokenize", "--decode"], &ok(&["tokenize", "stormy"])), b"stormy");
}

#[test]
fn wrong_input_is_named_on_one_line() {
    let dir = temp_dir();
    let (empty, cut, odd) = (path(&dir, "empty.gguf"), path(&dir, "cut.gguf"), path(&dir, "a\nb.gguf"));
    let (nowhere, target) = (path(&dir, "absent/out.gguf"), path(&dir, "out.gguf"));
    std::fs::write(&empty, "").expect("written");
    let bytes = std::fs::read(fixture(GGUF)).expect("the fixture");
    std::fs::write(&cut, &bytes[..bytes.len() / 2]).expect("written");
    let (model, plain, here) = (&*fixture(GGUF), &*fixture(SAFETENSORS), &*dir.path().display().to_string());
    let cases: &[(&[&str], &str)] = &[
        (&["generate", "-m", "absent.gguf", "x"], "absent.gguf"),
        (&["generate", "-m", &empty, "x"], "0 bytes"),
        (&["generate", "-m", &cut, "x"], "truncated"),
        (&["generate", "-m", &odd, "x"], "a\\nb.gguf"),
        (&["generate", "-m", plain, "x"], "no vocabulary"),
        (&["generate", "-m", model, "--file", "absent.txt"], "absent.txt"),
        (&["generate", "-m", model, "--file", here], here),
        (
            &["generate", "-m", model, "--temperature", "nan", "x"],
            "temperature: expected 0 to 100, found NaN",
        ),
        (&["generate", "-m", model, "--temperature", "-1", "x"], "found -1"),
        (&["generate", "-m", model, "--top-p", "1.5", "x"], "top_p"),
        (&["generate", "-m", model, "--greedy", "--temperature", "1", "x"], "--temperature"),
        (&["generate", "-m", model, "--threads", "0", "x"], "expected 1 to 1024"),
        (&["generate", "-m", model, "--threads", "1025", "x"], "expected 1 to 1024"),
        (&["generate", "-m", model, "--device", "abacus", "x"], "abacus"),
        (&["generate", "-m", model, "--logit-bias", "512=1", "x"], "token 512"),
        (&["generate", "-m", model, "--logit-bias", "5", "x"], "ID=VALUE"),
        (&["generate", "-m", model, "--stop", "", "x"], "--stop"),
        (&["generate", "-m", model, "--stop", "\\q", "x"], "\\q"),
        (&["generate", "-m", model, "--state", model, "x"], "not a Wingbeat state"),
        (&["generate", "-m", model, "--save-state", &nowhere, "x"], &nowhere),
        (&["generate", "-m", model, "--save-state", here, "x"], "directory"),
        (&["generate", "--no-such-flag"], "--no-such-flag"),
        (&["no-such-command"], "no-such-command"),
        (&["dump", "-m", model, "--tokens", "1,512", "--out", &target], "token 512 at position 1"),
        (&["dump", "-m", model, "--tokens", "", "--out", &target], "at least one token"),
        (&["dump", "-m", model, "--tokens", "1,x", "--out", &target], "`x`"),
        (&["dump", "-m", model, "--tokens", "1", "--out", &nowhere], &nowhere),
        (&["dump", "-m", model, "--tokens", "1", "--chunk", "0", "--out", &target], "--chunk"),
        (&["dump", "-m", model, "--out", &target], "--tokens"),
        (&["tokenize", "-m", model, "--decode", "512"], "id 512"),
        (&["tokenize", "-m", model, "--decode", "5 -1"], "`-1` (number 2"),
        (&["tokenize", "-m", plain, "x"], "no vocabulary"),
        (&["tokenize", "--vocab", "absent.txt", "x"], "absent.txt"),
        (&["tokenize", "--vocab", model, "x"], model),
        (&["convert", model, &target, "--type", "q9"], "f32, f16, bf16, q8_0"),
        (&["convert", model, &target, "--type", "iq4_xs"], "q8_0, q6_k, q5_k_m, q4_k_m"),
        (&["convert", model, &path(&dir, "out.bin")], ".safetensors"),
        (&["convert", model, &nowhere], &nowhere),
        (&["convert", "absent.gguf", &target], "absent.gguf"),
        (&["convert", plain, &target, "--vocab", &fixture("demo-vocab.txt")], "131"),
        (&["inspect", "absent.gguf"], "absent.gguf"),
        (&["inspect", &cut], "truncated"),
        (&["perplexity", "-m", model, "absent.txt"], "absent.txt"),
        (&["perplexity", "-m", model, &empty], "empty"),
        (&["man", "no-such-command"], "no-such-command"),
        (&["bench", "-m", "absent.gguf"], "absent.gguf"),
        (&["bench", "-m", model, "--only", "nothing"], "nothing"),
        (&["bench", "-m", model, "--batches", "0"], "expected 1 to 4096"),
        (&["bench", "-m", model, "--budget", "-1"], "--budget"),
        (&["bench", "-m", model, "--synthetic", "tiny"], "--synthetic"),
        (&["bench", "-m", model, "--zeros", "0.9"], "--zeros"),
        (&["bench", "--seed", "1"], "--synthetic"),
        (&["bench", "--synthetic", "3b"], "0.1b, 0.4b"),
        (&["bench", "--synthetic", "tiny", "--zeros", "0.4"], "0.5 to 0.99"),
        (&["bench", "--synthetic", "tiny", "--type", "iq4_xs"], "q8_0, q6_k, q5_k_m, q4_k_m"),
        (&["bench", "--synthetic", "tiny", "--only", "none"], "--write"),
        (&["bench", "--synthetic", "tiny", "--write", &path(&dir, "out.bin")], ".safetensors"),
        (&["bench", "--synthetic", "tiny", "--type", "q8_0", "--write", &path(&dir, "q.st")], "Q8_0"),
        (&["bench", "--synthetic", "tiny", "--write", &nowhere], &nowhere),
        (&["bench", "--json", "--csv"], "--csv"),
    ];
    for (args, what) in cases {
        assert_fails(&run(args), what);
    }
    assert!(!Path::new(&target).exists(), "nothing is left of what failed");
    assert_eq!(std::fs::read_dir(dir.path()).expect("readable").count(), 2, "no temporary files either");
}

/// A file system of a megabyte, mounted for the test where that is permitted.
#[cfg(target_os = "linux")]
struct SmallDisk(TempDir);

#[cfg(target_os = "linux")]
impl SmallDisk {
    fn mount() -> Option<SmallDisk> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"])
            .arg(folder.path())
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success());
        mounted.then(|| SmallDisk(folder))
    }
}

#[cfg(target_os = "linux")]
impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0.path()).status();
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_an_error_and_leaves_nothing() {
    let Some(disk) = SmallDisk::mount() else {
        return println!("skipped: no permission to mount a small file system");
    };
    let at = |name: &str| disk.0.path().join(name).display().to_string();
    // 2.4 MB into one.
    for target in [at("copy.gguf"), at("copy.safetensors")] {
        let run = run(&["convert", &fixture(GGUF), &target, "--type", "f16"]);
        assert_eq!(run.code, Some(1), "{}", run.err);
        assert!(run.err.contains("copy.") && run.err.contains("space"), "{}", run.err);
        assert_eq!(run.err.lines().count(), 1, "{}", run.err);
    }
    // Ten states of 132 kB each.
    let texts = b"a\nb\nc\nd\ne\nf\ng\nh\ni\nj";
    for target in [at("copy.npy"), at("copy.jsonl"), at("copy.safetensors")] {
        let model = fixture(GGUF);
        let run = run_with_input(&["embed", "-q", "-m", &model, "--of", "state", "-o", &target], texts);
        assert_eq!(run.code, Some(1), "{}", run.err);
        assert!(run.err.contains("copy.") && run.err.contains("space"), "{}", run.err);
        assert_eq!(run.err.lines().count(), 1, "{}", run.err);
    }
    std::fs::write(at("filler"), vec![1; 1 << 19]).expect("room for half a megabyte");
    std::fs::write(at("filler2"), vec![1; 450 << 10]).expect("room for a bit more");
    let run = run(&["generate", "-m", &fixture(GGUF), "-n", "1", "--save-state", &at("a.state"), "the"]);
    assert_eq!(run.code, Some(1), "{}", run.err);
    assert!(run.err.contains("a.state"), "{}", run.err);
    let mut left: Vec<_> = std::fs::read_dir(disk.0.path())
        .expect("a folder")
        .map(|entry| entry.expect("an entry").file_name().into_string().expect("UTF-8"))
        .collect();
    left.sort();
    assert_eq!(left, ["filler", "filler2"]);
}

#[test]
fn several_processes_run_one_model_at_once() {
    let args = ["generate", "-m", &fixture(GGUF), "--greedy", "-n", "40", "-q", "the"];
    let alone = run(&args).out;
    let children: Vec<_> = (0..4).map(|_| command(&args).spawn().expect("the binary starts")).collect();
    for child in children {
        let output = child.wait_with_output().expect("the binary ends");
        assert_eq!(output.status.code(), Some(0));
        assert_eq!(output.stdout, alone);
    }
}

/// Trailing bytes belong to no tensor and hurt nobody.
#[test]
fn padded_files_open() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for name in [GGUF, SAFETENSORS] {
        let path = folder.path().join(name);
        let mut bytes = std::fs::read(fixture(name)).expect("a fixture");
        bytes.extend([0; 4096]);
        std::fs::write(&path, bytes).expect("room for a copy");
        let run = run(&["inspect", &path.display().to_string()]);
        assert_eq!((run.code, run.err.as_str()), (Some(0), ""), "{name}");
    }
}
