//! The packed array holds exactly the trie it was made from.

use proptest::prelude::*;

use super::{BASE, DoubleArray, Ids, LABEL_SHIFT, LEAF, Set, TOKEN};
use crate::trie::{MISSING, NO_TOKEN, Trie};
use crate::{TokenizerError, Vocabulary};

fn n_ids(ids: &Ids) -> usize {
    match ids {
        Ids::Narrow(ids) => ids.len(),
        Ids::Wide(ids) => ids.len(),
    }
}

/// Walks the array and the trie together from the root: the same children, the same tokens, nothing more.
fn assert_same(array: &DoubleArray, trie: &Trie) {
    let mut children = vec![[NO_TOKEN; 256]; trie.len()];
    for node in 1..trie.len() {
        children[trie.parent[node] as usize][usize::from(trie.label[node])] = node as u32;
    }
    assert_eq!(array.entries.len() % 256, 0);
    assert_eq!(array.entries.len(), n_ids(&array.ids));
    assert!(array.entries.iter().all(|entry| ((entry & BASE) as usize) < array.entries.len()));

    let mut open = vec![(0u32, 0u32)]; // (node, base)
    while let Some((node, base)) = open.pop() {
        for byte in 0..=255u8 {
            let place = base ^ u32::from(byte);
            let entry = array.entries[place as usize];
            let child = children[node as usize][usize::from(byte)];
            assert_eq!(
                entry >> LABEL_SHIFT == u32::from(byte),
                child != NO_TOKEN,
                "node {node}, byte {byte}"
            );
            if child == NO_TOKEN {
                continue;
            }
            let token = trie.token[child as usize];
            assert_eq!(entry & TOKEN != 0, token != NO_TOKEN);
            if token != NO_TOKEN {
                assert_eq!(array.ids.get(place), token);
            }
            let is_leaf = children[child as usize].iter().all(|&child| child == NO_TOKEN);
            assert_eq!(entry & LEAF != 0, is_leaf);
            if is_leaf {
                assert_eq!(entry & BASE, 0);
            } else {
                open.push((child, entry & BASE));
            }
        }
    }
}

#[test]
fn world_is_packed_whole_and_tight() {
    let world = Vocabulary::world();
    let trie = Trie::new(&world).expect("small enough");
    let array = DoubleArray::new(&trie).expect("small enough");
    // assert_same needs 1 kB a node: here the tokens one by one must do, and random vocabularies for the rest.
    for (id, token) in world.iter() {
        assert_eq!(array.get(token), Some(id));
    }
    assert!(!array.lacks_bytes());
    assert!(
        array.entries.len() * 100 < trie.len() * 105,
        "{} places, {} nodes",
        array.entries.len(),
        trie.len()
    );
    // Every place taken by nobody fails for every base in use.
    let mut is_base = vec![false; array.entries.len()];
    let is_taken: Vec<bool> = array.entries.iter().map(|entry| entry & (BASE | TOKEN | LEAF) != 0).collect();
    is_base[0] = true;
    for (entry, _) in array.entries.iter().zip(&is_taken).filter(|(_, taken)| **taken) {
        is_base[(entry & BASE) as usize] = true;
    }
    for (place, entry) in array.entries.iter().enumerate().filter(|(place, _)| !is_taken[*place]) {
        assert!(!is_base[place ^ (entry >> LABEL_SHIFT) as usize], "place {place}");
    }
}

#[test]
fn an_empty_vocabulary_lacks_all_bytes() {
    let v = Vocabulary::from_text("v", b"").expect("nothing wrong with it");
    let trie = Trie::new(&v).expect("small enough");
    let array = DoubleArray::new(&trie).expect("small enough");
    assert_same(&array, &trie);
    assert!(array.lacks_bytes());
    assert!(trie.token[1..].iter().all(|&token| token == MISSING));
    assert_eq!((array.get(b"a"), array.get(b"")), (None, None));
}

#[test]
fn too_many_nodes_are_refused() {
    let long: Vec<u8> = (0..5_000_000u32).map(|i| b'a' + (i % 26) as u8).collect();
    let v = Vocabulary::from_gguf([b"".as_slice(), &long].into_iter(), None).expect("one long token");
    let error = Trie::new(&v).err();
    assert!(matches!(error, Some(TokenizerError::TooLarge { what: "trie nodes", .. })), "{error:?}");
    // Just as many nodes as there can be need more places than there can be.
    let v = Vocabulary::from_gguf([b"".as_slice(), &long[..(1 << 22) - 256]].into_iter(), None)
        .expect("one token");
    let array = DoubleArray::new(&Trie::new(&v).expect("as many as there can be"));
    match array {
        Ok(array) => assert_eq!(array.get(&long[..(1 << 22) - 256]), Some(1)),
        Err(error) => {
            assert!(matches!(error, TokenizerError::TooLarge { what: "trie places", .. }), "{error:?}")
        }
    }
}

proptest! {
    #[test]
    fn random_tries_are_packed_whole(
        alphabet in 1u8..=255,
        tokens in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..6), 0..300),
        stem in proptest::collection::vec(any::<u8>(), 0..200),
    ) {
        let mut escaped = vec![Vec::new(), stem.clone()];
        escaped.extend(tokens.iter().map(|t| t.iter().map(|b| b % alphabet).collect()));
        escaped.extend(tokens.iter().map(|t| [&stem[..stem.len() / 2], t].concat()));
        for token in &mut escaped {
            token.retain(|&b| b != b'\\');
        }
        let v = Vocabulary::from_gguf(escaped.iter().map(Vec::as_slice), None).expect("no escapes in there");
        let trie = Trie::new(&v).expect("small enough");
        assert_same(&DoubleArray::new(&trie).expect("small enough"), &trie);
    }

    #[test]
    fn a_set_is_xored_member_by_member(words: [u64; 4], with: u8) {
        let set = Set(words);
        let xored = set.xor_each(with);
        let holds = |set: Set, member: u8| set.0[usize::from(member >> 6)] >> (member & 63) & 1 == 1;
        for member in 0..=255 {
            prop_assert_eq!(holds(set, member), holds(xored, member ^ with));
        }
        prop_assert_eq!(set.first(), (0..=255).find(|&member| holds(set, member)));
    }
}
