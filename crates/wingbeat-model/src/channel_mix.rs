//! The channel mix of RWKV-4, RWKV-5 and RWKV-6: `x + σ(r) ∘ V relu(K k)²` of shifted inputs `k` and `r`.

use crate::{ModelError, loader::Loader};
use wingbeat_backend::{Activation, Backend, LayerNorm, Linear, Pass, ShiftLinear, SlabAt};

/// One layer's weights.
pub(crate) struct ChannelMix<B: Backend> {
    ln2: LayerNorm<B>,
    /// How far the inputs of key and receptance move to the previous token's.
    mix: [B::Vector; 2],
    /// `(F, C)`
    key: B::Matrix,
    /// `(C, C)`
    receptance: B::Matrix,
    /// `(C, F)`
    value: B::Matrix,
}

/// Buffers to work in.
pub(crate) struct ChannelMixBuffers<'a, B: Backend> {
    /// The residual stream `(T, C)`, moved on.
    pub(crate) x: &'a mut B::Buffer,
    pub(crate) normed: &'a mut B::Buffer,
    pub(crate) xk: &'a mut B::Buffer,
    pub(crate) xr: &'a mut B::Buffer,
    pub(crate) gate: &'a mut B::Buffer,
    pub(crate) out: &'a mut B::Buffer,
    /// `(T, F)`
    pub(crate) hidden: &'a mut B::Buffer,
}

impl<B: Backend> ChannelMix<B> {
    /// `mix`: the vectors `ffn.{mix}_k` and `ffn.{mix}_r`, and what makes of their values how far to move.
    pub(crate) fn load(
        from: &Loader<'_, B>,
        eps: f32,
        mix: &str,
        moved: fn(f32) -> f32,
    ) -> Result<Self, ModelError> {
        let vector = |letter| from.vector_of(&format!("ffn.{mix}_{letter}"), moved);
        Ok(ChannelMix {
            ln2: from.norm("ln2", eps)?,
            mix: [vector('k')?, vector('r')?],
            key: from.matrix("ffn.key.weight")?,
            receptance: from.matrix("ffn.receptance.weight")?,
            value: from.matrix("ffn.value.weight")?,
        })
    }

    pub(crate) fn run(&self, pass: &mut B::Pass<'_>, buffers: ChannelMixBuffers<'_, B>, state: SlabAt) {
        let ChannelMixBuffers { x, normed, xk, xr, gate, out, hidden } = buffers;
        let mut jobs = [
            ShiftLinear { weight: &self.key, mix: 0, y: &mut *hidden, activation: Activation::ReluSquared },
            ShiftLinear { weight: &self.receptance, mix: 1, y: &mut *gate, activation: Activation::Sigmoid },
        ];
        pass.shift_linear(x, &self.ln2, normed, state, &self.mix.each_ref(), &mut [xk, xr], &mut jobs);
        let value = Linear::new(&self.value, hidden, &mut *out, Activation::None);
        pass.linear(&mut [Linear { sparse_x: true, ..value }]);
        pass.add_gated(x, gate, out);
    }
}
