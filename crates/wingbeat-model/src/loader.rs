//! Hands weights from the catalog to a device, by table name.

use crate::{Catalog, ModelError};
use wingbeat_backend::{Backend, GroupNorm, LayerNorm};

/// The weights of one layer, or of the model outside the layers.
pub(crate) struct Loader<'a, B: Backend> {
    pub(crate) backend: &'a B,
    pub(crate) catalog: &'a Catalog,
    pub(crate) layer: Option<usize>,
}

impl<'a, B: Backend> Loader<'a, B> {
    /// The weights outside the layers; the device hears of all matrices first.
    pub(crate) fn begin(backend: &'a B, catalog: &'a Catalog) -> Result<Loader<'a, B>, ModelError> {
        let matrices = catalog.weights().iter().filter(|weight| weight.is_matrix());
        backend.reserve(&mut matrices.flat_map(|weight| weight.sources()))?;
        Ok(Loader { backend, catalog, layer: None })
    }

    pub(crate) fn at(&self, layer: usize) -> Loader<'a, B> {
        Loader { backend: self.backend, catalog: self.catalog, layer: Some(layer) }
    }

    pub(crate) fn matrix(&self, name: &str) -> Result<B::Matrix, ModelError> {
        Ok(self.backend.matrix(&self.catalog.get(name, self.layer)?.matrix())?)
    }

    pub(crate) fn vector(&self, name: &str) -> Result<B::Vector, ModelError> {
        self.vector_of(name, |value| value)
    }

    /// A vector of a function of the stored values.
    pub(crate) fn vector_of(&self, name: &str, of: impl Fn(f32) -> f32) -> Result<B::Vector, ModelError> {
        let values: Vec<f32> = self.catalog.get(name, self.layer)?.vector().into_iter().map(of).collect();
        Ok(self.backend.vector(&values)?)
    }

    pub(crate) fn norm(&self, name: &str, eps: f32) -> Result<LayerNorm<B>, ModelError> {
        let (weight, bias) = (self.vector(&format!("{name}.weight"))?, self.vector(&format!("{name}.bias"))?);
        Ok(LayerNorm { weight, bias, eps })
    }

    /// The norm after the recurrence.
    pub(crate) fn group_norm(&self, eps: f32) -> Result<GroupNorm<B>, ModelError> {
        let (weight, bias) = (self.vector("att.ln_x.weight")?, self.vector("att.ln_x.bias")?);
        Ok(GroupNorm { weight, bias, eps })
    }
}
