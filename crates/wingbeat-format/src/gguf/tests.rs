//! GGUF: everything written reads back; everything damaged is refused with the culprit's name.

use std::path::Path;

use proptest::prelude::*;

use crate::*;

/// A GGUF file put together by hand, so that it may be wrong.
#[derive(Clone)]
struct Raw {
    version: u32,
    n_tensors: u64,
    n_keys: u64,
    keys: Vec<u8>,
    infos: Vec<u8>,
    data: Vec<u8>,
}

fn string(text: &str) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat()
}

impl Raw {
    fn new() -> Raw {
        Raw { version: 3, n_tensors: 0, n_keys: 0, keys: Vec::new(), infos: Vec::new(), data: Vec::new() }
    }

    fn key(mut self, key: &str, kind: u32, value: &[u8]) -> Raw {
        self.n_keys += 1;
        self.keys.extend([&string(key)[..], &kind.to_le_bytes(), value].concat());
        self
    }

    fn tensor(mut self, name: &str, dims: &[u64], kind: u32, offset: u64) -> Raw {
        self.n_tensors += 1;
        self.infos.extend(string(name));
        self.infos.extend((dims.len() as u32).to_le_bytes());
        self.infos.extend(dims.iter().flat_map(|dim| dim.to_le_bytes()));
        self.infos.extend(kind.to_le_bytes());
        self.infos.extend(offset.to_le_bytes());
        self
    }

    fn data(mut self, n_bytes: usize) -> Raw {
        self.data = (0..n_bytes).map(|i| i as u8).collect();
        self
    }

    fn bytes(&self) -> Vec<u8> {
        let mut bytes = b"GGUF".to_vec();
        bytes.extend(self.version.to_le_bytes());
        bytes.extend(self.n_tensors.to_le_bytes());
        bytes.extend(self.n_keys.to_le_bytes());
        bytes.extend(&self.keys);
        bytes.extend(&self.infos);
        bytes.resize(bytes.len().next_multiple_of(32), 0);
        bytes.extend(&self.data);
        bytes
    }

    fn read(&self) -> Result<ModelFile, FormatError> {
        ModelFile::from_vec("raw.gguf", self.bytes())
    }

    /// The message of the refusal, which must have all of `parts` in it and be one line.
    #[track_caller]
    fn refused(&self, parts: &[&str]) {
        check_message(self.read(), parts);
    }
}

#[track_caller]
fn check_message(result: Result<ModelFile, FormatError>, parts: &[&str]) {
    let message = result.expect_err("the file is damaged").to_string();
    assert!(message.starts_with("raw.gguf: ") && !message.contains('\n'), "{message}");
    for part in parts {
        assert!(message.contains(part), "{part:?} is not in {message:?}");
    }
}

/// Metadata of every type, with the corners of each.
fn all_kinds() -> Metadata {
    let words: StringArray = [&b"one"[..], b"", b"\xff\x00"].into_iter().collect();
    [
        ("u8", Value::U8(u8::MAX)),
        ("i8", Value::I8(i8::MIN)),
        ("u16", Value::U16(u16::MAX)),
        ("i16", Value::I16(i16::MIN)),
        ("u32", Value::U32(u32::MAX)),
        ("i32", Value::I32(i32::MIN)),
        ("f32", Value::F32(1e-5)),
        ("u64", Value::U64(u64::MAX)),
        ("i64", Value::I64(i64::MIN)),
        ("f64", Value::F64(-0.1)),
        ("yes", Value::Bool(true)),
        ("no", Value::Bool(false)),
        ("string", "naïve".into()),
        ("empty", "".into()),
        ("broken", Value::String(vec![0xff, 0])),
        ("a.u8", Array::U8(vec![1, 255]).into()),
        ("a.i8", Array::I8(vec![1, -1]).into()),
        ("a.u16", Array::U16(vec![1, 65535]).into()),
        ("a.i16", Array::I16(vec![1, -1]).into()),
        ("a.u32", Array::U32(vec![1, u32::MAX]).into()),
        ("a.i32", Array::I32(vec![1, -1]).into()),
        ("a.f32", Array::F32(vec![0.5, f32::INFINITY]).into()),
        ("a.u64", Array::U64(vec![1, u64::MAX]).into()),
        ("a.i64", Array::I64(vec![1, -1]).into()),
        ("a.f64", Array::F64(vec![0.5, -0.1]).into()),
        ("a.bool", Array::Bool(vec![true, false]).into()),
        ("a.none", Array::F32(vec![]).into()),
        ("a.strings", words.clone().into()),
        (
            "a.nested",
            Array::Nested(vec![
                Array::U8(vec![1]),
                Array::Strings(words),
                Array::Nested(vec![Array::Nested(vec![]), Array::I64(vec![-5])]),
            ])
            .into(),
        ),
    ]
    .into_iter()
    .collect()
}

fn spec(name: &str, dtype: DType, shape: &[usize]) -> TensorSpec {
    TensorSpec { name: name.to_owned(), dtype, shape: shape.to_vec() }
}

/// Writes tensors whose bytes count up, and gives the file's bytes.
fn write(metadata: &Metadata, specs: &[TensorSpec]) -> Result<Vec<u8>, FormatError> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("out.gguf");
    let mut writer = gguf::Writer::create(&path, metadata, specs)?;
    for spec in specs {
        let data: Vec<u8> = (0..spec.n_bytes().unwrap()).map(|i| i as u8).collect();
        let (first, second) = data.split_at(data.len() / 3);
        writer.write(first)?;
        writer.write(second)?;
    }
    writer.finish()?;
    Ok(std::fs::read(path).unwrap())
}

fn small_file() -> Vec<u8> {
    let specs = [
        spec("scalar", DType::F32, &[]),
        spec("vector", DType::F16, &[5]),
        spec("matrix", DType::Q8_0, &[3, 64]),
        spec("cube", DType::I32, &[2, 3, 4]),
        spec("k", DType::Q6K, &[1, 256]),
        spec("four", DType::BF16, &[1, 2, 1, 16]),
    ];
    write(&all_kinds(), &specs).unwrap()
}

#[test]
fn everything_written_reads_back() {
    let file = ModelFile::from_vec("small", small_file()).unwrap();
    assert_eq!((file.format(), file.format_version()), (FileFormat::Gguf, 3));
    assert_eq!(*file.metadata(), all_kinds());
    let shapes: Vec<_> = file.tensors().iter().map(|t| (t.name.as_str(), t.dtype, t.shape.clone())).collect();
    assert_eq!(
        shapes,
        [
            ("scalar", DType::F32, vec![]),
            ("vector", DType::F16, vec![5]),
            ("matrix", DType::Q8_0, vec![3, 64]),
            ("cube", DType::I32, vec![2, 3, 4]),
            ("k", DType::Q6K, vec![1, 256]),
            ("four", DType::BF16, vec![1, 2, 1, 16]),
        ]
    );
    let base = file.bytes().as_ptr() as usize;
    for tensor in file.tensors() {
        assert!(tensor.data.iter().enumerate().all(|(i, &b)| b == i as u8), "{}", tensor.name);
        assert_eq!((tensor.data.as_ptr() as usize - base) % 32, 0, "{}", tensor.name);
    }
    assert_eq!(file.len_bytes() % 32, 0);
}

#[test]
fn alignment_is_what_the_metadata_say() {
    let specs = [spec("a", DType::F32, &[1]), spec("b", DType::F32, &[1])];
    for alignment in [1u32, 8, 64, 4096] {
        let metadata: Metadata = [("general.alignment", alignment)].into_iter().collect();
        let file = ModelFile::from_vec("aligned", write(&metadata, &specs).unwrap()).unwrap();
        let base = file.bytes().as_ptr() as usize;
        let places: Vec<_> = file.tensors().iter().map(|t| t.data.as_ptr() as usize - base).collect();
        assert_eq!(places[1] - places[0], alignment.max(4) as usize);
        assert!(places.iter().all(|place| place.is_multiple_of(alignment as usize)));
    }
    for bad in [Value::U32(0), Value::U32(24), Value::U32(1 << 20), Value::from("32"), Value::I32(-32)] {
        let message =
            write(&[("general.alignment", bad)].into_iter().collect(), &specs).unwrap_err().to_string();
        assert!(message.contains("general.alignment") && message.contains("power of two"), "{message}");
    }
    Raw::new().key("general.alignment", 4, &24u32.to_le_bytes()).refused(&["general.alignment", "U32(24)"]);
}

#[test]
fn version_2_is_read_and_others_are_named() {
    let mut raw = Raw::new().tensor("t", &[4], 0, 0).data(16);
    raw.version = 2;
    assert_eq!(raw.read().unwrap().format_version(), 2);
    for (version, part) in [
        (1, "version 1"),
        (4, "version 4"),
        (0, "version 0"),
        (3u32.swap_bytes(), "version 3 in big-endian byte order"),
    ] {
        raw.version = version;
        raw.refused(&["GGUF", "expected version 2 or 3 in little-endian", part]);
    }
}

#[test]
fn dimensions_are_reversed_and_data_found() {
    // Q4_0, 2 rows of 64; an F32 vector after it; both are found by name.
    let file = Raw::new().tensor("m", &[64, 2], 2, 0).tensor("v", &[3], 0, 96).data(108).read().unwrap();
    let (m, v) = (file.tensor("m").unwrap(), file.tensor("v").unwrap());
    assert_eq!((m.dtype, &m.shape[..], m.data.len()), (DType::Q4_0, &[2, 64][..], 72));
    assert_eq!((v.dtype, &v.shape[..], v.data[0]), (DType::F32, &[3][..], 96));
    // The file's end is the last tensor's; data without an owner may lie between.
    assert!(Raw::new().tensor("v", &[3], 0, 64).data(76).read().is_ok());
}

#[test]
fn parts_of_a_split_model_are_refused() {
    let count = |n: u16| Raw::new().key("split.count", 2, &n.to_le_bytes());
    assert!(count(1).read().is_ok() && count(0).read().is_ok());
    let whole = "GGUF: expected a model in one file";
    count(3).key("split.no", 2, &1u16.to_le_bytes()).refused(&[whole, "part 2 of 3", "--merge"]);
    count(3).refused(&[whole, "part ? of 3"]);
}

#[test]
fn damaged_tensors_are_refused_by_name() {
    let one = |dims: &[u64], kind, offset| Raw::new().tensor("blk.7.w", dims, kind, offset).data(64);
    assert!(one(&[4], 0, 32).read().is_ok());
    one(&[16], 0, 32).refused(&["\"blk.7.w\"", "32 bytes are missing"]);
    one(&[4], 0, 1 << 40).refused(&["\"blk.7.w\"", "bytes are missing"]);
    one(&[4], 0, !31).refused(&["\"blk.7.w\"", "data offset of 18446744073709551584"]);
    one(&[4], 0, 8).refused(&["\"blk.7.w\"", "multiple of 32", "found 8"]);
    one(&[4; 5], 0, 0).refused(&["\"blk.7.w\"", "at most 4 dimensions", "found 5"]);
    one(&[4, 0], 0, 0).refused(&["\"blk.7.w\"", "dimension of 0"]);
    one(&[1 << 32, 1 << 32], 0, 0).refused(&["\"blk.7.w\"", "fits the address space", "4294967296"]);
    one(&[u64::MAX], 0, 0).refused(&["\"blk.7.w\"", "fits the address space", "18446744073709551615"]);
    one(&[256, 1 << 62], 14, 0).refused(&["\"blk.7.w\"", "fits the address space"]);
    one(&[33], 8, 0).refused(&["\"blk.7.w\"", "multiple of 32 values for Q8_0", "found 33"]);
    one(&[256], 23, 0).refused(&["\"blk.7.w\"", "Q4_K", "Q5_K", "found IQ4_XS (type 23)"]);
    one(&[256], 999, 0).refused(&["\"blk.7.w\"", "unknown type 999"]);
    one(&[4], 0, 0).tensor("blk.7.w", &[4], 0, 32).refused(&["tensor \"blk.7.w\"", "a second"]);
    one(&[9], 0, 0).tensor("over", &[4], 0, 32).refused(&["\"blk.7.w\"", "\"over\"", "byte 36", "found 32"]);
    // The tensor that ends last says what is missing, whatever the order.
    Raw::new().tensor("b", &[64], 0, 64).tensor("a", &[4], 0, 0).refused(&["\"b\"", "320 bytes are missing"]);

    let mut raw = one(&[4], 0, 0);
    raw.infos[8] = 0xff;
    raw.refused(&["name of tensor 0", "UTF-8"]);
    raw.infos[..8].copy_from_slice(&u64::MAX.to_le_bytes());
    raw.refused(&["name of tensor 0", "bytes are missing"]);
    let mut raw = one(&[4], 0, 0);
    raw.n_tensors = u64::MAX;
    assert!(raw.read().is_err());
}

#[test]
fn damaged_metadata_are_refused_by_key() {
    let array = |kind: u32, n: u64| [&kind.to_le_bytes()[..], &n.to_le_bytes()].concat();
    let one = |kind, value: &[u8]| Raw::new().key("some.key", kind, value);
    assert!(one(7, &[1]).read().is_ok());
    one(7, &[2]).refused(&["\"some.key\"", "truth value", "found 2"]);
    one(13, &[0; 8]).refused(&["\"some.key\"", "value type from 0 to 12", "found 13"]);
    one(8, &u64::MAX.to_le_bytes()).refused(&["\"some.key\"", "truncated"]);
    one(9, &array(77, 0)).refused(&["\"some.key\"", "value type", "found 77"]);
    for kind in [0, 1, 2, 3, 4, 5, 6, 7, 10, 11, 12] {
        for n in [1000, u64::MAX / 2, u64::MAX] {
            one(9, &array(kind, n)).refused(&["\"some.key\"", "bytes are missing"]);
        }
    }
    one(9, &array(8, u64::MAX)).refused(&["\"some.key\"", "18446744073709551615 strings"]);
    one(9, &[array(8, 1), u64::MAX.to_le_bytes().to_vec()].concat()).refused(&["\"some.key\"", "1 strings"]);
    one(9, &[array(7, 2), vec![1, 9]].concat()).refused(&["\"some.key\"", "truth value", "found 9"]);
    let deep = |n: usize| [array(9, 1).repeat(n - 1), array(0, 0)].concat();
    assert!(one(9, &deep(4)).read().is_ok());
    one(9, &deep(5)).refused(&["\"some.key\"", "nested at most 4 deep"]);
    one(9, &deep(100_000)).refused(&["\"some.key\"", "nested at most 4 deep"]);
    one(4, &[0; 4]).key("some.key", 4, &[0; 4]).refused(&["metadata key \"some.key\"", "a second"]);
    let mut raw = one(4, &[0; 4]);
    raw.n_keys = u64::MAX;
    assert!(raw.read().is_err());
}

#[test]
fn writers_refuse_what_no_reader_takes() {
    let none = Metadata::new();
    let refused = |metadata: &Metadata, specs: &[TensorSpec], parts: &[&str]| {
        let message = write(metadata, specs).unwrap_err().to_string();
        assert!(parts.iter().all(|part| message.contains(part)), "{parts:?} are not in {message:?}");
    };
    let long = "n".repeat(64);
    refused(&none, &[spec(&long, DType::F32, &[1])], &[&long, "at most 63 bytes", "found 64"]);
    refused(&none, &[spec("t", DType::F32, &[0, 2])], &["\"t\"", "[0, 2]"]);
    refused(&none, &[spec("t", DType::F32, &[1; 5])], &["\"t\"", "at most 4 dimensions"]);
    refused(
        &none,
        &[spec("t", DType::Q8_0, &[4, 31])],
        &["\"t\"", "multiple of 32 values for Q8_0", "found 31"],
    );
    refused(&none, &[spec("t", DType::F32, &[usize::MAX, 2])], &["\"t\"", "address space"]);
    refused(&none, &[spec("t", DType::F32, &[1]), spec("t", DType::F32, &[1])], &["\"t\"", "a second"]);
    let deep = (0..4).fold(Array::U8(vec![]), |inner, _| Array::Nested(vec![inner]));
    refused(&[("deep", deep)].into_iter().collect(), &[], &["\"deep\"", "nested at most 4 deep"]);
    let missing = gguf::Writer::create(Path::new("/absent/x.gguf"), &none, &[]).unwrap_err().to_string();
    assert!(missing.contains("/absent/x.gguf"), "{missing}");
}

/// A 65536-entry vocabulary costs one pass over its bytes.
#[test]
fn a_vocabulary_stays_where_it_is() {
    let words: StringArray = (0..65536).map(|i| i.to_string()).collect();
    let metadata: Metadata = [("tokenizer.ggml.tokens", words.clone())].into_iter().collect();
    let file = ModelFile::from_vec("vocabulary", write(&metadata, &[]).unwrap()).unwrap();
    let read = file.metadata().strings("tokenizer.ggml.tokens").unwrap();
    assert_eq!(*read, words);
    let inside = file.bytes().as_ptr_range();
    assert!(inside.contains(&read.iter().next().unwrap().as_ptr()), "no copy was made");
}

/// Reads bytes that may be anything; where that succeeds, so must everything one can do with the file.
fn read_all_of(bytes: Vec<u8>) {
    if let Ok(file) = ModelFile::from_vec("fuzzed", bytes) {
        for tensor in file.tensors() {
            assert_eq!(tensor.to_f32().len(), tensor.n_elements());
        }
        for (_, value) in file.metadata().iter() {
            let _ = format!("{value:?}");
        }
    }
}

#[test]
fn every_truncation_is_refused() {
    let bytes = small_file();
    let file = ModelFile::from_vec("small", bytes.clone()).unwrap();
    let base = file.bytes().as_ptr() as usize;
    let end = file.tensors().iter().map(|t| t.data.as_ptr() as usize - base + t.data.len()).max().unwrap();
    for n in 0..end {
        let error = ModelFile::from_vec("small", bytes[..n].to_vec()).expect_err("something is missing");
        assert!(!error.to_string().contains('\n'), "{error}");
    }
    // What follows the last tensor is padding.
    assert!(end > bytes.len() - 32 && ModelFile::from_vec("small", bytes[..end].to_vec()).is_ok());
}

/// Places of bytes, and what is put there.
fn flips() -> impl Strategy<Value = Vec<(prop::sample::Index, u8)>> {
    prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6)
}

fn any_bytes(length: std::ops::Range<usize>) -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), length)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn flipped_bytes_never_panic(flips in flips()) {
        let mut bytes = small_file_once().to_vec();
        for (place, byte) in flips {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        read_all_of(bytes);
    }

    #[test]
    fn any_bytes_after_the_magic_never_panic(tail in any_bytes(0..200), counts in 0u64..4) {
        let mut bytes = b"GGUF\x03\0\0\0".to_vec();
        bytes.extend(counts.to_le_bytes());
        bytes.extend(counts.to_le_bytes());
        bytes.extend(tail);
        read_all_of(bytes);
    }
}

fn small_file_once() -> &'static [u8] {
    static FILE: std::sync::OnceLock<Vec<u8>> = std::sync::OnceLock::new();
    FILE.get_or_init(small_file)
}
