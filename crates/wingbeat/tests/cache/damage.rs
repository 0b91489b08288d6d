//! Entries that are not what was written, and folders that fail.

use super::{assert_same, computed, counts, in_folder, names, small, state};
use proptest::prelude::*;
use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};
use wingbeat::{Cache, CacheOptions, EmbedOptions, Error, Model};

/// The entry of a text in a folder of its own.
fn entry(model: &Model, text: &[u32]) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    state(&in_folder(folder.path()), model, text);
    let path = folder.path().join(&names(folder.path())[0]);
    (folder, path)
}

/// A damaged entry is computed again, written again, and counted.
#[track_caller]
fn assert_not_served(model: &Model, path: &Path, bytes: &[u8], what: &str) {
    let folder = path.parent().unwrap();
    fs::write(path, bytes).unwrap();
    let cache = in_folder(folder);
    assert_same(&state(&cache, model, &[1, 2, 3]), &computed(model, &[1, 2, 3]));
    let stats = cache.stats();
    assert_eq!((stats.n_damaged, stats.n_misses, stats.n_disk_hits), (1, 1, 0), "{what}");
    let error = stats.last_error.unwrap();
    assert!(error.contains(path.to_str().unwrap()) && error.contains("damaged"), "{what}: {error}");
    assert_eq!(names(folder).len(), 1, "{what}");
    assert_same(&state(&cache, model, &[1, 2, 3]), &computed(model, &[1, 2, 3]));
    assert_eq!(cache.stats().n_disk_hits, 1, "{what}");
}

/// Bytes before the values.
const HEADER_BYTES: usize = 72;

#[test]
fn damaged_entries_are_not_served() {
    let model = small();
    let (_folder, path) = entry(&model, &[1, 2, 3]);
    let good = fs::read(&path).unwrap();
    let n = good.len();
    assert_eq!(n, HEADER_BYTES + model.state_layout().len_bytes() + 16);
    for at in (0..HEADER_BYTES).chain(n - 16..n) {
        let mut bytes = good.clone();
        bytes[at] ^= 1 << (at % 8);
        assert_not_served(&model, &path, &bytes, &format!("a bit of byte {at}"));
    }
    for len in [0, 1, HEADER_BYTES - 1, HEADER_BYTES, HEADER_BYTES + 1, n / 2, n - 17, n - 16, n - 15, n - 1]
    {
        assert_not_served(&model, &path, &good[..len], &format!("cut to {len} bytes"));
        // As a file system may leave it: of the right length, with zeros.
        let mut bytes = good[..len].to_vec();
        bytes.resize(n, 0);
        assert_not_served(&model, &path, &bytes, &format!("zeros after {len} bytes"));
    }
    assert_not_served(&model, &path, &[&good[..], &[0]].concat(), "a byte too many");
    assert_not_served(&model, &path, &vec![0; 10 << 20], "another size");
    // A good entry under another one's name.
    let (_other_folder, other) = entry(&model, &[3, 2, 1]);
    assert_not_served(&model, &path, &fs::read(other).unwrap(), "another text's");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_changed_byte_anywhere_is_seen(at: proptest::sample::Index, change in 1u8..) {
        thread_local! {
            static ENTRY: (Model, tempfile::TempDir, PathBuf, Vec<u8>) = {
                let model = small();
                let (folder, path) = entry(&model, &[1, 2, 3]);
                let bytes = fs::read(&path).unwrap();
                (model, folder, path, bytes)
            };
        }
        ENTRY.with(|(model, _, path, good)| {
            let mut bytes = good.clone();
            let at = at.index(bytes.len());
            bytes[at] ^= change;
            assert_not_served(model, path, &bytes, &format!("byte {at}"));
        });
    }
}

#[test]
fn damaged_embeddings_are_not_served() {
    let folder = tempfile::tempdir().unwrap();
    let model = small();
    let options = EmbedOptions::default();
    let embed = |cache: &Cache| cache.embed_tokens(&model, &[[1, 2, 3]], &options, &mut |_| true).unwrap();
    let expected = embed(&in_folder(folder.path()));
    let path = folder.path().join(&names(folder.path())[0]);
    let good = fs::read(&path).unwrap();
    for at in 0..good.len() {
        let mut bytes = good.clone();
        bytes[at] ^= 1 << (at % 8);
        for bytes in [&bytes[..], &good[..at]] {
            fs::write(&path, bytes).unwrap();
            let cache = in_folder(folder.path());
            assert_eq!(embed(&cache), expected);
            assert_eq!((cache.stats().n_damaged, cache.stats().n_misses), (1, 1), "byte {at}");
        }
    }
}

#[test]
fn what_is_no_entry_is_left_alone() {
    let model = small();
    let (folder, path) = entry(&model, &[1, 2, 3]);
    let strangers = ["notes.txt", "wingbeat-.state", "wingbeat-x-1-y.state", "wingbeat-pipelines.bin"];
    strangers.iter().for_each(|name| fs::write(folder.path().join(name), "a stranger's").unwrap());
    // A folder, and where there are such, a link to nowhere under an entry's name.
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    let cache = in_folder(folder.path());
    assert_same(&state(&cache, &model, &[1, 2, 3]), &computed(&model, &[1, 2, 3]));
    assert_eq!((cache.stats().n_failures, cache.stats().n_damaged), (1, 0), "it cannot be replaced");
    assert!(cache.stats().last_error.unwrap().contains(path.to_str().unwrap()));
    for name in strangers {
        assert_eq!(fs::read(folder.path().join(name)).unwrap(), b"a stranger's");
    }
    assert_eq!(names(folder.path()).len(), 5, "nothing half-written is left");
}

/// What a process left half-written goes after a while, not while one may be at it.
#[test]
fn left_overs_go() {
    let folder = tempfile::tempdir().unwrap();
    let now = SystemTime::now();
    for (name, age) in [(".wingbeat-new.partial", 60), (".wingbeat-old.partial", 7200), ("old.partial", 7200)]
    {
        let file = fs::File::create(folder.path().join(name)).unwrap();
        file.set_modified(now - Duration::from_secs(age)).unwrap();
    }
    in_folder(folder.path());
    assert_eq!(names(folder.path()), [".wingbeat-new.partial", "old.partial"]);
}

#[test]
fn a_folder_is_made_or_refused_by_name() {
    let parent = tempfile::tempdir().unwrap();
    let model = small();
    let deep = parent.path().join("not/there/yet");
    let cache = in_folder(&deep);
    state(&cache, &model, &[1]);
    assert_eq!(names(&deep).len(), 1);
    // Removed under it, and made again.
    fs::remove_dir_all(&deep).unwrap();
    (0..2).for_each(|_| drop(state(&cache, &model, &[1])));
    assert_eq!(counts(&cache), [0, 1, 2]);
    let file = parent.path().join("a file");
    fs::write(&file, "").unwrap();
    // No permissions bind the superuser, but even for him a file is no folder, and some folders take no files.
    let mut bad = vec![file.clone(), file.join("below")];
    bad.extend(Path::new("/proc").is_dir().then(|| PathBuf::from("/proc")));
    for folder in bad {
        let options = CacheOptions { folder: Some(folder.clone()), ..CacheOptions::default() };
        let error = Cache::new(options).err().unwrap();
        assert!(matches!(error, Error::CacheFolder { .. }), "{error}");
        let error = error.to_string();
        assert!(error.starts_with(&format!("{}: the cache cannot", folder.display())), "{error}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_costs_the_entry_not_the_result() {
    let Some(disk) = crate::small_disk::SmallDisk::mount("64k") else {
        return println!("skipped: no permission to mount a small file system");
    };
    let (model, folder) = (small(), disk.0.path());
    let cache = in_folder(folder);
    for text in 0..6 {
        assert_same(&state(&cache, &model, &[text, 1]), &computed(&model, &[text, 1]));
    }
    let stats = cache.stats();
    assert_eq!((stats.n_misses, stats.n_failures, stats.n_damaged), (6, 3, 0), "{stats:?}");
    let error = stats.last_error.unwrap();
    assert!(error.contains(folder.to_str().unwrap()) && error.contains("space"), "{error}");
    assert_eq!(names(folder).len(), 3, "nothing half-written is left");
    // What is there is served all the same.
    assert_same(&state(&cache, &model, &[0, 1]), &computed(&model, &[0, 1]));
    assert_eq!(cache.stats().n_disk_hits, 1);
}
