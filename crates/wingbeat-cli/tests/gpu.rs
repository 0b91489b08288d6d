//! The binary on a GPU. Where there is no adapter the tests say so and pass, unless `WINGBEAT_GPU_REQUIRED` is set.

mod binary;

use binary::*;
use serde_json::Value;

/// Whether there is an adapter.
fn has_gpu() -> bool {
    let found = json(&["devices", "--json"]);
    let present = found["gpus"].as_array().is_some_and(|gpus| !gpus.is_empty());
    if !present {
        assert!(std::env::var_os("WINGBEAT_GPU_REQUIRED").is_none(), "no adapter, but one is required");
        println!("skipped: this machine has no adapter");
    }
    present
}

/// Whether the first adapter can be profiled.
fn has_timestamps() -> bool {
    json(&["devices", "--json"])["gpus"][0]["timestamps"] == Value::Bool(true)
}

#[test]
fn devices_are_listed() {
    let found = json(&["devices", "--json"]);
    assert_eq!(keys(&found), ["cpu", "gpus", "auto"]);
    let text = String::from_utf8(ok(&["devices"])).expect("UTF-8");
    assert!(text.starts_with("cpu ") && text.contains("\nreference ") && text.contains("\nauto "), "{text}");
    for (number, gpu) in found["gpus"].as_array().expect("a list").iter().enumerate() {
        assert_eq!(gpu["device"], format!("gpu:{number}"));
        let name = gpu["name"].as_str().expect("a name");
        assert!(text.contains(&format!("gpu:{number}      {name} (")), "{text}");
    }
    assert!(has_gpu() || text.contains("none found"), "{text}");
}

#[test]
fn no_desktop_is_needed() {
    let output = command(&["devices"]).env_remove("XDG_RUNTIME_DIR").output().expect("the binary starts");
    assert_eq!((output.status.code(), String::from_utf8_lossy(&output.stderr)), (Some(0), "".into()));
}

#[test]
fn a_gpu_says_what_the_cpu_says() {
    if !has_gpu() {
        return;
    }
    let (model, dir) = (fixture(GGUF), temp_dir());
    let name = json(&["devices", "--json"])["gpus"][0]["name"].as_str().expect("a name").to_owned();
    let text = |device: &str| {
        let precision = ["--precision", "exact", "--device", device];
        ok(&[&["generate", "-m", &model, "--greedy", "-n", "12", "-q", "It was"], &precision[..]].concat())
    };
    let on_cpu = text("cpu");
    for device in ["gpu", "gpu:0", &name, &name.to_uppercase()] {
        assert_eq!(text(device), on_cpu, "{device}");
    }
    let dump = |device: &str| {
        let out = path(&dir, &device.replace(':', ""));
        ok(&[
            "dump",
            "-m",
            &model,
            "--precision",
            "exact",
            "--tokens",
            "1 2 3 4",
            "--device",
            device,
            "-o",
            &out,
        ]);
        ["logits", "hidden", "state.wkv", "state.att_shift", "state.ffn_shift"].map(|name| values(&out, name))
    };
    for (found, expected) in dump("gpu").iter().zip(&dump("cpu")) {
        assert!(distance(found, expected) < 1e-3);
    }
    let file = path(&dir, "text.txt");
    std::fs::write(&file, "It was a dark and stormy night. ".repeat(20)).expect("written");
    let perplexity = |device: &str| {
        let args = ["perplexity", "-m", &model, "--precision", "exact", "--json", &file, "--device", device];
        json(&args)["nats_per_token"].as_f64().expect("a number")
    };
    assert!((perplexity("gpu") - perplexity("cpu")).abs() < 1e-3);
    let chat = |device: &str| {
        let args = ["chat", "-m", &model, "--greedy", "-n", "8", "--precision", "exact", "--device", device];
        ok_with_input(&args, b"Hello\n")
    };
    assert_eq!(chat("gpu"), chat("cpu"));
}

#[test]
fn states_go_from_one_device_to_the_other() {
    if !has_gpu() {
        return;
    }
    let (model, dir) = (fixture(GGUF), temp_dir());
    let state = path(&dir, "a.state");
    let base = ["generate", "-m", &model, "--greedy", "--precision", "exact", "-q"];
    let whole = ok(&[&base[..], &["-n", "10", "--device", "cpu", "It was a dark"]].concat());
    for (first, second) in [("cpu", "gpu"), ("gpu", "cpu")] {
        ok(&[&base[..], &["-n", "0", "--device", first, "--save-state", &state, "It was"]].concat());
        let rest = ["-n", "10", "--device", second, "--state", &state, " a dark"];
        assert_eq!(ok(&[&base[..], &rest].concat()), whole, "{first} to {second}");
    }
}

#[test]
fn bench_measures_a_gpu() {
    if !has_gpu() {
        return;
    }
    let model = fixture(GGUF);
    let what = ["--budget", "0", "--only", "gen,par,state,bandwidth", "--batches", "9"];
    let found = json(&[&["bench", "-m", &model, "--device", "gpu", "--json"], &what[..]].concat());
    assert!(found["device"].as_str().is_some_and(|device| device.starts_with("GPU ")), "{found}");
    assert!(found["driver"].as_str().is_some_and(|driver| !driver.is_empty()), "{found}");
    let rates = ["gen_tok_s", "gen_logits_tok_s", "par9_tok_s", "par9_logits_tok_s"];
    let others = ["doc_state_ms", "read_gb_s", "multiply_tops", "gen_bandwidth_fraction"];
    let bounds = ["gen_tok_s", "gen_logits_tok_s", "par9_tok_s", "doc_state_ms"];
    let bounds = bounds.map(|key| format!("{key}_bound_fraction"));
    for key in rates.into_iter().chain(others).chain(bounds.iter().map(String::as_str)) {
        assert!(found[key].as_f64().is_some_and(|value| value > 0.0), "{key}: {}", found[key]);
    }
}

#[test]
fn a_profile_lists_the_kernels() {
    let model = fixture(GGUF);
    let base = ["generate", "-m", &model, "--greedy", "-n", "4", "-q", "--profile", "It was", "--device"];
    assert_fails(&run(&[&base[..], &["cpu"]].concat()), "--profile: CPU");
    if !has_gpu() {
        return;
    }
    if !has_timestamps() {
        return println!("skipped: the adapter has no time stamps");
    }
    let profiled = run(&[&base[..], &["gpu"]].concat());
    assert_eq!(profiled.code, Some(0), "{}", profiled.err);
    let lines: Vec<&str> = profiled.err.lines().collect();
    assert!(lines[0].starts_with("kernel") && lines[0].ends_with("TFLOP/s"), "{}", profiled.err);
    let has = |start: &str| lines.iter().any(|line| line.starts_with(start));
    assert!(has("linear") && has("embed") && has("all") && has("reads"), "{}", profiled.err);
}

#[test]
fn a_gpu_that_is_not_there_is_named() {
    let model = fixture(GGUF);
    for device in ["gpu:97", "abacus"] {
        let run = run(&["generate", "-m", &model, "--device", device, "x"]);
        assert_fails(&run, if device == "abacus" { "`abacus`" } else { "number 97" });
    }
}
