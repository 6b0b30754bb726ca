"""The product's server over stdio, whose long calls are tasks at once.

Usage: task_server.py DATA_DIR ROOT.
"""

import sys
from dataclasses import replace
from pathlib import Path

from engine.engine import Engine
from mcp_server import stdio
from mcp_server.commands.engine_options import options
from mcp_server.settings import Settings
from mcp_server.tasks import lasting

data_dir, root = map(Path, sys.argv[1:3])
lasting.LASTING.update({name: replace(one, patience=0) for name, one in lasting.LASTING.items()})
settings = Settings(data_dir=data_dir, models_dir=data_dir, root=(root,), offline=True)
stdio.serve(Engine(options(settings)), settings)
