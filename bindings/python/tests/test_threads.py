"""The interpreter is free while the engine computes: other threads run, Ctrl-C ends a long call."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import wingbeat

from conftest import TEXTS

LONG = "The rain fell on the roofs of the town, and nobody was abroad. " * 400


def test_other_threads_run(model: wingbeat.Model) -> None:
    """A second thread works while one call is under way: it could not if the call held the interpreter."""
    done = threading.Event()
    turns = 0

    def count() -> None:
        nonlocal turns
        while not done.is_set():
            turns += 1

    counter = threading.Thread(target=count)
    counter.start()
    try:
        before = turns
        model.embed(LONG)
        assert turns > before + 1000
    finally:
        done.set()
        counter.join()


def test_one_model_in_several_threads(model: wingbeat.Model) -> None:
    expected = model.embed(TEXTS)
    text = model.generate("Once", max_tokens=8, seed=1)

    def work(n: int) -> bool:
        if n % 3 == 0:
            return model.generate("Once", max_tokens=8, seed=1) == text
        if n % 3 == 1:
            return bool((model.state(TEXTS[0])["wkv"] == model.state(TEXTS[0])["wkv"]).all())
        return bool(np.array_equal(model.embed(TEXTS), expected))

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(work, range(12)))


def test_a_state_changed_by_two_threads(model: wingbeat.Model) -> None:
    state = model.state("Once")
    n_before = state.n_tokens
    n_long = len(model.tokenize(LONG))
    outcomes: list[object] = []

    def extend() -> None:
        try:
            outcomes.append(state.extend(LONG))
        except wingbeat.StateError as error:
            outcomes.append(str(error))

    threads = [threading.Thread(target=extend) for _ in range(2)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        assert state.n_tokens in (n_before, n_before + n_long, n_before + 2 * n_long)
        assert np.isfinite(state["att_shift"]).all()
    for thread in threads:
        thread.join()
    n_done = sum(isinstance(outcome, int) for outcome in outcomes)
    assert n_done >= 1 and state.n_tokens == n_before + n_done * n_long
    assert all(outcome == n_long or "another thread" in str(outcome) for outcome in outcomes)


INTERRUPTED = """
import os, signal, sys, threading, time
import wingbeat

# A job in the background begins with the signal ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)
model = wingbeat.Model.demo(device="cpu", threads=1)
text = "The rain fell on the roofs of the town, and nobody was abroad. " * 20_000
state = model.state("Before.")
before = state.fork()
calls = {
    "embed": lambda: model.embed([text]),
    "state": lambda: model.state(text),
    "extend": lambda: state.extend(text),
    "logits": lambda: model.logits(text),
    "perplexity": lambda: model.perplexity(text),
    "prompt": lambda: model.generate(text),
    "generate": lambda: model.generate("Once", max_tokens=1_000_000, stop_tokens=[]),
    "generate_batch": lambda: model.generate_batch(["Once", "Twice"], max_tokens=1_000_000, stop_tokens=[]),
    "stream": lambda: sum(1 for _ in model.stream("Once", max_tokens=1_000_000, stop_tokens=[])),
}
for name, call in calls.items():
    timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT))
    since = time.monotonic()
    timer.start()
    try:
        call()
    except KeyboardInterrupt:
        print(name, round(time.monotonic() - since, 2), flush=True)
    else:
        sys.exit(f"{name}: was not interrupted")
    timer.join()
assert state == before, "an interrupted extend leaves the state as it was"
assert model.generate("Once", max_tokens=2, seed=1), "the model goes on"
"""


@pytest.mark.skipif(not hasattr(signal, "SIGINT") or sys.platform == "win32", reason="no such signals here")
def test_ctrl_c() -> None:
    done = subprocess.run([sys.executable, "-c", INTERRUPTED], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(done.stdout.splitlines()) == 9
