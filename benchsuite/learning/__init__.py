"""Training a model on a task, and scoring it."""
