"""Models whose state is updated by a linear function: `scan` has the executions they share."""
