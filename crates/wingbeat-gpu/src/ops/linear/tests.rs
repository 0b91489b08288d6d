//! The variants of products of few rows, and of plain tiles, for the check of all kernels.

use super::*;
use crate::ops::check;

/// Each layout alone, one of integers with one of floats, and all together.
pub(in crate::ops) fn mixtures() -> impl Iterator<Item = Vec<Layout>> {
    let mixed = [vec![Layout::F32, Layout::Q4K], Layout::ALL.to_vec()];
    Layout::ALL.map(|layout| vec![layout]).into_iter().chain(mixed)
}

/// The variant that also carries.
pub(in crate::ops) fn carrying(key: &Key) -> Key {
    let one = crate::pass::CARRY_ONE.contains(&key.file) && key.constants.len().is_multiple_of(2);
    let constants =
        key.constants.iter().copied().chain([("CARRY", 1), ("CARRY_ONE", u32::from(one))]).collect();
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
    vec![checked!(LinearParams { n, firsts, jobs, carry }, keys)]
}
