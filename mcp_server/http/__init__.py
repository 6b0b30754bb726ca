"""The HTTP transport: MCP and OpenAI-compatible routes on one guarded port."""
