"""Encodings are recognised, and every place in a text is a place in its file."""

import pytest
from sample_corpus import count_tokens

from engine.documents.chunker import cut
from engine.documents.readers.interface import decode
from engine.documents.readers.plain import read_text

JAPANESE = "これは日本語の文章です。検索できるようにするために、文字コードを判定します。"
CHINESE = "这是一个中文句子，用来测试编码检测是否正确。我们希望能够搜索到它。"
TRADITIONAL = "這是一個中文句子，用來測試編碼檢測是否正確。我們希望能夠搜尋到它。"
KOREAN = "이것은 한국어 문장입니다. 인코딩을 올바르게 감지하는지 확인합니다."
RUSSIAN = "Это русское предложение, предназначенное для проверки определения кодировки."
GREEK = "Αυτή είναι μια ελληνική πρόταση για τον έλεγχο της κωδικοποίησης χαρακτήρων."
POLISH = "Wszystkie łodzie wpłynęły dziś do portu, a ludzie śpiewali pieśni o morzu i wietrze."
TURKISH = "Bu, karakter kodlamasını sınamak için yazılmış Türkçe bir cümledir. Şüphesiz."
WRITTEN = [
    (JAPANESE, "cp932"),
    (JAPANESE, "euc_jp"),
    (CHINESE, "gb18030"),
    (TRADITIONAL, "big5"),
    (KOREAN, "cp949"),
    (RUSSIAN, "koi8_r"),
    (RUSSIAN, "cp1251"),
    (RUSSIAN, "cp866"),
    (RUSSIAN, "iso8859_5"),
    (GREEK, "cp1253"),
    (POLISH, "cp1250"),
    (TURKISH, "cp1254"),
    ("זהו משפט בעברית שנועד לבדוק את זיהוי הקידוד של הטקסט.", "cp1255"),
    ("هذه جملة باللغة العربية لاختبار اكتشاف ترميز النص.", "cp1256"),
    ("นี่คือประโยคภาษาไทยสำหรับทดสอบการตรวจจับการเข้ารหัสอักขระ", "cp874"),
]


@pytest.mark.parametrize(("text", "encoding"), WRITTEN, ids=lambda value: value[:9])
def test_the_encoding_of_a_sentence_is_recognised(text, encoding):
    assert decode(text.encode(encoding)) == (text, encoding, 0)


@pytest.mark.parametrize(
    "text",
    [
        "Käse – 5 €",
        "Müller",
        "naïve café déjà vu",
        "El niño comió piña en España.",
        "A informação das ações não está disponível. São Paulo, coração, visões.",
        "L'été, à Besançon, où l'œuvre fut créée.",
        "Ærø på Ålands øer",
        "price 5 £ and 10 °C",
        "# Author: Jürgen Müller\ndef main():\n    return 1\n",
        "Name;Größe;Straße\nMüller;5;Königsallee\nJäger;7;Höhe\n",
        "© 2001 Foo — all rights reserved\n" + "int main(void) { return 0; }\n" * 50,
    ],
)
def test_western_european_letters_are_not_taken_for_another_script(text):
    assert decode(text.encode("cp1252"))[0] == text


@pytest.mark.parametrize(("text", "encoding"), WRITTEN, ids=lambda value: value[:9])
def test_chunks_are_exactly_their_bytes_in_every_encoding(text, encoding):
    content = "\r\n\r\n".join(f"{text} {number}\r\n{text}" for number in range(40)).encode(encoding)
    reading = read_text(content)
    chunks = cut(reading, count_tokens, 120)
    assert len(chunks) > 5
    assert [chunk.text.encode(encoding) for chunk in chunks] == [
        content[chunk.byte_start : chunk.byte_end] for chunk in chunks
    ]
    assert b"".join(chunk.text.encode(encoding) for chunk in chunks) == content


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("# -*- coding: iso8859-15 -*-\nprice = '5 ¤€'\n", "iso8859-15"),
        ('<?xml version="1.0" encoding="iso-8859-2"?><a>łódź</a>', "iso8859-2"),
        ("# vim: set fileencoding=KOI8-R :\n# да\n", "koi8-r"),
    ],
)
def test_an_encoding_that_the_text_names_is_taken(text, encoding):
    assert decode(text.encode(encoding, "replace"))[1] == encoding


@pytest.mark.parametrize("name", ["utf-8", "iso2022_jp", "utf-7", "rot13", "no-such", "hz"])
def test_a_name_that_cannot_be_true_is_not_taken(name):
    text, encoding, _ = decode(f"# coding: {name}\nKäse\n".encode("cp1252"))
    assert (text, encoding) == (f"# coding: {name}\nKäse\n", "cp1252")


def test_what_could_not_be_encoded_again_is_not_a_guess():
    """Shift-JIS has two codes for some signs, of which only one comes back."""
    content = JAPANESE.encode("cp932") + b"\x81\xe0 \x87\x90\n"
    text, encoding, _ = decode(content)
    assert text.encode(encoding) == content
