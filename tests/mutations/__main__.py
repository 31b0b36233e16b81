"""Takes away one protection after another, and looks whether the test that watches over it fails.

``python -m tests.mutations`` does so with all of the catalogue, in copies of the tree.
"""

from __future__ import annotations

import argparse
import compileall
import dataclasses
import json
import os
import queue
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.mutations.catalogue import MUTATIONS
from tests.mutations.mutation import Mutation

ROOT = Path(__file__).parents[2]
PACKAGE = "measurefs"
PATIENCE = 120
"""Seconds after which a run is ended. A mutation that makes its test hang counts as not caught."""

_QUIET = ("-x", "-q", "--tb=line", "-p", "no:cacheprovider", "--hypothesis-seed=0")
_BROKEN = re.compile("NameError|UnboundLocalError|SyntaxError|ImportError")
_SKIPPED = shutil.ignore_patterns("__pycache__", ".hypothesis")


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What became of a run: which tests failed with what, or why it tells nothing."""

    failed: dict[str, str]
    problem: str | None
    seconds: float


class Tree:
    """A copy of what the tests need, in which one file at a time is changed."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @classmethod
    def copied(cls, root: Path) -> Tree:
        """Copy the repository."""
        for name in ("measurefs", "tests"):
            shutil.copytree(ROOT / name, root / name, ignore=_SKIPPED)
        shutil.copytree(ROOT / "backends", root / "measurefs" / "backends", ignore=_SKIPPED)
        shutil.copy(ROOT / "pyproject.toml", root)
        compileall.compile_dir(root, quiet=1)  # once, and not in every run
        return cls(root)

    def another(self, root: Path) -> Tree:
        """Copy the copy."""
        shutil.copytree(self.root, root)
        return Tree(root)

    def run(self, tests: Sequence[str], module: str) -> Outcome:
        """Run tests here; module is one that they must have loaded from here."""
        notes = self.root / "notes.json"
        notes.unlink(missing_ok=True)
        command = [
            sys.executable,
            "-m",
            "tests.mutations.child",
            str(notes),
            module,
            *_QUIET,
            *tests,
        ]
        began = time.monotonic()
        problem = _finished(command, self.root, caching=module == PACKAGE)
        seconds = time.monotonic() - began
        if problem is not None:
            return Outcome({}, problem, seconds)
        noted = json.loads(notes.read_text())
        if noted["code"] not in (0, 1):
            problem = f"pytest could not run it (exit code {noted['code']})"
        elif noted["loaded"] is None or not Path(noted["loaded"]).is_relative_to(self.root):
            problem = f"{module} was loaded from {noted['loaded']}"
        elif any(_BROKEN.match(raised) for raised in noted["failed"].values()):
            problem = f"it is no program any more: {noted['failed']}"
        return Outcome(noted["failed"], problem, seconds)

    def mutated(self, mutation: Mutation) -> Outcome:
        """Run a mutation's test with the mutation in place."""
        path = self.root / mutation.installed
        whole = path.read_text()
        fault = mutation.fault(whole)
        if fault is not None:
            return Outcome({}, fault, 0.0)
        times = path.stat()
        path.write_text(whole.replace(mutation.old, mutation.new))
        os.utime(path, (1, 1))  # so that no compiled file of another text is taken for this one's
        try:
            return self.run([mutation.test], mutation.module)
        finally:
            path.write_text(whole)
            os.utime(path, (times.st_atime, times.st_mtime))


def _finished(command: Sequence[str], root: Path, *, caching: bool) -> str | None:
    """Run a command to its end; return why there is no result, None if there is."""
    environment = {**os.environ, "PYTHONPATH": str(root), "PYTHONDONTWRITEBYTECODE": "" if caching else "1"}
    with (root / "output.txt").open("w") as output:
        process = subprocess.Popen(
            command,
            cwd=root,
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            return f"it hangs (ended after {PATIENCE} s)"
        finally:
            _end_all_of(process)
    if not (root / "notes.json").exists():
        return f"the run broke off: {(root / 'output.txt').read_text()[-500:]}"
    return None


def _end_all_of(process: subprocess.Popen[bytes]) -> None:
    """End what a run has left behind, such as a server of its tests."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    finally:
        process.wait()


def run_all(mutations: Sequence[Mutation], jobs: int, *, reasons: bool = False) -> dict[str, Outcome]:
    """Run the tests unchanged, which must pass, and then each mutation's."""
    with tempfile.TemporaryDirectory(prefix="mutations-") as directory, ThreadPoolExecutor(jobs) as pool:
        first = Tree.copied(Path(directory, "0"))
        trees = [first, *(first.another(Path(directory, str(number))) for number in range(1, jobs))]
        tests = sorted({mutation.test for mutation in mutations})
        began = time.monotonic()
        for number, problem in enumerate(pool.map(_problem_unchanged, trees, _shares(tests, jobs))):
            if problem is not None:
                raise SystemExit(f"the tests do not pass as they are (job {number}): {problem}")
        print(f"{len(tests)} tests pass unchanged, in {time.monotonic() - began:.0f} s", flush=True)
        free: queue.SimpleQueue[Tree] = queue.SimpleQueue()
        for tree in trees:
            free.put(tree)

        def work(mutation: Mutation) -> Outcome:
            tree = free.get()
            try:
                outcome = tree.mutated(mutation)
            finally:
                free.put(tree)
            print(_line(mutation, outcome), flush=True)
            if reasons:
                print(*outcome.failed.values(), sep="\n", flush=True)
            return outcome

        outcomes = pool.map(work, mutations)
        return {mutation.name: outcome for mutation, outcome in zip(mutations, outcomes, strict=True)}


def _shares(tests: Sequence[str], jobs: int) -> list[Sequence[str]]:
    return [tests[number::jobs] for number in range(jobs)]


def _problem_unchanged(tree: Tree, tests: Sequence[str]) -> str | None:
    if not tests:
        return None
    outcome = tree.run(tests, PACKAGE)
    if not outcome.failed and outcome.problem is None:
        return None
    return f"{outcome}\n{(tree.root / 'output.txt').read_text()[-3000:]}"


def _line(mutation: Mutation, outcome: Outcome) -> str:
    if outcome.problem is not None:
        verdict = f"PROBLEM: {outcome.problem}"
    else:
        verdict = next(iter(outcome.failed), f"SURVIVED {mutation.test}")
    return f"| {mutation.name} | {verdict} | {outcome.seconds:.1f} |"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.mutations", description=__doc__)
    parser.add_argument(
        "--only", metavar="NAME", action="append", help="this one; may be given several times"
    )
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, metavar="N")
    parser.add_argument("--reasons", action="store_true", help="print what each test raised, too")
    asked = parser.parse_args()
    chosen = [mutation for mutation in MUTATIONS if not asked.only or mutation.name in asked.only]
    if not chosen:
        parser.error(f"there is no such mutation; there are {', '.join(each.name for each in MUTATIONS)}")
    began = time.monotonic()
    outcomes = run_all(chosen, min(asked.jobs, len(chosen)), reasons=asked.reasons)
    caught = sum(bool(outcome.failed) and outcome.problem is None for outcome in outcomes.values())
    print(f"{caught} of {len(chosen)} mutations caught, in {time.monotonic() - began:.0f} s")
    return 0 if caught == len(chosen) else 1


if __name__ == "__main__":
    sys.exit(main())
