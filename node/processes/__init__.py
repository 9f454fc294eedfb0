"""Tasks in execution, as their owner sees them.

`types`   what kinds of processes there are, and how they are shown
"""
