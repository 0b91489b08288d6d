"""Draws which passages of a book are alike: a matrix of the cosines between their embeddings, as PNG.

    python3 examples/similarity.py --out similarity.png
"""

from __future__ import annotations

import sys
from itertools import groupby
from pathlib import Path

import matplotlib
import numpy as np

import book

matplotlib.use("Agg")  # draws files; needs no screen
from matplotlib import pyplot  # noqa: E402


def cosines(vectors: np.ndarray, raw: bool) -> np.ndarray:
    """Cosines (P, P) between passages. vectors: (P, C)."""
    if not raw:
        # Hidden vectors of a language model lie in a narrow cone: most of each is a direction that all texts share, so that
        # any two have a cosine near 1. Without their mean, what is left is what sets a passage apart from the others.
        vectors = vectors - vectors.mean(axis=0)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit @ unit.T


def most_alike(matrix: np.ndarray, allowed: np.ndarray) -> tuple[int, int]:
    """The pair of passages with the highest cosine where `allowed` (P, P) is true."""
    i, j = np.unravel_index(np.where(allowed, matrix, -np.inf).argmax(), matrix.shape)
    return min(int(i), int(j)), max(int(i), int(j))


def draw(matrix: np.ndarray, passages: list[book.Passage], title: str, legend: str, raw: bool, out: Path) -> None:
    """Writes the picture."""
    n = len(passages)
    # A passage's cosine with itself says nothing and would take up the range of colours.
    others = matrix[~np.eye(n, dtype=bool)]
    shown = np.where(np.eye(n, dtype=bool), np.nan, matrix)
    if raw:
        colours, low, high = "viridis", others.min(), others.max()
    else:
        high = np.quantile(np.abs(others), 0.99)
        colours, low = "RdBu_r", -high
    figure, axes = pyplot.subplots(figsize=(8, 7), layout="constrained")
    axes.set_facecolor("0.85")
    image = axes.imshow(shown, cmap=colours, vmin=low, vmax=high, interpolation="nearest")
    start, middles, names = 0, [], []
    for chapter, members in groupby(passages, key=lambda passage: passage.chapter):
        length = len(list(members))
        middles.append(start + (length - 1) / 2)
        names.append(f"ch. {chapter}")
        if start:
            axes.axhline(start - 0.5, color="black", linewidth=1.2)
            axes.axvline(start - 0.5, color="black", linewidth=1.2)
        start += length
    step = 1 if n <= 40 else 5
    marks = [i for i, passage in enumerate(passages) if passage.number % step == 0 or passage.number == 1]
    numbers = [str(passages[i].number) for i in marks]
    axes.set_xticks(marks, numbers, fontsize=7)
    axes.set_yticks(marks, numbers, fontsize=7)
    for axis, turned in ((axes.secondary_xaxis(-0.03), 0), (axes.secondary_yaxis(-0.03), 90)):
        set_ticks = axis.set_xticks if turned == 0 else axis.set_yticks
        set_ticks(middles, names, fontsize=11, rotation=turned, va="center" if turned else "top")
        axis.tick_params(length=0)
        axis.spines[:].set_visible(False)
    axes.set_title(title, fontsize=14, loc="left", pad=12)
    bar = figure.colorbar(image, ax=axes, shrink=0.8, extend="neither" if raw else "both")
    bar.set_label(legend, fontsize=10)
    figure.savefig(out, dpi=110)
    pyplot.close(figure)


def main() -> None:
    parser = book.parser(__doc__)
    parser.add_argument("--out", metavar="FILE", type=Path, default=Path("similarity.png"), help="the picture")
    parser.add_argument("--title", default="Which passages of Hawthorne's Fanshawe are alike")
    parser.add_argument("--length", type=int, default=2000, help="characters of a passage, about")
    parser.add_argument("--raw", action="store_true", help="do not subtract the mean of the embeddings")
    arguments = parser.parse_args()

    passages = book.passages(arguments.book, arguments.length)
    if len(passages) < 2:
        sys.exit(f"{arguments.book}: expected at least two passages, found {len(passages)}")
    model = book.open_model(arguments)
    vectors = model.embed([passage.text for passage in passages])
    matrix = cosines(vectors, arguments.raw)

    legend = "cosine of the embeddings" + ("" if arguments.raw else ", their mean subtracted")
    draw(matrix, passages, arguments.title, legend, arguments.raw, arguments.out)
    print(f"{arguments.out}: {len(passages)} passages, {model.name}, embeddings of {vectors.shape[1]} values")

    chapters = np.array([passage.chapter for passage in passages])
    apart = chapters[:, None] != chapters[None, :]
    for what, allowed in (("most alike", ~np.eye(len(passages), dtype=bool)), ("of different chapters", apart)):
        if allowed.any():
            i, j = most_alike(matrix, allowed)
            print(f"\n{what}, {matrix[i, j]:.3f}:")
            for passage in (passages[i], passages[j]):
                print(f"  {passage.label:6} {passage.text[:80]!r}")


if __name__ == "__main__":
    main()
