"""Writes the tables of docs/gin.md: every macro of gin/ and its default.

  python docs/gin_macros.py

A macro is a name in capital letters at the beginning of a line, and the comment
behind its value says what it is. The tests compare the page with the files.
"""

import io
import pathlib
import re
import tokenize
import typing

ROOT = pathlib.Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "gin.md"
MARKS = ("<!-- made by docs/gin_macros.py -->", "<!-- end -->")
# The page's sections: a folder of gin files, and its title.
FOLDERS = {
  "gin": "Stages",
  "gin/launchers": "Programs",
  "gin/tables": "Tables",
}
# Where a file changes a macro without a comment, these say first what it is.
FIRST = ("gin/base.gin", "gin/tables/benchmark.gin")
# A longer value is in the file.
LONGEST = 72


class Macro(typing.NamedTuple):
  """A macro that a gin file sets.

  Attributes:
    name: its name.
    value: its value as the file has it, in one line.
    meaning: the comment behind it, in one line; "" if there is none.
  """

  name: str
  value: str
  meaning: str


def read_macros(path) -> list[Macro]:
  """Returns the macros of a gin file in the order of its lines."""
  text = pathlib.Path(path).read_text(encoding="utf-8")
  found, name, value, behind, above = [], None, [], [], []
  for token in tokenize.generate_tokens(io.StringIO(text).readline):
    if token.type == tokenize.COMMENT:
      at_start = not token.start[1]
      (above if at_start else behind).append(token.string.strip("# "))
    elif token.type == tokenize.NL and not token.line.strip():
      above = []  # A comment belongs to the line below it.
    elif not token.start[1] and token.type == tokenize.NAME:
      # A statement begins; finish the one before it.
      found += _macro(name, value, behind)
      is_macro = re.match(r"[A-Z][A-Z0-9_]* =", token.line)
      name = token.string if is_macro else None
      value, behind, above = [], above, []
    elif token.string.strip() and token.type != tokenize.ENDMARKER:
      value.append(token)
  return found + _macro(name, value, behind)


def _macro(name, value, comments) -> list[Macro]:
  if name is None:
    return []
  return [Macro(name, _in_one_line(value), " ".join(comments))]


def _in_one_line(tokens) -> str:
  """Returns the text of a value, without the equals sign before it."""
  text, row, column = "", 0, 0
  for token in tokens[1:]:
    is_new_row = token.start[0] > row
    if token.string in ")]}" and is_new_row:
      text = text.rstrip(", ")
    elif text.endswith(",") or (not is_new_row and token.start[1] > column):
      text += " " if token.string not in ")]}" else ""
    text += token.string
    row, column = token.end
  return text


def read_files() -> dict[str, list[Macro]]:
  """Returns {path in the repository: its macros} of all files with some."""
  found = {}
  for folder in FOLDERS:
    paths = (ROOT / folder).glob("*.gin")
    for path in sorted(paths, key=lambda p: (p.name != "base.gin", p.name)):
      if macros := read_macros(path):
        found[path.relative_to(ROOT).as_posix()] = macros
  return found


def make_tables() -> str:
  """Returns the tables of the page as Markdown.

  Raises:
    ValueError: a macro has no comment, neither in its file nor in another one.
      Those of tables may have none.
  """
  files = read_files()
  meanings = {}
  for path in (*FIRST, *files):
    for macro in files[path]:
      if macro.meaning:
        meanings.setdefault(macro.name, macro.meaning)
  lines = []
  for folder, title in FOLDERS.items():
    lines += [f"### {title}", ""]
    for path, macros in files.items():
      if path.rpartition("/")[0] != folder:
        continue
      lines += [f"`{path}`:", "", "| macro | default | meaning |"]
      lines += ["| --- | --- | --- |"]
      for macro in macros:
        meaning = macro.meaning or meanings.get(macro.name, "")
        if not meaning and folder != "gin/tables":
          raise ValueError(f"{path}: {macro.name} has no comment")
        value = macro.value if len(macro.value) <= LONGEST else "see the file"
        cells = [f"`{macro.name}`", _code(value), meaning.replace("|", r"\|")]
        lines.append(f"| {' | '.join(cells).rstrip()} |")
      lines.append("")
  return "\n".join(lines)


def _code(value: str) -> str:
  if value == "%gin.REQUIRED":
    return "required"
  return value if value == "see the file" else f"`{value}`"


def with_tables(page: str) -> str:
  """Returns the text of the page with the tables of today's gin files."""
  before, rest = page.split(MARKS[0])
  _, after = rest.split(MARKS[1])
  return f"{before}{MARKS[0]}\n\n{make_tables()}\n{MARKS[1]}{after}"


if __name__ == "__main__":
  PAGE.write_text(with_tables(PAGE.read_text("utf-8")), encoding="utf-8")
