//! Threads and processes that share a cache, and processes that die.

use super::{assert_same, computed, counts, in_folder, names, small, state, tokens};
use std::{
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};
use wingbeat::{Cache, CacheOptions, State};

#[test]
fn threads_share_it() {
    let folder = tempfile::tempdir().unwrap();
    let model = small();
    let texts: Vec<Vec<u32>> = (0..12).map(|i| tokens(&model, 5 + i, i)).collect();
    let expected: Vec<State> = texts.iter().map(|text| computed(&model, text)).collect();
    let bytes = model.state_layout().len_bytes();
    // Entries come and go all the time.
    let options = CacheOptions {
        memory_bytes: bytes * 4,
        folder: Some(folder.path().to_owned()),
        folder_bytes: Some(bytes as u64 * 7),
    };
    let caches = [Cache::new(options.clone()).unwrap(), Cache::new(options).unwrap()];
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (cache, model, texts, expected) = (caches[thread % 2].clone(), &model, &texts, &expected);
            scope.spawn(move || {
                for i in 0..150 {
                    let text = (i * 7 + thread * 5 + i * i / 3) % texts.len();
                    assert_same(&state(&cache, model, &texts[text]), &expected[text]);
                }
            });
        }
    });
    for cache in &caches {
        let [memory, disk, misses] = counts(cache);
        assert_eq!(memory + disk + misses, 300);
        assert!(memory > 0 && misses > 0);
    }
}

/// What other processes do: this test in a process of its own. Here it has nothing to do.
#[test]
fn worker() {
    let Some(folder) = std::env::var_os("WINGBEAT_TEST_CACHE") else { return };
    let n: usize = std::env::var("WINGBEAT_TEST_ROUNDS").unwrap().parse().unwrap();
    let model = small();
    let bytes = model.state_layout().len_bytes() as u64;
    let options =
        CacheOptions { memory_bytes: 0, folder: Some(folder.into()), folder_bytes: Some(bytes * 10) };
    let cache = Cache::new(options).unwrap();
    for i in 0..n {
        let text = tokens(&model, 3, i * 7 % 20);
        let found = state(&cache, &model, &text);
        if i % 5 == 0 {
            assert_same(&found, &computed(&model, &text));
        }
    }
    counts(&cache);
}

fn spawn_worker(folder: &Path, rounds: usize) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "sharing::worker", "--nocapture"]).stdout(Stdio::null());
    command.env("WINGBEAT_TEST_CACHE", folder).env("WINGBEAT_TEST_ROUNDS", rounds.to_string());
    command.spawn().unwrap()
}

#[test]
fn processes_share_the_folder() {
    let folder = tempfile::tempdir().unwrap();
    let workers = [(); 3].map(|()| spawn_worker(folder.path(), 300));
    for mut worker in workers {
        assert!(worker.wait().unwrap().success());
    }
    assert!(names(folder.path()).iter().all(|name| name.ends_with(".state")), "no temporary files");
    // The last one may have passed the limit before another's entries were seen.
    assert!((5..=20).contains(&names(folder.path()).len()));
}

#[test]
fn a_process_may_die_at_any_time() {
    let folder = tempfile::tempdir().unwrap();
    let model = small();
    for i in 0..12 {
        let mut worker = spawn_worker(folder.path(), 1_000_000);
        let begun = std::time::Instant::now();
        // Until it is at work, and a bit more.
        while names(folder.path()).is_empty() && begun.elapsed() < Duration::from_secs(20) {
            std::thread::sleep(Duration::from_millis(1));
        }
        std::thread::sleep(Duration::from_millis(30 + i * 3));
        worker.kill().unwrap();
        worker.wait().unwrap();
    }
    let cache = in_folder(folder.path());
    for i in 0..20 {
        let text = tokens(&model, 3, i);
        assert_same(&state(&cache, &model, &text), &computed(&model, &text));
    }
    let [_, hits, _] = counts(&cache);
    assert!(hits > 0, "something was written");
}
