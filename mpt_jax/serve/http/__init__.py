"""The HTTP interface of `mpt serve`."""
