"""The tool embed through the official client."""

import base64

import numpy as np
import pytest

pytestmark = pytest.mark.anyio

TEXTS = ["The moon pulls at the sea.", "Bread rises overnight.", "今日は雨です。"]


async def test_vectors_are_unit_finite_and_say_who_made_them(connect):
    async with connect() as client:
        result = await client.call_tool("embed", {"texts": TEXTS})
    found = result.structured_content
    vectors = np.array(found["embeddings"])
    assert vectors.shape == (3, 384)
    assert np.isfinite(vectors).all()
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-3)
    assert found["provider"] == "cpu"
    assert found["model"] == "all-minilm-l6-v2"
    assert found["truncated"] == []
    assert found["prompt_tokens"] > 3
    assert "all-minilm-l6-v2 on cpu" in result.content[0].text


async def test_the_same_call_gives_the_same_vectors_in_the_order_of_the_texts(connect):
    async with connect() as client:
        first = await client.call_tool("embed", {"texts": TEXTS})
        again = await client.call_tool("embed", {"texts": TEXTS})
        alone = [await client.call_tool("embed", {"texts": [text]}) for text in TEXTS]
    together = np.array(first.structured_content["embeddings"])
    singles = np.array([one.structured_content["embeddings"][0] for one in alone])
    assert first.structured_content == again.structured_content
    assert (np.sum(together * singles, axis=1) > 0.999).all()


async def test_base64_holds_the_same_vectors(connect):
    async with connect() as client:
        floats = await client.call_tool("embed", {"texts": TEXTS})
        packed = await client.call_tool("embed", {"texts": TEXTS, "encoding": "base64"})
    decoded = [
        np.frombuffer(base64.b64decode(row), "<f4")
        for row in packed.structured_content["embeddings"]
    ]
    assert np.abs(np.array(floats.structured_content["embeddings"]) - decoded).max() <= 1e-6


@pytest.mark.parametrize(("encoding", "fits"), [("float", 11), ("base64", 23)])
async def test_more_than_fits_is_refused_and_what_fits_does(connect, encoding, fits):
    async with connect() as client:
        full = await client.call_tool("embed", {"texts": ["a"] * fits, "encoding": encoding})
        over = await client.call_tool("embed", {"texts": ["a"] * (fits + 1), "encoding": encoding})
    assert not full.is_error
    assert len(str(full.structured_content)) <= 50_000
    assert over.is_error
    assert f"{fits} do" in over.content[0].text
    assert "npu-gateway embed --json" in over.content[0].text
    assert ("base64" in over.content[0].text.split(":", 1)[1]) is (encoding == "float")


async def test_a_long_text_is_cut_and_said_so(connect):
    async with connect() as client:
        result = await client.call_tool("embed", {"texts": ["short", "long " * 2000]})
    assert result.structured_content["truncated"] == [1]
    assert "texts [1]" in result.content[0].text


@pytest.mark.parametrize(("texts", "words"), [(["a", "  "], "Text 1 is empty")])
async def test_a_text_that_cannot_be_embedded_is_named(connect, texts, words):
    async with connect() as client:
        result = await client.call_tool("embed", {"texts": texts})
    assert result.is_error
    assert words in result.content[0].text
