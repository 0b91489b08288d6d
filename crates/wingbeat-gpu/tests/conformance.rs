//! The backend conformance suite on every adapter of this machine, with every variant of kernels that it can run.
//!
//! Where there is no adapter the tests say so and pass, unless `WINGBEAT_GPU_REQUIRED` is set.

use wingbeat_gpu::{AdapterChoice, GpuBackend, GpuOptions, Without, adapters};

/// Runs an operation's cases on all adapters, without some capabilities.
fn run(op: fn(&GpuBackend), without: &str, exact: bool) {
    let n = adapters().len();
    if n == 0 {
        assert!(std::env::var_os("WINGBEAT_GPU_REQUIRED").is_none(), "no adapter, but one is required");
        eprintln!("skipped: this machine has no adapter");
    }
    for number in 0..n {
        let mut options = GpuOptions::default();
        options.adapter = AdapterChoice::Number(number);
        options.without = Some(without.parse::<Without>().expect("a list of capabilities"));
        options.exact = exact;
        op(&GpuBackend::new(&options).expect("an adapter that is listed can be opened"));
    }
}

macro_rules! suite {
    ($module:ident, $without:literal, $exact:literal) => {
        mod $module {
            suite!(@ $without, $exact, embed linear linear_sparse layer_norm token_shift shift_linear select_rows sum_rows v7_keys wkv7
                v7_readout time_mix_v7 low_rank_mix_v7 wkv4 wkv6 v6_readout
                time_mix_v6 elementwise states);
        }
    };
    (@ $without:literal, $exact:literal, $($op:ident)*) => {
        $(#[test]
        fn $op() {
            crate::run(wingbeat_backend::conformance::$op::<wingbeat_gpu::GpuBackend>, $without, $exact);
        })*
    };
}

suite!(everything, "", false);
suite!(plain, "all", false);

/// Ways through products that neither of the above takes: int8 without subgroups, and none of it on demand.
mod products {
    macro_rules! products {
        ($module:ident, $without:literal, $exact:literal) => {
            mod $module {
                suite!(@ $without, $exact, linear shift_linear);
            }
        };
    }
    products!(no_subgroups, "subgroup", false);
    products!(exact, "", true);
}

/// The same model may be open twice: a state of one device is used on another.
#[test]
fn states_move_between_devices() {
    use wingbeat_backend::{Backend, Batch, Pass, SlabKind, SlabSpec, StateLayout};
    if adapters().is_empty() {
        return eprintln!("skipped: this machine has no adapter");
    }
    let shape = vec![2, 5];
    let layout = StateLayout { slabs: vec![SlabSpec { name: "shift", shape, kind: SlabKind::Vectors }] };
    let [one, other] = [(); 2].map(|()| GpuBackend::new(&GpuOptions::default()).expect("an adapter"));
    let mut state = one.state(&layout).expect("a state");
    let values: Vec<f32> = (0..10).map(|i| i as f32).collect();
    one.write_slab(&mut state, 0, &values).expect("the layout's length");
    let fork = other.fork_state(&state).expect("a fork");
    assert_eq!(other.read_slab(&fork, 0).expect("a slab"), values);
    let mut batch = Batch::new();
    batch.push(&[0]);
    let pass = other.begin(&batch, [&mut state].into_iter().collect()).expect("a pass");
    pass.submit().expect("a pass");
    assert_eq!(other.read_slab(&state, 0).expect("a slab"), values);
}
