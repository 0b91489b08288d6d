"""Programs that measure, run in turns: their results, the figures' medians and ratios, and the forms of a report.

`cpu.py` and `gpu.py` say which programs and figures there are. A result is the JSON object that a program printed, or
{"error": why there is none}; a round is {group of figures: {program: result}}, the group ALL where one process measured
everything.
"""
import json, os, platform, statistics, subprocess, time

NAMES = {"wingbeat": "Wingbeat", "llamacpp": "llama.cpp", "webrwkv": "web-rwkv"}
OURS = "wingbeat"
ALL = "all"
# A process that hangs is a failure, not the end of everything.
LIMIT_S = 900


def run(line, limit_s=LIMIT_S, env=None, log=None):
    """The JSON that a program prints, or why there is none; the file `log` gets what a failing program said."""
    said = b""
    try:
        done = subprocess.run(line, capture_output=True, stdin=subprocess.DEVNULL, timeout=limit_s, env=env)
        said = done.stderr
        result = result_of(line, done)
    except subprocess.TimeoutExpired as error:
        said = error.stderr or b""
        result = {"error": f"no result after {limit_s:.0f} s"}
    except OSError as error:
        result = {"error": str(error.strerror)}
    if log and "error" in result:
        with open(log, "a") as file:
            file.write(f"$ {' '.join(line)}\n{said.decode(errors='replace')}\n{result['error']}\n\n")
    return result


def result_of(line, done):
    """The result of a process that ended."""
    if done.returncode != 0:
        # A panic's last line is advice, not the reason.
        said = [text for text in done.stderr.decode(errors="replace").splitlines()
                if text.strip() and not text.startswith("note: ")]
        last = said[-1].strip() if said else "nothing on standard error"
        # Results are published: names of files, not where they lie here.
        for word in line:
            last = last.replace(word, os.path.basename(word)) if os.sep in word else last
        return {"error": f"exit code {done.returncode}: {last}"}
    text = done.stdout.decode(errors="replace").strip()
    try:
        # Peers print one line, perhaps after others; Wingbeat one object.
        result = json.loads(text if text.startswith("{") else text.splitlines()[-1])
    except (ValueError, IndexError):
        return {"error": "its output is not JSON"}
    return result if isinstance(result, dict) else {"error": "its output is no JSON object"}


def value_of(result, key):
    """A figure, or why there is none. A tuple of keys is their sum."""
    values = [result.get(part) for part in (key if isinstance(key, tuple) else (key,))]
    if all(isinstance(value, (int, float)) and value > 0 for value in values):
        return sum(values), None
    return None, result.get("error", f"no `{' + '.join(key) if isinstance(key, tuple) else key}` in its output")


def rows_of(figures, rounds, peers):
    """One row a figure: medians, ratios, or what went wrong.

    `figures`: (name, group, {program: its key}). A program without a key does not have the figure; one without a result
    did not run in that round.
    """
    rows = []
    for name, group, keys in figures:
        values = {program: [] for program in (OURS, *peers)}
        errors = {program: set() for program in values}
        ratios = {peer: [] for peer in peers}
        for results in rounds:
            pair = {}
            for program, key in keys.items():
                result = results.get(group, {}).get(program) or results.get(ALL, {}).get(program)
                if result is None:
                    continue
                value, error = value_of(result, key)
                if error:
                    errors[program].add(error)
                else:
                    pair[program] = value
                    values[program].append(value)
            for peer in peers:
                if OURS in pair and peer in pair:
                    # Tokens a second: more is better. Times and memory: less is.
                    more_is_better = keys[OURS].endswith("_s")
                    ratio = pair[OURS] / pair[peer]
                    ratios[peer].append(ratio if more_is_better else 1 / ratio)
        rows.append({
            "metric": name, **{program: median(found) for program, found in values.items()},
            "rounds": max(len(found) for found in (*ratios.values(), *([] if peers else values.values()))),
            "ratios": {peer: spread(found) for peer, found in ratios.items() if found},
            "errors": {program: sorted(found) for program, found in errors.items() if found},
        })
    return rows


def median(values):
    return statistics.median(values) if values else None


def spread(values):
    return {"median": median(values), "min": min(values), "max": max(values), "rounds": len(values)}


def table(rows, peers):
    """Rows as Markdown: peers first, Wingbeat, a ratio to each peer."""
    ratio_names = [f"ratio to {NAMES[peer]}" for peer in peers] if len(peers) > 1 else ["ratio"] * len(peers)
    head = ["metric", *(NAMES[peer] for peer in peers), NAMES[OURS], *ratio_names, "rounds"]
    lines = [head, ["---"] * len(head)]
    for row in rows:
        ratios = [row["ratios"].get(peer) for peer in peers]
        cells = [f"{found['median']:.2f} ({found['min']:.2f} to {found['max']:.2f})" if found else "–"
                 for found in ratios]
        lines.append([row["metric"], *(cell(row, program) for program in (*peers, OURS)), *cells, str(row["rounds"])])
    return ["| " + " | ".join(line) + " |" if line[0] != "---" else "|" + "|".join(line) + "|" for line in lines]


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


def processor():
    try:
        with open("/proc/cpuinfo") as file:
            for line in file:
                if line.startswith("model name"):
                    return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def version_of(program):
    """What Wingbeat calls itself; peers say it in their results."""
    try:
        done = subprocess.run([program, "--version"], capture_output=True, stdin=subprocess.DEVNULL)
    except OSError as error:
        raise SystemExit(f"error: {program}: {error.strerror}") from error
    return done.stdout.decode(errors="replace").strip() or "unknown"


def said_by(rounds, program, key):
    """A fact that a program says in its results."""
    results = (result[program] for results in rounds for result in results.values() if program in result)
    return next((result[key] for result in results if key in result), None)


def shown(line, files):
    """A command line as others would type it: `files` under their general names, others without their folders."""
    return " ".join(files.get(word, os.path.basename(word) if os.sep in word else word) for word in line)


def write(path, text):
    """All of it or nothing."""
    with open(path + ".partial", "w") as file:
        file.write(text)
    os.replace(path + ".partial", path)
