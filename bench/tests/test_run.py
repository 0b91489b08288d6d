"""The founding benchmark with engines made of a few lines: what the report says of those that work, fail and are absent."""
import json, os, stat, subprocess, sys, tempfile, unittest

BENCH = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, BENCH)
import agree, chart, report, turns

# An engine that answers as the contract says; NAME, SPEED and EXTRA are put in.
ENGINE = """#!{python}
import array, json, sys
given = dict(zip(sys.argv[1::2], sys.argv[2::2])) if sys.argv[1] != "bench" else {{}}
words = sys.argv[1:]
after = lambda flag: words[words.index(flag) + 1]
speed = {speed}
if "--version" in words:
    print("{name} 1.0"); sys.exit()
if words[0] == "tokenize":
    print(*range(1, 100)); sys.exit()
if words[0] == "dump":
    tokens = after("--tokens").split(",")
    logits = array.array("f", [(i * 7 + t * 3) % 11 for t in range(len(tokens)) for i in range(16)])
    header = json.dumps({{"logits": {{"dtype": "F32", "shape": [len(tokens), 16], "data_offsets": [0, 4 * len(logits)]}}}}).encode()
    with open(after("--out"), "wb") as file:
        file.write(len(header).to_bytes(8, "little") + header + logits.tobytes())
    sys.exit()
groups = after("--only").split(",")
{extra}
found = {{"engine": "{name} 1.0", "device": "a device", "peak_rss_mb": 100 / speed}}
for ms in ("load_ms", "load_ms_first", "start_to_first_token_ms", "start_to_first_token_ms_first", "doc_state_ms",
           "field_analysis_ms", "embed_ms", "tokenize_us"):
    found[ms] = 10 / speed
for rate in ("gen_tok_s", "prefill512_tok_s", "prefill2048_tok_s", "par8_tok_s", "par32_tok_s"):
    found[rate] = 50 * speed
found["gen_tok_s_bound_fraction"] = 0.5
if "agree" in groups:
    logits = array.array("f", [(i * 7 + t * 3) % 11 + {apart} * i for t in range(64) for i in range(16)])
    open(after("--logits"), "wb").write(logits.tobytes())
    found |= {{"agree_tokens": list(range(1, 65)), "agree_vocab": 16}}
{last}
print(json.dumps(found))
"""


def engine(folder, file, name, speed, extra="", last="", apart=0.0):
    path = os.path.join(folder, file)
    with open(path, "w") as out:
        out.write(ENGINE.format(python=sys.executable, name=name, speed=speed, extra=extra, last=last, apart=apart))
    os.chmod(path, os.stat(path).st_mode | stat.S_IXUSR)


def gguf(path):
    """A GGUF file with nothing but a vocabulary."""
    def words(text):
        return len(text).to_bytes(8, "little") + text
    with open(path, "wb") as out:
        out.write(b"GGUF" + (3).to_bytes(4, "little") + (0).to_bytes(8, "little") + (1).to_bytes(8, "little"))
        out.write(words(b"tokenizer.ggml.tokens") + (9).to_bytes(4, "little") + (8).to_bytes(4, "little"))
        out.write((2).to_bytes(8, "little") + words(b"a") + words(b"b"))


class Run(unittest.TestCase):
    def run_with(self, kind, engines_made, *more, fails=False):
        folder = self.enterContext(tempfile.TemporaryDirectory()) if hasattr(self, "enterContext") else tempfile.mkdtemp()
        engine(folder, "wingbeat", "wingbeat", 2.0)
        for file, of in engines_made.items():
            engine(folder, file, **of)
        model = os.path.join(folder, "tiny-f16.gguf")
        gguf(model)
        out = os.path.join(folder, "out")
        done = subprocess.run(
            [sys.executable, os.path.join(BENCH, "run"), kind, "--programs", folder, "--models", model,
             "--without", "rwkv", "--threads", "1", "--out", out, *(more or ["--only", "gen,embed", "--rounds", "1"])], capture_output=True, text=True)
        self.assertEqual(done.returncode != 0, fails, done.stderr)
        if fails:
            return done.stderr
        with open(os.path.join(out, "report.md")) as md, open(os.path.join(out, "report.json")) as data:
            self.out = out
            return md.read(), json.load(data)

    def test_ratios_point_the_right_way(self):
        md, data = self.run_with("cpu", {"bench-llamacpp-cpu": {"name": "llama.cpp", "speed": 1.0}}, "--rounds", "2")
        rows = {row["metric"]: row for row in data["models"][0]["rows"]}
        # Twice as fast is 2 for rates, times and memory alike.
        for metric in ("gen_tok_s", "load_ms", "tokenize_us", "peak_rss_mb", "par8_tok_s", "load_cold_ms"):
            self.assertAlmostEqual(rows[metric]["ratios"]["llamacpp"]["median"], 2.0, msg=metric)
            self.assertEqual(rows[metric]["rounds"], 2)
        self.assertIn("| **Generation** | 4.00 s (50.00 tok/s) | 2.00 s (100.0 tok/s) | Wingbeat 2.00x faster than llama.cpp |", md)
        self.assertIn("Wingbeat is ahead on every row", md)
        self.assertIn("Generation 50 %", md)
        self.assertIn("| 64 of 64 | 0.0000 |", md)
        with open(os.path.join(self.out, "tiny-f16.svg")) as svg:
            self.assertIn("2.00x", svg.read())

    def test_being_behind_is_said(self):
        md, _ = self.run_with("cpu", {"bench-llamacpp-cpu": {"name": "llama.cpp", "speed": 4.0}})
        self.assertIn("**llama.cpp 2.00x faster**", md)
        self.assertIn("Behind: ", md)
        self.assertNotIn("ahead on every row", md)

    def test_failed_and_absent_engines_are_seen(self):
        broken = {"name": "llama.cpp", "speed": 1.0, "extra": "if 'gen' in groups: sys.exit('error: the driver said no')"}
        lacking = {"name": "web-rwkv", "speed": 1.0, "last": "found.pop('embed_ms'); found['cannot'] = {'embed_ms': 'no embeddings'}"}
        md, data = self.run_with("gpu", {"bench-llamacpp-cuda": broken, "bench-web-rwkv": lacking})
        self.assertIn("**failed**: exit code 1: error: the driver said no", md)
        self.assertIn("| llama.cpp (Vulkan) |  |  | **absent**: no bench-llamacpp-vulkan among the programs |", md)
        rows = {row["metric"]: row for row in data["models"][0]["rows"]}
        # web-rwkv reads a file that is not there: that is an error of its own.
        self.assertEqual(rows["gen_tok_s"]["errors"]["webrwkv"], ["no tiny.st"])

    def test_what_an_engine_cannot_do_is_said(self):
        lacking = {"name": "llama.cpp", "speed": 1.0, "last": "found.pop('embed_ms'); found['cannot'] = {'embed_ms': 'no embeddings'}"}
        md, _ = self.run_with("cpu", {"bench-llamacpp-cpu": lacking})
        self.assertIn("none: no embeddings", md)
        self.assertNotIn("**failed**", md)

    def test_other_logits_are_seen(self):
        md, data = self.run_with("cpu", {"bench-llamacpp-cpu": {"name": "llama.cpp", "speed": 1.0, "apart": 3.0}})
        self.assertGreater(data["models"][0]["agreement"]["llamacpp"]["rms"], agree.WRONG)
        self.assertIn("other weights, or wrong", md)

    def test_a_report_can_be_added_to(self):
        made = {"bench-llamacpp-cpu": {"name": "llama.cpp", "speed": 1.0}}
        self.run_with("cpu", made)
        folder = os.path.dirname(self.out)
        other = os.path.join(folder, "other-q8_0.gguf")
        gguf(other)
        subprocess.run([sys.executable, os.path.join(BENCH, "run"), "cpu", "--programs", folder, "--models", other, "--add",
                        "--without", "rwkv", "--only", "gen", "--rounds", "1", "--out", self.out], check=True, capture_output=True)
        with open(os.path.join(self.out, "report.json")) as data:
            self.assertEqual([model["model"] for model in json.load(data)["models"]], ["tiny-f16.gguf", "other-q8_0.gguf"])

    def test_without_peers_nothing_is_claimed(self):
        md, _ = self.run_with("cpu", {})
        self.assertIn("No peer was measured.", md)

    def test_wrong_input_is_refused(self):
        self.assertIn("File exists", self.run_with("cpu", {}, "--out", __file__, fails=True))
        self.assertIn("unknown group", self.run_with("cpu", {}, "--only", "speed", fails=True))
        self.assertIn("unknown engine", self.run_with("cpu", {}, "--without", "pytorch", fails=True))


class Forms(unittest.TestCase):
    def test_figures_have_their_units(self):
        self.assertEqual(report.shown("load_ms", 9800), "9.80 s")
        self.assertEqual(report.shown("load_ms", 262.4), "262.4 ms")
        self.assertEqual(report.shown("tokenize_us", 2.5), "2.50 µs")
        self.assertEqual(report.shown("gen_tok_s", 30.6), "6.54 s (30.60 tok/s)")
        self.assertEqual(report.label_of("par32_tok_s"), "32 sequences")

    def test_a_figure_without_a_peer_has_no_chart(self):
        row = {"metric": "gen_tok_s", "wingbeat": 3.0, "ratios": {}, "errors": {}, "cannot": {}}
        self.assertIsNone(chart.draw({"model": "m", "rows": [row]}, ["wingbeat"], {"wingbeat": "Wingbeat"}, "here", "today"))

    def test_a_panic_is_told_without_paths(self):
        words = turns.last_words(["/somewhere/here/model.gguf"], b"thread panicked\n/somewhere/here/model.gguf: no\nnote: run with\n")
        self.assertEqual(words, "model.gguf: no")


if __name__ == "__main__":
    unittest.main()
