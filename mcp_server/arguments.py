"""The words callers use: each argument of a tool with its limits and its description.

Limits keep one result within its budget, see `budgets`.
"""

from typing import Annotated, Any, Literal

from pydantic import Field
from pydantic.json_schema import SkipJsonSchema

from engine.search.search import Mode
from mcp_server.budgets import ANSWER_TOKENS, LARGEST_SEARCH_TOKENS, QUESTION_CHARACTERS

LONGEST_RUN = 3_600
"""Seconds that one call may index."""

Query = Annotated[
    str,
    Field(
        description='A question or key words; "quoted phrases" verbatim.',
        min_length=1,
        max_length=QUESTION_CHARACTERS,
    ),
]
TopK = Annotated[int, Field(description="Passages, 1 to 50.", ge=1, le=50)]
ResultTokens = Annotated[
    int,
    Field(
        description=f"Of the whole result, 200 to {LARGEST_SEARCH_TOKENS}.",
        ge=200,
        le=LARGEST_SEARCH_TOKENS,
    ),
]
SnippetCharacters = Annotated[int, Field(description="Of a passage, 50 to 4000.", ge=50, le=4_000)]
Collections = Annotated[list[str], Field(description="Names, from status.", max_length=100)]
PathGlobs = Annotated[list[str], Field(description="Globs: */notes/*.md", max_length=100)]
DocumentKinds = Annotated[
    list[str], Field(description="Such as pdf, markdown, source, email.", max_length=100)
]
ModifiedAfter = Annotated[str, Field(description="Day or time, ISO 8601.", max_length=100)]
ModifiedBefore = Annotated[str, Field(description="ISO 8601.", max_length=100)]
Metadata = Annotated[
    dict[str, str], Field(description="What files state: author, tags.", max_length=20)
]
SearchMode = Annotated[Mode, Field(description="dense: meaning only; keyword: words only.")]
Explain = Annotated[bool, Field(description="Show the parts of scores.")]
DocumentId = Annotated[
    str, Field(description="Id from semantic_search or list_documents.", min_length=1)
]
DocumentIds = Annotated[
    list[str], Field(description="Ids from list_documents.", min_length=1, max_length=1_000)
]
LineStart = Annotated[int, Field(description="First line, from 1.", ge=1)]
LineEnd = Annotated[int, Field(description="Last line; 0 reads to the end.", ge=0)]
CharacterStart = Annotated[int, Field(description="Characters of line_start to skip.", ge=0)]
Page = Annotated[int, Field(description="A PDF's page, instead of lines.", ge=0)]
FolderPath = Annotated[
    str,
    Field(description="Absolute path; empty: all collections."),
]
CollectionName = Annotated[
    str, Field(description="Collection's name; empty: the folder's.", max_length=100)
]
Include = Annotated[list[str], Field(description="As in .gitignore: *.md", max_length=1_000)]
Exclude = Annotated[list[str], Field(description="As in .gitignore.", max_length=1_000)]
MaxSeconds = Annotated[
    int,
    Field(description="Stops then; call again to go on.", ge=1, le=LONGEST_RUN),
]
Cursor = Annotated[str, Field(description="next_cursor of the last page.", max_length=20_000)]
PageLimit = Annotated[int, Field(description="A page, 1 to 200.", ge=1, le=200)]
Skipped = Annotated[bool, Field(description="Files left out instead, and why.")]
Texts = Annotated[list[str], Field(description="Texts to embed.", min_length=1, max_length=2_048)]
Kind = Annotated[
    Literal["document", "query"],
    Field(description="query: a question."),
]
Encoding = Annotated[
    Literal["float", "base64"],
    Field(description="base64: little-endian float32, shorter."),
]
Prompt = Annotated[str, Field(description="What to answer or write.", min_length=1)]
System = Annotated[str, Field(description="Instructions above it.")]
MaxTokens = Annotated[int, Field(description="Of the answer.", ge=1, le=ANSWER_TOKENS)]
Temperature = Annotated[
    float, Field(description="0 is repeatable; higher varies more.", ge=0, le=2)
]
SamplingTopK = Annotated[int, Field(description="Among so many tokens; 0: all.", ge=0, le=100_000)]
TopP = Annotated[float, Field(description="Within this probability.", gt=0, le=1)]
MinP = Annotated[float, Field(description="None below this share of the best.", ge=0, le=1)]
Seed = Annotated[int, Field(description="Repeats a sample; -1 never does.", ge=-1)]
RepetitionPenalty = Annotated[
    float, Field(description="Above 1: fewer repeated words.", ge=0.1, le=10)
]
PresencePenalty = Annotated[float, Field(description="Above 0: fewer words again.", ge=-2, le=2)]
FrequencyPenalty = Annotated[float, Field(description="The same, each time.", ge=-2, le=2)]
JsonSchemaObject = Annotated[
    dict[str, Any] | SkipJsonSchema[None],
    Field(description="The answer is JSON of this schema."),
]
Pattern = Annotated[
    str | SkipJsonSchema[None],
    Field(description="The answer matches this.", max_length=10_000),
]
ChoiceTexts = Annotated[
    list[str] | SkipJsonSchema[None],
    Field(description="The answer is one of these.", max_length=1_000),
]
Stop = Annotated[list[str], Field(description="Texts that end it.", max_length=16)]
