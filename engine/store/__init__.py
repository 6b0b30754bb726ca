"""Chunks and their vectors."""
