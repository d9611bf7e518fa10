"""run.py with a program in our place that answers at once: python3 -m unittest discover -s benches/peers"""

import json
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

HERE = pathlib.Path(__file__).resolve().parent

# Does every work in no time; the numbers of a GRU with backward are another system's.
PEER = """#!{python}
import json, sys
if "--list" in sys.argv:
    print("fake\\nfaker")
    sys.exit()
works = ["recurrence_forward", "recurrence_backward", "gru_forward", "gru_backward"]
for line in sys.stdin:
    work = json.loads(line)["work"]
    h = 2.0 if work == "gru_backward" and "faker" in sys.argv else 1.0
    print(json.dumps({{
        "hello": {{"name": "fake", "what": "a fake", "versions": {{}}, "works": works, "unchecked": []}},
        "memory": {{"peak_bytes": None}},
    }}.get(work, {{"seconds": 1.0, "calls": 3, "checks": {{"h": h}}}})), flush=True)
"""

# A workload of one sentence of one word.
PREPARE = """#!{python}
import json, struct, sys
sizes = {{name: "1" for name in ["vocab", "embed", "window", "hidden", "classes", "corpus"]}}
lengths = {{"dtype": "I64", "shape": [1], "data_offsets": [0, 8]}}
header = json.dumps({{"__metadata__": sizes, "train.lengths": lengths, "test.lengths": lengths}}).encode()
with open(sys.argv[sys.argv.index("--out") + 1], "wb") as file:
    file.write(struct.pack("<Q", len(header)) + header + struct.pack("<q", 1))
print("prepared")
"""


@unittest.skipUnless(os.name == "posix", "run.py starts programs as on Unix")
class Run(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        (self.folder / "programs").mkdir()
        for name, text in [("peer", PEER), ("prepare", PREPARE)]:
            program = self.folder / "programs" / name
            program.write_text(text.format(python=sys.executable))
            program.chmod(0o755)

    def run_py(self, *arguments):
        """Every path is relative."""
        command = [sys.executable, "-B", str(HERE / "run.py"), "--quick", "--rounds", "1", "--out", "out", "--systems", ""]
        ended = subprocess.run([*command, *arguments], cwd=self.folder, capture_output=True, text=True)
        results = self.folder / "out" / "results.json"
        return ended, json.loads(results.read_text())["results"] if results.exists() else None

    def test_programs_in_a_relative_folder_start(self):
        ended, results = self.run_py("--binaries", "programs", "--works", "recurrence", "--kernels", "fake")
        self.assertEqual(ended.returncode, 0, ended.stderr)
        self.assertEqual({r["work"] for r in results}, {"recurrence_forward", "recurrence_backward"})

    def test_a_missing_program_is_named(self):
        ended, _ = self.run_py("--binaries", "nowhere")
        self.assertEqual(ended.returncode, 1)
        self.assertIn("no program peer in ", ended.stderr)
        self.assertNotIn("Traceback", ended.stderr)

    def test_works_are_chosen_by_the_names_that_are_printed(self):
        ended, results = self.run_py("--binaries", "programs", "--works", "gru", "--kernels", "fake")
        self.assertEqual(ended.returncode, 0, ended.stderr)
        self.assertEqual({r["work"] for r in results}, {"gru_forward", "gru_backward"})
        for printed in {line.split()[0] for line in ended.stderr.splitlines() if "batch=" in line}:
            ended, results = self.run_py("--binaries", "programs", "--works", printed)
            self.assertEqual({r["work"] for r in results}, {printed}, ended.stderr)
        ended, _ = self.run_py("--works", "gru,tea")
        self.assertIn("no work tea; there are sgd_epoch, ", ended.stderr)

    def test_a_gru_has_a_table_of_its_own_and_its_numbers_are_compared(self):
        ended, results = self.run_py("--binaries", "programs", "--works", "gru", "--baseline", "fake")
        self.assertEqual(ended.returncode, 1)
        self.assertIn("gru_backward: faker: h 2, expected 1", ended.stderr)
        self.assertNotIn("gru_forward: faker", ended.stderr)
        report = (self.folder / "out" / "results.md").read_text()
        self.assertIn("## The recurrence of a GRU, T = 64, forward and backward", report)
        # 2 · 64 steps · 16 · 3 · 256 · (256 + 256) operations in one second, and three times as many.
        self.assertIn("| 16,256,256 | 0.8 | 0.8 |", report)
        self.assertIn("| 16,256,256 | 2.4 | 2.4* |", report)


if __name__ == "__main__":
    unittest.main()
