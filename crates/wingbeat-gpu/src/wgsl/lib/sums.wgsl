// What lib/moments.wgsl sums through.

//!if SUBGROUP
// Of each row, for each subgroup: mean, squares of what values differ from it by, and how many they are.
const GROUPS = THREADS / LANES;
var<workgroup> parts: array<vec4<f32>, NORMS * GROUPS>;
//!else
//!include reduce
//!end
