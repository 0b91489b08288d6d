//! What the machine permits: the time that a figure's run takes at least, by the bytes that it cannot do without and by the
//! multiplications of its matrix products. The rates come from the same run (`read_gb_s`, `multiply_tops`).

use super::report::{Report, Unit};
use wingbeat::{DType, Model};
use wingbeat_model::{Catalog, Kind};

/// What a run of a figure puts through the model in one call, or in one step of several sequences.
#[derive(Clone, Copy, Debug)]
pub(super) struct Demand {
    pub(super) tokens: usize,
    pub(super) sequences: usize,
    /// Tokens whose logits are wanted.
    pub(super) logits: usize,
}

/// What demands cost with a model.
#[derive(Debug)]
pub(super) struct Costs {
    /// Of all weights but the embedding and the head, as stored.
    pub(super) body_bytes: f64,
    pub(super) head_bytes: f64,
    /// A row of the embedding.
    pub(super) row_bytes: f64,
    /// A sequence's state.
    pub(super) state_bytes: f64,
    /// Of matrices, as above.
    pub(super) body_parameters: f64,
    pub(super) head_parameters: f64,
}

/// What the machine does in a second.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rates {
    pub(super) bytes: f64,
    /// A multiplication with an addition being two.
    pub(super) operations: f64,
}

impl Costs {
    fn of(model: &Model) -> anyhow::Result<Costs> {
        let mut costs = Costs {
            body_bytes: 0.0,
            head_bytes: 0.0,
            row_bytes: 0.0,
            state_bytes: 0.0,
            body_parameters: 0.0,
            head_parameters: 0.0,
        };
        for weight in Catalog::new(model.file(), model.config())?.weights() {
            let bytes = weight.data.len() as f64;
            let parameters = weight.shape.iter().map(|&n| n as f64).product::<f64>();
            match weight.row.name {
                "emb.weight" => {
                    costs.row_bytes = bytes / weight.shape.first().copied().unwrap_or(1).max(1) as f64;
                }
                "head.weight" => (costs.head_bytes, costs.head_parameters) = (bytes, parameters),
                _ => {
                    costs.body_bytes += bytes;
                    costs.body_parameters += if weight.is_matrix() { parameters } else { 0.0 };
                }
            }
        }
        let slabs = &model.state_layout().slabs;
        costs.state_bytes = slabs.iter().map(|slab| slab.len() * size_of::<f32>()).sum::<usize>() as f64;
        Ok(costs)
    }

    /// Weights once, the head only where it is wanted, a row of the embedding for each token, states read and written.
    pub(super) fn bytes(&self, demand: Demand) -> f64 {
        let head = if demand.logits > 0 { self.head_bytes } else { 0.0 };
        let states = 2.0 * self.state_bytes * demand.sequences as f64;
        self.body_bytes + head + self.row_bytes * demand.tokens as f64 + states
    }

    /// Of matrix products, as if no activation were zero.
    pub(super) fn operations(&self, demand: Demand) -> f64 {
        let body = self.body_parameters * demand.tokens as f64;
        2.0 * (body + self.head_parameters * demand.logits as f64)
    }

    /// Seconds that a demand takes at least: reading and multiplying may go on at the same time.
    pub(super) fn least_seconds(&self, demand: Demand, rates: Rates) -> f64 {
        (self.bytes(demand) / rates.bytes).max(self.operations(demand) / rates.operations)
    }
}

/// The type that most bytes of a model's large matrices are in.
pub(super) fn main_type(catalog: &Catalog) -> Option<DType> {
    let mut types: Vec<(DType, usize)> = Vec::new();
    for weight in catalog.weights().iter().filter(|weight| matches!(weight.row.kind, Kind::Matrix(..))) {
        match types.iter_mut().find(|(known, _)| *known == weight.dtype) {
            Some((_, bytes)) => *bytes += weight.data.len(),
            None => types.push((weight.dtype, weight.data.len())),
        }
    }
    types.into_iter().max_by_key(|(_, bytes)| *bytes).map(|(dtype, _)| dtype)
}

/// Holds what was measured against what the machine can do, as far as that was: `gen_mb_per_token`, `gen_gb_s`,
/// `gen_bandwidth_fraction`, and each figure's part of its bound.
pub(super) fn weigh(model: &Model, report: &mut Report) -> anyhow::Result<()> {
    let costs = Costs::of(model)?;
    let (read, multiply) = (report.value("read_gb_s"), report.value("multiply_tops"));
    if let Some(rate) = report.value("gen_tok_s") {
        let bytes = costs.bytes(Demand { tokens: 1, sequences: 1, logits: 1 });
        report.push_one("gen_mb_per_token", Unit::Megabytes, Some(bytes / 1e6));
        report.push_one("gen_gb_s", Unit::GigabytesPerSecond, Some(bytes * rate / 1e9));
        if let Some(read) = read {
            let fraction = Some(bytes * rate / 1e9 / read);
            report.push_one("gen_bandwidth_fraction", Unit::Fraction, fraction);
        }
    }
    if let (Some(read), Some(multiply)) = (read, multiply) {
        let rates = Rates { bytes: read * 1e9, operations: multiply * 1e12 };
        report.hold_against(&|demand| costs.least_seconds(demand, rates));
    }
    Ok(())
}
