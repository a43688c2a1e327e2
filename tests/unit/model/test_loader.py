"""From `edge_mode` to a callable: each failure is an error of its own, each signature is met."""

from __future__ import annotations

import importlib
import logging
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from pyboot_svc.errors import ModelError
from pyboot_svc.model import Context, load_model
from pyboot_svc.model.loader import (
    AttributeAbsent,
    ConstructionFailed,
    ImportFailed,
    MalformedPath,
    ModuleAbsent,
    NameTaken,
    NotCallable,
    WrongArity,
    exceptions_named,
    ticking,
    working_folder,
)
from pyboot_svc.retry import Retry

Write = Callable[[str, str], None]
Load = Callable[[str], Any]

CONTEXT = Context("given-1", Path("/state"), logging.getLogger("model.given-1"), {"high": 5})


@pytest.fixture(autouse=True)
def clean_imports(tmp_path: Path) -> Iterator[None]:
    """What a test imported from its folder is forgotten after it."""
    search, modules = list(sys.path), set(sys.modules)
    yield
    sys.path[:] = search
    tops = {
        file.name.removesuffix(".py") for folder in tmp_path.iterdir() for file in folder.iterdir()
    }
    for name in set(sys.modules) - modules:
        if name.split(".")[0] in tops:
            del sys.modules[name]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "models"
    made.mkdir()
    return made


@pytest.fixture
def write(folder: Path) -> Write:
    def to(name: str, code: str) -> None:
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(dedent(code))
        importlib.invalidate_caches()

    return to


@pytest.fixture
def load(folder: Path) -> Load:
    return lambda path: load_model(path, [str(folder)], CONTEXT)


@pytest.fixture
def define(write: Write, load: Load) -> Load:
    """Loads `model` out of a module with the given code."""

    def to(code: str) -> Any:
        write("given.py", code)
        return load("given.model")

    return to


@pytest.mark.parametrize(
    "path",
    [
        *("", "model", ".", "..", ".model", "a.", "a..b", "a b.c", "a.b c", "a.b\n", "1.b", "a.1"),
        *("a/b.c", "a:b", "a.b()", "{package}.{module}.{function}", "a-b.c", "a.b.", "os;exit.c"),
    ],
)
def test_malformed_path(load: Load, path: str) -> None:
    with pytest.raises(MalformedPath, match=r"package\.module\.function"):
        load(path)


@pytest.mark.parametrize(
    ("path", "absent"),
    [
        ("nowhere.model", "nowhere"),
        ("nowhere.deep.down.model", "nowhere"),
        ("given_package.nowhere.model", "given_package.nowhere"),
        ("given_package.nowhere.down.model", "given_package.nowhere"),
    ],
)
def test_module_absent(write: Write, load: Load, folder: Path, path: str, absent: str) -> None:
    write("given_package/__init__.py", "")
    write("given_package/inner.py", "class Class:\n    def method(self, payload): ...")
    with pytest.raises(ModuleAbsent) as caught:
        load(path)
    text = str(caught.value)
    assert f"no module {absent!r}" in text
    assert str(folder) in text
    assert "--model-path" in text
    assert "Traceback" not in text


@pytest.mark.parametrize(
    ("path", "error", "says"),
    [
        ("givn_package.inner.model", ModuleAbsent, "did you mean 'given_package'?"),
        ("given_package.iner.model", ModuleAbsent, "did you mean 'given_package.inner'?"),
        (
            "given_package.inner.Clas.method",
            AttributeAbsent,
            "module given_package.inner has no 'Clas'; did you mean 'Class'? it has: Class",
        ),
        ("given_package.inner.Class.methd", AttributeAbsent, "did you mean 'method'?"),
    ],
    ids=["package", "module", "class", "method"],
)
def test_a_name_that_is_nearly_right(
    write: Write, load: Load, path: str, error: type[Exception], says: str
) -> None:
    write("given_package/__init__.py", "")
    write("given_package/inner.py", "class Class:\n    def method(self, payload): ...")
    with pytest.raises(error) as caught:
        load(path)
    assert says in str(caught.value)


@pytest.mark.parametrize(
    "call", ["f(payload)", "asyncio.run(f(payload))"], ids=["hands on", "runs"]
)
def test_a_decorated_coroutine_function_is_run_to_its_end(define: Load, call: str) -> None:
    model = define(
        f"""
import asyncio, functools

def decorate(f):
    @functools.wraps(f)
    def call(payload):
        return {call}
    return call

@decorate
async def model(payload):
    await asyncio.sleep(0)
    return payload
"""
    )
    assert model.function(1) == 1
    model.close()


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("import no_such_dependency", "No module named 'no_such_dependency'"),
        ("import os.no_such_part", "No module named 'os.no_such_part'"),
        ("from os import no_such_name", "cannot import name 'no_such_name'"),
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("raise ModuleNotFoundError('by hand')", "ModuleNotFoundError: by hand"),
        ("import sys\nsys.exit(3)", "SystemExit: 3"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt"),
        ("def model(payload:\n    return 1", "SyntaxError"),
        ("def model(payload):\nreturn 1", "IndentationError"),
        # A SyntaxError from 3.11.4 on, before: a ValueError.
        ("model = '\x00'", "source code string cannot contain null bytes"),
        ("def recurse(): recurse()\nrecurse()", "RecursionError"),
        (
            "class Odd(Exception):\n    def __str__(self): raise ValueError\nraise Odd",
            "Odd: (it can't be shown)",
        ),
    ],
)
def test_the_modules_own_import_fails(write: Write, load: Load, code: str, says: str) -> None:
    write("given.py", code)
    with pytest.raises(ImportFailed) as caught:
        load("given.model")
    text = str(caught.value)
    assert text.startswith("importing given failed: ")
    assert says in text
    assert "Traceback" in text or "SyntaxError: source code" in text


def test_the_traceback_leads_to_the_failing_line(write: Write, load: Load) -> None:
    write("given_package/__init__.py", "")
    write("given_package/inner.py", "from given_package import helper")
    write("given_package/helper.py", "\n\nboom = {}['absent key']")
    with pytest.raises(ImportFailed) as caught:
        load("given_package.inner.model")
    text = str(caught.value)
    assert 'inner.py", line 1' in text
    assert 'helper.py", line 3' in text
    assert "KeyError: 'absent key'" in text


def test_a_module_that_is_not_utf8(folder: Path, load: Load) -> None:
    (folder / "given.py").write_bytes(b"text = '\xff'")
    with pytest.raises(ImportFailed, match="SyntaxError"):
        load("given.model")


def test_a_dependency_that_is_absent_is_no_absent_model(write: Write, load: Load) -> None:
    """Although its name begins like the model's path."""
    write("given_package/__init__.py", "")
    write("given_package/inner.py", "import given_package.other")
    with pytest.raises(ImportFailed, match=r"given_package\.other"):
        load("given_package.inner.model")


def test_a_package_whose_import_fails(write: Write, load: Load) -> None:
    write("given_package/__init__.py", "import no_such_dependency")
    write("given_package/inner.py", "def model(payload): ...")
    with pytest.raises(ImportFailed, match="no_such_dependency"):
        load("given_package.inner.model")


@pytest.mark.parametrize(
    ("end", "code"), [("sys.exit(5)", 5), ("pass", 1)], ids=["exit", "goes on"]
)
def test_a_child_that_an_import_forks_ends_there(define: Load, end: str, code: int) -> None:
    model = define(
        f"""
import os, sys
child = os.fork()
if child == 0:
    {end}
code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) if child else 0
def model(payload): return code
"""
    )
    assert model.function(1) == code


def test_attribute_absent(write: Write, load: Load) -> None:
    code = """
        import json
        from math import sqrt
        from collections import Counter
        def temperature(payload): ...
        limit = 5
        counter = Counter()
        _private = 1
    """
    write("given.py", code)
    with pytest.raises(AttributeAbsent) as caught:
        load("given.temprature")
    assert str(caught.value) == (
        "module given has no 'temprature'; did you mean 'temperature'? "
        "it has: counter, limit, temperature"
    )
    with pytest.raises(AttributeAbsent, match=r"given\.counter has no 'ad'; .*it has: clear, copy"):
        load("given.counter.ad")


def test_attribute_absent_in_an_empty_module(write: Write, load: Load) -> None:
    write("given.py", "")
    with pytest.raises(AttributeAbsent, match="it has: nothing"):
        load("given.model")


def test_a_module_getattr_is_asked_and_may_fail(write: Write, load: Load) -> None:
    write(
        "given.py",
        """
        def __getattr__(name):
            if name == "lazy":
                return len
            if name == "broken":
                import no_such_dependency
            raise AttributeError(name)
        """,
    )
    assert load("given.lazy")([1, 2], CONTEXT) == 2
    with pytest.raises(AttributeAbsent):
        load("given.other")
    with pytest.raises(ImportFailed, match="no_such_dependency"):
        load("given.broken")


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("model = 5", "is an int, not a function"),
        ("model = None", "is a NoneType, not a function"),
        ("model = 'text'", "is a str, not a function"),
        ("import os.path as model", "is a module, not a function"),
        ("class Kind: ...\nmodel = Kind()", "can't be called: the class Kind has no `__call__`"),
        ("class model: ...", "can't be called: the class model has no `__call__`"),
    ],
)
def test_not_callable(define: Load, code: str, said: str) -> None:
    with pytest.raises(NotCallable, match=rf"given\.model {said}"):
        define(code)


@pytest.mark.parametrize(
    "code",
    [
        "def model(payload): yield payload",
        "async def model(payload): yield payload",
        "class model:\n    def __call__(self, payload): yield payload",
        "import functools\ndef real(a, payload): yield a\nmodel = functools.partial(real, 1)",
    ],
)
def test_a_generator_is_no_model(define: Load, code: str) -> None:
    with pytest.raises(NotCallable, match="is a generator"):
        define(code)


@pytest.mark.parametrize(
    "code",
    [
        "async def model(payload): return payload + 1",
        "async def model(payload, context): return payload + context.options['high'] - 4",
        "class model:\n    async def __call__(self, payload): return payload + 1",
        "import functools\nasync def real(a, b): return a + b\nmodel = functools.partial(real, 1)",
        "class H:\n    async def of(self, payload): return payload + 1\nmodel = H().of",
        "import asyncio\nasync def model(payload): return await asyncio.sleep(0, payload + 1)",
    ],
)
def test_a_coroutine_function_is_run_to_its_end(define: Load, code: str) -> None:
    model = define(code)
    assert [model(1, CONTEXT), model(2, CONTEXT)] == [2, 3]
    model.close()


def test_what_a_coroutine_keeps_works_in_the_next_call(define: Load) -> None:
    """Of a loop that has ended nothing could be used."""
    model = define("""
        import asyncio

        class model:
            def __init__(self):
                self.queue = None
            async def __call__(self, payload):
                if self.queue is None:
                    self.queue = asyncio.Queue(1)
                    self.task = asyncio.create_task(self.echo())
                await self.queue.put(payload)
                await self.queue.join()
                return self.seen
            async def echo(self):
                while True:
                    self.seen = await self.queue.get()
                    self.queue.task_done()
            async def close(self):
                self.task.cancel()
                self.closed = True
    """)
    assert [model(n, CONTEXT) for n in range(3)] == [0, 1, 2]
    model.close()
    assert model.function is not None


@pytest.mark.parametrize(
    ("path", "result"),
    [
        ("given.scaler.apply", 30),
        ("given.Scaler.apply", 20),
        ("given.Scaler.twice", 20),
        ("given.Scaler", 20),
        ("given.nest.inner.apply", 30),
        ("given.apply_later", 30),
        ("given.wants", (10, 5)),
    ],
)
def test_attributes_of_attributes(write: Write, load: Load, path: str, result: Any) -> None:
    write(
        "given.py",
        """
        from functools import partial
        from types import SimpleNamespace

        class Scaler:
            def __init__(self, by=2): self.by = by
            def apply(self, payload): return payload * self.by
            __call__ = apply
            @staticmethod
            def twice(payload): return payload * 2

        scaler = Scaler(3)
        nest = SimpleNamespace(inner=scaler)
        apply_later = partial(Scaler.apply, scaler)
        wants = lambda payload, context: (payload, context.options["high"])
        """,
    )
    assert load(path)(10, CONTEXT) == result


def test_a_setting_of_a_library_is_no_context(define: Load) -> None:
    """As numpy's `sqrt(x, out=None)` and scikit-learn's `transform(X, copy=None)` have it."""
    model = define("def model(x, copy=None): return x, copy")
    assert model(1, CONTEXT) == (1, None)


def test_close_is_that_of_all_that_the_path_leads_through(write: Write, load: Load) -> None:
    write(
        "given.py",
        """
        closed = []

        class Opened:
            def __init__(self, name): self.name = name
            def __call__(self, payload): return payload
            def close(self): closed.append(self.name)

        outer = Opened("outer")
        outer.inner = Opened("inner")
        def plain(payload): return closed
        """,
    )
    load("given.outer.inner").close()
    plain = load("given.plain")
    plain.close()
    assert plain(1, CONTEXT) == ["inner", "outer"]


@pytest.mark.parametrize(
    ("names", "found"),
    [
        ((), (Retry,)),
        (("OSError", "given.Own"), (Retry, OSError)),
        (("socket.gaierror",), (Retry, socket.gaierror)),
    ],
)
def test_exceptions_named(write: Write, names: tuple[str, ...], found: Any, folder: Path) -> None:
    write("given.py", "class Own(Exception): ...")
    sys.path.insert(0, str(folder))
    assert exceptions_named(names)[: len(found)] == found


TICKING = """
    class Outer:
        def __call__(self, payload): return payload
        def tick(self, context): return context.instance
    class Inner:
        def predict(self, payload): return payload
        def tick(self): return "inner"
    model = Outer()
    model.inner = Inner()
    model.bare = lambda payload: payload
    def plain(payload): return payload
"""


@pytest.mark.parametrize(
    ("path", "result"),
    [
        ("given.model", "given-1"),
        ("given.Outer", "given-1"),
        ("given.model.bare", "given-1"),
        ("given.model.inner.predict", "inner"),
    ],
)
def test_tick_is_that_of_the_last_object_that_has_one(
    write: Write, load: Load, path: str, result: str
) -> None:
    write("given.py", TICKING)
    model = load(path)
    assert model.tick(CONTEXT) == result
    assert ticking(model, 5.0)
    assert not ticking(model, None)


def test_every_needs_a_tick(write: Write, load: Load) -> None:
    write("given.py", TICKING)
    plain = load("given.plain")
    assert not ticking(plain, None)
    with pytest.raises(ModelError, match="needs a model with a method"):
        ticking(plain, 5.0)


@pytest.mark.parametrize(
    ("parameters", "says"),
    [
        ("self, a, b", r"must be callable as \(context\) or \(\)"),
        ("self, *, key", r"must be callable as \(context\) or \(\)"),
    ],
)
def test_a_tick_that_takes_something_else(define: Load, parameters: str, says: str) -> None:
    with pytest.raises(WrongArity, match=says):
        define(
            f"class model:\n    def __call__(self, payload): ...\n    def tick({parameters}): ...\n"
        )


def test_a_tick_that_is_a_coroutine_needs_a_model_that_is_one(define: Load) -> None:
    with pytest.raises(NotCallable, match="has a tick that is an `async def`, and is none itself"):
        define(
            "class model:\n    def __call__(self, payload): ...\n    async def tick(self): ...\n"
        )


@pytest.mark.parametrize("name", ["Nope", "math.nope", "nowhere.Error", "math.sqrt", "int"])
def test_what_is_no_exception(name: str) -> None:
    with pytest.raises(ModelError, match=r"on_error\.retry: .*no exception"):
        exceptions_named([name])


@pytest.mark.parametrize(
    "code",
    [
        "def model(): ...",
        "def model(a, b, c): ...",
        "def model(a, b, c, *rest): ...",
        "def model(*, payload): ...",
        "def model(payload, *, window): ...",
        "def model(**options): ...",
        "model = lambda: None",
        "class model:\n    def __call__(self): ...",
        "class model:\n    def __call__(self, a, b, c): ...",
        "import functools\nmodel = functools.partial(lambda payload: None, 1)",
    ],
)
def test_wrong_arity(define: Load, code: str) -> None:
    with pytest.raises(WrongArity, match=r"\(payload\) or \(payload, context\)"):
        define(code)


@pytest.mark.parametrize(
    "parameters", ["self, context, more", "self, *, window", "self, context, *, window"]
)
def test_wrong_arity_of_a_class(define: Load, parameters: str) -> None:
    with pytest.raises(WrongArity, match=r"\(context\) or \(\)"):
        define(f"""
            class model:
                def __init__({parameters}): ...
                def __call__(self, payload): ...
        """)


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("raise OSError('no weights')", "OSError: no weights"),
        ("import sys; sys.exit(1)", "SystemExit: 1"),
        ("import no_such_dependency", "No module named 'no_such_dependency'"),
        ("undefined_name", "NameError"),
    ],
)
def test_construction_fails(define: Load, code: str, says: str) -> None:
    with pytest.raises(ConstructionFailed) as caught:
        define(f"""
            class model:
                def __init__(self):
                    {code}
                def __call__(self, payload): ...
        """)
    text = str(caught.value)
    assert text.startswith("creating a given.model failed: ")
    assert says in text
    assert 'given.py", line 4' in text


def test_an_abstract_class_cannot_be_made(define: Load) -> None:
    with pytest.raises(ConstructionFailed, match="abstract"):
        define("""
            import abc
            class model(abc.ABC):
                @abc.abstractmethod
                def __call__(self, payload): ...
        """)


def test_the_errors_are_siblings() -> None:
    """So that nobody takes one for another by catching it."""
    kinds = ModelError.__subclasses__()
    # Another one is about its environment.
    assert sum(kind.__module__ == load_model.__module__ for kind in kinds) == 8
    assert [kind for kind in kinds if kind.__subclasses__()] == []


@pytest.mark.parametrize(
    ("code", "gets_context"),
    [
        ("def model(payload): return (payload,)", False),
        ("def model(payload, context): return payload, context", True),
        ("def model(event, ctx): return event, ctx", True),
        ("def model(payload, /): return (payload,)", False),
        ("def model(payload, context, /): return payload, context", True),
        ("def model(payload, context=None): return payload, context", True),
        ("def model(payload, context=5): return payload, context", True),
        ("def model(payload, window=10): return (payload,)", False),
        ("def model(payload, window=10, context=None): return (payload,)", False),
        ("def model(payload, context, window=10): return payload, context", True),
        ("def model(payload=None, context=None): return payload, context", True),
        ("def model(payload, ctx=None): return payload, ctx", True),
        ("def model(payload, *, window=10): return (payload,)", False),
        ("def model(payload, **more): assert not more; return (payload,)", False),
        ("def model(*args): return args", False),
        ("def model(payload, *args): return (payload, *args)", False),
        ("def model(payload, context, *args): return (payload, context, *args)", True),
        ("model = lambda payload, context: (payload, context)", True),
        ("from functools import partial\nmodel = partial(lambda a, b: (b,), 1)", False),
        ("from functools import partial\nmodel = partial(lambda a, b, c: (b, c), 1)", True),
        ("from functools import partial\nmodel = partial(lambda b, a: (b,), a=1)", False),
        ("class Holder:\n    def of(self, payload): return (payload,)\nmodel = Holder().of", False),
        (
            "class H:\n    @staticmethod\n    def of(a, b): return a, b\nmodel = H.of",
            True,
        ),
        (
            "class H:\n    @classmethod\n    def of(cls, a, b): return a, b\nmodel = H.of",
            True,
        ),
    ],
)
def test_a_model_gets_what_it_asks_for(define: Load, code: str, gets_context: bool) -> None:
    expected = ("payload", CONTEXT) if gets_context else ("payload",)
    assert define(code)("payload", CONTEXT) == expected


def test_the_originals_handler(write: Write, load: Load) -> None:
    write(
        "index.py",
        """
        import json

        def handler(event, context):
            return json.loads(json.dumps(event))["value"] * 2
        """,
    )
    assert load("index.handler")({"value": 21}, CONTEXT) == 42


@pytest.mark.parametrize(
    ("path", "payload", "result"),
    [
        ("math.sqrt", 16.0, 4.0),
        ("builtins.len", [1, 2, 3], 3),
        ("builtins.max", [1, 3, 2], 3),  # says nothing of its parameters
        ("builtins.sum", [1, 2], 3),
        ("operator.neg", 5, -5),
        ("json.dumps", {"a": 1}, '{"a": 1}'),
        ("statistics.mean", [1, 3], 2),
    ],
)
def test_built_in_functions(load: Load, path: str, payload: Any, result: Any) -> None:
    assert load(path)(payload, CONTEXT) == result


@pytest.mark.parametrize("init", ["", "self", "self, context", "self, context=None", "self, *args"])
@pytest.mark.parametrize("call", ["self, payload", "self, payload, context"])
def test_classes(define: Load, init: str, call: str) -> None:
    """Made once, with a context if they ask for it; called with a context if they ask for it."""
    made = f"def __init__({init}): self.context = locals().get('context')" if init else ""
    model = define(f"""
        class model:
            count = 0
            context = None
            {made}
            def __call__({call}):
                self.count += 1
                return self.count, self.context, locals().get("context")
    """)
    at_init = CONTEXT if "context" in init else None
    at_call = CONTEXT if "context" in call else None
    assert model("payload", CONTEXT) == (1, at_init, at_call)
    assert model("payload", CONTEXT) == (2, at_init, at_call)


def test_a_class_with_a_setting_of_its_own(define: Load) -> None:
    model = define("""
        class model:
            def __init__(self, window=10):
                self.window = window
            def __call__(self, payload):
                return self.window
    """)
    assert model(1, CONTEXT) == 10


def test_an_instance_in_the_module(define: Load) -> None:
    model = define("""
        class Scale:
            def __init__(self, by): self.by = by
            def __call__(self, payload): return payload * self.by
        model = Scale(3)
    """)
    assert model(2, CONTEXT) == 6


def test_options_reach_a_class(define: Load) -> None:
    model = define("""
        class model:
            def __init__(self, context): self.high = context.options["high"]
            def __call__(self, payload): return payload > self.high
    """)
    assert model(6, CONTEXT) is True


def test_a_models_exception_passes_through(define: Load) -> None:
    model = define("def model(payload): raise ValueError('of the model')")
    with pytest.raises(ValueError, match="of the model"):
        model(1, CONTEXT)


ORIGINAL = "pyboot.modules.gridsum.science.industry.telemetry.telm_temperature"
ORIGINAL_FILE = "pyboot/modules/gridsum/science/industry/telemetry.py"


def test_the_originals_path_as_namespace_packages(write: Write, load: Load) -> None:
    write(ORIGINAL_FILE, "def telm_temperature(payload): return payload + 1")
    assert load(ORIGINAL)(1, CONTEXT) == 2


def test_a_namespace_package_over_two_folders(tmp_path: Path) -> None:
    for name in ("one", "two"):
        file = tmp_path / name / "given_space" / f"{name}.py"
        file.parent.mkdir(parents=True)
        file.write_text(f"def model(payload): return {name!r}")
    folders = [str(tmp_path / "one"), str(tmp_path / "two")]
    for name in ("one", "two"):
        model = load_model(f"given_space.{name}.model", folders, CONTEXT)
        assert model(1, CONTEXT) == name


def test_the_first_folder_of_the_model_path_wins(tmp_path: Path) -> None:
    folders = [tmp_path / "first", tmp_path / "second"]
    for folder in folders:
        folder.mkdir()
        (folder / "given.py").write_text(f"def model(payload): return {folder.name!r}")
    model = load_model("given.model", [str(folder) for folder in folders], CONTEXT)
    assert model(1, CONTEXT) == "first"


def test_a_folder_enters_the_search_path_once(write: Write, load: Load, folder: Path) -> None:
    write("given.py", "def model(payload): ...")
    load("given.model")
    load("given.model")
    assert sys.path.count(str(folder)) == 1


def test_a_model_works_in_its_folder_and_others_in_the_first_of_the_path(
    write: Write, folder: Path, tmp_path: Path
) -> None:
    write("mine.py", "")
    (tmp_path / "first").mkdir()
    path = [str(tmp_path / name) for name in ("missing", "first", "models")]
    assert working_folder("mine.f", path) == folder
    assert working_folder("json.loads", path) == tmp_path / "first"
    assert working_folder("json.loads", path[:1]) == Path("/")


def test_a_file_beside_the_model_does_not_stand_in_for_pythons_own(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "models"
    folder.mkdir()
    (folder / "colorsys.py").write_text("raise RuntimeError('of the model folder')")
    (folder / "shaded.py").write_text(
        "import colorsys\ndef model(payload): return colorsys.__file__"
    )
    model = load_model("shaded.model", [str(folder)], CONTEXT)
    assert str(folder) not in model(1, CONTEXT)


def test_it_stands_before_what_was_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed, own = tmp_path / "site-packages", tmp_path / "models"
    monkeypatch.setattr("sys.path", [*sys.path, str(installed)])
    for folder in (installed, own):
        folder.mkdir()
        (folder / "both.py").write_text(f"def model(payload): return {str(folder)!r}")
    model = load_model("both.model", [str(own)], CONTEXT)
    assert model(1, CONTEXT) == str(own)


def test_a_model_that_is_called_as_a_module_of_pythons_own(tmp_path: Path) -> None:
    folder = tmp_path / "models"
    folder.mkdir()
    (folder / "statistics.py").write_text("def model(payload): ...")
    with pytest.raises(NameTaken, match="Python has a module 'statistics' of its own") as raised:
        load_model("statistics.model", [str(folder)], CONTEXT)
    assert "give the model's another name" in str(raised.value)
    assert load_model("statistics.mean", [], CONTEXT)([1, 3], CONTEXT) == 2
