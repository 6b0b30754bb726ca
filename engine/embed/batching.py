"""Plans which texts share a batch, given the buckets.

A pure plan: knows token counts, neither texts nor models. A batch is padded to its longest text,
so texts of like length share one, and its cost is that length times its rows.
"""

from collections.abc import Sequence


def plan(token_counts: Sequence[int], max_batch_tokens: int, max_rows: int) -> list[list[int]]:
    """Groups texts into batches, the longest first.

    The longest come first so that the runtime's memory grows once, and an estimate made after the
    first batches is too high rather than too low.

    Args:
        token_counts: Tokens of each text, special tokens included.
        max_batch_tokens: The most tokens a batch may have once padded (longest text x rows). A
            text longer than that has a batch to itself.
        max_rows: The most texts a batch may have.

    Returns:
        Batches of indices into `token_counts`, each index exactly once; texts of equal length
        keep their order.
    """
    batches: list[list[int]] = []
    for index in sorted(range(len(token_counts)), key=lambda index: -token_counts[index]):
        if batches and _has_room(batches[-1], token_counts, max_batch_tokens, max_rows):
            batches[-1].append(index)
        else:
            batches.append([index])
    return batches


def _has_room(
    batch: Sequence[int], token_counts: Sequence[int], max_batch_tokens: int, max_rows: int
) -> bool:
    longest = token_counts[batch[0]]
    return len(batch) < max_rows and longest * (len(batch) + 1) <= max_batch_tokens
