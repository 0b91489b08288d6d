//! `wingbeat bench`: every figure that is asked for, in every form.

mod binary;

use binary::*;
use serde_json::Value;

/// Keys of a figure that comes from several runs.
fn spread(key: &str) -> Vec<String> {
    ["", "_min", "_max", "_runs"].map(|ending| format!("{key}{ending}")).to_vec()
}

/// The same of a figure that there is a bound to, where the machine was measured, too.
fn spread_and_bound(key: &str) -> Vec<String> {
    let mut keys = spread(key);
    keys.push(format!("{key}_bound_fraction"));
    keys
}

/// What every report of `bench --json` begins with.
const BENCH_FACTS: [&str; 13] = [
    "version",
    "model",
    "type",
    "zeros",
    "n_layers",
    "n_channels",
    "n_vocab",
    "params_m",
    "size_mb",
    "device",
    "driver",
    "processor",
    "threads",
];

#[test]
fn bench_has_every_figure_asked_for() {
    let found = json(&["bench", "-m", &fixture(GGUF), "--json", "--budget", "0", "--batches", "2,5"]);
    let mut expected: Vec<String> = BENCH_FACTS.iter().map(|key| (*key).to_owned()).collect();
    for key in ["load_ms", "start_to_first_token_ms"] {
        expected.extend(spread(key));
        expected.push(format!("{key}_first"));
    }
    for key in ["tokenize_us", "tokenize_mb_s"] {
        expected.extend(spread(key));
    }
    for key in [
        "prefill512_tok_s",
        "prefill2048_tok_s",
        "par2_tok_s",
        "par5_tok_s",
        "doc_state_ms",
        "field_analysis_ms",
        "fields_of_state_ms",
        "embed_ms",
        "embed_last_ms",
        "embed_mean_ms",
        "gen_tok_s",
    ] {
        expected.extend(spread_and_bound(key));
    }
    expected.extend(["peak_rss_mb", "rss_start_mb", "rss_anon_mb", "rss_file_mb"].map(str::to_owned));
    expected.extend(spread("read_gb_s"));
    expected.extend(spread("multiply_tops"));
    expected.extend(["gen_mb_per_token", "gen_gb_s", "gen_bandwidth_fraction"].map(str::to_owned));
    assert_eq!(keys(&found), expected);
    for key in &expected[BENCH_FACTS.len()..] {
        let memory = key.contains("rss") && !cfg!(target_os = "linux");
        assert!(memory || found[key].as_f64().is_some_and(|value| value > 0.0), "{key}: {}", found[key]);
    }
    assert_eq!((found["type"].as_str(), found["n_layers"].as_u64()), (Some("Q8_0"), Some(2)));
    assert_eq!(found["zeros"], Value::Null);
    assert_eq!(found["gen_tok_s_runs"], 3);
}

#[test]
fn bench_measures_the_demo_model_and_only_what_is_asked_for() {
    if !has_demo() {
        return;
    }
    let base = ["bench", "--budget", "0", "--threads", "1", "--only", "gen,tokenize"];
    let found = json(&[&base[..], &["--json"]].concat());
    assert_eq!((found["n_vocab"].as_u64(), found["threads"].as_u64()), (Some(8192), Some(1)));
    assert!(found["gen_tok_s"].is_number() && found["tokenize_us"].is_number());
    for absent in ["load_ms", "read_gb_s", "multiply_tops", "prefill512_tok_s"] {
        assert!(found.get(absent).is_none(), "{absent}");
    }
    // Rates of the machine are not among what was asked for.
    for absent in ["gen_bandwidth_fraction", "gen_tok_s_bound_fraction"] {
        assert!(found.get(absent).is_none(), "{absent}");
    }
    let table = String::from_utf8(ok(&base)).expect("UTF-8");
    assert!(table.contains("gen_tok_s") && table.contains("| tg128 |") && table.contains("26.0 million"));
    let csv = String::from_utf8(ok(&[&base[..], &["--csv"]].concat())).expect("UTF-8");
    assert!(
        csv.starts_with("version,model,type,device,threads,metric,unit,median,min,max,runs,bound_fraction\n"),
        "{csv}"
    );
    assert!(csv.lines().any(|line| line.contains(",gen_tok_s,tok/s,") && line.ends_with(",3,")), "{csv}");
}

#[test]
fn bench_holds_figures_against_what_the_machine_permits() {
    let model = fixture(GGUF);
    let base = ["bench", "-m", &model, "--budget", "0", "--only", "bandwidth,gen,embed"];
    let table = String::from_utf8(ok(&base)).expect("UTF-8");
    let line = |key: &str| table.lines().find(|line| line.starts_with(key)).expect("a line of the table");
    assert!(table.contains("of bound") && line("multiply_tops").contains("Top/s"), "{table}");
    // Name, value, unit, smallest, largest, runs; the last column only where there is a bound.
    for (key, columns) in [("gen_tok_s", 7), ("embed_last_ms", 7), ("read_gb_s", 6), ("peak_rss_mb", 3)] {
        let memory = key.contains("rss") && !cfg!(target_os = "linux");
        assert!(memory || line(key).split_whitespace().count() == columns, "{table}");
    }
    let csv = String::from_utf8(ok(&[&base[..], &["--csv"]].concat())).expect("UTF-8");
    for (key, is_bound) in [("gen_tok_s", true), ("embed_ms", true), ("multiply_tops", false)] {
        let line = csv.lines().find(|line| line.contains(&format!(",{key},"))).expect("a line");
        let (_, fraction) = line.rsplit_once(',').expect("several columns");
        assert_eq!(fraction.parse::<f64>().is_ok_and(|fraction| fraction > 0.0), is_bound, "{line}");
    }
    let found = json(&["bench", "-m", &model, "--budget", "0", "--only", "bandwidth", "--json"]);
    assert!(found["multiply_tops"].as_f64().is_some_and(|rate| rate > 0.0), "{found}");
}

#[test]
fn bench_does_without_a_vocabulary() {
    let only = "tokenize,gen,state";
    let args = ["bench", "-m", &fixture(SAFETENSORS), "--json", "--budget", "0", "--only", only];
    let found = json(&args);
    assert_eq!(found["tokenize_us"], Value::Null);
    assert!(found["gen_tok_s"].is_number() && found["doc_state_ms"].is_number());
}

#[test]
fn bench_makes_synthetic_models() {
    let dir = temp_dir();
    let (kept, again, st) = (path(&dir, "a.gguf"), path(&dir, "b.gguf"), path(&dir, "c.st"));
    let base = ["bench", "--synthetic", "tiny", "--only", "none", "--seed", "3"];
    for (file, dtype) in [(&kept, "q8_0"), (&again, "q8_0"), (&st, "bf16")] {
        assert!(ok(&[&base[..], &["--write", file, "--type", dtype, "--zeros", "0.8"]].concat()).is_empty());
    }
    assert!(std::fs::read(&kept).expect("a file") == std::fs::read(&again).expect("a file"), "one seed");
    let inspected = json(&["inspect", "--json", &st]);
    assert_eq!(inspected["name"], "synthetic RWKV-7 tiny, 0.80 zeros, seed 3");
    assert_eq!(inspected["parameters"], json(&["inspect", "--json", &kept])["parameters"]);
    assert!(!ok(&["generate", "-m", &kept, "--greedy", "-n", "5", "It was"]).is_empty());
    // Without --write nothing stays.
    let folder = path(&dir, "temporary");
    std::fs::create_dir(&folder).expect("a folder");
    let args = ["bench", "--synthetic", "tiny", "--type", "q8_0", "--budget", "0", "--only", "gen", "--json"];
    let output = command(&args).env("TMPDIR", &folder).output().expect("the binary starts");
    let found: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!((found["zeros"].as_f64(), found["n_channels"].as_u64()), (Some(0.9), Some(128)));
    assert_eq!(std::fs::read_dir(&folder).expect("readable").count(), 0);
}
