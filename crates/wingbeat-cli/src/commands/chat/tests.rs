//! How answers begin, and names for ways of thinking.

use super::{Opening, Thinking, thinking};
use wingbeat::chat::ThinkLength;

fn shown(opening: &mut Opening, pieces: &[&str]) -> String {
    let bytes: Vec<u8> = pieces.iter().flat_map(|piece| opening.shown(piece.as_bytes())).collect();
    String::from_utf8(bytes).expect("ASCII pieces")
}

#[test]
fn an_answer_begins_without_its_space() {
    let mut opening = Opening::new(Thinking::Off, "");
    assert_eq!(shown(&mut opening, &[" ", " Hello", " there"]), "Hello there");
}

#[test]
fn a_thought_is_shown_whole() {
    let mut opening = Opening::new(Thinking::Think(ThinkLength::Free), "<think");
    assert_eq!(shown(&mut opening, &[">", " hm </think> yes"]), "<think> hm </think> yes");
}

#[test]
fn an_empty_thought_is_not_shown() {
    let mut opening = Opening::new(Thinking::Fake, "<think>\n</think");
    assert_eq!(shown(&mut opening, &[">", "\n", "Yes > no"]), "Yes > no");
    let mut opening = Opening::new(Thinking::FakeCompact, "<think></think");
    assert_eq!(shown(&mut opening, &[">\nA"]), "A");
}

#[test]
fn ways_of_thinking_have_short_names() {
    assert_eq!(thinking("short"), Ok(Thinking::Think(ThinkLength::Short)));
    assert_eq!(thinking("think-long"), Ok(Thinking::Think(ThinkLength::Long)));
    assert_eq!(thinking("off"), Ok(Thinking::Off));
    assert!(thinking("deep").is_err_and(|e| e.contains("deep")));
}
