"""A case made live: device, module, input and step."""
