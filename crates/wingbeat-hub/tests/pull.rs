//! Fetching from a hub on this machine: the layout of the cache, going on after interruptions, checks, refusals, and
//! lists that mean harm.

mod server;

use server::{COMMIT, Fault, REPO, noise, sha256};
use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};
use tempfile::TempDir;
use wingbeat_hub::{Hub, HubError, Located, Reference, Settings};

const N_BYTES: usize = 3_000_000;
const MODEL: &str = "x-1b-Q8_0.gguf";

/// A hub that has a model in two types, and an empty cache.
struct Place {
    server: server::Hub,
    dir: TempDir,
    bytes: Vec<u8>,
}

impl Place {
    fn new() -> Place {
        let bytes = noise(N_BYTES);
        let files: [(&str, &[u8]); 3] =
            [("README.md", b"text"), (MODEL, &bytes), ("x-1b-Q4_K_M.gguf", b"four bits")];
        Place { server: server::Hub::start(&files), dir: tempfile::tempdir().expect("a folder"), bytes }
    }

    fn settings(&self) -> Settings {
        Settings {
            endpoint: self.server.endpoint(),
            cache: self.dir.path().join("hub"),
            token: None,
            offline: false,
            timeout: Duration::from_millis(700),
            retry_pause: Duration::from_millis(5),
        }
    }

    fn hub(&self) -> Hub {
        Hub::new(self.settings())
    }

    fn offline(&self) -> Hub {
        Hub::new(Settings { offline: true, endpoint: "http://127.0.0.1:1".to_owned(), ..self.settings() })
    }

    fn pull(&self) -> Result<Located, HubError> {
        self.hub().pull(&reference(REPO), &mut |_| true)
    }

    fn repo(&self) -> PathBuf {
        self.dir.path().join("hub/models--user--repo")
    }

    fn incomplete(&self) -> PathBuf {
        self.repo().join("blobs").join(format!("{}.incomplete", sha256(&self.bytes)))
    }

    /// That nothing looks like a model, and nothing lies outside the cache.
    fn assert_nothing_there(&self) {
        let cached = self.offline().cached().expect("the cache can be read");
        assert_eq!(cached.models, [], "no model");
        let outside: Vec<_> =
            fs::read_dir(self.dir.path()).expect("a folder").flatten().map(|f| f.file_name()).collect();
        assert!(outside.iter().all(|name| name == "hub"), "{outside:?}");
        assert!(!self.repo().join("refs/main").exists());
    }
}

fn reference(text: &str) -> Reference {
    text.parse().unwrap_or_else(|error| panic!("{error}"))
}

fn message(result: Result<Located, HubError>) -> String {
    let text = result.expect_err("an error").to_string();
    assert_eq!(text.lines().count(), 1, "{text}");
    text
}

#[test]
fn a_model_lies_where_the_hubs_own_tools_look_for_it() {
    let place = Place::new();
    let mut shown = 0;
    let located = place.hub().pull(&reference(REPO), &mut |progress| {
        assert_eq!(progress.total_bytes.unwrap_or(N_BYTES as u64), N_BYTES as u64);
        shown = progress.done_bytes;
        true
    });
    let located = located.expect("fetched");
    assert_eq!(shown, N_BYTES as u64);
    assert_eq!(located.path, place.repo().join("snapshots").join(COMMIT).join(MODEL));
    assert!(fs::read(&located.path).expect("the file") == place.bytes);
    assert!(
        fs::read(place.repo().join("blobs").join(sha256(&place.bytes))).expect("the blob") == place.bytes
    );
    assert_eq!(fs::read_to_string(place.repo().join("refs/main")).expect("the ref"), COMMIT);
    #[cfg(unix)]
    assert_eq!(
        fs::read_link(&located.path).expect("a link"),
        Path::new("../../blobs").join(sha256(&place.bytes))
    );
    assert!(!place.incomplete().exists());
    assert_eq!(located.n_fetched_bytes, N_BYTES as u64);

    // Nothing is fetched twice, and nothing asked where the cache has it.
    assert_eq!(place.server.downloads().len(), 1);
    assert_eq!(place.pull().expect("there").n_fetched_bytes, 0);
    assert_eq!(place.server.downloads().len(), 0);
    let found = place.hub().locate(&reference(REPO), &mut |_| true).expect("there");
    assert_eq!(found.path, located.path);
    assert_eq!(place.server.requests().len(), 0);
}

#[test]
fn a_type_a_file_and_a_revision_can_be_named() {
    let place = Place::new();
    for text in ["user/repo:q4_k_m", "user/repo:x-1b-q4_k_m.gguf", &format!("user/repo@{COMMIT}:Q4_K")] {
        let located = place.hub().pull(&reference(text), &mut |_| true).expect("fetched");
        assert_eq!(located.file, "x-1b-Q4_K_M.gguf", "{text}");
        assert_eq!(fs::read(&located.path).expect("the file"), b"four bits");
    }
    let refused = message(place.hub().pull(&reference("user/repo@v2"), &mut |_| true));
    assert!(refused.contains("404") && refused.contains("no such revision"), "{refused}");
    let unknown = message(place.hub().pull(&reference("user/repo:q6_k"), &mut |_| true));
    assert!(unknown.contains("x-1b-Q8_0.gguf"), "{unknown}");
    // What the cache has of a repository will do, where no choice is made.
    let found = place.hub().locate(&reference(REPO), &mut |_| true).expect("there");
    assert_eq!(found.file, "x-1b-Q4_K_M.gguf");
}

#[test]
fn a_connection_that_breaks_is_taken_up_where_it_broke() {
    let place = Place::new();
    let faults = [Fault::Drop(1_000_000), Fault::Status(503), Fault::Stall(500_000), Fault::Drop(0)];
    place.server.set(|shared| shared.faults.extend(faults));
    let located = place.pull().expect("fetched");
    assert!(fs::read(&located.path).expect("the file") == place.bytes);
    assert_eq!(located.n_fetched_bytes, N_BYTES as u64);
    let ranges: Vec<_> = place.server.downloads().into_iter().map(|request| request.range).collect();
    let from = |n: usize| Some(format!("bytes={n}-"));
    assert_eq!(ranges, [None, from(1_000_000), from(1_000_000), from(1_500_000), from(1_500_000)]);
}

#[test]
fn a_pull_that_was_stopped_goes_on() {
    let place = Place::new();
    place.server.set(|shared| shared.faults.push_back(Fault::Stall(1_200_000)));
    let stopped = place.hub().pull(&reference(REPO), &mut |progress| progress.done_bytes < 1_000_000);
    let stopped = message(stopped);
    assert!(stopped.contains("stopped") && stopped.contains("kept"), "{stopped}");
    let kept = fs::metadata(place.incomplete()).expect("a part is kept").len();
    assert!((1..N_BYTES as u64).contains(&kept), "{kept}");
    place.assert_nothing_there();
    let cached = place.offline().cached().expect("the cache can be read");
    assert_eq!((cached.partial[0].repo.as_str(), cached.partial[0].n_bytes), (REPO, kept));

    place.server.requests();
    let located = place.pull().expect("fetched");
    assert!(fs::read(&located.path).expect("the file") == place.bytes);
    assert_eq!(place.server.downloads()[0].range, Some(format!("bytes={kept}-")));
    assert_eq!(located.n_fetched_bytes, N_BYTES as u64 - kept);
}

#[test]
fn servers_that_misunderstand_ranges_cost_time_only() {
    for fault in [Fault::NoRange, Fault::OtherRange] {
        let place = Place::new();
        place.server.set(|shared| shared.faults.extend([Fault::Drop(1_000), fault]));
        assert!(fs::read(place.pull().expect("fetched").path).expect("the file") == place.bytes, "{fault:?}");
    }
    // A part that is as long as the whole, and another one that is longer.
    for (n, is_right) in [(N_BYTES, true), (N_BYTES + 5, false)] {
        let place = Place::new();
        fs::create_dir_all(place.repo().join("blobs")).expect("a folder");
        let mut part = place.bytes.clone();
        part.resize(n, 0);
        fs::write(place.incomplete(), part).expect("written");
        assert!(fs::read(place.pull().expect("fetched").path).expect("the file") == place.bytes);
        assert_eq!(place.server.downloads().is_empty(), is_right);
    }
}

#[test]
fn what_is_not_what_the_hub_has_never_appears() {
    let place = Place::new();
    place.server.set(|shared| shared.faults.push_back(Fault::Flip));
    let damaged = message(place.pull());
    assert!(damaged.contains("SHA-256") && damaged.contains(&sha256(&place.bytes)), "{damaged}");
    assert!(!place.incomplete().exists());
    place.assert_nothing_there();

    place.server.set(|shared| shared.faults.push_back(Fault::Long));
    let long = message(place.pull());
    assert!(long.contains(&N_BYTES.to_string()), "{long}");
    place.assert_nothing_there();

    // The file's own headers and the list do not agree.
    place.server.set(|shared| shared.etag = Some("0".repeat(64)));
    assert!(message(place.pull()).contains("SHA-256"));
    place.assert_nothing_there();

    place.server.set(|shared| shared.etag = None);
    assert!(fs::read(place.pull().expect("fetched").path).expect("the file") == place.bytes);
}

#[test]
fn a_hub_that_is_down_is_asked_a_few_times() {
    let place = Place::new();
    place.server.set(|shared| shared.statuses.extend([502, 429]));
    place.pull().expect("fetched at the third attempt");
    let down = Place::new();
    down.server.set(|shared| shared.statuses.extend([500; 9]));
    let message = message(down.pull());
    assert!(message.contains("500") && message.contains("tried 5 times"), "{message}");
    let nobody = Settings { endpoint: "http://127.0.0.1:1".to_owned(), ..down.settings() };
    let error = Hub::new(nobody).pull(&reference(REPO), &mut |_| true).expect_err("nobody is there");
    assert!(matches!(error, HubError::Network { .. }), "{error}");
}

#[test]
fn tokens_open_what_is_closed_and_stay_with_the_hub() {
    let place = Place::new();
    place.server.set(|shared| shared.token = Some("hf_secret".to_owned()));
    let closed = message(place.pull());
    assert!(closed.contains("401") && closed.contains("HF_TOKEN"), "{closed}");
    let with = |token: &str| Hub::new(Settings { token: Some(token.to_owned()), ..place.settings() });
    let gated = message(with("hf_other").pull(&reference(REPO), &mut |_| true));
    assert!(gated.contains("403") && gated.contains("ask for access"), "{gated}");
    place.server.requests();
    with("hf_secret").pull(&reference(REPO), &mut |_| true).expect("fetched");
    for request in place.server.requests() {
        assert_eq!(request.token.as_deref(), (!request.is_cdn).then_some("hf_secret"), "{request:?}");
    }
    let unknown = message(place.hub().pull(&reference("user/other"), &mut |_| true));
    assert!(unknown.contains("user/other"), "{unknown}");
}

#[test]
fn offline_takes_what_there_is() {
    let place = Place::new();
    let error = message(place.offline().pull(&reference(REPO), &mut |_| true));
    assert!(error.contains("HF_HUB_OFFLINE") && error.contains(REPO), "{error}");
    let pulled = place.pull().expect("fetched");
    for reference in [REPO, "user/repo:q8_0", &format!("user/repo@{COMMIT}")] {
        let reference: Reference = reference.parse().expect("a reference");
        assert_eq!(place.offline().pull(&reference, &mut |_| true).expect("there").path, pulled.path);
        assert_eq!(place.offline().locate(&reference, &mut |_| true).expect("there").path, pulled.path);
    }
    message(place.offline().locate(&reference("user/repo:q4_k_m"), &mut |_| true));
    message(place.offline().locate(&reference("user/repo@other"), &mut |_| true));
    // A blob that is gone is not there, whatever the link says.
    fs::remove_file(place.repo().join("blobs").join(sha256(&place.bytes))).expect("removed");
    message(place.offline().locate(&reference(REPO), &mut |_| true));
}

#[test]
fn shards_come_with_their_index_and_what_is_beside_them() {
    let names = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"];
    let files: [(&str, &[u8]); 4] = [
        ("config.json", b"{}"),
        (names[0], b"one"),
        (names[1], b"two"),
        ("model.safetensors.index.json", b"{\"weight_map\":{}}"),
    ];
    let place = Place { server: server::Hub::start(&files), ..Place::new() };
    place.server.set(|shared| shared.faults.extend([Fault::Flip]));
    message(place.pull());
    place.assert_nothing_there();
    let located = place.pull().expect("fetched");
    assert_eq!(located.file, "model.safetensors.index.json");
    let folder = located.path.parent().expect("a folder");
    for (name, bytes) in files {
        assert_eq!(fs::read(folder.join(name)).expect("a file"), bytes, "{name}");
    }
    let cached = place.offline().cached().expect("the cache can be read");
    assert_eq!(cached.models.len(), 1);
    let model = &cached.models[0];
    assert_eq!((model.repo.as_str(), model.file.as_str(), model.commit.as_str()), (REPO, files[3].0, COMMIT));
    assert_eq!((&model.revisions[..], model.n_bytes), (&["main".to_owned()][..], 2 + 3 + 3 + 17));
    assert_eq!(place.offline().locate(&reference(REPO), &mut |_| true).expect("there").path, located.path);
}

#[test]
fn lists_that_mean_harm_write_nothing_outside() {
    let listing = |sha: &str, file: &str| {
        let lfs = r#""lfs":{"sha256":"x","size":18446744073709551615}"#;
        format!(r#"{{"sha":"{sha}","siblings":[{{"rfilename":"{file}","size":9,{lfs}}}]}}"#)
    };
    let lists = [
        String::new(),
        "{}".to_owned(),
        "[1,".to_owned(),
        "[".repeat(100_000),
        listing("main", "a.gguf"),
        listing("../../../x", "a.gguf"),
        listing(COMMIT, "../../../../a.gguf"),
        listing(COMMIT, "/tmp/a.gguf"),
        listing(COMMIT, "C:\\\\a.gguf"),
        listing(COMMIT, "..\\\\..\\\\a.gguf"),
        listing(COMMIT, "a/../../a.gguf"),
        listing(COMMIT, "a\\u0000.gguf"),
        listing(COMMIT, &format!("{}.gguf", "a/".repeat(300))),
        // A name that is sound, of a file that the hub does not have.
        listing(COMMIT, "a.gguf"),
    ];
    let place = Place::new();
    for list in lists {
        place.server.set(|shared| shared.listing = Some(list.clone()));
        message(place.pull());
        place.assert_nothing_there();
    }
}

#[test]
fn answers_that_mean_harm_write_nothing_outside() {
    let place = Place::new();
    for etag in ["../../../../x", "", "a/b", "..", &"a".repeat(500), "a b"] {
        place.server.set(|shared| shared.etag = Some(etag.to_owned()));
        assert!(message(place.pull()).contains("ETag"), "{etag}");
        place.assert_nothing_there();
    }
    place.server.set(|shared| shared.etag = None);
    let endless = format!("{}/{REPO}/resolve/{COMMIT}/{MODEL}", place.server.endpoint());
    for location in ["file:///etc/passwd", "ftp://x/y", "x", endless.as_str()] {
        place.server.set(|shared| shared.location = Some(location.to_owned()));
        assert!(message(place.pull()).contains("redirects"), "{location}");
        place.assert_nothing_there();
    }
}

#[test]
fn a_repository_that_was_renamed_is_found() {
    let place = Place::new();
    place.server.set(|shared| shared.former = Some("old/name".to_owned()));
    let located = place.hub().pull(&reference("old/name"), &mut |_| true).expect("fetched");
    assert!(fs::read(located.path).expect("the file") == place.bytes);
}

#[test]
fn two_at_once_fetch_it_once() {
    let place = Place::new();
    std::thread::scope(|scope| {
        let pulls: Vec<_> = (0..3).map(|_| scope.spawn(|| place.pull().expect("fetched"))).collect();
        for pull in pulls {
            let located = pull.join().expect("no panic");
            assert!(fs::read(located.path).expect("the file") == place.bytes);
        }
    });
    assert_eq!(place.server.downloads().len(), 1);
}

/// A disk of two megabytes: nothing broken appears, and what there is room for is kept.
#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_an_error_and_no_broken_file() {
    use std::process::{Command, Stdio};
    let mut place = Place::new();
    let mut mount = Command::new("mount");
    mount.args(["-t", "tmpfs", "-o", "size=2m", "tmpfs"]).arg(place.dir.path()).stderr(Stdio::null());
    if !mount.status().is_ok_and(|status| status.success()) {
        println!("skipped: this process may not mount a file system");
        return;
    }
    let full = place.pull();
    let kept = fs::metadata(place.incomplete()).map(|found| found.len());
    let cached = place.offline().cached();
    Command::new("umount").arg(place.dir.path()).status().expect("unmounted");
    let message = message(full);
    assert!(message.contains("incomplete") && message.to_lowercase().contains("space"), "{message}");
    assert!(kept.is_ok_and(|n| n > 1_000_000), "a part is kept");
    assert_eq!(cached.expect("the cache can be read").models, []);
    place.dir = tempfile::tempdir().expect("a folder");
    place.pull().expect("fetched where there is room");
}

/// A cache in a place that cannot be written to.
#[test]
fn a_cache_that_cannot_be_written_to_is_named() {
    let place = Place::new();
    fs::write(place.dir.path().join("hub"), "a file").expect("written");
    let error = message(place.pull());
    assert!(error.contains("hub"), "{error}");
    let error = place.offline().cached().expect_err("no folder").to_string();
    assert!(error.contains("hub"), "{error}");
}
