//! The plain trie that the tokenizer is measured beside.

use wingbeat_tokenizer::Vocabulary;

/// The usual way: a node is 256 indices of children.
pub(crate) struct PlainTrie {
    children: Vec<[u32; 256]>,
    tokens: Vec<u32>,
}

impl PlainTrie {
    /// The trie of a vocabulary that has all bytes.
    pub(crate) fn new(vocabulary: &Vocabulary) -> PlainTrie {
        let mut trie = PlainTrie { children: vec![[0; 256]], tokens: vec![0] };
        for (id, token) in vocabulary.iter() {
            let mut node = 0;
            for &byte in token {
                if trie.children[node][usize::from(byte)] == 0 {
                    trie.children[node][usize::from(byte)] = trie.children.len() as u32;
                    trie.children.push([0; 256]);
                    trie.tokens.push(0);
                }
                node = trie.children[node][usize::from(byte)] as usize;
            }
            trie.tokens[node] = id;
        }
        trie
    }

    /// Greedy longest match, into a buffer whose contents are replaced.
    pub(crate) fn encode(&self, text: &[u8], ids: &mut Vec<u32>) {
        ids.clear();
        let mut rest = text;
        while !rest.is_empty() {
            let (mut node, mut found) = (0, (0, 1));
            for (i, &byte) in rest.iter().enumerate() {
                node = self.children[node][usize::from(byte)] as usize;
                if node == 0 {
                    break;
                }
                if self.tokens[node] != 0 {
                    found = (self.tokens[node], i + 1);
                }
            }
            ids.push(found.0);
            rest = &rest[found.1..];
        }
    }
}
