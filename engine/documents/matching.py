"""Makes the expressions of file patterns quick to match, whatever the pattern and the name.

Rule: what an expression matches stays the same. Between two wildcards the first place that suits
is as good as any later one, so nothing is tried again there. What cannot be made quick is refused.
Sources: the expressions that pathspec 1.1 writes for patterns of git. As it writes it, *a*a*a*a*b
takes 13 s for a name of 250 letters, and more for each further star.
"""

import re

_STAR = r"\[\^/\]\*"
# One character: itself, escaped, any but a slash, or one of some, a slash not among them.
_SIGN = r"(?:\\.|\[\^/\]|\[(?:\w-\w|\w)+\]|[^\\\[\](){}*+?|^$.])(?![*+?])"
_STARS = re.compile(f"(?:{_STAR})+")
_STAR_BEFORE_STAR = re.compile(f"{_STAR}((?:{_SIGN})+)(?={_STAR})")

# Names one below the other, between two places where any folders may be.
_NAMES = rf"((?:{_SIGN}|\[\^/\][*+]|\(\?>(?:[^()\\]|\\.)*\))+)(?=\(\?:/\.\+\)\?/)"
_ABOVE_FOLDERS = re.compile(rf"^\^\(\?:\.\+/\)\?{_NAMES}")
_BETWEEN_FOLDERS = re.compile(rf"\(\?:/\.\+\)\?/{_NAMES}")

# So many wildcards may be left of which each is tried with all of another's places.
_MOST_TRIED = 3


def quick(expression: str) -> str:
    """An expression that matches the same names, in time that does not explode.

    Raises:
        ValueError: There is none.
    """
    expression = _STARS.sub("[^/]*", expression)
    expression = _STAR_BEFORE_STAR.sub(r"(?>[^/]*?\1)", expression)
    expression = _ABOVE_FOLDERS.sub(r"^(?>(?:.+?/)??\1(?=/))", expression)
    expression = _BETWEEN_FOLDERS.sub(r"(?>(?:/.+?)??/\1(?=/))", expression)
    names = expression.replace("[^/]", "?").split("/")
    stars = max(len(re.findall(r"\?\*(?!\?)", name)) for name in names)
    folders = len(re.findall(r"\.\+(?!\?)", expression))
    if max(stars, folders) > _MOST_TRIED:
        raise ValueError("it has too many wildcards")
    return expression
