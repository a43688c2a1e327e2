"""From the text of `edge_mode` to something that can be called, with an error for each step."""

from __future__ import annotations

import glob
import importlib
import inspect
import logging
import os
import sys
import traceback
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from pyboot_svc.environments.libraries import release_own_libraries
from pyboot_svc.errors import ModelError
from pyboot_svc.forks import ending_forks
from pyboot_svc.identity import MODEL_PATTERN
from pyboot_svc.model.context import Context
from pyboot_svc.retry import Retry
from pyboot_svc.text import closest

_CONTEXT_NAMES = ("context", "ctx")

log = logging.getLogger(__name__)


class Model(NamedTuple):
    """A model, whatever it looks like in its module.

    `function` takes the payload, and the context if it wants it. `close` is for the end of the
    last call, in the thread that made the model. An object that was made with the context may have
    kept it.
    """

    function: Callable[..., Any]
    wants_context: bool = True
    close: Callable[[], object] = lambda: None
    may_keep_context: bool = False
    # What is called by time, if it can be.
    tick: Callable[[Context], Any] | None = None

    @property
    def needs_context(self) -> bool:
        """Whether a call can see the context."""
        return self.wants_context or self.may_keep_context

    def __call__(self, payload: Any, context: Context) -> Any:
        return self.function(payload, context) if self.wants_context else self.function(payload)


class MalformedPath(ModelError):
    """The text is no dotted path."""


class ModuleAbsent(ModelError):
    """There is no such module on the model path."""


class NameTaken(ModelError):
    """Python has a module of that name itself."""


class ImportFailed(ModelError):
    """The module is there, and its own import failed."""


class AttributeAbsent(ModelError):
    """The module has nothing of that name."""


class NotCallable(ModelError):
    """The name stands for something that can't be called as a model."""


class WrongArity(ModelError):
    """It can't be called with a payload, nor with a payload and a context."""


class ConstructionFailed(ModelError):
    """The name stands for a class, and making an instance of it failed."""


def load_model(path: str, model_path: Sequence[str], context: Context) -> Model:
    """Import what `path` names; its folders come behind Python's own modules.

    `path` is `{package}.{module}.{function}`, or goes on from there to attributes of attributes. A
    class is instantiated, with `context` if its `__init__` takes a parameter.
    """
    with ending_forks():
        return _load(path, model_path, context)


def _load(path: str, model_path: Sequence[str], context: Context) -> Model:
    if not MODEL_PATTERN.fullmatch(path):
        raise MalformedPath(
            f"edge_mode {path!r} is not a dotted path to a function, as in package.module.function"
        )
    _refuse_taken(path, model_path)
    _prepare_imports(model_path)
    module, attributes = _import(path, model_path)
    found: Any = module
    reached = module.__name__
    owners = []
    given_away = False
    for name in attributes:
        found = _attribute(found, name, reached)
        reached = f"{reached}.{name}"
        if inspect.isclass(found):
            takes_context = _positional(found, reached) > 0
            given_away |= takes_context
            found = _construct(found, reached, [context] if takes_context else [])
        owners.append(found)
    model = _adapt(found, path, _closers(owners))
    return model._replace(may_keep_context=given_away, tick=_ticker(owners, path, model))


def examine(path: str, model_path: Sequence[str]) -> None:
    """Import what `path` names, and see whether it can be called, without making an instance of a
    class; raises ModelError."""
    with ending_forks():
        _examine(path, model_path)


def _examine(path: str, model_path: Sequence[str]) -> None:
    if not MODEL_PATTERN.fullmatch(path):
        raise MalformedPath(f"edge_mode {path!r} is not a dotted path to a function")
    _refuse_taken(path, model_path)
    _prepare_imports(model_path)
    module, attributes = _import(path, model_path)
    found: Any = module
    reached = module.__name__
    for name in attributes:
        found = _attribute(found, name, reached)
        reached = f"{reached}.{name}"
        if inspect.isclass(found):
            # What its instances have by themselves isn't known.
            callable_ = any("__call__" in vars(base) for base in found.__mro__)
            if name == attributes[-1] and not callable_:
                raise NotCallable(f"{reached} is a class without __call__")
            return
    _adapt(found, path, ())


def model_folder(path: str, model_path: Sequence[str]) -> Path:
    """The folder that holds the module or package which `path` begins with: where a model works.

    `/` for one that is elsewhere on Python's path.
    """
    top = path.partition(".")[0]
    for folder in model_path:
        found = Path(folder).absolute()
        if os.path.isdir(found / top) or glob.glob(f"{glob.escape(str(found / top))}.*"):
            return found
    return Path("/")


def working_folder(path: str, model_path: Sequence[str]) -> Path:
    """Where a model works, and what files that it names are relative to: the folder that holds it;
    for one that is elsewhere, as those that come with pyboot, the first of the model path."""
    folder = model_folder(path, model_path)
    if folder != Path("/"):
        return folder
    folders = (Path(name).absolute() for name in model_path)
    return next((f for f in folders if os.path.isdir(f) and os.access(f, os.X_OK)), folder)


def version_of(path: str) -> str:
    """`__version__` of the module that `path` leads to, or of the package that holds it; once it is
    imported."""
    names = path.split(".")
    for length in range(len(names) - 1, 0, -1):
        module = sys.modules.get(".".join(names[:length]))
        version = getattr(module, "__version__", None)
        if version is not None:
            return str(version)
    return ""


def exceptions_named(names: Sequence[str]) -> tuple[type[BaseException], ...]:
    """The classes, of Python's own or `{module}.{name}`, and Retry; raises ModelError."""
    found: list[type[BaseException]] = [Retry]
    for name in names:
        module, _, last = name.rpartition(".")
        try:
            kind = getattr(importlib.import_module(module or "builtins"), last)
        except (ImportError, AttributeError) as error:
            raise ModelError(f"on_error.retry: there is no exception {name!r}: {error}") from None
        if not (inspect.isclass(kind) and issubclass(kind, BaseException)):
            raise ModelError(f"on_error.retry: {name} is no exception")
        found.append(kind)
    return tuple(found)


def ticking(model: Model, every: float | None) -> bool:
    """Whether it is called by time; raises ModelError when it should be, and can't."""
    if every is None and model.tick is not None:
        log.warning("the model has a `tick`, which is never called without `every`, as in 5s")
    if every is not None and model.tick is None:
        raise ModelError("`every` needs a model with a method `tick(context)`")
    return every is not None


def concurrency_of(model: Model, wanted: int) -> int:
    """How many calls may be made at once; raises ModelError for a model that can't do that."""
    if wanted > 1 and not hasattr(model.function, "call_all"):
        raise ModelError("`concurrency` needs a model that is an `async def`")
    return wanted


def _prepare_imports(model_path: Sequence[str]) -> None:
    """Its folders come behind the standard library, which a file beside a model must not stand in
    for, and before what was installed."""
    release_own_libraries()
    # Python tells compiled files that are out of date by seconds and sizes: of a model that is
    # saved twice within a second, the first would be run.
    sys.dont_write_bytecode = True
    place = next((n for n, entry in enumerate(sys.path) if _is_installed(entry)), len(sys.path))
    for folder in (str(Path(name).absolute()) for name in reversed(model_path)):
        if folder not in sys.path:
            sys.path.insert(place, folder)


def _is_installed(entry: str) -> bool:
    return Path(entry).name in ("site-packages", "dist-packages")


def _refuse_taken(path: str, model_path: Sequence[str]) -> None:
    top = path.partition(".")[0]
    folder = model_folder(path, model_path)
    if top in sys.stdlib_module_names and folder != Path("/"):
        raise NameTaken(
            f"edge_mode {path}: Python has a module {top!r} of its own, which is imported before "
            f"that in {folder}; give the model's another name"
        )


def _import(path: str, model_path: Sequence[str]) -> tuple[ModuleType, list[str]]:
    """The module that `path` begins with, as long as can be, and the names behind it."""
    *parts, last = path.split(".")
    behind = [last]
    while True:
        name = ".".join(parts)
        try:
            return importlib.import_module(name), behind
        except ModuleNotFoundError as error:
            absent = error.name or ""
            if name != absent and not name.startswith(f"{absent}."):
                raise ImportFailed(_with_traceback(f"importing {name} failed", error)) from error
            while ".".join(parts) != absent:
                behind.insert(0, parts.pop())
            parent = sys.modules.get(".".join(parts[:-1]))
            # What a package lacks may be meant to be a module; what a module lacks can't be.
            folders = model_path if parent is None else getattr(parent, "__path__", None)
            if folders is not None and not hasattr(parent, parts[-1]):
                raise ModuleAbsent(_absent(absent, path, folders, model_path)) from None
        except BaseException as error:  # a module may even call sys.exit
            raise ImportFailed(_with_traceback(f"importing {name} failed", error)) from error
        behind.insert(0, parts.pop())


def _absent(name: str, path: str, folders: Iterable[str], model_path: Sequence[str]) -> str:
    above, _, last = name.rpartition(".")
    import pkgutil  # this error alone needs it

    there = [module.name for module in pkgutil.iter_modules(list(folders))]
    hint = _did_you_mean(last, there, f"{above}." if above else "")
    return (
        f"there is no module {name!r} (of edge_mode {path}); {hint}looked in "
        f"{', '.join(model_path)} and Python's own path; set model_path or --model-path to the "
        "folder that holds it"
    )


def _did_you_mean(name: str, others: Iterable[str], before: str = "") -> str:
    close = closest(name, (one for one in others if one[0] != "_"))
    return f"did you mean {before + close!r}? " if close else ""


def _attribute(owner: Any, name: str, path: str) -> Any:
    try:
        return getattr(owner, name)
    except AttributeError:
        kind = "module " if inspect.ismodule(owner) else ""
        names = _offered(owner)
        hint = _did_you_mean(name, dir(owner))
        raise AttributeAbsent(
            f"{kind}{path} has no {name!r}; {hint}it has: {', '.join(names) or 'nothing'}"
        ) from None
    except BaseException as error:  # a module's own __getattr__ may import, and fail
        raise ImportFailed(_with_traceback(f"importing {path}.{name} failed", error)) from error


def _offered(owner: Any) -> list[str]:
    """The names of what could be meant: not what a module has imported."""

    def is_own(value: Any) -> bool:
        home = getattr(value, "__module__", None)
        if inspect.ismodule(value):
            return False
        is_import = inspect.isclass(value) or inspect.isroutine(value)
        return not is_import or home in (None, getattr(owner, "__name__", home))

    if not inspect.ismodule(owner):
        return sorted(name for name in dir(owner) if not name.startswith("_"))
    return sorted(n for n, value in vars(owner).items() if not n.startswith("_") and is_own(value))


def _construct(cls: type, path: str, arguments: Sequence[Context]) -> Any:
    try:
        return cls(*arguments)
    except BaseException as error:  # the user's code: whatever it raises, the model isn't there
        raise ConstructionFailed(_with_traceback(f"creating a {path} failed", error)) from error


def _adapt(found: Any, path: str, closers: Sequence[Callable[[], object]]) -> Model:
    if not callable(found):
        raise NotCallable(f"{path} {_why_not_callable(found)}")
    if _is(found, inspect.isgeneratorfunction) or _is(found, inspect.isasyncgenfunction):
        raise NotCallable(
            f"{path} is a generator: a model returns its result, a list if there are several"
        )
    wants_context = _positional(found, path) >= 2
    if not _is_coroutine(found):
        return Model(found, wants_context, partial(_close, closers))
    from pyboot_svc.model.coroutines import Coroutines

    runner = Coroutines(found)
    return Model(runner, wants_context, partial(runner.close, closers))


def _why_not_callable(found: Any) -> str:
    kind = type(found)
    if kind.__module__ != "builtins":
        return f"can't be called: the class {kind.__name__} has no `__call__`"
    article = "an" if kind.__name__[0] in "aeiou" else "a"
    return f"is {article} {kind.__name__}, not a function or a class"


def _ticker(owners: Sequence[Any], path: str, model: Model) -> Callable[[Context], Any] | None:
    """`tick` of the last object on the way that has one; it may take no context."""
    methods = (getattr(owner, "tick", None) for owner in reversed(owners))
    tick = next((method for method in methods if callable(method)), None)
    if tick is None:
        return None
    takes_context = _positional(tick, f"{path}'s tick", most=1) > 0
    if _is_coroutine(tick):
        if not hasattr(model.function, "run"):
            raise NotCallable(f"{path} has a tick that is an `async def`, and is none itself")
        tick = partial(model.function.run, tick)
    return tick if takes_context else lambda context: tick()


def _closers(owners: Sequence[Any]) -> list[Callable[[], object]]:
    """`close` of each object that the path leads through and that has one, the last first."""
    methods = [getattr(owner, "close", None) for owner in reversed(owners)]
    return [method for method in methods if callable(method)]


def _close(closers: Sequence[Callable[[], object]]) -> None:
    for close in closers:
        close()


def _is_coroutine(found: Any) -> bool:
    """Also one that a decorator hands on, which is none itself."""
    try:
        inner = inspect.unwrap(found)
    except ValueError:  # it leads back to itself
        inner = found
    return _is(found, inspect.iscoroutinefunction) or _is(inner, inspect.iscoroutinefunction)


def _is(found: Any, kind: Callable[[Any], bool]) -> bool:
    return kind(found) or kind(type(found).__call__)


def _positional(target: Any, path: str, most: int = 2) -> int:
    """How many of (payload, context) `target` is to be given; for a class, or with `most` 1: of
    (context,)."""
    is_class = inspect.isclass(target)
    try:
        parameters = list(inspect.signature(target).parameters.values())
    except (TypeError, ValueError):  # some built-ins say nothing about their parameters
        return 0 if is_class else 1
    most = 1 if is_class else most
    slots = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    required = [p for p in slots if p.default is p.empty]
    forced = [p for p in parameters if p.kind is p.KEYWORD_ONLY and p.default is p.empty]
    open_ended = any(p.kind is p.VAR_POSITIONAL for p in parameters)
    if len(required) > most or forced or not (slots or open_ended or most == 1):
        wanted = "(context) or ()" if most == 1 else "(payload) or (payload, context)"
        raise WrongArity(f"{path}{inspect.signature(target)} must be callable as {wanted}")
    # f(payload, context=None) wants it; f(payload, window=10) and numpy's f(x, out=None) have a
    # setting of their own.
    takes_context = any(p in required or p.name in _CONTEXT_NAMES for p in slots[most - 1 : most])
    return most if takes_context else most - 1


def _with_traceback(message: str, error: BaseException) -> str:
    lines = traceback.format_exception(error)
    try:
        text = str(error)
    except Exception:  # the exception's class is the user's code, too
        text = "(it can't be shown)"
    said = f"{type(error).__name__}: {text}" if text else type(error).__name__
    return f"{message}: {said}\n{''.join(lines).rstrip()}"
