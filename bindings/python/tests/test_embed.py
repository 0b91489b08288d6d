"""Embeddings, in the package's own shape and in those of others."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest

import wingbeat

from conftest import TEXTS


def test_shapes(model: wingbeat.Model) -> None:
    vectors = model.embed(TEXTS)
    assert vectors.shape == (len(TEXTS), model.n_channels) and vectors.dtype == np.float32
    assert vectors.flags.c_contiguous and vectors.flags.writeable and vectors.flags.aligned
    assert model.embed(TEXTS[0]).shape == (model.n_channels,)
    assert model.embed([]).shape == (0, model.n_channels)
    assert model.embed(iter(TEXTS)).shape == vectors.shape  # type: ignore[arg-type]


def test_batched_is_alone_bit_for_bit(model: wingbeat.Model) -> None:
    vectors = model.embed(TEXTS)
    for text, vector in zip(TEXTS, vectors):
        np.testing.assert_array_equal(model.embed(text), vector)
    for batch_size in (1, 3):
        np.testing.assert_array_equal(model.embed(TEXTS, batch_size=batch_size), vectors)


def test_kinds_of_text(model: wingbeat.Model) -> None:
    vectors = model.embed(TEXTS)
    ids = [model.tokenize(text) for text in TEXTS]
    np.testing.assert_array_equal(model.embed([text.encode() for text in TEXTS]), vectors)
    np.testing.assert_array_equal(model.embed(ids), vectors)
    np.testing.assert_array_equal(model.embed([np.array(i, dtype=np.uint16) for i in ids]), vectors)
    np.testing.assert_array_equal(model.embed(ids[0]), vectors[0])
    np.testing.assert_array_equal(model.embed(np.array(ids[0])), vectors[0])
    np.testing.assert_array_equal(model.embed(np.array([ids[2], ids[2]])), vectors[[2, 2]])
    np.testing.assert_array_equal(model.embed(tuple(TEXTS)), vectors)
    np.testing.assert_array_equal(model.embed(np.array(TEXTS)), vectors)


def test_pooling_and_normalize(model: wingbeat.Model) -> None:
    assert not np.array_equal(model.embed(TEXTS, pooling="last"), model.embed(TEXTS))
    one_token = model.tokenize("No")[:1]
    np.testing.assert_allclose(model.embed(one_token, pooling="last"), model.embed(one_token), rtol=1e-6)
    vectors = model.embed(TEXTS)
    unit = model.embed(TEXTS, normalize=True)
    np.testing.assert_allclose(np.linalg.norm(unit, axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(unit, vectors / np.linalg.norm(vectors, axis=1, keepdims=True), atol=1e-6)


def test_mean_is_the_mean_of_last_ones(exact: wingbeat.Model) -> None:
    ids = exact.tokenize(TEXTS[0])
    rows = [exact.embed(ids[: n + 1], pooling="last") for n in range(len(ids))]
    np.testing.assert_allclose(exact.embed(ids), np.mean(rows, axis=0), rtol=1e-4, atol=1e-4)


def test_layers(model: wingbeat.Model) -> None:
    layers = [model.embed(TEXTS, layer=layer) for layer in range(model.n_layers)]
    assert all(vectors.shape == (len(TEXTS), model.n_channels) for vectors in layers)
    np.testing.assert_array_equal(model.embed(TEXTS, layer=-1), layers[-1])
    np.testing.assert_array_equal(model.embed(TEXTS, layer=-model.n_layers), layers[0])
    assert not np.array_equal(layers[0], layers[-1])
    for layer in (model.n_layers, -model.n_layers - 1, 2**62, -(2**62)):
        with pytest.raises(
            wingbeat.InputError, match=f"layer: expected {-model.n_layers} to {model.n_layers - 1}, found {layer}"
        ):
            model.embed(TEXTS, layer=layer)


def test_of_state(model: wingbeat.Model) -> None:
    state = model.state(TEXTS[0])
    flat = np.concatenate([state[name].reshape(-1) for name in state.names])
    np.testing.assert_array_equal(model.embed(TEXTS[0], of="state"), flat)
    np.testing.assert_array_equal(model.embed(TEXTS[0], of="state", slab="wkv"), state["wkv"].reshape(-1))
    np.testing.assert_array_equal(
        model.embed([TEXTS[0]], of="state", slab="wkv", layer=1), state["wkv"][1].reshape(1, -1)
    )
    assert model.embedding_width("state", slab="wkv", layer=1) == state["wkv"][1].size
    assert model.embedding_width() == model.n_channels


def test_bad_arguments(model: wingbeat.Model) -> None:
    embed: Any = model.embed
    with pytest.raises(wingbeat.InputError, match=r"text 1 \(counted from 0\) is empty"):
        embed(["a", ""])
    with pytest.raises(wingbeat.InputError, match="empty"):
        embed("")
    with pytest.raises(wingbeat.InputError, match="pooling: expected \"mean\" or \"last\", found \"max\""):
        embed("a", pooling="max")
    with pytest.raises(wingbeat.InputError, match="batch_size: expected at least 1"):
        embed("a", batch_size=0)
    with pytest.raises(wingbeat.InputError, match="no slab `kv`"):
        embed("a", of="state", slab="kv")
    with pytest.raises(wingbeat.InputError, match="of=\"state\""):
        embed("a", slab="wkv")
    with pytest.raises(wingbeat.InputError, match="of: expected"):
        embed("a", of="soul")
    with pytest.raises(TypeError, match=r"texts\[1\]: expected str, bytes, token ids.*found NoneType"):
        embed(["a", None])
    with pytest.raises(TypeError, match="texts: expected"):
        embed(3.5)
    with pytest.raises(wingbeat.InputError, match="outside the vocabulary"):
        embed([[1, 2], [10**9]])


def test_progress_bar(model: wingbeat.Model, capsys: pytest.CaptureFixture[str]) -> None:
    model.embed(TEXTS, show_progress=True)
    shown = capsys.readouterr()
    assert shown.out == "" and "embedding: 100%" in shown.err and shown.err.endswith("\n")
    model.embed(TEXTS)
    assert capsys.readouterr().err == ""


def test_progress_without_stderr(model: wingbeat.Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    model.embed(TEXTS, show_progress=True)


def test_encode(model: wingbeat.Model) -> None:
    vectors = model.embed(TEXTS)
    np.testing.assert_array_equal(model.encode(TEXTS, batch_size=64, show_progress_bar=False), vectors)
    np.testing.assert_array_equal(
        model.encode(TEXTS, normalize_embeddings=True), model.embed(TEXTS, normalize=True)
    )
    assert model.encode(TEXTS[0]).shape == (model.n_channels,)
    rows = model.encode(TEXTS, convert_to_numpy=False)
    assert isinstance(rows, list) and rows[0].shape == (model.n_channels,)
    assert model.get_sentence_embedding_dimension() == model.n_channels
    np.testing.assert_array_equal(model.encode(TEXTS, prompt="query: "), model.embed(["query: " + t for t in TEXTS]))
    with pytest.raises(TypeError, match="unknown argument `batchsize`"):
        model.encode(TEXTS, batchsize=3)
    with pytest.raises(wingbeat.InputError, match="precision"):
        model.encode(TEXTS, precision="int8")


def test_sentence_transformer(model: wingbeat.Model, demo_path: Any) -> None:
    encoder = wingbeat.SentenceTransformer(str(demo_path), device="cpu", pooling="last")
    np.testing.assert_array_equal(encoder.encode(TEXTS), model.embed(TEXTS, pooling="last"))
    np.testing.assert_array_equal(encoder.encode_query(TEXTS[0]), encoder.encode_document(TEXTS[0]))
    assert encoder.get_sentence_embedding_dimension() == model.n_channels
    assert encoder.max_seq_length is None and encoder.device.startswith("CPU")
    assert wingbeat.SentenceTransformer(model, layer=2).encode("a").shape == (model.n_channels,)


def test_llama(model: wingbeat.Model, demo_path: Any) -> None:
    llama = wingbeat.Llama(model_path=str(demo_path), n_gpu_layers=0, embedding=True, n_ctx=512, verbose=False)
    one = llama.embed(TEXTS[0])
    assert isinstance(one, list) and len(one) == llama.n_embd() == model.n_channels
    np.testing.assert_array_equal(np.array(one, dtype=np.float32), model.embed(TEXTS[0]))
    several, n_tokens = llama.embed(TEXTS, normalize=True, return_count=True)
    np.testing.assert_array_equal(np.array(several, dtype=np.float32), model.embed(TEXTS, normalize=True))
    assert n_tokens == sum(len(model.tokenize(text)) for text in TEXTS)
    made = llama.create_embedding(TEXTS[0])
    assert made["object"] == "list" and made["model"] == str(demo_path)
    assert made["data"] == [{"object": "embedding", "embedding": one, "index": 0}]
    assert made["usage"]["prompt_tokens"] == len(model.tokenize(TEXTS[0]))
    assert [row["index"] for row in llama.create_embedding(TEXTS, model="m")["data"]] == [0, 1, 2, 3]
    ids = llama.tokenize(b"Hello there")
    assert llama.detokenize(ids) == b"Hello there" and llama.n_ctx() == 512
    with pytest.raises(TypeError, match="unknown argument `n_gpus`"):
        wingbeat.Llama(model, n_gpus=1)
    with pytest.raises(wingbeat.InputError, match="pooling_type"):
        wingbeat.Llama(model, pooling_type=0)


def test_on_a_gpu(software_gpu: wingbeat.Model, exact: wingbeat.Model) -> None:
    vectors = software_gpu.embed(TEXTS, normalize=True)
    np.testing.assert_allclose(vectors, exact.embed(TEXTS, normalize=True), atol=1e-3)
