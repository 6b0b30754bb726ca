"""The MCP server: gives agent hosts the engine's abilities."""
