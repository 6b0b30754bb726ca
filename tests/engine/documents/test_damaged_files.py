"""Damaged files of every kind: each is read, or left out with a reason."""

import email.message
import email.policy
import io
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest
from sample_corpus import MAX_TOKENS, count_tokens
from sample_documents import docx, notebook, pdf, table

from engine.documents.finder import FoundFile, Skipped
from engine.documents.preparing import Cutting, Prepared, preparing
from engine.documents.reading import ReadingProcess

WORDS = "The lantern of the harbour — 古い灯台 — shines: naïve, “quoted” and long enough to be cut."
MARKDOWN = (
    f"---\ntitle: Tides\n---\n# One\n\n{WORDS}\n\n```py\nx = 1\n```\n\n| a | b |\n|---|---|\n"
)
PAGE = (
    f'<html><head><meta charset="utf-8"><title>Tides</title></head><body><h1>One</h1><p>{WORDS}</p>'
    "<table><tr><td>a<td>b</table><pre><code>x &lt; 1</code></pre><ul><li>x<ul><li>y</ul></ul>"
    "<!-- c --><![CDATA[x]]></body></html>"
)
LINES = [(20, "Tides"), (12, "The lantern of the harbour"), (12, "shines (every night)."), (12, "")]


def _letter() -> bytes:
    message = email.message.EmailMessage(policy=email.policy.SMTP)
    message["From"], message["Subject"] = "Ädä <ada@example.org>", "Käse — 灯台"
    message["Date"] = "Tue, 04 Mar 2025 05:06:07 +0000"
    message.set_content(WORDS)
    message.add_alternative(f"<p>{WORDS}</p>", subtype="html")
    message.add_attachment(b"\0\1", maintype="image", subtype="png", filename="ä.png")
    for number, part in enumerate(message.walk()):
        if part.is_multipart():
            part.set_boundary(f"=={number}==")
    return bytes(message)


SEEDS = {
    "md": MARKDOWN.encode(),
    "txt": (WORDS * 5).encode("utf-16"),
    "rst": "Títle\n=====\n\n.. note:: käse\n".encode("cp1252") * 3,
    "log": "これは日本語の文章です。\n".encode("cp932") * 9,
    "py": f'"""{WORDS}"""\n\nclass A:\n    def f(self):\n        return "{WORDS}"\n'.encode(),
    "js": b"function f(a) {\n  return `${a}`;\n}\n\nexport const g = () => ({});\n",
    "json": b'{"a": [1, 2, {"b": null}], "c": "d"}\n',
    "csv": b'name,town\nAda,"Lon\ndon"\n"B ""o""",x\n' * 3,
    "jsonl": b'{"a": "b"}\n' * 9,
    "html": PAGE.encode(),
    "ipynb": notebook(
        {"cell_type": "markdown", "source": ["# One\n", WORDS]},
        {"cell_type": "code", "source": "x", "outputs": [{"text": "y", "output_type": "stream"}]},
    ),
    "pdf": pdf([LINES, LINES], metadata={"Title": "Tides"}, outline=[(0, "Tides"), (1, "Tides")]),
    "docx": docx([("Heading1", "One"), ("", WORDS)], body=table(["a", "b"], ["c", "d"]), title="T"),
    "eml": _letter(),
    "mbox": (b"From a b\n" + _letter() + b"\n") * 2,
}


def _flipped(content: bytearray, random: Random) -> None:
    for _ in range(random.choice([1, 3, 30])):
        content[random.randrange(len(content))] = random.randrange(256)


def _cut(content: bytearray, random: Random) -> None:
    start = random.randrange(len(content))
    del content[start : random.choice([len(content), start + random.randrange(1, 100)])]


def _repeated(content: bytearray, random: Random) -> None:
    start = random.randrange(len(content))
    part = content[start : start + random.randrange(1, 60)]
    content[start:start] = part * random.choice([2, 50, 3000])


def _with_noise(content: bytearray, random: Random) -> None:
    place = random.randrange(len(content) + 1)
    content[place:place] = random.choice(
        [bytes(9), random.randbytes(200), b"\xff\xfe", b"x" * 1_000_000, b"\r", b'"', b"<" * 5000]
    )


def _with_numbers(content: bytearray, random: Random) -> None:
    """Other numbers where numbers stand: lengths, places, counts."""
    digits = [place for place, byte in enumerate(content) if byte in b"0123456789"]
    for place in random.sample(digits, min(len(digits), 4)):
        content[place : place + 1] = random.choice([b"", b"-", b"99999999", b"0", b"7"])


def _swapped(content: bytearray, random: Random) -> None:
    other = random.choice(list(SEEDS.values()))
    content[random.randrange(len(content)) :] = other[random.randrange(len(other)) :]


MUTATIONS: list[Callable[[bytearray, Random], None]] = [
    _flipped,
    _cut,
    _repeated,
    _with_noise,
    _with_numbers,
    _swapped,
]


def _damaged(content: bytes, random: Random) -> bytes:
    if content == SEEDS["docx"] and random.random() < 0.5:
        return _damaged_within(content, random)
    return _damaged_bytes(content, random)


def _damaged_within(content: bytes, random: Random) -> bytes:
    """An archive that is whole, of parts that are not."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    name = random.choice(list(parts))
    return docx(parts={**parts, name: _damaged_bytes(parts[name], random)})


def _damaged_bytes(content: bytes, random: Random) -> bytes:
    damaged = bytearray(content)
    for _ in range(random.choice([1, 1, 2, 4])):
        if damaged:
            random.choice(MUTATIONS)(damaged, random)
    return bytes(damaged)


def _outcome(path: Path, process: ReadingProcess):
    file = FoundFile(str(path), path.stat().st_size, 0)
    steps = preparing(file, "", Cutting(count_tokens, MAX_TOKENS), process, lambda: 2**63)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


@pytest.mark.parametrize(
    ("count", "seed"), [(200, 5), pytest.param(2000, 6, marks=pytest.mark.nightly)]
)
def test_damaged_files_are_read_or_left_out_with_a_reason(tmp_path, count, seed):
    random = Random(seed)
    outcomes: Counter[str] = Counter()
    with ReadingProcess() as process:
        for number in range(count):
            kind = list(SEEDS)[number % len(SEEDS)]
            path = tmp_path / f"{number}.{kind}"
            path.write_bytes(_damaged(SEEDS[kind], random))
            outcome = _outcome(path, process)
            if isinstance(outcome, Skipped):
                assert outcome.reason.startswith(("it ", "its ", "reading it "))
                assert len(outcome.reason) < 300
                assert outcome.reason.isprintable()
                assert not outcome.unseen
                outcomes[outcome.reason] += 1
            else:
                assert isinstance(outcome, Prepared)
                _check(outcome, path)
                outcomes[f"{kind} is read"] += 1
            path.unlink()
    print(*outcomes.most_common(), sep="\n")
    assert all(outcomes[f"{kind} is read"] for kind in SEEDS)


def _check(prepared: Prepared, path: Path) -> None:
    """That the chunks tile the text, and their places are right."""
    document = prepared.document
    content = b"".join(chunk.text.encode(document.encoding or "utf-8") for chunk in prepared.chunks)
    ends = [chunk.byte_end for chunk in prepared.chunks]
    assert [chunk.byte_start for chunk in prepared.chunks[1:]] == ends[:-1]
    if prepared.chunks:
        assert ends[-1] - prepared.chunks[0].byte_start == len(content)
        if not document.text_is_extracted:
            assert path.read_bytes().endswith(content)
