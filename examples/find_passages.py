"""Finds passages of a book with a vector index. The index is made once, kept in a folder, and used again.

    python3 examples/find_passages.py "two men fight a duel with pistols"
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import numpy as np
from usearch.index import Index

import book
import wingbeat


def unit(vectors: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """Embeddings (P, C), or (C), without a mean (C), scaled to length 1."""
    centred = vectors - mean
    return centred / np.linalg.norm(centred, axis=-1, keepdims=True)


class Library:
    """A book's passages with their embeddings, and an index over them."""

    def __init__(self, passages: list[book.Passage], vectors: np.ndarray, query_mean: np.ndarray, index: Index) -> None:
        self.passages = passages
        self.vectors = vectors  # (P, C), centred, of length 1
        self.query_mean = query_mean  # (C)
        self.index = index

    @staticmethod
    def build(model: wingbeat.Model, passages: list[book.Passage]) -> Library:
        # All embeddings share a large part (similarity.py says why), and texts as short as a query share another one than
        # passages do: each kind is centred by its own mean. Sentences of the book stand for queries.
        short = [sentence for passage in passages for sentence in book.sentences(passage.text)[:2]]
        texts = [passage.text for passage in passages]
        embeddings = model.embed(texts + short, show_progress=sys.stderr.isatty())
        long, short_ones = embeddings[: len(texts)], embeddings[len(texts) :]
        vectors = unit(long, long.mean(axis=0))
        query_mean = short_ones.mean(axis=0) if short else long.mean(axis=0)
        index = Index(ndim=vectors.shape[1], metric="ip", dtype="f32")
        index.add(np.arange(len(passages)), vectors)
        return Library(passages, vectors, query_mean, index)

    def save(self, folder: Path, made_of: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        vectors = folder / "vectors.npz"
        # The vectors come last: where they are, the index is whole, and of the same model and book.
        vectors.unlink(missing_ok=True)
        self.index.save(str(folder / "passages.usearch"))
        unfinished = folder / "unfinished.npz"
        np.savez(unfinished, vectors=self.vectors, query_mean=self.query_mean, made_of=made_of)
        unfinished.replace(vectors)

    @staticmethod
    def load(folder: Path, made_of: str, passages: list[book.Passage]) -> Library | None:
        """None where there is none, or one of another model, other passages."""
        try:
            with np.load(folder / "vectors.npz") as kept:
                if str(kept["made_of"]) != made_of:
                    return None
                index = Index.restore(str(folder / "passages.usearch"))
                return Library(passages, kept["vectors"], kept["query_mean"], index) if index is not None else None
        except FileNotFoundError:
            return None

    def find(self, model: wingbeat.Model, query: str, n: int) -> list[tuple[float, book.Passage]]:
        """The `n` passages nearest to a query, with their cosines, the nearest first."""
        matches = self.index.search(unit(model.embed(query), self.query_mean), n)
        # The index speaks of distances: 1 - cosine.
        return [(1 - d, self.passages[key]) for key, d in zip(matches.keys.tolist(), matches.distances.tolist())]


def made_of(model: wingbeat.Model, passages: list[book.Passage]) -> str:
    """What tells an index from one of another model, or of other passages."""
    texts = hashlib.sha256("\0".join(passage.text for passage in passages).encode()).hexdigest()
    return f"{model.fingerprint} {texts}"


def main() -> None:
    parser = book.parser(__doc__)
    parser.add_argument("query", nargs="+", help="what to look for; several words are one query")
    parser.add_argument("-n", type=int, default=3, help="passages to show")
    parser.add_argument("--length", type=int, default=800, help="characters of a passage, about")
    parser.add_argument("--index", metavar="FOLDER", type=Path, default=Path("passages-index"), help="where it is kept")
    arguments = parser.parse_args()

    model = book.open_model(arguments)
    passages = book.passages(arguments.book, arguments.length)
    key = made_of(model, passages)
    library = Library.load(arguments.index, key, passages)
    if library is None:
        library = Library.build(model, passages)
        library.save(arguments.index, key)
        print(f"{arguments.index}: built, {len(passages)} passages", file=sys.stderr)
    else:
        print(f"{arguments.index}: read, {len(passages)} passages", file=sys.stderr)

    for score, passage in library.find(model, " ".join(arguments.query), arguments.n):
        print(f"{score:6.3f}  {passage.label:6} {passage.text[:90]!r}")


if __name__ == "__main__":
    main()
