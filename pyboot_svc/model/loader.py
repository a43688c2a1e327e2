"""From the text of `edge_mode` to something that can be called, with an error for each step."""

from __future__ import annotations

import importlib
import inspect
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import Any

from pyboot_svc.errors import ModelError
from pyboot_svc.identity import MODEL_PATTERN
from pyboot_svc.model.context import Context

# A model, whatever it looks like in its module: payload and context in, result out.
Model = Callable[[Any, Context], Any]


class MalformedPath(ModelError):
    """The text is no dotted path."""


class ModuleAbsent(ModelError):
    """There is no such module on the model path."""


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
    """Import what `path` (`{package}.{module}.{function}`) names; folders go in front of sys.path.

    A class is instantiated, with `context` if its `__init__` takes a parameter.
    """
    if not MODEL_PATTERN.fullmatch(path):
        raise MalformedPath(
            f"edge_mode {path!r} is not a dotted path to a function, as in package.module.function"
        )
    module_name, _, attribute = path.rpartition(".")
    _extend_path(model_path)
    module = _import(module_name, model_path)
    try:
        found = getattr(module, attribute)
    except AttributeError:
        names = sorted(name for name in vars(module) if not name.startswith("_"))
        raise AttributeAbsent(
            f"module {module_name} has no {attribute!r}; it has: {', '.join(names) or 'nothing'}"
        ) from None
    except BaseException as error:  # a module's own __getattr__ may import, and fail
        raise ImportFailed(_with_traceback(f"importing {path} failed", error)) from error
    if inspect.isclass(found):
        found = _construct(found, path, context)
    return _adapt(found, path)


def _extend_path(model_path: Sequence[str]) -> None:
    for folder in reversed(model_path):
        if folder not in sys.path:
            sys.path.insert(0, folder)


def _import(name: str, model_path: Sequence[str]) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        absent = error.name or ""
        if name == absent or name.startswith(f"{absent}."):
            searched = ", ".join(model_path)
            raise ModuleAbsent(
                f"there is no module {absent!r} (of edge_mode {name}); looked in {searched} and "
                "Python's own path; set model_path or --model-path to the folder that holds it"
            ) from None
        raise ImportFailed(_with_traceback(f"importing {name} failed", error)) from error
    except BaseException as error:  # a module may even call sys.exit
        raise ImportFailed(_with_traceback(f"importing {name} failed", error)) from error


def _construct(cls: type, path: str, context: Context) -> Any:
    takes_context = _positional(cls, path) > 0
    try:
        return cls(context) if takes_context else cls()
    except BaseException as error:  # the user's code: whatever it raises, the model isn't there
        raise ConstructionFailed(_with_traceback(f"creating a {path} failed", error)) from error


def _adapt(found: Any, path: str) -> Model:
    if not callable(found):
        raise NotCallable(f"{path} is a {type(found).__name__}, not a function or a class")
    if _is_lazy(found) or _is_lazy(type(found).__call__):
        raise NotCallable(f"{path} is a coroutine or a generator; a model is a plain function")
    if _positional(found, path) >= 2:
        return found  # type: ignore[no-any-return]
    return lambda payload, context: found(payload)


def _is_lazy(function: Any) -> bool:
    return (
        inspect.iscoroutinefunction(function)
        or inspect.isgeneratorfunction(function)
        or inspect.isasyncgenfunction(function)
    )


def _positional(target: Any, path: str) -> int:
    """How many of (payload, context) `target` is to be given; for a class: of (context,)."""
    is_class = inspect.isclass(target)
    try:
        parameters = list(inspect.signature(target).parameters.values())
    except (TypeError, ValueError):  # some built-ins say nothing about their parameters
        return 0 if is_class else 1
    most = 1 if is_class else 2
    slots = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    required = [p for p in slots if p.default is p.empty]
    forced = [p for p in parameters if p.kind is p.KEYWORD_ONLY and p.default is p.empty]
    open_ended = any(p.kind is p.VAR_POSITIONAL for p in parameters)
    if len(required) > most or forced or not (slots or open_ended or is_class):
        wanted = "(context) or ()" if is_class else "(payload) or (payload, context)"
        raise WrongArity(f"{path}{inspect.signature(target)} must be callable as {wanted}")
    offered = [p for p in slots[:most] if p in required or _means_context(p)]
    return max(len(offered), 0 if is_class else 1)


def _means_context(parameter: inspect.Parameter) -> bool:
    # f(payload, context=None) wants it; f(payload, window=10) has a setting of its own.
    return parameter.default is None or parameter.name == "context"


def _with_traceback(message: str, error: BaseException) -> str:
    lines = traceback.format_exception(error)
    try:
        text = str(error)
    except Exception:  # the exception's class is the user's code, too
        text = "(it can't be shown)"
    return f"{message}: {type(error).__name__}: {text}\n{''.join(lines).rstrip()}"
