//! Checkpoints: those that torch writes read back; everything damaged or hostile is refused with the culprit's
//! name.

mod archive;
mod pickle;
mod writing;

use std::path::PathBuf;

use proptest::prelude::*;

use crate::*;

/// An entry of an archive, with what its records say, so that they may be wrong.
#[derive(Clone)]
struct Entry {
    name: Vec<u8>,
    data: Vec<u8>,
    flags: u16,
    method: u16,
    packed_bytes: u32,
    n_bytes: u32,
    /// The place of its header and the field of extra numbers, where they are not the usual ones.
    header: Option<u32>,
    extra: Vec<u8>,
    local_name: Vec<u8>,
}

fn entry(name: &str, data: &[u8]) -> Entry {
    let n_bytes = data.len() as u32;
    Entry {
        name: name.into(),
        data: data.to_vec(),
        flags: 0,
        method: 0,
        packed_bytes: n_bytes,
        n_bytes,
        header: None,
        extra: Vec::new(),
        local_name: name.into(),
    }
}

fn zip(entries: &[Entry]) -> Vec<u8> {
    let (mut out, mut directory) = (Vec::new(), Vec::new());
    for entry in entries {
        let place = entry.header.unwrap_or(out.len() as u32);
        let n_local = entry.local_name.len() as u16;
        out.extend(b"PK\x03\x04\0\0");
        out.extend([entry.flags, entry.method, 0, 0].iter().flat_map(|x| x.to_le_bytes()));
        let sizes = [entry.packed_bytes, entry.n_bytes].map(u32::to_le_bytes).concat();
        out.extend(
            [&[0; 4], &sizes[..], &n_local.to_le_bytes(), &[0; 2], &entry.local_name, &entry.data].concat(),
        );
        directory.extend(b"PK\x01\x02\0\0\0\0");
        directory.extend([entry.flags, entry.method, 0, 0, 0, 0].iter().flat_map(|x| x.to_le_bytes()));
        directory.extend(&sizes);
        let lengths = [entry.name.len() as u16, entry.extra.len() as u16, 0, 0, 0, 0, 0];
        directory.extend(lengths.iter().flat_map(|x| x.to_le_bytes()));
        directory.extend([&place.to_le_bytes(), &entry.name[..], &entry.extra].concat());
    }
    let (start, n_bytes) = (out.len() as u32, directory.len() as u32);
    let n = (entries.len() as u16).to_le_bytes();
    out.extend(directory);
    out.extend(
        [&b"PK\x05\x06\0\0\0\0"[..], &n, &n, &n_bytes.to_le_bytes(), &start.to_le_bytes(), &[0; 2]].concat(),
    );
    out
}

/// The archive of a checkpoint: a pickle and storages 0, 1, … of these bytes.
fn entries(pickle: &[u8], storages: &[&[u8]]) -> Vec<Entry> {
    let mut entries =
        vec![entry("m/data.pkl", pickle), entry("m/version", b"3\n"), entry("m/byteorder", b"little")];
    entries.extend(storages.iter().enumerate().map(|(key, data)| entry(&format!("m/data/{key}"), data)));
    entries
}

fn read(bytes: Vec<u8>) -> Result<ModelFile, FormatError> {
    ModelFile::from_vec("raw.pth", bytes)
}

/// The message of the refusal must have all of `parts` in it and be one line.
#[track_caller]
fn refused(bytes: Vec<u8>, parts: &[&str]) {
    let message = read(bytes).expect_err("the file is damaged").to_string();
    assert!(message.starts_with("raw.pth: ") && !message.contains('\n'), "{message}");
    for part in parts {
        assert!(message.contains(part), "{part:?} is not in {message:?}");
    }
}

fn text(text: &str) -> Vec<u8> {
    [&b"X"[..], &(text.len() as u32).to_le_bytes(), text.as_bytes()].concat()
}

fn int(n: i64) -> Vec<u8> {
    [&[0x8a, 8][..], &n.to_le_bytes()].concat()
}

fn ints(numbers: &[i64]) -> Vec<u8> {
    [b"(".to_vec(), numbers.iter().flat_map(|&n| int(n)).collect(), b"t".to_vec()].concat()
}

/// Instructions that build a tensor.
fn tensor(class: &str, key: &str, n: i64, offset: i64, shape: &[i64], strides: &[i64]) -> Vec<u8> {
    let storage = [
        &b"(("[..],
        &text("storage"),
        format!("ctorch\n{class}\n").as_bytes(),
        &text(key),
        &text("cpu"),
        &int(n),
        b"tQ",
    ]
    .concat();
    let view = [storage, int(offset), ints(shape), ints(strides)].concat();
    [&b"ctorch._utils\n_rebuild_tensor_v2\n"[..], &view, b"\x89ccollections\nOrderedDict\n)RtR"].concat()
}

/// A pickle of a dict of entries, each given by the instructions that build its value.
fn dict(entries: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let entries: Vec<u8> =
        entries.iter().flat_map(|(name, value)| [text(name), value.clone()].concat()).collect();
    [&b"\x80\x02}("[..], &entries, b"u."].concat()
}

/// A checkpoint of two tensors.
fn small_file() -> Vec<u8> {
    let pickle = dict(&[
        ("w", tensor("HalfStorage", "0", 6, 0, &[2, 3], &[3, 1])),
        ("b", tensor("FloatStorage", "1", 2, 1, &[1], &[1])),
        ("n", int(5)),
    ]);
    zip(&entries(&pickle, &[&[0, 0x3c].repeat(6), &[0, 0, 0x80, 0x3f].repeat(2)]))
}

fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(name)
}

#[test]
fn reads_what_torch_writes() {
    let file = ModelFile::open(fixture("tests/fixtures/rwkv7-1x64-bf16.pth")).unwrap();
    assert_eq!(
        (file.format(), file.format_version(), file.format().name()),
        (FileFormat::Pth, 3, "PyTorch checkpoint")
    );
    assert!(file.metadata().is_empty());
    assert_eq!(file.tensor("blocks.0.att.r_k").unwrap().shape, [1, 64]);
    let base = file.bytes().as_ptr() as usize;
    for tensor in file.tensors() {
        assert!(tensor.data.is_mapped() && tensor.dtype == DType::BF16);
        assert_eq!((tensor.data.as_ptr() as usize - base) % 64, 0, "{}", tensor.name);
    }

    let original = fixture("../../tests/fixtures/rwkv7-1x64.safetensors");
    if !original.exists() {
        println!("skipped: {} is not there", original.display());
        return;
    }
    let original = ModelFile::open(original).unwrap();
    assert_eq!(file.tensors().len(), original.tensors().len());
    for tensor in original.tensors() {
        let found = file.tensor(&tensor.name).expect("all have been converted");
        assert_eq!(found.shape, tensor.shape, "{}", tensor.name);
        let mut expected = Vec::new();
        DType::BF16.encode_row(&tensor.to_f32(), &mut expected).unwrap();
        assert!(*found.data == expected, "{}", tensor.name);
    }
}

#[test]
fn reads_all_that_a_dict_of_tensors_may_have() {
    let file = ModelFile::open(fixture("tests/fixtures/nested.pth")).unwrap();
    let counting = |range: std::ops::Range<u8>| range.map(f32::from).collect::<Vec<_>>();
    let expected: [(&str, DType, &[usize], Vec<f32>); 9] = [
        ("whole", DType::F32, &[3, 4], counting(0..12)),
        ("row", DType::F32, &[4], counting(4..8)),
        ("rows", DType::F32, &[2, 1, 4], counting(4..12)),
        ("half", DType::F16, &[2], vec![0.5, -2.0]),
        ("double", DType::F64, &[], vec![0.1]),
        ("long", DType::I64, &[1, 2], vec![-1.0, (1u64 << 40) as f32]),
        ("int", DType::I32, &[1], vec![-7.0]),
        ("none", DType::F32, &[0, 3], vec![]),
        ("name with \"quotes\"\n", DType::F32, &[1], vec![11.0]),
    ];
    assert_eq!(file.tensors().len(), expected.len());
    for (tensor, (name, dtype, shape, values)) in file.tensors().iter().zip(expected) {
        assert_eq!((tensor.name.as_str(), tensor.dtype, &tensor.shape[..]), (name, dtype, shape));
        assert_eq!(tensor.to_f32(), values, "{name}");
    }
    // What stands beside the tensors, not what stands beside their dict.
    let metadata = file.metadata();
    assert_eq!(metadata.len(), 4);
    assert_eq!((metadata.u64("n_layer"), metadata.str("tag")), (Some(12), Some("été")));
    assert_eq!((metadata.f32("rate"), metadata.bool("tied")), (Some(0.25), Some(true)));
}

#[test]
fn data_may_lie_anywhere() {
    for shift in 0..8 {
        let mut bytes = entries(
            &dict(&[("w", tensor("FloatStorage", "0", 2, 1, &[1], &[1]))]),
            &[&[0, 0, 0, 0, 0, 0, 0x80, 0x3f]],
        );
        bytes.insert(0, entry(&"x".repeat(shift), b""));
        let file = read(zip(&bytes)).unwrap();
        assert_eq!(file.tensors()[0].to_f32(), [1.0]);
    }
}

#[test]
fn every_truncation_is_refused() {
    for n in 0..small_file().len() {
        let error = read(small_file()[..n].to_vec()).expect_err("something is missing");
        assert!(!error.to_string().contains('\n'), "{error}");
    }
    // Truncated pickles in whole archives.
    let pickle = dict(&[("w", tensor("HalfStorage", "0", 6, 0, &[2, 3], &[3, 1]))]);
    assert!(read(zip(&entries(&pickle, &[&[0; 12]]))).is_ok());
    for n in 0..pickle.len() {
        refused(zip(&entries(&pickle[..n], &[&[0; 12]])), &["m/data.pkl"]);
    }
}

fn read_all_of(bytes: Vec<u8>) {
    if let Ok(file) = read(bytes) {
        for tensor in file.tensors() {
            assert_eq!(tensor.to_f32().len(), tensor.n_elements());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn flipped_bytes_never_panic(flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6)) {
        let mut bytes = small_file();
        for (place, byte) in flips {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        read_all_of(bytes);
    }

    /// Any instructions at all, from those that there are.
    #[test]
    fn random_pickles_never_panic(
        instructions in prop::collection::vec(prop::sample::select(&b"NKq\x01h\x01(0122)ttul]}dase\x85\x86\x87\x94QRb\x93."[..]), 0..80),
    ) {
        let pickle = [&b"\x80\x02}K\x01K\x02ccollections\nOrderedDict\n"[..], &instructions].concat();
        read_all_of(zip(&entries(&pickle, &[])));
    }
}
