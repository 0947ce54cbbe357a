"""The catalog: tables of models, tasks, measures and engines."""
