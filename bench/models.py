#!/usr/bin/env python3
"""Models to measure with: random weights at official shapes, in the files that each engine reads.

    bench/models.py --wingbeat target/release/wingbeat [--quantize QUANTIZE_RWKV] [--shapes 0.4b,1.5b] \\
                    [--types f16,q8_0,q4_k_m] [--zeros 0.9] [--st] [--pth] --out FOLDER

Writes SHAPE-TYPE.gguf for Wingbeat and llama.cpp and, with --st, SHAPE.st for web-rwkv, with --pth SHAPE.pth for the
package rwkv: the same weights, since all are made of the f16 file, the quantized ones by llama.cpp (`QUANTIZE_RWKV IN OUT
TYPE THREADS`) or without it by Wingbeat. Files that are there already stay; what cannot be made is said, and the others
are made all the same. Needs nothing but Python's standard library.
"""
import argparse, array, json, mmap, os, re, struct, subprocess, sys, time, zipfile

# Types by their names here and in llama.cpp.
TYPES = {"f16": None, "q8_0": "Q8_0", "q4_k_m": "Q4_K_M", "q4_0": "Q4_0", "q5_k_m": "Q5_K_M", "q6_k": "Q6_K"}
# web-rwkv wants the lower-rank matrices transposed against the checkpoint, and everything in f16.
TRANSPOSED = re.compile(r"\.att\.[wavg][12]$")


def call(line):
    """Runs a program; raises OSError with its last line if it fails."""
    done = subprocess.run(line, capture_output=True, stdin=subprocess.DEVNULL)
    if done.returncode != 0:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        raise OSError(f"{os.path.basename(line[0])}: exit code {done.returncode}: {said[-1] if said else 'silent'}")


def gguf(args, shape, kind, path):
    """Writes one GGUF file under a temporary name."""
    source = os.path.join(args.out, f"{shape}-f16.gguf")
    if kind == "f16":
        call([args.wingbeat, "bench", "--synthetic", shape, "--type", "f16", "--zeros", str(args.zeros), "--seed",
              str(args.seed), "--write", path, "--only", "none", "-q"])
    elif args.quantize:
        call([args.quantize, source, path, TYPES[kind], str(args.threads)])
    else:
        call([args.wingbeat, "convert", source, path, "--type", kind, "-q"])


def web_rwkv(wingbeat, source, path):
    """Writes a model as web-rwkv reads it: safetensors with the checkpoint's names, f16, low ranks transposed."""
    from_checkpoint([wingbeat, "convert", "--type", "f16"], source, path, transpose)


def checkpoint(wingbeat, source, path):
    """Writes a model as PyTorch does: a checkpoint with the official names, the weights as they are.

    Official checkpoints are bf16, which takes as many bytes; but f16 weights would be rounded."""
    from_checkpoint([wingbeat, "convert"], source, path, torch_file)


def from_checkpoint(convert, source, path, write):
    """Has `write` turn the model's safetensors, with the checkpoint's names, into the file `path`."""
    plain = path + ".plain.st"
    try:
        call([*convert, source, plain, "-q"])
        with open(plain, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            with memoryview(data) as view:
                write(view, path)
    finally:
        if os.path.exists(plain):
            os.remove(plain)


def tensors_of(data):
    """A safetensors file's tensors in their order, (name, {dtype, shape, data_offsets}), and where their data begin."""
    start = 8 + struct.unpack_from("<Q", data)[0]
    tensors = json.loads(bytes(data[8:start]))
    tensors.pop("__metadata__", None)
    return sorted(tensors.items(), key=lambda item: item[1]["data_offsets"]), start


def transpose(data, path):
    """Writes the safetensors file `data` anew: every tensor in f16, the low ranks' rows and columns exchanged."""
    tensors, start = tensors_of(data)
    header, offset = {}, 0
    for name, tensor in tensors:
        shape, count = tensor["shape"], 1
        for length in shape:
            count *= length
        if TRANSPOSED.search(name):
            shape = shape[::-1]
        header[name] = {"dtype": "F16", "shape": shape, "data_offsets": [offset, offset + 2 * count]}
        offset += 2 * count
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for name, tensor in tensors:
            begin, end = tensor["data_offsets"]
            with data[start + begin:start + end] as values:
                file.write(half(name, tensor, values))


def torch_file(data, path):
    """Writes the tensors of the safetensors file `data` as torch.save writes a dict of tensors.

    That is a zip archive that compresses nothing: data.pkl, a pickle of the dict that names a storage for each tensor,
    and the storages' bytes, each at a multiple of 64 so that the file can be mapped."""
    tensors, start = tensors_of(data)
    with zipfile.ZipFile(path, "w") as archive:
        add(archive, "data.pkl", pickled(tensors))
        add(archive, "byteorder", b"little")
        for number, (_, tensor) in enumerate(tensors):
            begin, end = tensor["data_offsets"]
            with data[start + begin:start + end] as values:
                add(archive, f"data/{number}", values)
        add(archive, "version", b"3\n")


def add(archive, name, values):
    """Adds a file to the zip archive, its bytes at a multiple of 64."""
    info = zipfile.ZipInfo("archive/" + name)
    info.file_size = len(values)
    # The local header has 30 bytes, name and extra field; an extra field, its kind and length.
    at = archive.fp.tell() + 30 + len(info.filename) + 4
    info.extra = struct.pack("<HH", 0x4246, -at % 64) + bytes(-at % 64)
    with archive.open(info, "w") as file:
        file.write(values)


def pickled(tensors):
    """The pickle of a dict of tensors, each the whole of a storage of its own."""
    storages = {"F16": "HalfStorage", "BF16": "BFloat16Storage", "F32": "FloatStorage"}
    text = lambda value: b"X" + struct.pack("<I", len(value.encode())) + value.encode()
    number = lambda value: b"J" + struct.pack("<i", value)
    numbers = lambda values: b"(" + b"".join(map(number, values)) + b"t"
    empty = b"ccollections\nOrderedDict\n)R"
    parts = [b"\x80\x02", empty, b"("]
    for index, (name, tensor) in enumerate(tensors):
        shape, count, strides = tensor["shape"], 1, []
        for length in reversed(shape):
            strides.insert(0, count)
            count *= length
        storage = f"ctorch\n{storages[tensor['dtype']]}\n".encode()
        # ("storage", its type, its name, its device, its length), by which torch finds the bytes.
        parts += [text(name), b"ctorch._utils\n_rebuild_tensor_v2\n((", text("storage"), storage, text(str(index)),
                  text("cpu"), number(count), b"tQ", number(0), numbers(shape), numbers(strides), b"\x89", empty, b"tR"]
    return b"".join(parts) + b"u."


def half(name, tensor, values):
    """A tensor's bytes in f16, transposed if it is a low-rank one."""
    if tensor["dtype"] == "F32":
        values = struct.pack(f"<{len(values) // 4}e", *struct.unpack(f"<{len(values) // 4}f", values))
    elif tensor["dtype"] != "F16":
        raise OSError(f"{name}: of type {tensor['dtype']}, which is not made f16 here")
    if not TRANSPOSED.search(name):
        return values
    # Two bytes a value, whatever they mean.
    rows = array.array("H", bytes(values))
    n_columns = tensor["shape"][1]
    columns = array.array("H")
    for column in range(n_columns):
        columns.extend(rows[column::n_columns])
    return columns


def vocabulary(path):
    """The vocabulary of a GGUF file as web-rwkv's JSON: {id: the token's bytes}."""
    with open(path, "rb") as file:
        magic, _, _, n_entries = struct.unpack("<4sIQQ", file.read(24))
        if magic != b"GGUF":
            raise ValueError(f"{path}: no GGUF file")
        entries = {}
        for _ in range(n_entries):
            key = entry(file, 8).decode()
            entries[key] = entry(file, *struct.unpack("<I", file.read(4)))
    tokens, kinds = entries["tokenizer.ggml.tokens"], entries.get("tokenizer.ggml.token_type")
    # 1 is a normal token; the others (the end of a text, padding) are never matched.
    return {number: list(unescaped(token)) for number, token in enumerate(tokens)
            if kinds is None or kinds[number] == 1}


def entry(file, kind):
    """A value of GGUF's metadata: strings as bytes, arrays as lists."""
    if kind == 8:
        return file.read(*struct.unpack("<Q", file.read(8)))
    if kind == 9:
        inner, n = struct.unpack("<IQ", file.read(12))
        return [entry(file, inner) for _ in range(n)]
    form = "<" + "BbHhIif?"[kind] if kind < 8 else "<" + {10: "Q", 11: "q", 12: "d"}[kind]
    return struct.unpack(form, file.read(struct.calcsize(form)))[0]


def unescaped(token):
    """A token's bytes: converters write it as Python would, without the quotes."""
    simple = {b"n": b"\n", b"r": b"\r", b"t": b"\t"}
    one = lambda found: bytes([int(found[1], 16)]) if found[1] else simple.get(found[2], found[2])
    return re.sub(rb"\\(?:x([0-9a-fA-F]{2})|(.))", one, token, flags=re.DOTALL)


# Files that are made of the f16 one, by their endings.
CHECKPOINTS = {"st": web_rwkv, "pth": checkpoint}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--wingbeat", required=True, help="the wingbeat program")
    parser.add_argument("--quantize", help="the program that quantizes with llama.cpp; without it Wingbeat does")
    parser.add_argument("--shapes", default="0.4b,1.5b", help="separated by commas")
    parser.add_argument("--types", default="f16,q8_0,q4_k_m", help="of " + ", ".join(TYPES))
    parser.add_argument("--zeros", type=float, default=0.9, help="fraction of zeros in the channel mix")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="of the quantizing program")
    parser.add_argument("--st", action="store_true", help="also write SHAPE.st for web-rwkv")
    parser.add_argument("--pth", action="store_true", help="also write SHAPE.pth for the package rwkv")
    parser.add_argument("--out", required=True, help="folder")
    args = parser.parse_args()
    types = args.types.split(",")
    unknown = [kind for kind in types if kind not in TYPES]
    if unknown:
        parser.error(f"--types: unknown type {unknown[0]}; known are {', '.join(TYPES)}")
    os.makedirs(args.out, exist_ok=True)
    failed = False
    for shape in args.shapes.split(","):
        # The others are made of the f16 file.
        others = [kind for kind in CHECKPOINTS if getattr(args, kind)]
        for kind in ["f16", *(kind for kind in types if kind != "f16"), *others]:
            path = os.path.join(args.out, f"{shape}.{kind}" if kind in others else f"{shape}-{kind}.gguf")
            if os.path.exists(path):
                continue
            # The ending names the format.
            partial = os.path.join(args.out, "partial-" + os.path.basename(path))
            started = time.monotonic()
            try:
                if kind in others:
                    CHECKPOINTS[kind](args.wingbeat, os.path.join(args.out, f"{shape}-f16.gguf"), partial)
                else:
                    gguf(args, shape, kind, partial)
                os.replace(partial, path)
                seconds = time.monotonic() - started
                print(f"{path}: {os.path.getsize(path) / 1e6:.1f} MB, {seconds:.1f} s", file=sys.stderr)
            except OSError as error:
                failed = True
                print(f"error: {path}: {error}", file=sys.stderr)
                if os.path.exists(partial):
                    os.remove(partial)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
