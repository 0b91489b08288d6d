//! Tests of the sampler by properties: against slow references, over seeds, and over distributions.

use proptest::prelude::*;

use super::portable_exp::{exp, sum_exp};
use super::tests::{kept, logits_of, off};
use super::*;

/// Logits of a small vocabulary: ties, −∞ and far-off ones among them, at least one to choose.
fn logits() -> impl Strategy<Value = Vec<f32>> {
    let one = prop_oneof![
        8 => -12.0f32..12.0,
        4 => (-4i8..5).prop_map(f32::from),
        1 => Just(f32::NEG_INFINITY),
        1 => Just(-300.0f32),
    ];
    prop::collection::vec(one, 1..90)
        .prop_filter("nothing to choose", |logits| greedy::pick(logits).is_some())
}

fn filters() -> impl Strategy<Value = SamplerConfig> {
    let off_or = |off: f32| prop_oneof![2 => Just(off), 3 => 0.0f32..1.0, 1 => Just(0.0f32)];
    let top_k = prop_oneof![1 => Just(0usize), 1 => 1usize..100];
    (top_k, off_or(1.0), off_or(0.0), off_or(1.0), 0.05f32..3.0, any::<u64>()).prop_map(
        |(top_k, top_p, min_p, typical_p, temperature, seed)| SamplerConfig {
            temperature,
            top_k,
            top_p,
            min_p,
            typical_p,
            seed,
            ..SamplerConfig::default()
        },
    )
}

/// The chain by its definition: full sorts, f64, the system's exp and ln. None where two tokens are typical
/// to so nearly the same degree that rounding decides which comes first.
fn reference(config: &SamplerConfig, logits: &[f32]) -> Option<Vec<(u32, f64)>> {
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut left: Vec<(u32, f64)> = (0u32..)
        .zip(logits.iter().map(|&logit| f64::from(logit - max).exp()))
        .filter(|&(id, _)| logits[id as usize] > f32::NEG_INFINITY)
        .collect();
    let normalise = |left: &mut Vec<(u32, f64)>| {
        let total: f64 = left.iter().map(|&(_, p)| p).sum();
        left.iter_mut().for_each(|(_, p)| *p /= total);
    };
    let cut_at = |left: &mut Vec<(u32, f64)>, p: f64| {
        let mut mass = 0.0;
        let reached = left.iter().position(|&(_, share)| {
            mass += share;
            mass >= p
        });
        left.truncate(reached.map_or(usize::MAX, |last| last + 1));
    };
    let rank = |left: &mut Vec<(u32, f64)>| {
        left.sort_by(|a, b| logits[b.0 as usize].total_cmp(&logits[a.0 as usize]).then(a.0.cmp(&b.0)));
    };
    if config.top_k > 0 {
        rank(&mut left);
        left.truncate(config.top_k);
    }
    normalise(&mut left);
    if config.typical_p < 1.0 {
        let entropy: f64 = left.iter().filter(|&&(_, p)| p > 0.0).map(|&(_, p)| -p * p.ln()).sum();
        let distance = |p: f64| (-p.ln() - entropy).abs();
        left.sort_by(|a, b| distance(a.1).total_cmp(&distance(b.1)).then(a.0.cmp(&b.0)));
        let near = |a: (u32, f64), b: (u32, f64)| (distance(a.1) - distance(b.1)).abs() < 1e-4;
        let equal = |a: (u32, f64), b: (u32, f64)| logits[a.0 as usize] == logits[b.0 as usize];
        if left.windows(2).any(|pair| near(pair[0], pair[1]) && !equal(pair[0], pair[1])) {
            return None;
        }
        cut_at(&mut left, f64::from(config.typical_p));
        normalise(&mut left);
    }
    if config.top_p < 1.0 {
        rank(&mut left);
        cut_at(&mut left, f64::from(config.top_p));
        normalise(&mut left);
    }
    let best = left.iter().map(|&(_, p)| p).fold(0.0, f64::max);
    left.retain(|&(_, p)| p >= best * f64::from(config.min_p));
    let best = left.iter().map(|&(_, p)| p).fold(0.0, f64::max);
    left.iter_mut().for_each(|(_, p)| *p = (*p / best).powf(1.0 / f64::from(config.temperature)));
    normalise(&mut left);
    Some(left)
}

/// The same, by id, and only where every threshold is so far from any token's value that rounding cannot
/// cross it: nudging the settings makes no difference there.
fn clear_reference(config: &SamplerConfig, logits: &[f32]) -> Option<Vec<(u32, f64)>> {
    let nudged = |by: f32| SamplerConfig {
        top_p: if config.top_p < 1.0 { (config.top_p + by).clamp(0.0, 1.0) } else { 1.0 },
        min_p: (config.min_p * (1.0 + by)).clamp(0.0, 1.0),
        typical_p: if config.typical_p < 1.0 { (config.typical_p + by).clamp(0.0, 1.0) } else { 1.0 },
        ..config.clone()
    };
    let mut exact = reference(config, logits)?;
    for by in [1e-5, -1e-5] {
        let other = reference(&nudged(by), logits)?;
        if !other.iter().map(|&(id, _)| id).eq(exact.iter().map(|&(id, _)| id)) {
            return None;
        }
    }
    exact.sort_by_key(|&(id, _)| id);
    Some(exact)
}

fn sampler(config: &SamplerConfig) -> Sampler {
    Sampler::new(config.clone()).expect("settings in range")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn the_chain_equals_its_slow_definition(config in filters(), logits in logits()) {
        let mut actual = kept(&config, &logits);
        prop_assert!(!actual.is_empty());
        if let Some(expected) = clear_reference(&config, &logits) {
            actual.sort_by_key(|&(id, _)| id);
            let ids = |list: &[(u32, f64)]| Vec::from_iter(list.iter().map(|&(id, _)| id));
            prop_assert_eq!(ids(&actual), ids(&expected));
            for (a, e) in actual.iter().zip(&expected) {
                prop_assert!((a.1 - e.1).abs() < 1e-5, "{:?} {:?}", actual, expected);
            }
        }
    }

    #[test]
    fn the_result_is_always_in_the_kept_set(config in filters(), logits in logits()) {
        let kept = kept(&config, &logits);
        let mut sampler = sampler(&config);
        for _ in 0..20 {
            let token = sampler.sample(&mut logits.clone()).expect("a token");
            let share = kept.iter().find(|&&(id, _)| id == token).map(|&(_, share)| share);
            prop_assert!(share.is_some_and(|share| share > 0.0), "token {}, kept {:?}", token, kept);
        }
    }

    #[test]
    fn the_best_token_stays_unless_untypical(config in filters(), logits in logits()) {
        let config = SamplerConfig { typical_p: 1.0, ..config };
        let best = greedy::pick(&logits).expect("a choice").0;
        prop_assert!(kept(&config, &logits).iter().any(|&(id, _)| id == best));
    }

    #[test]
    fn seeds_reproduce_resets_restart_and_clones_go_on(config in filters(), logits in logits()) {
        let config = SamplerConfig { presence_penalty: 0.4, repetition_penalty: 1.1, ..config };
        let run = |sampler: &mut Sampler, n: usize| {
            Vec::from_iter((0..n).map(|_| sampler.sample(&mut logits.clone()).expect("a token")))
        };
        let mut first = sampler(&config);
        let text = run(&mut first, 30);
        prop_assert_eq!(&run(&mut sampler(&config), 30), &text);
        let mut clone = first.clone();
        prop_assert_eq!(run(&mut clone, 10), run(&mut first, 10));
        first.reset();
        prop_assert_eq!(&run(&mut first, 30), &text);
    }

    #[test]
    fn adding_the_same_to_all_logits_changes_nothing(
        mut config in filters(),
        logits in prop::collection::vec((-64i8..64).prop_map(|x| f32::from(x) / 8.0), 1..60),
        shift in (-50i8..50).prop_map(f32::from),
    ) {
        // Eighths and whole numbers: the sums are exact, so the draws must be equal to the last bit. The
        // expected logit of typical sampling is a rounded sum, so that one is left out.
        config.typical_p = 1.0;
        let shifted = Vec::from_iter(logits.iter().map(|logit| logit + shift));
        let (mut a, mut b) = (sampler(&config), sampler(&config));
        for _ in 0..20 {
            prop_assert_eq!(a.sample(&mut logits.clone()), b.sample(&mut shifted.clone()));
        }
    }

    #[test]
    fn any_floats_give_a_token_or_an_error(
        config in filters(),
        logits in prop::collection::vec(any::<u32>().prop_map(f32::from_bits), 0..50),
        bias in -1000.0f32..1000.0,
    ) {
        let config = SamplerConfig { logit_bias: vec![(0, bias)], presence_penalty: 100.0, ..config };
        let mut sampler = sampler(&config);
        for logits in [logits.clone(), Vec::from_iter(logits.iter().map(|x| if x.is_nan() { 0.0 } else { *x }))] {
            match sampler.sample(&mut logits.clone()) {
                Ok(token) => prop_assert!((token as usize) < logits.len()),
                Err(_) => prop_assert!(logits.is_empty() || logits.iter().any(|x| x.is_nan())
                    || logits.iter().all(|&x| x == f32::NEG_INFINITY)),
            }
        }
    }

    #[test]
    fn penalties_equal_a_history_read_from_the_start(
        history in prop::collection::vec(0u32..12, 0..60),
        (presence, frequency, decay) in (-2.0f32..2.0, -2.0f32..2.0, 0.0f32..1.0),
        (repetition, window) in (0.5f32..2.0, 0usize..20),
    ) {
        let config = SamplerConfig {
            presence_penalty: presence,
            frequency_penalty: frequency,
            penalty_decay: decay,
            repetition_penalty: repetition,
            repetition_window: window,
            ..SamplerConfig::greedy()
        };
        let mut sampler = sampler(&config);
        history.iter().for_each(|&token| sampler.accept(token));
        // Ten tokens: two of the history's are beyond the vocabulary.
        let raw = Vec::from_iter((0..10i8).map(|i| f32::from(i) - 4.5));
        let mut actual = raw.clone();
        sampler.sample(&mut actual).expect("a token");
        let recent = &history[history.len().saturating_sub(window)..];
        for (token, &logit) in (0u32..).zip(&raw) {
            let mut expected = f64::from(logit);
            if recent.contains(&token) {
                let penalty = f64::from(repetition);
                expected = if expected > 0.0 { expected / penalty } else { expected * penalty };
            }
            if history.contains(&token) {
                let ages = history.iter().rev().enumerate().filter(|&(_, &said)| said == token);
                let count: f64 = ages.map(|(age, _)| f64::from(decay).powi(age as i32)).sum();
                expected -= f64::from(presence) + count * f64::from(frequency);
            }
            let found = f64::from(actual[token as usize]);
            prop_assert!((found - expected).abs() < 1e-5, "token {}: {} for {}", token, found, expected);
        }
    }

    #[test]
    fn exp_is_within_two_ulp(x in -87.0f32..=0.0) {
        let exact = f64::from(x).exp();
        let ulp = f64::from(f32::EPSILON) * exact.log2().floor().exp2();
        let error = (f64::from(exp(x)) - exact).abs() / ulp;
        prop_assert!(error <= 2.0, "exp({x}): {error} ulp");
    }
}

#[test]
fn exp_at_its_ends() {
    assert_eq!(exp(0.0), 1.0);
    assert_eq!(exp(-0.0), 1.0);
    assert!(exp(-87.0) > 0.0);
    for x in [-87.01, -1e30, f32::MIN, f32::NEG_INFINITY] {
        assert_eq!(exp(x), 0.0);
    }
    assert_eq!(sum_exp(&[1.0; 37], 1.0), 37.0);
}

#[test]
fn draws_follow_the_distribution() {
    // Pearson's statistic over many draws, for several seeds and two temperatures. With 5 degrees of freedom
    // it exceeds 30 with a probability of 1.5e-5, and the seeds are fixed: this either holds or never does.
    let shares = [0.4f32, 0.25, 0.15, 0.1, 0.07, 0.03];
    let draws = 20_000;
    for temperature in [1.0f32, 0.7] {
        let powers = shares.map(|p| f64::from(p).powf(1.0 / f64::from(temperature)));
        let total: f64 = powers.iter().sum();
        for seed in [0, 1, 2, 12345, u64::MAX] {
            let mut sampler = sampler(&SamplerConfig { temperature, seed, ..off() });
            let logits = logits_of(&shares);
            let mut counts = [0u32; 6];
            for _ in 0..draws {
                counts[sampler.sample(&mut logits.clone()).expect("a token") as usize] += 1;
            }
            let statistic: f64 = counts
                .iter()
                .zip(powers)
                .map(|(&count, power)| {
                    let expected = f64::from(draws) * power / total;
                    (f64::from(count) - expected).powi(2) / expected
                })
                .sum();
            assert!(statistic < 30.0, "T {temperature}, seed {seed}: {statistic}, counts {counts:?}");
        }
    }
}

#[test]
fn seeds_differ() {
    let text = |seed| {
        let mut sampler = sampler(&SamplerConfig { seed, ..off() });
        Vec::from_iter((0..40).map(|_| sampler.sample(&mut [0.0; 100]).expect("a token")))
    };
    assert_ne!(text(0), text(1));
    assert_ne!(text(1), text(1 << 40));
}

#[test]
fn a_seed_means_these_tokens_for_ever() {
    // Recorded once: a change here changes every seeded text of every user.
    let logits = Vec::from_iter((0..65536u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 20) as f32 / 256.0));
    let text = |config: SamplerConfig| {
        let mut sampler = sampler(&SamplerConfig { seed: 42, ..config });
        Vec::from_iter((0..6).map(|_| sampler.sample(&mut logits.clone()).expect("a token")))
    };
    assert_eq!(text(off()), [22845, 18719, 32341, 24123, 54107, 4422]);
    assert_eq!(text(SamplerConfig::chat()), [21570, 62393, 10768, 7430, 12420, 13907]);
    assert_eq!(text(SamplerConfig::creative()), [12276, 34024, 40988, 36142, 25094, 55484]);
    let few = SamplerConfig { top_k: 40, min_p: 0.05, ..off() };
    assert_eq!(text(few), [53133, 46368, 11933, 57314, 3571, 13530]);
    assert_eq!(text(SamplerConfig { typical_p: 0.6, ..off() }), [42983, 28686, 16245, 34244, 25861, 4998]);
}

#[test]
fn a_warm_sampler_keeps_its_buffers() {
    let logits = Vec::from_iter((0..65536u32).map(|i| (i.wrapping_mul(40503) % 977) as f32 / 60.0));
    for config in [SamplerConfig::chat(), SamplerConfig { top_k: 50, ..off() }, off()] {
        let mut sampler = sampler(&config);
        sampler.sample(&mut logits.clone()).expect("a token");
        let room = (sampler.candidates.items.capacity(), sampler.candidates.items.as_ptr());
        for _ in 0..20 {
            sampler.sample(&mut logits.clone()).expect("a token");
            assert_eq!((sampler.candidates.items.capacity(), sampler.candidates.items.as_ptr()), room);
        }
    }
}
