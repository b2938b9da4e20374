"""The list of the fences is kept: each stands where it says, has its test, and is a row of docs/guarantees.md."""

from __future__ import annotations

import re

import pytest

from tests.fence import Fence
from tests.fences import FENCES
from tests.test_house import PACKAGE, ROOT

ROWS = re.findall(
    r"^\| (.+?) \| `(tests/.+?)` \|$", (ROOT / "docs" / "guarantees.md").read_text(encoding="utf-8"), re.MULTILINE
)


def stands(fence: Fence) -> None:
    """It is where the list says, in each of its files, and so is its test."""
    file, _, name = fence.test.partition("::")

    for files, without, _instead in fence.places:
        paths = list(PACKAGE.glob(files))
        assert paths
        assert all(re.search(without, path.read_text(encoding="utf-8")) for path in paths)
    assert f"def {name}(" in (ROOT / file).read_text(encoding="utf-8")


@pytest.mark.parametrize("fence", FENCES, ids=lambda fence: fence.promise)
def test_a_fence_stands_where_the_list_says_and_has_its_test(fence: Fence):
    stands(fence)


def test_the_page_names_the_same_fences_and_tests():
    assert [(fence.promise, fence.test) for fence in FENCES] == ROWS
