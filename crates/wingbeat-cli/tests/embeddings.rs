//! `wingbeat embed` and `wingbeat similar`: formats byte by byte, what is equal to what, and wrong input.

mod binary;

use binary::*;
use serde_json::Value;
use std::path::Path;
use wingbeat::ModelFile;

const WIDTH: usize = 256;
const TEXTS: [&str; 4] =
    ["The sea was calm.", "The waves were quiet that night, and the moon", "He paid the bill.", "x"];

fn lines() -> Vec<u8> {
    TEXTS.join("\n").into_bytes()
}

/// Embeds lines of standard input; what is written to it.
fn embed(args: &[&str], input: &[u8]) -> Vec<u8> {
    let model = fixture(GGUF);
    ok_with_input(&[&["embed", "-m", &model, "--device", "cpu", "-q"], args].concat(), input)
}

/// The objects of a `.jsonl` file.
fn objects(jsonl: &[u8]) -> Vec<Value> {
    let text = std::str::from_utf8(jsonl).expect("UTF-8");
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

fn vector(object: &Value) -> Vec<f32> {
    let values = object["embedding"].as_array().expect("an embedding");
    values.iter().map(|value| value.as_f64().expect("a number") as f32).collect()
}

fn vectors(jsonl: &[u8]) -> Vec<Vec<f32>> {
    objects(jsonl).iter().map(vector).collect()
}

/// Rows of an `.npy` file, by the published format.
fn npy(bytes: &[u8], n_rows: usize, width: usize) -> Vec<Vec<f32>> {
    assert_eq!(&bytes[..8], b"\x93NUMPY\x01\x00");
    let n_header = usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    assert_eq!((10 + n_header) % 64, 0);
    let expected = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({n_rows}, {width}), }}");
    let header = std::str::from_utf8(&bytes[10..10 + n_header]).expect("ASCII");
    assert!(header.ends_with('\n') && header.trim_end() == expected, "{header:?}");
    let data = &bytes[10 + n_header..];
    assert_eq!(data.len(), n_rows * width * 4);
    let values: Vec<f32> =
        data.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
    values.chunks_exact(width).map(<[f32]>::to_vec).collect()
}

#[test]
fn all_formats_hold_the_same() {
    let dir = temp_dir();
    let expected = vectors(&embed(&[], &lines()));
    assert_eq!((expected.len(), expected[0].len()), (4, WIDTH));
    // Nine digits are all of a float: JSON loses nothing.
    assert_eq!(npy(&embed(&["--format", "npy"], &lines()), 4, WIDTH), expected);
    let at = ["a.npy", "a.jsonl", "a.safetensors"].map(|name| path(&dir, name));
    for file in &at {
        assert!(embed(&["-o", file], &lines()).is_empty());
    }
    assert_eq!(npy(&std::fs::read(&at[0]).expect("written"), 4, WIDTH), expected);
    assert_eq!(vectors(&std::fs::read(&at[1]).expect("written")), expected);
    assert_eq!(values(&at[2], "embeddings"), expected.concat());
    let piped = embed(&["--format", "safetensors"], &lines());
    assert_eq!(piped, std::fs::read(&at[2]).expect("written"));
    let file = ModelFile::open(&at[2]).expect("safetensors");
    assert_eq!(file.tensor("embeddings").map(|tensor| tensor.shape.clone()), Some(vec![4, WIDTH]));
    let text = |key: &str| file.metadata().str(key).map(str::to_owned);
    let fingerprint = text("wingbeat.model.fingerprint").expect("a fingerprint");
    assert_eq!(fingerprint.len(), 32);
    assert_eq!(text("wingbeat.model.name").as_deref(), Some("rwkv7-2x256"));
    assert_eq!(text("wingbeat.embeddings.of").as_deref(), Some("hidden"));
    assert_eq!(text("wingbeat.embeddings.pooling").as_deref(), Some("mean"));
    assert_eq!(text("wingbeat.embeddings.normalized").as_deref(), Some("false"));
    let names = r#"["standard input:1","standard input:2","standard input:3","standard input:4"]"#;
    assert_eq!(text("wingbeat.embeddings.names").as_deref(), Some(names));
    assert_eq!(std::fs::read_dir(dir.path()).expect("readable").count(), 3, "no temporary files");
    let inspected = json(&["inspect", "--json", &at[2]]);
    assert_eq!(inspected["kind"], "embeddings");
    let note = inspected["note"].as_str().expect("a note");
    assert!(note.starts_with("embeddings [4, 256] by `rwkv7-2x256`"), "{note}");
}

#[test]
fn one_is_one_of_many() {
    for flags in [&[][..], &["--pooling", "last"], &["--layer", "0"], &["--of", "state", "--slab", "wkv"]] {
        let many = vectors(&embed(flags, &lines()));
        for (text, expected) in TEXTS.iter().zip(&many) {
            let alone = vectors(&embed(flags, text.as_bytes()));
            assert_eq!(alone.len(), 1);
            assert_eq!(&alone[0], expected, "{flags:?}: {text}");
        }
        assert_eq!(vectors(&embed(&[flags, &["--batch", "1"]].concat(), &lines())), many, "{flags:?}");
    }
}

#[test]
fn embeddings_are_of_what_was_asked_for() {
    let dir = temp_dir();
    let (model, out) = (fixture(GGUF), path(&dir, "dump.safetensors"));
    let exact = ["--precision", "exact"];
    let tokens = String::from_utf8(ok(&["tokenize", "-m", &model, TEXTS[1]])).expect("ids");
    let dump = ["dump", "-m", &model, "--device", "cpu", "--tokens", &tokens, "--out", &out, "-q"];
    ok(&[&dump[..], &exact].concat());
    let hidden = values(&out, "hidden");
    let n_tokens = hidden.len() / WIDTH;
    let mean: Vec<f32> =
        (0..WIDTH).map(|c| hidden.iter().skip(c).step_by(WIDTH).sum::<f32>() / n_tokens as f32).collect();
    let one = |flags: &[&str]| vectors(&embed(&[&exact[..], flags].concat(), TEXTS[1].as_bytes())).remove(0);
    assert!(distance(&one(&[]), &mean) < 1e-5);
    assert!(distance(&one(&["--pooling", "last"]), &hidden[(n_tokens - 1) * WIDTH..]) < 1e-5);
    let slabs = ["att_shift", "wkv", "ffn_shift"].map(|slab| values(&out, &format!("state.{slab}")));
    for (slab, name) in slabs.iter().zip(["att_shift", "wkv", "ffn_shift"]) {
        let of_slab = ["--of", "state", "--slab", name];
        assert!(distance(&one(&of_slab), slab) < 1e-5, "{name}");
        let last = one(&[&of_slab[..], &["--layer", "-1"]].concat());
        assert!(distance(&last, &slab[slab.len() / 2..]) < 1e-5, "{name}");
    }
    assert_eq!(one(&["--of", "state"]).len(), slabs.iter().map(Vec::len).sum::<usize>());
    assert_eq!(one(&["--layer", "1"]), one(&["--layer", "-1"]));
    assert_ne!(one(&["--layer", "0"]), one(&["--layer", "1"]));
    let length = |v: &[f32]| v.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
    let scaled = one(&["--normalize"]);
    assert!((length(&scaled) - 1.0).abs() < 1e-6);
    let plain = one(&[]);
    let factor = length(&plain);
    assert!(scaled.iter().zip(&plain).all(|(a, b)| (f64::from(*a) * factor - f64::from(*b)).abs() < 1e-4));
}

#[test]
fn texts_are_files_or_lines() {
    let dir = temp_dir();
    let (one, two) = (path(&dir, "one.txt"), path(&dir, "two.txt"));
    std::fs::write(&one, b"The sea\r\n\nwas\xff\n").expect("written");
    std::fs::write(&two, b"calm\xff\xfe".as_slice()).expect("written");
    let model = fixture(GGUF);
    let base = ["embed", "-m", &model, "--device", "cpu", "-q"];
    let whole = objects(&ok(&[&base[..], &["--with-text", &one, &two]].concat()));
    assert_eq!(whole.len(), 2);
    assert_eq!(keys(&whole[0]), ["index", "file", "text", "embedding"]);
    assert_eq!(whole[1]["text"], "calm\u{fffd}\u{fffd}");
    assert_eq!((&whole[1]["index"], &whole[1]["file"]), (&Value::from(1), &Value::from(two.as_str())));
    let cut = objects(&ok(&[&base[..], &["--lines", "--skip-empty", &one, &two]].concat()));
    assert_eq!(keys(&cut[0]), ["index", "file", "line", "embedding"]);
    let lines: Vec<u64> = cut.iter().map(|line| line["line"].as_u64().expect("a number")).collect();
    assert_eq!(lines, [1, 3, 1]);
    assert_eq!(vector(&cut[0]), vectors(&embed(&[], b"The sea"))[0], "a line's end is no part of it");
    assert_eq!(vector(&cut[2]), vector(&whole[1]));
    let mixed = ok_with_input(&[&base[..], &[&two, "-"]].concat(), b"a\nb");
    let found: Vec<Value> = objects(&mixed).iter().map(|line| line["file"].clone()).collect();
    assert_eq!(found, [two.as_str(), "standard input", "standard input"]);
}

/// More texts than a block holds, and one longer than any pass.
#[test]
fn many_and_long_texts_keep_their_order() {
    let mut texts: Vec<String> = (0..200).map(|i| format!("{} {i}", "the ".repeat(i % 7))).collect();
    texts[100] = "It was a dark and stormy night. ".repeat(400);
    let input = texts.join("\n").into_bytes();
    // 2 layers of 64 x 256 values and more: 200 states are several blocks.
    let states = npy(&embed(&["--of", "state", "--format", "npy"], &input), 200, 2 * (64 + 2) * WIDTH);
    for i in [0, 99, 100, 199] {
        let alone = embed(&["--of", "state", "--format", "npy"], texts[i].as_bytes());
        assert_eq!(npy(&alone, 1, 2 * (64 + 2) * WIDTH)[0], states[i], "text {i}");
    }
}

#[test]
fn the_nearest_are_found() {
    let dir = temp_dir();
    let at = ["a.npy", "a.jsonl", "a.safetensors"].map(|name| path(&dir, name));
    let names = path(&dir, "lines.txt");
    std::fs::write(&names, lines()).expect("written");
    let model = fixture(GGUF);
    for file in &at {
        let with_text: &[&str] = if file.ends_with("jsonl") { &["--with-text"] } else { &[] };
        embed(&[&["-o", file, "--pooling", "last"], with_text].concat(), &lines());
    }
    let base = ["similar", "-m", &model, "--device", "cpu", "-q", TEXTS[2], "--in"];
    let flags = ["--pooling", "last"];
    for file in &at {
        let found = json(&[&base[..], &[file, "--json"], &flags].concat());
        assert_eq!(keys(&found), ["in", "model", "width", "compared", "results"]);
        assert_eq!((found["width"].as_u64(), found["compared"].as_u64()), (Some(256), Some(4)));
        let results = found["results"].as_array().expect("results");
        assert_eq!(keys(&results[0]), ["index", "score", "name", "text"]);
        assert_eq!(results.len(), 4);
        let scores: Vec<f64> = results.iter().map(|r| r["score"].as_f64().expect("a number")).collect();
        assert!(scores.is_sorted_by(|a, b| a >= b), "{scores:?}");
        assert!((scores[0] - 1.0).abs() < 1e-6, "a text is nearest to itself: {scores:?}");
        assert_eq!(results[0]["index"], 2);
        let name = if file.ends_with("npy") { Value::Null } else { "standard input:3".into() };
        assert_eq!(results[0]["name"], name, "{file}");
        let text = if file.ends_with("jsonl") { TEXTS[2].into() } else { Value::Null };
        assert_eq!(results[0]["text"], text, "{file}");
    }
    let file = at[2].as_str();
    let found = json(&[&base[..], &[file, "--json"]].concat());
    assert!(found["results"][0]["score"].as_f64() > Some(0.999_999), "the file says how: {found}");
    let top = ok(&[&base[..], &[&at[0], "--names", &names, "--top", "2"], &flags].concat());
    let top = String::from_utf8(top).expect("UTF-8");
    assert_eq!(top.lines().count(), 2);
    assert_eq!(top.lines().next(), Some(" 1.0000  2  He paid the bill."));
    let query = path(&dir, "query");
    std::fs::write(&query, TEXTS[2]).expect("written");
    let from_file = ["similar", "-m", &model, "--device", "cpu", "-q", "--query-file", &query, "--in", file];
    assert_eq!(ok(&from_file), ok(&[&base[..], &[file]].concat()));
}

#[test]
fn zeros_are_like_nothing() {
    let dir = temp_dir();
    let file = path(&dir, "a.jsonl");
    let zeros = vec!["0"; WIDTH].join(",");
    let ones = vec!["1"; WIDTH].join(",");
    std::fs::write(&file, format!("{{\"embedding\":[{zeros}]}}\n\n{{\"index\":7,\"embedding\":[{ones}]}}"))
        .expect("written");
    let found = json(&["similar", "-m", &fixture(GGUF), "x", "--in", &file, "--json"]);
    let results = found["results"].as_array().expect("results");
    let zero = results.iter().find(|result| result["index"] == 0).expect("the first");
    assert_eq!(zero["score"], 0.0);
    assert!(results.iter().any(|result| result["index"] == 7), "the file's own number");
}

#[test]
fn wrong_input_is_named_on_one_line() {
    let dir = temp_dir();
    let write = |name: &str, bytes: &[u8]| {
        let path = path(&dir, name);
        std::fs::write(&path, bytes).expect("written");
        path
    };
    let model = &*fixture(GGUF);
    let empty = write("empty.txt", b"");
    let gap = write("gap.txt", b"a\n\nb\n");
    let right = path(&dir, "right.npy");
    embed(&["-o", &right], &lines());
    let whole = std::fs::read(&right).expect("written");
    let header = 10 + usize::from(u16::from_le_bytes([whole[8], whole[9]]));
    let swap = |from: &str, to: &str| {
        let text = String::from_utf8_lossy(&whole[10..header]).replace(from, to);
        [&whole[..8], &(text.len() as u16).to_le_bytes(), text.as_bytes(), &whole[header..]].concat()
    };
    let cut = write("cut.npy", &whole[..whole.len() - 1]);
    let short = write("short.npy", &whole[..60]);
    let double = write("double.npy", &swap("<f4", "<f8"));
    let fortran = write("fortran.npy", &swap("False", "True"));
    let huge = write("huge.npy", &swap("(4, 256)", "(4611686018427387904, 9223372036854775807)"));
    let more = write("more.npy", &swap("(4, 256)", "(40000000000, 256)"));
    let none = write("none.npy", &swap("(4, 256)", "(0, 256)")[..header]);
    let narrow = write("narrow.npy", &swap("(4, 256)", "(256, 4)"));
    let flat = write("flat.npy", &swap("(4, 256)", "(4, 0)"));
    let nan = {
        let mut bytes = whole.clone();
        bytes[header + 4 * (WIDTH + 3)..][..4].copy_from_slice(&f32::NAN.to_le_bytes());
        write("nan.npy", &bytes)
    };
    let infinite = write("infinite.jsonl", br#"{"embedding":[1e39]}"#);
    let uneven = write(
        "uneven.jsonl",
        format!("{{\"embedding\":[{}1]}}\n{{\"embedding\":[1]}}", "1,".repeat(255)).as_bytes(),
    );
    let no_vector = write("other.jsonl", b"{\"embedding\":[1]}\n{\"text\":\"x\"}\n");
    let text = write("text.txt", b"neither of them");
    let foreign = path(&dir, "foreign.safetensors");
    let last = path(&dir, "last.safetensors");
    embed(&["-o", &last, "--pooling", "last"], &lines());
    let quantized = path(&dir, "f16.gguf");
    ok(&["convert", model, &quantized, "--type", "f16", "-q"]);
    ok_with_input(&["embed", "-q", "-m", &quantized, "-o", &foreign], b"x");
    let two_names = write("names.txt", b"a\nb\n");
    let nine_names = write("names9.txt", b"1\n2\n3\n4\n5\n6\n7\n8\n9\n");
    let left_before = std::fs::read_dir(dir.path()).expect("readable").count();
    let (nowhere, target) = (path(&dir, "absent/out.npy"), path(&dir, "out.npy"));
    let here = &*dir.path().display().to_string();
    let embed_cases: &[(&[&str], &str)] = &[
        (&[&empty], "empty.txt: the text is empty"),
        (&["--lines", &gap], "gap.txt:2: the text is empty"),
        (&["--skip-empty", &empty], "at least one text"),
        (&["absent.txt"], "absent.txt"),
        (&[here], "directory"),
        (&[], "standard input: expected at least one text"),
        (&["--layer", "2", &text], "--layer: expected -2 to 1, found 2"),
        (&["--layer", "-3", &text], "found -3"),
        (&["--of", "state", "--layer", "9", &text], "found 9"),
        (&["--of", "state", "--slab", "none", &text], "no slab `none`"),
        (&["--slab", "wkv", &text], "--of state"),
        (&["--of", "state", "--pooling", "mean", &text], "--pooling"),
        (&["--pooling", "max", &text], "mean, last"),
        (&["--batch", "0", &text], "--batch"),
        (&["--format", "csv", &text], "npy"),
        (&["-o", &path(&dir, "out.bin"), &text], "--format"),
        (&["-o", &nowhere, &text], &nowhere),
        (&["-o", here, &text], "directory"),
        (&["-o", &target, "--with-text", &text], "--with-text"),
        (&["-m", "absent.gguf", &text], "absent.gguf"),
    ];
    for (args, what) in embed_cases {
        let model: &[&str] = if args.contains(&"-m") { &[] } else { &["-m", model] };
        assert_fails(&run(&[&["embed"], model, args].concat()), what);
    }
    let similar_cases: &[(&[&str], &str)] = &[
        (&["", "--in", &right], "the query is empty"),
        (&["--in", &right], "QUERY"),
        (&["x", "--query-file", &text, "--in", &right], "--query-file"),
        (&["x"], "--in"),
        (&["x", "--in", "absent.npy"], "absent.npy"),
        (&["x", "--in", here], "directory"),
        (&["x", "--in", &empty], "0 bytes of something else"),
        (&["x", "--in", &text], "something else"),
        (&["x", "--in", &cut], "cut.npy: expected 4224 bytes for shape (4, 256), found 4223"),
        (&["x", "--in", &short], "truncated"),
        (&["x", "--in", &double], "float32"),
        (&["x", "--in", &fortran], "fortran_order"),
        (&["x", "--in", &huge], "address space"),
        (&["x", "--in", &more], "found 4"),
        (&["x", "--in", &none], "at least one embedding"),
        (&["x", "--in", &flat], "expected 126 bytes"),
        (&["x", "--in", &narrow], "vectors of 4 values, a query's have 256"),
        (&["x", "--in", &right, "--of", "state"], "values, a query's have"),
        (&["x", "--in", &nan], "nan.npy: embedding 1 is not finite: value 3 is NaN"),
        (&["x", "--in", &infinite], "infinite.jsonl"),
        (&["x", "--in", &uneven], "line 2: expected 256 values, found 1"),
        (&["x", "--in", &no_vector], "vectors of 1 values"),
        (&["x", "--in", &fixture(SAFETENSORS)], "expected a tensor `embeddings`"),
        (&["x", "--in", model], "something else"),
        (&["x", "--in", &foreign], "was made by"),
        (&["x", "--in", &last, "--pooling", "mean"], "has hidden vectors, pooling last"),
        (&["x", "--in", &last, "--layer", "0"], "the flags ask for vectors after layer 0"),
        (&["x", "--in", &right, "--top", "0"], "--top"),
        (&["x", "--in", &right, "--names", &two_names], "has 2 lines"),
        (&["x", "--in", &right, "--names", &nine_names], "more lines than the 4"),
        (&["x", "--in", &right, "--names", "absent.txt"], "absent.txt"),
    ];
    for (args, what) in similar_cases {
        assert_fails(&run(&[&["similar", "-m", model], *args].concat()), what);
    }
    assert!(!Path::new(&target).exists(), "nothing is left of what failed");
    assert_eq!(std::fs::read_dir(dir.path()).expect("readable").count(), left_before, "no temporary files");
}

/// Ctrl-C while texts are embedded leaves no file.
#[cfg(unix)]
#[test]
fn an_interrupt_leaves_nothing() {
    let dir = temp_dir();
    let (input, out) = (path(&dir, "long.txt"), path(&dir, "out.npy"));
    std::fs::write(&input, "It was a dark and stormy night. ".repeat(100_000)).expect("written");
    let model = fixture(GGUF);
    let child =
        command(&["embed", "-m", &model, "--device", "cpu", &input, "-o", &out]).spawn().expect("starts");
    // The temporary file says that work has begun.
    while std::fs::read_dir(dir.path()).expect("readable").count() < 2 {
        std::thread::yield_now();
    }
    let pid = child.id().to_string();
    assert!(std::process::Command::new("kill").args(["-INT", &pid]).status().expect("kill runs").success());
    let output = child.wait_with_output().expect("ends");
    assert_eq!(output.status.code(), Some(130), "{}", String::from_utf8_lossy(&output.stderr));
    let left: Vec<_> =
        std::fs::read_dir(dir.path()).expect("readable").flatten().map(|e| e.file_name()).collect();
    assert_eq!(left, ["long.txt"]);
}
