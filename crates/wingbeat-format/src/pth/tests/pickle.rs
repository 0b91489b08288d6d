//! Pickles that are damaged, or programs.

use super::*;

/// The pickle's instructions, in an archive with a storage of 8 bytes.
fn file_of(instructions: &[u8]) -> Vec<u8> {
    zip(&entries(instructions, &[&[0; 8]]))
}

fn good() -> Vec<u8> {
    tensor("FloatStorage", "0", 2, 0, &[2], &[1])
}

#[test]
fn programs_are_refused_by_name_and_not_run() {
    let program = |instructions: &[u8], name: &str| {
        let name = format!("refuses to run `{name}`");
        refused(file_of(instructions), &["\"m/data.pkl\"", &name]);
        // Nor beside tensors.
        let beside = [&b"\x80\x02}("[..], &text("w"), &good(), &text("x"), instructions, b"u."].concat();
        refused(file_of(&beside), &[&name]);
    };
    program(b"cos\nsystem\n(X\x02\0\0\0idtR.", "os.system");
    program(b"cposix\nsystem\n(X\x02\0\0\0idtR.", "posix.system");
    program(b"cbuiltins\neval\n(X\x01\0\0\x001tR.", "builtins.eval");
    program(b"c__builtin__\nexec\n)R.", "__builtin__.exec");
    program(b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x02id\x85R.", "os.system");
    program(b"(X\x02\0\0\0idios\nsystem\n.", "os.system");
    program(b"csubprocess\nPopen\n)\x81.", "subprocess.Popen");
    program(b"ctorch\nload\n)R.", "torch.load");
    program(b"ctorch._utils\n_rebuild_tensor_v3\n)R.", "torch._utils._rebuild_tensor_v3");
    program(b"ccollections\nOrderedDict.__class__\n)R.", "collections.OrderedDict.__class__");
    program(b"ctorch\nFloatStorage\n)R.", "torch.FloatStorage");
    // A name cannot break the message's line.
    program(b"\x80\x04\x8c\x02\x0a\"\x8c\x01\x00\x93.", "\\n\\\".\\0");
    program(b"c\n\n)R.", ".");
}

#[test]
fn what_torch_does_not_write_is_refused() {
    let refused = |instructions: &[u8], parts: &[&str]| refused(file_of(instructions), parts);
    refused(b".", &["1 values on the stack"]);
    refused(b"", &["byte 0", "1 bytes", "found 0"]);
    refused(b"N", &["byte 1"]);
    refused(b"NN.", &["one value at the end", "found 1 more"]);
    refused(b"(N.", &["one value at the end"]);
    refused(b"N.N", &["to end here", "1 bytes more"]);
    refused(b"\x80\x00N.", &["protocol 2 to 5", "found 0"]);
    refused(b"\x80\x06N.", &["protocol 2 to 5", "found 6"]);
    refused(
        b"\x95\xff\xff\xff\xff\xff\xff\xff\xffN.",
        &["a frame of at most 2 bytes", "18446744073709551615"],
    );
    refused(b"I1\n.", &["an instruction that torch.save uses", "0x49"]);
    refused(b"\xff", &["0xff"]);
    refused(b"N\x81.", &["an object of another class"]);

    // Lengths far beyond the file.
    for instruction in
        [&b"X\xff\xff\xff\xff"[..], b"B\xff\xff\xff\xff", b"\x8b\xff\xff\xff\xff", b"\x8c\xff", b"\x8a\xff"]
    {
        refused(&[instruction, b"abc"].concat(), &["byte 0", "found 3 to the end"]);
    }
    for instruction in [0x8d, 0x8e, 0x96] {
        refused(
            &[&[instruction][..], &[0xff; 8], b"abc"].concat(),
            &["18446744073709551615 bytes", "found 3"],
        );
    }
    refused(b"X\x01\0\0\0\xff.", &["UTF-8"]);
    refused(b"cos", &["3 bytes", "found 2"]);
    refused(&[&b"c"[..], &[b'x'; 300], b"\nx\n"].concat(), &["at most 256 bytes"]);

    // Too little on the stack.
    for instruction in b"02asbqQR\x85\x86\x87\x93\x94" {
        refused(&[*instruction, 0, b'.'], &["byte 0", "on the stack"]);
        refused(&[b'(', *instruction, 0, b'.'], &["byte 1", "on the stack"]);
    }
    for instruction in b"1tldeu" {
        refused(&[*instruction, b'.'], &["a mark"]);
    }
    refused(b"(Nd.", &["in pairs"]);
    refused(b"}(Nu.", &["in pairs"]);
    refused(b"]NNs.", &["a dict", "a list"]);
    refused(b"}Na.", &["a list", "a dict"]);
    refused(b"N(Ne.", &["a list", "None"]);
    refused(b")}b.", &["a dict", "a tuple"]);
    refused(b"h\x07.", &["put aside", "none as 7"]);
    refused(b"j\xff\xff\xff\xff.", &["none as 4294967295"]);
    refused(b"Nr\xff\xff\xff\xff.", &["at most 1048576 values put aside", "one as 4294967295"]);
    refused(b"Nr\xff\xff\x0f\x000h\x07.", &["none as 7"]);
    refused(b"N)R.", &["a function", "None"]);
    refused(b"NQ.", &["a storage's class"]);
    refused(b"ccollections\nOrderedDict\n]\x85R.", &["without arguments"]);
    refused(
        b"ctorch._utils\n_rebuild_parameter\nNNN\x87R.",
        &["a tensor for torch._utils._rebuild_parameter"],
    );
    refused(b"ctorch._utils\n_rebuild_tensor_v2\n)R.", &["arguments of torch._utils._rebuild_tensor_v2"]);
    refused(b"ctorch._utils\n_rebuild_tensor_v2\n(NNNNNNtR.", &["storage, offset, shape and strides"]);
}

#[test]
fn metadata_that_change_values_are_refused() {
    let end = b"ccollections\nOrderedDict\n)R";
    let with = |metadata: &[u8]| {
        let plain = good();
        let (head, _) = plain.split_at(plain.len() - 2);
        assert!(head.ends_with(end));
        file_of(&dict(&[("w", [head, metadata, b"tR"].concat())]))
    };
    assert!(read(with(b"")).is_ok() && read(with(b"N")).is_ok() && read(with(b"}")).is_ok());
    refused(with(b"}X\x03\0\0\0neg\x88s"), &["no metadata"]);
    refused(with(b"NN"), &["no metadata"]);
}

#[test]
fn recursion_and_repetition_cost_nothing() {
    // Dicts, lists and memos that hold themselves.
    let itself = [&b"\x80\x02}q\x00("[..], &text("model"), b"h\x00", &text("l"), b"]q\x01h\x01au."].concat();
    refused(file_of(&itself), &["a dict of 2 entries, none a tensor"]);
    // Each list holds the one before twice: a billion laughs.
    let laughs = [&b"\x80\x02]q\x000"[..], &b"]h\x00ah\x00aq\x000".repeat(10_000), b"h\x00."].concat();
    refused(file_of(&laughs), &["found a list"]);
    let nested = [&b"\x80\x02"[..], &b"]".repeat(60_000), &b"a".repeat(59_999), b"."].concat();
    refused(file_of(&nested), &["found a list"]);
    let tuples = [&b"\x80\x02)"[..], &b"\x85".repeat(500_000), b"."].concat();
    refused(file_of(&tuples), &["found a tuple"]);
    refused(file_of(&b"(".repeat(100_000)), &["a stack of at most 65536"]);
    refused(file_of(&[&b"N"[..], &b"2".repeat(100_000)].concat()), &["a stack of at most 65536"]);
    refused(file_of(&b"N0".repeat(1 << 20)), &["at most 1048576 instructions"]);
    refused(file_of(&[&b"X\0\0\0\x02"[..], &vec![b'x'; 33 << 20]].concat()), &["at most 16777216 bytes"]);
}

#[test]
fn damaged_tensors_are_refused_by_name() {
    let one = |value: Vec<u8>, parts: &[&str]| {
        let parts: Vec<&str> = parts.iter().copied().chain(["\"att.w0\""]).collect();
        refused(file_of(&dict(&[("att.w0", value)])), &parts);
    };
    let f32 =
        |n, offset, shape: &[i64], strides: &[i64]| tensor("FloatStorage", "0", n, offset, shape, strides);
    one(f32(3, 0, &[2], &[1]), &["storage \"0\"", "3 values in F32", "found 8 bytes"]);
    one(f32(-2, 0, &[2], &[1]), &["-2 values"]);
    one(f32(i64::MAX, 0, &[2], &[1]), &["9223372036854775807 values"]);
    one(f32(2, 0, &[3], &[1]), &["the 2 values of its storage", "shape [3] from value 0"]);
    one(f32(2, 1, &[2], &[1]), &["shape [2] from value 1"]);
    one(f32(2, -1, &[2], &[1]), &["from value -1"]);
    one(f32(2, i64::MAX, &[2], &[1]), &["from value 9223372036854775807"]);
    one(f32(2, 0, &[-2], &[1]), &["dimensions of zero or more", "found -2"]);
    one(f32(2, 0, &[2], &[-1]), &["strides of zero or more", "found -1"]);
    one(f32(2, 0, &[i64::MAX, 4], &[4, 1]), &["fits the address space"]);
    one(f32(2, 0, &[i64::MAX], &[1]), &["fits the address space"]);
    one(f32(2, 0, &[1; 9], &[1; 9]), &["at most 8 dimensions", "found 9"]);
    refused(file_of(&dict(&[("w", f32(2, 0, &[1; 65], &[1; 65]))])), &["shape and strides"]);
    one(f32(2, 0, &[2], &[2]), &["row-major", "strides [2] for shape [2]"]);
    one(f32(2, 0, &[2, 1, 2], &[0, 1, 1]), &["row-major", "strides [0, 1, 1]"]);
    one(f32(2, 0, &[3, 5], &[1, 3]), &["row-major", "transposed view of a (5, 3) matrix", ".contiguous()"]);
    one(tensor("FloatStorage", "9", 2, 0, &[2], &[1]), &["zip entry \"m/data/9\"", "found none"]);
    one(tensor("FloatStorage", "../version", 2, 0, &[2], &[1]), &["\"m/data/../version\"", "found none"]);
    one(tensor("CharStorage", "0", 8, 0, &[8], &[1]), &["F16", "found those of a CharStorage"]);
    one(tensor("BoolStorage", "0", 8, 0, &[8], &[1]), &["BoolStorage"]);

    let odd = dict(&[("w", f32(2, 0, &[2], &[1, 1]))]);
    refused(file_of(&odd), &["storage, offset, shape and strides"]);
    let file_of_dict = |entries: &[(&str, Vec<u8>)]| file_of(&dict(entries));
    refused(file_of_dict(&[("w", good()), ("w", good())]), &["tensor \"w\"", "a second"]);
    refused(file_of_dict(&[("w", good()), ("x", b"]".to_vec())]), &["entry \"x\"", "a tensor", "a list"]);
    refused(file_of_dict(&[]), &["a dict of tensors", "0 entries"]);
    refused(file_of_dict(&[("deep", b"}".to_vec())]), &["\"state_dict\"", "1 entries, none a tensor"]);
    refused(file_of(&[&good()[..], b"."].concat()), &["a dict of tensors", "found a tensor"]);
    let repeated = [&text("a")[..], &text(&"x".repeat(1000)), b"q\x00", &text("b"), b"h\x00"].concat();
    refused(
        file_of(&[&b"\x80\x02}("[..], &text("w"), &good(), &repeated, b"u."].concat()),
        &["\"b\"", "used once each"],
    );
    let unnamed = [&b"\x80\x02}(K\x01"[..], &good(), b"u."].concat();
    refused(file_of(&unnamed), &["a dict of named tensors", "an integer as a name"]);
}

#[test]
fn storages_may_be_shared() {
    let two = dict(&[("a", good()), ("b", tensor("FloatStorage", "0", 2, 1, &[1, 1], &[7, 9]))]);
    let file = read(file_of(&two)).unwrap();
    let (a, b) = (file.tensor("a").unwrap(), file.tensor("b").unwrap());
    assert_eq!(a.data.as_ptr() as usize + 4, b.data.as_ptr() as usize);
    // As another type too, if the length allows.
    let other = dict(&[("a", good()), ("b", tensor("HalfStorage", "0", 4, 0, &[4], &[1]))]);
    assert_eq!(read(file_of(&other)).unwrap().tensors().len(), 2);
}
