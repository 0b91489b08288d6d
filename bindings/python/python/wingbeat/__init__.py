"""Wingbeat: RWKV models, embeddings, and a document's state as a value.

    import wingbeat

    model = wingbeat.Model.demo()                      # or wingbeat.Model.load("model.gguf")
    vectors = model.embed(["one text", "another"])     # numpy float32 (2, C)
    report = model.state(open("report.txt").read())    # read once ...
    model.generate("\\n\\nAuthor:", state=report)        # ... asked many times

Importing this starts no thread and opens no device; numpy is imported by the first call that returns an array.
"""

from ._adapters import Llama, SentenceTransformer
from ._errors import (
    DeviceError,
    InputError,
    MissingFileError,
    ModelFileError,
    StateError,
    WingbeatError,
)
from ._wingbeat import Cache, CacheStats, Model, Perplexity, State, Stream, __version__, devices

__all__ = [
    "Cache",
    "CacheStats",
    "DeviceError",
    "InputError",
    "Llama",
    "MissingFileError",
    "Model",
    "ModelFileError",
    "Perplexity",
    "SentenceTransformer",
    "State",
    "StateError",
    "Stream",
    "WingbeatError",
    "__version__",
    "devices",
]
