"""Plant faults in the Rust core, which its tests must notice: `make mutants`.

The faults are those that ``cargo mutants`` lists. It builds the core again for each, some minutes
of processor time. Here all faults are built once, in a copy in ``target/faults``, each behind a
switch that an environment variable turns on. A run without a fault notes which tests reach which
switch. Each fault is then tried by the tests that reach it, the fastest first.

``python .ci/rust_mutants.py 0.1`` draws a share of the faults, with a fixed seed; a second argument
selects names. Faults in constants, in ``const`` functions and in struct literals have no switch;
faults that do not compile are dropped, as by ``cargo mutants``.
"""

import json
import os
import random
import resource
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import tree_sitter_rust
from tree_sitter import Language, Node, Parser

ROOT = Path(__file__).parents[1]
WORK = ROOT / "target" / "faults"
CORE = Path("rust/dnabert2-core/src")
BUILD = [
    *("cargo", "test", "--no-run", "--profile", "mutants"),
    *("--package", "dnabert2-core", "--lib", "--tests"),
]
PARSER = Parser(Language(tree_sitter_rust.language()))
# A caught fault need not be shrunk to its smallest example, nor kept.
ENVIRONMENT = {
    "RUST_MIN_STACK": str(1 << 26),
    "PROPTEST_MAX_SHRINK_ITERS": "0",
    "PROPTEST_DISABLE_FAILURE_PERSISTENCE": "1",
}
SECONDS = 10  # of processor time beyond ten times what a test takes without a fault
SWITCH = """
#[doc(hidden)]
pub mod planted {
    use std::io::Write;
    use std::sync::LazyLock;
    use std::sync::atomic::{AtomicBool, Ordering};
    static ONE: LazyLock<usize> = LazyLock::new(|| {
        std::env::var("FAULT").map_or(0, |one| one.parse().expect("a number"))
    });
    static REACHED: LazyLock<Option<std::path::PathBuf>> =
        LazyLock::new(|| std::env::var_os("REACHED").map(Into::into));
    static SEEN: [AtomicBool; 1 << 14] = [const { AtomicBool::new(false) }; 1 << 14];
    #[inline]
    pub fn fault(number: usize) -> bool {
        if let Some(path) = &*REACHED && !SEEN[number].load(Ordering::Relaxed) {
            SEEN[number].store(true, Ordering::Relaxed);
            let file = std::fs::OpenOptions::new().append(true).create(true).open(path);
            let line = format!("{number}\\n");
            file.and_then(|mut file| file.write_all(line.as_bytes())).expect("written");
        }
        *ONE == number
    }
}
"""


@dataclass
class Fault:
    """A fault of the list; ``low`` and ``high`` are the bytes of what it replaces."""

    number: int
    name: str
    file: Path
    genre: str
    replacement: str
    low: int
    high: int


@dataclass
class Spot:
    """Bytes of a file that the faults of one switch stand in for, and the spots inside."""

    low: int
    high: int
    faults: list[Fault] = field(default_factory=list)
    inner: list["Spot"] = field(default_factory=list)


@dataclass
class Test:
    """A test, what it takes in seconds, and the faults it reaches."""

    binary: str
    name: str
    wall: float = 0.0
    processor: float = 0.0
    reached: frozenset[int] = frozenset()


def listed() -> list[Fault]:
    """Return the faults that `cargo mutants` lists."""
    command = ["cargo", "mutants", "--package", "dnabert2-core", "--list", "--json"]
    text = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    faults, lines = [], {}
    for number, entry in enumerate(json.loads(text), 1):
        file = Path(entry["file"])
        if file not in lines:
            lines[file] = (ROOT / file).read_text().splitlines(keepends=True)

        def offset(at: dict[str, int], of: list[str] = lines[file]) -> int:
            before = "".join(of[: at["line"] - 1]) + of[at["line"] - 1][: at["column"] - 1]
            return len(before.encode())

        low, high = (offset(entry["span"][end]) for end in ("start", "end"))
        name = entry["name"].removeprefix(f"{CORE}/")
        faults.append(Fault(number, name, file, entry["genre"], entry["replacement"], low, high))
    return faults


def is_constant(node: Node) -> bool:
    """Whether code is evaluated by the compiler."""
    while node.parent is not None:
        node = node.parent
        if node.type in {"const_item", "static_item", "array_type", "const_block"}:
            return True
        if node.type == "function_item":
            return any(c.type == "function_modifiers" and b"const" in c.text for c in node.children)
    return False


def spot(fault: Fault, root: Node) -> tuple[int, int] | None:
    """Return the bytes to put the switch of a fault around, None where there can be none."""
    node = root.descendant_for_byte_range(fault.low, fault.high)
    if node is None or fault.genre == "StructField" or is_constant(node):
        return None
    if fault.genre == "FnValue":
        while node.type != "function_item":
            node = node.parent
        if b"impl " in (node.child_by_field_name("return_type") or node).text.split(b"{")[0]:
            return None  # one type for both ways out
        at = node.child_by_field_name("body").start_byte + 1
        return at, at
    if fault.genre == "MatchArm":
        while node.type != "match_arm":
            node = node.parent
        arms = (
            arm.child_by_field_name("pattern").text
            for arm in node.parent.children
            if arm.type == "match_arm"
        )
        if b"_" not in arms:
            return None  # the compiler misses it
        pattern = node.child_by_field_name("pattern")
        guard = pattern.child_by_field_name("condition")
        return (guard.start_byte, guard.end_byte) if guard else (pattern.end_byte, pattern.end_byte)
    if fault.genre == "MatchArmGuard":
        return fault.low, fault.high
    chain = {"binary_expression", "compound_assignment_expr", "unary_expression"}
    while node is not None and node.type not in chain:
        node = node.parent
    if node is None:  # in a macro
        return None
    # A change of an operator may change what the others around it apply to.
    while node.parent is not None and node.parent.type in chain:
        node = node.parent
    return node.start_byte, node.end_byte


def planted(source: bytes, where: Spot, shift: int, ranges: list[tuple[int, int, int]]) -> bytes:
    """Return the text of a spot with its switches; ``ranges`` gets the bytes of each fault."""
    out = b""

    def put(text: bytes, fault: Fault | None = None) -> None:
        nonlocal out
        if fault is not None:
            ranges.append((shift + len(out), shift + len(out) + len(text), fault.number))
        out += text

    closing = b""
    for fault in where.faults:
        test = f"crate::planted::fault({fault.number})".encode()
        new = fault.replacement.encode()
        if fault.genre == "FnValue":
            put(b" if " + test + b" { return " + new + b"; } ", fault)
        elif fault.genre == "MatchArm" and where.low == where.high:
            put(b" if !" + test + b" ", fault)
        else:
            text = source[where.low : fault.low] + new + source[fault.high : where.high]
            if fault.genre == "MatchArm":
                text = b"false"
            put(b"(if " + test + b" { ")
            put(b"(" + text + b")", fault)
            put(b" } else { ")
            closing += b" })"
    at = where.low
    for inner in sorted(where.inner, key=lambda one: one.low):
        put(source[at : inner.low])
        put(planted(source, inner, shift + len(out), ranges))
        at = inner.high
    put(source[at : where.high] + closing)
    return out


def put(path: Path, data: bytes) -> None:
    """Write a file unless it is there, so that what is unchanged is not built again."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists() or path.read_bytes() != data:
        path.write_bytes(data)


def plant(files: list[Path], faults: list[Fault]) -> dict[Path, list[tuple[int, int, int]]]:
    """Write the copy's files with the switches of these faults; return the bytes of each."""
    ranges: dict[Path, list[tuple[int, int, int]]] = {}
    for file in files:
        source = (ROOT / file).read_bytes()
        root = PARSER.parse(source).root_node
        spots: dict[tuple[int, int], Spot] = {}
        for fault in (fault for fault in faults if fault.file == file):
            if (around := spot(fault, root)) is not None:
                spots.setdefault(around, Spot(*around)).faults.append(fault)
        whole = Spot(0, len(source))
        for one in sorted(spots.values(), key=lambda one: (one.low, -one.high)):
            outer = whole
            while True:
                inside = [
                    i
                    for i in outer.inner
                    if i.low <= one.low and one.high <= i.high and i.low < i.high
                ]
                if not inside:
                    break
                outer = inside[0]
            outer.inner.append(one)
        ranges[file] = []
        put(WORK / file, planted(source, whole, 0, ranges[file]))
    return ranges


def build(faults: list[Fault]) -> tuple[list[Fault], list[str]]:
    """Build the tests with all faults that compile; return these faults and the programs."""
    files = sorted({fault.file for fault in faults})
    while True:
        ranges = plant(files, faults)
        run = subprocess.run(
            [*BUILD, "--message-format", "json"],
            cwd=WORK,
            capture_output=True,
            text=True,
            env=os.environ | {"CARGO_TARGET_DIR": str(WORK / "target")},
            check=False,
        )
        messages = [json.loads(line) for line in run.stdout.splitlines() if line.startswith("{")]
        if run.returncode == 0:
            programs = [m["executable"] for m in messages if m.get("executable")]
            return [f for f in faults if any(f.number == r[2] for r in ranges[f.file])], programs
        bad = set()
        unknown = []
        for message in messages:
            message = message.get("message")
            if not isinstance(message, dict) or message["level"] != "error":
                continue
            found = {
                number
                for span in message["spans"]
                if span["is_primary"]
                for low, high, number in ranges.get(Path(span["file_name"]), [])
                if low <= span["byte_start"] and span["byte_end"] <= high
            }
            bad |= found
            if message["spans"] and not found:
                unknown.append(message["rendered"])
        if not bad:
            sys.exit("\n".join(unknown) or run.stderr)
        print(f"{len(bad)} faults do not compile", flush=True)
        faults = [fault for fault in faults if fault.number not in bad]


def run_test(test: Test, wall: float, processor: float, **variables: str) -> str:
    """Run one test; return "caught" when it fails, "timeout", or "missed"."""

    def limit() -> None:
        seconds = round(processor) + 1
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
        resource.setrlimit(resource.RLIMIT_AS, (8 << 30, 8 << 30))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

    try:
        done = subprocess.run(
            [test.binary, "--exact", test.name],
            cwd=WORK / CORE.parent,
            timeout=wall,
            env=os.environ | ENVIRONMENT | variables,
            preexec_fn=limit,
            check=False,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
    except subprocess.TimeoutExpired:
        return "timeout"
    if done.returncode in {-24, -9}:
        return "timeout"
    return "caught" if done.returncode else "missed"


def tests(programs: list[str]) -> list[Test]:
    """Run every test without a fault; return what each takes and reaches, the fastest first."""
    found = []
    for binary in programs:
        names = subprocess.run(
            [binary, "--list", "--format", "terse"], check=True, capture_output=True, text=True
        ).stdout.splitlines()
        found += [Test(binary, n.removesuffix(": test")) for n in names if n.endswith(": test")]
    for number, test in enumerate(found):
        notes = WORK / f"reached.{number}"
        notes.unlink(missing_ok=True)
        before, begun = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
        if run_test(test, 3600, 3600, REACHED=str(notes)) != "missed":
            sys.exit(f"error: {test.name} fails without a fault")
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        test.wall = time.monotonic() - begun
        test.processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        if notes.exists():
            test.reached = frozenset(map(int, notes.read_text().split()))
        print(f"{test.processor:6.1f} s {len(test.reached):5} {test.name}", flush=True)
    return sorted(found, key=lambda test: test.processor)


def outcome(fault: Fault, found: list[Test]) -> str:
    """Try the tests that reach a fault until one notices it."""
    reaching = [test for test in found if fault.number in test.reached]
    for test in reaching:
        limits = 60 + 10 * test.wall, SECONDS + 10 * test.processor
        status = run_test(test, *limits, FAULT=str(fault.number))
        if status != "missed":
            return status
    return "missed" if reaching else "not reached"


def main(share: float = 1.0, part: str = "") -> None:
    """Copy, plant, test, and print survivors and figures."""
    every = listed()
    copied = ["Cargo.toml", "Cargo.lock", "rust", "python/dnabert2_fast/data"]
    files = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", *copied],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout.splitlines()
    for file in map(Path, files):
        if file == CORE / "lib.rs":
            put(WORK / file, (ROOT / file).read_bytes() + SWITCH.encode())
        elif all(file != fault.file for fault in every) and (ROOT / file).exists():
            put(WORK / file, (ROOT / file).read_bytes())
    able, programs = build(every)
    print(f"{len(every):,} faults, {len(able):,} planted", flush=True)
    found = tests(programs)
    chosen = [fault for fault in sorted(able, key=lambda fault: fault.name) if part in fault.name]
    random.Random(0).shuffle(chosen)
    chosen = chosen[: max(1, round(share * len(chosen)))]
    results: Counter[str] = Counter()
    for fault in chosen:
        status = outcome(fault, found)
        results[status] += 1
        if status in {"missed", "not reached"}:
            print(f"{fault.name}: {status}", flush=True)
    caught = results["caught"] + results["timeout"]
    print(f"{len(chosen):,} tried, {caught / len(chosen):.1%} caught: {dict(results)}")


if __name__ == "__main__":
    main(*map(float, sys.argv[1:2]), *sys.argv[2:])
