"""What `echat bench` measures: the main path on this machine, in one run."""
