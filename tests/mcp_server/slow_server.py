"""The product's server whose embedder loads loudly, and for as long as the test lets it.

Usage: slow_server.py DATA_DIR MODELS_DIR GATE; loading ends once the file GATE exists.
"""

import os
import subprocess
import sys
import time
from pathlib import Path

import onnxruntime

from engine.engine import Engine
from engine.residency import Resident
from mcp_server import stdio
from mcp_server.commands.engine_options import options
from mcp_server.settings import Settings

data_dir, models_dir, gate = map(Path, sys.argv[1:4])
settings = Settings(data_dir=data_dir, models_dir=models_dir)
engine = Engine(options(settings))
onnxruntime.set_default_logger_severity(0)
loads = 0


def load(report):
    global loads
    loads += 1
    print(f"load number {loads}", file=sys.stderr, flush=True)
    print("noise on stdout from a library", flush=True)
    os.write(1, b"noise on file descriptor 1\n")
    subprocess.run([sys.executable, "-c", "print('noise from a child')"], check=True)
    while not gate.exists():
        time.sleep(0.01)
    return Engine._open_embedder(engine, report)


engine.embedder = Resident("embedding model", load)
stdio.serve(engine, settings)
