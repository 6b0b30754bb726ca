"""Makes a folder of notes, code, tables, mail, Japanese texts, a PDF and a handbook to be asked of.

    python documents.py FOLDER [NOTES]

The same files every time, some NOTES (300) and 16 more. What is asked of stands in the few; the
notes are there to be passed over.
"""

import random
import sys
from collections.abc import Iterator
from pathlib import Path

_THINGS = "pump valve ledger garden bicycle oven harbour lantern archive engine orchard telescope"
_DEEDS = "cleaned repaired moved counted painted measured ordered sold tested borrowed weighed"
_PLACES = "cellar attic workshop kitchen market station library shed office museum"
_REASONS = (
    "because the old one had worn out",
    "after the rain had come through the roof",
    "so that nobody has to do it in winter",
    "as the insurance asks for it every third year",
    "though the invoice has not been paid yet",
)

NAMED = {
    "house/heating.md": "# Heating\n\n## Pressure\n\nThe boiler's pressure must stand at 1.6 bar. "
    "Below 1.2 bar the error F37 is shown: open the blue valve until the needle is back.\n\n"
    "## Summer\n\nTurn the dial to the sun; hot water stays on.\n",
    "house/insurance.md": "# Insurance\n\nThe policy number of the house is HX-20931-77. Water "
    "damage is covered up to 45,000 euros, with 300 euros to be borne by ourselves.\n",
    "code/retry.py": '"""Calls that are tried again."""\n\nimport time\n\n\n'
    "def with_backoff(call, attempts=5, first_wait=0.25):\n"
    '    """Waits twice as long after each failure."""\n'
    "    for attempt in range(attempts):\n        try:\n            return call()\n"
    "        except TimeoutError:\n            time.sleep(first_wait * 2**attempt)\n"
    '    raise TimeoutError("gave up")\n',
    "code/settings.toml": '[server]\nport = 8420\nhost = "127.0.0.1"\n\n[limits]\nrequests = 60\n',
    "mail/boat.eml": "From: Anna <anna@example.org>\nTo: Ben <ben@example.org>\n"
    "Subject: The boat\nDate: Mon, 04 May 2026 09:30:00 +0200\n"
    'Content-Type: text/plain; charset="utf-8"\n\nDear Ben,\n\nthe boat is sold, for 12,400 euros. '
    "The new owner fetches it on the last Saturday of May from the harbour of Kiel.\n\nAnna\n",
    "mail/trip.eml": "From: Ben <ben@example.org>\nTo: Anna <anna@example.org>\n"
    "Subject: Trip to Lisbon\nDate: Tue, 12 May 2026 18:00:00 +0200\n"
    'Content-Type: text/plain; charset="utf-8"\n\nThe night train leaves Hendaye at 18:35, '
    "berth 41 and 42. The hotel is booked for three nights.\n",
    "日本語/潮汐.md": "# 潮の満ち引き\n\n潮の満ち引きは、月の引力が海水を引き寄せることで起こる。"
    "一日に二回、海面は上がり、また下がる。\n\n## 大潮\n\n新月と満月のころ、太陽と月が"
    "一直線に並び、干満の差が最も大きくなる。\n",
    "日本語/味噌汁.md": "# 味噌汁の作り方\n\n昆布と鰹節で出汁を取り、豆腐とわかめを入れる。"
    "火を止めてから味噌を溶く。\n",
}


def make(folder: Path, notes: int = 300) -> int:
    """Fills a folder; returns how many documents it has."""
    source = random.Random(7)
    made = dict(NAMED)
    made |= {f"notes/{number:04d}.md": _note(source, number) for number in range(notes)}
    made |= {f"accounts/{2019 + year}.csv": _table(source) for year in range(6)}
    made["handbook.md"] = "".join(_handbook(source))
    for name, text in made.items():
        place = folder / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text, encoding="utf-8")
    source = random.Random(6)
    (folder / "manual.pdf").write_bytes(_pdf([_page(source, number) for number in range(1, 9)]))
    return len(made) + 1


def _sentence(source: random.Random) -> str:
    thing, deed, place = (source.choice(words.split()) for words in (_THINGS, _DEEDS, _PLACES))
    return f"The {thing} in the {place} was {deed} {source.choice(_REASONS)}."


def _note(source: random.Random, number: int) -> str:
    text = " ".join(_sentence(source) for _ in range(source.randrange(3, 12)))
    return f"# Note {number}\n\n{text}\n"


def _table(source: random.Random) -> str:
    rows = [
        f"{month:02d},{source.choice(_THINGS.split())},{source.uniform(5, 900):.2f}"
        for month in range(1, 13)
        for _ in range(4)
    ]
    return "\n".join(["month,item,euros", *rows]) + "\n"


def _handbook(source: random.Random) -> Iterator[str]:
    """A document that no single answer of a tool can hold."""
    yield "# Handbook\n\n"
    for chapter in range(1, 23):
        yield f"## Chapter {chapter}\n\n"
        for _ in range(4):
            yield " ".join(_sentence(source) for _ in range(5)) + "\n\n"


def _page(source: random.Random, number: int) -> list[str]:
    lines = [f"Manual, page {number}", *(_sentence(source) for _ in range(26))]
    if number == 6:
        lines[13] = "Grease the spindle of the lathe with lithium soap every 200 hours."
    return lines


def _pdf(pages: list[list[str]]) -> bytes:
    """A PDF of lines of text, a page each list."""
    kids = " ".join(f"{4 + 2 * number} 0 R" for number in range(len(pages)))
    objects = [
        "<</Type/Catalog/Pages 2 0 R>>",
        f"<</Type/Pages/Kids[{kids}]/Count {len(pages)}>>",
        "<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>",
    ]
    for number, lines in enumerate(pages):
        shown = " ".join(f"({line}) Tj T*" for line in lines if line)
        stream = f"BT /F1 9 Tf 14 TL 40 800 Td {shown} ET"
        objects += [
            "<</Type/Page/Parent 2 0 R/MediaBox[0 0 595 842]/Resources<</Font<</F1 3 0 R>>>>"
            f"/Contents {5 + 2 * number} 0 R>>",
            f"<</Length {len(stream)}>>stream\n{stream}\nendstream",
        ]
    body, places = "%PDF-1.4\n", list[int]()
    for number, one in enumerate(objects, 1):
        places.append(len(body))
        body += f"{number} 0 obj{one}endobj\n"
    table = "".join(f"{place:010d} 00000 n \n" for place in places)
    head = f"xref\n0 {len(objects) + 1}\n0000000000 65535 f \n{table}"
    end = f"trailer<</Size {len(objects) + 1}/Root 1 0 R>>\nstartxref\n{len(body)}\n%%EOF\n"
    return (body + head + end).encode("ascii")


if __name__ == "__main__":
    count = make(Path(sys.argv[1]), *map(int, sys.argv[2:]))
    sys.stdout.write(f"{count} documents in {sys.argv[1]}\n")
