#!/usr/bin/env python3
"""Wingbeat beside llama.cpp and web-rwkv on a GPU, in turns.

    bench/gpu.py --wingbeat target/release/wingbeat [--llama BENCH_RWKV] [--llama-libs FOLDER] \\
                 [--web-rwkv WEBRWKV_BENCH] --models A-f16.gguf A-q4_k_m.gguf ... [--device gpu] [--rounds 3] [--budget 1] \\
                 [--batches 8,32,128] [--only gen,par,...] [--time-limit 500] --out bench/results/gpu-DATE

All run the same weights, each process with the GPU to itself; who begins changes from round to round. Wingbeat and
llama.cpp run one group of figures a process, web-rwkv all of its figures in one (of the first --web-rounds rounds). A
ratio is taken within a round and is above 1 where Wingbeat is better; the table has the median of the ratios and their
spread. `bench/README.md` says what each figure is, and where web-rwkv's differ.

web-rwkv reads a file of its own beside each model: NAME.st or, without the type, A.st for A-f16.gguf; its own
quantization stands for GGUF's (int8 for q8_0, nf4 for q4). `bench/models.py` makes such files.

A peer is a program that measures one engine and prints one line of JSON: llama.cpp's takes `-m MODEL -ngl 99 -t N
--budget S --only GROUP --par N,N`, web-rwkv's `--vulkan-only --model FILE.st --quant Q --budget S --vocab V.json
--batches N,N`. A program that fails leaves its reason in the table, and all goes on. After --time-limit seconds no
process starts; OUT.json (every round) and OUT.md are written after each round of a model: what was measured is there
whatever happens. Needs nothing but Python's standard library.
"""
import argparse, datetime, json, os, platform, subprocess, sys, tempfile, time
import models, turns


def same(key):
    return {"wingbeat": key, "llamacpp": key}


# Group of figures: its name for llama.cpp's program, and the figures with each program's key. Wingbeat opens the model
# many times in a process, the peers once: the first times are compared. web-rwkv's first token comes after a prompt of
# one token.
GROUPS = {
    "load": ("load", {
        "load_ms": {"wingbeat": "load_ms_first", "llamacpp": "load_ms", "webrwkv": "load_ms"},
        "start_to_first_token_ms": {
            "wingbeat": "start_to_first_token_ms_first", "llamacpp": "start_to_first_token_ms",
            "webrwkv": ("load_ms", "first_token_ms"),
        },
    }),
    "tokenize": ("tok", {"tokenize_us": {**same("tokenize_us"), "webrwkv": "tokenize_us"}}),
    "gen": ("gen", {
        "gen_tok_s": {**same("gen_tok_s"), "webrwkv": "gen_b1_tok_s"},
        "peak_rss_mb": {**same("peak_rss_mb"), "webrwkv": "peak_rss_mb"},
    }),
    "prefill": ("prefill", {
        f"prefill{n}_tok_s": {**same(f"prefill{n}_tok_s"), "webrwkv": f"prefill_{n}_tok_s"} for n in (512, 2048)
    }),
    "par": ("par", {}),
    "state": ("state", {"doc_state_ms": {**same("doc_state_ms"), "webrwkv": "doc_state_ms"}}),
    "fields": ("field", {"field_analysis_ms": {**same("field_analysis_ms"), "webrwkv": "field_analysis_ms"}}),
    "embed": ("embed", {"embed_ms": same("embed_ms")}),
}
# web-rwkv's quantization that stands for a type in a GGUF file's name.
QUANTS = {"f16": "none", "q8_0": "int8", "q4_0": "nf4", "q4_k_m": "nf4", "q4_k_s": "nf4"}


def figures_of(args, groups):
    """The figures of groups: (name, group, {program: its key})."""
    figures = []
    for group in groups:
        keys = GROUPS[group][1]
        if group == "par":
            keys = {f"par{n}_tok_s": {**same(f"par{n}_tok_s"), "webrwkv": f"gen_b{n}_tok_s"}
                    for n in args.batches.split(",")}
        figures += [(name, group, {program: key for program, key in of.items() if program in args.programs})
                    for name, of in keys.items()]
    return figures


def command(args, program, model, groups):
    """The command line that measures groups of figures with a program, and its environment."""
    budget, threads = str(args.budget), str(args.threads)
    env = dict(os.environ)
    if program == "wingbeat":
        return [args.wingbeat, "bench", "-m", model, "--device", args.device, "--threads", threads, "--budget", budget,
                "--only", ",".join(groups), "--batches", args.batches, "--json", "-q"], env
    if program == "llamacpp":
        if args.llama_libs:
            folders = [args.llama_libs, env.get("LD_LIBRARY_PATH", "")]
            env["LD_LIBRARY_PATH"] = os.pathsep.join(filter(None, folders))
        return [args.llama, "-m", model, "-ngl", "99", "-t", threads, "--budget", budget,
                "--only", ",".join(GROUPS[group][0] for group in groups), "--par", args.batches], env
    st, quant = web_rwkv_file(model)
    return [args.web_rwkv, "--vulkan-only", "--model", st, "--quant", quant, "--budget", str(args.web_budget),
            "--vocab", args.vocab, "--batches", args.batches], env


def web_rwkv_file(model):
    """The file that web-rwkv reads in a model's place, and how it is to quantize it."""
    stem = os.path.splitext(model)[0]
    name, _, kind = stem.rpartition("-")
    of_type = kind.lower() in QUANTS
    path = f"{name}.st" if of_type and not os.path.exists(f"{stem}.st") else f"{stem}.st"
    return path, QUANTS[kind.lower()] if of_type else "none"


def measure(args, model, groups, number, results):
    """One round of a model, into `results` as it comes: {group: {program: result}}."""
    # Processes of their own for each group, but web-rwkv's: its program measures everything.
    parts = [groups] if args.together else [[group] for group in groups]
    order = sorted(args.programs, reverse=number % 2 == 0)
    processes = [(program, part) for part in parts for program in order if program != "webrwkv"]
    if "webrwkv" in args.programs and number < args.web_rounds:
        processes.insert(0 if number % 2 else len(processes), ("webrwkv", groups))
    for program, part in processes:
        left = args.deadline - time.monotonic()
        if left <= 0:
            return False
        line, env = command(args, program, model, part)
        started = time.monotonic()
        # What the time limit cuts short has not failed: it did not run.
        result = turns.run(line, min(args.process_limit, left), env, args.log)
        if "error" in result and time.monotonic() >= args.deadline:
            return False
        group = part[0] if len(part) == 1 else turns.ALL
        results.setdefault(group, {})[program] = result
        print(f"{os.path.basename(model)}: round {number + 1} of {args.rounds}, {turns.NAMES[program]}, {group}: "
              f"{result.get('error', 'measured')}, {time.monotonic() - started:.1f} s", file=sys.stderr)
    return True


def gpus():
    """What the driver's own tool says of the GPUs, if it is there."""
    line = ["nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(line, capture_output=True, stdin=subprocess.DEVNULL, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return []
    if done.returncode != 0:
        return []
    cells = [text.split(", ") for text in done.stdout.decode(errors="replace").strip().splitlines()]
    return [f"{row[0]}, {row[1]}, driver {row[2]}" for row in cells if len(row) == 3]


def bound_of(args, rounds):
    """Tokens a second if nothing but the weights' bytes and the state's cost time."""
    megabytes = turns.said_by(rounds, "wingbeat", "gen_mb_per_token")
    return args.bandwidth * 1e3 / megabytes if args.bandwidth and megabytes else None


def report_of(args, groups, measured, before):
    """Everything there is so far."""
    peers = [program for program in ("llamacpp", "webrwkv") if program in args.programs]
    every = [results for rounds in measured.values() for results in rounds]
    devices = {program: turns.said_by(every, program, key)
               for program, key in (("wingbeat", "device"), ("webrwkv", "adapter")) if program in args.programs}
    versions = {"wingbeat": args.version}
    if "llamacpp" in peers:
        versions["llamacpp"] = turns.said_by(every, "llamacpp", "engine") or "llama.cpp (unknown version)"
    if "webrwkv" in peers:
        versions["webrwkv"] = turns.said_by(every, "webrwkv", "lib") or "web-rwkv (unknown version)"
    example = args.models[0]
    names = {example: "MODEL.gguf", web_rwkv_file(example)[0]: "MODEL.st", args.vocab: "V.json"}
    lines = [command(args, program, example, groups)[0] for program in args.programs]
    if not args.together:
        names |= {",".join(of): "GROUP" for of in (groups, [GROUPS[group][0] for group in groups])}
    return {
        "date": datetime.date.today().isoformat(), "processor": turns.processor(), "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}", "gpus": gpus(), "devices": devices,
        "versions": versions, "peers": peers,
        "flags": {"rounds": args.rounds, "web_rounds": args.web_rounds, "threads": args.threads, "budget": args.budget,
                  "web_budget": args.web_budget, "batches": args.batches, "groups": groups, "together": args.together,
                  "bandwidth": args.bandwidth},
        "load_average_before": before, "load_average_after": os.getloadavg()[0],
        "commands": [turns.shown(line, names) for line in lines],
        "models": [{
            "model": os.path.basename(model), "size_mb": round(os.path.getsize(model) / 1e6, 1),
            "rows": turns.rows_of(figures_of(args, groups), rounds, peers), "bound_tok_s": bound_of(args, rounds),
            "rounds": rounds,
        } for model, rounds in measured.items() if rounds],
    }


def markdown(report):
    flags, peers = report["flags"], report["peers"]
    names = " and ".join(turns.NAMES[peer] for peer in peers)
    devices = "; ".join(f"{turns.NAMES[program]} on {device or 'an unknown device'}"
                        for program, device in report["devices"].items())
    lines = [
        f"# Wingbeat beside {names} on a GPU" if peers else "# Wingbeat on a GPU", "",
        f"{'; '.join(report['gpus']) or 'GPU unknown (no nvidia-smi)'}; {report['processor']}, "
        f"{report['cores']} cores, {report['system']}, {report['date']}. "
        f"{'; '.join(report['versions'].values())}. {devices}. {flags['rounds']} rounds at most in turns, "
        f"{flags['threads']} threads, {flags['budget']} s a figure, page cache warm; load average {report['load_average_before']:.2f} before, {report['load_average_after']:.2f} after (the "
        "programs' own threads included).", "",
        "Medians over rounds. The ratio is taken within each round and is above 1 where Wingbeat is better (faster, or "
        "smaller in memory); in brackets the smallest and the largest. `bench/README.md` says what is timed.", "",
    ]
    if "webrwkv" in peers:
        lines += [f"web-rwkv took part in {min(flags['web_rounds'], flags['rounds'])} of the rounds; it quantizes by "
                  "itself while it loads (int8 for q8_0, nf4 for q4), and its memory is that of a process which measures "
                  "everything.", ""]
    for model in report["models"]:
        lines += [f"## {model['model']}, {model['size_mb']} MB", "", *turns.table(model["rows"], peers), ""]
        if model["bound_tok_s"]:
            bound = model["bound_tok_s"]
            rates = next((row for row in model["rows"] if row["metric"] == "gen_tok_s"), {})
            parts = [f"{turns.NAMES[program]} {100 * rates[program] / bound:.0f} %"
                     for program in ("wingbeat", *peers) if rates.get(program)]
            lines += [f"Generation's bound by bytes at {flags['bandwidth']:.0f} GB/s: {turns.number(bound)} tok/s; "
                      f"{', '.join(parts)}.", ""]
    each = f", GROUP each of {', '.join(flags['groups'])} (llama.cpp's program has its own names)"
    each = "" if flags["together"] else each
    lines += [f"Commands{each}:", ""]
    lines += [f"    {line}" for line in report["commands"]]
    return "\n".join(lines) + "\n"


def parsed():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--wingbeat", required=True, help="the wingbeat program")
    parser.add_argument("--llama", help="the program that measures llama.cpp")
    parser.add_argument("--llama-libs", metavar="FOLDERS", help="where it finds libcublas and libcudart")
    parser.add_argument("--web-rwkv", help="the program that measures web-rwkv")
    parser.add_argument("--vocab", help="vocabulary for web-rwkv, JSON [default: made of the first model's]")
    parser.add_argument("--models", required=True, nargs="+", metavar="MODEL.gguf")
    parser.add_argument("--device", default="gpu", help="Wingbeat's --device")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--web-rounds", type=int, default=1, help="rounds in which web-rwkv takes part")
    parser.add_argument("--threads", type=int, default=8, help="threads of the processor's part")
    parser.add_argument("--budget", type=float, default=1, help="seconds a figure")
    parser.add_argument("--web-budget", type=float, default=20,
                        help="seconds after which web-rwkv times everything once only")
    parser.add_argument("--batches", default="8,32,128", help="numbers of sequences side by side")
    parser.add_argument("--only", help="groups, separated by commas: " + ", ".join(GROUPS))
    parser.add_argument("--together", action="store_true",
                        help="one process for all groups of a program: less time in all, memory of everything")
    parser.add_argument("--bandwidth", type=float, metavar="GB/S", help="of the GPU's memory, for generation's bound")
    parser.add_argument("--time-limit", type=float, default=86400, metavar="SECONDS", help="for everything")
    parser.add_argument("--process-limit", type=float, default=turns.LIMIT_S, metavar="SECONDS",
                        help="for one process, which has failed after it")
    parser.add_argument("--log", help="what failing programs say is appended to this file")
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
    args.programs = [program for program, path in
                     (("wingbeat", args.wingbeat), ("llamacpp", args.llama), ("webrwkv", args.web_rwkv)) if path]
    # Before anything is measured: without it nothing can be.
    args.version = turns.version_of(args.wingbeat)
    args.deadline = time.monotonic() + args.time_limit
    return args, groups


def main():
    args, groups = parsed()
    os.makedirs(os.path.dirname(os.path.abspath(args.out)), exist_ok=True)
    before = os.getloadavg()[0]
    measured = {model: [] for model in args.models}
    with tempfile.TemporaryDirectory(prefix="wingbeat-bench-") as folder:
        if args.web_rwkv and not args.vocab:
            args.vocab = os.path.join(folder, "vocabulary.json")
            turns.write(args.vocab, json.dumps(models.vocabulary(args.models[0])))
        for number in range(args.rounds):
            # Every model once before any a second time: whatever the time limit leaves is even.
            for model in args.models:
                results = {}
                goes_on = measure(args, model, groups, number, results)
                if results:
                    measured[model].append(results)
                report = report_of(args, groups, measured, before)
                turns.write(args.out + ".json", json.dumps(report, indent=1, ensure_ascii=False) + "\n")
                turns.write(args.out + ".md", markdown(report))
                if not goes_on:
                    print(f"the time limit of {args.time_limit:.0f} s is reached", file=sys.stderr)
                    return


if __name__ == "__main__":
    main()
