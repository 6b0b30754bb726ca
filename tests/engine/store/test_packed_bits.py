"""Bits of vectors: packed, counted and looked at closer."""

import numpy as np
import pytest

from engine.store.packed_bits import FARTHEST, closest, distances, likeness, packed

CENTRE = np.zeros(200, np.float32)


@pytest.fixture
def vectors() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((500, 200))


def counted(vectors: np.ndarray, question: np.ndarray) -> np.ndarray:
    found = np.empty(len(vectors), np.uint16)
    distances(packed(vectors, CENTRE), packed(question[None], CENTRE), found)
    return found


def test_distances_are_the_signs_that_differ(vectors: np.ndarray) -> None:
    expected = ((vectors > 0) != (vectors[3] > 0)).sum(axis=1)
    assert counted(vectors, vectors[3]).tolist() == expected.tolist()


def test_a_vector_and_its_opposite_differ_in_every_dimension(vectors: np.ndarray) -> None:
    assert counted(-vectors[:1], vectors[0]).tolist() == [200]


def test_signs_are_taken_about_the_centre(vectors: np.ndarray) -> None:
    centre = np.full(200, 0.5, np.float32)
    assert (packed(vectors, centre) == packed(vectors - 0.5, CENTRE)).all()


def test_likeness_adds_the_questions_numbers_with_each_vectors_signs(vectors: np.ndarray) -> None:
    question = vectors[3]
    expected = np.where(vectors > 0, 1.0, -1.0) @ question
    assert likeness(packed(vectors, CENTRE), question) == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize("count", [1, 10, 499, 500, 900])
def test_the_closest_are_all_that_are_no_farther_than_the_last_wanted(
    vectors: np.ndarray, count: int
) -> None:
    found = counted(vectors, vectors[3])
    places = closest(found, count)
    assert len(places) >= min(count, 500)
    assert places.tolist() == sorted(places.tolist())
    others = np.delete(found, places)
    assert not len(others) or found[places].max() < others.min()


def test_what_is_marked_farthest_is_never_close(vectors: np.ndarray) -> None:
    found = counted(vectors, vectors[3])
    found[10:] = FARTHEST
    assert closest(found, 100).tolist() == list(range(10))
    found[:] = FARTHEST
    assert len(closest(found, 100)) == 0
