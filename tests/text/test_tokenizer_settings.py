"""Added and special tokens: ids and texts equal those of transformers."""

import itertools
import json
import shutil

import pytest
from odd_texts import make_texts
from tokenizer_folders import write_spiece

from mpt_jax.text import vocabularies, vocabulary_files
from mpt_jax.text.vocabularies import Tokenizer

REASON = "the other side is transformers (the test extra)"
transformers = pytest.importorskip("transformers", reason=REASON)

OWN = (
  "</s>",
  "<pad>",
  "<unk>",
  "<extra_id_0>",
  "<extra_id_7>",
  "<extra_id_99>",
)
# Of every kind: special or not, with spaces, as a word, before and after the
# normalisation (ﬁ becomes fi).
NEW = {
  "<hl>": {"special": True},
  "<sep>": {"special": False, "normalized": True},
  "<de>": {"lstrip": True, "special": True},
  "<fr>": {"rstrip": True, "normalized": False},
  "<both>": {"lstrip": True, "rstrip": True, "special": True},
  "word": {"single_word": True, "normalized": False},
  "ﬁnal": {"normalized": True},
  "<hl>>": {"special": True},
}


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
  monkeypatch.setenv("MPT_CACHE_DIR", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def spiece(tmp_path_factory):
  return write_spiece(tmp_path_factory.mktemp("spiece"))


def texts(tokens):
  """Each token in every place of a text, glued and with spaces."""
  forms = (
    "{0}|a{0}b|a {0} b|{0} a|a {0}|  {0}  |{0}{0}|{0} {1}|{0}{1}|{1}x{0} y"
  )
  forms += (
    "|The cat{0}sat on\t{0}\n{1}, and {0}.|{0}s|é{0}_|({0})|\u00a0{0}\u3000a"
  )
  pairs = itertools.product(tokens, (*tokens[:3], "</s>"))
  return [form.format(*pair) for pair in pairs for form in forms.split("|")]


def add(tokenizer, new=NEW):
  tokenizer.add_tokens(
    [transformers.AddedToken(text, **flags) for text, flags in new.items()]
  )
  return tokenizer


def t5(spiece, folder, **settings):
  """A folder as it is before tokens are added."""
  folder.mkdir()
  shutil.copy(spiece, folder)
  settings = {"tokenizer_class": "T5Tokenizer", **settings}
  (folder / "tokenizer_config.json").write_text(json.dumps(settings))
  return folder


def as_version_4(spiece, folder, theirs):
  """The folder of a slow tokenizer of transformers 4."""
  decoder = {
    str(i): {
      "content": token.content,
      **{
        flag: getattr(token, flag)
        for flag in ("lstrip", "normalized", "rstrip", "single_word", "special")
      },
    }
    for i, token in theirs.added_tokens_decoder.items()
  }
  return t5(spiece, folder, added_tokens_decoder=decoder, extra_ids=100)


@pytest.fixture(params=["tokenizer.json", "spiece.model", "both"])
def added(request, spiece, tmp_path):
  """(their tokenizer, folder) with all kinds of tokens added."""
  theirs = add(
    transformers.AutoTokenizer.from_pretrained(t5(spiece, tmp_path / "plain"))
  )
  folder = tmp_path / "added"
  if request.param == "spiece.model":
    as_version_4(spiece, folder, theirs)
  else:
    theirs.save_pretrained(folder)
    (folder / "spiece.model").unlink(missing_ok=True)
    if request.param == "both":
      shutil.copy(spiece, folder)
  return transformers.AutoTokenizer.from_pretrained(folder), folder


def check_equal(path, theirs, samples):
  ours, seqio = Tokenizer(path), vocabularies.seqio_vocabulary(path)
  for text in samples:
    expected = theirs.encode(text, add_special_tokens=False)
    assert ours.encode(text) == expected, text
    assert list(seqio.encode(text)) == expected
  return ours, seqio


def test_ids_are_those_of_transformers(added):
  theirs, folder = added
  path = vocabulary_files.resolve(folder)
  samples = [*texts([*NEW, *OWN]), *make_texts()]
  ours, _ = check_equal(path, theirs, samples)
  size, _ = vocabularies.vocabulary_size(path)
  assert size == len(theirs)
  # Without T5's own tokens in a text, the folder itself gives the same ids.
  plain = vocabulary_files.find_vocabulary(folder, {})
  assert vocabularies.vocabulary_size(plain)[0] == size
  check_equal(
    plain, theirs, [t for t in samples if not any(own in t for own in OWN)]
  )
  # The others are characters, as in seqio.
  assert Tokenizer(plain).encode("a</s>") != ours.encode("a</s>")


def test_texts_of_ids_are_those_of_transformers(added):
  theirs, folder = added
  path = vocabulary_files.resolve(folder)
  ours, seqio = Tokenizer(path), vocabularies.seqio_vocabulary(path)
  tokens = [t for t in (*NEW, *OWN) if t not in ("</s>", "<pad>", "<unk>")]
  for text in texts(tokens):
    ids = theirs.encode(text, add_special_tokens=False)
    # transformers writes </s>, padding and unknown pieces in another way.
    ids = [i for i in ids if i > 2]
    for skip in (True, False):
      expected = theirs.decode(
        ids, skip_special_tokens=skip, clean_up_tokenization_spaces=False
      )
      assert ours.decode(ids, skip_special_tokens=skip) == expected, text
    assert seqio.decode(ids) == ours.decode(ids)


def test_seqio_reads_them_in_tensorflow(added):
  import tensorflow as tf

  theirs, folder = added
  vocabulary = vocabularies.seqio_vocabulary(vocabulary_files.resolve(folder))
  samples = ["a <hl> b", "</s><extra_id_0>", "", "é word"]
  data = tf.data.Dataset.from_tensor_slices(samples).map(vocabulary.encode_tf)
  assert data.element_spec.shape.as_list() == [None]
  for text, ids in zip(samples, data.as_numpy_iterator(), strict=True):
    assert ids.tolist() == theirs.encode(text, add_special_tokens=False)
    assert vocabulary.decode_tf(tf.constant(ids)).numpy().decode() == (
      vocabulary.decode(ids.tolist())
    )
  assert vocabulary == vocabularies.seqio_vocabulary(
    vocabulary_files.resolve(folder)
  )
  assert vocabulary.vocab_size == len(theirs) and vocabulary.eos_id == 1


@pytest.mark.parametrize("kind", ["t5", "mt5"])
def test_special_tokens_without_added_ones(kind, tmp_path):
  """`</s>`, `<pad>` and sentinels glued to words, in slow and fast folders."""
  spiece = write_spiece(tmp_path, kind)
  extra_ids = {"t5": 100, "mt5": 0}[kind]
  folder = t5(spiece, tmp_path / "t5", extra_ids=extra_ids)
  theirs = transformers.AutoTokenizer.from_pretrained(folder)
  own = OWN if kind == "t5" else OWN[:3]
  samples = [*texts(own), *make_texts()]
  if kind == "mt5":
    # transformers 5 has no bytes for unknown characters, sentencepiece has.
    samples = [t for t in samples if 2 not in theirs.encode(t)]
    assert {1, 0} <= {i for t in samples for i in theirs.encode(t)}
  check_equal(vocabulary_files.resolve(folder), theirs, samples)
  theirs.save_pretrained(tmp_path / "saved")
  (tmp_path / "saved" / "spiece.model").unlink(missing_ok=True)
  check_equal(vocabulary_files.resolve(tmp_path / "saved"), theirs, samples)


def test_byt5(tmp_path):
  theirs = transformers.ByT5Tokenizer()
  samples = [*texts(OWN), *make_texts()]
  theirs.save_pretrained(tmp_path / "plain")
  check_equal(vocabulary_files.resolve(tmp_path / "plain"), theirs, samples)
  config = {"tokenizer_class": "ByT5Tokenizer"}
  bare = tmp_path / "bare"
  bare.mkdir()
  (bare / "tokenizer_config.json").write_text(json.dumps(config))
  check_equal(vocabulary_files.resolve(bare), theirs, samples)
  # The default is seqio's: bytes.
  found = vocabulary_files.find_vocabulary(tmp_path / "plain", {})
  assert found == str(vocabularies.BYTES_PATH)
  assert Tokenizer(found).encode("</s>") == [3 + ord(c) for c in "</s>"]
  new = {
    "<hl>": {"special": True},
    "<de>": {"lstrip": True, "normalized": False},
  }
  add(theirs, new).save_pretrained(tmp_path / "added")
  theirs = transformers.AutoTokenizer.from_pretrained(tmp_path / "added")
  path = vocabulary_files.resolve(tmp_path / "added")
  ours, _ = check_equal(path, theirs, texts([*new, *OWN]))
  assert vocabularies.vocabulary_size(path)[0] == len(theirs) == 386
  ids = ours.encode("é<hl> b<extra_id_3>")
  assert ours.decode(ids) == "é<hl> b<extra_id_3>"
  assert ours.decode(ids, skip_special_tokens=True) == "é b"
  assert theirs.decode(ids, skip_special_tokens=True) == "é b"
  plain = vocabulary_files.find_vocabulary(tmp_path / "added", config)
  check_equal(plain, theirs, texts(["<hl>"])[:4])


# ------------------------------------------------------ where tokens are listed


@pytest.mark.parametrize(
  "settings",
  [
    {"extra_special_tokens": ["<hl>", "<sep>"]},
    {"additional_special_tokens": ["<sep>", "<hl>"]},
    {"sep_token": "<sep>", "cls_token": "<hl>"},
    {"mask_token": {"content": "<hl>", "lstrip": True, "__type": "AddedToken"}},
    {"bos_token": "<s>", "extra_special_tokens": ["<hl>"]},
    {"extra_special_tokens": {"hl_token": "<hl>"}},
  ],
)
def test_tokens_that_have_no_ids(settings, spiece, tmp_path):
  folder = t5(spiece, tmp_path / "t5", **settings)
  theirs = transformers.AutoTokenizer.from_pretrained(folder)
  # With such settings version 5 forgets the sentinels, and version 4 did not.
  samples = texts(["<hl>", "<sep>", "<s>", *OWN[:3]])
  check_equal(vocabulary_files.resolve(folder), theirs, samples)


def test_files_of_older_versions(spiece, tmp_path):
  folder = t5(spiece, tmp_path / "t5")
  size, _ = vocabularies.vocabulary_size(spiece)
  (folder / "added_tokens.json").write_text(
    json.dumps({"<hl>": size, "<sep>": size + 1})
  )
  (folder / "special_tokens_map.json").write_text(
    json.dumps({"sep_token": "<sep>", "eos_token": "</s>"})
  )
  theirs = transformers.AutoTokenizer.from_pretrained(folder)
  samples = texts(["<hl>", "<sep>", *OWN])
  path = vocabulary_files.resolve(folder)
  check_equal(path, theirs, samples)
  # The embedding must have their rows.
  assert vocabularies.vocabulary_size(path)[0] == size + 2


# -------------------------------------------------------------------- refused


def _token(i, text="<hl>", **flags):
  return {"id": i, "content": text, "special": True, **flags}


@pytest.mark.parametrize(
  "name, fields, message",
  [
    (
      "tokenizer_config",
      {"do_lower_case": True},
      "do_lower_case must be False",
    ),
    (
      "tokenizer_config",
      {"tokenizer_class": "X"},
      "tokenizer_class must be T5",
    ),
    (
      "tokenizer_config",
      {"split_special_tokens": True},
      "split_special_tokens",
    ),
    (
      "tokenizer_config",
      {"add_eos_token": False},
      "add_eos_token must be True",
    ),
    (
      "tokenizer_config",
      {"add_bos_token": True},
      "add_bos_token must be False",
    ),
    ("tokenizer_config", {"add_prefix_space": False}, "add_prefix_space must"),
    ("tokenizer_config", {"sp_model_kwargs": {"nbest_size": 3}}, "sp_model_kw"),
    (
      "tokenizer_config",
      {"auto_map": {"AutoTokenizer": ["x"]}},
      "auto_map must",
    ),
    ("tokenizer_config", {"extra_ids": -1}, "extra_ids must be a number"),
    ("tokenizer_config", {"extra_ids": True}, "extra_ids must be a number"),
    (
      "tokenizer_config",
      {"eos_token": "<pad>"},
      "eos_token must have the id 1",
    ),
    (
      "tokenizer_config",
      {"pad_token": "<new>"},
      "pad_token must have the id 0",
    ),
    ("tokenizer_config", {"sep_token": 3}, "sep_token holds 3"),
    ("tokenizer_config", {"extra_special_tokens": "x"}, "must be a list"),
    ("tokenizer_config", {"added_tokens_decoder": []}, "must be an object"),
    ("tokenizer_config", {"added_tokens_decoder": {"x": {}}}, "damaged token"),
    (
      "tokenizer_config",
      {"added_tokens_decoder": {"9999": {"content": "<hl>"}}},
      r"must follow the vocabulary's.*\[9999\]",
    ),
    (
      "tokenizer_config",
      {"added_tokens_decoder": {"5": {"content": "<hl>"}}},
      "'<hl>' has the id 5, which the vocabulary has for another piece",
    ),
    (
      "tokenizer_config",
      {"added_tokens_decoder": {"5": {"content": "</s>"}}},
      "'</s>' has the id 5, but the vocabulary has 1",
    ),
    ("added_tokens", {"<hl>": 7000}, "must follow the vocabulary's"),
    ("added_tokens", {"<hl>": "x"}, "damaged token"),
    ("tokenizer", {"added_tokens": [_token(7000)]}, "must follow"),
    ("tokenizer", {"added_tokens": [{"id": 0}]}, "damaged token"),
    ("tokenizer", {"added_tokens": {"a": 1}}, "must be a list of objects"),
    (
      "tokenizer",
      {"added_tokens": [_token(7000), _token(7000, "<sep>")]},
      "have one id, 7000",
    ),
  ],
)
def test_tokenizers_that_are_refused(name, fields, message, spiece, tmp_path):
  folder = t5(spiece, tmp_path / "t5")
  (folder / f"{name}.json").write_text(json.dumps(fields))
  with pytest.raises(ValueError, match=message) as error:
    vocabulary_files.find_vocabulary(folder, {})
  assert str(folder) in str(error.value) and "\n" not in str(error.value)


def test_files_that_contradict_each_other(spiece, tmp_path):
  folder = t5(spiece, tmp_path / "t5")
  size, _ = vocabularies.vocabulary_size(spiece)
  (folder / "tokenizer.json").write_text(
    json.dumps({"added_tokens": [_token(size)]})
  )
  vocabulary_files.find_vocabulary(folder, {})
  decoder = {str(size): {"content": "<a>"}, str(size + 1): {"content": "<hl>"}}
  (folder / "tokenizer_config.json").write_text(
    json.dumps({"added_tokens_decoder": decoder})
  )
  with pytest.raises(ValueError, match="'<hl>' has the id .*config.json and"):
    vocabulary_files.find_vocabulary(folder, {})


def test_fields_that_nobody_knows_are_named(spiece, tmp_path):
  folder = t5(spiece, tmp_path / "t5", reverse_text=True, name_or_path="x")
  with pytest.warns(UserWarning, match="unknown fields ignored: reverse_text$"):
    vocabulary_files.find_vocabulary(folder, {})


def test_a_folder_without_a_tokenizer(tmp_path):
  with pytest.raises(FileNotFoundError, match="has no tokenizer: expected spi"):
    vocabulary_files.resolve(tmp_path)


# ----------------------------------------------- said by a user, for a whole T5


def test_a_t5_whose_folder_is_its_vocabulary_too(spiece, tmp_path, capsys):
  """The choice stays with a converted T5, whose fingerprint is the same."""
  from hf_folders import make_hf

  from mpt_jax.backbones import backbone
  from mpt_jax.cli import main as cli

  source = t5(spiece, tmp_path / "t5", extra_special_tokens=["<hl>"])
  make_hf(source, vocab_size=vocabularies.vocabulary_size(spiece)[0] + 1)
  plain = backbone.load_backbone(source)
  named = backbone.load_backbone(source, vocabulary_path=str(source))
  assert backbone.check_vocabulary(named) == plain.config.vocab_size
  out = tmp_path / "out"
  command = ("convert", source, "--out", out, "--vocabulary", source)
  assert cli.main([str(word) for word in command]) == 0
  converted = backbone.load_backbone(out)
  assert converted.fingerprint == plain.fingerprint
  for loaded, is_token in ((plain, False), (named, True), (converted, True)):
    ids = Tokenizer(loaded.vocabulary_path).encode("a</s>")
    assert (ids[-1] == 1) == is_token
    assert plain.config.vocab_size - 1 in (
      Tokenizer(loaded.vocabulary_path).encode("a <hl>")
    )
  # An embedding without the row of the new token does not fit.
  make_hf(source, vocab_size=vocabularies.vocabulary_size(spiece)[0])
  with pytest.raises(ValueError, match="the vocabulary does not fit"):
    backbone.check_vocabulary(backbone.load_backbone(source))
