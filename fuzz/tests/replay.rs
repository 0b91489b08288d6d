//! Runs every input that is kept through its target, without a fuzzer.

use std::fs;
use std::path::Path;

use wingbeat_fuzz::TARGETS;

/// Files of a folder, in the order of their names; none if there is no such folder.
fn inputs(folder: &Path) -> Vec<std::path::PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut files: Vec<_> = entries.map(|entry| entry.expect("a readable folder").path()).collect();
    files.sort();
    files
}

#[test]
fn inputs_that_are_kept_still_pass() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for (name, target) in TARGETS {
        let seeds = inputs(&root.join("corpus").join(name));
        assert!(!seeds.is_empty(), "{name} has no seeds");
        let regressions = inputs(&root.join("regressions").join(name));
        println!("{name}: {} seeds, {} regressions", seeds.len(), regressions.len());
        for path in seeds.into_iter().chain(regressions) {
            // Names the culprit if the target panics.
            println!("{}", path.display());
            target(&fs::read(&path).expect("a readable file"));
        }
    }
}

#[test]
fn nothing_at_all_is_an_input_too() {
    for (_, target) in TARGETS {
        target(b"");
        target(b"\0");
    }
}
