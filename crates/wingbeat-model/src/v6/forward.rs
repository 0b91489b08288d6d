//! RWKV-6's forward pass (RWKV-LM, rwkv_v6_demo.py), from tokens to the residual stream after the last layer.

use super::{ATT_SHIFT, FFN_SHIFT, WKV, config::N_SHIFTS, state_layout};
use crate::{
    Catalog, Config, ModelError, Network,
    channel_mix::{ChannelMix, ChannelMixBuffers},
    loader::Loader,
};
use arrayvec::ArrayVec;
use wingbeat_backend::{
    Activation, Backend, Decay, GroupNorm, LayerNorm, Linear, MatrixSource, Pass, SlabAt, StateLayout,
    TimeMixV6, Wkv6,
};

/// An RWKV-6 model on a device.
pub struct Rwkv6<B: Backend> {
    config: Config,
    layout: StateLayout,
    emb: B::Matrix,
    ln0: LayerNorm<B>,
    layers: Vec<Layer<B>>,
    ln_out: LayerNorm<B>,
    head: B::Matrix,
}

/// One layer's weights; names as in the official checkpoints, `time_maa_x` being `x_maa`.
struct Layer<B: Backend> {
    ln1: LayerNorm<B>,
    x_maa: B::Vector,
    /// A mix of ones: the previous token's input itself.
    ones: B::Vector,
    /// The part of the mixes that does not depend on the data: w, k, v, r, g.
    maa: ArrayVec<B::Vector, N_SHIFTS>,
    /// The part that does: `up · tanh(down · x)`, with `(R, C)` and `(C, R)`.
    maa_down: ArrayVec<B::Matrix, N_SHIFTS>,
    maa_up: ArrayVec<B::Matrix, N_SHIFTS>,
    decay: B::Vector,
    decay_down: B::Matrix,
    decay_up: B::Matrix,
    first: B::Vector,
    receptance: B::Matrix,
    key: B::Matrix,
    value: B::Matrix,
    gate: B::Matrix,
    output: B::Matrix,
    ln_x: GroupNorm<B>,
    ffn: ChannelMix<B>,
}

impl<B: Backend> Layer<B> {
    fn load(from: &Loader<'_, B>, config: &Config, eps: f32) -> Result<Self, ModelError> {
        let vector = |name: &str| from.vector(name);
        let weight = |name| from.catalog.get(name, from.layer);
        let matrices = |sources: Vec<MatrixSource>| -> Result<ArrayVec<B::Matrix, N_SHIFTS>, ModelError> {
            Ok(sources.iter().map(|source| from.backend.matrix(source)).collect::<Result<_, _>>()?)
        };
        let maa = ['w', 'k', 'v', 'r', 'g'].map(|letter| vector(&format!("att.time_maa_{letter}")));
        Ok(Layer {
            ln1: from.norm("ln1", eps)?,
            x_maa: vector("att.time_maa_x")?,
            ones: from.backend.vector(&vec![1.0; config.n_channels])?,
            maa: maa.into_iter().collect::<Result<_, _>>()?,
            maa_down: matrices(weight("att.time_maa_w1")?.split_rows(N_SHIFTS)?)?,
            maa_up: matrices(weight("att.time_maa_w2")?.sources())?,
            decay: vector("att.time_decay")?,
            decay_down: from.matrix("att.time_decay_w1")?,
            decay_up: from.matrix("att.time_decay_w2")?,
            first: vector("att.time_faaaa")?,
            receptance: from.matrix("att.receptance.weight")?,
            key: from.matrix("att.key.weight")?,
            value: from.matrix("att.value.weight")?,
            gate: from.matrix("att.gate.weight")?,
            output: from.matrix("att.output.weight")?,
            ln_x: from.group_norm(config.group_norm_eps)?,
            ffn: ChannelMix::load(from, eps, "time_maa", |moved| moved)?,
        })
    }
}

impl<B: Backend> Rwkv6<B> {
    /// Hands the weights of a catalog to a device, in layer order.
    ///
    /// # Errors
    /// A tensor is missing, or the device refuses it.
    pub fn load(catalog: &Catalog, backend: &B) -> Result<Rwkv6<B>, ModelError> {
        let config = catalog.config().clone();
        let global = Loader::begin(backend, catalog)?;
        let emb = global.matrix("emb.weight")?;
        let ln0 = global.at(0).norm("ln0", config.layer_norm_eps)?;
        let layer = |l| {
            // The norm of a stream that was halved n times is the stream's own with an epsilon divided by 4ⁿ.
            let eps = config.layer_norm_eps * 0.25f32.powi(halvings(&config, l));
            Layer::load(&global.at(l), &config, eps)
        };
        let layers = (0..config.n_layers).map(layer).collect::<Result<Vec<_>, _>>()?;
        let ln_out = global.norm("ln_out", config.layer_norm_eps)?;
        let head = global.matrix("head.weight")?;
        Ok(Rwkv6 { layout: state_layout(&config), config, emb, ln0, layers, ln_out, head })
    }
}

/// How often the residual stream was halved before a layer.
fn halvings(config: &Config, layer: usize) -> i32 {
    layer.checked_div(config.rescaled_every).unwrap_or(0) as i32
}

impl<B: Backend> Network<B> for Rwkv6<B> {
    fn config(&self) -> &Config {
        &self.config
    }

    fn state_layout(&self) -> &StateLayout {
        &self.layout
    }

    fn scratch_widths(&self) -> Vec<usize> {
        let rank = |letter| self.config.low_rank(letter).max(1);
        let mut widths = vec![self.config.n_channels; 15];
        widths.extend([rank('m'); N_SHIFTS]);
        widths.push(rank('d'));
        widths.push(self.config.n_ffn);
        widths
    }

    fn layers(&self, n_layers: usize, pass: &mut B::Pass<'_>, scratch: &mut [B::Buffer]) {
        let [x, normed, shifted, previous, xw, xk, xv, xr, xg, w, k, v, r, g, y, low @ .., w_low, hidden] =
            scratch
        else {
            panic!("scratch has the buffers that scratch_widths lists");
        };
        pass.embed(&self.emb, normed);
        pass.layer_norm(normed, &self.ln0, x);
        for (index, layer) in self.layers.iter().enumerate().take(n_layers) {
            let at = |slab| SlabAt { slab, layer: index };
            if index > 0 && halvings(&self.config, index) > halvings(&self.config, index - 1) {
                pass.scale(x, 0.5);
            }
            // Time mix: how far each input is shifted depends on one shifted by a constant.
            let mixes = [&layer.x_maa, &layer.ones];
            let ys = &mut [&mut *shifted, &mut *previous];
            pass.norm_shift(x, &layer.ln1, normed, at(ATT_SHIFT), &mixes, ys);
            let down = layer.maa_down.iter().zip(low.iter_mut());
            let mut down: ArrayVec<_, N_SHIFTS> =
                down.map(|(weight, y)| Linear::new(weight, &*shifted, y, Activation::Tanh)).collect();
            pass.linear(&mut down);
            drop(down);
            {
                let mut ys = [&mut *xw, &mut *xk, &mut *xv, &mut *xr, &mut *xg];
                let up = layer.maa_up.iter().zip(low.iter()).zip(ys.iter_mut());
                let mut up: ArrayVec<_, N_SHIFTS> =
                    up.map(|((weight, x), y)| Linear::new(weight, x, &mut **y, Activation::None)).collect();
                pass.linear(&mut up);
                drop(up);
                let maa: ArrayVec<&B::Vector, N_SHIFTS> = layer.maa.iter().collect();
                pass.lerp(normed, previous, &maa, &mut ys);
            }
            pass.linear(&mut [
                Linear::new(&layer.decay_down, xw, &mut *w_low, Activation::Tanh),
                Linear::new(&layer.key, xk, &mut *k, Activation::None),
                Linear::new(&layer.value, xv, &mut *v, Activation::None),
                Linear::new(&layer.receptance, xr, &mut *r, Activation::None),
                Linear::new(&layer.gate, xg, &mut *g, Activation::Silu),
            ]);
            let decay = Activation::BiasExpDecay(&layer.decay);
            pass.linear(&mut [Linear::new(&layer.decay_up, w_low, &mut *w, decay)]);
            let (state, head_size) = (at(WKV), self.config.head_size);
            let w = Decay::Tokens(w);
            let wkv = Wkv6 { r, w, k, v, y: &mut *y, u: &layer.first, state, head_size };
            pass.time_mix_v6(TimeMixV6 { wkv, g: Some(g), ln_x: &layer.ln_x });
            pass.linear(&mut [Linear::new(&layer.output, y, x, Activation::Add)]);
            let (x, normed, xk, xr) = (&mut *x, &mut *normed, &mut *xk, &mut *xr);
            let (gate, out, hidden) = (&mut *r, &mut *y, &mut *hidden);
            let buffers = ChannelMixBuffers { x, normed, xk, xr, gate, out, hidden };
            layer.ffn.run(pass, buffers, at(FFN_SHIFT));
        }
        // As it would be without: who reads vectors of layers, and the last norm, need not know.
        let halved =
            n_layers.min(self.layers.len()).checked_sub(1).map_or(0, |last| halvings(&self.config, last));
        if halved > 0 {
            pass.scale(x, 2f32.powi(halved));
        }
    }

    fn ln_out(&self) -> &LayerNorm<B> {
        &self.ln_out
    }

    fn head(&self) -> &B::Matrix {
        &self.head
    }
}
