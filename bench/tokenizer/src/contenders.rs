//! The tokenizers that are measured in this process, each behind the same call.
//!
//! Each gets what its interface wants: a buffer to use again where it takes one, a `str` where it takes no bytes.

use anyhow::{Context, Result};
use wingbeat_tokenizer::{Tokenizer, Vocabulary};

use crate::texts::Text;

#[path = "../../../crates/wingbeat-tokenizer/benches/plain_trie/mod.rs"]
mod plain_trie;

/// A tokenizer with the World vocabulary. Encoding gives the number of tokens.
pub(crate) struct Contender {
    pub(crate) name: &'static str,
    pub(crate) encode: Box<Encode>,
    /// The ids, for comparison.
    pub(crate) ids: Box<Ids>,
}

type Encode = dyn FnMut(&str) -> Result<usize>;
type Ids = dyn Fn(&str) -> Result<Vec<u32>>;

/// A contender's name and how many of its tokens differ from Wingbeat's, in all texts together.
pub(crate) type Agreement = Vec<(&'static str, usize)>;

/// All of them, Wingbeat first.
pub(crate) fn all() -> Result<Vec<Contender>> {
    let mut all = vec![wingbeat(), plain()];
    #[cfg(feature = "web-rwkv")]
    all.push(web_rwkv()?);
    all.push(rwkv_tokenizer()?);
    Ok(all)
}

/// Compares everybody's ids with Wingbeat's.
pub(crate) fn agreement(all: &[Contender], texts: &[Text]) -> Result<Agreement> {
    let mut agreement = Vec::new();
    for contender in all {
        let mut n_different = 0;
        for text in texts {
            let expected = Tokenizer::world().encode(text.text.as_bytes())?;
            let ids = (contender.ids)(&text.text).context(contender.name)?;
            let n = expected.iter().zip(&ids).filter(|(a, b)| a != b).count();
            n_different += n + expected.len().abs_diff(ids.len());
        }
        agreement.push((contender.name, n_different));
    }
    Ok(agreement)
}

fn wingbeat() -> Contender {
    let mut ids = Vec::new();
    let encode = move |text: &str| {
        Tokenizer::world().encode_into(text.as_bytes(), &mut ids)?;
        Ok(ids.len())
    };
    let ids = |text: &str| Ok(Tokenizer::world().encode(text.as_bytes())?);
    Contender { name: "wingbeat", encode: Box::new(encode), ids: Box::new(ids) }
}

fn plain() -> Contender {
    let trie = std::rc::Rc::new(plain_trie::PlainTrie::new(&Vocabulary::world()));
    let (other, mut ids) = (trie.clone(), Vec::new());
    let encode = move |text: &str| {
        trie.encode(text.as_bytes(), &mut ids);
        Ok(ids.len())
    };
    let ids = move |text: &str| {
        let mut ids = Vec::new();
        other.encode(text.as_bytes(), &mut ids);
        Ok(ids)
    };
    Contender { name: "plain trie", encode: Box::new(encode), ids: Box::new(ids) }
}

#[cfg(feature = "web-rwkv")]
fn web_rwkv() -> Result<Contender> {
    let tokenizer = std::rc::Rc::new(web_rwkv::tokenizer::Tokenizer::new(&json_vocabulary()?)?);
    let (other, mut ids) = (tokenizer.clone(), Vec::new());
    let encode = move |text: &str| {
        ids.clear();
        tokenizer.encode_into(text.as_bytes(), &mut ids)?;
        Ok(ids.len())
    };
    let ids = move |text: &str| Ok(other.encode(text.as_bytes())?);
    Ok(Contender { name: "web-rwkv 0.10.20", encode: Box::new(encode), ids: Box::new(ids) })
}

fn rwkv_tokenizer() -> Result<Contender> {
    let tokenizer = std::rc::Rc::new(rwkv_tokenizer::WorldTokenizer::new(None)?);
    let other = tokenizer.clone();
    let encode = move |text: &str| Ok(tokenizer.encode(text).len());
    let ids = move |text: &str| Ok(other.encode(text).into_iter().map(u32::from).collect());
    Ok(Contender { name: "rwkv-tokenizer 0.9.1", encode: Box::new(encode), ids: Box::new(ids) })
}

/// The World vocabulary as web-rwkv reads it: an object from ids to strings, or to lists of bytes.
#[cfg(feature = "web-rwkv")]
pub(crate) fn json_vocabulary() -> Result<String> {
    let world = Vocabulary::world();
    let tokens: std::collections::BTreeMap<u32, serde_json::Value> = world
        .iter()
        .map(|(id, token)| match std::str::from_utf8(token) {
            Ok(text) => (id, text.into()),
            Err(_) => (id, token.into()),
        })
        .collect();
    Ok(serde_json::to_string(&tokens)?)
}
