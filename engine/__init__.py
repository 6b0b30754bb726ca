"""The engine: texts to vectors, prompts to text, questions to passages, all local.

Knows no event loop, no protocol and no environment variable: plain values come in, plain values
and generators go out. Every error raised on purpose is in `engine.errors`.
"""

__version__ = "0.1.0"
