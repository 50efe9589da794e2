#!/usr/bin/env python3
"""Break the ops one small change at a time, and see whether the tests notice.

Each change ("mutant") is made in a copy of the package: a sign flipped, a term or a statement dropped, two neighbours
swapped, an index moved, a comparison turned, a function left out. The tests of that op's family run on the copy first,
the whole suite if they pass. A mutant that no test notices *survived*: a test is missing, or the change makes no
difference to what anyone can see (then it belongs in ``EQUIVALENT`` below, with the reason).

    python tools/break_ops.py --limit 40              a random sample of the reference functions (NumPy)
    python tools/break_ops.py --op lstm_backward      all mutants of one function, or of a family (--op lstm)
    python tools/break_ops.py --list --op norm        what would be done
    python tools/break_ops.py --compiled --limit 5    the same for src_cython/*.pyx, rebuilding the changed extension

Reference mutants run without the compiled core: parity with it cannot notice them, only gradients, oracles and golden
files can. Compiled mutants run with both backends. Exit status: 0 all noticed, 1 some survived, 2 could not run.
"""

from __future__ import annotations

import argparse
import ast
import importlib.util
import itertools
import os
import queue
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

#: (family, the source line, the line as the mutant has it): why nobody can tell. Stale entries are reported.
EQUIVALENT: dict[tuple[str, str, str], str] = {
    (
        "lstm",
        "return (D * T * B * 6 * H if training else 0), 0",
        "return (D * T * B * 7 * H if training else 0), 0",
    ): "more memory than is used",
    (
        "lstm",
        "return (D * T * B * 6 * H if training else 0), 0",
        "return (D * T * B * 6 * H if training else 0), 1",
    ): "the same",
    (
        "lstm_peephole",
        "c_prev, h_prev = np.zeros((2, T, B, H), dtype=x.dtype)",
        "h_prev, c_prev = np.zeros((2, T, B, H), dtype=x.dtype)",
    ): "two arrays of zeros, whichever is which",
    (
        "random",
        "raw = np.random.Philox(key=key, counter=counter).random_raw((n + 1) // 2)",
        "raw = np.random.Philox(key=key, counter=counter).random_raw((n + 2) // 2)",
    ): "a word more than is needed is drawn and dropped",
    (
        "loss",
        "stats[0] += np.sum(np.where(live, losses, 0) * w[..., None], dtype=np.float64)",
        "stats[0] += np.sum(np.where(live, losses, 1) * w[..., None], dtype=np.float64)",
    ): "the weight is 0 there: any finite number will do",
}

#: Tests that say nothing about a broken op: this tool's own.
NOT_RUN = ("tests/test_break_ops.py",)


#: Families that have most of their tests together.
RECURRENT = ("gru", "lstm", "lstm_peephole", "rnn")


@dataclass(frozen=True)
class Mutant:
    """One change: ``text`` instead of the characters [start, end) of the file, given as UTF-8 bytes."""

    path: Path  # relative to the root
    function: str
    line: int
    start: int
    end: int
    text: str
    kind: str
    source: bytes

    @property
    def family(self) -> str:
        """The file's name, which is also that of the tests."""
        return self.path.stem

    @property
    def key(self) -> tuple[str, str, str]:
        """The change as :data:`EQUIVALENT` names it: the line before and after, whatever its number."""
        lines = (text.splitlines()[self.line - 1 : self.line] for text in (self.source, self.applied()))
        before, after = (b"".join(line).decode().strip() for line in lines)
        return self.family, before, after

    def describe(self) -> str:
        """The change in one line."""
        before, after = (" ".join(s.split()) for s in (self.source[self.start : self.end].decode(), self.text))
        change = f"{before or '(nothing)'} -> {after or '(nothing)'}"
        return f"{self.path}:{self.line} {self.function}: {self.kind}: {change}   | {self.key[1]}"

    def applied(self) -> bytes:
        """The file's text with the change."""
        return self.source[: self.start] + self.text.encode() + self.source[self.end :]


# --- Python: changes found in the syntax tree -------------------------------------------------------------------------

ARITHMETIC = {ast.Add: ("+", "-"), ast.Sub: ("-", "+"), ast.Mult: ("*", "/"), ast.Div: ("/", "*")}
COMPARISONS = {
    ast.Lt: ("<", ("<=", ">")),
    ast.LtE: ("<=", ("<",)),
    ast.Gt: (">", (">=", "<")),
    ast.GtE: (">=", (">",)),
    ast.Eq: ("==", ("!=",)),
    ast.NotEq: ("!=", ("==",)),
}
#: Functions that can be left out: f(x, ...) -> x.
FUNCTIONS = {"abs", "clip", "exp", "log", "log1p", "maximum", "max", "sigmoid", "softmax", "sqrt", "square", "tanh"}


class PythonMutants:
    """Enumerate the changes of one Python source file."""

    def __init__(self, path: Path, source: bytes) -> None:
        self.path, self.source = path, source
        self.lines = [0]
        for line in source.splitlines(keepends=True):
            self.lines.append(self.lines[-1] + len(line))

    def span(self, node: ast.expr | ast.stmt) -> tuple[int, int]:
        """Where a node stands, in bytes (without parentheses around it)."""
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        return self.lines[node.lineno - 1] + node.col_offset, self.lines[node.end_lineno - 1] + node.end_col_offset

    def text(self, node: ast.expr | ast.stmt) -> str:
        """The node's source."""
        start, end = self.span(node)
        return self.source[start:end].decode()

    def change(self, start: int, end: int, text: str, kind: str) -> Mutant:
        """The mutant with ``text`` instead of [start, end)."""
        line = self.source.count(b"\n", 0, start) + 1
        return Mutant(self.path, self.function, line, start, end, text, kind, self.source)

    def between(self, left: ast.expr, right: ast.expr, symbol: str, new: str, kind: str) -> Iterator[Mutant]:
        """Replace the operator that stands between two nodes (beside it there are only blanks and parentheses)."""
        gap_start, gap_end = self.span(left)[1], self.span(right)[0]
        at = self.source.find(symbol.encode(), gap_start, gap_end)
        if at >= 0:
            yield self.change(at, at + len(symbol), new, kind)

    def replace(self, node: ast.expr | ast.stmt, text: str, kind: str) -> Iterator[Mutant]:
        """Put ``text`` in the place of a node."""
        yield self.change(*self.span(node), text, kind)

    def swap(self, nodes: list[ast.expr], kind: str) -> Iterator[Mutant]:
        """Exchange each two neighbours of a list."""
        for left, right in itertools.pairwise(nodes):
            a, b = self.text(left), self.text(right)
            if a != b:
                start, end = self.span(left)[0], self.span(right)[1]
                middle = self.source[self.span(left)[1] : self.span(right)[0]].decode()
                yield self.change(start, end, b + middle + a, kind)

    def mutants(self) -> Iterator[Mutant]:
        """All changes to the functions of the file that are Python still, each once."""
        seen = set()
        for node in ast.parse(self.source).body:
            if not isinstance(node, ast.FunctionDef):
                continue
            self.function = node.name
            for part in itertools.chain.from_iterable(map(ast.walk, node.body)):
                if not any(part is quiet for quiet in unseen(node)):
                    for mutant in self.of_node(part):
                        key = (mutant.start, mutant.end, mutant.text)
                        if key not in seen and compiles(mutant.applied()):
                            seen.add(key)
                            yield mutant

    def of_node(self, node: ast.AST) -> Iterator[Mutant]:
        """The changes to one node of the tree, its children left to the walk."""
        match node:
            case ast.BinOp(left, op, right) if type(op) in ARITHMETIC:
                symbol, other = ARITHMETIC[type(op)]
                yield from self.between(left, right, symbol, other, "sign" if symbol in "+-" else "product")
                yield from self.replace(node, f"({self.text(left)})", "dropped term")
                if symbol in "+*":
                    yield from self.replace(node, f"({self.text(right)})", "dropped term")
            case ast.UnaryOp(ast.USub(), operand):
                yield from self.replace(node, self.text(operand), "sign")
            case ast.AugAssign(target, op, value) if type(op) in ARITHMETIC:
                symbol, other = ARITHMETIC[type(op)]
                yield from self.between(target, value, symbol + "=", other + "=", "sign")
                yield from self.between(target, value, symbol + "=", "=", "written, not added")
                yield from self.replace(node, "pass", "dropped statement")
            case ast.Assign([ast.Subscript()], _):
                yield from self.replace(node, "pass", "dropped statement")
            case ast.Assign([ast.Tuple(elts=targets)], value):
                yield from self.swap(targets, "swapped")
                if isinstance(value, ast.Tuple):
                    yield from self.swap(value.elts, "swapped")
            case ast.Expr(ast.Call()):
                yield from self.replace(node, "pass", "dropped statement")
            case ast.Compare(left, [op], [right]) if type(op) in COMPARISONS:
                symbol, others = COMPARISONS[type(op)]
                for other in others:
                    yield from self.between(left, right, symbol, other, "comparison")
            case ast.If(test) | ast.IfExp(test):
                yield from self.replace(test, f"not ({self.text(test)})", "condition")
            case ast.Constant(bool(value)):
                yield from self.replace(node, str(not value), "condition")
            case ast.Constant(int(value)):
                yield from self.replace(node, str(value + 1), "index or number")
            case ast.Constant(float(value)):
                yield from self.replace(node, repr(value * 1.25 if value else 0.5), "index or number")
            case ast.Attribute(value, "T"):
                yield from self.replace(node, self.text(value), "not transposed")
            case ast.Call(func, args):
                yield from self.of_call(node, func, args)

    def of_call(self, node: ast.Call, func: ast.expr, args: list[ast.expr]) -> Iterator[Mutant]:
        """The changes to a call."""
        name = func.attr if isinstance(func, ast.Attribute) else func.id if isinstance(func, ast.Name) else ""
        if name in FUNCTIONS and args:
            yield from self.replace(node, f"({self.text(args[0])})", "function left out")
        if name == "where" and len(args) == 3:
            yield from self.replace(node, f"({self.text(args[1])})", "mask left out")
        for argument in args:
            if isinstance(argument, ast.List):
                yield from self.swap(argument.elts, "swapped")


def unseen(function: ast.FunctionDef) -> list[ast.expr]:
    """The numbers that make no difference: NumPy's reshape takes any negative size as "the rest"."""
    return [
        argument.operand
        for call in ast.walk(function)
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.func.attr == "reshape"
        for argument in call.args
        if isinstance(argument, ast.UnaryOp)
    ]


def compiles(source: bytes) -> bool:
    """Whether ``source`` is Python."""
    try:
        compile(source, "mutant", "exec")
    except SyntaxError:
        return False
    return True


# --- Cython: changes found in the text --------------------------------------------------------------------------------

CYTHON_CHANGES = [
    (r" \+ ", " - ", "sign"),
    (r" - ", " + ", "sign"),
    (r"(?<=[=(,] )-(?=[\w(])", "", "sign"),
    (r" \* ", " / ", "product"),
    (r" / ", " * ", "product"),
    (r" \+= ", " -= ", "sign"),
    (r" \+= ", " = ", "written, not added"),
    (r" < ", " <= ", "comparison"),
    (r" >= ", " > ", "comparison"),
    (r" > ", " >= ", "comparison"),
    (r" \+ [\w.]+(\[[^][]*\])?(?=\s*(\)|,|$))", "", "dropped term"),
    (r" \* [\w.]+(\[[^][]*\])?(?=\s*(\)|,|$))", "", "dropped term"),
]

#: Lines of a .pyx file that compute nothing.
DECLARATION = re.compile(
    r"\s*(cdef\b(?!.*=)|cimport\b|from\b|import\b|ctypedef\b|raise\b|def\b|cdef .*\)\s*(noexcept|except))"
)


def cython_mutants(path: Path, source: bytes) -> Iterator[Mutant]:
    """Enumerate the changes inside the functions of a .pyx file, line by line; declarations are left alone."""
    function, docstring, offset = "", False, 0
    for number, raw in enumerate(source.splitlines(keepends=True), 1):
        line = raw.decode().rstrip("\n")
        code = line.split("#")[0]
        start, offset = offset, offset + len(raw)
        if header := re.match(r"(?:cdef|cpdef|def)\b[^=]*?(\w+)\(.*", code):
            function = header[1]
        elif code and not code[0].isspace() and not code.startswith(")"):
            function = ""
        quotes = code.count('"""')
        inside, docstring = docstring, docstring ^ (quotes % 2 == 1)
        if not function or inside or quotes or header or '"' in code or DECLARATION.match(code):
            continue
        for pattern, new, kind in CYTHON_CHANGES:
            for found in re.finditer(pattern, code):
                a, b = (start + len(code[:i].encode()) for i in found.span())
                yield Mutant(path, function, number, a, b, new, kind, source)


# --- running the tests ------------------------------------------------------------------------------------------------


def collect(root: Path, compiled: bool) -> list[Mutant]:
    """All mutants of the project, in the order of the sources."""
    folder, pattern = (root / "src_cython", "*.pyx") if compiled else (root / "fastnn" / "_reference", "*.py")
    mutants: list[Mutant] = []
    for path in sorted(folder.glob(pattern)):
        source, relative = path.read_bytes(), path.relative_to(root)
        found = cython_mutants(relative, source) if compiled else PythonMutants(relative, source).mutants()
        mutants += sorted(found, key=lambda m: (m.start, m.end))
    return mutants


def about(mutant: Mutant, op: str) -> bool:
    """Whether ``op`` names the mutant's function, its family, or the beginning of the function's name."""
    return op in (mutant.family, mutant.function) or mutant.function.startswith(op + "_")


class Copy:
    """A copy of the project in which one mutant at a time is tried."""

    def __init__(self, root: Path, place: Path, compiled: bool) -> None:
        self.place, self.compiled = place, compiled
        skipped = [".*", "__pycache__", "*.egg-info", "dist", "runs"] + ([] if compiled else ["*.so", "*.pyd", "build"])
        shutil.copytree(root, place, ignore=shutil.ignore_patterns(*skipped))
        # pytest's plugins take longer to load than most tests here take to run, and no test needs one.
        self.environment = {**os.environ, "PYTHONPATH": str(place), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
        self.environment.pop("PYTEST_ADDOPTS", None)  # options for the run around this one
        self.environment["FASTNN_BACKEND"] = "auto" if compiled else "numpy"
        self.environment["FASTNN_REQUIRE_COMPILED"] = "1" if compiled else "0"

    def run(self, arguments: list[str], timeout: float | None) -> tuple[bool, str]:
        """Run Python in the copy; return whether it succeeded, and what it wrote or why it was ended."""
        try:
            done = subprocess.run(
                [sys.executable, *arguments], cwd=self.place, env=self.environment, timeout=timeout,
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", check=False,
            )
        except subprocess.TimeoutExpired:
            return False, "did not end in time"
        if done.returncode == 5:  # pytest: nothing was collected, so nothing was noticed
            return True, "no tests"
        return done.returncode == 0, done.stdout

    def build(self) -> bool:
        """Build what has changed of the extensions."""
        return self.run(["setup.py", "-q", "build_ext", "--inplace"], None)[0]

    def tests(self, *paths: str, timeout: float | None = None) -> tuple[bool, str]:
        """Run pytest up to the first failure; return whether all passed, and its output."""
        ignored = [f"--ignore={path}" for path in NOT_RUN]
        return self.run(
            ["-m", "pytest", "-x", "-q", "--no-header", "-p", "no:cacheprovider", *ignored, *paths], timeout
        )

    def family_tests(self, family: str) -> list[str]:
        """The tests of one family of ops, where there are any; for the compiled ones the parity tests too."""
        paths = [f"tests/test_ops_{family}.py"] + (["tests/test_ops_recurrent.py"] if family in RECURRENT else [])
        if self.compiled and family in RECURRENT:
            paths += ["tests/test_recurrent_kernels.py"]
        elif self.compiled:
            paths += ["tests/test_kernels.py", "tests/test_training_kernels.py"]
        return [path for path in paths if (self.place / path).exists()]

    def write(self, path: Path, source: bytes) -> None:
        """Write a source file of the copy."""
        file = self.place / path
        file.write_bytes(source)
        # Python would take the byte code of another mutant for this one's: same length, same second.
        Path(importlib.util.cache_from_source(str(file))).unlink(missing_ok=True)

    def verdict(self, mutant: Mutant, timeout: float, quick: bool) -> tuple[str, str]:
        """Return "killed", "survived" or "invalid" (does not build), and the first test that noticed."""
        self.write(mutant.path, mutant.applied())
        try:
            if self.compiled and not self.build():
                return "invalid", ""
            own = self.family_tests(mutant.family)
            for paths in [own] if own and quick else [own, ["tests"]] if own else [["tests"]]:
                passed, output = self.tests(*paths, timeout=timeout)
                if not passed:
                    return "killed", noticed_by(output)
            return "survived", ""
        finally:
            self.write(mutant.path, mutant.source)


def noticed_by(output: str) -> str:
    """The first failing test in pytest's output, or its last words."""
    for line in output.splitlines():
        if line.startswith(("FAILED ", "ERROR ")):
            return line.split(" - ")[0].split(" ", 1)[1]
    return (output.strip().splitlines() or ["the interpreter died"])[-1][:100]


def try_all(
    mutants: list[Mutant], copies: list[Copy], timeout: float, quick: bool
) -> Iterator[tuple[Mutant, str, str]]:
    """Try the mutants, as many at a time as there are copies; give (mutant, verdict, noticed by) in order."""
    free: queue.Queue[Copy] = queue.Queue()
    for copy in copies:
        free.put(copy)

    def one(mutant: Mutant) -> tuple[Mutant, str, str]:
        copy = free.get()
        try:
            return mutant, *copy.verdict(mutant, timeout, quick)
        finally:
            free.put(copy)

    with ThreadPoolExecutor(len(copies)) as pool:
        yield from pool.map(one, mutants)


def arguments(argv: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0], allow_abbrev=False)
    parser.add_argument("--op", help="only this function or family (file name without its ending)")
    parser.add_argument("--limit", type=int, help="a random sample of so many mutants")
    parser.add_argument("--seed", type=int, default=0, help="of the sample (default 0)")
    parser.add_argument("--list", action="store_true", help="print the mutants and run nothing")
    parser.add_argument("--compiled", action="store_true", help="break src_cython/*.pyx instead of fastnn/_reference")
    parser.add_argument("--quick", action="store_true", help="run only the tests of the family where there are any")
    parser.add_argument("--jobs", type=int, default=1, help="mutants tried at a time (default 1; --compiled: always 1)")
    parser.add_argument("--root", type=Path, default=Path(__file__).resolve().parent.parent, help=argparse.SUPPRESS)
    return parser.parse_args(argv)


def select(options: argparse.Namespace) -> list[Mutant]:
    """The mutants that the command line asks for."""
    every = collect(options.root, options.compiled)
    keys = {mutant.key for mutant in every}
    if not options.compiled:
        families = {mutant.family for mutant in every}
        for key in EQUIVALENT:
            if key[0] in families and key not in keys:
                print(f"stale entry in EQUIVALENT: {key}")
    chosen = [m for m in every if m.key not in EQUIVALENT and (options.op is None or about(m, options.op))]
    if options.limit is not None and options.limit < len(chosen):
        picked = random.Random(options.seed).sample(range(len(chosen)), options.limit)
        chosen = [chosen[i] for i in sorted(picked)]
    return chosen


def main(argv: list[str] | None = None) -> int:
    """Run the command; return its exit status."""
    options = arguments(argv)
    chosen = select(options)
    if not chosen:
        print(f"break_ops: nothing to break (--op {options.op})", file=sys.stderr)
        return 2
    if options.list:
        for mutant in chosen:
            print(mutant.describe())
        return 0

    with tempfile.TemporaryDirectory(prefix="break_ops_") as place:
        jobs = 1 if options.compiled else max(1, options.jobs)
        copies = [Copy(options.root, Path(place) / f"copy{i}", options.compiled) for i in range(jobs)]
        begin = time.perf_counter()
        if options.compiled and not copies[0].build():
            print("break_ops: the unbroken extensions do not build", file=sys.stderr)
            return 2
        own = sorted({path for mutant in chosen for path in copies[0].family_tests(mutant.family)})
        passed, output = copies[0].tests(*(own if options.quick and own else ["tests"]))
        if not passed or output == "no tests":
            print(f"break_ops: the tests fail on the unbroken copy:\n{output[-3000:]}", file=sys.stderr)
            return 2
        baseline = time.perf_counter() - begin
        print(f"unbroken: the tests pass in {baseline:.0f} s; {len(chosen)} mutants", flush=True)

        counts = {"killed": 0, "survived": 0, "invalid": 0}
        survivors = []
        # A mutant may loop for ever: five times the whole suite is enough for any that does not.
        for mutant, verdict, by in try_all(chosen, copies, 30 + 5 * baseline * jobs, options.quick):
            counts[verdict] += 1
            survivors += [mutant] if verdict == "survived" else []
            print(f"{verdict:8} {mutant.describe()}" + (f"   [{by}]" if by else ""), flush=True)
    print(f"\n{counts['killed']} killed, {counts['survived']} survived"
          + (f", {counts['invalid']} did not build" if counts["invalid"] else ""))
    for mutant in survivors:
        print("survived:", mutant.describe())
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
