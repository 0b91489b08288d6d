//! Tests of all kernels without a device: every variant is valid WGSL that keeps within a workgroup's memory, and the
//! parameters of Rust are those of WGSL.
//!
//! A file of operations lists its kernels in a function `checked`; [`all`] calls them. A kernel that nobody lists fails
//! a test.

use crate::{kernels::Key, source};
use naga::{
    AddressSpace, Module, TypeInner,
    valid::{Capabilities, ValidationFlags, Validator},
};
use std::collections::BTreeSet;

/// A parameter struct, and the variants of kernels that take it.
pub(super) struct Checked {
    pub(super) name: &'static str,
    pub(super) size: usize,
    /// Names and offsets.
    pub(super) fields: Vec<(&'static str, usize)>,
    pub(super) keys: Vec<Key>,
}

/// `checked!(Struct { every, field }, variants)`
macro_rules! checked {
    ($name:ident { $($field:ident),* }, $keys:expr) => {
        crate::ops::check::Checked {
            name: stringify!($name),
            size: size_of::<$name>(),
            fields: vec![$((stringify!($field), std::mem::offset_of!($name, $field))),*],
            keys: Vec::from($keys),
        }
    };
}

fn all() -> Vec<Checked> {
    [
        super::bandwidth::checked(),
        super::cooperative::tests::checked(),
        super::elementwise::checked(),
        super::fork::checked(),
        super::linear::tests::checked(),
        super::multiply_rate::checked(),
        super::rows::checked(),
        super::sample::checked(),
        super::shift::tests::checked(),
        super::sparse::checked(),
        super::time_mix::checked(),
        super::time_mix::chunked::checked(),
        super::time_mix::step::checked(),
        super::wkv4::checked(),
        super::wkv6::checked(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// The module of a variant, parsed and validated.
pub(super) fn valid(key: &Key) -> Module {
    let text = source::expand(key.file, &key.constants);
    let module = naga::front::wgsl::parse_str(&text)
        .unwrap_or_else(|error| panic!("{key:?}: {}", error.emit_to_string(&text)));
    Validator::new(ValidationFlags::all(), Capabilities::all())
        .validate(&module)
        .unwrap_or_else(|error| panic!("{key:?}: {}", error.emit_to_string(&text)));
    module
}

/// Bytes of shared memory that a module declares.
pub(super) fn workgroup_bytes(module: &Module) -> u32 {
    let shared = module.global_variables.iter().filter(|(_, global)| global.space == AddressSpace::WorkGroup);
    shared.map(|(_, global)| module.types[global.ty].inner.size(module.to_ctx())).sum()
}

/// Compares halves, two in each word, with the floats that they stand for: either neighbour will do, as WGSL
/// leaves open how packing rounds, and an error of the floats themselves.
pub(super) fn are_halves_of(words: &[f32], floats: &[f32], label: &str) {
    assert_eq!(words.len() * 2, floats.len(), "{label}");
    assert!(floats.iter().any(|float| *float != 0.0), "{label}: nothing to compare with");
    let halves = words.iter().flat_map(|word| [word.to_bits() as u16, (word.to_bits() >> 16) as u16]);
    for (i, (half, float)) in halves.map(half::f16::from_bits).zip(floats).enumerate() {
        let difference = (half.to_f32() - float).abs();
        assert!(
            difference <= float.abs() / 1024.0 + 2e-6,
            "{label}: {half} at {i}, expected {float} as a half"
        );
    }
}

#[test]
fn every_variant_is_valid_and_takes_its_parameters() {
    for Checked { name, size, fields, keys } in all() {
        for key in keys {
            let module = valid(&key);
            let (_, params) = module
                .types
                .iter()
                .find(|(_, ty)| ty.name.as_deref() == Some("Params"))
                .unwrap_or_else(|| panic!("{key:?} has no Params"));
            let TypeInner::Struct { members, span } = &params.inner else { panic!("{key:?}: Params") };
            let found: Vec<_> =
                members.iter().map(|m| (m.name.as_deref().unwrap_or_default(), m.offset as usize)).collect();
            assert_eq!((fields.as_slice(), size), (found.as_slice(), *span as usize), "{name} and {key:?}");
            // What WebGPU promises, unless the kernel is chosen by what the adapter has.
            let by_room = [
                "linear_cooperative",
                "shift_linear",
                "shift_linear_int8",
                "time_mix_v7",
                "wkv7_chunks",
                "wkv7_scan",
            ]
            .contains(&key.file);
            let most = if by_room { 48 << 10 } else { 16 << 10 };
            let bytes = workgroup_bytes(&module);
            assert!(bytes <= most, "{key:?} shares {bytes} bytes, at most {most} may be");
        }
    }
}

#[test]
fn every_kernel_is_checked() {
    let checked: BTreeSet<_> = all().iter().flat_map(|c| &c.keys).map(|key| key.file).collect();
    let missing: Vec<_> = source::kernels().filter(|name| !checked.contains(name)).collect();
    assert!(missing.is_empty(), "list these in a `checked` function: {missing:?}");
}
