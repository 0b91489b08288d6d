//! `--lora` and tuned states on the command line.

mod binary;

use binary::*;
use std::path::Path;
use wingbeat_format::{DType, Metadata, TensorSpec, safetensors};

/// A safetensors file of tensors `(name, shape)`, of values that grow from 0 to `most`.
fn write(path: &str, tensors: &[(&str, &[usize])], most: f32) {
    let spec = |(name, shape): &(&str, &[usize])| TensorSpec {
        name: (*name).to_owned(),
        dtype: DType::F32,
        shape: shape.to_vec(),
    };
    let specs: Vec<TensorSpec> = tensors.iter().map(spec).collect();
    let mut writer = safetensors::Writer::create(Path::new(path), &Metadata::new(), &specs).expect("a file");
    for (_, shape) in tensors {
        let n: usize = shape.iter().product();
        let values = (0..n).flat_map(|i| (i as f32 / n as f32 * most).to_le_bytes());
        writer.write(&values.collect::<Vec<u8>>()).expect("written");
    }
    writer.finish().expect("written");
}

#[test]
fn adapters_are_merged_wherever_a_model_is_read() {
    let dir = temp_dir();
    let (model, adapter) = (fixture(GGUF), path(&dir, "adapter.safetensors"));
    write(&adapter, &[("blocks.0.ffn.key.lora_A", &[2, 256]), ("blocks.0.ffn.key.lora_B", &[1024, 2])], 0.2);
    let dump = |name: &str, args: &[&str]| {
        let out = path(&dir, name);
        ok(&[&["dump", "--device", "cpu", "--tokens", "1,2,3", "-o", &out], args].concat());
        values(&out, "logits")
    };
    let plain = dump("plain", &["-m", &model]);
    let merged = dump("merged", &["-m", &model, "--lora", &adapter]);
    assert!(distance(&merged, &plain) > 1e-3);
    // Halves add up, and alpha is twice the scale where the rank is 2.
    let half = format!("{adapter}=0.5");
    assert!(distance(&dump("halves", &["-m", &model, "--lora", &half, "--lora", &half]), &merged) < 1e-3);
    assert!(distance(&dump("alpha", &["-m", &model, "--lora", &half, "--lora-alpha", "64"]), &merged) < 1e-3);
    assert_eq!(dump("nothing", &["-m", &model, "--lora", &format!("{adapter}=0")]).len(), plain.len());
    let target = path(&dir, "merged.gguf");
    ok(&["convert", "-q", &model, &target, "--lora", &adapter]);
    assert_eq!(dump("converted", &["-m", &target]), merged);

    assert_fails(&run(&["generate", "-m", &model, "--lora", &path(&dir, "none.pth"), "x"]), "none.pth");
    assert_fails(&run(&["generate", "-m", &model, "--lora", &model, "x"]), "whole model");
    assert_fails(&run(&["generate", "-m", &model, "--lora", "a=x", "x"]), "the scale");
    assert_fails(&run(&["generate", "-m", &model, "--lora-alpha", "8", "x"]), "--lora");
}

#[test]
fn tuned_states_are_taken_where_saved_ones_are() {
    let dir = temp_dir();
    let (model, tuned) = (fixture(GGUF), path(&dir, "tuned.safetensors"));
    let shape: &[usize] = &[256 / 64, 64, 64];
    write(&tuned, &[("blocks.0.att.time_state", shape), ("blocks.1.att.time_state", shape)], 1.0);
    let saved = path(&dir, "saved.state");
    let text = ["generate", "-q", "--device", "cpu", "--greedy", "-n", "12", "-m", &model, "Once"];
    let tuned_text = ok(&[&text[..], &["--state", &tuned, "--save-state", &saved]].concat());
    assert_ne!(tuned_text, ok(&text));
    assert_eq!(json(&["inspect", "--json", &saved])["kind"], "state");
    let chat = ["chat", "-q", "--device", "cpu", "--greedy", "-n", "12", "-m", &model];
    let talk = |args: &[&str], lines: &str| ok_with_input(&[&chat[..], args].concat(), lines.as_bytes());
    let (plain, begun) = (talk(&[], "Hello\n"), talk(&["--state", &tuned], "Hello\n"));
    assert_ne!(begun, plain);
    let reset = talk(&["--state", &tuned], "Hello\n/reset\nHello\n");
    assert_eq!(reset, [&begun[..], &begun[..]].concat());
    assert_eq!(talk(&[], &format!("/load {tuned}\nHello\n")), begun);
    let small = path(&dir, "small.safetensors");
    write(&small, &[("blocks.0.att.time_state", &[1, 8, 8])], 1.0);
    assert_fails(&run(&[&text[..], &["--state", &small]].concat()), "time_state");
}
