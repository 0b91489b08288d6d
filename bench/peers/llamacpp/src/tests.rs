use crate::{
    arguments::{Arguments, Group},
    measure::Spread,
    metrics::{TEXT, any_tokens},
    report::Report,
    ways::greedy,
};
use std::time::Duration;

fn parse(line: &str) -> anyhow::Result<Arguments> {
    Arguments::parse(line.split_whitespace().map(str::to_owned))
}

#[test]
fn groups_come_in_order_and_once() {
    let arguments = parse("-m a.gguf --only gen,load,gen -t 3 --budget 0.5 --batches 2,4").unwrap();
    assert_eq!(arguments.groups, [Group::Load, Group::Gen]);
    assert_eq!((arguments.n_threads, arguments.budget), (3, Duration::from_millis(500)));
    assert_eq!(arguments.batches, [2, 4]);
}

#[test]
fn a_wrong_command_line_is_one_line_that_names_it() {
    for (line, named) in [
        ("", "-m"),
        ("-m", "-m"),
        ("-m a --only walk", "walk"),
        ("-m a --only agree", "--logits"),
        ("-m a --device tpu", "tpu"),
        ("-m a -t 0", "-t"),
        ("-m a --budget nan", "--budget"),
        ("-m a --batches 8,x", "--batches"),
        ("-m a --fast", "--fast"),
    ] {
        let error = format!("{:#}", parse(line).unwrap_err());
        assert!(error.contains(named) && !error.contains('\n'), "{line}: {error}");
    }
}

#[test]
fn the_greedy_token_is_the_first_of_the_greatest() {
    for n in [1, 31, 32, 33, 100] {
        let mut logits: Vec<f32> = (0..n).map(|i| -(i as f32)).collect();
        assert_eq!(greedy(&logits), 0);
        logits[n - 1] = 7.0;
        logits[n / 2] = 7.0;
        assert_eq!(greedy(&logits), (n / 2) as i32, "{n}");
        logits[0] = f32::NAN;
        let expected = if n == 1 { 0 } else { n / 2 };
        assert_eq!(greedy(&logits), expected as i32, "{n}, with a NaN");
    }
    assert_eq!(greedy(&[]), 0);
}

#[test]
fn any_tokens_are_in_the_vocabulary() {
    for n_vocab in [1, 2, 300, 65536] {
        let tokens = any_tokens(n_vocab);
        assert_eq!(tokens.len(), 251);
        assert!(tokens.iter().all(|&token| (0..n_vocab as i32).contains(&token)), "{n_vocab}");
    }
}

#[test]
fn the_better_way_is_reported_with_its_name() {
    let spread = |median| Spread { median, min: median, max: median, runs: 3 };
    let mut report = Report::default();
    let ways = [("a", spread(2.0)), ("b", spread(1.0)), ("c", spread(3.0))];
    report.best("gen_tok_s", &ways, |a, b| a > b);
    report.best("field_analysis_ms", &ways, |a, b| a < b);
    report.cannot("x", "no");
    let json: serde_json::Value = serde_json::from_str(&report.json()).unwrap();
    assert_eq!((&json["gen_tok_s"], &json["gen_way"]), (&3.0.into(), &"c".into()));
    assert_eq!((&json["field_analysis_ms"], &json["fields_way"]), (&1.0.into(), &"b".into()));
    assert_eq!(json["cannot"]["x"], "no");
    assert_eq!(json["gen_tok_s_runs"], 3);
}

#[test]
fn a_spread_turned_round_keeps_its_order() {
    let spread = Spread::of(vec![4.0, 1.0, 2.0]).map(|seconds| 1.0 / seconds);
    assert_eq!(spread, Spread { median: 0.5, min: 0.25, max: 1.0, runs: 3 });
}

#[test]
fn the_text_is_the_one_that_wingbeat_runs() {
    assert_eq!(TEXT.len(), 1025);
}
