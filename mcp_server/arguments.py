"""The words callers use: each argument of a tool with its limits and its description.

Limits keep one result within what hosts show: 50,000 characters a channel.
"""

from typing import Annotated, Any, Literal

from pydantic import Field
from pydantic.json_schema import SkipJsonSchema

RESULT_CHARACTERS = 50_000
"""A host puts a larger result into a file that the model does not read."""

Query = Annotated[
    str,
    Field(description="What to look for, in plain words.", min_length=1, max_length=4_000),
]
TopK = Annotated[int, Field(description="How many passages at most.", ge=1, le=50)]
SnippetCharacters = Annotated[
    int, Field(description="Characters of each passage to show.", ge=50, le=4_000)
]
DocumentId = Annotated[
    str, Field(description="Id from semantic_search or list_documents.", min_length=1)
]
DocumentIds = Annotated[
    list[str], Field(description="Ids from list_documents.", min_length=1, max_length=1_000)
]
LineStart = Annotated[int, Field(description="First line, from 1.", ge=1)]
LineEnd = Annotated[int, Field(description="Last line; 0 reads to the end.", ge=0)]
CharacterStart = Annotated[
    int, Field(description="Characters of line_start to skip, in a very long line.", ge=0)
]
FolderPath = Annotated[
    str, Field(description="Absolute path of a folder or file on this machine.", min_length=1)
]
MaxSeconds = Annotated[
    int,
    Field(description="Stop after this long; call again to go on.", ge=1, le=3_600),
]
Cursor = Annotated[str, Field(description="next_cursor of the page before.")]
PageLimit = Annotated[int, Field(description="Documents a page.", ge=1, le=200)]
Texts = Annotated[list[str], Field(description="Texts to embed.", min_length=1, max_length=2_048)]
Kind = Annotated[
    Literal["document", "query"],
    Field(description="query for a question that will be compared with documents."),
]
Encoding = Annotated[
    Literal["float", "base64"],
    Field(description="base64: little-endian float32, a third of the size."),
]
Prompt = Annotated[str, Field(description="What to answer or write.", min_length=1)]
System = Annotated[str, Field(description="Instructions that stand above the prompt.")]
MaxTokens = Annotated[int, Field(description="Tokens to generate at most.", ge=1, le=32_768)]
Temperature = Annotated[
    float, Field(description="0 is greedy and repeatable; higher varies more.", ge=0, le=2)
]
SamplingTopK = Annotated[
    int, Field(description="Sample among this many tokens; 0 among all.", ge=0, le=100_000)
]
TopP = Annotated[float, Field(description="Sample within this probability mass.", gt=0, le=1)]
MinP = Annotated[
    float, Field(description="Drop tokens below this share of the likeliest.", ge=0, le=1)
]
Seed = Annotated[
    int, Field(description="Repeats a sampled answer; -1 is a new one each time.", ge=-1)
]
RepetitionPenalty = Annotated[
    float, Field(description="Above 1 makes words of prompt and answer rarer.", ge=0.1, le=10)
]
PresencePenalty = Annotated[
    float, Field(description="Above 0 makes words already written rarer.", ge=-2, le=2)
]
FrequencyPenalty = Annotated[
    float, Field(description="The same, once for each time written.", ge=-2, le=2)
]
JsonSchemaObject = Annotated[
    dict[str, Any] | SkipJsonSchema[None],
    Field(description="The answer is nothing but JSON valid under this schema."),
]
Pattern = Annotated[
    str | SkipJsonSchema[None],
    Field(description="The answer matches this regular expression.", max_length=10_000),
]
ChoiceTexts = Annotated[
    list[str] | SkipJsonSchema[None],
    Field(description="The answer is one of these texts.", max_length=1_000),
]
Stop = Annotated[
    list[str], Field(description="Texts that end the answer, not shown.", max_length=16)
]
