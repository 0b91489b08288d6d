//! What writing leaves on the disk: the whole file, or nothing.

use std::fs;
use std::path::Path;

use super::*;

fn tensors(sizes: &[u64]) -> Vec<StreamTensor> {
    let tensor = |(i, &n_bytes)| StreamTensor { name: format!("t{i}"), n_bytes, before: Vec::new() };
    sizes.iter().enumerate().map(tensor).collect()
}

fn names_in(directory: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(directory).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn pads_and_skips_what_is_empty() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("file");
    let mut stream = Stream::create(&path, b"head", tensors(&[0, 3, 4, 0, 1, 0]), 4).unwrap();
    for bytes in [&b"a"[..], b"", b"bc", b"defg", b"h"] {
        stream.write(bytes).unwrap();
    }
    assert!(!path.exists(), "nothing is seen before the end");
    stream.finish().unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"headabc\0defgh\0\0\0");
    assert_eq!(names_in(directory.path()), ["file"]);
}

#[test]
fn counts_every_byte() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("file");
    let mut stream = Stream::create(&path, b"", tensors(&[3, 2]), 1).unwrap();
    let message = stream.write(b"abcd").unwrap_err().to_string();
    assert!(message.ends_with("tensor \"t0\": expected 3 bytes, found 4"), "{message}");
    stream.write(b"abc").unwrap();
    stream.write(b"d").unwrap();
    let message = stream.write(b"ef").unwrap_err().to_string();
    assert!(message.ends_with("tensor \"t1\": expected 2 bytes, found 3"), "{message}");
    let message = stream.finish().unwrap_err().to_string();
    assert!(message.ends_with("tensor \"t1\": expected 2 bytes, found 1"), "{message}");

    let mut stream = Stream::create(&path, b"", tensors(&[]), 1).unwrap();
    let message = stream.write(b"x").unwrap_err().to_string();
    assert!(message.contains("after the last tensor"), "{message}");
    drop(stream);
    assert!(names_in(directory.path()).is_empty(), "neither failed nor dropped writers leave anything");
    let error =
        Stream::create(&path, b"", vec![tensors(&[1]).remove(0), tensors(&[1]).remove(0)], 1).unwrap_err();
    assert!(matches!(error, FormatError::Duplicate { .. }), "{error}");
}

#[test]
fn replaces_a_file_only_at_the_end() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("file");
    fs::write(&path, "old").unwrap();
    let mut stream = Stream::create(&path, b"new", tensors(&[1]), 1).unwrap();
    stream.write(b"!").unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"old");
    stream.finish().unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"new!");
}

#[cfg(unix)]
#[test]
fn follows_links_and_gives_ordinary_permissions() {
    use std::os::unix::fs::{PermissionsExt, symlink};
    let directory = tempfile::tempdir().unwrap();
    let (path, link, plain) =
        (directory.path().join("file"), directory.path().join("link"), directory.path().join("plain"));
    fs::write(&path, "old").unwrap();
    fs::write(&plain, "").unwrap();
    symlink("file", &link).unwrap();
    Stream::create(&link, b"new", tensors(&[]), 1).unwrap().finish().unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"new");
    assert!(link.symlink_metadata().unwrap().is_symlink());
    let mode = |path| fs::metadata(path).unwrap().permissions().mode();
    assert_eq!(mode(&path), mode(&plain));
}

#[test]
fn refuses_what_is_no_place_for_a_file() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    fs::write(&file, "").unwrap();
    let refusal = |path: &Path| Stream::create(path, b"", Vec::new(), 1).unwrap_err().to_string();
    let message = refusal(directory.path());
    assert!(message.contains("found a directory") && message.contains(directory.path().to_str().unwrap()));
    assert!(
        refusal(&directory.path().join("absent/file")).contains("absent/file: cannot find the directory")
    );
    assert!(refusal(&directory.path().join("absent/")).contains("ends in no file name"));
    let below = refusal(&file.join("below"));
    assert!(below.contains("file/below"), "{below}");
    #[cfg(unix)]
    assert!(refusal(Path::new("/dev/null")).contains("a device"), "renaming would replace the device");
    assert_eq!(names_in(directory.path()), ["file"]);
}
