"""The engines that are measured: which figures there are, which program measures an engine, how it is called.

Every peer's program keeps the same contract (`bench/README.md`, "A peer's program"); Wingbeat's is `wingbeat bench`,
with the same keys. `build.py` makes the programs, `run` calls them in turns.
"""
import os
import turns

# Group of figures: its metrics, and the key of Wingbeat's where it is another: it opens the model many times in a
# process, the peers once, so that the first times are compared.
GROUPS = {
    "load": {"load_ms": "load_ms_first", "start_to_first_token_ms": "start_to_first_token_ms_first"},
    "tokenize": {"tokenize_us": None},
    "gen": {"gen_tok_s": None, "peak_rss_mb": None},
    "prefill": {"prefill512_tok_s": None, "prefill2048_tok_s": None},
    "par": {},
    "state": {"doc_state_ms": None},
    "fields": {"field_analysis_ms": None},
    "embed": {"embed_ms": None},
}
# Opening a model that the system's page cache does not have.
COLD = "cold"
# Beside a thread that keeps a core busy.
BESIDE = "beside_load"
# Groups that are measured as another is, under other circumstances: they have processes of their own.
AS = {COLD: "load", BESIDE: "gen"}
# The metrics of such groups, and the keys they are under.
COLD_METRICS = {"load_cold_ms": "load_ms", "start_to_first_token_cold_ms": "start_to_first_token_ms"}
# What web-rwkv makes of a file in f16, in the place of a type of GGUF's.
WEB_QUANTS = {"f16": "none", "q8_0": "int8", "q4_0": "nf4", "q4_k_m": "nf4", "q4_k_s": "nf4"}


def figures(groups, batches):
    """The figures of groups: (metric, group, {engine: its key, if that is another})."""
    found = []
    for group in groups:
        if group == BESIDE:
            found.append(("gen_beside_load_tok_s", BESIDE, dict.fromkeys((turns.OURS, *PEERS), "gen_tok_s")))
        if group == COLD:
            found += [(metric, COLD, {**dict.fromkeys(PEERS, key), turns.OURS: GROUPS["load"][key]})
                      for metric, key in COLD_METRICS.items()]
        metrics = {f"par{n}_tok_s": None for n in batches} if group == "par" else GROUPS.get(group, {})
        found += [(metric, group, {turns.OURS: key} if key else {}) for metric, key in metrics.items()]
    return found


class Engine:
    """One engine: its program, or why there is none."""
    name = None
    # Where it runs.
    kinds = ("cpu", "gpu")
    # Whether a process measures everything: where opening a model takes many seconds.
    together = False

    def __init__(self, key, program=None, absent=None):
        self.key, self.program, self.absent = key, program, absent

    def file_for(self, model):
        """The file that it reads in a GGUF model's place."""
        return model

    def refuses(self, model):
        """Why it does not run such a model, if it does not."""
        return None

    def command(self, model, groups, options):
        """The command line that measures groups of figures."""
        return [*self.words(), "-m", self.file_for(model), "--device", options.kind, "-t", str(options.threads),
                "--budget", str(options.budget), "--only", ",".join(groups), "--batches", options.batch_list]

    def words(self):
        return [self.program]

    def environment(self, options):
        return dict(os.environ)

    def agreement(self, model, tokens, out, options):
        """The command line that writes the logits of the text's first tokens to a file."""
        return [*self.command(model, ["agree"], options), "--logits", out]


class Wingbeat(Engine):
    name = "Wingbeat"

    def command(self, model, groups, options):
        device = options.device or options.kind
        return [self.program, "bench", "-m", model, "--device", device, "--threads", str(options.threads), "--budget",
                str(options.budget), "--only", ",".join(groups), "--batches", options.batch_list, "--json", "-q"]

    def agreement(self, model, tokens, out, options, exact=False):
        # The exact arithmetic of the CPU is what all are held against.
        device = "cpu" if exact else options.device or options.kind
        return [self.program, "dump", "-m", model, "--device", device, "--precision", "exact" if exact else "auto",
                "--tokens", ",".join(map(str, tokens)), "--out", out, "-q"]


class LlamaCpp(Engine):
    name = "llama.cpp"

    def environment(self, options):
        env = dict(os.environ)
        if options.libraries:
            env["LD_LIBRARY_PATH"] = os.pathsep.join(filter(None, [options.libraries, env.get("LD_LIBRARY_PATH")]))
        return env


class LlamaCppCuda(LlamaCpp):
    name = "llama.cpp (CUDA)"
    kinds = ("gpu",)


class LlamaCppVulkan(LlamaCpp):
    name = "llama.cpp (Vulkan)"
    kinds = ("gpu",)


class WebRwkv(Engine):
    """It quantizes while it loads, from safetensors in f16 that lie beside the GGUF: SHAPE.st for SHAPE-q8_0.gguf."""
    name = "web-rwkv"
    kinds = ("gpu",)
    together = True
    vocabulary = None

    def file_for(self, model):
        stem = os.path.splitext(model)[0]
        shape, _, dtype = stem.rpartition("-")
        beside = f"{stem}.st"
        return f"{shape}.st" if dtype.lower() in WEB_QUANTS and not os.path.exists(beside) else beside

    def command(self, model, groups, options):
        dtype = os.path.splitext(model)[0].rpartition("-")[2].lower()
        return [*super().command(model, groups, options), "--quant", WEB_QUANTS.get(dtype, "none"), "--vocab", self.vocabulary]


class RwkvPip(Engine):
    """The package `rwkv`, on PyTorch. It reads SHAPE.pth, and has no quantized weights."""
    name = "rwkv (PyTorch)"
    together = True

    def refuses(self, model):
        dtype = os.path.splitext(model)[0].rpartition("-")[2].lower()
        return "no quantized weights" if dtype in WEB_QUANTS and dtype != "f16" else None

    def file_for(self, model):
        stem = os.path.splitext(model)[0]
        shape, _, dtype = stem.rpartition("-")
        return f"{shape if dtype.lower() in WEB_QUANTS else stem}.pth"

    def words(self):
        return self.program


# In the order of the tables' columns.
PEERS = {"llamacpp": LlamaCpp, "llamacpp-cuda": LlamaCppCuda, "llamacpp-vulkan": LlamaCppVulkan, "webrwkv": WebRwkv,
         "rwkv": RwkvPip}


NAMES = {turns.OURS: Wingbeat.name, **{key: peer.name for key, peer in PEERS.items()}}


def of_kind(kind):
    """The peers that there are on `cpu` or `gpu`: on a GPU llama.cpp is named with its backend."""
    return {key: peer for key, peer in PEERS.items() if kind in peer.kinds and not (kind == "gpu" and key == "llamacpp")}
