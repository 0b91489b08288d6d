#!/usr/bin/env python3
"""Writes the seeds of the fuzz targets: small files that have a little of everything. The state's seed must be
written by a model: examples/state_seed.rs.

    python3 fuzz/make_seeds.py        (from the root of the repository)
"""

import json
import pickle
import shutil
import struct
from collections import OrderedDict
from pathlib import Path

ROOT = Path(__file__).parent.parent
CORPUS = Path(__file__).parent / "corpus"


def save(target, name, data):
    (CORPUS / target).mkdir(parents=True, exist_ok=True)
    (CORPUS / target / name).write_bytes(data)


# GGUF: type numbers, and how a value of each is packed.
FORMATS = {0: "B", 1: "b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "B", 10: "<Q", 11: "<q", 12: "<d"}
# Tensor types: number, values in a block, bytes of one.
TENSOR_TYPES = [
    (0, 1, 4), (1, 1, 2), (30, 1, 2), (26, 1, 4), (27, 1, 8), (28, 1, 8), (2, 32, 18), (3, 32, 20), (6, 32, 22),
    (7, 32, 24), (8, 32, 34), (10, 256, 84), (11, 256, 110), (12, 256, 144), (13, 256, 176), (14, 256, 210),
]  # fmt: skip


def string(text):
    text = text if isinstance(text, bytes) else text.encode()
    return struct.pack("<Q", len(text)) + text


def value(kind, x):
    if kind == 8:
        return string(x)
    if kind == 9:
        inner, values = x
        return struct.pack("<IQ", inner, len(values)) + b"".join(value(inner, v) for v in values)
    return struct.pack(FORMATS[kind], x)


def gguf(keys, tensors, version=3, alignment=32):
    head = b"GGUF" + struct.pack("<IQQ", version, len(tensors), len(keys))
    for key, kind, x in keys:
        head += string(key) + struct.pack("<I", kind) + value(kind, x)
    data = b""
    for name, dims, kind in tensors:
        _, length, size = next(row for row in TENSOR_TYPES if row[0] == kind)
        n = 1
        for dim in dims:
            n *= dim
        head += string(name) + struct.pack("<I", len(dims)) + b"".join(struct.pack("<Q", d) for d in dims)
        head += struct.pack("<IQ", kind, len(data))
        data += bytes(i % 251 for i in range(n // length * size))
        data += b"\0" * (-len(data) % alignment)
    return head + b"\0" * (-len(head) % alignment) + data


def make_gguf():
    kinds = [(f"k{kind}", kind, 1) for kind in FORMATS]
    arrays = [(f"a{kind}", 9, (kind, [0, 1])) for kind in FORMATS]
    nested = [("n", 9, (9, [(4, [1, 2]), (8, ["x", "y"]), (9, [(0, [])])]))]
    save("gguf", "kinds", gguf([*kinds, *arrays, *nested, ("s", 8, "text")], []))
    save("gguf", "types", gguf([], [(f"t{kind}", [length, 2], kind) for kind, length, _ in TENSOR_TYPES]))
    save("gguf", "v2", gguf([("general.alignment", 4, 8)], [("a", [3], 0), ("b", [2, 1, 1, 2], 1)], 2, 8))
    save("gguf", "split", gguf([("split.count", 2, 2), ("split.no", 2, 1)], []))
    tokens = ["<s>", "\\x00", "\\t", "a", "\\\\", "the", "é", "[PAD7]"]
    keys = [
        ("general.architecture", 8, "rwkv7"),
        ("rwkv7.context_length", 4, 1024),
        ("rwkv7.embedding_length", 4, 64),
        ("rwkv7.block_count", 4, 1),
        ("rwkv7.attention.layer_norm_epsilon", 6, 1e-5),
        ("rwkv7.wkv.head_size", 4, 64),
        ("tokenizer.ggml.model", 8, "rwkv"),
        ("tokenizer.ggml.tokens", 9, (8, tokens)),
        ("tokenizer.ggml.token_type", 9, (5, [3, 1, 1, 1, 1, 4, 6, 5])),
    ]
    tensors = [("token_embd.weight", [64, 8], 8), ("blk.0.time_mix_lerp_fused.weight", [64, 1, 1, 6], 0)]
    save("gguf", "model", gguf(keys, tensors))
    save("gguf", "no-types", gguf(keys[:-1], tensors))


def safetensors(metadata, tensors):
    header, data = {}, b""
    if metadata is not None:
        header["__metadata__"] = metadata
    for name, dtype, shape, n_bytes in tensors:
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(data), len(data) + n_bytes]}
        data += bytes(i % 251 for i in range(n_bytes))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + data


def make_safetensors():
    tensors = [
        ("emb.weight", "F32", [2, 3], 24),
        ("blocks.0.att.x_r", "F16", [1, 1, 4], 8),
        ("blocks.0.att.r_k", "BF16", [1, 2], 4),
        ("tokens", "I64", [2], 16),
        ("ids", "I32", [1], 4),
        ("logits", "F64", [], 8),
        ("none", "F32", [0, 7], 0),
    ]
    save("safetensors", "types", safetensors({"format": "pt", "é\n": "\"\\"}, tensors))
    save("safetensors", "empty", safetensors(None, []))
    save("safetensors", "unread", safetensors(None, [("w", "F8_E4M3", [2], 2), ("b", "BOOL", [1], 1)]))
    vocabulary = "1 '\\x00' 1\n2 b'\\xff' 1\n3 'the' 3\n"
    save("safetensors", "vocabulary", safetensors({"wingbeat.vocabulary": vocabulary}, tensors[:1]))


# rwkv.cpp: type numbers, values in a block, bytes of one.
BIN_TYPES = {0: (1, 4), 1: (1, 2), 2: (32, 18), 3: (32, 20), 7: (32, 22), 8: (32, 24), 9: (32, 34)}


def rwkv_cpp(tensors, version=101, n_vocab=2, n_embed=2, n_layer=1):
    out = struct.pack("<6I", 0x67676D66, version, n_vocab, n_embed, n_layer, 0)
    for name, dims, kind in tensors:
        length, size = BIN_TYPES.get(kind, (1, 1))
        n = 1
        for dim in dims:
            n *= dim
        out += struct.pack("<3I", len(dims), len(name), kind) + struct.pack(f"<{len(dims)}I", *dims) + name.encode()
        out += b"".join(struct.pack("<f", -0.5 - i % 7) for i in range(n)) if kind == 0 else bytes(n // length * size)
    return out


def make_rwkv_cpp():
    types = [(f"t{kind}", [length, 2], kind) for kind, (length, _) in BIN_TYPES.items()]
    save("rwkv_cpp", "types", rwkv_cpp(types))
    save("rwkv_cpp", "old", rwkv_cpp([("a", [3], 0), ("b", [2, 1, 2], 1)], 100))
    save("rwkv_cpp", "given-up", rwkv_cpp([("a", [32], 4)]))
    norms = [(f"blocks.0.ln{i}.{part}", [2], 0) for i in range(3) for part in ("weight", "bias")]
    mixes = [(f"blocks.0.{name}", [2], 0) for name in ("att.time_decay", "att.time_first", "att.time_mix_k",
        "att.time_mix_v", "att.time_mix_r", "ffn.time_mix_k", "ffn.time_mix_r")]  # fmt: skip
    square = [(f"blocks.0.att.{name}.weight", [2, 2], 0) for name in ("receptance", "key", "value", "output")]
    ffn = [(f"blocks.0.ffn.{name}.weight", [2, 2], 0) for name in ("key", "receptance", "value")]
    outside = [("emb.weight", [2, 2], 0), ("ln_out.weight", [2], 0), ("ln_out.bias", [2], 0), ("head.weight", [2, 2], 0)]
    save("rwkv_cpp", "model", rwkv_cpp([*norms, *mixes, *square, *ffn, *outside]))


def folder(files):
    return b"".join(f"{name} {len(data)}\n".encode() + data for name, data in files)


def make_folders():
    whole = safetensors({"format": "pt"}, [("model.norm.weight", "F32", [2], 8)])
    other = safetensors(None, [("lm_head.weight", "F32", [1, 2], 8)])
    shards = [f"model-0000{i}-of-00002.safetensors" for i in (1, 2)]
    weight_map = {"model.norm.weight": shards[0], "lm_head.weight": shards[1]}
    index = json.dumps({"metadata": {"total_size": 16}, "weight_map": weight_map}).encode()
    config = json.dumps({"head_dim": 64, "norm_eps": 1e-5, "attn": None, "value_dim": [1, 2], "tied": True, "n": -1}).encode()
    template = json.dumps({"chat_template": [{"name": "default", "template": "{{ m }}"}]}).encode()
    beside = [("config.json", config), ("tokenizer_config.json", template), ("rwkv_vocab_v20230424.txt", b"1 'a' 1\n")]
    save("folder", "single", folder([("model.safetensors", whole), *beside]))
    save("folder", "sharded", folder([("model.safetensors.index.json", index), (shards[0], whole), (shards[1], other), *beside]))
    save("folder", "shard-missing", folder([("model.safetensors.index.json", index), (shards[0], whole)]))
    outside = json.dumps({"weight_map": {"a": "../../etc/passwd"}}).encode()
    save("folder", "outside", folder([("model.safetensors.index.json", outside)]))
    save("folder", "two", folder([("a.st", whole), ("b.st", other)]))
    save("folder", "jinja", folder([("x.safetensors", whole), ("chat_template.jinja", b"{{ m }}"), ("vocab.txt", b"1 'b' 1\n")]))


# Checkpoints: the instructions of a pickle.


def text(x):
    return b"X" + struct.pack("<I", len(x)) + x.encode()


def tensor(kind, key, n, offset, shape, strides):
    storage = b"((" + text("storage") + f"ctorch\n{kind}\n".encode() + text(key) + text("cpu") + b"K" + bytes([n])
    numbers = lambda ns: b"(" + b"".join(b"K" + bytes([x]) for x in ns) + b"t"
    view = b"tQK" + bytes([offset]) + numbers(shape) + numbers(strides)
    return b"ctorch._utils\n_rebuild_tensor_v2\n" + storage + view + b"\x89ccollections\nOrderedDict\n)RtR"


def stored(entries):
    """A zip archive, nothing in it compressed."""
    out, directory = b"", b""
    for name, data in entries:
        name = f"m/{name}".encode()
        sizes = bytes(4) + struct.pack("<IIH", len(data), len(data), len(name))
        directory += b"PK\x01\x02" + bytes(12) + sizes + bytes(12) + struct.pack("<I", len(out)) + name
        out += b"PK\x03\x04" + bytes(10) + sizes + bytes(2) + name + data
    end = struct.pack("<HHIIH", len(entries), len(entries), len(directory), len(out), 0)
    return out + directory + b"PK\x05\x06" + bytes(4) + end


def make_pth():
    fixtures = ROOT / "crates/wingbeat-format/tests/fixtures"
    shutil.copyfile(fixtures / "nested.pth", CORPUS / "pth" / "nested")
    whole = tensor("FloatStorage", "0", 16, 0, [4, 4], [4, 1])
    half = tensor("HalfStorage", "1", 32, 16, [1, 16], [16, 1])
    save("pth", "two", b"\x80\x02}q\0(" + text("a") + whole + text("b") + half + b"u.")
    save("pth", "transposed", b"\x80\x02}(" + text("t") + tensor("FloatStorage", "0", 16, 0, [4, 2], [1, 4]) + b"u.")
    parameter = b"ctorch._utils\n_rebuild_parameter\n(" + whole + b"\x88ccollections\nOrderedDict\n)RtR"
    save("pth", "state-dict", b"\x80\x02}" + text("state_dict") + b"ccollections\nOrderedDict\n)R" + text("w") + parameter + b"s}b" + b"s.")
    save("pth", "system", b"\x80\x02cos\nsystem\n" + text("id") + b"\x85R.")
    save("pth", "metadata", stored([("data.pkl", b"\x80\x02}."), ("version", b"3\n"), ("extra/wingbeat.json", b'{"a":"b"}')]))
    for protocol in range(2, 6):
        plain = OrderedDict(a=[1, -1, 1 << 40, 1 << 70, 0.5, None, True, b"bytes", "é" * 300, (1, 2, 3, 4), {}])
        save("pth", f"protocol-{protocol}", pickle.dumps(plain, protocol=protocol))


# Vocabularies: the text form, and the compact form of `packed.rs`.


def packed(tokens):
    out = b"WBVOCAB1" + struct.pack("<II", len(tokens), sum(map(len, tokens)))
    before = b""
    for token in tokens:
        n = 0
        while n < min(len(before), len(token), 14) and before[n] == token[n]:
            n += 1
        added = token[n:]
        out += bytes([n | min(len(added), 15) << 4])
        if len(added) >= 15:
            out += bytes([len(added) - 15])
        out += added
        before = token
    return out


def make_vocabularies():
    lines = b"1 '\\x00' 1\n2 '\\t' 1\n3 b'\\xe2\\x80' 2\n5 \"it's\" 4\n6 '\xc3\xa9t\xc3\xa9' 5\n7 'a' 1\n8 'ab' 2\n9 'b' 1\n"
    tokens = [b"", b"a", b"ab", b"abc", b"b", b"bcde", b"c", b"\xff\xfe", b"", b"abcdefghijklmnopqrstuvwxyz" * 2]
    escaped = [b"<s>", b"\\x00", b"\\n", b"\\\\", b"a", b"[PAD5]", b"\\'"]
    save("vocabulary", "text", b"\0" + lines)
    save("vocabulary", "packed", b"\1" + packed(tokens))
    save("vocabulary", "gguf", b"\2" + b"\n".join(escaped))
    kinds = [3, 1, 4, 6, 1, 5, 2]
    save("vocabulary", "gguf-types", b"\3" + b"\n".join(bytes([k]) + t for k, t in zip(kinds, escaped)))
    prose = "It was a dark night; \u201csaid he\u201d \u00e9t\u00e9 \u65e5\u672c\u8a9e \U0001f600\r\n\tfn main() { x += 0x1f; }\n\n"
    save("tokenizer", "world", b"\0" + prose.encode() * 3)
    save("tokenizer", "world-bytes", b"\0" + bytes(range(256)))
    for name, vocabulary in [("packed", packed(tokens)), ("text", lines)]:
        save("tokenizer", name, b"\1" + struct.pack("<H", len(vocabulary)) + vocabulary + b"abcdeabcab\xff\xfeab" * 4)


for make in (make_gguf, make_safetensors, make_pth, make_rwkv_cpp, make_folders, make_vocabularies):
    make()
