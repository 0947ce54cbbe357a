"""The report: functions of a frame that write one self-contained page."""
