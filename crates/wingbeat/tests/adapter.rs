//! LoRA adapters: merged at opening and at conversion as a computation in f64 has it, in every layout they come in, and
//! refused by name where they don't fit.

mod pth;

use std::path::{Path, PathBuf};
use tempfile::TempDir;
use wingbeat::{
    Adapter, DType, Error, Model, ModelFile, ModelOptions, Sequence, State, Want,
    convert::{ConvertOptions, Mix, convert},
};
use wingbeat_format::{Metadata, TensorSpec, gguf, safetensors};
use wingbeat_model::Catalog;

const V7: &str = "rwkv7-3x128-odd-ranks.safetensors";
const QUANTIZED: &str = "rwkv7-2x256-Q8_0.gguf";

/// Name, shape, values.
type Tensors = Vec<(String, Vec<usize>, Vec<f32>)>;

fn fixture(name: &str) -> PathBuf {
    PathBuf::from(format!("{}/../../tests/fixtures/{name}", env!("CARGO_MANIFEST_DIR")))
}

fn options(adapters: &[Adapter]) -> ModelOptions {
    ModelOptions { device: "cpu".parse().unwrap(), adapters: adapters.to_vec(), ..ModelOptions::default() }
}

fn open(path: &Path, adapters: &[Adapter]) -> Result<Model, Error> {
    Model::open_with(path, &options(adapters))
}

fn logits(model: &Model) -> Vec<f32> {
    let mut state: State = model.new_state().unwrap();
    let sequence = Sequence { state: &mut state, tokens: &[3, 1, 4, 1, 5], want: Want::LAST_LOGITS };
    model.forward(&mut [sequence]).unwrap().remove(0).logits
}

/// Numbers in ±`scale`, others for each seed.
fn noise(n: usize, seed: u64, scale: f32) -> Vec<f32> {
    let mut x = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        (x >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..n).map(|_| next() * scale).collect()
}

/// `lora_A` and `lora_B` of a module.
fn pair(module: &str, ends: [&str; 2], rows: usize, cols: usize, rank: usize) -> Tensors {
    let seed = module.bytes().fold(7, |h, b| (h * 31 + u64::from(b)) % 1_000_003);
    vec![
        (format!("{module}{}", ends[0]), vec![rank, cols], noise(rank * cols, seed, 0.2)),
        (format!("{module}{}", ends[1]), vec![rows, rank], noise(rows * rank, seed + 1, 0.2)),
    ]
}

const PTH: [&str; 2] = [".lora_A", ".lora_B"];
const PEFT: [&str; 2] = [".lora_A.weight", ".lora_B.weight"];

/// What an official `.pth` adapter of the 3×128 model has: matrices, and tensors that were trained whole.
fn official() -> Tensors {
    let mut tensors = pair("blocks.0.att.receptance", PTH, 128, 128, 4);
    tensors.extend(pair("blocks.2.ffn.key", PTH, 512, 128, 4));
    tensors.extend(pair("blocks.1.att.output", PTH, 128, 128, 3));
    tensors.push(("blocks.1.att.x_k".to_owned(), vec![1, 1, 128], noise(128, 5, 0.5)));
    tensors.push(("blocks.0.ln1.weight".to_owned(), vec![128], noise(128, 6, 1.0)));
    tensors
}

fn write_pth(path: &Path, tensors: &Tensors) {
    let tensors: Vec<_> = tensors.iter().map(|(n, s, v)| (n.as_str(), &s[..], &v[..])).collect();
    std::fs::write(path, pth::checkpoint(&tensors)).unwrap();
}

fn specs(tensors: &Tensors) -> Vec<TensorSpec> {
    let spec = |(name, shape, _): &(String, Vec<usize>, Vec<f32>)| TensorSpec {
        name: name.clone(),
        dtype: DType::F32,
        shape: shape.clone(),
    };
    tensors.iter().map(spec).collect()
}

fn bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}

fn write_safetensors(path: &Path, tensors: &Tensors) {
    let mut writer = safetensors::Writer::create(path, &Metadata::new(), &specs(tensors)).unwrap();
    tensors.iter().for_each(|(_, _, values)| writer.write(&bytes(values)).unwrap());
    writer.finish().unwrap();
}

/// `W + factor · B·A` of a tensor of a file, in f64.
fn expected(
    file: &ModelFile,
    name: &str,
    tensors: &Tensors,
    module: &str,
    ends: [&str; 2],
    factor: f64,
) -> Vec<f32> {
    let tensor = file.tensor(name).unwrap();
    let find = |end: &str| tensors.iter().find(|(name, ..)| *name == format!("{module}{end}")).unwrap();
    let ((_, a_shape, a), (_, _, b)) = (find(ends[0]), find(ends[1]));
    let (rank, cols) = (a_shape[0], a_shape[1]);
    let at = |(at, w): (usize, &f32)| {
        let (i, j) = (at / cols, at % cols);
        let sum: f64 = (0..rank).map(|k| f64::from(b[i * rank + k]) * f64::from(a[k * cols + j])).sum();
        (f64::from(*w) + factor * sum) as f32
    };
    tensor.to_f32().iter().enumerate().map(at).collect()
}

/// The fixture's tensors with the official adapter merged by hand.
fn merged_by_hand(folder: &TempDir, alpha: f64, scale: f64) -> PathBuf {
    let source = ModelFile::open(fixture(V7)).unwrap();
    let adapter = official();
    let tensors: Tensors = source
        .tensors()
        .iter()
        .map(|t| {
            let module = t.name.strip_suffix(".weight").unwrap_or(&t.name);
            let pair = adapter.iter().find(|(name, ..)| *name == format!("{module}.lora_A"));
            let whole = adapter.iter().find(|(name, ..)| *name == t.name);
            let values = match (pair, whole) {
                (Some((_, shape, _)), _) => {
                    expected(&source, &t.name, &adapter, module, PTH, scale * alpha / shape[0] as f64)
                }
                (_, Some((_, _, values))) => {
                    let towards = |(w, x): (&f32, &f32)| (f64::from(*w) + scale * f64::from(x - w)) as f32;
                    t.to_f32().iter().zip(values).map(towards).collect()
                }
                _ => t.to_f32(),
            };
            (t.name.clone(), t.shape.clone(), values)
        })
        .collect();
    let path = folder.path().join("by-hand.safetensors");
    write_safetensors(&path, &tensors);
    path
}

/// Largest difference beside the largest value.
fn distance(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    let most = b.iter().fold(0.0f32, |most, x| most.max(x.abs()));
    a.iter().zip(b).fold(0.0f32, |d, (a, b)| d.max((a - b).abs())) / most
}

#[test]
fn an_official_adapter_is_merged_as_f64_has_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rwkv-0.pth");
    write_pth(&path, &official());
    let plain = open(&fixture(V7), &[]).unwrap();
    for (adapter, alpha, scale) in [
        (Adapter::new(&path), 32.0, 1.0),
        (Adapter { alpha: Some(8.0), ..Adapter::new(&path) }, 8.0, 1.0),
        (Adapter { alpha: Some(8.0), scale: 0.25, ..Adapter::new(&path) }, 8.0, 0.25),
    ] {
        let by_hand = open(&merged_by_hand(&folder, alpha, scale), &[]).unwrap();
        let merged = open(&fixture(V7), std::slice::from_ref(&adapter)).unwrap();
        let (found, wanted) = (logits(&merged), logits(&by_hand));
        assert!(distance(&found, &wanted) < 1e-4, "{adapter:?}: {}", distance(&found, &wanted));
        assert!(distance(&found, &logits(&plain)) > 1e-2, "{adapter:?} changes nothing");
        assert_ne!(merged.fingerprint(), plain.fingerprint());
        let note = merged.notes().iter().find(|note| note.contains("rwkv-0.pth")).expect("a note");
        assert!(note.contains("3 matrices") && note.contains("2 tensors replaced"), "{note}");
    }
    // Nothing of it is nothing.
    let nothing = open(&fixture(V7), &[Adapter { scale: 0.0, ..Adapter::new(&path) }]).unwrap();
    assert_eq!(logits(&nothing), logits(&plain));
}

#[test]
fn a_conversion_writes_what_opening_computes() {
    let folder = tempfile::tempdir().unwrap();
    let adapter = folder.path().join("rwkv-0.pth");
    write_pth(&adapter, &official());
    let source = ModelFile::open(fixture(V7)).unwrap();
    let convert_to = |name: &str, mix| {
        let target = folder.path().join(name);
        let options =
            ConvertOptions { mix, adapters: vec![Adapter::new(&adapter)], ..ConvertOptions::default() };
        convert(&source, &target, &options, &mut |_, _| true).unwrap();
        target
    };
    let merged = convert_to("merged.safetensors", None);
    let opened = open(&fixture(V7), &[Adapter::new(&adapter)]).unwrap();
    assert_eq!(logits(&open(&merged, &[]).unwrap()), logits(&opened));
    let by_hand = ModelFile::open(merged_by_hand(&folder, 32.0, 1.0)).unwrap();
    for tensor in ModelFile::open(&merged).unwrap().tensors() {
        let hand = by_hand.tensor(&tensor.name).unwrap().to_f32();
        assert!(distance(&tensor.to_f32(), &hand) < 1e-6, "{}", tensor.name);
    }
    // Into another layout and type as well.
    let gguf = open(&convert_to("merged.gguf", Some(Mix::F16)), &[]).unwrap();
    assert!(distance(&logits(&gguf), &logits(&opened)) < 1e-2);
}

/// A folder as PEFT saves it.
fn peft(folder: &TempDir, name: &str, settings: &str, tensors: &Tensors) -> PathBuf {
    let path = folder.path().join(name);
    std::fs::create_dir_all(&path).unwrap();
    write_safetensors(&path.join("adapter_model.safetensors"), tensors);
    std::fs::write(path.join("adapter_config.json"), settings).unwrap();
    path
}

#[test]
fn peft_folders_say_their_alphas_and_have_several_names() {
    let folder = tempfile::tempdir().unwrap();
    let source = ModelFile::open(fixture(V7)).unwrap();
    // Two names of one matrix, and a low-rank matrix of the model's own, which fla has in a linear layer.
    let modules = [
        ("base_model.model.blocks.1.att.key", "blocks.1.att.key.weight", 128, 128),
        ("base_model.model.model.layers.1.attn.k_proj", "blocks.1.att.key.weight", 128, 128),
        ("base_model.model.lm_head", "head.weight", 96, 128),
    ];
    for (module, name, rows, cols) in modules {
        let rows = if name == "head.weight" { source.tensor(name).unwrap().shape[0] } else { rows };
        let tensors = pair(module, PEFT, rows, cols, 4);
        let last = module.rsplit('.').next().unwrap();
        for (number, (settings, factor)) in [
            (r#"{"peft_type":"LORA","r":4,"lora_alpha":6,"target_modules":["key"],"rank_pattern":{},"alpha_pattern":{}}"#.to_owned(), 1.5),
            (r#"{"peft_type":"LORA","r":4,"lora_alpha":6,"use_rslora":true}"#.to_owned(), 3.0),
            (format!(r#"{{"r":64,"lora_alpha":6,"rank_pattern":{{"{last}":4}},"alpha_pattern":{{"other":1,"{last}":2}}}}"#), 0.5),
        ].into_iter().enumerate() {
            let adapter = peft(&folder, &format!("{last}{number}"), &settings, &tensors);
            let target = folder.path().join("merged.safetensors");
            let options = ConvertOptions { adapters: vec![Adapter::new(&adapter)], ..ConvertOptions::default() };
            convert(&source, &target, &options, &mut |_, _| true).unwrap();
            let found = ModelFile::open(&target).unwrap().tensor(name).unwrap().to_f32();
            let wanted = expected(&source, name, &tensors, module, PEFT, factor);
            assert!(distance(&found, &wanted) < 1e-6, "{module} {settings}: {}", distance(&found, &wanted));
            // By its file as well.
            let file = Adapter::new(adapter.join("adapter_model.safetensors"));
            assert!(open(&fixture(V7), &[file]).is_ok());
        }
    }
}

#[test]
fn low_rank_matrices_embeddings_and_quantized_ones_are_changed_too() {
    let folder = tempfile::tempdir().unwrap();
    let source = ModelFile::open(fixture(V7)).unwrap();
    let catalog = Catalog::open(&source).unwrap();
    let rank = catalog.config().low_rank('w');
    // fla's lora.0 is the official w1 the other way round.
    let module = "base_model.model.model.layers.0.attn.w_lora.lora.0";
    let tensors = pair(module, PEFT, rank, 128, 2);
    let adapter = peft(&folder, "w1", r#"{"r":2,"lora_alpha":2}"#, &tensors);
    let target = folder.path().join("merged.safetensors");
    let options = ConvertOptions { adapters: vec![Adapter::new(&adapter)], ..ConvertOptions::default() };
    convert(&source, &target, &options, &mut |_, _| true).unwrap();
    let merged = ModelFile::open(&target).unwrap();
    let (before, after) =
        (source.tensor("blocks.0.att.w1").unwrap(), merged.tensor("blocks.0.att.w1").unwrap());
    assert_eq!((&after.shape, after.dtype), (&before.shape, before.dtype));
    let (before, after) = (before.to_f32(), after.to_f32());
    let ((_, _, a), (_, _, b)) = (&tensors[0], &tensors[1]);
    for (i, j) in [(0, 0), (127, 1), (64, rank - 1)] {
        let delta = b[j * 2] * a[i] + b[j * 2 + 1] * a[128 + i];
        let (found, wanted) = (after[i * rank + j], before[i * rank + j] + delta);
        assert!((found - wanted).abs() < 1e-6, "({i}, {j}): {found}, {wanted}");
    }

    // An embedding's rows are tokens: B·A lies the other way round.
    let vocab = catalog.config().n_vocab;
    let embedding: Tensors = vec![
        (
            "base_model.model.model.embeddings.lora_embedding_A".to_owned(),
            vec![2, vocab],
            noise(2 * vocab, 1, 0.5),
        ),
        ("base_model.model.model.embeddings.lora_embedding_B".to_owned(), vec![128, 2], noise(256, 2, 0.5)),
    ];
    let adapter = peft(&folder, "emb", r#"{"r":2,"lora_alpha":2}"#, &embedding);
    let options = ConvertOptions { adapters: vec![Adapter::new(&adapter)], ..ConvertOptions::default() };
    convert(&source, &target, &options, &mut |_, _| true).unwrap();
    let (before, after) = (
        source.tensor("emb.weight").unwrap().to_f32(),
        ModelFile::open(&target).unwrap().tensor("emb.weight").unwrap().to_f32(),
    );
    let (token, channel) = (vocab - 2, 77);
    let delta = embedding[1].2[channel * 2] * embedding[0].2[token]
        + embedding[1].2[channel * 2 + 1] * embedding[0].2[vocab + token];
    assert!((after[token * 128 + channel] - before[token * 128 + channel] - delta).abs() < 1e-6);

    // A quantized matrix that is changed is F16, its neighbours stay what they are.
    let path = folder.path().join("a.pth");
    write_pth(&path, &pair("blocks.0.att.key", PTH, 256, 256, 2));
    let quantized = ModelFile::open(fixture(QUANTIZED)).unwrap();
    let target = folder.path().join("merged.gguf");
    let options = ConvertOptions { adapters: vec![Adapter::new(&path)], ..ConvertOptions::default() };
    convert(&quantized, &target, &options, &mut |_, _| true).unwrap();
    let merged = ModelFile::open(&target).unwrap();
    let dtype = |name: &str| merged.tensor(name).unwrap().dtype;
    assert_eq!(dtype("blk.0.time_mix_key.weight"), DType::F16);
    assert_eq!(dtype("blk.0.time_mix_value.weight"), DType::Q8_0);
    assert_eq!(
        logits(&open(&fixture(QUANTIZED), &[Adapter::new(&path)]).unwrap()),
        logits(&open(&target, &[]).unwrap())
    );
}

#[test]
fn every_version_takes_adapters() {
    let folder = tempfile::tempdir().unwrap();
    for (name, old) in [("rwkv4-2x64", "rwkv."), ("rwkv5.2-2x64", "rwkv."), ("rwkv6-2x64", "")] {
        let path = folder.path().join("a.pth");
        let module = if old.is_empty() {
            "blocks.1.ffn.receptance".to_owned()
        } else {
            format!("{old}blocks.1.feed_forward.receptance")
        };
        write_pth(&path, &pair(&module, PTH, 64, 64, 2));
        let model = fixture(&format!("{name}.safetensors"));
        let (plain, merged) = (open(&model, &[]).unwrap(), open(&model, &[Adapter::new(&path)]).unwrap());
        assert!(distance(&logits(&merged), &logits(&plain)) > 1e-3, "{name}");
    }
}

#[test]
fn llama_cpps_adapters_say_their_alpha() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.gguf");
    let tensors = pair("blk.1.time_mix_key.weight", [".lora_a", ".lora_b"], 256, 256, 2);
    let mut metadata = Metadata::new();
    metadata.insert("general.architecture", "rwkv7");
    metadata.insert("general.type", "adapter");
    metadata.insert("adapter.lora.alpha", 4.0f32);
    let mut writer = gguf::Writer::create(&path, &metadata, &specs(&tensors)).unwrap();
    tensors.iter().for_each(|(_, _, values)| writer.write(&bytes(values)).unwrap());
    writer.finish().unwrap();
    let same = folder.path().join("b.pth");
    let mut official = pair("blk.1.time_mix_key.weight", [".lora_a", ".lora_b"], 256, 256, 2);
    official[0].0 = "blocks.1.att.key.lora_A".to_owned();
    official[1].0 = "blocks.1.att.key.lora_B".to_owned();
    write_pth(&same, &official);
    let model = fixture(QUANTIZED);
    let of_gguf = open(&model, &[Adapter::new(&path)]).unwrap();
    let of_pth = open(&model, &[Adapter { alpha: Some(4.0), ..Adapter::new(&same) }]).unwrap();
    assert_eq!(logits(&of_gguf), logits(&of_pth));
}

#[test]
fn adapters_add_up_and_bring_tuned_states() {
    let folder = tempfile::tempdir().unwrap();
    let (one, two, both) =
        (folder.path().join("1.pth"), folder.path().join("2.pth"), folder.path().join("3.pth"));
    let first = pair("blocks.0.att.key", PTH, 128, 128, 2);
    let second = pair("blocks.0.ffn.value", PTH, 128, 512, 2);
    write_pth(&one, &first);
    write_pth(&two, &second);
    write_pth(&both, &[first, second].concat());
    let of = |paths: &[&PathBuf]| {
        let adapters: Vec<Adapter> = paths.iter().map(Adapter::new).collect();
        open(&fixture(V7), &adapters).unwrap()
    };
    assert_eq!(logits(&of(&[&one, &two])), logits(&of(&[&both])));
    assert_eq!(of(&[&one, &two]).fingerprint(), of(&[&both]).fingerprint());
    // Twice is twice as much.
    let twice = open(&fixture(V7), &[Adapter { scale: 2.0, ..Adapter::new(&one) }]).unwrap();
    assert!(distance(&logits(&of(&[&one, &one])), &logits(&twice)) < 1e-5);

    let heads = 128 / 64;
    let state = |layer: usize| {
        (
            format!("blocks.{layer}.att.time_state"),
            vec![heads, 64, 64],
            noise(heads * 64 * 64, layer as u64, 0.1),
        )
    };
    write_pth(&one, &(0..3).map(state).collect());
    let tuned = of(&[&one]);
    let wanted: Vec<f32> = (0..3).flat_map(|layer| state(layer).2).collect();
    assert_eq!(tuned.new_state().unwrap().read("wkv").unwrap().values, wanted);
}

#[test]
fn what_does_not_fit_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bad.pth");
    let refused = |adapter: Adapter, parts: &[&str]| {
        let error = open(&fixture(V7), &[adapter]).err().expect("an error").to_string();
        assert!(
            parts.iter().all(|part| error.contains(part)) && error.lines().count() == 1,
            "{parts:?}: {error}"
        );
    };
    let of = |tensors: Tensors, parts: &[&str]| {
        write_pth(&path, &tensors);
        refused(Adapter::new(&path), &[&["bad.pth"], parts].concat());
    };
    let key = || pair("blocks.0.att.key", PTH, 128, 128, 2);
    of(pair("blocks.9.att.key", PTH, 128, 128, 2), &["blocks.9.att.key", "RWKV-7 with 3 layers"]);
    of(pair("blocks.0.att.gate", PTH, 128, 128, 2), &["blocks.0.att.gate", "no weight"]);
    of(pair("blocks.0.att.x_r", PTH, 128, 128, 2), &["blocks.0.att.x_r", "no matrix"]);
    of(key()[..1].to_vec(), &["blocks.0.att.key", "no lora_B"]);
    of(key()[1..].to_vec(), &["blocks.0.att.key", "no lora_A"]);
    of(pair("blocks.0.att.key", PTH, 64, 128, 2), &["lora_B", "[128, 2]", "[64, 2]"]);
    of(pair("blocks.0.att.key", PTH, 128, 64, 2), &["lora_A", "[2, 128]", "[2, 64]"]);
    of(pair("blocks.0.att.key", PTH, 128, 128, 0), &["rank of at least 1"]);
    let mut ranks = key();
    ranks[1] = pair("blocks.0.att.key", PTH, 128, 128, 3).remove(1);
    of(ranks, &["[128, 2]", "[128, 3]"]);
    for bad in [f32::NAN, f32::INFINITY] {
        let mut values = key();
        values[1].2[9] = bad;
        of(values, &["blocks.0.att.key.lora_B", "value 9", "finite"]);
    }
    of(
        vec![("blocks.0.att.x_r".to_owned(), vec![64], vec![0.0; 64])],
        &["blocks.0.att.x_r", "[128]", "[64]"],
    );
    of(
        vec![("blocks.0.att.key.bone".to_owned(), vec![64, 128], vec![0.0; 64 * 128])],
        &["Bone", "only LoRA"],
    );
    let empty = folder.path().join("empty.safetensors");
    write_safetensors(&empty, &vec![]);
    refused(Adapter::new(&empty), &["empty.safetensors", "no adapter"]);
    refused(Adapter::new(fixture(V7)), &["whole model"]);
    refused(Adapter::new(folder.path().join("none.pth")), &["none.pth"]);
    refused(Adapter::new(folder.path()), &["adapter_model.safetensors"]);
    write_pth(&path, &key());
    refused(Adapter { scale: f32::NAN, ..Adapter::new(&path) }, &["scale", "NaN"]);
    refused(Adapter { alpha: Some(f32::INFINITY), ..Adapter::new(&path) }, &["alpha", "inf"]);

    let module = "base_model.model.model.layers.0.attn.k_proj";
    let tensors = pair(module, PEFT, 128, 128, 4);
    for (settings, part) in [
        (r#"{"peft_type":"IA3"}"#, "IA3"),
        (r#"{"peft_type":"LORA","r":4,"lora_alpha":4,"use_dora":true}"#, "DoRA"),
        (r#"{"r":4,"lora_alpha":4,"init_lora_weights":"pissa_niter_4"}"#, "pissa"),
        (r#"{"r":4,"lora_alpha":4,"layer_replication":[[0,2]]}"#, "replicated"),
        (r#"{"r":8,"lora_alpha":4}"#, "expected rank 8"),
        (r#"{"r":4}"#, "lora_alpha"),
        (r#"{"r":4,"lora_alpha":4,"alpha_pattern":{"k_(proj|x)":2}}"#, "k_(proj|x)"),
        (r#"{"r":"#, "EOF"),
        (r#"{"r":-1}"#, "invalid value"),
    ] {
        refused(Adapter::new(peft(&folder, "bad", settings, &tensors)), &["bad", part]);
    }
    // PEFT's names without PEFT's settings: the alpha is anyone's guess.
    let alone = folder.path().join("alone.safetensors");
    write_safetensors(&alone, &tensors);
    refused(Adapter::new(&alone), &["alone.safetensors", "--lora-alpha"]);
    assert!(open(&fixture(V7), &[Adapter { alpha: Some(4.0), ..Adapter::new(&alone) }]).is_ok());
}
