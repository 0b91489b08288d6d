"""What the tests share: the demo model, open once, on the CPU."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import wingbeat

DEMO = Path(__file__).resolve().parents[3] / "assets" / "wingbeat-demo-26m-q8_0.gguf"
FIXTURES = Path(__file__).resolve().parents[3] / "tests" / "fixtures"

TEXTS = [
    "It was a dark and stormy night.",
    "The sea was calm, and the moon lay white upon the water. " * 8,
    "No.",
    "He paid the bill and went home.",
]


@pytest.fixture(scope="session")
def model() -> wingbeat.Model:
    return wingbeat.Model.demo(device="cpu")


@pytest.fixture(scope="session")
def exact() -> wingbeat.Model:
    """As `model`, with products in f32: for comparing ways of computing, that differ but for rounding."""
    return wingbeat.Model.demo(device="cpu", precision="exact")


@pytest.fixture(scope="session")
def document(model: wingbeat.Model) -> wingbeat.State:
    return model.state("Sender: Mr. Holmes, Baker Street. Date: the third of May. He wrote a long letter.")


@pytest.fixture(scope="session")
def demo_path() -> Path:
    if not DEMO.exists():
        pytest.skip("no demo model beside the tests")
    return DEMO


@pytest.fixture(scope="session")
def software_gpu() -> wingbeat.Model:
    """The demo model on whatever GPU there is, one made of software included."""
    if not wingbeat.devices():
        if os.environ.get("WINGBEAT_GPU_REQUIRED"):
            pytest.fail("no GPU, and WINGBEAT_GPU_REQUIRED is set")
        pytest.skip("no GPU")
    return wingbeat.Model.demo(device="gpu", precision="exact")


@pytest.fixture(scope="session")
def other_model() -> wingbeat.Model:
    """Another model than the demo model."""
    path = FIXTURES / "rwkv7-1x64.safetensors"
    if not path.exists():
        pytest.skip("no fixtures beside the tests")
    return wingbeat.Model.load(path, device="cpu", threads=1)
