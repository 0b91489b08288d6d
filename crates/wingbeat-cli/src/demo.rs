//! The model used where none is named: the demo model, embedded or in the source checkout.

use wingbeat::ModelFile;

/// The demo model's file.
#[cfg(feature = "demo")]
pub(crate) fn file() -> anyhow::Result<ModelFile> {
    Ok(wingbeat::demo_file()?)
}

/// The demo model's file: of the checkout that this program was built from.
#[cfg(not(feature = "demo"))]
pub(crate) fn file() -> anyhow::Result<ModelFile> {
    const IN_CHECKOUT: &str =
        concat!(env!("CARGO_MANIFEST_DIR"), "/../../assets/wingbeat-demo-26m-q8_0.gguf");
    if !std::path::Path::new(IN_CHECKOUT).exists() {
        anyhow::bail!("no model: this build has no demo model in it; give one with --model FILE");
    }
    Ok(ModelFile::open(IN_CHECKOUT)?)
}
