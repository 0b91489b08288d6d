//! What can be told without a GPU: the command line, prompts, greedy tokens, medians.

use web_rwkv::runtime::model::Quant;

use crate::{
    Options,
    figures::{any_tokens, difference, pick},
    measure::{Report, median},
};

fn options(line: &str) -> anyhow::Result<Options> {
    Options::from_arguments(line.split_whitespace().map(str::to_owned))
}

#[test]
fn command_line() {
    let found =
        options("-m M.st --device any -t 3 --budget 0.5 --only gen,par --batches 1,256 --quant nf4").unwrap();
    assert_eq!((found.n_threads, found.budget.as_millis(), found.any_adapter), (3, 500, true));
    assert_eq!(
        (found.only, found.batches, found.quant),
        (vec!["gen".into(), "par".into()], vec![1, 256], Quant::NF4)
    );
    assert!(!options("-m M.st --device gpu").unwrap().only.contains(&"agree".to_owned()));
}

#[test]
fn what_the_command_line_may_not_say() {
    for (line, said) in [
        ("-m M.st --device cpu", "web-rwkv has no CPU path"),
        ("-m M.st --only speed", "no group speed"),
        ("-m M.st --budget -1", "--budget: -1"),
        ("-m M.st --batches 8,x", "--batches: 8,x"),
        ("-m M.st --batches 0", "usage"),
        ("-m M.st --quant q8_0", "--quant: q8_0"),
        ("-m", "-m wants a value"),
        ("--fast yes", "no option --fast"),
        ("", "usage"),
    ] {
        let error = format!("{:#}", options(line).unwrap_err());
        assert!(error.contains(said), "{line}: {error}");
    }
}

#[test]
fn greedy_tokens() {
    for n in [1, 15, 16, 17, 100] {
        for greatest in 0..n {
            let logits: Vec<f32> = (0..n).map(|i| if i == greatest { 2.0 } else { -(i as f32) }).collect();
            assert_eq!(pick(&logits).unwrap() as usize, greatest, "of {n}");
        }
    }
    // The first of equals, and no token where there are no numbers.
    assert_eq!(pick(&[0.0; 40]).unwrap(), 0);
    assert!(pick(&[f32::NAN; 40]).is_err());
    assert!(pick(&[]).is_err());
}

#[test]
fn differences() {
    assert_eq!(difference(&[1.0, 3.0], &[1.0, 3.0]), 0.0);
    assert_eq!(difference(&[1.0, 3.0], &[1.5, 3.0]), 0.5);
    assert_eq!(difference(&[1.0, 3.0], &[f32::NAN, 3.0]), f32::INFINITY);
    assert_eq!(difference(&[1.0, 3.0], &[1.0]), f32::INFINITY);
}

#[test]
fn arbitrary_tokens_are_known_to_the_model() {
    for n_vocab in [1, 2, 3, 1000, 65_536] {
        let tokens = any_tokens(n_vocab);
        assert!(tokens.iter().all(|&token| (token as usize) < n_vocab), "{n_vocab}: {tokens:?}");
    }
}

#[test]
fn medians_and_the_line() {
    assert_eq!((median(&[]), median(&[3.0]), median(&[1.0, 2.0])), (None, Some(3.0), Some(1.5)));
    let mut report = Report::default();
    report.put_runs("a_ms", [3.0, 1.0, 2.0].into_iter());
    report.cannot("b", "why");
    let line = r#"{"a_ms":2.0,"a_ms_min":1.0,"a_ms_max":3.0,"a_ms_runs":3,"cannot":{"b":"why"}}"#;
    assert_eq!(report.into_line(), line);
}
