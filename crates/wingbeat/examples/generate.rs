//! Text from a model: `cargo run --release --example generate -- MODEL "PROMPT"`.

use std::{error::Error, io::Write};
use wingbeat::{GenerateOptions, Model, sampler::SamplerConfig};

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [model, prompt] = &args[..] else { return Err("usage: generate MODEL PROMPT".into()) };
    let model = Model::open(model)?;
    let mut session =
        model.session(SamplerConfig { temperature: 1.0, top_p: 0.7, ..SamplerConfig::default() })?;
    session.feed_text(prompt, &mut |_| true)?;
    let mut stdout = std::io::stdout();
    session.generate(&GenerateOptions::default(), &mut |text| {
        stdout.write_all(text).and_then(|()| stdout.flush()).is_ok()
    })?;
    Ok(())
}
