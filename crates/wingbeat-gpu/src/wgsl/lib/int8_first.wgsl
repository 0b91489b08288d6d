// Inside kernels of products in int8: asks for the first thirty-twos that a thread has of its ROWS rows of weights, AHEAD_32 of
// them; `units` follow from number `first` of a row on.
//!for u AHEAD_32
    let first_@u = first + min(lane + @uu * LANES, units - 1u);
//!for r ROWS
    next_@r_@u = fetch32(integer, planes, cols, row_@r, first_@u);
//!end
//!end
