use super::*;

fn file(version: &[u8], length: usize, text: &[u8]) -> Vec<u8> {
    let length = (length as u32).to_le_bytes();
    let n = if version[0] == 1 { 2 } else { 4 };
    [MAGIC, version, &length[..n], text].concat()
}

fn read(text: &str) -> anyhow::Result<Header> {
    read_header(&mut &file(&[1, 0], text.len(), text.as_bytes())[..])
}

/// Byte for byte what `numpy.save` of numpy 2 writes for such an array.
#[test]
fn the_header_is_that_of_numpy() {
    let found = header(3, 256);
    let text = "{'descr': '<f4', 'fortran_order': False, 'shape': (3, 256), }";
    let expected = file(&[1, 0], 118, format!("{text:<117}\n").as_bytes());
    assert_eq!(found, expected);
    assert_eq!(found.len(), 128);
    for (n_rows, n_cols) in [(0, 1), (1, 1), (usize::MAX, usize::MAX), (12345, 768)] {
        let bytes = header(n_rows, n_cols);
        assert_eq!(bytes.len() % 64, 0);
        let expected = Header { n_rows, n_cols, n_bytes: bytes.len() as u64 };
        assert_eq!(read_header(&mut &bytes[..]).unwrap(), expected);
    }
}

#[test]
fn headers_of_others_are_read() {
    for text in [
        "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }\n",
        "{'shape':(2,3,),'fortran_order':False,'descr':'<f4'}",
        "{ \"descr\" : \"<f4\", \"shape\" : ( 2L , 3L ), \"fortran_order\" : False }   \n",
    ] {
        let header = read(text).unwrap();
        assert_eq!((header.n_rows, header.n_cols), (2, 3), "{text}");
    }
    let text = b"{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }";
    for major in [2, 3] {
        let bytes = file(&[major, 0], text.len(), text);
        assert_eq!(read_header(&mut &bytes[..]).unwrap().n_bytes, bytes.len() as u64);
    }
}

#[test]
fn hostile_headers_are_refused() {
    for (text, what) in [
        ("", "expected `{`"),
        ("{", "its end"),
        ("{}", "needs the keys"),
        ("{}}", "goes on"),
        ("{'descr': '<f8', 'fortran_order': False, 'shape': (2, 3)}", "found '<f8'"),
        ("{'descr': '>f4', 'fortran_order': False, 'shape': (2, 3)}", "found '>f4'"),
        ("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (2, 3)}", "`descr`"),
        ("{'descr': '|O', 'fortran_order': False, 'shape': (2, 3)}", "found '|O'"),
        ("{'descr': '<f4', 'fortran_order': True, 'shape': (2, 3)}", "found True"),
        ("{'descr': '<f4', 'fortran_order': False, 'shape': (2,)}", "found 1"),
        ("{'descr': '<f4', 'fortran_order': False, 'shape': ()}", "found 0"),
        ("{'descr': '<f4', 'fortran_order': False, 'shape': (1, 2, 3)}", "found 3"),
        ("{'descr': '<f4', 'fortran_order': False, 'shape': (-1, 3)}", "expected a word"),
        ("{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999, 3)}", "no number"),
        ("{'descr': '<f4', 'fortran_order': False, 'shape': (2 3)}", "expected `)`"),
        ("{'descr': '<f4', 'fortran_order': False}", "no `shape`"),
        ("{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': (2, 3)}", "a second `descr`"),
        ("{'other': 3}", "unknown key `other`"),
        ("{'descr", "no end"),
        ("{descr: 3}", "expected `'`"),
        ("{'descr': '\\x3c'}", "`descr`"),
    ] {
        let error = format!("{:#}", read(text).unwrap_err());
        assert!(error.contains(what) && !error.contains('\n'), "{text}: {error}");
    }
    let refused = |bytes: &[u8], what: &str| {
        let error = format!("{:#}", read_header(&mut &bytes[..]).unwrap_err());
        assert!(error.contains(what), "{error}");
    };
    refused(b"\x93NUMPY\x04\x00", "found 4.0");
    refused(b"\x93NUMPX\x01\x00", "NUMPX");
    refused(&file(&[2, 0], u32::MAX as usize, b"{"), "at most 65536 bytes");
    let whole = header(3, 256);
    for n in 0..whole.len() {
        refused(&whole[..n], "truncated");
    }
}
