#!/usr/bin/env python3
"""The package rwkv (PyPI, on PyTorch), measured as `wingbeat bench` measures Wingbeat.

    bench/peers/rwkv_pip.py -m MODEL.pth --device cpu|gpu [-t THREADS] [--budget SECONDS] [--only GROUP,...]
                            [--batches N,...] [--logits FILE]

Needs `pip install torch numpy rwkv`, and for the package's own CUDA kernels `pip install ninja setuptools`, nvcc and a C++
compiler; without those it runs PyTorch's operations alone, and the result says so. The model is a checkpoint with official
names, as `bench/models.py --pth` writes it; it runs in fp32 on a CPU and in fp16 on CUDA. Prints one JSON object on one
line; what is said beside that goes to standard error.
"""
import argparse, json, os, statistics, sys, time, traceback

GROUPS = ["load", "tokenize", "prefill", "par", "state", "fields", "embed", "gen", "agree"]
TEXT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../crates/wingbeat-cli/src/commands/bench/text.txt")
# As in `wingbeat bench`: tokens to the first one, of a document, prompts continued from it and their tokens, tokens
# generated between two looks at the clock, tokens whose logits are compared.
START_TOKENS, DOCUMENT, FIELDS, FIELD_TOKENS, BLOCK, AGREE_TOKENS = 16, 512, 8, 64, 10, 64
# Tokens in a call that are tried; 256 is what the package's own pipeline takes.
CHUNKS = (128, 256, 512, 2048)


class Report:
    """Figures, how often they were measured, and what there are none of."""

    def __init__(self, budget_s):
        self.entries, self.cannot, self.budget_s = {}, {}, budget_s

    def time(self, run):
        """Seconds of each run, after one that warms up: as many as the budget allows, three at least."""
        run()
        started, seconds = time.perf_counter(), []
        while len(seconds) < 3 or (time.perf_counter() - started < self.budget_s and len(seconds) < 10_000):
            run_started = time.perf_counter()
            run()
            seconds.append(time.perf_counter() - run_started)
        return seconds

    def put(self, key, figures):
        """The median of some runs' figures, with the least and the greatest and how many there are beside it."""
        self.entries |= {key: statistics.median(figures), f"{key}_min": min(figures), f"{key}_max": max(figures),
                         f"{key}_runs": len(figures)}

    def line(self):
        return json.dumps(self.entries | ({"cannot": self.cannot} if self.cannot else {}))


class Graph:
    """One token's step as a CUDA graph, as the package's README has it; the state's way back is in the graph, too."""

    def __init__(self, torch, model):
        self.model = model
        self.embedding = torch.zeros_like(model.z["emb.weight"][0])
        self.state = model.generate_zero_state()
        # Pipelines are made and memory is taken before anything is recorded.
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream), torch.no_grad():
            for _ in range(3):
                model.forward_one_alt(self.embedding, self.state)
        torch.cuda.current_stream().wait_stream(stream)
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph), torch.no_grad():
            self.logits, after = model.forward_one_alt(self.embedding, self.state)
            self.copy(after)

    def copy(self, state):
        for kept, given in zip(self.state, state):
            kept.copy_(given)

    def step(self, token):
        self.embedding.copy_(self.model.z["emb.weight"][token])
        self.graph.replay()
        return self.logits


class Subject:
    """The model under test, and its figures: a method a group."""

    def __init__(self, args, package, report):
        self.torch, rwkv, pipeline = package
        self.device, self.report = {"cpu": "cpu", "gpu": "cuda"}[args.device], report
        with open(TEXT, encoding="utf-8") as file:
            self.text = file.read()
        started = time.perf_counter()
        self.model = rwkv(model=args.model.removesuffix(".pth"),
                          strategy="cpu fp32" if self.device == "cpu" else "cuda fp16")
        self.tokenizer = pipeline(self.model, "rwkv_vocab_v20230424")
        # Waits for the weights to arrive.
        self.torch.zeros(1, device=self.device).cpu()
        loaded = time.perf_counter()
        self.n_vocab = self.model.args.vocab_size
        self.tokens = self.tokenizer.encode(self.text)
        if max(self.tokens) >= self.n_vocab:
            print("the World vocabulary is not this model's: arbitrary tokens", file=sys.stderr)
            self.tokens = any_tokens(self.n_vocab)
        if "load" in args.only:
            self.pick(self.prompt(self.take(0, START_TOKENS), START_TOKENS)[0].cpu())
            first_token = time.perf_counter()
            report.entries |= {"load_ms": 1e3 * (loaded - started),
                               "start_to_first_token_ms": 1e3 * (first_token - started)}

    def take(self, start, n):
        """`n` of the text's tokens, over and over, from token `start` on."""
        return [self.tokens[(start + i) % len(self.tokens)] for i in range(n)]

    def pick(self, logits):
        """The greedy token: a number in the caller's memory."""
        return int(self.torch.argmax(logits))

    def prompt(self, tokens, chunk, state=None):
        """Runs a prompt, from a fresh state if none is given: its last token's logits, and the state."""
        for start in range(0, len(tokens), chunk):
            logits, state = self.model.forward(tokens[start:start + chunk], state)
        return logits, state

    def fastest_chunk(self, tokens):
        """The chunk that runs a prompt fastest, by one run each after a first one."""
        seconds = {}
        for chunk in sorted({min(chunk, len(tokens)) for chunk in CHUNKS}):
            for _ in range(2):
                started = time.perf_counter()
                self.prompt(tokens, chunk)[0].cpu()
                seconds[chunk] = time.perf_counter() - started
            print(f"{len(tokens)} tokens, {chunk} at a time: {1e3 * seconds[chunk]:.1f} ms", file=sys.stderr)
        return min(seconds, key=seconds.get)

    def tokenize(self, args):
        seconds = self.report.time(lambda: self.tokenizer.encode(self.text))
        n_bytes = len(self.text.encode())
        self.report.put("tokenize_us", [1e6 * each for each in seconds])
        self.report.put("tokenize_mb_s", [n_bytes / each / 1e6 for each in seconds])

    def prefill(self, args):
        for n in (512, 2048):
            tokens = self.take(0, n)
            chunk = self.fastest_chunk(tokens)
            seconds = self.report.time(lambda: self.prompt(tokens, chunk)[0].cpu())
            self.report.put(f"prefill{n}_tok_s", [n / each for each in seconds])
            self.report.entries[f"prefill{n}_way"] = f"{chunk} tokens a call"

    def par(self, args):
        for n in args.batches:
            self.report.cannot[f"par{n}_tok_s"] = "one sequence a call in its API"

    def state(self, args):
        tokens = self.take(0, DOCUMENT)
        chunk = self.fastest_chunk(tokens)
        seconds = self.report.time(lambda: [part.cpu() for part in self.prompt(tokens, chunk)[1]])
        self.report.put("doc_state_ms", [1e3 * each for each in seconds])
        self.report.entries["doc_state_way"] = f"{chunk} tokens a call"

    def fields(self, args):
        document = [part.cpu() for part in self.prompt(self.take(0, DOCUMENT), DOCUMENT)[1]]
        prompts = [self.take(1000 + 37 * field, FIELD_TOKENS) for field in range(FIELDS)]

        def run():
            # A call changes the state that it is given.
            for prompt in prompts:
                state = [part.to(self.device, copy=True) for part in document]
                self.prompt(prompt, FIELD_TOKENS, state)[0].cpu()

        self.report.put("field_analysis_ms", [1e3 * each for each in self.report.time(run)])
        self.report.entries["fields_way"] = "one after the other"

    def embed(self, args):
        self.report.cannot["embed_ms"] = "no embeddings in its API"

    def gen(self, args):
        prompt = self.take(0, 32)
        logits, state = self.prompt(prompt, len(prompt))
        token = self.pick(logits)

        def calls():
            nonlocal token, state
            for _ in range(BLOCK):
                logits, state = self.model.forward(token, state)
                token = self.pick(logits)

        way, run = "a call a token", calls
        graph = self.graph(prompt) if self.device == "cuda" else None
        if graph:
            graph_token = token

            def replays():
                nonlocal graph_token
                for _ in range(BLOCK):
                    graph_token = self.pick(graph.step(graph_token))

            seconds = {}
            for each in (calls, replays):
                # The first run warms up.
                for _ in range(2):
                    started = time.perf_counter()
                    each()
                    seconds[each] = time.perf_counter() - started
            if seconds[replays] < seconds[calls]:
                way, run = "a CUDA graph a token", replays
        self.report.put("gen_tok_s", [BLOCK / each for each in self.report.time(run)])
        where = "the GPU" if self.device == "cuda" else "the host"
        self.report.entries["gen_way"] = f"{way}, greedy token picked on {where}"

    def graph(self, prompt):
        """A step as a CUDA graph, after the prompt; none if it cannot be recorded or gives other logits."""
        try:
            graph = Graph(self.torch, self.model)
        except Exception as error:
            print(f"no CUDA graph: {first_line(error)}", file=sys.stderr)
            return None
        logits, state = self.prompt(prompt, len(prompt))
        graph.copy(state)
        token = self.pick(logits)
        right = self.model.forward(token, state)[0].float()
        difference = float((graph.step(token).float() - right).abs().max() / right.std())
        # Halves, summed in another order: far below. The step just made is taken back.
        graph.copy(self.prompt(prompt, len(prompt))[1])
        if difference < 0.1:
            return graph
        print(f"the CUDA graph is wrong: its logits differ by {difference} standard deviations", file=sys.stderr)
        return None

    def agree(self, args):
        tokens = self.take(0, AGREE_TOKENS)
        logits = self.model.forward(tokens, None, full_output=True)[0].float().cpu().contiguous()
        with open(args.logits, "wb") as file:
            file.write(logits.numpy().astype("<f4").tobytes())
        self.report.entries |= {"agree_tokens": tokens, "agree_vocab": self.n_vocab}


def any_tokens(n_vocab):
    """251 tokens spread over the vocabulary, as `wingbeat bench` makes them (a linear congruence, Knuth's constants)."""
    x, last, tokens = 1, n_vocab - 1, []
    for _ in range(251):
        x = (x * 6_364_136_223_846_793_005 + 1_442_695_040_888_963_407) % 2**64
        tokens.append(min(1 + (x >> 33) % max(last, 1), last))
    return tokens


def load_package(device, n_threads):
    """(torch, the model's class, the tokenizer's) and what computes, in words. What it is to do is in the environment."""
    os.environ |= {"RWKV_V7_ON": "1", "RWKV_JIT_ON": "1", "RWKV_CUDA_ON": "0"}
    import torch
    torch.set_num_threads(n_threads)
    kernels = ""
    if device == "gpu":
        if not torch.cuda.is_available():
            raise OSError("PyTorch finds no CUDA GPU here")
        why = why_no_kernels()
        if why is None:
            os.environ["RWKV_CUDA_ON"] = "1"
            try:
                import rwkv.model
            except Exception as error:
                why = f"they did not compile: {first_line(error)}"
                os.environ["RWKV_CUDA_ON"] = "0"
                sys.modules.pop("rwkv.model", None)
        kernels = ", its CUDA kernels" if why is None else f", without its CUDA kernels ({why})"
    import rwkv.model, rwkv.utils
    from importlib.metadata import version
    precision = "fp32" if device == "cpu" else "fp16"
    name = f"rwkv {version('rwkv')}, torch {torch.__version__}, {precision}{kernels}"
    return (torch, rwkv.model.RWKV, rwkv.utils.PIPELINE), name


def why_no_kernels():
    """What is missing that the package compiles its CUDA kernels with; None if nothing is."""
    from torch.utils import cpp_extension
    if cpp_extension.CUDA_HOME is None:
        return "no nvcc"
    return None if cpp_extension.is_ninja_available() else "no ninja"


def first_line(error):
    said = str(error).strip().splitlines()
    return f"{type(error).__name__}: {said[0] if said else 'nothing said'}"


def peak_rss_mb():
    """The most memory that this process had at once, in MiB."""
    try:
        with open("/proc/self/status") as file:
            return next(int(line.split()[1]) / 1024 for line in file if line.startswith("VmHWM:"))
    except (OSError, StopIteration):
        return None


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.error = lambda why: sys.exit(f"error: {why}")
    parser.add_argument("-m", dest="model", required=True, help="checkpoint, .pth")
    parser.add_argument("--device", choices=["cpu", "gpu"], required=True)
    parser.add_argument("-t", dest="threads", type=int, default=os.cpu_count())
    parser.add_argument("--budget", type=float, default=2, help="seconds a figure")
    parser.add_argument("--only", default=",".join(GROUPS[:-1]), help="of " + ", ".join(GROUPS))
    parser.add_argument("--batches", default="8,32,128", help="numbers of sequences side by side")
    parser.add_argument("--logits", help="where the group agree writes its logits")
    args = parser.parse_args()
    args.only = args.only.split(",")
    unknown = [group for group in args.only if group not in GROUPS]
    if unknown:
        parser.error(f"--only: no group {unknown[0]}; there are {', '.join(GROUPS)}")
    try:
        args.batches = [int(n) for n in args.batches.split(",")]
    except ValueError:
        parser.error(f"--batches: {args.batches}: not numbers")
    if not args.model.endswith(".pth"):
        parser.error(f"{args.model}: no .pth file")
    if "agree" in args.only and not args.logits:
        parser.error("--only agree wants --logits FILE")
    return args


def measure(args):
    """Measures, and returns the line to print."""
    package, engine = load_package(args.device, args.threads)
    report = Report(args.budget)
    gpu = args.device == "gpu"
    report.entries |= {"engine": engine, "device": package[0].cuda.get_device_name() if gpu else "cpu",
                       "model": os.path.basename(args.model), "threads": args.threads}
    subject = Subject(args, package, report)
    for group in GROUPS:
        if group in args.only and group != "load":
            getattr(subject, group)(args)
    report.entries["peak_rss_mb"] = peak_rss_mb()
    return report.line()


def main():
    args = arguments()
    # The package and the compilers that it starts print to standard output, which is for the result.
    results = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    try:
        line = measure(args)
    except ImportError as error:
        sys.exit(f"error: {error}: pip install torch numpy rwkv (and ninja setuptools for its CUDA kernels)")
    except Exception as error:
        traceback.print_exc()
        sys.exit(f"error: {first_line(error)}")
    print(line, file=results, flush=True)


if __name__ == "__main__":
    main()
