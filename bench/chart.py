"""A report's chart, as SVG: for each metric a bar an engine, how many times as fast as the first peer.

The scale is logarithmic and bars begin at that peer's speed: to the right is faster, to the left slower. A figure that
is missing stands as a word in the bar's place.
"""
import math
from xml.sax.saxutils import escape

import report, turns

WIDTH, LEFT, RIGHT = 900, 190, 150
BAR, GAP, HEAD, FOOT = 15, 14, 86, 46
COLOURS = {turns.OURS: "#2563eb", "llamacpp": "#d97706", "llamacpp-cuda": "#d97706", "llamacpp-vulkan": "#a16207",
           "webrwkv": "#7c3aed", "rwkv": "#6b7280"}
# What is drawn: the founding table's rows, and what else programs wait for.
METRICS = [*report.FOUNDING[:1], "start_to_first_token_ms", *report.FOUNDING[1:], "prefill512_tok_s", "par8_tok_s", "par32_tok_s",
           "par128_tok_s", "embed_ms"]
FONT = "font-family='system-ui, Helvetica, Arial, sans-serif'"


def draw(model, engines, names, machine, date):
    """The chart of one model's rows; None where there is no peer to hold Wingbeat against."""
    rows = [row for row in model["rows"] if any(row[engine] for engine in engines) and row["metric"] in METRICS]
    base = next((engine for engine in engines if engine != turns.OURS and any(row[engine] for row in rows)), None)
    if base is None:
        return None
    shown = [engine for engine in engines if engine != base and any(row[engine] for row in rows)]
    exponents = [math.log2(times) for row in rows for engine in shown if (times := speed(row, engine, base))]
    least, most = min([-0.3, *exponents]) - 0.1, max([1.0, *exponents]) + 0.1
    scale = (WIDTH - LEFT - RIGHT) / (most - least)
    middle = LEFT - least * scale
    height = HEAD + len(rows) * (len(shown) * BAR + GAP) + FOOT
    parts = [
        f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {WIDTH} {height}' width='{WIDTH}' height='{height}' role='img'>",
        f"<title>{escape(model['model'])}: {escape(', '.join(names[e] for e in engines))}</title>",
        f"<rect width='{WIDTH}' height='{height}' fill='#ffffff'/>",
        text(20, 28, f"{model['model']}: times as fast as {names[base]}", size=17, weight=600),
        text(20, 48, f"{machine}, {date}", size=12, colour="#6b7280"),
    ]
    at = 20
    for engine in shown:
        parts += [f"<rect x='{at}' y='59' width='11' height='11' rx='2' fill='{COLOURS.get(engine, '#111827')}'/>",
                  text(at + 16, 69, names[engine], size=12)]
        at += 34 + 7 * len(names[engine])
    bottom = height - FOOT + 4
    for power in range(math.ceil(least), math.floor(most) + 1):
        x = middle + power * scale
        parts.append(f"<line x1='{x:.1f}' y1='{HEAD - 8}' x2='{x:.1f}' y2='{bottom}' stroke='{'#374151' if power == 0 else '#e5e7eb'}'/>")
        label = f"{2 ** power}x" if power >= 0 else f"1/{2 ** -power}"
        parts.append(text(x, bottom + 16, label, size=11, colour="#6b7280", anchor="middle"))
    y = HEAD
    for row in rows:
        label, unit = report.LABELS.get(row["metric"], (report.par_label(row["metric"]), ""))
        parts.append(text(LEFT - 10, y + len(shown) * BAR / 2 + 4, label, anchor="end", size=12.5))
        for engine in shown:
            times = speed(row, engine, base)
            colour = COLOURS.get(engine, "#111827")
            if times:
                length = math.log2(times) * scale
                x, width = (middle, length) if length >= 0 else (middle + length, -length)
                parts.append(f"<rect x='{x:.1f}' y='{y:.1f}' width='{max(width, 1.5):.1f}' height='{BAR - 3}' rx='2' fill='{colour}'/>")
                note = f"{report.times(times)}  ({report.shown(row['metric'], row[engine])})"
                parts.append(text(max(middle, middle + length) + 6, y + BAR - 5, note, size=11, colour="#374151"))
            else:
                note = report.shown(row["metric"], row[engine]) if row[engine] else report.why_missing(row, engine)
                parts.append(text(middle + 6, y + BAR - 5, f"{names[engine]}: {note}", size=11, colour="#9ca3af"))
            y += BAR
        y += GAP
    parts.append(text(20, height - 10, f"To the right is faster; the line at 1x is {names[base]}. Logarithmic scale.", size=11, colour="#6b7280"))
    return "\n".join([*parts, "</svg>"]) + "\n"


def speed(row, engine, base):
    """How many times as fast as the base engine: within each round where that is known."""
    if engine == turns.OURS and base in row["ratios"]:
        return row["ratios"][base]["median"]
    if not row[engine] or not row[base]:
        return None
    ratio = row[engine] / row[base]
    return ratio if turns.more_is_better(row["metric"]) else 1 / ratio


def text(x, y, words, size=12, colour="#111827", anchor="start", weight=400):
    return (f"<text x='{x:.1f}' y='{y:.1f}' {FONT} font-size='{size}' font-weight='{weight}' fill='{colour}' "
            f"text-anchor='{anchor}'>{escape(words)}</text>")
