"""The embedder, on the real all-MiniLM-L6-v2 and on tiny graphs."""

import json
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto

from engine.embed.embedder import Embedder, EmbedderOptions
from engine.embed.embeddings import Embeddings
from engine.errors import EmptyInput, InvalidInput, ModelBroken, TextTooLong, Unavailable
from engine.models import folder
from engine.models.spec import EmbedderSpec, ModelSpec

FIXTURE = Path(__file__).parents[2] / "fixtures" / "minilm_embeddings.npz"

MakeSpec = Callable[..., EmbedderSpec]


@pytest.fixture(scope="module")
def minilm(minilm_folder: Path) -> Embedder:
    return _opened(folder.read_installed, minilm_folder)


def _opened(read: Callable[[Path], ModelSpec], model_folder: Path) -> Embedder:
    spec = read(model_folder)
    assert isinstance(spec, EmbedderSpec)
    return Embedder.open(spec, EmbedderOptions(threads=1))


@pytest.fixture(scope="module")
def reference() -> tuple[list[str], np.ndarray, list[int]]:
    """50 texts, sentence-transformers' vectors of them, and their token counts."""
    with np.load(FIXTURE) as arrays:
        texts = json.loads(arrays["texts"].tobytes())
        return texts, arrays["vectors"], arrays["token_counts"].tolist()


def unit(vector: np.ndarray) -> np.ndarray:
    return vector / np.linalg.norm(vector)


def alike(left: np.ndarray, right: np.ndarray, tolerance: float = 1e-6) -> bool:
    return left.shape == right.shape and float(np.abs(left - right).max()) <= tolerance


# The real model.


def test_minilm_shows_the_tokens_that_it_reads(minilm: Embedder) -> None:
    ids = minilm.tokenize("Hello worldliness")
    assert (ids[0], ids[-1]) == (101, 102)
    assert minilm.detokenize(ids) == "[CLS] hello worldliness [SEP]"
    assert len(ids) == minilm.count_tokens(["Hello worldliness"])[0] + 2
    assert minilm.tokenize("") == [101, 102]
    assert minilm.tokenize("Hello worldliness", special_tokens=False) == ids[1:-1]
    assert len(minilm.tokenize("word " * 2_000)) == 2_002


@pytest.mark.parametrize("ids", [[-1], [101, 30_522], [2**70]])
def test_ids_that_minilm_does_not_have_are_refused(minilm: Embedder, ids: list[int]) -> None:
    with pytest.raises(InvalidInput, match="its ids are 0 to 30521"):
        minilm.detokenize(ids)


def test_half_a_character_has_no_tokens(minilm: Embedder) -> None:
    with pytest.raises(InvalidInput, match="lone surrogate"):
        minilm.tokenize("\ud83d")


@pytest.mark.parametrize("read", [folder.read_installed, folder.read])
def test_fifty_varied_texts_have_the_vectors_that_sentence_transformers_gives(
    minilm_folder: Path,
    reference: tuple[list[str], np.ndarray, list[int]],
    read: Callable[[Path], ModelSpec],
) -> None:
    texts, expected, token_counts = reference
    minilm = _opened(read, minilm_folder)
    embeddings = minilm.embed(texts, "document")
    assert embeddings.vectors.dtype == np.float32
    assert alike(embeddings.vectors, expected, 1e-4)
    assert np.linalg.norm(embeddings.vectors, axis=1) == pytest.approx(np.ones(50), abs=1e-5)
    assert list(embeddings.token_counts) == token_counts
    assert embeddings.prompt_tokens == sum(token_counts)
    assert embeddings.truncated == (48, 49)
    assert (embeddings.provider, embeddings.model_id) == ("cpu", minilm.spec.model_id)


def test_a_text_has_the_same_vector_alone_and_in_any_batch(
    minilm: Embedder, reference: tuple[list[str], np.ndarray, list[int]]
) -> None:
    texts = reference[0]
    alone = np.concatenate([minilm.embed([text], "document").vectors for text in texts])
    order = list(range(len(texts)))
    for batching in [(512, 8), (100_000, 64)]:
        random.Random(batching[0]).shuffle(order)
        embedder = Embedder.open(
            minilm.spec,
            EmbedderOptions(threads=1, max_batch_tokens=batching[0], max_rows=batching[1]),
        )
        vectors = embedder.embed([texts[index] for index in order], "document").vectors
        assert alike(vectors, alone[order], 1e-5)


def test_a_text_of_10000_words_is_cut_and_said_and_its_neighbours_are_not(minilm: Embedder) -> None:
    embeddings = minilm.embed(["before", "word " * 10_000, "after"], "document")
    assert embeddings.truncated == (1,)
    assert embeddings.token_counts == (3, 256, 3)
    neighbours = minilm.embed(["before", "after"], "document")
    assert alike(embeddings.vectors[[0, 2]], neighbours.vectors, 1e-5)


def test_a_long_text_that_must_not_be_cut_is_refused_by_its_index(minilm: Embedder) -> None:
    with pytest.raises(TextTooLong, match="Text 1 has 10,000 tokens, the model reads 254"):
        minilm.embed(["before", "word " * 10_000, "after"], "document", truncate=False)
    fitting = ["before", "word " * 254]
    assert minilm.embed(fitting, "document", truncate=False).truncated == ()


def test_a_text_of_a_megabyte_and_one_of_control_characters_are_embedded(minilm: Embedder) -> None:
    embeddings = minilm.embed(["x" * 1_000_000, "\x00\x01", "a\x00b"], "document")
    assert np.linalg.norm(embeddings.vectors, axis=1) == pytest.approx(np.ones(3), abs=1e-5)


def test_counted_tokens_are_those_of_the_whole_text_without_special_ones(minilm: Embedder) -> None:
    assert minilm.count_tokens(["hello world", "", "word " * 10_000]) == [2, 0, 10_000]


# Pooling and what is fed, on a graph whose states are known.


def states_of(words: list[int], word_vectors: np.ndarray) -> np.ndarray:
    vectors = word_vectors[[2, *(word + 4 for word in words), 3]]
    return vectors + vectors.mean(axis=0) / 2


def test_mean_pooling_is_the_mean_over_the_tokens(tiny: MakeSpec, word_vectors: np.ndarray) -> None:
    vectors = Embedder.open(tiny()).embed(["w1 w2 w3", "w5"], "document").vectors
    assert alike(vectors[0], unit(states_of([1, 2, 3], word_vectors).mean(axis=0)))
    assert alike(vectors[1], unit(states_of([5], word_vectors).mean(axis=0)))


def test_cls_pooling_is_the_first_token(tiny: MakeSpec, word_vectors: np.ndarray) -> None:
    vectors = Embedder.open(tiny({"pooling": "cls"})).embed(["w1 w2 w3", "w5"], "document").vectors
    assert alike(vectors[0], unit(states_of([1, 2, 3], word_vectors)[0]))
    assert alike(vectors[1], unit(states_of([5], word_vectors)[0]))


def test_token_types_are_zero_where_the_graph_asks_for_them(
    tiny: MakeSpec, word_vectors: np.ndarray, segment_rows: np.ndarray
) -> None:
    vectors = Embedder.open(tiny(segments=True)).embed(["w1 w2"], "document").vectors
    assert alike(vectors[0], unit(states_of([1, 2], word_vectors).mean(axis=0) + segment_rows[0]))


@pytest.mark.parametrize(
    "graph",
    [
        {"id_type": TensorProto.INT32},
        {"states": "token_embeddings"},
        {"sentence": "sentence_embedding"},
    ],
)
def test_graphs_of_other_types_and_output_names_give_the_same_vectors(
    tiny: MakeSpec, word_vectors: np.ndarray, graph: dict[str, object]
) -> None:
    vectors = Embedder.open(tiny(**graph)).embed(["w1 w2 w3"], "document").vectors
    assert alike(vectors[0], unit(states_of([1, 2, 3], word_vectors).mean(axis=0)))


def test_half_precision_states_become_float32_vectors_of_length_one(tiny: MakeSpec) -> None:
    vectors = Embedder.open(tiny(state_type=TensorProto.FLOAT16)).embed(["w1"], "document").vectors
    assert vectors.dtype == np.float32
    assert float(np.linalg.norm(vectors[0])) == pytest.approx(1, abs=1e-6)


# Queries and documents.


def test_the_prefix_is_put_before_queries_and_never_before_documents(tiny: MakeSpec) -> None:
    embedder = Embedder.open(tiny({"query_prefix": "w7 w8 "}))
    query = embedder.embed(["w1"], "query")
    document = embedder.embed(["w1"], "document")
    prefixed = embedder.embed(["w7 w8 w1"], "document")
    assert (query.token_counts, document.token_counts) == ((5,), (3,))
    assert alike(query.vectors, prefixed.vectors, 0)
    assert not alike(query.vectors, document.vectors, 1e-3)


def test_a_query_is_cut_with_its_prefix_counted(tiny: MakeSpec) -> None:
    embedder = Embedder.open(tiny({"query_prefix": "w7 w8 "}))
    text = " ".join(f"w{number}" for number in range(9))
    assert embedder.embed([text], "document").truncated == ()
    query = embedder.embed([text], "query")
    assert query.truncated == (0,)
    assert query.token_counts == (12,)


# Order, steps and truncation.


def test_vectors_come_in_the_order_of_the_texts(tiny: MakeSpec) -> None:
    embedder = Embedder.open(tiny(), EmbedderOptions(max_batch_tokens=20))
    generator = random.Random(4)
    texts = [
        " ".join(f"w{generator.randrange(40)}" for _ in range(generator.randint(1, 14)))
        for _ in range(60)
    ]
    embeddings = embedder.embed(texts, "document")
    alone = [embedder.embed([text], "document") for text in texts]
    assert alike(embeddings.vectors, np.concatenate([one.vectors for one in alone]))
    assert embeddings.token_counts == tuple(one.prompt_tokens for one in alone)
    assert embeddings.truncated == tuple(i for i, one in enumerate(alone) if one.truncated)


def test_a_cut_text_keeps_the_special_tokens_around_its_beginning(tiny: MakeSpec) -> None:
    embedder = Embedder.open(tiny())
    words = [f"w{number}" for number in range(20)]
    whole, cut = embedder.embed([" ".join(words), " ".join(words[:10])], "document").vectors
    assert alike(whole, cut)


def test_a_step_embeds_one_batch_and_leaves_the_rest_undone(tiny: MakeSpec) -> None:
    embedder = Embedder.open(tiny(), EmbedderOptions(max_rows=2))
    steps = embedder.embed_steps(["w1", "w2 w3", "w4", "w5", "w6"], "document")
    first = next(steps)
    assert first.indices == (1, 0)
    assert first.vectors.shape == (2, 8)
    assert first.token_counts == (4, 3)
    embedder.close()
    with pytest.raises(Unavailable, match="tiny has been closed"):
        next(steps)


def test_the_steps_gathered_are_the_whole(tiny: MakeSpec) -> None:
    embedder = Embedder.open(tiny(), EmbedderOptions(max_rows=2))
    texts = ["w1", "w2 w3", "w4", "w5 " * 30, "w6"]
    whole = embedder.embed(texts, "document")
    gathered = Embeddings.of(embedder.embed_steps(texts, "document"), "tiny")
    assert alike(whole.vectors, gathered.vectors, 0)
    assert whole.token_counts == gathered.token_counts == (3, 4, 3, 12, 3)
    assert whole.truncated == gathered.truncated == (3,)


def test_closed_steps_do_no_more(tiny: MakeSpec) -> None:
    steps = Embedder.open(tiny(), EmbedderOptions(max_rows=1)).embed_steps(["w1", "w2"], "document")
    next(steps)
    steps.close()
    assert list(steps) == []


def test_the_model_is_described(tiny: MakeSpec) -> None:
    spec = tiny()
    embedder = Embedder.open(spec)
    assert embedder.spec is spec
    assert (embedder.dimensions, embedder.max_tokens, embedder.provider) == (8, 12, "cpu")


# Bad input.


@pytest.mark.parametrize(
    ("texts", "error", "said"),
    [
        ([], EmptyInput, "at least one text"),
        (["w1", ""], EmptyInput, "Text 1 is empty"),
        (["w1", "w2", " \t\r\n\u3000"], EmptyInput, "Text 2 is empty"),
        (["w1", None], InvalidInput, "Text 1 is a NoneType"),
        ([b"w1"], InvalidInput, "Text 0 is a bytes"),
        (["w1", "w2 \ud83d"], InvalidInput, "Text 1 holds a lone surrogate"),
        ("w1", InvalidInput, "a list of texts"),
    ],
)
def test_bad_texts_are_refused_with_their_index(
    tiny: MakeSpec, texts: list[str], error: type[Exception], said: str
) -> None:
    embedder = Embedder.open(tiny({"query_prefix": "w7 "}))
    with pytest.raises(error, match=said):
        embedder.embed(texts, "query")


def test_a_text_that_is_not_unicode_is_not_counted(tiny: MakeSpec) -> None:
    with pytest.raises(InvalidInput, match="Text 1 holds a lone surrogate"):
        Embedder.open(tiny()).count_tokens(["w1", "\udc80"])


# Broken models.


@pytest.mark.parametrize(
    ("changes", "graph", "said"),
    [
        ({}, {"vectors": np.ones((10, 8), np.float32)}, "may not belong together"),
        ({"dimensions": 16}, {}, r"shape \[2, 12, 8\] where \[2, 12, 16\] was due"),
        ({}, {"extra_input": "pixel_values"}, "takes attention_mask, input_ids, pixel_values"),
        ({}, {"states": "", "sentence": "sentence_embedding"}, "no token states"),
        ({}, {"vectors": np.full((44, 8), np.nan, np.float32)}, "not numbers"),
        ({}, {"template": "[CLS] [SEP]"}, r"tokenizer\.json in .* around the tokens of a text"),
    ],
    ids=["small vocabulary", "dimensions", "unknown input", "pooled only", "not a number", "frame"],
)
def test_a_model_that_cannot_serve_is_refused_when_it_is_opened(
    tiny: MakeSpec, changes: dict[str, object], graph: dict[str, object], said: str
) -> None:
    with pytest.raises(ModelBroken, match=said):
        Embedder.open(tiny(changes, **graph))


def test_a_tokenizer_that_has_no_token_for_a_letter_is_refused(tiny: MakeSpec) -> None:
    spec = tiny()
    described = json.loads(spec.tokenizer_file.read_text("utf-8"))
    described["normalizer"] = {"type": "Replace", "pattern": {"String": "a"}, "content": ""}
    spec.tokenizer_file.write_text(json.dumps(described), "utf-8")
    with pytest.raises(ModelBroken, match="around the tokens of a text"):
        Embedder.open(spec)
