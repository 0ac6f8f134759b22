"""A person with a browser answers for a candidate: once yes, once no."""

import re

import pytest

from tests.browser.test_ui import chromium, log_in  # noqa: F401  (a fixture)
from tests.integration.test_approval import asking, outcomes, waiting  # noqa: F401  (a fixture)
from tests.kit.servers import Services, tail

pytestmark = pytest.mark.soak
