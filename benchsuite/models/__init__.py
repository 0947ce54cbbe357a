"""The models: files free of devices, timing and tasks; the registry names their factories."""
