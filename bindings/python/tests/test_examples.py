"""The examples of the repository: each runs as its readers run it, in a folder of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[3] / "examples"

pytestmark = pytest.mark.skipif(not EXAMPLES.is_dir(), reason="no examples beside the tests")


def run(folder: Path, example: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    # UTF-8 wherever the tests run: passages are printed.
    environment = {**os.environ, "PYTHONIOENCODING": "utf-8", "MPLCONFIGDIR": str(folder)}
    command = [sys.executable, str(EXAMPLES / example), *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, encoding="utf-8")


def output(folder: Path, example: str, *arguments: str) -> str:
    done = run(folder, example, "--device", "cpu", *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def short_book(tmp_path: Path) -> str:
    """The beginning of two chapters: examples are quicker with it."""
    parts = (EXAMPLES / "fanshawe.txt").read_text(encoding="utf-8").split("CHAPTER ")
    path = tmp_path / "short.txt"
    path.write_text("".join("CHAPTER " + part[:6000] + "\n\n" for part in parts[1:3]), encoding="utf-8")
    return str(path)


@pytest.mark.parametrize("example", ["similarity.py", "find_passages.py", "fields.py", "which_embedding.py", "costs.py"])
def test_help(tmp_path: Path, example: str) -> None:
    if example == "similarity.py":
        pytest.importorskip("matplotlib", reason="no matplotlib")
    if example == "find_passages.py":
        pytest.importorskip("usearch", reason="no usearch")
    done = run(tmp_path, example, "--help")
    assert done.returncode == 0 and f"examples/{example}" in done.stdout, done.stderr


def test_every_example_is_listed() -> None:
    listed = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    rust = EXAMPLES.parent / "crates" / "wingbeat" / "examples"
    for path in [*EXAMPLES.glob("*.py"), *rust.glob("*.rs")]:
        assert path.stem in listed, path


def test_similarity(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="no matplotlib")
    text = output(tmp_path, "similarity.py", "--out", "picture.png")
    assert "picture.png: 33 passages" in text and "most alike, 0." in text and "of different chapters, 0." in text
    picture = (tmp_path / "picture.png").read_bytes()
    assert picture.startswith(b"\x89PNG") and 10_000 < len(picture) < 150_000


def test_similarity_of_one_passage(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="no matplotlib")
    (tmp_path / "one.txt").write_text("Only this.", encoding="utf-8")
    done = run(tmp_path, "similarity.py", "--device", "cpu", "--book", "one.txt")
    assert done.returncode == 1 and done.stderr == "one.txt: expected at least two passages, found 1\n"


def test_similarity_raw(tmp_path: Path, short_book: str) -> None:
    pytest.importorskip("matplotlib", reason="no matplotlib")
    output(tmp_path, "similarity.py", "--book", short_book, "--raw")
    assert (tmp_path / "similarity.png").read_bytes().startswith(b"\x89PNG")


def test_find_passages(tmp_path: Path) -> None:
    pytest.importorskip("usearch", reason="no usearch")
    found = output(tmp_path, "find_passages.py", "two", "men", "fight", "a", "duel", "with", "pistols")
    kept = {path.name: path.read_bytes() for path in (tmp_path / "passages-index").iterdir()}
    assert set(kept) == {"passages.usearch", "vectors.npz"}
    lines = found.splitlines()
    assert len(lines) == 3 and any("Choose your distance" in line for line in lines), found
    scores = [float(line.split()[0]) for line in lines]
    assert scores == sorted(scores, reverse=True) and all(-1 <= score <= 1 for score in scores)

    again = run(tmp_path, "find_passages.py", "--device", "cpu", "two men fight a duel with pistols")
    assert again.stdout == found and "passages-index: read" in again.stderr
    assert {path.name: path.read_bytes() for path in (tmp_path / "passages-index").iterdir()} == kept


def test_find_passages_of_another_model(tmp_path: Path, short_book: str) -> None:
    """An index is not used for another model or another book."""
    pytest.importorskip("usearch", reason="no usearch")
    np = pytest.importorskip("numpy")
    arguments = ("find_passages.py", "--device", "cpu", "--book", short_book, "-n", "1", "the landlord")
    first = run(tmp_path, *arguments)
    assert first.returncode == 0 and "built" in first.stderr
    path = tmp_path / "passages-index" / "vectors.npz"
    with np.load(path) as kept:
        arrays = dict(kept)
    fingerprint, texts = str(arrays["made_of"]).split()
    np.savez(path, **{**arrays, "made_of": f"{fingerprint[::-1]} {texts}"})
    second = run(tmp_path, *arguments)
    assert "built" in second.stderr and second.stdout == first.stdout
    third = run(tmp_path, *arguments, "--length", "2000")
    assert third.returncode == 0 and "built" in third.stderr


def test_fields(tmp_path: Path) -> None:
    text = output(tmp_path, "fields.py", "--save-state", "chapter.state")
    assert "1282 tokens" in text and "wkv (10, 6, 64, 64)" in text and "(3, 384), float32" in text
    assert "loaded: equal; pickled: equal; hidden vectors from there: equal" in text
    assert (tmp_path / "chapter.state").stat().st_size > 10 * 6 * 64 * 64 * 4
    # Dr. Melmoth is in this chapter, and no captain.
    line = next(line for line in text.splitlines() if "Captain Nemo" in line)
    parts = [part.strip().rsplit(" ", 1) for part in line.split("said")[1].split(",")]
    gains = {name: float(gain) for name, gain in parts}
    assert gains["Dr. Melmoth"] > 10 > gains["Captain Nemo"]


def test_fields_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("Sender: Mr. Holmes. Date: the third of May.", encoding="utf-8")
    text = output(tmp_path, "fields.py", "letter.txt", "--field", "Sender:", "--choice", " Holmes", "--choice", " Watson")
    assert "(1, 384)" in text
    (tmp_path / "empty.txt").touch()
    done = run(tmp_path, "fields.py", "--device", "cpu", "empty.txt")
    assert done.returncode == 1 and "empty" in done.stderr and "Traceback" not in done.stderr


def test_no_such_model(tmp_path: Path) -> None:
    done = run(tmp_path, "fields.py", "--model", "nowhere.gguf")
    assert done.returncode == 1 and "nowhere.gguf" in done.stderr and "Traceback" not in done.stderr


def test_measurements(tmp_path: Path, short_book: str) -> None:
    table = output(tmp_path, "which_embedding.py", "--book", short_book)
    assert "| mean of hidden vectors | 384 |" in table and "| state, all of it |" in table
    table = output(tmp_path, "costs.py", "--book", short_book, "--rounds", "1")
    assert "| state of a passage, as numpy arrays |" in table
