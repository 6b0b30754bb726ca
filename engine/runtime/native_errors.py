"""Native errors: the runtime's own words on a failure, fit to stand in a sentence.

Its errors share no base class of their own and begin with codes and places in its sources.
"""

import re

_PREFIX = re.compile(r".*\[ONNXRuntimeError\] : \d+ : [A-Z_]+ : ")

_LONGEST = 300


def reason(error: Exception) -> str:
    """What the runtime says is wrong: its first line, without codes and without a full stop."""
    line = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return _PREFIX.sub("", line)[:_LONGEST].strip().rstrip(".") or type(error).__name__
