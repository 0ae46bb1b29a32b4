"""Plant faults in the Python package one at a time; the tests must notice: `make mutants`.

mutmut writes the faults; this program runs the tests. A process imports the package with all the
faults in it, none of them active, and collects the tests once. It forks for every fault: the child
activates the fault and runs the tests of its file, recent winners first, up to the first failure.
Only tests of `make test` run.

``python .ci/mutants.py 0.1 'genomics/*'`` draws a tenth of the faults of the files that match, and
at least `MIN_FAULTS` per file; the draw is always the same. Faults that only alter the wording of a
message are not drawn.
"""

import ast
import difflib
import fnmatch
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from copy import deepcopy
from functools import cache
from pathlib import Path
from types import FunctionType
from typing import Any

import pytest
from mutmut.mutation import trampoline
from mutmut.mutation.file_mutation import mutate_file_contents

ROOT = Path(__file__).parents[1]
MIN_FAULTS = 15
JOBS = os.cpu_count() or 1

TESTS = {
    "corpus/plan.py": ("corpus/test_plan.py", "corpus/test_corpus.py::test_caps"),
    "corpus/sample.py": ("corpus/test_mixtures.py",),
    "finetuning/metrics.py": ("finetuning/test_metrics.py",),
    "genomics/attribution/config.py": ("genomics/attribution/test_parts.py",),
    "genomics/attribution/file.py": (
        "genomics/attribution/test_parts.py",
        "genomics/attribution/test_attribution.py",
    ),
    "genomics/attribution/motifs.py": ("genomics/attribution/test_motifs.py",),
    "genomics/attribution/mutagenesis.py": (
        "genomics/attribution/test_parts.py",
        "genomics/attribution/test_attribution.py",
    ),
    "genomics/attribution/tokens.py": (
        "genomics/attribution/test_parts.py",
        "genomics/attribution/test_attribution.py",
    ),
    "genomics/masked.py": ("genomics/test_masked.py",),
    "genomics/variants/alleles.py": (
        "genomics/variants/test_alleles.py",
        "genomics/variants/test_edges.py",
    ),
    "genomics/variants/config.py": ("genomics/variants/test_alleles.py",),
    "genomics/variants/scoring.py": (
        "genomics/variants/test_frames.py",
        "genomics/variants/test_variants.py",
    ),
    "genomics/variants/vcf_file.py": (
        "genomics/variants/test_written.py",
        "genomics/variants/test_edges.py",
        "genomics/variants/test_vcf.py",
    ),
    "model/batch.py": ("model/test_batch.py",),
    "pretraining/masking.py": ("pretraining/test_pretrain_batches.py",),
    "pretraining/microbatch.py": ("pretraining/test_pretrain_batches.py",),
}
"""Tests of each module, besides its own docstrings: files, or the beginning of their names."""


FUNCTIONS: list[tuple[FunctionType, dict[str, Callable[..., Any]]]] = []
"""Functions of the imported package, each with its faulty versions by name."""


def register(versions: dict[str, Callable[..., Any]], **_: bool) -> Callable[..., Any]:
    """Note a function; stands in for mutmut's wrapper, whose frames `stacklevel` would count."""

    def noted(function: FunctionType) -> FunctionType:
        FUNCTIONS.append((function, versions))
        return function

    return noted


def activate(fault: str) -> None:
    """Give a function the code of its faulty version; child processes see the variable instead."""
    os.environ["MUTANT_UNDER_TEST"] = fault
    module, _, name = fault.rpartition(".")
    for function, versions in FUNCTIONS:
        if function.__module__ == module and name in versions:
            faulty = getattr(versions[name], "__func__", versions[name])  # of a class method
            function.__code__, function.__defaults__ = faulty.__code__, faulty.__defaults__
            function.__kwdefaults__ = faulty.__kwdefaults__
            return
    raise LookupError(fault)


class WithoutTexts(ast.NodeTransformer):
    """Blank what people alone read: messages of errors and warnings, names on progress bars."""

    def __init__(self) -> None:
        self.inside = 0

    def visit(self, node: ast.AST) -> ast.AST:
        """Count how deep in such a statement or call a string lies."""
        function = getattr(node, "func", None)  # of a call
        called = getattr(function, "id", getattr(function, "attr", ""))
        if called == "progress" and isinstance(node, ast.Call):
            node.args[1:] = [ast.Constant("") for _ in node.args[1:]]
        text = isinstance(node, ast.Raise | ast.Assert) or called in ("warn", "needs")
        self.inside += text
        if self.inside and isinstance(node, ast.Constant) and isinstance(node.value, str):
            node = ast.Constant("")
        node = super().visit(node)
        self.inside -= text
        return node


class Faults:
    """The faults of one module: names, and the text of each function with and without them."""

    def __init__(self, file: str) -> None:
        path = Path("python", "dnabert2_fast", file)
        module = "dnabert2_fast." + file.removesuffix(".py").replace("/", ".")
        written = mutate_file_contents(path.name, path.read_text())
        path.write_text(written.code)
        self.functions = {
            node.name: node
            for node in ast.walk(ast.parse(written.code))
            if isinstance(node, ast.FunctionDef)
        }
        plain = cache(self._without_texts)
        names = [name for name in written.mutant_names if plain(name) != plain(self.original(name))]
        self.wording = len(written.mutant_names) - len(names)
        self.names = sorted(f"{module}.{name}" for name in names)

    @staticmethod
    def original(name: str) -> str:
        """Return the name of the function that a fault is in."""
        return name.rpartition("__mutmut_")[0] + "__mutmut_orig"

    def _without_texts(self, name: str) -> str:
        function = WithoutTexts().visit(deepcopy(self.functions[name]))
        assert isinstance(function, ast.FunctionDef)
        function.name = ""
        return ast.dump(function)

    def difference(self, fault: str) -> str:
        """Return the lines that a fault alters."""
        name = fault.rpartition(".")[2]
        there, here = (
            ast.unparse(self.functions[one]).splitlines() for one in (self.original(name), name)
        )
        lines = list(difflib.unified_diff(there, here, n=0, lineterm=""))[2:]
        return "\n".join(
            f"    {line}" for line in lines if line[0] in "+-" and "__mutmut_" not in line
        )


class Planter:
    """A plugin of pytest that runs the collected tests once for each fault."""

    def __init__(self, faults: dict[str, Faults], share: float) -> None:
        self.faults, self.share = faults, share

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Try the faults of every module, and print survivors and figures."""
        totals: Counter[str] = Counter()
        for file, found in self.faults.items():
            wanted = (f"python/dnabert2_fast/{file}", *(f"tests/{test}" for test in TESTS[file]))
            items = [
                item for test in wanted for item in session.items if item.nodeid.startswith(test)
            ]
            print(f"{file}: {len(found.names)} faults, {found.wording} of wording", flush=True)
            counts = self._try(session, items, found)
            totals.update(counts)
            print(f"    {dict(counts)}", flush=True)
        tried = totals.total()
        caught = tried - totals["survived"]
        print(f"{tried:,} faults tried, {caught / tried:.1%} caught: {dict(totals)}")
        return True

    def _try(
        self, session: pytest.Session, items: list[pytest.Item], found: Faults
    ) -> Counter[str]:
        started = time.monotonic()
        usual = _Trial(session, items, "", 600, 3600)
        while (outcome := usual.outcome()) is None:
            time.sleep(0.05)
        if outcome != "survived":
            sys.exit(f"without a fault: {outcome} {usual.failed()}")
        wall_s = time.monotonic() - started
        print(f"    {len(items)} tests, {usual.cpu_s:.1f} s of processor time", flush=True)
        count = max(MIN_FAULTS, round(self.share * len(found.names)))
        names = random.Random(0).sample(found.names, min(count, len(found.names)))
        winners: Counter[pytest.Item] = Counter()
        counts: Counter[str] = Counter()
        running: list[_Trial] = []
        try:
            while names or running:
                while names and len(running) < JOBS:
                    ordered = sorted(items, key=lambda item: -winners[item])
                    limits = round(5 * usual.cpu_s) + 10, 10 * wall_s + 60
                    running.append(_Trial(session, ordered, names.pop(), *limits))
                for trial in list(running):
                    if (outcome := trial.outcome()) is None:
                        continue
                    running.remove(trial)
                    counts[outcome] += 1
                    failed = trial.failed()
                    winners.update(item for item in items if item.nodeid == failed)
                    if outcome == "survived":
                        print(
                            f"{outcome}: {trial.fault}\n{found.difference(trial.fault)}", flush=True
                        )
                time.sleep(0.02)
        finally:
            for trial in running:
                trial.stop()
        return counts


class _Trial:
    """A forked process that runs tests with one fault, up to the first failure."""

    def __init__(
        self,
        session: pytest.Session,
        items: list[pytest.Item],
        fault: str,
        cpu_s: int,
        wall_s: float,
    ) -> None:
        self.fault = fault
        self.folder = tempfile.TemporaryDirectory(prefix="mutant-")
        self.deadline = time.monotonic() + wall_s
        self.told, child_end = os.pipe()
        self.pid = os.fork()
        if not self.pid:
            try:
                os.setpgid(0, 0)
                resource.setrlimit(resource.RLIMIT_CPU, (cpu_s, cpu_s + 5))
                _run(session, items, fault, self.folder.name, child_end)
            finally:
                os._exit(3)
        os.close(child_end)

    def outcome(self) -> str | None:
        """Return what came of it, or None while it runs."""
        pid, status, usage = os.wait4(self.pid, os.WNOHANG)
        if not pid:
            if time.monotonic() < self.deadline:
                return None
            self.stop()
            _, status, usage = os.wait4(self.pid, 0)
        self.stop()  # what it started
        self.folder.cleanup()
        self.cpu_s = usage.ru_utime + usage.ru_stime
        code = os.waitstatus_to_exitcode(status)
        return {0: "survived", 1: "caught", 3: "broken"}.get(code, "stopped by the clock")

    def stop(self) -> None:
        """End the process and all that it started."""
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)

    def failed(self) -> str:
        """Return the test that failed."""
        with os.fdopen(self.told) as pipe:
            return pipe.read()


def _run(
    session: pytest.Session, items: list[pytest.Item], fault: str, folder: str, told: int
) -> None:
    """Run the tests, tell which one fails, and end the process."""
    if fault:
        activate(fault)
    os.environ["PYTEST_DEBUG_TEMPROOT"] = os.environ["TMPDIR"] = tempfile.tempdir = folder
    session.config.pluginmanager.unregister(name="terminalreporter")
    for number in (1, 2):
        os.dup2(os.open(os.devnull, os.O_WRONLY), number)
    for item, following in zip(items, [*items[1:], None], strict=True):
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
        if session.testsfailed:
            os.write(told, item.nodeid.encode())
            os._exit(1)
    os._exit(0)


def main(share: float, pattern: str = "*") -> int:
    """Copy the package, plant the faults, collect the tests and run them."""
    trampoline.wrap_in_trampoline = register
    skip = shutil.ignore_patterns("__pycache__")
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        for part in ("python", "tests", "docs", "examples"):
            shutil.copytree(ROOT / part, Path(folder, part), ignore=skip)
        for file in ("pyproject.toml", "README.md"):
            shutil.copy(ROOT / file, folder)
        os.chdir(folder)  # mutmut reads pyproject.toml there
        os.environ["PYTHONPATH"] = str(Path(folder, "python"))
        sys.path.insert(0, os.environ["PYTHONPATH"])
        faults = {file: Faults(file) for file in TESTS if fnmatch.fnmatch(file, pattern)}
        files = {f"tests/{test.partition('::')[0]}" for name in faults for test in TESTS[name]}
        modules = [f"python/dnabert2_fast/{name}" for name in faults]
        without = ("cacheprovider", "faulthandler", "random_order")
        options = [*(f"-pno:{plugin}" for plugin in without), "-k", "not __mutmut"]
        plugins = [Planter(faults, share)]
        return pytest.main([*options, *modules, *sorted(files)], plugins=plugins)


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]) if len(sys.argv) > 1 else 1.0, *sys.argv[2:3]))
