"""What the tests of testing share: an app that works on nothing, on each of the two databases."""

from __future__ import annotations

import pytest

from tenuto import Tenuto
from tests.conftest import OpenApp


@pytest.fixture
async def app(open_app: OpenApp) -> Tenuto:
    """An app without queues: what runs, a test has run."""
    return await open_app()
