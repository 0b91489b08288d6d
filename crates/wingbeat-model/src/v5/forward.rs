//! RWKV-5's forward pass (the PyPI package `rwkv`, its `att_seq_v5_2` and the older ones), from tokens to the residual
//! stream after the last layer.

use super::{ATT_SHIFT, FFN_SHIFT, WKV, state_layout};
use crate::{
    Catalog, Config, ModelError, Network,
    channel_mix::{ChannelMix, ChannelMixBuffers},
    loader::Loader,
    v4::moved,
};
use arrayvec::ArrayVec;
use wingbeat_backend::{
    Activation, Backend, Decay, GroupNorm, LayerNorm, Linear, Pass, ShiftLinear, SlabAt, StateLayout,
    TimeMixV6, Wkv6,
};

/// An RWKV-5 model on a device.
pub struct Rwkv5<B: Backend> {
    config: Config,
    layout: StateLayout,
    emb: B::Matrix,
    ln0: LayerNorm<B>,
    layers: Vec<Layer<B>>,
    ln_out: LayerNorm<B>,
    head: B::Matrix,
}

/// One layer's weights; names as in the official checkpoints.
struct Layer<B: Backend> {
    ln1: LayerNorm<B>,
    /// How far the inputs of receptance, key and value (and gate) move to the previous token's.
    mix: ArrayVec<B::Vector, 4>,
    receptance: B::Matrix,
    key: B::Matrix,
    value: B::Matrix,
    gate: Option<B::Matrix>,
    output: B::Matrix,
    /// `w`
    decay: B::Vector,
    /// `u`
    first: B::Vector,
    ln_x: GroupNorm<B>,
    ffn: ChannelMix<B>,
}

impl<B: Backend> Layer<B> {
    fn load(from: &Loader<'_, B>, config: &Config) -> Result<Self, ModelError> {
        let has = |name| from.catalog.get(name, from.layer).is_ok();
        let has_gate = has("att.gate.weight");
        let letters = ['r', 'k', 'v', 'g'].into_iter().take(if has_gate { 4 } else { 3 });
        let mix = letters.map(|letter| from.vector_of(&format!("att.time_mix_{letter}"), moved));
        // Of a value a head, each of its channels has a copy.
        let channels = |name, of: fn(f32) -> f32| -> Result<B::Vector, ModelError> {
            let values = from.catalog.get(name, from.layer)?.vector();
            let copies = config.n_channels / values.len().max(1);
            let values: Vec<f32> =
                values.into_iter().flat_map(|value| std::iter::repeat_n(of(value), copies)).collect();
            Ok(from.backend.vector(&values)?)
        };
        Ok(Layer {
            ln1: from.norm("ln1", config.layer_norm_eps)?,
            mix: mix.collect::<Result<_, _>>()?,
            receptance: from.matrix("att.receptance.weight")?,
            key: from.matrix("att.key.weight")?,
            value: from.matrix("att.value.weight")?,
            gate: if has_gate { Some(from.matrix("att.gate.weight")?) } else { None },
            output: from.matrix("att.output.weight")?,
            decay: channels("att.time_decay", |decay| (-f64::from(decay).exp()).exp() as f32)?,
            // Where neither is there, the one that is usual with so many decays is missing.
            first: match has("att.time_first")
                || !has("att.time_faaaa") && config.n_decays < config.n_channels
            {
                true => channels("att.time_first", f32::exp)?,
                false => channels("att.time_faaaa", |bonus| bonus)?,
            },
            ln_x: from.group_norm(config.group_norm_eps)?,
            ffn: ChannelMix::load(from, config.layer_norm_eps, "time_mix", moved)?,
        })
    }
}

impl<B: Backend> Rwkv5<B> {
    /// Hands the weights of a catalog to a device, in layer order.
    ///
    /// # Errors
    /// A tensor is missing, or the device refuses it.
    pub fn load(catalog: &Catalog, backend: &B) -> Result<Rwkv5<B>, ModelError> {
        let config = catalog.config().clone();
        let global = Loader::begin(backend, catalog)?;
        let emb = global.matrix("emb.weight")?;
        let ln0 = global.at(0).norm("ln0", config.layer_norm_eps)?;
        let layer = |l| Layer::load(&global.at(l), &config);
        let layers = (0..config.n_layers).map(layer).collect::<Result<Vec<_>, _>>()?;
        let ln_out = global.norm("ln_out", config.layer_norm_eps)?;
        let head = global.matrix("head.weight")?;
        Ok(Rwkv5 { layout: state_layout(&config), config, emb, ln0, layers, ln_out, head })
    }
}

impl<B: Backend> Network<B> for Rwkv5<B> {
    fn config(&self) -> &Config {
        &self.config
    }

    fn state_layout(&self) -> &StateLayout {
        &self.layout
    }

    fn scratch_widths(&self) -> Vec<usize> {
        let mut widths = vec![self.config.n_channels; 11];
        widths.push(self.config.n_ffn);
        widths
    }

    fn layers(&self, n_layers: usize, pass: &mut B::Pass<'_>, scratch: &mut [B::Buffer]) {
        let [x, normed, xr, xk, xv, xg, r, k, v, g, y, hidden] = scratch else {
            panic!("scratch has the buffers that scratch_widths lists");
        };
        pass.embed(&self.emb, normed);
        pass.layer_norm(normed, &self.ln0, x);
        for (index, layer) in self.layers.iter().enumerate().take(n_layers) {
            let at = |slab| SlabAt { slab, layer: index };
            // Time mix.
            let mut jobs = ArrayVec::<_, 4>::new();
            let mut add = |weight, mix, y, activation| jobs.push(ShiftLinear { weight, mix, y, activation });
            add(&layer.receptance, 0, &mut *r, Activation::None);
            add(&layer.key, 1, &mut *k, Activation::None);
            add(&layer.value, 2, &mut *v, Activation::None);
            if let Some(gate) = &layer.gate {
                add(gate, 3, &mut *g, Activation::Silu);
            }
            let mix: ArrayVec<&B::Vector, 4> = layer.mix.iter().collect();
            let ys = &mut [&mut *xr, &mut *xk, &mut *xv, &mut *xg][..mix.len()];
            pass.shift_linear(x, &layer.ln1, normed, at(ATT_SHIFT), &mix, ys, &mut jobs);
            drop(jobs);
            let (w, state, head_size) = (Decay::Channels(&layer.decay), at(WKV), self.config.head_size);
            let wkv = Wkv6 { r, w, k, v, y: &mut *y, u: &layer.first, state, head_size };
            let g = layer.gate.as_ref().map(|_| &*g);
            pass.time_mix_v6(TimeMixV6 { wkv, g, ln_x: &layer.ln_x });
            pass.linear(&mut [Linear::new(&layer.output, y, x, Activation::Add)]);
            let (x, normed, xk, xr) = (&mut *x, &mut *normed, &mut *xk, &mut *xr);
            let (gate, out, hidden) = (&mut *r, &mut *y, &mut *hidden);
            let buffers = ChannelMixBuffers { x, normed, xk, xr, gate, out, hidden };
            layer.ffn.run(pass, buffers, at(FFN_SHIFT));
        }
    }

    fn ln_out(&self) -> &LayerNorm<B> {
        &self.ln_out
    }

    fn head(&self) -> &B::Matrix {
        &self.head
    }
}
