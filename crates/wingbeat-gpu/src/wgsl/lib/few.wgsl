// What kernels that walk along rows take at once: fours where rows are made of them, so that activations, vectors and
// states are seen in fours, else single values.

//!if ACTS4
alias Few = vec4<f32>;
const FEW = 4u;

fn total(v: Few) -> f32 {
    return dot(v, vec4<f32>(1.0));
}
//!else
alias Few = f32;
const FEW = 1u;

fn total(v: Few) -> f32 {
    return v;
}
//!end
