"""Measures: functions that measure something of a case."""
