"""The resources on models, index and documents: what a host may show beside a conversation."""

import json
from typing import Any

from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ResourceError, ResourceNotFoundError

from engine.errors import EngineError, NotFound
from mcp_server import concurrency, reading
from mcp_server.asking import asker
from mcp_server.lifespan import Gateway


def add_to(server: MCPServer[Any], gateway: Gateway) -> None:
    """Registers the resources."""
    library = gateway.engine.library

    @server.resource("models://info", title="Models", mime_type="application/json")
    async def models_info() -> str:  # pyright: ignore[reportUnusedFunction]
        """Models, execution providers and versions; equals the models part of status."""
        info = await concurrency.run_abandonable(gateway.models_info)
        return info.model_dump_json(indent=1)

    @server.resource("models://{model_id}", title="One model", mime_type="application/json")
    async def one_model(model_id: str) -> str:  # pyright: ignore[reportUnusedFunction]
        """One model of models://info."""
        info = await concurrency.run_abandonable(gateway.models_info)
        for entry in info.models:
            if entry.model == model_id:
                return entry.model_dump_json(indent=1)
        known = ", ".join(entry.model for entry in info.models if entry.model) or "none"
        raise ResourceNotFoundError(f"No model {model_id} is in use here; in use: {known}.")

    @server.resource("index://status", title="Index", mime_type="application/json")
    async def index_status() -> str:  # pyright: ignore[reportUnusedFunction]
        """How much is indexed, by which model, and which folders may be indexed."""
        result = await gateway.read(gateway.status)
        kept = result.model_dump(include={"index", "roots", "more_roots", "read_only"})
        return json.dumps(kept, indent=1, ensure_ascii=False)

    @server.resource("doc://{document_id}", title="A document", mime_type="text/plain")
    async def document(  # pyright: ignore[reportUnusedFunction]
        document_id: str, context: Context
    ) -> str:
        """The text of an indexed document, as it was when it was indexed."""
        try:
            wanted, caller = reading.Wanted(document_id=document_id), asker(context).name
            text, more = await gateway.read(lambda: reading.read(library, wanted), caller)
        except NotFound as error:
            raise ResourceNotFoundError(str(error)) from error
        except EngineError as error:
            raise ResourceError(str(error)) from error
        return f"{text}\n{more}" if more else text
