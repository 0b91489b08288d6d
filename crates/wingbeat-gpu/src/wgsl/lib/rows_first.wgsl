// Inside kernels of few rows: asks for the first eights that a thread has of its ROWS rows of weights, AHEAD of them; `eights`
// follow from eight `first8` of a row on.
//!for u AHEAD
    let first_@u = first8 + min(lane + @uu * LANES, eights - 1u);
//!for r ROWS
    var next_@r_@u = fetch8(kind, planes, cols, row_@r, first_@u);
//!end
//!end
