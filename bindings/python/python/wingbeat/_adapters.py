"""Embeddings in the shapes that other packages have made usual, so that what is written for those works with this.

`Llama` answers like llama-cpp-python's class of that name, `SentenceTransformer` like sentence-transformers'. Both are
thin: what they return comes from `Model.embed`.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Iterable, Optional, Sequence, Union

from ._errors import InputError
from ._wingbeat import Model

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

ModelOrPath = Union[Model, str, "os.PathLike[str]"]

# Arguments of llama-cpp-python's `Llama` that say how llama.cpp is to run, and change no embedding here.
_LLAMA_RUNTIME = frozenset(
    "chat_format f16_kv flash_attn last_n_tokens_size logits_all low_vram main_gpu mul_mat_q n_batch n_parts n_threads_batch "
    "n_ubatch numa offload_kqv op_offload seed split_mode swa_full tensor_split type_k type_v use_mlock use_mmap verbose "
    "vocab_only".split()
)
# llama.cpp's numbers of ways to pool: unspecified, mean, last.
_LLAMA_POOLINGS = {-1: "mean", 1: "mean", 3: "last"}
# There is no limit, but who asks wants a number.
_ANY_LENGTH = 2**31 - 1


def encode(
    model: Model,
    sentences: Union[str, Sequence[str]],
    batch_size: int = 32,
    show_progress_bar: Optional[bool] = None,
    convert_to_numpy: bool = True,
    convert_to_tensor: bool = False,
    normalize_embeddings: bool = False,
    *,
    pooling: str = "mean",
    layer: Optional[int] = None,
    prompt: Optional[str] = None,
    prompt_name: Optional[str] = None,
    output_value: Optional[str] = "sentence_embedding",
    precision: str = "float32",
    device: Any = None,
    **unknown: Any,
) -> Any:
    """`Model.encode` and `SentenceTransformer.encode`: the latter tells what the arguments are."""
    if unknown:
        raise TypeError(f"encode: unknown argument `{next(iter(unknown))}`")
    if prompt_name is not None:
        raise InputError(f"prompt_name: expected None, found {prompt_name!r}: there are no named prompts, give `prompt`")
    if output_value != "sentence_embedding":
        raise InputError(f"output_value: expected 'sentence_embedding', found {output_value!r}")
    if precision != "float32":
        raise InputError(f"precision: expected 'float32', found {precision!r}")
    if batch_size < 1:
        raise InputError(f"batch_size: expected at least 1, found {batch_size}")
    texts: Any = sentences if isinstance(sentences, str) else list(sentences)
    if prompt:
        texts = prompt + texts if isinstance(texts, str) else [prompt + text for text in texts]
    vectors = model.embed(
        texts,
        pooling=pooling,  # type: ignore[arg-type]
        layer=layer,
        normalize=normalize_embeddings,
        show_progress=bool(show_progress_bar),
    )
    if convert_to_tensor:
        import torch  # type: ignore[import-not-found, unused-ignore]

        return torch.from_numpy(vectors)
    if convert_to_numpy or isinstance(texts, str):
        return vectors
    return list(vectors)


class SentenceTransformer:
    """A model that answers like sentence-transformers' `SentenceTransformer`.

    model_name_or_path: a model file, or a `Model` that is open.
    device: as of `Model.load`; "cuda" and "mps" mean "gpu", "cuda:1" means "gpu:1", None means "auto".
    pooling: "mean" or "last".
    layer: the layer whose output is taken, as of `Model.embed`; None: the final hidden vectors.
    threads: of the CPU; None: one a core.
    """

    def __init__(
        self,
        model_name_or_path: ModelOrPath,
        device: Optional[str] = None,
        *,
        pooling: str = "mean",
        layer: Optional[int] = None,
        threads: Optional[int] = None,
    ) -> None:
        self.model = _open(model_name_or_path, _device(device), threads)
        self.pooling = pooling
        self.layer = layer

    @property
    def device(self) -> str:
        """The device in words."""
        return self.model.device

    @property
    def max_seq_length(self) -> None:
        """None: texts of any length are embedded whole."""
        return None

    def encode(
        self,
        sentences: Union[str, Sequence[str]],
        batch_size: int = 32,
        show_progress_bar: Optional[bool] = None,
        convert_to_numpy: bool = True,
        convert_to_tensor: bool = False,
        normalize_embeddings: bool = False,
        **others: Any,
    ) -> Any:
        """Embeds sentences.

        sentences: a text or several, each of any length.
        batch_size: taken and not needed: texts are packed by their lengths and the device's room.
        show_progress_bar: draw a bar on standard error.
        convert_to_numpy: False gives a list of vectors (C) instead of an array.
        convert_to_tensor: a torch tensor over the same memory; needs torch.
        normalize_embeddings: scale each to length 1.
        others: `prompt` (put before every text), `pooling`, `layer`; `device`, which is taken and not needed;
            `prompt_name`, `output_value` and `precision` only with the values that change nothing.
        Returns float32 (B, C), or (C) for a text by itself.
        """
        others.setdefault("pooling", self.pooling)
        others.setdefault("layer", self.layer)
        return encode(
            self.model,
            sentences,
            batch_size,
            show_progress_bar,
            convert_to_numpy,
            convert_to_tensor,
            normalize_embeddings,
            **others,
        )

    def encode_query(self, sentences: Union[str, Sequence[str]], **arguments: Any) -> Any:
        """As `encode`: queries and documents are embedded alike."""
        return self.encode(sentences, **arguments)

    def encode_document(self, sentences: Union[str, Sequence[str]], **arguments: Any) -> Any:
        """As `encode`: queries and documents are embedded alike."""
        return self.encode(sentences, **arguments)

    def get_sentence_embedding_dimension(self) -> int:
        """C."""
        return self.model.n_channels

    def __repr__(self) -> str:
        return f"<wingbeat.SentenceTransformer of {self.model!r}>"


class Llama:
    """A model that embeds and tokenizes like llama-cpp-python's `Llama`.

    model_path: a model file, or a `Model` that is open.
    n_threads: of the CPU; None: one a core.
    n_gpu_layers: 0: the CPU; otherwise a GPU where there is one with room for the model.
    pooling_type: llama.cpp's number: 1 (mean, also meant by -1) or 3 (last).
    embedding, n_ctx, runtime: taken and not needed; of the latter only names that llama-cpp-python has.
    """

    def __init__(
        self,
        model_path: ModelOrPath,
        *,
        n_threads: Optional[int] = None,
        n_gpu_layers: Optional[int] = None,
        pooling_type: int = -1,
        embedding: bool = True,
        n_ctx: int = 0,
        **runtime: Any,
    ) -> None:
        for name in runtime:
            if name not in _LLAMA_RUNTIME:
                raise TypeError(f"Llama: unknown argument `{name}`")
        if pooling_type not in _LLAMA_POOLINGS:
            raise InputError(f"pooling_type: expected 1 (mean) or 3 (last), found {pooling_type}")
        self.model = _open(model_path, "cpu" if n_gpu_layers == 0 else "auto", n_threads)
        self.model_path = str(self.model.path or self.model.name)
        self._pooling = _LLAMA_POOLINGS[pooling_type]
        self._n_ctx = n_ctx or _ANY_LENGTH

    def embed(
        self,
        input: Union[str, list[str]],
        normalize: bool = False,
        truncate: bool = True,
        return_count: bool = False,
    ) -> Any:
        """A list of C floats for a text, a list of such lists for several.

        truncate: taken and not needed: texts of any length are embedded whole.
        return_count: a tuple of that and the number of tokens.
        """
        vectors, n_tokens = self._embed(input, normalize)
        return (vectors.tolist(), n_tokens) if return_count else vectors.tolist()

    def create_embedding(self, input: Union[str, list[str]], model: Optional[str] = None) -> dict[str, Any]:
        """Embeddings as OpenAI's API returns them."""
        texts = input if isinstance(input, list) else [input]
        vectors, n_tokens = self._embed(texts, False)
        return {
            "object": "list",
            "data": [
                {"object": "embedding", "embedding": vector, "index": index}
                for index, vector in enumerate(vectors.tolist())
            ],
            "model": self.model_path if model is None else model,
            "usage": {"prompt_tokens": n_tokens, "total_tokens": n_tokens},
        }

    def _embed(self, input: Union[str, list[str]], normalize: bool) -> tuple[NDArray[np.float32], int]:
        texts = [input] if isinstance(input, str) else input
        tokens = [self.model.tokenize(text) for text in texts]
        vectors = self.model.embed(tokens, pooling=self._pooling, normalize=normalize)  # type: ignore[arg-type]
        return vectors[0] if isinstance(input, str) else vectors, sum(map(len, tokens))

    def tokenize(self, text: bytes, add_bos: bool = True, special: bool = False) -> list[int]:
        """Token ids of a text. RWKV's vocabulary has neither a first token to add nor special text to parse."""
        return self.model.tokenize(text)

    def detokenize(
        self, tokens: Iterable[int], prev_tokens: Optional[list[int]] = None, special: bool = False
    ) -> bytes:
        """The bytes of token ids, whatever came before them."""
        return self.model.detokenize_bytes(list(tokens))

    def n_embd(self) -> int:
        """C."""
        return self.model.n_channels

    def n_vocab(self) -> int:
        """V."""
        return self.model.n_vocab

    def n_ctx(self) -> int:
        """What was asked for, or a very large number: there is no limit."""
        return self._n_ctx

    def token_eos(self) -> int:
        """The end of a document: 0."""
        return 0

    def token_bos(self) -> int:
        """The end of the document before: 0."""
        return 0

    def close(self) -> None:
        """Nothing to do: the model is closed when nothing refers to it."""

    def __repr__(self) -> str:
        return f"<wingbeat.Llama of {self.model!r}>"


def _open(model: ModelOrPath, device: str, threads: Optional[int]) -> Model:
    return model if isinstance(model, Model) else Model.load(model, device=device, threads=threads)


def _device(name: Optional[str]) -> str:
    if name is None:
        return "auto"
    kind, colon, number = name.partition(":")
    return "gpu" + colon + number if kind in ("cuda", "mps") else name
