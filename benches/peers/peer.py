"""One system of the comparison: answers each request, a line of JSON on the standard input, with a line of
JSON on the standard output. README.md describes the protocol.

    python peer.py NAME
"""

import importlib
import importlib.metadata
import json
import math
import os
import platform
import sys
import time

from systems import SYSTEMS

clock = time.perf_counter


class Peer:
    def __init__(self, name):
        module, kind, arguments = SYSTEMS[name]
        self.name = name
        self.system = getattr(importlib.import_module(f"systems.{module}"), kind)(*arguments)
        self.file = None
        have = lambda method, flag="": hasattr(self.system, method) and getattr(self.system, flag, True)
        self.works = ["sgd_epoch"] * have("trainer") + ["minibatch_epoch"] * have("trainer", "minibatches")
        self.works += ["tag_one", "tag_all", "first_tag"] * have("tagger")
        self.works += ["recurrence_forward"] * have("recurrence")
        self.works += ["recurrence_backward"] * have("recurrence", "gradients")
        self.works += ["gru_forward"] * have("gru")
        self.works += ["gru_backward"] * have("gru", "gradients")
        self.works += ["lstm_forward"] * have("lstm")
        self.works += ["lstm_backward"] * have("lstm", "gradients")

    def load(self, file):
        from systems.inputs import Workload

        if file != self.file:
            self.workload, self.file = Workload.load(file), file
            self.trainer = self.tagger = None
            self.batches = {}

    def hello(self):
        versions = {package: importlib.metadata.version(package) for package in self.system.packages}
        return {
            "name": self.name,
            "what": self.system.what,
            "versions": {"python": platform.python_version()} | versions,
            "works": self.works,
            "unchecked": list(self.system.unchecked),
            "libraries": libraries(),
        }

    def sgd_epoch(self, file, sentences, lr):
        return self.minibatch_epoch(file, sentences, lr, 1)

    def minibatch_epoch(self, file, sentences, lr, batch):
        from systems.inputs import batches

        self.load(file)
        if self.trainer is None:
            self.trainer = self.system.trainer(self.workload)
        if (sentences, batch) not in self.batches:
            parts = batches(self.workload, sentences, batch)
            self.batches[sentences, batch] = [self.trainer.batch(part) for part in parts]
        count = min(sentences or len(self.workload.train), len(self.workload.train))
        parts = self.batches[sentences, batch]
        self.trainer.reset()
        start = clock()
        losses = self.trainer.epoch(parts, lr)
        return {"seconds": clock() - start, "loss": losses / count}

    def prepared_tagger(self, file, sentences):
        self.load(file)
        if self.tagger is None:
            self.tagger = self.system.tagger(self.workload)
        return self.tagger, self.workload.test[: sentences or None]

    def tag_one(self, file, sentences, labels):
        tagger, test = self.prepared_tagger(file, sentences)
        found, seconds = [], []
        for words in test:
            start = clock()
            tags = tagger.tag(words)
            seconds.append(clock() - start)
            found.append(tags)
        answer = {"seconds": sum(seconds), "median": quantile(seconds, 0.5), "p99": quantile(seconds, 0.99)}
        return answer | ({"labels": flat(found)} if labels else {})

    def tag_all(self, file, sentences, labels):
        tagger, test = self.prepared_tagger(file, sentences)
        start = clock()
        found = tagger.tag_all(test)
        seconds = clock() - start
        return {"seconds": seconds} | ({"labels": flat(found)} if labels else {})

    def first_tag(self, file):
        return self.tag_one(file, 1, True)

    def recurrence_forward(self, **sizes):
        return self.alone(self.system.recurrence, 1, backward=False, **sizes)

    def recurrence_backward(self, **sizes):
        return self.alone(self.system.recurrence, 1, backward=True, **sizes)

    def gru_forward(self, **sizes):
        return self.alone(self.system.gru, 3, backward=False, **sizes)

    def gru_backward(self, **sizes):
        return self.alone(self.system.gru, 3, backward=True, **sizes)

    def lstm_forward(self, **sizes):
        return self.alone(self.system.lstm, 4, backward=False, **sizes)

    def lstm_backward(self, **sizes):
        return self.alone(self.system.lstm, 4, backward=True, **sizes)

    def alone(self, prepare, gates, backward, batch, input, hidden, steps, budget):
        """The recurrence alone, of a cell with so many gates."""
        from systems.inputs import Cell, fingerprint

        inputs = Cell(batch, input, hidden, steps, gates)
        recurrence = prepare(inputs)
        call = recurrence.backward if backward else lambda: (recurrence.forward(),)
        # The first call may compile.
        h, *gradient = call()
        by_sequence = lambda tensor: to_numpy(tensor).reshape(steps, batch, -1).transpose(1, 0, 2)
        checks = {"h": fingerprint(by_sequence(h))}
        if backward:
            xs, *cell = gradient
            checks["xs"] = fingerprint(by_sequence(xs))
            checks |= {name: fingerprint(to_numpy(g)) for name, g in zip(inputs.names, cell, strict=True)}
        seconds = []
        begin = clock()
        while len(seconds) < 3 or clock() - begin < budget:
            start = clock()
            call()
            seconds.append(clock() - start)
        return {"seconds": quantile(seconds, 0.5), "calls": len(seconds), "checks": checks}

    def memory(self):
        """The largest resident set that this process ever had, as Linux reports it; elsewhere none."""
        if not os.path.exists("/proc/self/status"):
            return {"peak_bytes": None}
        with open("/proc/self/status") as status:
            line = next(line for line in status if line.startswith("VmHWM:"))
        return {"peak_bytes": int(line.split()[1]) * 1024}


def to_numpy(tensor):
    import numpy as np

    return tensor.detach().numpy() if hasattr(tensor, "detach") else np.asarray(tensor)


def flat(found):
    return [int(label) for labels in found for label in labels]


def quantile(values, share):
    """The smallest value that at least `share` of all values do not exceed (nearest rank)."""
    return sorted(values)[math.ceil(share * len(values)) - 1]


def libraries():
    """The BLAS libraries loaded now, and which of their kernels run."""
    try:
        from threadpoolctl import threadpool_info
    except ImportError:
        return []
    keys = ["internal_api", "version", "architecture", "num_threads"]
    return [{key: library[key] for key in keys if key in library} for library in threadpool_info()]


def main():
    # What a library prints must not get between the answers.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    peer = None
    for line in sys.stdin:
        try:
            request = json.loads(line)
            if peer is None:
                peer = Peer(sys.argv[1])
            work = request.pop("work")
            if work not in ["hello", "memory", *peer.works]:
                raise ValueError(f"{peer.name} does not do {work!r}")
            answer = getattr(peer, work)(**request)
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}".splitlines()[0]}
        print(json.dumps(answer), file=answers)


if __name__ == "__main__":
    main()
