#!/usr/bin/env python3
"""The league table: known recurrent implementations before the judge of this project.

    benches/judge/run.py [--systems torch,jax] [--cells elman-tanh,gru] [--cases N] [--out FILE]

Each system, cell and number type is judged in a process of its own, so that one that dies takes nothing with it. A system
that is not installed is listed as missing, with the reason. Needs the wheel of crates/elman-python.
"""

import argparse
import hashlib
import json
import os
import pathlib
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
CELLS = {
    "elman": ("elman", "sigmoid"),
    "elman-tanh": ("elman", "tanh"),
    "elman-relu": ("elman", "relu"),
    "gru": ("gru", None),
    "lstm": ("lstm", None),
}
NUMBERS = ["float32", "float64"]


def one(name, cell, dtype, cases):
    """The verdict on one kernel, as a dictionary."""
    import systems

    make, packages = systems.SYSTEMS[name]
    cell, activation = CELLS[cell]
    try:
        kernel = make(cell, activation, dtype)
    except systems.Unknown as unknown:
        return {"unknown": str(unknown)}
    import elman

    start = time.perf_counter()
    judge = lambda **options: elman.verify.recurrence(
        kernel,
        cell=cell,
        activation=activation,
        dtype=dtype,
        name=name,
        repeatable=False,
        progress=False,
        **options,
    )
    try:
        report = judge(cases=cases, subnormals=False)
    except ValueError as error:
        if "cell: expected" in str(error):
            return {"unknown": "this build of the judge does not have the cell"}
        raise
    gradients = "wx" in report.bits
    subnormal = judge(case="recurrence/subnormal") if gradients and cell == "elman" and activation == "sigmoid" else None
    return {
        "version": systems.version(packages),
        "passed": report.passed,
        "gradients": gradients,
        "worst": report.worst,
        "bits": report.bits,
        "same_bits": report.same_bits,
        "subnormal": None if subnormal is None else subnormal.passed,
        "failures": report.failures + (subnormal.failures if subnormal else []),
        "text": str(report),
        "digest": digest(kernel, cell, dtype),
        "seconds": time.perf_counter() - start,
    }


def digest(kernel, cell, dtype):
    """A hash of what the kernel gives for some fixed problems, to be compared between numbers of threads."""
    import numpy

    import elman.verify

    gates = {"elman": 1, "gru": 3, "lstm": 4}[cell]
    hashed = hashlib.sha256()
    for seed, (inputs, hidden, lengths) in enumerate([(64, 64, [16] * 8), (257, 256, [5, 3, 9]), (512, 512, [4])]):
        generator = numpy.random.default_rng(seed)
        draw = lambda *shape: (generator.uniform(-1, 1, shape) / 8).astype(dtype)
        steps = sum(lengths)
        given = [draw(steps, inputs), numpy.array(lengths), draw(inputs, gates * hidden), draw(hidden, gates * hidden)]
        given += [draw(gates * hidden), draw(hidden), draw(steps, hidden)]
        more = {"gru": {"bhn": draw(hidden)}, "lstm": {"c0": draw(hidden)}}.get(cell, {})
        names = ["xs", "lengths", "wx", "wh", "bh", "h0", "dh"]
        found = elman.verify._call(kernel, numpy.dtype(dtype), dict(zip(names, given)) | more)
        for array in found.values():
            hashed.update(array.tobytes())
    return hashed.hexdigest()


def judged(name, cell, dtype, cases, threads, timeout):
    command = [sys.executable, __file__, "--one", name, cell, dtype, "--cases", str(cases)]
    environment = os.environ | {"THREADS": str(threads), "PYTHONPATH": os.pathsep.join([str(HERE), *sys.path[1:]])}
    try:
        run = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=timeout)
    except subprocess.TimeoutExpired:
        return {"missing": f"no verdict within {timeout} seconds"}
    if run.returncode != 0:
        lines = run.stderr.strip().splitlines() or [f"exit status {run.returncode}"]
        return {"missing": lines[-1]}
    return json.loads(run.stdout.splitlines()[-1])


def threads_alike(name, cell, dtype, timeout):
    """Whether one thread and eight give the same bits."""
    digests = []
    for threads in (1, 8):
        command = [sys.executable, __file__, "--digest", name, cell, dtype]
        environment = os.environ | {"THREADS": str(threads), "PYTHONPATH": os.pathsep.join([str(HERE), *sys.path[1:]])}
        run = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=timeout)
        digests.append(run.stdout.strip().splitlines()[-1:] if run.returncode == 0 else None)
    return None if None in digests else digests[0] == digests[1]


def yes(value):
    return "-" if value is None else "yes" if value else "**no**"


def share(pair):
    return "-" if pair is None else "yes" if pair[0] == pair[1] else f"**{pair[0]} of {pair[1]}**"


def table(verdicts):
    lines = [
        "| system | version | cell | numbers | passed | judged | worst error / allowed | bits: h, worst gradient | subnormal "
        "| same bits: repeated | alone and in a batch | 1 and 8 threads |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for (name, cell, dtype), verdict in verdicts.items():
        if "unknown" in verdict:
            continue
        if "missing" in verdict:
            lines.append(f"| {name} | | {cell} | {dtype} | {verdict['missing'][:100]} | | | | | | | |")
            continue
        gradients = [bits for tensor, bits in verdict["bits"].items() if tensor != "h"]
        bits = f"{verdict['bits'].get('h', float('nan')):.1f}" + (f", {min(gradients):.1f}" if gradients else "")
        worst = verdict["worst"]
        lines.append(
            f"| {name} | {verdict['version']} | {cell} | {dtype} | {yes(verdict['passed'])} "
            f"| {'states, gradients' if verdict['gradients'] else 'states'} | {worst:.3g} | {bits} | {yes(verdict['subnormal'])} "
            f"| {share(verdict['same_bits'].get('repeat'))} | {share(verdict['same_bits'].get('batch'))} "
            f"| {yes(verdict.get('threads'))} |"
        )
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--systems", help="names of systems.py, separated by commas; all by default")
    parser.add_argument("--cells", default=",".join(CELLS))
    parser.add_argument("--numbers", default=",".join(NUMBERS))
    parser.add_argument("--cases", type=int, default=87, help="random cases of each, as elman verify has them")
    parser.add_argument("--timeout", type=int, default=900, help="seconds for each")
    parser.add_argument("--no-threads", action="store_true", help="leave out the comparison of 1 and 8 threads")
    parser.add_argument("--out", type=pathlib.Path, default=HERE.parents[1] / "target/judge/league.json")
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    parser.add_argument("--digest", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(one(*arguments.one, arguments.cases)))
        return
    if arguments.digest:
        import systems

        name, cell, dtype = arguments.digest
        print(digest(systems.SYSTEMS[name][0](*CELLS[cell], dtype), CELLS[cell][0], dtype))
        return
    sys.path.insert(0, str(HERE))
    import systems

    names = [name for name in systems.SYSTEMS if arguments.systems is None or name.split(",")[0] in arguments.systems.split(",")]
    verdicts = {}
    for name in names:
        for cell in arguments.cells.split(","):
            for dtype in arguments.numbers.split(","):
                verdict = judged(name, cell, dtype, arguments.cases, 1, arguments.timeout)
                if "passed" in verdict and not arguments.no_threads:
                    verdict["threads"] = threads_alike(name, cell, dtype, arguments.timeout)
                verdicts[name, cell, dtype] = verdict
                outcome = verdict.get("unknown") or verdict.get("missing") or ("passed" if verdict["passed"] else "FAILED")
                print(f"{name}, {cell}, {dtype}: {outcome}", file=sys.stderr, flush=True)
                for failure in verdict.get("failures", []):
                    print(f"    {failure}", file=sys.stderr)
                arguments.out.parent.mkdir(parents=True, exist_ok=True)
                everything = [{"system": n, "cell": c, "numbers": d, **v} for (n, c, d), v in verdicts.items()]
                arguments.out.write_text(json.dumps(everything, indent=1))
                arguments.out.with_suffix(".md").write_text(table(verdicts))
    print(table(verdicts))


if __name__ == "__main__":
    main()
