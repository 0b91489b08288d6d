//! Archives that are damaged, lie, or are no checkpoints.

use super::*;

fn good() -> Vec<Entry> {
    entries(&dict(&[("w", tensor("FloatStorage", "0", 2, 0, &[2], &[1]))]), &[&[0; 8]])
}

/// The checkpoint with its entry `name` changed.
fn with(name: &str, change: impl Fn(&mut Entry)) -> Vec<u8> {
    let mut entries = good();
    entries.iter_mut().filter(|entry| entry.name == name.as_bytes()).for_each(change);
    zip(&entries)
}

#[test]
fn what_is_no_checkpoint_is_refused() {
    assert!(read(zip(&good())).is_ok());
    refused(zip(&[]), &["a PyTorch checkpoint", "an empty zip archive"]);
    refused(zip(&[entry("word/document.xml", b"<>")]), &["a PyTorch checkpoint", "\"word/document.xml\""]);
    refused(zip(&[entry("data.pkl", b"N.")]), &["\"NAME/data.pkl\""]);
    refused(zip(&[entry("../data.pkl/data.pkl", b"N.")]), &["\"NAME/data.pkl\""]);
    let mut two = good();
    two.push(entry("n/data.pkl", b"N."));
    refused(zip(&two), &["one entry data.pkl", "\"m/data.pkl\" and \"n/data.pkl\""]);
    refused(zip(&good()[..1]), &["\"m/version\"", "found none"]);
    refused(with("m/version", |e| e.data = b"x\n".to_vec()), &["\"m/version\"", "a number", "x\\n"]);
    refused(with("m/byteorder", |e| *e = entry("m/byteorder", b"big")), &["little-endian", "\"big\""]);
    assert!(read(with("m/byteorder", |e| *e = entry("m/other", b"big"))).is_ok(), "older files do not say");
}

#[test]
fn damaged_entries_are_refused_by_name() {
    let storage = |change: &dyn Fn(&mut Entry), parts: &[&str]| {
        let parts: Vec<&str> = parts.iter().copied().chain(["\"m/data/0\""]).collect();
        refused(with("m/data/0", change), &parts);
    };
    storage(&|e| e.method = 8, &["not compressed", "method 8"]);
    storage(&|e| e.flags = 1, &["not encrypted"]);
    storage(&|e| e.flags = 1 << 6, &["not encrypted"]);
    storage(&|e| e.packed_bytes = 7, &["as many bytes stored", "7 of 8"]);
    storage(&|e| e.local_name = b"m/data/1".to_vec(), &["the same name in its header", "m/data/1"]);
    storage(&|e| e.header = Some(0), &["the same name in its header", "m/data.pk"]);
    storage(&|e| e.header = Some(1), &["begin with", "at byte 1"]);
    storage(&|e| e.header = Some(1 << 30), &["before the directory", "byte 1073741824"]);
    storage(&|e| e.header = Some(u32::MAX), &["zip64 field"]);
    storage(&|e| e.n_bytes = u32::MAX, &["zip64 field"]);
    let huge = |e: &mut Entry| (e.n_bytes, e.packed_bytes) = (1 << 30, 1 << 30);
    storage(&huge, &["before the directory", "1073741824 bytes"]);
    let wide = |e: &mut Entry| {
        e.n_bytes = u32::MAX;
        e.packed_bytes = u32::MAX;
        e.extra = [&[1, 0, 16, 0][..], &[0xff; 16]].concat();
    };
    storage(&wide, &["before the directory", "18446744073709551615 bytes"]);
    storage(&|e| e.data.clear(), &["before the directory", "8 bytes"]);
    refused(
        with("m/data/0", |e| (e.n_bytes, e.packed_bytes) = (4, 4)),
        &["tensor \"w\"", "2 values in F32", "found 4 bytes"],
    );
    // The header's own length, where the sizes do not follow the bytes.
    let own_length = |flags| {
        let entries = good();
        let at = entries[..3].iter().map(|e| 30 + e.name.len() + e.data.len()).sum::<usize>();
        let mut bytes = with("m/data/0", |e| e.flags = flags);
        assert!(bytes[at..].starts_with(b"PK\x03\x04"));
        bytes[at + 22] = 0;
        bytes
    };
    refused(own_length(0), &["\"m/data/0\"", "8 bytes, as the directory says", "found 0"]);
    assert!(read(own_length(1 << 3)).is_ok());

    let mut twice = good();
    twice.push(entry("m/data/0", &[0; 8]));
    refused(zip(&twice), &["\"m/data/0\"", "a second"]);
    refused(with("m/data/0", |e| e.name = vec![0xff; 9]), &["UTF-8", "entry 3"]);
    refused(
        with("m/data/0", |e| *e = entry("m/data/00", &[0; 8])),
        &["tensor \"w\"", "\"m/data/0\"", "found none"],
    );
    refused(with("m/data.pkl", |e| e.flags = 1), &["\"m/data.pkl\"", "not encrypted"]);
    refused(with("m/data.pkl", |e| e.method = 12), &["\"m/data.pkl\"", "method 12"]);

    // What no tensor needs may be anything: it is not looked at.
    let mut other = good();
    other.push(Entry { method: 8, flags: 1, header: Some(77), ..entry("../../etc/passwd", b"") });
    assert!(read(zip(&other)).is_ok());
}

#[test]
fn damaged_directories_are_refused() {
    let good = zip(&good());
    let end = good.len() - 22;
    let with = |at: usize, bytes: &[u8]| {
        let mut changed = good.clone();
        changed[at..at + bytes.len()].copy_from_slice(bytes);
        changed
    };
    refused(with(end, b"PK\x05\x07"), &["zip directory", "cut short"]);
    refused(with(end + 4, &[1, 0]), &["in one file"]);
    refused(with(end + 10, &[3, 0]), &["3 entries", "bytes more"]);
    refused(with(end + 10, &[5, 0]), &["a whole entry 4", "found 0 bytes"]);
    refused(with(end + 12, &[0xff; 4]), &["to lie before byte", "4294967295 bytes"]);
    refused(with(end + 16, &[0xff; 4]), &["to lie before byte", "4294967295"]);
    refused(with(end + 16, &[1, 0, 0, 0]), &["entry 0 to begin with"]);
    // A comment may follow, and may look like an end itself.
    let comment = [&b"PK\x05\x06"[..], &[0; 30]].concat();
    let commented = [&with(end + 20, &(comment.len() as u16).to_le_bytes())[..], &comment].concat();
    assert!(read(commented).is_ok());
    refused([&good[..], b"x"].concat(), &["cut short"]);
    refused([&good[..], &[0; 70_000]].concat(), &["cut short"]);
}

/// The same archive with the records of large ones, and entries whose numbers stand in the extra field.
fn zip64(entries: &[Entry]) -> Vec<u8> {
    let mut place = 0u64;
    let mut wide = entries.to_vec();
    for entry in &mut wide {
        let numbers = [u64::from(entry.n_bytes), u64::from(entry.packed_bytes), place];
        place += (30 + entry.local_name.len() + entry.data.len()) as u64;
        (entry.n_bytes, entry.packed_bytes, entry.header) = (u32::MAX, u32::MAX, Some(u32::MAX));
        // A field of another program comes first.
        entry.extra = [&b"FB\x02\0ZZ\x01\0\x18\0"[..], &numbers.map(u64::to_le_bytes).concat()].concat();
    }
    let mut bytes = zip(&wide);
    let end = bytes.split_off(bytes.len() - 22);
    let at = bytes.len() as u64;
    let number = |at: usize| u64::from(u32::from_le_bytes([end[at], end[at + 1], end[at + 2], end[at + 3]]));
    let n = entries.len() as u64;
    bytes.extend([&b"PK\x06\x06"[..], &44u64.to_le_bytes(), &[45, 0, 45, 0], &[0; 8]].concat());
    bytes.extend([n, n, number(12), number(16)].iter().flat_map(|x| x.to_le_bytes()));
    bytes.extend([&b"PK\x06\x07\0\0\0\0"[..], &at.to_le_bytes(), &[1, 0, 0, 0]].concat());
    bytes.extend([&b"PK\x05\x06\0\0\0\0"[..], &[0xff; 12], &[0; 2]].concat());
    bytes
}

#[test]
fn records_of_large_archives_are_read() {
    let good = zip64(&good());
    assert_eq!(read(good.clone()).unwrap().tensors()[0].to_f32(), [0.0, 0.0]);
    let (locator, record) = (good.len() - 22 - 20, good.len() - 22 - 20 - 56);
    let with = |at: usize, bytes: &[u8]| {
        let mut changed = good.clone();
        changed[at..at + bytes.len()].copy_from_slice(bytes);
        changed
    };
    refused(with(locator + 8, &[0xff; 8]), &["zip64 record at byte 18446744073709551615"]);
    refused(with(locator + 8, &[0; 8]), &["zip64 record at byte 0"]);
    refused(with(locator, b"XX"), &["to lie before byte"]);
    refused(with(record + 16, &[1]), &["in one file"]);
    refused(with(record + 32, &[0xff; 8]), &["a whole entry 4"]);
    refused(with(record + 40, &[0xff; 8]), &["to lie before byte", "18446744073709551615 bytes"]);
    refused(with(record + 48, &[0xff; 8]), &["to lie before byte", "from byte 18446744073709551615"]);
    for n in 0..good.len() {
        assert!(read(good[..n].to_vec()).is_err());
    }
}
