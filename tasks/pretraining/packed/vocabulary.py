"""The vocabulary of packed pretraining, trained on its material."""

import io
import itertools
import os
import pathlib
import shutil

from mpt_jax.tasks.pretraining import sources as pretraining_sources
from mpt_jax.tasks.pretraining.generated import sentences
from mpt_jax.tasks.pretraining.packed import material, shards, tokens
from mpt_jax.tasks.public import readers, sources

# Words of instructions and labels; the vocabulary gets a piece for each.
INSTRUCTION_WORDS = (
  "yes no true false maybe good bad great terrible positive negative happy sad"
  " up down left right hot cold red blue green black white one two three four"
  " a b c d e f g h i j k l m n o p q r s t u v w x y z A B C D E F G H I J K"
  " options option question context answer text label class category topic"
  " sentiment review classify choose pick decide correct spelling sentence next"
  " headline word words meaning definition same different related unrelated"
  " about which what is this the first second like dislike love hate joke real"
  " serious sarcastic relevant irrelevant summary title describe"
).split()
# Words of answers and instructions that the material's labels do not hold.
_ANSWER_WORDS = (
  "entailment neutral contradiction synonym antonym opposite kind part"
  " unrelated person human place location number numeric thing entity"
  " abbreviation description noun verb adjective adverb premise hypothesis"
  " paraphrase emotion genre business entertainment tech world science sport"
  " spam ham mail program library development documentation data"
).split()


def whole_words(gathered) -> tuple[str, ...]:
  """Returns the words of labels, topics, feelings and kinds."""
  words = {*_ANSWER_WORDS, *readers.WORDNET_CATEGORIES}
  words |= {*sentences.GENRES.values()}
  for name, others in sentences.EMOTIONS.items():
    words |= {name, *others.split()}
  for name, others in pretraining_sources.SYNONYMS.items():
    words |= {name, *others}
  for source in gathered.labelled:
    words |= {*source["label_names"]}
  words |= {field for _, field, _ in gathered.definitions if field}
  return tuple(sorted(words))


def write(gathered, folder, vocab_size: int, model=None) -> None:
  """Writes the vocabulary and its pieces into a data folder.

  Args:
    gathered: a `material.Material`.
    folder: the data folder.
    vocab_size: ids, sentinels included.
    model: a trained `.model` file to take instead of training one.
  """
  folder = pathlib.Path(folder)
  path = folder / shards.VOCABULARY
  if model is None:
    texts = folder / "texts.txt"
    with open(texts, "w", encoding="utf-8") as file:
      for text in material.running_texts(gathered):
        file.write(" ".join(text.split()) + "\n")
    train_vocabulary(
      texts,
      path,
      num_pieces=vocab_size - tokens.NUM_SENTINELS,
      words=whole_words(gathered),
    )
    texts.unlink()
  elif pathlib.Path(model).resolve() != path.resolve():
    shutil.copyfile(model, path)
  tokens.write_pieces(path, folder / shards.PIECES)


def train_vocabulary(
  corpus: str | os.PathLike,
  path: str | os.PathLike,
  num_pieces: int,
  words: tuple[str, ...],
) -> None:
  """Trains a sentencepiece model with T5's special ids and normalisation.

  Args:
    corpus: a text file, one text per line.
    path: the `.model` file to write.
    num_pieces: pieces in the model; T5's sentinels get ids above them.
    words: further words to keep whole.
  """
  import sentencepiece

  labels = [
    word for source in sources.SOURCES.values() for word in source.label_names
  ]
  # Often enough to be kept whole, as they would be in a larger corpus.
  kept = sorted({*INSTRUCTION_WORDS, *labels, *words}) * 300
  model = io.BytesIO()
  with open(corpus, encoding="utf-8") as lines:
    sentencepiece.SentencePieceTrainer.train(
      sentence_iterator=itertools.chain(lines, kept),
      model_writer=model,
      model_type="unigram",
      vocab_size=num_pieces,
      pad_id=0,
      eos_id=1,
      unk_id=2,
      bos_id=-1,
      normalization_rule_name="nmt_nfkc",
      character_coverage=0.9999,
      max_sentence_length=20000,
      input_sentence_size=200000,
      shuffle_input_sentence=True,
      num_threads=2,
      minloglevel=1,
    )
  path = pathlib.Path(path)
  path.parent.mkdir(parents=True, exist_ok=True)
  path.write_bytes(model.getvalue())
