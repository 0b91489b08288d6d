//! A document is read once; its state answers several continuations, and is kept in a file.
//!
//! `cargo run --release --example states -- MODEL DOCUMENT.txt`

use std::error::Error;
use wingbeat::{GenerateOptions, Model, Session, sampler::SamplerConfig};

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [model, document] = &args[..] else { return Err("usage: states MODEL DOCUMENT.txt".into()) };
    let model = Model::open(model)?;
    let mut reader = model.session(SamplerConfig::greedy())?;
    let n_tokens = reader.feed_text(std::fs::read(document)?, &mut |_| true)?;
    let state = reader.state()?;
    println!("{n_tokens} tokens are in {} bytes of state", model.state_layout().len_bytes());
    for question in ["\n\nSender:", "\n\nDate:"] {
        let mut session = Session::new(&model, state.fork()?, SamplerConfig::greedy())?;
        session.feed_text(question, &mut |_| true)?;
        let mut answer = Vec::new();
        let options =
            GenerateOptions { max_tokens: 12, stops: vec!["\n".to_owned()], ..GenerateOptions::default() };
        session.generate(&options, &mut |bytes| {
            answer.extend_from_slice(bytes);
            true
        })?;
        println!("{}{}", question.trim_start(), String::from_utf8_lossy(&answer));
    }
    let file = std::env::temp_dir().join("document.state");
    state.save(&file)?;
    println!("kept in {}; it holds {} tokens", file.display(), model.load_state(&file)?.n_tokens());
    Ok(())
}
