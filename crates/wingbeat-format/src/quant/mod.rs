//! Storage types: how a row of values is laid out in a file, and its plain decoding and encoding.
//!
//! One table has a row for each type; a type's layout and arithmetic live in its own folder. To add one: a
//! folder, a [`DType`] variant, a row. The code here is scalar and the definition of each type; fast
//! arithmetic on stored blocks is the backends', which find the block structs here. Blocks are made of bytes
//! and have alignment 1, so that any place in a mapped file can be viewed as blocks.

mod affine;
mod k_scales;
mod lanes;
mod plain;
mod q2k;
mod q3k;
mod q4_0;
mod q4_1;
mod q4k;
mod q5_0;
mod q5_1;
mod q5k;
mod q6k;
mod q8_0;
mod signed;
#[cfg(test)]
mod tests;

pub use q2k::BlockQ2K;
pub use q3k::BlockQ3K;
pub use q4_0::BlockQ4_0;
pub use q4_1::BlockQ4_1;
pub use q4k::BlockQ4K;
pub use q5_0::BlockQ5_0;
pub use q5_1::BlockQ5_1;
pub use q5k::BlockQ5K;
pub use q6k::BlockQ6K;
pub use q8_0::BlockQ8_0;

use plain::{
    decode_bf16, decode_f16, decode_f32, decode_f64, decode_i32, decode_i64, encode_bf16, encode_f16,
    encode_f32,
};

use crate::error::FormatError;

/// How the values of a tensor are stored.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum DType {
    /// IEEE single precision.
    F32,
    /// IEEE half precision.
    F16,
    /// The upper half of an `F32`.
    BF16,
    /// Blocks of 32 eight-bit integers and an `F16` scale.
    Q8_0,
    /// Blocks of 32 four-bit integers and an `F16` scale.
    Q4_0,
    /// Blocks of 32 four-bit integers, an `F16` scale and an `F16` minimum.
    Q4_1,
    /// Blocks of 32 five-bit integers and an `F16` scale.
    Q5_0,
    /// Blocks of 32 five-bit integers, an `F16` scale and an `F16` minimum.
    Q5_1,
    /// Blocks of 256 two-bit integers; four-bit scales and minima for each 16.
    Q2K,
    /// Blocks of 256 three-bit integers; six-bit scales for each 16.
    Q3K,
    /// Blocks of 256 four-bit integers; six-bit scales and minima for each 32.
    Q4K,
    /// Blocks of 256 five-bit integers; six-bit scales and minima for each 32.
    Q5K,
    /// Blocks of 256 six-bit integers; eight-bit scales for each 16.
    Q6K,
    /// 32-bit integers, for reading files of results.
    I32,
    /// 64-bit integers, for reading files of results.
    I64,
    /// IEEE double precision, for reading files of results.
    F64,
}

/// What there is to know of a type.
struct Row {
    dtype: DType,
    name: &'static str,
    /// Values in a block.
    block_len: usize,
    block_bytes: usize,
    /// Number in GGUF files (ggml's `enum ggml_type`).
    ggml_id: Option<u32>,
    safetensors_name: Option<&'static str>,
    /// Where in a block its `F16` scales and minima lie.
    scale_offsets: &'static [usize],
    /// Called with whole blocks and as many values as they hold.
    decode: fn(&[u8], &mut [f32]),
    encode: Option<Encode>,
    /// Where errors can be moved from one value to another.
    encode_weighted: Option<EncodeWeighted>,
}

/// Appends the blocks of a row to a vector. Called with a row of whole blocks; on an error the caller removes
/// what has been appended.
type Encode = fn(&[f32], &mut Vec<u8>) -> Result<(), FormatError>;

/// The same with what the squared error of each value counts.
type EncodeWeighted = fn(&[f32], &[f32], &mut Vec<u8>) -> Result<(), FormatError>;

/// In the order of the enum.
#[rustfmt::skip]
static TABLE: [Row; 16] = [
    plain::<4>(DType::F32,  "F32",  0,  decode_f32).encoded_by(encode_f32),
    plain::<2>(DType::F16,  "F16",  1,  decode_f16).encoded_by(encode_f16),
    plain::<2>(DType::BF16, "BF16", 30, decode_bf16).encoded_by(encode_bf16),
    blocks_of::<BlockQ8_0, 32>(DType::Q8_0, "Q8_0", 8).encoded_by(q8_0::encode),
    blocks_of::<BlockQ4_0, 32>(DType::Q4_0, "Q4_0", 2).encoded_by(encode_blocks::<BlockQ4_0, 32>).searched_by(q4_0::encode_weighted),
    blocks_of::<BlockQ4_1, 32>(DType::Q4_1, "Q4_1", 3).encoded_by(encode_blocks::<BlockQ4_1, 32>).searched_by(q4_1::encode_weighted),
    blocks_of::<BlockQ5_0, 32>(DType::Q5_0, "Q5_0", 6).encoded_by(encode_blocks::<BlockQ5_0, 32>).searched_by(q5_0::encode_weighted),
    blocks_of::<BlockQ5_1, 32>(DType::Q5_1, "Q5_1", 7).encoded_by(encode_blocks::<BlockQ5_1, 32>).searched_by(q5_1::encode_weighted),
    blocks_of::<BlockQ2K, 256>(DType::Q2K,  "Q2_K", 10).encoded_by(encode_blocks::<BlockQ2K, 256>).searched_by(encode_searched::<BlockQ2K, 256>),
    blocks_of::<BlockQ3K, 256>(DType::Q3K,  "Q3_K", 11).encoded_by(encode_blocks::<BlockQ3K, 256>).searched_by(encode_searched::<BlockQ3K, 256>),
    blocks_of::<BlockQ4K, 256>(DType::Q4K,  "Q4_K", 12).encoded_by(encode_blocks::<BlockQ4K, 256>).searched_by(encode_searched::<BlockQ4K, 256>),
    blocks_of::<BlockQ5K, 256>(DType::Q5K,  "Q5_K", 13).encoded_by(encode_blocks::<BlockQ5K, 256>).searched_by(encode_searched::<BlockQ5K, 256>),
    blocks_of::<BlockQ6K, 256>(DType::Q6K,  "Q6_K", 14).encoded_by(encode_blocks::<BlockQ6K, 256>).searched_by(encode_searched::<BlockQ6K, 256>),
    plain::<4>(DType::I32,  "I32",  26, decode_i32),
    plain::<8>(DType::I64,  "I64",  27, decode_i64),
    plain::<8>(DType::F64,  "F64",  28, decode_f64),
];

/// A type of `BYTES`-byte values that is called the same in both formats.
const fn plain<const BYTES: usize>(
    dtype: DType,
    name: &'static str,
    ggml_id: u32,
    decode: fn(&[u8], &mut [f32]),
) -> Row {
    let safetensors_name = Some(name);
    Row {
        dtype,
        name,
        block_len: 1,
        block_bytes: BYTES,
        ggml_id: Some(ggml_id),
        safetensors_name,
        scale_offsets: &[],
        decode,
        encode: None,
        encode_weighted: None,
    }
}

/// A type of blocks `B` of `N` values, which safetensors has not.
const fn blocks_of<B: Block<N>, const N: usize>(dtype: DType, name: &'static str, ggml_id: u32) -> Row {
    Row {
        dtype,
        name,
        block_len: N,
        block_bytes: size_of::<B>(),
        ggml_id: Some(ggml_id),
        safetensors_name: None,
        scale_offsets: B::SCALE_OFFSETS,
        decode: decode_blocks::<B, N>,
        encode: None,
        encode_weighted: None,
    }
}

impl Row {
    const fn encoded_by(self, encode: Encode) -> Row {
        Row { encode: Some(encode), ..self }
    }

    const fn searched_by(self, encode_weighted: EncodeWeighted) -> Row {
        Row { encode_weighted: Some(encode_weighted), ..self }
    }
}

const _: () = {
    let mut i = 0;
    while i < TABLE.len() {
        assert!(TABLE[i].dtype as usize == i, "the table is in the order of the enum");
        i += 1;
    }
};

impl DType {
    /// Every type, in the order of the enum.
    pub fn all() -> impl Iterator<Item = DType> {
        TABLE.iter().map(|row| row.dtype)
    }

    fn row(self) -> &'static Row {
        &TABLE[self as usize]
    }

    /// The name people know it by: `F32`, `Q8_0`, `Q4_K` …
    pub fn name(self) -> &'static str {
        self.row().name
    }

    /// The type of that name, in upper or lower case.
    pub fn parse(name: &str) -> Option<DType> {
        TABLE.iter().find(|row| row.name.eq_ignore_ascii_case(name)).map(|row| row.dtype)
    }

    /// Values in a block: 1 for the plain types.
    pub fn block_len(self) -> usize {
        self.row().block_len
    }

    /// Bytes of a block.
    pub fn block_bytes(self) -> usize {
        self.row().block_bytes
    }

    /// Where in a block its `F16` scales and minima lie, as byte offsets; none for the plain types.
    ///
    /// All other bytes of a block may have any value: with finite numbers at these places, random bytes are a
    /// good block.
    pub fn scale_offsets(self) -> &'static [usize] {
        self.row().scale_offsets
    }

    /// Bytes of a row of `cols` values; `None` if those are no whole blocks, or on overflow.
    pub fn row_bytes(self, cols: usize) -> Option<usize> {
        let row = self.row();
        if !cols.is_multiple_of(row.block_len) {
            return None;
        }
        (cols / row.block_len).checked_mul(row.block_bytes)
    }

    /// Decodes one row (or any run of whole blocks) into f32, at any alignment. I32, I64 and F64 are rounded
    /// to the nearest f32; all other types are exact in their own arithmetic.
    ///
    /// # Panics
    /// If `bytes` is not as long as [`row_bytes`](DType::row_bytes) of `out`'s length.
    pub fn decode_row(self, bytes: &[u8], out: &mut [f32]) {
        assert_eq!(
            Some(bytes.len()),
            self.row_bytes(out.len()),
            "{}: bytes of a row of {}",
            self.name(),
            out.len()
        );
        (self.row().decode)(bytes, out);
    }

    /// Appends a row's encoding to `out`, which is left as it was on an error. F16 and BF16 round to nearest
    /// even and overflow to infinity; quantized types refuse values that they cannot scale.
    pub fn encode_row(self, x: &[f32], out: &mut Vec<u8>) -> Result<(), FormatError> {
        let encode = self.row().encode.ok_or(FormatError::NoEncoder { dtype: self })?;
        let n_bytes =
            self.row_bytes(x.len()).ok_or(FormatError::RowLength { dtype: self, found: x.len() })?;
        let start = out.len();
        out.reserve(n_bytes);
        encode(x, out).inspect_err(|_| out.truncate(start))
    }

    /// As [`encode_row`](DType::encode_row), where the squared error of value `i` counts `importance[i]` times: such as the
    /// mean square of what its column is multiplied with. Scales of quantized types are searched for that make the sum
    /// small, also in the types of 32 values, which else have llama.cpp's bytes; Q8_0 and the plain types are the same
    /// either way.
    ///
    /// `importance` has numbers that are finite and not below 0; only their ratios within a block count.
    ///
    /// # Panics
    /// If `importance` is not as long as `x`.
    pub fn encode_row_weighted(
        self,
        x: &[f32],
        importance: &[f32],
        out: &mut Vec<u8>,
    ) -> Result<(), FormatError> {
        assert_eq!(x.len(), importance.len(), "{}: importance of a row", self.name());
        let Some(encode) = self.row().encode_weighted else { return self.encode_row(x, out) };
        let n_bytes =
            self.row_bytes(x.len()).ok_or(FormatError::RowLength { dtype: self, found: x.len() })?;
        let start = out.len();
        out.reserve(n_bytes);
        encode(x, importance, out).inspect_err(|_| out.truncate(start))
    }

    /// Whether [`encode_row`](DType::encode_row) knows the type.
    pub fn has_encoder(self) -> bool {
        self.row().encode.is_some()
    }

    /// The type's number in GGUF files.
    pub fn ggml_id(self) -> Option<u32> {
        self.row().ggml_id
    }

    /// The type of that number in GGUF files.
    pub fn from_ggml_id(id: u32) -> Option<DType> {
        TABLE.iter().find(|row| row.ggml_id == Some(id)).map(|row| row.dtype)
    }

    /// The type's name in safetensors files, which have no quantized types.
    pub fn safetensors_name(self) -> Option<&'static str> {
        self.row().safetensors_name
    }

    /// The type of that name in safetensors files.
    pub fn from_safetensors_name(name: &str) -> Option<DType> {
        TABLE.iter().find(|row| row.safetensors_name == Some(name)).map(|row| row.dtype)
    }

    /// Whether values share a scale in blocks.
    pub fn is_quantized(self) -> bool {
        self.row().block_len > 1
    }
}

/// A block of `N` values that share scales.
trait Block<const N: usize>: bytemuck::Pod {
    /// Where the `F16` scales and minima lie.
    const SCALE_OFFSETS: &'static [usize];

    fn decode(&self, out: &mut [f32; N]);
}

/// A block that can be made of values.
trait EncodeBlock<const N: usize>: Block<N> {
    const DTYPE: DType;

    /// On an error, the index of the value that no block has a place for: no finite number, or the largest one where
    /// its scale is no finite `F16`.
    fn encode(x: &[f32; N]) -> Result<Self, usize>;
}

/// A block whose scales are searched for.
trait SearchedBlock<const N: usize>: Block<N> {
    const DTYPE: DType;

    /// As [`EncodeBlock::encode`], with what the squared error of each value counts.
    fn search(x: &[f32; N], importance: Option<&[f32; N]>) -> Result<Self, usize>;
}

impl<B: SearchedBlock<N>, const N: usize> EncodeBlock<N> for B {
    const DTYPE: DType = B::DTYPE;

    fn encode(x: &[f32; N]) -> Result<B, usize> {
        B::search(x, None)
    }
}

/// Views bytes as the blocks that lie there, at any alignment; `None` if they are no whole number of them.
///
/// `B` is one of the block structs of this module.
pub fn blocks<B: bytemuck::AnyBitPattern>(bytes: &[u8]) -> Option<&[B]> {
    bytemuck::try_cast_slice(bytes).ok()
}

fn decode_blocks<B: Block<N>, const N: usize>(bytes: &[u8], out: &mut [f32]) {
    let blocks: &[B] = blocks(bytes).expect("decode_row has checked the length; blocks have alignment 1");
    for (block, out) in blocks.iter().zip(out.as_chunks_mut::<N>().0) {
        block.decode(out);
    }
}

fn encode_blocks<B: EncodeBlock<N>, const N: usize>(x: &[f32], out: &mut Vec<u8>) -> Result<(), FormatError> {
    for (i, block) in x.as_chunks::<N>().0.iter().enumerate() {
        let block = B::encode(block).map_err(|j| refused(B::DTYPE, x, i * N + j))?;
        out.extend_from_slice(bytemuck::bytes_of(&block));
    }
    Ok(())
}

fn encode_searched<B: SearchedBlock<N>, const N: usize>(
    x: &[f32],
    importance: &[f32],
    out: &mut Vec<u8>,
) -> Result<(), FormatError> {
    let blocks = x.as_chunks::<N>().0.iter().zip(importance.as_chunks::<N>().0);
    for (i, (block, importance)) in blocks.enumerate() {
        let block = B::search(block, Some(importance))
            .map_err(|j| refused(<B as SearchedBlock<N>>::DTYPE, x, i * N + j))?;
        out.extend_from_slice(bytemuck::bytes_of(&block));
    }
    Ok(())
}

/// Encodes blocks of 32 eight at a time: `fit` finds scales and integers of up to eight, `block` makes the bytes of one of
/// them. On an error `fit` says which block it was, and which of its values.
fn encode_alone<F, B: bytemuck::NoUninit>(
    dtype: DType,
    x: &[f32],
    importance: &[f32],
    out: &mut Vec<u8>,
    fit: impl Fn(&[[f32; 32]], &[[f32; 32]]) -> Result<F, (usize, usize)>,
    block: impl Fn(&F, usize) -> B,
) -> Result<(), FormatError> {
    let (blocks, importance) = (x.as_chunks::<32>().0, importance.as_chunks::<32>().0);
    let eights = blocks.chunks(lanes::N_LANES).zip(importance.chunks(lanes::N_LANES));
    for (i, (blocks, importance)) in eights.enumerate() {
        let fitted =
            fit(blocks, importance).map_err(|(b, j)| refused(dtype, x, (i * lanes::N_LANES + b) * 32 + j))?;
        for b in 0..blocks.len() {
            out.extend_from_slice(bytemuck::bytes_of(&block(&fitted, b)));
        }
    }
    Ok(())
}

fn refused(dtype: DType, x: &[f32], index: usize) -> FormatError {
    FormatError::NotRepresentable { dtype, index, found: x[index] }
}

/// The f32 value of a half-precision number as blocks store it.
fn f16_le(bytes: [u8; 2]) -> f32 {
    half::f16::from_le_bytes(bytes).to_f32()
}
