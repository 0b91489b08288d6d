"""Many continuations of one state: hidden vectors, logits, scores of choices, texts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import wingbeat

PROMPTS = ["\nSender:", "\nDate:", "\nThe letter was long. True or false:"]


def test_shapes_and_values(model: wingbeat.Model, document: wingbeat.State) -> None:
    before = document.fork()
    hidden = model.continue_batch(document, PROMPTS)
    logits = model.continue_batch(document, PROMPTS, want="logits")
    assert hidden.shape == (3, model.n_channels) and logits.shape == (3, model.n_vocab)
    assert hidden.dtype == logits.dtype == np.float32
    both = model.continue_batch(document, PROMPTS, want="both")
    np.testing.assert_array_equal(both[0], hidden)
    np.testing.assert_array_equal(both[1], logits)
    for prompt, row in zip(PROMPTS, logits):
        np.testing.assert_array_equal(model.continue_batch(document, [prompt], want="logits")[0], row)
    assert document == before
    assert model.continue_batch(document, []).shape == (0, model.n_channels)


def test_logits_are_the_models(exact: wingbeat.Model) -> None:
    state = exact.state("A document.")
    for prompt, row in zip(PROMPTS, exact.continue_batch(state, PROMPTS, want="logits")):
        np.testing.assert_allclose(exact.logits(prompt, state=state), row, atol=1e-3)


def test_scores(model: wingbeat.Model, document: wingbeat.State) -> None:
    choices = [" Mr. Holmes", " the third of May", " true"]
    scores = model.score_choices(document, PROMPTS, choices)
    assert scores.shape == (3, 3) and scores.dtype == np.float64 and (scores < 0).all()
    lengths = [len(model.tokenize(choice)) for choice in choices]
    np.testing.assert_allclose(model.score_choices(document, PROMPTS, choices, per_token=True), scores / lengths)


def test_scores_by_hand(exact: wingbeat.Model) -> None:
    state, choice = exact.state("A document."), " the third of May"
    ids = exact.tokenize(choice)
    logits = exact.logits(exact.tokenize(PROMPTS[1]) + ids[:-1], all=True, state=state).astype(np.float64)
    logits = logits[-len(ids) :]
    log_p = logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)
    expected = log_p[np.arange(len(ids)), ids].sum()
    assert exact.score_choices(state, [PROMPTS[1]], ["x", choice])[0, 1] == pytest.approx(expected, abs=1e-3)


def test_answers(model: wingbeat.Model, document: wingbeat.State) -> None:
    texts = model.generate_batch(PROMPTS, state=document, max_tokens=12, stop="\n", seed=5, temperature=0.5)
    assert len(texts) == 3 and all(isinstance(text, str) and "\n" not in text for text in texts)
    assert texts == model.generate_batch(PROMPTS, state=document, max_tokens=12, stop="\n", seed=5, temperature=0.5)


def test_bad_input(model: wingbeat.Model, document: wingbeat.State) -> None:
    continue_batch: Any = model.continue_batch
    with pytest.raises(wingbeat.InputError, match="prompt 1 .*empty"):
        continue_batch(document, ["a", ""])
    with pytest.raises(TypeError, match="prompts: expected a list of texts, found one"):
        continue_batch(document, "a")
    with pytest.raises(wingbeat.InputError, match="want: expected"):
        continue_batch(document, ["a"], want="all")
    with pytest.raises(wingbeat.InputError, match="choice 0 .*empty"):
        model.score_choices(document, ["a"], [""])
    with pytest.raises(wingbeat.InputError, match=r"choices\[0\]: expected str or bytes, found token ids"):
        model.score_choices(document, ["a"], [[1]])  # type: ignore[list-item]
    with pytest.raises(TypeError):
        continue_batch("a state", ["a"])
