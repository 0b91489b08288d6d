//! The bundled tables are those that would be built, and are used for the World vocabulary and for nothing else.

use crate::cuts::Cuts;
use crate::double_array::DoubleArray;
use crate::trie::Trie;
use crate::{Tokenizer, Vocabulary, packed};

const PACKED: &[u8] = include_bytes!("../../assets/world.bin");

fn from_file() -> Vocabulary {
    packed::read(PACKED).expect("the bundled file is whole")
}

#[test]
fn the_vocabulary_is_the_file_s() {
    let world = Vocabulary::world();
    assert_eq!(world, from_file());
    assert_eq!(world.max_token_bytes(), world.iter().map(|(_, text)| text.len()).max().unwrap_or(0));
}

#[test]
fn the_tables_are_those_that_are_built() {
    let trie = Trie::new(&from_file()).expect("small enough");
    let (cuts, array) = super::tables();
    let built = DoubleArray::new(&trie).expect("small enough");
    assert!(array.entries() == built.entries(), "the entries differ");
    assert!(array.narrow_ids() == built.narrow_ids(), "the ids differ");
    assert!(array.narrow_ids().is_some_and(|ids| ids.len() == array.entries().len()));
    assert!(cuts.rows() == Cuts::new(&trie).rows(), "the cuts differ");
    assert_eq!(cuts.rows().len(), 256);
    assert!(!array.lacks_bytes() && !built.lacks_bytes());
}

/// Whether a tokenizer of `vocabulary` uses the bundled tables themselves.
fn is_recognised(vocabulary: Vocabulary) -> bool {
    let (_, bundled) = super::tables();
    let tokenizer = Tokenizer::new(vocabulary).expect("small enough");
    std::ptr::eq(tokenizer.entries(), bundled.entries())
}

#[test]
fn the_world_vocabulary_is_recognised_in_any_form() {
    let world = Vocabulary::world();
    assert!(is_recognised(world.clone()));
    assert!(is_recognised(from_file()));
    assert!(is_recognised(Vocabulary::from_text("world", &world.to_text()).expect("just written")));
    for n in [65530, 65531, 65536, 70000] {
        assert!(is_recognised(world.padded(n).expect("within the limit")), "{n} ids");
        let (tokens, types) = world.to_gguf(n);
        let tokens = || tokens.iter().map(Vec::as_slice);
        assert!(is_recognised(Vocabulary::from_gguf(tokens(), Some(&types)).expect("just written")));
        assert!(is_recognised(Vocabulary::from_gguf(tokens(), None).expect("just written")));
    }
}

#[test]
fn a_vocabulary_with_one_difference_is_not() {
    let (mut tokens, mut types) = Vocabulary::world().to_gguf(65536);
    let read = |tokens: &[Vec<u8>], types: &[i32]| {
        Vocabulary::from_gguf(tokens.iter().map(Vec::as_slice), Some(types)).expect("well-formed")
    };
    let text = b"The Eiffel tower is in the city of Paris.";
    let ids = Tokenizer::world().encode(text).expect("World has all bytes");

    // a byte of a token: every offset stays
    let the = tokens.iter().position(|token| token == b"The").expect("it is there");
    tokens[the] = b"Thx".to_vec();
    let other = Tokenizer::new(read(&tokens, &types)).expect("small enough");
    assert!(!is_recognised(other.vocabulary().clone()));
    assert_ne!(other.encode(text).expect("all bytes are there"), ids);
    assert_eq!(other.encode(b"Thx"), Ok(vec![the as u32]));
    tokens[the] = b"The".to_vec();

    // two tokens changed about: the same lengths, the same bytes somewhere
    tokens.swap(the, 40000);
    assert!(!is_recognised(read(&tokens, &types)));
    tokens.swap(the, 40000);

    // the border between two tokens: every byte of the texts stays
    let (a, b) = (tokens[300].clone(), tokens[301].clone());
    tokens[300] = [a.as_slice(), &b[..1]].concat();
    tokens[301] = b[1..].to_vec();
    assert!(!is_recognised(read(&tokens, &types)));
    (tokens[300], tokens[301]) = (a, b);

    // one token without text, in the middle and at the end
    for id in [777, 65529] {
        types[id] = 5;
        assert!(!is_recognised(read(&tokens, &types)), "without {id}");
        types[id] = 1;
    }
    // one token more
    (tokens[65530], types[65530]) = (b"<tool>".to_vec(), 4);
    assert!(!is_recognised(read(&tokens, &types)));
    // far fewer
    assert!(!is_recognised(read(&tokens[..300], &types[..300])));
    assert!(!is_recognised(read(&[], &[])));
}
