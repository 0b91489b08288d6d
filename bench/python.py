#!/usr/bin/env python3
"""What Python adds to the engine: embeddings of many short texts, and a document's state handed over as numpy.

Needs the package installed (`pip install ./bindings/python`). The engine's own time is counted inside the extension, around
the work that runs without the interpreter; what a call takes beyond it is Python's share: reading arguments, making arrays.
Prints a Markdown table.

    bench/python.py [--model FILE] [--device cpu] [--threads N] [--texts 1000] [--runs 5]
"""

from __future__ import annotations

import argparse
import platform
import statistics
import time

import numpy as np
import wingbeat
from wingbeat import _wingbeat

WORDS = "the sea was calm and a man came down to the old house by the river where nobody had lived for many years".split()


def short_texts(n: int) -> list[str]:
    """Texts of 5 to 20 words, the same in every run."""
    return [
        " ".join(WORDS[(i * 7 + j * (i % 5 + 1)) % len(WORDS)] for j in range(5 + i % 16)) + f", {i}." for i in range(n)
    ]


def embed(model: wingbeat.Model, texts: list[str], n_runs: int) -> tuple[float, float]:
    """Median seconds of a call, and of that the share that is not the engine's."""
    model.embed(texts)
    walls, shares = [], []
    for _ in range(n_runs):
        engine, since = _wingbeat._engine_seconds(), time.perf_counter()
        vectors = model.embed(texts)
        wall = time.perf_counter() - since
        assert vectors.shape == (len(texts), model.n_channels)
        walls.append(wall)
        shares.append((wall - (_wingbeat._engine_seconds() - engine)) / wall)
    return statistics.median(walls), statistics.median(shares)


def median_us(work: object, n_runs: int = 200) -> float:
    """Median microseconds of a call."""
    times = []
    for _ in range(n_runs):
        since = time.perf_counter()
        work()  # type: ignore[operator]
        times.append(time.perf_counter() - since)
    return statistics.median(times) * 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="model file [default: the demo model]")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--texts", type=int, default=1000)
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    if options.model:
        model = wingbeat.Model.load(options.model, device=options.device, threads=options.threads)
    else:
        model = wingbeat.Model.demo(device=options.device, threads=options.threads)

    texts = short_texts(options.texts)
    n_tokens = sum(len(model.tokenize(text)) for text in texts)
    seconds, share = embed(model, texts, options.runs)
    state = model.state(" ".join(texts[:50]))
    all_slabs, one_slab = median_us(state.numpy), median_us(lambda: state["wkv"])
    copied = median_us(lambda: {name: np.ascontiguousarray(array) for name, array in state.numpy().items()})

    print(f"wingbeat {wingbeat.__version__}, {model!r}, Python {platform.python_version()}, numpy {np.__version__}\n")
    print("| measure | value |")
    print("|---|---|")
    print(f"| `embed` of {len(texts)} texts ({n_tokens} tokens) | {seconds * 1e3:.1f} ms, {n_tokens / seconds:.0f} tokens/s |")
    print(f"| of that Python's share | {share * 100:.2f} %, {share * seconds * 1e3:.2f} ms |")
    print(f"| `state.numpy()`: {state.nbytes / 1e6:.1f} MB handed over | {all_slabs:.1f} µs |")
    print(f'| `state["wkv"]` | {one_slab:.1f} µs |')
    print(f"| the same copied into row-major arrays, for comparison | {copied:.1f} µs |")


if __name__ == "__main__":
    main()
