//! Packs a vocabulary text file into the compact binary form (`assets/world.bin` is made with it):
//!
//!     cargo run -p wingbeat-tokenizer --example pack_vocab -- IN.txt OUT.bin

use std::error::Error;
use std::path::Path;
use std::{env, fs};

use wingbeat_tokenizer::Vocabulary;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [input, output] = arguments.as_slice() else {
        return Err("usage: pack_vocab IN.txt OUT.bin".into());
    };
    let text = fs::read(input).map_err(|e| format!("{input}: {e}"))?;
    let vocabulary = Vocabulary::from_text(input, &text)?;
    let packed = vocabulary.to_packed();
    if Vocabulary::from_packed(&packed)? != vocabulary {
        return Err("the packed form does not read back as the same vocabulary".into());
    }

    // To a temporary name first: whoever reads the output never sees half of it.
    let temporary = format!("{output}.part");
    fs::write(&temporary, &packed).map_err(|e| format!("{temporary}: {e}"))?;
    fs::rename(&temporary, output).map_err(|e| format!("{output}: {e}"))?;
    println!(
        "{}: {} ids, longest token {} bytes, {} bytes packed into {}",
        Path::new(output).display(),
        vocabulary.len(),
        vocabulary.max_token_bytes(),
        text.len(),
        packed.len()
    );
    Ok(())
}
