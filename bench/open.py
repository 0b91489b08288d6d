#!/usr/bin/env python3
"""Opening a model, Wingbeat beside llama.cpp, in turns, page cache warm.

    bench/open.py --wingbeat target/release/wingbeat [--llamacpp BENCH_RWKV] [--rounds 9] --out bench/results MODEL.gguf ...

Wingbeat's figure is `open_ms` of `wingbeat generate --json`: from before the file is opened until the session is ready,
vocabulary included. llama.cpp's are `load_ms` (model and context) and `vocab_load_ms` of a program that prints them as
JSON for `-m MODEL -ngl 0 -t 2 --only load`. Both are processes of their own each time, so nothing is warm but the page
cache. Writes open-cpu.json and open-cpu.md.
"""
import argparse, datetime, json, os, platform, statistics, subprocess


def wingbeat(program, model):
    line = [program, "generate", "-m", model, "--device", "cpu", "--greedy", "-n", "1", "--json", "-q", "The"]
    return json.loads(subprocess.run(line, check=True, capture_output=True, stdin=subprocess.DEVNULL).stdout)["open_ms"]


def llamacpp(program, model):
    line = [program, "-m", model, "-ngl", "0", "-t", "2", "--budget", "0.1", "--only", "load"]
    out = subprocess.run(line, check=True, capture_output=True, stdin=subprocess.DEVNULL, timeout=120).stdout
    result = json.loads(out.decode().strip().splitlines()[-1])
    return result["load_ms"], result["vocab_load_ms"]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--wingbeat", required=True)
    parser.add_argument("--llamacpp")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--out", required=True)
    parser.add_argument("--machine", default=platform.processor() or platform.machine())
    parser.add_argument("models", nargs="+")
    args = parser.parse_args()
    rows = []
    for model in args.models:
        ours, theirs, vocabulary = [], [], []
        for _ in range(args.rounds):
            ours.append(wingbeat(args.wingbeat, model))
            if args.llamacpp:
                load, vocab = llamacpp(args.llamacpp, model)
                theirs.append(load)
                vocabulary.append(vocab)
        median = lambda x: statistics.median(x) if x else None
        rows.append({
            "model": os.path.basename(model), "size_mb": round(os.path.getsize(model) / 1e6, 1),
            "wingbeat_open_ms": round(median(ours), 3), "wingbeat_best_ms": round(min(ours), 3),
            "llamacpp_load_ms": median(theirs), "llamacpp_best_ms": min(theirs, default=None),
            "llamacpp_vocab_ms": median(vocabulary),
        })
    load = os.getloadavg()
    report = {
        "date": datetime.date.today().isoformat(), "machine": args.machine, "rounds": args.rounds,
        "load_average_at_end": load, "command": "bench/open.py", "rows": rows,
    }
    os.makedirs(args.out, exist_ok=True)
    with open(os.path.join(args.out, "open-cpu.json"), "w") as file:
        json.dump(report, file, indent=1)
    number = lambda x: "–" if x is None else f"{x:.2f}"
    with open(os.path.join(args.out, "open-cpu.md"), "w") as file:
        file.write(
            f"# Opening a model\n\n{args.machine}, {report['date']}, {args.rounds} rounds in turns, page cache warm, load average "
            f"at the end {load[0]:.2f}. `bench/open.py` says what is measured. Milliseconds, median (best).\n\n"
            "| model | MB | Wingbeat, open to ready | llama.cpp, load | of it vocabulary |\n|---|---|---|---|---|\n"
        )
        for row in rows:
            file.write(
                f"| {row['model']} | {row['size_mb']} | {number(row['wingbeat_open_ms'])} ({number(row['wingbeat_best_ms'])}) "
                f"| {number(row['llamacpp_load_ms'])} ({number(row['llamacpp_best_ms'])}) | {number(row['llamacpp_vocab_ms'])} |\n"
            )


if __name__ == "__main__":
    main()
