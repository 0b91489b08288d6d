use super::*;

/// Lines and bytes of all texts.
type Found = Vec<(Option<u64>, Vec<u8>)>;

fn of(contents: &[&[u8]], cut: Cut) -> Result<Found, String> {
    let folder = tempfile::tempdir().unwrap();
    let paths: Vec<PathBuf> = (0..contents.len()).map(|i| folder.path().join(format!("{i}.txt"))).collect();
    for (path, bytes) in paths.iter().zip(contents) {
        fs::write(path, bytes).unwrap();
    }
    let mut texts = Texts::find(&paths, cut).map_err(|error| format!("{error:#}"))?;
    let mut found = Vec::new();
    texts
        .each(&mut |text| {
            assert!(text.file.ends_with(".txt"));
            found.push((text.line, text.bytes));
            Ok(true)
        })
        .unwrap();
    assert_eq!(texts.len(), found.len());
    assert_eq!(texts.n_bytes(), found.iter().map(|(_, bytes)| bytes.len() as u64).sum::<u64>());
    Ok(found)
}

#[test]
fn a_file_each_or_a_line_each() {
    let files: [&[u8]; 2] = [b"one\ntwo\r\n", b"\xff\n\n three"];
    let whole = Cut { lines: false, skip_empty: false };
    let expected = files.map(|file| (None, file.to_vec())).to_vec();
    assert_eq!(of(&files, whole).unwrap(), expected);
    let lines = Cut { lines: true, skip_empty: true };
    let expected: [(u64, &[u8]); 4] = [(1, b"one"), (2, b"two"), (1, b"\xff"), (3, b" three")];
    assert_eq!(of(&files, lines).unwrap(), expected.map(|(line, text)| (Some(line), text.to_vec())));
}

#[test]
fn an_empty_text_is_named() {
    let lines = Cut { lines: true, skip_empty: false };
    let error = of(&[b"a", b"a\n\r\nb"], lines).unwrap_err();
    assert!(error.contains("1.txt:2: the text is empty"), "{error}");
    let error = of(&[b"a", b""], Cut { lines: false, ..lines }).unwrap_err();
    assert!(error.contains("1.txt: the text is empty"), "{error}");
    let error = of(&[b"\n\n", b""], Cut { skip_empty: true, ..lines }).unwrap_err();
    assert!(error.contains("expected at least one text"), "{error}");
}
