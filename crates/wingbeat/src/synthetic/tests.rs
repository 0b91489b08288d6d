//! Synthetic models open, run, are sparse, and are what they were.

use super::{
    Shape, SyntheticModel,
    random::{Stream, normal_quantile},
};
use crate::convert::Mix;
use crate::{CpuOptions, Device, Model, ModelFile, ModelOptions, Sequence, Want};
use std::path::Path;
use wingbeat_model::{Catalog, Version};

const SMALL: Shape =
    Shape { version: Version::V7, n_layers: 4, n_channels: 256, n_vocab: 500, low_ranks: [32, 32, 32, 64] };

fn small(mix: Mix) -> SyntheticModel {
    SyntheticModel { mix, ..SyntheticModel::new(SMALL) }
}

fn open(path: &Path) -> Model {
    let cpu = CpuOptions { exact: true, threads: Some(2), ..CpuOptions::default() };
    Model::open_with(path, &ModelOptions { device: Device::Cpu(cpu), ..ModelOptions::default() }).unwrap()
}

fn logits(model: &Model, n_tokens: usize) -> Vec<f32> {
    let n_vocab = model.config().n_vocab;
    let tokens: Vec<u32> = (0..n_tokens).map(|i| (1 + i * 7919 % (n_vocab - 1)) as u32).collect();
    let mut state = model.new_state().unwrap();
    let sequence = Sequence { state: &mut state, tokens: &tokens, want: Want::LAST_LOGITS };
    model.forward(&mut [sequence]).unwrap().remove(0).logits
}

/// The fraction of zeros in each layer's hidden vectors: from the normalised inputs, which the state keeps.
fn zeros(path: &Path, n_tokens: usize) -> Vec<f64> {
    let model = open(path);
    let file = ModelFile::open(path).unwrap();
    let catalog = Catalog::open(&file).unwrap();
    let (n_layers, c) = (model.config().n_layers, model.config().n_channels);
    let mut state = model.new_state().unwrap();
    let mut inputs = vec![state.read("ffn_shift").unwrap().values];
    for i in 0..n_tokens {
        let token = (1 + (i * i * 31 + i * 7919) % (model.config().n_vocab - 1)) as u32;
        let sequence = Sequence { state: &mut state, tokens: &[token], want: Want::NOTHING };
        model.forward(&mut [sequence]).unwrap();
        inputs.push(state.read("ffn_shift").unwrap().values);
    }
    (0..n_layers)
        .map(|layer| {
            let mix = |name| catalog.get(name, Some(layer)).ok().map(|weight| weight.vector());
            let stays = || mix("ffn.time_mix_k").map(|mix| mix.iter().map(|stays| 1.0 - stays).collect());
            let mix = mix("ffn.x_k").or_else(|| mix("ffn.time_maa_k")).or_else(stays).unwrap();
            let key = catalog.get("ffn.key.weight", Some(layer)).unwrap();
            let (mut row, mut n_zeros) = (vec![0.0; c], 0);
            for bytes in key.data.chunks_exact(key.data.len() / key.shape[0]) {
                key.dtype.decode_row(bytes, &mut row);
                for pair in inputs.windows(2) {
                    let at = layer * c..(layer + 1) * c;
                    let (last, this) = (&pair[0][at.clone()], &pair[1][at]);
                    let x = (0..c).map(|i| this[i] + (last[i] - this[i]) * mix[i]);
                    let product: f32 = x.zip(&row).map(|(x, w)| x * w).sum();
                    n_zeros += usize::from(product <= 0.0);
                }
            }
            n_zeros as f64 / (n_tokens * key.shape[0]) as f64
        })
        .collect()
}

#[test]
fn random_numbers_are_normal_and_independent() {
    let n = 200_000u64;
    let stream = Stream::new(7, "a tensor");
    let values: Vec<f64> = (0..n).map(|i| f64::from(stream.normal(i))).collect();
    let mean = |f: &dyn Fn(usize) -> f64| (0..n as usize).map(f).sum::<f64>() / n as f64;
    assert!(mean(&|i| values[i]).abs() < 0.01);
    assert!((mean(&|i| values[i].powi(2)) - 1.0).abs() < 0.015);
    assert!((mean(&|i| values[i].powi(4)) - 2.85).abs() < 0.06, "eight uniform numbers: 3 − 1.2 / 8");
    for lag in [1, 2, 64] {
        let product = mean(&|i| values[i] * values[(i + lag) % n as usize]);
        assert!(product.abs() < 0.01, "{lag}: {product}");
    }
    let other = Stream::new(7, "another tensor");
    assert!(mean(&|i| values[i] * f64::from(other.normal(i as u64))).abs() < 0.01);
}

#[test]
fn quantiles_are_the_tables() {
    for (p, z) in
        [(0.5, 0.0), (0.8, 0.841_621_2), (0.9, 1.281_551_6), (0.975, 1.959_964), (0.99, 2.326_347_9)]
    {
        assert!((normal_quantile(p) - z).abs() < 1e-6, "{p}: {}", normal_quantile(p));
    }
}

#[test]
fn parameters_are_the_published_models() {
    let published =
        [("0.1b", 191_034_624), ("0.4b", 450_767_872), ("1.5b", 1_527_404_544), ("2.9b", 2_947_735_040)];
    for (name, n) in published {
        assert_eq!(Shape::by_name(name).unwrap().n_parameters().unwrap(), n, "{name}");
    }
    let largest = Shape::by_name("7.2B").unwrap().n_parameters().unwrap();
    assert!((7.1e9..7.3e9).contains(&(largest as f64)), "{largest}");
    assert_eq!(Shape::by_name("3b"), None);
}

#[test]
fn every_type_in_both_formats_says_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let mut expected: Option<Vec<f32>> = None;
    let limits = [
        (Mix::F32, 1e-5),
        (Mix::F16, 0.02),
        (Mix::BF16, 0.1),
        (Mix::Q8_0, 0.1),
        (Mix::Q6_K, 0.2),
        (Mix::Q5_K_M, 0.4),
        (Mix::Q4_K_M, 0.8),
    ];
    for (mix, limit) in limits {
        for ending in ["gguf", "safetensors"] {
            let path = folder.path().join(format!("{}.{ending}", mix.name()));
            let result = match ending {
                "gguf" => small(mix).write_gguf(&path, &mut |_, _| true),
                _ => small(mix).write_safetensors(&path, &mut |_, _| true),
            };
            if mix.matrices().is_quantized() && ending == "safetensors" {
                assert!(result.unwrap_err().to_string().contains("safetensors cannot hold Q"));
                assert!(!path.exists());
                continue;
            }
            assert!(!result.unwrap().has_vocabulary);
            let found = logits(&open(&path), 40);
            assert!(found.iter().all(|value| value.is_finite()));
            let expected = expected.get_or_insert_with(|| found.clone());
            let deviation = (expected.iter().map(|x| x * x).sum::<f32>() / expected.len() as f32).sqrt();
            let far =
                found.iter().zip(&*expected).map(|(a, e)| (a - e).abs()).fold(0.0, f32::max) / deviation;
            assert!(far < limit, "{} {ending}: {far}", mix.name());
        }
    }
}

#[test]
fn a_seed_is_a_file_byte_for_byte() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = |model: SyntheticModel, name: &str| {
        let path = folder.path().join(name);
        model.write_gguf(&path, &mut |_, _| true).unwrap();
        std::fs::read(&path).unwrap()
    };
    for mix in [Mix::Q8_0, Mix::Q4_K_M] {
        let first = bytes(small(mix), "a");
        assert_eq!(first, bytes(small(mix), "b"));
        assert_ne!(first, bytes(SyntheticModel { seed: 1, ..small(mix) }, "c"));
    }
}

#[test]
fn hidden_vectors_are_as_sparse_as_asked() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.gguf");
    for mix in [Mix::F16, Mix::Q8_0, Mix::Q4_K_M] {
        for asked in [0.5, 0.8, 0.9, 0.97] {
            SyntheticModel { zeros: asked, ..small(mix) }.write_gguf(&path, &mut |_, _| true).unwrap();
            let found = zeros(&path, 40);
            println!("{} {asked}: {found:.3?}", mix.name());
            let far = found.iter().find(|found| (*found - asked).abs() > 0.03);
            assert_eq!(far, None, "{} {asked}: {found:?}", mix.name());
        }
    }
}

#[test]
fn older_versions_are_like_the_newest() {
    let folder = tempfile::tempdir().unwrap();
    for (version, low_ranks) in [(Version::V4, [0; 4]), (Version::V5, [0; 4]), (Version::V6, [16, 32, 0, 0])]
    {
        let model = SyntheticModel::new(Shape { version, low_ranks, ..SMALL });
        let path = folder.path().join("m.gguf");
        model.write_gguf(&path, &mut |_, _| true).unwrap();
        let opened = open(&path);
        assert_eq!(opened.config().version, version);
        assert_eq!(opened.config().low_ranks.len(), if version == Version::V6 { 2 } else { 0 });
        assert!(logits(&opened, 600).iter().all(|value| value.is_finite()), "{version:?}");
        let found = zeros(&path, 40);
        assert!(found.iter().all(|found| (found - 0.9).abs() < 0.03), "{version:?}: {found:?}");
        let path = folder.path().join("m.safetensors");
        model.write_safetensors(&path, &mut |_, _| true).unwrap();
        let far = logits(&open(&path), 20)
            .iter()
            .zip(logits(&opened, 20))
            .fold(0.0f32, |far, (a, b)| far.max((a - b).abs()));
        // Low-rank matrices are F32 in one and F16 in the other.
        assert!(far < 0.02, "{version:?}: {far}");
    }
}

/// `WINGBEAT_SYNTHETIC=0.1b cargo test --release -p wingbeat official_shapes -- --nocapture` prints a large one's.
#[test]
fn official_shapes_are_as_sparse_as_asked() {
    let Ok(name) = std::env::var("WINGBEAT_SYNTHETIC") else {
        return println!("skipped: WINGBEAT_SYNTHETIC names no shape");
    };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.gguf");
    let shape = Shape::by_name(&name).expect("a named shape");
    SyntheticModel::new(shape).write_gguf(&path, &mut |_, _| true).unwrap();
    let found = zeros(&path, 24);
    println!("{name}: {found:.3?}");
    assert!(found.iter().all(|found| (found - SyntheticModel::TRAINED_ZEROS).abs() < 0.03));
}

#[test]
fn the_named_ones_carry_the_world_vocabulary() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.gguf");
    let model = SyntheticModel { mix: Mix::Q8_0, ..SyntheticModel::new(Shape::TINY) };
    assert!(model.write_gguf(&path, &mut |_, _| true).unwrap().has_vocabulary);
    let model = open(&path);
    assert_eq!(model.config().name, "synthetic RWKV-7 tiny, 0.90 zeros, seed 0");
    assert_eq!(
        model.tokenizer().unwrap().encode(b"The Eiffel tower").unwrap(),
        [6699, 304, 25740, 109, 39990]
    );
    assert!(logits(&model, 600).iter().all(|value| value.is_finite()));
}

#[test]
fn wrong_settings_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.gguf");
    let shape = |shape| SyntheticModel::new(shape);
    let zeros = |zeros| SyntheticModel { zeros, ..SyntheticModel::new(SMALL) };
    let cases = [
        (zeros(0.4), "zeros: expected 0.5 to 0.99, found 0.4"),
        (zeros(f64::NAN), "found NaN"),
        (zeros(1.0), "found 1"),
        (shape(Shape { n_layers: 0, ..SMALL }), "layers: expected 1 to 512, found 0"),
        (shape(Shape { n_channels: 100, ..SMALL }), "channels: expected a multiple of 64, found 100"),
        (shape(Shape { n_channels: usize::MAX, ..SMALL }), "channels"),
        (shape(Shape { n_vocab: 0, ..SMALL }), "vocabulary"),
        (shape(Shape { low_ranks: [32, 0, 32, 32], ..SMALL }), "low rank: expected 1 to 256, found 0"),
    ];
    for (model, what) in cases {
        let error = model.write_gguf(&path, &mut |_, _| true).unwrap_err().to_string();
        assert!(error.contains(what), "{what}: {error}");
    }
    let error = small(Mix::F16).write_gguf(&path, &mut |done, _| done < 3).unwrap_err().to_string();
    assert!(error.contains("stopped after 3 of"), "{error}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}
