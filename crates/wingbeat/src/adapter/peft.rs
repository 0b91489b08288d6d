//! PEFT's `adapter_config.json`: how strongly which matrices are changed.
//!
//! Settings under which merging would be something else than `W + scale · B·A` are refused by name.

use serde::Deserialize;
use std::{collections::BTreeMap, fs, path::Path};

/// Bytes of the file at most.
const MOST_BYTES: u64 = 1 << 20;
/// Initializations that change the model's own weights too.
const OTHER_WEIGHTS: [&str; 4] = ["pissa", "olora", "corda", "loftq"];

/// What matters of the settings.
#[derive(Debug, Deserialize)]
pub(super) struct Settings {
    peft_type: Option<String>,
    r: Option<usize>,
    lora_alpha: Option<f32>,
    #[serde(default)]
    use_rslora: bool,
    #[serde(default)]
    use_dora: bool,
    #[serde(default)]
    use_qalora: bool,
    rank_pattern: Option<BTreeMap<String, usize>>,
    alpha_pattern: Option<BTreeMap<String, f32>>,
    layer_replication: Option<serde_json::Value>,
    init_lora_weights: Option<serde_json::Value>,
}

impl Settings {
    /// Reads and checks the file; the error says what is wrong with it.
    pub(super) fn read(path: &Path) -> Result<Settings, String> {
        let n_bytes = fs::metadata(path).map_err(|error| error.to_string())?.len();
        if n_bytes > MOST_BYTES {
            return Err(format!("expected at most {MOST_BYTES} bytes, found {n_bytes}"));
        }
        let text = fs::read(path).map_err(|error| error.to_string())?;
        let settings: Settings = serde_json::from_slice(&text).map_err(|error| error.to_string())?;
        settings.check()?;
        Ok(settings)
    }

    fn check(&self) -> Result<(), String> {
        let refused =
            |method: &str| Err(format!("it is an adapter of the kind {method}; only LoRA can be merged"));
        if let Some(kind) = self.peft_type.as_deref().filter(|kind| !kind.eq_ignore_ascii_case("lora")) {
            return refused(&kind.chars().take(40).flat_map(char::escape_debug).collect::<String>());
        }
        if self.use_dora {
            return refused("DoRA");
        }
        if self.use_qalora {
            return refused("QALoRA");
        }
        if self.layer_replication.as_ref().is_some_and(|replication| !replication.is_null()) {
            return refused("LoRA with replicated layers");
        }
        let init = self.init_lora_weights.as_ref().and_then(|init| init.as_str()).unwrap_or_default();
        if let Some(init) = OTHER_WEIGHTS.iter().find(|other| init.to_ascii_lowercase().starts_with(*other)) {
            return Err(format!(
                "it was trained beside weights that its initialization ({init}) had changed: let PEFT convert it to plain LoRA \
                 (path_initial_model_for_weight_conversion)"
            ));
        }
        match self.lora_alpha {
            Some(alpha) if !alpha.is_finite() => Err(format!("lora_alpha: expected a number, found {alpha}")),
            _ => Ok(()),
        }
    }

    /// The factor of `B·A` of a module whose matrices have rank `rank`; the error says what does not agree.
    pub(super) fn scaling(&self, module: &str, rank: usize, alpha: Option<f32>) -> Result<f32, String> {
        let said = match pattern(self.rank_pattern.as_ref(), module)? {
            Some(rank) => Some(*rank),
            None => self.r,
        };
        if let Some(said) = said.filter(|said| *said != rank) {
            return Err(format!(
                "`{module}`: expected rank {said}, as adapter_config.json says, found {rank}"
            ));
        }
        let own = match pattern(self.alpha_pattern.as_ref(), module)? {
            Some(alpha) => Some(*alpha),
            None => self.lora_alpha,
        };
        let alpha = alpha.or(own).ok_or("adapter_config.json has no lora_alpha")?;
        let rank = rank as f32;
        Ok(alpha / if self.use_rslora { rank.sqrt() } else { rank })
    }
}

/// What a pattern says of a module. PEFT takes the keys for regular expressions at a name's end; those that are names are
/// understood.
fn pattern<'a, T>(patterns: Option<&'a BTreeMap<String, T>>, module: &str) -> Result<Option<&'a T>, String> {
    for (key, value) in patterns.into_iter().flatten() {
        let (begins, name) = key.strip_prefix('^').map_or((false, key.as_str()), |name| (true, name));
        let name = name.strip_suffix('$').unwrap_or(name).replace("\\.", ".");
        if name.contains(|c: char| !c.is_ascii_alphanumeric() && !"._-".contains(c)) {
            let key: String = key.chars().take(80).flat_map(char::escape_debug).collect();
            return Err(format!("adapter_config.json: the pattern \"{key}\" is no module's name"));
        }
        let before = module.strip_suffix(name.as_str());
        if before.is_some_and(|before| before.is_empty() || (!begins && before.ends_with('.'))) {
            return Ok(Some(value));
        }
    }
    Ok(None)
}
