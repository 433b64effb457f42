"""Speed and size of the kernels and of the whole job, against the peers that are installed."""
