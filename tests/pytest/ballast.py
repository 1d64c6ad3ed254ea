"""Boots Ballast guests from Python and reads their reports.

The only interface is the command line of ``vmm`` and the JSON of ``--report``, which docs/report.md describes.
``VMM_BIN`` names the program; without it, the release build of this repository is taken.
"""

import json
import os
import pathlib
import subprocess
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
VMM = os.environ.get("VMM_BIN", str(ROOT / "target/release/vmm"))


class Run:
    """A guest that has ended: ``status``, ``stdout``, ``stderr``, and ``report`` as a dictionary."""

    def __init__(self, process, report):
        self.status = process.returncode
        self.stdout = process.stdout
        self.stderr = process.stderr
        self.report = report

    def output(self, command):
        """What the first command that begins with these words printed."""
        return self._find(command)["output"]

    def facts(self, command):
        """Its ``key=value`` words as one dictionary; the first of equal keys counts."""
        found = {}
        for line in self._find(command)["facts"]:
            for key, value in line.items():
                found.setdefault(key, value)
        return found

    def _find(self, command):
        commands = self.report["commands"]
        matching = [each for each in commands if (each["command"] or "").startswith(command)]
        assert matching, f"{command!r} did not run; these did: {[each['command'] for each in commands]}"
        return matching[0]


def boot(*commands, options=(), timeout=120):
    """Runs the commands in a guest of ``vmm run`` with these options, to its end."""
    with tempfile.TemporaryDirectory() as directory:
        path = pathlib.Path(directory) / "report.json"
        words = [VMM, "run", *options, "--report", str(path), "--timeout", str(timeout)]
        words += ["--run", "; ".join(commands)]
        process = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        report = json.loads(path.read_text()) if path.exists() else None
        return Run(process, report)
