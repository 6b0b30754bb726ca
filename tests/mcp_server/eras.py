"""The eras of the protocol, and which tests need but one of them.

An era shows in how a connection opens and in what each message carries, not in what a tool does.
`tools/test_eras.py` and `test_stdio.py` hold both against each other.
"""

import pytest

NEWEST, OLDER = "auto", "legacy"

in_one_era = pytest.mark.parametrize("era", [NEWEST])
"""For a test that takes seconds and of a matter that both eras share."""
