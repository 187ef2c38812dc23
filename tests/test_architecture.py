"""The laws of the house that can be read off the source: who imports whom, what is never unpickled, which
arithmetic the fold may use, how long a file may be.

Each rule is a function from source text to complaints, and each is tried on planted violations too: a rule
that finds nothing has to be known to look.
"""

import ast
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("online", "batch", "api", "simulations")
LINES_MAX = 450
NAMES_WITHOUT_A_NOUN = {"utils.py", "common.py", "types.py", "helpers.py", "misc.py"}


def sources(*folders: str) -> list[Path]:
    """Every Python file below `folders`, relative to the root."""
    found = (path for folder in folders for path in (ROOT / folder).rglob("*.py"))
    return sorted(path.relative_to(ROOT) for path in found)


def complaints(rule: Callable[[Path, str], Iterator[str]], *folders: str) -> str:
    """What `rule` finds below `folders`, a line each; "" where all is well."""
    texts = ((path, (ROOT / path).read_text("utf-8")) for path in sources(*folders))
    return "\n".join(f"{path}: {problem}" for path, text in texts for problem in rule(path, text))


# ---- Reading imports and names
# -----------------------------------------------------------------------------------


def imports(path: Path, source: str) -> Iterator[tuple[str, int, bool]]:
    """(module, line, inside a function) of each import; relative ones resolved, import_module() seen."""

    def visit(node: ast.AST, inside: bool) -> Iterator[tuple[str, int, bool]]:
        match node:
            case ast.Import(names=names):
                for name in names:
                    yield name.name, node.lineno, inside
            case ast.ImportFrom(module=module, level=level, names=names):
                package = ".".join(path.parts[: len(path.parts) - level]) if level else ""
                base = ".".join(part for part in (package, module) if part)
                for name in names:
                    yield f"{base}.{name.name}", node.lineno, inside
            case ast.Call(func=func, args=[ast.Constant(value=str(module)), *_]) if (
                isinstance(func, ast.Attribute) and func.attr == "import_module"
            ) or (isinstance(func, ast.Name) and func.id in ("import_module", "__import__")):
                yield module, node.lineno, inside
        inside = inside or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for child in ast.iter_child_nodes(node):
            yield from visit(child, inside)

    yield from visit(ast.parse(source), False)


def is_in(module: str, package: str) -> bool:
    return module == package or module.startswith(package + ".")


def aliases(tree: ast.AST) -> dict[str, str]:
    """Local name -> what it stands for: `import numpy as np` gives np -> numpy."""
    known: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for name in node.names:
                known[name.asname or name.name.split(".")[0]] = name.name if name.asname else name.name.split(".")[0]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for name in node.names:
                known[name.asname or name.name] = f"{node.module}.{name.name}"
    return known


def dotted(node: ast.expr, known: dict[str, str]) -> str:
    """The full name of `np.linalg.solve`, or "" where the expression is no name."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name):
        return ""
    return ".".join([known.get(node.id, node.id), *reversed(parts)])


# ---- Imports run one way
# -----------------------------------------------------------------------------------------

FORBIDDEN_IMPORTS = {
    "online": ("batch", "api", "simulations", "torch", "fastapi", "starlette", "uvicorn"),
    "batch": ("api", "simulations", "fastapi", "starlette", "uvicorn"),
    "api": ("batch", "simulations", "torch"),
    "simulations": ("fastapi", "starlette", "uvicorn"),
}


# The command line puts the parts together; it imports the heavy ones inside its functions.
def is_composition_root(path: Path) -> bool:
    return path.parent == Path("api") and path.name.startswith("command")


def import_direction(path: Path, source: str) -> Iterator[str]:
    package = path.parts[0]
    for module, line, inside_function in imports(path, source):
        for forbidden in FORBIDDEN_IMPORTS.get(package, ()):
            lazily = inside_function and (is_composition_root(path) or (package, forbidden) == ("api", "torch"))
            if is_in(module, forbidden) and not lazily:
                yield f"line {line}: {package} must not import {module}"
        if path.is_relative_to("online/log") and is_in(module, "online") and not is_in(module, "online.log"):
            yield f"line {line}: the log knows nothing of {module}"
        for one, other in (("recommendation", "pricing"), ("pricing", "recommendation")):
            if one in path.with_suffix("").parts and any(is_in(module, f"{top}.{other}") for top in PACKAGES):
                yield f"line {line}: {one} must not import {module}"


def test_imports_run_one_way():
    assert complaints(import_direction, *PACKAGES) == ""


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("online/fold.py", "import torch"),
        ("online/fold.py", "from torch.nn import functional"),
        ("online/live.py", "import fastapi.responses"),
        ("online/live.py", "def f():\n    import api.schemas"),
        ("online/live.py", "import importlib\nimportlib.import_module('batch.network')"),
        ("online/log/writer.py", "from online import records"),
        ("online/recommendation/decide.py", "from online.pricing import decide"),
        ("online/recommendation/decide.py", "from ..pricing import decide"),
        ("online/pricing/decide.py", "import online.recommendation.decide"),
        ("batch/train.py", "from api import schemas"),
        ("api/service.py", "def f():\n    import batch.network"),
        ("api/command.py", "import batch.network"),
        ("api/doctor.py", "import torch"),
        ("simulations/viewers.py", "import fastapi"),
    ],
)
def test_an_import_the_wrong_way_is_found(path, source):
    assert list(import_direction(Path(path), source))


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("online/fold.py", "import numpy as np\nfrom online.records import Event"),
        ("online/log/writer.py", "from online.log.keys import LogKeys\nfrom . import errors"),
        ("batch/train.py", "import torch\nfrom online import artifact"),
        ("api/command.py", "def pretrain():\n    from batch import train\n    import simulations.demo"),
        ("api/doctor.py", "def gpu():\n    import torch"),
        ("online/torches.py", "import torchlight"),
    ],
)
def test_an_import_the_right_way_passes(path, source):
    assert list(import_direction(Path(path), source)) == []


# ---- Nothing is ever unpickled
# -----------------------------------------------------------------------------------

PICKLING_MODULES = ("pickle", "_pickle", "joblib", "shelve", "marshal", "dill", "cloudpickle", "jsonpickle")
PICKLING_CALLS = {
    *("torch.load", "torch.save", "torch.jit.load", "torch.package.PackageImporter", "pandas.read_pickle"),
    *("yaml.load", "yaml.unsafe_load", "numpy.fromregex"),
}


def no_unpickling(path: Path, source: str) -> Iterator[str]:
    for module, line, _ in imports(path, source):
        if any(is_in(module, pickling) for pickling in PICKLING_MODULES):
            yield f"line {line}: {module} runs what a file tells it to"
    tree = ast.parse(source)
    known = aliases(tree)
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name = dotted(node.func, known)
        if name in PICKLING_CALLS:
            yield f"line {node.lineno}: {name} runs what a file tells it to"
        for keyword in node.keywords:
            safe = isinstance(keyword.value, ast.Constant) and keyword.value.value is False
            if keyword.arg == "allow_pickle" and not safe:
                yield f"line {node.lineno}: allow_pickle runs what a file tells it to"


def test_nothing_is_ever_unpickled():
    assert complaints(no_unpickling, *PACKAGES, "benchmarks") == ""


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from pickle import loads",
        "import joblib as j",
        "import shelve",
        "from torch import load\nload('x')",
        "import torch as t\nt.load('x')",
        "import numpy as np\nnp.load('x', allow_pickle=True)",
        "import numpy as np\nnp.load('x', allow_pickle=flag)",
        "def f():\n    import dill",
        "__import__('marshal')",
    ],
)
def test_unpickling_is_found(source):
    assert list(no_unpickling(Path("batch/x.py"), source))


def test_loading_arrays_without_pickle_passes():
    source = "import numpy as np\nnp.load('x', allow_pickle=False)\nnp.load('y')\nimport json\njson.load(z)"
    assert list(no_unpickling(Path("batch/x.py"), source)) == []


# ---- Exact arithmetic
# ---------------------------------------------------------------------------------------------

# Their last bits depend on the library, the thread count or the processor's features (law 2).
INEXACT_FUNCTIONS = {
    *(
        "exp",
        "exp2",
        "expm1",
        "log",
        "log2",
        "log10",
        "log1p",
        "power",
        "float_power",
        "pow",
        "cbrt",
        "hypot",
    ),
    *(
        "sin",
        "cos",
        "tan",
        "sinh",
        "cosh",
        "tanh",
        "arcsin",
        "arccos",
        "arctan",
        "arctan2",
        "asin",
        "acos",
        "atan",
    ),
    *("atan2", "erf", "erfc", "gamma", "lgamma", "logaddexp", "i0", "sinc"),
    *("dot", "vdot", "inner", "outer", "matmul", "einsum", "tensordot", "convolve", "correlate"),
}
INEXACT_MODULES = ("numpy.linalg", "numpy.fft", "numpy.random", "scipy", "random")
REDUCTIONS = {
    "sum",
    "mean",
    "prod",
    "cumsum",
    "cumprod",
    "std",
    "var",
    "average",
    "median",
    "nansum",
    "nanmean",
    "dot",
}
# These watch the fold, read files for it, or time it; nothing of theirs enters a state or a decision.
OUTSIDE_THE_FOLD = {Path("online/monitor.py"), Path("online/interactions.py")}
KERNEL_DECORATORS = {"kernel", "counting_kernel", "njit", "jit", "vectorize", "guvectorize"}


def is_kernel(node: ast.FunctionDef, known: dict[str, str]) -> bool:
    names = (dotted(d.func if isinstance(d, ast.Call) else d, known) for d in node.decorator_list)
    return any(name.split(".")[-1] in KERNEL_DECORATORS for name in names)


def exact_arithmetic(path: Path, source: str) -> Iterator[str]:
    if path in OUTSIDE_THE_FOLD:
        return
    tree = ast.parse(source)
    known = aliases(tree)
    for node in ast.walk(tree):
        match node:
            case ast.BinOp(op=ast.MatMult()) | ast.AugAssign(op=ast.MatMult()):
                yield f"line {node.lineno}: `@` is BLAS"
            case ast.Attribute() | ast.Name() if isinstance(node.ctx, ast.Load):
                name = dotted(node, known)
                module, _, function = name.rpartition(".")
                if (module in ("numpy", "math", "cmath") and function in INEXACT_FUNCTIONS) or any(
                    is_in(name, inexact) for inexact in INEXACT_MODULES
                ):
                    yield f"line {node.lineno}: {name} is not exact everywhere"
            case ast.keyword(arg="fastmath" | "parallel" as flag, value=value):
                if not (isinstance(value, ast.Constant) and value.value is False):
                    yield f"line {value.lineno}: {flag} reorders arithmetic"
            case ast.FunctionDef() if is_kernel(node, known):
                yield from exact_kernel(node, known)


def exact_kernel(kernel: ast.FunctionDef, known: dict[str, str]) -> Iterator[str]:
    """Inside a compiled kernel also: no reductions of the library's, no power."""
    for node in ast.walk(kernel):
        match node:
            case ast.BinOp(op=ast.Pow()) | ast.AugAssign(op=ast.Pow()):
                yield f"line {node.lineno}: `**` is libm's pow"
            case ast.Call(func=ast.Attribute(attr=attr) as func) if attr in REDUCTIONS:
                name = dotted(func, known) or f"….{attr}"
                yield f"line {node.lineno}: {name}() chooses its own order"


def test_the_fold_and_decisions_use_exact_arithmetic_in_a_fixed_order():
    assert complaints(exact_arithmetic, "online") == ""


@pytest.mark.parametrize(
    "source",
    [
        "def f(a, b):\n    return a @ b",
        "import numpy as np\ndef f(a):\n    return np.exp(a)",
        "import numpy\ndef f(a):\n    return numpy.linalg.solve(a, a)",
        "from math import log\ndef f(a):\n    return log(a)",
        "import math\nf = math.tanh",
        "import numpy as np\nnp.random.default_rng()",
        "import random\nrandom.random()",
        "from numba import njit\n@njit(cache=True, fastmath=True)\ndef f(a):\n    return a",
        "from numba import njit\n@njit(parallel=True)\ndef f(a):\n    return a",
        "from numba import njit\n@njit\ndef f(a):\n    return a.sum()",
        "import numba, numpy as np\n@numba.njit(cache=True)\ndef f(a):\n    return np.sum(a)",
        "from numba import njit\n@njit\ndef f(a):\n    return a ** 0.5",
        "from online.compiling import kernel\n@kernel\ndef f(a):\n    return a.sum()",
        "from online.compiling import counting_kernel\n@counting_kernel\ndef f(a):\n    return a ** 0.5",
    ],
)
def test_inexact_arithmetic_is_found(source):
    assert list(exact_arithmetic(Path("online/recommendation/score.py"), source))


def test_exact_arithmetic_passes():
    source = (
        "import numpy as np\nfrom math import sqrt\nfrom numba import njit\n"
        "from online.arithmetic import exp\n"
        "@njit(cache=True, fastmath=False)\n"
        "def f(a, out):\n"
        "    for i in range(a.shape[0]):\n"
        "        out[i] = exp(a[i]) * sqrt(a[i]) + np.sqrt(a[i])\n"
        "def count(mask):\n    return int(mask.sum())\n"
    )
    assert list(exact_arithmetic(Path("online/recommendation/score.py"), source)) == []


# ---- The fold reads nothing but its state and the log
# ------------------------------------------------------------

HIDDEN_INPUTS = (
    "time",
    "datetime",
    "random",
    "secrets",
    "uuid",
    "socket",
    "redis",
    "os",
    "sys",
    "platform",
    "locale",
)
PURE = (
    "online/recommendation",
    *(f"online/{name}.py" for name in ("fold", "fold_kernel", "state", "frame", "tables", "rows", "fifo", "views")),
    *(f"online/{name}.py" for name in ("batch", "journal", "text", "records", "chance", "arithmetic", "settings")),
)


def no_hidden_inputs(path: Path, source: str) -> Iterator[str]:
    for module, line, _ in imports(path, source):
        if any(is_in(module, hidden) for hidden in HIDDEN_INPUTS):
            yield f"line {line}: {module} is a hidden input"


def test_the_fold_imports_no_clock_no_chance_no_environment_no_network():
    pure = [path for path in sources("online") if any(path.is_relative_to(part) for part in PURE)]
    assert all((ROOT / part).exists() for part in PURE)
    assert "\n".join(f"{p}: {c}" for p in pure for c in no_hidden_inputs(p, (ROOT / p).read_text("utf-8"))) == ""


@pytest.mark.parametrize(
    "source", ["import time", "from datetime import datetime", "import os", "import redis.asyncio"]
)
def test_a_hidden_input_is_found(source):
    assert list(no_hidden_inputs(Path("online/fold.py"), source))


# ---- Files
# --------------------------------------------------------------------------------------------------------


def readable_file(path: Path, source: str) -> Iterator[str]:
    lines = source.count("\n")
    if lines > LINES_MAX:
        yield f"{lines} lines; {LINES_MAX} are the most that one noun needs"
    if path.name in NAMES_WITHOUT_A_NOUN:
        yield "a file is named after what is in it"
    for number, line in enumerate(source.splitlines(), 1):
        if any(mark in line for mark in ("TO" + "DO", "FIX" + "ME", "X" * 3)):
            yield f"line {number}: unfinished work belongs into an issue"
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Raise(exc=ast.Call(func=ast.Name(id="NotImplementedError")) | ast.Name(id="NotImplementedError")):
                yield f"line {node.lineno}: a stub"
            case (
                ast.ExceptHandler(type=None, body=[ast.Pass()])
                | ast.ExceptHandler(type=ast.Name(id="Exception" | "BaseException"), body=[ast.Pass()])
            ):
                yield f"line {node.lineno}: a swallowed exception"


def test_files_are_small_named_and_finished():
    assert complaints(readable_file, *PACKAGES, "benchmarks", "tests") == ""


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("fold.py", "x = 1\n" * (LINES_MAX + 1)),
        ("utils.py", ""),
        ("fold.py", "# TO" + "DO later"),
        ("fold.py", "def f():\n    raise NotImplementedError"),
        ("fold.py", "try:\n    f()\nexcept Exception:\n    pass"),
    ],
)
def test_an_unreadable_file_is_found(name, source):
    assert list(readable_file(Path("online") / name, source))


def test_test_folders_are_no_packages_so_that_they_shadow_none():
    assert list((ROOT / "tests").rglob("__init__.py")) == []


def test_nothing_generated_or_large_is_in_the_repository():
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode != 0:
        pytest.skip("not a git checkout")
    files = [ROOT / name for name in listed.stdout.split("\0") if name]
    large = [str(path.relative_to(ROOT)) for path in files if path.is_file() and path.stat().st_size > 1 << 20]
    generated = [
        str(path.relative_to(ROOT)) for path in files if path.suffix in (".pyc", ".nbi", ".nbc", ".pkl", ".pt")
    ]
    assert large + generated == []
