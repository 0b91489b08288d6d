//! Shards, which real models have and the fixtures would not.

use super::*;
use wingbeat_format::ModelFile;
use wingbeat_model::Catalog;

#[test]
fn shards_are_one_model() {
    let path =
        format!("{}/../../tests/fixtures/rwkv7-3x128-odd-ranks.safetensors", env!("CARGO_MANIFEST_DIR"));
    let source = ModelFile::open(path).unwrap();
    let catalog = Catalog::open(&source).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("sharded");
    let job = Job {
        source: Some(&source),
        content: &source,
        target: &target,
        config: catalog.config(),
        weights: catalog.weights(),
        vocabulary: None,
        replaces_vocabulary: false,
        mix: None,
        plan: None,
    };
    let mut seen = Vec::new();
    let converted = write_sharded(&job, 400_000, &mut |done, total| {
        seen.push((done, total));
        true
    });
    let n = converted.unwrap().n_tensors;
    assert_eq!(n, catalog.weights().len());
    assert!(seen.iter().all(|&(_, total)| total == n) && seen.windows(2).all(|two| two[0].0 <= two[1].0));
    assert_eq!(seen.last(), Some(&(n, n)));
    let file = ModelFile::open(&target).unwrap();
    assert!(file.parts().len() > 3, "{}", file.parts().len());
    let again = Catalog::open(&file).unwrap();
    for (a, b) in catalog.weights().iter().zip(again.weights()) {
        assert_eq!((&a.name, &a.shape, a.dtype), (&b.name, &b.shape, b.dtype));
        let orientation = Orientation::RowMajor;
        let bytes = |file: &ModelFile, weight| {
            let mut bytes = Vec::new();
            let mut sink = |more: &[u8]| {
                bytes.extend_from_slice(more);
                Ok(())
            };
            crate::convert::Content::encode(file, weight, orientation, DType::F32, &mut sink).unwrap();
            bytes
        };
        assert!(bytes(&source, a) == bytes(&file, b), "{}", a.name);
    }
    // One shard missing.
    std::fs::remove_file(&file.parts()[1].label).unwrap();
    let message = ModelFile::open(&target).unwrap_err().to_string();
    assert!(message.contains("model-00002-of-") && message.contains("found none"), "{message}");
}
