"""Reads a document once, then asks its state several things at once: how texts go on from it, which names it knows.

    python3 examples/fields.py
    python3 examples/fields.py letter.txt --field "Sender:" --field "Date:" --choice " Holmes" --choice " Watson"

The demo model was trained on novels, so it goes on with a chapter; a model that was trained to answer fills in fields.
"""

from __future__ import annotations

import pickle
import sys
import tempfile
from pathlib import Path

import numpy as np

import book
import wingbeat

FIELDS = ['"Good night," said', "The inn was kept by", "It was a night of"]
# A space belongs to a word's first token.
CHOICES = [" Hugh Crombie", " Dr. Melmoth", " Mrs. Melmoth", " Ellen", " Captain Nemo"]


def main() -> None:
    parser = book.parser(__doc__)
    parser.add_argument("document", nargs="?", type=Path, help="a text; by default a chapter of the book")
    parser.add_argument("--chapter", default="VI", help="which chapter")
    parser.add_argument("--field", action="append", help="what to go on from; several times for several")
    parser.add_argument("--choice", action="append", help="what may come after a field; several times for several")
    parser.add_argument("--save-state", metavar="FILE", type=Path, help="keep the document's state")
    arguments = parser.parse_args()

    if arguments.document is not None:
        text = arguments.document.read_text(encoding="utf-8")
    else:
        text = "\n\n".join(p.text for p in book.passages(arguments.book) if p.chapter == arguments.chapter)
    fields, choices = arguments.field or FIELDS, arguments.choice or CHOICES
    prompts = ["\n\n" + field for field in fields]
    model = book.open_model(arguments)
    try:
        state = model.state(text)
        print(f"{len(text)} characters, {state.n_tokens} tokens, are {state.nbytes / 1e6:.1f} MB of state:")
        print("  " + ", ".join(f"{name} {array.shape}" for name, array in state.numpy().items()))

        # All prompts go on from the state side by side. It stays as it is.
        answers = model.generate_batch(prompts, state=state, max_tokens=16, temperature=0, stop=["\n", ". "])
        print("\nHow it goes on:")
        for field, answer in zip(fields, answers):
            print(f"  {field}{answer}")

        # How likely a name is says little: some are common everywhere. How much likelier the document makes it does.
        gain = model.score_choices(state, prompts, choices) - model.score_choices(model.new_state(), prompts, choices)
        print("\nHow much likelier the document makes what comes after a field (nats):")
        for field, row in zip(fields, gain):
            print(f"  {field:20}" + ",".join(f"{choice} {value:+.1f}" for choice, value in zip(choices, row)))

        # Hidden vectors (B, C) after each prompt: the document's embeddings in the light of each question.
        vectors = model.continue_batch(state, prompts)
        print(f"\nHidden vectors after the fields: {vectors.shape}, {vectors.dtype}")

        check(model, state, prompts, vectors, arguments.save_state)
    except wingbeat.WingbeatError as error:
        sys.exit(str(error))


def check(
    model: wingbeat.Model, state: wingbeat.State, prompts: list[str], vectors: np.ndarray, keep: Path | None
) -> None:
    """Saves, loads and pickles the state, and goes on from what comes back."""
    with tempfile.TemporaryDirectory() as folder:
        path = keep or Path(folder) / "document.state"
        state.save(path)
        loaded = model.load_state(path)
        size = path.stat().st_size
    # A pickle holds the state and its model's fingerprint; the model must be open where it is read.
    pickled: wingbeat.State = pickle.loads(pickle.dumps(state))
    is_same = all(np.array_equal(model.continue_batch(again, prompts), vectors) for again in (loaded, pickled))
    equal = {True: "equal", False: "not equal"}
    print(f"Saved ({size / 1e6:.1f} MB) and loaded: {equal[loaded == state]}; pickled: {equal[pickled == state]}; ", end="")
    print(f"hidden vectors from there: {equal[is_same]}")


if __name__ == "__main__":
    main()
