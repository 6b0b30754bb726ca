"""Prompts to text, one token at a time."""
