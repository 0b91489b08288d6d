"""Opening a model, tokens, logits, perplexity."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

import wingbeat


def test_what_a_model_is(model: wingbeat.Model, demo_path: Path) -> None:
    assert model.n_channels == model.n_heads * model.head_size
    assert model.version == "RWKV-7"
    assert len(model.fingerprint) == 32
    assert model.path is None
    assert model.device.startswith("CPU")
    assert model.notes == []
    assert model.state_shapes == {
        "att_shift": (model.n_layers, model.n_channels),
        "wkv": (model.n_layers, model.n_heads, model.head_size, model.head_size),
        "ffn_shift": (model.n_layers, model.n_channels),
    }
    assert "RWKV-7" in repr(model)
    loaded = wingbeat.Model.load(demo_path, device="cpu", threads=1)
    assert loaded.fingerprint == model.fingerprint
    assert Path(loaded.path or "") == demo_path
    assert loaded != model and loaded == loaded.new_state().model
    assert hash(loaded) == hash(loaded.new_state().model)


def test_load_takes_str_and_path(demo_path: Path) -> None:
    assert wingbeat.Model.load(str(demo_path), "cpu").n_layers == wingbeat.Model.load(demo_path, "cpu").n_layers


def test_bad_files(tmp_path: Path, demo_path: Path) -> None:
    with pytest.raises(wingbeat.MissingFileError, match="nowhere.gguf"):
        wingbeat.Model.load(tmp_path / "nowhere.gguf")
    empty = tmp_path / "empty.gguf"
    empty.write_bytes(b"")
    with pytest.raises(wingbeat.ModelFileError, match="empty.gguf.*empty file"):
        wingbeat.Model.load(empty)
    cut = tmp_path / "cut.gguf"
    with open(demo_path, "rb") as file:
        cut.write_bytes(file.read(100_000))
    with pytest.raises(wingbeat.ModelFileError, match="cut.gguf: "):
        wingbeat.Model.load(cut, "cpu")
    with pytest.raises(wingbeat.MissingFileError, match="vocab.txt"):
        wingbeat.Model.load(demo_path, "cpu", vocab=tmp_path / "vocab.txt")


def test_bad_arguments_of_load(demo_path: Path) -> None:
    for n in (0, 100_000):
        with pytest.raises(wingbeat.InputError, match=f"threads: expected 1 to 1024, or None, found {n}"):
            wingbeat.Model.load(demo_path, threads=n)
    with pytest.raises(wingbeat.InputError, match="precision: expected"):
        wingbeat.Model.load(demo_path, precision="double")  # type: ignore[arg-type]
    with pytest.raises(wingbeat.InputError, match="device"):
        wingbeat.Model.load(demo_path, device="")
    with pytest.raises(wingbeat.DeviceError, match="no GPU"):
        wingbeat.Model.load(demo_path, device="no such adapter")
    with pytest.raises(TypeError):
        wingbeat.Model.load(3)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        wingbeat.Model()


def test_tokens(model: wingbeat.Model) -> None:
    for text in ("", "Hello, world", "Ünïcödé 東京 🦋", "a\0b"):
        ids = model.tokenize(text)
        assert ids == model.tokenize(text.encode()) == model.tokenize(bytearray(text.encode()))
        assert model.detokenize(ids) == text
        assert model.detokenize(np.array(ids, dtype=np.int64)) == text
        assert model.detokenize_bytes(tuple(ids)) == text.encode()


def test_bytes_that_are_no_text(model: wingbeat.Model) -> None:
    ids = model.tokenize(b"\xff\xfe ok")
    assert model.detokenize_bytes(ids) == b"\xff\xfe ok"
    assert model.detokenize(ids) == "\ufffd\ufffd ok"
    with pytest.raises(UnicodeDecodeError):
        model.detokenize(ids, errors="strict")
    with pytest.raises(UnicodeEncodeError):
        model.tokenize("\ud800")


def test_bad_tokens(model: wingbeat.Model) -> None:
    with pytest.raises(wingbeat.InputError, match=r"id 9999999 is outside"):
        model.detokenize([1, 9_999_999])
    with pytest.raises(wingbeat.InputError, match=r"ids\[1\]: expected a token id \(an int from 0 on\), found -1"):
        model.detokenize([1, -1])
    with pytest.raises(wingbeat.InputError, match=r"ids\[0\].*found 'x'"):
        model.detokenize("x")
    with pytest.raises(TypeError, match="text: expected str or bytes, found int"):
        model.tokenize(3)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="text: expected str, bytes, token ids.*found dict"):
        model.logits({})  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="found NoneType"):
        model.logits(None)  # type: ignore[arg-type]


def test_logits(exact: wingbeat.Model) -> None:
    text = "The sun rose over the hills"
    ids = exact.tokenize(text)
    last = exact.logits(ids)
    assert last.shape == (exact.n_vocab,) and last.dtype == np.float32
    every = exact.logits(ids, all=True)
    assert every.shape == (len(ids), exact.n_vocab)
    np.testing.assert_allclose(every[-1], last, atol=1e-3, rtol=0)
    np.testing.assert_array_equal(exact.logits(text), last)
    last[0] = 3.0  # The caller's own.
    before = exact.state(ids[:-1])
    np.testing.assert_allclose(exact.logits(ids[-1:], state=before), every[-1], atol=1e-3, rtol=0)
    assert before.n_tokens == len(ids) - 1


def test_bad_logits(model: wingbeat.Model) -> None:
    for empty in ("", b"", []):
        with pytest.raises(wingbeat.InputError, match="empty"):
            model.logits(empty)
    with pytest.raises(wingbeat.InputError, match="outside the vocabulary"):
        model.logits([1, model.n_vocab])


def test_perplexity(model: wingbeat.Model) -> None:
    text = "It was the best of times, it was the worst of times."
    found = model.perplexity(text)
    assert found.n_tokens == len(model.tokenize(text)) and found.n_bytes == len(text)
    assert found.perplexity == float(found) == pytest.approx(np.exp(found.nats_per_token))
    assert found.bits_per_byte == pytest.approx(found.nats_per_token * found.n_tokens / np.log(2) / found.n_bytes)
    assert "perplexity=" in repr(found)
    # The same from logits: id 0 is before the first token.
    ids = model.tokenize(text)
    logits = model.logits([0, *ids[:-1]], all=True).astype(np.float64)
    log_p = logits - np.log(np.exp(logits - logits.max(1, keepdims=True)).sum(1, keepdims=True)) - logits.max(1, keepdims=True)
    assert found.nats_per_token == pytest.approx(-log_p[np.arange(len(ids)), ids].mean(), abs=1e-3)
    with pytest.raises(wingbeat.InputError, match="empty"):
        model.perplexity("")


def test_devices() -> None:
    for number, device in enumerate(wingbeat.devices()):
        assert device["device"] == f"gpu:{number}" and device["name"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_fork_of_the_process_is_told_to_open_it_again(model: wingbeat.Model) -> None:
    ids = model.tokenize("Hello")
    child = os.fork()
    if child == 0:
        try:
            assert model.tokenize("Hello") == ids
            model.logits(ids)
        except wingbeat.DeviceError as error:
            os._exit(0 if "open it there" in str(error) else 2)
        except BaseException:
            os._exit(3)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
