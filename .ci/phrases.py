"""Find phrases in docs, comments and messages that are not plain standard English.

    python .ci/phrases.py [FILE ...]    print each phrase found with its line; exit code 1 if any

Reads Markdown without its code, the comments and strings of Python and Rust, and the Makefile. The
table below lists each phrase as a regular expression, and what to write instead. Case and line
breaks are ignored.
"""

import re
import subprocess
import sys
from bisect import bisect_right
from collections.abc import Iterator
from functools import partial
from pathlib import Path

# phrase -> replacement
PHRASES = {
    # one standard term per thing
    r"verbs?": "command",
    r"(?-i:[Pp]ictures?)": "plot or figure",
    r"(goes|go|going|went|gone) on": "resume or continue",
    r"stretch(es)?": "span or chunk",
    r"(?<!take )(?<!takes )(?<!decimal )(?<!one )(?<!in )places?": "position",
    r"aloud": "warn",
    r"parted": "separated",
    r"inflat(e|es|ed|ing|ion)": "decompress",
    r"foretells?": "predict",
    r"mend(s|ed|ing)?": "fix or repair",
    r"drawn (fresh|anew)": "randomly initialised",
    r"doors?": "interface",
    r"floors?": "layer",
    r"no number(?! in)": "not a finite number",
    r"(?<!there )(is|are) (?-i:none)": "is NaN or infinite",
    # code is no person
    r"knows?": "contains or stores",
    r"says?": "reports, or name the message",
    r"asks?( for)?|asked for": "requests or requires",
    r"wants?(?! to)": "requires",
    r"pays?": "is faster",
    r"stands?(?! in for|-in)": "tolerates, or is",
    r"(?<!one )(?<!anyone )sees": "reads or receives",
    r"looks at": "reads or checks",
    r"(is|are|was|were|be) told": "is set, or receives",
    r"tells": "reports",
    r"nobody": "no code, or no process",
    r"whoever": "a caller that",
    # calques
    r"(?<!there )(is|are) no(?! longer| more| less| larger| smaller| faster)": "is not a",
    r"so.many(eth)?": "N, or that many",
    r"in place of": "instead of",
    r"by turns": "alternating",
    r"of before": "written by earlier versions",
    r"(?<!each )(?<!one )(?<!two )(?<!all )of which": "a clause with that, or two sentences",
    r"(is|are|be|at|has|have) the (most|least)": "maximum or minimum",
    r"the (most|least) (that|which|of)": "maximum or minimum",
    r"anew": "again",
    r"as a rule": "usually",
    r"at hand": "available",
    r"some [0-9]": "about",
    r"(vectors?|bytes|bits|ns|nats|seconds|bases|tokens|positions|values?|rows?|lines?|files?|one"
    r"|letters|numbers?|thread|MB|GB) an? (base|token|sequence|step|letter|record|second|window"
    r"|merge|hour|call|thread|entry|head|piece|row|position|file|variant|value|line|species|set|shard|unit"
    r"|process|worker|task)": "per",
}
# The table above contains every phrase.
EXEMPT = (".ci/phrases.py",)

FOUND = re.compile(rf"\b(?:{'|'.join(PHRASES)})\b", re.IGNORECASE)
STRING = r'"(?P<text>(?:\\.|[^"\\])*)"|'
PYTHON = re.compile(
    r'#(?P<comment>[^\n]*)|[rf]?"""(?P<raw>.*?)"""|' + STRING + r"'(?P<single>(?:\\.|[^\\'\n])*)'",
    re.DOTALL,
)
RUST = re.compile(
    r'//[/!]?(?P<comment>[^\n]*)|r(?P<hashes>\#*)"(?P<raw>.*?)"(?P=hashes)|'
    + STRING
    + r"'(?:\\.|[^\\'])'",
    re.DOTALL,
)
CODE = re.compile(r"^(?P<fence>```+|~~~+).*?^(?P=fence)|\]\([^)]*\)", re.DOTALL | re.MULTILINE)
GROUPS = ("comment", "raw", "text", "single")
INLINE = re.compile(r"`[^`\n]*`")
SPACE = re.compile(r"\s+")
SEPARATOR = " | "  # no phrase reaches across it

Prose = Iterator[tuple[int, str]]


def source(pattern: re.Pattern[str], text: str) -> Prose:
    """Yield the comments and strings of a program with their lines."""
    line, start, end, last = 1, 0, 0, None
    for match in pattern.finditer(text):
        line += text.count("\n", start, match.start())
        start = match.start()
        kind = "comment" if match["comment"] is not None else "string"
        # The lines of a comment are one text, and so are strings side by side.
        joined = kind == last and not text[end:start].strip(" \nrf")
        end, last = match.end(), kind
        joint = SEPARATOR if not joined else " " if kind == "comment" else ""
        yield line, joint + next(filter(None, map(match.groupdict().get, GROUPS)), "")


def markdown(text: str) -> Prose:
    """Yield the text of a page without its code and the targets of its links."""
    yield 1, CODE.sub(lambda match: "`" + "\n" * match[0].count("\n"), text)


def plain(text: str) -> Prose:
    """Yield a file of settings without the marks of its comments."""
    yield 1, re.sub(r"^\s*#+", "", text, flags=re.MULTILINE)


READERS = {
    ".py": partial(source, PYTHON),
    ".pyi": partial(source, PYTHON),
    ".rs": partial(source, RUST),
    ".md": markdown,
}


def findings(path: Path) -> Iterator[str]:
    """Yield a line for each phrase of the table in a file."""
    prose, starts, lines = "", [], []
    for first, words in READERS.get(path.suffix, plain)(path.read_text("utf-8")):
        for number, part in enumerate(INLINE.sub("`", words).split("\n")):
            starts.append(len(prose))
            lines.append(first + number)
            part = SPACE.sub(" ", f" {part}" if number else part)
            prose += part.lstrip() if prose.endswith(" ") else part
    for match in FOUND.finditer(prose):
        line = lines[bisect_right(starts, match.start()) - 1]
        yield f"{path}:{line}: {match[0]!r}: write {instead(match[0])!r}"


def instead(found: str) -> str:
    """Return the replacement of a phrase that was found."""
    return next(new for old, new in PHRASES.items() if re.fullmatch(old, found, re.IGNORECASE))


def main(paths: list[str]) -> int:
    """Print what is found in the files, or in all of the repository; return the exit code."""
    if not paths:
        patterns = ["*.py", "*.pyi", "*.rs", "*.md", "*.toml", "Makefile", ".github/*.yml"]
        listed = subprocess.run(["git", "ls-files", *patterns], capture_output=True, text=True)
        paths = [path for path in listed.stdout.split() if not path.startswith(EXEMPT)]
    found = [line for path in paths for line in findings(Path(path))]
    print("\n".join(found))
    return bool(found)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
