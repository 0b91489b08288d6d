"""Programs that measure, run in turns: their results, the figures' medians and ratios.

`engines.py` says which programs and figures there are, `run` in which order they run, `report.py` what the outcome looks
like. A result is the JSON object that a program printed, {"error": why there is none} or {"refused": why an engine does not
run such a model}; a round is {group of figures: {engine: result}}, the group ALL where one process measured everything.
"""
import json, os, statistics, subprocess

OURS = "wingbeat"
ALL = "all"


def run(line, limit_s, env=None, log=None):
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
        return {"error": f"exit code {done.returncode}: {last_words(line, done.stderr)}"}
    text = done.stdout.decode(errors="replace").strip()
    try:
        # Peers print one line, perhaps after others; Wingbeat one object.
        result = json.loads(text if text.startswith("{") else text.splitlines()[-1])
    except (ValueError, IndexError):
        return {"error": "its output is not JSON"}
    return result if isinstance(result, dict) else {"error": "its output is no JSON object"}


def last_words(line, said):
    """The last line that a failing program wrote, fit to be published: names of files, not where they lie here."""
    # A panic's last line is advice, not the reason.
    lines = [text for text in said.decode(errors="replace").splitlines()
             if text.strip() and not text.startswith("note: ")]
    last = lines[-1].strip() if lines else "nothing on standard error"
    for word in line:
        last = last.replace(word, os.path.basename(word)) if os.sep in word else last
    return last


def value_of(result, key):
    """A figure, or why there is none."""
    value = result.get(key)
    if isinstance(value, (int, float)) and value > 0:
        return value, None
    return None, result.get("error", f"no `{key}` in its output")


def more_is_better(metric):
    """Tokens, megabytes, gigabytes a second: more is better. Times and memory: less is."""
    return metric.endswith("_s")


def rows_of(figures, rounds, engines):
    """One row a figure: medians, ratios, what went wrong, what an engine cannot do.

    `figures`: (metric, group, {engine: its key}). An engine without a result did not run in that round.
    """
    rows = []
    peers = [engine for engine in engines if engine != OURS]
    for metric, group, keys in figures:
        values = {engine: [] for engine in engines}
        errors = {engine: set() for engine in engines}
        ratios = {peer: [] for peer in peers}
        cannot = {}
        for results in rounds:
            pair = {}
            for engine in engines:
                result = results.get(group, {}).get(engine) or results.get(ALL, {}).get(engine)
                if result is None:
                    continue
                key = keys.get(engine, metric)
                if "refused" in result:
                    cannot[engine] = result["refused"]
                    continue
                if key in result.get("cannot", {}):
                    cannot[engine] = result["cannot"][key]
                    continue
                value, error = value_of(result, key)
                if error:
                    errors[engine].add(error)
                else:
                    pair[engine] = value
                    values[engine].append(value)
            for peer in peers:
                if OURS in pair and peer in pair:
                    ratio = pair[OURS] / pair[peer]
                    ratios[peer].append(ratio if more_is_better(metric) else 1 / ratio)
        rows.append({
            "metric": metric, **{engine: median(found) for engine, found in values.items()},
            "rounds": max((len(found) for found in values.values()), default=0),
            "ratios": {peer: spread(found) for peer, found in ratios.items() if found},
            "errors": {engine: sorted(found) for engine, found in errors.items() if found},
            "cannot": cannot,
        })
    return rows


def median(values):
    return statistics.median(values) if values else None


def spread(values):
    return {"median": median(values), "min": min(values), "max": max(values), "rounds": len(values)}


def said_by(rounds, engine, key):
    """A fact that an engine's program says in its results."""
    results = (result[engine] for results in rounds for result in results.values() if engine in result)
    return next((result[key] for result in results if key in result), None)


def write(path, text):
    """All of it or nothing."""
    with open(path + ".partial", "w") as file:
        file.write(text)
    os.replace(path + ".partial", path)
