//! The model files among a repository's files, and the one that is meant.
//!
//! A model is a file (`.gguf`, `.safetensors`, `.st`, `.pth`, `.bin`) or a set of shards with their index; one in the
//! Hugging Face layout brings its `config.json` and its tokenizer's files along. Which one is meant goes by names alone:
//! files that differ only in their type are one model.

use crate::HubError;

/// Storage types as file names spell them, the preferred first where nobody says which: the best quality that is half the
/// size of the original, then down, then the original itself.
const TYPES: [&str; 30] = [
    "q8_0", "q6_k", "q5_k_m", "q5_k_s", "q5_k", "q5_1", "q5_0", "q4_k_m", "q4_k_s", "q4_k", "q4_1", "q4_0",
    "f16", "fp16", "bf16", "f32", "fp32", "q3_k_l", "q3_k_m", "q3_k_s", "q3_k", "q2_k_s", "q2_k", "iq4_nl",
    "iq4_xs", "iq3_m", "iq3_s", "iq2_m", "tq2_0", "tq1_0",
];
/// Endings of model files, the preferred first.
const ENDINGS: [&str; 5] = ["gguf", "safetensors", "st", "pth", "bin"];
/// Endings of models that may come in shards, and what their index adds.
const SHARDED: [&str; 2] = ["safetensors", "bin"];
const INDEX: &str = ".index.json";
/// Beginnings of the names of files with such endings that are no models.
const NO_MODELS: [&str; 9] = [
    "adapter_",
    "training_args",
    "optimizer",
    "scheduler",
    "rng_state",
    "mmproj",
    "imatrix",
    "ggml-vocab",
    "random_states",
];
/// Names that say nothing of the model: the repository's does.
const NAMELESS: [&str; 2] = ["model", "pytorch_model"];
/// Files beside a model in the Hugging Face layout that belong to it.
const BESIDE: [&str; 11] = [
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "vocab.txt",
    "rwkv_vocab_v20230424.txt",
    "chat_template.jinja",
    "chat_template.json",
];
/// Choices that a message names at most.
const MOST_NAMED: usize = 16;

/// A model of a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Candidate {
    /// The file to open: of shards, their index.
    pub(crate) name: String,
    /// All of its files, that one included.
    pub(crate) files: Vec<String>,
    /// Bytes of all of them, where all are known.
    pub(crate) n_bytes: Option<u64>,
    ending: usize,
    /// Its place in [`TYPES`].
    dtype: Option<usize>,
    /// Its name without type and ending; empty if it says nothing.
    base: String,
}

/// The models among `files`: names and sizes.
pub(crate) fn candidates(files: &[(&str, Option<u64>)]) -> Vec<Candidate> {
    let has = |name: &str| files.iter().any(|(file, _)| *file == name);
    let size = |name: &str| files.iter().find(|(file, _)| *file == name).and_then(|(_, size)| *size);
    let mut found = Vec::new();
    for &(name, _) in files {
        let (folder, file) = name.rsplit_once('/').map_or(("", name), |(folder, file)| (folder, file));
        let lower = file.to_ascii_lowercase();
        let beside =
            |file: &str| if folder.is_empty() { file.to_owned() } else { format!("{folder}/{file}") };
        let (whole, is_index) = match lower.strip_suffix(INDEX) {
            Some(whole) => (whole, true),
            None => (lower.as_str(), false),
        };
        let Some((stem, ending)) = whole.rsplit_once('.') else { continue };
        if is_index && !SHARDED.contains(&ending) {
            continue;
        }
        let Some(ending) = ENDINGS.iter().position(|known| *known == ending) else { continue };
        if NO_MODELS.iter().any(|no| lower.starts_with(no)) || (!is_index && shard(stem).is_some()) {
            continue;
        }
        let mut all = vec![name.to_owned()];
        if is_index {
            let Some(shards) = shards_of(stem, ENDINGS[ending], folder, files) else { continue };
            all.extend(shards);
        }
        let is_nameless = NAMELESS.contains(&stem);
        if (is_nameless || is_index) && has(&beside("config.json")) {
            all.extend(BESIDE.iter().map(|file| beside(file)).filter(|file| has(file)));
        }
        let n_bytes = all.iter().map(|file| size(file)).try_fold(0u64, |sum, n| sum.checked_add(n?));
        let dtype = TYPES.iter().position(|dtype| without_word(stem, dtype).is_some());
        let base = match dtype.and_then(|dtype| without_word(stem, TYPES[dtype])) {
            _ if is_nameless => String::new(),
            Some(base) => base.trim_matches(['-', '.', '_', ' ']).to_owned(),
            None => stem.to_owned(),
        };
        found.push(Candidate { name: name.to_owned(), files: all, n_bytes, ending, dtype, base });
    }
    // Shards and a whole file of one name are the same model twice: the whole file is simpler.
    let whole: Vec<String> = found.iter().map(|candidate| candidate.name.clone()).collect();
    found.retain(|candidate| {
        let whole_name = candidate.name.strip_suffix(INDEX);
        !whole_name.is_some_and(|name| whole.iter().any(|other| other == name))
    });
    found
}

/// The one that is meant.
pub(crate) fn choose<'a>(
    repo: &str,
    choice: Option<&str>,
    candidates: &'a [Candidate],
) -> Result<&'a Candidate, HubError> {
    let fitting: Vec<&Candidate> = match choice {
        None => candidates.iter().collect(),
        Some(choice) => fitting(choice, candidates),
    };
    match (&fitting[..], choice) {
        ([one], _) => return Ok(one),
        ([], Some(choice)) => {
            let choices = named(&candidates.iter().collect::<Vec<_>>());
            return Err(HubError::NoSuchModel { repo: repo.to_owned(), choice: choice.to_owned(), choices });
        }
        _ => {}
    }
    let ambiguous = || HubError::Ambiguous { repo: repo.to_owned(), choices: named(&fitting) };
    let mut bases: Vec<&str> =
        fitting.iter().map(|c| c.base.as_str()).filter(|base| !base.is_empty()).collect();
    bases.sort_unstable();
    bases.dedup();
    if bases.len() > 1 {
        return Err(ambiguous());
    }
    let rank = |candidate: &Candidate| (candidate.ending, candidate.dtype.unwrap_or(TYPES.len()));
    let best = fitting.iter().copied().min_by_key(|candidate| rank(candidate)).ok_or_else(ambiguous)?;
    match fitting.iter().filter(|candidate| rank(candidate) == rank(best)).count() {
        1 => Ok(best),
        _ => Err(ambiguous()),
    }
}

/// Those that a choice may mean: a file's name; or else a type; or else a part of a name.
fn fitting<'a>(choice: &str, candidates: &'a [Candidate]) -> Vec<&'a Candidate> {
    let choice = choice.to_ascii_lowercase();
    let those = |fits: &dyn Fn(&Candidate) -> bool| candidates.iter().filter(|c| fits(c)).collect::<Vec<_>>();
    let exact = those(&|c| c.name.eq_ignore_ascii_case(&choice) || c.files[0].eq_ignore_ascii_case(&choice));
    if !exact.is_empty() {
        return exact;
    }
    let of_type = |dtype: &str| those(&|c| c.dtype.is_some_and(|i| same_type(TYPES[i], dtype)));
    let typed =
        [of_type(&choice), of_type(&format!("{choice}_m"))].into_iter().find(|found| !found.is_empty());
    typed.unwrap_or_else(|| those(&|c| c.name.to_ascii_lowercase().contains(&choice)))
}

/// `fp16` is `f16`.
fn same_type(one: &str, two: &str) -> bool {
    one == two || one.replace("fp", "f") == two.replace("fp", "f")
}

/// Files with their sizes, for a message.
fn named(candidates: &[&Candidate]) -> String {
    let one = |candidate: &&Candidate| match candidate.n_bytes {
        Some(bytes) => format!("{} ({:.1} GB)", candidate.name, bytes as f64 / 1e9),
        None => candidate.name.clone(),
    };
    let mut names: Vec<String> = candidates.iter().take(MOST_NAMED).map(one).collect();
    if candidates.len() > MOST_NAMED {
        names.push(format!("{} more", candidates.len() - MOST_NAMED));
    }
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

/// A name without a word in it, if the word stands alone there.
fn without_word(name: &str, word: &str) -> Option<String> {
    let is_inside = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric() || c == '_');
    let (at, _) = name.match_indices(word).find(|(at, _)| {
        let before = name[..*at].chars().next_back();
        // `model_q8_0` is a spelling too.
        let begins = !is_inside(before) || before == Some('_');
        begins && !is_inside(name[at + word.len()..].chars().next())
    })?;
    Some(format!("{}{}", &name[..at], &name[at + word.len()..]))
}

/// `(number, count)` of a shard, `…-00001-of-00003`.
fn shard(stem: &str) -> Option<(usize, usize)> {
    let (rest, count) = stem.rsplit_once("-of-")?;
    let (_, number) = rest.rsplit_once('-')?;
    let is_number = |text: &str| text.len() == 5 && text.bytes().all(|b| b.is_ascii_digit());
    (is_number(number) && is_number(count)).then_some((number.parse().ok()?, count.parse().ok()?))
}

/// The shards of an index, in order, if all are there.
fn shards_of(stem: &str, ending: &str, folder: &str, files: &[(&str, Option<u64>)]) -> Option<Vec<String>> {
    let mut shards: Vec<(usize, usize, &str)> = files
        .iter()
        .filter_map(|(name, _)| {
            let (its_folder, file) = name.rsplit_once('/').unwrap_or(("", name));
            let lower = file.to_ascii_lowercase();
            let its_stem = lower.strip_suffix(ending)?.strip_suffix('.')?;
            let (number, count) = shard(its_stem)?;
            let is_ours =
                its_folder == folder && its_stem.len() == stem.len() + 15 && its_stem.starts_with(stem);
            is_ours.then_some((number, count, *name))
        })
        .collect();
    shards.sort_unstable();
    let count = shards.first()?.1;
    let complete = shards.iter().map(|shard| (shard.0, shard.1)).eq((1..=count).map(|i| (i, count)));
    complete.then(|| shards.into_iter().map(|shard| shard.2.to_owned()).collect())
}

#[cfg(test)]
mod tests;
