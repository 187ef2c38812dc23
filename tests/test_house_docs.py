"""What the documents say is there is there: paths, commands, make targets, records, tables."""

import re
from pathlib import Path

import pytest
import typer.main

from api.command import cli
from online import records
from online.state import COLUMNS

ROOT = Path(__file__).parents[1]
DOCUMENTS = (
    "README.md",
    "docs/architecture.md",
    "docs/quickstart.md",
    "docs/tutorial.md",
    "docs/concepts.md",
    "docs/comparison.md",
    "docs/operations.md",
    "docs/pricing.md",
    "docs/results.md",
    "CHANGELOG.md",
)
ARCHITECTURE = (ROOT / "docs/architecture.md").read_text("utf-8")


def code(document: str) -> str:
    """All that stands between backticks or in fenced blocks, one piece a line."""
    text = (ROOT / document).read_text("utf-8")
    fenced = re.findall(r"```.*?\n(.*?)```", text, re.DOTALL)
    inline = re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))
    return "\n".join([*fenced, *inline])


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_path_that_a_document_names_exists(document):
    named = set(
        re.findall(r"(?<![\w./])((?:online|batch|api|simulations|tests|benchmarks|docs)/[\w/.-]*)", code(document))
    )
    assert sorted(path for path in named if not (ROOT / path).exists()) == []


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_link_inside_the_repository_leads_somewhere(document):
    links = re.findall(r"\]\((?!https?://|#)([^)#]+)", (ROOT / document).read_text("utf-8"))
    assert [link for link in links if not ((ROOT / document).parent / link).exists()] == []


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_command_that_a_document_names_exists_with_its_options(document):
    known = typer.main.get_command(cli())
    for line in re.findall(r"(?:^|[\s/])perennial ([a-z][^\n`|]*)", code(document)):
        words = line.split()
        command = known
        while words and words[0] in getattr(command, "commands", {}):
            command = command.commands[words.pop(0)]
        assert not getattr(command, "commands", None), f"perennial {line}: no such command"
        options = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
        used = {word.partition("=")[0] for word in words if word.startswith("--")}
        assert used <= {*options, "--help"}, f"perennial {line}"


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_make_target_that_a_document_names_exists(document):
    targets = set(re.findall(r"^([a-z]+):.*##", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    assert set(re.findall(r"(?:^|\s)make ([a-z]+)", code(document), re.MULTILINE)) <= targets


def test_every_kind_of_record_is_described_with_all_its_fields():
    for kind in records.Record.__args__:
        row = re.search(rf"^\| `{kind.__struct_config__.tag}` \| (.*)$", ARCHITECTURE, re.MULTILINE)
        assert row, f"{kind.__name__} is not described"
        assert kind.__name__ in row[1]
        assert [field for field in kind.__struct_fields__ if not re.search(rf"\b{field}\b", row[1])] == []


def test_every_table_that_can_be_full_says_what_happens_then():
    """Tables of one row, or of a few fixed ones, need no eviction."""
    cells = re.findall(r"^\| (`[^|]*) \|", ARCHITECTURE, re.MULTILINE)
    described = {name for cell in cells for name in re.findall(r"`(\w+)`", cell)}
    tables = {column.table for column in COLUMNS if column.name.endswith((".key", ".item"))}
    assert tables <= described, tables - described


def test_the_schema_that_is_described_is_the_one_that_is_written():
    assert f"schema {records.SCHEMA}." in ARCHITECTURE
