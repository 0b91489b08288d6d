//! Writes the seed of the target `state`: a state that the target's own model saved.
//!
//! `cargo run --manifest-path fuzz/Cargo.toml --example state_seed`, when states' files or fingerprints change.

use std::path::Path;

use wingbeat::{Device, Error, Model, ModelOptions, Sequence, Want};

fn main() -> Result<(), Error> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let options = ModelOptions { device: Device::Reference, ..ModelOptions::default() };
    let model = Model::open_with(here.join("../tests/fixtures/rwkv7-1x64.safetensors"), &options)?;
    let mut state = model.new_state()?;
    model.forward(&mut [Sequence { state: &mut state, tokens: &[1, 2, 3], want: Want::NOTHING }])?;
    state.save(here.join("corpus/state/saved"))
}
