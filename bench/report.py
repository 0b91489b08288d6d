"""What a run of the founding benchmark says: a report in Markdown, with the founding document's table for each model."""
import agree, turns

# Metric: its name for people, and its unit.
LABELS = {
    "load_ms": ("Model Load", "ms"),
    "start_to_first_token_ms": ("Load to first token", "ms"),
    "load_cold_ms": ("Load, page cache cold", "ms"),
    "start_to_first_token_cold_ms": ("To first token, cache cold", "ms"),
    "tokenize_us": ("Tokenize", "us"),
    "gen_tok_s": ("Generation", "tok/s"),
    "gen_beside_load_tok_s": ("Generation beside a busy thread", "tok/s"),
    "prefill512_tok_s": ("Prompt of 512", "tok/s"),
    "prefill2048_tok_s": ("Prompt of 2048", "tok/s"),
    "doc_state_ms": ("Doc State", "ms"),
    "field_analysis_ms": ("Field Analysis", "ms"),
    "embed_ms": ("Embedding of 512", "ms"),
    "peak_rss_mb": ("Peak memory", "MiB"),
}
# The founding document's table, in its order.
FOUNDING = ["load_ms", "tokenize_us", "gen_tok_s", "doc_state_ms", "field_analysis_ms"]
# What the founding table's generation has to write.
GENERATED = 200


def markdown(report):
    names, kind = report["names"], report["kind"]
    shown = [engine["key"] for engine in report["engines"]]
    where = "on a GPU" if kind == "gpu" else "on the CPU"
    flags = report["flags"]
    lines = [
        f"# The founding benchmark {where}", "",
        f"{machine(report)}, {report['system']}, {report['date']}. {flags['rounds']} rounds at most in turns, "
        f"{flags['threads']} threads, {flags['budget']} s a figure, page cache warm; load average "
        f"{report['load_average_before']:.2f} before, {report['load_average_after']:.2f} after (the programs' own threads "
        "included).", "",
        "Figures are medians over rounds. A ratio is taken within each round and is above 1 where Wingbeat is better "
        "(faster, or smaller in memory); in brackets the smallest and the largest. [What is timed](../../README.md).", "",
        "| engine | version | runs on | |", "|---|---|---|---|",
    ]
    lines += [f"| {engine['name']} | {engine['version'] or ''} | {engine['device'] or ''} | {cell_text(state(engine))} |"
              for engine in report["engines"]]
    lines += ["", *(f"- {note}" for note in report["notes"]), ""]
    for model in report["models"]:
        # An absent engine is a row above, not a column of dashes.
        measured = [engine for engine in shown if any(has_something(row, engine) for row in model["rows"])]
        lines += [f"## {model['model']}, {model['size_mb']} MB", ""]
        if model.get("chart"):
            lines += [f"![{model['model']}: times as fast as a peer]({model['chart']})", ""]
        lines += [*founding_table(model["rows"], measured, names), "", *behind(model["rows"], names), "",
                  "<details><summary>Every figure, with the ratios' spread</summary>", "",
                  *full_table(model["rows"], measured, names), "", "</details>", ""]
        if model.get("fractions"):
            lines += [f"Wingbeat's part of what the machine permits ({bound_line(model)}): "
                      + ", ".join(f"{label_of(metric)} {100 * fraction:.0f} %"
                                  for metric, fraction in model["fractions"].items() if label_of(metric) != metric) + ".", ""]
        lines += [*agreement(model.get("agreement"), names), ""]
    lines += ["Commands (GROUP: each of " + ", ".join(flags["groups"]) + " in a process of its own; engines that take long "
              "to load measure all in one):", ""]
    lines += [f"    {line}" for line in report["commands"]]
    return "\n".join(lines) + "\n"


def has_something(row, engine):
    return row.get(engine) is not None or engine in row["errors"] or engine in row["cannot"]


def machine(report):
    processor = f"{report['processor']}, {report['cores']} cores"
    return "; ".join([*report["gpus"], processor])


def state(engine):
    if engine["absent"]:
        return f"**absent**: {engine['absent']}"
    return "**failed**" if engine["failed"] else "measured"


def founding_table(rows, engines, names):
    """The table of the founding document: the peers, Wingbeat, and who is faster than the fastest of the others."""
    peers = [engine for engine in engines if engine != turns.OURS]
    lines = [["Metric", *(names[peer] for peer in peers), f"**{names[turns.OURS]}**", "Difference"]]
    lines.append(["---"] * len(lines[0]))
    by_metric = {row["metric"]: row for row in rows}
    for metric in FOUNDING:
        row = by_metric.get(metric)
        if row is None:
            continue
        cells = [cell(row, engine) for engine in (*peers, turns.OURS)]
        lines.append([f"**{label_of(metric)}**", *cells, difference(row, peers, names)])
    return [markdown_row(line) for line in lines]


def difference(row, peers, names):
    """Wingbeat against the peer that does best."""
    best = best_peer(row, peers)
    if best is None:
        return "–"
    ratio = row["ratios"][best]["median"]
    word = "smaller" if row["metric"].endswith("_mb") else "faster"
    if ratio >= 1:
        return f"Wingbeat {times(ratio)} {word} than {names[best]}"
    return f"**{names[best]} {times(1 / ratio)} {word}**"


def best_peer(row, peers):
    known = [peer for peer in peers if peer in row["ratios"]]
    return min(known, key=lambda peer: row["ratios"][peer]["median"], default=None)


def behind(rows, names):
    """What Wingbeat is behind at, in words."""
    found = []
    for row in rows:
        peers = list(row["ratios"])
        best = best_peer(row, peers)
        if best and row["ratios"][best]["median"] < 1:
            found.append(f"{label_of(row['metric'])} ({row['ratios'][best]['median']:.2f} of {names[best]})")
    if not any(row["ratios"] for row in rows):
        return ["No peer was measured."]
    return [f"Behind: {', '.join(found)}." if found else "Wingbeat is ahead on every row that a peer has."]


def full_table(rows, engines, names):
    """Rows as Markdown: peers first, Wingbeat, a ratio to each peer."""
    peers = [engine for engine in engines if engine != turns.OURS]
    lines = [["metric", *(names[peer] for peer in peers), names[turns.OURS],
              *(f"ratio to {names[peer]}" for peer in peers), "rounds"]]
    lines.append(["---"] * len(lines[0]))
    for row in rows:
        ratios = [row["ratios"].get(peer) for peer in peers]
        cells = [f"{found['median']:.2f} ({found['min']:.2f} to {found['max']:.2f})" if found else "–" for found in ratios]
        figures = [cell(row, engine) for engine in (*peers, turns.OURS)]
        lines.append([f"`{row['metric']}`", *figures, *cells, str(row["rounds"])])
    return [markdown_row(line) for line in lines]


def agreement(found, names):
    """What the engines' logits have to do with each other."""
    if not found:
        return []
    if "error" in found:
        return [f"**The logits were not compared**: {found['error']}."]
    lines = [["logits of 64 tokens beside exact arithmetic", "same most likely token", "difference, RMS", "largest"]]
    lines.append(["---"] * 4)
    for engine, result in found.items():
        if "error" in result:
            lines.append([names[engine], f"**failed**: {result['error']}", "–", "–"])
            continue
        rms = f"{result['rms']:.4f}"
        wrong = result["rms"] > agree.WRONG
        lines.append([names[engine], f"{result['top1_same']} of {result['positions']}",
                      f"**{rms}: other weights, or wrong**" if wrong else rms, f"{result['largest']:.3f}"])
    return [markdown_row(line) for line in lines] + [
        "", "Differences are in standard deviations of the logits."]


def bound_line(model):
    parts = []
    if model.get("read_gb_s"):
        parts.append(f"reads of {model['read_gb_s']:.0f} GB/s")
    if model.get("multiply_tops"):
        parts.append(f"{model['multiply_tops']:.3g} Top/s")
    return ", ".join(parts) or "measured in the same run"


def cell(row, engine):
    """A figure, a visible failure, or what the engine cannot do."""
    if row[engine] is None:
        why = why_missing(row, engine)
        return cell_text(f"**failed**: {why}" if engine in row["errors"] else why)
    text = shown(row["metric"], row[engine])
    errors = row["errors"].get(engine)
    return cell_text(f"{text} (**failed at times**: {'; '.join(errors)})" if errors else text)


def why_missing(row, engine):
    if engine in row["cannot"]:
        return f"none: {row['cannot'][engine]}"
    return "; ".join(row["errors"].get(engine, [])) or "–"


def label_of(metric):
    return LABELS[metric][0] if metric in LABELS else par_label(metric)


def par_label(metric):
    n = metric.removeprefix("par").removesuffix("_tok_s")
    return f"{n} sequences" if n.isdigit() else metric


def shown(metric, value):
    """A figure with its unit, as the founding document writes them."""
    if metric == "gen_tok_s":
        return f"{seconds(GENERATED / value)} ({number(value)} tok/s)"
    if metric.endswith("_ms"):
        return seconds(value / 1e3)
    if metric.endswith("_us"):
        return seconds(value / 1e6)
    if metric.endswith("_tok_s"):
        return f"{number(value)} tok/s"
    return f"{number(value)} {LABELS.get(metric, ('', ''))[1]}".strip()


def seconds(value):
    if value >= 1:
        return f"{value:.2f} s"
    return f"{number(value * 1e3)} ms" if value >= 1e-3 else f"{number(value * 1e6)} µs"


def number(x):
    return f"{x:.0f}" if x >= 1000 else f"{x:.1f}" if x >= 100 else f"{x:.2f}"


def times(ratio):
    return f"{ratio:.0f}x" if ratio >= 20 else f"{ratio:.1f}x" if ratio >= 3 else f"{ratio:.2f}x"


def cell_text(text):
    return text.replace("|", "\\|")


def markdown_row(cells):
    return "|" + "|".join(cells) + "|" if set(cells) == {"---"} else "| " + " | ".join(cells) + " |"
