#!/usr/bin/env python3
"""Measures this project and other systems at the same work, in turns, on one core, and writes a table of ratios.

    benches/peers/setup.sh          installs the Python systems, once
    benches/peers/run.py            builds, measures, writes target/peers/results.md and results.json

Needs Python 3.9 and Rust, and nothing else. README.md says what is measured and describes the protocol.
"""

import argparse
import datetime
import json
import os
import pathlib
import platform
import select
import shlex
import statistics
import struct
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
PROJECT = HERE.parent.parent

LR = 0.0970806646812754
GRID = [
    (1, 64, 64), (1, 350, 200), (1, 256, 256), (1, 512, 512), (1, 1024, 1024),
    (16, 256, 256), (32, 512, 512), (64, 1024, 1024),
]  # fmt: skip
QUICK_GRID = [(1, 64, 64), (1, 350, 200), (16, 256, 256)]
GATED_GRID = [(batch, hidden, hidden) for hidden in (64, 256, 512, 1024) for batch in (1, 16, 64)]
QUICK_GATED_GRID = [(1, 64, 64), (16, 256, 256)]
STEPS = 64
# Of losses and fingerprints. Systems that are right agreed to 2e-7, after a whole epoch too.
AGREEMENT = 1e-5
# Labels of words whose two best classes are closer than rounding may differ.
LABELS_APART = 1e-3
# The systems of benches/peers/rust, each a feature of that package.
RUST_SYSTEMS = ["burn", "candle", "rust-lstm", "tract"]
# The works that are measured over a grid of sizes, and a name for both of a cell's.
GATES = {"recurrence": 1, "gru": 3, "lstm": 4}
GROUPS = {cell: [f"{cell}_forward", f"{cell}_backward"] for cell in GATES}
GRIDS = [work for works in GROUPS.values() for work in works]
WORKS = ["sgd_epoch", "minibatch_epoch", "tag_one", "tag_all", *GRIDS, "first_tag"]


def gates(work):
    """How many gates the cell of a work on the grid has."""
    return GATES[work.split("_")[0]]


class Failed(Exception):
    """A system did not do what it was asked for."""


class Process:
    """A system at work."""

    def __init__(self, system, run):
        self.name = system.name
        self.timeout = run.arguments.timeout
        self.log = run.out / f"{system.name.replace('/', '-')}.log"
        core = run.core

        def pin():
            os.sched_setaffinity(0, {core})

        self.started = time.perf_counter()
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                system.command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                cwd=HERE,
                env=run.environment,
                preexec_fn=pin if core is not None else None,
            )
        self.received = b""

    def ask(self, work, **request):
        line = json.dumps({"work": work} | request) + "\n"
        try:
            self.process.stdin.write(line.encode())
            self.process.stdin.flush()
        except BrokenPipeError:
            raise Failed(self.ended()) from None
        deadline = time.monotonic() + self.timeout
        while b"\n" not in self.received:
            readable, _, _ = select.select([self.process.stdout], [], [], max(0, deadline - time.monotonic()))
            if not readable:
                raise Failed(f"{work}: no answer within {self.timeout} s")
            part = os.read(self.process.stdout.fileno(), 1 << 20)
            if not part:
                raise Failed(self.ended())
            self.received += part
        line, _, self.received = self.received.partition(b"\n")
        answer = json.loads(line)
        if "error" in answer:
            raise Failed(answer["error"])
        return answer

    def ended(self):
        last = self.log.read_text(errors="replace").strip().splitlines()[-1:]
        return f"ended with code {self.process.wait()}: {' '.join(last)} (see {self.log.name})"

    def stop(self):
        self.process.stdin.close()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()


class System:
    """A system by name: the command that starts it and, after `hello`, what it can do."""

    def __init__(self, name, command, ours):
        self.name, self.command, self.ours = name, command, ours
        self.missing = None
        self.hello = {"works": [], "unchecked": [], "versions": {}, "what": ""}


class Run:
    def __init__(self, arguments):
        self.arguments = arguments
        self.out = arguments.out.resolve()
        self.out.mkdir(parents=True, exist_ok=True)
        for log in self.out.glob("*.log"):
            log.unlink()
        self.core = arguments.core
        if self.core is None and hasattr(os, "sched_getaffinity"):
            self.core = max(os.sched_getaffinity(0))
        self.environment = environment(self.out)
        self.results = []
        self.baseline = None

    def say(self, text):
        print(text, file=sys.stderr, flush=True)

    # What there is to measure

    def prepare(self):
        arguments = self.arguments
        binaries = arguments.binaries or self.build()
        for program in ["peer", "prepare"]:
            if not (binaries / program).exists():
                raise SystemExit(f"no program {program} in {binaries}; cargo build --release -p elman-benches makes it")
        self.peer = str(binaries / "peer")
        self.file = str(self.out / "workload.safetensors")
        command = [str(binaries / "prepare"), "--out", self.file]
        command += ["--data", str(arguments.data)] if arguments.data else []
        self.say(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.strip())
        self.corpus = Corpus(self.file, arguments.sentences)

    def build(self):
        command = ["cargo", "build", "--release", "-p", "elman-benches", "--bins", "--message-format=json"]
        self.say(" ".join(command[:-1]))
        built = subprocess.run(command, check=True, cwd=PROJECT, stdout=subprocess.PIPE, text=True)
        messages = [json.loads(line) for line in built.stdout.splitlines()]
        folders = {pathlib.Path(m["executable"]).parent for m in messages if m.get("executable")}
        if len(folders) != 1:
            raise SystemExit(f"cargo built programs in {len(folders)} folders, expected 1")
        return folders.pop()

    def find_systems(self):
        arguments = self.arguments
        listed = subprocess.run([self.peer, "--list"], check=True, stdout=subprocess.PIPE, text=True)
        kernels = listed.stdout.split()
        if self.arguments.kernels:
            unknown = set(self.arguments.kernels) - set(kernels)
            if unknown:
                raise SystemExit(f"no kernel {', '.join(sorted(unknown))}; there are {', '.join(kernels)}")
            kernels = [kernel for kernel in kernels if kernel in self.arguments.kernels]
        self.systems = [System(name, [self.peer, "--kernel", name], True) for name in kernels]
        python = self.arguments.venv / "bin" / "python"
        # The table of names imports nothing.
        sys.path.insert(0, str(HERE))
        sys.dont_write_bytecode = True
        from systems import SYSTEMS

        there = [*SYSTEMS, *RUST_SYSTEMS]
        wanted = arguments.systems if arguments.systems is not None else there
        unknown = set(wanted) - set(there)
        if unknown:
            raise SystemExit(f"no system {', '.join(sorted(unknown))}; there are {', '.join(there)}")
        in_python = [System(name, [str(python.absolute()), "peer.py", name], False) for name in wanted if name in SYSTEMS]
        if not python.exists():
            for system in in_python:
                system.missing = "no Python environment; run benches/peers/setup.sh"
        self.systems += in_python + self.rust_systems([name for name in wanted if name in RUST_SYSTEMS])
        self.baseline = self.arguments.baseline or kernels[-1]
        if self.baseline not in kernels:
            raise SystemExit(f"no kernel {self.baseline} to compare with; there are {', '.join(kernels)}")
        for system in self.systems:
            if system.missing:
                self.say(f"missing: {system.name}: {system.missing}")
                continue
            try:
                process = Process(system, self)
            except OSError as error:
                system.missing = f"does not start: {error.strerror}"
            else:
                try:
                    system.hello = process.ask("hello")
                except Failed as failure:
                    system.missing = str(failure)
                process.stop()
            if system.missing:
                self.say(f"missing: {system.name}: {system.missing}")
        if any(system.ours and system.missing for system in self.systems):
            raise SystemExit("one of our own programs does not run")

    def rust_systems(self, names):
        """The systems of benches/peers/rust. Those that do not build are missing, with the compiler's reason."""
        if not names:
            return []
        program, reasons = self.arguments.rust_peers, {}
        if program is None:
            program, reason = self.build_rust(names)
            if program is None and len(names) > 1:
                # One is enough to refuse them all, so one after the other.
                alone = {name: self.build_rust([name]) for name in names}
                reasons = {name: reason for name, (built, reason) in alone.items() if built is None}
                good = [name for name in names if name not in reasons]
                program, _ = self.build_rust(good) if good else (None, None)
            elif program is None:
                reasons = {names[0]: reason}
        systems = [System(name, [str(program), name], False) for name in names]
        for system in systems:
            system.missing = reasons.get(system.name)
        return systems

    def build_rust(self, names):
        """(program, None) or (None, reason)."""
        command = ["cargo", "build", "--release", "--locked", "--manifest-path", str(HERE / "rust" / "Cargo.toml")]
        command += ["--target-dir", str(self.out / "rust"), "--no-default-features", "--features", ",".join(names)]
        self.say(f"cargo build --release, in benches/peers/rust, --features {','.join(names)}")
        try:
            built = subprocess.run(
                [*command, "--message-format=json-render-diagnostics"],
                cwd=PROJECT,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        except FileNotFoundError:
            return None, "no cargo"
        if built.returncode != 0:
            errors = [line for line in built.stderr.splitlines() if line.startswith("error")]
            return None, "does not build: " + (errors or ["cargo failed"])[0]
        messages = [json.loads(line) for line in built.stdout.splitlines()]
        programs = [m["executable"] for m in messages if m.get("executable") and m["target"]["kind"] == ["bin"]]
        return programs[0], None

    # Measuring

    def measure(self, name, jobs):
        """Every job in turn, by all systems that can do it, each in one process for all the jobs. A job is
        (work, request, request of the first round)."""
        works = {work for work, _, _ in jobs}
        processes, failures = {}, {}
        for system in self.systems:
            if not system.missing and works & set(system.hello["works"]):
                processes[system.name] = (system, Process(system, self))
        for work, request, warm_up in jobs:
            label = " ".join([work, *(f"{key}={value}" for key, value in request.items() if key in GRID_KEYS)])
            self.say(label)
            rounds, checks = {}, {}
            for number in range(self.arguments.rounds + 1):
                for system, process in rotated(processes.values(), number):
                    if work not in system.hello["works"] or system.name in failures:
                        continue
                    try:
                        answer = process.ask(work, **(request if number else request | warm_up))
                    except Failed as failure:
                        failures[system.name] = str(failure)
                        self.say(f"  {system.name}: {failure}")
                        continue
                    if number == 0:
                        checks[system.name] = answer
                    else:
                        rounds.setdefault(system.name, []).append(answer)
            self.results.append(self.result(work, request, rounds, checks, failures))
        for system, process in processes.values():
            if system.name not in failures:
                memory = process.ask("memory")["peak_bytes"]
                for result in self.results[-len(jobs) :]:
                    if system.name in result["systems"]:
                        result["systems"][system.name]["peak_bytes"] = memory
            process.stop()

    def measure_start(self):
        """From the start of a process to the labels of its first sentence; a new process each time."""
        self.say("first_tag")
        rounds, checks, failures, memory = {}, {}, {}, {}
        for number in range(self.arguments.rounds + 1):
            for system in rotated(self.systems, number):
                if "first_tag" not in system.hello["works"] or system.missing or system.name in failures:
                    continue
                process = Process(system, self)
                try:
                    answer = process.ask("first_tag", file=self.file)
                    seconds = time.perf_counter() - process.started
                    memory[system.name] = process.ask("memory")["peak_bytes"]
                except Failed as failure:
                    failures[system.name] = str(failure)
                    self.say(f"  {system.name}: {failure}")
                    continue
                finally:
                    process.stop()
                # The first one may fill caches on disk.
                if number == 0:
                    checks[system.name] = answer
                else:
                    rounds.setdefault(system.name, []).append({"seconds": seconds})
        result = self.result("first_tag", {}, rounds, checks, failures)
        for name, bytes in memory.items():
            if name in result["systems"]:
                result["systems"][name]["peak_bytes"] = bytes
        self.results.append(result)

    def result(self, work, request, rounds, checks, failures):
        """Medians and ratios of one job; a ratio is the median of the ratios within each round."""
        key = "median" if work == "tag_one" else "seconds"
        base = [answer[key] for answer in rounds.get(self.baseline, [])]
        systems = {}
        for system in self.systems:
            if system.name in failures and work in system.hello["works"]:
                systems[system.name] = {"failure": failures[system.name]}
            elif system.name in rounds:
                times = [answer[key] for answer in rounds[system.name]]
                entry = {"seconds": statistics.median(times), "rounds": times}
                entry["ratio"] = statistics.median(a / b for a, b in zip(times, base)) if base else None
                if work == "tag_one":
                    entry["p99"] = statistics.median(answer["p99"] for answer in rounds[system.name])
                for name in ("loss", "checks"):
                    if name in checks[system.name]:
                        entry[name] = checks[system.name][name]
                if work in system.hello["unchecked"]:
                    entry["check"] = "not compared"
                elif self.baseline in checks:
                    entry["check"] = check(checks[system.name], checks[self.baseline])
                systems[system.name] = entry
        return {"work": work, "request": {k: v for k, v in request.items() if k != "file"}, "systems": systems}

    def everything(self):
        arguments = self.arguments
        works = arguments.works
        load = {"file": self.file, "sentences": arguments.sentences}
        if "sgd_epoch" in works:
            self.measure("sgd_epoch", [("sgd_epoch", load | {"lr": LR}, {})])
        if "minibatch_epoch" in works:
            jobs = [("minibatch_epoch", load | {"lr": LR, "batch": size}, {}) for size in arguments.batches]
            self.measure("minibatch_epoch", jobs)
        tag = load | {"labels": False}
        if "tag_one" in works:
            self.measure("tag_one", [("tag_one", tag, {"labels": True})])
        if "tag_all" in works:
            self.measure("tag_all", [("tag_all", tag, {"labels": True})])
        for work in [work for work in GRIDS if work in works]:
            quick, normal = (QUICK_GRID, GRID) if gates(work) == 1 else (QUICK_GATED_GRID, GATED_GRID)
            cells = arguments.grid or (quick if arguments.quick else normal)
            sizes = [{"batch": b, "input": i, "hidden": h, "steps": STEPS} for b, i, h in cells]
            jobs = [(work, size | {"budget": arguments.budget}, {"budget": 0}) for size in sizes]
            self.measure(work, jobs)
        if "first_tag" in works:
            self.measure_start()


GRID_KEYS = ("batch", "input", "hidden", "steps")


class Corpus:
    """What the workload file says about itself."""

    def __init__(self, path, sentences):
        with open(path, "rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            self.header = json.loads(file.read(length))
            counts = {}
            for part in ("train", "test"):
                begin, end = self.header[f"{part}.lengths"]["data_offsets"]
                file.seek(8 + length + begin)
                lengths = struct.unpack(f"<{(end - begin) // 8}q", file.read(end - begin))
                lengths = lengths[: sentences or None]
                counts[part] = (len(lengths), sum(lengths))
        self.metadata = self.header["__metadata__"]
        (self.train_sentences, self.train_words), (self.test_sentences, self.test_words) = counts.values()


def check(found, expected):
    """Whether two systems computed the same: `agrees`, or what differs."""
    pairs = {"loss": (found.get("loss"), expected.get("loss"))}
    pairs |= {k: (v, expected["checks"].get(k)) for k, v in (found.get("checks") or {}).items()}
    for name, (a, b) in pairs.items():
        if a is not None and not abs(a - b) <= AGREEMENT * abs(b):
            return f"{name} {a:.6g}, expected {b:.6g}"
    if "labels" in found:
        a, b = found["labels"], expected["labels"]
        if len(a) != len(b):
            return f"{len(a)} labels, expected {len(b)}"
        apart = sum(x != y for x, y in zip(a, b))
        if apart > LABELS_APART * len(b):
            return f"{apart} of {len(b)} labels differ"
        if apart:
            return f"agrees ({apart} of {len(b)} labels differ)"
    return "agrees"


def rotated(items, number):
    items = list(items)
    number %= max(1, len(items))
    return items[number:] + items[:number]


def environment(out):
    """One thread for everyone, caches of compiled code in the output folder, no GPU."""
    result = {k: v for k, v in os.environ.items() if k not in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")}
    for library in ("OMP", "OPENBLAS", "MKL", "NUMBA", "RAYON"):
        result[f"{library}_NUM_THREADS"] = "1"
    caches = out / "caches"
    return result | {
        "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false",
        "JAX_PLATFORMS": "cpu",
        "JAX_COMPILATION_CACHE_DIR": str(caches / "jax"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "CUDA_VISIBLE_DEVICES": "",
        "NUMBA_CACHE_DIR": str(caches / "numba"),
        "PYTENSOR_FLAGS": f"base_compiledir={caches / 'pytensor'}",
        "PYTHONPYCACHEPREFIX": str(caches / "python"),
        "PYTHONWARNINGS": "ignore",
    }


# The report


TITLES = {
    "sgd_epoch": "One epoch, a step for each sentence",
    "minibatch_epoch": "One epoch, {batch} sentences a step",
    "tag_one": "Tagging, one sentence at a time",
    "tag_all": "Tagging, all sentences at once",
    "first_tag": "From the start of the process to the first labels",
    "recurrence_forward": "The recurrence alone, T = {steps}, forward",
    "recurrence_backward": "The recurrence alone, T = {steps}, forward and backward",
    "gru_forward": "The recurrence of a GRU, T = {steps}, forward",
    "gru_backward": "The recurrence of a GRU, T = {steps}, forward and backward",
    "lstm_forward": "The recurrence of an LSTM, T = {steps}, forward",
    "lstm_backward": "The recurrence of an LSTM, T = {steps}, forward and backward",
}


def duration(seconds):
    for unit, factor in [("s", 1), ("ms", 1e3), ("µs", 1e6)]:
        if seconds * factor >= 1:
            return f"{seconds * factor:.3g} {unit}"
    return f"{seconds * 1e9:.3g} ns"


def table(head, rows):
    lines = [head, ["---"] * len(head), *rows]
    return ["| " + " | ".join(line) + " |" for line in lines]


def work_table(run, result):
    corpus = run.corpus
    words = {"sgd_epoch": corpus.train_words, "minibatch_epoch": corpus.train_words, "tag_all": corpus.test_words}
    words = words.get(result["work"])
    head = ["system", "time", f"times {run.baseline}"]
    head += ["p99"] if result["work"] == "tag_one" else []
    head += ["words/s"] if words else []
    head += ["peak memory", "numbers"]
    rows = []
    entries = result["systems"]
    for name in sorted(entries, key=lambda name: entries[name].get("seconds", float("inf"))):
        entry = entries[name]
        if "failure" in entry:
            rows.append([name, *["-"] * (len(head) - 2), f"failed: {entry['failure']}"])
            continue
        row = [name, duration(entry["seconds"]), f"{entry['ratio']:.2f}" if entry["ratio"] else "-"]
        row += [duration(entry["p99"])] if result["work"] == "tag_one" else []
        row += [f"{words / entry['seconds']:,.0f}"] if words else []
        memory = entry.get("peak_bytes")
        rows.append([*row, f"{memory / 2**20:.0f} MiB" if memory else "-", entry.get("check", "-")])
    return table(head, rows)


def flops(result):
    """The operations of a cell of the grid, those of the matrix products."""
    size, work = result["request"], result["work"]
    forward = 2 * size["steps"] * size["batch"] * gates(work) * size["hidden"] * (size["input"] + size["hidden"])
    return forward * 3 if work.endswith("_backward") else forward


def grid_table(run, results):
    """GFLOP/s by cell and system, and the best of the others over the baseline."""
    names = [s.name for s in run.systems if any(s.name in r["systems"] for r in results)]
    rows, notes = [], []
    for result in results:
        size, entries = result["request"], result["systems"]
        row = ["{batch},{input},{hidden}".format(**size)]
        for name in names:
            entry = entries.get(name, {})
            checked = entry.get("check", "agrees")
            mark = "" if checked.startswith("agrees") else "*"
            if mark:
                notes.append(f"`{row[0]}` {name}: {checked}")
            if "failure" in entry:
                notes.append(f"`{row[0]}` {name}: failed: {entry['failure']}")
            row.append(f"{flops(result) / entry['seconds'] / 1e9:.1f}{mark}" if "seconds" in entry else "-")
        others = {s.name: entries[s.name]["ratio"] for s in run.systems
                  if not s.ours and entries.get(s.name, {}).get("ratio")}  # fmt: skip
        best = min(others, key=others.get) if others else None
        rows.append([*row, f"{best} {others[best]:.2f}" if best else "-"])
    lines = table(["B,I,H", *names, f"best other: times {run.baseline}"], rows)
    if notes:
        lines += ["", "\\* " + "; ".join(dict.fromkeys(notes)) + "."]
    return ["GFLOP/s.", "", *lines]


def title(result):
    return TITLES[result["work"]].format(**result["request"])


def report(run, machine):
    arguments = run.arguments
    size = run.corpus.metadata
    corpus = run.corpus
    lines = [
        "# Side by side",
        "",
        f"Made by `{shlex.join(['benches/peers/run.py', *arguments.command_line])}` on {machine['date']}.",
        "",
        f"{machine['cpu']}, {machine['cores']} cores, {machine['system']}; one thread, "
        + (f"all on core {run.core}" if run.core is not None else "not pinned")
        + f"; load before {machine['load_before']}, after {machine['load_after']}.",
        "",
        f"Corpus: {size['corpus']}, {corpus.train_sentences} sentences ({corpus.train_words} words) to train on, "
        f"{corpus.test_sentences} ({corpus.test_words} words) to tag; vocab {size['vocab']}, embed {size['embed']}, "
        f"window {size['window']}, hidden {size['hidden']}, classes {size['classes']}.",
        "",
        f"Medians of {arguments.rounds} rounds, in which the systems take turns. A ratio is the median of the "
        f"ratios within a round: above 1, {run.baseline} is faster.",
        "",
        *table(
            ["system", "what", "versions"],
            [
                [s.name, "missing", s.missing]
                if s.missing
                else [s.name, s.hello["what"], ", ".join(f"{k} {v}" for k, v in s.hello["versions"].items())]
                for s in run.systems
            ],
        ),
    ]
    for result in run.results:
        if result["work"] not in GRIDS:
            lines += ["", f"## {title(result)}", "", *work_table(run, result)]
    for work in GRIDS:
        cells = [result for result in run.results if result["work"] == work]
        if cells:
            lines += ["", f"## {title(cells[0])}", "", *grid_table(run, cells)]
    ours = {system.name for system in run.systems if system.ours}
    faster = [
        f"- {title(r)}{' {batch},{input},{hidden}'.format(**r['request']) if 'input' in r['request'] else ''}: "
        f"{name}, {entry['ratio']:.2f} of {run.baseline}'s time"
        for r in run.results
        for name, entry in r["systems"].items()
        if name not in ours and entry.get("ratio") and entry["ratio"] < 1
    ]
    measured = any(name not in ours and "ratio" in e for r in run.results for name, e in r["systems"].items())
    nowhere = "Nowhere in this run." if measured else "No other system was measured."
    lines += ["", f"## Where others are faster than {run.baseline}", "", *(faster or [nowhere])]
    return "\n".join(lines) + "\n"


def machine():
    cpu = platform.processor() or platform.machine()
    if os.path.exists("/proc/cpuinfo"):
        with open("/proc/cpuinfo") as info:
            cpu = next((line.split(":", 1)[1].strip() for line in info if line.startswith("model name")), cpu)
    return {
        "cpu": cpu,
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.release()}",
        "date": datetime.date.today().isoformat(),
        "load_before": f"{os.getloadavg()[0]:.1f}",
    }


def without_folders(arguments):
    """A path of this machine means nothing elsewhere: only its last part is reported."""
    found = []
    for before, argument in zip(["", *arguments], arguments):
        option, equals, value = argument.rpartition("=")
        path = (option or before) in ("--data", "--out", "--venv", "--binaries", "--rust-peers")
        found.append(option + equals + (pathlib.Path(value).name if path else value))
    return found


def public(run, text):
    """A message of a system, without the folders of this machine."""
    for folder, name in [(run.out, "OUT"), (PROJECT, "PROJECT"), (run.arguments.venv, "VENV"), (pathlib.Path.home(), "~")]:
        text = text.replace(str(folder.absolute()), name)
    return text


def write(path, text):
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(text)
    os.replace(temporary, path)


def names(text):
    return [name for name in text.split(",") if name]


def grid(text):
    try:
        sizes = [[int(size) for size in cell.split("x")] for cell in names(text)]
        return [(batch, hidden, hidden) for batch, hidden in sizes]
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected sizes like 1x64,16x256, found {text}")


def works(text):
    return [work for name in names(text) for work in GROUPS.get(name, [name])]


def path(text):
    """Absolute, as the systems are started in another folder. Links stay: a virtual environment is known by its own."""
    return pathlib.Path(text).absolute()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=path, help="folder with train.conll and test.conll (default: the demo's corpus)")
    parser.add_argument("--out", type=path, default=PROJECT / "target" / "peers", help="folder for the results")
    parser.add_argument("--venv", type=path, default=PROJECT / "target" / "peers-venv", help="made by setup.sh")
    parser.add_argument("--binaries", type=path, help="folder with our programs (default: build them)")
    parser.add_argument("--rust-peers", type=path, help="the program of benches/peers/rust (default: build it)")
    parser.add_argument("--kernels", type=names, help="ours, by name, separated by commas (default: all)")
    parser.add_argument("--systems", type=names, help="the others (default: all)")
    parser.add_argument("--works", type=works, default=WORKS, help=f"of {', '.join([*WORKS, *GROUPS])} (default: all)")
    parser.add_argument("--baseline", help="the kernel that ratios refer to (default: the last one)")
    parser.add_argument("--batches", type=lambda text: [int(n) for n in names(text)], default=[32], help="sentences a step")
    parser.add_argument("--grid", type=grid, help="of the recurrence, as 1x64,16x256: batch and hidden, as many inputs")
    parser.add_argument("--rounds", type=int, help="rounds after the first, which does not count (5)")
    parser.add_argument("--sentences", type=int, help="use only so many (default: all)")
    parser.add_argument("--budget", type=float, help="seconds for each cell of the grid in each round (0.5)")
    parser.add_argument("--core", type=int, help="the core that all run on (default: the last)")
    parser.add_argument("--timeout", type=float, default=1800, help="seconds to wait for one answer")
    parser.add_argument("--quick", action="store_true", help="2 rounds, 100 sentences, a small grid: to try it out")
    arguments = parser.parse_args()
    arguments.command_line = without_folders(sys.argv[1:])
    for name, normal, quick in [("rounds", 5, 2), ("sentences", 0, 100), ("budget", 0.5, 0.02)]:
        if getattr(arguments, name) is None:
            setattr(arguments, name, quick if arguments.quick else normal)
    if arguments.rounds < 1:
        parser.error("--rounds must be at least 1")
    unknown = sorted(set(arguments.works) - set(WORKS))
    if unknown:
        parser.error(f"--works: no work {', '.join(unknown)}; there are {', '.join([*WORKS, *GROUPS])}")

    run = Run(arguments)
    facts = machine()
    run.prepare()
    run.find_systems()
    run.everything()
    facts["load_after"] = f"{os.getloadavg()[0]:.1f}"
    text = report(run, facts)
    systems = {
        s.name: {"ours": s.ours} | ({"missing": s.missing} if s.missing else s.hello) for s in run.systems
    }
    everything = {
        "command": arguments.command_line,
        "machine": facts | {"core": run.core},
        "corpus": run.corpus.metadata,
        "counts": {
            name: getattr(run.corpus, name)
            for name in ("train_sentences", "train_words", "test_sentences", "test_words")
        },
        "baseline": run.baseline,
        "systems": systems,
        "results": run.results,
    }
    write(run.out / "results.json", public(run, json.dumps(everything, indent=1)) + "\n")
    text = public(run, text)
    write(run.out / "results.md", text)
    print(text, end="")
    entries = [(r["work"], name, e) for r in run.results for name, e in r["systems"].items()]
    wrong = [
        f"{work}: {name}: {entry.get('failure') or entry['check']}"
        for work, name, entry in entries
        if "failure" in entry or not entry.get("check", "agrees").startswith(("agrees", "not compared"))
    ]
    if wrong:
        raise SystemExit("\n".join(["not all is as it should be:", *wrong]))


if __name__ == "__main__":
    main()
