"""What there is, as data: models, tasks, measures, engines and families."""
