//! The variants of fused shifts and products for the check of all kernels, and what they share.

use super::*;
use crate::ops::{check, linear::tests::mixtures};

/// Threads of a workgroup: what WebGPU promises, or more.
fn team(subgroup: Option<u32>) -> u32 {
    if subgroup == Some(32) { THREADS } else { 256 }
}

/// Ways and constants of layouts, for subgroups or none, rows, and widths.
fn variants() -> Vec<(Way, bool, Option<u32>, usize, usize, Method)> {
    let mut variants = Vec::new();
    for layouts in mixtures() {
        let floats = layouts.iter().any(|layout| layout.is_float());
        let integers = layouts.iter().any(|layout| !layout.is_float());
        for way in [Way::Rows, Way::Int8].into_iter().filter(|way| integers || *way == Way::Rows) {
            for subgroup in [None, Some(8), Some(32), Some(64)] {
                for (n_rows, width, weight_rows) in
                    [(1, 2048, 1 << 14), (1, 256, 1), (2, 1056, 1 << 12), (3, 768, 1), (4, 1024, 1 << 14)]
                {
                    let shape = (n_rows, width, weight_rows);
                    let method = method(linear::meeting(&layouts), way, (subgroup, team(subgroup)), shape);
                    variants.push((way, floats, subgroup, n_rows, width, method));
                }
            }
        }
    }
    variants
}

pub(in crate::ops) fn checked() -> Vec<check::Checked> {
    let keys: Vec<_> = variants().into_iter().map(|(.., method)| method.key).collect();
    vec![checked!(ShiftLinearParams { n, firsts, jobs, at, norm, eps }, keys)]
}

#[test]
fn what_a_workgroup_shares_is_known_beforehand() {
    for (way, floats, subgroup, n_rows, width, Method { key, .. }) in variants() {
        let bytes = check::workgroup_bytes(&check::valid(&key)) as usize;
        assert_eq!(
            shared_bytes(way, floats, (subgroup.is_some(), team(subgroup)), n_rows, width),
            bytes,
            "{key:?}"
        );
    }
}
