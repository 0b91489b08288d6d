//! Converts a model file: `cargo run --release --example convert -- IN OUT [TYPE] [VOCABULARY.txt] [NAME]`.

use std::{error::Error, path::Path};
use wingbeat::{
    ModelFile,
    convert::{ConvertOptions, Mix, convert},
    read_vocabulary,
};

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [source, target, rest @ ..] = &args[..] else {
        return Err("usage: convert IN OUT [TYPE] [VOCABULARY] [NAME]".into());
    };
    let mix = match rest.first() {
        Some(name) => Some(Mix::parse(name).ok_or("unknown type")?),
        None => None,
    };
    let vocabulary = rest.get(1).map(|path| read_vocabulary(Path::new(path))).transpose()?;
    let source = ModelFile::open(source)?;
    let done = convert(
        &source,
        Path::new(target),
        &ConvertOptions { mix, vocabulary, name: rest.get(2).cloned(), ..ConvertOptions::default() },
        &mut |_, _| true,
    )?;
    println!("{target}: {}, {} tensors", done.format.name(), done.n_tensors);
    Ok(())
}
