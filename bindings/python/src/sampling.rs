//! Settings of generation, from keyword arguments.
//!
//! Ranges are the engine's to check; here is which names there are, so that a misspelt one is an error.

use crate::errors::{count, wrong};
use pyo3::{
    exceptions::PyTypeError,
    prelude::*,
    types::{PyDict, PyString},
};
use std::{
    collections::BTreeMap,
    hash::{BuildHasher, RandomState},
};
use wingbeat::{GenerateOptions, sampler::SamplerConfig};

/// The names there are.
const NAMES: &str = "temperature, top_k, top_p, min_p, typical_p, presence_penalty, frequency_penalty, penalty_decay, \
                     repetition_penalty, repetition_window, logit_bias, banned";

/// Settings of a sampler. seed: none: another one at each call.
pub(crate) fn sampler(settings: Option<&Bound<'_, PyDict>>, seed: Option<i128>) -> PyResult<SamplerConfig> {
    let seed = seed.map(|seed| count("seed", seed)).transpose()?;
    let seed = seed.unwrap_or_else(|| RandomState::new().hash_one(0));
    let mut config = SamplerConfig { seed, ..SamplerConfig::default() };
    for (name, value) in settings.into_iter().flatten() {
        let name = name.cast::<PyString>()?.to_cow()?.into_owned();
        set(&mut config, &name, &value)?;
    }
    Ok(config)
}

fn set(config: &mut SamplerConfig, name: &str, value: &Bound<'_, PyAny>) -> PyResult<()> {
    let number = || value.extract::<f32>().map_err(|_| unfit(name, "a number", value));
    let whole = || value.extract::<usize>().map_err(|_| unfit(name, "an int from 0 on", value));
    match name {
        "temperature" => config.temperature = number()?,
        "top_k" => config.top_k = whole()?,
        "top_p" => config.top_p = number()?,
        "min_p" => config.min_p = number()?,
        "typical_p" => config.typical_p = number()?,
        "presence_penalty" => config.presence_penalty = number()?,
        "frequency_penalty" => config.frequency_penalty = number()?,
        "penalty_decay" => config.penalty_decay = number()?,
        "repetition_penalty" => config.repetition_penalty = number()?,
        "repetition_window" => config.repetition_window = whole()?,
        "logit_bias" if value.is_none() => {}
        "logit_bias" => {
            let bias: BTreeMap<u32, f32> =
                value.extract().map_err(|_| unfit(name, "a dict of token ids to numbers", value))?;
            config.logit_bias = bias.into_iter().collect();
        }
        "banned" if value.is_none() => {}
        "banned" => config.banned = crate::text::ids(value, name)?,
        _ => {
            return Err(PyTypeError::new_err(format!("unknown setting `{name}`: there are {NAMES}")));
        }
    }
    Ok(())
}

fn unfit(name: &str, expected: &str, found: &Bound<'_, PyAny>) -> PyErr {
    wrong(name, expected, found.repr().map_or_else(|_| "something else".into(), |repr| repr.to_string()))
}

/// When generation ends. stop: a text, several, or none. stop_tokens: none: the end of the document.
pub(crate) fn options(
    max_tokens: i128,
    stop: Option<&Bound<'_, PyAny>>,
    stop_tokens: Option<&Bound<'_, PyAny>>,
) -> PyResult<GenerateOptions> {
    let mut options =
        GenerateOptions { max_tokens: count("max_tokens", max_tokens)?, ..GenerateOptions::default() };
    if let Some(stop) = stop {
        options.stops = match stop.cast::<PyString>() {
            Ok(one) => vec![one.to_cow()?.into_owned()],
            Err(_) => stop.extract().map_err(|_| unfit("stop", "a str or a list of them", stop))?,
        };
    }
    if let Some(ids) = stop_tokens {
        options.stop_tokens = crate::text::ids(ids, "stop_tokens")?;
    }
    Ok(options)
}
