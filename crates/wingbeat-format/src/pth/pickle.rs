//! Writes the pickle of a dict of tensors, in the instructions that `torch.save` uses.

use super::values::Element;
use crate::tensor::TensorSpec;

/// The pickle of `tensors`, each the whole of a storage whose key is its place.
pub(super) fn of_tensors(tensors: &[(&TensorSpec, &'static Element)]) -> Vec<u8> {
    // Protocol 2, an empty dict, and its entries up to the end.
    let mut out = b"\x80\x02}".to_vec();
    // Readers hold a run of entries in memory: torch's own writer makes runs of this length.
    for (run, tensors) in tensors.chunks(RUN).enumerate() {
        out.push(b'(');
        for (i, (spec, element)) in tensors.iter().enumerate() {
            put_text(&mut out, &spec.name);
            put_tensor(&mut out, spec, element, run * RUN + i);
        }
        out.push(b'u');
    }
    out.push(b'.');
    out
}

const RUN: usize = 1000;

fn put_tensor(out: &mut Vec<u8>, spec: &TensorSpec, element: &Element, key: usize) {
    let n: usize = spec.shape.iter().product();
    let mut strides = vec![1; spec.shape.len()];
    for i in (1..spec.shape.len()).rev() {
        strides[i - 1] = strides[i] * spec.shape[i].max(1);
    }
    out.extend(b"ctorch._utils\n_rebuild_tensor_v2\n((");
    put_text(out, "storage");
    out.extend(format!("c{}\n{}\n", element.module, element.class).as_bytes());
    put_text(out, &key.to_string());
    put_text(out, "cpu");
    put_int(out, n);
    // The storage, its first value, the shape, the strides, no gradient, no hooks.
    out.extend(b"tQ");
    put_int(out, 0);
    for numbers in [&spec.shape, &strides] {
        out.push(b'(');
        numbers.iter().for_each(|&n| put_int(out, n));
        out.push(b't');
    }
    out.extend(b"\x89ccollections\nOrderedDict\n)RtR");
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    out.push(b'X');
    out.extend((text.len() as u32).to_le_bytes());
    out.extend(text.as_bytes());
}

/// In the shortest of the forms that torch's careful reader knows.
fn put_int(out: &mut Vec<u8>, n: usize) {
    match (u8::try_from(n), u16::try_from(n), i32::try_from(n)) {
        (Ok(n), ..) => out.extend([b'K', n]),
        (_, Ok(n), _) => out.extend([&b"M"[..], &n.to_le_bytes()].concat()),
        (.., Ok(n)) => out.extend([&b"J"[..], &n.to_le_bytes()].concat()),
        // Nine bytes: the number is positive whatever its highest bit.
        _ => out.extend([&b"\x8a\x09"[..], &(n as u64).to_le_bytes(), &[0]].concat()),
    }
}
