"""Whether the engines compute the same: their logits after each of the same tokens, held against exact arithmetic.

The reference is Wingbeat on the CPU with `--precision exact` (floats throughout, tested against published logits and
float64 computations) on the same file. An engine that reads another file, or quantizes by itself, differs by that, too.
"""
import array, json, math, operator, os, struct, subprocess, sys, tempfile
import turns

# Root mean square difference in standard deviations of the logits above which an engine does not run these weights:
# rounding activations to eight bits costs up to a tenth where weights are random and in four bits.
WRONG = 0.3


def measure(model, engines, options, log):
    """{engine: how its logits differ, or an error}; {"error": …} where there is nothing to compare with."""
    ours = next(engine for engine in engines if engine.key == turns.OURS)
    if ours.absent:
        return {"error": ours.absent}
    with tempfile.TemporaryDirectory(prefix="wingbeat-bench-") as folder:
        out = os.path.join(folder, "logits")
        tokens = text_tokens(ours, model)
        if isinstance(tokens, str):
            return {"error": tokens}
        line = ours.agreement(model, tokens, out + ".safetensors", options, exact=True)
        error = quiet(line, options, log)
        if error:
            return {"error": f"the reference: {error}"}
        exact, n_vocab = logits_of_dump(out + ".safetensors")
        reference = Reference(exact, n_vocab)
        found = {}
        for engine in engines:
            if engine.absent or engine.refuses(model):
                continue
            print(f"{os.path.basename(model)}: do the logits agree, {engine.name}", file=sys.stderr)
            found[engine.key] = of_engine(engine, model, tokens, reference, out, options, log)
        return found


def of_engine(engine, model, tokens, reference, out, options, log):
    """How an engine's logits differ from the reference."""
    path = out + (".safetensors" if engine.key == turns.OURS else f"-{engine.key}")
    line = engine.agreement(model, tokens, path, options)
    if engine.key == turns.OURS:
        error = quiet(line, options, log)
        return {"error": error} if error else reference.differences(logits_of_dump(path)[0])
    result = turns.run(line, options.process_limit, engine.environment(options), log)
    if "error" in result:
        return result
    if result.get("agree_tokens") != tokens:
        return {"error": "it makes other tokens of the text"}
    try:
        with open(path, "rb") as file:
            logits = floats(file.read())
    except OSError as error:
        return {"error": f"no logits: {error.strerror}"}
    if len(logits) != len(reference.logits):
        return {"error": f"{len(logits)} logits, expected {len(reference.logits)}"}
    return reference.differences(logits)


def text_tokens(ours, model):
    """The text's first 64 tokens by Wingbeat, or why there are none."""
    line = [ours.program, "tokenize", "-m", model]
    try:
        with open(TEXT, "rb") as text:
            done = subprocess.run(line, capture_output=True, stdin=text)
    except OSError as error:
        return str(error.strerror)
    if done.returncode != 0:
        return turns.last_words(line, done.stderr)
    return [int(word) for word in done.stdout.split()][:64]


def quiet(line, options, log):
    """Runs a program that writes a file; its error, if there is one."""
    try:
        done = subprocess.run(line, capture_output=True, stdin=subprocess.DEVNULL, timeout=options.process_limit)
    except subprocess.TimeoutExpired:
        return f"no result after {options.process_limit:.0f} s"
    except OSError as error:
        return str(error.strerror)
    if done.returncode == 0:
        return None
    if log:
        with open(log, "a") as file:
            file.write(f"$ {' '.join(line)}\n{done.stderr.decode(errors='replace')}\n\n")
    return turns.last_words(line, done.stderr)


def floats(data):
    """Little-endian floats."""
    values = array.array("f")
    values.frombytes(data[:len(data) // 4 * 4])
    if sys.byteorder == "big":
        values.byteswap()
    return values


def logits_of_dump(path):
    """The logits in a file of `wingbeat dump`, all positions in a row, and the length of one."""
    with open(path, "rb") as file:
        start = 8 + struct.unpack("<Q", file.read(8))[0]
        header = json.loads(file.read(start - 8))
        begin, end = header["logits"]["data_offsets"]
        file.seek(start + begin)
        return floats(file.read(end - begin)), header["logits"]["shape"][1]


class Reference:
    """Logits (positions × n_vocab) that others are held against."""

    def __init__(self, logits, n_vocab):
        self.logits, self.n_vocab = logits, n_vocab
        mean = math.fsum(logits) / len(logits)
        self.deviation = math.sqrt(math.fsum((x - mean) * (x - mean) for x in logits) / len(logits))
        self.best = self.most_likely(logits)

    def most_likely(self, logits):
        """The most likely token at each position."""
        rows = (logits[at:at + self.n_vocab] for at in range(0, len(logits), self.n_vocab))
        return [row.index(max(row)) for row in rows]

    def differences(self, logits):
        """The share of equal most likely tokens, root mean square and largest difference in standard deviations."""
        apart = array.array("d", map(operator.sub, logits, self.logits))
        if not all(map(math.isfinite, apart)):
            return {"error": "logits that are not finite"}
        squares = math.fsum(map(operator.mul, apart, apart))
        same = sum(map(operator.eq, self.most_likely(logits), self.best))
        return {
            "positions": len(self.best), "top1_same": same,
            "rms": math.sqrt(squares / len(apart)) / self.deviation, "largest": max(map(abs, apart)) / self.deviation,
        }


TEXT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../crates/wingbeat-cli/src/commands/bench/text.txt")
