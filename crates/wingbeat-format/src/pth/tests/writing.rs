//! What is written is read again, by our reader and as a zip archive.

use super::*;
use crate::pth::Writer;

fn spec(name: &str, dtype: DType, shape: &[usize]) -> TensorSpec {
    TensorSpec { name: name.to_owned(), dtype, shape: shape.to_vec() }
}

/// Bytes that differ from tensor to tensor.
fn data(spec: &TensorSpec) -> Vec<u8> {
    (0..spec.n_bytes().unwrap()).map(|i| (i * 7 + spec.name.len()) as u8).collect()
}

#[test]
fn what_is_written_is_read_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.pth");
    let specs = [
        spec("emb.weight", DType::BF16, &[3, 70_000]),
        spec("none", DType::F32, &[0, 3]),
        spec("blocks.0.att.w0", DType::F32, &[1, 1, 5]),
        spec("scalar", DType::F64, &[]),
        spec("été", DType::F16, &[1]),
        spec("ids", DType::I64, &[2]),
    ];
    let metadata: Metadata =
        [("general.name", Value::from("n\u{e9}")), ("n", Value::U32(7))].into_iter().collect();
    let mut writer = Writer::create(&path, &metadata, &specs).unwrap();
    for spec in &specs {
        data(spec).chunks(100_001).for_each(|bytes| writer.write(bytes).unwrap());
    }
    writer.finish().unwrap();
    let file = ModelFile::open(&path).unwrap();
    assert_eq!((file.format(), file.format_version()), (FileFormat::Pth, 3));
    assert_eq!((file.metadata().str("general.name"), file.metadata().str("n")), (Some("né"), Some("7")));
    assert_eq!(file.tensors().iter().map(Tensor::spec).collect::<Vec<_>>(), specs);
    let base = file.bytes().as_ptr() as usize;
    for (tensor, spec) in file.tensors().iter().zip(&specs) {
        assert_eq!(*tensor.data, data(spec), "{}", tensor.name);
        assert!(tensor.data.is_empty() || (tensor.data.as_ptr() as usize - base).is_multiple_of(64));
    }
    // Sums, which our reader passes over: python's zipfile and unzip do not.
    let bytes = std::fs::read(&path).unwrap();
    let mut at = 0;
    let mut n_entries = 0;
    while bytes[at..].starts_with(b"PK\x03\x04") {
        let number = |place: usize| u32::from_le_bytes(bytes[at + place..at + place + 4].try_into().unwrap());
        let start = at + 30 + (number(26) as u16 as usize) + (number(28) as u16 as usize);
        let end = start + number(22) as usize;
        assert_eq!(number(14), crate::pth::crc::Crc::of(&bytes[start..end]), "entry {n_entries}");
        (at, n_entries) = (end, n_entries + 1);
    }
    assert_eq!(n_entries, 4 + specs.len());
}

#[test]
fn what_torch_cannot_hold_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.pth");
    let refusal =
        |specs: &[TensorSpec]| Writer::create(&path, &Metadata::new(), specs).unwrap_err().to_string();
    assert!(
        refusal(&[spec("w", DType::Q8_0, &[32])])
            .contains("tensor \"w\": expected one of the types of PyTorch")
    );
    assert!(refusal(&[spec("w", DType::F32, &[1]), spec("w", DType::F32, &[1])]).contains("a second"));
    let mut writer = Writer::create(&path, &Metadata::new(), &[spec("w", DType::F32, &[2])]).unwrap();
    writer.write(&[0; 7]).unwrap();
    assert!(writer.write(&[0; 2]).unwrap_err().to_string().contains("expected 8 bytes, found 9"));
    assert!(writer.finish().unwrap_err().to_string().contains("expected 8 bytes, found 7"));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    refused(
        zip(&[
            entries(&dict(&[("w", tensor("FloatStorage", "0", 1, 0, &[1], &[1]))]), &[&[0; 4]]),
            vec![entry("m/extra/wingbeat.json", b"{1}")],
        ]
        .concat()),
        &["m/extra/wingbeat.json", "an object of strings"],
    );
}
