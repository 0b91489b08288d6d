//! Products of many rows of activations: a panel of weight rows, widened to f32 once, meets all rows of `x`.

use crate::{buffer::SharedRows, simd::Simd};

/// Weight rows in a panel.
pub(crate) const PANEL_ROWS: usize = 4;

/// `y[t, first_row + i] (+)= Σ panel[i] x[t]` for the panel's rows and `t` in `0..n_tokens`.
pub(crate) struct Panel<'a> {
    /// `(n_rows, cols)`, f32.
    pub(crate) weights: &'a [f32],
    /// At most [`PANEL_ROWS`].
    pub(crate) n_rows: usize,
    /// `(n_tokens, cols)`.
    pub(crate) x: &'a [f32],
    pub(crate) cols: usize,
    pub(crate) n_tokens: usize,
    pub(crate) first_row: usize,
    pub(crate) y: SharedRows<'a>,
    /// Whether the product is added to `y`.
    pub(crate) add: bool,
}

/// The whole panel, in tiles of four weight rows and as many activation rows as the registers hold.
///
/// # Safety
/// The instructions of `S` are there, and no other thread touches columns `first_row..first_row + n_rows` of `y`.
#[inline(always)]
pub(super) unsafe fn product<S: Simd>(args: &Panel<'_>) {
    assert!(args.weights.len() >= args.n_rows * args.cols && args.x.len() >= args.n_tokens * args.cols);
    assert!(args.n_rows <= PANEL_ROWS);
    let mut t = 0;
    // SAFETY: lengths checked above; `t` plus the tile stays below `n_tokens`.
    unsafe {
        if args.n_rows == PANEL_ROWS {
            while S::TILE == 4 && t + 4 <= args.n_tokens {
                tile::<S, 4, 4>(args, 0, t);
                t += 4;
            }
            while t + 2 <= args.n_tokens {
                tile::<S, 4, 2>(args, 0, t);
                t += 2;
            }
            while t < args.n_tokens {
                tile::<S, 4, 1>(args, 0, t);
                t += 1;
            }
        } else {
            for row in 0..args.n_rows {
                t = 0;
                while t + 4 <= args.n_tokens {
                    tile::<S, 1, 4>(args, row, t);
                    t += 4;
                }
                while t < args.n_tokens {
                    tile::<S, 1, 1>(args, row, t);
                    t += 1;
                }
            }
        }
    }
}

/// `R` weight rows by `T` activation rows, sums in registers.
///
/// # Safety
/// As [`product`]; rows `row..row + R` and `t..t + T` are there.
#[inline(always)]
unsafe fn tile<S: Simd, const R: usize, const T: usize>(args: &Panel<'_>, row: usize, t: usize) {
    let cols = args.cols;
    let whole = cols - cols % S::LANES;
    // SAFETY: the caller's promise, and `i` stays below `cols`.
    unsafe {
        let w = args.weights.as_ptr().add(row * cols);
        let x = args.x.as_ptr().add(t * cols);
        let mut sums = [[S::splat(0.0); T]; R];
        let mut i = 0;
        while i < whole {
            let mut xs = [S::splat(0.0); T];
            for (j, v) in xs.iter_mut().enumerate() {
                *v = S::load(x.add(j * cols + i));
            }
            for (r, sums) in sums.iter_mut().enumerate() {
                let w = S::load(w.add(r * cols + i));
                for (sum, x) in sums.iter_mut().zip(xs) {
                    *sum = S::fma(w, x, *sum);
                }
            }
            i += S::LANES;
        }
        for j in 0..T {
            let out = args.y.part(t + j, args.first_row + row..args.first_row + row + R);
            for (r, out) in out.iter_mut().enumerate() {
                let mut sum = S::sum(sums[r][j]);
                for i in whole..cols {
                    sum += *w.add(r * cols + i) * *x.add(j * cols + i);
                }
                *out = if args.add { *out + sum } else { sum };
            }
        }
    }
}
