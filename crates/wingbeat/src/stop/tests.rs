//! Tests of the stop matcher: hand cases, and equality with a search of the whole text for any cut.

use proptest::prelude::*;

use super::*;

fn matcher(stops: &[&str]) -> StopMatcher {
    StopMatcher::new(stops.iter().map(|s| s.as_bytes().to_vec()).collect()).expect("no empty stop")
}

/// Everything shown for a text given in these pieces, `finish` included, and the stop.
fn run(matcher: &mut StopMatcher, pieces: &[&[u8]]) -> (Vec<u8>, Option<usize>) {
    let mut shown = Vec::new();
    let mut stopped = None;
    for piece in pieces {
        let event = matcher.push(piece);
        shown.extend_from_slice(event.emit);
        stopped = event.stopped;
    }
    shown.extend(matcher.finish());
    (shown, stopped)
}

#[test]
fn a_stop_across_tokens_is_never_shown() {
    let mut m = matcher(&["\n\nUser:"]);
    assert_eq!(m.push(b" Hello.\n"), StopEvent { emit: b" Hello.", stopped: None });
    assert_eq!(m.push(b"\nUs"), StopEvent { emit: b"", stopped: None });
    assert_eq!(m.push(b"er: next"), StopEvent { emit: b"", stopped: Some(0) });
    assert_eq!(m.stopped(), Some(0));
    assert_eq!(m.push(b"more"), StopEvent { emit: b"", stopped: Some(0) });
    assert_eq!(m.finish(), b"");
}

#[test]
fn what_was_held_back_is_shown_when_it_turns_out_to_be_text() {
    let mut m = matcher(&["\n\nUser:"]);
    assert_eq!(m.push(b"one\n\n").emit, b"one");
    assert_eq!(m.push(b"two\n\nUse").emit, b"\n\ntwo");
    assert_eq!(m.finish(), b"\n\nUse");
    // As new: the beginning met before `finish` is forgotten.
    assert_eq!(m.push(b"r:").emit, b"r:");
}

#[test]
fn a_text_before_and_a_stop_in_one_token() {
    let mut m = matcher(&["END"]);
    assert_eq!(m.push(b"abcENDdef"), StopEvent { emit: b"abc", stopped: Some(0) });
    // The next push must not repeat what was shown.
    assert_eq!(m.push(b"x"), StopEvent { emit: b"", stopped: Some(0) });
    assert_eq!(m.finish(), b"");
    assert_eq!(m.push(b"again"), StopEvent { emit: b"again", stopped: None });
}

#[test]
fn a_beginning_within_a_beginning_is_found() {
    assert_eq!(run(&mut matcher(&["aab"]), &[b"aaab"]), (b"a".to_vec(), Some(0)));
    assert_eq!(run(&mut matcher(&["abab!"]), &[b"aba", b"bab!"]), (b"ab".to_vec(), Some(0)));
    assert_eq!(run(&mut matcher(&["\n\nUser:"]), &[b"x\n", b"\n", b"\nUser:"]), (b"x\n".to_vec(), Some(0)));
}

#[test]
fn the_first_complete_stop_counts_and_of_equals_the_longest() {
    assert_eq!(run(&mut matcher(&["later", "late"]), &[b"it is later"]), (b"it is ".to_vec(), Some(1)));
    assert_eq!(run(&mut matcher(&["c", "bc", "abc"]), &[b"xabc"]), (b"x".to_vec(), Some(2)));
    assert_eq!(run(&mut matcher(&["same", "same"]), &[b"same"]), (b"".to_vec(), Some(0)));
    assert_eq!(run(&mut matcher(&["abcd", "bc"]), &[b"abcd"]), (b"a".to_vec(), Some(1)));
}

#[test]
fn without_stops_everything_passes_at_once() {
    let mut m = matcher(&[]);
    assert_eq!(m.push(b"abc"), StopEvent { emit: b"abc", stopped: None });
    assert_eq!(m.push(b""), StopEvent { emit: b"", stopped: None });
    assert_eq!(m.finish(), b"");
}

#[test]
fn an_empty_stop_is_refused_by_its_place() {
    let error = StopMatcher::new(vec![b"a".to_vec(), Vec::new()]).expect_err("the second is empty");
    assert_eq!(error, StopError::Empty { index: 1 });
    assert_eq!(error.to_string(), "stop string 1: expected at least one byte, found none");
}

/// The living definition: search the whole text for each stop; the least end counts, then the greatest
/// length, then the lowest place.
fn naive(stops: &[Vec<u8>], text: &[u8]) -> (Vec<u8>, Option<usize>) {
    let ends = stops.iter().enumerate().filter_map(|(index, stop)| {
        let start = text.windows(stop.len()).position(|window| window == stop)?;
        Some((start + stop.len(), usize::MAX - stop.len(), index))
    });
    match ends.min() {
        Some((end, length, index)) => (text[..end - (usize::MAX - length)].to_vec(), Some(index)),
        None => (text.to_vec(), None),
    }
}

/// Few letters, so that beginnings and matches are frequent.
fn letters(length: std::ops::Range<usize>) -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(prop::sample::select(b"ab\n".to_vec()), length)
}

proptest! {
    #[test]
    fn any_cut_shows_what_a_search_of_the_whole_text_does(
        stops in prop::collection::vec(letters(1..6), 0..4),
        text in letters(0..60),
        cuts in prop::collection::vec(0usize..8, 0..40),
    ) {
        let mut pieces: Vec<&[u8]> = Vec::new();
        let mut rest = text.as_slice();
        for cut in cuts {
            let (piece, after) = rest.split_at(cut.min(rest.len()));
            pieces.push(piece);
            rest = after;
        }
        pieces.push(rest);
        let mut m = StopMatcher::new(stops.clone()).expect("no empty stop");
        let expected = naive(&stops, &text);
        prop_assert_eq!(&run(&mut m, &pieces), &expected);
        // After `finish` the same matcher does the same again.
        prop_assert_eq!(&run(&mut m, &[&text]), &expected);
    }

    #[test]
    fn no_more_is_held_back_than_may_become_a_stop(
        stops in prop::collection::vec(letters(1..6), 1..4),
        text in letters(0..40),
    ) {
        let mut m = StopMatcher::new(stops.clone()).expect("no empty stop");
        let event = m.push(&text);
        if event.stopped.is_none() {
            let held = &text[event.emit.len()..];
            let begins = stops.iter().any(|stop| stop.starts_with(held));
            prop_assert!(held.is_empty() || begins, "held {:?} is no beginning of {:?}", held, stops);
        }
    }
}
