//! The cache: what comes back is what was computed, whatever happens to its folder.

mod damage;
mod sharing;
#[path = "../small_disk/mod.rs"]
mod small_disk;

use std::{fs, path::Path, time::Duration};
use wingbeat::{
    AdapterChoice, Cache, CacheOptions, CpuOptions, Device, EmbedOptions, EmbeddingOf, Error, GpuOptions,
    Model, ModelError, ModelOptions, Pooling, State, adapters,
};

fn open(name: &str, device: Device) -> Model {
    let path = format!("{}/../../tests/fixtures/{name}", env!("CARGO_MANIFEST_DIR"));
    Model::open_with(path, &ModelOptions { device, ..ModelOptions::default() }).unwrap()
}

fn on_cpu(name: &str) -> Model {
    open(name, "cpu".parse().unwrap())
}

/// Of few bytes: a state takes 17 kB.
fn small() -> Model {
    on_cpu("rwkv7-1x64.safetensors")
}

fn in_memory() -> Cache {
    Cache::new(CacheOptions::default()).unwrap()
}

/// Only in a folder.
fn in_folder(folder: &Path) -> Cache {
    let folder = Some(folder.to_owned());
    Cache::new(CacheOptions { memory_bytes: 0, folder, ..CacheOptions::default() }).unwrap()
}

fn state(cache: &Cache, model: &Model, tokens: &[u32]) -> State {
    cache.states_of_tokens(model, &[tokens], &mut |_| true).unwrap().pop().unwrap()
}

fn computed(model: &Model, tokens: &[u32]) -> State {
    model.states_of_tokens(&[tokens], &mut |_| true).unwrap().pop().unwrap()
}

#[track_caller]
fn assert_same(a: &State, b: &State) {
    assert_eq!(a.n_tokens(), b.n_tokens());
    assert!(a.is_same(b).unwrap(), "the states differ");
}

/// Hits in memory, hits on disk, misses.
fn counts(cache: &Cache) -> [u64; 3] {
    let stats = cache.stats();
    assert_eq!((stats.n_failures, stats.n_damaged), (0, 0), "{stats:?}");
    [stats.n_memory_hits, stats.n_disk_hits, stats.n_misses]
}

/// Names in a folder.
fn names(folder: &Path) -> Vec<String> {
    let name = |entry: std::io::Result<fs::DirEntry>| entry.unwrap().file_name().into_string().unwrap();
    let mut names: Vec<String> = fs::read_dir(folder).unwrap().map(name).collect();
    names.sort();
    names
}

fn tokens(model: &Model, n: usize, seed: usize) -> Vec<u32> {
    (0..n).map(|i| ((i * 7919 + seed * 104_729 + i * i * 31) % model.config().n_vocab) as u32).collect()
}

#[test]
fn states_come_back_as_they_were() {
    let folder = tempfile::tempdir().unwrap();
    for name in [
        "rwkv4-2x64.safetensors",
        "rwkv5.1-2x64.safetensors",
        "rwkv6-2x64.safetensors",
        "rwkv7-3x128-odd-ranks.safetensors",
        "rwkv7-2x96-head32.safetensors",
        "rwkv7-2x256-Q8_0.gguf",
    ] {
        let model = on_cpu(name);
        let texts: Vec<Vec<u32>> =
            [3, 300, 1, 40].iter().enumerate().map(|(i, &n)| tokens(&model, n, i)).collect();
        let expected: Vec<State> = texts.iter().map(|text| computed(&model, text)).collect();
        let memory = in_memory();
        let sub = folder.path().join(name);
        for (cache, hits) in [(&memory, [4, 0, 4]), (&in_folder(&sub), [0, 4, 4])] {
            for _ in 0..2 {
                let states = cache.states_of_tokens(&model, &texts, &mut |_| true).unwrap();
                states.iter().zip(&expected).for_each(|(state, expected)| assert_same(state, expected));
            }
            assert_eq!(counts(cache), hits, "{name}");
        }
        // Another process would find them, and so does a model opened once more.
        let (cache, twin) = (in_folder(&sub), on_cpu(name));
        assert_same(&state(&cache, &twin, &texts[1]), &expected[1]);
        assert_same(&state(&memory, &twin, &texts[1]), &expected[1]);
        assert_eq!(counts(&cache), [0, 1, 0], "{name}");
        // What was given away is the caller's.
        let mut own = state(&memory, &model, &texts[0]);
        own.extend_tokens(&[1, 2], &mut |_| true).unwrap();
        assert_same(&state(&memory, &model, &texts[0]), &expected[0]);
    }
}

#[test]
fn embeddings_come_back_as_they_were() {
    let folder = tempfile::tempdir().unwrap();
    let model = on_cpu("rwkv7-3x128-odd-ranks.safetensors");
    let texts: Vec<Vec<u32>> = (0..20).map(|i| tokens(&model, 1 + i * 13 % 70, i)).collect();
    let of_state = |slab: Option<&str>, layer| EmbeddingOf::State { slab: slab.map(str::to_owned), layer };
    let mut all = Vec::new();
    for of in [
        EmbeddingOf::Hidden,
        EmbeddingOf::Layer(0),
        EmbeddingOf::Layer(1),
        of_state(None, None),
        of_state(Some("wkv"), None),
        of_state(Some("wkv"), Some(1)),
    ] {
        for pooling in [Pooling::Last, Pooling::Mean] {
            for normalize in [false, true] {
                all.push(EmbedOptions { of: of.clone(), pooling, normalize, batch_texts: None });
            }
        }
    }
    let (memory, disk) = (in_memory(), in_folder(folder.path()));
    for options in &all {
        let expected = model.embed_tokens(&texts, options, &mut |_| true).unwrap();
        for cache in [&memory, &disk] {
            // Some first, then all, then all again, in another order.
            let some = cache.embed_tokens(&model, &texts[3..9], options, &mut |_| true).unwrap();
            assert_eq!(some.values(), &expected.values()[3 * expected.width()..9 * expected.width()]);
            let mut n_computed = 0;
            let whole = cache.embed_tokens(&model, &texts, options, &mut |progress| {
                n_computed = progress.total;
                true
            });
            assert_eq!(whole.unwrap(), expected, "{options:?}");
            // Pooling does not matter for states: both ways are one entry.
            let is_there =
                options.pooling == Pooling::Mean && matches!(options.of, EmbeddingOf::State { .. });
            let missing = texts[..3].iter().chain(&texts[9..]).filter(|_| !is_there);
            assert_eq!(n_computed, missing.map(Vec::len).sum::<usize>());
            let backwards: Vec<&Vec<u32>> = texts.iter().rev().collect();
            let never = &mut |_| panic!("nothing is computed");
            let whole = cache.embed_tokens(&model, &backwards, options, never).unwrap();
            assert!(whole.rows().eq(expected.rows().collect::<Vec<_>>().into_iter().rev()));
        }
    }
    assert_eq!(memory.stats().n_misses, 20 * (3 * 4 + 3 * 2));
    let other = EmbedOptions { batch_texts: Some(2), ..all[0].clone() };
    memory.embed_tokens(&model, &texts, &other, &mut |_| panic!("nothing is computed")).unwrap();
}

#[test]
fn texts_are_told_apart_by_their_tokens() {
    let demo = concat!(env!("CARGO_MANIFEST_DIR"), "/../../assets/wingbeat-demo-26m-q8_0.gguf");
    let options = ModelOptions { device: "cpu".parse().unwrap(), ..ModelOptions::default() };
    let model = Model::open_with(demo, &options).unwrap();
    let cache = in_memory();
    let text = "The sea was calm, and the ship";
    let first = cache.state(&model, text).unwrap();
    assert_same(&first, &model.state(text).unwrap());
    assert_same(&cache.state(&model, text).unwrap(), &first);
    // Goes on where the tokens do.
    let longer = format!("{text} sailed on.");
    assert_same(&cache.state(&model, &longer).unwrap(), &model.state(&longer).unwrap());
    assert_eq!((counts(&cache), cache.stats().n_prefix_hits), ([1, 0, 2], 1));
    // The bytes begin the same, the tokens do not: the last one is cut short.
    let (cut, tokenizer) = ("The sea was calm, and the shi", model.tokenizer().unwrap());
    let [a, b] = [cut, text].map(|text| tokenizer.encode(text.as_bytes()).unwrap());
    assert!(text.starts_with(cut) && !b.starts_with(&a), "{a:?} {b:?}");
    let cache = in_memory();
    assert_same(&cache.state(&model, cut).unwrap(), &model.state(cut).unwrap());
    assert_same(&cache.state(&model, text).unwrap(), &first);
    assert_eq!(cache.stats().n_prefix_hits, 0);
    let options = EmbedOptions::default();
    let texts = [text, "Another one", text];
    let expected = model.embed(&texts, &options, &mut |_| true).unwrap();
    assert_eq!(cache.embed(&model, &texts, &options, &mut |_| true).unwrap(), expected);
    assert_eq!(cache.embed(&model, &texts, &options, &mut |_| true).unwrap(), expected);
}

/// On a CPU a state that goes on from a cached one is the same, bit for bit, as one computed at once.
#[test]
fn the_longest_cached_beginning_is_gone_on_from() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["rwkv7-2x96-head32.safetensors", "rwkv7-2x256-Q8_0.gguf", "rwkv7-2x256-Q4_K_M.gguf"] {
        let model = on_cpu(name);
        let text = tokens(&model, 400, 7);
        for cache in [in_memory(), in_folder(&folder.path().join(name))] {
            for (i, n) in [33, 300, 7].into_iter().enumerate() {
                assert_same(&state(&cache, &model, &text[..n]), &computed(&model, &text[..n]));
                assert_eq!(cache.stats().n_prefix_hits, [0, 1, 1][i], "{name}");
            }
            let mut totals = Vec::new();
            let states = cache.states_of_tokens(&model, &[&text, &text[..34], &text[1..]], &mut |progress| {
                totals.push(progress.total);
                true
            });
            for (state, text) in states.unwrap().iter().zip([&text, &text[..34], &text[1..]]) {
                assert_same(state, &computed(&model, text));
            }
            assert!(totals.iter().all(|&total| total == 100 + 1 + 399), "{totals:?}");
            let stats = cache.stats();
            assert_eq!((stats.n_prefix_hits, stats.n_prefix_tokens), (3, 33 + 300 + 33));
            assert_eq!((counts(&cache)[2], names(folder.path()).len() <= 3), (6, true));
        }
    }
}

/// What another process wrote is gone on from too.
#[test]
fn beginnings_written_by_others_are_found() {
    let folder = tempfile::tempdir().unwrap();
    let model = small();
    let text = tokens(&model, 50, 1);
    let (one, two) = (in_folder(folder.path()), in_folder(folder.path()));
    state(&two, &model, &text[..5]);
    for n in [10, 20, 30, 40, 50] {
        // File systems keep times as coarse as some milliseconds.
        std::thread::sleep(Duration::from_millis(20));
        let (writer, reader) = if n % 20 == 0 { (&one, &two) } else { (&two, &one) };
        let before = reader.stats().n_prefix_tokens;
        state(writer, &model, &text[..n]);
        std::thread::sleep(Duration::from_millis(20));
        let longer = [&text[..n], &[1, 2]].concat();
        assert_same(&state(reader, &model, &longer), &computed(&model, &longer));
        assert_eq!(reader.stats().n_prefix_tokens - before, n as u64);
    }
}

#[test]
fn models_and_their_arithmetic_are_kept_apart() {
    let folder = tempfile::tempdir().unwrap();
    let cpu = |exact, threads| {
        let options = CpuOptions { exact, threads: Some(threads), ..CpuOptions::default() };
        open("rwkv7-2x256-Q8_0.gguf", Device::Cpu(options))
    };
    let models = [
        cpu(false, 1),
        cpu(true, 1),
        open("rwkv7-2x256-Q8_0.gguf", Device::Reference),
        on_cpu("rwkv7-2x256-Q4_K_M.gguf"),
    ];
    for cache in [in_memory(), in_folder(folder.path())] {
        for model in models.iter().chain(&models) {
            assert_same(&state(&cache, model, &[5, 6, 7]), &computed(model, &[5, 6, 7]));
        }
        assert_eq!(cache.stats().n_misses, 4);
        // The number of threads changes nothing.
        let many = cpu(false, 3);
        assert_eq!(many.arithmetic(), models[0].arithmetic());
        assert_same(&state(&cache, &many, &[5, 6, 7]), &computed(&many, &[5, 6, 7]));
        assert_eq!(cache.stats().n_misses, 4);
    }
}

#[test]
fn on_gpus_too() {
    let folder = tempfile::tempdir().unwrap();
    if adapters().is_empty() {
        assert!(std::env::var_os("WINGBEAT_GPU_REQUIRED").is_none(), "no adapter, but one is required");
        return println!("skipped: this machine has no adapter");
    }
    let mut options = GpuOptions::default();
    options.adapter = AdapterChoice::Best;
    let model = open("rwkv7-2x96-head32.safetensors", Device::Gpu(options));
    let first = state(&in_folder(folder.path()), &model, &[1, 2, 3]);
    // Read from the disk, and kept in memory then.
    let folder = Some(folder.path().to_owned());
    let cache = Cache::new(CacheOptions { folder, ..CacheOptions::default() }).unwrap();
    for hits in [[0, 1, 0], [1, 1, 0], [2, 1, 0]] {
        assert_same(&state(&cache, &model, &[1, 2, 3]), &first);
        assert_eq!(counts(&cache), hits);
    }
    let longer = state(&cache, &model, &[1, 2, 3, 4]);
    assert_eq!((longer.n_tokens(), cache.stats().n_prefix_tokens), (4, 3));
    let embeddings = [(); 2].map(|()| {
        cache.embed_tokens(&model, &[[1, 2], [3, 4]], &EmbedOptions::default(), &mut |_| true).unwrap()
    });
    assert_eq!(embeddings[0], embeddings[1]);
}

#[test]
fn memory_keeps_what_was_used_last() {
    let model = small();
    let bytes = model.state_layout().len_bytes();
    // Three states and a bit.
    let options = CacheOptions { memory_bytes: bytes * 7 / 2, ..CacheOptions::default() };
    let cache = Cache::new(options).unwrap();
    for (text, hit) in [
        (1, false),
        (2, false),
        (3, false),
        (1, true),
        (4, false),
        (3, true),
        (1, true),
        (2, false),
        (4, false),
    ] {
        let before = counts(&cache)[0];
        state(&cache, &model, &[text, 9]);
        assert_eq!(counts(&cache)[0] - before, u64::from(hit), "{text}");
        assert!(cache.stats().memory_bytes <= bytes * 7 / 2);
    }
    assert!(cache.stats().memory_bytes >= bytes * 3);
    // Nothing has room in nothing.
    let cache = Cache::new(CacheOptions { memory_bytes: bytes, ..CacheOptions::default() }).unwrap();
    (0..2).for_each(|_| drop(state(&cache, &model, &[1])));
    assert_eq!((counts(&cache), cache.stats().memory_bytes), ([0, 0, 2], 0));
}

#[test]
fn the_folder_keeps_what_was_used_last() {
    let model = small();
    let folder = tempfile::tempdir().unwrap();
    let bytes = model.state_layout().len_bytes() as u64 + 200;
    let with_room = |n: u64| {
        let (folder, folder_bytes) = (Some(folder.path().to_owned()), Some(n * bytes));
        Cache::new(CacheOptions { memory_bytes: 0, folder, folder_bytes }).unwrap()
    };
    let on_disk = || -> u64 {
        names(folder.path()).iter().map(|name| folder.path().join(name).metadata().unwrap().len()).sum()
    };
    let cache = with_room(32);
    for text in 0..32 {
        state(&cache, &model, &[text, 9]);
    }
    assert_eq!(names(folder.path()).len(), 32);
    assert_eq!(cache.stats().folder_bytes, on_disk());
    // Used again by another process.
    state(&in_folder(folder.path()), &model, &[0, 9]);
    for text in 32..40 {
        state(&cache, &model, &[text, 9]);
        assert!(on_disk() <= 32 * bytes);
        assert_eq!(cache.stats().folder_bytes, on_disk());
    }
    let before = counts(&cache);
    for text in [0, 31, 36, 39] {
        state(&cache, &model, &[text, 9]);
    }
    assert_eq!(counts(&cache)[1] - before[1], 4, "they were used last");
    for text in [1, 2, 3, 4, 5, 6, 7] {
        state(&cache, &model, &[text, 9]);
    }
    assert_eq!(counts(&cache)[2] - before[2], 7, "they had to go");
    // A smaller limit holds at once, and an entry that is larger than all is not kept.
    let cache = with_room(3);
    assert!(on_disk() <= 3 * bytes && names(folder.path()).len() >= 2);
    drop(cache);
    let none = with_room(0);
    assert_eq!(names(folder.path()).len(), 1, "the newest stays, until there is a newer one");
    state(&none, &model, &[66]);
    assert_eq!(counts(&none), [0, 0, 1]);
}

#[test]
fn one_call_computes_a_text_once() {
    let model = small();
    let cache = in_memory();
    let texts = [[1, 2], [3, 4], [1, 2], [1, 2]];
    let mut total = 0;
    let states = cache.states_of_tokens(&model, &texts, &mut |progress| {
        total = progress.total;
        true
    });
    states.unwrap().iter().zip(&texts).for_each(|(state, text)| assert_same(state, &computed(&model, text)));
    assert_eq!((total, counts(&cache)), (4, [0, 0, 2]));
    let options = EmbedOptions::default();
    let embeddings = cache.embed_tokens(&model, &texts, &options, &mut |_| true).unwrap();
    assert_eq!(embeddings, model.embed_tokens(&texts, &options, &mut |_| true).unwrap());
    assert_eq!(counts(&cache), [0, 0, 4]);
    // No text, no work.
    let none: [[u32; 1]; 0] = [];
    assert!(cache.states_of_tokens(&model, &none, &mut |_| true).unwrap().is_empty());
    assert_eq!(cache.embed_tokens(&model, &none, &options, &mut |_| true).unwrap().n_texts(), 0);
}

#[test]
fn wrong_requests_are_refused_as_without() {
    let model = small();
    let cache = in_memory();
    let message = |result: Result<Vec<State>, Error>| result.err().unwrap().to_string();
    let texts: [&[u32]; 3] = [&[1], &[2, 3], &[]];
    let expected = message(model.states_of_tokens(&texts, &mut |_| true));
    assert_eq!(message(cache.states_of_tokens(&model, &texts, &mut |_| true)), expected);
    let texts = [[1], [1 << 20]];
    let expected = message(model.states_of_tokens(&texts, &mut |_| true));
    assert_eq!(message(cache.states_of_tokens(&model, &texts, &mut |_| true)), expected);
    let options = EmbedOptions { of: EmbeddingOf::Layer(1), ..EmbedOptions::default() };
    let error = cache.embed_tokens(&model, &[[1]], &options, &mut |_| true).unwrap_err();
    assert!(matches!(error, Error::NoLayer { layer: 1, n_layers: 1 }), "{error}");
    assert_eq!(counts(&cache), [0, 0, 0]);
}

/// A call that is stopped keeps what was complete.
#[test]
fn what_was_complete_is_kept() {
    let model = small();
    let cache = in_memory();
    // More than run together.
    let texts: Vec<Vec<u32>> =
        (0..200).map(|i| [&[i / 50, i % 50], &tokens(&model, 18, 0)[..]].concat()).collect();
    let stopped = cache.states_of_tokens(&model, &texts, &mut |progress| progress.done < 3000);
    let error = stopped.err().unwrap();
    assert!(matches!(error, Error::Model(ModelError::Stopped { total: 4000, .. })), "{error}");
    cache.states_of_tokens(&model, &texts, &mut |_| true).unwrap();
    let [hits, _, misses] = counts(&cache);
    assert!(hits >= 100 && hits + misses == 200, "{hits} {misses}");
}
