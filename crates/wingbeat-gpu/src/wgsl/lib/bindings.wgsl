// What every kernel may see. Activations of a pass lie in one buffer, weight vectors in another; offsets are in floats
// (multiples of 64: kernels with ACTS4 or VECTORS4 see fours).
// Weights come as words of four bytes and, the same buffer again, as four words at once.
@group(0) @binding(0) var<uniform> p: Params;
//!if ACTS4
@group(0) @binding(1) var<storage, read_write> acts: array<vec4<f32>>;
//!else
@group(0) @binding(1) var<storage, read_write> acts: array<f32>;
//!end
//!if IS_HALF
@group(0) @binding(2) var<storage, read> weights_half: array<vec4<f16>>;
//!else
@group(0) @binding(2) var<storage, read> weights4: array<vec4<u32>>;
//!end
@group(0) @binding(3) var<storage, read> weights1: array<u32>;
//!if VECTORS4
@group(0) @binding(4) var<storage, read> vectors: array<vec4<f32>>;
//!else
@group(0) @binding(4) var<storage, read> vectors: array<f32>;
//!end
// The states of one layer: a slot a sequence, a slab after the other in it; each begins at whole sixteen bytes.
//!if STATES4
@group(0) @binding(5) var<storage, read_write> states: array<vec4<f32>>;
//!else
@group(0) @binding(5) var<storage, read_write> states: array<f32>;
//!end
// The row map of the pass: tokens, rows, sequences.
@group(0) @binding(6) var<storage, read> map: array<u32>;
//!if SEES_HALVES
// The activations again, seen as halves.
@group(0) @binding(7) var<storage, read_write> halves4: array<vec4<f16>>;
//!else
//!if EXPANDS
// Weights as halves.
@group(0) @binding(7) var<storage, read_write> expanded: array<vec4<u32>>;
//!else
//!if X_DIRECT
// The activations again, seen in fours.
@group(0) @binding(7) var<storage, read_write> acts4: array<vec4<f32>>;
//!else
// What sampling keeps on the device.
@group(0) @binding(7) var<storage, read_write> sampling: array<u32>;
//!end
//!end
//!end
