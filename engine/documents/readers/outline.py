"""Outlines source code: what is defined in it, from line to line and by name.

Knows the kinds of nodes that the grammars of tree-sitter have.
Rule: nodes are looked into only where definitions lie in them, so that no depth of nesting matters.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false
# Nodes come from a library that is loaded by name.

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from engine.documents.readers.grammars import root_of

_SCRIPT = """
    class_declaration:class abstract_class_declaration:class interface_declaration:interface
    enum_declaration:enum internal_module:namespace module:module function_declaration:function
    generator_function_declaration:function* method_definition: type_alias_declaration:type
    lexical_declaration:const
"""
_C = """
    function_definition: struct_specifier:struct union_specifier:union enum_specifier:enum
    type_definition:typedef class_specifier:class namespace_definition:namespace
"""
_DEFINITIONS = {
    language: {kind: word for kind, _, word in (pair.partition(":") for pair in pairs.split())}
    for language, pairs in {
        "python": "class_definition:class function_definition:def",
        "javascript": _SCRIPT,
        "typescript": _SCRIPT,
        "tsx": _SCRIPT,
        "c": _C,
        "cpp": _C,
        "java": """
            class_declaration:class interface_declaration:interface enum_declaration:enum
            record_declaration:record annotation_type_declaration:@interface method_declaration:
            constructor_declaration: compact_constructor_declaration:
        """,
        "go": "function_declaration:func method_declaration:func type_spec:type",
        "rust": """
            function_item:fn struct_item:struct enum_item:enum union_item:union trait_item:trait
            impl_item:impl mod_item:mod macro_definition:macro_rules!
        """,
        "c_sharp": """
            namespace_declaration:namespace class_declaration:class struct_declaration:struct
            interface_declaration:interface enum_declaration:enum record_declaration:record
            method_declaration: constructor_declaration: property_declaration:
            operator_declaration:operator
        """,
        "ruby": "module:module class:class method:def singleton_method:def",
        "php": """
            namespace_definition:namespace class_declaration:class interface_declaration:interface
            trait_declaration:trait enum_declaration:enum method_declaration:function
            function_definition:function
        """,
        "bash": "function_definition:function",
        "kotlin": "class_declaration:class object_declaration:object function_declaration:fun",
        "lua": "function_declaration:function",
        "scala": """
            class_definition:class object_definition:object trait_definition:trait
            enum_definition:enum function_definition:def
        """,
        "swift": """
            class_declaration: protocol_declaration:protocol function_declaration:func
            init_declaration: deinit_declaration:
        """,
    }.items()
}

# What is looked into for definitions.
_HOLDERS = """
    ERROR block body_statement class_body companion_object declaration_list elif_clause else_clause
    enum_body enum_body_declarations enum_class_body except_clause export_statement
    expression_statement extern_module field_declaration_list finally_clause if_statement
    interface_body linkage_specification preproc_elif preproc_else preproc_if preproc_ifdef
    protocol_body statement_block template_body try_statement
"""
_CONTAINERS = """
    class struct interface trait impl mod module namespace object enum record union protocol
"""
# What belongs to the one definition in it.
_WRAPPERS = """
    decorated_definition export_statement template_declaration ambient_declaration type_declaration
    expression_statement
"""
_HOLDING, _CONTAINING, _WRAPPING = (
    frozenset(kinds.split()) for kinds in (_HOLDERS, _CONTAINERS, _WRAPPERS)
)
_LEADING = {"attribute_item", "attribute_list", "decorator", "annotation"}
_FUNCTIONS = {"arrow_function", "function_expression", "function", "class"}

_DEEPEST = 20
_LONGEST_NAME = 100


@dataclass(frozen=True, slots=True)
class Definition:
    """A function, a class or the like."""

    start: int
    """0-based line, that of the first comment right above it."""
    end: int
    """Exclusive."""
    level: int
    """1 is the outermost."""
    label: str
    """What it is and its name, as in "class Reader"."""
    is_container: bool
    """Whether definitions in it are told too."""


def definitions(language: str, text: str) -> Iterator[Definition]:
    """What is defined in a text, the outer before the inner, as the text has them.

    Nothing where the grammar of the language is not installed.
    """
    content = text.encode("utf-8", "replace")
    root = root_of(language, content)
    if root is not None:
        yield from _Outline(content, _DEFINITIONS[language]).below(root)


class _Outline:
    """One text with its tree."""

    def __init__(self, content: bytes, words: dict[str, str]) -> None:
        self._content = content
        self._words = words

    def below(self, root: Any) -> Iterator[Definition]:
        open_nodes = [(_with_leads(root), 1)]
        while open_nodes:
            nodes, level = open_nodes[-1]
            outer, start = next(nodes, (None, 0))
            if outer is None:
                open_nodes.pop()
            elif (node := self._defining(outer)) is not None:
                word = self._words[node.type]
                is_container = word in _CONTAINING or node.type == "class_declaration"
                label = f"{word} {self._name(node)}".strip()
                yield Definition(start, _last_line(outer) + 1, level, label, is_container)
                if is_container and len(open_nodes) < _DEEPEST:
                    open_nodes.append((_with_leads(node), level + 1))
            elif outer.type in _HOLDING and len(open_nodes) < _DEEPEST:
                open_nodes.append((_with_leads(outer), level))

    def _defining(self, node: Any) -> Any | None:
        """The definition that a node is, or is wrapped around."""
        for _ in range(_DEEPEST):
            if node.type in self._words:
                return node if _is_whole(node) and self._name(node) else None
            inner = node.children if node.type in _WRAPPING else []
            node = next((c for c in inner if c.type in self._words or c.type in _WRAPPING), None)
            if node is None:
                return None
        return None

    def _name(self, node: Any) -> str:
        if node.type == "impl_item":
            return self._text(node.start_byte, _body_start(node)).removeprefix("impl").strip()
        name = _named(node)
        start = node.child_by_field_name("receiver") or name
        return self._text(start.start_byte, name.end_byte)

    def _text(self, start: int, end: int) -> str:
        """A piece of the text in one line."""
        words = self._content[start : min(end, start + 4 * _LONGEST_NAME)].decode(
            "utf-8", "replace"
        )
        return " ".join(words.split())[:_LONGEST_NAME]


def _with_leads(parent: Any) -> Iterator[tuple[Any, int]]:
    """The children of a node, each with the line of the first comment right above it."""
    lead, end, busy = -1, -2, -1
    for node in parent.children:
        start = node.start_point.row
        if start > end + 1:
            lead = -1
        if "comment" in node.type or node.type in _LEADING:
            if start > busy:
                lead, end = start if lead < 0 else lead, _last_line(node)
        else:
            yield node, start if lead < 0 else lead
            lead, busy = -1, _last_line(node)


def _is_whole(node: Any) -> bool:
    """Whether it has the body that its kind may come without."""
    if node.type == "lexical_declaration":
        values = [inner.child_by_field_name("value") for inner in node.named_children]
        return any(value is not None and value.type in _FUNCTIONS for value in values)
    return not node.type.endswith("_specifier") or node.child_by_field_name("body") is not None


def _named(node: Any) -> Any:
    """The part of a node that has its name, however it is declared."""
    for _ in range(_DEEPEST):
        if node.type == "qualified_identifier":
            break
        if (name := node.child_by_field_name("name")) is not None:
            return name
        fields = node.named_children if node.type == "lexical_declaration" else []
        inner = next(iter(fields), None) or node.child_by_field_name("declarator")
        if inner is None:
            break
        node = inner
    return node


def _body_start(node: Any) -> int:
    body = node.child_by_field_name("body")
    return node.end_byte if body is None else body.start_byte


def _last_line(node: Any) -> int:
    end = node.end_point
    return end.row if end.column else max(end.row - 1, node.start_point.row)
