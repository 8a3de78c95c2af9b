"""The texts of test examples, beside the answers to them.

They are texts of others, so they are in a file of their own, which can be left
out where the answers are published: a line {"target", "index", "text"} for each
example, with a digest.
"""

import json
from collections.abc import Mapping, Sequence

from etils import epath

from mpt_jax.io import digests, files

FILE = "examples.jsonl"


def write(folder, texts: Mapping[str, Sequence[str]]) -> None:
  """Writes the texts of targets into a folder.

  Args:
    folder: the folder of the answers.
    texts: {target: the texts of its test examples}, in its answers' order.
  """
  lines = [
    json.dumps(digests.seal({"target": target, "index": i, "text": text}))
    for target, own in texts.items()
    for i, text in enumerate(own)
  ]
  content = "".join(f"{line}\n" for line in lines)
  files.write_text(epath.Path(folder) / FILE, content)


def read(folder) -> dict[str, list[str]]:
  """Reads the texts of a folder; {} if there are none.

  Raises:
    ValueError: a line is damaged, or a text is missing.
  """
  path, found = epath.Path(folder) / FILE, {}
  if not path.exists():
    return found
  for number, row in digests.read_lines(path):
    if row is None or not {"target", "index", "text"} <= row.keys():
      raise ValueError(
        f"{path}, line {number}: damaged; delete the file to go on without the"
        " texts"
      )
    own = found.setdefault(row["target"], [])
    if row["index"] != len(own):
      raise ValueError(
        f"{path}, line {number}: text {len(own)} of {row['target']!r} is"
        " missing; delete the file to go on without the texts"
      )
    own.append(row["text"])
  return found
