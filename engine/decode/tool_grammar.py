"""The grammar of answers that may call tools, in llguidance's Lark dialect."""

import json
import re
from collections.abc import Sequence

from engine.decode.output_forms import ToolCalls
from engine.decode.tool_calls import CLOSING, OPENING

_MOST_CALLS = 16


def tool_calls_rules(form: ToolCalls, arguments: Sequence[str], space: str) -> str:
    """Rules of a grammar for answers of this form, in llguidance's Lark dialect.

    Args:
        form: The tools and which of them may be called.
        arguments: For each tool that may be called, the right side of a rule for its arguments.
        space: What may stand before the first call, as part of a rule.
    """
    rules, calls = list[str](), list[str]()
    for i, (tool, rule) in enumerate(zip(form.callable, arguments, strict=True)):
        name = json.dumps(json.dumps(tool.name, ensure_ascii=False))
        rules.append(f"arguments_{i}: {rule}")
        calls.append(
            f'"{{\\"name\\"" COLON {name} COMMA "\\"arguments\\"" COLON arguments_{i} "}}"'
        )
    rules.append("COLON: /: ?/\nCOMMA: /, ?/")
    rules.append(f"body: ({' | '.join(calls)}) {json.dumps(CLOSING)}")
    rules.append(f"call: {json.dumps(OPENING)} body")
    most = _MOST_CALLS if form.parallel and form.choice in ("auto", "required") else 1
    if form.choice == "auto":
        tag = re.escape(OPENING).replace("/", r"\/")
        rules.append(f"TEXT: /(?s:.*)/ & ~/(?s:.*){tag}(?s:.*)/")
        rules.append(f"head[lazy]: /(?s:.*){tag}/")
        further = f" call{{0,{most - 1}}}" if most > 1 else ""
        rules.append(f"start: TEXT | head body{further}")
    else:
        rules.append(f"start: {space}? call{{1,{most}}}")
    return "\n".join(rules)
