"""Which form SmolLM2's weights are shipped in: speed, size and agreement with the published ones.

    python examples/benchmarks/weight_formats.py --gguf FILE [--rounds 5] [--threads 0] [--json]

Converts the GGUF file to every form and runs them in turn, so that a busy machine slows all of them
alike; medians over the rounds are shown. Reading is of 512 tokens in parts of 128, answering of 32
tokens after them, in a shared cache. Agreement is with a forward pass in numpy over the weights as
gguf dequantises them: how often the likeliest token is the same, how far logits are off, and the
Kullback-Leibler divergence of the next token's distribution in nats.

Notes. Figures are of one run in turn with the losing ideas, which have left the code, over 128
other tokens (Linux x86-64 with AVX-512 VNNI, 2 threads, ONNX Runtime 1.32.0, machine half idle):

    weights                               answer   read   the same   divergence
                                           tok/s  tok/s     winner         nats
    8 bit, spread (used)                     105    853     95.3 %       0.0040
    8 bit, plain asymmetric                  103    899     94.5 %       0.0051
    4 bit, zero points rounded               121    737     67.2 %       0.4898
    4 bit and what rounding lost             103    643     96.1 %       0.0040
    4 bit, the same in added columns         107    612     97.7 %       0.0047
    4 bit, zero points in float               11    633     99.2 %       0.0005

- 4 bits are a seventh faster and another model. Q4_1 keeps a block's smallest weight as a float and
  MatMulNBits a whole-number zero point: rounding it shifts 32 weights at once (negative).
- Fitting scale and zero point anew for the least square error, with or without a penalty on the
  shift, changed nothing: 67.2 %, 0.51 nats with float activations (negative).
- What rounding lost can be put back exactly: one small product of the sums of each 32 activations.
  With float activations that form equals the published weights to 1e-4. Its 420 additional nodes
  cost what 4 bits win, and reading is a quarter slower; it would save 40 MB (negative, for now).
- Float zero points make ONNX Runtime multiply in float32 (negative).
- 8 bits, spread: see `block_weights.from_q4_1`. It divides the divergence that weights cause by six
  (0.0002 instead of 0.0014 with float activations); what is left is activations rounded to 8 bits.
- That rounding is in every layer alike: leaving it out for one kind of product, or for three layers
  of thirty, never took away more than a quarter of it (negative).
- Bigger blocks: activations are rounded over as many values, which weighs more than the weights.
  Over 1,289 tokens of texts, code and tables, with speeds in one run, 5 turns, on a machine that
  others used too, of 1 and 8 tokens after 512 and of reading:

    blocks and form                    same winner  divergence    1 token  8 tokens    read
                                                          nats         ms        ms   tok/s
    32, spread (used)                       95.7 %      0.0038       9.18     19.80     920
    32, symmetric, no zero points           94.4 %      0.0062       9.13     19.44     895
    64, asymmetric; head 64                 94.5 %      0.0075       8.81     18.15   1,049
    64, of least square error; head 64      93.3 %      0.0081
    64 in the last product and the head     93.6 %      0.0062

  The third's agreement is without the head's; with float activations it is 97.1 %, 0.0015 nats.
  A seventh faster at reading for twice the divergence (negative, unless activations are made
  smoother first, which was not tried). To leave out zero points makes nothing faster.
- Gate and up as one product, then Split: the same bits, 1 token in 9.04 ms instead of 9.18 and 8 in
  19.31, but reading falls from 920 to 881 tokens/s (negative).
- llama.cpp rounds activations too, and answers alike: asked for the capital of France, with two
  first tokens 0.08 apart in the published weights, it and the used form both begin in French.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import gguf
import numpy as np
from machine import machine
from numpy.typing import NDArray

from engine.models.converters import from_gguf
from engine.runtime.session import Session
from engine.text.tokenizer import Tokenizer

PROMPT_TOKENS, PART, ANSWER_TOKENS = 512, 128, 32

TEXTS = [
    "The history of the bicycle begins in the nineteenth century, when inventors in Germany, "
    "France and Britain built the first two-wheeled machines.",
    "Water boils at 100 degrees Celsius at sea level, but on a mountain the pressure is lower and "
    "so it boils sooner.",
    "def fibonacci(n):\n    if n < 2:\n        return n\n    return fibonacci(n - 1)",
    "Dear Ms Tanaka, thank you for your letter of 3 May. We are sorry that the parcel reached you "
    "late and have refunded the postage.",
    "Question: What is the largest planet of the solar system?\nAnswer: Jupiter, more than "
    "twice as massive as all other planets together.",
]

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Form:
    """How weights are stored, and whether activations are rounded to 8 bits too."""

    bits: Literal[4, 8]
    accuracy_level: Literal[1, 4]

    @property
    def name(self) -> str:
        activations = "8 bit" if self.accuracy_level == 4 else "float"
        shipped = " (used)" if self == SHIPPED else ""
        return f"{self.bits} bit, activations {activations}{shipped}"


SHIPPED = Form(8, 4)
FORMS = [SHIPPED, Form(4, 4), Form(8, 1), Form(4, 1)]


@dataclass(frozen=True)
class Figure:
    """Medians of one form's speed, and its agreement over all texts."""

    form: str
    decode_tokens_per_second: float
    prefill_tokens_per_second: float
    megabytes: float
    same_winner_percent: float
    mean_logit_error: float
    max_logit_error: float
    mean_divergence: float


class Model:
    """One form, with a cache that every run fills in place."""

    def __init__(self, folder: Path, threads: int) -> None:
        self.session = Session.open(folder / "model.onnx", threads=threads)
        self.binding = self.session.binding()
        for name, tensor in self.session.inputs.items():
            if name.startswith("past_key_values"):
                shape = (1, int(tensor.shape[1]), PROMPT_TOKENS + 64, int(tensor.shape[3]))
                cache = np.zeros(shape, np.float32)
                self.binding.bind_input(name, cache)
                self.binding.bind_output(name.replace("past_key_values", "present"), cache)
        self.vocabulary = int(self.session.outputs["logits"].shape[2])

    def run(self, ids: Sequence[int], kept: int, rows: Sequence[int]) -> Floats:
        """Logits of those rows of the new tokens."""
        logits = np.zeros((1, len(rows), self.vocabulary), np.float32)
        self.binding.bind_output("logits", logits)
        self.binding.bind_input("input_ids", np.array([ids], np.int64))
        self.binding.bind_input("attention_mask", np.ones((1, kept + len(ids)), np.int64))
        self.binding.bind_input("logits_rows", np.array(rows, np.int64))
        self.binding.run()
        return logits[0]

    def seconds(self, ids: Sequence[int]) -> tuple[float, float]:
        """Of reading the prompt, and of the median token after it."""
        started = time.perf_counter()
        for start in range(0, len(ids), PART):
            self.run(ids[start : start + PART], start, [PART - 1])
        read = time.perf_counter() - started
        steps: list[float] = []
        for step in range(ANSWER_TOKENS):
            started = time.perf_counter()
            self.run(ids[step : step + 1], len(ids) + step, [0])
            steps.append(time.perf_counter() - started)
        return read, statistics.median(steps)


class Published:
    """llama in numpy over the weights as published; q and k rows are permuted in GGUF."""

    def __init__(self, gguf_file: Path, config: dict[str, float]) -> None:
        self.layers, self.epsilon = int(config["num_hidden_layers"]), config["rms_norm_eps"]
        self.heads, self.kv_heads = (
            int(config[key]) for key in ("num_attention_heads", "num_key_value_heads")
        )
        self.base = config["rope_theta"]
        self.weights = {
            tensor.name.removesuffix(".weight"): gguf.dequantize(
                tensor.data, tensor.tensor_type
            ).reshape(tensor.shape[::-1])
            for tensor in gguf.GGUFReader(gguf_file).tensors
        }

    def logits(self, ids: Sequence[int]) -> Floats:
        """Logits of every token of a text."""
        x = self.weights["token_embd"][list(ids)]
        for layer in range(self.layers):
            name = f"blk.{layer}"
            x = x + self._attention(self._normalised(x, f"{name}.attn_norm"), name)
            inner = self._normalised(x, f"{name}.ffn_norm")
            gate = self._product(inner, f"{name}.ffn_gate")
            gated = gate / (1 + np.exp(-gate)) * self._product(inner, f"{name}.ffn_up")
            x = x + self._product(gated, f"{name}.ffn_down")
        return self._product(self._normalised(x, "output_norm"), "token_embd")

    def _normalised(self, x: Floats, name: str) -> Floats:
        return x / np.sqrt((x * x).mean(-1, keepdims=True) + self.epsilon) * self.weights[name]

    def _product(self, x: Floats, name: str) -> Floats:
        return x @ self.weights[name].T

    def _attention(self, x: Floats, name: str) -> Floats:
        heads = {"q": self.heads, "k": self.kv_heads, "v": self.kv_heads}
        q, k, v = (
            self._product(x, f"{name}.attn_{part}").reshape(len(x), count, -1).swapaxes(0, 1)
            for part, count in heads.items()
        )
        shared = self.heads // self.kv_heads
        k, v = np.repeat(self._rotated(k), shared, axis=0), np.repeat(v, shared, axis=0)
        scores = self._rotated(q) @ k.swapaxes(1, 2) * q.shape[-1] ** -0.5
        shares = np.exp(np.where(np.tri(len(x), dtype=bool), scores, -np.inf))
        mixed = (shares / shares.sum(-1, keepdims=True)) @ v
        return self._product(mixed.swapaxes(0, 1).reshape(len(x), -1), f"{name}.attn_output")

    def _rotated(self, x: Floats) -> Floats:
        size = x.shape[-1]
        angles = np.arange(x.shape[1])[:, None] * self.base ** (-np.arange(0, size, 2) / size)
        pairs = (x[..., ::2] + 1j * x[..., 1::2]) * np.exp(1j * angles)
        return np.stack([pairs.real, pairs.imag], axis=-1).reshape(x.shape).astype(np.float32)


def main() -> None:
    options = _options()
    with tempfile.TemporaryDirectory() as scratch:
        folders = {form: Path(scratch, f"{form.bits}-{form.accuracy_level}") for form in FORMS}
        for form, folder in folders.items():
            from_gguf.convert(
                options.gguf, folder, bits=form.bits, accuracy_level=form.accuracy_level
            )
        figures = measure(options.gguf, folders, options.rounds, options.threads)
    _show(figures, options.threads, as_json=options.json)


def measure(gguf_file: Path, folders: dict[Form, Path], rounds: int, threads: int) -> list[Figure]:
    """Runs every form in every round, then compares each with the published weights."""
    models = {form: Model(folder, threads) for form, folder in folders.items()}
    ids = np.random.default_rng(1).integers(20, 40_000, PROMPT_TOKENS).tolist()
    for model in models.values():
        model.run(ids[:PART], 0, [0])
    times = [{form: model.seconds(ids) for form, model in models.items()} for _ in range(rounds)]
    tokenizer = Tokenizer.open(folders[SHIPPED] / "tokenizer.json")
    config = json.loads((folders[SHIPPED] / "config.json").read_text("utf-8"))
    published = Published(gguf_file, config)
    texts = tokenizer.encode_batch(TEXTS)
    expected = [published.logits(text) for text in texts]
    return [
        Figure(
            form=form.name,
            prefill_tokens_per_second=PROMPT_TOKENS / statistics.median(t[form][0] for t in times),
            decode_tokens_per_second=1 / statistics.median(t[form][1] for t in times),
            megabytes=(folders[form] / "model.onnx.data").stat().st_size / 1e6,
            **_agreement(
                np.concatenate([model.run(text, 0, range(len(text))) for text in texts]),
                np.concatenate(expected),
            ),
        )
        for form, model in models.items()
    ]


def _agreement(found: Floats, expected: Floats) -> dict[str, float]:
    error = np.abs(found - expected)
    wanted, given = _log_shares(expected), _log_shares(found)
    return {
        "same_winner_percent": 100 * float(np.mean(found.argmax(-1) == expected.argmax(-1))),
        "mean_logit_error": float(error.mean()),
        "max_logit_error": float(error.max()),
        "mean_divergence": float((np.exp(wanted) * (wanted - given)).sum(-1).mean()),
    }


def _log_shares(logits: Floats) -> Floats:
    shifted = logits - logits.max(-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--gguf", type=Path, required=True, help="SmolLM2-135M-Instruct.Q4_1.gguf")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=0, help="0: every physical core")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


def _show(figures: Sequence[Figure], threads: int, *, as_json: bool) -> None:
    if as_json:
        rows = [asdict(figure) for figure in figures]
        print(json.dumps({"machine": machine(), "threads": threads, "forms": rows}, indent=2))
        return
    print(f"threads {threads or 'all'}; {machine()}\n")
    print(
        f"{'weights':<33}{'answer':>8}{'read':>8}{'size':>9}"
        f"{'winner':>9}{'logits off':>13}{'divergence':>12}"
    )
    print(
        f"{'':<33}{'tok/s':>8}{'tok/s':>8}{'':>9}{'the same':>9}{'mean':>7}{'max':>6}{'nats':>12}"
    )
    for figure in figures:
        print(
            f"{figure.form:<33}{figure.decode_tokens_per_second:>8.1f}"
            f"{figure.prefill_tokens_per_second:>8,.0f}{figure.megabytes:>6.0f} MB"
            f"{figure.same_winner_percent:>7.1f} %{figure.mean_logit_error:>7.2f}"
            f"{figure.max_logit_error:>6.1f}{figure.mean_divergence:>12.4f}"
        )


if __name__ == "__main__":
    main()
