"""Tokens at which a tokenizer of Hugging Face cuts texts before anything else.

A vocabulary's file keeps its added tokens: a byte vocabulary as "tokens" in its
JSON, a sentencepiece model in a field of its protocol buffer whose number
sentencepiece does not know and skips. So the file stays one file, which is
copied, hashed and named as a whole.
"""

import json
import re
import unicodedata
from collections.abc import Callable, Iterable
from typing import NamedTuple

_MARK = b"mpt_jax added tokens: "
_FLAGS = ("lstrip", "rstrip", "single_word", "normalized", "special")
# Rust's \s, which is Unicode's White_Space. Python's has four more.
_SPACE = "\t-\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
_SPACES_AFTER = re.compile(f"[{_SPACE}]*")
_SPACES_BEFORE = re.compile(f"[{_SPACE}]*$")


class AddedToken(NamedTuple):
  """A token that is cut out of texts as it stands.

  Attributes:
    id: its id.
    content: its text.
    lstrip: whether spaces before it belong to it.
    rstrip: whether spaces after it belong to it.
    single_word: whether it counts only between characters of no word.
    normalized: whether it is looked for in the normalised text.
    special: whether transformers leaves it out of decoded texts.
  """

  id: int
  content: str
  lstrip: bool = False
  rstrip: bool = False
  single_word: bool = False
  normalized: bool = False
  special: bool = False

  def to_json(self) -> dict:
    flags = {name: True for name in _FLAGS if getattr(self, name)}
    return {"id": self.id, "content": self.content, **flags}


def from_json(entries) -> tuple[AddedToken, ...]:
  """Reads what `AddedToken.to_json` wrote.

  Raises:
    ValueError: it is something else.
  """
  try:
    tokens = tuple(AddedToken(**entry) for entry in entries)
  except TypeError as error:
    raise ValueError(f"not a list of added tokens: {error}") from error
  for token in tokens:
    if (
      not isinstance(token.id, int)
      or isinstance(token.id, bool)
      or token.id < 0
      or not isinstance(token.content, str)
      or not token.content
      or not all(isinstance(getattr(token, flag), bool) for flag in _FLAGS)
    ):
      raise ValueError(f"not an added token: {token!r:.200}")
  return tokens


def field(data: bytes) -> bytes:
  """A field of a protocol buffer that sentencepiece's models do not have."""
  size, length = b"", len(data)
  while length >= 128:
    size += bytes([length & 127 | 128])
    length >>= 7
  return b"\xc2\x3e" + size + bytes([length]) + data


def with_tokens(model: bytes, tokens: Iterable[AddedToken]) -> bytes:
  """A serialised sentencepiece model that keeps added tokens too."""
  text = json.dumps([token.to_json() for token in tokens])
  return model + field(_MARK + text.encode())


def of_model(model: bytes) -> tuple[AddedToken, ...]:
  """The added tokens of a serialised sentencepiece model.

  Raises:
    ValueError: they are damaged.
  """
  at = model.rfind(_MARK)
  return () if at < 0 else from_json(json.loads(model[at + len(_MARK) :]))


class Splitter:
  """Cuts a text at added tokens, as the library `tokenizers` does.

  The longest token wins among those that start at the same place. Tokens that
  are `normalized` are looked for later, in what is left, after its
  normalisation.

  Args:
    tokens: the added tokens.
    normalize: the normalisation of a vocabulary.
  """

  def __init__(
    self, tokens: Iterable[AddedToken], normalize: Callable[[str], str]
  ):
    tokens = tuple(tokens)
    self._normalize = normalize
    self._raw = _Matcher({t.content: t for t in tokens if not t.normalized})
    self._normalized = _Matcher(
      {normalize(t.content): t for t in tokens if t.normalized}
    )

  def split(self, text: str) -> list[AddedToken | str]:
    """Returns the tokens and the texts between them, which are not empty."""
    parts = []
    for part in self._raw.split(text):
      if isinstance(part, str) and self._normalized:
        parts += self._normalized.split(self._normalize(part))
      else:
        parts.append(part)
    return parts


class _Matcher:
  """Finds some texts in a text."""

  def __init__(self, tokens: dict[str, AddedToken]):
    self._tokens = {text: token for text, token in tokens.items() if text}
    longest_first = sorted(self._tokens, key=len, reverse=True)
    self._pattern = re.compile("|".join(map(re.escape, longest_first)))

  def __bool__(self):
    return bool(self._tokens)

  def split(self, text):
    if not self._tokens:
      return [text] if text else []
    parts, done = [], 0
    for match in self._pattern.finditer(text):
      token = self._tokens[match[0]]
      start, end = match.span()
      if token.single_word and (
        (start and _is_word(text[start - 1]))
        or (end < len(text) and _is_word(text[end]))
      ):
        continue
      if token.lstrip:
        start = max(done, _SPACES_BEFORE.search(text[:start]).start())
      if token.rstrip:
        end = _SPACES_AFTER.match(text, end).end()
      if done < start:
        parts.append(text[done:start])
      parts.append(token)
      done = end
    if done < len(text):
      parts.append(text[done:])
    return parts


def _is_word(character) -> bool:
  r"""Rust's \w: letters, marks, digits, connectors, joiners.

  >>> [_is_word(c) for c in ("a", "7", "_", "é", "-", " ", "½")]
  [True, True, True, True, False, False, False]
  """
  kind = unicodedata.category(character)
  return (
    kind[0] in "LM" or kind in ("Nd", "Nl", "Pc") or character in "\u200c\u200d"
  )
