"""Probes tell who may send work here, and cost none."""

import json

import pytest
from asking import ask

from engine.errors import ModelBroken
from engine.residency import Resident
from mcp_server.http import app
from mcp_server.keys import Keys
from mcp_server.lifespan import Gateway


@pytest.fixture
def gateway(home):
    engine = home.engine()
    yield Gateway(engine, home.settings)
    engine.close()


def test_a_server_whose_models_have_been_used_is_ready(served):
    assert served.get("/livez").json() == {"status": "ok"}
    assert served.get("/readyz").json() == {"status": "ok", "reasons": []}
    for path in ("/health", "/v1/health"):
        assert served.get(path).json() == {"status": "ok"}


@pytest.mark.anyio
async def test_it_lives_but_is_not_ready_before_its_models_are_and_while_it_ends(gateway):
    application = app.build(gateway)
    for is_draining, code in ((False, "model_loading"), (True, "shutting_down")):
        gateway.is_draining = is_draining
        assert (await ask(application, "/livez")).status == 200
        refused = await ask(application, "/readyz")
        assert (refused.status, refused.code) == (503, code)
        assert int(refused.headers["retry-after"]) >= 1
        assert (await ask(application, "/v1/health")).code == code


@pytest.mark.anyio
async def test_only_the_two_probes_are_open_where_a_key_is_needed(gateway, home):
    application = app.build(gateway)
    Keys(home.settings.keys_file).create("somebody")
    gateway.warm.set()
    statuses = {path: (await ask(application, path)).status for path in ("/livez", "/readyz")}
    assert statuses == {"/livez": 200, "/readyz": 200}
    assert (await ask(application, "/health")).status == 401


@pytest.mark.anyio
async def test_a_server_that_has_lost_a_model_is_ready_and_says_so(gateway):
    def fail(_):
        raise ModelBroken("A secret folder is damaged.")

    application = app.build(gateway)
    gateway.warm.set()
    gateway.engine.decoder = Resident("language model", fail)
    with pytest.raises(ModelBroken):
        gateway.engine.decoder.lease()
    answer = await ask(application, "/readyz")
    assert answer.status == 200
    assert json.loads(answer.body) == {"status": "degraded", "reasons": ["generate-failed"]}
