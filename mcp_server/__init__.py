"""The MCP server: gives agent hosts the engine's abilities."""

import os

PARENT = os.getppid()
"""The process that had started this one when its first line ran: later it may have ended."""
