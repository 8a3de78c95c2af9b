"""save_t5x_checkpoint.py T5 OUT legacy|orbax: what a pretraining run leaves.

Run in a process of its own by tests/test_t5x.py: step 1000 of a T5 with
Adafactor's state, written by t5x.
"""

import pathlib
import sys

import flax.core
import jax

from mpt_jax.backbones.backbone import load_backbone
from mpt_jax.model.objective import Model


def main(source, out, layout):
  from t5x import adafactor, checkpoints, partitioning, train_state

  backbone = load_backbone(source)
  model = Model(backbone.config, trainable="everything")
  axes = model.init_variables(jax.random.key(0))["params_axes"]
  variables = flax.core.freeze({"params": backbone.params, "params_axes": axes})
  optimizer = adafactor.Adafactor(
    1e-3, logical_factor_rules=adafactor.standard_logical_factor_rules()
  )
  state = train_state.FlaxOptimTrainState.create(optimizer, variables)
  state = state.replace_step(jax.numpy.asarray(1000))
  partitioner = partitioning.PjitPartitioner(
    num_partitions=1,
    logical_axis_rules=partitioning.standard_logical_axis_rules(),
  )
  if layout == "legacy":
    checkpointer = checkpoints.Checkpointer(state, partitioner, out)
    checkpointer.save(state)
  else:
    pathlib.Path(out).mkdir()
    manager = checkpoints.OrbaxCheckpointManagerInterface(
      out, state, partitioner
    )
    manager.save(state)
    manager.close()


if __name__ == "__main__":
  main(*sys.argv[1:])
