"""Floating-point work of one example, counted from the shapes alone.

A product of [a, b] and [b, c] is 2 a b c. Only real positions count: the n
encoder positions of an example (with its prompt), its m target positions,
attention within the example (the causal half of the decoder's). Look-ups,
norms, softmaxes and losses count nothing. So the count is of the model,
whatever an implementation pads or computes twice.

The decoder's attention to the encoder's output counts in the cheaper of two
forms, in each direction: with keys and values of that output, as T5 is written,
or without them, as `mpt_jax.model.cpu.target_attention` computes it where
targets are few. Work that neither side has to compute is credited to neither.

The backward pass of a frozen T5 has gradients of activations only: as much work
as the forward pass for a product with a weight, twice as much for a product of
two activations (both attention products). Two parts of it are not needed and
are not counted:
  * the first encoder block leads to prompt positions only, so its queries, keys
    and values are differentiated at P positions instead of n;
  * the decoder depends on the prompt through the encoder's output alone, so in
    its first block nothing below the cross-attention's keys and values is
    differentiated.
"""


def forward(config, n, m):
  """Work of the forward pass on n encoder and m decoder positions."""
  c = config
  width = c.num_heads * c.head_dim
  project = 2 * c.emb_dim * width
  mlp = 2 * c.emb_dim * c.mlp_dim * (len(c.mlp_activations) + 1)
  encoder = c.num_encoder_layers * (n * (4 * project + mlp) + 4 * n * n * width)
  causal = m * (m + 1) // 2
  decoder = c.num_decoder_layers * (
    m * (6 * project + mlp) + 4 * causal * width + _cross(c, n, m, 4, 2)
  )
  return encoder + decoder + 2 * m * c.emb_dim * c.vocab_size


def _cross(config, n, m, products, maps):
  """Least work of the attention of m targets to n positions.

  Args:
    config: the T5's `T5Config`.
    n: positions.
    m: targets.
    products: twice the number of products with an [m, n] operand.
    maps: number of maps of queries and outputs, [m, D] each, without keys and
      values.
  """
  c = config
  width = c.num_heads * c.head_dim
  project = 2 * c.emb_dim * width
  # Both directions map n positions twice: to keys and values, or back.
  with_keys = 2 * n * project + products * m * n * width
  without = maps * m * project + products * m * n * c.num_heads * c.emb_dim
  return min(with_keys, without)


def backward(config, n, m, prompt_length):
  """Work of the gradient with respect to the example's prompt."""
  c = config
  p = prompt_length
  width = c.num_heads * c.head_dim
  project = 2 * c.emb_dim * width
  mlp = 2 * c.emb_dim * c.mlp_dim * (len(c.mlp_activations) + 1)
  full = n * (4 * project + mlp) + 8 * n * n * width
  # dQ [p, n], dK and dV [n, p]; dA if its row or column belongs to the prompt.
  first_attention = 2 * width * (3 * n * p + n * n - (n - p) ** 2)
  first = n * (project + mlp) + 3 * p * project + first_attention
  encoder = first + (c.num_encoder_layers - 1) * full
  causal = m * (m + 1) // 2
  full = m * (6 * project + mlp) + 8 * causal * width + _cross(c, n, m, 8, 2)
  # The output projection, the feed-forward block, dA, dK and dV, not dQ.
  first = m * (project + mlp) + _cross(c, n, m, 6, 1)
  decoder = first + (c.num_decoder_layers - 1) * full
  return encoder + decoder + 2 * m * c.emb_dim * c.vocab_size


def train_step(config, examples, prompt_length, distill):
  """Work of a training step on tokenised examples.

  Args:
    config: the T5's `T5Config`.
    examples: list of {"inputs": ids, "targets": ids, ...}, already cut.
    prompt_length: P.
    distill: True adds the teacher's forward pass.
  """
  total = 0
  for example in examples:
    n = prompt_length + len(example["inputs"])
    m = len(example["targets"])
    total += (1 + distill) * forward(config, n, m)
    total += backward(config, n, m, prompt_length)
  return total
