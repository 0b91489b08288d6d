//! Names of files, and disks that fail in the middle of an entry.

use super::{super::entry::PIECE_BYTES, *};
use std::io::{Read, Write};

fn head(kind: Kind) -> Head {
    let key = Key { group: 0x0123_4567_89ab_cdef, n_tokens: 42, digest: [0xa5; 32] };
    Head { kind, key, form: 7, payload_bytes: 3 * PIECE_BYTES as u64 + 5 }
}

#[test]
fn names_say_what_an_entry_is() {
    for kind in [Kind::State, Kind::Embedding] {
        let name = name_of(&head(kind));
        assert_eq!(parse(&name), Some((kind, 0x0123_4567_89ab_cdef, 42, [0xa5; 16])));
        for other in [&name[1..], &name[..name.len() - 1], "", "wingbeat-", "wingbeat-0-0-0.state"] {
            assert_eq!(parse(other), None, "{other}");
        }
        assert_eq!(parse(&name.replace("-42-", "-x-")), None);
        assert_eq!(parse(&name.replace("-42-", "-42-43-")), None);
    }
}

fn payload() -> Vec<u8> {
    (0..head(Kind::State).payload_bytes).map(|i| (i * i / 7) as u8).collect()
}

fn written() -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut writer = Writer::begin(&mut bytes, &head(Kind::State)).unwrap();
    // In parts, as a state has several slabs.
    let payload = payload();
    payload.chunks(100_003).for_each(|part| writer.put(part).unwrap());
    writer.end().unwrap();
    assert_eq!(bytes.len() as u64, head(Kind::State).file_bytes());
    bytes
}

fn read(input: impl Read, head: &Head) -> Result<Vec<u8>, Refusal> {
    let mut reader = Reader::begin(input, head)?;
    let mut payload = vec![0; head.payload_bytes as usize];
    payload.chunks_mut(77_777).try_for_each(|part| reader.fill(part))?;
    reader.end()?;
    Ok(payload)
}

#[test]
fn what_was_written_is_read() {
    assert_eq!(read(&written()[..], &head(Kind::State)).unwrap(), payload());
    let others = [
        head(Kind::Embedding),
        Head { form: 8, ..head(Kind::State) },
        Head { payload_bytes: 5, ..head(Kind::State) },
    ];
    for other in others {
        assert!(matches!(read(&written()[..], &other), Err(Refusal::Damaged(_))));
    }
}

/// Gives or takes so many bytes, then no more.
struct Limited<T>(T, usize);

impl<R: Read> Read for Limited<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let n = out.len().min(self.1);
        if n == 0 && !out.is_empty() {
            return Err(io::Error::other("the disk has come off"));
        }
        self.1 -= n;
        self.0.read(&mut out[..n])
    }
}

impl<W: Write> Write for Limited<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = bytes.len().min(self.1);
        if n == 0 && !bytes.is_empty() {
            return Err(ErrorKind::StorageFull.into());
        }
        self.1 -= n;
        self.0.write(&bytes[..n])
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

#[test]
fn disks_that_fail_are_errors_wherever_they_do() {
    let (head, good, payload) = (head(Kind::State), written(), payload());
    for at in (0..200).chain((200..good.len()).step_by(65_537)).chain(good.len() - 20..good.len()) {
        let mut out = Vec::new();
        let write = |out: &mut Vec<u8>| {
            let mut writer = Writer::begin(Limited(out, at), &head)?;
            payload.chunks(100_003).try_for_each(|part| writer.put(part))?;
            writer.end()
        };
        assert_eq!(write(&mut out).unwrap_err().kind(), ErrorKind::StorageFull, "byte {at}");
        assert!(matches!(read(&out[..], &head), Err(Refusal::Damaged(_))), "byte {at}");
        assert!(matches!(read(Limited(&good[..], at), &head), Err(Refusal::Io(_))), "byte {at}");
    }
}
