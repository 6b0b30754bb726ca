"""Keys of those who may call over HTTP: what is kept of them, and when nobody is let in."""

import base64
import json
import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from engine.errors import InvalidInput, NotFound, StoreError
from mcp_server.keys import Keys


@pytest.fixture
def file(tmp_path) -> Path:
    return tmp_path / "data" / "keys.json"


@pytest.fixture
def keys(file) -> Keys:
    return Keys(file)


def test_a_key_opens_for_its_scopes_and_no_other_text_does(keys):
    key, made = keys.create("laptop")
    other, admin = keys.create("operator", ["admin"])
    assert key.startswith("loc_")
    assert len(base64.urlsafe_b64decode(key.removeprefix("loc_") + "=")) == 32
    assert keys.find(key) == keys.find(key.encode()) == made
    assert keys.find(other) == admin
    assert made.scopes == {"infer", "search"}
    assert admin.scopes == {"admin"}
    wrong = ["", key[:-1], key + "x", key.upper(), made.sha256, made.id, "ключ", "\ud800", b"\xff"]
    for text in [*wrong, "x" * 100_000]:
        assert keys.find(text) is None


def test_the_file_is_its_owners_alone_and_holds_no_key(keys, file):
    key, made = keys.create("laptop")
    text = file.read_text(encoding="utf-8")
    assert key not in text
    assert key.removeprefix("loc_") not in text
    assert made.sha256 in text
    if os.name == "posix":
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert sorted(path.name for path in file.parent.iterdir() if path.suffix != ".lock") == [
        "keys.json"
    ]


def test_a_server_follows_what_another_process_creates_and_revokes(keys, file):
    elsewhere = Keys(file)
    assert not keys.any()
    key, made = elsewhere.create("laptop")
    assert keys.any()
    assert keys.find(key) == made
    again, _ = elsewhere.create("phone")
    assert keys.find(again)
    assert elsewhere.revoke("laptop") == made
    assert keys.find(key) is None
    assert keys.find(again)


def test_a_key_is_revoked_by_its_id_too_and_only_once(keys):
    _, made = keys.create("laptop")
    assert keys.revoke(made.id) == made
    with pytest.raises(NotFound, match="npu-gateway keys list"):
        keys.revoke(made.id)


def test_after_the_last_key_is_revoked_one_is_needed_still(keys, file):
    key, made = keys.create("laptop")
    keys.revoke(made.name)
    for one in (keys, Keys(file)):
        assert one.any()
        assert one.list() == ()
        assert one.find(key) is None


@pytest.mark.parametrize(
    "name", ["", " ", " x", "x" * 65, "a\nb", "a\x1b[2J", "a\u202eb", "\ud800"]
)
def test_a_name_that_could_not_be_shown_is_refused(keys, file, name):
    with pytest.raises(InvalidInput, match="1 to 64 printable"):
        keys.create(name)
    assert not file.exists()


def test_a_name_and_an_id_mean_one_key(keys):
    _, made = keys.create("Anna's laptop – blue")
    for taken in (made.name, made.id):
        with pytest.raises(InvalidInput, match="already"):
            keys.create(taken)
    with pytest.raises(InvalidInput, match="scope"):
        keys.create("other", [])
    assert keys.list() == (made,)


GOOD = {"id": "key_00000000", "name": "x", "sha256": "0" * 64, "scopes": ["infer"], "created": ""}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"keys": [',
        '{"keys": {}}',
        '{"keys": [], "more": 1}',
        *(
            json.dumps({"keys": [GOOD | change]})
            for change in (
                {"scopes": []},
                {"scopes": ["everything"]},
                {"scopes": "infer"},
                {"sha256": ""},
                {"sha256": "0" * 63},
                {"sha256": None},
                {"id": "../x"},
                {"name": ""},
                {"key": "loc_x"},
            )
        ),
        json.dumps({"keys": [{"id": "key_00000000"}]}),
    ],
)
def test_a_damaged_file_lets_nobody_in_until_it_is_mended(keys, file, text):
    key, made = keys.create("laptop")
    sound = file.read_bytes()
    assert keys.find(key) == made
    file.write_text(text)
    for one in (keys, Keys(file)):
        for ask in (
            one.any,
            one.list,
            lambda one=one: one.find(key),
            lambda one=one: one.create("n"),
        ):
            with pytest.raises(StoreError, match="is damaged"):
                ask()
    file.write_bytes(sound)
    assert keys.find(key) == made


def test_a_vanished_file_lets_nobody_in(keys, file):
    key, _ = keys.create("laptop")
    file.unlink()
    for ask in (keys.any, keys.list, lambda: keys.find(key)):
        with pytest.raises(StoreError, match="has vanished"):
            ask()
    made_anew, _ = Keys(file).create("laptop")
    assert keys.find(key) is None
    assert keys.find(made_anew)


def test_the_same_file_put_back_lets_its_keys_in_again(keys, file):
    key, made = keys.create("laptop")
    file.rename(aside := file.with_name("aside"))
    with pytest.raises(StoreError, match="has vanished"):
        keys.find(key)
    aside.rename(file)
    assert keys.find(key) == made


def test_a_file_that_cannot_be_read_lets_nobody_in(keys, file):
    file.mkdir(parents=True)
    with pytest.raises(StoreError, match="cannot be read"):
        keys.find("loc_x")
    with pytest.raises(StoreError, match="cannot be read"):
        keys.any()


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path):
    (tmp_path / "data").write_text("a file")
    with pytest.raises(StoreError, match="keys"):
        Keys(tmp_path / "data" / "keys.json").create("laptop")


def test_keys_created_at_once_are_all_kept(file):
    with ThreadPoolExecutor(8) as threads:
        made = list(threads.map(lambda n: Keys(file).create(f"number {n}")[1], range(8)))
    assert set(Keys(file).list()) == set(made)


def test_a_key_that_cannot_be_written_says_that_nothing_has_changed(file):
    (file.parent / ".keys.json.lock").mkdir(parents=True)
    with pytest.raises(StoreError, match=r"cannot be written .* and no key has changed"):
        Keys(file).create("laptop")
