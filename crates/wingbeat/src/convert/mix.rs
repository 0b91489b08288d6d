//! Which tensor gets which type.

use wingbeat_format::DType;
use wingbeat_model::Weight;

/// The types of a model's matrices, as llama.cpp's quantizer mixes them: the head, where errors become the wrong token,
/// has its own.
///
/// Vectors are F32, low-rank matrices keep 16 bits or more in every mix. A matrix whose rows are no whole blocks of its
/// type gets the type that llama.cpp takes instead, one with smaller blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mix {
    name: &'static str,
    matrices: DType,
    head: DType,
    /// llama.cpp's number for files of this mix (`enum llama_ftype`).
    file_type: u32,
}

impl Mix {
    /// Everything in F32.
    pub const F32: Mix = Mix::plain("f32", DType::F32, 0);
    /// Matrices in F16.
    pub const F16: Mix = Mix::plain("f16", DType::F16, 1);
    /// Matrices in BF16.
    pub const BF16: Mix = Mix::plain("bf16", DType::BF16, 32);
    /// Matrices in Q8_0, the head too.
    pub const Q8_0: Mix = Mix::plain("q8_0", DType::Q8_0, 7);
    /// Matrices in Q6_K, the head too.
    pub const Q6_K: Mix = Mix::quantized("q6_k", DType::Q6K, 18);
    /// Matrices in Q5_K, the head in Q6_K.
    pub const Q5_K_M: Mix = Mix::quantized("q5_k_m", DType::Q5K, 17);
    /// Matrices in Q4_K, the head in Q6_K.
    pub const Q4_K_M: Mix = Mix::quantized("q4_k_m", DType::Q4K, 15);

    /// Every mix, by its name.
    pub const NAMED: [Mix; 13] = [
        Mix::F32,
        Mix::F16,
        Mix::BF16,
        Mix::Q8_0,
        Mix::Q6_K,
        Mix::Q5_K_M,
        Mix::Q4_K_M,
        Mix::quantized("q3_k_m", DType::Q3K, 12),
        Mix::quantized("q2_k", DType::Q2K, 10),
        Mix::quantized("q5_1", DType::Q5_1, 9),
        Mix::quantized("q5_0", DType::Q5_0, 8),
        Mix::quantized("q4_1", DType::Q4_1, 3),
        Mix::quantized("q4_0", DType::Q4_0, 2),
    ];

    const fn plain(name: &'static str, dtype: DType, file_type: u32) -> Mix {
        Mix { name, matrices: dtype, head: dtype, file_type }
    }

    const fn quantized(name: &'static str, matrices: DType, file_type: u32) -> Mix {
        Mix { name, matrices, head: DType::Q6K, file_type }
    }

    /// The mix of that name, in upper or lower case; `q4_k` is `q4_k_m`, and so on.
    pub fn parse(name: &str) -> Option<Mix> {
        let of = |name: &str| Mix::NAMED.into_iter().find(|mix| mix.name.eq_ignore_ascii_case(name));
        of(name).or_else(|| of(&format!("{name}_m")))
    }

    /// Its name: `f16`, `q8_0`, `q4_k_m` …
    pub fn name(self) -> &'static str {
        self.name
    }

    /// The type of most matrices.
    pub fn matrices(self) -> DType {
        self.matrices
    }

    /// Whether most matrices are of a type that has scales for parts of a block.
    pub(super) fn is_of_k_types(self) -> bool {
        matches!(self.matrices, DType::Q2K | DType::Q3K | DType::Q4K | DType::Q5K | DType::Q6K)
    }

    /// The type of a weight that is a matrix, where its rows allow it.
    pub(super) fn of(self, weight: &Weight) -> DType {
        if weight.row.name == "head.weight" { self.head } else { self.matrices }
    }

    /// llama.cpp's number for files of this mix.
    pub(super) fn file_type(self) -> u32 {
        self.file_type
    }

    /// llama.cpp's number for files whose matrices are in one type.
    pub(super) fn file_type_of(matrices: DType) -> Option<u32> {
        Mix::NAMED.iter().find(|mix| mix.matrices == matrices).map(|mix| mix.file_type)
    }
}

/// `dtype`, or what llama.cpp takes in its place for rows of `cols` values that are no whole blocks of it.
pub(super) fn fitting(dtype: DType, cols: usize) -> DType {
    if dtype.row_bytes(cols).is_some() {
        return dtype;
    }
    let smaller = match dtype {
        // llama.cpp takes IQ4_NL, another type of four bits, for the first two in later versions.
        DType::Q2K | DType::Q3K => DType::Q4_0,
        DType::Q4K => DType::Q5_0,
        DType::Q5K => DType::Q5_1,
        DType::Q6K => DType::Q8_0,
        _ => DType::F16,
    };
    if smaller.row_bytes(cols).is_some() { smaller } else { DType::F16 }
}
