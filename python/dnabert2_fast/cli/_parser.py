"""How commands read their options, and how ``--help`` shows them.

The options of a command are the parameters of its function, or the fields of its config. Its help
ends with the command lines under "Examples" in the function's docstring. tyro makes the parser.
This module names the values (MODEL, FILE, ...), hides ``None``, suggests the closest option for an
unknown one, and raises errors of one line.
"""

from __future__ import annotations

import inspect
import io
from collections.abc import Callable, Iterable
from contextlib import nullcontext, redirect_stdout, suppress
from dataclasses import is_dataclass, replace
from difflib import get_close_matches
from functools import partial
from textwrap import indent
from types import FunctionType, NoneType
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin, get_type_hints

import tyro
from tyro.constructors import (
    ConstructorRegistry,
    PrimitiveConstructorSpec,
    PrimitiveTypeInfo,
    StructConstructorSpec,
    StructTypeInfo,
)

try:  # a private module: without it, tyro prints its own errors, of several lines
    from tyro import _errors as tyro_errors
except ImportError:
    tyro_errors = None  # type: ignore[assignment]

__all__ = ["SHELLS", "as_typed", "call", "completion", "did_you_mean", "parse", "target_of"]

T = TypeVar("T")

UNSET = "none"  # unsets an option whose default is a value: --window-bp none
METAVARS = {
    "about_data": "TEXT",
    "against": "TOKENIZER",
    "attention": "BACKEND",
    "background": "FILE",
    "class_weights": "WEIGHTS",
    "color_by": "COLUMN",
    "column": "NAME",
    "corpus": "FOLDER",
    "data": "FOLDER",
    "device": "DEVICE",
    "eval_corpus": "FOLDER",
    "file": "FILE",
    "files": "FILE",
    "folder": "FOLDER",
    "group_column": "COLUMN",
    "hits": "FILE",
    "init_from": "MODEL",
    "jaspar": "FILE",
    "label_column": "COLUMN",
    "license": "NAME",
    "lora_targets": "NAME",
    "manifest": "FILE",
    "model": "MODEL",
    "modisco": "FOLDER",
    "motifs": "FILE",
    "on": "FILE",
    "out": "FILE",
    "part": "I/N",
    "plot": "FILE",
    "plots": "FOLDER",
    "prefix": "NAME",
    "ray": "ADDRESS",
    "reference": "FILE",
    "regions": "FILE",
    "repo": "OWNER/NAME",
    "run": "FOLDER",
    "sequence_column": "COLUMN",
    "sequences": "SEQUENCE",
    "signal": "FILE",
    "split": "SHARES",
    "table": "FILE",
    "tasks": "TASK",
    "tokenizer": "TOKENIZER",
    "wandb": "PROJECT",
}
"""What an option takes, by its name; `tyro.conf.arg(metavar=...)` overrides it."""

SHELLS = ("bash", "zsh", "fish")
# tyro completes no positional arguments: the shell then completes names of files.
FILES = {
    "bash": """
_dnabert2_fast() {
  _tyro_dnabert2_fast
  [[ -n "${COMPREPLY[*]}" ]] || COMPREPLY=()
}
complete -o default -F _dnabert2_fast dnabert2-fast""",
    "zsh": " || _files",  # after the call of tyro's function, which ends the script
    "fish": """
complete --command dnabert2-fast --force-files \\
  --condition 'test (count (commandline -opc)) -gt 1' \\
  --condition 'not string match -q -- "-*" (commandline -ct)'
""",
}

EXAMPLES = "Examples\n--------\n"  # the section of a command's docstring after which they follow
CONFIG = (tyro.conf.OmitArgPrefixes,)
NUMBERS = {int: ("an integer", "INT"), float: ("a number", "FLOAT")}
REGISTRY = ConstructorRegistry()
_passed_on: set[Any] = set()


def call(function: Callable[..., None], arguments: list[str], prog: str) -> None:
    """Call the function of a command with the options of a command line."""
    target = target_of(function)
    text, _, example_lines = inspect.cleandoc(function.__doc__ or "").partition(EXAMPLES)
    try:
        if target is function:
            parse(function, arguments, prog)
        else:
            function(parse(target, arguments, prog, text.strip()))
    except SystemExit as left:
        if not left.code:  # the help was printed
            print(f"examples:\n{indent(example_lines, '  ')}\n")
        raise


def target_of(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return the object with the options of a command: its config if that is all, else itself."""
    kinds = [kind for name, kind in get_type_hints(function).items() if name != "return"]
    return kinds[0] if len(kinds) == 1 and is_dataclass(kinds[0]) else function  # type: ignore[return-value]


def parse(
    target: Callable[..., T], arguments: list[str], prog: str, description: str | None = None
) -> T:
    """Call a function or make a config with the options of a command line.

    The help begins with the description, or with the docstring of the target.
    """
    require_known(arguments, target, prog)
    one_line = tyro_errors.on_parse_error(raise_one_line) if tyro_errors else nullcontext()
    with one_line:
        result: T = tyro.cli(
            described(target),
            args=arguments,
            prog=prog,
            description=description,
            config=CONFIG,
            registry=REGISTRY,
        )
    return result


def raise_one_line(event: tyro_errors.ParseErrorEvent) -> None:
    """Raise ValueError with one line for what tyro rejects; tyro itself would print a box."""
    match event:
        case tyro_errors.MissingArgs():
            names = [shown(missing.arg) for missing in event.missing_arguments]
            wrong = f"{' and '.join(names)}: required (got nothing)."
        case tyro_errors.InvalidChoice():
            near = did_you_mean(event.value, event.choices)
            listed = ", ".join(f'"{choice}"' for choice in event.choices)
            name = shown(event.argument)
            wrong = f'{name}: must be one of {listed} (got "{event.value}").{near}'
        case tyro_errors.BadValue():
            metavar = event.argument.lowered.metavar
            wrong = f"{shown(event.argument)}: requires a value (got nothing, expected {metavar})."
        case tyro_errors.UnrecognizedArgs():
            word = event.tokens[0]
            kind = "an option" if word.startswith("-") else "an argument"
            wrong = f"{word}: is not {kind} of {event.prog}."
        case tyro_errors.InstantiationFailure(argument=None):  # the message of a config
            raise ValueError(event.message)
        case tyro_errors.InstantiationFailure():
            wrong = f"{shown(event.argument)}: {event.message}."
        case _:
            return
    raise ValueError(f"{wrong} Run {event.prog} --help.")


def shown(argument: Any) -> str:
    """Return the name of an argument as the help shows it."""
    return str(argument.lowered.metavar if argument.is_positional() else argument.display_name())


def as_typed(message: str, arguments: list[str]) -> str:
    """Return a message that begins with an option, with that option as it was typed.

    >>> as_typed("batch_tokens: must be at least 1 (got 0).", ["embed", "--batch-tokens=0"])
    '--batch-tokens: must be at least 1 (got 0).'
    """
    name, colon, rest = message.partition(": ")
    if not colon or name in arguments:  # a file of that name
        return message
    for argument in arguments:
        typed = argument.partition("=")[0]
        if typed.startswith("--") and typed[2:].replace("-", "_") == name:
            return f"{typed}: {rest}"
    return message


def completion(functions: dict[str, Callable[..., Any]], shell: str) -> str:
    """Return the script by which a shell completes the commands and their options."""
    targets = {name: described(target_of(function)) for name, function in functions.items()}
    printed = io.StringIO()
    with redirect_stdout(printed), suppress(SystemExit):
        tyro.extras.subcommand_cli_from_dict(
            targets,
            prog="dnabert2-fast",
            args=["--tyro-write-completion", shell, "-"],
            config=CONFIG,
            registry=REGISTRY,
        )
    return printed.getvalue().rstrip() + FILES[shell]


def did_you_mean(word: str, words: Iterable[str]) -> str:
    """Return a question with the word that is most like another one; empty if none is."""
    return "".join(f" Did you mean {near}?" for near in get_close_matches(word, words, 1, 0.7))


def require_known(arguments: list[str], target: Callable[..., Any], prog: str) -> None:
    """Raise ValueError for an option that the command does not have."""
    known, positional = flags(target)
    for argument in arguments:
        typed = argument.partition("=")[0]
        name = typed.replace("_", "-")
        if not name.startswith("--") or name == "--" or name in known:
            continue
        if name in positional:
            raise ValueError(f"{typed}: is a positional argument of {prog}. Write its value alone.")
        near = did_you_mean(name, sorted(known)) or f" Run {prog} --help."
        raise ValueError(f"{typed}: is not an option of {prog}.{near}")


def flags(target: Callable[..., Any]) -> tuple[set[str], set[str]]:
    """Return the options of a function or config, and the parameters that are positional."""
    known, positional = {"--help"}, set()
    hints = get_type_hints(target, include_extras=True)
    for name, parameter in inspect.signature(target).parameters.items():
        kind, *extras = (
            get_args(hints[name]) if get_origin(hints[name]) is Annotated else (hints[name],)
        )
        flag = f"--{name.replace('_', '-')}"
        if is_dataclass(kind):
            inner = flags(kind)  # type: ignore[arg-type]
            known |= inner[0]
            positional |= inner[1]
        elif parameter.kind is parameter.POSITIONAL_ONLY or tyro.conf.Positional in extras:
            positional.add(flag)
        else:
            known.add(flag)
            known |= {f"--no-{flag[2:]}"} if kind is bool else set()
    return known, positional


def described(target: Callable[..., Any]) -> Callable[..., Any]:
    """Return a target that tyro shows with metavars and help without line breaks."""
    return labelled(target) if isinstance(target, FunctionType) else target


def labelled(function: FunctionType) -> Callable[..., Any]:
    """Return a copy of a function whose options have metavars, and help without line breaks."""
    copy = FunctionType(
        function.__code__,
        function.__globals__,
        function.__name__,
        function.__defaults__,
        function.__closure__,
    )
    copy.__kwdefaults__ = function.__kwdefaults__
    hints = get_type_hints(function, include_extras=True)
    copy.__annotations__ = {name: option(name, hint) for name, hint in hints.items()}
    lines: list[str] = []
    for line in inspect.cleandoc(function.__doc__ or "").splitlines():
        if lines and line.startswith("    ") and lines[-1].startswith("    "):
            lines[-1] += " " + line.strip()
        else:
            lines.append(line)
    copy.__doc__ = "\n".join(lines)
    return copy


def option(name: str, hint: Any) -> Any:
    """Return a type with the metavar of the option, and without an empty default in its help."""
    kind, *extras = get_args(hint) if get_origin(hint) is Annotated else (hint,)
    if is_dataclass(kind):
        return hint
    metavar = METAVARS.get(name)
    if metavar is not None and get_origin(kind) is tuple:
        metavar += " ..."
    described = tyro.conf.arg(metavar=metavar, help_behavior_hint=default_of)
    return Annotated[(kind, described, *extras)]


def default_of(value: str) -> str:
    """Return the default as shown in the help; the text of an option explains an empty one."""
    return f"(default: {value})" if value not in ("", UNSET) else ""


@REGISTRY.primitive_rule
def _number(info: PrimitiveTypeInfo) -> Any:
    """Read a number; its error names what was got and expected."""
    if info.type not in NUMBERS:
        return None
    expected, metavar = NUMBERS[info.type]

    def read(words: list[str]) -> Any:
        try:
            return info.type(words[0])
        except ValueError:
            raise ValueError(f'must be {expected} (got "{words[0]}")') from None

    return PrimitiveConstructorSpec(
        nargs=1,
        metavar=metavar,
        instance_from_str=read,
        is_instance=lambda value: isinstance(value, info.type),
        str_from_instance=lambda value: [str(value)],
    )


@REGISTRY.primitive_rule
def _optional(info: PrimitiveTypeInfo) -> Any:
    """Read an option that may be unset, without ``None`` in its help."""
    kinds = get_args(info.type)
    if NoneType not in kinds:
        return None
    kind: Any = Union[tuple(kind for kind in kinds if kind is not NoneType)]  # noqa: UP007
    spec = ConstructorRegistry.get_primitive_spec(PrimitiveTypeInfo.make(kind, info.markers))
    if not isinstance(spec, PrimitiveConstructorSpec):
        return spec
    return replace(
        spec,
        instance_from_str=lambda words: None if words == [UNSET] else spec.instance_from_str(words),
        is_instance=lambda value: value is None or spec.is_instance(value),
        str_from_instance=lambda value: [UNSET] if value is None else spec.str_from_instance(value),
    )


@REGISTRY.struct_rule
def _config(info: StructTypeInfo) -> Any:
    """Give the options of a config metavars, and help without line breaks."""
    if not is_dataclass(info.type) or info.type in _passed_on:
        return None
    _passed_on.add(info.type)
    try:
        spec = ConstructorRegistry.get_struct_spec(info)
    finally:
        _passed_on.discard(info.type)
    if not isinstance(spec, StructConstructorSpec):
        return spec
    fields = [
        replace(
            field,
            type=option(field.name, field.type),
            helptext=partial(without_line_breaks, field.helptext),
        )
        for field in spec.fields
    ]
    return replace(spec, fields=tuple(fields))


def without_line_breaks(text: Any) -> str:
    """Return the description of an option, which tyro may give as a function, as one line."""
    return " ".join((text() if callable(text) else text or "").split())
