//! From the text of a kernel's file to WGSL: constants, included pieces, lines for some variants only, and loops written
//! out.
//!
//! A kernel's file is WGSL but for lines that begin with `//!`:
//!
//! - `//!include NAME`: the lines of `lib/NAME.wgsl`;
//! - `//!if NAME` … `//!else` … `//!end`: lines for variants whose constant `NAME` is not 0;
//! - `//!for i COUNT` … `//!end`: the lines once for each `i` from 0 below `COUNT`, a constant or a number, with `@i`
//!   replaced by the number, so that what would be arrays are registers.
//!
//! Every constant of the variant is also a WGSL `const` of type u32 at the head.

use std::fmt::Write;

/// The files, by name.
macro_rules! files {
    ($dir:literal: $($name:literal)*) => {
        &[$(($name, include_str!(concat!($dir, "/", $name, ".wgsl")))),*]
    };
}

const KERNELS: &[(&str, &str)] = files!("wgsl":
    "embed" "layer_norm" "token_shift" "shift_state" "select_rows" "sum_rows" "fork_state" "lerp" "add_gated" "scale"
    "linear_rows" "linear_int8" "linear_tiles" "linear_cooperative" "linear_sum" "expand_by_input" "linear_sparse" "linear_sparse_sum"
    "shift_linear" "shift_linear_int8"
    "v7_keys" "wkv7" "wkv7_chunks" "wkv7_scan" "wkv7_readout" "v7_readout" "time_mix_v7"
    "wkv4" "wkv6" "wkv6_any" "v6_readout" "time_mix_v6"
    "read_bandwidth" "multiply_rate"
    "sample_blocks" "sample_choose" "sample_greedy"
);
const PIECES: &[(&str, &str)] = files!("wgsl/lib":
    "bindings" "jobs" "weights" "by_input" "blocks" "rows_first" "rows_own" "rows_dot" "rows_store" "int8_stage" "int8_first" "int8_dot"
    "fours" "shift" "shift_rows" "carry" "cooperative" "cooperative_slice" "cooperative_out" "activation" "reduce" "share" "ups"
    "few" "sums" "moments" "halves" "chunk_columns"
    "exp" "pairs" "sampling" "sample_penalised" "sample_largest" "sample_record"
    "sample_best" "sample_list" "sample_few" "sample_many" "sample_by_id"
);

/// The names of all kernels.
#[cfg(test)]
pub(crate) fn kernels() -> impl Iterator<Item = &'static str> {
    KERNELS.iter().map(|(name, _)| *name)
}

/// The WGSL of a kernel's variant.
///
/// # Panics
/// The file has a directive that is not understood: ours, and found by the tests that expand every variant.
pub(crate) fn expand(kernel: &str, constants: &[(&'static str, u32)]) -> String {
    let mut out = String::new();
    let body = find(KERNELS, kernel);
    // Directives that WGSL wants first.
    let value = |name: &str| constants.iter().find(|(n, _)| *n == name).map_or(0, |(_, value)| *value);
    if value("COOPERATIVE") != 0 {
        out.push_str("enable f16;\nenable wgpu_cooperative_matrix;\n");
    } else if value("F16") != 0 || value("SEES_HALVES") != 0 {
        out.push_str("enable f16;\n");
    }
    for (name, value) in constants {
        writeln!(out, "const {name}: u32 = {value}u;").expect("a string takes all");
    }
    block(&mut body.lines(), constants, &[], true, &mut out);
    out
}

fn find(files: &[(&'static str, &'static str)], name: &str) -> &'static str {
    files.iter().find(|(n, _)| *n == name).unwrap_or_else(|| panic!("no WGSL file `{name}`")).1
}

/// Expands lines up to the end of the block, and says whether an `else` ended it.
fn block(
    lines: &mut std::str::Lines<'_>,
    constants: &[(&'static str, u32)],
    loops: &[(&str, u32)],
    keep: bool,
    out: &mut String,
) -> bool {
    let value = |name: &str| constants.iter().find(|(n, _)| *n == name).map_or(0, |(_, value)| *value);
    while let Some(line) = lines.next() {
        let Some(directive) = line.trim_start().strip_prefix("//!") else {
            if keep {
                let mut line = line.to_owned();
                for (name, number) in loops {
                    line = line.replace(&format!("@{name}"), &number.to_string());
                }
                out.push_str(&line);
                out.push('\n');
            }
            continue;
        };
        match directive.split_whitespace().collect::<Vec<_>>()[..] {
            ["include", name] => {
                if keep {
                    block(&mut find(PIECES, name).lines(), constants, loops, true, out);
                }
            }
            ["if", name] => {
                let holds = value(name) != 0;
                if block(lines, constants, loops, keep && holds, out) {
                    block(lines, constants, loops, keep && !holds, out);
                }
            }
            ["for", variable, count] => {
                let body = lines.clone();
                // Once for the lines to be passed over, then once for each number.
                block(lines, constants, loops, false, out);
                for number in 0..count.parse().unwrap_or_else(|_| value(count)) {
                    let mut inner = loops.to_vec();
                    inner.push((variable, number));
                    block(&mut body.clone(), constants, &inner, keep, out);
                }
            }
            ["else"] => return true,
            ["end"] => return false,
            _ => panic!("WGSL directive `{line}`"),
        }
    }
    false
}
