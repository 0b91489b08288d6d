//! `--cache`: what comes from it is what was computed, byte for byte, and whatever is wrong with it costs time only.

mod binary;
#[cfg(target_os = "linux")]
#[path = "../../wingbeat/tests/small_disk/mod.rs"]
mod small_disk;

use binary::*;
use serde_json::Value;
use std::{
    fs,
    path::{Path, PathBuf},
};

const DOCUMENT: &str = "It was a dark and stormy night; the rain fell in torrents.\nHe said nothing.";
const FIELDS: [&str; 4] = ["--field", "Sender:", "--field", "He said"];

/// A document, a cache that is not there yet, and room for results.
struct Desk {
    dir: tempfile::TempDir,
    model: String,
    document: String,
    cache: String,
}

impl Desk {
    fn new() -> Desk {
        let dir = temp_dir();
        let (document, cache) = (path(&dir, "doc.txt"), path(&dir, "cache"));
        fs::write(&document, DOCUMENT).expect("written");
        Desk { dir, model: fixture(GGUF), document, cache }
    }

    fn path(&self, name: &str) -> String {
        path(&self.dir, name)
    }

    /// With the model, on the CPU.
    fn args<'a>(&'a self, args: &[&'a str]) -> Vec<&'a str> {
        [&args[..1], &["-m", &self.model, "--device", "cpu"], &args[1..]].concat()
    }

    fn run(&self, args: &[&str]) -> Run {
        run(&self.args(args))
    }

    /// Runs what must succeed, with the cache, and says no more than its summary.
    fn cached(&self, args: &[&str]) -> Run {
        let found = self.noted(args);
        assert_eq!(found.err.lines().count(), 1, "{}", found.err);
        found
    }

    /// Runs what must succeed, with the cache.
    fn noted(&self, args: &[&str]) -> Run {
        let cache = format!("--cache={}", self.cache);
        let found = self.run(&[args, &[&cache]].concat());
        assert_eq!(found.code, Some(0), "{args:?}: {}", found.err);
        found
    }

    /// The JSON that a command prints, with the cache.
    fn json(&self, args: &[&str]) -> Value {
        serde_json::from_slice(&self.noted(&[args, &["--json", "-q"]].concat()).out).expect("JSON")
    }

    fn entries(&self) -> Vec<PathBuf> {
        entries(Path::new(&self.cache))
    }
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<_> = fs::read_dir(folder).into_iter().flatten().flatten().map(|e| e.path()).collect();
    paths.sort();
    paths
}

fn bytes(path: &str) -> Vec<u8> {
    fs::read(path).expect("written")
}

#[test]
fn a_document_is_read_once() {
    let desk = Desk::new();
    let [plain, first, second] = ["plain.state", "first.state", "second.state"].map(|name| desk.path(name));
    ok(&desk.args(&["state", &desk.document, "-o", &plain, "-q"]));
    let found = desk.cached(&["state", &desk.document, "-o", &first]);
    assert!(
        found.out.is_empty() && found.err.contains("tok/s") && !found.err.contains("cache"),
        "{}",
        found.err
    );
    assert_eq!(desk.entries().len(), 1);
    let found = desk.cached(&["state", &desk.document, "-o", &second]);
    assert!(found.err.contains("all from the cache"), "{}", found.err);
    assert_eq!(bytes(&first), bytes(&plain));
    assert_eq!(bytes(&second), bytes(&plain));
    let again = desk.json(&["state", &desk.document, "-o", &second]);
    assert!(again["tokens"].as_u64() > Some(20));
    assert_eq!((&again["cached_tokens"], &again["tok_s"]), (&again["tokens"], &Value::from(0.0)));
    assert_eq!(again["total_tokens"], again["tokens"]);

    // One that begins like it, by another name, is read from there on.
    let longer = desk.path("longer.txt");
    fs::write(&longer, format!("{DOCUMENT}\nThe end.")).expect("written");
    ok(&desk.args(&["state", &longer, "-o", &plain, "-q"]));
    let found = desk.json(&["state", &longer, "-o", &first]);
    assert_eq!(found["cached_tokens"], again["tokens"]);
    assert!(found["tokens"].as_u64() > again["tokens"].as_u64());
    assert_eq!(bytes(&first), bytes(&plain));
    assert_eq!(desk.entries().len(), 2);
}

#[test]
fn fields_find_what_was_read() {
    let desk = Desk::new();
    let [plain, first, second] = ["plain.state", "first.state", "second.state"].map(|name| desk.path(name));
    let base = [&["fields", &desk.document][..], &FIELDS].concat();
    let ask = |extra: &[&str]| desk.json(&[&base[..], extra].concat());
    let expected = json(&desk.args(&[&base[..], &["--save-state", &plain, "--json", "-q"]].concat()));
    assert_eq!(expected["cached_tokens"], 0);
    let found = ask(&["--save-state", &first]);
    assert_eq!((&found["cached_tokens"], &found["fields"]), (&Value::from(0), &expected["fields"]));
    let found = ask(&["--save-state", &second]);
    assert_eq!(
        (&found["cached_tokens"], &found["fields"]),
        (&expected["document_tokens"], &expected["fields"])
    );
    assert_eq!(found["state_tokens"], expected["state_tokens"]);
    assert_eq!([bytes(&first), bytes(&second)], [bytes(&plain), bytes(&plain)]);
    let without = ok(&desk.args(&[&base[..], &["--csv", "-q"]].concat()));
    let found = desk.cached(&[&base[..], &["--csv"]].concat());
    assert_eq!(found.out, without);
    assert!(found.err.contains("all from the cache; 2 fields: "), "{}", found.err);
    // Commands share it.
    let state = desk.json(&["state", &desk.document, "-o", &second]);
    assert_eq!(state["cached_tokens"], state["tokens"]);
    assert_eq!(desk.entries().len(), 1);
}

#[test]
fn texts_are_embedded_once() {
    let desk = Desk::new();
    let lines = desk.path("lines.txt");
    fs::write(&lines, "The sea was calm.\nx\nThe sea was calm.\nHe paid the bill.\n").expect("written");
    for (name, flags) in [
        ("a.npy", &[][..]),
        ("a.jsonl", &["--pooling", "last"]),
        ("a.safetensors", &["--normalize"]),
        ("b.npy", &["--of", "state", "--layer", "1"]),
    ] {
        let [plain, first, second] =
            ["plain-", "1-", "2-"].map(|prefix| desk.path(&format!("{prefix}{name}")));
        let base = [&["embed", "--lines", &lines][..], flags].concat();
        ok(&desk.args(&[&base[..], &["-o", &plain, "-q"]].concat()));
        let n_before = desk.entries().len();
        let found = desk.cached(&[&base[..], &["-o", &first]].concat());
        assert!(found.err.contains("tok/s") && !found.err.contains("cache"), "{flags:?}: {}", found.err);
        assert_eq!(desk.entries().len(), n_before + 3, "{flags:?}");
        let found = desk.cached(&[&base[..], &["-o", &second]].concat());
        assert!(found.err.contains("0 computed, the others from the cache"), "{flags:?}: {}", found.err);
        assert_eq!([bytes(&first), bytes(&second)], [bytes(&plain), bytes(&plain)], "{flags:?}");
        assert_eq!(desk.entries().len(), n_before + 3, "{flags:?}");
    }
    let embeddings = desk.path("plain-a.npy");
    let base = ["similar", "the quiet sea", "--in", &embeddings];
    let without = ok(&desk.args(&base));
    let n_before = desk.entries().len();
    for _ in 0..2 {
        let found = desk.noted(&base);
        assert_eq!((found.out, found.err), (without.clone(), String::new()));
        assert_eq!(desk.entries().len(), n_before + 1);
    }
}

#[test]
fn damage_costs_time_and_a_note() {
    let desk = Desk::new();
    let out = desk.path("out");
    let fields = [&["fields", &desk.document, "--csv"][..], &FIELDS].concat();
    let embed = ["embed", "--lines", &desk.document];
    for base in [&["state", &desk.document, "-o", &out][..], &fields, &embed] {
        let _ = fs::remove_dir_all(&desk.cache);
        let without = ok(&desk.args(&[base, &["-q"]].concat()));
        let file = fs::read(&out).unwrap_or_default();
        desk.cached(base);
        let damage = |at: fn(usize) -> usize| {
            for entry in desk.entries() {
                let mut bytes = fs::read(&entry).expect("readable");
                let at = at(bytes.len());
                bytes[at] ^= 1;
                fs::write(&entry, bytes).expect("writable");
            }
        };
        for at in [|_| 0, |len| len / 2, |len| len - 1] {
            damage(at);
            let n_damaged = desk.entries().len();
            let found = desk.noted(base);
            assert_eq!(found.out, without, "{base:?}");
            assert_eq!(fs::read(&out).unwrap_or_default(), file, "{base:?}");
            let (note, summary) = found.err.split_once('\n').expect("a note before the summary");
            assert!(note.starts_with(&format!("cache: {}", desk.cache)), "{note}");
            assert!(note.contains("damaged, and removed") && !summary.contains("cache"), "{}", found.err);
            assert_eq!(note.ends_with("more before it"), n_damaged > 1, "{note}");
            assert_eq!(summary.lines().count(), 1, "{summary}");
            // It was written anew.
            let found = desk.cached(base);
            assert!(found.out == without && found.err.contains("from the cache"), "{}", found.err);
        }
        damage(|len| len - 1);
        let found = desk.noted(&[base, &["-q"]].concat());
        assert_eq!((found.out, found.err), (without, String::new()), "{base:?}");
    }
}

#[test]
fn a_folder_that_cannot_be_used_is_named() {
    let desk = Desk::new();
    let out = desk.path("out.npy");
    let below = format!("{}/below", desk.document);
    let mut folders = vec![desk.document.clone(), below];
    if cfg!(target_os = "linux") {
        // No permissions bind the superuser, but here even he cannot write.
        folders.push("/proc".to_owned());
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let read_only = desk.path("read-only");
        fs::create_dir(&read_only).expect("made");
        fs::set_permissions(&read_only, fs::Permissions::from_mode(0o555)).expect("set");
        match fs::write(format!("{read_only}/file"), "") {
            Ok(()) => println!("skipped: permissions do not bind this user"),
            Err(_) => folders.push(read_only),
        }
    }
    for folder in &folders {
        let cache = format!("--cache={folder}");
        for args in [
            &["state", &desk.document, "-o", &out][..],
            &["fields", &desk.document, "--field", "x"],
            &["embed", &desk.document, "-o", &out],
            &["similar", "x", "--in", &out],
        ] {
            let found = desk.run(&[args, &[&cache]].concat());
            assert_fails(&found, &format!("{folder}: the cache cannot use this folder: "));
        }
    }
    assert!(!Path::new(&out).exists());
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_costs_a_note() {
    let Some(disk) = small_disk::SmallDisk::mount("64k") else {
        return println!("skipped: no permission to mount a small file system");
    };
    let desk = Desk { cache: disk.0.path().display().to_string(), ..Desk::new() };
    let [plain, out] = ["plain.state", "out.state"].map(|name| desk.path(name));
    ok(&desk.args(&["state", &desk.document, "-o", &plain, "-q"]));
    for _ in 0..2 {
        let found = desk.noted(&["state", &desk.document, "-o", &out]);
        let note = found.err.lines().next().unwrap_or_default();
        assert!(note.starts_with(&format!("cache: {}", desk.cache)) && note.contains("space"), "{note}");
        assert_eq!(found.err.lines().count(), 2, "{}", found.err);
        assert_eq!(bytes(&out), bytes(&plain));
        assert!(desk.entries().is_empty(), "nothing half-written is left");
    }
}

#[test]
fn the_folder_is_the_users_or_named() {
    let desk = Desk::new();
    let (home, out) = (desk.path("home"), desk.path("out.state"));
    let args = desk.args(&["state", &desk.document, "-o", &out, "-q", "--cache"]);
    let status = command(&args).env("WINGBEAT_CACHE", &home).status().expect("the binary starts");
    assert!(status.success());
    assert_eq!(entries(&Path::new(&home).join("results")).len(), 1);
    if cfg!(target_os = "linux") {
        let mut command = command(&args);
        command.env_remove("WINGBEAT_CACHE").env("XDG_CACHE_HOME", &home);
        assert!(command.status().expect("the binary starts").success());
        assert_eq!(entries(&Path::new(&home).join("wingbeat/results")).len(), 1);
    }
    let output = command(&args).env("WINGBEAT_CACHE", "").output().expect("the binary starts");
    let found = Run {
        code: output.status.code(),
        out: output.stdout,
        err: String::from_utf8(output.stderr).expect("UTF-8"),
    };
    assert_fails(&found, "--cache: this user has no cache folder");
}

#[test]
fn flags_that_make_no_sense_are_refused() {
    let desk = Desk::new();
    let (out, cache) = (desk.path("out.state"), format!("--cache={}", desk.cache));
    let (doc, cache) = (&*desk.document, &*cache);
    let cases: &[(&[&str], &str)] = &[
        (&["state", doc, "-o", &out, "--cache-limit", "4G"], "--cache"),
        (&["state", doc, "-o", &out, cache, "--cache-limit", "0"], "--cache-limit"),
        (&["state", doc, "-o", &out, cache, "--cache-limit", "4T"], "such as 800000, 500M or 4G"),
        (&["state", doc, "-o", &out, "--cache="], "--cache"),
        // The cache knows documents from their beginnings.
        (&["state", doc, "-o", &out, cache, "--state", &out], "cannot be used with"),
        (&["fields", "--state", &out, "--field", "x", cache], "cannot be used with"),
        // A folder without the sign is a document.
        (&["state", "--cache", &desk.cache, doc, "-o", &out], "unexpected argument"),
    ];
    for (args, what) in cases {
        assert_fails(&desk.run(args), what);
    }
    assert!(!Path::new(&desk.cache).exists() && !Path::new(&out).exists());
}

#[test]
fn the_limit_is_kept() {
    let desk = Desk::new();
    let out = desk.path("out.state");
    let limited = |document: &str, limit: &str| {
        let found = desk.json(&["state", document, "-o", &out, "--cache-limit", limit]);
        found["cached_tokens"] == found["tokens"]
    };
    assert!(!limited(&desk.document, "1k"));
    assert!(desk.entries().is_empty(), "it is larger than that");
    assert!(!limited(&desk.document, "1G"));
    let entry = desk.entries().pop().expect("an entry");
    let room = fs::metadata(&entry).expect("readable").len() * 3 / 2;
    let other = desk.path("other.txt");
    fs::write(&other, "Another document.").expect("written");
    assert!(!limited(&other, &room.to_string()));
    assert_eq!(desk.entries().len(), 1);
    assert!(limited(&other, "1G") && !entry.exists(), "the newer one is left");
}

/// Ctrl-C while a document is read: nothing is kept, and nothing is left half-written.
#[cfg(unix)]
#[test]
fn an_interrupt_keeps_nothing() {
    use std::{process::Command, thread, time::Duration};
    let desk = Desk::new();
    let (long, out) = (desk.path("long.txt"), desk.path("out.state"));
    fs::write(&long, DOCUMENT.repeat(200_000)).expect("written");
    let cache = format!("--cache={}", desk.cache);
    let fields = ["fields", &long, "--field", "x", "--save-state", &out, &cache, "-q"];
    for args in [&["state", &long, "-o", &out, &cache, "-q"][..], &fields] {
        let _ = fs::remove_dir_all(&desk.cache);
        let child = command(&desk.args(args)).spawn().expect("starts");
        while !Path::new(&desk.cache).exists() {
            thread::yield_now();
        }
        // It reads by then, or nearly so, and cannot be done.
        thread::sleep(Duration::from_millis(700));
        let sent = Command::new("kill").args(["-INT", &child.id().to_string()]).status();
        assert!(sent.expect("kill runs").success());
        let output = child.wait_with_output().expect("ends");
        use std::os::unix::process::ExitStatusExt;
        assert!(
            output.status.code() == Some(130) || output.status.signal() == Some(2),
            "{:?}",
            output.status
        );
        assert!(output.stdout.is_empty() && output.stderr.is_empty());
        assert!(!Path::new(&out).exists() && desk.entries().is_empty());
    }
}
