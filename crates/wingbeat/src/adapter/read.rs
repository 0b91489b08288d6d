//! An adapter's file, understood: pairs of matrices and whole tensors, each with the weight that it is for.

use super::{
    Adapter, DEFAULT_ALPHA,
    names::{Names, Part, bare, part},
    peft::Settings,
    wrong,
};
use crate::{Error, state::has_tuned_state};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};
use wingbeat_backend::Orientation;
use wingbeat_format::{DType, ModelFile, Tensor, Value};
use wingbeat_model::{Catalog, Kind, Layout, Weight};

/// Names that PEFT gives its files.
const PEFT_FILES: [&str; 2] = ["adapter_model.safetensors", "adapter_model.bin"];
const PEFT_SETTINGS: &str = "adapter_config.json";
/// Where llama.cpp keeps an adapter's alpha.
const GGUF_ALPHA: &str = "adapter.lora.alpha";
/// Tuned states are read elsewhere.
const TUNED_STATE: &str = ".att.time_state";

/// What an adapter's file holds.
pub(super) struct Contents {
    pub(super) file: ModelFile,
    pub(super) low: Vec<Low>,
    pub(super) whole: Vec<Whole>,
    pub(super) has_tuned_state: bool,
}

/// `W += factor · B·A`.
pub(super) struct Low {
    /// The weight's number in the catalog.
    pub(super) weight: usize,
    pub(super) rank: usize,
    /// `(r, cols)`.
    pub(super) a: Vec<f32>,
    /// `(rows, r)`.
    pub(super) b: Vec<f32>,
    pub(super) factor: f32,
}

/// A tensor in the place of a weight.
pub(super) struct Whole {
    /// The weight's number in the catalog.
    pub(super) weight: usize,
    pub(super) tensor: Tensor,
    pub(super) orientation: Orientation,
    /// How far towards it.
    pub(super) scale: f32,
    /// What its values are multiplied by first.
    pub(super) shrink: f32,
}

/// One module's matrices, as they are found.
#[derive(Default)]
struct Pair<'a> {
    a: Option<&'a Tensor>,
    b: Option<&'a Tensor>,
    is_embedding: bool,
}

/// Reads an adapter for the model of a catalog.
pub(super) fn read(adapter: &Adapter, catalog: &Catalog) -> Result<Contents, Error> {
    let (path, settings) = find(&adapter.path)?;
    let file = ModelFile::open(&path)?;
    let fail = |why: String| wrong(&file, why);
    let numbers = [("scale", Some(adapter.scale)), ("alpha", adapter.alpha)];
    if let Some((what, Some(value))) = numbers.into_iter().find(|(_, v)| v.is_some_and(|v| !v.is_finite())) {
        return Err(fail(format!("{what}: expected a finite number, found {value}")));
    }
    let names = Names::new(catalog);
    let mut pairs: BTreeMap<&str, Pair<'_>> = BTreeMap::new();
    let mut whole = Vec::new();
    for tensor in file.tensors() {
        let name = tensor.name.as_str();
        match part(name) {
            Part::A(module) => pairs.entry(module).or_default().a = Some(tensor),
            Part::B(module) => pairs.entry(module).or_default().b = Some(tensor),
            Part::EmbeddingA(module) => {
                let pair = pairs.entry(module).or_default();
                (pair.a, pair.is_embedding) = (Some(tensor), true);
            }
            Part::EmbeddingB(module) => pairs.entry(module).or_default().b = Some(tensor),
            Part::Foreign(method) => {
                let (name, why) = (shown(name), "only LoRA can be merged");
                return Err(fail(format!("it is an adapter of the kind {method} (tensor `{name}`); {why}")));
            }
            Part::Whole(name) if name.ends_with(TUNED_STATE) => {}
            Part::Whole(name) => whole.push((name, tensor)),
        }
    }
    if pairs.is_empty() && Catalog::open(&file).is_ok() {
        return Err(fail("it is a whole model, no adapter".to_owned()));
    }
    let has_tuned_state = has_tuned_state(&file);
    if pairs.is_empty() && whole.is_empty() && !has_tuned_state {
        return Err(fail("it holds no adapter: there is no tensor that could change a model".to_owned()));
    }
    let reader = Reader { adapter, catalog, names: &names, settings: settings.as_ref(), file: &file };
    let low = pairs
        .iter()
        .map(|(module, pair)| reader.low(module, pair))
        .collect::<Result<_, _>>()
        .map_err(fail)?;
    let whole = whole
        .iter()
        .map(|(name, tensor)| reader.whole(name, tensor))
        .collect::<Result<_, _>>()
        .map_err(fail)?;
    Ok(Contents { low, whole, has_tuned_state, file })
}

/// The file of an adapter, which may be named by its folder, and PEFT's settings beside it.
fn find(path: &Path) -> Result<(PathBuf, Option<Settings>), Error> {
    let fail = |path: &Path, why: String| Error::Adapter { file: path.display().to_string(), why };
    let is_folder = path.is_dir();
    let file = match is_folder {
        false => path.to_owned(),
        true => {
            let found = PEFT_FILES.iter().map(|name| path.join(name)).find(|file| file.exists());
            let why = || format!("the folder has no {}", PEFT_FILES.join(" or "));
            found.ok_or_else(|| fail(path, why()))?
        }
    };
    let beside = file.with_file_name(PEFT_SETTINGS);
    let is_peft = file.file_name().is_some_and(|name| PEFT_FILES.iter().any(|known| name == *known));
    let has_settings = is_folder || (is_peft && beside.exists());
    if !has_settings {
        return Ok((file, None));
    }
    let settings = Settings::read(&beside).map_err(|why| fail(&beside, why))?;
    Ok((file, Some(settings)))
}

struct Reader<'a> {
    adapter: &'a Adapter,
    catalog: &'a Catalog,
    names: &'a Names,
    settings: Option<&'a Settings>,
    file: &'a ModelFile,
}

impl Reader<'_> {
    fn low(&self, module: &str, pair: &Pair<'_>) -> Result<Low, String> {
        let (number, weight, _) = self.weight(module)?;
        let missing = |letter| format!("`{}` has no lora_{letter}", shown(module));
        let (a, b) = (pair.a.ok_or_else(|| missing('A'))?, pair.b.ok_or_else(|| missing('B'))?);
        let (rows, cols) = match (weight.row.kind, weight.shape.as_slice()) {
            (Kind::Matrix(..) | Kind::LowRank(..), &[rows, cols]) => (rows, cols),
            _ => return Err(format!("`{}` is no matrix of {}", shown(module), self.model())),
        };
        let rank = a.shape.first().copied().unwrap_or(0);
        if rank == 0 {
            return Err(format!(
                "`{}`: expected a rank of at least 1, found shape {:?}",
                shown(&a.name),
                a.shape
            ));
        }
        // An embedding's matrix is that of a linear layer the other way round.
        let (inputs, outputs) = if pair.is_embedding { (rows, cols) } else { (cols, rows) };
        for (tensor, expected) in [(a, [rank, inputs]), (b, [outputs, rank])] {
            if tensor.shape != expected {
                let (name, found) = (shown(&tensor.name), &tensor.shape);
                return Err(format!(
                    "`{name}`: expected shape {expected:?} for `{}`, found {found:?}",
                    weight.name
                ));
            }
        }
        let a_name = a.name.clone();
        let (mut a, mut b) = (values(a)?, values(b)?);
        if pair.is_embedding {
            (a, b) = (transposed(&b, outputs), transposed(&a, rank));
        }
        let alpha = self.adapter.alpha;
        let of_file = || match self.file.metadata().get(GGUF_ALPHA) {
            Some(Value::F32(alpha)) => Some(*alpha),
            _ => None,
        };
        let scaling = match self.settings {
            Some(settings) => settings.scaling(bare(module), rank, alpha)?,
            None if is_peft(&a_name) && alpha.is_none() => {
                return Err(format!(
                    "there is no {PEFT_SETTINGS} beside it, which has the alpha: give --lora-alpha"
                ));
            }
            None => alpha.or_else(of_file).unwrap_or(DEFAULT_ALPHA) / rank as f32,
        };
        Ok(Low { weight: number, rank, a, b, factor: self.adapter.scale * scaling * self.shrink(weight) })
    }

    fn whole(&self, name: &str, tensor: &Tensor) -> Result<Whole, String> {
        let (number, weight, layout) = self.weight(name)?;
        if !matches!(tensor.dtype, DType::F32 | DType::F16 | DType::BF16) {
            return Err(format!(
                "`{}`: expected F32, F16 or BF16, found {}",
                shown(name),
                tensor.dtype.name()
            ));
        }
        let orientation = orientation(weight, &tensor.shape, layout).ok_or_else(|| {
            let (name, found) = (shown(name), &tensor.shape);
            format!("`{name}`: expected the shape of `{}`, {:?}, found {found:?}", weight.name, weight.shape)
        })?;
        let values = tensor.to_f32();
        finite(tensor, &values)?;
        let shrink = self.shrink(weight);
        Ok(Whole { weight: number, tensor: tensor.clone(), orientation, scale: self.adapter.scale, shrink })
    }

    /// The weight that a name means.
    fn weight(&self, name: &str) -> Result<(usize, &Weight, Layout), String> {
        let found = self
            .names
            .find(name)
            .and_then(|(number, layout)| Some((number, self.catalog.weights().get(number)?, layout)));
        found.ok_or_else(|| format!("`{}` is no weight of {}", shown(name), self.model()))
    }

    fn model(&self) -> String {
        let config = self.catalog.config();
        format!("{} with {} layers of {} channels", config.version.name(), config.n_layers, config.n_channels)
    }

    /// What is added to the residual stream was halved in some files, more often the later the layer.
    fn shrink(&self, weight: &Weight) -> f32 {
        let adds = matches!(weight.row.name, "att.output.weight" | "ffn.value.weight");
        let halvings = weight.layer.and_then(|layer| layer.checked_div(self.catalog.config().rescaled_every));
        0.5f32.powi(if adds { halvings.unwrap_or(0) as i32 } else { 0 })
    }
}

/// Whether PEFT has named a tensor.
fn is_peft(name: &str) -> bool {
    name.starts_with("base_model.")
}

/// How a tensor lies in the place of a weight; none if it does not fit.
fn orientation(weight: &Weight, shape: &[usize], layout: Layout) -> Option<Orientation> {
    let squeezed: Vec<usize> = match shape.len() {
        0..=2 => shape.to_vec(),
        _ => shape.iter().copied().filter(|&n| n != 1).collect(),
    };
    let (row_major, mut transposed) = (weight.shape.clone(), weight.shape.clone());
    if let [.., rows, cols] = transposed.as_mut_slice() {
        std::mem::swap(rows, cols);
    }
    match weight.row.kind {
        Kind::Vector(_) => {
            let n = shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d));
            (n == Some(weight.shape.iter().product())).then_some(Orientation::RowMajor)
        }
        Kind::Matrix(..) => (squeezed == row_major).then_some(Orientation::RowMajor),
        Kind::LowRank(..) | Kind::Stack(..) => match (squeezed == row_major, squeezed == transposed) {
            // The official names' habit; the others' is the other.
            (true, true) if layout == Layout::BlinkDl => Some(Orientation::Transposed),
            (true, _) => Some(Orientation::RowMajor),
            (_, true) => Some(Orientation::Transposed),
            _ => None,
        },
    }
}

fn values(tensor: &Tensor) -> Result<Vec<f32>, String> {
    let values = tensor.to_f32();
    finite(tensor, &values)?;
    Ok(values)
}

fn finite(tensor: &Tensor, values: &[f32]) -> Result<(), String> {
    match values.iter().position(|value| !value.is_finite()) {
        None => Ok(()),
        Some(at) => {
            let (name, value) = (shown(&tensor.name), values[at]);
            Err(format!("`{name}`, value {at}: expected a finite number, found {value}"))
        }
    }
}

/// `(rows, cols)` as `(cols, rows)`.
fn transposed(values: &[f32], rows: usize) -> Vec<f32> {
    let cols = values.len() / rows.max(1);
    (0..values.len()).map(|at| values[at % rows * cols + at / rows]).collect()
}

/// A name from a file, fit for a one-line message.
fn shown(name: &str) -> String {
    name.chars().take(120).flat_map(char::escape_debug).collect()
}
