"""Generated text: whole, in pieces, side by side."""

from __future__ import annotations

from typing import Any

import pytest

import wingbeat

PROMPT = "It was a dark and stormy night"


def test_seeds(model: wingbeat.Model) -> None:
    one = model.generate(PROMPT, max_tokens=16, seed=1)
    assert isinstance(one, str) and one
    assert model.generate(PROMPT, max_tokens=16, seed=1) == one
    assert model.generate(model.tokenize(PROMPT), max_tokens=16, seed=1) == one
    others = {model.generate(PROMPT, max_tokens=16, temperature=2.0, top_p=1.0) for _ in range(4)}
    assert len(others) > 1, "without a seed each call has its own"


def test_pieces_are_the_whole(model: wingbeat.Model) -> None:
    stream = model.stream(PROMPT, max_tokens=16, seed=1)
    assert iter(stream) is stream and stream.finish_reason is None
    pieces = list(stream)
    assert len(pieces) > 1 and "".join(pieces) == model.generate(PROMPT, max_tokens=16, seed=1)
    assert stream.finish_reason == "length" and stream.n_tokens == 16
    assert list(stream) == []


def test_greedy_is_the_most_probable(model: wingbeat.Model) -> None:
    first = int(model.logits(PROMPT).argmax())
    assert model.generate(PROMPT, max_tokens=1, temperature=0) == model.detokenize([first])
    banned = model.generate(PROMPT, max_tokens=1, temperature=0, banned=[first])
    assert banned != model.detokenize([first])
    assert model.generate(PROMPT, max_tokens=1, temperature=0, logit_bias={first: -100.0}) == banned


def test_stops(model: wingbeat.Model) -> None:
    text = model.generate(PROMPT, max_tokens=40, temperature=0)
    stop = text[10:14]
    stream = model.stream(PROMPT, max_tokens=40, temperature=0, stop=stop)
    assert "".join(stream) == text[: text.index(stop)] and stream.finish_reason == "stop"
    assert model.generate(PROMPT, max_tokens=40, temperature=0, stop=["\x00never", stop]) == text[: text.index(stop)]
    second = model.tokenize(text)[1]
    assert model.generate(PROMPT, max_tokens=40, temperature=0, stop_tokens=[second]) in text
    assert model.generate(PROMPT, max_tokens=0) == ""


def test_a_state_before_the_prompt(model: wingbeat.Model) -> None:
    ids = model.tokenize(PROMPT)
    state = model.state(ids[:-1])
    n_tokens = state.n_tokens
    assert model.generate(ids[-1:], state=state, max_tokens=8, temperature=0) == model.generate(
        ids, max_tokens=8, temperature=0
    )
    assert state.n_tokens == n_tokens, "it stays as it is"


def test_the_state_after(model: wingbeat.Model) -> None:
    stream = model.stream(PROMPT, max_tokens=6, temperature=0)
    text = "".join(stream)
    state = stream.state()
    assert state.n_tokens == len(model.tokenize(PROMPT)) + 6
    on = model.generate(".", state=state, max_tokens=4, temperature=0)
    assert isinstance(on, str) and text


def test_closing(model: wingbeat.Model) -> None:
    stream = model.stream(PROMPT, max_tokens=100_000, temperature=0)
    next(stream)
    stream.close()
    assert stream.finish_reason == "closed" and list(stream) == []
    assert stream.state().n_tokens > len(model.tokenize(PROMPT))
    stream.close()
    del stream
    abandoned = model.stream(PROMPT, max_tokens=100_000)
    next(abandoned)
    del abandoned


def test_side_by_side(model: wingbeat.Model, exact: wingbeat.Model) -> None:
    prompts = [PROMPT, "My dear", "The"]
    texts = model.generate_batch(prompts, max_tokens=8, seed=7)
    assert len(texts) == 3 and all(texts)
    assert texts == model.generate_batch(prompts, max_tokens=8, seed=7)
    together = exact.generate_batch(prompts, max_tokens=8, seed=7)
    assert together == [exact.generate(p, max_tokens=8, seed=7 + i) for i, p in enumerate(prompts)]
    assert model.generate_batch([], max_tokens=8) == []


def test_characters_are_whole(model: wingbeat.Model) -> None:
    butterfly = model.tokenize("🦋")
    bias = {id: 50.0 for id in butterfly}
    for piece in model.stream(PROMPT, max_tokens=12, seed=1, logit_bias=bias, stop_tokens=[]):
        piece.encode()


def test_bad_input(model: wingbeat.Model) -> None:
    generate: Any = model.generate
    with pytest.raises(wingbeat.InputError, match="prompt 0 .*empty"):
        generate("")
    with pytest.raises(wingbeat.InputError, match="prompt 1 .*empty"):
        model.generate_batch(["a", ""])
    with pytest.raises(wingbeat.InputError, match="temperature: expected 0 to 100, found -1"):
        generate("a", temperature=-1)
    with pytest.raises(wingbeat.InputError, match="top_p"):
        generate("a", top_p=float("nan"))
    with pytest.raises(TypeError, match="unknown setting `temprature`: there are temperature,"):
        generate("a", temprature=1)
    with pytest.raises(wingbeat.InputError, match="temperature: expected a number, found 'hot'"):
        generate("a", temperature="hot")
    with pytest.raises(wingbeat.InputError, match="stop string 0"):
        generate("a", stop="")
    with pytest.raises(wingbeat.InputError, match="stop: expected"):
        generate("a", stop=3)
    with pytest.raises(wingbeat.InputError, match="logit_bias: expected"):
        generate("a", logit_bias=[1])
    with pytest.raises(wingbeat.InputError, match="max_tokens: expected an int from 0 on, of at most 64 bits, found -1"):
        generate("a", max_tokens=-1)
    with pytest.raises(wingbeat.InputError, match=f"seed: expected .*found {1 << 64}"):
        generate("a", seed=1 << 64)
