"""The routes /vector_stores search collections as OpenAI's client asks, and change nothing."""

import openai
import pytest
from homes import NOTES

from mcp_server.http.openai.stores import store_id

SEA = "What makes the sea rise and fall?"


@pytest.fixture(scope="session")
def store(client):
    """The collection of the notes."""
    return client.vector_stores.list().data[0]


def _names(found):
    return [one.filename for one in found]


def _search(client, store, query=SEA, **options):
    return client.vector_stores.search(store.id, query=query, **options).data


@pytest.mark.compat("vector_store")
def test_a_collection_is_told_of_by_its_id_and_by_its_name(client, store, served):
    assert store.id == store_id("documents")
    assert (store.name, store.status, store.file_counts.completed) == ("documents", "completed", 3)
    assert store.usage_bytes == sum(len(text.encode()) for text in NOTES.values())
    assert 0 < store.created_at <= store.last_active_at
    assert client.vector_stores.retrieve("documents") == store
    assert served.get(f"/vector_stores/{store.id}/").json()["id"] == store.id
    with pytest.raises(openai.NotFoundError, match="documents"):
        client.vector_stores.retrieve("documentz")


@pytest.mark.compat("vector_stores", honoured=["limit", "order", "after", "before"])
def test_collections_come_in_pages(serve, tmp_path):
    for name in "abc":
        (tmp_path / name).mkdir()
        (tmp_path / name / "note.md").write_text(f"# {name}\n")
    with serve() as served:
        library = served.gateway.engine.library
        for name in "abc":
            for _ in library.index((tmp_path / name).resolve()):
                pass
        with openai.OpenAI(base_url=served.url, api_key="none", max_retries=0) as client:
            stores = client.vector_stores
            assert [one.name for one in stores.list(limit=1)] == ["a", "b", "c"]
            assert [one.name for one in stores.list(limit=2, order="desc")] == ["c", "b", "a"]
            first = stores.list(limit=2)
            assert (first.has_more, first.last_id) == (True, store_id("b"))
            before = stores.list(before=store_id("c"), limit=1)
            assert ([one.name for one in before.data], before.has_more) == (["b"], True)
            found = stores.search("b", query="note").data
            assert [one.content[0].text for one in found] == ["# b"]
        for wrong in ("limit=0", "limit=101", "limit=x", "order=up"):
            refused = served.get(f"/vector_stores?{wrong}")
            assert refused.status_code == 400
            assert refused.json()["error"]["param"] == wrong.partition("=")[0]


@pytest.mark.compat("vector_store_search", honoured=["query", "max_num_results"])
def test_passages_are_found_with_their_place(client, store):
    page = client.vector_stores.search(store.id, query=SEA, max_num_results=2)
    assert page.object == "vector_store.search_results.page"
    best = page.data[0]
    assert (len(page.data), best.filename, best.line_start) == (2, "tides.md", 1)
    assert best.content[0].text == NOTES["tides.md"].strip()
    assert best.score >= page.data[1].score >= 0
    assert best.attributes["kind"] == "markdown"
    assert best.attributes["path"].endswith("tides.md")
    assert client.vector_stores.files.retrieve(best.file_id, vector_store_id=store.id)


@pytest.mark.compat(
    "vector_store_search",
    honoured=["query.list", "ranking_options.score_threshold"],
    ignored=["ranking_options.ranker"],
)
def test_several_queries_give_one_list_with_each_passage_once(client, store):
    found = _search(client, store, [SEA, "How is bread made?"])
    assert sorted(_names(found)[:2]) == ["bread.md", "tides.md"]
    assert len(_names(found)) == len(set(_names(found)))
    assert _names(_search(client, store, [SEA], max_num_results=1)) == ["tides.md"]
    kept = _search(client, store, ranking_options={"ranker": "auto", "score_threshold": 0.9})
    assert _names(kept) == ["tides.md"]


@pytest.mark.compat("vector_store_search", honoured=["filters"])
def test_filters_let_through_what_they_say(client, store):
    def eq(key, value):
        return {"type": "eq", "key": key, "value": value}

    found = _search(client, store)
    tides = found[0].attributes
    changed = [one.attributes["modified"] for one in found]
    every = sorted(NOTES)
    text, markdown = ["cycling.txt"], ["bread.md", "tides.md"]
    cases = [
        (eq("kind", "text"), text),
        ({"type": "ne", "key": "kind", "value": "text"}, markdown),
        ({"type": "in", "key": "kind", "value": ["text", "markdown"]}, every),
        (eq("path", tides["path"]), ["tides.md"]),
        (eq("path", "*.md"), markdown),
        ({"type": "or", "filters": [eq("path", "bread.md"), eq("path", "tides.md")]}, markdown),
        ({"type": "and", "filters": [eq("kind", "markdown"), eq("path", "b*")]}, ["bread.md"]),
        ({"type": "gte", "key": "modified", "value": min(changed)}, every),
        ({"type": "lte", "key": "modified", "value": max(changed)}, every),
        ({"type": "gt", "key": "modified", "value": max(changed)}, []),
        ({"type": "lt", "key": "modified", "value": "2001-09-09T00:00:00+00:00"}, []),
        (eq("author", "nobody"), []),
    ]
    for filters, expected in cases:
        assert sorted(_names(_search(client, store, filters=filters))) == expected, filters


def test_what_a_document_says_of_itself_is_shown_and_filtered_by(serve, tmp_path):
    hidden = "\u202edeh\u202c\u200b\U000e0041"
    text = f"---\nauthor: Ada\nyear: 1843\n---\n# En{hidden}gine\n\nIt weaves {hidden}patterns.\n"
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "a[1].md").write_text(text, encoding="utf-8")
    with serve() as served:
        for _ in served.gateway.engine.library.index((tmp_path / "notes").resolve()):
            pass

        def found(**filters):
            body = {"query": "patterns", "filters": filters or None}
            return served.post("/vector_stores/notes/search", body).json()["data"]

        one = next(one for one in found() if "weaves" in one["content"][0]["text"])
        assert one["attributes"]["author"] == "Ada"
        assert one["attributes"]["year"] == "1843"
        assert "It weaves dehpatterns." in one["content"][0]["text"]
        whole = served.get(f"/vector_stores/notes/files/{one['file_id']}/content").json()
        assert "# Endehgine" in whole["data"][0]["text"]
        assert found(type="eq", key="author", value="ada")
        assert found(type="eq", key="year", value=1843)
        assert found(type="eq", key="path", value=one["attributes"]["path"])
        assert found(type="eq", key="author", value="Bob") == []


@pytest.mark.compat("vector_store_search", refused=["filters.what cannot be looked for"])
def test_what_no_filter_can_express_is_refused(client, store):
    one = {"type": "eq", "key": "kind", "value": "text"}
    several = {"type": "in", "key": "kind", "value": ["text"] * 60}
    many = [{"type": "eq", "key": f"k{i}", "value": "v"} for i in range(60)]
    for filters in (
        {"type": "or", "filters": [several, several]},
        {"type": "and", "filters": [{"type": "and", "filters": many}] * 20},
        {"type": "gt", "key": "path", "value": "a"},
        {"type": "ne", "key": "author", "value": "Ada"},
        {"type": "in", "key": "author", "value": ["Ada", "Bob"]},
        {"type": "eq", "key": "modified", "value": "yesterday"},
        {"type": "in", "key": "modified", "value": [1]},
        {"type": "eq", "key": "kind", "value": ["text"]},
        {"type": "eq", "key": "kind", "value": "film"},
        {"type": "and", "filters": [one, one]},
        {"type": "or", "filters": [one, {"type": "eq", "key": "path", "value": "a"}]},
        {"type": "or", "filters": [{"type": "gt", "key": "modified", "value": 1}, one]},
        {"type": "like", "key": "path", "value": "a"},
    ):
        with pytest.raises(openai.BadRequestError) as refused:
            _search(client, store, filters=filters)
        assert refused.value.param in (None, "filters") or "filters" in refused.value.param


def test_what_is_null_is_as_if_it_were_not_there(served, store):
    route, ranking = f"/v1/vector_stores/{store.id}/search", {"score_threshold": None}
    nothing = {"max_num_results": None, "filters": None, "ranking_options": ranking}
    found = served.post(route, {"query": "sea"} | nothing)
    assert found.json() == served.post(route, {"query": "sea"}).json()


def test_a_search_that_asks_for_nothing_is_refused(served, store):
    for body, param in (
        ({}, "query"),
        ({"query": " "}, "query"),
        ({"query": []}, "query"),
        ({"query": ["sea", ""]}, "query"),
        ({"query": "sea", "max_num_results": 51}, "max_num_results"),
        ({"query": "sea", "max_num_results": 0}, "max_num_results"),
        (
            {"query": "sea", "ranking_options": {"score_threshold": 2}},
            "ranking_options.score_threshold",
        ),
    ):
        refused = served.post(f"/v1/vector_stores/{store.id}/search", body)
        assert refused.status_code == 400, body
        assert refused.json()["error"]["param"].startswith(param), body
    assert served.post("/vector_stores/vs_0/search", {"query": "sea"}).status_code == 404


@pytest.mark.compat("vector_store_files", honoured=["limit", "after", "filter"])
@pytest.mark.compat("vector_store_files", refused=["order.desc"])
@pytest.mark.compat("vector_store_file")
@pytest.mark.compat("vector_store_file_content")
def test_documents_come_in_pages_and_whole(client, store):
    files = client.vector_stores.files
    names = [one.filename for one in files.list(store.id, limit=2)]
    assert names == sorted(NOTES)
    assert list(files.list(store.id, filter="failed")) == []
    first = files.list(store.id, limit=1).data[0]
    assert files.retrieve(first.id, vector_store_id=store.id) == first
    content = files.content(first.id, vector_store_id=store.id)
    assert [one.text for one in content.data] == [NOTES["bread.md"]]
    with pytest.raises(openai.NotFoundError):
        files.retrieve("0" * 16, vector_store_id=store.id)
    with pytest.raises(openai.BadRequestError):
        files.list(store.id, order="desc")
    with pytest.raises(openai.BadRequestError):
        files.list(store.id, before=first.id)


def test_nothing_is_changed_and_what_does_is_named(client, store):
    for change in (
        lambda: client.vector_stores.create(name="x"),
        lambda: client.vector_stores.update(store.id, name="x"),
        lambda: client.vector_stores.delete(store.id),
        lambda: client.vector_stores.files.create(store.id, file_id="x"),
        lambda: client.vector_stores.files.delete("x", vector_store_id=store.id),
    ):
        with pytest.raises(openai.APIStatusError, match="npu-gateway index DIR") as refused:
            change()
        assert (refused.value.status_code, refused.value.code) == (405, "method_not_allowed")
