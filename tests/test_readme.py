"""What the README and the guides show runs, prints what they say, and names what exists.

Every ```python block of a document is run, in order, in one namespace and an empty folder. A ```text block right after
one is what it prints. ``<!-- not run: reason -->`` on the line above a block leaves it out, ``<!-- needs: module -->``
where there is no such module.
"""

import contextlib
import importlib.util
import io
import re
from pathlib import Path

import pytest

import fastnn as fnn
from fastnn.cli import main

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
#: Documents whose blocks other tests stand for.
ELSEWHERE = {"cython.md": "its cells need a notebook; tests/test_cython_api.py compiles such modules"}
BLOCK = re.compile(
    r"^(<!-- (?P<skip>not run: .+|needs: (?P<needs>\w+)) -->\n)?```python\n(?P<code>.*?)^```\n"
    r"(\n?```text\n(?P<shown>.*?)^```$)?",
    re.M | re.S,
)
#: Settings of the tests and the benchmarks, which their own documents describe.
NOT_FOR_USERS = {"FASTNN_TEST_SEED", "FASTNN_BENCH_QUICK"}


def named(document):
    return document.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("document", [d for d in DOCUMENTS if d.name not in ELSEWHERE], ids=named)
def test_blocks_run(document, backend, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = document.read_text()
    namespace = {"__name__": "__main__"}
    for match in BLOCK.finditer(text):
        if match["skip"] and (match["needs"] is None or importlib.util.find_spec(match["needs"]) is None):
            continue
        line = text.count("\n", 0, match.start("code"))
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            # The line numbers of a traceback are those of the document.
            exec(compile("\n" * line + match["code"], named(document), "exec"), namespace)
        if match["shown"] is not None:
            assert printed.getvalue() == match["shown"], f"{named(document)}, block at line {line + 1}"


def test_documents_have_blocks():
    # A regular expression that finds nothing would let every document pass.
    for name in ("README.md", "docs/training.md"):
        blocks = list(BLOCK.finditer((ROOT / name).read_text()))
        assert len(blocks) == (ROOT / name).read_text().count("```python"), name
        assert any(not match["skip"] for match in blocks), name
    assert all((ROOT / "docs" / name).exists() for name in ELSEWHERE)


def test_the_two_commands():
    blocks = re.findall(r"^```sh\n(.*?)^```$", (ROOT / "README.md").read_text(), re.M | re.S)
    assert "pip install . && fastnn train addition\n" in blocks
    assert "pip install '.[test]' && pytest\n" in blocks


def test_nothing_sends_users_to_the_other_project_of_this_name():
    wrong = re.compile(r"pip3? install (?:-\S+ )*['\"]?" + fnn.__name__)
    files = [*ROOT.glob("*.md"), *ROOT.glob("*.toml"), *ROOT.glob("setup.py")]
    for folder in ("docs", "examples", "benchmarks", "fastnn"):
        files += [path for path in (ROOT / folder).rglob("*") if path.suffix in (".md", ".py", ".pxd")]
    assert [named(path) for path in files if wrong.search(path.read_text())] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=named)
def test_links_lead_somewhere(document):
    text = re.sub(r"^```.*?^```$", "", document.read_text(), flags=re.M | re.S)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" in target or target.startswith("#"):
            continue
        assert (document.parent / target.partition("#")[0]).exists(), f"{named(document)}: {target}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=named)
def test_named_files_exist(document):
    folders = "fastnn|src_cython|tests|benchmarks|examples|docs|tools"
    for path in re.findall(rf"`((?:{folders})/[\w./*-]+)`", document.read_text()):
        built = path.startswith("fastnn/_compiled")
        assert built or list(ROOT.glob(path.rstrip("/"))), f"{named(document)}: {path}"


def test_environment_variables_are_real_and_documented():
    sources = [ROOT / "setup.py", *(ROOT / "fastnn").rglob("*.py"), *(ROOT / "src_cython").glob("*.pyx")]
    code = "\n".join(path.read_text() for path in sources)
    backends = (ROOT / "docs" / "backends.md").read_text()
    for name in set(re.findall(r"environ\.get\(\"(\w+)\"", code)):
        assert f"`{name}" in backends, f"docs/backends.md does not describe {name}"
    for document in DOCUMENTS:
        for name in set(re.findall(r"\bFASTNN_[A-Z_]+", document.read_text())) - NOT_FOR_USERS:
            assert name in code, f"{named(document)} names {name}, which nothing reads"


def test_public_names_exist():
    for document in DOCUMENTS:
        for dotted in set(re.findall(r"\bfnn\.((?:[A-Za-z_]\w*\.)*[A-Za-z_]\w*)", document.read_text())):
            thing = fnn
            for part in dotted.split("."):
                assert hasattr(thing, part), f"{named(document)}: fnn.{dotted}"
                thing = getattr(thing, part)


#: The tables of options in a document, in their order, and the commands that they are about.
OPTIONS = {
    "docs/experiments/addition.md": ["train addition", "experiment addition"],
    "docs/experiments/binary-addition.md": ["train binary-addition"],
}


@pytest.mark.parametrize("document", OPTIONS)
def test_options_are_those_of_the_commands(document, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "300")  # nothing is broken at a hyphen
    tables = re.findall(r"^\| option \| default \| \|\n\|[-|]+\|\n((?:\|.*\n)+)", (ROOT / document).read_text(), re.M)
    for command, table in zip(OPTIONS[document], tables, strict=True):
        with pytest.raises(SystemExit):
            main([*command.split(), "--help"])
        shown = {}
        for entry in re.split(r"^  (?=-)", capsys.readouterr().out, flags=re.M)[1:]:
            name = re.search(r"--([a-z-]+)", entry)[1]
            default = re.search(r"\(default:\s+([^\s;,)]+)", entry)
            shown[name] = default[1] if default else ""
        written = dict(re.findall(r"^\| `--([a-z-]+)[^`]*` \| (.*?) ?\|", table, re.M))
        assert written.keys() == shown.keys() - {"help"}, command
        for name, default in written.items():
            assert not default or default == shown[name], f"{document}: {command} --{name}"
