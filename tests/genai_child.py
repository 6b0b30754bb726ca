"""Greedy tokens by onnxruntime-genai, in a process of its own: `genai_child.py FOLDER COUNT`.

Reads lists of token ids as JSON from stdin and writes what it chose after each as JSON.
"""

import json
import os
import sys

os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import onnxruntime_genai as og


def greedy(model: og.Model, token_ids: list[int], count: int) -> list[int]:
    params = og.GeneratorParams(model)
    params.set_search_options(
        do_sample=False, max_length=len(token_ids) + count, min_length=len(token_ids) + count
    )
    generator = og.Generator(model, params)
    generator.append_tokens(token_ids)
    for _ in range(count):
        generator.generate_next_token()
    return [int(token) for token in generator.get_sequence(0)[len(token_ids) :]]


if __name__ == "__main__":
    loaded = og.Model(sys.argv[1])
    chosen = [greedy(loaded, ids, int(sys.argv[2])) for ids in json.load(sys.stdin)]
    print(json.dumps(chosen))
