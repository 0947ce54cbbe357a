"""Training models on tasks, and scoring them."""
