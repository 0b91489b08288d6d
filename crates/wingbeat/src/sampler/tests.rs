//! Tests of the sampler by hand cases: each filter alone, the order of the chain, the errors.

use super::candidates::{Candidate, Candidates};
use super::*;

const NONE: f32 = f32::NEG_INFINITY;

/// Everything off, at temperature 1.
pub(super) fn off() -> SamplerConfig {
    SamplerConfig { top_p: 1.0, ..SamplerConfig::default() }
}

/// The logits of these probabilities.
pub(super) fn logits_of(probabilities: &[f32]) -> Vec<f32> {
    probabilities.iter().map(|p| p.ln()).collect()
}

/// What is left of a distribution after the whole chain: ids with their probabilities.
pub(super) fn kept(config: &SamplerConfig, logits: &[f32]) -> Vec<(u32, f64)> {
    config.validate().expect("settings in range");
    let max = greedy::pick(logits).expect("a choice").1;
    let mut candidates = Candidates::default();
    gather(config, logits, max, &mut candidates);
    for filter in FILTERS {
        filter(config, &mut candidates);
    }
    let total = candidates.total;
    candidates.items.iter().map(|c| (c.id, f64::from(c.weight) / total)).collect()
}

fn ids(config: &SamplerConfig, logits: &[f32]) -> Vec<u32> {
    kept(config, logits).into_iter().map(|(id, _)| id).collect()
}

fn sample(config: SamplerConfig, logits: &[f32]) -> Result<u32, SamplerError> {
    Sampler::new(config).expect("settings in range").sample(&mut logits.to_vec())
}

#[test]
fn greedy_takes_the_best_and_of_equals_the_lowest_id() {
    let greedy = SamplerConfig::greedy();
    assert_eq!(sample(greedy.clone(), &[0.5, 2.0, -1.0, 2.0]), Ok(1));
    assert_eq!(sample(greedy.clone(), &[NONE, NONE, -1e30]), Ok(2));
    assert_eq!(sample(greedy.clone(), &[-0.0, 0.0]), Ok(0));
    // In the lanes, in the tail, and equals on both sides.
    let mut logits = vec![0.0; 50];
    logits[49] = 1.0;
    assert_eq!(sample(greedy.clone(), &logits), Ok(49));
    logits[20] = 1.0;
    assert_eq!(sample(greedy, &logits), Ok(20));
}

#[test]
fn greedy_draws_nothing() {
    let mut sampler = Sampler::new(SamplerConfig::greedy()).expect("settings in range");
    sampler.sample(&mut [0.0, 1.0]).expect("a token");
    assert_eq!(sampler.rng, seeded(0));
}

#[test]
fn top_k_keeps_k_and_of_equals_the_lowest_ids() {
    let config = |top_k| SamplerConfig { top_k, ..off() };
    let logits = [1.0, 3.0, 2.0, 3.0, 2.0, NONE];
    assert_eq!(ids(&config(1), &logits), [1]);
    assert_eq!(ids(&config(3), &logits), [1, 3, 2]);
    assert_eq!(ids(&config(5), &logits), [1, 3, 2, 4, 0]);
    // As many as there are, or more, is off: by id.
    assert_eq!(ids(&config(6), &logits), [0, 1, 2, 3, 4]);
    assert_eq!(ids(&config(usize::MAX), &logits), [0, 1, 2, 3, 4]);
}

#[test]
fn top_k_of_a_long_list_is_that_of_a_sort() {
    // Rising, falling, all equal, and waves: the list is split often, never, with ties at its edge.
    let n = 10_000u32;
    let shapes: [fn(u32) -> f32; 4] =
        [|i| i as f32, |i| -(i as f32), |_| 1.0, |i| (i.wrapping_mul(7919) % 601) as f32];
    for (number, shape) in shapes.into_iter().enumerate() {
        let logits = Vec::from_iter((0..n).map(shape));
        let mut all = Vec::from_iter((0..n).zip(logits.iter().copied()));
        all.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        for k in [1usize, 40, 511, 512, 513, 3000] {
            let expected = Vec::from_iter(all.iter().take(k).map(|&(id, _)| id));
            assert_eq!(ids(&SamplerConfig { top_k: k, ..off() }, &logits), expected, "shape {number}, k {k}");
        }
    }
}

#[test]
fn top_p_keeps_the_smallest_set_that_reaches_p() {
    let config = |top_p| SamplerConfig { top_p, ..off() };
    let logits = logits_of(&[0.125, 0.5, 0.25, 0.125]);
    assert_eq!(ids(&config(0.0), &logits), [1]);
    assert_eq!(ids(&config(0.49), &logits), [1]);
    assert_eq!(ids(&config(0.6), &logits), [1, 2]);
    assert_eq!(ids(&config(0.8), &logits), [1, 2, 0]);
    assert_eq!(ids(&config(0.9), &logits), [1, 2, 0, 3]);
    // Renormalised: 0.5 and 0.25 of 0.75.
    let shares = kept(&config(0.6), &logits);
    assert!((shares[0].1 - 2.0 / 3.0).abs() < 1e-6, "{shares:?}");
}

#[test]
fn top_p_of_a_flat_vocabulary_is_exact() {
    // 65536 equal tokens: the nucleus of 1/2 is the first half, by id.
    let logits = vec![-3.0; 65536];
    let kept = ids(&SamplerConfig { top_p: 0.5, ..off() }, &logits);
    assert_eq!(kept, Vec::from_iter(0..32768));
}

#[test]
fn min_p_is_relative_to_the_best() {
    let config = |min_p| SamplerConfig { min_p, ..off() };
    let logits = logits_of(&[0.02, 0.5, 0.3, 0.18]);
    assert_eq!(ids(&config(0.5), &logits), [1, 2]);
    assert_eq!(ids(&config(0.3), &logits), [1, 2, 3]);
    assert_eq!(ids(&config(0.03), &logits), [0, 1, 2, 3]);
    assert_eq!(ids(&config(1.0), &[1.0, 2.0, 2.0]), [1, 2]);
    // The least settings there are still end.
    assert_eq!(ids(&config(f32::from_bits(1)), &[0.0, -80.0, -200.0]), [0, 1]);
}

#[test]
fn typical_keeps_what_surprises_as_expected() {
    // Entropy of .5 .3 .2 is 1.03 nats; surprises .69, 1.20, 1.61: distances .34, .17, .58.
    let logits = logits_of(&[0.5, 0.3, 0.2]);
    let config = |typical_p| SamplerConfig { typical_p, ..off() };
    assert_eq!(ids(&config(0.2), &logits), [1]);
    assert_eq!(ids(&config(0.5), &logits), [1, 0]);
    assert_eq!(ids(&config(0.9), &logits), [1, 0, 2]);
    assert_eq!(ids(&config(0.0), &logits), [1]);
    // Equal everywhere: all equally typical, lowest ids first.
    assert_eq!(ids(&config(0.4), &[0.0; 4]), [0, 1]);
}

#[test]
fn temperature_is_p_to_the_power_of_one_over_t_of_what_top_p_left() {
    let logits = logits_of(&[0.5, 0.3, 0.2]);
    let config = |temperature, top_p| SamplerConfig { temperature, top_p, ..off() };
    for (temperature, power) in [(0.5f32, 2.0f64), (2.0, 0.5), (1.0, 1.0)] {
        let powers = [0.5f64.powf(power), 0.3f64.powf(power)];
        let total: f64 = powers.iter().sum();
        // The set is that of temperature 1, whatever the temperature.
        let kept = kept(&config(temperature, 0.7), &logits);
        assert_eq!(kept.len(), 2, "{kept:?}");
        for (&(id, share), power) in kept.iter().zip(powers) {
            assert!((share - power / total).abs() < 1e-6, "temperature {temperature}, id {id}: {share}");
        }
    }
}

#[test]
fn a_temperature_near_nothing_is_nearly_greedy() {
    for temperature in [1e-3, 1e-30, f32::from_bits(1)] {
        let config = SamplerConfig { temperature, ..off() };
        assert_eq!(sample(config.clone(), &[1.0, 3.0, 2.0]), Ok(1));
        // Also of what typical sampling left, the best token not among it.
        let config = SamplerConfig { typical_p: 0.2, ..config };
        assert_eq!(sample(config, &logits_of(&[0.5, 0.3, 0.2])), Ok(1));
    }
}

#[test]
fn each_filter_sees_what_the_one_before_left() {
    let logits = logits_of(&[0.4, 0.3, 0.2, 0.1]);
    // Of the best two, .4 is .57: enough for a nucleus of a half, which of all four it would not be.
    let config = SamplerConfig { top_k: 2, top_p: 0.5, ..off() };
    assert_eq!(ids(&config, &logits), [0]);
    assert_eq!(ids(&SamplerConfig { top_p: 0.5, ..off() }, &logits), [0, 1]);
    // Min-p is relative to the best one left.
    let config = SamplerConfig { typical_p: 0.25, min_p: 0.99, ..off() };
    assert_eq!(ids(&config, &logits), [1]);
}

#[test]
fn bias_adds_and_bans_are_absolute() {
    let config = SamplerConfig {
        logit_bias: vec![(0, 2.0), (0, 1.5), (9, 5.0), (u32::MAX, 5.0)],
        banned: vec![2, 77],
        ..SamplerConfig::greedy()
    };
    let mut logits = [0.0, 3.0, f32::INFINITY];
    let mut sampler = Sampler::new(config).expect("settings in range");
    assert_eq!(sampler.sample(&mut logits), Ok(0));
    assert_eq!(logits, [3.5, 3.0, NONE]);
}

#[test]
fn presence_frequency_and_decay_by_hand() {
    let config = SamplerConfig {
        presence_penalty: 0.5,
        frequency_penalty: 0.25,
        penalty_decay: 0.5,
        ..SamplerConfig::greedy()
    };
    let mut sampler = Sampler::new(config).expect("settings in range");
    let mut logits = [10.0, 0.0, 0.0];
    assert_eq!(sampler.sample(&mut logits), Ok(0));
    assert_eq!(logits, [10.0, 0.0, 0.0]);
    sampler.accept(1);
    sampler.accept(0);
    // Counts: token 0 at 1·.25 + 1, token 1 at .5.
    let mut logits = [10.0, 0.0, 0.0];
    assert_eq!(sampler.sample(&mut logits), Ok(0));
    assert_eq!(logits, [10.0 - 0.5 - 1.25 * 0.25, -0.5 - 0.5 * 0.25, 0.0]);
    // Long after, the count of token 1 is nothing, its presence still is.
    for _ in 0..2000 {
        sampler.accept(2);
    }
    let mut logits = [0.0; 3];
    assert_eq!(sampler.sample(&mut logits), Ok(0));
    assert_eq!(logits, [-0.5, -0.5, -1.0]);
}

#[test]
fn repetition_divides_above_zero_and_multiplies_below_once_a_token() {
    let config = SamplerConfig { repetition_penalty: 2.0, repetition_window: 3, ..SamplerConfig::greedy() };
    let mut sampler = Sampler::new(config).expect("settings in range");
    for token in [3, 0, 0, 1] {
        sampler.accept(token);
    }
    // Token 3 has left the window; token 0 is in it twice.
    let mut logits = [8.0, -1.0, 0.0, 1.0];
    assert_eq!(sampler.sample(&mut logits), Ok(0));
    assert_eq!(logits, [4.0, -2.0, 0.0, 1.0]);
}

#[test]
fn infinity_is_chosen_and_costs_one_draw() {
    let logits = [1.0, f32::INFINITY, f32::INFINITY];
    let mut sampler = Sampler::new(off()).expect("settings in range");
    assert_eq!(sampler.sample(&mut logits.to_vec()), Ok(1));
    let mut expected = seeded(0);
    expected.next_u64();
    assert_eq!(sampler.rng, expected);
}

#[test]
fn extremes_are_no_trouble() {
    for config in [off(), SamplerConfig::chat(), SamplerConfig { top_k: 2, typical_p: 0.5, ..off() }] {
        assert_eq!(sample(config.clone(), &[NONE, f32::MIN, NONE]), Ok(1));
        assert_eq!(sample(config.clone(), &[f32::MIN, f32::MAX]), Ok(1));
        assert_eq!(sample(config.clone(), &[7.0]), Ok(0));
        assert_eq!(sample(config, &[NONE, NONE, NONE, 0.0]), Ok(3));
    }
}

#[test]
fn what_cannot_be_sampled_is_an_error_and_changes_nothing() {
    let mut sampler = Sampler::new(SamplerConfig { banned: vec![0], ..off() }).expect("settings in range");
    assert_eq!(sampler.sample(&mut []), Err(SamplerError::LogitCount { found: 0 }));
    // Also a NaN that a ban would cover.
    for nan in [0, 30] {
        let mut logits = vec![0.0; 40];
        logits[nan] = f32::NAN;
        assert_eq!(sampler.sample(&mut logits), Err(SamplerError::NotANumber { token: nan }));
    }
    assert_eq!(sampler.sample(&mut [NONE; 3]), Err(SamplerError::NothingLeft { found: 3 }));
    assert_eq!(sampler.sample(&mut [1.0]), Err(SamplerError::NothingLeft { found: 1 }));
    assert_eq!(sampler.rng, seeded(0));
    let message = sampler.sample(&mut [f32::NAN]).map_err(|e| e.to_string());
    assert_eq!(message, Err("logit of token 0: expected a number, found NaN".to_owned()));
}

#[test]
fn settings_out_of_range_are_named() {
    let default = SamplerConfig::default;
    let cases: [(&str, SamplerConfig); 12] = [
        ("temperature", SamplerConfig { temperature: -0.1, ..default() }),
        ("temperature", SamplerConfig { temperature: f32::NAN, ..default() }),
        ("temperature", SamplerConfig { temperature: f32::INFINITY, ..default() }),
        ("top_p", SamplerConfig { top_p: 1.01, ..default() }),
        ("min_p", SamplerConfig { min_p: -1.0, ..default() }),
        ("typical_p", SamplerConfig { typical_p: f32::NAN, ..default() }),
        ("presence_penalty", SamplerConfig { presence_penalty: 1e9, ..default() }),
        ("frequency_penalty", SamplerConfig { frequency_penalty: f32::NAN, ..default() }),
        ("penalty_decay", SamplerConfig { penalty_decay: 1.5, ..default() }),
        ("repetition_penalty", SamplerConfig { repetition_penalty: 0.0, ..default() }),
        ("logit_bias", SamplerConfig { logit_bias: vec![(0, 1.0), (1, NONE)], ..default() }),
        ("repetition_window", SamplerConfig { repetition_window: usize::MAX, ..default() }),
    ];
    for (field, config) in cases {
        let message = Sampler::new(config).map(|_| ()).expect_err(field).to_string();
        assert!(message.starts_with(&format!("sampler setting {field}: expected ")), "{message}");
    }
    let error = SamplerConfig { top_p: 2.0, ..default() }.validate().expect_err("top_p");
    assert_eq!(error.to_string(), "sampler setting top_p: expected 0 to 1, found 2");
}

#[test]
fn presets_are_in_range_and_as_published() {
    let all = [SamplerConfig::default(), SamplerConfig::chat(), SamplerConfig::creative()];
    for config in all.iter().chain(&[SamplerConfig::conservative(), SamplerConfig::greedy()]) {
        assert_eq!(config.validate(), Ok(()));
    }
    let numbers =
        |c: SamplerConfig| (c.temperature, c.top_p, c.presence_penalty, c.frequency_penalty, c.penalty_decay);
    assert_eq!(numbers(SamplerConfig::chat()), (1.0, 0.3, 0.5, 0.5, 0.996));
    assert_eq!(numbers(SamplerConfig::creative()), (0.6, 0.8, 2.0, 0.2, 0.99));
    assert_eq!(numbers(SamplerConfig::conservative()), (0.3, 0.3, 0.0, 0.0, 0.996));
}

#[test]
fn the_draw_covers_the_shares_from_end_to_end() {
    let mut candidates = Candidates::default();
    assert_eq!(candidates.at(0.5), None);
    candidates.items = vec![
        Candidate { id: 4, logit: 0.0, weight: 1.0 },
        Candidate { id: 2, logit: 0.0, weight: 0.0 },
        Candidate { id: 9, logit: 0.0, weight: 3.0 },
        Candidate { id: 1, logit: 0.0, weight: 0.0 },
    ];
    candidates.sum();
    assert_eq!(candidates.at(0.0), Some(4));
    assert_eq!(candidates.at(0.2499), Some(4));
    assert_eq!(candidates.at(0.25), Some(9));
    assert_eq!(candidates.at(0.9999), Some(9));
    // Past the end, by rounding: the last one with a share.
    assert_eq!(candidates.at(1.0), Some(9));
}
