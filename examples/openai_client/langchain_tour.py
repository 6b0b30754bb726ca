"""LangChain over the routes: an answer, its pieces, a form, and documents found by their meaning.

pip install langchain-openai numpy
npu-gateway serve --http
python examples/openai_client/langchain_tour.py [http://127.0.0.1:8642/v1 [KEY]]
"""

import sys

from langchain_core.vectorstores import InMemoryVectorStore
from langchain_openai import ChatOpenAI, OpenAIEmbeddings

DECODER, EMBEDDER = "smollm2-135m-instruct", "all-minilm-l6-v2"
TEXTS = [
    "The moon makes the sea rise twice a day.",
    "Knead the dough until it is smooth.",
    "Oil the chain every two hundred kilometres.",
]
MOOD = {
    "title": "Mood",
    "type": "object",
    "properties": {"mood": {"type": "string", "enum": ["good", "bad"]}},
    "required": ["mood"],
    "additionalProperties": False,
}


def main(url: str = "http://127.0.0.1:8642/v1", key: str = "none") -> None:
    """Does it all, and prints what was found."""
    chat = ChatOpenAI(model=DECODER, base_url=url, api_key=key, temperature=0, max_tokens=16)
    print(chat.invoke("Name a colour.").text)
    print("|".join(piece.text for piece in chat.stream("Count to three.")))
    print(chat.with_structured_output(MOOD, method="json_schema").invoke("How are you?"))
    responses = ChatOpenAI(
        model=DECODER, base_url=url, api_key=key, max_tokens=16, use_responses_api=True
    )
    print(responses.invoke("Name a colour.").text)
    # Without the last argument it would send the numbers of another model's tokens.
    embeddings = OpenAIEmbeddings(
        model=EMBEDDER, base_url=url, api_key=key, check_embedding_ctx_length=False
    )
    store = InMemoryVectorStore.from_texts(TEXTS, embeddings)
    found = store.similarity_search("Why is there a tide?", k=1)[0].page_content
    assert found == TEXTS[0], found
    print(found)


if __name__ == "__main__":
    main(*sys.argv[1:])
