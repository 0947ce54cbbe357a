"""The models, without devices, timing or tasks; `catalog.models` names their factories."""
