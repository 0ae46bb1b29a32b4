"""Hold the modules of the Rust core to their layers, and find cycles among them.

    python .ci/rust_cycles.py [FOLDER]    exit code 1 if a module breaks a rule, which is printed

A module depends on its children and on the modules in its ``use`` declarations and inline paths. A
path through a ``pub use`` counts for the module that defines the item. Code behind ``#[cfg(test)]``
is left out: a test may compare a low layer with a high one.
"""

import re
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

Module = tuple[str, ...]

# The top-level modules that each may use, besides `error` and `ragged`.
ALLOWED = {
    "corpus": {"io", "tokenizer", "shard", "encode", "dna", "parallel"},
    "tokenizer_file": {"tokenizer", "kmer", "vocab"},
    "tokenizer": {"encode", "kmer", "vocab", "policy", "dna", "parallel"},
    "train": {"encode", "vocab", "dna", "parallel"},
    "kmer": {"encode", "policy", "dna"},
    "encode": {"vocab", "dna", "parallel"},
    "io": {"parallel"},
}
NOISE = re.compile(r'//[^\n]*|b?"(?:\\.|[^"\\])*"', re.DOTALL)
INLINE_MODULE = re.compile(r"^mod \w+ \{.*?^\}", re.DOTALL | re.MULTILINE)
USE = re.compile(r"\b(pub\b[^;{}]*)?\buse\s+([^;]+);")
PATH = re.compile(r"\b(?:crate|self|super|pyo3)(?:::\w+)+")


def read(folder: Path) -> dict[Module, str]:
    """Return the code of every module, without comments, strings and tests."""
    modules = {}
    for path in sorted(folder.rglob("*.rs")):
        *parents, stem = path.relative_to(folder).with_suffix("").parts
        name = (*parents,) if stem in ("lib", "mod") else (*parents, stem)
        code = re.split(r"#\[cfg\(test\)\]\s*mod\b", NOISE.sub(" ", path.read_text("utf-8")))[0]
        modules[name] = INLINE_MODULE.sub(lambda m: m[0].replace("super::", "self::"), code)
    return modules


def leaves(tree: str) -> Iterator[str]:
    """Yield the paths of a ``use`` tree: ``a::{b, c::d}`` gives ``a::b`` and ``a::c::d``."""
    head, brace, rest = " ".join(tree.split()).partition("{")
    if not brace:
        yield head.split(" as ")[0]
    depth, part = 0, ""
    for letter in rest[:-1].rstrip(", ") + "," * bool(brace):
        depth += (letter == "{") - (letter == "}")
        if letter == "," and depth == 0:
            yield from (head + path for path in leaves(part))
            part = ""
        else:
            part += letter


def absolute(path: str, module: Module, modules: dict[Module, str]) -> Module | None:
    """Return a path from the root of the crate, or None for a path into another crate."""
    here, parts = list(module), path.split("::")
    if parts[0] in ("crate", "pyo3"):
        return tuple(parts[1:]) if parts[0] == "crate" else ("pyo3",)
    if parts[0] not in ("self", "super") and (*module, parts[0]) not in modules:
        return None
    for part in parts:
        if part == "super":
            here.pop()
        elif part != "self":
            here.append(part)
    return tuple(here)


def owner(path: Module, modules: dict[Module, str], exports: dict[Module, Module]) -> Module:
    """Return the module that defines an item, found through re-exports."""
    module = max((path[:n] for n in range(len(path) + 1) if path[:n] in modules), key=len)
    item = path[: len(module) + 1]
    return owner(exports[item], modules, exports) if item in exports else module


def dependencies(modules: dict[Module, str]) -> dict[Module, set[Module]]:
    """Return the modules that every module uses; ``("pyo3",)`` is one of them."""
    exports, paths = {}, {}
    for module, code in modules.items():
        uses = [(public, path) for public, tree in USE.findall(code) for path in leaves(tree)]
        uses += [("", path) for path in PATH.findall(USE.sub(" ", code))]
        found = [(public, absolute(path, module, modules)) for public, path in uses]
        paths[module] = {path for _, path in found if path is not None}
        reexported = {path for public, path in found if public and path and path[:-1] != module}
        exports |= {(*module, path[-1]): path for path in reexported}
    known = {**modules, ("pyo3",): ""}
    children = {module: {m for m in modules if m and m[:-1] == module} for module in modules}
    return {
        module: {owner(path, known, exports) for path in targets} | children[module]
        for module, targets in paths.items()
    }


def main(folder: Path) -> int:
    """Print the breaches of the layers and a cycle, if any; return the exit code."""
    uses = dependencies(read(folder))
    uses = {module: used - {module} for module, used in uses.items() if module}
    wrong = [
        f"{'::'.join(module)} may not use {'::'.join(target) or 'lib'}"
        for module, used in uses.items()
        for target in sorted(used)
        if "".join(target[:1]) not in {module[0], *ALLOWED.get(module[0], ()), "error", "ragged"}
    ]
    try:
        TopologicalSorter(uses).prepare()
    except CycleError as error:
        wrong.append("cycle: " + " is used by ".join("::".join(path) for path in error.args[1]))
    print(*wrong, sep="\n", end="\n" * bool(wrong), file=sys.stderr)
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1] if sys.argv[1:] else "rust/dnabert2-core/src")))
