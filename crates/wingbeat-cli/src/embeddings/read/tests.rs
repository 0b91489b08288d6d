use super::*;
use crate::embeddings::{Format, Kind, Label, Target, Writer};

const ROWS: [[f32; 3]; 4] =
    [[1.0, -2.5, 0.1], [f32::MIN_POSITIVE, f32::MAX, -0.0], [1e-45, 16_777_217.0, 0.3], [0.0, 0.0, 0.0]];

fn recipe() -> Recipe {
    Recipe { model: "m".to_owned(), fingerprint: "f".to_owned(), kind: Kind::Field, normalized: false }
}

fn written(path: &Path, format: Format) {
    let target = Target::File(path.to_owned());
    let names: Vec<String> = (0..4).map(|i| format!("a b{i}\n")).collect();
    let mut writer = Writer::create(&target, format, (4, 3), &recipe(), &names).unwrap();
    for (row, name) in ROWS.iter().zip(&names) {
        writer.push(Label::Name(name), Some("text"), row).unwrap();
    }
    writer.finish().unwrap();
}

/// All rows, or the error, which is one line and names the file.
fn read_all(path: &Path) -> Result<Vec<(Row, Vec<f32>)>, String> {
    let all = || {
        let mut reader = Reader::open(path)?;
        let (mut rows, mut values) = (Vec::new(), Vec::new());
        while let Some(row) = reader.next(&mut values)? {
            rows.push((row, values.clone()));
        }
        anyhow::Ok(rows)
    };
    all().map_err(|error| format!("{error:#}"))
}

#[test]
fn what_is_written_is_read() {
    let folder = tempfile::tempdir().unwrap();
    for format in [Format::Npy, Format::Jsonl, Format::Safetensors] {
        let path = folder.path().join("a");
        written(&path, format);
        let rows = read_all(&path).unwrap();
        assert_eq!(rows.len(), 4);
        for (i, (row, values)) in rows.iter().enumerate() {
            let bits = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
            assert_eq!(bits(values), bits(&ROWS[i]), "{format:?}");
            let name = (format != Format::Npy).then(|| format!("a b{i}\n"));
            let text = (format == Format::Jsonl).then(|| "text".to_owned());
            assert_eq!(*row, Row { index: i as u64, name, text }, "{format:?}");
        }
        let expected = (format == Format::Safetensors).then(recipe);
        assert_eq!(Reader::open(&path).unwrap().recipe().cloned(), expected);
    }
}

#[test]
fn a_writer_that_got_too_few_rows_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    for format in [Format::Npy, Format::Jsonl, Format::Safetensors] {
        let target = Target::File(folder.path().join("a"));
        let mut writer = Writer::create(&target, format, (2, 3), &recipe(), &[]).unwrap();
        writer.push(Label::Name("x"), None, &ROWS[0]).unwrap();
        assert!(writer.push(Label::Name("x"), None, &ROWS[0][..2]).is_err());
        let error = writer.finish().unwrap_err().to_string();
        assert!(error.contains("expected 2 texts, found 1"), "{error}");
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn damaged_files_are_errors_at_worst() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a");
    // Knuth's generator, for places and bytes that are the same every time.
    let mut state = 1u64;
    let mut random = |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    };
    let check = |bytes: &[u8]| {
        // Some file systems wait for the disk where a file is overwritten.
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, bytes).unwrap();
        match read_all(&path) {
            Ok(rows) => assert!(rows.iter().all(|(_, values)| values.iter().all(|x| x.is_finite()))),
            Err(error) => assert!(error.starts_with(&path.display().to_string()), "{error}"),
        }
    };
    for format in [Format::Npy, Format::Jsonl, Format::Safetensors] {
        written(&path, format);
        let whole = std::fs::read(&path).unwrap();
        for n in 0..whole.len() {
            check(&whole[..n]);
            if format != Format::Jsonl {
                assert!(read_all(&path).is_err(), "{format:?}: {n} of {} bytes", whole.len());
            }
        }
        for _ in 0..200 {
            let mut bytes = whole.clone();
            for _ in 0..=random(3) {
                let place = random(bytes.len());
                bytes[place] = if random(2) == 0 { b'0' + random(10) as u8 } else { random(256) as u8 };
            }
            check(&bytes);
        }
    }
}
