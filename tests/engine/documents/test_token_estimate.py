"""Token counts without a model: never fewer than one has by much, and none without words."""

from sample_corpus import count_tokens

from engine.documents.token_estimate import estimated_tokens


def test_words_come_to_somewhat_more_than_a_model_counts():
    english = "The quick brown fox jumps over the lazy dog and considers the consequences."
    japanese = "古い灯台の隣に静かな港がある。"
    for text in (english, japanese):
        (estimated,), (counted,) = estimated_tokens([text]), count_tokens([text])
        assert counted <= estimated <= 2 * counted
    assert estimated_tokens(["", " \n", "a", "aaaa"]) == [0, 0, 1, 2]
