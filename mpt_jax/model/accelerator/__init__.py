"""The plan for accelerators: scanned layers, recomputation, fused attention."""
