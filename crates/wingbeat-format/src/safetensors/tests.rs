//! safetensors: everything written reads back; everything damaged is refused with the culprit's name.

use proptest::prelude::*;

use crate::*;

fn raw(json: &str, n_data: usize) -> Vec<u8> {
    let mut bytes = (json.len() as u64).to_le_bytes().to_vec();
    bytes.extend(json.as_bytes());
    bytes.extend((0..n_data).map(|i| i as u8));
    bytes
}

fn read(json: &str, n_data: usize) -> Result<ModelFile, FormatError> {
    ModelFile::from_vec("raw.st", raw(json, n_data))
}

/// The message of the refusal must have all of `parts` in it and be one line.
#[track_caller]
fn refused(json: &str, n_data: usize, parts: &[&str]) {
    let message = read(json, n_data).expect_err("the file is damaged").to_string();
    assert!(message.starts_with("raw.st: ") && !message.contains('\n'), "{message}");
    for part in parts {
        assert!(message.contains(part), "{part:?} is not in {message:?}");
    }
}

fn entry(name: &str, dtype: &str, shape: &str, start: u64, end: u64) -> String {
    format!(r#""{name}":{{"dtype":"{dtype}","shape":{shape},"data_offsets":[{start},{end}]}}"#)
}

#[test]
fn reads_what_the_format_allows() {
    let json = format!(
        r#"{{"__metadata__":{{"a":"x","é":"\u00e9\n"}},{},{},{},{}}}   "#,
        entry("w", "F16", "[2,3]", 4, 16),
        entry("scalar", "F32", "[]", 0, 4),
        entry("none", "I64", "[3,0]", 16, 16),
        entry("after a hole", "F64", "[1]", 19, 27),
    );
    // One byte more in the header puts the data at odd places.
    for json in [json.clone(), json + " "] {
        let file = read(&json, 30).unwrap();
        assert_eq!((file.format(), file.format_version()), (FileFormat::Safetensors, 1));
        let names: Vec<_> = file.tensors().iter().map(|t| t.name.as_str()).collect();
        assert_eq!(names, ["w", "scalar", "none", "after a hole"]);
        let w = file.tensor("w").unwrap();
        assert_eq!(
            (w.dtype, &w.shape[..], &*w.data),
            (DType::F16, &[2, 3][..], &(4..16).collect::<Vec<u8>>()[..])
        );
        assert_eq!(file.tensor("scalar").unwrap().to_f32(), [f32::from_le_bytes([0, 1, 2, 3])]);
        assert_eq!(
            (file.tensor("scalar").unwrap().n_elements(), file.tensor("none").unwrap().n_elements()),
            (1, 0)
        );
        assert!(file.tensor("none").unwrap().to_f32().is_empty());
        assert_eq!(file.tensor("after a hole").unwrap().data[0], 19);
        let metadata = file.metadata();
        assert_eq!((metadata.len(), metadata.str("a"), metadata.str("é")), (2, Some("x"), Some("é\n")));
    }
    assert!(read("{}", 0).unwrap().tensors().is_empty());
}

#[test]
fn damaged_tensors_are_refused_by_name() {
    let one = |dtype, shape, start, end, parts: &[&str]| {
        let parts: Vec<&str> = parts.iter().copied().chain(["\"att.w0\""]).collect();
        refused(&format!("{{{}}}", entry("att.w0", dtype, shape, start, end)), 16, &parts);
    };
    one("F32", "[5]", 0, 20, &["truncated", "4 bytes are missing"]);
    one(
        "F32",
        "[4]",
        u64::MAX - 15,
        u64::MAX,
        &["expected 16 bytes for shape [4] in F32", "18446744073709551600"],
    );
    one("F32", "[3]", 0, 16, &["expected 12 bytes for shape [3] in F32", "[0, 16]"]);
    one("F32", "[4]", 16, 0, &["expected 16 bytes", "[16, 0]"]);
    one("F32", "[9223372036854775807,4]", 0, 16, &["fits the address space"]);
    one("BOOL", "[16]", 0, 16, &["F16", "found BOOL"]);
    one("Q8_0", "[16]", 0, 16, &["found Q8_0"]);
    one("F\\n", "[16]", 0, 16, &["found F\\n"]);
    one("F32", "[-4]", 0, 16, &["integer `-4`"]);
    one("F32", "[4.0]", 0, 16, &["floating point"]);
    one("F32", "4", 0, 16, &["sequence"]);
    refused(r#"{"att.w0":{"dtype":"F32","shape":[4]}}"#, 16, &["\"att.w0\"", "data_offsets"]);
    refused(
        r#"{"att.w0":{"dtype":"F32","shape":[4],"shape":[4],"data_offsets":[0,16]}}"#,
        16,
        &["\"att.w0\"", "shape"],
    );
    refused(r#"{"att.w0":3}"#, 16, &["\"att.w0\"", "3"]);

    let two = |first: String, second: String| format!("{{{first},{second}}}");
    let twice = two(entry("a", "F16", "[2]", 0, 4), entry("a", "F16", "[2]", 4, 8));
    refused(&twice, 16, &["tensor \"a\"", "a second"]);
    let over = two(entry("late", "F16", "[2]", 3, 7), entry("early", "F16", "[2]", 0, 4));
    refused(&over, 16, &["\"late\"", "\"early\" ends", "byte 4", "found 3"]);
    let inside = two(entry("big", "F16", "[8]", 0, 16), entry("small", "F16", "[1]", 4, 6));
    refused(&inside, 16, &["\"small\"", "\"big\" ends"]);
}

#[test]
fn damaged_headers_are_refused() {
    refused("{", 0, &["safetensors header", "EOF"]);
    refused("{}}", 0, &["safetensors header", "trailing"]);
    refused(r#"{"__metadata__":{"format":1}}"#, 0, &["__metadata__", "string"]);
    refused(r#"{"__metadata__":{"k":"1","k":"2"}}"#, 0, &["metadata key \"k\"", "a second"]);
    refused(r#"{"__metadata__":{},"__metadata__":{}}"#, 0, &["__metadata__", "a second"]);
    refused(&format!("{{\"a\":{}}}", "[".repeat(100_000)), 0, &["safetensors header"]);
    let with_length = |n: u64| {
        let mut bytes = raw("{}", 0);
        bytes[..8].copy_from_slice(&n.to_le_bytes());
        ModelFile::from_vec("raw.st", bytes).unwrap_err().to_string()
    };
    assert!(
        with_length(3).contains("expected 11 bytes, found 10: 1 bytes are missing"),
        "{}",
        with_length(3)
    );
    assert!(with_length(100_000_001).contains("at most 100000000 bytes, found 100000001"));
    assert!(with_length(u64::MAX).contains("at most 100000000 bytes"));
    assert!(with_length(0).contains("safetensors header"));
    let mut bytes = raw(r#"{"a":"?"}"#, 0);
    bytes[14] = 0xff;
    assert!(ModelFile::from_vec("raw.st", bytes).is_err());
}

fn write(metadata: &Metadata, specs: &[TensorSpec]) -> Result<Vec<u8>, FormatError> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("out.safetensors");
    let mut writer = safetensors::Writer::create(&path, metadata, specs)?;
    for spec in specs {
        for byte in 0..spec.n_bytes().unwrap() {
            writer.write(&[byte as u8])?;
        }
    }
    writer.finish()?;
    Ok(std::fs::read(path).unwrap())
}

fn spec(name: &str, dtype: DType, shape: &[usize]) -> TensorSpec {
    TensorSpec { name: name.to_owned(), dtype, shape: shape.to_vec() }
}

fn small_specs() -> [TensorSpec; 7] {
    [
        spec("odd", DType::F16, &[3]),
        spec("scalar", DType::F32, &[]),
        spec("empty", DType::F32, &[2, 0, 2]),
        spec("quoted \"name\"\n", DType::BF16, &[2, 2]),
        spec("i32", DType::I32, &[1, 1, 1, 1, 2]),
        spec("i64", DType::I64, &[2]),
        spec("f64", DType::F64, &[2]),
    ]
}

#[test]
fn everything_written_reads_back() {
    let words: StringArray = ["x", "\"y\""].into_iter().collect();
    let metadata: Metadata = [
        ("text", Value::from("wörd")),
        ("number", Value::U32(7)),
        ("small", Value::F32(1e-5)),
        ("flag", Value::Bool(false)),
        ("list", Array::I8(vec![1, -1]).into()),
        ("words", words.into()),
        ("nested", Array::Nested(vec![Array::Bool(vec![true]), Array::F64(vec![0.5])]).into()),
    ]
    .into_iter()
    .collect();
    let bytes = write(&metadata, &small_specs()).unwrap();
    let header = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    assert_eq!(header % 8, 0, "data begin at a multiple of 8");
    assert_eq!(bytes.len(), 8 + header + 6 + 4 + 8 + 8 + 16 + 16, "no gaps: the format forbids them");

    let file = ModelFile::from_vec("written", bytes).unwrap();
    for (tensor, spec) in file.tensors().iter().zip(&small_specs()) {
        assert_eq!(tensor.spec(), *spec);
        assert!(tensor.data.iter().enumerate().all(|(i, &b)| b == i as u8), "{}", tensor.name);
    }
    assert_eq!(file.tensors().len(), 7);
    let expected: Metadata = [
        ("text", "wörd"),
        ("number", "7"),
        ("small", "0.00001"),
        ("flag", "false"),
        ("list", "[1,-1]"),
        ("words", r#"["x","\"y\""]"#),
        ("nested", "[[true],[0.5]]"),
    ]
    .into_iter()
    .collect();
    assert_eq!(*file.metadata(), expected);
    assert!(
        ModelFile::from_vec("none", write(&Metadata::new(), &[]).unwrap()).unwrap().metadata().is_empty()
    );
}

#[test]
fn writers_refuse_what_the_format_has_not() {
    let none = Metadata::new();
    let refused = |metadata: &Metadata, spec: TensorSpec, parts: &[&str]| {
        let message = write(metadata, &[spec]).unwrap_err().to_string();
        assert!(parts.iter().all(|part| message.contains(part)), "{parts:?} are not in {message:?}");
    };
    refused(&none, spec("t", DType::Q8_0, &[32]), &["\"t\"", "of safetensors", "Q8_0"]);
    refused(&none, spec("t", DType::F32, &[usize::MAX, 2]), &["\"t\"", "address space"]);
    refused(&none, spec("__metadata__", DType::F32, &[1]), &["__metadata__"]);
    let broken: Metadata = [("k", Value::String(vec![0xff]))].into_iter().collect();
    refused(&broken, spec("t", DType::F32, &[1]), &["\"k\"", "UTF-8"]);
    let message =
        write(&none, &[spec("t", DType::F32, &[1]), spec("t", DType::F32, &[1])]).unwrap_err().to_string();
    assert!(message.contains("\"t\"") && message.contains("a second"), "{message}");
}

fn small_file() -> &'static [u8] {
    static FILE: std::sync::OnceLock<Vec<u8>> = std::sync::OnceLock::new();
    FILE.get_or_init(|| write(&[("k", "v")].into_iter().collect(), &small_specs()).unwrap())
}

#[test]
fn every_truncation_is_refused() {
    for n in 0..small_file().len() {
        let error =
            ModelFile::from_vec("small", small_file()[..n].to_vec()).expect_err("something is missing");
        assert!(!error.to_string().contains('\n'), "{error}");
    }
}

fn read_all_of(bytes: Vec<u8>) {
    if let Ok(file) = ModelFile::from_vec("fuzzed", bytes) {
        for tensor in file.tensors() {
            assert_eq!(tensor.to_f32().len(), tensor.n_elements());
        }
    }
}

/// Places of bytes, and what is put there.
fn flips(bytes: impl Strategy<Value = u8>) -> impl Strategy<Value = Vec<(prop::sample::Index, u8)>> {
    prop::collection::vec((any::<prop::sample::Index>(), bytes), 1..6)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn flipped_bytes_never_panic(flips in flips(any::<u8>())) {
        let mut bytes = small_file().to_vec();
        for (place, byte) in flips {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        read_all_of(bytes);
    }

    /// Digits in the header's numbers are what bounds checks are for.
    #[test]
    fn changed_digits_never_panic(places in flips(b'0'..=b'9')) {
        let mut bytes = small_file().to_vec();
        let digits: Vec<usize> = (8..bytes.len()).filter(|&i| bytes[i].is_ascii_digit()).collect();
        for (place, digit) in places {
            bytes[digits[place.index(digits.len())]] = digit;
        }
        read_all_of(bytes);
    }
}
