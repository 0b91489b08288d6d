"""A program as users write it, for mypy: every call has the type that its stub promises. It is not run."""

from __future__ import annotations

from pathlib import Path
from typing import Optional

import numpy as np
from numpy.typing import NDArray

import wingbeat

model: wingbeat.Model = wingbeat.Model.load(Path("model.gguf"), device="cpu", threads=2, precision="exact")
demo: wingbeat.Model = wingbeat.Model.demo()
ids: list[int] = model.tokenize("text")
text: str = model.detokenize(np.array(ids))
data: bytes = model.detokenize_bytes(ids)
vectors: NDArray[np.float32] = model.embed(["a", "b"], pooling="last", normalize=True, layer=-1)
vector: NDArray[np.float32] = model.embed("a")
of_ids: NDArray[np.float32] = model.embed([[1, 2], [3]], of="state", slab="wkv")
logits: NDArray[np.float32] = model.logits(b"text", all=True)
state: wingbeat.State = model.state("a document")
states: list[wingbeat.State] = model.state(["one", "two"])
of_tokens: wingbeat.State = model.state([1, 2, 3])
hidden: NDArray[np.float32] = model.continue_batch(state, ["a", "b"])
both: tuple[NDArray[np.float32], NDArray[np.float32]] = model.continue_batch(state, ["a"], want="both")
scores: NDArray[np.float64] = model.score_choices(state, ["a"], ["yes", "no"], per_token=True)
answer: str = model.generate("a", state=state, max_tokens=3, stop="\n", seed=1, temperature=0.0, top_k=40)
answers: list[str] = model.generate_batch(["a", "b"], stop=["\n", "."], logit_bias={1: -1.0}, banned=[2])
stream: wingbeat.Stream = model.stream("a", top_p=0.9)
for piece in stream:
    piece.upper()
reason: Optional[str] = stream.finish_reason
after: wingbeat.State = stream.state()
wkv: NDArray[np.float32] = state["wkv"]
arrays: dict[str, NDArray[np.float32]] = state.numpy()
state["wkv"] = wkv * 2
n: int = state.extend(" more")
state.save("document.state")
loaded: wingbeat.State = wingbeat.State.load(model, "document.state")
blend: wingbeat.State = wingbeat.State.blend([(state, 0.5), (loaded, 0.5)])
cache: wingbeat.Cache = wingbeat.Cache(1 << 20, folder=Path("cache"), folder_bytes=None)
cached: wingbeat.State = model.state("a document", cache=cache)
several: list[wingbeat.State] = model.state(["one", "two"], cache=cache)
kept: NDArray[np.float32] = model.embed(["a", "b"], cache=cache)
stats: wingbeat.CacheStats = cache.stats()
hits: int = stats.n_memory_hits + stats.n_disk_hits
last_error: Optional[str] = stats.last_error
perplexity: float = float(model.perplexity("text"))
llama = wingbeat.Llama("model.gguf", n_ctx=512)
encoder = wingbeat.SentenceTransformer(model)
n_channels: int = encoder.get_sentence_embedding_dimension()

# What is wrong is seen to be wrong: with --warn-unused-ignores a line that is accepted is an error.
model.embed("a", pooling="max")  # type: ignore[arg-type]
model.generate("a", temprature=1.0)  # type: ignore[call-arg]
model.generate("a", temperature="hot")  # type: ignore[arg-type]
model.state("a", cache="folder")  # type: ignore[call-overload]
state.n_tokens = 3  # type: ignore[misc]
