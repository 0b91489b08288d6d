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
import argparse, datetime, json, os, platform, subprocess, sys
import turns

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
PEERS = ["llamacpp"]


def commands(args, model, group):
    """Both command lines of a group."""
    common = "gen" if group == BESIDE else group
    threads, budget = str(args.threads), str(args.budget)
    ours = [args.wingbeat, "bench", "-m", model, "--device", "cpu", "--threads", threads, "--budget", budget, "--only", common,
            "--batches", args.batches, "--json", "-q"]
    theirs = [args.peer, "-m", model, "-ngl", "0", "-t", threads, "--budget", budget, "--only", GROUPS[common][0],
              "--par", args.batches]
    return {"wingbeat": ours, "llamacpp": theirs}


def figures_of(args, group):
    """The figures of a group: (name, group, {program: its key})."""
    if group == BESIDE:
        return [("gen_tok_s beside a busy thread", group, {"wingbeat": "gen_tok_s", "llamacpp": "gen_tok_s"})]
    if group == "par":
        keys = [f"par{n}_tok_s" for n in args.batches.split(",")]
    else:
        keys = GROUPS[group][1]
    pairs = [key if isinstance(key, tuple) else (key, key) for key in keys]
    return [(theirs, group, {"wingbeat": ours, "llamacpp": theirs}) for theirs, ours in pairs]


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
                results[group] = {program: turns.run(programs[program]) for program in order}
            finally:
                if spinner:
                    spinner.kill()
                    spinner.wait()
            print(f"{os.path.basename(model)}: round {number + 1} of {args.rounds}, {group}", file=sys.stderr)
        rounds.append(results)
    return rounds


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
        lines += [f"## {model['model']}, {model['size_mb']} MB", "", *turns.table(model["rows"], PEERS), ""]
    lines += ["Commands, a group of figures at a time:", ""]
    lines += [f"    {line}" for line in report["commands"]]
    return "\n".join(lines) + "\n"


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
            "rows": turns.rows_of([figure for group in groups for figure in figures_of(args, group)], rounds, PEERS),
            "rounds": rounds,
        })
    all_rounds = [results for model in models for results in model["rounds"]]
    versions = {
        "wingbeat": turns.version_of(args.wingbeat),
        "llamacpp": turns.said_by(all_rounds, "llamacpp", "engine") or "llama.cpp (unknown version)",
    }
    report = {
        "date": datetime.date.today().isoformat(), "processor": turns.processor(), "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}", "versions": versions,
        "flags": {"rounds": args.rounds, "threads": args.threads, "budget": args.budget, "batches": args.batches,
                  "groups": groups},
        "load_average_before": before, "load_average_after": os.getloadavg()[0],
        "commands": [turns.shown(line, {args.models[0]: "MODEL.gguf"}) for group in groups if group != BESIDE
                     for line in commands(args, args.models[0], group).values()],
        "models": models,
    }
    turns.write(args.out + ".json", json.dumps(report, indent=1, ensure_ascii=False) + "\n")
    turns.write(args.out + ".md", markdown(report))


if __name__ == "__main__":
    main()
