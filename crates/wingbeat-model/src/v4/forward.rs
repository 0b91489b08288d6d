//! RWKV-4's forward pass (RWKV-LM, RWKV_in_150_lines.py), from tokens to the residual stream after the last layer.

use super::{AA, ATT_SHIFT, BB, FFN_SHIFT, PP, state_layout};
use crate::{
    Catalog, Config, ModelError, Network,
    channel_mix::{ChannelMix, ChannelMixBuffers},
    loader::Loader,
};
use wingbeat_backend::{
    Activation, Backend, LayerNorm, Linear, Pass, ShiftLinear, SlabAt, StateLayout, Wkv4,
};

/// An RWKV-4 model on a device.
pub struct Rwkv4<B: Backend> {
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
    /// How far the inputs of receptance, key and value move to the previous token's.
    mix: [B::Vector; 3],
    receptance: B::Matrix,
    key: B::Matrix,
    value: B::Matrix,
    output: B::Matrix,
    /// `ln w`
    decay: B::Vector,
    /// `u`
    first: B::Vector,
    ffn: ChannelMix<B>,
}

/// The official vectors tell how much of the token itself stays.
pub(crate) fn moved(stays: f32) -> f32 {
    1.0 - stays
}

impl<B: Backend> Layer<B> {
    fn load(from: &Loader<'_, B>, config: &Config) -> Result<Self, ModelError> {
        let mix = |letter| from.vector_of(&format!("att.time_mix_{letter}"), moved);
        Ok(Layer {
            ln1: from.norm("ln1", config.layer_norm_eps)?,
            mix: [mix('r')?, mix('k')?, mix('v')?],
            receptance: from.matrix("att.receptance.weight")?,
            key: from.matrix("att.key.weight")?,
            value: from.matrix("att.value.weight")?,
            output: from.matrix("att.output.weight")?,
            decay: from.vector_of("att.time_decay", |decay| -decay.exp())?,
            first: from.vector("att.time_first")?,
            ffn: ChannelMix::load(from, config.layer_norm_eps, "time_mix", moved)?,
        })
    }
}

impl<B: Backend> Rwkv4<B> {
    /// Hands the weights of a catalog to a device, in layer order.
    ///
    /// # Errors
    /// A tensor is missing, or the device refuses it.
    pub fn load(catalog: &Catalog, backend: &B) -> Result<Rwkv4<B>, ModelError> {
        let config = catalog.config().clone();
        let global = Loader::begin(backend, catalog)?;
        let emb = global.matrix("emb.weight")?;
        let ln0 = global.at(0).norm("ln0", config.layer_norm_eps)?;
        let layer = |l| Layer::load(&global.at(l), &config);
        let layers = (0..config.n_layers).map(layer).collect::<Result<Vec<_>, _>>()?;
        let ln_out = global.norm("ln_out", config.layer_norm_eps)?;
        let head = global.matrix("head.weight")?;
        Ok(Rwkv4 { layout: state_layout(&config), config, emb, ln0, layers, ln_out, head })
    }
}

impl<B: Backend> Network<B> for Rwkv4<B> {
    fn config(&self) -> &Config {
        &self.config
    }

    fn state_layout(&self) -> &StateLayout {
        &self.layout
    }

    fn scratch_widths(&self) -> Vec<usize> {
        let mut widths = vec![self.config.n_channels; 9];
        widths.push(self.config.n_ffn);
        widths
    }

    fn layers(&self, n_layers: usize, pass: &mut B::Pass<'_>, scratch: &mut [B::Buffer]) {
        let [x, normed, xr, xk, xv, r, k, v, y, hidden] = scratch else {
            panic!("scratch has the buffers that scratch_widths lists");
        };
        pass.embed(&self.emb, normed);
        pass.layer_norm(normed, &self.ln0, x);
        for (index, layer) in self.layers.iter().enumerate().take(n_layers) {
            let at = |slab| SlabAt { slab, layer: index };
            // Time mix.
            let mut jobs = [
                ShiftLinear {
                    weight: &layer.receptance,
                    mix: 0,
                    y: &mut *r,
                    activation: Activation::Sigmoid,
                },
                ShiftLinear { weight: &layer.key, mix: 1, y: &mut *k, activation: Activation::None },
                ShiftLinear { weight: &layer.value, mix: 2, y: &mut *v, activation: Activation::None },
            ];
            let mix = layer.mix.each_ref();
            let ys = &mut [&mut *xr, &mut *xk, &mut *xv];
            pass.shift_linear(x, &layer.ln1, normed, at(ATT_SHIFT), &mix, ys, &mut jobs);
            pass.wkv4(Wkv4 {
                r: &*r,
                k: &*k,
                v: &*v,
                y: &mut *y,
                decay: &layer.decay,
                first: &layer.first,
                aa: at(AA),
                bb: at(BB),
                pp: at(PP),
            });
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
