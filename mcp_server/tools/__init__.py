"""The tools agents call: one file per family, each a list of tools over one gateway."""
