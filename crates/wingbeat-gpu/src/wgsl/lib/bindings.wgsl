// What every kernel may see. Activations of a pass lie in one buffer, weight vectors in another; offsets are in floats
// (multiples of 64: kernels with ACTS4 or VECTORS4 see fours).
// Weights come as words of four bytes and, the same buffer again, as four words at once.
@group(0) @binding(0) var<uniform> p: Params;
//!if ACTS4
@group(0) @binding(1) var<storage, read_write> acts: array<vec4<f32>>;
//!else
@group(0) @binding(1) var<storage, read_write> acts: array<f32>;
//!end
@group(0) @binding(2) var<storage, read> weights4: array<vec4<u32>>;
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
// What sampling keeps on the device.
@group(0) @binding(7) var<storage, read_write> sampling: array<u32>;
