"""Local files as chunks."""
