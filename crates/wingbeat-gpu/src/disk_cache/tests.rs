//! Files that are right come back, all others are absent.

use super::{DiskCache, HEADER_BYTES, PREFIX, STALE, WGPU_VERSION, user_folder};
use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    time::SystemTime,
};

fn cache(folder: &Path, adapter: &str) -> DiskCache {
    DiskCache::of(folder, adapter).expect("a folder")
}

fn payload() -> Vec<u8> {
    (0..5000u32).map(|i| (i * i / 7) as u8).collect()
}

#[test]
fn what_was_stored_comes_back() {
    let dir = tempfile::tempdir().expect("a folder");
    let folder = dir.path().join("not/there/yet");
    let cache = cache(&folder, "adapter");
    assert_eq!(cache.load(), None);
    for payload in [payload(), Vec::new(), vec![7]] {
        cache.store(&payload).expect("written");
        assert_eq!(cache.load(), Some(payload));
    }
    assert_eq!(fs::read_dir(&folder).expect("readable").count(), 1, "no temporary files");
}

#[test]
fn another_adapter_or_driver_has_another_file() {
    let dir = tempfile::tempdir().expect("a folder");
    let (one, other) = (cache(dir.path(), "adapter, driver 1"), cache(dir.path(), "adapter, driver 2"));
    one.store(&payload()).expect("written");
    assert_eq!(other.load(), None);
    // Not by another name either.
    fs::copy(one.path(), other.path()).expect("copied");
    assert_eq!(other.load(), None);
    assert_eq!(one.load(), Some(payload()));
}

#[test]
fn damage_anywhere_is_seen() {
    let dir = tempfile::tempdir().expect("a folder");
    let cache = cache(dir.path(), "adapter");
    cache.store(&payload()).expect("written");
    let good = fs::read(cache.path()).expect("readable");
    let is_absent = |bytes: &[u8], what: &str| {
        fs::write(cache.path(), bytes).expect("written");
        assert_eq!(cache.load(), None, "{what}");
    };
    for at in (0..HEADER_BYTES).chain((HEADER_BYTES..good.len()).step_by(97)) {
        let mut bytes = good.clone();
        bytes[at] ^= 1 << (at % 8);
        is_absent(&bytes, &format!("a bit of byte {at}"));
    }
    for length in (0..HEADER_BYTES).chain([HEADER_BYTES, good.len() / 2, good.len() - 1]) {
        is_absent(&good[..length], &format!("cut to {length} bytes"));
    }
    is_absent(&[&good[..], &[0]].concat(), "a byte too many");
    is_absent(&[&good[..40], &u64::MAX.to_le_bytes(), &good[48..]].concat(), "an absurd length");
    is_absent(&vec![0; good.len()], "zeros");
    // What is wrong is written over.
    cache.store(&payload()).expect("written");
    assert_eq!(cache.load(), Some(payload()));
}

#[test]
fn a_folder_that_cannot_be_written_is_no_folder() {
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("file");
    fs::write(&file, "").expect("written");
    // No permissions bind the superuser, but even for him a file is no folder.
    let cache = cache(&file.join("below"), "adapter");
    assert!(cache.store(&payload()).is_err());
    assert_eq!(cache.load(), None);
    assert!(DiskCache::of(Path::new(""), "adapter").is_none());
    // A folder where the file should be.
    let cache = self::cache(dir.path(), "adapter");
    fs::create_dir(cache.path()).expect("made");
    assert!(cache.store(&payload()).is_err());
    assert_eq!(cache.load(), None);
    assert_eq!(fs::read_dir(dir.path()).expect("readable").count(), 2, "no temporary files");
}

#[test]
fn processes_may_write_at_once() {
    let dir = tempfile::tempdir().expect("a folder");
    let cache = cache(dir.path(), "adapter");
    cache.store(&[0; 1000]).expect("written");
    std::thread::scope(|scope| {
        for number in 1..5u8 {
            let cache = &cache;
            scope.spawn(move || {
                for _ in 0..50 {
                    cache.store(&vec![number; 1000 * usize::from(number)]).expect("written");
                    let found = cache.load().expect("always a whole file");
                    assert_eq!(found.len(), 1000 * usize::from(found[0]).max(1));
                }
            });
        }
    });
    assert_eq!(fs::read_dir(dir.path()).expect("readable").count(), 1);
}

#[test]
fn files_of_long_ago_go() {
    let dir = tempfile::tempdir().expect("a folder");
    let long_ago = SystemTime::now() - STALE * 2;
    let touch = |name: &str, time: SystemTime| {
        let file = fs::File::create(dir.path().join(name)).expect("made");
        file.set_modified(time).expect("dated");
    };
    touch(&format!("{PREFIX}old.bin"), long_ago);
    touch(&format!("{PREFIX}new.bin"), SystemTime::now());
    touch("another program's", long_ago);
    let cache = cache(dir.path(), "adapter");
    cache.store(&payload()).expect("written");
    let mut left: Vec<_> =
        fs::read_dir(dir.path()).expect("readable").map(|e| e.expect("an entry").file_name()).collect();
    left.sort();
    let own = cache.path().file_name().expect("a name").to_owned();
    let mut expected = vec![OsString::from("another program's"), own, format!("{PREFIX}new.bin").into()];
    expected.sort();
    assert_eq!(left, expected);
}

#[test]
fn the_environment_names_the_folder() {
    let folder = |variables: &[(&str, &str)]| {
        let find = |name: &str| variables.iter().find(|(n, _)| *n == name).map(|(_, value)| value.into());
        user_folder(&find)
    };
    let elsewhere = ("WINGBEAT_CACHE", "elsewhere");
    let home = if cfg!(windows) { ("LOCALAPPDATA", "C:\\home") } else { ("HOME", "/home/me") };
    assert_eq!(folder(&[elsewhere, home]), Some(PathBuf::from("elsewhere")));
    assert_eq!(folder(&[("WINGBEAT_CACHE", ""), home]), None);
    assert_eq!(folder(&[]), None);
    assert!(folder(&[home]).is_some_and(|folder| folder.ends_with("wingbeat")));
    if cfg!(target_os = "linux") {
        assert_eq!(folder(&[home]), Some(PathBuf::from("/home/me/.cache/wingbeat")));
        assert_eq!(folder(&[("XDG_CACHE_HOME", "/caches"), home]), Some(PathBuf::from("/caches/wingbeat")));
        assert_eq!(folder(&[("XDG_CACHE_HOME", "caches"), ("HOME", "")]), None);
    }
}

#[test]
fn the_version_of_wgpu_is_the_one_in_use() {
    let manifest = include_str!("../../../../Cargo.toml");
    let line = manifest.lines().find(|line| line.starts_with("wgpu ")).expect("wgpu is a dependency");
    assert!(line.contains(&format!("version = \"{WGPU_VERSION}\"")), "{line}");
}
