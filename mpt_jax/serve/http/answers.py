"""One text's answer: its request, its result as JSON, its text as a stream."""

from mpt_jax.data.batches import EOS_ID

# Stands for bytes that are not yet a whole character.
_UNFINISHED = "\ufffd"


class Answer:
  """The answer to one row.

  Args:
    service: the `Service`.
    row: the row as the client sent it.
    name: the task's name.
    settings: the `fields.Settings`.

  Attributes:
    request: its `waiting.Request`.
  """

  def __init__(self, service, row, name, settings):
    self._row, self._sent = row, ""
    self.request = service.request(
      row,
      name,
      max_tokens=settings.max_tokens,
      temperature=settings.temperature,
      seed=settings.seed,
      seconds=settings.seconds,
    )
    self._texts = self.request.task.texts

  @property
  def _made(self):
    return self.request.future.result()

  @property
  def num_tokens(self) -> int:
    """Tokens of the output; for a label, those of the label."""
    if self.request.ranks:
      return len(self._texts.candidates[int(self._made.argmax())])
    return len(self._made)

  @property
  def finish(self) -> str:
    """Why the output ended, in OpenAI's words."""
    if self.request.ranks or EOS_ID in self._made:
      return "stop"
    return "length"

  def text(self) -> str:
    """Returns the label, or the generated text."""
    return self._answer()["prediction"]

  def _answer(self):
    if self.request.ranks:
      return self._texts.ranked(self._made)
    return self._texts.generated(self._made)

  def result(self) -> dict:
    """Returns the row as `mpt predict` writes it."""
    return {**self._row, **self._answer()}

  def watch(self, loop, queue, index):
    """Puts (index, new text or None, error or None) into a queue.

    Args:
      loop: the event loop of the queue.
      queue: an `asyncio.Queue`.
      index: this answer's number.
    """

    def put(*what):
      loop.call_soon_threadsafe(queue.put_nowait, (index, *what))

    def on_tokens(tokens):
      text = self._texts.generated(tokens)["prediction"].rstrip(_UNFINISHED)
      if len(text) > len(self._sent) and text.startswith(self._sent):
        put(text[len(self._sent) :], None)
        self._sent = text

    def on_done(future):
      if future.cancelled():
        return
      if future.exception() is not None:
        put(None, future.exception())
        return
      rest = self.text()[len(self._sent) :]
      if rest:
        put(rest, None)
      put(None, None)

    self.request.on_tokens = on_tokens
    self.request.future.add_done_callback(on_done)
