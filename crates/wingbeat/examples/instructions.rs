//! The work whose processor instructions `bench/instructions` counts: each thing done as often as asked, on one thread,
//! with the kernels of one level, so that the count depends on neither clock nor machine.
//!
//! ```text
//! instructions write FILE.gguf         a small model in F16 with random weights, the same each time
//! instructions tokenize TEXT.txt N     encodes a file's text with the World vocabulary
//! instructions load MODEL N            opens a model, ready to compute, vocabulary included
//! instructions step MODEL N            runs a token, logits in the caller's memory
//! instructions prompt MODEL N          runs 32 tokens from a fresh state, logits of the last
//! ```
//!
//! A count of N repetitions taken from one of 2 N leaves N repetitions and nothing of the start.

use std::{error::Error, hint::black_box, path::Path};
use wingbeat::{
    CpuOptions, Device, Level, Model, ModelOptions, Sequence, State, Tokenizer, Want,
    synthetic::{Shape, SyntheticModel},
};

const USAGE: &str = "usage: instructions write FILE.gguf
       instructions tokenize TEXT.txt N
       instructions load|step|prompt MODEL N";

/// All kinds of products, in a file of 8 MB; without the World vocabulary's 65536 rows, which would be nearly all of
/// the work.
const SHAPE: Shape = Shape { n_layers: 4, n_channels: 256, n_vocab: 2048, ..Shape::TINY };
/// What every x86 processor of the last ten years has, and valgrind knows.
const LEVEL: Level = Level::Avx2;
/// Tokens of a prompt.
const PROMPT: usize = 32;

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["write", file] => {
            SyntheticModel::new(SHAPE).write_gguf(file, &mut |_, _| true)?;
            Ok(())
        }
        [what, file, n] => repeat(what, Path::new(file), n.parse().map_err(|_| USAGE)?),
        _ => Err(USAGE.into()),
    }
}

fn repeat(what: &str, file: &Path, n: usize) -> Result<(), Box<dyn Error>> {
    match what {
        "tokenize" => {
            let text = std::fs::read(file).map_err(|error| format!("{}: {error}", file.display()))?;
            let tokenizer = Tokenizer::world();
            for _ in 0..n {
                black_box(tokenizer.encode(black_box(&text))?);
            }
        }
        "load" => {
            for _ in 0..n {
                black_box(open(file)?.tokenizer()?);
            }
        }
        "step" => {
            let model = open(file)?;
            let mut state = model.new_state()?;
            for token in tokens(&model).take(n) {
                run(&model, &mut state, &[token])?;
            }
        }
        "prompt" => {
            let model = open(file)?;
            let tokens: Vec<u32> = tokens(&model).take(PROMPT).collect();
            for _ in 0..n {
                run(&model, &mut model.new_state()?, &tokens)?;
            }
        }
        _ => return Err(USAGE.into()),
    }
    Ok(())
}

fn open(file: &Path) -> Result<Model, wingbeat::Error> {
    let cpu = CpuOptions { threads: Some(1), level: Some(LEVEL), exact: false };
    Model::open_with(file, &ModelOptions { device: Device::Cpu(cpu), ..ModelOptions::default() })
}

/// Any tokens, all over the vocabulary: 7919 is a prime, and no vocabulary is a multiple of it.
fn tokens(model: &Model) -> impl Iterator<Item = u32> {
    let n_vocab = model.config().n_vocab;
    (1..).map(move |i: usize| (i * 7919 % n_vocab) as u32)
}

fn run(model: &Model, state: &mut State, tokens: &[u32]) -> Result<(), wingbeat::Error> {
    black_box(model.forward(&mut [Sequence { state, tokens, want: Want::LAST_LOGITS }])?);
    Ok(())
}
