"""Where functions and classes begin and end, in every language whose grammar is installed."""

import subprocess
import sys
from importlib.util import find_spec
from itertools import pairwise

import pytest

from engine.documents.chunker import cut
from engine.documents.readers import grammars
from engine.documents.readers.source import read_source

_PYTHON = '''"""A module."""

import os

# Adds.
# Twice.
@cache
def add(a):
    return a


class Reader(Base):
    """Reads."""

    size = 1

    @property
    def text(self):
        def inner():
            pass

        return inner

    async def close(self):
        pass

    limit = 2


LIMIT = 3

if os.name == "nt":

    def only_here():
        pass
'''


def _outline(code: str, suffix: str) -> list[tuple[int, str]]:
    reading = read_source(code.encode(), suffix)
    assert "".join(reading.lines) == reading.text == code
    assert reading.blocks[0].start == 0
    assert reading.blocks[-1].end == len(reading.lines)
    assert all(before.end == after.start for before, after in pairwise(reading.blocks))
    headings = [block.heading for block in reading.blocks if block.heading]
    assert not any(heading.divides for heading in headings)
    return [(heading.level, heading.text) for heading in headings]


def _blocks(code: str, suffix: str) -> list[str]:
    reading = read_source(code.encode(), suffix)
    return ["".join(reading.lines[block.start : block.end]) for block in reading.blocks]


def test_python_functions_and_classes_are_told_with_where_they_end():
    assert _outline(_PYTHON, ".py") == [
        (1, "def add"),
        (1, "class Reader"),
        (2, "def text"),
        (2, "def close"),
        (2, ""),
        (1, ""),
        (1, "def only_here"),
    ]


def test_comments_and_decorators_above_belong_to_what_they_are_about():
    blocks = _blocks(_PYTHON, ".py")
    assert "# Adds.\n# Twice.\n@cache\ndef add(a):\n    return a\n\n\n" in blocks
    assert any(block.startswith("    @property\n    def text") for block in blocks)


def test_a_comment_behind_code_or_above_a_blank_line_belongs_to_what_is_before():
    assert _blocks("x = 1  # one\ndef f():\n    pass\n", ".py")[0] == "x = 1  # one\n"
    assert _blocks("# about all\n\ndef f():\n    pass\n", ".py")[0] == "# about all\n\n"


@pytest.mark.parametrize(
    ("suffix", "code", "outline"),
    [
        (
            ".ts",
            "export class A {\n  f() {}\n}\nexport const h = () => 1;\nnamespace N {\n"
            "  function q() {}\n}\ninterface I {}\n",
            "1 class A, 2 f, 1 const h, 1 namespace N, 2 function q, 1 interface I",
        ),
        (".tsx", "function App() { return <a>b</a> }\n", "1 function App"),
        (".js", "const a = 1\nfunction f() {}\n", "1 function f"),
        (
            ".c",
            "#ifdef X\n/* p */\nstatic PyObject *\nadd(int a)\n{\n}\n#endif\nstruct S {\n};\n",
            "1 add, 1 struct S",
        ),
        (
            ".cpp",
            "namespace a {\ntemplate <class T>\nclass C {\n  void f() {}\n};\n}\nint C::g() {}\n",
            "1 namespace a, 2 class C, 3 f, 1 C::g",
        ),
        (".h", "namespace a {\nclass C {\n};\n}\n", "1 namespace a, 2 class C"),
        (".java", "class A {\n  A() {}\n  int f() {}\n}\n", "1 class A, 2 A, 2 f"),
        (
            ".go",
            "func (s *Server) Run() {\n}\nfunc F() {\n}\ntype T struct {\n}\n",
            "1 func (s *Server) Run, 1 func F, 1 type T",
        ),
        (
            ".rs",
            "#[derive(A)]\nstruct S;\nimpl Tr for S {\n  fn f() {}\n}\n",
            "1 struct S, 1 impl Tr for S, 2 fn f",
        ),
        (
            ".cs",
            "namespace N.M {\n  class C {\n    int P { get; }\n    void F() {}\n  }\n}\n",
            "1 namespace N.M, 2 class C, 3 P, 3 F",
        ),
        (
            ".rb",
            "module M\n  class C\n    def f\n    end\n  end\nend\n",
            "1 module M, 2 class C, 3 def f",
        ),
        (
            ".php",
            "<?php\nclass C {\n  function f() {}\n}\nfunction g() {}\n",
            "1 class C, 2 function f, 1 function g",
        ),
        (".sh", "set -e\nrun() {\n  ls\n}\n", "1 function run"),
    ],
)
def test_other_languages_are_told_alike(suffix, code, outline):
    assert ", ".join(f"{level} {text}" for level, text in _outline(code, suffix) if text) == outline


def test_a_chunk_knows_the_class_and_method_that_all_of_it_is_in():
    body = "".join(f"        value_{number} = {number}\n" for number in range(60))
    code = f"class Reader:\n    def text(self):\n{body}\n    def close(self):\n        pass\n"
    chunks = cut(read_source(code.encode(), ".py"), _words, 60)
    paths = [chunk.heading_path for chunk in chunks]
    assert paths[0][0] == paths[-1][0] == "class Reader"
    assert paths.count(("class Reader", "def text")) >= 2
    assert chunks[1].embedded_text.startswith("class Reader > def text\n")


def test_short_functions_share_a_chunk_that_is_called_by_none_of_them():
    short = "".join(f"def f{number}():\n    return {number}\n\n\n" for number in range(4))
    long = "def long():\n" + "    call(one, two, three)\n" * 18
    first, second = cut(read_source((short + long).encode(), ".py"), _words, 60)
    assert (first.text, first.heading_path) == (short, ())
    assert (second.text, second.heading_path) == (long, ("def long",))


def _words(texts):
    return [len(text.split()) for text in texts]


def test_a_language_without_a_grammar_is_read_by_its_blank_lines():
    code = "a = 1\n\n  b\n\nc\n"
    assert _blocks(code, ".zig") == ["a = 1\n\n  b\n\n", "c\n"]
    assert _blocks(code, "") == ["a = 1\n\n  b\n\n", "c\n"]


def test_a_grammar_that_is_not_installed_is_done_without(monkeypatch):
    monkeypatch.setitem(grammars.PACKAGES, "python", ("tree_sitter_not_there", "language"))
    grammars.grammar.cache_clear()
    assert _outline("def f():\n    pass\n\ndef g():\n    pass\n", ".py") == []
    grammars.grammar.cache_clear()


@pytest.mark.parametrize(
    "code",
    [
        b"f(" * 5000 + b")" * 5000,
        b"class A {\n" * 500 + b"}\n" * 500,
        b"if x:\n" * 2000,
        bytes(number * 7919 % 95 + 32 for number in range(20_000)),
        "\"'`日本\n".encode() * 2000,
        b"def f():\n" * 100_000,
        b"\xff\xfe" + "class A:\n    def f(self): pass\n".encode("utf-16-le"),
        b"class A {\r  void f() {}\r}\r",
        b"def",
        b"",
    ],
)
def test_any_text_is_read_whole_in_any_language(code):
    for suffix in (".py", ".ts", ".cpp", ".cs", ".rb"):
        reading = read_source(code, suffix)
        assert "".join(reading.lines) == reading.text
        bounds = [(block.start, block.end) for block in reading.blocks]
        assert [start for start, _ in bounds[1:]] == [end for _, end in bounds[:-1]]
        assert all(start < end for start, end in bounds)
        assert not reading.lines or (bounds[0][0], bounds[-1][1]) == (0, len(reading.lines))


def test_no_grammar_is_loaded_before_a_file_of_its_language_is_read():
    program = (
        "import sys; from engine.documents.readers.source import read_source;"
        "read_source(b'a', '.zig'); print([name for name in sys.modules if 'tree_sitter' in name])"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert ran.stdout.strip() == "[]"


@pytest.mark.parametrize("language", sorted(grammars.PACKAGES))
def test_every_installed_grammar_loads(language):
    package, _ = grammars.PACKAGES[language]
    if find_spec(package) is None:
        pytest.skip(f"{package} is not installed")
    assert grammars.root_of(language, b"a") is not None
