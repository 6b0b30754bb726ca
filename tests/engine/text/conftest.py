"""Tokenizers for the tests of this room: byte-level, Phi-3-like, and the real SmolLM2 one."""

from pathlib import Path

import pytest
from tiny_models import byte_tokenizer, phi3_like_tokenizer

from engine.text.tokenizer import Tokenizer


@pytest.fixture
def byte_level(tmp_path: Path) -> Tokenizer:
    byte_tokenizer().save(str(tmp_path / "tokenizer.json"))
    return Tokenizer.open(tmp_path / "tokenizer.json")


@pytest.fixture
def phi3_like(tmp_path: Path) -> Tokenizer:
    phi3_like_tokenizer().save(str(tmp_path / "tokenizer.json"))
    return Tokenizer.open(tmp_path / "tokenizer.json")


@pytest.fixture(scope="session")
def smollm2(smollm2_folder: Path) -> Tokenizer:
    return Tokenizer.open(smollm2_folder / "tokenizer.json")
