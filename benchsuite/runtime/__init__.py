"""From a case to its device, module, input and step."""
