//! The kernels, one table of them for each instruction set.
//!
//! A kernel is a generic, always inlined function over [`Simd`](crate::simd::Simd) or
//! [`Blocks`](crate::simd::Blocks); `define_table` wraps each in a function that has an instruction set switched on,
//! and collects the wrappers. The wrappers are unsafe for one reason: the processor must have the instructions.
//! [`Kernels::of`] hands out a table only where it has.

mod activate;
mod elementwise;
mod exp;
mod float;
mod int8;
mod multiply_rate;
mod recurrences;
mod sparse;
mod tiles;
mod time_mix;

#[cfg(test)]
mod tests;

pub(crate) use crate::simd::prefetch;
pub(crate) use activate::Epilogue;
use float::{Bf16, F16, F32};
pub(crate) use float::{Columns, MatMany};
pub(crate) use int8::{QuantRows, SCALE_VALUES, k_scales};
pub(crate) use multiply_rate::{MultiplyRate, ROWS as MULTIPLY_ROWS};
pub(crate) use recurrences::{DecayRows, Readout6Rows, Sums, Wkv4Rows, Wkv6Rows};
pub(crate) use sparse::SparseProduct;
pub(crate) use tiles::{
    PackedRows, PackedView, Panel, PanelSource, TILE_BLOCK, Tiles, n_tiles, panels, tile_rows,
};
pub(crate) use time_mix::{HeadPart, KeysRows, ReadoutRows, WkvRows};

use crate::{level::Level, matrix::Form};
use std::ops::Range;

/// A product of some rows of a row-major matrix with one vector.
pub(crate) struct MatVec<'a> {
    /// The whole matrix.
    pub(crate) weights: &'a [u8],
    /// Bytes from row to row.
    pub(crate) row_bytes: usize,
    /// Rows to compute.
    pub(crate) rows: Range<usize>,
    /// The vector `(cols)`.
    pub(crate) x: &'a [f32],
    /// The same as int8 blocks, for the types that want it.
    pub(crate) q: Option<(&'a QuantRows, usize)>,
    /// `(rows.len())`.
    pub(crate) out: &'a mut [f32],
}

/// The list of all kernels: name, arguments, generic function. `S` is the instruction set.
macro_rules! kernel_list {
    ($with:ident! { $($head:tt)* }) => {
        $with! {
            $($head)*
            matvec_f32(a: &mut MatVec<'_>) = float::matvec::<S, F32>;
            matvec_f16(a: &mut MatVec<'_>) = float::matvec::<S, F16>;
            matvec_bf16(a: &mut MatVec<'_>) = float::matvec::<S, Bf16>;
            matmany_f32(a: &MatMany<'_>) = float::matmany::<S, F32>;
            matmany_f16(a: &MatMany<'_>) = float::matmany::<S, F16>;
            matmany_bf16(a: &MatMany<'_>) = float::matmany::<S, Bf16>;
            matvec_q8_0(a: &mut MatVec<'_>) = int8::matvec_q8_0::<S>;
            matvec_q4_0(a: &mut MatVec<'_>) = int8::matvec_q4_0::<S>;
            matvec_q4_1(a: &mut MatVec<'_>) = int8::matvec_q4_1::<S>;
            matvec_q5_0(a: &mut MatVec<'_>) = int8::matvec_q5_0::<S>;
            matvec_q5_1(a: &mut MatVec<'_>) = int8::matvec_q5_1::<S>;
            matvec_q2_k(a: &mut MatVec<'_>) = int8::matvec_q2_k::<S>;
            matvec_q3_k(a: &mut MatVec<'_>) = int8::matvec_q3_k::<S>;
            matvec_q5_k(a: &mut MatVec<'_>) = int8::matvec_q5_k::<S>;
            matvec_q4_k(a: &mut MatVec<'_>) = int8::matvec_q4_k::<S>;
            matvec_q6_k(a: &mut MatVec<'_>) = int8::matvec_q6_k::<S>;
            quantize(x: &[f32], q: &mut QuantRows, row: usize) = int8::quantize::<S>;
            columns_f32(a: &mut Columns<'_>) = float::columns::<S, F32>;
            columns_f16(a: &mut Columns<'_>) = float::columns::<S, F16>;
            columns_bf16(a: &mut Columns<'_>) = float::columns::<S, Bf16>;
            widen_f32(row: &[u8], out: &mut [f32]) = float::widen::<S, F32>;
            widen_f16(row: &[u8], out: &mut [f32]) = float::widen::<S, F16>;
            widen_bf16(row: &[u8], out: &mut [f32]) = float::widen::<S, Bf16>;
            sparse(a: &SparseProduct<'_>) = sparse::sparse::<S>;
            pack_int8(x: &[f32], out: &PackedView<'_>, rows: Range<usize>) = tiles::pack_int8::<S>;
            pack_int16(x: &[f32], out: &PackedView<'_>, rows: Range<usize>) = tiles::pack_int16::<S>;
            panel_of_int8(source: &PanelSource<'_>, panel: &mut Panel) = tiles::panel_of_int8::<S>;
            panel_of_int16(source: &PanelSource<'_>, panel: &mut Panel) = tiles::panel_of_int16::<S>;
            pack_f32(x: &[f32], out: &PackedView<'_>, rows: Range<usize>) = tiles::pack_f32::<S>;
            panel_of_f32(source: &PanelSource<'_>, panel: &mut Panel) = tiles::panel_of_f32::<S>;
            f32_panel(a: &Tiles<'_>) = tiles::f32_panel::<S>;
            int8_panel(a: &Tiles<'_>) = tiles::int8_panel::<S>;
            int16_panel(a: &Tiles<'_>) = tiles::int16_panel::<S>;
            multiply_rate(a: &mut MultiplyRate) = multiply_rate::multiply_rate::<S>;
            activate(z: &mut [f32], epilogue: Epilogue<'_>) = activate::activate::<S>;
            add(y: &mut [f32], z: &[f32]) = elementwise::add::<S>;
            layer_norm(x: &[f32], weight: &[f32], bias: &[f32], eps: f32, y: &mut [f32])
                = elementwise::layer_norm::<S>;
            shift(x: &[f32], previous: &[f32], mix: &[f32], y: &mut [f32]) = elementwise::shift::<S>;
            lerp(x: &[f32], previous: &[f32], mix: &[f32], y: &mut [f32]) = elementwise::lerp::<S>;
            add_gated(x: &mut [f32], gate: &[f32], y: &[f32]) = elementwise::add_gated::<S>;
            wkv4(a: &Wkv4Rows<'_>, part: &HeadPart, sums: Sums<'_>) = recurrences::wkv4::<S>;
            wkv6(a: &Wkv6Rows<'_>, part: &HeadPart, state: &mut [f32]) = recurrences::wkv6::<S>;
            v6_readout(a: &Readout6Rows<'_>, part: &HeadPart) = recurrences::v6_readout::<S>;
            v7_keys(a: &KeysRows<'_>, part: &HeadPart) = time_mix::v7_keys::<S>;
            wkv7(a: &WkvRows<'_>, part: &HeadPart, state: &mut [f32]) = time_mix::wkv7::<S>;
            v7_readout(a: &ReadoutRows<'_>, part: &HeadPart) = time_mix::v7_readout::<S>;
        }
    };
}

/// The type of a table.
macro_rules! define_kernels {
    ($($name:ident($($arg:ident: $ty:ty),*) = $kernel:expr;)*) => {
        /// The kernels of one instruction set.
        pub(crate) struct Kernels {
            pub(crate) level: Level,
            /// Rows of weights in a panel of words.
            pub(crate) word_panel_rows: usize,
            /// Rows of activations in a tile at most.
            pub(crate) tile_rows: usize,
            /// Whether products of floats are faster in int16 words.
            pub(crate) int16: bool,
            $(pub(crate) $name: unsafe fn($($ty),*),)*
        }
    };
}

/// One instruction set's table: `$simd` implements both vector traits, `$attr` switches its instructions on.
macro_rules! define_table {
    (
        $module:ident, $level:expr, $simd:ty, [$attr:meta];
        $($name:ident($($arg:ident: $ty:ty),*) = $kernel:expr;)*
    ) => {
        mod $module {
            use super::*;
            type S = $simd;
            $(
                #[$attr]
                unsafe fn $name($($arg: $ty),*) {
                    // SAFETY: the caller promises the instructions; slices carry their lengths, which kernels check.
                    unsafe { $kernel($($arg),*) }
                }
            )*
            pub(super) static TABLE: Kernels = Kernels {
                level: $level,
                word_panel_rows: tiles::panel_rows::<S>(),
                tile_rows: <S as crate::simd::Words>::TILE_ROWS,
                int16: <S as crate::simd::Words>::INT16,
                $($name,)*
            };
        }
    };
}

kernel_list!(define_kernels! {});
kernel_list!(define_table! { scalar, Level::Scalar, crate::simd::scalar::Scalar, [inline(never)]; });
#[cfg(target_arch = "aarch64")]
kernel_list!(define_table! {
    neon, Level::Neon, crate::simd::neon::Neon, [target_feature(enable = "neon")];
});
#[cfg(target_arch = "aarch64")]
kernel_list!(define_table! {
    neon_dot, Level::NeonDot, crate::simd::neon::NeonDot, [target_feature(enable = "neon,dotprod")];
});
#[cfg(target_arch = "x86_64")]
kernel_list!(define_table! {
    avx2, Level::Avx2, crate::simd::avx2::Avx2, [target_feature(enable = "avx2,fma,f16c")];
});
#[cfg(target_arch = "x86_64")]
kernel_list!(define_table! {
    avx_vnni, Level::AvxVnni, crate::simd::avx2::AvxVnni, [target_feature(enable = "avx2,fma,f16c,avxvnni")];
});
#[cfg(target_arch = "x86_64")]
kernel_list!(define_table! {
    avx512, Level::Avx512, crate::simd::avx512::Avx512,
    [target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")];
});

impl Kernels {
    /// The kernel that packs a tile of activations.
    pub(crate) fn pack(&self, form: Form) -> unsafe fn(&[f32], &PackedView<'_>, Range<usize>) {
        match form {
            Form::Int8 => self.pack_int8,
            Form::Int16 => self.pack_int16,
            Form::F32 => self.pack_f32,
        }
    }

    /// The kernels of a level, if this processor has its instructions.
    pub(crate) fn of(level: Level) -> Option<&'static Kernels> {
        if !level.is_available() {
            return None;
        }
        match level {
            Level::Scalar => Some(&scalar::TABLE),
            #[cfg(target_arch = "aarch64")]
            Level::Neon => Some(&neon::TABLE),
            #[cfg(target_arch = "aarch64")]
            Level::NeonDot => Some(&neon_dot::TABLE),
            #[cfg(target_arch = "x86_64")]
            Level::Avx2 => Some(&avx2::TABLE),
            #[cfg(target_arch = "x86_64")]
            Level::AvxVnni => Some(&avx_vnni::TABLE),
            #[cfg(target_arch = "x86_64")]
            Level::Avx512 => Some(&avx512::TABLE),
            #[allow(unreachable_patterns)]
            _ => None,
        }
    }
}
