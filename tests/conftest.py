"""Which tests there are on this machine."""

import pytest

pytest.register_assert_rewrite("tests.page_rules")

from tests.page_rules import BROWSER  # noqa: E402  (the line above must come first)

# Tests in a browser are there where a browser is.
collect_ignore_glob = [] if BROWSER else ["**/test_*in_browser.py"]
