//! The tiles of `linear_cooperative` without its hardware.

use super::*;
use crate::{
    GpuOptions,
    ops::{check, linear::tests::carrying},
};
use wingbeat_backend::{
    Backend, Orientation, StateLayout,
    conformance::{Case, Random, random_matrix},
    reference::Reference,
    tolerance::{ActivationPrecision, product as product_limit},
};
use wingbeat_format::DType;

fn operands(layout: Layout, by_input: bool, fours: bool) -> Operands {
    Operands { layout, by_input, fours, x_half: false, y_half: false, split: layout == Layout::F32 }
}

pub(in crate::ops) fn checked() -> Vec<check::Checked> {
    let mut keys = Vec::new();
    for (tile, layout) in TILES.iter().flat_map(|tile| Layout::ALL.map(|layout| (tile, layout))) {
        for (ragged, kind, by_input, fours, halves) in [
            (true, "COOPERATIVE", false, true, false),
            (false, "COOPERATIVE", false, true, true),
            (false, "COOPERATIVE", true, true, true),
            (true, "COOPERATIVE", true, false, false),
            (true, "F16", false, false, false),
            (true, "F16", false, true, true),
        ] {
            let (x_half, y_half) = (halves && layout != Layout::F32, halves);
            let split = layout == Layout::F32;
            let operands = Operands { layout, by_input, fours, x_half, y_half, split };
            let parted = tile.parts > 1 && !ragged && fours;
            if tile.shared_bytes(operands) <= 48 << 10 {
                let key = tile.method(kind, operands, ragged, parted).key;
                if !parted {
                    keys.push(carrying(&key));
                }
                keys.push(key);
            }
        }
    }
    let integers = Layout::ALL.into_iter().filter(|layout| !layout.is_float());
    let expands: Vec<_> = integers.map(|layout| key("expand_by_input", &expand_variant(layout))).collect();
    let sums = [0, 1].map(|half| key("linear_sum", &[("ACTS4", 1), ("Y_HALF", half), ("SEES_HALVES", half)]));
    vec![
        checked!(LinearParams { n, firsts, jobs, carry }, keys),
        checked!(SumParams { at, out }, sums),
        checked!(ExpandParams { at }, expands),
    ]
}

#[test]
fn tiles_know_their_shared_memory() {
    for (tile, layout, by_input) in TILES.iter().flat_map(|tile| {
        [Layout::Q4K, Layout::F32].into_iter().flat_map(move |l| [(tile, l, false), (tile, l, true)])
    }) {
        let operands = operands(layout, by_input, true);
        for parts in [1, 2] {
            let module = check::valid(&tile.method("COOPERATIVE", operands, false, parts > 1).key);
            assert_eq!(check::workgroup_bytes(&module) as usize, tile.shared_bytes(operands), "{tile:?}");
        }
    }
}

#[test]
fn the_largest_tile_that_keeps_a_device_busy_is_chosen() {
    let of = |layout| operands(layout, false, true);
    let size = |n_rows, weight_rows, cols| {
        Tile::choose(n_rows, (weight_rows, cols), 48 << 10, of(Layout::F16)).size()
    };
    assert_eq!(Tile::choose(512, (8192, 2048), 48 << 10, of(Layout::F32)).size(), [64, 64]);
    assert_eq!(size(512, 8192, 2048), [128, 128]);
    assert_eq!(size(512, 2048, 2048), [64, 64]);
    assert_eq!(size(512, 2048, 8192), [128, 128]);
    assert_eq!(size(128, 2048, 2048), [64, 32]);
    assert_eq!(size(33, 65536, 2048), [64, 64]);
    assert_eq!(size(33, 2048, 2048), [64, 16]);
    assert_eq!(size(32, 2048, 2048), [32, 16]);
    assert_eq!(size(9, 65536, 2048), [16, 32]);
    assert_eq!(size(5, 2048, 2048), [16, 16]);
    assert_eq!(size(512, 64, 2048), [16, 16]);
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
        for tile in TILES.iter().skip(number % 4).step_by(4) {
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
            let job =
                Product { weight: &weight, part, x: x_at, y: y_at, activation: 1, bias: 0, x_half: None };
            let group = [job];
            let operands = Operands::of(&backend.shared, &group, false);
            // Columns shared out among several workgroups, too.
            let buffers = 1 + (number % 2) as u32;
            let tile = &Tile { ahead: 1 + (number % 2) as u32, buffers, ..*tile };
            if tile.shared_bytes(operands) > 48 << 10 {
                continue;
            }
            with(&mut pass, &group, tile, operands, "F16", None);
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
                let limit = |r: usize| product_limit(row(r), &x, precision) + 1e-6;
                let actual = &actual[t * weight_rows..][..weight_rows];
                case.compare_row(&format!("row {t}"), actual, &expected, limit);
            }
        }
    }
}

/// What goes out in halves is what comes in in halves.
#[test]
fn halves_go_from_product_to_product() {
    let backend = match GpuBackend::new(&GpuOptions::default()) {
        Ok(backend) if backend.shared.device.capabilities.f16 => backend,
        _ => return eprintln!("skipped: no adapter with half precision"),
    };
    for (number, (dtype, middle, rows, n_rows)) in
        [(DType::F16, 136, 68, 37), (DType::Q8_0, 160, 96, 70), (DType::F16, 64, 32, 5)]
            .into_iter()
            .enumerate()
    {
        let cols = 64;
        let mut case = Case::new(&backend, 1, format!("{} {rows}x{middle} T={n_rows}", dtype.name()));
        let first = random_matrix(&mut Random::new(3), DType::F16, middle, cols, Orientation::RowMajor);
        let mut second = random_matrix(&mut Random::new(4), dtype, rows, middle, Orientation::RowMajor);
        second.sparse_input = number == 2;
        let x = case.random.normals(n_rows * cols);
        let (x_there, _) = case.buffers(n_rows, cols, &x);
        let (hidden, _) = case.buffers(n_rows, middle, &vec![0.0; n_rows * middle]);
        let (y, _) = case.buffers(n_rows, rows, &vec![0.0; n_rows * rows]);
        let batch = case.batch(&[n_rows], 2);
        let [w1, w2] = [&first, &second].map(|source| backend.matrix(source).expect("a matrix"));
        let mut state = backend.state(&StateLayout { slabs: Vec::new() }).expect("a state");
        let mut pass = backend.begin(&batch, [&mut state].into_iter().collect()).expect("a pass");
        let tile = &TILES[1 + number];
        let (at, place) = (hidden.at(), halves(&hidden).expect("room"));
        let of_first = Product {
            weight: &w1,
            part: &w1.parts[0],
            x: x_there.at(),
            y: at,
            activation: RELU_SQUARED,
            bias: 0,
            x_half: None,
        };
        // A product beside it, whose output goes out in floats alone.
        let other = backend.buffer(n_rows, middle).expect("a buffer");
        let group = [of_first, Product { y: other.at(), activation: 3, ..of_first }];
        let group = if number == 0 { &group[..] } else { &group[..1] };
        let given = Operands::of(&backend.shared, group, true);
        with(&mut pass, group, tile, given, "F16", Some((at, place)));
        let left = pass.take_halves();
        assert_eq!(left, [(at, place)]);
        let of_second = Product {
            weight: &w2,
            part: &w2.parts[0],
            x: at,
            y: y.at(),
            activation: 0,
            bias: 0,
            x_half: Some(place),
        };
        let taken = Operands::of(&backend.shared, &[of_second], false);
        assert!(taken.x_half);
        with(&mut pass, &[of_second], tile, taken, "F16", None);
        pass.submit().expect("a pass");
        let (mut h, mut actual) = (vec![0.0; n_rows * middle], vec![0.0; n_rows * rows]);
        backend.read(&hidden, 0, &mut h).expect("a readable buffer");
        backend.read(&y, 0, &mut actual).expect("a readable buffer");
        assert!(h.iter().any(|h| *h > 0.0));
        let w = Reference.matrix(&second).expect("a matrix").values();
        for t in 0..n_rows {
            let h: Vec<f64> = h[t * middle..][..middle].iter().map(|h| f64::from(*h)).collect();
            let row = |r: usize| &w[r * middle..][..middle];
            let sum = |r: usize| row(r).iter().zip(&h).map(|(w, h)| w * h).sum::<f64>() as f32;
            let expected: Vec<f32> = (0..rows).map(sum).collect();
            let limit = |r: usize| product_limit(row(r), &h, ActivationPrecision::Half) + 1e-6;
            case.compare_row(&format!("row {t}"), &actual[t * rows..][..rows], &expected, limit);
        }
    }
}

/// Where most weights are of another type, those in f32 meet halves, too.
#[test]
fn f32_among_others_meets_halves() {
    let backend = match GpuBackend::new(&GpuOptions::default()) {
        Ok(backend) if backend.shared.device.capabilities.f16 => backend,
        _ => return eprintln!("skipped: no adapter with half precision"),
    };
    backend.shared.mixed.store(true, Ordering::Relaxed);
    let (n_rows, cols) = (21, 96);
    let mut case = Case::new(&backend, 1, "F32 among others".to_owned());
    let sources = [(DType::F32, 68), (DType::F32, 36)]
        .map(|(dtype, rows)| random_matrix(&mut Random::new(5), dtype, rows, cols, Orientation::RowMajor));
    let weights = sources.each_ref().map(|source| backend.matrix(source).expect("a matrix"));
    let x = case.random.normals(n_rows * cols);
    let (x_there, _) = case.buffers(n_rows, cols, &x);
    let ys = weights.each_ref().map(|weight| backend.buffer(n_rows, weight.rows).expect("room"));
    let batch = case.batch(&[n_rows], 2);
    let mut state = backend.state(&StateLayout { slabs: Vec::new() }).expect("a state");
    let mut pass = backend.begin(&batch, [&mut state].into_iter().collect()).expect("a pass");
    let product = |i: usize| Product {
        weight: &weights[i],
        part: &weights[i].parts[0],
        x: x_there.at(),
        y: ys[i].at(),
        activation: 0,
        bias: 0,
        x_half: None,
    };
    let group = [product(0), product(1)];
    assert_eq!(group[0].part.arena.id, group[1].part.arena.id);
    let operands = Operands::of(&backend.shared, &group, false);
    assert!(!operands.split);
    with(&mut pass, &group, &TILES[3], operands, "F16", None);
    pass.submit().expect("a pass");
    for (source, y) in sources.iter().zip(&ys) {
        let mut actual = vec![0.0; n_rows * source.rows];
        backend.read(y, 0, &mut actual).expect("a readable buffer");
        let w = Reference.matrix(source).expect("a matrix").values();
        for t in 0..n_rows {
            let x: Vec<f64> = x[t * cols..][..cols].iter().map(|x| f64::from(*x)).collect();
            let row = |r: usize| &w[r * cols..][..cols];
            let sum = |r: usize| row(r).iter().zip(&x).map(|(w, x)| w * x).sum::<f64>() as f32;
            let expected: Vec<f32> = (0..source.rows).map(sum).collect();
            // Weights are rounded, too.
            let limit = |r: usize| 2.0 * product_limit(row(r), &x, ActivationPrecision::Half) + 1e-6;
            case.compare_row(
                &format!("row {t}"),
                &actual[t * source.rows..][..source.rows],
                &expected,
                limit,
            );
        }
    }
}

#[test]
fn tiles_to_try_must_be_sound() {
    for tile in &TILES {
        let Tile { warps: [a, b, c], fragments: [d, e], step, buffers, ahead, parts } = *tile;
        let text = [a, b, c, d, e, step, buffers, ahead, parts].map(|n| n.to_string()).join(".");
        let parsed = Tile::parse(&text).expect("a tile that is in use");
        assert_eq!(format!("{parsed:?}"), format!("{tile:?}"));
    }
    for text in [
        "",
        "2.2.1.4.4.32.1.1",
        "2.2.1.4.4.32.1.1.1.1",
        "2.2.1.4.4.x.1.1.1",
        "0.2.1.4.4.32.1.1.1",
        "3.2.1.4.4.32.1.1.1",
        "2.2.1.4.4.48.1.1.1",
        "16.16.16.16.16.1024.2.8.16",
        "1.1.1.1.1.1024.1.1.1",
        "1.1.4.1.1.32.1.1.1",
        "1.16.1.1.1.32.1.1.1",
        "4294967295.1.1.1.1.32.1.1.1",
    ] {
        assert!(Tile::parse(text).is_none(), "{text}");
    }
}
