"""How commands read their options, and how ``--help`` shows them.

The options of a command are the parameters of its function, or the fields of its config. tyro
makes the parser. This module names the values (MODEL, FILE, ...), hides ``None`` and suggests the
closest option for an unknown one.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator
from dataclasses import is_dataclass, replace
from difflib import get_close_matches
from functools import partial
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

__all__ = ["did_you_mean", "parse"]

T = TypeVar("T")

UNSET = "none"  # unsets an option whose default is a value: --window-bp none
METAVARS = {
    "against": "TOKENIZER",
    "attention": "BACKEND",
    "background": "FILE",
    "class_weights": "WEIGHTS",
    "column": "NAME",
    "corpus": "FOLDER",
    "data": "FOLDER",
    "device": "DEVICE",
    "eval_corpus": "FOLDER",
    "file": "FILE",
    "files": "FILE",
    "init_from": "MODEL",
    "lora_targets": "NAME",
    "manifest": "FILE",
    "model": "MODEL",
    "motifs": "FILE",
    "on": "FILE",
    "out": "FILE",
    "part": "I/N",
    "plot": "FILE",
    "plots": "FOLDER",
    "prefix": "NAME",
    "reference": "FILE",
    "regions": "FILE",
    "sequences": "SEQUENCE",
    "signal": "FILE",
    "table": "FILE",
    "tasks": "TASK",
    "tokenizer": "TOKENIZER",
    "vcf": "FILE",
    "wandb": "PROJECT",
}
"""What an option takes, by its name; `tyro.conf.arg(metavar=...)` overrides it."""

REGISTRY = ConstructorRegistry()
_passed_on: set[Any] = set()


def parse(target: Callable[..., T], arguments: list[str], prog: str) -> T:
    """Call a function or make a config with the options of a command line."""
    require_known(arguments, set(flags(target)), prog)
    if isinstance(target, FunctionType):
        target = labelled(target)
    config = (tyro.conf.OmitArgPrefixes,)
    return tyro.cli(target, args=arguments, prog=prog, config=config, registry=REGISTRY)


def did_you_mean(word: str, words: Iterable[str]) -> str:
    """Return a question with the word that is most like another one; empty if none is."""
    return "".join(f" Did you mean {near}?" for near in get_close_matches(word, words, 1, 0.7))


def require_known(arguments: list[str], known: set[str], prog: str) -> None:
    """Raise ValueError for an option that the command does not have."""
    for argument in arguments:
        name = argument.partition("=")[0].replace("_", "-")
        if name.startswith("--") and name != "--" and name not in known:
            near = did_you_mean(name, sorted(known)) or f" See {prog} --help."
            raise ValueError(f"{argument.partition('=')[0]}: is not an option of {prog}.{near}")


def flags(target: Callable[..., Any]) -> Iterator[str]:
    """Yield the options of a function or config, those of the configs in it included."""
    yield "--help"
    hints = get_type_hints(target, include_extras=True)
    for name in inspect.signature(target).parameters:
        kind = get_args(hints[name])[0] if get_origin(hints[name]) is Annotated else hints[name]
        if is_dataclass(kind):
            yield from flags(kind)  # type: ignore[arg-type]
            continue
        flag = name.replace("_", "-")
        yield f"--{flag}"
        if kind is bool:
            yield f"--no-{flag}"


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
