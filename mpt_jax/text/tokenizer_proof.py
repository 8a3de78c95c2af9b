"""Proves that a sentencepiece model gives the ids of a tokenizer.json."""

import contextlib
import random

from mpt_jax.io.errors import one_line
from mpt_jax.process.stderr import silenced

SPACE = "▁"
# Unicode's White_Space without the control character U+0085. T5's own
# normaliser keeps that one, so the ids of texts with it differ in any case.
_SPACES = "\t\n\v\f\r \xa0\u1680\u2028\u2029\u202f\u205f\u3000" + "".join(
  map(chr, range(0x2000, 0x200B))
)
# What normalisers and pre-tokenizers treat in different ways.
_TEXTS = (
  *(
    "",
    " ",
    "a",
    " a",
    "a ",
    "  a  b  ",
    "a  ",
    "a \u3000",
    "Hello World",
    "HELLO",
    "naïve Café",
  ),
  *(
    "tab\there",
    "line\nline",
    "\n\na",
    "a\r\nb",
    "nbsp\xa0here",
    "wide\u3000space",
  ),
  *("zero\u200bwidth", "soft\xadhyphen", "e\u0301 é", "ﬁ ﬂ ① ½ ㎏ Å ＡＢＣ ｱ"),
  *("1,234.50 €", "3.14159", "10 20 30", "2024-01-31", "a-b_c/d", "x=y+z*2"),
  *("don't (won't) [can't] {x}", "“quotes” ‘single’ … –", "#tag @name e@x.org"),
  *(
    "日本語のテキスト。",
    "中文 没有 空格",
    "Привет, мир!",
    "Ελληνικά",
    "مرحبا بالعالم",
  ),
  *(
    "हिन्दी पाठ",
    "ไทย",
    "한국어 문장",
    "👍🏽 emoji 👩‍👩‍👧",
    "☃ ♥ ✓ ∑ ≤ →",
    "𝔘𝔫𝔦",
  ),
  *(
    "<b>bold</b>",
    "<sep>",
    "a\x00b",
    "\x01\x02",
    "\ufeffbom",
    "\ufffd",
    "~`!?;:",
  ),
  *("The quick brown fox jumps over the lazy dog.", "aaaaaaaaaaaaaaaaaaaa"),
)


def check_spaces(model: bytes, where):
  """Checks that every space becomes an ordinary one, or nothing.

  `tokenizers` splits and strips at all of Unicode's spaces, and sentencepiece
  at the ordinary one alone. So the normaliser must leave no other.

  Raises:
    ValueError: it leaves another.
  """
  import sentencepiece

  normalize = sentencepiece.SentencePieceNormalizer(
    model_proto=model,
    add_dummy_prefix=False,
    escape_whitespaces=False,
    remove_extra_whitespaces=False,
  ).normalize
  for space in _SPACES:
    if normalize(space).strip(" "):
      raise ValueError(
        f"{where}: its normaliser keeps the space {space!r}, at which"
        " sentencepiece does not cut; put the model's spiece.model into the"
        " folder"
      )


def prove(model: bytes, tokenizer: bytes, where):
  """Compares the ids of a sample of texts, if `tokenizers` is installed.

  Raises:
    ValueError: the ids of a text differ, or `tokenizers` does not read the
      file.
  """
  try:
    import tokenizers
  except ImportError:
    return
  import sentencepiece

  ours = sentencepiece.SentencePieceProcessor(model_proto=model)
  with _reading(where):
    theirs = tokenizers.Tokenizer.from_str(tokenizer.decode())
    # Lengths are settings of a run here.
    theirs.no_truncation()
    theirs.no_padding()
  added = [t.content for t in theirs.get_added_tokens_decoder().values()]
  for text in sample(ours):
    if any(token.strip() in text for token in added):
      continue
    with _reading(where):
      expected = theirs.encode(text, add_special_tokens=False).ids
    if ours.encode(text) != expected:
      raise ValueError(
        f"{where} gives {text!r:.60} other ids than sentencepiece can give it;"
        " put the model's spiece.model into the folder"
      )


@contextlib.contextmanager
def _reading(where):
  """Turns whatever `tokenizers` raises into one line.

  Its Rust code may panic, which prints many lines, and raises a class that has
  no public name and is not an `Exception`.
  """
  try:
    with silenced():
      yield
  except BaseException as error:
    is_panic = type(error).__name__ == "PanicException"
    if not isinstance(error, Exception) and not is_panic:
      raise
    raise ValueError(
      f"{where} is not a tokenizer.json: {one_line(error, 200)}"
    ) from error


def sample(pieces) -> list[str]:
  """Texts of every kind, and texts of a model's own pieces.

  Args:
    pieces: a `SentencePieceProcessor`.
  """
  draw = random.Random(0)
  size = pieces.get_piece_size()
  words = [
    pieces.id_to_piece(i).replace(SPACE, " ")
    for i in range(size)
    if not (pieces.is_control(i) or pieces.is_unknown(i) or pieces.is_byte(i))
  ]
  # The first pieces are the most frequent ones.
  words = words[:2000] + draw.sample(words, min(len(words), 2000))
  made = ["".join(draw.choices(words, k=12)) for _ in range(200)]
  mixed = [" ".join(draw.choices(_TEXTS, k=3)) for _ in range(100)]
  return [*_TEXTS, *made, *mixed]
