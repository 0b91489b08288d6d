//! `wingbeat quantize` and `wingbeat perplexity --against`: files no larger than asked for, closer to the original, and whole
//! or not there.

mod binary;
#[path = "../../wingbeat/tests/small_disk/mod.rs"]
#[cfg(target_os = "linux")]
mod small_disk;

use binary::*;
use serde_json::Value;

/// Quantizes the fixture, quietly.
fn quantize(target: &str, flags: &[&str]) -> Value {
    json(&[&["-q", "quantize", &fixture(GGUF), target, "--json"], flags].concat())
}

/// The types that a kind of matrix got.
fn types_of(result: &Value, kind: &str) -> Vec<String> {
    let types = result["types"].as_array().expect("a list");
    let has = |share: &&Value| share["kinds"][kind].as_u64().is_some();
    types.iter().filter(has).map(|share| share["type"].as_str().expect("a name").to_owned()).collect()
}

fn divergence(model: &str, reference: &str) -> f64 {
    let text = path_of_text();
    let args =
        ["-q", "perplexity", "-m", model, "--against", reference, "--device", "cpu", "--precision", "exact"];
    let result = json(&[&args[..], &["--json", &text]].concat());
    let against = &result["against"];
    assert_eq!(
        keys(against),
        [
            "nats_per_token",
            "perplexity",
            "perplexity_ratio",
            "kl_mean",
            "kl_median",
            "kl_99",
            "kl_max",
            "top1_agreement"
        ]
    );
    let of = |key: &str| against[key].as_f64().expect("a number");
    assert!(of("kl_median") <= of("kl_99") && of("kl_99") <= of("kl_max"), "{against}");
    assert!((0.0..=1.0).contains(&of("top1_agreement")), "{against}");
    let ratio = (result["nats_per_token"].as_f64().expect("a number") - of("nats_per_token")).exp();
    assert!((of("perplexity_ratio") - ratio).abs() < 1e-9, "{result}");
    of("kl_mean")
}

fn path_of_text() -> String {
    // Some hundred tokens of a held-out book are enough to see an order of types.
    let file = std::env::temp_dir().join(format!("wingbeat-quantize-{}.txt", std::process::id()));
    let text = std::fs::read(fixture("val_small.txt")).expect("the fixture is there");
    std::fs::write(&file, &text[..1500]).expect("written");
    file.display().to_string()
}

#[test]
fn a_recipe_is_no_larger_than_the_mix_and_loses_less() {
    let dir = temp_dir();
    let (ours, theirs) = (path(&dir, "ours.gguf"), path(&dir, "theirs.gguf"));
    let reference = fixture(GGUF);
    assert!(divergence(&reference, &reference) == 0.0);
    // Head and embedding of the fixture are a small part, and its weights random: what is gained there is small.
    for name in ["q4_k_m", "q3_k_m", "q2_k"] {
        let own = quantize(&ours, &["--type", name]);
        let mix = quantize(&theirs, &["--type", name, "--recipe", "llama.cpp"]);
        let size = |result: &Value| result["bytes"].as_u64().expect("a number");
        assert!(size(&own) <= size(&mix), "{name}: {own} {mix}");
        assert_eq!(std::fs::metadata(&ours).expect("a file").len(), size(&own));
        let (found, limit) = (divergence(&ours, &reference), divergence(&theirs, &reference));
        println!("{name}: {found} instead of {limit}");
        assert!(found < limit && found > 0.0, "{name}: {found}, {limit}");
        assert_eq!(types_of(&mix, "att.key").len(), 1, "{mix}");
    }
}

#[test]
fn a_file_is_no_larger_than_its_size() {
    let dir = temp_dir();
    let target = path(&dir, "m.gguf");
    let mut before = f64::INFINITY;
    for size in ["1100k", "1300K", "1700K", "2500000"] {
        let result = quantize(&target, &["--type", &format!("auto-{size}")]);
        let limit = match size {
            "1100k" => 1100 << 10,
            "1300K" => 1300 << 10,
            "1700K" => 1700 << 10,
            _ => 2_500_000,
        };
        let found = result["bytes"].as_u64().expect("a number");
        // Nor much smaller, until everything is in the finest type.
        assert!(found <= limit && (found > limit * 9 / 10 || limit > 2 << 20), "{size}: {found}");
        let loss = divergence(&target, &fixture(GGUF));
        assert!(loss < before, "{size}: {loss} after {before}");
        before = loss;
    }
    // What is asked for by name goes before, and the size holds nevertheless.
    let flags = ["--type", "auto-1400k", "--tensor", "att.key=q8_0", "--tensor", "blocks.1.att.key=q6_k"];
    let result = quantize(&target, &flags);
    assert_eq!(types_of(&result, "att.key"), ["Q8_0", "Q6_K"], "{result}");
    assert!(result["bytes"].as_u64().expect("a number") <= 1400 << 10);
}

#[test]
fn calibration_goes_through_a_file_too() {
    let dir = temp_dir();
    let (one, two, matrix) = (path(&dir, "1.gguf"), path(&dir, "2.gguf"), path(&dir, "m.imatrix"));
    let plain = path(&dir, "plain.gguf");
    let text = fixture("val_small.txt");
    let flags = ["--type", "q4_k_m", "--calibrate", &text, "--tokens", "600", "--save-imatrix", &matrix];
    quantize(&one, &flags);
    quantize(&two, &["--type", "q4_k_m", "--imatrix", &matrix]);
    quantize(&plain, &["--type", "q4_k_m"]);
    let bytes = |path: &str| std::fs::read(path).expect("a file");
    // Sums are rounded in the file: a few scales in a million may fall on the other side.
    let apart = bytes(&one).iter().zip(bytes(&two)).filter(|(a, b)| **a != *b).count();
    assert!(apart * 1000 < bytes(&one).len(), "{apart}");
    let apart = bytes(&one).iter().zip(bytes(&plain)).filter(|(a, b)| **a != *b).count();
    assert!(apart * 20 > bytes(&one).len(), "{apart}");
}

#[test]
fn what_cannot_be_done_is_said_and_leaves_the_old_file() {
    let dir = temp_dir();
    let target = path(&dir, "m.gguf");
    std::fs::write(&target, b"the old one").expect("written");
    let (empty, bytes) = (path(&dir, "empty.txt"), path(&dir, "bytes.bin"));
    std::fs::write(&empty, b"").expect("written");
    std::fs::write(&bytes, (0..=255).collect::<Vec<u8>>()).expect("written");
    let (model, plain) = (&fixture(GGUF), &fixture(SAFETENSORS));
    let q4 = ["--type", "q4_k_m"];
    let cases: &[(&str, &[&str], &str)] = &[
        (model, &[], "--type"),
        (model, &["--type", "q9"], "q8_0, q6_k, q5_k_m, q4_k_m"),
        (model, &["--type", "auto-"], "auto-SIZE"),
        (model, &["--type", "auto-5T"], "such as 800000, 500M or 4G"),
        (model, &["--type", "auto-300k"], "the smallest that is possible has"),
        (model, &["--type", "q4_k_m", "--recipe", "best"], "llama.cpp"),
        (model, &["--type", "q4_k_m", "--tensor", "att.kye=q6_k"], "no matrix is called `att.kye`"),
        (model, &["--type", "q4_k_m", "--tensor", "att.key=i32"], "`i32` is no type of a matrix"),
        (model, &["--type", "q4_k_m", "--tensor", "att.key"], "NAME=TYPE"),
        (
            plain,
            &["--type", "q4_0", "--tensor", "att.key=q4_k"],
            "Q4_K takes rows of a multiple of 256 values, found 128",
        ),
        (model, &["--type", "q4_k_m", "--calibrate", &empty], "the text is empty"),
        (plain, &["--type", "q4_k_m", "--calibrate", &bytes], "no vocabulary"),
        (model, &["--type", "q4_k_m", "--calibrate", "absent.txt"], "absent.txt"),
        (model, &["--type", "q4_k_m", "--imatrix", &empty], "empty.txt"),
        (model, &["--type", "q4_k_m", "--imatrix", model], "in_sum2"),
        ("absent.gguf", &q4, "absent.gguf"),
    ];
    for (source, flags, what) in cases {
        assert_fails(&run(&[&["quantize", source, &target], *flags].concat()), what);
        assert_eq!(std::fs::read(&target).expect("it is still there"), b"the old one", "{flags:?}");
    }
    assert_fails(&run(&["quantize", model, &path(&dir, "m.st"), "--type", "q4_k_m"]), ".gguf");
    // Any bytes are a text, where the vocabulary has them all.
    let calibrated = run(&["-q", "quantize", model, &target, "--type", "q4_k_m", "--calibrate", &bytes]);
    assert_eq!(calibrated.code, Some(0), "{}", calibrated.err);
    assert_eq!(std::fs::read_dir(dir.path()).expect("a folder").count(), 3);
    // Models of different vocabularies are not compared.
    let refusal = run(&["perplexity", "-m", model, "--against", plain, &empty]);
    assert_fails(&refusal, "empty");
    assert_fails(
        &run(&["perplexity", "-m", model, "--against", plain, &fixture("val_small.txt")]),
        "vocabular",
    );
}

#[test]
#[cfg(target_os = "linux")]
fn a_disk_that_fills_leaves_the_old_file() {
    let Some(disk) = small_disk::SmallDisk::mount("512k") else {
        return println!("skipped: no file system can be mounted here");
    };
    let target = path(&disk.0, "m.gguf");
    std::fs::write(&target, b"the old one").expect("written");
    assert_fails(&run(&["quantize", &fixture(GGUF), &target, "--type", "q4_k_m"]), "m.gguf");
    assert_eq!(std::fs::read(&target).expect("it is still there"), b"the old one");
    assert_eq!(std::fs::read_dir(disk.0.path()).expect("a folder").count(), 1);
}
