"""`bench/compare` and the comparing half of `bench/instructions`, on results made up here.

    python3 -m unittest discover -s bench/tests
"""
import importlib.machinery, importlib.util, json, os, subprocess, sys, tempfile, unittest

BENCH = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
COMPARE = os.path.join(BENCH, "compare")

RUN = {
    "version": "0.1.0", "model": "demo", "type": "Q8_0", "zeros": None, "n_layers": 6, "size_mb": 29.1, "device": "CPU",
    "threads": 2, "load_ms": 2.0, "load_ms_min": 1.98, "load_ms_max": 2.02, "load_ms_runs": 50, "load_ms_first": 3.0,
    "gen_tok_s": 1000.0, "gen_tok_s_min": 990.0, "gen_tok_s_max": 1010.0, "gen_tok_s_runs": 9, "peak_rss_mb": 40.0,
    "gen_bandwidth_fraction": 0.9, "tokenize_us": None,
}
COUNTS = {"versions": {"rustc": "1", "valgrind": "2"}, "tolerance": 0.02,
          "counts": {"step": {"instructions": 1000}, "load": {"instructions": 1000, "tolerance": 0.1}}}


def row(metric, value, ratio=None, least=None, most=None):
    ratios = {"llamacpp": {"median": ratio, "min": least or ratio, "max": most or ratio, "rounds": 3}} if ratio else {}
    return {"metric": metric, "wingbeat": value, "llamacpp": 1.0, "rounds": 3, "ratios": ratios, "errors": {}}


def report(*rows, model="a.gguf", **facts):
    return {"processor": "P", "flags": {"threads": 2, "rounds": 3}, **facts, "models": [{"model": model, "rows": list(rows)}]}


class Compare(unittest.TestCase):
    def compare(self, old, new, *flags):
        """Exit code, what it printed, what it complained of."""
        with tempfile.TemporaryDirectory() as folder:
            for name, result in (("old.json", old), ("new.json", new)):
                with open(os.path.join(folder, name), "w") as file:
                    file.write(result if isinstance(result, str) else json.dumps(result))
            done = subprocess.run([sys.executable, COMPARE, "old.json", "new.json", *flags], cwd=folder,
                                  capture_output=True, text=True, env={**os.environ, "PYTHONIOENCODING": "utf-8"})
        return done.returncode, done.stdout, done.stderr

    def line(self, out, key):
        return next(line for line in out.splitlines() if line.split()[0] == key)

    def test_equal_results(self):
        code, out, err = self.compare(RUN, RUN)
        self.assertEqual((code, err), (0, ""))
        self.assertIn("0 of 5 figures fell", out)
        self.assertNotIn("differs", out)
        # Extremes, numbers of runs and facts are no figures, and what could not be had is none.
        for key in ("load_ms_min", "gen_tok_s_runs", "threads", "size_mb", "tokenize_us"):
            self.assertNotIn(key, out)

    def test_directions(self):
        code, out, _ = self.compare(RUN, {**RUN, "gen_tok_s": 800.0, "gen_tok_s_min": 795.0, "gen_tok_s_max": 805.0})
        self.assertEqual(code, 1)
        self.assertIn("FELL", self.line(out, "gen_tok_s"))
        self.assertIn("0.800x", self.line(out, "gen_tok_s"))
        code, out, _ = self.compare(RUN, {**RUN, "gen_tok_s": 1200.0, "load_ms": 1.0})
        self.assertEqual(code, 0)
        self.assertIn("better", self.line(out, "gen_tok_s"))
        self.assertIn("2.000x", self.line(out, "load_ms"))
        for key, value in (("load_ms", 2.2), ("load_ms_first", 3.3), ("peak_rss_mb", 44.0)):
            code, out, _ = self.compare(RUN, {**RUN, key: value})
            self.assertEqual(code, 1, key)
            self.assertIn("FELL", self.line(out, key))
        # A fraction of the memory's rate is neither good nor bad.
        self.assertEqual(self.compare(RUN, {**RUN, "gen_bandwidth_fraction": 0.1})[0], 0)

    def test_noise(self):
        slower = {**RUN, "peak_rss_mb": 41.6}
        self.assertEqual(self.compare(RUN, slower)[0], 0)
        self.assertEqual(self.compare(RUN, slower, "--noise", "0.03")[0], 1)
        # The runs of both reach 20 % up and down: a quarter slower may be chance.
        wide = {**RUN, "load_ms_min": 1.6, "load_ms_max": 2.4}
        slow = {**RUN, "load_ms": 2.5, "load_ms_min": 2.0, "load_ms_max": 3.0}
        self.assertEqual(self.compare(wide, slow)[0], 0)
        self.assertEqual(self.compare(RUN, {**slow, "load_ms_min": 2.49, "load_ms_max": 2.51})[0], 1)

    def test_facts(self):
        code, out, _ = self.compare(RUN, {**RUN, "threads": 8, "device": "GPU", "zeros": 0.9, "gen_way": "graph"})
        self.assertEqual(code, 0)
        for text in ("threads: 2 → 8", "device: CPU → GPU", "zeros: – → 0.9", "gen_way: – → graph"):
            self.assertIn(f"differs: {text}", out)

    def test_another_model(self):
        for key, value in (("model", "other"), ("type", "F16"), ("n_layers", 12)):
            code, out, err = self.compare(RUN, {**RUN, key: value})
            self.assertEqual((code, out), (2, ""))
            self.assertIn("not the same model", err)
            code, out, _ = self.compare(RUN, {**RUN, key: value}, "--force")
            self.assertEqual(code, 0)
            self.assertIn(f"differs: {key}", out)

    def test_figures_in_one(self):
        code, out, _ = self.compare({**RUN, "embed_ms": 4.0}, {**RUN, "state_ms": 5.0})
        self.assertEqual(code, 0)
        self.assertIn("only in old.json: embed_ms 4", out)
        self.assertIn("only in new.json: state_ms 5", out)

    def test_ratios_of_reports(self):
        # The machine is half as fast: both engines are, and the ratio stays.
        old, new = report(row("gen_tok_s", 100.0, 2.0)), report(row("gen_tok_s", 50.0, 2.02))
        code, out, _ = self.compare(old, new)
        self.assertEqual(code, 0)
        self.assertIn("gen_tok_s / llamacpp", out)
        # A ratio is better the larger it is, of times too.
        code, out, _ = self.compare(report(row("load_ms", 5.0, 2.0)), report(row("load_ms", 5.0, 1.5)))
        self.assertEqual(code, 1)
        self.assertIn("0.750x", out)
        # It has a spread of its own.
        noisy = report(row("load_ms", 5.0, 2.0, 1.4, 2.6))
        self.assertEqual(self.compare(noisy, report(row("load_ms", 5.0, 1.5)))[0], 0)

    def test_values_of_reports(self):
        old, new = report(row("gen_tok_s beside a busy thread", 100.0)), report(row("gen_tok_s beside a busy thread", 50.0, 2.0))
        self.assertEqual(self.compare(old, new)[0], 1)
        self.assertEqual(self.compare(report(row("load_ms", 5.0)), report(row("load_ms", 4.0)))[0], 0)
        failed = {**row("gen_tok_s", None), "errors": {"wingbeat": ["exit code 1"]}}
        code, out, _ = self.compare(report(row("load_ms", 5.0), row("gen_tok_s", 9.0)), report(row("load_ms", 5.0), failed))
        self.assertEqual(code, 0)
        self.assertIn("only in old.json: gen_tok_s 9", out)

    def test_reports_with_one_ratio_a_row(self):
        def of(ratio):
            return {"metric": "load_ms", "llamacpp": 8.0, "wingbeat": 2.0, "ratio": ratio, "ratio_min": ratio, "ratio_max": ratio}
        self.assertEqual(self.compare(report(of(4.0)), report(row("load_ms", 2.0, 3.0)))[0], 1)

    def test_models_of_reports(self):
        one, other = report(row("load_ms", 5.0)), report(row("load_ms", 5.0), model="b.gguf")
        code, _, err = self.compare(one, other)
        self.assertEqual(code, 2)
        self.assertIn("a.gguf", err)
        self.assertIn("a.gguf → b.gguf", self.compare(one, other, "--force")[1])
        both = {**one, "models": one["models"] + other["models"], "flags": {"threads": 8, "rounds": 3}}
        code, out, _ = self.compare(one, both)
        self.assertEqual(code, 0)
        self.assertIn("only in new.json: model b.gguf", out)
        self.assertIn("differs: flags, threads: 2 → 8", out)

    def test_instruction_counts(self):
        def counts(step, load):
            return {**COUNTS, "counts": {"step": {"instructions": step}, "load": {"instructions": load}}}
        self.assertEqual(self.compare(COUNTS, counts(1015, 1090))[0], 0)
        self.assertEqual(self.compare(COUNTS, counts(1030, 1000))[0], 1)
        self.assertEqual(self.compare(COUNTS, counts(1000, 1110))[0], 1)
        self.assertEqual(self.compare(COUNTS, counts(1030, 1000), "--noise", "0.05")[0], 0)

    def test_wrong_input(self):
        for old, new, flags, said in (
            ("{", RUN, (), "not JSON"),
            ("[" * 100_000, RUN, (), "not JSON"),
            ([RUN], RUN, (), "expected a JSON object"),
            ({}, RUN, (), "old.json: neither"),
            ({"error": "no GPU"}, RUN, (), "a run that failed: no GPU"),
            (RUN, COUNTS, (), "old.json is a result"),
            (RUN, {**{key: RUN[key] for key in ("model", "type", "n_layers", "size_mb")}, "x_ms": 1.0}, (), "no figure in common"),
            (report(1), report(), (), "expected rows"),
            ({"models": [1]}, report(), (), "expected models"),
            ({**COUNTS, "counts": {"step": 5}}, COUNTS, (), "expected a number of instructions"),
            (RUN, RUN, ("--noise", "-1"), "expected a fraction"),
            (RUN, RUN, ("--noise", "x"), "expected a fraction"),
        ):
            code, _, err = self.compare(old, new, *flags)
            self.assertEqual(code, 2, err)
            self.assertIn(said, err)
            self.assertNotIn("Traceback", err)
        done = subprocess.run([sys.executable, COMPARE, "/no/such.json", "/no/such.json"], capture_output=True, text=True)
        self.assertEqual(done.returncode, 2)
        self.assertIn("/no/such.json: No such file", done.stderr)


class Instructions(unittest.TestCase):
    """What `bench/instructions check` makes of counts."""

    @classmethod
    def setUpClass(cls):
        sys.dont_write_bytecode, was = True, sys.dont_write_bytecode
        path = os.path.join(BENCH, "instructions")
        loader = importlib.machinery.SourceFileLoader("instructions", path)
        cls.module = importlib.util.module_from_spec(importlib.util.spec_from_loader("instructions", loader))
        loader.exec_module(cls.module)
        sys.dont_write_bytecode = was

    def check(self, counts, versions=None):
        kept = {**COUNTS, "counts": {"step_f16": {"instructions": 1000}, "load_q8_0": {"instructions": 1000, "tolerance": 0.1}}}
        return self.module.compare(kept, counts, versions or COUNTS["versions"])

    def test_tolerances(self):
        lines, notes, failed = self.check({"step_f16": 1019, "load_q8_0": 1099})
        self.assertEqual((notes, failed), ([], False))
        lines, notes, failed = self.check({"step_f16": 1021, "load_q8_0": 1000})
        self.assertTrue(failed)
        self.assertTrue(lines[1].endswith("MORE"))
        self.assertTrue(self.check({"step_f16": 1000, "load_q8_0": 1101})[2])

    def test_less_is_noted(self):
        lines, notes, failed = self.check({"step_f16": 900, "load_q8_0": 1000})
        self.assertFalse(failed)
        self.assertTrue(lines[1].endswith("less"))
        self.assertIn("record it", notes[0])

    def test_other_versions_widen(self):
        other = {**COUNTS["versions"], "rustc": "9"}
        lines, notes, failed = self.check({"step_f16": 1090}, other)
        self.assertFalse(failed)
        self.assertIn("rustc 1, here 9", notes[0])
        self.assertTrue(self.check({"step_f16": 1110}, other)[2])

    def test_entries_in_one(self):
        _, notes, failed = self.check({"prompt32_f16": 5})
        self.assertFalse(failed)
        self.assertIn("prompt32_f16 is not in the file", notes[0])

    def test_what_is_kept_can_be_read(self):
        counts = self.module.kept()["counts"]
        self.assertEqual(list(counts), list(self.module.WORK))


if __name__ == "__main__":
    unittest.main()
