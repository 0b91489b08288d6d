//! Residual streams beyond what a half can hold: no device overflows, and a file in which the stream is halved after
//! every few layers, as llama.cpp's converter of RWKV-6 does it, gives what the file without gives.

use std::path::Path;
use wingbeat::{
    CpuOptions, Device, EmbedOptions, EmbeddingOf, GpuOptions, Model, ModelFile, ModelOptions, Sequence,
    Want, adapters,
    convert::{ConvertOptions, convert},
};
use wingbeat_backend::tolerance::MODEL_F32_REL;
use wingbeat_format::{DType, Metadata, TensorSpec, Value, gguf};

fn fixture(name: &str) -> ModelFile {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures").join(name);
    ModelFile::open(path).expect("a fixture")
}

/// The reference, the CPU, and every adapter there is.
fn devices() -> Vec<Device> {
    let gpu = |number| {
        let mut options = GpuOptions::default();
        options.adapter = wingbeat::AdapterChoice::Number(number);
        Device::Gpu(options)
    };
    let cpu = Device::Cpu(CpuOptions { threads: Some(2), ..CpuOptions::default() });
    [Device::Reference, cpu].into_iter().chain((0..adapters().len()).map(gpu)).collect()
}

fn open(path: &Path, device: Device) -> Model {
    Model::open_with(path, &ModelOptions { device, ..ModelOptions::default() }).expect("a model")
}

fn tokens() -> Vec<u32> {
    (0..40).map(|i| (i * 37 + i * i) % 128).collect()
}

fn logits(model: &Model) -> Vec<f32> {
    let mut state = model.new_state().expect("a state");
    let sequence = Sequence { state: &mut state, tokens: &tokens(), want: Want::ALL_LOGITS };
    model.forward(&mut [sequence]).expect("a forward call").remove(0).logits
}

fn layer(model: &Model) -> Vec<f32> {
    let options = EmbedOptions { of: EmbeddingOf::Layer(1), ..EmbedOptions::default() };
    model.embed_tokens(&[tokens()], &options, &mut |_| true).expect("an embedding").values().to_vec()
}

/// The largest difference in units of the expected values' standard deviation.
fn difference(actual: &[f32], expected: &[f32]) -> f64 {
    let n = expected.len() as f64;
    let mean = expected.iter().map(|&x| f64::from(x)).sum::<f64>() / n;
    let deviation = (expected.iter().map(|&x| (f64::from(x) - mean).powi(2)).sum::<f64>() / n).sqrt();
    let far = |(a, e): (&f32, &f32)| (f64::from(*a) - f64::from(*e)).abs();
    actual.iter().zip(expected).map(far).fold(0.0, |m, d| if d.is_nan() { f64::INFINITY } else { d.max(m) })
        / deviation
}

/// The file as a GGUF with F32 tensors, some of them changed.
fn changed(
    source: &ModelFile,
    target: &Path,
    metadata: impl FnOnce(&mut Metadata),
    factor: impl Fn(&str) -> f32,
) {
    let plain = target.with_extension("plain.gguf");
    convert(source, &plain, &ConvertOptions::default(), &mut |_, _| true).expect("converted");
    let plain = ModelFile::open(&plain).expect("a GGUF");
    let mut keys: Metadata = plain.metadata().iter().map(|(k, v)| (k.to_owned(), v.clone())).collect();
    metadata(&mut keys);
    let spec = |t: &wingbeat_format::Tensor| TensorSpec { dtype: DType::F32, ..t.spec() };
    let specs: Vec<TensorSpec> = plain.tensors().iter().map(spec).collect();
    let mut writer = gguf::Writer::create(target, &keys, &specs).expect("a writer");
    for tensor in plain.tensors() {
        let values = tensor.to_f32().into_iter().map(|value| value * factor(&tensor.name));
        writer.write(&values.flat_map(f32::to_le_bytes).collect::<Vec<u8>>()).expect("written");
    }
    writer.finish().expect("finished");
}

#[test]
fn a_halved_stream_gives_the_same_logits() {
    let folder = tempfile::tempdir().expect("a folder");
    let (plain, halved) = (folder.path().join("plain.gguf"), folder.path().join("halved.gguf"));
    let source = fixture("rwkv6-2x64.safetensors");
    changed(&source, &plain, |_| {}, |_| 1.0);
    let key = |keys: &mut Metadata| drop(keys.insert("rwkv6.rescale_every_n_layers", Value::U32(1)));
    // What the second layer adds to the stream.
    let half = |name: &str| match name {
        "blk.1.time_mix_output.weight" | "blk.1.channel_mix_value.weight" => 0.5,
        _ => 1.0,
    };
    changed(&source, &halved, key, half);
    for device in devices() {
        let (plain, halved) = (open(&plain, device.clone()), open(&halved, device));
        assert_eq!(halved.config().rescaled_every, 1);
        let far = difference(&logits(&halved), &logits(&plain));
        assert!(far <= MODEL_F32_REL, "{}: logits {far:.1e}", plain.device());
        let far = difference(&layer(&halved), &layer(&plain));
        assert!(far <= MODEL_F32_REL, "{}: the stream after the last layer {far:.1e}", plain.device());
    }
    // And it is the weights that were halved: without the key, the logits are others.
    let wrong = folder.path().join("wrong.gguf");
    changed(&source, &wrong, |_| {}, half);
    let far =
        difference(&logits(&open(&wrong, Device::Reference)), &logits(&open(&plain, Device::Reference)));
    assert!(far > 0.01, "{far:.1e}");
}

#[test]
fn streams_beyond_halves_do_not_overflow() {
    let folder = tempfile::tempdir().expect("a folder");
    for name in ["rwkv4-2x64", "rwkv5.1-2x64", "rwkv5.2-2x64", "rwkv6-2x64"] {
        let path = folder.path().join(format!("{name}.gguf"));
        // Sums of products of about 1, a hundred thousand times; the weights themselves are within halves.
        let large = |name: &str| {
            let adds =
                name.ends_with(".time_mix_output.weight") || name.ends_with(".channel_mix_value.weight");
            if adds { 1e5 } else { 1.0 }
        };
        changed(&fixture(&format!("{name}.safetensors")), &path, |_| {}, large);
        let mut expected = None;
        for device in devices() {
            let model = open(&path, device);
            let largest = layer(&model).iter().fold(0.0f32, |m, x| m.max(x.abs()));
            assert!(largest > 65504.0, "{name}: {largest}");
            let found = logits(&model);
            let far = difference(&found, expected.get_or_insert_with(|| found.clone()));
            assert!(far <= MODEL_F32_REL, "{name} on {}: {far:.1e}", model.device());
        }
    }
}
