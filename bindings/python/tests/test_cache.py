"""States and embeddings that were computed before."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import wingbeat

from conftest import TEXTS

TEXT = "My dear Watson, I have been at work upon this case since Tuesday."


def test_states(model: wingbeat.Model) -> None:
    cache = wingbeat.Cache()
    first = model.state(TEXT, cache=cache)
    second = model.state(TEXT, cache=cache)
    assert first == second == model.state(TEXT) and first is not second
    stats = cache.stats()
    assert (stats.n_misses, stats.n_memory_hits, stats.n_disk_hits) == (1, 1, 0)
    assert stats.memory_bytes >= first.nbytes and stats.folder_bytes == 0
    # What is done with a result is the caller's business.
    second.extend(" And more.")
    assert model.state(TEXT, cache=cache) == first
    assert model.state([], cache=cache) == []
    states = model.state([*TEXTS, TEXT, TEXT], cache=cache)
    assert states == model.state([*TEXTS, TEXT, TEXT])


def test_beginnings(model: wingbeat.Model) -> None:
    cache = wingbeat.Cache()
    ids = model.tokenize(TEXT)
    model.state(ids[:-3], cache=cache)
    assert model.state(ids, cache=cache) == model.state(ids)
    stats = cache.stats()
    assert (stats.n_misses, stats.n_prefix_hits, stats.n_prefix_tokens) == (2, 1, len(ids) - 3)


def test_embeddings(model: wingbeat.Model) -> None:
    cache = wingbeat.Cache()
    expected = model.embed(TEXTS, normalize=True)
    for _ in range(2):
        np.testing.assert_array_equal(model.embed(TEXTS, normalize=True, cache=cache), expected)
    one = model.embed(TEXTS[0], normalize=True, cache=cache)
    np.testing.assert_array_equal(one, expected[0])
    one[...] = 0
    np.testing.assert_array_equal(model.embed(TEXTS[0], normalize=True, cache=cache), expected[0])
    stats = cache.stats()
    assert (stats.n_misses, stats.n_memory_hits) == (len(TEXTS), len(TEXTS) + 2)
    # Options that make another embedding make another entry.
    np.testing.assert_array_equal(model.embed(TEXTS, cache=cache), model.embed(TEXTS))
    np.testing.assert_array_equal(model.embed(TEXTS, layer=1, cache=cache), model.embed(TEXTS, layer=1))
    assert cache.stats().n_misses == 3 * len(TEXTS)
    assert model.embed([], cache=cache).shape == (0, model.n_channels)


def test_folder(model: wingbeat.Model, tmp_path: Path) -> None:
    folder = tmp_path / "new" / "cache"
    expected, vectors = model.state(TEXT), model.embed(TEXTS)
    first = wingbeat.Cache(folder=folder)
    model.state(TEXT, cache=first)
    model.embed(TEXTS, cache=first)
    second = wingbeat.Cache(memory_bytes=0, folder=str(folder), folder_bytes=None)
    assert model.state(TEXT, cache=second) == expected
    np.testing.assert_array_equal(model.embed(TEXTS, cache=second), vectors)
    stats = second.stats()
    assert (stats.n_misses, stats.n_memory_hits, stats.n_disk_hits) == (0, 0, 1 + len(TEXTS))
    assert stats.memory_bytes == 0 and stats.folder_bytes >= expected.nbytes
    assert stats.n_failures == 0 and stats.last_error is None


def test_damaged_entries_are_computed_again(model: wingbeat.Model, tmp_path: Path) -> None:
    expected = model.state(TEXT, cache=wingbeat.Cache(folder=tmp_path))
    (path,) = tmp_path.iterdir()
    whole = path.read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 1
    for damaged in (bytes(flipped), whole[:-1], b""):
        path.write_bytes(damaged)
        cache = wingbeat.Cache(folder=tmp_path)
        assert model.state(TEXT, cache=cache) == expected
        stats = cache.stats()
        assert (stats.n_damaged, stats.n_misses, stats.n_disk_hits) == (1, 1, 0)
        assert stats.last_error is not None and path.name in stats.last_error and "last_error" in repr(stats)
        assert path.read_bytes() == whole, "it was kept anew"


def test_a_folder_that_is_gone_is_no_error(model: wingbeat.Model, tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    cache = wingbeat.Cache(memory_bytes=0, folder=folder)
    folder.rmdir()
    folder.write_text("something else")
    assert model.state(TEXT, cache=cache) == model.state(TEXT)
    stats = cache.stats()
    assert stats.n_failures >= 1 and stats.last_error is not None and "cache" in stats.last_error


def test_bad_arguments(model: wingbeat.Model, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    for folder in (file, file / "below"):
        with pytest.raises(wingbeat.InputError, match="the cache cannot use this folder") as raised:
            wingbeat.Cache(folder=folder)
        assert str(folder) in str(raised.value) and "\n" not in str(raised.value)
    make: Any = wingbeat.Cache
    with pytest.raises(wingbeat.InputError, match="expected an int from 0 on"):
        make(memory_bytes=-1)
    with pytest.raises(TypeError):
        make(folder=3)
    cache, state = wingbeat.Cache(), model.state
    with pytest.raises(TypeError, match="cache"):
        state(TEXT, cache="folder")  # type: ignore[call-overload]
    with pytest.raises(wingbeat.InputError, match=r"text 1 \(counted from 0\) is empty"):
        state(["a", ""], cache=cache)
    with pytest.raises(wingbeat.InputError, match="outside the vocabulary"):
        model.embed([[1, 2], [10**9]], cache=cache)
    assert cache.stats().n_misses == 0


def test_two_models(model: wingbeat.Model, other_model: wingbeat.Model) -> None:
    cache = wingbeat.Cache()
    for one in (model, other_model, model, other_model):
        state = one.state([33, 34, 35], cache=cache)
        assert state.model == one and state == one.state([33, 34, 35])
    assert cache.stats().n_misses == 2


def test_threads(model: wingbeat.Model, tmp_path: Path) -> None:
    cache = wingbeat.Cache(folder=tmp_path)
    expected = model.state(TEXTS)
    found: list[Any] = []
    threads = [threading.Thread(target=lambda: found.append(model.state(TEXTS, cache=cache))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [expected] * 4
    stats = cache.stats()
    assert stats.n_misses + stats.n_memory_hits + stats.n_disk_hits == 4 * len(TEXTS)


def test_progress_and_repr(model: wingbeat.Model, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cache = wingbeat.Cache(folder=tmp_path)
    model.state(TEXTS, show_progress=True, cache=cache)
    assert "reading: 100%" in capsys.readouterr().err
    model.state(TEXTS, show_progress=True, cache=cache)
    assert capsys.readouterr().err == "", "nothing was computed"
    assert "4294967296 bytes in" in repr(cache) and str(268435456) in repr(cache)
    assert "n_misses=4" in repr(cache.stats()) and "last_error" not in repr(cache.stats())


def test_on_a_gpu(software_gpu: wingbeat.Model, tmp_path: Path) -> None:
    cache = wingbeat.Cache(folder=tmp_path)
    state = software_gpu.state(TEXT, cache=cache)
    assert software_gpu.state(TEXT, cache=cache) == state
    assert software_gpu.state(TEXT, cache=wingbeat.Cache(folder=tmp_path)) == state
