"""The peer: PEFT with transformers' T5 in PyTorch, and a training loop.

PEFT provides the prompts. The teachers, the distillation loss and the training
loop are written here in usual PyTorch.
"""

import pathlib
import time

import numpy as np
import peft
import torch
import torch.nn.functional as F
import transformers

from mpt_jax.backbones import huggingface
from mpt_jax.model.objective import DistillConfig

ATTENTIONS = ("sdpa", "eager")


def device():
  return "cuda" if torch.cuda.is_available() else "cpu"


def _frozen(base, dtype):
  if device() == "cuda":
    # Use TF32, as XLA does by default for float32.
    torch.set_float32_matmul_precision("high")
  return base.to(device(), getattr(torch, dtype)).requires_grad_(False)


def _set_head(base, weight):
  """Gives T5 1.1 its own output head, which transformers 5 ties."""
  base.config.tie_word_embeddings = False
  base.lm_head.weight = torch.nn.Parameter(weight)


def load_t5(folder, dtype):
  """transformers' T5 of a folder, frozen."""
  load = transformers.T5ForConditionalGeneration.from_pretrained
  base = load(folder, dtype=getattr(torch, dtype))
  tensors = huggingface.hf_tensors(pathlib.Path(folder))
  if not base.config.scale_decoder_outputs and "lm_head.weight" in tensors:
    head = np.array(tensors["lm_head.weight"], np.float32)
    _set_head(base, torch.from_numpy(head))
  return _frozen(base, dtype)


def make_t5(config, params, dtype):
  """transformers' T5 with these parameters (t5x's names), frozen."""
  gated = len(config.mlp_activations) == 2
  base = transformers.T5ForConditionalGeneration(
    transformers.T5Config(
      vocab_size=config.vocab_size,
      d_model=config.emb_dim,
      d_kv=config.head_dim,
      d_ff=config.mlp_dim,
      num_layers=config.num_encoder_layers,
      num_decoder_layers=config.num_decoder_layers,
      num_heads=config.num_heads,
      feed_forward_proj="gated-gelu" if gated else "relu",
      tie_word_embeddings=config.logits_via_embedding,
      dropout_rate=0.0,
      decoder_start_token_id=0,
    )
  )
  if not config.logits_via_embedding:
    _set_head(base, torch.empty_like(base.shared.weight))
  state = base.state_dict()
  sources = huggingface.hf_sources(state, config, "the peer's T5")
  for name, source in sources.items():
    array = params
    for part in name.split("/"):
      array = array[part]
    array = array if name == "token_embedder/embedding" else array.T
    state[source].copy_(torch.from_numpy(np.array(array, np.float32)))
  return _frozen(base, dtype)


class Trainer:
  """Training steps of PEFT, padded to the longest example of the batch.

  Args:
    base: transformers' T5, frozen; all activations have its dtype.
    prompts: starting values of the prompts. If they have factors, the method is
      PEFT's MULTITASK_PROMPT_TUNING, otherwise PROMPT_TUNING of the one prompt.
    teacher_prompts: [N, P, D], for distillation.
    optimizer: `OptimizerConfig`; its rates, decay and clipping are used.
    compile: use torch.compile.
  """

  def __init__(
    self, base, prompts, teacher_prompts=None, *, optimizer, compile=False
  ):
    self.base, self._device = base, device()
    length = prompts["shared_prompt"].shape[1]
    # With one submodule the encoder alone is prompted, as in the paper.
    common = dict(
      task_type="SEQ_2_SEQ_LM",
      num_virtual_tokens=length,
      num_transformer_submodules=1,
    )
    if "task_columns" in prompts:
      num_tasks, _, rank = prompts["task_columns"].shape
      peft_config = peft.MultitaskPromptTuningConfig(
        num_tasks=num_tasks,
        num_ranks=rank,
        prompt_tuning_init="RANDOM",
        **common,
      )
    else:
      peft_config = peft.PromptTuningConfig(**common)
    self.model = peft.get_peft_model(self.base, peft_config)
    prompt = self.model.prompt_encoder["default"].to(
      self._device, torch.float32
    )
    self._multitask = "task_columns" in prompts
    names = {"embedding.weight": prompts["shared_prompt"][0]}
    if self._multitask:
      names["prefix_task_cols"] = prompts["task_columns"]
      names["prefix_task_rows"] = prompts["task_rows"]
    with torch.no_grad():
      for name, value in names.items():
        prompt.get_parameter(name).copy_(torch.from_numpy(value.copy()))
    self._trainable = [p for p in self.model.parameters() if p.requires_grad]
    if {id(p) for p in self._trainable} != {id(p) for p in prompt.parameters()}:
      raise ValueError("PEFT trains other parameters than the prompts")
    shared = prompt.embedding.weight
    factors = [p for p in self._trainable if p is not shared]
    groups = [{"params": [shared], "lr": optimizer.learning_rate}]
    if factors:
      groups.append({"params": factors, "lr": optimizer.factor_learning_rate})
    self._optimizer = torch.optim.AdamW(
      groups, weight_decay=optimizer.weight_decay
    )
    self._clip_norm = optimizer.clip_norm
    self._teachers = None
    if teacher_prompts is not None:
      self._teachers = torch.from_numpy(teacher_prompts.copy()).to(
        self._device, base.dtype
      )
    self._length = length
    # Tensor cores want lengths that are multiples of 8.
    self._multiple = 8 if self._device == "cuda" else 1
    if compile:
      # Compile for each tried number of threads and attention, and each shape.
      torch._dynamo.config.recompile_limit = 64
    self._student = torch.compile(self.model) if compile else self.model
    self._teacher = torch.compile(self.base) if compile else self.base
    self._distill = DistillConfig()

  def use(self, threads=None, attention=None):
    """Sets the number of threads and the implementation of attention."""
    if threads is not None:
      torch.set_num_threads(threads)
    if attention is not None:
      self.base.set_attn_implementation(attention)

  def product_rate(self, clock=time.perf_counter):
    """Flops a second of a large product, the peer of `bench.MatmulRate`."""
    size, repeats = (2048, 4) if self._device == "cpu" else (8192, 20)
    x = torch.full((size, size), 1 / size, dtype=self.base.dtype)
    x = x.to(self._device)
    x @ x
    if self._device == "cuda":
      torch.cuda.synchronize()
    start = clock()
    for _ in range(repeats):
      x @ x
    if self._device == "cuda":
      torch.cuda.synchronize()
    return 2 * size**3 * repeats / (clock() - start)

  def _pad(self, ids, value, before=0):
    """Pads to [rows, longest] on the host; `before` positions will precede."""
    longest = max(map(len, ids)) + before
    longest = -(-longest // self._multiple) * self._multiple - before
    rows = np.full((len(ids), longest), value, np.int64)
    for row, own in zip(rows, ids, strict=True):
      row[: len(own)] = own
    return rows

  def _put(self, array):
    """Copies to the device, without waiting for its computations."""
    tensor = torch.from_numpy(np.ascontiguousarray(array))
    if self._device == "cpu":
      return tensor
    return tensor.pin_memory().to(self._device, non_blocking=True)

  def collate(self, examples):
    """Pads to the longest; returns tensors on the device.

    `target_places` and `positions` are where the targets, and the inputs with
    their prompts, are in the flattened arrays. They are computed here to avoid
    a wait for the device.
    """
    lengths = np.array([len(e["inputs"]) for e in examples])
    inputs = self._pad([e["inputs"] for e in examples], 0, self._length)
    labels = self._pad([e["targets"] for e in examples], -100)
    mask = np.arange(inputs.shape[1])[None] < lengths[:, None]
    width = self._length + inputs.shape[1]
    real = np.arange(width)[None] < self._length + lengths[:, None]
    arrays = {
      "input_ids": inputs,
      "attention_mask": mask.astype(np.int64),
      "labels": labels,
      "task_ids": np.array([e["slot_id"] for e in examples]),
      "positions": np.flatnonzero(real),
      "target_places": np.flatnonzero(labels >= 0),
    }
    return {name: self._put(array) for name, array in arrays.items()}

  def shape(self, examples):
    return len(examples), *(
      max(len(e[name]) for e in examples) for name in ("inputs", "targets")
    )

  def _loss(self, batch):
    """Returns the loss, and its terms as sums and counts."""
    distill = self._teachers is not None
    task_ids = batch["task_ids"]
    call = {k: batch[k] for k in ("input_ids", "attention_mask", "labels")}
    if self._multitask:
      call["task_ids"] = task_ids
    student = self._student(
      **call, output_hidden_states=distill, use_cache=False
    )
    terms = {"loss": student.loss}
    if not distill:
      return student.loss, terms
    embeds = self.base.get_input_embeddings()(batch["input_ids"])
    ones = torch.ones(
      (len(embeds), self._length), dtype=torch.long, device=embeds.device
    )
    mask = torch.cat([ones, batch["attention_mask"]], 1)
    with torch.no_grad():
      teacher = self._teacher(
        inputs_embeds=torch.cat([self._teachers[task_ids], embeds], 1),
        attention_mask=mask,
        decoder_input_ids=self.base.prepare_decoder_input_ids_from_labels(
          batch["labels"]
        ),
        output_hidden_states=True,
        use_cache=False,
      )
    positions, places = batch["positions"], batch["target_places"]
    count, target_count = len(positions), len(places)

    def at(x, where):
      return x.flatten(0, 1).index_select(0, where).float()

    def log_probs(out):
      return F.log_softmax(at(out.logits, places), -1)

    terms["kl"] = (
      F.kl_div(
        log_probs(student), log_probs(teacher), log_target=True, reduction="sum"
      )
      / target_count
    )

    def square(a, b, where):
      return (at(a, where) - at(b, where)).square().mean(-1).sum()

    encoder = square(
      student.encoder_last_hidden_state,
      teacher.encoder_last_hidden_state,
      positions,
    )
    decoder = square(
      student.decoder_hidden_states[-1],
      teacher.decoder_hidden_states[-1],
      places,
    )
    terms["hidden"] = (encoder + decoder) / (count + target_count)
    hidden = (encoder / count + decoder / target_count) / 2
    return (
      student.loss + self._distill.weight * (terms["kl"] + hidden),
      terms,
    )

  def _step(self, examples):
    loss, terms = self._loss(self.collate(examples))
    self._optimizer.zero_grad(set_to_none=True)
    loss.backward()
    norm = torch.nn.utils.clip_grad_norm_(self._trainable, self._clip_norm)
    self._optimizer.step()
    return {**terms, "grad_norm": norm}

  def run(self, batches):
    """A step on each list of examples."""
    for examples in batches:
      terms = self._step(examples)
    if self._device == "cuda":
      torch.cuda.synchronize()
    return terms

  def _inputs(self, examples):
    batch = self.collate(examples)
    names = ["input_ids", "attention_mask"]
    return {k: batch[k] for k in names + ["task_ids"] * self._multitask}

  @torch.no_grad()
  def generate(self, examples, max_new_tokens):
    """Returns greedy tokens [B, <= max_new_tokens], without the start token."""
    tokens = self.model.generate(
      **self._inputs(examples),
      max_new_tokens=max_new_tokens,
      do_sample=False,
      num_beams=1,
    )
    return tokens[:, 1:].cpu().numpy()

  @torch.no_grad()
  def score(self, examples, candidates):
    """Returns log-probabilities of each example's own candidates.

    The encoder runs once. With PEFT's `forward`, which takes no encoder
    outputs, it would run for every label.

    Args:
      examples: B tokenised examples.
      candidates: for each a list of token ids.

    Returns:
      A list of B lists.
    """
    inputs = self._inputs(examples)
    owners = [i for i, c in enumerate(candidates) for _ in c]
    labels = [ids for c in candidates for ids in c]
    labels = self._put(self._pad(labels, -100))
    owners = self._put(np.array(owners))
    prompts = self.model.get_prompt(len(examples), inputs.get("task_ids"))
    embeds = self.base.get_input_embeddings()(inputs["input_ids"])
    embeds = torch.cat([prompts.to(embeds.dtype), embeds], 1)
    ones = torch.ones_like(inputs["input_ids"][:, :1]).expand(-1, self._length)
    mask = torch.cat([ones, inputs["attention_mask"]], 1)
    states = self.base.get_encoder()(
      inputs_embeds=embeds, attention_mask=mask
    ).last_hidden_state
    output = self.base(
      encoder_outputs=(states[owners],),
      attention_mask=mask[owners],
      decoder_input_ids=self.base.prepare_decoder_input_ids_from_labels(labels),
      use_cache=False,
    )
    log_probs = F.log_softmax(output.logits.float(), -1)
    real = labels >= 0
    chosen = log_probs.gather(-1, labels.clamp(min=0)[..., None])[..., 0]
    sums = (chosen * real).sum(1).tolist()
    scores = iter(sums)
    return [[next(scores) for _ in c] for c in candidates]

  def terms(self, examples):
    """Trains on a batch; returns mean loss terms and the gradient's norm."""
    return {k: v.item() for k, v in self.run([examples]).items()}
