//! The variants of products for the check of all kernels; the tiles of `linear_cooperative` without its hardware.

use super::*;
use crate::{GpuOptions, ops::check};
use wingbeat_backend::{
    Backend, Orientation, StateLayout,
    conformance::{Case, Random, random_matrix},
    reference::Reference,
    tolerance::product,
};
use wingbeat_format::DType;

/// Each layout alone, one of integers with one of floats, and all together.
pub(in crate::ops) fn mixtures() -> impl Iterator<Item = Vec<Layout>> {
    let mixed = [vec![Layout::F32, Layout::Q4K], Layout::ALL.to_vec()];
    Layout::ALL.map(|layout| vec![layout]).into_iter().chain(mixed)
}

/// The variant that also carries.
pub(in crate::ops) fn carrying(key: &Key) -> Key {
    let constants = key.constants.iter().copied().chain([("CARRY", 1)]).collect();
    Key { file: key.file, constants }
}

pub(in crate::ops) fn checked() -> Vec<check::Checked> {
    let mut keys = Vec::new();
    for layouts in mixtures() {
        let constants = || meeting(&layouts);
        keys.push(tiles(constants()).key);
        for subgroup in [None, Some(8), Some(32), Some(64)] {
            for n_rows in [1, 2, 4, 8] {
                for weight_rows in [1, 1 << 14, 1 << 16] {
                    for method in [rows, int8] {
                        let key = method(constants(), subgroup, n_rows, weight_rows).key;
                        keys.extend([carrying(&key), key]);
                    }
                }
            }
        }
    }
    for (tile, layout) in COOPERATIVE_TILES.iter().flat_map(|tile| Layout::ALL.map(|layout| (tile, layout))) {
        for (ragged, kind, by_input, fours) in [
            (true, "COOPERATIVE", false, true),
            (false, "COOPERATIVE", false, true),
            (false, "COOPERATIVE", true, true),
            (true, "COOPERATIVE", true, false),
            (true, "F16", false, false),
        ] {
            let operands = Operands { layout, by_input, fours };
            if tile.shared_bytes(operands) <= 48 << 10 {
                keys.push(tile.method(kind, operands, ragged).key);
            }
        }
    }
    vec![checked!(LinearParams { n, jobs, carry }, keys)]
}

#[test]
fn tiles_know_their_shared_memory() {
    for (tile, layout, by_input) in COOPERATIVE_TILES.iter().flat_map(|tile| {
        [Layout::Q4K, Layout::F32].into_iter().flat_map(move |l| [(tile, l, false), (tile, l, true)])
    }) {
        let operands = Operands { layout, by_input, fours: true };
        let module = check::valid(&tile.method("COOPERATIVE", operands, false).key);
        assert_eq!(check::workgroup_bytes(&module) as usize, tile.shared_bytes(operands), "{tile:?}");
    }
}

#[test]
fn the_largest_tile_that_keeps_a_device_busy_is_chosen() {
    let of = |layout| Operands { layout, by_input: false, fours: true };
    let size = |n_rows, weight_rows, bytes| Tile::choose(n_rows, weight_rows, bytes, of(Layout::F16)).size();
    assert_eq!(Tile::choose(512, 8192, 48 << 10, of(Layout::F32)).size(), [64, 64]);
    assert_eq!(size(512, 8192, 48 << 10), [128, 128]);
    assert_eq!(size(512, 8192, 32 << 10), [64, 32]);
    assert_eq!(size(512, 2048, 48 << 10), [64, 64]);
    assert_eq!(size(33, 65536, 48 << 10), [64, 64]);
    assert_eq!(size(33, 2048, 48 << 10), [64, 16]);
    assert_eq!(size(32, 2048, 48 << 10), [32, 16]);
    assert_eq!(size(9, 65536, 48 << 10), [16, 64]);
    assert_eq!(size(5, 2048, 48 << 10), [16, 16]);
    assert_eq!(size(512, 64, 48 << 10), [16, 16]);
}

/// Everything of `linear_cooperative` but the matrices themselves, in plain loops: staging, unpacking, ragged edges.
#[test]
fn cooperative_tiles_agree_with_the_reference() {
    let backend = match GpuBackend::new(&GpuOptions::default()) {
        Ok(backend) if backend.shared.device.capabilities.f16 => backend,
        _ => return eprintln!("skipped: no adapter with half precision"),
    };
    let cases = [
        (DType::F16, 37, 31, 33),
        (DType::BF16, 150, 131, 140),
        (DType::Q4K, 67, 512, 17),
        (DType::Q6K, 130, 256, 66),
        (DType::Q8_0, 64, 96, 9),
        (DType::F16, 68, 256, 21),
        (DType::F16, 44, 140, 9),
        (DType::BF16, 36, 128, 70),
        (DType::F32, 68, 160, 40),
        (DType::F32, 33, 77, 19),
    ];
    let cases = cases.into_iter().flat_map(|case| [(case, false), (case, true)]);
    for (number, ((dtype, weight_rows, cols, n_rows), sparse_input)) in cases.enumerate() {
        // Two halves are as good as f32, which is more than is declared.
        let precision = match dtype {
            DType::F32 => ActivationPrecision::Exact,
            _ => ActivationPrecision::Half,
        };
        // Making a pipeline takes long without hardware: of each case two tiles, of each tile a few cases.
        for tile in COOPERATIVE_TILES.iter().skip(number % 5).step_by(5) {
            let by = if sparse_input { "kept by input" } else { "kept by output" };
            let label = format!("{} {weight_rows}x{cols} T={n_rows} {:?}, {by}", dtype.name(), tile.size());
            let mut case = Case::new(&backend, 1, label);
            let mut source =
                random_matrix(&mut Random::new(7), dtype, weight_rows, cols, Orientation::RowMajor);
            source.sparse_input = sparse_input;
            let (x, before) = (case.random.normals(n_rows * cols), case.random.normals(n_rows * weight_rows));
            let (x_there, _) = case.buffers(n_rows, cols, &x);
            let (y, _) = case.buffers(n_rows, weight_rows, &before);
            let batch = case.batch(&[n_rows], 2);
            let weight = backend.matrix(&source).expect("a matrix");
            let mut state = backend.state(&StateLayout { slabs: Vec::new() }).expect("a state");
            let mut pass = backend.begin(&batch, [&mut state].into_iter().collect()).expect("a pass");
            let part = &weight.parts[0];
            let (x_at, y_at) = (x_there.at(), y.at());
            let group = [Product { weight: &weight, part, x: x_at, y: y_at, activation: 1, bias: 0 }];
            let operands = Operands::of(&group);
            if tile.shared_bytes(operands) > 48 << 10 {
                continue;
            }
            let method = tile.method("F16", operands, tile.ragged(&group));
            dispatch(&mut pass, &group, method);
            pass.submit().expect("a pass");
            let mut actual = vec![0.0; n_rows * weight_rows];
            backend.read(&y, 0, &mut actual).expect("a readable buffer");
            let w = Reference.matrix(&source).expect("a matrix").values();
            for t in 0..n_rows {
                let x: Vec<f64> = x[t * cols..][..cols].iter().map(|x| f64::from(*x)).collect();
                let row = |r: usize| &w[r * cols..][..cols];
                let before = &before[t * weight_rows..][..weight_rows];
                let expected: Vec<f32> = (0..weight_rows)
                    .map(|r| {
                        let sum: f64 = row(r).iter().zip(&x).map(|(w, x)| w * x).sum();
                        (sum + f64::from(before[r])) as f32
                    })
                    .collect();
                let limit = |r: usize| product(row(r), &x, precision) + 1e-6;
                let actual = &actual[t * weight_rows..][..weight_rows];
                case.compare_row(&format!("row {t}"), actual, &expected, limit);
            }
        }
    }
}
