"""OpenAI-compatible routes: one file per family."""
