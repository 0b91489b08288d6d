//! What goes wrong on a device is an error, whoever asks next; the process lives and can open the adapter again.

use crate::{GpuBackend, GpuOptions, Matrix, State, adapters, kernels::Key};
use std::path::PathBuf;
use wingbeat_backend::{
    Backend, BackendError, Batch, MatrixSource, Orientation, Pass, SlabKind, SlabSpec, StateLayout,
};
use wingbeat_format::{Bytes, DType};

const WIDTH: usize = 64;

/// The best adapter, if there is one.
pub(crate) fn open() -> Option<GpuBackend> {
    open_with(&mut |_| {})
}

fn open_with(change: &mut dyn FnMut(&mut GpuOptions)) -> Option<GpuBackend> {
    if adapters().is_empty() {
        assert!(std::env::var_os("WINGBEAT_GPU_REQUIRED").is_none(), "no adapter, but one is required");
        eprintln!("skipped: this machine has no adapter");
        return None;
    }
    let mut options = GpuOptions { cache: Some(PathBuf::new()), ..GpuOptions::default() };
    change(&mut options);
    Some(GpuBackend::new(&options).expect("an adapter that is listed can be opened"))
}

/// A table whose row `i` is all `i`.
fn table(rows: usize) -> MatrixSource {
    let data = (0..rows).flat_map(|row| [row as f32; WIDTH]).flat_map(f32::to_le_bytes).collect();
    MatrixSource {
        name: "table".to_owned(),
        dtype: DType::F32,
        rows,
        cols: WIDTH,
        orientation: Orientation::RowMajor,
        sparse_input: false,
        data: Bytes::from_vec(data),
    }
}

fn layout() -> StateLayout {
    let slab = SlabSpec { name: "shift", shape: vec![2, WIDTH], kind: SlabKind::Vectors };
    StateLayout { slabs: vec![slab] }
}

/// Looks a token up.
fn embed(backend: &GpuBackend, table: &Matrix, token: u32, state: &mut State) -> Result<f32, BackendError> {
    let mut batch = Batch::new();
    batch.push(&[token]);
    let mut x = backend.buffer(1, WIDTH)?;
    let mut pass = backend.begin(&batch, [state].into_iter().collect())?;
    pass.embed(table, &mut x);
    pass.submit()?;
    let mut row = [0.0; WIDTH];
    backend.read(&x, 0, &mut row)?;
    Ok(row[0])
}

fn assert_works(backend: &GpuBackend) {
    let table = backend.matrix(&table(10)).expect("a matrix");
    backend.loaded().expect("uploads");
    let mut state = backend.state(&layout()).expect("a state");
    assert_eq!(embed(backend, &table, 7, &mut state).expect("a pass"), 7.0);
}

fn assert_device<T>(result: Result<T, BackendError>, what: &str) {
    match result {
        Err(BackendError::Device { what, .. }) => assert!(!what.contains('\n'), "{what}"),
        Err(other) => panic!("{what}: {other}"),
        Ok(_) => panic!("{what}: succeeded"),
    }
}

/// Everything that can be asked of a device that has failed.
fn assert_failed(backend: &GpuBackend, matrix: &Matrix, mut state: State, x: &crate::Buffer) {
    assert_device(embed(backend, matrix, 1, &mut state), "a pass");
    assert_device(backend.read(x, 0, &mut [0.0; WIDTH]), "read");
    assert_device(backend.begin(&Batch::new(), States::new()), "begin");
    assert_device(backend.buffer(1, WIDTH), "buffer");
    assert_device(backend.state(&layout()), "state");
    assert_device(backend.fork_state(&state), "fork");
    assert_device(backend.read_slab(&state, 0), "read_slab");
    assert_device(backend.read_state(&state, &layout()), "read_state");
    assert_device(backend.write_slab(&mut state, 0, &[0.0; 2 * WIDTH]), "write_slab");
    // It may take them, but they never arrive.
    let more = backend.matrix(&table(100));
    assert_device(more.and_then(|more| backend.loaded().map(|()| more)), "loaded");
}

type States<'a> = wingbeat_backend::States<'a, State>;

#[test]
fn a_lost_device_is_an_error() {
    let Some(backend) = open() else { return };
    let matrix = backend.matrix(&table(10)).expect("a matrix");
    let x = backend.buffer(1, WIDTH).expect("a buffer");
    let mut state = backend.state(&layout()).expect("a state");
    assert_eq!(embed(&backend, &matrix, 3, &mut state).expect("a pass"), 3.0);
    backend.shared.device.wgpu.destroy();
    assert_failed(&backend, &matrix, state, &x);
    drop((matrix, x));
    drop(backend);
    assert_works(&open().expect("there is an adapter"));
}

#[test]
fn a_device_may_be_lost_amid_a_pass() {
    let Some(backend) = open() else { return };
    let matrix = backend.matrix(&table(10)).expect("a matrix");
    backend.loaded().expect("uploads");
    let mut batch = Batch::new();
    batch.push(&[1]);
    let mut x = backend.buffer(1, WIDTH).expect("a buffer");
    let mut state = backend.state(&layout()).expect("a state");
    let mut pass = backend.begin(&batch, [&mut state].into_iter().collect()).expect("a pass");
    pass.embed(&matrix, &mut x);
    backend.shared.device.wgpu.destroy();
    // Devices fail late: it is the result that cannot be had.
    let submitted = pass.submit();
    assert_device(submitted.and_then(|()| backend.read(&x, 0, &mut [0.0; WIDTH])), "read");
}

#[test]
fn what_a_driver_refuses_is_an_error() {
    let Some(backend) = open() else { return };
    let matrix = backend.matrix(&table(10)).expect("a matrix");
    backend.loaded().expect("uploads");
    let x = backend.buffer(1, WIDTH).expect("a buffer");
    let state = backend.state(&layout()).expect("a state");
    // No buffer can be mapped for both.
    let usage = wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::MAP_WRITE | wgpu::BufferUsages::STORAGE;
    let descriptor = wgpu::BufferDescriptor { label: None, size: 16, usage, mapped_at_creation: false };
    drop(backend.shared.device.wgpu.create_buffer(&descriptor));
    assert_failed(&backend, &matrix, state, &x);
    assert_works(&open().expect("there is an adapter"));
}

#[test]
fn a_kernel_that_cannot_be_made_is_an_error() {
    let Some(backend) = open() else { return };
    let shared = &backend.shared;
    // A workgroup of more threads than any adapter has.
    let key = Key { file: "layer_norm", constants: vec![("THREADS", 1 << 20)] };
    match shared.kernels.get(key).get(&shared.device) {
        Err(BackendError::Device { what, .. }) => assert!(what.contains("layer_norm"), "{what}"),
        other => panic!("{other:?}"),
    }
    assert!(shared.kernels.wait().is_err());
    // Others go on.
    let table = backend.matrix(&table(10)).expect("a matrix");
    let mut state = backend.state(&layout()).expect("a state");
    assert_eq!(embed(&backend, &table, 2, &mut state).expect("a pass"), 2.0);
}

#[test]
fn reads_are_measured_and_leave_nothing() {
    for without in ["", "all"] {
        let change = &mut |options: &mut GpuOptions| options.without = without.parse().ok();
        let Some(backend) = open_with(change) else { return };
        let table = backend.matrix(&table(10)).expect("a matrix");
        backend.loaded().expect("uploads");
        let mut state = backend.state(&layout()).expect("a state");
        for _ in 0..2 {
            assert_eq!(embed(&backend, &table, 7, &mut state).expect("a pass"), 7.0);
            let rate = backend.read_bandwidth().expect("a rate");
            assert!((1e7..1e14).contains(&rate), "{rate} bytes a second");
        }
        backend.shared.device.wgpu.destroy();
        assert_eq!(backend.read_bandwidth(), None);
    }
}

#[test]
fn multiplications_are_measured_and_leave_nothing() {
    for without in ["", "cooperative", "all"] {
        let change = &mut |options: &mut GpuOptions| options.without = without.parse().ok();
        let Some(backend) = open_with(change) else { return };
        let table = backend.matrix(&table(10)).expect("a matrix");
        backend.loaded().expect("uploads");
        let mut state = backend.state(&layout()).expect("a state");
        for dtype in [DType::F32, DType::F16, DType::Q4K] {
            assert_eq!(embed(&backend, &table, 7, &mut state).expect("a pass"), 7.0);
            let rate = backend.multiply_rate(dtype).expect("a rate");
            assert!((1e6..1e17).contains(&rate), "{}: {rate} operations a second", dtype.name());
        }
        backend.shared.device.wgpu.destroy();
        assert_eq!(backend.multiply_rate(DType::F16), None);
    }
}

#[test]
fn too_large_is_out_of_memory() {
    let Some(backend) = open() else { return };
    let out_of_memory = |error| matches!(error, BackendError::OutOfMemory { .. });
    assert!(backend.buffer(1 << 24, 1 << 14).err().is_some_and(out_of_memory));
    let device = &backend.shared.device;
    let most = device.wgpu.limits().max_buffer_size;
    for bytes in [most + 1, u64::MAX] {
        assert!(device.storage("a test", bytes).err().is_some_and(out_of_memory));
    }
    // That was no fault of the device.
    assert_works(&backend);
}

#[test]
fn a_model_that_is_too_large_is_refused_before_it_is_uploaded() {
    let Some(backend) = open_with(&mut |options| options.memory_bytes = Some(1_000_000)) else { return };
    assert_eq!(backend.adapter().memory_bytes, Some(1_000_000));
    let source = table(5000);
    match backend.reserve(&mut [source].into_iter()) {
        Err(BackendError::ModelTooLarge { needed_mb: 2, found_mb: 1, .. }) => {}
        other => panic!("{other:?}"),
    }
    backend.reserve(&mut [table(10)].into_iter()).expect("room for a little");
    assert_works(&backend);
}

#[test]
fn anything_may_go_in_any_order() {
    let Some(backend) = open() else { return };
    // Uploads under way.
    let matrices: Vec<Matrix> = (0..4).map(|_| backend.matrix(&table(20_000)).expect("a matrix")).collect();
    let mut state = backend.state(&layout()).expect("a state");
    let (mut x, vector) =
        (backend.buffer(1, WIDTH).expect("a buffer"), backend.vector(&[1.0; WIDTH]).expect("a vector"));
    let mut batch = Batch::new();
    batch.push(&[1]);
    // A pass that is never submitted.
    let mut pass = backend.begin(&batch, [&mut state].into_iter().collect()).expect("a pass");
    pass.embed(&matrices[0], &mut x);
    drop(pass);
    let fork = backend.fork_state(&state).expect("a state");
    drop(backend);
    drop((matrices, x, vector));
    drop(state);
    drop(fork);
    let backend = open().expect("there is an adapter");
    // Matrices before their uploads end.
    drop(backend.matrix(&table(20_000)).expect("a matrix"));
    assert_works(&backend);
}

#[test]
fn pipelines_are_kept_from_run_to_run() {
    let folder = tempfile::tempdir().expect("a folder");
    let cache = folder.path().join("cache");
    let mut keep = |options: &mut GpuOptions| options.cache = Some(cache.clone());
    let Some(backend) = open_with(&mut keep) else { return };
    if !backend.shared.device.capabilities.pipeline_cache {
        return eprintln!("skipped: this adapter keeps no pipelines");
    }
    assert_works(&backend);
    drop(backend);
    let files = || -> Vec<PathBuf> {
        let entries = std::fs::read_dir(&cache).expect("a folder");
        entries.map(|entry| entry.expect("an entry").path()).collect()
    };
    let [file] = &files()[..] else { panic!("{:?}", files()) };
    let kept = std::fs::read(file).expect("readable");
    assert_works(&open_with(&mut keep).expect("there is an adapter"));
    // Whatever becomes of the file, and whether it can be written at all.
    for damaged in [&kept[..kept.len() - 1], &[&kept[..], &[1]].concat(), &[]] {
        std::fs::write(file, damaged).expect("written");
        assert_works(&open_with(&mut keep).expect("there is an adapter"));
        assert_eq!(files().len(), 1);
    }
    std::fs::remove_dir_all(&cache).expect("removed");
    std::fs::write(&cache, "no folder").expect("written");
    assert_works(&open_with(&mut keep).expect("there is an adapter"));
}

/// Slots go from state to state, and chunks of them are made when there are none left: each state begins as nothing.
#[test]
fn a_slot_that_was_used_begins_anew() {
    let Some(backend) = open() else { return };
    let slab = |name, kind| SlabSpec { name, shape: vec![2, 6], kind };
    let slabs = vec![slab("sums", SlabKind::Vectors), slab("exponents", SlabKind::Exponents)];
    let layout = StateLayout { slabs };
    let used: Vec<State> = (0..75).map(|_| backend.state(&layout).expect("a state")).collect();
    let mut states = Vec::new();
    for mut state in used {
        backend.write_state(&mut state, &layout, &[&[1.0; 12], &[2.0; 12]]).expect("the layout's lengths");
        drop(state);
        states.push(backend.state(&layout).expect("a state"));
    }
    let fork = backend.fork_state(&states[0]).expect("a fork");
    for state in states.iter().chain([&fork]) {
        let found = backend.read_state(state, &layout).expect("slabs");
        assert_eq!(found, layout.slabs.iter().map(|slab| vec![slab.kind.initial(); 12]).collect::<Vec<_>>());
    }
}
