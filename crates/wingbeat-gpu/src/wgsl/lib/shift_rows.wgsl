// Inside shift_linear: from the weights' first loads to the sums' last, for the layout `kind`.
    let first8 = 0u;
    let eights = TILE_8;
//!include rows_first
//!include shift
//!include rows_dot
//!include rows_store
