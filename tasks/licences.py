"""Where the data of a task is from, and its licence, as far as it is known."""

from mpt_jax.tasks.public import sources
from mpt_jax.tasks.public.package_list import PACKAGES


def base_name(task: str) -> str:
  """Returns the task of which another one is a form.

  >>> base_name("vader_tweets_prefixed"), base_name("my_words")
  ('vader_tweets', 'my_words')
  """
  for ending in ("prefixed", *sources.LABELS):
    base = task.removesuffix(f"_{ending}")
    if base in sources.SOURCES or ending == "prefixed":
      task = base
  return task


def licence(task: str) -> str | None:
  """Says where a task's data is from and under which licence.

  Args:
    task: the name of a task, which may end in "_prefixed", "_words" or
      "_digits".

  Returns:
    A text, None for a task that this package does not declare.

  >>> licence("vader_tweets_prefixed")
  'vaderSentiment 3.2.1 (pip): MIT'
  >>> licence("my_reviews") is None
  True
  """
  name = base_name(task)
  if name in sources.SOURCES:
    packages = [PACKAGES[key] for key in sources.SOURCES[name].packages]
    if not packages:
      return "Debian's package descriptions: each package's own licence"
    return "; ".join(
      f"{one.name} {one.version} ({one.client}): {one.licence}"
      for one in packages
    )
  # This imports seqio, which takes seconds.
  import mpt_jax.process.tensorflow_quietly  # noqa: F401  Before seqio.
  from mpt_jax.tasks.benchmarks.datasets import DATASETS

  if name in DATASETS:
    files = DATASETS[name].files
    return f"{files.owner}: {files.licence}"
  return None
