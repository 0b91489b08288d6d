"""What importing the package does, and does not do."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import wingbeat

CHECK = """
import os, sys
before = set(os.listdir("/proc/self/task"))
import wingbeat
after = set(os.listdir("/proc/self/task"))
assert after == before, f"threads started: {after - before}"
opened = [os.readlink(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd") if os.path.exists(f"/proc/self/fd/{fd}")]
assert not [path for path in opened if "/dev/dri" in path or "nvidia" in path], opened
with open("/proc/self/maps") as maps:
    mapped = maps.read()
assert "libvulkan" not in mapped and "libcuda" not in mapped
assert "numpy" not in sys.modules, "numpy was imported, which starts threads of its own"
"""


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="no /proc here")
def test_import_starts_nothing() -> None:
    subprocess.run([sys.executable, "-c", CHECK], check=True)


def test_everything_public_is_there_and_documented() -> None:
    for name in wingbeat.__all__:
        thing = getattr(wingbeat, name)
        if name == "__version__":
            continue
        assert thing.__doc__, name
        assert thing.__module__.startswith("wingbeat") or name == "devices"
        for attribute, value in vars(thing).items() if isinstance(thing, type) else []:
            if not attribute.startswith("_") and (callable(value) or isinstance(value, property)):
                assert value.__doc__, f"{name}.{attribute}"


def test_errors_are_what_python_expects() -> None:
    for error in (
        wingbeat.DeviceError,
        wingbeat.InputError,
        wingbeat.MissingFileError,
        wingbeat.ModelFileError,
        wingbeat.StateError,
    ):
        assert issubclass(error, wingbeat.WingbeatError)
        assert error.__module__ == "wingbeat"
    assert issubclass(wingbeat.InputError, ValueError)
    assert issubclass(wingbeat.MissingFileError, FileNotFoundError)
    assert issubclass(wingbeat.DeviceError, RuntimeError)
