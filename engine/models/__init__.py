"""What a model on disk is, and how it gets there."""
