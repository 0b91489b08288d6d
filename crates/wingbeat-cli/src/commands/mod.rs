//! The commands, one file each: a struct of flags and a `run`.

mod bench;
mod chat;
mod completions;
mod convert;
mod devices;
mod dump;
mod embed;
mod fields;
mod generate;
mod inspect;
mod man;
#[cfg(feature = "hub")]
mod models;
mod perplexity;
#[cfg(feature = "hub")]
mod pull;
mod quantize;
mod similar;
mod state;
mod tokenize;

pub(crate) use bench::Bench;
pub(crate) use chat::Chat;
pub(crate) use completions::Completions;
pub(crate) use convert::Convert;
pub(crate) use devices::Devices;
pub(crate) use dump::Dump;
pub(crate) use embed::Embed;
pub(crate) use fields::Fields;
pub(crate) use generate::Generate;
pub(crate) use inspect::Inspect;
pub(crate) use man::Man;
#[cfg(feature = "hub")]
pub(crate) use models::Models;
pub(crate) use perplexity::Perplexity;
#[cfg(feature = "hub")]
pub(crate) use pull::Pull;
pub(crate) use quantize::Quantize;
pub(crate) use similar::Similar;
pub(crate) use state::State;
pub(crate) use tokenize::Tokenize;
