"""`elman tag` is a filter: programs of the shell that part a text give what one process prints. The lines are the book's."""

import os
import shutil
import subprocess
from pathlib import Path

from engines.texts import PROGRAM, digest


def test_the_lines_of_the_book(work, tmp_path):
    page = (Path(__file__).parents[4] / "docs" / "engines.md").read_text()
    lines = page.split("```text\n")[1].split("```")[0].splitlines()
    assert len(lines) == 4
    path = f"{Path(PROGRAM).parent}{os.pathsep}{os.environ['PATH']}"
    for number, line in enumerate(lines):
        folder = tmp_path / str(number)
        folder.mkdir()
        os.symlink(work.model, folder / "model")
        shutil.copy(work.text, folder / "text")
        run = subprocess.run(["sh", "-c", line], capture_output=True, cwd=folder, env={**os.environ, "PATH": path})
        assert run.returncode == 0, (line, run.stderr.decode())
        found = digest((folder / "tagged").read_bytes())
        print(f"{line}: {found}")
        assert found == work.digest, line
