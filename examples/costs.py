"""Measures what embeddings and states cost, and what of it is Python's: the least of several rounds, in turns.

    python3 examples/costs.py --device cpu
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Callable

import book
from wingbeat._wingbeat import _engine_seconds


def least(calls: dict[str, Callable[[], object]], rounds: int) -> dict[str, tuple[float, float]]:
    """Of each call the least seconds, and the least seconds of it that were not spent in the engine."""
    times: dict[str, tuple[float, float]] = {}
    for _ in range(rounds):
        # In turns, so that a busy machine is busy for all of them.
        for name, call in calls.items():
            start, engine = time.perf_counter(), _engine_seconds()
            call()
            wall = time.perf_counter() - start
            other = wall - (_engine_seconds() - engine)
            before = times.get(name, (wall, other))
            times[name] = (min(before[0], wall), min(before[1], other))
    return times


def main() -> None:
    parser = book.parser(__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()

    model = book.open_model(arguments)
    passages = [passage.text for passage in book.passages(arguments.book)]
    lines = [line for passage in passages for line in book.sentences(passage)]
    lines = [lines[i % len(lines)] for i in range(1000)]
    document, middle = passages[0], model.n_layers // 2
    prompts = ["\n\n" + line for line in lines[:8]]
    state = model.state(document)

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "document.state"
        calls: dict[str, Callable[[], object]] = {
            f"embed {len(passages)} passages": lambda: model.embed(passages),
            f"embed {len(passages)} passages, layer={middle}": lambda: model.embed(passages, layer=middle),
            f"states of {len(passages)} passages": lambda: model.state(passages),
            "embed 1000 lines": lambda: model.embed(lines),
            "embed 1000 lines, one a call": lambda: [model.embed(line) for line in lines],
            "state of a passage": lambda: model.state(document),
            "state of a passage, as numpy arrays": lambda: model.state(document).numpy(),
            "8 prompts from its state": lambda: model.continue_batch(state, prompts),
            "8 prompts from its state, one a call": lambda: [model.continue_batch(state, [p]) for p in prompts],
            "8 prompts, each with the passage": lambda: model.embed([document + prompt for prompt in prompts]),
            "fork": state.fork,
            "save": lambda: state.save(path),
            "load": lambda: model.load_state(path),
            "numpy()": state.numpy,
        }
        times = least(calls, arguments.rounds)

    n_tokens = [sum(len(model.tokenize(text)) for text in texts) for texts in (passages, lines, prompts)]
    print(f"{model.name} on {model.device}: {len(passages)} passages of {n_tokens[0]} tokens, ", end="")
    print(f"1000 lines of {n_tokens[1]}, a passage of {state.n_tokens}, 8 prompts of {n_tokens[2]}\n")
    print("| call | ms | of which Python |")
    print("|---|---|---|")
    for name, (wall, other) in times.items():
        print(f"| {name} | {1e3 * wall:.3g} | {1e3 * other:.3g} |")


if __name__ == "__main__":
    main()
