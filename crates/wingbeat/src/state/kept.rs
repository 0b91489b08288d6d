//! A state's values as its device keeps them: for the cache, which hands them back to the same kind of device and need not
//! put them in the layout's order.

use super::{State, le_bytes};
use crate::Error;
use wingbeat_backend::SlabView;
use xxhash_rust::xxh3::xxh3_64;

impl State {
    /// A digest of what the values are and how they are ordered.
    pub(crate) fn kept_form(&self) -> u64 {
        let engine = &self.model.inner.engine;
        let mut form = String::new();
        for (index, spec) in self.slabs().iter().enumerate() {
            let row_major = || SlabView::row_major(&[], &spec.shape);
            let view = engine.view_slab(&self.any, index).unwrap_or_else(row_major);
            form += &format!("{} {:?} {:?}\n", spec.name, spec.shape, view.strides);
        }
        xxh3_64(form.as_bytes())
    }

    /// Gives all values away, as bytes, little-endian.
    pub(crate) fn give_kept<E: From<Error>>(
        &self,
        mut take: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let engine = &self.model.inner.engine;
        if !self.is_in_host_memory() {
            return engine.read_state(&self.any)?.iter().try_for_each(|values| take(&le_bytes(values)));
        }
        for slab in 0..self.slabs().len() {
            let view = engine.view_slab(&self.any, slab).expect("the state is in the host's memory");
            take(&le_bytes(view.values))?;
        }
        Ok(())
    }

    /// Takes all values, as they were given away. After an error they are unspecified.
    pub(crate) fn take_kept<E: From<Error>>(
        &mut self,
        mut fill: impl FnMut(&mut [u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let model = self.model.clone();
        let (engine, mut slabs) = (&model.inner.engine, Vec::new());
        for (index, spec) in model.state_layout().slabs.iter().enumerate() {
            match engine.view_slab_mut(&mut self.any, index) {
                Some(values) => fill_values(values, &mut fill)?,
                None => {
                    let mut values = vec![0.0; spec.len()];
                    fill_values(&mut values, &mut fill)?;
                    slabs.push(values);
                }
            }
        }
        if !slabs.is_empty() {
            let slabs: Vec<&[f32]> = slabs.iter().map(|values| &values[..]).collect();
            engine.write_state(&mut self.any, &slabs)?;
        }
        Ok(())
    }

    /// Whether its values can be seen where they lie.
    pub(crate) fn is_in_host_memory(&self) -> bool {
        self.model.inner.engine.view_slab(&self.any, 0).is_some()
    }
}

fn fill_values<E>(values: &mut [f32], fill: &mut impl FnMut(&mut [u8]) -> Result<(), E>) -> Result<(), E> {
    fill(bytemuck::cast_slice_mut(values))?;
    if cfg!(target_endian = "big") {
        values.iter_mut().for_each(|value| *value = f32::from_bits(value.to_bits().swap_bytes()));
    }
    Ok(())
}
