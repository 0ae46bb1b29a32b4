"""Commands and options in README, docs, help, examples and messages are those of the parsers."""

import ast
import inspect
import re
import shlex
from types import FunctionType

import pytest
from helpers.project import ROOT

from dnabert2_fast.cli import COMMANDS, COMPLETION, STRICT
from dnabert2_fast.cli._parser import EXAMPLES, flags, parse, target_of

DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted((ROOT / "examples").glob("*.*"))]
# The log names options of earlier versions; the page of commands is generated from the parsers.
PAGES += [page for page in sorted(DOCS.rglob("*.md")) if page.name not in {"log.md", "cli.md"}]
OPTION = re.compile(r"(?<![\w-])--[a-zA-Z][\w-]*")
# To the end of a command; also after `torchrun -m`, in a loop and after a pipe.
COMMAND = re.compile(
    r"(?:^|do |[|] )(?:[^|\n]*-m dnabert2_fast\.cli|dnabert2-fast) ([^\n#;&|>]+)", re.MULTILINE
)
# Of git, pip, samtools, nvidia-smi, torchrun and transformers.
OTHER_PROGRAMS = {
    *("--command", "--condition", "--editable", "--force-files"),
    *("--eval_strategy", "--evaluation_strategy", "--fai-idx", "--force-reinstall", "--format"),
    *(
        "--gzi-idx",
        "--head",
        "--no-deps",
        "--nproc-per-node",
        "--query-gpu",
        "--tyro-write-completion",
        "--upgrade",
    ),
}


def target(command):
    return target_of(COMMANDS[command][1]())


OPTIONS = {command: flags(target(command))[0] for command in COMMANDS}
KNOWN = {STRICT, COMPLETION, "--version"}.union(*OPTIONS.values())


def shell_commands():
    for name, (_, function) in COMMANDS.items():
        help_text = inspect.cleandoc(function().__doc__).partition(EXAMPLES)[2]
        for line in COMMAND.findall(help_text):
            yield pytest.param(shlex.split(line), id=f"{name} --help: {line}")
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for language, code in re.findall(r"^ *```(\w+)\n(.*?)^ *```", text, re.S | re.M):
            if language in ("sh", "console", "bash"):
                for line in COMMAND.findall(code.replace("\\\n", " ")):
                    if line.count("'") % 2:  # within the quotes of another program
                        line = line.rpartition("'")[0]
                    words = shlex.split(line)
                    yield pytest.param(words, id=f"{page.relative_to(ROOT)}: {' '.join(words)}")


def without_body(function):
    """Return a function with the same options that does nothing."""
    signature = inspect.signature(function)
    parameters = [
        parameter.replace(default=parameter.empty if parameter.default is parameter.empty else None)
        for parameter in signature.parameters.values()
    ]
    made = {}
    exec(f"def made{signature.replace(parameters=parameters)}: pass", function.__globals__, made)
    copy = made["made"]
    copy.__defaults__, copy.__kwdefaults__ = function.__defaults__, function.__kwdefaults__
    return copy


@pytest.mark.parametrize("words", shell_commands())
def test_commands_can_be_parsed(words):
    """With their values, and with everything that they require."""
    command, *arguments = words
    if words[0] == COMPLETION or "--help" in words:
        return
    options = target(command)
    if isinstance(options, FunctionType):
        options = without_body(options)
    arguments = [argument for argument in arguments if argument != STRICT]
    parse(options, arguments, command)


def named_options():
    """Yield every span of code that names an option, with the options that it may name."""
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        name = page.relative_to(ROOT).as_posix()
        for span in re.findall(r"`([^`\n]+(?:\n[^`\n]+)?)`", text):
            found = set(OPTION.findall(span)) - OTHER_PROGRAMS
            words = span.removeprefix("dnabert2-fast ").split()
            script = next((word for word in words if re.match(r"benches/\w+[.]py", word)), None)
            if script is not None:
                known = set(OPTION.findall((ROOT / script).read_text(encoding="utf-8")))
            elif words and words[0] in OPTIONS:
                known = OPTIONS[words[0]] | {STRICT}
            elif words and words[0].startswith("--"):
                known = KNOWN
            else:  # another program
                continue
            if found:
                yield pytest.param(found, known, id=f"{name}: {' '.join(span.split())}")


@pytest.mark.parametrize(("found", "known"), named_options())
def test_options_in_the_text_exist(found, known):
    assert found <= known


def strings():
    for path in sorted((ROOT / "python" / "dnabert2_fast").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found = set(OPTION.findall(node.value)) - OTHER_PROGRAMS - {"--no-"}
                if found:
                    yield pytest.param(found, id=f"{path.relative_to(ROOT)}:{node.lineno}")


@pytest.mark.parametrize("found", strings())
def test_options_in_messages_and_docstrings_exist(found):
    assert found <= KNOWN


def test_there_are_commands_and_options():
    assert len(list(shell_commands())) > 50
    assert len(list(named_options())) > 50
    assert len(list(strings())) > 20
    assert "--memory-limit-gb" in KNOWN
