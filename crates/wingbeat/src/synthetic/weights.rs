//! The weights: what training starts from, plus the lean of the channel mix.
//!
//! Vectors are made at once (they are small and the writers look at them), matrices block by block while the file is
//! written, on all cores. Formulas of vectors: RWKV-LM, `RWKV-v7/train_temp/src/model.py` and those of older versions;
//! matrices keep the variance
//! of what they multiply, so that activations neither grow nor fade.

use super::{Shape, SyntheticModel, random::Stream, random::normal_quantile, shape::HEAD_SIZE};
use crate::{
    Error,
    convert::{Content, Sink, in_order},
};
use wingbeat_backend::Orientation;
use wingbeat_format::{Bytes, DType, FormatError};
use wingbeat_model::{Config, Dim, Kind, Layers, Layout, Row, Version, Weight};

/// `|bᵢ|` of `ln2.bias`'s constant part: half of what the normalised input itself has in a channel. Less would make
/// the lean a large part of `ffn.key`, more would drown the input.
const BIAS: f64 = 0.5;

/// A synthetic model's weights.
pub(super) struct Weights {
    config: Config,
    seed: u64,
    list: Vec<Weight>,
    /// What is added to every row of each layer's `ffn.key`, `(C)` each; empty where rows are plain.
    leans: Vec<Vec<f32>>,
}

/// Every tensor in the catalog's order: table row, layer, shape.
pub(super) fn shapes(config: &Config) -> impl Iterator<Item = (Row, Option<usize>, Vec<usize>)> + '_ {
    let rows = move |layers: Layers| config.version.table().iter().filter(move |row| row.layers == layers);
    // Of two names for the same thing, the newer.
    let optional = move || rows(Layers::Optional).filter(|row| row.name != "att.time_first");
    let shape = |row: &Row| match row.kind {
        Kind::Vector(n) => vec![n.of(config)],
        Kind::Matrix(rows, cols) | Kind::LowRank(rows, cols) => vec![rows.of(config), cols.of(config)],
        Kind::Stack(n, rows, cols) => vec![n, rows.of(config), cols.of(config)],
    };
    let of_model = rows(Layers::Model).map(|row| (row, None));
    let of_layers = (0..config.n_layers).flat_map(move |layer| {
        let special = if layer == 0 { Layers::First } else { Layers::Later };
        rows(Layers::All).chain(rows(special)).chain(optional()).map(move |row| (row, Some(layer)))
    });
    of_model.chain(of_layers).map(move |(row, layer)| (*row, layer, shape(row)))
}

/// The letters of each version's low ranks.
pub(super) const RANKS: [(Version, &[char]); 2] =
    [(Version::V7, &['w', 'a', 'v', 'g']), (Version::V6, &['m', 'd'])];

/// The dimensions of a model of that shape.
pub(super) fn config(shape: &Shape, name: String) -> Config {
    let letters = RANKS.iter().find(|(version, _)| *version == shape.version).map_or(&[][..], |(_, l)| l);
    let heads = if shape.version == Version::V4 { 1 } else { HEAD_SIZE };
    Config {
        version: shape.version,
        name,
        n_layers: shape.n_layers,
        n_channels: shape.n_channels,
        n_heads: shape.n_channels / heads,
        head_size: heads,
        n_decays: shape.n_channels,
        n_ffn: match shape.version {
            Version::V5 | Version::V6 => shape.n_channels / 2 * 7,
            _ => 4 * shape.n_channels,
        },
        n_vocab: shape.n_vocab,
        low_ranks: letters.iter().copied().zip(shape.low_ranks).collect(),
        rescaled_every: 0,
        layer_norm_eps: 1e-5,
        group_norm_eps: 64e-5,
    }
}

impl Weights {
    pub(super) fn new(model: &SyntheticModel) -> Weights {
        let name = format!(
            "synthetic {} {}, {:.2} zeros, seed {}",
            model.shape.version.name(),
            model.shape.name(),
            model.zeros,
            model.seed
        );
        let config = config(&model.shape, name);
        let z = normal_quantile(model.zeros);
        let vectors = Vectors { config: &config, seed: model.seed, biased: z > 0.0 };
        let list = shapes(&config).map(|(row, layer, shape)| vectors.weight(row, layer, shape)).collect();
        let leans = match z > 0.0 {
            true => (0..config.n_layers).map(|layer| vectors.lean(layer, z)).collect(),
            false => Vec::new(),
        };
        Weights { seed: model.seed, list, leans, config }
    }

    pub(super) fn config(&self) -> &Config {
        &self.config
    }

    /// All weights; only vectors have their data.
    pub(super) fn list(&self) -> &[Weight] {
        &self.list
    }

    /// The standard deviation of a matrix's values.
    fn deviation(&self, row: &Row, cols: usize) -> f32 {
        let over_root = 1.0 / (cols.max(1) as f32).sqrt();
        match row.name {
            // The first layer norm takes any scale.
            "emb.weight" => 1.0,
            "att.w2" | "att.a2" | "att.v2" | "ffn.value.weight" => 0.5 * over_root,
            "att.time_maa_w2" | "att.time_decay_w2" => 0.2 * over_root,
            _ => over_root,
        }
    }
}

impl Content for Weights {
    fn encode(
        &self,
        weight: &Weight,
        orientation: Orientation,
        dtype: DType,
        sink: Sink<'_>,
    ) -> Result<(), Error> {
        let [n, n_rows, n_cols] = match *weight.shape {
            [rows, cols] => [1, rows, cols],
            [n, rows, cols] => [n, rows, cols],
            // A vector, made already.
            _ => {
                let mut bytes = Vec::new();
                dtype.encode_row(&weight.vector(), &mut bytes)?;
                return sink(&bytes);
            }
        };
        let lean = match (weight.row.name, weight.layer) {
            ("ffn.key.weight", Some(layer)) => self.leans.get(layer).map(Vec::as_slice),
            _ => None,
        };
        for i in 0..n {
            // Of a stack, each has numbers of its own.
            let name = if i == 0 { weight.name.clone() } else { format!("{} {i}", weight.name) };
            let matrix = Matrix {
                stream: Stream::new(self.seed, &name),
                deviation: self.deviation(&weight.row, n_cols),
                lean: lean.unwrap_or_default(),
                n_rows,
                n_cols,
                orientation,
                dtype,
            };
            let (n_stored, width) = matrix.stored();
            in_order(n_stored, width, |rows| matrix.block(rows), sink)?;
        }
        Ok(())
    }

    fn check(&self) -> Result<(), Error> {
        Ok(())
    }
}

/// A matrix `(n_rows, n_cols)` on its way into a file.
struct Matrix<'a> {
    stream: Stream,
    deviation: f32,
    lean: &'a [f32],
    n_rows: usize,
    n_cols: usize,
    orientation: Orientation,
    dtype: DType,
}

impl Matrix<'_> {
    /// Stored rows and their width.
    fn stored(&self) -> (usize, usize) {
        match self.orientation {
            Orientation::RowMajor => (self.n_rows, self.n_cols),
            Orientation::Transposed => (self.n_cols, self.n_rows),
        }
    }

    /// Stored rows, encoded. A value depends on its place in the matrix alone, whatever the orientation.
    fn block(&self, rows: std::ops::Range<usize>) -> Result<Vec<u8>, FormatError> {
        let mut values = vec![0.0f32; self.stored().1];
        let mut bytes = Vec::new();
        for row in rows {
            let (first, step) = match self.orientation {
                Orientation::RowMajor => (row * self.n_cols, 1),
                Orientation::Transposed => (row, self.n_cols),
            };
            for (i, value) in values.iter_mut().enumerate() {
                *value = self.stream.normal((first + i * step) as u64) * self.deviation;
            }
            values.iter_mut().zip(self.lean).for_each(|(value, lean)| *value += lean);
            self.dtype.encode_row(&values, &mut bytes)?;
        }
        Ok(bytes)
    }
}

/// Makes the vectors.
struct Vectors<'a> {
    config: &'a Config,
    seed: u64,
    /// Whether `ln2.bias` has its constant part.
    biased: bool,
}

impl Vectors<'_> {
    fn weight(&self, row: Row, layer: Option<usize>, shape: Vec<usize>) -> Weight {
        let data = match row.kind {
            Kind::Vector(Dim::C | Dim::Decays) => self
                .vector(row.name, layer.unwrap_or(0))
                .iter()
                .flat_map(|value| value.to_le_bytes())
                .collect(),
            _ => Vec::new(),
        };
        let name = Layout::BlinkDl.tensor_name(row.name, row.gguf, layer);
        let data = Bytes::from_vec(data);
        Weight { row, layer, name, dtype: DType::F32, shape, orientation: Orientation::RowMajor, data }
    }

    /// A vector `(C)` of a layer, by its name in the table. Its values are such that BF16 and F16 hold them exactly: it
    /// is the same in every type of file.
    fn vector(&self, name: &str, layer: usize) -> Vec<f32> {
        let stream = self.stream(name, layer);
        let (n, depth) = (self.config.n_channels, layer as f64);
        let layers = self.config.n_layers as f64;
        // How deep: 0 to 1 over all layers; and 1 to just above 0.
        let (down, up) = (depth / (layers - 1.0).max(1.0), 1.0 - depth / layers);
        let value = |i: usize| {
            let part = i as f64 / n as f64;
            let linear = i as f64 / (n as f64 - 1.0) - 0.5;
            // −1 to 1 over the channels of a head, steep at the ends.
            let half = (self.config.head_size as f64 - 1.0) / 2.0;
            let zigzag = (i % self.config.head_size) as f64 / half - 1.0;
            let zigzag = zigzag * zigzag.abs();
            let noise = f64::from(stream.normal(i as u64));
            let mix = |power: f64| 1.0 - part.powf(power * up);
            match name {
                "ln0.weight" | "ln1.weight" | "ln2.weight" | "ln_out.weight" => 1.0 + 0.05 * noise,
                "ln2.bias" if self.biased => 0.02 * noise + self.bias(layer, i),
                "att.x_r" | "att.x_g" => mix(0.2),
                "att.x_w" | "att.x_a" => mix(0.9),
                "att.x_k" | "att.x_v" => mix(0.7),
                "att.w0" => -5.5 + 6.0 * (linear + 0.5).powf(1.0 + down.powf(0.3)) + 2.5 * zigzag,
                "att.a0" => -0.19 + 0.3 * zigzag + 0.4 * linear,
                "att.v0" => 0.73 - 0.4 * linear,
                "att.k_k" => 0.71 - 0.1 * linear + 0.05 * noise,
                "att.k_a" => 1.02 + 0.02 * noise,
                "att.r_k" => 0.05 * noise,
                "att.ln_x.weight" => 0.5 + 0.05 * noise,
                "ffn.x_k" => 1.0 - part.powf(up.powi(4)),
                // RWKV-4 and RWKV-5: how much of the token itself stays.
                "att.time_mix_k" | "ffn.time_mix_k" | "ffn.time_mix_r" => part.powf(up),
                "att.time_mix_v" => part.powf(up) + 0.3 * down,
                "att.time_mix_r" | "att.time_mix_g" => part.powf(0.5 * up),
                "att.time_decay" => self.decay_low() + self.decay_span() * part.powf(0.7 + 1.3 * down),
                "att.time_first" => 0.3f64.ln() + 0.5 * ((i + 1) % 3) as f64 - 0.5,
                "att.time_faaaa" => down * (1.0 - part) + 0.1 * ((i + 1) % 3) as f64 - 0.1,
                // RWKV-6: how far to the previous token's.
                "att.time_maa_x" | "att.time_maa_w" | "att.time_maa_k" => mix(1.0),
                "att.time_maa_v" => mix(1.0) - 0.3 * down,
                "att.time_maa_r" | "att.time_maa_g" => mix(0.5),
                "ffn.time_maa_k" | "ffn.time_maa_r" => mix(1.0),
                // The other biases.
                _ => 0.02 * noise,
            }
        };
        let mut values: Vec<f32> = (0..n).map(|i| value(i) as f32).collect();
        for half in [DType::BF16, DType::F16] {
            let mut bytes = Vec::new();
            half.encode_row(&values, &mut bytes).expect("plain types have encoders and no blocks");
            half.decode_row(&bytes, &mut values);
        }
        values
    }

    /// The decay's exponent of the first channel, and how much more the last one's is.
    fn decay_low(&self) -> f64 {
        if self.config.version == Version::V4 { -5.0 } else { -6.0 }
    }

    fn decay_span(&self) -> f64 {
        if self.config.version == Version::V4 { 8.0 } else { 5.0 }
    }

    /// How far the input of a layer's `ffn.key` moves to the previous token's, `(C)`.
    fn ffn_mix(&self, layer: usize) -> Vec<f32> {
        match self.config.version {
            Version::V4 | Version::V5 => {
                self.vector("ffn.time_mix_k", layer).iter().map(|stays| 1.0 - stays).collect()
            }
            Version::V6 => self.vector("ffn.time_maa_k", layer),
            _ => self.vector("ffn.x_k", layer),
        }
    }

    fn stream(&self, name: &str, layer: usize) -> Stream {
        Stream::new(self.seed, &format!("blocks.{layer}.{name}"))
    }

    /// The constant part of `ln2.bias`: `±BIAS`, signs at random.
    fn bias(&self, layer: usize, channel: usize) -> f64 {
        let bits = self.stream("ln2.bias signs", layer).bits(channel as u64);
        if bits & 1 == 0 { BIAS } else { -BIAS }
    }

    /// What each row of a layer's `ffn.key` gets so that a part Φ(z) of its products is below zero.
    ///
    /// The row meets `x = n + β`, where `β` is `ln2.bias` and `n` the shifted norm: with the weight `w` and the mix `m` of
    /// a channel, `n = w·((1 − m)·this token + m·the last one)`. Of the tokens' norms the mean square is 1, and two
    /// neighbours have little in common, so that a channel of `n` has the variance `V = w²·((1 − m)² + m²)`. A plain
    /// row, of variance 1/C, makes of it products of mean 0 and variance `A = Σ(V + β²)/C`. The lean `−s·d` with
    /// `d = b/(b·β)` moves all of them by `−s` and adds the variance `s²·Σ d²V`. So `s = z·σ`, `σ² = A + s²·D`.
    fn lean(&self, layer: usize, z: f64) -> Vec<f32> {
        let n = self.config.n_channels;
        let [w, beta] = ["ln2.weight", "ln2.bias"].map(|name| self.vector(name, layer));
        let m = self.ffn_mix(layer);
        let b: Vec<f64> = (0..n).map(|i| self.bias(layer, i)).collect();
        let b_beta: f64 = b.iter().zip(&beta).map(|(b, &beta)| b * f64::from(beta)).sum();
        let (mut plain, mut leaning) = (0.0, 0.0);
        for i in 0..n {
            let [w, beta, m] = [w[i], beta[i], m[i]].map(f64::from);
            let variance = w * w * ((1.0 - m).powi(2) + m * m);
            plain += (variance + beta * beta) / n as f64;
            leaning += (b[i] / b_beta).powi(2) * variance;
        }
        // From 64 channels on far from 0: leaning is about 4/C.
        let shift = z * (plain / (1.0 - z * z * leaning).max(0.1)).sqrt();
        b.iter().map(|b| (-shift * b / b_beta) as f32).collect()
    }
}
