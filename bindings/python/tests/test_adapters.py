"""Adapters, tuned states, and names of the hub."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np
import pytest

import wingbeat

FIXTURES = Path(__file__).resolve().parents[3] / "tests" / "fixtures"


def save(path: Path, tensors: dict[str, np.ndarray]) -> Path:
    """A safetensors file."""
    header, data = {}, b""
    for name, array in tensors.items():
        values = array.astype("<f4").tobytes()
        header[name] = {"dtype": "F32", "shape": array.shape, "data_offsets": [len(data), len(data) + len(values)]}
        data += values
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    return path


@pytest.fixture(scope="module")
def path() -> Path:
    path = FIXTURES / "rwkv7-1x64.safetensors"
    if not path.exists():
        pytest.skip("no fixtures beside the tests")
    return path


def test_adapters_are_merged(path: Path, tmp_path: Path) -> None:
    numbers = np.random.default_rng(1)
    module = "blocks.0.att.key"
    tensors = {f"{module}.lora_A": numbers.normal(size=(4, 64)), f"{module}.lora_B": numbers.normal(size=(64, 4))}
    adapter = save(tmp_path / "a.safetensors", tensors)

    def logits(**options: object) -> np.ndarray:
        return wingbeat.Model.load(path, "cpu", threads=1, **options).logits([1, 2, 3])  # type: ignore[arg-type]

    plain, merged = logits(), logits(lora=adapter)
    assert not np.allclose(plain, merged)
    assert np.array_equal(merged, logits(lora=[(adapter, 1.0)], lora_alpha=32))
    assert np.array_equal(plain, logits(lora=(str(adapter), 0.0)))
    assert np.array_equal(plain, logits(lora=[]))
    with pytest.raises(wingbeat.ModelFileError, match="whole model"):
        logits(lora=path)
    with pytest.raises(TypeError):
        logits(lora=3)


def test_tuned_states_are_loaded(path: Path, tmp_path: Path) -> None:
    model = wingbeat.Model.load(path, "cpu", threads=1)
    (_, heads, n, _) = model.state_shapes["wkv"]
    values = np.random.default_rng(2).normal(size=(heads, n, n)).astype(np.float32)
    state = model.load_state(save(tmp_path / "tuned.safetensors", {"blocks.0.att.time_state": values}))
    assert state.n_tokens == 0
    assert np.array_equal(state["wkv"][0], values)
    with pytest.raises(wingbeat.StateError, match="expected shape"):
        model.load_state(save(tmp_path / "bad.safetensors", {"blocks.0.att.time_state": values[:, :2]}))


def test_names_of_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(wingbeat.MissingFileError, match="HF_HUB_OFFLINE"):
        wingbeat.Model.load("hf:user/repo:q8_0")
    with pytest.raises(wingbeat.InputError, match="user/repo"):
        wingbeat.Model.load("hf:nothing")
