//! Quantization: a GGUF in fewer bits, with the types given to matrices by a recipe or to fit a size.

use super::{
    ConvertOptions, Converted, Job, Mix, Plan, convert_by, gguf,
    recipe::{Recipe, choices, choose, is_chosen},
    refused,
};
use crate::{Error, importance::Importance};
use std::path::Path;
use wingbeat_format::{DType, ModelFile};
use wingbeat_model::Weight;
use wingbeat_tokenizer::Vocabulary;

/// How small a file is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Goal {
    /// A mix of types; by Wingbeat's own recipe, no larger than the mix is.
    Mix(Mix),
    /// Bytes of the whole file at most.
    Bytes(u64),
}

/// How a model is quantized.
#[derive(Clone, Debug)]
pub struct QuantizeOptions {
    /// How small the file is to be.
    pub goal: Goal,
    /// How types are given to matrices. A goal in bytes has only Wingbeat's own.
    pub recipe: Recipe,
    /// What the errors in the columns of each matrix count.
    pub importance: Option<Importance>,
    /// Types of single matrices, before any recipe: by an official name without `.weight`, or the end of one, such as
    /// `blocks.3.att.key`, `att.key` or `head`.
    pub types: Vec<(String, DType)>,
    /// A vocabulary to put into the file, instead of the source's own.
    pub vocabulary: Option<Vocabulary>,
    /// The model's name in the metadata, instead of the source's own.
    pub name: Option<String>,
}

impl QuantizeOptions {
    /// By Wingbeat's own recipe, without importance.
    pub fn new(goal: Goal) -> QuantizeOptions {
        let recipe = Recipe::default();
        QuantizeOptions { goal, recipe, importance: None, types: Vec::new(), vocabulary: None, name: None }
    }
}

/// What was written.
#[derive(Clone, Debug, PartialEq)]
pub struct Quantized {
    /// The file.
    pub converted: Converted,
    /// Its length.
    pub file_bytes: u64,
    /// Values of all weights.
    pub n_values: u64,
    /// What is in which type, the most bytes first.
    pub types: Vec<TypeShare>,
}

/// The tensors of one type.
#[derive(Clone, Debug, PartialEq)]
pub struct TypeShare {
    /// The type.
    pub dtype: DType,
    /// Tensors that are in it.
    pub n_tensors: usize,
    /// Their bytes.
    pub n_bytes: u64,
    /// The kinds of matrices among them, as [`QuantizeOptions::types`] names them, and how many of each.
    pub kinds: Vec<(&'static str, usize)>,
}

impl Quantized {
    /// Bits of the file for each value of a weight.
    pub fn bits_per_weight(&self) -> f64 {
        self.file_bytes as f64 * 8.0 / self.n_values.max(1) as f64
    }
}

/// Quantizes a model to a GGUF at `target`.
///
/// The file is written under a temporary name and renamed when complete. `progress(done, total)` counts tensors and
/// stops the work by returning false.
///
/// # Errors
/// The source is no model that can be read, `target` does not end in `.gguf`, no types make the file as small as it is to be
/// (the message says how small it can be), a type in the options fits no matrix, the file cannot be written, or `progress`
/// stopped it.
pub fn quantize(
    source: &ModelFile,
    target: &Path,
    options: &QuantizeOptions,
    progress: &mut dyn FnMut(usize, usize) -> bool,
) -> Result<Quantized, Error> {
    if target.extension().is_none_or(|ending| ending != "gguf") {
        return Err(refused(
            target,
            "the ending should be .gguf: other formats have no quantized types".to_owned(),
        ));
    }
    let mix = match options.goal {
        Goal::Mix(mix) => mix,
        // Says what low-rank matrices become, and what is named in the metadata until the types are known.
        Goal::Bytes(_) => Mix::Q4_K_M,
    };
    let convert = ConvertOptions {
        mix: Some(mix),
        vocabulary: options.vocabulary.clone(),
        name: options.name.clone(),
        ..ConvertOptions::default()
    };
    let mut n_values = 0;
    let mut types = Vec::new();
    let mut planning = |job: &Job<'_>| {
        let plan = plan(job, options)?;
        let planned = Job { plan: Some(&plan), ..job.clone() };
        n_values = job.weights.iter().map(|w| w.shape.iter().map(|&n| n as u64).product::<u64>()).sum();
        types = shares(&planned);
        Ok(Some(plan))
    };
    let converted = convert_by(source, target, &convert, &mut planning, progress)?;
    let file_bytes =
        std::fs::metadata(target).map_err(|source| Error::Io { path: target.to_owned(), source })?.len();
    Ok(Quantized { converted, file_bytes, n_values, types })
}

/// The types of all matrices.
fn plan(job: &Job<'_>, options: &QuantizeOptions) -> Result<Plan, Error> {
    let searches = options.recipe == Recipe::Wingbeat;
    let mut plan = Plan { importance: options.importance.clone(), searches, ..Plan::default() };
    let given = given(job, options)?;
    let given_type =
        |weight: &Weight| given.iter().find(|(name, _)| *name == weight.name).map(|given| given.1);
    for (name, dtype) in &given {
        plan.types.insert((*name).to_owned(), *dtype);
    }
    let by_errors = match options.goal {
        Goal::Bytes(_) => true,
        Goal::Mix(mix) => options.recipe == Recipe::Wingbeat && mix.is_of_k_types(),
    };
    if !by_errors {
        return Ok(plan);
    }
    let chosen: Vec<&Weight> =
        job.weights.iter().filter(|w| is_chosen(w) && given_type(w).is_none()).collect();
    let alignment = gguf::alignment(job);
    let choices = choices(&chosen, job.config, &plan, alignment)?;
    // The smallest file there is, and so what all else takes.
    let smallest = |plan: &mut Plan| -> Result<(u64, u64), Error> {
        let mut n_bytes = 0;
        for (weight, choices) in chosen.iter().zip(&choices) {
            if let Some(first) = choices.first() {
                plan.types.insert(weight.name.clone(), first.dtype);
                n_bytes += first.n_bytes;
            }
        }
        Ok((gguf::file_bytes(&Job { plan: Some(plan), ..job.clone() })?, n_bytes))
    };
    let limit = match options.goal {
        Goal::Bytes(limit) => limit,
        Goal::Mix(_) => gguf::file_bytes(job)?,
    };
    let (smallest_file, smallest_matrices) = smallest(&mut plan)?;
    let budget = limit.checked_sub(smallest_file - smallest_matrices);
    let types = budget.and_then(|budget| choose(&choices, budget).ok()).ok_or_else(|| {
        refused(
            job.target,
            format!(
                "no types make a file of {limit} bytes: the smallest that is possible has {smallest_file}"
            ),
        )
    })?;
    for (weight, dtype) in chosen.iter().zip(types) {
        plan.types.insert(weight.name.clone(), dtype);
    }
    if matches!(options.goal, Goal::Bytes(_)) {
        let shares = shares(&Job { plan: Some(&plan), ..job.clone() });
        plan.file_type = shares.iter().find_map(|share| Mix::file_type_of(share.dtype));
    }
    Ok(plan)
}

/// Weights whose types are given, by their official names.
fn given<'a>(job: &'a Job<'_>, options: &QuantizeOptions) -> Result<Vec<(&'a str, DType)>, Error> {
    let mut given: Vec<(&str, DType)> = Vec::new();
    for (name, dtype) in &options.types {
        let is_meant = |weight: &&Weight| {
            let full = weight.name.strip_suffix(".weight").unwrap_or(&weight.name);
            let before = full.strip_suffix(name.strip_suffix(".weight").unwrap_or(name));
            is_chosen(weight) && before.is_some_and(|before| before.is_empty() || before.ends_with('.'))
        };
        let mut meant = job.weights.iter().filter(is_meant).peekable();
        if meant.peek().is_none() {
            return Err(refused(job.target, format!("no matrix is called `{name}`")));
        }
        for weight in meant {
            let cols = weight.shape.get(1).copied().unwrap_or(1);
            if dtype.row_bytes(cols).is_none() || !dtype.has_encoder() {
                return Err(refused(
                    job.target,
                    format!(
                        "tensor `{}`: {} takes rows of a multiple of {} values, found {cols}",
                        weight.name,
                        dtype.name(),
                        dtype.block_len()
                    ),
                ));
            }
            given.retain(|(name, _)| *name != weight.name);
            given.push((&weight.name, *dtype));
        }
    }
    Ok(given)
}

/// The types of a job's tensors.
fn shares(job: &Job<'_>) -> Vec<TypeShare> {
    let mut shares: Vec<TypeShare> = Vec::new();
    for (weight, spec) in gguf::tensors(job) {
        let at = shares.iter().position(|share| share.dtype == spec.dtype).unwrap_or_else(|| {
            shares.push(TypeShare { dtype: spec.dtype, n_tensors: 0, n_bytes: 0, kinds: Vec::new() });
            shares.len() - 1
        });
        let share = &mut shares[at];
        share.n_tensors += 1;
        share.n_bytes += spec.n_bytes().unwrap_or(0) as u64;
        if is_chosen(weight) {
            let kind = weight.row.name.strip_suffix(".weight").unwrap_or(weight.row.name);
            match share.kinds.iter_mut().find(|(name, _)| *name == kind) {
                Some((_, n)) => *n += 1,
                None => share.kinds.push((kind, 1)),
            }
        }
    }
    shares.sort_by_key(|share| std::cmp::Reverse(share.n_bytes));
    shares
}
