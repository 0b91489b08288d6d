//! Six-bit scales and minima, packed in the way that Q4_K and Q5_K share (ggml's `get_scale_min_k4`).

/// Scale and minimum, each 0 … 63, of group `i` (0 … 7).
///
/// The first four groups have theirs in the low six bits of bytes 0–3 and 4–7; the others' low four bits are
/// in bytes 8–11 and their high two bits on top of the first eight bytes.
///
/// # Panics
/// If `i` is not below 8.
pub(super) fn scale_min(scales: &[u8; 12], i: usize) -> (u8, u8) {
    let s = scales;
    if i < 4 {
        return (s[i] & 63, s[i + 4] & 63);
    }
    (s[i + 4] & 15 | (s[i - 4] >> 6) << 4, s[i + 4] >> 4 | (s[i] >> 6) << 4)
}

/// The packing of [`scale_min`]: `of` says scale and minimum of each group.
pub(super) fn pack(of: impl Fn(usize) -> (u8, u8)) -> [u8; 12] {
    let mut scales = [0; 12];
    for i in 0..4 {
        let ((scale, min), (later_scale, later_min)) = (of(i), of(i + 4));
        scales[i] = scale | (later_scale >> 4) << 6;
        scales[i + 4] = min | (later_min >> 4) << 6;
        scales[i + 8] = later_scale & 15 | later_min << 4;
    }
    scales
}
