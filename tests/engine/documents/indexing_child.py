"""Indexes a folder in a process of its own, a line a step, so that it can be killed."""

import sys
from pathlib import Path

from sample_corpus import indexer, open_index

folder, index = map(Path, sys.argv[1:])
for step in indexer(open_index(index)).run(folder):
    sys.stdout.write(f"{step.done}\n")
    sys.stdout.flush()
