"""What importing the package does, and does not do."""

from __future__ import annotations

import os
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


DESKTOP = """
import os, wingbeat
before = os.environ.get("NODEVICE_SELECT")
wingbeat.Model.demo(device="cpu", threads=1)
assert os.environ.get("NODEVICE_SELECT") == before, "set with no GPU looked for"
wingbeat.devices()
print(os.environ.get("NODEVICE_SELECT"))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="a layer of Linux")
@pytest.mark.parametrize(
    "settings, found", [({}, "1"), ({"NODEVICE_SELECT": "0"}, "0"), ({"XDG_RUNTIME_DIR": "/nowhere"}, "None")]
)
def test_no_desktop_is_no_reason_to_complain(settings: dict[str, str], found: str) -> None:
    environment = {key: value for key, value in os.environ.items() if key not in ("XDG_RUNTIME_DIR", "NODEVICE_SELECT")}
    command = [sys.executable, "-c", DESKTOP]
    done = subprocess.run(command, env={**environment, **settings}, capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.strip() == found, done.stderr
    if found == "1":
        assert "XDG_RUNTIME_DIR" not in done.stderr
