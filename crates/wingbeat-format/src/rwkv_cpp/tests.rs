//! Files as rwkv.cpp's converter lays them out, and those that lie.

use super::*;
use crate::{FileFormat, FormatError, ModelFile, TensorSpec};

/// A file: version, then tensors by type number, innermost dimensions first, name and data.
fn file(version: u32, tensors: &[(u32, &[u32], &str, &[u8])]) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    for number in [version, 3, 2, 1, 1] {
        bytes.extend(number.to_le_bytes());
    }
    for (type_id, dims, name, data) in tensors {
        for number in [dims.len() as u32, name.len() as u32, *type_id].iter().chain(*dims) {
            bytes.extend(number.to_le_bytes());
        }
        bytes.extend(name.as_bytes());
        bytes.extend(*data);
    }
    bytes
}

fn read(bytes: Vec<u8>) -> Result<ModelFile, FormatError> {
    ModelFile::from_vec("m.bin", bytes)
}

fn refused(bytes: Vec<u8>, parts: &[&str]) {
    let message = read(bytes).expect_err("it should be refused").to_string();
    assert!(message.starts_with("m.bin: ") && !message.contains('\n'), "{message}");
    for part in parts {
        assert!(message.contains(part), "{message:?} lacks {part:?}");
    }
}

#[test]
fn tensors_lie_where_they_lay() {
    let ones = [1f32.to_le_bytes(), 2f32.to_le_bytes(), 3f32.to_le_bytes()].concat();
    let halves = [half::f16::from_f32(0.5).to_le_bytes(), half::f16::from_f32(-1.0).to_le_bytes()].concat();
    for version in VERSIONS {
        let file = read(file(version, &[(0, &[3], "a.weight", &ones), (1, &[1, 2], "b", &halves)])).unwrap();
        assert_eq!((file.format(), file.format_version()), (FileFormat::RwkvCpp, version));
        assert_eq!(file.metadata().u64("rwkv.cpp.n_vocab"), Some(3));
        assert_eq!(file.metadata().u64("rwkv.cpp.n_layer"), Some(1));
        assert_eq!(file.metadata().str("rwkv.cpp.data_type"), Some("FP16"));
        assert_eq!(file.tensor("a.weight").unwrap().to_f32(), [1.0, 2.0, 3.0]);
        let b = file.tensor("b").unwrap();
        assert_eq!((b.shape.as_slice(), b.to_f32()), (&[2, 1][..], vec![0.5, -1.0]));
        assert_eq!(b.data.as_ptr() as usize - file.bytes().as_ptr() as usize, file.bytes().len() - 4);
    }
}

#[test]
fn quantized_blocks_are_those_of_version_101() {
    for (id, (name, dtype)) in TYPES.iter().enumerate() {
        let Some(dtype) = *dtype else {
            refused(file(101, &[(id as u32, &[32], "w", &[0; 40])]), &["tensor \"w\"", name, "given up"]);
            continue;
        };
        let block = vec![0; 32 / dtype.block_len() * dtype.block_bytes()];
        let bytes = |version| file(version, &[(id as u32, &[32, 1], "w", &block)]);
        assert_eq!(read(bytes(101)).unwrap().tensor("w").unwrap().dtype, dtype);
        if dtype.is_quantized() {
            refused(bytes(100), &["tensor \"w\"", name, "version 100"]);
        }
    }
    refused(file(101, &[(10, &[1], "w", &[0; 4])]), &["number 10", "Q8_0"]);
    refused(file(101, &[(2, &[33], "w", &[0; 40])]), &["tensor \"w\"", "multiple of 32", "33"]);
}

#[test]
fn what_is_damaged_is_refused_by_name() {
    refused(file(99, &[]), &["rwkv.cpp", "version 100 or 101", "version 99"]);
    refused(file(1, &[]), &["from before GGUF"]);
    refused(MAGIC.to_vec(), &["truncated in header", "expected 8 bytes, found 4"]);
    refused(file(101, &[(0, &[], "w", &[])]), &["tensor at byte 24", "1 to 3 dimensions"]);
    refused(file(101, &[(0, &[1; 4], "w", &[0; 4])]), &["tensor at byte 24", "1 to 3 dimensions", "found 4"]);
    refused(file(101, &[(0, &[0], "w", &[])]), &["tensor \"w\"", "above zero"]);
    refused(file(101, &[(0, &[1], "", &[0; 4])]), &["a name of 1 to 255 bytes", "found 0"]);
    refused(file(101, &[(0, &[2], "w", &[0; 7])]), &["truncated in tensor \"w\"", "1 bytes are missing"]);
    refused(file(101, &[(0, &[u32::MAX; 3], "w", &[0; 7])]), &["tensor \"w\""]);
    refused(file(101, &[(0, &[1], "w", &[0; 4]), (0, &[1], "w", &[0; 4])]), &["tensor \"w\"", "a second"]);
    let mut bytes = file(101, &[(0, &[1], "wx", &[0; 4])]);
    let n = bytes.len();
    bytes[n - 6] = 0xff;
    refused(bytes, &["tensor at byte 24", "UTF-8"]);
    let whole = file(101, &[(0, &[3], "a", &[0; 12]), (1, &[2, 2], "b", &[0; 8])]);
    for cut in 4..whole.len() {
        // The end of a tensor is the end of a file; what is missing then is the model crate's to say.
        assert_eq!(read(whole[..cut].to_vec()).is_err(), cut != 24 && cut != 24 + 17 + 12, "{cut}");
    }
}

#[test]
fn what_is_written_is_read_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.bin");
    let spec = |name: &str, dtype, shape: &[usize]| TensorSpec {
        name: name.to_owned(),
        dtype,
        shape: shape.to_vec(),
    };
    let specs = [
        spec("emb.weight", DType::F16, &[2, 3]),
        spec("d", DType::F32, &[2, 1, 2]),
        spec("q", DType::Q5_1, &[1, 32]),
    ];
    let header = Header { n_vocab: 2, n_embed: 3, n_layer: 0, dtype: DType::F16 };
    let mut writer = Writer::create(&path, &header, &specs).unwrap();
    for spec in &specs {
        writer.write(&(0..spec.n_bytes().unwrap() as u8).collect::<Vec<u8>>()).unwrap();
    }
    writer.finish().unwrap();
    let read = ModelFile::open(&path).unwrap();
    assert_eq!(read.tensors().iter().map(|t| t.spec()).collect::<Vec<_>>(), specs);
    assert!(read.tensors().iter().all(|t| t.data.iter().enumerate().all(|(i, &b)| b == i as u8)));
    assert_eq!(read.metadata().u64("rwkv.cpp.n_embed"), Some(3));
    let refusal = |header: Header, specs: &[TensorSpec]| {
        Writer::create(&folder.path().join("x.bin"), &header, specs).unwrap_err().to_string()
    };
    assert!(refusal(header, &[spec("w", DType::Q4K, &[256])]).contains("tensor \"w\""));
    assert!(refusal(header, &[spec("w", DType::F32, &[1; 4])]).contains("1 to 3 dimensions"));
    assert!(refusal(header, &[spec("", DType::F32, &[1])]).contains("a name of"));
    assert!(refusal(Header { dtype: DType::BF16, ..header }, &[]).contains("BF16"));
    assert!(refusal(header, &[specs[0].clone(), specs[0].clone()]).contains("a second"));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}
