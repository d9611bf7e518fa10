#!/usr/bin/env python3
"""One HTML page, which needs nothing else, of what was measured: the tables of run.py, the roofline, the growth.

    benches/peers/page.py           reads target/peers, target/roofline and target/growth; writes target/benches.html

A part that was not measured is left out, and the page says so. Needs Python 3.9 and nothing else.
"""

import argparse
import json
import pathlib
import re
from html import escape

import run as peers

PROJECT = pathlib.Path(__file__).resolve().parent.parent.parent

STYLE = """
:root { color-scheme: light dark; --ink: #1b1f24; --soft: #57606a; --paper: #fff; --line: #d0d7de; --thin: #eaeef2;
  --faster: #ffe3d3; --slower: #e6f3ec; --wrong: #fff3bf }
@media (prefers-color-scheme: dark) { :root { --ink: #e6edf3; --soft: #9da7b3; --paper: #0d1117; --line: #3d444d;
  --thin: #262c36; --faster: #5a2c12; --slower: #12351f; --wrong: #4d4000 } }
* { box-sizing: border-box }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); margin: 0 }
main { max-width: 1120px; margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.6rem } h2 { font-size: 1.25rem; margin-top: 2.5rem; border-top: 1px solid var(--line); padding-top: 1rem }
h3 { font-size: 1rem; margin: 1.6rem 0 .3rem }
.scroll { overflow-x: auto }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; margin: .5rem 0; font-size: 13.5px }
th, td { text-align: right; padding: .15rem .6rem; border-bottom: 1px solid var(--thin); white-space: nowrap }
th { white-space: normal; vertical-align: bottom; max-width: 9rem }
th:first-child, td:first-child, th.text, td.text { text-align: left }
td.wide { white-space: normal; text-align: left; min-width: 16rem }
tr.ours td:first-child { font-weight: 600 }
td.faster { background: var(--faster) } td.slower { background: var(--slower) } td.best { font-weight: 700 }
td.wrong { background: var(--wrong) }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(440px, 100%), 1fr)); gap: 1rem }
.figures svg, .figure svg { width: 100%; height: auto }
/* On a phone a wide figure keeps a size that can be read, and scrolls in its box. */
.figure { overflow-x: auto } .figure svg { min-width: 640px }
svg text { fill: var(--ink) }
svg [stroke="#000000"] { stroke: var(--ink) } svg [fill="#000000"] { fill: var(--ink) }
svg [fill="#FFFFFF"] { fill: var(--paper) } svg [stroke="#E1E4E8"] { stroke: var(--thin) }
@media (prefers-color-scheme: dark) {
  svg [stroke="#0072B2"] { stroke: #58a6ff } svg [fill="#0072B2"] { fill: #58a6ff }
  svg [stroke="#787878"] { stroke: #9da7b3 } svg [fill="#787878"] { fill: #9da7b3 }
}
.note { color: var(--soft); max-width: 52rem }
p { max-width: 52rem }
@media (max-width: 600px) { main { margin: 1rem auto } th, td { padding: .15rem .4rem } }
"""


def cell(text, kind=""):
    return f'<td class="{kind}">{escape(str(text))}</td>' if kind else f"<td>{escape(str(text))}</td>"


def table(head, rows):
    """Rows are lists of cells, made by `cell`, or (class of the row, list)."""
    text = ("what", "versions", "numbers", "operands in")
    names = [f'<th class="{"text" if name in text else ""}">{escape(name)}</th>' for name in head]
    lines = ["<div class=scroll><table><tr>" + "".join(names) + "</tr>"]
    for row in rows:
        kind, cells = row if isinstance(row, tuple) else ("", row)
        lines.append((f'<tr class="{kind}">' if kind else "<tr>") + "".join(cells) + "</tr>")
    return lines + ["</table></div>"]


def figure(path):
    """An SVG for the page; a height by the width, and no limits of its own."""
    svg = path.read_text()
    svg = svg[svg.index("<svg") :]
    head, rest = svg.split(">", 1)
    if "viewBox" not in head:
        width, height = (re.search(rf'{name}="(\d+)', head).group(1) for name in ("width", "height"))
        head += f' viewBox="0 0 {width} {height}"'
    return re.sub(r' (width|height)="\d+"', "", head) + ">" + rest


def machine_line(machine):
    parts = [machine["cpu"], f"{machine['cores']} cores", machine["system"]]
    load = machine.get("load")
    return ", ".join(str(part) for part in parts) + (f"; load {load}" if load is not None else "")


# Side by side


def side_by_side(results):
    machine, corpus, systems = results["machine"], results["corpus"], results["systems"]
    baseline = results["baseline"]
    lines = [
        "<h2>Side by side</h2>",
        f"<p class=note>{escape(machine['cpu'])}, {machine['cores']} cores, {escape(machine['system'])}, "
        f"{machine['date']}; one thread"
        + (f", all on core {machine['core']}" if machine["core"] is not None else "")
        + f"; load before {machine['load_before']}, after {machine['load_after']}. "
        f"Corpus: {escape(corpus['corpus'])}; vocab {corpus['vocab']}, embed {corpus['embed']}, window {corpus['window']}, "
        f"hidden {corpus['hidden']}, classes {corpus['classes']}. The systems take turns; a ratio is the median of the "
        f"ratios within a round: above 1, {escape(baseline)} is faster. Where another system is faster, the cell is "
        "orange; a system whose numbers are not the network's, or not compared, is marked with a star.</p>",
    ]
    works = [r for r in results["results"] if r["work"] not in peers.GRIDS]
    names = [name for name in systems if any("ratio" in r["systems"].get(name, {}) for r in works)]
    head = ["times " + baseline, *(peers.title(r) for r in works)]
    rows = [
        ("ours" if systems[name]["ours"] else "", [cell(name), *(ratio(r["systems"].get(name)) for r in works)])
        for name in names
    ]
    lines += table(head, rows)
    for result in works:
        lines += [f"<h3>{escape(peers.title(result))}</h3>", *work(result, results)]
    for kind in peers.GRIDS:
        cells = [r for r in results["results"] if r["work"] == kind]
        if cells:
            lines += [f"<h3>{escape(peers.title(cells[0]))}: GFLOP/s</h3>", *grid(cells, systems)]
    return lines


def star(entry):
    return "" if entry.get("check", "agrees").startswith("agrees") else "*"


def ratio(entry):
    if not entry or "seconds" not in entry or not entry["ratio"]:
        return cell("-")
    kind = "faster" if entry["ratio"] < 0.995 else "slower" if entry["ratio"] > 1.005 else ""
    return cell(f"{entry['ratio']:.2f}{star(entry)}", kind)


def work(result, results):
    words = results["counts"].get({"tag_all": "test_words"}.get(result["work"], "train_words"))
    rate = result["work"] in ("sgd_epoch", "minibatch_epoch", "tag_all")
    tail = result["work"] == "tag_one"
    head = ["system", "time", f"times {results['baseline']}", *(["p99"] * tail), *(["words/s"] * rate), "peak memory", "numbers"]
    entries, rows = result["systems"], []
    for name in sorted(entries, key=lambda name: entries[name].get("seconds", float("inf"))):
        entry = entries[name]
        kind = "ours" if results["systems"][name]["ours"] else ""
        if "failure" in entry:
            rows.append((kind, [cell(name), *[cell("-")] * (len(head) - 2), cell("failed: " + entry["failure"], "wide wrong")]))
            continue
        memory, said = entry.get("peak_bytes"), entry.get("check", "-")
        cells = [cell(name), cell(peers.duration(entry["seconds"])), ratio(entry)]
        cells += [cell(peers.duration(entry["p99"]))] if tail else []
        cells += [cell(f"{words / entry['seconds']:,.0f}")] if rate else []
        cells += [cell(f"{memory / 2**20:.0f} MiB" if memory else "-"), cell(said, "text" if said.startswith("agrees") else "text wrong")]
        rows.append((kind, cells))
    return table(head, rows)


def grid(results, systems):
    names = [name for name in systems if any(name in r["systems"] for r in results)]
    rows = []
    for result in results:
        flops = peers.flops(result)
        speeds = {n: flops / e["seconds"] / 1e9 for n, e in result["systems"].items() if "seconds" in e}
        best = max(speeds, key=speeds.get)
        cells = [cell("{batch},{input},{hidden}".format(**result["request"]))]
        for name in names:
            entry = result["systems"].get(name, {})
            text = f"{speeds[name]:.1f}{star(entry)}" if name in speeds else "failed" if "failure" in entry else "-"
            faster = not systems[name]["ours"] and (entry.get("ratio") or 1) < 1
            cells.append(cell(text, " ".join(["best"] * (name == best) + ["faster"] * faster)))
        rows.append(cells)
    return table(["B,I,H", *names], rows)


def versions(results):
    rows = []
    for name, system in results["systems"].items():
        said = ", ".join(f"{k} {v}" for k, v in system.get("versions", {}).items())
        if "missing" in system:
            rows.append([cell(name), cell("missing: " + system["missing"], "wide wrong"), cell("")])
        else:
            rows.append([cell(name), cell(system["what"], "wide"), cell(said, "wide")])
    return ["<h3>The systems</h3>", *table(["system", "what", "versions"], rows)]


# One core, and growth


def roofline(folder):
    result = json.loads((folder / "roofline.json").read_text())
    peaks = ", ".join(f"{p['isa']} {p['flops_per_second'] / 1e9:.0f}" for p in result["peaks"])
    levels = ", ".join(f"{level['name']} {level['bytes_per_second'] / 1e9:.0f}" for level in result["levels"])
    lines = [
        "<h2>One core</h2>",
        f"<p class=note>{escape(machine_line(result['machine']))}. Peak of multiply-add in GFLOP/s: {escape(peaks)}. Reading in "
        f"GB/s: {escape(levels)}. The roof of a kernel is the smaller of the peak of its instruction set and of what the level "
        "that holds its operands delivers; a part that stays in a nearer level may lift it above.</p>",
        f"<div class=figure>{figure(folder / 'roofline.svg')}</div>",
    ]
    best = result["peaks"][-1]["isa"]
    named = {}
    for kernel in result["kernels"]:
        named.setdefault(kernel["name"], {})[kernel["isa"]] = kernel
    isas = [peak["isa"] for peak in result["peaks"]]
    rows = []
    for number, (name, by_isa) in enumerate(named.items(), 1):
        kernel = by_isa[best]
        cells = [cell(f"{number}  {name}"), cell(f"{kernel['intensity']:.1f}"), cell(kernel["level"], "text")]
        cells += [cell(f"{by_isa[isa]['flops_per_second'] / 1e9:.1f}" if isa in by_isa else "-") for isa in isas]
        rows.append([*cells, cell(f"{100 * kernel['flops_per_second'] / kernel['roof']:.0f} %")])
    return lines + table(["kernel", "FLOP/byte", "operands in", *(f"{isa}, GFLOP/s" for isa in isas), f"of the roof, {best}"], rows)


def growth(folder):
    result = json.loads((folder / "growth.json").read_text())
    lines = [
        "<h2>Growth</h2>",
        f"<p class=note>{escape(machine_line(result['machine']))}. With an exponent e, twice as much takes 2<sup>e</sup> times as "
        "long, fitted over the larger half of the sizes. In words and in the length of a sentence no step may be worse than "
        f"linear (tolerance {result['tolerance']}).</p>",
        "<div class=figures>",
    ]
    for axis in result["axes"]:
        names = [folder / f"growth-{axis['axis']}-{what}.svg" for what in ("time", "memory")]
        lines += [f"<div>{figure(path)}</div>" for path in names if path.exists()]
    return [*lines, "</div>"]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    path, target = pathlib.Path, PROJECT / "target"
    parser.add_argument("--peers", type=path, default=target / "peers", help="folder with results.json")
    parser.add_argument("--roofline", type=path, default=target / "roofline", help="folder with roofline.json and .svg")
    parser.add_argument("--growth", type=path, default=target / "growth", help="folder with growth.json and its figures")
    parser.add_argument("--out", type=path, default=target / "benches.html", help="the page")
    arguments = parser.parse_args()
    lines, missing = [], []
    results = None
    if (arguments.peers / "results.json").exists():
        results = json.loads((arguments.peers / "results.json").read_text())
        lines += side_by_side(results)
    else:
        missing.append("the comparison with other systems (benches/peers/run.py)")
    for folder, file, part in [(arguments.roofline, "roofline", roofline), (arguments.growth, "growth", growth)]:
        if (folder / f"{file}.json").exists():
            lines += part(folder)
        else:
            missing.append(f"{file} (cargo run --release -p elman-benches --bin {file})")
    if len(missing) == 3:
        raise SystemExit("nothing was measured: " + "; ".join(missing))
    if results:
        lines += versions(results)
    note = [f"<p class=note>Not measured: {escape('; '.join(missing))}.</p>"] if missing else []
    head = [
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>Elman: measured</title><style>{STYLE}</style></head><body><main><h1>Elman: measured</h1>",
    ]
    about = [
        "<p>This page shows how fast Elman trains and tags, beside other systems that compute the same network, and how near "
        "its kernels come to the limits of the core. Ratios are to be read rather than times: the systems took turns on one "
        "machine, which may have had other work.</p>"
    ]
    peers.write(arguments.out, "\n".join([*head, *about, *note, *lines, "</main></body></html>"]) + "\n")
    print(arguments.out)


if __name__ == "__main__":
    main()
