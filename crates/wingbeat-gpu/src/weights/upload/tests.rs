//! What is uploaded is what was packed, however much there is of it.

use crate::{HostMatrix, device::tests::open};
use wingbeat_backend::{
    Backend, MatrixSource, Orientation,
    conformance::{Random, random_matrix},
};
use wingbeat_format::{Bytes, DType};

/// Rows that differ, of which each is made in no time.
fn matrix(dtype: DType, rows: usize, cols: usize, orientation: Orientation) -> MatrixSource {
    let stored_rows = if orientation == Orientation::RowMajor { rows } else { cols };
    let row = random_matrix(&mut Random::new(3), dtype, 1, rows * cols / stored_rows, Orientation::RowMajor);
    let mut data = row.data.repeat(stored_rows);
    for (i, row) in data.chunks_exact_mut(row.data.len()).enumerate() {
        row[6..8].copy_from_slice(&(i as u16).to_le_bytes());
    }
    MatrixSource { rows, cols, orientation, data: Bytes::from_vec(data), ..row }
}

#[test]
fn more_than_may_be_under_way_arrives_whole() {
    let Some(backend) = open() else { return };
    let sources: Vec<MatrixSource> = [
        matrix(DType::F16, 5000, 4096, Orientation::RowMajor),
        matrix(DType::Q8_0, 2000, 4096, Orientation::RowMajor),
        MatrixSource { sparse_input: true, ..matrix(DType::Q5K, 1001, 8192, Orientation::RowMajor) },
        matrix(DType::F16, 513, 1001, Orientation::Transposed),
        matrix(DType::Q6K, 10001, 512, Orientation::RowMajor),
        matrix(DType::F16, 3001, 4096, Orientation::RowMajor),
    ]
    .into();
    let stored: u64 = sources.iter().map(|source| source.data.len() as u64).sum();
    assert!(stored > super::IN_FLIGHT_BYTES, "{stored} bytes are no test");
    let matrices: Vec<_> = sources.iter().map(|source| backend.matrix(source).expect("a matrix")).collect();
    backend.loaded().expect("uploads");
    for (source, matrix) in sources.iter().zip(&matrices) {
        let mut host = HostMatrix::new(source, matrix.by_input).expect("sound").expect("a type of weights");
        let planes = host.pack();
        for part in &matrix.parts {
            for (plane, at) in planes.iter().zip(part.planes).filter(|(plane, _)| !plane.is_empty()) {
                let unit = plane.len() / if matrix.by_input { 1 } else { matrix.rows };
                let n_units = if matrix.by_input { 1 } else { part.rows };
                let expected = &plane[unit * part.first_row..][..unit * n_units];
                let range = (&part.arena.buffer, u64::from(at) * 4, expected.len() as u64);
                let mut is_equal = false;
                let read = backend.shared.device.read(&[range], &mut |_, found| is_equal = found == expected);
                read.expect("what was written can be read");
                assert!(is_equal, "{}: rows from {}", source.name, part.first_row);
            }
        }
    }
    let mut queue = backend.shared.uploads.shared.lock();
    let left: u64 = queue.submitted.drain(..).map(|(_, bytes)| bytes).sum();
    assert_eq!((queue.in_flight, queue.unsubmitted), (left, 0), "bytes that are lost to later uploads");
}
