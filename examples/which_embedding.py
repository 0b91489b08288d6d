"""Measures which embedding finds texts best, in two searches that need no judge:

- halves: a book's passages are cut in the middle, and each half is looked for with the other;
- lines: each passage is looked for with three short pieces of its sentences.

Prints recall at 1 and at 5 in per cent, with embeddings as they are, with the mean of each kind of text subtracted
(centred), and divided by the standard deviation of each channel besides (scaled).

    python3 examples/which_embedding.py
"""

from __future__ import annotations

from typing import Callable

import numpy as np

import book

TREATMENTS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "raw": lambda vectors: vectors,
    "centred": lambda vectors: vectors - vectors.mean(axis=0),
    "scaled": lambda vectors: (vectors - vectors.mean(axis=0)) / np.maximum(vectors.std(axis=0), 1e-6),
}


def halves(text: str) -> tuple[str, str]:
    """A text cut after a sentence, as near to its middle as there is one, or else at the middle."""
    ends = [i for i in range(1, len(text) - 1) if text[i].isspace() and text[i - 1] in '.!?"']
    cut = min(ends, key=lambda end: abs(2 * end - len(text)), default=len(text) // 2)
    return text[:cut].strip(), text[cut:].strip()


def ranks(queries: np.ndarray, texts: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Texts that are at least as near to each query (Q, W), by cosine, as the text that is wanted (Q), without that one."""
    queries = queries / np.linalg.norm(queries, axis=1, keepdims=True)
    texts = texts / np.linalg.norm(texts, axis=1, keepdims=True)
    cosines = queries @ texts.T
    # Equal ones count against it: embeddings that say nothing, such as those of a last token alone, shall not win.
    return (cosines > cosines[np.arange(len(wanted)), wanted][:, None] - 1e-6).sum(axis=1) - 1


def recall(ranks: np.ndarray) -> str:
    return f"{(ranks < 1).mean():.0%} {(ranks < 5).mean():.0%}".replace("%", "")


def main() -> None:
    parser = book.parser(__doc__)
    parser.add_argument("--length", type=int, default=1000, help="characters of a passage, about")
    arguments = parser.parse_args()

    model = book.open_model(arguments)
    texts = [passage.text for passage in book.passages(arguments.book, arguments.length)]
    first, second = zip(*map(halves, texts))
    lines = [(line, i) for i, text in enumerate(texts) for line in book.sentences(text)[1:8:3]]
    of_line = np.array([i for _, i in lines])
    everything = [*texts, *first, *second, *(line for line, _ in lines)]
    n, numbers = len(texts), np.arange(len(texts))

    # (3n + lines, W) of each kind. Of states there are many kinds: the texts are read once for all of them.
    middle, last = model.n_layers // 2, model.n_layers - 1
    kinds = {"mean of hidden vectors": model.embed(everything)}
    kinds["last hidden vector"] = model.embed(everything, pooling="last")
    for layer in range(model.n_layers):
        kinds[f"mean after layer {layer}"] = model.embed(everything, layer=layer)
    kinds[f"last after layer {middle}"] = model.embed(everything, layer=middle, pooling="last")
    states = model.state(everything)
    for slab in states[0].names:
        for layer in sorted({0, middle, last}):
            kinds[f"state: `{slab}` of layer {layer}"] = np.stack([state[slab][layer].ravel() for state in states])
        kinds[f"state: `{slab}`"] = np.stack([state[slab].ravel() for state in states])
    kinds["state, all of it"] = model.embed(everything, of="state")

    print(f"{model.name}, {n} passages of about {arguments.length} characters: {2 * n} halves, {len(lines)} lines")
    print(f"by chance: {100 / n:.0f} {500 / n:.0f}\n")
    print("| embedding | values | " + " | ".join(f"{task}, {name}" for task in ("halves", "lines") for name in TREATMENTS) + " |")
    print("|---|---|" + "---|" * 2 * len(TREATMENTS))
    for kind, vectors in kinds.items():
        whole, one, other, line = np.split(vectors, [n, 2 * n, 3 * n])
        cells = []
        for treat in TREATMENTS.values():
            a, b = treat(one), treat(other)
            cells.append(recall(np.concatenate([ranks(a, b, numbers), ranks(b, a, numbers)])))
        for treat in TREATMENTS.values():
            cells.append(recall(ranks(treat(line), treat(whole), of_line)))
        print(f"| {kind} | {vectors.shape[1]} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
