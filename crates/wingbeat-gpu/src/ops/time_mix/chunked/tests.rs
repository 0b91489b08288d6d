//! What shapes promise, against the kernels' own declarations.

use super::*;
use crate::ops::check::{valid, workgroup_bytes};

#[test]
fn what_workgroups_share_is_known_beforehand() {
    for (head_size, room) in [(64, 16 << 10), (64, 48 << 10), (32, 16 << 10), (128, 48 << 10)] {
        let shape = Shape::within(head_size, room, 1024).expect("a shape that fits");
        let module = valid(&key("wkv7_chunks", &shape.chunks(true, true)));
        assert_eq!(workgroup_bytes(&module) as usize, shape.chunk_bytes(), "N={head_size}");
        for n_heads in [1, 1 << 10] {
            let rows = shape.scan_rows(n_heads, room as usize).expect("rows that fit");
            let module = valid(&key("wkv7_scan", &shape.scan(rows)));
            assert_eq!(workgroup_bytes(&module) as usize, shape.scan_bytes(rows), "N={head_size}, V={rows}");
        }
    }
}

#[test]
fn heads_of_64_go_by_chunks_under_default_limits() {
    let tokens = |head_size, room, threads| Shape::within(head_size, room, threads).map(|shape| shape.tokens);
    assert_eq!(tokens(64, 16 << 10, 256), Some(8));
    assert_eq!(tokens(64, 32 << 10, 256), Some(16));
    assert_eq!(tokens(128, 48 << 10, 256), None);
    assert_eq!(tokens(20, 48 << 10, 1024), None);
}
