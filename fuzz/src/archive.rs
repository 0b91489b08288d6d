//! Zip archives for the target `pth`, so that the fuzzer may spend its time on pickles.

/// An archive of these entries, all in one folder and stored as they are.
pub(crate) fn stored(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let (mut out, mut directory) = (Vec::new(), Vec::new());
    for (name, data) in entries {
        let name = format!("m/{name}");
        let (place, n_data) = (out.len() as u32, data.len() as u32);
        // CRC (not looked at), stored and real length, length of the name.
        let sizes =
            [&[0; 4], &n_data.to_le_bytes()[..], &n_data.to_le_bytes(), &(name.len() as u16).to_le_bytes()]
                .concat();
        out.extend([&b"PK\x03\x04"[..], &[0; 10], &sizes, &[0; 2], name.as_bytes(), data].concat());
        let head =
            [&b"PK\x01\x02"[..], &[0; 12], &sizes, &[0; 12], &place.to_le_bytes(), name.as_bytes()].concat();
        directory.extend(head);
    }
    let n = (entries.len() as u16).to_le_bytes();
    let (start, n_directory) = ((out.len() as u32).to_le_bytes(), (directory.len() as u32).to_le_bytes());
    out.extend(directory);
    out.extend([&b"PK\x05\x06\0\0\0\0"[..], &n, &n, &n_directory, &start, &[0; 2]].concat());
    out
}
