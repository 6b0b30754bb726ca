"""The status page, in a real browser and out of it."""

import re

import browser
import pytest

from engine import __version__
from mcp_server.http import app
from mcp_server.http.metrics import Metrics
from mcp_server.keys import Keys
from mcp_server.measures import Answered, Arrived, Generated

HOSTILE = "<img src=x onerror=alert(1)>"

RULE = re.compile("innerHTML|outerHTML|insertAdjacentHTML|document\\.write|eval\\(|Function\\(")


def busy() -> Metrics:
    """Measures of a server that has been asked a few things."""
    measures = Metrics([one.name for one in app.ENDPOINTS], __version__)
    for at in range(1, 13):
        measures.record(Arrived())
        measures.record(Answered("embeddings", "POST", 200 if at % 6 else 429, at / 1000))
        measures.record(Generated(20, 10 + at, 0.1 + at / 100, at / 10))
    return measures


def test_the_page_asks_nobody_but_its_server_and_puts_all_in_as_text(served):
    page = served.get("/")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    policy = dict(
        part.split(" ", 1) for part in page.headers["content-security-policy"].split("; ")
    )
    assert policy["default-src"] == "'none'"
    assert policy["connect-src"] == "'self'"
    assert re.fullmatch("'sha256-[\\w+/=]{44}'", policy["script-src"])
    assert not RULE.search(page.text)
    assert not re.search("https?://(?!www.w3.org)", page.text)


def test_what_the_page_shows_is_told_as_json(served):
    told = served.get("/status.json").json()
    assert [one["task"] for one in told["status"]["models"]] == ["embed", "generate"]
    assert told["status"]["index"]["documents"] == 3
    assert told["started"] <= told["time"]


@pytest.mark.skipif(not browser.PROGRAM, reason="needs Chromium")
def test_a_browser_with_a_key_shows_models_plots_and_hostile_names(home, serve, request):
    folder = home.documents / HOSTILE
    folder.mkdir()
    (folder / "note.md").write_text("# A note\n\nThe tide rises.\n")
    key, _ = Keys(home.settings.keys_file).create("me", ["admin"])
    with serve() as served, browser.opened() as page:
        served.gateway.measures = busy()
        for _ in served.gateway.engine.library.index(folder.resolve()):
            pass
        assert served.get("/").status_code == 401
        address = served.url.replace("://", f"://me:{key}@") + "/"
        page.open(address)
        page.wait_for("document.querySelectorAll('#index td').length > 0")
        assert HOSTILE in page.value("document.querySelector('#index td').textContent")
        assert page.value("document.images.length") == 0
        assert page.value("document.querySelectorAll('#answers svg .point').length") == 36
        assert page.value("document.querySelectorAll('#requests svg .point').length") == 10
        assert page.value("document.querySelectorAll('#requests svg .failed').length") == 2
        assert "all-minilm-l6-v2" in page.value("document.querySelector('#models').textContent")
        asked = asks_when_hidden_and_when_seen(page)
        page.screenshot(request.config.cache.mkdir("screenshots") / "status_page.png")
        assert page.problems() == []
        assert set(asked) == {address, served.url + "/status.json"}


def asks_when_hidden_and_when_seen(page: browser.Page) -> list[str]:
    """All addresses a page has asked for, once it has been hidden and seen again."""

    def becomes(hidden: str) -> int:
        page.value(
            f"Object.defineProperty(document, 'hidden', {{ value: {hidden}, configurable: true }})"
            " && document.dispatchEvent(new Event('visibilitychange'))"
        )
        page.call("Runtime.evaluate", expression="refresh()", awaitPromise=True)
        return len(page.requested())

    hidden = becomes("true")
    assert becomes("true") == hidden
    assert becomes("false") > hidden
    return [one for one in page.requested() if not one.startswith("data:")]
