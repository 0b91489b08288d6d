//! Devices against the host: the same tokens from the same logits, settings and random numbers.
//!
//! Where there is no adapter the tests say so and pass, unless `WINGBEAT_GPU_REQUIRED` is set.

use super::super::{Sampler, SamplerConfig, SamplerError};
use wingbeat_backend::{
    Backend, Batch, NO_TOKEN, SamplerStart, StateLayout, TokenSampler,
    conformance::{Case, Random},
};
use wingbeat_gpu::{AdapterChoice, GpuBackend, GpuOptions, adapters};

const NONE: f32 = f32::NEG_INFINITY;

/// All adapters, with all they have and under WebGPU's default limits.
fn devices() -> Vec<GpuBackend> {
    let n = adapters().len();
    if n == 0 {
        assert!(std::env::var_os("WINGBEAT_GPU_REQUIRED").is_none(), "no adapter, but one is required");
        eprintln!("skipped: this machine has no adapter");
    }
    let device = |(number, without): (usize, &str)| {
        let mut options = GpuOptions::default();
        options.adapter = AdapterChoice::Number(number);
        options.without = Some(without.parse().expect("a list of capabilities"));
        GpuBackend::new(&options).expect("an adapter that is listed can be opened")
    };
    (0..n).flat_map(|number| [(number, ""), (number, "all")]).map(device).collect()
}

/// Runs steps over rows of logits, `(rows, V)`, in submits of so many steps, and compares with a host sampler for each
/// row. Returns how many draws fell to another token within rounding of an edge.
fn compare(
    device: &GpuBackend,
    label: &str,
    config: &SamplerConfig,
    logits: &[f32],
    n_rows: usize,
    submits: &[usize],
) -> usize {
    let n_vocab = logits.len() / n_rows;
    let label = format!("{label}, V={n_vocab}, {config:?}, {}", device.describe());
    let settings = config.on_device().expect("settings that a device knows");
    let mut sampler = device.sampler(&settings, n_vocab, n_rows).expect("room").expect("a sampler");
    let mut hosts: Vec<(Sampler, Vec<f32>)> = (logits.chunks(n_vocab).zip(1..))
        .map(|(logits, seed)| {
            let mut host = Sampler::new(SamplerConfig { seed, ..config.clone() }).expect("settings in range");
            host.accept(0);
            host.accept(seed as u32 % n_vocab as u32);
            (host, logits.to_vec())
        })
        .collect();
    let starts: Vec<SamplerStart<'_>> =
        hosts.iter().map(|(host, _)| SamplerStart { token: 0, counts: host.counts() }).collect();
    sampler.start(device, &starts).expect("a device");
    let case = Case::new(device, 0, label.clone());
    let (buffer, _) = case.buffers(n_rows, n_vocab, logits);
    let mut batch = Batch::new();
    (0..n_rows).for_each(|_| batch.push(&[0]));
    let layout = StateLayout { slabs: Vec::new() };
    let mut states: Vec<_> = (0..n_rows).map(|_| device.state(&layout).expect("a state")).collect();
    let mut units: Vec<_> = hosts.iter().map(|(host, _)| host.units()).collect();
    for &n_steps in submits {
        let units: Vec<f64> = (0..n_steps)
            .flat_map(|_| units.iter_mut().map(|units| units.next()).collect::<Vec<_>>())
            .collect();
        let mut pass = sampler.begin(device, &batch, states.iter_mut().collect()).expect("a pass");
        sampler.sample(&mut pass, &buffer);
        sampler.submit(device, pass, &units).expect("a device");
    }
    let mut edges = 0;
    for &n_steps in submits {
        let mut tokens = Vec::new();
        sampler.read(device, &mut tokens).expect("a device");
        assert_eq!(tokens.len(), n_steps * n_rows, "{label}");
        for (step, tokens) in tokens.chunks(n_rows).enumerate() {
            for (row, (&token, (host, logits))) in tokens.iter().zip(&mut hosts).enumerate() {
                let before = logits.clone();
                match host.clone().sample(logits) {
                    Ok(expected) if expected == token => {}
                    Ok(expected) => {
                        assert!(
                            is_at_an_edge(host, &before, token),
                            "{label}: step {step}, row {row}: expected {expected}, found {token}"
                        );
                        edges += 1;
                    }
                    Err(SamplerError::NotANumber { .. } | SamplerError::NothingLeft { .. }) => {
                        assert_eq!(token, NO_TOKEN, "{label}: step {step}, row {row}");
                        return edges;
                    }
                    Err(error) => panic!("{label}: {error}"),
                }
                host.took(token);
            }
        }
    }
    edges
}

/// Whether it would have been this token with a draw a little earlier or later, or a nucleus a little smaller or larger.
fn is_at_an_edge(host: &Sampler, logits: &[f32], token: u32) -> bool {
    let mut logits = logits.to_vec();
    host.penalties.apply(&host.config, &mut logits);
    super::super::logit_bias::apply(&host.config, &mut logits);
    let Some((_, max)) = super::super::greedy::pick(&logits) else { return false };
    let unit = host.units().next();
    let near = [-1e-6, 0.0, 1e-6];
    near.iter().flat_map(|d| near.map(|e| (d, e))).any(|(d, e)| {
        let mut host = host.clone();
        host.config.top_p *= 1.0 + e as f32;
        host.draw(&logits, max, (unit + d).clamp(0.0, 1.0 - f64::EPSILON)) == Some(token)
    })
}

/// Logits of many kinds.
fn shapes(random: &mut Random, n: usize) -> Vec<(&'static str, Vec<f32>)> {
    let mut with = |shape: &mut dyn FnMut(&mut Random, usize) -> f32| -> Vec<f32> {
        (0..n).map(|i| shape(random, i)).collect()
    };
    vec![
        ("near", with(&mut |random, _| random.normal())),
        ("far", with(&mut |random, _| 5.0 * random.normal())),
        ("peaked", with(&mut |random, _| 3.0 * random.normal().powi(3))),
        ("equal", with(&mut |_, _| -3.0)),
        ("tied", with(&mut |random, _| (2.0 * random.normal()).round() * 0.5)),
        ("zeros of both signs", with(&mut |_, i| if i % 2 == 0 { -0.0 } else { 0.0 })),
        ("mostly none", with(&mut |random, i| if i % 7 == 0 { random.normal() } else { NONE })),
        ("one", with(&mut |_, i| if i == n / 2 { -4.0 } else { NONE })),
        ("huge", with(&mut |random, _| 1e37 * random.normal())),
        ("infinite", with(&mut |_, i| if i == n / 3 { f32::INFINITY } else { 0.0 })),
        ("rising", with(&mut |_, i| i as f32 * 0.01)),
    ]
}

fn settings() -> Vec<SamplerConfig> {
    let off = SamplerConfig { top_p: 1.0, ..SamplerConfig::default() };
    let penalised = SamplerConfig { presence_penalty: 0.5, frequency_penalty: 0.4, ..off.clone() };
    vec![
        SamplerConfig::greedy(),
        off.clone(),
        SamplerConfig { temperature: 0.6, ..off.clone() },
        SamplerConfig { temperature: 2.5, min_p: 0.05, ..off.clone() },
        SamplerConfig { min_p: 1.0, ..off.clone() },
        SamplerConfig::default(),
        SamplerConfig { top_p: 0.0, ..off.clone() },
        SamplerConfig { top_p: 0.97, temperature: 1.3, ..off.clone() },
        SamplerConfig { top_k: 1, ..off.clone() },
        SamplerConfig { top_k: 40, ..off.clone() },
        SamplerConfig { top_k: 300, top_p: 0.9, min_p: 0.01, temperature: 0.8, ..off.clone() },
        SamplerConfig { temperature: 0.0, ..penalised.clone() },
        SamplerConfig { top_p: 0.6, penalty_decay: 0.5, ..penalised.clone() },
        SamplerConfig {
            logit_bias: vec![(1, 3.0), (2, -100.0), (0, 0.5), (5_000_000, 1.0)],
            banned: vec![0, 4, 4_000_000],
            ..SamplerConfig::chat()
        },
        SamplerConfig::creative(),
    ]
}

fn compare_all(vocabularies: &[usize], submits: &[usize]) {
    for device in devices() {
        let (mut edges, mut draws) = (0, 0);
        for &n in vocabularies {
            let mut random = Random::new(n as u64);
            let rows: Vec<_> = (0..2).map(|_| shapes(&mut random, n)).collect();
            for (at, (label, first)) in rows[0].iter().enumerate() {
                let logits = [&first[..], &rows[1][at].1].concat();
                for config in settings() {
                    edges += compare(&device, label, &config, &logits, 2, submits);
                    draws += 2 * submits.iter().sum::<usize>();
                }
            }
        }
        assert!(edges * 200 <= draws, "{edges} of {draws} draws fell to a neighbour");
    }
}

#[test]
fn small_vocabularies() {
    compare_all(&[1, 2, 7, 67, 255, 256, 257], &[3]);
}

#[test]
fn odd_vocabularies() {
    compare_all(&[1000, 1025, 5003], &[2]);
}

#[test]
fn the_world_vocabulary() {
    compare_all(&[65536], &[2]);
}

#[test]
fn rings_go_round() {
    for device in devices() {
        let logits = Random::new(1).normals(3 * 300);
        for config in [SamplerConfig::chat(), SamplerConfig::greedy()] {
            compare(&device, "ring", &config, &logits, 3, &[1, 50, 13]);
            compare(&device, "ring", &config, &logits, 3, &[40]);
        }
        // More steps than the ring holds, read as they come.
        let config = SamplerConfig { top_p: 0.9, ..SamplerConfig::chat() };
        let settings = config.on_device().expect("settings that a device knows");
        let mut sampler = device.sampler(&settings, 300, 1).expect("room").expect("a sampler");
        let mut host = Sampler::new(config).expect("settings in range");
        let mut units = host.units();
        sampler.start(&device, &[SamplerStart { token: 0, counts: &[] }]).expect("a device");
        let (buffer, _) = Case::new(&device, 0, String::new()).buffers(1, 300, &logits[..300]);
        let mut batch = Batch::new();
        batch.push(&[0]);
        let mut state = device.state(&StateLayout { slabs: Vec::new() }).expect("a state");
        let mut on_host = logits[..300].to_vec();
        for n_steps in [1, 30, 31, 32, 33, 7, 64, 5] {
            let units: Vec<f64> = (0..n_steps).map(|_| units.next()).collect();
            let states = [&mut state].into_iter().collect();
            let mut pass = sampler.begin(&device, &batch, states).expect("a pass");
            sampler.sample(&mut pass, &buffer);
            sampler.submit(&device, pass, &units).expect("a device");
            let mut tokens = Vec::new();
            sampler.read(&device, &mut tokens).expect("a device");
            let expected: Vec<u32> =
                (0..n_steps).map(|_| host.sample(&mut on_host).expect("a token")).collect();
            assert_eq!(tokens, expected);
        }
    }
}

#[test]
fn many_rows() {
    for device in devices() {
        for (n, n_rows) in [(67, 8), (1025, 9), (300, 40)] {
            let mut random = Random::new(n as u64);
            let rows: Vec<_> = (0..n_rows).map(|_| shapes(&mut random, n)).collect();
            // Every row of another kind.
            let logits: Vec<f32> =
                rows.iter().enumerate().flat_map(|(at, row)| row[at % row.len()].1.clone()).collect();
            let mut edges = 0;
            for config in settings() {
                edges += compare(&device, "many rows", &config, &logits, n_rows, &[3, 2]);
            }
            assert!(edges <= n_rows, "{edges} draws fell to a neighbour");
        }
    }
}

#[test]
fn what_cannot_be_chosen_from_has_no_token() {
    for device in devices() {
        for n in [3, 300, 3000] {
            let good = Random::new(1).normals(n);
            for at in [0, n / 2, n - 1] {
                for nan in [f32::NAN, -f32::NAN, f32::from_bits(0x7f80_0001)] {
                    let mut logits = good.clone();
                    logits[at] = nan;
                    for config in [SamplerConfig::greedy(), SamplerConfig::chat()] {
                        compare(&device, "NaN", &config, &logits, 1, &[1]);
                    }
                }
            }
            compare(&device, "nothing", &SamplerConfig::chat(), &vec![NONE; n], 1, &[1]);
            let banned = (0..n as u32).collect();
            let config = SamplerConfig { banned, ..SamplerConfig::default() };
            compare(&device, "all banned", &config, &good, 1, &[1]);
        }
    }
}

#[test]
fn what_a_device_does_not_know_stays_on_the_host() {
    let default = SamplerConfig::default;
    assert!(SamplerConfig { typical_p: 0.9, ..default() }.on_device().is_none());
    assert!(SamplerConfig { repetition_penalty: 1.1, ..default() }.on_device().is_none());
    assert!(
        SamplerConfig { repetition_penalty: 1.1, repetition_window: 0, ..default() }.on_device().is_some()
    );
}

#[test]
fn a_token_taken_note_of_is_as_one_chosen() {
    let logits = Random::new(3).normals(50);
    let mut chooses = Sampler::new(SamplerConfig::chat()).expect("settings in range");
    let mut follows = chooses.clone();
    for _ in 0..20 {
        let token = chooses.sample(&mut logits.clone()).expect("a token");
        assert_eq!(follows.units().next(), {
            let mut units = follows.units();
            units.next()
        });
        follows.took(token);
    }
    assert_eq!(chooses.sample(&mut logits.clone()), follows.sample(&mut logits.clone()));
}
