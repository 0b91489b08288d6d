//! What values go through between two layouts: a function for a few vectors, a power of two for some matrices.

use super::{Job, Part, Sink, refused};
use crate::Error;
use wingbeat_format::{Bytes, DType};
use wingbeat_model::{Stored, Weight};

/// What happens to a weight's values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    None,
    /// A vector goes through a function of rwkv.cpp's.
    Stored(Stored),
    /// A matrix is doubled so many times, which is exact in every type.
    Doubled(u32),
}

impl Part<'_> {
    /// Hands the part's bytes to `sink`, in type `dtype`.
    pub(super) fn encode(&self, job: &Job<'_>, dtype: DType, sink: Sink<'_>) -> Result<(), Error> {
        let Part { weight, orientation, change } = self;
        match *change {
            Change::None => job.content.encode(weight, *orientation, dtype, sink),
            Change::Stored(stored) => {
                let values = weight.vector().into_iter().flat_map(|value| stored.store(value).to_le_bytes());
                let data = Bytes::from_vec(values.collect());
                let weight = Weight { dtype: DType::F32, data, ..(*weight).clone() };
                job.content.encode(&weight, *orientation, dtype, sink)
            }
            Change::Doubled(n) => {
                let mut doubled = Vec::new();
                job.content.encode(weight, *orientation, dtype, &mut |bytes| {
                    // A whole matrix may come at once, straight from the map.
                    for bytes in bytes.chunks(CHUNK_BLOCKS * dtype.block_bytes()) {
                        doubled.clear();
                        doubled.extend_from_slice(bytes);
                        double(dtype, &mut doubled, n).ok_or_else(|| {
                            let what =
                                format!("tensor `{}` times 2^{n} does not fit {}", weight.name, dtype.name());
                            refused(job.target, what)
                        })?;
                        sink(&doubled)?;
                    }
                    Ok(())
                })
            }
        }
    }
}

/// Blocks changed at a time.
const CHUNK_BLOCKS: usize = 1 << 14;

/// Doubles whole blocks `n` times: floats themselves, integers by their blocks' scales. None where one overflows.
fn double(dtype: DType, bytes: &mut [u8], n: u32) -> Option<()> {
    let factor = (n as f32).exp2();
    let (float, places): (DType, &[usize]) = match dtype.scale_offsets() {
        [] => (dtype, &[0]),
        scales => (DType::F16, scales),
    };
    let width = float.block_bytes();
    let mut encoded = Vec::with_capacity(width);
    for block in bytes.chunks_exact_mut(dtype.block_bytes()) {
        for &place in places {
            let bytes = block.get_mut(place..place + width)?;
            let mut value = [0.0];
            float.decode_row(bytes, &mut value);
            let was_finite = value[0].is_finite();
            value[0] *= factor;
            encoded.clear();
            float.encode_row(&value, &mut encoded).ok()?;
            float.decode_row(&encoded, &mut value);
            if was_finite && !value[0].is_finite() {
                return None;
            }
            bytes.copy_from_slice(&encoded);
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_doubles_exactly() {
        let values: Vec<f32> = (0..512).map(|i| ((i * 37 % 101) as f32 - 50.0) / 16.0).collect();
        for dtype in DType::all().filter(|dtype| dtype.has_encoder()) {
            let mut bytes = Vec::new();
            dtype.encode_row(&values, &mut bytes).unwrap();
            let (mut before, mut after) = (vec![0.0; 512], vec![0.0; 512]);
            dtype.decode_row(&bytes, &mut before);
            double(dtype, &mut bytes, 3).unwrap();
            dtype.decode_row(&bytes, &mut after);
            assert!(before.iter().zip(&after).all(|(b, a)| b * 8.0 == *a), "{dtype:?}");
        }
        let mut bytes = Vec::new();
        DType::F16.encode_row(&[60000.0], &mut bytes).unwrap();
        assert_eq!(double(DType::F16, &mut bytes, 1), None);
    }
}
