#!/usr/bin/env python3
"""Wingbeat beside llama.cpp on the CPU, in turns.

    bench/cpu.py --wingbeat target/release/wingbeat --peer BENCH_RWKV --models A.gguf B.gguf ... \\
                 [--rounds 5] [--threads 2] [--budget 0.5] [--batches 8,32] [--only gen,par,...] [--beside-load] \\
                 --out bench/results/cpu-DATE

Both programs run the same file, one group of figures at a time, each in a process of its own; who begins changes from
round to round, so that a machine that gets slower or faster by the minute does it to both. A ratio is taken within a
round and is above 1 where Wingbeat is better; the table has the median of the ratios and their spread. `bench/README.md`
says what each figure is.

The peer is a program that measures llama.cpp through its C API, takes `-m MODEL -ngl 0 -t N --budget S --only GROUP
--par N,N` and prints one line of JSON. With --beside-load both also generate while a third program keeps one core busy.
Writes OUT.json (every round) and OUT.md. Needs nothing but Python's standard library.
"""
import argparse, datetime, json, os, platform, statistics, subprocess, sys

# Group of figures: its name here and there, and the figures as (key, Wingbeat's key if it is another). Wingbeat opens
# the model many times in a process, llama.cpp once: the first times are compared.
GROUPS = {
    "load": ("load", [("load_ms", "load_ms_first"), ("start_to_first_token_ms", "start_to_first_token_ms_first")]),
    "gen": ("gen", ["gen_tok_s", "peak_rss_mb"]),
    "prefill": ("prefill", ["prefill512_tok_s", "prefill2048_tok_s"]),
    "par": ("par", []),
    "state": ("state", ["doc_state_ms"]),
    "fields": ("field", ["field_analysis_ms"]),
    "embed": ("embed", ["embed_ms"]),
}
BESIDE = "beside_load"
# A process that hangs is a failure, not the end of everything.
LIMIT_S = 900


def run(line):
    """The JSON that a program prints, or why there is none."""
    try:
        done = subprocess.run(line, capture_output=True, stdin=subprocess.DEVNULL, timeout=LIMIT_S)
    except subprocess.TimeoutExpired:
        return {"error": f"no result after {LIMIT_S} s"}
    except OSError as error:
        return {"error": str(error.strerror)}
    if done.returncode != 0:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        last = said[-1] if said else "nothing on standard error"
        # Results are published: names of files, not where they lie here.
        for word in line:
            last = last.replace(word, os.path.basename(word)) if os.sep in word else last
        return {"error": f"exit code {done.returncode}: {last}"}
    text = done.stdout.decode(errors="replace").strip()
    try:
        # The peer prints one line, perhaps after others; Wingbeat one object.
        return json.loads(text if text.startswith("{") else text.splitlines()[-1])
    except (ValueError, IndexError):
        return {"error": "its output is not JSON"}


def commands(args, model, group):
    """Both command lines of a group."""
    common = "gen" if group == BESIDE else group
    threads, budget = str(args.threads), str(args.budget)
    ours = [args.wingbeat, "bench", "-m", model, "--threads", threads, "--budget", budget, "--only", common,
            "--batches", args.batches, "--json", "-q"]
    theirs = [args.peer, "-m", model, "-ngl", "0", "-t", threads, "--budget", budget, "--only", GROUPS[common][0],
              "--par", args.batches]
    return {"wingbeat": ours, "llamacpp": theirs}


def keys_of(args, group):
    """The figures of a group: (name, llama.cpp's key, Wingbeat's key)."""
    if group == BESIDE:
        return [("gen_tok_s beside a busy thread", "gen_tok_s", "gen_tok_s")]
    if group == "par":
        keys = [f"par{n}_tok_s" for n in args.batches.split(",")]
    else:
        keys = GROUPS[group][1]
    pairs = [key if isinstance(key, tuple) else (key, key) for key in keys]
    return [(theirs, theirs, ours) for theirs, ours in pairs]


def measure(args, model, groups):
    """Every round's results: [{group: {program: result}}]."""
    rounds = []
    for number in range(args.rounds):
        results = {}
        for group in groups:
            spinner = None
            if group == BESIDE:
                spinner = subprocess.Popen([sys.executable, "-c", "while True: pass"])
            try:
                programs = commands(args, model, group)
                order = sorted(programs, reverse=number % 2 == 1)
                results[group] = {program: run(programs[program]) for program in order}
            finally:
                if spinner:
                    spinner.kill()
                    spinner.wait()
            print(f"{os.path.basename(model)}: round {number + 1} of {args.rounds}, {group}", file=sys.stderr)
        rounds.append(results)
    return rounds


def rows_of(args, groups, rounds):
    """One row a figure: medians, ratios, or what went wrong."""
    rows = []
    for group in groups:
        for name, their_key, our_key in keys_of(args, group):
            pairs = []
            errors = {"wingbeat": [], "llamacpp": []}
            values = {"wingbeat": [], "llamacpp": []}
            for results in rounds:
                pair = {}
                for program, key in (("wingbeat", our_key), ("llamacpp", their_key)):
                    result = results[group][program]
                    value = result.get(key)
                    if isinstance(value, (int, float)) and value > 0:
                        pair[program] = value
                        values[program].append(value)
                    else:
                        errors[program].append(result.get("error", f"no `{key}` in its output"))
                if len(pair) == 2:
                    pairs.append((pair["wingbeat"], pair["llamacpp"]))
            more_is_better = their_key.endswith("_s")
            ratios = [ours / theirs if more_is_better else theirs / ours for ours, theirs in pairs]
            rows.append({
                "metric": name,
                "llamacpp": median(values["llamacpp"]),
                "wingbeat": median(values["wingbeat"]),
                "ratio": median(ratios),
                "ratio_min": min(ratios, default=None),
                "ratio_max": max(ratios, default=None),
                "rounds": len(pairs),
                "errors": {program: sorted(set(found)) for program, found in errors.items() if found},
            })
    return rows


def median(values):
    return statistics.median(values) if values else None


def number(x):
    if x is None:
        return "–"
    return f"{x:.0f}" if x >= 1000 else f"{x:.1f}" if x >= 100 else f"{x:.2f}"


def cell(row, program):
    """A figure, or a visible failure."""
    text = number(row[program])
    errors = row["errors"].get(program)
    if not errors:
        return text
    why = "; ".join(errors).replace("|", "\\|")
    return f"**failed**: {why}" if row[program] is None else f"{text} (**failed at times**: {why})"


def markdown(report):
    flags = report["flags"]
    lines = [
        "# Wingbeat beside llama.cpp on the CPU", "",
        f"{report['processor']}, {report['cores']} cores, {report['system']}, {report['date']}. "
        f"{report['versions']['wingbeat']}; {report['versions']['llamacpp']}. {flags['rounds']} rounds in turns, "
        f"{flags['threads']} threads, {flags['budget']} s a figure, page cache warm; load average "
        f"{report['load_average_before']:.2f} before, {report['load_average_after']:.2f} after (the programs' own "
        "threads included).", "",
        "Medians over rounds. The ratio is taken within each round and is above 1 where Wingbeat is better (faster, or "
        "smaller in memory); in brackets the smallest and the largest. `bench/README.md` says what is timed.", "",
    ]
    for model in report["models"]:
        lines += [f"## {model['model']}, {model['size_mb']} MB", "",
                  "| metric | llama.cpp | Wingbeat | ratio | rounds |", "|---|---|---|---|---|"]
        for row in model["rows"]:
            ratio = "–" if row["ratio"] is None else (
                f"{row['ratio']:.2f} ({row['ratio_min']:.2f} to {row['ratio_max']:.2f})")
            lines.append(f"| {row['metric']} | {cell(row, 'llamacpp')} | {cell(row, 'wingbeat')} | {ratio} | "
                         f"{row['rounds']} |")
        lines.append("")
    lines += ["Commands, a group of figures at a time:", ""]
    lines += [f"    {line}" for line in report["commands"]]
    return "\n".join(lines) + "\n"


def processor():
    try:
        with open("/proc/cpuinfo") as file:
            for line in file:
                if line.startswith("model name"):
                    return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def version_of(args, models):
    """What the programs call themselves; the peer says it in its results."""
    try:
        ours = subprocess.run([args.wingbeat, "--version"], capture_output=True, stdin=subprocess.DEVNULL)
        ours = ours.stdout.decode(errors="replace").strip() or "unknown"
    except OSError as error:
        sys.exit(f"error: {args.wingbeat}: {error.strerror}")
    results = [result["llamacpp"] for model in models for groups in model["rounds"] for result in groups.values()]
    theirs = next((result["engine"] for result in results if "engine" in result), "llama.cpp (unknown version)")
    return {"wingbeat": ours, "llamacpp": theirs}


def shown(line, model):
    """A command line as others would type it: names of programs and models, not where they lie here."""
    names = {line[0]: os.path.basename(line[0]), model: "MODEL.gguf"}
    return " ".join(names.get(word, word) for word in line)


def write(path, text):
    """All of it or nothing."""
    with open(path + ".partial", "w") as file:
        file.write(text)
    os.replace(path + ".partial", path)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--wingbeat", required=True, help="the wingbeat program")
    parser.add_argument("--peer", required=True, help="the program that measures llama.cpp")
    parser.add_argument("--models", required=True, nargs="+", metavar="MODEL.gguf")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--budget", type=float, default=0.5, help="seconds a figure")
    parser.add_argument("--batches", default="8,32", help="numbers of sequences side by side")
    parser.add_argument("--only", help="groups, separated by commas: " + ", ".join(GROUPS))
    parser.add_argument("--beside-load", action="store_true", help="also generate beside a busy thread")
    parser.add_argument("--out", required=True, help="results are written to OUT.json and OUT.md")
    args = parser.parse_args()
    groups = args.only.split(",") if args.only else list(GROUPS)
    unknown = [group for group in groups if group not in GROUPS]
    if unknown:
        parser.error(f"--only: unknown group {unknown[0]}; known are {', '.join(GROUPS)}")
    if args.rounds < 1 or args.threads < 1 or args.budget < 0:
        parser.error("--rounds and --threads are at least 1, --budget at least 0")
    if not all(n.isdigit() and int(n) > 0 for n in args.batches.split(",")):
        parser.error("--batches: expected numbers, separated by commas")
    missing = [model for model in args.models if not os.path.isfile(model)]
    if missing:
        parser.error(f"{missing[0]}: no such file")
    if args.beside_load:
        groups.append(BESIDE)
    os.makedirs(os.path.dirname(os.path.abspath(args.out)), exist_ok=True)
    before = os.getloadavg()[0]
    models = []
    for model in args.models:
        rounds = measure(args, model, groups)
        models.append({
            "model": os.path.basename(model), "size_mb": round(os.path.getsize(model) / 1e6, 1),
            "rows": rows_of(args, groups, rounds), "rounds": rounds,
        })
    report = {
        "date": datetime.date.today().isoformat(), "processor": processor(), "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}", "versions": version_of(args, models),
        "flags": {"rounds": args.rounds, "threads": args.threads, "budget": args.budget, "batches": args.batches,
                  "groups": groups},
        "load_average_before": before, "load_average_after": os.getloadavg()[0],
        "commands": [shown(line, args.models[0]) for group in groups if group != BESIDE
                     for line in commands(args, args.models[0], group).values()],
        "models": models,
    }
    write(args.out + ".json", json.dumps(report, indent=1, ensure_ascii=False) + "\n")
    write(args.out + ".md", markdown(report))


if __name__ == "__main__":
    main()
