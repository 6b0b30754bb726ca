"""Which fixed shape a text takes."""

from engine.runtime.shapes import Bucket, buckets, smallest


def test_a_text_takes_the_smallest_bucket_that_holds_it():
    there = buckets(512)
    lengths = {1: 32, 31: 32, 32: 32, 33: 64, 128: 128, 129: 256, 511: 512, 512: 512}
    assert {n: smallest(there, 1, n) for n in lengths} == {
        n: Bucket(1, s) for n, s in lengths.items()
    }


def test_a_text_longer_than_every_bucket_has_none():
    assert smallest(buckets(256), 1, 257) is None


def test_the_last_bucket_is_as_long_as_the_model_reads():
    assert [b.tokens for b in buckets(200)] == [32, 64, 128, 200]
    assert [b.tokens for b in buckets(256)] == [32, 64, 128, 256]
    assert [str(b) for b in buckets(16, rows=8)] == ["8x16"]


def test_a_model_that_reads_more_has_no_bucket_above_512_tokens():
    assert [b.tokens for b in buckets(8192)] == [32, 64, 128, 256, 512]
    assert smallest(buckets(8192), 1, 513) is None


def test_of_buckets_with_more_rows_the_least_padded_one_is_taken():
    assert smallest([Bucket(8, 32), Bucket(1, 128), Bucket(2, 64)], 1, 30) == Bucket(1, 128)
    assert smallest([Bucket(8, 32), Bucket(1, 128), Bucket(2, 64)], 3, 30) == Bucket(8, 32)
