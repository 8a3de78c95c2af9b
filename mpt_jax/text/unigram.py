"""Makes a sentencepiece model from Hugging Face's `tokenizer.json`.

That file holds all parts of a unigram model of sentencepiece: the pieces with
their scores, the compiled table of the normaliser, and the treatment of spaces.
Folders saved by newer versions of `transformers` have it and no `spiece.model`.
"""

import base64
import binascii
import json
import math

from mpt_jax.io.errors import one_line, reading
from mpt_jax.text import tokenizer_proof, vocabularies

SPACE = "▁"


def is_t5s_own(token: str) -> bool:
  """Whether an added token is one that every T5 has.

  >>> [is_t5s_own(t) for t in ("</s>", "<extra_id_7>", "▁<extra_id_7>", "<hl>")]
  [True, True, True, False]
  """
  token = token.lstrip("▁")
  return token in ("<pad>", "<s>", "</s>", "<unk>") or token.startswith(
    "<extra_id_"
  )


def sentencepiece_model(data: bytes, where) -> bytes:
  """A serialised sentencepiece model with the ids of a T5's tokenizer.json.

  T5's sentinels are pieces of it, `▁<extra_id_0>`, as seqio names them. A space
  before a sentinel in a text is part of the piece. Other tokens that were added
  to the vocabulary are not in it, see `tokenizer_settings`.

  If the package `tokenizers` is installed, the ids of a sample of texts are
  compared with those of the tokenizer itself.

  Args:
    data: the content of the file.
    where: names the file in errors.

  Returns:
    A serialised ModelProto.

  Raises:
    ValueError: the file is not JSON, holds no unigram model, or treats text in
      a way that sentencepiece has no setting for.
  """
  fields = _read(data, where)
  vocabulary = _vocabulary(fields, where)
  charsmap = _arrangement(fields, vocabulary, where)
  model = _proto(fields, vocabulary, charsmap, where).SerializeToString()
  tokenizer_proof.check_spaces(model, where)
  tokenizer_proof.prove(model, data, where)
  return model


def check_same(whole, pieces):
  """Compares a tokenizer.json with the spiece.model beside it.

  transformers reads the former, and this library the latter.

  Raises:
    ValueError: the two have other pieces, or tokenizer.json treats text in
      another way than T5's does.
  """
  import numpy as np

  with reading(whole, "a tokenizer.json"):
    fields = _read(whole.read_bytes(), whole)
    if "model" not in fields:
      return
    vocabulary = fields["model"]["vocab"]
    opened = vocabularies.open_pieces(pieces)
    size = min(len(vocabulary), opened.get_piece_size())
    for i, (text, score) in enumerate(vocabulary[:size]):
      same = _bare(text) == _bare(opened.id_to_piece(i))
      is_normal = not (opened.is_control(i) or opened.is_unknown(i))
      if same and is_normal and not text.lstrip(SPACE).startswith("<extra_id_"):
        same = np.isclose(score, opened.get_score(i), rtol=1e-5, atol=1e-5)
      if not same:
        raise ValueError(
          f"{whole} and {pieces.name} beside it differ in the piece {i},"
          f" {text!r:.40}; remove the one that is not the model's"
        )
    _arrangement(fields, _vocabulary(fields, whole), whole)


def _bare(text):
  """A piece's text; seqio writes sentinels with a space in front."""
  bare = text.lstrip(SPACE)
  return bare if bare.startswith("<extra_id_") else text


def _read(data, where):
  try:
    fields = json.loads(data)
    kind = fields.get("model", {"type": "Unigram"})["type"]
  except Exception as error:  # Any field may be missing or of another type.
    raise ValueError(
      f"{where} is not a tokenizer.json: {type(error).__name__}:"
      f" {one_line(error, 200)}"
    ) from error
  if kind != "Unigram":
    raise ValueError(
      f"{where} holds a tokenizer of type {kind!r}; T5's are 'Unigram'"
    )
  return fields


def _vocabulary(fields, where) -> list[tuple[str, float]]:
  """The pieces and T5's own added tokens, by id."""
  vocabulary = [tuple(entry) for entry in fields["model"]["vocab"]]
  for text, score in vocabulary:
    if not isinstance(text, str) or not math.isfinite(score):
      raise ValueError(f"{where} holds the damaged piece {(text, score)!r:.60}")
  for token in sorted(fields.get("added_tokens", ()), key=lambda t: t["id"]):
    if token["id"] == len(vocabulary) and is_t5s_own(token["content"]):
      vocabulary.append((token["content"], 0.0))
  return vocabulary


def _proto(fields, vocabulary, charsmap, where):
  from sentencepiece import sentencepiece_model_pb2

  unknown = fields["model"]["unk_id"]
  if type(unknown) is not int or not 0 <= unknown < len(vocabulary):
    raise ValueError(
      f"{where}: unk_id must be a piece's id, got {unknown!r:.40}"
    )
  byte_fallback = bool(fields["model"].get("byte_fallback"))
  proto = sentencepiece_model_pb2.ModelProto()
  kinds = proto.SentencePiece
  for number, (text, score) in enumerate(vocabulary):
    piece = proto.pieces.add(piece=text, score=score, type=kinds.NORMAL)
    if number == unknown:
      piece.type = kinds.UNKNOWN
    elif text in ("<pad>", "<s>", "</s>"):
      piece.type = kinds.CONTROL
    elif text.lstrip(SPACE).startswith("<extra_id_"):
      piece.piece = SPACE + text.lstrip(SPACE)
      piece.type = kinds.USER_DEFINED
    elif byte_fallback and len(text) == 6 and text.startswith("<0x"):
      piece.type = kinds.BYTE
  ids = {text: number for number, (text, _) in enumerate(vocabulary)}
  trainer = proto.trainer_spec
  trainer.model_type = trainer.UNIGRAM
  trainer.vocab_size = len(vocabulary)
  trainer.byte_fallback = byte_fallback
  trainer.unk_id = unknown
  trainer.unk_piece = vocabulary[unknown][0]
  trainer.pad_id = ids.get("<pad>", -1)
  trainer.bos_id = ids.get("<s>", -1)
  trainer.eos_id = ids.get("</s>", -1)
  normalizer = proto.normalizer_spec
  normalizer.name = "identity" if charsmap is None else "user_defined"
  normalizer.precompiled_charsmap = charsmap or b""
  # Spaces at both ends are dropped, several count as one, and one is put in
  # front. This is what each arrangement of `_arrangement` does.
  normalizer.add_dummy_prefix = True
  normalizer.remove_extra_whitespaces = True
  normalizer.escape_whitespaces = True
  return proto


def _steps(step, inner, where):
  """The steps of a normaliser or pre-tokenizer, which may be nested."""
  if step is None:
    return []
  if (
    not isinstance(step, dict)
    or not isinstance(step.get("type"), str)
    or not isinstance(step.get(inner, []), list)
    or (step["type"] == "Sequence" and inner not in step)
  ):
    raise ValueError(f"{where} holds the damaged step {step!r:.60}")
  if step["type"] == "Sequence":
    return [s for part in step[inner] for s in _steps(part, inner, where)]
  return [step]


# The sequences of normaliser and pre-tokenizer that are exact. "spaces" makes
# one space of several, and "marks" makes "▁" of them, at which WhitespaceSplit
# does not cut.
_KNOWN = (
  ([], ["WhitespaceSplit", "Metaspace"]),
  (["spaces"], ["WhitespaceSplit", "Metaspace"]),
  (["strip", "spaces"], ["WhitespaceSplit", "Metaspace"]),
  (["strip", "spaces"], ["Metaspace"]),
  (["strip", "marks"], ["Metaspace"]),
)


def _arrangement(fields, vocabulary, where) -> bytes | None:
  """Checks that a tokenizer treats texts as T5's does; returns its charsmap.

  The steps are compared as whole sequences, because the effect of one depends
  on the others. A charsmap may come first. Metaspace must always put a space in
  front.

  Raises:
    ValueError: it is another sequence.
  """
  steps = _steps(fields.get("normalizer"), "normalizers", where)
  charsmap = None
  if steps and steps[0]["type"] == "Precompiled":
    charsmap = _charsmap(steps.pop(0), where)
  normalizer = [_normalizer_name(step) for step in steps]
  pre_tokenizer = [
    _pre_tokenizer_name(step)
    for step in _steps(fields.get("pre_tokenizer"), "pretokenizers", where)
  ]
  if (normalizer, pre_tokenizer) not in _KNOWN:
    shown = [fields.get("normalizer"), fields.get("pre_tokenizer")]
    for step in _steps(fields.get("normalizer"), "normalizers", where):
      step.pop("precompiled_charsmap", None)
    raise ValueError(
      f"{where}: the steps {json.dumps(shown):.300} have no counterpart in"
      " sentencepiece; put the model's spiece.model into the folder, and remove"
      " tokenizer.json if it is not the model's"
    )
  _check_rest(fields, vocabulary, where)
  return charsmap


def _charsmap(step, where) -> bytes:
  try:
    return base64.b64decode(step["precompiled_charsmap"], validate=True)
  except (binascii.Error, KeyError, TypeError, ValueError) as error:
    raise ValueError(f"{where}: damaged charsmap: {error!r}") from error


def _normalizer_name(step) -> str:
  kind = step["type"]
  if kind == "Strip" and step.get("strip_right"):
    return "strip"
  if (
    kind == "Replace"
    and step.get("pattern") in ({"Regex": " {2,}"}, {"Regex": " +"})
    and step.get("content") in (" ", SPACE)
  ):
    return {" ": "spaces", SPACE: "marks"}[step["content"]]
  return "unknown"


def _pre_tokenizer_name(step) -> str:
  kind = step["type"]
  if kind == "Metaspace":
    scheme = step.get("prepend_scheme")
    old = step.get("add_prefix_space")
    always = scheme == "always" or (scheme is None and old in (True, None))
    same = step.get("replacement") == SPACE and old in (True, None)
    return kind if always and same else "unknown"
  return kind if kind == "WhitespaceSplit" else "unknown"


def _check_rest(fields, vocabulary, where):
  """Checks what else changes ids: the end of sequence and the pieces."""
  crossing = [
    text
    for text, _ in vocabulary
    if SPACE in text[1:] and not text.lstrip(SPACE).startswith("<extra_id_")
  ]
  if crossing:
    raise ValueError(
      f"{where}: the piece {crossing[0]!r:.40} goes over the end of a word,"
      " and sentencepiece would use it; put the model's spiece.model into the"
      " folder"
    )
  unknown = sorted(
    set(fields["model"]) - {"type", "unk_id", "vocab", "byte_fallback"}
  )
  if unknown:
    raise ValueError(f"{where}: unknown fields of the model: {unknown!s:.80}")
  post = fields.get("post_processor")
  if post is not None:
    end = [
      {"Sequence": {"id": "A", "type_id": 0}},
      {"SpecialToken": {"id": "</s>", "type_id": 0}},
    ]
    if not isinstance(post, dict) or post.get("single") != end:
      raise ValueError(
        f"{where}: the post_processor must put </s> behind a text and nothing"
        f" else, got {json.dumps(post):.120}"
      )
