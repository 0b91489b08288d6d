//! Cuts of a small vocabulary, by hand, and of World against all its tokens.

use super::Cuts;
use crate::Vocabulary;
use crate::trie::Trie;

fn cuts(vocabulary: &Vocabulary) -> Cuts {
    Cuts::new(&Trie::new(vocabulary).expect("small enough"))
}

#[test]
fn cuts_stand_between_pairs_of_no_token() {
    let v = Vocabulary::from_text("v", b"1 'ab' 2\n2 'abc' 3\n3 'b c' 3\n4 'x' 1\n").expect("a good file");
    let cuts = cuts(&v);
    // pairs inside tokens: ab bc "b " " c"
    let text = b"abcab cx";
    let all: Vec<usize> = (0..=text.len()).map(|from| cuts.next(text, from)).collect();
    assert_eq!(all, [3, 3, 3, 3, 7, 7, 7, 7, 8]);
    assert_eq!(cuts.next(b"", 0), 0);
    assert_eq!(cuts.next(b"a", 0), 1);
    assert_eq!(cuts.next(b"a", 5), 1);
}

#[test]
fn world_has_the_pairs_of_its_tokens_and_no_others() {
    let world = Vocabulary::world();
    let mut inside = vec![false; 1 << 16];
    for (_, token) in world.iter() {
        for pair in token.windows(2) {
            inside[usize::from(pair[0]) << 8 | usize::from(pair[1])] = true;
        }
    }
    let cuts = cuts(&world);
    for (pair, &expected) in inside.iter().enumerate() {
        assert_eq!(cuts.is_inside((pair >> 8) as u8, pair as u8), expected, "pair {pair:04x}");
    }
    assert_eq!(inside.iter().filter(|&&pair| pair).count(), 8333);
}
