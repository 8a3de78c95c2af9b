"""Lets t5x find `mpt_jax/gin/mpt_adapt.gin` from any folder.

gin takes a path for a package and a file in it. It imports `mpt_jax`, which
adds the gin files to gin's search path, and looks up the module `mpt_jax.gin`.
This is that module: the folder gin/ must not be a package, because in a clone
it would hide gin-config, which is imported as `gin`.
"""
