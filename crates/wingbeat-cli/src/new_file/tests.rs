use super::*;

#[test]
fn a_file_is_whole_or_not_there() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a");
    let n_files = || fs::read_dir(folder.path()).unwrap().count();
    let mut file = NewFile::create(&path).unwrap();
    file.write_all(b"part").unwrap();
    file.flush().unwrap();
    assert!(!path.exists() && n_files() == 1);
    drop(file);
    assert_eq!(n_files(), 0);
    for text in ["one", "two"] {
        let mut file = NewFile::create(&path).unwrap();
        file.write_all(text.as_bytes()).unwrap();
        file.finish().unwrap();
        assert_eq!(fs::read(&path).unwrap(), text.as_bytes());
    }
    assert_eq!(n_files(), 1);
}

#[test]
fn what_cannot_be_a_file_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let refused = |path: &Path, why: &str| {
        let error = check_destination(path).unwrap_err().to_string();
        assert!(error.contains(&path.display().to_string()) && error.contains(why), "{error}");
    };
    refused(folder.path(), "found a directory");
    refused(&folder.path().join("absent/a"), "no directory");
    #[cfg(unix)]
    refused(Path::new("/dev/null"), "device");
    check_destination(&folder.path().join("a")).unwrap();
}
