"""The tables of the pages for those who come from another library: their lines of code run.

What stands in the last column as code and begins like a line of a program is run, row by row, after the page's first
block; each table begins anew.
"""

import re
import warnings

import pytest
from test_readme import BLOCK, ROOT

PAGES = ["docs/from_keras.md", "docs/from_pytorch.md"]
#: How the lines begin that are to run; other words in code font are names of arguments and the like.
LINE = re.compile(r"(fnn\.|net\.|net\(|layer\.|optimizer\.|sum\(|\[p\.|p = |dx = |loss, dp = )")


def tables(text):
    """For each table the lines of code in its last column, with the numbers of their lines."""
    found = [[]]
    for number, line in enumerate(text.splitlines(), start=1):
        cells = re.split(r"(?<!\\)\|", line)
        if len(cells) < 4:
            found.append([])
        else:
            found[-1] += [(number, code) for code in re.findall(r"`([^`]+)`", cells[-2]) if LINE.match(code)]
    return [table for table in found if table]


@pytest.mark.parametrize("page", PAGES)
def test_the_lines_of_the_tables_run(backend, page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = (ROOT / page).read_text()
    first = BLOCK.search(text)["code"]
    count = 0
    for table in tables(text):
        namespace = {}
        exec(first, namespace)
        for number, code in table:
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("error")
                    exec(code, namespace)
            except Exception as error:
                error.add_note(f"{page}, line {number}: {code}")
                raise
            count += 1
    assert count > 60
