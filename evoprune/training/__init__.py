"""Training: runs, batches, callbacks, progress."""
