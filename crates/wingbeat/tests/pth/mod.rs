//! Checkpoints as `torch.save` writes them, of F32 tensors, for tests of what reads `.pth` files.
// Each test program uses some of it.
#![allow(dead_code, unreachable_pub)]

/// The bytes of a checkpoint with these tensors.
pub fn checkpoint(tensors: &[(&str, &[usize], &[f32])]) -> Vec<u8> {
    let mut pickle = b"\x80\x02}(".to_vec();
    let mut entries = Vec::new();
    for (number, (name, shape, values)) in tensors.iter().enumerate() {
        text(&mut pickle, name);
        pickle.extend_from_slice(b"ctorch._utils\n_rebuild_tensor_v2\n((");
        text(&mut pickle, "storage");
        pickle.extend_from_slice(b"ctorch\nFloatStorage\n");
        text(&mut pickle, &number.to_string());
        text(&mut pickle, "cpu");
        int(&mut pickle, values.len());
        pickle.extend_from_slice(b"tQ");
        int(&mut pickle, 0);
        let strides: Vec<usize> = (0..shape.len()).map(|axis| shape[axis + 1..].iter().product()).collect();
        for tuple in [shape, &strides[..]] {
            pickle.push(b'(');
            tuple.iter().for_each(|n| int(&mut pickle, *n));
            pickle.push(b't');
        }
        pickle.extend_from_slice(b"\x89ccollections\nOrderedDict\n)RtR");
        entries.push((format!("m/data/{number}"), values.iter().flat_map(|v| v.to_le_bytes()).collect()));
    }
    pickle.extend_from_slice(b"u.");
    entries.insert(0, ("m/data.pkl".to_owned(), pickle));
    entries.push(("m/version".to_owned(), b"3\n".to_vec()));
    zip(&entries)
}

fn text(pickle: &mut Vec<u8>, text: &str) {
    pickle.push(b'X');
    pickle.extend_from_slice(&(text.len() as u32).to_le_bytes());
    pickle.extend_from_slice(text.as_bytes());
}

fn int(pickle: &mut Vec<u8>, n: usize) {
    pickle.push(b'J');
    pickle.extend_from_slice(&(n as u32).to_le_bytes());
}

/// Entries stored as they are; nobody looks at the checksums.
fn zip(entries: &[(String, Vec<u8>)]) -> Vec<u8> {
    let (mut file, mut directory) = (Vec::new(), Vec::new());
    for (name, data) in entries {
        let sizes = [[0; 4], (data.len() as u32).to_le_bytes(), (data.len() as u32).to_le_bytes()].concat();
        let lengths = [(name.len() as u16).to_le_bytes(), [0; 2]].concat();
        directory.extend_from_slice(
            &[&b"PK\x01\x02\0\0\0\0\0\0\0\0\0\0\0\0"[..], &sizes, &lengths, &[0; 10]].concat(),
        );
        directory.extend_from_slice(&[&(file.len() as u32).to_le_bytes()[..], name.as_bytes()].concat());
        file.extend_from_slice(&[&b"PK\x03\x04\0\0\0\0\0\0\0\0\0\0"[..], &sizes, &lengths].concat());
        file.extend_from_slice(&[name.as_bytes(), data].concat());
    }
    let n = (entries.len() as u16).to_le_bytes();
    let place = [(directory.len() as u32).to_le_bytes(), (file.len() as u32).to_le_bytes()].concat();
    [&file[..], &directory, b"PK\x05\x06\0\0\0\0", &n, &n, &place, &[0; 2]].concat()
}
