"""States: arrays, files, pickles, forks."""

from __future__ import annotations

import copy
import gc
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import wingbeat

TEXT = "My dear Watson, I have been at work upon this case since Tuesday."


def test_slabs(model: wingbeat.Model, document: wingbeat.State) -> None:
    assert document.names == ("att_shift", "wkv", "ffn_shift")
    assert document.shapes == model.state_shapes
    assert document.model == model
    assert document.nbytes == sum(4 * int(np.prod(shape)) for shape in document.shapes.values())
    assert "wkv" in document and "kv" not in document and 3 not in document
    assert list(document) == document.keys() == list(document.names) and len(document) == 3
    arrays = document.numpy()
    assert list(arrays) == list(document.names)
    for name, array in arrays.items():
        assert array.shape == document.shapes[name] and array.dtype == np.float32
        assert np.isfinite(array).all() and array.any()
        np.testing.assert_array_equal(array, document[name])
    assert dict(document).keys() == arrays.keys()  # type: ignore[call-overload]
    assert f"{document.n_tokens} tokens" in repr(document) and "wkv" in repr(document)
    with pytest.raises(wingbeat.InputError, match="no slab `kv`"):
        document["kv"]


def test_views_are_read_only_and_share_memory(document: wingbeat.State) -> None:
    for name in document.names:
        one, two = document[name], document[name]
        assert one.ctypes.data == two.ctypes.data, "no copy"
        assert not one.flags.writeable and not one.flags.owndata
        with pytest.raises(ValueError):
            one[...] = 0
        with pytest.raises(ValueError):
            one.flags.writeable = True


def test_views_outlive_and_do_not_follow_the_state(model: wingbeat.Model) -> None:
    state = model.state(TEXT)
    view = state["wkv"]
    kept = view.copy()
    state.extend(" And more.")
    np.testing.assert_array_equal(view, kept)
    assert not np.array_equal(state["wkv"], kept)
    state.write("wkv", np.zeros(view.shape, dtype=np.float32))
    np.testing.assert_array_equal(view, kept)
    del state
    gc.collect()
    np.testing.assert_array_equal(view, kept)


def test_orientation(model: wingbeat.Model) -> None:
    """The layout's order is [value][key], however the device keeps it: what is written is what is read."""
    state = model.new_state()
    shape = state.shapes["wkv"]
    values = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    state["wkv"] = values
    np.testing.assert_array_equal(state["wkv"], values)
    state["wkv"] = np.asfortranarray(values[::-1])
    np.testing.assert_array_equal(state["wkv"], values[::-1])


def test_zero(model: wingbeat.Model) -> None:
    zero = model.new_state()
    assert zero.n_tokens == 0 and not any(array.any() for array in zero.numpy().values())
    assert zero == model.new_state() and zero != model.state("a")


def test_extend_is_reading_on(exact: wingbeat.Model) -> None:
    state = exact.state(TEXT)
    before = state.n_tokens
    assert before == len(exact.tokenize(TEXT))
    n = state.extend(" More.")
    assert n == len(exact.tokenize(" More.")) and state.n_tokens == before + n
    whole = exact.state(exact.tokenize(TEXT) + exact.tokenize(" More."))
    for name in state.names:
        np.testing.assert_allclose(state[name], whole[name], atol=1e-3)
    assert state.extend("") == 0
    with pytest.raises(wingbeat.InputError, match="outside the vocabulary"):
        state.extend([10**9])
    assert state.n_tokens == before + n


def test_forks_go_their_own_ways(model: wingbeat.Model) -> None:
    state = model.state(TEXT)
    for fork in (state.fork(), copy.copy(state), copy.deepcopy(state)):
        assert fork == state and fork is not state
        fork.extend(" No.")
        assert fork != state
    assert state == model.state(TEXT)


def test_many_documents_are_as_each_alone(model: wingbeat.Model) -> None:
    texts = [TEXT, "No.", TEXT * 9]
    states = model.state(texts)
    assert isinstance(states, list)
    assert all(state == model.state(text) for state, text in zip(states, texts))
    assert model.state([]) == []
    with pytest.raises(wingbeat.InputError, match="empty"):
        model.state("")


def test_save_and_load(model: wingbeat.Model, document: wingbeat.State, tmp_path: Path) -> None:
    path = tmp_path / "document.state"
    document.save(path)
    for loaded in (model.load_state(path), wingbeat.State.load(model, str(path))):
        assert loaded == document and loaded.n_tokens == document.n_tokens
    assert model.generate(" He", state=model.load_state(path), seed=3, max_tokens=8) == model.generate(
        " He", state=document, seed=3, max_tokens=8
    )
    assert document.to_bytes() == path.read_bytes()
    assert wingbeat.State.from_bytes(model, document.to_bytes()) == document


def test_bad_files(model: wingbeat.Model, document: wingbeat.State, tmp_path: Path) -> None:
    with pytest.raises(wingbeat.MissingFileError, match="nowhere"):
        model.load_state(tmp_path / "nowhere.state")
    data = document.to_bytes()
    for n in (0, 5, 100, len(data) // 2, len(data) - 1):
        path = tmp_path / f"cut-{n}.state"
        path.write_bytes(data[:n])
        with pytest.raises(wingbeat.StateError, match=f"cut-{n}.state"):
            model.load_state(path)
        with pytest.raises(wingbeat.StateError):
            wingbeat.State.from_bytes(model, data[:n])
    with pytest.raises(wingbeat.WingbeatError):
        document.save(tmp_path / "no" / "such" / "folder" / "x.state")
    with pytest.raises(wingbeat.StateError):
        document.save("/dev/full")


def test_another_models_state(document: wingbeat.State, other_model: wingbeat.Model, tmp_path: Path) -> None:
    path = tmp_path / "document.state"
    document.save(path)
    with pytest.raises(wingbeat.StateError, match="is a state of"):
        other_model.load_state(path)
    with pytest.raises(wingbeat.StateError, match="is a state of"):
        wingbeat.State.from_bytes(other_model, document.to_bytes())
    for call in (
        lambda: other_model.logits([1], state=document),
        lambda: other_model.continue_batch(document, [[1]]),
        lambda: wingbeat.State.blend([(document, 0.5), (other_model.new_state(), 0.5)]),
    ):
        with pytest.raises(wingbeat.StateError, match="a state of"):
            call()
    assert document != other_model.new_state()


def test_write_checks_what_it_gets(model: wingbeat.Model) -> None:
    state = model.state(TEXT)
    good = state["att_shift"].copy()
    bad: list[tuple[Any, str]] = [
        (good.astype(np.float64), "expected float32.*found float64"),
        (good.astype(np.float16), "found float16"),
        (good.astype(">f4"), "found >f4"),
        (good[:-1], r"expected shape \[.*found \["),
        (good.reshape(-1), "expected shape"),
        (good.tolist(), "expected a numpy array of float32, found list"),
        (None, "found NoneType"),
    ]
    for value in (np.nan, np.inf, -np.inf):
        array = good.copy()
        array[1, 2] = value
        bad.append((array, f"value {good.shape[1] + 2}: expected a finite number, found"))
    for array, message in bad:
        with pytest.raises(wingbeat.InputError, match="slab `att_shift`.*" + message):
            state.write("att_shift", array)
    with pytest.raises(wingbeat.InputError, match="no slab `kv`: there are att_shift, wkv, ffn_shift"):
        state.write("kv", good)
    assert state == model.state(TEXT)
    state.write("att_shift", np.asfortranarray(good))
    assert state == model.state(TEXT)


def test_blend(model: wingbeat.Model) -> None:
    one, two = model.state(["One thing.", "Another thing."])
    blended = wingbeat.State.blend([(one, 0.25), (two, 0.75)])
    for name in one.names:
        np.testing.assert_allclose(blended[name], 0.25 * one[name] + 0.75 * two[name], rtol=1e-5, atol=1e-5)
    with pytest.raises(wingbeat.InputError, match="at least one"):
        wingbeat.State.blend([])


def test_pickle(model: wingbeat.Model, document: wingbeat.State) -> None:
    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
        again = pickle.loads(pickle.dumps(document, protocol))
        assert again == document and again.n_tokens == document.n_tokens


def test_pickle_without_its_model(document: wingbeat.State, tmp_path: Path) -> None:
    path = tmp_path / "document.pickle"
    path.write_bytes(pickle.dumps(document))
    program = f"""
import pickle, wingbeat
data = open({str(path)!r}, "rb").read()
try:
    pickle.loads(data)
except wingbeat.StateError as error:
    assert "open it first" in str(error), error
else:
    raise SystemExit("no error")
model = wingbeat.Model.demo(device="cpu")
assert pickle.loads(data).n_tokens == {document.n_tokens}
"""
    subprocess.run([sys.executable, "-c", program], check=True)


def test_equality(model: wingbeat.Model, document: wingbeat.State) -> None:
    assert document == document.fork()
    assert document != "a state" and document != None  # noqa: E711
    with pytest.raises(TypeError):
        hash(document)


def test_on_a_gpu(software_gpu: wingbeat.Model, exact: wingbeat.Model, tmp_path: Path) -> None:
    state = software_gpu.state(TEXT)
    here = exact.state(TEXT)
    arrays = state.numpy()
    for name in state.names:
        assert arrays[name].shape == here.shapes[name] and not arrays[name].flags.writeable
        np.testing.assert_array_equal(arrays[name], state[name])
        np.testing.assert_allclose(arrays[name], here[name], atol=0.01)
    state.save(tmp_path / "gpu.state")
    assert exact.load_state(tmp_path / "gpu.state").n_tokens == state.n_tokens
    fork = state.fork()
    fork["wkv"] = np.ascontiguousarray(state["wkv"])
    assert fork == state
