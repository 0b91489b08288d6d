//! Sequences that generate together, against each alone in a session of its own: the same text, the same ends, the same
//! states; on the CPU, the reference, and every adapter of this machine.
//!
//! Where there is no adapter the tests say so and pass on the others, unless `WINGBEAT_GPU_REQUIRED` is set.

use std::sync::OnceLock;
use wingbeat::{
    AdapterChoice, Batch, BatchEnd, BatchEvent, CpuOptions, Device, Error, GenerateOptions, Generation,
    GpuOptions, Model, ModelError, ModelOptions, Session, StopReason, adapters, sampler::SamplerConfig,
};

const FIXTURE: &str = "rwkv7-2x256-Q8_0.gguf";

fn open(device: Device) -> Model {
    let path = format!("{}/../../tests/fixtures/{FIXTURE}", env!("CARGO_MANIFEST_DIR"));
    Model::open_with(path, &ModelOptions { device, ..ModelOptions::default() }).unwrap()
}

fn on_cpu() -> Model {
    open(Device::Cpu(CpuOptions { threads: Some(2), exact: true, ..CpuOptions::default() }))
}

/// On every adapter, with exact precision: products of many rows and of one differ by the order of their sums only.
fn on_gpus(without: &str) -> Vec<Model> {
    let n = adapters().len();
    if n == 0 {
        assert!(std::env::var_os("WINGBEAT_GPU_REQUIRED").is_none(), "no adapter, but one is required");
        eprintln!("skipped: this machine has no adapter");
    }
    let gpu = |number: usize| {
        let mut options = GpuOptions::default();
        options.adapter = AdapterChoice::Number(number);
        options.without = Some(without.parse().unwrap());
        options.exact = true;
        open(Device::Gpu(options))
    };
    (0..n).map(gpu).collect()
}

fn everywhere() -> &'static [Model] {
    static MODELS: OnceLock<Vec<Model>> = OnceLock::new();
    MODELS.get_or_init(|| [vec![on_cpu(), open(Device::Reference)], on_gpus("")].concat())
}

/// One that is to be generated.
#[derive(Clone)]
struct Job {
    prompt: Vec<u32>,
    config: SamplerConfig,
    options: GenerateOptions,
}

/// What came of it.
struct Done {
    text: Vec<u8>,
    generation: Generation,
    session: Session,
}

fn greedy() -> SamplerConfig {
    SamplerConfig::greedy()
}

/// Only tokens of printable ASCII: random weights would write bytes that are no text.
fn ascii(model: &Model, config: SamplerConfig) -> SamplerConfig {
    let vocabulary = model.tokenizer().unwrap().vocabulary();
    let printable = |id| vocabulary.token(id).is_some_and(|t| t.iter().all(|b| b.is_ascii_graphic()));
    SamplerConfig { banned: (0..512).filter(|&id| !printable(id)).collect(), ..config }
}

fn options(max_tokens: usize) -> GenerateOptions {
    GenerateOptions { max_tokens, stops: Vec::new(), stop_tokens: Vec::new() }
}

/// Prompts of one to five tokens, and lengths.
fn jobs(n: usize, config: &SamplerConfig, max_tokens: impl Fn(usize) -> usize) -> Vec<Job> {
    (0..n)
        .map(|i| Job {
            prompt: (0..1 + i % 5).map(|t| ((i * 37 + t * 11 + 65) % 512) as u32).collect(),
            config: SamplerConfig { seed: i as u64, ..config.clone() },
            options: options(max_tokens(i)),
        })
        .collect()
}

fn alone(model: &Model, job: &Job) -> Done {
    let mut session = model.session(job.config.clone()).unwrap();
    session.feed(&job.prompt, &mut |_| true).unwrap();
    let mut text = Vec::new();
    let generation = session
        .generate(&job.options, &mut |bytes| {
            text.extend_from_slice(bytes);
            true
        })
        .unwrap();
    Done { text, generation, session }
}

fn add(batch: &mut Batch, model: &Model, job: &Job) -> usize {
    batch.add(model.session(job.config.clone()).unwrap(), &job.prompt, &job.options).unwrap()
}

fn together(model: &Model, jobs: &[Job]) -> Vec<Done> {
    let mut batch = Batch::new(model);
    for (i, job) in jobs.iter().enumerate() {
        assert_eq!(add(&mut batch, model, job), i);
    }
    assert_eq!(batch.n_sequences(), jobs.len());
    let mut texts = vec![Vec::new(); jobs.len()];
    let ends = batch
        .run(&mut |sequence, text| {
            texts[sequence].extend_from_slice(text);
            true
        })
        .unwrap();
    assert_eq!((ends.len(), batch.n_sequences()), (jobs.len(), 0));
    let n_tokens: usize = ends.iter().map(|end| end.result.as_ref().unwrap().n_tokens).sum();
    assert_eq!(batch.n_tokens(), n_tokens);
    assert!(batch.next_event().unwrap().is_none());
    let done = |(text, end): (Vec<u8>, BatchEnd)| Done {
        text,
        generation: end.result.unwrap(),
        session: end.session,
    };
    texts.into_iter().zip(ends).map(done).collect()
}

/// Largest difference, in units of the expected values' standard deviation.
fn distance(found: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(found.len(), expected.len());
    let n = expected.len() as f32;
    let mean = expected.iter().sum::<f32>() / n;
    let deviation = (expected.iter().map(|x| (x - mean).powi(2)).sum::<f32>() / n).sqrt();
    found.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max) / deviation.max(1e-30)
}

/// That sessions are in the same place, but for `most` of what rounding may do, and that they go on alike.
fn assert_same_place(label: &str, actual: &mut Session, expected: &mut Session, most: f32) {
    let n_tokens = expected.state().unwrap().n_tokens();
    assert_eq!(actual.state().unwrap().n_tokens(), n_tokens, "{label}: tokens of the state");
    let slabs = actual.state().unwrap().read_all().unwrap();
    for (actual, expected) in slabs.iter().zip(expected.state().unwrap().read_all().unwrap()) {
        let far = distance(&actual.values, &expected.values);
        assert!(far <= most, "{label}: slab {}: {far} off", expected.name);
    }
    // After a stop text whose beginning was taken in already there may be none.
    if !actual.logits().unwrap().is_empty() && !expected.logits().unwrap().is_empty() {
        let far = distance(actual.logits().unwrap(), expected.logits().unwrap());
        assert!(far <= most, "{label}: logits: {far} off");
    }
    let go_on = |session: &mut Session| -> Vec<u32> {
        session.feed(&[40], &mut |_| true).unwrap();
        (0..4).map(|_| session.next_token().unwrap()).collect()
    };
    assert_eq!(go_on(actual), go_on(expected), "{label}: tokens afterwards");
}

/// How far from each other a sequence in a batch and the same alone may be: where products of many rows are those of one, not
/// at all.
fn most_off(model: &Model, n: usize) -> f32 {
    if n == 1 || model.device().starts_with("reference") { 0.0 } else { 1e-3 }
}

/// Returns why they ended.
fn compare(model: &Model, jobs: &[Job]) -> Vec<StopReason> {
    let found = together(model, jobs);
    let mut reasons = Vec::new();
    for (i, (mut found, job)) in found.into_iter().zip(jobs).enumerate() {
        let label = format!("sequence {i} of {} on {}, {:?}", jobs.len(), model.device(), job.options);
        let mut expected = alone(model, job);
        assert_eq!(found.generation, expected.generation, "{label}");
        assert!(found.text == expected.text, "{label}: text");
        let is_text = matches!(found.generation.reason, StopReason::Text(_));
        assert!(is_text || !found.session.logits().unwrap().is_empty(), "{label}: nothing to go on from");
        let most = most_off(model, jobs.len());
        assert_same_place(&label, &mut found.session, &mut expected.session, most);
        reasons.push(found.generation.reason);
    }
    reasons
}

#[test]
fn each_as_alone() {
    for model in everywhere().iter().chain(&on_gpus("all")) {
        let hot = SamplerConfig { temperature: 1.5, top_p: 1.0, ..SamplerConfig::default() };
        let chat = SamplerConfig { top_p: 0.9, ..SamplerConfig::chat() };
        for (config, n) in [(greedy(), 9), (hot, 3), (chat.clone(), 11), (ascii(model, chat), 2)] {
            // Two end at once, then one after the other.
            compare(model, &jobs(n, &config, |i| 24 - (i.max(1) - 1) * 7 % 23));
        }
    }
}

#[test]
fn one_sequence_is_a_session_to_the_last_bit() {
    let gpus = (0..adapters().len()).map(|number| {
        let mut options = GpuOptions::default();
        options.adapter = AdapterChoice::Number(number);
        open(Device::Gpu(options))
    });
    let cpu = open(Device::Cpu(CpuOptions { threads: Some(2), ..CpuOptions::default() }));
    for model in std::iter::once(cpu).chain(gpus) {
        let config = ascii(&model, SamplerConfig { top_p: 0.9, ..SamplerConfig::chat() });
        for n in [1, 2, 30] {
            compare(&model, &jobs(1, &config, |_| n));
        }
        for job in with_stops(&model, &config, 6) {
            compare(&model, &[job]);
        }
    }
}

/// Sequences that end in every way, at places that only the text decides.
fn with_stops(model: &Model, config: &SamplerConfig, n: usize) -> Vec<Job> {
    let mut jobs = jobs(n, config, |_| 80);
    for (i, job) in jobs.iter_mut().enumerate() {
        let whole = alone(model, job).text;
        let text = |range: std::ops::Range<usize>| String::from_utf8(whole[range].to_vec()).unwrap();
        let at = 3 + i * 13 % 60;
        match i % 4 {
            // A stop text across some tokens, beside one that only begins.
            0 => job.options.stops = vec![text(at..at + 9), format!("{}\n", text(at / 2..at / 2 + 4))],
            1 => job.options.stops = vec![text(at..at + 1)],
            2 => {
                let mut steps = model.session(job.config.clone()).unwrap();
                steps.feed(&job.prompt, &mut |_| true).unwrap();
                let tokens: Vec<u32> = (0..at).map(|_| steps.next_token().unwrap()).collect();
                job.options.stop_tokens = vec![tokens[at - 1]];
                if i % 8 == 2 {
                    // The last one that is asked for.
                    let first = tokens.iter().position(|&token| token == tokens[at - 1]).unwrap();
                    job.options.max_tokens = first + 1;
                }
            }
            _ => job.options.max_tokens = at,
        }
    }
    jobs
}

#[test]
fn stops_leave_no_trace() {
    for model in everywhere() {
        for config in [greedy(), SamplerConfig { top_p: 0.9, ..SamplerConfig::chat() }] {
            let jobs = with_stops(model, &ascii(model, config), 8);
            let reasons = compare(model, &jobs);
            assert!(reasons.iter().any(|reason| matches!(reason, StopReason::Text(_))), "{reasons:?}");
            assert!(reasons.iter().any(|reason| matches!(reason, StopReason::Token(_))), "{reasons:?}");
            assert!(reasons.iter().any(|reason| matches!(reason, StopReason::MaxTokens)), "{reasons:?}");
        }
    }
}

#[test]
fn a_sequence_may_be_cancelled() {
    for model in everywhere() {
        let jobs = jobs(5, &ascii(model, greedy()), |_| 40);
        let mut batch = Batch::new(model);
        for job in &jobs {
            add(&mut batch, model, job);
        }
        // One before it has begun, others after some pieces.
        batch.cancel(4);
        let (mut texts, mut pieces) = (vec![Vec::new(); 5], [0; 5]);
        let ends = batch
            .run(&mut |sequence, text| {
                texts[sequence].extend_from_slice(text);
                pieces[sequence] += 1;
                !(sequence == 1 && pieces[1] == 7 || sequence == 2 && pieces[2] == 33)
            })
            .unwrap();
        for (i, (mut end, job)) in ends.into_iter().zip(&jobs).enumerate() {
            let generation = end.result.unwrap();
            let label = format!("sequence {i} on {}", model.device());
            if i == 4 {
                assert_eq!((generation.n_tokens, generation.reason), (0, StopReason::Cancelled));
                assert_eq!(end.session.state().unwrap().n_tokens(), 0, "{label}");
                continue;
            }
            let expected = if [1, 2].contains(&i) { StopReason::Cancelled } else { StopReason::MaxTokens };
            assert_eq!(generation.reason, expected, "{label}");
            assert_eq!(generation.n_tokens, [40, 7, 33, 40][i], "{label}");
            let mut same = alone(model, &Job { options: options(generation.n_tokens), ..job.clone() });
            assert!(texts[i] == same.text, "{label}");
            assert_same_place(&label, &mut end.session, &mut same.session, most_off(model, 5));
        }
        // To end what has ended, or never was, is nothing.
        batch.cancel(1);
        batch.cancel(99);
        assert!(batch.next_event().unwrap().is_none());
    }
}

#[test]
fn sequences_come_and_go() {
    for model in everywhere() {
        let jobs = jobs(12, &SamplerConfig { top_p: 0.8, ..SamplerConfig::chat() }, |i| 20 + i % 5);
        let mut batch = Batch::new(model);
        let mut texts = vec![Vec::new(); jobs.len()];
        let mut ends = Vec::new();
        for (i, job) in jobs.iter().enumerate() {
            assert_eq!(add(&mut batch, model, job), i);
            // A few events between two arrivals.
            for _ in 0..i * 3 {
                match batch.next_event().unwrap() {
                    Some(BatchEvent::Text { sequence, text }) => texts[sequence].extend(text),
                    Some(BatchEvent::End(end)) => ends.push(*end),
                    None => {}
                }
            }
        }
        ends.extend(
            batch
                .run(&mut |sequence, text| {
                    texts[sequence].extend_from_slice(text);
                    true
                })
                .unwrap(),
        );
        ends.sort_by_key(|end| end.sequence);
        assert_eq!(ends.len(), jobs.len());
        // Each goes on for some more, in another batch and without another prompt.
        let mut second = Batch::new(model);
        for (end, job) in ends.into_iter().zip(&jobs) {
            assert_eq!(end.result.unwrap().n_tokens, job.options.max_tokens);
            second.add(end.session, &[], &options(10)).unwrap();
        }
        let ends = second
            .run(&mut |sequence, text| {
                texts[sequence].extend_from_slice(text);
                true
            })
            .unwrap();
        for (mut end, job) in ends.into_iter().zip(&jobs) {
            let label = format!("sequence {} on {}", end.sequence, model.device());
            let mut expected = alone(model, job);
            let more = options(10);
            expected
                .session
                .generate(&more, &mut |text| {
                    expected.text.extend_from_slice(text);
                    true
                })
                .unwrap();
            assert!(texts[end.sequence] == expected.text, "{label}");
            assert_same_place(&label, &mut end.session, &mut expected.session, most_off(model, 12));
        }
    }
}

#[test]
fn every_sequence_has_its_own_settings() {
    for model in everywhere() {
        let typical = SamplerConfig { typical_p: 0.9, ..SamplerConfig::default() };
        let chat = SamplerConfig { top_p: 0.9, ..SamplerConfig::chat() };
        let mut jobs = jobs(8, &greedy(), |i| 12 + i);
        for (i, job) in jobs.iter_mut().enumerate() {
            let config = [greedy(), typical.clone(), chat.clone(), greedy()][i % 4].clone();
            job.config = SamplerConfig { seed: i as u64, ..config };
        }
        compare(model, &jobs);
    }
}

/// More than a pass takes.
#[test]
fn very_many_sequences() {
    for model in on_gpus("").into_iter().take(1) {
        let jobs = jobs(1030, &greedy(), |i| 2 + i % 3);
        for (i, (done, job)) in together(&model, &jobs).into_iter().zip(&jobs).enumerate().step_by(97) {
            assert!(done.text == alone(&model, job).text, "sequence {i}");
        }
    }
}

#[test]
fn what_was_asked_for_may_be_nothing() {
    for model in everywhere() {
        assert!(Batch::new(model).next_event().unwrap().is_none(), "no sequences");
        let mut done = together(model, &jobs(3, &greedy(), |i| i % 2));
        for (i, done) in done.iter_mut().enumerate() {
            assert_eq!(done.generation, Generation { n_tokens: i % 2, reason: StopReason::MaxTokens });
            // The prompt was read all the same.
            assert_eq!(done.session.state().unwrap().n_tokens(), (1 + i + i % 2) as u64);
        }
    }
}

#[test]
fn one_that_fails_leaves_the_others_alone() {
    for model in everywhere() {
        let jobs = jobs(4, &greedy(), |_| 12);
        let mut batch = Batch::new(model);
        for (i, job) in jobs.iter().enumerate() {
            let mut state = model.new_state().unwrap();
            if i == 2 {
                let n = state.read("wkv").unwrap().values.len();
                // Finite, but not for long.
                state.write("wkv", &vec![f32::MAX; n]).unwrap();
            }
            let session = Session::new(model, state, job.config.clone()).unwrap();
            batch.add(session, &job.prompt, &job.options).unwrap();
        }
        let mut texts = vec![Vec::new(); 4];
        let ends = batch
            .run(&mut |sequence, text| {
                texts[sequence].extend_from_slice(text);
                true
            })
            .unwrap();
        for (i, end) in ends.into_iter().enumerate() {
            if i == 2 {
                let error = end.result.unwrap_err();
                assert!(matches!(error, Error::Sampler(_)), "{error}");
            } else {
                assert_eq!(end.result.unwrap().n_tokens, 12);
                assert!(texts[i] == alone(model, &jobs[i]).text);
            }
        }
    }
}

#[test]
fn errors_are_clear() {
    let (model, other) = (on_cpu(), on_cpu());
    let mut batch = Batch::new(&model);
    let session = |model: &Model| model.session(greedy()).unwrap();
    assert!(matches!(batch.add(session(&model), &[], &options(5)), Err(Error::NothingToContinue)));
    match batch.add(session(&model), &[1, 512], &options(5)) {
        Err(Error::Model(ModelError::TokenOutOfRange { position: 1, token: 512, vocab: 512, .. })) => {}
        other => panic!("{other:?}"),
    }
    let error = batch.add(session(&other), &[1], &options(5)).unwrap_err().to_string();
    assert!(error.starts_with("the session given to the batch: ") && error.lines().count() == 1, "{error}");
    let empty = GenerateOptions { stops: vec![String::new()], ..options(5) };
    assert!(matches!(batch.add(session(&model), &[1], &empty), Err(Error::Stop(_))));
    // Nothing was added by all that.
    assert_eq!(batch.n_sequences(), 0);
    assert_eq!(batch.add_text(session(&model), "the", &options(5)).unwrap(), 0);
    assert_eq!(batch.run(&mut |_, _| true).unwrap().len(), 1);
}

#[test]
fn a_batch_may_be_dropped_at_any_time() {
    for model in everywhere() {
        let jobs = jobs(6, &ascii(model, SamplerConfig::chat()), |_| 30);
        for n_events in [0, 1, 7, 100] {
            let mut batch = Batch::new(model);
            for job in &jobs {
                add(&mut batch, model, job);
            }
            (0..n_events).for_each(|_| drop(batch.next_event().unwrap()));
        }
        // What is made from their memory is none the worse.
        compare(model, &jobs[..3]);
    }
}

#[test]
fn it_can_be_profiled() {
    for model in on_gpus("") {
        if model.profile(true).is_err() {
            eprintln!("skipped: {} has no time stamps", model.device());
            continue;
        }
        let n_steps = 20;
        for (n, kernel) in [(3, "sample_choose"), (20, "sample_greedy")] {
            model.profile(true).unwrap();
            together(&model, &jobs(n, &greedy(), |_| n_steps));
            let times = model.kernel_times();
            let runs = times.iter().find(|time| time.name == kernel).map_or(0, |time| time.runs);
            // The first token is the host's.
            assert_eq!(runs as usize, n_steps - 1, "{kernel} of {n} sequences");
        }
        model.profile(false).unwrap();
    }
}
