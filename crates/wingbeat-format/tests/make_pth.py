#!/usr/bin/env python3
"""Writes the .pth fixtures of this crate, byte for byte as torch.save would, without torch.

    python3 crates/wingbeat-format/tests/make_pth.py        (from the root of the repository)

torch.save pickles with protocol 2 and Python's own pickler; all that makes a checkpoint's stream special are the names
of a few globals and the persistent ids of storages. Modules with those names, empty but for that, give the same
stream. The archive's layout is that of PyTorch's writer: nothing compressed, sizes after the bytes, bytes at multiples
of 64, zip64 records at the end.
"""

import io
import json
import pickle
import struct
import sys
import types
import zipfile
import zlib
from collections import OrderedDict
from pathlib import Path

torch = types.ModuleType("torch")
torch._utils = types.ModuleType("torch._utils")
sys.modules["torch"] = torch
sys.modules["torch._utils"] = torch._utils


def _rebuild_tensor_v2():
    """Stands for torch's function: only its name is pickled."""


def _rebuild_parameter():
    """Likewise."""


for function in (_rebuild_tensor_v2, _rebuild_parameter):
    function.__module__ = "torch._utils"
    setattr(torch._utils, function.__name__, function)

SIZES = {
    "FloatStorage": 4,
    "HalfStorage": 2,
    "BFloat16Storage": 2,
    "DoubleStorage": 8,
    "LongStorage": 8,
    "IntStorage": 4,
}
for name in SIZES:
    setattr(torch, name, type(name, (), {"__module__": "torch"}))


class Storage:
    def __init__(self, kind, data):
        self.kind, self.data = kind, data


class Tensor:
    def __init__(self, storage, shape, offset=0, strides=None):
        self.storage, self.shape, self.offset = storage, tuple(shape), offset
        if strides is None:
            strides, n = [], 1
            for dim in reversed(self.shape):
                strides.insert(0, n)
                n *= max(dim, 1)
        self.strides = tuple(strides)

    def __reduce_ex__(self, protocol):
        arguments = (self.storage, self.offset, self.shape, self.strides, False, OrderedDict())
        return _rebuild_tensor_v2, arguments


class Parameter:
    def __init__(self, tensor):
        self.tensor = tensor

    def __reduce_ex__(self, protocol):
        return _rebuild_parameter, (self.tensor, True, OrderedDict())


def dump(checkpoint):
    """The pickle, and the bytes of each storage in the order of their keys."""
    storages = []

    class Pickler(pickle.Pickler):
        def persistent_id(self, value):
            if not isinstance(value, Storage):
                return None
            if value not in storages:
                storages.append(value)
            n = len(value.data) // SIZES[value.kind]
            return ("storage", getattr(torch, value.kind), str(storages.index(value)), "cpu", n)

    out = io.BytesIO()
    Pickler(out, protocol=2).dump(checkpoint)
    return out.getvalue(), [storage.data for storage in storages]


def write_as_torch(path, checkpoint):
    """The archive as PyTorch 2 writes it."""
    data_pkl, storages = dump(checkpoint)
    records = [
        ("data.pkl", data_pkl),
        (".format_version", b"1"),
        (".storage_alignment", b"64"),
        ("byteorder", b"little"),
        *((f"data/{key}", data) for key, data in enumerate(storages)),
        ("version", b"3\n"),
        (".data/serialization_id", b"0" * 40),
    ]
    out, directory = bytearray(), bytearray()
    for name, data in records:
        name = f"{path.stem}/{name}".encode()
        place, crc = len(out), zlib.crc32(data)
        padding = -(place + 30 + len(name) + 4) % 64
        extra = b"FB" + struct.pack("<H", padding) + b"Z" * padding
        out += struct.pack("<4s5H3I2H", b"PK\3\4", 0, 0x0808, 0, 0, 0, 0, 0, 0, len(name), len(extra))
        out += name + extra + data
        out += struct.pack("<4s3I", b"PK\7\x08", crc, len(data), len(data))
        directory += struct.pack(
            "<4s6H3I5H2I", b"PK\1\2", 0, 0, 0x0808, 0, 0, 0, crc, len(data), len(data), len(name), 0, 0, 0, 0, 0, place
        )
        directory += name
    start, n = len(out), len(records)
    out += directory
    out += struct.pack("<4sQ2H2I4Q", b"PK\6\6", 44, 0x031E, 45, 0, 0, n, n, len(directory), start)
    out += struct.pack("<4sIQI", b"PK\6\7", 0, start + len(directory), 1)
    out += struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, n, n, len(directory), start, 0)
    path.write_bytes(out)


def write_plainly(path, checkpoint):
    """The archive as programs without torch write it: sizes in the headers, no alignment, no zip64 records."""
    data_pkl, storages = dump(checkpoint)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        write = lambda name, data: archive.writestr(zipfile.ZipInfo(f"archive/{name}"), data)
        write("data.pkl", data_pkl)
        for key, data in enumerate(storages):
            write(f"data/{key}", data)
        write("version", b"3\n")


def bfloat16(f32):
    """The upper halves of F32 numbers, rounded to nearest, ties to even."""
    out = bytearray()
    for (bits,) in struct.iter_unpack("<I", f32):
        out += struct.pack("<H", (bits + 0x7FFF + (bits >> 16 & 1)) >> 16)
    return bytes(out)


def model(path):
    """The tensors of a safetensors file of F32, in BF16."""
    file = path.read_bytes()
    start = 8 + struct.unpack_from("<Q", file)[0]
    tensors = {}
    for name, info in json.loads(file[8:start]).items():
        if name != "__metadata__":
            first, last = (start + place for place in info["data_offsets"])
            tensors[name] = Tensor(Storage("BFloat16Storage", bfloat16(file[first:last])), info["shape"])
    return tensors


def nested():
    """All types, parameters, views that share a storage, a module's versions; in a dict that has other things too."""
    shared = Storage("FloatStorage", struct.pack("<12f", *range(12)))
    state = OrderedDict()
    state["whole"] = Parameter(Tensor(shared, (3, 4)))
    state["row"] = Tensor(shared, (4,), offset=4)
    state["rows"] = Tensor(shared, (2, 1, 4), offset=4, strides=(4, 99, 1))
    state["half"] = Tensor(Storage("HalfStorage", struct.pack("<2e", 0.5, -2.0)), (2,))
    state["double"] = Tensor(Storage("DoubleStorage", struct.pack("<d", 0.1)), ())
    state["long"] = Tensor(Storage("LongStorage", struct.pack("<2q", -1, 1 << 40)), (1, 2))
    state["int"] = Tensor(Storage("IntStorage", struct.pack("<i", -7)), (1,))
    state["none"] = Tensor(Storage("FloatStorage", b""), (0, 3))
    state["name with \"quotes\"\n"] = Tensor(shared, (1,), offset=11)
    state["n_layer"] = 12
    state["tag"] = "été"
    state["rate"] = 0.25
    state["tied"] = True
    state["absent"] = None
    state._metadata = OrderedDict({"": {"version": 1}})
    return {"epoch": 7, "big": 1 << 100, "state_dict": state, "losses": [1.5, (2, 3), {"x": None}]}


def main():
    here = Path(__file__).parent
    fixtures = here / "fixtures"
    write_as_torch(fixtures / "rwkv7-1x64-bf16.pth", model(here / "../../../tests/fixtures/rwkv7-1x64.safetensors"))
    write_plainly(fixtures / "nested.pth", nested())


main()
