"""Makes a sentencepiece model from Hugging Face's `tokenizer.json`.

That file holds all parts of a unigram model of sentencepiece: the pieces with
their scores, the compiled table of the normaliser, and the treatment of spaces.
Folders saved by newer versions of `transformers` have it and no `spiece.model`.
"""

import base64
import binascii
import json

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


def added_tokens_error(where, tokens) -> ValueError:
  """The error about tokens that were added to a T5's tokenizer."""
  return ValueError(
    f"{where}: tokens were added to T5's ({', '.join(tokens[:5])}), and"
    " sentencepiece does not cut texts at them as that tokenizer does. Give the"
    " vocabulary without them (VOCABULARY_PATH, or mpt convert --vocabulary)"
    " if no text holds them"
  )


def sentencepiece_model(data: bytes, where) -> bytes:
  """A serialised sentencepiece model with the ids of a T5's tokenizer.json.

  T5's sentinels are pieces of it, `▁<extra_id_0>`, as seqio names them. A space
  before a sentinel in a text is part of the piece.

  Args:
    data: the content of the file.
    where: names the file in errors.

  Returns:
    A serialised ModelProto.

  Raises:
    ValueError: the file is not JSON, holds no unigram model, or treats text in
      a way that sentencepiece has no setting for.
  """
  from sentencepiece import sentencepiece_model_pb2

  try:
    fields = json.loads(data)
    kind = fields["model"]["type"]
  except (ValueError, KeyError, TypeError) as error:
    raise ValueError(f"{where} is not a tokenizer.json: {error!r}") from error
  if kind != "Unigram":
    raise ValueError(
      f"{where} holds a tokenizer of type {kind!r}; T5's are 'Unigram'"
    )
  vocabulary = [tuple(entry) for entry in fields["model"]["vocab"]]
  for token in sorted(fields.get("added_tokens", ()), key=lambda t: t["id"]):
    if token["id"] > len(vocabulary):
      raise ValueError(
        f"{where}: the added token {token['content']!r} has id {token['id']},"
        f" but the ids before it end at {len(vocabulary) - 1}"
      )
    if token["id"] == len(vocabulary):
      if not is_t5s_own(token["content"]):
        raise added_tokens_error(where, [token["content"]])
      vocabulary.append((token["content"], 0.0))
  special = {
    t["id"] for t in fields.get("added_tokens", ()) if t.get("special")
  }
  unknown = fields["model"]["unk_id"]
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
    elif number in special:
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
  _set_normalizer(proto.normalizer_spec, fields, where)
  return proto.SerializeToString()


def _steps(fields, key, inner):
  """The steps of a normaliser or pre-tokenizer, which may be nested."""
  step = fields.get(key)
  if not step:
    return []
  if step["type"] == "Sequence":
    return [s for part in step[inner] for s in _steps({key: part}, key, inner)]
  return [step]


def _set_normalizer(spec, fields, where):
  spec.name = "identity"
  spec.add_dummy_prefix = False
  spec.remove_extra_whitespaces = False
  spec.escape_whitespaces = True

  def refuse(step):
    raise ValueError(
      f"{where}: the step {json.dumps(step):.200} has no counterpart in"
      " sentencepiece; put the model's spiece.model into the folder"
    )

  for step in _steps(fields, "normalizer", "normalizers"):
    if step["type"] == "Precompiled":
      try:
        table = base64.b64decode(step["precompiled_charsmap"], validate=True)
      except (binascii.Error, KeyError, TypeError) as error:
        raise ValueError(f"{where}: damaged charsmap: {error!r}") from error
      spec.name = "user_defined"
      spec.precompiled_charsmap = table
    elif step["type"] in ("Strip", "Replace"):
      # T5's steps replace several spaces by one.
      pattern = step.get("pattern", {"Regex": " {2,}"})
      if pattern not in ({"Regex": " {2,}"}, {"Regex": " +"}):
        refuse(step)
      spec.remove_extra_whitespaces = True
    else:
      refuse(step)
  for step in _steps(fields, "pre_tokenizer", "pretokenizers"):
    if step["type"] == "WhitespaceSplit":
      spec.remove_extra_whitespaces = True
    elif step["type"] == "Metaspace" and step["replacement"] == SPACE:
      scheme = step.get("prepend_scheme")
      old = step.get("add_prefix_space", True)
      spec.add_dummy_prefix = old if scheme is None else scheme != "never"
    else:
      refuse(step)
