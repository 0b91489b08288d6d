//! RWKV-7's forward pass (RWKV-LM, rwkv_v7_numpy.py), from tokens to the residual stream after the last layer.

use super::{ATT_SHIFT, FFN_SHIFT, WKV, state_layout};
use crate::{Catalog, Config, ModelError, Network, loader::Loader};
use arrayvec::ArrayVec;
use wingbeat_backend::{
    Activation, Backend, GroupNorm, LayerNorm, Linear, LowRankMixV7, Pass, ShiftLinear, SlabAt, StateLayout,
};

/// An RWKV-7 model on a device.
pub struct Rwkv7<B: Backend> {
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
    ln2: LayerNorm<B>,
    /// x_r x_w x_k x_v x_a x_g
    mix: [B::Vector; 6],
    receptance: B::Matrix,
    key: B::Matrix,
    value: B::Matrix,
    output: B::Matrix,
    w: LowRank<B>,
    a: LowRank<B>,
    /// How far this layer's value moves to the first layer's; the first layer has none.
    v: Option<LowRank<B>>,
    g1: B::Matrix,
    g2: B::Matrix,
    k_k: B::Vector,
    k_a: B::Vector,
    r_k: B::Vector,
    ln_x: GroupNorm<B>,
    ffn_x_k: B::Vector,
    ffn_key: B::Matrix,
    ffn_value: B::Matrix,
}

/// `bias + up · act(down · x)`.
struct LowRank<B: Backend> {
    /// `(R, C)`
    down: B::Matrix,
    /// `(C, R)`
    up: B::Matrix,
    /// `(C)`
    bias: B::Vector,
}

impl<B: Backend> LowRank<B> {
    fn load(from: &Loader<'_, B>, letter: char) -> Result<Self, ModelError> {
        Ok(LowRank {
            down: from.matrix(&format!("att.{letter}1"))?,
            up: from.matrix(&format!("att.{letter}2"))?,
            bias: from.vector(&format!("att.{letter}0"))?,
        })
    }
}

impl<B: Backend> Layer<B> {
    fn load(from: &Loader<'_, B>, config: &Config) -> Result<Self, ModelError> {
        let vector = |name| from.vector(name);
        Ok(Layer {
            ln1: from.norm("ln1", config.layer_norm_eps)?,
            ln2: from.norm("ln2", config.layer_norm_eps)?,
            mix: [
                vector("att.x_r")?,
                vector("att.x_w")?,
                vector("att.x_k")?,
                vector("att.x_v")?,
                vector("att.x_a")?,
                vector("att.x_g")?,
            ],
            receptance: from.matrix("att.receptance.weight")?,
            key: from.matrix("att.key.weight")?,
            value: from.matrix("att.value.weight")?,
            output: from.matrix("att.output.weight")?,
            w: LowRank::load(from, 'w')?,
            a: LowRank::load(from, 'a')?,
            v: if from.layer == Some(0) { None } else { Some(LowRank::load(from, 'v')?) },
            g1: from.matrix("att.g1")?,
            g2: from.matrix("att.g2")?,
            k_k: vector("att.k_k")?,
            k_a: vector("att.k_a")?,
            r_k: vector("att.r_k")?,
            ln_x: from.group_norm(config.group_norm_eps)?,
            ffn_x_k: vector("ffn.x_k")?,
            ffn_key: from.matrix("ffn.key.weight")?,
            ffn_value: from.matrix("ffn.value.weight")?,
        })
    }
}

impl<B: Backend> Rwkv7<B> {
    /// Hands the weights of a catalog to a device, in layer order.
    ///
    /// # Errors
    /// A tensor is missing, or the device refuses it.
    pub fn load(catalog: &Catalog, backend: &B) -> Result<Rwkv7<B>, ModelError> {
        let config = catalog.config().clone();
        let global = Loader::begin(backend, catalog)?;
        let emb = global.matrix("emb.weight")?;
        let ln0 = global.at(0).norm("ln0", config.layer_norm_eps)?;
        let layers = (0..config.n_layers)
            .map(|l| Layer::load(&global.at(l), &config))
            .collect::<Result<Vec<_>, _>>()?;
        let ln_out = global.norm("ln_out", config.layer_norm_eps)?;
        let head = global.matrix("head.weight")?;
        Ok(Rwkv7 { layout: state_layout(&config), config, emb, ln0, layers, ln_out, head })
    }
}

impl<B: Backend> Network<B> for Rwkv7<B> {
    fn config(&self) -> &Config {
        &self.config
    }

    fn state_layout(&self) -> &StateLayout {
        &self.layout
    }

    fn scratch_widths(&self) -> Vec<usize> {
        let c = self.config.n_channels;
        let rank = |letter| self.config.low_rank(letter).max(1);
        let mut widths = vec![c; 18];
        widths.extend(['w', 'a', 'v', 'g'].map(rank));
        widths.push(self.config.n_ffn);
        widths
    }

    fn layers(&self, n_layers: usize, pass: &mut B::Pass<'_>, scratch: &mut [B::Buffer]) {
        let [
            x,
            normed,
            xr,
            xw,
            xk,
            xv,
            xa,
            xg,
            r,
            k,
            v,
            w,
            a,
            g,
            v_gate,
            v_first,
            kk,
            y,
            w_low,
            a_low,
            v_low,
            g_low,
            ffn,
        ] = scratch
        else {
            panic!("scratch has the buffers that scratch_widths lists");
        };
        let head_size = self.config.head_size;
        pass.embed(&self.emb, normed);
        pass.layer_norm(normed, &self.ln0, x);
        for (index, layer) in self.layers.iter().enumerate().take(n_layers) {
            let at = |slab| SlabAt { slab, layer: index };
            // Time mix.
            let mix = layer.mix.each_ref();
            let mut down = ArrayVec::<_, 7>::new();
            let mut add = |weight, mix, y, activation| down.push(ShiftLinear { weight, mix, y, activation });
            add(&layer.receptance, 0, r, Activation::None);
            add(&layer.w.down, 1, w_low, Activation::Tanh);
            add(&layer.key, 2, k, Activation::None);
            add(&layer.value, 3, v, Activation::None);
            if let Some(low) = &layer.v {
                add(&low.down, 3, v_low, Activation::None);
            }
            add(&layer.a.down, 4, a_low, Activation::None);
            add(&layer.g1, 5, g_low, Activation::Sigmoid);
            pass.shift_linear(
                x,
                &layer.ln1,
                normed,
                at(ATT_SHIFT),
                &mix,
                &mut [&mut *xr, &mut *xw, &mut *xk, &mut *xv, &mut *xa, &mut *xg],
                &mut down,
            );
            drop(down);
            pass.low_rank_mix_v7(LowRankMixV7 {
                w: Linear::new(&layer.w.up, w_low, w, Activation::BiasDecay(&layer.w.bias)),
                a: Linear::new(&layer.a.up, a_low, a, Activation::BiasSigmoid(&layer.a.bias)),
                g: Linear::new(&layer.g2, g_low, g, Activation::None),
                v_gate: layer
                    .v
                    .as_ref()
                    .map(|v| Linear::new(&v.up, v_low, v_gate, Activation::BiasSigmoid(&v.bias))),
                r,
                k,
                v,
                v_first,
                kk,
                y,
                k_k: &layer.k_k,
                k_a: &layer.k_a,
                r_k: &layer.r_k,
                ln_x: &layer.ln_x,
                state: at(WKV),
                head_size,
            });
            pass.linear(&mut [Linear::new(&layer.output, y, x, Activation::Add)]);
            // Channel mix.
            let key =
                ShiftLinear { weight: &layer.ffn_key, mix: 0, y: ffn, activation: Activation::ReluSquared };
            let (mixes, ys) = ([&layer.ffn_x_k], &mut [&mut *xk]);
            pass.shift_linear(x, &layer.ln2, normed, at(FFN_SHIFT), &mixes, ys, &mut [key]);
            let value = Linear::new(&layer.ffn_value, ffn, x, Activation::Add);
            pass.linear(&mut [Linear { sparse_x: true, ..value }]);
        }
    }

    fn ln_out(&self) -> &LayerNorm<B> {
        &self.ln_out
    }

    fn head(&self) -> &B::Matrix {
        &self.head
    }
}
