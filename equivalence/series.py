"""Linking: a step of a series is a symbol table, not a copy of the code.

Step 0 is the base; each patch adds, replaces and removes symbols by name. Linking a step checks
that every name a function uses is defined and that every call fits the callee's signature, and
then re-creates the functions over a namespace of their own, so that a plain call by name reaches
that step's version and every system has its own global variables.

Marks on functions are read as attributes, so that this module needs to know no subject:
``__ported__`` (file, C name), ``__extern__`` (declared only), ``__static_data__`` (assigns the
file's global variables at boot).
"""

from __future__ import annotations

import ast
import builtins
import dis
import inspect
import linecache
import sys
import textwrap
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from types import CodeType, FunctionType, ModuleType
from typing import Any, Final, NamedTuple, TypeVar

from typing_extensions import TypeIs

from equivalence.subject import Predicate


class LinkError(ValueError):
    """A step that does not link: the message names the symbol and who uses it."""


class Call(NamedTuple):
    """One call by plain name, as it stands in a function's source."""

    callee: str
    positional: int
    keywords: tuple[str, ...]
    open_ended: bool


@dataclass(frozen=True, slots=True)
class Symbols:
    """A symbol table: what each name stands for, and which names are global variables."""

    table: Mapping[str, Any]
    data: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class DeadBranch:
    """An outcome of a condition that cannot happen, and the reason in the code's terms.

    ``test`` is the whole condition and ``operand`` the part of it, both as ``ast.unparse`` writes
    them.
    """

    function: str
    test: str
    operand: str
    outcome: bool
    reason: str


@dataclass(frozen=True, slots=True)
class Patch:
    """What one patch of a series does to the symbol table, and what it says of itself."""

    name: str
    title: str
    add: Mapping[str, Any] = field(default_factory=dict)
    replace: Mapping[str, Any] = field(default_factory=dict)
    remove: tuple[str, ...] = ()
    #: Whether the patch declares a change of behaviour.
    declares_change: bool = False
    predicates: tuple[Predicate, ...] = ()
    #: Outcomes of the conditions it changes that cannot happen.
    dead: tuple[DeadBranch, ...] = ()


def c_name(function: Any) -> str:
    """The name in the C source of a ported function, of anything else its Python name."""
    origin = getattr(function, "__ported__", None)
    return str(origin.name) if origin is not None else str(function.__name__)


def collect(modules: Iterable[ModuleType]) -> Symbols:
    """One flat symbol table of the modules; a definition takes the place of a declaration.

    Raises:
        LinkError: two modules define one name differently.
    """
    table: dict[str, Any] = {}
    owner: dict[str, str] = {}
    data: set[str] = set()
    for module in modules:
        data.update(n for n in inspect.get_annotations(module) if n not in module.__dict__)
        for name, value in vars(module).items():
            if name.startswith("__") or isinstance(value, TypeVar):
                continue
            present = table.get(name)
            if present is None or (_is_extern(present) and isinstance(value, FunctionType)):
                table[name] = value
                owner[name] = module.__name__
            elif present is not value and not _is_extern(value) and _matters(present, value):
                msg = f"symbol {name!r} is defined in {owner[name]} and in {module.__name__}"
                raise LinkError(msg)
    clash = sorted(data & table.keys())
    if clash:
        msg = (
            f"symbol {clash[0]!r} is declared as a global variable and defined in {owner[clash[0]]}"
        )
        raise LinkError(msg)
    return Symbols(table, frozenset(data))


def _is_extern(value: Any) -> bool:
    return isinstance(value, FunctionType) and bool(getattr(value, "__extern__", False))


def _is_linked(value: Any) -> TypeIs[FunctionType]:
    """Whether a value is a function of the subject, not one it imported from the library."""
    if not isinstance(value, FunctionType):
        return False
    return value.__module__.partition(".")[0] not in sys.stdlib_module_names


def _matters(one: Any, other: Any) -> bool:
    if isinstance(one, FunctionType) or isinstance(other, FunctionType):
        return True
    return type(one) is not type(other) or bool(one != other)


@dataclass(frozen=True)
class Series:
    """A base and patches; ``steps[k]`` is the base with patches 1 to k applied."""

    name: str
    title: str
    base: Symbols
    patches: tuple[Patch, ...]

    @cached_property
    def steps(self) -> tuple[Step, ...]:
        """All steps, linked.

        Raises:
            LinkError: a patch adds what exists or replaces or removes what does not, or a step
                uses what it does not define.
        """
        table = dict(self.base.table)
        steps = [Step(self.name, 0, "base", dict(table), self.base.data)]
        for number, patch in enumerate(self.patches, start=1):
            apply_patch(table, patch)
            steps.append(Step(self.name, number, patch.name, dict(table), self.base.data))
        for step in steps:
            step.check()
        return tuple(steps)


def apply_patch(table: dict[str, Any], patch: Patch) -> None:
    """Change a symbol table as the patch does.

    Raises:
        LinkError: the patch does not fit the table.
    """
    for name, value in patch.add.items():
        if name in table and not _is_extern(table[name]):
            msg = f"patch {patch.name!r} adds {name!r}, which exists already"
            raise LinkError(msg)
        table[name] = value
    for name, value in patch.replace.items():
        if name not in table:
            msg = f"patch {patch.name!r} replaces {name!r}, which does not exist"
            raise LinkError(msg)
        table[name] = value
    for name in patch.remove:
        if name not in table:
            msg = f"patch {patch.name!r} removes {name!r}, which does not exist"
            raise LinkError(msg)
        del table[name]


@dataclass(frozen=True, eq=False)
class Step:
    """One step of a series, ready to be instantiated."""

    series: str
    number: int
    name: str
    table: Mapping[str, Any]
    data: frozenset[str]

    @property
    def label(self) -> str:
        """How results name it."""
        return f"{self.series}@{self.number}"

    @cached_property
    def functions(self) -> Mapping[str, FunctionType]:
        """The functions of the step by symbol name."""
        return {n: v for n, v in self.table.items() if _is_linked(v)}

    def check(self) -> None:
        """Raise :class:`LinkError` unless every use of a symbol fits its definition."""
        for name, function in self.functions.items():
            if _is_extern(function):
                users = sorted(n for n, f in self.functions.items() if name in used_names(f))
                if users:
                    msg = f"{self.label}: {users[0]!r} uses {name!r}, declared but not defined"
                    raise LinkError(msg)
                continue
            for used in used_names(function):
                if used not in self.table and used not in self.data and not hasattr(builtins, used):
                    msg = f"{self.label}: {name!r} uses {used!r}, which this step does not define"
                    raise LinkError(msg)
            for call in calls_of(function):
                callee = self.functions.get(call.callee)
                if callee is not None and not call.open_ended:
                    _check_call(self.label, name, call, callee)

    def changed_from(self, other: Step) -> tuple[str, ...]:
        """Names of the functions that differ from another step's, sorted; added and removed too."""
        names = self.functions.keys() | other.functions.keys()
        return tuple(
            sorted(
                name
                for name in names
                if not same_code(self.functions.get(name), other.functions.get(name))
            )
        )

    def callers_of(self, names: Iterable[str]) -> tuple[str, ...]:
        """Names of the functions that call one of ``names`` directly, sorted."""
        wanted = set(names)
        return tuple(sorted(n for n, f in self.functions.items() if wanted & used_names(f)))

    def instantiate(self, overrides: Mapping[str, CodeType] | None = None) -> dict[str, Any]:
        """A fresh namespace with the step's functions re-created over it.

        ``overrides`` gives functions another body (instrumented, or mutated). Each namespace gets
        code objects of its own, so that the interpreter's per-call-site caches are not shared.
        """
        namespace: dict[str, Any] = {"__builtins__": builtins}
        made: dict[int, FunctionType] = {}
        for name, value in self.table.items():
            if not _is_linked(value):
                namespace[name] = value
                continue
            again = made.get(id(value))
            if again is None:
                code = (overrides or {}).get(name) or value.__code__
                fresh = code.replace(co_name=value.__code__.co_name)
                again = FunctionType(fresh, namespace, value.__name__, value.__defaults__)
                again.__kwdefaults__ = value.__kwdefaults__
                again.__dict__.update(value.__dict__)
                made[id(value)] = again
            namespace[name] = again
        return namespace


@cache
def used_names(function: FunctionType) -> frozenset[str]:
    """The global names that a function's code loads."""
    names: set[str] = set()
    pending = [function.__code__]
    while pending:
        code = pending.pop()
        names.update(_global_loads(code))
        pending.extend(c for c in code.co_consts if isinstance(c, CodeType))
    return frozenset(names)


def _global_loads(code: CodeType) -> set[str]:
    # As dis does, which takes ten times as long; the low bit of a global's argument says whether it
    # is called.
    names: set[str] = set()
    high = 0
    for operation, low in zip(code.co_code[::2], code.co_code[1::2], strict=True):
        argument = high | low
        high = argument << 8 if operation == dis.EXTENDED_ARG else 0
        if operation == _LOAD_GLOBAL:
            names.add(code.co_names[argument >> 1])
        elif operation == _LOAD_NAME:
            names.add(code.co_names[argument])
    return names


_LOAD_GLOBAL: Final = dis.opmap["LOAD_GLOBAL"]
_LOAD_NAME: Final = dis.opmap["LOAD_NAME"]


@cache
def source_tree(function: FunctionType) -> ast.FunctionDef:
    """The function's syntax tree with the line numbers of its file; docstring kept."""
    first = function.__code__.co_firstlineno
    file = function.__code__.co_filename
    linecache.checkcache(file)
    known = _definitions("".join(linecache.getlines(file))).get(first)
    if known is not None and known.name == function.__code__.co_name:
        return known
    # One that stands inside another, or is the edit of one.
    lines, first = inspect.getsourcelines(function)
    tree = ast.parse(textwrap.dedent("".join(lines)))
    ast.increment_lineno(tree, first - 1)
    node = tree.body[0]
    assert isinstance(node, ast.FunctionDef), function
    return node


@cache
def _definitions(source: str) -> dict[int, ast.FunctionDef]:
    """The functions of a file by their first lines: much cheaper than to read each alone."""
    return {
        min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)]): node
        for node in ast.parse(source).body
        if isinstance(node, ast.FunctionDef)
    }


@cache
def calls_of(function: FunctionType) -> tuple[Call, ...]:
    """Calls by plain name in a function's source."""
    calls = []
    for node in ast.walk(source_tree(function)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            open_ended = any(isinstance(a, ast.Starred) for a in node.args) or any(
                k.arg is None for k in node.keywords
            )
            keywords = tuple(k.arg for k in node.keywords if k.arg is not None)
            calls.append(Call(node.func.id, len(node.args), keywords, open_ended))
    return tuple(calls)


def _check_call(label: str, caller: str, call: Call, callee: FunctionType) -> None:
    misfit = _misfit(call, callee)
    if misfit:
        given = call.positional + len(call.keywords)
        msg = f"{label}: {caller!r} calls {call.callee!r} with {given} arguments: {misfit}"
        raise LinkError(msg)


@cache
def _misfit(call: Call, callee: FunctionType) -> str:
    """Why a call does not fit the callee's signature, or ""."""
    try:
        _signature(callee).bind(*[None] * call.positional, **dict.fromkeys(call.keywords))
    except TypeError as error:
        return str(error)
    return ""


@cache
def _signature(function: FunctionType) -> inspect.Signature:
    return inspect.signature(function)


def same_code(one: Callable[..., Any] | None, other: Callable[..., Any] | None) -> bool:
    """Whether two functions compile to the same code, names and line numbers aside."""
    if one is other:
        return True
    if not isinstance(one, FunctionType) or not isinstance(other, FunctionType):
        return False
    return (
        one.__defaults__ == other.__defaults__
        and one.__kwdefaults__ == other.__kwdefaults__
        and _shape(one.__code__) == _shape(other.__code__)
    )


@cache
def _shape(code: CodeType) -> tuple[Any, ...]:
    # Other constants are told by the instructions that load them, which the docstring has not.
    inner = tuple(_shape(c) for c in code.co_consts if isinstance(c, CodeType))
    return (
        _instructions(code),
        code.co_names,
        code.co_argcount,
        code.co_kwonlyargcount,
        code.co_flags,
        code.co_exceptiontable,
        inner,
    )


def _instructions(code: CodeType) -> tuple[tuple[str, Any], ...]:
    return tuple(
        (i.opname, i.argrepr if not isinstance(i.argval, CodeType) else "<code>")
        for i in dis.get_instructions(code)
    )
